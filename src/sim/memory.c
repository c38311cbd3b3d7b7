// SPDX-License-Identifier: Apache-2.0
#include "sim/memory.h"

#include <stdio.h>
#include <stdlib.h>

static void *need(void *p, size_t count, size_t size)
{
    if (p == NULL && count != 0 && size != 0) {
        fprintf(stderr, "tiercel-sim: out of memory (%zu bytes more): simulate fewer nodes\n", count * size);
        exit(3);
    }
    return p;
}

void *tl_sim_alloc(size_t count, size_t size)
{
    return need(calloc(count, size), count, size);
}

void *tl_sim_realloc(void *old, size_t count, size_t size)
{
    return need(reallocarray(old, count, size), count, size);
}
