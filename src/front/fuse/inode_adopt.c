// SPDX-License-Identifier: Apache-2.0
/* Going on with the inode table that a daemon left when it ended: at any instant, or by a fault of its own.
 *
 * What is believed is what a seal covers, and what no change could have left half done: an inode that is whole, and its
 * count of look-ups. All else (chains, counts, free lists) is made from that. An inode that is not whole is dropped, with
 * what lies below it: programs then get ESTALE for it, as for a file that was replaced. */
#include "front/fuse/inode_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEPTH_MAX 4096 /* a path has no more names */

static int take_pages(struct tl_inodes *t)
{
    const struct tl_keep_head *h = t->keep.head;
    for (uint32_t i = 1; i < t->keep.chunk_count; i++)
        if (tl_pages_add(t, h->kinds[i], t->keep.chunks[i]) != 0)
            return -ENOMEM;
    t->slot_end = h->slot_end;
    t->names_end = h->names_end;
    if (t->slot_end < 2 || t->slot_end > (uint64_t)t->page_count * TL_PAGE_INODES ||
        t->names_end > (uint64_t)t->name_page_count * TL_PAGE_UNITS)
        return -EBADMSG;
    return 0;
}

static bool has(const uint8_t *bits, uint32_t i)
{
    return (bits[i / 8] >> i % 8 & 1) != 0;
}
static void flip(uint8_t *bits, uint32_t i)
{
    bits[i / 8] = (uint8_t)(bits[i / 8] ^ 1u << i % 8);
}

/* Marks where blocks of names begin. */
static int walk_names(const struct tl_inodes *t, uint8_t *blocks)
{
    for (uint32_t at = 0; at < t->names_end;) {
        uint32_t units = *tl_at_name(t, at);
        if (units == 0 || units >= TL_NAME_CLASSES || at % TL_PAGE_UNITS + units > TL_PAGE_UNITS)
            return -EBADMSG;
        flip(blocks, at);
        at += units;
    }
    if (t->names_end > 0)
        flip(blocks, 0); /* is nobody's */
    return 0;
}

static bool is_whole(const struct tl_inodes *t, const struct tl_inode *inode, uint32_t slot, const uint8_t *blocks)
{
    return inode->slot == slot && inode->name_len > 0 && inode->name_at < t->names_end && has(blocks, inode->name_at) &&
           *tl_at_name(t, inode->name_at) >= tl_name_units(inode->name_len) &&
           inode->seal == tl_slot_seal(t, inode, inode->type);
}

/* Drops what is not whole. What is left of `blocks` is used by nobody. */
static uint32_t check_slots(struct tl_inodes *t, uint8_t *blocks)
{
    uint32_t dropped = 0;
    for (uint32_t slot = 2; slot < t->slot_end; slot++) {
        struct tl_inode *inode = tl_at_slot(t, slot);
        if (inode->type == 0)
            continue;
        if (is_whole(t, inode, slot, blocks)) {
            flip(blocks, inode->name_at);
        } else {
            inode->type = 0;
            dropped++;
        }
    }
    return dropped;
}

static bool reaches_root(const struct tl_inodes *t, const struct tl_inode *inode)
{
    for (int depth = 0; depth < DEPTH_MAX && inode->slot != TL_INODE_ROOT; depth++) {
        if (inode->parent == 0 || inode->parent >= t->slot_end || tl_at_slot(t, inode->parent)->type == 0)
            return false;
        inode = tl_at_slot(t, inode->parent);
    }
    return inode->slot == TL_INODE_ROOT;
}

/* Drops what lies below a dropped one. */
static uint32_t check_parents(struct tl_inodes *t, uint8_t *blocks)
{
    uint32_t dropped = 0;
    for (uint32_t slot = 2; slot < t->slot_end; slot++) {
        struct tl_inode *inode = tl_at_slot(t, slot);
        if (inode->type != 0 && !reaches_root(t, inode)) {
            flip(blocks, inode->name_at);
            inode->type = 0;
            dropped++;
        }
    }
    return dropped;
}

static void make_root(struct tl_inodes *t)
{
    *tl_at_slot(t, TL_INODE_ROOT) = (struct tl_inode){.slot = TL_INODE_ROOT, .type = S_IFDIR, .nlookup = 1};
}

static int make_buckets(struct tl_inodes *t)
{
    uint32_t count = 256;
    while (count < t->slot_end)
        count *= 2;
    t->buckets = calloc(count, sizeof *t->buckets);
    t->bucket_count = count;
    return t->buckets == NULL ? -ENOMEM : 0;
}

/* Chains an inode whose name leads to it. Two of one name: a daemon died while it replaced one by the other. */
static void rechain(struct tl_inodes *t, struct tl_inode *inode)
{
    const char *name = tl_inode_name(t, inode);
    uint8_t bound; /* the one member that no seal covers and that is not made anew, but for the look-ups */
    memcpy(&bound, &inode->bound, 1);
    inode->bound = bound == 1;
    inode->next = 0;
    inode->hash = tl_inode_hash(inode->parent, name, inode->name_len);
    if (inode->bound && tl_inodes_find_bound(t, inode->parent, inode->hash, name, inode->name_len) != NULL)
        inode->bound = false;
    if (!inode->bound)
        return;
    tl_inodes_chain(t, inode);
    t->bound_count++;
}

static void rebuild(struct tl_inodes *t, const uint8_t *blocks)
{
    t->count = 1;
    for (uint32_t slot = 2; slot < t->slot_end; slot++)
        tl_at_slot(t, slot)->children = 0;
    for (uint32_t slot = t->slot_end - 1; slot >= 2; slot--) { /* downwards: low slots are used first */
        struct tl_inode *inode = tl_at_slot(t, slot);
        if (inode->type == 0) {
            *inode = (struct tl_inode){.slot = slot, .generation = inode->generation + 1, .next = t->free_head};
            t->free_head = slot;
            continue;
        }
        t->count++;
        tl_at_slot(t, inode->parent)->children++;
        rechain(t, inode);
    }
    for (uint32_t at = 1; at < t->names_end; at += *tl_at_name(t, at))
        if (has(blocks, at))
            tl_name_give(t, at);
    for (uint32_t slot = 2; slot < t->slot_end; slot++) { /* what the kernel was not told of, or has forgotten */
        struct tl_inode *inode = tl_at_slot(t, slot);
        if (inode->type != 0)
            tl_inodes_collect(t, inode);
    }
}

int tl_inodes_adopt(struct tl_inodes *t, int keep_fd, uint32_t *dropped)
{
    memset(t, 0, sizeof *t);
    *dropped = 0;
    uint8_t *blocks = NULL;
    int rc = tl_keep_open(&t->keep, keep_fd);
    if (rc == 0)
        rc = take_pages(t);
    if (rc == 0 && (blocks = calloc(t->names_end / 8 + 1, 1)) == NULL)
        rc = -ENOMEM;
    if (rc == 0)
        rc = walk_names(t, blocks);
    if (rc == 0)
        rc = make_buckets(t);
    if (rc == 0) {
        make_root(t);
        *dropped = check_slots(t, blocks);
        uint32_t more = *dropped > 0 ? check_parents(t, blocks) : 0;
        for (*dropped += more; more > 0; *dropped += more) /* each round drops some: ends */
            more = check_parents(t, blocks);
        rebuild(t, blocks);
    }
    free(blocks);
    if (rc != 0)
        tl_inodes_fini(t);
    return rc;
}
