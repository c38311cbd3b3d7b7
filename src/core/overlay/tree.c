// SPDX-License-Identifier: Apache-2.0
#include "core/overlay/tree.h"

#include <stdbool.h>

#include "base/check.h"

uint32_t tl_tree_parent(uint32_t rank, uint32_t arity)
{
    check(arity > 0);
    return rank == 0 ? TL_RANK_NONE : (rank - 1) / arity;
}

uint32_t tl_tree_depth(uint32_t rank, uint32_t arity)
{
    uint32_t depth = 0;
    if (arity == 1)
        return rank;
    for (uint32_t at = rank; at != 0; at = tl_tree_parent(at, arity))
        depth++;
    return depth;
}

/* The ranks below `rank` on each level are one run: [first, last]. */
uint32_t tl_tree_subtree(uint32_t rank, uint32_t arity, uint32_t node_count)
{
    check(rank < node_count && arity > 0);
    if (arity == 1)
        return node_count - rank;
    uint64_t first = rank, last = rank, count = 0;
    while (first < node_count) {
        uint64_t end = last < node_count ? last : node_count - 1;
        count += end - first + 1;
        first = first * arity + 1;
        last = last * arity + arity;
    }
    return (uint32_t)count;
}

uint32_t tl_tree_candidates(uint32_t rank, uint32_t arity, uint32_t out[TL_TREE_CANDIDATES_MAX])
{
    uint32_t count = 0;
    for (uint32_t at = rank; at != 0 && count < TL_TREE_CANDIDATES_MAX - TL_TREE_STANDINS; count++) {
        at = tl_tree_parent(at, arity);
        out[count] = at;
    }
    for (uint32_t standin = 0; standin < TL_TREE_STANDINS && standin < rank; standin++) {
        bool listed = false;
        for (uint32_t i = 0; i < count; i++)
            listed |= out[i] == standin;
        if (!listed)
            out[count++] = standin;
    }
    check(count <= TL_TREE_CANDIDATES_MAX);
    return count;
}
