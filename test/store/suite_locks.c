// SPDX-License-Identifier: Apache-2.0
/* What every store must do: marks of processes, and locks. Other processes here are forked, open the pool themselves, do one thing,
 * say so through a pipe, and live until they are told to go on, or are killed. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/time.h"
#include "store/suite.h"

static const struct suite_store *store;
static const struct tl_store_id id = {{7}}, other_id = {{8}};

struct scene {
    char where[256];
    struct tl_store *s;
};

static void scene_new(struct scene *x)
{
    store->make(x->where, sizeof x->where);
    x->s = store->open(x->where);
    assert_non_null(x->s);
}

static void scene_free(struct scene *x)
{
    x->s->ops->close(x->s);
    store->destroy(x->where);
}

static struct tl_slice text(const char *t)
{
    return (struct tl_slice){t, strlen(t)};
}

/* ---- another process ---- */

struct other {
    pid_t pid;
    int to, from; /* pipes */
};

/* In the other process: done, and waits for the word to go on. */
static void pause_here(const struct other *o)
{
    char byte = 'x';
    if (write(o->from, &byte, 1) != 1 || read(o->to, &byte, 1) != 1)
        _exit(9);
}

static void other_start(struct other *o, const struct scene *x, void (*fn)(struct tl_store *s, const struct other *o))
{
    int to[2], from[2];
    char byte;
    assert_true(pipe(to) == 0 && pipe(from) == 0);
    o->pid = fork();
    assert_true(o->pid >= 0);
    if (o->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct other mine = {.to = to[0], .from = from[1]};
        close(to[1]);
        close(from[0]);
        struct tl_store *s = store->open(x->where);
        if (s == NULL)
            _exit(8);
        fn(s, &mine);
        s->ops->close(s);
        _exit(0);
    }
    close(to[0]);
    close(from[1]);
    o->to = to[1];
    o->from = from[0];
    assert_int_equal(read(o->from, &byte, 1), 1);
}

static void other_goes_on(const struct other *o)
{
    assert_int_equal(write(o->to, "x", 1), 1);
}

static void other_join(const struct other *o, bool killed)
{
    int status;
    if (killed)
        kill(o->pid, SIGKILL);
    assert_int_equal(waitpid(o->pid, &status, 0), o->pid);
    if (killed)
        assert_true(WIFSIGNALED(status));
    else
        assert_int_equal(status, 0);
    close(o->to);
    close(o->from);
}

/* Some stores learn of a death later. */
static void assert_unclaimed_soon(struct tl_store *s, uint64_t mark)
{
    for (int i = 0; i < 600 && s->ops->claimed(s, mark) == 1; i++) {
        uint32_t seen;
        assert_int_equal(s->ops->changes(s, &id, &seen), 0);
        (void)s->ops->wait(s, &id, seen, 100);
    }
    assert_int_equal(s->ops->claimed(s, mark), 0);
}

/* ---- marks ---- */

static void claim_five_and_six(struct tl_store *s, const struct other *o)
{
    if (s->ops->claim(s, 5, true) != 0 || s->ops->claim(s, 6, false) != 0)
        _exit(1);
    if (s->ops->claim(s, 5, true) != -EALREADY || s->ops->claimed(s, 5) != 1)
        _exit(2);
    pause_here(o);
}

static void a_mark_goes_with_its_process(void **state)
{
    (void)state;
    struct scene x;
    struct other o;
    scene_new(&x);
    for (int killed = 0; killed <= 1; killed++) {
        assert_int_equal(x.s->ops->claimed(x.s, 5), 0);
        other_start(&o, &x, claim_five_and_six);
        assert_int_equal(x.s->ops->claimed(x.s, 5), 1);
        assert_int_equal(x.s->ops->claimed(x.s, 6), 1);
        assert_int_equal(x.s->ops->claimed(x.s, 7), 0);
        assert_int_equal(x.s->ops->claim(x.s, 5, true), -EBUSY);
        assert_int_equal(x.s->ops->claim(x.s, 5, false), -EBUSY);
        assert_int_equal(x.s->ops->claim(x.s, 6, true), -EBUSY);
        assert_int_equal(x.s->ops->claim(x.s, 6, false), 0);
        if (!killed)
            other_goes_on(&o);
        other_join(&o, killed);
        assert_unclaimed_soon(x.s, 5);
        assert_int_equal(x.s->ops->claimed(x.s, 6), 1); /* ours */
        assert_int_equal(x.s->ops->claim(x.s, 6, true), -EALREADY);
        x.s->ops->unclaim(x.s, 6);
        assert_int_equal(x.s->ops->claimed(x.s, 6), 0);
        x.s->ops->unclaim(x.s, 6); /* once more is nothing */
        assert_int_equal(x.s->ops->claim(x.s, 5, true), 0);
        x.s->ops->unclaim(x.s, 5);
    }
    scene_free(&x);
}

