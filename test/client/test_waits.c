// SPDX-License-Identifier: Apache-2.0
/* Calls that wait for others, how they end early, and commits in order. */
#include "client/scene.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

/* ---- waiting for epochs ---- */

static void who_waits_does_not_keep_others(void **state)
{
    struct scene *x = *state;
    struct tiercel_event wait[3], commit;
    struct tiercel_epochs after = {.ghce = 0};
    hold(x, 1);
    for (uint64_t i = 0; i < 3; i++) {
        begin(x, &wait[i]);
        assert_int_equal(tiercel_epoch_wait(x->cont, 5 - i, i == 0 ? &after : NULL, &wait[i]), 0);
    }
    worker_is_here(x);
    nothing_has_completed(x);
    begin(x, &commit);
    assert_int_equal(tiercel_epoch_commit(x->cont, 3, NULL, &commit), 0);
    expect(x, &commit, 0);
    expect(x, &wait[2], 0);
    nothing_has_completed(x);
    assert_int_equal(tiercel_epoch_commit(x->cont, 7, NULL, NULL), 0); /* two at once, in any order */
    struct tiercel_event *a = next_event(x), *b = next_event(x);
    assert_true((a == &wait[0] && b == &wait[1]) || (a == &wait[1] && b == &wait[0]));
    assert_int_equal(after.ghce, 7);
    assert_int_equal(tiercel_event_fini(a) | tiercel_event_fini(b), 0);
    begin(x, &wait[0]);
    assert_int_equal(tiercel_epoch_wait(x->cont, 7, NULL, &wait[0]), 0); /* has come already */
    expect(x, &wait[0], 0);
    assert_int_equal(tiercel_epoch_wait(x->cont, 7, &after, NULL), 0);
}

static void end_by_abort(struct scene *x, struct tiercel_cont *c, struct tiercel_event *ev)
{
    (void)x;
    (void)c;
    assert_int_equal(tiercel_event_abort(ev), 0);
}

static void end_by_close(struct scene *x, struct tiercel_cont *c, struct tiercel_event *ev)
{
    (void)x;
    (void)ev;
    assert_int_equal(tiercel_cont_close(c), 0);
}

static void end_by_destroy(struct scene *x, struct tiercel_cont *c, struct tiercel_event *ev)
{
    (void)c;
    (void)ev;
    assert_int_equal(tiercel_cont_destroy(x->pool, "c", TIERCEL_FORCE, NULL), 0);
}

static void end_by_evict(struct scene *x, struct tiercel_cont *c, struct tiercel_event *ev)
{
    (void)c;
    (void)ev;
    assert_true(tiercel_cont_evict(x->pool, "c", NULL) > 0);
}

static void end_by_disconnect(struct scene *x, struct tiercel_cont *c, struct tiercel_event *ev)
{
    (void)c;
    (void)ev;
    assert_int_equal(tiercel_pool_disconnect(x->pool), 0);
    x->pool = NULL;
}

struct ending {
    const char *name;
    void (*end)(struct scene *x, struct tiercel_cont *c, struct tiercel_event *ev);
    int error;
    bool closes, keeps; /* the container; the container's name */
};
static const struct ending endings[] = {
    {"abort", end_by_abort, -ECANCELED, false, true},
    {"close", end_by_close, -ECANCELED, true, true},
    {"evict", end_by_evict, -EBADF, false, true},
    {"destroy", end_by_destroy, -ENOENT, false, false},
    {"disconnect", end_by_disconnect, -ECANCELED, false, true},
};

static void after_ending(struct scene *x, const struct ending *e, struct tiercel_cont *c)
{
    if (!e->closes)
        assert_int_equal(tiercel_cont_close(c), 0);
    assert_int_equal(tiercel_cont_close(x->cont), 0);
    x->cont = NULL;
    if (x->pool == NULL)
        assert_int_equal(tiercel_pool_connect(&x->pool, x->where, TIERCEL_RW, NULL), 0);
    if (!e->keeps)
        scene_create(x, "c");
    x->cont = scene_open(x, "c", TIERCEL_RW);
}

static void waiting_ends_early_for_many_reasons(void **state)
{
    struct scene *x = *state;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const struct ending *e = &endings[i];
        struct tiercel_cont *c = scene_open(x, "c", TIERCEL_RW);
        struct tiercel_event wait, commit;
        uint64_t epoch = 1;
        assert_int_equal(tiercel_epoch_hold(c, &epoch, NULL, NULL), 0);
        begin(x, &wait);
        begin(x, &commit);
        assert_int_equal(tiercel_epoch_wait(c, epoch, NULL, &wait), 0);
        worker_is_here(x);
        e->end(x, c, &wait);
        struct tiercel_event *ended_ev = next_event(x);
        if (ended_ev != &wait || wait.error != e->error)
            fail_msg("%s: %d instead of %d (%s)", e->name, wait.error, e->error, tiercel_why(&wait));
        assert_non_null(strstr(tiercel_why(&wait), "container c: "));
        assert_int_equal(tiercel_event_fini(&wait), 0);
        assert_int_equal(tiercel_event_fini(&commit), 0);
        after_ending(x, e, c);
    }
}

