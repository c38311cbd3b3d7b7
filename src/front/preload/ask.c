// SPDX-License-Identifier: Apache-2.0
#include "front/preload/ask.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "front/preload/raw.h"

static long again(long nr, long fd, const void *bytes, size_t len)
{
    long rc;
    do /* a signal handler of the program ran: as often as it sends itself signals */
        rc = tl_raw(nr, fd, tl_arg(bytes), (long)len, nr == SYS_sendto ? MSG_NOSIGNAL : 0, 0, 0);
    while (rc == -EINTR);
    return rc;
}

int tl_ask_fill(const struct tl_paths *p, const char *real)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = TL_ASK_TIMEOUT_S};
    size_t len = tl_length(p->socket);
    int answer = -EIO;
    if (len == 0 || len >= sizeof to.sun_path)
        return -ECONNREFUSED;
    tl_copy(to.sun_path, p->socket, len + 1);
    long fd = tl_raw3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return (int)fd;
    tl_raw(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, tl_arg(&patience), sizeof patience, 0);
    long rc = tl_raw3(SYS_connect, fd, tl_arg(&to), sizeof to);
    if (rc == 0)
        rc = again(SYS_sendto, fd, real, tl_length(real));
    if (rc >= 0)
        rc = again(SYS_recvfrom, fd, &answer, sizeof answer);
    tl_raw2(SYS_close, fd, 0);
    if (rc < 0)
        return (int)rc;
    return rc == (long)sizeof answer ? answer : -ECONNRESET;
}

int tl_ask_fill_if_needed(const struct tl_paths *p, const char *real)
{
    struct stat st;
    long rc = tl_raw4(SYS_newfstatat, AT_FDCWD, tl_arg(real), tl_arg(&st), 0);
    if (rc < 0)
        return (int)rc;
    return tl_ask_needed(&st) ? tl_ask_fill(p, real) : 0;
}
