// SPDX-License-Identifier: Apache-2.0
/* FLOOD: an operator's command to all nodes. It runs over the edges of the tree, away from where it was given; each node
 * answers FLOODED to the neighbour it came from once everybody behind it has (docs/protocol.md, P-40 to P-43). */
#include <errno.h>
#include <string.h>

#include "core/node/internal.h"

/* ---- forgetting ---- */

bool tl_path_below(const char *p, uint16_t p_len, const char *top, uint16_t top_len)
{
    if (top_len <= 1)
        return true;
    return p_len >= top_len && memcmp(p, top, top_len) == 0 && (p_len == top_len || p[top_len] == '/');
}

uint16_t tl_path_parent_len(const char *path, uint16_t len)
{
    while (len > 0 && path[len - 1] != '/')
        len--;
    return len > 1 ? (uint16_t)(len - 1) : 1;
}

static bool is_parent(const char *p, uint16_t p_len, const char *path, uint16_t len)
{
    return len > 0 && p_len == tl_path_parent_len(path, len) && memcmp(p, path, p_len) == 0;
}

void tl_invalidate(struct tl_node *n, const char *path, uint16_t len)
{
    if (len > 0)
        memmove(n->flush_path, path, len);
    struct tl_action *a = tl_node_act(n, TL_ACT_INVALIDATE);
    a->path = n->flush_path;
    a->path_len = len;
    n->counters.invalidations++;
}

/* Forgets a chunk, or marks it so that what is under way is not kept. A blob that is lent at the moment only
 * goes out of reach of look-ups; a file's chunk that is lent stays: its key holds its version. */
void tl_forget_chunk(struct tl_node *n, uint32_t chunk)
{
    struct tl_chunk *c = &n->index->chunks[chunk];
    if (c->kept)
        return; /* pinned: as it was (P-45) */
    if (c->state == TL_CHUNK_FLIGHT) {
        struct tl_flight *f = &n->flights[c->flight];
        f->req_min = n->next_req;
        f->stale = f->state == FLIGHT_PULLING || f->state == FLIGHT_FETCHING;
        if (f->state == FLIGHT_ASKED)
            tl_flight_move(n, c->flight, FLIGHT_ROUTE);
    } else if (c->pins == 0) {
        tl_node_drop_chunk(n, chunk);
    } else if (n->index->objects[c->object].op != TL_OP_READ) {
        tl_index_disown_object(n->index, c->object);
    }
}

void tl_flush_here(struct tl_node *n, const char *path, uint16_t path_len)
{
    char *own = n->path;
    for (uint32_t i = 0; i < n->index->chunk_fresh; i++) {
        struct tl_chunk *c = &n->index->chunks[i];
        if (c->state == TL_CHUNK_FREE)
            continue;
        const struct tl_object *o = &n->index->objects[c->object];
        if (path_len == 0) {
            if (o->op != TL_OP_READ || c->state != TL_CHUNK_FLIGHT)
                tl_forget_chunk(n, i);
            continue;
        }
        if (o->op == TL_OP_READ)
            continue;
        tl_paths_get(n->index->paths, o->path, own, o->path_len);
        if (tl_path_below(own, o->path_len, path, path_len) || is_parent(own, o->path_len, path, path_len))
            tl_forget_chunk(n, i);
    }
    tl_invalidate(n, path, path_len);
}

/* ---- the flood ---- */

static struct tl_flood_op *find_flood(struct tl_node *n, uint64_t id)
{
    for (uint32_t i = 0; i < FLOODS_MAX; i++)
        if (n->floods[i].kind != 0 && n->floods[i].id == id)
            return &n->floods[i];
    return NULL;
}

static bool is_known(const struct tl_node *n, uint64_t id)
{
    for (uint32_t i = 0; i < FLOODS_KNOWN; i++)
        if (n->floods_known[i] == id)
            return true;
    return false;
}

static struct tl_flood_op *new_flood(struct tl_node *n)
{
    for (uint32_t i = 0; i < FLOODS_MAX; i++)
        if (n->floods[i].kind == 0)
            return &n->floods[i];
    return NULL;
}

/* Neighbours: the parents we ask, and the children that have joined, in whichever tree. */
static bool is_neighbour(const struct tl_node *n, const struct tl_peer_state *p)
{
    return p->used && p->link == LINK_UP && p->hello && (p->child_of != 0 || tl_route_asks(n, p->rank));
}

