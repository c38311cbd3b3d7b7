// SPDX-License-Identifier: Apache-2.0
/* Values and arrays: what DAOS tests of its I/O (IO1 to IO33), one thing at a time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "pool/internal.h"
#include "pool/scene.h"

#define CHUNK (1u << 20)

static void fill(uint8_t *bytes, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)((i * 31 + seed * 7919 + i / 251) & 0xff);
}

static void values_of_any_size_come_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {
        0,         1,     511,       512,           513, 4096, (64 << 10) - 1, 64 << 10, (64 << 10) + 1,
        CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 77};
    struct scene x;
    uint8_t *out = malloc(4 * CHUNK), *in = malloc(4 * CHUNK);
    char akey[16];
    scene_new(&x);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        fill(in, sizes[i], i);
        snprintf(akey, sizeof akey, "%u", i);
        struct tiercel_io io = {.akey = text(akey), .record_size = sizes[i], .buffer = in, .buffer_len = sizes[i]};
        assert_int_equal(update(x.cont, 1, oid_of(1), text("d"), 0, &io, 1), 0);
    }
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            fill(in, sizes[i], i);
            snprintf(akey, sizeof akey, "%u", i);
            struct tiercel_io size = {.akey = text(akey)};
            assert_int_equal(fetch(x.cont, 1, oid_of(1), text("d"), 0, &size, 1), 0); /* no buffer: its size */
            assert_int_equal(size.buffer_len, sizes[i]);
            struct tiercel_io io = {.akey = text(akey), .buffer = out, .buffer_len = 4 * CHUNK};
            assert_int_equal(fetch(x.cont, 1, oid_of(1), text("d"), TIERCEL_IF_THERE, &io, 1), 0);
            assert_int_equal(io.buffer_len, sizes[i]);
            assert_memory_equal(in, out, sizes[i]);
            if (sizes[i] == 0)
                continue;
            struct tiercel_io small = {.akey = text(akey), .buffer = out, .buffer_len = sizes[i] - 1};
            assert_int_equal(fetch(x.cont, 1, oid_of(1), text("d"), 0, &small, 1), -ENOBUFS);
            assert_int_equal(small.buffer_len, sizes[i]);
        }
        assert_int_equal(commit(x.cont, round + 1), 0);
    }
    free(in);
    free(out);
    scene_free(&x);
}

static void a_value_is_replaced_by_one_of_another_size(void **state)
{
    (void)state;
    struct scene x;
    scene_new(&x);
    assert_int_equal(put_single(x.cont, 1, 1, "a", "a long value"), 0);
    assert_int_equal(put_single(x.cont, 1, 1, "a", "short"), 0);
    assert_true(is_single(x.cont, 1, 1, "a", "short"));
    assert_int_equal(put_single(x.cont, 2, 1, "a", ""), 0);
    assert_true(is_single(x.cont, 2, 1, "a", ""));
    assert_true(is_single(x.cont, 1, 1, "a", "short"));
    assert_true(is_single(x.cont, 1, 1, "never written", NULL));
    scene_free(&x);
}

static void several_extents_of_one_call_lie_in_one_chunk(void **state)
{
    (void)state;
    const struct tiercel_extent some[] = {{20, 2}, {0, 3}, {10, 1}};
    const struct tiercel_io two[] = {
        {.akey = text("a"),
         .extents = some,
         .extent_count = 3,
         .record_size = 1,
         .buffer = (char[]){"ABabcX"},
         .buffer_len = 6},
        {.akey = text("a"),
         .extents = &(struct tiercel_extent){5, 1},
         .extent_count = 1,
         .record_size = 1,
         .buffer = (char[]){"5"},
         .buffer_len = 1},
    };
    char out[23] = "";
    struct scene x;
    scene_new(&x);
    assert_int_equal(update(x.cont, 1, oid_of(1), text("d"), 0, two, 2), 0);
    assert_int_equal(get_array(x.cont, 1, 1, 1, 0, 22, out), 0);
    assert_memory_equal(out,
                        "abc\0\0"
                        "5\0\0\0\0X\0\0\0\0\0\0\0\0\0AB",
                        22);
    struct tiercel_io back = {
        .akey = text("a"), .extents = some, .extent_count = 3, .record_size = 1, .buffer = out, .buffer_len = 6};
    assert_int_equal(fetch(x.cont, 1, oid_of(1), text("d"), 0, &back, 1), 0);
    assert_memory_equal(out, "ABabcX", 6);
    scene_free(&x);
}

