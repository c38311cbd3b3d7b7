// SPDX-License-Identifier: Apache-2.0
/* Epochs and snapshots (tiercel/pool.h). */
#include <errno.h>
#include <stdlib.h>

#include "client/engine.h"

static int fail(struct tiercel_cont *cont, enum tl_verb verb, uint64_t epoch, uint64_t last, int rc)
{
    const struct tl_about about = {.verb = verb,
                                   .kind = "container",
                                   .name = cont != NULL ? tl_cont_name(cont->inner) : NULL,
                                   .epoch = epoch,
                                   .last = last};
    return tl_why_failed(NULL, &about, rc, NULL);
}

/* Most calls have the state after them for a result. */
static int make(int (*run)(struct tl_call *, struct tl_error *), enum tl_verb verb, struct tiercel_cont *cont,
                uint64_t epoch, uint64_t last, struct tiercel_epochs *out, struct tiercel_event *ev)
{
    if (cont == NULL)
        return fail(NULL, verb, epoch, last, -EBADF);
    const struct tl_call call = {
        .run = run, .pool = cont->pool, .cont = cont, .verb = verb, .epoch = epoch, .last = last, .args.epochs = out};
    return tl_call_make(&call, ev);
}

/* Out-parameters are written on success only, and need not be there. */
static int show(const struct tl_call *call, int rc, const struct tiercel_epochs *now)
{
    if (rc == 0 && call->args.epochs != NULL)
        *call->args.epochs = *now;
    return rc;
}

static int run_query(struct tl_call *call, struct tl_error *err)
{
    struct tiercel_epochs now;
    (void)err;
    return show(call, tl_cont_epochs(call->cont->inner, &now), &now);
}

int tiercel_epoch_query(struct tiercel_cont *cont, struct tiercel_epochs *out, struct tiercel_event *ev)
{
    return make(run_query, TL_DO_EPOCH_QUERY, cont, 0, 0, out, ev);
}

static int run_hold(struct tl_call *call, struct tl_error *err)
{
    struct tiercel_epochs now;
    uint64_t epoch = call->epoch;
    (void)err;
    int rc = tl_cont_hold(call->cont->inner, &epoch, &now);
    if (rc != 0)
        return rc;
    *call->args.hold.epoch = epoch;
    if (call->args.hold.out != NULL)
        *call->args.hold.out = now;
    return 0;
}

int tiercel_epoch_hold(struct tiercel_cont *cont, uint64_t *epoch, struct tiercel_epochs *out, struct tiercel_event *ev)
{
    if (cont == NULL || epoch == NULL)
        return fail(cont, TL_DO_HOLD, 0, 0, cont == NULL ? -EBADF : -EINVAL);
    const struct tl_call call = {.run = run_hold,
                                 .pool = cont->pool,
                                 .cont = cont,
                                 .verb = TL_DO_HOLD,
                                 .epoch = *epoch,
                                 .args.hold = {.epoch = epoch, .out = out}};
    return tl_call_make(&call, ev);
}

static int run_flush(struct tl_call *call, struct tl_error *err)
{
    struct tiercel_epochs now;
    (void)err;
    return show(call, tl_cont_flush(call->cont->inner, call->epoch, &now), &now);
}

int tiercel_epoch_flush(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_epochs *out, struct tiercel_event *ev)
{
    return make(run_flush, TL_DO_FLUSH, cont, epoch, 0, out, ev);
}

static int run_commit(struct tl_call *call, struct tl_error *err)
{
    struct tiercel_epochs now;
    (void)err;
    return show(call, tl_cont_commit(call->cont->inner, call->epoch, &now), &now);
}

int tiercel_epoch_commit(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_epochs *out,
                         struct tiercel_event *ev)
{
    return make(run_commit, TL_DO_COMMIT, cont, epoch, 0, out, ev);
}

static int run_discard(struct tl_call *call, struct tl_error *err)
{
    struct tiercel_epochs now;
    (void)err;
    return show(call, tl_cont_discard(call->cont->inner, call->epoch, call->last, &now), &now);
}

int tiercel_epoch_discard(struct tiercel_cont *cont, uint64_t first, uint64_t last, struct tiercel_epochs *out,
                          struct tiercel_event *ev)
{
    return make(run_discard, TL_DO_DISCARD, cont, first, last, out, ev);
}

static int run_slip(struct tl_call *call, struct tl_error *err)
{
    struct tiercel_epochs now;
    (void)err;
    return show(call, tl_cont_slip(call->cont->inner, call->epoch, &now), &now);
}

int tiercel_epoch_slip(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_epochs *out, struct tiercel_event *ev)
{
    return make(run_slip, TL_DO_SLIP, cont, epoch, 0, out, ev);
}

/* ---- calls that wait ---- */

static void wake(struct tl_running *running)
{
    const struct tl_call *call = (const struct tl_call *)(const void *)running;
    tl_cont_wake(call->cont->inner);
}

static int run_wait(struct tl_call *call, struct tl_error *err)
{
    struct tiercel_epochs now;
    (void)err;
    int rc = tl_cont_epochs(call->cont->inner, &now);
    if (rc != 0)
        return rc;
    return now.ghce >= call->epoch ? show(call, 0, &now) : tl_park(call);
}

/* One look. 1: not yet. */
static int look(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_epochs *now, uint32_t *seen, uint64_t *reaped)
{
    tl_pool_lock(cont->pool->inner);
    tl_reap_each_second(cont, reaped);
    *seen = tl_cont_changes(cont->inner);
    int rc = tl_cont_epochs(cont->inner, now);
    tl_pool_unlock(cont->pool->inner);
    if (rc == 0 && now->ghce < epoch)
        rc = cont->stop ? -ECANCELED : 1;
    return rc;
}

