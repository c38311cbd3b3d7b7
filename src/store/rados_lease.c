// SPDX-License-Identifier: Apache-2.0
/* Leases: locks of the object class `lock` with a duration, which a thread renews at a third of it. A process that ends, or hangs for longer, has them no more.
 * Marks of processes are leases, so is having a pool open, and so are the locks of rados_locks.c.
 *
 * Two ways to fail a renewal: who may take it anew does so; who may not is told that it is lost, and what he does under it is
 * refused by the cluster, which compares (rados_locks.c) or counts generations (rados_state.c). */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/time.h"
#include "store/rados.h"

/* ---- arguments, as Ceph encodes structures: version, oldest version that can read it, bytes that follow; strings have their length before
 * them ---- */

enum { EXCLUSIVE = 1, SHARED = 2 };

static void put_u8(struct tl_rados_args *a, uint8_t v)
{
    check(a->len + 1 <= sizeof a->bytes);
    a->bytes[a->len++] = v;
}

static void put_u32(struct tl_rados_args *a, uint32_t v)
{
    check(a->len + 4 <= sizeof a->bytes);
    tl_put_u32(a->bytes + a->len, v);
    a->len += 4;
}

static void put_text(struct tl_rados_args *a, const char *text)
{
    size_t len = strlen(text);
    put_u32(a, (uint32_t)len);
    check(a->len + len <= sizeof a->bytes);
    memcpy(a->bytes + a->len, text, len);
    a->len += len;
}

static struct tl_rados_args begin(void)
{
    struct tl_rados_args a = {.len = 0};
    put_u8(&a, 1);
    put_u8(&a, 1);
    put_u32(&a, 0);
    put_text(&a, TL_RADOS_LOCK);
    return a;
}

static struct tl_rados_args end(struct tl_rados_args a)
{
    tl_put_u32(a.bytes + 2, (uint32_t)a.len - 6);
    return a;
}

struct tl_rados_args tl_rados_lock_args(const char *cookie, bool exclusive, unsigned lease_s, bool must_renew)
{
    struct tl_rados_args a = begin();
    put_u8(&a, exclusive ? EXCLUSIVE : SHARED);
    put_text(&a, cookie);
    put_text(&a, ""); /* tag */
    put_text(&a, "tiercel");
    put_u32(&a, lease_s);
    put_u32(&a, 0); /* ns */
    put_u8(&a, must_renew ? LIBRADOS_LOCK_FLAG_MUST_RENEW : LIBRADOS_LOCK_FLAG_MAY_RENEW);
    return end(a);
}

struct tl_rados_args tl_rados_assert_args(const char *cookie, bool exclusive)
{
    struct tl_rados_args a = begin();
    put_u8(&a, exclusive ? EXCLUSIVE : SHARED);
    put_text(&a, cookie);
    put_text(&a, ""); /* tag */
    return end(a);
}

struct tl_rados_args tl_rados_unlock_args(const char *cookie)
{
    struct tl_rados_args a = begin();
    put_text(&a, cookie);
    return end(a);
}

/* ---- one lease ---- */

static int take(struct tl_rados *r, const struct tl_rados_lease *l, bool must_renew)
{
    struct tl_rados_args a = tl_rados_lock_args(l->cookie, l->exclusive, r->where.lease_s, must_renew);
    rados_write_op_t op = r->lib->create_write_op();
    r->lib->write_op_exec(op, "lock", "lock", (const char *)a.bytes, a.len, NULL);
    return tl_rados_write_op(r, op, l->object.text);
}

void tl_rados_lease_keep(struct tl_rados *r, struct tl_rados_lease *l)
{
    pthread_mutex_lock(&r->mutex);
    l->next = r->leases;
    r->leases = l;
    pthread_mutex_unlock(&r->mutex);
}

void tl_rados_lease_drop(struct tl_rados *r, struct tl_rados_lease *l)
{
    pthread_mutex_lock(&r->mutex);
    struct tl_rados_lease **at = &r->leases;
    while (*at != NULL && *at != l)
        at = &(*at)->next;
    if (*at != NULL)
        *at = l->next;
    pthread_mutex_unlock(&r->mutex);
}

int tl_rados_lease_begin(struct tl_rados *r, struct tl_rados_lease *l)
{
    int rc = take(r, l, false);
    if (rc == 0)
        tl_rados_lease_keep(r, l);
    return rc;
}

