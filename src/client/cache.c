// SPDX-License-Identifier: Apache-2.0
/* Values of the daemon's cache: reading is cache/reader.h, filling the packets of cache/wire.h.
 *
 * The window is used in halves, so that the daemon copies one while we fill the other. */
#include "tiercel/cache.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "base/hash.h"
#include "cache/reader.h"
#include "cache/wire.h"
#include "client/client.h"

#define OPEN_TIMEOUT_MS 15000
#define HALF            (TL_VALUES_WINDOW_BYTES / 2)
#define ALIGN           64u
#define INTERRUPTED_MAX 1000
#define MEMORIES_MAX    8u /* that are kept until the end: address space */

/* Memory as some daemon had it. The next daemon mostly goes on with it; else there is another one, and what is held stays here. */
struct memory {
    struct tl_reader reader;
    int values_fd;
    uint64_t directory_ino, holds_dev, holds_ino;
    struct memory *older;
};

struct tiercel_cache {
    _Atomic(struct memory *) memory; /* for any thread; the rest is the one's that may ask the daemon */
    uint32_t memories;
    int fd;
    bool broken;
    uint32_t
        fills; /* on their way: they end with the daemon, and their numbers must not be taken for those of the next */
    uint8_t *window;
    char socket[sizeof((struct sockaddr_un *)0)->sun_path];
    char job[TL_VALUE_JOB_NAME];
};

/* A value as the reader knows it lies in what the caller keeps. */
_Static_assert(sizeof(struct tl_value) <= sizeof(struct tiercel_value), "there is room");

static struct tl_hash hash_of(struct tiercel_key key)
{
    return (struct tl_hash){.hi = key.hi, .lo = key.lo};
}

struct tiercel_key tiercel_key(const void *bytes, size_t len)
{
    struct tl_hash h = tl_hash_bytes(bytes, len, 0);
    return (struct tiercel_key){.hi = h.hi, .lo = h.lo};
}

/* ---- packets ---- */

static int send_packet(struct tiercel_cache *c, struct tl_values_request *q, const char *text)
{
    q->text_len = text == NULL ? 0 : (uint32_t)strnlen(text, TL_VALUES_LABEL_MAX);
    struct iovec iov[] = {{.iov_base = q, .iov_len = sizeof *q},
                          {.iov_base = (void *)(uintptr_t)text, .iov_len = q->text_len}};
    const struct msghdr msg = {.msg_iov = iov, .msg_iovlen = q->text_len > 0 ? 2 : 1};
    ssize_t sent = -1;
    for (int i = 0; i < INTERRUPTED_MAX && sent < 0; i++) {
        sent = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            break;
    }
    c->broken |= sent < 0;
    return c->broken ? -ECONNRESET : 0;
}

/* results: NULL, or room for TL_VALUES_ITEMS_MAX. */
static int receive_reply(struct tiercel_cache *c, struct tl_values_reply *reply, int32_t *results)
{
    int32_t none[1];
    struct iovec iov[] = {
        {.iov_base = reply, .iov_len = sizeof *reply},
        {.iov_base = results != NULL ? results : none, .iov_len = results != NULL ? TL_VALUES_ITEMS_MAX * 4 : 0}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t got = -1;
    for (int i = 0; i < INTERRUPTED_MAX && got < 0; i++) {
        got = recvmsg(c->fd, &msg, 0);
        if (got < 0 && errno != EINTR)
            break;
    }
    if (got < (ssize_t)sizeof *reply || (size_t)got != sizeof *reply + reply->count * sizeof(int32_t))
        c->broken = true;
    return c->broken ? -ECONNRESET : 0;
}

/* Over the session as it is. */
static int call_now(struct tiercel_cache *c, struct tl_values_request *q, const char *text, uint32_t *fill)
{
    struct tl_values_reply reply = {0};
    int rc = c->broken ? -ECONNRESET : send_packet(c, q, text);
    if (rc == 0)
        rc = receive_reply(c, &reply, NULL);
    if (rc == 0 && fill != NULL)
        *fill = reply.fill;
    return rc == 0 ? reply.result : rc;
}

/* ---- opening ---- */

static void close_all(const int *fds, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* The daemon's hello and its descriptors. */
static int receive_hello(int fd, int fds[TL_VALUES_FDS])
{
    union {
        char bytes[CMSG_SPACE(TL_VALUES_FDS * sizeof(int))];
        struct cmsghdr align;
    } ancillary;
    struct tl_values_hello hello;
    struct iovec iov = {.iov_base = &hello, .iov_len = sizeof hello};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary.bytes};
    ssize_t got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT); /* it came before the answer to the request */
    const struct cmsghdr *m = got < 0 ? NULL : CMSG_FIRSTHDR(&msg);
    if (m == NULL || m->cmsg_type != SCM_RIGHTS || m->cmsg_len != CMSG_LEN(TL_VALUES_FDS * sizeof(int)))
        return -EPROTO;
    memcpy(fds, CMSG_DATA(m), TL_VALUES_FDS * sizeof(int));
    bool ours = got == (ssize_t)sizeof hello && hello.version == TL_VALUES_VERSION &&
                hello.window_bytes == TL_VALUES_WINDOW_BYTES;
    return ours ? 0 : -EPROTO;
}

