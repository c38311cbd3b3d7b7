// SPDX-License-Identifier: Apache-2.0
/* What bench/checkpoint.c compares Tiercel with (checkpoint_ways.c). */
#ifndef TL_BENCH_CHECKPOINT_H
#define TL_BENCH_CHECKPOINT_H

#include <stddef.h>
#include <stdint.h>

#include "tiercel/pool.h"

struct bench_rank {
    const char *dir;
    unsigned rank;
    uint8_t *bytes; /* page-aligned */
    size_t len;
};

struct bench_way {
    const char *name;
    void (*begin)(struct bench_rank *r); /* by rank 0, before the others join */
    void (*join)(struct bench_rank *r);  /* by each, rank 0 too */
    void (*write)(struct bench_rank *r); /* until it is durable */
    void (*commit)(struct bench_rank *r);
    void (*end)(struct bench_rank *r);
};
const struct bench_way *bench_way_find(const char *name); /* NULL: none */

void bench_die(const char *what, int code);
void bench_with_parent(void); /* this process ends when its parent does */

#endif
