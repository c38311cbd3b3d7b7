// SPDX-License-Identifier: Apache-2.0
/* The epochs of a container: the numbers of DAOS' own tests of them, the edge cases, and random operations beside a naive model
 * that keeps every write in a list and knows nothing of tombstones, eras or the formula for GHCE. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "core/epoch/epoch.h"

#define MAX       TL_EPOCH_MAX
#define HANDLES   8u
#define TOMBS     4096u
#define SNAPSHOTS 16u

struct container {
    struct tl_epochs s;
    struct tl_epoch_handle handles[HANDLES];
    struct tl_epoch_tomb tombs[TOMBS];
    uint64_t snapshots[SNAPSHOTS];
    struct tl_epoch_effects effects; /* of the last operation */
    uint64_t uuids;
};

static void create(struct container *c)
{
    memset(c, 0, sizeof *c);
    c->s.handles = c->handles;
    c->s.handle_max = HANDLES;
    c->s.tombs = c->tombs;
    c->s.tomb_max = TOMBS;
    c->s.snapshots = c->snapshots;
    c->s.snapshot_max = SNAPSHOTS;
    tl_epochs_init(&c->s);
    assert_null(tl_epochs_verify(&c->s));
}

/* An operation that fails must leave the state as it was. */
static int apply(struct container *c, struct tl_epoch_op *op)
{
    static struct container before;
    before = *c;
    int rc = tl_epochs_apply(&c->s, op, &c->effects);
    if (rc != 0)
        assert_memory_equal(&before.s, &c->s, sizeof c->s);
    if (rc != 0)
        assert_memory_equal(before.handles, c->handles, sizeof c->handles);
    const char *broken = tl_epochs_verify(&c->s);
    if (broken != NULL)
        fail_msg("after operation %d: %s", (int)op->type, broken);
    return rc;
}

static uint32_t open_as(struct container *c, uint32_t capas)
{
    struct tl_epoch_op op = {.type = TL_EPOCH_OPEN, .uuid = {++c->uuids, 7}, .capas = capas};
    assert_int_equal(apply(c, &op), 0);
    return op.handle;
}

static int run(struct container *c, enum tl_epoch_op_type type, uint32_t handle, uint64_t epoch)
{
    struct tl_epoch_op op = {.type = type, .handle = handle, .epoch = epoch, .last = epoch};
    return apply(c, &op);
}

static uint64_t hold(struct container *c, uint32_t handle, uint64_t epoch)
{
    struct tl_epoch_op op = {.type = TL_EPOCH_HOLD, .handle = handle, .epoch = epoch};
    assert_int_equal(apply(c, &op), 0);
    return op.epoch;
}

static int commit(struct container *c, uint32_t handle, uint64_t epoch)
{
    return run(c, TL_EPOCH_COMMIT, handle, epoch);
}

#define EXPECT(c, h, HCE, LRE, LHE, GHCE, GLRE, GHPCE)                                                                 \
    do {                                                                                                               \
        struct tl_epoch_numbers n_;                                                                                    \
        tl_epochs_numbers(&(c)->s, h, &n_);                                                                            \
        assert_int_equal(n_.hce, HCE);                                                                                 \
        assert_int_equal(n_.lre, LRE);                                                                                 \
        assert_int_equal(n_.lhe, LHE);                                                                                 \
        assert_int_equal(n_.ghce, GHCE);                                                                               \
        assert_int_equal(n_.glre, GLRE);                                                                               \
        assert_int_equal(n_.ghpce, GHPCE);                                                                             \
    } while (0)

/* ---- DAOS' numbers ---- */

static void a_new_container_is_at_epoch_0(void **state)
{
    (void)state;
    struct container c;
    create(&c);
    EXPECT(&c, 0, 0, 0, MAX, 0, MAX, 0);
    uint32_t h = open_as(&c, TL_EPOCH_WRITE);
    EXPECT(&c, h, 0, 0, MAX, 0, 0, 0);
}

