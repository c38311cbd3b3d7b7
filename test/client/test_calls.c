// SPDX-License-Identifier: Apache-2.0
/* Calls with events on real pools: their order, those that wait, how they end early, and many threads. */
#include "client/scene.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define LONG_MS 30000 /* never reached, unless something hangs */

static void begin(struct scene *x, struct tiercel_event *ev)
{
    assert_int_equal(tiercel_event_init(ev, x->q, NULL), 0);
}

/* The next event of the queue. */
static struct tiercel_event *next(struct scene *x)
{
    struct tiercel_event *ev = NULL;
    assert_int_equal(tiercel_queue_poll(x->q, LONG_MS, &ev, 1), 1);
    return ev;
}

/* It comes next, with this result. */
static void expect(struct scene *x, struct tiercel_event *ev, int error)
{
    struct tiercel_event *got_ev = next(x);
    assert_ptr_equal(got_ev, ev);
    if (ev->error != error)
        fail_msg("%d instead of %d: %s", ev->error, error, tiercel_why(ev));
    assert_int_equal(tiercel_event_fini(ev), 0);
}

static void nothing_has_completed(struct scene *x)
{
    assert_int_equal(tiercel_queue_query(x->q, TIERCEL_EVENTS_COMPLETED, NULL, 0), 0);
}

static void hold(struct scene *x, uint64_t epoch)
{
    assert_int_equal(tiercel_epoch_hold(x->cont, &epoch, NULL, NULL), 0);
}

/* All that was queued before is done, what waits has begun to: the pool's worker has come this far. */
static void worker_is_here(struct scene *x)
{
    struct tiercel_event ev;
    assert_int_equal(tiercel_event_init(&ev, NULL, NULL), 0);
    assert_int_equal(tiercel_epoch_query(x->cont, NULL, &ev), 0);
    assert_int_equal(tiercel_event_wait(&ev, LONG_MS), 1);
    assert_int_equal(tiercel_event_fini(&ev), 0);
}

/* ---- order ---- */

#define MANY 100

static void calls_are_carried_out_in_the_order_in_which_they_were_made(void **state)
{
    struct scene *x = *state;
    static struct tiercel_event ev[MANY];
    static uint64_t numbers[MANY];
    const struct tiercel_oid oid = {1, 1};
    uint64_t seen = 0, len = sizeof seen;
    hold(x, 1);
    for (uint64_t i = 0; i < MANY; i++) {
        numbers[i] = i + 1;
        begin(x, &ev[i]);
        if (i % 10 == 9)
            assert_int_equal(tiercel_epoch_commit(x->cont, i / 10 + 1, NULL, &ev[i]), 0);
        else
            assert_int_equal(tiercel_array_write(x->cont, i / 10 + 1, oid, 0, &numbers[i], 8, &ev[i]), 0);
    }
    /* A blocking call of this thread comes after all of them. */
    assert_int_equal(tiercel_array_read(x->cont, TIERCEL_EPOCH_NOW, oid, 0, &seen, &len, NULL), 0);
    assert_int_equal(seen, MANY - 1);
    assert_int_equal(epochs_of(x->cont).ghce, MANY / 10);
    for (int i = 0; i < MANY; i++)
        expect(x, &ev[i], 0);
}

static void closing_carries_out_what_was_asked_for(void **state)
{
    struct scene *x = *state;
    struct tiercel_event write, commit;
    uint64_t number = 77;
    hold(x, 1);
    begin(x, &write);
    begin(x, &commit);
    assert_int_equal(tiercel_array_write(x->cont, 1, (struct tiercel_oid){1, 1}, 0, &number, 8, &write), 0);
    assert_int_equal(tiercel_epoch_commit(x->cont, 1, NULL, &commit), 0);
    assert_int_equal(tiercel_cont_close(x->cont), 0);
    expect(x, &write, 0);
    expect(x, &commit, 0);
    x->cont = scene_open(x, "c", TIERCEL_RO);
    assert_int_equal(got(x->cont, 1, 1), 77);
}

