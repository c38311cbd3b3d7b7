// SPDX-License-Identifier: Apache-2.0
/* Rung "fault": the command is started in trees in shared memory, and a supervisor fills what it opens. See fault.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "front/launch/fault.h"
#include "front/launch/preload.h"
#include "front/launch/rung.h"
#include "front/launch/tend.h"

/* ---- the probe ---- */

/* What Yama, if there is one, wants of who looks into processes: '0' nothing, '1' to be their ancestor, more: privileges. */
static char ptrace_scope(void)
{
    char scope = '0';
    int fd = open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, &scope, 1) != 1)
        scope = '0';
    if (fd >= 0)
        close(fd);
    return scope == '0' && getenv("TIERCEL_SUPERVISOR_IS_PARENT") != NULL ? '1' : scope; /* for tests */
}

static int may_look(struct tl_error *err)
{
    char scope = ptrace_scope();
    if (scope <= '1')
        return 0;
    return tl_error_set(err, -EPERM,
                        "programs may not be looked into: sysctl kernel.yama.ptrace_scope is %c; an administrator can "
                        "set it to 1 or 0",
                        scope);
}

static int trial(struct tl_error *err)
{
    int fd = tl_filter_install(err);
    return fd < 0 ? fd : 0; /* this process makes no call any more that the filter would hand over */
}

int tl_rung_fault_probe(struct tl_error *err)
{
    int rc = tl_tree_probe(err);
    if (rc == 0)
        rc = may_look(err);
    return rc != 0 ? rc : tl_rung_try(trial, err);
}

/* ---- the supervisor's start ---- */

/* Leaves the session, terminal and descriptors of who started it: its end is the programs' end, nothing else's. */
static void detach(int socket)
{
    setsid();
    prctl(PR_SET_NAME, "tiercel-fault");
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; null >= 0 && fd <= 2; fd++)
        dup2(null, fd);
    if (socket > 3)
        (void)close_range(3, (unsigned)socket - 1, 0);
    (void)close_range((unsigned)socket + 1, ~0u, 0);
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_IGN);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(0077);
    (void)!chdir("/");
}

static _Noreturn void run_supervisor(struct tl_supervised *s, int socket)
{
    struct tl_error err = {.code = 0};
    int listener = -1, ignored = -1;
    detach(socket);
    int rc = tl_hear_prepare(&s->hear, &err);
    bool told = send(socket, &err, sizeof err, MSG_NOSIGNAL) == (ssize_t)sizeof err;
    if (rc != 0 || !told || tl_fds_receive(socket, &listener, &ignored) != 0)
        _exit(1);
    close(socket);
    tl_hear_begin(&s->hear, listener);
    tl_hear_wait_for_the_end(&s->hear);
    _exit(0);
}

/* Nobody's child: the command must not find a child it did not make. */
static int fork_supervisor(struct tl_supervised *s, int sockets[2], struct tl_error *err)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        pid_t own = fork();
        if (own == 0) {
            close(sockets[0]);
            run_supervisor(s, sockets[1]);
        }
        _exit(own > 0 ? 0 : 1);
    }
    close(sockets[1]);
    if (pid < 0)
        return tl_error_set(err, -errno, "cannot start the process that fills files: %s", strerror(errno));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    struct tl_error outcome = {.code = -EIO};
    ssize_t n = recv(sockets[0], &outcome, sizeof outcome, MSG_WAITALL);
    if (n != (ssize_t)sizeof outcome)
        return tl_error_set(err, -EIO, "the process that fills files ended at once; try again");
    outcome.msg[sizeof outcome.msg - 1] = '\0';
    return outcome.code == 0 ? 0 : tl_error_set(err, outcome.code, "%s", outcome.msg);
}

/* From the filter on there is no way back: without its supervisor no call of this process works. */
static int hand_over(int socket, struct tl_error *err)
{
    int listener = tl_filter_install(err);
    if (listener < 0)
        return listener;
    int rc = tl_fds_send(socket, listener, -1);
    close(listener);
    if (rc != 0) {
        static const char sorry[] = "tiercel: the process that fills files has gone; try again\n";
        (void)!write(2, sorry, sizeof sorry - 1);
        _exit(125);
    }
    return 0;
}

