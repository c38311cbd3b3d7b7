// SPDX-License-Identifier: Apache-2.0
/* What nodes do when nothing is broken: hits, misses, coalescing, chunks and read-ahead. Every step ends with
 * tl_node_verify, every answer is compared with the storage's bytes (world.h). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/failing_alloc.h"
#include "base/prng.h"
#include "core/world.h"

/* ---- the checks themselves ---- */

static void the_checks_find_planted_bugs(void **state)
{
    (void)state;
    const enum plant plants[] = {PLANT_NONE, PLANT_ANSWER_TWICE, PLANT_ANSWER_NEVER, PLANT_WRONG_BYTES,
                                 PLANT_FETCH_TWICE};
    for (size_t i = 0; i < sizeof plants / sizeof *plants; i++) {
        struct world *w = world_new(2, 2);
        uint32_t f = world_file(w, "/a", 2 * CHUNK);
        world_start_all(w);
        w->plant = plants[i];
        ask_read(w, 1, f, CHUNK - 10, 20);
        world_run(w, S);
        world_check_answered(w);
        world_check_read_once(w);
        if ((w->violation[0] != 0) != (plants[i] != PLANT_NONE))
            fail_msg("plant %d: \"%s\"", (int)plants[i], w->violation);
        world_free(w);
    }
}

/* ---- hit and miss ---- */

static void a_chunk_is_read_from_storage_once_and_then_from_memory(void **state)
{
    (void)state;
    struct world *w = world_new(1, 2);
    uint32_t f = world_file(w, "/a", 1000);
    world_start_all(w);
    assert_int_equal(read_now(w, 0, f, 0, 1000), 0);
    assert_int_equal(read_now(w, 0, f, 500, 1000), 0); /* cut at the end */
    assert_int_equal(read_now(w, 0, f, 1000, 10), 0);  /* nothing is there */
    assert_int_equal(world_reads(w, f), 1);
    struct tl_counters c = world_counters(w, 0);
    assert_int_equal(c.requests, 3);
    assert_int_equal(c.misses, 1);
    assert_int_equal(c.answered, 3);
    assert_int_equal(c.cached_bytes, 4096);
    world_end(w);
}

static void a_leaf_asks_its_parent_and_only_the_root_reads_storage(void **state)
{
    (void)state;
    struct world *w = world_new(15, 2);
    uint32_t f = world_file(w, "/lib.so", 3 * CHUNK + 5), d = world_directory(w, "/");
    world_start_all(w);
    for (uint32_t rank = 15; rank-- > 0;) {
        assert_int_equal(list_now(w, rank, d), 0);
        assert_int_equal(read_now(w, rank, f, CHUNK - 10, 20), 0);
        assert_int_equal(read_now(w, rank, f, 3 * CHUNK, 5), 0);
    }
    world_run(w, S);
    for (uint32_t rank = 1; rank < 15; rank++) {
        assert_int_equal(world_counters(w, rank).chunks_from_source, 0);
        assert_int_equal(world_counters(w, rank).chunks_from_peer, 5);
    }
    world_check_read_once(w);
    world_end(w);
}

static void twelve_requests_at_once_share_one_flight(void **state)
{
    (void)state;
    struct world *w = world_new(4, 3);
    uint32_t f = world_file(w, "/a", 2 * CHUNK), d = world_directory(w, "/d");
    world_start_all(w);
    w->hold_storage = true;
    for (uint32_t rank = 0; rank < 4; rank++)
        for (uint32_t i = 0; i < 12; i++) {
            ask_read(w, rank, f, i * 1000, 4096);
            ask_list(w, rank, d);
        }
    world_settle(w);
    assert_true(world_counters(w, 0).coalesced >= 22);
    assert_int_equal(w->sent[TL_WIRE_GET], 3 * 2); /* each child: the file, with what is read ahead, and the listing */
    w->hold_storage = false;
    world_run_answered(w, S);
    world_check_read_once(w);
    world_end(w);
}

static void refused_requests_are_answered_too(void **state)
{
    (void)state;
    struct world *w = world_new(1, 2);
    uint32_t f = world_file(w, "/a", 10), empty = world_file(w, "/empty", 0), relative = world_file(w, "a", 10);
    uint32_t nowhere = world_file(w, "", 10), huge = world_file(w, "/huge", UINT64_MAX);
    world_start_all(w);
    assert_int_equal(read_now(w, 0, f, 0, 0), -EINVAL);
    assert_int_equal(read_now(w, 0, f, 0, TL_READ_SIZE_MAX + 1), -EINVAL);
    assert_int_equal(read_now(w, 0, relative, 0, 1), -EINVAL);
    assert_int_equal(read_now(w, 0, nowhere, 0, 1), -EINVAL);
    assert_int_equal(list_now(w, 0, f), -ENOTDIR);
    assert_int_equal(read_now(w, 0, huge, 1ull << 62, 10), -EFBIG); /* chunks have no numbers there */
    assert_int_equal(read_now(w, 0, huge, UINT32_MAX * CHUNK, 1), -EFBIG);
    assert_int_equal(read_now(w, 0, huge, UINT32_MAX * CHUNK - 1, 1), 0);
    assert_int_equal(read_now(w, 0, empty, 0, 10), 0);
    w->files[f].version = 0;
    assert_int_equal(read_now(w, 0, f, 0, 1), -EINVAL);
    world_end(w);
}

