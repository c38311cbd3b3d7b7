// SPDX-License-Identifier: Apache-2.0
#include "core/overlay/forest.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define LARGE_BYTES_ONE_ROOT (8ull << 20)
#define LARGE_BYTES_SPREAD   ((256ull << 10) + 1)

/* Nodes sorted by group, and by rank within it. Groups are numbered in the order of their first nodes. */
struct tl_topology {
    uint32_t node_count, group_count;
    uint32_t *group;  /* of a rank */
    uint32_t *index;  /* of a rank in its group */
    uint32_t *start;  /* of a group in members; [group_count] = node_count */
    uint32_t *member; /* ranks */
};

/* A node's place: which group in the tree's order, and which member of that group in the tree's order. */
struct spot {
    uint32_t group, member;
};

/* ---- groups ---- */

void tl_topology_free(struct tl_topology *t)
{
    if (t == NULL)
        return;
    free(t->group);
    free(t->index);
    free(t->start);
    free(t->member);
    free(t);
}

/* Numbers groups from 0 in order of appearance, and members in each. number: node_count entries of scratch. */
static void number_groups(struct tl_topology *t, const uint32_t *group_of, uint32_t *number)
{
    for (uint32_t i = 0; i < t->node_count; i++)
        number[i] = TL_RANK_NONE;
    for (uint32_t rank = 0; rank < t->node_count; rank++) {
        uint32_t *g = &number[group_of[rank]];
        if (*g == TL_RANK_NONE)
            *g = t->group_count++;
        t->group[rank] = *g;
        t->index[rank] = t->start[*g + 1]++; /* counts first */
    }
    for (uint32_t g = 0; g < t->group_count; g++)
        t->start[g + 1] += t->start[g];
    for (uint32_t rank = 0; rank < t->node_count; rank++)
        t->member[t->start[t->group[rank]] + t->index[rank]] = rank;
}

int tl_topology_new(struct tl_topology **out, const uint32_t *group_of, uint32_t node_count)
{
    for (uint32_t i = 0; i < node_count; i++)
        if (group_of[i] >= node_count)
            return -EINVAL;
    struct tl_topology *t = calloc(1, sizeof *t);
    uint32_t *number = calloc(node_count, sizeof *number);
    if (t != NULL) {
        t->node_count = node_count;
        t->group = calloc(node_count, sizeof *t->group);
        t->index = calloc(node_count, sizeof *t->index);
        t->start = calloc((size_t)node_count + 1, sizeof *t->start);
        t->member = calloc(node_count, sizeof *t->member);
    }
    int rc = t == NULL || number == NULL || t->group == NULL || t->index == NULL || t->start == NULL ||
                     t->member == NULL || node_count == 0
                 ? -ENOMEM
                 : 0;
    if (rc == 0) {
        number_groups(t, group_of, number);
        *out = t;
    } else {
        tl_topology_free(t);
    }
    free(number);
    return rc;
}

static uint32_t group_count(const struct tl_forest *f)
{
    return f->topology == NULL ? 1 : f->topology->group_count;
}

static uint32_t group_size(const struct tl_forest *f, uint32_t group)
{
    return f->topology == NULL ? f->node_count : f->topology->start[group + 1] - f->topology->start[group];
}

static uint32_t group_start(const struct tl_forest *f, uint32_t group)
{
    return f->topology == NULL ? 0 : f->topology->start[group];
}

/* ---- orders: rotations, so that different trees have different roots and inner nodes ---- */

static uint32_t rotation(const struct tl_forest *f, uint32_t tree, uint32_t count)
{
    return (uint32_t)((uint64_t)(tree % f->roots) * count / f->roots);
}

static uint32_t rotate(uint32_t at, uint32_t by, uint32_t count)
{
    return (uint32_t)(((uint64_t)at + by) % count);
}

static struct spot spot_of(const struct tl_forest *f, uint32_t tree, uint32_t rank)
{
    check(rank < f->node_count);
    uint32_t group = f->topology == NULL ? 0 : f->topology->group[rank];
    uint32_t index = f->topology == NULL ? rank : f->topology->index[rank];
    uint32_t groups = group_count(f), size = group_size(f, group);
    return (struct spot){.group = rotate(group, groups - rotation(f, tree, groups), groups),
                         .member = rotate(index, size - rotation(f, tree, size), size)};
}

