// SPDX-License-Identifier: Apache-2.0
/* Events and their queues (tiercel/event.h).
 *
 * An event is the caller's memory; what we keep about it lies in its reserved words. It is in one list of its queue at a time:
 *
 *   init --launch--> running --complete--> completed --poll, test, wait--> done
 *
 * Children go from running to done, and the parent, once its barrier is set, from running to completed with the last of them. Events
 * without a queue belong to one of the library's, which hands nothing out.
 *
 * Everything of an event but its state is guarded by its queue's mutex; the state is atomic, so that fini need not touch a
 * queue that may be gone. Locks: the queue's is the innermost of the library. */
#include "client/event.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "client/why.h"

#define MAGIC 0x74656576u

enum state { READY = 1, RUNNING, COMPLETED, DONE };

struct inner {
    struct tiercel_queue *queue;
    struct tiercel_event *parent;
    struct tiercel_event *prev, *next; /* in a list of the queue */
    struct tl_running *running;        /* NULL: a parent */
    char *why;
    uint32_t magic;
    _Atomic uint32_t state;
    uint32_t children_running;
    int children_error; /* of the first that failed */
    bool is_parent;
};
_Static_assert(sizeof(struct inner) <= sizeof(((struct tiercel_event *)0)->reserved), "it fits into an event");

struct list {
    struct tiercel_event *first, *last;
    int count;
};

struct tiercel_queue {
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* something has completed */
    unsigned sleepers;
    int fd; /* readable while `completed` is not empty; -1: nothing is handed out */
    struct list running, completed;
    int children; /* of those that run */
};

static struct tiercel_queue nowhere = {.mutex = PTHREAD_MUTEX_INITIALIZER, .fd = -1};
static pthread_once_t nowhere_once = PTHREAD_ONCE_INIT;

static struct inner *inner_of(struct tiercel_event *ev)
{
    return (struct inner *)ev->reserved;
}

static enum state state_of(struct tiercel_event *ev)
{
    return (enum state)inner_of(ev)->state;
}

static bool is_event(struct tiercel_event *ev)
{
    return ev != NULL && inner_of(ev)->magic == MAGIC;
}

static void append(struct list *l, struct tiercel_event *ev)
{
    inner_of(ev)->prev = l->last;
    inner_of(ev)->next = NULL;
    *(l->last != NULL ? &inner_of(l->last)->next : &l->first) = ev;
    l->last = ev;
    l->count++;
}

static void take_out(struct list *l, struct tiercel_event *ev)
{
    struct inner *e = inner_of(ev);
    check(l->count > 0);
    *(e->prev != NULL ? &inner_of(e->prev)->next : &l->first) = e->next;
    *(e->next != NULL ? &inner_of(e->next)->prev : &l->last) = e->prev;
    l->count--;
}

/* ---- deadlines ---- */

static struct timespec deadline_after(int timeout_ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += timeout_ms / 1000;
    t.tv_nsec += (timeout_ms % 1000) * 1000000L;
    if (t.tv_nsec >= 1000000000L) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000L;
    }
    return t;
}

/* Until something completes. false: the time is over; deadline NULL: it never is. */
static bool sleep_until(struct tiercel_queue *q, const struct timespec *deadline)
{
    q->sleepers++;
    int rc = deadline == NULL ? pthread_cond_wait(&q->changed, &q->mutex)
                              : pthread_cond_timedwait(&q->changed, &q->mutex, deadline);
    q->sleepers--;
    return rc != ETIMEDOUT;
}

static void init_condition(struct tiercel_queue *q)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&q->changed, &attr);
    pthread_condattr_destroy(&attr);
}

/* In the child of a fork the events of the parent are of no concern, and whoever held the mutex is not there. */
static void forget_nowhere(void)
{
    pthread_mutex_init(&nowhere.mutex, NULL);
    init_condition(&nowhere);
    nowhere.running = (struct list){.first = NULL};
    nowhere.children = 0;
    nowhere.sleepers = 0;
}

static void init_nowhere(void)
{
    init_condition(&nowhere);
    pthread_atfork(NULL, NULL, forget_nowhere); /* without memory for it, only such a child would be worse off */
}

/* ---- completing ---- */

/* The descriptor says what the list says: under the lock, so that they cannot part. It does not block, and fails only if
 * somebody else has read from it. */
