// SPDX-License-Identifier: Apache-2.0
/* One node of the tier: the whole protocol, without I/O. An event and the time go in, actions come out.
 *
 * The daemon (src/daemon) and the simulator (src/sim) drive the same code: both step it with events, then
 * carry out every action in order, then look at the deadline. The node knows no socket, clock, thread or
 * file; it allocates in tl_node_new only. The bytes of chunks live outside (an arena, or a simulated one)
 * behind tl_bytes_ops. One owner thread. Rules are numbered in docs/protocol.md. */
#ifndef TL_CORE_NODE_NODE_H
#define TL_CORE_NODE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/hash.h"
#include "core/overlay/forest.h"
#include "core/request.h"

#ifndef TL_PROTOCOL_VERSION /* a test builds a daemon of another one */
#define TL_PROTOCOL_VERSION 6u
#endif
#define TL_FETCH_CHUNKS_MAX 8u     /* chunks one source fetch may fill */
#define TL_HEADER_MAX       8192u  /* bytes of one encoded message without payload */
#define TL_INLINE_MAX       49152u /* payload bytes that travel with their message; more is pulled */

/* What a profile says will be needed: a blob (op), or chunks first..first+count-1 of a file (count 0: to its end). */
struct tl_profile_item {
    enum tl_op op;
    uint16_t path_len;
    const char *path; /* valid until the next call */
    uint32_t first, count;
};

/* Where chunk bytes live. addr = region << 40 | offset in that region: the same numbers the transport's
 * regions have. Allocations are immutable once filled, and are freed by punching, never overwritten. */
struct tl_bytes_ops {
    int (*alloc)(void *ctx, uint32_t len,
                 uint64_t *addr); /* a place, perhaps without memory yet. 0, -ENOMEM, -ENOSPC */
    void (*free)(void *ctx, uint64_t addr, uint32_t len);
    /* *digest, unless NULL: of what was written. 0, -ENOMEM */
    int (*write)(void *ctx, uint64_t addr, const void *src, uint32_t len, struct tl_hash *digest);
    struct tl_hash (*digest)(void *ctx, uint64_t addr, uint32_t len);
    /* Whether the bytes are a well-formed blob of this kind: once, when they have come from a peer. */
    bool (*blob_valid)(void *ctx, enum tl_op op, uint64_t addr, uint32_t len);
    /* For warming; both NULL: this driver has no profiles. Version and size of a regular file by the listing at addr:
     * 0, -ENOENT (no such file). */
    int (*find_file)(void *ctx, uint64_t addr, uint32_t len, const char *name, uint16_t name_len, uint64_t *version,
                     uint64_t *size_bytes);
    /* Item i of what WARMED events have announced. False: there is nothing of use. */
    bool (*profile_item)(void *ctx, uint32_t i, struct tl_profile_item *out);
};

struct tl_node_config {
    uint32_t rank, node_count;
    uint32_t arity;                     /* children a node, 1..TL_FOREST_ARITY_MAX */
    uint32_t roots;                     /* over which keys are spread, 1..TL_FOREST_ROOTS_MAX */
    const struct tl_topology *topology; /* borrowed, the same on all nodes; NULL: all are equally near */
    uint64_t incarnation;               /* differs at each start of this rank */
    uint64_t job_id;                    /* the same on all nodes; else peers refuse each other */
    uint64_t cache_limit_bytes;         /* bytes of chunks held at most */
    uint32_t object_max;                /* index entries */
    uint32_t flight_max;                /* chunks in flight */
    uint32_t waiter_max;                /* requests and peers waiting on flights */
    uint64_t readahead_max_bytes;       /* files up to this size are fetched whole at first touch; UINT64_MAX: always */
    uint32_t window_chunks;             /* sequential read-ahead in a larger file, up to TL_FETCH_CHUNKS_MAX */
    uint64_t request_timeout_ns;        /* a flight without answer is asked for again, then elsewhere */
    uint64_t heartbeat_ns;              /* silence after which a neighbour is asked; 3 times: it is held for dead */
    uint64_t connect_grace_ns;          /* how long a parent may be absent at start before another is asked */
    uint32_t fetch_max;                 /* source operations in flight */
    uint64_t revalidate_ns;             /* the storage is looked at again so often for what is held; 0: never */
    bool keep_once;                     /* drop what programs here have read, if no other node asks us for it */
    uint64_t seed;                      /* jitter */
};
void tl_node_config_default(
    struct tl_node_config *c); /* everything but rank, node_count, topology, incarnation, job_id, seed */

