// SPDX-License-Identifier: Apache-2.0
/* Reading arrays: holes, ends, and how little is asked for. Also from a store whose payloads come late, as those of a cluster do. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "pool/internal.h"
#include "pool/scene.h"

#define CHUNK (1u << 20)
#define GUARD 0xee

/* ---- a store that reads when it is waited for, and counts ---- */

static struct {
    const struct tl_store_ops *real;
    struct tl_store_ops ops;
    struct late {
        uint8_t place[TL_STORE_PLACE_MAX];
        size_t place_len;
        uint32_t offset, len;
        void *out;
    } list[64];
    unsigned count, scans, looks, lost; /* lost: so many of the next waits find a payload gone */
} late;

static int late_end(struct tl_store *s)
{
    int rc = 0;
    for (unsigned i = 0; i < late.count; i++) {
        const struct late *l = &late.list[i];
        int one = late.real->read(s, (struct tl_slice){l->place, l->place_len}, l->offset, l->out, l->len);
        rc = rc == 0 ? one : rc;
    }
    if (late.count > 0 && late.lost > 0 && late.lost-- > 0)
        rc = -ENOENT;
    late.count = 0;
    return rc;
}

static int late_begin(struct tl_store *s, struct tl_slice place, uint32_t offset, void *out, uint32_t len)
{
    int rc = late.count == sizeof late.list / sizeof *late.list ? late_end(s) : 0;
    struct late *l = &late.list[late.count++];
    *l = (struct late){.place_len = place.len, .offset = offset, .len = len, .out = out};
    memcpy(l->place, place.at, place.len);
    memset(out, 0x55, len); /* whoever looks too early */
    return rc;
}

static int count_scan(struct tl_store *s, const struct tl_store_id *id, struct tl_slice prefix, struct tl_slice from,
                      int (*fn)(void *ctx, const struct tl_found *f), void *ctx)
{
    late.scans++;
    return late.real->scan(s, id, prefix, from, fn, ctx);
}

static int count_look(struct tl_store *s, const struct tl_store_id *id, uint32_t *out)
{
    late.looks++;
    return late.real->changes(s, id, out);
}

static void be_late(struct scene *x)
{
    struct tl_store *s = x->pool->shared->store;
    late.real = s->ops;
    late.ops = *s->ops;
    late.ops.begin_read = late_begin;
    late.ops.end_reads = late_end;
    late.ops.scan = count_scan;
    late.ops.changes = count_look;
    late.count = late.scans = late.looks = late.lost = 0;
    s->ops = &late.ops;
}

static void be_late_no_more(struct scene *x)
{
    x->pool->shared->store->ops = late.real;
}

/* ---- */

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
        be_late(&x);
        for (unsigned i = 0; i < EDGES; i++)
            for (unsigned k = i; k < EDGES; k++)
                expect(x.cont, 1, edges[i], edges[k] - edges[i], model, 5 * CHUNK + 150, out);
        be_late_no_more(&x);
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
    be_late(&x);
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
    be_late_no_more(&x);
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
    be_late(&x);
    assert_int_equal(read_at(x.cont, 1, 1, 0, out, &len), 0);
    assert_int_equal(late.scans, 1);
    late.scans = late.looks = 0;
    assert_int_equal(read_at(x.cont, 1, 1, CHUNK + 1, out, &(uint64_t){CHUNK}), 0);
    assert_int_equal(late.scans, 1);
    assert_int_equal(late.looks, 1); /* what is committed stays as it is: only whether it may be read */
    late.looks = 0;
    assert_int_equal(read_at(x.cont, TIERCEL_EPOCH_NOW, 1, 0, out, &len), 0);
    assert_int_equal(late.looks, 2);
    be_late_no_more(&x);
    assert_memory_equal(in, out, sizeof in);
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
    be_late(&x);
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
    be_late_no_more(&x);
    scene_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holes_are_zeros_wherever_they_are),
        cmocka_unit_test(what_overlaps_is_read_in_pieces),
        cmocka_unit_test(what_is_no_array_of_bytes_is_told),
        cmocka_unit_test(little_is_asked_for),
        cmocka_unit_test(what_was_lost_on_the_way_is_looked_for_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
