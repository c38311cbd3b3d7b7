// SPDX-License-Identifier: Apache-2.0
/* See steps.h. Shared libraries find these before those of libc. */
#include "store/steps.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE  4096u
#define SMALL 512u /* LMDB writes over a part of its first two pages: that needs no space, and is not torn */

static enum steps_mode mode;
static unsigned at, count, syncs;
static bool armed, no_ring, full, was_full;

void steps_arm(enum steps_mode new_mode, unsigned new_at, bool without_ring)
{
    mode = new_mode;
    at = new_at;
    no_ring = without_ring;
    count = syncs = 0;
    full = was_full = false;
    armed = true;
}

unsigned steps_count(void)
{
    return count;
}

unsigned steps_syncs(void)
{
    return syncs;
}

void steps_free_disk(void)
{
    full = armed = false;
}

bool steps_disk_was_full(void)
{
    return was_full;
}

/* ---- what was not synced ---- */

#define UNDOS_MAX 4096u

static struct undo {
    dev_t dev;
    ino_t ino;
    int fd;
    off_t offset;
    size_t len;
    void *old;
} undos[UNDOS_MAX];
static unsigned undo_count;

static void remember(int fd, off_t offset, size_t len)
{
    struct stat st;
    void *old;
    if (!armed || mode != STEPS_POWER)
        return;
    if (undo_count == UNDOS_MAX || fstat(fd, &st) != 0 || posix_memalign(&old, PAGE, len) != 0)
        abort();
    memset(old, 0, len); /* behind the end: the size may have got there before the bytes */
    (void)!syscall(SYS_pread64, fd, old, len, offset);
    undos[undo_count++] = (struct undo){st.st_dev, st.st_ino, fd, offset, len, old};
}

static void was_synced(int fd)
{
    struct stat st;
    unsigned kept = 0;
    syncs += armed;
    if (fstat(fd, &st) != 0)
        return;
    for (unsigned i = 0; i < undo_count; i++)
        if (undos[i].dev == st.st_dev && undos[i].ino == st.st_ino)
            free(undos[i].old);
        else
            undos[kept++] = undos[i];
    undo_count = kept;
}

static void lose_power(void)
{
    for (unsigned i = undo_count; i > 0; i--) {
        const struct undo *u = &undos[i - 1];
        if (at % 2 == 0 || (i * 2654435761u + at * 40503u) >> 13 & 1) /* all; some */
            (void)!syscall(SYS_pwrite64, u->fd, u->old, u->len, u->offset);
    }
    raise(SIGKILL);
}

/* ---- which call it is ---- */

/* This call is the one. */
static bool it_is_time(void)
{
    if (!armed || ++count != at)
        return false;
    if (mode == STEPS_KILL)
        raise(SIGKILL);
    if (mode == STEPS_POWER)
        lose_power();
    full |= mode == STEPS_FULL;
    return true;
}

static bool no_space(void)
{
    was_full |= full;
    if (full)
        errno = ENOSPC;
    return full;
}

/* ---- writing ---- */

static ssize_t write_at(int fd, const void *bytes, size_t len, off_t offset)
{
    bool now = it_is_time();
    if (now && mode == STEPS_TEAR) {
        if (len >= 2 * PAGE)
            (void)!syscall(SYS_pwrite64, fd, bytes, len / 2 / PAGE * PAGE, offset);
        raise(SIGKILL);
    }
    if (len >= SMALL && no_space())
        return now && len >= 2 * PAGE ? syscall(SYS_pwrite64, fd, bytes, len / 2 / PAGE * PAGE, offset) : -1;
    if ((fcntl(fd, F_GETFL) & O_DSYNC) == O_DSYNC)
        syncs += armed;
    else
        remember(fd, offset, len);
    return syscall(SYS_pwrite64, fd, bytes, len, offset);
}

ssize_t steps_pwrite(int fd, const void *bytes, size_t len, off_t offset) __asm__("pwrite");
ssize_t steps_pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    return write_at(fd, bytes, len, offset);
}

ssize_t steps_pwrite64(int fd, const void *bytes, size_t len, off_t offset) __asm__("pwrite64");
ssize_t steps_pwrite64(int fd, const void *bytes, size_t len, off_t offset)
{
    return write_at(fd, bytes, len, offset);
}

