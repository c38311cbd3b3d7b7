// SPDX-License-Identifier: Apache-2.0
/* Epochs through the public interface, blocking and with events: the numbers of the EPOCH tests of DAOS, the cases E1 to E20 in which it was
 * not clear what they should be, and what becomes of writes. */
#include "client/scene.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* ---- steps ---- */

enum op {
    END,
    OPEN, /* epoch: the flags */
    CLOSE,
    QUERY,
    HOLD, /* result: what is held then, without the topmost bit */
    COMMIT,
    FLUSH,
    DISCARD,
    SLIP,
    WRITE, /* the epoch's number, into the same object */
    READ,  /* result: the number */
    SNAP,
    UNSNAP,
    WAIT,
    AGGREGATE
};
static const char *const names[] = {"end",  "open",  "close", "query", "hold",   "commit", "flush",    "discard",
                                    "slip", "write", "read",  "snap",  "unsnap", "wait",   "aggregate"};

struct step {
    char who; /* handle 'a' is the scene's; others are opened */
    enum op op;
    uint64_t epoch, last;
    int64_t result;
    struct tiercel_epochs after; /* hce lre lhe ghce glre ghpce; all 0: not looked at */
};
#define STEPS 24

struct scenario {
    const char *name;
    struct step steps[STEPS];
};

