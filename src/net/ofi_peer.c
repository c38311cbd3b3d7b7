// SPDX-License-Identifier: Apache-2.0
/* What peers tell each other about the fabric, in side frames of the authenticated TCP connection; probes; demotion.
 *
 *     ADDRESS  provider, fabric address, the probe's place and seed; replaces all that was told before
 *     REGION   number, place, key, length; length 0: gone
 *
 * A peer is of the same build or at least the same wire version; still, what it tells is checked for its lengths. */
#include "net/ofi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/prng.h"

enum { TELL_ADDRESS = 1, TELL_REGION = 2 };
enum { ADDRESS_FIXED = 4 + OFI_PROVIDER_MAX + 3 * 8, REGION_SIZE = 4 + 4 + 3 * 8 };

void ofi_probe_fill(uint8_t *out, uint64_t seed)
{
    for (uint32_t i = 0; i < OFI_PROBE_SIZE / 8; i++)
        tl_put_u64(out + 8 * (size_t)i, tl_prng_draw(seed, 0, i, 0, 0));
}

static void tell_address(struct ofi *o, struct tl_peer peer)
{
    uint8_t text[ADDRESS_FIXED + OFI_ADDRESS_MAX] = {0};
    tl_put_u16(text, TELL_ADDRESS);
    tl_put_u16(text + 2, (uint16_t)o->at.address_len);
    memcpy(text + 4, o->provider, OFI_PROVIDER_MAX);
    tl_put_u64(text + 4 + OFI_PROVIDER_MAX, o->probe.remote);
    tl_put_u64(text + 12 + OFI_PROVIDER_MAX, o->probe.mr != NULL ? fi_mr_key(o->probe.mr) : 0);
    tl_put_u64(text + 20 + OFI_PROVIDER_MAX, o->probe_seed);
    memcpy(text + ADDRESS_FIXED, o->at.address, o->at.address_len);
    /* Not told, for want of memory: the peer goes on over TCP. */
    (void)tcp_side_send(o->tcp, peer, text, (uint32_t)(ADDRESS_FIXED + o->at.address_len));
}

static void tell_region(struct ofi *o, struct tl_peer peer, uint32_t region)
{
    const struct ofi_memory *m = &o->regions[region];
    const struct tcp_region *r = &ofi_tcp(o)->regions[region];
    bool served = m->mr != NULL && (r->flags & TL_REGION_SERVE) != 0;
    uint8_t text[REGION_SIZE] = {0};
    tl_put_u16(text, TELL_REGION);
    tl_put_u32(text + 4, region);
    tl_put_u64(text + 8, served ? m->remote : 0);
    tl_put_u64(text + 16, served ? fi_mr_key(m->mr) : 0);
    tl_put_u64(text + 24, served ? r->len : 0);
    (void)tcp_side_send(o->tcp, peer, text, sizeof text);
}

static void tell_peer(struct ofi *o, struct tl_peer peer)
{
    if (o->at.ep == NULL || o->probe.mr == NULL)
        return;
    tell_address(o, peer);
    for (uint32_t i = 0; i < TCP_REGION_MAX; i++)
        if (o->regions[i].mr != NULL && (ofi_tcp(o)->regions[i].flags & TL_REGION_SERVE) != 0)
            tell_region(o, peer, i);
}

void ofi_tell_all(struct ofi *o)
{
    for (uint32_t rank = 0; rank < ofi_tcp(o)->config.node_count; rank++)
        if (o->peers[rank] != NULL)
            tell_peer(o, o->peers[rank]->peer);
}

void ofi_tell_region(struct ofi *o, uint32_t region)
{
    for (uint32_t rank = 0; rank < ofi_tcp(o)->config.node_count; rank++)
        if (o->peers[rank] != NULL)
            tell_region(o, o->peers[rank]->peer, region);
}

void ofi_peer_up(struct ofi *o, struct tl_peer peer)
{
    struct ofi_peer *p = calloc(1, sizeof *p);
    if (p == NULL)
        return; /* TCP only */
    check(o->peers[peer.rank] == NULL);
    p->peer = peer;
    o->peers[peer.rank] = p;
    tell_peer(o, peer);
}

static void forget_address(struct ofi *o, struct ofi_peer *p)
{
    if (p->inserted && o->at.av != NULL)
        fi_av_remove(o->at.av, &p->fi_addr, 1, 0);
    p->inserted = false;
}

void ofi_peer_free(struct ofi_peer *p)
{
    if (p != NULL)
        free(p->regions);
    free(p);
}

void ofi_peer_down(struct ofi *o, uint32_t rank)
{
    struct ofi_peer *p = o->peers[rank];
    if (p == NULL)
        return;
    forget_address(o, p);
    ofi_peer_free(p);
    o->peers[rank] = NULL;
}

struct ofi_peer *ofi_peer_find(struct ofi *o, struct tl_peer peer)
{
    struct ofi_peer *p = peer.rank < ofi_tcp(o)->config.node_count ? o->peers[peer.rank] : NULL;
    return p != NULL && p->peer.gen == peer.gen ? p : NULL;
}

