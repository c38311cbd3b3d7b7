// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#include <xxhash.h>

struct tl_hash tl_hash_bytes(const void *data, size_t len, uint64_t seed)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(data, len, seed);
    return (struct tl_hash){.hi = h.high64, .lo = h.low64};
}

uint64_t tl_hash64(const void *data, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, len, seed);
}
