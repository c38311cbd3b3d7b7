// SPDX-License-Identifier: Apache-2.0
/* Listings: objects, keys, extents; and where an array ends. An anchor is the last name that was shown. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pool/internal.h"

void tl_name_text(struct tiercel_bytes name, char *out, size_t size)
{
    const uint8_t *b = name.at;
    size_t at = 0;
    for (size_t i = 0; i < name.len && at + 5 < size; i++)
        at += (size_t)snprintf(out + at, size - at, isprint(b[i]) && b[i] != '"' && b[i] != '\\' ? "%c" : "\\x%02x",
                               b[i]);
    out[at] = 0;
}

/* ---- objects ---- */

struct object_look {
    struct tiercel_oid oid;
};

static int see_object(void *ctx, const struct tl_found *f)
{
    struct tl_key_view v;
    int rc = tl_key_parse(f->key, &v);
    if (rc != 0)
        return rc;
    ((struct object_look *)ctx)->oid = v.oid;
    return 1;
}

static bool next_oid(struct tiercel_oid *oid)
{
    oid->hi += ++oid->lo == 0;
    return oid->hi != 0 || oid->lo != 0;
}

int tl_cont_list_objects(struct tl_cont *c, uint64_t epoch, struct tiercel_anchor *anchor, struct tiercel_oid *oids,
                         unsigned *count)
{
    struct tl_store *s = c->pool->shared->store;
    struct tiercel_oid at = {0, 0};
    unsigned n = 0;
    if (anchor->len != 0 && anchor->len != 16)
        return -EINVAL;
    bool more = anchor->end == 0;
    if (anchor->len == 16) {
        at = (struct tiercel_oid){.hi = tl_get_u64(anchor->at), .lo = tl_get_u64(anchor->at + 8)};
        more = more && next_oid(&at);
    }
    int rc = tl_cont_read_epoch(c, epoch, 0, &epoch);
    rc = rc == 0 && epoch > c->state.epochs.ghce ? tl_cont_settle(c) : rc;
    while (rc == 0 && more && n < *count) {
        struct object_look l;
        struct tl_key from;
        struct tl_name name;
        tl_key_begin(&from, at, TL_TAG_OBJECT);
        rc = s->ops->scan(s, &c->id, (struct tl_slice){"", 0}, (struct tl_slice){from.bytes, 16}, see_object, &l);
        more = rc == 1;
        if (rc != 1)
            break;
        rc = tl_next_name(c, epoch, l.oid, NULL, NULL, &name);
        if (rc == 0) {
            oids[n++] = l.oid;
            tl_put_u64(anchor->at, l.oid.hi);
            tl_put_u64(anchor->at + 8, l.oid.lo);
            anchor->len = 16;
        }
        rc = rc == -ENOENT ? 0 : rc;
        at = l.oid;
        more = next_oid(&at);
    }
    rc = rc == 0 ? tl_cont_still_readable(c, epoch) : rc;
    if (rc != 0)
        return rc;
    anchor->end = !more;
    *count = n;
    return 0;
}

/* ---- keys ---- */

int tl_cont_list_keys(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, const struct tiercel_bytes *dkey,
                      struct tiercel_anchor *anchor, void *buf, size_t room, struct tiercel_bytes *keys,
                      unsigned *count)
{
    struct tl_name last, name;
    unsigned n = 0;
    size_t used = 0;
    bool begun = anchor->len > 0, more = anchor->end == 0;
    if (anchor->len > 1 + sizeof last.bytes)
        return -EINVAL;
    last.len = begun ? anchor->len - 1 : 0; /* one more: the empty name is a name */
    memcpy(last.bytes, anchor->at, last.len);
    int rc = tl_cont_read_epoch(c, epoch, 0, &epoch);
    rc = rc == 0 && epoch > c->state.epochs.ghce ? tl_cont_settle(c) : rc;
    while (rc == 0 && more && n < *count) {
        rc = tl_next_name(c, epoch, oid, dkey, begun ? &last : NULL, &name);
        more = rc == 0;
        if (rc != 0 || room - used < name.len)
            break;
        memcpy((uint8_t *)buf + used, name.bytes, name.len);
        keys[n++] = (struct tiercel_bytes){(uint8_t *)buf + used, name.len};
        used += name.len;
        last = name;
        begun = true;
    }
    rc = rc == -ENOENT || rc == 0 ? tl_cont_still_readable(c, epoch) : rc;
    if (rc != 0)
        return rc;
    if (n == 0 && more && *count > 0)
        return -ENOBUFS;
    if (begun) {
        memcpy(anchor->at, last.bytes, last.len);
        anchor->len = (uint32_t)last.len + 1;
    }
    anchor->end = !more;
    *count = n;
    return 0;
}

