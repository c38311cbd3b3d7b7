// SPDX-License-Identifier: Apache-2.0
/* The mount: low-level libfuse3, driven by the daemon's loop; read-only. One owner thread.
 *
 * The kernel asks a name and a page once: entries, attributes and missing names are valid until invalidated;
 * OPEN and OPENDIR are answered once with ENOSYS (no_open), so that opens cost no message; READDIRPLUS hands
 * a directory over whole. Sources of the settings: libfuse's fuse_lowlevel.h, Linux' fs/fuse, and
 * measurements in docs/benchmarks.md. */
#ifndef TL_FRONT_FUSE_FUSE_H
#define TL_FRONT_FUSE_FUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"
#include "front/front.h"

struct tl_fuse_config {
    const char *mountpoint;  /* where; with fd >= 0 only its name, for messages */
    int fd;                  /* an opened and already mounted /dev/fuse (passed by the launcher), or -1: mount here;
                      taken over and closed, also when opening fails */
    const char *source_root; /* absolute path shown at the mount point: "/" for a plain mount */
    uint32_t front;          /* our number at the host */
    bool map_owner;          /* in a user namespace with one id: owners are unmapped, so permission bits are presented
                       as the user's effective ones (tl_attr.access); else the kernel checks the source's bits
                       as they are */
    bool links_inside; /* the source is shown at another place than its own: links that would lead out of the mount
                       are answered such that they stay inside (link.h) */
    int pid;           /* kept for who takes over: the process that holds the mount's namespace; 0: none */
};

struct tl_fuse;

int tl_fuse_open(struct tl_fuse **out, const struct tl_fuse_config *config, const struct tl_front_host *host,
                 struct tl_error *err) TL_MUST_CHECK;

/* What another daemon left of a mount: the descriptors, both taken over in every case. */
struct tl_fuse_legacy {
    int fd, keep_fd;
    uint32_t front;
    bool crashed; /* it ended by a fault of its own, not from outside */
};
/* Goes on serving: programs notice a delay only. What that daemon had in work comes again (Linux 6.9). Fails with
 * -ENOTSUP before that, with -EPROTO after a version that kept other things; the mount is then
 * still there, and for the caller to take away. */
int tl_fuse_take_over(struct tl_fuse **out, const struct tl_fuse_legacy *legacy, const struct tl_front_host *host,
                      struct tl_error *err) TL_MUST_CHECK;
/* What is to be handed over for that, with the mount's fd; both stay ours. */
int tl_fuse_keep_fd(const struct tl_fuse *f);
int tl_fuse_device_fd(const struct tl_fuse *f);
void tl_fuse_place(const struct tl_fuse *f, const char **path, const char **source, int *pid);
/* Takes away a mount of ours, as root or by fusermount3, whether anybody serves it or not. 0, -errno. */
int tl_fuse_unmount(const char *path);

/* Unmounts (where we mounted) and frees; open kernel requests end with an error. NULL is fine. */
void tl_fuse_close(struct tl_fuse *f);
int tl_fuse_fd(struct tl_fuse *f); /* poll for reading; non-blocking */
/* Handles kernel requests that wait, at most `max`. Count, or negative: the mount has ended. */
int tl_fuse_ready(struct tl_fuse *f, int max);
void tl_fuse_answer(struct tl_fuse *f, const struct tl_answer *answer);
/* Entries at and below path (absolute source path; empty: all) may have changed: the kernel forgets them. */
void tl_fuse_invalidate(struct tl_fuse *f, const char *path, uint16_t path_len);

#define TL_LATENCY_BUCKETS 24u /* of answers in less than 2^i microseconds; the last one: all others */

struct tl_fuse_stats {
    uint64_t lookups, getattrs, readdirs, reads, read_bytes, ioctls, xattrs, others, forgets, errors, interrupts;
    uint64_t given_up;                                /* requests that killed daemons */
    uint64_t inodes;                                  /* gauge */
    uint64_t latency[TL_LATENCY_BUCKETS], latency_ns; /* answers to programs by how long they took, and in all */
};
void tl_fuse_stats(struct tl_fuse *f, struct tl_fuse_stats *out);

#endif
