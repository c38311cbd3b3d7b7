// SPDX-License-Identifier: Apache-2.0
/* Epochs as they show in what is read: the edge cases E1 to E24 of DAOS's model, and what DAOS tests of them, as far as they are more than
 * numbers (test/core/test_epoch.c has those). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "pool/internal.h"
#include "pool/scene.h"

#define MAX TIERCEL_EPOCH_MAX

static void what_is_committed_last_sees_who_holds_back(void **state) /* E1 to E5 */
{
    (void)state;
    struct scene x;
    scene_new(&x);
    struct tl_cont *b = scene_open(x.pool, "c", TIERCEL_RW);
    assert_int_equal(hold(x.cont, 10, NULL), 0);
    assert_int_equal(hold(b, 20, NULL), 0);
    assert_int_equal(put_single(x.cont, 10, 1, "a", "ten"), 0);
    assert_int_equal(commit(x.cont, 10), 0);
    assert_int_equal(epochs(b).ghce, 10);
    assert_int_equal(put_single(x.cont, 30, 1, "a", "thirty"), 0);
    assert_int_equal(put_single(b, 21, 2, "a", "b's"), 0);
    assert_int_equal(put_single(b, 28, 3, "a", "b's, lost"), 0);
    assert_int_equal(commit(x.cont, 30), 0);
    struct tiercel_epochs e = epochs(x.cont);
    assert_true(e.hce == 30 && e.lhe == 31 && e.lre == 30 && e.ghce == 19 && e.ghpce == 30);
    assert_true(is_single(b, 0, 1, "a", "ten"));
    assert_true(is_single(b, 30, 1, "a", "thirty")); /* E15: readable, not yet promised */
    assert_int_equal(commit(b, 25), 0);
    assert_int_equal(epochs(b).ghce, 25);
    assert_int_equal(epochs(b).glre, 25);
    assert_true(is_single(b, 0, 1, "a", "ten"));
    assert_true(is_single(b, 0, 2, "a", "b's"));
    assert_int_equal(hold(b, 28, NULL), 0);
    assert_int_equal(put_single(b, 29, 3, "a", "b's, lost, too"), 0);
    struct tl_cont *c = scene_open(x.pool, "c", TIERCEL_RO);
    assert_int_equal(tl_cont_close(x.cont), 0); /* E4: GHPCE stays */
    assert_true(epochs(c).ghpce == 30 && epochs(c).ghce == 27);
    assert_int_equal(tl_cont_close(b), 0); /* E5: what it wrote is gone, and GHCE jumps, in one step */
    assert_int_equal(epochs(c).ghce, 30);
    assert_true(is_single(c, 0, 1, "a", "thirty"));
    assert_true(is_single(c, 0, 2, "a", "b's"));
    assert_true(is_single(c, 0, 3, "a", NULL));
    x.cont = c;
    scene_free(&x);
}

static void holds_are_clamped(void **state) /* E6 to E8 */
{
    (void)state;
    struct scene x;
    uint64_t held;
    scene_new(&x);
    assert_int_equal(hold(x.cont, 10, NULL), 0);
    assert_int_equal(commit(x.cont, 10), 0);
    assert_int_equal(hold(x.cont, 0, &held), 0);
    assert_int_equal(held, 11);
    assert_int_equal(hold(x.cont, 5, &held), 0);
    assert_int_equal(held, 11);
    struct tl_cont *b = scene_open(x.pool, "c", TIERCEL_RW);
    assert_int_equal(hold(b, 20, NULL), 0);
    assert_int_equal(hold(x.cont, 30, NULL), 0);
    assert_int_equal(commit(x.cont, 30), 0);
    assert_int_equal(epochs(b).ghce, 19);
    assert_int_equal(hold(x.cont, 25, &held), 0); /* E8: above its own HCE */
    assert_int_equal(held, 31);
    struct tl_cont *c = scene_open(x.pool, "c", TIERCEL_RW);
    assert_int_equal(hold(c, 15, &held), 0); /* E7 */
    assert_int_equal(held, 20);
    assert_int_equal(tl_cont_close(b), 0);
    assert_int_equal(tl_cont_close(c), 0);
    scene_free(&x);
}