void tl_rados_lease_end(struct tl_rados *r, struct tl_rados_lease *l)
{
    tl_rados_lease_drop(r, l);
    (void)r->lib->unlock(r->meta, l->object.text, TL_RADOS_LOCK, l->cookie);
}

/* ---- the thread that renews ---- */

/* So that letting go of a lease does not wait for the renewal of others, a renewal works on a copy, and answers by name. */
static void lost(struct tl_rados *r, const struct tl_rados_lease *copy)
{
    pthread_mutex_lock(&r->mutex);
    for (struct tl_rados_lease *l = r->leases; l != NULL; l = l->next)
        if (strcmp(l->object.text, copy->object.text) == 0 && strcmp(l->cookie, copy->cookie) == 0)
            atomic_store(&l->lost, true);
    pthread_mutex_unlock(&r->mutex);
}

/* Whether it is still wanted: one that was let go of meanwhile is not taken anew. */
static bool wanted(struct tl_rados *r, const struct tl_rados_lease *copy)
{
    pthread_mutex_lock(&r->mutex);
    const struct tl_rados_lease *l = r->leases;
    while (l != NULL && (strcmp(l->object.text, copy->object.text) != 0 || strcmp(l->cookie, copy->cookie) != 0))
        l = l->next;
    pthread_mutex_unlock(&r->mutex);
    return l != NULL;
}

/* Whether it was ours all the time. */
static bool renew(struct tl_rados *r, const struct tl_rados_lease *copy)
{
    int rc = take(r, copy, true);
    if (rc == 0)
        return true;
    if (rc != -ENOENT && rc != -EBUSY && rc != -EEXIST) /* it could not be asked: it may still be there */
        return false;
    if (!wanted(r, copy))
        return true;
    if (!copy->again) {
        lost(r, copy);
        return true;
    }
    (void)!take(r, copy, false);
    atomic_fetch_add(&r->interrupts, 1); /* now that it is ours again: see tl_rados_lease_unbroken */
    return false;
}

/* Copies of all leases; *count of them. NULL: none, or no memory: then again in a moment. */
static struct tl_rados_lease *copy_all(struct tl_rados *r, size_t *count)
{
    size_t n = 0, i = 0;
    for (const struct tl_rados_lease *l = r->leases; l != NULL; l = l->next)
        n++;
    struct tl_rados_lease *copies = calloc(n + 1, sizeof *copies);
    for (const struct tl_rados_lease *l = r->leases; copies != NULL && l != NULL; l = l->next, i++) {
        copies[i].object = l->object;
        memcpy(copies[i].cookie, l->cookie, sizeof l->cookie);
        copies[i].exclusive = l->exclusive;
        copies[i].again = l->again;
    }
    *count = i;
    return copies;
}

/* Time that goes on while the machine sleeps. */
static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * TL_NS_PER_S + (uint64_t)t.tv_nsec;
}

static void renew_all(struct tl_rados *r)
{
    uint64_t began = now_ns();
    size_t count = 0;
    bool unbroken = true;
    pthread_mutex_lock(&r->mutex);
    struct tl_rados_lease *copies = copy_all(r, &count);
    pthread_mutex_unlock(&r->mutex);
    for (size_t i = 0; i < count; i++)
        unbroken = renew(r, &copies[i]) && unbroken;
    if (copies != NULL && unbroken)
        r->renewed_ns = began;
    free(copies);
}

/* A mark that was lost, and is ours again, was lost for longer than this; and as long as a renewal goes on, the counter may not tell of it yet. */
static bool is_fresh(const struct tl_rados *r)
{
    return now_ns() - r->renewed_ns < r->where.lease_s * TL_NS_PER_S * 2 / 3;
}

int tl_rados_lease_unbroken(struct tl_rados *r, uint64_t interrupts)
{
    pthread_mutex_lock(&r->renewing);
    if (!is_fresh(r))
        renew_all(r);
    int rc = atomic_load(&r->interrupts) != interrupts ? -ESTALE : is_fresh(r) ? 0 : -ETIMEDOUT;
    pthread_mutex_unlock(&r->renewing);
    return rc;
}

