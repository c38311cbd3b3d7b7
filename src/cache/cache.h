// SPDX-License-Identifier: Apache-2.0
/* The cache manager: one bounded cache of values (key -> bytes) a node, in shared memory, that its local clients read without
 * asking (cache/reader.h). One writer: all functions here belong to one thread.
 *
 * Bounded in memory: everything that the manager takes, tables included, is taken after room was made for it below the limit; then
 * -ENOSPC. Bounded in time: a call does a bounded piece of work. What needs more says -EAGAIN (call again: some room was made)
 * or goes on in tl_cache_tick.
 *
 * Values are filled as a whole or not at all: put in one call, or begin, write..., commit. While a fill of a key is on its way,
 * another begin of it gets -EALREADY. A value has a class: ordinary; volatile, evicted before all others; pinned, evicted never, up to a
 * quota. It counts for the job that filled it, which may have a quota. Its label (a path, say) is for people. */
#ifndef TL_CACHE_CACHE_H
#define TL_CACHE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"
#include "base/hash.h"
#include "cache/layout.h"
#include "cache/reader.h"
#include "cache/space.h"

#define TL_CACHE_UNKNOWN     UINT64_MAX    /* a size that shows when the fill is committed */
#define TL_CACHE_UNKNOWN_MAX (64ull << 20) /* bytes of such a fill, unless it says more */
#define TL_CACHE_STEP        TL_SPACE_STEP /* bytes that one write takes at most */
#define TL_CACHE_PUT_MAX     (128u << 10)
#define TL_CACHE_FILLS_MAX   256u /* on their way at the same time */
#define TL_CACHE_READERS_MAX 128u
#define TL_CACHE_LABEL_MAX   4095u
#define TL_CACHE_LIMIT_LEAST (4ull << 20)

struct tl_cache_item;

struct tl_cache_config {
    /* Called of a value that is about to be evicted, and can still be read and held; may be NULL. It changes nothing here. */
    void (*evicting)(void *ctx, const struct tl_cache_item *item);
    void *evicting_ctx;
    uint64_t limit_bytes;
    uint64_t limit_max_bytes; /* the limit may be raised so far; 0: twice limit_bytes */
    uint64_t pin_quota_bytes; /* 0: half of the limit, and follows it */
    uint32_t entries_max;     /* 0: one for each 2 KiB of the limit */
    uint64_t seed;            /* of the hash and of draws; 0: a random one */
    int values_fd;            /* a file for the values, on tmpfs; -1: a memory file of our own */
    /* What an earlier manager left: -1, or all three. They become ours. */
    int adopt_directory_fd, adopt_uses_fd, adopt_values_fd;
    /* What its readers still hold: they become readers 1, 2, ... of this one. */
    const struct tl_holds *const *orphans;
    uint32_t orphan_count;
};

/* A value to be filled. */
struct tl_cache_attr {
    struct tl_hash key;
    enum tl_value_class class;
    uint16_t job; /* of tl_cache_job; 0: none */
    bool replace; /* else a key that is there gives -EEXIST */
    bool check;   /* against digest (XXH3-128, seed 0, of all bytes) */
    struct tl_hash digest;
    const char *label;  /* NULL: none; cut at TL_CACHE_LABEL_MAX */
    uint64_t bytes_max; /* of a fill of unknown size; 0: TL_CACHE_UNKNOWN_MAX */
};

struct tl_cache_usage {
    uint64_t values, bytes, cost_bytes; /* cost: what they take */
};

struct tl_cache_stats {
    uint64_t limit_bytes, limit_max_bytes, pin_quota_bytes;
    uint64_t used_bytes;  /* all memory; never above the limit, but for the time after it was lowered */
    uint64_t table_bytes; /* of it: the directory */
    uint64_t free_bytes;  /* of it: pages that are kept for the next values */
    uint64_t held_bytes;  /* of it: of values that are gone, and perhaps still read */
    uint64_t record_bytes, record_live_bytes; /* of it: segments of small values, and what lives in them */
    struct tl_cache_usage classes[3];
    uint64_t puts, put_bytes, replaced, evictions, evicted_bytes, moved_bytes, refused, aborted, damaged,
        scrubbed_bytes;
    uint64_t adopted, not_adopted;
    uint32_t fills, readers, entries_max;
};

/* What tl_cache_list shows. */
struct tl_cache_item {
    struct tl_hash key, digest;
    uint64_t size, filled_s;
    enum tl_value_class class;
    uint16_t job;
    const char *label; /* "" for none; not NUL-terminated beyond label_len */
    uint32_t label_len;
};

struct tl_cache;

/* 0; -EINVAL: limits, with a sentence; -ENOMEM and what making memory files gave. */
int tl_cache_new(struct tl_cache **out, const struct tl_cache_config *config, struct tl_error *err) TL_MUST_CHECK;
void tl_cache_free(struct tl_cache *c);
/* The descriptors that readers map (tl_reader_map), and that a next manager adopts. They stay ours. */
int tl_cache_directory_fd(const struct tl_cache *c);
int tl_cache_values_fd(const struct tl_cache *c);
int tl_cache_uses_fd(const struct tl_cache *c);

/* ---- reading ---- */

