// SPDX-License-Identifier: Apache-2.0
/* Several roots: keys spread, each read once, a root dies, floods go everywhere once, and what is outdated in one tree does not
 * live on in another. */
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

static struct world *forest(uint32_t count, uint32_t arity, uint32_t roots)
{
    struct world *w = world_new(count, arity);
    w->config.roots = roots;
    return w;
}

static struct tl_forest forest_of(const struct world *w, uint32_t count)
{
    return (struct tl_forest){.node_count = count, .roots = w->config.roots, .arity = w->config.arity};
}

static uint32_t tree_of(const struct world *w, uint32_t count, uint32_t file)
{
    const struct tl_forest f = forest_of(w, count);
    const struct file *of = &w->files[file];
    enum tl_op op = of->directory ? TL_OP_LIST : TL_OP_READ;
    struct tl_hash key = tl_object_key(op, of->path, (uint16_t)strlen(of->path), of->directory ? 0 : of->version);
    return tl_forest_tree_of(&f, key, of->directory ? 0 : of->size_bytes);
}

/* A file that travels in this tree. */
static uint32_t file_of_tree(struct world *w, uint32_t count, uint32_t tree, uint64_t size_bytes)
{
    for (uint32_t i = 0; i < 200; i++) {
        char path[64];
        snprintf(path, sizeof path, "/t%u-%u", tree, i);
        uint32_t file = world_file(w, path, size_bytes);
        if (tree_of(w, count, file) == tree)
            return file;
        w->file_count--; /* nobody knows it yet */
    }
    fail_msg("no name for tree %u", tree);
    return 0;
}

static void each_tree_has_its_root_and_each_chunk_is_read_once(void **state)
{
    (void)state;
    enum { NODES = 15, ROOTS = 3 };
    struct world *w = forest(NODES, 3, ROOTS);
    uint32_t files[2 * ROOTS];
    for (uint32_t t = 0; t < 2 * ROOTS; t++)
        files[t] = file_of_tree(w, NODES, t, t < ROOTS ? 1000 : 2 * TL_CHUNK_SIZE);
    world_start_all(w);
    const struct tl_forest f = forest_of(w, NODES);
    for (uint32_t t = 0; t < 2 * ROOTS; t++) {
        uint32_t root = tl_forest_at(&f, t, 0);
        uint64_t before = world_counters(w, root).chunks_from_source;
        for (uint32_t rank = 0; rank < NODES; rank++)
            assert_int_equal(read_now(w, rank, files[t], 0, 1000), 0);
        assert_true(world_counters(w, root).chunks_from_source > before);
    }
    world_check_read_once(w);
    uint64_t sources = 0;
    for (uint32_t rank = 0; rank < NODES; rank++)
        sources += world_counters(w, rank).chunks_from_source > 0;
    assert_int_equal(sources, ROOTS);
    world_end(w);
}

static void a_root_that_dies_takes_its_own_tree_only(void **state)
{
    (void)state;
    enum { NODES = 12, ROOTS = 3 };
    struct world *w = forest(NODES, 2, ROOTS);
    uint32_t lost = file_of_tree(w, NODES, 1, 1000), other = file_of_tree(w, NODES, 2, 1000);
    world_start_all(w);
    const struct tl_forest f = forest_of(w, NODES);
    uint32_t root = tl_forest_at(&f, 1, 0), next = tl_forest_at(&f, 1, 1);
    world_crash(w, root);
    for (uint32_t rank = 0; rank < NODES; rank++) {
        if (rank == root)
            continue;
        assert_int_equal(read_now(w, rank, other, 0, 1000), 0);
        assert_int_equal(read_now(w, rank, lost, 0, 1000), 0);
    }
    assert_int_equal(world_counters(w, next).chunks_from_source, 1); /* the next in the order stands in */
    world_check_read_once(w);
    world_start(w, root);
    world_run(w, 60 * S);
    assert_true(tl_node_ready(w->hosts[0].node)); /* all are back where they belong */
    world_end(w);
}

static void a_flood_reaches_everybody_once_by_however_many_ways(void **state)
{
    (void)state;
    enum { NODES = 13 };
    struct world *w = forest(NODES, 3, 4);
    uint32_t d = world_directory(w, "/d");
    world_start_all(w);
    for (uint32_t rank = 0; rank < NODES; rank++)
        assert_int_equal(list_now(w, rank, d), 0);
    for (uint32_t from = 0; from < NODES; from += 4) {
        for (uint32_t rank = 0; rank < NODES; rank++)
            w->hosts[rank].invalidations = 0;
        memset(w->hosts[from].reports, 0, sizeof w->hosts[from].reports);
        uint32_t flush = ask_flush(w, from, ""), gather = ask_gather(w, from);
        world_run_answered(w, S);
        assert_int_equal(w->asked[flush].status, 0);
        assert_int_equal(w->asked[gather].status, 0);
        for (uint32_t rank = 0; rank < NODES; rank++) {
            assert_int_equal(w->hosts[rank].invalidations, 1);
            assert_int_equal(w->hosts[from].reports[rank], 1);
        }
    }
    world_end(w);
}

