// SPDX-License-Identifier: Apache-2.0
/* How the cluster is, for a pool; see rados_health.h.
 *
 * Who asks has a connection of its own, with short timeouts: questions end within seconds while operations wait for an OSD that hangs, and
 * need no lock of theirs. It is made when somebody asks and ended when nobody will for a while. A healthy cluster is asked one small thing a
 * look: the version of its map. All else is asked when that is another one, and until all is well again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/time.h"
#include "store/rados_health.h"

#define ASK_S     3u                   /* after which a question has no answer */
#define SETTLE_NS (3ull * TL_NS_PER_S) /* placement groups that are changing are looked at again for so long */
#define AGAIN_NS  (200 * TL_NS_PER_MS)

struct tl_rados_asker {
    pthread_mutex_t mutex; /* one asks at a time */
    struct tl_rados asks;  /* a connection, and what it takes to make it; nothing else of it is used */
    struct tl_rados_map map;
    char own[160]; /* what the names of its RADOS pools begin with; "": they are known */
    bool known;    /* there was an answer for this version of the map: */
    struct tl_rados_groups groups;
    bool settled; /* and it stays, as long as the version does */
};

static void add_kind(struct tl_rados_map *map, const char *name, size_t len)
{
    struct tl_rados_kind *kind = &map->kinds[map->kind_count];
    for (uint32_t i = 0; i < map->kind_count; i++)
        if (strlen(map->kinds[i].name) == len && memcmp(map->kinds[i].name, name, len) == 0)
            return;
    if (len == 0 || len >= sizeof kind->name || map->kind_count == TL_RADOS_KINDS)
        return;
    memcpy(kind->name, name, len);
    map->kind_count++;
}

int tl_rados_asker_new(struct tl_rados_asker **out, const struct tl_rados *r)
{
    struct tl_rados_asker *a = calloc(1, sizeof *a);
    if (a == NULL)
        return -ENOMEM;
    pthread_mutex_init(&a->mutex, NULL);
    a->asks.lib = r->lib;
    a->asks.where = r->where;
    a->asks.where.timeout_s = ASK_S < r->where.timeout_s ? ASK_S : r->where.timeout_s;
    add_kind(&a->map, r->where.meta, strlen(r->where.meta));
    for (unsigned i = 0; i < r->classes.count; i++)
        add_kind(&a->map, r->data[i].name, strlen(r->data[i].name));
    /* Who has not opened the pool knows what the uri says. */
    for (const char *at = r->where.data; r->classes.count == 0 && *at != 0; at += *at == ',') {
        size_t len = strcspn(at, ",");
        add_kind(&a->map, at, len);
        at += len;
    }
    if (r->where.own && r->classes.count == 0)
        snprintf(a->own, sizeof a->own, "tiercel.%s.", r->where.space);
    *out = a;
    return 0;
}

/* Those that were made for it. */
static void find_own(struct tl_rados_asker *a, const json_t *dump)
{
    const json_t *pools = json_object_get(dump, "pools");
    for (size_t i = 0; a->own[0] != 0 && i < json_array_size(pools); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(pools, i), "pool_name"));
        if (name != NULL && strncmp(name, a->own, strlen(a->own)) == 0)
            add_kind(&a->map, name, strlen(name));
    }
}

static void hang_up(struct tl_rados_asker *a)
{
    if (a->asks.cluster != NULL)
        a->asks.lib->shutdown(a->asks.cluster);
    a->asks.cluster = NULL;
}

void tl_rados_asker_free(struct tl_rados_asker *a)
{
    if (a == NULL)
        return;
    hang_up(a);
    tl_rados_map_free(&a->map);
    pthread_mutex_destroy(&a->mutex);
    free(a);
}

static int mon(struct tl_rados_asker *a, const char *prefix, json_t **answer)
{
    return tl_rados_mon(&a->asks, json_pack("{s:s}", "prefix", prefix), answer, NULL);
}

