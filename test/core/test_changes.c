// SPDX-License-Identifier: Apache-2.0
/* Files that change, flushes, reports of all nodes, and requests that are cancelled. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/world.h"

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

static int blob_now(struct world *w, uint32_t rank, uint32_t file, enum tl_op op, uint32_t *generation)
{
    uint32_t asked = ask_about(w, rank, file, op);
    world_run_answered(w, S);
    *generation = w->asked[asked].generation;
    return w->asked[asked].status;
}

/* A file in a directory that may be searched but not listed. */
static void an_entry_is_kept_until_it_is_flushed_or_its_file_changes(void **state)
{
    (void)state;
    struct world *w = world_new(3, 2);
    uint32_t d = world_directory(w, "/d"), f = world_file(w, "/d/a", 5), gone = world_file(w, "/d/b", 5), generation;
    w->files[d].status = -EACCES;
    w->files[gone].status = -ENOENT;
    world_start_all(w);
    for (uint32_t rank = 0; rank < 3; rank++) {
        struct tl_ref ref;
        assert_int_equal(list_now(w, rank, d), -EACCES);
        assert_int_equal(blob_now(w, rank, f, TL_OP_ENTRY, &generation), 0);
        assert_int_equal(blob_now(w, rank, gone, TL_OP_ENTRY, &generation), -ENOENT);
        assert_int_equal(tl_node_peek(w->hosts[rank].node, TL_OP_ENTRY, "/d/a", 4, &ref), 0);
        assert_int_equal(tl_node_peek(w->hosts[rank].node, TL_OP_LIST, "/d/a", 4, &ref), -ENOENT);
    }
    assert_int_equal(w->files[f].entries, 1);
    assert_int_equal(world_counters(w, 0).source_lists, 3);
    assert_int_equal(world_counters(w, 2).meta_requests_up, 3);
    w->files[f].generation = 1;
    w->files[gone].status = 0;
    ask_flush(w, 1, "/d");
    world_run_answered(w, S);
    assert_int_equal(blob_now(w, 2, f, TL_OP_ENTRY, &generation), 0);
    assert_int_equal(generation, 1);
    assert_int_equal(blob_now(w, 2, gone, TL_OP_ENTRY, &generation), 0);
    /* A program that knows an older version of the file is told, and the entry is read anew. */
    w->files[f].generation = 2;
    uint32_t stale = ask_read(w, 2, f, 0, 5);
    w->files[f].version++;
    world_run_answered(w, S);
    assert_int_equal(w->asked[stale].status, -ESTALE);
    assert_int_equal(blob_now(w, 2, f, TL_OP_ENTRY, &generation), 0);
    assert_int_equal(generation, 2);
    assert_int_equal(w->files[f].entries, 3);
    world_end(w);
}

static void extended_attributes_are_kept_until_they_are_flushed_or_their_file_changes(void **state)
{
    (void)state;
    struct world *w = world_new(3, 2);
    uint32_t f = world_file(w, "/a", 5), without = world_file(w, "/b", 5), generation;
    w->files[without].status = -EOPNOTSUPP;
    world_start_all(w);
    for (uint32_t rank = 0; rank < 3; rank++) {
        assert_int_equal(blob_now(w, rank, f, TL_OP_XATTRS, &generation), 0);
        assert_int_equal(blob_now(w, rank, f, TL_OP_XATTRS, &generation), 0);
        assert_int_equal(blob_now(w, rank, without, TL_OP_XATTRS, &generation), -EOPNOTSUPP);
    }
    assert_int_equal(w->files[f].entries, 1);
    assert_int_equal(world_counters(w, 0).source_lists, 2);
    w->files[f].generation = 1;
    ask_flush(w, 2, "/a");
    world_run_answered(w, S);
    assert_int_equal(blob_now(w, 2, f, TL_OP_XATTRS, &generation), 0);
    assert_int_equal(generation, 1);
    w->files[f].generation = 2;
    uint32_t stale = ask_read(w, 2, f, 0, 5);
    w->files[f].version++;
    world_run_answered(w, S);
    assert_int_equal(w->asked[stale].status, -ESTALE);
    assert_int_equal(blob_now(w, 2, f, TL_OP_XATTRS, &generation), 0);
    assert_int_equal(generation, 2);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_changed_file_is_stale_and_takes_its_listing_along),
        cmocka_unit_test(an_entry_is_kept_until_it_is_flushed_or_its_file_changes),
        cmocka_unit_test(extended_attributes_are_kept_until_they_are_flushed_or_their_file_changes),
        cmocka_unit_test(two_sizes_of_one_version_are_stale_and_stop_nobody),
        cmocka_unit_test(a_flush_from_any_node_reaches_all),
        cmocka_unit_test(what_was_asked_before_a_flush_is_not_kept_after_it),
        cmocka_unit_test(a_listing_that_is_lent_during_a_flush_stays_for_the_borrower_only),
        cmocka_unit_test(gather_reports_each_node_once),
        cmocka_unit_test(cancel_answers_once_and_the_chunk_still_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
