// SPDX-License-Identifier: Apache-2.0
/* Objects through the public interface: flat ones, byte arrays beside a naive model, values under two keys; attributes and properties; and
 * every error that pool.h names, once. */
#include "client/scene.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct tiercel_oid oid = {3, 4};

static struct tiercel_bytes text(const char *s)
{
    return (struct tiercel_bytes){.at = s, .len = strlen(s)};
}

static void hold(struct scene *x, uint64_t epoch)
{
    assert_int_equal(ended(x, tiercel_epoch_hold(x->cont, &epoch, NULL, ev_of(x))), 0);
}

static void commit(struct scene *x, uint64_t epoch)
{
    assert_int_equal(ended(x, tiercel_epoch_commit(x->cont, epoch, NULL, ev_of(x))), 0);
}

/* ---- flat objects ---- */

static int kv_put(struct scene *x, uint64_t epoch, const char *key, const char *value, unsigned flags)
{
    return ended(x, tiercel_kv_put(x->cont, epoch, oid, text(key), value, strlen(value), flags, ev_of(x)));
}

/* The value, or NULL; in a static buffer. */
static const char *kv_get(struct scene *x, uint64_t epoch, const char *key)
{
    static char value[64];
    uint64_t len = sizeof value - 1;
    int rc = ended(x, tiercel_kv_get(x->cont, epoch, oid, text(key), value, &len, 0, ev_of(x)));
    assert_true(rc == 0 || rc == -ENOENT);
    value[rc == 0 ? len : 0] = 0;
    return rc == 0 ? value : NULL;
}

static void flat_objects_keep_what_is_put(void **state)
{
    struct scene *x = *state;
    uint64_t len = 0;
    char byte = 0;
    hold(x, 1);
    assert_int_equal(kv_put(x, 1, "a", "one", 0), 0);
    assert_int_equal(kv_put(x, 1, "b", "", 0), 0);
    assert_string_equal(kv_get(x, 1, "a"), "one");
    assert_null(kv_get(x, 1, "c"));
    assert_int_equal(ended(x, tiercel_kv_get(x->cont, 1, oid, text("a"), NULL, &len, 0, ev_of(x))), 0);
    assert_int_equal(len, 3); /* only its size */
    len = 1;
    assert_int_equal(ended(x, tiercel_kv_get(x->cont, 1, oid, text("a"), &byte, &len, 0, ev_of(x))), -ENOBUFS);
    assert_int_equal(len, 3);
    commit(x, 1);
    assert_int_equal(kv_put(x, 2, "a", "another", TIERCEL_IF_MISSING), -EEXIST);
    assert_int_equal(kv_put(x, 2, "c", "three", TIERCEL_IF_THERE), -ENOENT);
    assert_int_equal(kv_put(x, 2, "a", "two", TIERCEL_IF_THERE), 0);
    assert_int_equal(kv_put(x, 2, "c", "three", TIERCEL_IF_MISSING), 0);
    assert_string_equal(kv_get(x, 2, "a"), "two");
    assert_string_equal(kv_get(x, 0, "a"), "one"); /* not committed yet */
    assert_int_equal(ended(x, tiercel_kv_remove(x->cont, 2, oid, text("a"), TIERCEL_IF_THERE, ev_of(x))), 0);
    assert_int_equal(ended(x, tiercel_kv_remove(x->cont, 2, oid, text("d"), TIERCEL_IF_THERE, ev_of(x))), -ENOENT);
    assert_int_equal(ended(x, tiercel_kv_remove(x->cont, 2, oid, text("d"), 0, ev_of(x))), 0);
    assert_null(kv_get(x, 2, "a"));
    assert_string_equal(kv_get(x, 1, "a"), "one");
    len = sizeof byte;
    assert_int_equal(ended(x, tiercel_kv_get(x->cont, 2, oid, text("a"), &byte, &len, TIERCEL_COMMITTED, ev_of(x))),
                     -ENOBUFS); /* at ghce it is there */
}

