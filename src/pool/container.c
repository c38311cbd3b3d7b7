// SPDX-License-Identifier: Apache-2.0
/* Containers: handles, and the state behind them as this process knows it.
 *
 * Each process that has a handle has two marks: one (store.h) made of the handle's UUID, from before the handle is in the state: who finds
 * a handle without it knows that its processes have ended, and closes it for them. And one made of the handle's number, for as long as it may still
 * write a record: aggregation forgets no tombstone before that. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "pool/internal.h"

static uint64_t mark_of(const uint64_t uuid[2])
{
    return uuid[0];
}

uint64_t tl_writer_mark(const struct tl_cont *c, uint32_t handle)
{
    return tl_hash64(c->id.bytes, sizeof c->id.bytes, handle);
}

/* What it was opened with. */
static unsigned flags_of(const struct tl_epoch_handle *h)
{
    return ((h->capas & TL_EPOCH_WRITE) != 0 ? TIERCEL_RW : TIERCEL_RO) |
           ((h->capas & TL_EPOCH_NOSLIP) != 0 ? TIERCEL_NOSLIP : 0);
}

/* ---- handles of all processes ---- */

static int close_one(struct tl_shared *s, const struct tl_store_id *id, struct tl_state *state, uint32_t handle)
{
    struct tl_epoch_op op = {.type = TL_EPOCH_CLOSE, .handle = handle};
    struct tl_epoch_effects effects;
    int rc = tl_state_apply(state, s->store, id, &op, &effects);
    return rc == -EBADF ? 0 : rc; /* somebody was quicker */
}

int tl_handle_ended(struct tl_shared *s, const uint64_t *uuid)
{
    int claimed = s->store->ops->claimed(s->store, mark_of(uuid));
    return claimed < 0 ? claimed : claimed == 0;
}

int tl_handles_close(struct tl_shared *s, const struct tl_store_id *id, bool dead)
{
    struct tl_state now = {.epochs.handles = NULL}, next = {.epochs.handles = NULL};
    int closed = 0, rc = s->read_only ? -EROFS : tl_lost_load(&now, s, id);
    for (uint32_t i = 0; rc == 0 && i < now.epochs.handle_count; i++) {
        const struct tl_epoch_handle *h = &now.epochs.handles[i];
        int close = dead ? tl_handle_ended(s, h->uuid) : 1;
        if (close < 0)
            rc = close;
        else if (close == 1)
            rc = close_one(s, id, &next, h->id);
        closed += close == 1;
    }
    tl_state_fini(&now);
    tl_state_fini(&next);
    return rc == 0 || rc == -EROFS ? closed : rc;
}

int tl_cont_reap(struct tl_cont *c)
{
    c->loaded = false; /* whoever has changed it last may have died before he told of it */
    return tl_handles_close(c->pool->shared, &c->id, true);
}

int tl_cont_evict(struct tl_pool *p, const char *name, struct tl_error *err)
{
    struct tl_listed l;
    int rc = tl_pool_alive(p, true);
    rc = rc == 0 ? tl_registry_find(p, name, &l) : rc;
    if (rc == -EBADMSG || rc == -ETIMEDOUT)
        return tl_lost_pool(p->shared, rc, err);
    rc = rc == 0 ? tl_handles_close(p->shared, &l.id, false) : rc;
    if (rc == -ENOENT)
        return tl_error_set(err, rc, "there is no container %s in pool %s; see: tiercel cont list %s", name,
                            p->shared->path, p->shared->path);
    struct tl_lost_text why;
    return rc >= 0 ? rc
                   : tl_error_set(err, rc, "container %s: not all handles could be closed: %s", name,
                                  tl_lost_why(p->shared, rc, &why));
}

/* ---- opening ---- */

static void enter(struct tl_cont *c)
{
    struct tl_shared *s = c->pool->shared;
    c->next = s->conts;
    s->conts = c;
    c->pool->refs++;
    s->refs++;
}