static void commit_asks_for_a_hold(void **state) /* E9 to E11, EPOCH */
{
    (void)state;
    struct scene x;
    scene_new(&x);
    assert_int_equal(hold(x.cont, 10, NULL), 0);
    assert_int_equal(commit(x.cont, 9), -EROFS);
    assert_int_equal(put_single(x.cont, 9, 1, "a", "v"), -EROFS);
    assert_int_equal(flush(x.cont, 9), -EROFS);
    assert_int_equal(discard(x.cont, 9, 12), -EROFS);
    assert_true(epochs(x.cont).hce == 0 && epochs(x.cont).lhe == 10);
    assert_int_equal(commit(x.cont, 10), 0);
    assert_int_equal(commit(x.cont, 8), 0);
    assert_int_equal(commit(x.cont, 10), 0);
    assert_true(epochs(x.cont).hce == 10 && epochs(x.cont).lhe == 11);
    assert_int_equal(hold(x.cont, MAX, NULL), 0);
    assert_int_equal(commit(x.cont, 11), -EROFS);
    assert_int_equal(put_single(x.cont, 11, 1, "a", "v"), -EROFS);
    assert_int_equal(flush(x.cont, 11), -EROFS);
    assert_int_equal(commit(x.cont, MAX), -EOVERFLOW);
    assert_int_equal(slip(x.cont, MAX), -EOVERFLOW);
    assert_int_equal(put_single(x.cont, MAX, 1, "a", "v"), -EOVERFLOW);
    struct tl_cont *r = scene_open(x.pool, "c", TIERCEL_RO);
    assert_int_equal(hold(r, 0, NULL), -EACCES);
    assert_int_equal(commit(r, 12), -EACCES);
    assert_int_equal(discard(r, 12, 12), -EACCES);
    assert_int_equal(put_single(r, 12, 1, "a", "v"), -EACCES);
    assert_int_equal(punch(r, 12, 1, NULL, NULL), -EACCES);
    assert_int_equal(clear(r, 12, 1, 0, 1), -EACCES);
    assert_int_equal(flush(r, 12), -EACCES);
    assert_int_equal(slip(r, 10), 0);
    assert_int_equal(tl_cont_close(r), 0);
    scene_free(&x);
}

static void a_raised_hold_gives_up_what_was_written_below(void **state) /* E12 */
{
    (void)state;
    struct scene x;
    scene_new(&x);
    assert_int_equal(put_single(x.cont, 1, 1, "a", "one"), 0);
    assert_int_equal(commit(x.cont, 1), 0);
    assert_int_equal(put_single(x.cont, 5, 1, "a", "five"), 0);
    assert_int_equal(hold(x.cont, 6, NULL), 0);
    assert_true(is_single(x.cont, 5, 1, "a", "one"));
    assert_int_equal(put_single(x.cont, 6, 2, "a", "six"), 0);
    assert_int_equal(flush(x.cont, 6), 0); /* nothing that counts was missed */
    assert_int_equal(put_single(x.cont, 7, 1, "a", "seven"), 0);
    assert_int_equal(hold(x.cont, MAX, NULL), 0);
    assert_int_equal(hold(x.cont, 2, NULL), 0);
    assert_int_equal(put_single(x.cont, 7, 3, "a", "anew"), 0);
    assert_int_equal(commit(x.cont, 8), 0);
    assert_true(is_single(x.cont, 0, 1, "a", "one"));
    assert_true(is_single(x.cont, 0, 2, "a", NULL));
    assert_true(is_single(x.cont, 0, 3, "a", "anew"));
    scene_free(&x);
}

