// SPDX-License-Identifier: Apache-2.0
/* Being told of changes: watches on objects, of the state of containers and of locks. Who changes one tells the watchers, and does not wait for them:
 * one that hangs must not hold up a commit. So a word may be lost, and whoever sleeps looks again each second.
 *
 * librados ends what it is asked within a timeout, except beginning a watch and telling: these last until the cluster answers, however long that
 * takes. So nothing here waits for the cluster, other than tl_rados_changes; and what librados may still call back for is counted, and stays.
 *
 *   ASKED --on_watched--> THERE --end_watch--> ENDING --on_ended--> ENDED
 *                     \-> REFUSED
 *
 * A watch that nobody wants any more is ended by whoever comes next; only once, since librados takes its cookie for a pointer. It is freed when it has
 * ENDED or was REFUSED, and all callbacks that were begun are over. */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/time.h"
#include "store/rados.h"

#define AGAIN_NS    TL_NS_PER_S
#define TELL_MS     2000u /* after that the cluster forgets a word that not all have heard */
#define WAKE_LEN    0u    /* a word without a generation only wakes */
#define WATCH_LEASE 30u

static uint32_t count_of(struct tl_rados_cont *c)
{
    return (uint32_t)atomic_load(&c->generation) + atomic_load(&c->wakes);
}

void tl_rados_announce(struct tl_rados *r)
{
    pthread_mutex_lock(&r->mutex);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
}

void tl_rados_seen(struct tl_rados_cont *c, uint64_t generation)
{
    uint64_t before = atomic_load(&c->generation);
    while (before < generation && !atomic_compare_exchange_weak(&c->generation, &before, generation))
        ;
    if (before < generation)
        tl_rados_announce(c->r);
}

/* ---- what librados has not answered yet ---- */

static void count_on_way(struct tl_rados *r, unsigned change)
{
    pthread_mutex_lock(&r->mutex);
    r->on_way += change;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
}

/* Something that calls done(arg) when it is over; then `on_way` counts one less. NULL: no memory. */
static rados_completion_t set_out(struct tl_rados *r, rados_callback_t done, void *arg)
{
    rados_completion_t completion;
    if (r->lib->aio_create_completion2(arg, done, &completion) != 0)
        return NULL;
    count_on_way(r, 1);
    return completion;
}

/* After librados was asked; false: it has refused at once, and calls nothing. */
static bool is_on_way(struct tl_rados *r, rados_completion_t completion, int rc)
{
    r->lib->aio_release(completion);
    if (rc < 0)
        count_on_way(r, -1u);
    return rc >= 0;
}

/* Until all is answered, or for as long as anything may take. */
static bool all_answered(struct tl_rados *r, uint64_t until_ns)
{
    struct timespec t = tl_time_to_timespec((int64_t)until_ns);
    pthread_mutex_lock(&r->mutex);
    while (r->on_way > 0 && pthread_cond_timedwait(&r->changed, &r->mutex, &t) == 0)
        ;
    bool all = r->on_way == 0;
    pthread_mutex_unlock(&r->mutex);
    return all;
}

/* ---- watches: librados' threads ---- */

enum { ASKED, THERE, REFUSED, ENDING, ENDED };

struct tl_rados_watch {
    struct tl_rados_watch *next; /* of the store's; all this with its mutex */
    struct tl_rados *r;
    struct tl_rados_cont *cont; /* NULL: of a lock */
    struct tl_rados_name object;
    int state;
    bool wanted, broken;
    uint64_t cookie;
};

/* Who sleeps looks again: he may have missed something. */
static void has_news(struct tl_rados_watch *w)
{
    if (w->cont != NULL)
        atomic_fetch_add(&w->cont->news, 1);
    else
        atomic_fetch_add(&w->r->let_go, 1);
}

static void on_notify(void *arg, uint64_t notify_id, uint64_t handle, uint64_t notifier, void *data, size_t len)
{
    struct tl_rados_watch *w = arg;
    struct tl_rados *r = w->r;
    (void)notifier;
    (void)r->lib->notify_ack(r->meta, w->object.text, notify_id, handle, NULL, 0);
    if (w->cont == NULL) {
        atomic_fetch_add(&r->let_go, 1);
        tl_rados_announce(r);
    } else if (len == 8) {
        tl_rados_seen(w->cont, tl_get_u64(data));
    } else if (len == WAKE_LEN) {
        atomic_fetch_add(&w->cont->wakes, 1);
        tl_rados_announce(r);
    }
}

static void on_error(void *arg, uint64_t handle, int rc)
{
    struct tl_rados_watch *w = arg;
    struct tl_rados *r = w->r;
    (void)handle, (void)rc;
    pthread_mutex_lock(&r->mutex);
    w->broken = true;
    has_news(w);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
}

