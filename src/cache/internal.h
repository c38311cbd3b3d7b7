// SPDX-License-Identifier: Apache-2.0
/* What the files of the cache manager share (cache/cache.h): cache.c (life, limit, classes), room.c (making room), fill.c (filling),
 * show.c (lists, notes, scrub), adopt.c (after a crash). */
#ifndef TL_CACHE_INTERNAL_H
#define TL_CACHE_INTERNAL_H

#include "base/evict.h"
#include "base/prng.h"
#include "cache/cache.h"
#include "cache/log.h"
#include "cache/space.h"
#include "cache/table.h"

#define NO_LABEL UINT64_MAX

struct tl_fill {
    bool used;
    uint32_t turn; /* tells this fill from an earlier one in its place */
    struct tl_cache_attr attr;
    char *label;
    uint64_t size; /* TL_CACHE_UNKNOWN */
    uint64_t size_max;
    uint64_t written;
    uint64_t place; /* NO_PLACE until the first byte */
    struct tl_hasher *hasher;
};

#define NO_PLACE UINT64_MAX

/* A value whose digest is being taken, in pieces. */
struct tl_scrub {
    struct tl_hasher *hasher;
    uint32_t entry;
    uint64_t turn, done;
};

/* Looking at what readers hold, in steps. */
struct tl_sweep {
    bool on, again;      /* again: a reader has gone meanwhile, whose holds may have been counted */
    uint32_t reader, at; /* the next hold */
    uint32_t held, seen; /* in this one so far, and in the last one */
};

struct tl_cache {
    struct tl_cache_config config;
    uint64_t limit; /* of all memory */
    struct tl_space *space;
    struct tl_log *log;
    struct tl_table table;
    struct tl_evict *evict;
    struct tl_reader reader;
    struct tl_holds *holds; /* our own */
    const struct tl_holds *readers[TL_CACHE_READERS_MAX];
    struct tl_fill fills[TL_CACHE_FILLS_MAX];
    uint32_t fill_count;
    struct tl_sweep sweep;
    uint64_t limbo_left; /* bytes of limbo that the last sweep found held */
    uint64_t squeezed;   /* the space's limit while the system is short of memory; 0: it is not */
    bool dropping;       /* compaction gives values up rather than moving them */
    struct tl_prng prng;
    struct tl_scrub scrub;
    struct tl_cache_usage jobs[TL_VALUE_JOBS];
    uint32_t jobs_top;           /* rows of jobs below have been used */
    struct tl_cache_stats stats; /* counters and classes; the rest is filled in when asked for */
};

/* What an entry costs: pages or records. */
uint64_t tl_cache_cost(const struct tl_cache *c, const struct tl_entry_view *v, uint32_t label_len);
bool tl_cache_is_record(const struct tl_cache *c, uint64_t size); /* small values that would waste too much of a page */
uint32_t tl_cache_list_of(struct tl_value_meta m);                /* of evict */
/* Counts the entry, in or out. */
void tl_cache_count(struct tl_cache *c, uint32_t entry, const struct tl_entry_view *v, bool in);
/* One more may be pinned, at that cost: within the quota, and half of all entries, which are as many as the first limit was worth. */
bool tl_cache_may_pin(const struct tl_cache *c, uint64_t cost);
/* It is about to be evicted. */
void tl_cache_tell_evicting(struct tl_cache *c, uint32_t entry);
/* Takes the value out, and gives back what it has. */
void tl_cache_forget(struct tl_cache *c, uint32_t entry);

/* room.c */

/* There are, or soon will be, this many bytes below the limit: free, or in the pool. 0; -EAGAIN: some were made, call again;
 * -ENOSPC: nothing can go. Bounded work. */
int tl_cache_room(struct tl_cache *c, uint64_t bytes) TL_MUST_CHECK;
/* The job has so much room in its quota. 0; -EAGAIN; -EDQUOT. */
int tl_cache_quota_room(struct tl_cache *c, uint16_t job, uint64_t bytes) TL_MUST_CHECK;
/* A step of finding out what of limbo is not held any more, and giving it back. True: that was the last one. */
bool tl_cache_sweep(struct tl_cache *c);
/* The system has no memory for us, though we are below our limit: what we have is the limit, until this is over. */
void tl_cache_squeeze(struct tl_cache *c, bool on);
bool tl_cache_evict_one(struct tl_cache *c); /* false: there is nothing that may go */
/* The space's limit follows the table's size and what it will grow by; pages of the pool go if they are too many then. */
void tl_cache_fit(struct tl_cache *c, uint64_t growth);
extern const struct tl_log_ops tl_cache_log_ops;

/* adopt.c */
int tl_cache_adopt(struct tl_cache *c, struct tl_error *err) TL_MUST_CHECK;

#endif
