// SPDX-License-Identifier: Apache-2.0
/* See objects.h. */
#include "pool/objects.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool/place.h"

#define CHUNK TL_STORE_PAYLOAD_MAX

typedef unsigned long long ull;

static uint8_t payload[16u << 20]; /* three values, of up to 4 MiB each */

bool objects_wrong(struct objects_run *x, const char *fmt, ...)
{
    va_list args;
    int n = snprintf(x->why, sizeof x->why, "%s: ", x->did);
    va_start(args, fmt);
    vsnprintf(x->why + n, sizeof x->why - (size_t)n, fmt, args);
    va_end(args);
    return false;
}

void objects_say(struct objects_run *x, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(x->did, sizeof x->did, fmt, args);
    va_end(args);
    if (x->trace)
        printf("  %s\n", x->did);
}

static bool same(struct objects_run *x, int rc, int expected)
{
    return rc == expected ||
           objects_wrong(x, "%d (%s) instead of %d (%s)", rc, strerror(-rc), expected, strerror(-expected));
}

struct tiercel_oid objects_oid(unsigned object)
{
    static const struct tiercel_oid oids[] = {{0, 0}, {0, UINT64_MAX}, {UINT64_MAX >> 16, UINT64_MAX}};
    return oids[object];
}

struct tiercel_bytes objects_key(unsigned key)
{
    static uint8_t longest[TIERCEL_KEY_MAX];
    static const struct tiercel_bytes keys[] = {
        {"", 0}, {"\0", 1}, {"\0\377\0\1", 4}, {"a", 1}, {longest, sizeof longest}};
    memset(longest, 255, sizeof longest);
    return keys[key];
}

/* ---- beginning and ending ---- */

static bool open_handle(struct objects_run *x, unsigned h, bool noslip)
{
    struct tl_error err = {.code = 0};
    tl_pool_lock(x->pool);
    int rc = tl_cont_open(&x->conts[h], x->pool, "c", TIERCEL_RW | (noslip ? TIERCEL_NOSLIP : 0), &err);
    tl_pool_unlock(x->pool);
    if (rc != 0)
        return objects_wrong(x, "%s", err.msg);
    oracle_open(&x->o, h, noslip);
    return x->conts[h]->handle == x->o.handles[h].id || objects_wrong(x, "handle %u", x->conts[h]->handle);
}

static bool connect(struct objects_run *x)
{
    struct tl_error err = {.code = 0};
    if (tl_pool_connect(&x->pool, x->where, TIERCEL_RW, &err) != 0)
        return objects_wrong(x, "%s", err.msg);
    if (x->plant != NULL)
        x->plant(x->pool->shared);
    return true;
}

bool objects_begin(struct objects_run *x, const char *base)
{
    struct tl_error err = {.code = 0};
    uint64_t epoch = 1;
    objects_say(x, "begin");
    if (!place_new(x->where, sizeof x->where, base, "objects") || tl_pool_create(x->where, NULL, &err) != 0 ||
        !connect(x))
        return objects_wrong(x, "%s: %s", x->where, err.msg);
    tl_pool_lock(x->pool);
    int rc = tl_cont_create(x->pool, "c", NULL, &err);
    tl_pool_unlock(x->pool);
    if (rc != 0 || !open_handle(x, 0, true))
        return objects_wrong(x, "%s", err.msg);
    tl_pool_lock(x->pool);
    rc = tl_cont_hold(x->conts[0], &epoch, NULL);
    tl_pool_unlock(x->pool);
    return same(x, rc, oracle_hold(&x->o, 0, &epoch));
}

bool objects_adopt(struct objects_run *x)
{
    objects_say(x, "adopt");
    return connect(x) && open_handle(x, 0, true);
}

static void hear(void *ctx, const char *finding)
{
    struct objects_run *x = ctx;
    if (x->trace)
        printf("  check: %s\n", finding);
    snprintf(x->did, sizeof x->did, "check: %.200s", finding);
}

