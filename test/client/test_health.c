// SPDX-License-Identifier: Apache-2.0
/* How a pool is, and waiting for a change of it, where nothing ever changes: in a directory. In a cluster: test_rados_health.c. */
#include "client/scene.h"

#include <errno.h>
#include <string.h>

static void a_directory_is_healthy(void **state)
{
    struct scene *x = *state;
    struct tiercel_pool_info info;
    assert_int_equal(tiercel_pool_query(x->pool, &info), 0);
    const struct tiercel_pool_health *h = &info.health;
    assert_int_equal(h->state, TIERCEL_POOL_HEALTHY);
    assert_int_equal(h->known,
                     TIERCEL_KNOWS_TARGETS | TIERCEL_KNOWS_REBUILD | TIERCEL_KNOWS_CONTENT | TIERCEL_KNOWS_SPACE);
    assert_true(h->map_version == 1 && h->targets == 1 && h->targets_up == 1 && h->targets_in == 1);
    assert_true(h->targets_disabled == 0 && h->missing == 0 && h->silent == 0 && info.redundancy == 0);
    assert_int_equal(info.containers, 1);
    assert_string_equal(tiercel_pool_state_name(h->state), "healthy");
    assert_string_equal(tiercel_pool_state_name(99), "unknown");
}

static int count_target(void *ctx, const struct tiercel_pool_target *t)
{
    int *count = ctx;
    assert_true(t->number == 0 && t->up == 1 && t->in == 1 && t->known == 1);
    assert_true(t->host[0] != 0 && t->total_bytes > t->used_bytes);
    return ++*count == 1 ? 7 : 0;
}

static void it_has_one_target(void **state)
{
    struct scene *x = *state;
    struct tiercel_pool_info info;
    struct tiercel_error err;
    int count = 0;
    assert_int_equal(tiercel_pool_targets(x->pool, count_target, &count), 7);
    assert_int_equal(count, 1);
    assert_int_equal(tiercel_pool_targets(x->pool, NULL, NULL), -EINVAL);
    assert_int_equal(tiercel_pool_targets(NULL, count_target, &count), -EBADF);
    assert_int_equal(tiercel_pool_look(x->where, &info, NULL, NULL, &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.message, "is a directory"));
}

static void who_knows_nothing_is_told_at_once(void **state)
{
    struct scene *x = *state;
    struct tiercel_pool_health now = {.state = 0}, other = {.state = TIERCEL_POOL_DEGRADED, .map_version = 1};
    struct tiercel_event ev;
    assert_int_equal(tiercel_pool_wait(x->pool, &now, NULL), 0);
    assert_true(now.state == TIERCEL_POOL_HEALTHY && now.map_version == 1);
    assert_int_equal(tiercel_pool_wait(x->pool, &other, NULL), 0); /* not so any more */
    assert_int_equal(other.state, TIERCEL_POOL_HEALTHY);
    memset(&now, 0, sizeof now);
    begin(x, &ev);
    assert_int_equal(tiercel_pool_wait(x->pool, &now, &ev), 0);
    expect(x, &ev, 0);
    assert_int_equal(now.targets, 1);
    assert_int_equal(tiercel_pool_wait(x->pool, NULL, NULL), -EINVAL);
    assert_int_equal(tiercel_pool_wait(NULL, &now, NULL), -EBADF);
}

static void who_waits_for_a_change_keeps_nobody(void **state)
{
    struct scene *x = *state;
    struct tiercel_pool_health now = {.state = 0}, again;
    struct tiercel_event wait[2];
    assert_int_equal(tiercel_pool_wait(x->pool, &now, NULL), 0);
    again = now;
    for (int i = 0; i < 2; i++) {
        begin(x, &wait[i]);
        assert_int_equal(tiercel_pool_wait(x->pool, i == 0 ? &now : &again, &wait[i]), 0);
    }
    worker_is_here(x);
    hold(x, 1);
    commit(x, 1);
    nothing_has_completed(x);
    assert_int_equal(tiercel_event_abort(&wait[1]), 0);
    expect(x, &wait[1], -ECANCELED);
    nothing_has_completed(x);
    assert_int_equal(tiercel_pool_disconnect(x->pool), 0);
    x->pool = NULL;
    struct tiercel_event *ended_ev = next_event(x);
    assert_ptr_equal(ended_ev, &wait[0]);
    assert_int_equal(wait[0].error, -ECANCELED);
    assert_non_null(strstr(tiercel_why(&wait[0]), "disconnected"));
    assert_int_equal(tiercel_event_fini(&wait[0]), 0);
    assert_int_equal(tiercel_cont_close(x->cont), 0);
    x->cont = NULL;
    assert_int_equal(tiercel_pool_connect(&x->pool, x->where, TIERCEL_RW, NULL), 0);
    x->cont = scene_open(x, "c", TIERCEL_RW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_directory_is_healthy, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(it_has_one_target, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(who_knows_nothing_is_told_at_once, scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(who_waits_for_a_change_keeps_nobody, scene_setup, scene_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
