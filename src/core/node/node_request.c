// SPDX-License-Identifier: Apache-2.0
/* Requests of the fronts: what they span, how they wait, how they are answered; and read-ahead. */
#include <errno.h>
#include <string.h>

#include "core/node/internal.h"

void tl_answer_status(struct tl_node *n, uint64_t id, int status)
{
    struct tl_action *a = tl_node_act(n, TL_ACT_ANSWER);
    a->answer.id = id;
    a->answer.status = status;
    n->counters.answered++;
    n->counters.failed += status < 0;
}

static uint32_t new_request(struct tl_node *n)
{
    uint32_t at = n->request_free;
    if (at != TL_SLOT_NONE)
        n->request_free = n->requests[at].next;
    else if (n->request_fresh < n->config.waiter_max)
        at = n->request_fresh++;
    else
        return TL_SLOT_NONE;
    uint32_t gen = n->requests[at].gen + 1;
    n->requests[at] = (struct tl_open_request){.gen = gen, .next = TL_SLOT_NONE, .path = TL_PATH_NONE};
    n->request_count++;
    return at;
}

/* What it holds may be evicted again. */
static void let_go(struct tl_node *n, struct tl_open_request *q)
{
    for (uint32_t i = 0; i < q->count; i++)
        if (q->chunks[i] != TL_SLOT_NONE) {
            check(n->index->chunks[q->chunks[i]].pins > 0);
            n->index->chunks[q->chunks[i]].pins--;
            q->chunks[i] = TL_SLOT_NONE;
        }
    check(n->reserved_bytes >= q->reserved_bytes);
    n->reserved_bytes -= q->reserved_bytes;
    q->reserved_bytes = 0;
}

static void unpark(struct tl_node *n, struct tl_open_request *q);

static void free_request(struct tl_node *n, uint32_t slot)
{
    struct tl_open_request *q = &n->requests[slot];
    if (q->parked)
        unpark(n, q);
    let_go(n, q);
    q->op = 0;
    q->gen++;
    q->next = n->request_free;
    n->request_free = slot;
    n->request_count--;
}

/* The part of chunk i (of the request's) that was asked for. */
static struct tl_ref part_of(struct tl_node *n, const struct tl_open_request *q, uint32_t i)
{
    struct tl_chunk *c = &n->index->chunks[q->chunks[i]];
    c->answered_step = n->step;
    if (tl_op_is_blob((enum tl_op)q->op))
        return (struct tl_ref){.addr = c->addr, .len = c->len};
    uint64_t start = (uint64_t)c->number * TL_CHUNK_SIZE, end = start + c->len;
    uint64_t from = q->offset > start ? q->offset : start;
    uint64_t to = q->offset + q->length < end ? q->offset + q->length : end;
    check(from < to);
    return (struct tl_ref){.addr = c->addr + (from - start), .len = (uint32_t)(to - from)};
}

/* All chunks are here, or one has failed: answers, once, and frees (P-9). */
static void finish_request(struct tl_node *n, uint32_t slot)
{
    struct tl_open_request *q = &n->requests[slot];
    struct tl_action *a = tl_node_act(n, TL_ACT_ANSWER);
    a->answer.id = q->id;
    a->answer.status = q->status;
    n->counters.answered++;
    n->counters.failed += q->status < 0;
    for (uint32_t i = 0; q->status == 0 && i < q->count; i++) {
        a->answer.refs[i] = part_of(n, q, i);
        n->counters.bytes_served += a->answer.refs[i].len;
        tl_once_served(n, q->chunks[i], a->answer.refs[i].len);
        a->answer.ref_count++;
    }
    free_request(n, slot);
}

static void hold_chunk(struct tl_node *n, struct tl_open_request *q, uint32_t i, uint32_t chunk)
{
    n->index->chunks[chunk].pins++;
    q->chunks[i] = chunk;
}

void tl_request_chunk(struct tl_node *n, uint32_t slot, uint32_t gen, uint32_t chunk, int status)
{
    struct tl_open_request *q = &n->requests[slot];
    if (q->op == 0 || q->gen != gen)
        return; /* cancelled, or failed by an earlier chunk */
    if (status < 0) {
        q->status = status;
        finish_request(n, slot);
        return;
    }
    check(q->missing > 0);
    hold_chunk(n, q, n->index->chunks[chunk].number - q->first, chunk);
    if (--q->missing == 0)
        finish_request(n, slot);
}

