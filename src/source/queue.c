// SPDX-License-Identifier: Apache-2.0
/* The instance, whatever it reads from: bounded queues between one owner thread and the workers, and an eventfd that wakes the owner.
 *
 * An operation counts as accepted until its last completion has been reaped. Each gives at most
 * TL_SOURCE_CHUNKS_MAX completions, so that the ring of completions never overflows and no worker ever waits for the
 * owner. */
#include "source/posix.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/time.h"
#include "source/http.h"

#define THREADS_MAX 64u
#define QUEUE_LIMIT (1u << 16)
/* Names of a large directory are given back to the kernel after use; those of a usual one fit here. */
#define PAGE_KEPT_SIZE (64u << 10)

static void lock(struct tl_source *s)
{
    check(pthread_mutex_lock(&s->lock) == 0);
}

static void unlock(struct tl_source *s)
{
    check(pthread_mutex_unlock(&s->lock) == 0);
}

void tl_posix_report(struct tl_source *s, const struct tl_source_done *done)
{
    if (done->status < 0)
        s->counters.errors++;
    lock(s);
    uint32_t room = s->config.queue_max * TL_SOURCE_CHUNKS_MAX;
    check(s->done_count < room);
    s->done[(s->done_first + s->done_count) % room] = *done;
    s->done_count++;
    if (!s->signalled) {
        s->signalled = true;
        check(eventfd_write(s->event_fd, 1) == 0);
    }
    unlock(s);
}

struct tl_posix_exclude *tl_posix_exclude_ref(struct tl_source *s)
{
    lock(s);
    struct tl_posix_exclude *x = s->exclude;
    x->refs++;
    unlock(s);
    return x;
}

/* Paths come from listings: absolute, one slash between names, no "." and "..", so that a path has one spelling and
 * the excluded directories cannot be reached by another. 0, -ENAMETOOLONG, -EINVAL. */
