// SPDX-License-Identifier: Apache-2.0
/* The page that all processes of a pool share. It holds nothing that has to survive: whoever is the first to open the pool for writing
 * makes it anew. Who uses it is told by locks on bytes of the file, which go with the process:
 *
 *   OPENING   for writing while somebody opens the pool: one after the other. Who is killed while he makes the page leaves it to the next
 *   WRITERS   for reading by all who have the pool open for writing: while there are any, the page's numbers mean something
 *   READERS   for reading by all who have it open for reading */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/time.h"
#include "store/embedded.h"

static const char magic[8] = "TLPAGE2";

enum { OPENING = 0, WRITERS = 1, READERS = 2 };

static int lock_as(int fd, off_t byte, short type, bool wait)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int rc;
    do
        rc = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock) == 0 ? 0 : -errno;
    while (rc == -EINTR);
    return rc == -EACCES || rc == -EAGAIN ? -EBUSY : rc;
}

static int open_file(const char *directory, int flags)
{
    char path[4096 + 16];
    snprintf(path, sizeof path, "%s/page", directory);
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd >= 0 ? fd : -errno;
}

/* Somebody destroyed the pool while we waited for the lock. */
static int still_there(int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -errno;
    return st.st_nlink > 0 ? 0 : -ESTALE;
}

