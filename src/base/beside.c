// SPDX-License-Identifier: Apache-2.0
#include "base/beside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int tl_beside_begin(struct tl_beside *b, const char *to)
{
    struct stat st;
    if (strlen(to) >= sizeof b->place)
        return -ENAMETOOLONG;
    if (realpath(to, b->place) == NULL) /* it is not there, most of the time */
        memcpy(b->place, to, strlen(to) + 1);
    b->in_place = stat(b->place, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
    int n = b->in_place ? snprintf(b->path, sizeof b->path, "%s", b->place)
                        : snprintf(b->path, sizeof b->path, "%s.new-%d", b->place, (int)getpid());
    return n < (int)sizeof b->path ? 0 : -ENAMETOOLONG;
}

int tl_beside_end(const struct tl_beside *b, int rc)
{
    if (b->in_place)
        return rc;
    if (rc == 0 && rename(b->path, b->place) != 0)
        rc = -errno;
    if (rc != 0)
        (void)unlink(b->path);
    return rc;
}
