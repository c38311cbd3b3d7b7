// SPDX-License-Identifier: Apache-2.0
/* Reading arrays: holes, ends, and how little is asked for. Also from a store whose payloads come late, as those of a cluster do. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "pool/late.h"
#include "pool/scene.h"

#define CHUNK (1u << 20)
#define GUARD 0xee /* what nobody has touched */

static int read_at(struct tl_cont *c, uint64_t epoch, uint64_t oid, uint64_t offset, void *out, uint64_t *len)
{
    struct tl_error err = {.code = 0};
    tl_pool_lock(tl_cont_pool(c));
    int rc = tl_cont_array_read(c, epoch, oid_of(oid), text("d"), text("a"), offset, out, len, &err);
    tl_pool_unlock(tl_cont_pool(c));
    assert_true(rc == 0 || err.code == rc);
    return rc;
}

static void expect(struct tl_cont *c, uint64_t epoch, uint64_t offset, uint64_t wanted, const uint8_t *model,
                   uint64_t model_len, uint8_t *out)
{
    uint64_t len = wanted, there = offset < model_len ? model_len - offset : 0;
    memset(out, GUARD, wanted + 1);
    assert_int_equal(read_at(c, epoch, 1, offset, out, &len), 0);
    assert_int_equal(len, wanted < there ? wanted : there);
    assert_memory_equal(out, model + offset, len);
    for (uint64_t i = len; i <= wanted; i++)
        assert_int_equal(out[i], GUARD); /* behind the end nothing is touched */
    if (wanted == 0)
        return;
    memset(out, GUARD, wanted + 1);
    assert_int_equal(get_array(c, epoch, 1, 1, offset, wanted, out), 0);
    assert_memory_equal(out, model + offset, wanted);
    assert_int_equal(out[wanted], GUARD);
}

/* Before, between and behind what was written; in one chunk, and whole chunks. */
static void holes_are_zeros_wherever_they_are(void **state)
{
    (void)state;
    static const struct {
        uint64_t first, count;
    } written[] = {{5, 3}, {20, 1}, {CHUNK - 2, 4}, {2 * CHUNK, CHUNK}, {5 * CHUNK + 100, 50}};
    static const uint64_t edges[] = {0,
                                     4,
                                     5,
                                     6,
                                     8,
                                     19,
                                     20,
                                     21,
                                     CHUNK - 2,
                                     CHUNK,
                                     CHUNK + 2,
                                     2 * CHUNK,
                                     CHUNK * 3,
                                     CHUNK * 4,
                                     CHUNK * 5,
                                     CHUNK * 5 + 120,
                                     CHUNK * 5 + 150,
                                     CHUNK * 6};
    enum { EDGES = sizeof edges / sizeof *edges, SIZE = 6 * CHUNK };
    uint8_t *model = calloc(1, SIZE + 1), *out = malloc(SIZE + 1);
    struct scene x;
    scene_new(&x);
    for (unsigned i = 0; i < sizeof written / sizeof *written; i++) {
        memset(model + written[i].first, 1 + (int)i, written[i].count);
        assert_int_equal(put_array(x.cont, 1, 1, 1, written[i].first, written[i].count, model + written[i].first), 0);
    }
    for (unsigned committed = 0; committed < 2; committed++) {
        late_begin(x.pool);
        for (unsigned i = 0; i < EDGES; i++)
            for (unsigned k = i; k < EDGES; k++)
                expect(x.cont, 1, edges[i], edges[k] - edges[i], model, 5 * CHUNK + 150, out);
        late_end(x.pool);
        if (committed == 0)
            assert_int_equal(commit(x.cont, 1), 0);
    }
    free(model);
    free(out);
    scene_free(&x);
}

