// SPDX-License-Identifier: Apache-2.0
/* Scenarios as text, read. No I/O: a fuzzer lives on this file. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/scenario_words.h"

#define LINE_MAX_BYTES 16384u
#define WORDS_MAX      24u
#define MANY           4294967295ull
#define HOUR_NS        TL_SCENARIO_HOUR_NS

static const char *const workloads[] = {"random", "imports", "stream", "files"};

const char *tl_scenario_metric_name(uint32_t metric)
{
    return metrics[metric];
}

void tl_scenario_default(struct tl_scenario *s)
{
    memset(s, 0, sizeof *s);
    s->config = (struct tl_cluster_config){.nodes = 7, .seed = 1, .verify_ppm = 2000, .wait_ready = true};
    tl_node_config_default(&s->config.node);
    s->config.node.arity = 2;
    s->config.node.object_max = 4096;
    s->config.node.flight_max = 512;
    s->config.node.waiter_max = 1024;
    s->config.node.cache_limit_bytes = 64u << 20;
    tl_fabric_config_default(&s->config.fabric);
    tl_storage_config_default(&s->config.storage);
    s->config.readers_last = UINT32_MAX;
    s->limit_ns = 60 * TL_NS_PER_S;
    s->plan.delay_max_ns = 10 * TL_NS_PER_MS;
    s->files = 40;
    s->file_bytes = 100000;
    s->gap_ns = 20 * TL_NS_PER_MS;
    memcpy(s->workload, "files", sizeof "files");
}

/* ---- reading ---- */

struct reader {
    struct tl_scenario *s;
    const char *file;
    uint32_t line;
    struct tl_error *err;
    char text[LINE_MAX_BYTES];
    char *words[WORDS_MAX];
    uint32_t count, next; /* words; the next one to read */
};