static void flat_objects_are_listed_in_order(void **state)
{
    struct scene *x = *state;
    static const size_t rooms[] = {4, 9, 1000};
    static const unsigned counts[] = {1, 3, 200};
    char key[16], buf[1000];
    hold(x, 1);
    for (int i = 99; i >= 0; i--) {
        snprintf(key, sizeof key, "k%02d", i);
        assert_int_equal(kv_put(x, 1, key, key, 0), 0);
    }
    commit(x, 1);
    for (size_t r = 0; r < 3; r++) {
        struct tiercel_anchor anchor = {.end = 0};
        struct tiercel_bytes keys[200];
        int seen = 0;
        while (!anchor.end) {
            unsigned count = counts[r];
            assert_int_equal(ended(x, tiercel_kv_list(x->cont, 1, oid, &anchor, buf, rooms[r], keys, &count, ev_of(x))),
                             0);
            assert_true(count <= counts[r] && (count > 0 || anchor.end));
            for (unsigned i = 0; i < count; i++, seen++) {
                snprintf(key, sizeof key, "k%02d", seen);
                assert_int_equal(keys[i].len, 3);
                assert_memory_equal(keys[i].at, key, 3);
            }
        }
        assert_int_equal(seen, 100);
    }
    struct tiercel_anchor anchor = {.end = 0};
    struct tiercel_bytes one;
    unsigned count = 1;
    assert_int_equal(ended(x, tiercel_kv_list(x->cont, 1, oid, &anchor, buf, 2, &one, &count, ev_of(x))), -ENOBUFS);
}

/* ---- byte arrays, beside a naive model ---- */

#define ARRAY  3000u
#define EPOCHS 8
#define STEPS  25

struct model {
    uint8_t bytes[ARRAY];
    uint64_t size;
};

static uint64_t draw(uint64_t *seed, uint64_t below)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return (*seed >> 33) % below;
}

static void same_array(struct scene *x, uint64_t epoch, const struct model *m, uint64_t seed)
{
    static uint8_t bytes[ARRAY + 8];
    uint64_t size = 0, len = sizeof bytes, at = draw(&seed, ARRAY), part = draw(&seed, 200);
    assert_int_equal(ended(x, tiercel_array_size(x->cont, epoch, oid, &size, ev_of(x))), 0);
    memset(bytes, 0xee, sizeof bytes);
    assert_int_equal(ended(x, tiercel_array_read(x->cont, epoch, oid, 0, bytes, &len, ev_of(x))), 0);
    if (size != m->size || len != m->size || memcmp(bytes, m->bytes, m->size) != 0 || bytes[m->size] != 0xee)
        fail_msg("epoch %" PRIu64 ": size %" PRIu64 ", read %" PRIu64 " instead of %" PRIu64 ", or other bytes", epoch,
                 size, len, m->size);
    assert_int_equal(ended(x, tiercel_array_read(x->cont, epoch, oid, at, bytes, &part, ev_of(x))), 0);
    assert_true(part <= (at < m->size ? m->size - at : 0));
    assert_memory_equal(bytes, m->bytes + at, part);
}

static void random_step(struct scene *x, uint64_t epoch, struct model *m, uint64_t *seed)
{
    uint8_t bytes[300];
    const uint64_t what = draw(seed, 10), at = draw(seed, ARRAY - 300), len = 1 + draw(seed, 300);
    if (what < 6) {
        for (uint64_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)(1 + draw(seed, 255));
        assert_int_equal(ended(x, tiercel_array_write(x->cont, epoch, oid, at, bytes, len, ev_of(x))), 0);
        memcpy(m->bytes + at, bytes, len);
        m->size = m->size > at + len ? m->size : at + len;
    } else if (what < 8) {
        const uint64_t size = draw(seed, 3) == 0 ? 0 : at;
        assert_int_equal(ended(x, tiercel_array_set_size(x->cont, epoch, oid, size, ev_of(x))), 0);
        memset(m->bytes + size, 0, ARRAY - size);
        m->size = size;
    } else {
        assert_int_equal(ended(x, tiercel_array_punch(x->cont, epoch, oid, at, len, ev_of(x))), 0);
        if (at < m->size)
            memset(m->bytes + at, 0, len < m->size - at ? len : m->size - at);
    }
}

static void byte_arrays_are_files_without_a_name(void **state)
{
    struct scene *x = *state;
    static struct model history[EPOCHS + 1];
    assert_int_equal(tiercel_cont_close(x->cont), 0);
    x->cont = scene_open(x, "c", TIERCEL_RW | TIERCEL_NOSLIP);
    hold(x, 1);
    for (uint64_t e = 1; e <= EPOCHS; e++) {
        uint64_t seed = e + (x->async ? 100 : 0);
        struct model *m = &history[e];
        *m = e == 1 ? (struct model){.size = 0} : history[e - 1];
        for (int i = 0; i < STEPS; i++) {
            random_step(x, e, m, &seed);
            if (i % 4 == 0)
                same_array(x, e, m, seed);
        }
        commit(x, e);
    }
    for (uint64_t e = 1; e <= EPOCHS; e++) /* all of them, long after */
        same_array(x, e, &history[e], e);
    same_array(x, TIERCEL_EPOCH_NOW, &history[EPOCHS], 5);
}