static void records_never_written_are_zeros(void **state)
{
    (void)state;
    struct scene x;
    uint8_t out[64];
    uint64_t end = 77;
    scene_new(&x);
    memset(out, 1, sizeof out);
    assert_int_equal(get_array(x.cont, 1, 1, 8, 100, 8, out), 0);
    for (unsigned i = 0; i < sizeof out; i++)
        assert_int_equal(out[i], 0);
    assert_int_equal(array_end(x.cont, 1, 1, &end), 0);
    assert_int_equal(end, 0);
    assert_int_equal(put_array(x.cont, 1, 1, 8, 102, 1, "12345678"), 0);
    memset(out, 1, sizeof out);
    assert_int_equal(get_array(x.cont, 1, 1, 0, 100, 8, out), -ENOBUFS); /* 0: any size, and then it does not fit */
    assert_int_equal(get_array(x.cont, 1, 1, 8, 100, 8, out), 0);
    for (unsigned i = 0; i < sizeof out; i++)
        assert_int_equal(out[i], i / 8 == 2 ? '1' + i % 8 : 0);
    struct tiercel_io size = {.akey = text("a"), .extents = &(struct tiercel_extent){0, 1}, .extent_count = 1};
    assert_int_equal(fetch(x.cont, 1, oid_of(1), text("d"), 0, &size, 1), 0);
    assert_int_equal(size.record_size, 8);
    assert_int_equal(fetch(x.cont, 1, oid_of(1), text("d"), TIERCEL_IF_THERE, &size, 1), -ENOENT);
    scene_free(&x);
}

static void arrays_cross_chunks(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 3, 1000, 4096, 300000, CHUNK};
    struct scene x;
    uint8_t *in = malloc(8 * CHUNK), *out = malloc(8 * CHUNK);
    scene_new(&x);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint64_t size = sizes[i], per = CHUNK / size, count = per + 3 < 5 * per ? per + 3 : 5 * per, end;
        struct tiercel_extent found[2];
        unsigned n;
        uint64_t listed;
        fill(in, count * size, i);
        assert_int_equal(put_array(x.cont, 1, i, size, 2 * per - 1, count, in), 0);
        assert_int_equal(get_array(x.cont, 1, i, size, 2 * per - 1, count, out), 0);
        assert_memory_equal(in, out, count * size);
        assert_int_equal(array_end(x.cont, 1, i, &end), 0);
        assert_int_equal(end, 2 * per - 1 + count);
        assert_int_equal(list_extents(x.cont, 1, i, 1, found, 2, &n, &listed), 0);
        assert_int_equal(n, 1);
        assert_true(found[0].first == 2 * per - 1 && found[0].count == count && listed == size);
    }
    free(in);
    free(out);
    scene_free(&x);
}

/* The last records that 64 bits can count. */
static void arrays_end_where_numbers_end(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 3, 7, 1000, CHUNK};
    struct scene x;
    scene_new(&x);
    uint8_t *in = malloc(4 * CHUNK), *out = malloc(4 * CHUNK);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint64_t size = sizes[i], end = 0, listed, first = UINT64_MAX - 3;
        struct tiercel_extent found[4];
        unsigned n = 0;
        fill(in, 3 * size, i);
        assert_int_equal(put_array(x.cont, 1, i, size, first, 3, in), 0);
        memset(out, 0, 3 * size);
        assert_int_equal(get_array(x.cont, 1, i, size, first, 3, out), 0);
        assert_memory_equal(in, out, 3 * size);
        assert_int_equal(array_end(x.cont, 1, i, &end), 0);
        assert_true(end == UINT64_MAX);
        assert_int_equal(put_array(x.cont, 1, i, size, 5, 1, in), 0);
        assert_int_equal(list_extents(x.cont, 1, i, 1, found, 4, &n, &listed), 0);
        assert_int_equal(n, 2);
        assert_true(found[0].first == 5 && found[0].count == 1 && found[1].first == first && found[1].count == 3);
        assert_int_equal(clear(x.cont, 1, i, UINT64_MAX - 1, 1), 0);
        assert_int_equal(array_end(x.cont, 1, i, &end), 0);
        assert_true(end == UINT64_MAX - 1);
    }
    assert_int_equal(put_array(x.cont, 1, 99, 1, UINT64_MAX - 1, 2, in), -EOVERFLOW);
    assert_int_equal(clear(x.cont, 1, 99, UINT64_MAX, 1), -EOVERFLOW);
    free(in);
    free(out);
    scene_free(&x);
}

