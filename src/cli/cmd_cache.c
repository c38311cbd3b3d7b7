// SPDX-License-Identifier: Apache-2.0
/* tiercel cache: the values of a node (tiercel/cache.h), and the limit of its cache. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <tiercel/cache.h>
#include <unistd.h>

#include "cli/cli.h"

#define ROWS_MAX    1000u /* of `usage` */
#define PIECE       (1u << 20)
#define UNKNOWN_MAX (1ull << 30) /* bytes that come through a pipe */

struct where {
    const char *tier;
    int rank;
    bool json;
};

/* ---- numbers and keys ---- */

/* 4G, 512M, 1000000, and with `percent` 25% of this machine's memory, as digits. False: no such thing. */
static bool size_text(const char *text, bool percent, char out[32])
{
    char *end;
    errno = 0;
    unsigned long long n = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
    if (text[0] < '0' || text[0] > '9' || errno != 0)
        return false;
    static const char units[] = "KMGT";
    const char *unit = *end != 0 ? strchr(units, *end) : NULL;
    if (percent && strcmp(end, "%") == 0 && n <= 100) {
        n = (unsigned long long)sysconf(_SC_PHYS_PAGES) / 100 * (unsigned long long)sysconf(_SC_PAGESIZE) * n;
    } else if (unit != NULL && end[1] == 0) {
        unsigned shift = 10u * (unsigned)(unit - units + 1);
        if (n > UINT64_MAX >> shift)
            return false;
        n <<= shift;
    } else if (*end != 0) {
        return false;
    }
    snprintf(out, 32, "%llu", n);
    return true;
}

/* A key as `list` prints it, or the key of a name. */
static struct tiercel_key key_of(const char *text)
{
    char half[17] = {0};
    if (strlen(text) != 32 || strspn(text, "0123456789abcdef") != 32)
        return tiercel_key(text, strlen(text));
    memcpy(half, text, 16);
    return (struct tiercel_key){.hi = strtoull(half, NULL, 16), .lo = strtoull(text + 16, NULL, 16)};
}

static const char *key_text(struct tiercel_key key, char out[33])
{
    snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, key.hi, key.lo);
    return out;
}

/* ---- stat ---- */

static void print_usage(struct cli_table *t, const char *name, const json_t *o, const char *more)
{
    char count[CLI_UNIT_SIZE], bytes[CLI_UNIT_SIZE], cost[CLI_UNIT_SIZE];
    cli_table_row(t, name, cli_count(count, cli_json_u64(o, "values")), cli_bytes(bytes, cli_json_u64(o, "bytes")),
                  cli_bytes(cost, cli_json_u64(o, "cost_bytes")), more);
}

static int show_stat(json_t *s)
{
    char used[CLI_UNIT_SIZE], limit[CLI_UNIT_SIZE], node[CLI_UNIT_SIZE], quota[CLI_UNIT_SIZE + 16];
    printf("values use %s of %s; the node's limit, with files, is %s\n", cli_bytes(used, cli_json_u64(s, "used_bytes")),
           cli_bytes(limit, cli_json_u64(s, "limit_bytes")), cli_bytes(node, cli_json_u64(s, "node_limit_bytes")));
    const json_t *trees = json_object_get(s, "trees");
    if (cli_json_u64(trees, "trees") > 0)
        printf("%" PRIu64 " trees in shared memory use %s of it; they may have %s\n", cli_json_u64(trees, "trees"),
               cli_bytes(used, cli_json_u64(trees, "bytes")), cli_bytes(limit, cli_json_u64(trees, "most_bytes")));
    struct cli_table *t = cli_table_new("|>values|>bytes|>memory|");
    const json_t *classes = json_object_get(s, "classes"), *job;
    const char *name;
    json_t *class;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)classes, name, class)
    {
        snprintf(quota, sizeof quota, "of %s", cli_bytes(limit, cli_json_u64(s, "pin_quota_bytes")));
        print_usage(t, name, class, strcmp(name, "pinned") == 0 ? quota : "");
    }
    json_array_foreach(json_object_get(s, "jobs"), i, job)
    {
        snprintf(quota, sizeof quota, "of %s", cli_bytes(limit, cli_json_u64(job, "quota_bytes")));
        print_usage(t, cli_json_text(job, "job")[0] != 0 ? cli_json_text(job, "job") : "no job", job,
                    cli_json_u64(job, "quota_bytes") > 0 ? quota : "");
    }
    cli_table_print(t);
    const json_t *k = json_object_get(s, "counters");
    printf("put %" PRIu64 ", evicted %" PRIu64 ", refused %" PRIu64 ", damaged %" PRIu64 "; clients %" PRIu64 "%s\n",
           cli_json_u64(k, "puts"), cli_json_u64(k, "evictions"), cli_json_u64(k, "refused"),
           cli_json_u64(k, "damaged"), cli_json_u64(s, "clients"),
           json_is_true(json_object_get(s, "scrubbing")) ? "; checking digests now" : "");
    return cli_finish();
}