enum tl_event_type {
    TL_EV_REQUEST = 1, /* from a front: answered by exactly one ANSWER */
    TL_EV_CANCEL,      /* the front no longer wants request `id`: its ANSWER says -ECANCELED, unless already given
                    */
    TL_EV_MESSAGE,     /* from peer rank: header bytes, payload */
    TL_EV_PEER_UP,     /* rank is connected and authenticated */
    TL_EV_PEER_DOWN,   /* rank's connection is gone or could not be made; status */
    TL_EV_SENT,        /* payload of SEND `cookie` is free */
    TL_EV_PULLED,      /* PULL `cookie` ended, status; -ENOMEM: there was no memory for it here */
    TL_EV_FETCHED,     /* FETCH: one chunk, or its end; see below */
    TL_EV_TIMER,       /* the deadline has passed, or nothing happened: always allowed */
    TL_EV_FLUSH,       /* operator: forget listings at and below path (empty: everything), on all nodes; ANSWER to
                     id */
    TL_EV_PIN,         /* operator: keep what is read at and below path as it is, on all nodes; ANSWER to id */
    TL_EV_UNPIN,       /* operator: the end of that */
    TL_EV_WARM,        /* operator: warm by the profile at path, on all nodes; ANSWER to id when all have heard of it */
    TL_EV_PROFILE,     /* the driver has loaded what WARM wanted: `len` more items; 0: it could not */
    TL_EV_GATHER,      /* operator: counters of all nodes; REPORT actions, then ANSWER to id */
};

struct tl_event {
    enum tl_event_type type;
    uint32_t rank;
    int status;
    uint64_t cookie; /* SENT, PULLED, FETCHED: that of the action */
    uint64_t id;     /* CANCEL, FLUSH, GATHER */
    const struct tl_request *request;
    const uint8_t *header;
    uint32_t header_len;
    const uint8_t *payload; /* MESSAGE; FETCHED of a listing: the blob, the driver's, for the call */
    uint32_t payload_len;
    /* FETCHED: chunk index `chunk` of the fetch's object is at its address, `len` bytes, with this digest;
     * status < 0: it could not be read. `last`: the fetch is over and its cookie free; chunks not reported by
     * then have failed with status. -ENOMEM: there was no memory for it here. */
    uint32_t chunk;
    uint32_t len;
    struct tl_hash digest;
    bool last;
    const char *path; /* FLUSH */
    uint16_t path_len;
};

enum tl_action_type {
    TL_ACT_SEND = 1,   /* header (and payload at addr, len) to rank; SENT(cookie) is expected iff len > 0 and
                          pulls no inline copy */
    TL_ACT_PULL,       /* pull len bytes at remote_addr of rank to addr; PULLED(cookie) */
    TL_ACT_FETCH,      /* read the source; FETCHED(cookie) a chunk, the last one with `last` */
    TL_ACT_ANSWER,     /* to a front or operator */
    TL_ACT_CONNECT,    /* start connecting to rank; PEER_UP or PEER_DOWN */
    TL_ACT_DROP,       /* close the connection to rank; PEER_DOWN follows */
    TL_ACT_INVALIDATE, /* tell the kernels: names at and below path (empty: all) may have changed */
    TL_ACT_WARM,       /* the profile at path is wanted: load it, then PROFILE */
    TL_ACT_REPORT,     /* GATHER id: counters of rank */
    TL_ACT_TOO_LARGE,  /* the operator should know: what belongs to path is larger than the whole cache (P-13) */
};

/* FETCH. All but READ: one blob of unknown size, handed over by FETCHED.payload. READ: chunks first..first+count-1,
 * of chunk size (the last shorter), into addrs[]; version and file_size_bytes must still hold, else status
 * -ESTALE. */
struct tl_fetch {
    enum tl_op op;
    uint16_t path_len;
    char path[TL_PATH_MAX];
    uint64_t version, file_size_bytes;
    uint32_t first, count;
    uint64_t addrs[TL_FETCH_CHUNKS_MAX];
    uint32_t lens[TL_FETCH_CHUNKS_MAX];
};

