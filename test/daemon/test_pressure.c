// SPDX-License-Identifier: Apache-2.0
/* How the cache's limit follows the memory of the control group. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "daemon/pressure.h"

#define MIB (1ull << 20)

static void it_goes_down_when_the_group_is_full_and_up_when_there_is_room(void **state)
{
    (void)state;
    assert_int_equal(tl_pressure_choose(1000 * MIB, 800 * MIB, 500 * MIB, 600 * MIB, 600 * MIB), 600 * MIB);
    uint64_t less = tl_pressure_choose(1000 * MIB, 950 * MIB, 500 * MIB, 600 * MIB, 600 * MIB);
    assert_in_range(less, 399 * MIB, 401 * MIB); /* 850 are left then */
    assert_int_equal(tl_pressure_choose(1000 * MIB, 990 * MIB, 10 * MIB, 600 * MIB, 600 * MIB), 0); /* others use it */
    uint64_t more = tl_pressure_choose(1000 * MIB, 400 * MIB, 100 * MIB, 100 * MIB, 600 * MIB);
    assert_in_range(more, 290 * MIB, 310 * MIB); /* half of what there is */
    assert_int_equal(tl_pressure_choose(1000 * MIB, 10 * MIB, 0, 590 * MIB, 600 * MIB), 600 * MIB);
}

/* A cache that takes all it may, and others whose use moves: never above the group's limit. */
static void a_greedy_cache_stays_within_the_group(void **state)
{
    (void)state;
    const uint64_t group = 1024 * MIB, configured = 4096 * MIB, step = 16 * MIB;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct tl_prng p;
        tl_prng_init(&p, seed, 0);
        uint64_t held = 0, limit = configured, others = 100 * MIB;
        for (uint32_t turn = 0; turn < 2000; turn++) {
            uint64_t goal = 50 * MIB + tl_prng_below(&p, 600 * MIB);
            others = others < goal ? others + (goal - others) / 50 : goal; /* grows slowly, may go at once */
            held = held + step < limit ? held + step : limit;
            assert_true(held + others <= group);
            limit = tl_pressure_choose(group, held + others, held, limit, configured);
            assert_true(limit <= configured);
            held = held < limit ? held : limit;
        }
    }
}

static void without_a_group_it_says_nothing(void **state)
{
    (void)state;
    struct tl_pressure p;
    tl_pressure_open(&p, 100 * MIB);
    p.active = false;
    assert_false(tl_pressure_look(&p, 1000 * MIB, UINT64_MAX));
    assert_int_equal(p.limit_bytes, 100 * MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_goes_down_when_the_group_is_full_and_up_when_there_is_room),
        cmocka_unit_test(a_greedy_cache_stays_within_the_group),
        cmocka_unit_test(without_a_group_it_says_nothing),
    };
    return cmocka_run_group_tests_name("daemon/pressure", tests, NULL, NULL);
}
