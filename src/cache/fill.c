// SPDX-License-Identifier: Apache-2.0
/* Filling values: all at once, or in pieces. Nothing is to be seen of a value until it is whole and checked.
 *
 * A fill in pieces grows in a slot of its own, large enough for the end; its pages come with its bytes. A value that turns
 * out to be small moves to where small ones are when it is committed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/time.h"
#include "cache/internal.h"

#define LOG_AHEAD  (48u << 10)      /* what an append to the log may need at once */
#define COPY_MAX   TL_CACHE_PUT_MAX /* a fill in too large a slot is copied at its end if it is no longer than this */
#define RETRIES    4u
#define FILL_INDEX 0xffu
#define FILL_SHIFT 8u

/* Room first, then the entry: its pages may have to be made. */
static int reserve_entry(struct tl_cache *c, uint32_t *entry)
{
    uint64_t growth = tl_table_growth(&c->table);
    int rc = growth > 0 ? tl_cache_room(c, growth) : 0;
    if (rc != 0)
        return rc;
    tl_cache_fit(c, growth);
    rc = tl_table_reserve(&c->table, entry);
    tl_cache_fit(c, 0);
    if (rc == -ENOSPC && tl_cache_evict_one(c)) /* as many values as entries */
        rc = tl_table_reserve(&c->table, entry);
    return rc;
}

/* The slot's first bytes are there, in steps. */
static int extend(struct tl_cache *c, uint64_t place, uint64_t bytes)
{
    int rc = 0;
    for (uint64_t have = tl_space_pages(c->space, place); rc == 0 && have < bytes;
         have = tl_space_pages(c->space, place))
        rc = tl_space_extend(c->space, place, bytes - have > TL_SPACE_STEP ? have + TL_SPACE_STEP : bytes);
    return rc;
}

/* A slot whose first `first` bytes are there. */
static int take_pages(struct tl_cache *c, uint64_t bytes, uint64_t first, uint64_t *place)
{
    for (uint32_t i = 0; i < RETRIES; i++) {
        int rc = tl_space_take(c->space, bytes, place);
        if (rc == -EFBIG)
            return rc;
        if (rc == 0) {
            rc = extend(c, *place, first);
            if (rc == 0)
                return 0;
            tl_space_give(c->space, *place, true); /* with what was made: it is the first that is found again */
        }
        if (rc == -EAGAIN)
            return rc;
        int made = tl_cache_room(c, first);
        if (made != 0)
            return made;
        if (rc == -ENOMEM) /* the machine has no memory below our limit either */
            return rc;
    }
    return -EAGAIN;
}

static int take_record(struct tl_cache *c, uint32_t owner, uint32_t len, uint64_t *place)
{
    int rc = tl_cache_room(c, LOG_AHEAD);
    return rc == 0 ? tl_log_append(c->log, owner, len, place) : rc;
}

/* May a value of this size be filled? */
static int admit(struct tl_cache *c, const struct tl_cache_attr *a, uint64_t size)
{
    if (a->class > TL_VALUE_PINNED || a->job >= TL_VALUE_JOBS)
        return -EINVAL;
    if (!a->replace && tl_table_find(&c->table, a->key) != TL_ENTRY_NONE)
        return -EEXIST;
    if (c->fill_count > 0 && tl_cache_filling(c, a->key))
        return -EALREADY;
    if (size >= tl_space_limit(c->space))
        return -EFBIG;
    if (a->class == TL_VALUE_PINNED && !tl_cache_may_pin(c, size))
        return -EDQUOT;
    return tl_cache_quota_room(c, a->job, size);
}

