// SPDX-License-Identifier: Apache-2.0
/* Makes a directory tree one that the HTTP source can read from any web server: a catalog (base/catalog.h) in each directory. */
#ifndef TL_ARCHIVE_PUBLISH_H
#define TL_ARCHIVE_PUBLISH_H

#include <stdint.h>

#include "base/check.h"
#include "base/error.h"

struct tl_publish_stats {
    uint64_t directories, files, bytes, unreadable; /* unreadable: names whose contents are left out */
};

/* Writes a catalog into root (absolute) and every directory below it, reading every file once. Each takes the place of the one
 * before in one step. 0, or -errno with a sentence; catalogs that were written before the error stay. */
int tl_publish(const char *root, uint32_t chunk_size, struct tl_publish_stats *stats,
               struct tl_error *err) TL_MUST_CHECK;

#endif
