// SPDX-License-Identifier: Apache-2.0
/* Runs scenarios. */
#include "sim/scenario.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/time.h"
#include "sim/memory.h"

#define FILE_BYTES_MAX (1u << 20)

static void take_metrics(const struct tl_cluster *c, struct tl_scenario_metrics *out)
{
    struct tl_counters n;
    tl_cluster_counters(c, &n);
    *out = (struct tl_scenario_metrics){
        .requests = c->checker.requests,
        .errors = c->checker.errors - c->checker.cancelled,
        .faults = tl_faults_fired(c),
        .struck_delay = c->fabric.fired[TL_STREAM_DELAY],
        .struck_loss = c->fabric.fired[TL_STREAM_MESSAGE_LOSS],
        .struck_refuse = c->fabric.fired[TL_STREAM_REFUSE],
        .struck_again = c->fabric.fired[TL_STREAM_AGAIN],
        .struck_lost_down = c->fabric.fired[TL_STREAM_LOST_DOWN],
        .struck_reads = c->fabric.fired[TL_STREAM_READ_FAULT],
        .struck_kill = c->faults.fired[TL_ACT_FAULT_KILL],
        .struck_start = c->faults.fired[TL_ACT_FAULT_START],
        .struck_stop = c->faults.fired[TL_ACT_FAULT_STOP],
        .struck_part = c->faults.fired[TL_ACT_FAULT_PART],
        .struck_mute = c->faults.fired[TL_ACT_FAULT_MUTE],
        .struck_hangup = c->faults.fired[TL_ACT_FAULT_HANGUP],
        .struck_slow = c->faults.fired[TL_ACT_FAULT_SLOW],
        .struck_change = c->faults.fired[TL_ACT_FAULT_CHANGE],
        .struck_remove = c->faults.fired[TL_ACT_FAULT_REMOVE],
        .struck_restore = c->faults.fired[TL_ACT_FAULT_RESTORE],
        .struck_flush = c->faults.fired[TL_ACT_FAULT_FLUSH],
        .struck_gather = c->faults.fired[TL_ACT_FAULT_GATHER],
        .coalesced = n.coalesced,
        .negative_hits = n.negative_hits,
        .peers_lost = n.peers_lost,
        .invalidations = n.invalidations,
        .bad_messages = n.bad_messages,
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
        .incomplete = c->checker.incomplete,
        .storage_reads = c->storage.reads,
        .storage_lists = c->storage.lists,
        .read_again = c->storage.doubles,
        .alone = c->checker.alone,
        .longest_wait_ms = c->checker.longest_wait_ns / TL_NS_PER_MS,
        .storage_at_once = c->storage.under_way_most,
        .children_most = c->checker.children_most,
        .finished_ms = c->finished_ns > c->started_ns ? (c->finished_ns - c->started_ns) / TL_NS_PER_MS : 0,
    };
}

static void check_expects(const struct tl_scenario *s, struct tl_scenario_result *out)
{
    uint64_t values[sizeof(struct tl_scenario_metrics) / sizeof(uint64_t)];
    memcpy(values, &out->metrics, sizeof values);
    for (uint32_t i = 0; i < s->expect_count && out->good; i++) {
        const struct tl_scenario_expect *e = &s->expects[i];
        uint64_t got = values[e->metric];
        static const char *const hows[] = {"at most", "at least", "exactly"};
        out->good = e->how == TL_EXPECT_AT_MOST    ? got <= e->value
                    : e->how == TL_EXPECT_AT_LEAST ? got >= e->value
                                                   : got == e->value;
        if (!out->good)
            snprintf(out->what, sizeof out->what, "%s is %llu, expected %s %llu", tl_scenario_metric_name(e->metric),
                     (unsigned long long)got, hows[e->how], (unsigned long long)e->value);
    }
}

static void set_workload(const struct tl_scenario *s, struct tl_workload *w)
{
    check(tl_workload_by_name(w, s->workload));
    if (s->processes != 0 && !w->in_step)
        w->processes = s->processes;
    if (s->steps != 0 && w->steps_max != 0)
        w->steps_max = s->steps;
    if (strcmp(s->workload, "files") == 0) {
        w->file_count = s->files;
        w->file_bytes = s->file_bytes;
        w->compute_ns = s->gap_ns;
    }
}

void tl_scenario_run(struct tl_scenario *s, struct tl_scenario_result *out)
{
    static struct tl_cluster cluster;
    struct tl_workload workload;
    set_workload(s, &workload);
    s->config.plan = &s->plan;
    tl_cluster_init(&cluster, &s->config, &workload);
    memset(out, 0, sizeof *out);
    out->good = tl_cluster_run(&cluster, s->limit_ns);
    out->trace = cluster.world.trace;
    out->events = cluster.world.events;
    out->end_ns = cluster.world.now_ns;
    take_metrics(&cluster, &out->metrics);
    if (!out->good)
        snprintf(out->what, sizeof out->what, "at %.6f s: %.300s", (double)cluster.world.violation_ns / 1e9,
                 cluster.world.violation);
    check_expects(s, out);
    tl_cluster_fini(&cluster);
    tl_workload_fini(&workload);
}

