// SPDX-License-Identifier: Apache-2.0
/* The tree against a naive search in breadth over parent links, for many arities and sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/overlay/tree.h"

#define NODES_MAX 400u

/* The naive model: nodes are handed out in order of rank, each taking the first place that is free. */
struct model {
    uint32_t parent[NODES_MAX], depth[NODES_MAX], subtree[NODES_MAX];
};

static void model_build(struct model *m, uint32_t arity, uint32_t count)
{
    uint32_t queue = 0, children = 0; /* `queue` is the node that takes children now */
    m->parent[0] = TL_RANK_NONE;
    m->depth[0] = 0;
    for (uint32_t rank = 1; rank < count; rank++) {
        if (children == arity) {
            queue++;
            children = 0;
        }
        m->parent[rank] = queue;
        m->depth[rank] = m->depth[queue] + 1;
        children++;
    }
    for (uint32_t rank = 0; rank < count; rank++)
        m->subtree[rank] = 1;
    for (uint32_t rank = count - 1; rank > 0; rank--)
        m->subtree[m->parent[rank]] += m->subtree[rank];
}

static const uint32_t ARITIES[] = {1, 2, 3, 4, 7, 16, 31, 64, 256};
#define ARITY_COUNT (sizeof ARITIES / sizeof *ARITIES)

static void parents_depths_and_subtrees_are_those_of_a_search_in_breadth(void **state)
{
    (void)state;
    static struct model m;
    for (size_t a = 0; a < ARITY_COUNT; a++)
        for (uint32_t count = 1; count <= NODES_MAX; count = count < 40 ? count + 1 : count + 36) {
            model_build(&m, ARITIES[a], count);
            for (uint32_t rank = 0; rank < count; rank++) {
                assert_int_equal(tl_tree_parent(rank, ARITIES[a]), m.parent[rank]);
                assert_int_equal(tl_tree_depth(rank, ARITIES[a]), m.depth[rank]);
                assert_int_equal(tl_tree_subtree(rank, ARITIES[a], count), m.subtree[rank]);
            }
        }
}

static void assert_candidates_good(uint32_t rank, uint32_t arity)
{
    uint32_t out[TL_TREE_CANDIDATES_MAX];
    uint32_t count = tl_tree_candidates(rank, arity, out);
    assert_true(count <= TL_TREE_CANDIDATES_MAX);
    assert_int_equal(count == 0, rank == 0);
    uint32_t at = rank, ancestors = 0;
    for (; at != 0 && ancestors < count && ancestors < TL_TREE_CANDIDATES_MAX - TL_TREE_STANDINS; ancestors++) {
        at = tl_tree_parent(at, arity);
        assert_int_equal(out[ancestors], at); /* nearest first */
    }
    for (uint32_t i = 0; i < count; i++) {
        assert_true(out[i] < rank); /* so no cycle can form */
        assert_true(i < ancestors || out[i] < TL_TREE_STANDINS);
        for (uint32_t k = 0; k < i; k++)
            assert_int_not_equal(out[i], out[k]);
    }
    for (uint32_t standin = 0; standin < TL_TREE_STANDINS && standin < rank; standin++) {
        uint32_t found = 0;
        for (uint32_t i = 0; i < count; i++)
            found += out[i] == standin;
        assert_int_equal(found, 1); /* the root or who stands in for it is always among them */
    }
}

static void candidates_are_the_ancestors_then_the_stand_ins_and_always_lower(void **state)
{
    (void)state;
    for (size_t a = 0; a < ARITY_COUNT; a++) {
        for (uint32_t rank = 0; rank < 2000; rank++)
            assert_candidates_good(rank, ARITIES[a]);
        for (uint32_t rank = UINT32_MAX - 1; rank > 1000; rank = rank / 3 * 2)
            assert_candidates_good(rank, ARITIES[a]);
    }
}

static void the_largest_tier_has_a_whole_tree(void **state)
{
    (void)state;
    for (size_t a = 0; a < ARITY_COUNT; a++) {
        assert_int_equal(tl_tree_subtree(0, ARITIES[a], UINT32_MAX), UINT32_MAX);
        assert_int_equal(tl_tree_subtree(UINT32_MAX - 1, ARITIES[a], UINT32_MAX), 1);
        assert_true(tl_tree_depth(UINT32_MAX - 1, ARITIES[a]) <= (ARITIES[a] == 1 ? UINT32_MAX : 32));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parents_depths_and_subtrees_are_those_of_a_search_in_breadth),
        cmocka_unit_test(candidates_are_the_ancestors_then_the_stand_ins_and_always_lower),
        cmocka_unit_test(the_largest_tier_has_a_whole_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
