// SPDX-License-Identifier: Apache-2.0
/* Waiting until a tier is ready: on the daemons' word (`wait-ready`), never on a clock. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "cli/tier.h"

#define REFUSALS_MAX      100
#define REFUSAL_MS        20
#define MISSING_NAMED_MAX 8
#define TAILS_MAX         3
#define TAIL_LINES        5

static int time_left(uint64_t deadline_ms)
{
    uint64_t now = cli_now_ms();
    return now >= deadline_ms ? 0 : deadline_ms - now > INT_MAX ? INT_MAX : (int)(deadline_ms - now);
}

static int on_progress(void *ctx, const char *json)
{
    size_t *nodes = ctx;
    if (cli_interrupted != 0)
        return 1;
    json_t *p = json != NULL ? json_loads(json, 0, NULL) : NULL;
    if (p != NULL)
        cli_progress("%llu of %zu nodes ready", (unsigned long long)cli_json_u64(p, "ready_nodes"), *nodes);
    json_decref(p);
    return 0;
}

/* ---- who is missing ---- */

static void name_missing(const struct cli_tier *t, json_t *status, struct tiercel_error *err)
{
    char names[512] = "";
    size_t missing = 0, used = 0, index;
    json_t *member;
    json_array_foreach(json_object_get(status, "members"), index, member)
    {
        if (strcmp(cli_json_text(member, "state"), "up") == 0)
            continue;
        unsigned long long rank = cli_json_u64(member, "rank");
        if (missing++ < MISSING_NAMED_MAX && used < sizeof names)
            used += (size_t)snprintf(names + used, sizeof names - used, "%srank %llu (%.100s)", missing > 1 ? ", " : "",
                                     rank, cli_json_text(member, "address"));
        char log[TIERCEL_PATH_SIZE];
        struct tiercel_error ignored;
        if (missing <= TAILS_MAX && cli_path(log, &ignored, "%s/node-%llu.log", t->dir, rank) == 0 &&
            access(log, R_OK) == 0) {
            cli_say("rank %llu: the end of %s:", rank, log);
            cli_show_tail(log, TAIL_LINES);
        }
    }
    if (missing > 0)
        cli_error(err, -ETIMEDOUT,
                  "%s: %zu of %zu nodes not ready in time: %s%s; read their logs (%s/node-RANK.log on "
                  "each machine), or give more time with --timeout",
                  t->name, missing, t->nodes.count, names, missing > MISSING_NAMED_MAX ? ", ..." : "", t->dir);
}

static void explain_timeout(const struct cli_tier *t, const char *socket, struct tiercel_error *err)
{
    struct tiercel *c;
    char *text = NULL;
    const char *const argv[] = {"status", NULL};
    if (tiercel_open_socket(&c, socket, 2000, NULL) < 0)
        return;
    if (tiercel_call(c, argv, -1, 2000, NULL, NULL, &text, NULL) == 0) {
        json_t *status = json_loads(text, 0, NULL);
        cli_error(err, -ETIMEDOUT,
                  "%s: not ready in time, though all %zu nodes are up; look at `tiercel status`, or give "
                  "more time with --timeout",
                  t->name, t->nodes.count);
        name_missing(t, status, err);
        json_decref(status);
        tiercel_free(text);
    }
    tiercel_close(c);
}

/* ---- one daemon ---- */

/* Connects to a daemon that is just starting: between its bind and its listen connections are refused, and nothing tells
 * when that is over. */
static int connect_early(struct tiercel **out, const char *socket, uint64_t deadline_ms, struct tiercel_error *err)
{
    int rc = -ECONNREFUSED;
    for (int i = 0; i < REFUSALS_MAX && rc == -ECONNREFUSED && cli_interrupted == 0; i++) {
        if (i > 0)
            poll(NULL, 0, REFUSAL_MS);
        rc = tiercel_open_socket(out, socket, time_left(deadline_ms), err);
    }
    return rc;
}

static int wait_on(const struct cli_tier *t, const char *socket, uint64_t deadline_ms, struct tiercel_error *err)
{
    struct tiercel *c;
    int rc = connect_early(&c, socket, deadline_ms, err);
    if (rc < 0)
        return rc;
    int left = time_left(deadline_ms);
    char ms[16];
    size_t nodes = t->nodes.count;
    snprintf(ms, sizeof ms, "%d", left);
    const char *const argv[] = {"wait-ready", ms, NULL};
    rc = tiercel_call(c, argv, -1, left + 2000, on_progress, &nodes, NULL,
                      err); /* the daemon's own timeout comes first */
    tiercel_close(c);
    cli_progress_end();
    if (rc == -ETIMEDOUT)
        explain_timeout(t, socket, err);
    return rc;
}

