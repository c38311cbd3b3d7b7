// SPDX-License-Identifier: Apache-2.0
/* The embedded store: what processes that write, flush, change and die at awkward times do to each other's data. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/embedded.h"
#include "store/pools.h"

static uint8_t large[1 << 20], medium[600], back[1 << 20];

static void fill(void)
{
    memset(large, 'l', sizeof large);
    memset(medium, 'm', sizeof medium);
}

/* So that the first segments of ext.0 are passed. */
static void pass_segments(struct tl_store *s, const char *key)
{
    assert_int_equal(write_one(s, key, large, sizeof large), 0);
    write_and_flush(s, key, large, sizeof large);
    assert_int_equal(s->ops->change(s, &id, nothing, NULL), 0);
}

static void what_is_written_twice_is_kept_once(void **state)
{
    (void)state;
    char where[256];
    pool_make(where, sizeof where);
    struct tl_store *s = pool_open(where);
    assert_int_equal(write_one(s, "k", medium, sizeof medium), 0);
    assert_int_equal(write_one(s, "k", medium, sizeof medium), 0); /* its segment is dead for a moment */
    pass_segments(s, "other");
    assert_int_equal(read_one(s, "k", back, sizeof medium), 0);
    assert_memory_equal(back, medium, sizeof medium);
    s->ops->close(s);
    pool_destroy(where);
}

/* ---- a flush during a transaction of another process ---- */

struct others {
    pid_t pid;
    int to[2], from[2];
};

static void tell(int fd)
{
    if (write(fd, "x", 1) != 1)
        _exit(9);
}

static void hear(int fd)
{
    char byte;
    if (read(fd, &byte, 1) != 1)
        _exit(9);
}

/* Writes a record that is alone in the first segment, replaces it by one that is inlined, and then, while that is taken over, puts new
 * payloads behind it. */
static void write_in_steps(const char *where, const struct others *o)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct tl_store *s = pool_open(where);
    bool ok = s != NULL && write_one(s, "a", medium, sizeof medium) == 0 && s->ops->flush(s) == 0;
    tell(o->from[1]);
    hear(o->to[0]);
    ok = ok && write_one(s, "a", "short", 5) == 0 && s->ops->flush(s) == 0;
    tell(o->from[1]);
    hear(o->to[0]);
    ok = ok && write_one(s, "b", medium, sizeof medium) == 0 && write_one(s, "c", large, sizeof large) == 0 &&
         write_one(s, "d", large, sizeof large) == 0 && s->ops->flush(s) == 0;
    tell(o->from[1]);
    hear(o->to[0]);
    s->ops->close(s);
    _exit(ok ? 0 : 1);
}

static int let_it_flush(void *ctx, struct tl_store_tx *tx)
{
    struct others *o = ctx;
    (void)tx;
    tell(o->to[1]);
    hear(o->from[0]);
    return 0;
}

static void what_is_flushed_during_a_transaction_is_not_given_back(void **state)
{
    (void)state;
    char where[256];
    struct others o;
    int status;
    pool_make(where, sizeof where);
    assert_true(pipe(o.to) == 0 && pipe(o.from) == 0);
    o.pid = fork();
    assert_true(o.pid >= 0);
    if (o.pid == 0)
        write_in_steps(where, &o);
    struct tl_store *s = pool_open(where);
    hear(o.from[0]);
    assert_int_equal(s->ops->change(s, &id, nothing, NULL), 0);
    tell(o.to[1]);
    hear(o.from[0]);
    assert_int_equal(s->ops->change(s, &id, let_it_flush, &o), 0);
    assert_int_equal(s->ops->change(s, &id, nothing, NULL), 0);
    assert_int_equal(read_one(s, "b", back, sizeof medium), 0);
    assert_int_equal(read_one(s, "c", back, sizeof large), 0);
    tell(o.to[1]);
    assert_int_equal(waitpid(o.pid, &status, 0), o.pid);
    assert_int_equal(status, 0);
    s->ops->close(s);
    pool_destroy(where);
    for (int i = 0; i < 2; i++) {
        close(o.to[i]);
        close(o.from[i]);
    }
}

/* Killed after a flush has told of its block, and before it has told of the end. */
static _Noreturn void tell_half(const char *where)
{
    struct tl_store *s = pool_open(where);
    struct tl_page *page = ((struct tl_embedded *)s)->page;
    bool ok = s != NULL && write_one(s, "a", medium, sizeof medium) == 0 && s->ops->flush(s) == 0;
    uint64_t end = atomic_load(&page->files[0].end);
    ok = ok && write_one(s, "b", medium, sizeof medium) == 0 && s->ops->flush(s) == 0;
    atomic_store(&page->files[0].end, end);
    if (ok)
        raise(SIGKILL);
    _exit(1);
}

static void a_flush_that_is_half_told_is_whole(void **state)
{
    (void)state;
    char where[256];
    int status;
    pool_make(where, sizeof where);
    struct tl_store *s = pool_open(where);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        tell_half(where);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    write_and_flush(s, "c", medium, sizeof medium); /* in the same file */
    pass_segments(s, "d");
    assert_int_equal(read_one(s, "a", back, sizeof medium), 0);
    assert_int_equal(read_one(s, "b", back, sizeof medium), 0);
    assert_int_equal(read_one(s, "c", back, sizeof medium), 0);
    s->ops->close(s);
    pool_destroy(where);
}

/* More index blocks than anybody takes over at a time. On a disk it would take too long. */
static void no_flush_is_forgotten(void **state)
{
    (void)state;
    enum { FLUSHES = 5000 };
    char key[16];
    uint32_t count = 0;
    char where[256];
    if (access("/dev/shm", W_OK) != 0 || setenv("TMPDIR", "/dev/shm", 1) != 0)
        skip();
    pool_make(where, sizeof where);
    struct tl_store *s = pool_open(where);
    for (uint32_t i = 0; i < FLUSHES; i++) {
        snprintf(key, sizeof key, "%u", i);
        write_and_flush(s, key, "short", 5);
    }
    assert_int_equal(s->ops->change(s, &id, nothing, NULL), 0);
    assert_int_equal(s->ops->scan(s, &id, (struct tl_slice){"", 0}, (struct tl_slice){"", 0}, count_one, &count), 0);
    assert_int_equal(count, FLUSHES);
    s->ops->close(s);
    pool_destroy(where);
    unsetenv("TMPDIR");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_twice_is_kept_once),
        cmocka_unit_test(what_is_flushed_during_a_transaction_is_not_given_back),
        cmocka_unit_test(a_flush_that_is_half_told_is_whole),
        cmocka_unit_test(no_flush_is_forgotten),
    };
    fill();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