/* This process's own reader; valid as long as the cache. */
struct tl_reader *tl_cache_reader(struct tl_cache *c);
/* What this reader holds is not given away. *id for tl_cache_remove_reader. -EMFILE: TL_CACHE_READERS_MAX. */
int tl_cache_add_reader(struct tl_cache *c, const struct tl_holds *holds, uint32_t *id) TL_MUST_CHECK;
void tl_cache_remove_reader(struct tl_cache *c, uint32_t id);
bool tl_cache_has(const struct tl_cache *c, struct tl_hash key);

/* ---- filling ---- */

/* All at once; size up to TL_CACHE_PUT_MAX. 0; -EEXIST; -EALREADY: it is being filled; -EBADMSG: not the digest that was named; -EDQUOT:
 * pins, or the job's quota; -ENOSPC: all that is left is pinned, held or being filled; -EAGAIN: call again; -ENOMEM: the machine has none. */
int tl_cache_put(struct tl_cache *c, const struct tl_cache_attr *attr, const void *bytes, uint64_t size) TL_MUST_CHECK;
/* size: or TL_CACHE_UNKNOWN. The same errors; -EFBIG: it can never fit; -EBUSY: TL_CACHE_FILLS_MAX are on their way. */
int tl_cache_begin(struct tl_cache *c, const struct tl_cache_attr *attr, uint64_t size, uint32_t *fill) TL_MUST_CHECK;
/* The next bytes: how many were taken, at most TL_CACHE_STEP; -EAGAIN, -ENOSPC, -ENOMEM (it may be tried again, or
 * aborted); -EFBIG: more than it said. */
int64_t tl_cache_write(struct tl_cache *c, uint32_t fill, const void *bytes, uint64_t len) TL_MUST_CHECK;
/* The end of the fill. -EAGAIN: call again; any other error: it is aborted. -EBADMSG: digest, or fewer bytes than it said. */
int tl_cache_commit(struct tl_cache *c, uint32_t fill) TL_MUST_CHECK;
void tl_cache_abort(struct tl_cache *c, uint32_t fill);
/* The fill of this key that is on its way; false: none. */
bool tl_cache_filling(const struct tl_cache *c, struct tl_hash key);

/* ---- policy ---- */

int tl_cache_drop(struct tl_cache *c, struct tl_hash key) TL_MUST_CHECK; /* 0, -ENOENT */
int tl_cache_set_class(struct tl_cache *c, struct tl_hash key,
                       enum tl_value_class class) TL_MUST_CHECK; /* 0, -ENOENT, -EDQUOT */
/* 0; -EINVAL: out of range; -EBUSY: more is pinned: both with a sentence. What is too much goes step by step (tl_cache_tick). */
int tl_cache_set_limit(struct tl_cache *c, uint64_t bytes, struct tl_error *err) TL_MUST_CHECK;
int tl_cache_set_pin_quota(struct tl_cache *c, uint64_t bytes, struct tl_error *err) TL_MUST_CHECK; /* 0: half */
/* A job's number by its name, of up to TL_VALUE_JOB_NAME - 1 bytes. 1 or more; -ENOSPC: too many jobs; -EINVAL. */
int tl_cache_job(struct tl_cache *c, const char *name) TL_MUST_CHECK;
int tl_cache_set_quota(struct tl_cache *c, uint16_t job, uint64_t bytes) TL_MUST_CHECK; /* 0: none; -EINVAL */
/* Does a bounded piece of what is waiting: shrinking to the limit, reclaiming. True: there is more. */
bool tl_cache_tick(struct tl_cache *c);
/* Checks the digests of some values, up to about TL_CACHE_STEP bytes, and drops the damaged. cursor: 0 at first; true: there is more. */
bool tl_cache_scrub(struct tl_cache *c, uint64_t *cursor);

/* ---- looking ---- */

void tl_cache_stats(const struct tl_cache *c, struct tl_cache_stats *out);
const char *tl_cache_job_name(const struct tl_cache *c, uint16_t job); /* "" */
void tl_cache_job_usage(const struct tl_cache *c, uint16_t job, struct tl_cache_usage *out, uint64_t *quota);
/* What is known of one. 0, -ENOENT. The label is valid as below. */
int tl_cache_look(const struct tl_cache *c, struct tl_hash key, struct tl_cache_item *out) TL_MUST_CHECK;
/* Up to max values from *cursor on (0 at first), looking at no more than 4,096 entries. How many; *cursor is UINT64_MAX at the
 * end. Labels are valid until the next call that changes anything. */
uint32_t tl_cache_list(const struct tl_cache *c, uint64_t *cursor, struct tl_cache_item *out, uint32_t max);

/* A note under a name; both are strings, cut at TL_VALUE_CRUMB_NAME - 1 and TL_VALUE_CRUMB_NOTE - 1. It survives eviction and the
 * manager. note NULL: take it away. 0; -ENOSPC: TL_VALUE_CRUMBS names; -ENOENT; -EINVAL. */
int tl_cache_crumb_set(struct tl_cache *c, const char *name, const char *note) TL_MUST_CHECK;
const char *tl_cache_crumb(const struct tl_cache *c, const char *name); /* NULL: none */
const struct tl_crumb *tl_cache_crumb_at(const struct tl_cache *c,
                                         uint32_t i); /* name "": none; i below TL_VALUE_CRUMBS */

#endif
