// SPDX-License-Identifier: Apache-2.0
/* The last entry of an archive: what all others are, line by line, so that an archive that was cut short or altered anywhere is
 * known for it.
 *
 *   tiercel-archive 1
 *   source /lus/app               where it was, and where it will be shown
 *   holds all                     or: profile, only what a profile names
 *   d 0755 1700000000000000000 0 - lus/app
 *   f 0644 1700000000000000000 12 0123...cdef lus/app/file    BLAKE2b-256 of the contents
 *   l 0777 1700000000000000000 0 - lus/app/link file          and where it leads
 *   end 3
 *
 * Type, permissions, modification time in ns, size, digest, path. In paths, bytes up to the blank, DEL and % are written %XX. The
 * archive's name is the BLAKE2b-256 of this text. */
#ifndef TL_ARCHIVE_MANIFEST_H
#define TL_ARCHIVE_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/check.h"

#define TL_MANIFEST_PATH    ".tiercel-manifest"
#define TL_MANIFEST_MAX     (1u << 30) /* bytes */
#define TL_MANIFEST_ID_SIZE 65u        /* as hex digits, with the NUL */
#define TL_MANIFEST_MODE    0777u      /* permissions that are kept */

struct tl_manifest_line {
    char type; /* d, f, l */
    uint32_t mode;
    int64_t mtime_ns;
    uint64_t size_bytes;
    const char *digest; /* hex digits; NULL: none */
    const char *path;   /* without a slash in front */
    const char *target; /* of a link, else NULL */
};

/* Lines that come one by one. Zeroed is empty. */
struct tl_manifest {
    FILE *file; /* into text */
    char *text;
    size_t len;
    uint64_t count;
};

int tl_manifest_begin(struct tl_manifest *m) TL_MUST_CHECK; /* 0, -ENOMEM */
void tl_manifest_head(struct tl_manifest *m, const char *source, bool all);
void tl_manifest_add(struct tl_manifest *m, const struct tl_manifest_line *line);
/* The last line; text and len are then valid until _fini. 0, -ENOMEM. */
int tl_manifest_end(struct tl_manifest *m) TL_MUST_CHECK;
void tl_manifest_fini(struct tl_manifest *m);

/* Reads the head of a manifest. *rest: what follows it; source: PATH_MAX bytes. 0, -EBADMSG. */
int tl_manifest_read_head(const char *text, char *source, bool *all, const char **rest) TL_MUST_CHECK;
/* The path in the first line in which two texts differ, as it is written there, for people. */
void tl_manifest_difference(const char *a, const char *b, char *out, size_t size);
void tl_manifest_id(const char *text, size_t len, char out[TL_MANIFEST_ID_SIZE]);

#endif
