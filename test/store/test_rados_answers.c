// SPDX-License-Identifier: Apache-2.0
/* What a Ceph cluster answers about its health, read from answers of a real one (answers/: 16.2.15, cut down to what is looked at). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "store/rados_health.h"

static json_t *answer(const char *name)
{
    char path[512];
    json_error_t why;
    snprintf(path, sizeof path, ANSWERS "/%s.json", name);
    json_t *value = json_load_file(path, 0, &why);
    if (value == NULL)
        fail_msg("%s: %s", path, why.text);
    return value;
}

/* An OSD of four is down, on the second of two hosts. */
static void read_map(struct tl_rados_map *map, bool with_hosts)
{
    json_t *dump = answer("osd-dump"), *tree = answer("osd-tree"), *rules = answer("rules");
    *map = (struct tl_rados_map){.kinds = {{.name = "meta"}, {.name = "data"}, {.name = "ec21"}, {.name = "gone"}},
                                 .kind_count = 4};
    assert_int_equal(tl_rados_map_read(map, dump, with_hosts ? tree : NULL, with_hosts ? rules : NULL), 0);
    json_decref(dump);
    json_decref(tree);
    json_decref(rules);
}

static void the_map_says_who_is_there(void **state)
{
    static const char *const hosts[] = {"h0", "h1", "h0", "h1"};
    struct tl_rados_map map;
    (void)state;
    read_map(&map, true);
    assert_true(map.version > 0);
    assert_int_equal(map.target_count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(map.targets[i].number, i);
        assert_int_equal(map.targets[i].up, i != 1);
        assert_true(map.targets[i].in && map.targets[i].ours);
        assert_string_equal(map.targets[i].host, hosts[i]);
    }
    assert_int_equal(map.kinds[0].redundancy, 2);
    assert_true(map.kinds[0].size == 3 && map.kinds[0].min_size == 2 && map.kinds[0].groups == 8);
    assert_true(map.kinds[2].size == 3 && map.kinds[2].redundancy == 1);
    assert_int_equal(map.kinds[3].groups, 0);
    tl_rados_map_free(&map);
    read_map(&map, false); /* who may ask for nothing else */
    assert_true(map.targets[3].ours && map.targets[3].host[0] == 0);
    tl_rados_map_free(&map);
}

static json_t *rule_for(const char *bucket)
{
    json_t *rules = json_pack("[{s:i, s:[{s:s, s:s}]}, {s:i, s:[{s:s, s:s}]}]", "rule_id", 0, "steps", "op", "take",
                              "item_name", bucket, "rule_id", 1, "steps", "op", "take", "item_name", bucket);
    assert_non_null(rules);
    return rules;
}

static void targets_are_those_that_a_rule_may_choose(void **state)
{
    static const struct {
        const char *bucket;
        unsigned ours; /* a bit for each */
    } cases[] = {{"h1", 10},
                 {"default", 15},
                 {"default~hdd", 15},
                 {"default~ssd", 15 /* none: then nobody says */},
                 {"h0~hdd", 5}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tl_rados_map map = {.kinds = {{.name = "meta"}}, .kind_count = 1};
        json_t *dump = answer("osd-dump"), *tree = answer("osd-tree"), *rules = rule_for(cases[i].bucket);
        unsigned ours = 0;
        assert_int_equal(tl_rados_map_read(&map, dump, tree, rules), 0);
        for (uint32_t k = 0; k < map.target_count; k++)
            ours |= (unsigned)map.targets[k].ours << k;
        if (ours != cases[i].ours)
            fail_msg("%s: targets %#x instead of %#x", cases[i].bucket, ours, cases[i].ours);
        json_decref(dump);
        json_decref(tree);
        json_decref(rules);
        tl_rados_map_free(&map);
    }
}

static void the_manager_says_how_full_targets_are(void **state)
{
    struct tl_rados_map map;
    json_t *df = answer("osd-df");
    (void)state;
    read_map(&map, true);
    tl_rados_map_space(&map, df);
    assert_int_equal(map.targets[2].total_bytes, 2097152ull * 1024);
    assert_true(map.targets[2].used_bytes > 0 && map.targets[2].used_bytes < map.targets[2].total_bytes);
    json_decref(df);
    tl_rados_map_free(&map);
}

static void placement_groups_are_placed_by_the_map(void **state)
{
    const struct tl_rados_kind ec = {.name = "ec21", .size = 3, .min_size = 2};
    struct tl_rados_group whole = {.kind = &ec}, fewer = {.kind = &ec}, few = {.kind = &ec}, moved = {.kind = &ec};
    json_t *a = answer("pg-map-0"), *b = answer("pg-map-1");
    json_t *c = json_pack("{s:i, s:[i], s:[i]}", "epoch", 9, "up", 1, "acting", 1);
    json_t *d = json_pack("{s:i, s:[iii], s:[iii]}", "epoch", 9, "up", 1, 2, 3, "acting", 1, 2, 0);
    json_t *none = json_pack("{s:i, s:[], s:[]}", "epoch", 9, "up", "acting");
    (void)state;
    assert_int_equal(tl_rados_group_place(&whole, a), 0);
    assert_true(whole.state == TL_GROUP_CLEAN && whole.primary == 2 && !whole.said);
    assert_int_equal(tl_rados_group_place(&fewer, b), 0); /* a piece of the code is nowhere */
    assert_true(fewer.state == TL_GROUP_DEGRADED && fewer.primary == 0);
    assert_int_equal(tl_rados_group_place(&few, c), 0);
    assert_true(few.state == TL_GROUP_STUCK && few.primary == 1);
    assert_int_equal(tl_rados_group_place(&few, none), 0);
    assert_true(few.state == TL_GROUP_STUCK && few.primary == -1);
    assert_int_equal(tl_rados_group_place(&moved, d), 0);
    assert_int_equal(moved.state, TL_GROUP_MENDING);
    json_object_del(d, "acting");
    assert_int_equal(tl_rados_group_place(&moved, d), -EBADMSG);
    json_decref(a);
    json_decref(b);
    json_decref(c);
    json_decref(d);
    json_decref(none);
}

