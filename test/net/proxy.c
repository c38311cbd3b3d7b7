// SPDX-License-Identifier: Apache-2.0
#include "net/proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"

struct sockaddr_in proxy_sockaddr(const char *address)
{
    char host[LOOPBACK_ADDRESS_MAX];
    const char *colon = strrchr(address, ':');
    check(colon != NULL && (size_t)(colon - address) < sizeof host);
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
    check(inet_pton(AF_INET, host, &a.sin_addr) == 1);
    return a;
}

int proxy_dial(const char *address)
{
    struct sockaddr_in a = proxy_sockaddr(address);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

void proxy_open(struct proxy *p, const char *target)
{
    *p = (struct proxy){.target = target, .fds = {-1, -1}};
    loopback_address(p->address);
    struct sockaddr_in a = proxy_sockaddr(p->address);
    int one = 1;
    p->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    check(p->listen_fd >= 0);
    setsockopt(p->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    check(bind(p->listen_fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(p->listen_fd, 8) == 0);
    for (int i = 0; i < 2; i++) {
        p->recorded[i] = malloc(PROXY_RECORD_MAX);
        check(p->recorded[i] != NULL);
    }
}

void proxy_cut(struct proxy *p)
{
    for (int i = 0; i < 2; i++) {
        if (p->fds[i] >= 0)
            close(p->fds[i]);
        p->fds[i] = -1;
    }
}

void proxy_close(struct proxy *p)
{
    proxy_cut(p);
    close(p->listen_fd);
    free(p->recorded[0]);
    free(p->recorded[1]);
}

static bool accept_next(struct proxy *p)
{
    if (p->fds[0] >= 0)
        return false;
    p->fds[0] = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (p->fds[0] < 0)
        return false;
    int one = 1;
    setsockopt(p->fds[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    p->fds[1] = proxy_dial(p->target);
    p->passed[0] = p->passed[1] = 0;
    return true;
}

static bool relay(struct proxy *p, int direction)
{
    uint8_t bytes[4096];
    int in = p->fds[direction], out = p->fds[1 - direction];
    if (in < 0)
        return false;
    ssize_t n = recv(in, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return false;
    uint64_t at = p->passed[direction];
    int pass = (int)n;
    if (n > 0) {
        if (at + (uint64_t)n <= PROXY_RECORD_MAX)
            memcpy(p->recorded[direction] + at, bytes, (size_t)n);
        p->passed[direction] += (uint64_t)n;
        if (p->meddle != NULL)
            pass = p->meddle(p, direction, at, bytes, (int)n, out);
    }
    if (n <= 0 || pass < 0 || send(out, bytes, (size_t)pass, MSG_NOSIGNAL) < 0)
        proxy_cut(p);
    return true;
}

bool proxy_turn(struct proxy *p)
{
    bool moved = accept_next(p);
    moved = relay(p, PROXY_UP) || moved;
    return relay(p, PROXY_DOWN) || moved;
}
