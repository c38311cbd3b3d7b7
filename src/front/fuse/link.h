// SPDX-License-Identifier: Apache-2.0
/* Where a link leads when the tree it belongs to is shown somewhere else. Pure functions, any thread.
 *
 * A plain mount shows the source's / below DIR. An absolute target, or one that climbs above the source's /, would lead
 * out of the mount, to files that are not served by the tier (decision 0034). */
#ifndef TL_FRONT_FUSE_LINK_H
#define TL_FRONT_FUSE_LINK_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/listing.h"

/* The place of a link in a mount. */
struct tl_link_place {
    const char *root;       /* source path shown at the top of the mount: absolute, no trailing slash but "/" */
    const char *mountpoint; /* source path of the mount itself, shown empty in it; absolute */
    uint32_t depth;         /* directories between the top and the link: 0 for a link in the top */
};

/* What readlink shall say for this target (len bytes, 1..TL_LINK_MAX). What leads to a place that the mount has becomes a
 * relative target that stays inside; all else is as it was. The length of *out, or -ENAMETOOLONG. */
int tl_link_inside(const struct tl_link_place *place, const char *target, size_t len,
                   char out[TL_LINK_MAX]) TL_MUST_CHECK;

#endif
