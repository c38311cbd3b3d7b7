// SPDX-License-Identifier: Apache-2.0
/* Random operations on the cache manager beside a naive model: what is there is what was put last, what is pinned or held stays, the
 * limit holds, and the counters add up. test_cache_model [SEED]: one seed. */
#include "cache/cache.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEEDS  200u
#define STEPS  700u
#define KEYS   600u
#define HELD   40u
#define FILLS  4u
#define RUNS   2000u /* a call that says -EAGAIN comes to an end before so many */
#define MIB    (1ull << 20)
#define ABSENT UINT64_MAX

struct model {
    struct tl_cache *c;
    struct tl_prng prng;
    uint64_t seed, versions;
    int last;                           /* what the last call said */
    uint64_t version[KEYS], size[KEYS]; /* of what was put last; ABSENT: dropped, or never there */
    bool pinned[KEYS];
    struct {
        struct tl_value held;
        uint64_t key, version, size;
    } held[HELD];
    uint32_t held_count;
    struct {
        bool used;
        uint32_t fill;
        uint64_t key, version, size, written;
        bool known, pinned;
    } fills[FILLS];
    uint16_t job;
};

static uint8_t buffer[1 << 20];

static struct tl_hash key_of(uint64_t n)
{
    return (struct tl_hash){.hi = n * 7, .lo = n};
}

static void bytes_of(uint64_t key, uint64_t version, uint64_t from, uint64_t len, uint8_t *to)
{
    for (uint64_t i = 0; i < len; i++)
        to[i] = (uint8_t)(tl_prng_mix(key << 32 ^ version) >> ((from + i) % 8 * 8) ^ (from + i) >> 3);
}

#define must(m, cond)                                                                                                  \
    do {                                                                                                               \
        if (!(cond))                                                                                                   \
            fail_msg("seed %llu: %s (%d); run: test_cache_model %llu", (unsigned long long)(m)->seed, #cond,           \
                     (int)(m)->last, (unsigned long long)(m)->seed);                                                   \
    } while (0)

static uint64_t draw_size(struct model *m)
{
    static const uint64_t bounds[] = {64, 600, 4097, 20000, 130000};
    uint64_t bound = bounds[tl_prng_below(&m->prng, 5)];
    return tl_prng_below(&m->prng, 8) == 0 ? bound / 4096 * 4096 : tl_prng_below(&m->prng, bound);
}

static enum tl_value_class draw_class(struct model *m)
{
    uint64_t n = tl_prng_below(&m->prng, 10);
    return n == 0 ? TL_VALUE_PINNED : n < 3 ? TL_VALUE_VOLATILE : TL_VALUE_ORDINARY;
}

static void is_now(struct model *m, uint64_t key, uint64_t version, uint64_t size, bool pinned)
{
    m->version[key] = version;
    m->size[key] = size;
    m->pinned[key] = pinned;
}

static bool is_filling(const struct model *m, uint64_t key)
{
    for (uint32_t i = 0; i < FILLS; i++)
        if (m->fills[i].used && m->fills[i].key == key)
            return true;
    return false;
}

static struct tl_cache_attr draw_attr(struct model *m, uint64_t key)
{
    return (struct tl_cache_attr){.key = key_of(key),
                                  .class = draw_class(m),
                                  .job = tl_prng_below(&m->prng, 3) == 0 ? m->job : 0,
                                  .replace = tl_prng_below(&m->prng, 2) == 0,
                                  .label = tl_prng_below(&m->prng, 4) == 0 ? "/some/label" : NULL};
}

static void put(struct model *m)
{
    uint64_t key = tl_prng_below(&m->prng, KEYS), size = draw_size(m), version = ++m->versions;
    struct tl_cache_attr a = draw_attr(m, key);
    bool there = tl_cache_has(m->c, a.key);
    bytes_of(key, version, 0, size, buffer);
    a.check = tl_prng_below(&m->prng, 4) == 0;
    a.digest = tl_hash_bytes(buffer, size, 0);
    bool wrong = a.check && tl_prng_below(&m->prng, 4) == 0;
    a.digest.lo ^= wrong;
    int rc = -EAGAIN;
    for (uint32_t i = 0; i < RUNS && rc == -EAGAIN; i++)
        m->last = rc = tl_cache_put(m->c, &a, buffer, size);
    must(m, rc == 0 || rc == -EEXIST || rc == -EALREADY || rc == -EBADMSG || rc == -EDQUOT || rc == -ENOSPC);
    must(m, rc != -EEXIST || (there && !a.replace));
    must(m, (rc == -EALREADY) <= is_filling(m, key));
    must(m, rc != -EBADMSG || wrong);
    must(m, rc != 0 || !wrong);
    if (rc == 0)
        is_now(m, key, version, size, a.class == TL_VALUE_PINNED);
}

