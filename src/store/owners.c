// SPDX-License-Identifier: Apache-2.0
/* Marks of processes: locks on bytes of a file that nobody writes to. Those of fcntl that belong to the process, not to the
 * descriptor: a child has none of them, and the kernel drops them however the process ends. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/embedded.h"

static struct flock byte_of(uint64_t mark, short type)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)(mark & INT64_MAX), .l_len = 1};
}

void tl_owners_open(struct tl_owners *o, const char *directory)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/owners", directory);
    *o = (struct tl_owners){.pid = getpid()};
    o->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    o->writable = o->fd >= 0;
    if (o->fd < 0)
        o->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

void tl_owners_close(struct tl_owners *o)
{
    if (o->fd >= 0)
        close(o->fd);
    free(o->mine);
    *o = (struct tl_owners){.fd = -1};
}

/* Where in our table; count: not there. A child begins with nothing. */
static size_t find(struct tl_owners *o, uint64_t mark)
{
    if (o->pid != getpid()) {
        o->pid = getpid();
        o->count = 0;
    }
    size_t i = 0;
    while (i < o->count && o->mine[i] != (mark & INT64_MAX))
        i++;
    return i;
}

int tl_owners_claim(struct tl_owners *o, uint64_t mark, bool exclusive)
{
    if (o->fd < 0 || (exclusive && !o->writable))
        return -EROFS;
    if (find(o, mark) < o->count)
        return -EALREADY;
    if (o->count == o->room) {
        uint64_t *grown = reallocarray(o->mine, o->room * 2 + 8, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        o->mine = grown;
        o->room = o->room * 2 + 8;
    }
    struct flock lock = byte_of(mark, exclusive ? F_WRLCK : F_RDLCK);
    int rc;
    do
        rc = fcntl(o->fd, F_SETLK, &lock) == 0 ? 0 : -errno;
    while (rc == -EINTR);
    if (rc == 0)
        o->mine[o->count++] = mark & INT64_MAX;
    return rc == -EAGAIN || rc == -EACCES ? -EBUSY : rc;
}

void tl_owners_unclaim(struct tl_owners *o, uint64_t mark)
{
    size_t i = find(o, mark);
    struct flock lock = byte_of(mark, F_UNLCK);
    if (i == o->count)
        return;
    check(fcntl(o->fd, F_SETLK, &lock) == 0); /* letting go asks for nothing */
    o->mine[i] = o->mine[--o->count];
}

int tl_owners_claimed(struct tl_owners *o, uint64_t mark)
{
    struct flock lock = byte_of(mark, F_WRLCK);
    if (find(o, mark) < o->count)
        return 1;
    if (o->fd < 0)
        return 0; /* nobody has ever been able to */
    if (fcntl(o->fd, F_GETLK, &lock) != 0)
        return -errno;
    return lock.l_type != F_UNLCK;
}
