// SPDX-License-Identifier: Apache-2.0
/* Chunks of one version of a file.
 *
 * A chunk is reported only after the file was seen to be of the wanted version before and after its bytes were read:
 * bytes of two versions never get under one key. A file is looked at before it is opened (O_PATH), so that nothing but
 * a regular file is ever opened: to open a device or a FIFO can do things. */
#include "source/posix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define INTERRUPTED_MAX 100          /* system calls repeated after a signal */
#define ADVICE_STEP     (128u << 10) /* Linux cuts one piece of advice to a file system's read-ahead: this by default */

struct reading {
    struct tl_source *source;
    const struct tl_source_op *op;
    const char *path;
};

/* 0, or -ESTALE when what is open is no longer what was asked for. */
static int verify(int fd, const struct tl_source_op *op, struct statx *st)
{
    uint64_t dev;
    int rc = tl_posix_stat(fd, "", st, &dev);
    if (rc != 0)
        return rc;
    return tl_posix_version(st) == op->version && st->stx_size == op->file_size_bytes ? 0 : -ESTALE;
}

static int open_retrying(const char *path, int flags)
{
    int fd = -1;
    for (int i = 0; i < INTERRUPTED_MAX; i++) {
        fd = open(path, flags);
        if (fd >= 0 || errno != EINTR)
            break;
    }
    return fd >= 0 ? fd : -errno;
}

/* Opens the file that `place` refers to for reading. Reading must not change its access time, where we may say so. */
static int reopen(int place, const struct statx *st, const char *path)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", place);
    int flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | (st->stx_uid == geteuid() ? O_NOATIME : 0);
    int fd = open_retrying(link, flags);
    if (fd == -ENOENT || fd == -ENOTDIR) /* without /proc: by name; the caller looks at what came out */
        fd = open_retrying(path, flags | O_NOFOLLOW);
    return fd;
}

