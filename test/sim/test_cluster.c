// SPDX-License-Identifier: Apache-2.0
/* Whole simulated clusters: each planted bug is found, one seed gives one history, faults have their effects, a round trip takes
 * what the paper measured. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/time.h"
#include "sim/seeds.h"

#define PLANT_SEEDS 8u

static const char *const plants[] = {
#define PLANT_NAME(id, name, what) name,
    TL_PLANTS(PLANT_NAME)
#undef PLANT_NAME
};

/* In some seed, with faults or without; each in a child, as some plants abort. */
static uint64_t seeds_that_find(enum tl_plant plant)
{
    struct tl_seeds_options o;
    tl_seeds_options_default(&o);
    o.plant = plant;
    o.count = PLANT_SEEDS;
    o.quiet = true;
    o.classes = 0;
    uint64_t found = tl_seeds_run(&o);
    o.classes = TL_FAULTS_ALL;
    return found + tl_seeds_run(&o);
}

static void every_planted_bug_is_found(void **state)
{
    (void)state;
    assert_int_equal(seeds_that_find(TL_PLANT_NONE), 0);
    for (enum tl_plant plant = TL_PLANT_NONE + 1; plant < TL_PLANT_COUNT; plant++) {
        uint64_t found = seeds_that_find(plant);
        print_message("%-16s found in %u of %u seeds\n", plants[plant], (unsigned)found, 2 * PLANT_SEEDS);
        if (found == 0)
            fail_msg("nobody finds it: tiercel-sim seeds --count %u --plant %s", PLANT_SEEDS, plants[plant]);
    }
}

static void one_seed_is_one_history(void **state)
{
    struct tl_seeds_options o;
    struct tl_scenario_result a, b;
    (void)state;
    tl_seeds_options_default(&o);
    for (uint64_t seed = 1; seed <= 5; seed++) {
        tl_seed_run(&o, seed, &a);
        tl_seed_run(&o, seed, &b);
        assert_true(a.good && b.good);
        assert_int_equal(a.trace, b.trace);
        assert_int_equal(a.events, b.events);
    }
    tl_seed_run(&o, 6, &a);
    assert_int_not_equal(a.trace, b.trace);
}

/* A class that changes nothing is not a fault. */
static void every_fault_class_changes_history(void **state)
{
    struct tl_seeds_options o;
    struct tl_scenario_result without, with;
    (void)state;
    tl_seeds_options_default(&o);
    o.swarm = false;
    for (uint32_t class = 0; class < TL_FAULT_COUNT; class ++) {
        bool changes = false;
        for (uint64_t seed = 1; seed <= 10 && !changes; seed++) {
            o.classes = 0;
            if (class == TL_FAULT_LOST_DOWN) /* needs something that breaks connections */
                o.classes = 1u << TL_FAULT_CRASH;
            tl_seed_run(&o, seed, &without);
            o.classes |= 1u << class;
            tl_seed_run(&o, seed, &with);
            assert_true(with.good);
            changes = without.trace != with.trace;
        }
        if (!changes)
            fail_msg("class %s has no effect", tl_fault_name((enum tl_fault_class) class));
    }
}

static void fault_classes_parse(void **state)
{
    uint32_t classes = 0;
    const char *bad = NULL;
    char text[200];
    (void)state;
    assert_int_equal(tl_faults_parse("crash,delay", &classes, &bad), 0);
    assert_int_equal(classes, 1u << TL_FAULT_CRASH | 1u << TL_FAULT_DELAY);
    tl_faults_print(classes, text, sizeof text);
    assert_string_equal(text, "delay,crash");
    assert_int_equal(tl_faults_parse("all,-crash", &classes, &bad), 0);
    assert_int_equal(classes, TL_FAULTS_ALL & ~(1u << TL_FAULT_CRASH));
    assert_int_equal(tl_faults_parse("none", &classes, &bad), 0);
    assert_int_equal(classes, 0);
    assert_true(tl_faults_parse("delay,cras", &classes, &bad) < 0);
    assert_string_equal(bad, "cras");
}

/* ---- a round trip: the last of 31 nodes in a binary tree asks for what only the root holds ---- */

#define ROUND_TRIP_NODES 31u
static uint64_t round_trip_bytes;

static void round_trip_build(struct tl_workload *w, struct tl_sim_catalog *c)
{
    uint32_t root = tl_sim_catalog_add_directory(c, TL_CATALOG_NONE, "", 0);
    w->first_file = tl_sim_catalog_add_file(c, root, "first", 1);
    tl_sim_catalog_add_file(c, root, "second", round_trip_bytes);
}

/* The root reads the second file at once; the last node reads the first, computes, and then the second. */
static bool round_trip_want(const struct tl_workload *w, const struct tl_sim_catalog *c, uint32_t rank,
                            uint32_t process, uint32_t step, struct tl_want *out)
{
    (void)c;
    (void)process;
    uint32_t last = ROUND_TRIP_NODES - 1;
    if ((rank != 0 && rank != last) || step > (rank == last ? 1 : 0))
        return false;
    *out = (struct tl_want){.object = w->first_file + (rank == 0 || step == 1), .length = 1u << 20};
    return true;
}

static uint64_t round_trip_gap_ns(const struct tl_workload *w, uint32_t step)
{
    (void)w;
    return step == 0 ? TL_NS_PER_S : 0;
}

static uint64_t round_trip_ns(uint64_t bytes)
{
    static struct tl_cluster c;
    struct tl_workload w = {.name = "round trip",
                            .processes = 1,
                            .build = round_trip_build,
                            .want = round_trip_want,
                            .gap_ns = round_trip_gap_ns};
    struct tl_cluster_config config = {.nodes = ROUND_TRIP_NODES, .seed = 1, .wait_ready = true};
    round_trip_bytes = bytes;
    tl_node_config_default(&config.node);
    config.node.arity = 2;
    config.node.object_max = 256;
    tl_fabric_config_default(&config.fabric);
    tl_storage_config_default(&config.storage);
    tl_cluster_init(&c, &config, &w);
    if (!tl_cluster_run(&c, 100 * TL_NS_PER_S))
        fail_msg("%s", c.world.violation);
    const struct tl_host *h = &c.hosts[ROUND_TRIP_NODES - 1];
    uint64_t ns = h->finished_ns - h->processes[0].issued_ns;
    tl_cluster_fini(&c);
    return ns;
}

/* The paper's figure 3: below a millisecond up to 128 KiB, most of the time. */
static void round_trips_in_a_tree_of_31_take_less_than_a_millisecond(void **state)
{
    (void)state;
    for (uint64_t bytes = 1024; bytes <= 128 << 10; bytes *= 2) {
        uint64_t ns = round_trip_ns(bytes);
        print_message("%7llu bytes: %llu us\n", (unsigned long long)bytes, (unsigned long long)ns / 1000);
        assert_in_range(ns, 200 * TL_NS_PER_US, TL_NS_PER_MS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_planted_bug_is_found),
        cmocka_unit_test(one_seed_is_one_history),
        cmocka_unit_test(every_fault_class_changes_history),
        cmocka_unit_test(fault_classes_parse),
        cmocka_unit_test(round_trips_in_a_tree_of_31_take_less_than_a_millisecond),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
