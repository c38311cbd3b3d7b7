// SPDX-License-Identifier: Apache-2.0
/* What nodes do when nothing is broken: hits, misses, coalescing, chunks, read-ahead, eviction, flushes, and small tables.
 * Every step ends with tl_node_verify, every answer is compared with the storage's bytes (world.c). */
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
    assert_int_equal(tl_node_peek_listing(w->hosts[2].node, "/gone", 5, &ref), -ENOENT);
    assert_int_equal(list_now(w, 2, broken), -EREMOTEIO);
    assert_int_equal(list_now(w, 2, broken), -EREMOTEIO);
    assert_int_equal(world_counters(w, 0).source_lists, 3); /* other errors may pass: asked again */
    w->files[broken].status = 0;
    assert_int_equal(list_now(w, 2, broken), 0);
    assert_int_equal(tl_node_peek_listing(w->hosts[2].node, "/broken", 7, &ref), 0);
    assert_int_equal(tl_node_peek_listing(w->hosts[2].node, "/other", 6, &ref), -ENOENT);
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

/* ---- changes ---- */

static void a_changed_file_is_stale_and_takes_its_listing_along(void **state)
{
    (void)state;
    struct world *w = world_new(3, 2);
    uint32_t d = world_directory(w, "/d"), f = world_file(w, "/d/a", 10 * CHUNK), gone = world_file(w, "/d/b", 5);
    w->config.readahead_max_bytes = 0;
    world_start_all(w);
    assert_int_equal(list_now(w, 2, d), 0);
    assert_int_equal(read_now(w, 2, f, 0, 10), 0);
    w->files[d].generation++;
    w->files[gone].status = -ENOENT;
    struct file old = w->files[f];
    w->files[f].version++;
    w->files[f].size_bytes++;
    /* The program knows the old version only. */
    struct file new = w->files[f];
    w->files[f].version = old.version;
    w->files[f].size_bytes = old.size_bytes;
    uint32_t asked = ask_read(w, 2, f, 5 * CHUNK, 10);
    w->files[f].version = new.version;
    w->files[f].size_bytes = new.size_bytes;
    world_run_answered(w, S);
    assert_int_equal(w->asked[asked].status, -ESTALE);
    for (uint32_t rank = 0; rank < 3; rank += 2) {
        assert_int_equal(w->hosts[rank].invalidations, 1); /* on the way from the storage to the program */
        assert_string_equal(w->hosts[rank].invalidated, "/d/a");
    }
    assert_int_equal(w->hosts[1].invalidations, 0);
    asked = ask_list(w, 2, d);
    world_run_answered(w, S);
    assert_int_equal(w->asked[asked].generation, 1); /* listed anew */
    assert_int_equal(read_now(w, 2, f, 5 * CHUNK, 10), 0);
    assert_int_equal(read_now(w, 2, gone, 0, 5), -ESTALE); /* its name is gone: as good as changed */
    asked = ask_list(w, 2, d);
    world_run_answered(w, S);
    assert_int_equal(w->files[d].lists, 3);
    world_end(w);
}

static void two_sizes_of_one_version_are_stale_and_stop_nobody(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    w->config.readahead_max_bytes = 0;
    uint32_t f = world_file(w, "/a", 2 * CHUNK);
    world_start_all(w);
    assert_int_equal(read_now(w, 0, f, 0, 10), 0);
    w->files[f].size_bytes = 30 * CHUNK;
    assert_int_equal(read_now(w, 1, f, 25 * CHUNK, 10), -ESTALE);
    assert_int_equal(read_now(w, 0, f, 25 * CHUNK, 10), -ESTALE);
    world_end(w);
}

static uint32_t generation_now(struct world *w, uint32_t rank, uint32_t directory)
{
    uint32_t asked = ask_list(w, rank, directory);
    world_run_answered(w, S);
    assert_int_equal(w->asked[asked].status, 0);
    return w->asked[asked].generation;
}

static void a_flush_from_any_node_reaches_all(void **state)
{
    (void)state;
    struct world *w = world_new(9, 2);
    uint32_t d = world_directory(w, "/d"), sub = world_directory(w, "/d/sub"), other = world_directory(w, "/dx");
    uint32_t root = world_directory(w, "/"), f = world_file(w, "/d/f", 10);
    world_start_all(w);
    for (uint32_t from = 0; from < 9; from++) {
        for (uint32_t rank = 0; rank < 9; rank++) {
            for (uint32_t i = 0; i < 4; i++)
                (void)generation_now(w, rank, i);
            assert_int_equal(read_now(w, rank, f, 0, 10), 0);
        }
        for (uint32_t i = 0; i < 4; i++)
            w->files[i].generation++;
        uint32_t before = w->files[other].generation - 1, reads = world_reads(w, f);
        uint32_t flush = ask_flush(w, from, "/d");
        world_run_answered(w, S);
        assert_int_equal(w->asked[flush].status, 0);
        for (uint32_t rank = 0; rank < 9; rank++) {
            assert_string_equal(w->hosts[rank].invalidated, "/d");
            assert_int_equal(generation_now(w, rank, d), before + 1);
            assert_int_equal(generation_now(w, rank, sub), before + 1);
            assert_int_equal(generation_now(w, rank, root), before + 1); /* it holds the name */
            assert_int_equal(generation_now(w, rank, other), before);
        }
        flush = ask_flush(w, from, NULL); /* everything, chunks too */
        world_run_answered(w, S);
        assert_int_equal(w->asked[flush].status, 0);
        assert_int_equal(read_now(w, 8, f, 0, 10), 0);
        assert_int_equal(world_reads(w, f), reads + 1);
        assert_int_equal(generation_now(w, 8, other), before + 1);
    }
    world_end(w);
}

