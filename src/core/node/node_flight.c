// SPDX-License-Identifier: Apache-2.0
/* Flights: one a chunk and node, whoever else asks waits on it (request coalescing; docs/protocol.md, P-1). */
#include <errno.h>

#include "core/node/internal.h"

#define PATH_EVICTIONS_MAX 64u /* chunks that may go to make room for one path */

/* ---- the lists, linked by slot ---- */

static bool listed(enum flight_state state)
{
    return state == FLIGHT_ROUTE || state == FLIGHT_ASKED || state == FLIGHT_QUEUED || state == FLIGHT_STALLED;
}

static struct list *list_of(struct tl_node *n, const struct tl_flight *f)
{
    return f->state == FLIGHT_ROUTE ? &n->routes[f->tree].waiting : &n->lists[f->state];
}

static void unlink_flight(struct tl_node *n, struct tl_flight *f)
{
    struct list *list = list_of(n, f);
    if (f->prev != TL_SLOT_NONE)
        n->flights[f->prev].next = f->next;
    else
        list->head = f->next;
    if (f->next != TL_SLOT_NONE)
        n->flights[f->next].prev = f->prev;
    else
        list->tail = f->prev;
    list->count--;
}

void tl_flight_move(struct tl_node *n, uint32_t flight, enum flight_state state)
{
    struct tl_flight *f = &n->flights[flight];
    if (listed(f->state))
        unlink_flight(n, f);
    f->state = (uint8_t)state;
    f->next = f->prev = TL_SLOT_NONE;
    if (!listed(state))
        return;
    struct list *list = list_of(n, f);
    f->prev = list->tail;
    if (list->tail != TL_SLOT_NONE)
        n->flights[list->tail].next = flight;
    else
        list->head = flight;
    list->tail = flight;
    list->count++;
}

/* ---- opening ---- */

uint32_t tl_room_flights(const struct tl_node *n, uint32_t tree)
{
    uint32_t kept = 0, left = n->config.flight_max - n->flight_count;
    for (uint32_t t = 0; t < n->tree_count; t++)
        kept += t != tree && n->routes[t].flights == 0;
    return left > kept ? left - kept : 0;
}

uint32_t tl_room_waiters(const struct tl_node *n, uint32_t tree)
{
    uint32_t kept = 0, left = n->config.waiter_max - n->waiter_count;
    for (uint32_t t = 0; t < n->tree_count; t++)
        kept += t != tree && n->routes[t].waiters == 0;
    return left > kept ? left - kept : 0;
}

static uint32_t new_flight(struct tl_node *n, uint32_t chunk)
{
    uint32_t at = n->flight_free;
    if (at != TL_SLOT_NONE)
        n->flight_free = n->flights[at].next;
    else if (n->flight_fresh < n->config.flight_max)
        at = n->flight_fresh++;
    else
        return TL_SLOT_NONE;
    uint32_t gen = n->flights[at].gen + 1;
    n->flights[at] = (struct tl_flight){.chunk = chunk,
                                        .tree = n->index->objects[n->index->chunks[chunk].object].tree,
                                        .gen = gen,
                                        .next = TL_SLOT_NONE,
                                        .prev = TL_SLOT_NONE,
                                        .waiters = TL_SLOT_NONE,
                                        .waiters_last = TL_SLOT_NONE,
                                        .rank = TL_RANK_NONE,
                                        .req_min = n->next_req};
    n->flight_count++;
    n->routes[n->flights[at].tree].flights++;
    n->counters.flights_opened++;
    n->index->chunks[chunk].flight = at;
    tl_flight_move(n, at, FLIGHT_ROUTE);
    return at;
}

/* Room in the flight table and the index, evicting from the latter if need be. */
static uint32_t add_chunk(struct tl_node *n, uint32_t object, uint32_t number)
{
    if (tl_room_flights(n, n->index->objects[object].tree) == 0)
        return TL_SLOT_NONE;
    if (n->index->chunk_count == n->index->chunk_max)
        tl_node_evict(n);
    return tl_index_add_chunk(n->index, object, number);
}

/* Keeps the path with the object. Listings keep theirs for as long as they are here, so room may have to be made. */
static bool keep_path(struct tl_node *n, uint32_t object, const struct tl_request *r)
{
    int rc = tl_index_set_path(n->index, object, r->path, r->path_len);
    for (uint32_t tries = 0; rc != 0 && tries < PATH_EVICTIONS_MAX && tl_node_evict(n); tries++)
        rc = tl_index_set_path(n->index, object, r->path, r->path_len);
    return rc == 0;
}

static uint32_t find_or_add_object(struct tl_node *n, const struct tl_request *r)
{
    struct tl_hash key = tl_object_key(r->op, r->path, r->path_len, r->version);
    uint32_t object = tl_index_find_object(n->index, key);
    if (object != TL_SLOT_NONE)
        return object;
    if (n->index->object_count == n->index->object_max)
        tl_node_evict(n);
    object = tl_index_add_object(n->index, key, r->op);
    if (object != TL_SLOT_NONE) {
        n->index->objects[object].tree = (uint8_t)tl_forest_tree_of(&n->forest, key, r->file_size_bytes);
        n->index->objects[object].version = r->version;
        n->index->objects[object].file_size_bytes = r->file_size_bytes; /* 0 for a blob */
    }
    return object;
}