static void byte_arrays_have_edges(void **state)
{
    struct scene *x = *state;
    uint64_t len = 10, size = 7;
    char bytes[16] = "";
    assert_int_equal(ended(x, tiercel_array_size(x->cont, 0, oid, &size, ev_of(x))), 0);
    assert_int_equal(size, 0); /* nothing is there, and it has no bytes */
    assert_int_equal(ended(x, tiercel_array_read(x->cont, 0, oid, 5, bytes, &len, ev_of(x))), 0);
    assert_int_equal(len, 0);
    assert_int_equal(ended(x, tiercel_array_set_size(x->cont, 1, oid, 0, ev_of(x))), -EROFS);
    assert_int_equal(ended(x, tiercel_array_punch(x->cont, 1, oid, 0, 1, ev_of(x))), -EROFS);
    hold(x, 1);
    assert_int_equal(ended(x, tiercel_array_write(x->cont, 1, oid, UINT64_MAX - 1, "ab", 2, ev_of(x))), -EOVERFLOW);
    const uint64_t far = 1ull << 45;
    assert_int_equal(ended(x, tiercel_array_set_size(x->cont, 1, oid, far, ev_of(x))), 0);
    assert_int_equal(ended(x, tiercel_array_size(x->cont, 1, oid, &size, ev_of(x))), 0);
    assert_int_equal(size, far);
    len = 10;
    memset(bytes, 1, sizeof bytes);
    assert_int_equal(ended(x, tiercel_array_read(x->cont, 1, oid, far - 4, bytes, &len, ev_of(x))), 0);
    assert_int_equal(len, 4);
    assert_memory_equal(bytes, "\0\0\0\0\1", 5);
}

/* ---- values under two keys ---- */

static void an_update_is_of_several_values(void **state)
{
    struct scene *x = *state;
    uint64_t records[4] = {1, 2, 3, 4}, back[6];
    char word[8] = "";
    const struct tiercel_extent write[] = {{10, 1}, {20, 3}}, read[] = {{9, 3}, {20, 3}};
    struct tiercel_io ios[] = {{.akey = text("s"), .record_size = 5, .buffer = (char[]){"hello"}, .buffer_len = 5},
                               {.akey = text("a"),
                                .extents = write,
                                .extent_count = 2,
                                .record_size = 8,
                                .buffer = records,
                                .buffer_len = 32}};
    struct tiercel_io out[] = {
        {.akey = text("s"), .buffer = word, .buffer_len = sizeof word},
        {.akey = text("a"), .extents = read, .extent_count = 2, .buffer = back, .buffer_len = 48},
        {.akey = text("none"), .buffer = word, .buffer_len = 0}};
    hold(x, 1);
    assert_int_equal(ended(x, tiercel_update(x->cont, 1, oid, text("d"), 0, ios, 2, ev_of(x))), 0);
    assert_int_equal(ended(x, tiercel_fetch(x->cont, 1, oid, text("d"), 0, out, 3, ev_of(x))), 0);
    assert_int_equal(out[0].buffer_len, 5);
    assert_string_equal(word, "hello");
    assert_int_equal(out[1].record_size, 8);
    assert_memory_equal(back, ((uint64_t[]){0, 1, 0, 2, 3, 4}), sizeof back);
    assert_int_equal(out[2].record_size, 0);
    ios[1].record_size = 4; /* another size is another array */
    assert_int_equal(ended(x, tiercel_update(x->cont, 1, oid, text("d"), 0, ios + 1, 1, ev_of(x))), -EINVAL);
    out[1].record_size = 4;
    assert_int_equal(ended(x, tiercel_fetch(x->cont, 1, oid, text("d"), 0, out + 1, 1, ev_of(x))), -EINVAL);
    out[2].akey = text("nothing");
    assert_int_equal(ended(x, tiercel_fetch(x->cont, 1, oid, text("d"), TIERCEL_IF_THERE, out + 2, 1, ev_of(x))),
                     -ENOENT);
    const struct tiercel_extent overlap[] = {{0, 2}, {1, 2}};
    ios[1].extents = overlap;
    ios[1].record_size = 8;
    assert_int_equal(ended(x, tiercel_update(x->cont, 1, oid, text("d"), 0, ios + 1, 1, ev_of(x))), -EINVAL);
}

