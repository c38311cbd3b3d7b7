// SPDX-License-Identifier: Apache-2.0
/* Being told of changes: a watch on the container's state object. Who changes it tells the watchers, and does not wait for them: one that hangs must
 * not hold up a commit. So a word may be lost, and whoever sleeps looks again each second. */
#include <errno.h>

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

/* ---- librados' threads ---- */

static void on_notify(void *arg, uint64_t notify_id, uint64_t handle, uint64_t notifier, void *data, size_t len)
{
    struct tl_rados_cont *c = arg;
    (void)notifier;
    (void)c->r->lib->notify_ack(c->r->meta, c->name.text, notify_id, handle, NULL, 0);
    if (len == 8) {
        tl_rados_seen(c, tl_get_u64(data));
    } else if (len == WAKE_LEN) {
        atomic_fetch_add(&c->wakes, 1);
        tl_rados_announce(c->r);
    }
}

static void on_error(void *arg, uint64_t handle, int rc)
{
    struct tl_rados_cont *c = arg;
    (void)handle, (void)rc;
    atomic_store(&c->broken, true);
    tl_rados_announce(c->r);
}

/* ---- ours ---- */

/* Best effort: without a watch, looking each second is all there is. */
static void watch(struct tl_rados_cont *c)
{
    struct tl_rados *r = c->r;
    pthread_mutex_lock(&r->mutex);
    bool broken = c->watched && atomic_load(&c->broken), wanted = !c->watched || broken;
    uint64_t old = c->cookie, cookie = 0;
    c->watched = true; /* one thread tries */
    pthread_mutex_unlock(&r->mutex);
    if (!wanted)
        return;
    if (broken)
        (void)r->lib->unwatch2(r->meta, old);
    atomic_store(&c->broken, false);
    int rc = r->lib->watch3(r->meta, c->name.text, &cookie, on_notify, on_error, WATCH_LEASE, c);
    pthread_mutex_lock(&r->mutex);
    c->watched = rc == 0;
    c->cookie = cookie;
    pthread_mutex_unlock(&r->mutex);
}

/* What the cluster says. 0, -errno. */
static int ask(struct tl_rados_cont *c)
{
    char bytes[8];
    int rc = tl_rados_error(c->r->lib->getxattr(c->r->meta, c->name.text, "gen", bytes, sizeof bytes));
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

static void sleep_until(struct tl_rados *r, struct tl_rados_cont *c, uint32_t seen, uint64_t until_ns)
{
    struct timespec t = tl_time_to_timespec((int64_t)until_ns);
    int rc = 0;
    pthread_mutex_lock(&r->mutex);
    while (rc == 0 && count_of(c) == seen && !atomic_load(&c->broken))
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
    for (;;) {
        watch(c);
        (void)ask(c); /* if it cannot be asked now, perhaps later */
        now = tl_time_mono_ns();
        if (count_of(c) != seen)
            return 0;
        if (now >= end)
            return -ETIMEDOUT;
        sleep_until(r, c, seen, end - now < AGAIN_NS ? end : now + AGAIN_NS);
    }
}

static void on_told(rados_completion_t done, void *arg)
{
    struct tl_rados *r = arg;
    (void)done;
    pthread_mutex_lock(&r->mutex);
    r->telling--;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
}

static void count_telling(struct tl_rados *r, unsigned change)
{
    pthread_mutex_lock(&r->mutex);
    r->telling += change;
    pthread_mutex_unlock(&r->mutex);
}

void tl_rados_tell(struct tl_rados *r, const char *object, const void *bytes, size_t len)
{
    rados_completion_t done;
    if (r->lib->aio_create_completion2(r, on_told, &done) != 0)
        return;
    count_telling(r, 1);
    if (r->lib->aio_notify(r->meta, object, done, bytes, (int)len, TELL_MS, NULL, NULL) != 0)
        count_telling(r, -1u);
    r->lib->aio_release(done);
}

/* librados must not be shut down under them. */
static void wait_for_told(struct tl_rados *r)
{
    struct timespec t = tl_time_to_timespec((int64_t)(tl_time_mono_ns() + r->where.timeout_s * TL_NS_PER_S));
    pthread_mutex_lock(&r->mutex);
    while (r->telling > 0 && pthread_cond_timedwait(&r->changed, &r->mutex, &t) == 0)
        ;
    pthread_mutex_unlock(&r->mutex);
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

void tl_rados_unwatch_all(struct tl_rados *r)
{
    for (struct tl_rados_cont *c = r->conts; c != NULL; c = c->next)
        if (c->watched)
            (void)r->lib->unwatch2(r->meta, c->cookie);
    wait_for_told(r);
}
