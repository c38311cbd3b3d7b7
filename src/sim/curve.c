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
    uint32_t nodes, depth;
    uint64_t direct_ns, tiercel_ns;
    uint64_t md_ops, opens, lists, reads, chunks, direct_md_ops, direct_reads;
    uint64_t busiest_sent_bytes, peak_bytes;
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
    c->node.flight_max = 64;
    c->node.waiter_max = 512;
    c->node.fetch_max = 8;
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

/* One point. False: a checker objected. */
static bool run_point(const struct tl_curve_options *o, uint32_t nodes, struct row *row)
{
    struct tl_workload workload;
    struct tl_cluster_config config = o->config;
    static struct tl_cluster cluster;
    *row = (struct row){.nodes = nodes, .depth = depth_of(&config.node, nodes)};
    config.nodes = nodes;
    uint64_t wall_ns = tl_time_mono_ns();
    check(tl_workload_by_name(&workload, o->workload));
    if (o->compute_ns != UINT64_MAX)
        workload.compute_ns = o->compute_ns;
    if (o->direct && workload.in_step) {
        struct tl_direct_result direct;
        tl_direct_run(&config, &workload, &direct);
        row->direct_ns = direct.duration_ns;
        row->direct_md_ops = direct.md_ops;
        row->direct_reads = direct.reads;
        row->events += direct.events;
        tl_workload_fini(&workload);
        check(tl_workload_by_name(&workload, o->workload));
        if (o->compute_ns != UINT64_MAX)
            workload.compute_ns = o->compute_ns;
    }
    tl_cluster_init(&cluster, &config, &workload);
    bool good = tl_cluster_run(&cluster, LIMIT_NS);
    row->tiercel_ns = cluster.finished_ns - cluster.started_ns;
    row->md_ops = cluster.storage.md_ops;
    row->opens = cluster.storage.opens;
    row->lists = cluster.storage.lists;
    row->reads = cluster.storage.reads;
    for (uint32_t id = 1; id < cluster.catalog.content_count; id++)
        row->chunks += tl_catalog_content(&cluster.catalog, id)->kind == TL_CONTENT_CHUNK;
    for (uint32_t rank = 0; rank < nodes; rank++)
        if (cluster.fabric.hosts[rank].bytes_sent > row->busiest_sent_bytes)
            row->busiest_sent_bytes = cluster.fabric.hosts[rank].bytes_sent;
    row->peak_bytes = cluster.checker.peak_bytes;
    row->events += cluster.world.events;
    row->trace = cluster.world.trace;
    if (!good)
        fprintf(stderr, "tiercel-sim: %u nodes: at %.6f s: %s\n", nodes, (double)cluster.world.violation_ns / 1e9,
                cluster.world.violation);
    tl_cluster_fini(&cluster);
    tl_workload_fini(&workload);
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
