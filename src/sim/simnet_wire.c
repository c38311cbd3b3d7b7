// SPDX-License-Identifier: Apache-2.0
/* What happens on the wire of the simulated fabric: timing, faults, deliveries. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/memory.h"
#include "sim/simnet_internal.h"

/* Header bytes of each class of packet; the last takes the largest message. */
static const uint32_t class_bytes[5] = {0, 128, 512, 2048, TL_MSG_HEADER_MAX};

void tl_fabric_config_default(struct tl_fabric_config *c)
{
    *c = (struct tl_fabric_config){
        .latency_ns = 30000, /* with the CPU of both sides, 60 us a hop */
        .jitter_ns = 3000,
        .picoseconds_per_byte = 40, /* 25 GB/s */
        .message_cpu_ns = 15000,
        .read_cpu_ns = 3000,
        .connect_timeout_ns = 1000000000,
        .user_timeout_ns = 10000000000,
        .one_sided = true,
    };
}

void tl_fabric_init(struct tl_fabric *f, struct tl_world *w, const struct tl_fabric_config *config)
{
    memset(f, 0, sizeof *f);
    f->world = w;
    f->config = *config;
    f->hosts = tl_sim_alloc(config->node_count, sizeof *f->hosts);
    tl_world_handle(w, TL_WORLD_NET, tl_fabric_handle, f);
}

/* Packets that are still in the queue hold links; the world is over, so both go. */
void tl_fabric_fini(struct tl_fabric *f)
{
    if (f->hosts == NULL)
        return;
    for (uint32_t i = 0; i < f->config.node_count; i++)
        check(f->hosts[i].net == NULL);
    struct tl_queue *q = &f->world->queue;
    for (size_t i = 0; i < q->count; i++) {
        if (q->items[i].kind != TL_WORLD_NET || q->items[i].ptr == NULL)
            continue;
        tl_packet_free(f, q->items[i].ptr);
        q->items[i].ptr = NULL;
    }
    for (uint32_t i = 0; i < 5; i++) {
        while (f->spare[i] != NULL) {
            struct tl_packet *p = f->spare[i];
            f->spare[i] = p->next;
            free(p);
        }
    }
    free(f->hosts);
    f->hosts = NULL;
}

struct tl_packet *tl_packet_new(struct tl_fabric *f, struct tl_link *link, uint8_t from, uint32_t header_len)
{
    uint8_t class = 0;
    while (class_bytes[class] < header_len)
        class ++;
    struct tl_packet *p = f->spare[class];
    if (p != NULL)
        f->spare[class] = p->next;
    else
        p = tl_sim_alloc(1, sizeof *p + class_bytes[class]);
    memset(p, 0, sizeof *p);
    p->size_class = class;
    p->link = link;
    p->from = from;
    p->header_len = header_len;
    link->refs++;
    return p;
}

void tl_packet_free(struct tl_fabric *f, struct tl_packet *p)
{
    check(p->link_to_me == NULL);
    tl_link_unref(p->link);
    free(p->bytes);
    p->bytes = NULL;
    p->next = f->spare[p->size_class];
    f->spare[p->size_class] = p;
}

uint64_t tl_fabric_cpu(struct tl_fabric *f, uint32_t rank, uint64_t ns)
{
    struct tl_fabric_host *host = &f->hosts[rank];
    if (host->cpu_free_ns < f->world->now_ns)
        host->cpu_free_ns = f->world->now_ns;
    host->cpu_free_ns += ns;
    return host->cpu_free_ns;
}

/* Adds `bytes` to a NIC's queue, which takes them from ready_ns on. When the last has passed. */
static uint64_t nic_pass(const struct tl_fabric *f, uint64_t *free_ns, uint64_t ready_ns, uint64_t bytes)
{
    uint64_t start_ns = *free_ns > ready_ns ? *free_ns : ready_ns;
    *free_ns = start_ns + bytes * f->config.picoseconds_per_byte / 1000;
    return *free_ns;
}

uint64_t tl_fabric_transmit(struct tl_fabric *f, uint32_t rank, uint64_t bytes, uint64_t cpu_ns)
{
    struct tl_fabric_host *host = &f->hosts[rank];
    host->bytes_sent += bytes;
    f->bytes += bytes;
    return nic_pass(f, &host->tx_free_ns, tl_fabric_cpu(f, rank, cpu_ns), bytes);
}

