// SPDX-License-Identifier: Apache-2.0
/* The verb `cache`: what local clients and the command ask of the values, beside their sessions. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/daemon.h"

#define LIST_MAX 256u /* values of one answer */

static const char *const class_names[] = {"ordinary", "volatile", "pinned"};

static void fail(struct tl_control *c, int code, const char *text)
{
    struct tl_error err;
    tl_error_set(&err, code, "%s", text);
    tl_control_fail(c, &err);
}

static json_t *hash_json(struct tl_hash h)
{
    char text[33];
    snprintf(text, sizeof text, "%016llx%016llx", (unsigned long long)h.hi, (unsigned long long)h.lo);
    return json_string(text);
}

/* 32 hex digits. */
static bool parse_key(const char *text, struct tl_hash *out)
{
    char half[17] = {0};
    if (text == NULL || strlen(text) != 32 || strspn(text, "0123456789abcdefABCDEF") != 32)
        return false;
    memcpy(half, text, 16);
    out->hi = strtoull(half, NULL, 16);
    out->lo = strtoull(text + 16, NULL, 16);
    return true;
}

/* Digits, all of it. */
static bool parse_number(const char *text, uint64_t *out)
{
    char *end;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && *end == 0;
}

static json_t *usage_json(const struct tl_cache_usage *u)
{
    return json_pack("{s:I, s:I, s:I}", "values", (json_int_t)u->values, "bytes", (json_int_t)u->bytes, "cost_bytes",
                     (json_int_t)u->cost_bytes);
}

static json_t *jobs_json(const struct tl_cache *cache)
{
    json_t *list = json_array();
    for (uint16_t job = 0; job < TL_VALUE_JOBS; job++) {
        struct tl_cache_usage use;
        uint64_t quota;
        tl_cache_job_usage(cache, job, &use, &quota);
        if (use.values == 0 && quota == 0)
            continue;
        json_t *o = usage_json(&use);
        json_object_set_new(o, "job", json_string(tl_cache_job_name(cache, job)));
        json_object_set_new(o, "quota_bytes", json_integer((json_int_t)quota));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *trees_json(const struct tl_daemon *d)
{
    return json_pack("{s:I, s:I, s:I}", "trees", (json_int_t)d->values.trees.count, "bytes",
                     (json_int_t)tl_trees_bytes(d), "most_bytes", (json_int_t)tl_trees_most(d));
}

static json_t *stat_json(struct tl_daemon *d)
{
    struct tl_cache_stats s;
    tl_cache_stats(d->values.cache, &s);
    json_t *o = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "node_limit_bytes", (json_int_t)d->pressure.limit_bytes,
        "limit_bytes", (json_int_t)s.limit_bytes, "pin_quota_bytes", (json_int_t)s.pin_quota_bytes, "used_bytes",
        (json_int_t)s.used_bytes, "table_bytes", (json_int_t)s.table_bytes, "free_bytes", (json_int_t)s.free_bytes,
        "held_bytes", (json_int_t)s.held_bytes, "record_bytes", (json_int_t)s.record_bytes, "record_live_bytes",
        (json_int_t)s.record_live_bytes, "values_max", (json_int_t)s.entries_max);
    tl_trees_look(d);
    json_object_set_new(o, "trees", trees_json(d));
    json_t *counters = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "puts", (json_int_t)s.puts, "put_bytes",
        (json_int_t)s.put_bytes, "replaced", (json_int_t)s.replaced, "evictions", (json_int_t)s.evictions,
        "evicted_bytes", (json_int_t)s.evicted_bytes, "moved_bytes", (json_int_t)s.moved_bytes, "refused",
        (json_int_t)s.refused, "aborted", (json_int_t)s.aborted, "damaged", (json_int_t)s.damaged, "scrubbed_bytes",
        (json_int_t)s.scrubbed_bytes, "adopted", (json_int_t)s.adopted, "not_adopted", (json_int_t)s.not_adopted);
    json_t *classes = json_object();
    for (uint32_t i = 0; i < 3; i++)
        json_object_set_new(classes, class_names[i], usage_json(&s.classes[i]));
    json_object_set_new(o, "counters", counters);
    json_object_set_new(o, "classes", classes);
    json_object_set_new(o, "jobs", jobs_json(d->values.cache));
    json_object_set_new(o, "clients", json_integer(s.readers));
    json_object_set_new(o, "disk", tl_lower_json(d));
    json_object_set_new(o, "fills", json_integer(s.fills));
    json_object_set_new(o, "scrubbing", json_boolean(d->values.scrub_cursor != UINT64_MAX));
    return o;
}

