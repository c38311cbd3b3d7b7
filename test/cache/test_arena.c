// SPDX-License-Identifier: Apache-2.0
/* The arena against a naive model, and what the kernel really does: pages come back, readers never see another's. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/failing_alloc.h"
#include "base/prng.h"
#include "cache/arena.h"

#define PAGE 4096u
#define MIB  (1u << 20)

/* pwrite fails with this errno when set; wrapped by the linker (see ld(1), --wrap). */
static int pwrite_errno;
ssize_t __real_pwrite64(int fd, const void *bytes, size_t len, off64_t offset);
ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t len, off64_t offset);
ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t len, off64_t offset)
{
    if (pwrite_errno != 0) {
        errno = pwrite_errno;
        return -1;
    }
    return __real_pwrite64(fd, bytes, len, offset);
}

static int segment_fds[16]; /* of the segments of the latest arena */

static int keep_fd(void *ctx, uint32_t segment, int fd, void *base, size_t len)
{
    (void)ctx, (void)base, (void)len;
    assert_true(segment < sizeof segment_fds / sizeof *segment_fds);
    segment_fds[segment] = fd;
    return 0;
}

static int fd_of(uint64_t addr)
{
    return segment_fds[TL_ARENA_SEGMENT(addr)];
}

static struct tl_arena *arena(uint64_t limit)
{
    struct tl_arena *a = NULL;
    const struct tl_arena_config config = {.limit_bytes = limit, .on_segment = keep_fd};
    assert_int_equal(tl_arena_new(&a, &config, NULL), 0);
    return a;
}

static uint64_t alloc(struct tl_arena *a, uint32_t len)
{
    uint64_t addr = UINT64_MAX;
    assert_int_equal(tl_arena_alloc(a, len, &addr), 0);
    return addr;
}

/* Bytes of memory behind the segment of addr. */
static uint64_t memory_of(uint64_t addr)
{
    struct stat st;
    assert_int_equal(fstat(fd_of(addr), &st), 0);
    assert_int_equal(st.st_size, TL_ARENA_SEGMENT_SIZE);
    return (uint64_t)st.st_blocks * 512;
}

static void extents_are_rounded_to_pages_and_counted(void **state)
{
    (void)state;
    struct tl_arena *a = arena(MIB);
    struct tl_arena_stats stats;
    tl_arena_stats(a, &stats);
    assert_int_equal(stats.segments, 0);
    uint64_t one = alloc(a, 1), two = alloc(a, PAGE + 1);
    assert_int_equal(TL_ARENA_OFFSET(one) % PAGE, 0);
    assert_true(TL_ARENA_OFFSET(two) >= TL_ARENA_OFFSET(one) + PAGE);
    tl_arena_stats(a, &stats);
    assert_int_equal(stats.live_bytes, PAGE + 2);
    assert_int_equal(stats.page_bytes, 3 * PAGE);
    assert_int_equal(stats.segments, 1);
    assert_int_equal(memory_of(one), 0); /* places only */
    static const uint8_t bytes[PAGE + 1] = {1};
    assert_int_equal(tl_arena_write(a, one, bytes, 1), 0);
    assert_int_equal(tl_arena_write(a, two, bytes, PAGE + 1), 0);
    assert_int_equal(memory_of(one), 3 * PAGE);
    tl_arena_release(a, one, 1);
    tl_arena_release(a, two, PAGE + 1);
    tl_arena_stats(a, &stats);
    assert_int_equal(stats.live_bytes, 0);
    assert_int_equal(stats.page_bytes, 0);
    assert_int_equal(memory_of(one), 0);
    tl_arena_free(a);
    tl_arena_free(NULL);
}

