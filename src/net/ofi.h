// SPDX-License-Identifier: Apache-2.0
/* The inside of the libfabric transport, which is stacked on TCP: messages, liveness and authentication are TCP's, bulk
 * is pulled by one-sided reads of the fabric where that works, and over TCP where it does not.
 *
 *     ofi.c         open, close, poll, and what passes through to TCP
 *     ofi_fabric.c  the library, loaded at run time; opening, fencing and closing the endpoint; memory registration
 *     ofi_peer.c    what peers tell each other over TCP (addresses, keys), probes, demotion
 *     ofi_read.c    reads, their completions, repeats, deadlines and fallback
 *
 * A pair of nodes uses the fabric once a probe, a read of 4 KiB with known contents, has succeeded. Any error demotes
 * the peer to TCP for a minute, and the read that failed is done again over TCP within its deadline.
 *
 * A read that was handed to the fabric may write to its landing bytes until its completion, or until the endpoint is
 * closed. The owner, however, is promised that nothing is written after a READ with an error. So a read whose deadline
 * has passed, or whose peer is gone, waits a short grace for its completion; then the endpoint is closed and opened anew
 * (a fence), all other reads go over to TCP, and peers are told the new address. */
#ifndef TL_NET_OFI_H
#define TL_NET_OFI_H

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

#include "net/tcp.h"

#define OFI_PROBE_SIZE 4096u
/* After an error a provider may find out only by the next read that its connection is gone. */
#define OFI_PROBES_MAX      3u
#define OFI_PROBE_SLOTS     16u
#define OFI_PROBE_NS        2000000000ull
#define OFI_DEMOTED_NS      60000000000ull
#define OFI_GRACE_NS        100000000ull  /* for the completion of a read that is over, then the fence */
#define OFI_STUCK_NS        1000000000ull /* a read that the fabric does not even take for so long goes over TCP */
#define OFI_RETRY_MIN_NS    2000000ull
#define OFI_RETRY_MAX_NS    100000000ull
#define OFI_CXI_SLEEP_NS    50000000ull /* cxi's descriptor may miss events: never sleep longer with reads outstanding */
#define OFI_ADDRESS_MAX     128u
#define OFI_PROVIDER_MAX    32u
#define OFI_OPS_MAX         1024u /* reads on the fabric or waiting for it; more go over TCP */
#define OFI_COMPLETIONS_MAX 64u   /* taken in one poll round */
#define OFI_STAGE           32u

/* What libfabric exports by name; everything else is reached through its objects. */
struct ofi_library {
    void *handle;
    int (*getinfo)(uint32_t version, const char *node, const char *service, uint64_t flags, const struct fi_info *hints,
                   struct fi_info **info);
    void (*freeinfo)(struct fi_info *info);
    struct fi_info *(*dupinfo)(const struct fi_info *info);
    int (*fabric)(struct fi_fabric_attr *attr, struct fid_fabric **fabric, void *context);
    const char *(*strerror)(int errnum);
};

struct ofi_endpoint {
    struct fid_domain *domain;
    struct fid_av *av;
    struct fid_cq *cq;
    struct fid_ep *ep;
    int wait_fd;
    uint8_t address[OFI_ADDRESS_MAX];
    size_t address_len;
};

/* A region as the fabric names it. */
struct ofi_memory {
    struct fid_mr *mr; /* NULL: not registered */
    uint64_t remote;   /* address of offset 0 for peers */
};

struct ofi_remote { /* a peer's region */
    uint64_t remote, key, len;
};

enum ofi_state {
    OFI_UNKNOWN = 0, /* the peer has not told its address */
    OFI_TOLD,        /* it has; not probed yet */
    OFI_PROBING,
    OFI_READY,
    OFI_DEMOTED, /* until retry_ns, then TOLD again */
};

struct ofi_peer {
    struct tl_peer peer;
    enum ofi_state state;
    uint64_t retry_ns;
    uint32_t probes_failed;
    bool inserted; /* fi_addr is valid */
    fi_addr_t fi_addr;
    uint8_t address[OFI_ADDRESS_MAX];
    size_t address_len;
    struct ofi_remote probe;
    uint64_t probe_seed;
    struct ofi_remote *regions; /* by number; len 0: none */
    uint32_t region_count;
};

