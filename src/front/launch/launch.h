// SPDX-License-Identifier: Apache-2.0
/* tiercel-launch: runs a command in front of which paths are served by the tier, without privileges.
 *
 * A mount in a private namespace is seen by the processes in it only. So a `holder` process makes the namespaces (a user
 * namespace only where mounting needs one), mounts FUSE over every path, hands the descriptors to the daemon, and
 * stays; each launch takes the holder's namespaces over a Unix socket, enters them, and becomes the command. One holder
 * serves all launches of a user, tier, node and set of paths: one mount, one page cache, however many ranks a node has.
 *
 * All is single-threaded (entering a user namespace demands it). The daemon is asked with front/tree/control.h. */
#ifndef TL_FRONT_LAUNCH_LAUNCH_H
#define TL_FRONT_LAUNCH_LAUNCH_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"
#include "front/tree/control.h"

#define TL_LAUNCH_MOUNTS_MAX 32u
#define TL_LAUNCH_TIMEOUT_MS 30000 /* for a daemon or a holder to answer */

/* ---- plan.c: what to mount where ---- */

struct tl_launch_mount {
    char point[PATH_MAX]; /* absolute, without symbolic links */
    bool plain;           /* shows the whole of / below point; else the directory at point itself */
    bool absent;          /* there is nothing at point on this machine: only some ways can serve it */
};

struct tl_plan {
    char socket[PATH_MAX]; /* the daemon's */
    struct tl_launch_mount mounts[TL_LAUNCH_MOUNTS_MAX];
    size_t count;
};

/* Adds a directory. Symbolic links are resolved. One that is not there is absent. One that a planned one covers, or that is on a Tiercel mount already, is
 * left out; one that covers planned ones takes their place. 0, or -errno with a sentence. */
int tl_plan_add(struct tl_plan *plan, const char *path, bool plain, struct tl_error *err) TL_MUST_CHECK;
/* Names the holder for this plan, seen from this process' mount namespace. */
uint64_t tl_plan_key(const struct tl_plan *plan);

/* ---- space.c: namespaces and mounts ---- */

/* Puts the process into a mount namespace of its own, and, if that is not allowed otherwise, into a user namespace in which
 * it is allowed; *in_user_ns says so. Identities stay as they are. */
int tl_space_make(bool *in_user_ns, struct tl_error *err) TL_MUST_CHECK;
/* Mounts FUSE at point, read-only. *fd: the device, for the daemon. */
int tl_space_mount(const char *point, int *fd, struct tl_error *err) TL_MUST_CHECK;

struct tl_spaces {
    int mount_fd, user_fd; /* descriptors of namespaces; user_fd -1: the process' own */
};

/* Enters the namespaces and goes back to the working directory, whose path may be served now. */
int tl_space_enter(const struct tl_spaces *spaces, struct tl_error *err) TL_MUST_CHECK;

/* ---- holder.c ---- */

/* The namespaces for a plan: of the holder that is there, else of a new one. The caller closes the descriptors. */
int tl_holder_get(const struct tl_plan *plan, struct tl_spaces *out, struct tl_error *err) TL_MUST_CHECK;

/* The life of a holder process, from the fork on; tells on ready_fd how the start went (struct tl_error, code 0: well), and
 * ends with the daemon or by SIGTERM. dir_fd: the folder of the daemon's socket. */
_Noreturn void tl_holder_run(const struct tl_plan *plan, int dir_fd, const char *socket_name, int ready_fd);

/* ---- wire between holder and launcher (fds.c) ---- */

/* One byte with one or two descriptors: the mount namespace, then the user namespace. */
#define TL_HOLDER_HELLO 'h'

/* Sends, or receives, one byte and up to two descriptors (-1: none). 0 or -errno. */
int tl_fds_send(int socket, int first, int second) TL_MUST_CHECK;
int tl_fds_receive(int socket, int *first, int *second) TL_MUST_CHECK;

#endif
