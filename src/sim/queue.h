// SPDX-License-Identifier: Apache-2.0
/* What happens when in the simulated world: a 4-ary heap of events, ordered by time, then by order of insertion.
 *
 * The second key makes the order total, so that one seed gives one history. One owner thread. */
#ifndef TL_SIM_QUEUE_H
#define TL_SIM_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tl_sim_event {
    uint64_t time_ns;
    uint64_t seq;  /* order of insertion */
    void *ptr;     /* the handler's */
    uint32_t node; /* the handler's: usually a rank */
    uint16_t kind; /* enum tl_world_kind */
    uint16_t tag;  /* the handler's: usually the incarnation of the node, or a sub-kind */
};

struct tl_queue {
    struct tl_sim_event *items;
    size_t count, capacity;
    uint64_t next_seq;
    size_t high_water;
};

void tl_queue_init(struct tl_queue *q);
void tl_queue_fini(struct tl_queue *q);
/* Adds *ev; its seq is set here. */
void tl_queue_push(struct tl_queue *q, const struct tl_sim_event *ev);
/* Takes out the first event. False: empty. */
bool tl_queue_pop(struct tl_queue *q, struct tl_sim_event *out);
/* Time of the first event, UINT64_MAX: empty. */
uint64_t tl_queue_next_ns(const struct tl_queue *q);

#endif
