// SPDX-License-Identifier: Apache-2.0
/* Keys of records: they sort as what they name, say it again when they are read, and nothing else is taken for one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "pool/key.h"

#define ROUNDS 20000u

/* Few different bytes, those that have a meaning among them: so names often share their beginnings. */
static size_t draw_name(struct tl_prng *p, uint8_t *out, size_t max)
{
    static const uint8_t bytes[] = {0, 1, 2, 254, 255, 'a'};
    size_t len = tl_prng_below(p, 8) == 0 ? tl_prng_below(p, max + 1) : tl_prng_below(p, 6);
    for (size_t i = 0; i < len; i++)
        out[i] = bytes[tl_prng_below(p, sizeof bytes)];
    return len;
}

static int sign(int x)
{
    return x < 0 ? -1 : x > 0;
}

static int compare(const void *a, size_t a_len, const void *b, size_t b_len)
{
    int first = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return first != 0 ? sign(first) : a_len < b_len ? -1 : a_len > b_len;
}

static void names_sort_as_their_bytes(void **state)
{
    (void)state;
    struct tl_prng p;
    tl_prng_init(&p, 1, 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint8_t a[TIERCEL_KEY_MAX / 2], b[TIERCEL_KEY_MAX / 2];
        size_t a_len = draw_name(&p, a, sizeof a), b_len = draw_name(&p, b, sizeof b);
        struct tl_key ka, kb, behind;
        tl_key_begin(&ka, (struct tiercel_oid){1, 2}, TL_TAG_DKEY);
        kb = ka;
        assert_int_equal(tl_key_add_name(&ka, (struct tiercel_bytes){a, a_len}), 0);
        assert_int_equal(tl_key_add_name(&kb, (struct tiercel_bytes){b, b_len}), 0);
        int expected = compare(a, a_len, b, b_len);
        assert_int_equal(compare(ka.bytes, ka.len, kb.bytes, kb.len), expected);
        if (expected != 0) /* none is the beginning of another: what follows does not matter */
            assert_true(memcmp(ka.bytes, kb.bytes, ka.len < kb.len ? ka.len : kb.len) != 0);
        behind = ka;
        tl_key_behind(&behind);
        assert_true(compare(ka.bytes, ka.len, behind.bytes, behind.len) < 0);
        memset(ka.bytes + ka.len, 255, 20); /* whatever begins with it is before */
        assert_true(compare(ka.bytes, ka.len + 20, behind.bytes, behind.len) < 0);
        assert_int_equal(compare(behind.bytes, behind.len, kb.bytes, kb.len) < 0, expected < 0);
    }
}

static struct tl_version draw_version(struct tl_prng *p)
{
    static const uint64_t some[] = {1, 2, 255, 256, UINT32_MAX, 1ull << 40, UINT64_MAX - 1};
    return (struct tl_version){.epoch = some[tl_prng_below(p, 7)],
                               .handle = (uint32_t)some[tl_prng_below(p, 5)],
                               .era = (uint32_t)some[tl_prng_below(p, 5)],
                               .seq = some[tl_prng_below(p, 7)],
                               .writer = (uint32_t)some[tl_prng_below(p, 5)]};
}

static void versions_sort_newest_first(void **state)
{
    (void)state;
    struct tl_prng p;
    tl_prng_init(&p, 2, 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct tl_version a = draw_version(&p), b = draw_version(&p), again;
        struct tl_key ka, kb, from;
        tl_key_begin(&ka, (struct tiercel_oid){1, 2}, TL_TAG_OBJECT);
        from = kb = ka;
        tl_key_add_version(&ka, &a);
        tl_key_add_version(&kb, &b);
        assert_int_equal(sign(memcmp(ka.bytes, kb.bytes, ka.len)), -tl_version_compare(&a, &b));
        assert_int_equal(tl_key_version(tl_key_slice(&ka), &again), 0);
        assert_int_equal(tl_version_compare(&a, &again), 0);
        /* Those up to an epoch begin where a scan for it begins. */
        tl_key_add_chunk(&from, ~b.epoch);
        assert_int_equal(compare(from.bytes, from.len, ka.bytes, ka.len) <= 0, a.epoch <= b.epoch);
    }
}

