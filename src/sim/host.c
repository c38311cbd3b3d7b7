// SPDX-License-Identifier: Apache-2.0
/* Drives the core of each host as the daemon does. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cluster.h"
#include "sim/memory.h"

#define NOBODY          UINT32_MAX
#define TIMERS_NOW_MAX  1000u /* timers of one node at one moment: more is spinning */
#define CHATTER_FACTOR  30u
#define HELLO_BYTES_MAX 64u
#define OVER_FACTOR     4u
#define JOB_ID          0x7469657263656cull
#define DEADLINE_MIN_NS 1000u

/* ---- peers: rank to connection ---- */

static struct tl_peer *peer_of(struct tl_host *h, uint32_t rank)
{
    for (uint32_t i = 0; i < h->peer_count; i++)
        if (h->peers[i].rank == rank)
            return &h->peers[i];
    return NULL;
}

static void peer_set(struct tl_host *h, struct tl_peer peer)
{
    struct tl_peer *p = peer_of(h, peer.rank);
    if (p == NULL) {
        if (h->peer_count == h->peer_capacity) {
            h->peer_capacity = h->peer_capacity == 0 ? 4 : h->peer_capacity * 2;
            h->peers = tl_sim_realloc(h->peers, h->peer_capacity, sizeof *h->peers);
        }
        p = &h->peers[h->peer_count++];
    }
    *p = peer;
}

/* False: that connection is not the one we know. */
static bool peer_remove(struct tl_host *h, struct tl_peer peer)
{
    struct tl_peer *p = peer_of(h, peer.rank);
    if (p == NULL || p->gen != peer.gen)
        return false;
    *p = h->peers[--h->peer_count];
    return true;
}

static void follow_up(struct tl_cluster *c, enum tl_event_type type, uint32_t rank, uint64_t cookie, int status)
{
    if (c->follow_up_first == c->follow_up_count)
        c->follow_up_first = c->follow_up_count = 0;
    if (c->follow_up_count == c->follow_up_capacity) {
        c->follow_up_capacity = c->follow_up_capacity == 0 ? 16 : c->follow_up_capacity * 2;
        c->follow_ups = tl_sim_realloc(c->follow_ups, c->follow_up_capacity, sizeof *c->follow_ups);
    }
    c->follow_ups[c->follow_up_count++] =
        (struct tl_follow_up){.type = type, .rank = rank, .cookie = cookie, .status = status};
}

/* ---- actions ---- */

static bool backlogged(const struct tl_host *h, uint32_t rank)
{
    const struct tl_backlog *b = h->backlog;
    while (b != NULL && b->action.rank != rank)
        b = b->next;
    return b != NULL;
}

/* 0, or why the transport does not take it. */
static int hand_over(struct tl_cluster *c, struct tl_host *h, const struct tl_action *a)
{
    const struct tl_peer *peer = peer_of(h, a->rank);
    if (peer == NULL)
        return -ENOTCONN;
    const uint64_t offset_mask = (1ull << 40) - 1;
    if (a->type == TL_ACT_PULL)
        return h->net->ops->read(h->net, *peer, (uint32_t)(a->remote_addr >> 40), a->remote_addr & offset_mask,
                                 (uint32_t)(a->addr >> 40), a->addr & offset_mask, a->len, a->deadline_ns, a->cookie);
    const struct tl_net_payload payload = {
        .region = (uint32_t)(a->addr >> 40), .offset = a->addr & offset_mask, .len = a->len};
    /* Not HELLO: that may come only once. */
    bool chatty = c->config.plant == TL_PLANT_CHATTER && a->len == 0 && a->header_len > HELLO_BYTES_MAX;
    for (uint32_t i = 1; chatty && i < CHATTER_FACTOR; i++)
        (void)h->net->ops->send(h->net, *peer, a->header, a->header_len, NULL, 0);
    return h->net->ops->send(h->net, *peer, a->header, a->header_len, a->len > 0 ? &payload : NULL, a->cookie);
}

