// SPDX-License-Identifier: Apache-2.0
/* The control socket: connections, frames in and out (base/control.h), and verbs whose answer comes later.
 *
 * Only the user can connect (the folder is 0700, the socket 0600), and the peer's uid is checked once more. A client
 * that breaks the frames' rules, or does not read its answers, loses its connection, not the daemon's time. */
#include "base/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/time.h"
#include "daemon/daemon.h"

#define OUTPUT_MAX (TL_CONTROL_REPLY_MAX + (1u << 20))
#define BACKLOG    128

struct tl_control {
    struct tl_daemon *d;
    int fd;
    uint32_t index;
    int passed_fd;
    uint8_t *in; /* TL_CONTROL_REQUEST_MAX + 4 */
    size_t in_used;
    const char *args[TL_CONTROL_ARGS_MAX];
    unsigned arg_count;
    uint8_t *out;
    size_t out_used, out_sent;
    bool busy;        /* a verb is running; the next request waits */
    bool broken;      /* to be closed */
    uint64_t command; /* id of the flood it waits for, 0: readiness */
    uint64_t deadline_ns;
    uint32_t shown_ready;
    struct tl_report *reports;
    size_t report_count, report_max;
};

const char *tl_control_arg(const struct tl_control *c, unsigned i)
{
    return i < c->arg_count ? c->args[i] : NULL;
}

int tl_control_take_fd(struct tl_control *c)
{
    int fd = c->passed_fd;
    c->passed_fd = -1;
    return fd;
}

/* ---- closing ---- */

static void close_control(struct tl_control *c)
{
    struct tl_daemon *d = c->d;
    tl_local_gone(d, c);
    tl_loop_unwatch(d, c->fd);
    close(c->fd);
    if (c->passed_fd >= 0)
        close(c->passed_fd);
    d->controls[c->index] = NULL;
    free(c->in);
    free(c->out);
    free(c->reports);
    free(c);
}

/* ---- output ---- */

static void flush_output(struct tl_control *c)
{
    while (c->out_sent < c->out_used) {
        ssize_t sent = send(c->fd, c->out + c->out_sent, c->out_used - c->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent <= 0) {
            c->broken = true;
            return;
        }
        c->out_sent += (size_t)sent;
    }
    bool more = c->out_sent < c->out_used;
    if (!more)
        c->out_used = c->out_sent = 0;
    struct epoll_event ev = {.events = EPOLLIN | (more ? (uint32_t)EPOLLOUT : 0u),
                             .data.u64 = (uint64_t)TL_WATCH_CONTROL << 32 | c->index};
    epoll_ctl(c->d->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev);
}

static void put_frame(struct tl_control *c, char kind, const char *text)
{
    size_t len = strlen(text) + 1, need = c->out_used + len + 4;
    uint8_t *grown = need > OUTPUT_MAX ? NULL : realloc(c->out, need);
    if (grown == NULL) {
        c->broken = true;
        return;
    }
    c->out = grown;
    tl_put_u32(c->out + c->out_used, (uint32_t)len);
    c->out[c->out_used + 4] = (uint8_t)kind;
    memcpy(c->out + c->out_used + 5, text, len - 1);
    c->out_used = need;
    flush_output(c);
}

void tl_control_reply(struct tl_control *c, char kind, json_t *value)
{
    char *text = value == NULL ? NULL : json_dumps(value, JSON_COMPACT);
    json_decref(value);
    put_frame(c, text == NULL ? TL_CONTROL_ERROR : kind,
              text == NULL ? "{\"error\":\"out of memory\",\"code\":\"ENOMEM\",\"errno\":12}" : text);
    free(text);
    if (kind != TL_CONTROL_PROGRESS)
        c->busy = false;
}

void tl_control_fail(struct tl_control *c, const struct tl_error *err)
{
    const char *name = strerrorname_np(-err->code);
    tl_control_reply(
        c, TL_CONTROL_ERROR,
        json_pack("{s:s, s:s, s:i}", "error", err->msg, "code", name != NULL ? name : "EIO", "errno", -err->code));
}

/* ---- verbs whose answer comes later ---- */

uint64_t tl_control_begin(struct tl_daemon *d, struct tl_control *c, uint64_t timeout_ns)
{
    c->deadline_ns = tl_time_mono_ns() + timeout_ns;
    c->shown_ready = 0;
    c->command = (uint64_t)TL_FRONT_CONTROL << TL_FRONT_SHIFT | ++d->next_command;
    c->report_count = 0;
    return c->command;
}

static struct tl_control *by_command(struct tl_daemon *d, uint64_t id)
{
    for (uint32_t i = 0; i < TL_CONTROLS_MAX; i++)
        if (d->controls[i] != NULL && d->controls[i]->busy && d->controls[i]->command == id)
            return d->controls[i];
    return NULL;
}

