// SPDX-License-Identifier: Apache-2.0
/* libtiercel: profiles, which say what a program's start reads, so that a tier can be warmed by them.
 *
 * A profile is a small text file; `tiercel call warm FILE` (or the verb `warm` through tiercel_call) tells all nodes of a
 * tier to ask for what it names. Conventions as in tiercel.h. Any thread. */
#ifndef TIERCEL_PROFILE_H
#define TIERCEL_PROFILE_H

#include "tiercel/tiercel.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TIERCEL_PROGRAM_MAX 1024 /* bytes of what names a program */

struct tiercel_profile_info {
    char program[TIERCEL_PROGRAM_MAX + 1];
    unsigned merged; /* starts that it comes from; 0: made of paths */
    unsigned lines;  /* what it names: directories, names, ranges of files */
};

/* What the profile in this file says of itself. 0, -EPROTO (not a profile, or one of another version), -EBADMSG (damaged),
 * -EFBIG, or what open and read gave. */
TIERCEL_API int tiercel_profile_info(const char *path, struct tiercel_profile_info *out,
                                     struct tiercel_error *err) TIERCEL_MUST_CHECK;

/* Merges what was recorded (the text behind fd, from its start) into the profile of this program at path, which need not exist, nor its
 * folders. The file is replaced as a whole. 0; -EEXIST: it is another program's; and the errors of tiercel_profile_info, of
 * mkdir, open, write and rename. */
TIERCEL_API int tiercel_profile_merge(const char *path, const char *program, int fd,
                                      struct tiercel_error *err) TIERCEL_MUST_CHECK;

/* Makes a profile of everything at and below these absolute paths, in the order of directory streams. Links are not followed. 0;
 * -EFBIG: more than a profile can name; and what reading the directories or writing the file gave. */
TIERCEL_API int tiercel_profile_of_paths(const char *const paths[], const char *out_path,
                                         struct tiercel_error *err) TIERCEL_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