/* What could not be handed over ends here: its one event is due. */
static void hand_over_failed(struct tl_cluster *c, const struct tl_action *a, int status)
{
    if (a->type == TL_ACT_PULL)
        follow_up(c, TL_EV_PULLED, a->rank, a->cookie, status);
    else if (a->len > 0)
        follow_up(c, TL_EV_SENT, a->rank, a->cookie, status);
}

static void act_transport(struct tl_cluster *c, struct tl_host *h, const struct tl_action *a)
{
    int status = backlogged(h, a->rank) ? -EAGAIN : hand_over(c, h, a);
    if (status == 0)
        return;
    if (status != -EAGAIN) {
        hand_over_failed(c, a, status);
        return;
    }
    struct tl_backlog *b = tl_sim_alloc(1, sizeof *b + a->header_len);
    b->action = *a;
    if (a->header_len > 0) /* a PULL has none */
        memcpy(b->header, a->header, a->header_len);
    b->action.header = b->header;
    if (h->backlog == NULL)
        h->backlog_last = &h->backlog;
    *h->backlog_last = b;
    h->backlog_last = &b->next;
}

/* The connection takes more again, or has gone: then everything for it fails. */
static void backlog_flush(struct tl_cluster *c, struct tl_host *h, uint32_t rank)
{
    struct tl_backlog **at = &h->backlog;
    bool full = false;
    while (*at != NULL) {
        struct tl_backlog *b = *at;
        int status = b->action.rank != rank || full ? -EAGAIN : hand_over(c, h, &b->action);
        if (status == -EAGAIN) {
            full = full || b->action.rank == rank;
            at = &b->next;
            continue;
        }
        if (status != 0)
            hand_over_failed(c, &b->action, status);
        *at = b->next;
        free(b);
    }
    h->backlog_last = at;
}

static void act_connect(struct tl_cluster *c, struct tl_host *h, uint32_t rank)
{
    struct tl_peer peer;
    int status = h->net->ops->connect(h->net, rank, c->world.now_ns, &peer);
    if (status == 0)
        peer_set(h, peer);
    else if (status != -EALREADY)
        follow_up(c, TL_EV_PEER_DOWN, rank, 0, status);
}

static void act_drop(struct tl_host *h, uint32_t rank)
{
    const struct tl_peer *peer = peer_of(h, rank);
    if (peer != NULL)
        (void)h->net->ops->drop(h->net, *peer);
}

static void act_fetch(struct tl_cluster *c, uint32_t rank, const struct tl_action *a)
{
    uint16_t epoch = c->hosts[rank].epoch;
    tl_checker_fetch(c, rank, a->fetch);
    tl_storage_fetch(&c->storage, rank, epoch, a->cookie, a->fetch);
    if (c->config.plant == TL_PLANT_DOUBLE_FETCH && !c->planted) {
        c->planted = true;
        tl_storage_fetch(&c->storage, rank, epoch, UINT64_MAX, a->fetch);
    }
}

/* The node asks storage for what it has just answered with. */
static void plant_fetch(struct tl_cluster *c, uint32_t rank, uint64_t addr)
{
    uint32_t offset = 0;
    struct tl_host *h = &c->hosts[rank];
    const struct tl_content *content = tl_sim_arena_at(&h->arena, addr, 1, &offset, "a plant");
    bool round = c->config.plant == TL_PLANT_GOES_ROUND;
    if (c->planted || content == NULL || content->kind != TL_CONTENT_CHUNK || (rank == 0) == round)
        return;
    c->planted = true;
    const struct tl_object *o = &c->catalog.objects[content->object];
    struct tl_fetch fetch = {.op = TL_OP_READ,
                             .path_len = o->path_len,
                             .version = c->catalog.versions[content->version_index].version,
                             .first = content->chunk,
                             .count = 1};
    memcpy(fetch.path, o->path, o->path_len);
    tl_checker_fetch(c, rank, &fetch);
}