static void a_hold_changes_nothing_but_lhe(void **state)
{
    (void)state;
    struct container c;
    create(&c);
    uint32_t h = open_as(&c, TL_EPOCH_WRITE), reader = open_as(&c, 0);
    assert_int_equal(hold(&c, h, 10), 10);
    EXPECT(&c, h, 0, 0, 10, 0, 0, 0);
    assert_int_equal(hold(&c, h, 20), 20);
    EXPECT(&c, h, 0, 0, 20, 0, 0, 0);
    assert_int_equal(hold(&c, h, 15), 15);
    assert_int_equal(hold(&c, h, MAX), MAX);
    EXPECT(&c, h, 0, 0, MAX, 0, 0, 0);
    assert_int_equal(run(&c, TL_EPOCH_HOLD, reader, 10), -EACCES);
}

static void commit_wants_a_hold_and_may_be_repeated(void **state)
{
    (void)state;
    struct container c;
    create(&c);
    uint32_t h = open_as(&c, TL_EPOCH_WRITE);
    assert_int_equal(commit(&c, h, 10), -EROFS); /* E11 */
    EXPECT(&c, h, 0, 0, MAX, 0, 0, 0);
    hold(&c, h, 10);
    assert_int_equal(commit(&c, h, 9), -EROFS); /* E9 */
    assert_int_equal(commit(&c, h, MAX), -EOVERFLOW);
    assert_int_equal(commit(&c, h, 10), 0);
    assert_true(c.effects.visible);
    EXPECT(&c, h, 10, 10, 11, 10, 10, 10);
    assert_int_equal(commit(&c, h, 8), 0); /* E10 */
    assert_int_equal(commit(&c, h, 10), 0);
    assert_false(c.effects.visible);
    EXPECT(&c, h, 10, 10, 11, 10, 10, 10);
    assert_int_equal(commit(&c, h, 30), 0); /* epochs may be skipped */
    EXPECT(&c, h, 30, 30, 31, 30, 30, 30);
}

static void two_writers_hold_each_other_back(void **state)
{
    (void)state;
    struct container c;
    create(&c);
    uint32_t a = open_as(&c, TL_EPOCH_WRITE), b = open_as(&c, TL_EPOCH_WRITE);
    hold(&c, a, 10);
    hold(&c, b, 20);
    assert_int_equal(commit(&c, a, 10), 0); /* E1 */
    EXPECT(&c, a, 10, 10, 11, 10, 0, 10);
    assert_int_equal(commit(&c, a, 30), 0); /* E2 */
    EXPECT(&c, a, 30, 30, 31, 19, 0, 30);
    assert_int_equal(commit(&c, b, 25), 0); /* E3 */
    EXPECT(&c, b, 25, 25, 26, 25, 25, 30);
    assert_int_equal(run(&c, TL_EPOCH_CLOSE, a, 0), 0); /* E4 */
    EXPECT(&c, b, 25, 25, 26, 25, 25, 30);
    assert_int_equal(commit(&c, b, 27), 0);
    EXPECT(&c, b, 27, 27, 28, 27, 27, 30);
    assert_int_equal(run(&c, TL_EPOCH_CLOSE, b, 0), 0); /* E5: its writes above 27 go in the step that lets GHCE jump */
    assert_true(c.effects.visible && c.effects.tomb_added && c.effects.handle_gone);
    EXPECT(&c, 0, 30, 30, MAX, 30, MAX, 30);
    assert_false(tl_epochs_counts(&c.s, b, 0, 28));
    assert_true(tl_epochs_counts(&c.s, b, 0, 27));
}

static void a_hold_is_above_what_is_committed(void **state)
{
    (void)state;
    struct container c;
    create(&c);
    uint32_t a = open_as(&c, TL_EPOCH_WRITE), b = open_as(&c, TL_EPOCH_WRITE), d = open_as(&c, TL_EPOCH_WRITE);
    hold(&c, a, 10);
    assert_int_equal(commit(&c, a, 10), 0);
    assert_int_equal(hold(&c, b, 0), 11); /* E6 */
    assert_int_equal(hold(&c, b, 5), 11);
    hold(&c, b, 20);
    assert_int_equal(commit(&c, a, 30), 0);
    EXPECT(&c, a, 30, 30, 31, 19, 0, 30);
    assert_int_equal(hold(&c, d, 15), 20); /* E7 */
    assert_int_equal(hold(&c, d, 25), 25);
    assert_int_equal(hold(&c, a, 25), 31); /* E8 */
    assert_int_equal(hold(&c, d, 0), 31);
}

