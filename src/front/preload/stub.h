// SPDX-License-Identifier: Apache-2.0
/* The stub: a library that the loader puts before a program's own, and that answers the C library's calls which name
 * paths. It needs no C library of its own version: what it takes from the program's is found by name, and may be missing.
 *
 * stub.c      its state, and what the calls have in common: tl_stub_call
 * stub_find.c where paths lead
 * stub_mode.c permissions of files without content
 * stub_exec.c a program's start: scripts, interpreters, the environment
 * hooks_*.c   the C library's functions, each a few lines around tl_stub_call
 *
 * Where a supervisor only fills what lies at its own place (rung "fault"; TL_SPARE_VARIABLE instead of TL_PATHS_VARIABLE), the
 * stub does no more than spare opens of what is whole the way to it.
 *
 * State is set once and never changes; nothing here takes a lock or allocates on the way to a system call, so all of it
 * works in signal handlers, after fork and in a child of vfork. */
#ifndef TL_FRONT_PRELOAD_STUB_H
#define TL_FRONT_PRELOAD_STUB_H

#include "front/preload/paths.h"
#include "front/preload/raw.h"

#define TL_HOOK __attribute__((visibility("default")))

/* What is served, or NULL: nothing (yet). */
const struct tl_paths *tl_stub_paths(void);

/* Whether opens are better made by tl_stub_call than by the C library's own functions. */
bool tl_stub_opens(void);

/* A system call of the program, arguments as the kernel has them, with served paths put in their places. What the kernel
 * would return. */
long tl_stub_call(long nr, long a, long b, long c, long d, long e, long f);

/* The common case apart, for calls that are made often: whether a call that changes nothing may be made with this path as it is, by
 * tl_raw_often in the hook itself. An error is taken to tl_stub_call_after then; success of a stat call to tl_stub_mend_*. */
bool tl_stub_is_plain(const char *path, bool opens);
/* As tl_stub_call, for a call to which the kernel has said this error. */
long tl_stub_call_after(long tried, long nr, long a, long b, long c, long d);

/* The same, as a C library's function returns it: -1 and errno. */
long tl_stub_libc(long rc);

/* What a stat call tells of a file of a tree that has no content yet: the permissions that it will have. */
struct stat;
struct statx;
void tl_stub_mend_stat(const struct tl_paths *p, struct stat *st);
void tl_stub_mend_statx(const struct tl_paths *p, struct statx *st);
/* Whether the file that stat tells of can be read once it has content. */
bool tl_stub_readable(const struct tl_paths *p, const struct stat *st);

/* Where a path leads: out is another path to use instead, content there (1); use the path as it is (0); -errno. follow: the
 * last name, if it is a link. */
int tl_stub_locate(int dir, const char *path, bool follow, char out[PATH_MAX]);

/* Likewise, but a relative path is looked at, too; and what is there has been filled. */
int tl_stub_locate_file(int dir, const char *path, bool follow, char out[PATH_MAX]);

/* Ends a start: exec, or posix_spawn. Returns -errno, or what it likes. */
typedef long (*tl_stub_go)(void *ctx, int dir, const char *path, char *const *argv, char *const *envp, int flags);

/* Starts a program as the kernel would, if it knew the served paths: finds its file, its script's interpreter, its loader,
 * puts this library into its environment, and calls go with what to start instead. flags: of execveat. */
long tl_stub_start(int dir, const char *path, char *const *argv, char *const *envp, int flags, tl_stub_go go,
                   void *ctx);
long tl_stub_exec(int dir, const char *path, char *const *argv, char *const *envp, int flags);

/* The next definition of a function, after this library's: the C library's own; NULL if there is none. */
void *tl_stub_next(const char *name);

#endif
