// SPDX-License-Identifier: Apache-2.0
/* busyfs: a FUSE pass-through that stands for a busy parallel file system. A tool of the lab, never part of the product.
 *
 * One process serves several mount points, one for each node of the lab. Each has its own kernel caches, as each client
 * of a parallel file system has; all share one metadata server and one data pipe (busyfs_model.h). What it takes from
 * such file systems and what not is written in docs/decisions/0040-busy-file-system.md. */
#ifndef TL_LAB_BUSYFS_H
#define TL_LAB_BUSYFS_H

#include <stdatomic.h>
#include <stdint.h>

#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>

#include "lab/busyfs_model.h"
#include "lab/busyfs_tree.h"

/* Operations, a mount: what the kernel asked for. */
#define BUSY_COUNTERS(X)                                                                                               \
    X(lookups)                                                                                                         \
    X(missing)                                                                                                         \
    X(getattrs) X(readlinks) X(opens) X(readdirs) X(readdir_ends) X(statfs) X(reads) X(bytes) X(others) X(errors)

struct busy_counters {
#define BUSY_FIELD(name) atomic_uint_fast64_t name;
    BUSY_COUNTERS(BUSY_FIELD)
#undef BUSY_FIELD
};

struct busy_fs;

struct busy_mount {
    struct busy_fs *fs;
    uint32_t index;
    const char *dir;
    struct fuse_session *session;
    struct busy_counters counters;
};

struct busy_fs {
    const char *source, *control;
    double timeout_s;      /* how long kernels keep entries and attributes */
    uint32_t readahead_kb; /* 0: leave the kernel's */
    uint32_t threads;      /* a mount */
    struct busy_model model;
    struct busy_tree tree;
    struct busy_mount mounts[BUSY_MOUNTS_MAX];
    uint32_t mount_count;
    atomic_bool ending;
};

extern const struct fuse_lowlevel_ops busy_ops;

/* The kernels forget everything they hold of this node, its name included. */
void busy_invalidate(struct busy_fs *fs, struct busy_node *n);

/* Starts the thread that answers busyctl. 0 or -errno. */
int busy_control_start(struct busy_fs *fs);

#endif
