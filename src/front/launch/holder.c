// SPDX-License-Identifier: Apache-2.0
/* Finding the holder of a plan, or starting one. The holder's own life is in holder_run.c.
 *
 * A holder listens on a socket beside the daemon's, in a folder that only its user can enter, and gives its namespaces
 * to who connects: as descriptors, so that there is no process id that could meanwhile be somebody else's. Who finds
 * no holder starts one, under a lock, so that a dozen ranks that start together make one. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "front/launch/launch.h"

/* The holder's namespaces. -ENOENT: there is no holder (any more). */
static int ask_holder(const char *path, struct tl_spaces *out)
{
    int fd = tl_unix_connect(path);
    if (fd < 0)
        return fd == -ECONNREFUSED || fd == -ENOENT ? -ENOENT : fd;
    struct ucred peer;
    socklen_t len = sizeof peer;
    int rc = -ENOENT;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.uid == geteuid())
        rc = tl_fds_receive(fd, &out->mount_fd, &out->user_fd);
    close(fd);
    return rc == -ECONNRESET || rc == -EPROTO ? -ENOENT : rc; /* it was about to end */
}

/* How the start went: the holder's own words. */
static int read_outcome(int fd, struct tl_error *err)
{
    struct tl_error outcome = {.code = -EIO};
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int ready;
    do
        ready = poll(&p, 1, TL_LAUNCH_TIMEOUT_MS * 2);
    while (ready < 0 && errno == EINTR);
    ssize_t n = ready > 0 ? read(fd, &outcome, sizeof outcome) : 0;
    if (n != (ssize_t)sizeof outcome)
        return tl_error_set(err, ready == 0 ? -ETIMEDOUT : -EIO,
                            "the process that holds the served paths %s; see the daemon's log, and try again",
                            ready == 0 ? "does not become ready" : "ended at once");
    if (outcome.code == 0)
        return 0;
    outcome.msg[sizeof outcome.msg - 1] = '\0';
    return tl_error_set(err, outcome.code, "%s", outcome.msg);
}

/* Starts a holder that is nobody's child: the command must not find a child it did not make. */
static int start_holder(const struct tl_plan *plan, int dir_fd, const char *name, struct tl_error *err)
{
    int ready[2], status;
    if (pipe2(ready, O_CLOEXEC) != 0)
        return tl_error_set(err, -errno, "cannot start the process that holds the served paths: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        pid_t holder = fork();
        if (holder == 0) {
            close(ready[0]);
            tl_holder_run(plan, dir_fd, name, ready[1]);
        }
        _exit(holder > 0 ? 0 : 1);
    }
    close(ready[1]);
    int rc = pid > 0 ? 0 : -errno;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (rc != 0)
        tl_error_set(err, rc, "cannot start the process that holds the served paths: %s", strerror(-rc));
    else
        rc = read_outcome(ready[0], err);
    close(ready[0]);
    return rc;
}

/* Under the lock: somebody else may have started it meanwhile. */
static int find_or_start(const struct tl_plan *plan, int dir_fd, const char *name, const char *path,
                         struct tl_spaces *out, struct tl_error *err)
{
    int rc = ask_holder(path, out);
    if (rc != -ENOENT)
        return rc == 0
                   ? 0
                   : tl_error_set(err, rc, "cannot reach the process that holds the served paths: %s", strerror(-rc));
    rc = start_holder(plan, dir_fd, name, err);
    if (rc != 0)
        return rc;
    rc = ask_holder(path, out);
    return rc == 0 ? 0
                   : tl_error_set(err, rc,
                                  "the process that holds the served paths has ended; is the tier being taken "
                                  "down? See tiercel status");
}

int tl_holder_get(const struct tl_plan *plan, struct tl_spaces *out, struct tl_error *err)
{
    char folder[PATH_MAX], name[64], lock_name[64], path[PATH_MAX + 64];
    uint64_t key = tl_plan_key(plan);
    snprintf(folder, sizeof folder, "%s", plan->socket);
    const char *dir = dirname(folder);
    snprintf(name, sizeof name, "holder-%016" PRIx64 ".sock", key);
    snprintf(lock_name, sizeof lock_name, "holder-%016" PRIx64 ".lock", key);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return tl_error_set(err, -errno, "no tier is up here: %s: %s; start one with: tiercel up", dir,
                            strerror(errno));
    int rc = ask_holder(path, out); /* the common case, without the lock */
    if (rc == -ENOENT) {
        int lock = openat(dir_fd, lock_name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (lock < 0 || flock(lock, LOCK_EX) != 0)
            rc = tl_error_set(err, -errno, "cannot lock %s/%s: %s", dir, lock_name, strerror(errno));
        else
            rc = find_or_start(plan, dir_fd, name, path, out, err);
        if (lock >= 0)
            close(lock);
    } else if (rc != 0) {
        tl_error_set(err, rc, "cannot reach the process that holds the served paths: %s", strerror(-rc));
    }
    close(dir_fd);
    return rc;
}
