// SPDX-License-Identifier: Apache-2.0
/* Scenarios as text, and how failing seeds become such: what is written reads back as the same history, mistakes are named with file
 * and line, planted bugs shrink to a few lines that still fail. */
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sim/seeds.h"
#include "sim/shrink.h"

#define TEXT_MAX    65536u
#define PLANT_SEEDS 12u
#define SMALL_LINES 14u

static struct tl_scenario first, second;
static char text[TEXT_MAX], again[TEXT_MAX];

static int parse(const char *what, struct tl_error *err)
{
    *err = (struct tl_error){0};
    return tl_scenario_parse(&first, "x.scn", what, strlen(what), err);
}

static void what_is_written_is_read(void **state)
{
    struct tl_error err;
    (void)state;
    assert_int_equal(
        parse("name Two words # and more\n# a comment\n\nnodes 9\r\ncache 64M\narity 3\nheartbeat 1500us\n"
              "one-sided off\nworkload stream\nreaders 2-8\nchance loss 300 # ppm\nchances-until 2s\n"
              "at 1s kill 1,4-5 for 20ms\nat 2s part 1-3/7,8 for 1s\nat 0s flush 3\nat 3s change object 4 size 10\n"
              "roll 0-1 from 1s every 2s down 3ms\nexpect errors = 0\nexpect read-again <= 7",
              &err),
        0);
    assert_string_equal(first.name, "Two words # and more");
    assert_int_equal(first.config.nodes, 9);
    assert_int_equal(first.config.node.cache_limit_bytes, 64 << 20);
    assert_int_equal(first.config.node.heartbeat_ns, 1500000);
    assert_false(first.config.fabric.one_sided);
    assert_int_equal(first.config.readers_first, 2);
    assert_int_equal(first.config.readers_last, 8);
    assert_int_equal(first.plan.chances.loss_ppm, 300);
    assert_int_equal(first.plan.fault_count, 6);
    assert_int_equal(first.plan.faults[0].for_ns, 20000000);
    assert_int_equal(first.plan.faults[0].range_count, 2);
    assert_int_equal(first.plan.ranges[first.plan.faults[1].first_range + 2].side, 2);
    assert_true(first.plan.faults[2].a == TL_FAULT_NOTHING);
    assert_int_equal(first.plan.faults[5].at_ns, 3000000000);
    assert_int_equal(first.expect_count, 2);
    assert_int_equal(first.expects[1].value, 7);
}

static void mistakes_are_named_with_file_and_line(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"nodes 3\nnods 4\n", "x.scn:2: 'nods' begins no line"},
        {"nodes three\n", "x.scn:1: nodes: 'three' is not a whole number"},
        {"nodes 0\n", "x.scn:1: nodes: 0 is out of range"},
        {"nodes\n", "x.scn:1: nodes: '' is not a whole number"},
        {"heartbeat 5\n", "is not a time as in 500ms or 2s"},
        {"cache 5X\n", "is not a size as in"},
        {"one-sided 1\n", "is not on or off"},
        {"nodes 3 4\n", "what is '4'"},
        {"nodes 3\nat 1s kill 3\n", "x.scn:2: ranks 3-3: there are ranks 0 to 2"},
        {"nodes 9\nat 1s kill 3\nnodes 2\n", "rank 3 is named, but there are 2 nodes"},
        {"at 1s kill 5-3\n", "the lower rank first"},
        {"at 1s kill 1-\n", "a rank is missing behind '-'"},
        {"at 1s kill 1/2\n", "names no ranks"},
        {"at 1s part 1/2/3 for 1s\n", "two sides"},
        {"at 1s stop 1\n", "for how long?"},
        {"at 1s explode 1\n", "is nothing that can happen"},
        {"at 1s change object 3\n", "what is missing is `size N`"},
        {"at 1s kill 1 for 0s\n", "out of range"},
        {"at 18446744073709551615s kill 1\n", "is not a time"},
        {"chance lose 1\n", "there is no 'lose'"},
        {"chance loss 1000001\n", "out of range"},
        {"expect happiness = 1\n", "nothing is called 'happiness'"},
        {"expect errors < 1\n", "does not compare"},
        {"workload games\n", "there is no 'games'"},
        {"plant tree\n", "there is no bug 'tree'"},
        {"readers 1,3\n", "give one range"},
        {"roll 0-1 every 2s\n", "write `roll RANKS"},
        {"nodes 2\nname \001\n", "x.scn:2: byte 1 is no text"},
    };
    struct tl_error err;
    (void)state;
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int rc = parse(cases[i].text, &err);
        if (rc != -EINVAL || strstr(err.msg, cases[i].says) == NULL)
            fail_msg("'%s': %d '%s', wanted '%s'", cases[i].text, rc, err.msg, cases[i].says);
    }
}

