// SPDX-License-Identifier: Apache-2.0
/* Bytes to frames to events.
 *
 * Starts of frames come through the instance's scratch buffer; data goes to where it belongs: a message's own
 * buffer, or the landing region of a read. Head and body are checked against the MAC before anything is done with
 * them; the lengths in a head are used before that, but they are within the limits. An encrypted frame is collected
 * whole in a message's buffer first. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/tcp.h"

static struct tcp_message *message_new(uint32_t size)
{
    struct tcp_message *m = malloc(sizeof *m + size);
    if (m == NULL)
        return NULL;
    memset(m, 0, sizeof *m);
    m->size = size;
    return m;
}

/* The message is complete: m's bytes are header, then payload. */
static void message_deliver(struct tcp_conn *c, struct tcp_message *m, enum tl_frame_type type, uint32_t header_len)
{
    struct tcp *t = c->net;
    if (type == TL_FRAME_SIDE && !t->side_enabled) {
        free(m); /* the peer has a fabric, we have none */
        return;
    }
    int event = type == TL_FRAME_SIDE ? TCP_EVENT_SIDE : TL_NET_MESSAGE;
    m->event.ev = (struct tl_net_event){
        .type = (enum tl_net_event_type)event,
        .peer = c->peer,
        .header = m->bytes,
        .header_len = header_len,
        .payload = m->bytes + header_len,
        .payload_len = m->size - header_len,
        .private_data = m,
    };
    tcp_event_push(t, &m->event);
    if (type == TL_FRAME_SIDE)
        return;
    t->stats.messages_received++;
    t->stats.bytes_received += m->size;
    c->held_bytes += (uint32_t)sizeof *m + m->size;
    c->receive_paused = c->held_bytes >= TCP_HELD_BYTES_MAX;
}

void tcp_release(struct tl_net *net, struct tl_net_event *ev)
{
    struct tcp_message *m = ev->private_data;
    if (m == NULL)
        return;
    ev->private_data = NULL;
    struct tcp_conn *c = ev->type == TL_NET_MESSAGE ? tcp_conn_find(tcp_of(net), ev->peer) : NULL;
    if (c != NULL) {
        c->held_bytes -= (uint32_t)sizeof *m + m->size;
        if (c->receive_paused && c->held_bytes < TCP_HELD_BYTES_MAX / 2) {
            c->receive_paused = false;
            int rc = tcp_conn_watch(c);
            if (rc != 0)
                tcp_conn_fail(c, rc, rc, "cannot wait for the connection to node %u (%s)", c->peer.rank, strerror(-rc));
        }
    }
    free(m);
}

/* The data that comes is a slice for a region that has a file (and is not on its way to be decrypted first). */
static bool lands_in_file(const struct tcp_conn *c)
{
    const struct tcp_receiver *in = &c->in;
    return in->read != NULL && in->to != NULL && c->net->regions[in->read->dst_region].fd >= 0;
}

/* A frame's head and body are there and authentic. 0, -EBADMSG, -ENOMEM. */
static int frame_body(struct tcp_conn *c, const struct tl_frame *f, const uint8_t *body)
{
    struct tl_frame_read ask;
    struct tl_frame_bulk bulk;
    struct tl_frame_again again;
    c->in.left = f->data_len;
    switch (f->type) {
    case TL_FRAME_MESSAGE:
    case TL_FRAME_SIDE: {
        struct tcp_message *m = message_new(f->body_len + f->data_len);
        if (m == NULL)
            return -ENOMEM;
        memcpy(m->bytes, body, f->body_len);
        c->in.message = m;
        c->in.to = m->bytes + f->body_len;
        return 0;
    }
    case TL_FRAME_READ: return tl_frame_read_get(body, f->body_len, &ask) < 0 ? -EBADMSG : tcp_serve_add(c, &ask);
    case TL_FRAME_BULK:
        return tl_frame_bulk_get(body, f->body_len, f->data_len, &bulk) < 0 ? -EBADMSG
                                                                            : tcp_slice_begin(c, &bulk, f->data_len);
    case TL_FRAME_AGAIN:
        return tl_frame_again_get(body, f->body_len, &again) < 0 ? -EBADMSG : tcp_again_ready(c, &again);
    }
    return -EBADMSG;
}

