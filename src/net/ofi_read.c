// SPDX-License-Identifier: Apache-2.0
/* Reads over the fabric: posting, completions, repeats, deadlines, fallback to TCP, and the fence. */
#include "net/ofi.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum { CQ_BATCH = 16 };

void ofi_deadline(struct ofi *o, uint64_t deadline_ns)
{
    if (deadline_ns < o->next_ns)
        o->next_ns = deadline_ns;
}

static struct ofi_op *op_new(struct ofi *o, struct tl_peer peer)
{
    struct ofi_op *op = calloc(1, sizeof *op);
    if (op == NULL)
        return NULL;
    op->peer = peer;
    op->probe = -1;
    op->since_ns = o->now_ns;
    op->prev = o->ops_last;
    if (o->ops_last != NULL)
        o->ops_last->next = op;
    else
        o->ops = op;
    o->ops_last = op;
    o->op_count++;
    return op;
}

static void op_unlink(struct ofi *o, struct ofi_op *op)
{
    check(!op->posted);
    if (op->prev != NULL)
        op->prev->next = op->next;
    else
        o->ops = op->next;
    if (op->next != NULL)
        op->next->prev = op->prev;
    else
        o->ops_last = op->prev;
    o->op_count--;
    if (op->probe >= 0)
        o->probe_slots &= ~(1u << op->probe);
    else
        tcp_region_unhold(ofi_tcp(o), op->dst_region);
}

void ofi_op_free(struct ofi *o, struct ofi_op *op)
{
    op_unlink(o, op);
    free(op);
}

/* READ for the owner; the op is freed when it is handed out. */
static void op_end(struct ofi *o, struct ofi_op *op, int status)
{
    op_unlink(o, op);
    op->event.ev.status = status;
    op->event.ev.private_data = op;
    op->event.next = NULL;
    if (o->queue.last != NULL)
        o->queue.last->next = &op->event;
    else
        o->queue.first = &op->event;
    o->queue.last = &op->event;
}

static void op_later(struct ofi *o, struct ofi_op *op)
{
    uint64_t longer = 2 * op->backoff_ns;
    op->backoff_ns = longer < OFI_RETRY_MIN_NS   ? OFI_RETRY_MIN_NS
                     : longer > OFI_RETRY_MAX_NS ? OFI_RETRY_MAX_NS
                                                 : longer;
    op->retry_ns = o->now_ns + op->backoff_ns;
    ofi_deadline(o, op->retry_ns < op->deadline_ns ? op->retry_ns : op->deadline_ns);
}

/* The fabric does not do this read: TCP will, within what is left of the deadline. */
static void fall_back(struct ofi *o, struct ofi_op *op)
{
    int rc = o->tcp->ops->read(o->tcp, op->peer, op->region, op->offset, op->dst_region, op->dst_offset, op->len,
                               op->deadline_ns, op->event.ev.cookie);
    if (rc == -EAGAIN) {
        op_later(o, op);
        return;
    }
    o->fallbacks++;
    if (rc == 0)
        ofi_op_free(o, op); /* its READ is TCP's now */
    else
        op_end(o, op, rc);
}

static void *description(const struct ofi *o, const struct ofi_memory *m)
{
    return (o->info->domain_attr->mr_mode & FI_MR_LOCAL) != 0 ? fi_mr_desc(m->mr) : NULL;
}

static ssize_t post(struct ofi *o, struct ofi_op *op, const struct ofi_peer *p)
{
    if (op->probe >= 0) {
        uint8_t *to = o->probe_memory + OFI_PROBE_SIZE * (size_t)(1 + op->probe);
        return fi_read(o->at.ep, to, OFI_PROBE_SIZE, description(o, &o->probe), p->fi_addr, p->probe.remote,
                       p->probe.key, &op->context);
    }
    const struct ofi_remote *from = ofi_peer_remote(p, op->region, op->offset, op->len);
    const struct ofi_memory *to = &o->regions[op->dst_region];
    if (from == NULL || to->mr == NULL)
        return -FI_EINVAL;
    return fi_read(o->at.ep, ofi_tcp(o)->regions[op->dst_region].base + op->dst_offset, op->len, description(o, to),
                   p->fi_addr, from->remote + op->offset, from->key, &op->context);
}

