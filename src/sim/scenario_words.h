// SPDX-License-Identifier: Apache-2.0
/* The words of scenarios: what scenario_read.c and scenario_write.c share. docs/scenarios.md is the grammar. */
#ifndef TL_SIM_SCENARIO_WORDS_H
#define TL_SIM_SCENARIO_WORDS_H

#include <stddef.h>
#include <string.h>

#include "base/time.h"
#include "sim/scenario.h"

#define TL_SCENARIO_HOUR_NS (3600 * TL_NS_PER_S)

enum unit { UNIT_NUMBER, UNIT_BYTES, UNIT_TIME, UNIT_SWITCH };

/* A line `NAME VALUE` for each. */
struct setting {
    const char *name;
    size_t offset, size;
    enum unit unit;
    uint64_t min, max;
};
#define SETTING(name, field, unit, min, max)                                                                           \
    {                                                                                                                  \
        name, offsetof(struct tl_scenario, field), sizeof(((struct tl_scenario *)NULL)->field), unit, min, max         \
    }

static const struct setting settings[] = {
    SETTING("nodes", config.nodes, UNIT_NUMBER, 1, TL_SCENARIO_NODES_MAX),
    SETTING("seed", config.seed, UNIT_NUMBER, 0, UINT64_MAX),
    SETTING("arity", config.node.arity, UNIT_NUMBER, 1, TL_FOREST_ARITY_MAX),
    SETTING("roots", config.node.roots, UNIT_NUMBER, 1, TL_FOREST_ROOTS_MAX),
    SETTING("groups", config.groups, UNIT_NUMBER, 0, TL_SCENARIO_NODES_MAX),
    SETTING("cache", config.node.cache_limit_bytes, UNIT_BYTES, 12u << 20, 1ull << 40),
    SETTING("objects", config.node.object_max, UNIT_NUMBER, 16, 1u << 24),
    SETTING("flights", config.node.flight_max, UNIT_NUMBER, 16, 1u << 16),
    SETTING("waiters", config.node.waiter_max, UNIT_NUMBER, 16, 1u << 16),
    SETTING("read-ahead", config.node.readahead_max_bytes, UNIT_BYTES, 0, UINT64_MAX),
    SETTING("read-window", config.node.window_chunks, UNIT_NUMBER, 1, TL_FETCH_CHUNKS_MAX),
    SETTING("request-timeout", config.node.request_timeout_ns, UNIT_TIME, TL_NS_PER_MS, TL_SCENARIO_HOUR_NS),
    SETTING("heartbeat", config.node.heartbeat_ns, UNIT_TIME, TL_NS_PER_MS, TL_SCENARIO_HOUR_NS),
    SETTING("grace", config.node.connect_grace_ns, UNIT_TIME, 0, TL_SCENARIO_HOUR_NS),
    SETTING("fetches", config.node.fetch_max, UNIT_NUMBER, 1, 1024),
    SETTING("jitter", config.fabric.jitter_ns, UNIT_TIME, 0, TL_NS_PER_S),
    SETTING("connect-timeout", config.fabric.connect_timeout_ns, UNIT_TIME, TL_NS_PER_MS, TL_SCENARIO_HOUR_NS),
    SETTING("user-timeout", config.fabric.user_timeout_ns, UNIT_TIME, TL_NS_PER_MS, TL_SCENARIO_HOUR_NS),
    SETTING("one-sided", config.fabric.one_sided, UNIT_SWITCH, 0, 1),
    SETTING("verify", config.verify_ppm, UNIT_NUMBER, 0, 1000000),
    SETTING("skew", config.start_skew_ns, UNIT_TIME, 0, TL_SCENARIO_HOUR_NS),
    SETTING("wait-ready", config.wait_ready, UNIT_SWITCH, 0, 1),
    SETTING("steps", steps, UNIT_NUMBER, 1, 100000),
    SETTING("processes", processes, UNIT_NUMBER, 1, 64),
    SETTING("files", files, UNIT_NUMBER, 1, 10000),
    SETTING("file-size", file_bytes, UNIT_BYTES, 0, 64u << 20),
    SETTING("gap", gap_ns, UNIT_TIME, 0, TL_SCENARIO_HOUR_NS),
    SETTING("limit", limit_ns, UNIT_TIME, TL_NS_PER_MS, TL_SCENARIO_HOUR_NS),
    SETTING("chances-until", plan.window_ns, UNIT_TIME, 0, TL_SCENARIO_HOUR_NS),
    SETTING("delay-most", plan.delay_max_ns, UNIT_TIME, 1, TL_SCENARIO_HOUR_NS),
};
#define SETTING_COUNT (sizeof settings / sizeof settings[0])

static const struct {
    const char *name;
    size_t offset;
} chances[] = {
#define CHANCE_LINE(field, name) {name, offsetof(struct tl_fault_chances, field##_ppm)},
    TL_FAULT_CHANCES(CHANCE_LINE)
#undef CHANCE_LINE
};
#define CHANCE_COUNT (sizeof chances / sizeof chances[0])

static const struct {
    const char *name, *takes, *a, *b;
} acts[] = {
#define ACT_LINE(id, name, takes, a, b) {name, takes, a, b},
    TL_FAULT_ACTS(ACT_LINE)
#undef ACT_LINE
};

static const char *const metrics[] = {
#define METRIC_LINE(field, name) name,
    TL_SCENARIO_METRICS(METRIC_LINE)
#undef METRIC_LINE
};
#define METRIC_COUNT (sizeof metrics / sizeof metrics[0])

static const char *const plants[] = {
#define PLANT_NAME(id, name, what) name,
    TL_PLANTS(PLANT_NAME)
#undef PLANT_NAME
};

static const char *const hows[] = {"<=", ">=", "="};
static const struct {
    const char *name;
    uint64_t factor;
} times[] = {{"s", TL_NS_PER_S}, {"ms", TL_NS_PER_MS}, {"us", TL_NS_PER_US}, {"ns", 1}},
  sizes[] = {{"G", 1u << 30}, {"M", 1u << 20}, {"K", 1u << 10}, {"", 1}};

#endif
