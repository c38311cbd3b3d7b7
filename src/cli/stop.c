// SPDX-License-Identifier: Apache-2.0
/* Ends a tier: asks its daemons over their control sockets, waits for their processes, and insists where it must.
 *
 * A signal goes only to a process that is certain to be this tier's daemon: held by a pidfd, and then looked at
 * (command line, owner), so that a process that got a dead daemon's number is never hit. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/tier.h"

#define DAEMONS_MAX 4096
#define ASK_MS      5000
#define INSIST_MS   5000
#define SSH_AT_ONCE 32

struct daemon {
    unsigned rank;
    pid_t pid;
    int pidfd;   /* -1: ended, or never there */
    bool proven; /* it is this tier's daemon: signals are allowed */
};

/* ---- who they are ---- */

/* The beginning of a small file, with a 0 behind it; how long it is, 0: there is none. */
static size_t read_small(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

uint64_t cli_process_started(pid_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (read_small(path, text, sizeof text) == 0)
        return 0;
    const char *p = strrchr(text, ')'); /* the name may hold anything */
    for (int field = 2; p != NULL && field < 22; field++)
        p = strchr(p + 1, ' ');
    return p != NULL ? strtoull(p, NULL, 10) : 0;
}

/* Is there `option` followed by `value` among the strings of a command line? */
static bool has_option(const char *args, size_t len, const char *option, const char *value)
{
    const char *end = args + len;
    for (const char *p = args; p < end; p += strlen(p) + 1) {
        const char *next = p + strlen(p) + 1;
        if (strcmp(p, option) == 0 && next < end && strcmp(next, value) == 0)
            return true;
    }
    return false;
}

static bool is_our_daemon(const struct cli_tier *t, pid_t pid)
{
    char path[64], args[16384];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, args, sizeof args - 1) : -1;
    bool owned = fd >= 0 && fstat(fd, &st) == 0 && (st.st_uid == geteuid() || st.st_uid == 0);
    if (fd >= 0)
        close(fd);
    if (n <= 0 || !owned)
        return false;
    args[n] = '\0';
    const char *slash = strrchr(args, '/'), *base = slash != NULL ? slash + 1 : args;
    return strcmp(base, "tierceld") == 0 && has_option(args, (size_t)n, "--name", t->name) &&
           has_option(args, (size_t)n, "--runtime", t->runtime);
}

static pid_t recorded_pid(const struct cli_tier *t, unsigned rank)
{
    char path[TIERCEL_PATH_SIZE], text[32];
    struct tiercel_error ignored;
    if (cli_path(path, &ignored, "%s/node-%u.pid", t->dir, rank) < 0)
        return 0;
    if (read_small(path, text, sizeof text) == 0)
        return 0;
    long pid = strtol(text, NULL, 10);
    return pid > 1 && pid <= 1 << 22 ? (pid_t)pid : 0;
}

/* Takes hold of a process, then looks whether it is the right one. */
static bool hold(const struct cli_tier *t, struct daemon *d, pid_t pid)
{
    int fd = pid > 0 ? pidfd_open(pid, 0) : -1;
    if (fd < 0)
        return false;
    if (!is_our_daemon(t, pid)) {
        close(fd);
        return false;
    }
    d->pidfd = fd;
    d->pid = pid;
    d->proven = true;
    return true;
}

/* Ranks that have left a socket or a pid file here. */
static size_t find_daemons(const struct cli_tier *t, struct daemon *out, size_t max)
{
    DIR *dir = opendir(t->dir);
    size_t count = 0;
    const struct dirent *entry;
    while (dir != NULL && count < max && (entry = readdir(dir)) != NULL) {
        unsigned rank;
        char tail[8];
        if (sscanf(entry->d_name, "node-%u.%7s", &rank, tail) != 2 ||
            (strcmp(tail, "sock") != 0 && strcmp(tail, "pid") != 0))
            continue;
        bool known = false;
        for (size_t i = 0; i < count && !known; i++)
            known = out[i].rank == rank;
        if (!known)
            out[count++] = (struct daemon){.rank = rank, .pidfd = -1};
    }
    if (dir != NULL)
        closedir(dir);
    return count;
}

