// SPDX-License-Identifier: Apache-2.0
/* The RADOS store at its limits: keys of any bytes, arrays in many shards, large states. Runs inside `tools/rados-dev run`. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "base/time.h"
#include "store/cluster.h"

#define KEYS      2500u
#define POOL_KEYS 700u /* of them, as src/pool makes them */

struct key {
    uint8_t bytes[TL_STORE_KEY_MAX];
    size_t len;
};

static int compare_keys(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    int c = memcmp(x->bytes, y->bytes, x->len < y->len ? x->len : y->len);
    return c != 0 ? c : x->len < y->len ? -1 : x->len > y->len;
}

/* Of arrays whose chunks lie in many shards, and what lies beside them: oid, tag, dkey, akey, chunk, version. */
static size_t make_pool_key(uint8_t *out, unsigned i, struct tl_prng *p)
{
    static const char *const names[] = {"d", "da", "", "e"};
    uint8_t *at = out;
    memset(at, 0, 16);
    at[15] = (uint8_t)(i % 3); /* the object */
    at += 16;
    *at++ = (uint8_t) "PQRVVVVV"[i % 8];
    for (int k = 0; k < 2; k++) {
        size_t len = strlen(names[i / 8 % 4]);
        memcpy(at, names[i / 8 % 4], len);
        at += len;
        memcpy(at, i % 11 == 0 && k == 0 ? "\0\377\0\1" : "\0\1", i % 11 == 0 && k == 0 ? 4 : 2);
        at += i % 11 == 0 && k == 0 ? 4 : 2;
    }
    uint64_t chunk =
        tl_prng_below(p, 6) < 3 ? tl_prng_below(p, 5000) : tl_prng_below(p, 3) << 12 | tl_prng_next(p) >> 44;
    for (int k = 56; k >= 0; k -= 8)
        *at++ = (uint8_t)(chunk >> k);
    for (int k = 0; k < 28; k++)
        *at++ = (uint8_t)(255 - (i + (unsigned)k) % 3);
    return (size_t)(at - out);
}

/* Sorted, each once. */
static struct key *make_keys(unsigned *count)
{
    static const uint8_t alphabet[] = {0, 1, 2, 'a', 254, 255};
    struct key *keys = calloc(KEYS, sizeof *keys);
    struct tl_prng p;
    assert_non_null(keys);
    tl_prng_init(&p, 3, 4);
    for (unsigned i = 0; i < KEYS; i++) {
        size_t most = i % 7 == 0 ? TL_STORE_KEY_MAX : 24;
        keys[i].len = i % 50 == 0 ? TL_STORE_KEY_MAX : 1 + tl_prng_below(&p, most);
        for (size_t k = 0; k < keys[i].len; k++)
            keys[i].bytes[k] = alphabet[tl_prng_below(&p, sizeof alphabet)];
        if (i % 2 == 0 && keys[i].len > 17) /* of one object: in one place */
            memset(keys[i].bytes, 1, 17);
        if (i % 200 == 0) /* the longest that it can be for the cluster */
            memset(keys[i].bytes, i % 400 == 0 ? 0 : 1, keys[i].len);
        if (i < POOL_KEYS)
            keys[i].len = make_pool_key(keys[i].bytes, i, &p);
    }
    qsort(keys, KEYS, sizeof *keys, compare_keys);
    *count = 0;
    for (unsigned i = 0; i < KEYS; i++)
        if (*count == 0 || compare_keys(&keys[*count - 1], &keys[i]) != 0)
            keys[(*count)++] = keys[i];
    return keys;
}

struct walk {
    const struct key *next;
    unsigned count, stop_after;
};

static int is_next(struct walk *w, struct tl_slice key)
{
    assert_int_equal(key.len, w->next->len);
    assert_memory_equal(key.at, w->next->bytes, key.len);
    w->next++;
    return ++w->count == w->stop_after ? 7 : 0;
}

static int is_next_record(void *ctx, const struct tl_found *f)
{
    assert_int_equal(f->payload_len, f->key.len % 20);
    return is_next(ctx, f->key);
}

static int is_next_entry(void *ctx, struct tl_slice key, struct tl_slice value)
{
    assert_int_equal(value.len, key.len % 20);
    return is_next(ctx, key);
}

struct keys {
    struct key *list;
    unsigned count;
};

