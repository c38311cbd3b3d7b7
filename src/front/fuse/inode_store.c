// SPDX-License-Identifier: Apache-2.0
/* Slots and names of the inode table; see inode_store.h. The order of the stores is the point: inode.h. */
#include "front/fuse/inode_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

static int append(void ***pages, uint32_t *count, void *page)
{
    void **grown = realloc(*pages, (*count + 1) * sizeof *grown);
    if (grown == NULL)
        return -ENOMEM;
    grown[(*count)++] = page;
    *pages = grown;
    return 0;
}

int tl_pages_add(struct tl_inodes *t, enum tl_keep_kind kind, void *page)
{
    if (kind == TL_KEEP_INODES)
        return append((void ***)(void *)&t->pages, &t->page_count, page);
    return append((void ***)(void *)&t->name_pages, &t->name_page_count, page);
}

static int add_page(struct tl_inodes *t, enum tl_keep_kind kind)
{
    void *page = tl_keep_add(&t->keep, kind);
    return page == NULL ? -ENOMEM : tl_pages_add(t, kind, page);
}

/* ---- names ---- */

static uint32_t next_free(const struct tl_inodes *t, uint32_t at)
{
    uint32_t next;
    memcpy(&next, tl_at_name(t, at) + 4, sizeof next);
    return next;
}

void tl_name_give(struct tl_inodes *t, uint32_t at)
{
    uint8_t *block = tl_at_name(t, at);
    uint32_t units = block[0];
    memcpy(block + 4, &t->free_names[units], sizeof at);
    t->free_names[units] = at;
}

/* A block that has not been used before. No block lies on two pages: what is left of one becomes a free block. */
static int carve(struct tl_inodes *t, uint32_t units, uint32_t *at)
{
    uint32_t left = t->name_page_count * TL_PAGE_UNITS - t->names_end;
    if (left < units && add_page(t, TL_KEEP_NAMES) != 0)
        return -ENOMEM;
    if (left > 0 && left < units) {
        *tl_at_name(t, t->names_end) = (uint8_t)left;
        tl_name_give(t, t->names_end);
        t->names_end += left;
    }
    *at = t->names_end;
    *tl_at_name(t, *at) = (uint8_t)units;
    t->names_end += units;
    atomic_store_explicit(&t->keep.head->names_end, t->names_end, memory_order_release);
    return 0;
}

int tl_name_put(struct tl_inodes *t, const char *name, size_t name_len, uint32_t *at)
{
    uint32_t units = tl_name_units(name_len);
    if (t->name_page_count == 0) {
        if (add_page(t, TL_KEEP_NAMES) != 0)
            return -ENOMEM;
        *tl_at_name(t, 0) = 1; /* never used, so that 0 is no name */
        t->names_end = 1;
    }
    if (t->free_names[units] != 0) {
        *at = t->free_names[units];
        t->free_names[units] = next_free(t, *at);
    } else if (carve(t, units, at) != 0) {
        return -ENOMEM;
    }
    memcpy(tl_at_name(t, *at) + 1, name, name_len);
    return 0;
}

const char *tl_inode_name(const struct tl_inodes *t, const struct tl_inode *inode)
{
    return (const char *)tl_at_name(t, inode->name_at) + 1;
}

/* ---- slots ---- */

struct tl_inode *tl_slot_take(struct tl_inodes *t)
{
    if (t->free_head != 0) {
        struct tl_inode *inode = tl_at_slot(t, t->free_head);
        t->free_head = inode->next;
        inode->next = 0;
        return inode;
    }
    if (t->slot_end == t->page_count * TL_PAGE_INODES && add_page(t, TL_KEEP_INODES) != 0)
        return NULL;
    struct tl_inode *inode = tl_at_slot(t, t->slot_end);
    inode->slot = t->slot_end++;
    atomic_store_explicit(&t->keep.head->slot_end, t->slot_end, memory_order_release);
    return inode;
}

void tl_slot_give(struct tl_inodes *t, struct tl_inode *inode)
{
    uint32_t slot = inode->slot, generation = inode->generation;
    __atomic_store_n(&inode->type, 0, __ATOMIC_RELEASE);
    if (inode->name_at != 0)
        tl_name_give(t, inode->name_at);
    *inode = (struct tl_inode){.slot = slot, .generation = generation + 1, .next = t->free_head};
    t->free_head = slot;
}

uint32_t tl_slot_seal(const struct tl_inodes *t, const struct tl_inode *inode, uint16_t type)
{
    const uint64_t fixed[4] = {inode->version, inode->size_bytes, (uint64_t)inode->parent << 32 | inode->slot,
                               (uint64_t)inode->generation << 32 | (uint32_t)type << 16 | inode->name_len};
    return (uint32_t)tl_hash64(tl_inode_name(t, inode), inode->name_len, tl_hash64(fixed, sizeof fixed, 0));
}

void tl_slot_commit(struct tl_inodes *t, struct tl_inode *inode, uint16_t type)
{
    inode->seal = tl_slot_seal(t, inode, type);
    __atomic_store_n(&inode->type, type, __ATOMIC_RELEASE);
}
