// SPDX-License-Identifier: Apache-2.0
/* The names and files the kernel knows of one mount.
 *
 * A node id stands for one name at one place, and for anything but a directory, for one version of what was found
 * there: when the file behind a name is replaced, the name is bound to a new inode, and whoever still has the old one
 * open keeps reading the old version (or gets ESTALE), never a mixture. A directory keeps its node id whatever happens
 * to its contents, so that a working directory survives.
 *
 * An inode lives while the kernel counts look-ups of it, or while a known inode lies below it (its name is part of
 * their paths). Node id = generation << 32 | slot: ids are never used twice, and finding one is an array access.
 * The memory is 64 bytes and the name for an inode, plus 4 bytes of hash table. One owner thread.
 *
 * Inodes and names lie in memory that outlives the daemon (keep.h), since the kernel goes on using node ids when another
 * daemon answers. A change is made in such an order that a daemon may be killed between any two stores: an inode counts
 * once its type is written, last, and a look-up is counted before the kernel is told. So what is taken over may hold
 * more look-ups than the kernel will forget, never fewer. Hash chains, counts and the list of free slots are made anew. */
#ifndef TL_FRONT_FUSE_INODE_H
#define TL_FRONT_FUSE_INODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/listing.h"
#include "front/fuse/keep.h"

#define TL_INODE_ROOT 1ull /* the kernel's fixed node id of the root */

struct tl_inode {
    uint64_t nlookup;          /* look-ups the kernel has not forgotten */
    uint64_t version;          /* identity of the contents; for READ requests */
    uint64_t size_bytes;       /* of that version */
    uint32_t name_at;          /* block of the name; 0 for the root and for free slots */
    uint32_t slot, generation; /* together: the node id */
    uint32_t parent;           /* slot */
    uint32_t next;             /* slot: hash chain, or free list */
    uint32_t children;         /* inodes whose parent this is */
    uint32_t hash;
    uint32_t seal; /* checks what does not change while it lives */
    uint16_t type; /* S_IFMT bits of the mode; 0: a free slot */
    uint8_t name_len;
    bool bound; /* its name leads to it: it is in the hash table */
};

#define TL_NAME_CLASSES 17 /* names are kept in blocks of 1 to 16 units of 16 bytes */

struct tl_inodes {
    struct tl_keep keep;
    struct tl_inode **pages; /* of equal size, never moved: pointers to inodes stay valid */
    uint8_t **name_pages;
    uint32_t *buckets; /* heads of the hash chains, a power of two of them */
    uint32_t page_count, name_page_count, bucket_count;
    uint32_t slot_end;  /* slots ever used */
    uint32_t free_head; /* list of free slots, 0: none */
    uint32_t count;     /* inodes, with the root */
    uint32_t bound_count;
    uint32_t names_end;                   /* units ever used */
    uint32_t free_names[TL_NAME_CLASSES]; /* lists of free blocks by their units, 0: none */
};

int tl_inodes_init(struct tl_inodes *t) TL_MUST_CHECK; /* with the root; 0 or -errno */
/* Goes on with what another daemon left; keep_fd is taken over in every case. Inodes that are not whole are dropped, and
 * counted in *dropped: for the kernel they are stale. 0; -EPROTO: made by another version; -EBADMSG: damaged. */
int tl_inodes_adopt(struct tl_inodes *t, int keep_fd, uint32_t *dropped) TL_MUST_CHECK;
void tl_inodes_fini(struct tl_inodes *t);

/* NULL: no such inode (any more). */
struct tl_inode *tl_inodes_get(const struct tl_inodes *t, uint64_t id);
static inline uint64_t tl_inode_id(const struct tl_inode *inode)
{
    return (uint64_t)inode->generation << 32 | inode->slot;
}
/* Its name_len bytes, without NUL. */
const char *tl_inode_name(const struct tl_inodes *t, const struct tl_inode *inode);
/* The directory an inode was found in; the root's is the root. */
struct tl_inode *tl_inodes_parent(const struct tl_inodes *t, const struct tl_inode *inode);
/* The inode that a name leads to, or NULL. */
struct tl_inode *tl_inodes_find(const struct tl_inodes *t, uint64_t parent_id, const char *name, size_t name_len);
/* The inode for an entry that a listing has now: the one the name is bound to if that is the same thing, else a new
 * one to which the name is bound from now on. It has one more look-up, given back by tl_inodes_forget. 0, -ENOMEM,
 * -ESTALE: no such parent. */
int tl_inodes_bind(struct tl_inodes *t, uint64_t parent_id, const char *name, size_t name_len,
                   const struct tl_attr *attr, struct tl_inode **out) TL_MUST_CHECK;
/* Takes the name away: the next bind gives a new inode, even for the same version. */
void tl_inodes_unbind(struct tl_inodes *t, struct tl_inode *inode);
/* The kernel has forgotten n look-ups. Unknown ids are ignored. */
void tl_inodes_forget(struct tl_inodes *t, uint64_t id, uint64_t n);
/* True when attr describes what inode stands for. */
bool tl_inode_matches(const struct tl_inode *inode, const struct tl_attr *attr);

/* The absolute source path of an inode: root (absolute, no trailing slash but "/") and the names down to it, and below
 * that `name` when name_len > 0. No NUL is added. Its length, or -ENAMETOOLONG. */
int tl_inodes_path(const struct tl_inodes *t, const char *root, const struct tl_inode *inode, const char *name,
                   size_t name_len, char *buf, size_t cap);

/* Calls fn for every inode at or below `top`, in no order; fn must not change the table. */
typedef void (*tl_inodes_visit_fn)(void *ctx, const struct tl_inode *inode);
void tl_inodes_visit_below(const struct tl_inodes *t, const struct tl_inode *top, tl_inodes_visit_fn fn, void *ctx);

/* Every invariant, with check(); for tests. */
void tl_inodes_verify(const struct tl_inodes *t);

#endif
