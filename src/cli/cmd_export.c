// SPDX-License-Identifier: Apache-2.0
/* tiercel export, import: files for places that have no file system in common with this one; and tiercel cont export, import.
 * tiercel-archive does the work. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/pools.h"
#include "cli/profiles.h"
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

/* A path that is there. */
static int add_path(struct cli_args *a, const char *given, struct tiercel_error *err)
{
    char path[TIERCEL_PATH_SIZE];
    int rc = cli_absolute(given, path, err);
    if (rc == 0 && access(path, F_OK) != 0)
        rc = cli_error(err, -errno, "%s: %s", path, strerror(errno));
    cli_args_add(a, "%s", path);
    return rc;
}

/* One that need not be. */
static int add_new(struct cli_args *a, const char *given, struct tiercel_error *err)
{
    char path[TIERCEL_PATH_SIZE];
    int rc = given[0] != '\0' ? cli_absolute(given, path, err) : 0;
    cli_args_add(a, "%s", given[0] != '\0' ? path : "");
    return rc;
}

static int begin(struct cli_args *a, const char *verb, bool json, struct tiercel_error *err)
{
    char program[TIERCEL_PATH_SIZE];
    int rc = cli_helper("tiercel-archive", program, err);
    cli_args_add(a, "%s", rc == 0 ? program : "");
    cli_args_add(a, "%s", verb);
    cli_args_add(a, json ? "--json" : "--text");
    return rc;
}

/* The profile's file: a path, or a name that `tiercel profile list` shows. */
static int add_profile(struct cli_args *a, const char *given, struct tiercel_error *err)
{
    char folder[TIERCEL_PATH_SIZE], path[TIERCEL_PATH_SIZE];
    struct tiercel_error ignored;
    if (strchr(given, '/') == NULL && access(given, F_OK) != 0 && cli_profile_folder(folder, &ignored) == 0 &&
        cli_path(path, &ignored, "%s/%s", folder, given) == 0)
        return add_path(a, path, err);
    return add_path(a, given, err);
}

static int add_socket(struct cli_args *a, const char *name, struct tiercel_error *err)
{
    struct tiercel *t;
    int rc = tiercel_open(&t, name, TIERCEL_ANY_RANK, CLI_CALL_TIMEOUT_MS, err);
    if (rc < 0)
        return rc;
    cli_args_add(a, "%s", tiercel_socket_path(t));
    tiercel_close(t);
    return 0;
}

static int export_archive(struct cli_args *a, const char *name, const char *profile, int argc, char **argv, bool json,
                          struct tiercel_error *err)
{
    int rc = begin(a, "export", json, err);
    if (rc == 0)
        rc = add_socket(a, name, err);
    if (rc == 0)
        rc = add_new(a, argv[0], err);
    if (rc == 0 && argc > 1)
        rc = add_new(a, argv[1], err); /* the tier knows whether it is there */
    else
        cli_args_add(a, "%s", "");
    if (rc == 0 && profile != NULL)
        rc = add_profile(a, profile, err);
    else
        cli_args_add(a, "%s", "");
    return rc;
}

static int export_http(struct cli_args *a, const char *dir, int argc, char **argv, bool json, struct tiercel_error *err)
{
    int rc = begin(a, "publish", json, err);
    if (rc == 0)
        rc = add_new(a, dir, err);
    for (int i = 0; rc == 0 && i < argc; i++)
        rc = add_path(a, argv[i], err);
    return rc;
}

static int finish(struct cli_args *a, int rc, const struct tiercel_error *err, bool json)
{
    if (rc == 0)
        return become(a);
    cli_args_fini(a);
    return cli_report(err, json);
}

