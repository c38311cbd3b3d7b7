// SPDX-License-Identifier: Apache-2.0
/* A mount for tests: a temporary source tree, a fake host, and a real FUSE mount in a mount namespace of its own.
 *
 * Children do the file operations, since the parent's only thread serves the mount: fixture_run() forks, serves until
 * the child has ended, and gives its exit status. In a child, EXPECT() reports and exits with 1. */
#ifndef TL_TEST_FRONT_FIXTURE_H
#define TL_TEST_FRONT_FIXTURE_H

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "front/fake_host.h"
#include "front/fuse/internal.h"

struct fixture {
    struct fake_host host;
    struct tl_fuse *fuse;
    char base[64];            /* temporary directory */
    char source[96], mnt[96]; /* below base */
};

struct fixture_options {
    bool by_fd;     /* the fixture mounts, as the launcher does, and hands the descriptor over */
    bool map_owner; /* with by_fd: the mount is uid's */
    uid_t uid;
};

typedef void (*fixture_fn)(struct fixture *fx, const void *arg);

/* Once a program, before others: a private mount namespace. False: this machine does not allow the test. */
bool fixture_possible(void);
void fixture_new(struct fixture *fx);                                           /* source tree only */
void fixture_mount(struct fixture *fx, const struct fixture_options *options);  /* NULL: as tiercel mount */
void fixture_free(struct fixture *fx);                                          /* unmounts and removes */
pid_t fixture_fork(struct fixture *fx, fixture_fn fn, const void *arg);         /* starts a child */
int fixture_serve(struct fixture *fx, pid_t child);                             /* until it ends: its status */
int fixture_run(struct fixture *fx, fixture_fn fn, const void *arg);            /* both */
void fixture_serve_until(struct fixture *fx, bool (*done)(struct fixture *fx)); /* some condition, bounded */
void fixture_make_dir(const struct fixture *fx, const char *name, mode_t mode); /* makes source/name */
void fixture_make_link(const struct fixture *fx, const char *name, const char *target);
void fixture_spill(const struct fixture *fx, const char *name, const char *text); /* writes source/name */
void fixture_path(char *buf, size_t size, const char *dir, const char *name);     /* dir/name */
bool fixture_idle(struct fixture *fx); /* all invalidations are written: for fixture_serve_until */
/* True if fn, run again, makes the kernel ask for nothing. It is tried a few times: whoever else is on this machine may
 * have the kernel drop its caches at any moment. */
bool fixture_is_silent(struct fixture *fx, fixture_fn fn);
uint64_t fixture_messages(const struct fixture *fx); /* all the kernel has sent but forgets */

#define EXPECT(cond)                                                                                                   \
    ((cond) ? (void)0                                                                                                  \
            : (fprintf(stderr, "%s:%d: child: not so: %s (errno %d: %s)\n", __FILE__, __LINE__, #cond, errno,          \
                       strerror(errno)),                                                                               \
               _exit(1)))

#endif
