// SPDX-License-Identifier: Apache-2.0
/* The libfabric transport: opening, closing, polling, and what passes through to TCP. See ofi.h for the parts. */
#include "net/ofi.h"

#include <errno.h>
#include <stdlib.h>

static int ofi_connect(struct tl_net *net, uint32_t rank, uint64_t now_ns, struct tl_peer *out)
{
    struct tl_net *tcp = ofi_of(net)->tcp;
    return tcp->ops->connect(tcp, rank, now_ns, out);
}

static int ofi_drop(struct tl_net *net, struct tl_peer peer)
{
    struct tl_net *tcp = ofi_of(net)->tcp;
    return tcp->ops->drop(tcp, peer); /* its DOWN ends the fabric's reads, too */
}

static int ofi_send(struct tl_net *net, struct tl_peer peer, const void *header, uint32_t header_len,
                    const struct tl_net_payload *payload, uint64_t cookie)
{
    struct tl_net *tcp = ofi_of(net)->tcp;
    return tcp->ops->send(tcp, peer, header, header_len, payload, cookie);
}

static void ofi_release(struct tl_net *net, struct tl_net_event *ev)
{
    struct tl_net *tcp = ofi_of(net)->tcp;
    tcp->ops->release(tcp, ev);
}

static void ofi_ready(struct tl_net *net, uint64_t data, uint32_t events)
{
    struct tl_net *tcp = ofi_of(net)->tcp;
    tcp->ops->ready(tcp, data, events);
}

static int ofi_fd(struct tl_net *net)
{
    struct tl_net *tcp = ofi_of(net)->tcp;
    return tcp->ops->fd(tcp); /* the fabric's descriptor is in it */
}

static int ofi_expose(struct tl_net *net, int fd, void *base, size_t len, unsigned flags)
{
    struct ofi *o = ofi_of(net);
    int region = o->tcp->ops->expose(o->tcp, fd, base, len, flags);
    if (region < 0)
        return region;
    uint64_t access =
        ((flags & TL_REGION_SERVE) != 0 ? FI_REMOTE_READ : 0) | ((flags & TL_REGION_LAND) != 0 ? FI_READ : 0);
    ofi_memory_register(o, &o->regions[region], base, len, access);
    if (o->regions[region].mr != NULL && (flags & TL_REGION_SERVE) != 0)
        ofi_tell_region(o, (uint32_t)region);
    return region;
}

static int ofi_retract(struct tl_net *net, uint32_t region)
{
    struct ofi *o = ofi_of(net);
    int rc = o->tcp->ops->retract(o->tcp, region);
    if (rc == 0 && o->regions[region].mr != NULL) {
        ofi_memory_release(&o->regions[region]);
        ofi_tell_region(o, region);
    }
    return rc;
}

static void ofi_caps(struct tl_net *net, struct tl_net_caps *out)
{
    *out = (struct tl_net_caps){.one_sided = ofi_of(net)->hardware, .down_reliable = true};
}

static void ofi_keys(struct tl_net *net, const struct tl_net_key *keys, uint32_t count)
{
    const struct ofi *o = ofi_of(net);
    o->tcp->ops->keys(o->tcp, keys, count);
}

static void ofi_stats(struct tl_net *net, struct tl_net_stats *out)
{
    const struct ofi *o = ofi_of(net);
    o->tcp->ops->stats(o->tcp, out);
    out->reads_issued += o->fabric_reads;
    out->read_bytes_in += o->fabric_bytes;
    out->bulk_fallbacks += o->fallbacks;
}

/* A DOWN may be handed out when no read of that peer is on the fabric any more, and their READs were. Until then TCP is
 * not polled: events keep their order. That takes OFI_GRACE_NS at most, and only when a peer dies under reads. */
static bool down_ready(struct ofi *o, const struct tl_net_event *ev)
{
    bool clear = ofi_reads_end(o, ev->peer, ev->status);
    if (!clear && o->stage_since_ns == 0) {
        o->stage_since_ns = o->now_ns;
        ofi_deadline(o, o->now_ns + OFI_GRACE_NS);
    }
    if (!clear && o->now_ns < o->stage_since_ns + OFI_GRACE_NS)
        return false;
    o->stage_since_ns = 0;
    if (!clear)
        ofi_fence(o);
    return o->queue.first == NULL;
}

/* The next event of TCP. 1: for the owner, 0: not for it, -1: has to wait. */
static int stage_take(struct ofi *o, struct tl_net_event *out)
{
    struct tl_net_event *ev = &o->stage[o->stage_next];
    if (ev->type == TL_NET_DOWN) {
        if (!down_ready(o, ev))
            return o->queue.first != NULL ? 0 : -1;
        ofi_peer_down(o, ev->peer.rank);
    }
    o->stage_next++;
    if (ev->type == TL_NET_UP)
        ofi_peer_up(o, ev->peer);
    if ((int)ev->type == TCP_EVENT_SIDE) {
        ofi_peer_told(o, ev);
        o->tcp->ops->release(o->tcp, ev);
        return 0;
    }
    *out = *ev;
    return 1;
}

