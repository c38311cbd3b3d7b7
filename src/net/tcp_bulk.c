// SPDX-License-Identifier: Apache-2.0
/* Bulk: read() pulls, the other side serves.
 *
 * Reads of one connection are answered in the order in which they were asked, in slices; so the next slice can only
 * belong to the oldest read, and a receiver knows where its bytes go before they come. The server holds the region until
 * the last slice is in the socket. It sends large slices from the region's descriptor: the pages may still be on their
 * way after that, so memory that was exposed is freed by punching, never overwritten (net/transport.h, cache/arena.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/tcp.h"

/* ---- asking ---- */

static void read_done(struct tcp_conn *c, struct tcp_read *r, int status)
{
    tcp_region_unhold(c->net, r->dst_region);
    r->event.ev.status = status;
    r->event.ev.private_data = r;
    tcp_event_push(c->net, &r->event);
}

static void reads_pop(struct tcp_conn *c)
{
    c->reads = c->reads->next;
    if (c->reads == NULL)
        c->reads_last = NULL;
    c->read_count--;
    tcp_writable_check(c);
}

int tcp_read(struct tl_net *net, struct tl_peer peer, uint32_t region, uint64_t offset, uint32_t dst_region,
             uint64_t dst_offset, uint32_t len, uint64_t deadline_ns, uint64_t cookie)
{
    struct tcp *t = tcp_of(net);
    const struct tcp_region *dst = tcp_region_at(t, dst_region, dst_offset, len);
    if (len == 0 || dst == NULL || (dst->flags & TL_REGION_LAND) == 0)
        return -EINVAL;
    struct tcp_conn *c = tcp_conn_find(t, peer);
    if (c == NULL)
        return -ENOTCONN;
    uint8_t body[TL_READ_BODY_SIZE];
    struct tl_frame_read ask = {.id = ++t->next_read_id, .offset = offset, .region = region, .len = len};
    tl_frame_read_put(body, &ask);
    uint32_t cost = TL_FRAME_LEAD + TL_READ_BODY_SIZE;
    bool full = c->read_count >= TCP_READS_MAX || tcp_queue_full(c, cost);
    struct tcp_read *r = full ? NULL : calloc(1, sizeof *r);
    struct tcp_item *item = r == NULL ? NULL : tcp_item_new(TL_FRAME_READ, body, sizeof body, 0);
    if (item == NULL) {
        free(r);
        c->wants_writable = true;
        tcp_writable_check(c);
        return -EAGAIN;
    }
    item->cost = cost;
    tcp_item_push(c, item, sizeof body, 0);
    r->event.ev = (struct tl_net_event){.type = TL_NET_READ, .peer = peer, .cookie = cookie};
    r->id = ask.id;
    r->deadline_ns = deadline_ns;
    r->dst_region = dst_region;
    r->dst_offset = dst_offset;
    r->len = len;
    tcp_region_hold(t, dst_region);
    if (c->reads_last != NULL)
        c->reads_last->next = r;
    else
        c->reads = r;
    c->reads_last = r;
    c->read_count++;
    tcp_deadline(t, deadline_ns);
    t->stats.reads_issued++;
    return 0;
}

/* The slice's place, or NULL when nobody waits for it any more. */
static uint8_t *slice_place(const struct tcp_conn *c, const struct tcp_read *r)
{
    return r->given_up ? NULL : c->net->regions[r->dst_region].base + r->dst_offset + r->done;
}

int tcp_slice_begin(struct tcp_conn *c, const struct tl_frame_bulk *bulk, uint32_t data_len)
{
    struct tcp_read *r = c->reads;
    if (r == NULL || bulk->id != r->id || bulk->offset != r->done || data_len > r->len - r->done)
        return -EBADMSG;
    if (bulk->status != 0) {
        reads_pop(c);
        if (r->given_up)
            free(r);
        else
            read_done(c, r, bulk->status);
        return 0;
    }
    c->in.read = r;
    c->in.to = slice_place(c, r);
    return 0;
}

void tcp_slice_end(struct tcp_conn *c, uint32_t data_len)
{
    struct tcp_read *r = c->in.read;
    c->in.read = NULL;
    r->done += data_len;
    c->net->stats.read_bytes_in += data_len;
    if (r->done < r->len)
        return;
    check(r == c->reads);
    reads_pop(c);
    if (r->given_up)
        free(r);
    else
        read_done(c, r, 0);
}

/* A given-up read stays in the list as a place holder without an event: READ is a copy, so that the rest of its bytes
 * can be told from the next read's. */
static int read_give_up(struct tcp_conn *c, struct tcp_read *r, int status)
{
    struct tcp_read *told = malloc(sizeof *told);
    if (told == NULL)
        return -ENOMEM;
    *told = *r;
    r->given_up = true;
    if (c->in.read == r)
        c->in.to = NULL;
    read_done(c, told, status);
    return 0;
}