bool tl_fabric_cut_off(const struct tl_fabric *f, uint32_t from, uint32_t to)
{
    uint32_t a = f->hosts[from].side, b = f->hosts[to].side;
    return f->world->now_ns < f->partition_until_ns && (f->one_way ? a > b : a != b);
}

bool tl_fabric_chance(struct tl_fabric *f, enum tl_world_stream stream, uint32_t ppm, const struct tl_link *link,
                      uint8_t from)
{
    if (ppm == 0 || f->world->now_ns >= f->faults.until_ns)
        return false;
    const struct tl_link_end *end = &link->end[from];
    bool strikes = tl_world_chance(f->world, stream, ppm, (uint64_t)end->rank << 32 | link->end[!from].rank,
                                   f->world->now_ns, end->sent);
    f->fired[stream] += strikes;
    return strikes;
}

uint64_t tl_fabric_arrival(struct tl_fabric *f, struct tl_link *link, uint8_t from, uint64_t depart_ns)
{
    struct tl_link_end *end = &link->end[from], *other = &link->end[!from];
    struct tl_world *w = f->world;
    if (link->lost || end->unheard) { /* nobody has told this side: its kernel gives up after a while */
        tl_link_down_later(link, from, f->config.user_timeout_ns, -ETIMEDOUT);
        return UINT64_MAX;
    }
    uint64_t who = (uint64_t)end->rank << 32 | other->rank;
    uint64_t at_ns = depart_ns + f->config.latency_ns;
    if (f->config.jitter_ns != 0)
        at_ns += tl_prng_scale(tl_world_draw(w, TL_STREAM_LATENCY, who, w->now_ns, end->sent), f->config.jitter_ns);
    bool long_cut = f->partition_until_ns > w->now_ns + f->config.user_timeout_ns;
    if (long_cut && tl_fabric_cut_off(f, other->rank, end->rank)) /* nothing acknowledges this */
        tl_link_down_later(link, from, f->config.user_timeout_ns, -ETIMEDOUT);
    if (tl_fabric_cut_off(f, end->rank, other->rank)) { /* kept and repeated until the network heals */
        if (long_cut) {
            tl_link_down_later(link, from, f->config.user_timeout_ns, -ETIMEDOUT);
            if (!f->one_way) /* else it learns it when it sends */
                tl_link_down_later(link, !from, f->config.user_timeout_ns, -ETIMEDOUT);
            link->lost = !f->one_way;
            end->unheard = true;
            return UINT64_MAX;
        }
        at_ns += f->partition_until_ns - w->now_ns;
    }
    if (tl_fabric_chance(f, TL_STREAM_DELAY, f->faults.delay_ppm, link, from))
        at_ns += tl_prng_scale(tl_world_draw(w, TL_STREAM_DELAY, who, w->now_ns, ~end->sent), f->faults.delay_max_ns);
    if (at_ns < other->last_arrival_ns)
        at_ns = other->last_arrival_ns;
    other->last_arrival_ns = at_ns;
    return at_ns;
}

/* The receiving NIC takes one thing after the other. False: p was put off until it is its turn. */
static bool nic_receive(struct tl_fabric *f, const struct tl_sim_event *ev, struct tl_packet *p, uint64_t bytes)
{
    if (p->serialised)
        return true;
    p->serialised = true;
    uint64_t now_ns = f->world->now_ns, took_ns = bytes * f->config.picoseconds_per_byte / 1000;
    uint64_t first_byte_ns = now_ns > took_ns ? now_ns - took_ns : 0;
    uint64_t done_ns = nic_pass(f, &f->hosts[ev->node].rx_free_ns, first_byte_ns, bytes);
    if (done_ns <= now_ns)
        return true;
    tl_world_at(f->world, done_ns, TL_WORLD_NET, ev->node, ev->tag, p);
    return false;
}

/* Half of the queue is free again: its owner is told when the news has travelled back. */
static void queue_leave(struct tl_fabric *f, const struct tl_packet *p, uint64_t bytes)
{
    struct tl_link_end *end = &p->link->end[p->from];
    end->queued_bytes -= bytes;
    if (!end->full || end->queued_bytes > TL_SIM_QUEUE_MAX / 2)
        return;
    end->full = false;
    struct tl_packet *writable = tl_packet_new(f, p->link, p->from, 0);
    tl_world_at(f->world, f->world->now_ns + f->config.latency_ns, TL_WORLD_NET, end->rank, WIRE_WRITABLE, writable);
}

