// SPDX-License-Identifier: Apache-2.0
/* Reads of real files that are sparse, change, fail, or are no files; and how often storage is asked. Changes are
 * planted at an exact read (ld's --wrap of pread). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/failing_alloc.h"
#include "base/time.h"
#include "source/conformance.h"
#include "source/files.h"
#include "source/posix.h"

enum plant {
    NOTHING,
    TRUNCATE,
    APPEND,
    REWRITE,
    REPLACE,
    FAIL,
    END_EARLY,
    INTERRUPT,
    DRIBBLE,
};
static _Atomic enum plant planted;
static _Atomic int reads_before; /* the plant takes effect after so many reads; later ones are as usual */
static const char *planted_path;

static void change_file(enum plant what)
{
    char other[4100];
    int fd;
    switch (what) {
    case TRUNCATE: assert_int_equal(truncate(planted_path, 100), 0); break;
    case APPEND:
    case REWRITE:
        fd = open(planted_path, O_WRONLY | O_CLOEXEC | (what == APPEND ? O_APPEND : 0));
        assert_true(fd >= 0);
        assert_int_equal(write(fd, "changed", 7), 7);
        close(fd);
        break;
    case REPLACE:
        snprintf(other, sizeof other, "%s.new", planted_path);
        tl_test_put_file(other, "another file", 12);
        assert_int_equal(rename(other, planted_path), 0);
        break;
    default: break;
    }
}

ssize_t __real_pread64(int fd, void *buffer, size_t len, off64_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t len, off64_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t len, off64_t offset)
{
    enum plant what = planted;
    if (what == DRIBBLE)
        return __real_pread64(fd, buffer, len < 100 ? len : 100, offset);
    if (what == NOTHING || atomic_fetch_sub(&reads_before, 1) != 0)
        return __real_pread64(fd, buffer, len, offset);
    planted = NOTHING;
    if (what == END_EARLY)
        return 0;
    if (what == FAIL || what == INTERRUPT) {
        errno = what == FAIL ? EIO : EINTR;
        return -1;
    }
    change_file(what);
    return __real_pread64(fd, buffer, len, offset);
}

static struct tl_source *open_source(uint32_t open_files_max)
{
    struct tl_source *s = NULL;
    struct tl_source_config config = tl_test_source_config();
    config.open_files_max = open_files_max;
    config.threads = 1;
    assert_int_equal(tl_source_posix_open(&s, &config, NULL), 0);
    return s;
}

static const char *at(const char *name)
{
    static char paths[4][4096];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", tl_test_dir(), name);
    return path;
}

/* A file of `chunks` whole chunks, each full of its number + 1. */
static void put_chunks(const char *path, uint32_t chunks)
{
    uint8_t *bytes = malloc((size_t)chunks * TL_TEST_CHUNK);
    assert_non_null(bytes);
    for (uint32_t i = 0; i < chunks; i++)
        memset(bytes + (size_t)i * TL_TEST_CHUNK, (int)(i + 1), TL_TEST_CHUNK);
    tl_test_put_file(path, bytes, (size_t)chunks * TL_TEST_CHUNK);
    free(bytes);
}

/* Makes the file's times old, so that any change shows, whatever the clock's grain. */
static void age(const char *path)
{
    const struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

/* Reads 4 chunks with something planted at read `when`; returns how many came, with the first error. */
static uint32_t read_with(enum plant what, int when, int *status)
{
    static uint8_t buffer[4 * TL_TEST_CHUNK];
    char path[4096];
    snprintf(path, sizeof path, "%s/planted", tl_test_dir());
    put_chunks(path, 4);
    age(path);
    struct tl_source *s = open_source(4);
    struct tl_attr attr = tl_test_source_attr(s, tl_test_dir(), "planted");
    planted_path = path;
    reads_before = when;
    planted = what;
    uint32_t good = tl_test_source_read(s, path, &attr, 0, 4, buffer, status);
    planted = NOTHING;
    for (uint32_t i = 0; i < good; i++)
        for (uint32_t k = 0; k < TL_TEST_CHUNK; k++)
            assert_int_equal(buffer[i * TL_TEST_CHUNK + k], i + 1);
    tl_source_close(s);
    return good;
}

static void a_file_that_changes_while_it_is_read_is_stale(void **state)
{
    (void)state;
    static const enum plant changes[] = {TRUNCATE, APPEND, REWRITE, REPLACE};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        for (int when = 0; when < 4; when++) {
            int status;
            /* Whole chunks read before the change are good; the one during which it came is not. */
            assert_int_equal(read_with(changes[i], when, &status), when);
            assert_int_equal(status, -ESTALE);
        }
    }
}