static void told_address(struct ofi *o, struct ofi_peer *p, const uint8_t *text, uint32_t len)
{
    uint32_t address_len = tl_get_u16(text + 2);
    if (len < ADDRESS_FIXED || len != ADDRESS_FIXED + address_len || address_len > OFI_ADDRESS_MAX)
        return;
    forget_address(o, p);
    free(p->regions);
    p->regions = NULL;
    p->region_count = 0;
    p->state = OFI_UNKNOWN;
    if (memcmp(text + 4, o->provider, OFI_PROVIDER_MAX) != 0)
        return; /* another fabric: TCP */
    memcpy(p->address, text + ADDRESS_FIXED, address_len);
    p->address_len = address_len;
    p->probe = (struct ofi_remote){.remote = tl_get_u64(text + 4 + OFI_PROVIDER_MAX),
                                   .key = tl_get_u64(text + 12 + OFI_PROVIDER_MAX),
                                   .len = OFI_PROBE_SIZE};
    p->probe_seed = tl_get_u64(text + 20 + OFI_PROVIDER_MAX);
    p->state = OFI_TOLD;
    ofi_peer_probe(o, p);
}

static void told_region(struct ofi_peer *p, const uint8_t *text, uint32_t len)
{
    uint32_t region = len == REGION_SIZE ? tl_get_u32(text + 4) : TCP_REGION_MAX;
    if (region >= TCP_REGION_MAX)
        return;
    if (region >= p->region_count) {
        struct ofi_remote *more = realloc(p->regions, (region + 1) * sizeof *more);
        if (more == NULL)
            return;
        memset(more + p->region_count, 0, (region + 1 - p->region_count) * sizeof *more);
        p->regions = more;
        p->region_count = region + 1;
    }
    p->regions[region] =
        (struct ofi_remote){.remote = tl_get_u64(text + 8), .key = tl_get_u64(text + 16), .len = tl_get_u64(text + 24)};
}

void ofi_peer_told(struct ofi *o, const struct tl_net_event *ev)
{
    struct ofi_peer *p = ofi_peer_find(o, ev->peer);
    if (p == NULL || ev->header_len < 4)
        return;
    switch (tl_get_u16(ev->header)) {
    case TELL_ADDRESS: told_address(o, p, ev->header, ev->header_len); return;
    case TELL_REGION: told_region(p, ev->header, ev->header_len); return;
    default: return; /* of a later release */
    }
}

void ofi_peer_demote(struct ofi *o, uint32_t rank)
{
    struct ofi_peer *p = o->peers[rank];
    if (p == NULL || p->state == OFI_UNKNOWN)
        return;
    p->state = OFI_DEMOTED;
    p->probes_failed = 0;
    p->retry_ns = o->now_ns + OFI_DEMOTED_NS;
}

void ofi_peer_probe(struct ofi *o, struct ofi_peer *p)
{
    if (p->state == OFI_DEMOTED && o->now_ns >= p->retry_ns)
        p->state = OFI_TOLD;
    if (p->state != OFI_TOLD || o->at.ep == NULL || o->probe.mr == NULL)
        return;
    int slot = __builtin_ffs((int)~o->probe_slots) - 1;
    if (slot < 0 || slot >= (int)OFI_PROBE_SLOTS)
        return; /* at the next read, then */
    if (!p->inserted)
        p->inserted = fi_av_insert(o->at.av, p->address, 1, &p->fi_addr, 0, NULL) == 1;
    if (!p->inserted) {
        ofi_peer_demote(o, p->peer.rank);
        return;
    }
    p->state = OFI_PROBING;
    ofi_probe_start(o, p, slot);
}

void ofi_peer_probed(struct ofi *o, const struct ofi_op *op, bool good)
{
    struct ofi_peer *p = ofi_peer_find(o, op->peer);
    if (p == NULL || p->state != OFI_PROBING || op->offset != p->probe_seed)
        return; /* of an address that it had before */
    uint8_t want[OFI_PROBE_SIZE];
    ofi_probe_fill(want, p->probe_seed);
    const uint8_t *got = o->probe_memory + OFI_PROBE_SIZE * (size_t)(1 + op->probe);
    if (good && memcmp(want, got, OFI_PROBE_SIZE) == 0) {
        p->state = OFI_READY;
        p->probes_failed = 0;
    } else if (++p->probes_failed < OFI_PROBES_MAX) {
        p->state = OFI_TOLD; /* the next read tries again */
    } else {
        ofi_peer_demote(o, p->peer.rank);
    }
}

const struct ofi_remote *ofi_peer_remote(const struct ofi_peer *p, uint32_t region, uint64_t offset, uint32_t len)
{
    if (region >= p->region_count)
        return NULL;
    const struct ofi_remote *r = &p->regions[region];
    return offset <= r->len && len <= r->len - offset ? r : NULL; /* else the peer itself has to say no, over TCP */
}

bool tl_net_ofi_ready(struct tl_net *net, struct tl_peer peer)
{
    const struct ofi_peer *p = ofi_peer_find(ofi_of(net), peer);
    return p != NULL && p->state == OFI_READY && p->region_count > 0;
}
