// SPDX-License-Identifier: Apache-2.0
#include "sim/seeds.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/time.h"

#define LIMIT_NS        (30 * TL_NS_PER_S) /* of simulated time: more than TL_LIVENESS_NS after the window */
#define WINDOW_NS       (2 * TL_NS_PER_S)
#define FAULT_TEXT_MAX  200u
#define CACHE_BYTES_MIN (12u << 20)
#define PROGRESS_EVERY  50u

void tl_seeds_options_default(struct tl_seeds_options *o)
{
    *o =
        (struct tl_seeds_options){.from = 1, .count = 200, .nodes = 31, .classes = TL_FAULTS_ALL, .workload = "random"};
}

static uint64_t pick(uint64_t seed, uint64_t what, uint64_t below)
{
    return tl_prng_scale(tl_prng_draw(seed, 0x434f4e46ull, what, 0, 0), below);
}

void tl_seed_config(const struct tl_seeds_options *o, uint64_t seed, struct tl_cluster_config *config)
{
    *config = (struct tl_cluster_config){.nodes = o->nodes, .seed = seed, .plant = o->plant, .verify_ppm = 2000};
    struct tl_node_config *n = &config->node;
    tl_node_config_default(n);
    n->arity = 1 + (uint32_t)pick(seed, 1, 4);
    n->cache_limit_bytes = CACHE_BYTES_MIN + pick(seed, 2, 4) * (12u << 20);
    n->object_max = pick(seed, 3, 2) == 0 ? 128 : 4096;
    n->flight_max = 16u << pick(seed, 4, 6);
    n->waiter_max = 256u << pick(seed, 5, 4);
    n->readahead_max_bytes = pick(seed, 6, 3) == 0 ? UINT64_MAX : pick(seed, 6, 3) << 19;
    n->window_chunks = 1 + (uint32_t)pick(seed, 7, TL_FETCH_CHUNKS_MAX);
    n->request_timeout_ns = TL_NS_PER_MS * (100 + pick(seed, 8, 900));
    n->heartbeat_ns = TL_NS_PER_MS * (50 + pick(seed, 9, 450));
    n->connect_grace_ns = TL_NS_PER_MS * (200 + pick(seed, 10, 1800));
    n->fetch_max = 1 + (uint32_t)pick(seed, 11, 16);
    tl_fabric_config_default(&config->fabric);
    config->fabric.jitter_ns = pick(seed, 12, 200000);
    config->fabric.connect_timeout_ns = TL_NS_PER_MS * (100 + pick(seed, 13, 900));
    config->fabric.user_timeout_ns = TL_NS_PER_MS * (500 + pick(seed, 14, 3000));
    config->fabric.one_sided = pick(seed, 15, 2) == 0;
    tl_storage_config_default(&config->storage);
    config->start_skew_ns = TL_NS_PER_MS * pick(seed, 16, 1000);
    config->faults = (struct tl_faults_config){.classes = o->classes, .window_ns = WINDOW_NS};
}

static void take_totals(const struct tl_cluster *c, struct tl_seed_totals *out)
{
    struct tl_counters n;
    tl_cluster_counters(c, &n);
    *out = (struct tl_seed_totals){.requests = c->checker.requests,
                                   .disturbances = c->checker.disturbances,
                                   .connections_lost = c->fabric.connections_lost,
                                   .reparented = n.reparented,
                                   .retried = n.flights_retried,
                                   .evictions = n.evictions,
                                   .storage_errors = c->storage.errors,
                                   .stale = c->checker.stale,
                                   .damaged = n.digest_failures,
                                   .cancelled = c->checker.cancelled,
                                   .busy = c->checker.busy,
                                   .commands = c->checker.operators,
                                   .read_again = c->storage.doubles};
}

void tl_seed_run(const struct tl_seeds_options *o, uint64_t seed, struct tl_seed_result *out)
{
    static struct tl_cluster cluster;
    struct tl_cluster_config config;
    struct tl_workload workload;
    tl_seed_config(o, seed, &config);
    check(tl_workload_by_name(&workload, o->workload));
    tl_cluster_init(&cluster, &config, &workload);
    memset(out, 0, sizeof *out);
    out->good = tl_cluster_run(&cluster, LIMIT_NS);
    out->trace = cluster.world.trace;
    out->events = cluster.world.events;
    out->end_ns = cluster.world.now_ns;
    take_totals(&cluster, &out->totals);
    if (!out->good)
        snprintf(out->what, sizeof out->what, "at %.6f s: %.300s", (double)cluster.world.violation_ns / 1e9,
                 cluster.world.violation);
    tl_cluster_fini(&cluster);
    tl_workload_fini(&workload);
}