static uint32_t group_at(const struct tl_forest *f, uint32_t tree, uint32_t place)
{
    uint32_t groups = group_count(f);
    return rotate(place, rotation(f, tree, groups), groups);
}

static uint32_t rank_at(const struct tl_forest *f, uint32_t tree, struct spot s)
{
    uint32_t group = group_at(f, tree, s.group), size = group_size(f, group);
    check(s.member < size);
    uint32_t index = rotate(s.member, rotation(f, tree, size), size);
    return f->topology == NULL ? index : f->topology->member[f->topology->start[group] + index];
}

/* Nodes of the groups before this one in the order of the tree. */
static uint32_t nodes_before(const struct tl_forest *f, uint32_t tree, uint32_t group_place)
{
    uint32_t first = group_start(f, group_at(f, tree, 0)), here = group_start(f, group_at(f, tree, group_place));
    return here >= first ? here - first : here + (f->node_count - first);
}

uint32_t tl_forest_place(const struct tl_forest *f, uint32_t tree, uint32_t rank)
{
    struct spot s = spot_of(f, tree, rank);
    return nodes_before(f, tree, s.group) + s.member;
}

uint32_t tl_forest_at(const struct tl_forest *f, uint32_t tree, uint32_t place)
{
    check(place < f->node_count);
    uint32_t low = 0, high = group_count(f); /* the last group that begins at or before the place */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (nodes_before(f, tree, middle) <= place)
            low = middle;
        else
            high = middle;
    }
    return rank_at(f, tree, (struct spot){.group = low, .member = place - nodes_before(f, tree, low)});
}

/* ---- shape ---- */

static bool has_large(const struct tl_forest *f)
{
    return f->arity > TL_LARGE_ARITY;
}

static uint32_t arity_of(const struct tl_forest *f, uint32_t tree)
{
    return tree < f->roots ? f->arity : TL_LARGE_ARITY;
}

/* Children of a leader among the leaders, and in its group: together the arity, but one of each at least. */
static uint32_t leader_children(const struct tl_forest *f, uint32_t tree)
{
    uint32_t half = arity_of(f, tree) / 2;
    return half > 0 ? half : 1;
}

static uint32_t member_children(const struct tl_forest *f, uint32_t tree)
{
    uint32_t arity = arity_of(f, tree), others = group_count(f) > 1 ? leader_children(f, tree) : 0;
    return arity > others ? arity - others : 1;
}

uint32_t tl_forest_trees(const struct tl_forest *f)
{
    return has_large(f) ? 2 * f->roots : f->roots;
}

uint64_t tl_forest_large_bytes(const struct tl_forest *f)
{
    return f->roots > 1 ? LARGE_BYTES_SPREAD : LARGE_BYTES_ONE_ROOT;
}

uint32_t tl_forest_tree_of(const struct tl_forest *f, struct tl_hash key, uint64_t file_size_bytes)
{
    uint32_t root = (uint32_t)(key.lo % f->roots);
    return file_size_bytes >= tl_forest_large_bytes(f) && has_large(f) ? f->roots + root : root;
}

/* False for the root. */
static bool parent_spot(const struct tl_forest *f, uint32_t tree, struct spot *s)
{
    uint32_t first = member_children(f, tree);
    if (s->member > 0)
        s->member = s->member <= first ? 0 : 1 + (s->member - first - 1) / arity_of(f, tree);
    else if (s->group > 0)
        s->group = (s->group - 1) / leader_children(f, tree);
    else
        return false;
    return true;
}

static uint32_t heap_parent(const struct tl_forest *f, uint32_t tree, uint32_t rank)
{
    struct spot s = spot_of(f, tree, rank);
    return parent_spot(f, tree, &s) ? rank_at(f, tree, s) : TL_RANK_NONE;
}

/* Is it the root of another tree? In trees of small objects, it asks the root itself; not in a chain, where all send once. */
static bool is_other_root(const struct tl_forest *f, uint32_t tree, uint32_t rank)
{
    if (tree >= f->roots || f->arity == 1)
        return false;
    for (uint32_t t = 0; t < f->roots; t++)
        if (t != tree && tl_forest_at(f, t, 0) == rank)
            return tl_forest_at(f, tree, 0) != rank;
    return false;
}

