// SPDX-License-Identifier: Apache-2.0
/* Copying that does not come to its end: killed at any call, no room, a damaged source, a second copier. Nothing is seen of it, and the next one goes on. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pool/copies.h"
#include "pool/late.h"
#include "pool/place.h"
#include "pool/scene.h"

static uint8_t large[300000];
static char text_of_check[8192];

/* Objects of all kinds, in epochs 1 to 6; 2 and 4 are snapshots; 7 is not committed. */
static void fill(struct scene *x)
{
    scene_new(x);
    memset(large, 'L', sizeof large);
    for (uint64_t e = 1; e <= 6; e++) {
        assert_int_equal(put_single(x->cont, e, 1, "value", e % 2 == 0 ? "even" : "odd"), 0);
        assert_int_equal(put_array(x->cont, e, 2, 1, 1000 * e, 40000, large), 0);
        if (e == 3)
            assert_int_equal(punch(x->cont, e, 1, "d", NULL), 0);
        assert_int_equal(commit(x->cont, e), 0);
        if (e % 2 == 0 && e < 6)
            assert_int_equal(snapshot(x->cont, e, true), 0);
    }
    assert_int_equal(put_array(x->cont, 7, 3, 1, 0, sizeof large, large), 0);
}

/* ---- copying, in this process or a child ---- */

struct job {
    const char *from, *to, *label;
    struct tl_copy_config config;
    struct copies_trap trap;
    struct tiercel_copied done;
    struct tl_error err;
};

static struct job job_of(const struct scene *x, const char *to)
{
    struct job j = {.from = x->where, .to = to, .config = copies_config("copy")};
    j.config.options.flush_bytes = 50000;
    return j;
}

static int copy_here(struct scene *x, struct job *j)
{
    copies_trap = j->trap;
    j->err.code = 0;
    int rc = copies_copy(x->cont, j->to, &j->config, &j->done, NULL, &j->err);
    memset(&copies_trap, 0, sizeof copies_trap);
    assert_int_equal(rc, j->err.code); /* each error has its sentence */
    return rc;
}

/* In a child; its exit code is the positive errno. */
static int run(void *ctx)
{
    struct job *j = ctx;
    struct tl_pool *from = scene_connect(j->from, TIERCEL_RW);
    struct tl_cont *c = from != NULL ? scene_open(from, "c", TIERCEL_RO) : NULL;
    if (c == NULL)
        return 99;
    copies_trap = j->trap;
    int rc = copies_copy(c, j->to, &j->config, &j->done, NULL, &j->err);
    if (rc != 0 && rc != -EEXIST && rc != -EBUSY)
        fprintf(stderr, "%s\n", j->err.msg);
    return -rc;
}

static int copy_in_child(struct job *j)
{
    return child_end(child_begin(run, j));
}

/* ---- what is there ---- */

static void assert_same(struct scene *x, const char *where, const char *label)
{
    struct tl_pool *to = scene_connect(where, TIERCEL_RW);
    struct tl_cont *c = scene_open(to, label, TIERCEL_RO);
    assert_non_null(c);
    bool same = copies_same(x->cont, c, epochs(c).ghce);
    assert_int_equal(tl_cont_close(c), 0);
    assert_int_equal(tl_pool_disconnect(to), 0);
    assert_true(same);
}

/* So many containers, and an unfinished copy or none. */
static void assert_there(const char *where, int containers, bool unfinished)
{
    int count = copies_check(where, text_of_check, sizeof text_of_check);
    bool told = strstr(text_of_check, "was interrupted") != NULL;
    if (count != containers || told != unfinished)
        fail_msg("%d containers instead of %d; the check says: %s", count, containers, text_of_check);
}

static void make_pool(char to[128])
{
    assert_true(copies_make_pool(to, 128, place_base()));
}

static void destroy_pool(const char *where)
{
    struct tl_error err = {.code = 0};
    if (tl_pool_destroy(where, 0, &err) != 0)
        fail_msg("%s", err.msg);
}

static void begin(struct scene *x, char to[128])
{
    fill(x);
    make_pool(to);
}

static void end(struct scene *x, const char *to)
{
    destroy_pool(to);
    scene_free(x);
}

/* It came to its end, at last. */
static void assert_copied(struct scene *x, const char *to)
{
    assert_same(x, to, "copy");
    assert_there(to, 1, false);
}

/* ---- killed ---- */

