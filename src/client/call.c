// SPDX-License-Identifier: Apache-2.0
/* Connections to a daemon's control socket, and calls over them. The frames are those of base/control.h.
 *
 * A call is: write the request, read frames until a final one. All waiting is in wait_for(), which knows the
 * deadline, so that a daemon that hangs, dribbles or dies never holds the caller longer than it asked for. */
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/control.h"
#include "base/time.h"

#define RANKS_TRIED_MAX 4096 /* local daemons that TIERCEL_ANY_RANK looks at */
#define GROW_BYTES      65536u

struct tiercel {
    int fd;
    int server_pid;
    bool broken; /* a call broke off: what comes next on this connection cannot be told apart */
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
};

/* One call on its way. */
struct call {
    struct tiercel *t;
    const char *verb;
    uint64_t deadline_ns; /* UINT64_MAX: none */
    tiercel_progress_fn progress;
    void *ctx;
    struct tiercel_error *err;
};

/* ---- connecting ---- */

/* Unix sockets block in connect while the backlog is full; the send timeout bounds that. */
static int connect_bounded(int fd, const struct sockaddr_un *addr, int timeout_ms)
{
    if (timeout_ms >= 0) {
        int ms = timeout_ms > 0 ? timeout_ms : 1;
        struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) != 0)
            return -errno;
    }
    for (int tries = 0; tries < 100; tries++) { /* a signal may come more than once, but not for ever */
        if (connect(fd, (const struct sockaddr *)addr, sizeof *addr) == 0)
            return 0;
        if (errno != EINTR)
            break;
    }
    return errno == EAGAIN ? -ETIMEDOUT : -errno;
}

static int connect_error(const char *path, int rc, struct tiercel_error *err)
{
    switch (rc) {
    case -ENOENT:
        return tl_client_error(err, rc,
                               "%s: no daemon has its control socket there; look at `tiercel status`, or start "
                               "a tier with `tiercel up`",
                               path);
    case -ECONNREFUSED:
        return tl_client_error(err, rc,
                               "%s: its daemon is gone; read the log beside it, then `tiercel down` and "
                               "`tiercel up`",
                               path);
    case -ETIMEDOUT:
        return tl_client_error(err, rc,
                               "%s: the daemon takes no connections; it hangs or the machine is overloaded, "
                               "read the log beside it",
                               path);
    default: return tl_client_error(err, rc, "%s: cannot connect: %s", path, tiercel_strerror(rc));
    }
}

int tiercel_open_socket(struct tiercel **out, const char *path, int timeout_ms, struct tiercel_error *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof addr.sun_path)
        return tl_client_error(err, -ENAMETOOLONG,
                               "%s: longer than the %zu bytes that a socket's path may have; set "
                               "TIERCEL_RUNTIME_DIR to a shorter path and start the tier again",
                               path, sizeof addr.sun_path - 1);
    memcpy(addr.sun_path, path, len + 1);
    struct tiercel *t = calloc(1, sizeof *t);
    if (t == NULL)
        return tl_client_error(err, -ENOMEM, "%s: out of memory", path);
    memcpy(t->path, path, len + 1);
    t->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = t->fd >= 0 ? connect_bounded(t->fd, &addr, timeout_ms) : -errno;
    if (rc == 0 && fcntl(t->fd, F_SETFL, O_NONBLOCK) != 0)
        rc = -errno;
    struct ucred peer = {0};
    socklen_t peer_len = sizeof peer;
    if (rc == 0 && getsockopt(t->fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_len) == 0)
        t->server_pid = peer.pid;
    if (rc < 0) {
        tiercel_close(t);
        return connect_error(path, rc, err);
    }
    *out = t;
    return 0;
}

static int open_rank(struct tiercel **out, const char *dir, unsigned rank, int timeout_ms, struct tiercel_error *err)
{
    char path[TIERCEL_PATH_SIZE];
    int rc = tl_client_format(err, path, sizeof path, "%s/node-%u.sock", dir, rank);
    return rc < 0 ? rc : tiercel_open_socket(out, path, timeout_ms, err);
}

int tiercel_open(struct tiercel **out, const char *name, int rank, int timeout_ms, struct tiercel_error *err)
{
    char dir[TIERCEL_PATH_SIZE];
    int rc = tiercel_tier_dir(name, dir, sizeof dir, err);
    if (rc < 0)
        return rc;
    if (rank >= 0)
        return open_rank(out, dir, (unsigned)rank, timeout_ms, err);

    unsigned *ranks = calloc(RANKS_TRIED_MAX, sizeof *ranks);
    if (ranks == NULL)
        return tl_client_error(err, -ENOMEM, "%s: out of memory", dir);
    int count = tiercel_local_ranks(dir, ranks, RANKS_TRIED_MAX, err);
    rc = count < 0 ? count : -ENOENT;
    for (int i = 0; i < count && rc < 0; i++)
        rc = open_rank(out, dir, ranks[i], timeout_ms, err);
    free(ranks);
    if (count == 0)
        return tl_client_error(err, -ENOENT,
                               "%s: no daemon of this tier is up on this machine; read the logs there, "
                               "then `tiercel down` and `tiercel up`",
                               dir);
    return rc;
}

