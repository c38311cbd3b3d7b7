// SPDX-License-Identifier: Apache-2.0
/* Locks of containers, by name, and the values that go with them. A lock is an object: a lock of the class `lock` (a lease), and two
 * xattrs: the value, and the turn, which every exclusive holder changes when he takes the lock and when he lets go of it.
 *
 *   turn   D: held, or its holder died; V: the value is valid; N: it is not. Then who wrote it, so that no two are equal.
 *
 * Taking: read turn and value; then one operation takes the lock, compares the turn with what was read, and writes D. Letting go: one operation
 * asserts that the lock is still ours, writes turn and value, and unlocks. So whoever gets the lock and reads D knows that somebody died, and
 * a holder whose lease has ended, and whom another one has followed, writes nothing any more: renewals compare the turn, too. Who reads D follows only
 * if the holder can be taken for dead (rados_lease.c).
 *
 * Waiters watch the object; who lets go tells them. They look again each second, since who dies tells nobody. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/time.h"
#include "store/rados.h"

#define AGAIN_NS    TL_NS_PER_S
#define VALUE_BYTES 56u
#define TRIES       16u /* when others are faster each time; then it counts as busy */

struct tl_store_lock {
    struct tl_rados_lease lease;
    bool was_valid;
};

struct about { /* what the object says */
    char turn[TL_RADOS_TURN_BYTES];
    size_t turn_len;
    uint8_t value[VALUE_BYTES];
    size_t value_len;
};

/* ---- the object ---- */

static int take_about(struct tl_rados *r, rados_xattrs_iter_t iter, struct about *a)
{
    const char *name, *bytes;
    size_t len;
    while (r->lib->getxattrs_next(iter, &name, &bytes, &len) == 0 && name != NULL) {
        if (strcmp(name, TL_RADOS_TURN) == 0 && len > 0 && len <= sizeof a->turn) {
            memcpy(a->turn, bytes, len);
            a->turn_len = len;
        } else if (strcmp(name, "value") == 0 && len == VALUE_BYTES) {
            memcpy(a->value, bytes, len);
            a->value_len = len;
        }
    }
    return a->turn_len > 0 && (a->turn[0] != 'V' || a->value_len > 0) ? 0 : -EBADMSG;
}

static int look(struct tl_rados *r, const char *object, struct about *a)
{
    rados_xattrs_iter_t iter = NULL;
    int rc_iter = 0;
    *a = (struct about){.turn_len = 0};
    rados_read_op_t op = r->lib->create_read_op();
    r->lib->read_op_getxattrs(op, &iter, &rc_iter);
    int rc = tl_rados_read_op(r, op, object);
    rc = rc == 0 ? tl_rados_error(rc_iter) : rc;
    rc = rc == 0 ? take_about(r, iter, a) : rc;
    if (iter != NULL)
        r->lib->getxattrs_end(iter);
    return rc;
}

static size_t make_turn(const struct tl_store_lock *l, char state, char out[TL_RADOS_TURN_BYTES])
{
    return (size_t)snprintf(out, TL_RADOS_TURN_BYTES, "%c%s", state, l->lease.cookie);
}