static void an_error_that_is_known_at_once_is_returned_at_once(void **state)
{
    struct scene *x = *state;
    struct tiercel_event ev;
    uint64_t len = 1;
    begin(x, &ev);
    assert_int_equal(tiercel_epoch_commit(NULL, 1, NULL, &ev), -EBADF);
    assert_int_equal(tiercel_array_read(x->cont, 1, (struct tiercel_oid){1, 1}, 0, NULL, &len, &ev), -EINVAL);
    assert_true(strlen(tiercel_why(NULL)) > 20);
    assert_int_equal(tiercel_epoch_query(x->cont, NULL, &ev), 0); /* the event was not used */
    assert_int_equal(tiercel_epoch_query(x->cont, NULL, &ev), -EINVAL);
    expect(x, &ev, 0);
}

static void parents_wait_for_calls(void **state)
{
    struct scene *x = *state;
    struct tiercel_event parent, ev[3];
    hold(x, 1);
    begin(x, &parent);
    for (int i = 0; i < 3; i++)
        assert_int_equal(tiercel_event_init(&ev[i], x->q, &parent), 0);
    assert_int_equal(tiercel_epoch_flush(x->cont, 1, NULL, &ev[0]), 0);
    assert_int_equal(tiercel_snap_destroy(x->cont, 9, &ev[1]), 0);
    assert_int_equal(tiercel_epoch_commit(x->cont, 1, NULL, &ev[2]), 0);
    assert_int_equal(tiercel_event_barrier(&parent), 0);
    struct tiercel_event *first = next(x);
    assert_ptr_equal(first, &parent);
    assert_int_equal(parent.error, -ENOENT);
    assert_non_null(strstr(tiercel_why(&parent), "tiercel_snap_list"));
    assert_int_equal(ev[0].error, 0);
    assert_int_equal(ev[2].error, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(tiercel_event_fini(&ev[i]), 0);
    assert_int_equal(tiercel_event_fini(&parent), 0);
}

static void an_event_loop_serves_calls(void **state)
{
    struct scene *x = *state;
    struct epoll_event want = {.events = EPOLLIN}, seen;
    struct tiercel_event ev[8], *out[8];
    int loop = epoll_create1(EPOLL_CLOEXEC), done = 0;
    assert_int_equal(epoll_ctl(loop, EPOLL_CTL_ADD, tiercel_queue_fd(x->q), &want), 0);
    for (int i = 0; i < 8; i++) {
        begin(x, &ev[i]);
        assert_int_equal(tiercel_epoch_query(x->cont, NULL, &ev[i]), 0);
    }
    while (done < 8) {
        assert_int_equal(epoll_wait(loop, &seen, 1, LONG_MS), 1);
        int n = tiercel_queue_poll(x->q, 0, out, 8);
        assert_true(n > 0);
        done += n;
    }
    close(loop);
    for (int i = 0; i < 8; i++)
        assert_int_equal(tiercel_event_fini(&ev[i]), 0);
}

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
    struct tiercel_event *a = next(x), *b = next(x);
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
        struct tiercel_event *ended_ev = next(x);
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
    struct tiercel_event *last = next(x);
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

/* ---- disconnecting ---- */

static void a_pool_that_is_left_takes_its_containers_along(void **state)
{
    struct scene *x = *state;
    struct tiercel_cont *more = scene_open(x, "c", TIERCEL_RO);
    struct tiercel_event ev;
    struct tiercel_lock *l = NULL;
    hold(x, 1);
    assert_int_equal(tiercel_lock(x->cont, "l", TIERCEL_LOCK_EXCLUSIVE, 0, &l, NULL, NULL), 0);
    begin(x, &ev);
    assert_int_equal(tiercel_epoch_commit(x->cont, 1, NULL, &ev), 0);
    assert_int_equal(tiercel_pool_disconnect(x->pool), 0);
    x->pool = NULL;
    expect(x, &ev, 0); /* it was asked for before */
    begin(x, &ev);
    assert_int_equal(tiercel_epoch_query(x->cont, NULL, &ev), -EBADF);
    assert_int_equal(tiercel_epoch_query(more, NULL, NULL), -EBADF);
    assert_int_equal(tiercel_epoch_wait(more, 99, NULL, NULL), -EBADF);
    assert_int_equal(tiercel_unlock(l, NULL), -EBADF);
    assert_int_equal(tiercel_cont_close(more), 0);
    assert_int_equal(tiercel_event_fini(&ev), 0);
}

/* ---- callbacks ---- */

static int inside_list(void *ctx, const struct tiercel_cont_info *info)
{
    struct scene *x = ctx;
    struct tiercel_cont_info same;
    assert_string_equal(info->label, "c");
    assert_int_equal(tiercel_cont_query(x->cont, &same, NULL), 0); /* allowed: it was collected first */
    assert_memory_equal(&same.uuid, &info->uuid, sizeof same.uuid);
    return 5;
}

static int inside_diff(void *ctx, const struct tiercel_change *change)
{
    struct scene *x = ctx;
    assert_int_equal(change->oid.lo, 1);
    assert_int_equal(tiercel_epoch_query(x->cont, NULL, NULL), -EDEADLK);
    assert_non_null(strstr(tiercel_why(NULL), "callback"));
    assert_int_equal(tiercel_epoch_wait(x->cont, 0, NULL, NULL), -EDEADLK);
    return 6;
}

static void callbacks_cannot_lock_up(void **state)
{
    struct scene *x = *state;
    hold(x, 1);
    assert_int_equal(put(x->cont, 1, 1, 1), 0);
    assert_int_equal(tiercel_epoch_commit(x->cont, 1, NULL, NULL), 0);
    assert_int_equal(tiercel_cont_list(x->pool, inside_list, x), 5);
    assert_int_equal(tiercel_snap_create(x->cont, 1, NULL), 0);
    assert_int_equal(put(x->cont, 2, 1, 2), 0);
    assert_int_equal(tiercel_epoch_commit(x->cont, 2, NULL, NULL), 0);
    assert_int_equal(tiercel_cont_diff(x->cont, 1, 2, inside_diff, x), 6);
    assert_int_equal(tiercel_epoch_query(x->cont, NULL, NULL), 0);
}

/* ---- threads ---- */

/* The mask of blocked signals of a thread of this process. */
static uint64_t blocked(const char *task)
{
    char path[300], line[256];
    uint64_t mask = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL && sscanf(line, "SigBlk: %" SCNx64, &mask) != 1)
        continue;
    fclose(f);
    return mask;
}

