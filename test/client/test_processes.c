// SPDX-License-Identifier: Apache-2.0
/* Several processes and one pool: who waits for whom, what becomes of those that die, and handles that they share. */
#include "client/scene.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct peer *connected(struct scene *x, unsigned flags)
{
    struct peer *p = peer_start(x);
    assert_int_equal(peer_ask(p, "connect %u", TIERCEL_RW), 0);
    assert_int_equal(peer_ask(p, "open c %u", flags), 0);
    return p;
}

/* A peer with our handles. */
static struct peer *attached(struct scene *x)
{
    struct peer *p = peer_start(x);
    uint8_t pool[512], cont[512];
    char pool_hex[1025], cont_hex[1025];
    size_t pool_len = sizeof pool, cont_len = sizeof cont;
    assert_int_equal(tiercel_pool_local2global(x->pool, pool, &pool_len), 0);
    assert_int_equal(tiercel_cont_local2global(x->cont, cont, &cont_len), 0);
    to_hex(pool, pool_len, pool_hex);
    to_hex(cont, cont_len, cont_hex);
    assert_int_equal(peer_ask(p, "attach %s %s", pool_hex, cont_hex), 0);
    return p;
}

static uint64_t held(struct tiercel_cont *c, uint64_t epoch)
{
    assert_int_equal(tiercel_epoch_hold(c, &epoch, NULL, NULL), 0);
    return epoch;
}

/* ---- producers and consumers ---- */

static void a_consumer_is_woken_by_another_process(void **state)
{
    struct scene *x = *state;
    struct peer *consumer = connected(x, TIERCEL_RO), *producer = connected(x, TIERCEL_RW);
    struct tiercel_event ev, *out = NULL;
    assert_int_equal(peer_ask(producer, "hold 0"), 1);
    for (uint64_t e = 1; e <= 3; e++) {
        peer_tell(consumer, "wait %lu", e);
        assert_int_equal(tiercel_event_init(&ev, x->q, NULL), 0);
        assert_int_equal(tiercel_epoch_wait(x->cont, e, NULL, &ev), 0);
        assert_int_equal(tiercel_queue_poll(x->q, 10, &out, 1), 0);
        assert_int_equal(peer_ask(producer, "put %lu 1 %lu", e, 100 + e), 0);
        assert_int_equal(peer_ask(producer, "flush %lu", e), 0);
        assert_int_equal(peer_ask(producer, "commit %lu", e), 0);
        assert_int_equal(peer_hear(consumer), 0);
        assert_int_equal(peer_ask(consumer, "get %lu 1", e), 100 + e);
        assert_int_equal(tiercel_queue_poll(x->q, LONG_MS, &out, 1), 1);
        assert_int_equal(ev.error, 0);
        assert_int_equal(tiercel_event_fini(&ev), 0);
        assert_int_equal(got(x->cont, TIERCEL_EPOCH_NOW, 1), 100 + e);
    }
    peer_end(consumer);
    peer_end(producer);
}

static void a_holder_keeps_the_final_epoch_back_until_it_dies(void **state)
{
    struct scene *x = *state;
    struct peer *holder = connected(x, TIERCEL_RW);
    struct tiercel_event ev, *out = NULL;
    assert_int_equal(peer_ask(holder, "hold 5"), 5);
    assert_int_equal(peer_ask(holder, "put 5 9 5"), 0);
    assert_int_equal(peer_ask(holder, "flush 5"), 0);
    held(x->cont, 1);
    assert_int_equal(tiercel_epoch_commit(x->cont, 8, NULL, NULL), 0);
    assert_int_equal(epochs_of(x->cont).ghce, 4);
    assert_int_equal(tiercel_event_init(&ev, x->q, NULL), 0);
    assert_int_equal(tiercel_epoch_wait(x->cont, 8, NULL, &ev), 0);
    assert_int_equal(tiercel_queue_poll(x->q, 10, &out, 1), 0);
    peer_kill(holder); /* wakes nobody: who waits looks at least once a second */
    assert_int_equal(tiercel_queue_poll(x->q, LONG_MS, &out, 1), 1);
    assert_int_equal(ev.error, 0);
    assert_int_equal(tiercel_event_fini(&ev), 0);
    assert_int_equal(got(x->cont, 8, 9), 0); /* what it had flushed was not committed */
}

