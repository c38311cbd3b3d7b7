// SPDX-License-Identifier: Apache-2.0
/* The back ends for values: the conformance suite for each, and what only a directory can meet. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache/cache.h"
#include "cache/conformance.h"

#define MIB (1ull << 20)

/* ---- memory ---- */

static struct tl_cache *cache;

static struct tl_backend *open_memory(void *ctx, uint64_t limit_bytes)
{
    (void)ctx;
    const struct tl_cache_config config = {.limit_bytes = limit_bytes,
                                           .values_fd = -1,
                                           .adopt_directory_fd = -1,
                                           .adopt_uses_fd = -1,
                                           .adopt_values_fd = -1};
    struct tl_backend *b = NULL;
    assert_int_equal(tl_cache_new(&cache, &config, NULL), 0);
    assert_int_equal(tl_backend_memory(&b, cache), 0);
    return b;
}

static void close_memory(void *ctx, struct tl_backend *b)
{
    (void)ctx;
    b->ops->close(b);
    tl_cache_free(cache);
}

/* ---- a directory ---- */

static char dir[64];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_dir(void)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct tl_backend *open_disk(void *ctx, uint64_t limit_bytes)
{
    (void)ctx;
    struct tl_backend *b = NULL;
    struct tl_error err = {0};
    strcpy(dir, "/tmp/tiercel-values.XXXXXX");
    assert_non_null(mkdtemp(dir));
    int rc = tl_backend_disk(&b, dir, NULL, limit_bytes, &err);
    if (rc != 0)
        fail_msg("%s", err.msg);
    return b;
}

static void close_disk(void *ctx, struct tl_backend *b)
{
    (void)ctx;
    b->ops->close(b);
    remove_dir();
}

static struct tl_backend *open_again(uint64_t limit_bytes)
{
    struct tl_backend *b = NULL;
    assert_int_equal(tl_backend_disk(&b, dir, NULL, limit_bytes, NULL), 0);
    return b;
}

static int put(struct tl_backend *b, uint64_t n, const char *text)
{
    const struct tl_stored s = {
        .key = {.hi = n << 56, .lo = n}, .size = strlen(text), .digest = tl_hash_bytes(text, strlen(text), 0)};
    return b->ops->put(b, &s, text);
}

static int get(struct tl_backend *b, uint64_t n, char *out, size_t size)
{
    struct tl_stored s;
    int rc = b->ops->get(b, (struct tl_hash){.hi = n << 56, .lo = n}, &s, out, size - 1);
    out[rc == 0 ? s.size : 0] = 0;
    return rc;
}

static void file_of(uint64_t n, char out[160])
{
    snprintf(out, 160, "%s/%02x/%016llx%016llx", dir, (unsigned)n, (unsigned long long)(n << 56),
             (unsigned long long)n);
}

static void values_are_found_again(void **state)
{
    (void)state;
    char text[64];
    struct tl_backend *b = open_disk(NULL, 8 * MIB);
    struct tl_backend_stats st;
    assert_int_equal(put(b, 1, "one"), 0);
    assert_int_equal(put(b, 2, "two"), 0);
    b->ops->close(b);
    b = open_again(8 * MIB);
    assert_int_equal(get(b, 1, text, sizeof text), 0);
    assert_string_equal(text, "one");
    b->ops->stats(b, &st);
    assert_int_equal(st.values, 2);
    b->ops->close(b);
    assert_int_equal(tl_backend_disk(&b, dir, "of-one", 8 * MIB, NULL), 0); /* one of several in the same place */
    assert_int_equal(get(b, 1, text, sizeof text), -ENOENT);
    assert_int_equal(put(b, 1, "another one"), 0);
    b->ops->close(b);
    assert_int_equal(tl_backend_disk(&b, dir, "of-one", 8 * MIB, NULL), 0);
    assert_int_equal(get(b, 1, text, sizeof text), 0);
    close_disk(NULL, b);
}

