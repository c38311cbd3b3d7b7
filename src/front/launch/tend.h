// SPDX-License-Identifier: Apache-2.0
/* A command with a process that tends it, for rungs that must be there as long as anything runs that the command started.
 *
 *   tiercel-launch     stays what its caller started: passes signals on, ends as the command ended
 *    `- supervisor     in a session of its own: does the work, in threads; an ancestor of all, as kernels ask of who traces;
 *        |             ends when the reaper has
 *        `- reaper     adopts all descendants of the command (a subreaper), tells how the command ended, ends after the last
 *            |         of them. One thread, and no tracer: a wait for any child would take a tracer's stops away
 *            `- command
 *
 * If the launcher is killed, the command runs on. If the supervisor is killed, the launcher says so. */
#ifndef TL_FRONT_LAUNCH_TEND_H
#define TL_FRONT_LAUNCH_TEND_H

#include <sys/types.h>

#include "base/check.h"
#include "base/error.h"

struct tl_tend {
    /* In the process that becomes the command, before the supervisor's start. channel: a Unix socket to it. */
    int (*child)(void *ctx, int channel, struct tl_error *err);
    /* In the supervisor: descriptors are closed but for channel, signals are blocked. It may start threads. The command begins
     * when this has returned 0. */
    int (*start)(void *ctx, int channel, struct tl_error *err);
    /* In the supervisor, after the last descendant. */
    void (*end)(void *ctx);
    void *ctx;
};

/* 0 in the process that becomes the command; -errno with a sentence in the caller's, which has no children then. The caller's
 * process does not return otherwise: it exits. */
int tl_tend_split(const struct tl_tend *t, struct tl_error *err) TL_MUST_CHECK;

#endif
