// SPDX-License-Identifier: Apache-2.0
/* The source: what a root, or a node that reaches nobody, reads from the storage itself; a bounded number of reads at once
 * (P-19). */
#include <errno.h>
#include <string.h>

#include "core/node/internal.h"

uint32_t tl_source_slot(const struct tl_node *n)
{
    uint32_t at = 0;
    while (at < n->config.fetch_max && n->fetches[at].used)
        at++;
    return at;
}

/* Does flight b continue flight a: the next chunk of the same file? */
static bool continues(const struct tl_node *n, uint32_t a, uint32_t b)
{
    const struct tl_chunk *x = &n->index->chunks[n->flights[a].chunk];
    const struct tl_chunk *y = &n->index->chunks[n->flights[b].chunk];
    return x->object == y->object && y->number == x->number + 1;
}

/* Gives chunk i of the fetch its bytes. 0, or what tl_node_alloc says. */
static int place_chunk(struct tl_node *n, struct tl_fetch_slot *s, uint32_t i, uint32_t flight)
{
    struct tl_flight *f = &n->flights[flight];
    const struct tl_chunk *c = &n->index->chunks[f->chunk];
    const struct tl_object *o = &n->index->objects[c->object];
    s->fetch.addrs[i] = 0;
    s->fetch.lens[i] = 0;
    if (o->op == TL_OP_READ) {
        uint32_t len = tl_chunk_len(o->file_size_bytes, c->number);
        int rc = tl_node_alloc(n, len, &f->addr);
        if (rc != 0)
            return rc;
        f->len = len;
        s->fetch.addrs[i] = f->addr;
        s->fetch.lens[i] = len;
    }
    s->flights[i] = flight;
    s->flight_gens[i] = f->gen;
    tl_flight_move(n, flight, FLIGHT_FETCHING);
    return 0;
}

static void start_fetch(struct tl_node *n, uint32_t slot)
{
    struct tl_fetch_slot *s = &n->fetches[slot];
    uint32_t head = n->lists[FLIGHT_QUEUED].head;
    const struct tl_chunk *c = &n->index->chunks[n->flights[head].chunk];
    const struct tl_object *o = &n->index->objects[c->object];
    struct tl_fetch *fetch = &s->fetch;
    fetch->op = (enum tl_op)o->op;
    fetch->path_len = o->path_len;
    tl_paths_get(n->index->paths, o->path, fetch->path, o->path_len);
    fetch->path[o->path_len] = 0;
    fetch->version = o->version;
    fetch->file_size_bytes = o->file_size_bytes;
    fetch->first = c->number;
    fetch->count = 0;
    uint32_t last = head;
    int rc = 0;
    for (uint32_t at = head; at != TL_SLOT_NONE && fetch->count < TL_FETCH_CHUNKS_MAX;) {
        uint32_t next = n->flights[at].next;
        if (at != head && !continues(n, last, at))
            break;
        rc = place_chunk(n, s, fetch->count, at);
        if (rc != 0)
            break;
        fetch->count++;
        last = at;
        at = next;
    }
    if (fetch->count == 0) {
        tl_flight_no_room(n, head, rc);
        return;
    }
    s->check = TL_SLOT_NONE;
    s->used = true;
    s->gen++;
    n->fetch_count++;
    n->counters.source_lists += tl_op_is_blob(fetch->op);
    n->counters.source_reads += fetch->op == TL_OP_READ ? fetch->count : 0;
    n->counters.source_opens += fetch->op == TL_OP_READ && fetch->first == 0;
    struct tl_action *a = tl_node_act(n, TL_ACT_FETCH);
    a->fetch = fetch;
    a->cookie = (uint64_t)s->gen << 32 | slot;
}

void tl_source_pump(struct tl_node *n)
{
    uint32_t tries = n->config.fetch_max;
    while (n->lists[FLIGHT_QUEUED].count > 0 && n->fetch_count < n->config.fetch_max && tries-- > 0)
        start_fetch(n, tl_source_slot(n));
}

