// SPDX-License-Identifier: Apache-2.0
/* Neighbours: who is connected, who has introduced itself, who is silent; and the way of each message to its file. */
#include <errno.h>

#include "core/node/internal.h"

#define PINGS_MAX 2u /* without an answer */

uint32_t tl_peer_find(const struct tl_node *n, uint32_t rank)
{
    for (uint32_t i = 0; i < n->peer_high; i++)
        if (n->peers[i].used && n->peers[i].rank == rank)
            return i;
    return TL_SLOT_NONE;
}

uint32_t tl_peer_get(struct tl_node *n, uint32_t rank)
{
    uint32_t at = tl_peer_find(n, rank);
    if (at != TL_SLOT_NONE)
        return at;
    for (at = 0; at < n->peer_high && n->peers[at].used;)
        at++;
    if (at == n->peer_max)
        return TL_SLOT_NONE;
    if (at == n->peer_high)
        n->peer_high++;
    n->peers[at] = (struct tl_peer_state){
        .rank = rank, .used = true, .gen = n->peers[at].gen + 1, .candidate = tl_route_is_candidate(n, rank)};
    return at;
}

uint32_t tl_peer_subtree(const struct tl_node *n)
{
    uint64_t count = 1;
    for (uint32_t i = 0; i < n->peer_high; i++)
        if (n->peers[i].used && (n->peers[i].child_of & 1) != 0)
            count += n->peers[i].subtree;
    return count < n->config.node_count ? (uint32_t)count : n->config.node_count;
}

uint32_t tl_peer_children(const struct tl_node *n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->peer_high; i++)
        count += n->peers[i].used && (n->peers[i].child_of & 1) != 0;
    return count;
}

static void send_plain(struct tl_node *n, uint32_t rank, enum tl_wire_type type)
{
    const struct tl_wire m = {.type = type};
    tl_node_send(n, rank, &m, 0, 0, 0);
}

/* Nobody who may talk to us: neither before nor after us in any tree; or there are too many who ask. Places for those whom we may
 * ask are kept (P-23). */
static bool unwelcome(const struct tl_node *n, uint32_t rank)
{
    if (rank >= n->config.node_count || rank == n->config.rank)
        return true;
    if (tl_route_is_candidate(n, rank))
        return false;
    if (!tl_route_is_below(n, rank))
        return true;
    uint32_t others = 0;
    for (uint32_t i = 0; i < n->peer_high; i++)
        others += n->peers[i].used && !n->peers[i].candidate;
    return others >= n->peer_max - n->candidate_max;
}

void tl_peer_drop(struct tl_node *n, uint32_t slot)
{
    struct tl_peer_state *p = &n->peers[slot];
    if (p->link != LINK_UP)
        return;
    p->link = LINK_CLOSING;
    tl_node_act(n, TL_ACT_DROP)->rank = p->rank;
}

void tl_peer_up(struct tl_node *n, uint32_t rank)
{
    uint32_t old = tl_peer_find(n, rank);
    if (old != TL_SLOT_NONE && (n->peers[old].link == LINK_UP || n->peers[old].link == LINK_CLOSING))
        tl_peer_down(n, rank, 0); /* nobody told us: a new connection means that the old one is gone (P-26) */
    uint32_t at = unwelcome(n, rank) ? TL_SLOT_NONE : tl_peer_get(n, rank);
    if (at == TL_SLOT_NONE) {
        n->counters.busy++;
        tl_node_act(n, TL_ACT_DROP)->rank = rank;
        return;
    }
    struct tl_peer_state *p = &n->peers[at];
    p->link = LINK_UP;
    p->hello = false;
    p->child_of = 0;
    p->gen++;
    p->floods = 0;
    n->tick_ns = n->now_ns;
    p->failures = 0;
    p->refused = false;
    p->heard_ns = p->pinged_ns = n->now_ns;
    p->pings = 0;
    const struct tl_wire m = {.type = TL_WIRE_HELLO,
                              .hello = {.protocol = TL_PROTOCOL_VERSION,
                                        .rank = n->config.rank,
                                        .node_count = n->config.node_count,
                                        .arity = n->config.arity,
                                        .roots = n->config.roots,
                                        .job_id = n->config.job_id,
                                        .incarnation = n->config.incarnation}};
    tl_node_send(n, rank, &m, 0, 0, 0);
}

static bool same_job(const struct tl_node *n, uint32_t rank, const struct tl_wire *m)
{
    return m->hello.protocol == TL_PROTOCOL_VERSION && m->hello.rank == rank &&
           m->hello.node_count == n->config.node_count && m->hello.arity == n->config.arity &&
           m->hello.roots == n->config.roots && m->hello.job_id == n->config.job_id;
}

/* 0 nodes: it asks somebody else from now on. */
static void join_received(struct tl_node *n, struct tl_peer_state *p, const struct tl_wire *m)
{
    uint32_t bit = 1u << m->join.tree;
    p->child_of = m->join.subtree > 0 ? p->child_of | bit : p->child_of & ~bit;
    if (m->join.tree == 0)
        p->subtree = m->join.subtree < n->config.node_count ? m->join.subtree : n->config.node_count;
    tl_route_join(n);
}