static void missing_directories_are_remembered(void **state)
{
    (void)state;
    struct world *w = world_new(3, 2);
    uint32_t gone = world_directory(w, "/gone"), broken = world_directory(w, "/broken");
    w->files[gone].status = -ENOENT;
    w->files[broken].status = -EREMOTEIO;
    world_start_all(w);
    for (int i = 0; i < 5; i++)
        assert_int_equal(list_now(w, 2, gone), -ENOENT);
    assert_int_equal(world_counters(w, 2).negative_hits, 4);
    assert_int_equal(world_counters(w, 0).source_lists, 1);
    struct tl_ref ref;
    assert_int_equal(tl_node_peek(w->hosts[2].node, TL_OP_LIST, "/gone", 5, &ref), -ENOENT);
    assert_int_equal(list_now(w, 2, broken), -EREMOTEIO);
    assert_int_equal(list_now(w, 2, broken), -EREMOTEIO);
    assert_int_equal(world_counters(w, 0).source_lists, 3); /* other errors may pass: asked again */
    w->files[broken].status = 0;
    assert_int_equal(list_now(w, 2, broken), 0);
    assert_int_equal(tl_node_peek(w->hosts[2].node, TL_OP_LIST, "/broken", 7, &ref), 0);
    assert_int_equal(tl_node_peek(w->hosts[2].node, TL_OP_LIST, "/other", 6, &ref), -ENOENT);
    world_end(w);
}

/* ---- chunks ---- */

static void reads_at_every_border_of_chunks_give_the_right_bytes(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    const uint64_t size = 6 * CHUNK + 17;
    uint32_t f = world_file(w, "/a", size);
    world_start_all(w);
    const uint64_t near[] = {0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK - 1, 5 * CHUNK, size - 1, size, size + 5};
    const uint32_t lengths[] = {1, 2, 17, TL_CHUNK_SIZE - 1, TL_CHUNK_SIZE, TL_CHUNK_SIZE + 1, TL_READ_SIZE_MAX};
    for (size_t i = 0; i < sizeof near / sizeof *near; i++)
        for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++)
            assert_int_equal(read_now(w, 1, f, near[i], lengths[k]), 0);
    world_check_read_once(w);
    world_end(w);
}

static void random_reads_of_many_files_give_the_right_bytes(void **state)
{
    (void)state;
    struct world *w = world_new(7, 2);
    char path[] = "/file0";
    for (uint32_t i = 0; i < 10; i++) {
        path[5] = (char)('0' + i);
        world_file(w, path, i == 0 ? 1 : i * i * 20011);
    }
    world_start_all(w);
    struct tl_prng p;
    tl_prng_init(&p, 4, 0);
    for (uint32_t i = 0; i < 600; i++) {
        uint32_t f = (uint32_t)tl_prng_below(&p, 10);
        uint64_t offset = tl_prng_below(&p, w->files[f].size_bytes + 10);
        ask_read(w, (uint32_t)tl_prng_below(&p, 7), f, offset, 1 + (uint32_t)tl_prng_below(&p, 300000));
        if (i % 7 == 0)
            world_run_answered(w, 10 * S);
    }
    world_run(w, 10 * S);
    world_check_read_once(w);
    world_end(w);
}

/* ---- read-ahead ---- */

static void a_small_file_is_read_whole_at_first_touch(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    uint32_t f = world_file(w, "/a", 4 * CHUNK);
    world_start_all(w);
    assert_int_equal(read_now(w, 1, f, 3 * CHUNK, 100), 0);
    world_run(w, S);
    assert_int_equal(world_reads(w, f), 4);
    assert_int_equal(world_counters(w, 1).chunks_from_peer, 4);
    world_end(w);
}

static void a_large_file_read_in_sequence_is_read_ahead_by_a_growing_window(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    uint32_t f = world_file(w, "/a", 64 * CHUNK);
    world_start_all(w);
    for (uint64_t at = 0; at < 20 * CHUNK; at += CHUNK / 2) {
        assert_int_equal(read_now(w, 1, f, at, TL_CHUNK_SIZE / 2), 0);
        world_run(w, S);
        assert_true(world_reads(w, f) <= at / CHUNK + 1 + w->config.window_chunks);
    }
    assert_int_equal(world_reads(w, f), 20 + w->config.window_chunks);
    uint64_t misses = world_counters(w, 1).misses;
    assert_true(misses <= 3); /* the first two chunks, before it was clear that there is a sequence */
    world_check_read_once(w);
    world_end(w);
}

