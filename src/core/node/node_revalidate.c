// SPDX-License-Identifier: Apache-2.0
/* Looking at the storage again (config.revalidate_ns): whoever reads the source for a tree reads the listings that it holds once
 * more from time to time, and floods a FLUSH for those that have changed (docs/protocol.md, P-44). */
#include "core/node/internal.h"

#define LOOKS_PER_STEP 256u
#define CHECKS_MAX     2u          /* at once: the storage has other work */
#define PASSES         4u          /* over all chunks within the time */
#define SOON_NS        10000000ull /* 10 ms: the rest of a pass */

static bool is_due(const struct tl_node *n, const struct tl_chunk *c)
{
    if (c->state != TL_CHUNK_PRESENT && c->state != TL_CHUNK_NEGATIVE)
        return false;
    const struct tl_object *o = &n->index->objects[c->object];
    return tl_op_is_blob((enum tl_op)o->op) && o->path != TL_PATH_NONE && tl_route_is_source(n, o->tree) &&
           n->now_ns - c->read_ns >= n->config.revalidate_ns;
}

static void start(struct tl_node *n, uint32_t chunk)
{
    uint32_t slot = tl_source_slot(n);
    struct tl_fetch_slot *s = &n->fetches[slot];
    struct tl_chunk *c = &n->index->chunks[chunk];
    const struct tl_object *o = &n->index->objects[c->object];
    s->fetch = (struct tl_fetch){.op = (enum tl_op)o->op, .path_len = o->path_len};
    tl_paths_get(n->index->paths, o->path, s->fetch.path, o->path_len);
    s->check = chunk;
    s->used = true;
    s->gen++;
    c->pins++; /* it stays, to be compared */
    n->fetch_count++;
    n->checks++;
    n->counters.source_lists++;
    struct tl_action *a = tl_node_act(n, TL_ACT_FETCH);
    a->fetch = &s->fetch;
    a->cookie = (uint64_t)s->gen << 32 | slot;
}

void tl_revalidate_tick(struct tl_node *n)
{
    if (n->config.revalidate_ns == 0 || n->now_ns < n->check_ns)
        return;
    for (uint32_t looks = 0; looks < LOOKS_PER_STEP && n->check_cursor < n->index->chunk_fresh; looks++) {
        if (n->checks >= CHECKS_MAX || n->fetch_count >= n->config.fetch_max)
            break;
        uint32_t chunk = n->check_cursor++;
        if (is_due(n, &n->index->chunks[chunk]))
            start(n, chunk);
    }
    n->check_ns = n->now_ns + SOON_NS;
    if (n->check_cursor < n->index->chunk_fresh)
        return;
    n->check_cursor = 0;
    n->check_ns = n->now_ns + n->config.revalidate_ns / PASSES;
}

void tl_revalidate_fetched(struct tl_node *n, struct tl_fetch_slot *s, const struct tl_event *ev)
{
    struct tl_chunk *c = &n->index->chunks[s->check];
    check(c->pins > 0 && ev->last);
    c->pins--;
    n->checks--;
    bool negative = c->state == TL_CHUNK_NEGATIVE;
    bool same =
        ev->status == 0 ? !negative && tl_hash_equal(ev->digest, c->digest) : negative && ev->status == c->status;
    bool says_nothing = ev->status < 0 && !tl_status_lasting(ev->status); /* it could not be read now */
    c->read_ns = n->now_ns;
    s->check = TL_SLOT_NONE;
    if (!same && !says_nothing && !tl_flood_flush(n, s->fetch.path, s->fetch.path_len))
        c->read_ns = 0; /* too many at once: looked at again in the next pass */
}

/* Nobody will look at it again from here: others may hold it still. */
void tl_revalidate_lost(struct tl_node *n, uint32_t chunk)
{
    const struct tl_object *o = &n->index->objects[n->index->chunks[chunk].object];
    if (n->config.revalidate_ns == 0 || !tl_op_is_blob((enum tl_op)o->op) || o->path == TL_PATH_NONE ||
        !tl_route_is_source(n, o->tree) || n->index->chunks[chunk].state != TL_CHUNK_PRESENT)
        return;
    n->lost_watch = true;
}

/* What was held before we became a source, or is held no more here, nobody watches: all ask again. */
void tl_revalidate_unwatched(struct tl_node *n)
{
    if (n->lost_watch && n->config.revalidate_ns > 0 && tl_flood_flush(n, "/", 1))
        n->lost_watch = false;
}
