// SPDX-License-Identifier: Apache-2.0
/* What the files of rung "inject" share: a supervisor that answers calls which name served paths.
 *
 * A seccomp filter hands every call that names a path to it, but for those of the stub (front/preload), which finds its way by
 * itself. What is not served goes on in the kernel. What is served is answered: with a descriptor put into the program
 * (open), with bytes written into its memory (stat, readlink), with an error (whatever would change something); or the call is
 * made again with another path, written into the program (chdir, exec, and all that is rare).
 *
 * Its rights are those of the user who started the command; a process that has become another user's gets nothing from it. */
#ifndef TL_FRONT_INJECT_INJECT_H
#define TL_FRONT_INJECT_INJECT_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/check.h"
#include "base/error.h"
#include "front/launch/filler.h"
#include "front/launch/hear.h"
#include "front/preload/path_calls.h"
#include "front/preload/paths.h"

struct tl_inject {
    struct tl_hear hear;
    const struct tl_served *served;
    struct tl_paths paths;
};

/* ---- filter.c ---- */

/* Puts the filter over this process and all it starts; sets NO_NEW_PRIVS. Descriptor of its listener, or -errno with a
 * sentence: -EBUSY (there is one already: no process can have two). */
int tl_inject_filter(struct tl_error *err) TL_MUST_CHECK;

/* ---- answer.c ---- */

/* What is said to a call; ctx is a struct tl_inject. May take as long as the tier takes. */
struct tl_reply tl_inject_answer(void *ctx, const struct seccomp_notif *n);

/* ---- place.c: where paths of another process lead ---- */

enum tl_place_kind {
    TL_PLACE_AS_IS,     /* nothing of ours */
    TL_PLACE_SERVED,    /* walk->real is in a tree */
    TL_PLACE_ELSEWHERE, /* walk->path, which the kernel would not find by the program's own path */
};

/* 0 with *kind, or -errno for the call. how: TL_WALK_*. */
int tl_inject_place(const struct tl_inject *in, pid_t pid, int dir, const char *path, unsigned how,
                    enum tl_place_kind *kind, struct tl_walk *walk) TL_MUST_CHECK;
/* The working directory (AT_FDCWD) or that of a descriptor, as the program knows it. False: it has no name. */
bool tl_inject_directory(const struct tl_inject *in, pid_t pid, int dir, char out[PATH_MAX], bool *in_tree);

/* ---- again.c: a call once more, with other arguments ---- */

#define TL_AGAIN_ARGS 3

struct tl_again {
    uint8_t *bytes; /* to be put into the process: begins on a multiple of 8 */
    size_t len;
    struct {
        int arg; /* -1: unused */
        size_t offset;
    } args[TL_AGAIN_ARGS];  /* arguments that become addresses of bytes */
    const size_t *pointers; /* offsets of 64-bit words in bytes that hold offsets, and become addresses */
    size_t pointer_count;
};

/* Has the call of this notification made again. False: the process cannot be traced; it has not been answered. */
bool tl_again(const struct tl_inject *in, const struct seccomp_notif *n, const struct tl_again *again);
/* The same with one argument changed to this path. */
bool tl_again_path(const struct tl_inject *in, const struct seccomp_notif *n, int arg, const char *path);

/* ---- exec.c ---- */

struct tl_reply tl_inject_exec(struct tl_inject *in, const struct seccomp_notif *n, int dir, const char *path,
                               bool follow);

#endif
