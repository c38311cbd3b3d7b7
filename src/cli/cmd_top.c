// SPDX-License-Identifier: Apache-2.0
/* tiercel top: the counters of all nodes, live.
 *
 * Once a second `stat all` is asked for, and what has changed since is drawn as rates: totals above, a row a node
 * below, in the shape of the first tree (top_tree.c). The terminal is put back on every way out. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli/tier.h"
#include "cli/top_tree.h"

#define PERIOD_MS    1000
#define CALL_MS      5000
#define HEAD_ROWS    6   /* lines above the titles */
#define WIDE_COLUMNS 116 /* from here on all columns are shown */

enum { REQUESTS, HITS, MISSES, SERVED, PEER_IN, PEER_OUT, SOURCE_BYTES, SOURCE_OPS, FAILED, COUNTER_COUNT };

struct sample {
    uint64_t value[COUNTER_COUNT];
    uint64_t cached, slow;
};

struct row {
    unsigned rank;
    int parent;         /* whom it asks, -1: nobody */
    int planned_parent; /* when all are up */
    bool known;         /* in the last answer */
    struct sample now, before;
};

struct top {
    const char *name;
    int rank;
    struct tiercel *connection;
    char tier[TIERCEL_NAME_MAX + 1];
    json_t *status; /* addresses; refreshed when nodes come or go */
    struct row *rows;
    size_t count, first; /* first: the row at the top of the window */
    struct sample total, total_before;
    uint64_t at_ms, before_ms; /* of the samples; before 0: no rates yet */
    bool by_activity;
    char trouble[256]; /* why there is no new answer */
    struct termios saved;
    int lines, columns;
};

/* ---- the terminal ---- */

static volatile sig_atomic_t resized, suspended;

static void on_resize(int signo)
{
    resized = signo;
}

static void on_suspend(int signo)
{
    suspended = signo;
}

static void put(const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, text, len);
        if (n < 0 && errno != EINTR)
            return; /* the terminal is gone: SIGHUP follows */
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
    }
}

static void enter_screen(const struct top *t)
{
    static const char enter[] = "\033[?1049h\033[?25l";
    struct termios raw = t->saved;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO); /* signals stay: Ctrl-C and Ctrl-Z do what they always do */
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    put(enter, sizeof enter - 1);
}

static void leave_screen(const struct top *t)
{
    static const char leave[] = "\033[?25h\033[?1049l";
    tcsetattr(STDIN_FILENO, TCSANOW, &t->saved);
    put(leave, sizeof leave - 1);
}

static void measure(struct top *t)
{
    struct winsize w = {0};
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row > 0 && w.ws_col > 0;
    t->lines = known ? w.ws_row : 24;
    t->columns = known ? w.ws_col : 80;
}

static void suspend_self(const struct top *t)
{
    leave_screen(t);
    suspended = 0;
    signal(SIGTSTP, SIG_DFL);
    raise(SIGTSTP); /* goes on here after `fg` */
    signal(SIGTSTP, on_suspend);
    enter_screen(t);
}

/* ---- asking ---- */

static void take_sample(struct sample *s, const json_t *counters)
{
    static const char *const names[COUNTER_COUNT] = {
        [REQUESTS] = "requests",
        [HITS] = "hits",
        [MISSES] = "misses",
        [SERVED] = "bytes_served",
        [PEER_IN] = "bytes_from_peer",
        [PEER_OUT] = "bytes_to_peers",
        [SOURCE_BYTES] = "bytes_from_source",
        [FAILED] = "failed",
    };
    for (int i = 0; i < COUNTER_COUNT; i++)
        s->value[i] = names[i] != NULL ? cli_json_u64(counters, names[i]) : 0;
    s->value[SOURCE_OPS] = cli_json_u64(counters, "source_lists") + cli_json_u64(counters, "source_opens") +
                           cli_json_u64(counters, "source_reads");
    s->cached = cli_json_u64(counters, "cached_bytes");
    s->slow = cli_json_u64(counters, "slow_children");
}

