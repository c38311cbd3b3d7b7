// SPDX-License-Identifier: Apache-2.0
/* Where the pools of tests lie: directories; or, as TIERCEL_TEST_POOLS says, uris with %d for a number, and TIERCEL_TEST_LEASE_S is how many seconds
 * later a death is known there. */
#ifndef TEST_POOL_PLACE_H
#define TEST_POOL_PLACE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* The directory that scratch folders of tests lie in. */
const char *place_base(void);
/* A new one, of which nothing is there but perhaps an empty directory. */
bool place_new(char *out, size_t size, const char *base, const char *name);
/* Takes a pool away, as soon as those who died with it open are known to be dead. */
int place_destroy(const char *where, struct tl_error *err);
unsigned place_lease_s(void); /* 0: in a directory */

#endif