uint32_t tl_forest_parent(const struct tl_forest *f, uint32_t tree, uint32_t rank)
{
    return is_other_root(f, tree, rank) ? tl_forest_at(f, tree, 0) : heap_parent(f, tree, rank);
}

uint32_t tl_forest_depth(const struct tl_forest *f, uint32_t tree, uint32_t rank)
{
    uint32_t depth = 0;
    while ((rank = tl_forest_parent(f, tree, rank)) != TL_RANK_NONE)
        depth++;
    return depth;
}

/* Places at and below `at` in a heap of `count` whose root has `first` children and all others `arity`. The places below
 * one on each level are one run. */
static uint32_t heap_below(uint32_t at, uint32_t first, uint32_t arity, uint32_t count)
{
    if (at == 0)
        return count;
    uint64_t from = at, to = at, sum = 0;
    while (from < count) {
        sum += (to < count ? to : count - 1) - from + 1;
        from = 1 + first + (from - 1) * arity;
        to = 1 + first + (to - 1) * arity + arity - 1;
    }
    return (uint32_t)sum;
}

/* Nodes of the groups whose leaders are at and below the leader of this group. */
static uint32_t groups_below(const struct tl_forest *f, uint32_t tree, uint32_t group_place)
{
    uint32_t arity = leader_children(f, tree), count = group_count(f), sum = 0;
    uint64_t from = group_place, to = group_place;
    while (from < count) {
        for (uint64_t g = from; g <= to && g < count; g++)
            sum += group_size(f, group_at(f, tree, (uint32_t)g));
        from = from * arity + 1;
        to = to * arity + arity;
    }
    return sum;
}

static uint32_t subtree_in_heap(const struct tl_forest *f, uint32_t tree, uint32_t rank)
{
    struct spot s = spot_of(f, tree, rank);
    if (s.member == 0)
        return groups_below(f, tree, s.group);
    uint32_t size = group_size(f, group_at(f, tree, s.group));
    return heap_below(s.member, member_children(f, tree), arity_of(f, tree), size);
}

uint32_t tl_forest_subtree(const struct tl_forest *f, uint32_t tree, uint32_t rank)
{
    uint32_t count = subtree_in_heap(f, tree, rank);
    if (tree >= f->roots || tl_forest_place(f, tree, rank) == 0)
        return count;
    for (uint32_t t = 0; t < f->roots; t++) { /* those who ask the root instead, each with all below it */
        uint32_t other = tl_forest_at(f, t, 0), at = other, seen = 0;
        while (tl_forest_at(f, seen, 0) != other) /* small groups may be the first of several trees */
            seen++;
        if (seen < t || !is_other_root(f, tree, other))
            continue;
        do
            at = heap_parent(f, tree, at);
        while (at != rank && at != TL_RANK_NONE && !is_other_root(f, tree, at));
        if (at == rank)
            count -= subtree_in_heap(f, tree, other);
    }
    return count;
}

uint32_t tl_forest_candidates(const struct tl_forest *f, uint32_t tree, uint32_t rank,
                              uint32_t out[TL_FOREST_CANDIDATES_MAX])
{
    uint32_t count = 0, place = tl_forest_place(f, tree, rank), at = rank;
    while (count < TL_FOREST_CANDIDATES_MAX - TL_FOREST_STANDINS &&
           (at = tl_forest_parent(f, tree, at)) != TL_RANK_NONE)
        out[count++] = at;
    for (uint32_t i = 0; i < TL_FOREST_STANDINS && i < place; i++) {
        uint32_t standin = tl_forest_at(f, tree, i);
        bool listed = false;
        for (uint32_t k = 0; k < count; k++)
            listed |= out[k] == standin;
        if (!listed)
            out[count++] = standin;
    }
    return count;
}

/* ---- choosing ---- */

