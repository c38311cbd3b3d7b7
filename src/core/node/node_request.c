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
    n->requests[at] = (struct tl_open_request){.gen = gen, .next = TL_SLOT_NONE};
    n->request_count++;
    return at;
}

static void free_request(struct tl_node *n, uint32_t slot)
{
    struct tl_open_request *q = &n->requests[slot];
    for (uint32_t i = 0; i < q->count; i++)
        if (q->chunks[i] != TL_SLOT_NONE) {
            check(n->index->chunks[q->chunks[i]].pins > 0);
            n->index->chunks[q->chunks[i]].pins--;
        }
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
    if (q->op == TL_OP_LIST)
        return (struct tl_ref){.addr = c->addr, .len = c->len};
    uint64_t start = (uint64_t)c->number * TL_CHUNK_SIZE, end = start + c->len;
    uint64_t from = q->offset > start ? q->offset : start;
    uint64_t to = q->offset + q->length < end ? q->offset + q->length : end;
    check(from < to);
    return (struct tl_ref){.addr = c->addr + (from - start), .len = (uint32_t)(to - from)};
}

/* All chunks are here, or one has failed: answers, once, and frees. */
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

/* Keeps at most window_chunks of read-ahead in flight for an object, and half of the table free for what is asked for. */
void tl_ahead_pump(struct tl_node *n, uint32_t object)
{
    struct tl_object *o = &n->index->objects[object];
    while (o->ahead_next < o->ahead_end && o->flights < n->config.window_chunks) {
        if (n->flight_count >= n->config.flight_max / 2 || o->path == TL_PATH_NONE) {
            o->ahead_end = o->ahead_next; /* the reader will ask for it */
            return;
        }
        struct tl_request r;
        request_of_object(n, object, &r);
        if (tl_flight_open(n, &r, o->ahead_next, 1) == 0) {
            o->ahead_end = o->ahead_next;
            return;
        }
        o->ahead_next++;
    }
}

/* What to fetch beside what is asked for: the whole of a small file; of a larger one, more the longer it is read in sequence. */
static void plan_ahead(struct tl_node *n, uint32_t object, uint32_t first, uint32_t count)
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
    if (!sequential)
        o->window = 0;
    else if (end > o->seq_next)
        o->window = o->window == 0 ? 2 : o->window * 2;
    if (o->window > n->config.window_chunks)
        o->window = n->config.window_chunks;
    o->seq_next = end;
    uint32_t until = total - end < o->window ? total : end + o->window;
    if (o->window > 0 && until > o->ahead_end) {
        o->ahead_next = end > o->ahead_end ? end : o->ahead_end;
        o->ahead_end = until;
    } else if (o->window == 0) {
        o->ahead_next = o->ahead_end = 0;
    }
}

/* ---- starting ---- */

static bool valid(const struct tl_request *r)
{
    bool path = r->path_len > 0 && r->path_len < TL_PATH_MAX && r->path[0] == '/';
    if (!path || (r->op != TL_OP_LIST && r->op != TL_OP_READ))
        return false;
    return r->op == TL_OP_LIST || (r->version != 0 && r->length > 0 && r->length <= TL_READ_SIZE_MAX);
}

/* Sets what the request spans. False: nothing (at or beyond the end of the file). */
static bool span(struct tl_open_request *q, const struct tl_request *r)
{
    q->id = r->id;
    q->op = (uint8_t)r->op;
    q->first = 0;
    q->count = 1;
    if (r->op == TL_OP_LIST)
        return true;
    if (r->offset >= r->file_size_bytes)
        return false;
    uint64_t left = r->file_size_bytes - r->offset;
    q->offset = r->offset;
    q->length = r->length < left ? r->length : (uint32_t)left;
    q->first = (uint32_t)(r->offset / TL_CHUNK_SIZE);
    q->count = (uint32_t)((r->offset + q->length - 1) / TL_CHUNK_SIZE) - q->first + 1;
    check(q->count <= REQUEST_CHUNKS_MAX);
    return true;
}

/* Takes hold of the chunks that are there. False: one of them is an error; q->status says which. */
static bool hold_present(struct tl_node *n, struct tl_open_request *q, uint32_t object)
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
        hold_chunk(n, q, i, chunk);
    }
    return true;
}

/* Opens flights for the chunks that are not held, and waits on them. 0, -EBUSY: a table is full. */
static int wait_missing(struct tl_node *n, uint32_t slot, const struct tl_request *r)
{
    struct tl_open_request *q = &n->requests[slot];
    if (tl_flight_open(n, r, q->first, q->count) < q->count)
        return -EBUSY;
    uint32_t object = tl_index_find_object(n->index, tl_object_key(r->op, r->path, r->path_len, r->version));
    for (uint32_t i = 0; i < q->count; i++) {
        if (q->chunks[i] != TL_SLOT_NONE)
            continue;
        uint32_t chunk = tl_index_find_chunk(n->index, object, q->first + i);
        uint32_t flight = n->index->chunks[chunk].flight;
        n->counters.coalesced += n->flights[flight].waiters != TL_SLOT_NONE;
        if (!tl_flight_wait(n, flight, false, slot, q->gen, 0))
            return -EBUSY;
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
    plan_ahead(n, object, q->first, q->count);
    if (o->ahead_next < o->ahead_end && tl_index_set_path(n->index, object, r->path, r->path_len) == 0)
        tl_ahead_pump(n, object);
    tl_index_settle_object(n->index, object);
}

/* Looks up, waits, plans ahead. q->status and q->missing say how it went. */
static void gather_chunks(struct tl_node *n, uint32_t slot, const struct tl_request *r)
{
    struct tl_open_request *q = &n->requests[slot];
    memset(q->chunks, 0xff, sizeof q->chunks); /* TL_SLOT_NONE */
    uint32_t object = tl_index_find_object(n->index, tl_object_key(r->op, r->path, r->path_len, r->version));
    if (object != TL_SLOT_NONE && !hold_present(n, q, object))
        return;
    q->status = wait_missing(n, slot, r);
    if (q->status == 0 && r->op == TL_OP_READ)
        read_ahead(n, q, r);
    n->counters.busy += q->status < 0;
}

void tl_request_start(struct tl_node *n, const struct tl_request *r)
{
    n->counters.requests++;
    if (!valid(r)) {
        tl_answer_status(n, r->id, -EINVAL);
        return;
    }
    uint32_t slot = new_request(n);
    if (slot == TL_SLOT_NONE) {
        n->counters.busy++;
        tl_answer_status(n, r->id, -EBUSY);
        return;
    }
    struct tl_open_request *q = &n->requests[slot];
    if (!span(q, r)) {
        q->count = 0;
        finish_request(n, slot);
        return;
    }
    gather_chunks(n, slot, r);
    bool hit = q->missing == 0 || q->status < 0;
    n->counters.hits += hit;
    n->counters.misses += !hit;
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
