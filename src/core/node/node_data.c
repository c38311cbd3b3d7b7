// SPDX-License-Identifier: Apache-2.0
/* DATA and DONE: chunks on their way down, inline or pulled by the receiver, and the loans that keep them in place meanwhile. */
#include <errno.h>

#include "core/node/internal.h"

#define SLOW_CHILDREN_MAX 64u /* more are not told apart */

/* ---- loans (P-17): ordered by age, which is the order of their deadlines ---- */

static void append_loan(struct tl_node *n, uint32_t at)
{
    struct tl_loan *loan = &n->loans[at];
    loan->deadline_ns = n->now_ns + n->config.request_timeout_ns * PULLS_DEADLINE_FACTOR * 2;
    loan->next = TL_SLOT_NONE;
    loan->prev = n->loan_ages.tail;
    if (loan->prev != TL_SLOT_NONE)
        n->loans[loan->prev].next = at;
    else
        n->loan_ages.head = at;
    n->loan_ages.tail = at;
}

static void unlink_loan(struct tl_node *n, const struct tl_loan *loan)
{
    if (loan->prev != TL_SLOT_NONE)
        n->loans[loan->prev].next = loan->next;
    else
        n->loan_ages.head = loan->next;
    if (loan->next != TL_SLOT_NONE)
        n->loans[loan->next].prev = loan->prev;
    else
        n->loan_ages.tail = loan->prev;
}

/* A chunk takes milliseconds: whoever has pulled one for a heartbeat is slow. */
static bool is_slow(const struct tl_node *n, const struct tl_loan *loan)
{
    uint64_t lease = n->config.request_timeout_ns * PULLS_DEADLINE_FACTOR * 2;
    return n->now_ns + lease > loan->deadline_ns + n->config.heartbeat_ns;
}

uint32_t tl_slow_children(const struct tl_node *n)
{
    uint32_t ranks[SLOW_CHILDREN_MAX], count = 0, at = n->loan_ages.head;
    for (; at != TL_SLOT_NONE && count < SLOW_CHILDREN_MAX && is_slow(n, &n->loans[at]); at = n->loans[at].next) {
        uint32_t i = 0;
        while (i < count && ranks[i] != n->loans[at].rank)
            i++;
        if (i == count)
            ranks[count++] = n->loans[at].rank;
    }
    return count;
}

static uint32_t new_loan(struct tl_node *n, uint32_t chunk, uint32_t rank, bool pull)
{
    uint32_t at = n->loan_free;
    if (at != TL_SLOT_NONE)
        n->loan_free = n->loans[at].next;
    else if (n->loan_fresh < n->config.waiter_max)
        at = n->loan_fresh++;
    else
        return TL_SLOT_NONE;
    struct tl_loan *loan = &n->loans[at];
    *loan = (struct tl_loan){.chunk = chunk,
                             .rank = rank,
                             .gen = loan->gen + 1,
                             .used = true,
                             .pull = pull,
                             .next = TL_SLOT_NONE,
                             .prev = TL_SLOT_NONE};
    n->index->chunks[chunk].pins++;
    if (!pull)
        return at; /* the transport always says SENT: no lease */
    append_loan(n, at);
    return at;
}

static void free_loan(struct tl_node *n, uint32_t at)
{
    struct tl_loan *loan = &n->loans[at];
    check(loan->used && n->index->chunks[loan->chunk].pins > 0);
    n->index->chunks[loan->chunk].pins--;
    if (loan->pull)
        unlink_loan(n, loan);
    loan->used = false;
    loan->next = n->loan_free;
    n->loan_free = at;
}

/* A loan that is over already, or another peer's, is none of the sender's business: ignored (P-18). */
void tl_loan_end(struct tl_node *n, uint64_t cookie, uint32_t rank, bool pull)
{
    uint32_t at = (uint32_t)cookie;
    if (at >= n->loan_fresh)
        return;
    const struct tl_loan *loan = &n->loans[at];
    if (!loan->used || loan->gen != (uint32_t)(cookie >> 32) || loan->pull != pull || (pull && loan->rank != rank))
        return;
    n->counters.slow_pulls += pull && is_slow(n, loan) ? 1u : 0u;
    free_loan(n, at);
}

void tl_loans_of_peer_end(struct tl_node *n, uint32_t rank)
{
    for (uint32_t at = n->loan_ages.head; at != TL_SLOT_NONE;) {
        uint32_t next = n->loans[at].next;
        if (n->loans[at].rank == rank)
            free_loan(n, at);
        at = next;
    }
}

