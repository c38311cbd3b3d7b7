// SPDX-License-Identifier: Apache-2.0
/* Scenarios as text, written. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/scenario_words.h"

struct writer {
    char *out;
    size_t max, used;
};

__attribute__((format(printf, 2, 3))) static void put(struct writer *w, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(w->used < w->max ? w->out + w->used : NULL, w->used < w->max ? w->max - w->used : 0, fmt, args);
    va_end(args);
    w->used += n > 0 ? (size_t)n : 0;
}

static void put_value(struct writer *w, enum unit unit, uint64_t value)
{
    uint32_t i = 0;
    switch (unit) {
    case UNIT_SWITCH: put(w, "%s", value != 0 ? "on" : "off"); break;
    case UNIT_TIME:
        while (i < 3 && value % times[i].factor != 0)
            i++;
        put(w, "%llu%s", (unsigned long long)(value / times[i].factor), times[i].name);
        break;
    case UNIT_BYTES:
        while (i < 3 && (value == 0 || value % sizes[i].factor != 0))
            i++;
        put(w, "%llu%s", (unsigned long long)(value / sizes[i].factor), sizes[i].name);
        break;
    case UNIT_NUMBER: put(w, "%llu", (unsigned long long)value); break;
    }
}

static uint64_t setting_of(const struct tl_scenario *s, const struct setting *t)
{
    const char *from = (const char *)s + t->offset;
    uint64_t value = 0;
    uint32_t value32 = 0;
    if (t->size == sizeof value) {
        memcpy(&value, from, sizeof value);
        return value;
    }
    if (t->size == sizeof value32) {
        memcpy(&value32, from, sizeof value32);
        return value32;
    }
    return *(const bool *)from;
}

static void put_fault(struct writer *w, const struct tl_fault_plan *p, const struct tl_fault *f)
{
    put(w, "at ");
    put_value(w, UNIT_TIME, f->at_ns);
    put(w, " %s", acts[f->act].name);
    for (uint32_t i = 0; i < f->range_count; i++) {
        const struct tl_rank_range *r = &p->ranges[f->first_range + i];
        const char *before = i == 0 ? " " : r->side == r[-1].side ? "," : "/";
        if (r->first == r->last)
            put(w, "%s%u", before, r->first);
        else
            put(w, "%s%u-%u", before, r->first, r->last);
    }
    if (f->a != TL_FAULT_NOTHING && acts[f->act].a != NULL)
        put(w, " %s %llu", acts[f->act].a, (unsigned long long)f->a);
    if (f->b != TL_FAULT_NOTHING && acts[f->act].b != NULL)
        put(w, " %s %llu", acts[f->act].b, (unsigned long long)f->b);
    if (f->for_ns != 0) {
        put(w, " for ");
        put_value(w, UNIT_TIME, f->for_ns);
    }
    put(w, "\n");
}

/* Settings that are the default are left out. */
size_t tl_scenario_print(const struct tl_scenario *s, char *out, size_t max)
{
    static struct tl_scenario usual;
    struct writer w = {.out = out, .max = max};
    tl_scenario_default(&usual);
    if (s->name[0] != 0)
        put(&w, "name %s\n", s->name);
    if (s->lab)
        put(&w, "lab\n");
    for (uint32_t i = 0; i < SETTING_COUNT; i++) {
        uint64_t value = setting_of(s, &settings[i]);
        if (i > 1 && value == setting_of(&usual, &settings[i]))
            continue;
        put(&w, "%s ", settings[i].name);
        put_value(&w, settings[i].unit, value);
        put(&w, "\n");
    }
    put(&w, "workload %s\n", s->workload);
    if (s->config.readers_first != 0 || s->config.readers_last < s->config.nodes)
        put(&w, "readers %u-%u\n", s->config.readers_first,
            s->config.readers_last < s->config.nodes ? s->config.readers_last : s->config.nodes - 1);
    for (uint32_t i = 0; i < CHANCE_COUNT; i++) {
        uint32_t ppm = 0;
        memcpy(&ppm, (const char *)&s->plan.chances + chances[i].offset, sizeof ppm);
        if (ppm != 0)
            put(&w, "chance %s %u\n", chances[i].name, ppm);
    }
    for (uint32_t i = 0; i < s->plan.fault_count; i++)
        put_fault(&w, &s->plan, &s->plan.faults[i]);
    if (s->config.plant != TL_PLANT_NONE)
        put(&w, "plant %s\n", plants[s->config.plant]);
    for (uint32_t i = 0; i < s->expect_count; i++)
        put(&w, "expect %s %s %llu\n", metrics[s->expects[i].metric], hows[s->expects[i].how],
            (unsigned long long)s->expects[i].value);
    return w.used;
}

bool tl_scenario_reset(struct tl_scenario *s, uint32_t i, bool *changed)
{
    static struct tl_scenario usual;
    const uint32_t first = 2; /* nodes and seed are what they are */
    *changed = false;
    if (first + i >= SETTING_COUNT)
        return false;
    const struct setting *t = &settings[first + i];
    tl_scenario_default(&usual);
    *changed = setting_of(s, t) != setting_of(&usual, t);
    memcpy((char *)s + t->offset, (const char *)&usual + t->offset, t->size);
    return true;
}
