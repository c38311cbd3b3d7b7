// SPDX-License-Identifier: Apache-2.0
/* Epochs of a container through a handle, and what this process has written and not flushed.
 *
 * A store finds what was flushed and taken over (store.h); a program expects to read what it has just written. So we remember the hashes of what was
 * written since, and a read of one of these, above GHCE, flushes first: reads of other things, and of what is committed, never do. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/internal.h"

#define NAMES_MAX (1u << 20)

/* ---- what a scan may not find yet ---- */

uint64_t tl_thing_hash(struct tiercel_oid oid, const struct tiercel_bytes *dkey)
{
    uint64_t h = tl_hash64(dkey->at, dkey->len, tl_hash64(&oid, sizeof oid, 1));
    return h == 0 ? 1 : h; /* 0: an empty slot */
}

static void names_clear(struct tl_names *n)
{
    free(n->slots);
    *n = (struct tl_names){.slots = NULL};
}

/* All reads flush first from now on. */
static void names_all(struct tl_names *n)
{
    names_clear(n);
    n->all = true;
}

static bool names_has(const struct tl_names *n, uint64_t hash)
{
    if (n->all || n->room == 0)
        return n->all;
    for (size_t i = hash % n->room; n->slots[i] != 0; i = (i + 1) % n->room)
        if (n->slots[i] == hash)
            return true;
    return false;
}

static void put_slot(uint64_t *slots, size_t room, uint64_t hash)
{
    size_t i = hash % room;
    while (slots[i] != 0)
        i = (i + 1) % room;
    slots[i] = hash;
}

static void names_add(struct tl_names *n, uint64_t hash)
{
    if (names_has(n, hash))
        return;
    if (2 * (n->count + 1) > n->room) {
        size_t room = n->room == 0 ? 64 : n->room * 2;
        uint64_t *grown = room > NAMES_MAX ? NULL : calloc(room, sizeof *grown);
        if (grown == NULL) {
            names_all(n);
            return;
        }
        for (size_t i = 0; i < n->room; i++)
            if (n->slots[i] != 0)
                put_slot(grown, room, n->slots[i]);
        free(n->slots);
        n->slots = grown;
        n->room = room;
    }
    put_slot(n->slots, n->room, hash);
    n->count++;
}

void tl_cont_wrote(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, const struct tiercel_bytes *dkey)
{
    struct tl_shared *s = c->pool->shared;
    if (dkey != NULL)
        names_add(&c->unsettled, tl_thing_hash(oid, dkey));
    else
        names_all(&c->unsettled); /* whatever is read of the object */
    c->pending = epoch < c->pending ? epoch : c->pending;
    s->unflushed = s->unsettled = true;
}

/* What was written is lost: no epoch from the lowest of it on can be committed, by whichever process, until it is discarded. */
static void lose(struct tl_cont *c)
{
    if (c->pending == TL_EPOCH_MAX)
        return;
    c->lost = c->pending < c->lost ? c->pending : c->lost;
    c->pending = TL_EPOCH_MAX;
}

/* Makes known to the state what was lost. */
static int confess(struct tl_cont *c)
{
    int rc = 0;
    for (int tries = 0; c->lost != TL_EPOCH_MAX && tries < 4; tries++) {
        struct tl_epoch_op op = {.type = TL_EPOCH_FAIL, .handle = c->handle, .epoch = c->lost};
        rc = tl_cont_apply(c, &op);
        if (rc == 0)
            c->lost = TL_EPOCH_MAX;
        if (rc != -EROFS)
            break;
        /* The hold was raised since: what was lost below it is discarded. What is above may be lost, too. */
        c->lost = tl_epochs_handle(&c->state.epochs, c->handle)->lhe;
        rc = 0;
    }
    return rc;
}

