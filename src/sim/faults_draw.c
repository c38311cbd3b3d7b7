// SPDX-License-Identifier: Apache-2.0
/* Plans by seed, and the names of the classes of faults. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/time.h"
#include "sim/faults.h"
#include "sim/world.h"

#define SCHEDULED_MAX   6u /* of a class */
#define SIZE_CHANGE_MAX 70000u
#define WINDOW_NS       (2 * TL_NS_PER_S)
#define SLOW_FACTOR     100u
#define SWARM_STREAM    0x535741524dull

static const char *const names[] = {
#define TL_FAULT_NAME(id, name, what) name,
    TL_FAULT_CLASSES(TL_FAULT_NAME)
#undef TL_FAULT_NAME
};

const char *tl_fault_name(enum tl_fault_class class)
{
    return names[class];
}

struct drawing {
    struct tl_fault_plan *plan;
    uint64_t seed;
    uint32_t nodes, objects, classes;
};

static bool has(const struct drawing *d, enum tl_fault_class class)
{
    return (d->classes >> class & 1) != 0;
}

static uint64_t draw(const struct drawing *d, enum tl_fault_class class, uint64_t number, uint64_t what, uint64_t below)
{
    return tl_prng_scale(tl_prng_draw(d->seed, TL_STREAM_SCHEDULE, class, number, what), below);
}

/* A rate drawn for this seed: none in one of three, up to most otherwise. */
static uint32_t rate(const struct drawing *d, enum tl_fault_class class, uint32_t which, uint32_t most_ppm)
{
    if (!has(d, class) || draw(d, class, 1000 + which, 0, 3) == 0)
        return 0;
    return 1 + (uint32_t)draw(d, class, 1000 + which, 1, most_ppm);
}

static void draw_chances(const struct drawing *d)
{
    d->plan->delay_max_ns = TL_NS_PER_MS * (1 + draw(d, TL_FAULT_DELAY, 0, 2, 100));
    d->plan->chances = (struct tl_fault_chances){
        .delay_ppm = rate(d, TL_FAULT_DELAY, 0, 200000),
        .loss_ppm = rate(d, TL_FAULT_LOSS, 0, 3000),
        .refuse_ppm = rate(d, TL_FAULT_REFUSE, 0, 500000),
        .again_ppm = rate(d, TL_FAULT_AGAIN, 0, 200000),
        .lost_down_ppm = rate(d, TL_FAULT_LOST_DOWN, 0, 400000),
        .read_error_ppm = rate(d, TL_FAULT_READS, 0, 50000),
        .read_late_ppm = rate(d, TL_FAULT_READS, 1, 10000),
        .read_garbage_ppm = rate(d, TL_FAULT_READS, 2, 50000),
        .eio_ppm = rate(d, TL_FAULT_EIO, 0, 100000),
        .cancel_ppm = rate(d, TL_FAULT_CANCEL, 0, 200000),
    };
}

static void add_range(const struct drawing *d, struct tl_fault *f, uint32_t first, uint32_t last, uint32_t side)
{
    struct tl_fault_plan *p = d->plan;
    if (p->range_count == TL_PLAN_RANGES_MAX)
        return;
    if (f->range_count == 0)
        f->first_range = p->range_count;
    f->range_count++;
    p->ranges[p->range_count++] = (struct tl_rank_range){.first = first, .last = last, .side = side};
}

/* Side 0, 1 or 2 for each rank; those of 1 and 2 are written down, side after side as scenarios have them. */
static void draw_sides(const struct drawing *d, enum tl_fault_class class, uint64_t number, struct tl_fault *f)
{
    uint64_t sides = class == TL_FAULT_MUTE ? 2 : 2 + draw(d, class, number, 6, 2);
    for (uint32_t side = 1; side < sides; side++)
        for (uint32_t rank = 0; rank < d->nodes; rank++) {
            uint64_t at =
                tl_prng_scale(tl_prng_draw(d->seed, TL_STREAM_SCHEDULE, number + 100 * class, rank, 7), sides);
            struct tl_rank_range *last = &d->plan->ranges[d->plan->range_count - (d->plan->range_count > 0)];
            if (at != side)
                continue;
            if (f->range_count > 0 && last->side == side && last->last + 1 == rank)
                last->last++;
            else
                add_range(d, f, rank, rank, side);
        }
}

static void draw_arguments(const struct drawing *d, enum tl_fault_class class, uint64_t number, struct tl_fault *f)
{
    switch (class) {
    case TL_FAULT_FALSE_DOWN: f->a = draw(d, class, number, 6, 60); break;
    case TL_FAULT_SLOW: f->a = SLOW_FACTOR; break;
    case TL_FAULT_CHANGE:
        f->a = draw(d, class, number, 6, d->objects);
        f->b = draw(d, class, number, 8, SIZE_CHANGE_MAX);
        if (draw(d, class, number, 7, 3) == 0)
            f->act = TL_ACT_FAULT_REMOVE;
        break;
    case TL_FAULT_OPERATOR:
        if (draw(d, class, number, 7, 2) != 0)
            f->act = draw(d, class, number, 9, 2) != 0 ? TL_ACT_FAULT_WARM : TL_ACT_FAULT_GATHER;
        else if (draw(d, class, number, 8, 3) != 0)
            f->a = draw(d, class, number, 6, d->objects);
        break;
    default: break;
    }
}

