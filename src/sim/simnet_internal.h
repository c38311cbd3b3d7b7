// SPDX-License-Identifier: Apache-2.0
/* Shared by simnet.c (the transport's calls), simnet_link.c (connections) and simnet_wire.c (what happens on the
 * wire). Nobody else includes it. */
#ifndef TL_SIM_SIMNET_INTERNAL_H
#define TL_SIM_SIMNET_INTERNAL_H

#include "sim/simnet.h"

/* What a TL_WORLD_NET event is: its tag. The event's node is the host where it happens, ptr the packet. */
enum tl_wire_event {
    WIRE_SYN,         /* a connect reaches its target */
    WIRE_ACK,         /* and its acceptance the initiator */
    WIRE_CONNECT_END, /* a connect has failed */
    WIRE_ARRIVE,      /* a message's last byte */
    WIRE_SENT,        /* a payload has left its NIC */
    WIRE_READ_SERVE,  /* a read reaches the host that holds the bytes */
    WIRE_READ_END,    /* and its last byte, or its failure, the reader */
    WIRE_DOWN,        /* one side learns that the connection has gone */
    WIRE_WRITABLE,
};

enum tl_end_state { END_CONNECTING = 1, END_OPEN, END_CLOSED };

/* One side of a connection. */
struct tl_link_end {
    struct tl_simnet *net; /* NULL: never accepted, or its process has gone */
    uint32_t rank, gen;
    enum tl_end_state state;
    bool blocked;             /* a WRITABLE is owed */
    bool full;                /* and comes when the queue has room again */
    bool giving_up;           /* a WIRE_DOWN is on its way */
    bool unheard;             /* what this side sends is lost from now on */
    uint64_t last_arrival_ns; /* at this side: nothing may overtake it */
    uint64_t queued_bytes;    /* sent, not arrived */
    uint64_t sent;            /* messages and reads so far: the key of their draws */
    struct tl_packet *ops;    /* SENT and READ events that are owed */
};

/* A connection: side 0 started it. Lives as long as a side is not closed or a packet refers to it. */
struct tl_link {
    struct tl_link_end end[2];
    uint32_t refs;
    bool lost; /* nothing gets through any more */
};

/* Something on its way, and the operation behind it. */
struct tl_packet {
    struct tl_packet *next, **link_to_me; /* in its end's ops; link_to_me NULL: not there */
    struct tl_link *link;
    const struct tl_content *content; /* arena mode */
    uint8_t *bytes;                   /* real memory: a copy of the payload */
    uint64_t cookie, deadline_ns;
    uint64_t offset, dst_offset; /* reads: from there to here */
    uint32_t region, dst_region;
    uint32_t len, header_len;
    int status;
    uint8_t from; /* side that sent it */
    uint8_t size_class;
    bool ended;      /* the owner was told, or is gone: free it when its event comes */
    bool serialised; /* has waited for the receiving NIC */
    uint8_t header[];
};

struct tl_region {
    uint8_t *base;
    size_t len;
    unsigned flags;
    bool used;
};

struct tl_ready {
    struct tl_net_event event;
    struct tl_packet *packet; /* owns the message's bytes */
};

#define TL_SIM_REGION_MAX 64u

struct tl_simnet {
    struct tl_net base;
    struct tl_fabric *fabric;
    struct tl_sim_arena *arena;
    uint32_t rank;
    uint32_t next_gen;
    uint64_t job_id;
    uint32_t protocol_version;
    bool encrypt;
    uint8_t job_key[TL_JOB_KEY_SIZE];
    struct tl_link **links; /* ends that are not closed, by no order */
    uint32_t *link_ranks;
    uint32_t link_count, link_capacity;
    struct tl_ready *ready; /* ring */
    uint32_t ready_first, ready_count, ready_capacity;
    struct tl_region *regions;
    uint32_t region_count;
    struct tl_net_stats stats;
    char why[128]; /* of the last connect that failed */
};

#define TL_SIM_QUEUE_MAX   (4u << 20) /* bytes under way to one peer: more gives -EAGAIN */
#define TL_SIM_FRAME_BYTES 64u        /* what a message costs on the wire besides its own bytes */

struct tl_packet *tl_packet_new(struct tl_fabric *f, struct tl_link *link, uint8_t from, uint32_t header_len);
void tl_packet_free(struct tl_fabric *f, struct tl_packet *p); /* drops its link's reference, too */
void tl_link_unref(struct tl_link *link);

/* Which side of link net is on. */
static inline uint8_t tl_link_side(const struct tl_link *link, const struct tl_simnet *net)
{
    return link->end[0].net == net ? 0 : 1;
}

struct tl_link *tl_simnet_link(const struct tl_simnet *net, uint32_t rank);
void tl_simnet_link_add(struct tl_simnet *net, struct tl_link *link, uint32_t rank);
int tl_simnet_link_start(struct tl_simnet *net, uint32_t rank, struct tl_peer *out);
/* Ends a side: its operations get status, then DOWN(status, why). */
void tl_link_end_close(struct tl_link *link, uint8_t side, int status, const char *why);
/* The same without events; the other side is told when the news arrives. */
void tl_link_end_vanish(struct tl_link *link, uint8_t side);
/* Side `side` learns after delay_ns that the connection has gone. */
void tl_link_down_later(struct tl_link *link, uint8_t side, uint64_t delay_ns, int status);
/* Everything in flight is lost; both sides learn it, or not (faults.lost_down_ppm). */
void tl_link_lose(struct tl_fabric *f, struct tl_link *link);

void tl_link_handle_syn(struct tl_fabric *f, struct tl_packet *p, uint32_t rank);
void tl_link_handle_ack(struct tl_fabric *f, struct tl_packet *p);

/* Attaches an operation to a side until its event is given. */
void tl_link_op_add(struct tl_link *link, uint8_t side, struct tl_packet *p);
void tl_link_op_remove(struct tl_packet *p);

void tl_simnet_push(struct tl_simnet *net, const struct tl_net_event *ev, struct tl_packet *packet);
/* When the last of `bytes` has left host `rank` if they are handed to its NIC now. */
uint64_t tl_fabric_transmit(struct tl_fabric *f, uint32_t rank, uint64_t bytes, uint64_t cpu_ns);
/* When something that leaves side `from` at depart_ns arrives at the other; keeps the order. UINT64_MAX: never. */
uint64_t tl_fabric_arrival(struct tl_fabric *f, struct tl_link *link, uint8_t from, uint64_t depart_ns);
/* Is what `from` sends lost before `to`? */
bool tl_fabric_cut_off(const struct tl_fabric *f, uint32_t from, uint32_t to);
bool tl_fabric_chance(struct tl_fabric *f, enum tl_world_stream stream, uint32_t ppm, const struct tl_link *link,
                      uint8_t from);
void tl_fabric_handle(void *ctx, const struct tl_sim_event *ev);

#endif
