// SPDX-License-Identifier: Apache-2.0
#include "sim/seeds.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/time.h"
#include "sim/memory.h"
#include "sim/shrink.h"

#define LIMIT_NS        (30 * TL_NS_PER_S) /* of simulated time: more than TL_LIVENESS_NS after the window */
#define RANDOM_OBJECTS  56u                /* of the workload: what faults choose from */
#define RANDOM_STEPS    60u
#define RANDOM_PROGRAMS 3u
#define FAULT_TEXT_MAX  200u
#define CACHE_BYTES_MIN (12u << 20)
#define PROGRESS_EVERY  50u

void tl_seeds_options_default(struct tl_seeds_options *o)
{
    *o = (struct tl_seeds_options){
        .from = 1, .count = 200, .nodes = 31, .classes = TL_FAULTS_ALL, .swarm = true, .workload = "random"};
}

static uint64_t pick(uint64_t seed, uint64_t what, uint64_t below)
{
    return tl_prng_scale(tl_prng_draw(seed, 0x434f4e46ull, what, 0, 0), below);
}

static void draw_config(struct tl_cluster_config *config, uint64_t seed)
{
    struct tl_node_config *n = &config->node;
    n->arity = 1 + (uint32_t)pick(seed, 1, 4);
    n->roots = 1 + (uint32_t)(pick(seed, 17, 2) == 0 ? 0 : pick(seed, 18, 6));
    config->groups = pick(seed, 19, 3) == 0 ? 1 + (uint32_t)pick(seed, 20, 8) : 0;
    n->cache_limit_bytes = CACHE_BYTES_MIN + pick(seed, 2, 4) * (12u << 20);
    n->object_max = pick(seed, 3, 2) == 0 ? 128 : 4096;
    n->flight_max = (16u << pick(seed, 4, 6)) + 2 * n->roots;
    n->waiter_max = 256u << pick(seed, 5, 4);
    n->readahead_max_bytes = pick(seed, 6, 3) == 0 ? UINT64_MAX : pick(seed, 6, 3) << 19;
    n->window_chunks = 1 + (uint32_t)pick(seed, 7, TL_FETCH_CHUNKS_MAX);
    n->request_timeout_ns = TL_NS_PER_MS * (100 + pick(seed, 8, 900));
    n->heartbeat_ns = TL_NS_PER_MS * (50 + pick(seed, 9, 450));
    n->connect_grace_ns = TL_NS_PER_MS * (200 + pick(seed, 10, 1800));
    n->fetch_max = 1 + (uint32_t)pick(seed, 11, 16);
    config->fabric.jitter_ns = pick(seed, 12, 200000);
    config->fabric.connect_timeout_ns = TL_NS_PER_MS * (100 + pick(seed, 13, 900));
    config->fabric.user_timeout_ns = TL_NS_PER_MS * (500 + pick(seed, 14, 3000));
    config->fabric.one_sided = pick(seed, 15, 2) == 0;
    config->start_skew_ns = TL_NS_PER_MS * pick(seed, 16, 1000);
}

void tl_seed_scenario(const struct tl_seeds_options *o, uint64_t seed, struct tl_scenario *s)
{
    tl_scenario_default(s);
    snprintf(s->name, sizeof s->name, "seed %llu", (unsigned long long)seed);
    s->config.nodes = o->nodes;
    s->config.seed = seed;
    s->config.plant = o->plant;
    s->config.wait_ready = false;
    s->limit_ns = LIMIT_NS;
    draw_config(&s->config, seed);
    snprintf(s->workload, sizeof s->workload, "%s", o->workload);
    if (strcmp(o->workload, "random") == 0) {
        s->steps = RANDOM_STEPS;
        s->processes = RANDOM_PROGRAMS;
    }
    tl_faults_draw(&s->plan, seed, o->nodes, RANDOM_OBJECTS, o->classes, o->swarm);
}

static void run_seed(const struct tl_seeds_options *o, struct tl_scenario *s, uint64_t seed,
                     struct tl_scenario_result *out)
{
    tl_seed_scenario(o, seed, s);
    if (o->no_fork)
        tl_scenario_run(s, out);
    else
        tl_scenario_run_forked(s, out);
}

void tl_seed_run(const struct tl_seeds_options *o, uint64_t seed, struct tl_scenario_result *out)
{
    struct tl_scenario *s = tl_sim_alloc(1, sizeof *s);
    tl_seed_scenario(o, seed, s);
    tl_scenario_run(s, out);
    free(s);
}

/* ---- what is said ---- */

static void print_command(const struct tl_seeds_options *o, uint64_t seed)
{
    static const char *const plants[] = {
#define PLANT_NAME(id, name, what) name,
        TL_PLANTS(PLANT_NAME)
#undef PLANT_NAME
    };
    char faults[FAULT_TEXT_MAX];
    tl_faults_print(o->classes, faults, sizeof faults);
    printf("tiercel-sim seeds --from %llu --count 1 --nodes %u --workload %s%s%s", (unsigned long long)seed, o->nodes,
           o->workload, o->swarm ? "" : " --faults ", o->swarm ? "" : faults);
    if (o->plant != TL_PLANT_NONE)
        printf(" --plant %s", plants[o->plant]);
}