/* ---- extents ---- */

struct extents {
    struct tiercel_extent *list; /* of one chunk, in any order */
    size_t count, room;
    bool only_end;
    uint64_t end; /* of the last one */
};

static int add_piece(void *ctx, const struct tl_piece *p)
{
    struct extents *x = ctx;
    x->end = p->first + p->count > x->end ? p->first + p->count : x->end;
    if (x->only_end)
        return 0;
    if (x->count == x->room) {
        size_t room = x->room * 2 + 64;
        struct tiercel_extent *grown = reallocarray(x->list, room, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        x->list = grown;
        x->room = room;
    }
    x->list[x->count++] = (struct tiercel_extent){p->first, p->count};
    return 0;
}

static int by_first(const void *a, const void *b)
{
    const struct tiercel_extent *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* Fills in what one chunk has, from record `from` on, ascending. */
static int chunk_extents(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                         struct tiercel_bytes akey, const struct tl_clears *clears, uint32_t record_size, uint64_t from,
                         struct extents *x)
{
    uint64_t per = tl_chunk_records(record_size);
    x->count = 0;
    int rc = tl_chunk_look(c, epoch, oid, dkey, akey, clears, record_size, from, per - from % per, add_piece, x);
    if (x->count > 1)
        qsort(x->list, x->count, sizeof *x->list, by_first);
    return rc;
}

struct shown { /* to who has asked */
    struct tiercel_extent *list;
    unsigned count, max;
    uint64_t from; /* where the next call goes on */
};

/* Shows what is next to the last one as a part of it. False: there is no room for more. */
static bool show_extents(struct shown *s, const struct extents *x)
{
    for (size_t i = 0; i < x->count; i++) {
        const struct tiercel_extent *one = &x->list[i], *last = &s->list[s->count - 1];
        if (s->count > 0 && last->first + last->count == one->first)
            s->list[s->count - 1].count += one->count;
        else if (s->count == s->max)
            return false;
        else
            s->list[s->count++] = *one;
        s->from = one->first + one->count;
    }
    return true;
}

int tl_cont_list_extents(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                         struct tiercel_bytes akey, struct tiercel_anchor *anchor, struct tiercel_extent *extents,
                         unsigned *count, uint64_t *record_size)
{
    struct tl_clears clears;
    struct extents x = {.list = NULL};
    struct shown s = {.list = extents, .max = *count, .from = anchor->len == 8 ? tl_get_u64(anchor->at) : 0};
    uint32_t size = 0, same = 0;
    uint64_t chunk = 0;
    if (anchor->len != 0 && anchor->len != 8)
        return -EINVAL;
    int rc = tl_cont_read_epoch(c, epoch, 0, &epoch);
    rc = rc == 0 ? tl_cont_settle_for(c, epoch, tl_thing_hash(oid, &dkey)) : rc;
    rc = rc == 0 ? tl_clears_gather(c, epoch, oid, dkey, akey, TL_MET_PAGE, &clears) : rc;
    if (rc != 0)
        return rc;
    rc = tl_next_chunk(c, epoch, oid, dkey, akey, &clears, &chunk, &size); /* for the size of records */
    if (rc == 0 && size == 0)
        rc = -EINVAL;
    uint64_t per = rc == 0 ? tl_chunk_records(size) : 1;
    bool room = anchor->end == 0;
    while (rc == 0 && room) {
        chunk = s.from / per;
        rc = tl_next_chunk(c, epoch, oid, dkey, akey, &clears, &chunk, &same);
        if (rc == 0 && (same != size || chunk > UINT64_MAX / per))
            rc = -EINVAL;
        if (rc == 0)
            rc = chunk_extents(c, epoch, oid, dkey, akey, &clears, size, chunk > s.from / per ? chunk * per : s.from,
                               &x);
        room = rc == 0 && show_extents(&s, &x);
        if (room && chunk == UINT64_MAX / per)
            rc = -ENOENT; /* the last chunk that 64 bits can count */
        else if (room)
            s.from = (chunk + 1) * per;
    }
    free(x.list);
    tl_clears_free(&clears);
    bool end = rc == -ENOENT || anchor->end != 0;
    rc = rc == 0 || end ? tl_cont_still_readable(c, epoch) : rc;
    if (rc != 0)
        return rc;
    tl_put_u64(anchor->at, s.from);
    anchor->len = 8;
    anchor->end = end;
    *count = s.count;
    *record_size = size;
    return 0;
}

/* Whether there is anything in the chunks from `chunk` on is true up to the last one and false behind it: so halving finds it. */
int tl_array_end(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                 struct tiercel_bytes akey, const struct tl_clears *clears, uint64_t *end)
{
    struct extents x = {.only_end = true};
    uint64_t last = 0, found;
    uint32_t size = 0;
    int rc = tl_next_chunk(c, epoch, oid, dkey, akey, clears, &last, &size);
    if (rc == 0 && size == 0)
        rc = -EINVAL;
    uint64_t low = last, high = UINT64_MAX; /* there is something from low on, nothing from high on */
    for (uint64_t step = 1; rc == 0 && high - low > 1;) {
        uint64_t middle = high == UINT64_MAX && step < high - low ? low + step : low + (high - low) / 2;
        step = step < UINT64_MAX / 4 ? step * 4 : step;
        found = middle;
        rc = tl_next_chunk(c, epoch, oid, dkey, akey, clears, &found, &size);
        if (rc == 0)
            low = found;
        else if (rc == -ENOENT) {
            high = middle;
            rc = 0;
        }
    }
    if (rc == 0)
        rc = chunk_extents(c, epoch, oid, dkey, akey, clears, size, low * tl_chunk_records(size), &x);
    if (rc == 0 || rc == -ENOENT)
        *end = rc == 0 ? x.end : 0;
    return rc == -ENOENT ? 0 : rc;
}

int tl_cont_array_end(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                      struct tiercel_bytes akey, uint64_t *end)
{
    struct tl_clears clears;
    uint64_t found = 0;
    int rc = tl_cont_read_epoch(c, epoch, 0, &epoch);
    rc = rc == 0 ? tl_cont_settle_for(c, epoch, tl_thing_hash(oid, &dkey)) : rc;
    rc = rc == 0 ? tl_clears_gather(c, epoch, oid, dkey, akey, TL_MET_PAGE, &clears) : rc;
    if (rc != 0)
        return rc;
    rc = tl_array_end(c, epoch, oid, dkey, akey, &clears, &found);
    tl_clears_free(&clears);
    rc = rc == 0 ? tl_cont_still_readable(c, epoch) : rc;
    if (rc == 0)
        *end = found;
    return rc;
}

/* ---- numbers for objects ---- */

struct allocation {
    uint64_t count, first;
};

static int allocate(void *ctx, struct tl_store_tx *tx)
{
    struct allocation *a = ctx;
    struct tl_slice key = {"o", 1}, value;
    uint8_t v[8];
    int rc = tx->ops->get(tx, key, &value);
    if (rc != 0 && rc != -ENOENT)
        return rc;
    a->first = rc == 0 && value.len == 8 ? tl_get_u64(value.at) : 1;
    if (a->count > UINT64_MAX - a->first)
        return -EOVERFLOW;
    tl_put_u64(v, a->first + a->count);
    return tx->ops->put(tx, key, (struct tl_slice){v, sizeof v});
}

int tl_cont_oid_allocate(struct tl_cont *c, uint64_t count, uint64_t *first)
{
    struct tl_store *s = c->pool->shared->store;
    struct allocation a = {.count = count};
    int rc = tl_cont_refresh(c);
    if (rc == 0 && (c->flags & TIERCEL_RW) == 0)
        rc = -EACCES;
    rc = rc == 0 ? tl_state_change(s, &c->id, allocate, &a) : rc;
    if (rc == 0)
        *first = a.first;
    return rc;
}
