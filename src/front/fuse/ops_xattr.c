// SPDX-License-Identifier: Apache-2.0
/* GETXATTR and LISTXATTR: all attributes of a file come as one object, at the first ask. Owner thread only.
 *
 * Nothing asks for them by itself: the mounts are nosuid, so that the kernel does not look for file capabilities when a program
 * is started, and permissions are checked by mode bits. */
#include <errno.h>
#include <string.h>

#include "base/xattrs.h"
#include "front/fuse/internal.h"

static void begin(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size, enum tl_fuse_op_kind kind)
{
    struct tl_fuse *f = fuse_req_userdata(req);
    f->stats.xattrs++;
    struct tl_fuse_op op = {.kind = kind, .inode = ino, .req = req};
    size_t len = strlen(name);
    if (len > TL_XATTR_NAME_MAX) {
        tl_fuse_fail(f, req, -ERANGE);
        return;
    }
    memcpy(op.name, name, len + 1);
    op.name_len = (uint8_t)len;
    op.size_bytes = (uint32_t)(size < TL_XATTR_VALUE_MAX ? size : TL_XATTR_VALUE_MAX);
    tl_fuse_begin(f, &op);
}

void tl_fuse_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    begin(req, ino, name, size, TL_FUSE_GETXATTR);
}

void tl_fuse_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    begin(req, ino, "", size, TL_FUSE_LISTXATTR);
}

/* len bytes, or with size 0 how many they are. */
static void reply(struct tl_fuse *f, const struct tl_fuse_op *op, const void *bytes, size_t len)
{
    if (op->size_bytes == 0)
        fuse_reply_xattr(op->req, len);
    else if (len > op->size_bytes)
        tl_fuse_fail(f, op->req, -ERANGE);
    else
        fuse_reply_buf(op->req, bytes, len);
}

void tl_fuse_reply_xattr(struct tl_fuse *f, const struct tl_fuse_op *op, const void *blob, size_t len)
{
    struct tl_xattrs x;
    int rc = tl_xattrs_open(&x, blob, len);
    if (rc == 0 && op->kind == TL_FUSE_LISTXATTR) {
        size_t need = tl_xattrs_names(&x, f->dirbuf, TL_FUSE_DIRBUF_SIZE);
        if (need <= TL_FUSE_DIRBUF_SIZE)
            reply(f, op, f->dirbuf, need);
        else
            tl_fuse_fail(f, op->req, -E2BIG); /* more than Linux ever lists */
        return;
    }
    const void *value = NULL;
    size_t value_len = 0;
    rc = rc == 0 ? tl_xattrs_find(&x, op->name, &value, &value_len) : -EIO;
    if (rc == 0)
        reply(f, op, value, value_len);
    else
        tl_fuse_fail(f, op->req, rc);
}