bool objects_check(struct objects_run *x)
{
    objects_say(x, "check");
    tl_pool_lock(x->pool);
    int rc = tl_pool_check(x->pool, false, hear, x);
    tl_pool_unlock(x->pool);
    return same(x, rc, 0);
}

void objects_end(struct objects_run *x)
{
    struct tl_error err = {.code = 0};
    for (unsigned h = 0; h < ORACLE_HANDLES; h++)
        if (x->conts[h] != NULL)
            tl_cont_close(x->conts[h]);
    tl_pool_disconnect(x->pool);
    if (tl_pool_destroy(x->where, 0, &err) != 0)
        printf("%s\n", err.msg);
}

/* ---- epochs ---- */

static bool compare_epochs(struct objects_run *x, unsigned h)
{
    struct tiercel_epochs e;
    const struct oracle_handle *m = &x->o.handles[h];
    if (x->conts[h] == NULL)
        return true;
    tl_pool_lock(x->pool);
    int rc = tl_cont_epochs(x->conts[h], &e);
    tl_pool_unlock(x->pool);
    if (rc != 0 || e.hce != m->hce || e.lhe != m->lhe || e.lre != m->lre || e.ghce != x->o.ghce ||
        e.ghpce != x->o.ghpce)
        return objects_wrong(x, "%d: hce %llu/%llu lhe %llu/%llu lre %llu/%llu ghce %llu/%llu ghpce %llu/%llu", rc,
                             (ull)e.hce, (ull)m->hce, (ull)e.lhe, (ull)m->lhe, (ull)e.lre, (ull)m->lre, (ull)e.ghce,
                             (ull)x->o.ghce, (ull)e.ghpce, (ull)x->o.ghpce);
    return true;
}

enum type {
    SINGLE,
    ARRAY,
    SEVERAL,
    PUNCH,
    CLEAR,
    HOLD,
    COMMIT,
    FLUSH,
    DISCARD,
    SLIP,
    SNAPSHOT,
    AGGREGATE,
    OPEN,
    CLOSE,
    RECONNECT,
    READ,
    LIST,
    COMPARE,
    TYPES
};

static bool change_epochs(struct objects_run *x, unsigned h, enum type type, const uint64_t *r)
{
    struct tl_cont *c = x->conts[h];
    const struct oracle_handle *m = &x->o.handles[h];
    uint64_t base = m->lhe == UINT64_MAX ? x->o.ghpce + 1 : m->lhe;
    uint64_t epoch = r[0] % 32 == 0 ? UINT64_MAX : r[0] % 8 == 0 ? base - (base > 0) : base + r[1] % 4;
    uint64_t last = epoch == UINT64_MAX ? epoch : epoch + r[2] % 3, wanted = epoch;
    int rc = -1, expected = -1;
    tl_pool_lock(x->pool);
    switch (type) {
    case HOLD:
        wanted = epoch = r[0] % 4 == 0 ? 0 : epoch;
        objects_say(x, "[%u] hold %llu", h, (ull)epoch);
        expected = oracle_hold(&x->o, h, &wanted);
        rc = tl_cont_hold(c, &epoch, NULL);
        break;
    case COMMIT:
        objects_say(x, "[%u] commit %llu", h, (ull)epoch);
        expected = oracle_commit(&x->o, h, epoch);
        rc = tl_cont_commit(c, epoch, NULL);
        break;
    case FLUSH:
        objects_say(x, "[%u] flush %llu", h, (ull)epoch);
        expected = oracle_may_write(&x->o, h, epoch);
        rc = tl_cont_flush(c, epoch, NULL);
        break;
    case DISCARD:
        objects_say(x, "[%u] discard %llu..%llu", h, (ull)epoch, (ull)last);
        expected = oracle_discard(&x->o, h, epoch, last);
        rc = tl_cont_discard(c, epoch, last, NULL);
        break;
    case SLIP:
        epoch = wanted = r[0] % 16 == 0 ? UINT64_MAX : m->lre + r[1] % 3;
        objects_say(x, "[%u] slip %llu", h, (ull)epoch);
        expected = oracle_slip(&x->o, h, epoch);
        rc = tl_cont_slip(c, epoch, NULL);
        break;
    default: break;
    }
    tl_pool_unlock(x->pool);
    return same(x, rc, expected) && same(x, (int)(epoch - wanted), 0) && compare_epochs(x, h);
}