static const struct scenario scenarios[] = {
    {"a new container has nothing", {{'a', QUERY, 0, 0, 0, {0, 0, MAX, 0, 0, 0}}}},
    {"a hold changes the lhe only",
     {{'a', HOLD, 10, 0, 10, {0, 0, 10, 0, 0, 0}},
      {'a', HOLD, 20, 0, 20, {0, 0, 20, 0, 0, 0}},
      {'a', HOLD, 15, 0, 15, {0, 0, 15, 0, 0, 0}},
      {'a', HOLD, MAX, 0, INT64_MAX, {0, 0, MAX, 0, 0, 0}}}},
    {"what is not held is not committed (E9, E11)",
     {{'a', COMMIT, 10, 0, -EROFS, {.hce = 0}},
      {'a', HOLD, 10, 0, 10, {0, 0, 10, 0, 0, 0}},
      {'a', COMMIT, 9, 0, -EROFS, {.hce = 0}},
      {'a', COMMIT, MAX, 0, -EOVERFLOW, {.hce = 0}},
      {'a', COMMIT, 10, 0, 0, {10, 10, 11, 10, 10, 10}},
      {'a', COMMIT, 8, 0, 0, {10, 10, 11, 10, 10, 10}},
      {'a', COMMIT, 10, 0, 0, {10, 10, 11, 10, 10, 10}},
      {'a', HOLD, MAX, 0, INT64_MAX, {10, 10, MAX, 10, 10, 10}},
      {'a', COMMIT, 11, 0, -EROFS, {.hce = 0}}}},
    {"a commit is of all epochs below it",
     {{'a', HOLD, 11, 0, 11, {0, 0, 11, 0, 0, 0}},
      {'a', WRITE, 12, 0, 0, {.hce = 0}},
      {'a', WRITE, 17, 0, 0, {.hce = 0}},
      {'a', COMMIT, 30, 0, 0, {30, 30, 31, 30, 30, 30}},
      {'a', READ, 30, 0, 17, {.hce = 0}}}},
    {"two who hold: ghce is below the lower hold (E1 to E5)",
     {{'b', OPEN, TIERCEL_RW, 0, 0, {.hce = 0}},
      {'a', HOLD, 10, 0, 10, {0, 0, 10, 0, 0, 0}},
      {'b', HOLD, 20, 0, 20, {0, 0, 20, 0, 0, 0}},
      {'a', COMMIT, 10, 0, 0, {10, 10, 11, 10, 0, 10}},
      {'a', COMMIT, 30, 0, 0, {30, 30, 31, 19, 0, 30}},
      {'b', QUERY, 0, 0, 0, {0, 0, 20, 19, 0, 30}},
      {'b', COMMIT, 25, 0, 0, {25, 25, 26, 25, 25, 30}},
      {'a', CLOSE, 0, 0, 0, {.hce = 0}},
      {'b', QUERY, 0, 0, 0, {25, 25, 26, 25, 25, 30}},
      {'b', COMMIT, 27, 0, 0, {27, 27, 28, 27, 27, 30}},
      {'b', WRITE, 29, 0, 0, {.hce = 0}},
      {'b', CLOSE, 0, 0, 0, {.hce = 0}},
      {'c', OPEN, TIERCEL_RW, 0, 0, {.hce = 0}},
      {'c', QUERY, 0, 0, 0, {30, 30, MAX, 30, 30, 30}},
      {'c', READ, 30, 0, 0, {.hce = 0}}}},
    {"the first that nobody has committed (E6)",
     {{'a', HOLD, 1, 0, 1, {.hce = 0}},
      {'a', COMMIT, 10, 0, 0, {10, 10, 11, 10, 10, 10}},
      {'a', HOLD, 0, 0, 11, {10, 10, 11, 10, 10, 10}},
      {'b', OPEN, TIERCEL_RW, 0, 0, {.hce = 0}},
      {'b', HOLD, 5, 0, 11, {10, 10, 11, 10, 10, 10}},
      {'b', HOLD, 0, 0, 11, {10, 10, 11, 10, 10, 10}}}},
    {"holds in what is partly committed (E7, E8)",
     {{'a', HOLD, 10, 0, 10, {.hce = 0}},
      {'b', OPEN, TIERCEL_RW, 0, 0, {.hce = 0}},
      {'b', HOLD, 20, 0, 20, {.hce = 0}},
      {'a', COMMIT, 30, 0, 0, {30, 30, 31, 19, 0, 30}},
      {'c', OPEN, TIERCEL_RW, 0, 0, {.hce = 0}},
      {'c', HOLD, 15, 0, 20, {19, 19, 20, 19, 0, 30}},
      {'a', HOLD, 25, 0, 31, {30, 30, 31, 19, 0, 30}},
      {'c', HOLD, 0, 0, 31, {19, 19, 31, 19, 0, 30}}}},
    {"a hold that rises gives up what was written (E12)",
     {{'a', HOLD, 10, 0, 10, {.hce = 0}},
      {'a', WRITE, 10, 0, 0, {.hce = 0}},
      {'a', WRITE, 19, 0, 0, {.hce = 0}},
      {'a', READ, 25, 0, 19, {.hce = 0}},
      {'a', HOLD, 20, 0, 20, {.hce = 0}},
      {'a', READ, 25, 0, 0, {.hce = 0}},
      {'a', WRITE, 20, 0, 0, {.hce = 0}},
      {'a', COMMIT, 20, 0, 0, {20, 20, 21, 20, 20, 20}},
      {'a', READ, 20, 0, 20, {.hce = 0}}}},
    {"reading above ghce is allowed, and clamped if asked for (E15)",
     {{'a', HOLD, 1, 0, 1, {.hce = 0}},
      {'a', WRITE, 1, 0, 0, {.hce = 0}},
      {'a', COMMIT, 1, 0, 0, {.hce = 0}},
      {'a', WRITE, 2, 0, 0, {.hce = 0}},
      {'a', READ, 0, 0, 1, {.hce = 0}},
      {'a', READ, 2, 0, 2, {.hce = 0}},
      {'a', READ, MAX - 1, 0, 2, {.hce = 0}}}},
    {"references slip, and never back (E16, E18)",
     {{'a', HOLD, 10, 0, 10, {.hce = 0}},
      {'a', COMMIT, 50, 0, 0, {50, 50, 51, 50, 50, 50}},
      {'b', OPEN, TIERCEL_RO, 0, 0, {.hce = 0}},
      {'b', QUERY, 0, 0, 0, {50, 50, MAX, 50, 50, 50}},
      {'a', COMMIT, 60, 0, 0, {60, 60, 61, 60, 50, 60}},
      {'b', READ, 49, 0, -ESTALE, {.hce = 0}},
      {'b', READ, 50, 0, 0, {.hce = 0}},
      {'b', SLIP, 55, 0, 0, {50, 55, MAX, 60, 55, 60}},
      {'b', SLIP, 15, 0, 0, {50, 55, MAX, 60, 55, 60}},
      {'b', READ, 50, 0, -ESTALE, {.hce = 0}},
      {'b', SLIP, MAX, 0, -EOVERFLOW, {.hce = 0}},
      {'b', SLIP, 100, 0, 0, {50, 100, MAX, 60, 60, 60}},
      {'b', READ, 60, 0, 0, {.hce = 0}}}},
    {"discarded is one epoch, and it stays held (IO17)",
     {{'a', HOLD, 5, 0, 5, {.hce = 0}},
      {'a', WRITE, 5, 0, 0, {.hce = 0}},
      {'a', WRITE, 6, 0, 0, {.hce = 0}},
      {'a', WRITE, 7, 0, 0, {.hce = 0}},
      {'a', DISCARD, 6, 6, 0, {0, 0, 5, 0, 0, 0}},
      {'a', READ, 6, 0, 5, {.hce = 0}},
      {'a', READ, 7, 0, 7, {.hce = 0}},
      {'a', DISCARD, 4, 6, -EROFS, {.hce = 0}},
      {'a', DISCARD, MAX, MAX, -EOVERFLOW, {.hce = 0}},
      {'a', DISCARD, 7, 6, -EINVAL, {.hce = 0}},
      {'a', WRITE, 6, 0, 0, {.hce = 0}},
      {'a', READ, 6, 0, 6, {.hce = 0}},
      {'a', CLOSE, 0, 0, 0, {.hce = 0}},
      {'b', OPEN, TIERCEL_RW, 0, 0, {.hce = 0}},
      {'b', READ, 7, 0, 0, {.hce = 0}}}},
    {"committed is what stays (IO18)",
     {{'a', HOLD, 5, 0, 5, {.hce = 0}},
      {'a', WRITE, 5, 0, 0, {.hce = 0}},
      {'a', WRITE, 6, 0, 0, {.hce = 0}},
      {'a', WRITE, 7, 0, 0, {.hce = 0}},
      {'a', FLUSH, 7, 0, 0, {.hce = 0}},
      {'a', COMMIT, 5, 0, 0, {.hce = 0}},
      {'a', COMMIT, 7, 0, 0, {7, 7, 8, 7, 7, 7}},
      {'a', CLOSE, 0, 0, 0, {.hce = 0}},
      {'b', OPEN, TIERCEL_RO, 0, 0, {.hce = 0}},
      {'b', READ, 7, 0, 7, {.hce = 0}},
      {'b', READ, 6, 0, -ESTALE, {.hce = 0}}}},
    {"without NOSLIP references follow commits, with it they stay",
     {{'a', CLOSE, 0, 0, 0, {.hce = 0}},
      {'b', OPEN, TIERCEL_RW | TIERCEL_NOSLIP, 0, 0, {.hce = 0}},
      {'b', HOLD, 1, 0, 1, {.hce = 0}},
      {'b', WRITE, 1, 0, 0, {.hce = 0}},
      {'b', COMMIT, 1, 0, 0, {1, 0, 2, 1, 0, 1}},
      {'b', WRITE, 2, 0, 0, {.hce = 0}},
      {'b', COMMIT, 2, 0, 0, {2, 0, 3, 2, 0, 2}},
      {'b', READ, 1, 0, 1, {.hce = 0}},
      {'b', CLOSE, 0, 0, 0, {.hce = 0}},
      {'c', OPEN, TIERCEL_RW, 0, 0, {.hce = 0}},
      {'c', READ, 1, 0, -ESTALE, {.hce = 0}}}},
    {"who only reads may not write",
     {{'b', OPEN, TIERCEL_RO, 0, 0, {.hce = 0}},
      {'b', HOLD, 1, 0, -EACCES, {.hce = 0}},
      {'b', WRITE, 1, 0, -EACCES, {.hce = 0}},
      {'b', FLUSH, 1, 0, -EACCES, {.hce = 0}},
      {'b', COMMIT, 1, 0, -EACCES, {.hce = 0}},
      {'b', DISCARD, 1, 1, -EACCES, {.hce = 0}},
      {'b', WAIT, 0, 0, 0, {0, 0, MAX, 0, 0, 0}},
      {'b', SLIP, 0, 0, 0, {0, 0, MAX, 0, 0, 0}}}},
    {"writing below what is held",
     {{'a', WRITE, 1, 0, -EROFS, {.hce = 0}},
      {'a', FLUSH, 1, 0, -EROFS, {.hce = 0}},
      {'a', HOLD, 5, 0, 5, {.hce = 0}},
      {'a', WRITE, 4, 0, -EROFS, {.hce = 0}},
      {'a', FLUSH, 4, 0, -EROFS, {.hce = 0}},
      {'a', WRITE, MAX, 0, -EOVERFLOW, {.hce = 0}},
      {'a', HOLD, MAX - 1, 0, INT64_MAX - 1, {.hce = 0}},
      {'a', COMMIT, MAX - 1, 0, 0, {.hce = 0}},
      {'a', HOLD, 0, 0, -EOVERFLOW, {.hce = 0}}}},
    {"snapshots are of what is final, and stay (E17)",
     {{'a', HOLD, 1, 0, 1, {.hce = 0}},
      {'a', WRITE, 1, 0, 0, {.hce = 0}},
      {'a', COMMIT, 1, 0, 0, {.hce = 0}},
      {'a', SNAP, 1, 0, 0, {.hce = 0}},
      {'a', SNAP, 1, 0, 0, {.hce = 0}},
      {'a', SNAP, 2, 0, -ENOENT, {.hce = 0}},
      {'a', WRITE, 2, 0, 0, {.hce = 0}},
      {'a', COMMIT, 2, 0, 0, {2, 2, 3, 2, 2, 2}},
      {'a', AGGREGATE, 0, 0, 0, {.hce = 0}},
      {'a', READ, 1, 0, 1, {.hce = 0}},
      {'a', UNSNAP, 1, 0, 0, {.hce = 0}},
      {'a', UNSNAP, 1, 0, -ENOENT, {.hce = 0}},
      {'a', READ, 1, 0, -ESTALE, {.hce = 0}},
      {'a', SNAP, 1, 0, -ENOENT, {.hce = 0}}}},
};

