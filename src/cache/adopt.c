// SPDX-License-Identifier: Apache-2.0
/* Going on with what an earlier manager left when it was killed: its three files, as they were at that moment.
 *
 * An entry that was being changed is dropped; so is one whose place is impossible, or taken twice. All others are kept, and marked by
 * their era: readers, and the scrub, check the digest of each before its first use. */
#include <errno.h>
#include <string.h>

#include "cache/internal.h"

static bool plausible(const struct tl_cache *c, const struct tl_entry_view *v)
{
    struct tl_value_meta m = tl_meta_unpack(v->meta);
    if (m.state != TL_VALUE_READY || m.class > TL_VALUE_PINNED || m.job >= TL_VALUE_JOBS ||
        v->size > tl_space_bytes_max(c->space))
        return false;
    switch (m.kind) {
    case TL_VALUE_EMPTY: return v->size == 0;
    case TL_VALUE_PAGES: return v->size > 0;
    case TL_VALUE_RECORD: return v->size > 0 && v->size <= TL_LOG_RECORD_MAX;
    }
    return false;
}

/* The value's place is its own. */
static bool claim(struct tl_cache *c, uint32_t entry, const struct tl_entry_view *v)
{
    switch (tl_meta_unpack(v->meta).kind) {
    case TL_VALUE_PAGES: return tl_space_claim(c->space, v->place, v->size) == 0;
    case TL_VALUE_RECORD: return tl_log_claim(c->log, entry * 2, v->place, (uint32_t)v->size) == 0;
    case TL_VALUE_EMPTY: break;
    }
    return true;
}

static void claim_label(struct tl_cache *c, uint32_t entry)
{
    struct tl_extra *x = &c->table.extras[entry];
    if (x->label_place != NO_LABEL &&
        (x->label_len > TL_CACHE_LABEL_MAX || tl_log_claim(c->log, entry * 2 + 1, x->label_place, x->label_len) != 0))
        *x = (struct tl_extra){.label_place = NO_LABEL, .filled_s = x->filled_s};
}

static void adopt_entry(struct tl_cache *c, uint32_t entry)
{
    struct tl_entry_view v;
    bool whole = tl_entry_read(&c->table.entries[entry], &v) && v.meta != 0;
    if (!whole || !plausible(c, &v) || !claim(c, entry, &v)) {
        c->stats.not_adopted += v.meta != 0;
        tl_table_forget(&c->table, entry);
        return;
    }
    claim_label(c, entry);
    if (!tl_table_keep(&c->table, entry)) { /* a second one of its key */
        enum tl_value_kind kind = tl_meta_unpack(v.meta).kind;
        if (kind == TL_VALUE_PAGES)
            tl_space_give(c->space, v.place, false);
        else if (kind == TL_VALUE_RECORD)
            tl_log_kill(c->log, v.place);
        if (c->table.extras[entry].label_place != NO_LABEL)
            tl_log_kill(c->log, c->table.extras[entry].label_place);
        c->stats.not_adopted++;
        tl_table_forget(&c->table, entry);
        return;
    }
    tl_cache_count(c, entry, &v, true);
    c->stats.adopted++;
}

/* What was evicted before, and readers still hold, waits for them in limbo. */
static void claim_held(struct tl_cache *c)
{
    for (uint32_t i = 1; i < TL_CACHE_READERS_MAX; i++)
        for (uint32_t k = 0; c->readers[i] != NULL && k < TL_HOLDS_MAX; k++) {
            uint64_t place = atomic_load(&c->readers[i]->place[k]);
            if (place != 0)
                tl_space_claim_held(c->space, place - 1);
        }
}

int tl_cache_adopt(struct tl_cache *c, struct tl_error *err)
{
    uint32_t fresh = c->table.fresh;
    for (uint32_t entry = 0; entry < fresh; entry++)
        adopt_entry(c, entry);
    claim_held(c);
    int rc = tl_space_adopted(c->space);
    if (rc != 0)
        return tl_error_set(err, rc, "values that an earlier daemon left cannot be sorted out: %s", strerror(-rc));
    tl_cache_fit(c, 0);
    return 0;
}