static void handle_arrive(struct tl_fabric *f, const struct tl_sim_event *ev, struct tl_packet *p)
{
    struct tl_link_end *end = &p->link->end[!p->from];
    uint64_t wire_bytes = p->header_len + p->len + TL_SIM_FRAME_BYTES;
    if (!nic_receive(f, ev, p, wire_bytes))
        return;
    queue_leave(f, p, wire_bytes);
    if (end->net == NULL || end->state != END_OPEN || p->link->lost) {
        tl_packet_free(f, p);
        return;
    }
    tl_fabric_cpu(f, ev->node, f->config.message_cpu_ns);
    end->net->stats.messages_received++;
    end->net->stats.bytes_received += p->header_len + p->len;
    struct tl_net_event out = {.type = TL_NET_MESSAGE,
                               .peer = {.rank = p->link->end[p->from].rank, .gen = end->gen},
                               .header = p->header,
                               .header_len = p->header_len,
                               .payload = p->content != NULL ? (const uint8_t *)p->content : p->bytes,
                               .payload_len = p->len};
    tl_simnet_push(end->net, &out, p);
}

/* Gives an operation's one event to its owner and ends it. */
static void op_finish(struct tl_fabric *f, struct tl_packet *p, enum tl_net_event_type type)
{
    struct tl_link_end *end = &p->link->end[p->from];
    if (!p->ended) {
        tl_link_op_remove(p);
        struct tl_net_event out = {.type = type,
                                   .status = p->status,
                                   .peer = {.rank = p->link->end[!p->from].rank, .gen = end->gen},
                                   .cookie = p->cookie};
        tl_simnet_push(end->net, &out, NULL);
    }
    tl_packet_free(f, p);
}

/* Real memory: copies what the reader asked for. 0, -EINVAL, -EACCES. */
static int read_copy(const struct tl_simnet *target, struct tl_packet *p)
{
    const struct tl_region *r = p->region < target->region_count ? &target->regions[p->region] : NULL;
    if (r == NULL || !r->used || p->offset > r->len || p->len > r->len - p->offset)
        return -EINVAL;
    if ((r->flags & TL_REGION_SERVE) == 0)
        return -EACCES;
    p->bytes = tl_sim_alloc(p->len, 1);
    memcpy(p->bytes, r->base + p->offset, p->len);
    return 0;
}

static void read_end_at(struct tl_fabric *f, struct tl_packet *p, uint64_t at_ns)
{
    if (at_ns > p->deadline_ns) {
        p->status = -ETIMEDOUT;
        at_ns = p->deadline_ns;
    }
    if (at_ns < f->world->now_ns)
        at_ns = f->world->now_ns;
    tl_world_at(f->world, at_ns, TL_WORLD_NET, p->link->end[p->from].rank, WIRE_READ_END, p);
}

static void handle_read_serve(struct tl_fabric *f, const struct tl_sim_event *ev, struct tl_packet *p)
{
    struct tl_link_end *end = &p->link->end[!p->from];
    const struct tl_fabric_faults *faults = &f->faults;
    if (p->ended) {
        tl_packet_free(f, p);
        return;
    }
    if (end->net == NULL || p->link->lost) { /* no answer will come */
        read_end_at(f, p, UINT64_MAX);
        return;
    }
    end->sent++;
    end->net->stats.reads_served++;
    f->hosts[ev->node].reads_served++;
    if (end->net->arena != NULL)
        p->content = tl_sim_arena_peek(end->net->arena, (uint64_t)p->region << 40 | p->offset, p->len);
    else
        p->status = read_copy(end->net, p);
    if (end->net->arena != NULL &&
        (p->content == NULL || tl_fabric_chance(f, TL_STREAM_READ_FAULT, faults->read_garbage_ppm, p->link, !p->from)))
        p->content = tl_sim_catalog_garbage(end->net->arena->catalog, p->len);
    end->sent++;
    if (tl_fabric_chance(f, TL_STREAM_READ_FAULT, faults->read_error_ppm, p->link, !p->from))
        p->status = -EIO;
    uint64_t bytes = p->status == 0 ? p->len : TL_SIM_FRAME_BYTES, cpu_ns = 0;
    if (!f->config.one_sided)
        cpu_ns = f->config.read_cpu_ns;
    struct tl_fabric_host *host = &f->hosts[ev->node];
    uint64_t ready_ns = cpu_ns != 0 ? tl_fabric_cpu(f, ev->node, cpu_ns) : f->world->now_ns;
    host->bytes_sent += bytes;
    f->bytes += bytes;
    uint64_t at_ns = tl_fabric_arrival(f, p->link, !p->from, nic_pass(f, &host->tx_free_ns, ready_ns, bytes));
    end->sent++;
    if (tl_fabric_chance(f, TL_STREAM_READ_FAULT, faults->read_late_ppm, p->link, !p->from) && at_ns != UINT64_MAX)
        at_ns += 2 * (p->deadline_ns > f->world->now_ns ? p->deadline_ns - f->world->now_ns : 0);
    read_end_at(f, p, at_ns);
}

