// SPDX-License-Identifier: Apache-2.0
/* The transport interface (net/transport.h) over virtual time, and the fabric that all simulated transports share.
 *
 * A fabric has one host a rank: a NIC (bytes leave one after the other, and arrive one after the other), a processor
 * share (every message costs CPU at both sides; what a node sends waits until its CPU is free), and at most one
 * running transport (struct tl_net). Events reach a transport's ready list in virtual time; the owner is told by
 * on_ready and takes them with poll(). Nothing ever calls back from inside a transport call: on_ready comes at the end of
 * what happens on the wire.
 *
 * What can go wrong, all by seed: delays (so that connections overtake each other; never messages within one), loss
 * of a connection with everything in flight, refused connects, -EAGAIN, DOWN events that are false or never come,
 * reads that fail, come late or bring other bytes, partitions (short ones delay, long ones kill), stopped processes.
 *
 * Regions are real memory (expose with a base), or a simulated arena (tl_simnet_use_arena): then payloads and reads
 * are descriptors, and event.payload points to a struct tl_content. One owner thread for the whole world. */
#ifndef TL_SIM_SIMNET_H
#define TL_SIM_SIMNET_H

#include "net/transport.h"
#include "sim/arena.h"
#include "sim/world.h"

struct tl_fabric_config {
    uint32_t node_count;
    uint64_t latency_ns; /* one way */
    uint64_t jitter_ns;  /* up to so much more, for each message */
    uint64_t picoseconds_per_byte;
    uint64_t message_cpu_ns;     /* at each side */
    uint64_t read_cpu_ns;        /* of a read, at each side; at the target only if !one_sided */
    uint64_t connect_timeout_ns; /* no answer: -ETIMEDOUT */
    uint64_t user_timeout_ns;    /* bytes not acknowledged for so long: the connection is given up */
    bool one_sided;
    bool copies; /* a payload is free again as soon as it is sent, as with sockets; else when it has left the NIC */
};
void tl_fabric_config_default(struct tl_fabric_config *c);

/* Chances, in millionths, while now < until_ns. */
struct tl_fabric_faults {
    uint64_t until_ns;
    uint32_t delay_ppm; /* a message waits up to delay_max_ns */
    uint64_t delay_max_ns;
    uint32_t loss_ppm;      /* a message is lost, and its connection with it */
    uint32_t refuse_ppm;    /* a connect is refused */
    uint32_t again_ppm;     /* a send or read gives -EAGAIN */
    uint32_t lost_down_ppm; /* one side is never told that a connection has gone */
    uint32_t read_error_ppm, read_late_ppm, read_garbage_ppm;
};

struct tl_fabric_host {
    struct tl_simnet *net; /* running transport or NULL */
    uint64_t cpu_free_ns, tx_free_ns, rx_free_ns;
    uint64_t paused_until_ns; /* the process is stopped */
    uint32_t side;            /* of the partition */
    uint32_t generation;      /* transports opened so far */
    uint64_t messages_sent, bytes_sent, reads_served;
};

struct tl_packet;

struct tl_fabric {
    struct tl_world *world;
    struct tl_fabric_config config;
    struct tl_fabric_faults faults;
    struct tl_fabric_host *hosts; /* by rank */
    uint64_t partition_until_ns;  /* hosts of different sides do not hear each other until then */
    bool one_way;                 /* those of the lower side do not hear the higher one, but are heard */
    void (*on_ready)(void *ctx, uint32_t rank);
    void *on_ready_ctx;
    struct tl_packet *spare[5]; /* free packets by size class */
    uint64_t messages, bytes, connections_lost;
    uint64_t fired[TL_WORLD_STREAMS]; /* chances that struck */
};

void tl_fabric_init(struct tl_fabric *f, struct tl_world *w, const struct tl_fabric_config *config);
void tl_fabric_fini(struct tl_fabric *f); /* after all its transports were closed */

/* Opens the transport of config->rank; config->world is the struct tl_fabric. 0, -EADDRINUSE, -EINVAL. */
int tl_net_sim_open(struct tl_net **out, const struct tl_net_config *config, struct tl_error *err) TL_MUST_CHECK;
/* From now on every region of net is this arena. */
void tl_simnet_use_arena(struct tl_net *net, struct tl_sim_arena *arena);

/* Breaks the connection between two ranks, if there is one. With `half`, a is told at once and b learns it later. */
void tl_fabric_cut(struct tl_fabric *f, uint32_t a, uint32_t b, bool half);
/* Ranks that `rank` is connected to, at most max; the count. */
uint32_t tl_fabric_neighbours(const struct tl_fabric *f, uint32_t rank, uint32_t *out, uint32_t max);
/* The process of rank does nothing until then; what arrives waits. */
void tl_fabric_pause(struct tl_fabric *f, uint32_t rank, uint64_t until_ns);

/* Uses ns of a host's CPU; what it sends afterwards leaves no earlier. Returns when the CPU is free again. */
uint64_t tl_fabric_cpu(struct tl_fabric *f, uint32_t rank, uint64_t ns);

#endif
