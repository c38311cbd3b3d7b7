// SPDX-License-Identifier: Apache-2.0
/* The paths that supervised calls name. Any thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "front/launch/fault.h"

/* Where a descriptor, or the working directory, is. */
static int read_place(uint32_t pid, int dir_fd, char *out, size_t size)
{
    char link[48];
    if (dir_fd == AT_FDCWD)
        snprintf(link, sizeof link, "/proc/%u/cwd", pid);
    else
        snprintf(link, sizeof link, "/proc/%u/fd/%d", pid, dir_fd);
    ssize_t n = readlink(link, out, size - 1);
    if (n < 0)
        return -errno;
    out[n] = '\0';
    return out[0] == '/' ? 0 : -ENOTDIR; /* a pipe has no names below it */
}

/* "self" in /proc is the reader's self. */
static bool rename_self(uint32_t pid, const char *path, char *out)
{
    static const char *const selves[] = {"/proc/self/", "/proc/thread-self/"};
    for (size_t i = 0; i < sizeof selves / sizeof selves[0]; i++) {
        size_t len = strlen(selves[i]);
        if (strncmp(path, selves[i], len) != 0)
            continue;
        snprintf(out, 2 * PATH_MAX, "/proc/%u/%s", pid, path + len);
        return true;
    }
    if (strncmp(path, "/dev/fd/", 8) != 0)
        return false;
    snprintf(out, 2 * PATH_MAX, "/proc/%u/fd/%s", pid, path + 8);
    return true;
}

int tl_name_read(uint32_t pid, int dir_fd, uint64_t address, bool empty, char out[2 * PATH_MAX])
{
    char path[PATH_MAX];
    int rc = tl_memory_text((pid_t)pid, address, path);
    if (rc != 0)
        return rc;
    if (path[0] == '/') {
        if (path[1] != 'p' && path[1] != 'd')
            memcpy(out, path, strlen(path) + 1);
        else if (!rename_self(pid, path, out))
            memcpy(out, path, strlen(path) + 1);
        return 0;
    }
    if (path[0] == '\0' && !empty)
        return -ENOENT;
    rc = read_place(pid, dir_fd, out, PATH_MAX);
    size_t len = rc == 0 ? strlen(out) : 0;
    const char *rest = path;
    while (rest[0] == '.' && rest[1] == '/')
        rest += 2;
    if (rc == 0 && rest[0] != '\0')
        snprintf(out + len, 2 * PATH_MAX - len, "/%s", rest);
    return rc;
}

/* Takes out // . and .. as if there were no links. */
static void flatten(const char *path, char *out)
{
    size_t len = 0;
    for (const char *s = path; *s != '\0';) {
        s += strspn(s, "/");
        size_t n = strcspn(s, "/");
        if (n == 2 && s[0] == '.' && s[1] == '.') {
            while (len > 0 && out[--len] != '/')
                continue;
        } else if (n > 0 && !(n == 1 && s[0] == '.')) {
            out[len++] = '/';
            memcpy(out + len, s, n);
            len += n;
        }
        s += n;
    }
    out[len] = '\0';
}

bool tl_name_below(const char *path, const char *dir)
{
    char flat[2 * PATH_MAX];
    if (strstr(path, "/.") != NULL || strstr(path, "//") != NULL) {
        flatten(path, flat);
        path = flat;
    }
    size_t len = strlen(dir);
    return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}