static void what_nobody_refers_to_is_not_readable(void **state)
{
    (void)state;
    struct container c;
    create(&c);
    uint32_t h = open_as(&c, TL_EPOCH_WRITE | TL_EPOCH_NOSLIP);
    hold(&c, h, 10);
    assert_int_equal(commit(&c, h, 109), 0);
    EXPECT(&c, h, 109, 0, 110, 109, 0, 109);
    assert_int_equal(run(&c, TL_EPOCH_SLIP, h, 95), 0);
    EXPECT(&c, h, 109, 95, 110, 109, 95, 109);
    assert_int_equal(run(&c, TL_EPOCH_SLIP, h, 15), 0); /* lower is nothing */
    EXPECT(&c, h, 109, 95, 110, 109, 95, 109);
    assert_int_equal(run(&c, TL_EPOCH_SLIP, h, MAX), -EOVERFLOW);
    assert_int_equal(tl_epochs_may_read(&c.s, 94), -ESTALE); /* E16 */
    assert_int_equal(tl_epochs_may_read(&c.s, 95), 0);
    assert_int_equal(tl_epochs_may_read(&c.s, 500), 0); /* E15 */
    struct tl_epoch_op sweep = {.type = TL_EPOCH_SWEEP};
    assert_int_equal(apply(&c, &sweep), 0);
    assert_int_equal(sweep.epoch, 95);
    assert_int_equal(run(&c, TL_EPOCH_SLIP, h, 500), 0); /* E18 */
    assert_int_equal(apply(&c, &sweep), 0);
    assert_int_equal(sweep.epoch, 109);
    assert_int_equal(run(&c, TL_EPOCH_CLOSE, h, 0), 0); /* E20 */
    assert_int_equal(tl_epochs_readable_from(&c.s), 109);
}

/* Who opens with KEEP keeps what is readable then, whoever slips; what a copy has kept goes with the next sweep, not before. */
static void what_is_readable_can_be_kept(void **state)
{
    (void)state;
    struct container c;
    struct tl_epoch_op sweep = {.type = TL_EPOCH_SWEEP};
    create(&c);
    uint32_t h = open_as(&c, TL_EPOCH_WRITE | TL_EPOCH_NOSLIP);
    hold(&c, h, 10);
    assert_int_equal(commit(&c, h, 109), 0);
    assert_int_equal(run(&c, TL_EPOCH_SLIP, h, 50), 0);
    uint32_t k = open_as(&c, TL_EPOCH_KEEP);
    EXPECT(&c, k, 109, 50, MAX, 109, 50, 109);
    assert_int_equal(run(&c, TL_EPOCH_CLOSE, h, 0), 0);
    assert_int_equal(apply(&c, &sweep), 0);
    assert_int_equal(sweep.epoch, 50);
    assert_int_equal(run(&c, TL_EPOCH_CLOSE, k, 0), 0);
    assert_int_equal(tl_epochs_readable_from(&c.s), 109);
    k = open_as(&c, TL_EPOCH_KEEP); /* nobody refers to anything: there is no more than that */
    EXPECT(&c, k, 109, 109, MAX, 109, 109, 109);
    assert_int_equal(run(&c, TL_EPOCH_CLOSE, k, 0), 0);
    c.s.kept = 60;
    assert_int_equal(tl_epochs_readable_from(&c.s), 60);
    assert_int_equal(tl_epochs_may_read(&c.s, 59), -ESTALE);
    h = open_as(&c, TL_EPOCH_WRITE);
    EXPECT(&c, h, 109, 109, MAX, 109, 109, 109);
    assert_int_equal(tl_epochs_may_read(&c.s, 60), 0);
    assert_int_equal(run(&c, TL_EPOCH_SNAP_CREATE, 0, 60), 0);
    assert_int_equal(apply(&c, &sweep), 0);
    assert_int_equal(sweep.epoch, 109);
    assert_int_equal(tl_epochs_may_read(&c.s, 60), 0); /* a snapshot now */
    assert_int_equal(tl_epochs_may_read(&c.s, 61), -ESTALE);
    c.s.kept = 110;
    assert_non_null(tl_epochs_verify(&c.s));
}

