// SPDX-License-Identifier: Apache-2.0
/* See oracle.h. */
#include "pool/oracle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- epochs ---- */

static void raise_ghce(struct oracle *o)
{
    uint64_t held = UINT64_MAX;
    for (unsigned i = 0; i < ORACLE_HANDLES; i++)
        if (o->handles[i].open && o->handles[i].lhe < held)
            held = o->handles[i].lhe;
    o->ghce = held - 1 < o->ghpce ? held - 1 : o->ghpce;
}

static void kill(struct oracle *o, unsigned h, uint64_t first, uint64_t last)
{
    for (unsigned i = 0; i < o->write_count; i++)
        if (o->writes[i].handle == o->handles[h].id && o->writes[i].epoch >= first && o->writes[i].epoch <= last)
            o->writes[i].dead = true;
}

void oracle_open(struct oracle *o, unsigned h, bool noslip)
{
    o->handles[h] = (struct oracle_handle){
        .open = true, .noslip = noslip, .id = ++o->handle_ids, .hce = o->ghce, .lre = o->ghce, .lhe = UINT64_MAX};
}

void oracle_close(struct oracle *o, unsigned h)
{
    kill(o, h, o->handles[h].hce + 1, UINT64_MAX);
    o->handles[h].open = false;
    raise_ghce(o);
}

int oracle_hold(struct oracle *o, unsigned h, uint64_t *epoch)
{
    struct oracle_handle *x = &o->handles[h];
    uint64_t low = (o->ghce > x->hce ? o->ghce : x->hce) + 1;
    if (*epoch == 0)
        *epoch = o->ghpce + 1;
    else if (*epoch < low)
        *epoch = low;
    if (*epoch > x->lhe)
        kill(o, h, x->lhe, *epoch - 1);
    x->lhe = *epoch;
    raise_ghce(o);
    return 0;
}

int oracle_commit(struct oracle *o, unsigned h, uint64_t epoch)
{
    struct oracle_handle *x = &o->handles[h];
    if (epoch == UINT64_MAX)
        return -EOVERFLOW;
    if (epoch <= x->hce)
        return 0;
    if (epoch < x->lhe)
        return -EROFS;
    x->hce = epoch;
    x->lhe = epoch + 1;
    x->lre = x->noslip || x->lre > epoch ? x->lre : epoch;
    o->ghpce = epoch > o->ghpce ? epoch : o->ghpce;
    raise_ghce(o);
    return 0;
}

int oracle_discard(struct oracle *o, unsigned h, uint64_t first, uint64_t last)
{
    if (first == UINT64_MAX)
        return -EOVERFLOW;
    if (last < first)
        return -EINVAL;
    if (first < o->handles[h].lhe)
        return -EROFS;
    kill(o, h, first, last);
    return 0;
}

int oracle_slip(struct oracle *o, unsigned h, uint64_t epoch)
{
    if (epoch == UINT64_MAX)
        return -EOVERFLOW;
    if (epoch > o->handles[h].lre)
        o->handles[h].lre = epoch;
    return 0;
}

uint64_t oracle_readable_from(const struct oracle *o)
{
    uint64_t from = o->ghce;
    for (unsigned i = 0; i < ORACLE_HANDLES; i++)
        if (o->handles[i].open && o->handles[i].lre < from)
            from = o->handles[i].lre;
    if (o->keeps != ORACLE_KEEPS_NOTHING && o->kept < from)
        from = o->kept;
    return from > o->swept ? from : o->swept;
}

static unsigned snapshot_at(const struct oracle *o, uint64_t epoch)
{
    unsigned i = 0;
    while (i < o->snapshot_count && o->snapshots[i] != epoch)
        i++;
    return i;
}