static void drop_memory(struct memory *m)
{
    if (m == NULL)
        return;
    tl_reader_unmap(&m->reader);
    close_all(&m->values_fd, 1);
    free(m);
}

/* Maps what the daemon sent. */
static int make_memory(struct memory **out, int fds[TL_VALUES_FDS], struct tl_error *why)
{
    struct stat directory, holds;
    struct memory *m = calloc(1, sizeof *m);
    if (m == NULL)
        return -ENOMEM;
    m->values_fd = m->reader.values_fd = -1;
    int rc = fstat(fds[0], &directory) == 0 && fstat(fds[3], &holds) == 0 ? 0 : -errno;
    if (rc == 0)
        rc = tl_reader_map(&m->reader, fds[0], fds[1], fds[2], fds[3], why);
    if (rc != 0) {
        drop_memory(m);
        return rc;
    }
    m->values_fd = fds[1];
    fds[1] = -1;
    m->directory_ino = directory.st_ino;
    m->holds_dev = holds.st_dev;
    m->holds_ino = holds.st_ino;
    *out = m;
    return 0;
}

/* Whether the daemon goes on with the memory that we have, and knows what we hold there. */
static bool goes_on(struct tiercel_cache *c, const int fds[TL_VALUES_FDS])
{
    const struct memory *now = atomic_load(&c->memory);
    struct stat st;
    if (now == NULL || fstat(fds[0], &st) != 0 || st.st_ino != now->directory_ino)
        return false;
    struct tl_values_request q = {.op = TL_VALUES_RESUME, .key = {.hi = now->holds_dev, .lo = now->holds_ino}};
    return call_now(c, &q, NULL, NULL) == 0;
}

static int set_up(struct tiercel_cache *c, struct tiercel_error *err)
{
    int fds[TL_VALUES_FDS] = {-1, -1, -1, -1, -1};
    struct tl_error why = {0};
    int rc = receive_hello(c->fd, fds);
    if (rc == 0) {
        void *window = mmap(NULL, TL_VALUES_WINDOW_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fds[4], 0);
        c->window = window == MAP_FAILED ? NULL : window;
        rc = window == MAP_FAILED ? -errno : 0;
    }
    if (rc == 0 && !goes_on(c, fds)) {
        struct memory *m = NULL;
        rc = c->broken ? -ECONNRESET : c->memories == MEMORIES_MAX ? -EMFILE : make_memory(&m, fds, &why);
        if (rc == 0) {
            m->older = atomic_load(&c->memory);
            atomic_store(&c->memory, m);
            c->memories++;
        }
    }
    close_all(fds, TL_VALUES_FDS);
    if (rc == 0)
        return 0;
    return tl_client_error(err, rc, "%s",
                           why.msg[0] != 0 ? why.msg
                           : rc == -EPROTO ? "the daemon's cache is of another version; run `tiercel restart`"
                                           : tiercel_strerror(rc));
}

