// SPDX-License-Identifier: Apache-2.0
/* The conformance suite of net/transport.h on the simulated transport, in virtual time. */
#include <stdlib.h>

#include "base/check.h"
#include "net/conformance.h"
#include "sim/memory.h"
#include "sim/simnet.h"

#define FROZEN_NS  1000000u /* a stopped process is looked at again so often */
#define WAIT_NS    1000000u
#define MEMORY_MAX 32u

static struct world {
    struct tl_world world;
    struct tl_fabric fabric;
    struct tl_net *nets[TL_NET_SUITE_NODES];
    bool frozen[TL_NET_SUITE_NODES];
    void *memory[MEMORY_MAX];
    uint32_t memory_count;
} w;

static void setup(struct tl_net_suite_env *env)
{
    struct tl_fabric_config config;
    (void)env;
    tl_fabric_config_default(&config);
    config.node_count = TL_NET_SUITE_NODES;
    config.one_sided = false; /* a stopped process does not serve reads */
    w = (struct world){0};
    tl_world_init(&w.world, 1);
    tl_fabric_init(&w.fabric, &w.world, &config);
}

static void teardown(struct tl_net_suite_env *env)
{
    (void)env;
    tl_fabric_fini(&w.fabric);
    tl_world_fini(&w.world);
    for (uint32_t i = 0; i < w.memory_count; i++)
        free(w.memory[i]);
}

static int open_node(struct tl_net_suite_env *env, struct tl_net_config *config, struct tl_net **out,
                     struct tl_error *err)
{
    (void)env;
    config->world = &w.fabric;
    int status = tl_net_sim_open(out, config, err);
    if (status == 0)
        w.nets[config->rank] = *out;
    return status;
}

static void kill_node(struct tl_net_suite_env *env, uint32_t rank, struct tl_net *net)
{
    (void)env;
    net->ops->close(net);
    w.nets[rank] = NULL;
    w.frozen[rank] = false;
    w.fabric.hosts[rank].paused_until_ns = 0;
}

static void freeze(struct tl_net_suite_env *env, uint32_t rank, bool frozen)
{
    (void)env;
    w.frozen[rank] = frozen;
    w.fabric.hosts[rank].paused_until_ns = 0;
}

static bool somebody_has_work(void)
{
    bool work = false;
    uint64_t next_ns;
    for (uint32_t i = 0; i < TL_NET_SUITE_NODES; i++)
        if (w.fabric.hosts[i].net != NULL && !w.frozen[i])
            work = w.nets[i]->ops->arm(w.nets[i], &next_ns) != 0 || work;
    return work;
}

static void wait_ready(struct tl_net_suite_env *env, uint64_t until_ns)
{
    (void)env;
    if (until_ns > w.world.now_ns + WAIT_NS)
        until_ns = w.world.now_ns + WAIT_NS; /* the suite may have seen already what it waits for */
    while (!somebody_has_work()) {
        uint64_t next_ns = tl_queue_next_ns(&w.world.queue);
        if (next_ns > until_ns) {
            tl_world_run_until(&w.world, until_ns);
            return;
        }
        for (uint32_t i = 0; i < TL_NET_SUITE_NODES; i++)
            if (w.frozen[i])
                w.fabric.hosts[i].paused_until_ns = (next_ns / FROZEN_NS + 1) * FROZEN_NS; /* all at once: in order */
        tl_world_step(&w.world);
    }
}

static uint64_t now(struct tl_net_suite_env *env)
{
    (void)env;
    return w.world.now_ns;
}

static void memory(struct tl_net_suite_env *env, size_t size, int *fd, void **base)
{
    (void)env;
    check(w.memory_count < MEMORY_MAX);
    *fd = -1;
    *base = w.memory[w.memory_count++] = tl_sim_alloc(size, 1);
}

int main(void)
{
    struct tl_net_suite_env env = {
        .name = "sim",
        .checks_identity = true,
        .setup = setup,
        .teardown = teardown,
        .open = open_node,
        .kill = kill_node,
        .freeze = freeze,
        .wait = wait_ready,
        .now = now,
        .memory = memory,
    };
    return tl_net_suite_run(&env);
}