static void one_epoch_is_discarded_and_its_neighbours_stay(void **state) /* IO17, IO18 */
{
    (void)state;
    struct scene x;
    scene_new(&x);
    for (uint64_t e = 1; e <= 3; e++) {
        assert_int_equal(put_single(x.cont, e, 1, "a", e == 1 ? "1" : e == 2 ? "2" : "3"), 0);
        assert_int_equal(put_array(x.cont, e, 2, 1, e, 1, e == 1 ? "1" : e == 2 ? "2" : "3"), 0);
    }
    assert_int_equal(discard(x.cont, 2, 2), 0);
    char out[5];
    for (int round = 0; round < 2; round++) {
        assert_true(is_single(x.cont, 1, 1, "a", "1"));
        assert_true(is_single(x.cont, 2, 1, "a", "1"));
        assert_true(is_single(x.cont, 3, 1, "a", "3"));
        assert_int_equal(get_array(x.cont, 3, 2, 1, 0, 5, out), 0);
        assert_memory_equal(out,
                            "\0"
                            "1\0"
                            "3\0",
                            5);
        assert_int_equal(flush(x.cont, 3), 0);
    }
    assert_int_equal(put_single(x.cont, 2, 1, "a", "again"), 0); /* it is held still */
    assert_true(is_single(x.cont, 2, 1, "a", "again"));
    assert_int_equal(slip(x.cont, 0), 0);
    struct tl_cont *keeper = scene_open(x.pool, "c", TIERCEL_RO);
    assert_int_equal(commit(x.cont, 2), 0);
    assert_int_equal(tl_cont_close(x.cont), 0); /* 3 was never committed */
    x.cont = keeper;
    assert_true(is_single(x.cont, 1, 1, "a", "1"));
    assert_true(is_single(x.cont, 0, 1, "a", "again"));
    assert_true(is_single(x.cont, 3, 1, "a", "again"));
    scene_free(&x);
}

static void closing_rolls_back(void **state) /* E13, ERECOV1 to 3 */
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        struct scene x;
        struct tl_error err = {.code = 0};
        scene_new(&x);
        assert_int_equal(put_single(x.cont, 1, 1, "a", "one"), 0);
        assert_int_equal(commit(x.cont, 1), 0);
        assert_int_equal(put_single(x.cont, 2, 1, "a", "two"), 0);
        assert_int_equal(how % 2 == 0 ? flush(x.cont, 2) : 0, 0);
        struct tl_pool *other = scene_connect(x.where, TIERCEL_RW);
        if (how == 1)
            assert_int_equal(tl_pool_disconnect(x.pool), 0);
        if (how == 2)
            assert_int_equal(tl_pool_evict(x.where, &err), 0);
        tl_pool_lock(other);
        if (how == 3)
            assert_int_equal(tl_cont_evict(other, "c", &err), 1);
        tl_pool_unlock(other);
        if (how > 0) {
            assert_int_equal(put_single(x.cont, 2, 1, "a", "three"), -EBADF);
            assert_int_equal(flush(x.cont, 2), -EBADF);
            assert_int_equal(commit(x.cont, 2), -EBADF);
            assert_int_equal(discard(x.cont, 2, 2), -EBADF);
            assert_int_equal(hold(x.cont, 2, NULL), -EBADF);
            assert_int_equal(slip(x.cont, 2), -EBADF);
            assert_int_equal(snapshot(x.cont, 1, true), -EBADF);
            struct tiercel_io io = {.akey = text("a")};
            assert_int_equal(fetch(x.cont, 1, oid_of(1), text("d"), 0, &io, 1), -EBADF);
        }
        assert_int_equal(tl_cont_close(x.cont), 0);
        assert_int_equal(how == 1 ? 0 : tl_pool_disconnect(x.pool), 0);
        assert_int_equal(tl_pool_disconnect(other), 0);
        x.pool = scene_connect(x.where, TIERCEL_RW);
        x.cont = scene_open(x.pool, "c", TIERCEL_RO);
        assert_int_equal(epochs(x.cont).ghce, 1);
        assert_true(is_single(x.cont, 0, 1, "a", "one"));
        assert_true(is_single(x.cont, 2, 1, "a", "one"));
        scene_free(&x);
    }
}

