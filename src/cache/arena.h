// SPDX-License-Identifier: Apache-2.0
/* The bytes a node holds, in shared memory: memfd segments, carved into page-rounded extents.
 *
 * Sockets send from the memfd (sendfile), clients may map it, the fabric registers it. An extent is written
 * once, then immutable; freeing punches its pages out, so that whoever still reads it sees old bytes or
 * zeros, never another object's (docs/decisions/0020). An extent is a place: its pages come when it is written. Who writes
 * through the mapping makes sure of them first, else a machine without memory gives SIGBUS. One owner thread;
 * other threads may read or fill extents that the owner handed them. */
#ifndef TL_CACHE_ARENA_H
#define TL_CACHE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"

#define TL_ARENA_SEGMENT_SIZE          (64u << 20)
#define TL_ARENA_ADDR(segment, offset) (((uint64_t)(segment) << 40) | (offset))
#define TL_ARENA_SEGMENT(addr)         ((uint32_t)((addr) >> 40))
#define TL_ARENA_OFFSET(addr)          ((addr) & ((1ull << 40) - 1))

/* Called when a segment was added: register it with the transport; the region number must come out as
 * `segment`. */
typedef int (*tl_arena_segment_fn)(void *ctx, uint32_t segment, int fd, void *base, size_t len);

struct tl_arena_config {
    uint64_t limit_bytes;           /* of live extents */
    tl_arena_segment_fn on_segment; /* may be NULL */
    void *on_segment_ctx;
};

struct tl_arena_stats {
    uint64_t live_bytes; /* asked for */
    uint64_t page_bytes; /* rounded to pages: what it costs */
    uint32_t segments;
};

struct tl_arena;

int tl_arena_new(struct tl_arena **out, const struct tl_arena_config *config, struct tl_error *err) TL_MUST_CHECK;
void tl_arena_free(struct tl_arena *a);
int tl_arena_alloc(struct tl_arena *a, uint32_t len,
                   uint64_t *addr) TL_MUST_CHECK; /* 0, -ENOSPC (limit), -ENOMEM; len 1..64 MiB */
/* Writes without the mapping: pages come with the bytes. 0, -ENOMEM; at most len from addr. */
int tl_arena_write(struct tl_arena *a, uint64_t addr, const void *bytes, uint32_t len) TL_MUST_CHECK;
void tl_arena_release(struct tl_arena *a, uint64_t addr, uint32_t len);
void *tl_arena_at(struct tl_arena *a, uint64_t addr);              /* pointer to the extent's first byte */
void tl_arena_set_limit(struct tl_arena *a, uint64_t limit_bytes); /* what is live above it stays; nothing more comes */
void tl_arena_stats(const struct tl_arena *a, struct tl_arena_stats *out);

#endif
