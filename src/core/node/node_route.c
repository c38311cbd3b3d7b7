// SPDX-License-Identifier: Apache-2.0
/* Whom this node asks, in each tree. Its candidates are its ancestors, nearest first, then the root's stand-ins; all come before it
 * in the tree's order, so no cycle can form (docs/protocol.md, P-20). It asks one of them at a time, goes on to the next when that
 * one is gone, tries the better ones again from time to time, and reads the source itself when it reaches nobody. */
#include <errno.h>
#include <stdlib.h>

#include "base/hash.h"
#include "core/node/internal.h"

#define BACKOFF_MIN_NS 20000000ull   /* 20 ms */
#define BACKOFF_MAX_NS 1000000000ull /* 1 s */
#define PROBE_FACTOR   4u            /* heartbeats between tries of a better candidate */

/* ---- who it can be ---- */

static bool known_before(const struct tl_node *n, uint32_t tree, uint32_t rank)
{
    for (uint32_t t = 0; t < tree; t++)
        for (uint32_t i = 0; i < n->routes[t].candidate_count; i++)
            if (n->routes[t].candidates[i] == rank)
                return true;
    return false;
}

uint32_t tl_routes_new(struct tl_node *n)
{
    n->forest = (struct tl_forest){.node_count = n->config.node_count,
                                   .roots = n->config.roots,
                                   .arity = n->config.arity,
                                   .topology = n->config.topology};
    n->tree_count = tl_forest_trees(&n->forest);
    n->routes = calloc(n->tree_count, sizeof *n->routes);
    if (n->routes == NULL)
        return UINT32_MAX;
    uint32_t distinct = 0;
    for (uint32_t t = 0; t < n->tree_count; t++) {
        struct tl_route *r = &n->routes[t];
        r->candidate_count = tl_forest_candidates(&n->forest, t, n->config.rank, r->candidates);
        r->waiting.head = r->waiting.tail = TL_SLOT_NONE;
        for (uint32_t i = 0; i < r->candidate_count; i++)
            distinct += !known_before(n, t, r->candidates[i]);
    }
    return distinct;
}

bool tl_route_is_candidate(const struct tl_node *n, uint32_t rank)
{
    return known_before(n, n->tree_count, rank);
}

bool tl_route_may_ask(const struct tl_node *n, uint32_t tree, uint32_t rank)
{
    return tree < n->tree_count &&
           tl_forest_place(&n->forest, tree, rank) > tl_forest_place(&n->forest, tree, n->config.rank);
}

bool tl_route_is_below(const struct tl_node *n, uint32_t rank)
{
    bool below = false;
    for (uint32_t t = 0; t < n->tree_count; t++)
        below |= tl_route_may_ask(n, t, rank);
    return below;
}

/* ---- who it is ---- */

bool tl_route_is_source(const struct tl_node *n, uint32_t tree)
{
    return n->routes[tree].current == n->routes[tree].candidate_count;
}

static bool is_current(const struct tl_node *n, uint32_t tree, uint32_t rank)
{
    const struct tl_route *r = &n->routes[tree];
    return r->current < r->candidate_count && r->candidates[r->current] == rank;
}

static bool is_usable(const struct tl_node *n, uint32_t rank)
{
    uint32_t peer = tl_peer_find(n, rank);
    return peer != TL_SLOT_NONE && n->peers[peer].link == LINK_UP && n->peers[peer].hello;
}

uint32_t tl_route_parent(const struct tl_node *n, uint32_t tree)
{
    if (tl_route_is_source(n, tree))
        return TL_RANK_NONE;
    uint32_t rank = n->routes[tree].candidates[n->routes[tree].current];
    return is_usable(n, rank) ? rank : TL_RANK_NONE;
}

bool tl_route_asks(const struct tl_node *n, uint32_t rank)
{
    for (uint32_t t = 0; t < n->tree_count; t++)
        if (is_current(n, t, rank))
            return true;
    return false;
}

/* ---- sending what is to be asked for ---- */