static void tell_descriptor(struct tiercel_queue *q, int count_before)
{
    uint64_t one = 1;
    ssize_t n = 0;
    if (q->fd < 0 || (count_before == 0) == (q->completed.count == 0))
        return;
    if (count_before == 0)
        n = write(q->fd, &one, sizeof one);
    else
        n = read(q->fd, &one, sizeof one);
    (void)n;
}

/* It is the caller's from here on. */
static void hand_out(struct tiercel_queue *q, struct tiercel_event *ev)
{
    int before = q->completed.count;
    if (q != &nowhere)
        take_out(&q->completed, ev);
    tell_descriptor(q, before);
    inner_of(ev)->state = DONE;
}

static void complete(struct tiercel_queue *q, struct tiercel_event *ev, int rc, char *why)
{
    struct inner *e = inner_of(ev);
    int before = q->completed.count;
    check(rc <= 0);
    check(e->state == RUNNING);
    take_out(&q->running, ev);
    e->running = NULL;
    e->why = why;
    ev->error = rc;
    if (e->parent == NULL && q != &nowhere)
        append(&q->completed, ev);
    tell_descriptor(q, before);
    e->state = e->parent == NULL ? COMPLETED : DONE;
}

static void complete_parent(struct tiercel_queue *q, struct tiercel_event *ev)
{
    struct inner *e = inner_of(ev);
    complete(q, ev, e->children_error, e->why);
}

/* For a child that ends. Its sentence is the parent's, too, if it is the first that failed. */
static void count_child(struct tiercel_queue *q, struct tiercel_event *parent, int rc, const char *why)
{
    struct inner *p = inner_of(parent);
    check(p->children_running > 0);
    p->children_running--;
    q->children--;
    if (rc != 0 && p->children_error == 0) {
        p->children_error = rc;
        p->why = why != NULL ? strdup(why) : NULL;
    }
    if (p->state == RUNNING && p->children_running == 0)
        complete_parent(q, parent);
}

void tl_event_complete(struct tiercel_event *ev, int rc, char *why)
{
    struct tiercel_queue *q = inner_of(ev)->queue;
    struct tiercel_event *parent = inner_of(ev)->parent;
    pthread_mutex_lock(&q->mutex);
    if (parent != NULL)
        count_child(q, parent, rc, why);
    complete(q, ev, rc, why); /* last: what is done may be gone at once */
    if (q->sleepers > 0)
        pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->mutex);
}

int tl_event_launch(struct tiercel_event *ev, struct tl_running *running)
{
    struct inner *e = is_event(ev) ? inner_of(ev) : NULL;
    if (e == NULL || e->state != READY)
        return tl_why_fail(NULL, -EINVAL,
                           "an event was passed that was not initialised, or was used before; call "
                           "tiercel_event_fini and tiercel_event_init first");
    struct tiercel_queue *q = e->queue;
    int rc = 0;
    pthread_mutex_lock(&q->mutex);
    if (e->is_parent)
        rc = -EINVAL;
    else if (e->parent != NULL && state_of(e->parent) != READY)
        rc = -ESHUTDOWN;
    if (rc == 0) {
        e->running = running;
        e->state = RUNNING;
        append(&q->running, ev);
    }
    if (rc == 0 && e->parent != NULL) {
        inner_of(e->parent)->children_running++;
        q->children++;
    }
    pthread_mutex_unlock(&q->mutex);
    if (rc == -EINVAL)
        return tl_why_fail(NULL, -EINVAL, "an event was passed that has children; pass one of them");
    if (rc != 0)
        return tl_why_fail(NULL, -EINVAL,
                           "an event was passed whose parent waits for its children already; call "
                           "tiercel_event_barrier after the last of them was launched");
    return 0;
}

/* ---- queues ---- */

int tiercel_queue_create(struct tiercel_queue **out)
{
    if (out == NULL)
        return tl_why_fail(NULL, -EINVAL, "tiercel_queue_create: no place for the queue was passed");
    struct tiercel_queue *q = calloc(1, sizeof *q);
    if (q == NULL)
        return tl_why_fail(NULL, -ENOMEM, "tiercel_queue_create: out of memory");
    q->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (q->fd < 0) {
        int rc = -errno;
        free(q);
        return tl_why_fail(NULL, rc, "a queue needs a descriptor: %s; raise the limit of open files", strerror(-rc));
    }
    pthread_mutex_init(&q->mutex, NULL);
    init_condition(q);
    *out = q;
    return 0;
}

