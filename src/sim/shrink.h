// SPDX-License-Identifier: Apache-2.0
/* Makes a failing scenario smaller: fewer faults, nodes, requests and settings, as long as it fails in the same way. */
#ifndef TL_SIM_SHRINK_H
#define TL_SIM_SHRINK_H

#include "sim/scenario.h"

#define TL_SHRINK_RUNS_MAX 400u
#define TL_SHRINK_NS_MAX   30000000000ull /* of real time */

/* s fails with `failure`. Runs at most TL_SHRINK_RUNS_MAX times, for about TL_SHRINK_NS_MAX; s and failure are then the smallest that
 * was found. How many runs it took. */
uint32_t tl_shrink(struct tl_scenario *s, struct tl_scenario_result *failure);
/* Do two sentences tell of the same failure? Numbers and paths may differ. */
bool tl_shrink_same(const char *a, const char *b);

#endif