static void what_there_is_is_listed(void **state)
{
    struct scene *x = *state;
    const struct tiercel_extent extents[] = {{0, 2}, {7, 1}};
    uint8_t three[3] = {1, 2, 3};
    struct tiercel_io io = {
        .akey = text("a"), .extents = extents, .extent_count = 2, .record_size = 1, .buffer = three, .buffer_len = 3};
    struct tiercel_anchor anchor = {.end = 0};
    struct tiercel_oid oids[4];
    struct tiercel_extent seen[4];
    struct tiercel_bytes keys[4];
    unsigned count = 4;
    uint64_t record_size = 0;
    char buf[64];
    hold(x, 1);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(
            ended(x, tiercel_update(x->cont, 1, (struct tiercel_oid){i, 9}, text("d"), 0, &io, 1, ev_of(x))), 0);
    assert_int_equal(ended(x, tiercel_list_objects(x->cont, 1, &anchor, oids, &count, ev_of(x))), 0);
    assert_int_equal(count, 3);
    assert_true(anchor.end == 1 && oids[2].hi == 2 && oids[2].lo == 9);
    anchor = (struct tiercel_anchor){.end = 0};
    count = 4;
    assert_int_equal(
        ended(x, tiercel_list_akeys(x->cont, 1, oids[1], text("d"), &anchor, buf, sizeof buf, keys, &count, ev_of(x))),
        0);
    assert_true(count == 1 && keys[0].len == 1 && *(const char *)keys[0].at == 'a');
    anchor = (struct tiercel_anchor){.end = 0};
    count = 4;
    assert_int_equal(ended(x, tiercel_list_extents(x->cont, 1, oids[1], text("d"), text("a"), &anchor, seen, &count,
                                                   &record_size, ev_of(x))),
                     0);
    assert_true(count == 2 && record_size == 1 && seen[0].count == 2 && seen[1].first == 7);
    const struct tiercel_bytes d = text("d"), a = text("a");
    assert_int_equal(ended(x, tiercel_punch(x->cont, 1, oids[0], &d, &a, 1, TIERCEL_IF_THERE, ev_of(x))), 0);
    assert_int_equal(ended(x, tiercel_punch(x->cont, 1, oids[1], &d, NULL, 0, 0, ev_of(x))), 0);
    assert_int_equal(ended(x, tiercel_punch(x->cont, 1, oids[2], NULL, NULL, 0, 0, ev_of(x))), 0);
    assert_int_equal(ended(x, tiercel_punch(x->cont, 1, oids[2], NULL, NULL, 0, TIERCEL_IF_THERE, ev_of(x))), -ENOENT);
    anchor = (struct tiercel_anchor){.end = 0};
    count = 4;
    assert_int_equal(ended(x, tiercel_list_objects(x->cont, 1, &anchor, oids, &count, ev_of(x))), 0);
    assert_int_equal(count, 0);
}

static int count_changes(void *ctx, const struct tiercel_change *change)
{
    int *counts = ctx;
    counts[change->before * 2 + change->after]++;
    return 0;
}

static void differences_are_told(void **state)
{
    struct scene *x = *state;
    int counts[4] = {0};
    hold(x, 1);
    assert_int_equal(kv_put(x, 1, "stays", "1", 0) | kv_put(x, 1, "goes", "1", 0) | kv_put(x, 1, "changes", "1", 0), 0);
    commit(x, 1);
    assert_int_equal(ended(x, tiercel_snap_create(x->cont, 1, ev_of(x))), 0);
    assert_int_equal(kv_put(x, 2, "changes", "2", 0) | kv_put(x, 2, "comes", "2", 0), 0);
    assert_int_equal(ended(x, tiercel_kv_remove(x->cont, 2, oid, text("goes"), 0, ev_of(x))), 0);
    commit(x, 2);
    assert_int_equal(tiercel_cont_diff(x->cont, 1, 2, count_changes, counts), 0);
    assert_int_equal(counts[1], 1); /* came */
    assert_int_equal(counts[2], 1); /* went */
    assert_int_equal(counts[3], 1); /* changed */
}

static void object_numbers_are_given_once(void **state)
{
    struct scene *x = *state;
    struct tiercel_cont *other = scene_open(x, "c", TIERCEL_RW);
    uint64_t a = 0, b = 0, c = 0;
    assert_int_equal(tiercel_oid_allocate(x->cont, 10, &a), 0);
    assert_int_equal(tiercel_oid_allocate(other, 1, &b), 0);
    assert_int_equal(tiercel_oid_allocate(x->cont, 5, &c), 0);
    assert_true(b >= a + 10 && c >= b + 1);
    assert_int_equal(tiercel_cont_close(other), 0);
}

/* ---- attributes, properties, lists ---- */

static int join(void *ctx, const char *name, size_t len)
{
    char *all = ctx;
    snprintf(all + strlen(all), 64 - strlen(all), "%s:%zu ", name, len);
    return 0;
}

