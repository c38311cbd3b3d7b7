// SPDX-License-Identifier: Apache-2.0
/* The node as a whole: tables, the step, the action list, memory for chunks. */
#include "core/node/node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/node/internal.h"

#define MS 1000000ull
#define S  (1000 * MS)

void tl_node_config_default(struct tl_node_config *c)
{
    c->arity = 16;
    c->roots = 1;
    c->cache_limit_bytes = 4ull << 30;
    c->object_max = 1u << 18;
    c->flight_max = 4096;
    c->waiter_max = 16384;
    c->readahead_max_bytes = 1u << 20;
    c->window_chunks = TL_FETCH_CHUNKS_MAX;
    c->request_timeout_ns = 5 * S;
    c->heartbeat_ns = 2 * S;
    c->connect_grace_ns = 10 * S;
    c->fetch_max = 32;
}

static bool config_valid(const struct tl_node_config *c)
{
    return c->node_count > 0 && c->rank < c->node_count && c->arity >= 1 && c->arity <= TL_FOREST_ARITY_MAX &&
           c->roots >= 1 && c->roots <= TL_FOREST_ROOTS_MAX && c->roots <= c->node_count &&
           c->cache_limit_bytes >= tl_node_limit_min() && c->object_max >= 16 && c->object_max < (1u << 28) &&
           c->flight_max >= 2 * (REQUEST_CHUNKS_MAX + c->roots) - 2 && c->flight_max < (1u << 20) &&
           c->waiter_max >= 2 * c->roots + 14 && c->waiter_max < (1u << 20) && c->window_chunks >= 1 &&
           c->window_chunks <= TL_FETCH_CHUNKS_MAX && c->request_timeout_ns > 0 && c->heartbeat_ns > 0 &&
           c->fetch_max >= 1 && c->fetch_max <= 1024;
}

/* A step sends at most one message a waiter, a peer, a flood and a chunk of one GET, beside a bounded number of GETs. */
static int alloc_tables(struct tl_node *n)
{
    const struct tl_node_config *c = &n->config;
    n->candidate_max = tl_routes_new(n);
    if (n->candidate_max == UINT32_MAX)
        return -ENOMEM;
    n->peer_max = c->arity * 4 + 29 + n->candidate_max;
    uint32_t sends =
        c->waiter_max + n->peer_max * 4 + TL_WIRE_GET_CHUNKS_MAX + ROUTES_PER_STEP + 4 * TL_FOREST_TREES_MAX;
    n->action_max = sends + c->waiter_max + c->fetch_max + STARTS_PER_STEP + 4 * TL_FOREST_TREES_MAX + 256;
    n->header_max = sends * 128 + (ROUTES_PER_STEP + n->peer_max) * (TL_PATH_MAX + 128);
    n->flights = calloc(c->flight_max, sizeof *n->flights);
    n->waiters = calloc(c->waiter_max, sizeof *n->waiters);
    n->requests = calloc(c->waiter_max, sizeof *n->requests);
    n->loans = calloc(c->waiter_max, sizeof *n->loans);
    n->fetches = calloc(c->fetch_max, sizeof *n->fetches);
    n->peers = calloc(n->peer_max, sizeof *n->peers);
    n->actions = calloc(n->action_max, sizeof *n->actions);
    n->headers = calloc(1, n->header_max);
    n->path = calloc(1, TL_PATH_MAX);
    n->flush_path = calloc(1, TL_PATH_MAX);
    if (n->flights == NULL || n->waiters == NULL || n->requests == NULL || n->loans == NULL || n->fetches == NULL ||
        n->peers == NULL || n->actions == NULL || n->headers == NULL || n->path == NULL || n->flush_path == NULL)
        return -ENOMEM;
    const uint32_t longest = TL_PATH_MAX / 32; /* blocks; more than one path needs */
    int rc = tl_paths_new(&n->parked_paths, c->waiter_max * 4 + longest);
    return rc != 0 ? rc : tl_index_new(&n->index, c->object_max, c->object_max / 2 + c->flight_max * 2 + longest);
}