static bool change_snapshots(struct objects_run *x, unsigned h, const uint64_t *r)
{
    uint64_t got[ORACLE_SNAPSHOTS + 1], epoch = x->o.ghce + 1 - (r[1] % 5 < x->o.ghce + 1 ? r[1] % 5 : 0);
    unsigned count = ORACLE_SNAPSHOTS + 1;
    bool create = r[0] % 3 != 0;
    if (!create && x->o.snapshot_count > 0)
        epoch = x->o.snapshots[r[2] % x->o.snapshot_count];
    objects_say(x, "[%u] %s snapshot %llu", h, create ? "create" : "destroy", (ull)epoch);
    tl_pool_lock(x->pool);
    int rc = tl_cont_snapshot(x->conts[h], epoch, create);
    int listed = tl_cont_snapshots(x->conts[h], got, &count);
    tl_pool_unlock(x->pool);
    if (!same(x, rc, oracle_snapshot(&x->o, epoch, create)) || !same(x, listed, 0))
        return false;
    return (count == x->o.snapshot_count && memcmp(got, x->o.snapshots, count * sizeof *got) == 0) ||
           objects_wrong(x, "%u snapshots instead of %u, or others", count, x->o.snapshot_count);
}

static bool aggregate(struct objects_run *x, unsigned h)
{
    struct tl_aggregation a = {.stage = 0};
    int rc = 1;
    objects_say(x, "[%u] aggregate", h);
    tl_pool_lock(x->pool);
    for (unsigned i = 0; rc == 1 && i < 100000; i++)
        rc = tl_cont_aggregate(x->conts[h], &a);
    tl_pool_unlock(x->pool);
    oracle_aggregate(&x->o);
    return same(x, rc, 0) && compare_epochs(x, h);
}

static bool close_handle(struct objects_run *x, unsigned h)
{
    objects_say(x, "[%u] close", h);
    int rc = tl_cont_close(x->conts[h]);
    x->conts[h] = NULL;
    oracle_close(&x->o, h);
    return same(x, rc, 0);
}

static bool reconnect(struct objects_run *x)
{
    objects_say(x, "reconnect");
    for (unsigned h = 0; h < ORACLE_HANDLES; h++) {
        if (x->conts[h] != NULL)
            oracle_close(&x->o, h); /* the container is closed below */
    }
    int rc = tl_pool_disconnect(x->pool);
    for (unsigned h = 0; h < ORACLE_HANDLES; h++) {
        tl_cont_close(x->conts[h]);
        x->conts[h] = NULL;
    }
    return same(x, rc, 0) && connect(x) && open_handle(x, 0, true);
}

/* ---- writing ---- */

/* Often one that was written lately. */
static struct oracle_slot slot_of(const struct objects_run *x, uint64_t r)
{
    unsigned lately = x->o.write_count < 12 ? x->o.write_count : 12;
    if (r % 5 < 3 && lately > 0)
        return x->o.writes[x->o.write_count - 1 - r / 8 % lately].slot;
    r /= 8;
    return (struct oracle_slot){(unsigned)(r % ORACLE_OBJECTS), (unsigned)(r / 16 % ORACLE_KEYS),
                                (unsigned)(r / 256 % ORACLE_KEYS)};
}

