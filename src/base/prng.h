// SPDX-License-Identifier: Apache-2.0
/* Random numbers that are the same everywhere for the same seed. Not for secrets.
 *
 * Two ways to draw:
 * - tl_prng_draw(seed, stream, a, b, c): a pure hash of where the number is used (which link, when, for what), so that
 *   taking one draw away leaves all others as they were. For the simulator and its faults.
 * - struct tl_prng: a sequence (xoshiro256**, Blackman and Vigna), for workloads and tests. One owner.
 * Both mix with splitmix64 (Steele, Lea, Flood). No floating point. */
#ifndef TL_BASE_PRNG_H
#define TL_BASE_PRNG_H

#include <stdint.h>

/* A bijection that spreads every input bit over all output bits. */
static inline uint64_t tl_prng_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

/* 64 bits by hash of (seed, stream, a, b, c). */
static inline uint64_t tl_prng_draw(uint64_t seed, uint64_t stream, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t h = tl_prng_mix(seed);
    h = tl_prng_mix(h ^ stream);
    h = tl_prng_mix(h ^ a);
    h = tl_prng_mix(h ^ b);
    return tl_prng_mix(h ^ c);
}

__extension__ typedef unsigned __int128 tl_u128; /* GCC and Clang both have it; ISO C does not */

/* Maps 64 random bits to 0..bound-1 (bound 0: 0) by a multiplication: the bias is below 2^-32 for bounds below
 * 2^32. */
static inline uint64_t tl_prng_scale(uint64_t random, uint64_t bound)
{
    return (uint64_t)((tl_u128)random * bound >> 64);
}

struct tl_prng {
    uint64_t s[4];
};

static inline void tl_prng_init(struct tl_prng *p, uint64_t seed, uint64_t stream)
{
    for (uint64_t i = 0; i < 4; i++)
        p->s[i] = tl_prng_draw(seed, stream, i, 0, 0);
    p->s[0] |= 1; /* all zeros would stay zeros */
}

static inline uint64_t tl_prng_next(struct tl_prng *p)
{
    uint64_t *s = p->s;
    uint64_t x = s[1] * 5, t = s[1] << 17;
    uint64_t result = ((x << 7) | (x >> 57)) * 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return result;
}

/* 0..bound-1; bound 0 gives 0. */
static inline uint64_t tl_prng_below(struct tl_prng *p, uint64_t bound)
{
    return tl_prng_scale(tl_prng_next(p), bound);
}

#endif
