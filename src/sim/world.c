// SPDX-License-Identifier: Apache-2.0
#include "sim/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

void tl_world_init(struct tl_world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->seed = seed;
    tl_queue_init(&w->queue);
}

void tl_world_fini(struct tl_world *w)
{
    tl_queue_fini(&w->queue);
}

void tl_world_handle(struct tl_world *w, enum tl_world_kind kind, tl_world_fn fn, void *ctx)
{
    check(kind < TL_WORLD_KINDS);
    w->handlers[kind].fn = fn;
    w->handlers[kind].ctx = ctx;
}

void tl_world_at(struct tl_world *w, uint64_t time_ns, enum tl_world_kind kind, uint32_t node, uint16_t tag, void *ptr)
{
    check(time_ns >= w->now_ns);
    struct tl_sim_event ev = {.time_ns = time_ns, .ptr = ptr, .node = node, .kind = (uint16_t)kind, .tag = tag};
    tl_queue_push(&w->queue, &ev);
}

bool tl_world_step(struct tl_world *w)
{
    struct tl_sim_event ev;
    if (!tl_queue_pop(&w->queue, &ev))
        return false;
    check(ev.time_ns >= w->now_ns);
    w->now_ns = ev.time_ns;
    w->events++;
    check(w->handlers[ev.kind].fn != NULL);
    w->handlers[ev.kind].fn(w->handlers[ev.kind].ctx, &ev);
    return true;
}

void tl_world_run_until(struct tl_world *w, uint64_t time_ns)
{
    while (tl_queue_next_ns(&w->queue) <= time_ns)
        tl_world_step(w);
    if (time_ns > w->now_ns)
        w->now_ns = time_ns;
}

void tl_world_violation(struct tl_world *w, const char *fmt, ...)
{
    w->violations++;
    if (w->violations > 1)
        return;
    w->violation_ns = w->now_ns;
    va_list args;
    va_start(args, fmt);
    vsnprintf(w->violation, sizeof w->violation, fmt, args);
    va_end(args);
}