static int ask_stat(const struct where *w, const char *const argv[])
{
    json_t *s;
    int code;
    if (!cli_ask(w->tier, w->rank, w->json, argv, &s, &code))
        return code;
    code = show_stat(s);
    json_decref(s);
    return code;
}

/* ---- list, usage ---- */

typedef void (*item_fn)(void *ctx, const json_t *item);

/* All values whose label begins so, page by page. */
static int each_item(const struct where *w, const char *prefix, item_fn fn, void *ctx, struct tiercel_error *err)
{
    struct tiercel *t;
    char cursor[32] = "0";
    int rc = tiercel_open(&t, w->tier, w->rank, CLI_CALL_TIMEOUT_MS, err);
    if (rc < 0)
        return rc;
    for (bool more = true; rc == 0 && more;) { /* ends: each answer begins where the one before ended */
        const char *const argv[] = {"cache", "list", cursor, prefix, NULL};
        char *text = NULL;
        rc = tiercel_call(t, argv, -1, CLI_CALL_TIMEOUT_MS, NULL, NULL, &text, err);
        json_t *page = rc == 0 ? json_loads(text, 0, NULL) : NULL;
        const json_t *item, *next = json_object_get(page, "next");
        size_t i;
        json_array_foreach(json_object_get(page, "items"), i, item) fn(ctx, item);
        more = json_is_integer(next);
        if (more)
            snprintf(cursor, sizeof cursor, "%" PRIu64, (uint64_t)json_integer_value(next));
        json_decref(page);
        tiercel_free(text);
    }
    tiercel_close(t);
    return rc;
}

static void add_row(void *ctx, const json_t *item)
{
    char bytes[CLI_UNIT_SIZE];
    cli_table_row(ctx, cli_json_text(item, "key"), cli_bytes(bytes, cli_json_u64(item, "bytes")),
                  cli_json_text(item, "class"), cli_json_text(item, "job"), cli_json_text(item, "label"));
}

static void add_json(void *ctx, const json_t *item)
{
    json_array_append(ctx, (json_t *)(uintptr_t)item);
}

static int run_list(const struct where *w, const char *prefix)
{
    struct tiercel_error err = {0};
    if (w->json) {
        json_t *list = json_array();
        int rc = each_item(w, prefix, add_json, list, &err);
        if (rc == 0)
            return cli_print_json(list);
        json_decref(list);
        return cli_report(&err, true);
    }
    struct cli_table *t = cli_table_new("key|>bytes|class|job|label");
    int rc = each_item(w, prefix, add_row, t, &err);
    cli_table_print(t);
    return rc < 0 ? cli_report(&err, false) : cli_finish();
}

/* What lies below each next name after the prefix. */
struct usage {
    size_t prefix_len;
    struct {
        char *name;
        uint64_t values, bytes;
    } rows[ROWS_MAX + 1]; /* the last one: all that found no row */
    uint32_t count;
};

static void add_usage(void *ctx, const json_t *item)
{
    struct usage *u = ctx;
    const char *label = cli_json_text(item, "label"), *rest = label + u->prefix_len;
    size_t len = u->prefix_len + strspn(rest, "/");
    len += strcspn(label + len, "/");
    uint32_t i = 0;
    while (i < u->count && (strncmp(u->rows[i].name, label, len) != 0 || u->rows[i].name[len] != 0))
        i++;
    if (i == u->count && u->count < ROWS_MAX) {
        u->rows[i].name = strndup(label, len);
        u->count += u->rows[i].name != NULL;
        i = u->rows[i].name != NULL ? i : ROWS_MAX;
    }
    u->rows[i].values++;
    u->rows[i].bytes += cli_json_u64(item, "bytes");
}

