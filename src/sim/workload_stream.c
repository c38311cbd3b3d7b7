// SPDX-License-Identifier: Apache-2.0
/* `stream`: one large file, read from its first byte to its last by a process on every node, as a model's weights are. */
#include "core/request.h"
#include "sim/workload.h"

#define FILE_BYTES (256ull << 20)
#define COMPUTE_NS 100000000ull

static void build(struct tl_workload *w, struct tl_sim_catalog *c)
{
    uint32_t root = tl_sim_catalog_add_directory(c, TL_CATALOG_NONE, "", 10);
    w->first_file = tl_sim_catalog_add_file(c, root, "weights", FILE_BYTES);
    w->file_count = 1;
    w->step_count = (uint32_t)(FILE_BYTES / TL_READ_SIZE_MAX);
}

static bool want(const struct tl_workload *w, const struct tl_sim_catalog *c, uint32_t rank, uint32_t process,
                 uint32_t step, struct tl_want *out)
{
    (void)c;
    (void)rank;
    (void)process;
    if (step >= w->step_count)
        return false;
    *out = (struct tl_want){
        .object = w->first_file, .offset = (uint64_t)step * TL_READ_SIZE_MAX, .length = TL_READ_SIZE_MAX};
    return true;
}

static uint64_t gap_ns(const struct tl_workload *w, uint32_t step)
{
    (void)step;
    return w->compute_ns / w->step_count;
}

void tl_workload_stream(struct tl_workload *w)
{
    w->name = "stream";
    w->processes = 1;
    w->in_step = true;
    w->compute_ns = COMPUTE_NS;
    w->build = build;
    w->want = want;
    w->gap_ns = gap_ns;
}