static void hand_out_read(struct ofi *o, struct tl_net_event *out)
{
    struct tcp_event *e = o->queue.first;
    o->queue.first = e->next;
    if (o->queue.first == NULL)
        o->queue.last = NULL;
    *out = e->ev;
    out->private_data = NULL;
    free(e->ev.private_data);
}

static int ofi_poll(struct tl_net *net, struct tl_net_event *events, int max, uint64_t now_ns)
{
    struct ofi *o = ofi_of(net);
    o->now_ns = now_ns;
    if (o->stage_next == o->stage_count) {
        o->stage_count = (uint32_t)o->tcp->ops->poll(o->tcp, o->stage, OFI_STAGE, now_ns);
        o->stage_next = 0;
    }
    if (ofi_tcp(o)->side_ready || o->posted_count > 0 || o->again)
        ofi_progress(o);
    if (now_ns >= o->next_ns)
        ofi_reads_expire(o);
    int count = 0;
    while (count < max) {
        if (o->queue.first != NULL) {
            hand_out_read(o, &events[count++]);
            continue;
        }
        int taken = o->stage_next < o->stage_count ? stage_take(o, &events[count]) : -1;
        if (taken < 0)
            break;
        count += taken;
    }
    return count;
}

static int ofi_arm(struct tl_net *net, uint64_t *next_ns)
{
    struct ofi *o = ofi_of(net);
    int again = o->tcp->ops->arm(o->tcp, next_ns);
    bool waits = o->stage_since_ns != 0;
    if (o->next_ns < *next_ns)
        *next_ns = o->next_ns;
    if (o->cxi && o->posted_count > 0 && o->now_ns + OFI_CXI_SLEEP_NS < *next_ns)
        *next_ns = o->now_ns + OFI_CXI_SLEEP_NS;
    if (o->queue.first != NULL || o->again || (!waits && (again != 0 || o->stage_next < o->stage_count)))
        return 1;
    if (o->at.cq == NULL)
        return 0;
    struct fid *fid = &o->at.cq->fid;
    o->again = fi_trywait(o->fabric, &fid, 1) != 0;
    return o->again;
}

static void ofi_close(struct tl_net *net)
{
    if (net == NULL)
        return;
    struct ofi *o = ofi_of(net);
    ofi_fabric_close(o); /* nothing is written to the owner's memory from here on */
    while (o->ops != NULL) {
        o->ops->posted = false;
        ofi_op_free(o, o->ops);
    }
    while (o->queue.first != NULL) {
        struct tl_net_event ev;
        hand_out_read(o, &ev);
    }
    for (; o->stage_next < o->stage_count; o->stage_next++)
        o->tcp->ops->release(o->tcp, &o->stage[o->stage_next]);
    for (uint32_t i = 0; o->peers != NULL && i < ofi_tcp(o)->config.node_count; i++)
        ofi_peer_free(o->peers[i]);
    free(o->peers);
    free(o->probe_memory);
    if (o->tcp != NULL)
        o->tcp->ops->close(o->tcp);
    free(o);
}

static const struct tl_net_ops ofi_ops = {
    .name = "ofi",
    .close = ofi_close,
    .caps = ofi_caps,
    .stats = ofi_stats,
    .keys = ofi_keys,
    .connect = ofi_connect,
    .drop = ofi_drop,
    .send = ofi_send,
    .release = ofi_release,
    .expose = ofi_expose,
    .retract = ofi_retract,
    .read = ofi_read,
    .fd = ofi_fd,
    .ready = ofi_ready,
    .poll = ofi_poll,
    .arm = ofi_arm,
};

static int open_parts(struct ofi *o, const struct tl_net_config *config, const char *provider, struct tl_error *err)
{
    if (config->encrypt)
        return tl_error_set(err, -ENOTSUP, "a fabric does not encrypt: with --encrypt, bulk goes over TCP");
    int rc = tl_net_tcp_open(&o->tcp, config, err);
    if (rc != 0)
        return rc;
    o->peers = calloc(config->node_count, sizeof(struct ofi_peer *));
    size_t probe_bytes = OFI_PROBE_SIZE * (1 + OFI_PROBE_SLOTS);
    o->probe_memory = aligned_alloc(OFI_PROBE_SIZE, probe_bytes);
    if (o->peers == NULL || o->probe_memory == NULL)
        return tl_error_set(err, -ENOMEM, "out of memory for the fabric");
    tl_secret_random(&o->probe_seed, sizeof o->probe_seed);
    ofi_probe_fill(o->probe_memory, o->probe_seed);
    rc = ofi_fabric_open(o, provider, err);
    if (rc == 0)
        rc = ofi_endpoint_open(o, err);
    if (rc == 0)
        tcp_side_enable(o->tcp);
    return rc;
}

int tl_net_ofi_open(struct tl_net **out, const struct tl_net_config *config, const char *provider, struct tl_error *err)
{
    struct ofi *o = calloc(1, sizeof *o);
    if (o == NULL)
        return tl_error_set(err, -ENOMEM, "out of memory for the fabric");
    o->base.ops = &ofi_ops;
    o->at.wait_fd = -1;
    o->next_ns = TCP_NEVER;
    int rc = open_parts(o, config, provider, err);
    if (rc != 0) {
        ofi_close(&o->base);
        return rc;
    }
    *out = &o->base;
    return 0;
}
