// SPDX-License-Identifier: Apache-2.0
/* Filling one file in place.
 *
 * Under a lock of its own: a byte of the tree's lock file. Locks of that kind belong to the open file, so they keep threads
 * apart as well as processes, and go with a process that is killed. What it leaves has no read bit, and the next one fills it
 * from the start. The read bits come last, after the descriptor for writing is closed: a program that sees the file
 * readable can execute it at once (no ETXTBSY). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/time.h"
#include "front/tree/control.h"
#include "front/tree/internal.h"

#define FETCH_TIMEOUT_MS    60000u /* and in addition: */
#define FETCH_BYTES_EACH_MS 1024u
#define TRIES               13 /* 8 seconds in all */
#define ROOM_TIMEOUT_MS     30000u
#define LARGE                                                                                                          \
    (1u << 20) /* bytes of a file for which room is asked for before it is made: the daemon counts smaller ones, too */

/* ---- asking the daemon ---- */

int tl_fill_room(int control, uint64_t bytes, struct tl_error *err)
{
    char text[24], answer[512];
    snprintf(text, sizeof text, "%" PRIu64, bytes);
    const char *const args[] = {"cache", "trees", text, NULL};
    int rc = tl_control_ask(control, args, -1, ROOM_TIMEOUT_MS, answer, sizeof answer, err);
    return rc == -ENOSPC ? rc : 0;
}

/* All memory first: a file with holes would give SIGBUS to who maps it when memory has run out. */
static int reserve_once(int fd, const struct tl_index_file *f)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -errno;
    if ((uint64_t)st.st_size != f->size_bytes && ftruncate(fd, (off_t)f->size_bytes) != 0)
        return -errno; /* somebody was killed while he found it to be longer */
    if (fallocate(fd, 0, 0, (off_t)f->size_bytes) == 0)
        return 0;
    return errno == EINTR ? -EAGAIN : -errno;
}

static int reserve(int fd, const struct tl_index_file *f)
{
    int rc = reserve_once(fd, f);
    for (int i = 0; rc == -EAGAIN && i < 100; i++) /* interrupted by a signal of the program's own */
        rc = reserve_once(fd, f);
    return rc;
}

static int fetch_over(int control, const char *source, const struct tl_index_file *f, int fd)
{
    char version[24], answer[256];
    struct tl_error err = {.code = 0};
    snprintf(version, sizeof version, "%" PRIu64, f->version);
    const char *const args[] = {"fetch", source, version, NULL};
    uint64_t timeout_ms = FETCH_TIMEOUT_MS + f->size_bytes / FETCH_BYTES_EACH_MS;
    int rc = f->size_bytes >= LARGE ? tl_fill_room(control, f->size_bytes, &err) : 0;
    if (rc == 0)
        rc = reserve(fd, f);
    if (rc == 0)
        rc = tl_control_ask(control, args, fd, timeout_ms < UINT32_MAX ? (unsigned)timeout_ms : UINT32_MAX, answer,
                            sizeof answer, &err);
    if (rc == 0 &&
        (tl_control_number(answer, "bytes") != f->size_bytes || tl_control_number(answer, "version") != f->version))
        rc = -ESTALE;
    return rc;
}

/* Over a connection for this file alone: those that lie idle in all the processes of a node would be too many for the daemon. It
 * closes what is too much for it, and what a daemon that ends leaves behind is closed, too: both pass. */
static int fetch(const struct tl_tree *t, const char *source, const struct tl_index_file *f, int fd)
{
    int rc = t->socket[0] != '\0' ? -EPIPE : -ENOTCONN;
    for (int i = 0; i < TRIES && (rc == -EPIPE || rc == -ECONNRESET); i++) {
        if (i > 0)
            (void)poll(NULL, 0, 1 << i);
        int control = tl_unix_connect(t->socket);
        rc = control < 0 ? control : fetch_over(control, source, f, fd);
        if (control >= 0)
            close(control);
    }
    return rc == -EPIPE || rc == -ECONNRESET ? -EIO : rc;
}

/* ---- one file ---- */

static int lock_file(const struct tl_tree *t, uint64_t ino, int *out)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/lock", t->dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), rc = -1;
    if (fd < 0)
        return -errno;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)(ino & INT64_MAX), .l_len = 1};
    while ((rc = fcntl(fd, F_OFD_SETLKW, &lock)) != 0 && errno == EINTR)
        continue;
    if (rc != 0) {
        rc = -errno;
        close(fd);
        return rc;
    }
    *out = fd;
    return 0;
}

/* Opens for writing what need not have a write bit. */
static int open_for_filling(const char *path, mode_t mode)
{
    int flags = O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    int fd = open(path, flags);
    if (fd >= 0 || errno != EACCES)
        return fd >= 0 ? fd : -errno;
    if (chmod(path, (mode | S_IWUSR) & 07777) != 0)
        return -errno;
    fd = open(path, flags);
    int rc = fd >= 0 ? fd : -errno;
    (void)chmod(path, mode & 07777); /* if that fails it can be written to until it is whole: no harm */
    return rc;
}

/* Back to a file with a size and nothing in it. */
static void make_absent(int fd, const struct tl_index_file *f)
{
    if (ftruncate(fd, 0) != 0 || ftruncate(fd, (off_t)f->size_bytes) != 0)
        return; /* it stays unreadable all the same, and is filled from its start next time */
}

static int set_times(int fd, const struct tl_index_file *f)
{
    struct timespec times[2] = {tl_time_to_timespec(f->atime_ns), tl_time_to_timespec(f->mtime_ns)};
    return futimens(fd, times) == 0 ? 0 : -errno;
}

/* Under the file's lock. */
static int fill(const struct tl_tree *t, int control, struct tl_index_head *index, const char *path,
                const struct stat *st, const struct tl_index_file *f)
{
    int fd = open_for_filling(path, st->st_mode);
    if (fd < 0)
        return fd;
    const char *source = path + strlen(t->prefix);
    int rc = control >= 0 ? fetch_over(control, source, f, fd) : fetch(t, source, f, fd);
    if (rc != 0)
        make_absent(fd, f);
    int times = set_times(fd, f);
    close(fd);
    if (rc == -ESTALE)
        atomic_store(&index->stale, 1);
    if (rc != 0 || times != 0)
        return rc != 0 ? rc : times;
    if (chmod(path, f->mode) != 0)
        return -errno;
    atomic_fetch_sub(&index->left, 1);
    atomic_fetch_add(&index->filled, tl_index_bytes(f));
    return 0;
}

int tl_fill_file(struct tl_tree *t, int control, const char *path, const struct stat *st)
{
    struct tl_tree_view *view = tl_tree_look(t);
    if (view == NULL)
        return -ENOENT;
    const struct tl_index_file *f = tl_index_find(view->index, st->st_ino);
    if (f == NULL || f->size_bytes == 0 || (f->mode & S_IRUSR) == 0)
        return 0; /* not of the skeleton, or as good as it gets */
    struct stat now;
    int lock, rc = lock_file(t, st->st_ino, &lock);
    if (rc != 0)
        return rc;
    if (lstat(path, &now) != 0)
        rc = -errno;
    else if (now.st_ino != st->st_ino || !S_ISREG(now.st_mode))
        rc = -ESTALE; /* the tree has been replaced just now */
    else if ((now.st_mode & S_IRUSR) == 0)
        rc = fill(t, control, view->index, path, &now, f);
    close(lock);
    return rc;
}