static void act_answer(struct tl_cluster *c, uint32_t rank, const struct tl_action *a)
{
    if (c->config.plant == TL_PLANT_NEVER_ANSWERED && !c->planted) {
        c->planted = true;
        return;
    }
    struct tl_sim_arena *arena = &c->hosts[rank].arena;
    bool wrong = c->config.plant == TL_PLANT_WRONG_BYTES && !c->planted && a->answer.ref_count > 0 && rank > 0;
    if (wrong && a->answer.refs[0].addr % (1u << 26) == 0) {
        c->planted = true;
        arena->slots[a->answer.refs[0].addr >> 26].content =
            tl_sim_catalog_garbage(&c->catalog, a->answer.refs[0].len)->id;
    }
    if ((c->config.plant == TL_PLANT_GOES_ROUND || c->config.plant == TL_PLANT_ASKS_AGAIN) && a->answer.ref_count > 0)
        plant_fetch(c, rank, a->answer.refs[0].addr);
    tl_process_on_answer(c, rank, &a->answer);
    if (c->config.plant == TL_PLANT_TWICE_ANSWERED && a->answer.id % 7 == 0)
        tl_process_on_answer(c, rank, &a->answer);
    if (c->config.plant == TL_PLANT_DOUBLE_FREE && !c->planted && a->answer.ref_count > 0 &&
        a->answer.refs[0].len > 0) {
        c->planted = true;
        tl_sim_arena_ops.free(arena, a->answer.refs[0].addr, a->answer.refs[0].len);
    }
}

static void act(struct tl_cluster *c, uint32_t rank, const struct tl_action *a)
{
    struct tl_host *h = &c->hosts[rank];
    tl_world_trace(&c->world, 0x100000000ull * (uint64_t)a->type + rank, (uint64_t)a->rank << 32 | a->len, a->cookie);
    switch (a->type) {
    case TL_ACT_SEND:
    case TL_ACT_PULL: act_transport(c, h, a); break;
    case TL_ACT_FETCH: act_fetch(c, rank, a); break;
    case TL_ACT_ANSWER: act_answer(c, rank, a); break;
    case TL_ACT_CONNECT: act_connect(c, h, a->rank); break;
    case TL_ACT_DROP: act_drop(h, a->rank); break;
    case TL_ACT_INVALIDATE: tl_process_invalidate(c, rank, a->path, a->path_len); break;
    case TL_ACT_WARM: follow_up(c, TL_EV_PROFILE, 0, c->catalog.object_count, 0); break;
    case TL_ACT_REPORT: c->checker.reports++; break;
    case TL_ACT_TOO_LARGE: break;
    }
}

/* ---- steps ---- */

static void step(struct tl_cluster *c, uint32_t rank, const struct tl_event *ev)
{
    struct tl_host *h = &c->hosts[rank];
    tl_node_step(h->node, c->world.now_ns, ev);
    struct tl_action a;
    while (tl_node_next(h->node, &a))
        act(c, rank, &a);
    tl_checker_step(c, rank);
}

static void net_event(struct tl_cluster *c, uint32_t rank, struct tl_net_event *ne)
{
    struct tl_host *h = &c->hosts[rank];
    struct tl_event ev = {.rank = ne->peer.rank, .status = ne->status, .cookie = ne->cookie};
    switch (ne->type) {
    case TL_NET_UP:
        peer_set(h, ne->peer);
        ev.type = TL_EV_PEER_UP;
        break;
    case TL_NET_DOWN:
        if (!peer_remove(h, ne->peer))
            return;
        backlog_flush(c, h, ne->peer.rank);
        ev.type = TL_EV_PEER_DOWN;
        break;
    case TL_NET_MESSAGE:
        ev.type = TL_EV_MESSAGE;
        ev.header = ne->header;
        ev.header_len = ne->header_len;
        ev.payload = ne->payload;
        ev.payload_len = ne->payload_len;
        break;
    case TL_NET_SENT: ev.type = TL_EV_SENT; break;
    case TL_NET_READ: ev.type = TL_EV_PULLED; break;
    case TL_NET_WRITABLE: backlog_flush(c, h, ne->peer.rank); return;
    }
    step(c, rank, &ev);
}

