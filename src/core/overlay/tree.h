// SPDX-License-Identifier: Apache-2.0
/* The tree over the node list: a heap of the given arity over ranks. Pure functions; no state, any thread.
 *
 * Ranks only ever ask lower ranks, so no cycle can form, whoever is dead (docs/protocol.md, P-20). */
#ifndef TL_CORE_OVERLAY_TREE_H
#define TL_CORE_OVERLAY_TREE_H

#include <stdint.h>

#define TL_RANK_NONE           UINT32_MAX
#define TL_TREE_STANDINS       3u                       /* lowest ranks: the root, and who stands in for it, in order */
#define TL_TREE_CANDIDATES_MAX (32u + TL_TREE_STANDINS) /* depth of a binary tree over 2^32 ranks, and the stand-ins */

/* Parent of rank, TL_RANK_NONE for the root. */
uint32_t tl_tree_parent(uint32_t rank, uint32_t arity);
/* Edges between rank and the root. */
uint32_t tl_tree_depth(uint32_t rank, uint32_t arity);
/* Nodes at and below rank. */
uint32_t tl_tree_subtree(uint32_t rank, uint32_t arity, uint32_t node_count);
/* Whom rank may ask, best first: its ancestors up to the root, then the root's stand-ins. All are lower ranks. The count. */
uint32_t tl_tree_candidates(uint32_t rank, uint32_t arity, uint32_t out[TL_TREE_CANDIDATES_MAX]);

#endif
