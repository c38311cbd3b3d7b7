// SPDX-License-Identifier: Apache-2.0
/* The node's tables, shared by the files of this folder (one a message or phase) and by nobody else.
 *
 * How a chunk comes in: a request or a peer's GET wants it -> a flight is opened (node_flight.c) and lies in the ROUTE list; the route
 * pump (node_route.c) asks the parent for it, or hands it to the source pump (node_source.c) where there is no parent; DATA
 * (node_data.c), PULLED or FETCHED bring it; tl_flight_land answers everybody who waits. A flight is in exactly one list or
 * in the hands of the transport (PULLING) or the source (FETCHING). */
#ifndef TL_CORE_NODE_INTERNAL_H
#define TL_CORE_NODE_INTERNAL_H

#include "core/index/index.h"
#include "core/node/node.h"
#include "core/overlay/forest.h"
#include "core/wire/wire.h"

#define REQUEST_CHUNKS_MAX    TL_ANSWER_REFS_MAX
#define FLOODS_MAX            16u
#define PINS_MAX              16u /* paths */
#define OUTDATED_MAX          64u
#define ONCE_MAX              256u         /* chunks that may go after one step */
#define FLOODS_KNOWN          64u          /* that are over, but may still arrive by another way */
#define RETRY_NS              20000000u    /* pause before a refused or failed step is tried again */
#define FLOOD_TIMEOUT_NS      10000000000u /* an operator's command is answered by then, whoever is silent */
#define FLOOD_HOPS_MAX        32u          /* farther away all wait equally long */
#define ATTEMPTS_MAX          8u           /* times that a peer's bytes may not do, or that memory is missing */
#define STARTS_PER_STEP       64u          /* parked requests started in one step */
#define ROUTES_PER_STEP       64u          /* GETs sent in one step: the rest goes with the next */
#define WARM_WINDOW_MAX       256u         /* flights that a profile may have under way */
#define WARM_ITEMS_PER_STEP   512u
#define WARM_ITEMS_MAX        (1u << 18)
#define WARM_TRIES_MAX        8u /* times that a listing is asked for to learn a file's version */
#define PULLS_DEADLINE_FACTOR 4u /* a pull may take so many request timeouts */

enum flight_state {
    FLIGHT_FREE = 0,
    FLIGHT_ROUTE,    /* to be asked for; in its tree's list */
    FLIGHT_ASKED,    /* a peer was asked */
    FLIGHT_PULLING,  /* its bytes are on their way here */
    FLIGHT_QUEUED,   /* waits for a source slot */
    FLIGHT_FETCHING, /* the source reads it */
    FLIGHT_STALLED,  /* tried again soon */
    FLIGHT_STATES,
};

struct tl_flight {
    uint32_t chunk;
    uint32_t next, prev; /* in the list of its state */
    uint32_t waiters;    /* first */
    uint32_t waiters_last;
    uint32_t rank;    /* who was asked last, TL_RANK_NONE: nobody who is still there */
    uint32_t damaged; /* times that a peer's bytes did not do */
    uint32_t starved; /* times that there was no memory */
    uint32_t gen;     /* distinguishes uses of the slot, in cookies */
    uint64_t req_min; /* answers to GETs with lower numbers are too old */
    uint64_t deadline_ns;
    uint64_t addr; /* PULLING, FETCHING: where its bytes go */
    uint64_t loan; /* PULLING: the peer's number */
    uint32_t len;
    struct tl_hash digest; /* PULLING */
    uint8_t state;
    uint8_t tree; /* in which it is asked for */
    bool own;     /* QUEUED: the source is read whoever can be asked (P-7) */
    bool warm;    /* opened by a profile: nobody has asked for it yet */
    bool stale;   /* flushed while under way: what arrives is not kept, and it is asked for once more */
};

struct tl_waiter {
    uint32_t next;
    uint32_t slot; /* of the request, or of the peer */
    uint32_t gen;  /* of that slot */
    bool peer;
    uint64_t req; /* peer: its number */
};

