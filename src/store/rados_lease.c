// SPDX-License-Identifier: Apache-2.0
/* Leases: locks of the object class `lock` with a duration, which a thread renews at a third of it. A process that ends, or hangs for longer, has them no more.
 * Marks of processes are leases, so is having a pool open, and so are the locks of rados_locks.c.
 *
 * A lease that merely ran out is renewed as if it had not: its placement group may have stood still. Two ways to fail a renewal: who may take it anew does
 * so; who may not is told that it is lost, and what he does under it is refused by the cluster, which compares (rados_locks.c) or
 * counts generations (rados_state.c). */
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

/* Time that goes on while the machine sleeps. */
static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * TL_NS_PER_S + (uint64_t)t.tv_nsec;
}

static bool is_mark(const struct tl_rados_lease *l)
{
    return l->object.text[0] == 'm';
}

/* anew: it was not ours before. Else only if it still is. A mark is, even if its lease ran out, as long as its object is there: who takes its processes
 * for dead takes that away (tl_rados_claimed). What has a turn is ours as long as that is the same: nobody had it alone since. */
static rados_write_op_t make_take(struct tl_rados *r, const struct tl_rados_lease *l, bool anew)
{
    bool compares = !anew && l->turn_known;
    struct tl_rados_args a =
        tl_rados_lock_args(l->cookie, l->exclusive, r->where.lease_s, !anew && !is_mark(l) && !compares);
    rados_write_op_t op = r->lib->create_write_op();
    if (!anew || l == &r->open)
        r->lib->write_op_assert_exists(op);
    if (compares)
        r->lib->write_op_cmpxattr(op, TL_RADOS_TURN, LIBRADOS_CMPXATTR_OP_EQ, l->turn, l->turn_len);
    r->lib->write_op_exec(op, "lock", "lock", (const char *)a.bytes, a.len, NULL);
    if (l == &r->open && l->exclusive)
        r->lib->write_op_setxattr(op, TL_RADOS_TURN, l->turn, l->turn_len);
    return op;
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
    l->renewed_ns = now_ns();
    int rc = tl_rados_write_op(r, make_take(r, l, true), l->object.text);
    if (rc == 0)
        tl_rados_lease_keep(r, l);
    return rc;
}

void tl_rados_lease_end(struct tl_rados *r, struct tl_rados_lease *l)
{
    tl_rados_lease_drop(r, l);
    (void)r->lib->unlock(r->meta, l->object.text, TL_RADOS_LOCK, l->cookie);
}

/* What the turn is while we have the pool open is known from the moment on that we have. If it cannot be read, or nobody else may have had it open meanwhile
 * either, what ran out is lost. */
int tl_rados_open_begin(struct tl_rados *r, bool exclusive)
{
    struct tl_rados_lease *l = &r->open;
    char turn[sizeof l->turn];
    l->exclusive = exclusive;
    l->turn_known = false;
    if (exclusive)
        l->turn_len = (size_t)snprintf(l->turn, sizeof l->turn, "%s.%llx", l->cookie,
                                       (unsigned long long)atomic_fetch_add(&r->cookies, 1));
    int rc = tl_rados_lease_begin(r, l);
    if (rc != 0 || exclusive)
        return rc;
    int len = tl_rados_getxattr(r, l->object.text, TL_RADOS_TURN, turn, sizeof turn);
    pthread_mutex_lock(&r->mutex);
    l->turn_known = len >= 0 || len == -ENOENT;
    l->turn_len = len > 0 ? (size_t)len : 0;
    memcpy(l->turn, turn, l->turn_len);
    pthread_mutex_unlock(&r->mutex);
    return 0;
}

/* ---- the thread that renews ---- */

/* On its way. Each goes by itself: a placement group that does not answer must not keep those of others from being renewed. It knows the
 * lease by name, since that may be let go of meanwhile. */
struct renewal {
    struct tl_rados *r;
    struct tl_rados_name object;
    char cookie[40];
    uint64_t began_ns;
    bool anew; /* it was lost: takes it anew */
};

static void send_renewal(struct tl_rados *r, struct tl_rados_lease *l, bool anew);

static uint64_t third_ns(const struct tl_rados *r)
{
    return r->where.lease_s * TL_NS_PER_S / 3;
}

/* What the cluster says of a lease that is still wanted. */
static void renewed(struct tl_rados *r, struct tl_rados_lease *l, const struct renewal *n, int rc)
{
    bool gone = rc == -ENOENT || rc == -EBUSY || rc == -EEXIST ||
                rc == -ECANCELED; /* else it could not be asked: it may still be there */
    l->renewing = false;
    if (n->anew)
        atomic_fetch_add(&r->interrupts, 1); /* now that it is ours again: see tl_rados_lease_unbroken */
    else if (rc == 0) {
        l->renewed_ns = n->began_ns;
        if (now_ns() - n->began_ns > third_ns(r)) /* the next one should have been sent long ago */
            send_renewal(r, l, false);
    } else if (gone && !l->again)
        atomic_store(&l->lost, true);
    else if (gone) {
        l->turn_known = false;
        send_renewal(r, l, true);
    }
}

