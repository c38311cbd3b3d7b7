// SPDX-License-Identifier: Apache-2.0
/* How the calls of pool.h are carried out.
 *
 * Each is a struct tl_call with a function that does the work under the pool's lock. Without an event it runs in the caller's thread, after
 * what that thread has queued for the pool. With one it is queued, and the pool's worker, a thread that begins with the first such
 * call and ends with disconnect, runs one after the other. Calls that wait for somebody else give TL_PARKED when their turn comes and are
 * finished by others: by a thread of the container that sleeps until it changes (waits.c), or by a thread of their own (locks).
 *
 * Locks, from the outside in: tl_pool_lock, tiercel_pool.mutex, a queue's. Threads of the library take no signals. */
#ifndef TL_CLIENT_ENGINE_H
#define TL_CLIENT_ENGINE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>

#include "client/event.h"
#include "client/why.h"
#include "pool/pool.h"

/* What a call's function gives beside 0 and errors. */
#define TL_MORE   1 /* that was a piece of it: again, when others have had their turn */
#define TL_PARKED 2 /* somebody else finishes it */

#define TL_LOOK_AGAIN_MS 1000u /* of those that wait: who should wake them may have died */

struct tl_call {
    struct tl_running running; /* first: its event gives it back */
    int (*run)(struct tl_call *call, struct tl_error *err);
    void (*clean)(struct tl_call *call); /* frees what the call owns, whatever became of it; NULL */
    struct tiercel_pool *pool;
    struct tiercel_cont *cont; /* NULL: of the pool */
    struct tiercel_event *ev;  /* NULL: blocking */
    struct tl_call *next;
    uint64_t ticket; /* its place in the pool's order */
    enum tl_verb verb;
    bool unlocked; /* runs without tl_pool_lock */
    int rc;        /* of one that is to be finished, */
    char *why;     /* and its sentence */
    uint64_t epoch, last;
    struct tiercel_oid oid;
    struct tiercel_bytes dkey, akey;
    unsigned flags;
    union {
        struct tiercel_epochs *epochs;
        struct tiercel_cont_info *info;
        struct {
            uint64_t *epoch;
            struct tiercel_epochs *out;
        } hold;
        struct {
            uint64_t *epochs;
            unsigned *count;
        } snapshots;
        struct {
            struct tl_aggregation *state;
            struct tiercel_aggregated *out;
        } aggregate;
        struct {
            const struct tiercel_io *ios;
            struct tiercel_io *results;
            unsigned count;
        } io;
        struct {
            const struct tiercel_bytes *dkey, *akeys;
            unsigned count;
        } punch;
        struct {
            struct tiercel_anchor *anchor;
            struct tiercel_oid *oids;
            void *buf;
            size_t room;
            struct tiercel_bytes *keys;
            struct tiercel_extent *extents;
            uint64_t *record_size;
            unsigned *count;
        } list;
        struct {
            const void *value;
            void *room;
            uint64_t len, *size;
        } value;
        struct {
            uint64_t offset, len;
            const void *from;
            void *to;
            uint64_t *result;
        } array;
        struct {
            const char *name;
            int timeout_ms;
            struct tiercel_lock *lock; /* made before it is tried */
            struct tiercel_lock **out;
            struct tiercel_lock_value *value;
        } lock;
        struct {
            struct tiercel_pool_health *inout;
            bool *done; /* of a blocking one; under tiercel_pool.mutex */
        } health;
    } args;
};

struct tiercel_pool {
    struct tl_pool *inner;
    char name[256]; /* for sentences: its uri, or the end of it */
    uint64_t serial;
    unsigned refs; /* itself, its containers, their locks */
    pthread_mutex_t mutex;
    pthread_cond_t work; /* the worker has something to do */
    pthread_cond_t idle; /* something was finished */
    pthread_t worker;
    bool worker_runs, closed;
    struct tl_call *first, *last; /* queued */
    uint64_t tickets;             /* given */
    _Atomic uint64_t done;        /* all up to there are finished or parked */
    struct tiercel_cont *conts;
    struct tl_call *watchers; /* wait for its state to change */
    unsigned askers;          /* blocking calls about its state, and threads that ask */
    pthread_t looker;
    bool looker_runs;
    _Atomic int looker_stop;
    sem_t look; /* now; any thread, under any lock */
};

