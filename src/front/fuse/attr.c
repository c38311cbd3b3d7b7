// SPDX-License-Identifier: Apache-2.0
/* How the source's attributes look through the mount. Owner thread only. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/time.h"
#include "front/fuse/internal.h"
#include "front/fuse/link.h"

/* Missing names at the top of a mount, when the kernel has no message that forgets them all: see tl_fuse_negative_s. */
#define TOP_NEGATIVE_S 1.0

/* Permission bits as the kernel shall check them.
 *
 * In a user namespace with one mapped id, the owner and group of other people's files, and the user's further groups,
 * do not exist: the kernel would check "other" (or "group", where the mapped group fits) and get it wrong. There the
 * bits that can apply to the user are replaced by what the user may do on the source, as the source itself told.
 * Nobody else can see the mount, so nobody gets wider rights by it. Write permission is left out: the mount is
 * read-only, and files that look writable by all make some programs refuse them. */
static uint32_t shown_mode(const struct tl_fuse *f, const struct tl_attr *attr)
{
    if (!f->map_owner || attr->uid == f->uid)
        return attr->mode;
    uint32_t access = attr->access & (R_OK | X_OK);
    return (attr->mode & ~(uint32_t)(S_IRWXG | S_IRWXO)) | access << 3 | access;
}

void tl_fuse_stat(const struct tl_fuse *f, const struct tl_attr *attr, struct stat *st)
{
    *st = (struct stat){
        /* Programs, the dynamic linker first, take two files with the same device and inode number for one file. A
         * mount is one device, but its source may span several that use the same small numbers. The version is a hash
         * over inode number, size and times, so it tells them apart, and hard links still agree (decision 0030). */
        .st_ino = attr->version != 0 ? attr->version : attr->ino,
        .st_mode = shown_mode(f, attr),
        .st_nlink = attr->nlink,
        .st_uid = attr->uid,
        .st_gid = attr->gid,
        .st_rdev = attr->rdev,
        .st_size = (off_t)attr->size_bytes,
        .st_blocks = (blkcnt_t)attr->blocks,
        .st_atim = tl_time_to_timespec(attr->atime_ns),
        .st_mtim = tl_time_to_timespec(attr->mtime_ns),
        .st_ctim = tl_time_to_timespec(attr->ctime_ns),
    };
}

/* Directories between the top of the mount and what lies in dir. */
static uint32_t depth_of(const struct tl_fuse *f, uint64_t dir)
{
    uint32_t depth = 0;
    const struct tl_inode *inode = tl_inodes_get(&f->inodes, dir);
    for (; inode != NULL && inode->slot != TL_INODE_ROOT; inode = tl_inodes_parent(&f->inodes, inode))
        depth++;
    return depth;
}

int tl_fuse_link(const struct tl_fuse *f, uint64_t dir, const struct tl_listing_entry *entry, char out[TL_LINK_MAX])
{
    if (!f->links_inside) {
        memcpy(out, entry->target, entry->target_len);
        return entry->target_len;
    }
    const struct tl_link_place place = {.root = f->source_root, .mountpoint = f->mountpoint, .depth = depth_of(f, dir)};
    return tl_link_inside(&place, entry->target, entry->target_len, out);
}

void tl_fuse_stat_entry(const struct tl_fuse *f, uint64_t dir, const struct tl_listing_entry *entry, struct stat *st)
{
    tl_fuse_stat(f, &entry->attr, st);
    if (!f->links_inside || !S_ISLNK(entry->attr.mode))
        return;
    char target[TL_LINK_MAX];
    int len = tl_fuse_link(f, dir, entry, target);
    if (len > 0)
        st->st_size = len;
}

int tl_fuse_entry(struct tl_fuse *f, uint64_t dir, const struct tl_listing_entry *entry, struct fuse_entry_param *e)
{
    struct tl_inode *inode;
    int rc = tl_inodes_bind(&f->inodes, dir, entry->name, entry->name_len, &entry->attr, &inode);
    if (rc != 0)
        return rc;
    *e = (struct fuse_entry_param){
        .ino = tl_inode_id(inode),
        .generation = inode->generation,
        .attr_timeout = TL_FUSE_FOREVER_S,
        .entry_timeout = TL_FUSE_FOREVER_S,
    };
    tl_fuse_stat_entry(f, dir, entry, &e->attr);
    return 0;
}

/* Before NOTIFY_INC_EPOCH (Linux 6.16) the kernel forgets missing names together with the directory they are missing
 * in, when that is invalidated. The top directory cannot be, so there they are kept for a moment only. */
double tl_fuse_negative_s(const struct tl_fuse *f, uint64_t dir)
{
    return dir == TL_INODE_ROOT && !f->epoch ? TOP_NEGATIVE_S : TL_FUSE_FOREVER_S;
}
