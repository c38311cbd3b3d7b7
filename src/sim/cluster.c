// SPDX-License-Identifier: Apache-2.0
#include "sim/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "base/time.h"
#include "sim/memory.h"

#define READY_LOOK_NS (5 * TL_NS_PER_MS)
#define OBJECTS_SPARE 64u
#define READY_MAX_NS  (60 * TL_NS_PER_S)

static void group_nodes(struct tl_cluster *c)
{
    uint32_t nodes = c->config.nodes, groups = c->config.groups;
    struct tl_node_config *n = &c->config.node;
    if (n->roots > nodes)
        n->roots = nodes;
    if (n->flight_max < 2 * (TL_ANSWER_REFS_MAX + n->roots))
        n->flight_max = 2 * (TL_ANSWER_REFS_MAX + n->roots); /* fewer would not do */
    if (groups == 0)
        return;
    uint32_t *group_of = tl_sim_alloc(nodes, sizeof *group_of);
    for (uint32_t rank = 0; rank < nodes; rank++)
        group_of[rank] = (uint32_t)((uint64_t)rank * (groups < nodes ? groups : nodes) / nodes);
    int rc = tl_topology_new(&c->topology, group_of, nodes);
    check(rc == 0);
    c->config.node.topology = c->topology;
    free(group_of);
}

void tl_cluster_init(struct tl_cluster *c, const struct tl_cluster_config *config, struct tl_workload *workload)
{
    memset(c, 0, sizeof *c);
    c->config = *config;
    c->workload = workload;
    c->active = UINT32_MAX;
    c->next_id = 1;
    if (c->config.readers_last == 0 && c->config.readers_first == 0)
        c->config.readers_last = UINT32_MAX;
    group_nodes(c);
    tl_world_init(&c->world, config->seed);
    tl_sim_catalog_init(&c->catalog, &c->world, workload->real_listings);
    workload->build(workload, &c->catalog);
    tl_sim_catalog_seal(&c->catalog);
    if (c->config.node.object_max == 0) /* as small as can be: there may be ten thousand such tables */
        c->config.node.object_max = c->catalog.content_count + OBJECTS_SPARE;
    c->config.fabric.node_count = config->nodes;
    tl_fabric_init(&c->fabric, &c->world, &c->config.fabric);
    c->fabric.on_ready = tl_host_on_ready;
    c->fabric.on_ready_ctx = c;
    tl_storage_init(&c->storage, &c->world, &c->catalog, &config->storage);
    tl_storage_set_handler(&c->storage, tl_host_on_fetched, c);
    c->storage.held_until_ns = tl_host_held_until_ns;
    c->hosts = tl_sim_alloc(config->nodes, sizeof *c->hosts);
    tl_world_handle(&c->world, TL_WORLD_TIMER, tl_host_on_timer, c);
    tl_world_handle(&c->world, TL_WORLD_PROCESS, tl_process_on_event, c);
    tl_faults_handle(c);
}

void tl_cluster_fini(struct tl_cluster *c)
{
    tl_topology_free(c->topology);
    for (uint32_t rank = 0; rank < c->config.nodes; rank++) {
        struct tl_host *h = &c->hosts[rank];
        tl_host_fini(c, rank);
        free(h->peers);
        free(h->processes);
        free(h->times);
        free(h->known);
    }
    tl_fabric_fini(&c->fabric);
    tl_storage_fini(&c->storage);
    tl_sim_catalog_fini(&c->catalog);
    tl_world_fini(&c->world);
    free(c->hosts);
    free(c->follow_ups);
    memset(c, 0, sizeof *c);
}

/* Lets the tree come up. */
static void wait_ready(struct tl_cluster *c)
{
    while (!tl_node_ready(c->hosts[0].node)) {
        if (c->world.now_ns > READY_MAX_NS) {
            tl_world_violation(&c->world, "the tree is not complete after %llu s",
                               (unsigned long long)(READY_MAX_NS / TL_NS_PER_S));
            return;
        }
        tl_world_run_until(&c->world, c->world.now_ns + READY_LOOK_NS);
    }
}

/* Until all is over, or a checker objects. */
static bool run_to_end(struct tl_cluster *c, uint64_t limit_ns)
{
    struct tl_world *w = &c->world;
    uint64_t end_ns = w->now_ns + limit_ns;
    bool settled = false;
    while (w->violations == 0 && tl_queue_next_ns(&w->queue) <= end_ns) {
        tl_world_step(w);
        settled = c->running == 0 && w->now_ns >= c->faults.healed_ns &&
                  c->checker.operators == c->checker.operators_answered;
        if (settled)
            break;
    }
    if (w->violations == 0)
        tl_checker_end(c, !settled && c->running > 0);
    return w->violations == 0;
}

bool tl_cluster_run(struct tl_cluster *c, uint64_t limit_ns)
{
    struct tl_world *w = &c->world;
    tl_faults_start(c);
    if (c->config.plant == TL_PLANT_CACHED_ERROR)
        c->storage.faults.sticky = true;
    for (uint32_t rank = 0; rank < c->config.nodes; rank++)
        if (!tl_faults_absent(c, rank))
            tl_host_start(c, rank);
    if (c->config.wait_ready)
        wait_ready(c);
    c->started_ns = w->now_ns;
    for (uint32_t rank = 0; rank < c->config.nodes; rank++)
        if (rank >= c->config.readers_first && rank <= c->config.readers_last)
            tl_processes_start(c, rank);
    const struct tl_fault warm = {.act = TL_ACT_FAULT_WARM};
    if (c->config.profile)
        tl_faults_operate(c, 0, &warm);
    tl_faults_schedule(c);
    return run_to_end(c, limit_ns);
}

bool tl_cluster_run_again(struct tl_cluster *c, uint64_t limit_ns)
{
    c->started_ns = c->world.now_ns;
    c->finished_ns = 0;
    for (uint32_t rank = 0; rank < c->config.nodes; rank++)
        if (c->hosts[rank].node != NULL && c->hosts[rank].processes != NULL)
            tl_processes_restart(c, rank);
    return run_to_end(c, limit_ns);
}

void tl_cluster_counters(const struct tl_cluster *c, struct tl_counters *out)
{
    *out = c->counters;
    for (uint32_t rank = 0; rank < c->config.nodes; rank++) {
        if (c->hosts[rank].node == NULL)
            continue;
        struct tl_report report;
        tl_node_report(c->hosts[rank].node, &report);
#define ADD_COUNTER(name) out->name += report.counters.name;
        TL_COUNTERS(ADD_COUNTER)
#undef ADD_COUNTER
    }
}