static int put_keys(void *ctx, struct tl_store_tx *tx)
{
    const struct keys *k = ctx;
    const struct key *keys = k->list;
    static const uint8_t value[20];
    int rc = 0;
    for (unsigned i = k->count; rc == 0 && i-- > 0;)
        rc =
            tx->ops->put(tx, (struct tl_slice){keys[i].bytes, keys[i].len}, (struct tl_slice){value, keys[i].len % 20});
    return rc;
}

static int walk_keys(void *ctx, struct tl_store_tx *tx)
{
    return tx->ops->each(tx, (struct tl_slice){"", 0}, is_next_entry, ctx);
}

/* What begins with the first bytes of some key, from some other key on, is what is there between the two. */
static void compare_scan(struct tl_store *s, const struct key *keys, unsigned count, struct tl_prng *p)
{
    const struct key *of = &keys[tl_prng_below(p, count)], *from = &keys[tl_prng_below(p, count)];
    struct tl_slice prefix = {of->bytes, tl_prng_below(p, of->len + 1)}, start = {from->bytes, from->len};
    struct walk w = {.next = keys, .stop_after = 1 + (unsigned)tl_prng_below(p, 700)};
    const struct key *end = keys + count;
    while (w.next < end && (w.next->len < prefix.len || memcmp(w.next->bytes, prefix.at, prefix.len) != 0 ||
                            compare_keys(w.next, from) < 0))
        w.next++;
    unsigned expected = 0;
    while (w.next + expected < end && w.next[expected].len >= prefix.len &&
           memcmp(w.next[expected].bytes, prefix.at, prefix.len) == 0)
        expected++;
    unsigned all = expected;
    expected = expected < w.stop_after ? expected : w.stop_after;
    int rc = s->ops->scan(s, &cluster_id, prefix, start, is_next_record, &w);
    assert_int_equal(w.count, expected);
    assert_int_equal(rc, all >= w.stop_after ? 7 : 0);
}

static void keys_of_any_bytes_are_found_in_order(void **state)
{
    (void)state;
    char where[256];
    struct tl_prng p;
    unsigned count;
    struct key *keys = make_keys(&count);
    struct keys all = {keys, count};
    cluster_make(where, sizeof where, "data");
    struct tl_store *s = cluster_open(where);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(cluster_write(s, keys[i].bytes, keys[i].len, keys[i].len % 20), 0);
    assert_int_equal(s->ops->flush(s), 0);
    assert_int_equal(s->ops->change(s, &cluster_id, put_keys, &all), 0);
    s->ops->close(s);
    s = cluster_open(where);
    struct walk w = {.next = keys};
    assert_int_equal(
        s->ops->scan(s, &cluster_id, (struct tl_slice){"", 0}, (struct tl_slice){"", 0}, is_next_record, &w), 0);
    assert_int_equal(w.count, count);
    w = (struct walk){.next = keys};
    assert_int_equal(s->ops->look(s, &cluster_id, walk_keys, &w), 0);
    assert_int_equal(w.count, count);
    tl_prng_init(&p, 5, 6);
    for (unsigned i = 0; i < 600; i++)
        compare_scan(s, keys, count, &p);
    struct tl_slice *some = calloc(count, sizeof *some);
    for (unsigned i = 0; i < count; i++)
        some[i] = (struct tl_slice){keys[i].bytes, keys[i].len};
    assert_int_equal(s->ops->erase(s, &cluster_id, some, count), 0);
    assert_int_equal(
        s->ops->scan(s, &cluster_id, (struct tl_slice){"", 0}, (struct tl_slice){"", 0}, is_next_record, &w), 0);
    assert_int_equal(cluster_used(s), 0);
    free(some);
    free(keys);
    s->ops->close(s);
    cluster_destroy(where);
}