/* What the child wrote: the result, or the last words of one that died. */
static void take_result(int fd, pid_t pid, struct tl_scenario_result *out)
{
    char text[sizeof *out];
    size_t used = 0;
    for (ssize_t n = 1; n > 0 && used<sizeof text; used += n> 0 ? (size_t)n : 0)
        n = read(fd, text + used, sizeof text - used);
    close(fd);
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && used == sizeof *out) {
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

void tl_scenario_run_forked(struct tl_scenario *s, struct tl_scenario_result *out)
{
    int fds[2];
    memset(out, 0, sizeof *out);
    fflush(stdout);
    if (pipe(fds) != 0) {
        tl_scenario_run(s, out);
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        dup2(fds[1], STDERR_FILENO);
        close(fds[1]);
        tl_scenario_run(s, out);
        ssize_t n = write(STDERR_FILENO, out, sizeof *out);
        _exit(n == (ssize_t)sizeof *out ? 0 : 1);
    }
    close(fds[1]);
    if (pid > 0) {
        take_result(fds[0], pid, out);
        return;
    }
    close(fds[0]);
    tl_scenario_run(s, out);
}

/* ---- tiercel-sim scenario ---- */

static int read_file(const char *path, char **out, size_t *len)
{
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        fprintf(stderr, "tiercel-sim: %s: %s: name a scenario file (docs/scenarios.md)\n", path, strerror(errno));
        return -errno;
    }
    char *text = tl_sim_alloc(FILE_BYTES_MAX, 1);
    *len = fread(text, 1, FILE_BYTES_MAX, f);
    bool whole = feof(f) && !ferror(f);
    fclose(f);
    *out = text;
    if (whole)
        return 0;
    fprintf(stderr, "tiercel-sim: %s: no text, or longer than 1 MiB: name a scenario file\n", path);
    return -EINVAL;
}

static void print_metrics(const struct tl_scenario_metrics *m)
{
#define PRINT_METRIC(field, name)                                                                                      \
    if (m->field != 0)                                                                                                 \
        printf(" %s=%llu", name, (unsigned long long)m->field);
    TL_SCENARIO_METRICS(PRINT_METRIC)
#undef PRINT_METRIC
    printf("\n");
}

struct how {
    bool quiet, no_fork, plan; /* plan: print what the lab does, run nothing */
};

/* 0 holds, 1 does not, 2 is no scenario. */
static int run_file(const char *path, const struct how *how)
{
    struct tl_scenario *s = tl_sim_alloc(1, sizeof *s);
    struct tl_scenario_result result;
    struct tl_error err = {0};
    char *text = NULL;
    size_t len = 0;
    int status = 2;
    if (read_file(path, &text, &len) != 0) {
        status = 2;
    } else if (tl_scenario_parse(s, path, text, len, &err) != 0) {
        fprintf(stderr, "tiercel-sim: %s\n", err.msg);
    } else if (how->plan) {
        status = tl_scenario_print_plan(s, &err) == 0 ? 0 : 2;
        if (status != 0)
            fprintf(stderr, "tiercel-sim: %s: %s\n", path, err.msg);
    } else {
        if (!how->no_fork)
            tl_scenario_run_forked(s, &result);
        else
            tl_scenario_run(s, &result);
        status = result.good ? 0 : 1;
        printf("%s: %s%s%s\n", path, result.good ? "holds" : "FAILS", result.good ? "" : ": ", result.what);
        if (!how->quiet) {
            printf("  in it:");
            print_metrics(&result.metrics);
        }
    }
    free(text);
    free(s);
    return status;
}

int tl_scenario_main(int argc, char **argv)
{
    struct how how = {0};
    int worst = 0, files = 0;
    for (int i = 1; i < argc; i++) {
        int status = 0;
        if (strcmp(argv[i], "--quiet") == 0)
            how.quiet = true;
        else if (strcmp(argv[i], "--no-fork") == 0)
            how.no_fork = true;
        else if (strcmp(argv[i], "--plan") == 0)
            how.plan = true;
        else if (argv[i][0] == '-') {
            fprintf(stderr,
                    "tiercel-sim: scenario %s: no such option: --quiet, --no-fork or --plan (what the lab does), then "
                    "files\n",
                    argv[i]);
            return 2;
        } else {
            status = run_file(argv[i], &how);
            files++;
        }
        worst = status > worst ? status : worst;
    }
    if (files > 0)
        return worst;
    fprintf(stderr, "tiercel-sim: scenario: which? Name scenario files, as in test/scenarios/*.scn\n");
    return 2;
}
