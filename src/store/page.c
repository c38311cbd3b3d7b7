// SPDX-License-Identifier: Apache-2.0
/* The page that all processes of a pool share. It holds nothing that has to survive: whoever is the first to open the pool makes it
 * anew. Byte 0 of the file is locked for reading by all who use it, for writing by who makes it; such locks go with their process. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "store/embedded.h"

static const char magic[8] = "TLPAGE1";

static int lock_as(int fd, short type, bool wait)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    int rc;
    do
        rc = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock) == 0 ? 0 : -errno;
    while (rc == -EINTR);
    return rc;
}

int tl_page_open(const char *directory, bool read_only, struct tl_page **out, int *lock, bool *first)
{
    char path[4096 + 16];
    snprintf(path, sizeof path, "%s/page", directory);
    int fd = open(path, (read_only ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    *first = !read_only && lock_as(fd, F_WRLCK, false) == 0;
    int rc = *first ? 0 : lock_as(fd, F_RDLCK, true);
    /* Space that is there cannot be missing when a page of it is touched. */
    if (rc == 0 && *first && (ftruncate(fd, sizeof **out) != 0 || (errno = posix_fallocate(fd, 0, sizeof **out)) != 0))
        rc = -errno;
    void *at = MAP_FAILED;
    if (rc == 0)
        at = mmap(NULL, sizeof **out, read_only ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (rc == 0 && at == MAP_FAILED)
        rc = -errno;
    struct tl_page *page = at;
    if (rc == 0 && *first) {
        memset(page, 0, sizeof *page);
        memcpy(page->magic, magic, sizeof magic);
    } else if (rc == 0 &&
               (lseek(fd, 0, SEEK_END) < (off_t)sizeof *page || memcmp(page->magic, magic, sizeof magic) != 0)) {
        munmap(at, sizeof **out);
        rc = -EPROTO;
    }
    if (rc != 0) {
        close(fd);
        return rc;
    }
    *out = page;
    *lock = fd;
    return 0;
}

int tl_page_ready(int lock)
{
    return lock_as(lock, F_RDLCK, false);
}

void tl_page_close(struct tl_page *page, int lock)
{
    if (page != NULL)
        munmap(page, sizeof *page);
    if (lock >= 0)
        close(lock);
}

_Atomic uint32_t *tl_page_counter(struct tl_page *page, const struct tl_store_id *id)
{
    return &page->counters[tl_hash64(id->bytes, sizeof id->bytes, 0) % TL_PAGE_COUNTERS];
}

void tl_page_wake(struct tl_page *page, const struct tl_store_id *id)
{
    _Atomic uint32_t *counter = tl_page_counter(page, id);
    atomic_fetch_add(counter, 1);
    syscall(SYS_futex, counter, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

int tl_page_wait(struct tl_page *page, const struct tl_store_id *id, uint32_t seen, unsigned timeout_ms)
{
    struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = (long)(timeout_ms % 1000) * 1000000};
    if (syscall(SYS_futex, tl_page_counter(page, id), FUTEX_WAIT, seen, &timeout, NULL, 0) == 0 || errno == EAGAIN)
        return 0;
    return -errno;
}
