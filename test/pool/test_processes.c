// SPDX-License-Identifier: Apache-2.0
/* Pools between processes: sharing a handle, dying at any time, being evicted and destroyed under way. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/prng.h"
#include "pool/internal.h"
#include "pool/scene.h"

/* What processes tell each other: pages that they share, and bytes in pipes to wait for. */
struct table {
    char where[128];
    uint8_t pool[4400], cont[512]; /* global handles */
    size_t pool_len, cont_len;
    int up[2], down[2]; /* children write to up, the parent to down */
    _Atomic uint64_t done;
    unsigned number;
};

static struct table *table_new(const struct scene *x)
{
    struct table *t = mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(t != MAP_FAILED);
    memcpy(t->where, x->where, sizeof t->where);
    t->pool_len = sizeof t->pool;
    t->cont_len = sizeof t->cont;
    tl_pool_lock(x->pool);
    assert_int_equal(tl_pool_local2global(x->pool, t->pool, &t->pool_len), 0);
    assert_int_equal(tl_cont_local2global(x->cont, t->cont, &t->cont_len), 0);
    tl_pool_unlock(x->pool);
    assert_int_equal(pipe2(t->up, O_CLOEXEC), 0);
    assert_int_equal(pipe2(t->down, O_CLOEXEC), 0);
    return t;
}

static void table_free(struct table *t)
{
    for (int i = 0; i < 2; i++) {
        close(t->up[i]);
        close(t->down[i]);
    }
    munmap(t, sizeof *t);
}

static bool tell(int fd)
{
    return write(fd, "", 1) == 1;
}

static bool hear(int fd)
{
    char c;
    return read(fd, &c, 1) == 1;
}

/* The same handle in another process. */
static bool attach(struct table *t, struct tl_pool **pool, struct tl_cont **c)
{
    struct tl_error err = {.code = 0};
    if (tl_pool_global2local(pool, t->pool, t->pool_len, &err) != 0)
        return false;
    tl_pool_lock(*pool);
    int rc = tl_cont_global2local(c, *pool, t->cont, t->cont_len, &err);
    tl_pool_unlock(*pool);
    if (rc != 0)
        fprintf(stderr, "%s\n", err.msg);
    return rc == 0;
}

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
    if (tl_cont_close(c) != 0 || tl_pool_disconnect(pool) != 0)
        return 6;
    return 0;
}

static void ranks_write_one_chunk_as_one(void **state)
{
    (void)state;
    struct scene x;
    scene_new(&x);
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
    table_free(t);
    scene_free(&x);
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
    return flush(c, 1) == 0 && tl_cont_close(c) == 0 && tl_pool_disconnect(pool) == 0 ? 0 : 4;
}

/* Who writes after he has heard of another's write has the last word, however fast that goes. */
static void the_later_write_counts_whoever_writes(void **state)
{
    (void)state;
    struct scene x;
    scene_new(&x);
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
    table_free(t);
    scene_free(&x);
}

/* ---- dying ---- */

static int write_flush_and_stay(void *ctx)
{
    struct table *t = ctx;
    struct tl_pool *pool;
    struct tl_cont *c;
    if (!attach(t, &pool, &c) || put_single(c, 1, 1, "flushed", "yes") != 0 || flush(c, 1) != 0 ||
        put_single(c, 1, 1, "not flushed", "yes") != 0 || !tell(t->up[1]))
        return 2;
    (void)!hear(t->down[0]);
    return 3;
}

static void a_handle_lives_as_long_as_one_of_its_processes(void **state)
{
    (void)state;
    struct scene x;
    scene_new(&x);
    struct table *t = table_new(&x);
    int pid = child_begin(write_flush_and_stay, t);
    assert_true(hear(t->up[0]));
    kill(pid, SIGKILL);
    assert_int_equal(child_end(pid), -SIGKILL);
    assert_int_equal(put_single(x.cont, 1, 1, "parent", "yes"), 0);
    assert_int_equal(commit(x.cont, 1), 0);
    assert_true(is_single(x.cont, 0, 1, "flushed", "yes"));
    assert_true(is_single(x.cont, 0, 1, "not flushed", NULL));
    assert_true(is_single(x.cont, 0, 1, "parent", "yes"));
    table_free(t);
    scene_free(&x);
}