static int open_handle(struct tl_cont *c, uint32_t more)
{
    struct tl_shared *s = c->pool->shared;
    struct tl_epoch_op op = {.type = TL_EPOCH_OPEN};
    if (s->read_only)
        return 0;
    if (getrandom(c->uuid, sizeof c->uuid, 0) != sizeof c->uuid)
        return -errno;
    op.uuid[0] = c->uuid[0];
    op.uuid[1] = c->uuid[1];
    op.capas = ((c->flags & TIERCEL_RW) != 0 ? TL_EPOCH_WRITE : 0) |
               ((c->flags & TIERCEL_NOSLIP) != 0 ? TL_EPOCH_NOSLIP : 0) | more;
    int rc = tl_shared_claim(s, mark_of(c->uuid), false);
    if (rc != 0)
        return rc;
    rc = tl_cont_apply(c, &op);
    c->handle = rc == 0 ? op.handle : 0;
    rc = rc == 0 ? tl_shared_claim(s, tl_writer_mark(c, c->handle), false) : rc;
    if (rc != 0)
        tl_shared_unclaim(s, mark_of(c->uuid)); /* who looks next closes the handle */
    return rc;
}

static struct tl_cont *new_cont(struct tl_pool *p, const struct tl_store_id *id, const char *name, unsigned flags)
{
    struct tl_cont *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->pool = p;
    c->id = *id;
    c->flags = flags;
    c->pending = c->lost = TL_EPOCH_MAX;
    snprintf(c->name, sizeof c->name, "%s", name);
    return c;
}

static void free_cont(struct tl_cont *c)
{
    tl_state_fini(&c->state);
    free(c->unsettled.slots);
    free(c);
}

static int open_failed(struct tl_error *err, int rc, const struct tl_pool *p, const char *name)
{
    const char *path = p->shared->path;
    struct tl_lost_text why;
    switch (rc) {
    case -ENOENT:
        return tl_error_set(err, rc, "there is no container %s in pool %s; see: tiercel cont list %s", name, path,
                            path);
    case -EACCES:
        return tl_error_set(err, rc, "container %s cannot be opened for writing: pool %s was connected for reading",
                            name, path);
    case -EBADF:
        return tl_error_set(err, rc, "container %s: pool %s is not connected any more; connect anew", name, path);
    default:
        return tl_error_set(err, rc, "container %s in pool %s cannot be opened: %s", name, path,
                            tl_lost_why(p->shared, rc, &why));
    }
}

/* more: capas that flags cannot ask for. */
static int open_as(struct tl_cont **out, struct tl_pool *p, const char *name, unsigned flags, uint32_t more,
                   struct tl_error *err)
{
    struct tl_listed l;
    struct tl_cont *c = NULL;
    unsigned access = flags & ~TIERCEL_NOSLIP;
    if (access != TIERCEL_RO && access != TIERCEL_RW)
        return tl_error_set(err, -EINVAL, "container %s: open it for reading or for writing", name);
    int rc = tl_pool_alive(p, access == TIERCEL_RW);
    rc = rc == 0 ? tl_registry_find(p, name, &l) : rc;
    if (rc == -EBADMSG || rc == -ETIMEDOUT)
        return tl_lost_pool(p->shared, rc, err);
    if (rc == 0) {
        int reaped = tl_handles_close(p->shared, &l.id, true);
        c = new_cont(p, &l.id, name, flags);
        rc = reaped < 0 ? reaped : c == NULL ? -ENOMEM : open_handle(c, more);
        rc = rc == 0 ? tl_cont_refresh(c) : rc;
    }
    if (rc == 0) {
        enter(c);
        *out = c;
        return 0;
    }
    if (c != NULL)
        free_cont(c);
    return open_failed(err, rc, p, name);
}

int tl_cont_open(struct tl_cont **out, struct tl_pool *p, const char *name, unsigned flags, struct tl_error *err)
{
    return open_as(out, p, name, flags, 0, err);
}

int tl_cont_open_keeping(struct tl_cont **out, struct tl_pool *p, const char *name, struct tl_error *err)
{
    return open_as(out, p, name, TIERCEL_RO, TL_EPOCH_KEEP, err);
}

int tl_cont_open_snapshot(struct tl_cont **out, struct tl_pool *p, const char *name, uint64_t epoch,
                          struct tl_error *err)
{
    struct tl_cont *c;
    int rc = tl_cont_open(&c, p, name, TIERCEL_RO, err);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < c->state.epochs.snapshot_count; i++) {
        if (c->state.epochs.snapshots[i] == epoch) {
            c->at = epoch;
            *out = c;
            return 0;
        }
    }
    rc = tl_error_set(err, -ENOENT, "container %s has no snapshot %llu; see: tiercel cont snap list", name,
                      (unsigned long long)epoch);
    tl_cont_drop(c);
    return rc;
}

