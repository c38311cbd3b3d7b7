// SPDX-License-Identifier: Apache-2.0
/* What every back end for values does (cache/backend.h): the same tests for all. */
#ifndef TL_TEST_CACHE_CONFORMANCE_H
#define TL_TEST_CACHE_CONFORMANCE_H

#include "cache/backend.h"

struct tl_backend_kind {
    const char *name;
    /* A new, empty one, with a limit of so many bytes; the test closes it. */
    struct tl_backend *(*open)(void *ctx, uint64_t limit_bytes);
    void (*close)(void *ctx, struct tl_backend *b);
    void *ctx;
};

/* Runs all of them. What cmocka says. */
int tl_backend_conformance(const struct tl_backend_kind *kind);

#endif