static void the_limit_counts_whole_pages(void **state)
{
    (void)state;
    struct tl_arena *a = arena(3 * PAGE);
    uint64_t first = alloc(a, 2 * PAGE), addr = 77;
    assert_int_equal(tl_arena_alloc(a, PAGE + 1, &addr), -ENOSPC);
    assert_int_equal(addr, 77); /* written on success only */
    uint64_t second = alloc(a, 1);
    assert_int_equal(tl_arena_alloc(a, 1, &addr), -ENOSPC);
    tl_arena_release(a, first, 2 * PAGE);
    (void)alloc(a, 2 * PAGE);
    tl_arena_release(a, second, 1);
    tl_arena_free(a);
    struct tl_error err = {0};
    struct tl_arena *none = NULL;
    assert_int_equal(tl_arena_new(&none, &(struct tl_arena_config){.limit_bytes = 1}, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "cache size 1 bytes"));
    assert_int_equal(tl_arena_new(&none, &(struct tl_arena_config){.limit_bytes = UINT64_MAX}, &err), -EINVAL);
    assert_null(none);
}

static void an_extent_may_be_a_whole_segment(void **state)
{
    (void)state;
    struct tl_arena *a = arena(3ull * TL_ARENA_SEGMENT_SIZE);
    uint64_t small = alloc(a, 1), big = alloc(a, TL_ARENA_SEGMENT_SIZE);
    assert_int_equal(TL_ARENA_SEGMENT(small), 0);
    assert_int_equal(TL_ARENA_SEGMENT(big), 1);
    assert_int_equal(TL_ARENA_OFFSET(big), 0);
    uint8_t *bytes = tl_arena_at(a, big);
    bytes[0] = 1;
    bytes[TL_ARENA_SEGMENT_SIZE - 1] = 2;
    uint64_t next = alloc(a, 5 * PAGE);
    assert_int_equal(TL_ARENA_SEGMENT(next), 0); /* where there is room */
    tl_arena_release(a, big, TL_ARENA_SEGMENT_SIZE);
    assert_int_equal(memory_of(big), 0);
    assert_int_equal(TL_ARENA_SEGMENT(alloc(a, TL_ARENA_SEGMENT_SIZE)), 1); /* kept, and used again */
    tl_arena_free(a);
}

struct segments_seen {
    uint32_t count;
    int status;
};

static int on_segment(void *ctx, uint32_t segment, int fd, void *base, size_t len)
{
    struct segments_seen *seen = ctx;
    assert_int_equal(segment, seen->count);
    assert_int_equal(len, TL_ARENA_SEGMENT_SIZE);
    assert_non_null(base);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE),
                     F_SEAL_SHRINK | F_SEAL_GROW);
    if (seen->status == 0)
        seen->count++;
    return seen->status;
}

static void segments_are_announced_sealed_and_in_order(void **state)
{
    (void)state;
    struct segments_seen seen = {0};
    const struct tl_arena_config config = {
        .limit_bytes = 4ull * TL_ARENA_SEGMENT_SIZE, .on_segment = on_segment, .on_segment_ctx = &seen};
    struct tl_arena *a = NULL;
    assert_int_equal(tl_arena_new(&a, &config, NULL), 0);
    assert_int_equal(seen.count, 0);
    (void)alloc(a, TL_ARENA_SEGMENT_SIZE);
    (void)alloc(a, PAGE);
    assert_int_equal(seen.count, 2);
    seen.status = -EMFILE; /* the transport has no room: nothing changes, and the next try may work */
    uint64_t addr;
    assert_int_equal(tl_arena_alloc(a, TL_ARENA_SEGMENT_SIZE, &addr), -EMFILE);
    struct tl_arena_stats stats;
    tl_arena_stats(a, &stats);
    assert_int_equal(stats.segments, 2);
    assert_int_equal(stats.page_bytes, TL_ARENA_SEGMENT_SIZE + PAGE);
    seen.status = 0;
    assert_int_equal(TL_ARENA_SEGMENT(alloc(a, TL_ARENA_SEGMENT_SIZE)), 2);
    tl_arena_free(a);
}

/* Live extents of the model; each is filled with its own pattern. */
struct extent {
    uint64_t addr;
    uint32_t len;
    uint64_t stamp;
};

