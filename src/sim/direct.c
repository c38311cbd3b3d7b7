// SPDX-License-Identifier: Apache-2.0
#include "sim/direct.h"

#include <stdlib.h>
#include <string.h>

#include "sim/memory.h"

#define JITTER_PERCENT 10u
#define WARM_RATE      5u /* opens alone: so many times the rate of metadata operations; fitted to 180 s at 2,048 nodes */

/* What a node asks of storage, in order: the same for all. */
struct op {
    enum { OP_LIST, OP_OPEN, OP_READ } kind;
    uint32_t object, len;
    uint64_t gap_ns; /* the processes compute after it */
};

struct node {
    uint32_t next; /* op */
    uint64_t *times;
};

struct direct {
    struct tl_world world;
    struct tl_sim_catalog catalog;
    struct tl_storage storage;
    const struct tl_workload *workload;
    struct op *ops;
    uint32_t op_count, op_capacity;
    struct node *nodes;
    uint64_t finished_ns;
};

static void op_add(struct direct *d, struct op op)
{
    if (d->op_count == d->op_capacity) {
        d->op_capacity = d->op_capacity == 0 ? 256 : d->op_capacity * 2;
        d->ops = tl_sim_realloc(d->ops, d->op_capacity, sizeof *d->ops);
    }
    d->ops[d->op_count++] = op;
}

/* Directories from the root down to the object's, those that are not known yet. */
static void add_lists(struct direct *d, uint32_t object, bool *known)
{
    for (;;) {
        uint32_t top = TL_CATALOG_NONE;
        for (uint32_t at = d->catalog.objects[object].parent; at != TL_CATALOG_NONE; at = d->catalog.objects[at].parent)
            if (!known[at])
                top = at;
        if (top == TL_CATALOG_NONE)
            return;
        known[top] = true;
        op_add(d, (struct op){.kind = OP_LIST, .object = top});
    }
}

/* Of the second start: each process opens each file, and finds the rest in the kernel. */
static void make_warm_ops(struct direct *d)
{
    bool *opened = tl_sim_alloc(d->catalog.object_count, sizeof *opened);
    struct tl_want want;
    for (uint32_t step = 0; d->workload->want(d->workload, &d->catalog, 0, 0, step, &want); step++) {
        op_add(d, (struct op){.kind = OP_OPEN,
                              .object = want.object,
                              .len = opened[want.object] ? 0 : d->workload->processes,
                              .gap_ns = d->workload->gap_ns(d->workload, step)});
        opened[want.object] = true;
    }
    free(opened);
}

static void make_ops(struct direct *d)
{
    bool *known = tl_sim_alloc(d->catalog.object_count, sizeof *known);
    struct tl_want want;
    for (uint32_t step = 0; d->workload->want(d->workload, &d->catalog, 0, 0, step, &want); step++) {
        add_lists(d, want.object, known);
        if (!known[want.object])
            op_add(d, (struct op){.kind = OP_OPEN, .object = want.object, .len = 1});
        known[want.object] = true;
        uint64_t rest = d->catalog.versions[d->catalog.objects[want.object].newest].size_bytes - want.offset;
        op_add(d, (struct op){.kind = OP_READ,
                              .object = want.object,
                              .len = rest < want.length ? (uint32_t)rest : want.length,
                              .gap_ns = d->workload->gap_ns(d->workload, step)});
    }
    free(known);
}

/* The op is over at end_ns: all processes of the node go on. When the first comes to the next op. */
static uint64_t go_on(struct direct *d, uint32_t rank, uint64_t end_ns)
{
    struct node *n = &d->nodes[rank];
    uint64_t gap_ns = d->ops[n->next].gap_ns, range_ns = gap_ns * 2 * JITTER_PERCENT / 100, first_ns = UINT64_MAX;
    for (uint32_t i = 0; i < d->workload->processes; i++) {
        uint64_t ready_ns = n->times[i] > end_ns ? n->times[i] : end_ns;
        if (gap_ns != 0)
            ready_ns += gap_ns - range_ns / 2 +
                        tl_prng_scale(tl_world_draw(&d->world, TL_STREAM_PROCESS, rank, i, n->next), range_ns);
        n->times[i] = ready_ns;
        if (ready_ns < first_ns)
            first_ns = ready_ns;
        if (ready_ns > d->finished_ns)
            d->finished_ns = ready_ns;
    }
    n->next++;
    return first_ns;
}

