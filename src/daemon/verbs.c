// SPDX-License-Identifier: Apache-2.0
/* What the control socket answers. One function a verb; JSON by jansson. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/time.h"
#include "daemon/daemon.h"

#define GATHER_TIMEOUT_NS (15 * TL_NS_PER_S)

static void fail(struct tl_control *c, int code, const char *text)
{
    struct tl_error err;
    tl_error_set(&err, code, "%s", text);
    tl_control_fail(c, &err);
}

/* ---- counters as JSON ---- */

static json_t *counters_json(const struct tl_counters *k)
{
    json_t *o = json_object();
#define ADD(name) json_object_set_new(o, #name, json_integer((json_int_t)k->name));
    TL_COUNTERS(ADD)
    ADD(warm_left)
    ADD(cached_bytes)
    ADD(cached_objects)
    ADD(open_flights)
    ADD(open_requests)
    ADD(slow_children)
#undef ADD
    return o;
}

static json_t *fuse_json(struct tl_daemon *d)
{
    struct tl_fuse_stats sum;
    tl_fronts_stats(d, &sum);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "lookups",
                     (json_int_t)sum.lookups, "getattrs", (json_int_t)sum.getattrs, "readdirs",
                     (json_int_t)sum.readdirs, "reads", (json_int_t)sum.reads, "read_bytes", (json_int_t)sum.read_bytes,
                     "ioctls", (json_int_t)sum.ioctls, "xattrs", (json_int_t)sum.xattrs, "others",
                     (json_int_t)sum.others, "forgets", (json_int_t)sum.forgets, "errors", (json_int_t)sum.errors,
                     "interrupts", (json_int_t)sum.interrupts, "inodes", (json_int_t)sum.inodes, "given_up",
                     (json_int_t)sum.given_up);
}

static json_t *net_json(struct tl_daemon *d)
{
    struct tl_net_stats s;
    d->net->ops->stats(d->net, &s);
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "transport",
                     d->net->ops->name, "messages_sent", (json_int_t)s.messages_sent, "messages_received",
                     (json_int_t)s.messages_received, "bytes_sent", (json_int_t)s.bytes_sent, "bytes_received",
                     (json_int_t)s.bytes_received, "reads_served", (json_int_t)s.reads_served, "reads_issued",
                     (json_int_t)s.reads_issued, "read_bytes_in", (json_int_t)s.read_bytes_in, "read_bytes_out",
                     (json_int_t)s.read_bytes_out, "bulk_fallbacks", (json_int_t)s.bulk_fallbacks, "auth_failures",
                     (json_int_t)s.auth_failures, "bad_frames", (json_int_t)s.bad_frames, "version_mismatches",
                     (json_int_t)s.version_mismatches, "connects", (json_int_t)s.connects);
}

/* bytes_per_s: of the storage, for all roots together, as far as it has been seen here: each reads a like share. */
static json_t *source_json(struct tl_daemon *d)
{
    struct tl_source_stats s;
    tl_source_stats(d->source, &s);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "bytes_per_s",
                     (json_int_t)(d->rate.bytes_per_s * d->options.roots), "lists", (json_int_t)s.lists, "opens",
                     (json_int_t)s.opens, "reads", (json_int_t)s.reads, "lstats", (json_int_t)s.lstats, "readlinks",
                     (json_int_t)s.readlinks, "bytes", (json_int_t)s.bytes, "errors", (json_int_t)s.errors);
}

/* A line of /proc/self/status in bytes. */
static json_int_t status_bytes(const char *field)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    size_t len = strlen(field);
    json_int_t kb = 0;
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, field, len) == 0 && line[len] == ':')
            kb = strtoll(line + len + 1, NULL, 10);
    if (f != NULL)
        fclose(f);
    return kb * 1024;
}

static json_t *memory_json(struct tl_daemon *d)
{
    struct tl_arena_stats a;
    tl_arena_stats(d->arena, &a);
    tl_trees_look(d);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "rss_bytes", status_bytes("VmRSS"), "private_bytes",
                     status_bytes("RssAnon"), "file_bytes", status_bytes("RssFile"), "cached_bytes",
                     (json_int_t)a.live_bytes, "arena_bytes", (json_int_t)a.page_bytes, "limit_bytes",
                     (json_int_t)d->options.cache_size_bytes, "trees_bytes", (json_int_t)tl_trees_bytes(d));
}

static void verb_stat(struct tl_daemon *d, struct tl_control *c)
{
    struct tl_report own;
    tl_node_report(d->node, &own);
    tl_control_reply(c, 'r',
                     json_pack("{s:i, s:i, s:o, s:o, s:o, s:o, s:o}", "rank", own.rank, "restarts", d->restarts,
                               "counters", counters_json(&own.counters), "fuse", fuse_json(d), "net", net_json(d),
                               "source", source_json(d), "memory", memory_json(d)));
}