static void whoever_is_killed_has_written_nothing_since_its_commit(void **state)
{
    static const char *const until[][3] = {{"put 2 1 200", NULL, NULL},
                                           {"put 2 1 200", "flush 2", NULL},
                                           {"put 2 1 200", "flush 2", "put 3 1 300"},
                                           {"hold 7", "put 7 1 700", "flush 7"}};
    struct scene *x = *state;
    for (size_t i = 0; i < sizeof until / sizeof *until; i++) {
        char name[16];
        snprintf(name, sizeof name, "c%zu", i);
        scene_create(x, name);
        struct peer *p = peer_start(x);
        assert_int_equal(peer_ask(p, "connect %u", TIERCEL_RW), 0);
        assert_int_equal(peer_ask(p, "open %s %u", name, TIERCEL_RW), 0);
        assert_int_equal(peer_ask(p, "hold 1"), 1);
        assert_int_equal(peer_ask(p, "put 1 1 100"), 0);
        assert_int_equal(peer_ask(p, "commit 1"), 0);
        for (int s = 0; s < 3 && until[i][s] != NULL; s++)
            assert_true(peer_ask(p, "%s", until[i][s]) >= 0);
        peer_kill(p);
        struct tiercel_cont *c = scene_open(x, name, TIERCEL_RO);
        assert_int_equal(epochs_of(c).hce, 1);
        assert_int_equal(got(c, 100, 1), 100);
        assert_int_equal(tiercel_cont_close(c), 0);
    }
    assert_int_equal(tiercel_pool_check(x->pool, 0, NULL, NULL), 0);
}

/* It stands still while the others take it for dead, and forget it. What it still had in memory does not appear when it wakes up. */
static void whoever_was_taken_for_dead_adds_nothing(void **state)
{
    struct scene *x = *state;
    struct peer *p = connected(x, TIERCEL_RW);
    assert_int_equal(peer_ask(p, "hold 1"), 1);
    assert_int_equal(peer_ask(p, "put 1 1 100"), 0);
    assert_int_equal(peer_ask(p, "commit 1"), 0);
    assert_int_equal(peer_ask(p, "put 2 1 200"), 0);
    assert_int_equal(peer_ask(p, "put 2 2 200"), 0);
    peer_stop(p); /* where a process lives as long as it is there, somebody ends it by force */
    assert_true(tiercel_cont_evict(x->pool, "c", NULL) >= 1);
    struct tiercel_cont *c = scene_open(x, "c", TIERCEL_RW);
    assert_int_equal(tiercel_cont_aggregate(c, NULL, NULL), 0);
    peer_go_on(p);
    assert_int_equal(peer_ask(p, "commit 2"), -EBADF);
    assert_int_equal(peer_ask(p, "flush 2"), -EBADF);
    uint64_t epoch = held(c, 0);
    assert_int_equal(put(c, epoch, 3, 300), 0);
    assert_int_equal(tiercel_epoch_commit(c, epoch, NULL, NULL), 0);
    for (uint64_t e = epoch; e < epoch + 3; e++) {
        assert_int_equal(got(c, e, 1), 100);
        assert_int_equal(got(c, e, 2), 0);
    }
    peer_end(p);
    assert_int_equal(tiercel_cont_close(c), 0);
    assert_int_equal(tiercel_pool_check(x->pool, 0, NULL, NULL), 0);
}