static void find_job(const char *given, char out[TL_VALUE_JOB_NAME])
{
    const char *slurm = getenv("SLURM_JOB_ID"), *pbs = getenv("PBS_JOBID"), *own = getenv("TIERCEL_JOB");
    const char *name = given != NULL ? given : own;
    if (name == NULL && slurm != NULL)
        snprintf(out, TL_VALUE_JOB_NAME, "slurm-%s", slurm);
    else if (name == NULL && pbs != NULL)
        snprintf(out, TL_VALUE_JOB_NAME, "pbs-%s", pbs);
    else
        snprintf(out, TL_VALUE_JOB_NAME, "%s", name != NULL ? name : "");
}

static int say_job(struct tiercel_cache *c, struct tiercel_error *err)
{
    struct tl_values_request q = {.op = TL_VALUES_JOB};
    if (c->job[0] == 0)
        return 0;
    int rc = call_now(c, &q, c->job, NULL);
    return rc == 0 ? 0 : tl_client_error(err, rc, "%s: cannot be a job's name here: %s", c->job, tiercel_strerror(rc));
}

static void end_session(struct tiercel_cache *c)
{
    if (c->window != NULL)
        munmap(c->window, TL_VALUES_WINDOW_BYTES);
    close_all(&c->fd, 1);
    c->window = NULL;
    c->fd = -1;
}

static int begin_session(struct tiercel_cache *c, struct tiercel *t, struct tiercel_error *err)
{
    static const char *const argv[] = {"cache", "open", NULL};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return tl_client_error(err, -errno, "no socket: %s", tiercel_strerror(errno));
    c->fd = pair[0];
    c->broken = false;
    int rc = tiercel_call(t, argv, pair[1], OPEN_TIMEOUT_MS, NULL, NULL, NULL, err);
    close(pair[1]);
    if (rc == 0)
        rc = set_up(c, err);
    if (rc == 0)
        rc = say_job(c, err);
    c->broken = rc != 0;
    return rc;
}

int tiercel_cache_open(struct tiercel_cache **out, struct tiercel *t, const char *job, struct tiercel_error *err)
{
    struct tiercel_cache *c = calloc(1, sizeof *c);
    if (c == NULL)
        return tl_client_error(err, -ENOMEM, "out of memory");
    c->fd = -1;
    snprintf(c->socket, sizeof c->socket, "%s", tiercel_socket_path(t));
    find_job(job, c->job);
    int rc = begin_session(c, t, err);
    if (rc != 0) {
        tiercel_cache_close(c);
        return rc;
    }
    *out = c;
    return 0;
}

void tiercel_cache_close(struct tiercel_cache *c)
{
    if (c == NULL)
        return;
    end_session(c);
    for (struct memory *m = atomic_load(&c->memory); m != NULL;) {
        struct memory *older = m->older;
        drop_memory(m);
        m = older;
    }
    free(c);
}

/* ---- another daemon ---- */

static bool is_gone(const struct tiercel_cache *c)
{
    struct pollfd p = {.fd = c->fd};
    return c->broken || (poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)) != 0);
}

/* There is a session: if its daemon has ended, one with the next. 0; -ECONNRESET: there is none now, or fills are lost of which the
 * caller does not know yet. */
static int ready(struct tiercel_cache *c)
{
    struct tiercel *t;
    if (!is_gone(c))
        return 0;
    c->broken = true;
    if (c->fills > 0 || tiercel_open_socket(&t, c->socket, OPEN_TIMEOUT_MS, NULL) != 0)
        return -ECONNRESET;
    end_session(c);
    int rc = begin_session(c, t, NULL);
    tiercel_close(t);
    return rc == 0 ? 0 : -ECONNRESET;
}

static int call(struct tiercel_cache *c, struct tl_values_request *q, const char *text, uint32_t *fill)
{
    int rc = ready(c);
    return rc == 0 ? call_now(c, q, text, fill) : rc;
}

/* ---- reading ---- */

