// SPDX-License-Identifier: Apache-2.0
/* What nodes do when neighbours die and come back, and when messages, bytes or loans are lost. Programs must not notice more
 * than time. */
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

static uint32_t total_from_source(struct world *w)
{
    uint64_t count = 0;
    for (uint32_t rank = 0; rank < w->config.node_count; rank++)
        if (w->hosts[rank].node != NULL)
            count += world_counters(w, rank).chunks_from_source;
    return (uint32_t)count;
}

/* ---- who is asked ---- */

static void nodes_join_in_any_order(void **state)
{
    (void)state;
    struct tl_prng p;
    tl_prng_init(&p, 6, 0);
    for (uint32_t round = 0; round < 10; round++) {
        struct world *w = world_new(13, 3);
        uint32_t order[13];
        for (uint32_t i = 0; i < 13; i++)
            order[i] = i;
        for (uint32_t i = 12; i > 0 && round > 0; i--) { /* the first time leaves first */
            uint32_t k = (uint32_t)tl_prng_below(&p, i + 1), t = order[i];
            order[i] = order[k];
            order[k] = t;
        }
        for (uint32_t i = 13; i-- > 0;) {
            world_start(w, order[i]);
            world_run(w, 200 * MS);
        }
        world_run(w, 3 * S);
        for (uint32_t rank = 0; rank < 13; rank++) {
            assert_true(tl_node_ready(w->hosts[rank].node));
            assert_int_equal(world_parent(w, rank), world_heap_parent(rank, 3));
            assert_int_equal(world_counters(w, rank).reparented, 0);
        }
        world_end(w);
    }
}

static void requests_wait_for_a_parent_that_starts_late(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    uint32_t f = world_file(w, "/a", 100);
    world_start(w, 1);
    ask_read(w, 1, f, 0, 10);
    world_run(w, 5 * S);
    world_start(w, 0);
    world_run_answered(w, 5 * S);
    assert_int_equal(world_counters(w, 1).chunks_from_peer, 1);
    world_end(w);
}

static void a_node_that_reaches_nobody_reads_storage_itself(void **state)
{
    (void)state;
    struct world *w = world_new(9, 2);
    uint32_t f = world_file(w, "/a", 100);
    world_start(w, 8);
    assert_int_equal(read_now(w, 8, f, 0, 10), 0);
    assert_int_equal(world_counters(w, 8).chunks_from_source, 1);
    world_start(w, 3); /* its parent: found by and by */
    world_run(w, 60 * S);
    assert_int_equal(world_parent(w, 8), 3);
    world_end(w);
}

static void a_parent_that_dies_is_replaced_by_the_nearest_ancestor_and_taken_back(void **state)
{
    (void)state;
    for (int after_get = 0; after_get < 2; after_get++) {
        struct world *w = world_new(15, 2);
        uint32_t f = world_file(w, "/a", 3 * CHUNK);
        world_start_all(w);
        w->hold_storage = after_get;
        if (after_get) {
            ask_read(w, 7, f, 0, 3 * TL_CHUNK_SIZE);
            world_settle(w);
        }
        world_crash(w, 3);
        world_run(w, S);
        w->hold_storage = false;
        assert_int_equal(read_now(w, 7, f, 0, 3 * TL_CHUNK_SIZE), 0);
        assert_int_equal(read_now(w, 8, f, 0, 3 * TL_CHUNK_SIZE), 0);
        assert_int_equal(world_parent(w, 7), 1);
        assert_int_equal(world_parent(w, 8), 1);
        world_check_read_once(w);
        world_start(w, 3);
        world_run(w, 30 * S);
        assert_int_equal(world_parent(w, 7), 3);
        assert_int_equal(world_parent(w, 8), 3);
        for (uint32_t rank = 0; rank < 15; rank++)
            assert_true(tl_node_ready(w->hosts[rank].node));
        world_end(w);
    }
}

static void the_next_ranks_stand_in_for_the_root(void **state)
{
    (void)state;
    struct world *w = world_new(15, 2);
    uint32_t f = world_file(w, "/a", CHUNK), g = world_file(w, "/b", CHUNK), h = world_file(w, "/c", CHUNK);
    world_start_all(w);
    world_crash(w, 0);
    for (uint32_t rank = 15; rank-- > 1;)
        assert_int_equal(read_now(w, rank, f, 0, 10), 0);
    assert_int_equal(world_counters(w, 1).chunks_from_source, 1);
    assert_int_equal(world_parent(w, 2), 1);
    world_crash(w, 1);
    for (uint32_t rank = 15; rank-- > 2;)
        assert_int_equal(read_now(w, rank, g, 0, 10), 0);
    assert_int_equal(world_counters(w, 2).chunks_from_source, 1);
    world_check_read_once(w);
    world_start(w, 0);
    world_start(w, 1);
    world_run(w, 60 * S);
    for (uint32_t rank = 1; rank < 15; rank++)
        assert_int_equal(world_parent(w, rank), world_heap_parent(rank, 2));
    for (uint32_t rank = 15; rank-- > 0;)
        assert_int_equal(read_now(w, rank, h, 0, 10), 0);
    assert_int_equal(world_counters(w, 0).chunks_from_source, 1);
    world_end(w);
}

