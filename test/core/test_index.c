// SPDX-License-Identifier: Apache-2.0
/* The index: random operations against a naive model, full tables, order of eviction, every allocation failed once. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/failing_alloc.h"
#include "base/prng.h"
#include "core/index/index.h"

#define OBJECTS 24u /* names in play: more than the tables hold */
#define NUMBERS 4u
#define TABLE   32u
#define STEPS   50000u

/* The naive model: what is known of each (object, number), searched one by one. */
struct entry {
    uint8_t state; /* enum tl_chunk_state */
    uint32_t slot;
    uint32_t pins;
};

struct model {
    struct entry chunks[OBJECTS][NUMBERS];
    uint32_t count;
};

static struct tl_hash key_of(uint32_t name)
{
    return tl_hash_bytes(&name, sizeof name, 0);
}

static const char *path_of(uint32_t name, char out[32])
{
    (void)snprintf(out, 32, "/data/%u", name);
    return out;
}

static bool object_known(const struct model *m, uint32_t name)
{
    for (uint32_t i = 0; i < NUMBERS; i++)
        if (m->chunks[name][i].state != TL_CHUNK_FREE)
            return true;
    return false;
}

static uint32_t objects_known(const struct model *m)
{
    uint32_t count = 0;
    for (uint32_t name = 0; name < OBJECTS; name++)
        count += object_known(m, name);
    return count;
}

/* Names are listings or files, by their number. */
static enum tl_op op_of(uint32_t name)
{
    return name % 2 == 0 ? TL_OP_READ : TL_OP_LIST;
}

static void add(struct tl_index *x, struct model *m, uint32_t name, uint32_t number)
{
    char path[32];
    struct entry *e = &m->chunks[name][number];
    if (e->state != TL_CHUNK_FREE)
        return;
    uint32_t object = tl_index_find_object(x, key_of(name));
    assert_int_equal(object != TL_SLOT_NONE, object_known(m, name));
    if (object == TL_SLOT_NONE) {
        object = tl_index_add_object(x, key_of(name), op_of(name));
        assert_int_equal(object == TL_SLOT_NONE, objects_known(m) == TABLE);
    }
    path_of(name, path);
    assert_int_equal(tl_index_set_path(x, object, path, (uint16_t)strlen(path)), 0);
    uint32_t chunk = tl_index_add_chunk(x, object, number);
    assert_int_equal(chunk == TL_SLOT_NONE, m->count == TABLE);
    if (chunk == TL_SLOT_NONE) {
        tl_index_settle_object(x, object);
        return;
    }
    x->chunks[chunk].flight = 7; /* whichever: only the node looks there */
    *e = (struct entry){.state = TL_CHUNK_FLIGHT, .slot = chunk};
    m->count++;
}

static void land(struct tl_index *x, struct entry *e, enum tl_chunk_state state)
{
    tl_index_land_chunk(x, e->slot, state);
    tl_index_settle_object(x, x->chunks[e->slot].object);
    e->state = (uint8_t)state;
}

static uint32_t evictable(struct model *m, uint32_t slot, struct entry **which)
{
    uint32_t count = 0;
    for (uint32_t name = 0; name < OBJECTS; name++)
        for (uint32_t i = 0; i < NUMBERS; i++) {
            struct entry *e = &m->chunks[name][i];
            bool may_go = (e->state == TL_CHUNK_PRESENT || e->state == TL_CHUNK_NEGATIVE) && e->pins == 0;
            count += may_go;
            if (may_go && e->slot == slot)
                *which = e;
        }
    return count;
}

static void remove_entry(struct tl_index *x, struct model *m, struct entry *e)
{
    tl_index_remove_chunk(x, e->slot);
    *e = (struct entry){.state = TL_CHUNK_FREE};
    m->count--;
}

static void evict(struct tl_index *x, struct model *m)
{
    struct entry *gone = NULL;
    uint32_t victim = tl_index_victim(x, 1), count = evictable(m, victim, &gone);
    assert_int_equal(victim == TL_SLOT_NONE, count == 0);
    assert_int_equal(gone == NULL, count == 0);
    if (gone != NULL)
        remove_entry(x, m, gone);
}

