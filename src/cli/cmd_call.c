// SPDX-License-Identifier: Apache-2.0
/* tiercel call: a control request as it is, for scripts and for looking into things. tiercel sim: the simulator. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

int cmd_call(const struct cli_verb *self, int argc, char **argv)
{
    const char *name = NULL;
    int rank = TIERCEL_ANY_RANK;
    bool json = false; /* always: accepted so that it need not be left out */
    const struct cli_option options[] = {CLI_OPTION_NAME(&name), CLI_OPTION_RANK(&rank), CLI_OPTION_JSON(&json)};
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, -1);
    if (go != CLI_GO)
        return go;
    if (argc == 0)
        return cli_usage(self, "no request; for example: tiercel call ping");
    struct tiercel_error err = {0};
    char *result = NULL;
    const char **call = calloc((size_t)argc + 1, sizeof *call);
    for (int i = 0; call != NULL && i < argc; i++)
        call[i] = argv[i];
    int rc = call != NULL ? cli_call(name, rank, call, &result, &err) : cli_error(&err, -ENOMEM, "out of memory");
    int code = rc < 0 ? cli_report(&err, true) : cli_print_json_text(result);
    tiercel_free(result);
    free(call);
    return code;
}

int cmd_sim(const struct cli_verb *self, int argc, char **argv)
{
    (void)self;
    (void)argc;
    char path[TIERCEL_PATH_SIZE];
    struct tiercel_error err = {0};
    if (cli_helper("tiercel-sim", path, &err) < 0)
        return cli_report(&err, false);
    argv[-1] = path; /* main() leaves the verb's own place before the arguments */
    execv(path, argv - 1);
    cli_say("%s: cannot be run: %s", path, strerror(errno));
    return CLI_FAILED;
}
