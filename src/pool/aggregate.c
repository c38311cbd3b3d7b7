// SPDX-License-Identifier: Apache-2.0
/* Aggregation: erases records that nobody can read any more.
 *
 * Readable are the snapshots below G, and everything from G on, the lowest epoch that anybody refers to. So a record at or below G is needed if it is
 * seen at G or at one of the snapshots, and only then. What tombstones cover is needed nowhere.
 *
 * First all records are looked at, thing by thing, in the order of their keys. Then the punches: one that hides nothing any more goes, too. At
 * last the tombstones go of handles that are closed, of which no process is left that could still write a record: such a process has a mark, and
 * we look for these before the transaction that begins the work, since it takes over all that was flushed before. Where a process may lose its mark
 * and live on, what it still sends is fenced off before that.
 *
 * Any of it may be interrupted and done again: every step by itself leaves what can be read as it was. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/internal.h"

#define BATCH 512u  /* keys that are erased together */
#define STEP  2048u /* records that one call looks at, or a few more */

/* ---- what goes ---- */

struct eraser {
    struct tl_cont *c;
    struct tl_aggregation *a;
    size_t count;
    struct tl_slice keys[BATCH];
    uint8_t bytes[BATCH][TL_STORE_KEY_MAX];
};

static int erase_now(struct eraser *e)
{
    struct tl_store *s = e->c->pool->shared->store;
    int rc = e->count == 0 ? 0 : s->ops->erase(s, &e->c->id, e->keys, e->count);
    if (rc == 0)
        e->a->done.records += e->count;
    e->count = 0;
    return rc;
}

static int erase(struct eraser *e, struct tl_slice key, uint32_t payload_len)
{
    int rc = e->count == BATCH ? erase_now(e) : 0;
    if (rc != 0)
        return rc;
    memcpy(e->bytes[e->count], key.at, key.len);
    e->keys[e->count] = (struct tl_slice){e->bytes[e->count], key.len};
    e->count++;
    e->a->done.bytes += payload_len;
    return 0;
}

/* ---- one thing: all records whose keys differ only in their versions ---- */

struct one {
    struct tl_version version;
    struct tl_meta meta;
    uint32_t payload_len;
    bool counts, needed;
};

struct thing {
    struct tl_cont *c;
    struct tl_key_view at; /* its first record's */
    uint8_t bytes[TL_STORE_KEY_MAX];
    size_t len; /* of the part of the key that all have */
    struct one *list;
    size_t count, room;
};

static int see(void *ctx, const struct tl_found *f)
{
    struct thing *t = ctx;
    struct tl_key_view v;
    int rc = tl_key_parse(f->key, t->count == 0 ? &t->at : &v);
    if (rc != 0)
        return rc;
    if (t->count == 0) {
        t->len = t->at.thing_len;
        memcpy(t->bytes, f->key.at, t->len);
    } else if (v.thing_len != t->len || memcmp(t->bytes, f->key.at, t->len) != 0) {
        return 1;
    }
    if (t->count == t->room) {
        struct one *grown = reallocarray(t->list, t->room * 2 + 16, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        t->list = grown;
        t->room = t->room * 2 + 16;
    }
    struct one *one = &t->list[t->count];
    *one = (struct one){.version = t->count == 0 ? t->at.version : v.version, .payload_len = f->payload_len};
    one->counts = tl_version_counts(t->c, &one->version);
    t->count++;
    return tl_meta_get(f->meta, &one->meta);
}

/* The next thing from the key on. 1, 0: there is none. */
static int next_thing(struct thing *t, const uint8_t *from, size_t len)
{
    struct tl_store *s = t->c->pool->shared->store;
    t->count = 0;
    int rc = s->ops->scan(s, &t->c->id, (struct tl_slice){"", 0}, (struct tl_slice){from, len}, see, t);
    return rc < 0 ? rc : t->count > 0;
}

static void need(struct thing *t, const struct tl_version *v)
{
    for (size_t i = 0; i < t->count; i++)
        if (tl_version_compare(&t->list[i].version, v) == 0)
            t->list[i].needed = true;
}

/* ---- what is needed of a thing at an epoch ---- */

static int need_piece(void *ctx, const struct tl_piece *p)
{
    need(ctx, &p->version);
    return 0;
}

static struct tiercel_bytes bytes_of(const struct tl_name *n)
{
    return (struct tiercel_bytes){n->bytes, n->len};
}

/* The newest at an epoch; SIZE_MAX: none. */
static size_t newest(const struct thing *t, uint64_t epoch)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->list[i].counts && t->list[i].version.epoch <= epoch)
            return i;
    return SIZE_MAX;
}

