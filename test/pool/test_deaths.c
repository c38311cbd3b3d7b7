// SPDX-License-Identifier: Apache-2.0
/* Processes that are killed: what they had not committed is gone, whoever looks next. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/prng.h"
#include "pool/internal.h"
#include "pool/place.h"
#include "pool/table.h"

/* ---- dying ---- */

static int write_flush_and_stay(void *ctx)
{
    struct table *t = ctx;
    struct tl_pool *pool;
    struct tl_cont *c;
    if (!attach(t, &pool, &c) || put_single(c, 1, 1, "flushed", "yes") != 0 || flush(c, 1) != 0 ||
        put_single(c, 1, 1, "not flushed", "yes") != 0 || !tell(t->up[1]))
        return 2;
    (void)!hear(t->down[0]);
    return 3;
}

static void a_handle_lives_as_long_as_one_of_its_processes(void **state)
{
    (void)state;
    struct scene x;
    struct table *t = table_new(&x);
    int pid = child_begin(write_flush_and_stay, t);
    assert_true(hear(t->up[0]));
    child_kill(&x, pid);
    assert_int_equal(put_single(x.cont, 1, 1, "parent", "yes"), 0);
    assert_int_equal(commit(x.cont, 1), 0);
    assert_true(is_single(x.cont, 0, 1, "flushed", "yes"));
    assert_true(is_single(x.cont, 0, 1, "not flushed", NULL));
    assert_true(is_single(x.cont, 0, 1, "parent", "yes"));
    table_free(t, &x);
}

static int hold_write_and_stay(void *ctx)
{
    struct table *t = ctx;
    struct tl_pool *pool;
    struct tl_cont *c;
    if (!come(t, "c", &pool, &c) || hold(c, 2, NULL) != 0 || put_single(c, 2, 1, "a", "the dead's") != 0 ||
        flush(c, 2) != 0 || !tell(t->up[1]))
        return 2;
    (void)!hear(t->down[0]);
    return 3;
}

static void who_dies_holding_is_rolled_back(void **state)
{
    (void)state;
    struct scene x;
    struct table *t = table_new(&x);
    assert_int_equal(put_single(x.cont, 1, 1, "a", "one"), 0);
    assert_int_equal(commit(x.cont, 1), 0);
    int pid = child_begin(hold_write_and_stay, t);
    assert_true(hear(t->up[0]));
    assert_int_equal(commit(x.cont, 5), 0);
    assert_int_equal(epochs(x.cont).ghce, 1); /* it holds 2 */
    assert_true(is_single(x.cont, 5, 1, "a", "the dead's"));
    child_kill(&x, pid);
    struct tl_cont *next = scene_open(x.pool, "c", TIERCEL_RO); /* whoever comes next */
    assert_int_equal(epochs(x.cont).ghce, 5);
    assert_true(is_single(x.cont, 0, 1, "a", "one"));
    assert_int_equal(tl_cont_close(next), 0);
    table_free(t, &x);
}

static int hold_and_end_as_the_last(void *ctx)
{
    struct table *t = ctx;
    (void)hold_write_and_stay(t);
    return 0;
}

static void the_next_process_rolls_back_what_all_have_left(void **state)
{
    (void)state;
    struct scene x;
    struct table *t = table_new(&x);
    assert_int_equal(put_single(x.cont, 1, 1, "a", "one"), 0);
    assert_int_equal(commit(x.cont, 1), 0);
    assert_int_equal(tl_cont_close(x.cont), 0);
    assert_int_equal(tl_pool_disconnect(x.pool), 0);
    x.pool = NULL;
    int pid = child_begin(hold_and_end_as_the_last, t);
    assert_true(hear(t->up[0]));
    child_kill(&x, pid);
    x.pool = scene_connect(t->where, TIERCEL_RW);
    x.cont = scene_open(x.pool, "c", TIERCEL_RW);
    assert_true(is_single(x.cont, 2, 1, "a", "one"));
    struct tiercel_cont_info info;
    tl_pool_lock(x.pool);
    assert_int_equal(tl_cont_query(x.cont, &info), 0);
    tl_pool_unlock(x.pool);
    assert_int_equal(info.handles, 1);
    table_free(t, &x);
}

/* Three values and a large one at each epoch: they are always of one epoch. */
static int commit_for_ever(void *ctx)
{
    struct table *t = ctx;
    struct tl_pool *pool;
    struct tl_cont *c;
    uint64_t epoch;
    static uint8_t large[100000];
    if (!come(t, "c", &pool, &c) || hold(c, 0, &epoch) != 0)
        return 2;
    for (unsigned i = 0; i < 100000; i++, epoch++) {
        char v[24];
        snprintf(v, sizeof v, "%llu", (unsigned long long)epoch);
        memset(large, (int)(epoch & 0xff), sizeof large);
        if (put_single(c, epoch, 1, "a", v) != 0 || put_array(c, epoch, 3, 1, 0, sizeof large, large) != 0 ||
            put_single(c, epoch, 2, "b", v) != 0 || commit(c, epoch) != 0)
            return 3;
        t->done = epoch;
        if (i == 0 && !tell(t->up[1]))
            return 4;
    }
    return 5;
}

static void a_commit_happened_or_did_not(void **state)
{
    (void)state;
    struct scene x;
    struct tl_prng p;
    struct table *t = table_new(&x);
    static uint8_t large[100000];
    tl_prng_init(&p, (uint64_t)getpid(), 0);
    assert_int_equal(tl_cont_close(x.cont), 0);
    for (int round = 0; round < (place_lease_s() > 0 ? 3 : 12); round++) {
        struct timespec some = {.tv_nsec = (long)tl_prng_below(&p, 15000000)};
        int pid = child_begin(commit_for_ever, t);
        assert_true(hear(t->up[0]));
        nanosleep(&some, NULL); /* a moment to be killed in, not one to wait for */
        child_kill(&x, pid);
        x.cont = scene_open(x.pool, "c", TIERCEL_RO);
        uint64_t ghce = epochs(x.cont).ghce, done = t->done;
        char v[24];
        snprintf(v, sizeof v, "%llu", (unsigned long long)ghce);
        assert_true(ghce == done || ghce == done + 1);
        assert_true(is_single(x.cont, 0, 1, "a", v));
        assert_true(is_single(x.cont, 0, 2, "b", v));
        assert_true(is_single(x.cont, ghce + 5, 1, "a", v));
        assert_int_equal(get_array(x.cont, 0, 3, 1, 0, sizeof large, large), 0);
        for (size_t i = 0; i < sizeof large; i++)
            assert_int_equal(large[i], ghce & 0xff);
        assert_int_equal(tl_cont_close(x.cont), 0);
    }
    x.cont = scene_open(x.pool, "c", TIERCEL_RO);
    table_free(t, &x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handle_lives_as_long_as_one_of_its_processes),
        cmocka_unit_test(who_dies_holding_is_rolled_back),
        cmocka_unit_test(the_next_process_rolls_back_what_all_have_left),
        cmocka_unit_test(a_commit_happened_or_did_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
