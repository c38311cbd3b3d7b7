// SPDX-License-Identifier: Apache-2.0
/* See place.h. */
#include "pool/place.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pool/pool.h"

const char *place_base(void)
{
    const char *base = getenv("TMPDIR");
    return base != NULL && strlen(base) < 60 ? base : "/tmp";
}

bool place_new(char *out, size_t size, const char *base, const char *name)
{
    static int number;
    const char *given = getenv("TIERCEL_TEST_POOLS"), *at = given != NULL ? strstr(given, "%d") : NULL;
    if (at == NULL) {
        snprintf(out, size, "%s/tl-%s-XXXXXX", base, name);
        return mkdtemp(out) != NULL;
    }
    snprintf(out, size, "%.*s%s-%d-%d%s", (int)(at - given), given, name, (int)getpid(), number++, at + 2);
    return true;
}

unsigned place_lease_s(void)
{
    const char *lease = getenv("TIERCEL_TEST_LEASE_S");
    return lease != NULL ? (unsigned)strtoul(lease, NULL, 10) : 0;
}

int place_destroy(const char *where, struct tl_error *err)
{
    unsigned ticks = place_lease_s() * 60;
    int rc;
    while ((rc = tl_pool_destroy(where, 0, err)) == -EBUSY && ticks-- > 0)
        usleep(50000);
    return rc;
}
