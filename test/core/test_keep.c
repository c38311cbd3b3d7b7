// SPDX-License-Identifier: Apache-2.0
/* What is kept and for how long: a limit that changes, bytes that the kernel holds anyway, listings that are looked at again. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/world.h"

/* ---- the limit ---- */

static void a_lower_limit_is_reached_in_small_steps_and_a_higher_one_used(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    enum { FILES = 12 };
    uint32_t files[FILES];
    for (uint32_t i = 0; i < FILES; i++) {
        char name[] = "/a";
        name[1] = (char)('a' + i);
        files[i] = world_file(w, name, 8 * CHUNK);
    }
    world_start_all(w);
    for (uint32_t i = 0; i < FILES; i++)
        for (uint32_t k = 0; k < 8; k++)
            assert_int_equal(read_now(w, 1, files[i], k * CHUNK, 10), 0);
    uint64_t before = world_counters(w, 1).cached_bytes, least = tl_node_limit_min();
    assert_true(before > 2 * least);
    assert_int_equal(tl_node_set_limit(w->hosts[1].node, 1), least); /* never less than it needs */
    for (uint32_t steps = 0; world_counters(w, 1).cached_bytes > least; steps++) {
        uint64_t had = world_counters(w, 1).cached_bytes;
        assert_true(steps < 1000 && tl_node_deadline(w->hosts[1].node) <= w->now_ns);
        world_step(w, 1, &(struct tl_event){.type = TL_EV_TIMER});
        assert_true(had - world_counters(w, 1).cached_bytes <= 64 * CHUNK);
    }
    for (uint32_t i = 0; i < FILES; i++) {
        assert_int_equal(read_now(w, 1, files[i], 0, 4 * CHUNK), 0);
        assert_true(world_counters(w, 1).cached_bytes <= least);
    }
    tl_node_set_limit(w->hosts[1].node, before);
    for (uint32_t i = 0; i < FILES; i++)
        assert_int_equal(read_now(w, 1, files[i], 0, 4 * CHUNK), 0);
    assert_true(world_counters(w, 1).cached_bytes > least);
    world_end(w);
}

static void a_lower_limit_waits_for_what_is_in_use(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    uint32_t f = world_file(w, "/a", 8 * CHUNK);
    world_start_all(w);
    assert_int_equal(read_now(w, 0, f, 0, 4 * CHUNK), 0);
    w->hold_pulls = true;
    uint32_t asked = ask_read(w, 1, f, 0, 4 * CHUNK); /* the root lends what it holds */
    world_settle(w);
    tl_node_set_limit(w->hosts[0].node, 0);
    world_run(w, S);
    w->hold_pulls = false;
    world_run_answered(w, 60 * S);
    assert_int_equal(w->asked[asked].status, 0);
    assert_true(world_counters(w, 0).cached_bytes <= tl_node_limit_min());
    world_end(w);
}

/* ---- once ---- */

static void what_a_leaf_has_read_is_dropped_and_what_others_want_is_kept(void **state)
{
    (void)state;
    struct world *w = world_new(3, 2);
    uint32_t f = world_file(w, "/a", 5 * CHUNK), d = world_directory(w, "/d");
    w->config.keep_once = true;
    world_start_all(w);
    assert_int_equal(list_now(w, 2, d), 0);
    uint64_t listing = world_counters(w, 2).cached_bytes;
    for (uint32_t half = 0; half < 9; half++)
        assert_int_equal(read_now(w, 2, f, half * CHUNK / 2, CHUNK / 2), 0);
    world_run(w, S);
    assert_in_range(world_counters(w, 2).cached_bytes, listing + CHUNK,
                    listing + 2 * CHUNK); /* the last one is not read whole */
    assert_int_equal(read_now(w, 2, f, 9 * CHUNK / 2, CHUNK / 2), 0);
    world_run(w, S);
    assert_int_equal(world_counters(w, 2).cached_bytes, listing);
    assert_true(world_counters(w, 0).cached_bytes >= 5 * CHUNK);
    assert_int_equal(read_now(w, 2, f, 0, 4 * CHUNK), 0); /* from its parent again, not from storage */
    world_check_read_once(w);
    world_end(w);
}

