// SPDX-License-Identifier: Apache-2.0
/* Calls that wait for what others do: for an epoch, for the turn of a commit, for a lock.
 *
 * They are parked in a list of their container, under tiercel_pool.mutex. Those that wait for epochs are parked, and looked for, under tl_pool_lock
 * as well: a change that came after the look of one who parks is seen by the next look of the waiter. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "client/engine.h"

static bool waits_for_epochs(const struct tl_call *call)
{
    return call->verb == TL_DO_WAIT || call->verb == TL_DO_COMMIT;
}

static void *waiter(void *arg);

int tl_park(struct tl_call *call)
{
    struct tiercel_cont *cont = call->cont;
    struct tiercel_pool *pool = cont->pool;
    int rc = TL_PARKED;
    pthread_mutex_lock(&pool->mutex);
    if (call->running.stop || cont->stop)
        rc = -ECANCELED;
    if (rc == TL_PARKED && waits_for_epochs(call) && !cont->waiter_runs) {
        cont->waiter_runs = tl_thread_start(&cont->waiter, waiter, cont) == 0;
        rc = cont->waiter_runs ? TL_PARKED : -ENOMEM;
    }
    if (rc == TL_PARKED) {
        call->next = cont->parked;
        cont->parked = call;
        cont->waiting++;
        cont->parked_count += waits_for_epochs(call) ? 1 : 0;
        pthread_cond_signal(&cont->more);
    }
    pthread_mutex_unlock(&pool->mutex);
    return rc;
}

/* Out of the list, under the mutex. `waiting` goes down when it has been finished. */
static void take_out(struct tl_call **at)
{
    struct tl_call *call = *at;
    *at = call->next;
    call->next = NULL;
    call->cont->parked_count -= waits_for_epochs(call) ? 1 : 0;
}

void tl_unpark(struct tl_call *call)
{
    struct tiercel_cont *cont = call->cont;
    struct tl_call **at = &cont->parked;
    pthread_mutex_lock(&cont->pool->mutex);
    while (*at != call)
        at = &(*at)->next;
    take_out(at);
    pthread_mutex_unlock(&cont->pool->mutex);
}

void tl_waits(struct tiercel_cont *cont)
{
    pthread_mutex_lock(&cont->pool->mutex);
    cont->waiting++;
    pthread_mutex_unlock(&cont->pool->mutex);
}

void tl_finished(struct tiercel_cont *cont)
{
    struct tiercel_pool *pool = cont->pool;
    pthread_mutex_lock(&pool->mutex);
    cont->waiting--;
    pthread_cond_broadcast(&pool->idle);
    pthread_mutex_unlock(&pool->mutex);
}

static void append(struct tl_call **list, struct tl_call *call)
{
    while (*list != NULL)
        list = &(*list)->next;
    *list = call;
}

void tl_finish_all(struct tl_call *list)
{
    while (list != NULL) {
        struct tl_call *call = list;
        struct tiercel_cont *cont = call->cont;
        list = call->next;
        tl_call_finish(call);
        tl_finished(cont);
    }
}

/* ---- looking ---- */

/* The commit whose turn it is: the lowest of those that wait. */
static struct tl_call *take_commit(struct tiercel_cont *cont, uint64_t lhe)
{
    struct tl_call **lowest = NULL;
    struct tl_call *found = NULL;
    pthread_mutex_lock(&cont->pool->mutex);
    for (struct tl_call **at = &cont->parked; *at != NULL; at = &(*at)->next)
        if ((*at)->verb == TL_DO_COMMIT && !(*at)->running.stop && (*at)->epoch <= lhe &&
            (lowest == NULL || (*at)->epoch < (*lowest)->epoch))
            lowest = at;
    if (lowest != NULL) {
        found = *lowest;
        take_out(lowest);
    }
    pthread_mutex_unlock(&cont->pool->mutex);
    return found;
}

/* 1: it goes on waiting; else what it ends with. */
static int verdict(const struct tl_call *call, int rc, const struct tiercel_epochs *now)
{
    if (call->running.stop)
        return -ECANCELED;
    if (rc < 0)
        return rc;
    return call->verb == TL_DO_WAIT && now->ghce >= call->epoch ? 0 : 1;
}

