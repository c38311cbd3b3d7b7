// SPDX-License-Identifier: Apache-2.0
/* Slots and names of the inode table, in memory that outlives the daemon. For inode.c and inode_adopt.c only. */
#ifndef TL_FRONT_FUSE_INODE_STORE_H
#define TL_FRONT_FUSE_INODE_STORE_H

#include "front/fuse/inode.h"

#define TL_PAGE_INODES ((uint32_t)(TL_KEEP_CHUNK_SIZE / sizeof(struct tl_inode)))
#define TL_NAME_UNIT   16u
#define TL_PAGE_UNITS  (TL_KEEP_CHUNK_SIZE / TL_NAME_UNIT)

static inline struct tl_inode *tl_at_slot(const struct tl_inodes *t, uint32_t slot)
{
    return &t->pages[slot / TL_PAGE_INODES][slot % TL_PAGE_INODES];
}

/* A block of a name: its first byte says how many units it has, for ever; bytes 4 to 7 are the next one of a free list. */
static inline uint8_t *tl_at_name(const struct tl_inodes *t, uint32_t at)
{
    return t->name_pages[at / TL_PAGE_UNITS] + (size_t)(at % TL_PAGE_UNITS) * TL_NAME_UNIT;
}

static inline uint32_t tl_name_units(size_t name_len)
{
    return (uint32_t)((name_len + 1 + TL_NAME_UNIT - 1) / TL_NAME_UNIT);
}

/* An unused inode with its slot and a fresh generation, type still 0. NULL: no memory. */
struct tl_inode *tl_slot_take(struct tl_inodes *t);
/* Frees the slot of an inode, with its name. Its node id is over. */
void tl_slot_give(struct tl_inodes *t, struct tl_inode *inode);
/* The inode counts from here on: all but its type is written. */
void tl_slot_commit(struct tl_inodes *t, struct tl_inode *inode, uint16_t type);
uint32_t tl_slot_seal(const struct tl_inodes *t, const struct tl_inode *inode, uint16_t type);

int tl_name_put(struct tl_inodes *t, const char *name, size_t name_len, uint32_t *at) TL_MUST_CHECK; /* 0, -ENOMEM */
void tl_name_give(struct tl_inodes *t, uint32_t at);

/* Takes a page of inodes, or of names, into the arrays. 0, -ENOMEM. */
int tl_pages_add(struct tl_inodes *t, enum tl_keep_kind kind, void *page) TL_MUST_CHECK;

/* inode.c */
uint32_t tl_inode_hash(uint32_t parent, const char *name, size_t name_len);
struct tl_inode *tl_inodes_find_bound(const struct tl_inodes *t, uint32_t parent, uint32_t hash, const char *name,
                                      size_t name_len);
void tl_inodes_chain(struct tl_inodes *t, struct tl_inode *inode);
void tl_inodes_collect(struct tl_inodes *t, struct tl_inode *inode);

#endif
