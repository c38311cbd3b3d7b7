// SPDX-License-Identifier: Apache-2.0
/* The transport interface: ordered messages between peers, and bulk bytes pulled by their receiver.
 *
 * Implementations: tcp (net/tcp*.c, messages and bulk), ofi (net/ofi*.c, messages over tcp, bulk by libfabric
 * RMA read, any error falls back to tcp bulk), sim (sim/, virtual time). One conformance suite runs on all
 * (test/net).
 *
 * Contract:
 * - One owner thread; no callbacks; time is an argument (ns, monotonic). poll() returns events; between polls
 * the owner may sleep on fd() until the time arm() gives. Nothing spins.
 * - A message is a header of at most TL_MSG_HEADER_MAX bytes, copied by send(), and an optional payload by
 * reference to exposed memory; at most TL_MSG_SIZE_MAX together. Ordered per peer incarnation, at most once,
 * no delivery promise.
 * - read() pulls bytes of a peer's exposed region into one of ours: the receiver decides where and when;
 * nobody ever writes into a remote node. Regions are named by the small number their owner's expose()
 * returned.
 * - Every accepted send() with a payload gives exactly one SENT, every accepted read() exactly one READ, both
 * before the one DOWN of that incarnation of the peer. After a READ with an error the landing bytes are no
 * longer written to.
 * - DOWN is a hint: it may be late, wrong or missing. Heartbeats and deadlines are the core's.
 * - Peers are authenticated before UP; the header of every message is covered by a MAC and a counter. The
 * payload and read bytes are not: the owner checks them against a digest that an authenticated header carried
 *   (with encryption on they are, too).
 * - Peers are named by rank in the job's node list, which the owner passes at open; both sides prove the
 * job's key. */
#ifndef TL_NET_TRANSPORT_H
#define TL_NET_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"

#define TL_MSG_HEADER_MAX 8192u
#define TL_MSG_SIZE_MAX   65536u
#define TL_JOB_KEY_SIZE   32u
#define TL_NET_KEYS_MAX   4u

/* A job's key, and until when it counts; connections that are up outlive it. */
struct tl_net_key {
    uint8_t bytes[TL_JOB_KEY_SIZE];
    uint64_t expires_ns; /* on poll()'s clock; 0: never */
};

/* A peer: rank in the node list, and which connection to it this is. gen changes with every connection. */
struct tl_peer {
    uint32_t rank;
    uint32_t gen;
};

enum tl_net_event_type {
    TL_NET_UP = 1,   /* peer usable; by our connect() or theirs. At most one live connection a rank. */
    TL_NET_DOWN,     /* that connection is gone; status says why. Also the answer to a connect() that failed
                        (gen is then the one connect() returned; status -ECONNREFUSED, -ETIMEDOUT, -EKEYREJECTED:
                        the job's key does not match, -EKEYEXPIRED, -EPROTO: another version, -EPROTONOSUPPORT...); text in
                        `why` */
    TL_NET_MESSAGE,  /* header and payload valid until release() */
    TL_NET_SENT,     /* payload of send(cookie) is free again; status 0 or the error */
    TL_NET_READ,     /* read(cookie) ended; status 0: the bytes are there */
    TL_NET_WRITABLE, /* after -EAGAIN from send() or read() */
};

struct tl_net_event {
    enum tl_net_event_type type;
    int status;
    struct tl_peer peer;
    uint64_t cookie;
    const uint8_t *header;
    const uint8_t *payload;
    uint32_t header_len, payload_len;
    const char *why; /* DOWN: a sentence, valid until the next poll(); may be NULL */
    void *private_data;
};

/* Bytes inside a region of ours. They must not change until SENT. */
struct tl_net_payload {
    uint32_t region;
    uint64_t offset;
    uint32_t len;
};

#define TL_NET_EPOLL (1ull << 63) /* in epoll_data.u64 of the transport's descriptors: not in the owner's */

enum { TL_REGION_SERVE = 1, TL_REGION_LAND = 2 }; /* peers may read it; our read() may land in it */

struct tl_net_config {
    uint32_t rank; /* ours */
    uint32_t node_count;
    const char *const
        *addresses; /* node_count strings "host:port" or "[v6]:port"; index = rank; ours is where we listen */
    uint8_t job_key[TL_JOB_KEY_SIZE]; /* until keys() gives others */
    uint64_t job_id;                  /* hash of name and node list; both sides must agree */
    uint32_t protocol_version;
    bool encrypt;         /* both sides must agree, else the connection is refused */
    uint32_t inbound_max; /* connections accepted at once, 0 = default */
    int epoll_fd;         /* the owner's epoll, to be used for sockets; 0: one of its own, behind fd() */
    int listen_fd;  /* > 0: listens at our address already, since another process did before us; stays the caller's */
    int *listening; /* if not NULL: set to the descriptor that listens, which stays the transport's */
    void *world;    /* sim only: the simulated world; NULL elsewhere */
};

