// SPDX-License-Identifier: Apache-2.0
/* Connections of the simulated transport: how they come about, and how they end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/memory.h"
#include "sim/simnet_internal.h"

#define LINKS_FIRST 4u
#define READY_FIRST 4u

void tl_link_unref(struct tl_link *link)
{
    check(link->refs > 0);
    if (--link->refs == 0)
        free(link);
}

struct tl_link *tl_simnet_link(const struct tl_simnet *net, uint32_t rank)
{
    for (uint32_t i = 0; i < net->link_count; i++)
        if (net->link_ranks[i] == rank)
            return net->links[i];
    return NULL;
}

void tl_simnet_link_add(struct tl_simnet *net, struct tl_link *link, uint32_t rank)
{
    check(tl_simnet_link(net, rank) == NULL);
    if (net->link_count == net->link_capacity) {
        net->link_capacity = net->link_capacity == 0 ? LINKS_FIRST : net->link_capacity * 2;
        net->links = tl_sim_realloc(net->links, net->link_capacity, sizeof(struct tl_link *));
        net->link_ranks = tl_sim_realloc(net->link_ranks, net->link_capacity, sizeof *net->link_ranks);
    }
    net->links[net->link_count] = link;
    net->link_ranks[net->link_count++] = rank;
    link->refs++;
}

static void link_remove(struct tl_simnet *net, struct tl_link *link)
{
    uint32_t at = 0;
    while (at < net->link_count && net->links[at] != link)
        at++;
    check(at < net->link_count);
    net->link_count--;
    net->links[at] = net->links[net->link_count];
    net->link_ranks[at] = net->link_ranks[net->link_count];
    tl_link_unref(link);
}

void tl_link_op_add(struct tl_link *link, uint8_t side, struct tl_packet *p)
{
    struct tl_link_end *end = &link->end[side];
    p->next = end->ops;
    if (p->next != NULL)
        p->next->link_to_me = &p->next;
    p->link_to_me = &end->ops;
    end->ops = p;
}

void tl_link_op_remove(struct tl_packet *p)
{
    if (p->link_to_me == NULL)
        return;
    *p->link_to_me = p->next;
    if (p->next != NULL)
        p->next->link_to_me = p->link_to_me;
    p->next = NULL;
    p->link_to_me = NULL;
}

void tl_simnet_push(struct tl_simnet *net, const struct tl_net_event *ev, struct tl_packet *packet)
{
    if (net->ready_count == net->ready_capacity) {
        uint32_t old = net->ready_capacity;
        struct tl_ready *ring = tl_sim_alloc(old == 0 ? READY_FIRST : old * 2, sizeof *ring);
        for (uint32_t i = 0; i < net->ready_count; i++)
            ring[i] = net->ready[(net->ready_first + i) % old];
        free(net->ready);
        net->ready = ring;
        net->ready_first = 0;
        net->ready_capacity = old == 0 ? READY_FIRST : old * 2;
    }
    struct tl_ready *r = &net->ready[(net->ready_first + net->ready_count) % net->ready_capacity];
    r->event = *ev;
    r->event.private_data = packet;
    r->packet = packet;
    net->ready_count++;
    struct tl_world *w = net->fabric->world;
    uint64_t what = ev->header_len > 0 ? tl_hash64(ev->header, ev->header_len, ev->payload_len) : ev->cookie;
    tl_world_trace(w, (uint64_t)ev->type << 32 | net->rank, (uint64_t)ev->peer.rank << 32 | (uint32_t)ev->status, what);
}

/* Takes a side's operations away from it; each gives its one event when `status` is not 0. */
static void ops_end(struct tl_link *link, uint8_t side, int status)
{
    struct tl_link_end *end = &link->end[side];
    while (end->ops != NULL) {
        struct tl_packet *p = end->ops;
        tl_link_op_remove(p);
        p->ended = true;
        if (status == 0)
            continue;
        struct tl_net_event ev = {.type = p->deadline_ns != 0 ? TL_NET_READ : TL_NET_SENT,
                                  .status = status,
                                  .peer = {.rank = link->end[!side].rank, .gen = end->gen},
                                  .cookie = p->cookie};
        tl_simnet_push(end->net, &ev, NULL);
    }
}

void tl_link_end_close(struct tl_link *link, uint8_t side, int status, const char *why)
{
    struct tl_link_end *end = &link->end[side];
    if (end->net == NULL || end->state == END_CLOSED)
        return;
    struct tl_simnet *net = end->net;
    check(status < 0);
    link->refs++;
    ops_end(link, side, status);
    end->state = END_CLOSED;
    end->net = NULL;
    link_remove(net, link);
    struct tl_net_event ev = {
        .type = TL_NET_DOWN, .status = status, .peer = {.rank = link->end[!side].rank, .gen = end->gen}, .why = why};
    tl_simnet_push(net, &ev, NULL);
    tl_link_unref(link);
}

