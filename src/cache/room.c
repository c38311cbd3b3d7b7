// SPDX-License-Identifier: Apache-2.0
/* Making room: in small steps, from what costs least. Pages of the pool are as good as free. Else: values that are gone and no longer held
 * (sweep), dead bytes of small records (compaction), values by the eviction policy. */
#include <errno.h>
#include <string.h>

#include "base/time.h"
#include "cache/internal.h"

#define STEPS_BLIND 4u          /* evictions between two looks at the clock: memory that is touched first may be slow */
#define STEPS_MAX   96u         /* evictions of one call */
#define BATCH       (64u << 10) /* bytes that are evicted ahead, so that holds are looked at once for many */
#define HOLD_WORTH  256u        /* such bytes for each hold, if there are many */
#define SWEEP_STEP  1024u       /* holds, or slots in limbo, that one step looks at */
#define COPY_STEP   (64u << 10) /* bytes that compaction copies at a time */
#define COPIES_MAX  2u          /* such steps in one call */
#define SHARE_WORTH 218u        /* of 256: a segment that lives less is worth compacting: 85 % */
#define SHARE_ANY   255u

/* What can be had without giving anything up. A segment's worth is left to compaction, which needs room to make more of it. */
static uint64_t free_bytes(const struct tl_cache *c)
{
    struct tl_space_stats s;
    struct tl_log_stats l;
    tl_space_stats(c->space, &s);
    tl_log_stats(c->log, &l);
    uint64_t limit = tl_space_limit(c->space);
    uint64_t taken = s.used_bytes - s.pool_bytes + (l.total_bytes > 0 ? TL_LOG_SEGMENT : 0);
    return taken < limit ? limit - taken : 0;
}

void tl_cache_fit(struct tl_cache *c, uint64_t growth)
{
    struct tl_space_stats s;
    uint64_t others = c->table.bytes + growth, limit = c->limit > others ? c->limit - others : 0;
    limit = c->squeezed != 0 && c->squeezed < limit ? c->squeezed : limit;
    tl_space_set_limit(c->space, limit);
    tl_space_stats(c->space, &s);
    while (growth > 0 && s.used_bytes > limit && tl_space_shrink(c->space, s.used_bytes - limit) > 0)
        tl_space_stats(c->space, &s); /* the table's growth is some steps */
}

void tl_cache_squeeze(struct tl_cache *c, bool on)
{
    struct tl_space_stats s;
    tl_space_stats(c->space, &s);
    c->squeezed = on ? s.used_bytes : 0;
    tl_cache_fit(c, 0);
}

/* Up to a step's number of holds, from where the last step ended. True: those were the last. */
static bool look_at_holds(struct tl_cache *c)
{
    struct tl_sweep *w = &c->sweep;
    uint32_t reader = w->reader, at = w->at;
    for (uint32_t n = 0; reader < TL_CACHE_READERS_MAX; reader++, at = 0) {
        const struct tl_holds *h = c->readers[reader];
        uint32_t top = h == NULL ? 0 : atomic_load(&h->top);
        top = top > TL_HOLDS_MAX ? TL_HOLDS_MAX : top;
        for (; at < top; at++) {
            if (n++ == SWEEP_STEP) {
                w->reader = reader;
                w->at = at;
                return false;
            }
            uint64_t place = atomic_load(&h->place[at]);
            if (place == 0)
                continue;
            tl_space_hold(c->space, place - 1);
            w->held++;
        }
    }
    w->reader = reader;
    return true;
}

bool tl_cache_sweep(struct tl_cache *c)
{
    struct tl_space_stats s;
    struct tl_sweep *w = &c->sweep;
    if (!w->on)
        tl_space_sweep_begin(c->space);
    w->on = true;
    if (!look_at_holds(c) || !tl_space_sweep_end(c->space, SWEEP_STEP))
        return false;
    tl_space_stats(c->space, &s);
    c->limbo_left = w->again ? 0 : s.held_bytes;
    *w = (struct tl_sweep){.seen = w->held};
    return true;
}

