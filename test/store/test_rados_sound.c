// SPDX-License-Identifier: Apache-2.0
/* The RADOS store at its limits, and where its threads and librados' meet: watches that are lost, processes that come and go, keys of any
 * bytes, large states, neighbours in the same RADOS pool. Runs inside `tools/rados-dev run`. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/prng.h"
#include "base/time.h"
#include "store/store.h"

static const struct tl_store_id id = {{1}};

static void make(char *where, size_t size, const char *data)
{
    static unsigned pools;
    const struct tl_store_config config = {.create = true};
    struct tl_store *s;
    struct tl_error err = {.code = 0};
    snprintf(where, size, "rados:///sound-%d-%u?pool=meta&data=%s&timeout=30&lease=3", (int)getpid(), pools++, data);
    if (tl_store_rados_open(&s, where, &config, &err) != 0)
        fail_msg("%s", err.msg);
    s->ops->close(s);
}

static struct tl_store *open_pool(const char *where)
{
    const struct tl_store_config config = {.create = false};
    struct tl_store *s = NULL;
    struct tl_error err = {.code = 0};
    if (tl_store_rados_open(&s, where, &config, &err) != 0)
        fprintf(stderr, "%s\n", err.msg);
    return s;
}

static void destroy(const char *where)
{
    struct tl_error err = {.code = 0};
    uint64_t end = tl_time_mono_ns() + 30 * TL_NS_PER_S;
    int rc;
    while ((rc = tl_store_rados_destroy(where, &err)) == -EBUSY && tl_time_mono_ns() < end)
        usleep(100000);
    if (rc != 0)
        fail_msg("%s", err.msg);
}

/* A command of the shell, in which $NS is the pool's namespace. */
static void sh(const char *where, const char *command)
{
    char text[1024];
    const char *space = where + strlen("rados:///");
    snprintf(text, sizeof text, "NS=%.*s; set -e; %s", (int)strcspn(space, "?"), space, command);
    int status = system(text); // NOLINT: a test's own words
    if (status != 0)
        fail_msg("%s: %d", text, status);
}

static int put_number(void *ctx, struct tl_store_tx *tx)
{
    return tx->ops->put(tx, (struct tl_slice){"n", 1}, (struct tl_slice){ctx, 4});
}

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
        if (x->s->ops->wait(x->s, &id, atomic_load(x->seen), 5000) == 0)
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
    make(where, sizeof where, "data");
    struct tl_store *s = open_pool(where), *other = open_pool(where);
    for (int i = 0; i < SLEEPERS; i++) {
        list[i] = (struct sleeper){.s = s, .stop = &stop, .seen = &seen};
        assert_int_equal(pthread_create(&list[i].thread, NULL, sleep_again_and_again, &list[i]), 0);
    }
    for (int k = 0; k < TIMES; k++) {
        uint32_t woken[SLEEPERS], now;
        for (int i = 0; i < SLEEPERS; i++)
            woken[i] = atomic_load(&list[i].woken);
        for (int i = 0; i <= k; i++) /* its generation begins anew, and ends above what was seen */
            assert_int_equal(other->ops->change(other, &id, put_number, "0001"), 0);
        for (int i = 0; i < SLEEPERS; i++) {
            for (int n = 0; n < 1000 && atomic_load(&list[i].woken) == woken[i]; n++)
                usleep(10000);
            assert_int_not_equal(atomic_load(&list[i].woken), woken[i]);
        }
        assert_int_equal(s->ops->changes(s, &id, &now), 0);
        atomic_store(&seen, now);
        if (k + 1 < TIMES)
            sh(where, "rados -p meta -N $NS rm s.01000000000000000000000000000000");
    }
    sh(where,
       "for i in $(seq 50); do n=$(rados -p meta -N $NS listwatchers s.01000000000000000000000000000000 | grep -c "
       "watcher=) || n=0; [ $n = 1 ] && exit 0; sleep .1; done; exit 1");
    atomic_store(&stop, 1);
    s->ops->wake(s, &id);
    for (int i = 0; i < SLEEPERS; i++)
        assert_int_equal(pthread_join(list[i].thread, NULL), 0);
    other->ops->close(other);
    s->ops->close(s);
    destroy(where);
}

/* ---- processes that come and go ---- */

static void *change_and_tell(void *arg)
{
    struct sleeper *x = arg;
    while (atomic_load(x->stop) == 0) {
        if (x->s->ops->change(x->s, &id, put_number, "0002") != 0)
            return x;
        x->s->ops->wake(x->s, &id);
    }
    return NULL;
}