static void a_change_after_the_last_chunk_does_no_harm(void **state)
{
    (void)state;
    int status;
    assert_int_equal(read_with(TRUNCATE, 4, &status), 4);
    assert_int_equal(status, 0);
}

static void short_reads_are_completed_or_errors_never_short_chunks(void **state)
{
    (void)state;
    int status;
    assert_int_equal(read_with(DRIBBLE, 0, &status), 4);
    assert_int_equal(status, 0);
    assert_int_equal(read_with(INTERRUPT, 1, &status), 4);
    assert_int_equal(status, 0);
    assert_int_equal(read_with(END_EARLY, 1, &status), 1);
    assert_int_equal(status, -EIO);
    assert_int_equal(read_with(FAIL, 2, &status), 2);
    assert_int_equal(status, -EIO);
}

static void one_bad_chunk_does_not_spoil_the_others(void **state)
{
    (void)state;
    static uint8_t buffer[4][TL_TEST_CHUNK];
    put_chunks(at("bad"), 4);
    struct tl_source *s = open_source(4);
    struct tl_attr attr = tl_test_source_attr(s, tl_test_dir(), "bad");
    char *path = strdup(at("bad"));
    struct tl_source_op op = {.path = path,
                              .path_len = (uint16_t)strlen(path),
                              .version = attr.version,
                              .file_size_bytes = attr.size_bytes,
                              .count = 4};
    for (uint32_t i = 0; i < 4; i++) {
        op.dst[i] = buffer[i];
        op.lens[i] = TL_TEST_CHUNK;
    }
    reads_before = 1;
    planted = FAIL;
    struct tl_source_done done[4];
    assert_int_equal(tl_source_submit(s, &op), 0);
    assert_int_equal(tl_test_source_wait(s, done, 4), 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(done[i].chunk, i);
        assert_int_equal(done[i].status, i == 1 ? -EIO : 0);
        assert_int_equal(done[i].last, i == 3);
        if (i != 1)
            assert_int_equal(buffer[i][7], i + 1);
    }
    tl_source_close(s);
    free(path);
}

static void holes_read_as_zeros_at_any_offset(void **state)
{
    (void)state;
    const uint64_t size = (10ull << 30) + 5;
    tl_test_put_file(at("sparse"), "head", 4);
    assert_int_equal(truncate(at("sparse"), (off_t)size), 0);
    struct tl_source *s = open_source(4);
    struct tl_attr attr = tl_test_source_attr(s, tl_test_dir(), "sparse");
    assert_true(attr.size_bytes == size);
    assert_true(attr.blocks * 512 < 1 << 20);
    static uint8_t buffer[2 * TL_TEST_CHUNK];
    int status;
    memset(buffer, 'x', sizeof buffer);
    assert_int_equal(tl_test_source_read(s, at("sparse"), &attr, 0, 1, buffer, &status), 1);
    assert_memory_equal(buffer, "head\0\0\0\0", 8);
    uint32_t last = (uint32_t)(size / TL_TEST_CHUNK);
    assert_int_equal(tl_test_source_read(s, at("sparse"), &attr, last - 1, 2, buffer, &status), 2);
    assert_int_equal(buffer[0], 0);
    assert_int_equal(buffer[TL_TEST_CHUNK + 4], 0);
    tl_source_close(s);
    tl_test_remove(at("sparse"));
}