/* A request is parked while the tables or the memory have no room for it (P-12): its path is kept meanwhile. */
struct tl_open_request {
    uint64_t id;
    uint64_t offset, version, file_size_bytes;
    uint32_t length;
    uint32_t gen;
    uint32_t next, prev; /* free list; list of parked requests */
    uint32_t path;       /* parked: its path; else TL_PATH_NONE */
    uint16_t path_len;
    bool parked;
    uint32_t reserved_bytes;             /* of the memory set aside for requests that span several chunks */
    uint32_t count;                      /* chunks it spans */
    uint32_t missing;                    /* chunks still in flight */
    uint32_t first;                      /* number of the first */
    uint32_t chunks[REQUEST_CHUNKS_MAX]; /* pinned once present; else TL_SLOT_NONE */
    int32_t status;
    uint8_t op; /* 0: free */
};

/* Bytes lent to a peer: until SENT (inline payload) or DONE, DOWN or the lease's end (pull). */
struct tl_loan {
    uint32_t chunk;
    uint32_t rank;
    uint32_t gen;
    uint32_t next, prev; /* in the list by age; free list */
    uint64_t deadline_ns;
    bool used, pull;
};

struct tl_fetch_slot {
    struct tl_fetch fetch;
    uint32_t flights[TL_FETCH_CHUNKS_MAX];
    uint32_t flight_gens[TL_FETCH_CHUNKS_MAX];
    uint32_t gen;
    uint32_t check; /* the chunk that is looked at again; TL_SLOT_NONE: an ordinary fetch */
    bool used;
};

enum link_state {
    LINK_NONE = 0,
    LINK_CONNECTING,
    LINK_UP,
    LINK_CLOSING /* dropped by us: nothing is sent or heard any more, DOWN follows */
};

struct tl_peer_state {
    uint32_t rank;
    uint32_t gen;
    uint32_t subtree;  /* child in tree 0: what it said */
    uint32_t child_of; /* bit t: it has joined us in tree t */
    uint8_t link;      /* enum link_state */
    bool hello;        /* it has introduced itself */
    bool candidate;    /* we may ask it in some tree */
    bool refused;      /* the last connect found nobody there */
    bool used;
    uint32_t floods; /* bit i: it owes an answer to floods[i] */
    uint64_t incarnation;
    uint64_t heard_ns, pinged_ns;
    uint32_t pings;    /* sent since it was heard */
    uint64_t retry_ns; /* not before */
    uint32_t failures; /* connects that failed in a row */
};

struct tl_flood_op {
    uint64_t id;
    uint64_t local_id; /* operator's id when from_rank is TL_RANK_NONE */
    uint64_t deadline_ns;
    uint32_t from_rank; /* neighbour that asked */
    uint32_t waiting;   /* neighbours that have not answered */
    uint32_t nodes;     /* done behind us, and we */
    uint8_t kind;       /* enum tl_flood_kind; 0: free */
    uint8_t hops;       /* edges from where it was given */
    bool complete;
    bool own; /* the node's: nobody waits for an answer */
};

/* A listing that named a version which is gone. */
struct tl_outdated {
    struct tl_hash key;
    uint64_t mark;       /* says which one; 0: free */
    uint64_t settled_ns; /* when another one came, or it was read again; 0: not yet */
};

struct tl_pin {
    uint32_t path; /* in parked_paths */
    uint16_t path_len;
};

struct list {
    uint32_t head, tail, count;
};

/* Where in the profile we are. count: items of it; below `names`, listings have been asked for; below `files`, files. */
struct tl_warm {
    uint32_t count, names, files;
    uint32_t chunk;   /* of the file */
    uint32_t tries;   /* to learn its version */
    uint32_t flights; /* that it has opened and that are under way */
    uint32_t window;  /* at most so many */
    uint32_t loading; /* profiles that the driver has been told to load */
};

/* Whom we ask in one tree. */
struct tl_route {
    uint32_t candidates[TL_FOREST_CANDIDATES_MAX];
    uint32_t candidate_count;
    uint32_t current; /* candidate we ask; candidate_count: nobody, we read the source ourselves */
    uint32_t probe;   /* better candidate that is tried from time to time */
    uint64_t probe_ns;
    uint64_t settle_ns;        /* until then an absent candidate is waited for */
    bool was_up;               /* the current candidate has been up since we chose it */
    uint32_t joined_subtree;   /* what it was told; 0: nothing */
    uint64_t joined_ns;        /* and when */
    struct list waiting;       /* FLIGHT_ROUTE: flights to be asked for */
    uint32_t flights, waiters; /* of objects in this tree */
};