static struct row *row_of(struct top *t, unsigned rank)
{
    if (rank < t->count && t->rows[rank].rank == rank) /* nearly always: lists are in the order of ranks */
        return &t->rows[rank];
    for (size_t i = 0; i < t->count; i++) {
        if (t->rows[i].rank == rank)
            return &t->rows[i];
    }
    return NULL;
}

/* A row for every node of the list that `status` gave, known or not. */
static int take_status(struct top *t, json_t *status)
{
    const json_t *members = json_object_get(status, "members");
    size_t count = json_array_size(members);
    struct row *rows = calloc(count > 0 ? count : 1, sizeof *rows);
    if (rows == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        unsigned rank = (unsigned)cli_json_u64(json_array_get(members, i), "rank");
        const struct row *old = row_of(t, rank);
        if (old != NULL)
            rows[i] = *old;
        const json_t *parents = json_object_get(json_array_get(members, i), "parents");
        const json_t *planned = json_array_get(parents, 0);
        rows[i].rank = rank;
        rows[i].planned_parent = json_is_integer(planned) ? (int)json_integer_value(planned) : -1;
    }
    free(t->rows);
    json_decref(t->status);
    t->rows = rows;
    t->count = count;
    t->status = status;
    snprintf(t->tier, sizeof t->tier, "%s", cli_json_text(status, "tier"));
    return 0;
}

static size_t take_stat(struct top *t, const json_t *stat)
{
    size_t i, unknown = 0;
    json_t *node;
    for (i = 0; i < t->count; i++)
        t->rows[i].known = false;
    json_array_foreach(json_object_get(stat, "nodes"), i, node)
    {
        struct row *row = row_of(t, (unsigned)cli_json_u64(node, "rank"));
        if (row == NULL) {
            unknown++;
            continue;
        }
        const json_t *parent = json_object_get(node, "parent");
        row->parent = json_is_integer(parent) ? (int)json_integer_value(parent) : -1;
        row->before = row->now;
        take_sample(&row->now, json_object_get(node, "counters"));
        if (row->before.value[REQUESTS] == 0 || row->now.value[REQUESTS] < row->before.value[REQUESTS])
            row->before = row->now; /* new, or started again: no rate yet */
        row->known = true;
    }
    t->total_before = t->total;
    take_sample(&t->total, json_object_get(stat, "total"));
    return unknown;
}

static int ask_json(struct top *t, const char *const argv[], json_t **out, struct tiercel_error *err)
{
    char *text;
    int rc = 0;
    if (t->connection == NULL)
        rc = tiercel_open(&t->connection, t->name, t->rank, CALL_MS, err);
    if (rc == 0)
        rc = tiercel_call(t->connection, argv, -1, CALL_MS, NULL, NULL, &text, err);
    if (rc < 0) {
        tiercel_close(t->connection);
        t->connection = NULL;
        return rc;
    }
    *out = json_loads(text, 0, NULL);
    tiercel_free(text);
    return *out != NULL ? 0 : cli_error(err, -EBADMSG, "the daemon's answer is not JSON; is it of another version?");
}

static int refresh(struct top *t, struct tiercel_error *err)
{
    const char *const ask_status[] = {"status", "trees", NULL}, *const ask_stat[] = {"stat", "all", NULL};
    json_t *status, *stat;
    int rc = 0;
    if (t->status == NULL) {
        rc = ask_json(t, ask_status, &status, err);
        if (rc == 0)
            rc = take_status(t, status);
    }
    if (rc == 0)
        rc = ask_json(t, ask_stat, &stat, err);
    if (rc < 0) {
        snprintf(t->trouble, sizeof t->trouble, "%.255s", err->message);
        t->before_ms = 0;
        return rc;
    }
    bool first = t->at_ms == 0 || t->trouble[0] != '\0';
    t->before_ms = first ? 0 : t->at_ms;
    t->at_ms = cli_now_ms();
    t->trouble[0] = '\0';
    if (take_stat(t, stat) > 0) { /* another node list than we know: the tier was started anew */
        json_decref(t->status);
        t->status = NULL;
    }
    json_decref(stat);
    return 0;
}