static struct tl_call *take_ended(struct tiercel_cont *cont, int rc, const struct tiercel_epochs *now)
{
    struct tl_call *list = NULL;
    pthread_mutex_lock(&cont->pool->mutex);
    for (struct tl_call **at = &cont->parked; *at != NULL;) {
        struct tl_call *call = *at;
        int end = waits_for_epochs(call) ? verdict(call, rc, now) : 1;
        if (end == 1) {
            at = &call->next;
            continue;
        }
        take_out(at);
        call->rc = end;
        if (end == 0 && call->args.epochs != NULL)
            *call->args.epochs = *now;
        append(&list, call);
    }
    pthread_mutex_unlock(&cont->pool->mutex);
    return list;
}

struct tl_call *tl_cont_settle_waits(struct tiercel_cont *cont)
{
    struct tiercel_epochs now;
    struct tl_call *list = NULL;
    int rc = tl_cont_epochs(cont->inner, &now);
    for (struct tl_call *call; rc == 0 && (call = take_commit(cont, now.lhe)) != NULL;) {
        struct tiercel_epochs *out = call->args.epochs;
        int failed = tl_cont_commit(cont->inner, call->epoch, &now);
        tl_call_explain(call, failed, NULL);
        if (failed == 0 && out != NULL)
            *out = now;
        append(&list, call);
        rc = tl_cont_epochs(cont->inner, &now);
    }
    struct tl_call *ended = take_ended(cont, rc, &now);
    for (struct tl_call *call = ended; call != NULL; call = call->next)
        tl_call_explain(call, call->rc, NULL);
    append(&list, ended);
    return list;
}

/* ---- the waiter of a container ---- */

static uint64_t seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec;
}

void tl_reap_each_second(struct tiercel_cont *cont, uint64_t *reaped)
{
    if (seconds() == *reaped)
        return;
    *reaped = seconds();
    int rc = tl_cont_reap(cont->inner);
    (void)rc; /* what it means for us is seen in the epochs */
}

static void look_and_sleep(struct tiercel_cont *cont, uint64_t *reaped)
{
    tl_pool_lock(cont->pool->inner);
    tl_reap_each_second(cont, reaped);
    uint32_t seen = tl_cont_changes(cont->inner);
    struct tl_call *list = tl_cont_settle_waits(cont);
    tl_pool_unlock(cont->pool->inner);
    tl_finish_all(list);
    if (cont->parked_count > 0 && !cont->stop) {
        int rc = tl_cont_sleep(cont->inner, seen, TL_LOOK_AGAIN_MS);
        (void)rc; /* whatever it was: we look */
    }
}

static void *waiter(void *arg)
{
    struct tiercel_cont *cont = arg;
    struct tiercel_pool *pool = cont->pool;
    uint64_t reaped = 0;
    pthread_mutex_lock(&pool->mutex);
    while (!cont->stop) {
        if (cont->parked_count == 0) {
            pthread_cond_wait(&cont->more, &pool->mutex);
            continue;
        }
        pthread_mutex_unlock(&pool->mutex);
        look_and_sleep(cont, &reaped);
        pthread_mutex_lock(&pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

void tl_waits_stop(struct tiercel_cont *cont)
{
    struct tiercel_pool *pool = cont->pool;
    pthread_mutex_lock(&pool->mutex);
    cont->stop = 1;
    for (struct tl_call *call = cont->parked; call != NULL; call = call->next)
        call->running.stop = 1;
    const bool runs = cont->waiter_runs;
    cont->waiter_runs = false;
    pthread_cond_signal(&cont->more);
    pthread_mutex_unlock(&pool->mutex);
    tl_cont_wake(cont->inner);
    if (runs)
        pthread_join(cont->waiter, NULL);
    tl_pool_lock(pool->inner);
    struct tl_call *list = tl_cont_settle_waits(cont); /* all of them were stopped */
    tl_pool_unlock(pool->inner);
    tl_finish_all(list);
    pthread_mutex_lock(&pool->mutex);
    while (cont->waiting > 0) /* blocking ones, and locks: each looks at what was stopped within a second */
        pthread_cond_wait(&pool->idle, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}
