// SPDX-License-Identifier: Apache-2.0
/* Where a program's path leads; see stub_find.h. */
#include "front/preload/stub_find.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>

#include "front/preload/clean.h"
#include "front/preload/raw.h"

/* The directory that a relative path starts from, as the kernel names it. Its length; 0: it has no name. */
static size_t directory_of(int dir, char out[PATH_MAX])
{
    long n;
    if (dir == AT_FDCWD) {
        n = tl_raw2(SYS_getcwd, tl_arg(out), PATH_MAX) - 1; /* it counts the end */
    } else {
        char link[32] = "/proc/self/fd/", digits[12];
        size_t at = 14, count = 0;
        for (unsigned v = (unsigned)dir; count == 0 || v > 0; v /= 10)
            digits[count++] = (char)('0' + v % 10);
        while (count > 0)
            link[at++] = digits[--count];
        link[at] = '\0';
        n = dir < 0 ? -EBADF : tl_raw4(SYS_readlinkat, AT_FDCWD, tl_arg(link), tl_arg(out), PATH_MAX - 1);
        if (n >= 0)
            out[n] = '\0';
    }
    return n > 0 && out[0] == '/' ? (size_t)n : 0;
}

/* The same as the program knows it. */
bool tl_find_start(const struct tl_paths *p, int dir, char out[PATH_MAX], bool *in_tree)
{
    if (directory_of(dir, out) == 0)
        return false;
    *in_tree = tl_paths_match_tree(p, out) != NULL;
    tl_paths_reverse(p, out, PATH_MAX);
    return true;
}

/* The same for a path that may be absolute. */
static bool start_of(const struct tl_paths *p, int dir, const char *path, char out[PATH_MAX], bool *in_tree)
{
    out[0] = '/';
    out[1] = '\0';
    return path[0] == '/' || tl_find_start(p, dir, out, in_tree);
}

int tl_find_by_walk(const struct tl_paths *p, const char *start, const char *path, bool follow, struct tl_found *out)
{
    struct tl_walk w;
    int rc = tl_paths_walk(p, start, path, follow ? TL_WALK_FOLLOW : 0, NULL, &w);
    if (rc != 0)
        return rc;
    size_t len = tl_length(w.real);
    tl_copy(out->real, w.real, len + 1);
    if (w.slash && len > 1 && len + 1 < sizeof out->real)
        tl_copy(out->real + len, "/", 2);
    out->pair = w.pair;
    out->place = w.pair != NULL ? TL_FOUND_IN_TREE : TL_FOUND_ELSEWHERE;
    return 0;
}

/* The common case is one look at the text. careful: relative paths are looked at, too, though the kernel would find them. */
int tl_find(const struct tl_paths *p, int dir, const char *path, bool follow, bool careful, struct tl_found *out)
{
    char base[PATH_MAX]; /* not set as a whole: that takes as long as all the rest */
    bool in_tree = false;
    out->place = TL_FOUND_AS_IS;
    if (path == NULL || path[0] == '\0')
        return 0;
    unsigned text = tl_paths_text(path);
    if (path[0] == '/' && text == TL_TEXT_PLAIN) {
        out->pair = tl_paths_match(p, path);
        if (out->pair != NULL && out->pair->link && !follow && path[out->pair->path_len] == '\0')
            out->pair = NULL;
        out->place = out->pair != NULL ? TL_FOUND_IN_TREE : TL_FOUND_AS_IS;
        return out->pair == NULL || tl_paths_map(out->pair, path, out->real) ? 0 : -ENAMETOOLONG;
    }
    if (path[0] != '/' && ((text & TL_TEXT_UP) == 0 && !careful))
        return 0;
    if (!start_of(p, dir, path, base, &in_tree))
        return 0;
    return in_tree || tl_paths_touch(p, base, path) ? tl_find_by_walk(p, base, path, follow, out) : 0;
}

/* A tree by its own name: as loaders and programs find it in /proc and in what they were started as. */
bool tl_find_is_tree(const struct tl_paths *p, const char *path)
{
    return path != NULL && path[0] == '/' && tl_paths_match_tree(p, path) != NULL && tl_length(path) < PATH_MAX;
}

bool tl_find_is_proc(const char *path)
{
    return path != NULL && tl_same(path, "/proc/", 6);
}

/* ---- names that the kernel did not find ---- */

static long open_without_links(int dir, const char *path, int flags)
{
    struct open_how how = {.flags = (unsigned)flags | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
    return tl_raw4(SYS_openat2, dir, tl_arg(path), tl_arg(&how), sizeof how);
}

/* Whether a name missing at this real path in a tree may be there all the same, by a link that leaves the tree. */
static bool may_be_linked(char real[PATH_MAX])
{
    char target[2];
    switch (tl_clean_look(real)) {
    case TL_CLEAN_ALL:
    case TL_CLEAN_MISSING: return false;
    case TL_CLEAN_WAY: return tl_raw4(SYS_readlinkat, AT_FDCWD, tl_arg(real), tl_arg(target), sizeof target) >= 0;
    case TL_CLEAN_NOT: break;
    }
    return true;
}

/* The same for a relative path that the kernel did not find below this directory of a tree. */
static bool may_be_linked_below(const char *dir, size_t len, const char *path)
{
    char real[PATH_MAX];
    size_t n = tl_length(path);
    if ((tl_paths_text(path) & TL_TEXT_UP) != 0 || len + n + 2 > sizeof real)
        return true;
    tl_copy(real, dir, len);
    real[len] = '/';
    tl_copy(real + len + 1, path, n + 1);
    return may_be_linked(real);
}

/* After -ENOENT: looks again, link by link. True if there is another place to try. */
bool tl_find_again(const struct tl_paths *p, int dir, const char *path, bool follow, struct tl_found *f)
{
    char base[PATH_MAX];
    bool in_tree = false;
    if (f->place == TL_FOUND_ELSEWHERE || path == NULL || path[0] == '\0')
        return false;
    if (f->place == TL_FOUND_IN_TREE && !may_be_linked(f->real))
        return false;
    size_t len = path[0] != '/' ? directory_of(dir, base) : 0;
    if (path[0] != '/') {
        in_tree = len > 0 && tl_paths_match_tree(p, base) != NULL;
        if (len == 0 || (in_tree && f->place == TL_FOUND_AS_IS && !may_be_linked_below(base, len, path)))
            return false;
        tl_paths_reverse(p, base, sizeof base);
    } else {
        tl_copy(base, "/", 2);
    }
    if (f->place == TL_FOUND_AS_IS && !in_tree && !tl_paths_touch(p, base, path)) {
        if (!p->absent)
            return false; /* links lead to the paths themselves, and these exist */
        long fd = open_without_links(dir, path, O_PATH | O_NOFOLLOW);
        if (fd >= 0)
            tl_raw2(SYS_close, fd, 0);
        if (fd != -ELOOP && fd < 0)
            return false;
    }
    struct tl_found other;
    if (tl_find_by_walk(p, base, path, follow, &other) != 0)
        return false;
    if (other.place == TL_FOUND_ELSEWHERE && f->place == TL_FOUND_AS_IS && !in_tree)
        return false; /* the kernel looked there */
    bool same = f->place == TL_FOUND_IN_TREE && tl_equal(other.real, f->real);
    *f = other;
    return !same;
}