__attribute__((format(printf, 2, 3))) static int bad(struct reader *r, const char *fmt, ...)
{
    char text[TL_ERROR_MSG_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return tl_error_set(r->err, -EINVAL, "%.200s:%u: %.280s", r->file, r->line, text);
}

/* The next word, "" when there is none. */
static const char *take(struct reader *r)
{
    return r->next < r->count ? r->words[r->next++] : "";
}

static bool take_if(struct reader *r, const char *word)
{
    bool is = r->next < r->count && strcmp(r->words[r->next], word) == 0;
    r->next += is;
    return is;
}

/* Digits at *at, moved behind them. */
static bool digits(const char **at, uint64_t *out)
{
    char *end = NULL;
    if (!isdigit((unsigned char)**at))
        return false;
    errno = 0;
    unsigned long long n = strtoull(*at, &end, 10);
    *at = end;
    *out = n;
    return errno == 0;
}

static bool parse_value(const char *word, enum unit unit, uint64_t *out)
{
    uint64_t n = 0;
    if (unit == UNIT_SWITCH) {
        *out = strcmp(word, "on") == 0;
        return *out || strcmp(word, "off") == 0;
    }
    if (!digits(&word, &n))
        return false;
    uint64_t factor = *word == 0 && unit != UNIT_TIME ? 1 : 0;
    for (uint32_t i = 0; unit == UNIT_TIME && i < 4; i++)
        if (strcmp(word, times[i].name) == 0)
            factor = times[i].factor;
    for (uint32_t i = 0; unit == UNIT_BYTES && i < 3; i++)
        if (strcmp(word, sizes[i].name) == 0)
            factor = sizes[i].factor;
    if (factor == 0 || n > UINT64_MAX / factor)
        return false;
    *out = n * factor;
    return true;
}

/* The next word as a value. 0, or -EINVAL with a sentence that says how such a value looks. */
static int take_value(struct reader *r, const char *what, enum unit unit, uint64_t min, uint64_t max, uint64_t *out)
{
    static const char *const looks[] = {[UNIT_NUMBER] = "a whole number",
                                        [UNIT_BYTES] = "a size as in 4096, 64K or 16M",
                                        [UNIT_TIME] = "a time as in 500ms or 2s",
                                        [UNIT_SWITCH] = "on or off"};
    const char *word = take(r);
    if (!parse_value(word, unit, out))
        return bad(r, "%s: '%.40s' is not %s: write `%s` and then one", what, word, looks[unit], what);
    if (*out >= min && *out <= max)
        return 0;
    return bad(r, "%s: %.40s is out of range: give %llu to %llu%s", what, word, (unsigned long long)min,
               (unsigned long long)max, unit == UNIT_TIME ? " (in ns)" : "");
}

static int add_range(struct reader *r, struct tl_fault *f, uint64_t first, uint64_t last, uint32_t side)
{
    struct tl_fault_plan *p = &r->s->plan;
    if (last < first || last >= r->s->config.nodes)
        return bad(r, "ranks %llu-%llu: there are ranks 0 to %u: put `nodes` above, and the lower rank first",
                   (unsigned long long)first, (unsigned long long)last, r->s->config.nodes - 1);
    if (p->range_count == TL_PLAN_RANGES_MAX)
        return bad(r, "too many ranges of ranks: %u at most, write 1-5 instead of 1,2,3,4,5", TL_PLAN_RANGES_MAX);
    if (f->range_count++ == 0)
        f->first_range = p->range_count;
    p->ranges[p->range_count++] =
        (struct tl_rank_range){.first = (uint32_t)first, .last = (uint32_t)last, .side = side};
    return 0;
}

/* Ranks as in 3 or 1,4-7; with sides, 1,4-7/8-9. */
static int take_ranks(struct reader *r, struct tl_fault *f, bool sides)
{
    const char *word = take(r), *at = word;
    uint32_t side = 1;
    for (;;) {
        uint64_t first = 0, last = 0;
        if (!digits(&at, &first))
            return bad(r, "'%.40s' names no ranks: write them as in 3 or 1,4-7", word);
        last = first;
        if (*at == '-' && (at++, !digits(&at, &last)))
            return bad(r, "'%.40s' names no ranks: a rank is missing behind '-'", word);
        int rc = add_range(r, f, first, last, side);
        if (rc != 0 || *at == 0)
            return rc;
        side += *at == '/';
        if ((*at != ',' && *at != '/') || side > (sides ? 2u : 1u))
            return bad(r, "'%.40s' names no ranks: write them as in 3 or 1,4-7%s", word,
                       sides ? ", two sides as in 1-3/4" : "");
        at++;
    }
}

static int take_numbers(struct reader *r, struct tl_fault *f)
{
    const char *takes = acts[f->act].takes;
    const struct {
        const char *name;
        char must, may;
        uint64_t *out;
    } numbers[] = {{acts[f->act].a, 'A', 'a', &f->a}, {acts[f->act].b, 'B', 'b', &f->b}};
    for (uint32_t i = 0; i < 2; i++) {
        if (numbers[i].name == NULL)
            continue;
        if (take_if(r, numbers[i].name)) {
            int rc = take_value(r, numbers[i].name, UNIT_NUMBER, 0, MANY, numbers[i].out);
            if (rc != 0)
                return rc;
        } else if (strchr(takes, numbers[i].must) != NULL) {
            return bad(r, "%s: what is missing is `%s N`", acts[f->act].name, numbers[i].name);
        }
    }
    return 0;
}

/* at TIME ACT [RANKS] [NAME NUMBER]... [for TIME] */
static int read_at(struct reader *r)
{
    struct tl_fault_plan *p = &r->s->plan;
    struct tl_fault f = {.act = TL_FAULT_ACT_COUNT, .a = TL_FAULT_NOTHING, .b = TL_FAULT_NOTHING};
    int rc = take_value(r, "at", UNIT_TIME, 0, HOUR_NS, &f.at_ns);
    if (rc != 0)
        return rc;
    const char *word = take(r);
    for (uint32_t i = 0; i < TL_FAULT_ACT_COUNT; i++)
        if (strcmp(acts[i].name, word) == 0)
            f.act = (enum tl_fault_act)i;
    if (f.act == TL_FAULT_ACT_COUNT)
        return bad(r,
                   "'%.40s' is nothing that can happen: kill, start, stop, part, mute, hangup, slow, change, remove, "
                   "restore, flush, gather or warm",
                   word);
    const char *takes = acts[f.act].takes;
    if (strchr(takes, 'R') != NULL && (rc = take_ranks(r, &f, f.act == TL_ACT_FAULT_PART)) != 0)
        return rc;
    if ((rc = take_numbers(r, &f)) != 0)
        return rc;
    bool must = strchr(takes, 'T') != NULL;
    if (must || strchr(takes, 't') != NULL) {
        bool has = take_if(r, "for");
        if (must && !has)
            return bad(r, "%s: for how long? Write `for TIME` behind it", word);
        if (has && (rc = take_value(r, "for", UNIT_TIME, 1, HOUR_NS, &f.for_ns)) != 0)
            return rc;
    }
    if (p->fault_count == TL_PLAN_FAULTS_MAX)
        return bad(r, "too many faults: %u at most, name several ranks in one line", TL_PLAN_FAULTS_MAX);
    p->faults[p->fault_count++] = f;
    return 0;
}

/* roll FIRST-LAST from TIME every TIME down TIME: each rank in turn is killed and starts again. */
static int read_roll(struct reader *r)
{
    struct tl_fault all = {0};
    uint64_t from_ns = 0, every_ns = 0, down_ns = 0;
    int rc = take_ranks(r, &all, false);
    if (rc == 0 && (!take_if(r, "from") || (rc = take_value(r, "from", UNIT_TIME, 0, HOUR_NS, &from_ns)) != 0))
        return rc != 0 ? rc : bad(r, "roll: write `roll RANKS from TIME every TIME down TIME`");
    if (rc == 0 && (!take_if(r, "every") || (rc = take_value(r, "every", UNIT_TIME, 1, HOUR_NS, &every_ns)) != 0))
        return rc != 0 ? rc : bad(r, "roll: write `roll RANKS from TIME every TIME down TIME`");
    if (rc == 0 && (!take_if(r, "down") || (rc = take_value(r, "down", UNIT_TIME, 1, HOUR_NS, &down_ns)) != 0))
        return rc != 0 ? rc : bad(r, "roll: write `roll RANKS from TIME every TIME down TIME`");
    struct tl_fault_plan *p = &r->s->plan;
    for (uint32_t i = 0; rc == 0 && i < all.range_count; i++) {
        struct tl_rank_range range = p->ranges[all.first_range + i];
        for (uint32_t rank = range.first; rc == 0 && rank <= range.last; rank++, from_ns += every_ns) {
            struct tl_fault f = {.act = TL_ACT_FAULT_KILL,
                                 .at_ns = from_ns,
                                 .for_ns = down_ns,
                                 .a = TL_FAULT_NOTHING,
                                 .b = TL_FAULT_NOTHING};
            if (p->fault_count == TL_PLAN_FAULTS_MAX || from_ns > HOUR_NS)
                return bad(r, "roll: too many nodes: %u faults and an hour at most", TL_PLAN_FAULTS_MAX);
            rc = add_range(r, &f, rank, rank, 1);
            p->faults[p->fault_count++] = f;
        }
    }
    return rc;
}

static int read_chance(struct reader *r)
{
    const char *word = take(r);
    for (uint32_t i = 0; i < CHANCE_COUNT; i++) {
        uint64_t ppm = 0;
        if (strcmp(chances[i].name, word) != 0)
            continue;
        int rc = take_value(r, word, UNIT_NUMBER, 0, 1000000, &ppm);
        uint32_t value = (uint32_t)ppm;
        memcpy((char *)&r->s->plan.chances + chances[i].offset, &value, sizeof value);
        return rc;
    }
    return bad(r,
               "chance: there is no '%.40s': delay, loss, refuse, again, lost-down, read-error, read-late, "
               "read-garbage, eio or cancel",
               word);
}

static int read_expect(struct reader *r)
{
    struct tl_scenario *s = r->s;
    struct tl_scenario_expect e = {.metric = METRIC_COUNT};
    const char *word = take(r);
    for (uint32_t i = 0; i < METRIC_COUNT; i++)
        if (strcmp(metrics[i], word) == 0)
            e.metric = i;
    if (e.metric == METRIC_COUNT)
        return bad(r, "expect: nothing is called '%.40s': docs/scenarios.md lists what is counted", word);
    const char *how = take(r);
    uint32_t at = 0;
    while (at < 3 && strcmp(hows[at], how) != 0)
        at++;
    if (at == 3)
        return bad(r, "expect: '%.40s' does not compare: write <=, >= or =", how);
    e.how = at;
    int rc = take_value(r, word, UNIT_NUMBER, 0, UINT64_MAX, &e.value);
    if (rc == 0 && s->expect_count == TL_SCENARIO_EXPECTS_MAX)
        return bad(r, "too many expectations: %u at most", TL_SCENARIO_EXPECTS_MAX);
    if (rc == 0)
        s->expects[s->expect_count++] = e;
    return rc;
}

static int read_workload(struct reader *r)
{
    const char *word = take(r);
    for (uint32_t i = 0; i < 4; i++)
        if (strcmp(workloads[i], word) == 0) {
            memcpy(r->s->workload, word, strlen(word) + 1);
            return 0;
        }
    return bad(r, "workload: there is no '%.40s': files, random, imports or stream", word);
}

static int read_plant(struct reader *r)
{
    const char *word = take(r);
    for (uint32_t i = 0; i < TL_PLANT_COUNT; i++)
        if (strcmp(plants[i], word) == 0) {
            r->s->config.plant = (enum tl_plant)i;
            return 0;
        }
    return bad(r, "plant: there is no bug '%.40s': `tiercel-sim seeds --list` shows them", word);
}

static int read_readers(struct reader *r)
{
    struct tl_fault ranks = {0};
    int rc = take_ranks(r, &ranks, false);
    if (rc != 0)
        return rc;
    struct tl_fault_plan *p = &r->s->plan;
    r->s->config.readers_first = p->ranges[ranks.first_range].first;
    r->s->config.readers_last = p->ranges[ranks.first_range].last;
    p->range_count = ranks.first_range; /* nobody else refers to them */
    return ranks.range_count == 1 ? 0 : bad(r, "readers: give one range, as in 1-14");
}

static int read_lab(struct reader *r)
{
    r->s->lab = true;
    return 0;
}

static int read_setting(struct reader *r, const char *word)
{
    for (uint32_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *t = &settings[i];
        uint64_t value = 0;
        if (strcmp(t->name, word) != 0)
            continue;
        int rc = take_value(r, word, t->unit, t->min, t->max, &value);
        char *to = (char *)r->s + t->offset;
        uint32_t value32 = (uint32_t)value;
        if (t->size == sizeof value)
            memcpy(to, &value, sizeof value);
        else if (t->size == sizeof value32)
            memcpy(to, &value32, sizeof value32);
        else
            *(bool *)to = value != 0;
        return rc;
    }
    return bad(r, "'%.40s' begins no line: docs/scenarios.md shows what does", word);
}

static int read_line(struct reader *r)
{
    static const struct {
        const char *word;
        int (*read)(struct reader *r);
    } lines[] = {{"at", read_at},       {"roll", read_roll},         {"chance", read_chance},   {"expect", read_expect},
                 {"plant", read_plant}, {"workload", read_workload}, {"readers", read_readers}, {"lab", read_lab}};
    const char *word = take(r);
    for (uint32_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (strcmp(lines[i].word, word) == 0)
            return lines[i].read(r);
    return read_setting(r, word);
}

/* Splits the line into words. False: too many. */
static bool split(struct reader *r)
{
    char *save = NULL;
    r->count = r->next = 0;
    for (char *word = strtok_r(r->text, " \t\r", &save); word != NULL; word = strtok_r(NULL, " \t\r", &save)) {
        if (r->count == WORDS_MAX)
            return false;
        r->words[r->count++] = word;
    }
    return true;
}

static int one_line(struct reader *r, const char *line, size_t len)
{
    if (len >= sizeof r->text)
        return bad(r, "the line is too long: %u bytes at most", LINE_MAX_BYTES - 1);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < ' ' && line[i] != '\t' && line[i] != '\r')
            return bad(r, "byte %d is no text: scenarios are plain text", line[i]);
    memcpy(r->text, line, len);
    r->text[len] = 0;
    if (strncmp(r->text, "name ", 5) == 0) {
        snprintf(r->s->name, sizeof r->s->name, "%.*s", (int)sizeof r->s->name - 1, r->text + 5);
        r->s->name[strcspn(r->s->name, "\r")] = 0;
        return 0;
    }
    r->text[strcspn(r->text, "#")] = 0;
    if (!split(r))
        return bad(r, "too many words: %u at most, put ranks together as in 1,4-7", WORDS_MAX);
    if (r->count == 0)
        return 0;
    int rc = read_line(r);
    if (rc == 0 && r->next < r->count)
        rc = bad(r, "what is '%.40s'? The line ends before it", r->words[r->next]);
    return rc;
}

/* What single lines cannot see. */
static int check_whole(struct reader *r)
{
    const struct tl_scenario *s = r->s;
    for (uint32_t i = 0; i < s->plan.range_count; i++)
        if (s->plan.ranges[i].last >= s->config.nodes)
            return bad(r, "rank %u is named, but there are %u nodes: raise `nodes`, above the other lines",
                       s->plan.ranges[i].last, s->config.nodes);
    if (s->config.readers_first >= s->config.nodes)
        return bad(r, "readers: there is no rank %u: raise `nodes`, above the other lines", s->config.readers_first);
    return 0;
}

int tl_scenario_parse(struct tl_scenario *s, const char *file, const char *text, size_t len, struct tl_error *err)
{
    static struct reader r; /* large; one scenario is read at a time */
    r = (struct reader){.s = s, .file = file, .err = err};
    tl_scenario_default(s);
    int rc = 0;
    for (size_t at = 0; at < len && rc == 0;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t line_len = end != NULL ? (size_t)(end - text) - at : len - at;
        r.line++;
        rc = one_line(&r, text + at, line_len);
        at += line_len + 1;
    }
    return rc != 0 ? rc : check_whole(&r);
}
