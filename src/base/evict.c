// SPDX-License-Identifier: Apache-2.0
/* S3-FIFO over numbered slots; see evict.h.
 *
 * A list is two queues, newest at the head. Each slot has its two neighbours, its queue and its weight. The ghosts are a table of
 * buckets: a fingerprint and the number of the eviction that put it there; it is old when as many others have left since
 * as the lists hold now. */
#include "base/evict.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NONE        TL_EVICT_NONE
#define STEPS_MAX   128u /* slots that one search passes over: then the next one goes, used or not */
#define SMALL_SHARE 10u  /* the small queue is to have one part in so many */
#define GHOST_WAYS  4u

struct node {
    uint32_t newer, older;
    uint32_t weight;
    uint32_t
        queue; /* 0: in no list; else 1 + list * 2 + (1: main), so that slots that were never used cost no memory */
    uint32_t print; /* of its key */
};

struct queue {
    uint32_t newest, oldest;
    uint32_t count;
    uint64_t weight;
};

struct ghost {
    uint32_t print; /* 0: none */
    uint32_t born;
};

struct tl_evict {
    uint32_t capacity, lists;
    _Atomic uint8_t *uses, *own_uses;
    struct node *nodes;
    struct queue *queues; /* two a list: small, main */
    struct ghost *ghosts;
    uint32_t ghost_mask; /* buckets - 1 */
    uint32_t ghost_clock;
    uint32_t listed;
};

int tl_evict_new(struct tl_evict **out, uint32_t capacity, uint32_t lists, _Atomic uint8_t *uses)
{
    check(capacity > 0 && capacity < NONE && lists > 0 && lists <= TL_EVICT_LISTS_MAX);
    uint32_t buckets = 1;
    while (buckets < capacity / GHOST_WAYS)
        buckets *= 2;
    struct tl_evict *e = calloc(1, sizeof *e);
    if (e == NULL)
        return -ENOMEM;
    e->capacity = capacity;
    e->lists = lists;
    e->ghost_mask = buckets - 1;
    e->nodes = calloc(capacity, sizeof *e->nodes);
    e->queues = malloc(2 * lists * sizeof *e->queues);
    e->ghosts = calloc((size_t)buckets * GHOST_WAYS, sizeof *e->ghosts);
    e->own_uses = uses == NULL ? calloc(capacity, 1) : NULL;
    e->uses = uses == NULL ? e->own_uses : uses;
    if (e->nodes == NULL || e->queues == NULL || e->ghosts == NULL || e->uses == NULL) {
        tl_evict_free(e);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < 2 * lists; i++)
        e->queues[i] = (struct queue){.newest = NONE, .oldest = NONE};
    *out = e;
    return 0;
}

void tl_evict_free(struct tl_evict *e)
{
    if (e == NULL)
        return;
    free(e->nodes);
    free(e->queues);
    free(e->ghosts);
    free((void *)(uintptr_t)e->own_uses);
    free(e);
}

/* ---- queues ---- */

static void push(struct tl_evict *e, uint32_t queue, uint32_t slot)
{
    struct queue *q = &e->queues[queue];
    struct node *n = &e->nodes[slot];
    n->queue = queue + 1;
    n->newer = NONE;
    n->older = q->newest;
    if (q->newest != NONE)
        e->nodes[q->newest].newer = slot;
    else
        q->oldest = slot;
    q->newest = slot;
    q->count++;
    q->weight += n->weight;
    e->listed++;
}

static void take(struct tl_evict *e, uint32_t slot)
{
    struct node *n = &e->nodes[slot];
    check(n->queue != 0);
    struct queue *q = &e->queues[n->queue - 1];
    check(q->count > 0 && q->weight >= n->weight);
    if (n->newer != NONE)
        e->nodes[n->newer].older = n->older;
    else
        q->newest = n->older;
    if (n->older != NONE)
        e->nodes[n->older].newer = n->newer;
    else
        q->oldest = n->newer;
    q->count--;
    q->weight -= n->weight;
    n->queue = 0;
    e->listed--;
}

/* ---- ghosts ---- */

static struct ghost *bucket_of(const struct tl_evict *e, uint32_t print)
{
    return &e->ghosts[(size_t)(print * 0x9e3779b1u >> 7 & e->ghost_mask) * GHOST_WAYS];
}