static void snapshots_stay_readable(void **state)
{
    (void)state;
    static const uint64_t epochs[] = {57, 29, 81, 35, 47, 21, 78};
    struct container c;
    create(&c);
    uint32_t h = open_as(&c, TL_EPOCH_WRITE | TL_EPOCH_NOSLIP);
    hold(&c, h, 10);
    assert_int_equal(commit(&c, h, 109), 0);
    assert_int_equal(run(&c, TL_EPOCH_SLIP, h, 21), 0);
    assert_int_equal(run(&c, TL_EPOCH_SNAP_CREATE, 0, 20), -ENOENT);
    assert_int_equal(run(&c, TL_EPOCH_SNAP_CREATE, 0, 110), -ENOENT);
    for (size_t i = 0; i < sizeof epochs / sizeof *epochs; i++)
        assert_int_equal(run(&c, TL_EPOCH_SNAP_CREATE, 0, epochs[i]), 0);
    assert_int_equal(run(&c, TL_EPOCH_SNAP_CREATE, 0, 35), 0);
    assert_int_equal(c.s.snapshot_count, 7);
    assert_int_equal(run(&c, TL_EPOCH_SLIP, h, 40), 0);
    for (uint64_t e = 0; e <= 120; e++) {
        bool kept = e == 21 || e == 29 || e == 35 || e >= 40;
        assert_int_equal(tl_epochs_may_read(&c.s, e), kept ? 0 : -ESTALE);
    }
    assert_int_equal(run(&c, TL_EPOCH_SNAP_DESTROY, 0, 29), 0);
    assert_int_equal(run(&c, TL_EPOCH_SNAP_DESTROY, 0, 29), -ENOENT);
    assert_int_equal(tl_epochs_may_read(&c.s, 29), -ESTALE);
    assert_int_equal(run(&c, TL_EPOCH_SNAP_CREATE, 0, 29), -ENOENT);
}

/* ---- rolling back ---- */

static uint32_t era_of(const struct container *c, uint32_t handle)
{
    return tl_epochs_handle(&c->s, handle)->era;
}

static void a_discard_spares_other_epochs_and_later_writes(void **state)
{
    (void)state;
    struct container c;
    create(&c);
    uint32_t h = open_as(&c, TL_EPOCH_WRITE), other = open_as(&c, TL_EPOCH_WRITE);
    hold(&c, h, 5);
    uint32_t before = era_of(&c, h);
    assert_int_equal(run(&c, TL_EPOCH_DISCARD, h, 4), -EROFS);
    assert_int_equal(run(&c, TL_EPOCH_DISCARD, h, MAX), -EOVERFLOW);
    assert_int_equal(run(&c, TL_EPOCH_DISCARD, h, 6), 0);
    uint32_t after = era_of(&c, h);
    assert_true(tl_epochs_counts(&c.s, h, before, 5) && tl_epochs_counts(&c.s, h, before, 7));
    assert_false(tl_epochs_counts(&c.s, h, before, 6));
    assert_true(tl_epochs_counts(&c.s, h, after, 6) && tl_epochs_counts(&c.s, other, before, 6));
    assert_int_equal(tl_epochs_may_write(&c.s, h, 6), 0); /* it is still held */
    assert_int_equal(run(&c, TL_EPOCH_DISCARD, h, 6), 0);
    assert_false(tl_epochs_counts(&c.s, h, after, 6));
    struct tl_epoch_op swept = {.type = TL_EPOCH_SWEPT, .handle = h, .era = before, .epoch = 6, .last = 6};
    assert_int_equal(apply(&c, &swept), 0);
    assert_int_equal(apply(&c, &swept), -ENOENT);
    assert_false(tl_epochs_counts(&c.s, h, after, 6)); /* the other tombstone is still there */
}

static void a_raised_hold_gives_up_what_was_not_committed(void **state)
{
    (void)state;
    struct container c;
    create(&c);
    uint32_t h = open_as(&c, TL_EPOCH_WRITE);
    hold(&c, h, 10);
    uint32_t era = era_of(&c, h);
    hold(&c, h, 20); /* E12 */
    assert_false(tl_epochs_counts(&c.s, h, era, 10) || tl_epochs_counts(&c.s, h, era, 19));
    assert_true(tl_epochs_counts(&c.s, h, era, 20));
    assert_int_equal(tl_epochs_may_write(&c.s, h, 19), -EROFS);
    hold(&c, h, 10);
    assert_true(tl_epochs_counts(&c.s, h, era_of(&c, h), 10));
    hold(&c, h, MAX);
    assert_false(tl_epochs_counts(&c.s, h, era_of(&c, h) - 1, 20));
}

