// SPDX-License-Identifier: Apache-2.0
/* What the files of this folder share. On disk (in shared memory, that is):
 *
 *   /dev/shm/tiercel-UID/TIER/    or $TIERCEL_TREE_DIR/TIER/; folders of mode 0700
 *     lock                        held (flock) by who makes, replaces or removes a tree
 *     HASH/                       one tree, HASH being that of its source's path
 *       lock                      byte I is held (OFD lock) by who fills the file with inode number I
 *       index                     what the files were at the source when the skeleton was made (index.c)
 *       root/SOURCE               the tree
 *     new-PID/                    a skeleton in the making, or a tree about to go; it is nobody's once the lock is free
 *
 * All is found by path, not by descriptors that are kept: this code also lives in programs that close what they did not
 * open, and fork when they like. */
#ifndef TL_FRONT_TREE_INTERNAL_H
#define TL_FRONT_TREE_INTERNAL_H

#include <limits.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/stat.h>

#include "front/tree/tree.h"

/* ---- place.c: where trees lie ---- */

struct tl_place {
    char tier_dir[PATH_MAX / 4 + 128]; /* .../TIER */
    char dir[PATH_MAX / 4 + 160];      /* .../TIER/HASH */
};

/* The place of source's tree; its folders are made if that is wanted, else they may be missing (-ENOENT). socket: of the tier's daemon, or NULL: the tier is the one of
 * $TIERCEL_NAME or the job's. 0, or -errno with a sentence: -EPERM (somebody else's folder), -ELOOP, ... */
int tl_place_find(struct tl_place *out, const char *socket, const char *source, bool make,
                  struct tl_error *err) TL_MUST_CHECK;
/* Waits for the tier's lock. Descriptor to be closed, or -errno with a sentence. */
int tl_place_lock(const struct tl_place *p, struct tl_error *err) TL_MUST_CHECK;
/* Removes path and all below it; what is not there is fine. */
void tl_place_erase(const char *path);
/* Removes what ended makers left. Under the lock. */
void tl_place_tidy(const struct tl_place *p);

/* ---- index.c: the files of a tree as they were at the source ---- */

struct tl_index_file {
    uint64_t ino; /* in the tree */
    uint64_t version, size_bytes;
    int64_t atime_ns, mtime_ns;
    uint32_t mode; /* when it is whole; without S_IRUSR: cannot be read at the source either, and is never filled */
    uint32_t pad;
};

#define TL_INDEX_IMPORTED 0u /* for names: the tree came from an archive */

struct tl_index_head {
    char magic[8];
    uint64_t count;
    uint64_t names;              /* digest of all names and what they were at the source */
    _Atomic uint64_t seen;       /* the daemon's `changes` when that was last compared; 0: never */
    _Atomic int64_t left;        /* files that are not whole; 0 or less: none */
    _Atomic uint64_t filled;     /* bytes of memory of those that are */
    _Atomic uint32_t attributes; /* the extended attributes of all are there, too */
    _Atomic uint32_t gone;       /* the tree has been replaced or removed */
    _Atomic uint32_t stale;      /* a file has changed at the source: make it anew when it is next opened */
    char source[PATH_MAX];
    struct tl_index_file files[]; /* by inode number */
};

/* Sorts and writes an index; path must not exist. 0 or -errno. */
int tl_index_write(const char *path, const char *source, uint64_t names, struct tl_index_file *files,
                   size_t count) TL_MUST_CHECK;
/* Maps dir's index, shared with all who use the tree. -ENOENT, -EBADMSG (damaged, or of another release), -errno. */
int tl_index_map(const char *dir, struct tl_index_head **out) TL_MUST_CHECK;
/* What the content of this file takes when it is there. */
uint64_t tl_index_bytes(const struct tl_index_file *f);
/* And that of all files. */
uint64_t tl_index_bytes_all(const struct tl_index_head *h);
/* What the tree takes now, names included. */
uint64_t tl_index_taken(const struct tl_index_head *h);
void tl_index_unmap(struct tl_index_head *h); /* NULL is fine */
/* NULL: no file of the skeleton. */
const struct tl_index_file *tl_index_find(const struct tl_index_head *h, uint64_t ino);

/* ---- users.c ---- */

/* A process that uses what lies below dir, as far as can be seen: it is there with its working directory, its files or memory, or in a
 * mount over another path. 0: none. */
int tl_place_user(const char *dir);

/* ---- blob.c ---- */

/* Asks for what verb (list, xattrs) gives for path. *blob: malloc'd, the caller's. 0, or -errno with a sentence. */
int tl_blob_ask(int control, const char *verb, const char *path, void **blob, size_t *len,
                struct tl_error *err) TL_MUST_CHECK;
/* The user's extended attributes of source, for the file or directory at path with that mode. 0 or -errno. */
int tl_blob_copy_xattrs(int control, const char *source, const char *path, mode_t mode) TL_MUST_CHECK;

/* ---- skeleton.c ---- */

/* Makes all names of source below dir/root, and dir/index. dir: an empty folder. 0, or -errno with a sentence. */
int tl_skeleton_make(int control, const char *source, const char *dir, struct tl_error *err) TL_MUST_CHECK;
/* The digest that a skeleton made now would have, from the listings that the tier holds. */
int tl_skeleton_names(int control, const char *source, uint64_t *out, struct tl_error *err) TL_MUST_CHECK;

/* ---- tree.c ---- */

/* One tree as it was mapped; replaced when somebody has made the tree anew. */
struct tl_tree_view {
    struct tl_index_head *index;
    struct tl_tree_view *older; /* may be in use until the tree is closed */
};

struct tl_tree {
    char socket[PATH_MAX]; /* "": none */
    char source[PATH_MAX];
    char dir[PATH_MAX / 4 + 160];
    char prefix[PATH_MAX / 4 + 168];
    char path[2 * PATH_MAX];
    _Atomic(struct tl_tree_view *) view;
};

/* The current view; NULL: the tree is gone. */
struct tl_tree_view *tl_tree_look(struct tl_tree *t);

/* Puts the folder beside, which is given up, into the place of p's tree, in one step: no name is missing in between. Under the
 * lock. 0 or -errno with a sentence. */
int tl_tree_exchange(const struct tl_place *p, const char *beside, struct tl_error *err) TL_MUST_CHECK;

/* ---- fill.c ---- */

/* Whether the daemon lets trees grow by so much. 0; -ENOSPC with a sentence. A daemon that cannot say so says yes. */
int tl_fill_room(int control, uint64_t bytes, struct tl_error *err) TL_MUST_CHECK;

/* Makes the regular file at path (absolute, in the tree) whole, unless it is. control: a connection to the daemon, or -1.
 * 0 or -errno. */
int tl_fill_file(struct tl_tree *t, int control, const char *path, const struct stat *st) TL_MUST_CHECK;

#endif
