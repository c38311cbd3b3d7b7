// SPDX-License-Identifier: Apache-2.0
/* Hashes: XXH3 from libxxhash (see docs/decisions). Pure functions, any thread. */
#ifndef TL_BASE_HASH_H
#define TL_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* 128 bits: an object's key or a chunk's digest. Compared with tl_hash_equal. */
struct tl_hash {
    uint64_t hi, lo;
};

/* XXH3-128 of len bytes under a seed. */
struct tl_hash tl_hash_bytes(const void *data, size_t len, uint64_t seed);

/* XXH3-64 of len bytes under a seed. */
uint64_t tl_hash64(const void *data, size_t len, uint64_t seed);

/* The same for bytes that come in pieces: what tl_hash_bytes gives for all of them in a row. One owner. */
struct tl_hasher;
struct tl_hasher *tl_hasher_new(uint64_t seed); /* NULL: no memory */
void tl_hasher_free(struct tl_hasher *h);       /* NULL is fine */
void tl_hasher_add(struct tl_hasher *h, const void *data, size_t len);
struct tl_hash tl_hasher_digest(const struct tl_hasher *h);

static inline int tl_hash_equal(struct tl_hash a, struct tl_hash b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

#endif
