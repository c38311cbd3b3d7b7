// SPDX-License-Identifier: Apache-2.0
/* Where paths of another process lead. It is a process of our own mount namespace, as far as we know: one in another finds what
 * is there natively, or the same. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "front/inject/inject.h"
#include "front/preload/clean.h"

bool tl_inject_directory(const struct tl_inject *in, pid_t pid, int dir, char out[PATH_MAX], bool *in_tree)
{
    char link[48];
    if (dir == AT_FDCWD)
        snprintf(link, sizeof link, "/proc/%d/cwd", (int)pid);
    else
        snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)pid, dir);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    if (n <= 0 || out[0] != '/')
        return false;
    out[n] = '\0';
    *in_tree = tl_paths_match_tree(&in->paths, out) != NULL;
    tl_paths_reverse(&in->paths, out, PATH_MAX);
    return true;
}

#ifndef RESOLVE_CACHED /* 5.12 */
#define RESOLVE_CACHED 0x20
#endif

/* Whether the kernel comes by a link when it follows this absolute path: it may lead to a served one. What it does not know yet
 * may lie on a file system that takes its time. */
static bool has_links(const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_CACHED};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    if (fd < 0 && (errno == EAGAIN || errno == EINVAL)) {
        tl_hear_take_time();
        how.resolve = RESOLVE_NO_SYMLINKS;
        fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    }
    if (fd >= 0)
        close(fd);
    return fd < 0 && errno == ELOOP;
}

static bool is_proc(const char *path)
{
    return strncmp(path, "/proc/", 6) == 0;
}

/* The common case: a plain path without links on its way, of which the text tells all. False: it has to be walked. */
static bool place_at_once(const struct tl_inject *in, const char *path, unsigned how, struct tl_walk *walk)
{
    char target[2];
    const struct tl_path_pair *pair = tl_paths_match(&in->paths, path);
    if (pair == NULL || pair->link || path[pair->path_len] == '\0' || tl_paths_text(path) != TL_TEXT_PLAIN ||
        path[strlen(path) - 1] == '/' || !tl_paths_map(pair, path, walk->real))
        return false;
    enum tl_clean clean = tl_clean_look(walk->real);
    if (clean == TL_CLEAN_NOT || clean == TL_CLEAN_MISSING)
        return false;
    if (clean == TL_CLEAN_WAY && (how & TL_WALK_FOLLOW) != 0 && readlink(walk->real, target, sizeof target) >= 0)
        return false;
    memcpy(walk->path, path, strlen(path) + 1);
    walk->pair = pair;
    walk->slash = false;
    return true;
}

int tl_inject_place(const struct tl_inject *in, pid_t pid, int dir, const char *path, unsigned how,
                    enum tl_place_kind *kind, struct tl_walk *walk)
{
    char start[PATH_MAX], whole[2 * PATH_MAX], proc_self[32];
    bool in_tree = false, confined = (how & (TL_WALK_BENEATH | TL_WALK_IN_ROOT)) != 0;
    *kind = TL_PLACE_AS_IS;
    memcpy(start, "/", 2); /* not set as a whole: that takes long */
    if ((path[0] != '/' || confined) && !tl_inject_directory(in, pid, dir, start, &in_tree))
        return 0;
    int n = snprintf(whole, sizeof whole, "%s%s%s", path[0] == '/' ? "" : start, path[0] == '/' ? "" : "/", path);
    if ((how & ~TL_WALK_FOLLOW) == 0 && n < PATH_MAX && place_at_once(in, whole, how, walk)) {
        *kind = TL_PLACE_SERVED;
        return 0;
    }
    bool close_by = in_tree || tl_paths_touch(&in->paths, start, path);
    if (!close_by && (is_proc(whole) || !has_links(whole)))
        return 0;
    snprintf(proc_self, sizeof proc_self, "/proc/%d", (int)pid);
    int rc = tl_paths_walk(&in->paths, start, path, how, proc_self, walk);
    if (rc != 0)
        return close_by ? rc : 0; /* the kernel says the same, or knows better */
    if (walk->pair != NULL)
        *kind = TL_PLACE_SERVED;
    else if (close_by)
        *kind = TL_PLACE_ELSEWHERE;
    size_t len = strlen(walk->real);
    if (walk->slash && len > 1 && len + 1 < sizeof walk->real)
        memcpy(walk->real + len, "/", 2);
    return 0;
}
