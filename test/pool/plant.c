// SPDX-License-Identifier: Apache-2.0
/* See plant.h. */
#include "pool/plant.h"

#include <string.h>

static const struct tl_store_ops *real;
static struct tl_store_ops planted;
static unsigned calls; /* bugs that strike now and then strike on each third call */

static void put_in(struct tl_shared *s)
{
    real = s->store->ops == &planted ? real : s->store->ops;
    planted = *real;
    calls = 0;
    s->store->ops = &planted;
}

/* ---- writing ---- */

struct changed {
    struct tl_record r;
    struct tl_key_view v;
    struct tl_meta m;
    struct tl_key key;
    uint8_t meta[TL_META_BYTES];
};

static void take_apart(struct changed *c, const struct tl_record *r)
{
    c->r = *r;
    check(tl_key_parse(r->key, &c->v) == 0 && tl_meta_get(r->meta, &c->m) == 0);
}

static int write_changed(struct tl_store *s, const struct tl_store_id *id, struct changed *c)
{
    c->key.len = c->v.thing_len;
    memcpy(c->key.bytes, c->r.key.at, c->v.thing_len);
    tl_key_add_version(&c->key, &c->v.version);
    c->r.key = tl_key_slice(&c->key);
    c->r.meta = (struct tl_slice){c->meta, tl_meta_put(c->meta, &c->m)};
    return real->write(s, id, &c->r);
}

#define WRITE(name, change)                                                                                            \
    static int write_##name(struct tl_store *s, const struct tl_store_id *id, const struct tl_record *r)               \
    {                                                                                                                  \
        struct changed c;                                                                                              \
        take_apart(&c, r);                                                                                             \
        change;                                                                                                        \
        return write_changed(s, id, &c);                                                                               \
    }                                                                                                                  \
    static void plant_##name(struct tl_shared *s)                                                                      \
    {                                                                                                                  \
        put_in(s);                                                                                                     \
        planted.write = write_##name;                                                                                  \
    }

static int nothing_written(const struct changed *c)
{
    (void)c;
    return 0;
}

#define LOSE(name, condition)                                                                                          \
    static int write_##name(struct tl_store *s, const struct tl_store_id *id, const struct tl_record *r)               \
    {                                                                                                                  \
        struct changed c;                                                                                              \
        take_apart(&c, r);                                                                                             \
        return (condition) ? nothing_written(&c) : write_changed(s, id, &c);                                           \
    }                                                                                                                  \
    static void plant_##name(struct tl_shared *s)                                                                      \
    {                                                                                                                  \
        put_in(s);                                                                                                     \
        planted.write = write_##name;                                                                                  \
    }

WRITE(old_era, c.v.version.era = 0)
WRITE(other_epoch, c.v.version.epoch += c.v.version.epoch % 4 == 3)
WRITE(one_seq, c.v.version.seq = 1)
WRITE(short_hole, c.m.count -= c.m.kind == TL_KIND_HOLE && c.m.count > 1 && c.m.count != UINT64_MAX)
WRITE(later_hole, c.m.first += c.m.kind == TL_KIND_HOLE && c.m.count != UINT64_MAX)
WRITE(later_record, c.m.first += c.m.kind == TL_KIND_ARRAY && c.m.first + c.m.count < tl_chunk_records(c.m.record_size))
WRITE(size_of_single, c.m.size -= c.m.kind == TL_KIND_SINGLE && c.m.size > 0 && (c.m.size & 7) == 3)
LOSE(no_dkey_punch, c.v.tag == TL_TAG_DKEY)
LOSE(no_object_punch, c.v.tag == TL_TAG_OBJECT)
LOSE(no_second_chunk, c.v.tag == TL_TAG_VALUE && c.m.kind == TL_KIND_ARRAY && c.v.chunk == 1)
LOSE(lost_write, ++calls % 40 == 0)

/* ---- reading, and the rest ---- */

struct seeing {
    int (*fn)(void *ctx, const struct tl_found *f);
    void *ctx;
    unsigned seen;
};