static void operate(struct tl_index *x, struct model *m, struct tl_prng *p)
{
    uint32_t name = (uint32_t)tl_prng_below(p, OBJECTS), number = (uint32_t)tl_prng_below(p, NUMBERS);
    struct entry *e = &m->chunks[name][number];
    bool here = e->state == TL_CHUNK_PRESENT || e->state == TL_CHUNK_NEGATIVE;
    switch (tl_prng_below(p, 8)) {
    case 0:
    case 1:
    case 2: add(x, m, name, number); break;
    case 3:
        if (e->state == TL_CHUNK_FLIGHT)
            land(x, e, tl_prng_below(p, 4) == 0 ? TL_CHUNK_NEGATIVE : TL_CHUNK_PRESENT);
        break;
    case 4:
        if (here) {
            tl_index_touch(x, e->slot);
        }
        break;
    case 5:
        if (here && (e->pins == 0 || tl_prng_below(p, 2) == 0)) {
            x->chunks[e->slot].pins++;
            e->pins++;
        } else if (e->pins > 0) {
            x->chunks[e->slot].pins--;
            e->pins--;
        }
        break;
    case 6:
        if (e->state != TL_CHUNK_FREE && e->pins == 0)
            remove_entry(x, m, e);
        break;
    default: evict(x, m); break;
    }
}

static void assert_agrees(const struct tl_index *x, const struct model *m)
{
    tl_index_verify(x);
    assert_int_equal(x->chunk_count, m->count);
    assert_int_equal(x->object_count, objects_known(m));
    char path[32], kept[32];
    for (uint32_t name = 0; name < OBJECTS; name++) {
        uint32_t object = tl_index_find_object(x, key_of(name));
        assert_int_equal(object != TL_SLOT_NONE, object_known(m, name));
        for (uint32_t i = 0; object != TL_SLOT_NONE && i < NUMBERS; i++) {
            const struct entry *e = &m->chunks[name][i];
            uint32_t chunk = tl_index_find_chunk(x, object, i);
            assert_int_equal(chunk, e->state == TL_CHUNK_FREE ? TL_SLOT_NONE : e->slot);
            assert_true(chunk == TL_SLOT_NONE || x->chunks[chunk].state == e->state);
        }
        if (object == TL_SLOT_NONE || x->objects[object].path == TL_PATH_NONE)
            continue;
        path_of(name, path);
        assert_int_equal(x->objects[object].path_len, strlen(path));
        tl_paths_get(x->paths, x->objects[object].path, kept, x->objects[object].path_len);
        assert_memory_equal(kept, path, strlen(path));
    }
}

static void random_operations_agree_with_a_naive_model(void **state)
{
    (void)state;
    static struct model m;
    struct tl_prng p;
    tl_prng_init(&p, 2, 0);
    struct tl_index *x = NULL;
    assert_int_equal(tl_index_new(&x, TABLE, TABLE), 0);
    uint32_t full = 0;
    for (uint32_t step = 0; step < STEPS; step++) {
        operate(x, &m, &p);
        full += m.count == TABLE;
        if (step % 16 == 0)
            assert_agrees(x, &m);
    }
    assert_true(full > 0);
    tl_index_free(x);
}

static uint32_t add_present(struct tl_index *x, uint32_t name, enum tl_op op)
{
    char path[32];
    path_of(name, path);
    uint32_t object = tl_index_add_object(x, key_of(name), op);
    assert_int_equal(tl_index_set_path(x, object, path, (uint16_t)strlen(path)), 0);
    uint32_t chunk = tl_index_add_chunk(x, object, 0);
    tl_index_land_chunk(x, chunk, TL_CHUNK_PRESENT);
    tl_index_settle_object(x, object);
    return chunk;
}

static void a_file_keeps_its_path_only_while_chunks_are_in_flight_and_a_listing_always(void **state)
{
    (void)state;
    struct tl_index *x = NULL;
    assert_int_equal(tl_index_new(&x, TABLE, TABLE), 0);
    uint32_t file = add_present(x, 0, TL_OP_READ), listing = add_present(x, 1, TL_OP_LIST);
    assert_int_equal(x->objects[x->chunks[file].object].path, TL_PATH_NONE);
    assert_int_not_equal(x->objects[x->chunks[listing].object].path, TL_PATH_NONE);
    assert_int_equal(tl_paths_used(x->paths), 1);
    tl_index_free(x);
}

static void an_object_that_is_held_outlives_its_chunks_and_keeps_its_path(void **state)
{
    (void)state;
    struct tl_index *x = NULL;
    assert_int_equal(tl_index_new(&x, TABLE, TABLE), 0);
    uint32_t chunk = add_present(x, 0, TL_OP_READ), object = x->chunks[chunk].object;
    x->objects[object].holds++;
    assert_int_equal(tl_index_set_path(x, object, "/p", 2), 0);
    tl_index_settle_object(x, object);
    tl_index_remove_chunk(x, chunk);
    assert_int_equal(tl_index_find_object(x, key_of(0)), object);
    assert_int_not_equal(x->objects[object].path, TL_PATH_NONE);
    x->objects[object].holds--;
    tl_index_settle_object(x, object);
    assert_int_equal(tl_index_find_object(x, key_of(0)), TL_SLOT_NONE);
    assert_int_equal(tl_paths_used(x->paths), 0);
    tl_index_verify(x);
    tl_index_free(x);
}

