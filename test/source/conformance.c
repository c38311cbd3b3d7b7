// SPDX-License-Identifier: Apache-2.0
#include "source/conformance.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/prng.h"

#define WAIT_MS 20000

static const struct tl_source_under_test *tested;

struct tl_source_config tl_test_source_config(void)
{
    return (struct tl_source_config){
        .threads = 2, .queue_max = 16, .open_files_max = 4, .chunk_size_bytes = TL_TEST_CHUNK};
}

int tl_test_source_wait(struct tl_source *s, struct tl_source_done *out, int max)
{
    int n = 0;
    while (n < max && (n == 0 || !out[n - 1].last)) {
        struct pollfd wait = {.fd = tl_source_fd(s), .events = POLLIN};
        assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
        int got = tl_source_reap(s, out + n, 1);
        assert_int_equal(got, 1); /* readable means that there is something */
        n += got;
    }
    return n;
}

static int get_listing(struct tl_source *s, enum tl_source_kind kind, const char *path, struct tl_listing *listing)
{
    const struct tl_source_op op = {.cookie = 7, .kind = kind, .path = path, .path_len = (uint16_t)strlen(path)};
    struct tl_source_done done;
    assert_int_equal(tl_source_submit(s, &op), 0);
    assert_int_equal(tl_test_source_wait(s, &done, 1), 1);
    assert_int_equal(done.cookie, 7);
    assert_true(done.last);
    assert_true(done.status <= 0);
    if (done.status < 0) {
        assert_null(done.blob);
        return done.status;
    }
    assert_non_null(done.blob);
    assert_true(tl_hash_equal(done.digest, tl_hash_bytes(done.blob, done.len, 0)));
    assert_int_equal(tl_listing_open(listing, done.blob, done.len), 0);
    return 0;
}

int tl_test_source_list(struct tl_source *s, const char *path, struct tl_listing *listing)
{
    return get_listing(s, TL_SOURCE_LIST, path, listing);
}

int tl_test_source_entry(struct tl_source *s, const char *path, struct tl_listing *listing)
{
    return get_listing(s, TL_SOURCE_ENTRY, path, listing);
}

static void free_listing(struct tl_listing *l)
{
    free((void *)(uintptr_t)l->bytes);
}

struct tl_attr tl_test_source_attr(struct tl_source *s, const char *dir, const char *name)
{
    struct tl_listing l;
    struct tl_listing_entry e;
    assert_int_equal(tl_test_source_list(s, dir, &l), 0);
    assert_int_equal(tl_listing_find(&l, name, strlen(name), &e), 0);
    free_listing(&l);
    return e.attr;
}

/* An operation for these chunks, each going to its place in buffer. */
static struct tl_source_op read_op(const char *path, const struct tl_attr *attr, uint32_t first, uint32_t count,
                                   uint8_t *buffer)
{
    struct tl_source_op op = {.cookie = 9,
                              .path = path,
                              .path_len = (uint16_t)strlen(path),
                              .version = attr->version,
                              .file_size_bytes = attr->size_bytes,
                              .first = first,
                              .count = count};
    for (uint32_t i = 0; i < count; i++) {
        uint64_t offset = ((uint64_t)first + i) * TL_TEST_CHUNK;
        uint64_t left = offset < attr->size_bytes ? attr->size_bytes - offset : 0;
        op.dst[i] = buffer + (size_t)i * TL_TEST_CHUNK;
        op.lens[i] = left < TL_TEST_CHUNK ? (uint32_t)left : TL_TEST_CHUNK;
    }
    return op;
}

