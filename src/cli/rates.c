// SPDX-License-Identifier: Apache-2.0
/* How fast the storage is: what earlier tiers have seen of it, for the next `tiercel up` (docs/decisions/0054). An estimate:
 * whatever goes wrong, it is not known. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/profiles.h"

#define RATE_MIN (1ull << 20) /* what is outside is no storage */
#define RATE_MAX (1ull << 50)

/* Beside the folder of the profiles, which is made on the way if `make` is set. */
static int rate_path(char out[TIERCEL_PATH_SIZE], bool make)
{
    char folder[TIERCEL_PATH_SIZE];
    struct tiercel_error err;
    int rc = cli_profile_folder(folder, &err);
    for (int up = 0; rc == 0 && up < 2; up++) { /* .../tiercel/profiles: the last two are ours to make, and .cache */
        char *slash = strrchr(folder, '/');
        if (slash == NULL || slash == folder)
            return -ENOENT;
        *slash = '\0';
    }
    if (rc == 0 && make)
        (void)mkdir(folder, 0700);
    if (rc == 0)
        rc = cli_path(out, &err, "%s/tiercel", folder);
    if (rc == 0 && make)
        (void)mkdir(out, 0700);
    return rc == 0 ? cli_path(out, &err, "%s/tiercel/storage-rate", folder) : rc;
}

uint64_t cli_storage_rate(void)
{
    char path[TIERCEL_PATH_SIZE];
    uint64_t rate = 0;
    FILE *f = rate_path(path, false) == 0 ? fopen(path, "re") : NULL;
    if (f == NULL)
        return 0;
    if (fscanf(f, "%18" SCNu64, &rate) != 1 || rate < RATE_MIN || rate > RATE_MAX)
        rate = 0;
    fclose(f);
    return rate;
}

void cli_storage_rate_seen(const json_t *stat)
{
    char path[TIERCEL_PATH_SIZE], temporary[TIERCEL_PATH_SIZE];
    struct tiercel_error err;
    uint64_t rate = cli_json_u64(json_object_get(stat, "source"), "bytes_per_s"), before = cli_storage_rate();
    if (rate < RATE_MIN || rate > RATE_MAX || rate_path(path, true) != 0 ||
        cli_path(temporary, &err, "%s.%d", path, (int)getpid()) != 0)
        return;
    FILE *f = fopen(temporary, "we");
    if (f == NULL)
        return;
    fprintf(f, "%" PRIu64 "\n", before == 0 ? rate : before / 2 + rate / 2);
    if (fclose(f) != 0 || rename(temporary, path) != 0)
        (void)unlink(temporary);
}
