// SPDX-License-Identifier: Apache-2.0
/* Where Prometheus asks: a port on loopback, or a socket of the user's. One answer a connection, in the daemon's loop.
 *
 * Whoever is at the other end may be anybody on this machine, so that everything is bounded: connections, bytes of a request,
 * and the time for all of it. Nothing is told but numbers (exposition.c): no path, no key. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/time.h"
#include "daemon/daemon.h"
#include "daemon/http.h"

#define CONNECTIONS_MAX 8u
#define BACKLOG         64
#define EXCHANGE_NS     (5 * TL_NS_PER_S) /* from connect to the end */
#define LISTENER        UINT32_MAX        /* its index in the loop */

struct connection {
    int fd; /* -1: free */
    uint64_t deadline_ns;
    size_t used; /* of request */
    char *answer;
    size_t answer_len, sent;
    bool said; /* everything is sent: what still comes is thrown away until the other end closes, or its answer
                  might be lost to a reset */
    char request[TL_HTTP_REQUEST_MAX];
};

struct tl_metrics {
    int listen_fd;
    char path[108]; /* of a socket that is ours to unlink; empty: none */
    struct connection connections[CONNECTIONS_MAX];
};

static void close_connection(struct tl_daemon *d, struct connection *c)
{
    tl_loop_unwatch(d, c->fd);
    close(c->fd);
    free(c->answer);
    *c = (struct connection){.fd = -1};
}

/* ---- one exchange ---- */

static int make_answer(struct tl_daemon *d, struct connection *c, enum tl_http_verdict verdict)
{
    char head[TL_HTTP_HEAD_MAX], *body = NULL;
    size_t body_len = 0, head_len;
    if (verdict == TL_HTTP_OK) {
        if (tl_exposition(d, &body, &body_len) != 0)
            return -ENOMEM;
    } else {
        int len = asprintf(&body, "%s\n", tl_http_words(verdict));
        if (len < 0)
            return -ENOMEM;
        body_len = (size_t)len;
    }
    head_len = tl_http_head(verdict, body_len, head);
    c->answer = malloc(head_len + body_len);
    if (c->answer != NULL) {
        memcpy(c->answer, head, head_len);
        memcpy(c->answer + head_len, body, body_len);
        c->answer_len = head_len + body_len;
    }
    free(body);
    return c->answer != NULL ? 0 : -ENOMEM;
}