struct tiercel_cont {
    struct tl_cont *inner;
    struct tiercel_pool *pool;
    struct tiercel_cont *next;
    uint64_t snapshot; /* that TIERCEL_EPOCH_NOW means; 0: none */
    bool closing;
    unsigned queued;  /* calls that wait for their turn, or have it */
    unsigned waiting; /* that wait for others: parked, and blocking ones */
    _Atomic int stop; /* blocking ones, and the waiter: give up */
    _Atomic unsigned parked_count;
    struct tl_call *parked;
    pthread_cond_t more; /* something was parked */
    pthread_t waiter;
    bool waiter_runs;
    struct tiercel_lock *locks;
};

/* ---- engine.c ---- */

/* Blocks, or queues a copy. What the call's function gave, or what could be told at once; the sentence is that of the thread then. */
int tl_call_make(const struct tl_call *call, struct tiercel_event *ev) TL_MUST_CHECK;
/* Makes the sentence of a call that failed; under tl_pool_lock (numbers: NULL: to be looked up). */
void tl_call_explain(struct tl_call *call, int rc, const struct tl_error *err);
/* Of one with an event: it completes, the call is freed. Without locks. */
void tl_call_finish(struct tl_call *call);
/* Around work without an event: takes tl_pool_lock, after what this thread has queued. 0, -EDEADLK. */
int tl_enter(struct tiercel_pool *pool) TL_MUST_CHECK;
void tl_leave(struct tiercel_pool *pool);
/* Around a callback: calls from inside it give -EDEADLK. */
void tl_callback_begin(void);
void tl_callback_end(void);
bool tl_in_callback(void);
void tl_after_own(struct tiercel_pool *pool); /* waits for what this thread has queued */
/* The same in two steps, of which another thread may do the second. */
uint64_t tl_own_ticket(struct tiercel_pool *pool);
void tl_after_ticket(struct tiercel_pool *pool, uint64_t ticket);

struct tiercel_pool *tl_pool_wrap(struct tl_pool *inner, const char *name); /* NULL: out of memory */
void tl_pool_unref_public(struct tiercel_pool *pool);
void tl_pool_end_calls(struct tiercel_pool *pool); /* carries out what is queued, cancels what waits, ends the worker */
struct tiercel_cont *tl_cont_wrap(struct tl_cont *inner, struct tiercel_pool *pool);
void tl_cont_free(struct tiercel_cont *cont); /* closed already */
void tl_cont_end_calls(struct tiercel_cont *cont);

/* Starts a thread that takes no signals. 0, -EAGAIN. */
int tl_thread_start(pthread_t *out, void *(*fn)(void *), void *arg) TL_MUST_CHECK;
void tl_about_call(const struct tl_call *call, const struct tiercel_epochs *numbers, struct tl_about *out);

/* ---- waits.c ---- */

int tl_park(struct tl_call *call) TL_MUST_CHECK; /* under tl_pool_lock or not. TL_PARKED, -ECANCELED, -EAGAIN */
/* Finishes what was waited for and has come; under tl_pool_lock. A list for tl_finish_all, to be called without it. */
struct tl_call *tl_cont_settle_waits(struct tiercel_cont *cont) TL_MUST_CHECK;
void tl_finish_all(struct tl_call *list);
/* Handles whose processes have died hold epochs back, until somebody closes them. Under tl_pool_lock; *reaped begins as 0. */
void tl_reap_each_second(struct tiercel_cont *cont, uint64_t *reaped);
void tl_unpark(struct tl_call *call);          /* out of the list; to be finished by the caller */
void tl_waits(struct tiercel_cont *cont);      /* a blocking call begins to wait: close waits for its end, */
void tl_finished(struct tiercel_cont *cont);   /* which is here */
void tl_waits_stop(struct tiercel_cont *cont); /* all that waits is cancelled, and has ended when this returns */

/* ---- health.c ---- */

void tl_health_stop(
    struct tiercel_pool *pool); /* who waits for its state is cancelled, and has ended when this returns */

/* ---- lock.c ---- */

void tl_locks_drop(struct tiercel_cont *cont); /* lets go of them; their structs stay */

#endif