/* srun has ended before any daemon could listen: what it said is in its log. */
static int step_over(const struct cli_tier *t, struct tiercel_error *err)
{
    char log[TIERCEL_PATH_SIZE];
    int rc = cli_path(log, err, "%s/srun.log", t->dir);
    if (rc < 0)
        return rc;
    cli_say("the end of %s:", log);
    cli_show_tail(log, TAIL_LINES);
    return cli_error(err, -EIO, "%s: the Slurm step with the daemons has ended at once; its words above say why",
                     t->name);
}

/* Waits until a node's socket is in the directory; its rank, -ETIMEDOUT, or another error. The watch is set before the
 * first look, so that nothing is missed. */
static int first_rank(const struct cli_tier *t, uint64_t deadline_ms, struct tiercel_error *err)
{
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0 || inotify_add_watch(fd, t->dir, IN_CREATE | IN_MOVED_TO) < 0) {
        int code = errno;
        if (fd >= 0)
            close(fd);
        return cli_error(err, -code, "%s: cannot be watched: %s", t->dir, strerror(code));
    }
    int rc = -ETIMEDOUT, srun = t->srun_pid > 0 ? pidfd_open(t->srun_pid, 0) : -1;
    for (;;) { /* bounded by the deadline */
        unsigned rank;
        char events[4096];
        int n = tiercel_local_ranks(t->dir, &rank, 1, err);
        if (n != 0) {
            rc = n < 0 ? n : (int)rank;
            break;
        }
        struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = srun, .events = POLLIN}};
        int left = time_left(deadline_ms);
        if (cli_interrupted != 0)
            rc = cli_error(err, -ECANCELED, "%s: interrupted while its nodes started", t->name);
        if (left == 0 || cli_interrupted != 0)
            break;
        if (poll(p, 2, left) > 0 && p[1].revents != 0) {
            rc = step_over(t, err);
            break;
        }
        if (p[0].revents != 0 && read(fd, events, sizeof events) < 0 && errno != EAGAIN)
            break;
    }
    close(fd);
    if (srun >= 0)
        close(srun);
    if (rc == -ETIMEDOUT)
        cli_error(err, rc, "%s: no daemon has begun to listen on this machine in time; read the logs in %s", t->name,
                  t->dir);
    return rc;
}

int cli_ready_here(const struct cli_tier *t, uint64_t deadline_ms, struct tiercel_error *err)
{
    int rank = first_rank(t, deadline_ms, err);
    char path[TIERCEL_PATH_SIZE];
    int rc = rank < 0 ? rank : cli_path(path, err, "%s/node-%d.sock", t->dir, rank);
    return rc < 0 ? rc : wait_on(t, path, deadline_ms, err);
}

/* Is this machine one of the tier's? */
static bool is_member(const struct cli_tier *t)
{
    const char *slurm_name = getenv("SLURMD_NODENAME");
    unsigned rank;
    if (t->launcher == CLI_LOCAL || tiercel_local_ranks(t->dir, &rank, 1, NULL) > 0)
        return true;
    for (size_t i = 0; i < t->nodes.count; i++) {
        const char *host = t->nodes.list[i].host;
        bool named = t->launcher == CLI_SLURM && slurm_name != NULL && strcmp(host, slurm_name) == 0;
        if (named || cli_host_is_here(host))
            return true;
    }
    return false;
}

/* Nobody of the tier is here (an ssh front end, salloc on a login node): `tiercel wait` on the first node tells. */
static int ready_there(const struct cli_tier *t, uint64_t deadline_ms, struct tiercel_error *err)
{
    struct cli_job job = {0};
    const char *host = t->nodes.list[0].host;
    cli_remote_args(&job.args, t, host, "wait", time_left(deadline_ms));
    int rc = cli_jobs_run(&job, 1, 1, deadline_ms + 5000, "waiting for the nodes", err);
    if (rc == 0 && job.status != 0)
        rc = cli_error(err, -ETIMEDOUT, "%s: not ready in time, as seen from %s: %.600s", t->name, host,
                       job.err != NULL ? job.err : "no reason given");
    cli_job_fini(&job);
    return rc;
}

int cli_ready(const struct cli_tier *t, uint64_t deadline_ms, struct tiercel_error *err)
{
    return is_member(t) ? cli_ready_here(t, deadline_ms, err) : ready_there(t, deadline_ms, err);
}
