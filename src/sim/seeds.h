// SPDX-License-Identifier: Apache-2.0
/* Many small clusters, each broken in another way: one seed, one history. */
#ifndef TL_SIM_SEEDS_H
#define TL_SIM_SEEDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/cluster.h"

struct tl_seeds_options {
    uint64_t from, count;
    uint32_t nodes;
    uint32_t classes; /* of faults */
    enum tl_plant plant;
    const char *workload;
    bool shrink;
    bool quiet;   /* print nothing */
    bool no_fork; /* all in this process: for debuggers */
};

struct tl_seed_result {
    bool good;
    uint64_t trace, events, end_ns;
    char what[TL_VIOLATION_MAX];
};

void tl_seeds_options_default(struct tl_seeds_options *o);
/* The cluster of one seed: sizes, timeouts and the tree's shape are drawn, too. */
void tl_seed_config(const struct tl_seeds_options *o, uint64_t seed, struct tl_cluster_config *config);
/* Runs one seed in this process; a failed check() aborts. */
void tl_seed_run(const struct tl_seeds_options *o, uint64_t seed, struct tl_seed_result *out);
/* Runs all, each in a child process, prints a line a failing seed and a summary. The number of failing seeds. */
uint64_t tl_seeds_run(const struct tl_seeds_options *o);

#endif
