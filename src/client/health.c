// SPDX-License-Identifier: Apache-2.0
/* How a pool is (tiercel/pool.h): asking, which ends within seconds, and waiting for a change.
 *
 * Those who wait are calls in a list of their pool. While there are any, a thread of the pool looks about once a second, without tl_pool_lock,
 * which operations hold while they wait for storage that hangs. It sleeps on a semaphore: an abort wakes it under a queue's lock. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/engine.h"

#define LOOK_S   1
#define LINGER_S 5 /* after the last that waited: programs wait in a loop */
#define ANSWER_S 5 /* of tiercel_pool_query: for what has to be read from the storage itself */
#define LEAST_S  1 /* and at least for so long after the rest */

static int fail(const char *name, enum tl_verb verb, int rc)
{
    const struct tl_about about = {.verb = verb, .kind = "pool", .name = name};
    return tl_why_failed(NULL, &about, rc, NULL);
}

const char *tiercel_pool_state_name(uint32_t state)
{
    static const char *const names[] = {"unknown", "healthy", "rebuilding", "degraded", "unavailable"};
    return state < sizeof names / sizeof *names ? names[state] : "unknown";
}

/* ---- asking ---- */

/* What is read from the storage itself, in a thread of its own: the caller need not wait for it. */
struct asked {
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    unsigned refs;
    bool done, inside; /* the pool's lock was had */
    int rc;
    uint64_t ticket;
    struct tiercel_pool *pool; /* stays until the thread has ended */
    struct tiercel_pool_info info;
};

static void unref(struct asked *q)
{
    pthread_mutex_lock(&q->mutex);
    const bool last = --q->refs == 0;
    pthread_mutex_unlock(&q->mutex);
    if (!last)
        return;
    pthread_mutex_destroy(&q->mutex);
    pthread_cond_destroy(&q->ended);
    free(q);
}

static void mark(struct asked *q, bool done)
{
    pthread_mutex_lock(&q->mutex);
    q->inside = true;
    q->done = done;
    pthread_cond_signal(&q->ended);
    pthread_mutex_unlock(&q->mutex);
}

static void leave(struct tiercel_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->askers--;
    pthread_cond_broadcast(&pool->idle);
    pthread_mutex_unlock(&pool->mutex);
}

static void *ask(void *arg)
{
    struct asked *q = arg;
    struct tiercel_pool *pool = q->pool;
    tl_after_ticket(pool, q->ticket);
    tl_pool_lock(pool->inner);
    mark(q, false);
    q->rc = tl_pool_query(pool->inner, &q->info);
    tl_pool_unlock(pool->inner);
    mark(q, true);
    unref(q);
    leave(pool);
    return NULL;
}