static void on_renewed(rados_completion_t done, void *arg)
{
    struct renewal *n = arg;
    struct tl_rados *r = n->r;
    int rc = tl_rados_error(r->lib->aio_get_return_value(done));
    pthread_mutex_lock(&r->mutex);
    struct tl_rados_lease *l = r->leases;
    while (l != NULL && (strcmp(l->object.text, n->object.text) != 0 || strcmp(l->cookie, n->cookie) != 0))
        l = l->next;
    if (l != NULL)
        renewed(r, l, n, rc);
    r->renewing--;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
    free(n);
}

/* With the mutex, so that who lets go of it does so behind this. If it fails, the next time will do. */
static void send_renewal(struct tl_rados *r, struct tl_rados_lease *l, bool anew)
{
    rados_completion_t done;
    struct renewal *n = malloc(sizeof *n);
    if (n == NULL)
        return;
    *n = (struct renewal){.r = r, .object = l->object, .began_ns = now_ns(), .anew = anew};
    memcpy(n->cookie, l->cookie, sizeof n->cookie);
    if (r->lib->aio_create_completion2(n, on_renewed, &done) != 0) {
        free(n);
        return;
    }
    rados_write_op_t op = make_take(r, l, anew);
    l->renewing = true;
    r->renewing++;
    if (r->lib->aio_write_op_operate(op, r->meta, done, l->object.text, NULL, 0) != 0) {
        l->renewing = false;
        r->renewing--;
        free(n);
    }
    r->lib->release_write_op(op);
    r->lib->aio_release(done);
}

static void renew_all(struct tl_rados *r)
{
    for (struct tl_rados_lease *l = r->leases; l != NULL; l = l->next)
        if (!l->renewing)
            send_renewal(r, l, false);
}

/* Nobody can have taken them for dead before `since`: a renewal that was sent later found them, or their leases have not run out since one did. And as
 * long as a renewal goes on, the counter may not tell of a mark that was lost. */
static bool are_fresh(const struct tl_rados *r, uint64_t since_ns)
{
    uint64_t now = now_ns(), most = 2 * third_ns(r);
    for (const struct tl_rados_lease *l = r->leases; l != NULL; l = l->next)
        if (l->again && l->renewed_ns < since_ns && now - l->renewed_ns >= most)
            return false;
    return true;
}

/* Twice: a renewal that is on its way may have been sent long ago, to a placement group that was not there. */
int tl_rados_lease_unbroken(struct tl_rados *r, uint64_t interrupts)
{
    struct timespec end = tl_time_to_timespec((int64_t)(tl_time_mono_ns() + r->where.timeout_s * TL_NS_PER_S));
    uint64_t since = now_ns();
    pthread_mutex_lock(&r->mutex);
    for (unsigned tries = 0; tries < 2 && !are_fresh(r, since); tries++) {
        renew_all(r);
        while (!are_fresh(r, since) && r->renewing > 0 && pthread_cond_timedwait(&r->changed, &r->mutex, &end) == 0)
            ;
    }
    int rc = atomic_load(&r->interrupts) != interrupts ? -ESTALE : are_fresh(r, since) ? 0 : -ETIMEDOUT;
    pthread_mutex_unlock(&r->mutex);
    return rc;
}

static void *keeper(void *arg)
{
    struct tl_rados *r = arg;
    pthread_mutex_lock(&r->mutex);
    while (!r->closing) {
        uint64_t next = tl_time_mono_ns() + third_ns(r);
        struct timespec t = tl_time_to_timespec((int64_t)next);
        while (!r->closing && pthread_cond_timedwait(&r->changed, &r->mutex, &t) == 0)
            ;
        if (!r->closing)
            renew_all(r);
    }
    pthread_mutex_unlock(&r->mutex);
    return NULL;
}

int tl_rados_keeper_start(struct tl_rados *r)
{
    sigset_t all, before;
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
    if (exclusive) { /* who has lost it only because he could not renew it will have it back */
        int claimed = tl_rados_claimed(s, mark);
        if (claimed != 0)
            return claimed < 0 ? claimed : -EBUSY;
    }
    mine = malloc(sizeof *mine);
    if (mine == NULL)
        return -ENOMEM;
    *mine = l;
    int rc = tl_rados_lease_begin(r, mine);
    if (rc != 0)
        free(mine);
    return rc;
}

/* Takes the object away if nobody has the mark. */
static rados_write_op_t make_sweep(struct tl_rados *r)
{
    struct tl_rados_args a = tl_rados_lock_args("sweeper", true, 1, false);
    rados_write_op_t op = r->lib->create_write_op();
    r->lib->write_op_exec(op, "lock", "lock", (const char *)a.bytes, a.len, NULL);
    r->lib->write_op_remove(op);
    return op;
}

