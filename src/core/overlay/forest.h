// SPDX-License-Identifier: Apache-2.0
/* The trees over the node list. Pure functions; no state, any thread.
 *
 * Each root has a tree over all nodes, and where the arity is more than TL_LARGE_ARITY a second one with that arity: the first for
 * small objects, with few hops, the second for large ones, in which nobody sends a byte more than twice. An object's key and size
 * say which tree it travels in.
 *
 * A tree is an order of the nodes, 0 the root, and a rule that gives each its parent among those before it; so no cycle can form
 * within a tree, whoever is dead (docs/protocol.md, P-20). The orders of different roots are rotations of each other: while there are no
 * more roots than the arity, a node has children in one tree of each kind (an idea of SplitStream, Castro et al., SOSP 2003).
 * For small objects, roots ask each other directly: what programs read one after the other has a root one hop away, so those on
 * the roots run ahead, and whoever is deep in the trees finds what it asks for one level above.
 *
 * With groups (racks), all nodes of a group but one have their parent in it: the leaders form a tree with half of the arity, and each
 * group a tree below its leader. */
#ifndef TL_CORE_OVERLAY_FOREST_H
#define TL_CORE_OVERLAY_FOREST_H

#include <stdint.h>

#include "base/check.h"
#include "base/hash.h"

#define TL_RANK_NONE             UINT32_MAX
#define TL_FOREST_STANDINS       3u /* first of the order: the root, and who stands in for it, in turn */
#define TL_FOREST_CANDIDATES_MAX (32u + TL_FOREST_STANDINS)
#define TL_FOREST_ROOTS_MAX      16u
#define TL_FOREST_TREES_MAX      (2u * TL_FOREST_ROOTS_MAX)
#define TL_FOREST_ARITY_MAX      256u
#define TL_LARGE_ARITY           2u

struct tl_topology; /* which nodes are near each other */

/* group_of[rank] for node_count nodes: any numbers below node_count; copied. 0, -EINVAL, -ENOMEM. */
int tl_topology_new(struct tl_topology **out, const uint32_t *group_of, uint32_t node_count) TL_MUST_CHECK;
void tl_topology_free(struct tl_topology *t);

struct tl_forest {
    uint32_t node_count;
    uint32_t roots;                     /* 1..TL_FOREST_ROOTS_MAX, at most node_count */
    uint32_t arity;                     /* children a node, 1..TL_FOREST_ARITY_MAX */
    const struct tl_topology *topology; /* of node_count nodes; NULL: all are equally near */
};

/* What is known of the machine when a forest is to be chosen; 0: not known. */
struct tl_forest_speeds {
    uint64_t link_bytes_per_s,
        storage_bytes_per_s; /* of a node's link; of the shared storage, for all readers together */
    uint64_t hop_ns;         /* a small message to a neighbour and its answer */
};

/* Sets roots and arity, where they are 0, to what brings a program's start, and the data that it then reads, to all nodes
 * soonest without anybody sending twice what it receives. The same input gives the same everywhere. */
void tl_forest_choose(struct tl_forest *f, const struct tl_forest_speeds *speeds);

uint32_t tl_forest_trees(const struct tl_forest *f);
/* A file from this size on is large: from 8 MiB; where several roots are to have equal shares, from a second chunk on. */
uint64_t tl_forest_large_bytes(const struct tl_forest *f);
/* The tree in which an object travels; file_size_bytes 0: a listing. */
uint32_t tl_forest_tree_of(const struct tl_forest *f, struct tl_hash key, uint64_t file_size_bytes);
/* Where rank stands in the order of the tree, and who stands there. */
uint32_t tl_forest_place(const struct tl_forest *f, uint32_t tree, uint32_t rank);
uint32_t tl_forest_at(const struct tl_forest *f, uint32_t tree, uint32_t place);
/* Parent of rank, TL_RANK_NONE for the root. */
uint32_t tl_forest_parent(const struct tl_forest *f, uint32_t tree, uint32_t rank);
/* Edges between rank and the root. */
uint32_t tl_forest_depth(const struct tl_forest *f, uint32_t tree, uint32_t rank);
/* Nodes at and below rank. */
uint32_t tl_forest_subtree(const struct tl_forest *f, uint32_t tree, uint32_t rank);
/* Whom rank may ask, best first: its ancestors up to the root (32 at most), then the root's stand-ins. The count. */
uint32_t tl_forest_candidates(const struct tl_forest *f, uint32_t tree, uint32_t rank,
                              uint32_t out[TL_FOREST_CANDIDATES_MAX]);

#endif