// clang-format off
#define TL_COUNTERS(X)                                                                                                \
    X(requests) X(hits) X(misses) X(answered) X(failed) X(coalesced) X(negative_hits) X(flights_opened)               \
    X(flights_retried) X(chunks_from_peer) X(chunks_from_source) X(bytes_from_peer) X(bytes_from_source)              \
    X(bytes_to_peers) X(bytes_served) X(source_lists) X(source_opens) X(source_reads) X(evictions)                    \
    X(digest_failures) X(messages_in) X(messages_out) X(bad_messages) X(meta_requests_up) X(data_requests_up)         \
    X(peers_lost) X(reparented) X(stale) X(busy) X(invalidations) X(slow_pulls)                  \
    X(warmed) X(warm_skipped)
// clang-format on

struct tl_counters {
#define TL_COUNTER_FIELD(name) uint64_t name;
    TL_COUNTERS(TL_COUNTER_FIELD)
#undef TL_COUNTER_FIELD
    /* gauges */
    uint64_t warm_left, cached_bytes, cached_objects, open_flights, open_requests;
    uint64_t slow_children; /* that have been pulling a chunk for longer than a heartbeat */
};

struct tl_report {
    /* In tree 0, which all nodes are counted over. parent: rank asked by now, UINT32_MAX: none (a root) */
    uint32_t rank, parent;
    uint32_t children, subtree; /* connected children; nodes known below and including this one */
    uint64_t incarnation;
    struct tl_counters counters;
};

struct tl_action {
    enum tl_action_type type;
    uint32_t rank;
    uint64_t cookie;
    uint8_t *header; /* SEND: in the node's memory, valid until the next step */
    uint32_t header_len;
    uint64_t addr, remote_addr;
    uint32_t len;
    uint64_t deadline_ns;
    const struct tl_fetch *fetch; /* FETCH: valid until its last FETCHED */
    struct tl_answer answer;
    const char *path; /* INVALIDATE, TOO_LARGE: valid until the next step */
    uint16_t path_len;
    const struct tl_report *report; /* REPORT: valid until the next step */
};

struct tl_node;

int tl_node_new(struct tl_node **out, const struct tl_node_config *config, const struct tl_bytes_ops *bytes,
                void *bytes_ctx) TL_MUST_CHECK; /* 0, -EINVAL, -ENOMEM */
void tl_node_free(struct tl_node *n);

/* Takes in one event. Afterwards the driver takes all actions with tl_node_next before it steps again. */
void tl_node_step(struct tl_node *n, uint64_t now_ns, const struct tl_event *ev);
/* The next action: true with *out filled, false when there is none. */
bool tl_node_next(struct tl_node *n, struct tl_action *out);
/* Between steps: another limit from now on, at least tl_node_limit_min(); what is above it goes in the next steps, a little in
 * each. Gives the limit. */
uint64_t tl_node_set_limit(struct tl_node *n, uint64_t bytes);
uint64_t tl_node_limit_min(void);
/* When a TIMER event is due, UINT64_MAX: never. */
uint64_t tl_node_deadline(const struct tl_node *n);

/* Items of profiles still to be asked for; 0: the driver may forget them, and number the next ones from 0. */
uint32_t tl_node_warm_left(const struct tl_node *n);

/* Looks a blob (all but READ) up without opening a flight or counting: for fronts that resolve a path a component at a
 * time. 0 with *ref valid until the next step, -ENOENT (not held), or the negative entry's errno. */
int tl_node_peek(struct tl_node *n, enum tl_op op, const char *path, uint16_t path_len, struct tl_ref *ref);

/* What is held of an object (version and size: of a READ), without opening a flight, counting or touching it. */
void tl_node_held(const struct tl_node *n, const struct tl_request *r, struct tl_held *out);

void tl_node_report(const struct tl_node *n, struct tl_report *out);
/* The rank that is asked in this tree now, UINT32_MAX: none. */
uint32_t tl_node_parent(const struct tl_node *n, uint32_t tree);
/* True once the parent link is up (a root: always) and every child below is. */
bool tl_node_ready(const struct tl_node *n);
/* Every internal invariant; for tests and the simulator. Checks with check(). */
void tl_node_verify(const struct tl_node *n);

#endif