static void attributes_are_the_users(void **state)
{
    struct scene *x = *state;
    char value[16] = "", all[64] = "";
    size_t len = sizeof value;
    assert_int_equal(tiercel_cont_set_attr(x->cont, "who", "me", 2), 0);
    assert_int_equal(tiercel_cont_set_attr(x->cont, "empty", "", 0), 0);
    assert_int_equal(tiercel_cont_set_attr(x->cont, "gone", "1", 1), 0);
    assert_int_equal(tiercel_cont_set_attr(x->cont, "gone", NULL, 0), 0);
    assert_int_equal(tiercel_cont_set_attr(x->cont, "gone", NULL, 0), -ENOENT);
    assert_int_equal(tiercel_cont_get_attr(x->cont, "who", value, &len), 0);
    assert_true(len == 2 && memcmp(value, "me", 2) == 0);
    len = 1;
    assert_int_equal(tiercel_cont_get_attr(x->cont, "who", value, &len), -ENOBUFS);
    assert_int_equal(len, 2);
    assert_int_equal(tiercel_cont_get_attr(x->cont, "gone", value, &len), -ENOENT);
    assert_non_null(strstr(tiercel_why(NULL), "'gone'"));
    assert_int_equal(tiercel_cont_list_attrs(x->cont, join, all), 0);
    assert_string_equal(all, "empty:0 who:2 ");
}

static int first_info(void *ctx, const struct tiercel_cont_info *info)
{
    *(struct tiercel_cont_info *)ctx = *info;
    return 1;
}

static int count_handles(void *ctx, const struct tiercel_handle_info *info)
{
    ((unsigned *)ctx)[info->flags == (TIERCEL_RW | TIERCEL_NOSLIP)]++;
    return 0;
}

