// SPDX-License-Identifier: Apache-2.0
/* Many programs side by side: at most so many at once, each with its input and its output kept apart.
 *
 * A job is over when its process is (a pidfd says so), not when its pipes close: a daemon that it left behind may
 * hold them. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/tier.h"

#define OUTPUT_MAX  (1u << 20)
#define AT_ONCE_MAX 64

enum { FD_PROCESS, FD_IN, FD_OUT, FD_ERR, FD_COUNT };

extern char **environ;
volatile int cli_interrupted;

static void on_signal(int signo)
{
    cli_interrupted = signo;
}

void cli_signals_catch(void)
{
    struct sigaction sa = {.sa_handler = on_signal}; /* no SA_RESTART: waits end early */
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
}

uint64_t cli_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

/* ---- arguments ---- */

void cli_args_add(struct cli_args *a, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    char **v = n >= 0 ? realloc(a->v, (a->count + 2) * sizeof *v) : NULL;
    if (v == NULL) {
        if (n >= 0)
            free(text);
        a->failed = true;
        return;
    }
    v[a->count++] = text;
    v[a->count] = NULL;
    a->v = v;
}

void cli_args_fini(struct cli_args *a)
{
    for (size_t i = 0; i < a->count; i++)
        free(a->v[i]);
    free(a->v);
    *a = (struct cli_args){0};
}

char *cli_args_shell(const struct cli_args *a)
{
    size_t size = 1;
    for (size_t i = 0; i < a->count; i++)
        size += 4 * strlen(a->v[i]) + 3;
    char *line = malloc(size), *p = line;
    if (line == NULL || a->failed) {
        free(line);
        return NULL;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (i > 0)
            *p++ = ' ';
        *p++ = '\'';
        for (const char *c = a->v[i]; *c != '\0'; c++) {
            if (*c == '\'')
                p = stpcpy(p, "'\\''");
            else
                *p++ = *c;
        }
        *p++ = '\'';
    }
    *p = '\0';
    return line;
}

/* ---- one job ---- */

