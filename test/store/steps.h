// SPDX-License-Identifier: Apache-2.0
/* A program that is linked with steps.c can end, or find the disk full, at any of the calls by which the store, LMDB and liburing change
 * anything on a disk: steps.c defines these calls, counts them, and passes them on. */
#ifndef TL_TEST_STORE_STEPS_H
#define TL_TEST_STORE_STEPS_H

#include <stdbool.h>

enum steps_mode {
    STEPS_COUNT, /* only counts */
    STEPS_KILL,  /* is killed (SIGKILL) instead of the call */
    STEPS_TEAR,  /* the same, half of a write of several pages having been done */
    STEPS_POWER, /* the power goes: it is killed, and what was written and not synced is undone, all of it or by chance. no_ring only */
    STEPS_FULL, /* this call, and all from then on that need space, give ENOSPC until steps_free_disk */
};

/* From now on; at: which call, from 1 on. no_ring: the kernel has no io_uring, and the file system allocates no space beforehand. */
void steps_arm(enum steps_mode mode, unsigned at, bool no_ring);
unsigned steps_count(void); /* since then */
unsigned steps_syncs(void); /* of these, how many waited for the device */
void steps_free_disk(void);
bool steps_disk_was_full(void);

#endif