/* To the directory, as seed-N-NODES.scn, or to standard output. */
static void write_scenario(const struct tl_seeds_options *o, const struct tl_scenario *s, uint64_t seed)
{
    char path[512];
    size_t len = tl_scenario_print(s, NULL, 0);
    char *text = tl_sim_alloc(len + 1, 1);
    tl_scenario_print(s, text, len + 1);
    FILE *f = NULL;
    if (o->shrink_dir != NULL) {
        snprintf(path, sizeof path, "%s/seed-%llu-%u.scn", o->shrink_dir, (unsigned long long)seed, o->nodes);
        f = fopen(path, "we");
        if (f == NULL)
            printf("  %s: %s: name a directory that can be written\n", path, strerror(errno));
    }
    if (f != NULL && fputs(text, f) >= 0 && fclose(f) == 0)
        printf("  scenario: tiercel-sim scenario %s\n", path);
    else
        printf("%s", text);
    free(text);
}

static void report(const struct tl_seeds_options *o, struct tl_scenario *s, uint64_t seed,
                   struct tl_scenario_result *result)
{
    printf("seed %llu: %s\n  again: ", (unsigned long long)seed, result->what);
    print_command(o, seed);
    printf("\n");
    if (!o->shrink)
        return;
    tl_seed_scenario(o, seed, s); /* as it was before it ran */
    uint32_t runs = tl_shrink(s, result);
    printf("  shrunk by %u runs to %u faults, %u nodes: %s\n", runs, s->plan.fault_count, s->config.nodes,
           result->what);
    write_scenario(o, s, seed);
}

struct sums {
    uint64_t failed, events;
    struct tl_scenario_metrics totals;
};

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void add(struct sums *sums, const struct tl_scenario_result *r)
{
    struct tl_scenario_metrics before = sums->totals;
    sums->events += r->events;
#define ADD_TOTAL(field, name) sums->totals.field += r->metrics.field;
    TL_SCENARIO_METRICS(ADD_TOTAL)
#undef ADD_TOTAL
    sums->totals.longest_wait_ms = most(before.longest_wait_ms, r->metrics.longest_wait_ms);
    sums->totals.storage_at_once = most(before.storage_at_once, r->metrics.storage_at_once);
    sums->totals.children_most = most(before.children_most, r->metrics.children_most);
    sums->totals.finished_ms = most(before.finished_ms, r->metrics.finished_ms);
}

static void print_sums(const struct tl_seeds_options *o, const struct sums *sums, double seconds)
{
    if (o->json) {
        printf("{\"from\": %llu, \"seeds\": %llu, \"nodes\": %u, \"failed\": %llu, \"events\": %llu, \"seconds\": %.1f",
               (unsigned long long)o->from, (unsigned long long)o->count, o->nodes, (unsigned long long)sums->failed,
               (unsigned long long)sums->events, seconds);
#define PRINT_JSON(field, name) printf(", \"%s\": %llu", name, (unsigned long long)sums->totals.field);
        TL_SCENARIO_METRICS(PRINT_JSON)
#undef PRINT_JSON
        printf("}\n");
        return;
    }
    printf("%llu seeds from %llu, %u nodes: %llu failed, %llu events, %.1f s\nin them:", (unsigned long long)o->count,
           (unsigned long long)o->from, o->nodes, (unsigned long long)sums->failed, (unsigned long long)sums->events,
           seconds);
#define PRINT_TOTAL(field, name)                                                                                       \
    if (sums->totals.field != 0)                                                                                       \
        printf(" %s=%llu", name, (unsigned long long)sums->totals.field);
    TL_SCENARIO_METRICS(PRINT_TOTAL)
#undef PRINT_TOTAL
    printf("\n");
}

uint64_t tl_seeds_run(const struct tl_seeds_options *o)
{
    uint64_t start_ns = tl_time_mono_ns();
    struct sums sums = {0};
    struct tl_scenario *s = tl_sim_alloc(1, sizeof *s);
    bool silent = o->quiet || o->traces, progress = isatty(STDERR_FILENO) && !o->quiet;
    for (uint64_t seed = o->from; seed < o->from + o->count; seed++) {
        struct tl_scenario_result result;
        run_seed(o, s, seed, &result);
        add(&sums, &result);
        sums.failed += !result.good;
        if (progress && seed % PROGRESS_EVERY == 0)
            fprintf(stderr, "\r%llu of %llu seeds", (unsigned long long)(seed - o->from), (unsigned long long)o->count);
        if (o->traces)
            printf("%llu %016llx %llu\n", (unsigned long long)seed, (unsigned long long)result.trace,
                   (unsigned long long)result.events);
        if (!result.good && !silent)
            report(o, s, seed, &result);
    }
    free(s);
    if (progress)
        fprintf(stderr, "\r                              \r");
    if (!silent)
        print_sums(o, &sums, (double)(tl_time_mono_ns() - start_ns) / 1e9);
    return sums.failed;
}