static int run_usage(const struct where *w, const char *prefix)
{
    struct usage *u = calloc(1, sizeof *u);
    struct tiercel_error err = {0};
    if (u == NULL)
        return cli_error(&err, -ENOMEM, "out of memory"), cli_report(&err, w->json);
    u->prefix_len = strlen(prefix);
    int rc = each_item(w, prefix, add_usage, u, &err);
    struct cli_table *t = w->json ? NULL : cli_table_new("label|>values|>bytes");
    json_t *list = w->json ? json_array() : NULL;
    for (uint32_t i = 0; i <= ROWS_MAX; i++) {
        char count[CLI_UNIT_SIZE], bytes[CLI_UNIT_SIZE];
        const char *name = i == ROWS_MAX                                        ? "others"
                           : u->rows[i].name == NULL || u->rows[i].name[0] != 0 ? u->rows[i].name
                                                                                : "no label";
        if (u->rows[i].values == 0)
            continue;
        if (w->json)
            json_array_append_new(list,
                                  json_pack("{s:s, s:I, s:I}", "label", name, "values", (json_int_t)u->rows[i].values,
                                            "bytes", (json_int_t)u->rows[i].bytes));
        else
            cli_table_row(t, name, cli_count(count, u->rows[i].values), cli_bytes(bytes, u->rows[i].bytes));
        free(u->rows[i].name);
    }
    free(u);
    if (!w->json)
        cli_table_print(t);
    if (rc == 0)
        return w->json ? cli_print_json(list) : cli_finish();
    json_decref(list);
    return cli_report(&err, w->json);
}

/* ---- put, get ---- */

static int open_cache(const struct where *w, struct tiercel_cache **out, struct tiercel_error *err)
{
    struct tiercel *t;
    int rc = tiercel_open(&t, w->tier, w->rank, CLI_CALL_TIMEOUT_MS, err);
    if (rc < 0)
        return rc;
    rc = tiercel_cache_open(out, t, NULL, err);
    tiercel_close(t);
    return rc;
}

/* Standard input into a fill. */
static int put_input(struct tiercel_cache *c, unsigned fill)
{
    char *piece = malloc(PIECE);
    int rc = piece == NULL ? -ENOMEM : 0;
    while (rc == 0) {
        size_t n = fread(piece, 1, PIECE, stdin);
        if (n == 0)
            break;
        rc = tiercel_cache_write(c, fill, piece, n);
    }
    if (rc == 0 && ferror(stdin))
        rc = -EIO;
    free(piece);
    return rc;
}

static int run_put(const struct where *w, const char *name)
{
    struct tiercel_cache *c;
    struct tiercel_error err = {0};
    char text[33];
    unsigned fill;
    if (open_cache(w, &c, &err) < 0)
        return cli_report(&err, w->json);
    struct stat st;
    bool file = fstat(STDIN_FILENO, &st) == 0 && S_ISREG(st.st_mode) && lseek(STDIN_FILENO, 0, SEEK_CUR) == 0;
    const struct tiercel_put put = {
        .key = key_of(name), .flags = TIERCEL_CACHE_REPLACE, .label = name, .bytes_max = UNKNOWN_MAX};
    int rc = tiercel_cache_begin(c, &put, file ? (uint64_t)st.st_size : TIERCEL_CACHE_UNKNOWN, &fill);
    if (rc == 0) {
        rc = put_input(c, fill);
        int end = rc == 0 ? tiercel_cache_commit(c, fill) : tiercel_cache_abort(c, fill);
        rc = rc == 0 ? end : rc;
    }
    tiercel_cache_close(c);
    if (rc < 0)
        return cli_error(&err, rc, "%s: cannot be put: %s", name, tiercel_strerror(rc)), cli_report(&err, w->json);
    if (w->json)
        return cli_print_json(json_pack("{s:s}", "key", key_text(put.key, text)));
    return CLI_OK;
}

static int run_get(const struct where *w, const char *name)
{
    struct tiercel_cache *c;
    struct tiercel_error err = {0};
    struct tiercel_value v;
    if (open_cache(w, &c, &err) < 0)
        return cli_report(&err, w->json);
    int rc = tiercel_cache_get(c, key_of(name), &v);
    if (rc == -ENOENT && tiercel_cache_fetch(c, key_of(name)) == 0)
        rc = tiercel_cache_get(c, key_of(name), &v);
    if (rc == 0) {
        bool ok = fwrite(v.bytes, 1, v.size, stdout) == v.size;
        tiercel_cache_release(c, &v);
        tiercel_cache_close(c);
        return ok ? cli_finish() : CLI_FAILED;
    }
    tiercel_cache_close(c);
    cli_error(&err, rc, "%s: %s", name, rc == -ENOENT ? "no value of this name or key is here" : tiercel_strerror(rc));
    return cli_report(&err, w->json);
}

