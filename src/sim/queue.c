// SPDX-License-Identifier: Apache-2.0
#include "sim/queue.h"

#include <stdlib.h>
#include <string.h>

#include "sim/memory.h"

#define ARITY          4u
#define CAPACITY_FIRST 1024u

void tl_queue_init(struct tl_queue *q)
{
    memset(q, 0, sizeof *q);
}

void tl_queue_fini(struct tl_queue *q)
{
    free(q->items);
    memset(q, 0, sizeof *q);
}

static bool before(const struct tl_sim_event *a, const struct tl_sim_event *b)
{
    return a->time_ns != b->time_ns ? a->time_ns < b->time_ns : a->seq < b->seq;
}

void tl_queue_push(struct tl_queue *q, const struct tl_sim_event *ev)
{
    if (q->count == q->capacity) {
        q->capacity = q->capacity == 0 ? CAPACITY_FIRST : q->capacity * 2;
        q->items = tl_sim_realloc(q->items, q->capacity, sizeof *q->items);
    }
    struct tl_sim_event item = *ev;
    item.seq = q->next_seq++;
    size_t at = q->count++;
    if (q->count > q->high_water)
        q->high_water = q->count;
    while (at > 0) {
        size_t parent = (at - 1) / ARITY;
        if (!before(&item, &q->items[parent]))
            break;
        q->items[at] = q->items[parent];
        at = parent;
    }
    q->items[at] = item;
}

/* The smallest child of `at`, or count when there is none. */
static size_t smallest_child(const struct tl_queue *q, size_t at)
{
    size_t first = at * ARITY + 1;
    if (first >= q->count)
        return q->count;
    size_t end = first + ARITY < q->count ? first + ARITY : q->count;
    size_t best = first;
    for (size_t i = first + 1; i < end; i++)
        if (before(&q->items[i], &q->items[best]))
            best = i;
    return best;
}

bool tl_queue_pop(struct tl_queue *q, struct tl_sim_event *out)
{
    if (q->count == 0)
        return false;
    *out = q->items[0];
    q->count--;
    struct tl_sim_event item = q->items[q->count];
    size_t at = 0;
    for (size_t child = smallest_child(q, at); child < q->count; child = smallest_child(q, at)) {
        if (!before(&q->items[child], &item))
            break;
        q->items[at] = q->items[child];
        at = child;
    }
    q->items[at] = item;
    return true;
}

uint64_t tl_queue_next_ns(const struct tl_queue *q)
{
    return q->count == 0 ? UINT64_MAX : q->items[0].time_ns;
}
