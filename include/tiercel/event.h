// SPDX-License-Identifier: Apache-2.0
/* libtiercel: calls that go on while the program does something else.
 *
 * Every call of pool.h that may wait for a device or for another process takes an event as its last parameter. NULL: the call blocks, and its
 * result is what it returns. Otherwise it returns at once, 0 or an error that could be told without waiting; the result is in
 * event->error once the event has completed. All that was passed by pointer stays where it is until then.
 *
 * Calls with events on one pool are carried out one after the other, in the order in which they were made; one without an event comes after all that its own
 * thread has made before. Calls that wait for others (tiercel_epoch_wait, _commit_in_order, tiercel_lock) let those behind them pass.
 *
 * An event with a parent completes like any other, but is not handed out by its queue; the parent is, once all its children have completed. Its
 * error is that of the first of them that failed.
 *
 * Threads: a queue may be used by any number of threads; an event by one at a time. Events are the caller's memory and do not move
 * between tiercel_event_init and tiercel_event_fini. The library has a thread for each pool with calls that have events, one for each container in
 * which such calls wait for epochs, and one for each that waits for a lock; they take no signals. Conventions as in tiercel.h. */
#ifndef TIERCEL_EVENT_H
#define TIERCEL_EVENT_H

#include <stdint.h>

#include "tiercel/tiercel.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tiercel_queue;

struct tiercel_event {
    int error;             /* 0 or a negative errno, once it has completed */
    void *user;            /* the caller's; never looked at */
    uint64_t reserved[14]; /* the library's */
};

enum tiercel_event_which {
    TIERCEL_EVENTS_RUNNING = 1,
    TIERCEL_EVENTS_COMPLETED = 2, /* and not polled yet */
    TIERCEL_EVENTS_ALL = 3
};

/* 0, -ENOMEM, -EMFILE. */
TIERCEL_API int tiercel_queue_create(struct tiercel_queue **out) TIERCEL_MUST_CHECK;
/* -EBUSY: events of it have not completed or were not polled; force: aborts those that run, waits for their end, and forgets all. NULL is
 * fine. */
TIERCEL_API int tiercel_queue_destroy(struct tiercel_queue *q, int force);
/* A descriptor for poll, select and event loops: readable while there is an event to be polled. It stays the queue's. */
TIERCEL_API int tiercel_queue_fd(const struct tiercel_queue *q);
/* Takes up to max completed events out of the queue, in the order in which they completed; waits for the first one for timeout_ms (0: not at
 * all; TIERCEL_FOREVER). With TIERCEL_FOREVER and nothing running it returns at once. The number, -EINVAL. */
TIERCEL_API int tiercel_queue_poll(struct tiercel_queue *q, int timeout_ms, struct tiercel_event **out,
                                   int max) TIERCEL_MUST_CHECK;
/* How many there are, and up to max of them (out may be NULL); takes none out. */
TIERCEL_API int tiercel_queue_query(struct tiercel_queue *q, enum tiercel_event_which which, struct tiercel_event **out,
                                    int max);

/* q: where it is handed out when it has completed; NULL: nowhere, for tiercel_event_test and _wait. parent: NULL, or an event of the same queue,
 * not launched yet, and nobody's child. 0, -EINVAL. */
TIERCEL_API int tiercel_event_init(struct tiercel_event *ev, struct tiercel_queue *q,
                                   struct tiercel_event *parent) TIERCEL_MUST_CHECK;
/* Before its memory is used for something else, or for another call: an event may be used again after this and another init. -EBUSY: it
 * runs, or completed and was not polled, tested or waited for; a parent with children that run. */
TIERCEL_API int tiercel_event_fini(struct tiercel_event *ev);
/* 1: it has completed, and is out of its queue now; 0: not yet; -EINVAL: it was never launched, or is a child (ask its parent). */
TIERCEL_API int tiercel_event_test(struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* The same, after waiting for up to timeout_ms. 1, 0 (timeout), -EINVAL. */
TIERCEL_API int tiercel_event_wait(struct tiercel_event *ev, int timeout_ms) TIERCEL_MUST_CHECK;
/* Asks for an early end: calls that wait (for an epoch, for a lock) and calls that have not begun complete with -ECANCELED; others go on to their
 * end. 0, -EINVAL. */
TIERCEL_API int tiercel_event_abort(struct tiercel_event *ev);
/* For a parent: all its children have been launched. It completes when they all have. 0, -EINVAL (no parent, or done before). */
TIERCEL_API int tiercel_event_barrier(struct tiercel_event *ev) TIERCEL_MUST_CHECK;

/* What went wrong, as a sentence that names the thing, the cause and the remedy: of an event that completed with an error (valid until its fini);
 * NULL: of the last call in this thread that returned one (valid until the next). Never NULL; "" if nothing failed. */
TIERCEL_API const char *tiercel_why(const struct tiercel_event *ev);

#ifdef __cplusplus
}
#endif

#endif