static void claim_and_bear(struct tl_store *s, const struct other *o)
{
    if (s->ops->claim(s, 5, true) != 0)
        _exit(1);
    pid_t pid = fork();
    if (pid == 0) { /* lives on with all descriptors and memory of its parent */
        (void)prctl(PR_SET_PDEATHSIG, 0);
        pause_here(o);
        _exit(0);
    }
    pause();
}

static void a_child_does_not_keep_its_parents_mark(void **state)
{
    (void)state;
    struct scene x;
    struct other o;
    scene_new(&x);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* orphans are ours to wait for */
    other_start(&o, &x, claim_and_bear);
    assert_int_equal(x.s->ops->claimed(x.s, 5), 1);
    kill(o.pid, SIGKILL);
    int status;
    assert_int_equal(waitpid(o.pid, &status, 0), o.pid);
    assert_unclaimed_soon(x.s, 5);
    assert_int_equal(x.s->ops->claim(x.s, 5, true), 0);
    close(o.to); /* the grandchild ends */
    assert_true(waitpid(-1, &status, 0) > 0);
    close(o.from);
    scene_free(&x);
}

static void a_wake_counts_as_a_change(void **state)
{
    (void)state;
    struct scene x;
    uint32_t before, after;
    scene_new(&x);
    assert_int_equal(x.s->ops->changes(x.s, &id, &before), 0);
    x.s->ops->wake(x.s, &id);
    assert_int_equal(x.s->ops->wait(x.s, &id, before, 60000), 0);
    assert_int_equal(x.s->ops->changes(x.s, &id, &after), 0);
    assert_int_not_equal(before, after);
    scene_free(&x);
}

/* ---- locks ---- */

static int lock(struct tl_store *s, const char *name, bool exclusive, int timeout_ms, struct tl_store_lock **out,
                struct tl_store_lock_value *value)
{
    return s->ops->lock(s, &id, text(name), exclusive, timeout_ms, NULL, out, value);
}

static void write_locks_one(struct tl_store *s, const struct other *o)
{
    struct tl_store_lock *l;
    struct tl_store_lock_value v;
    if (lock(s, "one", true, -1, &l, &v) != 0)
        _exit(1);
    pause_here(o);
    v = (struct tl_store_lock_value){.valid = true, .epoch = 42, .user = "left by the first"};
    if (s->ops->unlock(s, l, &v) != 0)
        _exit(2);
}

static void read_locks_one(struct tl_store *s, const struct other *o)
{
    struct tl_store_lock *l;
    struct tl_store_lock_value v;
    if (lock(s, "one", false, -1, &l, &v) != 0)
        _exit(1);
    pause_here(o);
    if (s->ops->unlock(s, l, NULL) != 0)
        _exit(2);
}

