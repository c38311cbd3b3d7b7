// SPDX-License-Identifier: Apache-2.0
/* tiercel-sim: the curve of a cold start, and seeds. Run by `tiercel sim`. */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/time.h"
#include "sim/curve.h"
#include "sim/seeds.h"

#define NODES_MAX       100000u
#define FRESH_PAGES_MIN (200 << 10)

static const char usage[] =
    "Usage: tiercel-sim [--nodes N] [--workload imports|stream] [OPTION]...   the curve of a cold start\n"
    "       tiercel-sim seeds [--from N] [--count N] [--nodes N] [OPTION]...  faults, by seed\n"
    "       tiercel-sim scenario [--quiet] FILE...                            faults, as written in files "
    "(docs/scenarios.md)\n"
    "\n"
    "The curve: the same programs on 32, 128, 512, ... nodes, straight at a busy parallel file system and through\n"
    "Tiercel. The nodes run Tiercel's own protocol code; network, storage and programs are models.\n"
    "  --nodes N            nodes of the last point (10624)\n"
    "  --curve N,N,...      these points instead\n"
    "  --workload NAME      imports: 728 files, 36.3 MB, 12 processes a node (Copper paper); stream: one file of 256 "
    "MB\n"
    "  --arity K            children of a node in the tree (the daemon's default)\n"
    "  --choose             roots and arity of each point as the daemon chooses them\n"
    "  --roots R            over which the keys are spread (1)\n"
    "  --groups G           groups of nodes that are near each other (none)\n"
    "  --latency-us N       of the network, one way (30)\n"
    "  --cpu-us N           processor time of a message, at each side (15)\n"
    "  --bandwidth-gbs N    of a node's NIC, each way (25)\n"
    "  --md-ops N           metadata operations a second at storage (20000)\n"
    "  --compute-ms N       processor time of one program (imports: 2000, the paper's warm start)\n"
    "  --seed N             of every draw (1)\n"
    "  --skew-ms N          programs start within this time (100)\n"
    "  --warm               and a second start, of programs whose nodes hold what the first one read\n"
    "  --kill-percent N     and a start during which so many of the daemons die (--json shows it)\n"
    "  --no-straight        leave out the case without Tiercel\n"
    "  --profile            the tier is told what the programs will read when they start (tiercel warm)\n"
    "  --json               for scripts\n"
    "From the paper: files, bytes, processes a node, warm start, 160 object targets, 650 GB/s. Chosen: everything "
    "else.\n"
    "\n"
    "seeds: small clusters, each broken in another way; prints failing seeds with the command that reruns them.\n"
    "  --from N --count N   seeds (1, 200)\n"
    "  --nodes N            of each cluster (31)\n"
    "  --faults LIST        all, none, or classes: delay,loss,... ; -CLASS takes one away, as in all,-crash.\n"
    "                       Without it each class is off in half of the seeds\n"
    "  --workload NAME      random, imports, stream or files (random)\n"
    "  --shrink             make a failing seed a scenario with as few faults, nodes and requests as still fail\n"
    "  --shrink-dir DIR     and write it there\n"
    "  --json               only the summary, for scripts\n"
    "  --plant NAME         plant a bug, to see the checkers find it\n"
    "  --no-fork            all in one process, for a debugger\n"
    "  --traces             print each seed's trace hash: what one compiler builds must do what another builds does\n"
    "  --list               print fault classes and plants\n";

enum option_id {
    OPT_HELP = 1,
    OPT_NODES,
    OPT_CURVE,
    OPT_WORKLOAD,
    OPT_ARITY,
    OPT_ROOTS,
    OPT_CHOOSE,
    OPT_GROUPS,
    OPT_LATENCY,
    OPT_CPU,
    OPT_BANDWIDTH,
    OPT_MD_OPS,
    OPT_COMPUTE,
    OPT_SEED,
    OPT_NO_STRAIGHT,
    OPT_SKEW,
    OPT_WARM,
    OPT_KILL,
    OPT_PROFILE,
    OPT_JSON,
    OPT_FROM,
    OPT_COUNT,
    OPT_FAULTS,
    OPT_SHRINK,
    OPT_SHRINK_DIR,
    OPT_PLANT,
    OPT_NO_FORK,
    OPT_LIST,
    OPT_TRACES,
};

static int fail(const char *option, const char *value, const char *remedy)
{
    fprintf(stderr, "tiercel-sim: --%s %s: %s\n", option, value, remedy);
    return -EINVAL;
}

/* A whole number from min to max. 0, or -EINVAL with a sentence printed. */
static int parse_number(const char *option, const char *value, uint64_t min, uint64_t max, uint64_t *out)
{
    char *end = NULL, remedy[100];
    errno = 0;
    unsigned long long n = strtoull(value, &end, 10);
    if (errno != 0 || end == value || *end != 0 || value[0] == '-' || n < min || n > max) {
        snprintf(remedy, sizeof remedy, "give a whole number from %llu to %llu", (unsigned long long)min,
                 (unsigned long long)max);
        return fail(option, value, remedy);
    }
    *out = n;
    return 0;
}

