// SPDX-License-Identifier: Apache-2.0
/* See epoch.h. */
#include "core/epoch/epoch.h"

#include <errno.h>
#include <string.h>

void tl_epochs_init(struct tl_epochs *s)
{
    s->ghce = s->ghpce = s->swept = 0;
    s->kept = TL_EPOCH_MAX;
    s->next_handle = 1;
    s->handle_count = s->tomb_count = s->snapshot_count = 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

struct tl_epoch_handle *tl_epochs_handle(const struct tl_epochs *s, uint32_t id)
{
    for (uint32_t i = 0; i < s->handle_count; i++)
        if (s->handles[i].id == id)
            return &s->handles[i];
    return NULL;
}

static uint64_t lowest_held(const struct tl_epochs *s)
{
    uint64_t epoch = TL_EPOCH_MAX;
    for (uint32_t i = 0; i < s->handle_count; i++)
        epoch = least(epoch, s->handles[i].lhe);
    return epoch;
}

static uint64_t lowest_referenced(const struct tl_epochs *s)
{
    uint64_t epoch = TL_EPOCH_MAX;
    for (uint32_t i = 0; i < s->handle_count; i++)
        epoch = least(epoch, s->handles[i].lre);
    return epoch;
}

/* The index at which a snapshot of this epoch is, or would be. */
static uint32_t snapshot_place(const struct tl_epochs *s, uint64_t epoch)
{
    uint32_t i = 0;
    while (i < s->snapshot_count && s->snapshots[i] < epoch)
        i++;
    return i;
}

static bool is_snapshot(const struct tl_epochs *s, uint64_t epoch)
{
    uint32_t at = snapshot_place(s, epoch);
    return at < s->snapshot_count && s->snapshots[at] == epoch;
}

uint64_t tl_epochs_readable_from(const struct tl_epochs *s)
{
    return most(s->swept, least(least(lowest_referenced(s), s->kept), s->ghce));
}

void tl_epochs_numbers(const struct tl_epochs *s, uint32_t handle, struct tl_epoch_numbers *out)
{
    const struct tl_epoch_handle *h = tl_epochs_handle(s, handle);
    *out = (struct tl_epoch_numbers){
        .hce = h != NULL ? h->hce : s->ghce,
        .lre = h != NULL ? h->lre : s->ghce,
        .lhe = h != NULL ? h->lhe : TL_EPOCH_MAX,
        .ghce = s->ghce,
        .glre = lowest_referenced(s),
        .ghpce = s->ghpce,
    };
}

/* ---- what counts ---- */

int tl_epochs_may_write(const struct tl_epochs *s, uint32_t handle, uint64_t epoch)
{
    const struct tl_epoch_handle *h = tl_epochs_handle(s, handle);
    if (h == NULL)
        return -EBADF;
    if ((h->capas & TL_EPOCH_WRITE) == 0)
        return -EACCES;
    if (epoch == TL_EPOCH_MAX)
        return -EOVERFLOW;
    return epoch < h->lhe ? -EROFS : 0;
}

int tl_epochs_may_read(const struct tl_epochs *s, uint64_t epoch)
{
    return epoch >= tl_epochs_readable_from(s) || is_snapshot(s, epoch) ? 0 : -ESTALE;
}

bool tl_epochs_counts(const struct tl_epochs *s, uint32_t handle, uint32_t era, uint64_t epoch)
{
    for (uint32_t i = 0; i < s->tomb_count; i++) {
        const struct tl_epoch_tomb *t = &s->tombs[i];
        if (t->handle == handle && era <= t->era && epoch >= t->first && epoch <= t->last)
            return false;
    }
    return true;
}

/* ---- operations ---- */

/* After anything that may have let GHCE rise. It never falls: a hold is above it from the start. */
static void raise_ghce(struct tl_epochs *s, struct tl_epoch_effects *effects)
{
    uint64_t held = lowest_held(s), ghce = least(s->ghpce, held == TL_EPOCH_MAX ? held : held - 1);
    check(ghce >= s->ghce);
    effects->visible = ghce > s->ghce;
    s->ghce = ghce;
}

/* The records of a handle in first..last go. Those that it writes there from now on are of another era. */
static int bury(struct tl_epochs *s, struct tl_epoch_handle *h, uint64_t first, uint64_t last,
                struct tl_epoch_effects *effects)
{
    if (s->tomb_count == s->tomb_max || h->era == UINT32_MAX)
        return -ENOSPC;
    s->tombs[s->tomb_count++] = (struct tl_epoch_tomb){.handle = h->id, .era = h->era, .first = first, .last = last};
    effects->tomb_added = true;
    h->era++;
    if (h->failed >= first && h->failed <= last)
        h->failed = TL_EPOCH_MAX;
    return 0;
}

static int open_handle(struct tl_epochs *s, struct tl_epoch_op *op, struct tl_epoch_effects *effects)
{
    for (uint32_t i = 0; i < s->handle_count; i++) { /* an answer that was lost: the opener asks again */
        const struct tl_epoch_handle *h = &s->handles[i];
        if (h->uuid[0] != op->uuid[0] || h->uuid[1] != op->uuid[1])
            continue;
        op->handle = h->id;
        return h->capas == op->capas ? 0 : -EEXIST;
    }
    if ((op->capas & ~(TL_EPOCH_WRITE | TL_EPOCH_NOSLIP | TL_EPOCH_KEEP)) != 0)
        return -EINVAL;
    if (s->handle_count == s->handle_max || s->next_handle == 0)
        return -ENOSPC;
    uint64_t lre = (op->capas & TL_EPOCH_KEEP) != 0 ? tl_epochs_readable_from(s) : s->ghce;
    op->handle = effects->handle = s->next_handle++; /* 0 after the last: then no more */
    s->handles[s->handle_count++] = (struct tl_epoch_handle){
        .id = op->handle,
        .uuid = {op->uuid[0], op->uuid[1]},
        .capas = op->capas,
        .hce = s->ghce,
        .lre = lre,
        .lhe = TL_EPOCH_MAX,
        .failed = TL_EPOCH_MAX,
    };
    return 0;
}

static int close_handle(struct tl_epochs *s, struct tl_epoch_handle *h, struct tl_epoch_effects *effects)
{
    /* Whoever cannot write has left nothing. Others may have, even if they hold nothing now: a record may be under way. */
    int rc = (h->capas & TL_EPOCH_WRITE) == 0 ? 0 : bury(s, h, h->hce + 1, TL_EPOCH_MAX, effects);
    if (rc != 0)
        return rc;
    *h = s->handles[--s->handle_count];
    effects->handle_gone = true;
    raise_ghce(s, effects);
    return 0;
}

static int hold(struct tl_epochs *s, struct tl_epoch_handle *h, struct tl_epoch_op *op,
                struct tl_epoch_effects *effects)
{
    uint64_t lhe = op->epoch == 0 ? s->ghpce : op->epoch;
    if ((h->capas & TL_EPOCH_WRITE) == 0)
        return -EACCES;
    if (op->epoch == 0 && lhe >= TL_EPOCH_MAX - 1)
        return -EOVERFLOW;
    lhe = op->epoch == 0 ? lhe + 1 : most(lhe, most(s->ghce, h->hce) + 1);
    if (lhe > h->lhe) { /* what it wrote below was never committed, and nobody could commit it any more */
        int rc = bury(s, h, h->lhe, lhe - 1, effects);
        if (rc != 0)
            return rc;
    }
    h->lhe = op->epoch = lhe;
    raise_ghce(s, effects);
    return 0;
}

static int commit(struct tl_epochs *s, struct tl_epoch_handle *h, uint64_t epoch, struct tl_epoch_effects *effects)
{
    if ((h->capas & TL_EPOCH_WRITE) == 0)
        return -EACCES;
    if (epoch == TL_EPOCH_MAX)
        return -EOVERFLOW;
    if (epoch <= h->hce) /* again, by who did not get the answer */
        return 0;
    if (epoch < h->lhe)
        return -EROFS;
    if (epoch >= h->failed)
        return -EIO;
    h->hce = epoch;
    h->lhe = epoch + 1;
    if ((h->capas & TL_EPOCH_NOSLIP) == 0)
        h->lre = most(h->lre, epoch);
    s->ghpce = most(s->ghpce, epoch);
    raise_ghce(s, effects);
    return 0;
}

static int discard(struct tl_epochs *s, struct tl_epoch_handle *h, const struct tl_epoch_op *op,
                   struct tl_epoch_effects *effects)
{
    if ((h->capas & TL_EPOCH_WRITE) == 0)
        return -EACCES;
    if (op->epoch == TL_EPOCH_MAX)
        return -EOVERFLOW;
    if (op->last < op->epoch)
        return -EINVAL;
    return op->epoch < h->lhe ? -EROFS : bury(s, h, op->epoch, op->last, effects);
}

static int slip(struct tl_epoch_handle *h, uint64_t epoch)
{
    if (epoch == TL_EPOCH_MAX)
        return -EOVERFLOW;
    h->lre = most(h->lre, epoch);
    return 0;
}

static int fail(struct tl_epoch_handle *h, uint64_t epoch)
{
    if (epoch < h->lhe)
        return -EROFS;
    h->failed = least(h->failed, epoch);
    return 0;
}

static int create_snapshot(struct tl_epochs *s, uint64_t epoch, struct tl_epoch_effects *effects)
{
    uint32_t at = snapshot_place(s, epoch);
    if (epoch > s->ghce || tl_epochs_may_read(s, epoch) != 0)
        return -ENOENT;
    if (is_snapshot(s, epoch)) /* again */
        return 0;
    if (s->snapshot_count == s->snapshot_max)
        return -ENOSPC;
    memmove(&s->snapshots[at + 1], &s->snapshots[at], (s->snapshot_count - at) * sizeof *s->snapshots);
    s->snapshots[at] = epoch;
    s->snapshot_count++;
    effects->snapshot_added = true;
    return 0;
}

static int destroy_snapshot(struct tl_epochs *s, uint64_t epoch, struct tl_epoch_effects *effects)
{
    uint32_t at = snapshot_place(s, epoch);
    if (!is_snapshot(s, epoch))
        return -ENOENT;
    s->snapshot_count--;
    memmove(&s->snapshots[at], &s->snapshots[at + 1], (s->snapshot_count - at) * sizeof *s->snapshots);
    effects->snapshot_gone = true;
    return 0;
}

/* What nobody refers to is swept, too, if it was only kept. */
static int sweep(struct tl_epochs *s, struct tl_epoch_op *op, struct tl_epoch_effects *effects)
{
    effects->kept_gone = s->kept != TL_EPOCH_MAX;
    s->kept = TL_EPOCH_MAX;
    op->epoch = s->swept = tl_epochs_readable_from(s);
    return 0;
}

static int forget_tomb(struct tl_epochs *s, const struct tl_epoch_op *op, struct tl_epoch_effects *effects)
{
    for (uint32_t i = 0; i < s->tomb_count; i++) {
        const struct tl_epoch_tomb *t = &s->tombs[i];
        if (t->handle != op->handle || t->era != op->era || t->first != op->epoch || t->last != op->last)
            continue;
        s->tombs[i] = s->tombs[--s->tomb_count];
        effects->tomb_gone = true;
        return 0;
    }
    return -ENOENT;
}

static int apply_to_handle(struct tl_epochs *s, struct tl_epoch_op *op, struct tl_epoch_effects *effects)
{
    struct tl_epoch_handle *h = tl_epochs_handle(s, op->handle);
    if (h == NULL)
        return -EBADF;
    effects->handle = h->id;
    switch (op->type) {
    case TL_EPOCH_CLOSE: return close_handle(s, h, effects);
    case TL_EPOCH_HOLD: return hold(s, h, op, effects);
    case TL_EPOCH_COMMIT: return commit(s, h, op->epoch, effects);
    case TL_EPOCH_DISCARD: return discard(s, h, op, effects);
    case TL_EPOCH_FAIL: return fail(h, op->epoch);
    case TL_EPOCH_SLIP: return slip(h, op->epoch);
    default: return -EINVAL;
    }
}

int tl_epochs_apply(struct tl_epochs *s, struct tl_epoch_op *op, struct tl_epoch_effects *effects)
{
    *effects = (struct tl_epoch_effects){.handle = 0};
    switch (op->type) {
    case TL_EPOCH_OPEN: return open_handle(s, op, effects);
    case TL_EPOCH_SNAP_CREATE: return create_snapshot(s, op->epoch, effects);
    case TL_EPOCH_SNAP_DESTROY: return destroy_snapshot(s, op->epoch, effects);
    case TL_EPOCH_SWEEP: return sweep(s, op, effects);
    case TL_EPOCH_SWEPT: return forget_tomb(s, op, effects);
    default: return apply_to_handle(s, op, effects);
    }
}

/* ---- invariants ---- */

static const char *verify_handle(const struct tl_epochs *s, const struct tl_epoch_handle *h)
{
    if (h->id == 0 || (s->next_handle != 0 && h->id >= s->next_handle))
        return "a handle's number was never given out";
    if (h->hce >= h->lhe)
        return "I3: HCE < LHE";
    if (s->ghce >= h->lhe)
        return "I5: GHCE < LHE";
    if (s->ghpce < h->hce)
        return "I6: GHPCE >= HCE";
    if ((h->capas & TL_EPOCH_WRITE) == 0 && h->lhe != TL_EPOCH_MAX)
        return "who cannot write holds an epoch";
    return h->failed < h->lhe ? "a write failed in an epoch that is committed" : NULL;
}

const char *tl_epochs_verify(const struct tl_epochs *s)
{
    uint64_t held = lowest_held(s);
    if (s->ghce > s->ghpce)
        return "I1: GHCE <= GHPCE";
    if (held != TL_EPOCH_MAX && held <= s->ghce)
        return "I2: GLHE > GHCE";
    if (s->ghce != least(s->ghpce, held == TL_EPOCH_MAX ? held : held - 1))
        return "GHCE = min(GHPCE, GLHE - 1)";
    if (s->swept > s->ghce)
        return "aggregated beyond GHCE";
    if (s->kept != TL_EPOCH_MAX && s->kept > s->ghce)
        return "kept beyond GHCE";
    for (uint32_t i = 0; i < s->handle_count; i++) {
        const char *broken = verify_handle(s, &s->handles[i]);
        if (broken != NULL)
            return broken;
        if (tl_epochs_handle(s, s->handles[i].id) != &s->handles[i])
            return "two handles have one number";
    }
    for (uint32_t i = 0; i < s->snapshot_count; i++)
        if (s->snapshots[i] > s->ghce || (i > 0 && s->snapshots[i - 1] >= s->snapshots[i]))
            return "snapshots are committed, and in ascending order";
    for (uint32_t i = 0; i < s->tomb_count; i++)
        if (s->tombs[i].first > s->tombs[i].last)
            return "a tombstone covers nothing";
    return NULL;
}