static void draw_view(struct tl_prng *p, struct tl_key_view *v, struct tl_key *k)
{
    static const enum tl_tag tags[] = {TL_TAG_OBJECT, TL_TAG_DKEY, TL_TAG_RANGE, TL_TAG_VALUE};
    memset(v, 0, sizeof *v);
    v->oid = (struct tiercel_oid){tl_prng_next(p) >> tl_prng_below(p, 64), tl_prng_next(p)};
    v->tag = tags[tl_prng_below(p, 4)];
    v->version = draw_version(p);
    tl_key_begin(k, v->oid, v->tag);
    if (v->tag != TL_TAG_OBJECT) {
        v->dkey.len = draw_name(p, v->dkey.bytes, TIERCEL_KEY_MAX / 2);
        assert_int_equal(tl_key_add_name(k, (struct tiercel_bytes){v->dkey.bytes, v->dkey.len}), 0);
    }
    if (v->tag == TL_TAG_RANGE || v->tag == TL_TAG_VALUE) {
        v->akey.len = draw_name(p, v->akey.bytes, TIERCEL_KEY_MAX / 2);
        assert_int_equal(tl_key_add_name(k, (struct tiercel_bytes){v->akey.bytes, v->akey.len}), 0);
    }
    if (v->tag == TL_TAG_VALUE) {
        v->chunk = tl_prng_next(p) >> tl_prng_below(p, 64);
        tl_key_add_chunk(k, v->chunk);
    }
    v->thing_len = k->len;
    tl_key_add_version(k, &v->version);
}

