// SPDX-License-Identifier: Apache-2.0
#include "cli/top_tree.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONE SIZE_MAX

struct order {
    const int *parents;
    size_t count, done, waiting;
    size_t *child, *sibling;       /* first child, next sibling: NONE if there is none */
    struct top_place *out, *stack; /* stack: rows that wait, the next one last */
    bool *seen;
};

static void push(struct order *o, size_t row, unsigned depth, uint64_t more)
{
    o->seen[row] = true;
    o->stack[o->waiting++] = (struct top_place){.row = row, .depth = depth, .more = more};
}

/* Children in reverse, so that the first is on top. There are few, or the list is walked once for each to the root only. */
static void push_children(struct order *o, const struct top_place *p)
{
    size_t from = o->waiting;
    unsigned depth = p->depth + 1, bit = depth < 63 ? depth : 63;
    for (size_t c = o->child[p->row]; c != NONE; c = o->sibling[c])
        if (!o->seen[c])
            push(o, c, depth, p->more | 1ull << bit);
    if (o->waiting > from)
        o->stack[o->waiting - 1].more &= ~(1ull << bit); /* the last child */
    for (size_t a = from, b = o->waiting; a + 1 < b; a++) {
        struct top_place swap = o->stack[a];
        o->stack[a] = o->stack[--b];
        o->stack[b] = swap;
    }
}

static void take_root(struct order *o, size_t row)
{
    push(o, row, 0, 0);
    while (o->waiting > 0) { /* each row is pushed once */
        struct top_place p = o->stack[--o->waiting];
        o->out[o->done++] = p;
        push_children(o, &p);
    }
}

int top_tree_order(const int *parents, size_t count, struct top_place *out)
{
    struct order o = {.parents = parents, .count = count, .out = out};
    o.child = calloc(count + 1, sizeof *o.child);
    o.sibling = calloc(count + 1, sizeof *o.sibling);
    o.stack = calloc(count + 1, sizeof *o.stack);
    o.seen = calloc(count + 1, sizeof *o.seen);
    int rc = o.child != NULL && o.sibling != NULL && o.stack != NULL && o.seen != NULL ? 0 : -ENOMEM;
    for (size_t i = 0; rc == 0 && i < count; i++)
        o.child[i] = NONE;
    for (size_t i = count; rc == 0 && i-- > 0;) { /* backwards, so that children are in order */
        if (parents[i] < 0)
            continue;
        o.sibling[i] = o.child[parents[i]];
        o.child[parents[i]] = i;
    }
    for (size_t i = 0; rc == 0 && i < count; i++)
        if (parents[i] < 0)
            take_root(&o, i);
    for (size_t i = 0; rc == 0 && i < count; i++)
        if (!o.seen[i])
            take_root(&o, i);
    free(o.child);
    free(o.sibling);
    free(o.stack);
    free(o.seen);
    return rc;
}

/* Three columns a level, or fewer where they do not fit. */
void top_tree_text(const struct top_place *place, unsigned rank, char out[TOP_TREE_WIDTH + 1])
{
    char number[16];
    unsigned room = (unsigned)(TOP_TREE_WIDTH - snprintf(number, sizeof number, "%u", rank));
    unsigned depth = place != NULL ? place->depth : 0, used = 0;
    unsigned step = depth * 3 <= room ? 3 : depth * 2 <= room ? 2 : 1;
    unsigned shown = depth * step <= room ? depth : room; /* of a deeper one, the nearest ancestors */
    for (unsigned k = depth - shown + 1; k <= depth && shown > 0; k++) {
        bool more = (place->more >> (k < 63 ? k : 63) & 1) != 0, own = k == depth;
        out[used++] = own ? (more ? '+' : '`') : more ? '|' : ' ';
        if (step > 1)
            out[used++] = own ? '-' : ' ';
        if (step > 2)
            out[used++] = ' ';
    }
    snprintf(out + used, TOP_TREE_WIDTH + 1 - used, "%s", number);
}