/* A descriptor of the wanted version, or -errno. */
static int open_version(void *ctx)
{
    struct reading *r = ctx;
    struct statx st;
    int place = open_retrying(r->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (place < 0)
        return place;
    int rc = verify(place, r->op, &st);
    if (rc == 0 && !S_ISREG(st.stx_mode))
        rc = -EINVAL;
    int fd = -1;
    if (rc == 0) {
        r->source->counters.opens++;
        fd = reopen(place, &st, r->path);
        rc = fd < 0 ? fd : verify(fd, r->op, &st);
    }
    close(place);
    if (rc != 0) {
        if (fd >= 0)
            close(fd);
        return rc;
    }
    /* We ask for whole chunks, and decide ourselves what to read ahead; advice only. */
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    return fd;
}

/* All len bytes. 0, -errno, or -EIO when the file ends before. */
static int read_fully(struct tl_source *s, int fd, uint8_t *dst, uint32_t len, uint64_t offset)
{
    uint32_t have = 0;
    int interrupted = 0;
    while (have < len) { /* each turn reads a byte or more, ends, or counts */
        s->counters.reads++;
        ssize_t n = pread(fd, dst + have, len - have, (off_t)(offset + have));
        if (n > 0)
            have += (uint32_t)n;
        else if (n == 0)
            return -EIO;
        else if (errno != EINTR || ++interrupted > INTERRUPTED_MAX)
            return -errno;
    }
    s->counters.bytes += len;
    return 0;
}

static int read_chunk(struct reading *r, int fd, uint32_t i, struct tl_hash *digest)
{
    const struct tl_source_op *op = r->op;
    struct statx st;
    uint64_t offset = ((uint64_t)op->first + i) * r->source->config.chunk_size_bytes;
    /* Together, the pages of the place come quicker than one by one; without memory read() says so, not a signal. */
    (void)madvise(op->dst[i], op->lens[i], MADV_POPULATE_WRITE);
    int rc = read_fully(r->source, fd, op->dst[i], op->lens[i], offset);
    if (rc == -EFAULT)
        rc = -ENOMEM;
    /* An error, too, may come from a change: then a change is what it is. */
    int now = verify(fd, op, &st);
    if (now != 0)
        return now;
    if (rc == 0)
        *digest = tl_hash_bytes(op->dst[i], op->lens[i], 0);
    return rc;
}

/* Tells the kernel at once of all that will be read, so that the requests are under way together: in turn, each would
 * wait a round trip. The bytes asked of the storage are the same. Advice only.
 *
 * Each piece reaches to the end of its chunk, so that a chunk is one request where the file system's read-ahead is as
 * large; where it is smaller, the next piece asks for what was cut off. */
static void announce(const struct reading *r, int fd)
{
    const struct tl_source_op *op = r->op;
    for (uint32_t i = 0; i < op->count; i++) {
        uint64_t start = ((uint64_t)op->first + i) * r->source->config.chunk_size_bytes;
        for (uint64_t at = 0; at < op->lens[i]; at += ADVICE_STEP)
            (void)posix_fadvise(fd, (off_t)(start + at), (off_t)(op->lens[i] - at), POSIX_FADV_WILLNEED);
    }
}

/* Chunks in order; one that cannot be read does not keep the next from being tried, a changed file does. The table
 * learns what has become of the file before the owner hears of the end: what it asks for next finds it so. The file is
 * closed after that, because closing may take a while. */
static void read_chunks(struct reading *r, struct tl_posix_file *file)
{
    const struct tl_source_op *op = r->op;
    uint32_t good = 0;
    bool bad = false, over = false;
    announce(r, file->fd);
    for (uint32_t i = 0; !over; i++) {
        struct tl_source_done done = {.cookie = op->cookie, .chunk = op->first + i, .len = op->lens[i]};
        done.status = r->source->stopping ? -ESHUTDOWN : read_chunk(r, file->fd, i, &done.digest);
        over = i + 1 == op->count || done.status == -ESTALE || done.status == -ESHUTDOWN;
        good += done.status == 0;
        bad = bad || done.status != 0;
        done.last = over;
        if (over)
            tl_posix_files_note(&r->source->files, file, good, bad);
        tl_posix_report(r->source, &done);
    }
}

bool tl_source_lens_valid(const struct tl_source_op *op, uint32_t chunk_size)
{
    for (uint32_t i = 0; i < op->count; i++) {
        uint64_t offset = ((uint64_t)op->first + i) * chunk_size;
        if (offset >= op->file_size_bytes || op->dst[i] == NULL)
            return false;
        uint64_t left = op->file_size_bytes - offset;
        if (op->lens[i] != (left < chunk_size ? left : chunk_size))
            return false;
    }
    return true;
}

static struct tl_hash key_of(const struct tl_source_op *op)
{
    return tl_hash_bytes(op->path, op->path_len, op->version);
}

void tl_posix_read(struct tl_source *s, const struct tl_source_op *op, const char *path)
{
    struct reading r = {.source = s, .op = op, .path = path};
    struct tl_posix_file *file = NULL;
    uint32_t chunk_size = s->config.chunk_size_bytes;
    struct tl_posix_exclude *exclude = tl_posix_exclude_ref(s);
    int rc = tl_posix_exclude_covers(exclude, path) ? -ENOENT : tl_source_lens_valid(op, chunk_size) ? 0 : -EINVAL;
    tl_posix_exclude_unref(exclude);
    uint64_t chunks = op->file_size_bytes / chunk_size + (op->file_size_bytes % chunk_size != 0);
    if (rc == 0)
        rc = tl_posix_files_get(&s->files, key_of(op), chunks, open_version, &r, &file);
    if (rc != 0) {
        tl_posix_report(s,
                        &(struct tl_source_done){.cookie = op->cookie, .status = rc, .chunk = op->first, .last = true});
        return;
    }
    read_chunks(&r, file);
    tl_posix_files_put(&s->files, file);
}
