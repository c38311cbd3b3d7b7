// SPDX-License-Identifier: Apache-2.0
#include "daemon/values_lower.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/prng.h"
#include "daemon/daemon.h"

#define SPILLS_MAX  64u          /* values that wait to be written, and are held so long */
#define SPILL_BYTES (64u << 20)  /* and their bytes */
#define FETCHES_MAX 64u          /* values on their way up */
#define FETCH_MAX   (1ull << 30) /* bytes of one: it is read whole */
#define FILTER_BITS (1u << 22)

enum job_kind { SPILL, FETCH, DROP };

struct job {
    struct job *next;
    enum job_kind kind;
    int result;
    struct tl_hash key;
    bool stale; /* a FETCH: the value was put anew meanwhile */
    struct tl_stored what;
    struct tl_value held;
    uint8_t *bytes;
    /* a FETCH that is filled */
    uint32_t fill;
    bool filling;
    uint64_t written;
};

struct list {
    struct job *first, **last;
};

struct tl_lower {
    struct tl_backend *store;
    struct tl_reader *reader; /* of the cache */
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    struct list jobs, done;
    uint32_t spills;
    uint64_t spill_bytes;
    struct tl_backend_stats stats;
    bool stopping, running;
    /* the loop's */
    int event_fd;
    struct job *fetches[FETCHES_MAX]; /* on their way; the thread has some of them */
    struct job *arrived[FETCHES_MAX];
    uint64_t *filter; /* keys that may be below */
    uint64_t spilled, skipped, fetched;
};

static void append(struct list *l, struct job *j)
{
    j->next = NULL;
    *l->last = j;
    l->last = &j->next;
}

static struct job *take(struct list *l)
{
    struct job *j = l->first;
    if (j != NULL) {
        l->first = j->next;
        if (l->first == NULL)
            l->last = &l->first;
    }
    return j;
}

/* ---- the thread ---- */

static void fetch(struct tl_lower *w, struct job *j)
{
    j->result = w->store->ops->look(w->store, j->key, &j->what);
    if (j->result == 0 && j->what.size > FETCH_MAX)
        j->result = -EFBIG;
    if (j->result == 0)
        j->bytes = malloc(j->what.size + 1);
    if (j->result == 0 && j->bytes == NULL)
        j->result = -ENOMEM;
    if (j->result == 0)
        j->result = w->store->ops->get(w->store, j->key, &j->what, j->bytes, j->what.size);
}

static void carry_out(struct tl_lower *w, struct job *j)
{
    switch (j->kind) {
    case SPILL:
        j->result = w->store->ops->put(w->store, &j->what, j->held.bytes);
        tl_reader_let_go(w->reader, &j->held);
        break;
    case FETCH: fetch(w, j); break;
    case DROP: j->result = w->store->ops->drop(w->store, j->key); break;
    }
}

