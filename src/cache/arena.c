// SPDX-License-Identifier: Apache-2.0
/* Segments of 64 MiB, each a sealed memfd, mapped once, with two bitmaps of its pages.
 *
 * `used` has a bit for each page of a live extent, `starts` one for the first page of each: together they know every
 * extent exactly, so that a double release, a wrong length and an overlap are caught, at 4 KiB a segment.
 *
 * Space is found next-fit: from where the last extent ended, then in any segment whose longest free run may be long
 * enough. run_max bounds that run from above; a search that fails lowers it, a release raises it, so that full
 * segments cost one comparison. An empty segment is kept: without pages it costs its mapping and a descriptor.
 *
 * What the limit counts is memory, so fragments cost address space only: twice the limit may be mapped. */
#include "cache/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u /* Linux 6.3 */
#endif

#define PAGE_SIZE_MIN   4096u
#define PAGES_MAX       (TL_ARENA_SEGMENT_SIZE / PAGE_SIZE_MIN)
#define WORDS           (PAGES_MAX / 64)
#define SEGMENT_MAX     (1u << 24) /* numbers that fit TL_ARENA_ADDR */
#define INTERRUPTED_MAX 1000       /* system calls repeated after a signal */
#define NOWHERE         UINT32_MAX

struct segment {
    int fd;
    uint8_t *base;
    uint32_t free_pages;
    uint32_t run_max; /* no free run is longer */
    uint64_t used[WORDS];
    uint64_t starts[WORDS];
};

struct tl_arena {
    struct tl_arena_config config;
    struct tl_arena_stats stats;
    struct segment **segments;
    uint32_t segments_room, segments_max;
    uint32_t page_size, pages;    /* of a segment */
    uint32_t at_segment, at_page; /* where the last extent ended */
};

/* First page in [from, to) whose bit is `value`, or to. */
static uint32_t next_bit(const uint64_t *bits, uint32_t from, uint32_t to, bool value)
{
    while (from < to) {
        uint64_t word = value ? bits[from / 64] : ~bits[from / 64];
        word &= ~0ull << (from % 64);
        if (word != 0) {
            uint32_t found = from / 64 * 64 + (uint32_t)__builtin_ctzll(word);
            return found < to ? found : to;
        }
        from = (from / 64 + 1) * 64;
    }
    return to;
}

static bool bit(const uint64_t *bits, uint32_t page)
{
    return (bits[page / 64] >> (page % 64) & 1) != 0;
}

static void set_bits(uint64_t *bits, uint32_t from, uint32_t count, bool value)
{
    for (uint32_t end = from + count; from < end;) {
        uint32_t in_word = 64 - from % 64;
        uint32_t n = in_word < end - from ? in_word : end - from;
        uint64_t mask = (n == 64 ? ~0ull : (1ull << n) - 1) << (from % 64);
        bits[from / 64] = value ? bits[from / 64] | mask : bits[from / 64] & ~mask;
        from += n;
    }
}

/* First run of n free pages that begins in [from, to) and ends below `pages`, or NOWHERE. */
static uint32_t find_run(const struct segment *s, uint32_t from, uint32_t to, uint32_t pages, uint32_t n)
{
    while (from < to) {
        uint32_t start = next_bit(s->used, from, to, false);
        if (start >= to || start + n > pages)
            return NOWHERE;
        uint32_t end = next_bit(s->used, start, start + n, true);
        if (end == start + n)
            return start;
        from = end;
    }
    return NOWHERE;
}

/* Length of the free run that the page lies in. */
static uint32_t run_around(const struct segment *s, uint32_t page, uint32_t pages)
{
    uint32_t start = page;
    while (start > 0 && !bit(s->used, start - 1)) {
        /* Whole words where possible: a segment has 256 of them. */
        if (start % 64 == 0 && s->used[start / 64 - 1] == 0)
            start -= 64;
        else
            start--;
    }
    return next_bit(s->used, page, pages, true) - start;
}

/* fallocate that survives signals. 0 or -errno. */
static int change_pages(int fd, int mode, uint64_t offset, uint64_t len)
{
    int rc = -EINTR;
    for (int i = 0; i < INTERRUPTED_MAX && rc == -EINTR; i++)
        rc = fallocate(fd, mode, (off_t)offset, (off_t)len) == 0 ? 0 : -errno;
    return rc;
}

/* A memfd that is not inherited and, where the kernel knows how, not executable. Descriptor or -errno. */
static int memory_file(void)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create("tiercel-arena", flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("tiercel-arena", flags);
    return fd >= 0 ? fd : -errno;
}

static void segment_free(struct segment *s)
{
    if (s == NULL)
        return;
    if (s->base != NULL)
        munmap(s->base, TL_ARENA_SEGMENT_SIZE);
    if (s->fd >= 0)
        close(s->fd);
    free(s);
}

