// SPDX-License-Identifier: Apache-2.0
/* The way of a request for names or attributes.
 *
 * Each is answered from one directory's listing: of the directory that holds the name (LOOKUP, GETATTR, READLINK), or of
 * the directory itself (READDIR, and GETATTR of the root). If the node has the listing, the reply is written at once;
 * else the request waits in the pending table for the node's answer.
 *
 * A directory that may be searched but not read (mode 0711, as home directories often are) has no listing: the node
 * answers EACCES. The names in it may well be allowed, so the request is then tried `alone`: the listing that the
 * directory would have with this one name is asked for, and the storage says whether the user may see it. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "front/fuse/internal.h"

/* Errors that must not reach the kernel as they are: ENOSYS would switch the operation off for good, and numbers from
 * 512 up are the kernel's own. */
static int kernel_error(int status)
{
    int error = -status;
    if (error == ECANCELED)
        return EINTR;
    return error <= 0 || error >= 512 || error == ENOSYS ? EIO : error;
}

void tl_fuse_fail(struct tl_fuse *f, fuse_req_t req, int status)
{
    if (status != -ENOENT && status != -ECANCELED && status != -ENODATA)
        f->stats.errors++;
    fuse_reply_err(req, kernel_error(status));
}

/* The kernel tells that the process no longer waits (a signal): the node's answer will be -ECANCELED. */
static void on_interrupt(fuse_req_t req, void *data)
{
    struct tl_fuse *f = fuse_req_userdata(req);
    f->stats.interrupts++;
    f->host.cancel(f->host.ctx, f->front, (uint64_t)(uintptr_t)data);
}

void tl_fuse_ask(struct tl_fuse *f, struct tl_fuse_op *op, struct tl_request *request)
{
    op->began_ns = f->began_ns;
    int rc = tl_pending_put(&f->pending, op, &request->id);
    if (rc != 0) {
        tl_fuse_fail(f, op->req, rc);
        return;
    }
    f->host.request(f->host.ctx, f->front, request);
    /* Last: it calls on_interrupt at once if the interruption has overtaken us. */
    fuse_req_interrupt_func(op->req, on_interrupt, (void *)(uintptr_t)request->id);
}

static bool is_xattr(const struct tl_fuse_op *op)
{
    return op->kind == TL_FUSE_GETXATTR || op->kind == TL_FUSE_LISTXATTR;
}

/* The kind of object that answers op. */
static enum tl_op object_kind(const struct tl_fuse_op *op)
{
    return is_xattr(op) ? TL_OP_XATTRS : op->alone ? TL_OP_ENTRY : TL_OP_LIST;
}

/* The path of that object: of the directory whose listing it is, or of the name itself. Length or -errno. */
static int object_path(struct tl_fuse *f, const struct tl_fuse_op *op, char *buf, size_t cap)
{
    const struct tl_inode *inode = tl_inodes_get(&f->inodes, op->inode);
    if (inode == NULL)
        return -ESTALE;
    bool by_name = op->kind == TL_FUSE_GETATTR || op->kind == TL_FUSE_READLINK || op->kind == TL_FUSE_GETHELD;
    if (by_name && !op->alone)
        inode = tl_inodes_parent(&f->inodes, inode);
    size_t name_len = op->kind == TL_FUSE_LOOKUP && op->alone ? op->name_len : 0;
    return tl_inodes_path(&f->inodes, f->source_root, inode, op->name, name_len, buf, cap);
}

/* Whether op may be tried again alone: it is about one name (/ has none). */
static bool can_be_alone(const struct tl_fuse *f, const struct tl_fuse_op *op)
{
    bool of_name = op->kind == TL_FUSE_LOOKUP || op->kind == TL_FUSE_GETATTR || op->kind == TL_FUSE_READLINK ||
                   op->kind == TL_FUSE_GETHELD;
    bool top = op->kind != TL_FUSE_LOOKUP && op->inode == TL_INODE_ROOT;
    return !op->alone && of_name && !(top && strcmp(f->source_root, "/") == 0);
}

