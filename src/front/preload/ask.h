// SPDX-License-Identifier: Apache-2.0
/* Asking the supervisor for content that is not in the tree yet.
 *
 * A request is the file's path in its tree, one packet on a Unix socket of the user's own; the answer is one int: 0 or
 * -errno. A connection for each: misses are rare, and nothing is kept that a program could close or inherit. */
#ifndef TL_FRONT_PRELOAD_ASK_H
#define TL_FRONT_PRELOAD_ASK_H

#include <stdbool.h>
#include <sys/stat.h>

#include "front/preload/paths.h"

#define TL_ASK_TIMEOUT_S 120 /* then the file is read from where it comes from */

/* Whether this file of a tree has no content yet: then its owner may not read it. Some sources have such files, too. */
static inline bool tl_ask_needed(const struct stat *st)
{
    return S_ISREG(st->st_mode) && (st->st_mode & S_IRUSR) == 0;
}

/* Has the file at this real path filled. 0, or -errno (-ECONNREFUSED: nobody is there to fill it). */
int tl_ask_fill(const struct tl_paths *p, const char *real);
/* The same, if it is a file that needs it. */
int tl_ask_fill_if_needed(const struct tl_paths *p, const char *real);

#endif