static void sub_stat(struct tl_daemon *d, struct tl_control *c)
{
    tl_control_reply(c, 'r', stat_json(d));
}

/* cache trees [BYTES]: what trees in shared memory take; an error if they may not take so much more. */
static void sub_trees(struct tl_daemon *d, struct tl_control *c)
{
    uint64_t bytes = 0;
    struct tl_error err;
    int rc = tl_control_arg(c, 2) == NULL || parse_number(tl_control_arg(c, 2), &bytes)
                 ? tl_trees_room(d, bytes, &err)
                 : tl_error_set(&err, -EINVAL, "cache trees wants a number of bytes");
    if (rc != 0)
        tl_control_fail(c, &err);
    else
        tl_control_reply(c, 'r', trees_json(d));
}

/* cache open, with one end of a pair of sockets (cache/wire.h). */
static void sub_open(struct tl_daemon *d, struct tl_control *c)
{
    int fd = tl_control_take_fd(c);
    struct tl_error err;
    int session = fd < 0 ? tl_error_set(&err, -EINVAL, "cache open wants a socket") : tl_session_open(d, fd, &err);
    if (session < 0)
        tl_control_fail(c, &err);
    else
        tl_control_reply(c, 'r', json_pack("{s:i}", "session", session));
}

/* cache limit BYTES: of the node, chunks and values together. */
static void sub_limit(struct tl_daemon *d, struct tl_control *c)
{
    uint64_t bytes;
    struct tl_error err;
    int rc = parse_number(tl_control_arg(c, 2), &bytes)
                 ? tl_values_set_limit(d, bytes, &err)
                 : tl_error_set(&err, -EINVAL, "cache limit wants a number of bytes");
    if (rc != 0)
        tl_control_fail(c, &err);
    else
        tl_control_reply(c, 'r', stat_json(d));
}

/* cache quota JOB BYTES; cache pins BYTES: 0 takes a quota away */
static void sub_quota(struct tl_daemon *d, struct tl_control *c)
{
    uint64_t bytes;
    const char *name = tl_control_arg(c, 2);
    int job =
        name == NULL || !parse_number(tl_control_arg(c, 3), &bytes) ? -EINVAL : tl_cache_job(d->values.cache, name);
    if (job < 0 || tl_cache_set_quota(d->values.cache, (uint16_t)job, bytes) != 0)
        fail(c, job < 0 ? job : -EINVAL,
             job == -ENOSPC ? "too many jobs have values or quotas here"
                            : "cache quota wants the name of a job, of at most 63 bytes, and a number of bytes");
    else
        tl_control_reply(c, 'r', stat_json(d));
}

static void sub_pins(struct tl_daemon *d, struct tl_control *c)
{
    uint64_t bytes;
    struct tl_error err;
    int rc = parse_number(tl_control_arg(c, 2), &bytes)
                 ? tl_cache_set_pin_quota(d->values.cache, bytes, &err)
                 : tl_error_set(&err, -EINVAL, "cache pins wants a number of bytes");
    if (rc != 0)
        tl_control_fail(c, &err);
    else
        tl_control_reply(c, 'r', stat_json(d));
}

static json_t *item_json(const struct tl_cache *cache, const struct tl_cache_item *item)
{
    json_t *label = json_stringn(item->label, item->label_len); /* NULL: not UTF-8 */
    return json_pack("{s:o, s:I, s:s, s:s, s:o, s:o, s:I}", "key", hash_json(item->key), "bytes",
                     (json_int_t)item->size, "class", class_names[item->class], "job",
                     tl_cache_job_name(cache, item->job), "digest", hash_json(item->digest), "label",
                     label != NULL ? label : json_string(""), "filled_s", (json_int_t)item->filled_s);
}

/* cache list CURSOR [PREFIX]: some values whose label begins so; {"items", "next"}, next is null at the end. */
static void sub_list(struct tl_daemon *d, struct tl_control *c)
{
    static struct tl_cache_item items[LIST_MAX];
    const char *prefix = tl_control_arg(c, 3);
    size_t len = prefix == NULL ? 0 : strlen(prefix);
    uint64_t cursor;
    if (!parse_number(tl_control_arg(c, 2), &cursor)) {
        fail(c, -EINVAL, "cache list wants a number to begin at: 0, or the last answer's next");
        return;
    }
    uint32_t n = tl_cache_list(d->values.cache, &cursor, items, LIST_MAX);
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++)
        if (items[i].label_len >= len && memcmp(items[i].label, prefix != NULL ? prefix : "", len) == 0)
            json_array_append_new(list, item_json(d->values.cache, &items[i]));
    tl_control_reply(c, 'r',
                     json_pack("{s:o, s:o}", "items", list, "next",
                               cursor == UINT64_MAX ? json_null() : json_integer((json_int_t)cursor)));
}