static void words_become_states(void **state)
{
    static const struct {
        const char *words;
        enum tl_rados_group_state is;
    } cases[] = {
        {"active+clean", TL_GROUP_CLEAN},
        {"active+clean+scrubbing+deep", TL_GROUP_CLEAN},
        {"active+clean+snaptrim_wait", TL_GROUP_CLEAN},
        {"active+undersized", TL_GROUP_DEGRADED},
        {"active+undersized+degraded", TL_GROUP_DEGRADED},
        {"active+clean+inconsistent", TL_GROUP_DEGRADED},
        {"active+undersized+degraded+remapped+backfill_toofull", TL_GROUP_DEGRADED},
        {"active+recovering+degraded", TL_GROUP_MENDING},
        {"active+undersized+degraded+remapped+backfill_wait", TL_GROUP_MENDING},
        {"active+remapped+backfilling", TL_GROUP_MENDING},
        {"active+clean+remapped", TL_GROUP_MENDING},
        {"peering", TL_GROUP_CHANGING},
        {"remapped+peering", TL_GROUP_CHANGING},
        {"activating+degraded", TL_GROUP_CHANGING},
        {"unknown", TL_GROUP_CHANGING},
        {"active+clean+wait", TL_GROUP_CHANGING},
        {"undersized+degraded+peered", TL_GROUP_STUCK},
        {"stale+active+clean", TL_GROUP_STUCK},
        {"down+peering", TL_GROUP_STUCK},
        {"incomplete", TL_GROUP_STUCK},
        {"active+recovery_unfound+degraded", TL_GROUP_STUCK},
        {"", TL_GROUP_CHANGING},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (tl_rados_group_state(cases[i].words) != cases[i].is)
            fail_msg("%s: %d instead of %d", cases[i].words, (int)tl_rados_group_state(cases[i].words),
                     (int)cases[i].is);
}

static void groups_add_up(void **state)
{
    static const char *const names[] = {"pg-clean", "pg-undersized-degraded",
                                        "pg-recovering-undersized-degraded-remapped", "pg-peering"};
    struct tl_rados_groups all = {.silent = -1};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct tl_rados_group g = {.primary = 0};
        json_t *a = answer(names[i]);
        assert_int_equal(tl_rados_group_said(&g, a), 0);
        assert_true(g.said && g.version > 0);
        tl_rados_groups_add(&all, &g);
        json_object_del(json_object_get(a, "info"), "stats");
        assert_int_equal(tl_rados_group_said(&g, a), -EBADMSG);
        json_decref(a);
    }
    assert_true(all.count[TL_GROUP_CLEAN] == 1 && all.count[TL_GROUP_DEGRADED] == 1 &&
                all.count[TL_GROUP_MENDING] == 1 && all.count[TL_GROUP_CHANGING] == 1);
    assert_true(all.copies == 924 + 993 && all.missing == 308 + 138 && all.misplaced == 0 && all.unsaid == 0);
}

static void the_manager_says_what_is_not_clean(void **state)
{
    const struct tl_rados_kind data = {.name = "data", .number = 2, .groups = 8, .size = 3};
    const struct tl_rados_kind other = {.name = "other", .number = 77, .groups = 8, .size = 3};
    struct tl_rados_groups all = {.silent = -1};
    json_t *groups = answer("pg-ls"), *df = answer("df");
    (void)state;
    const uint32_t bad = (uint32_t)json_array_size(json_object_get(groups, "pg_stats"));
    assert_int_equal(tl_rados_groups_managed(&all, &data, groups, df), 0);
    assert_true(bad > 0 && all.count[TL_GROUP_DEGRADED] == bad && all.count[TL_GROUP_CLEAN] == 8 - bad);
    assert_true(all.copies > 0 && all.copies % 3 == 0 && all.missing > 0 && all.missing < all.copies);
    assert_int_equal(tl_rados_groups_managed(&all, &other, groups, df), -EBADMSG);
    json_object_set_new(groups, "pg_ready", json_false());
    assert_int_equal(tl_rados_groups_managed(&all, &data, groups, df), -EBADMSG);
    json_decref(groups);
    json_decref(df);
}

static void what_is_no_map_is_refused(void **state)
{
    struct tl_rados_map map = {.kind_count = 0};
    json_t *no = json_pack("{s:s}", "epoch", "seven"), *list = json_array();
    (void)state;
    assert_int_equal(tl_rados_map_read(&map, no, NULL, NULL), -EBADMSG);
    assert_int_equal(tl_rados_map_read(&map, list, NULL, NULL), -EBADMSG);
    assert_int_equal(tl_rados_map_read(&map, NULL, NULL, NULL), -EBADMSG);
    json_decref(no);
    json_decref(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_map_says_who_is_there),
        cmocka_unit_test(targets_are_those_that_a_rule_may_choose),
        cmocka_unit_test(the_manager_says_how_full_targets_are),
        cmocka_unit_test(placement_groups_are_placed_by_the_map),
        cmocka_unit_test(words_become_states),
        cmocka_unit_test(groups_add_up),
        cmocka_unit_test(the_manager_says_what_is_not_clean),
        cmocka_unit_test(what_is_no_map_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