/* A seed, written down and read back, is the same history, event for event. */
static void a_seed_is_a_scenario(void **state)
{
    struct tl_seeds_options o;
    struct tl_scenario_result a, b;
    struct tl_error err = {0};
    (void)state;
    tl_seeds_options_default(&o);
    for (uint64_t seed = 1; seed <= 12; seed++) {
        o.nodes = seed % 2 == 0 ? 31 : 70;
        tl_seed_scenario(&o, seed, &first);
        size_t len = tl_scenario_print(&first, text, sizeof text);
        assert_in_range(len, 1, sizeof text - 1);
        if (tl_scenario_parse(&second, "seed", text, len, &err) != 0)
            fail_msg("%s", err.msg);
        assert_int_equal(tl_scenario_print(&second, again, sizeof again), len);
        assert_string_equal(text, again);
        tl_scenario_run(&first, &a);
        tl_scenario_run(&second, &b);
        if (a.trace != b.trace)
            fail_msg("seed %llu has another history as a scenario", (unsigned long long)seed);
    }
}

static uint32_t lines(const char *of)
{
    uint32_t n = 0;
    for (; *of != 0; of++)
        n += *of == '\n';
    return n;
}

/* The first seed that finds this bug shrinks to a file of a few lines that fails in the same way. */
static void shrinks(struct tl_seeds_options *o, const char *name)
{
    struct tl_scenario_result result, still;
    struct tl_error err = {0};
    uint64_t seed = 1;
    for (; seed <= PLANT_SEEDS; seed++) {
        tl_seed_scenario(o, seed, &first);
        tl_scenario_run_forked(&first, &result);
        if (!result.good)
            break;
    }
    if (seed > PLANT_SEEDS)
        fail_msg("no seed finds %s", name);
    uint32_t runs = tl_shrink(&first, &result);
    size_t len = tl_scenario_print(&first, text, sizeof text);
    print_message("%-16s %3u runs: %2u lines, %u nodes, %u faults\n", name, runs, lines(text), first.config.nodes,
                  first.plan.fault_count);
    assert_in_range(runs, 1, TL_SHRINK_RUNS_MAX);
    if (lines(text) > SMALL_LINES || first.config.nodes > 15)
        fail_msg("%s is still large:\n%s", name, text);
    if (tl_scenario_parse(&second, "shrunk", text, len, &err) != 0)
        fail_msg("%s", err.msg);
    tl_scenario_run_forked(&second, &still);
    if (still.good || !tl_shrink_same(still.what, result.what))
        fail_msg("%s: shrunk, it says '%s'; it was '%s'", name, still.what, result.what);
}

static void planted_bugs_shrink_to_a_few_lines_that_still_fail(void **state)
{
    static const char *const names[] = {
#define PLANT_NAME(id, name, what) name,
        TL_PLANTS(PLANT_NAME)
#undef PLANT_NAME
    };
    struct tl_seeds_options o;
    (void)state;
    tl_seeds_options_default(&o);
    for (o.plant = TL_PLANT_NONE + 1; o.plant < TL_PLANT_COUNT; o.plant++)
        shrinks(&o, names[o.plant]);
}

static void sentences_are_the_same_but_for_numbers_and_paths(void **state)
{
    (void)state;
    assert_true(tl_shrink_same("at 1.2 s: node 4: wrong bytes for /a/b at offset 7",
                               "at 20.1 s: node 12: wrong bytes for /c at offset 0"));
    assert_false(tl_shrink_same("at 1.2 s: node 4: wrong bytes", "at 1.2 s: node 4: wrong listing"));
    assert_false(tl_shrink_same("died of signal 6", "node 4"));
}

/* Swarm: each class of faults is away in about half of the seeds, and leaves the others as they are. */
static void each_class_is_off_in_half_of_the_seeds(void **state)
{
    static struct tl_fault_plan plan;
    uint32_t with = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        tl_faults_draw(&plan, seed, 31, 56, 1u << TL_FAULT_CRASH, true);
        with += plan.fault_count > 0;
    }
    assert_in_range(with, 300, 550); /* and in one of seven there is no occasion */
}

int main(void)
{
    mallopt(M_MMAP_THRESHOLD, 200 << 10); /* as tiercel-sim does: tables that nobody touches cost nothing */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(mistakes_are_named_with_file_and_line),
        cmocka_unit_test(a_seed_is_a_scenario),
        cmocka_unit_test(sentences_are_the_same_but_for_numbers_and_paths),
        cmocka_unit_test(planted_bugs_shrink_to_a_few_lines_that_still_fail),
        cmocka_unit_test(each_class_is_off_in_half_of_the_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
