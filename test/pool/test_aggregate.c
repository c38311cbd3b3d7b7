// SPDX-License-Identifier: Apache-2.0
/* Aggregation: what can be read stays as it was, what cannot goes, whenever it is interrupted. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/prng.h"
#include "pool/internal.h"
#include "pool/place.h"

#define KEYS   6u
#define EPOCHS 24u

struct scene {
    char where[128];
    struct tl_pool *pool;
    struct tl_cont *cont;
    struct tl_error err;
};

static void ok(struct scene *x, int rc)
{
    if (rc < 0)
        print_error("%d: %s\n", rc, x->err.msg);
    assert_true(rc >= 0);
}

static void reopen(struct scene *x, unsigned flags)
{
    if (x->cont != NULL)
        ok(x, tl_cont_close(x->cont));
    ok(x, tl_cont_open(&x->cont, x->pool, "c", flags, &x->err));
}

static void scene_new(struct scene *x, unsigned flags)
{
    *x = (struct scene){.pool = NULL};
    assert_true(place_new(x->where, sizeof x->where, place_base(), "aggregate"));
    ok(x, tl_pool_create(x->where, NULL, &x->err));
    ok(x, tl_pool_connect(&x->pool, x->where, TIERCEL_RW, &x->err));
    ok(x, tl_cont_create(x->pool, "c", NULL, &x->err));
    reopen(x, flags);
}

static void scene_free(struct scene *x)
{
    ok(x, tl_cont_close(x->cont));
    ok(x, tl_pool_disconnect(x->pool));
    ok(x, place_destroy(x->where, &x->err));
}

static const struct tiercel_oid oid = {0, 7};

static struct tiercel_bytes name(const char *text)
{
    return (struct tiercel_bytes){text, strlen(text)};
}

static int count_one(void *ctx, const struct tl_found *f)
{
    (void)f;
    ++*(unsigned *)ctx;
    return 0;
}

static unsigned records(struct scene *x)
{
    struct tl_store *s = x->cont->pool->shared->store;
    unsigned n = 0;
    ok(x, s->ops->scan(s, &x->cont->id, (struct tl_slice){"", 0}, (struct tl_slice){"", 0}, count_one, &n));
    return n;
}

/* One who ended in the middle may be taken for alive for a while. */
static int step(struct tl_cont *c, struct tl_aggregation *a)
{
    unsigned ticks = place_lease_s() * 60;
    int rc;
    while ((rc = tl_cont_aggregate(c, a)) == -EBUSY && ticks-- > 0)
        usleep(50000);
    return rc;
}

static struct tiercel_aggregated aggregate(struct scene *x)
{
    struct tl_aggregation a = {.stage = 0};
    int rc = 1;
    for (int i = 0; rc == 1 && i < 1000; i++)
        rc = step(x->cont, &a);
    ok(x, rc);
    assert_int_equal(rc, 0);
    return a.done;
}

static void put(struct scene *x, uint64_t epoch, const char *key, const char *value)
{
    struct tiercel_io io = {
        .record_size = strlen(value), .buffer = (void *)(uintptr_t)value, .buffer_len = strlen(value)};
    ok(x, tl_cont_update(x->cont, epoch, oid, name(key), 0, &io, 1, &x->err));
}

static void put_array(struct scene *x, uint64_t epoch, uint64_t first, uint64_t count, uint8_t fill)
{
    uint8_t *bytes = malloc(count);
    assert_non_null(bytes);
    memset(bytes, fill, count);
    const struct tiercel_extent extent = {first, count};
    struct tiercel_io io = {.akey = name("array"),
                            .extents = &extent,
                            .extent_count = 1,
                            .record_size = 1,
                            .buffer = bytes,
                            .buffer_len = count};
    ok(x, tl_cont_update(x->cont, epoch, oid, name("array"), 0, &io, 1, &x->err));
    free(bytes);
}

/* Everything that can be read at an epoch, as one number. */
static uint64_t picture(struct scene *x, uint64_t epoch)
{
    static uint8_t bytes[3 << 20];
    const struct tiercel_extent all = {0, sizeof bytes};
    char key[8], value[256];
    uint64_t hash = 0, end = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "k%u", i);
        struct tiercel_io io = {.buffer = value, .buffer_len = sizeof value};
        ok(x, tl_cont_fetch(x->cont, epoch, oid, name(key), 0, &io, 1, &x->err));
        hash = tl_hash64(value, io.buffer_len, hash + i);
    }
    struct tiercel_io io = {.akey = name("array"),
                            .extents = &all,
                            .extent_count = 1,
                            .buffer = bytes,
                            .buffer_len = sizeof bytes,
                            .record_size = 1};
    ok(x, tl_cont_fetch(x->cont, epoch, oid, name("array"), 0, &io, 1, &x->err));
    ok(x, tl_cont_array_end(x->cont, epoch, oid, name("array"), name("array"), &end));
    return tl_hash64(bytes, sizeof bytes, hash + end);
}