static uint32_t random_len(struct tl_prng *p)
{
    switch (tl_prng_below(p, 8)) {
    case 0: return 1 + (uint32_t)tl_prng_below(p, 6 * MIB);
    case 1:
    case 2:
    case 3: return 256 * 1024;
    default: return 1 + (uint32_t)tl_prng_below(p, 3 * PAGE);
    }
}

static void stamp(struct tl_arena *a, const struct extent *e)
{
    uint8_t *bytes = tl_arena_at(a, e->addr);
    for (uint32_t at = 0; at < e->len; at += PAGE) {
        assert_int_equal(bytes[at], 0); /* fresh pages are zero */
        bytes[at] = (uint8_t)(1 + e->stamp % 255);
    }
    bytes[e->len - 1] = (uint8_t)(1 + e->stamp % 255);
}

static void verify_stamp(struct tl_arena *a, const struct extent *e)
{
    const uint8_t *bytes = tl_arena_at(a, e->addr);
    for (uint32_t at = 0; at < e->len; at += PAGE)
        assert_int_equal(bytes[at], 1 + e->stamp % 255);
    assert_int_equal(bytes[e->len - 1], 1 + e->stamp % 255);
}

static uint64_t rounded(uint32_t len)
{
    return ((uint64_t)len + PAGE - 1) / PAGE * PAGE;
}

static bool overlap(const struct extent *a, const struct extent *b)
{
    return a->addr < b->addr + rounded(b->len) && b->addr < a->addr + rounded(a->len);
}

static void random_use_agrees_with_a_naive_model(void **state)
{
    (void)state;
    enum { LIVE_MAX = 600, TURNS = 3000 };
    static struct extent live[LIVE_MAX];
    const uint64_t limit = 70ull * MIB;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct tl_prng p;
        tl_prng_init(&p, seed, 0);
        struct tl_arena *a = arena(limit);
        uint32_t count = 0, refused = 0;
        uint64_t live_bytes = 0, page_bytes = 0;
        for (uint32_t turn = 0; turn < TURNS; turn++) {
            /* Phases of growing and shrinking, so that it fills up and fragments. */
            bool grow = tl_prng_below(&p, 100) < (turn / 500 % 2 == 0 ? 70 : 35);
            if (grow && count < LIVE_MAX) {
                struct extent e = {.len = random_len(&p), .stamp = turn};
                int rc = tl_arena_alloc(a, e.len, &e.addr);
                if (page_bytes + rounded(e.len) > limit) {
                    assert_int_equal(rc, -ENOSPC);
                    refused++;
                    continue;
                }
                assert_int_equal(rc, 0);
                for (uint32_t i = 0; i < count; i++)
                    assert_false(overlap(&e, &live[i]));
                stamp(a, &e);
                live[count++] = e;
                live_bytes += e.len;
                page_bytes += rounded(e.len);
            } else if (count > 0) {
                uint32_t i = (uint32_t)tl_prng_below(&p, count);
                verify_stamp(a, &live[i]);
                tl_arena_release(a, live[i].addr, live[i].len);
                live_bytes -= live[i].len;
                page_bytes -= rounded(live[i].len);
                live[i] = live[--count];
            }
            struct tl_arena_stats stats;
            tl_arena_stats(a, &stats);
            assert_int_equal(stats.live_bytes, live_bytes);
            assert_int_equal(stats.page_bytes, page_bytes);
        }
        assert_true(refused > 0);
        uint64_t memory = 0;
        struct tl_arena_stats stats;
        tl_arena_stats(a, &stats);
        for (uint32_t i = 0; i < stats.segments; i++)
            memory += memory_of(TL_ARENA_ADDR(i, 0));
        assert_int_equal(memory, page_bytes); /* the kernel holds what is alive, and nothing else */
        assert_in_range(stats.segments, 2, 5);
        for (uint32_t i = 0; i < count; i++) {
            verify_stamp(a, &live[i]);
            tl_arena_release(a, live[i].addr, live[i].len);
        }
        tl_arena_free(a);
    }
}

