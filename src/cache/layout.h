// SPDX-License-Identifier: Apache-2.0
/* What the cache manager shows to other processes: the directory, in shared memory, and how it is read without a lock.
 *
 * Four files in memory. The directory (clients map it read-only): a head, buckets of eight places for entries, entries of one
 * cache line, and the names of jobs. The values (read-only): a value is `size` bytes at `place`. The uses (writable, hints for eviction): a
 * byte an entry. The holds (writable, one file a client): the places that this client reads.
 *
 * An entry is valid while its `turn` is even and the same before and after its fields are read. To read the bytes, a client
 * writes the place into one of its holds, then looks at the turn again: if it has not changed, the manager, which changes
 * the turn first and looks at the holds afterwards, will not give that place away until the hold is cleared. All four
 * steps are seq_cst; this is what hazard pointers are (Michael, 2004), here between processes.
 *
 * A key's bucket is one of two, by hash under the head's seed; a key never moves, and an insertion is one store. */
#ifndef TL_CACHE_LAYOUT_H
#define TL_CACHE_LAYOUT_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/prng.h"

#define TL_DIRECTORY_MAGIC   0x31524944636c6974ull
#define TL_DIRECTORY_VERSION 1u
#define TL_BUCKET_WAYS       8u
#define TL_VALUE_JOBS        256u
#define TL_VALUE_JOB_NAME    64u
#define TL_VALUE_CRUMBS      256u
#define TL_VALUE_CRUMB_NAME  64u
#define TL_VALUE_CRUMB_NOTE  184u
#define TL_HOLDS_BYTES       16384u
#define TL_HOLDS_MAX         (TL_HOLDS_BYTES / 8u - 8u)

enum tl_value_state { TL_VALUE_NONE, TL_VALUE_READY };
enum tl_value_kind { TL_VALUE_EMPTY, TL_VALUE_PAGES, TL_VALUE_RECORD };
enum tl_value_class { TL_VALUE_ORDINARY, TL_VALUE_VOLATILE, TL_VALUE_PINNED };

struct tl_directory_head {
    uint64_t magic;
    uint32_t version, head_bytes;
    uint64_t total_bytes, values_bytes; /* of the files */
    uint64_t limit_max_bytes;
    uint32_t entries, buckets; /* buckets: a power of two */
    uint64_t seed;
    uint64_t buckets_at, entries_at, extras_at, jobs_at, crumbs_at;
    _Atomic uint64_t era; /* grows with each manager; entries of another era have not been checked since */
};

struct tl_bucket {
    _Atomic uint64_t ways[TL_BUCKET_WAYS]; /* tag << 32 | entry + 1; 0: free */
};

struct tl_entry {
    _Atomic uint64_t turn; /* odd: being changed */
    _Atomic uint64_t key_hi, key_lo;
    _Atomic uint64_t size, place;
    _Atomic uint64_t digest_hi, digest_lo;
    _Atomic uint64_t meta; /* see below */
};

/* What readers need not know. */
struct tl_extra {
    uint64_t label_place; /* UINT64_MAX: none */
    uint32_t label_len, filled_s;
};

struct tl_job_row {
    char name[TL_VALUE_JOB_NAME]; /* "": free */
    uint64_t quota_bytes;         /* 0: none */
};

struct tl_crumb {
    char name[TL_VALUE_CRUMB_NAME]; /* "": free */
    uint64_t written_s;
    char note[TL_VALUE_CRUMB_NOTE];
};

struct tl_holds {
    _Atomic uint32_t top; /* holds below have been used */
    uint32_t reserved[15];
    _Atomic uint64_t place[TL_HOLDS_MAX]; /* place + 1; 0: free */
};

_Static_assert(sizeof(struct tl_entry) == 64, "a look-up reads one line of an entry");
_Static_assert(sizeof(struct tl_bucket) == 64, "and one of a bucket");
_Static_assert(sizeof(struct tl_crumb) == 256, "notes fill their rows");
_Static_assert(sizeof(struct tl_holds) == TL_HOLDS_BYTES, "holds fill their pages");

struct tl_value_meta {
    enum tl_value_state state;
    enum tl_value_kind kind;
    enum tl_value_class class;
    uint16_t job;
    uint32_t era;
};

static inline uint64_t tl_meta_pack(struct tl_value_meta m)
{
    return (uint64_t)m.state | (uint64_t)m.kind << 4 | (uint64_t)m.class << 8 | (uint64_t)m.job << 16 |
           (uint64_t)m.era << 32;
}

static inline struct tl_value_meta tl_meta_unpack(uint64_t v)
{
    return (struct tl_value_meta){.state = (enum tl_value_state)(v & 15),
                                  .kind = (enum tl_value_kind)(v >> 4 & 15),
                                  .class = (enum tl_value_class)(v >> 8 & 255),
                                  .job = (uint16_t)(v >> 16),
                                  .era = (uint32_t)(v >> 32)};
}

/* Where a key may be: two buckets, and the tag that it has there. */
struct tl_key_spot {
    uint32_t bucket[2];
    uint32_t tag;
};

static inline struct tl_key_spot tl_key_spot(struct tl_hash key, uint64_t seed, uint32_t buckets)
{
    uint64_t h = tl_prng_mix(key.hi ^ tl_prng_mix(key.lo ^ seed)), g = tl_prng_mix(h);
    return (struct tl_key_spot){{(uint32_t)h & (buckets - 1), (uint32_t)g & (buckets - 1)}, (uint32_t)(h >> 32)};
}

/* An entry's fields, read by one who is not its writer. */
struct tl_entry_view {
    uint64_t turn;
    struct tl_hash key, digest;
    uint64_t size, place, meta;
};

/* False: it was being changed. */
static inline int tl_entry_read(const struct tl_entry *e, struct tl_entry_view *out)
{
    /* Loads that acquire keep their order among each other, and pair with the writer's releases: fields that are newer than the first
     * turn come with a second turn that is newer, too. */
    out->turn = atomic_load_explicit(&e->turn, memory_order_acquire);
    out->key.hi = atomic_load_explicit(&e->key_hi, memory_order_acquire);
    out->key.lo = atomic_load_explicit(&e->key_lo, memory_order_acquire);
    out->size = atomic_load_explicit(&e->size, memory_order_acquire);
    out->place = atomic_load_explicit(&e->place, memory_order_acquire);
    out->digest.hi = atomic_load_explicit(&e->digest_hi, memory_order_acquire);
    out->digest.lo = atomic_load_explicit(&e->digest_lo, memory_order_acquire);
    out->meta = atomic_load_explicit(&e->meta, memory_order_acquire);
    return (out->turn & 1) == 0 && atomic_load_explicit(&e->turn, memory_order_acquire) == out->turn;
}

#endif
