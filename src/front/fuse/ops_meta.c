// SPDX-License-Identifier: Apache-2.0
/* LOOKUP, GETATTR, READLINK, FORGET, STATFS, IOCTL. Owner thread only.
 *
 * Not here, on purpose: ACCESS (the mount has default_permissions: the kernel checks the modes itself and never asks),
 * locks (without handlers flock and fcntl locks are the kernel's, local to the node, as Python and friends need
 * them), LSEEK (SEEK_DATA and SEEK_HOLE: all is data) and POLL (always ready). libfuse answers ENOSYS for those, and
 * the kernel does not ask again. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "front/fuse/internal.h"

void tl_fuse_op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct tl_fuse *f = fuse_req_userdata(req);
    f->stats.lookups++;
    struct tl_fuse_op op = {.kind = TL_FUSE_LOOKUP, .inode = parent, .req = req};
    size_t len = strlen(name);
    if (len > TL_NAME_MAX) {
        tl_fuse_fail(f, req, -ENAMETOOLONG);
        return;
    }
    memcpy(op.name, name, len + 1);
    op.name_len = (uint8_t)len;
    tl_fuse_begin(f, &op);
}

void tl_fuse_reply_lookup(struct tl_fuse *f, const struct tl_fuse_op *op, const struct tl_listing *listing)
{
    struct tl_listing_entry entry;
    if (tl_listing_find(listing, op->name, op->name_len, &entry) != 0) {
        struct fuse_entry_param none = {.entry_timeout = tl_fuse_negative_s(f, op->inode)};
        fuse_reply_entry(op->req, &none);
        return;
    }
    struct fuse_entry_param e;
    int rc = entry.attr.status;
    if (rc == 0)
        rc = tl_fuse_entry(f, op->inode, &entry, &e);
    if (rc != 0)
        tl_fuse_fail(f, op->req, rc);
    else if (fuse_reply_entry(op->req, &e) != 0) /* the kernel did not take it, and will not forget it */
        tl_inodes_forget(&f->inodes, e.ino, 1);
}

void tl_fuse_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)fi;
    struct tl_fuse *f = fuse_req_userdata(req);
    f->stats.getattrs++;
    struct tl_fuse_op op = {.kind = TL_FUSE_GETATTR, .inode = ino, .req = req};
    tl_fuse_begin(f, &op);
}

int tl_fuse_find_inode(struct tl_fuse *f, const struct tl_fuse_op *op, const struct tl_listing *listing,
                       struct tl_listing_entry *entry)
{
    if (op->inode == TL_INODE_ROOT) {
        *entry = (struct tl_listing_entry){.name_len = 0};
        if (!op->alone)
            tl_listing_self(listing, &entry->attr);
        else if (listing->count == 1)
            tl_listing_at(listing, 0, entry); /* its name is the source's, which is not in the table */
        else
            return -ESTALE;
        return entry->attr.status;
    }
    const struct tl_inode *inode = tl_inodes_get(&f->inodes, op->inode);
    if (inode == NULL || tl_listing_find(listing, tl_inode_name(&f->inodes, inode), inode->name_len, entry) != 0)
        return -ESTALE;
    if (entry->attr.status != 0)
        return entry->attr.status;
    return tl_inode_matches(inode, &entry->attr) ? 0 : -ESTALE;
}

/* The directory that holds op's inode, which is there. */
static uint64_t dir_of(const struct tl_fuse *f, const struct tl_fuse_op *op)
{
    return tl_inode_id(tl_inodes_parent(&f->inodes, tl_inodes_get(&f->inodes, op->inode)));
}

void tl_fuse_reply_getattr(struct tl_fuse *f, const struct tl_fuse_op *op, const struct tl_listing *listing)
{
    struct tl_listing_entry entry;
    struct stat st;
    int rc = tl_fuse_find_inode(f, op, listing, &entry);
    if (rc != 0) {
        tl_fuse_fail(f, op->req, rc);
        return;
    }
    if (op->inode == TL_INODE_ROOT)
        tl_fuse_stat(f, &entry.attr, &st);
    else
        tl_fuse_stat_entry(f, dir_of(f, op), &entry, &st);
    fuse_reply_attr(op->req, &st, TL_FUSE_FOREVER_S);
}

void tl_fuse_op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct tl_fuse *f = fuse_req_userdata(req);
    f->stats.others++;
    struct tl_fuse_op op = {.kind = TL_FUSE_READLINK, .inode = ino, .req = req};
    tl_fuse_begin(f, &op);
}

void tl_fuse_reply_readlink(struct tl_fuse *f, const struct tl_fuse_op *op, const struct tl_listing *listing)
{
    struct tl_listing_entry entry;
    int rc = tl_fuse_find_inode(f, op, listing, &entry);
    if (rc == 0 && !S_ISLNK(entry.attr.mode))
        rc = -EINVAL;
    char target[TL_LINK_MAX + 1];
    if (rc == 0)
        rc = tl_fuse_link(f, dir_of(f, op), &entry, target);
    if (rc < 0) {
        tl_fuse_fail(f, op->req, rc);
        return;
    }
    target[rc] = '\0';
    fuse_reply_readlink(op->req, target);
}

void tl_fuse_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
    struct tl_fuse *f = fuse_req_userdata(req);
    f->stats.forgets++;
    tl_inodes_forget(&f->inodes, ino, nlookup);
    fuse_reply_none(req);
}

void tl_fuse_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    struct tl_fuse *f = fuse_req_userdata(req);
    f->stats.forgets += count;
    for (size_t i = 0; i < count; i++)
        tl_inodes_forget(&f->inodes, forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

/* The tier does not know how full the source is. Plausible numbers: a large, full file system, on which nobody tries to
 * write and nobody divides by zero. */
void tl_fuse_op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    (void)ino;
    struct tl_fuse *f = fuse_req_userdata(req);
    f->stats.others++;
    const struct statvfs st = {
        .f_bsize = 4096,
        .f_frsize = 4096,
        .f_blocks = 1ull << 30,
        .f_files = 1ull << 30,
        .f_namemax = TL_NAME_MAX,
    };
    fuse_reply_statfs(req, &st);
}

/* Python asks each file it opens whether it is a terminal. The kernel has no way to stop asking. */
void tl_fuse_op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg, struct fuse_file_info *fi,
                      unsigned flags, const void *in_buf, size_t in_size, size_t out_size)
{
    (void)ino, (void)cmd, (void)arg, (void)fi, (void)flags, (void)in_buf, (void)in_size, (void)out_size;
    struct tl_fuse *f = fuse_req_userdata(req);
    f->stats.ioctls++;
    fuse_reply_err(req, ENOTTY);
}