static void remember(struct tl_evict *e, uint32_t print)
{
    struct ghost *b = bucket_of(e, print), *oldest = b;
    e->ghost_clock++;
    for (uint32_t i = 0; i < GHOST_WAYS; i++) {
        if (b[i].print == 0 || b[i].print == print) {
            oldest = &b[i];
            break;
        }
        if (e->ghost_clock - b[i].born > e->ghost_clock - oldest->born)
            oldest = &b[i];
    }
    *oldest = (struct ghost){.print = print, .born = e->ghost_clock};
}

/* True, and forgets it: it left not long ago. */
static int comes_back(struct tl_evict *e, uint32_t print)
{
    struct ghost *b = bucket_of(e, print);
    for (uint32_t i = 0; i < GHOST_WAYS; i++)
        if (b[i].print == print) {
            b[i].print = 0;
            return e->ghost_clock - b[i].born <= e->listed;
        }
    return 0;
}

/* ---- the policy ---- */

void tl_evict_insert(struct tl_evict *e, uint32_t list, uint32_t slot, uint32_t weight, uint64_t key)
{
    check(list < e->lists && slot < e->capacity);
    struct node *n = &e->nodes[slot];
    check(n->queue == 0);
    n->weight = weight;
    n->print = (uint32_t)(key ^ key >> 32) | 1;
    atomic_store_explicit(&e->uses[slot], 0, memory_order_relaxed); /* a hint: orders nothing */
    push(e, list * 2 + (uint32_t)comes_back(e, n->print), slot);
}

void tl_evict_remove(struct tl_evict *e, uint32_t slot)
{
    check(slot < e->capacity);
    if (e->nodes[slot].queue != 0)
        take(e, slot);
}

/* The small queue's oldest leaves, unless it has been used more than once. NONE: none left. */
static uint32_t from_small(struct tl_evict *e, uint32_t list, uint32_t *steps)
{
    const struct queue *q = &e->queues[list * 2];
    while (q->oldest != NONE) {
        uint32_t slot = q->oldest;
        take(e, slot);
        if (atomic_load_explicit(&e->uses[slot], memory_order_relaxed) <= 1 || *steps == 0) {
            remember(e, e->nodes[slot].print);
            return slot;
        }
        (*steps)--;
        atomic_store_explicit(&e->uses[slot], 0, memory_order_relaxed);
        push(e, list * 2 + 1, slot);
    }
    return NONE;
}

/* The main queue's oldest leaves, unless it has been used: then it goes round once more for each use. */
static uint32_t from_main(struct tl_evict *e, uint32_t list, uint32_t *steps)
{
    const struct queue *q = &e->queues[list * 2 + 1];
    while (q->oldest != NONE) {
        uint32_t slot = q->oldest;
        uint8_t uses = atomic_load_explicit(&e->uses[slot], memory_order_relaxed);
        take(e, slot);
        if (uses == 0 || *steps == 0)
            return slot;
        (*steps)--;
        uint8_t less = uses > TL_EVICT_USES_MAX ? TL_EVICT_USES_MAX - 1 : (uint8_t)(uses - 1);
        atomic_store_explicit(&e->uses[slot], less, memory_order_relaxed);
        push(e, list * 2 + 1, slot);
    }
    return NONE;
}

uint32_t tl_evict_victim(struct tl_evict *e, uint32_t list)
{
    check(list < e->lists);
    const struct queue *small = &e->queues[list * 2], *rest = &e->queues[list * 2 + 1];
    uint32_t steps = STEPS_MAX, slot = NONE;
    if (small->weight * SMALL_SHARE >= small->weight + rest->weight)
        slot = from_small(e, list, &steps);
    if (slot == NONE)
        slot = from_main(e, list, &steps);
    return slot != NONE ? slot : from_small(e, list, &steps);
}

void tl_evict_touch(struct tl_evict *e, uint32_t slot)
{
    check(slot < e->capacity);
    tl_evict_used(e->uses, slot);
}

uint64_t tl_evict_weight(const struct tl_evict *e, uint32_t list)
{
    return e->queues[list * 2].weight + e->queues[list * 2 + 1].weight;
}

uint32_t tl_evict_count(const struct tl_evict *e, uint32_t list)
{
    return e->queues[list * 2].count + e->queues[list * 2 + 1].count;
}

int tl_evict_listed(const struct tl_evict *e, uint32_t slot)
{
    return e->nodes[slot].queue != 0;
}