uint32_t tl_test_source_read(struct tl_source *s, const char *path, const struct tl_attr *attr, uint32_t first,
                             uint32_t count, void *buffer, int *status)
{
    const struct tl_source_op op = read_op(path, attr, first, count, buffer);
    struct tl_source_done done[TL_SOURCE_CHUNKS_MAX];
    assert_int_equal(tl_source_submit(s, &op), 0);
    int n = tl_test_source_wait(s, done, TL_SOURCE_CHUNKS_MAX);
    assert_true(done[n - 1].last);
    uint32_t good = 0;
    *status = 0;
    for (int i = 0; i < n; i++) {
        assert_int_equal(done[i].cookie, 9);
        assert_null(done[i].blob);
        assert_int_equal(done[i].chunk, first + (uint32_t)i);
        if (done[i].status != 0) {
            *status = *status == 0 ? done[i].status : *status;
            continue;
        }
        assert_int_equal(done[i].len, op.lens[i]);
        assert_true(tl_hash_equal(done[i].digest, tl_hash_bytes(op.dst[i], op.lens[i], 0)));
        good += *status == 0;
    }
    return good;
}

static struct tl_source *open_source(void)
{
    struct tl_source *s = NULL;
    struct tl_error err = {0};
    const struct tl_source_config config = tl_test_source_config();
    assert_int_equal(tested->open(&s, &config, &err), 0);
    return s;
}

/* root/name in one of a few buffers that take turns. */
static const char *at(const char *name)
{
    static char paths[4][8192];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", tested->root, name);
    return path;
}

static uint8_t *random_bytes(size_t len, uint64_t seed)
{
    uint8_t *bytes = malloc(len);
    assert_non_null(bytes);
    struct tl_prng p;
    tl_prng_init(&p, seed, 0);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)tl_prng_next(&p);
    return bytes;
}

static void an_empty_directory_lists_as_empty(void **state)
{
    (void)state;
    struct tl_source *s = open_source();
    tested->make_dir(at("empty"));
    struct tl_listing l;
    struct tl_attr self;
    assert_int_equal(tl_test_source_list(s, at("empty"), &l), 0);
    assert_int_equal(l.count, 0);
    tl_listing_self(&l, &self);
    assert_true(S_ISDIR(self.mode));
    assert_int_equal(self.access & 5, 5);
    free_listing(&l);
    tl_source_close(s);
    tested->remove(at("empty"));
}

static void a_listing_has_every_name_with_type_size_and_target(void **state)
{
    (void)state;
    struct tl_source *s = open_source();
    tested->make_dir(at("mixed"));
    tested->make_dir(at("mixed/dir"));
    tested->put_file(at("mixed/file"), "12345", 5);
    tested->put_file(at("mixed/none"), "", 0);
    if (tested->put_link != NULL)
        tested->put_link(at("mixed/link"), "../no/such \n place");
    struct tl_listing l;
    struct tl_listing_entry e;
    assert_int_equal(tl_test_source_list(s, at("mixed"), &l), 0);
    assert_int_equal(l.count, tested->put_link != NULL ? 4 : 3);
    assert_int_equal(tl_listing_find(&l, "dir", 3, &e), 0);
    assert_true(e.attr.status == 0 && S_ISDIR(e.attr.mode));
    assert_int_equal(tl_listing_find(&l, "file", 4, &e), 0);
    assert_true(e.attr.status == 0 && S_ISREG(e.attr.mode) && e.attr.size_bytes == 5 && e.attr.version != 0);
    assert_int_equal(tl_listing_find(&l, "none", 4, &e), 0);
    assert_true(e.attr.status == 0 && S_ISREG(e.attr.mode) && e.attr.size_bytes == 0);
    if (tested->put_link != NULL) {
        assert_int_equal(tl_listing_find(&l, "link", 4, &e), 0);
        assert_true(S_ISLNK(e.attr.mode));
        assert_int_equal(e.target_len, 18);
        assert_memory_equal(e.target, "../no/such \n place", 18);
        tested->remove(at("mixed/link"));
    }
    free_listing(&l);
    tl_source_close(s);
    tested->remove(at("mixed/none"));
    tested->remove(at("mixed/file"));
    tested->remove(at("mixed/dir"));
    tested->remove(at("mixed"));
}

