// SPDX-License-Identifier: Apache-2.0
/* Fills files of trees for who asks: the stubs in the command's processes (front/preload/ask.h). In the supervisor. */
#ifndef TL_FRONT_LAUNCH_FILLER_H
#define TL_FRONT_LAUNCH_FILLER_H

#include <limits.h>
#include <stddef.h>

#include "front/launch/rung.h"
#include "front/tree/tree.h"

/* What a launch serves out of trees. */
struct tl_served {
    struct tl_tree *trees[TL_LAUNCH_MOUNTS_MAX];
    const char *points[TL_LAUNCH_MOUNTS_MAX]; /* into the plan */
    char *roots[TL_LAUNCH_MOUNTS_MAX];        /* what stands for them, as the kernel names it: without links */
    size_t count;
    const char *const *also; /* other names of points: links to them */
    size_t also_count;
    char socket[PATH_MAX]; /* whom stubs ask */
};

/* Opens the trees of a launch's plan. seen: every open of the command's will be looked at. Without that a tree has to be whole
 * for who is not bound by permissions: content that is absent would be zeros. 0, or -errno with a sentence. */
int tl_served_open(struct tl_served *s, const struct tl_launch *l, bool seen, struct tl_error *err) TL_MUST_CHECK;
void tl_served_close(struct tl_served *s);

/* Fills the file at this path in one of the trees. 0 or -errno. Any thread. */
int tl_served_fill(const struct tl_served *s, const char *real);

/* Starts threads that answer on s->socket, until the process ends. 0, or -errno with a sentence. */
int tl_filler_start(const struct tl_served *s, struct tl_error *err) TL_MUST_CHECK;
/* Takes the socket's name away. */
void tl_filler_end(const struct tl_served *s);

#endif