static int copy_path(const struct tl_source_op *op, char out[TL_SOURCE_PATH_MAX + 1])
{
    if (op->path_len > TL_SOURCE_PATH_MAX)
        return -ENAMETOOLONG;
    if (op->path_len == 0 || op->path[0] != '/' || memchr(op->path, '\0', op->path_len) != NULL)
        return -EINVAL;
    memcpy(out, op->path, op->path_len);
    out[op->path_len] = '\0';
    if (op->path_len == 1)
        return 0;
    for (const char *at = out; *at == '/';) {
        const char *name = at + 1;
        size_t len = strcspn(name, "/");
        if (len == 0 || (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'))))
            return -EINVAL;
        at = name + len;
    }
    return 0;
}

static void carry_out(struct tl_source *s, const struct tl_source_op *op, void *page)
{
    char path[TL_SOURCE_PATH_MAX + 1];
    int rc = copy_path(op, path);
    if (rc != 0) {
        tl_posix_report(s, &(struct tl_source_done){.cookie = op->cookie,
                                                    .status = rc,
                                                    .chunk = op->kind == TL_SOURCE_CHUNKS ? op->first : 0,
                                                    .last = true});
        return;
    }
    switch (op->kind) {
    case TL_SOURCE_CHUNKS: s->way->read(s, op, path); break;
    case TL_SOURCE_LIST: s->way->list(s, op, path, page); break;
    case TL_SOURCE_ENTRY: s->way->entry(s, op, path); break;
    case TL_SOURCE_XATTRS: s->way->xattrs(s, op, path); break;
    }
}

/* Takes a walk out of the list; nobody joins it any more. Under the lock. */
static void unpublish(struct tl_source *s, struct tl_posix_walk *w)
{
    struct tl_posix_walk **link = &s->walks;
    while (w->published && *link != w) /* published: it is there */
        link = &(*link)->next;
    if (w->published)
        *link = w->next;
    w->published = false;
}

void tl_posix_walk_publish(struct tl_source *s, struct tl_posix_walk *w)
{
    lock(s);
    check(!w->published && w->helpers == 0);
    w->next = s->walks;
    w->published = true;
    s->walks = w;
    check(pthread_cond_broadcast(&s->work) == 0);
    unlock(s);
}

void tl_posix_walk_finish(struct tl_source *s, struct tl_posix_walk *w)
{
    lock(s);
    unpublish(s, w);
    while (w->helpers > 0)
        check(pthread_cond_wait(&s->helped, &s->lock) == 0);
    unlock(s);
}

bool tl_posix_work_waits(struct tl_source *s)
{
    lock(s);
    bool waits = s->op_count > 0 || s->stopping;
    unlock(s);
    return waits;
}

/* Helps in the newest walk, with the lock held around; the lock is free meanwhile. */
static void help(struct tl_source *s)
{
    struct tl_posix_walk *w = s->walks;
    w->helpers++;
    unlock(s);
    bool nothing_left = tl_posix_walk_help(w);
    lock(s);
    if (nothing_left) /* else an operation came; who is idle after that may join again */
        unpublish(s, w);
    w->helpers--;
    check(pthread_cond_broadcast(&s->helped) == 0);
}

/* Waits until there may be something to do, and deadline_ns at most. Closes files that have been idle for long. */
static void wait_for_work(struct tl_source *s, uint64_t *deadline_ns)
{
    if (*deadline_ns == UINT64_MAX) {
        check(pthread_cond_wait(&s->work, &s->lock) == 0);
        return;
    }
    struct timespec until = tl_time_to_timespec((int64_t)*deadline_ns);
    int rc = pthread_cond_timedwait(&s->work, &s->lock, &until);
    check(rc == 0 || rc == ETIMEDOUT);
    if (rc == ETIMEDOUT) {
        unlock(s);
        *deadline_ns = tl_posix_files_expire(&s->files, tl_time_mono_ns());
        lock(s);
    }
}

/* The next operation; until there is one, helps others or waits. False: the workers shall end. */
static bool next_op(struct tl_source *s, struct tl_source_op *out)
{
    uint64_t deadline_ns = tl_posix_files_expire(&s->files, tl_time_mono_ns());
    lock(s);
    while (s->op_count == 0 && !s->stopping) {
        if (s->walks != NULL)
            help(s);
        else
            wait_for_work(s, &deadline_ns);
    }
    bool go_on = !s->stopping;
    if (go_on) {
        *out = s->ops[s->op_first];
        s->op_first = (s->op_first + 1) % s->config.queue_max;
        s->op_count--;
    }
    unlock(s);
    return go_on;
}

static void *worker(void *arg)
{
    struct tl_source *s = arg;
    /* Reserved here, it costs memory only as far as names fill it. */
    void *page = mmap(NULL, TL_SOURCE_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        page = NULL; /* listings then fail with -ENOMEM */
    struct tl_source_op op;
    while (next_op(s, &op)) {
        carry_out(s, &op, page);
        if (op.kind == TL_SOURCE_LIST && page != NULL)
            (void)madvise((char *)page + PAGE_KEPT_SIZE, TL_SOURCE_PAGE_SIZE - PAGE_KEPT_SIZE, MADV_DONTNEED);
    }
    if (page != NULL)
        munmap(page, TL_SOURCE_PAGE_SIZE);
    return NULL;
}

/* Signals are for the owner's thread. */
static int start_workers(struct tl_source *s)
{
    sigset_t all, before;
    sigfillset(&all);
    int rc = pthread_sigmask(SIG_SETMASK, &all, &before);
    check(rc == 0);
    while (rc == 0 && s->thread_count < s->config.threads) {
        rc = pthread_create(&s->threads[s->thread_count], NULL, worker, s);
        if (rc == 0)
            s->thread_count++;
    }
    check(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return -rc;
}

static void init_locks(struct tl_source *s)
{
    pthread_condattr_t attr;
    check(pthread_mutex_init(&s->lock, NULL) == 0);
    check(pthread_mutex_init(&s->devices.lock, NULL) == 0);
    check(pthread_condattr_init(&attr) == 0);
    check(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    check(pthread_cond_init(&s->work, &attr) == 0);
    check(pthread_condattr_destroy(&attr) == 0);
    check(pthread_cond_init(&s->helped, NULL) == 0);
}

static int allocate(struct tl_source *s)
{
    const struct tl_source_config *c = &s->config;
    s->ops = calloc(c->queue_max, sizeof *s->ops);
    s->done = calloc((size_t)c->queue_max * TL_SOURCE_CHUNKS_MAX, sizeof *s->done);
    s->threads = calloc(c->threads, sizeof *s->threads);
    if (s->ops == NULL || s->done == NULL || s->threads == NULL)
        return -ENOMEM;
    int rc = tl_posix_exclude_new(&s->exclude, c->exclude, c->exclude_count);
    if (rc != 0)
        return rc;
    rc = tl_posix_files_init(&s->files, c->open_files_max, c->threads);
    if (rc != 0)
        return rc;
    s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return s->event_fd >= 0 ? 0 : -errno;
}

int tl_source_start(struct tl_source **out, const struct tl_source_config *config, const struct tl_source_way *way,
                    struct tl_http *http, struct tl_error *err)
{
    if (config->threads < 1 || config->threads > THREADS_MAX)
        return tl_error_set(err, -EINVAL, "%u storage threads are out of range: choose 1 to %u", config->threads,
                            THREADS_MAX);
    if (config->queue_max < 1 || config->queue_max > QUEUE_LIMIT || config->chunk_size_bytes < 1)
        return tl_error_set(err, -EINVAL, "a storage queue of %u operations with chunks of %u bytes is out of range",
                            config->queue_max, config->chunk_size_bytes);
    struct tl_source *s = calloc(1, sizeof *s);
    if (s == NULL)
        return tl_error_set(err, -ENOMEM, "no memory for the storage threads");
    s->config = *config;
    s->way = way;
    s->http = http;
    s->event_fd = -1;
    s->rights = tl_posix_rights_now();
    if (http != NULL)
        http->stopping = &s->stopping;
    init_locks(s);
    int rc = allocate(s);
    if (rc == 0)
        rc = start_workers(s);
    s->config.exclude = NULL; /* the caller's; copied into s->exclude */
    if (rc != 0) {
        s->http = NULL; /* still the caller's */
        tl_source_close(s);
        return tl_error_set(err, rc, "cannot start %u storage threads: %s; see `ulimit -u` and `ulimit -n`",
                            config->threads, strerror(-rc));
    }
    *out = s;
    return 0;
}

void tl_source_close(struct tl_source *s)
{
    if (s == NULL)
        return;
    lock(s);
    s->stopping = true;
    check(pthread_cond_broadcast(&s->work) == 0);
    unlock(s);
    for (uint32_t i = 0; i < s->thread_count; i++)
        check(pthread_join(s->threads[i], NULL) == 0);
    for (uint32_t i = 0; i < s->done_count; i++)
        free(s->done[(s->done_first + i) % (s->config.queue_max * TL_SOURCE_CHUNKS_MAX)].blob);
    tl_posix_files_fini(&s->files);
    tl_posix_exclude_unref(s->exclude);
    if (s->event_fd >= 0)
        close(s->event_fd);
    check(s->walks == NULL);
    if (s->http != NULL)
        s->way->close(s->http);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->helped);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->devices.lock);
    free(s->ops);
    free(s->done);
    free(s->threads);
    free(s);
}

int tl_source_posix_open(struct tl_source **out, const struct tl_source_config *config, struct tl_error *err)
{
    static const struct tl_source_way posix = {
        .list = tl_posix_list, .entry = tl_posix_entry, .xattrs = tl_posix_xattrs, .read = tl_posix_read};
    return tl_source_start(out, config, &posix, NULL, err);
}

int tl_source_fd(struct tl_source *s)
{
    return s->event_fd;
}

int tl_source_submit(struct tl_source *s, const struct tl_source_op *op)
{
    check(op->path != NULL);
    check(op->kind != TL_SOURCE_CHUNKS || (op->count >= 1 && op->count <= TL_SOURCE_CHUNKS_MAX));
    lock(s);
    int rc = s->accepted < s->config.queue_max ? 0 : -EBUSY;
    if (rc == 0) {
        s->ops[(s->op_first + s->op_count) % s->config.queue_max] = *op;
        s->op_count++;
        s->accepted++;
        check(s->op_count <= s->accepted);
        check(pthread_cond_signal(&s->work) == 0);
    }
    unlock(s);
    return rc;
}

int tl_source_reap(struct tl_source *s, struct tl_source_done *out, int max)
{
    int n = 0;
    lock(s);
    while (n < max && s->done_count > 0) {
        out[n] = s->done[s->done_first];
        s->done_first = (s->done_first + 1) % (s->config.queue_max * TL_SOURCE_CHUNKS_MAX);
        s->done_count--;
        if (out[n].last) {
            check(s->accepted > 0);
            s->accepted--;
        }
        n++;
    }
    if (s->done_count == 0 && s->signalled) {
        eventfd_t value;
        check(eventfd_read(s->event_fd, &value) == 0);
        s->signalled = false;
    }
    unlock(s);
    return n;
}

void tl_source_stats(struct tl_source *s, struct tl_source_stats *out)
{
    *out = (struct tl_source_stats){
        .lists = s->counters.lists,
        .opens = s->counters.opens,
        .reads = s->counters.reads,
        .lstats = s->counters.lstats,
        .readlinks = s->counters.readlinks,
        .bytes = s->counters.bytes,
        .errors = s->counters.errors,
    };
}

int tl_source_set_exclude(struct tl_source *s, const char *const *exclude, size_t count)
{
    struct tl_posix_exclude *fresh = NULL;
    int rc = tl_posix_exclude_new(&fresh, exclude, count);
    if (rc != 0)
        return rc;
    lock(s);
    struct tl_posix_exclude *old = s->exclude;
    s->exclude = fresh;
    unlock(s);
    tl_posix_exclude_unref(old);
    return 0;
}