/* ---- the map ---- */

static int ask_version(struct tl_rados_asker *a, uint64_t *version)
{
    json_t *stat = NULL;
    int rc = a->asks.cluster == NULL ? tl_rados_connect(&a->asks, NULL) : 0;
    rc = rc == 0 ? mon(a, "osd stat", &stat) : rc;
    json_int_t epoch = json_integer_value(json_object_get(stat, "epoch"));
    json_decref(stat);
    if (rc == 0 && epoch <= 0)
        rc = -EBADMSG;
    if (rc == 0)
        *version = (uint64_t)epoch;
    return rc;
}

static int ask_map(struct tl_rados_asker *a)
{
    json_t *dump = NULL, *tree = NULL, *rules = NULL;
    int rc = mon(a, "osd dump", &dump);
    if (rc == 0)
        find_own(a, dump);
    if (rc == 0) /* without these we know less */
        (void)!mon(a, "osd tree", &tree), (void)!mon(a, "osd crush rule dump", &rules);
    rc = rc == 0 ? tl_rados_map_read(&a->map, dump, tree, rules) : rc;
    json_decref(dump);
    json_decref(tree);
    json_decref(rules);
    return rc;
}

/* The map as it is now. A monitor that hangs is left for another one, which a new connection finds. */
static int renew_map(struct tl_rados_asker *a)
{
    uint64_t version = 0;
    int rc = ask_version(a, &version);
    if (rc != 0 && a->asks.cluster != NULL) {
        hang_up(a);
        rc = ask_version(a, &version);
    }
    if (rc == 0 && version != a->map.version) {
        a->known = a->settled = false;
        rc = ask_map(a);
    }
    return rc;
}

/* ---- the placement groups ---- */

static bool has_manager(struct tl_rados_asker *a)
{
    json_t *stat = NULL;
    const bool there = mon(a, "mgr stat", &stat) == 0 && json_is_true(json_object_get(stat, "available"));
    json_decref(stat);
    return there;
}

/* The monitors hand the question on, and answer it to everybody who may ask them. */
static int ask_manager(struct tl_rados_asker *a, struct tl_rados_groups *out)
{
    static const char *const bad[] = {"stale",
                                      "creating",
                                      "activating",
                                      "recovery_wait",
                                      "recovery_toofull",
                                      "recovering",
                                      "down",
                                      "recovery_unfound",
                                      "undersized",
                                      "degraded",
                                      "inconsistent",
                                      "peering",
                                      "backfill_wait",
                                      "backfill_toofull",
                                      "backfilling",
                                      "backfill_unfound",
                                      "incomplete",
                                      "peered",
                                      "remapped",
                                      "wait",
                                      "laggy"};
    json_t *df = NULL;
    int rc = has_manager(a) ? mon(a, "df", &df) : -ENOENT;
    *out = (struct tl_rados_groups){.silent = -1};
    for (uint32_t i = 0; rc == 0 && i < a->map.kind_count; i++) {
        json_t *groups = NULL, *states = json_array();
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
            json_array_append_new(states, json_string(bad[k]));
        rc = tl_rados_mon(
            &a->asks,
            json_pack("{s:s, s:s, s:o}", "prefix", "pg ls-by-pool", "poolstr", a->map.kinds[i].name, "states", states),
            &groups, NULL);
        rc = rc == 0 ? tl_rados_groups_managed(out, &a->map.kinds[i], groups, df) : rc;
        json_decref(groups);
    }
    json_decref(df);
    return rc;
}

/* What the map said at once stays, where it is worse. */
static void take_managed(struct tl_rados_groups *groups, const struct tl_rados_groups *managed)
{
    for (unsigned i = TL_GROUP_MENDING; i <= TL_GROUP_STUCK; i++)
        if (groups->count[i] < managed->count[i])
            groups->count[i] = managed->count[i];
    groups->copies = managed->copies;
    groups->missing = managed->missing;
    groups->misplaced = managed->misplaced;
    groups->unsaid = 0;
}