void tl_link_end_vanish(struct tl_link *link, uint8_t side)
{
    struct tl_link_end *end = &link->end[side];
    struct tl_simnet *net = end->net;
    struct tl_fabric *f = net->fabric;
    link->refs++;
    ops_end(link, side, 0);
    end->state = END_CLOSED;
    end->net = NULL;
    link_remove(net, link);
    end->sent++;
    if (!link->lost && !tl_fabric_chance(f, TL_STREAM_LOST_DOWN, f->faults.lost_down_ppm, link, side))
        tl_link_down_later(link, !side, f->config.latency_ns, -ECONNRESET);
    link->lost = true;
    tl_link_unref(link);
}

void tl_link_down_later(struct tl_link *link, uint8_t side, uint64_t delay_ns, int status)
{
    struct tl_link_end *end = &link->end[side];
    if (end->net == NULL || end->giving_up)
        return;
    struct tl_fabric *f = end->net->fabric;
    end->giving_up = true;
    struct tl_packet *p = tl_packet_new(f, link, side, 0);
    p->status = status;
    uint64_t at_ns = f->world->now_ns + delay_ns;
    if (at_ns < end->last_arrival_ns)
        at_ns = end->last_arrival_ns; /* what was sent before arrives before */
    tl_world_at(f->world, at_ns, TL_WORLD_NET, end->rank, WIRE_DOWN, p);
}

void tl_link_lose(struct tl_fabric *f, struct tl_link *link)
{
    if (link->lost)
        return;
    link->lost = true;
    f->connections_lost++;
    for (uint8_t side = 0; side < 2; side++) {
        if (tl_fabric_chance(f, TL_STREAM_LOST_DOWN, f->faults.lost_down_ppm, link, side))
            continue;
        uint64_t more_ns = tl_world_draw(f->world, TL_STREAM_LOST_DOWN, link->end[side].rank, f->world->now_ns, 1);
        tl_link_down_later(link, side, f->config.latency_ns + more_ns % (10 * f->config.latency_ns + 1), -ECONNRESET);
    }
}

int tl_simnet_link_start(struct tl_simnet *net, uint32_t rank, struct tl_peer *out)
{
    struct tl_fabric *f = net->fabric;
    struct tl_link *link = tl_sim_alloc(1, sizeof *link);
    link->end[0] = (struct tl_link_end){.net = net, .rank = net->rank, .gen = net->next_gen++, .state = END_CONNECTING};
    link->end[1] = (struct tl_link_end){.rank = rank, .state = END_CLOSED};
    tl_simnet_link_add(net, link, rank);
    *out = (struct tl_peer){.rank = rank, .gen = link->end[0].gen};
    struct tl_packet *p = tl_packet_new(f, link, 0, 0);
    uint64_t now_ns = f->world->now_ns;
    if (tl_fabric_cut_off(f, net->rank, rank) || tl_fabric_cut_off(f, rank, net->rank)) {
        p->status = -ETIMEDOUT;
        tl_world_at(f->world, now_ns + f->config.connect_timeout_ns, TL_WORLD_NET, net->rank, WIRE_CONNECT_END, p);
        return 0;
    }
    link->end[0].sent++;
    uint64_t depart_ns = tl_fabric_transmit(f, net->rank, TL_SIM_FRAME_BYTES, f->config.message_cpu_ns);
    tl_world_at(f->world, depart_ns + f->config.latency_ns, TL_WORLD_NET, rank, WIRE_SYN, p);
    return 0;
}

/* Why the listener does not take this connection: 0, or a status and a sentence. */
static int refusal(struct tl_fabric *f, struct tl_link *link, struct tl_simnet *listener, char *why, size_t max)
{
    struct tl_simnet *initiator = link->end[0].net;
    if (listener == NULL || tl_fabric_chance(f, TL_STREAM_REFUSE, f->faults.refuse_ppm, link, 0)) {
        snprintf(why, max, "nobody listens there");
        return -ECONNREFUSED;
    }
    if (memcmp(initiator->job_key, listener->job_key, sizeof listener->job_key) != 0) {
        initiator->stats.auth_failures++;
        listener->stats.auth_failures++;
        snprintf(why, max, "its job key is another");
        return -EKEYREJECTED;
    }
    if (initiator->protocol_version != listener->protocol_version) {
        initiator->stats.version_mismatches++;
        listener->stats.version_mismatches++;
        snprintf(why, max, "it speaks protocol version %u, we speak %u", listener->protocol_version,
                 initiator->protocol_version);
        return -EPROTO;
    }
    if (initiator->job_id == listener->job_id && initiator->encrypt == listener->encrypt)
        return 0;
    snprintf(why, max,
             initiator->encrypt != listener->encrypt ? "only one of us is to encrypt" : "its node list differs");
    return -EPROTO;
}

static void connect_fail(struct tl_fabric *f, struct tl_packet *p, int status, uint64_t delay_ns)
{
    p->status = status;
    tl_world_at(f->world, f->world->now_ns + delay_ns, TL_WORLD_NET, p->link->end[0].rank, WIRE_CONNECT_END, p);
}

