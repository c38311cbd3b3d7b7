// SPDX-License-Identifier: Apache-2.0
/* Readers in other processes check the digest of everything they read, while the writer evicts, replaces, moves and drops. One of
 * them is killed while it holds values. */
#include "cache/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/time.h"

#define READERS 3u
#define KEYS    3000u
#define TIME_NS (2 * TL_NS_PER_S)
#define MIB     (1ull << 20)

/* In memory of all processes. */
struct board {
    _Atomic uint32_t stop;
    _Atomic uint64_t reads[READERS], misses[READERS];
};

static struct tl_hash key_of(uint64_t n)
{
    return (struct tl_hash){.hi = tl_prng_mix(n), .lo = n};
}

static int reopen(int fd, int flags)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, flags | O_CLOEXEC);
}

/* A value begins with its key. */
static int is_right(const struct tl_value *h, uint64_t n)
{
    uint64_t first = 0;
    struct tl_hash digest = tl_hash_bytes(h->bytes, h->size, 0);
    memcpy(&first, h->bytes, h->size < 8 ? h->size : 8);
    return tl_hash_equal(digest, h->digest) && (h->size < 8 || first == n);
}

/* 0, or what went wrong. */
static int read_on(struct tl_reader *r, struct board *b, uint32_t who)
{
    struct tl_prng prng;
    struct tl_value kept[32] = {{.bytes = NULL}};
    uint64_t kept_key[32] = {0};
    tl_prng_init(&prng, who, 3);
    while (atomic_load(&b->stop) == 0) {
        uint64_t n = tl_prng_below(&prng, KEYS);
        struct tl_value h;
        int rc = tl_reader_get(r, key_of(n), &h);
        if (rc == -ENOENT) {
            atomic_fetch_add(&b->misses[who], 1);
            continue;
        }
        if (rc != 0)
            return 11;
        if (!is_right(&h, n))
            return 12;
        uint32_t k = (uint32_t)tl_prng_below(&prng, 64);
        atomic_fetch_add(&b->reads[who], 1);
        if (k >= 32) {
            tl_reader_let_go(r, &h);
            continue;
        }
        if (kept[k].bytes != NULL) { /* held for a while: still the same */
            if (!is_right(&kept[k], kept_key[k]))
                return 13;
            tl_reader_let_go(r, &kept[k]);
        }
        kept[k] = h;
        kept_key[k] = n;
    }
    return 0;
}

/* Exit code of a reader. */
static int reader_process(const struct tl_cache *c, int holds_fd, struct board *b, uint32_t who)
{
    struct tl_reader r;
    int directory = reopen(tl_cache_directory_fd(c), O_RDONLY), values = reopen(tl_cache_values_fd(c), O_RDONLY);
    if (tl_reader_map(&r, directory, values, tl_cache_uses_fd(c), holds_fd, NULL) != 0)
        return 10;
    return read_on(&r, b, who);
}

struct thread {
    pthread_t id;
    struct tl_reader reader;
    struct board *board;
    uint32_t who, hold_id;
    int result;
};

static void *reader_thread(void *arg)
{
    struct thread *t = arg;
    t->result = read_on(&t->reader, t->board, t->who);
    return NULL;
}