static void a_chunk_may_have_many_pieces(void **state)
{
    (void)state;
    enum { PIECES = 3000 };
    struct scene x;
    static struct tiercel_extent some[PIECES], found[PIECES + 1];
    static uint8_t in[PIECES], out[3 * PIECES];
    unsigned n;
    uint64_t size;
    scene_new(&x);
    fill(in, sizeof in, 1);
    for (unsigned i = 0; i < PIECES; i++)
        some[i] = (struct tiercel_extent){(uint64_t)(i * 7 % PIECES) * 3, 1};
    const struct tiercel_io io = {.akey = text("a"),
                                  .extents = some,
                                  .extent_count = PIECES,
                                  .record_size = 1,
                                  .buffer = in,
                                  .buffer_len = PIECES};
    assert_int_equal(update(x.cont, 1, oid_of(1), text("d"), 0, &io, 1), 0);
    assert_int_equal(get_array(x.cont, 1, 1, 1, 0, 3 * PIECES, out), 0);
    for (unsigned i = 0; i < PIECES; i++)
        assert_int_equal(out[some[i].first], in[i]);
    for (unsigned at_once = 700; at_once <= 4000; at_once += 1650) {
        assert_int_equal(list_extents(x.cont, 1, 1, at_once, found, PIECES + 1, &n, &size), 0);
        assert_int_equal(n, PIECES);
        for (unsigned i = 0; i < PIECES; i++)
            assert_true(found[i].first == 3ull * i && found[i].count == 1);
    }
    scene_free(&x);
}

/* Writes and punches of any ranges in many epochs: each epoch is read, whole and in part, beside a model. */
static void every_epoch_of_many_chunks_is_what_it_was(void **state)
{
    (void)state;
    enum { SIZE = 16 << 10, RECORDS = 6 * CHUNK / SIZE - 5, EPOCHS = 40 };
    static uint8_t model[EPOCHS + 1][RECORDS], bytes[RECORDS * SIZE];
    struct tl_prng p;
    struct scene x;
    scene_new(&x);
    tl_prng_init(&p, 7, 0);
    for (unsigned e = 1; e <= EPOCHS; e++) {
        uint32_t first = (uint32_t)tl_prng_below(&p, RECORDS), most = e % 3 == 0 ? 8 : RECORDS - first;
        uint32_t count = 1 + (uint32_t)tl_prng_below(&p, most < RECORDS - first ? most : RECORDS - first);
        bool away = tl_prng_below(&p, 4) == 0;
        memset(bytes, (int)e, (size_t)count * SIZE);
        assert_int_equal(away ? clear(x.cont, e, 1, first, count) : put_array(x.cont, e, 1, SIZE, first, count, bytes),
                         0);
        memcpy(model[e], model[e - 1], RECORDS);
        memset(model[e] + first, away ? 0 : (int)e, count);
    }
    for (unsigned e = 1; e <= EPOCHS; e++) {
        for (unsigned part = 0; part < 3; part++) {
            uint32_t first = part == 0 ? 0 : (uint32_t)tl_prng_below(&p, RECORDS);
            uint32_t count = part == 0 ? RECORDS : 1 + (uint32_t)tl_prng_below(&p, RECORDS - first);
            memset(bytes, 0xee, sizeof bytes);
            assert_int_equal(get_array(x.cont, e, 1, SIZE, first, count, bytes), 0);
            for (uint32_t i = 0; i < count; i++) {
                assert_int_equal(bytes[(size_t)i * SIZE], model[e][first + i]);
                assert_int_equal(bytes[(size_t)i * SIZE + SIZE - 1], model[e][first + i]);
            }
        }
    }
    scene_free(&x);
}

