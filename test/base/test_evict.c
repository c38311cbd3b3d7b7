// SPDX-License-Identifier: Apache-2.0
/* The eviction policy: what it keeps, what it gives up, and that it stays in order whatever is done. */
#include "base/evict.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/failing_alloc.h"
#include "base/prng.h"

#define SLOTS 1000u

static void each_slot_is_given_up_once(void **state)
{
    (void)state;
    struct tl_evict *e = NULL;
    bool gone[SLOTS] = {false};
    assert_int_equal(tl_evict_new(&e, SLOTS, 2, NULL), 0);
    for (uint32_t i = 0; i < SLOTS; i++)
        tl_evict_insert(e, i % 2, i, i + 1, i);
    assert_int_equal(tl_evict_count(e, 0), SLOTS / 2);
    for (uint32_t i = 0; i < SLOTS / 2; i++) {
        uint32_t slot = tl_evict_victim(e, 1);
        assert_true(slot < SLOTS && slot % 2 == 1 && !gone[slot]);
        gone[slot] = true;
    }
    assert_int_equal(tl_evict_victim(e, 1), TL_EVICT_NONE);
    assert_int_equal(tl_evict_weight(e, 1), 0);
    assert_int_equal(tl_evict_count(e, 0), SLOTS / 2);
    tl_evict_free(e);
}

/* A set that is used again and again outlives a scan ten times as long as the cache. */
static void a_scan_does_not_wash_out_what_is_used(void **state)
{
    (void)state;
    enum { CACHE = 500, HOT = 300, SCAN = 5000 };
    struct tl_evict *e = NULL;
    uint32_t slot_of[HOT], key_of[CACHE], free_slots[CACHE], frees = CACHE, hits = 0;
    assert_int_equal(tl_evict_new(&e, CACHE, 1, NULL), 0);
    for (uint32_t i = 0; i < CACHE; i++)
        free_slots[i] = i;
    memset(slot_of, 0xff, sizeof slot_of);
    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < HOT + SCAN / 10; i++) {
            uint32_t key = i < HOT ? i : HOT + round * SCAN / 10 + i;
            if (key < HOT && slot_of[key] != UINT32_MAX) {
                tl_evict_touch(e, slot_of[key]);
                hits += round >= 4;
                continue;
            }
            if (frees == 0) {
                uint32_t victim = tl_evict_victim(e, 0);
                assert_true(victim < CACHE);
                if (key_of[victim] < HOT)
                    slot_of[key_of[victim]] = UINT32_MAX;
                free_slots[frees++] = victim;
            }
            uint32_t slot = free_slots[--frees];
            key_of[slot] = key;
            tl_evict_insert(e, 0, slot, 1, tl_prng_mix(key));
            if (key < HOT)
                slot_of[key] = slot;
        }
    }
    assert_true(hits > HOT * 16 * 9 / 10);
    tl_evict_free(e);
}

static void counts_and_weights_add_up_whatever_is_done(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct tl_evict *e = NULL;
        struct tl_prng p;
        uint32_t weight[SLOTS] = {0}, list[SLOTS] = {0}; /* weight 0: in no list */
        tl_prng_init(&p, seed, 0);
        assert_int_equal(tl_evict_new(&e, SLOTS, 3, NULL), 0);
        for (uint32_t i = 0; i < 5000; i++) {
            uint32_t slot = (uint32_t)tl_prng_below(&p, SLOTS), l = (uint32_t)tl_prng_below(&p, 3);
            switch (tl_prng_below(&p, 4)) {
            case 0:
            case 1:
                if (weight[slot] != 0) {
                    tl_evict_touch(e, slot);
                    break;
                }
                weight[slot] = 1 + (uint32_t)tl_prng_below(&p, 100);
                list[slot] = l;
                tl_evict_insert(e, l, slot, weight[slot], slot);
                break;
            case 2:
                tl_evict_remove(e, slot);
                weight[slot] = 0;
                break;
            default:
                slot = tl_evict_victim(e, l);
                if (slot == TL_EVICT_NONE)
                    break;
                assert_true(weight[slot] != 0 && list[slot] == l);
                weight[slot] = 0;
            }
        }
        uint64_t sum[3] = {0};
        uint32_t count[3] = {0};
        for (uint32_t i = 0; i < SLOTS; i++) {
            sum[list[i]] += weight[i];
            count[list[i]] += weight[i] != 0;
            assert_int_equal(tl_evict_listed(e, i), weight[i] != 0);
        }
        for (uint32_t l = 0; l < 3; l++) {
            assert_int_equal(tl_evict_weight(e, l), sum[l]);
            assert_int_equal(tl_evict_count(e, l), count[l]);
        }
        tl_evict_free(e);
    }
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    struct tl_evict *e = NULL;
    int rc = -ENOMEM;
    for (long i = 0; rc == -ENOMEM && i < 20; i++) {
        tl_failing_alloc_at(i);
        rc = tl_evict_new(&e, 100, 1, NULL);
        tl_failing_alloc_at(-1);
    }
    assert_int_equal(rc, 0);
    tl_evict_free(e);
    tl_evict_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_slot_is_given_up_once),
        cmocka_unit_test(a_scan_does_not_wash_out_what_is_used),
        cmocka_unit_test(counts_and_weights_add_up_whatever_is_done),
        cmocka_unit_test(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
