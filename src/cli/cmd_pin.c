// SPDX-License-Identifier: Apache-2.0
/* `tiercel pin` and `unpin`: a tree stays in the memory of all nodes, as it was first read. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

static int pin_or_unpin(const struct cli_verb *self, int argc, char **argv, const char *verb, const char *done)
{
    const char *name = NULL;
    bool json = false;
    const struct cli_option options[] = {CLI_OPTION_NAME(&name), CLI_OPTION_JSON(&json)};
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, 1);
    if (go != CLI_GO)
        return go;
    if (argc == 0)
        return cli_usage(self, "no path");
    char path[TIERCEL_PATH_SIZE], *result = NULL;
    struct tiercel_error err = {0};
    int rc = cli_absolute(argv[0], path, &err);
    const char *const call[] = {verb, path, NULL};
    if (rc == 0)
        rc = cli_call(name, TIERCEL_ANY_RANK, call, &result, &err);
    if (rc < 0)
        return cli_report(&err, json);
    if (json)
        puts(result);
    else
        printf("%s: %s\n", path, done);
    free(result);
    return 0;
}

int cmd_pin(const struct cli_verb *self, int argc, char **argv)
{
    return pin_or_unpin(self, argc, argv, "pin", "what is read there stays, on all nodes, until `tiercel unpin`");
}

int cmd_unpin(const struct cli_verb *self, int argc, char **argv)
{
    return pin_or_unpin(self, argc, argv, "unpin", "comes and goes like everything else again");
}
