// SPDX-License-Identifier: Apache-2.0
/* What every store must do (store/store.h). A store runs it by describing how to make and open its pools. */
#ifndef TL_TEST_STORE_SUITE_H
#define TL_TEST_STORE_SUITE_H

#include "store/store.h"

struct suite_store {
    const char *name;
    /* A new pool, and its name for open; then any number of processes open it, once each. */
    void (*make)(char *where, size_t size);
    struct tl_store *(*open)(const char *where);
    void (*destroy)(const char *where);
};

/* All of it; the number of tests that failed. */
int suite_run(const struct suite_store *s);
int suite_locks_run(const struct suite_store *s); /* a part of it */

#endif