static void a_copier_may_be_killed_at_any_call(void **state)
{
    (void)state;
    struct scene x;
    char to[128];
    int rc = -SIGKILL;
    unsigned at = 1, seen = 0;
    fill(&x);
    for (; rc == -SIGKILL && at < 200; at++) {
        struct job j = job_of(&x, to);
        make_pool(to);
        j.trap = (struct copies_trap){.kills = true, .at = at};
        rc = copy_in_child(&j);
        if (rc == -SIGKILL) {
            int count = copies_check(to, text_of_check, sizeof text_of_check);
            bool begun = strstr(text_of_check, "was interrupted") != NULL;
            assert_true(count == 0 || (count == 1 && !begun)); /* 1: after the last transaction */
            seen += begun;
            j.trap = (struct copies_trap){.at = 0};
            assert_int_equal(copy_in_child(&j), count == 1 ? EEXIST : 0);
        }
        assert_copied(&x, to);
        destroy_pool(to);
    }
    printf("%u calls, %u of them in the middle\n", at - 2, seen);
    assert_int_equal(rc, 0);
    assert_true(seen > 15);
    scene_free(&x);
}

/* Each try comes a little further, and the source has changed before the next. */
static void a_copy_goes_on_with_a_source_that_went_on(void **state)
{
    (void)state;
    struct scene x;
    char to[128];
    int rc = -SIGKILL;
    unsigned tries = 0;
    begin(&x, to);
    for (uint64_t e = 7; rc == -SIGKILL && tries < 40; tries++, e++) {
        struct job j = job_of(&x, to);
        struct tl_aggregation a = {.stage = 0};
        j.config.options.flush_bytes = 1;
        j.trap = (struct copies_trap){.kills = true, .at = 10 + (unsigned)e % 4};
        rc = copy_in_child(&j);
        if (rc != -SIGKILL)
            break;
        assert_there(to, 0, true);
        if (e < 12)
            assert_int_equal(put_array(x.cont, e, 2, 1, 500 * e, 30000, large), 0);
        assert_int_equal(commit(x.cont, e), 0);
        if (e == 9)
            assert_int_equal(snapshot(x.cont, 2, false), 0);
        tl_pool_lock(x.pool);
        int more = 1;
        for (unsigned i = 0; more == 1 && i < 1000; i++)
            more = tl_cont_aggregate(x.cont, &a);
        tl_pool_unlock(x.pool);
        assert_int_equal(more, 0);
    }
    printf("%u tries\n", tries);
    assert_int_equal(rc, 0);
    assert_true(tries > 4);
    assert_copied(&x, to);
    end(&x, to);
}

/* ---- no room ---- */

static void a_full_destination_keeps_what_it_has(void **state)
{
    (void)state;
    struct scene x;
    char to[128];
    begin(&x, to);
    struct job j = job_of(&x, to);
    j.trap = (struct copies_trap){.small = true};
    assert_int_equal(copy_here(&x, &j), -ENOSPC);
    assert_non_null(strstr(j.err.msg, "nothing was copied"));
    j.trap = (struct copies_trap){.at = 12, .rc = -ENOSPC};
    assert_int_equal(copy_here(&x, &j), -ENOSPC);
    assert_non_null(strstr(j.err.msg, "copy it again"));
    assert_there(to, 0, true);
    j.trap = (struct copies_trap){.at = 4, .rc = -EIO};
    assert_int_equal(copy_here(&x, &j), -EIO);
    j.trap = (struct copies_trap){.at = 0};
    assert_int_equal(copy_here(&x, &j), 0);
    assert_true(j.done.skipped > 3 && j.done.copied > 0 && j.done.verified == j.done.records);
    assert_int_equal(j.done.skipped + j.done.copied, j.done.records);
    assert_copied(&x, to);
    end(&x, to);
}

/* ---- damage ---- */

/* Another byte in the middle of the first such payload of a pool. */
static void spoil(const char *where)
{
    char pattern[200];
    static uint8_t bytes[1 << 20];
    glob_t files;
    snprintf(pattern, sizeof pattern, "%s/ext.*", where);
    assert_int_equal(glob(pattern, 0, NULL, &files), 0);
    int fd = open(files.gl_pathv[0], O_RDWR | O_CLOEXEC);
    globfree(&files);
    ssize_t n = pread(fd, bytes, sizeof bytes, 0);
    uint8_t *at = n > 0 ? memmem(bytes, (size_t)n, large, 20000) : NULL;
    assert_non_null(at);
    assert_int_equal(pwrite(fd, "x", 1, at - bytes + 10000), 1);
    close(fd);
}