struct run {
    struct scene *x;
    struct tiercel_cont *handle[3];
    struct tiercel_epochs now; /* after the last step */
    uint64_t number;
};

static int64_t do_read(struct run *r, struct tiercel_cont *c, const struct step *s)
{
    uint64_t len = sizeof r->number;
    r->number = 0;
    int rc = ended(r->x, tiercel_array_read(c, s->epoch, (struct tiercel_oid){0, 7}, 0, &r->number, &len, ev_of(r->x)));
    return rc != 0 ? rc : len == 0 ? 0 : (int64_t)r->number;
}

static int64_t do_handle(struct run *r, const struct step *s)
{
    struct tiercel_cont **c = &r->handle[s->who - 'a'];
    if (s->op == OPEN)
        return tiercel_cont_open(c, r->x->pool, "c", (unsigned)s->epoch, NULL);
    int rc = tiercel_cont_close(*c);
    if (*c == r->x->cont)
        r->x->cont = NULL;
    *c = NULL;
    return rc;
}

static int64_t do_step(struct run *r, const struct step *s)
{
    struct scene *x = r->x;
    struct tiercel_cont *c = r->handle[s->who - 'a'];
    struct tiercel_epochs *out = &r->now;
    uint64_t epoch = s->epoch;
    switch (s->op) {
    case OPEN:
    case CLOSE: return do_handle(r, s);
    case QUERY: return ended(x, tiercel_epoch_query(c, out, ev_of(x)));
    case COMMIT: return ended(x, tiercel_epoch_commit(c, epoch, out, ev_of(x)));
    case FLUSH: return ended(x, tiercel_epoch_flush(c, epoch, out, ev_of(x)));
    case DISCARD: return ended(x, tiercel_epoch_discard(c, epoch, s->last, out, ev_of(x)));
    case SLIP: return ended(x, tiercel_epoch_slip(c, epoch, out, ev_of(x)));
    case WAIT: return ended(x, tiercel_epoch_wait(c, epoch, out, ev_of(x)));
    case SNAP: return ended(x, tiercel_snap_create(c, epoch, ev_of(x)));
    case UNSNAP: return ended(x, tiercel_snap_destroy(c, epoch, ev_of(x)));
    case AGGREGATE: return ended(x, tiercel_cont_aggregate(c, NULL, ev_of(x)));
    case READ: return do_read(r, c, s);
    case WRITE:
        return ended(
            x, tiercel_array_write(c, epoch, (struct tiercel_oid){0, 7}, 0, &s->epoch, sizeof s->epoch, ev_of(x)));
    case HOLD: {
        int rc = ended(x, tiercel_epoch_hold(c, &epoch, out, ev_of(x)));
        return rc != 0 ? rc : (int64_t)(epoch & INT64_MAX);
    }
    default: return -ENOSYS;
    }
}

