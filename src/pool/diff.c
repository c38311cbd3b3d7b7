// SPDX-License-Identifier: Apache-2.0
/* What is different between two epochs. Each value of which there is any record is looked at, at both of them: the same version is the same. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/internal.h"

struct diff {
    struct tl_cont *c;
    uint64_t epochs[2];
    struct tl_clears clears[2];
    struct tiercel_oid oid;
    struct tiercel_bytes dkey, akey;
    int (*fn)(void *ctx, const struct tiercel_change *change);
    void *ctx;
};

/* ---- one chunk of an array at one epoch ---- */

struct seen {
    struct tl_version version;
    uint64_t first, end;
};
struct seen_list {
    struct seen *list;
    size_t count, room;
};

static int keep(void *ctx, const struct tl_piece *p)
{
    struct seen_list *l = ctx;
    if (l->count == l->room) {
        struct seen *grown = reallocarray(l->list, l->room * 2 + 16, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        l->list = grown;
        l->room = l->room * 2 + 16;
    }
    l->list[l->count++] = (struct seen){p->version, p->first, p->first + p->count};
    return 0;
}

static int by_first(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* The piece that holds record `at`, or NULL; *next: where that answer ends. */
static const struct seen *piece_at(const struct seen_list *l, size_t *i, uint64_t at, uint64_t *next)
{
    while (*i < l->count && l->list[*i].end <= at)
        ++*i;
    if (*i == l->count)
        return NULL;
    const struct seen *p = &l->list[*i];
    uint64_t until = p->first <= at ? p->end : p->first;
    *next = until < *next ? until : *next;
    return p->first <= at ? p : NULL;
}

static int tell(struct diff *d, struct tiercel_change *c)
{
    int rc = c->extent.count == 0 ? 0 : d->fn(d->ctx, c);
    c->extent.count = 0;
    return rc;
}

/* Walks both lists side by side; neighbours that changed in the same way are told as one. */
static int compare(struct diff *d, const struct seen_list l[2], uint64_t from, uint64_t to,
                   struct tiercel_change *change)
{
    size_t i[2] = {0, 0};
    int rc = 0;
    for (uint64_t at = from, next = to; rc == 0 && at < to; at = next, next = to) {
        const struct seen *a = piece_at(&l[0], &i[0], at, &next), *b = piece_at(&l[1], &i[1], at, &next);
        bool same = (a == NULL) == (b == NULL) && (a == NULL || tl_version_compare(&a->version, &b->version) == 0);
        bool joins = change->extent.count > 0 && change->extent.first + change->extent.count == at &&
                     change->before == (a != NULL) && change->after == (b != NULL);
        if (same)
            continue;
        if (!joins) {
            rc = tell(d, change);
            change->extent.first = at;
            change->before = a != NULL;
            change->after = b != NULL;
        }
        change->extent.count += next - at;
    }
    return rc;
}

static int diff_chunk(struct diff *d, uint64_t chunk, uint32_t record_size, struct tiercel_change *change)
{
    uint64_t per = tl_chunk_records(record_size);
    struct seen_list l[2] = {{.list = NULL}, {.list = NULL}};
    int rc = 0;
    for (int i = 0; rc == 0 && i < 2; i++) {
        rc = tl_chunk_look(d->c, d->epochs[i], d->oid, d->dkey, d->akey, &d->clears[i], record_size, chunk * per, per,
                           keep, &l[i]);
        if (l[i].count > 1)
            qsort(l[i].list, l[i].count, sizeof *l[i].list, by_first);
    }
    rc = rc == 0 ? compare(d, l, chunk * per, (chunk + 1) * per, change) : rc;
    free(l[0].list);
    free(l[1].list);
    return rc;
}

static int diff_array(struct diff *d, uint32_t record_size)
{
    struct tiercel_change change = {.oid = d->oid, .dkey = d->dkey, .akey = d->akey, .array = 1};
    int rc = 0;
    for (uint64_t from = 0; rc == 0;) {
        uint64_t at[2] = {from, from};
        uint32_t size;
        int there[2];
        for (int i = 0; i < 2; i++)
            there[i] = tl_next_chunk(d->c, d->epochs[i], d->oid, d->dkey, d->akey, &d->clears[i], &at[i], &size);
        if ((there[0] != 0 && there[0] != -ENOENT) || (there[1] != 0 && there[1] != -ENOENT))
            return there[0] != 0 && there[0] != -ENOENT ? there[0] : there[1];
        if (there[0] != 0 && there[1] != 0)
            break;
        uint64_t chunk = there[0] != 0 ? at[1] : there[1] != 0 ? at[0] : at[0] < at[1] ? at[0] : at[1];
        rc = diff_chunk(d, chunk, record_size, &change);
        if (chunk == UINT64_MAX)
            break;
        from = chunk + 1;
    }
    return rc == 0 ? tell(d, &change) : rc;
}

/* ---- one value ---- */

enum what { NOTHING, SINGLE, ARRAY };

static int diff_value(struct diff *d)
{
    enum what what[2] = {NOTHING, NOTHING};
    uint32_t sizes[2] = {0, 0};
    struct tl_single single[2];
    int rc = 0;
    for (int i = 0; rc == 0 && i < 2; i++) {
        uint64_t chunk = 0;
        rc = tl_next_chunk(d->c, d->epochs[i], d->oid, d->dkey, d->akey, &d->clears[i], &chunk, &sizes[i]);
        if (rc == 0)
            what[i] = sizes[i] == 0 ? SINGLE : ARRAY;
        rc = rc == -ENOENT ? 0 : rc;
        if (rc == 0 && what[i] == SINGLE)
            rc = tl_single_find(d->c, d->epochs[i], d->oid, d->dkey, d->akey, &d->clears[i], &single[i]);
    }
    if (rc != 0 || (what[0] == NOTHING && what[1] == NOTHING))
        return rc;
    bool arrays = what[0] != SINGLE && what[1] != SINGLE,
         same_size = sizes[0] == sizes[1] || sizes[0] == 0 || sizes[1] == 0;
    if (arrays && same_size)
        return diff_array(d, sizes[0] != 0 ? sizes[0] : sizes[1]);
    if (what[0] == SINGLE && what[1] == SINGLE && tl_version_compare(&single[0].version, &single[1].version) == 0)
        return 0;
    const struct tiercel_change change = {.oid = d->oid,
                                          .dkey = d->dkey,
                                          .akey = d->akey,
                                          .array = arrays,
                                          .before = what[0] != NOTHING,
                                          .after = what[1] != NOTHING};
    return d->fn(d->ctx, &change);
}

/* ---- all values ---- */

static int see_value(void *ctx, const struct tl_found *f)
{
    int rc = tl_key_parse(f->key, ctx);
    return rc != 0 ? rc : 1;
}

/* The first record of a value from the key on; passes over punches. 1, 0: there is none. */
static int next_value(struct tl_cont *c, struct tl_key *from, struct tl_key_view *out)
{
    struct tl_store *s = c->pool->shared->store;
    for (;;) {
        int rc = s->ops->scan(s, &c->id, (struct tl_slice){"", 0}, tl_key_slice(from), see_value, out);
        if (rc != 1 || out->tag == TL_TAG_VALUE)
            return rc;
        tl_key_begin(from, out->oid, TL_TAG_VALUE);
    }
}

int tl_cont_diff(struct tl_cont *c, uint64_t from, uint64_t to,
                 int (*fn)(void *ctx, const struct tiercel_change *change), void *ctx)
{
    struct diff d = {.c = c, .fn = fn, .ctx = ctx};
    struct tl_key at = {.len = 0};
    struct tl_key_view v;
    int rc = tl_cont_refresh(c);
    rc = rc == 0 ? tl_cont_read_epoch(c, from, 0, &d.epochs[0]) : rc;
    rc = rc == 0 ? tl_cont_read_epoch(c, to, 0, &d.epochs[1]) : rc;
    rc = rc == 0 && (d.epochs[0] > c->state.epochs.ghce || d.epochs[1] > c->state.epochs.ghce) ? tl_cont_settle(c) : rc;
    while (rc == 0) {
        rc = next_value(c, &at, &v);
        if (rc != 1)
            return rc;
        d.oid = v.oid;
        d.dkey = (struct tiercel_bytes){v.dkey.bytes, v.dkey.len};
        d.akey = (struct tiercel_bytes){v.akey.bytes, v.akey.len};
        rc = tl_clears_gather(c, d.epochs[0], d.oid, d.dkey, d.akey, TL_MET_PAGE, &d.clears[0]);
        if (rc != 0)
            return rc;
        rc = tl_clears_gather(c, d.epochs[1], d.oid, d.dkey, d.akey, TL_MET_PAGE, &d.clears[1]);
        rc = rc == 0 ? diff_value(&d) : rc;
        tl_clears_free(&d.clears[0]);
        tl_clears_free(&d.clears[1]);
        tl_key_begin(&at, d.oid, TL_TAG_VALUE);
        int added = tl_key_add_name(&at, d.dkey);
        added = added == 0 ? tl_key_add_name(&at, d.akey) : added;
        tl_key_behind(&at);
        rc = rc == 0 ? added : rc;
    }
    return rc;
}
