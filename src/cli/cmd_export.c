// SPDX-License-Identifier: Apache-2.0
/* tiercel export: what a tier can read elsewhere. tiercel-archive does the work. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/tier.h"

/* Becomes tiercel-archive with these arguments. Returns only if that fails. */
static int become(struct cli_args *a)
{
    if (!a->failed)
        execv(a->v[0], a->v);
    cli_say("%s: cannot be run: %s", a->count > 0 ? a->v[0] : "tiercel-archive", strerror(a->failed ? ENOMEM : errno));
    cli_args_fini(a);
    return CLI_FAILED;
}

int cmd_export(const struct cli_verb *self, int argc, char **argv)
{
    const char *http = NULL;
    bool json = false;
    const struct cli_option options[] = {
        {"http", 0, CLI_TEXT, &http, "DIR", "the folder that a web server serves"},
        CLI_OPTION_JSON(&json),
    };
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, -1);
    if (go != CLI_GO)
        return go;
    if (http == NULL)
        return cli_usage(self, "--http DIR is missing: where should the files go?");
    char program[TIERCEL_PATH_SIZE], path[TIERCEL_PATH_SIZE];
    struct tiercel_error err = {0};
    struct cli_args a = {0};
    int rc = cli_helper("tiercel-archive", program, &err);
    cli_args_add(&a, "%s", program);
    cli_args_add(&a, "publish");
    cli_args_add(&a, json ? "--json" : "--text");
    if (rc == 0)
        rc = cli_absolute(http, path, &err);
    cli_args_add(&a, "%s", path);
    for (int i = 0; rc == 0 && i < argc; i++) {
        rc = cli_absolute(argv[i], path, &err);
        if (rc == 0 && access(path, F_OK) != 0)
            rc = cli_error(&err, -errno, "%s: %s", path, strerror(errno));
        cli_args_add(&a, "%s", path);
    }
    if (rc == 0)
        return become(&a);
    cli_args_fini(&a);
    return cli_report(&err, json);
}
