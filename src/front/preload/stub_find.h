// SPDX-License-Identifier: Apache-2.0
/* Where a path that the program names leads. For the stub: what it looks at is this process'. */
#ifndef TL_FRONT_PRELOAD_STUB_FIND_H
#define TL_FRONT_PRELOAD_STUB_FIND_H

#include "front/preload/paths.h"

/* What a path turned out to be. */
enum tl_found_place {
    TL_FOUND_AS_IS,     /* nothing of ours, as far as the text tells */
    TL_FOUND_IN_TREE,   /* real: in a tree */
    TL_FOUND_ELSEWHERE, /* real: outside, but the kernel would not find it by the program's path */
};

struct tl_found {
    enum tl_found_place place;
    const struct tl_path_pair *pair;
    char real[PATH_MAX];
};

/* The common case is one look at the text. careful: relative paths are looked at, too, though the kernel would find them. 0 or
 * -errno. */
int tl_find(const struct tl_paths *p, int dir, const char *path, bool follow, bool careful, struct tl_found *out);
/* After -ENOENT: looks again, link by link. True if there is another place to try. */
bool tl_find_again(const struct tl_paths *p, int dir, const char *path, bool follow, struct tl_found *f);
/* Name by name from an absolute directory on. 0 or -errno. */
int tl_find_by_walk(const struct tl_paths *p, const char *start, const char *path, bool follow, struct tl_found *out);

/* The directory that a relative path starts from, as the program knows it. False: it has no name. */
bool tl_find_start(const struct tl_paths *p, int dir, char out[PATH_MAX], bool *in_tree);

/* A tree by its own name: as loaders and programs find it in /proc and in what they were started as. */
bool tl_find_is_tree(const struct tl_paths *p, const char *path);
bool tl_find_is_proc(const char *path);

#endif
