// SPDX-License-Identifier: Apache-2.0
/* See stream.h.
 *
 * Buffers form a ring: `first` is the oldest that is being written, `fill` the one that takes bytes. A buffer's place in the file
 * is fixed when it takes its first byte. io_uring writes them in any order; they are given back in order. */
#include "store/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFERS_MAX 64u
#define LARGE_PAGE  (2u << 20)

enum state { EMPTY = 0, FILLING, WRITING };

struct buffer {
    uint8_t *bytes;
    uint64_t offset;
    uint32_t used; /* bytes; whole blocks while it is written */
    enum state state;
};

struct tl_stream {
    int fd;
    int cached_fd; /* the same file through the page cache */
    struct tl_stream_config config;
    struct buffer buffers[BUFFERS_MAX];
    uint32_t fill;
    uint32_t writing;    /* buffers under way */
    uint64_t allocated;  /* end of the space that is ours */
    uint64_t synced;     /* all below is on the device */
    uint64_t last_burst; /* bytes between the last two syncs */
    int error;
    bool has_ring, is_pinned;
    struct io_uring ring;
    struct tl_stream_stats stats;
};

void tl_stream_config_default(struct tl_stream_config *c)
{
    *c = (struct tl_stream_config){.buffer_bytes = 1u << 20, .buffers = 8, .step_bytes = 64u << 20};
}

/* ---- opening ---- */

static int open_file(struct tl_stream *s, const char *path)
{
    int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
    s->fd = s->config.plain ? -1 : open(path, flags | O_DIRECT, 0600);
    s->stats.direct = s->fd >= 0;
    if (s->fd < 0 && (s->config.plain || errno == EINVAL))
        s->fd = open(path, flags, 0600);
    s->cached_fd = s->fd < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return s->cached_fd >= 0 ? 0 : -errno;
}

