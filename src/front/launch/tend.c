// SPDX-License-Identifier: Apache-2.0
/* See tend.h. The processes talk once: the supervisor tells the launcher that all is ready, and who the command is; the launcher
 * lets the command begin; the reaper tells how it ended. */
#include "front/launch/tend.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_UNKNOWN 125

/* To the launcher. */
struct news {
    enum { READY, FAILED, ENDED } kind;
    pid_t command;
    int status; /* as wait(2) has it */
    struct tl_error err;
};

static bool tell(int fd, const struct news *news)
{
    return write(fd, news, sizeof *news) == (ssize_t)sizeof *news; /* less than a pipe's buffer: in one piece */
}

static bool hear(int fd, struct news *news)
{
    ssize_t n;
    do
        n = read(fd, news, sizeof *news);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof *news;
}

/* ---- the command ---- */

/* Does its part and waits for the launcher's word. 0 or does not return. */
static int become_command(const struct tl_tend *t, int channel, int go, int news_fd, const sigset_t *mask)
{
    struct news news = {.kind = FAILED};
    char word;
    ssize_t n;
    if (t->child != NULL && t->child(t->ctx, channel, &news.err) != 0) {
        tell(news_fd, &news);
        _exit(EXIT_UNKNOWN);
    }
    close(news_fd);
    do
        n = read(go, &word, 1);
    while (n < 0 && errno == EINTR);
    if (n != 1)
        _exit(EXIT_UNKNOWN); /* who could tell has said why */
    close(go);
    close(channel);
    sigprocmask(SIG_SETMASK, mask, NULL);
    return 0;
}

/* ---- the supervisor and the reaper ---- */

/* Leaves the caller's session, terminal and descriptors; signals are blocked already. */
static void detach(const char *name, int keep_a, int keep_b)
{
    setsid();
    prctl(PR_SET_NAME, name);
    int low = keep_a < keep_b ? keep_a : keep_b, high = keep_a < keep_b ? keep_b : keep_a;
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; null >= 0 && fd <= 2; fd++)
        dup2(null, fd);
    if (low > 3)
        (void)close_range(3, (unsigned)low - 1, 0);
    if (high > low + 1)
        (void)close_range((unsigned)low + 1, (unsigned)high - 1, 0);
    (void)close_range((unsigned)high + 1, ~0u, 0);
    (void)!chdir("/"); /* else that folder stays busy: no harm */
}

static _Noreturn void reap(pid_t command, int news_fd)
{
    for (;;) { /* until the last descendant has ended */
        int status;
        pid_t pid = waitpid(-1, &status, 0);
        if (pid < 0 && errno == ECHILD)
            _exit(0);
        if (pid == command) {
            struct news news = {.kind = ENDED, .command = pid, .status = status};
            tell(news_fd, &news);
            close(news_fd);
        }
    }
}

/* Returns in the command only. born: tells the supervisor who that is. */
static int become_reaper(const struct tl_tend *t, int channel, int born, int news_fd, int go, const sigset_t *mask)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t command = fork();
    if (command == 0) {
        close(born);
        return become_command(t, channel, go, news_fd, mask);
    }
    (void)!write(born, &command, sizeof command);
    if (command < 0)
        _exit(EXIT_UNKNOWN);
    detach("tiercel-reap", news_fd, news_fd);
    reap(command, news_fd);
}

static _Noreturn void work(const struct tl_tend *t, pid_t reaper, int channel, int born, int news_fd)
{
    struct news news = {.kind = FAILED, .command = -1};
    ssize_t n;
    do
        n = read(born, &news.command, sizeof news.command);
    while (n < 0 && errno == EINTR);
    int rc = n == (ssize_t)sizeof news.command && news.command > 0
                 ? 0
                 : tl_error_set(&news.err, -EAGAIN, "cannot start the command: too many processes, or no memory");
    close(born);
    detach("tiercel-tend", channel, news_fd);
    if (rc == 0)
        rc = t->start(t->ctx, channel, &news.err);
    close(channel);
    news.kind = rc == 0 ? READY : FAILED;
    if (rc == 0 || news.err.code != 0) /* else the command has told */
        tell(news_fd, &news);
    close(news_fd);
    if (rc != 0 && news.command > 0)
        kill(news.command, SIGKILL);
    while (waitpid(reaper, NULL, 0) < 0 && errno == EINTR)
        continue;
    if (t->end != NULL)
        t->end(t->ctx);
    _exit(0);
}

/* Returns in the command only. */
static int supervise(const struct tl_tend *t, int news_fd, int go, const sigset_t *mask)
{
    struct news news = {.kind = FAILED};
    int channel[2], born[2];
    bool ok = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) == 0 && pipe2(born, O_CLOEXEC) == 0;
    pid_t reaper = ok ? fork() : -1;
    if (reaper == 0) {
        close(channel[0]);
        close(born[0]);
        return become_reaper(t, channel[1], born[1], news_fd, go, mask);
    }
    if (reaper < 0) {
        tl_error_set(&news.err, -errno, "cannot start the supervisor: %s", strerror(errno));
        tell(news_fd, &news);
        _exit(EXIT_UNKNOWN);
    }
    close(born[1]);
    close(channel[1]);
    close(go);
    work(t, reaper, channel[0], born[0], news_fd);
}

