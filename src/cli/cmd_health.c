// SPDX-License-Identifier: Apache-2.0
/* tiercel pool query, targets, watch: how a pool is. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/pools.h"

#define CONNECT_S   "5" /* as the timeout of a pool in a cluster that is only asked: then the cluster is asked instead */
#define PROGRESS_MS 2000 /* how often a rebuild is looked at */

static json_t *number_or_null(bool known, uint64_t n)
{
    return known ? json_integer((json_int_t)n) : json_null();
}

/* ---- connecting for a question ---- */

struct asked {
    bool json;
    char uri[TIERCEL_PATH_SIZE];
    struct tiercel_pool *pool; /* NULL: it cannot be connected to now, since its storage does not answer */
};

/* Operations end within seconds, unless the uri says how long they may take. */
static const char *bound(const char *uri)
{
    if (strncmp(uri, "rados:", 6) != 0 || strstr(uri, "timeout=") != NULL)
        return "";
    return strchr(uri, '?') != NULL ? "&timeout=" CONNECT_S : "?timeout=" CONNECT_S;
}

/* A sentence names the pool as the user did. */
static void take_out(char *message, const char *bound)
{
    char *at = bound[0] != '\0' ? strstr(message, bound) : NULL;
    if (at != NULL)
        memmove(at, at + strlen(bound), strlen(at + strlen(bound)) + 1);
}

static int connect_to(struct asked *a, const char *given, struct tiercel_error *err)
{
    char bounded[TIERCEL_PATH_SIZE];
    int rc = cli_pool_uri(given, a->uri, err);
    rc = rc == 0 ? cli_path(bounded, err, "%s%s", a->uri, bound(a->uri)) : rc;
    rc = rc == 0 ? tiercel_pool_connect(&a->pool, bounded, TIERCEL_RO, err) : rc;
    if (rc < 0)
        take_out(err->message, bound(a->uri));
    return rc == -ETIMEDOUT && strncmp(a->uri, "rados:", 6) == 0 ? 0 : rc;
}

/* What query and targets begin with. CLI_GO, and *rc: 0, or -errno with a sentence; else the exit code. */
static int ask_begin(const struct cli_verb *self, int argc, char **argv, struct asked *a, int *rc,
                     struct tiercel_error *err)
{
    *a = (struct asked){.pool = NULL};
    const struct cli_option options[] = {CLI_OPTION_JSON(&a->json)};
    int go = cli_parse_mixed(self, options, 1, &argc, &argv, 1);
    if (go == CLI_GO)
        *rc = connect_to(a, argc > 0 ? argv[0] : NULL, err);
    return go;
}

/* ---- query ---- */

struct disabled {
    char text[512];
    size_t used;
    json_t *list;
    json_t *classes; /* names; NULL: not known */
};

static void add_classes(struct disabled *d, struct tiercel_pool *pool)
{
    unsigned classes[32], count = 32;
    char name[TIERCEL_CLASS_NAME];
    if (tiercel_pool_classes(pool, classes, &count) < 0)
        return;
    d->classes = json_array();
    for (unsigned i = 0; i < count && i < 32; i++) {
        (void)tiercel_class_name(classes[i], name);
        json_array_append_new(d->classes, json_string(name));
    }
}

static void print_classes(const struct disabled *d)
{
    const size_t count = json_array_size(d->classes);
    for (size_t i = 0; i < count; i++)
        printf("%s%s",
               i == 0   ? (count == 1 ? "object class " : "object classes ")
               : i == 1 ? " (the default), "
                        : ", ",
               json_string_value(json_array_get(d->classes, i)));
    if (count > 0)
        puts("");
}

