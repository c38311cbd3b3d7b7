// SPDX-License-Identifier: Apache-2.0
/* What monitors, manager and OSDs of a Ceph cluster answer; see rados_health.h. Nothing that they say is trusted to be there: a newer release may say
 * it in another way, and then we know less, and that we do. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/rados_health.h"

#define NO_OSD     0x7fffffff /* in the place of one that is missing, of erasure-coded pools */
#define TREE_DEPTH 16u

static int64_t number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key); /* profiles have their numbers as strings */
    const char *text = json_string_value(value);
    return text != NULL ? strtoll(text, NULL, 10) : (int64_t)json_integer_value(value);
}

static uint64_t count(const json_t *object, const char *key)
{
    int64_t n = number(object, key);
    return n > 0 ? (uint64_t)n : 0;
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value != NULL ? value : "";
}

/* ---- the map ---- */

static const json_t *with_number(const json_t *list, const char *key, int64_t wanted)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (number(json_array_get(list, i), key) == wanted)
            return json_array_get(list, i);
    return NULL;
}

static void read_kind(struct tl_rados_kind *kind, const json_t *dump)
{
    const json_t *pools = json_object_get(dump, "pools");
    kind->groups = 0;
    for (size_t i = 0; i < json_array_size(pools); i++) {
        const json_t *p = json_array_get(pools, i);
        if (strcmp(text(p, "pool_name"), kind->name) != 0)
            continue;
        const json_t *profile =
            json_object_get(json_object_get(dump, "erasure_code_profiles"), text(p, "erasure_code_profile"));
        kind->number = number(p, "pool");
        kind->groups = (uint32_t)count(p, "pg_num");
        kind->size = (uint32_t)count(p, "size");
        kind->min_size = (uint32_t)count(p, "min_size");
        kind->rule = number(p, "crush_rule");
        if (number(p, "type") == 1)
            kind->redundancy = kind->size > 0 ? kind->size - 1 : 0;
        else
            kind->redundancy = (uint32_t)count(profile, "m");
    }
}

static struct tl_rados_target *target(struct tl_rados_map *map, int64_t wanted)
{
    for (uint32_t i = 0; i < map->target_count; i++)
        if (map->targets[i].number == wanted)
            return &map->targets[i];
    return NULL;
}

static void read_hosts(struct tl_rados_map *map, const json_t *tree)
{
    const json_t *nodes = json_object_get(tree, "nodes");
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i), *children = json_object_get(node, "children");
        for (size_t k = 0; strcmp(text(node, "type"), "host") == 0 && k < json_array_size(children); k++) {
            struct tl_rados_target *t = target(map, json_integer_value(json_array_get(children, k)));
            if (t != NULL)
                snprintf(t->host, sizeof t->host, "%.63s", text(node, "name"));
        }
    }
}

/* Marks the children of those that are marked. false: there were no new ones. */
static bool mark_children(const json_t *nodes, const int64_t *ids, bool *below, size_t node_count)
{
    bool more = false;
    for (size_t i = 0; i < node_count; i++) {
        const json_t *children = below[i] ? json_object_get(json_array_get(nodes, i), "children") : NULL;
        for (size_t k = 0; k < json_array_size(children); k++) {
            const int64_t child = json_integer_value(json_array_get(children, k));
            for (size_t n = 0; n < node_count; n++)
                if (ids[n] == child && !below[n])
                    more = below[n] = true;
        }
    }
    return more;
}

