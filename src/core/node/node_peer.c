// SPDX-License-Identifier: Apache-2.0
/* Neighbours: who is connected, who has introduced itself, who is silent; and the way of each message to its file. */
#include <errno.h>

#include "core/node/internal.h"

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
    n->peers[at] = (struct tl_peer_state){.rank = rank, .used = true, .gen = n->peers[at].gen + 1};
    return at;
}

uint32_t tl_peer_subtree(const struct tl_node *n)
{
    uint32_t count = 1;
    for (uint32_t i = 0; i < n->peer_high; i++)
        if (n->peers[i].used && n->peers[i].child)
            count += n->peers[i].subtree;
    return count < n->config.node_count ? count : n->config.node_count;
}

uint32_t tl_peer_children(const struct tl_node *n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->peer_high; i++)
        count += n->peers[i].used && n->peers[i].child;
    return count;
}

static void send_plain(struct tl_node *n, uint32_t rank, enum tl_wire_type type)
{
    const struct tl_wire m = {.type = type};
    tl_node_send(n, rank, &m, 0, 0, 0);
}

void tl_peer_up(struct tl_node *n, uint32_t rank)
{
    uint32_t at = rank < n->config.node_count && rank != n->config.rank ? tl_peer_get(n, rank) : TL_SLOT_NONE;
    if (at == TL_SLOT_NONE) {
        n->counters.busy++;
        tl_node_act(n, TL_ACT_DROP)->rank = rank;
        return;
    }
    struct tl_peer_state *p = &n->peers[at];
    p->link = LINK_UP;
    p->hello = p->child = false;
    p->gen++;
    p->floods = 0;
    n->tick_ns = n->now_ns;
    p->failures = 0;
    p->heard_ns = p->pinged_ns = n->now_ns;
    const struct tl_wire m = {.type = TL_WIRE_HELLO,
                              .hello = {.protocol = TL_PROTOCOL_VERSION,
                                        .rank = n->config.rank,
                                        .node_count = n->config.node_count,
                                        .arity = n->config.arity,
                                        .job_id = n->config.job_id,
                                        .incarnation = n->config.incarnation}};
    tl_node_send(n, rank, &m, 0, 0, 0);
}

static bool same_job(const struct tl_node *n, uint32_t rank, const struct tl_wire *m)
{
    return m->hello.protocol == TL_PROTOCOL_VERSION && m->hello.rank == rank &&
           m->hello.node_count == n->config.node_count && m->hello.arity == n->config.arity &&
           m->hello.job_id == n->config.job_id;
}

static void join_received(struct tl_node *n, struct tl_peer_state *p, const struct tl_wire *m)
{
    if (p->rank < n->config.rank) {
        n->counters.bad_messages++; /* only higher ranks may be below us (P-20) */
        return;
    }
    p->child = true;
    p->subtree = m->join.subtree < n->config.node_count ? m->join.subtree : n->config.node_count;
    tl_route_tell_subtree(n);
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
    case TL_WIRE_REPORT: tl_flood_reported(n, m); break;
    case TL_WIRE_FLOODED: tl_flood_answered(n, at, m); break;
    }
}

/* The first message is HELLO, and only the first; a peer that breaks a rule of shape or order is dropped (P-30). */
void tl_peer_message(struct tl_node *n, const struct tl_event *ev)
{
    uint32_t at = tl_peer_find(n, ev->rank);
    if (at == TL_SLOT_NONE || n->peers[at].link != LINK_UP)
        return;
    struct tl_peer_state *p = &n->peers[at];
    p->heard_ns = n->now_ns;
    n->counters.messages_in++;
    struct tl_wire m;
    int rc = tl_wire_decode(&m, ev->header, ev->header_len);
    bool payload_ok = rc == 0 && (ev->payload_len == 0 || m.type == TL_WIRE_DATA);
    if (!payload_ok || (m.type == TL_WIRE_HELLO) == p->hello ||
        (m.type == TL_WIRE_HELLO && !same_job(n, ev->rank, &m))) {
        n->counters.bad_messages++;
        tl_node_act(n, TL_ACT_DROP)->rank = ev->rank;
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

/* Asks silent neighbours whether they are there, and gives up those that stay silent (P-25). */
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
        if (n->now_ns - p->heard_ns >= 3 * heartbeat) {
            p->heard_ns = n->now_ns;
            tl_node_act(n, TL_ACT_DROP)->rank = p->rank;
        } else if (n->now_ns - p->heard_ns >= heartbeat && n->now_ns - p->pinged_ns >= heartbeat) {
            p->pinged_ns = n->now_ns;
            send_plain(n, p->rank, TL_WIRE_PING);
        }
    }
    bool alone = !tl_route_is_source(n) && tl_route_parent(n) == TL_RANK_NONE;
    if (alone && connect_ns < n->tick_ns)
        n->tick_ns = connect_ns;
    if (n->current > 0 && n->candidate_count > 0 && n->probe_ns < n->tick_ns)
        n->tick_ns = n->probe_ns > n->now_ns ? n->probe_ns : n->now_ns + heartbeat / 2;
}