void tl_control_report(struct tl_daemon *d, uint64_t id, const struct tl_report *report)
{
    struct tl_control *c = by_command(d, id);
    if (c == NULL)
        return;
    if (c->report_count == c->report_max) {
        size_t more = c->report_max == 0 ? 16 : c->report_max * 2;
        struct tl_report *grown = realloc(c->reports, more * sizeof *grown);
        if (grown == NULL)
            return;
        c->reports = grown;
        c->report_max = more;
    }
    c->reports[c->report_count++] = *report;
}

void tl_control_answer(struct tl_daemon *d, const struct tl_answer *answer)
{
    struct tl_control *c = by_command(d, answer->id);
    if (c != NULL)
        tl_verb_gathered(d, c, c->reports, c->report_count, answer->status);
}

static bool waits_ready(const struct tl_control *c)
{
    return c != NULL && c->busy && strcmp(c->args[0], "wait-ready") == 0;
}

static void tick_ready(struct tl_daemon *d, struct tl_control *c, uint64_t now)
{
    struct tl_report own;
    tl_node_report(d->node, &own);
    if (tl_node_ready(d->node)) {
        tl_control_reply(c, TL_CONTROL_RESULT, tl_verb_ready_json(d));
    } else if (now >= c->deadline_ns) {
        struct tl_error err;
        tl_error_set(&err, -ETIMEDOUT, "%u of %u nodes are ready; look into the logs of those that are missing",
                     own.subtree, d->options.node_count);
        tl_control_fail(c, &err);
    } else if (own.subtree != c->shown_ready) {
        c->shown_ready = own.subtree;
        tl_control_reply(c, TL_CONTROL_PROGRESS, tl_verb_ready_json(d));
    }
}

void tl_control_tick(struct tl_daemon *d)
{
    uint64_t now = tl_time_mono_ns();
    for (uint32_t i = 0; i < TL_CONTROLS_MAX; i++) {
        if (waits_ready(d->controls[i]))
            tick_ready(d, d->controls[i], now);
        if (d->controls[i] != NULL && d->controls[i]->broken)
            close_control(d->controls[i]);
    }
}

uint64_t tl_control_deadline(const struct tl_daemon *d)
{
    uint64_t at = UINT64_MAX;
    for (uint32_t i = 0; i < TL_CONTROLS_MAX; i++)
        if (waits_ready(d->controls[i]) && d->controls[i]->deadline_ns < at)
            at = d->controls[i]->deadline_ns;
    return at;
}

/* ---- input ---- */

static void keep_passed_fd(struct tl_control *c, struct msghdr *msg)
{
    for (struct cmsghdr *cm = CMSG_FIRSTHDR(msg); cm != NULL; cm = CMSG_NXTHDR(msg, cm)) {
        if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
            continue;
        int fd = -1;
        memcpy(&fd, CMSG_DATA(cm), sizeof fd); /* room was made for one only; the kernel closes the others */
        if (c->passed_fd >= 0)
            close(c->passed_fd);
        c->passed_fd = fd;
    }
}

static ssize_t receive(struct tl_control *c)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } ancillary;
    struct iovec iov = {.iov_base = c->in + c->in_used, .iov_len = TL_CONTROL_REQUEST_MAX + 4 - c->in_used};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary.bytes};
    ssize_t got = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got > 0)
        keep_passed_fd(c, &msg);
    return got;
}

/* Splits the request into strings. False: not a request. */
static bool split_args(struct tl_control *c, size_t len)
{
    c->arg_count = 0;
    const char *at = (const char *)c->in + 4, *end = at + len;
    if (len == 0 || end[-1] != 0)
        return false;
    for (; at < end; at += strlen(at) + 1) {
        if (c->arg_count == TL_CONTROL_ARGS_MAX)
            return false;
        c->args[c->arg_count++] = at;
    }
    return true;
}

/* Runs the request at the head of the buffer if it is whole. The strings stay in place until the next one. */
static void run_request(struct tl_control *c)
{
    if (c->busy || c->in_used < 4)
        return;
    size_t len = tl_get_u32(c->in);
    if (len > TL_CONTROL_REQUEST_MAX) {
        c->broken = true;
        return;
    }
    if (c->in_used < len + 4)
        return;
    if (!split_args(c, len)) {
        c->broken = true;
        return;
    }
    c->busy = true;
    tl_verb_run(c->d, c);
    if (c->passed_fd >= 0) { /* nobody wanted it */
        close(c->passed_fd);
        c->passed_fd = -1;
    }
}

static void finish_request(struct tl_control *c)
{
    size_t len = (size_t)tl_get_u32(c->in) + 4;
    memmove(c->in, c->in + len, c->in_used - len);
    c->in_used -= len;
    c->arg_count = 0;
}

