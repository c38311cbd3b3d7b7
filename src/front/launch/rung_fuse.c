// SPDX-License-Identifier: Apache-2.0
/* Rung "fuse": a holder keeps the mounts, the command enters its namespaces. */
#include <errno.h>
#include <unistd.h>

#include "front/launch/rung.h"

static int trial(struct tl_error *err)
{
    bool in_user_ns;
    int fd, rc = tl_space_make(&in_user_ns, err);
    return rc != 0 ? rc : tl_space_mount("/tmp", &fd, err); /* the mount goes with this process */
}

int tl_rung_fuse_probe(struct tl_error *err)
{
    return tl_rung_try(trial, err);
}

int tl_rung_fuse_enter(struct tl_launch *l, struct tl_error *err)
{
    struct tl_spaces spaces;
    int rc = tl_holder_get(&l->plan, &spaces, err);
    if (rc != 0)
        return rc;
    rc = tl_space_enter(&spaces, err);
    close(spaces.mount_fd);
    if (spaces.user_fd >= 0)
        close(spaces.user_fd);
    return rc;
}