/* ---- the rest ---- */

static int run_simple(const struct where *w, const char *const argv[])
{
    struct tiercel_error err = {0};
    char *text = NULL;
    int rc = cli_call(w->tier, w->rank, argv, &text, &err);
    int code = rc < 0 ? cli_report(&err, w->json) : w->json ? cli_print_json_text(text) : CLI_OK;
    tiercel_free(text);
    return code;
}

static int run_note(const struct where *w, const char *name, const char *text)
{
    const char *const argv[] = {"cache", "note", name, text, NULL};
    json_t *notes, *note;
    const char *key;
    int code;
    if (text != NULL)
        return run_simple(w, argv);
    if (!cli_ask(w->tier, w->rank, w->json, argv, &notes, &code))
        return code;
    json_object_foreach(notes, key, note)
    {
        if (name == NULL)
            printf("%s: ", key);
        printf("%s\n", json_string_value(note));
    }
    json_decref(notes);
    return cli_finish();
}

/* With a size: limit, pins, and quota of a job. */
static int run_sized(const struct cli_verb *self, const struct where *w, const char *what, int argc, char **argv)
{
    char bytes[32];
    bool quota = strcmp(what, "quota") == 0;
    const char *size = argv[argc - 1];
    if (argc != (quota ? 2 : 1))
        return cli_usage(self, quota ? "quota wants a job and a size" : "%s wants a size", what);
    if (!size_text(size, strcmp(what, "limit") == 0, bytes))
        return cli_usage(self, "%s: not a size; for example 4G, 512M%s", size,
                         strcmp(what, "limit") == 0 ? ", or 25% of this machine's memory" : ", or 0 for none");
    const char *const limit[] = {"cache", what, bytes, NULL}, *const job[] = {"cache", what, argv[0], bytes, NULL};
    return ask_stat(w, quota ? job : limit);
}

static int run_key(const struct where *w, const char *what, const char *name)
{
    char key[33];
    key_text(key_of(name), key);
    const char *const drop[] = {"cache", "drop", key, NULL};
    const char *const class[] = {"cache", "class", key, strcmp(what, "pin") == 0 ? "pinned" : "ordinary", NULL};
    return run_simple(w, strcmp(what, "drop") == 0 ? drop : class);
}

int cmd_cache(const struct cli_verb *self, int argc, char **argv)
{
    struct where w = {.rank = TIERCEL_ANY_RANK};
    const struct cli_option options[] = {CLI_OPTION_NAME(&w.tier), CLI_OPTION_RANK(&w.rank), CLI_OPTION_JSON(&w.json)};
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, 4);
    if (go != CLI_GO)
        return go;
    const char *what = argc > 0 ? argv[0] : "stat", *name = argc > 1 ? argv[1] : NULL;
    const char *const stat[] = {"cache", "stat", NULL}, *const scrub[] = {"cache", "scrub", NULL};
    if (strcmp(what, "stat") == 0 || strcmp(what, "scrub") == 0)
        return ask_stat(&w, what[1] == 't' ? stat : scrub);
    if (strcmp(what, "limit") == 0 && argc == 1)
        return ask_stat(&w, stat);
    if (strcmp(what, "limit") == 0 || strcmp(what, "pins") == 0 || strcmp(what, "quota") == 0)
        return argc < 2 ? cli_usage(self, "%s wants a size", what) : run_sized(self, &w, what, argc - 1, argv + 1);
    if (strcmp(what, "list") == 0)
        return run_list(&w, name != NULL ? name : "");
    if (strcmp(what, "usage") == 0)
        return run_usage(&w, name != NULL ? name : "");
    if (strcmp(what, "note") == 0)
        return run_note(&w, name, argc > 2 ? argv[2] : NULL);
    static const char *const with_name[] = {"put", "get", "pin", "unpin", "drop"};
    for (size_t i = 0; i < 5; i++) {
        if (strcmp(what, with_name[i]) != 0)
            continue;
        if (name == NULL)
            return cli_usage(self, "%s wants a name, or a key as `list` prints it", what);
        return i == 0 ? run_put(&w, name) : i == 1 ? run_get(&w, name) : run_key(&w, what, name);
    }
    return cli_usage(
        self, "%s: not one of stat, limit, pins, quota, list, usage, put, get, pin, unpin, drop, note, scrub", what);
}