void tcp_slice_refuse(struct tcp_conn *c, int status)
{
    if (read_give_up(c, c->in.read, status) != 0)
        c->in.to = NULL; /* it ends when its time is over */
}

void tcp_reads_expire(struct tcp_conn *c, uint64_t now_ns)
{
    for (struct tcp_read *r = c->reads; r != NULL; r = r->next) {
        if (r->given_up)
            continue;
        if (r->deadline_ns > now_ns || read_give_up(c, r, -ETIMEDOUT) != 0)
            tcp_deadline(c->net, r->deadline_ns > now_ns ? r->deadline_ns : now_ns + 10000000);
    }
}

void tcp_reads_fail(struct tcp_conn *c, int status)
{
    c->in.read = NULL;
    while (c->reads != NULL) {
        struct tcp_read *r = c->reads;
        reads_pop(c);
        if (r->given_up)
            free(r);
        else
            read_done(c, r, status);
    }
}

/* ---- serving ---- */

int tcp_serve_add(struct tcp_conn *c, const struct tl_frame_read *ask)
{
    struct tcp *t = c->net;
    if (c->serve_count >= TCP_SERVES_MAX)
        return -EBADMSG;
    struct tcp_serve *serve = calloc(1, sizeof *serve);
    if (serve == NULL)
        return -ENOMEM;
    *serve = (struct tcp_serve){.id = ask->id, .offset = ask->offset, .region = ask->region, .len = ask->len};
    const struct tcp_region *region = tcp_region_at(t, ask->region, ask->offset, ask->len);
    if (region == NULL)
        serve->status = -EINVAL;
    else if ((region->flags & TL_REGION_SERVE) == 0)
        serve->status = -EACCES;
    else
        tcp_region_hold(t, ask->region);
    if (c->serves_last != NULL)
        c->serves_last->next = serve;
    else
        c->serves = serve;
    c->serves_last = serve;
    c->serve_count++;
    tcp_dirty(c);
    return 0;
}

static struct tcp_item *slice_item(struct tcp *t, const struct tcp_serve *serve, uint32_t len)
{
    uint8_t body[TL_BULK_BODY_SIZE];
    tl_frame_bulk_put(body, &(struct tl_frame_bulk){.id = serve->id, .offset = serve->done, .status = serve->status});
    uint32_t inline_len = t->config.encrypt ? len : 0;
    struct tcp_item *item = tcp_item_new(TL_FRAME_BULK, body, sizeof body, inline_len);
    if (item == NULL)
        return NULL;
    item->slice = true;
    if (len == 0)
        return item;
    const struct tcp_region *region = &t->regions[serve->region];
    uint64_t offset = serve->offset + serve->done;
    if (inline_len > 0) {
        memcpy(item->bytes + TL_FRAME_LEAD + sizeof body, region->base + offset, len);
        return item;
    }
    struct tl_frame frame = {.type = TL_FRAME_BULK, .body_len = sizeof body, .data_len = len};
    tl_frame_head_put(item->bytes, &frame);
    item->data = region->base + offset;
    item->data_offset = offset;
    item->data_len = len;
    item->by_sendfile = len >= TCP_SENDFILE_MIN && region->fd >= 0;
    item->region = (int)serve->region;
    tcp_region_hold(t, serve->region);
    return item;
}

static void serve_pop(struct tcp_conn *c)
{
    struct tcp_serve *serve = c->serves;
    c->serves = serve->next;
    if (c->serves == NULL)
        c->serves_last = NULL;
    c->serve_count--;
    if (serve->status == 0) {
        tcp_region_unhold(c->net, serve->region);
        c->net->stats.reads_served++;
    }
    free(serve);
}

void tcp_serve_fill(struct tcp_conn *c)
{
    bool encrypt = c->net->config.encrypt;
    uint32_t slice_max = encrypt ? TL_SLICE_CRYPT_MAX : TL_SLICE_MAX;
    while (c->serves != NULL && c->queued_slices < slice_max) {
        struct tcp_serve *serve = c->serves;
        uint32_t left = serve->len - serve->done;
        uint32_t len = serve->status != 0 ? 0 : left < slice_max ? left : slice_max;
        struct tcp_item *item = slice_item(c->net, serve, len);
        if (item == NULL) {
            /* Served when there is memory again: what is queued makes a next round, or the timer below does. */
            tcp_deadline(c->net, c->net->now_ns + 10000000);
            return;
        }
        tcp_item_push(c, item, TL_BULK_BODY_SIZE, encrypt ? len : 0);
        serve->done += len;
        c->net->stats.read_bytes_out += len;
        if (serve->status != 0 || serve->done == serve->len)
            serve_pop(c);
    }
}