static int need_of_value(struct thing *t, uint64_t epoch, const struct tl_clears *clears)
{
    size_t first = newest(t, epoch);
    struct tl_single v;
    if (first == SIZE_MAX)
        return 0;
    struct tiercel_bytes dkey = bytes_of(&t->at.dkey), akey = bytes_of(&t->at.akey);
    if (t->list[first].meta.kind == TL_KIND_SINGLE) {
        int rc = tl_single_find(t->c, epoch, t->at.oid, dkey, akey, clears, &v);
        if (rc == 0)
            need(t, &v.version);
        return rc == -ENOENT ? 0 : rc;
    }
    uint32_t size = t->list[first].meta.record_size;
    if (t->list[first].meta.kind != TL_KIND_ARRAY)
        return 0;
    uint64_t per = tl_chunk_records(size);
    int rc = tl_chunk_look(t->c, epoch, t->at.oid, dkey, akey, clears, size, t->at.chunk * per, per, need_piece, t);
    if (rc != -EINVAL)
        return rc;
    for (size_t i = 0; i < t->count; i++) /* records of several kinds, which reading refuses: keep them all */
        t->list[i].needed = true;
    return 0;
}

static int need_at(struct thing *t, uint64_t epoch)
{
    struct tl_clears clears;
    size_t first = newest(t, epoch);
    if (first == SIZE_MAX)
        return 0;
    if (t->at.tag == TL_TAG_OBJECT || t->at.tag == TL_TAG_DKEY) {
        t->list[first].needed = true;
        return 0;
    }
    int rc = tl_clears_gather(t->c, epoch, t->at.oid, bytes_of(&t->at.dkey), bytes_of(&t->at.akey), 1, &clears);
    if (rc == 0 && t->at.tag == TL_TAG_VALUE)
        rc = need_of_value(t, epoch, &clears);
    for (unsigned i = 0; rc == 0 && t->at.tag == TL_TAG_RANGE && i < clears.count; i++)
        need(t, &clears.list[i].version);
    tl_clears_free(&clears);
    return rc;
}

static int see_that(void *ctx, const struct tl_found *f)
{
    (void)f;
    *(bool *)ctx = true;
    return 1;
}

static bool has_rest(const struct thing *t)
{
    bool any = false;
    for (size_t i = 0; t->at.tag == TL_TAG_VALUE && i < t->count; i++)
        any |= t->list[i].meta.kind == TL_KIND_REST;
    return any;
}

/* Pieces behind the first of a large value are needed while that is there: it comes before them, and was looked at. */
static int need_of_rest(struct thing *t)
{
    struct tl_store *s = t->c->pool->shared->store;
    int rc = 0;
    for (size_t i = 0; rc >= 0 && i < t->count; i++) {
        bool there = false;
        struct tl_key k;
        if (t->list[i].meta.kind != TL_KIND_REST)
            continue;
        tl_key_begin(&k, t->at.oid, TL_TAG_VALUE);
        rc = tl_key_add_name(&k, bytes_of(&t->at.dkey));
        rc = rc == 0 ? tl_key_add_name(&k, bytes_of(&t->at.akey)) : rc;
        tl_key_add_chunk(&k, 0);
        tl_key_add_version(&k, &t->list[i].version);
        rc = rc == 0 ? s->ops->scan(s, &t->c->id, tl_key_slice(&k), tl_key_slice(&k), see_that, &there) : rc;
        t->list[i].needed |= there;
    }
    return rc < 0 ? rc : 0;
}

static int look_at(struct thing *t, struct eraser *e)
{
    const struct tl_epochs *s = &t->c->state.epochs;
    uint64_t g = e->a->done.below;
    int rc = 0;
    if (has_rest(t)) {
        rc = erase_now(e); /* the first piece, if it goes */
        rc = rc == 0 ? need_of_rest(t) : rc;
    }
    for (uint32_t i = 0; rc == 0 && i < s->snapshot_count && s->snapshots[i] < g; i++)
        rc = need_at(t, s->snapshots[i]);
    rc = rc == 0 ? need_at(t, g) : rc;
    for (size_t i = 0; rc == 0 && i < t->count; i++) {
        const struct one *one = &t->list[i];
        if (one->counts && (one->needed || one->version.epoch > g))
            continue;
        struct tl_key k = {.len = t->len};
        memcpy(k.bytes, t->bytes, t->len);
        tl_key_add_version(&k, &one->version);
        rc = erase(e, tl_key_slice(&k), one->payload_len);
    }
    return rc;
}

/* ---- punches that hide nothing ---- */

struct older {
    struct tl_version than;
    bool found;
};

static int see_older(void *ctx, const struct tl_found *f)
{
    struct older *o = ctx;
    struct tl_version v;
    int rc = tl_key_version(f->key, &v);
    o->found = rc == 0 && tl_version_compare(&v, &o->than) < 0;
    return rc != 0 ? rc : o->found;
}

static int look_at_punch(struct thing *t, struct eraser *e)
{
    struct tl_store *s = t->c->pool->shared->store;
    struct tl_key scope;
    tl_key_begin(&scope, t->at.oid, TL_TAG_VALUE);
    int rc = t->at.tag == TL_TAG_OBJECT ? 0 : tl_key_add_name(&scope, bytes_of(&t->at.dkey));
    rc = rc == 0 && t->at.tag == TL_TAG_RANGE ? tl_key_add_name(&scope, bytes_of(&t->at.akey)) : rc;
    for (size_t i = 0; rc >= 0 && i < t->count; i++) {
        struct older o = {.than = t->list[i].version};
        if (t->list[i].version.epoch > e->a->done.below)
            continue;
        rc = s->ops->scan(s, &t->c->id, tl_key_slice(&scope), tl_key_slice(&scope), see_older, &o);
        if (rc < 0 || o.found)
            continue;
        struct tl_key k = {.len = t->len};
        memcpy(k.bytes, t->bytes, t->len);
        tl_key_add_version(&k, &t->list[i].version);
        rc = erase(e, tl_key_slice(&k), 0);
    }
    return rc < 0 ? rc : 0;
}