static void only_one_at_a_time_is_asked(void **state)
{
    (void)state;
    struct world *w = world_new(15, 2);
    world_start_all(w);
    for (uint32_t i = 0; i < 20; i++) { /* the links to the parents break again and again */
        for (uint32_t rank = 1; rank < 15; rank += 1 + i % 3)
            world_cut(w, rank, world_heap_parent(rank, 2));
        world_run(w, 700 * MS);
    }
    world_run(w, 60 * S);
    for (uint32_t rank = 1; rank < 15; rank++) {
        uint32_t above = 0;
        for (uint32_t other = 0; other < rank; other++)
            above += w->link_up[rank][other];
        assert_int_equal(above, 1);
        assert_int_equal(world_parent(w, rank), world_heap_parent(rank, 2));
    }
    struct tl_report r;
    tl_node_report(w->hosts[0].node, &r);
    assert_int_equal(r.subtree, 15);
    world_end(w);
}

static void who_refuses_the_connection_is_passed_over_at_once(void **state)
{
    (void)state;
    struct world *w = world_new(15, 2);
    uint32_t f = world_file(w, "/a", CHUNK);
    world_start_all(w);
    world_crash(w, 3);
    world_crash(w, 1);
    ask_read(w, 7, f, 0, 10);
    ask_read(w, 8, f, 0, 10);
    world_run_answered(w, 10 * MS);
    world_check_answered(w);
    world_check_read_once(w);
    assert_int_equal(world_parent(w, 7), 0);
    world_crash(w, 0); /* 2 is the last candidate: it is given a heartbeat */
    world_crash(w, 2);
    world_run(w, 10 * MS);
    world_start(w, 2);
    world_run(w, S);
    assert_int_equal(world_parent(w, 7), 2);
    world_end(w);
}

static void what_waits_for_the_source_is_asked_for_when_a_parent_is_back(void **state)
{
    (void)state;
    struct world *w = world_new(3, 2);
    w->config.fetch_max = 1;
    const char *const paths[] = {"/a", "/b", "/c"};
    uint32_t files[3];
    for (uint32_t i = 0; i < 3; i++)
        files[i] = world_file(w, paths[i], CHUNK);
    world_start_all(w);
    world_crash(w, 0);
    world_crash(w, 1);
    world_run(w, 10 * S);
    w->hold_storage = true;
    for (uint32_t i = 0; i < 3; i++)
        ask_read(w, 2, files[i], 0, 10);
    world_settle(w); /* one is being read */
    world_start(w, 0);
    world_run(w, 60 * S);
    assert_int_equal(world_parent(w, 2), 0);
    w->hold_storage = false;
    world_run_answered(w, S);
    world_check_answered(w);
    assert_int_equal(world_counters(w, 2).chunks_from_source, 1);
    assert_int_equal(world_counters(w, 2).chunks_from_peer, 2);
    world_end(w);
}

/* ---- bytes ---- */

static bool damage_payloads(struct world *w, uint32_t from, uint32_t to, const struct tl_wire *m, uint8_t *payload)
{
    (void)from;
    (void)to;
    if (m->type == TL_WIRE_DATA && m->data.mode == TL_DATA_INLINE && w->hook_left > 0) {
        w->hook_left--;
        payload[m->data.len / 2] ^= 1;
    }
    return false;
}

static int damage_pulls(struct world *w, uint32_t from, uint32_t to, uint8_t *bytes, uint32_t len)
{
    (void)from;
    (void)to;
    if (w->hook_left == 0)
        return 0;
    w->hook_left--;
    bytes[len / 2] ^= 1;
    return w->hook_left % 2 == 0 ? 0 : -EIO; /* every other time it fails outright */
}

static void damaged_bytes_are_asked_for_again_and_then_read_from_storage(void **state)
{
    (void)state;
    for (uint32_t times = 1; times < 20; times += 9) {
        struct world *w = world_new(2, 2);
        uint32_t small = world_file(w, "/a", 1000), large = world_file(w, "/b", CHUNK), d = world_directory(w, "/d");
        world_start_all(w);
        w->lose = damage_payloads;
        w->pulled = damage_pulls;
        const uint32_t all[] = {small, large, d};
        for (uint32_t i = 0; i < 3; i++) {
            w->hook_left = times;
            assert_int_equal(i == 2 ? list_now(w, 1, d) : read_now(w, 1, all[i], 0, 1000), 0);
            assert_int_equal(world_reads(w, all[i]), times == 1 ? 1 : 2); /* 8 times from the parent, then ourselves */
        }
        assert_true(world_counters(w, 1).digest_failures >= (times == 1 ? 3 : 16));
        world_end(w);
    }
}

