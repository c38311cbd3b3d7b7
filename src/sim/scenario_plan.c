// SPDX-License-Identifier: Apache-2.0
/* What the lab has to do for a scenario, as JSON: events in order of time, ranks one by one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/time.h"
#include "sim/memory.h"
#include "sim/scenario.h"

struct step {
    uint64_t at_ns;
    const struct tl_fault *fault;
    const char *act;
    bool on;
};

static int by_time(const void *a, const void *b)
{
    const struct step *x = a, *y = b;
    if (x->at_ns != y->at_ns)
        return x->at_ns < y->at_ns ? -1 : 1;
    return x->on - y->on; /* what ends, first */
}

static const char *lab_act(const struct tl_fault *f)
{
    switch (f->act) {
    case TL_ACT_FAULT_KILL: return f->for_ns == 0 ? "kill" : "restart";
    case TL_ACT_FAULT_STOP: return "stop";
    case TL_ACT_FAULT_PART: return "part";
    case TL_ACT_FAULT_MUTE: return "mute";
    default: return NULL;
    }
}

/* Ranks that are struck; of a cut, the side of every rank. */
static void print_arguments(const struct tl_scenario *s, const struct tl_fault *f)
{
    bool cut = f->act == TL_ACT_FAULT_PART || f->act == TL_ACT_FAULT_MUTE;
    const char *before = "";
    for (uint32_t rank = 0; rank < s->config.nodes; rank++) {
        uint32_t side = 0;
        for (uint32_t i = 0; i < f->range_count; i++) {
            const struct tl_rank_range *r = &s->plan.ranges[f->first_range + i];
            if (rank >= r->first && rank <= r->last)
                side = r->side;
        }
        if (!cut && side == 0)
            continue;
        printf("%s%u", before, cut ? side : rank);
        before = ", ";
    }
}

static void print_expects(const struct tl_scenario *s)
{
    bool first = true;
    for (uint32_t i = 0; i < s->expect_count; i++) {
        const struct tl_scenario_expect *e = &s->expects[i];
        if (e->how == TL_EXPECT_AT_LEAST)
            continue;
        printf("%s{\"name\": \"%s\", \"value\": %llu}", first ? "" : ", ", tl_scenario_metric_name(e->metric),
               (unsigned long long)e->value);
        first = false;
    }
}

int tl_scenario_print_plan(const struct tl_scenario *s, struct tl_error *err)
{
    struct step *steps = tl_sim_alloc(2 * s->plan.fault_count + 1, sizeof *steps);
    uint32_t count = 0;
    int rc = s->lab
                 ? 0
                 : tl_error_set(err, -EINVAL, "it is for the simulator only: a line `lab` says that daemons can do it");
    for (uint32_t i = 0; i < s->plan.fault_count && rc == 0; i++) {
        const struct tl_fault *f = &s->plan.faults[i];
        struct step step = {.at_ns = f->at_ns, .fault = f, .act = lab_act(f), .on = true};
        if (step.act == NULL)
            rc = tl_error_set(err, -EINVAL, "the lab can kill, stop, part and mute only: take the line `lab` away");
        steps[count++] = step;
        step.at_ns += f->for_ns;
        step.on = false;
        if (f->act != TL_ACT_FAULT_KILL)
            steps[count++] = step;
    }
    if (rc == 0) {
        qsort(steps, count, sizeof *steps, by_time);
        printf("{\"nodes\": %u, \"arity\": %u, \"files\": %u, \"file_bytes\": %u, \"gap_ms\": %llu, \"cache_bytes\": "
               "%llu, "
               "\"events\": [",
               s->config.nodes, s->config.node.arity, s->files, s->file_bytes,
               (unsigned long long)(s->gap_ns / TL_NS_PER_MS), (unsigned long long)s->config.node.cache_limit_bytes);
        for (uint32_t i = 0; i < count; i++) {
            printf("%s\n {\"ms\": %llu, \"act\": \"%s\", \"switch\": \"%s\", \"arguments\": [", i == 0 ? "" : ",",
                   (unsigned long long)(steps[i].at_ns / TL_NS_PER_MS), steps[i].act, steps[i].on ? "on" : "off");
            print_arguments(s, steps[i].fault);
            printf("]}");
        }
        printf("],\n \"expect\": [");
        print_expects(s);
        printf("]}\n");
    }
    free(steps);
    return rc;
}