/* The reserved entry becomes the key's value; what it replaces is gone. */
static int publish(struct tl_cache *c, uint32_t entry, const struct tl_entry_view *v)
{
    uint32_t old = tl_table_find(&c->table, v->key), rivals[2 * TL_BUCKET_WAYS];
    int rc = tl_table_publish(&c->table, entry, v, old);
    if (rc == -EXFULL) { /* a thing of bad luck: sixteen values want the same two buckets */
        uint32_t n = tl_table_rivals(&c->table, v->key, rivals);
        for (uint32_t i = 0; i < n && rc == -EXFULL; i++)
            if (tl_evict_listed(c->evict, rivals[i])) {
                tl_cache_tell_evicting(c, rivals[i]);
                tl_cache_forget(c, rivals[i]);
                rc = tl_table_publish(&c->table, entry, v, TL_ENTRY_NONE);
            }
    }
    if (rc != 0)
        return -ENOSPC;
    if (old != TL_ENTRY_NONE) {
        c->stats.replaced++;
        tl_cache_forget(c, old);
    }
    tl_cache_count(c, entry, v, true);
    c->stats.puts++;
    c->stats.put_bytes += v->size;
    return 0;
}

static struct tl_entry_view view_of(const struct tl_cache *c, const struct tl_cache_attr *a, enum tl_value_kind kind,
                                    uint64_t size, uint64_t place, struct tl_hash digest)
{
    const struct tl_value_meta meta = {.state = TL_VALUE_READY,
                                       .kind = kind,
                                       .class = a->class,
                                       .job = a->job,
                                       .era = (uint32_t)atomic_load(&c->table.head->era)};
    return (struct tl_entry_view){
        .key = a->key, .digest = digest, .size = size, .place = place, .meta = tl_meta_pack(meta)};
}

/* The label into the log. An entry without one is as good. */
static int put_label(struct tl_cache *c, uint32_t entry, const char *label)
{
    struct tl_extra *x = &c->table.extras[entry];
    size_t len = label == NULL ? 0 : strnlen(label, TL_CACHE_LABEL_MAX);
    *x = (struct tl_extra){.label_place = NO_LABEL, .filled_s = (uint32_t)(tl_time_real_ns() / TL_NS_PER_S)};
    if (len == 0)
        return 0;
    int rc = take_record(c, entry * 2 + 1, (uint32_t)len, &x->label_place);
    if (rc != 0)
        return rc;
    x->label_len = (uint32_t)len;
    memcpy(tl_space_at(c->space, x->label_place), label, len);
    return 0;
}

static void undo(struct tl_cache *c, uint32_t entry)
{
    if (c->table.extras[entry].label_place != NO_LABEL)
        tl_log_kill(c->log, c->table.extras[entry].label_place);
    tl_table_release(&c->table, entry);
}

/* Copies the bytes to where values of this size are. */
static int store(struct tl_cache *c, uint32_t entry, const void *bytes, uint64_t size, enum tl_value_kind *kind,
                 uint64_t *place)
{
    int rc = 0;
    *place = 0;
    *kind = size == 0 ? TL_VALUE_EMPTY : tl_cache_is_record(c, size) ? TL_VALUE_RECORD : TL_VALUE_PAGES;
    if (*kind == TL_VALUE_RECORD)
        rc = take_record(c, entry * 2, (uint32_t)size, place);
    else if (*kind == TL_VALUE_PAGES)
        rc = take_pages(c, size, size, place);
    if (rc == 0 && size > 0)
        memcpy(tl_space_at(c->space, *place), bytes, size);
    return rc;
}

static void unstore(struct tl_cache *c, enum tl_value_kind kind, uint64_t place)
{
    if (kind == TL_VALUE_RECORD)
        tl_log_kill(c->log, place);
    else if (kind == TL_VALUE_PAGES)
        tl_space_give(c->space, place, true);
}

static int put(struct tl_cache *c, const struct tl_cache_attr *a, const void *bytes, uint64_t size)
{
    uint32_t entry;
    uint64_t place;
    enum tl_value_kind kind;
    int rc = reserve_entry(c, &entry);
    if (rc != 0)
        return rc;
    rc = put_label(c, entry, a->label);
    if (rc != 0) {
        undo(c, entry);
        return rc;
    }
    rc = store(c, entry, bytes, size, &kind, &place);
    if (rc != 0) {
        undo(c, entry);
        return rc;
    }
    /* Of our copy: the bytes may be a client's, who can change them at any time. */
    struct tl_hash digest = tl_hash_bytes(size > 0 ? tl_space_at(c->space, place) : "", size, 0);
    rc = a->check && !tl_hash_equal(digest, a->digest) ? -EBADMSG : 0;
    const struct tl_entry_view v = view_of(c, a, kind, size, place, digest);
    if (rc == 0)
        rc = publish(c, entry, &v);
    if (rc != 0) {
        unstore(c, kind, place);
        undo(c, entry);
    }
    return rc;
}

