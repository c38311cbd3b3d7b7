// SPDX-License-Identifier: Apache-2.0
/* How the key of a tier goes to its daemons: as it is, for ssh encrypts it; or inside a MUNGE credential, which only
 * this user opens, each machine once. See docs/decisions/0016. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/credential.h"
#include "cli/tier.h"

static int seal(const char *text, char **out, struct tiercel_error *err)
{
    struct tl_error why = {0};
    int rc = tl_credential_seal(text, out, &why);
    return rc == 0 ? 0 : cli_error(err, rc, "%s", why.msg);
}

int cli_auth_probe(struct tiercel_error *err)
{
    char *credential = NULL;
    int rc = seal("", &credential, err);
    free(credential);
    return rc;
}

int cli_auth_choose(struct cli_tier *t, const char *wanted, struct tiercel_error *err)
{
    struct tiercel_error why = {0};
    t->munge = false;
    if (wanted != NULL && strcmp(wanted, "key") == 0)
        return 0;
    if (wanted == NULL || strcmp(wanted, "auto") == 0) {
        t->munge = t->launcher == CLI_SLURM && cli_auth_probe(&why) == 0;
        return 0;
    }
    int rc = cli_auth_probe(&why);
    t->munge = rc == 0;
    return rc == 0 ? 0 : cli_error(err, rc, "%s", why.message);
}

int cli_auth_seal(const struct cli_tier *t, const char *secret, char **out, struct tiercel_error *err)
{
    char *credential = NULL;
    int rc = t->munge ? seal(secret, &credential, err) : 0;
    if (rc < 0)
        return rc;
    if (asprintf(out, "%s%s", t->munge ? credential : secret, t->munge ? "\n" : "") < 0)
        rc = cli_error(err, -ENOMEM, "%s: out of memory", t->name);
    free(credential);
    return rc;
}

int cli_auth_open(const char *text, char **out, struct tiercel_error *err)
{
    struct tl_error why = {0};
    if (tl_credential_is(text)) {
        int rc = tl_credential_open(text, out, &why);
        return rc == 0 ? 0 : cli_error(err, rc, "%s", why.msg);
    }
    *out = strdup(text);
    return *out != NULL ? 0 : cli_error(err, -ENOMEM, "out of memory");
}

void cli_auth_wipe(char **secret)
{
    if (*secret != NULL)
        explicit_bzero(*secret, strlen(*secret));
    free(*secret);
    *secret = NULL;
}
