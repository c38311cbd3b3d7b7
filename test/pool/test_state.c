// SPDX-License-Identifier: Apache-2.0
/* A container's epochs in a store: the same as the state machine by itself, after any operations, and for several processes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/prng.h"
#include "pool/state.h"

#define ROOM 512u

struct scene {
    char where[128];
    struct tl_store *store;
};

static const struct tl_store_id id = {{4, 2}};

static struct tl_store *open_pool(const char *where, bool create)
{
    const struct tl_store_config config = {.create = create, .map_bytes = 64 << 20};
    struct tl_store *s = NULL;
    struct tl_error err = {.code = 0};
    if (tl_store_embedded_open(&s, where, &config, &err) != 0)
        fprintf(stderr, "%s\n", err.msg);
    return s;
}

static void scene_new(struct scene *x)
{
    const char *base = getenv("TMPDIR");
    snprintf(x->where, sizeof x->where, "%.60s/tl-state-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(x->where));
    x->store = open_pool(x->where, true);
    assert_non_null(x->store);
}

static void scene_free(struct scene *x)
{
    struct tl_error err = {.code = 0};
    x->store->ops->close(x->store);
    assert_int_equal(tl_store_embedded_destroy(x->where, &err), 0);
}

static void a_container_is_made_once(void **state)
{
    (void)state;
    struct scene x;
    struct tl_state s = {.epochs.ghce = 0};
    struct tl_epoch_op op = {.type = TL_EPOCH_OPEN, .uuid = {1}};
    struct tl_epoch_effects effects;
    scene_new(&x);
    assert_int_equal(tl_state_load(&s, x.store, &id), -ENOENT);
    assert_int_equal(tl_state_apply(&s, x.store, &id, &op, &effects), -ENOENT);
    assert_int_equal(tl_state_create(x.store, &id), 0);
    assert_int_equal(tl_state_create(x.store, &id), -EEXIST);
    assert_int_equal(tl_state_load(&s, x.store, &id), 0);
    assert_int_equal(s.epochs.next_handle, 1);
    tl_state_fini(&s);
    scene_free(&x);
}

static int write_newer(void *ctx, struct tl_store_tx *tx)
{
    (void)ctx;
    return tx->ops->put(tx, (struct tl_slice){"n", 1}, (struct tl_slice){"newer", 5});
}

static void a_newer_format_is_not_misread(void **state)
{
    (void)state;
    struct scene x;
    struct tl_state s = {.epochs.ghce = 0};
    scene_new(&x);
    assert_int_equal(x.store->ops->change(x.store, &id, write_newer, NULL), 0);
    assert_int_equal(tl_state_load(&s, x.store, &id), -EBADMSG);
    tl_state_fini(&s);
    scene_free(&x);
}

/* ---- beside the machine itself ---- */

struct alone {
    struct tl_epochs e;
    struct tl_epoch_handle handles[ROOM];
    struct tl_epoch_tomb tombs[ROOM];
    uint64_t snapshots[ROOM];
};

static void assert_same_handle(const struct tl_epoch_handle *a, const struct tl_epoch_handle *b)
{
    assert_true(a->era == b->era && a->capas == b->capas && a->uuid[0] == b->uuid[0] && a->uuid[1] == b->uuid[1]);
    assert_true(a->hce == b->hce && a->lhe == b->lhe && a->lre == b->lre && a->failed == b->failed);
}

static void assert_same(const struct tl_epochs *a, const struct tl_epochs *b)
{
    assert_int_equal(a->ghce, b->ghce);
    assert_int_equal(a->ghpce, b->ghpce);
    assert_int_equal(a->swept, b->swept);
    assert_int_equal(a->next_handle, b->next_handle);
    assert_int_equal(a->handle_count, b->handle_count);
    assert_int_equal(a->tomb_count, b->tomb_count);
    assert_int_equal(a->snapshot_count, b->snapshot_count);
    for (uint32_t i = 0; i < a->handle_count; i++) {
        const struct tl_epoch_handle *h = tl_epochs_handle(b, a->handles[i].id);
        assert_non_null(h);
        assert_same_handle(&a->handles[i], h);
    }
    for (uint32_t i = 0; i < a->tomb_count; i++) {
        const struct tl_epoch_tomb *t = &a->tombs[i];
        assert_false(tl_epochs_counts(b, t->handle, t->era, t->first));
        assert_int_equal(tl_epochs_counts(a, t->handle, t->era, t->last),
                         tl_epochs_counts(b, t->handle, t->era, t->last));
    }
    if (a->snapshot_count > 0)
        assert_memory_equal(a->snapshots, b->snapshots, a->snapshot_count * sizeof *a->snapshots);
}