static struct asked *begin_asking(struct tiercel_pool *pool)
{
    struct asked *q = calloc(1, sizeof *q);
    pthread_condattr_t monotonic;
    pthread_t thread;
    if (q == NULL)
        return NULL;
    pthread_mutex_init(&q->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&q->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    q->pool = pool;
    q->refs = 2;
    q->ticket = tl_own_ticket(pool);
    pthread_mutex_lock(&pool->mutex);
    pool->askers++;
    pthread_mutex_unlock(&pool->mutex);
    if (tl_thread_start(&thread, ask, q) == 0) {
        pthread_detach(thread); /* disconnect waits for it */
        return q;
    }
    leave(pool);
    q->refs = 1;
    unref(q);
    return NULL;
}

static bool before(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

/* Waits for what was asked, until then. Under q->mutex when it returns. */
static void wait_for(struct asked *q, struct timespec until)
{
    struct timespec least;
    clock_gettime(CLOCK_MONOTONIC, &least);
    least.tv_sec += LEAST_S;
    if (before(&until, &least))
        until = least;
    pthread_mutex_lock(&q->mutex);
    while (!q->done && pthread_cond_clockwait(&q->ended, &q->mutex, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
}

static int ask_there(struct tiercel_pool *pool, struct tiercel_pool_info *out)
{
    struct timespec until;
    struct tiercel_pool_health health;
    uint32_t redundancy;
    int rc = 0;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ANSWER_S;
    struct asked *q = begin_asking(pool);
    if (q == NULL)
        return -ENOMEM;
    tl_pool_health(pool->inner, NULL, &health, &redundancy);
    wait_for(q, until);
    memset(out, 0, sizeof *out);
    tl_pool_identity(pool->inner, out);
    if (q->done && q->rc == 0)
        *out = q->info;
    else if (q->done && q->rc != -ETIMEDOUT)
        rc = q->rc;
    else if (q->inside) /* it hangs, whatever others say; or somebody else does something long with the pool */
        health.state = TIERCEL_POOL_UNAVAILABLE;
    health.known |= out->health.known;
    pthread_mutex_unlock(&q->mutex);
    unref(q);
    out->health = health;
    out->redundancy = redundancy;
    return rc;
}

static int ask_here(struct tiercel_pool *pool, struct tiercel_pool_info *out)
{
    struct tiercel_pool_health health;
    uint32_t redundancy;
    int rc = tl_enter(pool);
    if (rc != 0)
        return rc;
    rc = tl_pool_query(pool->inner, out);
    tl_leave(pool);
    if (rc != 0)
        return rc;
    tl_pool_health(pool->inner, NULL, &health, &redundancy);
    health.known |= out->health.known;
    out->health = health;
    out->redundancy = redundancy;
    return 0;
}

int tiercel_pool_query(struct tiercel_pool *pool, struct tiercel_pool_info *out)
{
    if (pool == NULL || out == NULL)
        return fail(NULL, TL_DO_POOL_QUERY, pool == NULL ? -EBADF : -EINVAL);
    int rc = tl_in_callback() ? -EDEADLK : tl_pool_is_here(pool->inner) ? ask_here(pool, out) : ask_there(pool, out);
    return rc >= 0 ? rc : fail(pool->name, TL_DO_POOL_QUERY, rc);
}

int tiercel_pool_targets(struct tiercel_pool *pool, int (*fn)(void *ctx, const struct tiercel_pool_target *target),
                         void *ctx)
{
    if (pool == NULL || fn == NULL)
        return fail(NULL, TL_DO_POOL_TARGETS, pool == NULL ? -EBADF : -EINVAL);
    int rc = tl_pool_targets(pool->inner, fn, ctx);
    return rc >= 0 ? rc : fail(pool->name, TL_DO_POOL_TARGETS, rc);
}

int tiercel_pool_look(const char *uri, struct tiercel_pool_info *out,
                      int (*fn)(void *ctx, const struct tiercel_pool_target *target), void *ctx,
                      struct tiercel_error *err)
{
    struct tl_error inner = {.code = 0};
    const struct tl_about about = {.verb = TL_DO_POOL_QUERY, .kind = "pool", .name = uri};
    int rc = uri == NULL || *uri == 0 || out == NULL ? -EINVAL : tl_pool_look(uri, out, fn, ctx, &inner);
    return rc >= 0 ? rc : tl_why_failed(err, &about, rc, &inner);
}

/* ---- waiting ---- */

static bool is_zero(const struct tiercel_pool_health *h)
{
    return h->map_version == 0 && h->state == 0 && h->asked == 0;
}

/* Takes out those that have ended. Under the mutex. now: NULL: all of them, cancelled. */
static struct tl_call *take_ended(struct tiercel_pool *pool, const struct tiercel_pool_health *now)
{
    struct tl_call *list = NULL;
    for (struct tl_call **at = &pool->watchers; *at != NULL;) {
        struct tl_call *call = *at;
        struct tiercel_pool_health *is = call->args.health.inout;
        const bool cancelled = now == NULL || call->running.stop != 0;
        if (!cancelled && !is_zero(is) && is->state == now->state && is->map_version == now->map_version) {
            at = &call->next;
            continue;
        }
        *at = call->next;
        call->rc = cancelled ? -ECANCELED : 0;
        if (!cancelled)
            *is = *now;
        call->next = list;
        list = call;
    }
    return list;
}

static void finish(struct tiercel_pool *pool, struct tl_call *list)
{
    while (list != NULL) {
        struct tl_call *call = list;
        list = call->next;
        if (call->ev != NULL) {
            tl_call_explain(call, call->rc, NULL);
            tl_call_finish(call);
            continue;
        }
        pthread_mutex_lock(&pool->mutex);
        *call->args.health.done = true;
        pthread_cond_broadcast(&pool->idle);
        pthread_mutex_unlock(&pool->mutex);
    }
}

/* Until somebody says that there is something to look for, or for so long. false: that. */
static bool sleep_for(struct tiercel_pool *pool, time_t seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    const bool told = sem_clockwait(&pool->look, CLOCK_MONOTONIC, &until) == 0 || errno == EINTR;
    while (sem_trywait(&pool->look) == 0)
        ; /* one look is for all who have said so */
    return told;
}

static void look(struct tiercel_pool *pool)
{
    struct tiercel_pool_health now;
    uint32_t redundancy;
    tl_pool_health(pool->inner, &pool->looker_stop, &now, &redundancy);
    pthread_mutex_lock(&pool->mutex);
    struct tl_call *ended = take_ended(pool, pool->looker_stop ? NULL : &now);
    pthread_mutex_unlock(&pool->mutex);
    finish(pool, ended);
}

static bool somebody_waits(struct tiercel_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    const bool some = pool->watchers != NULL;
    pthread_mutex_unlock(&pool->mutex);
    return some;
}

static void *looker(void *arg)
{
    struct tiercel_pool *pool = arg;
    while (!pool->looker_stop) {
        if (somebody_waits(pool)) {
            look(pool);
            (void)sleep_for(pool, LOOK_S);
        } else if (!sleep_for(pool, LINGER_S) && !somebody_waits(pool)) {
            tl_pool_rest(pool->inner);
            while (sem_wait(&pool->look) != 0)
                ; /* EINTR; an end is told as well */
        }
    }
    pthread_mutex_lock(&pool->mutex);
    struct tl_call *ended = take_ended(pool, NULL);
    pthread_mutex_unlock(&pool->mutex);
    finish(pool, ended);
    return NULL;
}

void tl_health_stop(struct tiercel_pool *pool)
{
    pool->looker_stop = 1;
    sem_post(&pool->look);
    pthread_mutex_lock(&pool->mutex);
    const bool runs = pool->looker_runs;
    pool->looker_runs = false;
    pthread_mutex_unlock(&pool->mutex);
    if (runs)
        pthread_join(pool->looker, NULL);
    pthread_mutex_lock(&pool->mutex);
    while (pool->askers > 0)
        pthread_cond_wait(&pool->idle, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}

/* Into the list. Under the mutex. */
static int park(struct tl_call *call)
{
    struct tiercel_pool *pool = call->pool;
    if (call->running.stop || pool->looker_stop)
        return -ECANCELED;
    if (!pool->looker_runs && tl_thread_start(&pool->looker, looker, pool) != 0)
        return -ENOMEM;
    pool->looker_runs = true;
    call->next = pool->watchers;
    pool->watchers = call;
    sem_post(&pool->look);
    return TL_PARKED;
}

static int run_wait(struct tl_call *call, struct tl_error *err)
{
    struct tiercel_pool *pool = call->pool;
    (void)err;
    pthread_mutex_lock(&pool->mutex);
    int rc = park(call);
    pthread_mutex_unlock(&pool->mutex);
    return rc;
}

static void wake(struct tl_running *running)
{
    struct tl_call *call = (struct tl_call *)(void *)running;
    sem_post(&call->pool->look);
}

static int wait_here(struct tl_call *call)
{
    struct tiercel_pool *pool = call->pool;
    bool done = false;
    call->args.health.done = &done;
    pthread_mutex_lock(&pool->mutex);
    pool->askers++;
    int rc = park(call);
    while (rc == TL_PARKED && !done)
        pthread_cond_wait(&pool->idle, &pool->mutex);
    rc = rc == TL_PARKED ? call->rc : rc;
    if (rc < 0)
        fail(pool->name, TL_DO_POOL_WAIT, rc);
    pool->askers--;
    pthread_cond_broadcast(&pool->idle);
    pthread_mutex_unlock(&pool->mutex);
    return rc;
}

int tiercel_pool_wait(struct tiercel_pool *pool, struct tiercel_pool_health *inout, struct tiercel_event *ev)
{
    if (pool == NULL || inout == NULL)
        return fail(NULL, TL_DO_POOL_WAIT, pool == NULL ? -EBADF : -EINVAL);
    if (tl_in_callback())
        return fail(pool->name, TL_DO_POOL_WAIT, -EDEADLK);
    struct tl_call call = {.running.wake = wake,
                           .run = run_wait,
                           .unlocked = true,
                           .pool = pool,
                           .verb = TL_DO_POOL_WAIT,
                           .args.health = {.inout = inout}};
    return ev == NULL ? wait_here(&call) : tl_call_make(&call, ev);
}
