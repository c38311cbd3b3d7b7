// SPDX-License-Identifier: Apache-2.0
/* The curve of a cold start: the same programs on more and more nodes, straight at storage and through Tiercel. */
#ifndef TL_SIM_CURVE_H
#define TL_SIM_CURVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/cluster.h"

#define TL_CURVE_POINTS_MAX 32u

struct tl_curve_options {
    struct tl_cluster_config config; /* nodes: of the last point */
    const char *workload;
    uint64_t compute_ns; /* UINT64_MAX: the workload's */
    uint32_t points[TL_CURVE_POINTS_MAX];
    uint32_t point_count;
    bool direct; /* simulate the case without Tiercel, too */
    bool json;
    bool choose; /* roots and arity as the daemon chooses them, for each point */
    bool warm;   /* and a second start after the first */
    uint32_t
        kill_percent; /* of the nodes, not the root, whose daemons die during the start; once more, without, before that */
};

/* Everything but the points: the network, storage and programs that the help text describes. */
void tl_curve_options_default(struct tl_curve_options *o);
/* 32, 128, 512, ... up to half of nodes, and nodes. */
void tl_curve_points_default(struct tl_curve_options *o, uint32_t nodes);
/* Runs and prints. 0; 1: a checker objected, and the sentence was printed. */
int tl_curve_run(const struct tl_curve_options *o);

#endif