static void a_damaged_source_is_named(void **state)
{
    (void)state;
    struct scene x;
    char to[128];
    begin(&x, to);
    spoil(x.where);
    struct job j = job_of(&x, to);
    for (unsigned round = 0; round < 2; round++) {
        if (round == 1)
            late_begin(x.pool); /* it is one of several that are read at once */
        assert_int_equal(copy_here(&x, &j), -EBADMSG);
        if (strstr(j.err.msg, "object 7.2, dkey \"d\", akey \"a\", chunk 0, epoch 1") == NULL ||
            strstr(j.err.msg, "ext.0") == NULL)
            fail_msg("%s", j.err.msg);
        assert_there(to, 0, true);
    }
    late_end(x.pool);
    end(&x, to);
}

/* Payloads that are read ahead are those that the copy lacks, each once; then all are read once more, to be compared. */
static void several_are_read_at_once_and_none_in_vain(void **state)
{
    (void)state;
    struct scene x;
    char to[128];
    begin(&x, to);
    struct job j = job_of(&x, to);
    late_begin(x.pool);
    j.trap = (struct copies_trap){.at = 12, .rc = -ENOSPC};
    assert_int_equal(copy_here(&x, &j), -ENOSPC);
    assert_int_equal(put_single(x.cont, 7, 1, "value", "before what is there already"), 0);
    assert_int_equal(commit(x.cont, 7), 0);
    j.trap = (struct copies_trap){.at = 0};
    late.begun = 0;
    assert_int_equal(copy_here(&x, &j), 0);
    assert_true(j.done.copied > 0 && j.done.skipped > 0);
    assert_int_equal(late.begun, j.done.copied + j.done.records);
    late_end(x.pool);
    assert_same(&x, to, "copy");
    end(&x, to);
}

static void a_copy_that_differs_is_copied_anew(void **state)
{
    (void)state;
    struct scene x;
    char to[128];
    begin(&x, to);
    struct job j = job_of(&x, to);
    j.trap = (struct copies_trap){.at = 5, .spoils = true};
    assert_int_equal(copy_here(&x, &j), -EBADMSG);
    if (strstr(j.err.msg, "1 records") == NULL || strstr(j.err.msg, "is not what the source has") == NULL)
        fail_msg("%s", j.err.msg);
    assert_there(to, 0, true);
    j.trap = (struct copies_trap){.at = 0};
    assert_int_equal(copy_here(&x, &j), 0);
    assert_int_equal(j.done.copied, 1);
    assert_same(&x, to, "copy");
    end(&x, to);
}

/* ---- two at a time, names, giving up ---- */

struct meanwhile {
    struct scene *x;
    const struct job *j;
    struct tl_pool *to;
    bool done;
};

static int try_another(void *ctx, const struct tiercel_copied *c)
{
    struct meanwhile *m = ctx;
    struct job again = *m->j;
    struct tl_error err = {.code = 0};
    if (c->stage != TIERCEL_COPY_COPIES || m->done)
        return c->copied > 5;
    m->done = true;
    again.config.options.progress = NULL;
    assert_int_equal(copy_in_child(&again), EBUSY);
    assert_int_equal(tl_cont_copy(m->x->cont, m->to, &again.config, &again.done, &err), -EBUSY);
    tl_pool_lock(m->to);
    int rc = tl_cont_destroy(m->to, "copy", TIERCEL_FORCE, &err);
    tl_pool_unlock(m->to);
    assert_int_equal(rc, -EBUSY);
    return 0;
}

static void one_copies_at_a_time_and_may_give_up(void **state)
{
    (void)state;
    struct scene x;
    char to[128];
    struct tl_error err = {.code = 0};
    begin(&x, to);
    struct job j = job_of(&x, to);
    struct meanwhile m = {.x = &x, .j = &j, .to = scene_connect(to, TIERCEL_RW)};
    j.config.options.progress = try_another;
    j.config.options.ctx = &m;
    assert_int_equal(copy_here(&x, &j), -ECANCELED);
    assert_true(m.done);
    assert_there(to, 0, true);
    tl_pool_lock(m.to);
    int rc = tl_cont_destroy(m.to, "copy", 0, &err);
    int again = tl_cont_destroy(m.to, "copy", 0, &err);
    tl_pool_unlock(m.to);
    assert_int_equal(rc, 0);
    assert_int_equal(again, -ENOENT);
    assert_int_equal(tl_pool_disconnect(m.to), 0);
    assert_there(to, 0, false);
    end(&x, to);
}

/* ---- taken for dead ---- */

struct stalled {
    struct scene *x;
    struct tl_pool *to;
    unsigned stage;
    bool done;
};