/* An encrypted frame is complete in in.message. */
static int frame_decrypt(struct tcp_conn *c)
{
    struct tcp_message *m = c->in.message;
    const struct tl_frame f = c->in.frame;
    c->in.message = NULL;
    int rc = tl_secret_decrypt(&c->rx, c->in.part, m->bytes, m->size);
    if (rc == 0 && (f.type == TL_FRAME_MESSAGE || f.type == TL_FRAME_SIDE)) {
        message_deliver(c, m, f.type, f.body_len);
        return 0;
    }
    if (rc == 0)
        rc = frame_body(c, &f, m->bytes);
    if (rc == 0 && c->in.read != NULL) {
        if (c->in.to != NULL)
            memcpy(c->in.to, m->bytes + f.body_len, f.data_len);
        tcp_slice_end(c, f.data_len);
    }
    c->in.left = 0;
    free(m);
    return rc;
}

/* All data of a frame is there. */
static int frame_end(struct tcp_conn *c)
{
    struct tcp_receiver *in = &c->in;
    int rc = 0;
    if (c->net->config.encrypt) {
        rc = frame_decrypt(c);
    } else if (in->message != NULL) {
        struct tcp_message *m = in->message;
        in->message = NULL;
        message_deliver(c, m, in->frame.type, in->frame.body_len);
    } else if (in->read != NULL) {
        tcp_slice_end(c, in->frame.data_len);
    }
    in->part_len = 0;
    in->to = NULL;
    in->frame = (struct tl_frame){0};
    return rc;
}

/* The lead of a frame is in in.part, and for a clear frame its body, too. */
static int frame_begin(struct tcp_conn *c)
{
    struct tcp_receiver *in = &c->in;
    int rc;
    if (c->net->config.encrypt) {
        in->message = message_new(in->frame.body_len + in->frame.data_len);
        rc = in->message == NULL ? -ENOMEM : 0;
        if (rc == 0) {
            in->to = in->message->bytes;
            in->left = in->message->size;
        }
    } else {
        rc = tl_secret_check(&c->rx, in->part, in->frame.body_len);
        if (rc == 0)
            rc = frame_body(c, &in->frame, in->part + TL_FRAME_LEAD);
    }
    if (rc == 0 && in->left == 0)
        rc = frame_end(c);
    return rc;
}

/* Takes up to n bytes at p into the start of a frame. Bytes taken, -EBADMSG, -ENOMEM. */
static int consume_start(struct tcp_conn *c, const uint8_t *p, uint32_t n)
{
    struct tcp_receiver *in = &c->in;
    bool encrypted = c->net->config.encrypt;
    uint32_t want = TL_FRAME_LEAD;
    if (in->part_len >= TL_FRAME_LEAD) /* then frame is decoded */
        want += in->frame.body_len;
    uint32_t take = want - in->part_len < n ? want - in->part_len : n;
    memcpy(in->part + in->part_len, p, take);
    in->part_len += take;
    if (in->part_len < want)
        return (int)take;
    int rc = 0;
    if (want == TL_FRAME_LEAD)
        rc = tl_frame_head_get(in->part, in->part_len, encrypted, &in->frame);
    if (rc < 0)
        return rc;
    if (encrypted || in->part_len == TL_FRAME_LEAD + in->frame.body_len)
        rc = frame_begin(c);
    return rc < 0 ? rc : (int)take;
}

/* Writes to the region's file rather than through its mapping: pages that nobody has touched are then filled without being
 * cleared and mapped first, which is half of the cost of a chunk (docs/decisions/0012). 0, -errno. */
