// SPDX-License-Identifier: Apache-2.0
/* What the checkpoint examples compute: how heat spreads in a square plate with hot and cold edges. Each rank has some of its rows,
 * and before each step gets the rows next to them from its neighbours. The result does not depend on the number of ranks. */
#ifndef EXAMPLES_HEAT_H
#define EXAMPLES_HEAT_H

#include <mpi.h>
#include <stdint.h>

struct heat {
    MPI_Comm comm;
    int size;        /* points along an edge of the plate */
    int first, rows; /* this rank's rows */
    double *now;     /* rows + 2 of them: its own, between those of its neighbours */
    double *next;
};

/* The plate before the first step. Collective, as all of these are. Ends the job when there is no memory. */
void heat_start(struct heat *h, MPI_Comm comm, int size);
void heat_step(struct heat *h);
void heat_free(struct heat *h);

/* This rank's rows, and where they belong in the whole plate; in bytes. */
double *heat_rows(struct heat *h);
uint64_t heat_bytes(const struct heat *h);
uint64_t heat_offset(const struct heat *h);

/* Rank 0 writes the whole plate to a file. */
void heat_save(struct heat *h, const char *path);

#endif
