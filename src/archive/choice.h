// SPDX-License-Identifier: Apache-2.0
/* What of a directory goes into an archive: all of it, or what a profile (base/profile.h) names. One thread. */
#ifndef TL_ARCHIVE_CHOICE_H
#define TL_ARCHIVE_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"

struct tl_choice {
    char **files, **dirs, **listed; /* sorted, each once; listed: those of dirs in which names were looked up */
    size_t file_count, dir_count, listed_count;
    bool all; /* everything */
};

/* Files of at most so many bytes are taken along where names were looked up: programs ask whether a file is there, and how old it
 * is (Python: of each module's source), and that is no reading, which is all that a profile has. */
#define TL_CHOICE_ALONG_MAX (256u << 10)

/* Reads the profile in file. source: only what is at or below it counts; if it is "", it becomes the deepest directory that holds
 * all that the profile names (PATH_MAX bytes). 0, -errno with a sentence. */
int tl_choice_read(struct tl_choice *out, const char *file, char *source, struct tl_error *err) TL_MUST_CHECK;
void tl_choice_fini(struct tl_choice *c);
bool tl_choice_has_file(const struct tl_choice *c, const char *dir, const char *path, uint64_t size_bytes);
bool tl_choice_has_dir(const struct tl_choice *c, const char *path);

#endif
