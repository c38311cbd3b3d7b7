// SPDX-License-Identifier: Apache-2.0
/* Files that are written beside their place, and put there when they are whole: what is there is never half of something. What is there and is no regular
 * file, a device or a pipe, is not replaced, but written. A link is not replaced either, but what it leads to. */
#ifndef TL_BASE_BESIDE_H
#define TL_BASE_BESIDE_H

#include <limits.h>
#include <stdbool.h>

#include "base/check.h"

struct tl_beside {
    char path[PATH_MAX]; /* where to write */
    char place[PATH_MAX];
    bool in_place; /* path is no new file */
};

/* Makes nothing yet. 0, -ENAMETOOLONG. */
int tl_beside_begin(struct tl_beside *b, const char *to) TL_MUST_CHECK;
/* rc: of writing; if that is 0, it is put in its place, else there is nothing left of it. Returns rc, or -errno. */
int tl_beside_end(const struct tl_beside *b, int rc) TL_MUST_CHECK;

#endif
