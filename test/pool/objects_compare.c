// SPDX-License-Identifier: Apache-2.0
/* Reading a container and comparing it with the oracle; see objects.h. */
#include "pool/objects.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW (128u << 10)

typedef unsigned long long ull;

static uint8_t room[8u << 20];

static bool fetch(struct objects_run *x, unsigned h, struct oracle_slot s, uint64_t epoch, unsigned flags,
                  struct tiercel_io *io, int *rc)
{
    struct tl_error err = {.code = 0};
    io->akey = objects_key(s.akey);
    tl_pool_lock(x->pool);
    *rc = tl_cont_fetch(x->conts[h], epoch, objects_oid(s.object), objects_key(s.dkey), flags, io, 1, &err);
    tl_pool_unlock(x->pool);
    x->fetches++;
    return err.code == *rc || objects_wrong(x, "fetch gave %d, but its sentence is of %d", *rc, err.code);
}

static bool compare_bytes(struct objects_run *x, const char *what, const struct oracle_write *w, uint64_t skip,
                          const uint8_t *bytes, uint64_t len)
{
    x->bytes += len;
    for (uint64_t i = 0; i < len; i++) {
        uint8_t expected = w == NULL ? 0 : oracle_byte(w, skip + i);
        if (bytes[i] != expected)
            return objects_wrong(x, "%s: byte %llu is %u instead of %u (write %lld)", what, (ull)(skip + i), bytes[i],
                                 expected, w == NULL ? -1ll : (long long)w->order);
    }
    return true;
}

static bool compare_single(struct objects_run *x, unsigned h, struct oracle_slot s, uint64_t epoch,
                           const struct oracle_write *w)
{
    struct tiercel_io size = {.buffer = NULL}, io = {.buffer = room, .buffer_len = sizeof room}, small = io;
    int rc;
    if (!fetch(x, h, s, epoch, TIERCEL_IF_THERE, &io, &rc))
        return false;
    if (rc != (w == NULL ? -ENOENT : 0))
        return objects_wrong(x, "fetch of a single value gave %d, it is %s", rc, w == NULL ? "not there" : "there");
    if (w == NULL)
        return true;
    if (io.buffer_len != w->size)
        return objects_wrong(x, "the value has %llu bytes instead of %llu", (ull)io.buffer_len, (ull)w->size);
    if (!compare_bytes(x, "single value", w, 0, room, w->size) || !fetch(x, h, s, epoch, 0, &size, &rc))
        return false;
    if (rc != 0 || size.buffer_len != w->size)
        return objects_wrong(x, "its size is said to be %llu (%d)", (ull)size.buffer_len, rc);
    small.buffer_len = w->size / 2;
    if (!fetch(x, h, s, epoch, 0, &small, &rc))
        return false;
    return rc == (w->size > 0 ? -ENOBUFS : 0) || objects_wrong(x, "a small buffer gave %d", rc);
}

/* What a piece has of the window. */
static bool compare_window(struct objects_run *x, unsigned h, struct oracle_slot s, uint64_t epoch,
                           struct tiercel_extent e)
{
    const struct oracle_seen *seen = &x->seen;
    uint64_t size = seen->record_size, at = e.first, end = e.first + e.count;
    struct tiercel_io io = {
        .extents = &e, .extent_count = 1, .record_size = size, .buffer = room, .buffer_len = e.count * size};
    int rc;
    memset(room, 0xee, e.count * size);
    if (!fetch(x, h, s, epoch, 0, &io, &rc))
        return false;
    if (rc != 0 || io.record_size != size)
        return objects_wrong(x, "fetch of records gave %d, their size is %llu instead of %llu", rc, (ull)io.record_size,
                             (ull)size);
    for (unsigned i = 0; i < seen->count && at < end; i++) {
        const struct oracle_piece *p = &seen->pieces[i];
        uint64_t from = p->first > at ? p->first : at, to = p->first + p->count < end ? p->first + p->count : end;
        if (from >= to)
            continue;
        if (!compare_bytes(x, "hole", NULL, 0, room + (at - e.first) * size, (from - at) * size) ||
            !compare_bytes(x, "records", p->write, (from - p->write->first) * size, room + (from - e.first) * size,
                           (to - from) * size))
            return false;
        at = to;
    }
    return compare_bytes(x, "hole", NULL, 0, room + (at - e.first) * size, (end - at) * size);
}