/* Shorter the farther from where it was given: who waits hears from those that wait for others (P-43). */
static uint64_t flood_timeout(uint8_t hops)
{
    uint64_t steps = hops < FLOOD_HOPS_MAX ? hops : FLOOD_HOPS_MAX;
    return FLOOD_TIMEOUT_NS - FLOOD_TIMEOUT_NS / (FLOOD_HOPS_MAX + 2) * steps;
}

static void report(struct tl_node *n, const struct tl_flood_op *op, const struct tl_report *report)
{
    if (op->from_rank != TL_RANK_NONE) {
        uint32_t peer = tl_peer_find(n, op->from_rank);
        if (peer == TL_SLOT_NONE || n->peers[peer].link != LINK_UP)
            return;
        const struct tl_wire m = {.type = TL_WIRE_REPORT, .report = {.id = op->id, .report = *report}};
        tl_node_send(n, op->from_rank, &m, 0, 0, 0);
        return;
    }
    n->report = *report;
    struct tl_action *a = tl_node_act(n, TL_ACT_REPORT);
    a->answer.id = op->local_id;
    a->report = &n->report;
}

static void end(struct tl_node *n, struct tl_flood_op *op)
{
    for (uint32_t i = 0; i < n->peer_high; i++)
        n->peers[i].floods &= ~(1u << (op - n->floods));
    op->kind = 0;
}

/* Everybody behind us has answered, or never will. */
static void finish(struct tl_node *n, struct tl_flood_op *op)
{
    if (op->own) {
        /* nobody waits */
    } else if (op->from_rank == TL_RANK_NONE) {
        bool all = op->complete && op->nodes == n->config.node_count;
        tl_answer_status(n, op->local_id, all ? 0 : -EHOSTUNREACH);
    } else {
        const struct tl_wire m = {.type = TL_WIRE_FLOODED,
                                  .flooded = {.id = op->id, .nodes = op->nodes, .complete = op->complete}};
        uint32_t peer = tl_peer_find(n, op->from_rank);
        if (peer != TL_SLOT_NONE && n->peers[peer].link == LINK_UP)
            tl_node_send(n, op->from_rank, &m, 0, 0, 0);
    }
    end(n, op);
}

/* Does it here, then passes it on to all neighbours, before anything is asked for (P-40). */
static void spread(struct tl_node *n, struct tl_flood_op *op, const char *path, uint16_t path_len)
{
    n->floods_known[n->flood_known_next++ % FLOODS_KNOWN] = op->id;
    if (op->kind == TL_FLOOD_FLUSH) {
        tl_flush_here(n, path, path_len);
    } else if (op->kind == TL_FLOOD_PIN) {
        op->complete &= tl_pin(n, path, path_len);
    } else if (op->kind == TL_FLOOD_UNPIN) {
        tl_unpin(n, path, path_len);
    } else if (op->kind == TL_FLOOD_WARM) {
        tl_flush_here(n, path, path_len); /* a profile changes; what is asked for now is the one of today */
        struct tl_action *a = tl_node_act(n, TL_ACT_WARM);
        n->warm.loading++;
        a->path = n->flush_path;
        a->path_len = path_len;
    } else {
        struct tl_report own;
        tl_node_report(n, &own);
        report(n, op, &own);
    }
    const struct tl_wire m = {.type = TL_WIRE_FLOOD,
                              .flood = {.kind = (enum tl_flood_kind)op->kind,
                                        .id = op->id,
                                        .hops = op->hops < UINT8_MAX ? (uint8_t)(op->hops + 1) : UINT8_MAX,
                                        .path = path,
                                        .path_len = path_len}};
    for (uint32_t i = 0; i < n->peer_high; i++)
        if (is_neighbour(n, &n->peers[i]) && n->peers[i].rank != op->from_rank) {
            tl_node_send(n, n->peers[i].rank, &m, 0, 0, 0);
            n->peers[i].floods |= 1u << (op - n->floods);
            op->waiting++;
        }
    if (op->waiting == 0)
        finish(n, op);
}

