// SPDX-License-Identifier: Apache-2.0
/* tiercel timeline: what the nodes of this machine did and when, as a trace that ui.perfetto.dev and chrome://tracing show.
 *
 * Daemons give marks, begins and ends; here they are brought together to spans: a process is a node, and each kind of span has its
 * lane. The format is Chrome's Trace Event Format, with nestable asynchronous events, since spans of a lane overlap. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/tier.h"

#define ROUNDS_MAX 64 /* answers with a part of a node's marks each */

/* Places in a mark, as src/daemon/timeline.c writes it. */
enum {
    MARK_PHASE,
    MARK_KIND,
    MARK_TIME,
    MARK_ID,
    MARK_PEER,
    MARK_CHUNK,
    MARK_LEN,
    MARK_STATUS,
    MARK_OP,
    MARK_GET,
    MARK_PATH
};

static const char *const kinds[] = {"request", "flight", "pull", "fetch"};
static const char *const lanes[] = {"requests of programs", "asked of other nodes", "pulled from other nodes",
                                    "read from storage"};

struct event {
    int64_t at_ns;
    size_t number; /* of those at the same time the first made comes first */
    json_t *json;
};

struct trace {
    struct event *events;
    size_t count, room;
    int64_t first_ns;
    bool failed; /* memory ran out */
};

static int64_t number_at(const json_t *mark, size_t i)
{
    return json_integer_value(json_array_get(mark, i));
}

static const char *text_at(const json_t *mark, size_t i)
{
    const char *text = json_string_value(json_array_get(mark, i));
    return text != NULL ? text : "";
}

/* Takes json over. */
static void add(struct trace *t, int64_t at_ns, json_t *json)
{
    if (t->count == t->room) {
        size_t room = t->room == 0 ? 1024 : 2 * t->room;
        struct event *events = realloc(t->events, room * sizeof *events);
        if (events != NULL) {
            t->events = events;
            t->room = room;
        }
    }
    if (json == NULL || t->count == t->room) {
        t->failed = true;
        json_decref(json);
        return;
    }
    t->events[t->count] = (struct event){.at_ns = at_ns, .number = t->count, .json = json};
    t->count++;
}

/* ---- marks to events ---- */

static int lane_of(const json_t *mark)
{
    for (int i = 0; i < (int)(sizeof kinds / sizeof kinds[0]); i++)
        if (strcmp(text_at(mark, MARK_KIND), kinds[i]) == 0)
            return i;
    return -1;
}

/* The key under which a begin waits for its end. */
static void key_of(const json_t *mark, int lane, int64_t id, char out[64])
{
    int64_t chunk = lane == 1 ? number_at(mark, MARK_CHUNK) : 0; /* a GET is answered chunk by chunk */
    snprintf(out, 64, "%d:%" PRIx64 ":%" PRId64, lane, (uint64_t)id, chunk);
}

static json_t *args_of(const json_t *begin, const json_t *end, const char *path, int lane)
{
    json_t *args = json_object();
    int64_t peer = number_at(begin, MARK_PEER), len = number_at(lane == 1 && end != NULL ? end : begin, MARK_LEN);
    if (path[0] != '\0')
        json_object_set_new(args, "path", json_string(path));
    if (peer >= 0)
        json_object_set_new(args, "peer", json_integer(peer));
    if (lane != 0)
        json_object_set_new(args, "chunk", json_integer(number_at(begin, MARK_CHUNK)));
    json_object_set_new(args, lane == 3 ? "chunks" : "bytes", json_integer(len));
    if (end == NULL)
        json_object_set_new(args, "unfinished", json_true());
    else if (number_at(end, MARK_STATUS) < 0)
        json_object_set_new(args, "error", json_string(strerror((int)-number_at(end, MARK_STATUS))));
    return args;
}

/* A span: two events. end NULL: it was not over when the marks ended, at end_ns. */
static void add_span(struct trace *t, unsigned rank, const json_t *begin, const json_t *end, int64_t end_ns,
                     const char *path, int lane)
{
    char name[128], id[80], key[64];
    const char *op = text_at(begin, MARK_OP), *base = strrchr(path, '/');
    key_of(begin, lane, number_at(begin, MARK_ID), key);
    snprintf(id, sizeof id, "%u:%s:%zu", rank, key, t->count);
    snprintf(name, sizeof name, "%s%s%s", lane == 2 ? "pull" : op, path[0] != '\0' ? " " : "",
             base != NULL && base[1] != '\0' ? base + 1 : path);
    const int64_t at_ns[2] = {number_at(begin, MARK_TIME), end_ns};
    for (int i = 0; i < 2; i++) {
        json_t *e = json_pack("{s:s, s:s, s:s, s:s, s:I, s:i, s:f}", "ph", i == 0 ? "b" : "e", "cat", kinds[lane], "id",
                              id, "name", name, "pid", (json_int_t)rank, "tid", lane + 1, "ts",
                              (double)(at_ns[i] - t->first_ns) / 1000.0);
        if (e != NULL && i == 0)
            json_object_set_new(e, "args", args_of(begin, end, path, lane));
        add(t, at_ns[i], e);
    }
}

