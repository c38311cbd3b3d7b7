// SPDX-License-Identifier: Apache-2.0
/* An archive of pack.h back into files. What it holds is compared with its manifest before any of it is where somebody
 * would look for it. */
#ifndef TL_ARCHIVE_UNPACK_H
#define TL_ARCHIVE_UNPACK_H

#include <limits.h>
#include <stdbool.h>

#include "archive/manifest.h"
#include "base/error.h"

struct tl_unpack_stats {
    char source[PATH_MAX]; /* absolute */
    bool all;              /* else only what a profile names */
    uint64_t entries, files, bytes;
    char id[TL_MANIFEST_ID_SIZE];
};

/* Unpacks below root, an empty directory of ours: root/SOURCE. id: NULL, or what the archive's has to be. 0, or -errno with a
 * sentence: -EBADMSG (cut short, altered, or no such archive), -ENOSPC, ...; then what is below root is to be thrown away. */
int tl_unpack(const char *archive, const char *root, const char *id, struct tl_unpack_stats *stats,
              struct tl_error *err) TL_MUST_CHECK;

#endif
