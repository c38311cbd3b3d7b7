// SPDX-License-Identifier: Apache-2.0
/* GETXATTR and LISTXATTR: all attributes of a file come as one object, at the first ask. Owner thread only.
 *
 * user.tiercel.* are not the file's: they say what the tier knows of it (tiercel(1)). They are not listed, so that a copy
 * of the file does not carry them.
 *
 * Nothing asks for them by itself: the mounts are nosuid, so that the kernel does not look for file capabilities when a program
 * is started, and permissions are checked by mode bits. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/xattrs.h"
#include "front/fuse/internal.h"

#define OURS "user.tiercel."

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
    bool ours = strncmp(name, OURS, sizeof OURS - 1) == 0;
    begin(req, ino, name, size, ours ? TL_FUSE_GETHELD : TL_FUSE_GETXATTR);
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

/* Value of user.tiercel.<name>. Its length or -ENODATA. */
static int held_value(const struct tl_fuse *f, const char *name, const struct tl_held *h, char *out, size_t cap)
{
    const char *state = h->present == h->chunks ? "cached" : h->present > 0 ? "partial" : "absent";
    if (strcmp(name, "state") == 0)
        return snprintf(out, cap, "%s", state);
    if (strcmp(name, "bytes") == 0)
        return snprintf(out, cap, "%" PRIu64, h->bytes);
    if (strcmp(name, "node") == 0)
        return snprintf(out, cap, "%" PRIu32, f->host.rank);
    if (strcmp(name, "root") == 0)
        return snprintf(out, cap, "%" PRIu32, h->root);
    if (strcmp(name, "hits") == 0)
        return snprintf(out, cap, "%" PRIu32, h->hits);
    if (strcmp(name, "pinned") == 0)
        return snprintf(out, cap, "%d", h->pinned);
    return -ENODATA;
}

void tl_fuse_reply_held(struct tl_fuse *f, const struct tl_fuse_op *op, const struct tl_listing *listing)
{
    struct tl_listing_entry e;
    struct tl_held held = {.chunks = 0};
    char path[TL_PATH_MAX], value[64];
    int rc = tl_fuse_find_inode(f, op, listing, &e);
    if (rc == 0 && !S_ISREG(e.attr.mode) && !S_ISDIR(e.attr.mode))
        rc = -ENODATA; /* a link, a device: nothing but its name, which is in the listing */
    int len =
        tl_inodes_path(&f->inodes, f->source_root, tl_inodes_get(&f->inodes, op->inode), "", 0, path, sizeof path);
    rc = rc == 0 && len < 0 ? len : rc;
    if (rc == 0) {
        struct tl_request object = {.op = TL_OP_LIST, .path = path, .path_len = (uint16_t)len};
        if (S_ISREG(e.attr.mode)) {
            object.op = TL_OP_READ;
            object.version = e.attr.version;
            object.file_size_bytes = e.attr.size_bytes;
        }
        f->host.held(f->host.ctx, &object, &held);
        rc = held_value(f, op->name + sizeof OURS - 1, &held, value, sizeof value);
    }
    if (rc < 0)
        tl_fuse_fail(f, op->req, rc);
    else
        reply(f, op, value, (size_t)rc);
}