static void print_epochs(const char *what, const struct tiercel_epochs *e)
{
    print_error("  %s: hce %" PRIu64 " lre %" PRIu64 " lhe %" PRIu64 " ghce %" PRIu64 " glre %" PRIu64 " ghpce %" PRIu64
                "\n",
                what, e->hce, e->lre, e->lhe, e->ghce, e->glre, e->ghpce);
}

static void run_scenario(struct run *r, const struct scenario *sc)
{
    static const struct tiercel_epochs not_looked_at = {.hce = 0};
    for (int i = 0; i < STEPS && sc->steps[i].op != END; i++) {
        const struct step *s = &sc->steps[i];
        struct tiercel_cont *c = r->handle[s->who - 'a'];
        const struct tiercel_epochs before = s->result < 0 && c != NULL ? epochs_of(c) : not_looked_at;
        const int64_t result = do_step(r, s);
        if (result != s->result)
            fail_msg("%s: step %d, %c %s %" PRIu64 ": %" PRId64 " instead of %" PRId64 " (%s)", sc->name, i, s->who,
                     names[s->op], s->epoch, result, s->result, tiercel_why(NULL));
        if (s->result < 0 && c != NULL)
            assert_true(same_epochs(before, epochs_of(c))); /* nothing has changed */
        if (!same_epochs(s->after, not_looked_at) && s->result >= 0 && s->op != OPEN && s->op != CLOSE &&
            !same_epochs(s->after, r->now)) {
            print_epochs("is", &r->now);
            print_epochs("should be", &s->after);
            fail_msg("%s: after step %d, %c %s %" PRIu64, sc->name, i, s->who, names[s->op], s->epoch);
        }
    }
}