int tl_node_new(struct tl_node **out, const struct tl_node_config *config, const struct tl_bytes_ops *bytes,
                void *bytes_ctx)
{
    if (!config_valid(config))
        return -EINVAL;
    struct tl_node *n = calloc(1, sizeof *n);
    if (n == NULL)
        return -ENOMEM;
    n->config = *config;
    n->bytes = *bytes;
    n->bytes_ctx = bytes_ctx;
    n->flight_free = n->waiter_free = n->request_free = n->loan_free = TL_SLOT_NONE;
    const struct list empty = {.head = TL_SLOT_NONE, .tail = TL_SLOT_NONE};
    for (uint32_t i = 0; i < FLIGHT_STATES; i++)
        n->lists[i] = empty;
    n->loan_ages = n->parked = empty;
    int rc = alloc_tables(n);
    if (rc != 0) {
        tl_node_free(n);
        return rc;
    }
    n->next_req = n->next_flood = 1;
    *out = n;
    return 0;
}

void tl_node_free(struct tl_node *n)
{
    if (n == NULL)
        return;
    tl_index_free(n->index);
    tl_paths_free(n->parked_paths);
    free(n->flights);
    free(n->waiters);
    free(n->requests);
    free(n->loans);
    free(n->fetches);
    free(n->peers);
    free(n->routes);
    free(n->actions);
    free(n->headers);
    free(n->path);
    free(n->flush_path);
    free(n);
}

static void dispatch(struct tl_node *n, const struct tl_event *ev)
{
    switch (ev->type) {
    case TL_EV_REQUEST: tl_request_start(n, ev->request); break;
    case TL_EV_CANCEL: tl_request_cancel(n, ev->id); break;
    case TL_EV_MESSAGE: tl_peer_message(n, ev); break;
    case TL_EV_PEER_UP: tl_peer_up(n, ev->rank); break;
    case TL_EV_PEER_DOWN: tl_peer_down(n, ev->rank, ev->status); break;
    case TL_EV_SENT: tl_loan_end(n, ev->cookie, TL_RANK_NONE, false); break;
    case TL_EV_PULLED: tl_data_pulled(n, ev->cookie, ev->status); break;
    case TL_EV_FETCHED: tl_source_fetched(n, ev); break;
    case TL_EV_TIMER: break;
    case TL_EV_FLUSH: tl_flood_start(n, TL_FLOOD_FLUSH, ev->id, ev->path, ev->path_len); break;
    case TL_EV_PIN: tl_flood_start(n, TL_FLOOD_PIN, ev->id, ev->path, ev->path_len); break;
    case TL_EV_UNPIN: tl_flood_start(n, TL_FLOOD_UNPIN, ev->id, ev->path, ev->path_len); break;
    case TL_EV_WARM: tl_flood_start(n, TL_FLOOD_WARM, ev->id, ev->path, ev->path_len); break;
    case TL_EV_PROFILE: tl_warm_start(n, ev->len); break;
    case TL_EV_GATHER: tl_flood_start(n, TL_FLOOD_GATHER, ev->id, "", 0); break;
    }
}

void tl_node_step(struct tl_node *n, uint64_t now_ns, const struct tl_event *ev)
{
    check(n->action_next == n->action_count); /* the driver has taken every action */
    if (n->step++ == 0) {
        n->started_ns = now_ns;
        for (uint32_t t = 0; t < n->tree_count; t++)
            n->routes[t].settle_ns = now_ns + n->config.connect_grace_ns;
    }
    if (now_ns > n->now_ns)
        n->now_ns = now_ns; /* a clock that jumps back stands still */
    n->action_count = n->action_next = n->header_used = 0;
    dispatch(n, ev);
    if (ev->type == TL_EV_TIMER) {
        tl_flight_timers(n);
        tl_loan_timers(n);
        tl_flood_timers(n);
    }
    tl_limit_tick(n);
    tl_route_tick(n);
    tl_peer_tick(n);
    tl_revalidate_tick(n);
    tl_revalidate_unwatched(n);
    tl_request_pump(n);
    tl_warm_pump(n);
    tl_route_pump(n);
    tl_source_pump(n);
}