static int hold_write_and_stay(void *ctx)
{
    struct table *t = ctx;
    struct tl_pool *pool = scene_connect(t->where, TIERCEL_RW);
    struct tl_cont *c = pool == NULL ? NULL : scene_open(pool, "c", TIERCEL_RW);
    if (c == NULL || hold(c, 2, NULL) != 0 || put_single(c, 2, 1, "a", "the dead's") != 0 || flush(c, 2) != 0 ||
        !tell(t->up[1]))
        return 2;
    (void)!hear(t->down[0]);
    return 3;
}

static void who_dies_holding_is_rolled_back(void **state)
{
    (void)state;
    struct scene x;
    scene_new(&x);
    struct table *t = table_new(&x);
    assert_int_equal(put_single(x.cont, 1, 1, "a", "one"), 0);
    assert_int_equal(commit(x.cont, 1), 0);
    int pid = child_begin(hold_write_and_stay, t);
    assert_true(hear(t->up[0]));
    assert_int_equal(commit(x.cont, 5), 0);
    assert_int_equal(epochs(x.cont).ghce, 1); /* it holds 2 */
    assert_true(is_single(x.cont, 5, 1, "a", "the dead's"));
    kill(pid, SIGKILL);
    assert_int_equal(child_end(pid), -SIGKILL);
    struct tl_cont *next = scene_open(x.pool, "c", TIERCEL_RO); /* whoever comes next */
    assert_int_equal(epochs(x.cont).ghce, 5);
    assert_true(is_single(x.cont, 0, 1, "a", "one"));
    assert_int_equal(tl_cont_close(next), 0);
    table_free(t);
    scene_free(&x);
}

static int hold_and_end_as_the_last(void *ctx)
{
    struct table *t = ctx;
    (void)hold_write_and_stay(t);
    return 0;
}

static void the_next_process_rolls_back_what_all_have_left(void **state)
{
    (void)state;
    struct scene x;
    scene_new(&x);
    struct table *t = table_new(&x);
    assert_int_equal(put_single(x.cont, 1, 1, "a", "one"), 0);
    assert_int_equal(commit(x.cont, 1), 0);
    assert_int_equal(tl_cont_close(x.cont), 0);
    assert_int_equal(tl_pool_disconnect(x.pool), 0);
    int pid = child_begin(hold_and_end_as_the_last, t);
    assert_true(hear(t->up[0]));
    kill(pid, SIGKILL);
    assert_int_equal(child_end(pid), -SIGKILL);
    x.pool = scene_connect(t->where, TIERCEL_RW);
    x.cont = scene_open(x.pool, "c", TIERCEL_RW);
    assert_true(is_single(x.cont, 2, 1, "a", "one"));
    struct tiercel_cont_info info;
    tl_pool_lock(x.pool);
    assert_int_equal(tl_cont_query(x.cont, &info), 0);
    tl_pool_unlock(x.pool);
    assert_int_equal(info.handles, 1);
    table_free(t);
    scene_free(&x);
}

