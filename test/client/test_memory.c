// SPDX-License-Identifier: Apache-2.0
/* Every allocation of a session with a pool fails once, of the library and of all below it: an error is told or the call works; nothing crashes, hangs or
 * is left behind, and what was committed before is there. */
#include "client/scene.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/failing_alloc.h"

#define ALLOCATIONS_MAX 2000

static int check_one(int rc, int *failed)
{
    if (rc == -ENOMEM)
        *failed = 1;
    return rc;
}

/* Hands an event through, or not, as the memory is. */
static int run_event(struct scene *x, struct tiercel_event *ev, int rc, int *failed)
{
    struct tiercel_event *out = NULL;
    if (check_one(rc, failed) == 0) {
        assert_int_equal(tiercel_queue_poll(x->q, LONG_MS, &out, 1), 1);
        assert_ptr_equal(out, ev);
        rc = check_one(ev->error, failed);
    }
    assert_int_equal(tiercel_event_fini(ev), 0);
    return rc;
}

/* 0: all went well; 1: memory was short somewhere. */
static int session(struct scene *x)
{
    struct tiercel_pool *pool = NULL;
    struct tiercel_cont *c = NULL;
    struct tiercel_lock *l = NULL;
    struct tiercel_event ev;
    uint64_t epoch = 0, number = 5, len = 8;
    int failed = 0;
    if (check_one(tiercel_pool_connect(&pool, x->where, TIERCEL_RW, NULL), &failed) != 0)
        return 1;
    if (check_one(tiercel_cont_open(&c, pool, "c", TIERCEL_RW, NULL), &failed) == 0 &&
        check_one(tiercel_epoch_hold(c, &epoch, NULL, NULL), &failed) == 0) {
        begin(x, &ev);
        run_event(x, &ev, tiercel_kv_put(c, epoch, (struct tiercel_oid){9, 9}, text("k"), &number, 8, 0, &ev), &failed);
        check_one(tiercel_kv_get(c, epoch, (struct tiercel_oid){9, 9}, text("k"), &number, &len, 0, NULL), &failed);
        if (check_one(tiercel_lock(c, "l", TIERCEL_LOCK_EXCLUSIVE, 0, &l, NULL, NULL), &failed) == 0)
            check_one(tiercel_unlock(l, NULL), &failed);
        begin(x, &ev);
        run_event(x, &ev, tiercel_epoch_commit_in_order(c, epoch, NULL, &ev), &failed);
        begin(x, &ev);
        int rc = tiercel_epoch_wait(c, epoch + 1, NULL, &ev);
        if (rc == 0)
            assert_int_equal(tiercel_event_abort(&ev), 0);
        run_event(x, &ev, rc, &failed);
        begin(x, &ev);
        run_event(x, &ev, tiercel_cont_aggregate(c, NULL, &ev), &failed);
    }
    int rc = check_one(tiercel_cont_close(c), &failed);
    rc = check_one(tiercel_pool_disconnect(pool), &failed);
    (void)rc;
    return failed;
}

static void each_allocation_may_fail(void **state)
{
    struct scene *x = *state;
    int failures = 0;
    hold(x, 1);
    assert_int_equal(put(x->cont, 1, 1, 77), 0);
    commit(x, 1);
    assert_int_equal(tiercel_cont_close(x->cont), 0);
    assert_int_equal(tiercel_pool_disconnect(x->pool), 0);
    x->cont = NULL;
    x->pool = NULL;
    for (long nth = 0; nth < ALLOCATIONS_MAX; nth++) {
        tl_failing_alloc_at(nth);
        int failed = session(x);
        int hit = tl_failing_alloc_hit();
        tl_failing_alloc_at(-1);
        failures += failed;
        if (!hit)
            break; /* it was the last one */
    }
    print_message("%d of the failures were told\n", failures);
    assert_true(failures > 10);
    assert_int_equal(session(x), 0);
    assert_int_equal(tiercel_pool_connect(&x->pool, x->where, TIERCEL_RW, NULL), 0);
    x->cont = scene_open(x, "c", TIERCEL_RW);
    assert_int_equal(got(x->cont, TIERCEL_EPOCH_NOW, 1), 77);
    assert_int_equal(tiercel_pool_check(x->pool, 0, NULL, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_allocation_may_fail, scene_setup, scene_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