#define MIB             (1ull << 20)
#define START_BYTES     (64 * MIB)   /* what a program's start reads: between the imports of NumPy and of PyTorch */
#define SMALL_BYTES     (16 * MIB)   /* of it, in listings and files of one chunk */
#define DATA_BYTES      (2048 * MIB) /* what the program reads then: a model, an input */
#define START_STEPS     1000u        /* reads that wait for the one before */
#define LINK_DEFAULT    (100000000000ull / 8)
#define STORAGE_DEFAULT (5000 * MIB)
#define HOP_DEFAULT_NS  50000u
#define HOP_SENDS       8u /* a child more takes this part of a hop */
#define LATE_STEPS      8u /* one step of so many waits for the whole depth: nobody has asked before */
#define NODES_A_ROOT    8u /* fewer are not worth a further root */
#define NS_PER_S        1000000000ull

static uint64_t ns_at(uint64_t bytes, uint64_t bytes_per_s)
{
    return bytes * NS_PER_S / bytes_per_s;
}

/* What a root sends while a program starts; other nodes send less. */
static uint64_t root_sends(const struct tl_forest *f)
{
    uint64_t copies = f->arity + f->roots - 1; /* of small objects: to its children, and to the other roots */
    uint64_t large = f->roots > 1 ? 1 : TL_LARGE_ARITY;
    return has_large(f) ? SMALL_BYTES * copies / f->roots + (START_BYTES - SMALL_BYTES) * large
                        : START_BYTES * copies / f->roots;
}

/* A program's start: its steps wait for each other, for those on the roots from root to root. Then its data: through all roots
 * at once, each of which sends them twice. */
static uint64_t start_ns(const struct tl_forest *f, const struct tl_forest_speeds *speeds)
{
    uint64_t depth = tl_forest_depth(f, 0, tl_forest_at(f, 0, f->node_count - 1));
    uint64_t ahead_ns = START_STEPS * speeds->hop_ns * (f->roots - 1) / f->roots;
    uint64_t late_ns = START_STEPS / LATE_STEPS * depth * (speeds->hop_ns + speeds->hop_ns * f->arity / HOP_SENDS);
    uint64_t roots_bytes_per_s = f->roots * speeds->link_bytes_per_s / TL_LARGE_ARITY;
    uint64_t storage_bytes_per_s = speeds->storage_bytes_per_s;
    return ahead_ns + late_ns + ns_at(root_sends(f), speeds->link_bytes_per_s) +
           ns_at(DATA_BYTES, roots_bytes_per_s < storage_bytes_per_s ? roots_bytes_per_s : storage_bytes_per_s);
}

/* A root sends at most twice what it receives, and its share: the arity times what all receive, divided by the roots; both with a
 * margin for files of different sizes. Not asked of few nodes, which have one root. */
static bool is_even(const struct tl_forest *f)
{
    uint64_t most = root_sends(f) + root_sends(f) / 4;
    return f->node_count < 2 * NODES_A_ROOT || (most <= 2 * START_BYTES && most <= START_BYTES * f->arity / f->roots);
}

void tl_forest_choose(struct tl_forest *f, const struct tl_forest_speeds *given)
{
    struct tl_forest_speeds speeds = *given;
    speeds.link_bytes_per_s = speeds.link_bytes_per_s == 0 ? LINK_DEFAULT : speeds.link_bytes_per_s;
    speeds.storage_bytes_per_s = speeds.storage_bytes_per_s == 0 ? STORAGE_DEFAULT : speeds.storage_bytes_per_s;
    speeds.hop_ns = speeds.hop_ns == 0 ? HOP_DEFAULT_NS : speeds.hop_ns;
    struct tl_forest best = *f;
    uint64_t best_ns = UINT64_MAX;
    bool best_even = false;
    for (uint32_t roots = 1; roots <= TL_FOREST_ROOTS_MAX; roots *= 2)
        for (uint32_t arity = 2; arity <= 32; arity *= 2) {
            struct tl_forest next = *f;
            next.roots = f->roots != 0 ? f->roots : roots;
            next.arity = f->arity != 0 ? f->arity : arity;
            if (f->roots == 0 && roots > 1 && roots * NODES_A_ROOT > f->node_count)
                continue;
            uint64_t ns = start_ns(&next, &speeds);
            bool even = is_even(&next);
            if (even > best_even || (even == best_even && ns < best_ns)) {
                best = next;
                best_ns = ns;
                best_even = even;
            }
        }
    *f = best;
}
