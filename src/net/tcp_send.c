// SPDX-License-Identifier: Apache-2.0
/* The send queue of a connection: one list in the order of the wire.
 *
 * A frame gets its counter when it is put into the list, so the list's order is final. Messages go in at once; slices of
 * bulk go in a few at a time (tcp_serve_fill), so that a message waits behind one slice at most. Nothing is written
 * before the end of poll() or arm(): small messages of one round leave in one call. */
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include "net/tcp.h"

enum { GATHER_MAX = 64 };

struct tcp_item *tcp_item_new(enum tl_frame_type type, const void *body, uint32_t body_len, uint32_t inline_len)
{
    struct tcp_item *item = malloc(sizeof *item + TL_FRAME_LEAD + body_len + inline_len);
    if (item == NULL)
        return NULL;
    memset(item, 0, sizeof *item);
    item->region = -1;
    item->bytes_len = TL_FRAME_LEAD + body_len + inline_len;
    tl_frame_head_put(item->bytes, &(struct tl_frame){.type = type, .body_len = body_len, .data_len = inline_len});
    if (body_len > 0)
        memcpy(item->bytes + TL_FRAME_LEAD, body, body_len);
    return item;
}

/* What the item held is free again; the struct is not. */
static void item_settle(struct tcp *t, struct tcp_item *item)
{
    if (item->region >= 0)
        tcp_region_unhold(t, (uint32_t)item->region);
    item->region = -1;
}

void tcp_item_free(struct tcp *t, struct tcp_item *item)
{
    item_settle(t, item);
    free(item);
}

void tcp_item_sent(struct tcp *t, struct tcp_item *item, int status)
{
    item_settle(t, item);
    item->sent.ev.status = status;
    item->sent.ev.private_data = item;
    tcp_event_push(t, &item->sent);
}

bool tcp_queue_full(const struct tcp_conn *c, uint32_t cost)
{
    if (c->queued_count == 0)
        return false; /* anything fits alone */
    return c->queued_count >= TCP_QUEUE_COUNT_MAX || c->queued_bytes + cost > TCP_QUEUE_BYTES_MAX;
}

void tcp_dirty(struct tcp_conn *c)
{
    if (c->dirty || c->send_blocked)
        return; /* EPOLLOUT will tell */
    c->dirty = true;
    c->next_dirty = c->net->dirty;
    c->net->dirty = c;
}

void tcp_item_push(struct tcp_conn *c, struct tcp_item *item, uint32_t body_len, uint32_t inline_len)
{
    if (c->net->config.encrypt)
        tl_secret_encrypt(&c->tx, item->bytes, item->bytes + TL_FRAME_LEAD, body_len + inline_len);
    else
        tl_secret_seal(&c->tx, item->bytes, body_len);
    if (c->items_last != NULL)
        c->items_last->next = item;
    else
        c->items = item;
    c->items_last = item;
    if (item->slice) {
        c->queued_slices += item->bytes_len + item->data_len;
    } else {
        c->queued_bytes += item->cost;
        c->queued_count++;
        tcp_dirty(c);
    }
}

/* A message's item. Encrypted, the payload goes inline; otherwise it stays where it is until it is written. */
static struct tcp_item *message_item(struct tcp *t, const void *header, uint32_t header_len,
                                     const struct tl_net_payload *payload, uint32_t payload_len)
{
    uint32_t inline_len = t->config.encrypt ? payload_len : 0;
    struct tcp_item *item = tcp_item_new(TL_FRAME_MESSAGE, header, header_len, inline_len);
    if (item == NULL || payload == NULL)
        return item;
    const uint8_t *data = t->regions[payload->region].base + payload->offset;
    if (inline_len > 0) {
        memcpy(item->bytes + TL_FRAME_LEAD + header_len, data, payload_len);
    } else {
        struct tl_frame frame = {.type = TL_FRAME_MESSAGE, .body_len = header_len, .data_len = payload_len};
        tl_frame_head_put(item->bytes, &frame);
        item->data = data;
        item->data_len = payload_len;
    }
    item->region = (int)payload->region;
    item->wants_sent = true;
    tcp_region_hold(t, payload->region);
    return item;
}

int tcp_send(struct tl_net *net, struct tl_peer peer, const void *header, uint32_t header_len,
             const struct tl_net_payload *payload, uint64_t cookie)
{
    struct tcp *t = tcp_of(net);
    uint32_t payload_len = payload != NULL ? payload->len : 0;
    if (header_len > TL_MSG_HEADER_MAX || payload_len > TL_MSG_SIZE_MAX - header_len)
        return -EMSGSIZE;
    if (payload != NULL && tcp_region_at(t, payload->region, payload->offset, payload_len) == NULL)
        return -EINVAL;
    struct tcp_conn *c = tcp_conn_find(t, peer);
    if (c == NULL)
        return -ENOTCONN;
    uint32_t cost = TL_FRAME_LEAD + header_len + payload_len;
    struct tcp_item *item = tcp_queue_full(c, cost) ? NULL : message_item(t, header, header_len, payload, payload_len);
    if (item == NULL) {
        c->wants_writable = true; /* out of memory, too: as with a full queue, later is better */
        tcp_writable_check(c);
        return -EAGAIN;
    }
    item->cost = cost;
    item->sent.ev = (struct tl_net_event){.type = TL_NET_SENT, .peer = peer, .cookie = cookie};
    tcp_item_push(c, item, header_len, t->config.encrypt ? payload_len : 0);
    t->stats.messages_sent++;
    t->stats.bytes_sent += header_len + payload_len;
    return 0;
}