static void reading_has_its_bounds(void **state) /* E15, E16, E18, E20 */
{
    (void)state;
    struct scene x;
    scene_new(&x);
    for (uint64_t e = 1; e <= 9; e++) {
        char v[2] = {(char)('0' + e), 0};
        assert_int_equal(put_single(x.cont, e, 1, "a", v), 0);
        assert_int_equal(e < 9 ? commit(x.cont, e) : 0, 0);
        assert_int_equal(e == 3 ? snapshot(x.cont, 3, true) : 0, 0);
    }
    struct tiercel_io io = {.akey = text("a")};
    assert_true(is_single(x.cont, 3, 1, "a", "3"));
    assert_true(is_single(x.cont, 8, 1, "a", "8"));
    assert_true(is_single(x.cont, 9, 1, "a", "9"));
    char v[4];
    struct tiercel_io sure = {.akey = text("a"), .buffer = v, .buffer_len = 4};
    assert_int_equal(fetch(x.cont, 9, oid_of(1), text("d"), TIERCEL_COMMITTED, &sure, 1), 0);
    assert_int_equal(v[0], '8');
    assert_int_equal(fetch(x.cont, 7, oid_of(1), text("d"), 0, &io, 1), -ESTALE); /* the commit of 8 let it go */
    assert_int_equal(fetch(x.cont, 2, oid_of(1), text("d"), 0, &io, 1), -ESTALE);
    struct tl_cont *keeper = scene_open(x.pool, "c", TIERCEL_RO);
    assert_int_equal(hold(x.cont, 9, NULL), 0);
    assert_int_equal(commit(x.cont, 9), 0);
    assert_true(is_single(x.cont, 8, 1, "a", "8")); /* somebody refers to it */
    assert_int_equal(slip(keeper, 1000), 0);        /* E18: further than there is anything */
    assert_int_equal(fetch(x.cont, 8, oid_of(1), text("d"), 0, &io, 1), -ESTALE);
    assert_true(is_single(x.cont, 9, 1, "a", "9"));
    assert_int_equal(snapshot(x.cont, 8, true), -ENOENT);
    assert_int_equal(snapshot(x.cont, 10, true), -ENOENT); /* E17 */
    assert_int_equal(snapshot(x.cont, 4, false), -ENOENT);
    assert_int_equal(tl_cont_close(keeper), 0);
    assert_int_equal(tl_cont_close(x.cont), 0);
    x.cont = scene_open(x.pool, "c", TIERCEL_RO);
    assert_true(is_single(x.cont, 9, 1, "a", "9"));
    assert_true(is_single(x.cont, 3, 1, "a", "3"));
    struct tl_error err = {.code = 0};
    struct tl_cont *at = NULL;
    tl_pool_lock(x.pool);
    assert_int_equal(tl_cont_open_snapshot(&at, x.pool, "c", 4, &err), -ENOENT);
    assert_int_equal(tl_cont_open_snapshot(&at, x.pool, "c", 3, &err), 0);
    tl_pool_unlock(x.pool);
    assert_true(is_single(at, 0, 1, "a", "3"));
    assert_true(is_single(at, 9, 1, "a", "9"));
    assert_int_equal(tl_cont_close(at), 0);
    scene_free(&x);
}

