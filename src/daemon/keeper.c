// SPDX-License-Identifier: Apache-2.0
/* The keeper's life; see keeper.h. One thread that sleeps in poll().
 *
 * When a daemon dies, the next one is started at once, unless daemons die young: then after a pause that doubles, and after too
 * many of them not at all. A crash counts as young for longer than a kill from outside, since a fault comes again. */
#include "daemon/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/time.h"
#include "daemon/daemon.h"

#define YOUNG_KILLED_NS  (250 * TL_NS_PER_MS)
#define YOUNG_CRASHED_NS (10000 * TL_NS_PER_MS)
#define YOUNG_MAX        12 /* in a row: with the pauses, about 4 s */
#define PAUSE_FIRST_MS   20
#define PAUSE_MAX_MS     1000
#define WINDOW_NS        (300000 * TL_NS_PER_MS)
#define WINDOW_MAX       300  /* daemons in a window, however they end */
#define STOP_MS          4000 /* between SIGTERM and SIGKILL */
#define REAP_MS          300  /* for the status of a daemon whose main thread has ended */

struct held {
    int fds[2]; /* -1: none */
    char *text;
};

struct keeper {
    const struct tl_options *o;
    char self[PATH_MAX], program[PATH_MAX]; /* what we are, and what is started */
    char **args;                            /* the daemon's; [0] is `program` */
    char rank[12], input[12], link_fds[32]; /* values of its options */
    char pid_path[4200], socket_path[4200];
    int input_fd; /* memfd: key and node list */
    int signal_fd, mender_fds[2], mender_pid;
    struct held held[TL_KEEPER_HOLDS];
    /* the daemon */
    int pid, pid_fd, link;
    uint64_t started_ns, ready_ns; /* ready_ns 0: not yet */
    bool restart_asked, refused, fallback;
    bool gone;      /* the main thread has ended */
    bool was_ready; /* any daemon ever */
    uint32_t restarts;
    int last_signal;
    bool last_crashed;
    bool blame; /* a daemon crashed while it served, and none has served since */
    uint64_t died_ns;
    int young;
    uint64_t recent[WINDOW_MAX]; /* when the last ones were started */
    bool stopping;
    uint64_t kill_ns; /* when SIGKILL is due; 0: not */
    void (*announce)(void *ctx);
    void *announce_ctx;
};

/* ---- what is held ---- */

static void let_go(struct held *h)
{
    for (int i = 0; i < 2; i++) {
        if (h->fds[i] >= 0)
            close(h->fds[i]);
        h->fds[i] = -1;
    }
    free(h->text);
    h->text = NULL;
}

static int hand_over(struct keeper *k)
{
    int rc = 0;
    for (uint32_t id = 0; rc == 0 && id < TL_KEEPER_HOLDS; id++) {
        struct tl_keeper_message m = {.word = TL_KEEPER_HOLD, .id = id};
        snprintf(m.text, sizeof m.text, "%s", k->held[id].text != NULL ? k->held[id].text : "");
        if (k->held[id].fds[0] >= 0)
            rc = tl_keeper_send(k->link, &m, k->held[id].fds[0], k->held[id].fds[1]);
    }
    const struct tl_keeper_message begin = {.word = TL_KEEPER_BEGIN,
                                            .restarts = k->restarts,
                                            .signal = k->last_signal,
                                            .crashed = k->blame,
                                            .fallback = k->fallback,
                                            .died_ns = k->died_ns};
    return rc != 0 ? rc : tl_keeper_send(k->link, &begin, -1, -1);
}

/* ---- starting a daemon ---- */

/* The command line again, and what is different for a daemon that has a keeper: later options win. */
static int make_args(struct keeper *k, int argc, char **argv)
{
    k->args = calloc((size_t)argc + 16, sizeof *k->args);
    if (k->args == NULL)
        return -ENOMEM;
    int n = 0;
    k->args[n++] = k->program;
    for (int i = 1; i < argc; i++)
        k->args[n++] = argv[i];
    static char rank[] = "--rank", nodes[] = "--nodes", dash[] = "-", key_fd[] = "--key-fd", link[] = "--keeper-fds";
    snprintf(k->rank, sizeof k->rank, "%u", k->o->rank);
    snprintf(k->input, sizeof k->input, "%d", k->input_fd);
    char *const more[] = {rank, k->rank, nodes, dash, key_fd, k->input, link, k->link_fds};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
        k->args[n++] = more[i];
    return 0;
}

