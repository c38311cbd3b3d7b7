// SPDX-License-Identifier: Apache-2.0
/* Dialling: TCP connect without blocking, over the addresses of a name in turn. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/tcp.h"

/* 0: connected or under way. */
static int dial_address(struct tcp_conn *c, const struct sockaddr *addr, socklen_t len)
{
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (tcp_socket_options(fd) != 0 || (connect(fd, addr, len) != 0 && errno != EINPROGRESS)) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    c->fd = fd;
    c->armed = 0;
    c->send_blocked = true; /* writable: connected */
    int rc = tcp_conn_watch(c);
    if (rc != 0) {
        close(fd);
        c->fd = -1;
    }
    return rc;
}

static void dial_failed(struct tcp_conn *c, int status)
{
    const struct tcp *t = c->net;
    const char *address = t->addresses[c->peer.rank];
    if (status == -ECONNREFUSED)
        tcp_conn_fail(c, status, status, "node %u at %s does not listen: its daemon is not running, or not yet",
                      c->peer.rank, address);
    else
        tcp_conn_fail(c, status, status,
                      "node %u at %s cannot be reached from %s (%s): is the address right, and does a firewall let its "
                      "port through?",
                      c->peer.rank, address, t->addresses[t->config.rank], strerror(-status));
}

/* Tries the next addresses of the name until one is under way. */
static void dial_next(struct tcp_conn *c, int status)
{
    struct tcp_addresses *a = c->net->peers[c->peer.rank].addresses;
    while (c->address_index < a->count) {
        uint32_t i = c->address_index++;
        status = dial_address(c, (const struct sockaddr *)&a->list[i].addr, a->list[i].len);
        if (status == 0)
            return;
    }
    dial_failed(c, status);
}

void tcp_connect_ready(struct tcp_conn *c)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error == 0) {
        tcp_handshake_dial(c);
        return;
    }
    close(c->fd); /* epoll forgets it, too */
    c->fd = -1;
    dial_next(c, -error);
}

/* Names are looked up once, here, and not at start: a node talks to few of a long list. */
static int resolve_peer(struct tcp *t, uint32_t rank, struct tl_error *err)
{
    if (t->peers[rank].addresses != NULL)
        return 0;
    struct tcp_addresses *a = calloc(1, sizeof *a);
    if (a == NULL)
        return tl_error_set(err, -ENOMEM, "out of memory");
    int rc = tcp_address_resolve(t->addresses[rank], false, a, err);
    if (rc != 0) {
        free(a);
        return rc;
    }
    t->peers[rank].addresses = a;
    return 0;
}

int tcp_connect(struct tl_net *net, uint32_t rank, uint64_t now_ns, struct tl_peer *out)
{
    struct tcp *t = tcp_of(net);
    if (rank >= t->config.node_count || rank == t->config.rank)
        return -EINVAL;
    struct tcp_peer *p = &t->peers[rank];
    if (p->conn != NULL)
        return -EALREADY;
    struct tcp_conn *c = tcp_conn_new(t, true);
    if (c == NULL)
        return -ENOMEM;
    t->now_ns = now_ns;
    t->stats.connects++;
    c->state = TCP_CONNECTING;
    c->since_ns = now_ns;
    c->deadline_ns = now_ns + TCP_HANDSHAKE_NS;
    tcp_conn_own(c, rank, ++p->gen);
    *out = c->peer;
    struct tl_error err = {0};
    int rc = resolve_peer(t, rank, &err);
    if (rc != 0) {
        tcp_conn_fail(c, rc, rc, "%s", err.msg);
        return 0;
    }
    tcp_deadline(t, c->deadline_ns);
    dial_next(c, -EHOSTUNREACH);
    return 0;
}