static void follow(struct tl_cluster *c, uint32_t rank)
{
    while (c->follow_up_first < c->follow_up_count) {
        const struct tl_follow_up *f = &c->follow_ups[c->follow_up_first++];
        const struct tl_event ev = {.type = f->type,
                                    .rank = f->rank,
                                    .status = f->status,
                                    .cookie = f->cookie,
                                    .len = f->type == TL_EV_PROFILE ? (uint32_t)f->cookie : 0};
        step(c, rank, &ev);
    }
}

/* Everything that the transport has for the node, and what followed from it. */
static void pump(struct tl_cluster *c, uint32_t rank)
{
    struct tl_host *h = &c->hosts[rank];
    struct tl_net_event ne;
    follow(c, rank);
    while (h->net->ops->poll(h->net, &ne, 1, c->world.now_ns) == 1) {
        net_event(c, rank, &ne);
        h->net->ops->release(h->net, &ne);
        follow(c, rank);
    }
}

static void arm(struct tl_cluster *c, uint32_t rank)
{
    struct tl_host *h = &c->hosts[rank];
    uint64_t at_ns = tl_node_deadline(h->node), soonest_ns = c->world.now_ns + DEADLINE_MIN_NS;
    if (at_ns == UINT64_MAX)
        return;
    if (at_ns < soonest_ns)
        at_ns = soonest_ns; /* a loop takes a moment to come round */
    if (at_ns >= h->timer_armed_ns)
        return;
    h->timer_armed_ns = at_ns;
    tl_world_at(&c->world, at_ns, TL_WORLD_TIMER, rank, h->epoch, NULL);
}

void tl_host_event(struct tl_cluster *c, uint32_t rank, const struct tl_event *ev)
{
    check(c->active == NOBODY);
    c->active = rank;
    step(c, rank, ev);
    pump(c, rank);
    arm(c, rank);
    c->active = NOBODY;
}

void tl_host_on_ready(void *ctx, uint32_t rank)
{
    struct tl_cluster *c = ctx;
    if (c->active == rank || c->hosts[rank].node == NULL)
        return; /* pump() will come to it */
    check(c->active == NOBODY);
    c->active = rank;
    pump(c, rank);
    arm(c, rank);
    c->active = NOBODY;
}

void tl_host_on_timer(void *ctx, const struct tl_sim_event *sim)
{
    struct tl_cluster *c = ctx;
    struct tl_host *h = &c->hosts[sim->node];
    if (sim->tag != h->epoch || h->node == NULL || sim->time_ns != h->timer_armed_ns)
        return; /* replaced by an earlier one */
    uint64_t held_ns = tl_host_held_until_ns(c, sim->node);
    h->timer_armed_ns = UINT64_MAX;
    if (held_ns > c->world.now_ns) {
        h->timer_armed_ns = held_ns;
        tl_world_at(&c->world, held_ns, TL_WORLD_TIMER, sim->node, h->epoch, NULL);
        return;
    }
    h->timers_now = c->world.now_ns - h->timer_last_ns <= DEADLINE_MIN_NS ? h->timers_now + 1 : 0;
    h->timer_last_ns = c->world.now_ns;
    if (h->timers_now > TIMERS_NOW_MAX)
        tl_world_violation(&c->world, "node %u spins: its deadline is always now", sim->node);
    if (tl_node_deadline(h->node) > c->world.now_ns) {
        arm(c, sim->node);
        return;
    }
    const struct tl_event ev = {.type = TL_EV_TIMER};
    tl_host_event(c, sim->node, &ev);
}

uint64_t tl_host_held_until_ns(void *ctx, uint32_t rank)
{
    struct tl_cluster *c = ctx;
    return c->fabric.hosts[rank].paused_until_ns;
}