static uint64_t value_size(uint64_t r)
{
    uint64_t small = r >> 8;
    switch (r % 32) {
    case 0: return 0;
    case 1:
    case 2: return 510 + small % 5;
    case 3:
    case 4: return (64u << 10) - 1 + small % 3;
    case 5: return small % 4 == 0 ? CHUNK - 1 + small / 4 % 3 : 70000;
    case 6: return small % 16 == 0 ? 2 * CHUNK + small % CHUNK : 700;
    default: return small % 64;
    }
}

static uint32_t record_size_of(struct oracle_slot s, uint64_t r)
{
    static const uint32_t sizes[] = {1, 8, 1, 100, 4096, 70000, 1, 3, CHUNK, 600};
    uint64_t usual = s.object * 25 + s.dkey * 5 + s.akey;
    return sizes[(r % 24 == 0 ? r / 32 : usual) % (sizeof sizes / sizeof *sizes)];
}

static uint64_t first_record(uint64_t r, uint64_t per, uint64_t span)
{
    switch (r % 8) {
    case 0:
    case 1:
    case 2:
    case 3: return r / 8 % 48;
    case 4: return per > 3 ? per - 3 + r / 8 % 6 : r / 8 % 6;
    case 5: return 2 * per + (per > 3 ? per - 3 + r / 8 % 6 : r / 8 % 6);
    case 6: return (1ull << 40) + r / 8 % 16;
    default: return UINT64_MAX - span - r / 8 % 3;
    }
}

struct drawn {
    struct tiercel_io io;
    struct tiercel_extent extents[3];
    struct oracle_write writes[3]; /* one for each extent, or for the value */
    unsigned count;
};

static void draw_array(struct drawn *d, struct oracle_slot s, const uint64_t *r)
{
    uint32_t size = record_size_of(s, r[1]);
    uint64_t most = size == CHUNK ? 1 : size > 4096 ? 4 : r[2] % 4 == 0 ? (256u << 10) / size + 1 : 6;
    uint64_t step = 0, total = 0;
    d->count = 1 + (unsigned)(r[3] % 8 < 3 ? r[3] % 8 : 0);
    for (unsigned i = 0; i < d->count; i++) {
        d->extents[i].count = 1 + (r[4] >> (i * 16)) % most;
        d->extents[i].first = step;
        step += d->extents[i].count + (r[5] >> (i * 4)) % 3;
        total += d->extents[i].count;
    }
    if (r[5] % 24 == 0 && d->count > 1)
        d->extents[1].first = d->extents[0].first; /* they overlap */
    uint64_t base = first_record(r[6], tl_chunk_records(size), step);
    for (unsigned i = 0; i < d->count; i++) {
        d->extents[i].first += base;
        d->writes[i] = (struct oracle_write){
            .kind = ORACLE_ARRAY, .slot = s, .size = size, .first = d->extents[i].first, .count = d->extents[i].count};
    }
    if (d->count == 3 && r[7] % 2 == 0) { /* not in their order */
        struct tiercel_extent e = d->extents[0];
        struct oracle_write w = d->writes[0];
        d->extents[0] = d->extents[2];
        d->writes[0] = d->writes[2];
        d->extents[2] = e;
        d->writes[2] = w;
    }
    d->io = (struct tiercel_io){
        .extents = d->extents, .extent_count = d->count, .record_size = size, .buffer_len = total * size};
}

static void draw_io(struct drawn *d, struct oracle_slot s, bool array, const uint64_t *r)
{
    memset(d, 0, sizeof *d);
    if (array) {
        draw_array(d, s, r);
    } else {
        uint64_t size = value_size(r[1]);
        d->writes[0] = (struct oracle_write){.kind = ORACLE_SINGLE, .slot = s, .size = size};
        d->io = (struct tiercel_io){.record_size = size, .buffer_len = size};
        d->count = 1;
    }
    d->io.akey = objects_key(s.akey);
}

