// SPDX-License-Identifier: Apache-2.0
/* What the daemon tells as one blob: listings, and extended attributes, which complete trees have, too. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/listing.h"
#include "base/xattrs.h"
#include "front/tree/control.h"
#include "front/tree/internal.h"

#define TIMEOUT_MS 120000u /* a large directory of a slow file system */

static int read_blob(int fd, uint64_t len, void **blob)
{
    uint8_t *bytes = malloc(len > 0 ? len : 1);
    if (bytes == NULL)
        return -ENOMEM;
    for (uint64_t at = 0; at < len;) {
        ssize_t n = pread(fd, bytes + at, len - at, (off_t)at);
        if (n <= 0 && (n == 0 || errno != EINTR)) {
            free(bytes);
            return n < 0 ? -errno : -EBADMSG;
        }
        at += n > 0 ? (uint64_t)n : 0;
    }
    *blob = bytes;
    return 0;
}

int tl_blob_ask(int control, const char *verb, const char *path, void **blob, size_t *len, struct tl_error *err)
{
    const char *const args[] = {verb, path, NULL};
    char answer[256];
    int fd = memfd_create("tiercel-blob", MFD_CLOEXEC);
    if (fd < 0)
        return tl_error_set(err, -errno, "cannot get memory for what there is of %s: %s", path, strerror(errno));
    int rc = tl_control_ask(control, args, fd, TIMEOUT_MS, answer, sizeof answer, err);
    uint64_t bytes = rc == 0 ? tl_control_number(answer, "bytes") : 0;
    if (rc == 0 && bytes > TL_LISTING_SIZE_MAX)
        rc = tl_error_set(err, -EBADMSG, "what there is of %s is too long to be true", path);
    int read = rc == 0 ? read_blob(fd, bytes, blob) : 0;
    if (read != 0)
        rc = tl_error_set(err, read, "cannot read what there is of %s: %s", path, strerror(-read));
    close(fd);
    if (rc == 0)
        *len = bytes;
    return rc;
}

/* The owner may set attributes of what he may write to only. */
static int set_one(const char *path, mode_t mode, const char *name, const void *value, size_t len)
{
    if (lsetxattr(path, name, value, len, 0) == 0)
        return 0;
    if (errno != EACCES || chmod(path, (mode | S_IWUSR) & 07777) != 0)
        return -errno;
    int rc = lsetxattr(path, name, value, len, 0) == 0 ? 0 : -errno;
    return chmod(path, mode & 07777) == 0 ? rc : -errno;
}

int tl_blob_copy_xattrs(int control, const char *source, const char *path, mode_t mode)
{
    struct tl_error err = {.code = 0};
    struct tl_xattrs x;
    void *blob;
    size_t len, value_len;
    int rc = tl_blob_ask(control, "xattrs", source, &blob, &len, &err);
    if (rc != 0) /* the storage has none, or does not let us read them: as a program would find */
        return rc == -EOPNOTSUPP || rc == -EACCES || rc == -EPERM ? 0 : rc;
    rc = tl_xattrs_open(&x, blob, len);
    size_t size = rc == 0 ? tl_xattrs_names(&x, NULL, 0) : 0;
    char *names = malloc(size + 1);
    if (names == NULL)
        rc = -ENOMEM;
    if (rc == 0)
        (void)tl_xattrs_names(&x, names, size);
    for (size_t at = 0; rc == 0 && at < size; at += strlen(names + at) + 1) {
        const void *value;
        bool of_user = strncmp(names + at, "user.", 5) == 0; /* the others are the system's, and mean something here */
        if (of_user && tl_xattrs_find(&x, names + at, &value, &value_len) == 0)
            rc = set_one(path, mode, names + at, value, value_len);
    }
    free(names);
    free(blob);
    return rc == -EOPNOTSUPP ? 0 : rc; /* before Linux 6.6 */
}