static int add_disabled(void *ctx, const struct tiercel_pool_target *t)
{
    struct disabled *d = ctx;
    if (t->up && t->in)
        return 0;
    json_array_append_new(d->list, json_integer((json_int_t)t->number));
    if (d->used + 100 < sizeof d->text) {
        int n = snprintf(d->text + d->used, sizeof d->text - d->used, "%sosd.%" PRIu32 "%s%s", d->used > 0 ? ", " : "",
                         t->number, t->host[0] != 0 ? " on host " : "", t->host);
        d->used += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int print_json(const char *uri, const struct tiercel_pool_info *p, const struct disabled *d)
{
    const struct tiercel_pool_health *h = &p->health;
    const bool content = (h->known & TIERCEL_KNOWS_CONTENT) != 0, space = (h->known & TIERCEL_KNOWS_SPACE) != 0;
    const bool targets = (h->known & TIERCEL_KNOWS_TARGETS) != 0, rebuild = (h->known & TIERCEL_KNOWS_REBUILD) != 0;
    char uuid[CLI_UUID_SIZE];
    json_t *o = json_pack("{s:s, s:s}", "pool", uri, "state", tiercel_pool_state_name(h->state));
    json_object_set_new(o, "uuid", content ? json_string(cli_uuid(uuid, p->uuid)) : json_null());
    json_object_set_new(o, "map_version", number_or_null(targets, h->map_version));
    json_object_set_new(o, "targets", number_or_null(targets, h->targets));
    json_object_set_new(o, "targets_up", number_or_null(targets, h->targets_up));
    json_object_set_new(o, "targets_in", number_or_null(targets, h->targets_in));
    json_object_set(o, "disabled", d->list);
    json_object_set_new(o, "silent", number_or_null(h->silent > 0, h->silent - 1u));
    json_object_set_new(o, "redundancy", number_or_null(targets, p->redundancy));
    json_object_set_new(o, "classes", d->classes != NULL ? json_incref(d->classes) : json_null());
    json_object_set_new(o, "rebuild_done", number_or_null(rebuild, h->rebuild_done));
    json_object_set_new(o, "rebuild_total", number_or_null(rebuild, h->rebuild_total));
    json_object_set_new(o, "missing", number_or_null(rebuild, h->missing));
    json_object_set_new(o, "containers", number_or_null(content, p->containers));
    json_object_set_new(o, "used_bytes", number_or_null(content, p->used_bytes));
    json_object_set_new(o, "free_bytes", number_or_null(space, p->free_bytes));
    json_object_set_new(o, "total_bytes", number_or_null(space, p->total_bytes));
    return cli_print_json(o);
}

static void print_targets(const struct tiercel_pool_info *p, const struct disabled *d)
{
    const struct tiercel_pool_health *h = &p->health;
    if ((h->known & TIERCEL_KNOWS_TARGETS) == 0) {
        puts("targets: unknown; nobody who keeps their map has answered");
        return;
    }
    printf("map version %" PRIu64 "\n", h->map_version);
    printf("%" PRIu32 " target%s: %" PRIu32 " up, %" PRIu32 " in%s%s\n", h->targets, h->targets == 1 ? "" : "s",
           h->targets_up, h->targets_in, d->used > 0 ? "; disabled: " : "", d->text);
    if (h->silent > 0)
        printf("osd.%" PRIu32 " is up, and does not answer\n", h->silent - 1);
    if (p->redundancy > 1)
        printf("redundancy %" PRIu32 ": %" PRIu32 " targets may be lost\n", p->redundancy, p->redundancy);
    else
        printf("redundancy %" PRIu32 ": %s target may be lost\n", p->redundancy, p->redundancy == 0 ? "no" : "one");
}

/* As part of a line. */
static void rebuild_text(char out[160], const struct tiercel_pool_health *h)
{
    char percent[CLI_UNIT_SIZE], total[CLI_UNIT_SIZE], missing[CLI_UNIT_SIZE], moved[CLI_UNIT_SIZE];
    const uint64_t left = h->rebuild_total - h->rebuild_done;
    const uint64_t elsewhere = left > h->missing ? left - h->missing : 0;
    if ((h->known & TIERCEL_KNOWS_REBUILD) == 0)
        snprintf(out, 160, "how many copies are missing is unknown");
    else if (left == 0)
        snprintf(out, 160, "all copies are in place");
    else
        snprintf(out, 160, "%s of %s copies are in place; missing %s, elsewhere %s",
                 cli_percent(percent, h->rebuild_done, h->rebuild_total), cli_count(total, h->rebuild_total),
                 cli_count(missing, h->missing), cli_count(moved, elsewhere));
}

static int print_text(const char *uri, const struct tiercel_pool_info *p, const struct disabled *d)
{
    const struct tiercel_pool_health *h = &p->health;
    char uuid[CLI_UUID_SIZE], used[CLI_UNIT_SIZE], free_text[CLI_UNIT_SIZE], total[CLI_UNIT_SIZE], rebuild[160];
    printf("pool %s\n", uri);
    if ((h->known & TIERCEL_KNOWS_CONTENT) != 0)
        printf("uuid %s\n", cli_uuid(uuid, p->uuid));
    rebuild_text(rebuild, h);
    printf("state %s: %s\n", tiercel_pool_state_name(h->state), rebuild);
    print_targets(p, d);
    print_classes(d);
    const bool content = (h->known & TIERCEL_KNOWS_CONTENT) != 0, space = (h->known & TIERCEL_KNOWS_SPACE) != 0;
    if (content)
        printf("%" PRIu32 " container%s, %s used", p->containers, p->containers == 1 ? "" : "s",
               cli_bytes(used, p->used_bytes));
    else
        printf("what is in it is unknown: its storage did not answer in time");
    if (space)
        printf("; %s of %s free", cli_bytes(free_text, p->free_bytes), cli_bytes(total, p->total_bytes));
    else if (content)
        printf("; how much is free only a manager of the cluster knows");
    puts("");
    return cli_finish();
}

static int query(struct asked *a, struct tiercel_pool_info *info, struct disabled *d, struct tiercel_error *err)
{
    if (a->pool == NULL) {
        int rc = tiercel_pool_look(a->uri, info, add_disabled, d, err);
        if (rc == 0 && info->health.state == TIERCEL_POOL_HEALTHY)
            info->health.state = TIERCEL_POOL_UNAVAILABLE; /* we have just seen that it is */
        return rc;
    }
    int rc = tiercel_pool_query(a->pool, info);
    if (rc < 0)
        return cli_why(err, rc, "%s", a->uri);
    add_classes(d, a->pool);
    if (info->health.targets_disabled > 0 && tiercel_pool_targets(a->pool, add_disabled, d) < 0)
        d->used = 0; /* their number is known all the same */
    return 0;
}

int cmd_pool_query(const struct cli_verb *self, int argc, char **argv)
{
    struct tiercel_error err = {0};
    struct tiercel_pool_info info;
    struct asked a;
    int rc = 0, go = ask_begin(self, argc, argv, &a, &rc, &err);
    if (go != CLI_GO)
        return go;
    struct disabled d = {.list = json_array()};
    if (rc == 0) {
        rc = query(&a, &info, &d, &err);
        tiercel_pool_disconnect(a.pool);
    }
    const char *uri = a.pool != NULL && strncmp(a.uri, "rados:", 6) != 0 ? info.uri : a.uri;
    int code = rc < 0 ? cli_report(&err, a.json) : a.json ? print_json(uri, &info, &d) : print_text(uri, &info, &d);
    json_decref(d.list);
    json_decref(d.classes);
    return code;
}

/* ---- targets ---- */

struct listing {
    const char *prefix; /* of a target's number */
    struct cli_table *table;
    json_t *list; /* NULL: a table is wanted */
};

static int add_target(void *ctx, const struct tiercel_pool_target *t)
{
    const struct listing *l = ctx;
    char name[CLI_UNIT_SIZE], used[CLI_UNIT_SIZE], total[CLI_UNIT_SIZE];
    if (l->list != NULL) {
        json_t *o = json_pack("{s:I, s:s, s:b, s:b}", "target", (json_int_t)t->number, "host", t->host, "up",
                              (int)t->up, "in", (int)t->in);
        json_object_set_new(o, "used_bytes", number_or_null(t->known != 0, t->used_bytes));
        json_object_set_new(o, "total_bytes", number_or_null(t->known != 0, t->total_bytes));
        json_array_append_new(l->list, o);
        return 0;
    }
    snprintf(name, sizeof name, "%s%" PRIu32, l->prefix, t->number);
    cli_table_row(l->table, name, t->host[0] != 0 ? t->host : "-", t->up ? "up" : "down", t->in ? "in" : "out",
                  t->known ? cli_bytes(used, t->used_bytes) : "-", t->known ? cli_bytes(total, t->total_bytes) : "-");
    return 0;
}

int cmd_pool_targets(const struct cli_verb *self, int argc, char **argv)
{
    struct tiercel_error err = {0};
    struct tiercel_pool_info info;
    struct asked a;
    int rc = 0, go = ask_begin(self, argc, argv, &a, &rc, &err);
    if (go != CLI_GO)
        return go;
    struct listing l = {.list = a.json ? json_array() : NULL};
    l.prefix = strncmp(a.uri, "rados:", 6) == 0 ? "osd." : "";
    l.table = a.json ? NULL : cli_table_new("target|host|up|in|>used|>total");
    if (rc == 0 && a.pool == NULL)
        rc = tiercel_pool_look(a.uri, &info, add_target, &l, &err);
    else if (rc == 0 && (rc = tiercel_pool_targets(a.pool, add_target, &l)) < 0)
        cli_why(&err, rc, "%s", a.uri);
    tiercel_pool_disconnect(a.pool);
    if (rc < 0) {
        json_decref(l.list);
        cli_table_free(l.table);
        return cli_report(&err, a.json);
    }
    if (a.json)
        return cli_print_json(json_pack("{s:s, s:o}", "pool", a.uri, "targets", l.list));
    cli_table_print(l.table);
    return cli_finish();
}

/* ---- watch ---- */

struct watch {
    const char *until; /* NULL: for ever */
    int timeout_ms;    /* 0: none */
    bool json;
    uint64_t begin_ms;
    struct tiercel_pool *pool;
    struct tiercel_queue *queue;
    struct tiercel_pool_health now;
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void print_change(const struct watch *w)
{
    const struct tiercel_pool_health *h = &w->now;
    const bool targets = (h->known & TIERCEL_KNOWS_TARGETS) != 0, rebuild = (h->known & TIERCEL_KNOWS_REBUILD) != 0;
    char stamp[32], text[160];
    time_t t = time(NULL);
    struct tm local;
    localtime_r(&t, &local);
    if (w->json) {
        strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S%z", &local);
        json_t *o = json_pack("{s:s, s:s}", "time", stamp, "state", tiercel_pool_state_name(h->state));
        json_object_set_new(o, "map_version", number_or_null(targets, h->map_version));
        json_object_set_new(o, "targets", number_or_null(targets, h->targets));
        json_object_set_new(o, "targets_up", number_or_null(targets, h->targets_up));
        json_object_set_new(o, "targets_in", number_or_null(targets, h->targets_in));
        json_object_set_new(o, "rebuild_done", number_or_null(rebuild, h->rebuild_done));
        json_object_set_new(o, "rebuild_total", number_or_null(rebuild, h->rebuild_total));
        json_object_set_new(o, "missing", number_or_null(rebuild, h->missing));
        json_dumpf(o, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(o);
    } else {
        strftime(stamp, sizeof stamp, "%H:%M:%S", &local);
        rebuild_text(text, h);
        printf("%s  %-11s  map %" PRIu64 ", %" PRIu32 " of %" PRIu32 " up, %" PRIu32 " in; %s\n", stamp,
               tiercel_pool_state_name(h->state), h->map_version, h->targets_up, h->targets, h->targets_in, text);
    }
    fflush(stdout);
}

/* "degraded" is every state that is known and not healthy. */
static bool has_come(const struct watch *w)
{
    if (w->until == NULL || w->now.state == TIERCEL_POOL_UNKNOWN)
        return false;
    return (strcmp(w->until, "healthy") == 0) == (w->now.state == TIERCEL_POOL_HEALTHY);
}

/* How a rebuild goes on, between two changes. */
static void print_progress(struct watch *w)
{
    struct tiercel_pool_info info;
    if (w->now.state == TIERCEL_POOL_HEALTHY || tiercel_pool_query(w->pool, &info) != 0)
        return;
    if (info.health.state != w->now.state || info.health.map_version != w->now.map_version ||
        info.health.rebuild_done == w->now.rebuild_done || (info.health.known & TIERCEL_KNOWS_REBUILD) == 0)
        return; /* the first two come as a change */
    info.health.known &= TIERCEL_KNOWS_TARGETS | TIERCEL_KNOWS_REBUILD;
    w->now = info.health;
    print_change(w);
}

/* 0: there was a change; -ETIMEDOUT; -errno. */
static int next_change(struct watch *w)
{
    struct tiercel_pool_health next = w->now;
    struct tiercel_event ev, *ended = NULL;
    int rc = tiercel_event_init(&ev, w->queue, NULL);
    if (rc != 0 || (rc = tiercel_pool_wait(w->pool, &next, &ev)) != 0)
        return rc;
    while (ended == NULL && rc >= 0) {
        int64_t left = w->timeout_ms > 0 ? (int64_t)w->begin_ms + w->timeout_ms - (int64_t)now_ms() : PROGRESS_MS;
        if (left <= 0)
            rc = -ETIMEDOUT;
        else if ((rc = tiercel_queue_poll(w->queue, left < PROGRESS_MS ? (int)left : PROGRESS_MS, &ended, 1)) == 0)
            print_progress(w);
    }
    if (ended == NULL) { /* its struct is ours: it has to end first */
        (void)!tiercel_event_abort(&ev);
        (void)!tiercel_queue_poll(w->queue, TIERCEL_FOREVER, &ended, 1);
    } else {
        rc = ev.error;
        w->now = rc == 0 ? next : w->now;
    }
    (void)tiercel_event_fini(&ev);
    return rc;
}

static int watch(struct watch *w, struct tiercel_error *err)
{
    int rc = tiercel_queue_create(&w->queue);
    w->begin_ms = now_ms();
    while (rc == 0 && !has_come(w)) {
        rc = next_change(w);
        if (rc == 0)
            print_change(w);
    }
    if (w->queue != NULL)
        tiercel_queue_destroy(w->queue, 1);
    if (rc == -ETIMEDOUT)
        return cli_error(err, rc, "the pool has not become %s in time; it is %s",
                         w->until != NULL ? w->until : "another", tiercel_pool_state_name(w->now.state));
    return rc < 0 ? cli_why(err, rc, "the pool cannot be watched") : 0;
}

int cmd_pool_watch(const struct cli_verb *self, int argc, char **argv)
{
    struct watch w = {.timeout_ms = 0};
    char uri[TIERCEL_PATH_SIZE];
    struct tiercel_error err = {0};
    const struct cli_option options[] = {
        {"until", 0, CLI_TEXT, &w.until, "STATE", "end when it is \"healthy\", or \"degraded\": anything else"},
        {"timeout", 0, CLI_SECONDS, &w.timeout_ms, "S", "end after so many seconds, with exit code 1"},
        CLI_OPTION_JSON(&w.json),
    };
    int go = cli_parse_mixed(self, options, 3, &argc, &argv, 1);
    if (go != CLI_GO)
        return go;
    if (w.until != NULL && strcmp(w.until, "healthy") != 0 && strcmp(w.until, "degraded") != 0)
        return cli_usage(self, "--until is healthy or degraded, not '%s'", w.until);
    int rc = cli_pool_connect(&w.pool, argc > 0 ? argv[0] : NULL, TIERCEL_RO, uri, &err);
    rc = rc == 0 ? watch(&w, &err) : rc;
    tiercel_pool_disconnect(w.pool);
    return rc < 0 ? cli_report(&err, w.json) : cli_finish();
}