/* Key and node list, as a launcher gives them over ssh: the files they came from may be gone by the next time. */
static int make_input(struct keeper *k)
{
    k->input_fd = memfd_create("tierceld-input", MFD_CLOEXEC);
    FILE *f = k->input_fd < 0 ? NULL : fdopen(dup(k->input_fd), "w");
    if (f == NULL)
        return -errno;
    for (size_t i = 0; i < sizeof k->o->key; i++)
        fprintf(f, "%02x", k->o->key[i]);
    if (k->o->key_expires_s != 0) /* a daemon of an earlier release knows no such keys */
        fprintf(f, " %llu", (unsigned long long)k->o->key_expires_s);
    fputc('\n', f);
    fputs(k->o->nodes_text, f);
    bool failed = ferror(f) != 0;
    return fclose(f) != 0 || failed ? -ENOSPC : 0;
}

static _Noreturn void become_daemon(struct keeper *k, int link)
{
    snprintf(k->link_fds, sizeof k->link_fds, "%d,%d", link, k->mender_fds[1]);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    const int passed[] = {link, k->mender_fds[1], k->input_fd};
    for (size_t i = 0; i < sizeof passed / sizeof passed[0]; i++)
        fcntl(passed[i], F_SETFD, 0);
    execv(k->program, k->args);
    fprintf(stderr, "tierceld: %s cannot be started: %s\n", k->program, strerror(errno));
    _exit(TL_EXIT_REFUSED);
}

static int start_daemon(struct keeper *k)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return -errno;
    lseek(k->input_fd, 0, SEEK_SET);
    memmove(k->recent + 1, k->recent, sizeof k->recent - sizeof k->recent[0]);
    k->recent[0] = k->started_ns = tl_time_mono_ns();
    k->ready_ns = 0;
    k->restart_asked = k->gone = false;
    k->pid = fork();
    if (k->pid == 0) {
        close(ends[0]);
        become_daemon(k, ends[1]);
    }
    int rc = k->pid < 0 ? -errno : 0;
    close(ends[1]);
    k->link = ends[0];
    if (rc != 0)
        return rc;
    /* The main thread's end is the daemon's: another one may hang in the kernel until the next daemon serves it (Linux 6.9). */
    k->pid_fd = pidfd_open(k->pid, O_EXCL);
    if (k->pid_fd < 0)
        k->pid_fd = pidfd_open(k->pid, 0);
    rc = hand_over(k);
    if (rc != 0)
        tl_log("error", "cannot hand the mounts over: %s", strerror(-rc));
    return 0; /* a daemon that died meanwhile is noticed as usual */
}

/* ---- what a daemon says ---- */

