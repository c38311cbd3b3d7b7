// SPDX-License-Identifier: Apache-2.0
/* Requests in work, and those that kill; see guard.h. */
#include "front/fuse/guard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PROBES 8u /* places a request may have. When all are taken it is not remembered, and then cannot be given up */

enum { ARRIVED, WAITS, IN_WORK };

void tl_guard_init(struct tl_guard *g, struct tl_keep_head *head)
{
    *g = (struct tl_guard){.head = head};
    g->suspects.last = &g->suspects.first;
    g->others.last = &g->others.first;
}

void tl_guard_fini(struct tl_guard *g)
{
    for (struct tl_guard_message *m; (m = tl_guard_any(g)) != NULL;)
        free(m);
}

void tl_guard_died(struct tl_guard *g, bool crashed)
{
    for (uint32_t i = 0; i < TL_KEEP_IN_WORK_MAX; i++) {
        struct tl_keep_work *w = &g->head->work[i];
        if (w->unique == 0)
            continue;
        if (crashed && w->state == IN_WORK)
            w->deaths++;
        w->state = ARRIVED;
        /* Those that were answered after all are not sent again; they must not keep their places. */
        if (w->deaths == 0 || w->deaths > TL_GUARD_GIVE_UP)
            w->unique = 0;
    }
}

/* The place of `unique` that holds `wanted`: itself, or 0 for a free one. */
static struct tl_keep_work *find(struct tl_guard *g, uint64_t unique, uint64_t wanted)
{
    uint64_t home = unique * 0x9e3779b97f4a7c15ull >> 32;
    for (uint32_t probe = 0; probe < PROBES; probe++) {
        struct tl_keep_work *w = &g->head->work[(home + probe) & (TL_KEEP_IN_WORK_MAX - 1)];
        if (w->unique == wanted)
            return w;
    }
    return NULL;
}

enum tl_guard_verdict tl_guard_begin(struct tl_guard *g, uint64_t unique)
{
    unique &= ~TL_FUSE_UNIQUE_RESEND;
    struct tl_keep_work *w = find(g, unique, unique);
    if (w == NULL && (w = find(g, unique, 0)) == NULL)
        return g->suspect != 0 || g->suspects.first != NULL ? TL_GUARD_WAIT : TL_GUARD_SERVE;
    if (w->unique != unique) {
        w->deaths = 0;
        w->state = ARRIVED;
        w->unique = unique;
    }
    if (w->deaths >= TL_GUARD_GIVE_UP)
        return TL_GUARD_REFUSE;
    bool suspect = w->deaths == TL_GUARD_SUSPECT;
    w->state = WAITS;
    if (g->suspect != 0 || (suspect ? g->in_work > 0 : g->suspects.first != NULL))
        return TL_GUARD_WAIT;
    if (suspect)
        g->suspect = unique;
    w->state = IN_WORK;
    g->in_work++;
    return TL_GUARD_SERVE;
}

void tl_guard_end(struct tl_guard *g, uint64_t unique)
{
    unique &= ~TL_FUSE_UNIQUE_RESEND;
    struct tl_keep_work *w = find(g, unique, unique);
    if (w == NULL)
        return;
    if (w->state == IN_WORK)
        g->in_work--;
    w->unique = 0;
    if (g->suspect == unique)
        g->suspect = 0;
}

int tl_guard_defer(struct tl_guard *g, uint64_t unique, const void *message, size_t size)
{
    const struct tl_keep_work *w = find(g, unique & ~TL_FUSE_UNIQUE_RESEND, unique & ~TL_FUSE_UNIQUE_RESEND);
    struct tl_guard_queue *q = w != NULL && w->deaths == TL_GUARD_SUSPECT ? &g->suspects : &g->others;
    struct tl_guard_message *m = malloc(sizeof *m + size);
    if (m == NULL)
        return -ENOMEM;
    m->next = NULL;
    m->size = size;
    memcpy(m->bytes, message, size);
    *q->last = m;
    q->last = &m->next;
    return 0;
}

static struct tl_guard_message *take_first(struct tl_guard_queue *q)
{
    struct tl_guard_message *m = q->first;
    if (m != NULL && (q->first = m->next) == NULL)
        q->last = &q->first;
    return m;
}

struct tl_guard_message *tl_guard_next(struct tl_guard *g)
{
    if (g->suspect != 0 || (g->suspects.first != NULL && g->in_work > 0))
        return NULL;
    return tl_guard_any(g);
}

struct tl_guard_message *tl_guard_any(struct tl_guard *g)
{
    return take_first(g->suspects.first != NULL ? &g->suspects : &g->others);
}