struct tl_node {
    struct tl_node_config config;
    struct tl_bytes_ops bytes;
    void *bytes_ctx;
    uint64_t now_ns, started_ns, step;
    uint64_t next_req, next_flood;
    struct tl_index *index;
    uint64_t held_bytes; /* rounded to pages */

    struct tl_flight *flights;
    uint32_t flight_free, flight_fresh, flight_count;
    struct list lists[FLIGHT_STATES];

    struct tl_waiter *waiters;
    uint32_t waiter_free, waiter_fresh, waiter_count;
    struct tl_open_request *requests;
    uint32_t request_free, request_fresh, request_count;
    struct list parked; /* requests, first come first served */
    struct tl_paths *parked_paths;
    uint64_t reserved_bytes;
    struct tl_loan *loans;
    uint32_t loan_free, loan_fresh;
    struct list loan_ages;
    struct tl_fetch_slot *fetches;
    uint32_t fetch_count;

    struct tl_peer_state *peers;
    uint32_t peer_max, peer_high; /* slots below peer_high have been used */
    uint32_t candidate_max;       /* distinct candidates: so many places are kept for them */
    struct tl_flood_op floods[FLOODS_MAX];
    uint64_t floods_known[FLOODS_KNOWN];
    struct tl_outdated outdated[OUTDATED_MAX];
    uint32_t outdated_next;
    uint32_t check_cursor, checks; /* listings that are looked at again: next slot, how many now */
    uint64_t check_ns;
    bool lost_watch;
    uint32_t once[ONCE_MAX], once_count;
    bool limit_stuck, limit_lowered;
    struct tl_pin pins[PINS_MAX];
    uint32_t pin_count;
    uint64_t kept_bytes; /* rounded to pages, of chunks that are kept for a pin */
    uint32_t flood_known_next;

    struct tl_forest forest;
    struct tl_route *routes; /* a tree */
    uint32_t tree_count;
    struct tl_warm warm;
    uint64_t tick_ns; /* next look at the peers */

    struct tl_action *actions;
    uint32_t action_count, action_next, action_max;
    uint8_t *headers;
    uint32_t header_used, header_max;
    char *path; /* scratch, TL_PATH_MAX */
    char *flush_path;
    struct tl_report report;
    struct tl_counters counters;
};

/* node.c */
struct tl_action *tl_node_act(struct tl_node *n, enum tl_action_type type);
/* Encodes m to rank, with len bytes at addr as payload (len 0: none). */
void tl_node_send(struct tl_node *n, uint32_t rank, const struct tl_wire *m, uint64_t addr, uint32_t len,
                  uint64_t cookie);
/* Room for len bytes within the limit, evicting. 0, -EBUSY: all that is held is in use, later perhaps; -EFBIG: more than
 * the limit; -ENOMEM: the machine has none. */
int tl_node_alloc(struct tl_node *n, uint32_t len, uint64_t *addr) TL_MUST_CHECK;
void tl_node_release(struct tl_node *n, uint64_t addr, uint32_t len);
void tl_node_drop_chunk(struct tl_node *n, uint32_t chunk); /* present or negative, unpinned */
bool tl_node_evict(struct tl_node *n);                      /* one chunk; false: none can go */

/* list.c: lists of flights, linked by slot */
void tl_flight_move(struct tl_node *n, uint32_t flight, enum flight_state state);

/* node_flight.c */
/* Opens flights for those of chunks first..first+count-1 that are neither held nor in flight. How many chunks from
 * `first` on are now held or in flight: fewer than count when a table is full. */
