// SPDX-License-Identifier: Apache-2.0
/* The system calls that name a path, and which of their arguments do. Needs no C library. */
#ifndef TL_FRONT_PRELOAD_PATH_CALLS_H
#define TL_FRONT_PRELOAD_PATH_CALLS_H

#include <stdbool.h>
#include <stddef.h>

enum tl_path_call_kind {
    TL_PATH_OPEN,   /* gives a descriptor */
    TL_PATH_LOOK,   /* tells something about a file: the answer is the same at its real place */
    TL_PATH_ACCESS, /* may this be read, written, executed? */
    TL_PATH_LINK,   /* a link's text */
    TL_PATH_ENTER,  /* chdir */
    TL_PATH_EXEC,
    TL_PATH_CHANGE, /* changes what is there: below a served path nothing can be changed */
    TL_PATH_MAKE,   /* makes a name */
};

enum tl_path_call_follow {
    TL_FOLLOW,       /* a link at the end is followed */
    TL_FOLLOW_NOT,   /* it is not */
    TL_FOLLOW_FLAGS, /* it is, without AT_SYMLINK_NOFOLLOW */
    TL_FOLLOW_ASKED, /* it is with AT_SYMLINK_FOLLOW only */
    TL_FOLLOW_OPEN,  /* it is, without O_NOFOLLOW, or O_CREAT with O_EXCL */
};

struct tl_path_call {
    short nr;
    signed char kind, follow;
    signed char dir, path;   /* arguments; dir -1: the working directory */
    signed char flags;       /* argument, or -1; of TL_PATH_ACCESS and plain calls only what follow needs */
    signed char dir2, path2; /* of a call that names two: the second, which it makes; path2 -1: none */
};

/* The call with this number, or NULL if it names no path. */
const struct tl_path_call *tl_path_call_find(long nr);
/* All of them, by number, up to *count; where there is none nr is 0. */
const struct tl_path_call *tl_path_call_all(size_t *count);

/* Whether a link at the end is followed. flags: the call's own, of openat2 those in its structure. */
bool tl_path_call_follows(const struct tl_path_call *c, long flags);

/* ---- a read-only file system ---- */

/* Whether an open with these flags would change something, if there is something. */
bool tl_path_writes(long flags);
/* What a read-only file system says to an open of this file: -EROFS, -EEXIST, ..., or 0: it would change nothing. */
long tl_refuse_open(const char *real, long flags, bool follow);
/* And to what would make this name (makes), or change it. */
long tl_refuse_change(const char *real, bool makes);

#endif
