// SPDX-License-Identifier: Apache-2.0
/* Which paths are served, and where their content lies.
 *
 * A program names a file by its own path, say /lus/app/lib/x.so; the content is at a tree's path, say
 * /dev/shm/tiercel-1000/t/lus/app/lib/x.so. This module turns one into the other as the kernel would have: through
 * symbolic links, "..", "//", whatever the working directory is. It has no state but a struct tl_paths that never changes
 * once parsed, so any number of threads may use one. Needs no C library. */
#ifndef TL_FRONT_PRELOAD_PATHS_H
#define TL_FRONT_PRELOAD_PATHS_H

#include <linux/limits.h>
#include <stdbool.h>
#include <stddef.h>

/* The variable that holds the words of tl_paths_parse. */
#define TL_PATHS_VARIABLE "TIERCEL_PATHS"
/* Set, to anything, where a supervisor fills what it hears of, and nothing is elsewhere than its path says. */
#define TL_SPARE_VARIABLE "TIERCEL_SPARE"
#define TL_STUB_FILE      "libtiercel-stub.so"
#define TL_AUDIT_FILE     "libtiercel-audit.so"

/* The page that the supervisor's filter knows: one page for the stub's copy of tl_raw_begin. */
#define TL_PAGE_ADDRESS 0x7e1e00000000ul
#define TL_PAGE_SIZE    4096ul

#define TL_PATHS_MAX  64u
#define TL_LINKS_MAX  40     /* as the kernel follows */
#define TL_PATHS_TEXT 16384u /* all words together */

struct tl_path_pair {
    const char *path, *tree; /* absolute, without "//", "..", or a slash at the end */
    const char *index;       /* the tree's: what its files are when they are whole (front/tree/internal.h) */
    size_t path_len, tree_len;
    bool link; /* path is a link to what an earlier pair names */
};

struct tl_paths {
    const char *socket; /* whom to ask for content that is not whole; "" if nobody */
    const char *folder; /* where the stub and the auditor are */
    bool absent;        /* a path is not on this machine, or not the same: nothing but us knows its names */
    bool notified;      /* a supervisor's filter lets calls from the page at TL_PAGE_ADDRESS pass */
    bool audited;       /* the loader's own searches need the auditor */
    size_t count;
    struct tl_path_pair pairs[TL_PATHS_MAX];
    char text[TL_PATHS_TEXT];
};

/* Reads "FLAGS:SOCKET:FOLDER:PATH:TREE:INDEX:PATH:TREE:INDEX...". FLAGS: a (absent), n (notified), l (audited). false if it is not of
 * that form. */
bool tl_paths_parse(struct tl_paths *p, const char *words);

/* The pair that this path (plain: absolute, without "//", "." or "..") is, or lies below; or NULL. */
const struct tl_path_pair *tl_paths_match(const struct tl_paths *p, const char *path);
/* The pair in whose tree this plain path lies, or NULL. */
const struct tl_path_pair *tl_paths_match_tree(const struct tl_paths *p, const char *path);
/* A path in a tree, in place, as the program knows it; others stay. Returns the length. size: room at path. */
size_t tl_paths_reverse(const struct tl_paths *p, char *path, size_t size);
/* tree path of a plain path below the pair. false: too long. */
bool tl_paths_map(const struct tl_path_pair *pair, const char *path, char real[PATH_MAX]);

/* What is unusual about a path's text. */
enum tl_text {
    TL_TEXT_PLAIN = 0,
    TL_TEXT_EMPTY_NAMES = 1, /* "//", "/./", "./" at the start, "/." at the end */
    TL_TEXT_UP = 2,          /* a ".." */
};
unsigned tl_paths_text(const char *path);

/* Whether following this text from the absolute directory start, links left aside, comes by a served path. */
bool tl_paths_touch(const struct tl_paths *p, const char *start, const char *path);

struct tl_walk {
    char path[PATH_MAX];             /* as the program knows it: no links, but for the last name if not followed */
    char real[PATH_MAX];             /* where that is */
    const struct tl_path_pair *pair; /* what it lies below, or NULL */
    bool slash;                      /* the path ended in a slash: it must be a directory */
};

/* How a walk follows. */
#define TL_WALK_FOLLOW   1u  /* the last name too */
#define TL_WALK_EXISTING 2u  /* all names must exist (realpath) */
#define TL_WALK_NO_LINKS 4u  /* -ELOOP at a link (RESOLVE_NO_SYMLINKS) */
#define TL_WALK_BENEATH  8u  /* -EXDEV when it leaves start (RESOLVE_BENEATH) */
#define TL_WALK_IN_ROOT  16u /* start is the root (RESOLVE_IN_ROOT) */

/* Walks from the absolute directory start (as the program knows it) along path. proc_self: what stands for /proc/self, NULL
 * for itself. 0, -ENOENT, -ENOTDIR, -EACCES, -ELOOP, -EXDEV, -ENAMETOOLONG. A last name that is missing is no error. */
int tl_paths_walk(const struct tl_paths *p, const char *start, const char *path, unsigned how, const char *proc_self,
                  struct tl_walk *out);

#endif
