// SPDX-License-Identifier: Apache-2.0
/* `imports`: the start of a Python program on 12 processes a node, after the Copper paper (V. Results): 728 files of
 * 36.3 MB, none above 10 MB: 690 bytecode files, 27 shared libraries, 11 sources. Not from the paper: 150 directories, the
 * sizes of the single files (drawn once, the same for every seed), and that half of a listing's names are never opened.
 * The processor time of one import is the paper's warm start: about 2 s. */
#include <stdio.h>

#include "base/check.h"
#include "core/request.h"
#include "sim/memory.h"
#include "sim/workload.h"

#define BYTECODE_COUNT  690u
#define LIBRARY_COUNT   27u
#define SOURCE_COUNT    11u
#define FILE_COUNT      (BYTECODE_COUNT + LIBRARY_COUNT + SOURCE_COUNT)
#define DIRECTORY_COUNT 150u
#define TOTAL_BYTES     36300000ull
#define FILE_BYTES_MAX  10000000ull
#define SIZES_SEED      36300728ull
#define COMPUTE_NS      2000000000ull
#define PROCESSES       12u

enum file_type { BYTECODE, LIBRARY, SOURCE };

/* Libraries and sources lie evenly between the bytecode files. */
static enum file_type type_of(uint32_t file)
{
    if ((file * LIBRARY_COUNT) / FILE_COUNT != ((file + 1) * LIBRARY_COUNT) / FILE_COUNT)
        return LIBRARY;
    uint32_t rest = file - (file * LIBRARY_COUNT) / FILE_COUNT; /* its number among the others */
    const uint32_t others = BYTECODE_COUNT + SOURCE_COUNT;
    return (rest * SOURCE_COUNT) / others != ((rest + 1) * SOURCE_COUNT) / others ? SOURCE : BYTECODE;
}

static uint64_t draw(uint32_t file, uint32_t which, uint64_t below)
{
    return tl_prng_scale(tl_prng_draw(SIZES_SEED, 1, file, which, 0), below);
}

/* Skewed, as such files are: a few are large. Libraries share what is left of the total by their weights. */
static void draw_sizes(uint64_t sizes[FILE_COUNT])
{
    uint64_t left = TOTAL_BYTES, weights = 0, weight_of[FILE_COUNT] = {0};
    uint32_t last_library = 0;
    for (uint32_t i = 0; i < FILE_COUNT; i++) {
        if (type_of(i) == LIBRARY) {
            uint64_t x = 20 + draw(i, 0, 100);
            weight_of[i] = x * x;
            weights += weight_of[i];
            last_library = i;
            continue;
        }
        uint64_t x = 1 + draw(i, 0, 100);
        sizes[i] = 400 + x * x * (type_of(i) == SOURCE ? 8 : 4) + draw(i, 1, 1000);
        left -= sizes[i];
    }
    uint64_t for_libraries = left;
    for (uint32_t i = 0; i < FILE_COUNT; i++) {
        if (weight_of[i] == 0)
            continue;
        sizes[i] = i == last_library ? left : for_libraries * weight_of[i] / weights;
        check(sizes[i] > 0 && sizes[i] <= FILE_BYTES_MAX);
        left -= sizes[i];
    }
    check(left == 0);
}

static void build(struct tl_workload *w, struct tl_sim_catalog *c)
{
    static const char *const suffix[] = {[BYTECODE] = "pyc", [LIBRARY] = "so", [SOURCE] = "py"};
    static const uint32_t most[] = {[BYTECODE] = BYTECODE_COUNT, [LIBRARY] = LIBRARY_COUNT, [SOURCE] = SOURCE_COUNT};
    uint64_t sizes[FILE_COUNT];
    uint32_t directories[DIRECTORY_COUNT], count[3] = {0};
    char name[32];
    draw_sizes(sizes);
    directories[0] = tl_sim_catalog_add_directory(c, TL_CATALOG_NONE, "", 20);
    directories[1] = tl_sim_catalog_add_directory(c, directories[0], "lus", 10);
    directories[2] = tl_sim_catalog_add_directory(c, directories[1], "site-packages", 60);
    for (uint32_t i = 3; i < DIRECTORY_COUNT; i++) { /* packages, and packages in them */
        uint32_t parent = i < 12 ? 2 : 2 + (uint32_t)tl_prng_scale(tl_prng_draw(SIZES_SEED, 2, i, 0, 0), i / 2 - 2);
        snprintf(name, sizeof name, "package%03u", i);
        directories[i] = tl_sim_catalog_add_directory(c, directories[parent], name, 5);
    }
    w->first_file = c->object_count;
    uint32_t chunks = 0;
    for (uint32_t i = 0; i < FILE_COUNT; i++) { /* one package after the other */
        enum file_type type = type_of(i);
        count[type]++;
        snprintf(name, sizeof name, "module%03u.%s", i, suffix[type]);
        tl_sim_catalog_add_file(c, directories[2 + (uint64_t)i * (DIRECTORY_COUNT - 2) / FILE_COUNT], name, sizes[i]);
        chunks += (uint32_t)((sizes[i] + TL_CHUNK_SIZE - 1) / TL_CHUNK_SIZE);
    }
    check(count[BYTECODE] == most[BYTECODE] && count[LIBRARY] == most[LIBRARY] && count[SOURCE] == most[SOURCE]);
    w->file_count = FILE_COUNT;
    w->steps = tl_sim_alloc(chunks, sizeof *w->steps);
    for (uint32_t i = 0; i < FILE_COUNT; i++)
        for (uint32_t k = 0; (uint64_t)k * TL_CHUNK_SIZE < sizes[i]; k++)
            w->steps[w->step_count++] = (struct tl_workload_step){.object = w->first_file + i, .chunk = k};
    check(w->step_count == chunks);
}

static bool want(const struct tl_workload *w, const struct tl_sim_catalog *c, uint32_t rank, uint32_t process,
                 uint32_t step, struct tl_want *out)
{
    (void)c;
    (void)rank;
    (void)process;
    if (step >= w->step_count)
        return false;
    *out = (struct tl_want){.object = w->steps[step].object,
                            .offset = (uint64_t)w->steps[step].chunk * TL_CHUNK_SIZE,
                            .length = TL_CHUNK_SIZE};
    return true;
}

/* A file is executed once its last chunk is there. */
static uint64_t gap_ns(const struct tl_workload *w, uint32_t step)
{
    bool last = step + 1 >= w->step_count || w->steps[step + 1].object != w->steps[step].object;
    return last ? w->compute_ns / w->file_count : 0;
}

void tl_workload_imports(struct tl_workload *w)
{
    w->name = "imports";
    w->processes = PROCESSES;
    w->in_step = true;
    w->compute_ns = COMPUTE_NS;
    w->build = build;
    w->want = want;
    w->gap_ns = gap_ns;
}
