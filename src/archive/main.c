// SPDX-License-Identifier: Apache-2.0
/* tiercel-archive: run by `tiercel export` and `tiercel import`, which have read and checked the arguments; "" is none:
 *
 *     tiercel-archive publish --json|--text DIR [PATH]...
 *     tiercel-archive export --json|--text SOCKET ARCHIVE SOURCE PROFILE
 *     tiercel-archive import --json|--text ARCHIVE DIR ID              no DIR: the tier's shared memory
 *     tiercel-archive cont-export --json|--text POOL NAME ARCHIVE EPOCH snapshots|""
 *     tiercel-archive cont-import --json|--text POOL NAME ARCHIVE      no ARCHIVE: standard output, standard input */
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "archive/cont.h"
#include "archive/pack.h"
#include "archive/publish.h"
#include "archive/unpack.h"
#include "front/tree/tree.h"

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

/* ---- archives ---- */

/* As a JSON string: names are bytes, and what is no text stays as it is. */
static void put_json(const char *text)
{
    putchar('"');
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\')
            printf("\\%c", *p);
        else if ((unsigned char)*p < ' ')
            printf("\\u%04x", (unsigned)*p);
        else
            putchar(*p);
    }
    putchar('"');
}

static int export(bool json, char **args, struct tl_error *err)
{
    const char *socket = args[0], *archive = args[1], *profile = args[3];
    struct tl_choice choice = {.all = true};
    struct tl_pack_stats stats;
    char source[PATH_MAX];
    snprintf(source, sizeof source, "%s", args[2]);
    int rc = profile[0] != '\0' ? tl_choice_read(&choice, profile, source, err) : 0;
    if (rc == 0)
        rc = tl_pack(socket, source, &choice, archive, &stats, err);
    tl_choice_fini(&choice);
    if (rc != 0)
        return rc;
    fputs(json ? "{\"source\": " : "", stdout);
    if (json)
        put_json(source);
    else
        fputs(source, stdout);
    printf(json ? ", \"files\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"unreadable\": %" PRIu64 ", \"id\": \"%s\"}\n"
                : ": %" PRIu64 " files with %" PRIu64 " bytes; %" PRIu64
                  " names were left out, for you may not read them\narchive %s\n",
           stats.files, stats.bytes, stats.unreadable, stats.id);
    return 0;
}

/* Unpacks beside dir, which must not be there, and puts it in its place. */
static int import_to(const char *archive, const char *dir, const char *id, struct tl_unpack_stats *stats,
                     struct tl_error *err)
{
    char beside[PATH_MAX];
    struct stat st;
    int n = snprintf(beside, sizeof beside, "%s.import-%d", dir, (int)getpid());
    if (lstat(dir, &st) == 0)
        return tl_error_set(err, -EEXIST, "%s: is there already; name a folder that is not", dir);
    if (n >= PATH_MAX || mkdir(beside, 0700) != 0)
        return tl_error_set(err, -errno, "%s: cannot be made: %s", beside, strerror(errno));
    int rc = tl_unpack(archive, beside, id, stats, err);
    if (rc == 0 && (chmod(beside, 0755) != 0 || rename(beside, dir) != 0))
        rc = tl_error_set(err, -errno, "%s: cannot be put in its place: %s", dir, strerror(errno));
    if (rc != 0)
        tl_tree_unstage(beside);
    return rc;
}

/* Into the tier's shared memory. */
static int import_tree(const char *archive, const char *id, struct tl_unpack_stats *stats, struct tl_error *err)
{
    char stage[PATH_MAX / 2], root[PATH_MAX];
    int rc = tl_tree_stage(stage, sizeof stage, err);
    if (rc != 0)
        return rc;
    snprintf(root, sizeof root, "%s/root", stage);
    rc = tl_unpack(archive, root, id, stats, err);
    if (rc == 0)
        rc = tl_tree_adopt(stage, stats->source, err);
    if (rc != 0)
        tl_tree_unstage(stage);
    return rc;
}