int cmd_export(const struct cli_verb *self, int argc, char **argv)
{
    const char *http = NULL, *profile = NULL, *name = NULL;
    bool json = false;
    const struct cli_option options[] = {
        {"profile", 0, CLI_TEXT, &profile, "P", "only what this profile names: a file, or a name of `profile list`"},
        {"http", 0, CLI_TEXT, &http, "DIR", "no archive: lay the files out in DIR, which a web server serves"},
        CLI_OPTION_NAME(&name),
        CLI_OPTION_JSON(&json),
    };
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, -1);
    if (go != CLI_GO)
        return go;
    struct tiercel_error err = {0};
    struct cli_args a = {0};
    if (http != NULL && profile != NULL)
        return cli_usage(self, "--http and --profile exclude each other");
    if (http != NULL)
        return finish(&a, export_http(&a, http, argc, argv, json, &err), &err, json);
    if (argc < 1 || argc > 2 || (argc == 1 && profile == NULL))
        return cli_usage(self, "an archive's name, and what goes into it: a path, or --profile");
    return finish(&a, export_archive(&a, name, profile, argc, argv, json, &err), &err, json);
}

int cmd_import(const struct cli_verb *self, int argc, char **argv)
{
    const char *to = "", *id = "", *name = NULL;
    char tier[TIERCEL_NAME_MAX + 1];
    bool json = false;
    const struct cli_option options[] = {
        {"to", 0, CLI_TEXT, &to, "DIR", "into this new folder, not into shared memory"},
        {"id", 0, CLI_TEXT, &id, "HEX", "only if it is this archive, as `export` has told"},
        CLI_OPTION_NAME(&name),
        CLI_OPTION_JSON(&json),
    };
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, 1);
    if (go != CLI_GO)
        return go;
    if (argc != 1)
        return cli_usage(self, "the archive is missing");
    struct tiercel_error err = {0};
    struct cli_args a = {0};
    int rc = begin(&a, "import", json, &err);
    if (rc == 0)
        rc = tiercel_tier_name(name, tier, sizeof tier, &err);
    if (rc == 0)
        rc = setenv("TIERCEL_NAME", tier, 1) == 0 ? add_path(&a, argv[0], &err)
                                                  : cli_error(&err, -ENOMEM, "out of memory");
    if (rc == 0)
        rc = add_new(&a, to, &err);
    cli_args_add(&a, "%s", id);
    return finish(&a, rc, &err, json);
}

/* ---- containers ---- */

/* Splits CONTAINER, and goes to where the archive is meant: "" is standard output or input. */
static int begin_cont(struct cli_args *a, const char *verb, const char *given, const char *archive, bool json,
                      struct tiercel_error *err)
{
    struct cli_cont c = {.given = given};
    int rc = begin(a, verb, json, err);
    if (rc == 0)
        rc = cli_cont_name(&c, given, err);
    cli_args_add(a, "%s", c.uri);
    cli_args_add(a, "%s", rc == 0 ? c.label : "");
    if (rc == 0)
        rc = add_new(a, strcmp(archive, "-") == 0 ? "" : archive, err);
    return rc;
}

int cmd_cont_export(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false, snapshots = false;
    uint64_t epoch = 0;
    const struct cli_option options[] = {
        {"epoch", 0, CLI_EPOCH, &epoch, "E", "as it was at epoch E (default: the last that is final for all)"},
        {"snapshots", 0, CLI_FLAG, &snapshots, NULL, "all snapshots, too, each as a folder"},
        CLI_OPTION_JSON(&json),
    };
    int go = cli_parse_mixed(self, options, 3, &argc, &argv, 2);
    if (go != CLI_GO)
        return go;
    if (argc != 2)
        return cli_usage(self, "wants a container and the archive's name");
    if (snapshots && epoch != 0)
        return cli_usage(self, "--epoch and --snapshots exclude each other");
    struct tiercel_error err = {0};
    struct cli_args a = {0};
    int rc = begin_cont(&a, "cont-export", argv[0], argv[1], json, &err);
    cli_args_add(&a, "%" PRIu64, epoch);
    cli_args_add(&a, snapshots ? "snapshots" : "");
    return finish(&a, rc, &err, json);
}

int cmd_cont_import(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {CLI_OPTION_JSON(&json)};
    int go = cli_parse_mixed(self, options, 1, &argc, &argv, 2);
    if (go != CLI_GO)
        return go;
    if (argc != 2)
        return cli_usage(self, "wants a container that is not there yet, and the archive's name");
    struct tiercel_error err = {0};
    struct cli_args a = {0};
    return finish(&a, begin_cont(&a, "cont-import", argv[0], argv[1], json, &err), &err, json);
}