/* ---- asking, waiting, insisting ---- */

static void ask(const struct cli_tier *t, struct daemon *d)
{
    char path[TIERCEL_PATH_SIZE];
    struct tiercel_error ignored;
    struct tiercel *c = NULL;
    bool open = cli_path(path, &ignored, "%s/node-%u.sock", t->dir, d->rank) == 0 &&
                tiercel_open_socket(&c, path, ASK_MS, NULL) == 0;
    if (!hold(t, d, recorded_pid(t, d->rank)) && open && !hold(t, d, tiercel_server_pid(c))) {
        /* Not started by us, but it has the tier's socket: it may be asked and waited for, not signalled. */
        d->pid = tiercel_server_pid(c);
        d->pidfd = pidfd_open(d->pid, 0);
    }
    const char *const argv[] = {"stop", NULL};
    if (open && tiercel_call(c, argv, -1, ASK_MS, NULL, NULL, NULL, NULL) < 0 && d->proven)
        pidfd_send_signal(d->pidfd, SIGTERM, NULL, 0);
    if (!open && d->proven)
        pidfd_send_signal(d->pidfd, SIGTERM, NULL, 0);
    tiercel_close(c);
}

/* Waits until all have ended or the time is over; how many are left. */
static size_t wait_all(struct daemon *daemons, size_t count, int ms)
{
    uint64_t deadline = cli_now_ms() + (uint64_t)ms;
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        struct daemon *d = &daemons[i];
        uint64_t now = cli_now_ms();
        struct pollfd p = {.fd = d->pidfd, .events = POLLIN};
        int n = d->pidfd < 0 ? 1 : poll(&p, 1, now < deadline ? (int)(deadline - now) : 0);
        if (n <= 0) {
            left++;
            continue;
        }
        if (d->pidfd >= 0)
            close(d->pidfd);
        d->pidfd = -1;
    }
    return left;
}

static size_t insist(struct daemon *daemons, size_t count, int signo)
{
    for (size_t i = 0; i < count; i++) {
        if (daemons[i].pidfd >= 0 && daemons[i].proven)
            pidfd_send_signal(daemons[i].pidfd, signo, NULL, 0);
    }
    return wait_all(daemons, count, INSIST_MS);
}

int cli_stop_here(const struct cli_tier *t, int grace_ms, unsigned *stopped, struct tiercel_error *err)
{
    struct daemon *daemons = calloc(DAEMONS_MAX, sizeof *daemons);
    if (daemons == NULL)
        return cli_error(err, -ENOMEM, "%s: out of memory", t->dir);
    size_t count = find_daemons(t, daemons, DAEMONS_MAX), left;
    unsigned held = 0;
    for (size_t i = 0; i < count; i++) {
        ask(t, &daemons[i]);
        held += daemons[i].pidfd >= 0;
    }
    left = wait_all(daemons, count, grace_ms);
    if (left > 0) {
        cli_say("%zu of %u daemons did not end when asked; sending SIGTERM", left, held);
        left = insist(daemons, count, SIGTERM);
    }
    if (left > 0)
        left = insist(daemons, count, SIGKILL);
    int rc = 0;
    for (size_t i = 0; i < count; i++) {
        if (daemons[i].pidfd < 0)
            continue;
        rc = cli_error(err, -EBUSY, "node %u: process %d does not end%s; look at it with `ps -fp %d`", daemons[i].rank,
                       (int)daemons[i].pid,
                       daemons[i].proven ? " after SIGKILL" : ", and is not certain to be ours, so it was not killed",
                       (int)daemons[i].pid);
        close(daemons[i].pidfd);
    }
    free(daemons);
    *stopped = held;
    return rc;
}

/* ---- the other machines ---- */