/* All OSDs below a bucket; `take` is its name, with "~class" or without. */
static void mark_below(struct tl_rados_map *map, const json_t *nodes, const char *take)
{
    const size_t name_len = strcspn(take, "~"), node_count = json_array_size(nodes);
    const char *class = take[name_len] == '~' ? take + name_len + 1 : "";
    bool *below = calloc(node_count + 1, sizeof *below);
    int64_t *ids = calloc(node_count + 1, sizeof *ids);
    const bool memory = below != NULL && ids != NULL;
    for (size_t i = 0; memory && i < node_count; i++) {
        const char *name = text(json_array_get(nodes, i), "name");
        ids[i] = number(json_array_get(nodes, i), "id");
        below[i] = strlen(name) == name_len && memcmp(name, take, name_len) == 0;
    }
    for (unsigned depth = 0; memory && depth < TREE_DEPTH && mark_children(nodes, ids, below, node_count);)
        depth++;
    for (size_t i = 0; memory && i < node_count; i++) {
        struct tl_rados_target *t = below[i] ? target(map, ids[i]) : NULL;
        if (t != NULL && (*class == 0 || strcmp(class, text(json_array_get(nodes, i), "device_class")) == 0))
            t->ours = true;
    }
    free(ids);
    free(below);
}

static void read_ours(struct tl_rados_map *map, const json_t *tree, const json_t *rules)
{
    const json_t *nodes = json_object_get(tree, "nodes");
    uint32_t ours = 0;
    for (uint32_t i = 0; i < map->kind_count; i++) {
        const json_t *rule = with_number(rules, "rule_id", map->kinds[i].rule), *steps = json_object_get(rule, "steps");
        for (size_t k = 0; k < json_array_size(steps); k++)
            if (strcmp(text(json_array_get(steps, k), "op"), "take") == 0)
                mark_below(map, nodes, text(json_array_get(steps, k), "item_name"));
    }
    for (uint32_t i = 0; i < map->target_count; i++)
        ours += map->targets[i].ours;
    for (uint32_t i = 0; ours == 0 && i < map->target_count; i++)
        map->targets[i].ours = true; /* nobody says which are */
}

void tl_rados_map_free(struct tl_rados_map *map)
{
    free(map->targets);
    map->targets = NULL;
    map->target_count = 0;
}

int tl_rados_map_read(struct tl_rados_map *map, const json_t *dump, const json_t *tree, const json_t *rules)
{
    const json_t *osds = json_object_get(dump, "osds");
    const size_t osd_count = json_array_size(osds);
    if (!json_is_integer(json_object_get(dump, "epoch")) || !json_is_array(osds))
        return -EBADMSG;
    struct tl_rados_target *targets = calloc(osd_count + 1, sizeof *targets);
    if (targets == NULL)
        return -ENOMEM;
    tl_rados_map_free(map);
    map->version = count(dump, "epoch");
    map->targets = targets;
    map->target_count = (uint32_t)osd_count;
    for (size_t i = 0; i < osd_count; i++) {
        const json_t *osd = json_array_get(osds, i);
        targets[i].number = (uint32_t)count(osd, "osd");
        targets[i].up = count(osd, "up") != 0;
        targets[i].in = count(osd, "in") != 0;
    }
    for (uint32_t i = 0; i < map->kind_count; i++)
        read_kind(&map->kinds[i], dump);
    read_hosts(map, tree);
    read_ours(map, tree, rules);
    return 0;
}

void tl_rados_map_space(struct tl_rados_map *map, const json_t *df)
{
    const json_t *nodes = json_object_get(df, "nodes");
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        struct tl_rados_target *t = target(map, number(node, "id"));
        if (t == NULL)
            continue;
        t->total_bytes = count(node, "kb") * 1024;
        t->used_bytes = count(node, "kb_used") * 1024;
    }
}

/* ---- placement groups ---- */

static bool has_word(const char *words, const char *word)
{
    const size_t len = strlen(word);
    for (const char *at = words; *at != 0;) {
        size_t n = strcspn(at, "+");
        if (n == len && memcmp(at, word, len) == 0)
            return true;
        at += n + (at[n] == '+');
    }
    return false;
}

static bool has_any(const char *words, const char *const *list)
{
    for (; *list != NULL; list++)
        if (has_word(words, *list))
            return true;
    return false;
}

