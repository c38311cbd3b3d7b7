// SPDX-License-Identifier: Apache-2.0
/* Bugs that are planted below src/pool, to see that a test notices them: a store that does one thing wrong. */
#ifndef TEST_POOL_PLANT_H
#define TEST_POOL_PLANT_H

#include "pool/internal.h"

struct plant {
    const char *what;
    bool writes;                     /* other records than it is told to, or none */
    void (*in)(struct tl_shared *s); /* into a store that was just opened */
};
extern const struct plant plants[];
extern const unsigned plant_count;

#endif