static void a_second_reader_behind_the_first_does_not_stop_its_read_ahead(void **state)
{
    (void)state;
    struct world *w = world_new(1, 2);
    uint32_t f = world_file(w, "/a", 64 * CHUNK);
    world_start_all(w);
    for (uint64_t i = 0; i < 50; i++) {
        assert_int_equal(read_now(w, 0, f, i * CHUNK, TL_CHUNK_SIZE), 0);
        if (i >= 10)
            assert_int_equal(read_now(w, 0, f, (i - 10) * CHUNK, TL_CHUNK_SIZE), 0);
        world_run(w, S);
    }
    assert_true(world_counters(w, 0).misses <= 3);
    world_end(w);
}

static void random_reads_of_a_large_file_fetch_what_they_touch(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    uint32_t f = world_file(w, "/a", 200 * CHUNK);
    world_start_all(w);
    const uint32_t touched[] = {150, 7, 90, 30, 120, 60, 180, 3};
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(read_now(w, 1, f, touched[i] * CHUNK + 100, 4096), 0);
    world_run(w, S);
    assert_int_equal(world_reads(w, f), 8);
    world_end(w);
}

static void always_reads_large_files_whole(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    w->config.readahead_max_bytes = UINT64_MAX;
    uint32_t f = world_file(w, "/a", 40 * CHUNK), larger = world_file(w, "/b", 200 * CHUNK);
    world_start_all(w);
    assert_int_equal(read_now(w, 1, f, 20 * CHUNK, 1), 0);
    assert_int_equal(read_now(w, 1, larger, 20 * CHUNK, 1), 0);
    world_run(w, S);
    assert_int_equal(world_reads(w, f), 40);
    assert_int_equal(world_reads(w, larger), 1); /* it would push out everything else */
    world_end(w);
}

/* ---- making a node ---- */

static const struct tl_bytes_ops NO_MEMORY = {0};

static void a_configuration_that_cannot_work_is_refused(void **state)
{
    (void)state;
    struct tl_node *n = NULL;
    struct tl_node_config good = {.node_count = 1}, c;
    tl_node_config_default(&good);
    assert_int_equal(tl_node_new(&n, &good, &NO_MEMORY, NULL), 0);
    tl_node_free(n);
#define REFUSED(field, value)                                                                                          \
    c = good;                                                                                                          \
    c.field = (value);                                                                                                 \
    assert_int_equal(tl_node_new(&n, &c, &NO_MEMORY, NULL), -EINVAL)
    REFUSED(node_count, 0);
    REFUSED(rank, 1);
    REFUSED(arity, 0);
    REFUSED(arity, TL_FOREST_ARITY_MAX + 1);
    REFUSED(roots, 0);
    REFUSED(roots, 2); /* more than nodes */
    REFUSED(roots, TL_FOREST_ROOTS_MAX + 1);
    REFUSED(cache_limit_bytes, CACHE_MIN - 1);
    REFUSED(object_max, 15);
    REFUSED(flight_max, 11);
    REFUSED(waiter_max, 15);
    REFUSED(window_chunks, 0);
    REFUSED(window_chunks, TL_FETCH_CHUNKS_MAX + 1);
    REFUSED(request_timeout_ns, 0);
    REFUSED(heartbeat_ns, 0);
    REFUSED(fetch_max, 0);
#undef REFUSED
}

static void a_node_without_memory_is_not_made(void **state)
{
    (void)state;
    struct tl_node_config c = {.node_count = 1};
    tl_node_config_default(&c);
    int rc = -ENOMEM;
    for (long nth = 0; rc != 0 && nth < 64; nth++) {
        struct tl_node *n = NULL;
        tl_failing_alloc_at(nth);
        rc = tl_node_new(&n, &c, &NO_MEMORY, NULL);
        bool failed = tl_failing_alloc_hit();
        tl_failing_alloc_at(-1);
        assert_int_equal(rc, failed ? -ENOMEM : 0);
        tl_node_free(n);
    }
    assert_int_equal(rc, 0);
    tl_node_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checks_find_planted_bugs),
        cmocka_unit_test(a_chunk_is_read_from_storage_once_and_then_from_memory),
        cmocka_unit_test(a_leaf_asks_its_parent_and_only_the_root_reads_storage),
        cmocka_unit_test(twelve_requests_at_once_share_one_flight),
        cmocka_unit_test(refused_requests_are_answered_too),
        cmocka_unit_test(missing_directories_are_remembered),
        cmocka_unit_test(reads_at_every_border_of_chunks_give_the_right_bytes),
        cmocka_unit_test(random_reads_of_many_files_give_the_right_bytes),
        cmocka_unit_test(a_small_file_is_read_whole_at_first_touch),
        cmocka_unit_test(a_large_file_read_in_sequence_is_read_ahead_by_a_growing_window),
        cmocka_unit_test(a_second_reader_behind_the_first_does_not_stop_its_read_ahead),
        cmocka_unit_test(random_reads_of_a_large_file_fetch_what_they_touch),
        cmocka_unit_test(always_reads_large_files_whole),
        cmocka_unit_test(a_configuration_that_cannot_work_is_refused),
        cmocka_unit_test(a_node_without_memory_is_not_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