static void a_disowned_object_is_out_of_reach_but_there(void **state)
{
    (void)state;
    struct tl_index *x = NULL;
    assert_int_equal(tl_index_new(&x, TABLE, TABLE), 0);
    uint32_t old = add_present(x, 1, TL_OP_LIST);
    x->chunks[old].pins++;
    tl_index_disown_object(x, x->chunks[old].object);
    assert_int_equal(tl_index_find_object(x, key_of(1)), TL_SLOT_NONE);
    uint32_t new = add_present(x, 1, TL_OP_LIST);
    tl_index_verify(x);
    assert_int_not_equal(x->chunks[old].object, x->chunks[new].object);
    assert_int_equal(tl_index_victim(x, 1), new); /* the old one is in use */
    tl_index_remove_chunk(x, new);
    x->chunks[old].pins--;
    assert_int_equal(tl_index_victim(x, 1), old);
    tl_index_remove_chunk(x, old);
    tl_index_verify(x);
    tl_index_free(x);
}

static void what_was_handed_out_in_this_step_is_not_evicted_in_it(void **state)
{
    (void)state;
    struct tl_index *x = NULL;
    assert_int_equal(tl_index_new(&x, TABLE, TABLE), 0);
    uint32_t chunk = add_present(x, 0, TL_OP_READ);
    x->chunks[chunk].answered_step = 5;
    assert_int_equal(tl_index_victim(x, 5), TL_SLOT_NONE);
    assert_int_equal(tl_index_victim(x, 6), chunk);
    tl_index_free(x);
}

static void what_is_used_again_outlives_what_passes_by(void **state)
{
    (void)state;
    enum { HOT = 8, ROUNDS = 3, PASSING = 20 * TABLE };
    struct tl_index *x = NULL;
    assert_int_equal(tl_index_new(&x, TABLE, TABLE), 0);
    for (uint32_t i = 0; i < HOT; i++) {
        uint32_t chunk = add_present(x, i, TL_OP_READ);
        for (uint32_t k = 0; k < ROUNDS; k++)
            tl_index_touch(x, chunk);
    }
    for (uint32_t i = HOT; i < PASSING; i++) {
        if (x->chunk_count == TABLE) {
            uint32_t victim = tl_index_victim(x, 1);
            assert_int_not_equal(victim, TL_SLOT_NONE);
            tl_index_remove_chunk(x, victim);
        }
        tl_index_touch(x, add_present(x, i, TL_OP_READ));
        for (uint32_t k = 0; k < HOT && i % (2 * TABLE) == 0; k++) { /* the hot ones are read now and then */
            uint32_t object = tl_index_find_object(x, key_of(k));
            assert_int_not_equal(object, TL_SLOT_NONE);
            tl_index_touch(x, tl_index_find_chunk(x, object, 0));
        }
    }
    tl_index_verify(x);
    tl_index_free(x);
}

static void a_full_pool_of_paths_is_said_and_changes_nothing(void **state)
{
    (void)state;
    struct tl_index *x = NULL;
    assert_int_equal(tl_index_new(&x, TABLE, 1), 0);
    (void)add_present(x, 1, TL_OP_LIST); /* takes the only block */
    uint32_t object = tl_index_add_object(x, key_of(2), TL_OP_READ);
    assert_int_equal(tl_index_set_path(x, object, "/data/2", 7), -EBUSY);
    tl_index_settle_object(x, object);
    assert_int_equal(tl_index_find_object(x, key_of(2)), TL_SLOT_NONE);
    tl_index_verify(x);
    tl_index_free(x);
}

static void an_index_without_memory_is_not_made(void **state)
{
    (void)state;
    int rc = -ENOMEM;
    for (long nth = 0; rc != 0 && nth < 20; nth++) {
        struct tl_index *x = NULL;
        tl_failing_alloc_at(nth);
        rc = tl_index_new(&x, TABLE, TABLE);
        bool failed = tl_failing_alloc_hit();
        tl_failing_alloc_at(-1);
        assert_int_equal(rc, failed ? -ENOMEM : 0);
        tl_index_free(x);
    }
    assert_int_equal(rc, 0);
    tl_index_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_agree_with_a_naive_model),
        cmocka_unit_test(a_file_keeps_its_path_only_while_chunks_are_in_flight_and_a_listing_always),
        cmocka_unit_test(an_object_that_is_held_outlives_its_chunks_and_keeps_its_path),
        cmocka_unit_test(a_disowned_object_is_out_of_reach_but_there),
        cmocka_unit_test(what_was_handed_out_in_this_step_is_not_evicted_in_it),
        cmocka_unit_test(what_is_used_again_outlives_what_passes_by),
        cmocka_unit_test(a_full_pool_of_paths_is_said_and_changes_nothing),
        cmocka_unit_test(an_index_without_memory_is_not_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