/* ---- the whole of it ---- */

static int remember_tombs(struct tl_cont *c, struct tl_aggregation *a)
{
    const struct tl_epochs *s = &c->state.epochs;
    struct tl_store *store = c->pool->shared->store;
    a->tombs = s->tomb_count == 0 ? NULL : reallocarray(NULL, s->tomb_count, sizeof *a->tombs);
    if (s->tomb_count > 0 && a->tombs == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < s->tomb_count; i++) {
        const struct tl_epoch_tomb *t = &s->tombs[i];
        if (tl_epochs_handle(s, t->handle) != NULL)
            continue;
        int claimed = store->ops->claimed(store, tl_writer_mark(c, t->handle));
        if (claimed < 0)
            return claimed;
        if (claimed == 0)
            a->tombs[a->tomb_count++] = *t;
    }
    return a->tomb_count > 0 && store->ops->fence != NULL ? store->ops->fence(store, &c->id) : 0;
}

static int begin(struct tl_cont *c, struct tl_aggregation *a)
{
    struct tl_epoch_op op = {.type = TL_EPOCH_SWEEP};
    if (c->pool->shared->read_only)
        return -EROFS;
    int rc = tl_pool_alive(c->pool, true);
    rc = rc == 0 ? tl_cont_reap(c) : rc;
    rc = rc >= 0 ? tl_cont_refresh(c) : rc;
    rc = rc == 0 ? tl_shared_claim(c->pool->shared, tl_hash64("aggregate", 9, tl_writer_mark(c, 0)), true) : rc;
    if (rc != 0)
        return rc;
    a->stage = 1;
    rc = remember_tombs(c, a);
    rc = rc == 0 ? tl_cont_apply(c, &op) : rc;
    a->done.below = op.epoch;
    return rc;
}

static int forget_tombs(struct tl_cont *c, struct tl_aggregation *a)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < a->tomb_count; i++) {
        const struct tl_epoch_tomb *t = &a->tombs[i];
        struct tl_epoch_op op = {
            .type = TL_EPOCH_SWEPT, .handle = t->handle, .era = t->era, .epoch = t->first, .last = t->last};
        rc = tl_cont_apply(c, &op);
        rc = rc == -ENOENT && !c->gone ? 0 : rc;
    }
    return rc;
}

void tl_cont_aggregate_end(struct tl_cont *c, struct tl_aggregation *a)
{
    if (a->stage != 0)
        tl_shared_unclaim(c->pool->shared, tl_hash64("aggregate", 9, tl_writer_mark(c, 0)));
    free(a->tombs);
    a->tombs = NULL;
    a->stage = 0;
}

/* Up to STEP records of the stage. 1: there is more of it. */
static int step(struct tl_cont *c, struct tl_aggregation *a, struct eraser *e)
{
    struct thing t = {.c = c};
    int rc = 1;
    for (size_t seen = 0; rc == 1 && seen < STEP; seen += t.count) {
        rc = next_thing(&t, a->at, a->at_len);
        if (rc != 1)
            break;
        bool value = t.at.tag == TL_TAG_VALUE;
        int failed = a->stage == 1 ? look_at(&t, e) : value ? 0 : look_at_punch(&t, e);
        a->punches |= !value;
        struct tl_key behind = {.len =
                                    a->stage == 2 && value ? 17 : t.len}; /* the values of an object are passed over */
        memcpy(behind.bytes, t.bytes, behind.len);
        tl_key_behind(&behind);
        memcpy(a->at, behind.bytes, behind.len);
        a->at_len = (uint32_t)behind.len;
        rc = failed != 0 ? failed : behind.len == 0 ? 0 : 1;
    }
    free(t.list);
    int failed = rc >= 0 ? erase_now(e) : 0;
    return failed != 0 ? failed : rc;
}

int tl_cont_aggregate(struct tl_cont *c, struct tl_aggregation *a)
{
    int rc = a->stage == 0 ? begin(c, a) : tl_cont_refresh(c);
    struct eraser *e = rc == 0 ? malloc(sizeof *e) : NULL;
    if (rc == 0 && e == NULL)
        rc = -ENOMEM;
    if (rc == 0) {
        e->c = c;
        e->a = a;
        e->count = 0;
        rc = step(c, a, e);
    }
    free(e);
    if (rc == 0 && a->stage == 1 && a->punches) {
        a->stage = 2;
        a->at_len = 0;
        rc = 1;
    }
    if (rc == 0)
        rc = forget_tombs(c, a);
    if (rc <= 0)
        tl_cont_aggregate_end(c, a);
    return rc;
}