uint32_t tl_flight_open(struct tl_node *n, const struct tl_request *r, uint32_t first, uint32_t count)
{
    uint32_t object = find_or_add_object(n, r);
    if (object == TL_SLOT_NONE)
        return 0;
    n->index->objects[object].holds++; /* making room may take its other chunks */
    uint32_t done = 0;
    for (; done < count; done++) {
        if (tl_index_find_chunk(n->index, object, first + done) != TL_SLOT_NONE)
            continue;
        if (!keep_path(n, object, r))
            break;
        uint32_t chunk = add_chunk(n, object, first + done);
        if (chunk == TL_SLOT_NONE)
            break;
        uint32_t flight = new_flight(n, chunk);
        check(flight != TL_SLOT_NONE);
    }
    n->index->objects[object].holds--;
    tl_index_settle_object(n->index, object);
    return done;
}

bool tl_flight_wait(struct tl_node *n, uint32_t flight, bool peer, uint32_t slot, uint32_t gen, uint64_t req)
{
    struct tl_flight *f = &n->flights[flight];
    uint32_t at = f->waiters;
    for (; peer && at != TL_SLOT_NONE; at = n->waiters[at].next) {
        struct tl_waiter *w = &n->waiters[at];
        if (w->peer && w->slot == slot && w->gen == gen) {
            w->req = req; /* it has asked again: only its last number counts (P-4) */
            return true;
        }
    }
    struct tl_route *route = &n->routes[f->tree];
    if (peer && n->parked.count > 0 && n->waiter_count >= n->config.waiter_max / 2 && route->waiters > 0)
        return false; /* the rest is for those who are parked (P-12) */
    if (tl_room_waiters(n, f->tree) == 0)
        return false;
    at = n->waiter_free;
    if (at != TL_SLOT_NONE)
        n->waiter_free = n->waiters[at].next;
    else if (n->waiter_fresh < n->config.waiter_max)
        at = n->waiter_fresh++;
    else
        return false;
    n->waiters[at] = (struct tl_waiter){.next = TL_SLOT_NONE, .slot = slot, .gen = gen, .peer = peer, .req = req};
    if (f->waiters == TL_SLOT_NONE)
        f->waiters = at;
    else
        n->waiters[f->waiters_last].next = at;
    f->waiters_last = at;
    n->waiter_count++;
    route->waiters++;
    return true;
}

/* ---- cookies: slot and use of the slot ---- */

uint64_t tl_flight_cookie(const struct tl_node *n, uint32_t flight)
{
    return (uint64_t)n->flights[flight].gen << 32 | flight;
}

uint32_t tl_flight_by_cookie(const struct tl_node *n, uint64_t cookie)
{
    uint32_t flight = (uint32_t)cookie;
    if (flight >= n->flight_fresh || n->flights[flight].state == FLIGHT_FREE ||
        n->flights[flight].gen != (uint32_t)(cookie >> 32))
        return TL_SLOT_NONE;
    return flight;
}

/* ---- ending ---- */

static void answer_waiter(struct tl_node *n, const struct tl_waiter *w, uint32_t chunk, int status)
{
    if (!w->peer) {
        tl_request_chunk(n, w->slot, w->gen, chunk, status);
        return;
    }
    const struct tl_peer_state *p = &n->peers[w->slot];
    if (!p->used || p->gen != w->gen || p->link != LINK_UP)
        return; /* it is gone, and will ask again */
    const struct tl_chunk *c = &n->index->chunks[chunk];
    if (status == 0)
        tl_data_send(n, w->slot, w->req, chunk);
    else
        tl_data_send_error(n, w->slot, w->req, n->index->objects[c->object].key, c->number, status);
}

/* Frees the flight and answers whoever waited. The chunk has landed, or will be removed by the caller. */
static void end_flight(struct tl_node *n, uint32_t flight, int status)
{
    struct tl_flight *f = &n->flights[flight];
    uint32_t chunk = f->chunk, at = f->waiters;
    tl_flight_move(n, flight, FLIGHT_FREE);
    f->next = n->flight_free;
    n->flight_free = flight;
    n->flight_count--;
    n->routes[f->tree].flights--;
    n->warm.flights -= f->warm;
    while (at != TL_SLOT_NONE) {
        struct tl_waiter w = n->waiters[at];
        n->waiters[at].next = n->waiter_free;
        n->waiter_free = at;
        n->waiter_count--;
        n->routes[f->tree].waiters--;
        answer_waiter(n, &w, chunk, status);
        at = w.next;
    }
}

