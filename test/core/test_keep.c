// SPDX-License-Identifier: Apache-2.0
/* What is kept and for how long: a limit that changes, bytes that the kernel holds anyway, listings that are looked at again. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

static void what_is_held_of_a_file_can_be_told(void **state)
{
    (void)state;
    struct world *w = world_new(3, 2);
    uint32_t f = world_file(w, "/a", 3 * CHUNK + 5);
    const struct tl_request r = {.op = TL_OP_READ,
                                 .path = "/a",
                                 .path_len = 2,
                                 .version = w->files[f].version,
                                 .file_size_bytes = 3 * CHUNK + 5};
    struct tl_held held;
    world_start_all(w);
    tl_node_held(w->hosts[1].node, &r, &held);
    assert_true(held.chunks == 4 && held.present == 0 && held.bytes == 0 && held.hits == 0 && !held.pinned);
    uint32_t root = held.root;
    assert_int_equal(read_now(w, 1, f, 0, 10), 0);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(read_now(w, 1, f, 10, 10), 0);
    tl_node_held(w->hosts[1].node, &r, &held);
    assert_true(held.present >= 1 && held.bytes >= CHUNK && held.hits == 5 && held.root == root);
    tl_node_held(w->hosts[root].node, &r, &held);
    assert_true(held.present >= 1);
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

/* ---- pins ---- */

static uint32_t ask_pin(struct world *w, uint32_t rank, enum tl_event_type type, const char *path)
{
    uint32_t asked = ask_gather(w, rank); /* its place in the table; the event below is the one that is answered */
    world_run_answered(w, S);
    w->asked[asked].answers = 0;
    world_step(
        w, rank,
        &(struct tl_event){.type = type, .id = w->asked[asked].id, .path = path, .path_len = (uint16_t)strlen(path)});
    world_run_answered(w, S);
    return asked;
}

static void what_is_pinned_stays_while_others_come_and_go(void **state)
{
    (void)state;
    struct world *w = world_new(3, 2);
    w->config.cache_limit_bytes = 24 * CHUNK;
    uint32_t kept = world_file(w, "/p/kept", 4 * CHUNK), other = world_file(w, "/q", 200 * CHUNK);
    world_start_all(w);
    assert_int_equal(read_now(w, 2, kept, 0, 10), 0); /* before: pinned when it is next asked for */
    uint32_t pin = ask_pin(w, 0, TL_EV_PIN, "/p");
    assert_int_equal(w->asked[pin].status, 0);
    assert_int_equal(read_now(w, 2, kept, 0, 4 * CHUNK), 0);
    for (uint32_t i = 0; i < 200; i++)
        assert_int_equal(read_now(w, 2, other, i * CHUNK, 10), 0);
    uint64_t before = world_counters(w, 2).chunks_from_peer;
    assert_int_equal(read_now(w, 2, kept, 0, 4 * CHUNK), 0);
    assert_int_equal(world_counters(w, 2).chunks_from_peer, before);
    assert_int_equal(world_reads(w, kept), 4);
    ask_pin(w, 1, TL_EV_UNPIN, "/p");
    for (uint32_t i = 0; i < 200; i++)
        assert_int_equal(read_now(w, 2, other, i * CHUNK, 10), 0);
    assert_int_equal(read_now(w, 2, kept, 0, 4 * CHUNK), 0);
    assert_true(world_counters(w, 2).chunks_from_peer > before);
    world_end(w);
}

static void a_pin_takes_no_more_than_half(void **state)
{
    (void)state;
    struct world *w = world_new(1, 2);
    w->config.cache_limit_bytes = 24 * CHUNK;
    uint32_t big = world_file(w, "/p", 100 * CHUNK), other = world_file(w, "/q", 8 * CHUNK);
    world_start_all(w);
    ask_pin(w, 0, TL_EV_PIN, "/p");
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(read_now(w, 0, big, i * CHUNK, 10), 0);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(read_now(w, 0, other, i * CHUNK, 10), 0);
    tl_node_set_limit(w->hosts[0].node, 14 * CHUNK); /* and gives way when the limit does */
    world_run(w, S);
    assert_true(world_counters(w, 0).cached_bytes <= 14 * CHUNK);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(read_now(w, 0, other, i * CHUNK, 10), 0);
    world_end(w);
}

static void a_pinned_tree_is_seen_as_it_was_and_anew_afterwards(void **state)
{
    (void)state;
    for (uint32_t roots = 1; roots <= 3; roots += 2) {
        struct world *w = world_new(5, 2);
        w->config.roots = roots;
        uint32_t d = world_directory(w, "/p");
        uint32_t f = world_file(w, "/p/a", 1000);
        world_start_all(w);
        ask_pin(w, 3, TL_EV_PIN, "/p");
        assert_int_equal(list_now(w, 4, d), 0);
        assert_int_equal(read_now(w, 4, f, 0, 1000), 0);
        struct file old = w->files[f];
        w->files[d].generation++;
        w->files[f].version++;
        uint32_t flush = ask_flush(w, 0, "");
        world_run_answered(w, S);
        assert_int_equal(w->asked[flush].status, 0);
        uint32_t asked = ask_list(w, 4, d);
        world_run_answered(w, S);
        assert_int_equal(w->asked[asked].generation, 0);
        struct file new = w->files[f];
        w->files[f].version = old.version; /* the version that its program knows */
        asked = ask_read(w, 4, f, 0, 1000);
        w->files[f] = new;
        world_run_answered(w, S);
        assert_int_equal(w->asked[asked].status, 0);
        ask_pin(w, 0, TL_EV_UNPIN, "/p");
        flush = ask_flush(w, 0, "/p");
        world_run_answered(w, S);
        asked = ask_list(w, 4, d);
        world_run_answered(w, S);
        assert_int_equal(w->asked[asked].generation, 1);
        assert_int_equal(read_now(w, 4, f, 0, 1000), 0);
        world_end(w);
    }
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
        cmocka_unit_test(what_is_held_of_a_file_can_be_told),
        cmocka_unit_test(a_lower_limit_waits_for_what_is_in_use),
        cmocka_unit_test(what_a_leaf_has_read_is_dropped_and_what_others_want_is_kept),
        cmocka_unit_test(what_is_pinned_stays_while_others_come_and_go),
        cmocka_unit_test(a_pin_takes_no_more_than_half),
        cmocka_unit_test(a_pinned_tree_is_seen_as_it_was_and_anew_afterwards),
        cmocka_unit_test(a_changed_listing_is_noticed_everywhere_and_an_unchanged_one_disturbs_nobody),
        cmocka_unit_test(a_source_that_cannot_be_read_changes_nothing),
        cmocka_unit_test(a_new_root_lets_everybody_ask_again),
    };
    return cmocka_run_group_tests_name("core/keep", tests, NULL, NULL);
}