static int stop_by_ssh(const struct cli_tier *t, uint64_t deadline_ms, struct tiercel_error *err)
{
    struct cli_job *jobs = calloc(t->nodes.count + 1, sizeof *jobs);
    const char **hosts = calloc(t->nodes.count + 1, sizeof *hosts);
    size_t count = 0;
    for (size_t i = 0; jobs != NULL && hosts != NULL && i < t->nodes.count; i++) {
        const char *host = t->nodes.list[i].host;
        bool again = i > 0 && strcmp(host, t->nodes.list[i - 1].host) == 0; /* several nodes of a machine */
        if (again || cli_host_is_here(host))
            continue;
        cli_remote_args(&jobs[count].args, t, host, "down", -1);
        hosts[count++] = host;
    }
    int rc = cli_jobs_run(jobs, count, SSH_AT_ONCE, deadline_ms, "stopping nodes", err);
    size_t failed = 0;
    for (size_t i = 0; i < count; i++) {
        if (jobs[i].status != 0) {
            failed++;
            cli_say("%s: cannot be reached to stop its daemon: %s", hosts[i],
                    jobs[i].err != NULL ? jobs[i].err : "no answer");
        }
        cli_job_fini(&jobs[i]);
    }
    if (rc == 0 && failed > 0)
        rc = cli_error(err, -EHOSTUNREACH,
                       "%s: daemons on %zu of %zu other machines may still be up; run `tiercel down "
                       "--here --name %s` on each",
                       t->name, failed, count, t->name);
    free(hosts);
    free(jobs);
    return rc;
}

static int stop_by_slurm(const struct cli_tier *t, uint64_t deadline_ms, struct tiercel_error *err)
{
    struct cli_job job = {0};
    cli_remote_args(&job.args, t, NULL, "down", -1);
    int rc = cli_jobs_run(&job, 1, 1, deadline_ms, "stopping the nodes' daemons", err);
    if (rc == 0 && job.status != 0)
        rc = cli_error(err, -EIO, "srun: %.600s; the daemons end with the job at the latest",
                       job.err != NULL ? job.err : "failed and gave no reason");
    cli_job_fini(&job);
    /* With its tasks gone srun ends by itself; if it does not, it is told to. */
    int fd = t->srun_pid > 0 ? pidfd_open(t->srun_pid, 0) : -1;
    if (fd >= 0 && cli_process_started(t->srun_pid) == t->srun_started) {
        struct daemon srun = {.pid = t->srun_pid, .pidfd = fd, .proven = true};
        if (wait_all(&srun, 1, rc == 0 ? INSIST_MS : 0) > 0 && insist(&srun, 1, SIGTERM) > 0)
            insist(&srun, 1, SIGKILL);
    } else if (fd >= 0) {
        close(fd);
    }
    return rc;
}

int cli_stop(struct cli_tier *t, bool here_only, enum cli_clear clear, int grace_ms, struct tiercel_error *err)
{
    int elsewhere = 0, here;
    unsigned stopped = 0;
    uint64_t deadline = cli_now_ms() + (uint64_t)grace_ms + 4 * INSIST_MS;
    if (!here_only && t->launcher == CLI_SSH)
        elsewhere = stop_by_ssh(t, deadline, err);
    if (!here_only && t->launcher == CLI_SLURM)
        elsewhere = stop_by_slurm(t, deadline, err);
    here = cli_stop_here(t, grace_ms, &stopped, err);
    if (here == 0 && elsewhere == 0)
        here = cli_tier_clear(t, clear, err);
    return elsewhere < 0 ? elsewhere : here;
}

/* ---- what a tier leaves in shared memory ---- */

void cli_trees_remove(const char *tier, const char *which)
{
    extern char **environ;
    char path[TIERCEL_PATH_SIZE], remove[] = "remove", option[16];
    char *argv[] = {path, remove, option, NULL};
    struct tiercel_error err = {0};
    pid_t child;
    if (cli_helper("tiercel-tree", path, &err) < 0)
        return; /* then nobody has made any */
    snprintf(option, sizeof option, "%s", which);
    setenv("TIERCEL_NAME", tier, 1);
    if (posix_spawn(&child, path, NULL, NULL, argv, environ) != 0)
        return;
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        continue;
}