/* Records of many epochs over each other, some taken away: their pieces come in no order. */
static void what_overlaps_is_read_in_pieces(void **state)
{
    (void)state;
    enum { SIZE = 3 * CHUNK, STEP = 4096, WRITES = 60 };
    uint8_t *model = calloc(1, SIZE + 1), *out = malloc(SIZE + 1);
    struct tl_prng p;
    struct scene x;
    uint64_t end = 0;
    scene_new(&x);
    tl_prng_init(&p, 3, 0);
    late_begin(x.pool);
    for (unsigned i = 1; i <= WRITES; i++) {
        uint64_t first = tl_prng_below(&p, SIZE - 1);
        uint64_t most = i % 2 == 0 ? STEP : SIZE - first;
        uint64_t count = 1 + tl_prng_below(&p, most < SIZE - first ? most : SIZE - first);
        bool away = i % 5 == 0;
        memset(model + first, away ? 0 : (int)i, count);
        assert_int_equal(
            away ? clear(x.cont, i, 1, first, count) : put_array(x.cont, i, 1, 1, first, count, model + first), 0);
        assert_int_equal(array_end(x.cont, i, 1, &end), 0);
        uint64_t from = tl_prng_below(&p, SIZE), len = tl_prng_below(&p, SIZE - from + 1);
        expect(x.cont, i, from, len, model, end, out);
    }
    expect(x.cont, WRITES, 0, SIZE, model, end, out);
    late_end(x.pool);
    free(model);
    free(out);
    scene_free(&x);
}

static void what_is_no_array_of_bytes_is_told(void **state)
{
    (void)state;
    struct scene x;
    uint8_t out[16];
    uint64_t len = sizeof out, end = 0;
    scene_new(&x);
    assert_int_equal(read_at(x.cont, 1, 1, 0, out, &len), 0); /* nothing there: of no length */
    assert_int_equal(len, 0);
    len = 0;
    assert_int_equal(read_at(x.cont, 1, 1, 7, NULL, &len), 0);
    assert_int_equal(put_array(x.cont, 1, 1, 4, 10, 2, "abcdefgh"), 0);
    assert_int_equal(put_single(x.cont, 1, 2, "a", "value"), 0);
    for (uint64_t offset = 0; offset < 200; offset += 9) { /* also where the array has a hole */
        len = sizeof out;
        assert_int_equal(read_at(x.cont, 1, 1, offset, out, &len), -EINVAL);
        assert_int_equal(read_at(x.cont, 1, 2, offset, out, &len), -EINVAL);
        assert_int_equal(get_array(x.cont, 1, 1, 8, offset, 1, out), -EINVAL);
        assert_int_equal(get_array(x.cont, 1, 1, 4, offset, 1, out), 0);
        assert_int_equal(len, sizeof out);
    }
    const struct tiercel_extent ten = {10, 2};
    struct tiercel_io io = {.akey = text("a"), .extents = &ten, .extent_count = 1, .buffer = out, .buffer_len = 8};
    assert_int_equal(fetch(x.cont, 1, oid_of(1), text("d"), 0, &io, 1), 0); /* who does not know the size is told */
    assert_true(io.record_size == 4 && io.buffer_len == 8);
    assert_memory_equal(out, "abcdefgh", 8);
    io.buffer_len = 7;
    assert_int_equal(fetch(x.cont, 1, oid_of(1), text("d"), 0, &io, 1), -ENOBUFS);
    io.record_size = 8;
    assert_int_equal(fetch(x.cont, 1, oid_of(1), text("d"), 0, &io, 1), -EINVAL); /* of another size comes first */
    len = sizeof out;
    assert_int_equal(read_at(x.cont, 1, 3, UINT64_MAX - 4, out, &len), 0);
    assert_int_equal(put_array(x.cont, 1, 3, 1, UINT64_MAX - 3, 3, "xyz"), 0);
    len = sizeof out;
    assert_int_equal(read_at(x.cont, 1, 3, UINT64_MAX - 4, out, &len), 0);
    assert_int_equal(len, 4);
    assert_memory_equal(out, "\0xyz", 4);
    assert_int_equal(array_end(x.cont, 1, 3, &end), 0);
    assert_true(end == UINT64_MAX);
    scene_free(&x);
}