/* Some occasions of a class within the window; each starts somewhere and lasts from min to max, but no longer. */
static void schedule(const struct drawing *d, enum tl_fault_class class, enum tl_fault_act act, uint64_t min_ns,
                     uint64_t max_ns)
{
    struct tl_fault_plan *p = d->plan;
    uint64_t count = has(d, class) ? draw(d, class, 0, 0, SCHEDULED_MAX + 1) : 0;
    for (uint64_t i = 1; i <= count && p->fault_count < TL_PLAN_FAULTS_MAX; i++) {
        struct tl_fault *f = &p->faults[p->fault_count++];
        uint64_t start_ns = draw(d, class, i, 1, WINDOW_NS),
                 length_ns = min_ns + draw(d, class, i, 2, max_ns - min_ns + 1);
        uint64_t end_ns = start_ns + length_ns < WINDOW_NS ? start_ns + length_ns : WINDOW_NS;
        *f = (struct tl_fault){
            .at_ns = start_ns, .for_ns = end_ns - start_ns, .act = act, .a = TL_FAULT_NOTHING, .b = TL_FAULT_NOTHING};
        if (max_ns == 0)
            f->for_ns = 0;
        uint32_t node = (uint32_t)draw(d, class, i, 3, d->nodes);
        if (draw(d, class, i, 4, 4) == 0) /* the upper ones matter */
            node = (uint32_t)draw(d, class, i, 5, d->nodes < 4 ? d->nodes : 4);
        if (act == TL_ACT_FAULT_PART || act == TL_ACT_FAULT_MUTE)
            draw_sides(d, class, i, f);
        else if (act != TL_ACT_FAULT_SLOW && act != TL_ACT_FAULT_CHANGE)
            add_range(d, f, node, node, 1);
        draw_arguments(d, class, i, f);
        if ((act == TL_ACT_FAULT_PART || act == TL_ACT_FAULT_MUTE) && f->range_count == 0)
            p->fault_count--; /* all on one side */
    }
}

void tl_faults_draw(struct tl_fault_plan *plan, uint64_t seed, uint32_t nodes, uint32_t objects, uint32_t classes,
                    bool swarm)
{
    struct drawing d = {.plan = plan, .seed = seed, .nodes = nodes, .objects = objects, .classes = classes};
    if (swarm)
        d.classes &= (uint32_t)tl_prng_draw(seed, SWARM_STREAM, 0, 0, 0);
    plan->fault_count = plan->range_count = 0;
    plan->window_ns = d.classes != 0 ? WINDOW_NS : 0;
    draw_chances(&d);
    schedule(&d, TL_FAULT_CRASH, TL_ACT_FAULT_KILL, 10 * TL_NS_PER_MS, TL_NS_PER_S);
    schedule(&d, TL_FAULT_STOP, TL_ACT_FAULT_STOP, 10 * TL_NS_PER_MS, 2 * TL_NS_PER_S);
    schedule(&d, TL_FAULT_PARTITION, TL_ACT_FAULT_PART, 10 * TL_NS_PER_MS, 2 * TL_NS_PER_S);
    schedule(&d, TL_FAULT_MUTE, TL_ACT_FAULT_MUTE, 10 * TL_NS_PER_MS, 2 * TL_NS_PER_S);
    schedule(&d, TL_FAULT_FALSE_DOWN, TL_ACT_FAULT_HANGUP, 0, 0);
    schedule(&d, TL_FAULT_SLOW, TL_ACT_FAULT_SLOW, 100 * TL_NS_PER_MS, TL_NS_PER_S);
    schedule(&d, TL_FAULT_CHANGE, TL_ACT_FAULT_CHANGE, 0, 0);
    schedule(&d, TL_FAULT_OPERATOR, TL_ACT_FAULT_FLUSH, 0, 0);
}
/* ---- names ---- */

static int class_by_name(const char *word, size_t len)
{
    for (int i = 0; i < TL_FAULT_COUNT; i++)
        if (strlen(names[i]) == len && memcmp(names[i], word, len) == 0)
            return i;
    return -1;
}

int tl_faults_parse(const char *text, uint32_t *classes, const char **bad)
{
    uint32_t set = 0;
    for (const char *word = text; *word != 0;) {
        size_t len = strcspn(word, ",");
        bool minus = word[0] == '-';
        const char *name = word + minus;
        size_t name_len = len - minus;
        uint32_t bits = 0;
        int class = class_by_name(name, name_len);
        if (class >= 0)
            bits = 1u << class;
        else if (name_len == 3 && memcmp(name, "all", 3) == 0)
            bits = TL_FAULTS_ALL;
        else if (!(name_len == 4 && memcmp(name, "none", 4) == 0)) {
            *bad = word;
            return -EINVAL;
        }
        set = minus ? set & ~bits : set | bits;
        word += len + (word[len] == ',');
    }
    *classes = set;
    return 0;
}

void tl_faults_print(uint32_t classes, char *out, size_t max)
{
    if (classes == TL_FAULTS_ALL || classes == 0) {
        snprintf(out, max, "%s", classes == 0 ? "none" : "all");
        return;
    }
    size_t used = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < TL_FAULT_COUNT; i++) {
        if ((classes >> i & 1) == 0)
            continue;
        int n = snprintf(out + used, max - used, "%s%s", used == 0 ? "" : ",", names[i]);
        if (n < 0 || (size_t)n >= max - used)
            return;
        used += (size_t)n;
    }
}