const char *tiercel_socket_path(const struct tiercel *t)
{
    return t->path;
}

int tiercel_server_pid(const struct tiercel *t)
{
    return t->server_pid;
}

void tiercel_close(struct tiercel *t)
{
    if (t == NULL)
        return;
    if (t->fd >= 0)
        close(t->fd);
    free(t);
}

/* ---- waiting ---- */

static int gone(const struct call *c)
{
    return tl_client_error(c->err, -ECONNRESET, "%s: the daemon went away during `%s`; read the log beside it",
                           c->t->path, c->verb);
}

static int timed_out(const struct call *c)
{
    return tl_client_error(c->err, -ETIMEDOUT,
                           "%s: no answer to `%s` in time; try again with more time, or read the "
                           "log beside it",
                           c->t->path, c->verb);
}

/* Until the socket can be read or written (events), the deadline, or the caller's progress function says stop. */
static int wait_for(const struct call *c, short events)
{
    for (;;) { /* bounded by the deadline; without one the caller asked to wait for ever */
        int ms = -1;
        if (c->deadline_ns != UINT64_MAX) {
            uint64_t now = tl_time_mono_ns();
            if (now >= c->deadline_ns)
                return timed_out(c);
            uint64_t left = (c->deadline_ns - now + TL_NS_PER_MS - 1) / TL_NS_PER_MS;
            ms = left > INT32_MAX ? INT32_MAX : (int)left;
        }
        struct pollfd p = {.fd = c->t->fd, .events = events};
        int n = poll(&p, 1, ms);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return tl_client_error(c->err, -errno, "%s: poll: %s", c->t->path, tiercel_strerror(errno));
        if (n < 0 && c->progress != NULL && c->progress(c->ctx, NULL) != 0)
            return tl_client_error(c->err, -ECANCELED, "`%s` was given up", c->verb);
    }
}

/* ---- sending ---- */

/* The length word and the strings, malloc'd. */
static int encode_request(const char *const argv[], uint8_t **out, size_t *out_len, struct tiercel_error *err)
{
    size_t size = 4, count = 0;
    for (; argv[count] != NULL && count <= TL_CONTROL_ARGS_MAX; count++)
        size += strlen(argv[count]) + 1;
    if (count == 0 || argv[0][0] == '\0')
        return tl_client_error(err, -EINVAL, "a call needs a verb; pass one");
    if (count > TL_CONTROL_ARGS_MAX || size - 4 > TL_CONTROL_REQUEST_MAX)
        return tl_client_error(err, -E2BIG, "%s: more than %u arguments or %u bytes; pass less at a time", argv[0],
                               TL_CONTROL_ARGS_MAX, TL_CONTROL_REQUEST_MAX);
    uint8_t *bytes = malloc(size);
    if (bytes == NULL)
        return tl_client_error(err, -ENOMEM, "%s: out of memory", argv[0]);
    tl_put_u32(bytes, (uint32_t)(size - 4));
    uint8_t *p = bytes + 4;
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(argv[i]) + 1;
        memcpy(p, argv[i], len);
        p += len;
    }
    *out = bytes;
    *out_len = size;
    return 0;
}

/* One sendmsg; the descriptor goes with the first byte. Bytes sent, or -errno. */
static ssize_t send_some(int sock, const uint8_t *bytes, size_t len, int passed_fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (passed_fd >= 0) {
        msg.msg_control = control.space;
        msg.msg_controllen = sizeof control.space;
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &passed_fd, sizeof passed_fd);
    }
    ssize_t n = sendmsg(sock, &msg, MSG_NOSIGNAL);
    return n >= 0 ? n : -errno;
}