static void released_bytes_read_zero_through_an_old_mapping(void **state)
{
    (void)state;
    struct tl_arena *a = arena(MIB);
    uint64_t addr = alloc(a, 3 * PAGE);
    memset(tl_arena_at(a, addr), 'x', 3 * PAGE);
    const char *old = mmap(NULL, TL_ARENA_SEGMENT_SIZE, PROT_READ, MAP_SHARED, fd_of(addr), 0);
    assert_true(old != MAP_FAILED);
    assert_int_equal(old[TL_ARENA_OFFSET(addr)], 'x');
    tl_arena_release(a, addr, 3 * PAGE);
    for (uint32_t i = 0; i < 3 * PAGE; i++)
        assert_int_equal(old[TL_ARENA_OFFSET(addr) + i], 0);
    munmap((void *)(uintptr_t)old, TL_ARENA_SEGMENT_SIZE);
    tl_arena_free(a);
}

/* Sends an extent into a socket or pipe by reference, releases it, fills its place with another object: what the
 * receiver then reads must be the first one's bytes. */
static void receiver_keeps_the_bytes(int in, int out, bool pipe_end)
{
    enum { LEN = 8 * PAGE };
    struct tl_arena *a = arena(LEN);
    uint64_t addr = alloc(a, LEN);
    memset(tl_arena_at(a, addr), 'A', LEN);
    off_t offset = (off_t)TL_ARENA_OFFSET(addr);
    ssize_t sent =
        pipe_end ? splice(fd_of(addr), &offset, out, NULL, LEN, 0) : sendfile(out, fd_of(addr), &offset, LEN);
    assert_int_equal(sent, LEN);
    tl_arena_release(a, addr, LEN);
    uint64_t again = UINT64_MAX;
    for (uint32_t i = 0; i < TL_ARENA_SEGMENT_SIZE / LEN && again != addr; i++) { /* until it is that place's turn */
        again = alloc(a, LEN);
        memset(tl_arena_at(a, again), 'B', LEN);
        tl_arena_release(a, again, LEN);
    }
    assert_true(again == addr);
    static char got[LEN];
    for (size_t have = 0; have < LEN;) {
        ssize_t n = read(in, got + have, LEN - have);
        assert_true(n > 0);
        have += (size_t)n;
    }
    for (size_t i = 0; i < LEN; i++)
        assert_int_equal(got[i], 'A');
    close(in);
    close(out);
    tl_arena_free(a);
}

static void bytes_on_their_way_survive_release_and_reuse(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    receiver_keeps_the_bytes(fds[0], fds[1], true);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    receiver_keeps_the_bytes(fds[0], fds[1], false);
}

static void without_memory_the_arena_stays_usable(void **state)
{
    (void)state;
    struct tl_arena *a = arena(MIB);
    uint64_t first = alloc(a, PAGE), addr = alloc(a, 10 * PAGE);
    static const uint8_t bytes[10 * PAGE] = {1};
    static const int errors[] = {ENOSPC, ENOMEM, EINTR};
    for (size_t i = 0; i < 3; i++) {
        pwrite_errno = errors[i];
        assert_int_equal(tl_arena_write(a, addr, bytes, sizeof bytes), -ENOMEM);
    }
    pwrite_errno = 0;
    assert_int_equal(tl_arena_write(a, addr, bytes, sizeof bytes), 0);
    assert_memory_equal(tl_arena_at(a, addr), bytes, sizeof bytes);
    tl_arena_release(a, addr, sizeof bytes);
    struct tl_arena_stats stats;
    tl_arena_stats(a, &stats);
    assert_int_equal(stats.page_bytes, PAGE);
    tl_arena_release(a, first, PAGE);
    (void)alloc(a, MIB);
    tl_arena_free(a);
}