static int scan_from_newest(struct tl_store *s, const struct tl_store_id *id, struct tl_slice prefix,
                            struct tl_slice from, int (*fn)(void *ctx, const struct tl_found *f), void *ctx)
{
    struct tl_key_view
        v; /* versions above the epoch that is read count, too: `from` differs from the prefix in its epoch */
    struct tl_key whole = {.len = prefix.len};
    memcpy(whole.bytes, prefix.at, prefix.len);
    tl_key_add_version(&whole, &(struct tl_version){.epoch = 1});
    bool version = from.len == prefix.len + 8 && tl_key_parse(tl_key_slice(&whole), &v) == 0;
    return real->scan(s, id, prefix, version ? prefix : from, fn, ctx);
}

static int see_all_but_one(void *ctx, const struct tl_found *f)
{
    struct seeing *x = ctx;
    return x->seen++ == 1 ? 0 : x->fn(x->ctx, f);
}

static int scan_misses_second(struct tl_store *s, const struct tl_store_id *id, struct tl_slice prefix,
                              struct tl_slice from, int (*fn)(void *ctx, const struct tl_found *f), void *ctx)
{
    struct seeing x = {fn, ctx, 0};
    return real->scan(s, id, prefix, from, see_all_but_one, &x);
}

static int read_from_start(struct tl_store *s, struct tl_slice place, uint32_t offset, void *out, uint32_t len)
{
    (void)offset;
    return real->read(s, place, 0, out, len);
}

static int flush_nothing(struct tl_store *s)
{
    (void)s;
    return 0;
}

/* Of each value that loses records, the newest goes with them. */
static int see_key(void *ctx, const struct tl_found *f)
{
    struct tl_key *k = ctx;
    memcpy(k->bytes, f->key.at, f->key.len);
    k->len = f->key.len;
    return 1;
}

static int erase_one_more(struct tl_store *s, const struct tl_store_id *id, const struct tl_slice *keys, size_t count)
{
    int rc = real->erase(s, id, keys, count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct tl_key k = {.len = 0};
        const struct tl_slice prefix = {keys[i].at, keys[i].len - TL_VERSION_BYTES};
        rc = real->scan(s, id, prefix, prefix, see_key, &k);
        const struct tl_slice newest = tl_key_slice(&k);
        rc = rc == 1 ? real->erase(s, id, &newest, 1) : rc;
    }
    return rc;
}

static int no_changes(struct tl_store *s, const struct tl_store_id *id, uint32_t *out)
{
    (void)s;
    (void)id;
    *out = 1;
    return 0;
}

static void plant_scan_from_newest(struct tl_shared *s)
{
    put_in(s);
    planted.scan = scan_from_newest;
}

static void plant_scan_misses_second(struct tl_shared *s)
{
    put_in(s);
    planted.scan = scan_misses_second;
}

static void plant_read_from_start(struct tl_shared *s)
{
    put_in(s);
    planted.read = read_from_start;
}

static void plant_flush_nothing(struct tl_shared *s)
{
    put_in(s);
    planted.flush = flush_nothing;
}

static void plant_erase_one_more(struct tl_shared *s)
{
    put_in(s);
    planted.erase = erase_one_more;
}

static void plant_no_changes(struct tl_shared *s)
{
    put_in(s);
    planted.changes = no_changes;
}

const struct plant plants[] = {
    {"records after a discard are of the era before", true, plant_old_era},
    {"each fourth epoch is written into the next", true, plant_other_epoch},
    {"writes of one epoch have no order", true, plant_one_seq},
    {"a cleared range is a record too short", true, plant_short_hole},
    {"a cleared range is a record too late", true, plant_later_hole},
    {"extents are a record too late", true, plant_later_record},
    {"some values are a byte too short", true, plant_size_of_single},
    {"dkeys are not punched", true, plant_no_dkey_punch},
    {"objects are not punched", true, plant_no_object_punch},
    {"the second chunk of an array is lost", true, plant_no_second_chunk},
    {"one write in forty is lost", true, plant_lost_write},
    {"what is newer than the epoch is seen", false, plant_scan_from_newest},
    {"the second record that a scan meets is passed over", false, plant_scan_misses_second},
    {"the middle of a payload is read from its beginning", false, plant_read_from_start},
    {"a flush does nothing", true, plant_flush_nothing},
    {"aggregation erases the newest of a value, too", false, plant_erase_one_more},
    {"changes of the state are not noticed", false, plant_no_changes},
};
const unsigned plant_count = sizeof plants / sizeof *plants;