/* What the bytes are follows from the number that the write will have. */
static size_t fill(struct drawn *d, uint64_t order, uint8_t *out)
{
    size_t at = 0;
    for (unsigned i = 0; i < d->count; i++) {
        d->writes[i].order = order + i;
        uint64_t len = d->writes[i].size * (d->io.extents == NULL ? 1 : d->extents[i].count);
        for (uint64_t b = 0; b < len; b++)
            out[at++] = oracle_byte(&d->writes[i], b);
    }
    d->io.buffer = out;
    return at;
}

static bool overlaps(const struct drawn *d)
{
    for (unsigned i = 0; i < d->io.extent_count; i++)
        for (unsigned j = 0; j < i; j++)
            if (d->extents[i].first < d->extents[j].first + d->extents[j].count &&
                d->extents[j].first < d->extents[i].first + d->extents[i].count)
                return true;
    return false;
}

/* What the update should give; 1: nothing is promised. */
static int expected_of_update(struct objects_run *x, unsigned h, uint64_t epoch, unsigned flags, struct drawn *d,
                              unsigned count)
{
    int rc = oracle_may_write(&x->o, h, epoch);
    for (unsigned i = 0; rc == 0 && i < count; i++)
        rc = overlaps(&d[i]) ? -EINVAL : 0;
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        oracle_look(&x->o, d[i].writes[0].slot, epoch, &x->seen);
        bool there = x->seen.view != ORACLE_NOTHING, array = d[i].io.extents != NULL;
        if (x->seen.view == ORACLE_MIXED && (flags != 0 || array))
            return 1;
        if (there && (flags & TIERCEL_IF_MISSING) != 0)
            return -EEXIST;
        if (!there && (flags & TIERCEL_IF_THERE) != 0)
            return -ENOENT;
        if (array && there && (x->seen.view == ORACLE_VALUE || x->seen.record_size != d[i].io.record_size))
            return -EINVAL;
    }
    return rc;
}

static bool update(struct objects_run *x, unsigned h, enum type type, const uint64_t *r)
{
    static struct drawn d[3];
    struct tiercel_io ios[3];
    struct tl_error err = {.code = 0};
    const struct oracle_handle *m = &x->o.handles[h];
    unsigned count = type == SEVERAL ? 2 + (unsigned)(r[2] % 2) : 1, orders = 0;
    unsigned flags = r[7] % 8 == 0 ? TIERCEL_IF_MISSING : r[7] % 8 == 1 ? TIERCEL_IF_THERE : 0;
    uint64_t epoch = m->lhe == UINT64_MAX ? x->o.ghpce + 1 : r[0] % 24 == 0 ? m->lhe - 1 : m->lhe + r[0] / 32 % 4;
    struct oracle_slot s = slot_of(x, r[1] >> 20);
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        uint64_t part[OBJECTS_DRAWS];
        for (unsigned k = 0; k < OBJECTS_DRAWS; k++)
            part[k] = i == 0 ? r[k] : tl_prng_mix(r[k] + i);
        struct oracle_slot own = {s.object, s.dkey, (s.akey + i) % ORACLE_KEYS};
        bool usual = (own.object + own.dkey + own.akey) % 2 == 0;
        draw_io(&d[i], own, type == SEVERAL ? part[3] % 16 == 0 ? !usual : usual : type == ARRAY, part);
        check(d[i].io.buffer_len <= sizeof payload - at);
        at += fill(&d[i], x->o.write_count + orders, payload + at);
        orders += d[i].count;
        ios[i] = d[i].io;
    }
    const struct drawn *l = &d[0];
    objects_say(
        x,
        "[%u] update %u values at %llu, flags %u, object %u, dkey %u, akey %u: %s size %llu, %llu+%llu (%u), write %u",
        h, count, (ull)epoch, flags, s.object, s.dkey, s.akey, l->io.extents == NULL ? "single" : "array",
        (ull)l->io.record_size, (ull)l->writes[0].first, (ull)l->writes[0].count, l->count, x->o.write_count);
    int expected = expected_of_update(x, h, epoch, flags, d, count);
    tl_pool_lock(x->pool);
    int rc = tl_cont_update(x->conts[h], epoch, objects_oid(s.object), objects_key(s.dkey), flags, ios, count, &err);
    tl_pool_unlock(x->pool);
    if (expected != 1 && !same(x, rc, expected))
        return false;
    for (unsigned i = 0; rc == 0 && i < count; i++)
        for (unsigned k = 0; k < d[i].count; k++)
            oracle_write(&x->o, h, epoch, d[i].writes[k]);
    return rc == err.code || objects_wrong(x, "%d, but its sentence is of %d", rc, err.code);
}

