// SPDX-License-Identifier: Apache-2.0
/* What is seen of an object at an epoch: of all versions that count, the newest at or below it, unless something newer has cleared it. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pool/internal.h"

/* Scans what begins with k, from the versions of an epoch on downwards: newest first, if k names one thing. */
static int scan_versions(struct tl_cont *c, const struct tl_met *met, const struct tl_key *k, uint64_t epoch,
                         int (*fn)(void *ctx, const struct tl_found *f), void *ctx)
{
    struct tl_key from = *k;
    tl_key_add_chunk(&from, ~epoch); /* as a version begins */
    return tl_met_scan(c, met, tl_key_slice(k), tl_key_slice(&from), fn, ctx);
}

/* ---- what was cleared ---- */

void tl_clears_free(struct tl_clears *x)
{
    free(x->list);
    x->list = NULL;
    x->count = x->room = 0;
}

static int add_clear(struct tl_clears *x, const struct tl_clear *one)
{
    if (x->count == x->room) {
        unsigned room = x->room * 2 + 4;
        struct tl_clear *grown = reallocarray(x->list, room, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        x->list = grown;
        x->room = room;
    }
    x->list[x->count++] = *one;
    return 0;
}

struct looking {
    struct tl_cont *c;
    uint64_t epoch;
    struct tl_clears *clears;
    struct tl_clear punch; /* the newest of the object and of the dkey; epoch 0: none */
    bool found;
};

static int see_punch(void *ctx, const struct tl_found *f)
{
    struct looking *l = ctx;
    struct tl_version v;
    int rc = tl_key_version(f->key, &v);
    if (rc != 0 || !tl_version_counts(l->c, &v))
        return rc;
    if (tl_version_compare(&v, &l->punch.version) > 0)
        l->punch = (struct tl_clear){.version = v, .count = UINT64_MAX};
    return 1;
}

static int see_range(void *ctx, const struct tl_found *f)
{
    struct looking *l = ctx;
    struct tl_clear one;
    struct tl_meta m;
    int rc = tl_key_version(f->key, &one.version);
    rc = rc == 0 ? tl_meta_get(f->meta, &m) : rc;
    if (rc != 0 || !tl_version_counts(l->c, &one.version))
        return rc;
    if (tl_version_compare(&one.version, &l->punch.version) < 0)
        return 1; /* what is older does not matter */
    one.first = m.first;
    one.count = m.count;
    rc = add_clear(l->clears, &one);
    return rc != 0 ? rc : one.count == UINT64_MAX;
}

struct meeting {
    struct tl_met *met;
    struct tl_slice wanted; /* what will be looked for begins so */
    unsigned most;
};

static int meet(void *ctx, const struct tl_found *f)
{
    struct meeting *m = ctx;
    if (f->key.len <= 16)
        return -EBADMSG;
    return !tl_met_add(m->met, f) || m->met->count == m->most || !tl_begins_with(f->key, m->wanted);
}

static size_t quiet_slot(struct tiercel_oid oid)
{
    return tl_hash64(&oid, sizeof oid, 0) % TL_QUIET;
}

/* Nothing was ever punched in the object, as far as scans find. 1, 0, -errno. That is remembered for what is committed only: above GHCE
 * a punch may be found from one moment to the next, without any change of the container's state. *met: what was met then, up to `most` records that
 * begin with `wanted`, and the first one that does not. */
static int is_quiet(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tl_slice wanted, unsigned most,
                    struct tl_met *met)
{
    size_t slot = quiet_slot(oid);
    bool committed = epoch <= c->state.epochs.ghce;
    struct tl_store *s = c->pool->shared->store;
    struct meeting m = {met, wanted, most};
    struct tl_key from;
    met->known = false;
    met->count = 0;
    met->len = 0;
    if (c->quiet_seen != c->seen) {
        memset(c->quiet_set, 0, sizeof c->quiet_set);
        c->quiet_seen = c->seen;
    }
    if (committed && c->quiet_set[slot] && c->quiet[slot].hi == oid.hi && c->quiet[slot].lo == oid.lo)
        return 1;
    tl_key_begin(&from, oid, TL_TAG_OBJECT);
    int rc = s->ops->scan(s, &c->id, (struct tl_slice){from.bytes, 16}, tl_key_slice(&from), meet, &m);
    if (rc < 0 || (met->count > 0 && met->bytes[16] < TL_TAG_VALUE))
        return rc < 0 ? rc : 0;
    met->known = true;
    met->all = rc == 0;
    if (committed) {
        c->quiet[slot] = oid;
        c->quiet_set[slot] = true;
    }
    return 1;
}

/* What was punched, in an object in which something was. */
static int gather(struct looking *l, struct tiercel_oid oid, struct tiercel_bytes dkey, struct tiercel_bytes akey)
{
    const struct tl_met *none = &l->clears->met; /* nothing that is known */
    struct tl_key k;
    tl_key_begin(&k, oid, TL_TAG_OBJECT);
    int rc = scan_versions(l->c, none, &k, l->epoch, see_punch, l);
    tl_key_begin(&k, oid, TL_TAG_DKEY);
    rc = rc >= 0 ? tl_key_add_name(&k, dkey) : rc;
    rc = rc == 0 ? scan_versions(l->c, none, &k, l->epoch, see_punch, l) : rc;
    tl_key_begin(&k, oid, TL_TAG_RANGE);
    rc = rc >= 0 ? tl_key_add_name(&k, dkey) : rc;
    rc = rc == 0 ? tl_key_add_name(&k, akey) : rc;
    return rc == 0 ? scan_versions(l->c, none, &k, l->epoch, see_range, l) : rc;
}

int tl_clears_gather(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                     struct tiercel_bytes akey, unsigned meet_most, struct tl_clears *out)
{
    struct looking l = {.c = c, .epoch = epoch, .clears = out};
    struct tl_key k;
    out->list = NULL;
    out->count = out->room = 0;
    tl_key_begin(&k, oid, TL_TAG_VALUE);
    int rc = tl_key_add_name(&k, dkey);
    rc = rc == 0 ? tl_key_add_name(&k, akey) : rc;
    rc = rc == 0 ? is_quiet(c, epoch, oid, tl_key_slice(&k), meet_most, &out->met) : rc;
    if (rc != 0)
        return rc > 0 ? 0 : rc;
    rc = gather(&l, oid, dkey, akey);
    if (rc >= 0 && l.punch.version.epoch != 0 && (out->count == 0 || out->list[out->count - 1].count != UINT64_MAX))
        rc = add_clear(out, &l.punch);
    if (rc < 0)
        tl_clears_free(out);
    return rc < 0 ? rc : 0;
}

/* Whatever has this version was cleared as a whole. */
static bool is_dead(const struct tl_clears *x, const struct tl_version *v)
{
    const struct tl_clear *last = x->count > 0 ? &x->list[x->count - 1] : NULL;
    return last != NULL && last->count == UINT64_MAX && tl_version_compare(v, &last->version) < 0;
}

/* All these records of this version were cleared. */
static bool are_cleared(const struct tl_clears *x, const struct tl_version *v, uint64_t first, uint64_t count)
{
    uint64_t end = first + count < first ? UINT64_MAX : first + count;
    for (unsigned i = 0; i < x->count && first < end; i++) {
        const struct tl_clear *one = &x->list[i];
        if (tl_version_compare(&one->version, v) < 0)
            break;
        if (one->first <= first && first - one->first < one->count) {
            first = one->first + one->count;
            i = UINT_MAX; /* the next one may be newer */
        }
    }
    return first >= end;
}

/* ---- arrays ---- */

struct span {
    uint64_t from, to;
};

struct chunk_look {
    struct tl_cont *c;
    const struct tl_clears *clears;
    unsigned next_clear;
    uint32_t record_size;
    uint64_t chunk;
    struct span *wanted;
    unsigned count, room;
    int (*fn)(void *ctx, const struct tl_piece *piece);
    void *ctx;
};

/* Takes from..to out of what is wanted; each part of it that was is shown, if it comes from a record. */
static int take(struct chunk_look *l, uint64_t from, uint64_t to, const struct tl_found *found,
                const struct tl_version *v)
{
    for (unsigned i = 0; i < l->count; i++) {
        struct span w = l->wanted[i], cut = {w.from > from ? w.from : from, w.to < to ? w.to : to};
        if (cut.from >= cut.to)
            continue;
        if (cut.from > w.from && cut.to < w.to) { /* two are left */
            if (l->count == l->room) {
                struct span *grown = reallocarray(l->wanted, l->room * 2 + 4, sizeof *grown);
                if (grown == NULL)
                    return -ENOMEM;
                l->wanted = grown;
                l->room = l->room * 2 + 4;
            }
            l->wanted[l->count++] = (struct span){cut.to, w.to};
            l->wanted[i].to = cut.from;
        } else if (cut.from > w.from) {
            l->wanted[i].to = cut.from;
        } else if (cut.to < w.to) {
            l->wanted[i].from = cut.to;
        } else {
            l->wanted[i--] = l->wanted[--l->count];
        }
        const struct tl_piece piece = {
            .first = cut.from, .count = cut.to - cut.from, .found = found, .skip = cut.from - from, .version = *v};
        int rc = found == NULL ? 0 : l->fn(l->ctx, &piece);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int see_extent(void *ctx, const struct tl_found *f)
{
    struct chunk_look *l = ctx;
    struct tl_version v;
    struct tl_meta m;
    int rc = tl_key_version(f->key, &v);
    rc = rc == 0 ? tl_meta_get(f->meta, &m) : rc;
    if (rc != 0 || !tl_version_counts(l->c, &v))
        return rc;
    for (; rc == 0 && l->next_clear < l->clears->count; l->next_clear++) {
        const struct tl_clear *x = &l->clears->list[l->next_clear];
        if (tl_version_compare(&x->version, &v) < 0)
            break;
        rc = take(l, x->first, x->first + x->count < x->first ? UINT64_MAX : x->first + x->count, NULL, &v);
    }
    if (rc != 0 || l->count == 0)
        return rc != 0 ? rc : 1;
    if (m.kind == TL_KIND_REST)
        return 0;
    if (m.kind != TL_KIND_ARRAY)
        return -EINVAL;
    uint64_t base = l->chunk * tl_chunk_records(m.record_size);
    if (m.record_size != l->record_size)
        return are_cleared(l->clears, &v, base + m.first, m.count) ? 0 : -EINVAL;
    if (f->payload_len != m.count * m.record_size)
        return -EBADMSG;
    rc = take(l, base + m.first, base + m.first + m.count, f, &v);
    return rc != 0 ? rc : l->count == 0;
}

int tl_chunk_look(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                  struct tiercel_bytes akey, const struct tl_clears *clears, uint32_t record_size, uint64_t first,
                  uint64_t count, int (*fn)(void *ctx, const struct tl_piece *piece), void *ctx)
{
    struct tl_key k;
    uint64_t chunk = first / tl_chunk_records(record_size);
    count = count < UINT64_MAX - first
                ? count
                : UINT64_MAX - first; /* of the last chunk that 64 bits can count there is only a part */
    struct chunk_look l = {.c = c,
                           .clears = clears,
                           .record_size = record_size,
                           .chunk = chunk,
                           .wanted = malloc(4 * sizeof *l.wanted),
                           .count = 1,
                           .room = 4,
                           .fn = fn,
                           .ctx = ctx};
    if (l.wanted == NULL)
        return -ENOMEM;
    l.wanted[0] = (struct span){first, first + count};
    tl_key_begin(&k, oid, TL_TAG_VALUE);
    int rc = tl_key_add_name(&k, dkey);
    rc = rc == 0 ? tl_key_add_name(&k, akey) : rc;
    tl_key_add_chunk(&k, chunk);
    rc = rc == 0 ? scan_versions(c, &clears->met, &k, epoch, see_extent, &l) : rc;
    free(l.wanted);
    return rc > 0 ? 0 : rc;
}

/* Versions that are not needed, of which a scan passes so many before it is begun anew behind them. */
#define PASSED_MAX 8u

struct array_look {
    struct chunk_look of; /* the chunk that is looked at */
    uint64_t epoch, first, end;
    bool begun;
    unsigned passed;
    uint64_t next; /* where the scan is to be begun anew */
};

static void begin_chunk(struct array_look *l, uint64_t chunk)
{
    uint64_t per = tl_chunk_records(l->of.record_size), from = chunk * per,
             to = from + per < from ? UINT64_MAX : from + per;
    l->of.chunk = chunk;
    l->of.next_clear = 0;
    l->of.count = 1;
    l->of.wanted[0] = (struct span){from > l->first ? from : l->first, to < l->end ? to : l->end};
    l->begun = true;
}

/* 1: all was seen; 2: on from `next`. */
static int see_in_array(void *ctx, const struct tl_found *f)
{
    struct array_look *l = ctx;
    const uint64_t last = (l->end - 1) / tl_chunk_records(l->of.record_size);
    struct tl_key_view at;
    int rc = tl_key_parse(f->key, &at);
    if (rc != 0 || at.chunk > last)
        return rc != 0 ? rc : 1;
    if (!l->begun || at.chunk != l->of.chunk) {
        begin_chunk(l, at.chunk);
        l->passed = 0;
    }
    if (at.version.epoch > l->epoch || l->of.count == 0) {
        l->next = l->of.count == 0 ? at.chunk + 1 : at.chunk;
        return ++l->passed > PASSED_MAX && l->next > 0 ? 2 : 0;
    }
    rc = see_extent(&l->of, f);
    return rc < 0 || at.chunk == last ? rc : 0;
}

/* One scan goes over many chunks: looking up each is a question to the storage. */
int tl_array_look(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                  struct tiercel_bytes akey, const struct tl_clears *clears, uint32_t record_size, uint64_t first,
                  uint64_t count, int (*fn)(void *ctx, const struct tl_piece *piece), void *ctx)
{
    uint64_t per = tl_chunk_records(record_size);
    struct array_look l = {
        .of = {.c = c, .clears = clears, .record_size = record_size, .room = 4, .fn = fn, .ctx = ctx},
        .epoch = epoch,
        .first = first,
        .end = count < UINT64_MAX - first ? first + count : UINT64_MAX,
        .next = first / per};
    struct tl_key k;
    if ((l.end - 1) / per == l.next) /* the answer has what is of this chunk only */
        return tl_chunk_look(c, epoch, oid, dkey, akey, clears, record_size, first, count, fn, ctx);
    l.of.wanted = malloc(l.of.room * sizeof *l.of.wanted);
    if (l.of.wanted == NULL)
        return -ENOMEM;
    tl_key_begin(&k, oid, TL_TAG_VALUE);
    int rc = tl_key_add_name(&k, dkey);
    rc = rc == 0 ? tl_key_add_name(&k, akey) : rc;
    for (rc = rc == 0 ? 2 : rc; rc == 2;) {
        struct tl_key from = k;
        tl_key_add_chunk(&from, l.next);
        tl_key_add_chunk(&from, ~epoch); /* as a version begins */
        l.passed = 0;
        rc = tl_met_scan(c, &clears->met, tl_key_slice(&k), tl_key_slice(&from), see_in_array, &l);
    }
    free(l.of.wanted);
    return rc > 0 ? 0 : rc;
}

/* ---- single values ---- */

struct single_look {
    struct tl_cont *c;
    const struct tl_clears *clears;
    struct tl_single *out;
};

static int see_single(void *ctx, const struct tl_found *f)
{
    struct single_look *l = ctx;
    struct tl_meta m;
    int rc = tl_key_version(f->key, &l->out->version);
    rc = rc == 0 ? tl_meta_get(f->meta, &m) : rc;
    if (rc != 0 || !tl_version_counts(l->c, &l->out->version))
        return rc;
    if (is_dead(l->clears, &l->out->version))
        return -ENOENT;
    if (m.kind != TL_KIND_SINGLE)
        return are_cleared(l->clears, &l->out->version, m.first, m.count) ? 0 : -EINVAL;
    if (f->place.len > sizeof l->out->place || f->payload_len > m.size)
        return -EBADMSG;
    l->out->size = m.size;
    l->out->payload_len = f->payload_len;
    l->out->place_len = f->place.len;
    memcpy(l->out->place, f->place.at, f->place.len);
    return 1;
}

int tl_single_find(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                   struct tiercel_bytes akey, const struct tl_clears *clears, struct tl_single *out)
{
    struct single_look l = {c, clears, out};
    struct tl_key k;
    tl_key_begin(&k, oid, TL_TAG_VALUE);
    int rc = tl_key_add_name(&k, dkey);
    rc = rc == 0 ? tl_key_add_name(&k, akey) : rc;
    tl_key_add_chunk(&k, 0);
    rc = rc == 0 ? scan_versions(c, &clears->met, &k, epoch, see_single, &l) : rc;
    return rc > 0 ? 0 : rc == 0 ? -ENOENT : rc;
}

/* ---- what there is ---- */

struct name_look {
    struct tl_cont *c;
    uint64_t epoch;
    const struct tl_clears *clears; /* NULL: none is looked at */
    struct tl_key_view at;
    struct tl_meta meta;
};

/* The first record that counts at the epoch, and was not cleared as a whole. */
static int see_candidate(void *ctx, const struct tl_found *f)
{
    struct name_look *l = ctx;
    int rc = tl_key_parse(f->key, &l->at);
    rc = rc == 0 ? tl_meta_get(f->meta, &l->meta) : rc;
    if (rc != 0)
        return rc;
    if (l->at.version.epoch > l->epoch || l->meta.kind == TL_KIND_REST || !tl_version_counts(l->c, &l->at.version))
        return 0;
    if (l->clears == NULL)
        return 1;
    const struct tl_meta *m = &l->meta; /* records that were all cleared hide nothing of another kind below them */
    if (m->kind == TL_KIND_ARRAY &&
        are_cleared(l->clears, &l->at.version, l->at.chunk * tl_chunk_records(m->record_size) + m->first, m->count))
        return 0;
    return !is_dead(l->clears, &l->at.version);
}

static int see_one(void *ctx, const struct tl_piece *piece)
{
    (void)piece;
    *(bool *)ctx = true;
    return 1;
}

int tl_next_chunk(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                  struct tiercel_bytes akey, const struct tl_clears *clears, uint64_t *chunk, uint32_t *record_size)
{
    struct name_look l = {.c = c, .epoch = epoch, .clears = clears};
    struct tl_key prefix;
    tl_key_begin(&prefix, oid, TL_TAG_VALUE);
    int rc = tl_key_add_name(&prefix, dkey);
    rc = rc == 0 ? tl_key_add_name(&prefix, akey) : rc;
    for (uint64_t next = *chunk; rc == 0; next = l.at.chunk + 1) {
        struct tl_key from = prefix;
        bool any = false;
        tl_key_add_chunk(&from, next);
        rc = tl_met_scan(c, &clears->met, tl_key_slice(&prefix), tl_key_slice(&from), see_candidate, &l);
        if (rc <= 0)
            return rc == 0 ? -ENOENT : rc;
        any = l.meta.kind == TL_KIND_SINGLE || clears->count == 0; /* what counts, and nothing has cleared */
        uint64_t per = any ? 0 : tl_chunk_records(l.meta.record_size);
        if (!any)
            rc = tl_chunk_look(c, epoch, oid, dkey, akey, clears, l.meta.record_size, l.at.chunk * per, per, see_one,
                               &any);
        if (any || rc == -EINVAL) { /* of several kinds or sizes: then there is something, too */
            *chunk = l.at.chunk;
            *record_size = l.meta.record_size;
            return 0;
        }
        if (l.at.chunk == UINT64_MAX)
            return -ENOENT;
    }
    return rc;
}

int tl_akey_there(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                  struct tiercel_bytes akey)
{
    struct tl_clears clears;
    uint64_t chunk = 0;
    uint32_t record_size;
    int rc = tl_clears_gather(c, epoch, oid, dkey, akey, 1, &clears);
    if (rc != 0)
        return rc;
    rc = tl_next_chunk(c, epoch, oid, dkey, akey, &clears, &chunk, &record_size);
    tl_clears_free(&clears);
    return rc == 0 ? 1 : rc == -ENOENT ? 0 : rc;
}

static struct tiercel_bytes bytes_of(const struct tl_name *n)
{
    return (struct tiercel_bytes){n->bytes, n->len};
}

/* Whether anything is seen under the name that was found. 1, 0, -errno. */
static int name_there(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, const struct tiercel_bytes *dkey,
                      const struct tl_name *name)
{
    struct tl_name akey;
    struct tl_met met;
    int rc = is_quiet(c, epoch, oid, (struct tl_slice){"", 0}, 1, &met);
    if (rc != 0)
        return rc;
    if (dkey != NULL)
        return tl_akey_there(c, epoch, oid, *dkey, bytes_of(name));
    struct tiercel_bytes it = bytes_of(name);
    rc = tl_next_name(c, epoch, oid, &it, NULL, &akey);
    return rc == 0 ? 1 : rc == -ENOENT ? 0 : rc;
}

int tl_next_name(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, const struct tiercel_bytes *dkey,
                 const struct tl_name *after, struct tl_name *out)
{
    struct tl_store *s = c->pool->shared->store;
    struct name_look l = {.c = c, .epoch = epoch};
    struct tl_key prefix, from;
    tl_key_begin(&prefix, oid, TL_TAG_VALUE);
    int rc = dkey == NULL ? 0 : tl_key_add_name(&prefix, *dkey);
    from = prefix;
    if (rc == 0 && after != NULL) {
        rc = tl_key_add_name(&from, bytes_of(after));
        tl_key_behind(&from);
    }
    while (rc == 0) {
        rc = s->ops->scan(s, &c->id, tl_key_slice(&prefix), tl_key_slice(&from), see_candidate, &l);
        if (rc <= 0)
            return rc == 0 ? -ENOENT : rc;
        *out = dkey == NULL ? l.at.dkey : l.at.akey;
        rc = name_there(c, epoch, oid, dkey, out);
        if (rc != 0)
            return rc > 0 ? 0 : rc;
        from = prefix;
        rc = tl_key_add_name(&from, bytes_of(out));
        tl_key_behind(&from);
    }
    return rc;
}