static void locks_exclude_other_processes(void **state)
{
    (void)state;
    struct scene x;
    struct other o;
    struct tl_store_lock *l, *m;
    struct tl_store_lock_value v;
    scene_new(&x);
    other_start(&o, &x, write_locks_one);
    assert_int_equal(lock(x.s, "one", true, 0, &l, &v), -EAGAIN);
    assert_int_equal(lock(x.s, "one", false, 0, &l, &v), -EAGAIN);
    assert_int_equal(lock(x.s, "one", true, 20, &l, &v), -ETIMEDOUT);
    const _Atomic int stop = 1;
    assert_int_equal(x.s->ops->lock(x.s, &id, text("one"), true, -1, &stop, &l, &v), -ECANCELED);
    assert_int_equal(lock(x.s, "two", true, 0, &l, &v), 0);
    assert_false(v.valid);
    assert_int_equal(x.s->ops->unlock(x.s, l, NULL), 0);
    assert_int_equal(x.s->ops->lock(x.s, &other_id, text("one"), true, 0, NULL, &l, &v), 0);
    assert_int_equal(x.s->ops->unlock(x.s, l, NULL), 0);
    other_goes_on(&o);
    assert_int_equal(lock(x.s, "one", false, -1, &l, &v), 0); /* waits for it */
    assert_true(v.valid && v.epoch == 42);
    assert_string_equal((const char *)v.user, "left by the first");
    other_join(&o, false);
    other_start(&o, &x, read_locks_one); /* beside us */
    assert_int_equal(x.s->ops->unlock(x.s, l, NULL), 0);
    assert_int_equal(lock(x.s, "one", true, 0, &l, &v), -EAGAIN);
    assert_int_equal(lock(x.s, "one", false, 0, &l, &v), 0);
    assert_int_equal(lock(x.s, "one", false, 0, &m, &v), 0);
    assert_int_equal(x.s->ops->unlock(x.s, l, NULL), 0);
    other_goes_on(&o);
    other_join(&o, false);
    assert_int_equal(lock(x.s, "one", true, 0, &l, &v), -EAGAIN); /* m */
    assert_int_equal(x.s->ops->unlock(x.s, m, NULL), 0);
    assert_int_equal(lock(x.s, "one", true, 0, &l, &v), 0);
    assert_true(v.valid && v.epoch == 42);
    assert_int_equal(x.s->ops->unlock(x.s, l, NULL), 0);
    scene_free(&x);
}

static void a_value_is_what_the_last_writer_left(void **state)
{
    (void)state;
    struct scene x;
    struct tl_store_lock *l;
    struct tl_store_lock_value v, w = {.valid = true, .epoch = 7};
    scene_new(&x);
    assert_int_equal(lock(x.s, "one", true, 0, &l, &v), 0);
    assert_false(v.valid);
    assert_int_equal(x.s->ops->unlock(x.s, l, &w), 0);
    assert_int_equal(lock(x.s, "one", true, 0, &l, &v), 0);
    assert_true(v.valid && v.epoch == 7);
    assert_int_equal(x.s->ops->unlock(x.s, l, NULL), 0); /* stays */
    assert_int_equal(lock(x.s, "one", false, 0, &l, &v), 0);
    assert_true(v.valid && v.epoch == 7);
    w.epoch = 8; /* who reads does not set it */
    assert_int_equal(x.s->ops->unlock(x.s, l, &w), 0);
    assert_int_equal(lock(x.s, "one", true, 0, &l, &v), 0);
    assert_true(v.valid && v.epoch == 7);
    w.valid = false;
    assert_int_equal(x.s->ops->unlock(x.s, l, &w), 0);
    assert_int_equal(lock(x.s, "one", true, 0, &l, &v), 0);
    assert_false(v.valid);
    assert_int_equal(x.s->ops->unlock(x.s, l, NULL), 0);
    scene_free(&x);
}

static void who_dies_with_a_lock_leaves_it_free_and_its_value_invalid(void **state)
{
    (void)state;
    struct scene x;
    struct other o;
    struct tl_store_lock *l;
    struct tl_store_lock_value v, w = {.valid = true, .epoch = 7};
    scene_new(&x);
    assert_int_equal(lock(x.s, "one", true, 0, &l, &v), 0);
    assert_int_equal(x.s->ops->unlock(x.s, l, &w), 0);
    other_start(&o, &x, read_locks_one);
    other_join(&o, true);
    assert_int_equal(lock(x.s, "one", true, 60000, &l, &v), 0);
    assert_true(v.valid); /* a reader has changed nothing */
    assert_int_equal(x.s->ops->unlock(x.s, l, NULL), 0);
    other_start(&o, &x, write_locks_one);
    other_join(&o, true);
    assert_int_equal(lock(x.s, "one", false, 60000, &l, &v), 0);
    assert_false(v.valid);
    assert_int_equal(x.s->ops->unlock(x.s, l, NULL), 0);
    assert_int_equal(lock(x.s, "one", true, 0, &l, &v), 0);
    assert_false(v.valid);
    assert_int_equal(x.s->ops->unlock(x.s, l, &w), 0);
    assert_int_equal(lock(x.s, "one", true, 0, &l, &v), 0);
    assert_true(v.valid);
    assert_int_equal(x.s->ops->unlock(x.s, l, NULL), 0);
    scene_free(&x);
}