bool tl_node_next(struct tl_node *n, struct tl_action *out)
{
    if (n->action_next == n->action_count)
        return false;
    *out = n->actions[n->action_next++];
    return true;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t first_flight_deadline(const struct tl_node *n, enum flight_state state)
{
    uint32_t head = n->lists[state].head;
    return head == TL_SLOT_NONE ? UINT64_MAX : n->flights[head].deadline_ns;
}

uint64_t tl_node_deadline(const struct tl_node *n)
{
    uint64_t at = n->tick_ns;
    at = earlier(at, first_flight_deadline(n, FLIGHT_ASKED));
    at = earlier(at, first_flight_deadline(n, FLIGHT_STALLED));
    if (n->parked.count > 0 || (tl_node_warm_left(n) > 0 && n->warm.flights == 0))
        at = earlier(at, n->now_ns + RETRY_NS);
    if (n->loan_ages.head != TL_SLOT_NONE)
        at = earlier(at, n->loans[n->loan_ages.head].deadline_ns);
    for (uint32_t i = 0; i < FLOODS_MAX; i++)
        if (n->floods[i].kind != 0)
            at = earlier(at, n->floods[i].deadline_ns);
    if (n->config.revalidate_ns > 0)
        at = earlier(at, n->check_ns > n->now_ns ? n->check_ns : n->now_ns + RETRY_NS);
    return tl_route_waits(n) || tl_limit_waits(n) ? n->now_ns : at; /* the rest of a long list goes at once */
}

struct tl_action *tl_node_act(struct tl_node *n, enum tl_action_type type)
{
    check(n->action_count < n->action_max);
    struct tl_action *a = &n->actions[n->action_count++];
    *a = (struct tl_action){.type = type};
    return a;
}

void tl_node_send(struct tl_node *n, uint32_t rank, const struct tl_wire *m, uint64_t addr, uint32_t len,
                  uint64_t cookie)
{
    uint8_t *header = n->headers + n->header_used;
    int used = tl_wire_encode(m, header, n->header_max - n->header_used);
    check(used > 0);
    n->header_used += (uint32_t)used;
    struct tl_action *a = tl_node_act(n, TL_ACT_SEND);
    a->rank = rank;
    a->header = header;
    a->header_len = (uint32_t)used;
    a->addr = addr;
    a->len = len;
    a->cookie = cookie;
    n->counters.messages_out++;
}

/* ---- memory ---- */

void tl_node_release(struct tl_node *n, uint64_t addr, uint32_t len)
{
    if (len == 0)
        return;
    check(n->held_bytes >= tl_pages(len));
    n->held_bytes -= tl_pages(len);
    n->bytes.free(n->bytes_ctx, addr, len);
}

void tl_node_drop_chunk(struct tl_node *n, uint32_t chunk)
{
    struct tl_chunk *c = &n->index->chunks[chunk];
    check(c->state == TL_CHUNK_PRESENT || c->state == TL_CHUNK_NEGATIVE);
    tl_pin_dropped(n, chunk);
    tl_node_release(n, c->addr, c->len);
    tl_index_remove_chunk(n->index, chunk);
}

bool tl_node_evict(struct tl_node *n)
{
    uint32_t victim = tl_index_victim(n->index, n->step);
    if (victim == TL_SLOT_NONE)
        return false;
    n->counters.evictions++;
    tl_revalidate_lost(n, victim);
    tl_node_drop_chunk(n, victim);
    return true;
}

int tl_node_alloc(struct tl_node *n, uint32_t len, uint64_t *addr)
{
    check(len > 0);
    if (tl_pages(len) > n->config.cache_limit_bytes)
        return -EFBIG;
    while (n->held_bytes + tl_pages(len) > n->config.cache_limit_bytes)
        if (!tl_node_evict(n))
            return -EBUSY;
    int rc = n->bytes.alloc(n->bytes_ctx, len, addr);
    for (uint32_t tries = 0; rc != 0 && tries < 64 && tl_node_evict(n); tries++)
        rc = n->bytes.alloc(n->bytes_ctx, len, addr);
    if (rc == 0)
        n->held_bytes += tl_pages(len);
    return rc == 0 ? 0 : -ENOMEM;
}

/* ---- what others see ---- */

int tl_node_peek(struct tl_node *n, enum tl_op op, const char *path, uint16_t path_len, struct tl_ref *ref)
{
    uint32_t object = tl_index_find_object(n->index, tl_object_key(op, path, path_len, 0));
    uint32_t chunk = object == TL_SLOT_NONE ? TL_SLOT_NONE : tl_index_find_chunk(n->index, object, 0);
    if (chunk == TL_SLOT_NONE)
        return -ENOENT;
    struct tl_chunk *c = &n->index->chunks[chunk];
    if (c->state == TL_CHUNK_NEGATIVE)
        return c->status;
    if (c->state != TL_CHUNK_PRESENT)
        return -ENOENT;
    tl_index_touch(n->index, chunk);
    tl_pin_touch(n, chunk, path, path_len);
    n->index->objects[object].hits++;
    *ref = (struct tl_ref){.addr = c->addr, .len = c->len};
    return 0;
}

void tl_node_held(const struct tl_node *n, const struct tl_request *r, struct tl_held *out)
{
    struct tl_hash key = tl_object_key(r->op, r->path, r->path_len, r->version);
    uint32_t object = tl_index_find_object(n->index, key);
    *out = (struct tl_held){.chunks = 1, .tree = tl_forest_tree_of(&n->forest, key, r->file_size_bytes)};
    out->root = tl_forest_at(&n->forest, out->tree, 0);
    if (r->op == TL_OP_READ)
        out->chunks = (uint32_t)((r->file_size_bytes + TL_CHUNK_SIZE - 1) / TL_CHUNK_SIZE);
    if (object == TL_SLOT_NONE)
        return;
    out->hits = n->index->objects[object].hits;
    for (uint32_t at = n->index->objects[object].chunks; at != TL_SLOT_NONE; at = n->index->chunks[at].object_next) {
        const struct tl_chunk *c = &n->index->chunks[at];
        out->present += c->state == TL_CHUNK_PRESENT;
        out->bytes += c->state == TL_CHUNK_PRESENT ? c->len : 0;
        out->pinned |= c->kept;
    }
}

void tl_node_report(const struct tl_node *n, struct tl_report *out)
{
    *out = (struct tl_report){.rank = n->config.rank,
                              .parent = tl_route_parent(n, 0),
                              .children = tl_peer_children(n),
                              .subtree = tl_peer_subtree(n),
                              .incarnation = n->config.incarnation,
                              .counters = n->counters};
    out->counters.warm_left = tl_node_warm_left(n) + n->warm.flights + n->warm.loading;
    out->counters.cached_bytes = n->held_bytes;
    out->counters.cached_objects = n->index->object_count;
    out->counters.open_flights = n->flight_count;
    out->counters.open_requests = n->request_count;
    out->counters.slow_children = tl_slow_children(n);
}

uint32_t tl_node_parent(const struct tl_node *n, uint32_t tree)
{
    return tree < n->tree_count ? tl_route_parent(n, tree) : TL_RANK_NONE;
}

bool tl_node_ready(const struct tl_node *n)
{
    for (uint32_t t = 0; t < n->tree_count; t++)
        if (tl_forest_place(&n->forest, t, n->config.rank) > 0 && tl_route_parent(n, t) == TL_RANK_NONE)
            return false;
    return tl_peer_subtree(n) >= tl_forest_subtree(&n->forest, 0, n->config.rank);
}

/* ---- invariants ---- */

/* The list's length. tree UINT32_MAX: flights of all trees. */
static uint32_t verify_list(const struct tl_node *n, const struct list *list, uint32_t state, uint32_t tree)
{
    uint32_t count = 0, prev = TL_SLOT_NONE;
    for (uint32_t at = list->head; at != TL_SLOT_NONE; at = n->flights[at].next) {
        const struct tl_flight *f = &n->flights[at];
        check(f->state == state && f->prev == prev && (tree == UINT32_MAX || f->tree == tree));
        prev = at;
        count++;
        check(count <= n->flight_count);
    }
    check(count == list->count && prev == list->tail);
    return count;
}

static void verify_flights(const struct tl_node *n)
{
    uint32_t flights = 0, listed = 0, waiters = 0;
    for (uint32_t i = 0; i < n->flight_fresh; i++) {
        const struct tl_flight *f = &n->flights[i];
        if (f->state == FLIGHT_FREE)
            continue;
        flights++;
        const struct tl_chunk *c = &n->index->chunks[f->chunk];
        check(c->state == TL_CHUNK_FLIGHT && c->flight == i);
        check(f->len == 0 || f->state == FLIGHT_PULLING || f->state == FLIGHT_FETCHING);
        check(!f->stale || f->state == FLIGHT_PULLING || f->state == FLIGHT_FETCHING);
        for (uint32_t at = f->waiters; at != TL_SLOT_NONE; at = n->waiters[at].next) {
            waiters++;
            check(waiters <= n->waiter_count);
            const struct tl_waiter *w = &n->waiters[at];
            check(w->peer || n->requests[w->slot].gen != w->gen || n->requests[w->slot].missing > 0);
        }
    }
    uint32_t of_trees = 0;
    for (uint32_t t = 0; t < n->tree_count; t++) {
        of_trees += n->routes[t].flights;
        listed += verify_list(n, &n->routes[t].waiting, FLIGHT_ROUTE, t);
    }
    check(of_trees == n->flight_count);
    for (uint32_t state = FLIGHT_ROUTE + 1; state < FLIGHT_STATES; state++)
        listed += verify_list(n, &n->lists[state], state, UINT32_MAX);
    for (uint32_t i = 0; i < n->flight_fresh; i++)
        listed += n->flights[i].state == FLIGHT_PULLING || n->flights[i].state == FLIGHT_FETCHING;
    check(flights == n->flight_count && listed == n->flight_count && waiters == n->waiter_count);
}

static void verify_memory(const struct tl_node *n)
{
    uint64_t held = 0, pins = 0, reserved = 0;
    for (uint32_t i = 0; i < n->flight_fresh; i++)
        held += n->flights[i].state == FLIGHT_FREE ? 0 : tl_pages(n->flights[i].len);
    for (uint32_t i = 0; i < n->index->chunk_fresh; i++) {
        const struct tl_chunk *c = &n->index->chunks[i];
        if (c->state == TL_CHUNK_PRESENT)
            held += tl_pages(c->len);
        if (c->state != TL_CHUNK_FREE)
            pins += c->pins;
    }
    for (uint32_t i = 0; i < n->loan_fresh; i++)
        pins -= n->loans[i].used;
    pins -= n->checks;
    uint32_t requests = 0, parked = 0;
    for (uint32_t i = 0; i < n->request_fresh; i++) {
        const struct tl_open_request *q = &n->requests[i];
        if (q->op == 0)
            continue;
        requests++;
        parked += q->parked;
        reserved += q->reserved_bytes;
        uint32_t here = 0;
        for (uint32_t k = 0; k < q->count; k++)
            here += q->chunks[k] != TL_SLOT_NONE;
        pins -= here;
        check(q->parked ? here == 0 && q->missing == 0 : here + q->missing == q->count && q->missing > 0);
    }
    check(held == n->held_bytes);
    check(n->pin_count > 0 || n->kept_bytes == 0);
    check(held <= n->config.cache_limit_bytes || n->limit_stuck || tl_limit_waits(n));
    check(pins == 0); /* every pin is a loan's, a request's, or a check's */
    check(requests == n->request_count && parked == n->parked.count);
    check(reserved == n->reserved_bytes && (reserved <= n->config.cache_limit_bytes / 2 || n->limit_lowered));
}

static void verify_peers(const struct tl_node *n)
{
    for (uint32_t i = 0; i < n->peer_high; i++) {
        const struct tl_peer_state *p = &n->peers[i];
        check(!p->used || p->link == LINK_UP || p->link == LINK_CLOSING || (!p->hello && p->child_of == 0));
        for (uint32_t t = 0; t < TL_FOREST_TREES_MAX; t++)
            check(!p->used || (p->child_of & 1u << t) == 0 || tl_route_may_ask(n, t, p->rank));
        for (uint32_t k = 0; k < FLOODS_MAX; k++)
            check((p->floods & 1u << k) == 0 || n->floods[k].kind != 0);
    }
    for (uint32_t k = 0; k < FLOODS_MAX; k++) {
        uint32_t waiting = 0;
        for (uint32_t i = 0; i < n->peer_high; i++)
            waiting += (n->peers[i].floods & 1u << k) != 0;
        check(n->floods[k].kind == 0 || waiting == n->floods[k].waiting);
    }
}

void tl_node_verify(const struct tl_node *n)
{
    tl_index_verify(n->index);
    verify_flights(n);
    verify_memory(n);
    verify_peers(n);
}