static void *keeper(void *arg)
{
    struct tl_rados *r = arg;
    pthread_mutex_lock(&r->mutex);
    while (!r->closing) {
        uint64_t next = tl_time_mono_ns() + r->where.lease_s * TL_NS_PER_S / 3;
        struct timespec t = tl_time_to_timespec((int64_t)next);
        while (!r->closing && pthread_cond_timedwait(&r->changed, &r->mutex, &t) == 0)
            ;
        pthread_mutex_unlock(&r->mutex);
        pthread_mutex_lock(&r->renewing);
        if (!r->closing)
            renew_all(r);
        pthread_mutex_unlock(&r->renewing);
        pthread_mutex_lock(&r->mutex);
    }
    pthread_mutex_unlock(&r->mutex);
    return NULL;
}

int tl_rados_keeper_start(struct tl_rados *r)
{
    sigset_t all, before;
    r->renewed_ns = now_ns();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all,
                    &before); /* a program's signals are for its own threads, as librados has it for its */
    int rc = -pthread_create(&r->keeper, NULL, keeper, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    r->keeper_runs = rc == 0;
    return rc;
}

/* ---- marks ---- */

static struct tl_rados_lease mark_lease(const struct tl_rados *r, uint64_t mark, bool exclusive)
{
    struct tl_rados_lease l = {.exclusive = exclusive, .again = true};
    snprintf(l.object.text, sizeof l.object.text, "m.%016llx", (unsigned long long)mark);
    snprintf(l.cookie, sizeof l.cookie, "%016llx", (unsigned long long)r->writer);
    return l;
}

static struct tl_rados_lease *find(struct tl_rados *r, const char *object)
{
    pthread_mutex_lock(&r->mutex);
    struct tl_rados_lease *l = r->leases;
    while (l != NULL && strcmp(l->object.text, object) != 0)
        l = l->next;
    pthread_mutex_unlock(&r->mutex);
    return l;
}

int tl_rados_claim(struct tl_store *s, uint64_t mark, bool exclusive)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct tl_rados_lease l = mark_lease(r, mark, exclusive), *mine;
    if (r->read_only)
        return exclusive ? -EROFS : 0;
    if (find(r, l.object.text) != NULL)
        return -EALREADY;
    mine = malloc(sizeof *mine);
    if (mine == NULL)
        return -ENOMEM;
    *mine = l;
    int rc = tl_rados_lease_begin(r, mine);
    if (rc != 0)
        free(mine);
    return rc;
}

/* Takes the object away if nobody has the mark. What happens to it in between makes this fail, and that is well. */
static void sweep(struct tl_rados *r, const struct tl_rados_lease *l)
{
    struct tl_rados_args a = tl_rados_lock_args("sweeper", true, 1, false);
    rados_write_op_t op = r->lib->create_write_op();
    r->lib->write_op_exec(op, "lock", "lock", (const char *)a.bytes, a.len, NULL);
    r->lib->write_op_remove(op);
    (void)!tl_rados_write_op(r, op, l->object.text);
}

void tl_rados_unclaim(struct tl_store *s, uint64_t mark)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct tl_rados_lease l = mark_lease(r, mark, false), *mine = find(r, l.object.text);
    if (mine == NULL)
        return;
    tl_rados_lease_end(r, mine);
    sweep(r, mine);
    free(mine);
}

int tl_rados_claimed(struct tl_store *s, uint64_t mark)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct tl_rados_lease l = mark_lease(r, mark, false);
    char tag[16], clients[4096], cookies[4096], addrs[8192];
    size_t tag_len = sizeof tag, clients_len = sizeof clients, cookies_len = sizeof cookies, addrs_len = sizeof addrs;
    int exclusive;
    ssize_t n = r->lib->list_lockers(r->meta, l.object.text, TL_RADOS_LOCK, &exclusive, tag, &tag_len, clients,
                                     &clients_len, cookies, &cookies_len, addrs, &addrs_len);
    if (n == -ERANGE) /* so many that they do not fit */
        return 1;
    if (n == 0 && !r->read_only)
        sweep(r, &l);
    return n == -ENOENT ? 0 : n < 0 ? tl_rados_error((int)n) : n > 0;
}

void tl_rados_keeper_stop(struct tl_rados *r)
{
    pthread_mutex_lock(&r->mutex);
    r->closing = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
    if (r->keeper_runs)
        pthread_join(r->keeper, NULL);
    while (r->leases != NULL) {
        struct tl_rados_lease *l = r->leases;
        tl_rados_lease_end(r, l);
        if (l != &r->open) {
            sweep(r, l);
            free(l);
        }
    }
}