static void draw(struct tl_prng *p, const struct tl_epochs *e, struct tl_epoch_op *op, uint64_t step)
{
    *op = (struct tl_epoch_op){.type = (enum tl_epoch_op_type)(1 + tl_prng_below(p, TL_EPOCH_SWEPT))};
    if (e->handle_count > 0)
        op->handle = e->handles[tl_prng_below(p, e->handle_count)].id;
    op->epoch = tl_prng_below(p, 8) == 0 ? 0 : e->ghce + tl_prng_below(p, 5);
    op->last = op->epoch + tl_prng_below(p, 3);
    op->capas = tl_prng_below(p, 4) == 0 ? 0 : TL_EPOCH_WRITE;
    op->uuid[0] = step;
    if (op->type == TL_EPOCH_SWEPT && e->tomb_count > 0) {
        const struct tl_epoch_tomb *t = &e->tombs[tl_prng_below(p, e->tomb_count)];
        op->handle = t->handle;
        op->era = t->era;
        op->epoch = t->first;
        op->last = t->last;
    }
}

static void a_store_keeps_what_the_machine_says(void **state)
{
    (void)state;
    static struct alone alone = {.e = {.handle_max = ROOM, .tomb_max = ROOM, .snapshot_max = ROOM}};
    struct scene x;
    struct tl_prng p;
    struct tl_state s = {.epochs.ghce = 0};
    uint32_t done = 0;
    scene_new(&x);
    alone.e.handles = alone.handles;
    alone.e.tombs = alone.tombs;
    alone.e.snapshots = alone.snapshots;
    tl_epochs_init(&alone.e);
    assert_int_equal(tl_state_create(x.store, &id), 0);
    tl_prng_init(&p, 11, 0);
    for (uint64_t step = 0; step < 400; step++) {
        struct tl_epoch_op op, same;
        struct tl_epoch_effects first, second;
        draw(&p, &alone.e, &op, step);
        same = op;
        int rc = tl_epochs_apply(&alone.e, &op, &first);
        assert_int_equal(tl_state_apply(&s, x.store, &id, &same, &second), rc);
        if (rc == 0) {
            assert_true(first.handle == second.handle && first.visible == second.visible);
            assert_true(first.tomb_added == second.tomb_added && first.handle_gone == second.handle_gone);
            assert_int_equal(op.epoch, same.epoch);
            assert_int_equal(op.handle, same.handle);
            done++;
        }
        assert_same(&alone.e, &s.epochs);
        if (step % 20 == 0) { /* and from the disk */
            x.store->ops->close(x.store);
            x.store = open_pool(x.where, false);
            assert_int_equal(tl_state_load(&s, x.store, &id), 0);
            assert_same(&alone.e, &s.epochs);
        }
    }
    assert_true(done > 100);
    tl_state_fini(&s);
    scene_free(&x);
}

/* ---- several processes ---- */

static bool commit_some(const char *where, uint64_t who, uint32_t times)
{
    struct tl_store *store = open_pool(where, false);
    struct tl_state s = {.epochs.ghce = 0};
    struct tl_epoch_effects effects;
    struct tl_epoch_op open = {.type = TL_EPOCH_OPEN, .uuid = {who, 1}, .capas = TL_EPOCH_WRITE};
    bool ok = store != NULL && tl_state_apply(&s, store, &id, &open, &effects) == 0;
    for (uint32_t i = 0; ok && i < times; i++) {
        struct tl_epoch_op hold = {.type = TL_EPOCH_HOLD, .handle = open.handle};
        ok = tl_state_apply(&s, store, &id, &hold, &effects) == 0;
        struct tl_epoch_op commit = {.type = TL_EPOCH_COMMIT, .handle = open.handle, .epoch = hold.epoch};
        ok = ok && tl_state_apply(&s, store, &id, &commit, &effects) == 0;
        ok = ok && tl_epochs_verify(&s.epochs) == NULL;
    }
    struct tl_epoch_op end = {.type = TL_EPOCH_CLOSE, .handle = open.handle};
    ok = ok && tl_state_apply(&s, store, &id, &end, &effects) == 0;
    tl_state_fini(&s);
    if (store != NULL)
        store->ops->close(store);
    return ok;
}

static void processes_see_one_order_of_operations(void **state)
{
    (void)state;
    enum { PROCESSES = 3, TIMES = 8 };
    struct scene x;
    struct tl_state s = {.epochs.ghce = 0};
    scene_new(&x);
    assert_int_equal(tl_state_create(x.store, &id), 0);
    x.store->ops->close(x.store);
    pid_t pids[PROCESSES];
    for (uint64_t i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            _exit(commit_some(x.where, i, TIMES) ? 0 : 1);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    x.store = open_pool(x.where, false);
    assert_int_equal(tl_state_load(&s, x.store, &id), 0);
    assert_int_equal(s.epochs.handle_count, 0);
    assert_int_equal(s.epochs.ghce, s.epochs.ghpce); /* nobody holds anything back any more */
    assert_true(s.epochs.ghce >= TIMES && s.epochs.ghce <= PROCESSES * TIMES);
    tl_state_fini(&s);
    scene_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_container_is_made_once),
        cmocka_unit_test(a_newer_format_is_not_misread),
        cmocka_unit_test(a_store_keeps_what_the_machine_says),
        cmocka_unit_test(processes_see_one_order_of_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