static void what_does_not_fit_together_is_refused(void **state)
{
    (void)state;
    struct scene x;
    char b[16] = "0123456789abcdef";
    const struct tiercel_extent overlap[] = {{0, 4}, {8, 4}, {3, 2}}, empty[] = {{0, 4}, {9, 0}},
                                far[] = {{UINT64_MAX, 1}}, huge[] = {{0, UINT64_MAX / 2}}, four[] = {{0, 4}};
    const struct {
        struct tiercel_io io;
        int rc;
    } cases[] = {
        {{.extents = overlap, .extent_count = 3, .record_size = 1, .buffer = b, .buffer_len = 10}, -EINVAL},
        {{.extents = empty, .extent_count = 2, .record_size = 1, .buffer = b, .buffer_len = 4}, -EINVAL},
        {{.extents = far, .extent_count = 1, .record_size = 1, .buffer = b, .buffer_len = 1}, -EOVERFLOW},
        {{.extents = huge, .extent_count = 1, .record_size = 8, .buffer = b, .buffer_len = 8}, -EOVERFLOW},
        {{.extents = four, .extent_count = 1, .record_size = 4, .buffer = b, .buffer_len = 15}, -EINVAL},
        {{.extents = four, .extent_count = 1, .record_size = 4, .buffer = NULL, .buffer_len = 16}, -EINVAL},
        {{.extents = four, .extent_count = 1, .record_size = 0, .buffer = b, .buffer_len = 0}, -EINVAL},
        {{.extents = four, .extent_count = 0, .record_size = 1, .buffer = b, .buffer_len = 0}, -EINVAL},
        {{.extents = four, .extent_count = 1, .record_size = CHUNK + 1, .buffer = b, .buffer_len = 4ull * CHUNK + 4},
         -EFBIG},
        {{.record_size = 8, .buffer = b, .buffer_len = 9}, -EINVAL},
        {{.record_size = 8, .buffer = NULL, .buffer_len = 8}, -EINVAL},
        {{.record_size = TIERCEL_VALUE_MAX + 1, .buffer = b, .buffer_len = TIERCEL_VALUE_MAX + 1}, -EFBIG},
    };
    scene_new(&x);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct tiercel_io ios[] = {
            {.akey = text("good"), .record_size = 1, .buffer = b, .buffer_len = 1},
            cases[i].io,
        };
        assert_int_equal(update(x.cont, 1, oid_of(1), text("d"), 0, ios, 2), cases[i].rc);
        assert_true(is_single(x.cont, 1, 1, "good", NULL)); /* none of them */
    }
    assert_int_equal(update(x.cont, 1, oid_of(1), text("d"), TIERCEL_COMMITTED, &cases[0].io, 1), -EINVAL);
    struct tiercel_io in = {.akey = text("a"), .buffer = b, .buffer_len = 16};
    assert_int_equal(fetch(x.cont, 1, oid_of(1), text("d"), TIERCEL_IF_MISSING, &in, 1), -EINVAL);
    scene_free(&x);
}

static void keys_have_limits(void **state)
{
    (void)state;
    struct scene x;
    char longest[TIERCEL_KEY_MAX + 1], zeros[TIERCEL_KEY_MAX] = "", out[4];
    scene_new(&x);
    memset(longest, 255, sizeof longest);
    const struct {
        struct tiercel_bytes key;
        int rc;
    } keys[] = {{{longest, TIERCEL_KEY_MAX}, 0},
                {{longest, TIERCEL_KEY_MAX + 1}, -ENAMETOOLONG},
                {{zeros, TIERCEL_KEY_MAX / 2}, 0},
                {{zeros, TIERCEL_KEY_MAX / 2 + 1}, -ENAMETOOLONG},
                {{NULL, 0}, 0},
                {{"", 1}, 0}};
    for (unsigned i = 0; i < sizeof keys / sizeof *keys; i++) {
        for (unsigned j = 0; j < sizeof keys / sizeof *keys; j++) {
            int rc = keys[i].rc != 0 ? keys[i].rc : keys[j].rc;
            char v[4] = {'v', (char)('0' + i), (char)('0' + j), 0};
            struct tiercel_io io = {.akey = keys[j].key, .record_size = 3, .buffer = v, .buffer_len = 3};
            assert_int_equal(update(x.cont, 1, oid_of(1), keys[i].key, 0, &io, 1), rc);
        }
    }
    for (unsigned i = 0; i < sizeof keys / sizeof *keys; i++) {
        for (unsigned j = 0; j < sizeof keys / sizeof *keys; j++) {
            int rc = keys[i].rc != 0 ? keys[i].rc : keys[j].rc;
            struct tiercel_io io = {.akey = keys[j].key, .buffer = out, .buffer_len = sizeof out};
            assert_int_equal(fetch(x.cont, 1, oid_of(1), keys[i].key, 0, &io, 1), rc);
            if (rc != 0)
                continue;
            assert_int_equal(io.buffer_len, 3);
            assert_true(out[1] == (char)('0' + i) && out[2] == (char)('0' + j));
        }
    }
    scene_free(&x);
}

