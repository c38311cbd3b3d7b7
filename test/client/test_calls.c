// SPDX-License-Identifier: Apache-2.0
/* Calls with events on real pools: their order, leaving, callbacks, and many threads. */
#include "client/scene.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

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

/* A callback holds the pool until it is let go: nothing can begin meanwhile. */
struct holdup {
    struct tiercel_cont *c;
    sem_t begun, go_on;
};

static int hold_up(void *ctx, const struct tiercel_change *change)
{
    struct holdup *h = ctx;
    (void)change;
    sem_post(&h->begun);
    sem_wait(&h->go_on);
    return 1;
}

static void *look_at_changes(void *arg)
{
    struct holdup *h = arg;
    return (void *)(intptr_t)tiercel_cont_diff(h->c, 1, 2, hold_up, h);
}

static void what_has_not_begun_can_be_aborted(void **state)
{
    struct scene *x = *state;
    struct holdup h = {.c = x->cont};
    struct tiercel_event ev[3];
    pthread_t thread;
    hold(x, 1);
    commit(x, 1);
    assert_int_equal(tiercel_snap_create(x->cont, 1, NULL), 0);
    assert_int_equal(put(x->cont, 2, 1, 1), 0);
    commit(x, 2);
    sem_init(&h.begun, 0, 0);
    sem_init(&h.go_on, 0, 0);
    assert_int_equal(pthread_create(&thread, NULL, look_at_changes, &h), 0);
    sem_wait(&h.begun);
    for (uint64_t i = 0; i < 3; i++) {
        begin(x, &ev[i]);
        assert_int_equal(tiercel_epoch_commit(x->cont, 3 + i, NULL, &ev[i]), 0); /* does not wait */
    }
    assert_int_equal(tiercel_queue_query(x->q, TIERCEL_EVENTS_RUNNING, NULL, 0), 3);
    assert_int_equal(tiercel_event_abort(&ev[2]), 0);
    assert_int_equal(tiercel_event_fini(&ev[1]), -EBUSY);
    sem_post(&h.go_on);
    expect(x, &ev[0], 0);
    expect(x, &ev[1], 0);
    expect(x, &ev[2], -ECANCELED);
    pthread_join(thread, NULL);
    assert_int_equal(epochs_of(x->cont).hce, 4);
    sem_destroy(&h.begun);
    sem_destroy(&h.go_on);
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
    struct tiercel_event *first = next_event(x);
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
    if (getenv("TIERCEL_TEST_POOLS") == NULL)
        assert_int_equal(others, 3); /* the worker, the waiter, the lock's */
    else
        assert_true(others > 3); /* and the store's */
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
        test(what_has_not_begun_can_be_aborted),
        test(parents_wait_for_calls),
        test(an_event_loop_serves_calls),
        test(a_pool_that_is_left_takes_its_containers_along),
        test(callbacks_cannot_lock_up),
        test(the_librarys_threads_take_no_signals),
        test(many_threads_share_a_container),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
