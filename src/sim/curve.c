// SPDX-License-Identifier: Apache-2.0
#include "sim/curve.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/time.h"
#include "sim/direct.h"

#define LIMIT_NS     (3600 * TL_NS_PER_S) /* of simulated time */
#define NODES_FIRST  32u
#define NODES_FACTOR 4u
#define PLOT_WIDTH   60u
#define BASE_NODES   32u /* what the ratio compares with */
#define RATIO_TARGET 1.10
#define SKEW_NS      (100 * TL_NS_PER_MS)

struct row {
    uint32_t nodes, depth, roots, arity;
    uint64_t direct_ns, tiercel_ns;
    uint64_t md_ops, opens, lists, reads, chunks, direct_md_ops, direct_reads;
    uint64_t busiest_sent_bytes, sent_bytes, root_sent_bytes, peak_bytes;
    uint64_t distinct_bytes; /* of all chunks and listings */
    uint64_t warm_ns, direct_warm_ns, alone_ns, bound_ns;
    uint64_t killed_ns, killed, killed_errors, killed_reparented, killed_reads;
    uint64_t events, wall_ns, trace;
};

void tl_curve_options_default(struct tl_curve_options *o)
{
    memset(o, 0, sizeof *o);
    o->workload = "imports";
    o->compute_ns = UINT64_MAX;
    o->direct = true;
    struct tl_cluster_config *c = &o->config;
    c->seed = 1;
    c->start_skew_ns = SKEW_NS;
    c->wait_ready = true;
    tl_fabric_config_default(&c->fabric);
    c->fabric.copies = true;
    tl_storage_config_default(&c->storage);
    tl_node_config_default(&c->node);
    /* Tables as small as the workload lets them be: there are ten thousand of each. */
    c->node.object_max = 0;
    c->node.flight_max = 256;
    c->node.waiter_max = 512;
    c->node.fetch_max = 32;
    c->node.cache_limit_bytes = 1ull << 30;
}

void tl_curve_points_default(struct tl_curve_options *o, uint32_t nodes)
{
    o->point_count = 0;
    for (uint32_t n = NODES_FIRST; n <= nodes / 2 && o->point_count + 1 < TL_CURVE_POINTS_MAX; n *= NODES_FACTOR)
        o->points[o->point_count++] = n;
    o->points[o->point_count++] = nodes;
}

/* Of the last node, in the tree of small objects. */
static uint32_t depth_of(const struct tl_node_config *node, uint32_t nodes)
{
    const struct tl_forest f = {.node_count = nodes, .roots = 1, .arity = node->arity};
    return tl_forest_depth(&f, 0, nodes - 1);
}

static void make_workload(const struct tl_curve_options *o, struct tl_workload *w)
{
    check(tl_workload_by_name(w, o->workload));
    if (o->compute_ns != UINT64_MAX)
        w->compute_ns = o->compute_ns;
}

static uint64_t run_direct(const struct tl_curve_options *o, const struct tl_cluster_config *config, bool warm,
                           struct row *row)
{
    struct tl_workload workload;
    struct tl_direct_result direct;
    make_workload(o, &workload);
    tl_direct_run(config, &workload, warm, &direct);
    tl_workload_fini(&workload);
    row->events += direct.events;
    if (!warm && config->nodes == row->nodes) {
        row->direct_md_ops = direct.md_ops;
        row->direct_reads = direct.reads;
    }
    return direct.duration_ns;
}

/* What no start can be faster than that reads storage once: the slowest of what storage must do at its full speed, one operation's
 * latency, the way down the tree, and the bytes over one link. */
