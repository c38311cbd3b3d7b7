// SPDX-License-Identifier: Apache-2.0
/* The transport's calls. */
#include "sim/simnet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/memory.h"
#include "sim/simnet_internal.h"

#define AGAIN_NS 50000u /* how long a peer that gave -EAGAIN stays full, at least */

static struct tl_simnet *simnet(struct tl_net *net)
{
    return (struct tl_simnet *)net;
}

static void net_close(struct tl_net *base)
{
    if (base == NULL)
        return;
    struct tl_simnet *net = simnet(base);
    while (net->link_count > 0) {
        struct tl_link *link = net->links[net->link_count - 1];
        tl_link_end_vanish(link, tl_link_side(link, net));
    }
    for (; net->ready_count > 0; net->ready_count--) {
        struct tl_ready *r = &net->ready[net->ready_first];
        if (r->packet != NULL)
            tl_packet_free(net->fabric, r->packet);
        net->ready_first = (net->ready_first + 1) % net->ready_capacity;
    }
    net->fabric->hosts[net->rank].net = NULL;
    free(net->links);
    free(net->link_ranks);
    free(net->ready);
    free(net->regions);
    free(net);
}

static void net_caps(struct tl_net *base, struct tl_net_caps *out)
{
    *out =
        (struct tl_net_caps){.one_sided = simnet(base)->fabric->config.one_sided, .encrypted = simnet(base)->encrypt};
}

static void net_stats(struct tl_net *base, struct tl_net_stats *out)
{
    *out = simnet(base)->stats;
}

static int net_connect(struct tl_net *base, uint32_t rank, uint64_t now_ns, struct tl_peer *out)
{
    struct tl_simnet *net = simnet(base);
    (void)now_ns; /* the world knows */
    if (rank >= net->fabric->config.node_count || rank == net->rank)
        return -EINVAL;
    if (tl_simnet_link(net, rank) != NULL)
        return -EALREADY;
    net->stats.connects++;
    return tl_simnet_link_start(net, rank, out);
}

static int net_drop(struct tl_net *base, struct tl_peer peer)
{
    struct tl_simnet *net = simnet(base);
    struct tl_link *link = tl_simnet_link(net, peer.rank);
    if (link == NULL || link->end[tl_link_side(link, net)].gen != peer.gen)
        return -ENOTCONN;
    uint8_t side = tl_link_side(link, net);
    link->refs++;
    if (!link->lost)
        tl_link_down_later(link, !side, net->fabric->config.latency_ns, -ECONNRESET);
    tl_link_end_close(link, side, -ECANCELED, "dropped by us");
    tl_link_unref(link);
    return 0;
}

/* The link for an operation on peer: 0, -ENOTCONN, -EAGAIN. */
static int op_link(struct tl_simnet *net, struct tl_peer peer, struct tl_link **out, uint8_t *side)
{
    struct tl_link *link = tl_simnet_link(net, peer.rank);
    if (link == NULL)
        return -ENOTCONN;
    *side = tl_link_side(link, net);
    struct tl_link_end *end = &link->end[*side];
    if (end->gen != peer.gen || end->state != END_OPEN)
        return -ENOTCONN;
    if (end->queued_bytes > TL_SIM_QUEUE_MAX)
        end->blocked = end->full = true;
    if (end->blocked)
        return -EAGAIN;
    struct tl_fabric *f = net->fabric;
    end->sent++;
    if (tl_fabric_chance(f, TL_STREAM_AGAIN, f->faults.again_ppm, link, *side)) {
        end->blocked = true;
        struct tl_packet *p = tl_packet_new(f, link, *side, 0);
        uint64_t wait_ns = AGAIN_NS + tl_world_draw(f->world, TL_STREAM_AGAIN, net->rank, end->sent, 1) % AGAIN_NS;
        tl_world_at(f->world, f->world->now_ns + wait_ns, TL_WORLD_NET, net->rank, WIRE_WRITABLE, p);
        return -EAGAIN;
    }
    *out = link;
    return 0;
}

