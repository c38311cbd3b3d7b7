// SPDX-License-Identifier: Apache-2.0
/* What the files of rung "fault" share.
 *
 * The command runs in the trees, at their prefix. A seccomp filter hands each of its calls that may need content, and each that
 * would change a name, to a supervisor: a process of its own that outlives all it supervises. That fills the file and lets
 * the call go on in the kernel; it takes part in nothing else, so stat, read, mmap cost what they always cost. */
#ifndef TL_FRONT_LAUNCH_FAULT_H
#define TL_FRONT_LAUNCH_FAULT_H

#include <limits.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"
#include "front/launch/hear.h"
#include "front/launch/launch.h"
#include "front/tree/tree.h"

/* ---- calls.c: which calls, and the filter ---- */

enum tl_call_kind {
    TL_CALL_NONE,
    TL_CALL_OPEN,   /* flags in a register */
    TL_CALL_OPEN2,  /* flags in memory */
    TL_CALL_ACCESS, /* may I read, may I write */
    TL_CALL_EXEC,
    TL_CALL_MAKE,   /* makes a name */
    TL_CALL_CHANGE, /* takes a name away, or changes what it stands for */
    TL_CALL_MOVE,   /* rename, link: two names */
};

struct tl_call {
    int number;
    enum tl_call_kind kind;
    int8_t dir, path;   /* which arguments; dir -1: the working directory */
    int8_t dir2, path2; /* of MOVE */
    int8_t flags;       /* of OPEN, ACCESS, EXEC (-1: none): flags or mode; of OPEN2 the address of them */
};

/* The call of that number, or NULL. */
const struct tl_call *tl_call_find(int number);

/* Puts the filter over this process and all it becomes and starts. As tl_hear_install. */
int tl_filter_install(struct tl_error *err) TL_MUST_CHECK;

/* ---- names.c: the paths that calls name ---- */

/* The path at address in the memory of process pid, made absolute with dir_fd (or AT_FDCWD), not otherwise resolved; that of
 * the descriptor itself if the path is empty and `empty` allows that. 0 or -errno. */
int tl_name_read(uint32_t pid, int dir_fd, uint64_t address, bool empty, char out[2 * PATH_MAX]) TL_MUST_CHECK;
/* Whether path is dir or below it, after // . and .. were taken out of it without looking at links. dir is plain. */
bool tl_name_below(const char *path, const char *dir);

/* ---- interpreters.c ---- */

/* The interpreter that the kernel would load for a program (#! or PT_INTERP), as the file has it. 1: there is one; 0: none. */
int tl_interpreter_of(int fd, char out[PATH_MAX], bool *is_script);

/* ---- what is said to a call ---- */

struct tl_supervised {
    struct tl_hear hear;
    struct tl_tree *trees[TL_LAUNCH_MOUNTS_MAX];
    size_t count;
};

/* fault_answer.c: does what the call needs; ctx is a struct tl_supervised. May take as long as the tier and the storage take. */
struct tl_reply tl_fault_answer(void *ctx, const struct seccomp_notif *n);
/* fault_quick.c: whether the call may go on as it is, as far as can be told at once. Not by two threads at a time. */
bool tl_fault_is_fine(const struct tl_supervised *s, const struct tl_call *c, const struct seccomp_notif *n);

/* ---- rewrite.c: what leads to the paths before the start ---- */

/* Puts the trees' paths in the place of the sources' in the command's words, the environment and the working directory. 0 or
 * -ENOMEM with a sentence. */
int tl_rewrite(char ***command, struct tl_tree *const *trees, const struct tl_plan *plan,
               struct tl_error *err) TL_MUST_CHECK;

#endif