/* ---- read-ahead ---- */

static void request_of_object(struct tl_node *n, uint32_t object, struct tl_request *r)
{
    const struct tl_object *o = &n->index->objects[object];
    tl_paths_get(n->index->paths, o->path, n->path, o->path_len);
    *r = (struct tl_request){.op = (enum tl_op)o->op,
                             .path = n->path,
                             .path_len = o->path_len,
                             .version = o->version,
                             .file_size_bytes = o->file_size_bytes};
}

/* Keeps at most window_chunks of read-ahead in flight for an object, and half of the table free for what is asked for (P-14). */
void tl_ahead_pump(struct tl_node *n, uint32_t object)
{
    struct tl_object *o = &n->index->objects[object];
    if (o->flights > n->config.window_chunks / 2)
        return; /* half a window at a time: one GET, and one wake-up of each node on the way, for several chunks */
    while (o->ahead_next < o->ahead_end && o->flights < n->config.window_chunks) {
        if (n->flight_count >= n->config.flight_max / 2 || n->parked.count > 0 || o->path == TL_PATH_NONE)
            return; /* when its next chunk lands, or when it is asked for again */
        struct tl_request r;
        request_of_object(n, object, &r);
        if (tl_flight_open(n, &r, o->ahead_next, 1) == 0)
            return;
        o->ahead_next++;
    }
}

/* What to fetch beside what is asked for: the whole of a small file; of a larger one, more the longer it is read in sequence. */
static void plan_ahead(struct tl_node *n, uint32_t object, uint32_t first, uint32_t count, bool hit)
{
    struct tl_object *o = &n->index->objects[object];
    uint32_t total = tl_chunk_count(o->file_size_bytes), end = first + count;
    bool whole = o->file_size_bytes <= n->config.readahead_max_bytes;
    if (whole && o->file_size_bytes <= n->config.cache_limit_bytes / 2) {
        if (o->ahead_end < total && o->seq_next == 0) {
            o->ahead_next = 0;
            o->ahead_end = total;
        }
        o->seq_next = end;
        return;
    }
    bool sequential = first <= o->seq_next && end >= o->seq_next && o->seq_next > 0;
    if (!sequential && hit)
        return; /* another process behind the first */
    if (!sequential)
        o->window = 0;
    else if (end > o->seq_next)
        o->window = o->window == 0 ? 2 : o->window * 2;
    if (o->window > n->config.window_chunks)
        o->window = n->config.window_chunks;
    o->seq_next = end;
    uint32_t until = total - end < o->window ? total : end + o->window;
    if (o->window > 0 && until > o->ahead_end) {
        if (o->ahead_next < end)
            o->ahead_next = end;
        o->ahead_end = until;
    } else if (o->window == 0) {
        o->ahead_next = o->ahead_end = 0;
    }
}

/* ---- starting ---- */

#define OFFSET_MAX ((uint64_t)UINT32_MAX * TL_CHUNK_SIZE)

/* 0, or why the request cannot be. */
static int refusal(const struct tl_request *r)
{
    bool path = r->path_len > 0 && r->path_len < TL_PATH_MAX && r->path[0] == '/';
    if (!path || !tl_op_is_known(r->op))
        return -EINVAL;
    if (tl_op_is_blob(r->op))
        return r->version == 0 && r->file_size_bytes == 0 ? 0 : -EINVAL;
    if (r->version == 0 || r->length == 0 || r->length > TL_READ_SIZE_MAX)
        return -EINVAL;
    bool beyond = r->offset < r->file_size_bytes && r->offset > OFFSET_MAX - r->length;
    return beyond ? -EFBIG : 0; /* where chunks have no numbers any more (P-3) */
}

/* Sets what the request spans. False: nothing (at or beyond the end of the file). */
static bool span(struct tl_open_request *q, const struct tl_request *r)
{
    q->id = r->id;
    q->op = (uint8_t)r->op;
    q->version = r->version;
    q->file_size_bytes = r->file_size_bytes;
    memset(q->chunks, 0xff, sizeof q->chunks); /* TL_SLOT_NONE */
    if (r->op == TL_OP_READ && r->offset >= r->file_size_bytes)
        return false;
    q->count = 1;
    if (tl_op_is_blob(r->op))
        return true;
    uint64_t left = r->file_size_bytes - r->offset;
    q->offset = r->offset;
    q->length = r->length < left ? r->length : (uint32_t)left;
    q->first = (uint32_t)(r->offset / TL_CHUNK_SIZE);
    q->count = (uint32_t)((r->offset + q->length - 1) / TL_CHUNK_SIZE) - q->first + 1;
    check(q->count <= REQUEST_CHUNKS_MAX);
    return true;
}

