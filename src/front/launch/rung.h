// SPDX-License-Identifier: Apache-2.0
/* The rungs of the ladder: the ways in which `tiercel run` puts served paths before a program. The first that this machine
 * allows is the best one.
 *
 * A rung is a row of the table in rung.c. To add one: a file rung_NAME.c with its two functions, declared below. */
#ifndef TL_FRONT_LAUNCH_RUNG_H
#define TL_FRONT_LAUNCH_RUNG_H

#include <stddef.h>

#include "front/launch/launch.h"

#define TL_LAUNCH_ALSO_MAX 32u

/* What is to be started, and over what. */
struct tl_launch {
    struct tl_plan plan;
    char **
        command; /* NULL-terminated. A rung may put words of its own in place of some; it may change the environment, too */
    const char *also[TL_LAUNCH_ALSO_MAX]; /* other names of what is served: links to it, as people wrote them */
    size_t also_count;
    bool named; /* by --how: what the rung needs may be made first, at any cost. Else only if it is there */
};

struct tl_rung {
    const char *name;    /* as --how has it */
    const char *summary; /* for people: "FUSE in a private namespace" */
    /* Whether this machine and user may take it: 0, or -errno with a sentence: cause and remedy. Leaves no trace: what has
     * to be tried is tried in a child. */
    int (*probe)(struct tl_error *err);
    /* Changes this process so that the command, exec'd next, finds the plan served. It may return in a child of the process
     * that called it. 0, or -errno with a sentence, and the process as it was as far as the command can see: the next rung
     * may be tried. -EAGAIN: its condition does not hold. */
    int (*enter)(struct tl_launch *l, struct tl_error *err);
    bool anywhere;         /* paths need not exist on this machine */
    const char *condition; /* for people: of which paths it is taken, "paths that are whole in ..."; NULL: of any */
    const char *limits;    /* for people: what a program that is served so cannot do; NULL: nothing known */
};

extern const struct tl_rung tl_rungs[]; /* best first */
extern const size_t tl_rung_count;
const struct tl_rung *tl_rung_find(const char *name); /* or NULL */

/* ---- choose.c ---- */

/* Enters a rung, if it can serve all of the plan. As its own enter. */
int tl_rung_enter(const struct tl_rung *r, struct tl_launch *l, struct tl_error *err) TL_MUST_CHECK;
/* Enters the first rung that can be. 0, or -errno with the sentence of the first that could not. */
int tl_rung_enter_best(struct tl_launch *l, struct tl_error *err) TL_MUST_CHECK;
/* Probes all rungs and prints a line each for `tiercel doctor`: name, "yes" or "no", summary, condition, limits, and why not,
 * with tabs between. */
void tl_rung_tell(void);

/* ---- the rungs ---- */

/* Runs a probe's trial in a child, whose namespaces, mounts and filters go with it; brings its error back. */
int tl_rung_try(int (*trial)(struct tl_error *err), struct tl_error *err) TL_MUST_CHECK;

/* fuse: the daemon's mount over the paths, in a namespace that all launches share. */
int tl_rung_fuse_probe(struct tl_error *err) TL_MUST_CHECK;
int tl_rung_fuse_enter(struct tl_launch *l, struct tl_error *err) TL_MUST_CHECK;
/* bind: complete trees in shared memory (front/tree/tree.h) bound over the paths, in a namespace of the command's own. */
int tl_rung_bind_probe(struct tl_error *err) TL_MUST_CHECK;
int tl_rung_bind_enter(struct tl_launch *l, struct tl_error *err) TL_MUST_CHECK;
/* fault: the command is started in the trees, and what it opens and executes there is filled first. No namespaces. */
int tl_rung_fault_probe(struct tl_error *err) TL_MUST_CHECK;
int tl_rung_fault_enter(struct tl_launch *l, struct tl_error *err) TL_MUST_CHECK;
/* inject: a supervisor answers calls that name served paths, wherever they come from; preload's library for speed. */
int tl_rung_inject_probe(struct tl_error *err) TL_MUST_CHECK;
int tl_rung_inject_enter(struct tl_launch *l, struct tl_error *err) TL_MUST_CHECK;
/* preload: a library in the command sends it to the trees. Nothing else, so that setuid programs keep their privileges. */
int tl_rung_preload_probe(struct tl_error *err) TL_MUST_CHECK;
int tl_rung_preload_enter(struct tl_launch *l, struct tl_error *err) TL_MUST_CHECK;

#endif
