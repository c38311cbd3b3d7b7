// SPDX-License-Identifier: Apache-2.0
/* Messages between nodes: encode, decode, limits. Pure functions over bytes, any thread.
 *
 * A message is a header (at most TL_HEADER_MAX bytes, little-endian, fixed fields first) and an optional payload, which only
 * DATA has. tl_wire_decode checks every length, range and reserved bit before it returns 0: nothing that it lets
 * through needs another check for shape, only for sense. Rules: docs/protocol.md, section Wire. */
#ifndef TL_CORE_WIRE_WIRE_H
#define TL_CORE_WIRE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/hash.h"
#include "core/node/node.h"
#include "core/request.h"

#define TL_WIRE_GET_CHUNKS_MAX 64u         /* chunks one GET may ask for */
#define TL_WIRE_PULL_MAX       (64u << 20) /* bytes one PULL may carry: the longest listing */

enum tl_wire_type {
    TL_WIRE_HELLO = 1,    /* first on every connection, both ways */
    TL_WIRE_JOIN = 2,     /* child to the parent it has chosen: I am yours, with so many nodes below me */
    TL_WIRE_GET = 3,      /* child to parent: these chunks of this object, please */
    TL_WIRE_DATA = 4,     /* parent to child: one chunk, inline or to be pulled, or the error in its place */
    TL_WIRE_DONE = 5,     /* child to parent: the loan is over */
    TL_WIRE_PING = 6,     /* are you there? */
    TL_WIRE_PONG = 7,     /* yes */
    TL_WIRE_FLOOD = 8,    /* to all neighbours: forget (FLUSH) or report (GATHER) */
    TL_WIRE_REPORT = 9,   /* one node's counters, towards who asked */
    TL_WIRE_FLOODED = 10, /* everybody behind me has done it */
};

enum tl_flood_kind { TL_FLOOD_FLUSH = 1, TL_FLOOD_GATHER = 2, TL_FLOOD_WARM = 3, TL_FLOOD_PIN = 4, TL_FLOOD_UNPIN = 5 };

/* How DATA carries its chunk. */
enum tl_data_mode {
    TL_DATA_ERROR = 0,  /* status < 0, nothing else; what a mode has no use for is 0 */
    TL_DATA_INLINE = 1, /* the payload is the chunk */
    TL_DATA_PULL = 2,   /* pull len bytes at addr of the sender; answer DONE(loan) */
};

/* A decoded message: `type` says which fields are valid. Pointers point into the decoded bytes. */
struct tl_wire {
    enum tl_wire_type type;
    union {
        struct {
            uint32_t protocol, rank, node_count, arity, roots;
            uint64_t job_id, incarnation;
        } hello;
        struct {
            uint32_t tree;
            uint32_t subtree; /* nodes at and below the sender (tree 0; else 1); 0: it asks somebody else now */
        } join;
        struct {
            uint64_t req; /* the child's number for this request; comes back in every DATA */
            enum tl_op op;
            uint16_t path_len;
            const char *path;
            uint64_t version, file_size_bytes; /* READ */
            uint64_t outdated;                 /* not READ: the one with this mark is outdated; 0: none */
            uint32_t first, count;             /* chunks; not READ: 0, 1 */
        } get;
        struct {
            uint64_t req;
            struct tl_hash key; /* of the object */
            uint32_t chunk;
            int32_t status; /* 0, or a negative errno of ours */
            enum tl_data_mode mode;
            uint32_t len; /* bytes of the chunk */
            struct tl_hash digest;
            uint64_t addr, loan; /* PULL; loan is not 0 */
        } data;
        struct {
            uint64_t loan;
        } done;
        struct {
            enum tl_flood_kind kind;
            uint64_t id;
            uint8_t hops; /* edges from where it was given, 255: that many or more */
            uint16_t path_len;
            const char *path;
        } flood;
        struct {
            uint64_t id;
            struct tl_report report;
        } report;
        struct {
            uint64_t id;
            uint32_t nodes; /* how many did it */
            bool complete;  /* none of them was missing */
        } flooded;
    };
};

/* The key of an object: the hash of what it is. version is not 0 for a file, and 0 for all else. */
struct tl_hash tl_object_key(enum tl_op op, const char *path, uint16_t path_len, uint64_t version);

/* Chunks of a file of this size (0 for an empty one), and the length of chunk i. At most UINT32_MAX: what lies
 * beyond 1 PiB of a file cannot be named. */
uint32_t tl_chunk_count(uint64_t file_size_bytes);
uint32_t tl_chunk_len(uint64_t file_size_bytes, uint32_t chunk);

/* Encodes into buf. The length, or -EMSGSIZE when max is too small. Fields must be in range (check). */
int tl_wire_encode(const struct tl_wire *m, uint8_t *buf, size_t max) TL_MUST_CHECK;

/* Decodes len bytes. 0, or -EBADMSG: not a message of ours; *out is then undefined. */
int tl_wire_decode(struct tl_wire *out, const uint8_t *buf, size_t len) TL_MUST_CHECK;

#endif