/* ---- the launcher ---- */

static _Noreturn void end_as(int status)
{
    if (WIFSIGNALED(status)) {
        int sig = WTERMSIG(status);
        struct rlimit none = {0, 0};
        sigset_t set;
        setrlimit(RLIMIT_CORE, &none); /* the command has dumped its own */
        signal(sig, SIG_DFL);
        sigemptyset(&set);
        sigaddset(&set, sig);
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        raise(sig);
        _exit(128 + sig);
    }
    _exit(WEXITSTATUS(status));
}

static void say_killed(void)
{
    static const char words[] =
        "tiercel: the process that supervises the command was killed: paths that it served may be "
        "missing, calls may fail\n";
    (void)!write(STDERR_FILENO, words, sizeof words - 1);
}

/* Nobody can tell how the command ends. It may go on. */
static _Noreturn void end_without(int command)
{
    struct pollfd p = {.fd = command, .events = POLLIN};
    while (command >= 0 && poll(&p, 1, -1) < 0 && errno == EINTR)
        continue;
    _exit(EXIT_UNKNOWN);
}

/* A signal typed at the terminal has reached the command already. */
static void pass_on(int signals, int command)
{
    struct signalfd_siginfo info;
    if (read(signals, &info, sizeof info) != (ssize_t)sizeof info)
        return;
    if (info.ssi_code != SI_KERNEL)
        syscall(SYS_pidfd_send_signal, command, (int)info.ssi_signo, NULL, 0);
    else if (info.ssi_signo == SIGTSTP)
        raise(SIGSTOP);
}

static _Noreturn void launcher(int news_fd, int signals, int command, int supervisor)
{
    struct news news;
    for (;;) { /* as long as the command runs */
        struct pollfd fds[3] = {
            {.fd = news_fd, .events = POLLIN}, {.fd = signals, .events = POLLIN}, {.fd = supervisor, .events = POLLIN}};
        if (poll(fds, 3, -1) < 0)
            continue;
        if (fds[1].revents != 0)
            pass_on(signals, command);
        if (fds[0].revents != 0 && hear(news_fd, &news) && news.kind == ENDED)
            end_as(news.status);
        if (fds[2].revents != 0) { /* before the command: it was killed */
            say_killed();
            supervisor = -1;
        }
        if (fds[0].revents != 0)
            end_without(command);
    }
}

/* All that may be passed on. What a process does to itself (SIGSEGV...) stays. */
static void forwarded(sigset_t *set)
{
    static const int own[] = {SIGSEGV, SIGBUS,  SIGFPE,  SIGILL,  SIGTRAP, SIGSYS,
                              SIGABRT, SIGCHLD, SIGTTOU, SIGTTIN, SIGPIPE};
    sigfillset(set);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        sigdelset(set, own[i]);
}

static int cannot(struct tl_error *err, int code)
{
    return tl_error_set(err, -code, "cannot start the command's supervisor: %s", strerror(code));
}

int tl_tend_split(const struct tl_tend *t, struct tl_error *err)
{
    int news_fds[2], go[2];
    sigset_t set, all, mask;
    struct news news;
    if (pipe2(news_fds, O_CLOEXEC) != 0)
        return cannot(err, errno);
    if (pipe2(go, O_CLOEXEC) != 0) {
        close(news_fds[0]);
        close(news_fds[1]);
        return cannot(err, errno);
    }
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &mask);
    pid_t pid = fork();
    if (pid == 0) {
        close(news_fds[0]);
        close(go[1]);
        return supervise(t, news_fds[1], go[0], &mask);
    }
    int fork_error = errno;
    close(news_fds[1]);
    close(go[0]);
    bool heard = pid > 0 && hear(news_fds[0], &news);
    int command = heard && news.kind == READY ? (int)syscall(SYS_pidfd_open, news.command, 0) : -1;
    if (command < 0) { /* the command ends when it finds go closed, the supervisor after it */
        close(go[1]);
        close(news_fds[0]);
        while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            continue;
        sigprocmask(SIG_SETMASK, &mask, NULL);
        if (!heard || news.kind != FAILED)
            return cannot(err, pid < 0 ? fork_error : ESRCH);
        return tl_error_set(err, news.err.code != 0 ? news.err.code : -EIO, "%s", news.err.msg);
    }
    forwarded(&set);
    int signals = signalfd(-1, &set, SFD_CLOEXEC);
    sigprocmask(SIG_SETMASK, &set, NULL);
    if (write(go[1], "g", 1) != 1)
        end_without(command);
    close(go[1]);
    launcher(news_fds[0], signals, command, (int)syscall(SYS_pidfd_open, pid, 0));
}
