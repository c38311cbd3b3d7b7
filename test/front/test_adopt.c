// SPDX-License-Identifier: Apache-2.0
/* The inode table outlives its daemon: taken over whole, after a death at any moment, and after damage. */
#include "front/fuse/inode.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/prng.h"

static const struct tl_attr dir_attr = {.mode = S_IFDIR | 0755, .version = 5, .nlink = 2};

static struct tl_attr file_attr(uint64_t version)
{
    return (struct tl_attr){.mode = S_IFREG | 0644, .version = version, .size_bytes = version * 10, .nlink = 1};
}

static uint64_t bind(struct tl_inodes *t, uint64_t parent, const char *name, const struct tl_attr *attr)
{
    struct tl_inode *inode;
    assert_int_equal(tl_inodes_bind(t, parent, name, strlen(name), attr, &inode), 0);
    return tl_inode_id(inode);
}

static void new_table(struct tl_inodes *t)
{
    assert_int_equal(tl_inodes_init(t), 0);
    strcpy(t->keep.head->source, "/");
    t->keep.head->complete = 1;
}

/* The daemon is gone; what it kept is not. */
static int die(struct tl_inodes *t)
{
    int fd = fcntl(t->keep.fd, F_DUPFD_CLOEXEC, 0);
    assert_true(fd >= 0);
    tl_inodes_fini(t);
    return fd;
}

static void adopt(struct tl_inodes *t, uint32_t dropped_want)
{
    uint32_t dropped;
    assert_int_equal(tl_inodes_adopt(t, die(t), &dropped), 0);
    assert_int_equal(dropped, dropped_want);
    tl_inodes_verify(t);
}

static void assert_path(const struct tl_inodes *t, uint64_t id, const char *want)
{
    char buf[256];
    assert_non_null(tl_inodes_get(t, id));
    int len = tl_inodes_path(t, "/", tl_inodes_get(t, id), NULL, 0, buf, sizeof buf);
    assert_int_equal(len, strlen(want));
    assert_memory_equal(buf, want, (size_t)len);
}

static void node_ids_mean_the_same_afterwards(void **state)
{
    (void)state;
    struct tl_inodes t;
    new_table(&t);
    struct tl_attr v1 = file_attr(1), v2 = file_attr(2);
    uint64_t d = bind(&t, TL_INODE_ROOT, "d", &dir_attr), e = bind(&t, d, "e", &dir_attr);
    uint64_t old = bind(&t, e, "x", &v1), new = bind(&t, e, "x", &v2);
    bind(&t, e, "x", &v2);
    uint64_t gone = bind(&t, e, "gone", &v1);
    tl_inodes_forget(&t, gone, 1);
    adopt(&t, 0);
    assert_path(&t, d, "/d");
    assert_path(&t, old, "/d/e/x");
    assert_path(&t, new, "/d/e/x");
    assert_int_equal(tl_inodes_get(&t, old)->version, 1);
    assert_int_equal(tl_inodes_get(&t, new)->nlookup, 2);
    assert_ptr_equal(tl_inodes_find(&t, e, "x", 1), tl_inodes_get(&t, new));
    assert_null(tl_inodes_get(&t, gone));
    assert_int_not_equal(bind(&t, e, "gone", &v1), gone);
    tl_inodes_forget(&t, old, 1);
    assert_null(tl_inodes_get(&t, old));
    adopt(&t, 0); /* and once more */
    assert_path(&t, new, "/d/e/x");
    assert_null(tl_inodes_get(&t, old));
    tl_inodes_fini(&t);
}

static void names_of_all_lengths_and_many_pages(void **state)
{
    (void)state;
    struct tl_inodes t;
    struct tl_prng rng;
    static uint64_t ids[5000];
    static char names[5000][TL_NAME_MAX + 1];
    tl_prng_init(&rng, 3, 0);
    new_table(&t);
    struct tl_attr v1 = file_attr(1);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5000; i++) {
            int len = 6 + (int)tl_prng_below(&rng, TL_NAME_MAX - 5);
            snprintf(names[i], sizeof names[i], "%06d%0*d", i, len - 6 > 0 ? len - 6 : 1, round);
            ids[i] = bind(&t, TL_INODE_ROOT, names[i], &v1);
        }
        adopt(&t, 0);
        for (int i = 0; i < 5000; i++) {
            const struct tl_inode *inode = tl_inodes_find(&t, TL_INODE_ROOT, names[i], strlen(names[i]));
            assert_non_null(inode);
            assert_int_equal(tl_inode_id(inode), ids[i]);
        }
        uint32_t names_end = t.names_end;
        for (int i = 0; i < 5000; i++)
            tl_inodes_forget(&t, ids[i], 1);
        assert_int_equal(t.count, 1);
        assert_true(round == 0 || names_end < 2 * 5000 * 16); /* blocks are used again */
    }
    tl_inodes_fini(&t);
}

/* ---- death at any moment ---- */

#define TOLD_MAX 4096

struct told { /* what a "kernel" has been told: shared with the child */
    _Atomic uint32_t count;
    struct {
        uint64_t id;
        char name[24];
        _Atomic bool forgotten; /* written before the look-up is given back */
    } all[TOLD_MAX];
};

