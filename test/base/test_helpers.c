// SPDX-License-Identifier: Apache-2.0
/* The small things in base: bytes, time, random numbers, hashes, errors, checks. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/prng.h"
#include "base/time.h"

static void integers_are_little_endian_at_any_alignment(void **state)
{
    (void)state;
    uint8_t bytes[16] = {0};
    tl_put_u64(bytes + 1, 0x0102030405060708ull);
    const uint8_t want[8] = {8, 7, 6, 5, 4, 3, 2, 1};
    assert_memory_equal(bytes + 1, want, 8);
    assert_true(tl_get_u64(bytes + 1) == 0x0102030405060708ull);
    assert_int_equal(tl_get_u32(bytes + 1), 0x05060708);
    assert_int_equal(tl_get_u16(bytes + 7), 0x0102);
    assert_int_equal(tl_get_u8(bytes + 8), 1);
    tl_put_u32(bytes + 3, 0xfffefdfcu);
    tl_put_u16(bytes + 9, 0xabcd);
    tl_put_u8(bytes + 15, 0x7f);
    assert_int_equal(bytes[3], 0xfc);
    assert_int_equal(bytes[10], 0xab);
    assert_int_equal(bytes[15], 0x7f);
}

static void file_times_survive_the_round_trip_and_saturate(void **state)
{
    (void)state;
    assert_true(tl_time_from_parts(1, 5) == 1000000005);
    assert_true(tl_time_from_parts(-1, 999999999) == -1);
    assert_true(tl_time_from_parts(INT64_MAX, 0) == INT64_MAX);
    assert_true(tl_time_from_parts(INT64_MIN, 0) == INT64_MIN);
    assert_true(tl_time_from_parts(9223372036, 999999999) == INT64_MAX);
    const int64_t times[] = {0, 1, -1, 1700000000123456789, -1700000000123456789, INT64_MAX};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        struct timespec ts = tl_time_to_timespec(times[i]);
        assert_in_range(ts.tv_nsec, 0, 999999999);
        assert_true(tl_time_from_parts(ts.tv_sec, (uint32_t)ts.tv_nsec) == times[i]);
    }
}

static void clocks_go_forward(void **state)
{
    (void)state;
    uint64_t before = tl_time_mono_ns(), after = tl_time_mono_ns();
    assert_true(after >= before);
    assert_true(tl_time_real_ns() > 1600000000ull * TL_NS_PER_S);
}

static void the_same_seed_and_stream_give_the_same_sequence(void **state)
{
    (void)state;
    struct tl_prng a, b, other_stream, other_seed;
    tl_prng_init(&a, 1, 2);
    tl_prng_init(&b, 1, 2);
    tl_prng_init(&other_stream, 1, 3);
    tl_prng_init(&other_seed, 2, 2);
    for (int i = 0; i < 1000; i++) {
        uint64_t x = tl_prng_next(&a);
        assert_true(x == tl_prng_next(&b));
        assert_true(x != tl_prng_next(&other_stream));
        assert_true(x != tl_prng_next(&other_seed));
    }
}

static void draws_below_a_bound_cover_it_evenly(void **state)
{
    (void)state;
    struct tl_prng p;
    tl_prng_init(&p, 42, 0);
    unsigned seen[10] = {0};
    for (int i = 0; i < 100000; i++)
        seen[tl_prng_below(&p, 10)]++;
    for (int i = 0; i < 10; i++)
        assert_in_range(seen[i], 9500, 10500); /* expected 10,000 with a deviation of 95 */
    assert_true(tl_prng_below(&p, 0) == 0);
    assert_true(tl_prng_below(&p, 1) == 0);
}

static void a_draw_depends_on_each_of_its_places(void **state)
{
    (void)state;
    uint64_t base = tl_prng_draw(1, 2, 3, 4, 5);
    assert_true(base == tl_prng_draw(1, 2, 3, 4, 5));
    assert_true(base != tl_prng_draw(0, 2, 3, 4, 5));
    assert_true(base != tl_prng_draw(1, 0, 3, 4, 5));
    assert_true(base != tl_prng_draw(1, 2, 0, 4, 5));
    assert_true(base != tl_prng_draw(1, 2, 3, 0, 5));
    assert_true(base != tl_prng_draw(1, 2, 3, 4, 0));
    assert_true(base != tl_prng_draw(2, 1, 3, 4, 5));
}