static void write_pid(const struct keeper *k)
{
    int fd = open(k->pid_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return; /* a convenience: `down` asks over the socket first */
    dprintf(fd, "%d\n", (int)getpid());
    close(fd);
}

static void take_ready(struct keeper *k)
{
    k->ready_ns = tl_time_mono_ns();
    k->fallback = k->blame = false;
    if (k->was_ready) {
        tl_log("info", "the daemon serves again pid=%d after_ms=%llu restarts=%u", k->pid,
               (unsigned long long)((k->ready_ns - k->died_ns) / TL_NS_PER_MS), k->restarts);
        return;
    }
    k->was_ready = true;
    write_pid(k);
    k->announce(k->announce_ctx);
    k->mender_pid = tl_mender_start(k->mender_fds[0]);
    close(k->mender_fds[0]);
    k->mender_fds[0] = -1;
}

static void take_word(struct keeper *k, const struct tl_keeper_message *m, int fds[2])
{
    struct held *h = &k->held[m->id % TL_KEEPER_HOLDS];
    switch ((enum tl_keeper_word)m->word) {
    case TL_KEEPER_HOLD:
        let_go(h);
        memcpy(h->fds, fds, sizeof h->fds);
        h->text = m->text[0] != 0 ? strdup(m->text) : NULL;
        return;
    case TL_KEEPER_DROP: let_go(h); break;
    case TL_KEEPER_READY: take_ready(k); break;
    case TL_KEEPER_RESTART:
        k->restart_asked = true;
        if (m->text[0] != 0) {
            snprintf(k->program, sizeof k->program, "%s", m->text);
            k->fallback = strcmp(k->program, k->self) != 0;
        }
        break;
    case TL_KEEPER_BEGIN: break; /* ours to say */
    }
}

/* All that waits. The socket's end is not the daemon's: that is pid_fd's. */
static void hear(struct keeper *k)
{
    struct tl_keeper_message m;
    int fds[2];
    struct pollfd p = {.fd = k->link, .events = POLLIN};
    while (k->link >= 0 && poll(&p, 1, 0) > 0) {
        int rc = tl_keeper_receive(k->link, &m, fds);
        if (rc == 0) {
            take_word(k, &m, fds);
        } else if (rc != -EPROTO) {
            close(k->link);
            k->link = -1;
        }
    }
}

/* ---- the end of a daemon ---- */

/* Its status: 0 and *status set; -ETIMEDOUT: it has ended, but cannot be reaped yet. */
static int reap(struct keeper *k, int *status)
{
    for (int ms = 0; ms <= REAP_MS; ms += 2) {
        if (waitpid(k->pid, status, WNOHANG) == k->pid)
            return 0;
        poll(NULL, 0, 2);
    }
    return -ETIMEDOUT;
}

static bool too_many(struct keeper *k, uint64_t now)
{
    uint64_t lived = k->ready_ns != 0 ? now - k->ready_ns : 0;
    bool young = lived < (k->last_crashed ? YOUNG_CRASHED_NS : YOUNG_KILLED_NS);
    k->young = young ? k->young + 1 : 0;
    uint64_t first = k->recent[WINDOW_MAX - 1];
    if (k->young < YOUNG_MAX && (first == 0 || now - first > WINDOW_NS))
        return false;
    tl_log("error", "daemons die too fast (%d young ones in a row, %u in all): giving up; the mounts end", k->young,
           k->restarts + 1);
    return true;
}

/* -1: start another one, after *pause_ms; else the exit code of the program. */
static int judge(struct keeper *k, int *pause_ms)
{
    int status = 0, rc = reap(k, &status), late;
    while (waitpid(-1, &late, WNOHANG) > 0) /* earlier ones that could not be reaped then */
        continue;
    uint64_t now = tl_time_mono_ns();
    bool exited = rc == 0 && WIFEXITED(status);
    int code = exited ? WEXITSTATUS(status) : 0;
    k->last_signal = rc == 0 && WIFSIGNALED(status) ? WTERMSIG(status) : rc == 0 ? 0 : SIGKILL;
    k->last_crashed = exited ? code != 0 : k->last_signal != SIGKILL && k->last_signal != SIGTERM;
    k->died_ns = now;
    *pause_ms = 0;
    if (!k->was_ready || (exited && code == 0 && !k->restart_asked) || k->stopping)
        return exited ? code : 1;
    if (k->fallback && !k->restart_asked) {
        tl_log("error", "%s cannot go on with what is served: going on with the one before", k->program);
        snprintf(k->program, sizeof k->program, "%s", k->self);
        k->fallback = k->last_crashed = false;
    } else if (k->restart_asked && exited && code == 0) {
        tl_log("info", "restarting on request program=%s", k->program);
        k->last_crashed = false;
    } else {
        if (too_many(k, now))
            return 1;
        tl_log("error", "the daemon died pid=%d %s=%d restarts=%u; starting another one", k->pid,
               exited ? "exit" : "signal", exited ? code : k->last_signal, k->restarts + 1);
    }
    if (k->ready_ns != 0)
        k->blame = k->last_crashed;
    for (int i = 2; i < k->young && *pause_ms < PAUSE_MAX_MS; i++)
        *pause_ms = *pause_ms == 0 ? PAUSE_FIRST_MS : *pause_ms * 2;
    k->restarts++;
    return -1;
}

/* ---- running ---- */

static void take_signal(struct keeper *k)
{
    struct signalfd_siginfo info;
    if (read(k->signal_fd, &info, sizeof info) != (ssize_t)sizeof info)
        return;
    k->stopping = true;
    if (k->pid > 0 && !k->gone)
        kill(k->pid, (int)info.ssi_signo);
    if (k->kill_ns == 0)
        k->kill_ns = tl_time_mono_ns() + STOP_MS * TL_NS_PER_MS;
}

/* Until the daemon has ended. */
static void watch(struct keeper *k)
{
    while (!k->gone) {
        struct pollfd p[3] = {{.fd = k->pid_fd, .events = POLLIN},
                              {.fd = k->link, .events = POLLIN},
                              {.fd = k->signal_fd, .events = POLLIN}};
        uint64_t now = tl_time_mono_ns();
        int ms = k->kill_ns == 0 ? -1 : k->kill_ns <= now ? 0 : (int)((k->kill_ns - now) / TL_NS_PER_MS) + 1;
        int n = poll(p, 3, ms);
        if (n == 0 && k->kill_ns != 0) {
            tl_log("error", "the daemon does not end: killing it pid=%d", k->pid);
            kill(k->pid, SIGKILL);
            k->kill_ns = 0;
        }
        if (n <= 0)
            continue;
        if (p[1].revents != 0 || p[0].revents != 0)
            hear(k); /* its last words count */
        if (p[2].revents != 0)
            take_signal(k);
        k->gone = p[0].revents != 0;
    }
    close(k->pid_fd);
    if (k->link >= 0)
        close(k->link);
    k->link = k->pid_fd = -1;
}

/* A pause that a signal to stop ends. */
static void rest(struct keeper *k, int ms)
{
    uint64_t until = tl_time_mono_ns() + (uint64_t)(unsigned)ms * TL_NS_PER_MS;
    for (uint64_t now = 0; !k->stopping && now < until; now = tl_time_mono_ns()) {
        struct pollfd p = {.fd = k->signal_fd, .events = POLLIN};
        if (poll(&p, 1, now == 0 ? ms : (int)((until - now) / TL_NS_PER_MS) + 1) > 0)
            take_signal(k);
    }
}

static int prepare(struct keeper *k, int argc, char **argv)
{
    ssize_t len = readlink("/proc/self/exe", k->self, sizeof k->self - 1);
    int rc = len < 0 ? -errno : 0;
    memcpy(k->program, k->self, sizeof k->self);
    snprintf(k->pid_path, sizeof k->pid_path, "%s/node-%u.pid", k->o->runtime, k->o->rank);
    snprintf(k->socket_path, sizeof k->socket_path, "%s/node-%u.sock", k->o->runtime, k->o->rank);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    k->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (rc == 0 && (k->signal_fd < 0 || pipe2(k->mender_fds, O_CLOEXEC) != 0))
        rc = -errno;
    if (rc == 0)
        rc = make_input(k);
    return rc != 0 ? rc : make_args(k, argc, argv);
}

/* Whatever is held ends with it: programs get ENOTCONN, and the mender takes the mounts away. */
static void end(struct keeper *k)
{
    for (uint32_t id = 0; id < TL_KEEPER_HOLDS; id++)
        let_go(&k->held[id]);
    if (k->was_ready) {
        unlink(k->pid_path);
        unlink(k->socket_path);
    }
    for (int i = 0; i < 2; i++)
        if (k->mender_fds[i] >= 0)
            close(k->mender_fds[i]);
    while (k->mender_pid > 0 && waitpid(k->mender_pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    free(k->args);
}

int tl_keeper_run(const struct tl_options *o, int argc, char **argv, void (*announce)(void *ctx), void *ctx)
{
    static struct keeper k;
    k = (struct keeper){.o = o, .announce = announce, .announce_ctx = ctx, .pid_fd = -1, .link = -1, .input_fd = -1};
    for (uint32_t id = 0; id < TL_KEEPER_HOLDS; id++)
        k.held[id] = (struct held){.fds = {-1, -1}};
    k.mender_fds[0] = k.mender_fds[1] = -1;
    prctl(PR_SET_NAME, "tierceld-keeper");
    int rc = prepare(&k, argc, argv), code = -1;
    while (rc == 0 && code < 0) { /* until one ends well, or too many die */
        int pause_ms = 0;
        rc = start_daemon(&k);
        if (rc != 0)
            break;
        watch(&k);
        code = judge(&k, &pause_ms);
        if (code < 0)
            rest(&k, pause_ms);
        if (k.stopping && code < 0)
            code = 0;
    }
    if (rc != 0)
        fprintf(stderr, "tierceld: cannot start the daemon: %s\n", strerror(-rc));
    end(&k);
    return rc != 0 ? 1 : code;
}
