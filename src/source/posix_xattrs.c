// SPDX-License-Identifier: Apache-2.0
/* All extended attributes of one file, as the user may see them: one listxattr, one getxattr a name. A link is not
 * followed. */
#include "source/posix.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/xattrs.h"

#define LIST_SIZE 65536u /* Linux gives no longer lists, and no longer values */

_Static_assert(TL_XATTR_VALUE_MAX >= LIST_SIZE, "one buffer serves both");

static int add(struct tl_xattrs_builder *b, const char *path, const char *name, void *value)
{
    ssize_t len = lgetxattr(path, name, value, TL_XATTR_VALUE_MAX);
    if (len < 0 && errno == ENODATA)
        return 0; /* gone meanwhile */
    int error = len < 0 ? errno : 0;
    return tl_xattrs_add(b, name, value, error == 0 ? (size_t)len : 0, error);
}

static int add_all(struct tl_xattrs_builder *b, const char *path, char *names, void *value)
{
    ssize_t len = llistxattr(path, names, LIST_SIZE);
    if (len < 0)
        return -errno;
    int rc = 0;
    for (const char *name = names; rc == 0 && name < names + len; name += strlen(name) + 1)
        rc = add(b, path, name, value);
    return rc;
}

static int collect(struct tl_source *s, const char *path, struct tl_xattrs_builder *b)
{
    struct tl_posix_exclude *exclude = tl_posix_exclude_ref(s);
    bool empty = tl_posix_exclude_covers(exclude, path);
    tl_posix_exclude_unref(exclude);
    int rc = tl_xattrs_begin(b);
    if (rc != 0 || empty)
        return rc;
    char *names = malloc(LIST_SIZE), *value = malloc(TL_XATTR_VALUE_MAX);
    rc = names != NULL && value != NULL ? add_all(b, path, names, value) : -ENOMEM;
    free(names);
    free(value);
    return rc;
}

void tl_posix_xattrs(struct tl_source *s, const struct tl_source_op *op, const char *path)
{
    struct tl_source_done done = {.cookie = op->cookie, .last = true};
    struct tl_xattrs_builder b = {.bytes = NULL};
    size_t len = 0;
    done.status = collect(s, path, &b);
    if (done.status == 0) {
        tl_xattrs_finish(&b, &done.blob, &len);
        done.len = (uint32_t)len;
        done.digest = tl_hash_bytes(done.blob, len, 0);
    }
    tl_xattrs_fini(&b);
    tl_posix_report(s, &done);
}
