// SPDX-License-Identifier: Apache-2.0
/* The order of calls, and the worker (engine.h). */
#include "client/engine.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static _Atomic uint64_t serials;

/* What this thread has queued last: a blocking call of it goes after that. */
static _Thread_local struct {
    uint64_t pool, ticket; /* the pool's serial number; 0: nothing yet */
} mine;

static _Thread_local unsigned callbacks; /* that this thread is in */

int tl_thread_start(pthread_t *out, void *(*fn)(void *), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the new thread inherits it */
    int rc = pthread_create(out, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 ? 0 : -EAGAIN;
}

/* ---- sentences ---- */

void tl_about_call(const struct tl_call *call, const struct tiercel_epochs *numbers, struct tl_about *out)
{
    *out = (struct tl_about){
        .verb = call->verb,
        .kind = call->cont != NULL ? "container" : "pool",
        .name = call->cont != NULL ? tl_cont_name(call->cont->inner) : call->pool->name,
        .thing = call->verb == TL_DO_LOCK ? call->args.lock.name : NULL,
        .epoch = call->epoch,
        .last = call->last,
        .numbers = numbers,
    };
}

static void explain(const struct tl_call *call, int rc, const struct tl_error *err, char out[TL_WHY_MAX])
{
    struct tiercel_epochs now;
    struct tl_about about;
    char damage[400] = "";
    if (rc == -EBADMSG && call->cont != NULL && !call->unlocked &&
        (err == NULL || err->msg[0] == 0)) /* before the next thing fails */
        snprintf(damage, sizeof damage, "%s", tl_cont_damage(call->cont->inner));
    const bool known = call->cont != NULL && !call->unlocked && tl_cont_epochs(call->cont->inner, &now) == 0;
    tl_about_call(call, known ? &now : NULL, &about);
    about.damage = damage[0] != 0 ? damage : NULL;
    tl_why_make(out, &about, rc, err);
}

void tl_call_explain(struct tl_call *call, int rc, const struct tl_error *err)
{
    char text[TL_WHY_MAX];
    call->rc = rc;
    if (rc >= 0)
        return;
    explain(call, rc, err, text);
    call->why = strdup(text); /* without memory the event has the code only */
}

/* ---- finishing ---- */

static void free_call(struct tl_call *call)
{
    if (call->clean != NULL)
        call->clean(call);
    free(call);
}

void tl_call_finish(struct tl_call *call)
{
    tl_event_complete(call->ev, call->rc, call->why); /* first: until then an abort may reach the call */
    free_call(call);
}

static void count_done(struct tiercel_pool *pool, struct tiercel_cont *cont, uint64_t ticket)
{
    pthread_mutex_lock(&pool->mutex);
    pool->done = ticket;
    if (cont != NULL)
        cont->queued--;
    pthread_cond_broadcast(&pool->idle);
    pthread_mutex_unlock(&pool->mutex);
}

/* ---- the worker ---- */

static void enqueue(struct tiercel_pool *pool, struct tl_call *call)
{
    call->next = NULL;
    call->ticket = ++pool->tickets;
    *(pool->last != NULL ? &pool->last->next : &pool->first) = call;
    pool->last = call;
    if (call->cont != NULL)
        call->cont->queued++;
    pthread_cond_signal(&pool->work);
}

/* A piece of it is done: the rest goes behind those that came meanwhile. false: it is to end instead. */
static bool enqueue_rest(struct tl_call *call)
{
    struct tiercel_pool *pool = call->pool;
    pthread_mutex_lock(&pool->mutex);
    const bool goes_on = !pool->closed && (call->cont == NULL || !call->cont->closing) && !call->running.stop;
    if (goes_on)
        enqueue(pool, call);
    pthread_mutex_unlock(&pool->mutex);
    return goes_on;
}

/* Whether a call may have brought about what others wait for. */
static bool moves_epochs(const struct tl_call *call)
{
    return call->cont != NULL && call->cont->parked_count > 0 &&
           (call->verb == TL_DO_COMMIT || call->verb == TL_DO_HOLD || call->verb == TL_DO_DISCARD);
}

/* Runs a queued call. Parked, it may be gone when this returns. What it gave, and with it those that can be finished now. */
static int run_queued(struct tl_call *call, struct tl_call **settled)
{
    struct tl_pool *inner = call->pool->inner;
    const bool unlocked = call->unlocked;
    struct tl_error err;
    int rc = -ECANCELED;
    err.code = 0;
    err.msg[0] = 0;
    if (!unlocked)
        tl_pool_lock(inner);
    if (!call->running.stop)
        rc = call->run(call, &err);
    if (rc <= 0)
        tl_call_explain(call, rc, &err);
    if (rc == 0 && moves_epochs(call))
        *settled = tl_cont_settle_waits(call->cont);
    if (!unlocked)
        tl_pool_unlock(inner);
    return rc;
}

static void work_on(struct tiercel_pool *pool, struct tl_call *call)
{
    struct tiercel_cont *cont = call->cont;
    struct tl_call *settled = NULL;
    const uint64_t ticket = call->ticket;
    int rc = run_queued(call, &settled);
    if (rc == TL_MORE && !enqueue_rest(call)) {
        tl_call_explain(call, -ECANCELED, NULL);
        rc = -ECANCELED;
    }
    if (rc <= 0)
        tl_call_finish(call);
    tl_finish_all(settled);
    count_done(pool, cont, ticket); /* last: then the container may be closed */
}

static void *worker(void *arg)
{
    struct tiercel_pool *pool = arg;
    pthread_mutex_lock(&pool->mutex);
    while (!pool->closed || pool->first != NULL) {
        struct tl_call *call = pool->first;
        if (call == NULL) {
            pthread_cond_wait(&pool->work, &pool->mutex);
            continue;
        }
        pool->first = call->next;
        if (pool->first == NULL)
            pool->last = NULL;
        pthread_mutex_unlock(&pool->mutex);
        work_on(pool, call);
        pthread_mutex_lock(&pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* ---- making calls ---- */

void tl_callback_begin(void)
{
    callbacks++;
}

void tl_callback_end(void)
{
    callbacks--;
}

bool tl_in_callback(void)
{
    return callbacks > 0;
}

uint64_t tl_own_ticket(struct tiercel_pool *pool)
{
    if (mine.pool == 0 || mine.pool == pool->serial)
        return mine.pool == 0 ? 0 : mine.ticket;
    /* Of pools that were used in turns only the last is remembered: of the others, all that is queued is waited for. */
    pthread_mutex_lock(&pool->mutex);
    const uint64_t ticket = pool->tickets;
    pthread_mutex_unlock(&pool->mutex);
    return ticket;
}

void tl_after_ticket(struct tiercel_pool *pool, uint64_t ticket)
{
    if (pool->done >= ticket)
        return;
    pthread_mutex_lock(&pool->mutex);
    while (pool->done < ticket)
        pthread_cond_wait(&pool->idle, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}

void tl_after_own(struct tiercel_pool *pool)
{
    tl_after_ticket(pool, tl_own_ticket(pool));
}

int tl_enter(struct tiercel_pool *pool)
{
    if (callbacks > 0)
        return -EDEADLK;
    tl_after_own(pool);
    tl_pool_lock(pool->inner);
    return 0;
}

void tl_leave(struct tiercel_pool *pool)
{
    tl_pool_unlock(pool->inner);
}

/* In the caller's thread. */
static int run_here(struct tl_call *call)
{
    struct tl_call *settled = NULL;
    struct tl_error err;
    char text[TL_WHY_MAX];
    err.code = 0;
    err.msg[0] = 0;
    tl_after_own(call->pool);
    if (call->unlocked) {
        int rc = call->run(call, &err);
        return rc < 0 ? (explain(call, rc, &err, text), tl_why_fail(NULL, rc, "%s", text)) : rc;
    }
    tl_pool_lock(call->pool->inner);
    int rc = call->run(call, &err);
    while (rc == TL_MORE) {
        tl_pool_unlock(call->pool->inner);
        sched_yield(); /* others get the lock in between */
        tl_pool_lock(call->pool->inner);
        rc = call->run(call, &err);
    }
    if (rc < 0)
        explain(call, rc, &err, text);
    if (rc == 0 && moves_epochs(call))
        settled = tl_cont_settle_waits(call->cont);
    tl_pool_unlock(call->pool->inner);
    tl_finish_all(settled);
    return rc < 0 ? tl_why_fail(NULL, rc, "%s", text) : rc;
}

/* Under the pool's mutex. */
static int launch(struct tiercel_pool *pool, struct tl_call *call)
{
    if (pool->closed || (call->cont != NULL && call->cont->closing))
        return -EBADF;
    if (!pool->worker_runs) {
        if (tl_thread_start(&pool->worker, worker, pool) != 0)
            return -ENOMEM;
        pool->worker_runs = true;
    }
    return tl_event_launch(call->ev, &call->running);
}

static int queue_copy(const struct tl_call *call, struct tiercel_event *ev)
{
    struct tiercel_pool *pool = call->pool;
    struct tl_call *copy = malloc(sizeof *copy);
    if (copy == NULL)
        return -ENOMEM;
    *copy = *call;
    copy->ev = ev;
    pthread_mutex_lock(&pool->mutex);
    int rc = launch(pool, copy);
    if (rc == 0) {
        enqueue(pool, copy);
        mine.pool = pool->serial;
        mine.ticket = copy->ticket;
    }
    pthread_mutex_unlock(&pool->mutex);
    if (rc != 0)
        free(copy);
    return rc;
}

int tl_call_make(const struct tl_call *call, struct tiercel_event *ev)
{
    struct tl_call here = *call;
    struct tl_about about;
    int rc = callbacks > 0 ? -EDEADLK : 0;
    check(call->pool != NULL && call->run != NULL);
    if (rc == 0 && ev == NULL) {
        rc = run_here(&here);
        if (call->clean != NULL)
            call->clean(&here);
        return rc;
    }
    if (rc == 0)
        rc = queue_copy(call, ev);
    if (rc < 0 && rc != -EINVAL) { /* that one has its sentence */
        tl_about_call(call, NULL, &about);
        tl_why_failed(NULL, &about, rc, NULL);
    }
    if (rc < 0 && call->clean != NULL)
        call->clean(&here);
    return rc;
}

/* ---- pools and containers ---- */

struct tiercel_pool *tl_pool_wrap(struct tl_pool *inner, const char *name)
{
    struct tiercel_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return NULL;
    size_t len = strlen(name), cut = len < sizeof pool->name ? 0 : len - (sizeof pool->name - 1);
    snprintf(pool->name, sizeof pool->name, "%s", name + cut);
    pool->inner = inner;
    pool->refs = 1;
    pool->serial = ++serials;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->idle, NULL);
    sem_init(&pool->look, 0, 0);
    return pool;
}

void tl_pool_unref_public(struct tiercel_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    const bool last = --pool->refs == 0;
    pthread_mutex_unlock(&pool->mutex);
    if (!last)
        return;
    check(pool->first == NULL && pool->conts == NULL);
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->idle);
    sem_destroy(&pool->look);
    free(pool);
}

void tl_pool_end_calls(struct tiercel_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->closed = true;
    const bool runs = pool->worker_runs;
    pool->worker_runs = false;
    pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    if (runs)
        pthread_join(pool->worker, NULL); /* what is queued is carried out first */
    tl_health_stop(pool);
    for (struct tiercel_cont *c = pool->conts; c != NULL; c = c->next) {
        tl_waits_stop(c);
        tl_locks_drop(c);
    }
}

struct tiercel_cont *tl_cont_wrap(struct tl_cont *inner, struct tiercel_pool *pool)
{
    struct tiercel_cont *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->inner = inner;
    c->pool = pool;
    pthread_cond_init(&c->more, NULL);
    pthread_mutex_lock(&pool->mutex);
    c->next = pool->conts;
    pool->conts = c;
    pool->refs++;
    pthread_mutex_unlock(&pool->mutex);
    return c;
}

void tl_cont_free(struct tiercel_cont *c)
{
    struct tiercel_pool *pool = c->pool;
    struct tiercel_cont **at = &pool->conts;
    pthread_mutex_lock(&pool->mutex);
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    pthread_mutex_unlock(&pool->mutex);
    pthread_cond_destroy(&c->more);
    free(c);
    tl_pool_unref_public(pool);
}

void tl_cont_end_calls(struct tiercel_cont *c)
{
    struct tiercel_pool *pool = c->pool;
    pthread_mutex_lock(&pool->mutex);
    c->closing = true;
    while (c->queued > 0)
        pthread_cond_wait(&pool->idle, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
    tl_waits_stop(c);
    tl_locks_drop(c);
}