static int supervise_aside(struct tl_supervised *s, struct tl_error *err)
{
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
        return tl_error_set(err, -errno, "cannot start the process that fills files: %s", strerror(errno));
    int rc = fork_supervisor(s, sockets, err);
    if (rc == 0)
        rc = hand_over(sockets[0], err);
    close(sockets[0]);
    return rc;
}

/* ---- the supervisor as an ancestor of all it supervises, where Yama wants that: tend.h ---- */

static int child_of_supervisor(void *ctx, int channel, struct tl_error *err)
{
    (void)ctx;
    return hand_over(channel, err);
}

static int start_above(void *ctx, int channel, struct tl_error *err)
{
    struct tl_supervised *s = ctx;
    int listener = -1, ignored = -1, rc = tl_fds_receive(channel, &listener, &ignored);
    if (rc != 0)
        return tl_error_set(err, rc, "cannot start what fills files: %s", strerror(-rc));
    rc = tl_hear_prepare(&s->hear, err);
    if (rc == 0)
        tl_hear_begin(&s->hear, listener);
    return rc;
}

static int supervise_from_above(struct tl_supervised *s, struct tl_error *err)
{
    const struct tl_tend tend = {.child = child_of_supervisor, .start = start_above, .ctx = s};
    return tl_tend_split(&tend, err);
}

/* ---- the rung ---- */

/* Whether permission bits do not bind us: then content that is absent could be read, as zeros. */
static bool sees_everything(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct have[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (geteuid() == 0 || syscall(SYS_capget, &head, have) != 0)
        return true; /* root without capabilities gets them with an exec */
    return (have[0].effective & (1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH)) != 0;
}

static int open_trees(const struct tl_launch *l, struct tl_supervised *s, bool *complete, struct tl_error *err)
{
    int rc = 0;
    *complete = true;
    for (; rc == 0 && s->count < l->plan.count; s->count += rc == 0) {
        const struct tl_launch_mount *m = &l->plan.mounts[s->count];
        struct tl_tree **t = &s->trees[s->count];
        if (m->plain)
            return tl_error_set(err, -EAGAIN, "%s: a plain mount is made with FUSE only", m->point);
        rc = tl_tree_open(t, l->plan.socket, m->point, err);
        if (rc == 0 && sees_everything() && !tl_tree_is_complete(*t)) {
            rc = tl_tree_fill(*t, NULL, NULL, err);
            if (rc != 0)
                tl_tree_close(*t);
        }
        *complete = *complete && rc == 0 && tl_tree_is_complete(*t);
    }
    return rc;
}

static bool is_listed(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *s = list; *s != '\0';) {
        size_t len = strcspn(s, ":");
        if (len == n && strncmp(s, word, n) == 0)
            return true;
        s += len + (s[len] == ':');
    }
    return false;
}

/* A launch within a launch: whether the supervisor that we are under fills these trees. The variable alone may have come from
 * afar, with a batch job for example; that there is a supervisor shows in that there can be no other. */
static bool is_supervised(const struct tl_supervised *s)
{
    const char *prefixes = getenv("TIERCEL_PREFIX");
    struct tl_error err;
    for (size_t i = 0; i < s->count; i++)
        if (prefixes == NULL || !is_listed(prefixes, tl_tree_prefix(s->trees[i])))
            return false;
    return tl_rung_try(trial, &err) == -EBUSY;
}

int tl_rung_fault_enter(struct tl_launch *l, struct tl_error *err)
{
    static struct tl_supervised s; /* the supervisor's threads use it to the end */
    bool complete;
    char **command = l->command;
    s.hear.answer = tl_fault_answer;
    s.hear.ctx = &s;
    if (!l->named)
        return tl_error_set(err, -EAGAIN, "the program would be started at another path; use --how fault if it may be");
    int rc = may_look(err);
    if (rc == 0)
        rc = open_trees(l, &s, &complete, err);
    if (rc == 0 && !is_supervised(&s))
        rc = ptrace_scope() == '0' ? supervise_aside(&s, err) : supervise_from_above(&s, err);
    if (rc == 0)
        rc = tl_rewrite(&command, s.trees, &l->plan, err);
    if (rc == 0)
        l->command = command;
#if defined(__x86_64__)
    if (rc == 0)
        tl_preload_spare();
#endif
    while (s.count > 0)
        tl_tree_close(s.trees[--s.count]);
    return rc;
}