static void add_names(struct trace *t, unsigned rank, const char *address)
{
    char name[300];
    snprintf(name, sizeof name, "node %u %.250s", rank, address);
    add(t, INT64_MIN,
        json_pack("{s:s, s:s, s:I, s:i, s:{s:s}}", "ph", "M", "name", "process_name", "pid", (json_int_t)rank, "tid", 0,
                  "args", "name", name));
    for (int lane = 0; lane < 4; lane++)
        add(t, INT64_MIN,
            json_pack("{s:s, s:s, s:I, s:i, s:{s:s}}", "ph", "M", "name", "thread_name", "pid", (json_int_t)rank, "tid",
                      lane + 1, "args", "name", lanes[lane]));
}

/* All marks of one node, in the order of time. */
static void add_node(struct trace *t, unsigned rank, const json_t *marks)
{
    json_t *open = json_object(), *paths = json_object(), *mark;
    size_t i, count = json_array_size(marks);
    int64_t last_ns = count > 0 ? number_at(json_array_get(marks, count - 1), MARK_TIME) : 0;
    json_array_foreach(marks, i, mark)
    {
        char key[64], get[32];
        int lane = lane_of(mark);
        if (lane < 0)
            continue;
        key_of(mark, lane, number_at(mark, MARK_ID), key);
        bool is_begin = strcmp(text_at(mark, MARK_PHASE), "b") == 0;
        snprintf(get, sizeof get, "%" PRIx64, (uint64_t)number_at(mark, is_begin && lane == 2 ? MARK_GET : MARK_ID));
        if (is_begin && lane == 1)
            json_object_set(paths, get, json_array_get(mark, MARK_PATH));
        if (is_begin && lane == 2 && json_object_get(paths, get) != NULL) /* a pull has the path of its GET */
            json_array_set(mark, MARK_PATH, json_object_get(paths, get));
        if (is_begin) {
            json_object_set(open, key, mark);
            continue;
        }
        const json_t *begin = json_object_get(open, key);
        if (begin == NULL)
            continue; /* it began before the first mark, or has been answered twice */
        add_span(t, rank, begin, mark, number_at(mark, MARK_TIME), text_at(begin, MARK_PATH), lane);
        json_object_del(open, key);
    }
    const char *key;
    json_object_foreach(open, key, mark)
        add_span(t, rank, mark, NULL, last_ns, text_at(mark, MARK_PATH), lane_of(mark));
    json_decref(open);
    json_decref(paths);
}

/* ---- asking ---- */

/* All marks of a node; *lost: how many it had no room for. */
static int read_node(const char *name, unsigned rank, json_t **marks, uint64_t *lost, struct tiercel_error *err)
{
    uint64_t next = 0, end = 1;
    int rc = 0;
    *marks = json_array();
    for (int round = 0; rc == 0 && next < end && round < ROUNDS_MAX; round++) {
        char from[24];
        json_t *part = NULL;
        snprintf(from, sizeof from, "%" PRIu64, next);
        const char *const call[] = {"timeline", "read", from, NULL};
        rc = cli_call_json(name, (int)rank, call, &part, err);
        if (rc < 0)
            break;
        json_array_extend(*marks, json_object_get(part, "marks"));
        next = cli_json_u64(part, "next");
        end = cli_json_u64(part, "end");
        *lost = cli_json_u64(part, "lost");
        json_decref(part);
    }
    return rc;
}