int tl_shared_flush(struct tl_shared *s)
{
    if (!s->unflushed)
        return 0;
    int rc = s->store->ops->flush(s->store);
    s->unflushed = false; /* what is lost need not be flushed again */
    s->lost_flushes += rc != 0;
    for (struct tl_cont *c = s->conts; c != NULL; c = c->next) {
        if (rc != 0) {
            lose(c);
            if (!c->closed && confess(c) != 0)
                continue; /* told before the next commit */
        }
        c->pending = TL_EPOCH_MAX;
    }
    return rc;
}

static int nothing(void *ctx, struct tl_store_tx *tx)
{
    (void)ctx;
    (void)tx;
    return 0;
}

int tl_cont_settle(struct tl_cont *c)
{
    struct tl_shared *s = c->pool->shared;
    if (!s->unsettled)
        return 0;
    int rc = tl_shared_flush(s);
    rc = rc == 0 ? s->store->ops->change(s->store, &c->id, nothing, NULL) : rc;
    if (rc != 0)
        return rc;
    for (struct tl_cont *each = s->conts; each != NULL; each = each->next)
        names_clear(&each->unsettled);
    s->unsettled = false;
    return 0;
}

/* Through whichever handle of this process it was written. */
static bool is_unsettled(const struct tl_cont *c, uint64_t thing)
{
    for (const struct tl_cont *each = c->pool->shared->conts; each != NULL; each = each->next)
        if (memcmp(&each->id, &c->id, sizeof c->id) == 0 && names_has(&each->unsettled, thing))
            return true;
    return false;
}

int tl_cont_settle_for(struct tl_cont *c, uint64_t epoch, uint64_t thing)
{
    if (!c->pool->shared->unsettled || epoch <= c->state.epochs.ghce || !is_unsettled(c, thing))
        return 0;
    return tl_cont_settle(c);
}

/* Hashes of what is known of an akey: it has a single value; it is an array; of this record size; of several. */
enum { SINGLE = 1, ARRAY, SIZED, MIXED };

static uint64_t akey_hash(uint64_t thing, struct tiercel_bytes akey, unsigned what, uint64_t size)
{
    uint64_t h = tl_hash64(akey.at, akey.len, thing + what + 8 * size);
    return h == 0 ? 1 : h;
}

void tl_cont_wrote_kind(struct tl_cont *c, struct tiercel_oid oid, struct tiercel_bytes dkey,
                        const struct tiercel_io *io)
{
    uint64_t thing = tl_thing_hash(oid, &dkey), size = io->record_size;
    if (io->extents == NULL) {
        names_add(&c->unsettled, akey_hash(thing, io->akey, SINGLE, 0));
    } else if (!is_unsettled(c, akey_hash(thing, io->akey, SIZED, size))) {
        if (is_unsettled(c, akey_hash(thing, io->akey, ARRAY, 0))) /* it was punched in between */
            names_add(&c->unsettled, akey_hash(thing, io->akey, MIXED, 0));
        names_add(&c->unsettled, akey_hash(thing, io->akey, ARRAY, 0));
        names_add(&c->unsettled, akey_hash(thing, io->akey, SIZED, size));
    }
}

int tl_cont_settle_kind(struct tl_cont *c, struct tiercel_oid oid, struct tiercel_bytes dkey,
                        const struct tiercel_io *io)
{
    if (!c->pool->shared->unsettled)
        return 0;
    uint64_t thing = tl_thing_hash(oid, &dkey);
    bool other = is_unsettled(c, akey_hash(thing, io->akey, SINGLE, 0)) ||
                 is_unsettled(c, akey_hash(thing, io->akey, MIXED, 0)) ||
                 (is_unsettled(c, akey_hash(thing, io->akey, ARRAY, 0)) &&
                  !is_unsettled(c, akey_hash(thing, io->akey, SIZED, io->record_size)));
    return other ? tl_cont_settle(c) : 0;
}

/* After a transaction of the state that followed a flush, all that was flushed is found. */
static void settled(struct tl_cont *c)
{
    struct tl_shared *s = c->pool->shared;
    if (s->unflushed)
        return;
    for (struct tl_cont *each = s->conts; each != NULL; each = each->next)
        names_clear(&each->unsettled);
    s->unsettled = false;
}

