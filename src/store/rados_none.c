// SPDX-License-Identifier: Apache-2.0
/* In a build without librados' headers, there are no pools in RADOS. */
#include <errno.h>

#include "store/store.h"

static int none(const char *uri, struct tl_error *err)
{
    return tl_error_set(err, -ENOTSUP,
                        "pool %.256s: this build knows no rados:// pools; install librados-dev, and build anew", uri);
}

int tl_store_rados_open(struct tl_store **out, const char *uri, const struct tl_store_config *config,
                        struct tl_error *err)
{
    (void)out, (void)config;
    return none(uri, err);
}

int tl_store_rados_destroy(const char *uri, struct tl_error *err)
{
    return none(uri, err);
}

int tl_store_rados_make(const char *uri, const struct tl_store_wish *wish, struct tl_error *err)
{
    (void)wish;
    return none(uri, err);
}