static void the_numbers_are_those_of_the_model(void **state)
{
    struct scene *x = *state;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        struct run r = {.x = x, .handle = {x->cont}};
        run_scenario(&r, &scenarios[i]);
        for (int h = 1; h < 3; h++)
            assert_int_equal(tiercel_cont_close(r.handle[h]), 0);
        assert_int_equal(tiercel_cont_close(x->cont), 0);
        assert_int_equal(tiercel_cont_destroy(x->pool, "c", 0, NULL), 0);
        scene_create(x, "c");
        x->cont = scene_open(x, "c", TIERCEL_RW);
    }
}

/* ---- many epochs ---- */

#define FIRST 10u
#define LAST  109u

/* Writes each epoch's number at FIRST..LAST, commits, and lets references slip. */
static struct tiercel_cont *filled(struct scene *x)
{
    uint64_t epoch = FIRST;
    struct tiercel_cont *c = scene_open(x, "c", TIERCEL_RW | TIERCEL_NOSLIP);
    assert_int_equal(tiercel_cont_close(x->cont), 0);
    x->cont = NULL;
    assert_int_equal(ended(x, tiercel_epoch_hold(c, &epoch, NULL, ev_of(x))), 0);
    for (uint64_t e = FIRST; e <= LAST; e++)
        assert_int_equal(put(c, e, 1, e), 0);
    assert_int_equal(ended(x, tiercel_epoch_commit(c, LAST, NULL, ev_of(x))), 0);
    return c;
}

static bool is_in(uint64_t e, const uint64_t *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (list[i] == e)
            return true;
    return false;
}

