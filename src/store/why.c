// SPDX-License-Identifier: Apache-2.0
/* What the codes of a store mean to people. */
#include <errno.h>
#include <string.h>

#include "store/store.h"

const char *tl_store_strerror(int rc)
{
    switch (rc) {
    case -ESHUTDOWN:
        return "the cluster has this process, or all of its host, on its blocklist; start it anew, or have it taken "
               "off "
               "(see `ceph osd blocklist ls`)";
    case -ETIMEDOUT:
        return "the storage did not answer in time; see what is down with `tiercel pool query`, and try again";
    default: return strerror(-rc);
    }
}