static void stop_one(struct tiercel_event *ev)
{
    struct tl_running *r = inner_of(ev)->running;
    if (r == NULL)
        return;
    r->stop = 1;
    if (r->wake != NULL)
        r->wake(r);
}

static void stop_all(struct tiercel_queue *q, const struct tiercel_event *parent)
{
    for (struct tiercel_event *ev = q->running.first; ev != NULL; ev = inner_of(ev)->next)
        if (parent == NULL || inner_of(ev)->parent == parent)
            stop_one(ev);
}

int tiercel_queue_destroy(struct tiercel_queue *q, int force)
{
    if (q == NULL)
        return 0;
    pthread_mutex_lock(&q->mutex);
    if (!force && q->running.count + q->completed.count > 0) {
        int running = q->running.count, completed = q->completed.count;
        pthread_mutex_unlock(&q->mutex);
        return tl_why_fail(NULL, -EBUSY,
                           "the queue has %d events that run and %d that were not polled; poll them, or "
                           "destroy it by force",
                           running, completed);
    }
    stop_all(q, NULL);
    while (q->running.count > 0) /* calls end, by themselves or because they were stopped */
        sleep_until(q, NULL);
    while (q->completed.first != NULL)
        hand_out(q, q->completed.first);
    pthread_mutex_unlock(&q->mutex);
    pthread_mutex_destroy(&q->mutex);
    pthread_cond_destroy(&q->changed);
    close(q->fd);
    free(q);
    return 0;
}

int tiercel_queue_fd(const struct tiercel_queue *q)
{
    return q != NULL ? q->fd : -EINVAL;
}

int tiercel_queue_poll(struct tiercel_queue *q, int timeout_ms, struct tiercel_event **out, int max)
{
    if (q == NULL || out == NULL || max <= 0 || timeout_ms < TIERCEL_FOREVER)
        return tl_why_fail(NULL, -EINVAL, "tiercel_queue_poll: no queue, no place for events, or no sensible timeout");
    struct timespec deadline = deadline_after(timeout_ms > 0 ? timeout_ms : 0);
    const bool for_ever = timeout_ms == TIERCEL_FOREVER;
    bool time_left = timeout_ms != 0;
    int n = 0;
    pthread_mutex_lock(&q->mutex);
    while (q->completed.count == 0 && time_left && !(for_ever && q->running.count == 0))
        time_left = sleep_until(q, for_ever ? NULL : &deadline);
    for (; n < max && q->completed.first != NULL; n++) {
        out[n] = q->completed.first;
        hand_out(q, out[n]);
    }
    if (n > 0 && q->sleepers > 0) /* who waits while anything runs may wait in vain now */
        pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->mutex);
    return n;
}

/* Those that will be handed out: children are not. */
static int show(const struct list *l, struct tiercel_event **out, int n, int max)
{
    for (struct tiercel_event *ev = l->first; ev != NULL && n < max; ev = inner_of(ev)->next)
        if (inner_of(ev)->parent == NULL)
            out[n++] = ev;
    return n;
}

int tiercel_queue_query(struct tiercel_queue *q, enum tiercel_event_which which, struct tiercel_event **out, int max)
{
    if (q == NULL || max < 0 || which < TIERCEL_EVENTS_RUNNING || which > TIERCEL_EVENTS_ALL)
        return tl_why_fail(NULL, -EINVAL, "tiercel_queue_query: no queue, or not a set of events");
    int count = 0, n = 0;
    pthread_mutex_lock(&q->mutex);
    if (which & TIERCEL_EVENTS_RUNNING) {
        count += q->running.count - q->children;
        n = show(&q->running, out, n, out != NULL ? max : 0);
    }
    if (which & TIERCEL_EVENTS_COMPLETED) {
        count += q->completed.count;
        show(&q->completed, out, n, out != NULL ? max : 0);
    }
    pthread_mutex_unlock(&q->mutex);
    return count;
}

/* ---- events ---- */