static void a_lost_write_is_not_committed(void **state)
{
    (void)state;
    struct container c;
    create(&c);
    uint32_t h = open_as(&c, TL_EPOCH_WRITE);
    hold(&c, h, 10);
    assert_int_equal(run(&c, TL_EPOCH_FAIL, h, 9), -EROFS);
    assert_int_equal(run(&c, TL_EPOCH_FAIL, h, 12), 0); /* E22 */
    assert_int_equal(commit(&c, h, 11), 0);
    assert_int_equal(commit(&c, h, 12), -EIO);
    assert_int_equal(commit(&c, h, 13), -EIO);
    assert_int_equal(run(&c, TL_EPOCH_DISCARD, h, 12), 0);
    assert_int_equal(commit(&c, h, 13), 0);
}

static void who_is_gone_can_do_nothing(void **state)
{
    (void)state;
    struct container c;
    create(&c);
    struct tl_epoch_op again = {.type = TL_EPOCH_OPEN, .uuid = {1, 7}, .capas = TL_EPOCH_WRITE};
    uint32_t h = open_as(&c, TL_EPOCH_WRITE);
    assert_int_equal(apply(&c, &again), 0); /* the answer was lost */
    assert_int_equal(again.handle, h);
    again.capas = 0;
    assert_int_equal(apply(&c, &again), -EEXIST);
    again = (struct tl_epoch_op){.type = TL_EPOCH_OPEN, .uuid = {99, 9}, .capas = 64};
    assert_int_equal(apply(&c, &again), -EINVAL);
    hold(&c, h, 3);
    assert_int_equal(run(&c, TL_EPOCH_CLOSE, h, 0), 0);
    static const enum tl_epoch_op_type all[] = {TL_EPOCH_CLOSE,   TL_EPOCH_HOLD, TL_EPOCH_COMMIT,
                                                TL_EPOCH_DISCARD, TL_EPOCH_FAIL, TL_EPOCH_SLIP};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        assert_int_equal(run(&c, all[i], h, 5), -EBADF);
    assert_int_equal(tl_epochs_may_write(&c.s, h, 5), -EBADF); /* E14 */
    assert_true(open_as(&c, TL_EPOCH_WRITE) != h);
}

static void full_tables_are_told(void **state)
{
    (void)state;
    struct container c;
    create(&c);
    for (uint32_t i = 0; i < HANDLES; i++)
        open_as(&c, TL_EPOCH_WRITE);
    struct tl_epoch_op op = {.type = TL_EPOCH_OPEN, .uuid = {77, 7}};
    assert_int_equal(apply(&c, &op), -ENOSPC);
    c.s.tomb_max = c.s.tomb_count;
    hold(&c, 1, 5);
    assert_int_equal(run(&c, TL_EPOCH_HOLD, 1, 6), -ENOSPC);
    assert_int_equal(run(&c, TL_EPOCH_CLOSE, 1, 0), -ENOSPC);
    assert_int_equal(commit(&c, 1, 5), 0);
    c.s.snapshot_max = 0;
    assert_int_equal(run(&c, TL_EPOCH_SNAP_CREATE, 0, 5), -ENOSPC);
}

/* ---- beside a naive model ---- */

#define WRITES 512u
#define EPOCHS 48u /* drawn from 1..EPOCHS */
#define STEPS  300u
#define SEEDS  2000u

struct write {
    uint32_t handle, era;
    uint64_t epoch;
    bool alive, committed;
};

struct model {
    struct write writes[WRITES];
    uint32_t count;
    bool held[HANDLES * STEPS][EPOCHS + 2]; /* by handle: it may write there */
    bool reader[HANDLES * STEPS];
    uint64_t ghce;
    uint64_t seen[EPOCHS + 2]; /* which writes those who read at an epoch up to GHCE saw, once it was that */
};