static void evicted_are_all_processes(void **state)
{
    struct scene *x = *state;
    struct peer *p = connected(x, TIERCEL_RW), *q = connected(x, TIERCEL_RO);
    assert_int_equal(peer_ask(p, "hold 1"), 1);
    assert_int_equal(peer_ask(p, "put 1 1 100"), 0);
    peer_tell(q, "wait 50");
    assert_int_equal(peer_ask(p, "flush 1"), 0);
    struct tiercel_event ev;
    assert_int_equal(tiercel_event_init(&ev, x->q, NULL), 0);
    assert_int_equal(tiercel_epoch_wait(x->cont, 50, NULL, &ev), 0);
    assert_int_equal(peer_ask(p, "evict c"), 3);
    assert_int_equal(tiercel_event_wait(&ev, LONG_MS), 1);
    assert_int_equal(ev.error, -EBADF);
    assert_int_equal(tiercel_event_fini(&ev), 0);
    assert_int_equal(peer_hear(q), -EBADF);
    assert_int_equal(peer_ask(p, "put 1 1 200"), -EBADF); /* who still writes is told (E14) */
    assert_int_equal(peer_ask(p, "commit 1"), -EBADF);
    assert_int_equal(peer_ask(p, "close"), 0);
    assert_int_equal(peer_ask(p, "evict-pool"), 0);
    assert_int_equal(peer_ask(p, "open c %u", TIERCEL_RW), -EBADF); /* stale is the pool's handle, too */
    assert_int_equal(peer_ask(q, "open c %u", TIERCEL_RO), -EBADF);
    struct tiercel_pool_info info;
    assert_int_equal(tiercel_pool_query(x->pool, &info), -EBADF);
    peer_end(p);
    peer_end(q);
}

static void a_container_is_destroyed_under_another_process(void **state)
{
    struct scene *x = *state;
    struct peer *p = connected(x, TIERCEL_RO);
    assert_int_equal(tiercel_cont_destroy(x->pool, "c", 0, NULL), -EBUSY);
    peer_tell(p, "wait 1");
    assert_int_equal(tiercel_cont_destroy(x->pool, "c", TIERCEL_FORCE, NULL), 0);
    int64_t rc = peer_hear(p);
    assert_true(rc == -ENOENT || rc == -EBADF); /* it may look between the eviction and the end */
    rc = peer_ask(p, "ghce");
    assert_true(rc == -ENOENT || rc == -EBADF);
    assert_int_equal(peer_ask(p, "open c %u", TIERCEL_RO), -ENOENT);
    peer_end(p);
}

/* ---- connections ---- */

static void exclusive_means_nobody_else(void **state)
{
    struct scene *x = *state;
    struct peer *p = peer_start(x), *q = peer_start(x);
    assert_int_equal(peer_ask(p, "connect %u", TIERCEL_EX), -EBUSY);
    assert_int_equal(peer_ask(p, "connect %u", TIERCEL_RO), 0);
    assert_int_equal(tiercel_pool_disconnect(x->pool), 0);
    x->pool = NULL;
    assert_int_equal(tiercel_cont_close(x->cont), 0);
    x->cont = NULL;
    assert_int_equal(peer_ask(q, "connect %u", TIERCEL_EX), -EBUSY); /* p reads */
    assert_int_equal(tiercel_pool_destroy(x->where, 0, NULL), -EBUSY);
    assert_int_equal(peer_ask(p, "disconnect"), 0);
    assert_int_equal(peer_ask(q, "connect %u", TIERCEL_EX), 0);
    assert_int_equal(peer_ask(q, "open c %u", TIERCEL_RW), 0); /* exclusive is for writing */
    for (unsigned flags = TIERCEL_RO; flags <= TIERCEL_EX; flags *= 2) {
        struct tiercel_error err = {.code = 0};
        assert_int_equal(tiercel_pool_connect(&x->pool, x->where, flags, &err), -EBUSY);
        assert_non_null(strstr(err.message, x->where));
    }
    peer_kill(q); /* then it is free */
    assert_int_equal(tiercel_pool_connect(&x->pool, x->where, TIERCEL_EX, NULL), 0);
    assert_int_equal(tiercel_pool_disconnect(x->pool), 0);
    x->pool = NULL;
    peer_end(p);
}