/* ---- reading ---- */

int tl_cont_read_epoch(struct tl_cont *c, uint64_t epoch, unsigned flags, uint64_t *out)
{
    const struct tl_epochs *e = &c->state.epochs;
    /* What is committed never changes: what is known is all there is to know of it, but whether it may still be read, which is asked at the end. */
    bool known = c->loaded && !c->closed && !c->gone && epoch <= e->ghce && epoch != TIERCEL_EPOCH_NOW;
    int rc = known ? 0 : tl_cont_refresh(c);
    if (rc != 0)
        return rc;
    if (epoch == TIERCEL_EPOCH_NOW)
        epoch = c->at != 0 ? c->at : e->ghce;
    if ((flags & TIERCEL_COMMITTED) != 0 && epoch > e->ghce)
        epoch = e->ghce;
    *out = epoch;
    return tl_epochs_may_read(e, epoch);
}

int tl_cont_still_readable(struct tl_cont *c, uint64_t epoch)
{
    int rc = tl_cont_refresh(c);
    return rc == 0 ? tl_epochs_may_read(&c->state.epochs, epoch) : rc;
}

bool tl_version_counts(const struct tl_cont *c, const struct tl_version *v)
{
    return tl_epochs_counts(&c->state.epochs, v->handle, v->era, v->epoch);
}

/* ---- calls ---- */

static void show(const struct tl_cont *c, struct tiercel_epochs *out)
{
    struct tl_epoch_numbers n;
    if (out == NULL)
        return;
    tl_epochs_numbers(&c->state.epochs, c->handle, &n);
    *out = (struct tiercel_epochs){
        .hce = n.hce, .lre = n.lre, .lhe = n.lhe, .ghce = n.ghce, .glre = n.glre, .ghpce = n.ghpce};
}

int tl_cont_epochs(struct tl_cont *c, struct tiercel_epochs *out)
{
    int rc = tl_cont_refresh(c);
    if (rc == 0)
        show(c, out);
    return rc;
}

static int apply(struct tl_cont *c, struct tl_epoch_op *op, struct tiercel_epochs *out)
{
    int rc = c->gone ? -ENOENT : c->closed ? -EBADF : c->handle == 0 ? -EROFS : 0;
    op->handle = c->handle;
    rc = rc == 0 ? tl_cont_apply(c, op) : rc;
    if (rc == 0) {
        settled(c);
        show(c, out);
    }
    return rc;
}

int tl_cont_hold(struct tl_cont *c, uint64_t *epoch, struct tiercel_epochs *out)
{
    struct tl_epoch_op op = {.type = TL_EPOCH_HOLD, .epoch = *epoch};
    int rc = c->closed ? -EBADF : tl_cont_reap(c);
    rc = rc < 0 ? rc : apply(c, &op, out);
    if (rc == 0)
        *epoch = op.epoch;
    if (rc == 0 && c->pending < op.epoch) /* given up, and not to be missed by a flush */
        c->pending = op.epoch;
    return rc;
}

/* Nobody waits for a process that was silent for longer than its lease: its handles are closed, and what it sends is refused. One that it has opened
 * since is open, but nothing says which of what it has written belongs to that. */
static int not_alive(struct tl_cont *c)
{
    c->loaded = false;
    int rc = tl_cont_refresh(c);
    return rc == 0 ? -EIO : rc;
}