static void *work(void *arg)
{
    struct tl_lower *w = arg;
    pthread_mutex_lock(&w->lock);
    while (!w->stopping) {
        struct job *j = take(&w->jobs);
        if (j == NULL) {
            pthread_cond_wait(&w->wake, &w->lock);
            continue;
        }
        pthread_mutex_unlock(&w->lock);
        uint64_t size = j->kind == SPILL ? j->held.size : 0;
        carry_out(w, j);
        struct tl_backend_stats stats;
        w->store->ops->stats(w->store, &stats);
        pthread_mutex_lock(&w->lock);
        w->stats = stats;
        w->spills -= j->kind == SPILL;
        w->spill_bytes -= size;
        if (j->kind == FETCH) {
            append(&w->done, j);
            (void)!write(w->event_fd, &(uint64_t){1}, 8); /* full: it is readable all the same */
        } else {
            free(j);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void give(struct tl_lower *w, struct job *j)
{
    pthread_mutex_lock(&w->lock);
    append(&w->jobs, j);
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

/* ---- keys that may be below ---- */

static uint32_t bit_of(struct tl_hash key)
{
    return (uint32_t)tl_prng_mix(key.hi ^ tl_prng_mix(key.lo)) % FILTER_BITS;
}

static bool may_have(const struct tl_lower *w, struct tl_hash key)
{
    return (w->filter[bit_of(key) / 64] >> (bit_of(key) % 64) & 1) != 0;
}

static bool note(void *ctx, const struct tl_stored *what)
{
    struct tl_lower *w = ctx;
    w->filter[bit_of(what->key) / 64] |= 1ull << (bit_of(what->key) % 64);
    return true;
}

/* ---- the loop's side ---- */

void tl_lower_evicting(void *ctx, const struct tl_cache_item *item)
{
    struct tl_daemon *d = ctx;
    struct tl_lower *w = d->values.lower;
    if (w == NULL || item->class == TL_VALUE_VOLATILE)
        return;
    pthread_mutex_lock(&w->lock);
    bool room = w->spills < SPILLS_MAX && w->spill_bytes + item->size <= SPILL_BYTES;
    pthread_mutex_unlock(&w->lock);
    struct job *j = room ? calloc(1, sizeof *j) : NULL;
    if (j == NULL || tl_reader_get(w->reader, item->key, &j->held) != 0) {
        w->skipped++;
        free(j);
        return;
    }
    size_t len = item->label_len < sizeof j->what.label ? item->label_len : sizeof j->what.label - 1;
    j->kind = SPILL;
    j->what.key = item->key;
    j->what.digest = item->digest;
    j->what.size = item->size;
    j->what.class = item->class;
    memcpy(j->what.label, item->label, len);
    (void)note(w, &j->what);
    w->spilled++;
    pthread_mutex_lock(&w->lock);
    w->spills++;
    w->spill_bytes += item->size;
    pthread_mutex_unlock(&w->lock);
    give(w, j);
}

void tl_lower_changed(struct tl_daemon *d, struct tl_hash key)
{
    struct tl_lower *w = d->values.lower;
    if (w == NULL || !may_have(w, key))
        return;
    for (uint32_t i = 0; i < FETCHES_MAX; i++)
        if (w->fetches[i] != NULL && tl_hash_equal(w->fetches[i]->key, key))
            w->fetches[i]->stale = true;
    struct job *j = calloc(1, sizeof *j);
    if (j == NULL) {
        tl_log("error", "out of memory for the values on disk; they are not used any more");
        tl_lower_close(d); /* else it might serve what is old */
        return;
    }
    j->kind = DROP;
    j->key = key;
    give(w, j);
}

bool tl_lower_fetching(const struct tl_daemon *d, struct tl_hash key)
{
    const struct tl_lower *w = d->values.lower;
    for (uint32_t i = 0; w != NULL && i < FETCHES_MAX; i++)
        if (w->fetches[i] != NULL && tl_hash_equal(w->fetches[i]->key, key))
            return true;
    return false;
}

int tl_lower_fetch(struct tl_daemon *d, struct tl_hash key)
{
    struct tl_lower *w = d->values.lower;
    uint32_t free_slot = FETCHES_MAX;
    if (tl_cache_has(d->values.cache, key))
        return 0;
    if (w == NULL || !may_have(w, key))
        return -ENOENT;
    for (uint32_t i = 0; i < FETCHES_MAX; i++) {
        if (w->fetches[i] == NULL)
            free_slot = i;
        else if (tl_hash_equal(w->fetches[i]->key, key))
            return -EAGAIN;
    }
    if (free_slot == FETCHES_MAX)
        return -EAGAIN;
    struct job *j = calloc(1, sizeof *j);
    if (j == NULL)
        return -ENOMEM;
    j->kind = FETCH;
    j->key = key;
    w->fetches[free_slot] = j;
    give(w, j);
    return -EAGAIN;
}

/* The fetch is over, however it went. */
static void end_fetch(struct tl_daemon *d, struct job *j)
{
    struct tl_lower *w = d->values.lower;
    for (uint32_t i = 0; i < FETCHES_MAX; i++) {
        if (w->fetches[i] == j)
            w->fetches[i] = NULL;
        if (w->arrived[i] == j)
            w->arrived[i] = NULL;
    }
    if (j->filling)
        tl_cache_abort(d->values.cache, j->fill);
    free(j->bytes);
    free(j);
    d->values.fills_ended++;
    d->values.busy = true;
}

void tl_lower_ready(struct tl_daemon *d)
{
    struct tl_lower *w = d->values.lower;
    uint64_t count;
    if (w == NULL || read(w->event_fd, &count, sizeof count) < 0)
        return;
    for (;;) { /* ends: at most FETCHES_MAX are on their way */
        pthread_mutex_lock(&w->lock);
        struct job *j = take(&w->done);
        pthread_mutex_unlock(&w->lock);
        if (j == NULL)
            break;
        if (j->result != 0) {
            end_fetch(d, j);
            continue;
        }
        for (uint32_t i = 0; i < FETCHES_MAX; i++)
            if (w->fetches[i] == j)
                w->arrived[i] = j;
        d->values.busy = true;
    }
}

/* A step of filling. -EAGAIN: there is more. */
static int fill_some(struct tl_daemon *d, struct job *j)
{
    struct tl_cache *c = d->values.cache;
    const struct tl_cache_attr a = {.key = j->key,
                                    .class = j->what.class == TL_VALUE_PINNED ? TL_VALUE_ORDINARY : j->what.class,
                                    .check = true,
                                    .digest = j->what.digest,
                                    .label = j->what.label[0] != 0 ? j->what.label : NULL};
    if (j->stale)
        return -ESTALE;
    if (!j->filling) {
        int rc = tl_cache_begin(c, &a, j->what.size, &j->fill);
        j->filling = rc == 0;
        return rc == 0 ? -EAGAIN : rc;
    }
    if (j->written < j->what.size) {
        int64_t n = tl_cache_write(c, j->fill, j->bytes + j->written, j->what.size - j->written);
        j->written += n > 0 ? (uint64_t)n : 0;
        return n >= 0 ? -EAGAIN : (int)n;
    }
    int rc = tl_cache_commit(c, j->fill);
    j->filling = rc == -EAGAIN;
    d->values.lower->fetched += rc == 0;
    return rc;
}

bool tl_lower_go_on(struct tl_daemon *d)
{
    bool more = false;
    for (uint32_t i = 0; d->values.lower != NULL && i < FETCHES_MAX; i++) {
        struct job *j = d->values.lower->arrived[i];
        if (j == NULL)
            continue;
        if (fill_some(d, j) == -EAGAIN)
            more = true;
        else
            end_fetch(d, j);
    }
    return more;
}

json_t *tl_lower_json(const struct tl_daemon *d)
{
    struct tl_lower *w = d->values.lower;
    if (w == NULL)
        return json_null();
    pthread_mutex_lock(&w->lock);
    struct tl_backend_stats s = w->stats;
    pthread_mutex_unlock(&w->lock);
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "dir", d->options.values_dir, "limit_bytes",
                     (json_int_t)s.limit_bytes, "used_bytes", (json_int_t)s.used_bytes, "values", (json_int_t)s.values,
                     "spilled", (json_int_t)w->spilled, "skipped", (json_int_t)w->skipped, "fetched",
                     (json_int_t)w->fetched, "evictions", (json_int_t)s.evictions, "damaged", (json_int_t)s.damaged);
}

/* ---- life ---- */

int tl_lower_open(struct tl_daemon *d, struct tl_error *err)
{
    if (d->options.values_dir[0] == 0)
        return 0;
    struct tl_lower *w = calloc(1, sizeof *w);
    if (w == NULL)
        return tl_error_set(err, -ENOMEM, "out of memory for the values on disk");
    w->event_fd = -1;
    w->jobs.last = &w->jobs.first;
    w->done.last = &w->done.first;
    w->reader = tl_cache_reader(d->values.cache);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    d->values.lower = w;
    w->filter = calloc(FILTER_BITS / 64, sizeof *w->filter);
    char below[TL_TIER_NAME_MAX + 16]; /* several daemons may have been given the same place */
    snprintf(below, sizeof below, "%s-%u", d->options.tier, d->options.rank);
    int rc = tl_backend_disk(&w->store, d->options.values_dir, below, d->options.values_dir_bytes, err);
    if (rc == 0 && w->filter == NULL)
        rc = tl_error_set(err, -ENOMEM, "out of memory for the values on disk");
    if (rc == 0) {
        w->store->ops->each(w->store, note, w);
        w->store->ops->stats(w->store, &w->stats);
        w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        rc = w->event_fd < 0 ? -errno : tl_loop_watch(d, w->event_fd, TL_WATCH_LOWER, 0, EPOLLIN);
        if (rc == 0)
            rc = -pthread_create(&w->thread, NULL, work, w);
        w->running = rc == 0;
        if (rc != 0)
            (void)tl_error_set(err, rc, "values on disk: %s", strerror(-rc));
    }
    if (rc != 0)
        tl_lower_close(d);
    return rc;
}

static void free_jobs(struct tl_lower *w, struct list *l)
{
    for (struct job *j = take(l); j != NULL; j = take(l)) {
        if (j->kind == SPILL)
            tl_reader_let_go(w->reader, &j->held);
        if (j->kind != FETCH) /* those are in the table */
            free(j);
    }
}

void tl_lower_close(struct tl_daemon *d)
{
    struct tl_lower *w = d->values.lower;
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    if (w->running)
        pthread_join(w->thread, NULL);
    free_jobs(w, &w->jobs);
    free_jobs(w, &w->done);
    for (uint32_t i = 0; i < FETCHES_MAX; i++)
        if (w->fetches[i] != NULL)
            end_fetch(d, w->fetches[i]);
    d->values.lower = NULL;
    if (w->event_fd >= 0) {
        tl_loop_unwatch(d, w->event_fd);
        close(w->event_fd);
    }
    if (w->store != NULL)
        w->store->ops->close(w->store);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w->filter);
    free(w);
}