static void a_pool_goes_when_nobody_is_connected_or_by_force(void **state)
{
    struct scene *x = *state;
    struct peer *p = connected(x, TIERCEL_RW);
    char where[sizeof x->where];
    strcpy(where, x->where);
    assert_int_equal(tiercel_pool_destroy(where, 0, NULL), -EBUSY); /* it is we */
    assert_int_equal(tiercel_cont_close(x->cont), 0);
    assert_int_equal(tiercel_pool_disconnect(x->pool), 0);
    x->cont = NULL;
    x->pool = NULL;
    assert_int_equal(tiercel_pool_destroy(where, 0, NULL), -EBUSY); /* it is p */
    assert_true(peer_ask(p, "ghce") == 0);
    peer_kill(p);
    assert_int_equal(tiercel_pool_destroy(where, 0, NULL), 0);
    struct tiercel_error err = {.code = 0};
    assert_int_equal(tiercel_pool_connect(&x->pool, where, TIERCEL_RO, &err), -ENOENT);
    assert_non_null(strstr(err.message, where));
    assert_int_equal(tiercel_pool_destroy(where, 0, NULL), -ENOENT);
    assert_int_equal(tiercel_pool_evict(where, NULL), -ENOENT);
}

/* ---- shared handles ---- */

static void ranks_write_as_one(void **state)
{
    struct scene *x = *state;
    struct peer *rank[3];
    const uint64_t epoch = held(x->cont, 0);
    for (uint64_t r = 0; r < 3; r++) {
        rank[r] = attached(x);
        assert_int_equal(peer_ask(rank[r], "lhe"), epoch);
        assert_int_equal(peer_ask(rank[r], "put %lu %lu %lu", epoch, r, 10 + r), 0);
        assert_int_equal(peer_ask(rank[r], "put %lu %lu %lu", epoch + 1, r, 20 + r), 0);
        assert_int_equal(peer_ask(rank[r], "flush %lu", epoch + (r == 2)), 0); /* only one of them further */
    }
    assert_int_equal(tiercel_epoch_commit(x->cont, epoch, NULL, NULL), 0);
    for (uint64_t r = 0; r < 3; r++) {
        assert_int_equal(got(x->cont, epoch, r), 10 + r);
        assert_int_equal(peer_ask(rank[r], "get %lu %lu", epoch, (r + 1) % 3), 10 + (r + 1) % 3);
        assert_int_equal(peer_ask(rank[r], "lhe"), epoch + 1);
        assert_int_equal(peer_ask(rank[r], "put %lu 1 1", epoch), -EROFS);
    }
    assert_int_equal(peer_ask(rank[0], "close"), 0); /* lets go: the handle stays open */
    assert_int_equal(peer_ask(rank[1], "put %lu 1 21", epoch + 1), 0);
    assert_int_equal(peer_ask(rank[1], "flush %lu", epoch + 1), 0);
    peer_kill(rank[2]);                                              /* does not end it, either */
    assert_int_equal(peer_ask(rank[1], "commit %lu", epoch + 1), 0); /* any of them may */
    assert_int_equal(got(x->cont, TIERCEL_EPOCH_NOW, 1), 21);
    assert_int_equal(tiercel_cont_close(x->cont), 0); /* who opened it ends it for all */
    x->cont = NULL;
    assert_int_equal(peer_ask(rank[1], "put %lu 1 1", epoch + 2), -EBADF);
    assert_int_equal(peer_ask(rank[1], "ghce"), -EBADF);
    peer_end(rank[0]);
    peer_end(rank[1]);
}

static void commits_in_order_see_commits_of_other_processes(void **state)
{
    struct scene *x = *state;
    struct tiercel_event ev, *out = NULL;
    const uint64_t epoch = held(x->cont, 0);
    struct peer *rank = attached(x);
    assert_int_equal(tiercel_event_init(&ev, x->q, NULL), 0);
    assert_int_equal(tiercel_epoch_commit_in_order(x->cont, epoch + 1, NULL, &ev), 0);
    assert_int_equal(tiercel_queue_poll(x->q, 10, &out, 1), 0);
    assert_int_equal(peer_ask(rank, "commit %lu", epoch), 0);
    assert_int_equal(tiercel_queue_poll(x->q, LONG_MS, &out, 1), 1);
    assert_int_equal(ev.error, 0);
    assert_int_equal(tiercel_event_fini(&ev), 0);
    assert_int_equal(peer_ask(rank, "lhe"), epoch + 2);
    peer_end(rank);
}