void cli_job_fini(struct cli_job *job)
{
    cli_args_fini(&job->args);
    free(job->out);
    free(job->err);
    *job = (struct cli_job){0};
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Starts the program with the three far ends of its pipes. 0, or an errno. */
static int spawn(struct cli_job *job, const int ends[3])
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t caught;
    sigemptyset(&caught);
    sigaddset(&caught, SIGINT);
    sigaddset(&caught, SIGTERM);
    sigaddset(&caught, SIGHUP);
    sigaddset(&caught, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    for (int i = 0; i < 3; i++)
        posix_spawn_file_actions_adddup2(&actions, ends[i], i);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setsigdefault(&attr, &caught);
    int rc = posix_spawnp(&job->pid, job->args.v[0], &actions, &attr, job->args.v, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

static void start(struct cli_job *job)
{
    int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    for (int i = 0; i < FD_COUNT; i++)
        job->fds[i] = -1;
    int rc = job->args.failed || job->args.count == 0 ? ENOMEM : 0;
    for (int i = 0; i < 3 && rc == 0; i++)
        rc = pipe2(pipes[i], O_CLOEXEC) != 0 ? errno : 0;
    if (rc == 0) {
        const int ends[3] = {pipes[0][0], pipes[1][1], pipes[2][1]};
        rc = spawn(job, ends);
    }
    close_fd(&pipes[0][0]);
    close_fd(&pipes[1][1]);
    close_fd(&pipes[2][1]);
    const int ours[3] = {pipes[0][1], pipes[1][0], pipes[2][0]};
    for (int i = 0; i < 3; i++) {
        job->fds[FD_IN + i] = ours[i];
        if (ours[i] >= 0)
            fcntl(ours[i], F_SETFL, O_NONBLOCK);
    }
    if (rc == 0)
        job->fds[FD_PROCESS] = pidfd_open(job->pid, 0);
    if (rc == 0 && job->fds[FD_PROCESS] < 0) { /* then nothing tells when it ends */
        rc = errno;
        kill(job->pid, SIGKILL);
        waitpid(job->pid, NULL, 0);
    }
    if (rc != 0) {
        job->status = -rc;
        job->pid = 0;
        for (int i = 0; i < FD_COUNT; i++)
            close_fd(&job->fds[i]);
    }
}

static void feed(struct cli_job *job)
{
    size_t len = job->input != NULL ? strlen(job->input) : 0;
    while (job->input_at < len) { /* each round writes something or leaves */
        ssize_t n = write(job->fds[FD_IN], job->input + job->input_at, len - job->input_at);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            break; /* it does not read: its exit code will say why */
        job->input_at += (size_t)n;
    }
    close_fd(&job->fds[FD_IN]);
}

static void drain(int *fd, char **text, size_t *len)
{
    char buf[4096];
    for (unsigned rounds = 0; *fd >= 0 && rounds < 2 * OUTPUT_MAX / sizeof buf; rounds++) {
        ssize_t n = read(*fd, buf, sizeof buf);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            close_fd(fd);
            return;
        }
        size_t keep = *len + (size_t)n <= OUTPUT_MAX ? (size_t)n : OUTPUT_MAX - *len;
        char *bigger = realloc(*text, *len + keep + 1);
        if (bigger == NULL)
            continue;
        memcpy(bigger + *len, buf, keep);
        *len += keep;
        bigger[*len] = '\0';
        *text = bigger;
    }
}

static void reap(struct cli_job *job)
{
    siginfo_t info = {0};
    if (waitid(P_PIDFD, (id_t)job->fds[FD_PROCESS], &info, WEXITED) != 0)
        job->status = -errno;
    else
        job->status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
    drain(&job->fds[FD_OUT], &job->out, &job->out_len);
    drain(&job->fds[FD_ERR], &job->err, &job->err_len);
    for (int i = 0; i < FD_COUNT; i++)
        close_fd(&job->fds[i]);
    job->pid = 0;
}

/* ---- all of them ---- */

static int fill_polls(struct cli_job *const running[], size_t count, struct pollfd *polls)
{
    int n = 0;
    for (size_t i = 0; i < count; i++) {
        for (int f = 0; f < FD_COUNT; f++)
            polls[n++] = (struct pollfd){.fd = running[i]->fds[f], .events = f == FD_IN ? POLLOUT : POLLIN};
    }
    return n;
}

static void handle(struct cli_job *job, const struct pollfd *p)
{
    if (p[FD_IN].revents != 0)
        feed(job);
    if (p[FD_OUT].revents != 0)
        drain(&job->fds[FD_OUT], &job->out, &job->out_len);
    if (p[FD_ERR].revents != 0)
        drain(&job->fds[FD_ERR], &job->err, &job->err_len);
    if (p[FD_PROCESS].revents != 0)
        reap(job);
}

/* Waits for something to happen and handles it. 0, -ETIMEDOUT, -ECANCELED. */
static int turn(struct cli_job *const running[], size_t count, uint64_t deadline_ms)
{
    struct pollfd polls[AT_ONCE_MAX * FD_COUNT];
    uint64_t now = cli_now_ms();
    if (cli_interrupted != 0)
        return -ECANCELED;
    if (now >= deadline_ms)
        return -ETIMEDOUT;
    uint64_t left = deadline_ms - now;
    int n = fill_polls(running, count, polls);
    if (poll(polls, (nfds_t)n, left > 60000 ? 60000 : (int)left) < 0)
        return 0; /* a signal: looked at in the next turn */
    for (size_t i = 0; i < count; i++)
        handle(running[i], polls + i * FD_COUNT);
    return 0;
}

int cli_jobs_run(struct cli_job *jobs, size_t count, size_t at_once, uint64_t deadline_ms, const char *doing,
                 struct tiercel_error *err)
{
    struct cli_job *running[AT_ONCE_MAX];
    size_t next = 0, active = 0, done = 0;
    if (at_once > AT_ONCE_MAX)
        at_once = AT_ONCE_MAX;
    void (*old_pipe)(int) = signal(SIGPIPE, SIG_IGN); /* a job that does not read its input */
    int rc = 0;
    while (rc == 0 && done < count) {
        while (next < count && active < at_once) {
            start(&jobs[next]);
            if (jobs[next].pid > 0)
                running[active++] = &jobs[next];
            else
                done++;
            next++;
        }
        cli_progress("%s: %zu of %zu", doing, done, count);
        if (active > 0)
            rc = turn(running, active, deadline_ms);
        for (size_t i = 0; i < active;) {
            if (running[i]->pid > 0) {
                i++;
                continue;
            }
            running[i] = running[--active];
            done++;
        }
    }
    cli_progress_end();
    signal(SIGPIPE, old_pipe);
    for (size_t i = 0; i < active; i++) { /* out of time: our own children, which nobody else has reaped */
        kill(-running[i]->pid, SIGKILL);
        reap(running[i]);
        running[i]->status = rc;
    }
    for (; next < count; next++)
        jobs[next].status = rc;
    if (rc == -ETIMEDOUT)
        return cli_error(err, rc, "%s: only %zu of %zu in time; give more with --timeout", doing, done, count);
    return rc < 0 ? cli_error(err, rc, "%s: interrupted after %zu of %zu", doing, done, count) : 0;
}