static void snapshots_are_listed_into_any_buffer(void **state) /* EPOCH */
{
    (void)state;
    static const uint64_t some[] = {21, 29, 35, 47, 57, 78, 81};
    struct scene x;
    scene_new(&x);
    struct tl_cont *keeper = scene_open(x.pool, "c", TIERCEL_RO);
    assert_int_equal(hold(x.cont, 20, NULL), 0);
    assert_int_equal(commit(x.cont, 109), 0);
    for (int i = 6; i >= 0; i--)
        assert_int_equal(snapshot(x.cont, some[i], true), 0);
    assert_int_equal(snapshot(x.cont, 110, true), -ENOENT);
    for (unsigned room = 0; room < 10; room++) {
        uint64_t got[10] = {0};
        unsigned count = room;
        tl_pool_lock(x.pool);
        assert_int_equal(tl_cont_snapshots(x.cont, room == 0 ? NULL : got, &count), 0);
        tl_pool_unlock(x.pool);
        assert_int_equal(count, 7);
        for (unsigned i = 0; i < 10; i++)
            assert_true(got[i] == (i < room && i < 7 ? some[i] : 0));
    }
    assert_int_equal(slip(keeper, 40), 0);
    struct tiercel_io io = {.akey = text("a")};
    assert_int_equal(fetch(x.cont, 29, oid_of(1), text("d"), 0, &io, 1), 0);
    assert_int_equal(fetch(x.cont, 30, oid_of(1), text("d"), 0, &io, 1), -ESTALE);
    assert_int_equal(snapshot(x.cont, 29, false), 0);
    assert_int_equal(fetch(x.cont, 29, oid_of(1), text("d"), 0, &io, 1), -ESTALE);
    assert_int_equal(tl_cont_close(keeper), 0);
    scene_free(&x);
}

/* ---- what was lost ---- */

static const struct tl_store_ops *real;
static struct tl_store_ops failing;
static int flush_gives, change_gives;

static int failing_flush(struct tl_store *s)
{
    int rc = real->flush(s);
    return flush_gives != 0 ? flush_gives : rc;
}

static int failing_change(struct tl_store *s, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx)
{
    return change_gives != 0 ? change_gives : real->change(s, id, fn, ctx);
}

static void plant_failures(struct scene *x)
{
    struct tl_store *s = x->pool->shared->store;
    real = s->ops;
    failing = *real;
    failing.flush = failing_flush;
    failing.change = failing_change;
    flush_gives = change_gives = 0;
    s->ops = &failing;
}

static void what_was_lost_is_not_committed(void **state) /* E22 */
{
    (void)state;
    struct scene x;
    scene_new(&x);
    plant_failures(&x);
    assert_int_equal(put_single(x.cont, 1, 1, "a", "one"), 0);
    assert_int_equal(commit(x.cont, 1), 0);
    assert_int_equal(put_single(x.cont, 3, 1, "a", "three"), 0);
    flush_gives = -ENOSPC;
    assert_int_equal(flush(x.cont, 4), -ENOSPC);
    flush_gives = 0;
    assert_int_equal(flush(x.cont, 4), -EIO); /* until it is discarded */
    assert_int_equal(flush(x.cont, 2), 0);
    assert_int_equal(commit(x.cont, 3), -EIO);
    assert_int_equal(commit(x.cont, 2), 0); /* was not touched */
    assert_int_equal(discard(x.cont, 3, 4), 0);
    assert_int_equal(put_single(x.cont, 3, 1, "a", "three anew"), 0);
    assert_int_equal(flush(x.cont, 4), 0);
    assert_int_equal(commit(x.cont, 4), 0);
    assert_true(is_single(x.cont, 0, 1, "a", "three anew"));
    scene_free(&x);
}