static void route_message(struct tl_node *n, uint32_t at, const struct tl_wire *m, const struct tl_event *ev)
{
    struct tl_peer_state *p = &n->peers[at];
    switch (m->type) {
    case TL_WIRE_HELLO: break; /* handled before */
    case TL_WIRE_JOIN: join_received(n, p, m); break;
    case TL_WIRE_GET: tl_get_received(n, at, m); break;
    case TL_WIRE_DATA: tl_data_received(n, at, m, ev->payload, ev->payload_len); break;
    case TL_WIRE_DONE: tl_loan_end(n, m->done.loan, p->rank, true); break;
    case TL_WIRE_PING: send_plain(n, p->rank, TL_WIRE_PONG); break;
    case TL_WIRE_PONG: break;
    case TL_WIRE_FLOOD: tl_flood_received(n, p->rank, m); break;
    case TL_WIRE_REPORT: tl_flood_reported(n, at, m); break;
    case TL_WIRE_FLOODED: tl_flood_answered(n, at, m); break;
    }
}

/* The tree of what a peer asks for: its own business is what comes after it in that tree (P-20). */
static uint32_t tree_asked(const struct tl_node *n, const struct tl_wire *m)
{
    if (m->type == TL_WIRE_JOIN)
        return m->join.tree;
    struct tl_hash key = tl_object_key(m->get.op, m->get.path, m->get.path_len, m->get.version);
    return tl_forest_tree_of(&n->forest, key, m->get.file_size_bytes);
}

/* HELLO comes first, and once. Only who comes after us in a tree may join us and ask us for something there (P-20). A
 * payload is what DATA says it is, and nobody else has one. */
static bool follows_rules(const struct tl_node *n, const struct tl_peer_state *p, const struct tl_wire *m,
                          uint32_t payload_len)
{
    bool carries = m->type == TL_WIRE_DATA && m->data.mode == TL_DATA_INLINE;
    if (payload_len != (carries ? m->data.len : 0))
        return false;
    if (m->type == TL_WIRE_HELLO)
        return !p->hello && same_job(n, p->rank, m);
    bool asks = m->type == TL_WIRE_JOIN || m->type == TL_WIRE_GET;
    return p->hello && (!asks || tl_route_may_ask(n, tree_asked(n, m), p->rank));
}

/* The first message is HELLO, and only the first; a peer that breaks a rule of shape or order is dropped (P-30). */
void tl_peer_message(struct tl_node *n, const struct tl_event *ev)
{
    uint32_t at = tl_peer_find(n, ev->rank);
    if (at == TL_SLOT_NONE || n->peers[at].link != LINK_UP)
        return;
    struct tl_peer_state *p = &n->peers[at];
    p->heard_ns = n->now_ns;
    p->pings = 0;
    n->counters.messages_in++;
    struct tl_wire m;
    int rc = tl_wire_decode(&m, ev->header, ev->header_len);
    if (rc != 0 || !follows_rules(n, p, &m, ev->payload_len)) {
        n->counters.bad_messages++;
        tl_peer_drop(n, at);
        return;
    }
    if (m.type == TL_WIRE_HELLO) {
        p->hello = true;
        p->incarnation = m.hello.incarnation;
        tl_route_hello(n, ev->rank);
        return;
    }
    route_message(n, at, &m, ev);
}

/* Silent for a heartbeat: asked whether it is there, and again after half of one; silent for another half: gone (P-25). Ticks
 * come every half, so this takes less than three. Counted in questions, not in time alone: a node that was stopped for a
 * while does not take all others for dead. */
static void look_at_link(struct tl_node *n, uint32_t at)
{
    struct tl_peer_state *p = &n->peers[at];
    uint64_t heartbeat = n->config.heartbeat_ns;
    uint64_t silent_ns = n->now_ns - (p->pings > 0 ? p->pinged_ns : p->heard_ns);
    if (silent_ns < (p->pings > 0 ? heartbeat / 2 : heartbeat))
        return;
    if (p->pings == PINGS_MAX) {
        tl_peer_drop(n, at);
        return;
    }
    p->pings++;
    p->pinged_ns = n->now_ns;
    send_plain(n, p->rank, TL_WIRE_PING);
}

void tl_peer_tick(struct tl_node *n)
{
    if (n->now_ns < n->tick_ns)
        return;
    uint64_t heartbeat = n->config.heartbeat_ns;
    n->tick_ns = UINT64_MAX;
    uint64_t connect_ns = UINT64_MAX;
    for (uint32_t i = 0; i < n->peer_high; i++) {
        struct tl_peer_state *p = &n->peers[i];
        if (!p->used)
            continue;
        if (p->link == LINK_NONE && p->retry_ns > n->now_ns && p->retry_ns < connect_ns)
            connect_ns = p->retry_ns;
        if (p->link != LINK_UP)
            continue;
        n->tick_ns = n->now_ns + heartbeat / 2;
        look_at_link(n, i);
    }
    tl_route_join_again(n);
    uint64_t route_ns = tl_route_tick_ns(n, connect_ns);
    if (route_ns < n->tick_ns)
        n->tick_ns = route_ns;
}