void tl_flight_land(struct tl_node *n, uint32_t flight)
{
    struct tl_flight *f = &n->flights[flight];
    struct tl_chunk *c = &n->index->chunks[f->chunk];
    uint32_t chunk = f->chunk, object = c->object;
    check(f->len > 0);
    c->addr = f->addr;
    c->len = f->len;
    c->digest = f->digest;
    c->status = 0;
    c->read_ns = n->now_ns;
    f->len = 0;
    tl_index_land_chunk(n->index, chunk, TL_CHUNK_PRESENT);
    if (tl_op_is_blob((enum tl_op)n->index->objects[object].op))
        tl_stale_settled(n, n->index->objects[object].key);
    if (n->pin_count > 0) {
        tl_paths_get(n->index->paths, n->index->objects[object].path, n->path, n->index->objects[object].path_len);
        tl_pin_touch(n, chunk, n->path, n->index->objects[object].path_len);
    }
    c->pins++; /* while it is handed out */
    end_flight(n, flight, 0);
    tl_ahead_pump(n, object);
    tl_index_settle_object(n->index, object);
    c->pins--;
}

bool tl_status_lasting(int status)
{
    return status == -ENOENT || status == -ENOTDIR || status == -EACCES || status == -ELOOP;
}

/* Errors that say something lasting about the name itself, worth a negative entry (P-8). */
static bool lasting(enum tl_op op, int status)
{
    if (op == TL_OP_XATTRS && status == -EOPNOTSUPP)
        return true; /* the storage has none */
    return tl_op_is_blob(op) && tl_status_lasting(status);
}

void tl_flight_fail(struct tl_node *n, uint32_t flight, int status)
{
    check(status < 0);
    struct tl_flight *f = &n->flights[flight];
    uint32_t chunk = f->chunk;
    struct tl_chunk *c = &n->index->chunks[chunk];
    struct tl_object *o = &n->index->objects[c->object];
    tl_node_release(n, f->addr, f->len);
    f->len = 0;
    o->ahead_next = o->ahead_end = 0;
    if (status == -ESTALE && o->op == TL_OP_READ) { /* the listing that named it is outdated (P-11) */
        tl_paths_get(n->index->paths, o->path, n->path, o->path_len);
        n->counters.stale++;
        tl_stale_file(n, n->path, o->path_len);
    }
    bool keep = lasting((enum tl_op)o->op, status) && !f->stale;
    c->status = status;
    c->read_ns = n->now_ns;
    tl_index_land_chunk(n->index, chunk, TL_CHUNK_NEGATIVE);
    c->pins++;
    end_flight(n, flight, status);
    c->pins--;
    if (!keep)
        tl_index_remove_chunk(n->index, chunk);
}

/* ---- trying again ---- */

void tl_flight_again(struct tl_node *n, uint32_t flight, bool pause)
{
    struct tl_flight *f = &n->flights[flight];
    tl_node_release(n, f->addr, f->len);
    f->len = 0;
    f->rank = TL_RANK_NONE;
    f->stale = f->own = false;
    n->counters.flights_retried++;
    f->deadline_ns = n->now_ns + RETRY_NS;
    tl_flight_move(n, flight, pause ? FLIGHT_STALLED : FLIGHT_ROUTE);
}

void tl_flight_to_source(struct tl_node *n, uint32_t flight)
{
    tl_flight_again(n, flight, false);
    n->flights[flight].own = true;
    tl_flight_move(n, flight, FLIGHT_QUEUED);
}

void tl_flight_damaged(struct tl_node *n, uint32_t flight)
{
    if (++n->flights[flight].damaged >= ATTEMPTS_MAX)
        tl_flight_to_source(n, flight);
    else
        tl_flight_again(n, flight, true);
}

/* At most one a step: only a blob can be so large, and one event brings one blob. */
static void tell_too_large(struct tl_node *n, const struct tl_object *o)
{
    tl_paths_get(n->index->paths, o->path, n->flush_path, o->path_len);
    struct tl_action *a = tl_node_act(n, TL_ACT_TOO_LARGE);
    a->path = n->flush_path;
    a->path_len = o->path_len;
}

void tl_flight_no_room(struct tl_node *n, uint32_t flight, int rc)
{
    struct tl_flight *f = &n->flights[flight];
    check(rc == -EBUSY || rc == -EFBIG || rc == -ENOMEM);
    n->counters.busy++;
    if (rc == -EFBIG)
        tell_too_large(n, &n->index->objects[n->index->chunks[f->chunk].object]);
    if (rc == -EFBIG || (rc == -ENOMEM && ++f->starved >= ATTEMPTS_MAX))
        tl_flight_fail(n, flight, -ENOMEM);
    else
        tl_flight_again(n, flight, true);
}

/* A request without an answer is sent again: to the same parent while it lives (P-5). Both lists are ordered by deadline. */
void tl_flight_timers(struct tl_node *n)
{
    const enum flight_state states[] = {FLIGHT_STALLED, FLIGHT_ASKED};
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t at = n->lists[states[i]].head;
        for (uint32_t done = 0; done < ROUTES_PER_STEP && at != TL_SLOT_NONE; done++) {
            struct tl_flight *f = &n->flights[at];
            uint32_t next = f->next;
            if (f->deadline_ns > n->now_ns)
                break;
            if (f->state == FLIGHT_ASKED)
                n->counters.flights_retried++;
            tl_flight_move(n, at, FLIGHT_ROUTE);
            at = next;
        }
    }
}
