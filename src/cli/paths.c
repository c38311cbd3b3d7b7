// SPDX-License-Identifier: Apache-2.0
/* Where this program and its helpers are, in a build tree, installed, or moved as a whole. */
#include "cli/cli.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cli_path(char out[TIERCEL_PATH_SIZE], struct tiercel_error *err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(out, TIERCEL_PATH_SIZE, fmt, args);
    va_end(args);
    if (n < 0 || n >= TIERCEL_PATH_SIZE)
        return cli_error(err, -ENAMETOOLONG, "%.100s...: path too long; use a shorter one", out);
    return 0;
}

int cli_self(char out[TIERCEL_PATH_SIZE], struct tiercel_error *err)
{
    ssize_t n = readlink("/proc/self/exe", out, TIERCEL_PATH_SIZE - 1);
    if (n < 0)
        return cli_error(err, -errno, "/proc/self/exe: %s; is /proc mounted?", strerror(errno));
    out[n] = '\0';
    return 0;
}

/* Folder of a helper in the build tree, beside ours. */
static const char *build_folder(const char *name)
{
    if (strcmp(name, "tierceld") == 0)
        return "../daemon";
    if (strcmp(name, "tiercel-archive") == 0)
        return "../archive";
    return strcmp(name, "tiercel-sim") == 0 ? "../sim" : "../front";
}

int cli_helper(const char *name, char out[TIERCEL_PATH_SIZE], struct tiercel_error *err)
{
    const char *own = getenv("TIERCEL_LIBEXEC");
    if (own != NULL && own[0] != '\0') { /* who says where means it: look nowhere else */
        int rc = cli_path(out, err, "%s/%s", own, name);
        if (rc == 0 && access(out, X_OK) != 0)
            rc = cli_error(err, -ENOENT, "%s: %s; $TIERCEL_LIBEXEC must name the folder of Tiercel's programs", out,
                           strerror(errno));
        return rc;
    }
    char self[TIERCEL_PATH_SIZE];
    int rc = cli_self(self, err);
    if (rc < 0)
        return rc;
    const char *dir = dirname(self);
    const struct {
        const char *base, *folder;
    } places[] = {{dir, build_folder(name)},
                  {dir, "../front/launch"},
                  {LIBEXEC_DIR, ""},
                  {dir, "../libexec/tiercel"},
                  {dir, "../sbin"}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char path[TIERCEL_PATH_SIZE];
        rc = cli_path(path, err, "%s/%s/%s", places[i].base, places[i].folder, name);
        if (rc < 0)
            return rc;
        if (access(path, X_OK) == 0 && realpath(path, out) != NULL)
            return 0;
    }
    return cli_error(err, -ENOENT,
                     "%s: not found in %s, nor beside this program; install Tiercel, or set "
                     "TIERCEL_LIBEXEC to the folder that holds it",
                     name, LIBEXEC_DIR);
}

int cli_absolute(const char *path, char out[TIERCEL_PATH_SIZE], struct tiercel_error *err)
{
    _Static_assert(TIERCEL_PATH_SIZE >= PATH_MAX, "realpath writes PATH_MAX bytes");
    if (path[0] == '\0')
        return cli_error(err, -EINVAL, "an empty path; name a file or directory");
    if (realpath(path, out) != NULL)
        return 0;
    if (errno != ENOENT)
        return cli_error(err, -errno, "%s: %s", path, strerror(errno));
    char parent[TIERCEL_PATH_SIZE], last[TIERCEL_PATH_SIZE], real[PATH_MAX];
    int rc = cli_path(parent, err, "%s", path);
    if (rc == 0)
        rc = cli_path(last, err, "%s", path);
    if (rc < 0)
        return rc;
    if (realpath(dirname(parent), real) == NULL)
        return cli_error(err, -errno, "%s: %s; check the path", path, strerror(errno));
    return cli_path(out, err, "%s/%s", strcmp(real, "/") == 0 ? "" : real, basename(last));
}