struct waiting {
    struct tiercel_cont *c;
    uint64_t epoch;
    _Atomic int begun;
    int rc;
};

static void *wait_in_a_thread(void *arg)
{
    struct waiting *w = arg;
    w->begun = 1;
    w->rc = tiercel_epoch_wait(w->c, w->epoch, NULL, NULL);
    return NULL;
}

static void waiting_in_a_thread_ends_as_well(void **state)
{
    struct scene *x = *state;
    for (size_t i = 1; i < 4; i++) { /* not by abort */
        const struct ending *e = &endings[i];
        struct waiting w = {.c = scene_open(x, "c", TIERCEL_RW), .epoch = 1};
        struct waiting reader = {.c = x->cont, .epoch = 1};
        pthread_t thread, other;
        assert_int_equal(pthread_create(&thread, NULL, wait_in_a_thread, &w), 0);
        assert_int_equal(pthread_create(&other, NULL, wait_in_a_thread, &reader), 0);
        while (!w.begun || !reader.begun)
            sched_yield();
        e->end(x, w.c, NULL);
        pthread_join(thread, NULL);
        if (e->closes) { /* the other handle is of no concern to it */
            uint64_t epoch = 1;
            assert_int_equal(tiercel_epoch_hold(x->cont, &epoch, NULL, NULL), 0);
            assert_int_equal(tiercel_epoch_commit(x->cont, 1, NULL, NULL), 0);
        }
        pthread_join(other, NULL);
        if (w.rc != e->error || reader.rc != (e->closes ? 0 : e->error))
            fail_msg("%s: %d and %d", e->name, w.rc, reader.rc);
        after_ending(x, e, w.c);
        assert_int_equal(tiercel_cont_close(x->cont), 0);
        assert_int_equal(tiercel_cont_destroy(x->pool, "c", 0, NULL), 0);
        scene_create(x, "c");
        x->cont = scene_open(x, "c", TIERCEL_RW);
    }
}

static void a_queue_that_is_destroyed_by_force_stops_waiting(void **state)
{
    struct scene *x = *state;
    struct tiercel_queue *q = NULL;
    struct tiercel_event wait, order, locked;
    struct tiercel_lock *held = NULL, *lock = NULL;
    assert_int_equal(tiercel_queue_create(&q), 0);
    assert_int_equal(tiercel_event_init(&wait, q, NULL), 0);
    assert_int_equal(tiercel_event_init(&order, q, NULL), 0);
    assert_int_equal(tiercel_event_init(&locked, q, NULL), 0);
    hold(x, 1);
    assert_int_equal(tiercel_lock(x->cont, "l", TIERCEL_LOCK_EXCLUSIVE, 0, &held, NULL, NULL), 0);
    assert_int_equal(tiercel_epoch_wait(x->cont, 5, NULL, &wait), 0);
    assert_int_equal(tiercel_epoch_commit_in_order(x->cont, 5, NULL, &order), 0);
    assert_int_equal(tiercel_lock(x->cont, "l", TIERCEL_LOCK_EXCLUSIVE, TIERCEL_FOREVER, &lock, NULL, &locked), 0);
    worker_is_here(x);
    assert_int_equal(tiercel_queue_destroy(q, 0), -EBUSY);
    assert_int_equal(tiercel_queue_destroy(q, 1), 0);
    assert_int_equal(wait.error, -ECANCELED);
    assert_int_equal(order.error, -ECANCELED);
    assert_int_equal(locked.error, -ECANCELED);
    assert_null(lock);
    assert_int_equal(tiercel_event_fini(&wait) | tiercel_event_fini(&order) | tiercel_event_fini(&locked), 0);
    assert_int_equal(tiercel_unlock(held, NULL), 0);
    assert_int_equal(epochs_of(x->cont).hce, 0);
}

/* ---- commits in order ---- */

