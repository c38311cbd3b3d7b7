// SPDX-License-Identifier: Apache-2.0
/* A tree: a directory of the source as real files in shared memory, filled through the tier.
 *
 * It lies at PREFIX/SOURCE, PREFIX being a folder of the user's own (mode 0700) in shared memory. All names, links and
 * directories are there from the start (its skeleton), so that stat, readdir and missing names cost what tmpfs costs. A
 * regular file is either whole, with its own permissions and times, or has its size but no read bits: content that is
 * absent cannot be read, and is never a file of zeros. Filling one keeps its inode. When all files are whole the tree is
 * complete, and may be bound over SOURCE.
 *
 * All files belong to the user: the owner's read and execute bits say what he may do at the source; set-ID bits and
 * devices are left out, and hard links are files of their own. Relative links that lead out of the source are made absolute; all
 * others stay as they are, absolute ones too: bound over SOURCE they are right, at the prefix they lead to the source itself.
 *
 * One tree serves all launches of a user, tier and node; who fills what is settled with locks on the files, so any number of
 * processes may use the same tree, and any thread of them the same struct. */
#ifndef TL_FRONT_TREE_TREE_H
#define TL_FRONT_TREE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"

struct tl_tree;

/* Whether there can be trees here: shared memory that is the user's, and from which programs may be executed. 0, or -errno
 * with a sentence. Leaves no trace. */
int tl_tree_probe(struct tl_error *err) TL_MUST_CHECK;

/* Opens the tree of source (absolute, without symbolic links) and makes its skeleton if need be. socket: the daemon's control
 * socket; it may be NULL for a complete tree. 0; -errno with a sentence, and nothing half made stays behind. */
int tl_tree_open(struct tl_tree **out, const char *socket, const char *source, struct tl_error *err) TL_MUST_CHECK;
/* Opens the tree of source if it is complete and the source's directory has not changed since, and makes nothing. 0; -ENOENT
 * or another -errno with a sentence. */
int tl_tree_find(struct tl_tree **out, const char *socket, const char *source, struct tl_error *err) TL_MUST_CHECK;
void tl_tree_close(struct tl_tree *t); /* NULL is fine; the tree itself stays */

const char *tl_tree_prefix(const struct tl_tree *t); /* absolute */
const char *tl_tree_path(const struct tl_tree *t);   /* what stands for the source: prefix followed by source */

/* Makes sure that the regular file at this path below tl_tree_path() (no leading slash) is whole; anything else is whole
 * already. 0; -ENOENT (no such name); -ENOSPC (shared memory is full), -EIO, ...: it stays unreadable. */
int tl_tree_fault(struct tl_tree *t, const char *path) TL_MUST_CHECK;
/* All of it. Progress is told after each file if told is not NULL. 0 or -errno with a sentence. */
int tl_tree_fill(struct tl_tree *t, void (*told)(void *ctx, uint64_t files, uint64_t bytes), void *ctx,
                 struct tl_error *err) TL_MUST_CHECK;
bool tl_tree_is_complete(const struct tl_tree *t);
/* False as soon as the tree has been replaced or removed since it was last filled from: what was whole may not be any more. */
bool tl_tree_is_current(const struct tl_tree *t);

/* For `tiercel import`, which brings a tree of its own: an empty folder in shared memory (its path into stage) in whose root/SOURCE
 * that is made; then it becomes source's tree, complete, in the place of one that may be there, and is never compared with the
 * source, which need not be there. The tier is the one of $TIERCEL_NAME, or the job's. 0, -errno with a sentence: then unstage. */
int tl_tree_stage(char *stage, size_t size, struct tl_error *err) TL_MUST_CHECK;
int tl_tree_adopt(const char *stage, const char *source, struct tl_error *err) TL_MUST_CHECK;
void tl_tree_unstage(const char *stage);

/* What trees take of a node's memory. */
struct tl_tree_use {
    uint32_t trees, complete;
    uint64_t bytes;
};

/* The folder in which the trees of the tier with this control socket lie, if there are any. 0, -errno with a sentence. */
int tl_tree_folder(const char *socket, char *out, size_t size, struct tl_error *err) TL_MUST_CHECK;
/* The same of a descriptor, if it is of the file that stands for path in a tree. 0, -ENOENT. */
int tl_tree_folder_of(int fd, const char *path, char *out, size_t size) TL_MUST_CHECK;
/* Adds up what the trees in such a folder take, as far as their content is there. */
void tl_tree_count(const char *folder, struct tl_tree_use *use);

/* Takes away the tree of source; running programs keep what they have open. 0, -ENOENT, -errno with a sentence. */
int tl_tree_remove(const char *source, struct tl_error *err) TL_MUST_CHECK;

#endif