/* Asks for the flight at the head of the tree's list, and in the same GET for those behind it that continue it. */
static void ask(struct tl_node *n, uint32_t tree, uint32_t rank)
{
    const struct list *waiting = &n->routes[tree].waiting;
    const struct tl_chunk *c = &n->index->chunks[n->flights[waiting->head].chunk];
    uint32_t object = c->object, first = c->number, count = 0;
    const struct tl_object *o = &n->index->objects[object];
    uint64_t req = n->next_req++;
    while (count < TL_WIRE_GET_CHUNKS_MAX && waiting->head != TL_SLOT_NONE) {
        uint32_t at = waiting->head;
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
                                      .outdated = tl_op_is_blob((enum tl_op)o->op) ? tl_stale_mark(n, o->key) : 0,
                                      .file_size_bytes = o->file_size_bytes,
                                      .first = first,
                                      .count = count}};
    tl_node_send(n, rank, &m, 0, 0, 0);
    n->counters.meta_requests_up += o->op != TL_OP_READ;
    n->counters.data_requests_up += o->op == TL_OP_READ;
}

bool tl_route_waits(const struct tl_node *n)
{
    for (uint32_t t = 0; t < n->tree_count; t++)
        if (n->routes[t].waiting.count > 0 && (tl_route_is_source(n, t) || tl_route_parent(n, t) != TL_RANK_NONE))
            return true;
    return false;
}