static uint64_t lower_bound_ns(const struct tl_cluster *c, const struct row *row)
{
    const struct tl_storage_config *s = &c->config.storage;
    const struct tl_fabric_config *f = &c->config.fabric;
    uint64_t ns[] = {row->md_ops * TL_NS_PER_S / s->md_ops_per_s, row->md_ops * s->md_latency_ns / s->md_concurrency,
                     c->storage.bytes * 1000 / (s->target_bytes_per_s / 1000000 * s->targets),
                     row->reads * TL_NS_PER_S / (s->target_reads_per_s * s->targets)};
    uint64_t most_ns = 0;
    for (uint32_t i = 0; i < 4; i++)
        most_ns = ns[i] > most_ns ? ns[i] : most_ns;
    return most_ns + s->md_latency_ns + s->read_latency_ns + row->depth * (f->latency_ns + 2 * f->message_cpu_ns) +
           row->distinct_bytes * f->picoseconds_per_byte / 1000;
}

/* What the root that sent most has sent. */
static uint64_t most_of_roots(const struct tl_cluster *c)
{
    const struct tl_node_config *n = &c->config.node;
    const struct tl_forest f = {
        .node_count = c->config.nodes, .roots = n->roots, .arity = n->arity, .topology = c->topology};
    uint64_t most = 0;
    for (uint32_t rank = 0; rank < c->config.nodes; rank++)
        for (uint32_t tree = 0; tree < tl_forest_trees(&f); tree++)
            if (tl_forest_place(&f, tree, rank) == 0 && c->fabric.hosts[rank].bytes_sent > most)
                most = c->fabric.hosts[rank].bytes_sent;
    return most;
}

static void take_row(const struct tl_cluster *c, struct row *row)
{
    row->tiercel_ns = c->finished_ns - c->started_ns;
    row->md_ops = c->storage.md_ops;
    row->opens = c->storage.opens;
    row->lists = c->storage.lists;
    row->reads = c->storage.reads;
    for (uint32_t id = 1; id < c->catalog.content_count; id++) {
        const struct tl_content *content = tl_sim_catalog_content(&c->catalog, id);
        row->chunks += content->kind == TL_CONTENT_CHUNK;
        row->distinct_bytes += content->len;
    }
    for (uint32_t rank = 0; rank < row->nodes; rank++) {
        uint64_t sent = c->fabric.hosts[rank].bytes_sent;
        row->sent_bytes += sent;
        row->busiest_sent_bytes = sent > row->busiest_sent_bytes ? sent : row->busiest_sent_bytes;
    }
    row->root_sent_bytes = most_of_roots(c);
    row->peak_bytes = c->checker.peak_bytes;
    row->bound_ns = lower_bound_ns(c, row);
}

static bool complain(const struct tl_cluster *c, uint32_t nodes)
{
    fprintf(stderr, "tiercel-sim: %u nodes: at %.6f s: %s\n", nodes, (double)c->world.violation_ns / 1e9,
            c->world.violation);
    return false;
}

static bool run_tiercel(const struct tl_curve_options *o, const struct tl_cluster_config *config, struct row *row)
{
    static struct tl_cluster cluster;
    struct tl_workload workload;
    make_workload(o, &workload);
    tl_cluster_init(&cluster, config, &workload);
    bool good = tl_cluster_run(&cluster, LIMIT_NS);
    take_row(&cluster, row);
    row->trace = cluster.world.trace;
    if (good && o->warm) {
        good = tl_cluster_run_again(&cluster, LIMIT_NS);
        row->warm_ns = cluster.finished_ns - cluster.started_ns;
    }
    row->events += cluster.world.events;
    good = good || complain(&cluster, row->nodes);
    tl_cluster_fini(&cluster);
    tl_workload_fini(&workload);
    return good;
}

/* Daemons of some nodes die for good, each at a time within the start as it was without. */
static void plan_deaths(const struct tl_curve_options *o, const struct row *row, struct tl_fault_plan *plan)
{
    uint32_t deaths = (row->nodes * o->kill_percent + 99) / 100;
    memset(plan, 0, sizeof *plan);
    for (uint32_t i = 0; i < deaths && i < TL_PLAN_FAULTS_MAX && row->nodes > 1; i++) {
        uint64_t seed = o->config.seed;
        uint32_t rank = 1 + (uint32_t)tl_prng_scale(tl_prng_draw(seed, TL_STREAM_SCHEDULE, i, 0, 1), row->nodes - 1);
        plan->ranges[i] = (struct tl_rank_range){.first = rank, .last = rank, .side = 1};
        plan->faults[i] =
            (struct tl_fault){.act = TL_ACT_FAULT_KILL,
                              .at_ns = tl_prng_scale(tl_prng_draw(seed, TL_STREAM_SCHEDULE, i, 0, 2), row->tiercel_ns),
                              .first_range = i,
                              .range_count = 1,
                              .a = TL_FAULT_NOTHING,
                              .b = TL_FAULT_NOTHING};
        plan->fault_count = plan->range_count = i + 1;
    }
}

