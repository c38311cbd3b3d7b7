// SPDX-License-Identifier: Apache-2.0
/* Whom this node asks. Its candidates are its ancestors, nearest first, then the root's stand-ins; all have lower ranks, so
 * no cycle can form (docs/protocol.md, P-20). It asks one of them at a time, goes on to the next when that one is gone, tries
 * the better ones again from time to time, and reads the source itself when it reaches nobody. */
#include <errno.h>

#include "base/hash.h"
#include "core/node/internal.h"

#define BACKOFF_MIN_NS 20000000ull   /* 20 ms */
#define BACKOFF_MAX_NS 1000000000ull /* 1 s */
#define PROBE_FACTOR   4u            /* heartbeats between tries of a better candidate */

bool tl_route_is_source(const struct tl_node *n)
{
    return n->current == n->candidate_count;
}

uint32_t tl_route_parent(const struct tl_node *n)
{
    if (tl_route_is_source(n))
        return TL_RANK_NONE;
    uint32_t rank = n->candidates[n->current];
    uint32_t peer = tl_peer_find(n, rank);
    bool up = peer != TL_SLOT_NONE && n->peers[peer].link == LINK_UP && n->peers[peer].hello;
    return up ? rank : TL_RANK_NONE;
}

/* ---- sending what is to be asked for ---- */

/* Asks for the flight at the head of the list, and in the same GET for those behind it that continue it. */
static void ask(struct tl_node *n, uint32_t rank)
{
    uint32_t head = n->lists[FLIGHT_ROUTE].head;
    const struct tl_chunk *c = &n->index->chunks[n->flights[head].chunk];
    uint32_t object = c->object, first = c->number, count = 0;
    const struct tl_object *o = &n->index->objects[object];
    uint64_t req = n->next_req++;
    while (count < TL_WIRE_GET_CHUNKS_MAX && n->lists[FLIGHT_ROUTE].head != TL_SLOT_NONE) {
        uint32_t at = n->lists[FLIGHT_ROUTE].head;
        struct tl_flight *f = &n->flights[at];
        c = &n->index->chunks[f->chunk];
        if (c->object != object || c->number != first + count)
            break;
        f->rank = rank;
        f->deadline_ns = n->now_ns + n->config.request_timeout_ns;
        tl_flight_move(n, at, FLIGHT_ASKED);
        count++;
    }
    tl_paths_get(n->index->paths, o->path, n->path, o->path_len);
    const struct tl_wire m = {.type = TL_WIRE_GET,
                              .get = {.req = req,
                                      .op = (enum tl_op)o->op,
                                      .path = n->path,
                                      .path_len = o->path_len,
                                      .version = o->version,
                                      .file_size_bytes = o->file_size_bytes,
                                      .first = first,
                                      .count = count}};
    tl_node_send(n, rank, &m, 0, 0, 0);
    n->counters.meta_requests_up += o->op != TL_OP_READ;
    n->counters.data_requests_up += o->op == TL_OP_READ;
}

void tl_route_pump(struct tl_node *n)
{
    uint32_t rank = tl_route_parent(n);
    if (tl_route_is_source(n)) {
        while (n->lists[FLIGHT_ROUTE].head != TL_SLOT_NONE)
            tl_flight_move(n, n->lists[FLIGHT_ROUTE].head, FLIGHT_QUEUED);
        return;
    }
    for (uint32_t i = 0; rank != TL_RANK_NONE && i < ROUTES_PER_STEP && n->lists[FLIGHT_ROUTE].count > 0; i++)
        ask(n, rank);
}

/* ---- choosing ---- */

static uint64_t jitter(const struct tl_node *n, uint64_t below, uint64_t salt)
{
    const uint64_t draw[] = {n->config.seed, n->config.rank, n->step, salt};
    return below == 0 ? 0 : tl_hash64(draw, sizeof draw, 0) % below;
}

static uint64_t backoff(const struct tl_node *n, uint32_t failures)
{
    uint64_t base = BACKOFF_MIN_NS;
    for (uint32_t i = 1; i < failures && base < BACKOFF_MAX_NS; i++)
        base *= 2;
    if (base > BACKOFF_MAX_NS)
        base = BACKOFF_MAX_NS;
    return base / 2 + jitter(n, base, failures);
}

static void try_connect(struct tl_node *n, uint32_t rank)
{
    uint32_t peer = tl_peer_get(n, rank);
    if (peer == TL_SLOT_NONE)
        return;
    struct tl_peer_state *p = &n->peers[peer];
    if (p->link != LINK_NONE || p->retry_ns > n->now_ns)
        return;
    p->link = LINK_CONNECTING;
    tl_node_act(n, TL_ACT_CONNECT)->rank = rank;
}

