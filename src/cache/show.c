// SPDX-License-Identifier: Apache-2.0
/* Looking at the cache: lists, notes, and the check of what it holds. */
#include <errno.h>
#include <string.h>

#include "base/time.h"
#include "cache/internal.h"

#define LOOK_MAX  4096u /* entries that one call looks at */
#define SCRUB_MAX 256u  /* and checks, at most */

static struct tl_cache_item item_of(const struct tl_cache *c, uint32_t entry, const struct tl_entry_view *v)
{
    const struct tl_extra *x = &c->table.extras[entry];
    struct tl_value_meta m = tl_meta_unpack(v->meta);
    struct tl_cache_item item = {.key = v->key,
                                 .digest = v->digest,
                                 .size = v->size,
                                 .filled_s = x->filled_s,
                                 .class = m.class,
                                 .job = m.job,
                                 .label = ""};
    if (x->label_place != NO_LABEL) {
        item.label = tl_space_at(c->space, x->label_place);
        item.label_len = x->label_len;
    }
    return item;
}

int tl_cache_look(const struct tl_cache *c, struct tl_hash key, struct tl_cache_item *out)
{
    uint32_t entry = tl_table_find(&c->table, key);
    if (entry == TL_ENTRY_NONE)
        return -ENOENT;
    struct tl_entry_view v = tl_table_view(&c->table, entry);
    *out = item_of(c, entry, &v);
    return 0;
}

void tl_cache_tell_evicting(struct tl_cache *c, uint32_t entry)
{
    struct tl_entry_view v = tl_table_view(&c->table, entry);
    c->stats.evictions++;
    c->stats.evicted_bytes += v.size;
    if (c->config.evicting != NULL) {
        struct tl_cache_item item = item_of(c, entry, &v);
        c->config.evicting(c->config.evicting_ctx, &item);
    }
}

uint32_t tl_cache_list(const struct tl_cache *c, uint64_t *cursor, struct tl_cache_item *out, uint32_t max)
{
    uint32_t found = 0, looked = 0;
    for (; *cursor < c->table.fresh && found < max && looked < LOOK_MAX; looked++) {
        uint32_t entry = (uint32_t)(*cursor)++;
        struct tl_entry_view v = tl_table_view(&c->table, entry);
        if (tl_meta_unpack(v.meta).state == TL_VALUE_READY)
            out[found++] = item_of(c, entry, &v);
    }
    if (*cursor >= c->table.fresh)
        *cursor = UINT64_MAX;
    return found;
}

/* The digest of an entry is known now. */
static void judge(struct tl_cache *c, uint32_t entry, struct tl_entry_view *v, struct tl_hash now)
{
    struct tl_value_meta m = tl_meta_unpack(v->meta);
    uint32_t era = (uint32_t)atomic_load(&c->table.head->era);
    if (!tl_hash_equal(now, v->digest)) {
        c->stats.damaged++;
        tl_cache_forget(c, entry);
    } else if (m.era != era) { /* readers need not check it any more */
        m.era = era;
        v->meta = tl_meta_pack(m);
        tl_table_change(&c->table, entry, v);
    }
}

/* The next bytes of the value that is being checked: how many. At its end, or when it changes, the cursor goes on. */
static uint64_t scrub_some(struct tl_cache *c, uint64_t *cursor)
{
    struct tl_scrub *s = &c->scrub;
    uint32_t entry = (uint32_t)*cursor;
    struct tl_entry_view v = tl_table_view(&c->table, entry);
    if (tl_meta_unpack(v.meta).state != TL_VALUE_READY) {
        (*cursor)++;
        return 0;
    }
    if (s->hasher == NULL || s->entry != entry || s->turn != v.turn) {
        tl_hasher_free(s->hasher);
        *s = (struct tl_scrub){.hasher = tl_hasher_new(0), .entry = entry, .turn = v.turn};
        if (s->hasher == NULL)
            return TL_CACHE_STEP;
    }
    uint64_t n = v.size - s->done < TL_CACHE_STEP ? v.size - s->done : TL_CACHE_STEP;
    if (n > 0)
        tl_hasher_add(s->hasher, (const uint8_t *)tl_space_at(c->space, v.place) + s->done, n);
    s->done += n;
    c->stats.scrubbed_bytes += n;
    if (s->done == v.size) {
        judge(c, entry, &v, tl_hasher_digest(s->hasher));
        tl_hasher_free(s->hasher);
        *s = (struct tl_scrub){.hasher = NULL};
        (*cursor)++;
    }
    return n;
}

bool tl_cache_scrub(struct tl_cache *c, uint64_t *cursor)
{
    uint64_t done = 0;
    for (uint32_t i = 0; i < SCRUB_MAX && *cursor < c->table.fresh && done < TL_CACHE_STEP; i++)
        done += scrub_some(c, cursor);
    return *cursor < c->table.fresh;
}

/* ---- notes ---- */

static struct tl_crumb *crumb_of(const struct tl_cache *c, const char *name)
{
    for (uint32_t i = 0; i < TL_VALUE_CRUMBS; i++)
        if (strncmp(c->table.crumbs[i].name, name, TL_VALUE_CRUMB_NAME) == 0)
            return &c->table.crumbs[i];
    return NULL;
}

int tl_cache_crumb_set(struct tl_cache *c, const char *name, const char *note)
{
    size_t len = strlen(name), note_len = note == NULL ? 0 : strlen(note);
    if (len == 0 || len >= TL_VALUE_CRUMB_NAME || note_len >= TL_VALUE_CRUMB_NOTE)
        return -EINVAL;
    struct tl_crumb *crumb = crumb_of(c, name);
    if (note == NULL) {
        if (crumb == NULL)
            return -ENOENT;
        memset(crumb, 0, sizeof *crumb);
        return 0;
    }
    if (crumb == NULL)
        crumb = crumb_of(c, ""); /* a free row */
    if (crumb == NULL)
        return -ENOSPC;
    memset(crumb->note, 0, sizeof crumb->note);
    memcpy(crumb->note, note, note_len);
    crumb->written_s = tl_time_real_ns() / TL_NS_PER_S;
    memcpy(crumb->name, name, len + 1); /* last: until now the row was free */
    return 0;
}

const char *tl_cache_crumb(const struct tl_cache *c, const char *name)
{
    const struct tl_crumb *crumb = name[0] == 0 ? NULL : crumb_of(c, name);
    return crumb == NULL ? NULL : crumb->note;
}

const struct tl_crumb *tl_cache_crumb_at(const struct tl_cache *c, uint32_t i)
{
    check(i < TL_VALUE_CRUMBS);
    return &c->table.crumbs[i];
}
