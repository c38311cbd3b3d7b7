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
    bool traces;  /* print only seed and trace */
    bool no_fork; /* all in this process: for debuggers */
};

/* What happened in a seed: shows that the faults do strike. */
#define TL_SEED_TOTALS(X)                                                                                              \
    X(requests)                                                                                                        \
    X(disturbances)                                                                                                    \
    X(connections_lost)                                                                                                \
    X(reparented)                                                                                                      \
    X(retried) X(evictions) X(storage_errors) X(stale) X(damaged) X(cancelled) X(busy) X(commands) X(read_again)

struct tl_seed_result {
    bool good;
    uint64_t trace, events, end_ns;
    struct tl_seed_totals {
#define TL_SEED_TOTAL_FIELD(name) uint64_t name;
        TL_SEED_TOTALS(TL_SEED_TOTAL_FIELD)
#undef TL_SEED_TOTAL_FIELD
    } totals;
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
