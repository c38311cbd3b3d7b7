// SPDX-License-Identifier: Apache-2.0
/* How a client speaks to the manager's process: packets over a SOCK_SEQPACKET socket of its own, one request at a time. Both
 * ends are on one machine, so integers are as the machine has them.
 *
 * The client makes a pair of sockets and sends one end along with the control request `cache open` (base/control.h). The first packet is the
 * daemon's: a hello with five descriptors: directory, values (both only to be read), uses, holds, window. The window is memory for
 * both: the client writes bytes there and says where they are. When the socket closes, its fills are aborted and what it holds
 * may go. */
#ifndef TL_CACHE_WIRE_H
#define TL_CACHE_WIRE_H

#include <stdint.h>

#include "base/hash.h"

#define TL_VALUES_VERSION      1u
#define TL_VALUES_FDS          5u
#define TL_VALUES_WINDOW_BYTES (4u << 20)
#define TL_VALUES_ITEMS_MAX    512u /* puts of one request */
#define TL_VALUES_PACKET_MAX   8192u
#define TL_VALUES_LABEL_MAX    4095u

enum tl_values_op {
    TL_VALUES_JOB = 1, /* text: the job that fills count for */
    TL_VALUES_PUT,     /* count items at offset in the window */
    TL_VALUES_BEGIN,   /* a fill, text: label; wait: until a fill of the same key has ended */
    TL_VALUES_WRITE,   /* len bytes at offset in the window */
    TL_VALUES_COMMIT,
    TL_VALUES_ABORT,
    TL_VALUES_DROP,
    TL_VALUES_CLASS, /* of a value: becomes class */
    TL_VALUES_FETCH, /* from below, if it is there: answered when it is in memory */
    TL_VALUES_RESUME, /* key: device and inode of the holds that the client had from the daemon before, and goes on with */
};

#define TL_VALUES_REPLACE 1u
#define TL_VALUES_CHECK   2u /* the digest is said, and is to be right */
#define TL_VALUES_WAIT    4u

struct tl_values_hello {
    uint32_t version, session;
    uint64_t window_bytes;
};

/* Its text, of text_len bytes, follows. */
struct tl_values_request {
    uint32_t op, flags, class, text_len;
    uint32_t fill, count;
    uint64_t offset, len; /* in the window */
    uint64_t size, bytes_max;
    struct tl_hash key, digest;
};

/* A put, in the window. */
struct tl_values_item {
    struct tl_hash key, digest;
    uint64_t offset, size; /* of the bytes, in the window */
    uint32_t flags, class;
    uint32_t label_offset, label_len;
};

/* After a PUT, an int32_t a value follows: 0 or -errno. */
struct tl_values_reply {
    int32_t result; /* 0, -errno */
    uint32_t fill, count;
    uint32_t reserved;
};

_Static_assert(sizeof(struct tl_values_item) == 64, "items lie in a row");

#endif