static void assert_holds(struct tl_source *s, const struct tl_listing *l, const char *name, const char *path)
{
    struct tl_listing_entry e;
    uint8_t buffer[TL_TEST_CHUNK];
    int status;
    assert_int_equal(tl_listing_find(l, name, strlen(name), &e), 0);
    assert_int_equal(tl_test_source_read(s, path, &e.attr, 0, 1, buffer, &status), 1);
    assert_int_equal(e.attr.size_bytes, strlen(name));
    assert_memory_equal(buffer, name, strlen(name));
}

static void names_of_any_bytes_come_through(void **state)
{
    (void)state;
    struct tl_source *s = open_source();
    char longest[TL_NAME_MAX + 1], path[TL_NAME_MAX + 8];
    memset(longest, 'L', TL_NAME_MAX);
    longest[TL_NAME_MAX] = '\0';
    tested->make_dir(at("odd"));
    snprintf(path, sizeof path, "odd/%s", longest);
    tested->put_file(at(path), longest, TL_NAME_MAX);
    for (int turn = 0; turn < 2; turn++) { /* put all, then read and remove them */
        struct tl_listing l;
        assert_int_equal(tl_test_source_list(s, at("odd"), &l), 0);
        assert_int_equal(l.count, turn == 0 ? 1 : 255);
        for (int c = 1; c < 256; c++) {
            const char name[] = {'a', (char)c, '\0'};
            if (c == '/')
                continue;
            snprintf(path, sizeof path, "odd/%s", name);
            if (turn == 0) {
                tested->put_file(at(path), name, 2);
                continue;
            }
            assert_holds(s, &l, name, at(path));
            tested->remove(at(path));
        }
        snprintf(path, sizeof path, "odd/%s", longest);
        assert_holds(s, &l, longest, at(path));
        free_listing(&l);
    }
    tl_source_close(s);
    tested->remove(at(path));
    tested->remove(at("odd"));
}

static void chunks_come_back_as_they_were_put(void **state)
{
    (void)state;
    struct tl_source *s = open_source();
    static const size_t sizes[] = {1, TL_TEST_CHUNK - 1, TL_TEST_CHUNK, TL_TEST_CHUNK + 1, 20 * TL_TEST_CHUNK + 17};
    static uint8_t buffer[TL_SOURCE_CHUNKS_MAX * TL_TEST_CHUNK];
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        uint8_t *bytes = random_bytes(sizes[k], k);
        tested->put_file(at("data"), bytes, sizes[k]);
        struct tl_attr attr = tl_test_source_attr(s, tested->root, "data");
        assert_int_equal(attr.size_bytes, sizes[k]);
        uint32_t chunks = (uint32_t)((sizes[k] + TL_TEST_CHUNK - 1) / TL_TEST_CHUNK);
        for (uint32_t first = 0; first < chunks; first += TL_SOURCE_CHUNKS_MAX) {
            uint32_t count = chunks - first < TL_SOURCE_CHUNKS_MAX ? chunks - first : TL_SOURCE_CHUNKS_MAX;
            int status;
            memset(buffer, 0xee, sizeof buffer);
            assert_int_equal(tl_test_source_read(s, at("data"), &attr, first, count, buffer, &status), count);
            assert_int_equal(status, 0);
            size_t offset = (size_t)first * TL_TEST_CHUNK, left = sizes[k] - offset;
            size_t len = left < (size_t)count * TL_TEST_CHUNK ? left : (size_t)count * TL_TEST_CHUNK;
            assert_memory_equal(buffer, bytes + offset, len);
            if (len < sizeof buffer)
                assert_int_equal(buffer[len], 0xee); /* nothing is written behind the end */
        }
        free(bytes);
        tested->remove(at("data"));
    }
    tl_source_close(s);
}