/* As if a lease had ended while this process stood still: another comes, finds no mark, and gets it done. */
static int another_finishes(void *ctx, const struct tiercel_copied *c)
{
    struct stalled *s = ctx;
    struct tl_store *store = s->to->shared->store;
    struct tl_store_id id;
    struct tl_copy_config config = copies_config("copy");
    struct tiercel_copied done;
    struct tl_error err = {.code = 0};
    if (c->stage != s->stage || s->done)
        return 0;
    s->done = true;
    memcpy(id.bytes, c->uuid.bytes, sizeof id.bytes);
    store->ops->unclaim(store, tl_unfinished_mark(&id));
    int rc = tl_cont_copy(s->x->cont, s->to, &config, &done, &err);
    if (rc != 0)
        fail_msg("%s", err.msg);
    struct tl_cont *copy = scene_open(s->to, "copy", TIERCEL_RW); /* and goes on with it */
    assert_int_equal(hold(copy, 7, NULL), 0);
    if (s->stage != TIERCEL_COPY_VERIFIES) /* then the state alone tells */
        assert_int_equal(put_single(copy, 7, 1, "value", "later"), 0);
    assert_int_equal(commit(copy, 7), 0);
    assert_int_equal(tl_cont_close(copy), 0);
    return 0;
}

static void who_was_taken_for_dead_makes_no_container(void **state)
{
    (void)state;
    struct scene x;
    char to[128];
    fill(&x);
    for (unsigned stage = TIERCEL_COPY_COUNTS; stage <= TIERCEL_COPY_VERIFIES; stage++) {
        make_pool(to);
        struct stalled s = {.x = &x, .to = scene_connect(to, TIERCEL_RW), .stage = stage};
        struct job j = job_of(&x, to);
        j.config.options.progress = another_finishes;
        j.config.options.ctx = &s;
        assert_int_equal(copy_here(&x, &j), -ENOENT);
        assert_true(s.done);
        struct tl_cont *copy = scene_open(s.to, "copy", TIERCEL_RO);
        assert_int_equal(epochs(copy).ghce, 7);
        assert_true(is_single(copy, 7, 1, "value", stage != TIERCEL_COPY_VERIFIES ? "later" : "even"));
        assert_true(copies_same(x.cont, copy, 6));
        assert_int_equal(tl_cont_close(copy), 0);
        assert_int_equal(tl_pool_disconnect(s.to), 0);
        assert_there(to, 1, false);
        destroy_pool(to);
    }
    scene_free(&x);
}

static int stop_at_once(void *ctx, const struct tiercel_copied *c)
{
    (void)ctx;
    return c->copied > 0;
}

static void labels_are_not_taken_twice(void **state)
{
    (void)state;
    struct scene x, other;
    char to[128];
    fill(&x);
    fill(&other);
    make_pool(to);
    struct job j = job_of(&x, to);
    j.config.label = NULL;
    assert_int_equal(copy_here(&x, &j), 0);
    assert_same(&x, to, "c");
    assert_int_equal(copy_here(&x, &j), -EEXIST);
    j.config.label = "no label/";
    assert_int_equal(copy_here(&x, &j), -EINVAL);
    j.config.label = "new";
    j.config.options.progress = stop_at_once;
    assert_int_equal(copy_here(&x, &j), -ECANCELED);
    j.config.options.progress = NULL;
    assert_int_equal(copy_here(&other, &j), -EEXIST);
    assert_non_null(strstr(j.err.msg, "unfinished"));
    assert_int_equal(copy_here(&x, &j), 0);
    j.to = x.where; /* into its own pool */
    assert_int_equal(copy_here(&x, &j), 0);
    assert_same(&x, x.where, "new");
    struct tl_pool *ro = scene_connect(to, TIERCEL_RO);
    j.config.label = "third";
    j.err.code = 0;
    assert_int_equal(tl_cont_copy(x.cont, ro, &j.config, &j.done, &j.err), -EACCES);
    assert_int_equal(tl_pool_disconnect(ro), 0);
    assert_there(to, 2, false);
    destroy_pool(to);
    scene_free(&other);
    scene_free(&x);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copier_may_be_killed_at_any_call),
        cmocka_unit_test(a_copy_goes_on_with_a_source_that_went_on),
        cmocka_unit_test(a_full_destination_keeps_what_it_has),
        cmocka_unit_test(a_damaged_source_is_named),
        cmocka_unit_test(several_are_read_at_once_and_none_in_vain),
        cmocka_unit_test(a_copy_that_differs_is_copied_anew),
        cmocka_unit_test(one_copies_at_a_time_and_may_give_up),
        cmocka_unit_test(who_was_taken_for_dead_makes_no_container),
        cmocka_unit_test(labels_are_not_taken_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