int tl_cache_put(struct tl_cache *c, const struct tl_cache_attr *attr, const void *bytes, uint64_t size)
{
    check(size <= TL_CACHE_PUT_MAX);
    int rc = admit(c, attr, size);
    if (rc == 0)
        rc = put(c, attr, bytes, size);
    if (rc == -ENOMEM) { /* others have taken it: we make do with what we have */
        tl_cache_squeeze(c, true);
        rc = put(c, attr, bytes, size);
        tl_cache_squeeze(c, false);
    }
    c->stats.refused += rc == -ENOSPC || rc == -EDQUOT || rc == -ENOMEM;
    c->stats.damaged += rc == -EBADMSG;
    return rc;
}

/* ---- in pieces ---- */

bool tl_cache_filling(const struct tl_cache *c, struct tl_hash key)
{
    for (uint32_t i = 0, seen = 0; i < TL_CACHE_FILLS_MAX && seen < c->fill_count; i++) {
        seen += c->fills[i].used;
        if (c->fills[i].used && tl_hash_equal(c->fills[i].attr.key, key))
            return true;
    }
    return false;
}

static struct tl_fill *fill_at(struct tl_cache *c, uint32_t id)
{
    struct tl_fill *f = &c->fills[id & FILL_INDEX];
    check(f->used && f->turn == id >> FILL_SHIFT);
    return f;
}

static void end_fill(struct tl_cache *c, struct tl_fill *f)
{
    if (f->place != NO_PLACE)
        tl_space_give(c->space, f->place, true);
    tl_hasher_free(f->hasher);
    free(f->label);
    *f = (struct tl_fill){.turn = f->turn};
    c->fill_count--;
}

int tl_cache_begin(struct tl_cache *c, const struct tl_cache_attr *attr, uint64_t size, uint32_t *fill)
{
    uint64_t most = attr->bytes_max != 0 ? attr->bytes_max : TL_CACHE_UNKNOWN_MAX;
    uint64_t largest = tl_space_bytes_max(c->space);
    most = size != TL_CACHE_UNKNOWN ? size : most < largest ? most : largest;
    int rc = admit(c, attr, size != TL_CACHE_UNKNOWN ? size : 1);
    if (rc == 0 && most > largest)
        rc = -EFBIG;
    if (rc != 0)
        return rc;
    uint32_t i = 0;
    while (i < TL_CACHE_FILLS_MAX && c->fills[i].used)
        i++;
    if (i == TL_CACHE_FILLS_MAX)
        return -EBUSY;
    struct tl_fill *f = &c->fills[i];
    struct tl_hasher *hasher = tl_hasher_new(0);
    char *label = attr->label != NULL ? strndup(attr->label, TL_CACHE_LABEL_MAX) : NULL;
    if (hasher == NULL || (attr->label != NULL && label == NULL)) {
        tl_hasher_free(hasher);
        free(label);
        return -ENOMEM;
    }
    *f = (struct tl_fill){.used = true,
                          .turn = (f->turn + 1) & (UINT32_MAX >> FILL_SHIFT),
                          .attr = *attr,
                          .label = label,
                          .size = size,
                          .size_max = most,
                          .place = NO_PLACE,
                          .hasher = hasher};
    f->attr.label = label;
    c->fill_count++;
    *fill = f->turn << FILL_SHIFT | i;
    return 0;
}

/* Pages for the next bytes of a fill. */
static int grow(struct tl_cache *c, struct tl_fill *f, uint64_t upto)
{
    if (f->place == NO_PLACE) {
        uint64_t place;
        int rc = take_pages(c, f->size_max, upto, &place);
        if (rc == 0)
            f->place = place;
        return rc;
    }
    for (uint32_t i = 0; i < RETRIES; i++) {
        int rc = extend(c, f->place, upto);
        if (rc != -ENOSPC)
            return rc;
        rc = tl_cache_room(c, upto - tl_space_pages(c->space, f->place));
        if (rc != 0)
            return rc;
    }
    return -EAGAIN;
}