static void the_librarys_threads_take_no_signals(void **state)
{
    struct scene *x = *state;
    struct tiercel_event wait, locked;
    struct tiercel_lock *held = NULL, *l = NULL;
    int others = 0;
    assert_int_equal(tiercel_lock(x->cont, "l", TIERCEL_LOCK_EXCLUSIVE, 0, &held, NULL, NULL), 0);
    begin(x, &wait);
    begin(x, &locked);
    assert_int_equal(tiercel_epoch_wait(x->cont, 1, NULL, &wait), 0);
    assert_int_equal(tiercel_lock(x->cont, "l", TIERCEL_LOCK_EXCLUSIVE, TIERCEL_FOREVER, &l, NULL, &locked), 0);
    worker_is_here(x);
    DIR *dir = opendir("/proc/self/task");
    assert_non_null(dir);
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (e->d_name[0] == '.' || atoi(e->d_name) == getpid())
            continue;
        const uint64_t usual =
            1ull << (SIGTERM - 1) | 1ull << (SIGINT - 1) | 1ull << (SIGUSR1 - 1) | 1ull << (SIGCHLD - 1);
        others++;
        if ((blocked(e->d_name) & usual) != usual)
            others = -100; /* a sanitizer's own, perhaps: counted below */
    }
    closedir(dir);
