// SPDX-License-Identifier: Apache-2.0
/* Profiles of programs: which one a command has, where it is kept, and what `tiercel run` does with it (docs/decisions/0075). */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <tiercel/profile.h>
#include <unistd.h>

#include "cli/profiles.h"

#define TELL_MS 2000 /* `tiercel run` waits no longer for all nodes to hear of a profile */

int cli_profile_folder(char out[TIERCEL_PATH_SIZE], struct tiercel_error *err)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache != NULL && cache[0] == '/')
        return cli_path(out, err, "%s/tiercel/profiles", cache);
    if (home != NULL && home[0] == '/')
        return cli_path(out, err, "%s/.cache/tiercel/profiles", home);
    return cli_error(err, -ENOENT, "profiles have no place: set XDG_CACHE_HOME to a folder that all nodes see");
}

/* ---- which program ---- */

/* The file that the shell would run, without links; the name itself if there is none. */
static void find_command(const char *name, char out[TIERCEL_PATH_SIZE])
{
    char try[TIERCEL_PATH_SIZE];
    const char *at = getenv("PATH");
    if (strchr(name, '/') != NULL && realpath(name, out) != NULL)
        return;
    for (; strchr(name, '/') == NULL && at != NULL && *at != 0; at += *at == ':') {
        size_t len = strcspn(at, ":");
        int n = snprintf(try, sizeof try, "%.*s/%s", (int)len, at, name);
        if (n > 0 && (size_t)n < sizeof try && access(try, X_OK) == 0 && realpath(try, out) != NULL)
            return;
        at += len;
    }
    snprintf(out, TIERCEL_PATH_SIZE, "%s", name);
}

static bool is_interpreter(const char *path)
{
    static const char *const names[] = {"python", "perl", "ruby", "Rscript", "julia", "bash",
                                        "dash",   "ksh",  "sh",   "zsh",     "node",  "lua"};
    const char *name = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t len = strlen(names[i]);
        if (strncmp(name, names[i], len) == 0 && strspn(name + len, "0123456789.") == strlen(name + len))
            return true;
    }
    return false;
}

/* 64-bit FNV-1a: a name for what is too long to be one. */
static unsigned long long hash_of(const char *text)
{
    unsigned long long h = 14695981039346656037ull;
    for (; *text != 0; text++)
        h = (h ^ (unsigned char)*text) * 1099511628211ull;
    return h;
}

/* What an interpreter runs: -m and its module, -c and a hash of its text, or the script. */
static void add_script(char *const command[], char out[TIERCEL_PROGRAM_MAX + 1])
{
    size_t used = strlen(out);
    for (size_t i = 1; command[i] != NULL; i++) {
        char script[TIERCEL_PATH_SIZE];
        const char *arg = command[i];
        if (strcmp(arg, "-c") == 0 || strcmp(arg, "-e") == 0) {
            snprintf(out + used, TIERCEL_PROGRAM_MAX + 1 - used, " %s %016llx", arg,
                     command[i + 1] != NULL ? hash_of(command[i + 1]) : 0);
            return;
        }
        if (strcmp(arg, "-m") == 0) {
            snprintf(out + used, TIERCEL_PROGRAM_MAX + 1 - used, " -m %s",
                     command[i + 1] != NULL ? command[i + 1] : "");
            return;
        }
        if (arg[0] == '-')
            continue; /* an option: -u, -O, ... */
        if (realpath(arg, script) != NULL)
            arg = script;
        snprintf(out + used, TIERCEL_PROGRAM_MAX + 1 - used, " %.*s", (int)(TIERCEL_PROGRAM_MAX - 1 - used), arg);
        return;
    }
}

int cli_profile_of(char *const command[], struct cli_profile *out, struct tiercel_error *err)
{
    char executable[TIERCEL_PATH_SIZE], folder[TIERCEL_PATH_SIZE];
    int rc = cli_profile_folder(folder, err);
    if (rc < 0)
        return rc;
    memset(out, 0, sizeof *out);
    find_command(command[0], executable);
    snprintf(out->program, sizeof out->program, "%.*s", TIERCEL_PROGRAM_MAX / 2, executable);
    if (is_interpreter(executable))
        add_script(command, out->program);
    for (char *at = out->program; *at != 0; at++)
        if (*at == '\n')
            *at = ' ';
    char name[64] = "";
    const char *last = strrchr(out->program, '/') != NULL ? strrchr(out->program, '/') + 1 : out->program;
    for (size_t i = 0; last[i] != 0 && i < 40; i++)
        name[i] = strchr("/ \t", last[i]) != NULL ? '-' : last[i];
    return cli_path(out->path, err, "%s/%s-%016llx.profile", folder, name, hash_of(out->program));
}

/* ---- tiercel run ---- */

static int call(const char *socket, const char *const argv[], int fd, int timeout_ms, char **json)
{
    struct tiercel *t;
    struct tiercel_error err;
    int rc = tiercel_open_socket(&t, socket, timeout_ms, &err);
    if (rc < 0)
        return rc;
    rc = tiercel_call(t, argv, fd, timeout_ms, NULL, NULL, json, &err);
    tiercel_close(t);
    return rc;
}

/* The path as the daemons know it: without links. */
static int tell(const char *socket, const char *path, int timeout_ms)
{
    char real[TIERCEL_PATH_SIZE];
    if (realpath(path, real) == NULL)
        return -errno;
    const char *const argv[] = {"warm", real, NULL};
    return call(socket, argv, -1, timeout_ms, NULL);
}

bool cli_profile_begin(struct cli_profile *p, const char *socket, char *const command[])
{
    struct tiercel_error err = {0};
    struct tiercel_profile_info info;
    char pid[16], *json = NULL;
    if (cli_profile_of(command, p, &err) < 0)
        return false; /* nowhere to keep it */
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    const char *const argv[] = {"record", "begin", pid, NULL};
    if (call(socket, argv, -1, TELL_MS, &json) < 0)
        return false;
    p->recording = strstr(json, "true") != NULL;
    tiercel_free(json);
    if (!p->recording || access(p->path, F_OK) != 0)
        return p->recording;
    if (tiercel_profile_info(p->path, &info, &err) < 0)
        cli_say("%s", err.message);
    else if (strcmp(info.program, p->program) != 0)
        cli_say("%s: is the profile of another program: %s; not used", p->path, info.program);
    else
        (void)tell(socket, p->path, TELL_MS); /* who has not heard of it starts cold */
    return true;
}

void cli_profile_end(struct cli_profile *p, const char *socket)
{
    struct tiercel_error err = {0};
    char pid[16], *json = NULL;
    if (!p->recording)
        return;
    int fd = memfd_create("tiercel-profile", MFD_CLOEXEC);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    const char *const argv[] = {"record", "end", pid, NULL};
    int rc = fd < 0 ? -errno : call(socket, argv, fd, CLI_CALL_TIMEOUT_MS, &json);
    json_t *answer = rc == 0 ? json_loads(json, 0, NULL) : NULL;
    if (cli_json_u64(answer, "items") > 0 && tiercel_profile_merge(p->path, p->program, fd, &err) < 0)
        cli_say("what %s has read is not kept: %s", p->program, err.message);
    json_decref(answer);
    tiercel_free(json);
    json = NULL;
    const char *const stat[] = {"stat", NULL};
    answer = call(socket, stat, -1, TELL_MS, &json) == 0 ? json_loads(json, 0, NULL) : NULL;
    cli_storage_rate_seen(answer);
    json_decref(answer);
    tiercel_free(json);
    if (fd >= 0)
        close(fd);
    p->recording = false;
}