static void handle_read_end(struct tl_fabric *f, const struct tl_sim_event *ev, struct tl_packet *p)
{
    if (!p->ended && p->status == 0) {
        if (!nic_receive(f, ev, p, p->len))
            return;
        struct tl_simnet *net = p->link->end[p->from].net;
        if (f->world->now_ns > p->deadline_ns) {
            p->status = -ETIMEDOUT;
        } else if (net->arena != NULL) {
            tl_sim_arena_land(net->arena, (uint64_t)p->dst_region << 40 | p->dst_offset, p->len, p->content, "a pull");
        } else {
            memcpy(net->regions[p->dst_region].base + p->dst_offset, p->bytes, p->len);
        }
        net->stats.read_bytes_in += p->len;
        tl_fabric_cpu(f, ev->node, f->config.read_cpu_ns);
    }
    op_finish(f, p, TL_NET_READ);
}

static void handle_writable(struct tl_fabric *f, struct tl_packet *p)
{
    struct tl_link_end *end = &p->link->end[p->from];
    end->blocked = false;
    if (end->net != NULL && end->state == END_OPEN) {
        struct tl_net_event out = {.type = TL_NET_WRITABLE,
                                   .peer = {.rank = p->link->end[!p->from].rank, .gen = end->gen}};
        tl_simnet_push(end->net, &out, NULL);
    }
    tl_packet_free(f, p);
}

/* Side p->from learns that its connection, or its attempt at one, is over. */
static void handle_down(struct tl_fabric *f, struct tl_packet *p, bool connecting)
{
    struct tl_link_end *end = &p->link->end[p->from];
    if (end->net != NULL && (!connecting || end->state == END_CONNECTING)) {
        tl_link_end_close(p->link, p->from, p->status, connecting ? end->net->why : "the connection was lost");
    }
    tl_packet_free(f, p);
}

void tl_fabric_handle(void *ctx, const struct tl_sim_event *ev)
{
    struct tl_fabric *f = ctx;
    struct tl_packet *p = ev->ptr;
    uint64_t paused_ns = f->hosts[ev->node].paused_until_ns;
    bool by_nic = ev->tag == WIRE_READ_SERVE && f->config.one_sided; /* takes no part of the process */
    if (paused_ns > f->world->now_ns && !by_nic) {
        if (ev->tag == WIRE_READ_SERVE && !p->ended && paused_ns > p->deadline_ns) {
            read_end_at(f, p, UINT64_MAX);
            return;
        }
        struct tl_link_end *here = &p->link->end[p->link->end[0].rank != ev->node];
        if (here->last_arrival_ns < paused_ns)
            here->last_arrival_ns = paused_ns; /* nothing overtakes what waits */
        tl_world_at(f->world, paused_ns, TL_WORLD_NET, ev->node, ev->tag, p);
        return;
    }
    switch ((enum tl_wire_event)ev->tag) {
    case WIRE_SYN: tl_link_handle_syn(f, p, ev->node); break;
    case WIRE_ACK: tl_link_handle_ack(f, p); break;
    case WIRE_CONNECT_END: handle_down(f, p, true); break;
    case WIRE_ARRIVE: handle_arrive(f, ev, p); break;
    case WIRE_SENT: op_finish(f, p, TL_NET_SENT); break;
    case WIRE_READ_SERVE: handle_read_serve(f, ev, p); break;
    case WIRE_READ_END: handle_read_end(f, ev, p); break;
    case WIRE_DOWN: handle_down(f, p, false); break;
    case WIRE_WRITABLE: handle_writable(f, p); break;
    }
    /* Only now: the owner may call the transport from here. */
    if (f->on_ready != NULL && f->hosts[ev->node].net != NULL && f->hosts[ev->node].net->ready_count > 0)
        f->on_ready(f->on_ready_ctx, ev->node);
}

void tl_fabric_pause(struct tl_fabric *f, uint32_t rank, uint64_t until_ns)
{
    if (f->hosts[rank].paused_until_ns <= f->world->now_ns) /* one stop at a time: what waits keeps its order */
        f->hosts[rank].paused_until_ns = until_ns;
}