enum plant { PLANT_NONE, PLANT_NO_TOMB_ON_CLOSE, PLANT_ERA_FORGOTTEN, PLANT_GHCE_TOO_HIGH, PLANTS };

/* What a reader at this epoch sees, as a sum over the writes. */
static uint64_t sees(const struct model *m, uint64_t epoch)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < m->count; i++)
        if (m->writes[i].alive && m->writes[i].epoch <= epoch)
            sum += (uint64_t)(i + 1) * 0x9e3779b97f4a7c15ull;
    return sum;
}

static void drop_writes(struct model *m, uint32_t handle, uint64_t first, uint64_t last)
{
    for (uint32_t i = 0; i < m->count; i++) {
        struct write *w = &m->writes[i];
        if (w->handle == handle && !w->committed && w->epoch >= first && w->epoch <= last)
            w->alive = false;
    }
}

/* GHCE by what it is for: no epoch up to it may still be written by anybody, and somebody has committed it. */
static uint64_t model_ghce(const struct model *m, uint64_t ghpce, uint32_t handles)
{
    uint64_t e = m->ghce;
    for (; e < ghpce && e < EPOCHS; e++)
        for (uint32_t h = 1; h < handles; h++)
            if (m->held[h][e + 1])
                return e;
    return e;
}

static bool same(const struct container *c, struct model *m)
{
    m->ghce = model_ghce(m, c->s.ghpce, c->s.next_handle);
    if (c->s.ghce != m->ghce)
        return false;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct write *w = &m->writes[i];
        if (tl_epochs_counts(&c->s, w->handle, w->era, w->epoch) != w->alive)
            return false;
    }
    for (uint64_t e = 1; e <= m->ghce; e++) { /* what was committed once stays as it is */
        if (m->seen[e] == 0)
            m->seen[e] = sees(m, e) + 1;
        else if (m->seen[e] != sees(m, e) + 1)
            return false;
    }
    return true;
}

static void model_apply(struct model *m, const struct tl_epoch_op *op, const struct container *before)
{
    const struct tl_epoch_handle *was = tl_epochs_handle(&before->s, op->handle);
    bool *held = m->held[op->handle];
    switch (op->type) {
    case TL_EPOCH_OPEN: m->reader[op->handle] = (op->capas & TL_EPOCH_WRITE) == 0; break;
    case TL_EPOCH_CLOSE:
        drop_writes(m, op->handle, 0, MAX);
        memset(held, 0, sizeof m->held[0]);
        break;
    case TL_EPOCH_HOLD:
        for (uint64_t e = 1; e <= EPOCHS; e++) {
            if (held[e] && e < op->epoch)
                drop_writes(m, op->handle, e, e);
            held[e] = e >= op->epoch;
        }
        drop_writes(m, op->handle, 0, op->epoch - 1);
        break;
    case TL_EPOCH_COMMIT:
        for (uint64_t e = 1; e <= EPOCHS && e <= op->epoch && op->epoch > was->hce; e++)
            held[e] = false;
        for (uint32_t i = 0; i < m->count; i++)
            if (m->writes[i].handle == op->handle && m->writes[i].epoch <= op->epoch)
                m->writes[i].committed = true;
        break;
    case TL_EPOCH_DISCARD: drop_writes(m, op->handle, op->epoch, op->last); break;
    default: break;
    }
}

static void draw(struct tl_prng *p, const struct container *c, struct tl_epoch_op *op)
{
    static const enum tl_epoch_op_type types[] = {
        TL_EPOCH_OPEN,   TL_EPOCH_CLOSE,   TL_EPOCH_HOLD, TL_EPOCH_HOLD,        TL_EPOCH_COMMIT,       TL_EPOCH_COMMIT,
        TL_EPOCH_COMMIT, TL_EPOCH_DISCARD, TL_EPOCH_SLIP, TL_EPOCH_SNAP_CREATE, TL_EPOCH_SNAP_DESTROY, TL_EPOCH_SWEEP};
    *op = (struct tl_epoch_op){.type = types[tl_prng_below(p, sizeof types / sizeof *types)]};
    if (c->s.handle_count > 0)
        op->handle = c->s.handles[tl_prng_below(p, c->s.handle_count)].id;
    op->epoch = tl_prng_below(p, 10) == 0 ? 0 : c->s.ghce + tl_prng_below(p, 6);
    op->epoch = op->epoch > EPOCHS ? EPOCHS : op->epoch;
    op->last = op->epoch + tl_prng_below(p, 3);
    op->capas = tl_prng_below(p, 4) == 0 ? 0 : TL_EPOCH_WRITE | (tl_prng_below(p, 2) == 0 ? TL_EPOCH_NOSLIP : 0);
    op->uuid[0] = c->uuids + 1;
}