static void conditions_hold_or_nothing_is_done(void **state)
{
    (void)state;
    struct scene x;
    struct tiercel_io ios[] = {
        {.akey = text("a"), .record_size = 1, .buffer = (char[]){"1"}, .buffer_len = 1},
        {.akey = text("b"), .record_size = 1, .buffer = (char[]){"2"}, .buffer_len = 1},
    };
    scene_new(&x);
    assert_int_equal(update(x.cont, 1, oid_of(1), text("d"), TIERCEL_IF_THERE, ios, 1), -ENOENT);
    assert_int_equal(update(x.cont, 1, oid_of(1), text("d"), TIERCEL_IF_MISSING, ios, 1), 0);
    assert_int_equal(update(x.cont, 1, oid_of(1), text("d"), TIERCEL_IF_MISSING, ios, 1), -EEXIST);
    assert_int_equal(update(x.cont, 1, oid_of(1), text("d"), TIERCEL_IF_MISSING, &ios[1], 1), 0);
    assert_int_equal(punch(x.cont, 1, 1, "d", "b"), 0);
    assert_int_equal(update(x.cont, 1, oid_of(1), text("d"), TIERCEL_IF_THERE, ios, 2), -ENOENT);
    ios[1].akey = text("c");
    assert_int_equal(
        update(x.cont, 1, oid_of(1), text("d"), TIERCEL_IF_MISSING, (struct tiercel_io[]){ios[1], ios[0]}, 2), -EEXIST);
    assert_true(is_single(x.cont, 1, 1, "c", NULL));
    assert_true(is_single(x.cont, 1, 1, "b", NULL));
    assert_int_equal(update(x.cont, 2, oid_of(1), text("d"), TIERCEL_IF_THERE, ios, 1), 0); /* of an epoch before */
    scene_free(&x);
}

static void an_array_keeps_the_size_of_its_records(void **state)
{
    (void)state;
    struct scene x;
    char out[8];
    scene_new(&x);
    assert_int_equal(put_array(x.cont, 1, 1, 4, 0, 1, "1234"), 0);
    assert_int_equal(put_array(x.cont, 1, 1, 2, 2, 1, "12"), -EINVAL); /* also when nothing was flushed */
    assert_int_equal(get_array(x.cont, 1, 1, 2, 0, 1, out), -EINVAL);
    assert_int_equal(put_array(x.cont, 1, 1, 4, 1, 1, "5678"), 0);
    assert_int_equal(get_array(x.cont, 1, 1, 4, 0, 2, out), 0);
    assert_memory_equal(out, "12345678", 8);
    assert_int_equal(commit(x.cont, 1), 0);
    assert_int_equal(put_array(x.cont, 2, 1, 2, 0, 1, "12"), -EINVAL);
    assert_int_equal(punch(x.cont, 2, 1, "d", "a"), 0);
    assert_int_equal(put_array(x.cont, 2, 1, 2, 0, 1, "xy"), 0);
    assert_int_equal(get_array(x.cont, 2, 1, 2, 0, 2, out), 0);
    assert_memory_equal(out, "xy\0\0", 4);
    assert_int_equal(get_array(x.cont, 1, 1, 4, 0, 2, out), 0);
    assert_memory_equal(out, "12345678", 8);
    assert_int_equal(put_single(x.cont, 2, 2, "a", "single"), 0);
    assert_int_equal(put_array(x.cont, 2, 2, 2, 0, 1, "12"), -EINVAL);
    scene_free(&x);
}