static void fetched_plants(struct tl_cluster *c, const struct tl_storage_done *done)
{
    if (c->config.plant == TL_PLANT_FETCHED_AGAIN && !c->planted && done->content != NULL) {
        c->planted = true;
        tl_sim_catalog_content(&c->catalog, done->content->id)->reads++;
        c->storage.doubles++;
    }
}

void tl_host_on_fetched(void *ctx, const struct tl_storage_done *done)
{
    struct tl_cluster *c = ctx;
    struct tl_host *h = &c->hosts[done->rank];
    if (h->node == NULL || done->tag != h->epoch || done->cookie == UINT64_MAX)
        return; /* that process is gone */
    struct tl_event ev = {.type = TL_EV_FETCHED,
                          .status = done->status,
                          .cookie = done->cookie,
                          .chunk = done->chunk,
                          .last = done->last};
    if (done->content != NULL) {
        ev.len = done->content->len;
        ev.digest = done->content->digest;
        if (done->content->kind == TL_CONTENT_LISTING) {
            ev.payload = (const uint8_t *)done->content;
            ev.payload_len = done->content->len;
        } else {
            tl_sim_arena_land(&h->arena, done->addr, done->content->len, done->content, "storage");
        }
    }
    if (c->config.plant == TL_PLANT_LOST_FETCHED && !c->planted) {
        c->planted = true;
        return;
    }
    fetched_plants(c, done);
    tl_host_event(c, done->rank, &ev);
}

/* ---- life and death ---- */

void tl_host_start(struct tl_cluster *c, uint32_t rank)
{
    struct tl_host *h = &c->hosts[rank];
    check(h->node == NULL);
    h->epoch++;
    struct tl_node_config config = c->config.node;
    config.rank = rank;
    config.node_count = c->config.nodes;
    config.incarnation = (uint64_t)h->epoch << 32 | c->config.seed % UINT32_MAX;
    config.job_id = JOB_ID;
    config.seed = c->config.seed;
    uint64_t arena_limit_bytes = config.cache_limit_bytes;
    if (c->config.plant == TL_PLANT_OVER_LIMIT) {
        config.cache_limit_bytes *= OVER_FACTOR;
        arena_limit_bytes = UINT64_MAX;
    }
    tl_sim_arena_init(&h->arena, &c->world, &c->catalog, rank, arena_limit_bytes);
    const struct tl_net_config net = {
        .rank = rank, .node_count = c->config.nodes, .job_id = JOB_ID, .world = &c->fabric};
    int status = tl_net_sim_open(&h->net, &net, NULL);
    check(status == 0);
    tl_simnet_use_arena(h->net, &h->arena);
    status = tl_node_new(&h->node, &config, &tl_sim_arena_ops, &h->arena);
    check(status == 0);
    h->timer_armed_ns = UINT64_MAX;
    const struct tl_event ev = {.type = TL_EV_TIMER};
    tl_host_event(c, rank, &ev);
}

void tl_host_fini(struct tl_cluster *c, uint32_t rank)
{
    struct tl_host *h = &c->hosts[rank];
    if (h->node == NULL)
        return;
    h->net->ops->close(h->net);
    tl_node_free(h->node);
    tl_sim_arena_fini(&h->arena);
    h->net = NULL;
    h->node = NULL;
    while (h->backlog != NULL) {
        struct tl_backlog *b = h->backlog;
        h->backlog = b->next;
        free(b);
    }
    h->peer_count = 0;
}

void tl_host_crash(struct tl_cluster *c, uint32_t rank)
{
    struct tl_host *h = &c->hosts[rank];
    if (h->node == NULL)
        return;
    struct tl_report report;
    tl_node_report(h->node, &report);
#define ADD_COUNTER(name) c->counters.name += report.counters.name;
    TL_COUNTERS(ADD_COUNTER)
#undef ADD_COUNTER
    tl_host_fini(c, rank);
    h->epoch++;
    tl_processes_forget(c, rank);
}