/* Fills in the payload of p from the sender's memory. 0, -EINVAL. */
static int payload_take(struct tl_simnet *net, const struct tl_net_payload *payload, struct tl_packet *p)
{
    p->len = payload->len;
    if (net->arena != NULL) {
        uint32_t offset = 0;
        p->content = tl_sim_arena_at(net->arena, (uint64_t)payload->region << 40 | payload->offset, payload->len,
                                     &offset, "send");
        return p->content != NULL && offset == 0 && p->content->len == payload->len ? 0 : -EINVAL;
    }
    if (payload->region >= net->region_count || !net->regions[payload->region].used ||
        payload->offset + payload->len > net->regions[payload->region].len)
        return -EINVAL;
    p->bytes = tl_sim_alloc(payload->len, 1);
    memcpy(p->bytes, net->regions[payload->region].base + payload->offset, payload->len);
    return 0;
}

static int net_send(struct tl_net *base, struct tl_peer peer, const void *header, uint32_t header_len,
                    const struct tl_net_payload *payload, uint64_t cookie)
{
    struct tl_simnet *net = simnet(base);
    struct tl_fabric *f = net->fabric;
    uint32_t payload_len = payload != NULL ? payload->len : 0;
    if (header_len > TL_MSG_HEADER_MAX || (uint64_t)header_len + payload_len > TL_MSG_SIZE_MAX)
        return -EMSGSIZE;
    struct tl_link *link = NULL;
    uint8_t side = 0;
    int status = op_link(net, peer, &link, &side);
    if (status != 0)
        return status;
    struct tl_packet *p = tl_packet_new(f, link, side, header_len);
    if (header_len > 0)
        memcpy(p->header, header, header_len);
    if (payload_len > 0 && payload_take(net, payload, p) != 0) {
        tl_packet_free(f, p);
        return -EINVAL;
    }
    uint64_t wire_bytes = header_len + payload_len + TL_SIM_FRAME_BYTES;
    uint64_t depart_ns = tl_fabric_transmit(f, net->rank, wire_bytes, f->config.message_cpu_ns);
    net->stats.messages_sent++;
    net->stats.bytes_sent += header_len + payload_len;
    link->end[side].queued_bytes += wire_bytes;
    f->hosts[net->rank].messages_sent++;
    f->messages++;
    if (payload != NULL && f->config.copies) {
        const struct tl_net_event sent = {.type = TL_NET_SENT, .peer = peer, .cookie = cookie};
        tl_simnet_push(net, &sent, NULL);
    } else if (payload != NULL) {
        struct tl_packet *op = tl_packet_new(f, link, side, 0);
        op->cookie = cookie;
        tl_link_op_add(link, side, op);
        tl_world_at(f->world, depart_ns, TL_WORLD_NET, net->rank, WIRE_SENT, op);
    }
    uint64_t arrival_ns = tl_fabric_arrival(f, link, side, depart_ns);
    if (arrival_ns == UINT64_MAX)
        tl_packet_free(f, p);
    else
        tl_world_at(f->world, arrival_ns, TL_WORLD_NET, peer.rank, WIRE_ARRIVE, p);
    if (tl_fabric_chance(f, TL_STREAM_MESSAGE_LOSS, f->faults.loss_ppm, link, side))
        tl_link_lose(f, link);
    return 0;
}

static void net_release(struct tl_net *base, struct tl_net_event *ev)
{
    if (ev->private_data != NULL)
        tl_packet_free(simnet(base)->fabric, ev->private_data);
    ev->private_data = NULL;
}

static int net_expose(struct tl_net *base, int fd, void *memory, size_t len, unsigned flags)
{
    struct tl_simnet *net = simnet(base);
    (void)fd;
    uint32_t region = 0;
    while (region < net->region_count && net->regions[region].used)
        region++;
    if (region >= TL_SIM_REGION_MAX)
        return -ENOSPC;
    if (region == net->region_count)
        net->regions = tl_sim_realloc(net->regions, ++net->region_count, sizeof *net->regions);
    net->regions[region] = (struct tl_region){.base = memory, .len = len, .flags = flags, .used = true};
    return (int)region;
}

static int net_retract(struct tl_net *base, uint32_t region)
{
    struct tl_simnet *net = simnet(base);
    if (region >= net->region_count || !net->regions[region].used)
        return -EINVAL;
    for (uint32_t i = 0; i < net->link_count; i++) {
        const struct tl_link *link = net->links[i];
        for (const struct tl_packet *p = link->end[tl_link_side(link, net)].ops; p != NULL; p = p->next)
            if (p->deadline_ns != 0 && p->dst_region == region)
                return -EBUSY;
    }
    net->regions[region].used = false;
    return 0;
}

