// SPDX-License-Identifier: Apache-2.0
#include "sim/faults.h"

#include "base/time.h"
#include "sim/cluster.h"

#define NEIGHBOURS_MAX 64u
#define TAG_HEAL       1u /* in the tag: the end of a fault, not its start */

static const struct tl_fault_plan *plan_of(const struct tl_cluster *c)
{
    return c->config.plan;
}

/* ---- chances ---- */

void tl_faults_start(struct tl_cluster *c)
{
    const struct tl_fault_plan *p = plan_of(c);
    c->storage.faults.slow_factor = 1;
    if (p == NULL)
        return;
    c->fabric.faults = (struct tl_fabric_faults){
        .until_ns = p->window_ns,
        .delay_ppm = p->chances.delay_ppm,
        .delay_max_ns = p->delay_max_ns,
        .loss_ppm = p->chances.loss_ppm,
        .refuse_ppm = p->chances.refuse_ppm,
        .again_ppm = p->chances.again_ppm,
        .lost_down_ppm = p->chances.lost_down_ppm,
        .read_error_ppm = p->chances.read_error_ppm,
        .read_late_ppm = p->chances.read_late_ppm,
        .read_garbage_ppm = p->chances.read_garbage_ppm,
    };
    c->storage.faults.until_ns = p->window_ns;
    c->storage.faults.eio_ppm = p->chances.eio_ppm;
    c->faults.healed_ns = p->window_ns;
}

/* ---- the plan ---- */

void tl_faults_schedule(struct tl_cluster *c)
{
    const struct tl_fault_plan *p = plan_of(c);
    c->faults.base_ns = c->world.now_ns;
    for (uint32_t i = 0; p != NULL && i < p->fault_count; i++) {
        const struct tl_fault *f = &p->faults[i];
        uint64_t at_ns = c->world.now_ns + f->at_ns, end_ns = at_ns + f->for_ns;
        tl_world_at(&c->world, at_ns, TL_WORLD_FAULT, i, 0, NULL);
        if (f->act == TL_ACT_FAULT_KILL && f->for_ns > 0)
            tl_world_at(&c->world, end_ns, TL_WORLD_FAULT, i, TAG_HEAL, NULL);
        if (end_ns > c->faults.healed_ns)
            c->faults.healed_ns = end_ns;
    }
}

bool tl_faults_absent(const struct tl_cluster *c, uint32_t rank)
{
    const struct tl_fault_plan *p = plan_of(c);
    for (uint32_t i = 0; p != NULL && i < p->fault_count; i++)
        for (uint32_t k = 0; p->faults[i].act == TL_ACT_FAULT_START && k < p->faults[i].range_count; k++) {
            const struct tl_rank_range *r = &p->ranges[p->faults[i].first_range + k];
            if (rank >= r->first && rank <= r->last)
                return true;
        }
    return false;
}

/* ---- what happens ---- */

static uint32_t cut_links(const struct tl_cluster *c)
{
    uint32_t cut = 0, near[NEIGHBOURS_MAX];
    for (uint32_t rank = 0; rank < c->config.nodes; rank++) {
        uint32_t count = tl_fabric_neighbours(&c->fabric, rank, near, NEIGHBOURS_MAX);
        for (uint32_t i = 0; i < count; i++)
            cut += near[i] > rank && c->fabric.hosts[rank].side != c->fabric.hosts[near[i]].side;
    }
    return cut;
}

/* A new cut takes the place of one that is not over. */
static void partition(struct tl_cluster *c, const struct tl_fault *f)
{
    for (uint32_t rank = 0; rank < c->config.nodes; rank++)
        c->fabric.hosts[rank].side = 0;
    for (uint32_t i = 0; i < f->range_count; i++) {
        const struct tl_rank_range *r = &plan_of(c)->ranges[f->first_range + i];
        for (uint32_t rank = r->first; rank <= r->last && rank < c->config.nodes; rank++)
            c->fabric.hosts[rank].side = r->side;
    }
    c->fabric.one_way = f->act == TL_ACT_FAULT_MUTE;
    c->fabric.partition_until_ns = c->world.now_ns + f->for_ns;
    c->checker.disturbances += cut_links(c);
}

/* Numbers beyond the last object count from the first again, so that a file fits each workload. */
static uint32_t object_of(const struct tl_cluster *c, uint64_t number)
{
    return (uint32_t)(number % c->catalog.object_count);
}

static void change(struct tl_cluster *c, const struct tl_fault *f)
{
    uint32_t object = object_of(c, f->a);
    const struct tl_object *o = &c->catalog.objects[object];
    if (o->directory)
        return;
    if (f->act != TL_ACT_FAULT_CHANGE)
        tl_sim_catalog_remove(&c->catalog, object, f->act == TL_ACT_FAULT_REMOVE);
    else if (o->removed)
        tl_sim_catalog_remove(&c->catalog, object, false);
    else
        tl_sim_catalog_change(&c->catalog, object, f->b);
}