static bool run_with_deaths(const struct tl_curve_options *o, const struct tl_cluster_config *config, struct row *row)
{
    static struct tl_cluster cluster;
    static struct tl_fault_plan plan;
    struct tl_cluster_config dying = *config;
    struct tl_workload workload;
    plan_deaths(o, row, &plan);
    dying.plan = &plan;
    make_workload(o, &workload);
    tl_cluster_init(&cluster, &dying, &workload);
    bool good = tl_cluster_run(&cluster, LIMIT_NS);
    struct tl_counters counters;
    tl_cluster_counters(&cluster, &counters);
    row->killed_ns = cluster.finished_ns - cluster.started_ns;
    row->killed = plan.fault_count;
    row->killed_errors = cluster.checker.errors;
    row->killed_reparented = counters.reparented;
    row->killed_reads = cluster.storage.reads;
    row->events += cluster.world.events;
    good = good || complain(&cluster, row->nodes);
    tl_cluster_fini(&cluster);
    tl_workload_fini(&workload);
    return good;
}

/* From what this model's links and storage can do. */
static void choose_forest(struct tl_cluster_config *config)
{
    const struct tl_fabric_config *f = &config->fabric;
    const struct tl_storage_config *s = &config->storage;
    const struct tl_forest_speeds speeds = {.link_bytes_per_s = 1000000000000ull / f->picoseconds_per_byte,
                                            .storage_bytes_per_s = s->targets * s->target_bytes_per_s,
                                            .hop_ns = 2 * (f->latency_ns + 2 * f->message_cpu_ns)};
    struct tl_forest forest = {.node_count = config->nodes};
    tl_forest_choose(&forest, &speeds);
    config->node.roots = forest.roots;
    config->node.arity = forest.arity;
}

