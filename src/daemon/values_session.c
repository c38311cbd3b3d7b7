// SPDX-License-Identifier: Apache-2.0
/* Clients of the daemon's values (cache/wire.h). A session has one request at a time; one that takes long is carried out in slices, a
 * slice a turn of the loop, and one that waits for another's fill is looked at again when a fill has ended. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/time.h"
#include "cache/wire.h"
#include "daemon/daemon.h"

#define SLICE_ITEMS 64u /* puts of one slice */
#define SLICE_NS    (500 * TL_NS_PER_US)
#define FILLS_MAX   64u /* of one session */
#define WINDOW_STEP                                                                                                    \
    (512u << 10) /* bytes of a window that are made in one turn: all of it takes more than a millisecond */

_Static_assert(TL_VALUES_WINDOW_BYTES % WINDOW_STEP == 0, "windows are made in whole steps");

struct tl_session {
    int fd;
    uint32_t reader, pid;
    struct tl_holds *holds;
    uint8_t *window;
    int holds_fd, window_fd; /* window_fd: until its pages are made */
    uint32_t window_made;
    bool kept; /* its holds are at the keeper's */
    uint16_t job;
    uint32_t fills[FILLS_MAX]; /* id + 1; 0: none */
    struct tl_hash fill_keys[FILLS_MAX];
    bool busy, waits; /* a request is on its way; until a fill ends */
    bool asked;       /* FETCH: for the value */
    bool deaf;        /* the next one is not asked for */
    uint64_t seen_ended;
    uint32_t done; /* items, or bytes of a write */
    struct tl_values_request request;
    char text[TL_VALUES_LABEL_MAX + 1];
    struct {
        struct tl_values_reply head;
        int32_t results[TL_VALUES_ITEMS_MAX];
    } reply;
};

/* ---- life ---- */

/* The first `made` bytes with their pages. */
static int memory(const char *name, size_t size, size_t made, void **out)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    void *p = MAP_FAILED;
    /* Sealed: the client cannot make it shorter. And with its pages before we look at them, so that we do not fault. */
    if (ftruncate(fd, (off_t)size) == 0 && (made == 0 || fallocate(fd, 0, 0, (off_t)made) == 0) &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    *out = p;
    return fd;
}

static int read_only(int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int out = open(path, O_RDONLY | O_CLOEXEC);
    return out < 0 ? -errno : out;
}