/* ---- drawing ---- */

/* Change a second of a counter. */
static uint64_t rate(const struct top *t, const struct sample *now, const struct sample *before, int counter)
{
    uint64_t a = now->value[counter], b = before->value[counter], ms = t->at_ms - t->before_ms;
    return t->before_ms == 0 || a < b || ms == 0 ? 0 : (uint64_t)((double)(a - b) * 1000.0 / (double)ms + 0.5);
}

static const char *hit_share(char out[CLI_UNIT_SIZE], const struct top *t, const struct sample *now,
                             const struct sample *before)
{
    uint64_t hits = rate(t, now, before, HITS);
    return cli_percent(out, hits, hits + rate(t, now, before, MISSES));
}

/* One screen line: cut at the right edge, the rest of the line cleared. `style` is an escape sequence or "". */
static void line(FILE *out, const struct top *t, const char *style, const char *text)
{
    fprintf(out, "%s%.*s%s\033[K\r\n", style, t->columns, text, style[0] != '\0' ? "\033[0m" : "");
}

static void draw_head(FILE *out, const struct top *t)
{
    char text[512], clock[16], a[CLI_UNIT_SIZE], b[CLI_UNIT_SIZE], c[CLI_UNIT_SIZE], d[CLI_UNIT_SIZE];
    const struct sample *n = &t->total, *o = &t->total_before;
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    strftime(clock, sizeof clock, "%H:%M:%S", &tm);
    size_t up = 0;
    for (size_t i = 0; i < t->count; i++)
        up += t->rows[i].known;
    int used = snprintf(text, sizeof text, "tiercel top: %s, %zu of %zu nodes up", t->tier, up, t->count);
    snprintf(text + used, sizeof text - (size_t)used, "%*s",
             t->columns > used && t->columns < 500 ? t->columns - used : 10, clock);
    line(out, t, "\033[1m", text);
    if (t->trouble[0] != '\0')
        line(out, t, "\033[31m", t->trouble);
    else
        line(out, t, "", "");
    snprintf(text, sizeof text, "served   %10s/s  %10s requests/s  %7s from memory  %5s failed",
             cli_bytes(a, rate(t, n, o, SERVED)), cli_count(b, rate(t, n, o, REQUESTS)), hit_share(c, t, n, o),
             cli_count(d, n->value[FAILED]));
    line(out, t, "", text);
    snprintf(text, sizeof text, "storage  %10s/s  %10s operations/s", cli_bytes(a, rate(t, n, o, SOURCE_BYTES)),
             cli_count(b, rate(t, n, o, SOURCE_OPS)));
    line(out, t, "", text);
    snprintf(text, sizeof text, "between  %10s/s  %10s cached in all  %5s slow children",
             cli_bytes(a, rate(t, n, o, PEER_OUT)), cli_bytes(b, n->cached), cli_count(c, n->slow));
    line(out, t, "", text);
    line(out, t, "", "");
}

static const char *address_of(const struct top *t, size_t row)
{
    return cli_json_text(json_array_get(json_object_get(t->status, "members"), row), "address");
}

/* Both fit 80 columns; what is added to the right needs WIDE_COLUMNS. */
static void draw_titles(FILE *out, const struct top *t)
{
    char text[512];
    snprintf(text, sizeof text, "%-*s %-15.15s %7s %7s %10s %10s %6s %4s%s", TOP_TREE_WIDTH, "node", "address", "hits",
             "misses", "served", "received", "failed", "slow",
             t->columns >= WIDE_COLUMNS ? "       sent    storage     ops     cached" : "");
    size_t len = strlen(text);
    if ((int)len < t->columns && t->columns < (int)sizeof text) /* the bar reaches the edge */
        snprintf(text + len, sizeof text - len, "%*s", t->columns - (int)len, "");
    line(out, t, "\033[7m", text);
}