int tiercel_cache_get(struct tiercel_cache *c, struct tiercel_key key, struct tiercel_value *out)
{
    struct tl_value v;
    struct memory *m = atomic_load(&c->memory);
    int rc = tl_reader_get(&m->reader, hash_of(key), &v);
    if (rc != 0)
        return rc;
    *out = (struct tiercel_value){.bytes = v.bytes,
                                  .size = v.size,
                                  .digest = {.hi = v.digest.hi, .lo = v.digest.lo},
                                  .cls = (enum tiercel_class)v.class,
                                  .reserved = {v.hold, v.map_skip, v.entry, (uintptr_t)m}};
    return 0;
}

void tiercel_cache_release(struct tiercel_cache *c, struct tiercel_value *value)
{
    struct tl_value v = {.bytes = value->bytes,
                         .size = value->size,
                         .hold = (uint32_t)value->reserved[0],
                         .map_skip = value->reserved[1]};
    if (value->bytes == NULL)
        return;
    (void)c;
    tl_reader_let_go(&((struct memory *)(uintptr_t)value->reserved[3])->reader, &v);
    *value = (struct tiercel_value){.bytes = NULL};
}

int tiercel_cache_has(struct tiercel_cache *c, struct tiercel_key key)
{
    return tl_reader_has(&atomic_load(&c->memory)->reader, hash_of(key));
}

/* ---- putting ---- */

static size_t label_len(const struct tiercel_put *p)
{
    return p->label == NULL ? 0 : strnlen(p->label, TL_VALUES_LABEL_MAX);
}

static uint64_t space_of(const struct tiercel_put *p)
{
    return (p->size + ALIGN - 1) / ALIGN * ALIGN + (label_len(p) + ALIGN - 1) / ALIGN * ALIGN +
           sizeof(struct tl_values_item);
}

/* Puts as many as fit into a half of the window, items first. How many; those that are too large are not for it. */
static uint32_t load(struct tiercel_cache *c, uint64_t half, const struct tiercel_put *puts, size_t count)
{
    uint64_t need = 0, at;
    uint32_t n = 0;
    while (n < count && n < TL_VALUES_ITEMS_MAX && puts[n].size <= TIERCEL_CACHE_PUT_MAX &&
           need + space_of(&puts[n]) <= HALF)
        need += space_of(&puts[n++]);
    at = half + n * sizeof(struct tl_values_item);
    for (uint32_t i = 0; i < n; i++) {
        const struct tiercel_put *p = &puts[i];
        struct tl_values_item item = {.key = hash_of(p->key),
                                      .digest = hash_of(p->digest),
                                      .offset = at,
                                      .size = p->size,
                                      .flags = p->flags & (TL_VALUES_REPLACE | TL_VALUES_CHECK),
                                      .class = (uint32_t)p->cls,
                                      .label_len = (uint32_t)label_len(p)};
        if (p->size > 0)
            memcpy(c->window + at, p->bytes, p->size);
        at += (p->size + ALIGN - 1) / ALIGN * ALIGN;
        item.label_offset = (uint32_t)at;
        if (item.label_len > 0)
            memcpy(c->window + at, p->label, item.label_len);
        at += (item.label_len + ALIGN - 1) / ALIGN * ALIGN;
        memcpy(c->window + half + i * sizeof item, &item, sizeof item);
    }
    return n;
}

/* A half that is on its way. */
struct batch {
    size_t first;
    uint32_t count; /* 0: none */
};

/* What became of it. The number that was put, or -ECONNRESET. */
static int64_t finish(struct tiercel_cache *c, struct batch *b, int *results)
{
    struct tl_values_reply reply;
    int32_t each[TL_VALUES_ITEMS_MAX];
    int64_t put = 0;
    if (b->count == 0)
        return 0;
    int rc = receive_reply(c, &reply, each);
    if (rc == 0 && (reply.result != 0 || reply.count != b->count))
        rc = -ECONNRESET;
    for (uint32_t i = 0; i < b->count && rc == 0; i++) {
        put += each[i] == 0;
        if (results != NULL)
            results[b->first + i] = each[i];
    }
    b->count = 0;
    return rc == 0 ? put : rc;
}

static int64_t start(struct tiercel_cache *c, uint64_t half, struct batch *b)
{
    struct tl_values_request q = {.op = TL_VALUES_PUT, .offset = half, .count = b->count};
    int rc = send_packet(c, &q, NULL);
    if (rc != 0)
        b->count = 0;
    return rc;
}