/* A child runs the seed, so that an abort is a result like any other. */
static void run_forked(const struct tl_seeds_options *o, uint64_t seed, struct tl_seed_result *out)
{
    int fds[2];
    memset(out, 0, sizeof *out);
    fflush(stdout);
    if (o->no_fork || pipe(fds) != 0) {
        tl_seed_run(o, seed, out);
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        dup2(fds[1], STDERR_FILENO);
        close(fds[1]);
        tl_seed_run(o, seed, out);
        ssize_t n = write(STDERR_FILENO, out, sizeof *out);
        _exit(n == (ssize_t)sizeof *out ? 0 : 1);
    }
    close(fds[1]);
    char text[sizeof *out];
    size_t used = 0;
    for (ssize_t n = 1; n > 0 && used<sizeof text; used += n> 0 ? (size_t)n : 0)
        n = read(fds[0], text + used, sizeof text - used);
    close(fds[0]);
    int status = 0;
    if (pid > 0)
        waitpid(pid, &status, 0);
    if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 && used == sizeof *out) {
        memcpy(out, text, sizeof *out);
        return;
    }
    used = used < sizeof out->what ? used : sizeof out->what - 1;
    memcpy(out->what, text, used);
    out->what[used] = 0;
    out->what[strcspn(out->what, "\n")] = 0;
    if (used == 0)
        snprintf(out->what, sizeof out->what, "died of signal %d", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

static void print_command(const struct tl_seeds_options *o, uint64_t seed, uint32_t classes)
{
    static const char *const plants[] = {
#define PLANT_NAME(id, name, what) name,
        TL_PLANTS(PLANT_NAME)
#undef PLANT_NAME
    };
    char faults[FAULT_TEXT_MAX];
    tl_faults_print(classes, faults, sizeof faults);
    printf("tiercel-sim seeds --from %llu --count 1 --nodes %u --workload %s --faults %s", (unsigned long long)seed,
           o->nodes, o->workload, faults);
    if (o->plant != TL_PLANT_NONE)
        printf(" --plant %s", plants[o->plant]);
}

/* Leaves out one class after the other, as long as the seed still fails; then halves the nodes. */
static void shrink(const struct tl_seeds_options *given, uint64_t seed)
{
    struct tl_seeds_options o = *given;
    struct tl_seed_result result;
    for (uint32_t i = 0; i < TL_FAULT_COUNT; i++) {
        struct tl_seeds_options less = o;
        less.classes &= ~(1u << i);
        if (less.classes == o.classes)
            continue;
        run_forked(&less, seed, &result);
        if (!result.good)
            o = less;
    }
    for (struct tl_seeds_options less = o; less.nodes > 1;) {
        less.nodes /= 2;
        run_forked(&less, seed, &result);
        if (result.good)
            break;
        o = less;
    }
    run_forked(&o, seed, &result);
    printf("  shrunk: ");
    print_command(&o, seed, o.classes);
    printf("\n          %s\n", result.what);
}

uint64_t tl_seeds_run(const struct tl_seeds_options *o)
{
    uint64_t failed = 0, events = 0, start_ns = tl_time_mono_ns();
    struct tl_seed_totals totals = {0};
    bool progress = isatty(STDERR_FILENO) && !o->quiet;
    for (uint64_t seed = o->from; seed < o->from + o->count; seed++) {
        struct tl_seed_result result;
        run_forked(o, seed, &result);
        events += result.events;
#define ADD_TOTAL(name) totals.name += result.totals.name;
        TL_SEED_TOTALS(ADD_TOTAL)
#undef ADD_TOTAL
        if (progress && seed % PROGRESS_EVERY == 0)
            fprintf(stderr, "\r%llu of %llu seeds", (unsigned long long)(seed - o->from), (unsigned long long)o->count);
        if (o->traces)
            printf("%llu %016llx %llu\n", (unsigned long long)seed, (unsigned long long)result.trace,
                   (unsigned long long)result.events);
        if (result.good)
            continue;
        failed++;
        if (o->quiet || o->traces)
            continue;
        printf("seed %llu: %s\n  again: ", (unsigned long long)seed, result.what);
        print_command(o, seed, o->classes);
        printf("\n");
        if (o->shrink)
            shrink(o, seed);
    }
    if (progress)
        fprintf(stderr, "\r                              \r");
    if (o->quiet || o->traces)
        return failed;
    printf("%llu seeds from %llu, %u nodes: %llu failed, %llu events, %.1f s\n", (unsigned long long)o->count,
           (unsigned long long)o->from, o->nodes, (unsigned long long)failed, (unsigned long long)events,
           (double)(tl_time_mono_ns() - start_ns) / 1e9);
    printf("in them:");
#define PRINT_TOTAL(name) printf(" " #name "=%llu", (unsigned long long)totals.name);
    TL_SEED_TOTALS(PRINT_TOTAL)
#undef PRINT_TOTAL
    printf("\n");
    return failed;
}
