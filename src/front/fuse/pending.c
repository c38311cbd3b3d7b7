// SPDX-License-Identifier: Apache-2.0
/* The table of waiting kernel requests; see pending.h. */
#include "front/fuse/pending.h"

#include <errno.h>
#include <stdlib.h>

/* Where the use counts of the next table begin. The host may give a closed mount's number to a new one while answers to the
 * old one are still on their way: they must find nothing in the new table. */
static uint32_t next_start;
#define START_STEP                                                                                                     \
    0x9e3779b1u /* odd, and far apart: tables share no ids until one has seen a billion requests a place */

int tl_pending_init(struct tl_pending *p)
{
    *p = (struct tl_pending){.slots = calloc(TL_PENDING_MAX, sizeof *p->slots)};
    if (p->slots == NULL)
        return -ENOMEM;
    next_start += START_STEP;
    for (uint32_t i = 0; i < TL_PENDING_MAX; i++) {
        p->slots[i].next_free = (uint16_t)(i + 1);
        p->slots[i].use_count = next_start;
    }
    return 0;
}

void tl_pending_fini(struct tl_pending *p)
{
    check(p->count == 0);
    free(p->slots);
    *p = (struct tl_pending){.slots = NULL};
}

int tl_pending_put(struct tl_pending *p, const struct tl_fuse_op *op, uint64_t *id)
{
    check(op->kind != 0);
    if (tl_pending_full(p))
        return -EBUSY;
    uint16_t place = p->free_head;
    struct tl_pending_slot *slot = &p->slots[place];
    check(slot->op.kind == 0);
    p->free_head = slot->next_free;
    p->count++;
    slot->op = *op;
    slot->use_count++;
    *id = (uint64_t)slot->use_count << 16 | place;
    return 0;
}

bool tl_pending_take(struct tl_pending *p, uint64_t id, struct tl_fuse_op *op)
{
    uint64_t place = id & UINT16_MAX;
    if (place >= TL_PENDING_MAX)
        return false;
    struct tl_pending_slot *slot = &p->slots[place];
    if (slot->op.kind == 0 || slot->use_count != id >> 16)
        return false;
    *op = slot->op;
    slot->op.kind = 0;
    slot->next_free = p->free_head;
    p->free_head = (uint16_t)place;
    check(p->count > 0);
    p->count--;
    return true;
}

bool tl_pending_any(const struct tl_pending *p, uint64_t *id)
{
    for (uint32_t i = 0; i < TL_PENDING_MAX && p->count > 0; i++) {
        if (p->slots[i].op.kind != 0) {
            *id = (uint64_t)p->slots[i].use_count << 16 | i;
            return true;
        }
    }
    return false;
}
