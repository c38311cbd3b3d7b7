// SPDX-License-Identifier: Apache-2.0
/* One name of a directory, where the directory may be searched but not listed: the listing of its directory as it would
 * be with this name alone. The storage itself decides what the user may see. */
#include "source/posix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The name of a path, and its directory in `dir`. NULL: the path is /, which has none. */
static const char *split(const char *path, char dir[TL_SOURCE_PATH_MAX + 1])
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == path ? 1 : (size_t)(slash - path);
    memcpy(dir, path, len);
    dir[len] = '\0';
    return slash[1] != '\0' ? slash + 1 : NULL;
}

/* What lies at the name. 0 or -errno. */
static int look(struct tl_source *s, int fd, const char *dir, const char *name, struct tl_listing_builder *b)
{
    struct tl_attr attr;
    char target[TL_LINK_MAX + 1];
    size_t target_len = 0;
    struct tl_posix_exclude *exclude = tl_posix_exclude_ref(s);
    const char *excluded = tl_posix_exclude_find(exclude, dir, name);
    int rc = 0;
    if (excluded != NULL)
        tl_posix_exclude_attr(excluded, &attr);
    else
        rc = tl_posix_look_at(s, fd, name, &attr, target, &target_len);
    tl_posix_exclude_unref(exclude);
    if (rc == 0)
        rc = attr.status; /* the only name: then the whole has failed */
    return rc == 0 ? tl_posix_add(b, name, &attr, target, target_len) : rc;
}

static int look_in(struct tl_source *s, int fd, const char *dir, const char *name, void **blob, size_t *len)
{
    struct statx st;
    struct tl_attr self;
    struct tl_listing_builder *b = NULL;
    uint64_t dev;
    s->counters.lstats++;
    int rc = tl_posix_stat(fd, "", &st, &dev);
    if (rc != 0)
        return rc;
    if (tl_posix_is_pseudo(&s->devices, fd, dev))
        return -ENOENT; /* shown empty */
    tl_posix_attr(s->rights, fd, "", &st, &self);
    rc = tl_listing_builder_new(&b, &self);
    if (rc == 0)
        rc = look(s, fd, dir, name, b);
    if (rc == 0)
        rc = tl_listing_builder_finish(b, blob, len);
    tl_listing_builder_free(b);
    return rc;
}

static int entry(struct tl_source *s, const char *path, void **blob, size_t *len)
{
    char dir[TL_SOURCE_PATH_MAX + 1];
    const char *name = split(path, dir);
    if (name == NULL)
        return -EINVAL;
    if (strlen(name) > TL_NAME_MAX)
        return -ENAMETOOLONG;
    struct tl_posix_exclude *exclude = tl_posix_exclude_ref(s);
    bool empty = tl_posix_exclude_covers(exclude, dir);
    tl_posix_exclude_unref(exclude);
    if (empty)
        return -ENOENT;
    int fd = open(dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); /* no right to read is needed */
    if (fd < 0)
        return -errno;
    int rc = look_in(s, fd, dir, name, blob, len);
    close(fd);
    return rc;
}

void tl_posix_entry(struct tl_source *s, const struct tl_source_op *op, const char *path)
{
    struct tl_source_done done = {.cookie = op->cookie, .last = true};
    size_t len = 0;
    done.status = entry(s, path, &done.blob, &len);
    if (done.status == 0) {
        done.len = (uint32_t)len;
        done.digest = tl_hash_bytes(done.blob, len, 0);
    }
    tl_posix_report(s, &done);
}