static bool compare_extents(struct objects_run *x, unsigned h, struct oracle_slot s, uint64_t epoch, uint64_t r)
{
    const struct oracle_seen *seen = &x->seen;
    struct tiercel_anchor anchor = {.end = 0};
    struct tiercel_extent got[8];
    uint64_t size, last_end = 0;
    unsigned i = 0;
    for (unsigned calls = 0; anchor.end == 0; calls++) {
        unsigned n = 1 + (unsigned)(r % 8);
        tl_pool_lock(x->pool);
        int rc = tl_cont_list_extents(x->conts[h], epoch, objects_oid(s.object), objects_key(s.dkey),
                                      objects_key(s.akey), &anchor, got, &n, &size);
        tl_pool_unlock(x->pool);
        x->listings++;
        if (rc != 0 || size != seen->record_size || calls > 2 * ORACLE_WRITES)
            return objects_wrong(x, "listing extents gave %d, size of records %llu instead of %llu, %u calls", rc,
                                 (ull)size, (ull)seen->record_size, calls);
        for (unsigned k = 0; k < n; k++) {
            struct tiercel_extent e = {0, 0};
            for (; i < seen->count && (e.count == 0 || e.first + e.count == seen->pieces[i].first); i++) {
                e.first = e.count == 0 ? seen->pieces[i].first : e.first;
                e.count += seen->pieces[i].count;
            }
            if (e.first != got[k].first || e.count != got[k].count)
                return objects_wrong(x, "extent %llu+%llu instead of %llu+%llu", (ull)got[k].first, (ull)got[k].count,
                                     (ull)e.first, (ull)e.count);
            last_end = e.first + e.count;
        }
    }
    if (i != seen->count)
        return objects_wrong(x, "extents end at %llu, with pieces of %u left", (ull)last_end, seen->count - i);
    uint64_t end = 1;
    tl_pool_lock(x->pool);
    int rc =
        tl_cont_array_end(x->conts[h], epoch, objects_oid(s.object), objects_key(s.dkey), objects_key(s.akey), &end);
    tl_pool_unlock(x->pool);
    return (rc == 0 && end == last_end) ||
           objects_wrong(x, "the array ends at %llu instead of %llu (%d)", (ull)end, (ull)last_end, rc);
}

static bool compare_records(struct objects_run *x, unsigned h, struct oracle_slot s, uint64_t epoch, uint64_t r)
{
    const struct oracle_seen *seen = &x->seen;
    if (!compare_extents(x, h, s, epoch, r))
        return false;
    uint64_t most = WINDOW / seen->record_size + 2;
    for (unsigned i = 0; i < 3 && seen->count > 0; i++) {
        const struct oracle_piece *p = &seen->pieces[(r >> (8 * i)) % seen->count];
        uint64_t before = (r >> 7) % 5, first = p->first > before ? p->first - before : 0;
        uint64_t count = i == 0 ? most : 1 + (r >> 16) % most;
        if (i == 1) /* around its end */
            first = p->first + p->count > count / 2 ? p->first + p->count - count / 2 : 0;
        if (count > UINT64_MAX - first)
            count = UINT64_MAX - first;
        if (count > 0 && !compare_window(x, h, s, epoch, (struct tiercel_extent){first, count}))
            return false;
    }
    return true;
}

bool objects_compare(struct objects_run *x, unsigned h, struct oracle_slot s, uint64_t epoch, uint64_t r)
{
    uint64_t at = epoch == 0 ? x->o.ghce : epoch;
    int may = oracle_may_read(&x->o, at), rc;
    struct tiercel_extent some = {0, 4};
    struct tiercel_io io = {.buffer = room, .buffer_len = sizeof room};
    struct tiercel_io array = {.extents = &some, .extent_count = 1, .buffer = room, .buffer_len = sizeof room};
    oracle_look(&x->o, s, at, &x->seen);
    objects_say(x, "  [%u] object %u, dkey %u, akey %u at %llu", h, s.object, s.dkey, s.akey, (ull)epoch);
    if (may != 0 || x->seen.view == ORACLE_MIXED) {
        if (!fetch(x, h, s, epoch, 0, &io, &rc))
            return false;
        if (may != 0 ? rc != may : rc != 0 && rc != -EINVAL)
            return objects_wrong(x, "reading gave %d instead of %d", rc, may);
        return true;
    }
    switch (x->seen.view) {
    case ORACLE_NOTHING:
        if (!compare_extents(x, h, s, epoch, r) || !fetch(x, h, s, epoch, TIERCEL_IF_THERE, &array, &rc))
            return false;
        return rc == -ENOENT || objects_wrong(x, "fetch of an array that is not there gave %d", rc);
    case ORACLE_VALUE:
        if (!compare_single(x, h, s, epoch, x->seen.value) || !fetch(x, h, s, epoch, 0, &array, &rc))
            return false;
        return rc == -EINVAL || objects_wrong(x, "fetch of an array gave %d, it is a single value", rc);
    default: return compare_records(x, h, s, epoch, r);
    }
}

/* ---- listings ---- */

/* Whether anything is under the first `depth` of object, dkey, akey. 1, 0; -1: that is not promised. */
static int there(const struct oracle *o, struct oracle_slot s, unsigned depth, uint64_t epoch)
{
    int any = 0;
    for (unsigned d = depth < 2 ? 0 : s.dkey; d < (depth < 2 ? ORACLE_KEYS : s.dkey + 1); d++) {
        for (unsigned a = depth < 3 ? 0 : s.akey; a < (depth < 3 ? ORACLE_KEYS : s.akey + 1); a++) {
            enum oracle_view v = oracle_view(o, (struct oracle_slot){s.object, d, a}, epoch);
            if (v == ORACLE_MIXED)
                return -1;
            any |= v != ORACLE_NOTHING;
        }
    }
    return any;
}

