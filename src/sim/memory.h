// SPDX-License-Identifier: Apache-2.0
/* Memory for the simulator: a machine without memory ends it with one sentence. Any thread. */
#ifndef TL_SIM_MEMORY_H
#define TL_SIM_MEMORY_H

#include <stddef.h>

/* As calloc and reallocarray, but never NULL. */
void *tl_sim_alloc(size_t count, size_t size) __attribute__((malloc));
void *tl_sim_realloc(void *old, size_t count, size_t size);

#endif