/* The flush meets the listing on its way down, at each of the places where it can be. */
static void what_was_asked_before_a_flush_is_not_kept_after_it(void **state)
{
    (void)state;
    for (uint32_t where = 0; where < 4; where++) {
        struct world *w = world_new(4, 2);
        uint32_t d = world_directory(w, "/d");
        world_start_all(w);
        w->hold_storage = where == 0;           /* about to be read */
        w->hosts[1].hold_messages = where == 1; /* the GET has not come to 1 yet */
        w->hosts[3].hold_messages = where >= 2; /* DATA waits in front of 3, with FLOOD behind it, or given at 3 */
        uint32_t before = ask_list(w, 3, d);
        world_settle(w);
        w->files[d].generation++;
        uint32_t flush = ask_flush(w, where == 3 ? 3 : 2, "/d");
        world_settle(w);
        w->hold_storage = w->hosts[1].hold_messages = w->hosts[3].hold_messages = false;
        world_run_answered(w, S);
        assert_int_equal(w->asked[flush].status, 0);
        assert_int_equal(w->asked[before].status, 0);
        for (uint32_t rank = 0; rank < 4; rank++)
            assert_int_equal(generation_now(w, rank, d), 1);
        world_end(w);
    }
}

static void a_listing_that_is_lent_during_a_flush_stays_for_the_borrower_only(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    uint32_t d = world_directory(w, "/large");
    world_start_all(w);
    w->hold_pulls = true;
    ask_list(w, 1, d);
    world_settle(w);
    w->files[d].generation++;
    uint32_t flush = ask_flush(w, 0, "/large");
    uint32_t asked = ask_list(w, 0, d);
    world_settle(w);
    assert_int_equal(w->asked[asked].answers, 1);
    assert_int_equal(w->asked[asked].generation, 1);
    w->hold_pulls = false;
    world_run_answered(w, S);
    assert_int_equal(w->asked[flush].status, 0);
    assert_int_equal(generation_now(w, 1, d), 1);
    world_end(w);
}

static void gather_reports_each_node_once(void **state)
{
    (void)state;
    struct world *w = world_new(13, 3);
    world_start_all(w);
    for (uint32_t from = 0; from < 13; from++) {
        uint32_t asked = ask_gather(w, from);
        world_run_answered(w, S);
        assert_int_equal(w->asked[asked].status, 0);
        for (uint32_t rank = 0; rank < 13; rank++)
            assert_int_equal(w->hosts[from].reports[rank], 1);
    }
    world_end(w);
}

static void cancel_answers_once_and_the_chunk_still_comes(void **state)
{
    (void)state;
    struct world *w = world_new(2, 2);
    uint32_t f = world_file(w, "/a", 100);
    world_start_all(w);
    w->hold_storage = true;
    uint32_t asked = ask_read(w, 1, f, 0, 10), other = ask_read(w, 1, f, 10, 10);
    world_settle(w);
    cancel(w, asked);
    assert_int_equal(w->asked[asked].status, -ECANCELED);
    cancel(w, asked); /* the kernel may say it twice, or too late */
    w->hold_storage = false;
    world_run_answered(w, S);
    cancel(w, other);
    assert_int_equal(w->asked[other].status, 0);
    assert_int_equal(read_now(w, 1, f, 0, 10), 0);
    world_check_read_once(w);
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
    REFUSED(arity, TL_ARITY_MAX + 1);
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
        cmocka_unit_test(the_least_recently_used_goes_first_and_the_limit_holds),
        cmocka_unit_test(what_is_lent_is_not_evicted),
        cmocka_unit_test(requests_that_find_no_room_are_parked_and_answered),
        cmocka_unit_test(requests_over_several_chunks_do_not_wait_for_each_other),
        cmocka_unit_test(requests_that_find_no_waiters_are_parked),
        cmocka_unit_test(parked_requests_can_be_cancelled),
        cmocka_unit_test(more_requests_than_the_table_holds_are_told_so),
        cmocka_unit_test(long_paths_fill_the_pool_and_make_room_for_each_other),
        cmocka_unit_test(a_machine_without_memory_is_an_error_and_not_for_ever),
        cmocka_unit_test(a_changed_file_is_stale_and_takes_its_listing_along),
        cmocka_unit_test(two_sizes_of_one_version_are_stale_and_stop_nobody),
        cmocka_unit_test(a_flush_from_any_node_reaches_all),
        cmocka_unit_test(what_was_asked_before_a_flush_is_not_kept_after_it),
        cmocka_unit_test(a_listing_that_is_lent_during_a_flush_stays_for_the_borrower_only),
        cmocka_unit_test(gather_reports_each_node_once),
        cmocka_unit_test(cancel_answers_once_and_the_chunk_still_comes),
        cmocka_unit_test(a_configuration_that_cannot_work_is_refused),
        cmocka_unit_test(a_node_without_memory_is_not_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