/* Three values and a large one at each epoch: they are always of one epoch. */
static int commit_for_ever(void *ctx)
{
    struct table *t = ctx;
    struct tl_pool *pool = scene_connect(t->where, TIERCEL_RW);
    struct tl_cont *c = pool == NULL ? NULL : scene_open(pool, "c", TIERCEL_RW);
    uint64_t epoch;
    static uint8_t large[100000];
    if (c == NULL || hold(c, 0, &epoch) != 0)
        return 2;
    for (unsigned i = 0; i < 100000; i++, epoch++) {
        char v[24];
        snprintf(v, sizeof v, "%llu", (unsigned long long)epoch);
        memset(large, (int)(epoch & 0xff), sizeof large);
        if (put_single(c, epoch, 1, "a", v) != 0 || put_array(c, epoch, 3, 1, 0, sizeof large, large) != 0 ||
            put_single(c, epoch, 2, "b", v) != 0 || commit(c, epoch) != 0)
            return 3;
        t->done = epoch;
        if (i == 0 && !tell(t->up[1]))
            return 4;
    }
    return 5;
}

static void a_commit_happened_or_did_not(void **state)
{
    (void)state;
    struct scene x;
    struct tl_prng p;
    scene_new(&x);
    struct table *t = table_new(&x);
    static uint8_t large[100000];
    tl_prng_init(&p, (uint64_t)getpid(), 0);
    assert_int_equal(tl_cont_close(x.cont), 0);
    for (int round = 0; round < 12; round++) {
        struct timespec some = {.tv_nsec = (long)tl_prng_below(&p, 15000000)};
        int pid = child_begin(commit_for_ever, t);
        assert_true(hear(t->up[0]));
        nanosleep(&some, NULL); /* a moment to be killed in, not one to wait for */
        kill(pid, SIGKILL);
        assert_int_equal(child_end(pid), -SIGKILL);
        x.cont = scene_open(x.pool, "c", TIERCEL_RO);
        uint64_t ghce = epochs(x.cont).ghce, done = t->done;
        char v[24];
        snprintf(v, sizeof v, "%llu", (unsigned long long)ghce);
        assert_true(ghce == done || ghce == done + 1);
        assert_true(is_single(x.cont, 0, 1, "a", v));
        assert_true(is_single(x.cont, 0, 2, "b", v));
        assert_true(is_single(x.cont, ghce + 5, 1, "a", v));
        assert_int_equal(get_array(x.cont, 0, 3, 1, 0, sizeof large, large), 0);
        for (size_t i = 0; i < sizeof large; i++)
            assert_int_equal(large[i], ghce & 0xff);
        assert_int_equal(tl_cont_close(x.cont), 0);
    }
    x.cont = scene_open(x.pool, "c", TIERCEL_RO);
    table_free(t);
    scene_free(&x);
}

static int commit_some(void *ctx)
{
    struct table *t = ctx;
    struct tl_pool *pool = scene_connect(t->where, TIERCEL_RW);
    struct tl_cont *c = pool == NULL ? NULL : scene_open(pool, "c", TIERCEL_RW);
    char akey[16];
    if (c == NULL)
        return 2;
    for (unsigned i = 0; i < 8; i++) {
        uint64_t epoch;
        snprintf(akey, sizeof akey, "%u.%u", (unsigned)getpid(), i);
        if (hold(c, 0, &epoch) != 0 || put_single(c, epoch, 1, akey, akey) != 0 || commit(c, epoch) != 0)
            return 3;
    }
    return tl_cont_close(c) == 0 && tl_pool_disconnect(pool) == 0 ? 0 : 4;
}

static void many_commit_at_the_same_time(void **state)
{
    (void)state;
    struct scene x;
    scene_new(&x);
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
    table_free(t);
    scene_free(&x);
}

/* ---- being evicted, destroyed ---- */

/* Writes until it is told off; which error that was. */
static int write_until_refused(void *ctx)
{
    struct table *t = ctx;
    struct tl_pool *pool = scene_connect(t->where, TIERCEL_RW);
    struct tl_cont *c = pool == NULL ? NULL : scene_open(pool, t->number == 0 ? "c" : "d", TIERCEL_RW);
    char v[16];
    int rc = 0;
    if (c == NULL || hold(c, 100, NULL) != 0)
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
    if (tl_cont_close(c) != 0 || tl_pool_disconnect(pool) != 0)
        return 5;
    return -rc;
}