void tl_route_tell_subtree(struct tl_node *n)
{
    uint32_t rank = tl_route_parent(n), subtree = tl_peer_subtree(n);
    if (rank == TL_RANK_NONE || n->joined_subtree == subtree)
        return;
    const struct tl_wire m = {.type = TL_WIRE_JOIN, .join = {.subtree = subtree}};
    tl_node_send(n, rank, &m, 0, 0, 0);
    n->joined_subtree = subtree;
    n->joined_ns = n->now_ns;
}

static void drop_link(struct tl_node *n, uint32_t rank)
{
    uint32_t peer = tl_peer_find(n, rank);
    if (peer != TL_SLOT_NONE)
        tl_peer_drop(n, peer);
}

/* From now on, candidate `index` is the one to ask; what the old one was asked for is asked for again by its DOWN (P-6). */
static void choose(struct tl_node *n, uint32_t index)
{
    if (index == n->current)
        return;
    uint32_t old = n->current;
    n->counters.reparented++;
    n->current = index;
    n->joined_subtree = 0;
    n->was_up = tl_route_parent(n) != TL_RANK_NONE;
    n->settle_ns = n->now_ns + n->config.heartbeat_ns;
    n->probe = 0;
    n->probe_ns = n->now_ns + n->config.heartbeat_ns * PROBE_FACTOR;
    if (old < n->candidate_count && index < old)
        drop_link(n, n->candidates[old]);
}

/* A neighbour has introduced itself: if it is the one to ask, or better than that one, it is asked from now on. */
void tl_route_hello(struct tl_node *n, uint32_t rank)
{
    for (uint32_t i = 0; i < n->current; i++)
        if (n->candidates[i] == rank) {
            choose(n, i);
            break;
        }
    if (!tl_route_is_source(n) && n->candidates[n->current] == rank) {
        n->was_up = true;
        tl_route_tell_subtree(n);
    }
}

/* The connection to rank is gone (was_up) or could not be made: after a while, the next is asked (P-21). */
void tl_route_lost(struct tl_node *n, uint32_t rank, bool was_up)
{
    if (tl_route_is_source(n) || n->candidates[n->current] != rank)
        return;
    n->joined_subtree = 0;
    bool gone = was_up || n->was_up || n->now_ns >= n->settle_ns;
    if (gone)
        choose(n, n->current + 1);
}

bool tl_route_is_candidate(const struct tl_node *n, uint32_t rank)
{
    for (uint32_t i = 0; i < n->candidate_count; i++)
        if (n->candidates[i] == rank)
            return true;
    return false;
}

/* The flights that `rank` was asked for go to whoever is asked now (P-6). What is being pulled from it ends by PULLED,
 * without DONE: the loan ended with the connection (P-18). */
static void reroute(struct tl_node *n, uint32_t rank)
{
    for (uint32_t at = n->lists[FLIGHT_ASKED].head; at != TL_SLOT_NONE;) {
        uint32_t next = n->flights[at].next;
        if (n->flights[at].rank == rank) {
            n->counters.flights_retried++;
            tl_flight_move(n, at, FLIGHT_ROUTE);
        }
        at = next;
    }
    for (uint32_t at = 0; at < n->flight_fresh; at++)
        if (n->flights[at].rank == rank)
            n->flights[at].rank = TL_RANK_NONE;
}

/* P-22 */
static void probe_better(struct tl_node *n)
{
    if (n->current == 0 || n->now_ns < n->probe_ns)
        return;
    if (n->probe >= n->current)
        n->probe = 0;
    try_connect(n, n->candidates[n->probe++]);
    n->probe_ns = n->now_ns + n->config.heartbeat_ns * PROBE_FACTOR / 2;
    n->probe_ns += jitter(n, n->config.heartbeat_ns * PROBE_FACTOR, 0);
}

void tl_route_tick(struct tl_node *n)
{
    if (!tl_route_is_source(n) && tl_route_parent(n) == TL_RANK_NONE)
        try_connect(n, n->candidates[n->current]);
    probe_better(n);
}

void tl_peer_down(struct tl_node *n, uint32_t rank)
{
    uint32_t peer = tl_peer_find(n, rank);
    if (peer == TL_SLOT_NONE)
        return;
    struct tl_peer_state *p = &n->peers[peer];
    bool was_up = p->link == LINK_UP || p->link == LINK_CLOSING;
    uint32_t failures = was_up ? 1 : p->failures + 1;
    n->counters.peers_lost += was_up;
    if (was_up) {
        tl_loans_of_peer_end(n, rank);
        tl_flood_peer_lost(n, peer);
    }
    p->link = LINK_NONE;
    p->hello = p->child = false;
    p->gen++;
    n->tick_ns = n->now_ns;
    p->failures = failures;
    p->retry_ns = n->now_ns + backoff(n, failures);
    p->used = tl_route_is_candidate(n, rank); /* its record carries the back-off; a child's is free */
    tl_route_lost(n, rank, was_up);
    reroute(n, rank);
    tl_route_tell_subtree(n);
}
