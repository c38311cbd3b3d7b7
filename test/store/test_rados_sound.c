// SPDX-License-Identifier: Apache-2.0
/* The RADOS store where its threads and librados' meet: watches that are lost, processes that come and go, or are killed, neighbours in the
 * same RADOS pool. Runs inside `tools/rados-dev run`. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/time.h"
#include "store/cluster.h"

/* ---- watches ---- */

struct sleeper {
    struct tl_store *s;
    _Atomic int *stop;
    _Atomic uint32_t *seen; /* the number of changes that all have heard of */
    _Atomic uint32_t woken;
    pthread_t thread;
};

static void *sleep_again_and_again(void *arg)
{
    struct sleeper *x = arg;
    while (atomic_load(x->stop) == 0)
        if (x->s->ops->wait(x->s, &cluster_id, atomic_load(x->seen), 5000) == 0)
            atomic_fetch_add(&x->woken, 1);
    return NULL;
}

/* Its object is taken away under the watch again and again, and many threads that sleep find that at the same moment. */
static void a_watch_that_was_lost_is_begun_anew(void **state)
{
    (void)state;
    enum { SLEEPERS = 8, TIMES = 12 };
    struct sleeper list[SLEEPERS];
    _Atomic int stop = 0;
    _Atomic uint32_t seen = 0;
    char where[256];
    cluster_make(where, sizeof where, "data");
    struct tl_store *s = cluster_open(where), *other = cluster_open(where);
    for (int i = 0; i < SLEEPERS; i++) {
        list[i] = (struct sleeper){.s = s, .stop = &stop, .seen = &seen};
        assert_int_equal(pthread_create(&list[i].thread, NULL, sleep_again_and_again, &list[i]), 0);
    }
    for (int k = 0; k < TIMES; k++) {
        uint32_t woken[SLEEPERS], now;
        for (int i = 0; i < SLEEPERS; i++)
            woken[i] = atomic_load(&list[i].woken);
        for (int i = 0; i <= k; i++) /* its generation begins anew, and ends above what was seen */
            assert_int_equal(other->ops->change(other, &cluster_id, cluster_put_number, "0001"), 0);
        for (int i = 0; i < SLEEPERS; i++) {
            for (int n = 0; n < 1000 && atomic_load(&list[i].woken) == woken[i]; n++)
                usleep(10000);
            assert_int_not_equal(atomic_load(&list[i].woken), woken[i]);
        }
        assert_int_equal(s->ops->changes(s, &cluster_id, &now), 0);
        atomic_store(&seen, now);
        if (k + 1 < TIMES)
            cluster_sh(where, "rados -p meta -N $NS rm s.01000000000000000000000000000000");
    }
    cluster_sh(
        where,
        "for i in $(seq 50); do n=$(rados -p meta -N $NS listwatchers s.01000000000000000000000000000000 | grep -c "
        "watcher=) || n=0; [ $n = 1 ] && exit 0; sleep .1; done; exit 1");
    atomic_store(&stop, 1);
    s->ops->wake(s, &cluster_id);
    for (int i = 0; i < SLEEPERS; i++)
        assert_int_equal(pthread_join(list[i].thread, NULL), 0);
    other->ops->close(other);
    s->ops->close(s);
    cluster_destroy(where);
}

/* ---- processes that come and go ---- */

static int come_and_go(const char *where, unsigned number)
{
    uint32_t seen = 0;
    struct tl_store_lock *l;
    struct tl_store_lock_value v;
    const struct tl_slice name = {"l", 1};
    struct tl_store *s = cluster_open(where);
    if (s == NULL)
        return 1;
    (void)s->ops->changes(s, &cluster_id, &seen);
    (void)s->ops->wait(s, &cluster_id, seen, number % 7); /* often before the watch is there */
    if (s->ops->lock(s, &cluster_id, name, true, (int)(number % 5) * 10, NULL, &l, &v) == 0)
        (void)s->ops->unlock(s, l, &v);
    if (number % 3 == 0 && s->ops->change(s, &cluster_id, cluster_put_number, "0003") != 0)
        return 2;
    s->ops->wake(s, &cluster_id);
    s->ops->close(s);
    return 0;
}

/* Forked while librados' threads of the parent are busy; each of them is told things until its very end. */
static void processes_come_and_go_while_words_are_on_their_way(void **state)
{
    (void)state;
    enum { AT_ONCE = 4 };
    const char *env = getenv("TIERCEL_TEST_PROCESSES");
    unsigned wanted = env != NULL ? (unsigned)strtoul(env, NULL, 10) : 60, begun = 0;
    char where[256];
    struct cluster_changer changer;
    cluster_make(where, sizeof where, "data");
    struct tl_store *s = cluster_open(where);
    assert_int_equal(s->ops->change(s, &cluster_id, cluster_put_number, "0000"), 0);
    cluster_change_begin(&changer, s);
    for (unsigned ended = 0; ended < wanted; ended++) {
        for (; begun < wanted && begun < ended + AT_ONCE; begun++) {
            pid_t pid = fork();
            assert_true(pid >= 0);
            if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                alarm(60);
                _exit(come_and_go(where, begun));
            }
        }
        int status;
        assert_true(wait(&status) > 0);
        if (status != 0)
            fail_msg("a process has ended with %s %d", WIFSIGNALED(status) ? "signal" : "code",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        struct tl_store *here = cluster_open(where); /* and in this one */
        assert_non_null(here);
        uint32_t seen = 0;
        assert_int_equal(here->ops->changes(here, &cluster_id, &seen), 0);
        (void)here->ops->wait(here, &cluster_id, seen, ended % 7);
        here->ops->close(here);
    }
    cluster_change_end(&changer);
    s->ops->close(s);
    cluster_destroy(where);
}