/* True: the other end has closed, or broken. Once the answer is made, what comes is dropped. */
static bool take_in(struct connection *c)
{
    char spare[256];
    char *to = c->answer == NULL ? c->request + c->used : spare;
    size_t room = c->answer == NULL ? sizeof c->request - c->used : sizeof spare;
    ssize_t got = recv(c->fd, to, room, MSG_DONTWAIT);
    if (got > 0 && c->answer == NULL)
        c->used += (size_t)got;
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

/* True: it is broken. */
static bool put_out(struct connection *c)
{
    ssize_t sent = send(c->fd, c->answer + c->sent, c->answer_len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0)
        return errno != EAGAIN && errno != EINTR;
    c->sent += (size_t)sent;
    if (c->sent == c->answer_len) {
        c->said = true;
        shutdown(c->fd, SHUT_WR);
    }
    return false;
}

static void serve(struct tl_daemon *d, uint32_t index, uint32_t events)
{
    struct connection *c = &d->metrics->connections[index];
    if (c->fd < 0)
        return;
    bool over = (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && take_in(c);
    if (over && !c->said && c->answer != NULL && (events & (EPOLLHUP | EPOLLERR)) == 0)
        over = false; /* half a close: it waits for the answer */
    if (!over && c->answer == NULL) {
        enum tl_http_verdict verdict = tl_http_judge(c->request, c->used);
        over = verdict != TL_HTTP_MORE && make_answer(d, c, verdict) != 0;
    }
    if (!over && c->answer != NULL && !c->said)
        over = put_out(c);
    if (over) {
        close_connection(d, c);
        return;
    }
    bool waits =
        c->answer != NULL && !c->said; /* then only room to send matters: a half-closed end is always readable */
    struct epoll_event ev = {.events = waits ? EPOLLOUT : EPOLLIN,
                             .data.u64 = (uint64_t)TL_WATCH_METRICS << 32 | index};
    epoll_ctl(d->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev);
}

static void accept_one(struct tl_daemon *d)
{
    struct tl_metrics *m = d->metrics;
    int fd = accept4(m->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    uint32_t index = 0;
    while (index < CONNECTIONS_MAX && m->connections[index].fd >= 0)
        index++;
    if (fd < 0)
        return;
    if (index == CONNECTIONS_MAX || tl_loop_watch(d, fd, TL_WATCH_METRICS, index, EPOLLIN) != 0) {
        close(fd);
        return;
    }
    m->connections[index].fd = fd;
    m->connections[index].deadline_ns = tl_time_mono_ns() + EXCHANGE_NS;
}

void tl_metrics_ready(struct tl_daemon *d, uint32_t index, uint32_t events)
{
    if (index == LISTENER)
        accept_one(d);
    else
        serve(d, index, events);
}

uint64_t tl_metrics_deadline(const struct tl_daemon *d)
{
    uint64_t at = UINT64_MAX;
    for (uint32_t i = 0; d->metrics != NULL && i < CONNECTIONS_MAX; i++)
        if (d->metrics->connections[i].fd >= 0 && d->metrics->connections[i].deadline_ns < at)
            at = d->metrics->connections[i].deadline_ns;
    return at;
}

void tl_metrics_tick(struct tl_daemon *d)
{
    uint64_t now = tl_time_mono_ns();
    for (uint32_t i = 0; d->metrics != NULL && i < CONNECTIONS_MAX; i++)
        if (d->metrics->connections[i].fd >= 0 && d->metrics->connections[i].deadline_ns <= now)
            close_connection(d, &d->metrics->connections[i]);
}

/* ---- opening ---- */

static int bind_port(struct tl_metrics *m, const char *port)
{
    const struct sockaddr_in at = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    m->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (m->listen_fd < 0 || setsockopt(m->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(m->listen_fd, (const struct sockaddr *)&at, sizeof at) != 0)
        return -errno;
    return 0;
}

/* A socket file that nobody listens on is what a killed daemon left. */
static bool is_left_over(const struct sockaddr_un *at)
{
    struct stat st;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool refused = fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof *at) != 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return refused && lstat(at->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_uid == geteuid();
}

static int bind_path(struct tl_metrics *m, const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof at.sun_path)
        return -ENAMETOOLONG;
    memcpy(at.sun_path, path, strlen(path) + 1);
    if (is_left_over(&at))
        unlink(path);
    m->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t mask = umask(0177);
    int rc = m->listen_fd < 0 || bind(m->listen_fd, (const struct sockaddr *)&at, sizeof at) != 0 ? -errno : 0;
    umask(mask);
    if (rc == 0)
        memcpy(m->path, at.sun_path, sizeof m->path);
    return rc;
}

static int open_listener(struct tl_daemon *d, const char *where)
{
    struct tl_metrics *m = d->metrics;
    char path[sizeof d->options.runtime + 32];
    snprintf(path, sizeof path, "%s/node-%u.metrics", d->options.runtime, d->options.rank);
    int rc = strncmp(where, "unix:", 5) == 0 ? bind_path(m, where + 5)
             : strcmp(where, "unix") == 0    ? bind_path(m, path)
                                             : bind_port(m, where);
    if (rc == 0 && listen(m->listen_fd, BACKLOG) != 0)
        rc = -errno;
    return rc == 0 ? tl_loop_watch(d, m->listen_fd, TL_WATCH_METRICS, LISTENER, EPOLLIN) : rc;
}

int tl_metrics_open(struct tl_daemon *d, struct tl_error *err)
{
    const char *where = d->options.metrics;
    if (strcmp(where, "off") == 0)
        return 0;
    d->metrics = calloc(1, sizeof *d->metrics);
    if (d->metrics == NULL)
        return tl_error_set(err, -ENOMEM, "--metrics: out of memory");
    d->metrics->listen_fd = -1;
    for (uint32_t i = 0; i < CONNECTIONS_MAX; i++)
        d->metrics->connections[i].fd = -1;
    int rc = open_listener(d, where);
    if (rc == 0)
        return 0;
    tl_error_set(err, rc, "--metrics %s: %s; name another place, or off", where, strerror(-rc));
    tl_metrics_close(d);
    if (d->restarts == 0)
        return rc;
    tl_log("error", "%s", err->msg); /* mounts wait to be gone on with: that matters more */
    return 0;
}

void tl_metrics_close(struct tl_daemon *d)
{
    struct tl_metrics *m = d->metrics;
    if (m == NULL)
        return;
    for (uint32_t i = 0; i < CONNECTIONS_MAX; i++)
        if (m->connections[i].fd >= 0)
            close_connection(d, &m->connections[i]);
    if (m->listen_fd >= 0)
        close(m->listen_fd);
    if (m->path[0] != 0)
        unlink(m->path);
    free(m);
    d->metrics = NULL;
}