static void what_is_not_there_is_an_error(void **state)
{
    (void)state;
    struct tl_source *s = open_source();
    struct tl_listing l;
    uint8_t buffer[TL_TEST_CHUNK];
    int status;
    tested->put_file(at("plain"), "abc", 3);
    assert_int_equal(tl_test_source_list(s, at("missing"), &l), -ENOENT);
    assert_int_equal(tl_test_source_list(s, at("plain"), &l), -ENOTDIR);
    assert_int_equal(tl_test_source_list(s, at("plain/below"), &l), -ENOTDIR);
    const struct tl_attr attr = tl_test_source_attr(s, tested->root, "plain");
    assert_int_equal(tl_test_source_read(s, at("missing"), &attr, 0, 1, buffer, &status), 0);
    assert_int_equal(status, -ENOENT);
    struct tl_source_stats stats;
    tl_source_stats(s, &stats);
    assert_int_equal(stats.errors, 4);
    tl_source_close(s);
    tested->remove(at("plain"));
}

/* The entry of dir/name is what the listing of dir says about the name. */
static void assert_same_entry(struct tl_source *s, const char *dir, const char *name)
{
    struct tl_listing l, one;
    struct tl_listing_entry want, got;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(tl_test_source_list(s, dir, &l), 0);
    assert_int_equal(tl_listing_find(&l, name, strlen(name), &want), 0);
    assert_int_equal(tl_test_source_entry(s, path, &one), 0);
    assert_int_equal(one.count, 1);
    tl_listing_at(&one, 0, &got);
    assert_int_equal(got.name_len, strlen(name));
    assert_memory_equal(got.name, name, strlen(name));
    assert_true(got.attr.ino == want.attr.ino && got.attr.version == want.attr.version);
    assert_true(got.attr.size_bytes == want.attr.size_bytes && got.attr.blocks == want.attr.blocks);
    assert_true(got.attr.mtime_ns == want.attr.mtime_ns && got.attr.ctime_ns == want.attr.ctime_ns);
    assert_true(got.attr.mode == want.attr.mode && got.attr.nlink == want.attr.nlink);
    assert_true(got.attr.uid == want.attr.uid && got.attr.gid == want.attr.gid);
    assert_true(got.attr.status == 0 && got.attr.access == want.attr.access);
    assert_int_equal(got.target_len, want.target_len);
    assert_true(want.target_len == 0 || memcmp(got.target, want.target, want.target_len) == 0);
    free_listing(&l);
    free_listing(&one);
}

static void an_entry_is_what_the_listing_says_about_the_name(void **state)
{
    (void)state;
    struct tl_source *s = open_source();
    struct tl_listing l;
    tested->make_dir(at("dir"));
    tested->make_dir(at("dir/inner"));
    tested->put_file(at("dir/file"), "hello", 5);
    assert_same_entry(s, at("dir"), "inner");
    assert_same_entry(s, at("dir"), "file");
    if (tested->put_link != NULL) {
        tested->put_link(at("dir/link"), "some/where");
        assert_same_entry(s, at("dir"), "link");
        tested->remove(at("dir/link"));
    }
    assert_int_equal(tl_test_source_entry(s, at("dir/missing"), &l), -ENOENT);
    assert_int_equal(tl_test_source_entry(s, at("missing/name"), &l), -ENOENT);
    assert_int_equal(tl_test_source_entry(s, at("dir/file/name"), &l), -ENOTDIR);
    assert_int_equal(tl_test_source_entry(s, "/", &l), -EINVAL);
    assert_int_equal(tl_test_source_entry(s, at("dir/"), &l), -EINVAL);
    tl_source_close(s);
    tested->remove(at("dir/inner"));
    tested->remove(at("dir/file"));
    tested->remove(at("dir"));
}