/* The listing's tree is not the file's: nodes that carry only the listing have not heard that the file has changed. */
static void an_outdated_listing_does_not_live_on_in_its_own_tree(void **state)
{
    (void)state;
    enum { NODES = 15, ROOTS = 4 };
    for (uint32_t reader = 0; reader < NODES; reader++) {
        struct world *w = forest(NODES, 2, ROOTS);
        uint32_t d = world_directory(w, "/"), tree = (tree_of(w, NODES, d) + 1 + reader % (ROOTS - 1)) % ROOTS;
        uint32_t f = file_of_tree(w, NODES, tree, 1000);
        world_start_all(w);
        for (uint32_t rank = 0; rank < NODES; rank++)
            assert_int_equal(list_now(w, rank, d), 0);
        assert_int_equal(w->files[d].lists, 1);
        uint32_t asked = ask_read(w, reader, f, 0, 1000);
        w->files[f].version++; /* it changes while the program has it open */
        w->files[d].generation++;
        world_run_answered(w, S);
        assert_int_equal(w->asked[asked].status, -ESTALE);
        asked = ask_list(w, reader, d);
        world_run_answered(w, S);
        assert_int_equal(w->asked[asked].generation, 1);
        assert_int_equal(w->files[d].lists, 2);
        assert_int_equal(read_now(w, reader, f, 0, 1000), 0);
        world_end(w);
    }
}

/* Everybody finds out for himself, at different times: the storage is not asked each time. */
static void many_who_find_a_listing_outdated_have_it_read_once(void **state)
{
    (void)state;
    enum { NODES = 15, ROOTS = 4 };
    struct world *w = forest(NODES, 2, ROOTS);
    uint32_t d = world_directory(w, "/"), f = file_of_tree(w, NODES, (tree_of(w, NODES, d) + 1) % ROOTS, 1000);
    world_start_all(w);
    for (uint32_t rank = 0; rank < NODES; rank++)
        assert_int_equal(list_now(w, rank, d), 0);
    uint32_t asked[NODES];
    w->hold_storage = true;
    for (uint32_t rank = 0; rank < NODES; rank++)
        asked[rank] = ask_read(w, rank, f, 0, 1000);
    w->files[f].version++;
    w->files[d].generation++;
    world_settle(w);
    w->hold_storage = false;
    world_run_answered(w, S);
    for (uint32_t rank = 0; rank < NODES; rank++) {
        assert_int_equal(w->asked[asked[rank]].status, -ESTALE);
        uint32_t list = ask_list(w, rank, d);
        world_run_answered(w, S);
        assert_int_equal(w->asked[list].generation, 1);
        assert_int_equal(read_now(w, rank, f, 0, 1000), 0);
    }
    assert_in_range(w->files[d].lists, 2, 3);
    world_end(w);
}

static void who_finds_a_better_parent_leaves_the_other_one(void **state)
{
    (void)state;
    enum { NODES = 12, ROOTS = 3 };
    struct world *w = forest(NODES, 2, ROOTS);
    world_start_all(w);
    for (uint32_t i = 0; i < 20; i++) {
        for (uint32_t rank = 0; rank < NODES; rank++)
            for (uint32_t other = rank + 1 + i % 3; other < NODES; other += 4)
                world_cut(w, rank, other);
        world_run(w, 700 * MS);
    }
    world_run(w, 60 * S);
    const struct tl_forest f = forest_of(w, NODES);
    for (uint32_t rank = 0; rank < NODES; rank++) {
        struct tl_report r;
        uint32_t children = 0;
        for (uint32_t child = 0; child < NODES; child++)
            children += tl_forest_parent(&f, 0, child) == rank;
        tl_node_report(w->hosts[rank].node, &r);
        assert_int_equal(r.children, children);
        assert_int_equal(r.subtree, tl_forest_subtree(&f, 0, rank));
        assert_true(tl_node_ready(w->hosts[rank].node));
    }
    world_end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_tree_has_its_root_and_each_chunk_is_read_once),
        cmocka_unit_test(a_root_that_dies_takes_its_own_tree_only),
        cmocka_unit_test(a_flood_reaches_everybody_once_by_however_many_ways),
        cmocka_unit_test(an_outdated_listing_does_not_live_on_in_its_own_tree),
        cmocka_unit_test(many_who_find_a_listing_outdated_have_it_read_once),
        cmocka_unit_test(who_finds_a_better_parent_leaves_the_other_one),
    };
    return cmocka_run_group_tests_name("core/trees", tests, NULL, NULL);
}