static void containers_tell_of_themselves(void **state)
{
    struct scene *x = *state;
    struct tiercel_cont *other = scene_open(x, "c", TIERCEL_RW | TIERCEL_NOSLIP);
    struct tiercel_cont_info info, same;
    struct tiercel_pool_info pool;
    unsigned handles[2] = {0, 0};
    char value[64], name[40] = "";
    hold(x, 3);
    commit(x, 3);
    assert_int_equal(ended(x, tiercel_snap_create(x->cont, 3, ev_of(x))), 0);
    assert_int_equal(ended(x, tiercel_cont_query(x->cont, &info, ev_of(x))), 0);
    assert_true(info.ghce == 3 && info.ghpce == 3 && info.glre == 0 && info.handles == 2 && info.snapshots == 1);
    assert_string_equal(info.label, "c");
    assert_int_equal(tiercel_cont_list(x->pool, first_info, &same), 1);
    assert_memory_equal(&info.uuid, &same.uuid, sizeof info.uuid);
    assert_string_equal(info.label, same.label);
    assert_true(same.ghce == 3 && same.handles == 2 && same.created_ns == info.created_ns);
    assert_int_equal(tiercel_cont_list_handles(x->pool, "c", count_handles, handles), 0);
    assert_true(handles[0] == 1 && handles[1] == 1);
    assert_int_equal(tiercel_pool_query(x->pool, &pool), 0);
    assert_true(pool.containers == 1 && pool.redundancy == 0 && pool.total_bytes >= pool.free_bytes);
    assert_non_null(strstr(pool.uri, x->where));
    for (size_t i = 0; i < 16; i++)
        snprintf(name + strlen(name), sizeof name - strlen(name), "%02x%s", info.uuid.bytes[i],
                 i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
    assert_int_equal(tiercel_cont_set_prop(x->pool, name, "label", "d", NULL), 0); /* by its UUID */
    assert_int_equal(tiercel_cont_get_prop(x->pool, "d", "label", value, sizeof value, NULL), 0);
    assert_string_equal(value, "d");
    assert_int_equal(tiercel_cont_get_prop(x->pool, "d", "label", value, 1, NULL), -ENOBUFS);
    assert_int_equal(tiercel_cont_get_prop(x->pool, "c", "label", value, sizeof value, NULL), -ENOENT);
    assert_int_equal(tiercel_cont_set_prop(x->pool, "d", "created", "1", NULL), -EINVAL);
    assert_int_equal(tiercel_cont_set_prop(x->pool, "d", "snapshots-max", "1", NULL), 0);
    commit(x, 4);
    assert_int_equal(ended(x, tiercel_snap_create(x->cont, 4, ev_of(x))), -EDQUOT);
    assert_int_equal(tiercel_cont_close(other), 0);
}

/* ---- errors ---- */

struct result {
    const char *what;
    int got, expected;
};

static void check_results(const struct result *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (rows[i].got != rows[i].expected)
            fail_msg("%s: %d instead of %d", rows[i].what, rows[i].got, rows[i].expected);
}

static void what_makes_no_sense_is_refused(void **state)
{
    struct scene *x = *state;
    struct tiercel_cont *c = x->cont, *out_c = NULL;
    struct tiercel_pool *out_p = NULL;
    struct tiercel_anchor anchor = {.end = 0};
    struct tiercel_io io = {.akey = {.at = NULL, .len = 3}, .buffer_len = 1};
    const struct tiercel_bytes bad = {.at = NULL, .len = 3}, d = text("d");
    uint64_t len = 3, n = 1;
    unsigned count = 0;
    size_t size = 0;
    char buf[8];
    const struct result rows[] = {
        {"create without a place", tiercel_pool_create("", NULL), -EINVAL},
        {"connect to nothing", tiercel_pool_connect(&out_p, NULL, TIERCEL_RW, NULL), -EINVAL},
        {"connect for nothing", tiercel_pool_connect(&out_p, x->where, 0, NULL), -EINVAL},
        {"connect for all", tiercel_pool_connect(&out_p, x->where, TIERCEL_RO | TIERCEL_EX, NULL), -EINVAL},
        {"connect into nothing", tiercel_pool_connect(NULL, x->where, TIERCEL_RW, NULL), -EINVAL},
        {"destroy a pool somehow", tiercel_pool_destroy(x->where, 64, NULL), -EINVAL},
        {"query no pool", tiercel_pool_query(NULL, NULL), -EBADF},
        {"query into nothing", tiercel_pool_query(x->pool, NULL), -EINVAL},
        {"check no pool", tiercel_pool_check(NULL, 0, NULL, NULL), -EBADF},
        {"a label of blanks", tiercel_cont_create(x->pool, "a b", NULL, NULL), -EINVAL},
        {"a label like a UUID", tiercel_cont_create(x->pool, "01234567-89ab-cdef-0123-456789abcdef", NULL, NULL),
         -EINVAL},
        {"create in no pool", tiercel_cont_create(NULL, "x", NULL, NULL), -EBADF},
        {"destroy nothing", tiercel_cont_destroy(x->pool, "", 0, NULL), -EINVAL},
        {"destroy somehow", tiercel_cont_destroy(x->pool, "c", TIERCEL_RW, NULL), -EINVAL},
        {"list for nobody", tiercel_cont_list(x->pool, NULL, NULL), -EINVAL},
        {"open for nothing", tiercel_cont_open(&out_c, x->pool, "c", TIERCEL_NOSLIP, NULL), -EINVAL},
        {"open for all", tiercel_cont_open(&out_c, x->pool, "c", TIERCEL_RW | TIERCEL_RO, NULL), -EINVAL},
        {"open exclusively", tiercel_cont_open(&out_c, x->pool, "c", TIERCEL_EX, NULL), -EINVAL},
        {"open in no pool", tiercel_cont_open(&out_c, NULL, "c", TIERCEL_RW, NULL), -EBADF},
        {"query no container", tiercel_cont_query(NULL, NULL, NULL), -EBADF},
        {"an attribute without a name", tiercel_cont_set_attr(c, "", "x", 1), -EINVAL},
        {"an attribute of nothing", tiercel_cont_set_attr(c, "x", NULL, 1), -EINVAL},
        {"too large an attribute", tiercel_cont_set_attr(c, "x", c, TIERCEL_ATTR_MAX + 1), -EINVAL},
        {"an attribute into nothing", tiercel_cont_get_attr(c, "x", buf, NULL), -EINVAL},
        {"a property of no name", tiercel_cont_get_prop(x->pool, "c", NULL, buf, 8, NULL), -EINVAL},
        {"an unknown property", tiercel_cont_set_prop(x->pool, "c", "colour", "red", NULL), -EINVAL},
        {"share into nothing", tiercel_cont_local2global(c, buf, NULL), -EINVAL},
        {"share nothing", tiercel_pool_local2global(NULL, buf, &size), -EBADF},
        {"attach nothing", tiercel_pool_global2local(&out_p, NULL, 8, NULL), -EINVAL},
        {"attach rubbish", tiercel_pool_global2local(&out_p, "rubbish!", 8, NULL), -EINVAL},
        {"hold nothing", tiercel_epoch_hold(c, NULL, NULL, NULL), -EINVAL},
        {"commit nothing", tiercel_epoch_commit(NULL, 1, NULL, NULL), -EBADF},
        {"list snapshots into nothing", tiercel_snap_list(c, NULL, NULL, NULL), -EINVAL},
        {"update of nothing", tiercel_update(c, 1, oid, d, 0, NULL, 1, NULL), -EINVAL},
        {"update of none", tiercel_update(c, 1, oid, d, 0, &io, 0, NULL), -EINVAL},
        {"update with a flag of reading", tiercel_update(c, 1, oid, d, TIERCEL_COMMITTED, &io, 1, NULL), -EINVAL},
        {"a key of nothing", tiercel_update(c, 1, oid, d, 0, &io, 1, NULL), -EINVAL},
        {"fetch with a flag of writing", tiercel_fetch(c, 1, oid, d, TIERCEL_IF_MISSING, &io, 1, NULL), -EINVAL},
        {"a dkey of nothing", tiercel_fetch(c, 1, oid, bad, 0, &io, 1, NULL), -EINVAL},
        {"punch akeys without a dkey", tiercel_punch(c, 1, oid, NULL, &d, 1, 0, NULL), -EINVAL},
        {"punch no akeys", tiercel_punch(c, 1, oid, &d, &d, 0, 0, NULL), -EINVAL},
        {"list into nothing", tiercel_list_dkeys(c, 1, oid, &anchor, NULL, 0, NULL, &count, NULL), -EINVAL},
        {"list objects for none", tiercel_list_objects(c, 1, &anchor, NULL, &count, NULL), -EINVAL},
        {"a put of nothing", tiercel_kv_put(c, 1, oid, d, NULL, 1, 0, NULL), -EINVAL},
        {"a get without a length", tiercel_kv_get(c, 1, oid, d, buf, NULL, 0, NULL), -EINVAL},
        {"a write of nothing", tiercel_array_write(c, 1, oid, 0, NULL, 1, NULL), -EINVAL},
        {"a write of no bytes", tiercel_array_write(c, 1, oid, 0, buf, 0, NULL), -EINVAL},
        {"a read into nothing", tiercel_array_read(c, 1, oid, 0, NULL, &len, NULL), -EINVAL},
        {"a size into nothing", tiercel_array_size(c, 1, oid, NULL, NULL), -EINVAL},
        {"a punch of no bytes", tiercel_array_punch(c, 1, oid, 0, 0, NULL), -EINVAL},
        {"no object numbers", tiercel_oid_allocate(c, 0, &n), -EINVAL},
        {"a difference for nobody", tiercel_cont_diff(c, 1, 2, NULL, NULL), -EINVAL},
        {"aggregate nothing", tiercel_cont_aggregate(NULL, NULL, NULL), -EBADF},
    };
    check_results(rows, sizeof rows / sizeof *rows);
    assert_true(strlen(tiercel_why(NULL)) > 20);
}

static void errors_have_their_codes(void **state)
{
    struct scene *x = *state;
    struct tiercel_pool *reader = NULL, *none = NULL;
    struct tiercel_cont *c = NULL, *r = NULL;
    struct tiercel_lock *l = NULL;
    char nowhere[128], long_key[TIERCEL_KEY_MAX + 1], byte = 1;
    snprintf(nowhere, sizeof nowhere, "%s/not/there", x->where);
    memset(long_key, 'k', sizeof long_key);
    assert_int_equal(tiercel_pool_connect(&reader, x->where, TIERCEL_RO, NULL), 0);
    assert_int_equal(tiercel_cont_open(&r, reader, "c", TIERCEL_RO, NULL), 0);
    uint64_t epoch = 1;
    assert_int_equal(tiercel_epoch_hold(x->cont, &epoch, NULL, NULL), 0);
    const struct result rows[] = {
        {"a pool is there", tiercel_pool_create(x->where, NULL), -EEXIST},
        {"no folder for it", tiercel_pool_create(nowhere, NULL), -ENOENT},
        {"no pool", tiercel_pool_connect(&none, nowhere, TIERCEL_RW, NULL), -ENOENT},
        {"no pool to evict", tiercel_pool_evict(nowhere, NULL), -ENOENT},
        {"no pool to destroy", tiercel_pool_destroy(nowhere, 0, NULL), -ENOENT},
        {"a pool in use", tiercel_pool_destroy(x->where, 0, NULL), -EBUSY},
        {"somebody is connected", tiercel_pool_connect(&none, x->where, TIERCEL_EX, NULL), -EBUSY},
        {"a container is there", tiercel_cont_create(x->pool, "c", NULL, NULL), -EEXIST},
        {"create through a reader", tiercel_cont_create(reader, "n", NULL, NULL), -EACCES},
        {"destroy through a reader", tiercel_cont_destroy(reader, "c", 0, NULL), -EACCES},
        {"write through a reader", tiercel_cont_open(&c, reader, "c", TIERCEL_RW, NULL), -EACCES},
        {"no container to open", tiercel_cont_open(&c, x->pool, "n", TIERCEL_RW, NULL), -ENOENT},
        {"no container to destroy", tiercel_cont_destroy(x->pool, "n", 0, NULL), -ENOENT},
        {"no container to evict", tiercel_cont_evict(x->pool, "n", NULL), -ENOENT},
        {"no handles of it", tiercel_cont_list_handles(x->pool, "n", count_handles, NULL), -ENOENT},
        {"a container in use", tiercel_cont_destroy(x->pool, "c", 0, NULL), -EBUSY},
        {"no snapshot to open", tiercel_cont_open_snapshot(&c, x->pool, "c", 5, NULL), -ENOENT},
        {"no snapshot to destroy", tiercel_snap_destroy(x->cont, 5, NULL), -ENOENT},
        {"a snapshot of what is not final", tiercel_snap_create(x->cont, 5, NULL), -ENOENT},
        {"an attribute of a reader's", tiercel_cont_set_attr(r, "x", "y", 1), -EACCES},
        {"hold of a reader", tiercel_epoch_hold(r, &epoch, NULL, NULL), -EACCES},
        {"lock of a reader", tiercel_lock(r, "l", TIERCEL_LOCK_EXCLUSIVE, 0, &l, NULL, NULL), -EACCES},
        {"a long key",
         tiercel_kv_put(x->cont, 1, oid, (struct tiercel_bytes){long_key, sizeof long_key}, &byte, 1, 0, NULL),
         -ENAMETOOLONG},
        {"a large value", tiercel_kv_put(x->cont, 1, oid, text("k"), &byte, TIERCEL_VALUE_MAX + 1, 0, NULL), -EFBIG},
        {"beyond 64 bits", tiercel_array_write(x->cont, 1, oid, UINT64_MAX, &byte, 1, NULL), -EOVERFLOW},
        {"at no epoch", tiercel_array_write(x->cont, MAX, oid, 0, &byte, 1, NULL), -EOVERFLOW},
        {"below the hold", tiercel_array_write(x->cont, 0, oid, 0, &byte, 1, NULL), -EROFS},
        {"slip nowhere", tiercel_epoch_slip(x->cont, MAX, NULL, NULL), -EOVERFLOW},
    };
    check_results(rows, sizeof rows / sizeof *rows);
    assert_int_equal(tiercel_cont_close(r), 0);
    assert_int_equal(tiercel_pool_disconnect(reader), 0);
}

/* Changes a byte of every payload file, behind the library's back. */
static void damage(struct scene *x, const char *pattern)
{
    char command[512];
    snprintf(command, sizeof command,
             "for f in '%s'/*; do case $f in *.mdb*|*/page|*/pool) ;; *) LC_ALL=C sed -i 's/%s/X/' \"$f\";; esac; done",
             x->where, pattern);
    assert_int_equal(system(command), 0);
}

static void damage_is_noticed_and_named(void **state)
{
    struct scene *x = *state;
    static char bytes[65536];
    uint64_t len = sizeof bytes;
    memset(bytes, 'a', sizeof bytes);
    hold(x, 1);
    assert_int_equal(tiercel_array_write(x->cont, 1, oid, 0, bytes, sizeof bytes, NULL), 0);
    commit(x, 1);
    assert_int_equal(tiercel_cont_close(x->cont), 0);
    assert_int_equal(tiercel_pool_disconnect(x->pool), 0);
    damage(x, "a");
    assert_int_equal(tiercel_pool_connect(&x->pool, x->where, TIERCEL_RW, NULL), 0);
    x->cont = scene_open(x, "c", TIERCEL_RW);
    int rc = ended(x, tiercel_array_read(x->cont, 1, oid, 0, bytes, &len, ev_of(x)));
    assert_int_equal(rc, -EBADMSG);
    if (!x->async)
        assert_non_null(strstr(tiercel_why(NULL), "damaged"));
    assert_true(tiercel_pool_check(x->pool, 0, NULL, NULL) > 0);
}

#define one(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
#define both(name)                                                                                                     \
    one(name),                                                                                                         \
    {                                                                                                                  \
#name " (events)", name, scene_setup_async, scene_teardown, NULL                                               \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        both(flat_objects_keep_what_is_put),
        both(flat_objects_are_listed_in_order),
        both(byte_arrays_are_files_without_a_name),
        both(byte_arrays_have_edges),
        both(an_update_is_of_several_values),
        both(what_there_is_is_listed),
        both(differences_are_told),
        one(object_numbers_are_given_once),
        one(attributes_are_the_users),
        both(containers_tell_of_themselves),
        one(what_makes_no_sense_is_refused),
        one(errors_have_their_codes),
        both(damage_is_noticed_and_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
