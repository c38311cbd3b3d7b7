// SPDX-License-Identifier: Apache-2.0
/* The keys of a container's records, in the order in which they are looked for: the versions of a thing lie together, newest first.
 *
 *   object punched   oid 'P'                        version
 *   dkey punched     oid 'Q' dkey                   version
 *   range cleared    oid 'R' dkey akey              version      also: the akey punched
 *   value            oid 'V' dkey akey chunk        version
 *
 * An oid is 16 bytes, a chunk 8, both big-endian. A name ends with 0 1, and a 0 in it is 0 255: so names sort as their bytes do, and none is the
 * beginning of another. A version is its parts big-endian with all bits turned, so that the newest is the first. */
#ifndef TL_POOL_KEY_H
#define TL_POOL_KEY_H

#include <string.h>

#include "base/check.h"
#include "store/store.h"
#include "tiercel/pool.h"

/* One write: the epoch comes first, then who wrote, then when. */
struct tl_version {
    uint64_t epoch;
    uint32_t handle, era;
    uint64_t
        seq; /* later writes of a process have higher ones, and those of other processes of this machine nearly so */
    uint32_t writer; /* tells processes from each other */
};
#define TL_VERSION_BYTES 28u

static inline int tl_version_compare(const struct tl_version *a, const struct tl_version *b)
{
#define TL_DIFFER(part)                                                                                                \
    if (a->part != b->part)                                                                                            \
    return a->part < b->part ? -1 : 1
    TL_DIFFER(epoch);
    TL_DIFFER(handle);
    TL_DIFFER(era);
    TL_DIFFER(seq);
    TL_DIFFER(writer);
#undef TL_DIFFER
    return 0;
}

enum tl_tag { TL_TAG_OBJECT = 'P', TL_TAG_DKEY = 'Q', TL_TAG_RANGE = 'R', TL_TAG_VALUE = 'V' };

struct tl_key {
    uint8_t bytes[TL_STORE_KEY_MAX];
    size_t len;
};

void tl_key_begin(struct tl_key *k, struct tiercel_oid oid, enum tl_tag tag);
/* 0, -ENAMETOOLONG. */
int tl_key_add_name(struct tl_key *k, struct tiercel_bytes name) TL_MUST_CHECK;
void tl_key_add_chunk(struct tl_key *k, uint64_t chunk);
void tl_key_add_version(struct tl_key *k, const struct tl_version *v);
/* The first key behind all that begin with this one. */
void tl_key_behind(struct tl_key *k);

static inline struct tl_slice tl_key_slice(const struct tl_key *k)
{
    return (struct tl_slice){k->bytes, k->len};
}

/* In the order of the keys of a store. */
static inline int tl_key_compare(struct tl_slice a, struct tl_slice b)
{
    int c = memcmp(a.at, b.at, a.len < b.len ? a.len : b.len);
    return c != 0 ? c : a.len < b.len ? -1 : a.len > b.len;
}

static inline bool tl_begins_with(struct tl_slice key, struct tl_slice prefix)
{
    return key.len >= prefix.len && (prefix.len == 0 || memcmp(key.at, prefix.at, prefix.len) == 0);
}

struct tl_name {
    uint8_t bytes[TIERCEL_KEY_MAX];
    size_t len;
};

struct tl_key_view {
    struct tiercel_oid oid;
    enum tl_tag tag;
    struct tl_name dkey, akey;
    uint64_t chunk;
    struct tl_version version;
    size_t thing_len; /* bytes before the version */
};
int tl_key_parse(struct tl_slice key, struct tl_key_view *out) TL_MUST_CHECK; /* 0, -EBADMSG */
/* Only the version, which is the end of every key. */
int tl_key_version(struct tl_slice key, struct tl_version *out) TL_MUST_CHECK; /* 0, -EBADMSG */

/* ---- what is said about a record ---- */

enum tl_kind {
    TL_KIND_PUNCH = 1,  /* of an object or a dkey */
    TL_KIND_SINGLE = 2, /* in chunk 0: its payload is the beginning of a single value of `size` bytes */
    TL_KIND_REST = 3,   /* in chunk n: piece n of the single value with the same version */
    TL_KIND_ARRAY = 4,  /* records first.. of its chunk */
    TL_KIND_HOLE = 5,   /* a range: these records are not there */
};
struct tl_meta {
    enum tl_kind kind;
    uint64_t size;         /* SINGLE */
    uint32_t record_size;  /* ARRAY */
    uint64_t first, count; /* ARRAY: inside its chunk; HOLE: of the array */
};
#define TL_META_BYTES 32u
size_t tl_meta_put(uint8_t *out, const struct tl_meta *m);                /* up to TL_META_BYTES; how many */
int tl_meta_get(struct tl_slice meta, struct tl_meta *out) TL_MUST_CHECK; /* 0, -EBADMSG */

/* Records of an array in one chunk. */
static inline uint64_t tl_chunk_records(uint32_t record_size)
{
    return TL_STORE_PAYLOAD_MAX / record_size;
}

#endif
