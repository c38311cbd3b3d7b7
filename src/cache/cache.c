// SPDX-License-Identifier: Apache-2.0
/* The manager's life, its limits, and what belongs to a value; see cache.h. */
#include "cache/cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/time.h"
#include "cache/internal.h"

#define COST_UNIT    64u /* bytes of one weight for the policy: 32 bits of them are 256 GiB */
#define ENTRIES_MOST (64u << 20)

/* ---- life ---- */

static int open_parts(struct tl_cache *c, struct tl_error *err)
{
    const struct tl_cache_config *f = &c->config;
    bool adopt = f->adopt_directory_fd >= 0;
    int rc = 0;
    uint32_t entries = f->entries_max;
    if (adopt) {
        rc = tl_table_adopt(&c->table, f->adopt_directory_fd, f->adopt_uses_fd, err);
        if (rc != 0)
            return rc;
        entries = c->table.head->entries;
        c->config.limit_max_bytes = c->table.head->limit_max_bytes;
    }
    const struct tl_space_config space = {.fd = adopt ? f->adopt_values_fd : f->values_fd,
                                          .adopt = adopt,
                                          .limit_bytes = c->limit,
                                          .limit_max_bytes = c->config.limit_max_bytes,
                                          .slots_max = entries < (1u << 30) ? entries + 65536 : entries};
    rc = tl_space_new(&c->space, &space, err);
    if (rc != 0)
        return rc;
    if (adopt)
        c->config.adopt_values_fd = -1; /* the space has it */
    else
        c->config.values_fd = -1;
    if (!adopt)
        rc = tl_table_init(&c->table, entries, f->seed, c->config.limit_max_bytes, tl_space_size(c->space), err);
    else if (c->table.head->values_bytes != tl_space_size(c->space))
        rc = tl_error_set(err, -EPROTO, "the values that an earlier daemon left are laid out in another way");
    return rc;
}

