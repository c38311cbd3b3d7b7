// SPDX-License-Identifier: Apache-2.0
/* Objects through the public interface: flat ones, byte arrays beside a naive model, values under two keys; attributes and properties. */
#include "client/scene.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const struct tiercel_oid oid = {3, 4};

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
    assert_true(pool.containers == 1 && pool.total_bytes >= pool.free_bytes);
    const bool directory = strncmp(pool.uri, "file:", 5) == 0;
    assert_true(!directory || (pool.redundancy == 0 && pool.health.state == TIERCEL_POOL_HEALTHY));
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