static void reply_missing(struct tl_fuse *f, const struct tl_fuse_op *op)
{
    struct fuse_entry_param none = {.entry_timeout = tl_fuse_negative_s(f, op->inode)};
    fuse_reply_entry(op->req, &none);
}

static void reply_error(struct tl_fuse *f, const struct tl_fuse_op *op, int status)
{
    bool missing = (op->alone || is_xattr(op)) && status == -ENOENT;
    if (missing && op->kind == TL_FUSE_LOOKUP)
        reply_missing(f, op);
    else
        tl_fuse_fail(f, op->req, missing ? -ESTALE : status); /* what the inode stands for is gone */
}

static void reply_listing(struct tl_fuse *f, const struct tl_fuse_op *op, const struct tl_listing *listing)
{
    switch (op->kind) {
    case TL_FUSE_LOOKUP: tl_fuse_reply_lookup(f, op, listing); break;
    case TL_FUSE_GETATTR: tl_fuse_reply_getattr(f, op, listing); break;
    case TL_FUSE_READLINK: tl_fuse_reply_readlink(f, op, listing); break;
    case TL_FUSE_GETHELD: tl_fuse_reply_held(f, op, listing); break;
    case TL_FUSE_READDIR:
    case TL_FUSE_READDIRPLUS: tl_fuse_reply_readdir(f, op, listing); break;
    case TL_FUSE_GETXATTR:
    case TL_FUSE_LISTXATTR:
    case TL_FUSE_READ: check(false); /* have no listing */
    }
}

/* Replies to op; ref: the bytes of the listing if status is 0. False: op shall be begun again, now alone. */
static bool finish(struct tl_fuse *f, struct tl_fuse_op *op, int status, const struct tl_ref *ref)
{
    if (status == -EACCES && can_be_alone(f, op)) {
        op->alone = true;
        return false;
    }
    if (status == 0 && is_xattr(op)) {
        tl_fuse_reply_xattr(f, op, f->host.bytes(f->host.ctx, ref->addr), ref->len);
        return true;
    }
    struct tl_listing listing;
    if (status == 0) /* the core has validated the blob once, where it came in */
        status = tl_listing_reopen(&listing, f->host.bytes(f->host.ctx, ref->addr), ref->len);
    if (status == 0)
        reply_listing(f, op, &listing);
    else
        reply_error(f, op, status);
    return true;
}

void tl_fuse_begin(struct tl_fuse *f, struct tl_fuse_op *op)
{
    if (f->closing) {
        tl_fuse_fail(f, op->req, -ENOTCONN);
        return;
    }
    for (;;) { /* at most twice: finish() makes op alone once */
        char path[TL_PATH_MAX];
        int len = object_path(f, op, path, sizeof path);
        if (len < 0) {
            tl_fuse_fail(f, op->req, len);
            return;
        }
        struct tl_ref ref;
        enum tl_op ask = object_kind(op);
        int status = f->host.peek(f->host.ctx, ask, path, (uint16_t)len, &ref);
        if (status == -ENOENT) {
            struct tl_request request = {.op = ask, .path = path, .path_len = (uint16_t)len};
            tl_fuse_ask(f, op, &request);
            return;
        }
        if (finish(f, op, status, &ref))
            return;
    }
}

void tl_fuse_answer(struct tl_fuse *f, const struct tl_answer *answer)
{
    struct tl_fuse_op op;
    if (!tl_pending_take(&f->pending, answer->id, &op))
        return; /* over already: only after a close has begun */
    check(answer->status <= 0 && answer->ref_count <= TL_ANSWER_REFS_MAX);
    f->began_ns = op.began_ns;
    if (op.kind == TL_FUSE_READ) {
        tl_fuse_reply_read(f, &op, answer);
    } else {
        int status = answer->status == 0 && answer->ref_count != 1 ? -EIO : answer->status;
        if (!finish(f, &op, status, &answer->refs[0]))
            tl_fuse_begin(f, &op);
    }
    tl_fuse_resume(f);
}
