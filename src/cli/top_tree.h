// SPDX-License-Identifier: Apache-2.0
/* Rows in the shape of a tree, as lines of text. Pure functions. */
#ifndef TL_CLI_TOP_TREE_H
#define TL_CLI_TOP_TREE_H

#include <stddef.h>
#include <stdint.h>

#define TOP_TREE_WIDTH 14 /* columns of a node's place and rank */

struct top_place {
    size_t row;
    unsigned depth;
    uint64_t more; /* bit k: the ancestor (or itself) at depth k has a further sibling below */
};

/* The rows in order: each below its parent (a row, or -1: none), its children below it. A row whose parents go in a circle,
 * as reports of different moments may have it, counts as a root. 0, -ENOMEM. */
int top_tree_order(const int *parents, size_t count, struct top_place *out);
/* "|  +- 12"; place NULL: the rank alone. */
void top_tree_text(const struct top_place *place, unsigned rank, char out[TOP_TREE_WIDTH + 1]);

#endif
