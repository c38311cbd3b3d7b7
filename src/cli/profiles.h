// SPDX-License-Identifier: Apache-2.0
/* The profile of a command: what its start reads, kept between jobs (docs/decisions/0075). */
#ifndef TL_CLI_PROFILES_H
#define TL_CLI_PROFILES_H

#include <tiercel/profile.h>

#include "cli/cli.h"

struct cli_profile {
    char program[TIERCEL_PROGRAM_MAX + 1]; /* its executable; of an interpreter, what it runs, too */
    char path[TIERCEL_PATH_SIZE];
    bool recording;
};

/* Where profiles are kept: $XDG_CACHE_HOME/tiercel/profiles, else ~/.cache/tiercel/profiles. 0, -ENOENT. */
int cli_profile_folder(char out[TIERCEL_PATH_SIZE], struct tiercel_error *err);
/* The profile that this command has, whether or not the file is there. */
int cli_profile_of(char *const command[], struct cli_profile *out, struct tiercel_error *err);

/* Warms the tier by the command's profile, if there is one, and records what it reads from now on. False: somebody else on this tier
 * does that, or it cannot be; then there is nothing to end. */
bool cli_profile_begin(struct cli_profile *p, const char *socket, char *const command[]);
/* Merges what was recorded into the profile. */
void cli_profile_end(struct cli_profile *p, const char *socket);

/* What earlier tiers have seen of the storage, in bytes a second; 0: not known. */
uint64_t cli_storage_rate(void);
/* A daemon's answer to `stat`: what it has seen is kept. */
void cli_storage_rate_seen(const json_t *stat);

#endif
