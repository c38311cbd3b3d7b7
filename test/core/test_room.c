// SPDX-License-Identifier: Apache-2.0
/* Memory and tables: eviction, what must not be evicted, and the smallest caches and tables under more than they hold. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "core/world.h"

/* ---- memory ---- */

static void the_least_recently_used_goes_first_and_the_limit_holds(void **state)
{
    (void)state;
    struct world *w = world_new(1, 2);
    w->config.cache_limit_bytes = 16 * CHUNK;
    w->config.readahead_max_bytes = 0;
    uint32_t f = world_file(w, "/a", 64 * CHUNK), hot = world_file(w, "/hot", 100);
    world_start_all(w);
    for (uint64_t i = 0; i < 64; i++) {
        assert_int_equal(read_now(w, 0, f, (i * 7 % 64) * CHUNK, 1), 0);
        assert_int_equal(read_now(w, 0, hot, 0, 1), 0);
    }
    assert_int_equal(world_reads(w, hot), 1);
    assert_true(world_counters(w, 0).evictions >= 40);
    world_end(w);
}

/* As read_now, while another request stays open. */
static int read_now_beside(struct world *w, uint32_t rank, uint32_t file, uint64_t offset, uint32_t length)
{
    uint32_t asked = ask_read(w, rank, file, offset, length);
    for (int i = 0; i < 100 && w->asked[asked].answers == 0; i++)
        world_run(w, 10 * MS);
    return w->asked[asked].answers == 1 ? w->asked[asked].status : -ETIMEDOUT;
}

static void what_is_lent_is_not_evicted(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    w->config.cache_limit_bytes = CACHE_MIN;
    w->config.readahead_max_bytes = 0;
    uint32_t f = world_file(w, "/a", 64 * CHUNK), lent = world_file(w, "/lent", CHUNK);
    world_start_all(w);
    w->hold_pulls = true;
    ask_read(w, 1, lent, 0, 10);
    world_settle(w);
    for (uint64_t i = 0; i < 40; i++)
        assert_int_equal(read_now_beside(w, 0, f, i * CHUNK, 1), 0);
    w->hold_pulls = false;
    world_run_answered(w, S);
    assert_int_equal(world_counters(w, 1).digest_failures, 0);
    assert_int_equal(world_reads(w, lent), 1);
    world_end(w);
}

/* The smallest cache and the smallest tables that a node accepts, and more than that asked for at once. */
static struct world *cramped(uint32_t count)
{
    struct world *w = world_new(count, 2);
    w->config.cache_limit_bytes = CACHE_MIN;
    w->config.object_max = 16;
    w->config.flight_max = 12;
    w->config.waiter_max = 64;
    w->config.fetch_max = 2;
    return w;
}

static void requests_that_find_no_room_are_parked_and_answered(void **state)
{
    (void)state;
    struct world *w = cramped(3);
    char path[] = "/file0";
    for (uint32_t i = 0; i < 8; i++) {
        path[5] = (char)('0' + i);
        world_file(w, path, (i + 3) * CHUNK + 99);
    }
    world_start_all(w);
    struct tl_prng p;
    tl_prng_init(&p, 5, 0);
    for (uint32_t round = 0; round < 12; round++) {
        for (uint32_t i = 0; i < 60; i++) {
            uint32_t f = (uint32_t)tl_prng_below(&p, 8);
            uint64_t offset = tl_prng_below(&p, w->files[f].size_bytes);
            ask_read(w, (uint32_t)tl_prng_below(&p, 3), f, offset, 1 + (uint32_t)tl_prng_below(&p, TL_READ_SIZE_MAX));
        }
        world_run_answered(w, 60 * S);
    }
    for (uint32_t i = 0; i < w->asked_count; i++)
        assert_int_equal(w->asked[i].status, 0);
    assert_true(world_counters(w, 0).busy > 0);
    world_end(w);
}

/* Each holds the first half of its file and wants the second: without a reservation they wait for ever. */
static void requests_over_several_chunks_do_not_wait_for_each_other(void **state)
{
    (void)state;
    struct world *w = cramped(1);
    w->config.flight_max = 64;
    w->config.readahead_max_bytes = 0;
    char path[] = "/file0";
    for (uint32_t i = 0; i < 8; i++) {
        path[5] = (char)('0' + i);
        world_file(w, path, 4 * CHUNK);
    }
    world_start_all(w);
    w->hold_storage = true;
    for (uint32_t i = 0; i < 8; i++)
        ask_read(w, 0, i, 0, 4 * TL_CHUNK_SIZE);
    world_settle(w);
    w->hold_storage = false;
    world_run_answered(w, 10 * S);
    world_check_answered(w);
    for (uint32_t i = 0; i < w->asked_count; i++)
        assert_int_equal(w->asked[i].status, 0);
    world_end(w);
}

