// SPDX-License-Identifier: Apache-2.0
/* tiercel tree: directories whole in shared memory, for `tiercel run --how bind`. The work is done by tiercel-tree. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

/* Becomes tiercel-tree with these arguments. */
static int become(const char *const *args)
{
    char path[TIERCEL_PATH_SIZE];
    struct tiercel_error err = {0};
    char *argv[8] = {path};
    if (cli_helper("tiercel-tree", path, &err) < 0)
        return cli_report(&err, false);
    for (size_t i = 0; args[i] != NULL; i++)
        argv[i + 1] = (char *)(uintptr_t)args[i];
    cli_finish();
    execv(path, argv);
    cli_say("%s: cannot be run: %s", path, strerror(errno));
    return CLI_FAILED;
}

static int fill(const char *name, const char *path)
{
    struct tiercel *t;
    struct tiercel_error err = {0};
    char socket[TIERCEL_PATH_SIZE], full[TIERCEL_PATH_SIZE];
    int rc = cli_absolute(path, full, &err);
    if (rc == 0)
        rc = tiercel_open(&t, name, TIERCEL_ANY_RANK, CLI_CALL_TIMEOUT_MS, &err);
    if (rc < 0)
        return cli_report(&err, false);
    rc = cli_path(socket, &err, "%s", tiercel_socket_path(t));
    tiercel_close(t);
    const char *const args[] = {"fill", "--socket", socket, full, NULL};
    return rc < 0 ? cli_report(&err, false) : become(args);
}

int cmd_tree(const struct cli_verb *self, int argc, char **argv)
{
    const char *name = NULL;
    bool json = false;
    char tier[128];
    struct tiercel_error err = {0};
    const struct cli_option options[] = {
        CLI_OPTION_NAME(&name),
        CLI_OPTION_JSON(&json),
    };
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, 2);
    if (go != CLI_GO)
        return go;
    const char *what = argc > 0 ? argv[0] : "";
    bool listing = strcmp(what, "list") == 0 && argc == 1, removing = strcmp(what, "remove") == 0;
    if (tiercel_tier_name(name, tier, sizeof tier, &err) < 0)
        return cli_report(&err, json);
    if (strcmp(what, "fill") == 0 && argc == 2)
        return fill(name, argv[1]);
    setenv("TIERCEL_NAME", tier, 1);
    const char *const list_args[] = {"list", json ? "--json" : NULL, NULL};
    const char *const remove_args[] = {"remove", argc > 1 ? argv[1] : "", NULL}; /* a path, or --all */
    if (listing)
        return become(list_args);
    if (removing && argc == 2)
        return become(remove_args);
    return cli_usage(
        self, "list, or fill or remove and a path; remove --all removes all, remove --unused those that nobody uses");
}