/* ---- commands to all nodes: the core floods them, the answer comes back here ---- */

static void start_flood(struct tl_daemon *d, struct tl_control *c, enum tl_event_type type, const char *path)
{
    const struct tl_event ev = {.type = type,
                                .id = tl_control_begin(d, c, GATHER_TIMEOUT_NS),
                                .path = path,
                                .path_len = (uint16_t)(path == NULL ? 0 : strlen(path))};
    tl_drive_event(d, &ev);
    tl_drive_queue(d);
}

static json_t *mounts_json(struct tl_daemon *d)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < TL_FRONTS_MAX; i++) {
        const struct tl_mount *m = &d->mounts[i];
        if (m->fuse == NULL)
            continue;
        struct tl_fuse_stats s;
        tl_fuse_stats(m->fuse, &s);
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:I, s:i}", "path", m->path, "source", m->source, "requests",
                                        (json_int_t)(s.lookups + s.getattrs + s.readdirs + s.reads), "holder", m->pid));
    }
    return list;
}

static json_t *rank_json(uint32_t rank)
{
    return rank == TL_RANK_NONE ? json_null() : json_integer(rank);
}

/* The trees by their roots, and whom this node asks in each now. */
static json_t *trees_json(struct tl_daemon *d, const struct tl_forest *f)
{
    json_t *list = json_array();
    for (uint32_t tree = 0; tree < tl_forest_trees(f); tree++) {
        bool large = tree >= f->roots;
        json_array_append_new(list,
                              json_pack("{s:i, s:i, s:i, s:s, s:o}", "tree", tree, "root", tl_forest_at(f, tree, 0),
                                        "arity", large ? TL_LARGE_ARITY : f->arity, "for",
                                        large                           ? "large"
                                        : tl_forest_trees(f) > f->roots ? "small"
                                                                        : "all",
                                        "parent", rank_json(tl_node_parent(d->node, tree))));
    }
    return list;
}

/* Where a node stands in each tree when all are up. */
static json_t *parents_json(const struct tl_forest *f, uint32_t rank)
{
    json_t *list = json_array();
    for (uint32_t tree = 0; tree < tl_forest_trees(f); tree++)
        json_array_append_new(list, rank_json(tl_forest_parent(f, tree, rank)));
    return list;
}

static json_t *member_json(struct tl_daemon *d, uint32_t rank, const struct tl_report *r)
{
    json_t *m = json_pack("{s:i, s:s, s:s}", "rank", rank, "address", d->options.addresses[rank], "state",
                          r != NULL ? "up" : "down");
    if (r == NULL)
        return m;
    json_object_set_new(m, "parent", rank_json(r->parent));
    json_object_set_new(m, "children", json_integer(r->children));
    json_object_set_new(m, "subtree", json_integer(r->subtree));
    json_object_set_new(m, "cached_bytes", json_integer((json_int_t)r->counters.cached_bytes));
    return m;
}

/* all_trees: with each node's parents. */
static json_t *status_json(struct tl_daemon *d, const struct tl_report *reports, size_t count, bool all_trees)
{
    const struct tl_options *o = &d->options;
    const struct tl_forest forest = {
        .node_count = o->node_count, .roots = o->roots, .arity = o->arity, .topology = d->topology};
    const struct tl_report **by_rank = calloc(o->node_count, sizeof(void *));
    json_t *members = json_array();
    for (size_t i = 0; by_rank != NULL && i < count; i++)
        if (reports[i].rank < o->node_count)
            by_rank[reports[i].rank] = &reports[i];
    for (uint32_t rank = 0; by_rank != NULL && rank < o->node_count; rank++) {
        json_t *m = member_json(d, rank, by_rank[rank]);
        if (all_trees)
            json_object_set_new(m, "parents", parents_json(&forest, rank));
        if (o->groups != NULL)
            json_object_set_new(m, "group", json_integer(o->groups[rank]));
        json_array_append_new(members, m);
    }
    free(by_rank);
    uint64_t uptime = (tl_time_mono_ns() - d->started_ns) / TL_NS_PER_S;
    bool ready = count == o->node_count;
    return json_pack("{s:s, s:i, s:i, s:b, s:i, s:i, s:i, s:s, s:I, s:I, s:s, s:b, s:o, s:o, s:o}", "tier", o->tier,
                     "rank", o->rank, "nodes", o->node_count, "ready", ready, "root", tl_forest_at(&forest, 0, 0),
                     "roots", o->roots, "arity", o->arity, "version", TIERCEL_VERSION, "uptime_s", (json_int_t)uptime,
                     "pid", (json_int_t)getpid(), "transport", d->net->ops->name, "encrypted", o->encrypt, "trees",
                     trees_json(d, &forest), "members", members, "mounts", mounts_json(d));
}