static void requests_that_find_no_waiters_are_parked(void **state)
{
    (void)state;
    struct world *w = cramped(1);
    w->config.waiter_max = 16;
    uint32_t f = world_file(w, "/a", 2 * CHUNK);
    world_start_all(w);
    w->hold_storage = true;
    for (uint32_t i = 0; i < 16; i++)
        ask_read(w, 0, f, i < 14 ? 0 : CHUNK - 1, 2); /* the last two wait for two chunks each */
    world_settle(w);
    w->hold_storage = false;
    world_run_answered(w, S);
    for (uint32_t i = 0; i < 16; i++)
        assert_int_equal(w->asked[i].status, 0);
    world_end(w);
}

static void parked_requests_can_be_cancelled(void **state)
{
    (void)state;
    struct world *w = cramped(1);
    w->config.readahead_max_bytes = 0;
    uint32_t f = world_file(w, "/a", 200 * CHUNK);
    world_start_all(w);
    w->hold_storage = true;
    uint32_t asked[40];
    for (uint32_t i = 0; i < 40; i++)
        asked[i] = ask_read(w, 0, f, i * CHUNK, 10);
    world_settle(w);
    for (uint32_t i = 0; i < 40; i += 3)
        cancel(w, asked[i]);
    w->hold_storage = false;
    world_run_answered(w, 10 * S);
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(w->asked[asked[i]].status, i % 3 == 0 ? -ECANCELED : 0);
    world_end(w);
}

static void more_requests_than_the_table_holds_are_told_so(void **state)
{
    (void)state;
    struct world *w = cramped(1);
    uint32_t f = world_file(w, "/a", 200 * CHUNK);
    world_start_all(w);
    w->hold_storage = true;
    for (uint32_t i = 0; i < 70; i++)
        ask_read(w, 0, f, i * CHUNK, 10);
    uint32_t busy = 0;
    for (uint32_t i = 0; i < 70; i++)
        busy += w->asked[i].answers == 1 && w->asked[i].status == -EBUSY;
    assert_int_equal(busy, 70 - w->config.waiter_max);
    w->hold_storage = false;
    world_run_answered(w, 60 * S);
    world_end(w);
}

static void long_paths_fill_the_pool_and_make_room_for_each_other(void **state)
{
    (void)state;
    struct world *w = cramped(2);
    static char path[TL_PATH_MAX];
    memset(path, 'x', sizeof path - 1);
    path[0] = '/';
    for (uint32_t i = 0; i < 40; i++) {
        path[1] = (char)('0' + i);
        world_directory(w, path);
    }
    world_start_all(w);
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t i = 0; i < 40; i++)
            assert_int_equal(list_now(w, 1, i), 0);
    world_end(w);
}

static void a_machine_without_memory_is_an_error_and_not_for_ever(void **state)
{
    (void)state;
    struct world *w = world_new(1, 2);
    uint32_t f = world_file(w, "/a", 100);
    world_start_all(w);
    w->hosts[0].allocs_fail = 3;
    assert_int_equal(read_now(w, 0, f, 0, 10), 0); /* it was over soon */
    uint32_t g = world_file(w, "/b", 100), d = world_directory(w, "/d");
    w->hosts[0].allocs_fail = 1000000;
    assert_int_equal(read_now(w, 0, g, 0, 10), -ENOMEM);
    assert_int_equal(list_now(w, 0, d), -ENOMEM);
    w->hosts[0].allocs_fail = 0;
    assert_int_equal(read_now(w, 0, g, 0, 10), 0);
    assert_int_equal(list_now(w, 0, d), 0);
    world_end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_recently_used_goes_first_and_the_limit_holds),
        cmocka_unit_test(what_is_lent_is_not_evicted),
        cmocka_unit_test(requests_that_find_no_room_are_parked_and_answered),
        cmocka_unit_test(requests_over_several_chunks_do_not_wait_for_each_other),
        cmocka_unit_test(requests_that_find_no_waiters_are_parked),
        cmocka_unit_test(parked_requests_can_be_cancelled),
        cmocka_unit_test(more_requests_than_the_table_holds_are_told_so),
        cmocka_unit_test(long_paths_fill_the_pool_and_make_room_for_each_other),
        cmocka_unit_test(a_machine_without_memory_is_an_error_and_not_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