static bool punch(struct objects_run *x, unsigned h, const uint64_t *r)
{
    const struct oracle_handle *m = &x->o.handles[h];
    struct oracle_slot s = slot_of(x, r[1]);
    struct tiercel_bytes dkey = objects_key(s.dkey),
                         akeys[2] = {objects_key(s.akey), objects_key((s.akey + 1) % ORACLE_KEYS)};
    struct tl_error err = {.code = 0};
    uint64_t epoch = m->lhe == UINT64_MAX ? x->o.ghpce + 1 : m->lhe + r[0] % 3;
    unsigned what = (unsigned)(r[2] % 6), count = what < 4 ? 1 + (what == 3) : 0;
    objects_say(x, "[%u] punch %s at %llu, object %u, dkey %u, akey %u (%u)", h,
                what < 4    ? "akeys"
                : what == 4 ? "dkey"
                            : "object",
                (ull)epoch, s.object, s.dkey, s.akey, count);
    tl_pool_lock(x->pool);
    int rc = tl_cont_punch(x->conts[h], epoch, objects_oid(s.object), what < 5 ? &dkey : NULL, what < 4 ? akeys : NULL,
                           count, 0, &err);
    tl_pool_unlock(x->pool);
    if (!same(x, rc, oracle_may_write(&x->o, h, epoch)))
        return false;
    struct oracle_write w = {.slot = s, .count = UINT64_MAX};
    w.kind = what < 4 ? ORACLE_CLEAR : what == 4 ? ORACLE_PUNCH_DKEY : ORACLE_PUNCH_OBJECT;
    if (rc == 0)
        oracle_write(&x->o, h, epoch, w);
    w.slot.akey = (s.akey + 1) % ORACLE_KEYS;
    if (rc == 0 && count == 2)
        oracle_write(&x->o, h, epoch, w);
    return true;
}

static bool clear(struct objects_run *x, unsigned h, const uint64_t *r)
{
    const struct oracle_handle *m = &x->o.handles[h];
    struct oracle_slot s = slot_of(x, r[1]);
    struct tl_error err = {.code = 0};
    uint64_t epoch = m->lhe == UINT64_MAX ? x->o.ghpce + 1 : m->lhe + r[0] % 3,
             per = tl_chunk_records(record_size_of(s, 1));
    uint64_t count = r[2] % 6 == 0 ? per + r[3] % per : 1 + r[3] % 20;
    struct tiercel_extent e = {first_record(r[4], per, count), count};
    oracle_look(&x->o, s, epoch, &x->seen);
    if (x->seen.count > 0 && r[4] % 3 != 0) { /* some of what is there */
        const struct oracle_piece *p = &x->seen.pieces[r[5] % x->seen.count];
        e.first = p->first + r[6] % p->count;
        e.count = e.count < UINT64_MAX - e.first ? e.count : UINT64_MAX - e.first;
    }
    objects_say(x, "[%u] clear %llu+%llu at %llu, object %u, dkey %u, akey %u", h, (ull)e.first, (ull)e.count,
                (ull)epoch, s.object, s.dkey, s.akey);
    tl_pool_lock(x->pool);
    int rc = tl_cont_array_clear(x->conts[h], epoch, objects_oid(s.object), objects_key(s.dkey), objects_key(s.akey), e,
                                 &err);
    tl_pool_unlock(x->pool);
    if (rc == 0)
        oracle_write(&x->o, h, epoch,
                     (struct oracle_write){.kind = ORACLE_CLEAR, .slot = s, .first = e.first, .count = e.count});
    return same(x, rc, oracle_may_write(&x->o, h, epoch));
}