enum tl_rados_group_state tl_rados_group_state(const char *words)
{
    static const char *const stuck[] = {"stale", "down", "incomplete", "peered", "recovery_unfound", "backfill_unfound",
                                        "laggy", NULL};
    static const char *const moving[] = {"recovering",      "recovery_wait",   "backfilling", "backfill_wait",
                                         "forced_recovery", "forced_backfill", NULL};
    static const char *const fewer[] = {"degraded",         "undersized",       "inconsistent",
                                        "recovery_toofull", "backfill_toofull", NULL};
    if (has_any(words, stuck))
        return TL_GROUP_STUCK;
    if (!has_word(words, "active") || has_word(words, "wait"))
        return TL_GROUP_CHANGING;
    if (has_any(words, moving))
        return TL_GROUP_MENDING;
    if (has_any(words, fewer))
        return TL_GROUP_DEGRADED;
    return has_word(words, "remapped") ? TL_GROUP_MENDING : TL_GROUP_CLEAN;
}

int tl_rados_group_place(struct tl_rados_group *g, const json_t *answer)
{
    const json_t *acting = json_object_get(answer, "acting"), *up = json_object_get(answer, "up");
    uint32_t there = 0;
    if (!json_is_array(acting) || !json_is_array(up))
        return -EBADMSG;
    g->primary = -1;
    g->said = false;
    g->version = count(answer, "epoch");
    for (size_t i = 0; i < json_array_size(acting); i++) {
        json_int_t osd = json_integer_value(json_array_get(acting, i));
        if (osd < 0 || osd >= NO_OSD)
            continue;
        g->primary = there == 0 ? (int32_t)osd : g->primary;
        there++;
    }
    g->state = there < g->kind->min_size ? TL_GROUP_STUCK
               : there < g->kind->size   ? TL_GROUP_DEGRADED
               : json_equal(acting, up)  ? TL_GROUP_CLEAN
                                         : TL_GROUP_MENDING;
    return 0;
}

int tl_rados_group_said(struct tl_rados_group *g, const json_t *answer)
{
    const json_t *info = json_object_get(answer, "info");
    const json_t *sum = json_object_get(json_object_get(info, "stats"), "stat_sum");
    if (!json_is_string(json_object_get(answer, "state")) || !json_is_object(sum))
        return -EBADMSG;
    g->said = true;
    g->state = tl_rados_group_state(text(answer, "state"));
    g->version = count(answer, "epoch");
    g->copies = count(sum, "num_object_copies");
    g->missing = count(sum, "num_objects_degraded");
    g->misplaced = count(sum, "num_objects_misplaced");
    return 0;
}

void tl_rados_groups_add(struct tl_rados_groups *all, const struct tl_rados_group *g)
{
    all->count[g->state]++;
    all->unsaid += !g->said;
    all->copies += g->copies;
    all->missing += g->missing;
    all->misplaced += g->misplaced;
}

int tl_rados_groups_managed(struct tl_rados_groups *all, const struct tl_rados_kind *kind, const json_t *groups,
                            const json_t *df)
{
    const json_t *list = json_object_get(groups, "pg_stats"), *pools = json_object_get(df, "pools");
    const json_t *pool = with_number(pools, "id", kind->number);
    if (!json_is_true(json_object_get(groups, "pg_ready")) || pool == NULL)
        return -EBADMSG;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i), *sum = json_object_get(one, "stat_sum");
        struct tl_rados_group g = {.said = true, .state = tl_rados_group_state(text(one, "state"))};
        g.missing = count(sum, "num_objects_degraded");
        g.misplaced = count(sum, "num_objects_misplaced");
        tl_rados_groups_add(all, &g);
    }
    all->count[TL_GROUP_CLEAN] +=
        kind->groups > json_array_size(list) ? kind->groups - (uint32_t)json_array_size(list) : 0;
    all->copies += count(json_object_get(pool, "stats"), "objects") * kind->size;
    return 0;
}