int tl_cont_flush(struct tl_cont *c, uint64_t epoch, struct tiercel_epochs *out)
{
    uint64_t lowest = c->pending < epoch ? c->pending : epoch;
    bool known = !c->closed && !c->gone && c->loaded && tl_epochs_may_write(&c->state.epochs, c->handle, epoch) == 0;
    int rc = known ? 0 : tl_cont_refresh(c); /* what is known was true a moment ago, and is looked at again */
    rc = rc == 0 ? tl_epochs_may_write(&c->state.epochs, c->handle, epoch) : rc;
    rc = rc == 0 ? tl_shared_flush(c->pool->shared) : rc;
    rc = rc == -ESTALE ? not_alive(c) : rc;
    c->loaded = false;                      /* who has changed it last may have died before he told */
    rc = rc == 0 ? tl_cont_refresh(c) : rc; /* somebody may have moved the hold while we wrote */
    rc = rc == 0 ? tl_epochs_may_write(&c->state.epochs, c->handle, lowest) : rc;
    if (rc == 0 && (c->lost <= epoch || tl_epochs_handle(&c->state.epochs, c->handle)->failed <= epoch))
        rc = -EIO; /* an earlier flush has lost some of it */
    if (rc == 0)
        show(c, out);
    return rc;
}

int tl_cont_commit(struct tl_cont *c, uint64_t epoch, struct tiercel_epochs *out)
{
    struct tl_epoch_op op = {.type = TL_EPOCH_COMMIT, .epoch = epoch};
    int rc = c->closed ? -EBADF : 0;
    if (rc == 0 && c->pending <= epoch)
        rc = tl_shared_flush(c->pool->shared);
    if (rc == -ESTALE) /* who is taken for dead has no handle any more */
        rc = not_alive(c);
    rc = rc == 0 ? confess(c) : rc;
    return rc == 0 ? apply(c, &op, out) : rc;
}

int tl_cont_discard(struct tl_cont *c, uint64_t first, uint64_t last, struct tiercel_epochs *out)
{
    struct tl_epoch_op op = {.type = TL_EPOCH_DISCARD, .epoch = first, .last = last};
    int rc = c->closed ? -EBADF : confess(c); /* so that what is discarded is not lost any more */
    return rc == 0 ? apply(c, &op, out) : rc;
}

int tl_cont_slip(struct tl_cont *c, uint64_t epoch, struct tiercel_epochs *out)
{
    struct tl_epoch_op op = {.type = TL_EPOCH_SLIP, .epoch = epoch};
    return apply(c, &op, out);
}

/* ---- snapshots ---- */

int tl_cont_snapshot(struct tl_cont *c, uint64_t epoch, bool create)
{
    struct tl_epoch_op op = {.type = create ? TL_EPOCH_SNAP_CREATE : TL_EPOCH_SNAP_DESTROY, .epoch = epoch};
    uint32_t max = 0;
    int rc = tl_cont_refresh(c);
    rc = rc == 0 ? tl_pool_alive(c->pool, true) : rc;
    rc = rc == 0 && create ? tl_cont_snapshots_max(c, &max) : rc;
    if (rc == 0 && max > 0 && c->state.epochs.snapshot_count >= max)
        rc = -EDQUOT;
    return rc == 0 ? apply(c, &op, NULL) : rc;
}

int tl_cont_snapshots(struct tl_cont *c, uint64_t *epochs, unsigned *count)
{
    int rc = tl_cont_refresh(c);
    if (rc != 0)
        return rc;
    const struct tl_epochs *e = &c->state.epochs;
    for (uint32_t i = 0; epochs != NULL && i < e->snapshot_count && i < *count; i++)
        epochs[i] = e->snapshots[i];
    *count = e->snapshot_count;
    return 0;
}

/* ---- waiting for others ---- */

uint32_t tl_cont_changes(struct tl_cont *c)
{
    uint32_t now = 0;
    int rc = c->pool->shared->store->ops->changes(c->pool->shared->store, &c->id, &now);
    return rc == 0 ? now : 0;
}

int tl_cont_sleep(struct tl_cont *c, uint32_t seen, unsigned timeout_ms)
{
    struct tl_store *s = c->pool->shared->store;
    return s->ops->wait(s, &c->id, seen, timeout_ms);
}

void tl_cont_wake(struct tl_cont *c)
{
    struct tl_store *s = c->pool->shared->store;
    s->ops->wake(s, &c->id);
}