/* ---- checks ---- */

static void count_words(void *ctx, const char *finding)
{
    *(unsigned *)ctx += strstr(finding, "bytes were counted") != NULL;
}

/* As soon as the leases of those who were killed have ended. */
static int repair(struct tl_store *s, unsigned *recounts)
{
    uint64_t end = tl_time_mono_ns() + 30 * TL_NS_PER_S;
    int rc;
    *recounts = 0;
    while ((rc = (s->ops->check)(s, true, count_words, recounts)) == -EBUSY && tl_time_mono_ns() < end)
        usleep(100000);
    return rc;
}

static void write_some_and_die(const char *where)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct tl_store *s = cluster_open(where);
        for (char key = 'a'; key < 'u'; key++)
            if (s == NULL || cluster_write(s, (char[2]){key, 0}, 2, key < 'k' ? CLUSTER_PAYLOAD_MAX : 10) != 0)
                _exit(1);
        if (s->ops->flush(s) != 0)
            _exit(2);
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void what_the_killed_have_used_is_counted_by_a_repair(void **state)
{
    (void)state;
    char where[256], names[20][2];
    struct tl_slice keys[20];
    struct cluster_found x;
    unsigned recounts;
    cluster_make(where, sizeof where, "data,ec21");
    write_some_and_die(where);
    struct tl_store *s = cluster_open(where);
    assert_int_equal(cluster_find(s, &x, "", 0), 20);
    assert_int_equal(cluster_used(s), 0);
    assert_int_equal(repair(s, &recounts), 0);
    assert_int_equal(recounts, 1);
    assert_true(cluster_used(s) > 10 * CLUSTER_PAYLOAD_MAX && cluster_used(s) < 11 * CLUSTER_PAYLOAD_MAX);
    assert_int_equal(repair(s, &recounts), 0);
    assert_int_equal(recounts, 0);
    for (unsigned i = 0; i < 20; i++) {
        names[i][0] = (char)('a' + i);
        names[i][1] = 0;
        keys[i] = (struct tl_slice){names[i], 2};
    }
    assert_int_equal(s->ops->erase(s, &cluster_id, keys, 20), 0);
    assert_int_equal(cluster_used(s), 0);
    s->ops->close(s);
    cluster_destroy(where);
}

/* Payloads behind an entry that makes no sense are named by records that were not looked at. */
static void a_repair_takes_nothing_away_that_a_damaged_index_may_name(void **state)
{
    (void)state;
    char where[256];
    struct cluster_found x;
    unsigned recounts;
    cluster_make(where, sizeof where, "data");
    struct tl_store *s = cluster_open(where);
    assert_int_equal(cluster_write(s, "key", 3, CLUSTER_PAYLOAD_MAX), 0);
    assert_int_equal(s->ops->flush(s), 0);
    cluster_sh(where, "for o in $(rados -p meta -N $NS ls | grep ^i); do rados -p meta -N $NS setomapval $o \"$(printf "
                      "'a\\001')\" damaged; done");
    assert_true(repair(s, &recounts) > 0);
    cluster_sh(where, "for o in $(rados -p meta -N $NS ls | grep ^i); do rados -p meta -N $NS rmomapkey $o \"$(printf "
                      "'a\\001')\"; done");
    assert_int_equal(cluster_find(s, &x, "key", 3), 1);
    cluster_compare(s, &x);
    assert_int_equal(repair(s, &recounts), 0);
    s->ops->close(s);
    cluster_destroy(where);
}

/* ---- neighbours ---- */

/* Another pool in the same RADOS pools, and objects of none. */
static void neighbours_are_left_alone(void **state)
{
    (void)state;
    char where[256], beside[256];
    struct cluster_found x;
    unsigned recounts;
    cluster_make(where, sizeof where, "data");
    cluster_make(beside, sizeof beside, "data");
    cluster_sh(where, "echo x | rados -p data put d.left -; echo x | rados -p meta put s.left -");
    struct tl_store *s = cluster_open(where), *other = cluster_open(beside);
    assert_int_equal(cluster_write(s, "here", 4, CLUSTER_PAYLOAD_MAX), 0);
    assert_int_equal(s->ops->flush(s), 0);
    assert_int_equal(cluster_write(other, "there", 5, CLUSTER_PAYLOAD_MAX), 0);
    assert_int_equal(other->ops->flush(other), 0);
    assert_int_equal(other->ops->change(other, &cluster_id, cluster_put_number, "0005"), 0);
    assert_int_equal(cluster_find(s, &x, "", 0), 1);
    assert_int_equal(repair(s, &recounts), 0);
    assert_int_equal(other->ops->claim(other, 5, true), 0);
    assert_int_equal(s->ops->claimed(s, 5), 0);
    s->ops->close(s);
    cluster_destroy(where);
    assert_int_equal(cluster_find(other, &x, "there", 5), 1);
    cluster_compare(other, &x);
    assert_int_equal(other->ops->claimed(other, 5), 1);
    other->ops->close(other);
    cluster_destroy(beside);
    cluster_sh(where, "rados -p data rm d.left; rados -p meta rm s.left");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watch_that_was_lost_is_begun_anew),
        cmocka_unit_test(processes_come_and_go_while_words_are_on_their_way),
        cmocka_unit_test(what_the_killed_have_used_is_counted_by_a_repair),
        cmocka_unit_test(a_repair_takes_nothing_away_that_a_damaged_index_may_name),
        cmocka_unit_test(neighbours_are_left_alone),
    };
    if (!cluster_is_there())
        return 77;
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