/* Two processes write as one, and one commits before the other has flushed: who comes too late is told, at once or by his next flush. */
static void who_writes_what_is_committed_is_told(void **state) /* E23 */
{
    (void)state;
    struct scene x;
    struct tl_cont *other;
    struct tl_error err = {.code = 0};
    uint8_t handle[512];
    size_t len = sizeof handle;
    scene_new(&x);
    tl_pool_lock(x.pool);
    assert_int_equal(tl_cont_local2global(x.cont, handle, &len), 0);
    assert_int_equal(tl_cont_global2local(&other, x.pool, handle, len, &err), 0);
    tl_pool_unlock(x.pool);
    assert_int_equal(put_single(x.cont, 1, 1, "a", "too late"), 0);
    assert_int_equal(put_single(x.cont, 2, 1, "b", "in time"), 0);
    assert_int_equal(commit(other, 1), 0); /* without having waited for that flush: the mistake */
    assert_int_equal(put_single(x.cont, 1, 1, "a", "later still"), -EROFS);
    assert_int_equal(flush(x.cont, 1), -EROFS);
    assert_int_equal(flush(x.cont, 2), -EROFS); /* it holds something that came too late, which must not go unsaid */
    assert_int_equal(flush(x.cont, 2), 0);
    assert_int_equal(commit(other, 2), 0);
    assert_true(is_single(x.cont, 0, 1, "b", "in time"));
    assert_int_equal(tl_cont_close(other), 0);
    scene_free(&x);
}

static void a_loss_is_confessed_late_if_need_be(void **state) /* E22 */
{
    (void)state;
    struct scene x;
    scene_new(&x);
    plant_failures(&x);
    assert_int_equal(put_single(x.cont, 5, 1, "a", "five"), 0);
    flush_gives = -EIO;
    change_gives = -ENOSPC; /* the state cannot be told */
    assert_int_equal(flush(x.cont, 5), -EIO);
    flush_gives = 0;
    assert_int_equal(commit(x.cont, 5), -ENOSPC);
    change_gives = 0;
    assert_int_equal(commit(x.cont, 5), -EIO);
    assert_int_equal(discard(x.cont, 5, 5), 0);
    assert_int_equal(commit(x.cont, 5), 0);

    assert_int_equal(put_single(x.cont, 7, 1, "a", "seven"), 0);
    flush_gives = -EIO;
    change_gives = -ENOSPC;
    assert_int_equal(flush(x.cont, 7), -EIO);
    flush_gives = change_gives = 0;
    assert_int_equal(hold(x.cont, 9, NULL), 0); /* given up before it was told */
    int rc = commit(x.cont, 9);
    assert_true(rc == 0 || rc == -EIO); /* above 7 there may be more that was lost: never silence */
    assert_int_equal(rc == 0 ? 0 : discard(x.cont, 9, MAX - 1), 0);
    assert_int_equal(commit(x.cont, 10), 0);
    assert_true(is_single(x.cont, 0, 1, "a", NULL));
    scene_free(&x);
}

/* ---- aggregation between two looks ---- */

static struct tl_cont *keeper, *sweeper;

/* As another process may: when the reader has seen that it may read, and before it has looked. */
static void sweep(void)
{
    struct tl_aggregation a = {.stage = 0};
    int rc = 1;
    if (keeper == NULL)
        return;
    assert_int_equal(tl_cont_slip(keeper, 100, NULL), 0);
    keeper = NULL;
    while (rc == 1)
        rc = tl_cont_aggregate(sweeper, &a);
    assert_int_equal(rc, 0);
}

static int sweeping_scan(struct tl_store *s, const struct tl_store_id *id, struct tl_slice prefix, struct tl_slice from,
                         int (*fn)(void *ctx, const struct tl_found *f), void *ctx)
{
    sweep();
    return real->scan(s, id, prefix, from, fn, ctx);
}