static void splitmix_gives_its_published_numbers(void **state)
{
    (void)state;
    /* The first outputs of the reference generator with state 0: mix(0), mix(increment). */
    assert_true(tl_prng_mix(0) == 0xe220a8397b1dcdafull);
    assert_true(tl_prng_mix(0x9e3779b97f4a7c15ull) == 0x6e789e6aa1b965f4ull);
}

static void hashes_depend_on_bytes_length_and_seed(void **state)
{
    (void)state;
    struct tl_hash a = tl_hash_bytes("abc", 3, 0);
    assert_true(tl_hash_equal(a, tl_hash_bytes("abc", 3, 0)));
    assert_false(tl_hash_equal(a, tl_hash_bytes("abd", 3, 0)));
    assert_false(tl_hash_equal(a, tl_hash_bytes("abc", 2, 0)));
    assert_false(tl_hash_equal(a, tl_hash_bytes("abc", 3, 1)));
    assert_false(tl_hash_equal(a, (struct tl_hash){.hi = a.hi, .lo = a.lo ^ 1}));
    assert_false(tl_hash_equal(a, (struct tl_hash){.hi = a.hi ^ 1, .lo = a.lo}));
    assert_true(tl_hash64("abc", 3, 0) != tl_hash64("abc", 3, 1));
    /* XXH3's published values for no bytes: stored digests stay what they are over versions of the library. */
    assert_true(tl_hash64("", 0, 0) == 0x2d06800538d394c2ull);
    struct tl_hash none = tl_hash_bytes("", 0, 0);
    assert_true(none.hi == 0x99aa06d3014798d8ull && none.lo == 0x6001c324468d497full);
}

static void an_error_is_set_and_gets_context(void **state)
{
    (void)state;
    struct tl_error err = {0};
    assert_int_equal(tl_error_wrap(&err, "nothing to wrap"), 0);
    assert_string_equal(err.msg, "");
    assert_int_equal(tl_error_set(&err, -ENOENT, "%s is missing: create it", "key"), -ENOENT);
    assert_int_equal(err.code, -ENOENT);
    assert_int_equal(tl_error_wrap(&err, "tier %s", "default"), -ENOENT);
    assert_string_equal(err.msg, "tier default: key is missing: create it");
    assert_int_equal(tl_error_set(NULL, -EIO, "nobody listens"), -EIO);
    assert_int_equal(tl_error_wrap(NULL, "nobody listens"), 0);
}

static void long_errors_are_cut_and_terminated(void **state)
{
    (void)state;
    char text[2 * TL_ERROR_MSG_MAX];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    struct tl_error err = {0};
    assert_int_equal(tl_error_set(&err, -EIO, "%s", text), -EIO);
    assert_int_equal(strlen(err.msg), TL_ERROR_MSG_MAX - 1);
    assert_int_equal(tl_error_wrap(&err, "front"), -EIO);
    assert_int_equal(strlen(err.msg), TL_ERROR_MSG_MAX - 1);
    assert_int_equal(strncmp(err.msg, "front: xxx", 10), 0);
    assert_int_equal(tl_error_wrap(&err, "%s", text), -EIO);
    assert_int_equal(strlen(err.msg), TL_ERROR_MSG_MAX - 1);
}

static void a_failed_check_names_its_place_and_aborts(void **state)
{
    (void)state;
    int out[2];
    assert_int_equal(pipe(out), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(out[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        check(1 + 1 == 2);
        check(1 + 1 == 3);
        _exit(0);
    }
    close(out[1]);
    char text[256] = {0};
    ssize_t got = 0, n;
    while (got < (ssize_t)sizeof text - 1 && (n = read(out[0], text + got, sizeof text - 1 - (size_t)got)) > 0)
        got += n;
    close(out[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "test_helpers.c"));
    assert_non_null(strstr(text, "check failed: 1 + 1 == 3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_little_endian_at_any_alignment),
        cmocka_unit_test(file_times_survive_the_round_trip_and_saturate),
        cmocka_unit_test(clocks_go_forward),
        cmocka_unit_test(the_same_seed_and_stream_give_the_same_sequence),
        cmocka_unit_test(draws_below_a_bound_cover_it_evenly),
        cmocka_unit_test(a_draw_depends_on_each_of_its_places),
        cmocka_unit_test(splitmix_gives_its_published_numbers),
        cmocka_unit_test(hashes_depend_on_bytes_length_and_seed),
        cmocka_unit_test(an_error_is_set_and_gets_context),
        cmocka_unit_test(long_errors_are_cut_and_terminated),
        cmocka_unit_test(a_failed_check_names_its_place_and_aborts),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
