// SPDX-License-Identifier: Apache-2.0
/* A store whose payloads come late, as those of a cluster do: several reads may have begun, and none has ended before somebody waits for it. Until then the
 * buffers hold what nobody has written. */
#ifndef TEST_POOL_LATE_H
#define TEST_POOL_LATE_H

#include "pool/internal.h"

struct late_counts {
    unsigned scans, looks; /* at the state */
    unsigned begun;
    unsigned lost; /* so many of the next waits, if for anything, find a payload gone */
};
extern struct late_counts late;

/* From here on a pool's store is one; one at a time. */
void late_begin(struct tl_pool *pool);
void late_end(struct tl_pool *pool);

#endif
