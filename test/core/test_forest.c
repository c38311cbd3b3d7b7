// SPDX-License-Identifier: Apache-2.0
/* The trees against a naive one that hands out places in breadth, for many sizes, arities, roots and groups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "core/overlay/forest.h"

#define NODES_MAX 400u

/* ---- the naive model ---- */

struct model {
    uint32_t order[NODES_MAX]; /* ranks, the root first */
    uint32_t parent[NODES_MAX], depth[NODES_MAX], subtree[NODES_MAX];
};

/* Ranks of group g in the order of the tree. The count. */
static uint32_t members(const struct tl_forest *f, const uint32_t *groups, uint32_t g, uint32_t tree, uint32_t *out)
{
    uint32_t all[NODES_MAX], count = 0;
    for (uint32_t rank = 0; rank < f->node_count; rank++)
        if (groups[rank] == g)
            all[count++] = rank;
    for (uint32_t i = 0; i < count; i++)
        out[i] = all[(i + tree % f->roots * count / f->roots) % count];
    return count;
}

/* Hangs list[1..count) below list[0] in breadth: the first takes `first` children, all others `arity`. */
static void hang(struct model *m, const uint32_t *list, uint32_t count, uint32_t first, uint32_t arity)
{
    uint32_t at = 0, children = 0;
    for (uint32_t i = 1; i < count; i++) {
        if (children == (at == 0 ? first : arity)) {
            at++;
            children = 0;
        }
        m->parent[list[i]] = list[at];
        children++;
    }
}

static void model_build(struct model *m, const struct tl_forest *f, const uint32_t *groups, uint32_t tree)
{
    uint32_t arity = tree < f->roots ? f->arity : TL_LARGE_ARITY;
    uint32_t names[NODES_MAX], group_count = 0, leaders[NODES_MAX] = {0}, count = 0;
    for (uint32_t rank = 0; rank < f->node_count; rank++) { /* groups, in the order of their first nodes */
        bool seen = false;
        for (uint32_t g = 0; g < group_count; g++)
            seen |= names[g] == groups[rank];
        if (!seen)
            names[group_count++] = groups[rank];
    }
    uint32_t others = group_count == 1 ? 0 : arity / 2 > 0 ? arity / 2 : 1;
    uint32_t own = arity > others ? arity - others : 1;
    for (uint32_t i = 0; i < group_count; i++) {
        uint32_t g = names[(i + tree % f->roots * group_count / f->roots) % group_count];
        uint32_t size = members(f, groups, g, tree, m->order + count);
        hang(m, m->order + count, size, own, arity);
        leaders[i] = m->order[count];
        count += size;
    }
    hang(m, leaders, group_count, others, others);
    m->parent[leaders[0]] = TL_RANK_NONE;
    for (uint32_t t = 0; t < f->roots && tree < f->roots && arity > 1; t++) /* the other roots, with all below them */
        if (tl_forest_at(f, t, 0) != leaders[0])
            m->parent[tl_forest_at(f, t, 0)] = leaders[0];
    for (uint32_t rank = 0; rank < f->node_count; rank++) {
        m->depth[rank] = 0;
        m->subtree[rank] = 0;
    }
    for (uint32_t rank = 0; rank < f->node_count; rank++)
        for (uint32_t at = rank; at != TL_RANK_NONE; at = m->parent[at]) {
            m->depth[rank] += at != rank;
            m->subtree[at]++;
        }
}

/* ---- comparing ---- */

/* Ancestors, nearest first, then the first three of the order; nobody twice, nobody that comes after. */
static void check_candidates(const struct tl_forest *f, const struct model *m, uint32_t tree, uint32_t rank)
{
    uint32_t out[TL_FOREST_CANDIDATES_MAX], i = 0;
    uint32_t count = tl_forest_candidates(f, tree, rank, out);
    for (uint32_t at = m->parent[rank]; at != TL_RANK_NONE && i < 32; at = m->parent[at])
        assert_int_equal(out[i++], at);
    assert_in_range(count, i, i + TL_FOREST_STANDINS);
    for (; i < count; i++)
        assert_true(tl_forest_place(f, tree, out[i]) < TL_FOREST_STANDINS);
    for (uint32_t standin = 0; standin < TL_FOREST_STANDINS && standin < f->node_count; standin++) {
        uint32_t times = 0, place = tl_forest_place(f, tree, rank);
        for (uint32_t k = 0; k < count; k++)
            times += out[k] == m->order[standin];
        assert_int_equal(times, standin < place);
    }
    for (uint32_t k = 0; k < count; k++)
        assert_true(tl_forest_place(f, tree, out[k]) < tl_forest_place(f, tree, rank));
}

