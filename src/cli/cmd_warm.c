// SPDX-License-Identifier: Apache-2.0
/* tiercel warm: tells all nodes what will be read. tiercel profile: what is known of programs' starts. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/profiles.h"

#define LOOK_MS 100 /* between looks at how far the nodes are */

/* ---- warm ---- */

/* Waits until no node has anything left to ask for; says how much came. */
static int wait_warm(const char *name, uint64_t before, bool json)
{
    struct tiercel_error err = {0};
    const char *const argv[] = {"stat", "all", NULL};
    for (;;) { /* each flight ends, and with them this: the core leaves what is not to be had */
        json_t *all;
        char left_text[CLI_UNIT_SIZE];
        int rc = cli_call_json(name, TIERCEL_ANY_RANK, argv, &all, &err);
        if (rc < 0)
            return cli_report(&err, json);
        const json_t *total = json_object_get(all, "total");
        uint64_t left = cli_json_u64(total, "warm_left"), warmed = cli_json_u64(total, "warmed") - before;
        uint64_t skipped = cli_json_u64(total, "warm_skipped");
        json_decref(all);
        if (left > 0) {
            cli_progress("%s names left on all nodes together", cli_count(left_text, left));
            poll(NULL, 0, LOOK_MS);
            continue;
        }
        cli_progress_end();
        if (json)
            return cli_print_json(
                json_pack("{s:I, s:I}", "warmed", (json_int_t)warmed, "skipped", (json_int_t)skipped));
        printf("%" PRIu64 " pieces were fetched on all nodes together; what was there already is not counted\n",
               warmed);
        if (skipped > 0)
            printf("%" PRIu64 " names were left for want of room in the caches; see --cache-size of tiercel up\n",
                   skipped);
        return cli_finish();
    }
}

static uint64_t warmed_before(const char *name)
{
    struct tiercel_error err = {0};
    const char *const argv[] = {"stat", "all", NULL};
    json_t *all;
    if (cli_call_json(name, TIERCEL_ANY_RANK, argv, &all, &err) < 0)
        return 0;
    uint64_t n = cli_json_u64(json_object_get(all, "total"), "warmed");
    json_decref(all);
    return n;
}

/* The profile of these paths, made anew. */
static int profile_of_paths(int argc, char **argv, char out[TIERCEL_PATH_SIZE], struct tiercel_error *err)
{
    const char **paths = calloc((size_t)argc + 1, sizeof *paths);
    char folder[TIERCEL_PATH_SIZE], one[TIERCEL_PATH_SIZE];
    int rc = paths != NULL ? cli_profile_folder(folder, err) : cli_error(err, -ENOMEM, "out of memory");
    for (int i = 0; rc == 0 && i < argc; i++) {
        rc = cli_absolute(argv[i], one, err);
        paths[i] = rc == 0 ? strdup(one) : NULL;
    }
    if (rc == 0)
        rc = cli_path(out, err, "%s/paths-%d.profile", folder, (int)getpid());
    if (rc == 0)
        rc = tiercel_profile_of_paths(paths, out, err);
    for (int i = 0; paths != NULL && i < argc; i++)
        free((void *)(uintptr_t)paths[i]);
    free(paths);
    return rc;
}