static int send_hello(struct tl_session *s, uint32_t index, const int fds[TL_VALUES_FDS])
{
    union {
        char bytes[CMSG_SPACE(TL_VALUES_FDS * sizeof(int))];
        struct cmsghdr align;
    } ancillary = {.bytes = {0}};
    struct tl_values_hello hello = {
        .version = TL_VALUES_VERSION, .session = index, .window_bytes = TL_VALUES_WINDOW_BYTES};
    struct iovec iov = {.iov_base = &hello, .iov_len = sizeof hello};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(TL_VALUES_FDS * sizeof(int));
    memcpy(CMSG_DATA(c), fds, TL_VALUES_FDS * sizeof(int));
    return sendmsg(s->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof hello ? 0 : -errno;
}

/* The socket is what we think, and the client another process of ours. */
static int check_socket(struct tl_session *s)
{
    int type = 0;
    socklen_t len = sizeof type;
    struct ucred peer;
    socklen_t peer_len = sizeof peer;
    if (getsockopt(s->fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 || type != SOCK_SEQPACKET ||
        getsockopt(s->fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_len) != 0)
        return -EINVAL;
    s->pid = (uint32_t)peer.pid;
    int flags = fcntl(s->fd, F_GETFL);
    return flags >= 0 && fcntl(s->fd, F_SETFL, flags | O_NONBLOCK) == 0 ? 0 : -errno;
}

static int equip(struct tl_daemon *d, struct tl_session *s, uint32_t index)
{
    void *holds = NULL, *window = NULL;
    int fds[TL_VALUES_FDS] = {-1, -1, -1, -1, -1};
    s->holds_fd = fds[3] = memory("tiercel-holds", TL_HOLDS_BYTES, TL_HOLDS_BYTES, &holds);
    s->holds = holds;
    s->window_fd = fds[4] = memory("tiercel-window", TL_VALUES_WINDOW_BYTES, 0, &window);
    s->window = window;
    fds[0] = read_only(tl_cache_directory_fd(d->values.cache));
    fds[1] = read_only(tl_cache_values_fd(d->values.cache));
    fds[2] = tl_cache_uses_fd(d->values.cache);
    int rc = 0;
    for (uint32_t i = 0; i < TL_VALUES_FDS && rc == 0; i++)
        rc = fds[i] < 0 ? fds[i] : 0;
    if (rc == 0)
        rc = tl_cache_add_reader(d->values.cache, s->holds, &s->reader);
    if (rc == 0)
        rc = send_hello(s, index, fds);
    const int own[] = {fds[0], fds[1]};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (own[i] >= 0)
            close(own[i]);
    return rc;
}

/* Its holds outlive a crash of ours. */
static void keep_holds(struct tl_daemon *d, struct tl_session *s, uint32_t index)
{
    char pid[16];
    snprintf(pid, sizeof pid, "%u", s->pid);
    for (uint32_t i = 0; i < TL_SESSIONS_MAX; i++)
        if (d->values.orphans[i].holds != NULL && d->values.orphans[i].id == TL_KEEPER_HOLDERS + index)
            return; /* the place is taken by one whose holds are older */
    s->kept = index < TL_KEEPER_HOLDERS_MAX;
    if (s->kept)
        tl_kept_hold(d, TL_KEEPER_HOLDERS + index, s->holds_fd, -1, pid);
}

static void drop_kept(struct tl_daemon *d, struct tl_session *s, uint32_t index)
{
    if (s->kept && !d->stopping)
        tl_kept_drop(d, TL_KEEPER_HOLDERS + index);
    s->kept = false;
}

int tl_session_open(struct tl_daemon *d, int fd, struct tl_error *err)
{
    uint32_t index = 0;
    while (index < TL_SESSIONS_MAX && d->values.sessions[index] != NULL)
        index++;
    struct tl_session *s = index < TL_SESSIONS_MAX ? calloc(1, sizeof *s) : NULL;
    if (s == NULL) {
        close(fd);
        return tl_error_set(err, index < TL_SESSIONS_MAX ? -ENOMEM : -EMFILE,
                            "too many clients use the cache at once (at most %u)", TL_SESSIONS_MAX);
    }
    *s = (struct tl_session){.fd = fd, .holds_fd = -1, .window_fd = -1};
    d->values.sessions[index] = s;
    int rc = check_socket(s);
    if (rc == 0)
        rc = equip(d, s, index);
    if (rc == 0)
        rc = tl_loop_watch(d, fd, TL_WATCH_VALUES, index, EPOLLIN);
    if (rc != 0) {
        tl_session_close(d, index);
        return tl_error_set(err, rc, "no session with the cache: %s", strerror(-rc));
    }
    keep_holds(d, s, index);
    d->values.busy = true; /* its window is to be made */
    return (int)index;
}

void tl_session_close(struct tl_daemon *d, uint32_t index)
{
    struct tl_session *s = d->values.sessions[index];
    for (uint32_t i = 0; i < FILLS_MAX; i++)
        if (s->fills[i] != 0) {
            tl_cache_abort(d->values.cache, s->fills[i] - 1);
            d->values.fills_ended++;
            d->values.busy = true;
        }
    if (s->reader != 0)
        tl_cache_remove_reader(d->values.cache, s->reader);
    drop_kept(d, s, index);
    if (s->holds != NULL)
        munmap(s->holds, TL_HOLDS_BYTES);
    if (s->window != NULL)
        munmap(s->window, TL_VALUES_WINDOW_BYTES);
    if (s->holds_fd >= 0)
        close(s->holds_fd);
    if (s->window_fd >= 0)
        close(s->window_fd);
    tl_loop_unwatch(d, s->fd);
    close(s->fd);
    free(s);
    d->values.sessions[index] = NULL;
}

/* ---- requests ---- */

static bool in_window(uint64_t offset, uint64_t len)
{
    return offset <= TL_VALUES_WINDOW_BYTES && len <= TL_VALUES_WINDOW_BYTES - offset;
}

static uint32_t *slot_of(struct tl_session *s, uint32_t fill)
{
    for (uint32_t i = 0; i < FILLS_MAX; i++)
        if (s->fills[i] == fill)
            return &s->fills[i];
    return NULL;
}

/* One item. Copied first: the client may change the window at any time. */
static int put_item(struct tl_daemon *d, struct tl_session *s, uint32_t i)
{
    struct tl_values_item item;
    char label[TL_VALUES_LABEL_MAX + 1];
    memcpy(&item, s->window + s->request.offset + i * sizeof item, sizeof item);
    if (!in_window(item.offset, item.size) || !in_window(item.label_offset, item.label_len) ||
        item.label_len > TL_VALUES_LABEL_MAX || item.class > TL_VALUE_PINNED)
        return -EINVAL;
    if (item.size > TL_CACHE_PUT_MAX)
        return -EFBIG;
    memcpy(label, s->window + item.label_offset, item.label_len);
    label[item.label_len] = 0;
    const struct tl_cache_attr a = {.key = item.key,
                                    .class = (enum tl_value_class)item.class,
                                    .job = s->job,
                                    .replace = (item.flags & TL_VALUES_REPLACE) != 0,
                                    .check = (item.flags & TL_VALUES_CHECK) != 0,
                                    .digest = item.digest,
                                    .label = item.label_len > 0 ? label : NULL};
    int rc = tl_cache_put(d->values.cache, &a, s->window + item.offset, item.size);
    if (rc == 0)
        tl_lower_changed(d, item.key);
    return rc;
}

/* Some items. -EAGAIN: there are more. */
static int put_some(struct tl_daemon *d, struct tl_session *s)
{
    uint32_t count = s->request.count;
    uint64_t end = tl_time_mono_ns() + SLICE_NS;
    if (count > TL_VALUES_ITEMS_MAX || !in_window(s->request.offset, count * sizeof(struct tl_values_item)))
        return -EINVAL;
    for (uint32_t i = 0; i < SLICE_ITEMS && s->done < count; i++) {
        int rc = put_item(d, s, s->done);
        if (rc != -EAGAIN)
            s->reply.results[s->done++] = rc;
        if (rc == -EAGAIN || (i % 8 == 7 && tl_time_mono_ns() > end))
            break;
    }
    s->reply.head.count = s->done;
    return s->done < count ? -EAGAIN : 0;
}

static int begin(struct tl_daemon *d, struct tl_session *s)
{
    const struct tl_values_request *q = &s->request;
    const struct tl_cache_attr a = {.key = q->key,
                                    .class = (enum tl_value_class)q->class,
                                    .job = s->job,
                                    .replace = (q->flags & TL_VALUES_REPLACE) != 0,
                                    .check = (q->flags & TL_VALUES_CHECK) != 0,
                                    .digest = q->digest,
                                    .label = q->text_len > 0 ? s->text : NULL,
                                    .bytes_max = q->bytes_max};
    uint32_t fill, *slot = slot_of(s, 0);
    if (slot == NULL)
        return -EBUSY;
    int rc = q->class > TL_VALUE_PINNED ? -EINVAL : tl_cache_begin(d->values.cache, &a, q->size, &fill);
    s->waits = rc == -EALREADY && (q->flags & TL_VALUES_WAIT) != 0;
    s->seen_ended = d->values.fills_ended;
    if (rc == 0) {
        *slot = fill + 1;
        s->fill_keys[slot - s->fills] = q->key;
        s->reply.head.fill = fill + 1;
    }
    return s->waits ? -EAGAIN : rc;
}

static int write_some(struct tl_daemon *d, struct tl_session *s)
{
    const struct tl_values_request *q = &s->request;
    if (q->fill == 0 || slot_of(s, q->fill) == NULL || !in_window(q->offset, q->len))
        return -EINVAL;
    int64_t took = tl_cache_write(d->values.cache, q->fill - 1, s->window + q->offset + s->done, q->len - s->done);
    if (took < 0)
        return (int)took;
    s->done += (uint32_t)took;
    return s->done < q->len ? -EAGAIN : 0;
}

static int end_fill(struct tl_daemon *d, struct tl_session *s, bool commit)
{
    uint32_t *slot = s->request.fill == 0 ? NULL : slot_of(s, s->request.fill);
    int rc = 0;
    if (slot == NULL)
        return -EINVAL;
    if (commit)
        rc = tl_cache_commit(d->values.cache, *slot - 1);
    else
        tl_cache_abort(d->values.cache, *slot - 1);
    if (rc == -EAGAIN)
        return rc;
    if (commit && rc == 0)
        tl_lower_changed(d, s->fill_keys[slot - s->fills]);
    *slot = 0;
    d->values.fills_ended++; /* who waits for it looks again */
    d->values.busy = true;
    return rc;
}

static int set_job(struct tl_daemon *d, struct tl_session *s)
{
    int job = tl_cache_job(d->values.cache, s->text);
    if (job > 0)
        s->job = (uint16_t)job;
    return job > 0 ? 0 : job == -EAGAIN ? -ENOSPC : job;
}

/* The client goes on with the holds that it had from the daemon before: those of its session are of no use. */
static int resume(struct tl_daemon *d, struct tl_session *s, uint32_t index)
{
    const struct tl_hash *file = &s->request.key;
    for (uint32_t i = 0; i < TL_SESSIONS_MAX; i++) {
        const struct tl_orphan *o = &d->values.orphans[i];
        if (o->holds == NULL || o->pid != (int)s->pid || o->dev != file->hi || o->ino != file->lo)
            continue;
        if (s->reader != 0)
            tl_cache_remove_reader(d->values.cache, s->reader);
        s->reader = 0;
        drop_kept(d, s, index);
        return 0;
    }
    return -ENOENT;
}

static int drop(struct tl_daemon *d, struct tl_hash key)
{
    tl_lower_changed(d, key);
    return tl_cache_drop(d->values.cache, key);
}

static int fetch(struct tl_daemon *d, struct tl_session *s)
{
    int rc = s->asked && !tl_cache_has(d->values.cache, s->request.key) && !tl_lower_fetching(d, s->request.key)
                 ? -ENOENT /* it was not to be had */
                 : tl_lower_fetch(d, s->request.key);
    s->asked = rc == -EAGAIN && tl_lower_fetching(d, s->request.key);
    s->waits = rc == -EAGAIN;
    s->seen_ended = d->values.fills_ended;
    return rc;
}

/* 0, -errno, or -EAGAIN: not yet. */
static int carry_out(struct tl_daemon *d, struct tl_session *s, uint32_t index)
{
    const struct tl_values_request *q = &s->request;
    switch ((enum tl_values_op)q->op) {
    case TL_VALUES_JOB: return set_job(d, s);
    case TL_VALUES_PUT: return put_some(d, s);
    case TL_VALUES_BEGIN: return begin(d, s);
    case TL_VALUES_WRITE: return write_some(d, s);
    case TL_VALUES_COMMIT: return end_fill(d, s, true);
    case TL_VALUES_ABORT: return end_fill(d, s, false);
    case TL_VALUES_DROP: return drop(d, q->key);
    case TL_VALUES_FETCH: return fetch(d, s);
    case TL_VALUES_RESUME: return resume(d, s, index);
    case TL_VALUES_CLASS:
        return q->class > TL_VALUE_PINNED ? -EINVAL
                                          : tl_cache_set_class(d->values.cache, q->key, (enum tl_value_class)q->class);
    }
    return -EINVAL;
}

/* False: the client is gone, or talks nonsense. */
static bool receive(struct tl_session *s)
{
    struct iovec iov[] = {{.iov_base = &s->request, .iov_len = sizeof s->request},
                          {.iov_base = s->text, .iov_len = sizeof s->text - 1}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t got = recvmsg(s->fd, &msg, MSG_DONTWAIT);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    if (got < (ssize_t)sizeof s->request || (msg.msg_flags & MSG_TRUNC) != 0 ||
        (size_t)got != sizeof s->request + s->request.text_len)
        return false;
    s->text[s->request.text_len] = 0;
    s->reply.head = (struct tl_values_reply){.result = 0};
    s->done = 0;
    s->busy = true;
    s->waits = s->asked = false;
    return true;
}

static bool answer(struct tl_session *s, int result)
{
    s->reply.head.result = result;
    size_t len = sizeof s->reply.head + s->reply.head.count * sizeof s->reply.results[0];
    s->busy = false;
    return send(s->fd, &s->reply, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len;
}

/* While a request is on its way, the next one may wait in the socket; that the client is gone is told all the same. */
static void listen_to(struct tl_daemon *d, struct tl_session *s, uint32_t index, bool on)
{
    if (s->deaf == !on)
        return;
    struct epoll_event ev = {.events = on ? EPOLLIN : 0u, .data.u64 = (uint64_t)TL_WATCH_VALUES << 32 | index};
    epoll_ctl(d->epoll_fd, EPOLL_CTL_MOD, s->fd, &ev);
    s->deaf = !on;
}

/* The next pages of the window; requests wait until all are there. */
static bool make_window(struct tl_daemon *d, struct tl_session *s, uint32_t index)
{
    if (fallocate(s->window_fd, 0, (off_t)s->window_made, WINDOW_STEP) != 0) {
        if (errno != EINTR)
            tl_session_close(d, index); /* no memory: the client sees that it is closed */
        return errno == EINTR;
    }
    s->window_made += WINDOW_STEP;
    if (s->window_made == TL_VALUES_WINDOW_BYTES) {
        close(s->window_fd);
        s->window_fd = -1;
    }
    return true;
}

bool tl_session_go_on(struct tl_daemon *d, uint32_t index)
{
    struct tl_session *s = d->values.sessions[index];
    if (s->window_made < TL_VALUES_WINDOW_BYTES)
        return make_window(d, s, index);
    if (!s->busy || (s->waits && s->seen_ended == d->values.fills_ended))
        return false;
    int rc = carry_out(d, s, index);
    listen_to(d, s, index, rc != -EAGAIN);
    if (rc == -EAGAIN)
        return !s->waits;
    if (!answer(s, rc))
        tl_session_close(d, index);
    return false;
}

void tl_session_ready(struct tl_daemon *d, uint32_t index, uint32_t events)
{
    struct tl_session *s = index < TL_SESSIONS_MAX ? d->values.sessions[index] : NULL;
    if (s == NULL)
        return;
    bool gone = (events & (EPOLLHUP | EPOLLERR)) != 0;
    if (gone || (!s->busy && !receive(s)))
        tl_session_close(d, index);
    else if (s->busy && tl_session_go_on(d, index))
        d->values.busy = true;
}