void tl_rados_unclaim(struct tl_store *s, uint64_t mark)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct tl_rados_lease l = mark_lease(r, mark, false), *mine = find(r, l.object.text);
    if (mine == NULL)
        return;
    tl_rados_lease_end(r, mine);
    (void)!tl_rados_write_op(r, make_sweep(r), mine->object.text); /* else another process has it */
    free(mine);
}

/* Whether somebody's lease has not run out. 1, 0, -ENOENT: there is no such object, -errno. */
static int is_locked(struct tl_rados *r, const char *object)
{
    char tag[64], clients[4096], cookies[4096], addrs[8192];
    size_t tag_len = sizeof tag, clients_len = sizeof clients, cookies_len = sizeof cookies, addrs_len = sizeof addrs;
    int exclusive;
    ssize_t n = r->lib->list_lockers(r->meta, object, TL_RADOS_LOCK, &exclusive, tag, &tag_len, clients, &clients_len,
                                     cookies, &cookies_len, addrs, &addrs_len);
    if (n == -ERANGE) /* so many that they do not fit */
        return 1;
    return n < 0 ? tl_rados_error((int)n) : n > 0;
}

/* If the placement group was not there for a while, leases ran out that could not be renewed, and what their owners have sent to renew them
 * arrives in a moment. So nobody is dead before two leases have passed since it was there again. */
int tl_rados_lease_taken(struct tl_rados *r, const char *object)
{
    int rc = is_locked(r, object);
    return rc == 0 && !tl_rados_pg_steady(r, object, 2 * r->where.lease_s) ? 1 : rc;
}

/* Who is taken for dead has no mark any more: its object goes, in one operation that fails if it was renewed meanwhile. */
int tl_rados_claimed(struct tl_store *s, uint64_t mark)
{
    struct tl_rados *r = (struct tl_rados *)s;
    struct tl_rados_lease l = mark_lease(r, mark, false);
    int rc = tl_rados_lease_taken(r, l.object.text);
    if (rc != 0)
        return rc == -ENOENT ? 0 : rc;
    rc = r->read_only ? 0 : tl_rados_write_op(r, make_sweep(r), l.object.text);
    return rc == -EBUSY || rc == -EEXIST ? 1 : rc == -ENOENT ? 0 : rc; /* somebody was faster */
}

/* Renewals end by themselves, and librados must not be shut down under them. */
static void wait_for_renewals(struct tl_rados *r)
{
    struct timespec t = tl_time_to_timespec((int64_t)(tl_time_mono_ns() + r->where.timeout_s * TL_NS_PER_S));
    pthread_mutex_lock(&r->mutex);
    while (r->renewing > 0 && pthread_cond_timedwait(&r->changed, &r->mutex, &t) == 0)
        ;
    pthread_mutex_unlock(&r->mutex);
}

/* Lets go of it, and takes its object away; waits for neither. What is sent for one object is carried out in this order. *NULL: there is
 * nothing to wait for. */
static rados_completion_t send_end(struct tl_rados *r, const struct tl_rados_lease *l)
{
    struct tl_rados_args a = tl_rados_unlock_args(l->cookie);
    rados_write_op_t ops[2] = {r->lib->create_write_op(), make_sweep(r)};
    rados_completion_t last = NULL;
    r->lib->write_op_exec(ops[0], "lock", "unlock", (const char *)a.bytes, a.len, NULL);
    for (unsigned i = 0; i < 2; i++) {
        rados_completion_t done;
        bool wanted = i == 0 || l != &r->open;
        if (wanted && r->lib->aio_create_completion2(NULL, NULL, &done) == 0) {
            bool sent = r->lib->aio_write_op_operate(ops[i], r->meta, done, l->object.text, NULL, 0) == 0;
            if (sent && last != NULL)
                r->lib->aio_release(last);
            else if (!sent)
                r->lib->aio_release(done);
            last = sent ? done : last;
        }
        r->lib->release_write_op(ops[i]);
    }
    return last;
}

#define END_AT_ONCE 32u

void tl_rados_keeper_stop(struct tl_rados *r)
{
    rados_completion_t done[END_AT_ONCE];
    pthread_mutex_lock(&r->mutex);
    r->closing = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
    if (r->keeper_runs)
        pthread_join(r->keeper, NULL);
    while (r->leases != NULL) { /* many at once: some may have to wait for their timeout */
        unsigned count = 0;
        while (r->leases != NULL && count < END_AT_ONCE) {
            struct tl_rados_lease *l = r->leases;
            tl_rados_lease_drop(r, l);
            done[count] = send_end(r, l);
            count += done[count] != NULL;
            if (l != &r->open)
                free(l);
        }
        for (unsigned i = 0; i < count; i++) {
            r->lib->aio_wait_for_complete(done[i]);
            r->lib->aio_release(done[i]);
        }
    }
    wait_for_renewals(r);
}