static void shared_handles_are_checked(void **state)
{
    struct scene *x = *state;
    uint8_t pool[512], cont[512];
    size_t pool_len = 0, cont_len = 0, small = 3;
    struct tiercel_cont *c = NULL;
    struct tiercel_pool *p = NULL;
    struct tiercel_error err = {.code = 0};
    assert_int_equal(tiercel_pool_local2global(x->pool, NULL, &pool_len), 0);
    assert_int_equal(tiercel_cont_local2global(x->cont, NULL, &cont_len), 0);
    assert_true(pool_len > 16 && pool_len < sizeof pool && cont_len > 16 && cont_len < sizeof cont);
    assert_int_equal(tiercel_pool_local2global(x->pool, pool, &small), -ENOBUFS);
    assert_int_equal(small, pool_len);
    small = 3;
    assert_int_equal(tiercel_cont_local2global(x->cont, cont, &small), -ENOBUFS);
    assert_int_equal(small, cont_len);
    assert_int_equal(tiercel_pool_local2global(x->pool, pool, &pool_len), 0);
    assert_int_equal(tiercel_cont_local2global(x->cont, cont, &cont_len), 0);
    assert_int_equal(tiercel_pool_global2local(&p, cont, cont_len, &err), -EINVAL); /* the wrong kind */
    assert_int_equal(tiercel_cont_global2local(&c, x->pool, pool, pool_len, &err), -EINVAL);
    assert_int_equal(tiercel_cont_global2local(&c, x->pool, cont, cont_len - 1, &err), -EINVAL);
    assert_true(strlen(err.message) > 10);
    assert_int_equal(tiercel_pool_global2local(&p, pool, pool_len, &err), 0); /* in the same process, too */
    assert_int_equal(tiercel_cont_global2local(&c, p, cont, cont_len, &err), 0);
    const uint64_t epoch = held(x->cont, 0);
    assert_int_equal(epochs_of(c).lhe, epoch);
    assert_int_equal(tiercel_cont_close(c), 0);
    assert_int_equal(epochs_of(x->cont).lhe, epoch);
    assert_int_equal(tiercel_cont_close(x->cont), 0);
    x->cont = NULL;
    assert_int_equal(tiercel_cont_global2local(&c, p, cont, cont_len, &err), -EBADF); /* stale */
    assert_int_equal(tiercel_pool_disconnect(p), 0);
}

/* ---- a child ---- */

static int child_of_fork(struct scene *x)
{
    struct tiercel_pool *pool = NULL;
    struct tiercel_cont *c = NULL;
    struct tiercel_event ev;
    uint64_t epoch = 0;
    if (tiercel_pool_connect(&pool, x->where, TIERCEL_RW, NULL) != 0)
        return 2;
    if (tiercel_cont_open(&c, pool, "c", TIERCEL_RW, NULL) != 0 || tiercel_epoch_hold(c, &epoch, NULL, NULL) != 0)
        return 3;
    if (put(c, epoch, 5, 55) != 0 || tiercel_event_init(&ev, NULL, NULL) != 0 ||
        tiercel_epoch_commit(c, epoch, NULL, &ev) != 0 || tiercel_event_wait(&ev, LONG_MS) != 1 || ev.error != 0)
        return 4;
    return tiercel_cont_close(c) != 0 || tiercel_pool_disconnect(pool) != 0 ? 5 : 0;
}

#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__has_feature)
#define THREAD_SANITIZER __has_feature(thread_sanitizer)
#else
#define THREAD_SANITIZER 0
#endif