int64_t tl_cache_write(struct tl_cache *c, uint32_t fill, const void *bytes, uint64_t len)
{
    struct tl_fill *f = fill_at(c, fill);
    if (len > f->size_max - f->written)
        return -EFBIG;
    len = len > TL_CACHE_STEP ? TL_CACHE_STEP : len;
    if (len == 0)
        return 0;
    int rc = grow(c, f, f->written + len);
    if (rc == -ENOMEM) {
        tl_cache_squeeze(c, true);
        rc = grow(c, f, f->written + len);
        tl_cache_squeeze(c, false);
    }
    uint64_t have = f->place != NO_PLACE ? tl_space_pages(c->space, f->place) : 0;
    if (rc == -EAGAIN && have > f->written) { /* as far as pages came */
        len = have - f->written < len ? have - f->written : len;
        rc = 0;
    }
    if (rc != 0)
        return rc;
    uint8_t *to = (uint8_t *)tl_space_at(c->space, f->place) + f->written;
    memcpy(to, bytes, len);
    tl_hasher_add(f->hasher, to, len);
    f->written += len;
    return (int64_t)len;
}

/* Where the value stays: as it is, or copied, if it is much smaller than its slot. */
static int settle(struct tl_cache *c, struct tl_fill *f, uint32_t entry, enum tl_value_kind *kind, uint64_t *place)
{
    *kind = f->written == 0 ? TL_VALUE_EMPTY : TL_VALUE_PAGES;
    *place = f->written == 0 ? 0 : f->place;
    if (f->written == 0 || f->written > COPY_MAX)
        return 0;
    if (!tl_cache_is_record(c, f->written) && tl_space_room(c->space, f->place) < 4 * f->written)
        return 0;
    return store(c, entry, tl_space_at(c->space, f->place), f->written, kind, place);
}

static int commit(struct tl_cache *c, struct tl_fill *f)
{
    struct tl_hash digest = tl_hasher_digest(f->hasher);
    uint32_t entry;
    enum tl_value_kind kind;
    uint64_t place;
    if (f->size != TL_CACHE_UNKNOWN && f->written != f->size)
        return -EBADMSG;
    if (f->attr.check && !tl_hash_equal(digest, f->attr.digest))
        return -EBADMSG;
    if (f->attr.class == TL_VALUE_PINNED || c->table.jobs[f->attr.job].quota_bytes != 0) {
        c->fill_count--; /* ourselves */
        f->used = false;
        int rc = admit(c, &f->attr, f->written); /* the size is known now, and others may have come meanwhile */
        f->used = true;
        c->fill_count++;
        if (rc != 0)
            return rc;
    }
    int rc = reserve_entry(c, &entry);
    if (rc != 0)
        return rc;
    rc = put_label(c, entry, f->label);
    if (rc == 0)
        rc = settle(c, f, entry, &kind, &place);
    if (rc != 0) {
        undo(c, entry);
        return rc;
    }
    const struct tl_entry_view v = view_of(c, &f->attr, kind, f->written, place, digest);
    rc = publish(c, entry, &v);
    if (rc != 0) {
        if (place != f->place)
            unstore(c, kind, place);
        undo(c, entry);
        return rc;
    }
    if (kind == TL_VALUE_PAGES && place == f->place)
        f->place = NO_PLACE; /* the value's now */
    return 0;
}

int tl_cache_commit(struct tl_cache *c, uint32_t fill)
{
    struct tl_fill *f = fill_at(c, fill);
    int rc = commit(c, f);
    if (rc == -EAGAIN)
        return rc;
    c->stats.refused += rc == -ENOSPC || rc == -EDQUOT || rc == -ENOMEM;
    c->stats.damaged += rc == -EBADMSG;
    end_fill(c, f);
    return rc;
}

void tl_cache_abort(struct tl_cache *c, uint32_t fill)
{
    c->stats.aborted++;
    end_fill(c, fill_at(c, fill));
}
