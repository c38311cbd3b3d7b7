// SPDX-License-Identifier: Apache-2.0
/* Warming by a profile (docs/protocol.md, P-50 to P-53). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/world.h"

#define S 1000000000ull

static void name(struct world *w, const char *path)
{
    w->profile[w->profile_count++] = path;
}

/* A tree of 7 nodes and two packages, not yet warm. */
static struct world *tree(uint32_t files[4])
{
    struct world *w = world_new(7, 2);
    world_directory(w, "/a");
    world_directory(w, "/b");
    files[0] = world_file(w, "/a/1", 100);
    files[1] = world_file(w, "/a/2", 5 * CHUNK + 7);
    files[2] = world_file(w, "/b/1", CHUNK);
    files[3] = world_file(w, "/b/2", 10);
    const char *const paths[] = {"/a", "/b", "/a/1", "/a/2", "/b/1", "/b/2"};
    for (uint32_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        name(w, paths[i]);
    return w;
}

static void warm_all(struct world *w, uint32_t rank)
{
    uint32_t asked = ask_warm(w, rank);
    world_run_answered(w, S);
    assert_int_equal(w->asked[asked].status, 0);
    world_load_profiles(w);
    world_run(w, S);
    for (uint32_t i = 0; i < 7; i++)
        if (w->hosts[i].node != NULL)
            assert_int_equal(world_counters(w, i).warm_left, 0);
}

static void what_a_profile_names_is_on_all_nodes_and_read_once(void **state)
{
    (void)state;
    uint32_t files[4];
    struct world *w = tree(files);
    world_start_all(w);
    warm_all(w, 5);
    for (uint32_t rank = 0; rank < 7; rank++) {
        assert_int_equal(world_counters(w, rank).warmed, 2 + 1 + 6 + 1 + 1);
        uint64_t asked = world_counters(w, rank).data_requests_up;
        for (uint32_t i = 0; i < 4; i++)
            assert_int_equal(read_now(w, rank, files[i], 0, 1 << 20), 0);
        assert_int_equal(world_counters(w, rank).data_requests_up, asked);
    }
    world_check_read_once(w);
    world_end(w);
}

static void who_asks_meanwhile_waits_on_the_same_flights(void **state)
{
    (void)state;
    uint32_t files[4];
    struct world *w = tree(files);
    world_start_all(w);
    ask_warm(w, 0);
    world_run_answered(w, S);
    w->hold_storage = true;
    world_load_profiles(w);
    world_settle(w);
    uint32_t asked = ask_read(w, 6, files[1], 0, 1 << 20);
    world_settle(w);
    assert_int_equal(w->asked[asked].answers, 0);
    w->hold_storage = false;
    world_run_answered(w, S);
    world_run(w, S);
    world_check_read_once(w);
    world_end(w);
}

static void what_is_not_there_is_skipped(void **state)
{
    (void)state;
    uint32_t files[4];
    struct world *w = tree(files);
    name(w, "/none");
    name(w, "/none/1");
    name(w, "/a/none");
    name(w, "/b/1/below-a-file");
    w->files[files[3]].status = -EIO;
    world_start_all(w);
    warm_all(w, 0);
    assert_int_equal(read_now(w, 6, files[1], 0, 1 << 20), 0);
    assert_int_equal(read_now(w, 6, files[3], 0, 10), -EIO);
    world_end(w);
}

static void nothing_is_evicted_for_a_profile(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    static char paths[20][8];
    w->config.cache_limit_bytes = 16 * CHUNK;
    world_directory(w, "/");
    uint32_t used = world_file(w, "/used", 4 * CHUNK);
    for (uint32_t i = 0; i < 20; i++) {
        snprintf(paths[i], sizeof paths[i], "/f%02u", i);
        world_file(w, paths[i], CHUNK);
        name(w, paths[i]);
    }
    world_start_all(w);
    for (uint64_t k = 0; k < 4; k++)
        assert_int_equal(read_now(w, 1, used, k * CHUNK, 10), 0);
    ask_warm(w, 0);
    world_run_answered(w, S);
    world_load_profiles(w);
    world_run(w, S);
    for (uint32_t rank = 0; rank < 2; rank++) {
        struct tl_counters c = world_counters(w, rank);
        assert_int_equal(c.evictions, 0);
        assert_int_equal(c.warm_left, 0);
        assert_true(c.warm_skipped > 0 && c.warmed > 0);
        assert_true(c.cached_bytes <= 13 * CHUNK);
    }
    world_end(w);
}

static void a_parent_that_dies_does_not_end_it(void **state)
{
    (void)state;
    uint32_t files[4];
    struct world *w = tree(files);
    world_start_all(w);
    ask_warm(w, 0);
    world_run_answered(w, S);
    w->hold_storage = true;
    world_load_profiles(w);
    world_settle(w);
    world_crash(w, 1);
    w->hold_storage = false;
    world_run(w, 60 * S);
    for (uint32_t i = 3; i < 5; i++) {
        assert_int_equal(world_counters(w, i).warm_left, 0);
        assert_int_equal(world_counters(w, i).warmed, 2 + 1 + 6 + 1 + 1);
    }
    world_end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_profile_names_is_on_all_nodes_and_read_once),
        cmocka_unit_test(who_asks_meanwhile_waits_on_the_same_flights),
        cmocka_unit_test(what_is_not_there_is_skipped),
        cmocka_unit_test(nothing_is_evicted_for_a_profile),
        cmocka_unit_test(a_parent_that_dies_does_not_end_it),
    };
    return cmocka_run_group_tests_name("warm", tests, NULL, NULL);
}