static void look(struct model *m)
{
    uint64_t key = tl_prng_below(&m->prng, KEYS);
    struct tl_value held;
    int rc = tl_reader_get(tl_cache_reader(m->c), key_of(key), &held);
    must(m, rc == 0 || rc == -ENOENT);
    must(m, (rc == 0) == tl_cache_has(m->c, key_of(key)));
    if (rc != 0) {
        must(m, !m->pinned[key]);
        return;
    }
    must(m, m->version[key] != ABSENT && held.size == m->size[key]);
    bytes_of(key, m->version[key], 0, held.size, buffer);
    must(m, memcmp(buffer, held.bytes, held.size) == 0);
    if (m->held_count < HELD && tl_prng_below(&m->prng, 3) == 0) {
        m->held[m->held_count].held = held;
        m->held[m->held_count].key = key;
        m->held[m->held_count].version = m->version[key];
        m->held[m->held_count++].size = held.size;
    } else {
        tl_reader_let_go(tl_cache_reader(m->c), &held);
    }
}

static void let_go(struct model *m)
{
    if (m->held_count == 0)
        return;
    uint32_t i = (uint32_t)tl_prng_below(&m->prng, m->held_count);
    bytes_of(m->held[i].key, m->held[i].version, 0, m->held[i].size, buffer);
    must(m, memcmp(buffer, m->held[i].held.bytes, m->held[i].size) == 0);
    tl_reader_let_go(tl_cache_reader(m->c), &m->held[i].held);
    m->held[i] = m->held[--m->held_count];
}

static void drop_or_class(struct model *m)
{
    uint64_t key = tl_prng_below(&m->prng, KEYS);
    if (tl_prng_below(&m->prng, 2) == 0) {
        bool there = tl_cache_has(m->c, key_of(key));
        must(m, tl_cache_drop(m->c, key_of(key)) == (there ? 0 : -ENOENT));
        is_now(m, key, ABSENT, 0, false);
        return;
    }
    enum tl_value_class class = draw_class(m);
    int rc = tl_cache_set_class(m->c, key_of(key), class);
    must(m, rc == 0 || rc == -ENOENT || rc == -EDQUOT);
    if (rc == 0)
        m->pinned[key] = class == TL_VALUE_PINNED;
}

static void fill(struct model *m)
{
    uint32_t i = (uint32_t)tl_prng_below(&m->prng, FILLS);
    if (!m->fills[i].used) {
        uint64_t key = tl_prng_below(&m->prng, KEYS);
        struct tl_cache_attr a = draw_attr(m, key);
        uint64_t size = draw_size(m) * 3;
        bool known = tl_prng_below(&m->prng, 2) == 0;
        int rc = tl_cache_begin(m->c, &a, known ? size : TL_CACHE_UNKNOWN, &m->fills[i].fill);
        must(m, rc == 0 || rc == -EEXIST || rc == -EALREADY || rc == -EDQUOT || rc == -EAGAIN);
        must(m, (rc == -EALREADY) <= is_filling(m, key));
        if (rc != 0)
            return;
        m->fills[i].used = true;
        m->fills[i].key = key;
        m->fills[i].version = ++m->versions;
        m->fills[i].size = size;
        m->fills[i].written = 0;
        m->fills[i].known = known;
        m->fills[i].pinned = a.class == TL_VALUE_PINNED;
        return;
    }
    uint64_t left = m->fills[i].size - m->fills[i].written;
    if (tl_prng_below(&m->prng, 12) == 0) {
        tl_cache_abort(m->c, m->fills[i].fill);
        m->fills[i].used = false;
    } else if (left > 0) {
        uint64_t n = left < 100000 ? left : 1 + tl_prng_below(&m->prng, left);
        bytes_of(m->fills[i].key, m->fills[i].version, m->fills[i].written, n, buffer);
        int64_t took = tl_cache_write(m->c, m->fills[i].fill, buffer, n);
        must(m, (took > 0 && took <= (int64_t)n) || took == -EAGAIN || took == -ENOSPC);
        m->fills[i].written += took > 0 ? (uint64_t)took : 0;
    } else {
        int rc = -EAGAIN;
        for (uint32_t k = 0; k < RUNS && rc == -EAGAIN; k++)
            m->last = rc = tl_cache_commit(m->c, m->fills[i].fill);
        must(m, rc == 0 || rc == -EDQUOT || rc == -ENOSPC || rc == -EEXIST);
        m->fills[i].used = false;
        if (rc == 0)
            is_now(m, m->fills[i].key, m->fills[i].version, m->fills[i].size, m->fills[i].pinned);
    }
}

