// SPDX-License-Identifier: Apache-2.0
/* Profiles: what a program's start reads, in the order of first use, as a text that is kept between jobs.
 *
 *   tiercel-profile 1
 *   program /usr/bin/python3 /lus/app/train.py
 *   merged 12
 *   L /lus/app                     a directory is listed
 *   E /lus/closed/name             one name where the directory may not be listed
 *   X /lus/app/lib.so              a file's extended attributes
 *   F 0 4 /lus/app/lib.so          chunks 0 to 3 of a file; count 0: to its end
 *
 * A newline in a path is written \n, a backslash \\. There is one way to write each profile. No versions: a file that has changed
 * is read as it is now, one that is gone is skipped. No I/O; one owner thread. */
#ifndef TL_BASE_PROFILE_H
#define TL_BASE_PROFILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"

#define TL_PROFILE_LINES_MAX   65536u
#define TL_PROFILE_SIZE_MAX    (8u << 20) /* bytes of the text */
#define TL_PROFILE_PROGRAM_MAX 1024u
#define TL_PROFILE_PATH_MAX    4095u

enum tl_profile_kind {
    TL_PROFILE_LIST = 'L',
    TL_PROFILE_ENTRY = 'E',
    TL_PROFILE_XATTRS = 'X',
    TL_PROFILE_FILE = 'F',
};

struct tl_profile_line {
    uint64_t path_at; /* in paths */
    uint16_t path_len;
    uint8_t kind;
    uint32_t first, count; /* FILE; else 0 */
    uint32_t same;         /* the line before in its bucket, plus one */
};

/* Zeroed is empty. */
struct tl_profile {
    char program[TL_PROFILE_PROGRAM_MAX + 1];
    uint32_t merged; /* starts that it comes from */
    struct tl_profile_line *lines;
    uint32_t line_count, line_room;
    char *paths;
    uint64_t path_bytes, path_room;
    uint32_t *buckets; /* line + 1, by kind and path */
    uint32_t bucket_count;
};

void tl_profile_fini(struct tl_profile *p);

/* Reads a profile into an empty *out. 0; -EPROTO: not a profile, or one of another version; -EBADMSG: damaged, at the line
 * that err names; -EFBIG: beyond the limits; -ENOMEM. After an error *out is empty. */
int tl_profile_parse(struct tl_profile *out, const char *text, size_t len, struct tl_error *err) TL_MUST_CHECK;

/* Adds a line at the end, unless a line says as much already. 0, -EINVAL (not a path, or not a range), -EFBIG, -ENOMEM. */
int tl_profile_add(struct tl_profile *p, enum tl_profile_kind kind, const char *path, size_t path_len, uint32_t first,
                   uint32_t count) TL_MUST_CHECK;

/* Puts what only `older` knows behind what p knows; what does not fit is left out. 0, -ENOMEM. */
int tl_profile_merge(struct tl_profile *p, const struct tl_profile *older) TL_MUST_CHECK;

/* The text, malloc'd, the caller's. 0, -ENOMEM. */
int tl_profile_write(const struct tl_profile *p, char **text, size_t *len) TL_MUST_CHECK;

#endif
