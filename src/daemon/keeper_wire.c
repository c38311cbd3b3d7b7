// SPDX-License-Identifier: Apache-2.0
/* Packets between keeper and daemon; see keeper.h. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/keeper.h"

union ancillary {
    char bytes[CMSG_SPACE(2 * sizeof(int))];
    struct cmsghdr align;
};

int tl_keeper_send(int fd, const struct tl_keeper_message *m, int first, int second)
{
    union ancillary anc = {.bytes = {0}};
    struct tl_keeper_message out = *m;
    int fds[2] = {first, second};
    size_t size = (size_t)(second >= 0 ? 2 : 1) * sizeof(int);
    out.version = TL_KEEPER_VERSION;
    struct iovec iov = {.iov_base = &out, .iov_len = offsetof(struct tl_keeper_message, text) + strlen(m->text) + 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (first >= 0) {
        msg.msg_control = anc.bytes;
        msg.msg_controllen = CMSG_SPACE(size);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(size)};
        memcpy(CMSG_DATA(c), fds, size);
    }
    ssize_t sent = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent == (ssize_t)iov.iov_len ? 0 : sent < 0 ? -errno : -EIO;
}

static void close_both(int fds[2])
{
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

int tl_keeper_receive(int fd, struct tl_keeper_message *m, int fds[2])
{
    union ancillary anc;
    struct iovec iov = {.iov_base = m, .iov_len = sizeof *m};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = anc.bytes, .msg_controllen = sizeof anc.bytes};
    ssize_t got;
    fds[0] = fds[1] = -1;
    do
        got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return got == 0 ? -ENODATA : -errno;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c != NULL; c = CMSG_NXTHDR(&msg, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0)); /* room was made for two */
    if ((size_t)got <= offsetof(struct tl_keeper_message, text) || m->version != TL_KEEPER_VERSION ||
        ((const char *)m)[got - 1] != 0 || (m->word == TL_KEEPER_HOLD) != (fds[0] >= 0)) {
        close_both(fds);
        return -EPROTO;
    }
    return 0;
}