int oracle_may_read(const struct oracle *o, uint64_t epoch)
{
    return epoch >= oracle_readable_from(o) || snapshot_at(o, epoch) < o->snapshot_count ? 0 : -ESTALE;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

int oracle_snapshot(struct oracle *o, uint64_t epoch, bool create)
{
    unsigned i = snapshot_at(o, epoch);
    if (create && (epoch > o->ghce || oracle_may_read(o, epoch) != 0))
        return -ENOENT;
    if (!create && i == o->snapshot_count)
        return -ENOENT;
    if (create && i == o->snapshot_count && o->snapshot_count < ORACLE_SNAPSHOTS)
        o->snapshots[o->snapshot_count++] = epoch;
    else if (!create)
        o->snapshots[i] = o->snapshots[--o->snapshot_count];
    qsort(o->snapshots, o->snapshot_count, sizeof *o->snapshots, by_number);
    return 0;
}

void oracle_aggregate(struct oracle *o)
{
    if (o->keeps == ORACLE_KEEPS_UNTIL_SWEPT)
        o->keeps = ORACLE_KEEPS_NOTHING;
    o->swept = oracle_readable_from(o);
}

int oracle_may_write(const struct oracle *o, unsigned h, uint64_t epoch)
{
    return epoch == UINT64_MAX ? -EOVERFLOW : epoch < o->handles[h].lhe ? -EROFS : 0;
}

/* ---- objects ---- */

bool oracle_write(struct oracle *o, unsigned h, uint64_t epoch, struct oracle_write w)
{
    if (o->write_count == ORACLE_WRITES)
        return false;
    w.epoch = epoch;
    w.handle = o->handles[h].id;
    w.order = o->write_count;
    o->writes[o->write_count++] = w;
    return true;
}

uint8_t oracle_byte(const struct oracle_write *w, uint64_t i)
{
    return (uint8_t)(1 + (w->order * 37 + i * 11 + i / 253) % 255); /* never 0: that is what holes are */
}

static bool concerns(const struct oracle_write *w, struct oracle_slot s)
{
    if (w->slot.object != s.object || (w->kind != ORACLE_PUNCH_OBJECT && w->slot.dkey != s.dkey))
        return false;
    return w->kind == ORACLE_PUNCH_OBJECT || w->kind == ORACLE_PUNCH_DKEY || w->slot.akey == s.akey;
}

static int newest_first(const void *a, const void *b)
{
    const struct oracle_write *x = *(const struct oracle_write *const *)a, *y = *(const struct oracle_write *const *)b;
    if (x->epoch != y->epoch)
        return x->epoch > y->epoch ? -1 : 1;
    if (x->handle != y->handle)
        return x->handle > y->handle ? -1 : 1;
    return x->order > y->order ? -1 : x->order < y->order;
}

static bool clears(const struct oracle_write *w)
{
    return w->kind == ORACLE_CLEAR || w->kind == ORACLE_PUNCH_DKEY || w->kind == ORACLE_PUNCH_OBJECT;
}

static bool clears_all(const struct oracle_write *w)
{
    return clears(w) && (w->kind != ORACLE_CLEAR || w->count == UINT64_MAX);
}

static bool covers(const struct oracle_write *w, uint64_t record)
{
    return (clears(w) && clears_all(w)) || (record >= w->first && record - w->first < w->count);
}

/* Which of the first `count` writes is seen at a record; NULL: none. */
static const struct oracle_write *seen_at(const struct oracle_write *const *list, unsigned count, uint64_t record,
                                          bool only_clears)
{
    for (unsigned i = 0; i < count; i++)
        if ((clears(list[i]) || (!only_clears && list[i]->kind == ORACLE_ARRAY)) && covers(list[i], record))
            return list[i];
    return NULL;
}

/* Where what is seen may change: sorted, each once. */
static unsigned borders(const struct oracle_write *const *list, unsigned count, uint64_t *out)
{
    unsigned n = 0, kept = 0;
    out[n++] = 0;
    for (unsigned i = 0; i < count; i++) {
        out[n++] = list[i]->first;
        out[n++] = list[i]->first + list[i]->count;
    }
    qsort(out, n, sizeof *out, by_number);
    for (unsigned i = 0; i < n; i++)
        if (kept == 0 || out[kept - 1] != out[i])
            out[kept++] = out[i];
    return kept;
}

/* The write at list[i] is there, apart from what was written over it. */
static bool uncleared(const struct oracle_write *const *list, unsigned i, const uint64_t *border,
                      unsigned borders_count)
{
    for (unsigned b = 0; b < borders_count; b++)
        if (covers(list[i], border[b]) && seen_at(list, i, border[b], true) == NULL)
            return true;
    return false;
}

static void see_kinds(const struct oracle_write *const *list, unsigned count, const uint64_t *border,
                      unsigned border_count, struct oracle_seen *out)
{
    for (unsigned i = 0; i < count && out->view != ORACLE_MIXED; i++) {
        if (clears_all(list[i]))
            break;
        if (list[i]->kind == ORACLE_SINGLE && out->view == ORACLE_NOTHING) {
            out->view = ORACLE_VALUE;
            out->value = list[i];
        } else if (list[i]->kind == ORACLE_SINGLE && out->view == ORACLE_RECORDS) {
            out->view = ORACLE_MIXED;
        } else if (list[i]->kind == ORACLE_ARRAY && uncleared(list, i, border, border_count)) {
            if (out->view == ORACLE_VALUE || (out->view == ORACLE_RECORDS && out->record_size != list[i]->size))
                out->view = ORACLE_MIXED;
            else
                out->view = ORACLE_RECORDS;
            out->record_size = list[i]->size;
        }
    }
}

void oracle_look(const struct oracle *o, struct oracle_slot slot, uint64_t epoch, struct oracle_seen *out)
{
    static const struct oracle_write *list[ORACLE_WRITES];
    static uint64_t border[2 * ORACLE_WRITES + 1];
    unsigned count = 0;
    for (unsigned i = 0; i < o->write_count; i++)
        if (!o->writes[i].dead && o->writes[i].epoch <= epoch && concerns(&o->writes[i], slot))
            list[count++] = &o->writes[i];
    qsort(list, count, sizeof *list, newest_first);
    unsigned border_count = borders(list, count, border);
    out->view = ORACLE_NOTHING;
    out->value = NULL;
    out->record_size = 0;
    out->count = 0;
    see_kinds(list, count, border, border_count, out);
    if (out->view != ORACLE_RECORDS)
        return;
    for (unsigned i = 0; i < border_count; i++) {
        const struct oracle_write *w = seen_at(list, count, border[i], false);
        uint64_t n = (i + 1 < border_count ? border[i + 1] : UINT64_MAX) - border[i];
        struct oracle_piece *last = out->count > 0 ? &out->pieces[out->count - 1] : NULL;
        if (w == NULL || clears(w))
            continue;
        if (last != NULL && last->write == w && last->first + last->count == border[i])
            last->count += n;
        else
            out->pieces[out->count++] = (struct oracle_piece){border[i], n, w};
    }
    if (out->count == 0)
        out->view = ORACLE_NOTHING;
}

enum oracle_view oracle_view(const struct oracle *o, struct oracle_slot slot, uint64_t epoch)
{
    static struct oracle_seen seen;
    oracle_look(o, slot, epoch, &seen);
    return seen.view;
}