static void what_is_no_file_is_never_opened(void **state)
{
    (void)state;
    struct tl_source *s = open_source(4);
    uint8_t buffer[TL_TEST_CHUNK];
    struct tl_source_stats stats;
    int status;
    tl_test_put_file(at("was-file"), "abc", 3);
    struct tl_attr attr = tl_test_source_attr(s, tl_test_dir(), "was-file");
    /* A FIFO without a writer would hold a careless reader for ever. */
    tl_test_remove(at("was-file"));
    assert_int_equal(mkfifo(at("was-file"), 0600), 0);
    assert_int_equal(tl_test_source_read(s, at("was-file"), &attr, 0, 1, buffer, &status), 0);
    assert_int_equal(status, -ESTALE);
    tl_test_remove(at("was-file"));
    tl_test_put_link(at("was-file"), "/etc/passwd");
    assert_int_equal(tl_test_source_read(s, at("was-file"), &attr, 0, 1, buffer, &status), 0);
    assert_int_equal(status, -ESTALE);
    /* Asked for by its own version: a directory has a size, and is no file. */
    tl_test_make_dir(at("is-dir"));
    attr = tl_test_source_attr(s, tl_test_dir(), "is-dir");
    if (attr.size_bytes >= 1 && attr.size_bytes <= TL_TEST_CHUNK) {
        assert_int_equal(tl_test_source_read(s, at("is-dir"), &attr, 0, 1, buffer, &status), 0);
        assert_int_equal(status, -EINVAL);
    }
    tl_source_stats(s, &stats);
    assert_int_equal(stats.opens, 0);
    tl_source_close(s);
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static void a_large_file_is_opened_once_and_closed_at_its_end(void **state)
{
    (void)state;
    enum { CHUNKS = 64 };
    static uint8_t buffer[TL_SOURCE_CHUNKS_MAX * TL_TEST_CHUNK];
    put_chunks(at("large"), CHUNKS);
    struct tl_source *s = open_source(4);
    struct tl_attr attr = tl_test_source_attr(s, tl_test_dir(), "large");
    struct tl_source_stats stats;
    int status;
    unsigned before = open_descriptors();
    /* The end first, as readers of archives do. */
    for (uint32_t k = 0; k < CHUNKS / 8; k++) {
        uint32_t first = (CHUNKS / 8 - 1 - k) * 8;
        assert_int_equal(tl_test_source_read(s, at("large"), &attr, first, 8, buffer, &status), 8);
        assert_int_equal(buffer[0], first + 1);
        tl_source_stats(s, &stats);
        assert_int_equal(stats.opens, 1);
        assert_int_equal(stats.reads, (k + 1) * 8);
        assert_int_equal(stats.bytes, (uint64_t)(k + 1) * 8 * TL_TEST_CHUNK);
    }
    tl_source_close(s); /* the worker has put everything away */
    s = open_source(4);
    put_chunks(at("small"), 2);
    attr = tl_test_source_attr(s, tl_test_dir(), "small");
    for (uint32_t turn = 1; turn <= 3; turn++) { /* read whole: closed each time */
        assert_int_equal(tl_test_source_read(s, at("small"), &attr, 0, 2, buffer, &status), 2);
        tl_source_stats(s, &stats);
        assert_int_equal(stats.opens, turn);
    }
    assert_in_range(open_descriptors(), before, before + 1); /* the last one may still be on its way out */
    tl_source_close(s);
}

static void more_files_than_may_be_open_take_turns(void **state)
{
    (void)state;
    enum { FILES = 6, MAX = 3 };
    static uint8_t buffer[TL_TEST_CHUNK];
    struct tl_source *s = open_source(MAX);
    struct tl_attr attrs[FILES];
    char name[16];
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "turn-%d", i);
        put_chunks(at(name), 20);
        attrs[i] = tl_test_source_attr(s, tl_test_dir(), name);
    }
    unsigned before = open_descriptors();
    for (uint32_t chunk = 0; chunk < 10; chunk++) {
        for (int i = 0; i < FILES; i++) {
            int status;
            snprintf(name, sizeof name, "turn-%d", i);
            assert_int_equal(tl_test_source_read(s, at(name), &attrs[i], chunk, 1, buffer, &status), 1);
            assert_int_equal(buffer[0], chunk + 1);
            assert_in_range(open_descriptors(), before, before + MAX + 1);
        }
    }
    tl_source_close(s);
    assert_int_equal(open_descriptors(), before - 1); /* the eventfd is gone, too */
}