/* The chunk of this fetch that the event is about, if its flight still waits for it. */
static uint32_t flight_at(const struct tl_node *n, const struct tl_fetch_slot *s, uint32_t i)
{
    if (s->flights[i] == TL_SLOT_NONE)
        return TL_SLOT_NONE;
    const struct tl_flight *f = &n->flights[s->flights[i]];
    check(f->state == FLIGHT_FETCHING && f->gen == s->flight_gens[i]); /* only this fetch can end it */
    return s->flights[i];
}

/* The source has said a length that cannot be: as if it could not be read. */
static bool length_wrong(const struct tl_node *n, const struct tl_flight *f, const struct tl_event *ev)
{
    if (n->index->objects[n->index->chunks[f->chunk].object].op != TL_OP_READ)
        return ev->payload_len == 0 || ev->payload_len > TL_WIRE_PULL_MAX;
    return ev->len != f->len;
}

static void fetched_ok(struct tl_node *n, uint32_t flight, const struct tl_event *ev)
{
    struct tl_flight *f = &n->flights[flight];
    const struct tl_chunk *c = &n->index->chunks[f->chunk];
    if (n->index->objects[c->object].op != TL_OP_READ) {
        int rc = tl_node_alloc(n, ev->payload_len, &f->addr);
        if (rc != 0) {
            tl_flight_no_room(n, flight, rc);
            return;
        }
        f->len = ev->payload_len;
        rc = n->bytes.write(n->bytes_ctx, f->addr, ev->payload, ev->payload_len, NULL);
        if (rc != 0) {
            tl_flight_no_room(n, flight, rc);
            return;
        }
    }
    f->digest = ev->digest;
    n->counters.chunks_from_source++;
    n->counters.bytes_from_source += f->len;
    tl_flight_land(n, flight);
}

/* A file whose name is gone is not what its listing says, as one that has changed is not (P-11). */
static int status_of(enum tl_op op, int status)
{
    bool gone = status == -ENOENT || status == -ENOTDIR || status == -ELOOP;
    return op == TL_OP_READ && gone ? -ESTALE : status;
}

/* Chunk i of the fetch is over: read, or not (status < 0). */
static void fetched_chunk(struct tl_node *n, struct tl_fetch_slot *s, uint32_t i, const struct tl_event *ev, int status)
{
    uint32_t flight = flight_at(n, s, i);
    if (flight == TL_SLOT_NONE)
        return;
    s->flights[i] = TL_SLOT_NONE; /* it may soon be part of another fetch */
    if (n->flights[flight].stale)
        tl_flight_again(n, flight, false);
    else if (status == -ENOMEM)
        tl_flight_no_room(n, flight, status);
    else if (status < 0)
        tl_flight_fail(n, flight, status_of(s->fetch.op, status));
    else if (length_wrong(n, &n->flights[flight], ev))
        tl_flight_fail(n, flight, -EIO);
    else
        fetched_ok(n, flight, ev);
}

void tl_source_fetched(struct tl_node *n, const struct tl_event *ev)
{
    uint32_t slot = (uint32_t)ev->cookie;
    check(slot < n->config.fetch_max);
    struct tl_fetch_slot *s = &n->fetches[slot];
    check(s->used && s->gen == (uint32_t)(ev->cookie >> 32));
    if (s->check != TL_SLOT_NONE) {
        tl_revalidate_fetched(n, s, ev);
        s->used = false;
        n->fetch_count--;
        return;
    }
    uint32_t i = ev->chunk - s->fetch.first;
    if (tl_op_is_blob(s->fetch.op))
        i = 0;
    if (i < s->fetch.count)
        fetched_chunk(n, s, i, ev, ev->status);
    if (!ev->last)
        return;
    for (uint32_t k = 0; k < s->fetch.count; k++) /* what was never reported has failed */
        fetched_chunk(n, s, k, ev, ev->status < 0 ? ev->status : -EIO);
    s->used = false;
    n->fetch_count--;
}
