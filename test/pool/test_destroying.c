// SPDX-License-Identifier: Apache-2.0
/* Being evicted, having one's container destroyed, and disks that are full. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "base/prng.h"
#include "pool/internal.h"
#include "pool/place.h"
#include "pool/table.h"

/* ---- being evicted, destroyed ---- */

/* Writes until it is told off; which error that was. */
static int write_until_refused(void *ctx)
{
    struct table *t = ctx;
    struct tl_pool *pool;
    struct tl_cont *c;
    char v[16];
    int rc = 0;
    if (!come(t, t->number == 0 ? "c" : "d", &pool, &c) || hold(c, 100, NULL) != 0)
        return 1;
    for (unsigned i = 0; rc == 0 && i < 10000000; i++) {
        snprintf(v, sizeof v, "%u", i);
        rc = put_single(c, 100, 1, "a", v);
        rc = rc == 0 && i % 16 == 0 ? flush(c, 100) : rc;
        if (i == 20 && !tell(t->up[1]))
            return 2;
    }
    int later = commit(c, 100), last = hold(c, 101, NULL);
    if ((rc != -EBADF && rc != -ENOENT) || (later != rc && later != -ENOENT) || (last != later && last != -ENOENT))
        return 3;
    if (t->number == 1 && !hear(t->down[0])) /* until it is not there any more */
        return 4;
    rc = put_single(c, 100, 1, "a", "v");
    if (!leave(pool, c))
        return 5;
    return -rc;
}

static void who_is_evicted_while_writing_is_told(void **state)
{
    (void)state;
    for (int how = 0; how < 2; how++) {
        struct scene x;
        struct tl_error err = {.code = 0};
        struct table *t = table_new(&x);
        int pid = child_begin(write_until_refused, t);
        assert_true(hear(t->up[0]));
        tl_pool_lock(x.pool);
        assert_int_equal(how == 0 ? tl_cont_evict(x.pool, "c", &err) : 2, 2); /* ours, too */
        tl_pool_unlock(x.pool);
        assert_int_equal(how == 1 ? tl_pool_evict(x.where, &err) : 0, 0);
        assert_int_equal(child_end(pid), EBADF);
        assert_int_equal(tl_cont_close(x.cont), 0);
        assert_int_equal(tl_pool_disconnect(x.pool), 0);
        x.pool = scene_connect(x.where, TIERCEL_RW);
        x.cont = scene_open(x.pool, "c", TIERCEL_RW);
        assert_true(is_single(x.cont, 200, 1, "a", NULL));
        table_free(t, &x);
    }
}

static int create(struct tl_pool *p, const char *label)
{
    struct tl_error err = {.code = 0};
    tl_pool_lock(p);
    int rc = tl_cont_create(p, label, NULL, &err);
    tl_pool_unlock(p);
    return rc;
}

static int destroy(struct tl_pool *p, const char *label, unsigned flags)
{
    struct tl_error err = {.code = 0};
    tl_pool_lock(p);
    int rc = tl_cont_destroy(p, label, flags, &err);
    tl_pool_unlock(p);
    return rc;
}

static int count_one(void *ctx, const struct tl_found *f)
{
    (void)f;
    ++*(unsigned *)ctx;
    return 0;
}

/* Records that the store has of a container. */
static unsigned records_of(struct tl_pool *p, const struct tl_store_id *id)
{
    const struct tl_slice none = {"", 0};
    unsigned n = 0;
    struct tl_store *s = p->shared->store;
    assert_int_equal(s->ops->scan(s, id, none, none, count_one, &n), 0);
    return n;
}

static void a_container_is_destroyed_under_its_writers(void **state)
{
    (void)state;
    struct scene x;
    struct table *t = table_new(&x);
    assert_int_equal(create(x.pool, "d"), 0);
    t->number = 1;
    struct tl_cont *d = scene_open(x.pool, "d", TIERCEL_RO);
    const struct tl_store_id id = d->id;
    int pid = child_begin(write_until_refused, t);
    assert_true(hear(t->up[0]));
    assert_int_equal(put_single(x.cont, 1, 1, "a", "stays"), 0);
    assert_int_equal(destroy(x.pool, "d", 0), -EBUSY);
    assert_int_equal(destroy(x.pool, "nothing", 0), -ENOENT);
    assert_int_equal(destroy(x.pool, "d", TIERCEL_FORCE), 0);
    assert_int_equal(destroy(x.pool, "d", TIERCEL_FORCE), -ENOENT);
    assert_true(tell(t->down[1]));
    assert_int_equal(child_end(pid), ENOENT);
    struct tiercel_io io = {.akey = text("a")};
    assert_int_equal(fetch(d, 0, oid_of(1), text("d"), 0, &io, 1), -ENOENT);
    assert_int_equal(tl_cont_close(d), 0);
    assert_int_equal(commit(x.cont, 1), 0); /* which takes over whatever was flushed late */
    assert_int_equal(records_of(x.pool, &id), 0);
    assert_true(is_single(x.cont, 0, 1, "a", "stays"));
    assert_int_equal(create(x.pool, "d"), 0); /* the label is free */
    table_free(t, &x);
}

static int destroy_it(void *ctx)
{
    struct table *t = ctx;
    struct tl_pool *pool = scene_connect(t->where, TIERCEL_RW);
    if (pool == NULL || !tell(t->up[1]))
        return 2;
    return destroy(pool, "big", 0) == 0 && tl_pool_disconnect(pool) == 0 ? 0 : 3;
}