void tl_control_ready(struct tl_daemon *d, uint32_t index, uint32_t events)
{
    struct tl_control *c = d->controls[index];
    if (c == NULL)
        return;
    if ((events & EPOLLOUT) != 0)
        flush_output(c);
    ssize_t got = -1;
    errno = EAGAIN;
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && c->in_used < TL_CONTROL_REQUEST_MAX + 4)
        got = receive(c);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        c->broken = true;
    if (got > 0)
        c->in_used += (size_t)got;
    do { /* a request stays in the buffer until it has been answered */
        if (!c->busy && c->arg_count > 0)
            finish_request(c);
        if (!c->broken)
            run_request(c);
    } while (!c->broken && !c->busy && c->arg_count > 0);
    if (c->broken)
        close_control(c);
}

/* ---- accepting ---- */

void tl_control_accept(struct tl_daemon *d)
{
    int fd = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    struct ucred peer;
    socklen_t len = sizeof peer;
    uint32_t index = 0;
    while (index < TL_CONTROLS_MAX && d->controls[index] != NULL)
        index++;
    bool ours = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && (peer.uid == geteuid() || peer.uid == 0);
    struct tl_control *c = ours && index < TL_CONTROLS_MAX ? calloc(1, sizeof *c) : NULL;
    uint8_t *in = c != NULL ? malloc(TL_CONTROL_REQUEST_MAX + 4) : NULL;
    if (in == NULL || tl_loop_watch(d, fd, TL_WATCH_CONTROL, index, EPOLLIN) != 0) {
        free(in);
        free(c);
        close(fd);
        return;
    }
    *c = (struct tl_control){.d = d, .fd = fd, .index = index, .passed_fd = -1, .in = in};
    d->controls[index] = c;
}

/* Makes <runtime>/<tier> and what is above it, ours alone. */
static int make_runtime(const char *path, struct tl_error *err)
{
    char part[4096];
    size_t len = strlen(path);
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return tl_error_set(err, -errno, "runtime folder %s: %s; set TIERCEL_RUNTIME_DIR to a folder of yours",
                                part, strerror(errno));
    }
    struct stat st;
    if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return tl_error_set(err, -EPERM,
                            "runtime folder %s: must be a folder of yours (uid %u) with mode 0700; run: chmod 700 %s",
                            path, geteuid(), path);
    return 0;
}

/* A socket file that nobody listens on is what a killed daemon left. */
static bool somebody_listens(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool yes = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) == 0;
    if (fd >= 0)
        close(fd);
    return yes;
}

/* Goes on with the socket that the daemon before listened on: who connected since waits for us. */
static int take_over(struct tl_daemon *d, struct tl_error *err)
{
    d->listen_fd = d->kept[TL_KEEPER_LISTEN].fds[0];
    int rc = listen(d->listen_fd, BACKLOG) == 0 ? 0 : -errno; /* again, so that clients are told our process id */
    if (rc == 0)
        rc = tl_loop_watch(d, d->listen_fd, TL_WATCH_LISTEN, 0, EPOLLIN);
    return rc == 0 ? 0 : tl_error_set(err, rc, "control socket %s: %s", d->socket_path, strerror(-rc));
}

int tl_control_open(struct tl_daemon *d, struct tl_error *err)
{
    int rc = make_runtime(d->options.runtime, err);
    if (rc != 0)
        return rc;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(d->socket_path, sizeof d->socket_path, "%s/node-%u.sock", d->options.runtime, d->options.rank);
    check(strlen(d->socket_path) < sizeof address.sun_path); /* the options keep the folder short */
    memcpy(address.sun_path, d->socket_path, strlen(d->socket_path) + 1);
    if (d->kept[TL_KEEPER_LISTEN].fds[0] >= 0)
        return take_over(d, err);
    if (somebody_listens(&address)) {
        d->socket_path[0] = 0;
        return tl_error_set(err, -EADDRINUSE,
                            "node %u of tier %s runs already (%s); take it down first: tiercel down --name %s",
                            d->options.rank, d->options.tier, address.sun_path, d->options.tier);
    }
    unlink(d->socket_path);
    d->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t mask = umask(0177);
    bool bound = d->listen_fd >= 0 && bind(d->listen_fd, (const struct sockaddr *)&address, sizeof address) == 0;
    umask(mask);
    if (!bound || listen(d->listen_fd, BACKLOG) != 0)
        return tl_error_set(err, -errno, "control socket %s: %s", d->socket_path, strerror(errno));
    rc = tl_loop_watch(d, d->listen_fd, TL_WATCH_LISTEN, 0, EPOLLIN);
    if (rc == 0)
        tl_kept_hold(d, TL_KEEPER_LISTEN, d->listen_fd, -1, NULL);
    return rc == 0 ? 0 : tl_error_set(err, rc, "control socket %s: %s", d->socket_path, strerror(-rc));
}

void tl_control_close(struct tl_daemon *d)
{
    for (uint32_t i = 0; i < TL_CONTROLS_MAX; i++)
        if (d->controls[i] != NULL)
            close_control(d->controls[i]);
    if (d->listen_fd >= 0)
        close(d->listen_fd);
    if (d->socket_path[0] != 0 && !d->restarting)
        unlink(d->socket_path);
}