/* What to do with a connection that the listener has to the same rank already. False: the new one is to wait. */
static bool make_room(struct tl_fabric *f, struct tl_link *link, struct tl_simnet *listener, uint32_t *gen)
{
    struct tl_link *old = tl_simnet_link(listener, link->end[0].rank);
    if (old == NULL)
        return true;
    uint8_t side = tl_link_side(old, listener);
    if (old->end[side].state == END_CONNECTING) { /* both connect at once: the lower rank's connection stays */
        if (listener->rank < link->end[0].rank)
            return false;
        *gen = old->end[side].gen;
        old->refs++;
        old->end[side].state = END_CLOSED;
        old->end[side].net = NULL;
        link_remove(listener, old);
        tl_link_unref(old);
        return true;
    }
    /* The initiator has lost the old one, or it would not connect. */
    old->refs++;
    old->lost = true;
    tl_link_down_later(old, !side, f->config.latency_ns, -ECONNRESET);
    tl_link_end_close(old, side, -ECONNRESET, "replaced by a newer connection");
    tl_link_unref(old);
    return true;
}

void tl_link_handle_syn(struct tl_fabric *f, struct tl_packet *p, uint32_t rank)
{
    struct tl_link *link = p->link;
    struct tl_simnet *listener = f->hosts[rank].net;
    if (link->end[0].net == NULL || link->end[0].state != END_CONNECTING) {
        tl_packet_free(f, p);
        return;
    }
    if (tl_fabric_cut_off(f, link->end[0].rank, rank)) {
        connect_fail(f, p, -ETIMEDOUT, f->config.connect_timeout_ns);
        return;
    }
    int status = refusal(f, link, listener, link->end[0].net->why, sizeof link->end[0].net->why);
    if (status != 0) {
        connect_fail(f, p, status, f->config.latency_ns);
        return;
    }
    uint32_t gen = 0;
    if (!make_room(f, link, listener, &gen)) { /* ours will reach them; should it fail, theirs times out */
        connect_fail(f, p, -ETIMEDOUT, f->config.connect_timeout_ns);
        return;
    }
    link->end[1] =
        (struct tl_link_end){.net = listener, .rank = rank, .gen = gen ? gen : listener->next_gen++, .state = END_OPEN};
    tl_simnet_link_add(listener, link, link->end[0].rank);
    listener->stats.accepts++;
    uint64_t depart_ns = tl_fabric_transmit(f, rank, TL_SIM_FRAME_BYTES, f->config.message_cpu_ns);
    uint64_t arrival_ns = tl_fabric_arrival(f, link, 1, depart_ns);
    if (arrival_ns == UINT64_MAX) /* the listener is not heard: for the initiator, nobody is there */
        connect_fail(f, p, -ETIMEDOUT, f->config.connect_timeout_ns);
    else
        tl_world_at(f->world, arrival_ns, TL_WORLD_NET, link->end[0].rank, WIRE_ACK, p);
    struct tl_net_event up = {.type = TL_NET_UP, .peer = {.rank = link->end[0].rank, .gen = link->end[1].gen}};
    tl_simnet_push(listener, &up, NULL);
}

void tl_link_handle_ack(struct tl_fabric *f, struct tl_packet *p)
{
    struct tl_link *link = p->link;
    struct tl_link_end *end = &link->end[0];
    if (end->net == NULL) { /* the initiator has gone meanwhile */
        tl_link_down_later(link, 1, f->config.latency_ns, -ECONNRESET);
    } else if (end->state == END_CONNECTING && link->lost) { /* the acceptance was lost with the rest */
        connect_fail(f, p, -ETIMEDOUT, f->config.connect_timeout_ns);
        return;
    } else if (end->state == END_CONNECTING) {
        end->state = END_OPEN;
        struct tl_net_event up = {.type = TL_NET_UP, .peer = {.rank = link->end[1].rank, .gen = end->gen}};
        tl_simnet_push(end->net, &up, NULL);
    }
    tl_packet_free(f, p);
}

void tl_fabric_cut(struct tl_fabric *f, uint32_t a, uint32_t b, bool half)
{
    struct tl_simnet *net = f->hosts[a].net;
    struct tl_link *link = net != NULL ? tl_simnet_link(net, b) : NULL;
    if (link == NULL || link->lost)
        return;
    if (!half) {
        tl_link_lose(f, link);
        return;
    }
    uint8_t side = tl_link_side(link, net);
    f->connections_lost++;
    tl_link_down_later(link, side, 0, -ECONNRESET);
    tl_link_down_later(link, !side, 20 * f->config.latency_ns, -ECONNRESET);
}

uint32_t tl_fabric_neighbours(const struct tl_fabric *f, uint32_t rank, uint32_t *out, uint32_t max)
{
    const struct tl_simnet *net = f->hosts[rank].net;
    uint32_t n = 0;
    for (uint32_t i = 0; net != NULL && i < net->link_count && n < max; i++)
        out[n++] = net->link_ranks[i];
    return n;
}