ssize_t steps_writev(int fd, const struct iovec *parts, int parts_count) __asm__("writev");
ssize_t steps_writev(int fd, const struct iovec *parts, int parts_count)
{
    bool now = it_is_time();
    if (now && mode == STEPS_TEAR) {
        (void)!syscall(SYS_writev, fd, parts, parts_count / 2);
        raise(SIGKILL);
    }
    size_t len = 0;
    for (int i = 0; i < parts_count; i++)
        len += parts[i].iov_len;
    remember(fd, lseek(fd, 0, SEEK_CUR), len);
    if (no_space())
        return now && parts_count > 1 ? syscall(SYS_writev, fd, parts, parts_count / 2) : -1;
    return syscall(SYS_writev, fd, parts, parts_count);
}

int steps_submit(struct io_uring *ring) __asm__("io_uring_submit");
int steps_submit(struct io_uring *ring)
{
    static int (*real)(struct io_uring *);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "io_uring_submit");
    if (it_is_time() && mode == STEPS_TEAR) { /* under way when it dies */
        real(ring);
        raise(SIGKILL);
    }
    return real(ring);
}

int steps_queue_init(unsigned entries, struct io_uring *ring, unsigned flags) __asm__("io_uring_queue_init");
int steps_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    static int (*real)(unsigned, struct io_uring *, unsigned);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "io_uring_queue_init");
    return armed && no_ring ? -ENOSYS : real(entries, ring, flags);
}

/* ---- space ---- */

int steps_fallocate(int fd, int how, off_t offset, off_t len) __asm__("fallocate64");
int steps_fallocate(int fd, int how, off_t offset, off_t len)
{
    bool punches = (how & FALLOC_FL_PUNCH_HOLE) != 0;
    if (it_is_time() && mode == STEPS_TEAR)
        raise(SIGKILL);
    if (armed && no_ring && !punches) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return !punches && no_space() ? -1 : (int)syscall(SYS_fallocate, fd, how, offset, len);
}

int steps_posix_fallocate(int fd, off_t offset, off_t len) __asm__("posix_fallocate64");
int steps_posix_fallocate(int fd, off_t offset, off_t len)
{
    return steps_fallocate(fd, 0, offset, len) == 0 ? 0 : errno == EOPNOTSUPP ? 0 : errno;
}

int steps_statvfs(const char *path, struct statvfs *out) __asm__("statvfs64");
int steps_statvfs(const char *path, struct statvfs *out)
{
    static int (*real)(const char *, struct statvfs *);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "statvfs64");
    int rc = real(path, out);
    if (full)
        out->f_bavail = 0;
    return rc;
}

static int set_size(int fd, off_t size)
{
    if (it_is_time() && mode == STEPS_TEAR)
        raise(SIGKILL);
    return (int)syscall(SYS_ftruncate, fd, size);
}

int steps_ftruncate(int fd, off_t size) __asm__("ftruncate");
int steps_ftruncate(int fd, off_t size)
{
    return set_size(fd, size);
}

int steps_ftruncate64(int fd, off_t size) __asm__("ftruncate64");
int steps_ftruncate64(int fd, off_t size)
{
    return set_size(fd, size);
}

/* ---- syncs, and names ---- */

int steps_fdatasync(int fd) __asm__("fdatasync");
int steps_fdatasync(int fd)
{
    if (it_is_time() && mode == STEPS_TEAR)
        raise(SIGKILL);
    was_synced(fd);
    return (int)syscall(SYS_fdatasync, fd);
}

int steps_fsync(int fd) __asm__("fsync");
int steps_fsync(int fd)
{
    if (it_is_time() && mode == STEPS_TEAR)
        raise(SIGKILL);
    was_synced(fd);
    return (int)syscall(SYS_fsync, fd);
}

int steps_msync(void *address, size_t len, int flags) __asm__("msync");
int steps_msync(void *address, size_t len, int flags)
{
    if (it_is_time() && mode == STEPS_TEAR)
        raise(SIGKILL);
    return (int)syscall(SYS_msync, address, len, flags);
}

int steps_link(const char *from, const char *to) __asm__("link");
int steps_link(const char *from, const char *to)
{
    if (it_is_time() && mode == STEPS_TEAR)
        raise(SIGKILL);
    return (int)syscall(SYS_link, from, to);
}

int steps_unlinkat(int fd, const char *name, int flags) __asm__("unlinkat");
int steps_unlinkat(int fd, const char *name, int flags)
{
    if (it_is_time() && mode == STEPS_TEAR)
        raise(SIGKILL);
    return (int)syscall(SYS_unlinkat, fd, name, flags);
}