/* ---- all of it ---- */

static uint64_t epoch_to_read(const struct oracle *o, const uint64_t *r)
{
    switch (r[3] % 6) {
    case 0: return 0;
    case 1: return o->ghce;
    case 2: return o->ghce - (r[4] % 5 < o->ghce ? r[4] % 5 : 0);
    case 3: return o->snapshot_count > 0 ? o->snapshots[r[4] % o->snapshot_count] : 1;
    case 4: return o->ghpce + r[4] % 4;
    default: return o->ghce + 1 + r[4] % 8;
    }
}

static unsigned any_open(const struct objects_run *x, uint64_t r)
{
    for (unsigned i = 0; i < ORACLE_HANDLES; i++)
        if (x->conts[(r + i) % ORACLE_HANDLES] != NULL)
            return (unsigned)((r + i) % ORACLE_HANDLES);
    return 0;
}

void objects_draw(struct tl_prng *p, struct objects_op *op)
{
    static const unsigned weights[TYPES] = {22, 26, 6, 6, 8, 5, 10, 4, 4, 3, 4, 3, 3, 2, 1, 32, 10, 1};
    unsigned all = 0, at;
    for (unsigned i = 0; i < TYPES; i++)
        all += weights[i];
    at = (unsigned)tl_prng_below(p, all);
    for (op->type = 0; at >= weights[op->type]; op->type++)
        at -= weights[op->type];
    for (unsigned i = 0; i < OBJECTS_DRAWS; i++)
        op->r[i] = tl_prng_next(p) >> 4;
}

bool objects_keeps_pool(const struct objects_op *op)
{
    return op->type != RECONNECT;
}

bool objects_do(struct objects_run *x, const struct objects_op *op)
{
    const uint64_t *r = op->r;
    unsigned h = any_open(x, r[OBJECTS_DRAWS - 1] % 8 < 5 ? 0 : r[OBJECTS_DRAWS - 1] >> 8);
    if (x->o.write_count + 16 > ORACLE_WRITES)
        return true;
    switch ((enum type)op->type) {
    case SINGLE:
    case ARRAY:
    case SEVERAL: return update(x, h, op->type, r);
    case PUNCH: return punch(x, h, r);
    case CLEAR: return clear(x, h, r);
    case HOLD:
    case COMMIT:
    case FLUSH:
    case DISCARD:
    case SLIP: return change_epochs(x, h, op->type, r);
    case SNAPSHOT: return change_snapshots(x, h, r);
    case AGGREGATE: return aggregate(x, h);
    case OPEN: {
        unsigned free = 0;
        while (free < ORACLE_HANDLES && x->conts[free] != NULL)
            free++;
        objects_say(x, "[%u] open", free);
        return free == ORACLE_HANDLES || open_handle(x, free, r[0] % 2 == 0);
    }
    case CLOSE: {
        unsigned open = 0;
        for (unsigned i = 0; i < ORACLE_HANDLES; i++)
            open += x->conts[i] != NULL;
        return open < 2 || close_handle(x, h);
    }
    case RECONNECT: return reconnect(x);
    case READ: return objects_compare(x, h, slot_of(x, r[1]), epoch_to_read(&x->o, r), r[5]);
    case LIST: return objects_compare_listing(x, h, slot_of(x, r[1]), epoch_to_read(&x->o, r), r[5]);
    default: return objects_compare_all(x, h);
    }
}