void tl_loan_timers(struct tl_node *n)
{
    while (n->loan_ages.head != TL_SLOT_NONE && n->loans[n->loan_ages.head].deadline_ns <= n->now_ns) {
        n->counters.slow_pulls++;
        free_loan(n, n->loan_ages.head);
    }
}

/* ---- sending ---- */

void tl_data_send_error(struct tl_node *n, uint32_t peer, uint64_t req, struct tl_hash key, uint32_t number, int status)
{
    check(status < 0);
    const struct tl_wire m = {
        .type = TL_WIRE_DATA,
        .data = {.req = req, .key = key, .chunk = number, .status = status, .mode = TL_DATA_ERROR}};
    tl_node_send(n, n->peers[peer].rank, &m, 0, 0, 0);
}

void tl_data_send(struct tl_node *n, uint32_t peer, uint64_t req, uint32_t chunk)
{
    const struct tl_chunk *c = &n->index->chunks[chunk];
    uint32_t rank = n->peers[peer].rank;
    bool pull = c->len > TL_INLINE_MAX;
    uint32_t loan = new_loan(n, chunk, rank, pull);
    if (loan == TL_SLOT_NONE) {
        n->counters.busy++;
        tl_data_send_error(n, peer, req, n->index->objects[c->object].key, c->number, -EBUSY);
        return;
    }
    uint64_t cookie = (uint64_t)n->loans[loan].gen << 32 | loan;
    const struct tl_wire m = {.type = TL_WIRE_DATA,
                              .data = {.req = req,
                                       .key = n->index->objects[c->object].key,
                                       .chunk = c->number,
                                       .mode = pull ? TL_DATA_PULL : TL_DATA_INLINE,
                                       .len = c->len,
                                       .digest = c->digest,
                                       .addr = pull ? c->addr : 0,
                                       .loan = pull ? cookie : 0}};
    tl_node_send(n, rank, &m, pull ? 0 : c->addr, pull ? 0 : c->len, pull ? 0 : cookie);
    n->counters.bytes_to_peers += c->len;
}

static void send_done(struct tl_node *n, uint32_t rank, uint64_t loan)
{
    uint32_t peer = tl_peer_find(n, rank);
    if (loan == 0 || peer == TL_SLOT_NONE || n->peers[peer].link != LINK_UP)
        return; /* a loan ends with its connection (P-18) */
    const struct tl_wire m = {.type = TL_WIRE_DONE, .done = {.loan = loan}};
    tl_node_send(n, rank, &m, 0, 0, 0);
}

/* ---- receiving ---- */

/* The flight of this chunk, in whatever state; TL_SLOT_NONE: none. */
static uint32_t flight_for(const struct tl_node *n, const struct tl_wire *m)
{
    uint32_t object = tl_index_find_object(n->index, m->data.key);
    uint32_t chunk = object == TL_SLOT_NONE ? TL_SLOT_NONE : tl_index_find_chunk(n->index, object, m->data.chunk);
    return chunk == TL_SLOT_NONE ? TL_SLOT_NONE : n->index->chunks[chunk].flight;
}

/* The flight that this answers, TL_SLOT_NONE: nobody waits for it any more (P-4). An answer to an earlier GET is as good
 * as one to the last, or a peer that takes longer than the time-out would never be heard; but nothing counts that was
 * asked for before a flush (P-42). */
static uint32_t flight_of(const struct tl_node *n, uint32_t rank, const struct tl_wire *m)
{
    uint32_t flight = flight_for(n, m);
    if (flight == TL_SLOT_NONE)
        return TL_SLOT_NONE;
    const struct tl_flight *f = &n->flights[flight];
    bool waits = f->state == FLIGHT_ASKED || f->state == FLIGHT_ROUTE;
    bool counts = m->data.req >= f->req_min && m->data.req < n->next_req;
    return waits && f->rank == rank && counts ? flight : TL_SLOT_NONE;
}

/* A file's chunk has the length that its size says; a blob says its own. */
static bool length_fits(const struct tl_node *n, const struct tl_flight *f, uint32_t len)
{
    const struct tl_chunk *c = &n->index->chunks[f->chunk];
    const struct tl_object *o = &n->index->objects[c->object];
    return o->op != TL_OP_READ || len == tl_chunk_len(o->file_size_bytes, c->number);
}