/* ---- closing ---- */

int tl_cont_revoke(struct tl_cont *c)
{
    struct tl_shared *s = c->pool->shared;
    int rc = 0;
    if (c->closed)
        return 0;
    c->closed = true;
    if (c->handle != 0 && !c->attached) {
        struct tl_epoch_op op = {.type = TL_EPOCH_CLOSE, .handle = c->handle};
        rc = tl_cont_apply(c, &op);
        rc = rc == -EBADF || rc == -ENOENT ? 0 : rc; /* evicted, destroyed */
    }
    if (c->handle != 0)
        tl_shared_unclaim(s, mark_of(c->uuid)); /* if the handle could not be closed, the next who looks does it */
    s->store->ops->wake(s->store, &c->id);      /* who waits through it */
    return rc;
}

int tl_cont_drop(struct tl_cont *c)
{
    struct tl_shared *s = c->pool->shared;
    if (c->attached && !c->closed)
        (void)!tl_cont_refresh(c); /* whether it is gone */
    int rc = tl_cont_revoke(c);
    if (c->gone && c->handle != 0 && (c->flags & TIERCEL_RW) != 0)
        (void)!tl_registry_sweep(s, &c->id); /* else a check of the pool is needed to find that space */
    for (struct tl_cont **at = &s->conts; *at != NULL; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            break;
        }
    }
    if (c->handle != 0 && !s->unflushed) /* else a record of it may still be on its way, and the mark stays */
        tl_shared_unclaim(s, tl_writer_mark(c, c->handle));
    tl_pool_unref(c->pool);
    free_cont(c);
    s->refs--;
    return rc;
}

int tl_cont_close(struct tl_cont *c)
{
    if (c == NULL)
        return 0;
    struct tl_shared *s = c->pool->shared;
    pthread_mutex_lock(&s->mutex);
    s->refs++; /* what release takes */
    int rc = tl_cont_drop(c);
    tl_shared_release(s);
    return rc;
}

/* ---- the state ---- */

int tl_cont_refresh(struct tl_cont *c)
{
    if (c->gone || c->closed)
        return c->gone ? -ENOENT : -EBADF;
    int rc = tl_state_refresh(&c->state, c->pool->shared->store, &c->id, &c->seen, !c->loaded);
    if (rc < 0) {
        c->loaded = false; /* a state that was read in part */
        rc = rc == -ENOENT ? tl_lost_missing(c->pool->shared, &c->id) : rc;
        c->gone = rc == -ENOENT;
        return rc;
    }
    c->loaded = true;
    return c->handle != 0 && tl_epochs_handle(&c->state.epochs, c->handle) == NULL ? -EBADF : 0;
}

/* What an operation did not find: the container, or what it was about. */
static int missing(struct tl_cont *c)
{
    struct tl_shared *s = c->pool->shared;
    struct tl_state now = {.epochs.handles = NULL};
    int rc = tl_state_load(&now, s->store, &c->id);
    tl_state_fini(&now);
    if (rc != -ENOENT)
        return rc == 0 ? -ENOENT : rc;
    rc = tl_lost_missing(s, &c->id);
    c->gone |= rc == -ENOENT;
    return rc;
}

int tl_cont_apply(struct tl_cont *c, struct tl_epoch_op *op)
{
    struct tl_shared *s = c->pool->shared;
    struct tl_epoch_effects effects;
    int rc = tl_state_apply(&c->state, s->store, &c->id, op, &effects);
    c->loaded = false; /* the number of changes that belongs to it is not known */
    return rc == -ENOENT ? missing(c) : rc;
}

int tl_cont_query(struct tl_cont *c, struct tiercel_cont_info *out)
{
    char uuid[37];
    struct tl_listed l;
    int rc = tl_cont_reap(c);
    rc = rc < 0 ? rc : tl_cont_refresh(c);
    tl_uuid_text(c->id.bytes, uuid);
    rc = rc == 0 ? tl_registry_find(c->pool, uuid, &l) : rc;
    if (rc == 0)
        tl_cont_info_of(&l, &c->state.epochs, out);
    return rc;
}