/* Epochs from `from` on, and the snapshots, show what was written; the others say that they are gone. */
static void check_readable(struct tiercel_cont *c, uint64_t from, const uint64_t *snapshots, unsigned count)
{
    for (uint64_t e = FIRST; e <= LAST; e++) {
        const int64_t expected = e >= from || is_in(e, snapshots, count) ? (int64_t)e : -ESTALE;
        if (got(c, e, 1) != expected)
            fail_msg("epoch %" PRIu64 ": %" PRId64 " instead of %" PRId64, e, got(c, e, 1), expected);
    }
}

static void what_nobody_refers_to_is_aggregated(void **state)
{
    struct scene *x = *state;
    struct tiercel_cont *c = filled(x);
    struct tiercel_aggregated done;
    struct tiercel_epochs e;
    check_readable(c, FIRST, NULL, 0);
    assert_int_equal(ended(x, tiercel_epoch_slip(c, 95, &e, ev_of(x))), 0);
    assert_true(same_epochs(e, (struct tiercel_epochs){LAST, 95, LAST + 1, LAST, 95, LAST}));
    assert_int_equal(ended(x, tiercel_cont_aggregate(c, &done, ev_of(x))), 0);
    assert_int_equal(done.below, 95);
    assert_int_equal(done.records, 95 - FIRST); /* 95 needs none of those below */
    check_readable(c, 95, NULL, 0);
    assert_int_equal(ended(x, tiercel_epoch_slip(c, 15, &e, ev_of(x))), 0); /* back it does not go */
    assert_int_equal(e.lre, 95);
    assert_int_equal(put(c, LAST + 1, 1, LAST + 1), 0);
    assert_int_equal(ended(x, tiercel_epoch_commit(c, LAST + 1, &e, ev_of(x))), 0);
    assert_true(same_epochs(e, (struct tiercel_epochs){LAST + 1, 95, LAST + 2, LAST + 1, 95, LAST + 1}));
    check_readable(c, 95, NULL, 0);
    assert_int_equal(tiercel_cont_close(c), 0);
}

static void snapshots_keep_what_would_be_aggregated(void **state)
{
    static const uint64_t some[] = {81, 21, 29, 78, 35, 47, 57}, sorted[] = {21, 29, 35, 47, 57, 78, 81};
    struct scene *x = *state;
    struct tiercel_cont *c = filled(x);
    uint64_t list[16];
    assert_int_equal(ended(x, tiercel_epoch_slip(c, 21, NULL, ev_of(x))), 0);
    assert_int_equal(ended(x, tiercel_snap_create(c, 20, ev_of(x))), -ENOENT);
    assert_int_equal(ended(x, tiercel_snap_create(c, LAST + 1, ev_of(x))), -ENOENT);
    for (int i = 0; i < 7; i++)
        assert_int_equal(ended(x, tiercel_snap_create(c, some[i], ev_of(x))), 0);
    static const unsigned rooms[] = {0, 3, 7, 16};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        unsigned count = rooms[i];
        memset(list, 0xee, sizeof list);
        assert_int_equal(ended(x, tiercel_snap_list(c, rooms[i] == 0 ? NULL : list, &count, ev_of(x))), 0);
        assert_int_equal(count, 7);
        const unsigned shown = rooms[i] < 7 ? rooms[i] : 7;
        assert_memory_equal(list, sorted, shown * sizeof *list);
        assert_true(shown == 16 || list[shown] == 0xeeeeeeeeeeeeeeee); /* the rest is left alone */
    }
    assert_int_equal(ended(x, tiercel_epoch_slip(c, 40, NULL, ev_of(x))), 0);
    assert_int_equal(ended(x, tiercel_cont_aggregate(c, NULL, ev_of(x))), 0);
    check_readable(c, 40, sorted, 7);
    assert_int_equal(ended(x, tiercel_snap_destroy(c, 29, ev_of(x))), 0);
    assert_int_equal(ended(x, tiercel_cont_aggregate(c, NULL, ev_of(x))), 0);
    static const uint64_t rest[] = {21, 35, 47, 57, 78, 81};
    check_readable(c, 40, rest, 6);
    assert_int_equal(tiercel_cont_close(c), 0);
}