/* The bytes are in place: are they what the authenticated header promised? */
static void arrived(struct tl_node *n, uint32_t flight, struct tl_hash digest)
{
    struct tl_flight *f = &n->flights[flight];
    const struct tl_chunk *c = &n->index->chunks[f->chunk];
    enum tl_op op = (enum tl_op)n->index->objects[c->object].op;
    if (!tl_hash_equal(digest, f->digest) ||
        (op != TL_OP_READ && !n->bytes.blob_valid(n->bytes_ctx, op, f->addr, f->len))) {
        n->counters.digest_failures++;
        tl_flight_damaged(n, flight);
        return;
    }
    n->counters.chunks_from_peer++;
    n->counters.bytes_from_peer += f->len;
    if (f->stale)
        tl_flight_again(n, flight, false);
    else
        tl_flight_land(n, flight);
}

/* Errors that say something about the node they come from, not about what was asked for (P-7). */
static bool peers_own(int status)
{
    switch (status) {
    case -EIO:
    case -ENOMEM:
    case -ENOSPC:
    case -EMFILE:
    case -ENFILE:
    case -ETIMEDOUT:
    case -ENOTCONN:
    case -EHOSTUNREACH:
    case -ESHUTDOWN:
    case -ECANCELED: return true;
    default: return false;
    }
}

static void error_received(struct tl_node *n, uint32_t flight, int status)
{
    if (status == -EBUSY)
        tl_flight_again(n, flight, true);
    else if (peers_own(status))
        tl_flight_to_source(n, flight);
    else
        tl_flight_fail(n, flight, status);
}

static void start_pull(struct tl_node *n, uint32_t flight, uint32_t rank, const struct tl_wire *m)
{
    struct tl_flight *f = &n->flights[flight];
    tl_flight_move(n, flight, FLIGHT_PULLING);
    struct tl_action *a = tl_node_act(n, TL_ACT_PULL);
    a->rank = rank;
    a->remote_addr = m->data.addr;
    a->addr = f->addr;
    a->len = f->len;
    a->deadline_ns = n->now_ns + n->config.request_timeout_ns * PULLS_DEADLINE_FACTOR;
    a->cookie = tl_flight_cookie(n, flight);
}

void tl_data_received(struct tl_node *n, uint32_t peer, const struct tl_wire *m, const uint8_t *payload, uint32_t len)
{
    uint32_t rank = n->peers[peer].rank;
    uint32_t flight = flight_of(n, rank, m);
    bool is_inline = m->data.mode == TL_DATA_INLINE;
    if (flight == TL_SLOT_NONE) {
        send_done(n, rank, m->data.loan);
        return;
    }
    struct tl_flight *f = &n->flights[flight];
    if (m->data.mode == TL_DATA_ERROR) {
        error_received(n, flight, m->data.status);
        return;
    }
    if (!length_fits(n, f, m->data.len)) {
        n->counters.digest_failures++;
        send_done(n, rank, m->data.loan);
        tl_flight_damaged(n, flight);
        return;
    }
    int rc = tl_node_alloc(n, m->data.len, &f->addr);
    if (rc != 0) {
        send_done(n, rank, m->data.loan);
        tl_flight_no_room(n, flight, rc);
        return;
    }
    f->len = m->data.len;
    f->digest = m->data.digest;
    f->loan = m->data.loan;
    if (!is_inline) {
        start_pull(n, flight, rank, m);
        return;
    }
    struct tl_hash digest;
    rc = n->bytes.write(n->bytes_ctx, f->addr, payload, len, &digest);
    tl_flight_move(n, flight, FLIGHT_PULLING);
    if (rc != 0)
        tl_flight_no_room(n, flight, rc);
    else
        arrived(n, flight, digest);
}

void tl_data_pulled(struct tl_node *n, uint64_t cookie, int status)
{
    uint32_t flight = tl_flight_by_cookie(n, cookie);
    check(flight != TL_SLOT_NONE && n->flights[flight].state == FLIGHT_PULLING);
    const struct tl_flight *f = &n->flights[flight];
    send_done(n, f->rank, f->loan);
    if (status == 0)
        arrived(n, flight, n->bytes.digest(n->bytes_ctx, f->addr, f->len));
    else if (status == -ENOMEM)
        tl_flight_no_room(n, flight, status);
    else
        tl_flight_damaged(n, flight);
}