int64_t tiercel_cache_put_many(struct tiercel_cache *c, const struct tiercel_put *puts, size_t count, int *results)
{
    struct batch batches[2] = {{.count = 0}, {.count = 0}};
    int64_t put = 0, rc = ready(c);
    uint32_t turn = 0;
    for (size_t at = 0; at < count && rc >= 0; turn ^= 1) {
        rc = finish(c, &batches[turn], results); /* the daemon is done with this half */
        put += rc > 0 ? rc : 0;
        if (rc < 0)
            break;
        uint32_t n = load(c, turn * (uint64_t)HALF, puts + at, count - at);
        if (n == 0) {
            if (results != NULL)
                results[at] = -EFBIG;
            at++;
            continue;
        }
        batches[turn] = (struct batch){.first = at, .count = n};
        rc = start(c, turn * (uint64_t)HALF, &batches[turn]);
        at += n;
    }
    for (uint32_t i = 0; i < 2 && rc >= 0; i++) {
        rc = finish(c, &batches[turn ^ i], results); /* the older one first */
        put += rc > 0 ? rc : 0;
    }
    return rc < 0 ? rc : put;
}

int tiercel_cache_put(struct tiercel_cache *c, const struct tiercel_put *put)
{
    int result = -EIO;
    int64_t rc = tiercel_cache_put_many(c, put, 1, &result);
    return rc < 0 ? (int)rc : result;
}

/* ---- in pieces ---- */

int tiercel_cache_begin(struct tiercel_cache *c, const struct tiercel_put *put, uint64_t size, unsigned *fill)
{
    struct tl_values_request q = {.op = TL_VALUES_BEGIN,
                                  .flags = put->flags,
                                  .class = (uint32_t)put->cls,
                                  .size = size,
                                  .bytes_max = put->bytes_max,
                                  .key = hash_of(put->key),
                                  .digest = hash_of(put->digest)};
    int rc = call(c, &q, put->label, fill);
    c->fills += rc == 0;
    return rc;
}

int tiercel_cache_write(struct tiercel_cache *c, unsigned fill, const void *bytes, uint64_t len)
{
    int rc = 0;
    for (uint64_t done = 0; done < len && rc == 0;) {
        uint64_t n = len - done < HALF ? len - done : HALF;
        struct tl_values_request q = {.op = TL_VALUES_WRITE, .fill = fill, .len = n};
        if (c->broken)
            return -ECONNRESET;
        memcpy(c->window, (const uint8_t *)bytes + done, n);
        rc = call_now(c, &q, NULL, NULL);
        done += n;
    }
    return rc;
}

/* However that ends, the fill is over. */
static int end_fill(struct tiercel_cache *c, enum tl_values_op op, unsigned fill)
{
    struct tl_values_request q = {.op = op, .fill = fill};
    int rc = call_now(c, &q, NULL, NULL);
    c->fills -= c->fills > 0 && rc != -EINVAL;
    return rc;
}

int tiercel_cache_commit(struct tiercel_cache *c, unsigned fill)
{
    return end_fill(c, TL_VALUES_COMMIT, fill);
}

int tiercel_cache_abort(struct tiercel_cache *c, unsigned fill)
{
    return end_fill(c, TL_VALUES_ABORT, fill);
}

int tiercel_cache_fetch(struct tiercel_cache *c, struct tiercel_key key)
{
    struct tl_values_request q = {.op = TL_VALUES_FETCH, .key = hash_of(key)};
    return call(c, &q, NULL, NULL);
}

int tiercel_cache_drop(struct tiercel_cache *c, struct tiercel_key key)
{
    struct tl_values_request q = {.op = TL_VALUES_DROP, .key = hash_of(key)};
    return call(c, &q, NULL, NULL);
}

int tiercel_cache_set_class(struct tiercel_cache *c, struct tiercel_key key, enum tiercel_class cls)
{
    struct tl_values_request q = {.op = TL_VALUES_CLASS, .key = hash_of(key), .class = (uint32_t)cls};
    return call(c, &q, NULL, NULL);
}
