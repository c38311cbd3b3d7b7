// SPDX-License-Identifier: Apache-2.0
/* poll(), arm() and deadlines.
 *
 * epoll is level-triggered: whatever a round leaves undone makes the descriptor readable again, so the bounds on a round
 * need no bookkeeping. next_deadline_ns is a lower bound of all deadlines: they are looked through only when it passes,
 * which costs a wake-up too many now and then, and nothing per operation. */
#include <errno.h>
#include <stdlib.h>

#include "net/tcp.h"

enum { ROUND_MAX = 64 };

/* What the last poll() handed out may be freed now. */
static void reap(struct tcp *t)
{
    struct tcp_conn **at = &t->graveyard;
    while (*at != NULL) {
        struct tcp_conn *c = *at;
        if (c->down_queued) {
            at = &c->next;
        } else {
            *at = c->next;
            tcp_conn_free(c);
        }
    }
}

static void conn_ready(struct tcp_conn *c, uint32_t ready)
{
    switch (c->state) {
    case TCP_CONNECTING: tcp_connect_ready(c); return;
    case TCP_HELLO:
    case TCP_VERDICT: tcp_handshake_ready(c); return;
    case TCP_LINGERING: tcp_linger_ready(c); return;
    case TCP_EXPECTING:
    case TCP_CLOSED: /* ended earlier in this round */ return;
    case TCP_UP: break;
    }
    if ((ready & EPOLLOUT) != 0 && c->send_blocked) {
        c->send_blocked = false;
        tcp_dirty(c);
    }
    if ((ready & (EPOLLERR | EPOLLHUP)) != 0 && c->receive_paused)
        tcp_conn_fail(c, -ECONNRESET, -ECONNRESET, "the connection to node %u at %s broke", c->peer.rank,
                      c->net->addresses[c->peer.rank]);
    else if ((ready & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0)
        tcp_receive(c);
}

int tcp_epoll(struct tcp *t, int op, int fd, uint32_t events, void *what)
{
    struct epoll_event ev = {.events = events, .data.u64 = (uint64_t)(uintptr_t)what | TL_NET_EPOLL};
    return epoll_ctl(t->epoll_fd, op, fd, &ev) == 0 ? 0 : -errno;
}

/* What the data points to is there until the next poll(), whatever else this round has ended. */
void tcp_ready(struct tl_net *net, uint64_t data, uint32_t events)
{
    struct tcp *t = tcp_of(net);
    void *what = (void *)(uintptr_t)(data & ~TL_NET_EPOLL); // NOLINT: that is what was put in
    if (what == &t->listen_fd)
        tcp_listen_ready(t);
    else if (what == &t->side_fd)
        t->side_ready = true;
    else
        conn_ready(what, events);
}

static void round_of_io(struct tcp *t)
{
    struct epoll_event ready[ROUND_MAX];
    int n = epoll_wait(t->epoll_fd, ready, ROUND_MAX, 0);
    for (int i = 0; i < n; i++)
        tcp_ready(&t->base, ready[i].data.u64, ready[i].events);
}

static void conn_expire(struct tcp_conn *c)
{
    struct tcp *t = c->net;
    if (c->deadline_ns > t->now_ns) {
        if (c->deadline_ns != TCP_NEVER)
            tcp_deadline(t, c->deadline_ns);
    } else if (c->state == TCP_UP) {
        tcp_rekey_expired(c);
        return;
    } else if (c->owned) {
        tcp_conn_fail(
            c, -ETIMEDOUT, -ETIMEDOUT,
            "node %u at %s did not complete the connection from %s within %llu s: is it stopped or overloaded, "
            "or does a firewall swallow packets?",
            c->peer.rank, t->addresses[c->peer.rank], t->addresses[t->config.rank], TCP_HANDSHAKE_NS / 1000000000ull);
        return;
    } else {
        t->stats.auth_failures += c->state != TCP_LINGERING;
        tcp_conn_discard(c);
        return;
    }
    if (c->state == TCP_UP) {
        tcp_reads_expire(c, t->now_ns);
        if (c->serves != NULL)
            tcp_dirty(c);
    }
}

static void expire(struct tcp *t)
{
    if (t->now_ns < t->next_deadline_ns)
        return;
    t->next_deadline_ns = TCP_NEVER;
    tcp_listen_resume(t);
    for (struct tcp_conn *c = t->conns, *next; c != NULL; c = next) {
        next = c->next;
        conn_expire(c);
    }
}

/* The event is the owner's; its operation is over. */
static void hand_out(struct tcp *t, struct tl_net_event *out)
{
    struct tcp_event *e = t->queue.first;
    t->queue.first = e->next;
    if (t->queue.first == NULL)
        t->queue.last = NULL;
    *out = e->ev;
    struct tcp_conn *c;
    switch (e->ev.type) {
    case TL_NET_SENT:
    case TL_NET_READ:
        out->private_data = NULL;
        free(e->ev.private_data);
        return;
    case TL_NET_DOWN:
        c = (struct tcp_conn *)((char *)e - offsetof(struct tcp_conn, down));
        c->down_queued = false;
        return;
    case TL_NET_WRITABLE:
        c = (struct tcp_conn *)((char *)e - offsetof(struct tcp_conn, writable));
        c->writable_queued = false;
        return;
    case TL_NET_UP:
    case TL_NET_MESSAGE: return;
    }
}

int tcp_poll(struct tl_net *net, struct tl_net_event *events, int max, uint64_t now_ns)
{
    struct tcp *t = tcp_of(net);
    t->now_ns = now_ns;
    reap(t);
    if (t->queue.first == NULL && t->config.epoll_fd == 0)
        round_of_io(t);
    expire(t);
    tcp_flush_dirty(t);
    int count = 0;
    while (count < max && t->queue.first != NULL)
        hand_out(t, &events[count++]);
    return count;
}

int tcp_arm(struct tl_net *net, uint64_t *next_ns)
{
    struct tcp *t = tcp_of(net);
    tcp_flush_dirty(t);
    *next_ns = t->next_deadline_ns;
    return t->queue.first != NULL;
}

int tcp_side_watch(struct tl_net *net, int fd)
{
    struct tcp *t = tcp_of(net);
    int rc = tcp_epoll(t, EPOLL_CTL_ADD, fd, EPOLLIN, &t->side_fd);
    if (rc == 0)
        t->side_fd = fd;
    return rc;
}
