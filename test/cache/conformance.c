// SPDX-License-Identifier: Apache-2.0
#include "cache/conformance.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB       (1ull << 20)
#define SIZE_MOST (3u << 20)

static const struct tl_backend_kind *kind;
static uint8_t bytes[SIZE_MOST], got[SIZE_MOST];

static struct tl_hash key_of(uint64_t n)
{
    return (struct tl_hash){.hi = tl_prng_mix(n), .lo = n};
}

static void make(uint64_t n, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(tl_prng_mix(n) >> (i % 8 * 8) ^ i >> 4);
}

static int put(struct tl_backend *b, uint64_t n, uint64_t version, uint64_t size, const char *label)
{
    struct tl_stored s = {.key = key_of(n), .size = size};
    make(n * 1000 + version, size);
    s.digest = tl_hash_bytes(bytes, size, 0);
    snprintf(s.label, sizeof s.label, "%s", label);
    return b->ops->put(b, &s, bytes);
}

static void assert_there(struct tl_backend *b, uint64_t n, uint64_t version, uint64_t size)
{
    struct tl_stored s;
    assert_int_equal(b->ops->get(b, key_of(n), &s, got, sizeof got), 0);
    make(n * 1000 + version, size);
    assert_int_equal(s.size, size);
    assert_memory_equal(got, bytes, size);
    struct tl_hash digest = tl_hash_bytes(bytes, size, 0);
    assert_true(tl_hash_equal(s.digest, digest));
}

static void what_was_put_is_there_until_it_is_dropped(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 100, 4096, 5000, 70000, SIZE_MOST};
    struct tl_backend *b = kind->open(kind->ctx, 32 * MIB);
    struct tl_stored s;
    struct tl_backend_stats st;
    assert_int_equal(b->ops->look(b, key_of(1), &s), -ENOENT);
    assert_int_equal(b->ops->get(b, key_of(1), &s, got, sizeof got), -ENOENT);
    assert_int_equal(b->ops->drop(b, key_of(1)), -ENOENT);
    for (uint64_t i = 0; i < 7; i++)
        assert_int_equal(put(b, i, 0, sizes[i], "/some/label"), 0);
    for (uint64_t i = 0; i < 7; i++)
        assert_there(b, i, 0, sizes[i]);
    assert_int_equal(b->ops->look(b, key_of(4), &s), 0);
    assert_string_equal(s.label, "/some/label");
    assert_int_equal(s.size, 5000);
    b->ops->stats(b, &st);
    assert_int_equal(st.values, 7);
    assert_true(st.used_bytes <= st.limit_bytes);
    assert_int_equal(b->ops->drop(b, key_of(4)), 0);
    assert_int_equal(b->ops->look(b, key_of(4), &s), -ENOENT);
    assert_there(b, 5, 0, 70000);
    kind->close(kind->ctx, b);
}

static void the_last_put_counts(void **state)
{
    (void)state;
    struct tl_backend *b = kind->open(kind->ctx, 32 * MIB);
    struct tl_backend_stats st;
    for (uint64_t v = 0; v < 20; v++) {
        assert_int_equal(put(b, 7, v, 100 + v * 1000, v % 2 == 0 ? "even" : ""), 0);
        assert_there(b, 7, v, 100 + v * 1000);
    }
    b->ops->stats(b, &st);
    assert_int_equal(st.values, 1);
    kind->close(kind->ctx, b);
}

static void bytes_that_do_not_fit_their_digest_are_refused(void **state)
{
    (void)state;
    struct tl_backend *b = kind->open(kind->ctx, 32 * MIB);
    struct tl_stored s = {.key = key_of(1), .size = 100};
    make(1, 100);
    s.digest = tl_hash_bytes(bytes, 99, 0);
    assert_int_equal(b->ops->put(b, &s, bytes), -EBADMSG);
    assert_int_equal(b->ops->look(b, key_of(1), &s), -ENOENT);
    kind->close(kind->ctx, b);
}