uint32_t tl_flight_open(struct tl_node *n, const struct tl_request *r, uint32_t first, uint32_t count);
/* The chunk is here: addr, len and digest of the flight are its bytes. Answers all who wait. */
void tl_flight_land(struct tl_node *n, uint32_t flight);
/* It failed for good. Answers all who wait; keeps a negative entry where the errno says something lasting. */
void tl_flight_fail(struct tl_node *n, uint32_t flight, int status);
/* Once more from the start: to the ROUTE list now, or after a pause. Bytes it had are given back. */
void tl_flight_again(struct tl_node *n, uint32_t flight, bool pause);
/* A peer's bytes did not do: asked for again; after ATTEMPTS_MAX times the source is read (P-7). */
void tl_flight_damaged(struct tl_node *n, uint32_t flight);
/* Whoever was asked cannot help: the source is read (P-7). */
void tl_flight_to_source(struct tl_node *n, uint32_t flight);
/* tl_node_alloc said rc: tried again after a pause, or failed (P-13). */
void tl_flight_no_room(struct tl_node *n, uint32_t flight, int rc);
/* Flights and waiters that the objects of a tree may still have: each of the others keeps one, else nodes could wait for each
 * other's in a circle that leads through several trees (P-12). */
uint32_t tl_room_flights(const struct tl_node *n, uint32_t tree);
uint32_t tl_room_waiters(const struct tl_node *n, uint32_t tree);
bool tl_status_lasting(int status); /* says something lasting about a name (P-8) */
bool tl_flight_wait(struct tl_node *n, uint32_t flight, bool peer, uint32_t slot, uint32_t gen, uint64_t req);
uint64_t tl_flight_cookie(const struct tl_node *n, uint32_t flight);
uint32_t tl_flight_by_cookie(const struct tl_node *n, uint64_t cookie); /* TL_SLOT_NONE: that use is over */
void tl_flight_timers(struct tl_node *n);

/* node_request.c */
void tl_request_start(struct tl_node *n, const struct tl_request *r);
void tl_request_cancel(struct tl_node *n, uint64_t id);
void tl_request_chunk(struct tl_node *n, uint32_t slot, uint32_t gen, uint32_t chunk, int status);
void tl_answer_status(struct tl_node *n, uint64_t id, int status);
void tl_request_pump(struct tl_node *n); /* starts what is parked */
void tl_ahead_pump(struct tl_node *n, uint32_t object);

/* node_get.c, node_data.c */
void tl_get_received(struct tl_node *n, uint32_t peer, const struct tl_wire *m);
void tl_data_send(struct tl_node *n, uint32_t peer, uint64_t req, uint32_t chunk);
void tl_data_send_error(struct tl_node *n, uint32_t peer, uint64_t req, struct tl_hash key, uint32_t number,
                        int status);
void tl_data_received(struct tl_node *n, uint32_t peer, const struct tl_wire *m, const uint8_t *payload, uint32_t len);
void tl_data_pulled(struct tl_node *n, uint64_t cookie, int status);
void tl_loan_end(struct tl_node *n, uint64_t cookie, uint32_t rank, bool pull);
void tl_loans_of_peer_end(struct tl_node *n, uint32_t rank);
void tl_loan_timers(struct tl_node *n);
uint32_t tl_slow_children(const struct tl_node *n);

/* node_revalidate.c */
void tl_revalidate_tick(struct tl_node *n);
void tl_revalidate_fetched(struct tl_node *n, struct tl_fetch_slot *s, const struct tl_event *ev);
void tl_revalidate_lost(struct tl_node *n, uint32_t chunk); /* it is about to be evicted */
void tl_revalidate_unwatched(struct tl_node *n);

/* node_pin.c */
bool tl_pin(struct tl_node *n, const char *path, uint16_t path_len); /* false: no place for another one */
void tl_unpin(struct tl_node *n, const char *path, uint16_t path_len);
void tl_pin_touch(struct tl_node *n, uint32_t chunk, const char *path,
                  uint16_t path_len); /* it is here, and asked for */
void tl_pin_dropped(struct tl_node *n, uint32_t chunk);
void tl_pin_let_go(struct tl_node *n, uint64_t bytes); /* until no more than that is kept */

/* node_limit.c */
void tl_limit_tick(struct tl_node *n);        /* goes down to the limit, a few chunks at a time */
bool tl_limit_waits(const struct tl_node *n); /* there is more to do */
void tl_once_served(struct tl_node *n, uint32_t chunk, uint32_t len); /* config.keep_once */

/* node_source.c */
uint32_t tl_source_slot(const struct tl_node *n); /* a free one; there is one */
void tl_source_pump(struct tl_node *n);
void tl_source_fetched(struct tl_node *n, const struct tl_event *ev);