int cmd_warm(const struct cli_verb *self, int argc, char **argv)
{
    const char *name = NULL, *file = NULL;
    bool program = false, no_wait = false, json = false;
    const struct cli_option options[] = {
        {"profile", 0, CLI_TEXT, &file, "FILE", "by this profile; all nodes must see it"},
        {"program", 0, CLI_FLAG, &program, NULL, "the rest is a command: by its profile"},
        {"no-wait", 0, CLI_FLAG, &no_wait, NULL, "do not wait until it is done"},
        CLI_OPTION_NAME(&name),
        CLI_OPTION_JSON(&json),
    };
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, -1);
    if (go != CLI_GO)
        return go;
    if ((file != NULL) == (argc > 0))
        return cli_usage(self, "either --profile FILE, or paths, or --program and a command");
    char path[TIERCEL_PATH_SIZE], *result = NULL;
    struct tiercel_error err = {0};
    struct tiercel_profile_info info;
    struct cli_profile of = {.recording = false};
    int rc = 0;
    if (program)
        rc = cli_profile_of(argv, &of, &err);
    else if (file == NULL)
        rc = profile_of_paths(argc, argv, path, &err);
    if (rc == 0 && (program || file != NULL))
        rc = cli_absolute(program ? of.path : file, path, &err);
    if (rc == 0)
        rc = tiercel_profile_info(path, &info, &err);
    if (rc == -ENOENT && program)
        cli_error(&err, rc, "%s has no profile yet; start it once with tiercel run", of.program);
    uint64_t before = rc == 0 && !no_wait ? warmed_before(name) : 0;
    const char *const call[] = {"warm", path, NULL};
    if (rc == 0)
        rc = cli_call(name, TIERCEL_ANY_RANK, call, &result, &err);
    tiercel_free(result);
    int code = rc < 0 ? cli_report(&err, json) : no_wait ? CLI_OK : wait_warm(name, before, json);
    if (file == NULL && !program && !no_wait)
        unlink(path); /* every node has read it */
    return code;
}

/* ---- profile ---- */

static bool is_profile(const char *name)
{
    size_t len = strlen(name);
    return len > 8 && strcmp(name + len - 8, ".profile") == 0;
}

static int list(const char *folder)
{
    DIR *dir = opendir(folder);
    for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir)) {
        char path[TIERCEL_PATH_SIZE];
        struct tiercel_profile_info info;
        struct tiercel_error err = {0};
        if (!is_profile(e->d_name) || cli_path(path, &err, "%s/%s", folder, e->d_name) < 0)
            continue;
        if (tiercel_profile_info(path, &info, &err) < 0)
            cli_say("%s", err.message);
        else
            printf("%s  %u starts, %u names: %s\n", e->d_name, info.merged, info.lines, info.program);
    }
    if (dir != NULL)
        closedir(dir);
    return cli_finish();
}

static int show(const char *path)
{
    struct tiercel_profile_info info;
    struct tiercel_error err = {0};
    if (tiercel_profile_info(path, &info, &err) < 0)
        return cli_report(&err, false);
    FILE *f = fopen(path, "re");
    char buf[65536];
    for (size_t n; f != NULL && (n = fread(buf, 1, sizeof buf, f)) > 0;)
        fwrite(buf, 1, n, stdout);
    if (f != NULL)
        fclose(f);
    return cli_finish();
}

int cmd_profile(const struct cli_verb *self, int argc, char **argv)
{
    char folder[TIERCEL_PATH_SIZE], path[TIERCEL_PATH_SIZE];
    struct tiercel_error err = {0};
    int go = cli_parse(self, NULL, 0, &argc, &argv, 2);
    if (go != CLI_GO)
        return go;
    const char *what = argc > 0 ? argv[0] : "";
    bool named = argc == 2 && is_profile(argv[1]) && strchr(argv[1], '/') == NULL;
    if (cli_profile_folder(folder, &err) < 0)
        return cli_report(&err, false);
    if (strcmp(what, "list") == 0 && argc == 1)
        return list(folder);
    if ((strcmp(what, "show") != 0 && strcmp(what, "rm") != 0) || !named)
        return cli_usage(self, "list, or show or rm and a name that list shows");
    if (cli_path(path, &err, "%s/%s", folder, argv[1]) < 0)
        return cli_report(&err, false);
    if (strcmp(what, "show") == 0)
        return show(path);
    if (unlink(path) == 0)
        return CLI_OK;
    cli_error(&err, -errno, "%s: %s", path, strerror(errno));
    return cli_report(&err, false);
}
