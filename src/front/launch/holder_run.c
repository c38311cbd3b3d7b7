// SPDX-License-Identifier: Apache-2.0
/* The life of a holder process.
 *
 * It needs the daemon and says so by keeping a connection to it open: when that closes, the daemon is gone. If another one has
 * taken the mounts over, the holder goes on with that. Else it takes them away, so that programs still running find the plain
 * directories at the same paths, and ends. The namespaces themselves live as long as a process is in them. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "front/launch/launch.h"

#define DAEMONS_MAX 64 /* that may die while one is asked */

struct holder {
    const struct tl_plan *plan;
    const char *socket_name; /* in dir_fd */
    int dir_fd, ready_fd;
    int control_fd, listen_fd, signal_fd;
    struct tl_spaces spaces;
    size_t mounted;
};

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* Closes everything inherited but these: a pipe's reader must not wait for our end of it. */
static void close_others(int a, int b)
{
    int keep[2] = {a, b};
    unsigned from = 3;
    qsort(keep, 2, sizeof keep[0], by_number);
    for (int i = 0; i < 2; i++) {
        if ((unsigned)keep[i] > from)
            (void)close_range(from, (unsigned)keep[i] - 1, 0);
        from = (unsigned)keep[i] + 1;
    }
    (void)close_range(from, ~0u, 0);
}

/* Leaves the session, terminal and descriptors of who started it. */
static void detach(struct holder *h)
{
    setsid();
    prctl(PR_SET_NAME, "tiercel-holder");
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; null >= 0 && fd <= 2; fd++)
        dup2(null, fd);
    close_others(h->dir_fd, h->ready_fd);
    sigset_t set;
    sigfillset(&set);
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_SETMASK, &set, NULL);
    h->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    umask(0077);
}

/* Listens before the mounts are made: the folder may lie below one of them. */
static int start_listening(struct holder *h, struct tl_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", h->dir_fd, h->socket_name);
    (void)unlinkat(h->dir_fd, h->socket_name, 0); /* what a killed holder left; we have the lock */
    h->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (h->listen_fd < 0 || bind(h->listen_fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(h->listen_fd, 512) != 0)
        return tl_error_set(err, -errno, "cannot listen on %s in the tier's folder: %s", h->socket_name,
                            strerror(errno));
    return 0;
}

static int attach(struct holder *h, const struct tl_launch_mount *m, bool in_user_ns, struct tl_error *err)
{
    char pid[16];
    int fd = -1;
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    const char *const args[] = {"attach", m->plain ? "/" : m->point, in_user_ns ? "1" : "0", pid, NULL};
    int rc = tl_space_mount(m->point, &fd, err);
    if (rc != 0)
        return rc;
    h->mounted++;
    rc = tl_control_call(h->control_fd, args, fd, err);
    close(fd); /* the daemon's alone: when it dies, the kernel shall notice */
    return rc;
}

static int start(struct holder *h, struct tl_error *err)
{
    bool in_user_ns;
    h->control_fd = tl_control_connect(h->plan->socket, err);
    int rc = h->control_fd < 0 ? h->control_fd : start_listening(h, err);
    if (rc == 0)
        rc = tl_space_make(&in_user_ns, err);
    for (size_t i = 0; rc == 0 && i < h->plan->count; i++)
        rc = attach(h, &h->plan->mounts[i], in_user_ns, err);
    if (rc != 0)
        return rc;
    h->spaces.mount_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    h->spaces.user_fd = in_user_ns ? open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC) : -1;
    if (h->spaces.mount_fd < 0 || (in_user_ns && h->spaces.user_fd < 0))
        return tl_error_set(err, -errno, "/proc/self/ns: %s; is /proc mounted?", strerror(errno));
    return chdir("/") == 0 ? 0 : tl_error_set(err, -errno, "/: %s", strerror(errno));
}

static void welcome(struct holder *h)
{
    int fd = accept4(h->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (fd < 0)
        return;
    bool ours = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.uid == geteuid();
    int rc = ours ? tl_fds_send(fd, h->spaces.mount_fd, h->spaces.user_fd) : 0;
    (void)rc; /* who did not get them finds the connection closed and says so */
    close(fd);
}

/* The connection is closed. True: another daemon serves the mounts, and there is a connection to it. A keeper that is about to
 * start one listens for it meanwhile, so connecting fails at once only if there will be none. */
static bool go_on(struct holder *h)
{
    char path[PATH_MAX], name[PATH_MAX], pid[16], count[16];
    snprintf(name, sizeof name, "%s", h->plan->socket);
    snprintf(path, sizeof path, "/proc/self/fd/%d/%.60s", h->dir_fd,
             basename(name)); /* the mounts may hide its own path */
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    snprintf(count, sizeof count, "%zu", h->mounted);
    const char *const args[] = {"serves", pid, count, NULL};
    for (int i = 0, rc = -ECONNRESET; i < DAEMONS_MAX && (rc == -ECONNRESET || rc == -EPIPE); i++) {
        struct tl_error ignored;
        close(h->control_fd);
        h->control_fd = tl_control_connect(path, &ignored);
        rc = h->control_fd < 0 ? h->control_fd : tl_control_call(h->control_fd, args, -1, &ignored);
        if (rc == 0)
            return true;
    }
    return false;
}

/* Until no daemon serves the mounts, or SIGTERM. */
static void serve(struct holder *h)
{
    for (;;) { /* sleeps nearly always */
        char rest[64];
        struct pollfd fds[3] = {{.fd = h->control_fd, .events = POLLIN},
                                {.fd = h->listen_fd, .events = POLLIN},
                                {.fd = h->signal_fd, .events = POLLIN}};
        if (poll(fds, 3, -1) < 0)
            continue;
        if (fds[0].revents != 0 && recv(h->control_fd, rest, sizeof rest, 0) <= 0 && !go_on(h))
            return;
        if (fds[2].revents != 0)
            return;
        if (fds[1].revents != 0)
            welcome(h);
    }
}

static void end(struct holder *h)
{
    (void)unlinkat(h->dir_fd, h->socket_name, 0);
    close(h->listen_fd);
    while (h->mounted > 0)
        (void)umount2(h->plan->mounts[--h->mounted].point, MNT_DETACH | UMOUNT_NOFOLLOW);
}

_Noreturn void tl_holder_run(const struct tl_plan *plan, int dir_fd, const char *socket_name, int ready_fd)
{
    struct holder h = {.plan = plan,
                       .socket_name = socket_name,
                       .dir_fd = dir_fd,
                       .ready_fd = ready_fd,
                       .control_fd = -1,
                       .listen_fd = -1};
    struct tl_error err = {.code = 0};
    detach(&h);
    int rc = start(&h, &err);
    bool told = write(ready_fd, &err, sizeof err) == (ssize_t)sizeof err;
    close(ready_fd);
    if (rc == 0 && told)
        serve(&h);
    end(&h);
    _exit(rc == 0 ? 0 : 1);
}