/* What a store that has not written it finds, too: it cannot know but from the mark. */
static void a_long_array_is_in_many_shards(void **state)
{
    enum { GROUPS = 32 };
    static uint8_t list[GROUPS][64];
    struct tl_slice keys[GROUPS];
    char where[256];
    struct cluster_found x;
    (void)state;
    cluster_make(where, sizeof where, "data");
    struct tl_store *s = cluster_open(where), *other = cluster_open(where);
    for (unsigned i = 0; i < GROUPS; i++) {
        memset(list[i], 7, 16);
        memcpy(list[i] + 16, "Vd\0\1a\0\1", 7);
        memset(list[i] + 23, 0, 8);
        list[i][28] = (uint8_t)(i * 16 >> 8); /* chunk i * 4096 */
        list[i][29] = (uint8_t)(i * 16);
        keys[i] = (struct tl_slice){list[i], 60};
        assert_int_equal(cluster_write(s, list[i], 60, 100), 0);
        if (i % 9 == 0)
            assert_int_equal(s->ops->flush(s), 0);
    }
    assert_int_equal(s->ops->flush(s), 0);
    cluster_sh(where, "n=0; for o in $(rados -p meta -N $NS ls | grep ^i); do "
                      "[ $(rados -p meta -N $NS listomapkeys $o | wc -c) -gt 40 ] && n=$((n + 1)); done; [ $n -ge 8 ]");
    assert_int_equal(cluster_find(other, &x, "", 0), GROUPS);
    assert_int_equal(cluster_find(other, &x, list[0], 16), GROUPS);
    assert_int_equal(cluster_find(other, &x, list[0], 23), GROUPS);
    assert_int_equal(cluster_find(other, &x, list[9], 31), 1);
    assert_int_equal(other->ops->erase(other, &cluster_id, keys, GROUPS), 0);
    assert_int_equal(cluster_find(s, &x, list[0], 16), 0);
    other->ops->close(other);
    s->ops->close(s);
    cluster_destroy(where);
}

#define ENTRIES 10000u
#define LARGE   3u

static int put_entries(void *ctx, struct tl_store_tx *tx)
{
    static char value[TL_STORE_VALUE_MAX + 1];
    char key[16];
    int rc = 0;
    for (unsigned i = *(unsigned *)ctx, n = 0; rc == 0 && n < 1000; n++) {
        snprintf(key, sizeof key, "h%07u", i + n);
        rc = tx->ops->put(tx, (struct tl_slice){key, 8},
                          (struct tl_slice){value, (i + n) % 4000 == 7 ? TL_STORE_VALUE_MAX : 60});
    }
    if (rc == 0 && tx->ops->put(tx, (struct tl_slice){"x", 1}, (struct tl_slice){value, sizeof value}) != -EINVAL)
        rc = -EPROTO;
    return rc;
}

static int count_entry(void *ctx, struct tl_slice key, struct tl_slice value)
{
    unsigned *counts = ctx;
    (void)key;
    counts[value.len == TL_STORE_VALUE_MAX] += value.len == 60 || value.len == TL_STORE_VALUE_MAX;
    return 0;
}

static int count_entries(void *ctx, struct tl_store_tx *tx)
{
    memset(ctx, 0, 2 * sizeof(unsigned));
    return tx->ops->each(tx, (struct tl_slice){"h", 1}, count_entry, ctx);
}

/* Reading it takes many answers of the cluster, between which others change it. */
static void a_large_state_is_read_while_it_changes(void **state)
{
    (void)state;
    char where[256];
    unsigned counts[2];
    struct cluster_changer changer;
    cluster_make(where, sizeof where, "data");
    struct tl_store *s = cluster_open(where);
    for (unsigned i = 0; i < ENTRIES; i += 1000)
        assert_int_equal(s->ops->change(s, &cluster_id, put_entries, &i), 0);
    cluster_change_begin(&changer, s);
    for (unsigned i = 0; i < 3; i++) {
        struct tl_store *other = cluster_open(where);
        uint64_t begin = tl_time_mono_ns();
        assert_int_equal(other->ops->look(other, &cluster_id, count_entries, counts), 0);
        assert_true(tl_time_mono_ns() - begin < 10 * TL_NS_PER_S);
        assert_int_equal(counts[0], ENTRIES - LARGE);
        assert_int_equal(counts[1], LARGE);
        other->ops->close(other);
    }
    cluster_change_end(&changer);
    assert_int_equal(s->ops->change(s, &cluster_id, cluster_put_number, "0004"), 0);
    s->ops->close(s);
    cluster_destroy(where);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_any_bytes_are_found_in_order),
        cmocka_unit_test(a_long_array_is_in_many_shards),
        cmocka_unit_test(a_large_state_is_read_while_it_changes),
    };
    if (!cluster_is_there())
        return 77;
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
