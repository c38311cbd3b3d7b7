// SPDX-License-Identifier: Apache-2.0
/* How fast the storage is, learned from reads that are made anyway (docs/decisions/0054). Counted only while several operations are
 * under way: one after the other, they say how long the storage takes, not how much it gives. Pure; the caller has the clock. */
#ifndef TL_DAEMON_RATE_H
#define TL_DAEMON_RATE_H

#include <stdint.h>

#define TL_RATE_AT_ONCE      4u            /* operations under way from which on it counts */
#define TL_RATE_WINDOW_BYTES (64ull << 20) /* a rate is taken from so many */

struct tl_rate { /* zeroed: nothing is known */
    uint32_t under_way;
    uint64_t since_ns; /* while it counts: since when it does, or since the last window */
    uint64_t busy_ns, bytes;
    uint64_t bytes_per_s; /* of the best window; 0: not known yet */
};

void tl_rate_begin(struct tl_rate *r, uint64_t now_ns);                 /* an operation is submitted */
void tl_rate_bytes(struct tl_rate *r, uint64_t now_ns, uint64_t bytes); /* some of a file are here */
void tl_rate_end(struct tl_rate *r, uint64_t now_ns);

#endif