static void paths_have_one_spelling_and_a_limit(void **state)
{
    (void)state;
    struct tl_source *s = open_source();
    struct tl_listing l;
    static const char *const bad[] = {"relative", "/a//b", "/a/", "/.", "/..", "/a/../b", "/a/.", "//"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(tl_test_source_list(s, bad[i], &l), -EINVAL);
    const struct tl_source_op with_nul = {.kind = TL_SOURCE_LIST, .path = "/a\0b", .path_len = 4};
    struct tl_source_done done;
    assert_int_equal(tl_source_submit(s, &with_nul), 0);
    assert_int_equal(tl_test_source_wait(s, &done, 1), 1);
    assert_int_equal(done.status, -EINVAL);
    static char path[4200];
    for (size_t i = 0; i + 1 < sizeof path; i++)
        path[i] = i % 100 == 0 ? '/' : 'p';
    path[4096] = '\0';
    assert_int_equal(tl_test_source_list(s, path, &l), -ENAMETOOLONG);
    path[4095] = '\0';
    assert_int_equal(tl_test_source_list(s, path, &l), -ENOENT);
    tl_source_close(s);
}

static void another_version_is_stale(void **state)
{
    (void)state;
    struct tl_source *s = open_source();
    uint8_t buffer[2 * TL_TEST_CHUNK];
    int status;
    tested->put_file(at("changing"), "old bytes", 9);
    struct tl_attr old = tl_test_source_attr(s, tested->root, "changing");
    tested->put_file(at("changing"), "newer bytes", 11);
    assert_int_equal(tl_test_source_read(s, at("changing"), &old, 0, 1, buffer, &status), 0);
    assert_int_equal(status, -ESTALE);
    struct tl_attr fresh = tl_test_source_attr(s, tested->root, "changing");
    assert_true(fresh.version != old.version);
    assert_int_equal(tl_test_source_read(s, at("changing"), &fresh, 0, 1, buffer, &status), 1);
    assert_memory_equal(buffer, "newer bytes", 11);
    tested->remove(at("changing"));
    assert_int_equal(tl_test_source_read(s, at("changing"), &fresh, 0, 1, buffer, &status), 0);
    assert_int_equal(status, -ENOENT);
    tl_source_close(s);
}

static void chunks_outside_the_file_are_refused(void **state)
{
    (void)state;
    struct tl_source *s = open_source();
    uint8_t buffer[2 * TL_TEST_CHUNK];
    int status;
    tested->put_file(at("short"), "abc", 3);
    struct tl_attr attr = tl_test_source_attr(s, tested->root, "short");
    assert_int_equal(tl_test_source_read(s, at("short"), &attr, 1, 1, buffer, &status), 0);
    assert_int_equal(status, -EINVAL);
    struct tl_source_op op = read_op(at("short"), &attr, 0, 1, buffer);
    op.lens[0] = 2; /* half a chunk */
    struct tl_source_done done;
    assert_int_equal(tl_source_submit(s, &op), 0);
    assert_int_equal(tl_test_source_wait(s, &done, 1), 1);
    assert_int_equal(done.status, -EINVAL);
    tl_source_close(s);
    tested->remove(at("short"));
}

static void the_queue_is_bounded_until_completions_are_reaped(void **state)
{
    (void)state;
    struct tl_source *s = NULL;
    struct tl_source_config config = tl_test_source_config();
    config.queue_max = 3;
    assert_int_equal(tested->open(&s, &config, NULL), 0);
    struct tl_source_op op = {.kind = TL_SOURCE_LIST, .path = tested->root, .path_len = (uint16_t)strlen(tested->root)};
    for (int turn = 0; turn < 5; turn++) {
        for (op.cookie = 1; op.cookie <= 3; op.cookie++)
            assert_int_equal(tl_source_submit(s, &op), 0);
        assert_int_equal(tl_source_submit(s, &op), -EBUSY);
        uint64_t seen = 0;
        for (int i = 0; i < 3; i++) {
            struct tl_source_done done;
            assert_int_equal(tl_test_source_wait(s, &done, 1), 1);
            assert_int_equal(done.status, 0);
            seen |= 1ull << done.cookie;
            free(done.blob);
        }
        assert_int_equal(seen, 0xe);
        struct tl_source_done none;
        assert_int_equal(tl_source_reap(s, &none, 1), 0);
        struct pollfd silent = {.fd = tl_source_fd(s), .events = POLLIN};
        assert_int_equal(poll(&silent, 1, 0), 0);
    }
    tl_source_close(s);
}

/* Many operations of both kinds over few threads; each must end once, with the right bytes. */
static void many_operations_at_once_each_end_once(void **state)
{
    (void)state;
    enum { OPS = 16, TURNS = 20, SIZE = 6 * TL_TEST_CHUNK + 5 };
    static uint8_t buffers[OPS][TL_SOURCE_CHUNKS_MAX * TL_TEST_CHUNK];
    struct tl_source *s = open_source();
    uint8_t *bytes = random_bytes(SIZE, 77);
    tested->put_file(at("busy"), bytes, SIZE);
    struct tl_attr attr = tl_test_source_attr(s, tested->root, "busy");
    char *path = strdup(at("busy"));
    assert_non_null(path);
    for (int turn = 0; turn < TURNS; turn++) {
        unsigned chunks[OPS] = {0}, over = 0;
        for (uint64_t k = 0; k < OPS; k++) {
            struct tl_source_op op = read_op(path, &attr, (uint32_t)(k % 3), 4, buffers[k]);
            if (k % 4 == 3)
                op = (struct tl_source_op){
                    .kind = TL_SOURCE_LIST, .path = tested->root, .path_len = (uint16_t)strlen(tested->root)};
            op.cookie = k;
            assert_int_equal(tl_source_submit(s, &op), 0);
        }
        while (over < OPS) {
            struct tl_source_done done;
            assert_int_equal(tl_test_source_wait(s, &done, 1), 1);
            assert_int_equal(done.status, 0);
            chunks[done.cookie]++;
            over += done.last;
            free(done.blob);
        }
        for (unsigned k = 0; k < OPS; k++) {
            assert_int_equal(chunks[k], k % 4 == 3 ? 1 : 4);
            size_t offset = (size_t)(k % 3) * TL_TEST_CHUNK, left = SIZE - offset;
            if (k % 4 != 3)
                assert_memory_equal(buffers[k], bytes + offset, left < 4 * TL_TEST_CHUNK ? left : 4 * TL_TEST_CHUNK);
        }
    }
    free(path);
    free(bytes);
    tl_source_close(s);
    tested->remove(at("busy"));
}

static void close_ends_with_work_outstanding(void **state)
{
    (void)state;
    enum { SIZE = 8 * TL_TEST_CHUNK };
    static uint8_t buffers[16][SIZE];
    uint8_t *bytes = random_bytes(SIZE, 3);
    tested->put_file(at("left"), bytes, SIZE);
    for (int turn = 0; turn < 10; turn++) {
        struct tl_source *s = open_source();
        struct tl_attr attr = tl_test_source_attr(s, tested->root, "left");
        char *path = strdup(at("left"));
        assert_non_null(path);
        for (uint64_t k = 0; k < 16; k++) {
            struct tl_source_op op = read_op(path, &attr, 0, 8, buffers[k]);
            if (k % 2 == 0)
                op = (struct tl_source_op){
                    .kind = TL_SOURCE_LIST, .path = tested->root, .path_len = (uint16_t)strlen(tested->root)};
            assert_int_equal(tl_source_submit(s, &op), 0);
        }
        tl_source_close(s);
        free(path);
    }
    free(bytes);
    tested->remove(at("left"));
    tl_source_close(NULL);
}

static void excluded_directories_are_shown_empty(void **state)
{
    (void)state;
    tested->make_dir(at("outer"));
    tested->make_dir(at("outer/mine"));
    tested->put_file(at("outer/mine/file"), "x", 1);
    tested->put_file(at("outer/mine2"), "y", 1);
    struct tl_source *s = NULL;
    struct tl_source_config config = tl_test_source_config();
    char *mine = strdup(at("outer/mine"));
    const char *exclude[] = {mine};
    config.exclude = exclude;
    config.exclude_count = 1;
    assert_int_equal(tested->open(&s, &config, NULL), 0);
    struct tl_listing l;
    struct tl_listing_entry e;
    struct tl_attr self;
    assert_int_equal(tl_test_source_list(s, mine, &l), 0);
    assert_int_equal(l.count, 0);
    tl_listing_self(&l, &self);
    assert_int_equal(self.mode, S_IFDIR | 0555);
    free_listing(&l);
    assert_int_equal(tl_test_source_list(s, at("outer"), &l), 0);
    assert_int_equal(l.count, 2);
    assert_int_equal(tl_listing_find(&l, "mine", 4, &e), 0);
    assert_int_equal(e.attr.mode, S_IFDIR | 0555);
    assert_true(e.attr.ino == self.ino);
    free_listing(&l);
    assert_int_equal(tl_test_source_list(s, at("outer/mine/below"), &l), 0); /* never looked at */
    assert_int_equal(l.count, 0);
    free_listing(&l);
    assert_int_equal(tl_test_source_entry(s, at("outer/mine/file"), &l), -ENOENT);
    assert_int_equal(tl_test_source_entry(s, mine, &l), 0);
    tl_listing_at(&l, 0, &e);
    assert_int_equal(e.attr.mode, S_IFDIR | 0555);
    free_listing(&l);
    uint8_t buffer[TL_TEST_CHUNK];
    int status;
    const struct tl_attr attr = {.version = 1, .size_bytes = 1};
    assert_int_equal(tl_test_source_read(s, at("outer/mine/file"), &attr, 0, 1, buffer, &status), 0);
    assert_int_equal(status, -ENOENT);
    assert_int_equal(tl_source_set_exclude(s, NULL, 0), 0);
    assert_int_equal(tl_test_source_list(s, mine, &l), 0);
    assert_int_equal(l.count, 1);
    free_listing(&l);
    static const char *const bad[] = {"relative"};
    assert_int_equal(tl_source_set_exclude(s, bad, 1), -EINVAL);
    tl_source_close(s);
    free(mine);
    tested->remove(at("outer/mine/file"));
    tested->remove(at("outer/mine"));
    tested->remove(at("outer/mine2"));
    tested->remove(at("outer"));
}

static void a_senseless_config_is_refused_with_a_sentence(void **state)
{
    (void)state;
    struct tl_source *s = NULL;
    struct tl_error err = {0};
    struct tl_source_config config = tl_test_source_config();
    config.threads = 0;
    assert_int_equal(tested->open(&s, &config, &err), -EINVAL);
    assert_true(strlen(err.msg) > 10);
    config = tl_test_source_config();
    config.queue_max = 0;
    assert_int_equal(tested->open(&s, &config, &err), -EINVAL);
    assert_null(s);
}

int tl_source_conformance_run(const struct tl_source_under_test *under_test)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_directory_lists_as_empty),
        cmocka_unit_test(a_listing_has_every_name_with_type_size_and_target),
        cmocka_unit_test(names_of_any_bytes_come_through),
        cmocka_unit_test(chunks_come_back_as_they_were_put),
        cmocka_unit_test(what_is_not_there_is_an_error),
        cmocka_unit_test(an_entry_is_what_the_listing_says_about_the_name),
        cmocka_unit_test(paths_have_one_spelling_and_a_limit),
        cmocka_unit_test(another_version_is_stale),
        cmocka_unit_test(chunks_outside_the_file_are_refused),
        cmocka_unit_test(the_queue_is_bounded_until_completions_are_reaped),
        cmocka_unit_test(many_operations_at_once_each_end_once),
        cmocka_unit_test(close_ends_with_work_outstanding),
        cmocka_unit_test(excluded_directories_are_shown_empty),
        cmocka_unit_test(a_senseless_config_is_refused_with_a_sentence),
    };
    tested = under_test;
    return cmocka_run_group_tests_name(under_test->name, tests, NULL, NULL);
}
