// SPDX-License-Identifier: Apache-2.0
/* How fast the storage is, from the reads that are made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/rate.h"

#define MIB (1ull << 20)
#define MS  1000000ull

/* So many reads at a time, each of 1 MiB in 10 ms, until `total` MiB are read. The time when that is over. */
static uint64_t read_on(struct tl_rate *r, uint64_t now_ns, uint32_t at_once, uint32_t total)
{
    for (uint32_t done = 0; done < total; done += at_once) {
        for (uint32_t i = 0; i < at_once; i++)
            tl_rate_begin(r, now_ns);
        now_ns += 10 * MS;
        for (uint32_t i = 0; i < at_once; i++)
            tl_rate_bytes(r, now_ns, MIB);
        for (uint32_t i = 0; i < at_once; i++)
            tl_rate_end(r, now_ns);
        now_ns += 50 * MS; /* nobody asks for anything: that is not the storage's fault */
    }
    return now_ns;
}

static void reads_at_once_tell_the_rate(void **state)
{
    (void)state;
    struct tl_rate r = {0};
    read_on(&r, 1, 8, 128);
    assert_in_range(r.bytes_per_s, 799 * MIB, 801 * MIB); /* 8 MiB in 10 ms */
    assert_int_equal(r.under_way, 0);
}

static void reads_one_after_the_other_tell_nothing(void **state)
{
    (void)state;
    struct tl_rate r = {0};
    uint64_t now_ns = read_on(&r, 1, 1, 1000);
    now_ns = read_on(&r, now_ns, TL_RATE_AT_ONCE - 1, 999);
    assert_int_equal(r.bytes_per_s, 0);
    now_ns = read_on(&r, now_ns, TL_RATE_AT_ONCE, 60); /* too little */
    assert_int_equal(r.bytes_per_s, 0);
    read_on(&r, now_ns, TL_RATE_AT_ONCE, 4);
    assert_in_range(r.bytes_per_s, 399 * MIB, 401 * MIB);
}

static void the_best_window_counts(void **state)
{
    (void)state;
    struct tl_rate r = {0};
    uint64_t now_ns = read_on(&r, 1, 16, 256);
    uint64_t best = r.bytes_per_s;
    read_on(&r, now_ns, 4, 256);
    assert_int_equal(r.bytes_per_s, best);
    tl_rate_bytes(&r, now_ns, MIB); /* of a read that nobody has begun */
    assert_int_equal(r.bytes_per_s, best);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_at_once_tell_the_rate),
        cmocka_unit_test(reads_one_after_the_other_tell_nothing),
        cmocka_unit_test(the_best_window_counts),
    };
    return cmocka_run_group_tests_name("daemon/rate", tests, NULL, NULL);
}