/* Neither we nor a client with the descriptor can change the size under a mapping. 0 or -errno. */
static int segment_map(struct segment *s)
{
    s->fd = memory_file();
    if (s->fd < 0)
        return s->fd;
    if (ftruncate(s->fd, TL_ARENA_SEGMENT_SIZE) != 0)
        return -errno;
    if (fcntl(s->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return -errno;
    void *base = mmap(NULL, TL_ARENA_SEGMENT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    s->base = base;
    /* A core dump need not hold the cache; that it may is no reason to fail. */
    (void)madvise(base, TL_ARENA_SEGMENT_SIZE, MADV_DONTDUMP);
    return 0;
}

static int segment_new(const struct tl_arena *a, struct segment **out)
{
    struct segment *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    s->free_pages = a->pages;
    s->run_max = a->pages;
    int rc = segment_map(s);
    if (rc != 0) {
        segment_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

/* Room in the table for one more segment. */
static int reserve_slot(struct tl_arena *a)
{
    if (a->stats.segments == a->segments_max)
        return -ENOSPC;
    if (a->stats.segments < a->segments_room)
        return 0;
    uint32_t room = a->segments_room * 2 + 8;
    struct segment **segments = realloc(a->segments, room * sizeof *segments);
    if (segments == NULL)
        return -ENOMEM;
    a->segments = segments;
    a->segments_room = room;
    return 0;
}

static int add_segment(struct tl_arena *a)
{
    int rc = reserve_slot(a);
    if (rc != 0)
        return rc;
    struct segment *s = NULL;
    rc = segment_new(a, &s);
    if (rc != 0)
        return rc;
    if (a->config.on_segment != NULL)
        rc = a->config.on_segment(a->config.on_segment_ctx, a->stats.segments, s->fd, s->base, TL_ARENA_SEGMENT_SIZE);
    if (rc != 0) {
        segment_free(s);
        return rc;
    }
    a->segments[a->stats.segments++] = s;
    return 0;
}

/* Fragments cost address space only: twice the limit. */
static uint64_t segments_for(uint64_t limit_bytes)
{
    return limit_bytes / TL_ARENA_SEGMENT_SIZE * 2 + 4;
}

int tl_arena_new(struct tl_arena **out, const struct tl_arena_config *config, struct tl_error *err)
{
    uint32_t page_size = (uint32_t)sysconf(_SC_PAGESIZE);
    check(page_size >= PAGE_SIZE_MIN && TL_ARENA_SEGMENT_SIZE % page_size == 0);
    uint64_t segments_max = segments_for(config->limit_bytes);
    if (config->limit_bytes < page_size || segments_max > SEGMENT_MAX)
        return tl_error_set(err, -EINVAL, "cache size %llu bytes is out of range: choose one from %u bytes to 512 TiB",
                            (unsigned long long)config->limit_bytes, page_size);
    /* Segments come when they are needed; that they can come is found out now. */
    int probe = memory_file();
    if (probe < 0)
        return tl_error_set(err, probe,
                            "cannot create shared memory for the cache (memfd_create: %s): see `ulimit -n` and the "
                            "kernel's vm.memfd_noexec",
                            strerror(-probe));
    close(probe);
    struct tl_arena *a = calloc(1, sizeof *a);
    if (a == NULL)
        return tl_error_set(err, -ENOMEM, "no memory for the cache's tables");
    a->config = *config;
    a->segments_max = (uint32_t)segments_max;
    a->page_size = page_size;
    a->pages = TL_ARENA_SEGMENT_SIZE / page_size;
    *out = a;
    return 0;
}

void tl_arena_free(struct tl_arena *a)
{
    if (a == NULL)
        return;
    for (uint32_t i = 0; i < a->stats.segments; i++)
        segment_free(a->segments[i]);
    free(a->segments);
    free(a);
}

static uint32_t pages_of(const struct tl_arena *a, uint32_t len)
{
    check(len >= 1 && len <= TL_ARENA_SEGMENT_SIZE);
    return (len + a->page_size - 1) / a->page_size;
}

/* A run of n free pages in segment i, from page `from` on and then from the beginning; NOWHERE if there is none. */
static uint32_t search_segment(struct tl_arena *a, uint32_t i, uint32_t from, uint32_t n)
{
    struct segment *s = a->segments[i];
    if (s->run_max < n || s->free_pages < n)
        return NOWHERE;
    uint32_t page = find_run(s, from, a->pages, a->pages, n);
    if (page == NOWHERE && from > 0)
        page = find_run(s, 0, from, a->pages, n);
    if (page == NOWHERE)
        s->run_max = n - 1;
    return page;
}

/* Where n pages are free; a new segment if none has them. 0 or -errno. */
static int find_space(struct tl_arena *a, uint32_t n, uint32_t *segment, uint32_t *page)
{
    for (uint32_t k = 0; k < a->stats.segments; k++) {
        uint32_t i = (a->at_segment + k) % a->stats.segments;
        uint32_t found = search_segment(a, i, k == 0 ? a->at_page : 0, n);
        if (found != NOWHERE) {
            *segment = i;
            *page = found;
            return 0;
        }
    }
    int rc = add_segment(a);
    if (rc != 0)
        return rc;
    *segment = a->stats.segments - 1;
    *page = 0;
    return 0;
}

int tl_arena_alloc(struct tl_arena *a, uint32_t len, uint64_t *addr)
{
    uint32_t n = pages_of(a, len);
    uint64_t bytes = (uint64_t)n * a->page_size;
    if (a->stats.page_bytes > a->config.limit_bytes || bytes > a->config.limit_bytes - a->stats.page_bytes)
        return -ENOSPC;
    uint32_t i, page;
    int rc = find_space(a, n, &i, &page);
    if (rc != 0)
        return rc;
    struct segment *s = a->segments[i];
    check(next_bit(s->used, page, page + n, true) == page + n);
    set_bits(s->used, page, n, true);
    set_bits(s->starts, page, 1, true);
    s->free_pages -= n;
    a->stats.live_bytes += len;
    a->stats.page_bytes += bytes;
    a->at_segment = i;
    a->at_page = page + n < a->pages ? page + n : 0;
    *addr = TL_ARENA_ADDR(i, (uint64_t)page * a->page_size);
    return 0;
}

static struct segment *segment_at(struct tl_arena *a, uint64_t addr)
{
    check(TL_ARENA_SEGMENT(addr) < a->stats.segments);
    check(TL_ARENA_OFFSET(addr) < TL_ARENA_SEGMENT_SIZE);
    return a->segments[TL_ARENA_SEGMENT(addr)];
}

/* [page, page + n) is exactly one live extent. */
static bool is_extent(const struct tl_arena *a, const struct segment *s, uint32_t page, uint32_t n)
{
    uint32_t end = page + n;
    return end <= a->pages && bit(s->starts, page) && next_bit(s->used, page, end, false) == end &&
           next_bit(s->starts, page + 1, end, true) >= end &&
           (end == a->pages || !bit(s->used, end) || bit(s->starts, end));
}

int tl_arena_write(struct tl_arena *a, uint64_t addr, const void *bytes, uint32_t len)
{
    int fd = segment_at(a, addr)->fd;
    const uint8_t *from = bytes;
    for (uint32_t done = 0, tries = 0; done < len; tries++) {
        ssize_t n = pwrite(fd, from + done, len - done, (off_t)(TL_ARENA_OFFSET(addr) + done));
        if (n <= 0 && !(n < 0 && errno == EINTR && tries < INTERRUPTED_MAX))
            return -ENOMEM; /* whatever the kernel says: it has no page */
        done += n > 0 ? (uint32_t)n : 0;
    }
    return 0;
}

void tl_arena_release(struct tl_arena *a, uint64_t addr, uint32_t len)
{
    struct segment *s = segment_at(a, addr);
    uint64_t offset = TL_ARENA_OFFSET(addr);
    uint32_t n = pages_of(a, len), page = (uint32_t)(offset / a->page_size);
    check(offset % a->page_size == 0);
    check(is_extent(a, s, page, n));
    check(a->stats.live_bytes >= len);
    /* Pages that cannot be given back must not be written again while a socket may still hold them: they stay in use,
     * and count. No kernel is known to refuse. */
    if (change_pages(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, (uint64_t)n * a->page_size) != 0)
        return;
    set_bits(s->used, page, n, false);
    set_bits(s->starts, page, 1, false);
    s->free_pages += n;
    uint32_t run = run_around(s, page, a->pages);
    if (run > s->run_max)
        s->run_max = run;
    a->stats.live_bytes -= len;
    a->stats.page_bytes -= (uint64_t)n * a->page_size;
    check(s->free_pages <= a->pages && run <= s->free_pages);
}

void *tl_arena_at(struct tl_arena *a, uint64_t addr)
{
    return segment_at(a, addr)->base + TL_ARENA_OFFSET(addr);
}

void tl_arena_set_limit(struct tl_arena *a, uint64_t limit_bytes)
{
    uint64_t segments_max = segments_for(limit_bytes);
    a->config.limit_bytes = limit_bytes;
    if (segments_max > a->segments_max)
        a->segments_max = segments_max > SEGMENT_MAX ? SEGMENT_MAX : (uint32_t)segments_max;
}

void tl_arena_stats(const struct tl_arena *a, struct tl_arena_stats *out)
{
    *out = a->stats;
}