static json_t *stat_all_json(const struct tl_report *reports, size_t count)
{
    json_t *nodes = json_array();
    struct tl_counters total = {0};
    for (size_t i = 0; i < count; i++) {
        const uint64_t *from = (const uint64_t *)&reports[i].counters;
        uint64_t *to = (uint64_t *)&total;
        for (size_t k = 0; k < sizeof total / sizeof *to; k++)
            to[k] += from[k];
        json_t *node =
            json_pack("{s:i, s:o}", "rank", reports[i].rank, "counters", counters_json(&reports[i].counters));
        json_object_set_new(node, "parent", rank_json(reports[i].parent));
        json_array_append_new(nodes, node);
    }
    return json_pack("{s:o, s:o}", "nodes", nodes, "total", counters_json(&total));
}

static int by_rank(const void *a, const void *b)
{
    const struct tl_report *x = a, *y = b;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

/* warm: every node has heard of the profile. */
static void told(struct tl_control *c, int status)
{
    if (status == 0)
        tl_control_reply(c, 'r', json_pack("{s:b}", "told", 1));
    else if (status == -EINVAL)
        fail(c, status, "warm wants the absolute path of a profile, of at most 4,095 bytes");
    else
        fail(c, status, "not every node was told to warm itself: some did not answer; see tiercel status");
}

void tl_verb_gathered(struct tl_daemon *d, struct tl_control *c, const struct tl_report *reports, size_t count,
                      int status)
{
    const char *verb = tl_control_arg(c, 0), *which = tl_control_arg(c, 1);
    bool all_trees = which != NULL && strcmp(which, "trees") == 0;
    struct tl_report *sorted = count > 0 ? malloc(count * sizeof *sorted) : NULL;
    if (sorted != NULL) {
        memcpy(sorted, reports, count * sizeof *sorted);
        qsort(sorted, count, sizeof *sorted, by_rank);
    }
    if (status == -EBUSY)
        fail(c, status, "too many commands to all nodes at once; try again");
    else if (strcmp(verb, "status") == 0)
        tl_control_reply(c, 'r', status_json(d, sorted, sorted == NULL ? 0 : count, all_trees));
    else if (strcmp(verb, "stat") == 0)
        tl_control_reply(c, 'r', stat_all_json(sorted, sorted == NULL ? 0 : count));
    else if (strcmp(verb, "warm") == 0)
        told(c, status);
    else if (status == 0)
        tl_control_reply(c, 'r', json_pack("{s:b}", strcmp(verb, "flush") == 0 ? "flushed" : verb, 1));
    else if (status == -EINVAL)
        fail(c, status, "wants an absolute path of at most 4,095 bytes");
    else if (strcmp(verb, "pin") == 0)
        fail(
            c, status,
            "pinned here, perhaps not on every node: some did not answer, or have 16 pins already; see tiercel status, "
            "then pin again");
    else
        fail(c, status, "done here, but not on every node: some did not answer; see tiercel status, then do it again");
    free(sorted);
}

json_t *tl_verb_ready_json(struct tl_daemon *d)
{
    struct tl_report own;
    tl_node_report(d->node, &own);
    return json_pack("{s:i, s:i, s:b}", "ready_nodes", own.subtree, "nodes", d->options.node_count, "ready",
                     tl_node_ready(d->node));
}

/* ---- mounts ---- */

static void verb_mount(struct tl_daemon *d, struct tl_control *c)
{
    const char *path = tl_control_arg(c, 1);
    struct tl_error err;
    int front = path == NULL ? tl_error_set(&err, -EINVAL, "mount wants a folder")
                             : tl_fronts_add(d, path, "/", -1, false, 0, &err);
    if (front < 0)
        tl_control_fail(c, &err);
    else
        tl_control_reply(c, 'r', json_pack("{s:s, s:i}", "mounted", path, "front", front));
}

static void verb_umount(struct tl_daemon *d, struct tl_control *c)
{
    const char *path = tl_control_arg(c, 1);
    struct tl_error err;
    int rc = path == NULL ? tl_error_set(&err, -EINVAL, "umount wants a folder") : tl_fronts_remove(d, path, &err);
    if (rc < 0)
        tl_control_fail(c, &err);
    else
        tl_control_reply(c, 'r', json_pack("{s:s}", "unmounted", path));
}

/* attach SOURCE_ROOT MAP_OWNER HOLDER_PID, with the mounted /dev/fuse. */
static void verb_attach(struct tl_daemon *d, struct tl_control *c)
{
    const char *source = tl_control_arg(c, 1), *map = tl_control_arg(c, 2), *pid = tl_control_arg(c, 3);
    int fd = tl_control_take_fd(c);
    struct tl_error err;
    int front;
    if (source == NULL || source[0] != '/' || map == NULL || pid == NULL || fd < 0)
        front = tl_error_set(&err, -EINVAL, "attach wants SOURCE_ROOT, 0 or 1, a process id, and a descriptor");
    else
        front = tl_fronts_add(d, source, source, fd, strcmp(map, "1") == 0, atoi(pid), &err);
    if (front < 0)
        tl_control_fail(c, &err);
    else
        tl_control_reply(c, 'r', json_pack("{s:i}", "front", front));
}

/* ---- the others ---- */

static void verb_ping(struct tl_daemon *d, struct tl_control *c)
{
    struct tl_report report;
    tl_node_report(d->node, &report);
    const uint64_t seen[] = {report.incarnation, report.counters.invalidations};
    char program[PATH_MAX] = "";
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    program[len > 0 ? len : 0] = 0;
    tl_control_reply(c, 'r',
                     json_pack("{s:s, s:i, s:I, s:I, s:s, s:s, s:i}", "tier", d->options.tier, "rank", d->options.rank,
                               "changes", (json_int_t)(tl_hash64(seen, sizeof seen, 0) >> 2 | 1), "pid",
                               (json_int_t)getpid(), "version", TIERCEL_VERSION, "program", program, "restarts",
                               d->restarts));
}

static void verb_stop(struct tl_daemon *d, struct tl_control *c)
{
    tl_control_reply(c, 'r', json_pack("{s:b}", "stopping", 1));
    d->stopping = true;
}

/* restart [PROGRAM]: another daemon, perhaps a newer one, goes on with the mounts. */
static void verb_restart(struct tl_daemon *d, struct tl_control *c)
{
    const char *program = tl_control_arg(c, 1);
    if (d->options.keeper_fd < 0) {
        fail(c, -ENOTSUP, "this daemon has no keeper that could start another one; take the tier down and up again");
    } else if (program != NULL && (program[0] != '/' || access(program, X_OK) != 0)) {
        fail(c, -EINVAL, "restart wants the absolute path of a tierceld that can be run here");
    } else {
        tl_kept_restart(d, program);
        tl_control_reply(c, 'r', json_pack("{s:b}", "restarting", 1));
        d->restarting = d->stopping = true;
    }
}

/* serves HOLDER_PID COUNT: whether this daemon serves all mounts of a holder, perhaps after another daemon. */
static void verb_serves(struct tl_daemon *d, struct tl_control *c)
{
    const char *pid = tl_control_arg(c, 1), *count = tl_control_arg(c, 2);
    if (pid == NULL || count == NULL || atoi(pid) <= 0)
        fail(c, -EINVAL, "serves wants a process id and a number");
    else if (tl_fronts_count_of(d, atoi(pid)) < (uint32_t)atoi(count))
        fail(c, -ENOENT, "not served here");
    else
        tl_control_reply(c, 'r', json_pack("{s:b}", "served", 1));
}

static void verb_status(struct tl_daemon *d, struct tl_control *c)
{
    start_flood(d, c, TL_EV_GATHER, NULL);
}

static void verb_stat_which(struct tl_daemon *d, struct tl_control *c)
{
    const char *which = tl_control_arg(c, 1);
    if (which != NULL && strcmp(which, "all") == 0)
        start_flood(d, c, TL_EV_GATHER, NULL);
    else
        verb_stat(d, c);
}

/* timeline start | stop | read FROM */
static void verb_timeline(struct tl_daemon *d, struct tl_control *c)
{
    const char *what = tl_control_arg(c, 1), *from = tl_control_arg(c, 2);
    if (what != NULL && strcmp(what, "start") == 0 && tl_timeline_start(&d->timeline) != 0)
        fail(c, -ENOMEM, "out of memory for the marks of a timeline");
    else if (what != NULL && strcmp(what, "start") == 0)
        tl_control_reply(c, 'r', json_pack("{s:b}", "on", 1));
    else if (what != NULL && strcmp(what, "read") == 0 && from != NULL)
        tl_control_reply(c, 'r', tl_timeline_read(&d->timeline, strtoull(from, NULL, 10)));
    else if (what != NULL && strcmp(what, "stop") == 0) {
        tl_timeline_stop(&d->timeline);
        tl_control_reply(c, 'r', json_pack("{s:b, s:I}", "on", 0, "marks", (json_int_t)d->timeline.count));
    } else
        fail(c, -EINVAL, "timeline wants start, stop, or read and a number");
}

/* The node's counters as Prometheus has them: {"text": ...}. */
static void verb_metrics(struct tl_daemon *d, struct tl_control *c)
{
    char *text = NULL;
    size_t len;
    if (tl_exposition(d, &text, &len) != 0)
        fail(c, -ENOMEM, "out of memory for the counters");
    else
        tl_control_reply(c, 'r', json_pack("{s:s}", "text", text));
    free(text);
}

static void verb_flush(struct tl_daemon *d, struct tl_control *c)
{
    start_flood(d, c, TL_EV_FLUSH, tl_control_arg(c, 1));
}

static void verb_pin(struct tl_daemon *d, struct tl_control *c)
{
    bool pin = strcmp(tl_control_arg(c, 0), "pin") == 0;
    if (tl_control_arg(c, 1) == NULL || tl_control_arg(c, 1)[0] == 0)
        fail(c, -EINVAL, "pin and unpin want a path");
    else
        start_flood(d, c, pin ? TL_EV_PIN : TL_EV_UNPIN, tl_control_arg(c, 1));
}

static void verb_warm(struct tl_daemon *d, struct tl_control *c)
{
    const char *path = tl_control_arg(c, 1);
    start_flood(d, c, TL_EV_WARM, path != NULL ? path : "");
}

/* record begin PID, or: record end PID, with a descriptor to write the profile to. */
static void verb_record(struct tl_daemon *d, struct tl_control *c)
{
    const char *what = tl_control_arg(c, 1), *pid = tl_control_arg(c, 2);
    int owner = pid != NULL ? atoi(pid) : 0;
    uint32_t items = 0;
    if (what != NULL && owner > 0 && strcmp(what, "begin") == 0) {
        tl_control_reply(c, 'r', json_pack("{s:b}", "recording", tl_record_begin(d, owner)));
        return;
    }
    int fd = tl_control_take_fd(c);
    if (what == NULL || owner <= 0 || strcmp(what, "end") != 0 || fd < 0) {
        fail(c, -EINVAL, "record wants begin or end, a process id, and to end a descriptor");
    } else {
        int rc = tl_record_end(d, owner, fd, &items);
        if (rc != 0)
            fail(c, rc,
                 rc == -ENOENT ? "nothing was recorded: the daemon has been restarted meanwhile" : strerror(-rc));
        else
            tl_control_reply(c, 'r', json_pack("{s:i}", "items", items));
    }
    if (fd >= 0)
        close(fd);
}

static void verb_wait_ready(struct tl_daemon *d, struct tl_control *c)
{
    const char *text = tl_control_arg(c, 1);
    long ms = text != NULL ? strtol(text, NULL, 10) : 60000;
    if (ms < 0 || ms > 3600000) {
        fail(c, -EINVAL, "wait-ready wants milliseconds, at most an hour");
        return;
    }
    tl_control_begin(d, c, (uint64_t)ms * TL_NS_PER_MS);
    tl_control_tick(d);
}

void tl_verb_run(struct tl_daemon *d, struct tl_control *c)
{
    static const struct {
        const char *name;
        void (*run)(struct tl_daemon *d, struct tl_control *c);
    } verbs[] = {
        {"status", verb_status},     {"stat", verb_stat_which}, {"flush", verb_flush},
        {"mount", verb_mount},       {"umount", verb_umount},   {"attach", verb_attach},
        {"ping", verb_ping},         {"stop", verb_stop},       {"wait-ready", verb_wait_ready},
        {"restart", verb_restart},   {"serves", verb_serves},   {"pin", verb_pin},
        {"unpin", verb_pin},         {"metrics", verb_metrics}, {"rekey", tl_verb_rekey},
        {"timeline", verb_timeline}, {"warm", verb_warm},       {"record", verb_record},
        {"list", tl_verb_local},     {"fetch", tl_verb_local},  {"xattrs", tl_verb_local},
        {"where", tl_verb_where},    {"cache", tl_verb_cache},
    };
    const char *verb = tl_control_arg(c, 0);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verb, verbs[i].name) == 0) {
            verbs[i].run(d, c);
            return;
        }
    struct tl_error err;
    tl_error_set(&err, -EINVAL,
                 "%.64s: a request this daemon (%s) does not know; command and daemon may differ in version", verb,
                 TIERCEL_VERSION);
    tl_control_fail(c, &err);
}
