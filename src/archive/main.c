// SPDX-License-Identifier: Apache-2.0
/* tiercel-archive: run by `tiercel export`, which has read and checked the arguments:
 *
 *     tiercel-archive publish --json|--text DIR [PATH]... */
#include <errno.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "archive/publish.h"

#define CHUNK_SIZE (256u << 10) /* as the tier's */

extern char **environ;

/* Copies path to its place below dir, with the times and rights of it and of the directories above it. cp(1) knows how; in /,
 * since it mistakes absolute paths that it is to repeat (coreutils 9.1). */
static int copy(const char *dir, const char *path, struct tl_error *err)
{
    const char *relative = path[1] != '\0' ? path + 1 : ".";
    const char *const args[] = {"cp", "--archive", "--parents", "--reflink=auto", "--", relative, dir, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid = 0;
    int status = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, "/");
    int code = posix_spawnp(&pid, "cp", &actions, NULL, (char *const *)(uintptr_t)args, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (code != 0)
        return tl_error_set(err, -code, "cp: cannot be run: %s; is it in PATH?", strerror(code));
    if (waitpid(pid, &status, 0) != pid || status != 0)
        return tl_error_set(err, -EIO, "%s was not copied to %s: cp says why above", path, dir);
    return 0;
}

static bool is_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0' || len == 1);
}

static int publish(bool json, const char *dir, char **paths, int count, struct tl_error *err)
{
    struct tl_publish_stats stats;
    int rc = mkdir(dir, 0755) == 0 || errno == EEXIST ? 0 : -errno;
    if (rc != 0)
        return tl_error_set(err, rc, "%s: cannot be made: %s", dir, strerror(-rc));
    for (int i = 0; rc == 0 && i < count; i++) {
        bool inside = is_below(dir, paths[i]) || is_below(paths[i], dir);
        rc = inside
                 ? tl_error_set(err, -EINVAL, "%s and %s lie inside each other; choose another folder", paths[i], dir)
                 : copy(dir, paths[i], err);
    }
    if (rc == 0)
        rc = tl_publish(dir, CHUNK_SIZE, &stats, err);
    if (rc != 0)
        return rc;
    printf(json ? "{\"directories\": %" PRIu64 ", \"files\": %" PRIu64 ", \"bytes\": %" PRIu64
                  ", \"unreadable\": %" PRIu64 "}\n"
                : "%" PRIu64 " directories with %" PRIu64 " files and %" PRIu64
                  " bytes can be read from a web server; %" PRIu64 " names were left out, for you may not read them\n",
           stats.directories, stats.files, stats.bytes, stats.unreadable);
    return 0;
}

int main(int argc, char **argv)
{
    struct tl_error err = {0};
    if (argc < 4 || strcmp(argv[1], "publish") != 0) {
        fputs("tiercel-archive: run by `tiercel export`\n", stderr);
        return 2;
    }
    bool json = strcmp(argv[2], "--json") == 0;
    int rc = publish(json, argv[3], argv + 4, argc - 4, &err);
    if (rc != 0)
        fprintf(stderr, "tiercel: %s\n", err.msg);
    return rc != 0 || fflush(stdout) != 0;
}