struct tl_pool *tl_cont_pool(const struct tl_cont *c)
{
    return c->pool;
}

const char *tl_cont_name(const struct tl_cont *c)
{
    return c->name;
}

/* ---- the handle for other processes ---- */

#define GLOBAL_MAGIC 0x31544e4f434c5400ull /* "\0TLCONT1" */
#define GLOBAL_HEAD  52u /* magic, flags, handle, UUID of the handle, of the container; then the name */

int tl_cont_local2global(struct tl_cont *c, void *buf, size_t *len)
{
    size_t name = strlen(c->name) + 1, need = GLOBAL_HEAD + name, room = *len;
    int rc = tl_cont_refresh(c);
    if (rc == 0 && c->handle == 0)
        rc = -EROFS;
    if (rc != 0)
        return rc;
    *len = need;
    if (buf == NULL || room < need)
        return buf == NULL ? 0 : -ENOBUFS;
    uint8_t *b = buf;
    tl_put_u64(b, GLOBAL_MAGIC);
    tl_put_u32(b + 8, c->flags);
    tl_put_u32(b + 12, c->handle);
    tl_put_u64(b + 16, c->uuid[0]);
    tl_put_u64(b + 24, c->uuid[1]);
    memcpy(b + 32, c->id.bytes, 16);
    tl_put_u32(b + 48, 0);
    memcpy(b + GLOBAL_HEAD, c->name, name);
    return 0;
}

/* Marks first, so that nobody takes the handle for one whose processes have ended; then a look whether it is still open. */
static int attach(struct tl_cont *c)
{
    struct tl_shared *s = c->pool->shared;
    int rc = tl_shared_claim(s, mark_of(c->uuid), false);
    if (rc != 0)
        return rc;
    rc = tl_shared_claim(s, tl_writer_mark(c, c->handle), false);
    if (rc == 0) {
        rc = c->handle == 0 ? -EBADF : tl_cont_refresh(c);
        const struct tl_epoch_handle *h = rc == 0 ? tl_epochs_handle(&c->state.epochs, c->handle) : NULL;
        if (rc == 0 && (h->uuid[0] != c->uuid[0] || h->uuid[1] != c->uuid[1] || flags_of(h) != c->flags))
            rc = -EBADF;
        if (rc != 0)
            tl_shared_unclaim(s, tl_writer_mark(c, c->handle));
    }
    if (rc != 0)
        tl_shared_unclaim(s, mark_of(c->uuid));
    return rc;
}

int tl_cont_global2local(struct tl_cont **out, struct tl_pool *p, const void *buf, size_t len, struct tl_error *err)
{
    const uint8_t *b = buf;
    struct tl_store_id id;
    if (len < GLOBAL_HEAD + 2 || len > GLOBAL_HEAD + TIERCEL_LABEL_MAX + 1 || tl_get_u64(b) != GLOBAL_MAGIC ||
        b[len - 1] != 0 || strlen((const char *)b + GLOBAL_HEAD) != len - GLOBAL_HEAD - 1)
        return tl_error_set(err, -EINVAL, "these bytes are no container's global handle");
    const char *name = (const char *)b + GLOBAL_HEAD;
    memcpy(id.bytes, b + 32, 16);
    int rc = tl_pool_alive(p, (tl_get_u32(b + 8) & TIERCEL_RW) != 0);
    struct tl_cont *c = rc == 0 ? new_cont(p, &id, name, tl_get_u32(b + 8)) : NULL;
    if (c == NULL)
        return open_failed(err, rc == 0 ? -ENOMEM : rc, p, name);
    c->attached = true;
    c->uuid[0] = tl_get_u64(b + 16);
    c->uuid[1] = tl_get_u64(b + 24);
    c->handle = tl_get_u32(b + 12);
    rc = attach(c);
    if (rc == 0) {
        enter(c);
        *out = c;
        return 0;
    }
    free_cont(c);
    if (rc == -EBADF)
        return tl_error_set(err, rc, "container %s: the handle was closed or evicted; have it opened and sent again",
                            name);
    return open_failed(err, rc, p, name);
}
