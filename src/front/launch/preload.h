// SPDX-License-Identifier: Apache-2.0
/* Putting the stub into a command's environment: for the rungs "preload" and "inject", and for "fault", which can do without. */
#ifndef TL_FRONT_LAUNCH_PRELOAD_H
#define TL_FRONT_LAUNCH_PRELOAD_H

#include "front/launch/filler.h"
#include "front/launch/rung.h"
#include "front/preload/paths.h"

/* The folder of the stub and the auditor. 0, or -errno with a sentence. */
int tl_preload_find(char out[PATH_MAX], struct tl_error *err) TL_MUST_CHECK;
/* Sets this process' environment for what it execs next. notified: a supervisor sees what the stub does not. 0, or -errno
 * with a sentence. */
int tl_preload_set(const struct tl_served *s, bool notified, struct tl_error *err) TL_MUST_CHECK;
/* Has the stub spare opens of what is whole the way to a supervisor that fills. Where it cannot be, they take that way. */
void tl_preload_spare(void);
/* The same words, for the supervisor itself. */
int tl_preload_paths(const struct tl_served *s, bool notified, struct tl_paths *out,
                     struct tl_error *err) TL_MUST_CHECK;
/* Has the command started by this program once more, with the stub in it: it may lie below a served path. */
int tl_preload_wrap(struct tl_launch *l, struct tl_error *err) TL_MUST_CHECK;
/* Whether a launch that we are in serves all of the plan already. */
bool tl_preload_has(const struct tl_plan *plan);

#endif
