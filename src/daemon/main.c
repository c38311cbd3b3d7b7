// SPDX-License-Identifier: Apache-2.0
/* tierceld: start and stop. Whatever fails at start is said in one sentence, on standard error, and nothing stays behind. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/time.h"
#include "daemon/daemon.h"

void tl_log(const char *level, const char *fmt, ...)
{
    char text[1024];
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    fprintf(stderr, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s %s\n", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
            tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec / 1000000, level, text);
}

/* In the parent: waits until the child is ready or has given up, and exits accordingly. The child goes on. */
static int go_to_background(struct tl_error *err)
{
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) != 0)
        return tl_error_set(err, -errno, "pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        return tl_error_set(err, -errno, "fork: %s", strerror(errno));
    if (pid > 0) {
        char ok = 0;
        close(pipe_fds[1]);
        ssize_t got = read(pipe_fds[0], &ok, 1);
        _exit(got == 1 ? 0 : 1);
    }
    close(pipe_fds[0]);
    setsid();
    return pipe_fds[1];
}

static int open_log(const struct tl_options *o, struct tl_error *err)
{
    if (o->log[0] == 0)
        return 0;
    int fd = open(o->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        return tl_error_set(err, -errno, "log file %s: %s", o->log, strerror(errno));
    close(fd);
    return 0;
}

static int open_signals(struct tl_daemon *d, struct tl_error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes holds for the cache's memory, too: an error, not the end */
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return tl_error_set(err, -errno, "signals: %s", strerror(errno));
    d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    int rc = d->signal_fd < 0 ? -errno : tl_loop_watch(d, d->signal_fd, TL_WATCH_SIGNAL, 0, EPOLLIN);
    return rc == 0 ? 0 : tl_error_set(err, rc, "signals: %s", strerror(-rc));
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void tl_daemon_write_pid(struct tl_daemon *d)
{
    snprintf(d->pid_path, sizeof d->pid_path, "%s/node-%u.pid", d->options.runtime, d->options.rank);
    int fd = open(d->pid_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return; /* a convenience: `down` asks over the socket first */
    dprintf(fd, "%d\n", (int)getpid());
    close(fd);
}

/* Listings are malloc'd by workers and freed by the loop: few heaps, and large blocks of their own, so that what is freed goes back. */
static void keep_heap_small(void)
{
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    mallopt(M_TRIM_THRESHOLD, 256 << 10);
}

static int start(struct tl_daemon *d, struct tl_error *err)
{
    keep_heap_small();
    d->started_ns = tl_time_mono_ns();
    d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (d->epoll_fd < 0)
        return tl_error_set(err, -errno, "epoll: %s", strerror(errno));
    raise_file_limit();
    tl_fronts_init(d);
    int rc = tl_kept_take(d, err);
    if (rc == 0)
        rc = open_signals(d, err);
    if (rc == 0)
        rc = tl_control_open(d, err);
    if (rc == 0)
        rc = tl_drive_open(d, err);
    if (rc == 0)
        tl_values_start(d);
    if (rc == 0)
        rc = tl_metrics_open(d, err);
    if (rc == 0)
        rc = tl_loop_watch(d, tl_source_fd(d->source), TL_WATCH_SOURCE, 0, EPOLLIN);
    if (rc == 0)
        rc = tl_fronts_take_over(d, err);
    if (rc == 0)
        rc = tl_fronts_watch(d, err);
    if (rc != 0 && err->code == 0)
        tl_error_set(err, rc, "epoll: %s", strerror(-rc));
    if (rc == 0 && d->options.keeper_fd < 0)
        tl_daemon_write_pid(d);
    return rc;
}

/* Mounts go first, so that no program is left with a mount that nobody answers. */
static void stop(struct tl_daemon *d)
{
    if (d->source != NULL && !d->restarting)
        tl_fronts_close(d);
    tl_control_close(d);
    free(d->locals);
    tl_metrics_close(d);
    tl_timeline_free(&d->timeline);
    if (d->pid_path[0] != 0)
        unlink(d->pid_path);
    tl_drive_close(d);
    if (d->mounts_fd >= 0)
        close(d->mounts_fd);
    if (d->signal_fd >= 0)
        close(d->signal_fd);
    if (d->epoll_fd >= 0)
        close(d->epoll_fd);
    tl_keys_wipe(d);
    tl_options_fini(&d->options);
}

/* The starter's input and output are not ours any more: who waits for their end must see it. */
static void let_go_of_starter(const struct tl_options *o)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return;
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    if (o->log[0] == 0)
        dup2(null, STDERR_FILENO);
    close(null);
}

struct starter {
    const struct tl_options *options;
    int background_fd; /* to the process that was started; -1: that is us */
};

static void announce(void *ctx)
{
    const struct starter *s = ctx;
    if (s->options->ready_fd >= 0) {
        dprintf(s->options->ready_fd, "ready\n");
        close(s->options->ready_fd);
    }
    if (s->background_fd < 0)
        return;
    let_go_of_starter(s->options);
    if (write(s->background_fd, "1", 1) != 1)
        tl_log("warning", "the starter is gone");
    close(s->background_fd);
}

/* In the keeper: the log is its, too. */
static void announce_kept(void *ctx)
{
    const struct starter *s = ctx;
    struct tl_error err;
    if (open_log(s->options, &err) != 0)
        fprintf(stderr, "tierceld: %s\n", err.msg);
    announce(ctx);
}

static void log_start(const struct tl_daemon *d)
{
    const struct tl_options *o = &d->options;
    tl_log("info", "tierceld %s started tier=%s rank=%u nodes=%u address=%s transport=%s cache=%llu restarts=%u",
           TIERCEL_VERSION, o->tier, o->rank, o->node_count, o->addresses[o->rank], d->net->ops->name,
           (unsigned long long)o->cache_size_bytes, d->restarts);
}

static int serve(struct tl_daemon *d, struct starter *starter, struct tl_error *err)
{
    int rc = start(d, err);
    if (rc == 0)
        rc = open_log(&d->options,
                      err); /* what went wrong before is told to the starter; of a restart, the log has all */
    if (rc != 0)
        return rc;
    log_start(d);
    if (d->options.keeper_fd >= 0 && d->options.daemonise)
        let_go_of_starter(&d->options);
    if (d->options.keeper_fd < 0)
        announce(starter);
    tl_kept_ready(d);
    return tl_loop_run(d, err);
}

int main(int argc, char **argv)
{
    static struct tl_daemon daemon = {.epoll_fd = -1, .signal_fd = -1, .listen_fd = -1, .mounts_fd = -1};
    struct starter starter = {.options = &daemon.options, .background_fd = -1};
    struct tl_error err = {0};
    bool done = false;
    int rc = tl_options_parse(&daemon.options, argc, argv, &done, &err);
    if (done)
        return 0;
    if (rc == 0 && daemon.options.daemonise && daemon.options.keeper_fd < 0) {
        starter.background_fd = go_to_background(&err);
        rc = starter.background_fd < 0 ? starter.background_fd : 0;
    }
    if (rc == 0 && daemon.options.keeper)
        return tl_keeper_run(&daemon.options, argc, argv, announce_kept, &starter);
    if (rc == 0)
        rc = serve(&daemon, &starter, &err);
    if (rc != 0)
        fprintf(stderr, "tierceld: %s\n", err.msg);
    stop(&daemon);
    return rc == 0 ? 0 : rc == -EPROTO && daemon.may_refuse ? TL_EXIT_REFUSED : 1;
}