static void what_was_left_of_a_container_is_taken_away(void **state)
{
    (void)state;
    struct scene x;
    struct tl_prng p;
    struct tl_error err = {.code = 0};
    if (place_lease_s() > 0)
        skip(); /* what somebody had asked for before he was killed may still happen in between */
    struct table *t = table_new(&x);
    tl_prng_init(&p, (uint64_t)getpid(), 0);
    for (int round = 0; round < 4; round++) {
        assert_int_equal(create(x.pool, "big"), 0);
        struct tl_cont *c = scene_open(x.pool, "big", TIERCEL_RW);
        const struct tl_store_id id = c->id;
        char akey[16];
        assert_int_equal(hold(c, 1, NULL), 0);
        for (unsigned i = 0; i < 3000; i++) {
            snprintf(akey, sizeof akey, "%u", i);
            assert_int_equal(put_single(c, 1, i % 7, akey, "v"), 0);
        }
        assert_int_equal(commit(c, 1), 0);
        assert_int_equal(tl_cont_close(c), 0);
        assert_int_equal(records_of(x.pool, &id), 3000);
        int pid = child_begin(destroy_it, t);
        assert_true(hear(t->up[0]));
        struct timespec some = {.tv_nsec = (long)tl_prng_below(&p, 12000000)};
        nanosleep(&some, NULL); /* a moment to be killed in */
        kill(pid, SIGKILL);
        int how = child_end(pid);
        assert_true(how == 0 || how == -SIGKILL);
        /* What LMDB had committed when it was killed shows from the next transaction on, at the latest. */
        assert_int_equal(commit(x.cont, (uint64_t)round + 1), 0);
        struct tl_pool *next = NULL; /* whoever connects next cleans up */
        assert_int_equal(tl_pool_connect(&next, x.where, TIERCEL_RW, &err), 0);
        unsigned left = records_of(x.pool, &id);
        assert_true(left == 0 || left == 3000);
        if (left == 3000)
            assert_int_equal(destroy(x.pool, "big", 0), 0); /* it had not begun */
        assert_int_equal(records_of(x.pool, &id), 0);
        assert_int_equal(tl_pool_disconnect(next), 0);
    }
    table_free(t, &x);
}

/* ---- a full disk ---- */

static void tell_finding(void *ctx, const char *finding)
{
    (void)ctx;
    fprintf(stderr, "check: %s\n", finding);
}

static int check_pool(struct tl_pool *p)
{
    tl_pool_lock(p);
    int rc = tl_pool_check(p, false, tell_finding, NULL);
    tl_pool_unlock(p);
    return rc;
}

static int aggregate(struct tl_cont *c)
{
    struct tl_aggregation a = {.stage = 0};
    int rc = 1;
    tl_pool_lock(tl_cont_pool(c));
    while (rc == 1)
        rc = tl_cont_aggregate(c, &a);
    tl_pool_unlock(tl_cont_pool(c));
    return rc;
}

/* Fills it up from `epoch` on; which error ended that. */
static int fill_up(struct tl_cont *c, uint64_t epoch)
{
    static uint8_t bytes[300000];
    int rc = 0;
    memset(bytes, 'x', sizeof bytes);
    for (uint64_t i = 0; rc == 0 && i < 1000; i++) {
        rc = put_array(c, epoch, 9, 1, i * sizeof bytes, sizeof bytes, bytes);
        rc = rc == 0 && i % 8 == 7 ? flush(c, epoch) : rc;
    }
    return rc;
}

enum { NOT_HERE = 77 };

/* In a file system of its own, which ends with the process. */
static int fill_a_disk(void *ctx)
{
    const struct table *t = ctx;
    struct tl_error err = {.code = 0};
    char path[160];
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", t->where, "tmpfs", 0, "size=40m") != 0)
        return NOT_HERE;
    snprintf(path, sizeof path, "%s/pool", t->where);
    if (tl_pool_create(path, NULL, &err) != 0)
        return 1;
    struct tl_pool *pool = scene_connect(path, TIERCEL_RW);
    if (pool == NULL || create(pool, "c") != 0)
        return 2;
    struct tl_cont *c = scene_open(pool, "c", TIERCEL_RW);
    if (c == NULL || hold(c, 1, NULL) != 0 || put_single(c, 1, 1, "a", "one") != 0 || commit(c, 1) != 0)
        return 3;
    for (uint64_t round = 0; round < 3; round++) {
        uint64_t epoch = 2 + round;
        if (fill_up(c, epoch) != -ENOSPC)
            return 4;
        if (!is_single(c, 0, 1, "a", round == 0 ? "one" : "more") || discard(c, epoch, epoch) != 0)
            return 5;
        if (aggregate(c) != 0) /* gives back what was discarded */
            return 6;
        if (put_single(c, epoch, 1, "a", "more") != 0 || commit(c, epoch) != 0 || !is_single(c, 0, 1, "a", "more"))
            return 7;
    }
    return check_pool(pool) == 0 && leave(pool, c) ? 0 : 8;
}

static void a_full_disk_is_told_and_work_goes_on(void **state)
{
    (void)state;
    struct scene x;
    if (place_lease_s() > 0)
        skip(); /* disks are what it is about */
    struct table *t = table_new(&x);
    snprintf(t->where, sizeof t->where, "%s/tl-full-XXXXXX", place_base());
    assert_non_null(mkdtemp(t->where));
    int rc = child_end(child_begin(fill_a_disk, t));
    assert_int_equal(rmdir(t->where), 0);
    table_free(t, &x);
    if (rc == NOT_HERE) {
        print_message("a file system of its own needs root: skipped\n");
        skip();
    }
    assert_int_equal(rc, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_evicted_while_writing_is_told),
        cmocka_unit_test(a_container_is_destroyed_under_its_writers),
        cmocka_unit_test(what_was_left_of_a_container_is_taken_away),
        cmocka_unit_test(a_full_disk_is_told_and_work_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
