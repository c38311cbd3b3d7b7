// SPDX-License-Identifier: Apache-2.0
/* Small records one after another in segments, so that a value of some hundred bytes does not cost a page.
 *
 * A segment is a slot of the space (cache/space.h), filled once from front to end. Records die where they lie; compaction takes the
 * segment with the fewest living bytes, moves what lives to the end of the log, a few records at a time, and gives the segment
 * back. Readers that hold a record keep its whole segment in limbo.
 *
 * A record belongs to an owner, a number that its user gives it and is asked by: whether the record is still that owner's,
 * and to be told where it went. One owner thread. */
#ifndef TL_CACHE_LOG_H
#define TL_CACHE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "cache/space.h"

#define TL_LOG_SEGMENT    (1u << 20)
#define TL_LOG_RECORD_MAX (16u << 10) /* bytes of one */
#define TL_LOG_NOWHERE    UINT64_MAX

enum tl_log_verdict { TL_LOG_DEAD, TL_LOG_MOVE, TL_LOG_DROP };

struct tl_log_ops {
    /* Of a record at place: dead, to be moved, or given up instead (then the user has already forgotten it). */
    enum tl_log_verdict (*judge)(void *ctx, uint32_t owner, uint64_t place);
    void (*moved)(void *ctx, uint32_t owner, uint64_t from, uint64_t to);
};

struct tl_log_stats {
    uint64_t live_bytes;  /* of records that are not dead, with their heads */
    uint64_t total_bytes; /* of pages of segments */
    uint64_t moved_bytes; /* by compaction, ever */
    uint32_t segments;
};

struct tl_log;

int tl_log_new(struct tl_log **out, struct tl_space *space, const struct tl_log_ops *ops, void *ctx) TL_MUST_CHECK;
void tl_log_free(struct tl_log *l);

/* Room for a record at the end: its bytes are at tl_space_at(place), for the caller to fill. 0, -EAGAIN (its pages take their
 * time), -ENOSPC, -ENOMEM. len up to TL_LOG_RECORD_MAX, not 0. */
int tl_log_append(struct tl_log *l, uint32_t owner, uint32_t len, uint64_t *place) TL_MUST_CHECK;
/* The record is of no more use. */
void tl_log_kill(struct tl_log *l, uint64_t place);
/* Looks at records of the worst segment until `bytes` were copied or some hundred were looked at. False: there is nothing
 * that is worth it (no segment with less than this share of 256 alive), or no room to move to. */
bool tl_log_compact(struct tl_log *l, uint32_t bytes, uint32_t share);
uint32_t tl_log_record_size(uint32_t len); /* what a record costs */

/* After a crash: this record lives. -EINVAL: there is none of that owner and length. */
int tl_log_claim(struct tl_log *l, uint32_t owner, uint64_t place, uint32_t len) TL_MUST_CHECK;
void tl_log_stats(const struct tl_log *l, struct tl_log_stats *out);

#endif
