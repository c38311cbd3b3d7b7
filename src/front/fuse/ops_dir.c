// SPDX-License-Identifier: Apache-2.0
/* READDIR and READDIRPLUS. Owner thread only.
 *
 * READDIRPLUS is what the kernel sends (see session.c): it hands over names and attributes together and makes all of
 * them known, so that the look-ups that follow cost nothing. A position is the entry's number in the listing, plus two
 * for "." and "..". The kernel keeps the whole directory after the first reader, so a listing that changes between two
 * messages of one reader is the rare case of an invalidation at that moment: such a reader may miss or repeat a name,
 * as POSIX allows for names that come and go; the kernel is told to read the directory again. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "front/fuse/internal.h"

#define DOTS        2u          /* "." and ".." come first */
#define UNKNOWN_INO 0xffffffffu /* programs skip entries whose inode number is 0 */

/* A buffer being filled with entries. */
struct filler {
    struct tl_fuse *f;
    const struct tl_fuse_op *op;
    size_t used, cap;
};

static void begin(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, enum tl_fuse_op_kind kind)
{
    struct tl_fuse *f = fuse_req_userdata(req);
    f->stats.readdirs++;
    struct tl_fuse_op op = {.kind = kind, .inode = ino, .req = req, .offset = (uint64_t)offset};
    op.size_bytes = (uint32_t)(size < TL_FUSE_DIRBUF_SIZE ? size : TL_FUSE_DIRBUF_SIZE);
    tl_fuse_begin(f, &op);
}

void tl_fuse_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    (void)fi;
    begin(req, ino, size, offset, TL_FUSE_READDIR);
}

void tl_fuse_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    (void)fi;
    begin(req, ino, size, offset, TL_FUSE_READDIRPLUS);
}

void tl_fuse_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    struct tl_fuse *f = fuse_req_userdata(req);
    f->stats.others++;
    if (f->no_opendir) {
        fuse_reply_err(req, ENOSYS);
        return;
    }
    fi->keep_cache = 1;
    fi->cache_readdir = 1;
    fuse_reply_open(req, fi);
}

/* Appends an entry; e->ino 0: the kernel learns the name only. False: no room. */
static bool append(struct filler *fill, const char *name, struct fuse_entry_param *e, uint64_t next)
{
    fuse_req_t req = fill->op->req;
    char *buf = fill->f->dirbuf + fill->used;
    size_t room = fill->cap - fill->used, size;
    if (e->attr.st_ino == 0)
        e->attr.st_ino = UNKNOWN_INO;
    if (fill->op->kind == TL_FUSE_READDIRPLUS)
        size = fuse_add_direntry_plus(req, buf, room, name, e, (off_t)next);
    else
        size = fuse_add_direntry(req, buf, room, name, &e->attr, (off_t)next);
    if (size > room)
        return false;
    fill->used += size;
    return true;
}

static bool append_dot(struct filler *fill, const struct tl_listing *listing, uint64_t pos)
{
    struct tl_attr self;
    tl_listing_self(listing, &self);
    struct fuse_entry_param e = {.ino = 0};
    if (pos == 0)
        tl_fuse_stat(fill->f, &self, &e.attr);
    e.attr.st_mode = S_IFDIR;
    return append(fill, pos == 0 ? "." : "..", &e, pos + 1);
}

/* Whether an entry of this name still has room: known before its inode is made, which cannot be taken back lightly. */
static bool has_room(const struct filler *fill, const char *name)
{
    fuse_req_t req = fill->op->req;
    size_t size = fill->op->kind == TL_FUSE_READDIRPLUS ? fuse_add_direntry_plus(req, NULL, 0, name, NULL, 0)
                                                        : fuse_add_direntry(req, NULL, 0, name, NULL, 0);
    return size <= fill->cap - fill->used;
}

static bool append_entry(struct filler *fill, const struct tl_listing *listing, uint32_t i)
{
    struct tl_listing_entry entry;
    tl_listing_at(listing, i, &entry);
    char name[TL_NAME_MAX + 1];
    memcpy(name, entry.name, entry.name_len);
    name[entry.name_len] = '\0';
    if (!has_room(fill, name))
        return false;
    struct fuse_entry_param e = {.ino = 0};
    if (entry.attr.status == 0) {
        bool plus = fill->op->kind == TL_FUSE_READDIRPLUS;
        /* Without memory for the inode, the name alone is still true; a look-up will say ENOMEM. */
        if (!plus || tl_fuse_entry(fill->f, fill->op->inode, &entry, &e) != 0)
            tl_fuse_stat(fill->f, &entry.attr, &e.attr);
    }
    bool done = append(fill, name, &e, (uint64_t)i + DOTS + 1);
    check(done);
    return true;
}

/* The kernel did not take the reply: it will not forget what was in it. */
static void forget_entries(struct filler *fill, const struct tl_listing *listing, uint64_t from, uint64_t to)
{
    for (uint64_t pos = from < DOTS ? DOTS : from; pos < to; pos++) {
        struct tl_listing_entry entry;
        tl_listing_at(listing, (uint32_t)(pos - DOTS), &entry);
        struct tl_inode *inode = tl_inodes_find(&fill->f->inodes, fill->op->inode, entry.name, entry.name_len);
        if (inode != NULL && entry.attr.status == 0)
            tl_inodes_forget(&fill->f->inodes, tl_inode_id(inode), 1);
    }
}

void tl_fuse_reply_readdir(struct tl_fuse *f, const struct tl_fuse_op *op, const struct tl_listing *listing)
{
    struct filler fill = {.f = f, .op = op, .cap = op->size_bytes};
    uint64_t pos = op->offset, end = (uint64_t)listing->count + DOTS;
    bool room = true;
    while (room && pos < end) {
        room = pos < DOTS ? append_dot(&fill, listing, pos) : append_entry(&fill, listing, (uint32_t)(pos - DOTS));
        pos += room ? 1 : 0;
    }
    if (fuse_reply_buf(op->req, f->dirbuf, fill.used) != 0 && op->kind == TL_FUSE_READDIRPLUS)
        forget_entries(&fill, listing, op->offset, pos);
}