static int open_rest(struct tl_cache *c)
{
    void *holds = mmap(NULL, TL_HOLDS_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (holds == MAP_FAILED)
        return -ENOMEM;
    c->holds = holds;
    c->readers[0] = c->holds;
    for (uint32_t i = 0; i < c->config.orphan_count && i + 1 < TL_CACHE_READERS_MAX; i++)
        c->readers[i + 1] = c->config.orphans[i];
    tl_reader_init(&c->reader, c->table.head, tl_space_at(c->space, 0), c->table.uses, c->holds);
    tl_prng_init(&c->prng, c->table.head->seed, 1);
    int rc = tl_log_new(&c->log, c->space, &tl_cache_log_ops, c);
    if (rc == 0)
        rc = tl_evict_new(&c->evict, c->table.head->entries, 2 * TL_VALUE_JOBS, c->table.uses);
    return rc;
}

static int check_limits(struct tl_cache_config *f, struct tl_error *err)
{
    if (f->limit_max_bytes == 0)
        f->limit_max_bytes = 2 * f->limit_bytes;
    if (f->limit_bytes < TL_CACHE_LIMIT_LEAST || f->limit_bytes > f->limit_max_bytes)
        return tl_error_set(err, -EINVAL, "a cache of %llu bytes is out of range: choose %llu to %llu bytes",
                            (unsigned long long)f->limit_bytes, (unsigned long long)TL_CACHE_LIMIT_LEAST,
                            (unsigned long long)f->limit_max_bytes);
    if (f->pin_quota_bytes > f->limit_bytes)
        return tl_error_set(err, -EINVAL, "a quota of %llu bytes for pins is more than the cache's %llu",
                            (unsigned long long)f->pin_quota_bytes, (unsigned long long)f->limit_bytes);
    uint64_t entries = f->entries_max != 0 ? f->entries_max : f->limit_bytes / 2048;
    f->entries_max = entries > ENTRIES_MOST ? ENTRIES_MOST : (uint32_t)entries;
    return 0;
}

static void close_given(struct tl_cache_config *f)
{
    int *fds[] = {&f->values_fd, &f->adopt_directory_fd, &f->adopt_uses_fd, &f->adopt_values_fd};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}

int tl_cache_new(struct tl_cache **out, const struct tl_cache_config *config, struct tl_error *err)
{
    struct tl_cache *c = calloc(1, sizeof *c);
    if (c == NULL)
        return tl_error_set(err, -ENOMEM, "no memory for the cache's tables");
    c->config = *config;
    c->limit = config->limit_bytes;
    c->table = (struct tl_table){.fd = -1, .uses_fd = -1};
    int rc = check_limits(&c->config, err);
    bool adopt = config->adopt_directory_fd >= 0;
    if (rc == 0)
        rc = open_parts(c, err);
    if (adopt) /* the table has them, or has closed them */
        c->config.adopt_directory_fd = c->config.adopt_uses_fd = -1;
    if (rc == 0 && open_rest(c) != 0)
        rc = tl_error_set(err, -ENOMEM, "no memory for the cache's tables");
    if (rc == 0) {
        tl_cache_fit(c, 0);
        rc = adopt ? tl_cache_adopt(c, err) : 0;
    }
    if (rc != 0) {
        tl_cache_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void tl_cache_free(struct tl_cache *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < TL_CACHE_FILLS_MAX; i++) {
        tl_hasher_free(c->fills[i].hasher);
        free(c->fills[i].label);
    }
    tl_hasher_free(c->scrub.hasher);
    if (c->holds != NULL)
        munmap(c->holds, TL_HOLDS_BYTES);
    tl_evict_free(c->evict);
    tl_log_free(c->log);
    tl_space_free(c->space);
    tl_table_fini(&c->table);
    close_given(&c->config);
    free(c);
}

int tl_cache_directory_fd(const struct tl_cache *c)
{
    return c->table.fd;
}

int tl_cache_values_fd(const struct tl_cache *c)
{
    return tl_space_fd(c->space);
}

int tl_cache_uses_fd(const struct tl_cache *c)
{
    return c->table.uses_fd;
}

/* ---- readers ---- */

struct tl_reader *tl_cache_reader(struct tl_cache *c)
{
    return &c->reader;
}

int tl_cache_add_reader(struct tl_cache *c, const struct tl_holds *holds, uint32_t *id)
{
    for (uint32_t i = 1; i < TL_CACHE_READERS_MAX; i++)
        if (c->readers[i] == NULL) {
            c->readers[i] = holds;
            *id = i;
            return 0;
        }
    return -EMFILE;
}

void tl_cache_remove_reader(struct tl_cache *c, uint32_t id)
{
    check(id > 0 && id < TL_CACHE_READERS_MAX && c->readers[id] != NULL);
    c->readers[id] = NULL;
    c->limbo_left = 0; /* what it held can go at the next sweep */
    c->sweep.again = c->sweep.on;
}

bool tl_cache_has(const struct tl_cache *c, struct tl_hash key)
{
    return tl_table_find(&c->table, key) != TL_ENTRY_NONE;
}

/* ---- what belongs to a value ---- */

bool tl_cache_is_record(const struct tl_cache *c, uint64_t size)
{
    uint64_t page = tl_space_page(c->space), waste = (page - size % page) % page;
    return size > 0 && size <= TL_LOG_RECORD_MAX && waste * 8 > size;
}

uint64_t tl_cache_cost(const struct tl_cache *c, const struct tl_entry_view *v, uint32_t label_len)
{
    uint64_t page = tl_space_page(c->space), cost = label_len == 0 ? 0 : tl_log_record_size(label_len);
    switch (tl_meta_unpack(v->meta).kind) {
    case TL_VALUE_RECORD: return cost + tl_log_record_size((uint32_t)v->size);
    case TL_VALUE_PAGES: return cost + (v->size + page - 1) / page * page;
    case TL_VALUE_EMPTY: break;
    }
    return cost;
}

uint32_t tl_cache_list_of(struct tl_value_meta m)
{
    return m.job * 2u + (m.class == TL_VALUE_VOLATILE);
}

static void add(struct tl_cache_usage *u, const struct tl_entry_view *v, uint64_t cost, bool in)
{
    check(in || (u->values > 0 && u->bytes >= v->size && u->cost_bytes >= cost));
    u->values += in ? 1 : (uint64_t)-1;
    u->bytes += in ? v->size : (uint64_t)0 - v->size;
    u->cost_bytes += in ? cost : (uint64_t)0 - cost;
}

void tl_cache_count(struct tl_cache *c, uint32_t entry, const struct tl_entry_view *v, bool in)
{
    struct tl_value_meta m = tl_meta_unpack(v->meta);
    uint64_t cost = tl_cache_cost(c, v, c->table.extras[entry].label_len);
    add(&c->stats.classes[m.class], v, cost, in);
    add(&c->jobs[m.job], v, cost, in);
    c->jobs_top = m.job >= c->jobs_top ? m.job + 1u : c->jobs_top;
    if (!in)
        tl_evict_remove(c->evict, entry);
    else if (m.class != TL_VALUE_PINNED)
        tl_evict_insert(c->evict, tl_cache_list_of(m), entry, (uint32_t)(cost / COST_UNIT + 1), v->key.lo);
}

void tl_cache_forget(struct tl_cache *c, uint32_t entry)
{
    struct tl_entry_view v = tl_table_view(&c->table, entry);
    struct tl_extra extra = c->table.extras[entry];
    enum tl_value_kind kind = tl_meta_unpack(v.meta).kind;
    tl_cache_count(c, entry, &v, false);
    tl_table_remove(&c->table, entry);
    if (kind == TL_VALUE_PAGES)
        tl_space_give(c->space, v.place, false);
    else if (kind == TL_VALUE_RECORD)
        tl_log_kill(c->log, v.place);
    if (extra.label_place != NO_LABEL)
        tl_log_kill(c->log, extra.label_place);
}

/* ---- policy ---- */

int tl_cache_drop(struct tl_cache *c, struct tl_hash key)
{
    uint32_t entry = tl_table_find(&c->table, key);
    if (entry == TL_ENTRY_NONE)
        return -ENOENT;
    tl_cache_forget(c, entry);
    return 0;
}

static uint64_t pin_quota(const struct tl_cache *c)
{
    return c->config.pin_quota_bytes != 0 ? c->config.pin_quota_bytes : c->limit / 2;
}

bool tl_cache_may_pin(const struct tl_cache *c, uint64_t cost)
{
    const struct tl_cache_usage *pins = &c->stats.classes[TL_VALUE_PINNED];
    return pins->cost_bytes + cost <= pin_quota(c) && pins->values < c->table.head->entries / 2;
}

int tl_cache_set_class(struct tl_cache *c, struct tl_hash key, enum tl_value_class class)
{
    uint32_t entry = tl_table_find(&c->table, key);
    if (entry == TL_ENTRY_NONE)
        return -ENOENT;
    struct tl_entry_view v = tl_table_view(&c->table, entry);
    struct tl_value_meta m = tl_meta_unpack(v.meta);
    uint64_t cost = tl_cache_cost(c, &v, c->table.extras[entry].label_len);
    if (m.class == class)
        return 0;
    if (class == TL_VALUE_PINNED && !tl_cache_may_pin(c, cost))
        return -EDQUOT;
    tl_cache_count(c, entry, &v, false);
    m.class = class;
    v.meta = tl_meta_pack(m);
    tl_table_change(&c->table, entry, &v);
    tl_cache_count(c, entry, &v, true);
    return 0;
}

int tl_cache_set_limit(struct tl_cache *c, uint64_t bytes, struct tl_error *err)
{
    const struct tl_directory_head *h = c->table.head;
    uint64_t least = c->table.bytes + TL_CACHE_LIMIT_LEAST / 2;
    uint64_t pinned = c->stats.classes[TL_VALUE_PINNED].cost_bytes;
    if (bytes < least || bytes > h->limit_max_bytes)
        return tl_error_set(
            err, -EINVAL, "%llu bytes are out of range for this cache: choose %llu (its tables are there) to %llu",
            (unsigned long long)bytes, (unsigned long long)least, (unsigned long long)h->limit_max_bytes);
    if (bytes - c->table.bytes < pinned + TL_LOG_SEGMENT)
        return tl_error_set(err, -EBUSY, "%llu bytes are pinned: unpin some of them first, or choose more than that",
                            (unsigned long long)pinned);
    if (c->config.pin_quota_bytes > bytes)
        c->config.pin_quota_bytes = bytes;
    c->limit = bytes;
    tl_cache_fit(c, 0);
    return 0;
}

int tl_cache_set_pin_quota(struct tl_cache *c, uint64_t bytes, struct tl_error *err)
{
    if (bytes > c->limit)
        return tl_error_set(err, -EINVAL, "a quota of %llu bytes for pins is more than the cache's %llu",
                            (unsigned long long)bytes, (unsigned long long)c->limit);
    c->config.pin_quota_bytes = bytes;
    return 0;
}

int tl_cache_job(struct tl_cache *c, const char *name)
{
    size_t len = strlen(name);
    uint32_t free_row = 0;
    if (len == 0 || len >= TL_VALUE_JOB_NAME)
        return -EINVAL;
    for (uint32_t i = 1; i < TL_VALUE_JOBS; i++) {
        struct tl_job_row *row = &c->table.jobs[i];
        if (strncmp(row->name, name, TL_VALUE_JOB_NAME) == 0)
            return (int)i;
        bool idle = row->name[0] == 0 || (c->jobs[i].values == 0 && row->quota_bytes == 0);
        if (free_row == 0 && idle)
            free_row = i;
    }
    for (uint32_t i = 0; i < TL_CACHE_FILLS_MAX && free_row != 0; i++) /* a fill on its way keeps its job's row */
        if (c->fills[i].used && c->fills[i].attr.job == free_row)
            return -EAGAIN;
    if (free_row == 0)
        return -ENOSPC;
    c->table.jobs[free_row] = (struct tl_job_row){.quota_bytes = 0};
    memcpy(c->table.jobs[free_row].name, name, len + 1);
    return (int)free_row;
}

int tl_cache_set_quota(struct tl_cache *c, uint16_t job, uint64_t bytes)
{
    if (job == 0 || job >= TL_VALUE_JOBS || c->table.jobs[job].name[0] == 0)
        return -EINVAL;
    c->table.jobs[job].quota_bytes = bytes;
    return 0;
}

/* Down to the limit, which may have been lowered. */
static bool shrink(struct tl_cache *c)
{
    struct tl_space_stats s;
    tl_space_stats(c->space, &s);
    uint64_t limit = tl_space_limit(c->space);
    if (s.used_bytes <= limit)
        return false;
    (void)tl_space_shrink(c->space, s.used_bytes - limit);
    tl_space_stats(c->space, &s);
    if (s.used_bytes <= limit)
        return false;
    int rc = s.pool_bytes > 0 ? 0 : tl_cache_room(c, 1);
    return rc != -ENOSPC; /* what is held goes when it is let go, at a later tick */
}

bool tl_cache_tick(struct tl_cache *c)
{
    struct tl_space_stats s;
    tl_space_stats(c->space, &s);
    bool more = (c->sweep.on || (s.limbo > 0 && s.limbo_bytes > c->limbo_left)) && !tl_cache_sweep(c);
    return shrink(c) || more;
}

/* ---- facts ---- */

void tl_cache_stats(const struct tl_cache *c, struct tl_cache_stats *out)
{
    struct tl_space_stats s;
    struct tl_log_stats l;
    tl_space_stats(c->space, &s);
    tl_log_stats(c->log, &l);
    *out = c->stats;
    out->limit_bytes = c->limit;
    out->limit_max_bytes = c->table.head->limit_max_bytes;
    out->pin_quota_bytes = pin_quota(c);
    out->table_bytes = c->table.bytes;
    out->used_bytes = c->table.bytes + s.used_bytes;
    out->free_bytes = s.pool_bytes;
    out->held_bytes = s.limbo_bytes;
    out->record_bytes = l.total_bytes;
    out->record_live_bytes = l.live_bytes;
    out->moved_bytes = l.moved_bytes;
    out->fills = c->fill_count;
    out->entries_max = c->table.head->entries;
    for (uint32_t i = 1; i < TL_CACHE_READERS_MAX; i++)
        out->readers += c->readers[i] != NULL;
}

const char *tl_cache_job_name(const struct tl_cache *c, uint16_t job)
{
    return job < TL_VALUE_JOBS ? c->table.jobs[job].name : "";
}

void tl_cache_job_usage(const struct tl_cache *c, uint16_t job, struct tl_cache_usage *out, uint64_t *quota)
{
    check(job < TL_VALUE_JOBS);
    *out = c->jobs[job];
    *quota = c->table.jobs[job].quota_bytes;
}
