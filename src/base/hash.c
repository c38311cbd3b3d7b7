// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#include <xxhash.h>
#ifdef TL_HAVE_XXH_DISPATCH
#include <xxh_x86dispatch.h> /* takes the place of the functions below: the same hashes, with the widest vectors that this processor has */
#endif

#include "base/check.h"

struct tl_hash tl_hash_bytes(const void *data, size_t len, uint64_t seed)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(data, len, seed);
    return (struct tl_hash){.hi = h.high64, .lo = h.low64};
}

uint64_t tl_hash64(const void *data, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, len, seed);
}

struct tl_hasher *tl_hasher_new(uint64_t seed)
{
    XXH3_state_t *state = XXH3_createState();
    if (state != NULL)
        check(XXH3_128bits_reset_withSeed(state, seed) == XXH_OK);
    return (struct tl_hasher *)(void *)state;
}

static XXH3_state_t *state_of(struct tl_hasher *h)
{
    return (XXH3_state_t *)(void *)h;
}

void tl_hasher_free(struct tl_hasher *h)
{
    if (h != NULL)
        XXH3_freeState(state_of(h));
}

void tl_hasher_add(struct tl_hasher *h, const void *data, size_t len)
{
    check(XXH3_128bits_update(state_of(h), data, len) == XXH_OK);
}

struct tl_hash tl_hasher_digest(const struct tl_hasher *h)
{
    XXH128_hash_t d = XXH3_128bits_digest((const XXH3_state_t *)(const void *)h);
    return (struct tl_hash){.hi = d.high64, .lo = d.low64};
}