/* The real thing: without descriptors the kernel itself refuses new segments. */
static void a_real_refusal_of_the_kernel_is_an_error_not_a_signal(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct tl_arena *a = arena(4ull * TL_ARENA_SEGMENT_SIZE);
        uint64_t first = alloc(a, TL_ARENA_SEGMENT_SIZE), addr;
        int last = dup(0); /* all lower numbers are taken */
        struct rlimit limit = {.rlim_cur = (rlim_t)last, .rlim_max = (rlim_t)last};
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || tl_arena_alloc(a, PAGE, &addr) != -EMFILE)
            _exit(1);
        tl_arena_release(a, first, TL_ARENA_SEGMENT_SIZE);
        _exit(tl_arena_alloc(a, PAGE, &addr) == 0 ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    long nth = 0;
    for (; nth < 100; nth++) {
        struct tl_arena *a = NULL;
        const struct tl_arena_config config = {.limit_bytes = MIB};
        uint64_t addr;
        tl_failing_alloc_at(nth);
        int rc = tl_arena_new(&a, &config, NULL);
        if (rc == 0)
            rc = tl_arena_alloc(a, PAGE, &addr);
        bool hit = tl_failing_alloc_hit() != 0;
        tl_failing_alloc_at(-1);
        assert_int_equal(rc, hit ? -ENOMEM : 0);
        if (a != NULL) {
            addr = alloc(a, PAGE);
            tl_arena_release(a, addr, PAGE);
        }
        tl_arena_free(a);
        if (!hit)
            break;
    }
    assert_in_range(nth, 3, 20);
}

enum misuse { TWICE, TOO_SHORT, TOO_LONG, TWO_AT_ONCE, INSIDE, UNALIGNED, UNKNOWN_SEGMENT, EMPTY, TOO_BIG, MISUSES };

static void misuse(enum misuse how)
{
    struct tl_arena *a = arena(MIB);
    uint64_t addr = alloc(a, 2 * PAGE), next = alloc(a, 2 * PAGE);
    switch (how) {
    case TWICE:
        tl_arena_release(a, addr, 2 * PAGE);
        tl_arena_release(a, addr, 2 * PAGE);
        break;
    case TOO_SHORT: tl_arena_release(a, addr, PAGE); break;
    case TOO_LONG: tl_arena_release(a, next, 3 * PAGE); break;
    case TWO_AT_ONCE: tl_arena_release(a, addr, 4 * PAGE); break;
    case INSIDE: tl_arena_release(a, addr + PAGE, PAGE); break;
    case UNALIGNED: tl_arena_release(a, addr + 1, PAGE); break;
    case UNKNOWN_SEGMENT: (void)tl_arena_at(a, TL_ARENA_ADDR(1, 0)); break;
    case EMPTY: (void)!tl_arena_alloc(a, 0, &addr); break;
    case TOO_BIG: (void)!tl_arena_alloc(a, TL_ARENA_SEGMENT_SIZE + 1, &addr); break;
    case MISUSES: break;
    }
}

static void misuse_is_stopped_at_once(void **state)
{
    (void)state;
    for (enum misuse how = TWICE; how <= MISUSES; how++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            signal(SIGABRT, SIG_DFL);
            int quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);
            dup2(quiet, STDERR_FILENO);
            misuse(how);
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (how == MISUSES) /* the right use does not abort */
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        else
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extents_are_rounded_to_pages_and_counted),
        cmocka_unit_test(the_limit_counts_whole_pages),
        cmocka_unit_test(an_extent_may_be_a_whole_segment),
        cmocka_unit_test(segments_are_announced_sealed_and_in_order),
        cmocka_unit_test(random_use_agrees_with_a_naive_model),
        cmocka_unit_test(released_bytes_read_zero_through_an_old_mapping),
        cmocka_unit_test(bytes_on_their_way_survive_release_and_reuse),
        cmocka_unit_test(without_memory_the_arena_stays_usable),
        cmocka_unit_test(a_real_refusal_of_the_kernel_is_an_error_not_a_signal),
        cmocka_unit_test(every_failed_allocation_is_reported),
        cmocka_unit_test(misuse_is_stopped_at_once),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