static void write_somewhere(struct tl_prng *p, const struct container *c, struct model *m)
{
    if (c->s.handle_count == 0 || m->count == WRITES)
        return;
    const struct tl_epoch_handle *h = &c->s.handles[tl_prng_below(p, c->s.handle_count)];
    uint64_t epoch = c->s.ghce + tl_prng_below(p, 6);
    if (epoch > 0 && epoch <= EPOCHS && tl_epochs_may_write(&c->s, h->id, epoch) == 0)
        m->writes[m->count++] = (struct write){.handle = h->id, .era = h->era, .epoch = epoch, .alive = true};
}

static void spoil(struct container *c, const struct container *before, const struct tl_epoch_op *op, enum plant plant)
{
    if (plant == PLANT_NO_TOMB_ON_CLOSE && op->type == TL_EPOCH_CLOSE)
        c->s.tomb_count = before->s.tomb_count;
    if (plant == PLANT_ERA_FORGOTTEN && c->s.tomb_count > before->s.tomb_count)
        c->tombs[c->s.tomb_count - 1].era = UINT32_MAX;
    if (plant == PLANT_GHCE_TOO_HIGH && op->type == TL_EPOCH_COMMIT)
        c->s.ghce = c->s.ghpce;
}

/* True if model and machine agree through all steps of a seed. */
static bool agree(uint64_t seed, enum plant plant)
{
    static struct container c, before;
    static struct model m;
    struct tl_prng p;
    create(&c);
    memset(&m, 0, sizeof m);
    tl_prng_init(&p, seed, 0);
    for (uint32_t step = 0; step < STEPS; step++) {
        struct tl_epoch_op op;
        write_somewhere(&p, &c, &m);
        draw(&p, &c, &op);
        before = c;
        before.s.handles = before.handles;
        if (tl_epochs_apply(&c.s, &op, &c.effects) != 0)
            continue;
        c.uuids += op.type == TL_EPOCH_OPEN;
        spoil(&c, &before, &op, plant);
        model_apply(&m, &op, &before);
        if ((plant == PLANT_NONE && tl_epochs_verify(&c.s) != NULL) || !same(&c, &m))
            return false;
    }
    return true;
}

static void any_order_of_operations_agrees_with_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        if (!agree(seed, PLANT_NONE))
            fail_msg("seed %u", (unsigned)seed);
}

static void the_model_notices_what_is_wrong(void **state)
{
    (void)state;
    for (enum plant plant = PLANT_NONE + 1; plant < PLANTS; plant++) {
        bool noticed = false;
        for (uint64_t seed = 1; seed <= 50 && !noticed; seed++)
            noticed = !agree(seed, plant);
        if (!noticed)
            fail_msg("plant %d", (int)plant);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_container_is_at_epoch_0),
        cmocka_unit_test(a_hold_changes_nothing_but_lhe),
        cmocka_unit_test(commit_wants_a_hold_and_may_be_repeated),
        cmocka_unit_test(two_writers_hold_each_other_back),
        cmocka_unit_test(a_hold_is_above_what_is_committed),
        cmocka_unit_test(what_nobody_refers_to_is_not_readable),
        cmocka_unit_test(what_is_readable_can_be_kept),
        cmocka_unit_test(snapshots_stay_readable),
        cmocka_unit_test(a_discard_spares_other_epochs_and_later_writes),
        cmocka_unit_test(a_raised_hold_gives_up_what_was_not_committed),
        cmocka_unit_test(a_lost_write_is_not_committed),
        cmocka_unit_test(who_is_gone_can_do_nothing),
        cmocka_unit_test(full_tables_are_told),
        cmocka_unit_test(any_order_of_operations_agrees_with_the_model),
        cmocka_unit_test(the_model_notices_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