static int send_request(const struct call *c, const uint8_t *bytes, size_t len, int passed_fd)
{
    size_t sent = 0;
    while (sent < len) { /* each round sends at least a byte or waits under the deadline */
        ssize_t n = send_some(c->t->fd, bytes + sent, len - sent, sent == 0 ? passed_fd : -1);
        if (n > 0) {
            sent += (size_t)n;
            continue;
        }
        if (n == -EPIPE || n == -ECONNRESET)
            return gone(c);
        if (n == -EBADF || n == -EINVAL)
            return tl_client_error(c->err, (int)n, "`%s`: the descriptor to pass is not open; pass an open one",
                                   c->verb);
        if (n != -EAGAIN && n != -EINTR)
            return tl_client_error(c->err, (int)n, "%s: cannot send: %s", c->t->path, tiercel_strerror((int)n));
        int rc = wait_for(c, POLLOUT);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- receiving ---- */

static int receive(const struct call *c, void *buf, size_t len)
{
    size_t got = 0;
    while (got < len) { /* as in send_request */
        ssize_t n = recv(c->t->fd, (char *)buf + got, len - got, 0);
        if (n > 0) {
            got += (size_t)n;
            continue;
        }
        if (n == 0 || errno == ECONNRESET)
            return gone(c);
        if (errno != EAGAIN && errno != EINTR)
            return tl_client_error(c->err, -errno, "%s: cannot receive: %s", c->t->path, tiercel_strerror(errno));
        int rc = wait_for(c, POLLIN);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Reads `len` bytes of text into a NUL-terminated block that grows with what really arrives: a wrong length word
 * costs no memory. */
static int receive_text(const struct call *c, size_t len, char **out)
{
    char *text = NULL;
    size_t got = 0;
    do {
        size_t part = len - got < GROW_BYTES ? len - got : GROW_BYTES;
        size_t room = got == 0 ? part : (got + part > len / 2 ? len : 2 * got + part);
        char *bigger = realloc(text, room + 1);
        int rc = bigger == NULL ? tl_client_error(c->err, -ENOMEM, "`%s`: out of memory for the answer", c->verb) : 0;
        if (bigger != NULL)
            text = bigger;
        if (rc == 0)
            rc = receive(c, text + got, part);
        if (rc < 0) {
            free(text);
            return rc;
        }
        got += part;
    } while (got < len);
    text[len] = '\0';
    *out = text;
    return 0;
}

static int receive_frame(const struct call *c, char *kind, char **text)
{
    uint8_t head[5];
    int rc = receive(c, head, sizeof head);
    if (rc < 0)
        return rc;
    uint32_t len = tl_get_u32(head);
    *kind = (char)head[4];
    bool known = *kind == TL_CONTROL_PROGRESS || *kind == TL_CONTROL_RESULT || *kind == TL_CONTROL_ERROR;
    if (len < 1 || len > TL_CONTROL_REPLY_MAX || !known)
        return tl_client_error(c->err, -EBADMSG,
                               "%s: not an answer of a Tiercel daemon; is the daemon of another "
                               "version than this program (%s)?",
                               c->t->path, TIERCEL_VERSION);
    return receive_text(c, len - 1, text);
}

/* The daemon's own words become ours. */
static int daemon_error(const struct call *c, const char *text)
{
    json_t *json = json_loads(text, 0, NULL);
    const char *sentence = json_string_value(json_object_get(json, "error"));
    json_int_t number = json_integer_value(json_object_get(json, "errno"));
    int code = number > 0 && number < 4096 ? -(int)number : -EIO;
    int rc = tl_client_error(c->err, code, "%s", sentence != NULL ? sentence : "the daemon gave no reason");
    json_decref(json);
    return rc;
}

static int receive_reply(const struct call *c, char **json)
{
    for (;;) { /* bounded by the deadline: each round is one frame of the daemon's */
        char kind = 0, *text = NULL;
        int rc = receive_frame(c, &kind, &text);
        if (rc < 0)
            return rc;
        if (kind == TL_CONTROL_RESULT) {
            *json = text;
            return 0;
        }
        bool stop = kind == TL_CONTROL_PROGRESS && c->progress != NULL && c->progress(c->ctx, text) != 0;
        if (kind == TL_CONTROL_ERROR) {
            rc = daemon_error(c, text);
            c->t->broken = false; /* a complete answer, only not the wished one */
        }
        free(text);
        if (kind == TL_CONTROL_ERROR)
            return rc;
        if (stop)
            return tl_client_error(c->err, -ECANCELED, "`%s` was given up", c->verb);
    }
}

int tiercel_call(struct tiercel *t, const char *const argv[], int passed_fd, int timeout_ms,
                 tiercel_progress_fn progress, void *ctx, char **json, struct tiercel_error *err)
{
    check(t != NULL && argv != NULL);
    if (t->broken)
        return tl_client_error(err, -ENOTCONN, "%s: an earlier call broke off; connect again", t->path);
    uint8_t *request = NULL;
    size_t request_len = 0;
    int rc = encode_request(argv, &request, &request_len, err);
    if (rc < 0)
        return rc;
    struct call c = {.t = t, .verb = argv[0], .deadline_ns = UINT64_MAX, .progress = progress, .ctx = ctx, .err = err};
    if (timeout_ms >= 0)
        c.deadline_ns = tl_time_mono_ns() + (unsigned)timeout_ms * TL_NS_PER_MS;
    t->broken = true; /* until a final frame has come */
    char *text = NULL;
    rc = send_request(&c, request, request_len, passed_fd);
    free(request);
    if (rc == 0)
        rc = receive_reply(&c, &text);
    if (rc < 0)
        return rc;
    t->broken = false;
    if (json != NULL)
        *json = text;
    else
        free(text);
    return 0;
}