static void check_forest(const struct tl_forest *f, const uint32_t *groups)
{
    static struct model m;
    assert_int_equal(tl_forest_trees(f), f->arity > TL_LARGE_ARITY ? 2 * f->roots : f->roots);
    for (uint32_t tree = 0; tree < tl_forest_trees(f); tree++) {
        model_build(&m, f, groups, tree);
        for (uint32_t place = 0; place < f->node_count; place++) {
            assert_int_equal(tl_forest_at(f, tree, place), m.order[place]);
            assert_int_equal(tl_forest_place(f, tree, m.order[place]), place);
        }
        for (uint32_t rank = 0; rank < f->node_count; rank++) {
            assert_int_equal(tl_forest_parent(f, tree, rank), m.parent[rank]);
            assert_int_equal(tl_forest_depth(f, tree, rank), m.depth[rank]);
            assert_int_equal(tl_forest_subtree(f, tree, rank), m.subtree[rank]);
            check_candidates(f, &m, tree, rank);
        }
    }
}

static const uint32_t ARITIES[] = {1, 2, 3, 4, 7, 16, 64, 256};
#define ARITY_COUNT (sizeof ARITIES / sizeof *ARITIES)

static void without_groups_every_tree_is_a_heap(void **state)
{
    (void)state;
    static const uint32_t groups[NODES_MAX];
    for (size_t a = 0; a < ARITY_COUNT; a++)
        for (uint32_t count = 1; count <= NODES_MAX; count = count < 20 ? count + 1 : count + 47)
            for (uint32_t roots = 1; roots <= TL_FOREST_ROOTS_MAX && roots <= count; roots = roots * 2 + (roots == 4))
                check_forest(&(struct tl_forest){.node_count = count, .roots = roots, .arity = ARITIES[a]}, groups);
}

static void with_groups_edges_stay_in_them_but_the_leaders(void **state)
{
    (void)state;
    struct tl_prng p;
    tl_prng_init(&p, 7, 0);
    for (uint32_t turn = 0; turn < 120; turn++) {
        uint32_t groups[NODES_MAX], count = 1 + (uint32_t)tl_prng_below(&p, 90);
        uint32_t kinds = 1 + (uint32_t)tl_prng_below(&p, turn % 3 == 0 ? count : 5);
        for (uint32_t i = 0; i < count; i++) /* runs of nodes, as host files have, or scattered */
            groups[i] = turn % 2 == 0 ? (uint32_t)((uint64_t)i * kinds / count)
                                      : (uint32_t)tl_prng_below(&p, kinds < count ? kinds : count);
        struct tl_topology *topology = NULL;
        assert_int_equal(tl_topology_new(&topology, groups, count), 0);
        struct tl_forest f = {.node_count = count,
                              .roots = 1 + (uint32_t)tl_prng_below(&p, count < 16 ? count : 16),
                              .arity = ARITIES[tl_prng_below(&p, ARITY_COUNT)],
                              .topology = topology};
        check_forest(&f, groups);
        tl_topology_free(topology);
    }
    tl_topology_free(NULL);
    struct tl_topology *none = NULL;
    static const uint32_t bad[] = {0, 2};
    assert_int_equal(tl_topology_new(&none, bad, 2), -22);
    assert_null(none);
}

/* Nobody has children in two trees of a kind, so a link carries its share only. */
static void inner_nodes_of_different_trees_differ(void **state)
{
    (void)state;
    for (uint32_t roots = 2; roots <= 16; roots *= 2)
        for (uint32_t count = roots * 8; count <= NODES_MAX; count += roots * 8) {
            struct tl_forest f = {.node_count = count, .roots = roots, .arity = 16};
            for (uint32_t rank = 0; rank < count; rank++) {
                uint32_t inner = 0;
                for (uint32_t tree = 0; tree < roots; tree++)
                    inner += tl_forest_subtree(&f, tree, rank) > 1;
                assert_in_range(inner, 0, 1);
            }
        }
}