static void begin(struct tl_node *n, struct tl_flood_op *op, enum tl_flood_kind kind, const char *path,
                  uint16_t path_len)
{
    const uint64_t name[] = {n->config.rank, n->config.incarnation, n->next_flood++};
    *op = (struct tl_flood_op){.id = tl_hash64(name, sizeof name, 0),
                               .local_id = op->local_id,
                               .deadline_ns = n->now_ns + FLOOD_TIMEOUT_NS,
                               .from_rank = TL_RANK_NONE,
                               .nodes = 1,
                               .kind = (uint8_t)kind,
                               .complete = true,
                               .own = op->own};
    spread(n, op, path, path_len);
}

void tl_flood_start(struct tl_node *n, enum tl_flood_kind kind, uint64_t local_id, const char *path, uint16_t path_len)
{
    struct tl_flood_op *op = new_flood(n);
    bool nothing = kind == TL_FLOOD_WARM && path_len == 0;
    if (op == NULL || nothing || path_len >= TL_PATH_MAX || (path_len > 0 && path[0] != '/')) {
        tl_answer_status(n, local_id, op == NULL ? -EBUSY : -EINVAL);
        return;
    }
    op->local_id = local_id;
    op->own = false;
    begin(n, op, kind, path, path_len);
}

bool tl_flood_flush(struct tl_node *n, const char *path, uint16_t path_len)
{
    struct tl_flood_op *op = new_flood(n);
    if (op == NULL)
        return false;
    op->own = true;
    begin(n, op, TL_FLOOD_FLUSH, path, path_len);
    return true;
}

/* By how many ways a flood comes, it is done once: who brings it later is told that there is nothing behind us that
 * somebody else has not been promised (P-41). */
void tl_flood_received(struct tl_node *n, uint32_t rank, const struct tl_wire *m)
{
    bool known = is_known(n, m->flood.id);
    struct tl_flood_op *op = known ? NULL : new_flood(n);
    if (op == NULL) { /* or too many at once: not done behind this edge */
        n->counters.busy += !known;
        const struct tl_wire no = {.type = TL_WIRE_FLOODED, .flooded = {.id = m->flood.id, .complete = known}};
        tl_node_send(n, rank, &no, 0, 0, 0);
        return;
    }
    *op = (struct tl_flood_op){.id = m->flood.id,
                               .deadline_ns = n->now_ns + flood_timeout(m->flood.hops),
                               .hops = m->flood.hops,
                               .from_rank = rank,
                               .nodes = 1,
                               .kind = (uint8_t)m->flood.kind,
                               .complete = true};
    spread(n, op, m->flood.path, m->flood.path_len);
}

void tl_flood_answered(struct tl_node *n, uint32_t peer, const struct tl_wire *m)
{
    struct tl_flood_op *op = find_flood(n, m->flooded.id);
    uint32_t bit = op == NULL ? 0 : 1u << (op - n->floods);
    if ((n->peers[peer].floods & bit) == 0)
        return;
    n->peers[peer].floods &= ~bit;
    op->nodes += m->flooded.nodes;
    op->complete &= m->flooded.complete;
    if (--op->waiting == 0)
        finish(n, op);
}

void tl_flood_reported(struct tl_node *n, uint32_t peer, const struct tl_wire *m)
{
    struct tl_flood_op *op = find_flood(n, m->report.id);
    if (op != NULL && (n->peers[peer].floods & 1u << (op - n->floods)) != 0)
        report(n, op, &m->report.report);
}

/* What it was asked for is not done behind it; what it asked for, nobody wants to hear about. */
void tl_flood_peer_lost(struct tl_node *n, uint32_t peer)
{
    for (uint32_t i = 0; i < FLOODS_MAX; i++) {
        struct tl_flood_op *op = &n->floods[i];
        bool owes = (n->peers[peer].floods & 1u << i) != 0;
        if (op->kind != 0 && op->from_rank == n->peers[peer].rank) {
            end(n, op);
        } else if (op->kind != 0 && owes) {
            op->complete = false;
            if (--op->waiting == 0)
                finish(n, op);
        }
    }
    n->peers[peer].floods = 0;
}

void tl_flood_timers(struct tl_node *n)
{
    for (uint32_t i = 0; i < FLOODS_MAX; i++)
        if (n->floods[i].kind != 0 && n->floods[i].deadline_ns <= n->now_ns) {
            n->floods[i].complete = false;
            finish(n, &n->floods[i]);
        }
}
