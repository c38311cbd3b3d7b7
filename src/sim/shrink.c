// SPDX-License-Identifier: Apache-2.0
#include "sim/shrink.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/time.h"
#include "sim/memory.h"

#define ROUNDS_MAX 6u

struct shrinking {
    struct tl_scenario *best, *tried;
    struct tl_scenario_result *failure;
    uint32_t runs;
    uint64_t end_ns;
};

/* What comes next that is neither a number nor part of a path or name with numbers. */
static const char *skip(const char *at)
{
    for (;;) {
        if (isdigit((unsigned char)*at)) {
            at++;
        } else if (*at == '/') {
            at += strcspn(at, " ");
        } else {
            return at;
        }
    }
}

/* Behind `at 1.234 s: `, if it is there. */
static const char *sentence(const char *what)
{
    const char *colon = strncmp(what, "at ", 3) == 0 ? strstr(what, " s: ") : NULL;
    return colon != NULL ? colon + 4 : what;
}

bool tl_shrink_same(const char *a, const char *b)
{
    a = skip(sentence(a));
    b = skip(sentence(b));
    while (*a != 0 && *a == *b) {
        a = skip(a + 1);
        b = skip(b + 1);
    }
    return *a == *b;
}

static bool spent(const struct shrinking *k)
{
    return k->runs >= TL_SHRINK_RUNS_MAX || tl_time_mono_ns() >= k->end_ns;
}

/* Runs k->tried; if it fails in the same way, it is the best so far. */
static bool keep_if_same(struct shrinking *k)
{
    struct tl_scenario_result result;
    if (spent(k))
        return false;
    k->runs++;
    tl_scenario_run_forked(k->tried, &result);
    if (result.good || !tl_shrink_same(result.what, k->failure->what))
        return false;
    *k->failure = result;
    memcpy(k->best, k->tried, sizeof *k->best);
    return true;
}

static struct tl_scenario *try_from_best(struct shrinking *k)
{
    memcpy(k->tried, k->best, sizeof *k->tried);
    return k->tried;
}

/* ---- faults ---- */

static void drop_faults(struct tl_fault_plan *p, uint32_t first, uint32_t count)
{
    memmove(&p->faults[first], &p->faults[first + count], (p->fault_count - first - count) * sizeof p->faults[0]);
    p->fault_count -= count;
}

/* All, then halves, quarters, single ones. */
static bool fewer_faults(struct shrinking *k)
{
    bool less = false;
    for (uint32_t part = k->best->plan.fault_count; part > 0 && !spent(k); part /= 2)
        for (uint32_t at = 0; at < k->best->plan.fault_count && !spent(k);) {
            uint32_t left = k->best->plan.fault_count - at, count = part < left ? part : left;
            drop_faults(&try_from_best(k)->plan, at, count);
            if (keep_if_same(k))
                less = true;
            else
                at += count;
        }
    return less;
}

static bool fewer_chances(struct shrinking *k)
{
    bool less = false;
#define DROP_CHANCE(field, name)                                                                                       \
    if (k->best->plan.chances.field##_ppm != 0) {                                                                      \
        try_from_best(k)->plan.chances.field##_ppm = 0;                                                                \
        less = keep_if_same(k) || less;                                                                                \
    }
    TL_FAULT_CHANCES(DROP_CHANCE)
#undef DROP_CHANCE
    return less;
}

/* ---- nodes and programs ---- */

/* Ranges that name ranks from `nodes` on end before them; faults that strike nobody any more go. */
static void clip(struct tl_scenario *s, uint32_t nodes)
{
    struct tl_fault_plan *p = &s->plan;
    struct tl_rank_range *ranges = tl_sim_alloc(p->range_count + 1, sizeof *ranges);
    uint32_t range_count = 0, fault_count = 0;
    s->config.nodes = nodes;
    for (uint32_t i = 0; i < p->fault_count; i++) {
        struct tl_fault f = p->faults[i];
        uint32_t first = f.first_range, had = f.range_count;
        f.first_range = range_count;
        for (uint32_t k = 0; k < had; k++) {
            struct tl_rank_range r = p->ranges[first + k];
            if (r.first >= nodes)
                continue;
            r.last = r.last < nodes ? r.last : nodes - 1;
            ranges[range_count++] = r;
        }
        f.range_count = range_count - f.first_range;
        if (had == 0 || f.range_count > 0)
            p->faults[fault_count++] = f;
    }
    memcpy(p->ranges, ranges, range_count * sizeof *ranges);
    p->range_count = range_count;
    p->fault_count = fault_count;
    free(ranges);
}

static bool fewer_nodes(struct shrinking *k)
{
    bool less = false;
    for (uint32_t cut = k->best->config.nodes / 2; cut > 0 && !spent(k);) {
        uint32_t nodes = k->best->config.nodes;
        if (nodes > cut && nodes - cut > k->best->config.readers_first) {
            clip(try_from_best(k), nodes - cut);
            if (keep_if_same(k)) {
                less = true;
                continue;
            }
        }
        cut /= 2;
    }
    return less;
}

static bool fewer_readers(struct shrinking *k)
{
    bool less = false;
    for (uint32_t i = 0; i < 32 && !spent(k); i++) {
        const struct tl_cluster_config *c = &k->best->config;
        uint32_t first = c->readers_first, last = c->readers_last < c->nodes ? c->readers_last : c->nodes - 1;
        uint32_t middle = first + (last - first) / 2;
        if (first == last)
            break;
        try_from_best(k)->config.readers_first = middle + 1;
        k->tried->config.readers_last = last;
        if (keep_if_same(k)) {
            less = true;
            continue;
        }
        try_from_best(k)->config.readers_last = middle;
        if (!keep_if_same(k))
            break;
        less = true;
    }
    return less;
}

static bool fewer_requests(struct shrinking *k)
{
    bool less = false;
    for (uint32_t i = 0; i < 12 && k->best->steps > 1; i++) {
        try_from_best(k)->steps /= 2;
        if (!keep_if_same(k))
            break;
        less = true;
    }
    if (k->best->processes > 1) {
        try_from_best(k)->processes = 1;
        less = keep_if_same(k) || less;
    }
    return less;
}

static bool fewer_settings(struct shrinking *k)
{
    bool less = false, more = true;
    for (uint32_t i = 0; more && !spent(k); i++) {
        bool changed = false;
        more = tl_scenario_reset(try_from_best(k), i, &changed);
        if (changed)
            less = keep_if_same(k) || less;
    }
    return less;
}

uint32_t tl_shrink(struct tl_scenario *s, struct tl_scenario_result *failure)
{
    struct shrinking k = {.best = s, .failure = failure, .end_ns = tl_time_mono_ns() + TL_SHRINK_NS_MAX};
    k.tried = tl_sim_alloc(1, sizeof *k.tried);
    bool less = true;
    for (uint32_t round = 0; round < ROUNDS_MAX && less && !spent(&k); round++) {
        less = fewer_chances(&k);
        less = fewer_faults(&k) || less;
        less = fewer_nodes(&k) || less;
        less = fewer_requests(&k) || less;
        less = fewer_readers(&k) || less;
        less = fewer_settings(&k) || less;
    }
    clip(k.best, k.best->config.nodes); /* ranges that nobody refers to any more */
    free(k.tried);
    return k.runs;
}