static void op_try(struct ofi *o, struct ofi_op *op)
{
    const struct ofi_peer *p = ofi_peer_find(o, op->peer);
    bool usable = p != NULL && o->at.ep != NULL && p->state == (op->probe >= 0 ? OFI_PROBING : OFI_READY);
    ssize_t rc = usable ? post(o, op, p) : -FI_EOTHER;
    if (rc == 0) {
        op->posted = true;
        o->posted_count++;
        ofi_deadline(o, op->deadline_ns);
    } else if (rc == -FI_EAGAIN && o->now_ns - op->since_ns < OFI_STUCK_NS) {
        op_later(o, op); /* no room, or the peer is not connected yet, or gone: it does not say */
    } else if (op->probe >= 0) {
        ofi_peer_probed(o, op, false);
        ofi_op_free(o, op);
    } else {
        if (usable)
            ofi_peer_demote(o, op->peer.rank);
        fall_back(o, op);
    }
}

void ofi_probe_start(struct ofi *o, struct ofi_peer *p, int slot)
{
    struct ofi_op *op = op_new(o, p->peer);
    if (op == NULL) {
        p->state = OFI_TOLD;
        return;
    }
    op->probe = slot;
    o->probe_slots |= 1u << slot;
    op->offset = p->probe_seed;
    op->deadline_ns = o->now_ns + OFI_PROBE_NS;
    memset(o->probe_memory + OFI_PROBE_SIZE * (size_t)(1 + slot), 0, OFI_PROBE_SIZE);
    op_try(o, op);
}

/* The fabric writes through the mapping, where a missing page that is not to be had would be SIGBUS. */
static int populate(const struct tcp_region *dst, uint64_t offset, uint32_t len)
{
    return dst->fd < 0 || fallocate(dst->fd, 0, (off_t)offset, (off_t)len) == 0 ? 0 : -ENOMEM;
}

int ofi_read(struct tl_net *net, struct tl_peer peer, uint32_t region, uint64_t offset, uint32_t dst_region,
             uint64_t dst_offset, uint32_t len, uint64_t deadline_ns, uint64_t cookie)
{
    struct ofi *o = ofi_of(net);
    struct tcp *t = ofi_tcp(o);
    struct ofi_peer *p = ofi_peer_find(o, peer);
    if (p != NULL)
        ofi_peer_probe(o, p);
    const struct tcp_region *dst = tcp_region_at(t, dst_region, dst_offset, len);
    bool fabric = p != NULL && p->state == OFI_READY && o->op_count < OFI_OPS_MAX && len > 0 &&
                  len <= o->info->ep_attr->max_msg_size && dst != NULL && o->regions[dst_region].mr != NULL &&
                  (dst->flags & TL_REGION_LAND) != 0 && tcp_conn_find(t, peer) != NULL &&
                  ofi_peer_remote(p, region, offset, len) != NULL;
    if (fabric && populate(dst, dst_offset, len) != 0)
        return -ENOMEM;
    struct ofi_op *op = fabric ? op_new(o, peer) : NULL;
    if (op == NULL)
        return o->tcp->ops->read(o->tcp, peer, region, offset, dst_region, dst_offset, len, deadline_ns, cookie);
    op->event.ev = (struct tl_net_event){.type = TL_NET_READ, .peer = peer, .cookie = cookie};
    op->region = region;
    op->offset = offset;
    op->dst_region = dst_region;
    op->dst_offset = dst_offset;
    op->len = len;
    op->deadline_ns = deadline_ns;
    tcp_region_hold(t, dst_region);
    op_try(o, op);
    return 0;
}

/* The fabric has let go of op: nothing of it will be written any more. */
static void op_completed(struct ofi *o, struct ofi_op *op, bool good)
{
    check(op->posted);
    op->posted = false;
    o->posted_count--;
    if (op->probe >= 0) {
        if (!op->expired)
            ofi_peer_probed(o, op, good);
        ofi_op_free(o, op);
    } else if (op->ended != 0) {
        op_end(o, op, op->ended);
    } else if (good) {
        o->fabric_reads++;
        o->fabric_bytes += op->len;
        op_end(o, op, 0);
    } else if (op->deadline_ns <= o->now_ns) {
        op_end(o, op, -ETIMEDOUT);
    } else {
        ofi_peer_demote(o, op->peer.rank);
        fall_back(o, op);
    }
}