static int make_holds(struct tl_holds **out)
{
    int fd = memfd_create("holds", MFD_CLOEXEC);
    assert_true(fd >= 0 && ftruncate(fd, TL_HOLDS_BYTES) == 0);
    void *p = mmap(NULL, TL_HOLDS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(p != MAP_FAILED);
    *out = p;
    return fd;
}

static void write_one(struct tl_cache *c, struct tl_prng *prng)
{
    static uint8_t bytes[200000];
    static const uint64_t bounds[] = {40, 1000, 5000, 60000};
    uint64_t n = tl_prng_below(prng, KEYS), size = tl_prng_below(prng, bounds[tl_prng_below(prng, 4)]);
    const struct tl_cache_attr a = {.key = key_of(n),
                                    .replace = true,
                                    .class = tl_prng_below(prng, 3) == 0 ? TL_VALUE_VOLATILE : TL_VALUE_ORDINARY};
    memset(bytes, (int)tl_prng_next(prng), size);
    memcpy(bytes, &n, sizeof n);
    int rc = tl_cache_put(c, &a, bytes, size);
    if (rc != 0 && rc != -EAGAIN && rc != -ENOSPC)
        fail_msg("put: %d", rc);
    if (tl_prng_below(prng, 50) == 0)
        (void)!tl_cache_drop(c, key_of(tl_prng_below(prng, KEYS)));
}

static void readers_see_whole_values_or_none(void **state)
{
    (void)state;
    const struct tl_cache_config config = {
        .limit_bytes = 12 * MIB, .values_fd = -1, .adopt_directory_fd = -1, .adopt_uses_fd = -1, .adopt_values_fd = -1};
    struct tl_cache *c = NULL;
    struct tl_prng prng;
    struct tl_cache_stats s;
    pid_t pids[READERS];
    uint32_t ids[READERS];
    struct tl_holds *holds[READERS];
    assert_int_equal(tl_cache_new(&c, &config, NULL), 0);
    struct board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(b != MAP_FAILED);
    tl_prng_init(&prng, 1, 1);
    for (uint32_t i = 0; i < READERS; i++) {
        int fd = make_holds(&holds[i]);
        assert_int_equal(tl_cache_add_reader(c, holds[i], &ids[i]), 0);
        pids[i] = fork();
        if (pids[i] == 0)
            _exit(reader_process(c, fd, b, i));
        close(fd);
    }
    uint64_t start = tl_time_mono_ns();
    bool killed = false;
    while (tl_time_mono_ns() - start < TIME_NS) {
        for (uint32_t i = 0; i < 100; i++)
            write_one(c, &prng);
        if (!killed && tl_time_mono_ns() - start > TIME_NS / 2 && atomic_load(&b->reads[0]) > 0) {
            kill(pids[0], SIGKILL);
            assert_int_equal(waitpid(pids[0], NULL, 0), pids[0]);
            tl_cache_remove_reader(c, ids[0]);
            killed = true;
        }
    }
    atomic_store(&b->stop, 1);
    for (uint32_t i = 1; i < READERS; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
        assert_true(atomic_load(&b->reads[i]) > 1000);
        tl_cache_remove_reader(c, ids[i]);
    }
    tl_cache_stats(c, &s);
    assert_true(killed && s.evictions > 1000 && s.moved_bytes > 0 && s.replaced > 100);
    assert_true(s.used_bytes <= s.limit_bytes);
    while (tl_cache_tick(c)) {
    }
    assert_int_equal(s.damaged, 0);
    tl_cache_free(c);
    munmap(b, sizeof *b);
}

/* The same with threads, which the thread sanitizer can see. */
static void threads_see_whole_values_or_none(void **state)
{
    (void)state;
    const struct tl_cache_config config = {
        .limit_bytes = 12 * MIB, .values_fd = -1, .adopt_directory_fd = -1, .adopt_uses_fd = -1, .adopt_values_fd = -1};
    struct tl_cache *c = NULL;
    struct thread threads[READERS];
    struct tl_prng prng;
    struct board b = {.stop = 0};
    assert_int_equal(tl_cache_new(&c, &config, NULL), 0);
    tl_prng_init(&prng, 2, 1);
    for (uint32_t i = 0; i < READERS; i++) {
        struct tl_holds *holds;
        close(make_holds(&holds));
        threads[i] = (struct thread){.reader = *tl_cache_reader(c), .board = &b, .who = i};
        threads[i].reader.holds = holds;
        assert_int_equal(tl_cache_add_reader(c, holds, &threads[i].hold_id), 0);
        assert_int_equal(pthread_create(&threads[i].id, NULL, reader_thread, &threads[i]), 0);
    }
    uint64_t start = tl_time_mono_ns();
    while (tl_time_mono_ns() - start < TIME_NS)
        write_one(c, &prng);
    atomic_store(&b.stop, 1);
    for (uint32_t i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(threads[i].id, NULL), 0);
        assert_int_equal(threads[i].result, 0);
        assert_true(atomic_load(&b.reads[i]) > 100);
        tl_cache_remove_reader(c, threads[i].hold_id);
        munmap(threads[i].reader.holds, TL_HOLDS_BYTES);
    }
    tl_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(readers_see_whole_values_or_none),
                                       cmocka_unit_test(threads_see_whole_values_or_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
