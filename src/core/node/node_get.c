// SPDX-License-Identifier: Apache-2.0
/* GET: a child wants chunks. What is held goes at once, what is in flight when it lands, for the rest flights are opened. */
#include <errno.h>

#include "core/node/internal.h"

static void answer_from(struct tl_node *n, uint32_t peer, const struct tl_wire *m, uint32_t object, uint32_t number)
{
    struct tl_hash key = n->index->objects[object].key;
    uint32_t chunk = tl_index_find_chunk(n->index, object, number);
    if (chunk == TL_SLOT_NONE) { /* evicted again by its siblings: a cache too small for what is asked of it */
        tl_data_send_error(n, peer, m->get.req, key, number, -EBUSY);
        return;
    }
    struct tl_chunk *c = &n->index->chunks[chunk];
    if (c->state == TL_CHUNK_FLIGHT) {
        n->counters.coalesced += n->flights[c->flight].waiters != TL_SLOT_NONE;
        if (!tl_flight_wait(n, c->flight, true, peer, n->peers[peer].gen, m->get.req))
            tl_data_send_error(n, peer, m->get.req, key, number, -EBUSY);
        return;
    }
    tl_index_touch(n->index, chunk);
    if (c->state == TL_CHUNK_NEGATIVE)
        tl_data_send_error(n, peer, m->get.req, key, number, c->status);
    else
        tl_data_send(n, peer, m->get.req, chunk);
}

/* While requests are parked for want of flights, half of them are theirs, but for one in each tree (P-12). */
static bool crowded(const struct tl_node *n, uint32_t tree)
{
    return n->parked.count > 0 && n->flight_count >= n->config.flight_max / 2 && n->routes[tree].flights > 0;
}

/* How many of the chunks, from the first on, are held or in flight. */
static uint32_t known(const struct tl_node *n, uint32_t object, const struct tl_wire *m)
{
    uint32_t count = 0;
    while (object != TL_SLOT_NONE && count < m->get.count &&
           tl_index_find_chunk(n->index, object, m->get.first + count) != TL_SLOT_NONE)
        count++;
    return count;
}

void tl_get_received(struct tl_node *n, uint32_t peer, const struct tl_wire *m)
{
    const struct tl_request r = {.op = m->get.op,
                                 .path = m->get.path,
                                 .path_len = m->get.path_len,
                                 .version = m->get.version,
                                 .file_size_bytes = m->get.file_size_bytes};
    struct tl_hash key = tl_object_key(r.op, r.path, r.path_len, r.version);
    n->counters.requests++;
    if (tl_op_is_blob(m->get.op) && m->get.outdated != 0)
        tl_stale_listing(n, m);
    uint64_t before = n->counters.flights_opened;
    uint32_t object = tl_index_find_object(n->index, key);
    if (object != TL_SLOT_NONE && n->index->objects[object].file_size_bytes != r.file_size_bytes) {
        for (uint32_t i = 0; i < m->get.count; i++) /* one of the two has the size of another version (P-10) */
            tl_data_send_error(n, peer, m->get.req, key, m->get.first + i, -ESTALE);
        return;
    }
    uint32_t opened = crowded(n, tl_forest_tree_of(&n->forest, key, r.file_size_bytes))
                          ? known(n, object, m)
                          : tl_flight_open(n, &r, m->get.first, m->get.count);
    n->counters.hits += n->counters.flights_opened == before;
    n->counters.misses += n->counters.flights_opened != before;
    object = tl_index_find_object(n->index, key);
    for (uint32_t i = 0; i < m->get.count; i++) {
        if (i < opened && object != TL_SLOT_NONE) {
            answer_from(n, peer, m, object, m->get.first + i);
        } else {
            n->counters.busy++;
            tl_data_send_error(n, peer, m->get.req, key, m->get.first + i, -EBUSY);
        }
    }
}