static void what_is_aggregated_while_it_is_read_is_no_silence(void **state) /* E16 */
{
    (void)state;
    for (int how = 0; how < 5; how++) {
        struct scene x;
        struct tiercel_io io = {.akey = text("a")};
        struct tiercel_anchor anchor = {.end = 0};
        struct tiercel_extent extents[2];
        struct tiercel_oid oids[2];
        struct tiercel_bytes keys[2];
        char names[100];
        unsigned count = 2;
        uint64_t end, size;
        scene_new(&x);
        struct tl_cont *k = scene_open(x.pool, "c", TIERCEL_RO);
        assert_int_equal(put_single(x.cont, 1, 1, "a", "one"), 0);
        assert_int_equal(put_array(x.cont, 1, 2, 1, 0, 1, "1"), 0);
        assert_int_equal(commit(x.cont, 1), 0);
        assert_int_equal(punch(x.cont, 2, 1, NULL, NULL), 0);
        assert_int_equal(punch(x.cont, 2, 2, NULL, NULL), 0);
        assert_int_equal(commit(x.cont, 2), 0);
        assert_true(is_single(x.cont, 1, 1, "a", "one"));
        plant_failures(&x);
        failing.scan = sweeping_scan;
        keeper = k;
        sweeper = x.cont;
        if (how == 0)
            assert_int_equal(fetch(x.cont, 1, oid_of(1), text("d"), 0, &io, 1), -ESTALE);
        tl_pool_lock(x.pool);
        if (how == 1)
            assert_int_equal(tl_cont_list_objects(x.cont, 1, &anchor, oids, &count), -ESTALE);
        if (how == 2)
            assert_int_equal(tl_cont_list_keys(x.cont, 1, oid_of(1), NULL, &anchor, names, sizeof names, keys, &count),
                             -ESTALE);
        if (how == 3)
            assert_int_equal(
                tl_cont_list_extents(x.cont, 1, oid_of(2), text("d"), text("a"), &anchor, extents, &count, &size),
                -ESTALE);
        if (how == 4)
            assert_int_equal(tl_cont_array_end(x.cont, 1, oid_of(2), text("d"), text("a"), &end), -ESTALE);
        tl_pool_unlock(x.pool);
        assert_null(keeper);
        assert_int_equal(tl_cont_close(k), 0);
        scene_free(&x);
    }
}

static void two_handles_of_a_process_see_each_other(void **state)
{
    (void)state;
    struct scene x;
    scene_new(&x);
    struct tl_cont *b = scene_open(x.pool, "c", TIERCEL_RW);
    assert_int_equal(put_single(x.cont, 1, 1, "a", "one"), 0);
    assert_true(is_single(b, 1, 1, "a", "one"));
    assert_int_equal(punch(x.cont, 2, 1, NULL, NULL), 0);
    assert_true(is_single(b, 1, 1, "a", "one"));
    assert_true(is_single(b, 2, 1, "a", NULL));
    assert_int_equal(put_single(x.cont, 2, 1, "a", "two"), 0);
    assert_true(is_single(b, 2, 1, "a", "two"));
    assert_int_equal(hold(b, 2, NULL), 0);
    assert_int_equal(put_single(b, 2, 1, "a", "b's two"), 0); /* a mistake: then all see the same */
    assert_true(is_single(x.cont, 2, 1, "a", "b's two"));
    assert_true(is_single(b, 2, 1, "a", "b's two"));
    assert_int_equal(tl_cont_close(b), 0);
    assert_true(is_single(x.cont, 2, 1, "a", "two"));
    scene_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_committed_last_sees_who_holds_back),
        cmocka_unit_test(holds_are_clamped),
        cmocka_unit_test(commit_asks_for_a_hold),
        cmocka_unit_test(a_raised_hold_gives_up_what_was_written_below),
        cmocka_unit_test(one_epoch_is_discarded_and_its_neighbours_stay),
        cmocka_unit_test(closing_rolls_back),
        cmocka_unit_test(reading_has_its_bounds),
        cmocka_unit_test(snapshots_are_listed_into_any_buffer),
        cmocka_unit_test(what_was_lost_is_not_committed),
        cmocka_unit_test(who_writes_what_is_committed_is_told),
        cmocka_unit_test(a_loss_is_confessed_late_if_need_be),
        cmocka_unit_test(what_is_aggregated_while_it_is_read_is_no_silence),
        cmocka_unit_test(two_handles_of_a_process_see_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
