// SPDX-License-Identifier: Apache-2.0
/* What must hold in the simulated cluster, at all times or at the end. Each is shown to fail on a planted bug (plant.h,
 * test/sim) before it is trusted.
 *
 * At all times: right bytes (every answered ref is the chunk, or a listing, that was asked for); every request answered
 * exactly once; an error answer only where storage or the test made it; one fetch a chunk and node under way (storage.c);
 * no node holds more than its limit; no extent freed twice, used after free, or overwritten (arena.c); no node spins;
 * tl_node_verify on a sample of steps.
 * At the end: every request was answered, within TL_LIVENESS_NS after the last fault has healed; storage reads each chunk once
 * without faults, else at most once more for each disturbance (a crash, a lost connection, a partition's cut link, a
 * stopped process, a failed read) and eviction; messages stay below MESSAGES_A_FLIGHT for each flight, plus a constant for
 * each heartbeat, connection and flood. */
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
    uint64_t disturbances; /* faults that may make a node read what another has read */
    uint64_t peak_bytes;   /* most that a node has held */
    uint64_t steps;
};

void tl_checker_step(struct tl_cluster *c, uint32_t rank);
/* Status and bytes of an answer to p. */
void tl_checker_answer(struct tl_cluster *c, uint32_t rank, const struct tl_process *p, const struct tl_answer *answer);
/* Everything has come to its end, or time has run out. */
void tl_checker_end(struct tl_cluster *c, bool timed_out);

#endif
