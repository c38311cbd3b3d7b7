// SPDX-License-Identifier: Apache-2.0
/* A connection's life: strangers, up, failed, dropped; and who completes what when it ends.
 *
 * A connection is `owned` when it is its peer's (t->peers[rank].conn): it then answers for a handle that the owner has
 * or will get, and ends with exactly one DOWN. Strangers end without a word. Structs of ended connections stay in the
 * graveyard until the next poll(), because DOWN's sentence, and the round that is under way, may still point to them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/tcp.h"

void tcp_event_push(struct tcp *t, struct tcp_event *e)
{
    e->next = NULL;
    if (t->queue.last != NULL)
        t->queue.last->next = e;
    else
        t->queue.first = e;
    t->queue.last = e;
}

void tcp_deadline(struct tcp *t, uint64_t deadline_ns)
{
    if (deadline_ns < t->next_deadline_ns)
        t->next_deadline_ns = deadline_ns;
}

struct tcp_conn *tcp_conn_new(struct tcp *t, bool dialler)
{
    struct tcp_conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->net = t;
    c->fd = -1;
    c->dialler = dialler;
    c->since_ns = t->now_ns;
    c->deadline_ns = TCP_NEVER;
    c->next = t->conns;
    if (t->conns != NULL)
        t->conns->prev = c;
    t->conns = c;
    if (!dialler) {
        t->inbound_count++;
        t->stranger_count++;
    }
    return c;
}

void tcp_conn_free(struct tcp_conn *c)
{
    check(c->state == TCP_CLOSED && c->items == NULL && c->reads == NULL && c->serves == NULL);
    free(c);
}

int tcp_conn_watch(struct tcp_conn *c)
{
    uint32_t want = (c->receive_paused ? 0u : EPOLLIN) | (c->send_blocked ? EPOLLOUT : 0u);
    if (c->fd < 0 || want == c->armed)
        return 0;
    int op = c->armed == 0 && c->state < TCP_UP ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    int rc = tcp_epoll(c->net, op, c->fd, want, c);
    if (rc == 0)
        c->armed = want;
    return rc;
}

void tcp_conn_own(struct tcp_conn *c, uint32_t rank, uint32_t gen)
{
    check(!c->owned && c->net->peers[rank].conn == NULL);
    c->owned = true;
    c->peer = (struct tl_peer){.rank = rank, .gen = gen};
    c->net->peers[rank].conn = c;
    if (!c->dialler)
        c->net->stranger_count--;
}

static void shake_free(struct tcp_conn *c)
{
    if (c->shake != NULL)
        tl_secret_wipe(c->shake, sizeof *c->shake);
    free(c->shake);
    c->shake = NULL;
}

void tcp_conn_up(struct tcp_conn *c)
{
    struct tcp *t = c->net;
    c->in.part = malloc(TL_FRAME_LEAD + TL_FRAME_BODY_MAX);
    if (c->in.part == NULL) {
        tcp_conn_fail(c, -ENOMEM, -ENOMEM, "out of memory for a connection to node %u", c->peer.rank);
        return;
    }
    const struct tl_secret_session *s = &c->shake->session;
    c->tx = c->dialler ? s->from_dialler : s->from_listener;
    c->rx = c->dialler ? s->from_listener : s->from_dialler;
    c->instance = c->shake->hello.instance;
    memcpy(&c->id, s->transcript, sizeof c->id);
    t->peers[c->peer.rank].known = c->id;
    memcpy(c->transcript, s->transcript, sizeof c->transcript);
    c->proven_key_id = c->told_key_id = tl_secret_key_id(c->shake->key);
    shake_free(c);
    c->state = TCP_UP;
    c->deadline_ns = TCP_NEVER;
    tcp_rekey(c); /* the keys may have changed since it began */
    c->up.ev = (struct tl_net_event){.type = TL_NET_UP, .peer = c->peer};
    tcp_event_push(t, &c->up);
}

void tcp_conn_expect(struct tcp_conn *c)
{
    close(c->fd);
    c->fd = -1;
    c->state = TCP_EXPECTING; /* the deadline of the dial stays */
    shake_free(c);
}