static int net_read(struct tl_net *base, struct tl_peer peer, uint32_t region, uint64_t offset, uint32_t dst_region,
                    uint64_t dst_offset, uint32_t len, uint64_t deadline_ns, uint64_t cookie)
{
    struct tl_simnet *net = simnet(base);
    struct tl_fabric *f = net->fabric;
    if (len == 0)
        return -EINVAL;
    if (net->arena == NULL &&
        (dst_region >= net->region_count || !net->regions[dst_region].used ||
         (net->regions[dst_region].flags & TL_REGION_LAND) == 0 || dst_offset > net->regions[dst_region].len ||
         len > net->regions[dst_region].len - dst_offset))
        return -EINVAL;
    struct tl_link *link = NULL;
    uint8_t side = 0;
    int status = op_link(net, peer, &link, &side);
    if (status != 0)
        return status;
    struct tl_packet *p = tl_packet_new(f, link, side, 0);
    p->cookie = cookie;
    p->deadline_ns = deadline_ns == 0 ? 1 : deadline_ns;
    p->region = region;
    p->offset = offset;
    p->dst_region = dst_region;
    p->dst_offset = dst_offset;
    p->len = len;
    tl_link_op_add(link, side, p);
    net->stats.reads_issued++;
    uint64_t depart_ns = tl_fabric_transmit(f, net->rank, TL_SIM_FRAME_BYTES, f->config.read_cpu_ns);
    uint64_t arrival_ns = tl_fabric_arrival(f, link, side, depart_ns);
    if (arrival_ns < p->deadline_ns) {
        tl_world_at(f->world, arrival_ns, TL_WORLD_NET, peer.rank, WIRE_READ_SERVE, p);
    } else {
        p->status = -ETIMEDOUT;
        uint64_t end_ns = deadline_ns > f->world->now_ns ? deadline_ns : f->world->now_ns;
        tl_world_at(f->world, end_ns, TL_WORLD_NET, net->rank, WIRE_READ_END, p);
    }
    return 0;
}

static int net_fd(struct tl_net *base)
{
    (void)base;
    return -1;
}

static int net_poll(struct tl_net *base, struct tl_net_event *events, int max, uint64_t now_ns)
{
    struct tl_simnet *net = simnet(base);
    (void)now_ns;
    int n = 0;
    for (; n < max && net->ready_count > 0; n++) {
        events[n] = net->ready[net->ready_first].event;
        net->ready_first = (net->ready_first + 1) % net->ready_capacity;
        net->ready_count--;
    }
    return n;
}

static int net_arm(struct tl_net *base, uint64_t *next_ns)
{
    *next_ns = UINT64_MAX; /* the world wakes us */
    return simnet(base)->ready_count > 0;
}

static const struct tl_net_ops sim_ops = {
    .name = "sim",
    .close = net_close,
    .caps = net_caps,
    .stats = net_stats,
    .connect = net_connect,
    .drop = net_drop,
    .send = net_send,
    .release = net_release,
    .expose = net_expose,
    .retract = net_retract,
    .read = net_read,
    .fd = net_fd,
    .poll = net_poll,
    .arm = net_arm,
};

int tl_net_sim_open(struct tl_net **out, const struct tl_net_config *config, struct tl_error *err)
{
    struct tl_fabric *f = config->world;
    check(f != NULL);
    if (config->rank >= f->config.node_count)
        return tl_error_set(err, -EINVAL, "rank %u is not one of the %u simulated nodes", config->rank,
                            f->config.node_count);
    struct tl_fabric_host *host = &f->hosts[config->rank];
    if (host->net != NULL)
        return tl_error_set(err, -EADDRINUSE, "rank %u already has a transport: close it first", config->rank);
    struct tl_simnet *net = tl_sim_alloc(1, sizeof *net);
    net->base.ops = &sim_ops;
    net->fabric = f;
    net->rank = config->rank;
    host->generation++;
    net->next_gen = host->generation << 16 | 1u;
    net->job_id = config->job_id;
    net->protocol_version = config->protocol_version;
    net->encrypt = config->encrypt;
    memcpy(net->job_key, config->job_key, sizeof net->job_key);
    host->net = net;
    *out = &net->base;
    return 0;
}

void tl_simnet_use_arena(struct tl_net *base, struct tl_sim_arena *arena)
{
    simnet(base)->arena = arena;
}
