// SPDX-License-Identifier: Apache-2.0
/* libFuzzer's way into the control socket (src/daemon/control.c): what a program of the user writes to it, in the pieces in
 * which it comes, with descriptors that ride along. The verbs are replaced: they look at their strings, and answer at once,
 * later, or never.
 *
 * The first byte is the size of the pieces, and whether each brings a descriptor. Whatever comes, the connection can be
 * closed, no descriptor is left, and the verbs are told the strings of each request, and nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/control.h"
#include "daemon/daemon.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tl_daemon daemon_;
static const uint8_t *sent; /* what is sent, and how much of it has become requests */
static size_t sent_size, sent_at;
static struct tl_control *later; /* the one whose answer is still to come */

/* ---- the rest of the daemon ---- */

int tl_loop_watch(struct tl_daemon *d, int fd, enum tl_watch_kind kind, uint32_t index, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.u64 = (uint64_t)kind << 32 | index};
    return epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -errno;
}

void tl_loop_unwatch(struct tl_daemon *d, int fd)
{
    epoll_ctl(d->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

void tl_kept_hold(struct tl_daemon *d, uint32_t id, int first, int second, const char *text)
{
    (void)d;
    (void)id;
    (void)first;
    (void)second;
    (void)text;
}

bool tl_node_ready(const struct tl_node *node)
{
    return node != NULL;
}

void tl_node_report(const struct tl_node *node, struct tl_report *out)
{
    (void)node;
    memset(out, 0, sizeof *out);
}

void tl_local_gone(struct tl_daemon *d, const struct tl_control *c)
{
    (void)d;
    (void)c;
}

json_t *tl_verb_ready_json(struct tl_daemon *d)
{
    (void)d;
    return json_object();
}

void tl_verb_gathered(struct tl_daemon *d, struct tl_control *c, const struct tl_report *reports, size_t count,
                      int status)
{
    (void)d;
    (void)reports;
    (void)count;
    (void)status;
    tl_control_reply(c, TL_CONTROL_RESULT, json_object());
}

void tl_verb_run(struct tl_daemon *d, struct tl_control *c)
{
    check(sent_size - sent_at > 4);
    const uint8_t *request = sent + sent_at + 4;
    size_t len = tl_get_u32(sent + sent_at), at = 0;
    unsigned count = 0;
    check(len <= TL_CONTROL_REQUEST_MAX && len <= sent_size - sent_at - 4);
    for (const char *arg; (arg = tl_control_arg(c, count)) != NULL; count++) {
        size_t arg_len = strlen(arg) + 1;
        check(arg_len <= len - at && memcmp(arg, request + at, arg_len) == 0);
        at += arg_len;
    }
    check(count > 0 && count <= TL_CONTROL_ARGS_MAX && at == len);
    sent_at += 4 + len;
    const char *verb = tl_control_arg(c, 0);
    if (verb[0] == 't') {
        int fd = tl_control_take_fd(c);
        if (fd >= 0)
            close(fd);
    }
    if (strcmp(verb, "wait-ready") == 0)
        tl_control_begin(d, c, 1);
    else if (verb[0] == 'l' && later == NULL)
        later = c;
    else
        tl_control_reply(c, verb[0] == 'e' ? TL_CONTROL_ERROR : TL_CONTROL_RESULT,
                         json_pack("{s:i}", "args", (int)count));
}

/* ---- the client ---- */

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_len;

static void start(void)
{
    daemon_.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    daemon_.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    address_len = (socklen_t)sizeof address.sun_family; /* a name that the kernel chooses, in no file system */
    check(bind(daemon_.listen_fd, (struct sockaddr *)&address, address_len) == 0 && listen(daemon_.listen_fd, 8) == 0);
    address_len = sizeof address;
    check(getsockname(daemon_.listen_fd, (struct sockaddr *)&address, &address_len) == 0);
}

static bool send_piece(int fd, const uint8_t *bytes, size_t len, int passed)
{
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } ancillary = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (passed >= 0) { /* two, though the protocol has one: the other one must not stay, either */
        const int fds[2] = {passed, passed};
        msg.msg_control = ancillary.bytes;
        msg.msg_controllen = sizeof ancillary.bytes;
        struct cmsghdr *cm = CMSG_FIRSTHDR(&msg);
        cm->cmsg_level = SOL_SOCKET;
        cm->cmsg_type = SCM_RIGHTS;
        cm->cmsg_len = CMSG_LEN(sizeof fds);
        memcpy(CMSG_DATA(cm), fds, sizeof fds);
    }
    return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

static void settle(int client)
{
    char sink[65536];
    for (int i = 0; i < 4 && daemon_.controls[0] != NULL; i++) {
        tl_control_ready(&daemon_, 0, EPOLLIN | EPOLLOUT);
        tl_control_tick(&daemon_);
        while (recv(client, sink, sizeof sink, MSG_DONTWAIT) > 0) {
        }
    }
}

/* The lowest descriptor that is free: the same before and after. */
static int lowest_free(void)
{
    int fd = fcntl(0, F_DUPFD_CLOEXEC, 3);
    close(fd);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (daemon_.epoll_fd == 0)
        start();
    if (size < 2)
        return 0;
    int free_before = lowest_free(), client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(client >= 0 && connect(client, (struct sockaddr *)&address, address_len) == 0);
    tl_control_accept(&daemon_);
    check(daemon_.controls[0] != NULL);
    sent = data + 1;
    sent_size = size - 1;
    sent_at = 0;
    size_t piece = (size_t)1 << (data[0] & 15);
    piece = piece < size / 16 ? size / 16 + 1 : piece;
    for (size_t at = 1; at < size; at += piece) {
        if (!send_piece(client, data + at, size - at < piece ? size - at : piece, (data[0] & 16) != 0 ? client : -1))
            break;
        settle(client);
        if (later != NULL && daemon_.controls[0] == later && (data[0] & 32) != 0) {
            tl_control_reply(later, TL_CONTROL_RESULT, json_object());
            later = NULL;
            settle(client);
        }
    }
    later = NULL;
    close(client);
    tl_control_ready(&daemon_, 0, EPOLLIN | EPOLLHUP);
    tl_control_ready(&daemon_, 0, EPOLLIN | EPOLLHUP);
    int listener = daemon_.listen_fd;
    if (daemon_.controls[0] != NULL) { /* its verb never answers: it goes with the daemon */
        daemon_.listen_fd = -1;
        tl_control_close(&daemon_);
        daemon_.listen_fd = listener;
    }
    check(daemon_.controls[0] == NULL && lowest_free() == free_before);
    return 0;
}