static void a_node_does_not_believe_in_the_troubles_of_its_parent(void **state)
{
    (void)state;
    struct world *w = world_new(3, 1);
    uint32_t f = world_file(w, "/a", 100), g = world_file(w, "/b", 100), h = world_file(w, "/c", 100);
    world_start_all(w);
    w->files[f].fail_next = 2; /* for the root, and its child; not for the leaf */
    assert_int_equal(read_now(w, 2, f, 0, 10), 0);
    assert_int_equal(world_counters(w, 2).chunks_from_source, 1);
    w->hosts[0].allocs_fail = 1000;
    assert_int_equal(read_now(w, 2, g, 0, 10), 0);
    assert_int_equal(world_counters(w, 1).chunks_from_source, 1);
    w->files[h].status = -EIO; /* but what the storage says to itself, it says */
    w->hosts[0].allocs_fail = 0;
    assert_int_equal(read_now(w, 2, h, 0, 10), -EIO);
    w->files[h].status = -EACCES; /* and what says something about the file is not asked twice */
    assert_int_equal(read_now(w, 2, h, 0, 10), -EACCES);
    assert_int_equal(world_counters(w, 2).chunks_from_source, 1);
    world_end(w);
}

/* ---- loans ---- */

static bool lose_done(struct world *w, uint32_t from, uint32_t to, const struct tl_wire *m, uint8_t *payload)
{
    (void)from;
    (void)to;
    (void)payload;
    if (m->type != TL_WIRE_DONE || w->hook_left == 0)
        return false;
    w->hook_left--;
    return true;
}

static void a_loan_that_is_never_given_back_ends_with_its_lease(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    w->config.cache_limit_bytes = CACHE_MIN;
    w->config.readahead_max_bytes = 0;
    uint32_t f = world_file(w, "/a", 64 * CHUNK);
    world_start_all(w);
    w->lose = lose_done;
    w->hook_left = 12; /* all that fits is lent */
    for (uint64_t i = 0; i < 24; i += 2)
        assert_int_equal(read_now(w, 1, f, i * CHUNK, 1), 0);
    assert_int_equal(w->hook_left, 0);
    uint64_t before_ns = w->now_ns;
    struct tl_report report;
    tl_node_report(w->hosts[0].node, &report);
    assert_int_equal(report.counters.slow_children, 0);
    world_run(w, 4 * S);
    tl_node_report(w->hosts[0].node, &report);
    assert_int_equal(report.counters.slow_children, 1);
    assert_int_equal(read_now(w, 0, f, 50 * CHUNK, 1), 0);
    assert_true(w->now_ns - before_ns > 10 * S && w->now_ns - before_ns < 60 * S);
    tl_node_report(w->hosts[0].node, &report);
    assert_true(report.counters.slow_pulls > 0);
    world_end(w);
}

static void loans_end_with_their_connection(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    w->config.cache_limit_bytes = CACHE_MIN;
    w->config.readahead_max_bytes = 0;
    uint32_t f = world_file(w, "/a", 64 * CHUNK);
    world_start_all(w);
    w->lose = lose_done;
    w->hook_left = 12;
    for (uint64_t i = 0; i < 24; i += 2)
        assert_int_equal(read_now(w, 1, f, i * CHUNK, 1), 0);
    world_crash(w, 1);
    uint64_t before_ns = w->now_ns;
    assert_int_equal(read_now(w, 0, f, 50 * CHUNK, 1), 0);
    assert_true(w->now_ns - before_ns < S);
    world_end(w);
}

static void nobody_gives_back_a_loan_over_another_connection(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    w->config.readahead_max_bytes = 0;
    uint32_t f = world_file(w, "/a", 8 * CHUNK);
    world_start_all(w);
    w->hold_pulls = true;
    ask_read(w, 1, f, 0, 10);
    world_settle(w);
    world_step(w, 1, &(struct tl_event){.type = TL_EV_PEER_UP, .rank = 0}); /* the parent has restarted */
    uint32_t done = w->sent[TL_WIRE_DONE];
    w->hold_pulls = false;
    world_settle(w);
    assert_int_equal(w->sent[TL_WIRE_DONE], done); /* its loans have the same numbers as before */
    world_run_answered(w, 60 * S);
    world_check_answered(w);
    world_end(w);
}