/* One point. False: a checker objected. */
static bool run_point(const struct tl_curve_options *o, uint32_t nodes, struct row *row)
{
    struct tl_cluster_config config = o->config;
    struct tl_workload workload;
    *row = (struct row){.nodes = nodes};
    config.nodes = nodes;
    if (o->choose)
        choose_forest(&config);
    row->depth = depth_of(&config.node, nodes);
    row->roots = config.node.roots;
    row->arity = config.node.arity;
    uint64_t wall_ns = tl_time_mono_ns();
    make_workload(o, &workload);
    if (o->direct && workload.in_step) {
        row->direct_ns = run_direct(o, &config, false, row);
        if (o->warm)
            row->direct_warm_ns = run_direct(o, &config, true, row);
        struct tl_cluster_config one = config;
        one.nodes = 1;
        row->alone_ns = run_direct(o, &one, false, row);
    }
    tl_workload_fini(&workload);
    bool good = run_tiercel(o, &config, row);
    if (good && o->kill_percent > 0)
        good = run_with_deaths(o, &config, row);
    row->wall_ns = tl_time_mono_ns() - wall_ns;
    return good;
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

/* Time through Tiercel against the row of BASE_NODES (the first row, if there is none); 0: no other row yet. */
static double ratio_of(const struct row *rows, uint32_t count, const struct row *row)
{
    const struct row *base = &rows[0];
    for (uint32_t i = 0; i < count; i++)
        if (rows[i].nodes == BASE_NODES)
            base = &rows[i];
    return base->tiercel_ns == 0 ? 0 : (double)row->tiercel_ns / (double)base->tiercel_ns;
}

static void print_head(const struct tl_curve_options *o)
{
    const struct tl_cluster_config *c = &o->config;
    printf("Cold start of `%s`, simulated: %llu processes a node start at once, nothing is cached.\n", o->workload,
           strcmp(o->workload, "imports") == 0 ? 12ull : 1ull);
    printf("%u tree(s) of arity %u, %.0f us one way + %.0f us CPU a message and side, %.0f GB/s a NIC; storage: %llu "
           "metadata "
           "operations/s,\n%u targets of %.2f GB/s. Straight: the same programs and storage, without Tiercel.\n\n",
           c->node.roots, c->node.arity, (double)c->fabric.latency_ns / 1e3, (double)c->fabric.message_cpu_ns / 1e3,
           1000.0 / (double)c->fabric.picoseconds_per_byte, (unsigned long long)c->storage.md_ops_per_s,
           c->storage.targets, (double)c->storage.target_bytes_per_s / 1e9);
    printf("%7s %11s %11s %8s %9s %8s %8s %8s %7s %13s %6s %12s %8s\n", "nodes", "straight s", "tiercel s", "x 32",
           "speed-up", "md ops", "opens", "lists", "reads", "busiest sent", "depth", "events", "wall s");
}

static void print_row(const struct row *rows, uint32_t count, const struct row *r)
{
    printf("%7u ", r->nodes);
    if (r->direct_ns != 0)
        printf("%11.2f", seconds(r->direct_ns));
    else
        printf("%11s", "-");
    printf(" %11.3f %8.3f ", seconds(r->tiercel_ns), ratio_of(rows, count, r));
    if (r->direct_ns != 0)
        printf("%8.1fx", (double)r->direct_ns / (double)r->tiercel_ns);
    else
        printf("%9s", "-");
    printf(" %8llu %8llu %8llu %7llu %10.1f MB %6u %12llu %8.2f\n", (unsigned long long)r->md_ops,
           (unsigned long long)r->opens, (unsigned long long)r->lists, (unsigned long long)r->reads,
           (double)r->busiest_sent_bytes / 1e6, r->depth, (unsigned long long)r->events, seconds(r->wall_ns));
    fflush(stdout);
}

static void bar(char mark, uint64_t ns, uint64_t most_ns)
{
    uint32_t width = most_ns == 0 ? 0 : (uint32_t)(ns * PLOT_WIDTH / most_ns);
    for (uint32_t i = 0; i <= width; i++)
        putchar(mark);
    printf(" %.2f s\n", seconds(ns));
}

static void print_plot(const struct row *rows, uint32_t count)
{
    uint64_t most_ns = 0;
    for (uint32_t i = 0; i < count; i++) {
        most_ns = rows[i].direct_ns > most_ns ? rows[i].direct_ns : most_ns;
        most_ns = rows[i].tiercel_ns > most_ns ? rows[i].tiercel_ns : most_ns;
    }
    printf("\n");
    for (uint32_t i = 0; i < count; i++) {
        if (rows[i].direct_ns != 0) {
            printf("%7u straight ", rows[i].nodes);
            bar('=', rows[i].direct_ns, most_ns);
        }
        printf("%7u tiercel  ", rows[i].nodes);
        bar('#', rows[i].tiercel_ns, most_ns);
    }
}

static void print_verdict(const struct row *rows, uint32_t count)
{
    const struct row *last = &rows[count - 1];
    double ratio = ratio_of(rows, count, last);
    if (count < 2)
        return;
    printf(
        "\nFrom %u to %u nodes a cold start takes %.3f times as long (target: at most %.2f): %s. Storage was asked for "
        "%llu chunks, %llu times.\n",
        rows[0].nodes, last->nodes, ratio, RATIO_TARGET, ratio <= RATIO_TARGET ? "met" : "MISSED",
        (unsigned long long)last->chunks, (unsigned long long)last->reads);
}

static void print_json_more(const struct row *r)
{
    printf("\"roots\": %u, \"arity\": %u, ", r->roots, r->arity);
    printf("\"sent_bytes\": %llu, \"root_sent_bytes\": %llu, \"distinct_bytes\": %llu, \"bound_s\": %.6f, ",
           (unsigned long long)r->sent_bytes, (unsigned long long)r->root_sent_bytes,
           (unsigned long long)r->distinct_bytes, seconds(r->bound_ns));
    if (r->alone_ns != 0)
        printf("\"alone_s\": %.6f, ", seconds(r->alone_ns));
    if (r->warm_ns != 0)
        printf("\"warm_s\": %.6f, ", seconds(r->warm_ns));
    if (r->direct_warm_ns != 0)
        printf("\"straight_warm_s\": %.6f, ", seconds(r->direct_warm_ns));
    if (r->killed != 0)
        printf("\"killed\": %llu, \"killed_s\": %.6f, \"killed_errors\": %llu, \"killed_reparented\": %llu, "
               "\"killed_reads\": %llu, ",
               (unsigned long long)r->killed, seconds(r->killed_ns), (unsigned long long)r->killed_errors,
               (unsigned long long)r->killed_reparented, (unsigned long long)r->killed_reads);
}

static void print_json(const struct tl_curve_options *o, const struct row *rows, uint32_t count, bool good)
{
    const struct tl_cluster_config *c = &o->config;
    printf("{\"workload\": \"%s\", \"seed\": %llu, \"arity\": %u, \"roots\": %u, \"latency_ns\": %llu, "
           "\"message_cpu_ns\": %llu, "
           "\"picoseconds_per_byte\": %llu, \"md_ops_per_s\": %llu, \"ok\": %s,\n \"rows\": [",
           o->workload, (unsigned long long)c->seed, c->node.arity, c->node.roots,
           (unsigned long long)c->fabric.latency_ns, (unsigned long long)c->fabric.message_cpu_ns,
           (unsigned long long)c->fabric.picoseconds_per_byte, (unsigned long long)c->storage.md_ops_per_s,
           good ? "true" : "false");
    for (uint32_t i = 0; i < count; i++) {
        const struct row *r = &rows[i];
        printf("%s\n  {\"nodes\": %u, \"tiercel_s\": %.6f, \"ratio\": %.6f, ", i == 0 ? "" : ",", r->nodes,
               seconds(r->tiercel_ns), ratio_of(rows, count, r));
        if (r->direct_ns != 0)
            printf("\"straight_s\": %.6f, \"straight_md_ops\": %llu, \"straight_reads\": %llu, ", seconds(r->direct_ns),
                   (unsigned long long)r->direct_md_ops, (unsigned long long)r->direct_reads);
        print_json_more(r);
        printf("\"storage_md_ops\": %llu, \"storage_opens\": %llu, \"storage_lists\": %llu, \"storage_reads\": %llu, "
               "\"chunks\": %llu, \"busiest_sent_bytes\": %llu, \"peak_bytes\": %llu, \"depth\": %u, \"events\": %llu, "
               "\"wall_s\": %.3f, \"trace\": \"%016llx\"}",
               (unsigned long long)r->md_ops, (unsigned long long)r->opens, (unsigned long long)r->lists,
               (unsigned long long)r->reads, (unsigned long long)r->chunks, (unsigned long long)r->busiest_sent_bytes,
               (unsigned long long)r->peak_bytes, r->depth, (unsigned long long)r->events, seconds(r->wall_ns),
               (unsigned long long)r->trace);
    }
    printf("\n ]}\n");
}

int tl_curve_run(const struct tl_curve_options *o)
{
    struct row rows[TL_CURVE_POINTS_MAX];
    bool good = true;
    uint32_t count = 0;
    if (!o->json)
        print_head(o);
    while (count < o->point_count && good) {
        good = run_point(o, o->points[count], &rows[count]);
        count++;
        if (!o->json)
            print_row(rows, count, &rows[count - 1]);
    }
    if (o->json)
        print_json(o, rows, count, good);
    else if (good) {
        if (isatty(STDOUT_FILENO))
            print_plot(rows, count);
        print_verdict(rows, count);
    }
    return good ? 0 : 1;
}
