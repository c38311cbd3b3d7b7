// SPDX-License-Identifier: Apache-2.0
/* See filler.h. One connection a request; who asks waits. So threads, each with one request at a time, are as many as
 * requests that wait for the network together; more wait in the socket's queue. */
#include "front/launch/filler.h"

#include <errno.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define THREADS     4
#define STACK_BYTES (512u << 10)
#define QUEUE       256 /* as many processes may ask at once */
#define PATIENCE_S  5   /* for who connects and says nothing */

int tl_served_open(struct tl_served *s, const struct tl_launch *l, bool seen, struct tl_error *err)
{
    const struct tl_plan *plan = &l->plan;
    char folder[PATH_MAX];
    s->count = 0;
    s->also = l->also;
    s->also_count = l->also_count;
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->mounts[i].plain)
            return tl_error_set(err, -EINVAL,
                                "%s cannot be a plain mount without FUSE; name what is to be served with --cache",
                                plan->mounts[i].point);
        if (strchr(plan->mounts[i].point, ':') != NULL)
            return tl_error_set(err, -EINVAL, "%s cannot be served without FUSE: there is a colon in it",
                                plan->mounts[i].point);
        int rc = tl_tree_open(&s->trees[s->count], plan->socket, plan->mounts[i].point, err);
        if (rc != 0) {
            tl_served_close(s);
            return rc;
        }
        const char *tree = tl_tree_path(s->trees[s->count]);
        rc = !seen && geteuid() == 0 ? tl_tree_fill(s->trees[s->count], NULL, NULL, err) : 0;
        s->roots[s->count] = realpath(tree, NULL);
        s->points[s->count++] = plan->mounts[i].point;
        if (rc != 0) {
            tl_served_close(s);
            return rc;
        }
        if (s->roots[s->count - 1] == NULL) {
            int code = errno;
            tl_error_set(err, -code, "%s: %s", tree, strerror(code));
            tl_served_close(s);
            return -code;
        }
    }
    snprintf(folder, sizeof folder, "%s", plan->socket);
    int n = snprintf(s->socket, sizeof s->socket, "%s/run-%d.sock", dirname(folder), (int)getpid());
    struct sockaddr_un address;
    if (n < (int)sizeof address.sun_path && strchr(s->socket, ':') == NULL)
        return 0;
    tl_served_close(s);
    return tl_error_set(err, -ENAMETOOLONG,
                        "the tier's folder %s has too long a name, or one with a colon; set "
                        "TIERCEL_RUNTIME_DIR to a shorter one",
                        folder);
}

void tl_served_close(struct tl_served *s)
{
    while (s->count > 0) {
        tl_tree_close(s->trees[--s->count]);
        free(s->roots[s->count]);
    }
}

int tl_served_fill(const struct tl_served *s, const char *real)
{
    for (size_t i = 0; i < s->count; i++) {
        size_t len = strlen(s->roots[i]);
        if (strncmp(real, s->roots[i], len) == 0 && real[len] == '/')
            return tl_tree_fault(s->trees[i], real + len + 1);
    }
    return -ENOENT;
}

/* Trees are filled by name; a name that leaves one is nobody's business here. */
static bool is_plain(const char *path)
{
    return strstr(path, "/../") == NULL && strstr(path, "//") == NULL && strstr(path, "/./") == NULL;
}

static void answer(const struct tl_served *s, int fd)
{
    char path[PATH_MAX];
    struct ucred peer;
    socklen_t len = sizeof peer;
    struct timeval patience = {.tv_sec = PATIENCE_S};
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 || peer.uid != geteuid())
        return;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ssize_t n = recv(fd, path, sizeof path - 1, 0);
    if (n <= 0)
        return;
    path[n] = '\0';
    int rc = is_plain(path) ? tl_served_fill(s, path) : -EINVAL;
    (void)!send(fd, &rc, sizeof rc, MSG_NOSIGNAL | MSG_DONTWAIT);
}

struct door {
    const struct tl_served *served;
    int fd;
};

static void *answer_all(void *arg)
{
    const struct door *door = arg;
    for (;;) { /* as long as the process lives */
        int fd = accept4(door->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        answer(door->served, fd);
        close(fd);
    }
    return NULL;
}

int tl_filler_start(const struct tl_served *s, struct tl_error *err)
{
    static struct door door;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, s->socket, strlen(s->socket) + 1);
    mode_t mask = umask(0177);
    door = (struct door){s, socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
    (void)unlink(s->socket); /* of an ended process with our number */
    bool ok = door.fd >= 0 && bind(door.fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
              listen(door.fd, QUEUE) == 0;
    int code = errno;
    umask(mask);
    pthread_attr_t attr;
    pthread_t thread;
    if (ok && pthread_attr_init(&attr) == 0) {
        pthread_attr_setstacksize(&attr, STACK_BYTES);
        for (int i = 0; ok && i < THREADS; i++) {
            code = pthread_create(&thread, &attr, answer_all, &door);
            ok = code == 0 || i > 0; /* fewer will do */
        }
        pthread_attr_destroy(&attr);
    }
    return ok ? 0 : tl_error_set(err, -code, "cannot listen on %s: %s", s->socket, strerror(code));
}

void tl_filler_end(const struct tl_served *s)
{
    (void)unlink(s->socket);
}
