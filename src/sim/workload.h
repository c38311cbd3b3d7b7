// SPDX-License-Identifier: Apache-2.0
/* What the processes on the nodes do: each reads a sequence of files, one request after the other.
 *
 * A workload fills the catalog and says, for each process and step, what is read next and how long the process computes
 * after it. process.c does the rest: it lists directories whose names the node's kernel does not know yet, asks, checks,
 * and asks again after -ESTALE. Everything is a function of (seed, rank, process, step). */
#ifndef TL_SIM_WORKLOAD_H
#define TL_SIM_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/catalog.h"

struct tl_want {
    uint32_t object;
    bool list; /* ask for the directory's listing again, though it is known */
    uint64_t offset;
    uint32_t length;
};

struct tl_workload {
    const char *name;
    uint32_t processes; /* a node */
    /* All processes of a node run through the same sequence, and a page that one of them has read is in the kernel's
     * cache for the others: only the first to come asks. */
    bool in_step;
    bool real_listings;
    uint64_t compute_ns; /* of one process in all; `imports` spreads it over its files */
    uint32_t steps_max;  /* random: steps a process */
    void (*build)(struct tl_workload *w, struct tl_sim_catalog *c);
    /* False: the process has finished. */
    bool (*want)(const struct tl_workload *w, const struct tl_sim_catalog *c, uint32_t rank, uint32_t process,
                 uint32_t step, struct tl_want *out);
    /* How long it computes after that step, before jitter. */
    uint64_t (*gap_ns)(const struct tl_workload *w, uint32_t step);
    struct tl_workload_step {
        uint32_t object, chunk;
    } * steps; /* imports */
    uint32_t step_count, file_count;
    uint32_t first_file, first_directory;
    uint32_t file_bytes, reads_a_file; /* files */
};

/* Fills in everything but the catalog. False: no such workload. */
bool tl_workload_by_name(struct tl_workload *w, const char *name);
void tl_workload_fini(struct tl_workload *w);

void tl_workload_imports(struct tl_workload *w);
void tl_workload_random(struct tl_workload *w);
void tl_workload_stream(struct tl_workload *w);
void tl_workload_files(struct tl_workload *w);

#endif
