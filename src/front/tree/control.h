// SPDX-License-Identifier: Apache-2.0
/* A small client for the daemon's control socket (base/control.h). Blocking, bounded in time; no state, any thread.
 *
 * For programs that include src/base only, and for libraries that come to live in other people's programs, hence not
 * libtiercel. */
#ifndef TL_FRONT_TREE_CONTROL_H
#define TL_FRONT_TREE_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"

#define TL_CONTROL_TIMEOUT_MS 30000 /* for a daemon to answer */

/* Waits until fd is ready for `events` (as of poll). 0, -ETIMEDOUT. */
int tl_control_wait(int fd, short events, uint64_t deadline_ns) TL_MUST_CHECK;
/* Connects to a Unix stream socket, however long its path. Descriptor, or -errno. */
int tl_unix_connect(const char *path);
/* As tl_unix_connect, with a sentence. */
int tl_control_connect(const char *path, struct tl_error *err) TL_MUST_CHECK;
/* One request (strings, NULL-terminated), with a descriptor (or -1), and its final answer. 0, or -errno with the daemon's
 * own sentence where it gave one. */
int tl_control_call(int fd, const char *const *args, int pass_fd, struct tl_error *err) TL_MUST_CHECK;
/* The same with a time limit; the answer's JSON goes to answer, cut to fit. */
int tl_control_ask(int fd, const char *const *args, int pass_fd, unsigned timeout_ms, char *answer, size_t size,
                   struct tl_error *err) TL_MUST_CHECK;
/* The number member `name` of a flat answer; 0 if there is none. */
uint64_t tl_control_number(const char *answer, const char *name);

#endif