/* A cluster is asked once where a small array lies, and where it ends only by those who read up to there. */
static void little_is_asked_for(void **state)
{
    (void)state;
    struct scene x;
    static uint8_t in[4 * CHUNK], out[4 * CHUNK];
    uint64_t len = sizeof in;
    scene_new(&x);
    memset(in, 9, sizeof in);
    assert_int_equal(put_array(x.cont, 1, 1, 1, 0, sizeof in, in), 0);
    assert_int_equal(commit(x.cont, 1), 0);
    late_begin(x.pool);
    assert_int_equal(read_at(x.cont, 1, 1, 0, out, &len), 0);
    assert_int_equal(late.scans, 1);
    late.scans = late.looks = 0;
    assert_int_equal(read_at(x.cont, 1, 1, CHUNK + 1, out, &(uint64_t){CHUNK}), 0);
    assert_int_equal(late.scans, 1);
    assert_int_equal(late.looks, 1); /* what is committed stays as it is: only whether it may be read */
    late.looks = 0;
    assert_int_equal(read_at(x.cont, TIERCEL_EPOCH_NOW, 1, 0, out, &len), 0);
    assert_int_equal(late.looks, 2);
    late_end(x.pool);
    assert_memory_equal(in, out, sizeof in);
    scene_free(&x);
}

static void now_is_the_snapshot_that_was_opened(void **state)
{
    (void)state;
    struct scene x;
    struct tl_cont *then;
    uint8_t out[8];
    uint64_t len = sizeof out, end = 0;
    struct tl_error err = {.code = 0};
    scene_new(&x);
    assert_int_equal(put_array(x.cont, 1, 1, 1, 0, 3, "old"), 0);
    assert_int_equal(commit(x.cont, 1), 0);
    assert_int_equal(snapshot(x.cont, 1, true), 0);
    assert_int_equal(put_array(x.cont, 2, 1, 1, 0, 5, "newer"), 0);
    assert_int_equal(commit(x.cont, 2), 0);
    tl_pool_lock(x.pool);
    int rc = tl_cont_open_snapshot(&then, x.pool, "c", 1, &err);
    tl_pool_unlock(x.pool);
    assert_int_equal(rc, 0);
    assert_int_equal(read_at(then, TIERCEL_EPOCH_NOW, 1, 0, out, &len), 0);
    assert_int_equal(len, 3);
    assert_memory_equal(out, "old", 3);
    assert_int_equal(array_end(then, TIERCEL_EPOCH_NOW, 1, &end), 0);
    assert_int_equal(end, 3);
    assert_int_equal(tl_cont_close(then), 0);
    scene_free(&x);
}

static void what_was_lost_on_the_way_is_looked_for_again(void **state)
{
    (void)state;
    struct scene x;
    uint8_t out[8] = {0};
    const struct tiercel_extent all = {0, 8};
    struct tiercel_io io = {.akey = text("a"), .extents = &all, .extent_count = 1, .buffer = out, .buffer_len = 9};
    uint64_t len = sizeof out;
    scene_new(&x);
    assert_int_equal(put_array(x.cont, 1, 1, 1, 0, 8, "12345678"), 0);
    assert_int_equal(put_single(x.cont, 1, 2, "a", "value"), 0);
    assert_int_equal(commit(x.cont, 1), 0);
    late_begin(x.pool);
    late.lost = 1;
    assert_int_equal(read_at(x.cont, 1, 1, 0, out, &len), 0);
    assert_int_equal(late.lost, 0);
    assert_memory_equal(out, "12345678", 8);
    late.lost = 1000; /* it is in the index, and nowhere else */
    assert_int_equal(fetch(x.cont, 1, oid_of(1), text("d"), 0, &io, 1), -EBADMSG);
    assert_true(io.buffer_len == 9 && io.record_size == 0);
    struct tiercel_io single = {.akey = text("a"), .buffer = out, .buffer_len = 7};
    assert_int_equal(fetch(x.cont, 1, oid_of(2), text("d"), 0, &single, 1), -EBADMSG);
    assert_int_equal(single.buffer_len, 7);
    late_end(x.pool);
    scene_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holes_are_zeros_wherever_they_are),
        cmocka_unit_test(what_overlaps_is_read_in_pieces),
        cmocka_unit_test(what_is_no_array_of_bytes_is_told),
        cmocka_unit_test(little_is_asked_for),
        cmocka_unit_test(now_is_the_snapshot_that_was_opened),
        cmocka_unit_test(what_was_lost_on_the_way_is_looked_for_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