/* place NULL: without the tree's lines. */
static void draw_row(FILE *out, const struct top *t, size_t i, const struct top_place *place)
{
    const struct row *r = &t->rows[i];
    char text[512], tree[TOP_TREE_WIDTH + 1], h[CLI_UNIT_SIZE], m[CLI_UNIT_SIZE], v[CLI_UNIT_SIZE], in[CLI_UNIT_SIZE],
        f[CLI_UNIT_SIZE], w[CLI_UNIT_SIZE], po[CLI_UNIT_SIZE], s[CLI_UNIT_SIZE], op[CLI_UNIT_SIZE], c[CLI_UNIT_SIZE];
    top_tree_text(place, r->rank, tree);
    if (!r->known) {
        snprintf(text, sizeof text, "%-*s %-15.15s no answer", TOP_TREE_WIDTH, tree, address_of(t, i));
        line(out, t, "\033[31m", text);
        return;
    }
    const struct sample *n = &r->now, *o = &r->before;
    int used = snprintf(text, sizeof text, "%-*s %-15.15s %7s %7s %10s %10s %6s %4s", TOP_TREE_WIDTH, tree,
                        address_of(t, i), cli_count(h, rate(t, n, o, HITS)), cli_count(m, rate(t, n, o, MISSES)),
                        cli_bytes(v, rate(t, n, o, SERVED)), cli_bytes(in, rate(t, n, o, PEER_IN)),
                        cli_count(f, n->value[FAILED]), cli_count(w, n->slow));
    if (t->columns >= WIDE_COLUMNS)
        snprintf(text + used, sizeof text - (size_t)used, " %10s %10s %7s %10s", cli_bytes(po, rate(t, n, o, PEER_OUT)),
                 cli_bytes(s, rate(t, n, o, SOURCE_BYTES)), cli_count(op, rate(t, n, o, SOURCE_OPS)),
                 cli_bytes(c, n->cached));
    bool trouble = n->slow > 0 || rate(t, n, o, FAILED) > 0;
    line(out, t, trouble ? "\033[33m" : "", text);
}

static uint64_t activity(const struct top *t, size_t i)
{
    const struct row *r = &t->rows[i];
    return rate(t, &r->now, &r->before, REQUESTS);
}

/* Indices of the rows, busiest first. qsort has no context: the table it sorts carries the key. */
struct ranked {
    size_t row;
    uint64_t key;
};

static int busiest_first(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? 1 : -1;
    return (x->row > y->row) - (x->row < y->row);
}

static void draw_busiest(FILE *out, const struct top *t, size_t end)
{
    struct ranked *order = calloc(t->count + 1, sizeof *order);
    if (order == NULL)
        return;
    for (size_t i = 0; i < t->count; i++)
        order[i] = (struct ranked){.row = i, .key = activity(t, i)};
    qsort(order, t->count, sizeof *order, busiest_first);
    for (size_t i = t->first; i < end; i++)
        draw_row(out, t, order[i].row, NULL);
    free(order);
}

static void draw_tree(FILE *out, struct top *t, size_t end)
{
    struct top_place *places = calloc(t->count + 1, sizeof *places);
    int *parents = calloc(t->count + 1, sizeof *parents);
    for (size_t i = 0; parents != NULL && i < t->count; i++) {
        const struct row *r = &t->rows[i];
        int rank = r->known ? r->parent : r->planned_parent;
        const struct row *parent = rank >= 0 ? row_of(t, (unsigned)rank) : NULL;
        parents[i] = parent != NULL ? (int)(parent - t->rows) : -1;
    }
    if (places != NULL && parents != NULL && top_tree_order(parents, t->count, places) == 0)
        for (size_t i = t->first; i < end; i++)
            draw_row(out, t, places[i].row, &places[i]);
    free(parents);
    free(places);
}

static void draw_rows(FILE *out, struct top *t, size_t room)
{
    if (t->first + room > t->count)
        t->first = t->count > room ? t->count - room : 0;
    size_t end = t->first + room < t->count ? t->first + room : t->count;
    if (t->by_activity)
        draw_busiest(out, t, end);
    else
        draw_tree(out, t, end);
}