static void undirty(struct tcp_conn *c)
{
    for (struct tcp_conn **at = &c->net->dirty; c->dirty && *at != NULL; at = &(*at)->next_dirty) {
        if (*at == c) {
            *at = c->next_dirty;
            c->dirty = false;
            return;
        }
    }
}

/* Everything but the operations: out of the lists, socket closed, into the graveyard. */
static void conn_close(struct tcp_conn *c)
{
    struct tcp *t = c->net;
    check(c->state != TCP_CLOSED);
    undirty(c);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    if (!c->dialler) {
        t->inbound_count--;
        if (!c->owned)
            t->stranger_count--;
        tcp_listen_resume(t);
    }
    if (c->owned)
        t->peers[c->peer.rank].conn = NULL;
    c->owned = false;
    c->state = TCP_CLOSED;
    shake_free(c);
    free(c->in.part);
    c->in.part = NULL;
    if (c->in.message != NULL)
        free(c->in.message);
    c->in.message = NULL;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        t->conns = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    c->prev = NULL;
    c->next = t->graveyard;
    t->graveyard = c;
    tl_secret_wipe(&c->tx, sizeof c->tx);
    tl_secret_wipe(&c->rx, sizeof c->rx);
}

void tcp_conn_discard(struct tcp_conn *c)
{
    check(c->state != TCP_UP);
    conn_close(c);
}

static void items_fail(struct tcp_conn *c, int status)
{
    struct tcp *t = c->net;
    while (c->items != NULL) {
        struct tcp_item *item = c->items;
        c->items = item->next;
        if (item->wants_sent) {
            tcp_item_sent(t, item, status);
        } else {
            tcp_item_free(t, item);
        }
    }
    c->items_last = NULL;
}

static void serves_free(struct tcp_conn *c)
{
    while (c->serves != NULL) {
        struct tcp_serve *serve = c->serves;
        c->serves = serve->next;
        if (serve->status == 0)
            tcp_region_unhold(c->net, serve->region);
        free(serve);
    }
    c->serves_last = NULL;
}

void tcp_conn_fail(struct tcp_conn *c, int ended, int status, const char *fmt, ...)
{
    struct tcp *t = c->net;
    if (!c->owned) {
        tcp_conn_discard(c);
        return;
    }
    va_list args;
    va_start(args, fmt);
    vsnprintf(c->why, sizeof c->why, fmt, args);
    va_end(args);
    conn_close(c);
    items_fail(c, ended);
    tcp_reads_fail(c, ended);
    serves_free(c);
    c->down.ev = (struct tl_net_event){.type = TL_NET_DOWN, .status = status, .peer = c->peer, .why = c->why};
    c->down_queued = true;
    tcp_event_push(t, &c->down);
}

void tcp_conn_offence(struct tcp_conn *c, const char *what)
{
    c->net->stats.bad_frames++;
    tcp_conn_fail(
        c, -EPROTO, -EPROTO,
        "node %u at %s sent %s: the connection was closed; if this happens again, something on the way changes "
        "bytes",
        c->peer.rank, c->net->addresses[c->peer.rank], what);
}

struct tcp_conn *tcp_conn_find(struct tcp *t, struct tl_peer peer)
{
    struct tcp_conn *c = peer.rank < t->config.node_count ? t->peers[peer.rank].conn : NULL;
    return c != NULL && c->state == TCP_UP && c->peer.gen == peer.gen ? c : NULL;
}

int tcp_drop(struct tl_net *net, struct tl_peer peer)
{
    struct tcp *t = tcp_of(net);
    struct tcp_conn *c = peer.rank < t->config.node_count ? t->peers[peer.rank].conn : NULL;
    if (c == NULL || c->peer.gen != peer.gen)
        return -ENOTCONN;
    if (c->state == TCP_UP)
        tcp_flush(c); /* what was accepted gets out if the socket takes it; this may find the connection dead */
    if (c->state != TCP_CLOSED)
        tcp_conn_fail(c, -ECANCELED, -ECANCELED, "dropped by this node");
    return 0;
}