static void on_watched(rados_completion_t done, void *arg)
{
    struct tl_rados_watch *w = arg;
    struct tl_rados *r = w->r;
    int rc = r->lib->aio_get_return_value(done);
    pthread_mutex_lock(&r->mutex);
    w->state = rc < 0 ? REFUSED : THERE;
    if (rc >= 0)
        has_news(w);
    r->on_way--;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
}

static void on_ended(rados_completion_t done, void *arg)
{
    struct tl_rados_watch *w = arg;
    struct tl_rados *r = w->r;
    (void)done; /* if the cluster could not be told, it forgets us after WATCH_LEASE */
    pthread_mutex_lock(&r->mutex);
    w->state = ENDED;
    r->on_way--;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
}

/* ---- watches: ours ---- */

/* Asks for one. */
static void begin_watch(struct tl_rados_watch *w)
{
    struct tl_rados *r = w->r;
    rados_completion_t done = set_out(r, on_watched, w);
    if (done != NULL &&
        is_on_way(r, done,
                  r->lib->aio_watch2(r->meta, w->object.text, done, &w->cookie, on_notify, on_error, WATCH_LEASE, w)))
        return;
    pthread_mutex_lock(&r->mutex);
    w->state = REFUSED;
    pthread_mutex_unlock(&r->mutex);
}

static void end_watch(struct tl_rados_watch *w)
{
    struct tl_rados *r = w->r;
    rados_completion_t done = set_out(r, on_ended, w);
    if (done != NULL && is_on_way(r, done, r->lib->aio_unwatch(r->meta, w->cookie, done)))
        return;
    pthread_mutex_lock(&r->mutex);
    w->state = THERE; /* then later */
    pthread_mutex_unlock(&r->mutex);
}

/* One that nobody wants, and that has not been ended. */
static struct tl_rados_watch *unwanted(struct tl_rados *r)
{
    pthread_mutex_lock(&r->mutex);
    struct tl_rados_watch *w = r->watches;
    while (w != NULL && (w->wanted || w->state != THERE))
        w = w->next;
    if (w != NULL)
        w->state = ENDING;
    pthread_mutex_unlock(&r->mutex);
    return w;
}

static void sweep(struct tl_rados *r)
{
    struct tl_rados_watch *w, *over = NULL, **at = &r->watches;
    while ((w = unwanted(r)) != NULL) {
        end_watch(w);
        if (w->state == THERE)
            break; /* no memory */
    }
    pthread_mutex_lock(&r->mutex);
    while ((w = *at) != NULL) {
        if (w->wanted || (w->state != ENDED && w->state != REFUSED)) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->next = over;
        over = w;
    }
    pthread_mutex_unlock(&r->mutex);
    if (over != NULL)
        (void)r->lib->watch_flush(r->cluster); /* callbacks for them may still run */
    while ((w = over) != NULL) {
        over = w->next;
        free(w);
    }
}

/* With the mutex: a new one, of which the cluster knows nothing yet. NULL: no memory. */
static struct tl_rados_watch *add_watch(struct tl_rados *r, struct tl_rados_cont *cont,
                                        const struct tl_rados_name *object)
{
    struct tl_rados_watch *w = malloc(sizeof *w);
    if (w == NULL)
        return NULL;
    *w = (struct tl_rados_watch){.r = r, .cont = cont, .object = *object, .wanted = true, .next = r->watches};
    r->watches = w;
    return w;
}

struct tl_rados_watch *tl_rados_watch_lock(struct tl_rados *r, const struct tl_rados_name *object)
{
    pthread_mutex_lock(&r->mutex);
    struct tl_rados_watch *w = add_watch(r, NULL, object);
    pthread_mutex_unlock(&r->mutex);
    if (w != NULL)
        begin_watch(w);
    return w;
}

void tl_rados_watch_end(struct tl_rados_watch *w)
{
    if (w == NULL)
        return;
    struct tl_rados *r = w->r;
    pthread_mutex_lock(&r->mutex);
    w->wanted = false;
    pthread_mutex_unlock(&r->mutex);
    sweep(r);
}

/* Best effort: without a watch, looking each second is all there is. */
static void watch(struct tl_rados_cont *c)
{
    struct tl_rados *r = c->r;
    struct tl_rados_watch *old, *new = NULL;
    pthread_mutex_lock(&r->mutex);
    old = c->watch;
    if (old == NULL || old->broken || old->state == REFUSED) {
        new = add_watch(r, c, &c->name);
        if (old != NULL)
            old->wanted = false;
        c->watch = new;
    }
    pthread_mutex_unlock(&r->mutex);
    if (new != NULL)
        begin_watch(new);
    if (old != NULL && new != NULL)
        sweep(r);
}

