// SPDX-License-Identifier: Apache-2.0
/* Which of many things to give up: S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache
 * eviction", SOSP 2023), chosen in docs/decisions/0023.
 *
 * Things are numbered slots below a capacity. A new one waits in a small queue (a tenth of the weight); used again there, it
 * moves to the main queue, else it leaves, so that a scan passes through the small queue alone. Slots of the main queue
 * that were used go round again. A memory of what left the small queue (the ghosts) lets what comes back in at once.
 *
 * Several lists share the slots: a class of things, or a job with a quota, has its own. All memory is taken by _new; no
 * operation allocates, reads a clock or does I/O, and each takes a bounded number of steps. One owner; only the use counts may be
 * written by others, as a hint. */
#ifndef TL_BASE_EVICT_H
#define TL_BASE_EVICT_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/check.h"

#define TL_EVICT_NONE      UINT32_MAX
#define TL_EVICT_LISTS_MAX 512u
#define TL_EVICT_USES_MAX  3u /* more uses than that are one */

struct tl_evict;

/* uses: capacity bytes, zeroed, that others may write (tl_evict_used), or NULL: the policy has its own. They outlive it.
 * 0, -ENOMEM. */
int tl_evict_new(struct tl_evict **out, uint32_t capacity, uint32_t lists, _Atomic uint8_t *uses) TL_MUST_CHECK;
void tl_evict_free(struct tl_evict *e);

/* The slot, in no list, enters one. weight in any unit; key: what it is, the same when it comes back. */
void tl_evict_insert(struct tl_evict *e, uint32_t list, uint32_t slot, uint32_t weight, uint64_t key);
/* The slot leaves its list, without being remembered; it may be in none. */
void tl_evict_remove(struct tl_evict *e, uint32_t slot);
/* Picks one of the list, takes it out, and remembers it. TL_EVICT_NONE: the list is empty. */
uint32_t tl_evict_victim(struct tl_evict *e, uint32_t list) TL_MUST_CHECK;

uint64_t tl_evict_weight(const struct tl_evict *e, uint32_t list);
uint32_t tl_evict_count(const struct tl_evict *e, uint32_t list);
int tl_evict_listed(const struct tl_evict *e, uint32_t slot);

/* The slot was used. Any thread, any process: a count that is lost now and then does no harm. */
static inline void tl_evict_used(_Atomic uint8_t *uses, uint32_t slot)
{
    uint8_t n = atomic_load_explicit(&uses[slot], memory_order_relaxed);
    if (n < TL_EVICT_USES_MAX)
        atomic_store_explicit(&uses[slot], (uint8_t)(n + 1), memory_order_relaxed);
}
void tl_evict_touch(struct tl_evict *e, uint32_t slot);

#endif