/* ---- looking again ---- */

static void watch(struct world *w, uint32_t roots)
{
    w->config.roots = roots;
    w->config.revalidate_ns = 5 * S;
}

static uint32_t generation_now(struct world *w, uint32_t rank, uint32_t directory)
{
    uint32_t asked = ask_list(w, rank, directory);
    world_run_answered(w, S);
    assert_int_equal(w->asked[asked].status, 0);
    return w->asked[asked].generation;
}

static void a_changed_listing_is_noticed_everywhere_and_an_unchanged_one_disturbs_nobody(void **state)
{
    (void)state;
    enum { NODES = 9 };
    for (uint32_t roots = 1; roots <= 4; roots += 3) {
        struct world *w = world_new(NODES, 2);
        uint32_t a = world_directory(w, "/d/a"), b = world_directory(w, "/d/b"), none = world_directory(w, "/d/none");
        watch(w, roots);
        w->files[none].status = -ENOENT;
        world_start_all(w);
        for (uint32_t rank = 0; rank < NODES; rank++) {
            assert_int_equal(generation_now(w, rank, a), 0);
            assert_int_equal(generation_now(w, rank, b), 0);
            assert_int_equal(list_now(w, rank, none), -ENOENT);
        }
        world_run(w, 20 * S);
        assert_in_range(w->files[a].lists, 3, 6); /* looked at again, by its root alone */
        for (uint32_t rank = 0; rank < NODES; rank++)
            assert_int_equal(w->hosts[rank].invalidations, 0);
        w->files[a].generation++;
        w->files[none].status = 0;
        world_run(w, 8 * S);
        for (uint32_t rank = 0; rank < NODES; rank++) {
            assert_int_equal(w->hosts[rank].invalidations, 2);
            assert_int_equal(generation_now(w, rank, a), 1);
            assert_int_equal(generation_now(w, rank, b), 0);
            assert_int_equal(list_now(w, rank, none), 0);
        }
        world_end(w);
    }
}

static void a_source_that_cannot_be_read_changes_nothing(void **state)
{
    (void)state;
    struct world *w = world_new(3, 2);
    uint32_t d = world_directory(w, "/d");
    watch(w, 1);
    world_start_all(w);
    assert_int_equal(list_now(w, 2, d), 0);
    w->files[d].status = -EIO;
    world_run(w, 20 * S);
    assert_int_equal(w->hosts[2].invalidations, 0);
    assert_int_equal(list_now(w, 2, d), 0); /* what is known still serves */
    world_end(w);
}

static void a_new_root_lets_everybody_ask_again(void **state)
{
    (void)state;
    struct world *w = world_new(5, 2);
    uint32_t d = world_directory(w, "/d");
    watch(w, 1);
    world_start_all(w);
    assert_int_equal(generation_now(w, 4, d), 0);
    world_crash(w, 0);
    world_run(w, 30 * S);
    assert_true(w->hosts[4].invalidations > 0); /* rank 1 has become the source */
    w->files[d].generation++;
    world_run(w, 10 * S);
    assert_int_equal(generation_now(w, 4, d), 1);
    world_end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lower_limit_is_reached_in_small_steps_and_a_higher_one_used),
        cmocka_unit_test(a_lower_limit_waits_for_what_is_in_use),
        cmocka_unit_test(what_a_leaf_has_read_is_dropped_and_what_others_want_is_kept),
        cmocka_unit_test(a_changed_listing_is_noticed_everywhere_and_an_unchanged_one_disturbs_nobody),
        cmocka_unit_test(a_source_that_cannot_be_read_changes_nothing),
        cmocka_unit_test(a_new_root_lets_everybody_ask_again),
    };
    return cmocka_run_group_tests_name("core/keep", tests, NULL, NULL);
}
