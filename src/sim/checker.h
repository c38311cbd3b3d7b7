// SPDX-License-Identifier: Apache-2.0
/* What must hold in the simulated cluster, at all times or at the end. Each is shown to fail on a planted bug (plant.h,
 * test/sim) before it is trusted.
 *
 * At all times: right bytes (every answered ref is the chunk, or a listing, that was asked for); every request answered
 * exactly once; an error answer only where storage or the test made it, EBUSY and ENOMEM never: tables that are full make a
 * program wait (P-12, P-13); no node holds more than its limit; no extent freed twice, used after free, or overwritten (arena.c); no
 * node spins; tl_node_verify on a sample of steps.
 * Storage: a node has each chunk under way once (storage.c), at most fetch_max fetches at once, and asks only for what it does not
 * hold; nodes other than the root ask only when they have nobody to ask, or when those whom they asked could not help (P-7, P-19):
 * storage has failed for this object, or eight chunks came damaged. Each hand-over belongs to a fetch that passed these. So
 * an extra read has a cause of its own, and no sum of faults can excuse one.
 * The tree, on a sample of steps: whom a node asks, whom that one asks, and so on, comes to an end (no cycle); no more children than
 * P-23 allows.
 * Messages, from time to time: fewer than MESSAGES_A_FLIGHT for each flight, plus a constant for each heartbeat, connection and flood.
 * At the end: every request was answered, within TL_LIVENESS_NS after the last fault has healed. */
#ifndef TL_SIM_CHECKER_H
#define TL_SIM_CHECKER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/node/node.h"

struct tl_cluster;
struct tl_process;

#define TL_LIVENESS_NS  10000000000ull
#define TL_OPERATOR_BIT (1ull << 63) /* in the ids of FLUSH and GATHER */

struct tl_checker {
    uint64_t requests, answers, errors, busy, stale, cancelled;
    uint64_t operators, operators_answered, reports;
    uint64_t flushes, incomplete; /* commands that did not reach all nodes */
    uint64_t disturbances;        /* faults that cost messages */
    uint64_t alone;               /* fetches by others than the root */
    uint64_t children_most, longest_wait_ns;
    uint64_t hand_overs; /* chunks and listings that nodes have asked storage for */
    uint64_t peak_bytes; /* most that a node has held */
    uint64_t steps;
};

/* The node is about to ask storage. */
void tl_checker_fetch(struct tl_cluster *c, uint32_t rank, const struct tl_fetch *fetch);
void tl_checker_step(struct tl_cluster *c, uint32_t rank);
/* Status and bytes of an answer to p. */
void tl_checker_answer(struct tl_cluster *c, uint32_t rank, const struct tl_process *p, const struct tl_answer *answer);
/* Everything has come to its end, or time has run out. */
void tl_checker_end(struct tl_cluster *c, bool timed_out);

#endif