int tcp_side_send(struct tl_net *net, struct tl_peer peer, const void *bytes, uint32_t len)
{
    struct tcp_conn *c = tcp_conn_find(tcp_of(net), peer);
    if (len > TL_SIDE_BODY_MAX)
        return -EMSGSIZE;
    if (c == NULL)
        return -ENOTCONN;
    struct tcp_item *item = tcp_item_new(TL_FRAME_SIDE, bytes, len, 0);
    if (item == NULL)
        return -ENOMEM;
    item->cost = TL_FRAME_LEAD + len; /* few and small: not subject to the limit */
    tcp_item_push(c, item, len, 0);
    return 0;
}

void tcp_writable_check(struct tcp_conn *c)
{
    if (!c->wants_writable || c->writable_queued || c->state != TCP_UP)
        return;
    if (c->queued_bytes > TCP_QUEUE_BYTES_MAX / 2 || c->queued_count > TCP_QUEUE_COUNT_MAX / 2 ||
        c->read_count > TCP_READS_MAX / 2)
        return;
    c->wants_writable = false;
    c->writable_queued = true;
    c->writable.ev = (struct tl_net_event){.type = TL_NET_WRITABLE, .peer = c->peer};
    tcp_event_push(c->net, &c->writable);
}

static void item_done(struct tcp_conn *c)
{
    struct tcp_item *item = c->items;
    c->items = item->next;
    if (c->items == NULL)
        c->items_last = NULL;
    if (item->slice) {
        c->queued_slices -= item->bytes_len + item->data_len;
    } else {
        c->queued_bytes -= item->cost;
        c->queued_count--;
    }
    if (item->wants_sent)
        tcp_item_sent(c->net, item, 0);
    else
        tcp_item_free(c->net, item);
}

/* n bytes of the list are out. */
static void items_advance(struct tcp_conn *c, size_t n)
{
    while (c->items != NULL) {
        struct tcp_item *item = c->items;
        size_t left = item->bytes_len + item->data_len - item->done;
        size_t step = n < left ? n : left;
        item->done += (uint32_t)step;
        n -= step;
        if (step < left)
            break;
        item_done(c);
    }
    check(n == 0);
}

static void gather(struct iovec *iov, int *count, const uint8_t *from, size_t len)
{
    iov[*count].iov_base = (void *)(uintptr_t)from; /* sendmsg() only reads */
    iov[*count].iov_len = len;
    (*count)++;
}

/* One write of what lies in memory, up to the first item that continues by sendfile. */
static ssize_t write_gathered(struct tcp_conn *c)
{
    struct iovec iov[GATHER_MAX];
    int count = 0;
    bool more = false;
    for (const struct tcp_item *i = c->items; i != NULL && count < GATHER_MAX - 1 && !more; i = i->next) {
        uint32_t done = i->done;
        if (done < i->bytes_len)
            gather(iov, &count, i->bytes + done, i->bytes_len - done);
        more = i->by_sendfile;
        uint32_t data_done = done > i->bytes_len ? done - i->bytes_len : 0;
        if (!more && data_done < i->data_len)
            gather(iov, &count, i->data + data_done, i->data_len - data_done);
    }
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)count};
    return sendmsg(c->fd, &msg, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
}

/* sendfile() has no MSG_NOSIGNAL: the signal is blocked around it, and taken away if it came. It comes with a short
 * count, too, when the connection breaks half-way. */
static ssize_t write_file(struct tcp_conn *c, const struct tcp_item *item)
{
    uint32_t data_done = item->done - item->bytes_len;
    size_t want = item->data_len - data_done;
    off_t offset = (off_t)(item->data_offset + data_done);
    sigset_t pipe_set, old;
    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_set, &old);
    ssize_t n = sendfile(c->fd, c->net->regions[item->region].fd, &offset, want);
    int error = errno;
    if (n != (ssize_t)want && sigismember(&old, SIGPIPE) == 0) {
        struct timespec none = {0};
        sigtimedwait(&pipe_set, NULL, &none);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = n == 0 ? EIO : error; /* 0: the file is shorter than the region that was exposed */
    return n == 0 ? -1 : n;
}

void tcp_flush(struct tcp_conn *c)
{
    size_t budget = TCP_SEND_BUDGET;
    bool blocked = false;
    tcp_serve_fill(c);
    while (c->items != NULL && !blocked) {
        const struct tcp_item *item = c->items;
        bool file = item->by_sendfile && item->done >= item->bytes_len;
        ssize_t n = file ? write_file(c, item) : write_gathered(c);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            int status = -errno;
            tcp_conn_fail(c, status, status, "the connection to node %u at %s broke (%s)", c->peer.rank,
                          c->net->addresses[c->peer.rank], strerror(-status));
            return;
        }
        blocked = n < 0 && errno == EAGAIN;
        if (n < 0)
            continue;
        items_advance(c, (size_t)n);
        blocked = (size_t)n >= budget; /* the rest in the next round, after the other peers */
        budget -= blocked ? 0 : (size_t)n;
        tcp_serve_fill(c);
    }
    c->send_blocked = blocked && c->items != NULL;
    tcp_writable_check(c);
    int rc = tcp_conn_watch(c);
    if (rc != 0)
        tcp_conn_fail(c, rc, rc, "cannot wait for the connection to node %u (%s)", c->peer.rank, strerror(-rc));
}

void tcp_flush_dirty(struct tcp *t)
{
    while (t->dirty != NULL) {
        struct tcp_conn *c = t->dirty;
        t->dirty = c->next_dirty;
        c->dirty = false;
        if (c->state == TCP_UP)
            tcp_flush(c);
    }
}