/* The trees share what one step may send. */
void tl_route_pump(struct tl_node *n)
{
    uint32_t budget = ROUTES_PER_STEP;
    for (uint32_t k = 0; k < n->tree_count; k++) {
        uint32_t t = (uint32_t)((n->step + k) % n->tree_count); /* each is the first at times */
        const struct tl_route *r = &n->routes[t];
        while (tl_route_is_source(n, t) && r->waiting.count > 0)
            tl_flight_move(n, r->waiting.head, FLIGHT_QUEUED);
        uint32_t rank = r->waiting.count > 0 ? tl_route_parent(n, t) : TL_RANK_NONE;
        for (; rank != TL_RANK_NONE && r->waiting.count > 0 && budget > 0; budget--)
            ask(n, t, rank);
    }
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

static void send_join(struct tl_node *n, uint32_t tree, uint32_t rank, uint32_t subtree)
{
    const struct tl_wire m = {.type = TL_WIRE_JOIN, .join = {.tree = tree, .subtree = subtree}};
    tl_node_send(n, rank, &m, 0, 0, 0);
}

/* Nodes are counted in tree 0; in the others a child is a child. */
void tl_route_join(struct tl_node *n)
{
    for (uint32_t t = 0; t < n->tree_count; t++) {
        struct tl_route *r = &n->routes[t];
        uint32_t rank = tl_route_parent(n, t), subtree = t == 0 ? tl_peer_subtree(n) : 1;
        if (rank == TL_RANK_NONE || r->joined_subtree == subtree)
            continue;
        send_join(n, t, rank, subtree);
        r->joined_subtree = subtree;
        r->joined_ns = n->now_ns;
    }
}

/* P-24 */
void tl_route_join_again(struct tl_node *n)
{
    for (uint32_t t = 0; t < n->tree_count; t++)
        if (n->now_ns - n->routes[t].joined_ns >= n->config.heartbeat_ns)
            n->routes[t].joined_subtree = 0;
    tl_route_join(n);
}

/* Candidate `old` is no longer asked in this tree, because a better one is there. */
static void leave(struct tl_node *n, uint32_t tree, uint32_t old)
{
    uint32_t peer = tl_peer_find(n, old);
    if (peer == TL_SLOT_NONE || n->peers[peer].link != LINK_UP)
        return;
    if (!tl_route_asks(n, old) && n->peers[peer].child_of == 0)
        tl_peer_drop(n, peer);
    else if (n->peers[peer].hello)
        send_join(n, tree, old, 0); /* its answers to what it was asked for still count */
}

/* Somebody can be asked again: what has not been read yet is asked for, not read. */
static void take_back(struct tl_node *n, uint32_t tree)
{
    for (uint32_t at = n->lists[FLIGHT_QUEUED].head; at != TL_SLOT_NONE;) {
        uint32_t next = n->flights[at].next;
        if (n->flights[at].tree == tree && !n->flights[at].own)
            tl_flight_move(n, at, FLIGHT_ROUTE);
        at = next;
    }
}

/* From now on, candidate `index` is the one to ask. What an absent one was asked for is asked for again by its DOWN (P-6). */
static void choose(struct tl_node *n, uint32_t tree, uint32_t index)
{
    struct tl_route *r = &n->routes[tree];
    uint32_t old = r->current;
    if (index == old)
        return;
    n->counters.reparented++;
    r->current = index;
    n->lost_watch |= index == r->candidate_count; /* we read the source now, and hold not all that others do */
    r->joined_subtree = 0;
    r->was_up = tl_route_parent(n, tree) != TL_RANK_NONE;
    r->settle_ns = n->now_ns + n->config.heartbeat_ns;
    r->probe = 0;
    r->probe_ns = n->now_ns + n->config.heartbeat_ns * PROBE_FACTOR;
    if (index < old && old < r->candidate_count)
        leave(n, tree, r->candidates[old]);
    else if (old == r->candidate_count)
        take_back(n, tree);
}

/* A neighbour has introduced itself: where it is the one to ask, or better than that one, it is asked from now on. */
void tl_route_hello(struct tl_node *n, uint32_t rank)
{
    for (uint32_t t = 0; t < n->tree_count; t++) {
        struct tl_route *r = &n->routes[t];
        for (uint32_t i = 0; i < r->current; i++)
            if (r->candidates[i] == rank) {
                choose(n, t, i);
                break;
            }
        r->was_up |= is_current(n, t, rank);
    }
    tl_route_join(n);
}

/* The candidate after the current one; those that were found absent a moment ago are passed over, but for the last. */
static uint32_t next_candidate(const struct tl_node *n, const struct tl_route *r)
{
    uint32_t next = r->current + 1;
    for (; next + 1 < r->candidate_count; next++) {
        uint32_t peer = tl_peer_find(n, r->candidates[next]);
        if (peer == TL_SLOT_NONE || !n->peers[peer].refused || n->peers[peer].retry_ns <= n->now_ns)
            break;
    }
    return next;
}

/* The connection to rank is gone (was_up) or could not be made: the next is asked, at once or after a while (P-21). */
void tl_route_lost(struct tl_node *n, uint32_t rank, bool was_up, bool refused)
{
    for (uint32_t t = 0; t < n->tree_count; t++) {
        struct tl_route *r = &n->routes[t];
        if (!is_current(n, t, rank))
            continue;
        r->joined_subtree = 0;
        bool pass_over = refused && r->current > 0 && r->current + 1 < r->candidate_count;
        if (was_up || r->was_up || pass_over || n->now_ns >= r->settle_ns)
            choose(n, t, next_candidate(n, r));
    }
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
static void probe_better(struct tl_node *n, struct tl_route *r)
{
    if (r->current == 0 || n->now_ns < r->probe_ns)
        return;
    if (r->probe >= r->current)
        r->probe = 0;
    uint32_t rank = r->candidates[r->probe++];
    try_connect(n, rank);
    r->probe_ns = n->now_ns + n->config.heartbeat_ns * PROBE_FACTOR / 2;
    r->probe_ns += jitter(n, n->config.heartbeat_ns * PROBE_FACTOR, rank);
}

void tl_route_tick(struct tl_node *n)
{
    for (uint32_t t = 0; t < n->tree_count; t++) {
        struct tl_route *r = &n->routes[t];
        if (r->current < r->candidate_count && !is_usable(n, r->candidates[r->current]))
            try_connect(n, r->candidates[r->current]);
        probe_better(n, r);
    }
}

uint64_t tl_route_tick_ns(const struct tl_node *n, uint64_t connect_ns)
{
    uint64_t at = UINT64_MAX;
    for (uint32_t t = 0; t < n->tree_count; t++) {
        const struct tl_route *r = &n->routes[t];
        bool alone = !tl_route_is_source(n, t) && tl_route_parent(n, t) == TL_RANK_NONE;
        if (alone && connect_ns < at)
            at = connect_ns;
        if (r->current > 0 && r->probe_ns < at)
            at = r->probe_ns > n->now_ns ? r->probe_ns : n->now_ns + n->config.heartbeat_ns / 2;
    }
    return at;
}

void tl_peer_down(struct tl_node *n, uint32_t rank, int status)
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
    p->hello = false;
    p->child_of = 0;
    p->gen++;
    n->tick_ns = n->now_ns;
    p->failures = failures;
    p->refused = !was_up && status == -ECONNREFUSED;
    p->retry_ns = n->now_ns + backoff(n, failures);
    p->used = tl_route_is_candidate(n, rank); /* its record carries the back-off; a child's is free */
    tl_route_lost(n, rank, was_up, p->refused);
    reroute(n, rank);
    tl_route_join(n);
}