bool tl_rados_unwatch_all(struct tl_rados *r)
{
    uint64_t until_ns = tl_time_mono_ns() + (r->where.timeout_s + 1) * TL_NS_PER_S;
    pthread_mutex_lock(&r->mutex);
    for (struct tl_rados_watch *w = r->watches; w != NULL; w = w->next)
        w->wanted = false;
    pthread_mutex_unlock(&r->mutex);
    if (r->watches != NULL)
        sweep(r);
    bool all = all_answered(r, until_ns);
    if (r->watches != NULL) {
        sweep(r); /* those that were ASKED, and are THERE now */
        all = all_answered(r, until_ns);
    }
    return all;
}

void tl_rados_watches_free(struct tl_rados *r)
{
    while (r->watches != NULL) {
        struct tl_rados_watch *w = r->watches;
        r->watches = w->next;
        free(w);
    }
}

/* ---- looking, and sleeping ---- */

/* What the cluster says. 0, -errno. */
static int ask(struct tl_rados_cont *c)
{
    char bytes[8];
    int rc = tl_rados_getxattr(c->r, c->name.text, "gen", bytes, sizeof bytes);
    if (rc == sizeof bytes)
        tl_rados_seen(c, tl_get_u64(bytes));
    return rc >= 0 || rc == -ENOENT ? 0 : rc;
}

int tl_rados_changes(struct tl_store *s, const struct tl_store_id *id, uint32_t *out)
{
    struct tl_rados_cont *c = tl_rados_cont((struct tl_rados *)s, id);
    tl_rados_batch_begin((struct tl_rados *)s);
    int rc = c == NULL ? -ENOMEM : ask(c);
    if (rc == 0)
        *out = count_of(c);
    return rc;
}

static void on_answer(rados_completion_t done, void *arg)
{
    struct tl_rados_cont *c = arg;
    struct tl_rados *r = c->r;
    if (r->lib->aio_get_return_value(done) == sizeof c->answer)
        tl_rados_seen(c, tl_get_u64(c->answer));
    pthread_mutex_lock(&r->mutex);
    c->asking = false;
    r->on_way--;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
}

/* The same, without waiting for the answer, unless we wait for one already. */
static void begin_asking(struct tl_rados_cont *c)
{
    struct tl_rados *r = c->r;
    pthread_mutex_lock(&r->mutex);
    bool asks = c->asking;
    c->asking = true;
    pthread_mutex_unlock(&r->mutex);
    if (asks)
        return;
    rados_completion_t done = set_out(r, on_answer, c);
    if (done != NULL &&
        is_on_way(r, done, r->lib->aio_getxattr(r->meta, c->name.text, done, "gen", c->answer, sizeof c->answer)))
        return;
    pthread_mutex_lock(&r->mutex);
    c->asking = false;
    pthread_mutex_unlock(&r->mutex);
}

static void sleep_until(struct tl_rados_cont *c, uint32_t seen, uint32_t news, uint64_t until_ns)
{
    struct tl_rados *r = c->r;
    struct timespec t = tl_time_to_timespec((int64_t)until_ns);
    int rc = 0;
    pthread_mutex_lock(&r->mutex);
    while (rc == 0 && count_of(c) == seen && atomic_load(&c->news) == news)
        rc = pthread_cond_timedwait(&r->changed, &r->mutex, &t);
    pthread_mutex_unlock(&r->mutex);
}

int tl_rados_wait(struct tl_store *s, const struct tl_store_id *id, uint32_t seen, unsigned timeout_ms)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct tl_rados_cont *c = tl_rados_cont(r, id);
    uint64_t now = tl_time_mono_ns(), end = now + timeout_ms * TL_NS_PER_MS;
    if (c == NULL)
        return -ENOMEM;
    while (count_of(c) == seen && now < end) {
        uint32_t news = atomic_load(&c->news);
        watch(c);
        begin_asking(c); /* if there is no answer now, perhaps later */
        sleep_until(c, seen, news, end - now < AGAIN_NS ? end : now + AGAIN_NS);
        now = tl_time_mono_ns();
    }
    return count_of(c) != seen ? 0 : -ETIMEDOUT;
}

/* ---- telling ---- */

static void on_told(rados_completion_t done, void *arg)
{
    (void)done;
    count_on_way(arg, -1u);
}

void tl_rados_tell(struct tl_rados *r, const char *object, const void *bytes, size_t len)
{
    rados_completion_t done = set_out(r, on_told, r);
    if (done != NULL)
        (void)is_on_way(r, done, r->lib->aio_notify(r->meta, object, done, bytes, (int)len, TELL_MS, NULL, NULL));
}

void tl_rados_wake(struct tl_store *s, const struct tl_store_id *id)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct tl_rados_cont *c = tl_rados_cont(r, id);
    if (c == NULL)
        return;
    atomic_fetch_add(&c->wakes, 1);
    atomic_fetch_add(&r->let_go, 1);
    tl_rados_announce(r);
    tl_rados_tell(r, c->name.text, "", WAKE_LEN);
}