#if !defined(__SANITIZE_THREAD__) && !defined(__clang__)
    assert_int_equal(others, 3); /* the worker, the waiter, the lock's */
#else
    (void)others;
#endif
    assert_int_equal(tiercel_unlock(held, NULL), 0);
    expect(x, &locked, 0);
    assert_int_equal(tiercel_event_abort(&wait), 0);
    expect(x, &wait, -ECANCELED);
    assert_int_equal(tiercel_unlock(l, NULL), 0);
}

#define THREADS 4
#define ROUNDS  40

struct crowd {
    struct scene *x;
    _Atomic uint64_t next;
};

/* Writes with and without events, reads what it wrote, waits for epochs, uses locks. */
static void *work(void *arg)
{
    struct crowd *c = arg;
    struct scene *x = c->x;
    const uint64_t me = c->next++;
    struct tiercel_event ev;
    struct tiercel_lock *l = NULL;
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        const struct tiercel_bytes key = {.at = &i, .len = sizeof i};
        uint64_t value = me << 32 | i, back = 0, len = sizeof back;
        if (tiercel_event_init(&ev, NULL, NULL) != 0 ||
            tiercel_kv_put(x->cont, 1, (struct tiercel_oid){2, me}, key, &value, 8, 0, i % 2 == 0 ? &ev : NULL) != 0)
            abort();
        if (i % 8 == 0 && (tiercel_lock(x->cont, "l", TIERCEL_LOCK_EXCLUSIVE, LONG_MS, &l, NULL, NULL) != 0 ||
                           tiercel_unlock(l, NULL) != 0))
            abort();
        if (tiercel_kv_get(x->cont, 1, (struct tiercel_oid){2, me}, key, &back, &len, 0, NULL) != 0 || back != value)
            abort(); /* after its own, whether that had an event or not */
        if (i % 2 == 0 && (tiercel_event_wait(&ev, LONG_MS) != 1 || ev.error != 0))
            abort();
        if (tiercel_event_fini(&ev) != 0)
            abort();
    }
    return (void *)(intptr_t)tiercel_epoch_wait(x->cont, 1, NULL, NULL);
}

static void many_threads_share_a_container(void **state)
{
    struct scene *x = *state;
    struct crowd c = {.x = x};
    pthread_t threads[THREADS];
    unsigned count = 0;
    hold(x, 1);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &c), 0);
    while (c.next < THREADS)
        sched_yield();
    for (uint64_t me = 0; me < THREADS; me++) /* they all wait for the commit at last */
        for (count = 0; count < ROUNDS;) {
            uint64_t i = ROUNDS, back = 0, len = sizeof back;
            int rc = tiercel_kv_get(x->cont, 1, (struct tiercel_oid){2, me}, (struct tiercel_bytes){&i, sizeof i},
                                    &back, &len, 0, NULL);
            assert_true(rc == 0 || rc == -ENOENT);
            count = rc == 0 ? ROUNDS : 0;
            sched_yield();
        }
    assert_int_equal(tiercel_epoch_commit(x->cont, 1, NULL, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        void *rc = NULL;
        pthread_join(threads[i], &rc);
        assert_null(rc);
    }
}

#define test(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(calls_are_carried_out_in_the_order_in_which_they_were_made),
        test(closing_carries_out_what_was_asked_for),
        test(an_error_that_is_known_at_once_is_returned_at_once),
        test(parents_wait_for_calls),
        test(an_event_loop_serves_calls),
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
        test(a_pool_that_is_left_takes_its_containers_along),
        test(callbacks_cannot_lock_up),
        test(the_librarys_threads_take_no_signals),
        test(many_threads_share_a_container),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
