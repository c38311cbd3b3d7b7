// SPDX-License-Identifier: Apache-2.0
/* The cache manager where the system has less memory than its limit says: errors, never a signal, and nothing half done. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache/cache.h"

#define MIB (1ull << 20)

int __real_fallocate64(int fd, int mode, off64_t at, off64_t len);
int __wrap_fallocate64(int fd, int mode, off64_t at, off64_t len);

static long fail_from = -1, fail_for; /* calls that make pages; which of them fail, and how many in a row */

int __wrap_fallocate64(int fd, int mode, off64_t at, off64_t len)
{
    if (mode == 0 && fail_from >= 0 && fail_from-- == 0) {
        if (--fail_for > 0)
            fail_from = 0;
        errno = ENOSPC;
        return -1;
    }
    return __real_fallocate64(fd, mode, at, len);
}

static struct tl_cache_config config_of(uint64_t limit, int values_fd)
{
    return (struct tl_cache_config){.limit_bytes = limit,
                                    .seed = 7,
                                    .values_fd = values_fd,
                                    .adopt_directory_fd = -1,
                                    .adopt_uses_fd = -1,
                                    .adopt_values_fd = -1};
}

static struct tl_hash key_of(uint64_t n)
{
    return (struct tl_hash){.hi = tl_prng_mix(n), .lo = n};
}

static int put(struct tl_cache *c, uint64_t n, uint64_t size)
{
    static uint8_t bytes[100000];
    const struct tl_cache_attr a = {.key = key_of(n), .label = n % 4 == 0 ? "/a/label" : NULL};
    int rc = -EAGAIN;
    memset(bytes, (int)(n * 7 + 1), size);
    for (int i = 0; i < 1000 && rc == -EAGAIN; i++)
        rc = tl_cache_put(c, &a, bytes, size);
    return rc;
}

/* How many of the values below n are there, each as it was put. */
static uint64_t count(struct tl_cache *c, uint64_t n, const uint64_t *sizes, size_t kinds)
{
    uint64_t found = 0;
    for (uint64_t i = 0; i < n; i++) {
        struct tl_value v;
        if (tl_reader_get(tl_cache_reader(c), key_of(i), &v) != 0)
            continue;
        assert_int_equal(v.size, sizes[i % kinds]);
        for (uint64_t k = 0; k < v.size; k++)
            if (((const uint8_t *)v.bytes)[k] != (uint8_t)(i * 7 + 1))
                fail_msg("value %llu is not what it was", (unsigned long long)i);
        tl_reader_let_go(tl_cache_reader(c), &v);
        found++;
    }
    return found;
}

static void any_step_may_find_no_memory(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {200, 4096, 60000, 9000};
    for (long nth = 0; nth < 60; nth++) {
        struct tl_cache *c = NULL;
        struct tl_cache_stats s;
        const struct tl_cache_config config = config_of(16 * MIB, -1);
        fail_for = 1 + nth % 3;
        fail_from = nth;
        int rc = tl_cache_new(&c, &config, NULL);
        if (rc != 0) {
            assert_int_equal(rc, -ENOMEM);
            fail_from = -1;
            continue;
        }
        uint64_t put_well = 0;
        for (uint64_t i = 0; i < 200; i++) {
            rc = put(c, i, sizes[i % 4]);
            assert_true(rc == 0 || rc == -ENOMEM || rc == -ENOSPC);
            put_well += rc == 0;
        }
        assert_true(put_well > 190);
        tl_cache_stats(c, &s);
        assert_int_equal(count(c, 200, sizes, 4) + s.evictions, put_well);
        assert_true(s.used_bytes <= s.limit_bytes);
        fail_from = -1;
        tl_cache_free(c);
    }
}

/* Exit code: 0, 77: not to be had here. */
static int on_a_full_file_system(void)
{
    static const uint64_t sizes[] = {4096, 60000, 300};
    struct tl_cache *c = NULL;
    struct tl_cache_stats s;
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("full", "/mnt", "tmpfs", 0, "size=6m,mode=700") != 0)
        return 77;
    int fd = open("/mnt/values", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const struct tl_cache_config config = config_of(64 * MIB, fd);
    if (fd < 0 || tl_cache_new(&c, &config, NULL) != 0)
        return 1;
    uint64_t put_well = 0;
    for (uint64_t i = 0; i < 3000; i++) {
        int rc = put(c, i, sizes[i % 3]);
        if (rc != 0 && rc != -ENOMEM && rc != -ENOSPC)
            return 2;
        put_well += rc == 0;
    }
    tl_cache_stats(c, &s);
    uint64_t there = count(c, 3000, sizes, 3);
    /* It goes on as a cache with the memory that there is. */
    return put_well < 2500 ? 3 : there < 50 ? 4 : s.used_bytes - s.table_bytes > 6 * MIB ? 5 : 0;
}

static void a_full_file_system_is_an_error_and_no_signal(void **state)
{
    (void)state;
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(on_a_full_file_system());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("needs root, to mount a small file system in memory\n");
        skip();
    }
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_step_may_find_no_memory),
        cmocka_unit_test(a_full_file_system_is_an_error_and_no_signal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