static void too_little_room_and_too_large_a_value(void **state)
{
    (void)state;
    struct tl_backend *b = kind->open(kind->ctx, 8 * MIB);
    struct tl_stored s = {.key = key_of(2), .size = 9 * MIB};
    assert_int_equal(put(b, 1, 0, 5000, ""), 0);
    assert_int_equal(b->ops->get(b, key_of(1), &s, got, 4999), -ENOBUFS);
    assert_there(b, 1, 0, 5000);
    uint8_t *large = calloc(1, 9 * MIB);
    assert_non_null(large);
    s = (struct tl_stored){.key = key_of(2), .size = 9 * MIB};
    s.digest = tl_hash_bytes(large, s.size, 0);
    assert_int_equal(b->ops->put(b, &s, large), -EFBIG);
    free(large);
    kind->close(kind->ctx, b);
}

struct tally {
    uint64_t count, bytes, stop_at;
};

static bool tally(void *ctx, const struct tl_stored *what)
{
    struct tally *t = ctx;
    t->count++;
    t->bytes += what->size;
    return t->count != t->stop_at;
}

static void the_limit_holds_and_what_is_left_is_whole(void **state)
{
    (void)state;
    struct tl_backend *b = kind->open(kind->ctx, 8 * MIB);
    struct tl_backend_stats st;
    struct tl_stored s;
    uint64_t found = 0;
    for (uint64_t i = 0; i < 400; i++) {
        assert_int_equal(put(b, i, 0, 50000 + i, ""), 0);
        b->ops->stats(b, &st);
        assert_true(st.used_bytes <= st.limit_bytes);
    }
    for (uint64_t i = 0; i < 400; i++)
        if (b->ops->look(b, key_of(i), &s) == 0) {
            assert_there(b, i, 0, 50000 + i);
            found++;
        }
    struct tally all = {.count = 0}, one = {.stop_at = 1};
    b->ops->each(b, tally, &all);
    b->ops->each(b, tally, &one);
    b->ops->stats(b, &st);
    assert_int_equal(all.count, found);
    assert_int_equal(one.count, 1);
    assert_int_equal(st.values, found);
    assert_true(found > 50 && st.evictions > 0);
    kind->close(kind->ctx, b);
}

static void random_operations_agree_with_a_model(void **state)
{
    (void)state;
    enum { KEYS = 40 };
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct tl_backend *b = kind->open(kind->ctx, 16 * MIB);
        struct tl_prng p;
        uint64_t version[KEYS] = {0}, size[KEYS] = {0}; /* version 0: absent */
        struct tl_stored s;
        tl_prng_init(&p, seed, 1);
        for (uint64_t i = 1; i < 300; i++) { /* all of it fits: nothing is given up */
            uint64_t n = tl_prng_below(&p, KEYS), what = tl_prng_below(&p, 4);
            if (what < 2) {
                size[n] = tl_prng_below(&p, 60000);
                version[n] = i;
                assert_int_equal(put(b, n, i, size[n], what == 0 ? "x" : ""), 0);
            } else if (what == 2) {
                assert_int_equal(b->ops->drop(b, key_of(n)), version[n] != 0 ? 0 : -ENOENT);
                version[n] = 0;
            } else if (version[n] != 0) {
                assert_there(b, n, version[n], size[n]);
            } else {
                assert_int_equal(b->ops->look(b, key_of(n), &s), -ENOENT);
            }
        }
        kind->close(kind->ctx, b);
    }
}

int tl_backend_conformance(const struct tl_backend_kind *which)
{
    kind = which;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_there_until_it_is_dropped),
        cmocka_unit_test(the_last_put_counts),
        cmocka_unit_test(bytes_that_do_not_fit_their_digest_are_refused),
        cmocka_unit_test(too_little_room_and_too_large_a_value),
        cmocka_unit_test(the_limit_holds_and_what_is_left_is_whole),
        cmocka_unit_test(random_operations_agree_with_a_model),
    };
    return cmocka_run_group_tests_name(which->name, tests, NULL, NULL);
}
