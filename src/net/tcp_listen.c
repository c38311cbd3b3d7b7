// SPDX-License-Identifier: Apache-2.0
/* Accepting connections, and what to do when too many come or descriptors run out. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "net/tcp.h"

enum { BACKLOG = 1024, ACCEPT_LATER_MS = 100 };

/* The kernel's limits for a silent peer: a connection on which sent data is not acknowledged for 10 s is dead, and an
 * idle one is asked after 5 s, three times, 2 s apart. */
int tcp_socket_options(int fd)
{
    int one = 1, idle = 5, interval = 2, count = 3;
    unsigned user_timeout_ms = 10000;
    /* Keeps what is written but not yet under way small, so that a message never waits behind megabytes of bulk. */
    int not_sent_bytes = 512 << 10;
    int rc = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    rc |= setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    rc |= setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    rc |= setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    rc |= setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    rc |= setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof user_timeout_ms);
    rc |= setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &not_sent_bytes, sizeof not_sent_bytes);
    return rc;
}

static int listen_with(struct tcp *t, int fd, int rc)
{
    if (rc == 0)
        rc = tcp_epoll(t, EPOLL_CTL_ADD, fd, EPOLLIN, &t->listen_fd);
    if (rc == 0)
        t->listen_fd = fd;
    else if (fd >= 0)
        close(fd);
    if (rc == 0 && t->config.listening != NULL)
        *t->config.listening = fd;
    return rc;
}

/* Peers that have connected since the process before us ended are waiting in it. */
static int listen_on(struct tcp *t, int listen_fd)
{
    int fd = fcntl(listen_fd, F_DUPFD_CLOEXEC, 3);
    return listen_with(t, fd, fd < 0 ? -errno : 0);
}

static int listen_at(struct tcp *t, const struct sockaddr *addr, socklen_t len)
{
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one); /* a restart need not wait for old connections */
    return listen_with(t, fd, bind(fd, addr, len) != 0 || listen(fd, BACKLOG) != 0 ? -errno : 0);
}

int tcp_listen_open(struct tcp *t, struct tl_error *err)
{
    const char *address = t->addresses[t->config.rank];
    struct tcp_addresses found;
    int rc = t->config.listen_fd > 0 ? listen_on(t, t->config.listen_fd) : -ENOENT;
    if (rc != -ENOENT)
        return rc == 0 ? 0 : tl_error_set(err, rc, "cannot go on listening on %s: %s", address, strerror(-rc));
    rc = tcp_address_resolve(address, true, &found, err);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < found.count; i++) {
        rc = listen_at(t, (const struct sockaddr *)&found.list[i].addr, found.list[i].len);
        if (rc == 0)
            return 0;
    }
    if (rc == -EADDRINUSE)
        return tl_error_set(
            err, rc,
            "cannot listen on %s: the port is taken, perhaps by a daemon of another tier: stop that one, "
            "or give the node list other ports",
            address);
    if (rc == -EADDRNOTAVAIL)
        return tl_error_set(
            err, rc,
            "cannot listen on %s: this machine does not have that address: is rank %u right, and is the "
            "node list?",
            address, t->config.rank);
    return tl_error_set(err, rc == 0 ? -EADDRNOTAVAIL : rc, "cannot listen on %s: %s", address, strerror(-rc));
}

static void listen_watch(struct tcp *t, bool on)
{
    if (tcp_epoll(t, EPOLL_CTL_MOD, t->listen_fd, on ? EPOLLIN : 0u, &t->listen_fd) == 0)
        t->listen_paused = !on;
}

/* Connections wait in the kernel's backlog for a while; expire() resumes. */
static void listen_pause(struct tcp *t)
{
    listen_watch(t, false);
    tcp_deadline(t, t->now_ns + ACCEPT_LATER_MS * 1000000ull);
}

void tcp_listen_resume(struct tcp *t)
{
    if (t->listen_paused)
        listen_watch(t, true);
}

/* Out of descriptors: the reserve lets us take the connection and close it, else the listening socket would stay
 * readable and the owner would spin. */
static void accept_with_reserve(struct tcp *t)
{
    close(t->reserve_fd);
    int fd = accept4(t->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    t->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    listen_pause(t);
}

/* Too many, or too many that have proven nothing: the oldest of these makes room once it had time enough to prove itself. */
static bool make_room(struct tcp *t)
{
    if (t->inbound_count < t->config.inbound_max && t->stranger_count < TCP_STRANGERS_MAX)
        return true;
    struct tcp_conn *oldest = NULL;
    for (struct tcp_conn *c = t->conns; c != NULL; c = c->next)
        if (!c->owned && (oldest == NULL || c->since_ns < oldest->since_ns))
            oldest = c;
    if (oldest == NULL || t->now_ns - oldest->since_ns < TCP_HANDSHAKE_NS / 10)
        return false;
    t->stats.auth_failures++;
    tcp_conn_discard(oldest);
    return true;
}

static void accept_one(struct tcp *t, int fd)
{
    struct tcp_conn *c = tcp_socket_options(fd) == 0 ? tcp_conn_new(t, false) : NULL;
    if (c == NULL) {
        close(fd);
        return;
    }
    c->fd = fd;
    c->state = TCP_HELLO;
    c->deadline_ns = t->now_ns + TCP_HANDSHAKE_NS;
    tcp_deadline(t, c->deadline_ns);
    t->stats.accepts++;
    if (tcp_conn_watch(c) != 0)
        tcp_conn_discard(c);
}

void tcp_listen_ready(struct tcp *t)
{
    for (uint32_t i = 0; i < TCP_ACCEPT_BATCH; i++) {
        if (!make_room(t)) {
            listen_pause(t);
            return;
        }
        int fd = accept4(t->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                accept_with_reserve(t);
            return; /* EAGAIN, or a connection that is gone again: epoll tells when there is more */
        }
        accept_one(t, fd);
    }
}