static int land(struct tcp_conn *c, const uint8_t *p, size_t n)
{
    const struct tcp_region *region = &c->net->regions[c->in.read->dst_region];
    uint64_t offset = (uint64_t)(c->in.to - region->base);
    while (n > 0) {
        ssize_t put = pwrite(region->fd, p, n, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? -errno : -EIO;
        p += put;
        offset += (uint64_t)put;
        n -= (size_t)put;
    }
    return 0;
}

/* Data of the present frame goes to where it belongs. */
static void put_data(struct tcp_conn *c, const uint8_t *p, size_t n)
{
    struct tcp_receiver *in = &c->in;
    if (in->to == NULL)
        return;
    if (!lands_in_file(c))
        memcpy(in->to, p, n);
    else if (land(c, p, n) != 0)
        tcp_slice_refuse(c, -ENOMEM); /* whatever the kernel says: it has no page */
    if (in->to != NULL)
        in->to += n;
}

/* Bytes from the scratch buffer. 0, -EBADMSG, -ENOMEM. */
static int consume(struct tcp_conn *c, const uint8_t *p, size_t n)
{
    struct tcp_receiver *in = &c->in;
    while (n > 0) {
        if (in->left == 0) {
            int used = consume_start(c, p, (uint32_t)n);
            if (used < 0)
                return used;
            p += used;
            n -= (size_t)used;
            continue;
        }
        uint32_t take = in->left < n ? in->left : (uint32_t)n;
        put_data(c, p, take);
        p += take;
        n -= take;
        in->left -= take;
        int rc = in->left == 0 ? frame_end(c) : 0;
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* One recv(). Bytes, 0 at the end, -errno; *want is what was asked for. */
static ssize_t receive_once(struct tcp_conn *c, size_t *want)
{
    struct tcp *t = c->net;
    struct tcp_receiver *in = &c->in;
    bool landing = in->left > 0 && lands_in_file(c);
    bool direct = in->left > 0 && in->to != NULL && !landing;
    /* With reads outstanding a slice may follow the next head at once: little is read ahead then, so that its data can
     * go to its place without a detour. */
    *want = sizeof t->scratch;
    if (direct || (landing && in->left < *want))
        *want = in->left;
    else if (c->reads != NULL && in->left == 0)
        *want = 4096;
    ssize_t n = recv(c->fd, direct ? in->to : t->scratch, *want, 0);
    if (n <= 0)
        return n == 0 ? 0 : -errno;
    int rc = 0;
    if (direct) {
        in->to += n;
        in->left -= (uint32_t)n;
        rc = in->left == 0 ? frame_end(c) : 0;
    } else {
        rc = consume(c, t->scratch, (size_t)n);
    }
    return rc < 0 ? rc : n;
}

static void receive_failed(struct tcp_conn *c, int status)
{
    const char *address = c->net->addresses[c->peer.rank];
    if (status == -EBADMSG)
        tcp_conn_offence(c, "a frame that fails its check");
    else if (status == 0)
        tcp_conn_fail(c, -ECONNRESET, -ECONNRESET, "node %u at %s closed the connection", c->peer.rank, address);
    else
        tcp_conn_fail(c, status, status, "the connection to node %u at %s broke (%s)", c->peer.rank, address,
                      strerror(-status));
}

void tcp_receive(struct tcp_conn *c)
{
    size_t budget = TCP_RECEIVE_BUDGET;
    while (!c->receive_paused) {
        size_t want;
        ssize_t n = receive_once(c, &want);
        if (n == -EINTR)
            continue;
        if (n == -EAGAIN)
            break;
        if (n <= 0) {
            receive_failed(c, (int)n);
            return;
        }
        if ((size_t)n < want || (size_t)n >= budget)
            break; /* the socket is empty, or it is the other peers' turn; epoll tells when there is more */
        budget -= (size_t)n;
    }
    int rc = tcp_conn_watch(c);
    if (rc != 0)
        receive_failed(c, rc);
}
