// SPDX-License-Identifier: Apache-2.0
/* The same programs on the same storage model, without Tiercel: every node goes straight to storage.
 *
 * To the advantage of that case, a node's kernel caches as well as below Tiercel: of the processes of a node, only the
 * first to come to a name or a page asks for it, and the network costs nothing.
 *
 * A second start, warm: names, attributes and pages are in the kernels, and yet each process has to open each file at the
 * metadata server. The paper saw this take longer than the first start; the rate of opens that it comes to is a fit. */
#ifndef TL_SIM_DIRECT_H
#define TL_SIM_DIRECT_H

#include "sim/cluster.h"

struct tl_direct_result {
    uint64_t duration_ns; /* from the start to the end of the last process */
    uint64_t md_ops, opens, lists, reads, bytes;
    uint64_t events;
};

/* workload.in_step must hold. With warm: a second start. */
void tl_direct_run(const struct tl_cluster_config *config, struct tl_workload *workload, bool warm,
                   struct tl_direct_result *out);

#endif