static int ask_groups(struct tl_rados_asker *a, const _Atomic int *stop)
{
    struct tl_rados_groups groups = {.silent = -1, .unsaid = 1}, managed;
    int rc = tl_rados_groups_ask(&a->asks, &a->map, stop, &groups);
    if (rc == -ESTALE) { /* a new connection has a new map */
        hang_up(a);
        rc = renew_map(a);
        rc = rc == 0 ? tl_rados_groups_ask(&a->asks, &a->map, stop, &groups) : rc;
        rc = rc == -ESTALE ? 0 : rc; /* it changes faster than we look */
    }
    if (rc != 0 && rc != -E2BIG)
        return rc;
    const bool own = rc == 0 && groups.unsaid == 0;
    if (!own && groups.silent < 0 && ask_manager(a, &managed) == 0) {
        take_managed(&groups, &managed);
        rc = 0;
    }
    a->groups = groups;
    a->known = rc == 0;
    const uint32_t bad = groups.count[TL_GROUP_MENDING] + groups.count[TL_GROUP_DEGRADED] +
                         groups.count[TL_GROUP_CHANGING] + groups.count[TL_GROUP_STUCK];
    a->settled = own && bad == 0 && groups.version >= a->map.version;
    return 0;
}

static void nap(void)
{
    const struct timespec t = {.tv_nsec = AGAIN_NS};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

/* Once, or, while placement groups are changing hands, for some seconds: that is how every change of the map begins. */
static int look(struct tl_rados_asker *a, const _Atomic int *stop)
{
    const uint64_t until = tl_time_mono_ns() + SETTLE_NS;
    int rc;
    do {
        rc = renew_map(a);
        if (rc == 0 && !a->settled)
            rc = ask_groups(a, stop);
        if (rc == 0 && a->groups.count[TL_GROUP_CHANGING] > 0)
            nap();
        if (rc == 0 && stop != NULL && *stop != 0)
            rc = -ECANCELED;
    } while (rc == 0 && a->groups.count[TL_GROUP_CHANGING] > 0 && tl_time_mono_ns() < until);
    return rc;
}

/* ---- what follows ---- */

static enum tl_store_state state_of(const struct tl_rados_asker *a)
{
    const uint32_t *n = a->groups.count;
    if (!a->known)
        return TL_STORE_UNKNOWN;
    if (n[TL_GROUP_STUCK] + n[TL_GROUP_CHANGING] > 0)
        return TL_STORE_UNAVAILABLE;
    if (n[TL_GROUP_DEGRADED] > 0)
        return TL_STORE_DEGRADED;
    return n[TL_GROUP_MENDING] > 0 ? TL_STORE_REBUILDING : TL_STORE_HEALTHY;
}

static void show(const struct tl_rados_asker *a, struct tl_store_health *out)
{
    *out = (struct tl_store_health){.map_version = a->map.version,
                                    .state = state_of(a),
                                    .silent = a->groups.silent,
                                    .redundancy = UINT32_MAX,
                                    .rebuild_known = a->known && a->groups.unsaid == 0,
                                    .copies = a->groups.copies,
                                    .missing = a->groups.missing,
                                    .misplaced = a->groups.misplaced};
    for (uint32_t i = 0; i < a->map.target_count; i++) {
        const struct tl_rados_target *t = &a->map.targets[i];
        if (!t->ours)
            continue;
        out->targets++;
        out->up += t->up;
        out->in += t->in;
        out->disabled += !t->up || !t->in;
    }
    for (uint32_t i = 0; i < a->map.kind_count; i++)
        if (a->map.kinds[i].groups > 0 && a->map.kinds[i].redundancy < out->redundancy)
            out->redundancy = a->map.kinds[i].redundancy;
    if (out->redundancy == UINT32_MAX)
        out->redundancy = 0; /* none of its RADOS pools is there */
}

int tl_rados_health(struct tl_store *s, const _Atomic int *stop, struct tl_store_health *out)
{
    struct tl_rados_asker *a = ((struct tl_rados *)s)->asker;
    pthread_mutex_lock(&a->mutex);
    int rc = look(a, stop);
    if (rc == 0)
        show(a, out);
    pthread_mutex_unlock(&a->mutex);
    return rc;
}

void tl_rados_rest(struct tl_store *s)
{
    struct tl_rados_asker *a = ((struct tl_rados *)s)->asker;
    pthread_mutex_lock(&a->mutex);
    hang_up(a);
    pthread_mutex_unlock(&a->mutex);
}

/* ---- targets ---- */

/* Without a manager, from each OSD itself, which answers it to clients with all rights. */
static int ask_space(struct tl_rados_asker *a, struct tl_rados_target *t)
{
    static const char command[] = "{\"prefix\": \"perf dump\", \"logger\": \"osd\", \"format\": \"json\"}";
    const char *lines[] = {command};
    char *out = NULL;
    size_t out_len = 0;
    int rc = a->asks.lib->osd_command(a->asks.cluster, (int)t->number, lines, 1, "", 0, &out, &out_len, NULL, NULL);
    json_t *answer = rc == 0 ? json_loadb(out, out_len, 0, NULL) : NULL;
    const json_t *osd = json_object_get(answer, "osd");
    json_int_t total = json_integer_value(json_object_get(osd, "stat_bytes"));
    json_int_t used = json_integer_value(json_object_get(osd, "stat_bytes_used"));
    if (total > 0 && used >= 0) {
        t->total_bytes = (uint64_t)total;
        t->used_bytes = (uint64_t)used;
    }
    json_decref(answer);
    if (out != NULL)
        a->asks.lib->buffer_free(out);
    return rc;
}

static void ask_spaces(struct tl_rados_asker *a)
{
    json_t *df = NULL;
    int rc = has_manager(a) ? mon(a, "osd df", &df) : -ENOENT;
    if (rc == 0)
        tl_rados_map_space(&a->map, df);
    json_decref(df);
    /* One that does not answer is enough: each takes a timeout. */
    for (uint32_t i = 0, bad = 0; rc != 0 && i < a->map.target_count && bad == 0; i++)
        if (a->map.targets[i].ours && a->map.targets[i].up)
            bad += ask_space(a, &a->map.targets[i]) != 0;
}

static int copy_targets(struct tl_rados_asker *a, struct tl_rados_target **out, uint32_t *count)
{
    int rc = renew_map(a);
    struct tl_rados_target *list = rc == 0 ? calloc(a->map.target_count + 1, sizeof *list) : NULL;
    if (rc != 0 || list == NULL)
        return rc != 0 ? rc : -ENOMEM;
    ask_spaces(a);
    *count = a->map.target_count;
    if (*count > 0)
        memcpy(list, a->map.targets, *count * sizeof *list);
    *out = list;
    return 0;
}

int tl_rados_targets(struct tl_store *s, int (*fn)(void *ctx, const struct tl_store_target *t), void *ctx)
{
    struct tl_rados_asker *a = ((struct tl_rados *)s)->asker;
    struct tl_rados_target *list = NULL;
    uint32_t count = 0;
    pthread_mutex_lock(&a->mutex);
    int rc = copy_targets(a, &list, &count);
    pthread_mutex_unlock(&a->mutex);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        const struct tl_store_target t = {.number = list[i].number,
                                          .host = list[i].host,
                                          .up = list[i].up,
                                          .in = list[i].in,
                                          .total_bytes = list[i].total_bytes,
                                          .used_bytes = list[i].used_bytes};
        rc = list[i].ours ? fn(ctx, &t) : 0;
    }
    free(list);
    return rc;
}