static void damaged_and_half_written_files_are_never_served(void **state)
{
    (void)state;
    char path[160], text[64], half[160];
    struct tl_backend *b = open_disk(NULL, 8 * MIB);
    struct tl_backend_stats st;
    for (uint64_t n = 1; n <= 5; n++)
        assert_int_equal(put(b, n, "some bytes of a value"), 0);
    file_of(1, path); /* a byte of the value */
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "X", 1, 70), 1);
    close(fd);
    file_of(2, path); /* of its head */
    fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "X", 1, 20), 1);
    close(fd);
    file_of(3, path); /* cut */
    assert_int_equal(truncate(path, 60), 0);
    file_of(4, path); /* away */
    assert_int_equal(unlink(path), 0);
    for (uint64_t n = 1; n <= 4; n++) {
        assert_true(get(b, n, text, sizeof text) < 0);
        assert_int_equal(get(b, n, text, sizeof text), -ENOENT);
    }
    assert_int_equal(get(b, 5, text, sizeof text), 0);
    b->ops->stats(b, &st);
    assert_int_equal(st.values, 1);
    b->ops->close(b);
    snprintf(half, sizeof half, "%s/tmp-77", dir);
    close(open(half, O_CREAT | O_WRONLY, 0600));
    b = open_again(8 * MIB);
    assert_int_equal(access(half, F_OK), -1);
    close_disk(NULL, b);
}

static void a_smaller_limit_holds_for_what_is_there(void **state)
{
    (void)state;
    static char text[100001];
    struct tl_backend *b = open_disk(NULL, 8 * MIB);
    struct tl_backend_stats st;
    memset(text, 'a', sizeof text - 1);
    for (uint64_t n = 1; n <= 40; n++)
        assert_int_equal(put(b, n, text), 0);
    b->ops->close(b);
    b = open_again(MIB);
    b->ops->stats(b, &st);
    assert_true(st.values > 5 && st.used_bytes <= MIB);
    close_disk(NULL, b);
}

static void directories_that_are_not_ours_alone_are_refused(void **state)
{
    (void)state;
    struct tl_backend *b = NULL;
    struct tl_error err;
    char link_path[80];
    strcpy(dir, "/tmp/tiercel-values.XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    assert_int_equal(tl_backend_disk(&b, dir, NULL, MIB, &err), -EPERM);
    assert_non_null(strstr(err.msg, "chmod 700"));
    assert_int_equal(chmod(dir, 0700), 0);
    assert_int_equal(tl_backend_disk(&b, dir, NULL, MIB - 1, &err), -EINVAL);
    snprintf(link_path, sizeof link_path, "%s-link", dir);
    assert_int_equal(symlink(dir, link_path), 0);
    assert_true(tl_backend_disk(&b, link_path, NULL, MIB, &err) < 0);
    unlink(link_path);
    assert_int_equal(tl_backend_disk(&b, "/nowhere/at/all", NULL, MIB, &err), -ENOENT);
    if (geteuid() == 0) {
        assert_int_equal(chown(dir, 65534, 65534), 0);
        assert_int_equal(tl_backend_disk(&b, dir, NULL, MIB, &err), -EPERM);
        assert_non_null(strstr(err.msg, "belongs to user 65534"));
    }
    remove_dir();
}

int main(void)
{
    const struct tl_backend_kind memory = {.name = "memory", .open = open_memory, .close = close_memory},
                                 disk = {.name = "disk", .open = open_disk, .close = close_disk};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_found_again),
        cmocka_unit_test(damaged_and_half_written_files_are_never_served),
        cmocka_unit_test(a_smaller_limit_holds_for_what_is_there),
        cmocka_unit_test(directories_that_are_not_ours_alone_are_refused),
    };
    int failed = tl_backend_conformance(&memory);
    failed += tl_backend_conformance(&disk);
    failed += cmocka_run_group_tests_name("a directory", tests, NULL, NULL);
    return failed;
}