static void what_is_superseded_goes(void **state)
{
    struct scene x;
    uint64_t epoch = 1;
    (void)state;
    scene_new(&x, TIERCEL_RW);
    ok(&x, tl_cont_hold(x.cont, &epoch, NULL));
    for (epoch = 1; epoch <= 10; epoch++) {
        put(&x, epoch, "k0", "a value that is kept in the index");
        ok(&x, tl_cont_commit(x.cont, epoch, NULL));
    }
    assert_int_equal(records(&x), 10);
    struct tiercel_aggregated done = aggregate(&x); /* LRE follows the commits */
    assert_int_equal(done.below, 10);
    assert_int_equal(done.records, 9);
    assert_int_equal(records(&x), 1);
    struct tiercel_io io = {.buffer = NULL};
    assert_int_equal(tl_cont_fetch(x.cont, 9, oid, name("k0"), 0, &io, 1, NULL), -ESTALE);
    scene_free(&x);
}

static void a_punch_goes_with_what_it_hides(void **state)
{
    struct scene x;
    uint64_t epoch = 1;
    const struct tiercel_bytes key = name("k0");
    (void)state;
    scene_new(&x, TIERCEL_RW);
    ok(&x, tl_cont_hold(x.cont, &epoch, NULL));
    put(&x, 1, "k0", "value");
    put(&x, 1, "k1", "stays");
    put_array(&x, 1, 0, 2 << 20, 1);
    ok(&x, tl_cont_commit(x.cont, 1, NULL));
    ok(&x, tl_cont_punch(x.cont, 2, oid, &key, NULL, 0, 0, &x.err));
    ok(&x,
       tl_cont_array_clear(x.cont, 2, oid, name("array"), name("array"), (struct tiercel_extent){0, 2 << 20}, &x.err));
    ok(&x, tl_cont_commit(x.cont, 2, NULL));
    assert_int_equal(records(&x), 6);
    aggregate(&x);
    assert_int_equal(records(&x), 1);
    scene_free(&x);
}

static void large_values_go_whole(void **state)
{
    static char big[5 << 19]; /* three pieces */
    struct scene x;
    uint64_t epoch = 1;
    (void)state;
    scene_new(&x, TIERCEL_RW);
    ok(&x, tl_cont_hold(x.cont, &epoch, NULL));
    struct tiercel_io io = {.record_size = sizeof big, .buffer = big, .buffer_len = sizeof big};
    ok(&x, tl_cont_update(x.cont, 1, oid, name("k0"), 0, &io, 1, &x.err));
    ok(&x, tl_cont_update(x.cont, 2, oid, name("k0"), 0, &io, 1, &x.err));
    ok(&x, tl_cont_commit(x.cont, 2, NULL));
    assert_int_equal(records(&x), 6);
    assert_int_equal(aggregate(&x).records, 3);
    io.buffer_len = sizeof big;
    ok(&x, tl_cont_fetch(x.cont, 2, oid, name("k0"), 0, &io, 1, &x.err));
    assert_int_equal(io.buffer_len, sizeof big);
    scene_free(&x);
}

static void what_was_discarded_goes_and_its_tombstones(void **state)
{
    struct scene x;
    uint64_t epoch = 1;
    (void)state;
    scene_new(&x, TIERCEL_RW);
    ok(&x, tl_cont_hold(x.cont, &epoch, NULL));
    put(&x, 1, "k0", "stays");
    ok(&x, tl_cont_commit(x.cont, 1, NULL));
    put(&x, 2, "k0", "goes");
    ok(&x, tl_cont_flush(x.cont, 2, NULL));
    reopen(&x, TIERCEL_RW); /* rolls back */
    assert_int_equal(records(&x), 2);
    assert_int_equal(x.cont->state.epochs.tomb_count, 1);
    aggregate(&x);
    ok(&x, tl_cont_refresh(x.cont));
    assert_int_equal(records(&x), 1);
    assert_int_equal(x.cont->state.epochs.tomb_count, 0);
    scene_free(&x);
}

