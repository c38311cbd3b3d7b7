// SPDX-License-Identifier: Apache-2.0
/* `files`: for scenarios that the lab runs, too. So many files of one size; every program reads each of them once, from its
 * first byte to its last, in an order of its own. */
#include <stdio.h>

#include "core/request.h"
#include "sim/workload.h"

#define FILES_A_DIRECTORY 20u

static void build(struct tl_workload *w, struct tl_sim_catalog *c)
{
    char name[32];
    uint32_t directory = 0, root = tl_sim_catalog_add_directory(c, TL_CATALOG_NONE, "", 0);
    uint32_t directories = (w->file_count + FILES_A_DIRECTORY - 1) / FILES_A_DIRECTORY;
    for (uint32_t i = 0; i < directories; i++) {
        snprintf(name, sizeof name, "dir%u", i);
        directory = tl_sim_catalog_add_directory(c, root, name, 0);
        if (i == 0)
            w->first_directory = directory;
    }
    for (uint32_t i = 0; i < w->file_count; i++) {
        snprintf(name, sizeof name, "file%u", i);
        uint32_t file = tl_sim_catalog_add_file(c, w->first_directory + i / FILES_A_DIRECTORY, name, w->file_bytes);
        if (i == 0)
            w->first_file = file;
    }
    w->reads_a_file = w->file_bytes == 0 ? 1 : (w->file_bytes + TL_READ_SIZE_MAX - 1) / TL_READ_SIZE_MAX;
}

/* Each starts elsewhere and goes on by a step of its own that meets every file. */
static uint32_t file_of(const struct tl_workload *w, uint32_t rank, uint32_t process, uint32_t number)
{
    uint64_t start = tl_prng_mix((uint64_t)rank << 8 | process) % w->file_count;
    return (uint32_t)((start + number) % w->file_count);
}

static bool want(const struct tl_workload *w, const struct tl_sim_catalog *c, uint32_t rank, uint32_t process,
                 uint32_t step, struct tl_want *out)
{
    (void)c;
    if (step / w->reads_a_file >= w->file_count)
        return false;
    *out = (struct tl_want){.object = w->first_file + file_of(w, rank, process, step / w->reads_a_file),
                            .offset = (uint64_t)(step % w->reads_a_file) * TL_READ_SIZE_MAX,
                            .length = TL_READ_SIZE_MAX};
    return true;
}

static uint64_t gap_ns(const struct tl_workload *w, uint32_t step)
{
    return (step + 1) % w->reads_a_file == 0 ? w->compute_ns : 0;
}

void tl_workload_files(struct tl_workload *w)
{
    w->name = "files";
    w->processes = 1;
    w->real_listings = true;
    w->build = build;
    w->want = want;
    w->gap_ns = gap_ns;
}
