// SPDX-License-Identifier: Apache-2.0
/* Which directories of trees have links. Where there are none, a path's text tells where it leads, and a missing name is missing:
 * nothing has to be walked. Remembered by the hash of the directory's path, for trees do not change. Needs no C library; any
 * number of threads may ask. */
#ifndef TL_FRONT_PRELOAD_CLEAN_H
#define TL_FRONT_PRELOAD_CLEAN_H

enum tl_clean {
    TL_CLEAN_NOT,     /* a link is on the way to the directory, or it cannot be looked at */
    TL_CLEAN_WAY,     /* none on the way, some in it */
    TL_CLEAN_ALL,     /* none in it, either */
    TL_CLEAN_MISSING, /* there is no such directory */
};

/* Of the directory that this path in a tree is in. The path is written to, and restored. */
enum tl_clean tl_clean_look(char *real);

#endif
