// SPDX-License-Identifier: Apache-2.0
/* Putting the stub into a command's environment; see preload.h. */
#include "front/launch/preload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "front/preload/paths.h"

/* Beside this program, installed and in a build tree. */
int tl_preload_find(char out[PATH_MAX], struct tl_error *err)
{
    char path[PATH_MAX + 32];
    ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
    char *slash = n > 0 ? memrchr(out, '/', (size_t)n) : NULL;
    if (slash == NULL)
        return tl_error_set(err, -ENOENT, "cannot find this program's folder: /proc is not mounted");
    *slash = '\0';
    snprintf(path, sizeof path, "%s/" TL_STUB_FILE, out);
    if (access(path, R_OK) != 0)
        return tl_error_set(err, -errno, "%s: %s; was the package installed in part?", path, strerror(errno));
    if (strpbrk(out, ": ") != NULL)
        return tl_error_set(err, -EINVAL,
                            "%s: the loader cannot take libraries from a path with a colon or a blank; install "
                            "Tiercel elsewhere",
                            out);
    return 0;
}

/* Adds to a text of bounded length; false: it does not fit. */
static bool add(char *text, size_t size, const char *word)
{
    size_t at = strlen(text);
    return snprintf(text + at, size - at, "%s%s", at > 0 ? ":" : "", word) < (int)(size - at);
}

/* Whether this machine has at the served path what is served: then links from outside may be left to the kernel. */
static bool is_here(const char *point, const char *tree)
{
    struct stat ours, theirs;
    return stat(point, &ours) == 0 && stat(tree, &theirs) == 0 && ours.st_mtim.tv_sec == theirs.st_mtim.tv_sec &&
           ours.st_mtim.tv_nsec == theirs.st_mtim.tv_nsec;
}

/* A path, the tree's below which its content is, and that tree's index. rest: of the path in the tree. */
static bool add_pair(char text[TL_PATHS_TEXT], const char *path, const struct tl_served *s, size_t i, const char *rest)
{
    char real[2 * PATH_MAX], index[PATH_MAX];
    const char *prefix = tl_tree_prefix(s->trees[i]), *slash = strrchr(prefix, '/');
    snprintf(real, sizeof real, "%s%s", s->roots[i], rest);
    snprintf(index, sizeof index, "%.*s/index", (int)(slash - prefix), prefix);
    return add(text, TL_PATHS_TEXT, path) && add(text, TL_PATHS_TEXT, real) && add(text, TL_PATHS_TEXT, index);
}

/* Another name of something served: true also if it is none, or cannot be written. */
static bool add_also(char text[TL_PATHS_TEXT], const struct tl_served *s, const char *path)
{
    char real[PATH_MAX], plain[PATH_MAX];
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    snprintf(plain, sizeof plain, "%.*s", (int)len, path);
    if (tl_paths_text(plain) != TL_TEXT_PLAIN || strchr(plain, ':') != NULL || realpath(plain, real) == NULL)
        return true;
    for (size_t i = 0; i < s->count; i++) {
        size_t n = strlen(s->points[i]);
        if (strncmp(real, s->points[i], n) == 0 && (real[n] == '/' || real[n] == '\0') && strcmp(plain, real) != 0)
            return add_pair(text, plain, s, i, real + n);
    }
    return true;
}

/* The words of tl_paths_parse. What the kernel calls a place comes first: names of trees are told by that. */
static int write_paths(const struct tl_served *s, bool notified, const char *folder, char text[TL_PATHS_TEXT],
                       struct tl_error *err)
{
    bool absent = false, fits;
    for (size_t i = 0; i < s->count; i++)
        absent = absent || !is_here(s->points[i], s->roots[i]);
    snprintf(text, TL_PATHS_TEXT, "-%s%s", absent ? "a" : "", notified ? "n" : "l");
    fits = add(text, TL_PATHS_TEXT, s->socket) && add(text, TL_PATHS_TEXT, folder);
    for (size_t i = 0; fits && i < s->count; i++)
        fits = add_pair(text, s->points[i], s, i, "");
    for (size_t i = 0; fits && i < s->also_count; i++)
        fits = add_also(text, s, s->also[i]);
    return fits ? 0 : tl_error_set(err, -E2BIG, "the served paths are too long together; name a directory above them");
}

/* Puts a library before those in a variable, unless it is there. */
static bool put_library(const char *name, const char *folder, const char *file)
{
    char text[2 * PATH_MAX];
    const char *theirs = getenv(name);
    bool more = theirs != NULL && theirs[0] != '\0';
    snprintf(text, sizeof text, "%s/%s", folder, file);
    if (more && strstr(theirs, text) != NULL)
        return true;
    int n = snprintf(text, sizeof text, "%s/%s%s%s", folder, file, more ? ":" : "", more ? theirs : "");
    return n < (int)sizeof text && setenv(name, text, 1) == 0;
}

int tl_preload_set(const struct tl_served *s, bool notified, struct tl_error *err)
{
    char folder[PATH_MAX];
    static char text[TL_PATHS_TEXT];
    int rc = tl_preload_find(folder, err);
    if (rc == 0)
        rc = write_paths(s, notified, folder, text, err);
    if (rc != 0)
        return rc;
    if (setenv(TL_PATHS_VARIABLE, text, 1) == 0 && put_library("LD_PRELOAD", folder, TL_STUB_FILE) &&
        (notified || put_library("LD_AUDIT", folder, TL_AUDIT_FILE)))
        return 0;
    return tl_error_set(err, -E2BIG,
                        "cannot put the stub into the environment: LD_PRELOAD is too long, or memory is short");
}

void tl_preload_spare(void)
{
    char folder[PATH_MAX];
    struct tl_error err;
    if (tl_preload_find(folder, &err) == 0 && setenv(TL_SPARE_VARIABLE, "1", 1) == 0)
        (void)put_library("LD_PRELOAD", folder, TL_STUB_FILE);
}

int tl_preload_paths(const struct tl_served *s, bool notified, struct tl_paths *out, struct tl_error *err)
{
    char folder[PATH_MAX];
    static char text[TL_PATHS_TEXT];
    int rc = tl_preload_find(folder, err);
    if (rc == 0)
        rc = write_paths(s, notified, folder, text, err);
    if (rc == 0 && !tl_paths_parse(out, text))
        rc = tl_error_set(err, -EINVAL, "the served paths cannot be written down"); /* cannot be */
    return rc;
}

/* Starts the command by this program once more, with the library in it: it may lie below a served path. */
int tl_preload_wrap(struct tl_launch *l, struct tl_error *err)
{
    static char self[PATH_MAX];
    size_t n = 0;
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    while (l->command[n] != NULL)
        n++;
    char **words = calloc(n + 4, sizeof *words);
    if (words == NULL || len <= 0) {
        free(words);
        return tl_error_set(err, -ENOMEM, "cannot start %s: out of memory, or /proc is not mounted", l->command[0]);
    }
    words[0] = self;
    words[1] = (char *)(uintptr_t) "--exec";
    words[2] = (char *)(uintptr_t) "--";
    memcpy(words + 3, l->command, n * sizeof *words);
    l->command = words;
    return 0;
}

/* Whether a launch that we are in serves all of the plan already. */
bool tl_preload_has(const struct tl_plan *plan)
{
    static struct tl_paths paths; /* large */
    const char *words = getenv(TL_PATHS_VARIABLE);
    if (words == NULL || !tl_paths_parse(&paths, words))
        return false;
    for (size_t i = 0; i < plan->count; i++)
        if (tl_paths_match(&paths, plan->mounts[i].point) == NULL)
            return false;
    return true;
}
