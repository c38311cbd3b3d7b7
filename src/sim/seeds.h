// SPDX-License-Identifier: Apache-2.0
/* Many small clusters, each broken in another way: one seed, one history. */
#ifndef TL_SIM_SEEDS_H
#define TL_SIM_SEEDS_H

#include "sim/scenario.h"

struct tl_seeds_options {
    uint64_t from, count;
    uint32_t nodes;
    uint32_t classes; /* of faults */
    bool swarm;       /* each class is off in half of the seeds */
    enum tl_plant plant;
    const char *workload;
    bool shrink;
    const char *shrink_dir; /* scenarios of failing seeds go there; NULL: to standard output */
    bool quiet;             /* print nothing */
    bool traces;            /* print only seed and trace */
    bool json;              /* print only the summary, as an object */
    bool no_fork;           /* all in this process: for debuggers */
};

void tl_seeds_options_default(struct tl_seeds_options *o);
/* The scenario of one seed: sizes, timeouts and the tree's shape are drawn, too. */
void tl_seed_scenario(const struct tl_seeds_options *o, uint64_t seed, struct tl_scenario *s);
/* Runs one seed in this process; a failed check() aborts. */
void tl_seed_run(const struct tl_seeds_options *o, uint64_t seed, struct tl_scenario_result *out);
/* Runs all, each in a child process, prints a line a failing seed and a summary. The number of failing seeds. */
uint64_t tl_seeds_run(const struct tl_seeds_options *o);

#endif
