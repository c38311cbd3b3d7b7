// SPDX-License-Identifier: Apache-2.0
/* tiercel mount, umount, flush, pin, unpin: small verbs with a path. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"

/* Prints the daemon's JSON, or the sentence for people; frees. */
static int tell(char *result, bool json, const char *fmt, const char *path)
{
    int code;
    if (json) {
        code = cli_print_json_text(result != NULL ? result : "{}");
    } else {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        printf(fmt, path);
#pragma GCC diagnostic pop
        code = cli_finish();
    }
    tiercel_free(result);
    return code;
}

static int check_mount_dir(const char *dir, char path[TIERCEL_PATH_SIZE], struct tiercel_error *err)
{
    struct stat st;
    if (stat(dir, &st) != 0)
        return cli_error(err, -errno, "%s: %s; make the directory first (`mkdir %s`)", dir, strerror(errno), dir);
    if (!S_ISDIR(st.st_mode))
        return cli_error(err, -ENOTDIR, "%s: not a directory; name an empty one", dir);
    return cli_absolute(dir, path, err);
}

static bool mounted_by(const char *name, int rank, const char *path)
{
    const char *const call[] = {"status", NULL};
    struct tiercel_error ignored;
    json_t *status = NULL, *mount;
    bool found = false;
    size_t i;
    if (cli_call_json(name, rank, call, &status, &ignored) < 0)
        return false;
    json_array_foreach(json_object_get(status, "mounts"), i, mount) found |=
        strcmp(cli_json_text(mount, "path"), path) == 0;
    json_decref(status);
    return found;
}

/* With several daemons here: the one that has this mount; else any, whose sentence then says what is wrong. */
static int mount_owner(const char *name, const char *path)
{
    char dir[TIERCEL_PATH_SIZE];
    int owner = TIERCEL_ANY_RANK;
    unsigned *ranks = calloc(CLI_RANKS_MAX, sizeof *ranks);
    int count = 0;
    if (ranks != NULL && tiercel_tier_dir(name, dir, sizeof dir, NULL) == 0)
        count = tiercel_local_ranks(dir, ranks, CLI_RANKS_MAX, NULL);
    for (int i = 0; count > 1 && i < count && owner == TIERCEL_ANY_RANK; i++)
        owner = mounted_by(name, (int)ranks[i], path) ? (int)ranks[i] : TIERCEL_ANY_RANK;
    free(ranks);
    return owner;
}

/* What mount and umount differ in. */
struct way {
    const char *request, *none, *done; /* none: what is said without a directory; done: with it */
    int (*path)(const char *dir, char path[TIERCEL_PATH_SIZE], struct tiercel_error *err);
    int (*owner)(const char *name, const char *path); /* which node, when none is named; NULL: any */
};

static int change_mounts(const struct cli_verb *self, int argc, char **argv, const struct way *way)
{
    const char *name = NULL;
    int rank = TIERCEL_ANY_RANK;
    bool json = false;
    const struct cli_option options[] = {CLI_OPTION_NAME(&name), CLI_OPTION_RANK(&rank), CLI_OPTION_JSON(&json)};
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, 1);
    if (go != CLI_GO)
        return go;
    if (argc == 0)
        return cli_usage(self, "%s", way->none);
    char path[TIERCEL_PATH_SIZE], *result = NULL;
    struct tiercel_error err = {0};
    int rc = way->path(argv[0], path, &err);
    if (rc == 0 && rank == TIERCEL_ANY_RANK && way->owner != NULL)
        rank = way->owner(name, path);
    const char *const call[] = {way->request, path, NULL};
    if (rc == 0)
        rc = cli_call(name, rank, call, &result, &err);
    return rc < 0 ? cli_report(&err, json) : tell(result, json, way->done, path);
}

int cmd_mount(const struct cli_verb *self, int argc, char **argv)
{
    static const struct way way = {"mount", "no directory; name an empty one", "the tier's view of / is at %s\n",
                                   check_mount_dir, NULL};
    return change_mounts(self, argc, argv, &way);
}

int cmd_umount(const struct cli_verb *self, int argc, char **argv)
{
    static const struct way way = {"umount", "no directory; `tiercel status` lists what is mounted",
                                   "%s is unmounted\n", cli_absolute, mount_owner};
    return change_mounts(self, argc, argv, &way);
}

/* A request to all nodes about a path; told by fmt, which names it. */
static int all_nodes(const struct cli_verb *self, int argc, char **argv, bool path_needed, const char *fmt)
{
    const char *name = NULL;
    bool json = false;
    const struct cli_option options[] = {CLI_OPTION_NAME(&name), CLI_OPTION_JSON(&json)};
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, 1);
    if (go != CLI_GO)
        return go;
    if (path_needed && argc == 0)
        return cli_usage(self, "no path");
    char path[TIERCEL_PATH_SIZE] = "", *result = NULL;
    struct tiercel_error err = {0};
    int rc = argc == 1 ? cli_absolute(argv[0], path, &err) : 0;
    const char *const call[] = {self->name, argc == 1 ? path : NULL, NULL};
    if (rc == 0)
        rc = cli_call(name, TIERCEL_ANY_RANK, call, &result, &err);
    if (rc < 0)
        return cli_report(&err, json);
    return tell(result, json, fmt, argc == 1 ? path : "everything");
}

int cmd_flush(const struct cli_verb *self, int argc, char **argv)
{
    return all_nodes(self, argc, argv, false, "all nodes look at %s anew\n");
}

int cmd_pin(const struct cli_verb *self, int argc, char **argv)
{
    return all_nodes(self, argc, argv, true, "%s: what is read there stays, on all nodes, until `tiercel unpin`\n");
}

int cmd_unpin(const struct cli_verb *self, int argc, char **argv)
{
    return all_nodes(self, argc, argv, true, "%s: comes and goes like everything else again\n");
}
