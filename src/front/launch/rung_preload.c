// SPDX-License-Identifier: Apache-2.0
/* Rung "preload": the loader puts a library before the command's, which sends it to trees in shared memory. */
#include "front/launch/preload.h"
#include "front/launch/tend.h"

static int child(void *ctx, int channel, struct tl_error *err)
{
    (void)channel;
    return tl_preload_set(ctx, false, err);
}

static int start(void *ctx, int channel, struct tl_error *err)
{
    (void)channel;
    return tl_filler_start(ctx, err);
}

static void end(void *ctx)
{
    tl_filler_end(ctx);
}

int tl_rung_preload_probe(struct tl_error *err)
{
    char folder[PATH_MAX];
    return tl_preload_find(folder, err);
}

int tl_rung_preload_enter(struct tl_launch *l, struct tl_error *err)
{
    static struct tl_served served; /* the supervisor's threads use it to the end */
    if (tl_preload_has(&l->plan))
        return 0;
    int rc = tl_served_open(&served, l, false, err);
    if (rc != 0)
        return rc;
    rc = tl_tend_split(&(struct tl_tend){child, start, end, &served}, err);
    tl_served_close(&served);
    return rc == 0 ? tl_preload_wrap(l, err) : rc;
}