/* Bytes that go into limbo before it is swept: the more is held, the more a sweep costs, and the more it is to bring. */
static uint64_t batch_bytes(const struct tl_cache *c)
{
    uint64_t most = tl_space_limit(c->space) / 64, batch = c->sweep.seen * (uint64_t)HOLD_WORTH;
    batch = batch > BATCH ? batch : BATCH;
    return batch > most ? (most < BATCH ? 0 : most) : batch;
}

/* ---- compaction ---- */

static enum tl_log_verdict judge(void *ctx, uint32_t owner, uint64_t place)
{
    struct tl_cache *c = ctx;
    uint32_t entry = owner / 2;
    bool label = (owner & 1) != 0;
    if (entry >= c->table.fresh)
        return TL_LOG_DEAD;
    struct tl_entry_view v = tl_table_view(&c->table, entry);
    if (label ? c->table.extras[entry].label_place != place : v.place != place)
        return TL_LOG_DEAD;
    if (tl_meta_unpack(v.meta).state != TL_VALUE_READY)
        return TL_LOG_MOVE; /* the label of one that is being filled */
    if (!c->dropping || tl_meta_unpack(v.meta).class == TL_VALUE_PINNED)
        return TL_LOG_MOVE;
    tl_cache_tell_evicting(c, entry);
    tl_cache_forget(c, entry);
    return TL_LOG_DROP;
}

static void moved(void *ctx, uint32_t owner, uint64_t from, uint64_t to)
{
    struct tl_cache *c = ctx;
    uint32_t entry = owner / 2;
    struct tl_entry_view v = tl_table_view(&c->table, entry);
    if ((owner & 1) != 0) {
        check(c->table.extras[entry].label_place == from);
        c->table.extras[entry].label_place = to;
    } else {
        check(v.place == from);
        v.place = to;
        tl_table_change(&c->table, entry, &v);
    }
}

const struct tl_log_ops tl_cache_log_ops = {.judge = judge, .moved = moved};

/* Dead bytes of records are a good part of all that the log has. */
static bool worth_compacting(const struct tl_cache *c)
{
    struct tl_log_stats l;
    tl_log_stats(c->log, &l);
    uint64_t dead = l.total_bytes - l.live_bytes;
    return dead > 2 * TL_LOG_SEGMENT && dead > l.total_bytes / 8;
}

/* ---- eviction ---- */

/* The list that the next victim comes from: volatile values first; else a job's, by the weight of all jobs. */
static uint32_t choose_list(struct tl_cache *c)
{
    for (uint32_t kind = 0; kind < 2; kind++) {
        uint64_t sum = 0, at;
        for (uint32_t job = 0; job < c->jobs_top; job++)
            sum += tl_evict_weight(c->evict, job * 2 + 1 - kind);
        if (sum == 0)
            continue;
        at = tl_prng_below(&c->prng, sum);
        for (uint32_t job = 0; job < c->jobs_top; job++) {
            uint64_t weight = tl_evict_weight(c->evict, job * 2 + 1 - kind);
            if (at < weight)
                return job * 2 + 1 - kind;
            at -= weight;
        }
    }
    return UINT32_MAX;
}

static bool evict_from(struct tl_cache *c, uint32_t list)
{
    uint32_t entry = tl_evict_victim(c->evict, list);
    if (entry == TL_EVICT_NONE)
        return false;
    tl_cache_tell_evicting(c, entry);
    tl_cache_forget(c, entry);
    return true;
}

bool tl_cache_evict_one(struct tl_cache *c)
{
    uint32_t list = choose_list(c);
    return list != UINT32_MAX && evict_from(c, list);
}

/* Whether it has been at work for long; asked for the first time, it begins to count. */
static bool is_late(uint64_t *end_ns)
{
    uint64_t now = tl_time_mono_ns();
    bool first = *end_ns == 0;
    *end_ns = first ? now + TL_SPACE_TIME_NS : *end_ns;
    return TL_SPACE_TIME_NS == 0 || (!first && now > *end_ns);
}