/* The object has a turn from its beginning on. */
static int make(struct tl_rados *r, const struct tl_store_lock *l)
{
    char turn[TL_RADOS_TURN_BYTES];
    size_t len = make_turn(l, 'N', turn);
    rados_write_op_t op = r->lib->create_write_op();
    r->lib->write_op_create(op, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    r->lib->write_op_setxattr(op, TL_RADOS_TURN, turn, len);
    int rc = tl_rados_write_op(r, op, l->lease.object.text);
    return rc == -EEXIST ? 0 : rc;
}

static void exec_lock(struct tl_rados *r, rados_write_op_t op, const struct tl_store_lock *l)
{
    struct tl_rados_args a = tl_rados_lock_args(l->lease.cookie, l->lease.exclusive, r->where.lease_s, false);
    r->lib->write_op_exec(op, "lock", "lock", (const char *)a.bytes, a.len, NULL);
}

/* 0; -EBUSY: somebody has it; -ECANCELED: somebody had it since we looked. */
static int take_exclusive(struct tl_rados *r, struct tl_store_lock *l, const struct about *seen)
{
    l->lease.turn_len = make_turn(l, 'D', l->lease.turn);
    rados_write_op_t op = r->lib->create_write_op();
    r->lib->write_op_assert_exists(op);
    exec_lock(r, op, l);
    r->lib->write_op_cmpxattr(op, TL_RADOS_TURN, LIBRADOS_CMPXATTR_OP_EQ, seen->turn, seen->turn_len);
    r->lib->write_op_setxattr(op, TL_RADOS_TURN, l->lease.turn, l->lease.turn_len);
    return tl_rados_write_op(r, op, l->lease.object.text);
}

static int take_shared(struct tl_rados *r, struct tl_store_lock *l, struct about *about)
{
    rados_write_op_t op = r->lib->create_write_op();
    r->lib->write_op_assert_exists(op);
    exec_lock(r, op, l);
    int rc = tl_rados_write_op(r, op, l->lease.object.text);
    rc = rc == 0 ? look(r, l->lease.object.text, about) : rc;
    l->lease.turn_len = about->turn_len;
    memcpy(l->lease.turn, about->turn, about->turn_len);
    return rc;
}

/* ---- taking ---- */

/* 0, -EAGAIN, -errno */
static int try(struct tl_rados *r, struct tl_store_lock *l, struct tl_store_lock_value *value)
{
    struct about a;
    const char *object = l->lease.object.text;
    int rc = -ECANCELED;
    for (unsigned i = 0; i < TRIES && (rc == -ECANCELED || rc == -ENOENT); i++) {
        rc = look(r, object, &a);
        if (rc == -ENOENT && (rc = make(r, l)) == 0)
            rc = look(r, object, &a);
        if (rc == 0 && a.turn[0] == 'D' && (rc = tl_rados_lease_taken(r, object)) == 1)
            return -EAGAIN;
        if (rc == 0)
            rc = l->lease.exclusive ? take_exclusive(r, l, &a) : take_shared(r, l, &a);
    }
    if (rc != 0)
        return rc == -EBUSY || rc == -ECANCELED ? -EAGAIN : rc;
    l->lease.turn_known = true;
    l->was_valid = a.turn[0] == 'V';
    *value = (struct tl_store_lock_value){.valid = l->was_valid};
    if (value->valid) {
        value->epoch = tl_get_u64(a.value);
        memcpy(value->user, a.value + 8, sizeof value->user);
    }
    return 0;
}

static void sleep_until(struct tl_rados *r, uint32_t seen, uint64_t until_ns)
{
    struct timespec t = tl_time_to_timespec((int64_t)until_ns);
    int rc = 0;
    pthread_mutex_lock(&r->mutex);
    while (rc == 0 && atomic_load(&r->let_go) == seen)
        rc = pthread_cond_timedwait(&r->changed, &r->mutex, &t);
    pthread_mutex_unlock(&r->mutex);
}

static int wait_for(struct tl_rados *r, struct tl_store_lock *l, int timeout_ms, const _Atomic int *stop,
                    struct tl_store_lock_value *value)
{
    struct tl_rados_watch *watch = NULL;
    uint64_t end = UINT64_MAX;
    int rc;
    if (timeout_ms >= 0)
        end = tl_time_mono_ns() + (unsigned)timeout_ms * TL_NS_PER_MS;
    for (;;) {
        uint32_t seen = atomic_load(&r->let_go);
        rc = try(r, l, value);
        if (rc != -EAGAIN || timeout_ms == 0)
            break;
        uint64_t now = tl_time_mono_ns();
        rc = stop != NULL && atomic_load(stop) != 0 ? -ECANCELED : now >= end ? -ETIMEDOUT : 0;
        if (rc != 0)
            break;
        if (watch == NULL) /* when it has begun, let_go says so: it may have been let go of before */
            watch = tl_rados_watch_lock(r, &l->lease.object);
        sleep_until(r, seen, end - now < AGAIN_NS ? end : now + AGAIN_NS);
    }
    tl_rados_watch_end(watch);
    return rc;
}

int tl_rados_lock(struct tl_store *s, const struct tl_store_id *id, struct tl_slice name, bool exclusive,
                  int timeout_ms, const _Atomic int *stop, struct tl_store_lock **out,
                  struct tl_store_lock_value *value)
{
    struct tl_rados *r = (struct tl_rados *)s;
    if (name.len == 0 || name.len > TL_STORE_KEY_MAX)
        return -EINVAL;
    if (r->read_only)
        return -EROFS;
    struct tl_store_lock *l = calloc(1, sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    struct tl_hash hash = tl_hash_bytes(name.at, name.len, 0x6c6f636b);
    l->lease.object = tl_rados_state_name(id); /* l.CONT.HASH */
    l->lease.object.text[0] = 'l';
    size_t at = strlen(l->lease.object.text);
    snprintf(l->lease.object.text + at, sizeof l->lease.object.text - at, ".%016llx%016llx",
             (unsigned long long)hash.hi, (unsigned long long)hash.lo);
    snprintf(l->lease.cookie, sizeof l->lease.cookie, "%016llx.%llx", (unsigned long long)r->writer,
             (unsigned long long)atomic_fetch_add(&r->cookies, 1));
    l->lease.exclusive = exclusive;
    int rc = wait_for(r, l, timeout_ms, stop, value);
    if (rc != 0) {
        free(l);
        return rc;
    }
    tl_rados_lease_keep(r, &l->lease);
    *out = l;
    return 0;
}

/* ---- letting go ---- */

static int leave(struct tl_rados *r, const struct tl_store_lock *l, const struct tl_store_lock_value *value)
{
    struct tl_rados_args ours = tl_rados_assert_args(l->lease.cookie, true),
                         unlock = tl_rados_unlock_args(l->lease.cookie);
    char turn[TL_RADOS_TURN_BYTES];
    uint8_t bytes[VALUE_BYTES];
    size_t len = make_turn(l, (value != NULL ? value->valid : l->was_valid) ? 'V' : 'N', turn);
    rados_write_op_t op = r->lib->create_write_op();
    r->lib->write_op_exec(op, "lock", "assert_locked", (const char *)ours.bytes, ours.len, NULL);
    r->lib->write_op_setxattr(op, TL_RADOS_TURN, turn, len);
    if (value != NULL) {
        tl_put_u64(bytes, value->epoch);
        memcpy(bytes + 8, value->user, sizeof value->user);
        r->lib->write_op_setxattr(op, "value", (const char *)bytes, sizeof bytes);
    }
    r->lib->write_op_exec(op, "lock", "unlock", (const char *)unlock.bytes, unlock.len, NULL);
    int rc = tl_rados_write_op(r, op, l->lease.object.text);
    return rc == -EBUSY || rc == -ENOENT ? -ESTALE : rc; /* the lease has ended */
}

int tl_rados_unlock(struct tl_store *s, struct tl_store_lock *l, const struct tl_store_lock_value *value)
{
    struct tl_rados *r = (struct tl_rados *)s;
    int rc = 0;
    tl_rados_lease_drop(r, &l->lease);
    if (l->lease.exclusive)
        rc = leave(r, l, value);
    else
        (void)r->lib->unlock(r->meta, l->lease.object.text, TL_RADOS_LOCK, l->lease.cookie);
    atomic_fetch_add(&r->let_go, 1);
    tl_rados_announce(r);
    tl_rados_tell(r, l->lease.object.text, "", 0);
    free(l);
    return rc;
}