/* In the caller's thread: what it may, the waiter of the container does for those with an event. */
static int wait_here(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_epochs *out)
{
    struct tiercel_epochs now;
    uint64_t reaped = 0;
    uint32_t seen = 0;
    tl_after_own(cont->pool);
    tl_waits(cont);
    int rc = look(cont, epoch, &now, &seen, &reaped);
    while (rc == 1) {
        rc = tl_cont_sleep(cont->inner, seen, TL_LOOK_AGAIN_MS); /* whatever it gives: we look */
        rc = look(cont, epoch, &now, &seen, &reaped);
    }
    if (rc == 0 && out != NULL)
        *out = now;
    if (rc < 0)
        fail(cont, TL_DO_WAIT, epoch, 0, rc);
    tl_finished(cont);
    return rc;
}

int tiercel_epoch_wait(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_epochs *out, struct tiercel_event *ev)
{
    if (cont == NULL || epoch == TIERCEL_EPOCH_MAX) /* which is never final */
        return fail(cont, TL_DO_WAIT, epoch, 0, cont == NULL ? -EBADF : -EOVERFLOW);
    const struct tl_call call = {.running.wake = wake,
                                 .run = run_wait,
                                 .pool = cont->pool,
                                 .cont = cont,
                                 .verb = TL_DO_WAIT,
                                 .epoch = epoch,
                                 .args.epochs = out};
    if (ev == NULL && tl_in_callback())
        return fail(cont, TL_DO_WAIT, epoch, 0, -EDEADLK);
    return ev == NULL ? wait_here(cont, epoch, out) : tl_call_make(&call, ev);
}

static int run_commit_in_order(struct tl_call *call, struct tl_error *err)
{
    struct tiercel_epochs now;
    int rc = tl_cont_epochs(call->cont->inner, &now);
    if (rc != 0)
        return rc;
    return call->epoch > now.lhe ? tl_park(call) : run_commit(call, err);
}

int tiercel_epoch_commit_in_order(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_epochs *out,
                                  struct tiercel_event *ev)
{
    if (cont == NULL || ev == NULL)
        return fail(cont, TL_DO_COMMIT, epoch, 0, cont == NULL ? -EBADF : -EINVAL);
    if (epoch == TIERCEL_EPOCH_MAX) /* its turn would never come */
        return fail(cont, TL_DO_COMMIT, epoch, 0, -EOVERFLOW);
    const struct tl_call call = {.running.wake = wake,
                                 .run = run_commit_in_order,
                                 .pool = cont->pool,
                                 .cont = cont,
                                 .verb = TL_DO_COMMIT,
                                 .epoch = epoch,
                                 .args.epochs = out};
    return tl_call_make(&call, ev);
}

/* ---- snapshots ---- */

static int run_snap_create(struct tl_call *call, struct tl_error *err)
{
    (void)err;
    return tl_cont_snapshot(call->cont->inner, call->epoch, true);
}

int tiercel_snap_create(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_event *ev)
{
    return make(run_snap_create, TL_DO_SNAP_CREATE, cont, epoch, 0, NULL, ev);
}

static int run_snap_destroy(struct tl_call *call, struct tl_error *err)
{
    (void)err;
    return tl_cont_snapshot(call->cont->inner, call->epoch, false);
}

int tiercel_snap_destroy(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_event *ev)
{
    return make(run_snap_destroy, TL_DO_SNAP_DESTROY, cont, epoch, 0, NULL, ev);
}

static int run_snap_list(struct tl_call *call, struct tl_error *err)
{
    (void)err;
    return tl_cont_snapshots(call->cont->inner, call->args.snapshots.epochs, call->args.snapshots.count);
}

int tiercel_snap_list(struct tiercel_cont *cont, uint64_t *epochs, unsigned *count, struct tiercel_event *ev)
{
    if (cont == NULL || count == NULL)
        return fail(cont, TL_DO_SNAP_LIST, 0, 0, cont == NULL ? -EBADF : -EINVAL);
    const struct tl_call call = {.run = run_snap_list,
                                 .pool = cont->pool,
                                 .cont = cont,
                                 .verb = TL_DO_SNAP_LIST,
                                 .args.snapshots = {.epochs = epochs, .count = count}};
    return tl_call_make(&call, ev);
}

/* ---- aggregation ---- */

static int run_aggregate(struct tl_call *call, struct tl_error *err)
{
    struct tl_aggregation *a = call->args.aggregate.state;
    (void)err;
    if (call->cont->stop)
        return -ECANCELED;
    int rc = tl_cont_aggregate(call->cont->inner, a);
    if (rc == 0 && call->args.aggregate.out != NULL)
        *call->args.aggregate.out = a->done;
    return rc > 0 ? TL_MORE : rc;
}

static void clean_aggregate(struct tl_call *call)
{
    free(call->args.aggregate.state);
}

int tiercel_cont_aggregate(struct tiercel_cont *cont, struct tiercel_aggregated *out, struct tiercel_event *ev)
{
    if (cont == NULL)
        return fail(NULL, TL_DO_AGGREGATE, 0, 0, -EBADF);
    struct tl_aggregation *state = calloc(1, sizeof *state);
    if (state == NULL)
        return fail(cont, TL_DO_AGGREGATE, 0, 0, -ENOMEM);
    const struct tl_call call = {.run = run_aggregate,
                                 .clean = clean_aggregate,
                                 .pool = cont->pool,
                                 .cont = cont,
                                 .verb = TL_DO_AGGREGATE,
                                 .args.aggregate = {.state = state, .out = out}};
    return tl_call_make(&call, ev);
}