static bool same_name(const struct tl_name *a, const struct tl_name *b)
{
    return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

static void keys_say_again_what_they_were_made_of(void **state)
{
    (void)state;
    struct tl_prng p;
    tl_prng_init(&p, 3, 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct tl_key_view v, again;
        struct tl_key k;
        draw_view(&p, &v, &k);
        assert_int_equal(tl_key_parse(tl_key_slice(&k), &again), 0);
        assert_true(v.oid.hi == again.oid.hi && v.oid.lo == again.oid.lo && v.tag == again.tag);
        assert_true(same_name(&v.dkey, &again.dkey) && same_name(&v.akey, &again.akey));
        assert_true(v.chunk == again.chunk && v.thing_len == again.thing_len);
        assert_int_equal(tl_version_compare(&v.version, &again.version), 0);
    }
}

/* Makes a key of what was read. */
static void write_again(const struct tl_key_view *v, struct tl_key *k)
{
    tl_key_begin(k, v->oid, v->tag);
    if (v->tag != TL_TAG_OBJECT)
        assert_int_equal(tl_key_add_name(k, (struct tiercel_bytes){v->dkey.bytes, v->dkey.len}), 0);
    if (v->tag == TL_TAG_RANGE || v->tag == TL_TAG_VALUE)
        assert_int_equal(tl_key_add_name(k, (struct tiercel_bytes){v->akey.bytes, v->akey.len}), 0);
    if (v->tag == TL_TAG_VALUE)
        tl_key_add_chunk(k, v->chunk);
    tl_key_add_version(k, &v->version);
}

/* Damaged and random keys: what is taken for a key is one, and the same again. */
static void what_is_no_key_is_refused(void **state)
{
    (void)state;
    struct tl_prng p;
    unsigned refused = 0, taken = 0;
    tl_prng_init(&p, 4, 0);
    for (unsigned i = 0; i < 5 * ROUNDS; i++) {
        struct tl_key_view v;
        struct tl_key k, again;
        struct tl_version version;
        draw_view(&p, &v, &k);
        switch (tl_prng_below(&p, 4)) {
        case 0: k.len = tl_prng_below(&p, k.len + 1); break; /* cut */
        case 1: k.bytes[tl_prng_below(&p, k.len)] ^= (uint8_t)(1u << tl_prng_below(&p, 8)); break;
        case 2: /* longer */
            for (size_t more = 1 + tl_prng_below(&p, 9); more > 0 && k.len < sizeof k.bytes; more--)
                k.bytes[k.len++] = (uint8_t)tl_prng_below(&p, 3);
            break;
        default:
            k.len = tl_prng_below(&p, 80);
            for (size_t at = 0; at < k.len; at++)
                k.bytes[at] = at == 16 ? 'V' : (uint8_t)(tl_prng_below(&p, 3) - 1);
        }
        int rc = tl_key_parse(tl_key_slice(&k), &v);
        assert_true(rc == 0 || rc == -EBADMSG);
        rc == 0 ? taken++ : refused++;
        if (rc != 0)
            continue;
        write_again(&v, &again);
        assert_int_equal(compare(k.bytes, k.len, again.bytes, again.len), 0);
        assert_int_equal(tl_key_version(tl_key_slice(&k), &version), 0);
        assert_int_equal(tl_version_compare(&version, &v.version), 0);
    }
    assert_true(refused > ROUNDS && taken > ROUNDS / 2);
}

static void names_have_a_limit(void **state)
{
    (void)state;
    uint8_t name[TIERCEL_KEY_MAX + 1];
    for (size_t zeros = 0; zeros <= TIERCEL_KEY_MAX / 2; zeros += 10) {
        for (size_t len = zeros; len <= sizeof name; len++) {
            struct tl_key k;
            memset(name, 255, sizeof name);
            for (size_t i = 0; i < zeros; i++)
                name[i * 2 < len ? i * 2 : i] = 0;
            size_t real = 0;
            for (size_t i = 0; i < len; i++)
                real += name[i] == 0 ? 2 : 1;
            tl_key_begin(&k, (struct tiercel_oid){0, 0}, TL_TAG_VALUE);
            int expected = real <= TIERCEL_KEY_MAX ? 0 : -ENAMETOOLONG;
            assert_int_equal(tl_key_add_name(&k, (struct tiercel_bytes){name, len}), expected);
        }
    }
}

static bool same_meta(const struct tl_meta *a, const struct tl_meta *b)
{
    return a->kind == b->kind && a->size == b->size && a->record_size == b->record_size && a->first == b->first &&
           a->count == b->count;
}

static void what_is_said_about_records_comes_back(void **state)
{
    (void)state;
    const uint32_t max = TL_STORE_PAYLOAD_MAX;
    const struct tl_meta all[] = {
        {.kind = TL_KIND_PUNCH},
        {.kind = TL_KIND_REST},
        {.kind = TL_KIND_SINGLE, .size = TIERCEL_VALUE_MAX},
        {.kind = TL_KIND_ARRAY, .record_size = 1, .first = max - 1, .count = 1},
        {.kind = TL_KIND_ARRAY, .record_size = max, .first = 0, .count = 1},
        {.kind = TL_KIND_HOLE, .first = 0, .count = UINT64_MAX},
        {.kind = TL_KIND_HOLE, .first = UINT64_MAX - 1, .count = 1},
    };
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        uint8_t bytes[TL_META_BYTES + 1];
        struct tl_meta again;
        size_t len = tl_meta_put(bytes, &all[i]);
        assert_true(len <= TL_META_BYTES);
        assert_int_equal(tl_meta_get((struct tl_slice){bytes, len}, &again), 0);
        assert_true(same_meta(&all[i], &again));
        for (size_t other = 0; other <= sizeof bytes; other++) /* of no other length */
            if (other != len)
                assert_int_equal(tl_meta_get((struct tl_slice){bytes, other}, &again), -EBADMSG);
    }
    const struct tl_meta wrong[] = {
        {.kind = TL_KIND_ARRAY, .record_size = 0, .first = 0, .count = 1},
        {.kind = TL_KIND_ARRAY, .record_size = max + 1, .first = 0, .count = 1},
        {.kind = TL_KIND_ARRAY, .record_size = 1, .first = max, .count = 1},
        {.kind = TL_KIND_ARRAY, .record_size = 1, .first = UINT32_MAX, .count = 2},
        {.kind = TL_KIND_ARRAY, .record_size = 8, .first = 0, .count = 0},
        {.kind = TL_KIND_HOLE, .first = 2, .count = UINT64_MAX - 1},
    };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        uint8_t bytes[TL_META_BYTES];
        struct tl_meta out;
        assert_int_equal(tl_meta_get((struct tl_slice){bytes, tl_meta_put(bytes, &wrong[i])}, &out), -EBADMSG);
    }
    for (unsigned kind = 0; kind < 256; kind++) {
        uint8_t bytes[1] = {(uint8_t)kind};
        struct tl_meta out;
        int rc = tl_meta_get((struct tl_slice){bytes, 1}, &out);
        assert_int_equal(rc, kind == TL_KIND_PUNCH || kind == TL_KIND_REST ? 0 : -EBADMSG);
    }
}

static void random_bytes_are_no_damage(void **state)
{
    (void)state;
    struct tl_prng p;
    tl_prng_init(&p, 5, 0);
    for (unsigned i = 0; i < 5 * ROUNDS; i++) {
        uint8_t bytes[24], again[TL_META_BYTES];
        struct tl_meta m;
        size_t len = tl_prng_below(&p, sizeof bytes + 1);
        for (size_t at = 0; at < len; at++)
            bytes[at] = (uint8_t)tl_prng_below(&p, at == 0 ? 7 : tl_prng_below(&p, 2) == 0 ? 256 : 2);
        if (tl_meta_get((struct tl_slice){bytes, len}, &m) != 0)
            continue;
        assert_int_equal(tl_meta_put(again, &m), len);
        assert_memory_equal(bytes, again, len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_sort_as_their_bytes),
        cmocka_unit_test(versions_sort_newest_first),
        cmocka_unit_test(keys_say_again_what_they_were_made_of),
        cmocka_unit_test(what_is_no_key_is_refused),
        cmocka_unit_test(names_have_a_limit),
        cmocka_unit_test(what_is_said_about_records_comes_back),
        cmocka_unit_test(random_bytes_are_no_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