static void on_process(void *ctx, const struct tl_sim_event *ev)
{
    struct direct *d = ctx;
    struct node *n = &d->nodes[ev->node];
    if (n->next == d->op_count)
        return;
    const struct op *op = &d->ops[n->next];
    uint64_t now_ns = d->world.now_ns, end_ns = now_ns;
    switch (op->kind) {
    case OP_LIST:
        d->storage.lists++;
        end_ns = tl_storage_metadata(&d->storage, now_ns, tl_storage_list_ops(&d->catalog, op->object));
        break;
    case OP_OPEN:
        d->storage.opens += op->len;
        for (uint32_t i = 0; i < op->len; i++) { /* at once: each process its own */
            uint64_t one_ns = tl_storage_metadata(&d->storage, now_ns, 1);
            end_ns = one_ns > end_ns ? one_ns : end_ns;
        }
        break;
    case OP_READ: end_ns = tl_storage_read(&d->storage, now_ns, op->object, op->len); break;
    }
    tl_world_at(&d->world, go_on(d, ev->node, end_ns), TL_WORLD_PROCESS, ev->node, 0, NULL);
}

void tl_direct_run(const struct tl_cluster_config *config, struct tl_workload *workload, bool warm,
                   struct tl_direct_result *out)
{
    struct direct d = {.workload = workload};
    check(workload->in_step);
    tl_world_init(&d.world, config->seed);
    tl_sim_catalog_init(&d.catalog, &d.world, false);
    workload->build(workload, &d.catalog);
    tl_sim_catalog_seal(&d.catalog);
    struct tl_storage_config storage = config->storage;
    if (warm) {
        storage.md_ops_per_s *= WARM_RATE;
        storage.md_concurrency *= WARM_RATE;
    }
    tl_storage_init(&d.storage, &d.world, &d.catalog, &storage);
    tl_world_handle(&d.world, TL_WORLD_PROCESS, on_process, &d);
    if (warm)
        make_warm_ops(&d);
    else
        make_ops(&d);
    d.nodes = tl_sim_alloc(config->nodes, sizeof *d.nodes);
    for (uint32_t rank = 0; rank < config->nodes; rank++) {
        uint64_t first_ns = UINT64_MAX;
        d.nodes[rank].times = tl_sim_alloc(workload->processes, sizeof(uint64_t));
        for (uint32_t i = 0; i < workload->processes; i++) {
            uint64_t skew_ns =
                tl_prng_scale(tl_world_draw(&d.world, TL_STREAM_PROCESS, rank, i, UINT64_MAX), config->start_skew_ns);
            d.nodes[rank].times[i] = skew_ns;
            first_ns = skew_ns < first_ns ? skew_ns : first_ns;
        }
        tl_world_at(&d.world, first_ns, TL_WORLD_PROCESS, rank, 0, NULL);
    }
    while (tl_world_step(&d.world)) {
    }
    *out = (struct tl_direct_result){.duration_ns = d.finished_ns,
                                     .md_ops = d.storage.md_ops,
                                     .opens = d.storage.opens,
                                     .lists = d.storage.lists,
                                     .reads = d.storage.reads,
                                     .bytes = d.storage.bytes,
                                     .events = d.world.events};
    for (uint32_t rank = 0; rank < config->nodes; rank++)
        free(d.nodes[rank].times);
    free(d.nodes);
    free(d.ops);
    tl_storage_fini(&d.storage);
    tl_sim_catalog_fini(&d.catalog);
    tl_world_fini(&d.world);
}