static void policy(struct model *m)
{
    struct tl_error err;
    switch (tl_prng_below(&m->prng, 4)) {
    case 0: {
        uint64_t limit = (4 + tl_prng_below(&m->prng, 5)) * MIB;
        int rc = tl_cache_set_limit(m->c, limit, &err);
        must(m, rc == 0 || rc == -EBUSY);
        for (uint32_t i = 0; i < RUNS && tl_cache_tick(m->c); i++) {
        }
        break;
    }
    case 1: must(m, tl_cache_set_quota(m->c, m->job, tl_prng_below(&m->prng, 3) * MIB) == 0); break;
    case 2: (void)tl_cache_tick(m->c); break;
    default: {
        uint64_t cursor = tl_prng_below(&m->prng, 1000);
        (void)tl_cache_scrub(m->c, &cursor);
    }
    }
}

/* All that is there, against the model and the counters. */
static void look_at_all(struct model *m)
{
    struct tl_cache_stats s;
    struct tl_cache_item items[32];
    uint64_t cursor = 0, values = 0, bytes = 0, job_values = 0, quota;
    struct tl_cache_usage job;
    while (cursor != UINT64_MAX) {
        uint32_t n = tl_cache_list(m->c, &cursor, items, 32);
        for (uint32_t i = 0; i < n; i++) {
            must(m, items[i].key.lo < KEYS && m->version[items[i].key.lo] != ABSENT);
            must(m, items[i].size == m->size[items[i].key.lo]);
            must(m, (items[i].class == TL_VALUE_PINNED) == m->pinned[items[i].key.lo]);
            must(m, items[i].label_len == 0 || memcmp(items[i].label, "/some/label", items[i].label_len) == 0);
            values++;
            bytes += items[i].size;
            job_values += items[i].job == m->job;
        }
    }
    tl_cache_stats(m->c, &s);
    must(m, s.classes[0].values + s.classes[1].values + s.classes[2].values == values);
    must(m, s.classes[0].bytes + s.classes[1].bytes + s.classes[2].bytes == bytes);
    must(m, s.classes[TL_VALUE_PINNED].cost_bytes <= s.limit_max_bytes / 2);
    tl_cache_job_usage(m->c, m->job, &job, &quota);
    must(m, job.values == job_values);
    must(m, s.damaged == 0 || s.damaged < m->versions);
    for (uint64_t key = 0; key < KEYS; key++)
        must(m, !m->pinned[key] || tl_cache_has(m->c, key_of(key)));
}

static void run_seed(uint64_t seed)
{
    struct model *m = calloc(1, sizeof *m);
    const struct tl_cache_config config = {.limit_bytes = 6 * MIB,
                                           .limit_max_bytes = 8 * MIB,
                                           .seed = seed,
                                           .values_fd = -1,
                                           .adopt_directory_fd = -1,
                                           .adopt_uses_fd = -1,
                                           .adopt_values_fd = -1};
    struct tl_cache_stats s;
    assert_non_null(m);
    m->seed = seed;
    tl_prng_init(&m->prng, seed, 5);
    must(m, tl_cache_new(&m->c, &config, NULL) == 0);
    memset(m->version, 0xff, sizeof m->version);
    m->job = (uint16_t)tl_cache_job(m->c, "job");
    for (uint32_t i = 0; i < STEPS; i++) {
        uint64_t n = tl_prng_below(&m->prng, 100);
        if (n < 45)
            put(m);
        else if (n < 70)
            look(m);
        else if (n < 80)
            let_go(m);
        else if (n < 85)
            drop_or_class(m);
        else if (n < 99)
            fill(m);
        else
            policy(m);
        tl_cache_stats(m->c, &s);
        must(m, s.used_bytes <= s.limit_bytes || s.held_bytes > 0 || s.fills > 0);
        if (i % 250 == 249)
            look_at_all(m);
    }
    while (m->held_count > 0)
        let_go(m);
    for (uint32_t i = 0; i < RUNS && tl_cache_tick(m->c); i++) {
    }
    tl_cache_stats(m->c, &s);
    must(m, s.used_bytes <= s.limit_bytes || s.fills > 0);
    tl_cache_free(m->c);
    free(m);
}

static uint64_t only_seed;

static void the_cache_does_what_the_model_does(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_seed(only_seed != 0 ? only_seed : seed);
}

int main(int argc, char **argv)
{
    only_seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_cache_does_what_the_model_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
