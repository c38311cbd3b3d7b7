// SPDX-License-Identifier: Apache-2.0
/* What can be told of a call at once: most are about other files, or about ones that are whole. See fault.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "front/launch/fault.h"

/* ---- names of files that are known to be whole ---- */

/* Hashes of paths as programs write them. A file that is whole stays so while its tree is the same one, and programs cannot
 * make its name lead elsewhere. Only for who holds the ear (hear.h). */
#define KNOWN_SETS 2048u
#define KNOWN_WAYS 4u /* a program that reads thousands of files has them all in here */
static uint64_t known[KNOWN_SETS][KNOWN_WAYS];

static bool is_known(const struct tl_supervised *s, uint64_t hash)
{
    const uint64_t *set = known[hash % KNOWN_SETS];
    for (size_t i = 0; i < s->count; i++)
        if (!tl_tree_is_current(s->trees[i])) {
            memset(known, 0, sizeof known); /* and again with each call, until something was filled from the new tree */
            return false;
        }
    for (size_t i = 0; i < KNOWN_WAYS; i++)
        if (set[i] == hash && hash != 0)
            return true;
    return false;
}

static void remember(uint64_t hash)
{
    static unsigned turn;
    known[hash % KNOWN_SETS][turn++ % KNOWN_WAYS] = hash;
}

/* ---- what can be told at once ---- */

static bool in_some_tree(const struct tl_supervised *s, const char *path)
{
    for (size_t i = 0; i < s->count; i++)
        if (tl_name_below(path, tl_tree_path(s->trees[i])))
            return true;
    return strncmp(path, "/proc/", 6) == 0 && strstr(path, "/fd/") != NULL; /* wherever that leads */
}

static bool names_a_tree(const struct tl_supervised *s, const struct seccomp_notif *n, int dir, int path)
{
    char name[2 * PATH_MAX];
    int dir_fd = dir >= 0 ? (int)n->data.args[dir] : AT_FDCWD;
    return tl_name_read(n->pid, dir_fd, n->data.args[path], false, name) == 0 && in_some_tree(s, name);
}

static uint64_t flags_of(const struct seccomp_notif *n, const struct tl_call *c)
{
    struct open_how how = {.flags = 0};
    if (c->kind != TL_CALL_OPEN2)
        return n->data.args[c->flags];
    return tl_memory_get((pid_t)n->pid, n->data.args[c->flags], &how, sizeof how.flags) == 0 ? how.flags : 0;
}

/* A file that lies there whole, or what is no file: nothing has to be waited for. A link may lead to a file system that does
 * not answer, if it is not one within the tree. */
static bool is_ready(const char *name, uint64_t hash)
{
    struct stat st;
    char target[2];
    if (fstatat(AT_FDCWD, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return true; /* the kernel says why */
    if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlink(name, target, sizeof target);
        if (n <= 0 || target[0] == '/' || stat(name, &st) != 0)
            return false;
    }
    if (!S_ISREG(st.st_mode))
        return true;
    if ((st.st_mode & S_IRUSR) == 0)
        return false;
    remember(hash);
    return true;
}

/* Whether a call that looks or reads has nothing to wait for, whatever it names. */
static bool is_all_whole(const struct tl_supervised *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (!tl_tree_is_complete(s->trees[i]))
            return false;
    return true;
}

static bool changes(const struct tl_call *c, uint64_t flags)
{
    return c->kind == TL_CALL_ACCESS ? (flags & W_OK) != 0 : (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) != 0;
}

bool tl_fault_is_fine(const struct tl_supervised *s, const struct tl_call *c, const struct seccomp_notif *n)
{
    char name[2 * PATH_MAX];
    if (c->kind == TL_CALL_EXEC)
        return false; /* rare, and its interpreters have to be looked at */
    bool looks = c->kind == TL_CALL_OPEN || c->kind == TL_CALL_OPEN2 || c->kind == TL_CALL_ACCESS;
    uint64_t flags = looks ? flags_of(n, c) : 0;
    if (looks && !changes(c, flags) && is_all_whole(s))
        return true;
    if (c->kind == TL_CALL_MOVE && names_a_tree(s, n, c->dir2, c->path2))
        return false;
    int dir_fd = c->dir >= 0 ? (int)n->data.args[c->dir] : AT_FDCWD;
    if (tl_name_read(n->pid, dir_fd, n->data.args[c->path], false, name) != 0 || !in_some_tree(s, name))
        return true;
    if (!looks || changes(c, flags) || strncmp(name, "/proc/", 6) == 0)
        return false;
    uint64_t hash = tl_hash64(name, strlen(name), 0);
    return is_known(s, hash) || is_ready(name, hash);
}