static void a_child_opens_anew(void **state)
{
    struct scene *x = *state;
    struct tiercel_event ev;
    int status = 0;
    if (THREAD_SANITIZER)
        skip();                                               /* it allows no threads after fork */
    assert_int_equal(tiercel_event_init(&ev, x->q, NULL), 0); /* our worker runs: the child has none */
    assert_int_equal(tiercel_epoch_wait(x->cont, 1, NULL, &ev), 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        _exit(child_of_fork(x));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(tiercel_event_wait(&ev, LONG_MS), 1);
    assert_int_equal(ev.error, 0);
    assert_int_equal(tiercel_event_fini(&ev), 0);
    assert_int_equal(got(x->cont, TIERCEL_EPOCH_NOW, 5), 55);
}

/* ---- locks ---- */

static void locks_go_from_process_to_process(void **state)
{
    struct scene *x = *state;
    struct peer *p = connected(x, TIERCEL_RW);
    struct tiercel_lock *l = NULL;
    struct tiercel_lock_value v = {.valid = 0};
    struct tiercel_event ev;
    assert_int_equal(peer_ask(p, "lock a %u 0", TIERCEL_LOCK_EXCLUSIVE), 0);
    assert_int_equal(peer_ask(p, "lvb"), -1);
    assert_int_equal(tiercel_lock(x->cont, "a", TIERCEL_LOCK_EXCLUSIVE, 0, &l, &v, NULL), -EAGAIN);
    assert_int_equal(tiercel_event_init(&ev, x->q, NULL), 0);
    assert_int_equal(tiercel_lock(x->cont, "a", TIERCEL_LOCK_EXCLUSIVE, TIERCEL_FOREVER, &l, &v, &ev), 0);
    assert_int_equal(tiercel_event_wait(&ev, 10), 0);
    assert_int_equal(peer_ask(p, "unlock 17"), 0);
    assert_int_equal(tiercel_event_wait(&ev, LONG_MS), 1);
    assert_int_equal(ev.error, 0);
    assert_true(v.valid && v.epoch == 17);
    assert_int_equal(tiercel_event_fini(&ev), 0);
    peer_tell(p, "lock a %u -1", TIERCEL_LOCK_EXCLUSIVE);
    v.epoch = 18;
    assert_int_equal(tiercel_unlock(l, &v), 0);
    assert_int_equal(peer_hear(p), 0);
    assert_int_equal(peer_ask(p, "lvb"), 18);
    peer_kill(p); /* with the lock: what it was about to say is not known (E24) */
    assert_int_equal(tiercel_lock(x->cont, "a", TIERCEL_LOCK_EXCLUSIVE, LONG_MS, &l, &v, NULL), 0);
    assert_int_equal(v.valid, 0);
    assert_int_equal(tiercel_unlock(l, NULL), 0);
}

#define ROUNDS 10

/* Conflicting producers: the sum proves that no update was lost. */
static void a_counter_under_a_lock_loses_nothing(void **state)
{
    struct scene *x = *state;
    struct peer *p[2] = {connected(x, TIERCEL_RW), connected(x, TIERCEL_RW)};
    uint64_t last = 0;
    for (int i = 0; i < ROUNDS; i++) {
        struct peer *me = p[i % 2];
        assert_int_equal(peer_ask(me, "lock n %u -1", TIERCEL_LOCK_EXCLUSIVE), 0);
        int64_t lvb = peer_ask(me, "lvb");
        assert_int_equal(lvb, i == 0 ? -1 : (int64_t)last);
        int64_t epoch = peer_ask(me, "hold 0");
        assert_true(epoch > (int64_t)last);
        int64_t number = lvb < 0 ? 0 : peer_ask(me, "get %ld 1", (long)lvb);
        assert_int_equal(peer_ask(me, "put %ld 1 %ld", (long)epoch, (long)number + 1), 0);
        assert_int_equal(peer_ask(me, "commit %ld", (long)epoch), 0);
        assert_int_equal(peer_ask(me, "hold %lu", MAX), -1);
        assert_int_equal(peer_ask(me, "unlock %ld", (long)epoch), 0);
        last = (uint64_t)epoch;
    }
    assert_int_equal(got(x->cont, last, 1), ROUNDS);
    peer_end(p[0]);
    peer_end(p[1]);
}

#define test(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_consumer_is_woken_by_another_process),
        test(a_holder_keeps_the_final_epoch_back_until_it_dies),
        test(whoever_is_killed_has_written_nothing_since_its_commit),
        test(whoever_was_taken_for_dead_adds_nothing),
        test(evicted_are_all_processes),
        test(a_container_is_destroyed_under_another_process),
        test(exclusive_means_nobody_else),
        test(a_pool_goes_when_nobody_is_connected_or_by_force),
        test(ranks_write_as_one),
        test(commits_in_order_see_commits_of_other_processes),
        test(shared_handles_are_checked),
        test(a_child_opens_anew),
        test(locks_go_from_process_to_process),
        test(a_counter_under_a_lock_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