static void commits_wait_for_their_turn(void **state)
{
    struct scene *x = *state;
    struct tiercel_event ev[4];
    struct tiercel_epochs after[4];
    static const uint64_t order[] = {13, 12, 14, 11};
    hold(x, 11);
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(put(x->cont, 11 + i, 1, 11 + i), 0);
        begin(x, &ev[i]);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(tiercel_epoch_commit_in_order(x->cont, order[i], &after[i], &ev[i]), 0);
    worker_is_here(x);
    nothing_has_completed(x);
    assert_int_equal(epochs_of(x->cont).ghce, 0);
    assert_int_equal(tiercel_epoch_commit_in_order(x->cont, order[3], &after[3], &ev[3]), 0);
    expect(x, &ev[3], 0);
    expect(x, &ev[1], 0);
    expect(x, &ev[0], 0);
    expect(x, &ev[2], 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(after[i].hce, order[i]);
    assert_int_equal(got(x->cont, TIERCEL_EPOCH_NOW, 1), 14);
}

static void a_blocking_commit_lets_others_have_their_turn(void **state)
{
    struct scene *x = *state;
    struct tiercel_event ev[3];
    hold(x, 1);
    for (uint64_t i = 0; i < 3; i++) {
        begin(x, &ev[i]);
        assert_int_equal(tiercel_epoch_commit_in_order(x->cont, 2 + i, NULL, &ev[i]), 0);
    }
    worker_is_here(x);
    assert_int_equal(tiercel_event_abort(&ev[1]), 0);
    expect(x, &ev[1], -ECANCELED);
    assert_int_equal(tiercel_epoch_commit(x->cont, 1, NULL, NULL), 0);
    expect(x, &ev[0], 0);
    nothing_has_completed(x); /* 3 was not committed */
    hold(x, 4);
    expect(x, &ev[2], 0);
    assert_int_equal(epochs_of(x->cont).hce, 4);
}

static void commits_in_order_have_errors_of_their_own(void **state)
{
    struct scene *x = *state;
    struct tiercel_event ev;
    assert_int_equal(tiercel_epoch_commit_in_order(x->cont, 1, NULL, NULL), -EINVAL);
    assert_non_null(strstr(tiercel_why(NULL), "without an event"));
    begin(x, &ev);
    assert_int_equal(tiercel_epoch_commit_in_order(x->cont, MAX, NULL, &ev), -EOVERFLOW);
    assert_int_equal(tiercel_epoch_commit_in_order(x->cont, 1, NULL, &ev), 0);
    expect(x, &ev, -EROFS); /* nothing is held: its turn would never come */
    hold(x, 1);
    begin(x, &ev);
    assert_int_equal(tiercel_epoch_commit_in_order(x->cont, 5, NULL, &ev), 0);
    worker_is_here(x);
    hold(x, MAX);
    expect(x, &ev, -EROFS);
    hold(x, 1);
    begin(x, &ev);
    assert_int_equal(tiercel_epoch_commit_in_order(x->cont, 5, NULL, &ev), 0);
    assert_int_equal(tiercel_cont_close(x->cont), 0);
    x->cont = NULL;
    struct tiercel_event *last = next_event(x);
    assert_ptr_equal(last, &ev);
    assert_int_equal(ev.error, -ECANCELED);
    assert_non_null(strstr(tiercel_why(&ev), "its turn had not come"));
    assert_int_equal(tiercel_event_fini(&ev), 0);
}

/* ---- locks ---- */

static void locks_exclude_and_pass_their_value_on(void **state)
{
    struct scene *x = *state;
    struct tiercel_lock *a = NULL, *b = NULL, *c = NULL;
    struct tiercel_lock_value v = {.valid = 7};
    struct tiercel_event ev;
    assert_int_equal(tiercel_lock(x->cont, "l", TIERCEL_LOCK_EXCLUSIVE, 0, &a, &v, NULL), 0);
    assert_int_equal(v.valid, 0); /* nobody has set it */
    assert_int_equal(tiercel_lock(x->cont, "l", TIERCEL_LOCK_SHARED, 0, &b, NULL, NULL), -EAGAIN);
    assert_non_null(strstr(tiercel_why(NULL), "'l'"));
    assert_int_equal(tiercel_lock(x->cont, "l", TIERCEL_LOCK_EXCLUSIVE, 10, &b, NULL, NULL), -ETIMEDOUT);
    assert_int_equal(tiercel_lock(x->cont, "other", TIERCEL_LOCK_EXCLUSIVE, 0, &c, NULL, NULL), 0);
    begin(x, &ev);
    assert_int_equal(tiercel_lock(x->cont, "l", TIERCEL_LOCK_SHARED, TIERCEL_FOREVER, &b, &v, &ev), 0);
    worker_is_here(x);
    nothing_has_completed(x);
    const struct tiercel_lock_value left = {.valid = 1, .epoch = 42, .user = "hello"};
    assert_int_equal(tiercel_unlock(a, &left), 0);
    expect(x, &ev, 0);
    assert_true(v.valid && v.epoch == 42 && strcmp((char *)v.user, "hello") == 0);
    assert_int_equal(tiercel_lock(x->cont, "l", TIERCEL_LOCK_SHARED, 0, &a, NULL, NULL), 0); /* both */
    assert_int_equal(tiercel_unlock(a, NULL), 0);
    assert_int_equal(tiercel_unlock(b, NULL), 0);
    assert_int_equal(tiercel_unlock(c, NULL), 0);
    begin(x, &ev);
    assert_int_equal(tiercel_lock(x->cont, "l", TIERCEL_LOCK_EXCLUSIVE, 0, &a, &v, &ev), 0);
    expect(x, &ev, 0);
    assert_true(v.valid && v.epoch == 42);
    begin(x, &ev);
    assert_int_equal(tiercel_lock(x->cont, "l", TIERCEL_LOCK_EXCLUSIVE, 0, &b, &v, &ev), 0);
    expect(x, &ev, -EAGAIN);
    begin(x, &ev);
    assert_int_equal(tiercel_lock(x->cont, "l", TIERCEL_LOCK_EXCLUSIVE, 10, &b, &v, &ev), 0);
    expect(x, &ev, -ETIMEDOUT);
    assert_int_equal(tiercel_unlock(a, NULL), 0);
}

static void locks_have_rules(void **state)
{
    struct scene *x = *state;
    struct tiercel_cont *reader = scene_open(x, "c", TIERCEL_RO);
    struct tiercel_lock *l = NULL;
    char name[300];
    memset(name, 'n', sizeof name);
    name[256] = 0;
    const struct {
        const char *name;
        unsigned mode;
        int timeout_ms;
        struct tiercel_lock **out;
        int error;
    } rows[] = {
        {NULL, 1, 0, &l, -EINVAL},       {"", 1, 0, &l, -EINVAL},   {"l", 0, 0, &l, -EINVAL},
        {"l", 3, 0, &l, -EINVAL},        {"l", 1, -2, &l, -EINVAL}, {"l", 1, 0, NULL, -EINVAL},
        {name, 1, 0, &l, -ENAMETOOLONG},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(tiercel_lock(x->cont, rows[i].name, rows[i].mode, rows[i].timeout_ms, rows[i].out, NULL, NULL),
                         rows[i].error);
    name[255] = 0;
    assert_int_equal(tiercel_lock(x->cont, name, TIERCEL_LOCK_EXCLUSIVE, 0, &l, NULL, NULL), 0);
    assert_int_equal(tiercel_unlock(l, NULL), 0);
    assert_int_equal(tiercel_lock(reader, "l", TIERCEL_LOCK_EXCLUSIVE, 0, &l, NULL, NULL), -EACCES);
    assert_int_equal(tiercel_lock(reader, "l", TIERCEL_LOCK_SHARED, 0, &l, NULL, NULL), 0);
    assert_int_equal(tiercel_cont_close(reader), 0); /* lets go of it */
    assert_int_equal(tiercel_unlock(l, NULL), -EBADF);
    assert_int_equal(tiercel_lock(x->cont, "l", TIERCEL_LOCK_EXCLUSIVE, 0, &l, NULL, NULL), 0);
    assert_int_equal(tiercel_unlock(l, NULL), 0);
    assert_int_equal(tiercel_unlock(NULL, NULL), -EBADF);
}

static void who_waits_for_a_lock_ends_with_its_container(void **state)
{
    struct scene *x = *state;
    struct tiercel_cont *c = scene_open(x, "c", TIERCEL_RW);
    struct tiercel_lock *held = NULL, *l = NULL;
    struct tiercel_event ev;
    assert_int_equal(tiercel_lock(x->cont, "l", TIERCEL_LOCK_EXCLUSIVE, 0, &held, NULL, NULL), 0);
    begin(x, &ev);
    assert_int_equal(tiercel_lock(c, "l", TIERCEL_LOCK_EXCLUSIVE, TIERCEL_FOREVER, &l, NULL, &ev), 0);
    worker_is_here(x);
    assert_int_equal(tiercel_cont_close(c), 0);
    expect(x, &ev, -ECANCELED);
    assert_int_equal(tiercel_unlock(held, NULL), 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(who_waits_does_not_keep_others),
        test(waiting_ends_early_for_many_reasons),
        test(waiting_in_a_thread_ends_as_well),
        test(a_queue_that_is_destroyed_by_force_stops_waiting),
        test(commits_wait_for_their_turn),
        test(a_blocking_commit_lets_others_have_their_turn),
        test(commits_in_order_have_errors_of_their_own),
        test(locks_exclude_and_pass_their_value_on),
        test(locks_have_rules),
        test(who_waits_for_a_lock_ends_with_its_container),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
