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

static inline int tl_hash_equal(struct tl_hash a, struct tl_hash b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

#endif
