// SPDX-License-Identifier: Apache-2.0
/* Requests in work, and those that kill; see guard.h. */
#include "front/fuse/guard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PROBES 8u /* places a request may have. When all are taken it is not remembered: it then cannot be given up */

void tl_guard_init(struct tl_guard *g, struct tl_keep_head *head)
{
    *g = (struct tl_guard){.head = head, .last = &g->first};
}

void tl_guard_fini(struct tl_guard *g)
{
    for (struct tl_guard_message *m = g->first, *next; m != NULL; m = next) {
        next = m->next;
        free(m);
    }
    *g = (struct tl_guard){.last = &g->first};
}

void tl_guard_died(struct tl_guard *g, bool crashed)
{
    for (uint32_t i = 0; i < TL_KEEP_IN_WORK_MAX; i++) {
        struct tl_keep_work *w = &g->head->work[i];
        if (w->unique == 0)
            continue;
        if (crashed && w->waits == 0)
            w->deaths++;
        w->waits = 0;
        /* Those that were answered after all are not sent again; they must not keep their places. */
        if (w->deaths == 0 || w->deaths > TL_GUARD_GIVE_UP)
            w->unique = 0;
    }
}

static struct tl_keep_work *place(struct tl_guard *g, uint64_t unique, uint32_t probe)
{
    uint64_t home = unique * 0x9e3779b97f4a7c15ull >> 32;
    return &g->head->work[(home + probe) & (TL_KEEP_IN_WORK_MAX - 1)];
}

/* The place of `unique` that holds `wanted`: itself, or 0 for a free one. */
static struct tl_keep_work *find(struct tl_guard *g, uint64_t unique, uint64_t wanted)
{
    for (uint32_t probe = 0; probe < PROBES; probe++)
        if (place(g, unique, probe)->unique == wanted)
            return place(g, unique, probe);
    return NULL;
}

enum tl_guard_verdict tl_guard_begin(struct tl_guard *g, uint64_t unique)
{
    unique &= ~TL_FUSE_UNIQUE_RESEND;
    struct tl_keep_work *w = find(g, unique, unique);
    if (w == NULL && (w = find(g, unique, 0)) == NULL)
        return TL_GUARD_SERVE;
    if (w->unique != unique) {
        w->deaths = w->waits = 0;
        w->unique = unique;
    }
    w->waits = w->deaths == TL_GUARD_SUSPECT && g->suspect != 0;
    if (w->waits)
        return TL_GUARD_WAIT;
    if (w->deaths >= TL_GUARD_GIVE_UP)
        return TL_GUARD_REFUSE;
    if (w->deaths == TL_GUARD_SUSPECT)
        g->suspect = unique;
    return TL_GUARD_SERVE;
}

void tl_guard_end(struct tl_guard *g, uint64_t unique)
{
    unique &= ~TL_FUSE_UNIQUE_RESEND;
    struct tl_keep_work *w = find(g, unique, unique);
    if (w != NULL)
        w->unique = 0;
    if (g->suspect == unique)
        g->suspect = 0;
}

int tl_guard_defer(struct tl_guard *g, const void *message, size_t size)
{
    struct tl_guard_message *m = malloc(sizeof *m + size);
    if (m == NULL)
        return -ENOMEM;
    m->next = NULL;
    m->size = size;
    memcpy(m->bytes, message, size);
    *g->last = m;
    g->last = &m->next;
    return 0;
}

struct tl_guard_message *tl_guard_next(struct tl_guard *g)
{
    struct tl_guard_message *m = g->suspect == 0 ? g->first : NULL;
    if (m != NULL) {
        g->first = m->next;
        if (g->first == NULL)
            g->last = &g->first;
    }
    return m;
}