static void retry_waiting(struct ofi *o, bool room)
{
    struct ofi_op *op = o->ops, *next;
    for (uint32_t left = o->op_count; left > 0 && op != NULL; left--, op = next) {
        next = op->next;
        if (!op->posted && (room || op->retry_ns <= o->now_ns))
            op_try(o, op);
    }
}

void ofi_progress(struct ofi *o)
{
    struct fi_cq_entry entries[CQ_BATCH];
    uint32_t taken = 0;
    o->again = false;
    ofi_tcp(o)->side_ready = false;
    while (o->at.cq != NULL && taken < OFI_COMPLETIONS_MAX) {
        ssize_t n = fi_cq_read(o->at.cq, entries, CQ_BATCH);
        for (ssize_t i = 0; i < n; i++)
            op_completed(o, entries[i].op_context, true);
        taken += n > 0 ? (uint32_t)n : 0;
        if (n == -FI_EAVAIL) {
            struct fi_cq_err_entry error = {0};
            if (fi_cq_readerr(o->at.cq, &error, 0) <= 0 || error.op_context == NULL)
                break;
            op_completed(o, error.op_context, false);
            taken++;
        } else if (n <= 0) {
            break;
        }
    }
    o->again = taken >= OFI_COMPLETIONS_MAX;
    if (taken > 0)
        retry_waiting(o, true);
}

void ofi_fence(struct ofi *o)
{
    ofi_endpoint_close(o);
    for (uint32_t rank = 0; rank < ofi_tcp(o)->config.node_count; rank++) {
        if (o->peers[rank] == NULL)
            continue;
        o->peers[rank]->inserted = false;
        ofi_peer_demote(o, rank);
    }
    struct ofi_op *op = o->ops, *next;
    for (uint32_t left = o->op_count; left > 0; left--, op = next) {
        next = op->next;
        if (op->posted)
            op_completed(o, op, false);
    }
    if (ofi_endpoint_open(o, NULL) == 0)
        ofi_tell_all(o);
}

void ofi_reads_expire(struct ofi *o)
{
    bool fence = false;
    o->next_ns = TCP_NEVER;
    struct ofi_op *op = o->ops, *next;
    for (; op != NULL; op = next) {
        next = op->next;
        bool late = op->deadline_ns <= o->now_ns;
        if (op->probe >= 0 && late && !op->expired) {
            op->expired = true;
            ofi_peer_demote(o, op->peer.rank);
        }
        if (!op->posted && late && op->probe >= 0)
            ofi_op_free(o, op);
        else if (!op->posted && late)
            op_end(o, op, -ETIMEDOUT);
        else if (!op->posted)
            ofi_deadline(o, op->retry_ns < op->deadline_ns ? op->retry_ns : op->deadline_ns);
        else if (!late)
            ofi_deadline(o, op->deadline_ns);
        else if (op->probe < 0 && op->deadline_ns + OFI_GRACE_NS > o->now_ns)
            ofi_deadline(o, op->deadline_ns + OFI_GRACE_NS);
        else if (op->probe < 0)
            fence = true; /* a probe lands in memory of ours: it may come as late as it likes */
    }
    if (fence)
        ofi_fence(o);
    retry_waiting(o, false);
}

bool ofi_reads_end(struct ofi *o, struct tl_peer peer, int status)
{
    bool clear = true;
    struct ofi_op *op = o->ops, *next;
    for (; op != NULL; op = next) {
        next = op->next;
        if (op->peer.rank != peer.rank || op->peer.gen != peer.gen || op->expired)
            continue;
        op->expired = op->probe >= 0;
        op->ended = status;
        if (op->posted)
            clear = clear && op->probe >= 0;
        else if (op->probe >= 0)
            ofi_op_free(o, op);
        else
            op_end(o, op, status);
    }
    return clear;
}