static void access_times_stay_as_they_were(void **state)
{
    (void)state;
    static uint8_t buffer[TL_TEST_CHUNK];
    int status;
    struct stat st;
    put_chunks(at("unread"), 1);
    age(at("unread"));
    struct tl_source *s = open_source(1);
    struct tl_attr attr = tl_test_source_attr(s, tl_test_dir(), "unread");
    assert_int_equal(tl_test_source_read(s, at("unread"), &attr, 0, 1, buffer, &status), 1);
    assert_int_equal(stat(at("unread"), &st), 0);
    assert_int_equal(st.st_atim.tv_sec, 1000000000);
    tl_source_close(s);
}

/* The table of open files by itself, with a clock of the test's. */
static int open_null(void *ctx)
{
    ++*(int *)ctx;
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int open_refused(void *ctx)
{
    ++*(int *)ctx;
    return -EACCES;
}

static void idle_files_are_closed_after_a_while(void **state)
{
    (void)state;
    struct tl_posix_files files = {0};
    struct tl_posix_file *a, *b;
    const struct tl_hash key_a = {1, 1}, key_b = {1, 2};
    int opens = 0;
    assert_int_equal(tl_posix_files_init(&files, 4, 2), 0);
    assert_true(tl_posix_files_expire(&files, tl_time_mono_ns()) == UINT64_MAX);
    assert_int_equal(tl_posix_files_get(&files, key_a, 10, open_null, &opens, &a), 0);
    assert_int_equal(tl_posix_files_get(&files, key_b, 10, open_null, &opens, &b), 0);
    tl_posix_files_note(&files, b, 1, false);
    tl_posix_files_put(&files, b);
    uint64_t now_ns = tl_time_mono_ns(), next_ns = tl_posix_files_expire(&files, now_ns);
    assert_true(next_ns > now_ns && next_ns < now_ns + 3600 * TL_NS_PER_S);
    assert_int_equal(files.open_count, 2);
    assert_true(tl_posix_files_expire(&files, next_ns) == UINT64_MAX); /* a is in use */
    assert_int_equal(files.open_count, 1);
    assert_int_equal(tl_posix_files_get(&files, key_a, 10, open_null, &opens, &b), 0);
    assert_ptr_equal(a, b);
    assert_int_equal(opens, 2);
    tl_posix_files_note(&files, a, 5, false);
    tl_posix_files_put(&files, a);
    assert_int_equal(files.open_count, 1);
    tl_posix_files_note(&files, a, 5, false); /* all chunks read */
    tl_posix_files_put(&files, a);
    assert_int_equal(files.open_count, 0);
    assert_int_equal(tl_posix_files_get(&files, key_a, 10, open_refused, &opens, &a), -EACCES);
    assert_int_equal(files.open_count, 0);
    assert_int_equal(tl_posix_files_get(&files, key_a, 10, open_null, &opens, &a), 0);
    tl_posix_files_note(&files, a, 0, true); /* something was wrong with it: the next one opens it again */
    assert_int_equal(tl_posix_files_get(&files, key_a, 10, open_null, &opens, &b), 0);
    assert_ptr_not_equal(a, b);
    tl_posix_files_put(&files, a);
    tl_posix_files_note(&files, b, 10, false);
    tl_posix_files_put(&files, b);
    assert_int_equal(files.open_count, 0);
    tl_posix_files_fini(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_changes_while_it_is_read_is_stale),
        cmocka_unit_test(a_change_after_the_last_chunk_does_no_harm),
        cmocka_unit_test(short_reads_are_completed_or_errors_never_short_chunks),
        cmocka_unit_test(one_bad_chunk_does_not_spoil_the_others),
        cmocka_unit_test(holes_read_as_zeros_at_any_offset),
        cmocka_unit_test(what_is_no_file_is_never_opened),
        cmocka_unit_test(a_large_file_is_opened_once_and_closed_at_its_end),
        cmocka_unit_test(more_files_than_may_be_open_take_turns),
        cmocka_unit_test(access_times_stay_as_they_were),
        cmocka_unit_test(idle_files_are_closed_after_a_while),
    };
    return cmocka_run_group_tests_name("posix reads", tests, NULL, NULL);
}