static void draw(struct top *t)
{
    char *screen = NULL, text[160];
    size_t size = 0;
    FILE *out = open_memstream(&screen, &size);
    if (out == NULL)
        return;
    size_t room = t->lines > HEAD_ROWS + 2 ? (size_t)(t->lines - HEAD_ROWS - 2) : 1;
    fputs("\033[H", out);
    draw_head(out, t);
    draw_titles(out, t);
    draw_rows(out, t, room);
    fputs("\033[J", out);
    if (t->lines > HEAD_ROWS + 2) {
        size_t last = t->first + room < t->count ? t->first + room : t->count;
        snprintf(text, sizeof text, "q quit   s %s   arrows scroll   per second; nodes %zu to %zu of %zu",
                 t->by_activity ? "as a tree" : "busiest first", t->count > 0 ? t->first + 1 : 0, last, t->count);
        fprintf(out, "\033[%d;1H\033[2m%.*s\033[0m\033[K", t->lines, t->columns, text);
    }
    if (fclose(out) == 0)
        put(screen, size);
    free(screen);
}

/* ---- keys ---- */

static void scroll(struct top *t, long by)
{
    if (by < 0 && (size_t)-by > t->first)
        t->first = 0;
    else
        t->first = (size_t)((long)t->first + by); /* draw_rows keeps it inside */
}

/* False: quit. */
static bool handle_keys(struct top *t)
{
    char keys[64];
    ssize_t n = read(STDIN_FILENO, keys, sizeof keys - 1);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
        return false; /* no terminal any more */
    if (n < 0)
        return true;
    keys[n] = '\0';
    long page = t->lines - HEAD_ROWS - 2;
    static const char *const sequences[] = {"\033[A", "\033[B", "\033[5~", "\033[6~", "k", "j"};
    const long steps[] = {-1, 1, -page, page, -1, 1};
    for (const char *p = keys; *p != '\0'; p++) {
        if (*p == 'q' || *p == 'Q')
            return false;
        if (*p == 's')
            t->by_activity = !t->by_activity;
        for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
            if (strncmp(p, sequences[i], strlen(sequences[i])) == 0) {
                scroll(t, steps[i]);
                p += strlen(sequences[i]) - 1;
                break;
            }
        }
    }
    return true;
}

/* Until q or a signal that ends a program. */
static void watch(struct top *t)
{
    uint64_t next_ms = cli_now_ms() + PERIOD_MS;
    struct tiercel_error err;
    while (cli_interrupted == 0) {
        uint64_t now = cli_now_ms();
        if (suspended != 0)
            suspend_self(t);
        if (now >= next_ms) {
            refresh(t, &err);
            next_ms = cli_now_ms() + PERIOD_MS;
            continue;
        }
        measure(t);
        draw(t);
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
        int n = poll(&p, 1, (int)(next_ms - now));
        if (n > 0 && !handle_keys(t))
            return;
    }
}

int cmd_top(const struct cli_verb *self, int argc, char **argv)
{
    struct top t = {.rank = TIERCEL_ANY_RANK};
    const struct cli_option options[] = {CLI_OPTION_NAME(&t.name), CLI_OPTION_RANK(&t.rank)};
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, 0);
    if (go != CLI_GO)
        return go;
    struct tiercel_error err = {0};
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &t.saved) != 0) {
        cli_say("top needs a terminal; `tiercel stat --all --json` tells scripts the same");
        return CLI_FAILED;
    }
    if (refresh(&t, &err) < 0) {
        tiercel_close(t.connection);
        return cli_report(&err, false);
    }
    cli_signals_catch();
    signal(SIGPIPE, SIG_IGN);
    struct sigaction resize = {.sa_handler = on_resize}, suspend = {.sa_handler = on_suspend};
    sigaction(SIGWINCH, &resize, NULL);
    sigaction(SIGTSTP, &suspend, NULL);
    enter_screen(&t);
    watch(&t);
    leave_screen(&t);
    tiercel_close(t.connection);
    json_decref(t.status);
    free(t.rows);
    return cli_interrupted == 0 || cli_interrupted == SIGINT ? CLI_OK : 128 + cli_interrupted;
}