static void a_punch_is_seen_at_once_and_writing_goes_on(void **state)
{
    (void)state;
    struct scene x;
    char out[4];
    scene_new(&x);
    assert_int_equal(put_array(x.cont, 1, 1, 1, 0, 4, "abcd"), 0);
    assert_int_equal(commit(x.cont, 1), 0);
    static const char *const what[][2] = {{NULL, NULL}, {"d", NULL}, {"d", "a"}};
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(punch(x.cont, 2 + i, 1, what[i][0], what[i][1]), 0);
        assert_int_equal(put_array(x.cont, 2 + i, 1, 1, 2, 1, "X"), 0); /* what was punched lies before it */
        assert_int_equal(get_array(x.cont, 2 + i, 1, 1, 0, 4, out), 0);
        assert_memory_equal(out, "\0\0X", 4);
        assert_int_equal(get_array(x.cont, 1, 1, 1, 0, 4, out), 0);
        assert_memory_equal(out, "abcd", 4);
        assert_int_equal(discard(x.cont, 2 + i, 2 + i), 0);
        assert_int_equal(get_array(x.cont, 2 + i, 1, 1, 0, 4, out), 0);
        assert_memory_equal(out, "abcd", 4);
    }
    scene_free(&x);
}

/* ---- a commit in the middle of a fetch ---- */

static const struct tl_store_ops *real_ops;
static struct tl_cont *committer; /* whose epoch is committed behind the next read */
static uint64_t committed;

static int read_then_commit(struct tl_store *s, struct tl_slice place, uint32_t offset, void *out, uint32_t len)
{
    struct tl_cont *c = committer;
    int rc = real_ops->read(s, place, offset, out, len);
    committer = NULL;
    return rc == 0 && c != NULL ? tl_cont_commit(c, committed, NULL) : rc;
}

static void a_fetch_shows_one_epoch(void **state)
{
    (void)state;
    struct scene x;
    char values[2][8];
    scene_new(&x);
    struct tl_store *store = x.cont->pool->shared->store;
    struct tl_store_ops hooked = *store->ops;
    real_ops = store->ops;
    hooked.read = read_then_commit;
    hooked.begin_read = NULL; /* all reads are that one, in a cluster, too */
    store->ops = &hooked;
    for (uint64_t epoch = 1; epoch <= 2; epoch++) {
        assert_int_equal(put_single(x.cont, epoch, 1, "a", epoch == 1 ? "old" : "new"), 0);
        assert_int_equal(put_single(x.cont, epoch, 1, "b", epoch == 1 ? "old" : "new"), 0);
        if (epoch == 1)
            assert_int_equal(commit(x.cont, 1), 0);
    }
    struct tl_cont *reader = scene_open(x.pool, "c", TIERCEL_RO); /* keeps epoch 1 readable */
    assert_non_null(reader);
    for (int round = 0; round < 4; round++) { /* with a reference to the epoch; later; without one: then the next one */
        const char *shown = round == 0 ? "old" : round < 3 ? "new" : "one";
        struct tl_cont *from = round < 2 ? reader : x.cont;
        struct tiercel_io ios[2] = {{.akey = text("a"), .buffer = values[0], .buffer_len = 8},
                                    {.akey = text("b"), .buffer = values[1], .buffer_len = 8}};
        if (round == 2) {
            assert_int_equal(tl_cont_close(reader), 0);
            assert_int_equal(put_single(x.cont, 3, 1, "a", "one"), 0);
            assert_int_equal(put_single(x.cont, 3, 1, "b", "one"), 0);
        }
        committer = round == 0 || round == 3 ? x.cont : NULL;
        committed = round == 0 ? 2 : 3;
        assert_int_equal(fetch(from, TIERCEL_EPOCH_NOW, oid_of(1), text("d"), 0, ios, 2), 0);
        assert_memory_equal(values[0], shown, 3);
        assert_memory_equal(values[1], shown, 3);
    }
    store->ops = real_ops;
    scene_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_any_size_come_back),
        cmocka_unit_test(a_value_is_replaced_by_one_of_another_size),
        cmocka_unit_test(several_extents_of_one_call_lie_in_one_chunk),
        cmocka_unit_test(records_never_written_are_zeros),
        cmocka_unit_test(arrays_cross_chunks),
        cmocka_unit_test(arrays_end_where_numbers_end),
        cmocka_unit_test(a_chunk_may_have_many_pieces),
        cmocka_unit_test(every_epoch_of_many_chunks_is_what_it_was),
        cmocka_unit_test(what_does_not_fit_together_is_refused),
        cmocka_unit_test(keys_have_limits),
        cmocka_unit_test(conditions_hold_or_nothing_is_done),
        cmocka_unit_test(an_array_keeps_the_size_of_its_records),
        cmocka_unit_test(a_punch_is_seen_at_once_and_writing_goes_on),
        cmocka_unit_test(a_fetch_shows_one_epoch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