static void done_for_loans_of_others_or_of_nobody_changes_nothing(void **state)
{
    (void)state;
    struct world *w = world_new(3, 2);
    uint32_t f = world_file(w, "/a", CHUNK);
    world_start_all(w);
    w->hold_pulls = true;
    ask_read(w, 1, f, 0, 10);
    world_settle(w);
    struct tl_wire m = {.type = TL_WIRE_DONE};
    for (uint64_t gen = 0; gen < 4; gen++)
        for (uint64_t slot = 0; slot < 4; slot++) {
            m.done.loan = gen << 32 | slot;
            world_message(w, 2, 0, &m); /* not its loan */
        }
    m.done.loan = UINT64_MAX;
    world_message(w, 1, 0, &m);
    world_settle(w);
    uint32_t flush = ask_flush(w, 0, NULL); /* drops all that is not lent */
    world_settle(w);
    assert_int_equal(w->asked[flush].status, 0);
    w->hold_pulls = false;
    world_run_answered(w, S);
    assert_int_equal(world_counters(w, 1).digest_failures, 0);
    world_end(w);
}

/* ---- all at once ---- */

static void chaos_leaves_every_request_answered(void **state)
{
    (void)state;
    struct tl_prng p;
    tl_prng_init(&p, 7, 0);
    struct world *w = world_new(13, 3);
    w->config.cache_limit_bytes = 2 * CACHE_MIN;
    w->config.flight_max = 32;
    char path[] = "/f0";
    for (uint32_t i = 0; i < 8; i++) {
        path[2] = (char)('0' + i);
        world_file(w, path, (i + 1) * 150001);
    }
    uint32_t d = world_directory(w, "/");
    world_start_all(w);
    for (uint32_t round = 0; round < 400; round++) {
        uint32_t rank = (uint32_t)tl_prng_below(&p, 13), f = (uint32_t)tl_prng_below(&p, 8);
        if (w->hosts[rank].node == NULL)
            world_start(w, rank);
        switch (tl_prng_below(&p, 12)) {
        case 0: world_crash(w, rank); continue;
        case 1: world_cut(w, rank, (uint32_t)tl_prng_below(&p, 13)); break;
        case 2: w->hosts[rank].unreachable = !w->hosts[rank].unreachable; break;
        case 3: w->hosts[rank].hold_messages = !w->hosts[rank].hold_messages; break;
        case 4: w->hold_storage = !w->hold_storage; break;
        case 5: w->hold_pulls = !w->hold_pulls; break;
        case 6: ask_flush(w, rank, tl_prng_below(&p, 2) == 0 ? NULL : "/"); break;
        case 7: ask_gather(w, rank); break;
        default: break;
        }
        ask_read(w, rank, f, tl_prng_below(&p, w->files[f].size_bytes), 1 + (uint32_t)tl_prng_below(&p, 500000));
        ask_list(w, rank, d);
        if (round % 3 == 0)
            world_run(w, tl_prng_below(&p, 4) * S);
    }
    w->hold_storage = w->hold_pulls = false;
    for (uint32_t rank = 0; rank < 13; rank++) {
        w->hosts[rank].hold_messages = w->hosts[rank].unreachable = false;
        if (w->hosts[rank].node == NULL)
            world_start(w, rank);
    }
    world_run(w, 200 * S);
    for (uint32_t i = 0; i < w->asked_count; i++)
        assert_true(w->asked[i].status == 0 || w->asked[i].operator_);
    for (uint32_t rank = 0; rank < 13; rank++) {
        assert_true(tl_node_ready(w->hosts[rank].node));
        assert_int_equal(world_counters(w, rank).open_flights, 0);
        assert_int_equal(world_counters(w, rank).bad_messages, 0);
    }
    assert_true(total_from_source(w) > 0);
    world_end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_join_in_any_order),
        cmocka_unit_test(requests_wait_for_a_parent_that_starts_late),
        cmocka_unit_test(a_node_that_reaches_nobody_reads_storage_itself),
        cmocka_unit_test(a_parent_that_dies_is_replaced_by_the_nearest_ancestor_and_taken_back),
        cmocka_unit_test(the_next_ranks_stand_in_for_the_root),
        cmocka_unit_test(only_one_at_a_time_is_asked),
        cmocka_unit_test(who_refuses_the_connection_is_passed_over_at_once),
        cmocka_unit_test(what_waits_for_the_source_is_asked_for_when_a_parent_is_back),
        cmocka_unit_test(damaged_bytes_are_asked_for_again_and_then_read_from_storage),
        cmocka_unit_test(a_node_does_not_believe_in_the_troubles_of_its_parent),
        cmocka_unit_test(a_loan_that_is_never_given_back_ends_with_its_lease),
        cmocka_unit_test(loans_end_with_their_connection),
        cmocka_unit_test(nobody_gives_back_a_loan_over_another_connection),
        cmocka_unit_test(done_for_loans_of_others_or_of_nobody_changes_nothing),
        cmocka_unit_test(chaos_leaves_every_request_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
