// SPDX-License-Identifier: Apache-2.0
/* Copying containers (tiercel/pool.h): in the caller's thread, step by step under the locks of the two pools, so that others go on meanwhile. */
#include <errno.h>

#include "client/engine.h"

int tiercel_cont_copy(struct tiercel_cont *from, struct tiercel_pool *to, const char *label,
                      const struct tiercel_copy_options *options, struct tiercel_copied *out, struct tiercel_error *err)
{
    const struct tl_about about = {
        .verb = TL_DO_COPY, .kind = "container", .name = from != NULL ? tl_cont_name(from->inner) : NULL};
    struct tl_copy_config config = {.label = label};
    struct tiercel_copied done;
    struct tl_error inner = {.code = 0};
    if (from == NULL || to == NULL)
        return tl_why_failed(err, &about, -EBADF, NULL);
    if (options != NULL)
        config.options = *options;
    if (tl_in_callback() || (config.options.flags & ~TIERCEL_COPY_UNVERIFIED) != 0)
        return tl_why_failed(err, &about, tl_in_callback() ? -EDEADLK : -EINVAL, NULL);
    tl_after_own(from->pool);
    tl_after_own(to);
    tl_waits(from); /* closing it ends this first */
    config.stop = &from->stop;
    int rc = tl_cont_copy(from->inner, to->inner, &config, &done, &inner);
    tl_finished(from);
    if ((rc == 0 || rc == -ECANCELED || rc == -ENOSPC) && out != NULL)
        *out = done;
    return rc == 0 ? 0 : tl_why_failed(err, &about, rc, &inner);
}