static int by_time(const void *a, const void *b)
{
    const struct event *x = a, *y = b;
    if (x->at_ns != y->at_ns)
        return x->at_ns < y->at_ns ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

static int write_trace(struct trace *t, const char *path, struct tiercel_error *err)
{
    FILE *f = fopen(path, "we");
    if (f == NULL)
        return cli_error(err, -errno, "%s: %s; name a file that can be written", path, strerror(errno));
    qsort(t->events, t->count, sizeof *t->events, by_time);
    fputs("{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n", f);
    for (size_t i = 0; i < t->count; i++) {
        json_dumpf(t->events[i].json, f, JSON_COMPACT | JSON_REAL_PRECISION(15));
        fputs(i + 1 < t->count ? ",\n" : "\n", f);
    }
    fputs("]}\n", f);
    bool bad = ferror(f) != 0;
    if (fclose(f) != 0 || bad)
        return cli_error(err, -EIO, "%s: cannot be written: %s", path, strerror(errno));
    return 0;
}

/* ---- the verb ---- */

struct asked {
    const char *name;
    struct cli_tier tier;
    unsigned ranks[CLI_RANKS_MAX];
    size_t count;   /* nodes of this machine */
    size_t reached; /* of them */
};

static void not_reached(const struct asked *a, unsigned rank, const struct tiercel_error *err)
{
    const char *address = rank < a->tier.nodes.count ? a->tier.nodes.list[rank].text : "?";
    cli_say("node %u (%s) was not reached: %s", rank, address, err->message);
}

/* Says whose sockets are not here at all. */
static void tell_absent(const struct asked *a)
{
    size_t absent = a->tier.nodes.count > a->count ? a->tier.nodes.count - a->count : 0;
    if (absent > 0 && a->tier.launcher == CLI_LOCAL)
        cli_say("%zu of %zu nodes were not reached: they are down", absent, a->tier.nodes.count);
    else if (absent > 0)
        cli_say("%zu of %zu nodes are on other machines or down, and were not reached; give the same command there",
                absent, a->tier.nodes.count);
}

static int tell_all(struct asked *a, const char *what, struct tiercel_error *err)
{
    const char *const call[] = {"timeline", what, NULL};
    for (size_t i = 0; i < a->count; i++) {
        if (cli_call(a->name, (int)a->ranks[i], call, NULL, err) == 0)
            a->reached++;
        else
            not_reached(a, a->ranks[i], err);
    }
    return 0;
}

static int save(struct asked *a, const char *path, struct trace *t, struct tiercel_error *err)
{
    json_t **marks = calloc(a->count + 1, sizeof *marks);
    int rc = marks == NULL ? cli_error(err, -ENOMEM, "%s: out of memory", path) : 0;
    t->first_ns = INT64_MAX;
    for (size_t i = 0; rc == 0 && i < a->count; i++) {
        uint64_t lost = 0;
        if (read_node(a->name, a->ranks[i], &marks[i], &lost, err) < 0) {
            not_reached(a, a->ranks[i], err);
            json_decref(marks[i]);
            marks[i] = NULL;
            continue;
        }
        a->reached++;
        if (lost > 0)
            cli_say("node %u: the first %" PRIu64 " marks were overwritten by later ones", a->ranks[i], lost);
        if (json_array_size(marks[i]) > 0 && number_at(json_array_get(marks[i], 0), MARK_TIME) < t->first_ns)
            t->first_ns = number_at(json_array_get(marks[i], 0), MARK_TIME);
    }
    for (size_t i = 0; rc == 0 && i < a->count; i++) {
        if (marks[i] == NULL)
            continue;
        unsigned rank = a->ranks[i];
        add_names(t, rank, rank < a->tier.nodes.count ? a->tier.nodes.list[rank].text : "");
        add_node(t, rank, marks[i]);
        json_decref(marks[i]);
    }
    free(marks);
    if (rc == 0 && t->failed)
        rc = cli_error(err, -ENOMEM, "%s: out of memory for %zu events", path, t->count);
    if (rc == 0 && a->reached > 0)
        rc = write_trace(t, path, err);
    for (size_t i = 0; i < t->count; i++)
        json_decref(t->events[i].json);
    free(t->events);
    return rc;
}

static int find_nodes(struct asked *a, struct tiercel_error *err)
{
    cli_tier_init(&a->tier);
    int rc = cli_tier_load(&a->tier, a->name, false, err);
    int count = rc == 0 ? tiercel_local_ranks(a->tier.dir, a->ranks, CLI_RANKS_MAX, err) : rc;
    a->count = count > 0 ? (size_t)count : 0;
    if (count == 0)
        return cli_error(err, -ENOENT, "%s: no node of it is on this machine", a->tier.name);
    return count < 0 ? count : 0;
}

int cmd_timeline(const struct cli_verb *self, int argc, char **argv)
{
    static struct asked a;
    struct trace trace = {0};
    struct tiercel_error err = {0};
    bool json = false;
    const struct cli_option options[] = {CLI_OPTION_NAME(&a.name), CLI_OPTION_JSON(&json)};
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, 2);
    if (go != CLI_GO)
        return go;
    bool saves = argc == 2 && strcmp(argv[0], "save") == 0;
    bool switches = argc == 1 && (strcmp(argv[0], "start") == 0 || strcmp(argv[0], "stop") == 0);
    if (!saves && !switches)
        return cli_usage(self, "say start, stop, or save and a file");
    int rc = find_nodes(&a, &err);
    if (rc == 0)
        rc = saves ? save(&a, argv[1], &trace, &err) : tell_all(&a, argv[0], &err);
    if (rc == 0 && a.reached == 0)
        rc = err.code < 0 ? err.code : cli_error(&err, -EHOSTUNREACH, "%s: no node answers", a.tier.name);
    int code = CLI_OK;
    if (rc < 0) {
        code = cli_report(&err, json);
    } else {
        tell_absent(&a);
        if (json)
            code = cli_print_json(json_pack("{s:I, s:I, s:I}", "nodes", (json_int_t)a.tier.nodes.count, "reached",
                                            (json_int_t)a.reached, "events", (json_int_t)trace.count));
        else if (saves)
            printf("%s: %zu events of %zu nodes; open it at https://ui.perfetto.dev\n", argv[1], trace.count,
                   a.reached);
        code = code == CLI_OK ? cli_finish() : code;
    }
    cli_tier_fini(&a.tier);
    return code;
}