struct expected {
    unsigned list[ORACLE_KEYS], count;
    bool promised;
};

static void expect(const struct oracle *o, struct oracle_slot s, unsigned depth, uint64_t epoch, struct expected *e)
{
    *e = (struct expected){.promised = true};
    for (unsigned i = 0; i < (depth == 1 ? ORACLE_OBJECTS : ORACLE_KEYS); i++) {
        *(depth == 1 ? &s.object : depth == 2 ? &s.dkey : &s.akey) = i;
        int is = there(o, s, depth, epoch);
        e->promised = e->promised && is >= 0;
        if (is == 1)
            e->list[e->count++] = i;
    }
}

static int list_some(struct objects_run *x, unsigned h, struct oracle_slot s, unsigned depth, uint64_t epoch,
                     struct tiercel_anchor *anchor, size_t space, unsigned *n, unsigned *out)
{
    struct tiercel_oid oids[ORACLE_KEYS + 1];
    struct tiercel_bytes keys[ORACLE_KEYS + 1], dkey = objects_key(s.dkey);
    tl_pool_lock(x->pool);
    int rc = depth == 1 ? tl_cont_list_objects(x->conts[h], epoch, anchor, oids, n)
                        : tl_cont_list_keys(x->conts[h], epoch, objects_oid(s.object), depth == 2 ? NULL : &dkey,
                                            anchor, room, space, keys, n);
    tl_pool_unlock(x->pool);
    x->listings++;
    for (unsigned i = 0; rc == 0 && i < *n; i++) {
        for (out[i] = 0; out[i] < 100; out[i]++) {
            struct tiercel_oid oid = objects_oid(out[i] % ORACLE_OBJECTS);
            struct tiercel_bytes key = objects_key(out[i] % ORACLE_KEYS);
            if (depth == 1 ? oid.hi == oids[i].hi && oid.lo == oids[i].lo
                           : key.len == keys[i].len && memcmp(key.at, keys[i].at, key.len) == 0)
                break;
        }
    }
    return rc;
}

bool objects_compare_listing(struct objects_run *x, unsigned h, struct oracle_slot s, uint64_t epoch, uint64_t r)
{
    unsigned depth = 1 + (unsigned)(r % 3), got[ORACLE_KEYS + 1], at = 0;
    struct tiercel_anchor anchor = {.end = 0};
    struct expected e;
    uint64_t epoch_at = epoch == 0 ? x->o.ghce : epoch;
    int may = oracle_may_read(&x->o, epoch_at);
    expect(&x->o, s, depth, epoch_at, &e);
    objects_say(x, "  [%u] list %s at %llu, object %u, dkey %u", h,
                depth == 1   ? "objects"
                : depth == 2 ? "dkeys"
                             : "akeys",
                (ull)epoch, s.object, s.dkey);
    for (unsigned calls = 0; anchor.end == 0; calls++) {
        unsigned n = 1 + (unsigned)((r >> 8) % ORACLE_KEYS);
        size_t space = (r >> 16) % 3 == 0 ? (r >> 20) % 250 : 2000;
        int rc = list_some(x, h, s, depth, epoch, &anchor, calls > 20 ? 2000 : space, &n, got);
        if (may != 0)
            return rc == may || objects_wrong(x, "listing gave %d instead of %d", rc, may);
        if (!e.promised && rc == -EINVAL)
            return true;
        if (rc == -ENOBUFS && calls <= 20 && (!e.promised || (at < e.count && objects_key(e.list[at]).len > space)))
            continue; /* asked again and again, and then with more room */
        if (rc != 0 || calls > 60)
            return objects_wrong(x, "listing gave %d, in %u calls", rc, calls);
        for (unsigned i = 0; e.promised && i < n; i++, at++)
            if (at >= e.count || got[i] != e.list[at])
                return objects_wrong(x, "name %u is %u instead of %d", at, got[i], at < e.count ? (int)e.list[at] : -1);
    }
    return !e.promised || at == e.count || objects_wrong(x, "the listing ends with %u of %u names", at, e.count);
}

bool objects_compare_all(struct objects_run *x, unsigned h)
{
    uint64_t at[] = {0, x->o.ghpce + 3, x->o.snapshot_count > 0 ? x->o.snapshots[0] : 0};
    struct oracle_slot s;
    bool trace = x->trace, ok = true;
    objects_say(x, "[%u] compare all", h);
    x->trace = false;
    for (unsigned i = 0; ok && i < sizeof at / sizeof *at; i++) {
        for (s.object = 0; ok && s.object < ORACLE_OBJECTS; s.object++) {
            for (s.dkey = 0; ok && s.dkey < ORACLE_KEYS; s.dkey++) {
                for (s.akey = 0; ok && s.akey < ORACLE_KEYS; s.akey++)
                    ok = objects_compare(x, h, s, at[i], s.akey * 7919 + at[i]);
                ok = ok &&
                     objects_compare_listing(x, h, (struct oracle_slot){s.object, s.dkey, 0}, at[i], s.dkey + 0x50300);
            }
        }
    }
    x->trace = trace;
    return ok;
}