/* Random writes in 24 epochs, some with snapshots. */
static void write_much(struct scene *x, uint64_t seed)
{
    struct tl_prng r;
    uint64_t epoch = 1;
    char key[8], value[64];
    tl_prng_init(&r, seed, 0);
    ok(x, tl_cont_hold(x->cont, &epoch, NULL));
    for (epoch = 1; epoch <= EPOCHS; epoch++) {
        for (int i = 0; i < 6; i++) {
            snprintf(key, sizeof key, "k%u", (unsigned)tl_prng_below(&r, KEYS));
            snprintf(value, sizeof value, "%u of epoch %u", i, (unsigned)epoch);
            const struct tiercel_bytes k = name(key);
            switch (tl_prng_below(&r, 8)) {
            case 0: ok(x, tl_cont_punch(x->cont, epoch, oid, &k, NULL, 0, 0, &x->err)); break;
            case 1:
                if (tl_prng_below(&r, 6) == 0)
                    ok(x, tl_cont_punch(x->cont, epoch, oid, NULL, NULL, 0, 0, &x->err));
                break;
            case 2:
            case 3:
                put_array(x, epoch, tl_prng_below(&r, 2 << 20), 1 + tl_prng_below(&r, 300000),
                          (uint8_t)(epoch + (unsigned)i));
                break;
            case 4:
                ok(x, tl_cont_array_clear(
                          x->cont, epoch, oid, name("array"), name("array"),
                          (struct tiercel_extent){tl_prng_below(&r, 2 << 20), 1 + tl_prng_below(&r, 500000)}, &x->err));
                break;
            default: put(x, epoch, key, value);
            }
        }
        if (tl_prng_below(&r, 8) == 0)
            ok(x, tl_cont_discard(x->cont, epoch, epoch, NULL));
        ok(x, tl_cont_commit(x->cont, epoch, NULL));
        if (epoch % 5 == 0)
            ok(x, tl_cont_snapshot(x->cont, epoch, true));
    }
}

static bool readable(const struct scene *x, uint64_t epoch)
{
    return tl_epochs_may_read(&x->cont->state.epochs, epoch) == 0;
}

static void what_can_be_read_stays(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct scene x;
        uint64_t before[EPOCHS + 1];
        scene_new(&x, TIERCEL_RW | TIERCEL_NOSLIP);
        write_much(&x, seed);
        for (uint64_t e = 1; e <= EPOCHS; e++)
            before[e] = picture(&x, e);
        unsigned all = records(&x);
        for (uint64_t slip = 0; slip <= EPOCHS; slip += 8) { /* further each time */
            ok(&x, tl_cont_slip(x.cont, slip, NULL));
            aggregate(&x);
            ok(&x, tl_cont_refresh(x.cont));
            for (uint64_t e = 1; e <= EPOCHS; e++)
                if (readable(&x, e))
                    assert_int_equal(picture(&x, e), before[e]);
            assert_true(readable(&x, 5) && (slip < 8 || !readable(&x, 6)));
        }
        assert_true(records(&x) < all);
        for (uint64_t e = 5; e < EPOCHS; e += 5)
            ok(&x, tl_cont_snapshot(x.cont, e, false));
        aggregate(&x);
        assert_int_equal(picture(&x, EPOCHS), before[EPOCHS]);
        assert_int_equal(aggregate(&x).records, 0); /* nothing is left to do */
        scene_free(&x);
    }
}

/* A process that ends in the middle, at each step, leaves what can be read as it was, and the next one goes on. */
static void it_may_end_in_the_middle(void **state)
{
    struct scene x;
    uint64_t before[EPOCHS + 1];
    (void)state;
    scene_new(&x, TIERCEL_RW | TIERCEL_NOSLIP);
    write_much(&x, 99);
    ok(&x, tl_cont_slip(x.cont, 12, NULL));
    for (uint64_t e = 1; e <= EPOCHS; e++)
        before[e] = readable(&x, e) ? picture(&x, e) : 0;
    for (int steps = 1; steps <= 3; steps++) {
        pid_t child = fork();
        if (child == 0) {
            struct tl_pool *pool;
            struct tl_cont *cont;
            struct tl_aggregation a = {.stage = 0};
            int rc = tl_pool_connect(&pool, x.where, TIERCEL_RW, NULL);
            rc = rc == 0 ? tl_cont_open(&cont, pool, "c", TIERCEL_RW, NULL) : rc;
            for (int i = 0; rc >= 0 && i < steps; i++)
                rc = step(cont, &a);
            _exit(rc < 0 ? 1 : 0);
        }
        int status = 1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        ok(&x, tl_cont_refresh(x.cont));
        for (uint64_t e = 1; e <= EPOCHS; e++)
            if (before[e] != 0 && readable(&x, e))
                assert_int_equal(picture(&x, e), before[e]);
    }
    aggregate(&x);
    ok(&x, tl_cont_refresh(x.cont));
    for (uint64_t e = 12; e <= EPOCHS; e++)
        assert_int_equal(picture(&x, e), before[e]);
    scene_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_superseded_goes), cmocka_unit_test(a_punch_goes_with_what_it_hides),
        cmocka_unit_test(large_values_go_whole),   cmocka_unit_test(what_was_discarded_goes_and_its_tombstones),
        cmocka_unit_test(what_can_be_read_stays),  cmocka_unit_test(it_may_end_in_the_middle),
    };
    return cmocka_run_group_tests_name("aggregate", tests, NULL, NULL);
}
