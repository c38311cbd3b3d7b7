// SPDX-License-Identifier: Apache-2.0
/* What is kept, within a limit that changes while it runs, and without what the kernel holds anyway (config.keep_once). */
#include "core/node/internal.h"

#define EVICTIONS_PER_STEP 64u

uint64_t tl_node_limit_min(void)
{
    return 2ull * REQUEST_CHUNKS_MAX * TL_CHUNK_SIZE;
}

uint64_t tl_node_set_limit(struct tl_node *n, uint64_t bytes)
{
    uint64_t least = tl_node_limit_min();
    bytes = bytes < least ? least : bytes;
    n->limit_lowered |= bytes < n->config.cache_limit_bytes; /* requests that began under another one end as they are */
    n->config.cache_limit_bytes = bytes;
    return n->config.cache_limit_bytes;
}

bool tl_limit_waits(const struct tl_node *n)
{
    return (n->held_bytes > n->config.cache_limit_bytes && !n->limit_stuck) || n->once_count > 0;
}

/* Drops what programs here have been given in full, in the step after that (P-15). */
static void drop_served(struct tl_node *n)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < n->once_count; i++) {
        struct tl_chunk *c = &n->index->chunks[n->once[i]];
        if (c->answered_step == n->step) {
            n->once[left++] = n->once[i];
        } else if (c->state == TL_CHUNK_PRESENT && c->pins == 0 && !c->kept && c->served >= c->len) {
            n->counters.evictions++;
            tl_node_drop_chunk(n, n->once[i]);
        }
    }
    n->once_count = left;
}

void tl_limit_tick(struct tl_node *n)
{
    drop_served(n);
    n->limit_stuck = false;
    if (n->kept_bytes > n->config.cache_limit_bytes / 2)
        tl_pin_let_go(n, n->config.cache_limit_bytes / 2);
    for (uint32_t i = 0; i < EVICTIONS_PER_STEP && n->held_bytes > n->config.cache_limit_bytes; i++)
        if (!tl_node_evict(n)) {
            n->limit_stuck = true; /* all of it is in use: goes on when some of that is over */
            break;
        }
}

/* A front copies what it was given before the next step. A node that passes data on keeps it for those who come later. */
void tl_once_served(struct tl_node *n, uint32_t chunk, uint32_t len)
{
    struct tl_chunk *c = &n->index->chunks[chunk];
    const struct tl_object *o = &n->index->objects[c->object];
    if (!n->config.keep_once || o->op != TL_OP_READ)
        return;
    c->served = c->served > UINT32_MAX - len ? UINT32_MAX : c->served + len;
    bool passed_on = tl_forest_subtree(&n->forest, o->tree, n->config.rank) > 1;
    if (c->served >= c->len && !passed_on && n->once_count < ONCE_MAX)
        n->once[n->once_count++] = chunk;
}