/* ---- many at once ---- */

enum { PROCESSES = 3, THREADS = 2, TIMES = 40 };

static void *count_up(void *arg)
{
    struct tl_store *s = arg;
    for (int i = 0; i < TIMES; i++) {
        struct tl_store_lock *l;
        struct tl_store_lock_value v;
        if (lock(s, "counter", true, 60000, &l, &v) != 0)
            return s;
        v.epoch = v.valid ? v.epoch + 1 : 1;
        v.valid = true;
        if (s->ops->unlock(s, l, &v) != 0)
            return s;
    }
    return NULL;
}

static void count_in_threads(struct tl_store *s, const struct other *o)
{
    pthread_t threads[THREADS];
    void *failed;
    pause_here(o);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, count_up, s) != 0)
            _exit(1);
    for (int i = 0; i < THREADS; i++)
        if (pthread_join(threads[i], &failed) != 0 || failed != NULL)
            _exit(2);
}

static void no_value_is_lost_between_threads_and_processes(void **state)
{
    (void)state;
    struct scene x;
    struct other o[PROCESSES];
    struct tl_store_lock *l;
    struct tl_store_lock_value v;
    scene_new(&x);
    for (int i = 0; i < PROCESSES; i++)
        other_start(&o[i], &x, count_in_threads);
    for (int i = 0; i < PROCESSES; i++)
        other_goes_on(&o[i]);
    for (int i = 0; i < PROCESSES; i++)
        other_join(&o[i], false);
    assert_int_equal(lock(x.s, "counter", false, 0, &l, &v), 0);
    assert_true(v.valid);
    assert_int_equal(v.epoch, PROCESSES * THREADS * TIMES);
    assert_int_equal(x.s->ops->unlock(x.s, l, NULL), 0);
    scene_free(&x);
}

struct waiter {
    struct tl_store *s;
    _Atomic int stop, rc;
};

static void *wait_for_lock(void *arg)
{
    struct waiter *w = arg;
    struct tl_store_lock *l;
    struct tl_store_lock_value v;
    atomic_store(&w->rc, w->s->ops->lock(w->s, &id, text("one"), true, -1, &w->stop, &l, &v));
    return NULL;
}

static void who_waits_for_a_lock_can_be_stopped(void **state)
{
    (void)state;
    struct scene x;
    struct tl_store_lock *l;
    struct tl_store_lock_value v;
    pthread_t thread;
    scene_new(&x);
    assert_int_equal(lock(x.s, "one", false, 0, &l, &v), 0);
    struct waiter w = {.s = x.s, .rc = 1};
    assert_int_equal(pthread_create(&thread, NULL, wait_for_lock, &w), 0);
    atomic_store(&w.stop, 1);
    x.s->ops->wake(x.s, &id);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atomic_load(&w.rc), -ECANCELED);
    assert_int_equal(x.s->ops->unlock(x.s, l, NULL), 0);
    scene_free(&x);
}

int suite_locks_run(const struct suite_store *s)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mark_goes_with_its_process),
        cmocka_unit_test(a_child_does_not_keep_its_parents_mark),
        cmocka_unit_test(a_wake_counts_as_a_change),
        cmocka_unit_test(locks_exclude_other_processes),
        cmocka_unit_test(a_value_is_what_the_last_writer_left),
        cmocka_unit_test(who_dies_with_a_lock_leaves_it_free_and_its_value_invalid),
        cmocka_unit_test(no_value_is_lost_between_threads_and_processes),
        cmocka_unit_test(who_waits_for_a_lock_can_be_stopped),
    };
    store = s;
    return cmocka_run_group_tests_name("marks and locks", tests, NULL, NULL);
}
