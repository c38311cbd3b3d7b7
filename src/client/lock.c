// SPDX-License-Identifier: Apache-2.0
/* Locks (tiercel/pool.h). One with an event is tried when its turn comes; if somebody holds it, a thread of its own waits. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "client/engine.h"

#define NAME_MAX_BYTES 255u

struct tiercel_lock {
    struct tl_lock *inner;     /* NULL: not had yet, or let go of */
    struct tiercel_pool *pool; /* guards all this; kept until unlock */
    struct tiercel_cont *cont; /* NULL: closed meanwhile */
    struct tiercel_lock *next;
    char name[NAME_MAX_BYTES + 1];
};

static int fail(struct tiercel_cont *cont, enum tl_verb verb, const char *name, int rc)
{
    const struct tl_about about = {
        .verb = verb, .kind = "container", .name = cont != NULL ? tl_cont_name(cont->inner) : NULL, .thing = name};
    return tl_why_failed(NULL, &about, rc, NULL);
}

static int take(struct tl_call *call, int timeout_ms, const _Atomic int *stop)
{
    struct tiercel_lock_value value, *out = call->args.lock.value;
    return tl_cont_lock(call->cont->inner, call->args.lock.name, call->flags == TIERCEL_LOCK_EXCLUSIVE, timeout_ms,
                        stop, &call->args.lock.lock->inner, out != NULL ? out : &value);
}

/* The caller has it from now on. */
static void give(struct tl_call *call)
{
    struct tiercel_lock *lock = call->args.lock.lock;
    struct tiercel_cont *cont = call->cont;
    pthread_mutex_lock(&cont->pool->mutex);
    lock->pool = cont->pool;
    lock->pool->refs++;
    lock->cont = cont;
    lock->next = cont->locks;
    cont->locks = lock;
    pthread_mutex_unlock(&cont->pool->mutex);
    *call->args.lock.out = lock;
    call->args.lock.lock = NULL;
}

/* ---- waiting ---- */

static void *wait_for_lock(void *arg)
{
    struct tl_call *call = arg;
    int rc = take(call, call->args.lock.timeout_ms, &call->running.stop);
    if (rc == 0)
        give(call);
    tl_call_explain(call, rc, NULL);
    tl_unpark(call);
    tl_finish_all(call);
    return NULL;
}

static int park(struct tl_call *call)
{
    pthread_t thread;
    int rc = tl_park(call);
    if (rc != TL_PARKED)
        return rc;
    if (tl_thread_start(&thread, wait_for_lock, call) != 0) {
        tl_unpark(call);
        tl_finished(call->cont);
        return -ENOMEM;
    }
    pthread_detach(thread); /* the container's close waits for it */
    return TL_PARKED;
}

static int run_lock(struct tl_call *call, struct tl_error *err)
{
    const int timeout_ms = call->args.lock.timeout_ms;
    (void)err;
    if (call->ev == NULL) {
        tl_waits(call->cont);
        int rc = take(call, timeout_ms, &call->cont->stop);
        if (rc == 0)
            give(call);
        tl_finished(call->cont);
        return rc;
    }
    int rc = take(call, 0, &call->running.stop);
    if (rc == 0)
        give(call);
    return rc == -EAGAIN && timeout_ms != 0 ? park(call) : rc;
}

static void wake(struct tl_running *running)
{
    const struct tl_call *call = (const struct tl_call *)(const void *)running;
    tl_cont_wake(call->cont->inner);
}

static void clean_lock(struct tl_call *call)
{
    free(call->args.lock.lock);
}

int tiercel_lock(struct tiercel_cont *cont, const char *name, unsigned mode, int timeout_ms, struct tiercel_lock **out,
                 struct tiercel_lock_value *value, struct tiercel_event *ev)
{
    const bool good = name != NULL && *name != 0 && out != NULL && timeout_ms >= TIERCEL_FOREVER &&
                      (mode == TIERCEL_LOCK_SHARED || mode == TIERCEL_LOCK_EXCLUSIVE);
    if (cont == NULL || !good)
        return fail(cont, TL_DO_LOCK, name, cont == NULL ? -EBADF : -EINVAL);
    if (strlen(name) > NAME_MAX_BYTES)
        return fail(cont, TL_DO_LOCK, name, -ENAMETOOLONG);
    struct tiercel_lock *lock = calloc(1, sizeof *lock);
    if (lock == NULL)
        return fail(cont, TL_DO_LOCK, name, -ENOMEM);
    strcpy(lock->name, name);
    const struct tl_call call = {
        .running.wake = wake,
        .run = run_lock,
        .clean = clean_lock,
        .unlocked = true,
        .pool = cont->pool,
        .cont = cont,
        .verb = TL_DO_LOCK,
        .flags = mode,
        .args.lock = {.name = lock->name, .timeout_ms = timeout_ms, .lock = lock, .out = out, .value = value}};
    return tl_call_make(&call, ev);
}

/* ---- letting go ---- */

/* Under the mutex: nobody else lets go of it from here on. */
static struct tl_lock *detach(struct tiercel_lock *lock)
{
    struct tl_lock *inner = lock->inner;
    struct tiercel_lock **at = lock->cont != NULL ? &lock->cont->locks : NULL;
    while (at != NULL && *at != lock)
        at = &(*at)->next;
    if (at != NULL)
        *at = lock->next;
    lock->inner = NULL;
    lock->cont = NULL;
    return inner;
}

int tiercel_unlock(struct tiercel_lock *lock, const struct tiercel_lock_value *value)
{
    if (lock == NULL)
        return fail(NULL, TL_DO_UNLOCK, NULL, -EBADF);
    struct tiercel_pool *pool = lock->pool;
    tl_after_own(pool); /* what was done under it comes first */
    pthread_mutex_lock(&pool->mutex);
    struct tl_lock *inner = detach(lock);
    pthread_mutex_unlock(&pool->mutex);
    int rc = inner != NULL ? tl_cont_unlock(inner, value) : -EBADF;
    if (rc != 0)
        fail(NULL, TL_DO_UNLOCK, lock->name, rc);
    free(lock);
    tl_pool_unref_public(pool);
    return rc;
}

void tl_locks_drop(struct tiercel_cont *cont)
{
    struct tl_lock *inner = NULL;
    do {
        pthread_mutex_lock(&cont->pool->mutex);
        inner = cont->locks != NULL ? detach(cont->locks) : NULL;
        pthread_mutex_unlock(&cont->pool->mutex);
        int rc = inner != NULL ? tl_cont_unlock(inner, NULL) : 0;
        (void)rc; /* it ends with the handle in any case */
    } while (inner != NULL);
}
