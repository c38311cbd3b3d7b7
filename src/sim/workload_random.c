// SPDX-License-Identifier: Apache-2.0
/* `random`: for fault tests. Many small files and a few large ones, read in ranges, again and again, by processes that share
 * nothing; listings are real blobs. With a small cache it evicts all the time. */
#include <stdio.h>

#include "core/request.h"
#include "sim/workload.h"

#define DIRECTORY_COUNT 8u
#define FILE_COUNT      48u
#define PROCESSES       3u
#define STEPS           60u
#define GAP_NS          25000000u

/* Sizes on both sides of every border: empty, inline, pulled, whole chunks, read ahead, too large for that. */
static uint64_t size_of(const struct tl_sim_catalog *c, uint32_t file)
{
    uint64_t r = tl_world_draw(c->world, TL_STREAM_CATALOG, file, 0, 1);
    switch (file % 8) {
    case 0: return file == 0 ? 0 : 1 + r % 100;
    case 1: return 49152 - 1 + r % 3;
    case 2: return TL_CHUNK_SIZE - 1 + r % 3;
    case 3: return (1u << 20) - 1 + r % 3;
    case 4: return 1 + r % (3u << 20);
    default: return 1 + r % 60000;
    }
}

static void build(struct tl_workload *w, struct tl_sim_catalog *c)
{
    uint32_t directories[DIRECTORY_COUNT];
    char name[32];
    directories[0] = tl_sim_catalog_add_directory(c, TL_CATALOG_NONE, "", 0);
    for (uint32_t i = 1; i < DIRECTORY_COUNT; i++) {
        snprintf(name, sizeof name, "dir%u", i);
        directories[i] = tl_sim_catalog_add_directory(c, directories[(i - 1) / 2], name, 0);
    }
    w->first_file = c->object_count;
    w->file_count = FILE_COUNT;
    for (uint32_t i = 0; i < FILE_COUNT; i++) {
        snprintf(name, sizeof name, "file%u", i);
        tl_sim_catalog_add_file(c, directories[i % DIRECTORY_COUNT], name, size_of(c, i));
    }
}

static bool want(const struct tl_workload *w, const struct tl_sim_catalog *c, uint32_t rank, uint32_t process,
                 uint32_t step, struct tl_want *out)
{
    if (step >= w->steps_max)
        return false;
    uint64_t r = tl_world_draw(c->world, TL_STREAM_PROCESS, rank, process, step);
    uint32_t file = w->first_file + (uint32_t)tl_prng_scale(r, w->file_count);
    r = tl_prng_mix(r);
    uint64_t size_bytes = c->versions[c->objects[file].newest].size_bytes;
    *out = (struct tl_want){.object = file, .offset = 0, .length = TL_READ_SIZE_MAX};
    switch (r % 8) {
    case 0: /* its directory, again */
        out->object = c->objects[file].parent;
        out->list = true;
        break;
    case 1: /* about the end */
        out->offset = size_bytes > 10 ? size_bytes - 10 : 0;
        out->length = 100;
        break;
    case 2:
    case 3:
    case 4: /* a range */
        out->offset = size_bytes > 0 ? tl_prng_mix(r) % size_bytes : 0;
        out->length = 1 + (uint32_t)(tl_prng_mix(r + 1) % (128u << 10));
        break;
    default: /* from the start */ break;
    }
    return true;
}

static uint64_t gap_ns(const struct tl_workload *w, uint32_t step)
{
    (void)w;
    (void)step;
    return GAP_NS;
}

void tl_workload_random(struct tl_workload *w)
{
    w->name = "random";
    w->processes = PROCESSES;
    w->steps_max = STEPS;
    w->real_listings = true;
    w->build = build;
    w->want = want;
    w->gap_ns = gap_ns;
}
