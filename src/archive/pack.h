// SPDX-License-Identifier: Apache-2.0
/* A directory, read through a tier, as one archive: pax tar, compressed with zstd, its manifest (manifest.h) last. */
#ifndef TL_ARCHIVE_PACK_H
#define TL_ARCHIVE_PACK_H

#include "archive/choice.h"
#include "archive/manifest.h"

struct tl_pack_stats {
    uint64_t entries, files, bytes, unreadable; /* unreadable: names that are left out */
    char id[TL_MANIFEST_ID_SIZE];
};

/* socket: of the tier's daemon. The archive takes the place of a file of its name when it is whole; after an error nothing of it
 * stays. 0, -errno with a sentence: -ESTALE: something changed meanwhile. */
int tl_pack(const char *socket, const char *source, const struct tl_choice *choice, const char *archive,
            struct tl_pack_stats *stats, struct tl_error *err) TL_MUST_CHECK;

#endif
