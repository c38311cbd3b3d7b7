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

/* Puts the filter over this process and all it becomes and starts. Descriptor of its notifications, or -errno with a sentence:
 * -EBUSY (somebody listens to calls already: no process can have two). */
int tl_filter_install(struct tl_error *err) TL_MUST_CHECK;

/* ---- names.c: the paths that calls name ---- */

/* The path at address in the memory of process pid, made absolute with dir_fd (or AT_FDCWD), not otherwise resolved; that of
 * the descriptor itself if the path is empty and `empty` allows that. 0 or -errno. */
int tl_name_read(uint32_t pid, int dir_fd, uint64_t address, bool empty, char out[2 * PATH_MAX]) TL_MUST_CHECK;
/* Bytes of a process' memory. 0 or -errno. */
int tl_memory_read(uint32_t pid, uint64_t address, void *out, size_t len) TL_MUST_CHECK;
/* Whether path is dir or below it, after // . and .. were taken out of it without looking at links. dir is plain. */
bool tl_name_below(const char *path, const char *dir);

/* ---- interpreters.c ---- */

/* The interpreter that the kernel would load for a program (#! or PT_INTERP), as the file has it. 1: there is one; 0: none. */
int tl_interpreter_of(int fd, char out[PATH_MAX], bool *is_script);

/* ---- supervise.c ---- */

struct tl_supervised {
    int listener;
    struct tl_tree *trees[TL_LAUNCH_MOUNTS_MAX];
    size_t count;
};

/* Makes what is needed to answer: threads. To be called before the filter is. 0 or -errno with a sentence. */
int tl_supervise_start(struct tl_supervised *s, struct tl_error *err) TL_MUST_CHECK;
/* Answers for ever; until_the_end: until no process is left under the filter, and ends this one then. */
_Noreturn void tl_supervise(struct tl_supervised *s, bool until_the_end);

/* ---- fault_answer.c: the calls that take long, in threads ---- */

/* What is to be said to a call. */
struct tl_verdict {
    bool go_on; /* in the kernel, as it is */
    int error;  /* -errno, or 0: the call gives 0 */
    int fd;     /* or: the call gives a copy of this descriptor, which is closed then; -1 */
    bool cloexec;
};

/* Does what the call needs. May take as long as the tier and the storage take. */
struct tl_verdict tl_fault_answer(struct tl_supervised *s, const struct seccomp_notif *n);

/* ---- rewrite.c: what leads to the paths before the start ---- */

/* Puts the trees' paths in the place of the sources' in the command's words, the environment and the working directory. 0 or
 * -ENOMEM with a sentence. */
int tl_rewrite(char ***command, struct tl_tree *const *trees, const struct tl_plan *plan,
               struct tl_error *err) TL_MUST_CHECK;

#endif