/* Takes hold of the chunks that are there. False: one of them is an error; q->status says which. */
static bool hold_present(struct tl_node *n, struct tl_open_request *q, uint32_t object, const struct tl_request *r)
{
    for (uint32_t i = 0; i < q->count; i++) {
        uint32_t chunk = tl_index_find_chunk(n->index, object, q->first + i);
        if (chunk == TL_SLOT_NONE || n->index->chunks[chunk].state == TL_CHUNK_FLIGHT)
            continue;
        tl_index_touch(n->index, chunk);
        if (n->index->chunks[chunk].state == TL_CHUNK_NEGATIVE) {
            n->counters.negative_hits++;
            q->status = n->index->chunks[chunk].status;
            return false;
        }
        tl_pin_touch(n, chunk, r->path, r->path_len);
        hold_chunk(n, q, i, chunk);
    }
    return true;
}

/* Is there a flight and a waiter for each chunk that is missing? All or none, so that what is started can be answered. */
static bool room_for(const struct tl_node *n, const struct tl_open_request *q, uint32_t object, uint32_t tree)
{
    uint32_t waiters = 0, flights = 0;
    for (uint32_t i = 0; i < q->count; i++) {
        if (q->chunks[i] != TL_SLOT_NONE)
            continue;
        waiters++;
        flights += object == TL_SLOT_NONE || tl_index_find_chunk(n->index, object, q->first + i) == TL_SLOT_NONE;
    }
    return waiters <= tl_room_waiters(n, tree) && flights <= tl_room_flights(n, tree);
}

/* A request that keeps some chunks in place while it waits for others has memory set aside for all of them, from half of
 * what there is; else such requests could wait for each other's for ever (P-12). One chunk alone is no danger. */
static bool reserve(struct tl_node *n, struct tl_open_request *q)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; q->count > 1 && i < q->count; i++)
        bytes += tl_pages(tl_chunk_len(q->file_size_bytes, q->first + i));
    if (n->reserved_bytes + bytes > n->config.cache_limit_bytes / 2)
        return false;
    n->reserved_bytes += bytes;
    q->reserved_bytes = (uint32_t)bytes;
    return true;
}

/* Opens flights for the chunks that are not held, and waits on them. 0, -EBUSY: there is no room, nothing waits. */
static int wait_missing(struct tl_node *n, uint32_t slot, const struct tl_request *r, uint32_t object)
{
    struct tl_open_request *q = &n->requests[slot];
    struct tl_hash key = tl_object_key(r->op, r->path, r->path_len, r->version);
    uint32_t tree = tl_forest_tree_of(&n->forest, key, r->file_size_bytes);
    if (!room_for(n, q, object, tree) || !reserve(n, q) || tl_flight_open(n, r, q->first, q->count) < q->count)
        return -EBUSY;
    object = tl_index_find_object(n->index, key);
    for (uint32_t i = 0; i < q->count; i++) {
        if (q->chunks[i] != TL_SLOT_NONE)
            continue;
        uint32_t chunk = tl_index_find_chunk(n->index, object, q->first + i);
        uint32_t flight = n->index->chunks[chunk].flight;
        n->counters.coalesced += n->flights[flight].waiters != TL_SLOT_NONE;
        bool waits = tl_flight_wait(n, flight, false, slot, q->gen, 0);
        check(waits); /* room_for has looked */
        q->missing++;
    }
    return 0;
}

static void read_ahead(struct tl_node *n, const struct tl_open_request *q, const struct tl_request *r)
{
    uint32_t object = tl_index_find_object(n->index, tl_object_key(r->op, r->path, r->path_len, r->version));
    if (object == TL_SLOT_NONE)
        return;
    struct tl_object *o = &n->index->objects[object];
    plan_ahead(n, object, q->first, q->count, q->missing == 0);
    if (o->ahead_next < o->ahead_end && tl_index_set_path(n->index, object, r->path, r->path_len) == 0)
        tl_ahead_pump(n, object);
    tl_index_settle_object(n->index, object);
}

/* Looks up, waits, plans ahead. 0: q->status and q->missing say how it went; -EBUSY: nothing has happened. A request that
 * needs a flight does not overtake those that are parked. */