static int parse_number32(const char *option, const char *value, uint32_t min, uint32_t max, uint32_t *out)
{
    uint64_t n = 0;
    int status = parse_number(option, value, min, max, &n);
    if (status == 0)
        *out = (uint32_t)n;
    return status;
}

static int parse_curve(const char *value, struct tl_curve_options *o)
{
    char copy[512];
    if (strlen(value) >= sizeof copy)
        return fail("curve", value, "too long: give at most 32 numbers of nodes");
    memcpy(copy, value, strlen(value) + 1);
    o->point_count = 0;
    char *save = NULL;
    for (char *word = strtok_r(copy, ",", &save); word != NULL; word = strtok_r(NULL, ",", &save)) {
        if (o->point_count == TL_CURVE_POINTS_MAX)
            return fail("curve", value, "too long: give at most 32 numbers of nodes");
        int status = parse_number32("curve", word, 1, NODES_MAX, &o->points[o->point_count]);
        if (status != 0)
            return status;
        o->point_count++;
    }
    return o->point_count > 0 ? 0 : fail("curve", value, "give numbers of nodes, as in 32,512,8192");
}

static int parse_plant(const char *value, enum tl_plant *out)
{
#define PLANT_PARSE(id, name, what)                                                                                    \
    if (strcmp(value, name) == 0)                                                                                      \
        *out = TL_PLANT_##id;                                                                                          \
    else
    TL_PLANTS(PLANT_PARSE)
#undef PLANT_PARSE
    return fail("plant", value, "no such bug: --list shows them");
    return 0;
}

static int parse_workload(const char *value, bool seeds, const char **out)
{
    struct tl_workload w;
    if (!tl_workload_by_name(&w, value))
        return fail("workload", value, "no such workload: imports, stream, random or files");
    if (!seeds && !w.in_step)
        return fail("workload", value, "only for seeds: take imports or stream");
    *out = w.name;
    return 0;
}

static void list(void)
{
    printf("Fault classes (--faults):\n");
#define FAULT_LINE(id, name, what) printf("  %-16s %s\n", name, what);
    TL_FAULT_CLASSES(FAULT_LINE)
#undef FAULT_LINE
    printf("Plants (--plant):\n");
#define PLANT_LINE(id, name, what) printf("  %-16s %s\n", name, what);
    TL_PLANTS(PLANT_LINE)
#undef PLANT_LINE
}

static const struct option curve_options[] = {
    {"help", no_argument, NULL, OPT_HELP},
    {"nodes", required_argument, NULL, OPT_NODES},
    {"curve", required_argument, NULL, OPT_CURVE},
    {"workload", required_argument, NULL, OPT_WORKLOAD},
    {"arity", required_argument, NULL, OPT_ARITY},
    {"roots", required_argument, NULL, OPT_ROOTS},
    {"groups", required_argument, NULL, OPT_GROUPS},
    {"choose", no_argument, NULL, OPT_CHOOSE},
    {"latency-us", required_argument, NULL, OPT_LATENCY},
    {"cpu-us", required_argument, NULL, OPT_CPU},
    {"bandwidth-gbs", required_argument, NULL, OPT_BANDWIDTH},
    {"md-ops", required_argument, NULL, OPT_MD_OPS},
    {"compute-ms", required_argument, NULL, OPT_COMPUTE},
    {"seed", required_argument, NULL, OPT_SEED},
    {"no-straight", no_argument, NULL, OPT_NO_STRAIGHT},
    {"json", no_argument, NULL, OPT_JSON},
    {"skew-ms", required_argument, NULL, OPT_SKEW},
    {"warm", no_argument, NULL, OPT_WARM},
    {"kill-percent", required_argument, NULL, OPT_KILL},
    {"profile", no_argument, NULL, OPT_PROFILE},
    {0},
};

static int curve_option(int id, const char *value, struct tl_curve_options *o, uint32_t *nodes)
{
    struct tl_cluster_config *c = &o->config;
    uint64_t n = 0;
    int status = 0;
    switch ((enum option_id)id) {
    case OPT_NODES: return parse_number32("nodes", value, 1, NODES_MAX, nodes);
    case OPT_CURVE: return parse_curve(value, o);
    case OPT_WORKLOAD: return parse_workload(value, false, &o->workload);
    case OPT_ARITY: return parse_number32("arity", value, 1, TL_FOREST_ARITY_MAX, &c->node.arity);
    case OPT_ROOTS: return parse_number32("roots", value, 1, TL_FOREST_ROOTS_MAX, &c->node.roots);
    case OPT_GROUPS: return parse_number32("groups", value, 1, NODES_MAX, &c->groups);
    case OPT_LATENCY:
        status = parse_number("latency-us", value, 1, 1000000, &n);
        c->fabric.latency_ns = n * TL_NS_PER_US;
        c->fabric.jitter_ns = c->fabric.latency_ns / 10;
        return status;
    case OPT_CPU:
        status = parse_number("cpu-us", value, 0, 1000000, &n);
        c->fabric.message_cpu_ns = n * TL_NS_PER_US;
        return status;
    case OPT_BANDWIDTH:
        status = parse_number("bandwidth-gbs", value, 1, 1000, &n);
        c->fabric.picoseconds_per_byte = status == 0 ? 1000 / n : 1;
        return status;
    case OPT_MD_OPS: return parse_number("md-ops", value, 1, 1000000000, &c->storage.md_ops_per_s);
    case OPT_COMPUTE:
        status = parse_number("compute-ms", value, 0, 3600000, &n);
        o->compute_ns = n * TL_NS_PER_MS;
        return status;
    case OPT_SEED: return parse_number("seed", value, 0, UINT64_MAX, &c->seed);
    case OPT_NO_STRAIGHT: o->direct = false; return 0;
    case OPT_PROFILE: c->profile = true; return 0;
    case OPT_JSON: o->json = true; return 0;
    case OPT_SKEW:
        status = parse_number("skew-ms", value, 0, 3600000, &n);
        c->start_skew_ns = n * TL_NS_PER_MS;
        return status;
    case OPT_CHOOSE: o->choose = true; return 0;
    case OPT_WARM: o->warm = true; return 0;
    case OPT_KILL: return parse_number32("kill-percent", value, 0, 9, &o->kill_percent);
    default: return -EINVAL;
    }
}

