// SPDX-License-Identifier: Apache-2.0
/* Appending to a file: by rings and past the page cache where the machine allows, and without either. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/prng.h"
#include "store/stream.h"

#define PIECES 400u
#define BLOCK  TL_STREAM_BLOCK

struct scene {
    char dir[64], path[96];
    struct tl_stream_config config;
    struct tl_stream *stream;
    struct tl_error err;
};

static void scene_new(struct scene *s, bool plain)
{
    const char *base = getenv("TMPDIR");
    memset(s, 0, sizeof *s);
    snprintf(s->dir, sizeof s->dir, "%.40s/tl-stream-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->path, sizeof s->path, "%s/file", s->dir);
    tl_stream_config_default(&s->config);
    s->config.buffer_bytes = 4 * BLOCK; /* many small buffers: they go round often */
    s->config.buffers = 3;
    s->config.step_bytes = 1 << 20;
    s->config.plain = plain;
    assert_int_equal(tl_stream_open(&s->stream, s->path, 0, &s->config, &s->err), 0);
}

static void scene_free(struct scene *s)
{
    tl_stream_close(s->stream);
    unlink(s->path);
    assert_int_equal(rmdir(s->dir), 0);
}

static void piece(uint32_t i, uint8_t *bytes, size_t *len)
{
    struct tl_prng p;
    tl_prng_init(&p, 7, i);
    *len = tl_prng_below(&p, 4) == 0 ? tl_prng_below(&p, 60000) : tl_prng_below(&p, 300);
    for (size_t k = 0; k < *len; k++)
        bytes[k] = (uint8_t)tl_prng_next(&p);
}

static void assert_holds(const struct scene *s, uint64_t offset, const uint8_t *bytes, size_t len)
{
    static uint8_t there[60000];
    int fd = open(s->path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, there, len, (off_t)offset), len);
    assert_memory_equal(there, bytes, len);
    close(fd);
}

static void pieces_of_all_sizes(bool plain)
{
    static uint8_t bytes[60000];
    struct scene s;
    struct tl_stream_stats stats;
    uint64_t at[PIECES], end = 0;
    size_t len;
    scene_new(&s, plain);
    for (uint32_t i = 0; i < PIECES; i++) {
        piece(i, bytes, &len);
        if (i % 7 == 0)
            assert_int_equal(tl_stream_align(s.stream) % BLOCK, 0);
        assert_int_equal(tl_stream_append(s.stream, bytes, len, &at[i]), 0);
        assert_true(at[i] >= end); /* they do not overlap */
        end = at[i] + len;
        if (i % 50 == 49)
            assert_int_equal(tl_stream_sync(s.stream), 0);
    }
    assert_int_equal(tl_stream_sync(s.stream), 0);
    for (uint32_t i = 0; i < PIECES; i++) {
        piece(i, bytes, &len);
        assert_holds(&s, at[i], bytes, len);
    }
    tl_stream_stats(s.stream, &stats);
    assert_int_equal(stats.syncs, PIECES / 50); /* the last one found nothing to do */
    assert_true(stats.written_bytes >= end && stats.written_bytes % BLOCK == 0);
    assert_true(!plain || (!stats.direct && !stats.ring));
    print_message("direct %d, ring %d\n", stats.direct, stats.ring);
    scene_free(&s);
}

static void what_was_synced_is_in_the_file(void **state)
{
    (void)state;
    pieces_of_all_sizes(false);
}

static void without_rings_and_past_no_cache_it_is_the_same(void **state)
{
    (void)state;
    pieces_of_all_sizes(true);
}

static void a_file_is_gone_on_with_at_its_end(void **state)
{
    (void)state;
    struct scene s;
    uint64_t first, second;
    scene_new(&s, false);
    assert_int_equal(tl_stream_append(s.stream, "first", 5, &first), 0);
    assert_int_equal(tl_stream_sync(s.stream), 0);
    uint64_t end = tl_stream_end(s.stream);
    assert_int_equal(end, BLOCK);
    assert_int_equal(tl_stream_append(s.stream, "lost", 4, &second), 0);
    tl_stream_close(s.stream);
    assert_int_equal(tl_stream_open(&s.stream, s.path, end, &s.config, &s.err), 0);
    assert_int_equal(tl_stream_append(s.stream, "again", 5, &second), 0);
    assert_int_equal(tl_stream_sync(s.stream), 0);
    assert_int_equal(second, end);
    assert_holds(&s, first, (const uint8_t *)"first", 5);
    assert_holds(&s, second, (const uint8_t *)"again", 5);
    scene_free(&s);
}

static void a_file_has_one_writer(void **state)
{
    (void)state;
    struct scene s;
    struct tl_stream *other;
    struct tl_error err;
    scene_new(&s, false);
    assert_int_equal(tl_stream_open(&other, s.path, 0, &s.config, &err), -EBUSY);
    assert_non_null(strstr(err.msg, s.path));
    tl_stream_close(s.stream);
    assert_int_equal(tl_stream_open(&s.stream, s.path, 0, &s.config, &err), 0);
    scene_free(&s);
}

static void folders_that_cannot_be_written_to_are_named(void **state)
{
    (void)state;
    struct tl_stream *s;
    struct tl_stream_config config;
    struct tl_error err;
    tl_stream_config_default(&config);
    assert_int_equal(tl_stream_open(&s, "/nowhere/at/all", 0, &config, &err), -ENOENT);
    assert_non_null(strstr(err.msg, "/nowhere/at/all"));
}

/* RLIMIT_FSIZE stands for a full disk, which wants a file system of one's own: fallocate fails, nothing is appended. */
static void a_full_file_is_told_at_once_and_loses_nothing(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct scene s;
        static uint8_t bytes[60000];
        uint64_t at;
        (void)!freopen("/dev/null", "w", stderr);
        scene_new(&s, false);
        s.config.step_bytes = BLOCK;
        tl_stream_close(s.stream);
        bool ok = tl_stream_open(&s.stream, s.path, 0, &s.config, &s.err) == 0;
        const struct rlimit limit = {10 * sizeof bytes, 10 * sizeof bytes};
        ok = ok && setrlimit(RLIMIT_FSIZE, &limit) == 0;
        signal(SIGXFSZ, SIG_IGN);
        int rc = 0, count = 0;
        for (; rc == 0 && count < 100; count++)
            rc = tl_stream_append(s.stream, bytes, sizeof bytes, &at);
        ok = ok && rc == -EFBIG && count <= 11 && tl_stream_append(s.stream, "x", 1, &at) == 0;
        ok = ok && tl_stream_sync(s.stream) == 0;
        scene_free(&s);
        _exit(ok ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_synced_is_in_the_file),
        cmocka_unit_test(without_rings_and_past_no_cache_it_is_the_same),
        cmocka_unit_test(a_file_is_gone_on_with_at_its_end),
        cmocka_unit_test(a_file_has_one_writer),
        cmocka_unit_test(folders_that_cannot_be_written_to_are_named),
        cmocka_unit_test(a_full_file_is_told_at_once_and_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