static int come_and_go(const char *where, unsigned number)
{
    uint32_t seen = 0;
    struct tl_store_lock *l;
    struct tl_store_lock_value v;
    const struct tl_slice name = {"l", 1};
    struct tl_store *s = open_pool(where);
    if (s == NULL)
        return 1;
    (void)s->ops->changes(s, &id, &seen);
    (void)s->ops->wait(s, &id, seen, number % 7); /* often before the watch is there */
    if (s->ops->lock(s, &id, name, true, (int)(number % 5) * 10, NULL, &l, &v) == 0)
        (void)s->ops->unlock(s, l, &v);
    if (number % 3 == 0 && s->ops->change(s, &id, put_number, "0003") != 0)
        return 2;
    s->ops->wake(s, &id);
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
    _Atomic int stop = 0;
    void *failed;
    make(where, sizeof where, "data");
    struct tl_store *s = open_pool(where);
    struct sleeper changer = {.s = s, .stop = &stop};
    assert_int_equal(s->ops->change(s, &id, put_number, "0000"), 0);
    assert_int_equal(pthread_create(&changer.thread, NULL, change_and_tell, &changer), 0);
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
        struct tl_store *here = open_pool(where); /* and in this one */
        assert_non_null(here);
        uint32_t seen = 0;
        assert_int_equal(here->ops->changes(here, &id, &seen), 0);
        (void)here->ops->wait(here, &id, seen, ended % 7);
        here->ops->close(here);
    }
    atomic_store(&stop, 1);
    assert_int_equal(pthread_join(changer.thread, &failed), 0);
    assert_null(failed);
    s->ops->close(s);
    destroy(where);
}

/* ---- checks ---- */

static uint8_t bytes[100000], back[100000];

static int write_one(struct tl_store *s, const void *key, size_t key_len, size_t len)
{
    const struct tl_record r = {.key = {key, key_len}, .meta = {"about", 5}, .payload = {bytes, len}};
    return s->ops->write(s, &id, &r);
}

struct finding {
    uint8_t place[TL_STORE_PLACE_MAX];
    size_t place_len;
    unsigned count;
};

static int keep_last(void *ctx, const struct tl_found *f)
{
    struct finding *x = ctx;
    memcpy(x->place, f->place.at, f->place.len);
    x->place_len = f->place.len;
    x->count++;
    return 0;
}

/* How many begin so. */
static unsigned find(struct tl_store *s, struct finding *x, const void *prefix, size_t len)
{
    struct tl_slice p = {prefix, len};
    *x = (struct finding){.count = 0};
    assert_int_equal(s->ops->scan(s, &id, p, p, keep_last, x), 0);
    return x->count;
}

static uint64_t used_by(struct tl_store *s)
{
    struct tl_store_space space;
    assert_int_equal(s->ops->space(s, &space), 0);
    return space.used_bytes;
}

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
        struct tl_store *s = open_pool(where);
        for (char key = 'a'; key < 'u'; key++)
            if (s == NULL || write_one(s, (char[2]){key, 0}, 2, key < 'k' ? sizeof bytes : 10) != 0)
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
    struct finding x;
    unsigned recounts;
    make(where, sizeof where, "data,ec21");
    write_some_and_die(where);
    struct tl_store *s = open_pool(where);
    assert_int_equal(find(s, &x, "", 0), 20);
    assert_int_equal(used_by(s), 0);
    assert_int_equal(repair(s, &recounts), 0);
    assert_int_equal(recounts, 1);
    assert_true(used_by(s) > 10 * sizeof bytes && used_by(s) < 11 * sizeof bytes);
    assert_int_equal(repair(s, &recounts), 0);
    assert_int_equal(recounts, 0);
    for (unsigned i = 0; i < 20; i++) {
        names[i][0] = (char)('a' + i);
        names[i][1] = 0;
        keys[i] = (struct tl_slice){names[i], 2};
    }
    assert_int_equal(s->ops->erase(s, &id, keys, 20), 0);
    assert_int_equal(used_by(s), 0);
    s->ops->close(s);
    destroy(where);
}

/* Payloads behind an entry that makes no sense are named by records that were not looked at. */
static void a_repair_takes_nothing_away_that_a_damaged_index_may_name(void **state)
{
    (void)state;
    char where[256];
    struct finding x;
    unsigned recounts;
    make(where, sizeof where, "data");
    struct tl_store *s = open_pool(where);
    assert_int_equal(write_one(s, "key", 3, sizeof bytes), 0);
    assert_int_equal(s->ops->flush(s), 0);
    sh(where, "for o in $(rados -p meta -N $NS ls | grep ^i); do rados -p meta -N $NS setomapval $o \"$(printf "
              "'a\\001')\" damaged; done");
    assert_true(repair(s, &recounts) > 0);
    sh(where, "for o in $(rados -p meta -N $NS ls | grep ^i); do rados -p meta -N $NS rmomapkey $o \"$(printf "
              "'a\\001')\"; done");
    assert_int_equal(find(s, &x, "key", 3), 1);
    assert_int_equal(s->ops->read(s, (struct tl_slice){x.place, x.place_len}, 0, back, sizeof back), 0);
    assert_memory_equal(back, bytes, sizeof bytes);
    assert_int_equal(repair(s, &recounts), 0);
    s->ops->close(s);
    destroy(where);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watch_that_was_lost_is_begun_anew),
        cmocka_unit_test(processes_come_and_go_while_words_are_on_their_way),
        cmocka_unit_test(what_the_killed_have_used_is_counted_by_a_repair),
        cmocka_unit_test(a_repair_takes_nothing_away_that_a_damaged_index_may_name),
    };
    if (getenv("CEPH_CONF") == NULL) {
        puts("no cluster: run by tools/rados-dev");
        return 77;
    }
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