static int map(struct tl_page_access *a)
{
    struct stat st;
    if (fstat(a->fd, &st) != 0)
        return -errno;
    if (st.st_size < (off_t)sizeof *a->page)
        return -EPROTO;
    void *at = mmap(NULL, sizeof *a->page, a->writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, a->fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    a->page = at;
    return 0;
}

/* ---- for writing ---- */

static int begin_anew(struct tl_page_access *a)
{
    /* Space that is there cannot be missing when a page of it is touched. */
    if (ftruncate(a->fd, sizeof *a->page) != 0)
        return -errno;
    int rc = -posix_fallocate(a->fd, 0, sizeof *a->page);
    rc = rc == 0 ? map(a) : rc;
    if (rc != 0)
        return rc;
    memset(a->page->magic, 0, sizeof magic);
    memset(a->page->files, 0, sizeof a->page->files); /* the counters stay: readers may sleep on them */
    memset(&a->page->locks, 0, sizeof a->page->locks);
    return 0;
}

static int open_for_writing(const char *directory, struct tl_page_access *a)
{
    a->writable = true;
    a->fd = open_file(directory, O_RDWR | O_CREAT);
    int rc = a->fd < 0 ? a->fd : lock_as(a->fd, OPENING, F_WRLCK, true);
    rc = rc == 0 ? still_there(a->fd) : rc;
    if (rc != 0)
        return rc;
    rc = lock_as(a->fd, WRITERS, F_WRLCK, false);
    a->first = rc == 0;
    if (rc == 0)
        return begin_anew(a);
    rc = rc == -EBUSY ? lock_as(a->fd, WRITERS, F_RDLCK, false) : rc;
    rc = rc == 0 ? map(a) : rc;
    if (rc == 0 && memcmp(a->page->magic, magic, sizeof magic) != 0)
        rc = -EPROTO;
    return rc == 0 ? lock_as(a->fd, OPENING, F_UNLCK, false) : rc;
}

int tl_page_ready(struct tl_page_access *a)
{
    memcpy(a->page->magic, magic, sizeof magic);
    int rc = lock_as(a->fd, WRITERS, F_RDLCK, false);
    return rc == 0 ? lock_as(a->fd, OPENING, F_UNLCK, false) : rc;
}

/* ---- for reading ---- */

/* A page of our own, on which nobody wakes us: waiters look again by themselves. */
static int map_none(struct tl_page_access *a)
{
    void *at = mmap(NULL, sizeof *a->page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return -errno;
    a->page = at;
    a->writable = false;
    return 0;
}

static int open_for_reading(const char *directory, struct tl_page_access *a)
{
    a->fd = open_file(directory, O_RDWR); /* to take part in locks */
    a->writable = a->fd >= 0;
    if (a->fd == -EACCES || a->fd == -EROFS || a->fd == -EPERM)
        a->fd = open_file(directory, O_RDONLY);
    if (a->fd < 0)
        return a->fd == -ENOENT ? map_none(a) : a->fd;
    int rc = lock_as(a->fd, OPENING, F_RDLCK, true);
    rc = rc == 0 ? still_there(a->fd) : rc;
    rc = rc == 0 ? lock_as(a->fd, READERS, F_RDLCK, true) : rc;
    rc = rc == 0 ? lock_as(a->fd, OPENING, F_UNLCK, false) : rc;
    rc = rc == 0 ? map(a) : rc;
    if (rc == 0 && memcmp(a->page->magic, magic, sizeof magic) != 0) {
        munmap(a->page, sizeof *a->page);
        a->page = NULL;
        rc = -EPROTO;
    }
    return rc == -EPROTO ? map_none(a) : rc; /* nobody has written since an older release did */
}

int tl_page_open(const char *directory, bool read_only, struct tl_page_access *out)
{
    *out = (struct tl_page_access){.fd = -1};
    int rc = read_only ? open_for_reading(directory, out) : open_for_writing(directory, out);
    if (rc != 0)
        tl_page_close(out);
    return rc;
}

void tl_page_close(struct tl_page_access *a)
{
    if (a->page != NULL)
        munmap(a->page, sizeof *a->page);
    if (a->fd >= 0)
        close(a->fd);
    *a = (struct tl_page_access){.fd = -1};
}

/* ---- alone ---- */

static int lock_all(int fd)
{
    int rc = lock_as(fd, OPENING, F_WRLCK, false);
    rc = rc == 0 ? lock_as(fd, WRITERS, F_WRLCK, false) : rc;
    return rc == 0 ? lock_as(fd, READERS, F_WRLCK, false) : rc;
}

int tl_page_alone(struct tl_page_access *a)
{
    int rc = lock_all(a->fd);
    if (rc != 0)
        tl_page_share(a);
    return rc;
}

void tl_page_share(struct tl_page_access *a)
{
    (void)!lock_as(a->fd, READERS, F_UNLCK, false); /* letting go cannot fail */
    (void)!lock_as(a->fd, WRITERS, F_RDLCK, false);
    (void)!lock_as(a->fd, OPENING, F_UNLCK, false);
}

int tl_page_seize(const char *directory, int *fd)
{
    *fd = open_file(directory, O_RDWR | O_CREAT);
    int rc = *fd < 0 ? *fd : lock_all(*fd);
    if (rc != 0 && *fd >= 0)
        close(*fd);
    return rc;
}

bool tl_page_has_writer(const struct tl_page_access *a)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = WRITERS, .l_len = 1};
    return a->fd >= 0 && fcntl(a->fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* ---- sleeping ---- */

_Atomic uint32_t *tl_page_counter(struct tl_page *page, const struct tl_store_id *id)
{
    return &page->counters[tl_hash64(id->bytes, sizeof id->bytes, 0) % TL_PAGE_COUNTERS];
}

void tl_page_wake(struct tl_page_access *a, _Atomic uint32_t *counter, uint32_t whom)
{
    if (a->writable)
        atomic_fetch_add(counter, 1);
    syscall(SYS_futex, counter, FUTEX_WAKE_BITSET, INT_MAX, NULL, NULL, whom);
}

int tl_page_wait(const _Atomic uint32_t *counter, uint32_t seen, uint64_t until_ns, uint32_t who)
{
    struct timespec until = tl_time_to_timespec((int64_t)until_ns);
    if (syscall(SYS_futex, counter, FUTEX_WAIT_BITSET, seen, &until, NULL, who) == 0 || errno == EAGAIN)
        return 0;
    return -errno;
}