/* Values by the policy until so many bytes are free or in limbo. How many went. */
static uint32_t evict_some(struct tl_cache *c, uint64_t bytes, uint32_t steps, bool compactable, uint64_t *end_ns)
{
    struct tl_space_stats s;
    uint32_t gone = 0, list = choose_list(c);
    for (; gone < steps && list != UINT32_MAX; gone++) {
        if (gone % STEPS_BLIND == STEPS_BLIND - 1 && is_late(end_ns))
            break;
        tl_space_stats(c->space, &s);
        if (free_bytes(c) + (s.limbo_bytes - c->limbo_left) >= bytes || (compactable && worth_compacting(c)))
            break;
        if (!evict_from(c, list))
            break;
        list = gone % 16 == 15 ? choose_list(c) : list;
    }
    return gone;
}

/* The last resort: a segment's values are given up, so that its pages come free as a whole. */
static bool drop_segment(struct tl_cache *c)
{
    c->dropping = true;
    bool some = tl_log_compact(c->log, COPY_STEP, SHARE_ANY);
    c->dropping = false;
    return some;
}

int tl_cache_room(struct tl_cache *c, uint64_t bytes)
{
    if (free_bytes(c) >= bytes)
        return 0;
    struct tl_space_stats s;
    uint64_t ahead = batch_bytes(c), least = ahead > BATCH ? ahead : 0;
    uint64_t end_ns = 0;
    uint32_t gone = 0, copies = 0;
    bool swept = false, compactable = true, some = false; /* some: this call has come nearer to more room */
    while (free_bytes(c) < bytes) {
        tl_space_stats(c->space, &s);
        uint64_t fresh = s.limbo_bytes > c->limbo_left ? s.limbo_bytes - c->limbo_left : 0;
        bool undecided =
            gone > 0 || copies > 0 || !swept; /* after a sweep it is said whether there is more to be had */
        if (some && undecided && is_late(&end_ns)) {
            return -EAGAIN;
        } else if (c->sweep.on || (free_bytes(c) + fresh >= bytes + least && fresh > 0)) {
            swept = tl_cache_sweep(c);
            some = true;
        } else if (copies < COPIES_MAX && compactable && worth_compacting(c)) {
            compactable = tl_log_compact(c->log, COPY_STEP, SHARE_WORTH);
            some = some || compactable;
            copies++;
        } else if (gone >= STEPS_MAX || copies >= COPIES_MAX) {
            return -EAGAIN;
        } else {
            uint32_t n = evict_some(c, bytes + ahead, STEPS_MAX - gone, compactable, &end_ns);
            gone += n;
            some = some || n > 0;
            if (n > 0)
                continue;
            if (!swept && s.limbo > 0) { /* readers may have let go of what the last sweep found held */
                swept = tl_cache_sweep(c);
                some = true;
            } else if (drop_segment(c)) {
                some = true;
                copies++;
            } else {
                return gone > 0 ? -EAGAIN : -ENOSPC;
            }
        }
    }
    return 0;
}

int tl_cache_quota_room(struct tl_cache *c, uint16_t job, uint64_t bytes)
{
    uint64_t quota = c->table.jobs[job].quota_bytes;
    if (quota == 0)
        return 0;
    if (bytes > quota)
        return -EDQUOT;
    uint64_t end_ns = 0;
    uint32_t gone = 0;
    while (c->jobs[job].cost_bytes + bytes > quota) {
        if (gone >= STEPS_MAX || (gone % STEPS_BLIND == STEPS_BLIND - 1 && is_late(&end_ns)))
            return -EAGAIN;
        gone++;
        if (!evict_from(c, job * 2u + 1) && !evict_from(c, job * 2u))
            return -EDQUOT;
    }
    return 0;
}