static int import(bool json, char **args, struct tl_error *err)
{
    struct tl_unpack_stats stats;
    const char *id = args[2][0] != '\0' ? args[2] : NULL;
    int rc = args[1][0] != '\0' ? import_to(args[0], args[1], id, &stats, err) : import_tree(args[0], id, &stats, err);
    if (rc != 0)
        return rc;
    if (json) {
        fputs("{\"source\": ", stdout);
        put_json(stats.source);
        printf(", \"all\": %s, \"files\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"id\": \"%s\"}\n",
               stats.all ? "true" : "false", stats.files, stats.bytes, stats.id);
        return 0;
    }
    printf("%s: %" PRIu64 " files with %" PRIu64 " bytes%s\n", stats.source, stats.files, stats.bytes,
           stats.all ? "" : ", only what a profile names: nothing else is there");
    if (args[1][0] != '\0')
        printf("they are at %s%s\n", args[1], stats.source);
    else if (access(stats.source, F_OK) != 0)
        printf("programs see them with `tiercel run --cache %s`, once there is a folder to show them at: mkdir -p %s\n",
               stats.source, stats.source);
    return 0;
}

/* ---- containers ---- */

static void tell_cont(bool json, const char *name, const char *verb, const struct tl_cont_stats *s, FILE *to)
{
    if (json)
        fprintf(to,
                "{\"epochs\": %" PRIu64 ", \"objects\": %" PRIu64 ", \"values\": %" PRIu64 ", \"bytes\": %" PRIu64
                "}\n",
                s->epochs, s->objects, s->values, s->bytes);
    else
        fprintf(to,
                "container %s %s: %" PRIu64 " epoch%s, %" PRIu64 " objects with %" PRIu64 " values, %" PRIu64
                " bytes\n",
                name, verb, s->epochs, s->epochs == 1 ? "" : "s", s->objects, s->values, s->bytes);
}

static int cont_export(bool json, char **args, struct tl_error *err)
{
    struct tl_cont_stats stats;
    int rc = tl_cont_export(args[0], args[1], strtoull(args[3], NULL, 10), args[4][0] != '\0', args[2], &stats, err);
    if (rc == 0)
        tell_cont(json, args[1], "is exported", &stats, args[2][0] != '\0' ? stdout : stderr);
    return rc;
}

static int cont_import(bool json, char **args, struct tl_error *err)
{
    struct tl_cont_stats stats;
    int rc = tl_cont_import(args[0], args[1], args[2], &stats, err);
    if (rc == 0)
        tell_cont(json, args[1], "is imported", &stats, stdout);
    return rc;
}

int main(int argc, char **argv)
{
    struct tl_error err = {0};
    const char *verb = argc > 3 ? argv[1] : "";
    bool json = argc > 3 && strcmp(argv[2], "--json") == 0;
    int rc;
    if (setlocale(LC_CTYPE, "C.UTF-8") == NULL) /* libarchive takes names apart by it */
        (void)setlocale(LC_CTYPE, "en_US.UTF-8");
    if (strcmp(verb, "publish") == 0) {
        rc = publish(json, argv[3], argv + 4, argc - 4, &err);
    } else if (strcmp(verb, "export") == 0 && argc == 7) {
        rc = export(json, argv + 3, &err);
    } else if (strcmp(verb, "import") == 0 && argc == 6) {
        rc = import(json, argv + 3, &err);
    } else if (strcmp(verb, "cont-export") == 0 && argc == 8) {
        rc = cont_export(json, argv + 3, &err);
    } else if (strcmp(verb, "cont-import") == 0 && argc == 6) {
        rc = cont_import(json, argv + 3, &err);
    } else {
        fputs("tiercel-archive: run by `tiercel export`, `tiercel import`, and those of `tiercel cont`\n", stderr);
        return 2;
    }
    if (rc != 0)
        fprintf(stderr, "tiercel: %s\n", err.msg);
    if (rc != 0 && json) { /* as the command itself does */
        const char *code = strerrorname_np(-rc);
        fputs("{\"error\": ", stdout);
        put_json(err.msg);
        printf(", \"code\": \"%s\", \"errno\": %d}\n", code != NULL ? code : "EIO", -rc);
    }
    return rc != 0 || fflush(stdout) != 0;
}