struct tl_net_caps {
    bool one_sided;     /* the peer's CPU takes no part in read() */
    bool down_reliable; /* death of a peer process gives DOWN promptly */
    bool encrypted;
};

struct tl_net_stats { /* counters since open */
    uint64_t messages_sent, messages_received, bytes_sent, bytes_received;
    uint64_t reads_served, reads_issued, read_bytes_in, read_bytes_out, bulk_fallbacks;
    uint64_t connects, accepts, auth_failures, bad_frames, version_mismatches;
};

struct tl_net; /* an instance; each implementation's first member is `const struct tl_net_ops *ops` */

struct tl_net_ops {
    const char *name;
    void (*close)(struct tl_net *net); /* NULL is fine; outstanding operations end without events */
    void (*caps)(struct tl_net *net, struct tl_net_caps *out);
    void (*stats)(struct tl_net *net, struct tl_net_stats *out);
    /* Proves keys[0] from now on, and accepts proofs of all of them: 1 to TL_NET_KEYS_MAX. What is up proves
     * keys[0], too, and stays; but a peer that has not proven one of these ten seconds later goes DOWN. NULL for sim. */
    void (*keys)(struct tl_net *net, const struct tl_net_key *keys, uint32_t count);
    /* Starts connecting to rank. 0 with *out set (UP or DOWN will follow), -EALREADY (connected or
     * connecting), -EINVAL. */
    int (*connect)(struct tl_net *net, uint32_t rank, uint64_t now_ns, struct tl_peer *out);
    /* Closes: outstanding operations end with -ECANCELED events, then DOWN. 0, -ENOTCONN. */
    int (*drop)(struct tl_net *net, struct tl_peer peer);
    /* 0, -EAGAIN (a WRITABLE follows), -ENOTCONN, -EMSGSIZE. payload may be NULL. */
    int (*send)(struct tl_net *net, struct tl_peer peer, const void *header, uint32_t header_len,
                const struct tl_net_payload *payload, uint64_t cookie);
    void (*release)(struct tl_net *net, struct tl_net_event *ev); /* for MESSAGE events */
    /* Registers memory: fd (memfd) from offset 0, mapped at base, len bytes. Returns a region number >= 0, or
     * -errno. */
    int (*expose)(struct tl_net *net, int fd, void *base, size_t len, unsigned flags);
    int (*retract)(struct tl_net *net, uint32_t region); /* 0, -EBUSY while in use */
    /* Pulls len bytes (any size) at (region, offset) of peer into (dst_region, dst_offset) of ours.
     * The landing place needs no pages yet. 0, -EAGAIN, -ENOTCONN, -EINVAL, -ENOMEM (as a READ's status, too: none
     * to be had). */
    int (*read)(struct tl_net *net, struct tl_peer peer, uint32_t region, uint64_t offset, uint32_t dst_region,
                uint64_t dst_offset, uint32_t len, uint64_t deadline_ns, uint64_t cookie);
    int (*fd)(struct tl_net *net); /* one pollable descriptor (epoll), -1 for sim and with the owner's epoll */
    /* With the owner's epoll: one event of it whose data has TL_NET_EPOLL set. All events of one epoll_wait() are given
     * before the next poll(). NULL for sim. */
    void (*ready)(struct tl_net *net, uint64_t data, uint32_t events);
    /* Up to max events. Handles what is ready, within a bounded amount of work. Returns the count. */
    int (*poll)(struct tl_net *net, struct tl_net_event *events, int max, uint64_t now_ns);
    /* *next_ns: when poll() must be called even if fd is silent (UINT64_MAX: never). 0: may sleep; 1: call
     * poll() again now. */
    int (*arm)(struct tl_net *net, uint64_t *next_ns);
};

/* First member of every implementation. */
struct tl_net {
    const struct tl_net_ops *ops;
};

/* Opens the TCP transport and listens on our address. err says what to do when it fails. 0 or -errno. */
int tl_net_tcp_open(struct tl_net **out, const struct tl_net_config *config, struct tl_error *err) TL_MUST_CHECK;

/* Opens TCP with libfabric bulk. provider: "auto", or a libfabric provider name such as "tcp;ofi_rxm". If
 * libfabric or the provider is missing: -ENOTSUP and a sentence; the caller then uses plain TCP. */
int tl_net_ofi_open(struct tl_net **out, const struct tl_net_config *config, const char *provider,
                    struct tl_error *err) TL_MUST_CHECK;

#endif
