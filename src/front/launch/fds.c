// SPDX-License-Identifier: Apache-2.0
/* Descriptors over Unix sockets. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/time.h"
#include "front/launch/launch.h"
#include "front/tree/control.h"

union fds_control {
    char bytes[CMSG_SPACE(2 * sizeof(int))];
    struct cmsghdr align;
};

int tl_fds_send(int socket, int first, int second)
{
    union fds_control control = {.bytes = {0}};
    char hello = TL_HOLDER_HELLO;
    int fds[2] = {first, second};
    size_t size = second >= 0 ? sizeof fds : sizeof fds[0];
    struct iovec iov = {.iov_base = &hello, .iov_len = 1};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = CMSG_SPACE(size)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(size)};
    memcpy(CMSG_DATA(c), fds, size);
    return sendmsg(socket, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 ? 0 : -errno;
}

int tl_fds_receive(int socket, int *first, int *second)
{
    union fds_control control = {.bytes = {0}};
    char hello = 0;
    struct iovec iov = {.iov_base = &hello, .iov_len = 1};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    int rc = tl_control_wait(socket, POLLIN, tl_time_mono_ns() + TL_LAUNCH_TIMEOUT_MS * TL_NS_PER_MS);
    ssize_t n = rc == 0 ? recvmsg(socket, &msg, MSG_CMSG_CLOEXEC) : 0;
    if (rc != 0 || n < 0)
        return rc != 0 ? rc : -errno;
    const struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (n != 1 || hello != TL_HOLDER_HELLO || c == NULL || c->cmsg_type != SCM_RIGHTS)
        return -EPROTO;
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    int fds[2] = {-1, -1};
    memcpy(fds, CMSG_DATA(c), (count < 2 ? count : 2) * sizeof(int));
    *first = fds[0];
    *second = fds[1];
    return 0;
}