static int try_start(struct tl_node *n, uint32_t slot, const struct tl_request *r, bool overtakes)
{
    struct tl_open_request *q = &n->requests[slot];
    uint32_t object = tl_index_find_object(n->index, tl_object_key(r->op, r->path, r->path_len, r->version));
    if (object != TL_SLOT_NONE && n->index->objects[object].file_size_bytes != r->file_size_bytes) {
        q->status = -ESTALE; /* one of the two has the size of another version (P-10) */
        return 0;
    }
    if (object != TL_SLOT_NONE && !hold_present(n, q, object, r))
        return 0;
    bool whole = true;
    for (uint32_t i = 0; i < q->count; i++)
        whole &= q->chunks[i] != TL_SLOT_NONE;
    if (whole && object != TL_SLOT_NONE)
        n->index->objects[object].hits++;
    if (!whole && ((overtakes && n->parked.count > 0) || wait_missing(n, slot, r, object) != 0)) {
        let_go(n, q);
        return -EBUSY;
    }
    if (r->op == TL_OP_READ)
        read_ahead(n, q, r);
    return 0;
}

/* ---- parking ---- */

/* Keeps the request until there is room. False: not even for that. */
static bool park(struct tl_node *n, uint32_t slot, const struct tl_request *r)
{
    struct tl_open_request *q = &n->requests[slot];
    q->path = tl_paths_put(n->parked_paths, r->path, r->path_len);
    if (q->path == TL_PATH_NONE)
        return false;
    q->path_len = r->path_len;
    q->parked = true;
    q->next = TL_SLOT_NONE;
    q->prev = n->parked.tail;
    if (q->prev != TL_SLOT_NONE)
        n->requests[q->prev].next = slot;
    else
        n->parked.head = slot;
    n->parked.tail = slot;
    n->parked.count++;
    return true;
}

static void unpark(struct tl_node *n, struct tl_open_request *q)
{
    if (q->prev != TL_SLOT_NONE)
        n->requests[q->prev].next = q->next;
    else
        n->parked.head = q->next;
    if (q->next != TL_SLOT_NONE)
        n->requests[q->next].prev = q->prev;
    else
        n->parked.tail = q->prev;
    n->parked.count--;
    tl_paths_drop(n->parked_paths, q->path, q->path_len);
    q->path = TL_PATH_NONE;
    q->parked = false;
}

void tl_request_pump(struct tl_node *n)
{
    for (uint32_t i = 0; i < STARTS_PER_STEP && n->parked.head != TL_SLOT_NONE; i++) {
        uint32_t slot = n->parked.head;
        struct tl_open_request *q = &n->requests[slot];
        tl_paths_get(n->parked_paths, q->path, n->path, q->path_len);
        const struct tl_request r = {.op = (enum tl_op)q->op,
                                     .path = n->path,
                                     .path_len = q->path_len,
                                     .version = q->version,
                                     .file_size_bytes = q->file_size_bytes};
        if (try_start(n, slot, &r, false) != 0)
            return; /* first come, first served */
        unpark(n, q);
        if (q->missing == 0 || q->status < 0)
            finish_request(n, slot);
    }
}

void tl_request_start(struct tl_node *n, const struct tl_request *r)
{
    n->counters.requests++;
    int rc = refusal(r);
    uint32_t slot = rc == 0 ? new_request(n) : TL_SLOT_NONE;
    if (slot == TL_SLOT_NONE) {
        n->counters.busy += rc == 0;
        tl_answer_status(n, r->id, rc == 0 ? -EBUSY : rc);
        return;
    }
    struct tl_open_request *q = &n->requests[slot];
    if (!span(q, r)) {
        finish_request(n, slot);
        return;
    }
    rc = try_start(n, slot, r, true);
    bool hit = rc == 0 && (q->missing == 0 || q->status < 0);
    n->counters.hits += hit;
    n->counters.misses += !hit;
    n->counters.busy += rc != 0;
    if (rc != 0 && !park(n, slot, r)) {
        q->status = -EBUSY;
        hit = true;
    }
    if (hit)
        finish_request(n, slot);
}

void tl_request_cancel(struct tl_node *n, uint64_t id)
{
    for (uint32_t slot = 0; slot < n->request_fresh; slot++) {
        struct tl_open_request *q = &n->requests[slot];
        if (q->op == 0 || q->id != id)
            continue;
        q->status = -ECANCELED;
        finish_request(n, slot);
        return;
    }
}