static int rest_is_empty(int argc, char **argv)
{
    if (optind >= argc)
        return 0;
    fprintf(stderr, "tiercel-sim: %s: what is this? `tiercel-sim --help` shows the options\n", argv[optind]);
    return -EINVAL;
}

static int main_curve(int argc, char **argv)
{
    static struct tl_curve_options o;
    uint32_t nodes = 10624; /* Aurora, the paper's machine */
    tl_curve_options_default(&o);
    for (int id; (id = getopt_long(argc, argv, "h", curve_options, NULL)) != -1;) {
        if (id == OPT_HELP || id == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (curve_option(id, optarg, &o, &nodes) != 0)
            return 2;
    }
    if (rest_is_empty(argc, argv) != 0)
        return 2;
    if (o.point_count == 0)
        tl_curve_points_default(&o, nodes);
    return tl_curve_run(&o);
}

static const struct option seeds_options[] = {
    {"help", no_argument, NULL, OPT_HELP},
    {"from", required_argument, NULL, OPT_FROM},
    {"count", required_argument, NULL, OPT_COUNT},
    {"nodes", required_argument, NULL, OPT_NODES},
    {"faults", required_argument, NULL, OPT_FAULTS},
    {"workload", required_argument, NULL, OPT_WORKLOAD},
    {"shrink", no_argument, NULL, OPT_SHRINK},
    {"plant", required_argument, NULL, OPT_PLANT},
    {"no-fork", no_argument, NULL, OPT_NO_FORK},
    {"list", no_argument, NULL, OPT_LIST},
    {"traces", no_argument, NULL, OPT_TRACES},
    {"json", no_argument, NULL, OPT_JSON},
    {"shrink-dir", required_argument, NULL, OPT_SHRINK_DIR},
    {0},
};

static int seeds_option(int id, const char *value, struct tl_seeds_options *o)
{
    const char *bad = NULL;
    switch ((enum option_id)id) {
    case OPT_FROM: return parse_number("from", value, 0, UINT64_MAX / 2, &o->from);
    case OPT_COUNT: return parse_number("count", value, 1, 1000000000, &o->count);
    case OPT_NODES: return parse_number32("nodes", value, 1, NODES_MAX, &o->nodes);
    case OPT_FAULTS:
        o->swarm = false;
        return tl_faults_parse(value, &o->classes, &bad) == 0 ? 0
                                                              : fail("faults", bad, "no such class: --list shows them");
    case OPT_WORKLOAD: return parse_workload(value, true, &o->workload);
    case OPT_SHRINK: o->shrink = true; return 0;
    case OPT_SHRINK_DIR:
        o->shrink = true;
        o->shrink_dir = value;
        return 0;
    case OPT_JSON: o->json = true; return 0;
    case OPT_PLANT: return parse_plant(value, &o->plant);
    case OPT_NO_FORK: o->no_fork = true; return 0;
    case OPT_TRACES: o->traces = true; return 0;
    default: return -EINVAL;
    }
}

static int main_seeds(int argc, char **argv)
{
    struct tl_seeds_options o;
    tl_seeds_options_default(&o);
    for (int id; (id = getopt_long(argc, argv, "h", seeds_options, NULL)) != -1;) {
        if (id == OPT_HELP || id == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (id == OPT_LIST) {
            list();
            return 0;
        }
        if (seeds_option(id, optarg, &o) != 0)
            return 2;
    }
    if (rest_is_empty(argc, argv) != 0)
        return 2;
    return tl_seeds_run(&o) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    /* Large tables always come from fresh pages, so that what a node never touches costs no memory. */
    mallopt(M_MMAP_THRESHOLD, FRESH_PAGES_MIN);
    if (argc > 1 && strcmp(argv[1], "seeds") == 0)
        return main_seeds(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "scenario") == 0)
        return tl_scenario_main(argc - 1, argv + 1);
    return main_curve(argc, argv);
}