static void a_snapshot_is_opened_for_reading(void **state)
{
    struct scene *x = *state;
    struct tiercel_cont *c = filled(x), *at = NULL;
    struct tiercel_error err = {.code = 0};
    assert_int_equal(ended(x, tiercel_snap_create(c, 50, ev_of(x))), 0);
    assert_int_equal(tiercel_cont_open_snapshot(&at, x->pool, "c", 51, &err), -ENOENT);
    assert_int_equal(err.code, -ENOENT);
    assert_non_null(strstr(err.message, "51"));
    assert_int_equal(tiercel_cont_open_snapshot(&at, x->pool, "c", 50, NULL), 0);
    assert_int_equal(got(at, TIERCEL_EPOCH_NOW, 1), 50);
    assert_int_equal(got(c, TIERCEL_EPOCH_NOW, 1), LAST);
    assert_int_equal(put(at, LAST + 1, 1, 1), -EACCES);
    uint8_t bytes[512];
    size_t len = sizeof bytes;
    struct tiercel_cont *shared = NULL; /* the same for whoever gets it */
    assert_int_equal(tiercel_cont_local2global(at, bytes, &len), 0);
    assert_int_equal(tiercel_cont_global2local(&shared, x->pool, bytes, len, &err), 0);
    assert_int_equal(got(shared, TIERCEL_EPOCH_NOW, 1), 50);
    assert_int_equal(tiercel_cont_close(shared), 0);
    assert_int_equal(tiercel_cont_close(at), 0);
    assert_int_equal(tiercel_cont_close(c), 0);
}

/* ---- what is not committed goes (ERECOV) ---- */

static void by_close(struct scene *x)
{
    assert_int_equal(tiercel_cont_close(x->cont), 0);
    x->cont = NULL;
}

static void by_disconnect(struct scene *x)
{
    assert_int_equal(tiercel_pool_disconnect(x->pool), 0);
    x->pool = NULL;
}

static void by_pool_evict(struct scene *x)
{
    assert_int_equal(tiercel_pool_evict(x->where, NULL), 0);
}

static void by_cont_evict(struct scene *x)
{
    assert_int_equal(tiercel_cont_evict(x->pool, "c", NULL), 1);
}

static void what_was_not_committed_is_gone_whatever_ended_it(void **state)
{
    static void (*const ways[])(struct scene *) = {by_close, by_disconnect, by_pool_evict, by_cont_evict};
    struct scene *x = *state;
    for (uint64_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        uint64_t epoch = 0;
        assert_int_equal(ended(x, tiercel_epoch_hold(x->cont, &epoch, NULL, ev_of(x))), 0);
        assert_int_equal(put(x->cont, epoch, i, 100), 0);
        assert_int_equal(ended(x, tiercel_epoch_commit(x->cont, epoch, NULL, ev_of(x))), 0);
        assert_int_equal(put(x->cont, epoch + 1, i, 200), 0);
        if (i % 2 == 0)
            assert_int_equal(ended(x, tiercel_epoch_flush(x->cont, epoch + 1, NULL, ev_of(x))), 0);
        ways[i](x);
        if (x->cont != NULL) {
            assert_int_equal(put(x->cont, epoch + 1, i, 300), -EBADF);
            assert_int_equal(ended(x, tiercel_epoch_commit(x->cont, epoch + 1, NULL, ev_of(x))), -EBADF);
            assert_int_equal(got(x->cont, epoch, i), -EBADF);
            assert_int_equal(tiercel_cont_close(x->cont), 0);
        }
        if (i == 2)
            assert_int_equal(tiercel_pool_disconnect(x->pool), 0);
        if (i == 1 || i == 2)
            assert_int_equal(tiercel_pool_connect(&x->pool, x->where, TIERCEL_RW, NULL), 0);
        x->cont = scene_open(x, "c", TIERCEL_RW);
        assert_int_equal(epochs_of(x->cont).hce, epoch);
        assert_int_equal(got(x->cont, epoch + 1, i), 100);
    }
}

#define both(name)                                                                                                     \
    cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown),                                                \
    {                                                                                                                  \
#name " (events)", name, scene_setup_async, scene_teardown, NULL                                               \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        both(the_numbers_are_those_of_the_model),
        both(what_nobody_refers_to_is_aggregated),
        both(snapshots_keep_what_would_be_aggregated),
        both(a_snapshot_is_opened_for_reading),
        both(what_was_not_committed_is_gone_whatever_ended_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