void tl_faults_operate(struct tl_cluster *c, uint32_t rank, const struct tl_fault *f)
{
    if (c->hosts[rank].node == NULL || tl_host_held_until_ns(c, rank) > c->world.now_ns)
        return;
    struct tl_event ev = {.type = TL_EV_GATHER, .id = TL_OPERATOR_BIT | ++c->checker.operators};
    if (f->act == TL_ACT_FAULT_WARM) {
        ev.type = TL_EV_WARM;
        ev.path = "/profiles/it";
        ev.path_len = 12;
    }
    if (f->act == TL_ACT_FAULT_FLUSH) {
        ev.type = TL_EV_FLUSH;
        c->checker.flushes++;
    }
    if (f->act == TL_ACT_FAULT_FLUSH && f->a != TL_FAULT_NOTHING) {
        ev.path = c->catalog.objects[object_of(c, f->a)].path;
        ev.path_len = c->catalog.objects[object_of(c, f->a)].path_len;
    }
    c->hosts[rank].operators_open++;
    tl_host_event(c, rank, &ev);
}

static void hangup(struct tl_cluster *c, uint32_t rank, uint64_t number)
{
    uint32_t near[NEIGHBOURS_MAX], count = tl_fabric_neighbours(&c->fabric, rank, near, NEIGHBOURS_MAX);
    if (count > 0)
        tl_fabric_cut(&c->fabric, rank, near[number % count], true);
}

static void start(struct tl_cluster *c, uint32_t rank)
{
    if (c->hosts[rank].node != NULL)
        return;
    tl_host_start(c, rank);
    tl_processes_resume(c, rank);
}

static void strike_node(struct tl_cluster *c, const struct tl_fault *f, uint32_t rank)
{
    switch (f->act) {
    case TL_ACT_FAULT_KILL:
        c->checker.disturbances += c->config.nodes;
        tl_host_crash(c, rank);
        if (f->for_ns == 0)
            tl_processes_end(c, rank);
        break;
    case TL_ACT_FAULT_START: start(c, rank); break;
    case TL_ACT_FAULT_STOP:
        c->checker.disturbances += NEIGHBOURS_MAX;
        tl_fabric_pause(&c->fabric, rank, c->world.now_ns + f->for_ns);
        break;
    case TL_ACT_FAULT_HANGUP: hangup(c, rank, f->a); break;
    case TL_ACT_FAULT_FLUSH:
    case TL_ACT_FAULT_GATHER:
    case TL_ACT_FAULT_WARM: tl_faults_operate(c, rank, f); break;
    default: break;
    }
}

static void strike(struct tl_cluster *c, const struct tl_fault *f)
{
    c->checker.disturbances++;
    switch (f->act) {
    case TL_ACT_FAULT_PART:
    case TL_ACT_FAULT_MUTE: partition(c, f); break;
    case TL_ACT_FAULT_SLOW:
        c->storage.faults.slow_from_ns = c->world.now_ns;
        c->storage.faults.slow_until_ns = c->world.now_ns + f->for_ns;
        c->storage.faults.slow_factor = (uint32_t)f->a;
        break;
    case TL_ACT_FAULT_CHANGE:
    case TL_ACT_FAULT_REMOVE:
    case TL_ACT_FAULT_RESTORE: change(c, f); break;
    default:
        for (uint32_t i = 0; i < f->range_count; i++) {
            const struct tl_rank_range *r = &plan_of(c)->ranges[f->first_range + i];
            for (uint32_t rank = r->first; rank <= r->last && rank < c->config.nodes; rank++, c->faults.fired[f->act]++)
                strike_node(c, f, rank);
        }
        return;
    }
    c->faults.fired[f->act]++;
}

static void handle(void *ctx, const struct tl_sim_event *ev)
{
    struct tl_cluster *c = ctx;
    const struct tl_fault *f = &plan_of(c)->faults[ev->node];
    if (ev->tag != TAG_HEAL) {
        tl_world_trace(&c->world, 0x4641554c54ull, f->act, f->at_ns);
        strike(c, f);
        return;
    }
    for (uint32_t i = 0; i < f->range_count; i++) {
        const struct tl_rank_range *r = &plan_of(c)->ranges[f->first_range + i];
        for (uint32_t rank = r->first; rank <= r->last && rank < c->config.nodes; rank++)
            start(c, rank);
    }
}

void tl_faults_handle(struct tl_cluster *c)
{
    tl_world_handle(&c->world, TL_WORLD_FAULT, handle, c);
}

uint64_t tl_faults_fired(const struct tl_cluster *c)
{
    uint64_t sum = c->storage.errors + c->faults.cancels;
    for (uint32_t i = 0; i < TL_FAULT_ACT_COUNT; i++)
        sum += c->faults.fired[i];
    for (uint32_t i = 0; i < TL_WORLD_STREAMS; i++)
        sum += c->fabric.fired[i];
    return sum;
}