/* node_route.c */
uint32_t tl_routes_new(struct tl_node *n); /* candidates of every tree; how many distinct ones, UINT32_MAX: no memory */
bool tl_route_is_source(const struct tl_node *n, uint32_t tree);  /* nobody to ask: we read the source ourselves */
uint32_t tl_route_parent(const struct tl_node *n, uint32_t tree); /* rank whom we ask and who is up, TL_RANK_NONE */
bool tl_route_asks(const struct tl_node *n, uint32_t rank);       /* in any tree */
bool tl_route_waits(const struct tl_node *n);                     /* there are flights that can be asked for now */
void tl_route_pump(struct tl_node *n);
void tl_route_tick(struct tl_node *n);                                   /* connects, retries, probes */
uint64_t tl_route_tick_ns(const struct tl_node *n, uint64_t connect_ns); /* when that has to be looked at again */
void tl_route_lost(struct tl_node *n, uint32_t rank, bool was_up, bool refused);
void tl_route_hello(struct tl_node *n, uint32_t rank);
void tl_route_join(struct tl_node *n); /* tells parents what they do not know */
void tl_route_join_again(struct tl_node *n);
bool tl_route_is_candidate(const struct tl_node *n, uint32_t rank);
/* May that rank ask us in this tree, or in any? It comes after us in the order. */
bool tl_route_may_ask(const struct tl_node *n, uint32_t tree, uint32_t rank);
bool tl_route_is_below(const struct tl_node *n, uint32_t rank);

/* node_peer.c */
uint32_t tl_peer_find(const struct tl_node *n, uint32_t rank); /* slot, TL_SLOT_NONE */
uint32_t tl_peer_get(struct tl_node *n, uint32_t rank);        /* found or added, TL_SLOT_NONE: full */
void tl_peer_up(struct tl_node *n, uint32_t rank);
void tl_peer_down(struct tl_node *n, uint32_t rank, int status);
void tl_peer_drop(struct tl_node *n, uint32_t slot);
void tl_peer_message(struct tl_node *n, const struct tl_event *ev);
void tl_peer_tick(struct tl_node *n);
uint32_t tl_peer_subtree(const struct tl_node *n);
uint32_t tl_peer_children(const struct tl_node *n);

/* node_warm.c */
void tl_warm_start(struct tl_node *n, uint32_t count); /* the driver has so many items more */
void tl_warm_pump(struct tl_node *n);

/* node_flood.c */
void tl_flood_start(struct tl_node *n, enum tl_flood_kind kind, uint64_t local_id, const char *path, uint16_t path_len);
bool tl_flood_flush(struct tl_node *n, const char *path, uint16_t path_len); /* the node's own; false: no place */
void tl_flood_received(struct tl_node *n, uint32_t rank, const struct tl_wire *m);
void tl_flood_answered(struct tl_node *n, uint32_t peer, const struct tl_wire *m);
void tl_flood_reported(struct tl_node *n, uint32_t peer, const struct tl_wire *m);
void tl_flood_peer_lost(struct tl_node *n, uint32_t peer);
void tl_flood_timers(struct tl_node *n);
/* Forgets listings at and below path (and the one that holds path's own name); empty: everything. */
void tl_flush_here(struct tl_node *n, const char *path, uint16_t path_len);
void tl_forget_chunk(struct tl_node *n, uint32_t chunk); /* or marks it, so that what is under way is not kept */
void tl_invalidate(struct tl_node *n, const char *path, uint16_t path_len);           /* in the kernels of this node */
bool tl_path_below(const char *p, uint16_t p_len, const char *top, uint16_t top_len); /* at or below top */
uint16_t tl_path_parent_len(const char *path, uint16_t len);

/* node_stale.c */
/* A file was not what its listing said: the listing goes, here and in the kernel, and the next GET for it says so. */
void tl_stale_file(struct tl_node *n, const char *path, uint16_t path_len);
void tl_stale_listing(struct tl_node *n, const struct tl_wire *m); /* GET of a listing with `outdated` */
uint64_t tl_stale_mark(struct tl_node *n, struct tl_hash key);     /* for a GET; 0: none is known */
void tl_stale_settled(struct tl_node *n, struct tl_hash key);      /* the listing has come anew */

static inline uint64_t tl_pages(uint32_t len)
{
    return ((uint64_t)len + 4095u) & ~4095ull;
}

#endif
