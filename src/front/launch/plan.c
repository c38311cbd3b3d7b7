// SPDX-License-Identifier: Apache-2.0
/* Which directories are mounted; see launch.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "front/launch/launch.h"

/* True if path is dir or lies below it. */
static bool is_below(const char *path, const char *dir)
{
    size_t len = strcmp(dir, "/") == 0 ? 0 : strlen(dir);
    return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* Octal escapes (\040) of /proc/self/mountinfo, undone in place. */
static void unescape(char *s)
{
    char *to = s;
    for (; *s != '\0'; s++, to++) {
        bool escaped = s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] != '\0' && s[3] != '\0';
        int code = escaped ? (s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0') : *s;
        *to = (char)code;
        s += escaped ? 3 : 0;
    }
    *to = '\0';
}

/* Whether the file system that path lies on is a Tiercel mount: a launch inside a launch, or below a plain mount. */
static bool is_served(const char *path)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t cap = 0, best = 0;
    bool served = false;
    while (file != NULL && getline(&line, &cap, file) > 0) {
        char point[PATH_MAX], type[64];
        const char *dash = strstr(line, " - ");
        if (dash == NULL || sscanf(line, "%*s %*s %*s %*s %4095s", point) != 1 || sscanf(dash, " - %63s", type) != 1)
            continue;
        unescape(point);
        if (is_below(path, point) && strlen(point) >= best) { /* of equals the last is on top */
            best = strlen(point);
            served = strcmp(type, "fuse.tiercel") == 0;
        }
    }
    free(line);
    if (file != NULL)
        fclose(file);
    return served;
}

/* A launch within one that starts programs at a prefix (rung "fault") is told paths there. Cuts the prefix off. */
static void cut_prefix(char *real)
{
    const char *list = getenv("TIERCEL_PREFIX");
    for (const char *s = list != NULL ? list : ""; *s != '\0';) {
        size_t len = strcspn(s, ":");
        if (len > 0 && strncmp(real, s, len) == 0 && real[len] == '/') {
            memmove(real, real + len, strlen(real + len) + 1);
            return;
        }
        s += len + (s[len] == ':');
    }
}

/* Kernel file systems change by themselves, and a cached /dev has no devices; / would hide the way to everything. */
static bool can_be_cached(const char *path)
{
    static const char *const never[] = {"/proc", "/sys", "/dev"};
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
        if (is_below(path, never[i]))
            return false;
    return strcmp(path, "/") != 0;
}

/* A path that is not on this machine, taken as it is written. False: it may mean another place. */
static bool take_absent(const char *path, char *real)
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    if (path[0] != '/' || len >= PATH_MAX)
        return false;
    memcpy(real, path, len);
    real[len] = '\0';
    return strstr(real, "//") == NULL && strstr(real, "/.") == NULL;
}

static int resolve(const char *path, bool plain, struct tl_launch_mount *m, struct tl_error *err)
{
    char *real = m->point;
    struct stat st = {.st_mode = S_IFDIR};
    if (realpath(path, real) != NULL) {
        cut_prefix(real);
    } else {
        int code = errno;
        m->absent = code == ENOENT && !plain && take_absent(path, real);
        if (!m->absent)
            return tl_error_set(err, -code, "path %s cannot be served: %s; check its spelling", path, strerror(code));
    }
    if (!m->absent && stat(real, &st) != 0)
        return tl_error_set(err, -errno, "path %s cannot be served: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return tl_error_set(err, -ENOTDIR, "path %s cannot be served: it is not a directory; name the one it is in",
                            path);
    if (!plain && !can_be_cached(real))
        return tl_error_set(
            err, -EINVAL,
            "path %s cannot be served: /, /proc, /sys and /dev stay what they are; name the directory the "
            "program is loaded from",
            path);
    return 0;
}

static void drop(struct tl_plan *plan, size_t i)
{
    plan->count--;
    memmove(&plan->mounts[i], &plan->mounts[i + 1], (plan->count - i) * sizeof plan->mounts[0]);
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct tl_launch_mount *)a)->point, ((const struct tl_launch_mount *)b)->point);
}

int tl_plan_add(struct tl_plan *plan, const char *path, bool plain, struct tl_error *err)
{
    struct tl_launch_mount m = {.plain = plain};
    int rc = resolve(path, plain, &m, err);
    if (rc != 0 || is_served(m.point))
        return rc;
    for (size_t i = 0; i < plan->count;) {
        const struct tl_launch_mount *other = &plan->mounts[i];
        bool below = is_below(m.point, other->point), above = is_below(other->point, m.point);
        if ((below || above) && (plain || other->plain))
            return tl_error_set(err, -EINVAL,
                                "paths %s and %s cannot both be served: one lies in the other; choose one", m.point,
                                other->point);
        if (below)
            return 0;
        if (above)
            drop(plan, i);
        else
            i++;
    }
    if (plan->count == TL_LAUNCH_MOUNTS_MAX)
        return tl_error_set(err, -E2BIG, "more than %u paths to serve; name a directory that holds several of them",
                            TL_LAUNCH_MOUNTS_MAX);
    plan->mounts[plan->count++] = m;
    qsort(plan->mounts, plan->count, sizeof m, compare); /* the order in which they were named makes no other holder */
    return 0;
}

uint64_t tl_plan_key(const struct tl_plan *plan)
{
    struct {
        uint64_t socket, points, ns_dev, ns_ino, root_dev, root_ino;
        uint32_t uid, gid;
    } id = {.socket = tl_hash64(plan->socket, strlen(plan->socket), 0), .uid = geteuid(), .gid = getegid()};
    for (size_t i = 0; i < plan->count; i++)
        id.points = tl_hash64(plan->mounts[i].point, strlen(plan->mounts[i].point), id.points + plan->mounts[i].plain);
    struct stat st;
    if (stat("/proc/self/ns/mnt", &st) == 0) {
        id.ns_dev = st.st_dev;
        id.ns_ino = st.st_ino;
    }
    if (stat("/", &st) == 0) {
        id.root_dev = st.st_dev;
        id.root_ino = st.st_ino;
    }
    return tl_hash64(&id, sizeof id, 0);
}
