// SPDX-License-Identifier: Apache-2.0
/* What the tests of trees in shared memory share: files, a daemon that is a fake, and the tree that it fills. */
#ifndef TL_TEST_FRONT_TREE_SCENE_H
#define TL_TEST_FRONT_TREE_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "front/tree/tree.h"
#include "front/tree_daemon.h"

#define TREE_NOBODY   65534u
#define TREE_BIG_SIZE (1u << 20)

struct tree_scene {
    char base[64], tier[96], source[96], trees[96];
    struct tree_daemon daemon;
    struct tl_tree *tree;
};

/* Source: plain file, script, file of 1 MiB, an unwritable one, an unreadable one, an empty one, links, a folder. */
void tree_scene_new(struct tree_scene *s);
void tree_scene_free(struct tree_scene *s);
void tree_scene_spill(const char *dir, const char *name, const void *bytes, size_t len, mode_t mode);
void tree_scene_use(struct tree_scene *s); /* opens the tree */
/* Where a name of the source is in the tree; good until the next call. */
const char *tree_scene_path(const struct tree_scene *s, const char *name);
/* -errno, or how many bytes the file has; all of them must be what the source has. */
long tree_scene_content(const struct tree_scene *s, const char *name);
void tree_scene_same_attributes(const struct tree_scene *s, const char *name, mode_t mode);

/* For a child to end; its status, as of wait(2). */
int tree_scene_wait(pid_t pid);

/* Runs tests as an ordinary user, if root runs them: what absent content must not do is defined by permission bits, which do not bind root.
 * Before main does anything else; false: that cannot be had, exit code 77. */
bool tree_scene_be_ordinary(void);

#endif
