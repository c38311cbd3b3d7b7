// SPDX-License-Identifier: Apache-2.0
/* A node's simulated arena: which descriptor (catalog.h) lies at which address, and who misuses it.
 *
 * Stands behind tl_bytes_ops. Finds double frees, frees of something else, use after free, and overwriting: each
 * is a violation in the world. Addresses look like the real arena's (region << 40 | offset) and are used again soon
 * after they were freed, so that a stale address reads another object's bytes. One owner thread. */
#ifndef TL_SIM_ARENA_H
#define TL_SIM_ARENA_H

#include "core/node/node.h"
#include "sim/catalog.h"
#include "sim/world.h"

struct tl_sim_arena {
    struct tl_world *world;
    struct tl_sim_catalog *catalog;
    uint32_t rank;
    uint64_t limit_bytes; /* alloc fails beyond */
    struct tl_arena_slot {
        uint32_t content; /* id; 0: nothing written yet */
        uint32_t len;     /* 0: free; `content` is then the next free slot + 1 */
    } * slots;
    uint32_t slot_count, slot_capacity, free_slot; /* free_slot: index + 1 */
    uint64_t live_bytes, peak_bytes;
    uint64_t allocs, frees;
};

extern const struct tl_bytes_ops tl_sim_arena_ops; /* ctx: struct tl_sim_arena */

void tl_sim_arena_init(struct tl_sim_arena *a, struct tl_world *w, struct tl_sim_catalog *c, uint32_t rank,
                       uint64_t limit_bytes);
void tl_sim_arena_fini(struct tl_sim_arena *a);

/* What the owner sees at addr: the descriptor, and the offset of addr in it. NULL (and a violation that names `who`)
 * when [addr, addr + len) is not inside a live, filled allocation. */
const struct tl_content *tl_sim_arena_at(struct tl_sim_arena *a, uint64_t addr, uint32_t len, uint32_t *offset,
                                         const char *who);
/* Is this descriptor in some live allocation? Looks at all of them. */
bool tl_sim_arena_holds(const struct tl_sim_arena *a, uint32_t content);
/* What a peer sees there: NULL when it reads zeros or a mixture; never a violation. */
const struct tl_content *tl_sim_arena_peek(const struct tl_sim_arena *a, uint64_t addr, uint32_t len);
/* Bytes arrive at addr, from storage or from a peer. */
void tl_sim_arena_land(struct tl_sim_arena *a, uint64_t addr, uint32_t len, const struct tl_content *content,
                       const char *who);

#endif