/* A read on the fabric, or waiting for it. */
struct ofi_op {
    struct fi_context2 context; /* first: the provider's, and how completions find the op */
    struct ofi_op *prev, *next; /* in ofi.ops */
    struct tcp_event event;     /* READ */
    struct tl_peer peer;
    bool posted;  /* the fabric has it, and may write */
    int probe;    /* slot of a probe, -1: a read of the owner */
    bool expired; /* a probe that nobody waits for, until its completion */
    int ended;    /* its peer is gone: what READ will say, once the fabric has let go */
    uint32_t region, dst_region, len;
    uint64_t offset, dst_offset, deadline_ns; /* of a probe, offset is its seed */
    uint64_t retry_ns, backoff_ns, since_ns;  /* since_ns: asked for */
};

struct ofi {
    struct tl_net base; /* first */
    struct tl_net *tcp;
    struct ofi_library lib;
    struct fi_info *info;
    struct fid_fabric *fabric;
    struct ofi_endpoint at;
    char provider[OFI_PROVIDER_MAX];
    bool hardware;   /* reads are served by the peer's adapter */
    bool cxi, again; /* again: the queue of completions has to be looked at before sleeping */
    struct ofi_memory regions[TCP_REGION_MAX];
    struct ofi_peer **peers; /* by rank; NULL: not up */
    struct ofi_op *ops, *ops_last;
    uint32_t op_count, posted_count, probe_slots; /* probe_slots: bits */
    uint64_t next_key, now_ns, next_ns;
    uint8_t *probe_memory; /* what peers probe, then OFI_PROBE_SLOTS landing places */
    struct ofi_memory probe;
    uint64_t probe_seed;
    struct tcp_queue queue;               /* READ events of the fabric */
    struct tl_net_event stage[OFI_STAGE]; /* of TCP, not handed out yet */
    uint32_t stage_count, stage_next;
    uint64_t stage_since_ns; /* a DOWN waits for the fabric since then; 0: none does */
    uint64_t fabric_reads, fabric_bytes, fallbacks;
};

/* ofi_fabric.c */
int ofi_library_load(struct ofi_library *lib, struct tl_error *err); /* 0, -ENOTSUP */
int ofi_fabric_open(struct ofi *o, const char *provider, struct tl_error *err);
void ofi_fabric_close(struct ofi *o);
int ofi_endpoint_open(struct ofi *o, struct tl_error *err); /* domain and all, and registers the regions */
void ofi_endpoint_close(struct ofi *o);
void ofi_memory_register(struct ofi *o, struct ofi_memory *m, void *base, size_t len, uint64_t access);
void ofi_memory_release(struct ofi_memory *m);

/* ofi_peer.c */
void ofi_probe_fill(uint8_t *out, uint64_t seed); /* OFI_PROBE_SIZE bytes */
void ofi_peer_up(struct ofi *o, struct tl_peer peer);
void ofi_peer_down(struct ofi *o, uint32_t rank);
void ofi_peer_free(struct ofi_peer *p);
void ofi_peer_told(struct ofi *o, const struct tl_net_event *ev); /* a SIDE event */
void ofi_peer_demote(struct ofi *o, uint32_t rank);
void ofi_peer_probe(struct ofi *o, struct ofi_peer *p);
void ofi_peer_probed(struct ofi *o, const struct ofi_op *op, bool good);
void ofi_tell_all(struct ofi *o);                     /* address and regions, after a fence */
void ofi_tell_region(struct ofi *o, uint32_t region); /* new or gone, to all */
struct ofi_peer *ofi_peer_find(struct ofi *o, struct tl_peer peer);
/* The place for the fabric's read, or NULL: this one goes over TCP. */
const struct ofi_remote *ofi_peer_remote(const struct ofi_peer *p, uint32_t region, uint64_t offset, uint32_t len);

/* ofi_read.c */
int ofi_read(struct tl_net *net, struct tl_peer peer, uint32_t region, uint64_t offset, uint32_t dst_region,
             uint64_t dst_offset, uint32_t len, uint64_t deadline_ns, uint64_t cookie);
void ofi_probe_start(struct ofi *o, struct ofi_peer *p, int slot);
void ofi_progress(struct ofi *o); /* takes completions, posts what waits */
void ofi_reads_expire(struct ofi *o);
/* The peer is gone: true when nothing of it is on the fabric any more, its reads have ended with status. */
bool ofi_reads_end(struct ofi *o, struct tl_peer peer, int status);
void ofi_fence(struct ofi *o);
void ofi_op_free(struct ofi *o, struct ofi_op *op);
void ofi_deadline(struct ofi *o, uint64_t deadline_ns);

/* For tests: reads from this peer go over the fabric. */
bool tl_net_ofi_ready(struct tl_net *net, struct tl_peer peer);

static inline struct ofi *ofi_of(struct tl_net *net)
{
    return (struct ofi *)net;
}

static inline struct tcp *ofi_tcp(struct ofi *o)
{
    return tcp_of(o->tcp);
}

#endif
