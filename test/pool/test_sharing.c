// SPDX-License-Identifier: Apache-2.0
/* Pools between processes: writing as one, committing at the same time, connections, handles as bytes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/prng.h"
#include "pool/internal.h"
#include "pool/place.h"
#include "pool/table.h"

/* ---- writing as one ---- */

enum { WRITERS = 3, PIECES = 40, PIECE = 500 };

static int write_every_third(void *ctx)
{
    struct table *t = ctx;
    struct tl_pool *pool;
    struct tl_cont *c;
    uint8_t piece[PIECE];
    if (!attach(t, &pool, &c))
        return 2;
    for (unsigned i = t->number; i < PIECES; i += WRITERS) {
        memset(piece, (int)(i + 1), sizeof piece);
        if (put_array(c, 1, 1, 1, (uint64_t)i * PIECE, PIECE, piece) != 0)
            return 3;
        if (i == 17 && flush(c, 1) != 0) /* in between, too */
            return 4;
    }
    if (flush(c, 1) != 0)
        return 5;
    if (!leave(pool, c))
        return 6;
    return 0;
}

static void ranks_write_one_chunk_as_one(void **state)
{
    (void)state;
    struct scene x;
    struct table *t = table_new(&x);
    int pids[WRITERS];
    for (unsigned i = 0; i < WRITERS; i++) {
        t->number = i;
        pids[i] = -1;
        struct table *own = malloc(sizeof *own); /* the child's copy of the number */
        memcpy(own, t, sizeof *own);
        pids[i] = child_begin(write_every_third, own);
        free(own);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(child_end(pids[i]), 0);
    assert_int_equal(commit(x.cont, 1), 0);
    static uint8_t out[PIECES * PIECE];
    assert_int_equal(get_array(x.cont, 0, 1, 1, 0, sizeof out, out), 0);
    for (unsigned i = 0; i < sizeof out; i++)
        assert_int_equal(out[i], i / PIECE + 1);
    table_free(t, &x);
}

static int answer_each_write(void *ctx)
{
    struct table *t = ctx;
    struct tl_pool *pool;
    struct tl_cont *c;
    if (!attach(t, &pool, &c))
        return 2;
    while (tell(t->up[1]) && hear(t->down[0]) && t->done == 0)
        if (put_single(c, 1, 1, "a", "child") != 0)
            return 3;
    return flush(c, 1) == 0 && leave(pool, c) ? 0 : 4;
}

/* Who writes after he has heard of another's write has the last word, however fast that goes. */
static void the_later_write_counts_whoever_writes(void **state)
{
    (void)state;
    struct scene x;
    struct table *t = table_new(&x);
    int pid = child_begin(answer_each_write, t);
    for (int i = 0; i < 50; i++) {
        assert_true(hear(t->up[0]));
        for (int k = 0; k < 20; k++) /* many at the same moment */
            assert_int_equal(put_single(x.cont, 1, 1, "a", "parent"), 0);
        assert_true(tell(t->down[1]));
    }
    assert_true(hear(t->up[0]));
    t->done = 1;
    assert_true(tell(t->down[1]));
    assert_int_equal(child_end(pid), 0);
    assert_int_equal(commit(x.cont, 1), 0);
    assert_true(is_single(x.cont, 0, 1, "a", "child"));
    table_free(t, &x);
}

static int commit_some(void *ctx)
{
    struct table *t = ctx;
    struct tl_pool *pool;
    struct tl_cont *c;
    char akey[16];
    if (!come(t, "c", &pool, &c))
        return 2;
    for (unsigned i = 0; i < 8; i++) {
        uint64_t epoch;
        snprintf(akey, sizeof akey, "%u.%u", (unsigned)getpid(), i);
        if (hold(c, 0, &epoch) != 0 || put_single(c, epoch, 1, akey, akey) != 0 || commit(c, epoch) != 0)
            return 3;
    }
    return leave(pool, c) ? 0 : 4;
}

static void many_commit_at_the_same_time(void **state)
{
    (void)state;
    struct scene x;
    struct table *t = table_new(&x);
    int pids[3];
    char akey[16];
    assert_int_equal(hold(x.cont, TIERCEL_EPOCH_MAX, NULL), 0);
    for (int i = 0; i < 3; i++)
        pids[i] = child_begin(commit_some, t);
    for (int i = 0; i < 3; i++)
        assert_int_equal(child_end(pids[i]), 0);
    for (int i = 0; i < 3; i++) {
        for (unsigned k = 0; k < 8; k++) {
            snprintf(akey, sizeof akey, "%u.%u", (unsigned)pids[i], k);
            assert_true(is_single(x.cont, 0, 1, akey, akey));
        }
    }
    table_free(t, &x);
}

/* ---- connecting ---- */

static int connect_as(void *ctx)
{
    const struct table *t = ctx;
    struct tl_pool *pool = NULL;
    struct tl_error err = {.code = 0};
    int rc = tl_pool_connect(&pool, t->where, t->number, &err);
    if (rc == 0)
        tl_pool_disconnect(pool);
    return -rc;
}

static int try_to_connect(struct table *t, unsigned flags)
{
    t->number = flags;
    return child_end(child_begin(connect_as, t));
}

static int connect_exclusively_and_stay(void *ctx)
{
    const struct table *t = ctx;
    struct tl_pool *pool = scene_connect(t->where, TIERCEL_EX);
    if (pool == NULL || !tell(t->up[1]))
        return 2;
    (void)!hear(t->down[0]);
    return 3;
}

static void exclusive_is_alone(void **state)
{
    (void)state;
    struct scene x;
    struct tl_error err = {.code = 0};
    struct tl_pool *second = NULL, *third = NULL;
    struct table *t = table_new(&x);
    assert_int_equal(try_to_connect(t, TIERCEL_RW), 0);
    assert_int_equal(try_to_connect(t, TIERCEL_EX), EBUSY);
    assert_int_equal(tl_pool_connect(&second, x.where, TIERCEL_EX, &err), -EBUSY);
    assert_int_equal(tl_pool_connect(&second, x.where, TIERCEL_RO, &err), 0); /* two of one process */
    assert_int_equal(tl_cont_close(x.cont), 0);
    assert_int_equal(tl_pool_disconnect(x.pool), 0);
    assert_int_equal(try_to_connect(t, TIERCEL_EX), EBUSY); /* the second is there still */
    x.cont = scene_open(second, "c", TIERCEL_RO);
    assert_int_equal(epochs(x.cont).ghce, 0);
    assert_int_equal(tl_cont_close(x.cont), 0);
    assert_int_equal(tl_pool_disconnect(second), 0);
    x.pool = NULL;
    int pid = child_begin(connect_exclusively_and_stay, t);
    assert_true(hear(t->up[0]));
    assert_int_equal(try_to_connect(t, TIERCEL_RO), EBUSY);
    assert_int_equal(tl_pool_connect(&third, x.where, TIERCEL_RW, &err), -EBUSY);
    child_kill(&x, pid);
    x.pool = scene_connect(x.where, TIERCEL_EX); /* freed with its process */
    assert_int_equal(try_to_connect(t, TIERCEL_RO), EBUSY);
    x.cont = scene_open(x.pool, "c", TIERCEL_RW);
    assert_int_equal(hold(x.cont, 1, NULL), 0);
    table_free(t, &x);
}

static void global_handles_are_checked(void **state)
{
    (void)state;
    struct scene x;
    struct tl_prng p;
    struct tl_error err = {.code = 0};
    struct table *t = table_new(&x);
    tl_prng_init(&p, 3, 0);
    size_t len = 0;
    tl_pool_lock(x.pool);
    assert_int_equal(tl_cont_local2global(x.cont, NULL, &len), 0);
    assert_int_equal(len, t->cont_len);
    uint8_t b[600];
    len--;
    assert_int_equal(tl_cont_local2global(x.cont, b, &len), -ENOBUFS);
    assert_int_equal(len, t->cont_len);
    for (unsigned i = 0; i < 2000; i++) {
        struct tl_cont *c = NULL;
        memcpy(b, t->cont, t->cont_len);
        len = i % 3 == 0 ? tl_prng_below(&p, t->cont_len + 1) : t->cont_len;
        for (unsigned k = 0; i % 3 != 0 && k < 1 + i % 2; k++)
            b[tl_prng_below(&p, len)] ^= (uint8_t)(1u << tl_prng_below(&p, 8));
        err.code = 0;
        if (tl_cont_global2local(&c, x.pool, b, len, &err) == 0) /* the name, or the flags */
            tl_cont_drop(c);
        else
            assert_true(err.code < 0 && err.msg[0] != 0);
    }
    tl_pool_unlock(x.pool);
    for (unsigned i = 0; i < 200; i++) {
        struct tl_pool *other = NULL;
        uint8_t g[4400];
        memcpy(g, t->pool, t->pool_len);
        len = i % 3 == 0 ? tl_prng_below(&p, t->pool_len + 1) : t->pool_len;
        if (i % 3 != 0)
            g[tl_prng_below(&p, len)] ^= (uint8_t)(1u << tl_prng_below(&p, 8));
        if (tl_pool_global2local(&other, g, len, &err) == 0)
            assert_int_equal(tl_pool_disconnect(other), 0);
    }
    /* It is everybody's until its first process closes it. */
    struct tl_cont *again = NULL, *more = NULL;
    tl_pool_lock(x.pool);
    assert_int_equal(tl_cont_global2local(&again, x.pool, t->cont, t->cont_len, &err), 0);
    assert_int_equal(tl_cont_global2local(&more, x.pool, t->cont, t->cont_len, &err), 0);
    tl_pool_unlock(x.pool);
    assert_int_equal(put_single(again, 1, 1, "a", "v"), 0);
    assert_int_equal(flush(again, 1), 0);
    assert_int_equal(tl_cont_close(more), 0);
    assert_true(is_single(x.cont, 1, 1, "a", "v"));
    assert_int_equal(tl_cont_close(x.cont), 0);
    assert_int_equal(put_single(again, 1, 1, "a", "v"), -EBADF);
    tl_pool_lock(x.pool);
    assert_int_equal(tl_cont_global2local(&more, x.pool, t->cont, t->cont_len, &err), -EBADF);
    tl_pool_unlock(x.pool);
    x.cont = again;
    table_free(t, &x);
}

/* Of a user who may read the files, and no more. */
static int only_read(void *ctx)
{
    const struct table *t = ctx;
    struct tl_error err = {.code = 0};
    struct tl_pool *pool = NULL;
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        return 1;
    if (tl_pool_connect(&pool, t->where, TIERCEL_RW, &err) != -EROFS)
        return 2;
    int rc = tl_pool_connect(&pool, t->where, TIERCEL_RO, &err);
    if (rc != 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 3;
    }
    struct tl_cont *c = scene_open(pool, "c", TIERCEL_RO);
    if (c == NULL || !is_single(c, 0, 1, "a", "v") || epochs(c).ghce != 1)
        return 4;
    if (put_single(c, 2, 1, "a", "w") != -EACCES || hold(c, 0, NULL) == 0 || snapshot(c, 1, true) == 0)
        return 5;
    tl_pool_lock(pool);
    rc = tl_cont_create(pool, "e", NULL, &err);
    tl_pool_unlock(pool);
    if (rc != -EACCES)
        return 6;
    return leave(pool, c) ? 0 : 7;
}

static void a_pool_that_cannot_be_written_is_read(void **state)
{
    (void)state;
    static const char *const files[] = {"pool", "meta.mdb", "meta.mdb-lock", "page", "owners", "locks", "ext.0"};
    struct scene x;
    char path[256];
    if (place_lease_s() > 0)
        skip(); /* files are what it is about */
    struct table *t = table_new(&x);
    assert_int_equal(put_single(x.cont, 1, 1, "a", "v"), 0);
    assert_int_equal(commit(x.cont, 1), 0);
    assert_int_equal(tl_cont_close(x.cont), 0);
    assert_int_equal(tl_pool_disconnect(x.pool), 0);
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", x.where, files[i]);
        (void)!chmod(path, 0444);
    }
    assert_int_equal(chmod(x.where, 0555), 0);
    assert_int_equal(child_end(child_begin(only_read, t)), 0);
    assert_int_equal(chmod(x.where, 0700), 0);
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", x.where, files[i]);
        (void)!chmod(path, 0600);
    }
    x.pool = scene_connect(x.where, TIERCEL_RW);
    x.cont = scene_open(x.pool, "c", TIERCEL_RO);
    table_free(t, &x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_write_one_chunk_as_one), cmocka_unit_test(the_later_write_counts_whoever_writes),
        cmocka_unit_test(many_commit_at_the_same_time), cmocka_unit_test(exclusive_is_alone),
        cmocka_unit_test(global_handles_are_checked),   cmocka_unit_test(a_pool_that_cannot_be_written_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