static _Noreturn void live(struct tl_inodes *t, struct told *told, uint64_t seed)
{
    struct tl_prng rng;
    tl_prng_init(&rng, seed, 0);
    for (;;) { /* until killed */
        uint32_t i = told->count;
        if (i < TOLD_MAX && tl_prng_below(&rng, 3) > 0) {
            struct tl_inode *inode;
            struct tl_attr attr = file_attr(1 + tl_prng_below(&rng, 3));
            int len = snprintf(told->all[i].name, sizeof told->all[i].name, "%0*d", 1 + (int)tl_prng_below(&rng, 20),
                               (int)tl_prng_below(&rng, 50));
            if (tl_inodes_bind(t, TL_INODE_ROOT, told->all[i].name, (size_t)len, &attr, &inode) != 0)
                _exit(1);
            told->all[i].id = tl_inode_id(inode);
            told->count = i + 1;
        } else if (i > 0) {
            uint32_t k = (uint32_t)tl_prng_below(&rng, i);
            if (!told->all[k].forgotten) {
                told->all[k].forgotten = true;
                tl_inodes_forget(t, told->all[k].id, 1);
            }
        }
    }
}

static void assert_what_was_told_holds(const struct tl_inodes *t, const struct told *told)
{
    for (uint32_t i = 0; i < told->count; i++) {
        if (told->all[i].forgotten)
            continue;
        const struct tl_inode *inode = tl_inodes_get(t, told->all[i].id);
        assert_non_null(inode);
        assert_int_equal(inode->name_len, strlen(told->all[i].name));
        assert_memory_equal(tl_inode_name(t, inode), told->all[i].name, inode->name_len);
    }
}

static void what_the_kernel_was_told_survives_a_death_at_any_moment(void **state)
{
    (void)state;
    struct told *told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(told, MAP_FAILED);
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct tl_inodes t;
        memset(told, 0, sizeof *told);
        new_table(&t);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            live(&t, told, seed);
        while (told->count == 0)
            usleep(50);
        const struct timespec moment = {.tv_nsec = (long)(seed * 7919 % 1500) * 1000};
        nanosleep(&moment, NULL);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        adopt(&t, 0);
        assert_what_was_told_holds(&t, told);
        tl_inodes_fini(&t);
    }
    munmap(told, sizeof *told);
}

/* ---- damage ---- */

static void make_some(struct tl_inodes *t)
{
    struct tl_attr v1 = file_attr(1);
    char name[16];
    new_table(t);
    uint64_t dir = bind(t, TL_INODE_ROOT, "dir", &dir_attr);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "name-%d", i);
        bind(t, i % 2 == 0 ? dir : TL_INODE_ROOT, name, &v1);
    }
}

static void an_inode_that_is_not_whole_is_dropped_with_what_lies_below(void **state)
{
    (void)state;
    struct tl_inodes t;
    make_some(&t);
    struct tl_inode *dir = tl_inodes_find(&t, TL_INODE_ROOT, "dir", 3);
    dir->version ^= 1;
    adopt(&t, 51);
    assert_int_equal(t.count, 51);
    assert_null(tl_inodes_find(&t, TL_INODE_ROOT, "dir", 3));
    assert_non_null(tl_inodes_find(&t, TL_INODE_ROOT, "name-1", 6));
    tl_inodes_fini(&t);
}

static void damage_is_dropped_or_refused(void **state)
{
    (void)state;
    struct tl_prng rng;
    int taken = 0, refused = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct tl_inodes t;
        uint32_t dropped;
        tl_prng_init(&rng, seed, 0);
        make_some(&t);
        for (int i = 0; i < 8; i++) { /* somewhere in what is used of the chunks */
            uint32_t chunk = (uint32_t)tl_prng_below(&rng, t.keep.chunk_count);
            uint64_t used = chunk == 0 ? sizeof *t.keep.head : 102 * sizeof(struct tl_inode);
            ((uint8_t *)t.keep.chunks[chunk])[tl_prng_below(&rng, used)] ^= (uint8_t)(1 + tl_prng_below(&rng, 255));
        }
        int rc = tl_inodes_adopt(&t, die(&t), &dropped);
        assert_true(rc == 0 || rc == -EBADMSG || rc == -EPROTO || rc == -ENOMEM);
        taken += rc == 0;
        refused += rc != 0;
        if (rc == 0) {
            tl_inodes_verify(&t);
            tl_inodes_fini(&t);
        }
    }
    assert_true(taken > 0 && refused > 0);
}

static void what_another_version_kept_is_refused(void **state)
{
    (void)state;
    struct tl_inodes t;
    uint32_t dropped;
    make_some(&t);
    t.keep.head->format++;
    assert_int_equal(tl_inodes_adopt(&t, die(&t), &dropped), -EPROTO);
    make_some(&t);
    t.keep.head->complete = 0; /* it died before the kernel had our answer to INIT */
    assert_int_equal(tl_inodes_adopt(&t, die(&t), &dropped), -EBADMSG);
    assert_int_equal(tl_inodes_adopt(&t, open("/dev/null", O_RDWR | O_CLOEXEC), &dropped), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(node_ids_mean_the_same_afterwards),
        cmocka_unit_test(names_of_all_lengths_and_many_pages),
        cmocka_unit_test(what_the_kernel_was_told_survives_a_death_at_any_moment),
        cmocka_unit_test(an_inode_that_is_not_whole_is_dropped_with_what_lies_below),
        cmocka_unit_test(damage_is_dropped_or_refused),
        cmocka_unit_test(what_another_version_kept_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