static void keys_spread_over_the_roots_and_sizes_over_the_kinds(void **state)
{
    (void)state;
    struct tl_forest f = {.node_count = 100, .roots = 8, .arity = 16};
    uint32_t counts[TL_FOREST_TREES_MAX] = {0};
    for (uint64_t i = 0; i < 8000; i++) {
        struct tl_hash key = tl_hash_bytes(&i, sizeof i, 0);
        uint64_t large_bytes = tl_forest_large_bytes(&f);
        uint32_t small = tl_forest_tree_of(&f, key, large_bytes - 1), large = tl_forest_tree_of(&f, key, large_bytes);
        assert_int_equal(large, small + f.roots);
        assert_int_equal(tl_forest_tree_of(&f, key, 0), small);
        counts[small]++;
    }
    for (uint32_t t = 0; t < f.roots; t++)
        assert_in_range(counts[t], 850, 1150);
    assert_true(tl_forest_large_bytes(&(struct tl_forest){.node_count = 100, .roots = 1, .arity = 16}) >
                tl_forest_large_bytes(&f));
    f.arity = TL_LARGE_ARITY; /* then there is one kind */
    assert_true(tl_forest_tree_of(&f, tl_hash_bytes("x", 1, 0), UINT64_MAX) < f.roots);
}

static void many_nodes_do_not_overflow(void **state)
{
    (void)state;
    for (size_t a = 0; a < ARITY_COUNT; a++) {
        struct tl_forest f = {.node_count = UINT32_MAX, .roots = 16, .arity = ARITIES[a]};
        for (uint32_t tree = 0; tree < tl_forest_trees(&f); tree += 5) {
            uint32_t last = tl_forest_at(&f, tree, UINT32_MAX - 1), first = tl_forest_at(&f, tree, 0);
            assert_int_equal(tl_forest_place(&f, tree, last), UINT32_MAX - 1);
            assert_int_equal(tl_forest_subtree(&f, tree, first), UINT32_MAX);
            assert_int_equal(tl_forest_subtree(&f, tree, last), 1);
            if (ARITIES[a] > 1)
                assert_true(tl_forest_depth(&f, tree, last) <= 32);
        }
    }
}

static void choosing_follows_nodes_and_speeds(void **state)
{
    (void)state;
    struct tl_forest few = {.node_count = 4}, many = {.node_count = 10624}, fast = {.node_count = 10624};
    tl_forest_choose(&few, &(struct tl_forest_speeds){0});
    assert_int_equal(few.roots, 1);
    tl_forest_choose(&many, &(struct tl_forest_speeds){.storage_bytes_per_s = 1ull << 28});
    assert_true(many.roots >= 2); /* nobody sends twice what it receives, however slow storage is */
    tl_forest_choose(&fast,
                     &(struct tl_forest_speeds){.link_bytes_per_s = 1ull << 30, .storage_bytes_per_s = 600ull << 30});
    assert_true(fast.roots > many.roots); /* what storage can give, more roots take */
    struct tl_forest wide = {.node_count = 10624}, asked = {.node_count = 10624, .arity = 32};
    tl_forest_choose(&wide,
                     &(struct tl_forest_speeds){.link_bytes_per_s = 25ull << 30, .storage_bytes_per_s = 600ull << 30});
    assert_in_range(wide.roots, many.roots, fast.roots); /* through faster links, fewer of them */
    tl_forest_choose(&asked, &(struct tl_forest_speeds){0});
    assert_int_equal(asked.arity, 32); /* what the user has set stays */
    assert_true(asked.roots >= 8);     /* and is made up for */
    for (uint32_t count = 1; count < 3000; count++) {
        struct tl_forest f = {.node_count = count};
        tl_forest_choose(&f, &(struct tl_forest_speeds){0});
        assert_in_range(f.roots, 1, count < TL_FOREST_ROOTS_MAX ? count : TL_FOREST_ROOTS_MAX);
        assert_in_range(f.arity, 1, TL_FOREST_ARITY_MAX);
        assert_true(count < 16 || f.arity == 2 * f.roots); /* each root's share is as large as an inner node's */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_groups_every_tree_is_a_heap),
        cmocka_unit_test(with_groups_edges_stay_in_them_but_the_leaders),
        cmocka_unit_test(inner_nodes_of_different_trees_differ),
        cmocka_unit_test(keys_spread_over_the_roots_and_sizes_over_the_kinds),
        cmocka_unit_test(many_nodes_do_not_overflow),
        cmocka_unit_test(choosing_follows_nodes_and_speeds),
    };
    return cmocka_run_group_tests_name("core/forest", tests, NULL, NULL);
}