static void who_is_evicted_while_writing_is_told(void **state)
{
    (void)state;
    for (int how = 0; how < 2; how++) {
        struct scene x;
        struct tl_error err = {.code = 0};
        scene_new(&x);
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
        table_free(t);
        scene_free(&x);
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
    scene_new(&x);
    assert_int_equal(create(x.pool, "d"), 0);
    struct table *t = table_new(&x);
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
    table_free(t);
    scene_free(&x);
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
    scene_new(&x);
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
    table_free(t);
    scene_free(&x);
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
    scene_new(&x);
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
    int pid = child_begin(connect_exclusively_and_stay, t);
    assert_true(hear(t->up[0]));
    assert_int_equal(try_to_connect(t, TIERCEL_RO), EBUSY);
    assert_int_equal(tl_pool_connect(&third, x.where, TIERCEL_RW, &err), -EBUSY);
    kill(pid, SIGKILL);
    assert_int_equal(child_end(pid), -SIGKILL);
    x.pool = scene_connect(x.where, TIERCEL_EX); /* freed with its process */
    assert_int_equal(try_to_connect(t, TIERCEL_RO), EBUSY);
    x.cont = scene_open(x.pool, "c", TIERCEL_RW);
    assert_int_equal(hold(x.cont, 1, NULL), 0);
    table_free(t);
    scene_free(&x);
}

static void global_handles_are_checked(void **state)
{
    (void)state;
    struct scene x;
    struct tl_prng p;
    struct tl_error err = {.code = 0};
    scene_new(&x);
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
    table_free(t);
    scene_free(&x);
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
    return tl_cont_close(c) == 0 && tl_pool_disconnect(pool) == 0 ? 0 : 7;
}

static void a_pool_that_cannot_be_written_is_read(void **state)
{
    (void)state;
    static const char *const files[] = {"pool", "meta.mdb", "meta.mdb-lock", "page", "owners", "locks", "ext.0"};
    struct scene x;
    char path[256];
    scene_new(&x);
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
    table_free(t);
    scene_free(&x);
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
    return check_pool(pool) == 0 && tl_cont_close(c) == 0 && tl_pool_disconnect(pool) == 0 ? 0 : 8;
}

static void a_full_disk_is_told_and_work_goes_on(void **state)
{
    (void)state;
    struct scene x;
    scene_new(&x);
    struct table *t = table_new(&x);
    snprintf(t->where, sizeof t->where, "%s/tl-full-XXXXXX", scene_base());
    assert_non_null(mkdtemp(t->where));
    int rc = child_end(child_begin(fill_a_disk, t));
    assert_int_equal(rmdir(t->where), 0);
    table_free(t);
    scene_free(&x);
    if (rc == NOT_HERE) {
        print_message("a file system of its own needs root: skipped\n");
        skip();
    }
    assert_int_equal(rc, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_write_one_chunk_as_one),
        cmocka_unit_test(the_later_write_counts_whoever_writes),
        cmocka_unit_test(a_handle_lives_as_long_as_one_of_its_processes),
        cmocka_unit_test(who_dies_holding_is_rolled_back),
        cmocka_unit_test(the_next_process_rolls_back_what_all_have_left),
        cmocka_unit_test(a_commit_happened_or_did_not),
        cmocka_unit_test(many_commit_at_the_same_time),
        cmocka_unit_test(who_is_evicted_while_writing_is_told),
        cmocka_unit_test(a_container_is_destroyed_under_its_writers),
        cmocka_unit_test(what_was_left_of_a_container_is_taken_away),
        cmocka_unit_test(exclusive_is_alone),
        cmocka_unit_test(global_handles_are_checked),
        cmocka_unit_test(a_pool_that_cannot_be_written_is_read),
        cmocka_unit_test(a_full_disk_is_told_and_work_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