int tiercel_event_init(struct tiercel_event *ev, struct tiercel_queue *q, struct tiercel_event *parent)
{
    pthread_once(&nowhere_once, init_nowhere);
    if (q == NULL)
        q = &nowhere;
    if (ev == NULL || ev == parent)
        return tl_why_fail(NULL, -EINVAL, "tiercel_event_init: no event, or one that would be its own parent");
    if (parent != NULL) {
        struct inner *p = inner_of(parent);
        if (!is_event(parent) || p->state != READY || p->queue != q || p->parent != NULL)
            return tl_why_fail(NULL, -EINVAL,
                               "the parent of an event has to be of the same queue, not launched yet, and "
                               "nobody's child");
        p->is_parent = true;
    }
    memset(ev->reserved, 0, sizeof ev->reserved);
    ev->error = 0;
    struct inner *e = inner_of(ev);
    e->queue = q;
    e->parent = parent;
    e->magic = MAGIC;
    e->state = READY;
    return 0;
}

int tiercel_event_fini(struct tiercel_event *ev)
{
    if (!is_event(ev))
        return ev == NULL ? tl_why_fail(NULL, -EINVAL, "tiercel_event_fini: no event") : 0;
    struct inner *e = inner_of(ev);
    if (e->state == RUNNING || e->state == COMPLETED)
        return tl_why_fail(NULL, -EBUSY,
                           "the event runs, or has completed and was not polled; poll it, or wait for it");
    bool busy = false;
    if (e->is_parent && e->state == READY) { /* children may run, though nobody has asked for their end */
        pthread_mutex_lock(&e->queue->mutex);
        busy = e->children_running > 0;
        pthread_mutex_unlock(&e->queue->mutex);
    }
    if (busy)
        return tl_why_fail(NULL, -EBUSY, "children of the event run; call tiercel_event_barrier and wait for it");
    free(e->why);
    memset(ev->reserved, 0, sizeof ev->reserved);
    return 0;
}

int tiercel_event_wait(struct tiercel_event *ev, int timeout_ms)
{
    struct inner *e = is_event(ev) ? inner_of(ev) : NULL;
    if (e == NULL || e->state == READY || e->parent != NULL || timeout_ms < TIERCEL_FOREVER)
        return tl_why_fail(NULL, -EINVAL,
                           "an event was asked for its end that was never launched, or is a child; ask its "
                           "parent");
    if (e->state == DONE) /* its queue may be gone */
        return 1;
    struct tiercel_queue *q = e->queue;
    struct timespec deadline = deadline_after(timeout_ms > 0 ? timeout_ms : 0);
    bool time_left = timeout_ms != 0;
    pthread_mutex_lock(&q->mutex);
    while (e->state == RUNNING && time_left)
        time_left = sleep_until(q, timeout_ms == TIERCEL_FOREVER ? NULL : &deadline);
    int rc = e->state != RUNNING;
    if (e->state == COMPLETED)
        hand_out(q, ev);
    pthread_mutex_unlock(&q->mutex);
    return rc;
}

int tiercel_event_test(struct tiercel_event *ev)
{
    return tiercel_event_wait(ev, 0);
}

int tiercel_event_abort(struct tiercel_event *ev)
{
    struct inner *e = is_event(ev) ? inner_of(ev) : NULL;
    if (e == NULL || (e->state == READY && !e->is_parent))
        return tl_why_fail(NULL, -EINVAL, "an event was aborted that was never launched");
    if (e->state == DONE || e->state == COMPLETED)
        return 0;
    pthread_mutex_lock(&e->queue->mutex);
    if (e->is_parent)
        stop_all(e->queue, ev);
    else if (e->state == RUNNING)
        stop_one(ev);
    pthread_mutex_unlock(&e->queue->mutex);
    return 0;
}

int tiercel_event_barrier(struct tiercel_event *ev)
{
    struct inner *e = is_event(ev) ? inner_of(ev) : NULL;
    if (e == NULL || !e->is_parent || e->state != READY)
        return tl_why_fail(NULL, -EINVAL, "a barrier is for an event with children, once");
    struct tiercel_queue *q = e->queue;
    pthread_mutex_lock(&q->mutex);
    e->state = RUNNING;
    append(&q->running, ev);
    if (e->children_running == 0)
        complete_parent(q, ev);
    if (q->sleepers > 0)
        pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->mutex);
    return 0;
}

const char *tiercel_why(const struct tiercel_event *ev)
{
    if (ev == NULL)
        return tl_why_last();
    struct tiercel_event *mutable = (struct tiercel_event *)(uintptr_t)ev; /* only read below */
    if (!is_event(mutable) || state_of(mutable) != DONE || ev->error == 0)
        return "";
    const char *why = inner_of(mutable)->why;
    return why != NULL ? why : tiercel_strerror(ev->error);
}