/* cache class KEY CLASS; cache drop KEY */
static void sub_class(struct tl_daemon *d, struct tl_control *c)
{
    struct tl_hash key;
    const char *name = tl_control_arg(c, 3);
    uint32_t class = 0;
    while (name != NULL && class < 3 && strcmp(name, class_names[class]) != 0)
        class ++;
    if (name == NULL || class == 3 || !parse_key(tl_control_arg(c, 2), &key)) {
        fail(c, -EINVAL, "cache class wants a key of 32 hex digits, and pinned, ordinary or volatile");
        return;
    }
    int rc = tl_cache_set_class(d->values.cache, key, (enum tl_value_class) class);
    if (rc != 0)
        fail(c, rc, rc == -ENOENT ? "no value of this key is here" : "the quota for pins is used up; see cache pins");
    else
        tl_control_reply(c, 'r', json_pack("{s:s}", "class", class_names[class]));
}

static void sub_drop(struct tl_daemon *d, struct tl_control *c)
{
    struct tl_hash key;
    if (!parse_key(tl_control_arg(c, 2), &key))
        fail(c, -EINVAL, "cache drop wants a key of 32 hex digits");
    else if (tl_lower_changed(d, key), tl_cache_drop(d->values.cache, key) != 0)
        fail(c, -ENOENT, "no value of this key is here");
    else
        tl_control_reply(c, 'r', json_pack("{s:b}", "dropped", 1));
}

static json_t *notes_json(const struct tl_cache *cache)
{
    json_t *notes = json_object();
    for (uint32_t i = 0; i < TL_VALUE_CRUMBS; i++) {
        const struct tl_crumb *crumb = tl_cache_crumb_at(cache, i);
        if (crumb->name[0] != 0)
            json_object_set_new(notes, crumb->name, json_string(crumb->note));
    }
    return notes;
}

/* cache note [NAME [TEXT]]: all, one, or a new one; an empty text takes it away. */
static void sub_note(struct tl_daemon *d, struct tl_control *c)
{
    const char *name = tl_control_arg(c, 2), *text = tl_control_arg(c, 3);
    if (name == NULL) {
        tl_control_reply(c, 'r', notes_json(d->values.cache));
    } else if (text == NULL && tl_cache_crumb(d->values.cache, name) == NULL) {
        fail(c, -ENOENT, "there is no such note");
    } else if (text == NULL) {
        tl_control_reply(c, 'r', json_pack("{s:s}", name, tl_cache_crumb(d->values.cache, name)));
    } else {
        int rc = tl_cache_crumb_set(d->values.cache, name, text[0] != 0 ? text : NULL);
        if (rc != 0)
            fail(c, rc,
                 rc == -ENOENT   ? "there is no such note"
                 : rc == -ENOSPC ? "there are 256 notes already; take one away first"
                                 : "a note has a name of 1 to 63 bytes and a text of at most 183");
        else
            tl_control_reply(c, 'r', json_pack("{s:s}", name, text));
    }
}

/* cache scrub: checks the digests of all values, between other things. */
static void sub_scrub(struct tl_daemon *d, struct tl_control *c)
{
    if (d->values.scrub_cursor == UINT64_MAX)
        d->values.scrub_cursor = 0;
    d->values.busy = true;
    tl_control_reply(c, 'r', stat_json(d));
}

void tl_verb_cache(struct tl_daemon *d, struct tl_control *c)
{
    static const struct {
        const char *name;
        void (*run)(struct tl_daemon *d, struct tl_control *c);
        bool alone; /* there need not be values for it */
    } subs[] = {{"open", sub_open, false},   {"stat", sub_stat, false}, {"limit", sub_limit, false},
                {"quota", sub_quota, false}, {"pins", sub_pins, false}, {"list", sub_list, false},
                {"class", sub_class, false}, {"drop", sub_drop, false}, {"note", sub_note, false},
                {"scrub", sub_scrub, false}, {"trees", sub_trees, true}};
    const char *what = tl_control_arg(c, 1);
    struct tl_error err = {0};
    for (size_t i = 0; what != NULL && i < sizeof subs / sizeof *subs; i++) {
        if (strcmp(what, subs[i].name) != 0)
            continue;
        if (!subs[i].alone && tl_values_need(d, &err) != 0)
            tl_control_fail(c, &err);
        else
            subs[i].run(d, c);
        return;
    }
    fail(c, -EINVAL, "cache wants open, stat, limit, quota, pins, list, class, drop, note, scrub or trees");
}
