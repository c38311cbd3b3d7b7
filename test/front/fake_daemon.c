// SPDX-License-Identifier: Apache-2.0
/* See fake_daemon.h. One process, one loop, everything bounded by constants. */
#include "front/fake_daemon.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/control.h"
#include "front/fake_host.h"
#include "front/fuse/internal.h"

#define FRONTS_MAX  16
#define CLIENTS_MAX 32

struct loop {
    struct fake_daemon *d;
    uid_t uid;
    int listen_fd;
    int clients[CLIENTS_MAX];
    int client_count;
    struct fake_host hosts[FRONTS_MAX];
    int front_count;
};

static void reply(int fd, char kind, const char *json)
{
    uint8_t head[5];
    tl_put_u32(head, (uint32_t)strlen(json) + 1);
    head[4] = (uint8_t)kind;
    check(send(fd, head, sizeof head, MSG_NOSIGNAL) == sizeof head);
    check(send(fd, json, strlen(json), MSG_NOSIGNAL) == (ssize_t)strlen(json));
}

static void attach(struct loop *l, int client, const char *source, const char *map_owner, int fd)
{
    if (l->d->shared->refuse) {
        close(fd);
        reply(client, TL_CONTROL_ERROR,
              "{\"error\": \"the daemon is \\\"full\\\"; unmount one\", \"code\": \"EBUSY\", \"errno\": 16}");
        return;
    }
    check(l->front_count < FRONTS_MAX && fd >= 0);
    struct fake_host *host = &l->hosts[l->front_count++];
    struct tl_error err;
    struct tl_fuse_config config = {.mountpoint = source, .fd = fd, .source_root = source, .front = 7};
    config.map_owner = strcmp(map_owner, "1") == 0;
    fake_host_init(host);
    host->uid = l->uid;
    check(tl_fuse_open(&host->fuse, &config, &host->host, &err) == 0);
    host->fuse->uid = l->uid;
    l->d->shared->map_owner = config.map_owner;
    snprintf(l->d->shared->last_source, sizeof l->d->shared->last_source, "%s", source);
    l->d->shared->attached++;
    reply(client, TL_CONTROL_PROGRESS, "{}");
    reply(client, TL_CONTROL_RESULT, "{\"front\": 0}");
}

/* A request is short and comes in one piece here. False: the client has gone. */
static bool serve_client(struct loop *l, int client)
{
    static char bytes[8192];
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = bytes, .iov_len = sizeof bytes};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(client, &msg, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return false;
    check(n > 4 && tl_get_u32(bytes) == (uint32_t)n - 4 && bytes[n - 1] == '\0');
    const struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    int fd = -1;
    if (c != NULL)
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    const char *verb = bytes + 4, *source = verb + strlen(verb) + 1, *map_owner = source + strlen(source) + 1;
    if (strcmp(verb, "attach") != 0) { /* no trees here */
        if (fd >= 0)
            close(fd);
        reply(client, TL_CONTROL_ERROR, "{\"error\": \"not known\", \"code\": \"ENOSYS\", \"errno\": 38}");
        return true;
    }
    attach(l, client, source, map_owner, fd);
    return true;
}

static void serve_fronts(struct loop *l)
{
    for (int i = 0; i < l->front_count; i++) {
        if (!l->hosts[i].ended)
            tl_fuse_ready(l->hosts[i].fuse, 64);
        if (!l->hosts[i].ended)
            fake_host_step(&l->hosts[i]);
    }
}

static void turn(struct loop *l)
{
    struct pollfd fds[1 + CLIENTS_MAX + FRONTS_MAX];
    nfds_t count = 0;
    fds[count++] = (struct pollfd){.fd = l->listen_fd, .events = POLLIN};
    for (int i = 0; i < l->client_count; i++)
        fds[count++] = (struct pollfd){.fd = l->clients[i], .events = POLLIN};
    int clients = l->client_count;
    for (int i = 0; i < l->front_count; i++)
        fds[count++] = (struct pollfd){.fd = l->hosts[i].ended ? -1 : tl_fuse_fd(l->hosts[i].fuse), .events = POLLIN};
    check(poll(fds, count, -1) > 0);
    for (int i = clients - 1; i >= 0; i--) {
        if (fds[1 + i].revents != 0 && !serve_client(l, l->clients[i])) {
            close(l->clients[i]);
            l->clients[i] = l->clients[--l->client_count];
        }
    }
    if (fds[0].revents != 0 && l->client_count < CLIENTS_MAX)
        l->clients[l->client_count++] = accept4(l->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    serve_fronts(l);
}

static int listen_at(const char *path, uid_t uid)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    check(strlen(path) < sizeof address.sun_path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 64) == 0);
    check(chown(path, uid, uid) == 0);
    return fd;
}

void fake_daemon_start(struct fake_daemon *d, const char *folder, uid_t uid)
{
    snprintf(d->socket, sizeof d->socket, "%s/node-0.sock", folder);
    d->shared = mmap(NULL, sizeof *d->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(d->shared != MAP_FAILED);
    int fd = listen_at(d->socket, uid); /* before the fork: who starts us may connect at once */
    fflush(NULL);
    d->pid = fork();
    check(d->pid >= 0);
    if (d->pid == 0) {
        static struct loop l;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        l = (struct loop){.d = d, .uid = uid, .listen_fd = fd};
        for (;;)
            turn(&l);
    }
    close(fd);
}

void fake_daemon_kill(struct fake_daemon *d)
{
    if (d->pid <= 0)
        return;
    kill(d->pid, SIGKILL);
    waitpid(d->pid, NULL, 0);
    d->pid = 0;
    munmap(d->shared, sizeof *d->shared);
}
