// SPDX-License-Identifier: Apache-2.0
// See heat.h. Explicit finite differences; ranks exchange rows in heat_step only.
#include "heat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void give_up(const char *why)
{
    fprintf(stderr, "heat: %s\n", why);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static void share_of(const struct heat *h, int rank, int ranks, int *first, int *rows)
{
    *first = h->size * rank / ranks;
    *rows = h->size * (rank + 1) / ranks - *first;
}

static double *row(double *plate, const struct heat *h, int index)
{
    return plate + (size_t)(index + 1) * (size_t)h->size; /* -1: the neighbour's above */
}

double *heat_rows(struct heat *h)
{
    return row(h->now, h, 0);
}

uint64_t heat_bytes(const struct heat *h)
{
    return (uint64_t)h->rows * (uint64_t)h->size * sizeof(double);
}

uint64_t heat_offset(const struct heat *h)
{
    return (uint64_t)h->first * (uint64_t)h->size * sizeof(double);
}

void heat_start(struct heat *h, MPI_Comm comm, int size)
{
    int rank, ranks;
    *h = (struct heat){.comm = comm, .size = size};
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    share_of(h, rank, ranks, &h->first, &h->rows);

    size_t points = (size_t)(h->rows + 2) * (size_t)size;
    h->now = calloc(points, sizeof *h->now);
    h->next = calloc(points, sizeof *h->next);
    if (h->rows == 0 || !h->now || !h->next)
        give_up("more ranks than rows, or no memory");
    for (int y = 0; y < h->rows; y++) {
        row(h->now, h, y)[0] = 100.0; /* the left edge is hot, the right one a little less */
        row(h->now, h, y)[size - 1] = 25.0;
    }
}

/* Rows at the border go to the neighbour there; the plate's own edges have none, and keep their temperature. */
static void exchange(struct heat *h)
{
    int rank, ranks;
    MPI_Comm_rank(h->comm, &rank);
    MPI_Comm_size(h->comm, &ranks);
    int above = rank > 0 ? rank - 1 : MPI_PROC_NULL;
    int below = rank < ranks - 1 ? rank + 1 : MPI_PROC_NULL;
    MPI_Sendrecv(row(h->now, h, 0), h->size, MPI_DOUBLE, above, 0, row(h->now, h, h->rows), h->size, MPI_DOUBLE, below,
                 0, h->comm, MPI_STATUS_IGNORE);
    MPI_Sendrecv(row(h->now, h, h->rows - 1), h->size, MPI_DOUBLE, below, 1, row(h->now, h, -1), h->size, MPI_DOUBLE,
                 above, 1, h->comm, MPI_STATUS_IGNORE);
}

void heat_step(struct heat *h)
{
    exchange(h);
    memcpy(row(h->next, h, 0), row(h->now, h, 0), (size_t)heat_bytes(h)); /* the edges stay as they are */
    for (int y = 0; y < h->rows; y++) {
        if (h->first + y == 0 || h->first + y == h->size - 1)
            continue;
        const double *up = row(h->now, h, y - 1), *at = row(h->now, h, y), *down = row(h->now, h, y + 1);
        double *out = row(h->next, h, y);
        for (int x = 1; x < h->size - 1; x++)
            out[x] = at[x] + 0.2 * (up[x] + down[x] + at[x - 1] + at[x + 1] - 4.0 * at[x]);
    }
    double *old = h->now;
    h->now = h->next;
    h->next = old;
}

static void write_all(const double *plate, size_t points, const char *path)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(plate, sizeof *plate, points, f) != points || fclose(f) != 0)
        give_up("cannot write the result");
}

void heat_save(struct heat *h, const char *path)
{
    int rank, ranks;
    MPI_Comm_rank(h->comm, &rank);
    MPI_Comm_size(h->comm, &ranks);
    size_t points = (size_t)h->size * (size_t)h->size;
    double *plate = rank == 0 ? malloc(points * sizeof *plate) : NULL;
    int *counts = calloc((size_t)ranks, sizeof *counts), *starts = calloc((size_t)ranks, sizeof *starts);
    if ((rank == 0 && !plate) || !counts || !starts)
        give_up("no memory");
    for (int r = 0; r < ranks; r++) {
        int first, rows;
        share_of(h, r, ranks, &first, &rows);
        starts[r] = first * h->size;
        counts[r] = rows * h->size;
    }
    MPI_Gatherv(heat_rows(h), h->rows * h->size, MPI_DOUBLE, plate, counts, starts, MPI_DOUBLE, 0, h->comm);
    if (rank == 0)
        write_all(plate, points, path);
    free(starts);
    free(counts);
    free(plate);
}

void heat_free(struct heat *h)
{
    free(h->now);
    free(h->next);
    *h = (struct heat){0};
}