static int own_file(struct tl_stream *s)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    if (fcntl(s->fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
}

/* One after the other, in large pages where there are any: the kernel looks up less for each write. */
static int make_buffers(struct tl_stream *s)
{
    size_t bytes = (size_t)s->config.buffers * s->config.buffer_bytes;
    void *at;
    if (posix_memalign(&at, bytes >= LARGE_PAGE ? LARGE_PAGE : TL_STREAM_BLOCK, bytes) != 0)
        return -ENOMEM;
    (void)!madvise(at, bytes, MADV_HUGEPAGE);
    for (uint32_t i = 0; i < s->config.buffers; i++)
        s->buffers[i].bytes = (uint8_t *)at + (size_t)i * s->config.buffer_bytes;
    return 0;
}

/* Rings may be forbidden, or the kernel too old; and it may not let us pin our buffers, which only saves time. */
static void make_ring(struct tl_stream *s)
{
    struct iovec parts[BUFFERS_MAX];
    s->has_ring = s->stats.ring = !s->config.plain && io_uring_queue_init(BUFFERS_MAX, &s->ring, 0) == 0;
    for (uint32_t i = 0; i < s->config.buffers; i++)
        parts[i] = (struct iovec){s->buffers[i].bytes, s->config.buffer_bytes};
    s->is_pinned = s->has_ring && io_uring_register_buffers(&s->ring, parts, s->config.buffers) == 0;
}

void tl_stream_begin_at(struct tl_stream *s, uint64_t end)
{
    check(end % TL_STREAM_BLOCK == 0 && s->writing == 0 && s->buffers[s->fill].used == 0);
    s->allocated = s->synced = end; /* what lies behind is what somebody who was killed left */
    s->buffers[s->fill].offset = end;
    s->buffers[s->fill].state = FILLING;
}

int tl_stream_open(struct tl_stream **out, const char *path, uint64_t end, const struct tl_stream_config *config,
                   struct tl_error *err)
{
    check(config->buffers >= 2 && config->buffers <= BUFFERS_MAX && config->buffer_bytes > 0 && config->step_bytes > 0);
    check(config->buffer_bytes % TL_STREAM_BLOCK == 0 && end % TL_STREAM_BLOCK == 0);
    struct tl_stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return tl_error_set(err, -ENOMEM, "%s: out of memory", path);
    s->fd = s->cached_fd = -1;
    s->config = *config;
    struct stat st;
    int rc = make_buffers(s);
    if (rc == 0)
        rc = open_file(s, path);
    if (rc == 0)
        rc = own_file(s);
    if (rc == 0 && fstat(s->fd, &st) != 0)
        rc = -errno;
    if (rc != 0) {
        tl_stream_close(s);
        return tl_error_set(err, rc, "%s cannot be written to: %s", path,
                            rc == -EBUSY ? "another process does" : strerror(-rc));
    }
    tl_stream_begin_at(s, end);
    make_ring(s);
    *out = s;
    return 0;
}

/* ---- writing ---- */

/* All of it, one call after the other. */
static int write_plain(int fd, const uint8_t *bytes, size_t len, uint64_t offset)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, bytes, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        bytes += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static void ended(struct tl_stream *s, struct buffer *b, int result)
{
    if (result >= 0 && (uint32_t)result < b->used) /* cut short: the rest at once */
        result = write_plain(s->fd, b->bytes + result, b->used - (uint32_t)result, b->offset + (uint32_t)result);
    if (result < 0 && s->error == 0)
        s->error = result;
    s->stats.written_bytes += b->used;
    b->state = EMPTY;
    b->used = 0;
    s->writing--;
}

/* Waits for one of the writes under way. */
static void wait_one(struct tl_stream *s)
{
    struct io_uring_cqe *cqe;
    int rc;
    do
        rc = io_uring_wait_cqe(&s->ring, &cqe);
    while (rc == -EINTR);
    check(rc == 0); /* the ring is ours, and something is under way */
    uint64_t which = cqe->user_data;
    int result = cqe->res;
    io_uring_cqe_seen(&s->ring, cqe);
    check(which < s->config.buffers && s->buffers[which].state == WRITING);
    ended(s, &s->buffers[which], result == -EINTR || result == -EAGAIN ? 0 : result);
}

/* The kernel does not take this buffer: it, and all that come, are written without a ring. */
static void give_up_ring(struct tl_stream *s, uint32_t which)
{
    struct buffer *b = &s->buffers[which];
    while (s->writing > 1) /* the others are under way */
        wait_one(s);
    io_uring_queue_exit(&s->ring);
    s->has_ring = s->stats.ring = false;
    int rc = write_plain(s->fd, b->bytes, b->used, b->offset);
    ended(s, b, rc == 0 ? (int)b->used : rc);
}

static void write_buffer(struct tl_stream *s, uint32_t which)
{
    struct buffer *b = &s->buffers[which];
    b->state = WRITING;
    s->writing++;
    s->stats.writes++;
    struct io_uring_sqe *sqe = s->has_ring ? io_uring_get_sqe(&s->ring) : NULL;
    if (sqe == NULL) {
        int rc = write_plain(s->fd, b->bytes, b->used, b->offset);
        ended(s, b, rc == 0 ? (int)b->used : rc);
        return;
    }
    if (s->is_pinned)
        io_uring_prep_write_fixed(sqe, s->fd, b->bytes, b->used, b->offset, (int)which);
    else
        io_uring_prep_write(sqe, s->fd, b->bytes, b->used, b->offset);
    io_uring_sqe_set_data64(sqe, which);
    int rc = -EINTR;
    for (int i = 0; i < 100 && (rc == -EINTR || rc == -EAGAIN || rc == -EBUSY); i++)
        rc = io_uring_submit(&s->ring);
    if (rc != 1)
        give_up_ring(s, which);
}

/* The filling buffer, padded to whole blocks, is sent off, and the next one is there to be filled. */
static void send_off(struct tl_stream *s)
{
    struct buffer *b = &s->buffers[s->fill];
    uint32_t whole = (b->used + TL_STREAM_BLOCK - 1) / TL_STREAM_BLOCK * TL_STREAM_BLOCK;
    uint64_t next = b->offset + whole;
    if (whole == 0)
        return;
    memset(b->bytes + b->used, 0, whole - b->used);
    b->used = whole;
    write_buffer(s, s->fill);
    s->fill = (s->fill + 1) % s->config.buffers;
    while (s->buffers[s->fill].state == WRITING)
        wait_one(s);
    s->buffers[s->fill] = (struct buffer){.bytes = s->buffers[s->fill].bytes, .offset = next, .state = FILLING};
}

static int allocate_step(struct tl_stream *s, uint64_t step)
{
    int rc;
    do
        rc = fallocate(s->fd, 0, (off_t)s->allocated, (off_t)step) == 0 ? 0 : -errno;
    while (rc == -EINTR);
    if (rc == -EOPNOTSUPP) /* a file system that cannot: a full one is found when it is written to */
        rc = 0;
    if (rc == 0)
        s->allocated += step;
    return rc;
}

/* Space for what will end at `end`, so that writing it cannot fail for want of it. Allocating waits for all writes under way: so when
 * there are none, as much is asked for as was appended between the last two syncs. */
static int allocate(struct tl_stream *s, uint64_t end)
{
    end = (end + TL_STREAM_BLOCK - 1) / TL_STREAM_BLOCK * TL_STREAM_BLOCK;
    bool first = s->writing == 0 && tl_stream_end(s) == s->synced;
    uint64_t wanted = first ? end + s->last_burst : end;
    if (wanted <= s->allocated)
        return 0;
    uint64_t more = wanted - s->allocated, step = s->config.step_bytes > more ? s->config.step_bytes : more;
    int rc = allocate_step(s, step);
    if (rc == -ENOSPC && end <= s->allocated)
        return 0;
    return rc == -ENOSPC && step > end - s->allocated ? allocate_step(s, end - s->allocated)
                                                      : rc; /* the last that is left */
}

uint64_t tl_stream_end(const struct tl_stream *s)
{
    return s->buffers[s->fill].offset + s->buffers[s->fill].used;
}

int tl_stream_reserve(struct tl_stream *s, size_t len)
{
    if (s->error != 0)
        return s->error;
    return len > INT64_MAX - tl_stream_end(s) ? -EFBIG : allocate(s, tl_stream_end(s) + len);
}

int tl_stream_append(struct tl_stream *s, const void *bytes, size_t len, uint64_t *offset)
{
    const uint8_t *from = bytes;
    int rc = tl_stream_reserve(s, len);
    if (rc != 0)
        return rc;
    *offset = tl_stream_end(s);
    while (len > 0) {
        struct buffer *b = &s->buffers[s->fill];
        size_t room = s->config.buffer_bytes - b->used, part = len < room ? len : room;
        memcpy(b->bytes + b->used, from, part);
        b->used += (uint32_t)part;
        from += part;
        len -= part;
        if (b->used == s->config.buffer_bytes)
            send_off(s);
    }
    return s->error;
}

int tl_stream_append_cached(struct tl_stream *s, const void *bytes, size_t len, uint64_t *offset)
{
    uint64_t at = tl_stream_align(s);
    int rc = s->error != 0 ? s->error : len > INT64_MAX - at - TL_STREAM_BLOCK ? -EFBIG : allocate(s, at + len);
    if (rc != 0)
        return rc;
    send_off(s);
    check(s->buffers[s->fill].offset == at && s->buffers[s->fill].used == 0);
    if (s->error == 0)
        s->error = write_plain(s->cached_fd, bytes, len, at);
    s->buffers[s->fill].offset = (at + len + TL_STREAM_BLOCK - 1) / TL_STREAM_BLOCK * TL_STREAM_BLOCK;
    s->stats.written_bytes += s->buffers[s->fill].offset - at;
    *offset = at;
    return s->error;
}

uint64_t tl_stream_align(struct tl_stream *s)
{
    struct buffer *b = &s->buffers[s->fill];
    uint32_t whole = (b->used + TL_STREAM_BLOCK - 1) / TL_STREAM_BLOCK * TL_STREAM_BLOCK;
    memset(b->bytes + b->used, 0, whole - b->used);
    b->used = whole;
    if (b->used == s->config.buffer_bytes)
        send_off(s);
    return tl_stream_end(s);
}

static void wait_all(struct tl_stream *s)
{
    while (s->writing > 0)
        wait_one(s);
}

int tl_stream_sync(struct tl_stream *s)
{
    send_off(s);
    wait_all(s);
    if (s->error != 0 || s->synced == tl_stream_end(s))
        return s->error;
    s->stats.syncs++;
    if (fdatasync(s->fd) != 0)
        s->error = -errno; /* the kernel has dropped what it could not write: it is not to be tried again */
    if (s->error == 0) {
        s->last_burst = tl_stream_end(s) - s->synced;
        s->synced = tl_stream_end(s);
    }
    return s->error;
}

void tl_stream_begin_anew(struct tl_stream *s)
{
    wait_all(s);
    struct buffer *b = &s->buffers[s->fill];
    uint64_t end = (b->offset + b->used + TL_STREAM_BLOCK - 1) / TL_STREAM_BLOCK * TL_STREAM_BLOCK;
    *b = (struct buffer){.bytes = b->bytes, .offset = end, .state = FILLING};
    s->error = 0;
}

void tl_stream_stats(const struct tl_stream *s, struct tl_stream_stats *out)
{
    *out = s->stats;
}

void tl_stream_close(struct tl_stream *s)
{
    if (s == NULL)
        return;
    if (s->has_ring) {
        wait_all(s);
        io_uring_queue_exit(&s->ring);
    }
    free(s->buffers[0].bytes);
    if (s->fd >= 0) {
        if (s->allocated > s->synced)
            (void)!ftruncate(s->fd, (off_t)s->synced);
        close(s->fd);
    }
    if (s->cached_fd >= 0)
        close(s->cached_fd);
    free(s);
}
