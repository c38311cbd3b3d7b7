// SPDX-License-Identifier: Apache-2.0
/* What a supervised call needs before it may go on, or what it is told instead.
 *
 * A file that cannot be filled (no memory, another version, no daemon) is opened at the source, and the program is given that
 * descriptor: it sees the same as it would without us. What would change a tree is told that it is read-only. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "front/launch/fault.h"

#define SCRIPTS_MAX 5 /* interpreters that are scripts themselves, as the kernel has it */

static const struct tl_reply go_on = {.kind = TL_REPLY_GO_ON};

static struct tl_reply refuse(int code)
{
    return (struct tl_reply){.kind = TL_REPLY_VALUE, .value = code};
}

/* Where a name leads, links and all. 0 or -errno. */
static int resolve(const char *name, char out[PATH_MAX])
{
    char link[32];
    int fd = open(name, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    int rc = n < 0 ? -errno : 0;
    close(fd);
    if (rc == 0)
        out[n] = '\0';
    return rc;
}

/* The tree that a resolved path lies in, or NULL; *below: the rest of the path. */
static struct tl_tree *tree_of(const struct tl_supervised *s, const char *path, const char **below)
{
    for (size_t i = 0; i < s->count; i++) {
        const char *root = tl_tree_path(s->trees[i]);
        size_t len = strlen(root);
        if (strncmp(path, root, len) == 0 && (path[len] == '/' || path[len] == '\0')) {
            *below = path + len + (path[len] == '/');
            return s->trees[i];
        }
    }
    return NULL;
}

/* Whether a name, existing or not, lies in a tree: its directory decides. */
static bool is_in_tree(const struct tl_supervised *s, const char *name)
{
    char dir[2 * PATH_MAX], real[PATH_MAX];
    const char *below;
    snprintf(dir, sizeof dir, "%s", name);
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/')
        dir[--len] = '\0';
    char *slash = strrchr(dir, '/');
    if (slash != NULL)
        slash[slash == dir ? 1 : 0] = '\0';
    return resolve(dir, real) == 0 && tree_of(s, real, &below) != NULL;
}

static int read_name(const struct seccomp_notif *n, int dir, int path, bool empty, char out[2 * PATH_MAX])
{
    return tl_name_read(n->pid, dir >= 0 ? (int)n->data.args[dir] : AT_FDCWD, n->data.args[path], empty, out);
}

/* ---- open, access ---- */

static int flags_of(const struct seccomp_notif *n, const struct tl_call *c, int *flags)
{
    struct open_how how;
    if (c->kind != TL_CALL_OPEN2) {
        *flags = (int)n->data.args[c->flags];
        return 0;
    }
    int rc = tl_memory_get((pid_t)n->pid, n->data.args[c->flags], &how, sizeof how.flags);
    if (rc == 0)
        *flags = (int)how.flags;
    return rc;
}

/* The source's own file, in the place of one that could not be filled. */
static struct tl_reply open_source(const struct tl_tree *t, const char *real, int flags)
{
    int kept = flags & (O_NONBLOCK | O_NOATIME);
    int fd = open(real + strlen(tl_tree_prefix(t)), O_RDONLY | O_CLOEXEC | O_NOCTTY | kept);
    if (fd < 0)
        return refuse(-errno);
    return (struct tl_reply){.kind = TL_REPLY_FD, .value = fd, .cloexec = (flags & O_CLOEXEC) != 0};
}

static struct tl_reply answer_open(struct tl_supervised *s, const char *name, int flags)
{
    char real[PATH_MAX];
    const char *below;
    struct stat st;
    int rc = resolve(name, real);
    if (rc == -ENOENT && (flags & O_CREAT) != 0 && is_in_tree(s, name))
        return refuse(-EROFS);
    struct tl_tree *t = rc == 0 ? tree_of(s, real, &below) : NULL;
    if (t == NULL || stat(real, &st) != 0 || !S_ISREG(st.st_mode))
        return go_on;
    if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
        return refuse(-EEXIST);
    if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0)
        return refuse(-EROFS);
    rc = tl_tree_fault(t, below);
    return rc == 0 || rc == -ENOENT ? go_on : open_source(t, real, flags);
}

static struct tl_reply answer_access(struct tl_supervised *s, const char *name, int mode)
{
    char real[PATH_MAX];
    const char *below;
    struct stat st;
    struct tl_tree *t = resolve(name, real) == 0 ? tree_of(s, real, &below) : NULL;
    if (t == NULL || stat(real, &st) != 0)
        return go_on;
    if ((mode & W_OK) != 0)
        return refuse(-EROFS);
    int rc = S_ISREG(st.st_mode) ? tl_tree_fault(t, below) : 0;
    if (rc == 0)
        return go_on;
    return refuse(access(real + strlen(tl_tree_prefix(t)), mode & 7) == 0 ? 0 : -errno);
}

/* ---- exec ---- */

/* Fills what executing name needs. 0, or -errno for the call. */
static int fill_program(struct tl_supervised *s, const char *name, char interpreter[PATH_MAX], bool *more)
{
    char real[PATH_MAX];
    const char *below;
    struct stat st;
    *more = false;
    if (resolve(name, real) != 0)
        return 0;
    struct tl_tree *t = tree_of(s, real, &below);
    int rc = t != NULL ? tl_tree_fault(t, below) : 0;
    if (rc != 0)
        return rc == -ENOENT ? 0 : rc;
    int fd = open(real, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return 0; /* what may be executed only, or does not exist */
    bool is_script = false;
    *more = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && tl_interpreter_of(fd, interpreter, &is_script) == 1;
    close(fd);
    return 0;
}

static struct tl_reply answer_exec(struct tl_supervised *s, uint32_t pid, const char *program)
{
    char name[2 * PATH_MAX], interpreter[PATH_MAX], link[32];
    bool more = true;
    snprintf(name, sizeof name, "%s", program);
    for (int i = 0; more && i <= SCRIPTS_MAX; i++) {
        int rc = fill_program(s, name, interpreter, &more);
        if (rc != 0)
            return refuse(rc);
        snprintf(link, sizeof link, "/proc/%u/cwd/", pid);
        if (more)
            snprintf(name, sizeof name, "%s%s", interpreter[0] == '/' ? "" : link, interpreter);
    }
    return go_on;
}

/* ---- what would change something ---- */

static struct tl_reply answer_change(const struct tl_supervised *s, const char *name, bool makes)
{
    struct stat st;
    bool there = lstat(name, &st) == 0;
    if (there == makes || !is_in_tree(s, name))
        return go_on; /* the kernel says EEXIST, or ENOENT; or it is not our affair */
    return refuse(-EROFS);
}

static struct tl_reply answer_move(const struct tl_supervised *s, const char *from, const char *to)
{
    struct stat st;
    if (lstat(from, &st) != 0)
        return go_on;
    bool ours = is_in_tree(s, from);
    if (ours != is_in_tree(s, to))
        return refuse(-EXDEV); /* as between two file systems: programs copy then */
    return ours ? refuse(-EROFS) : go_on;
}

struct tl_reply tl_fault_answer(void *ctx, const struct seccomp_notif *n)
{
    struct tl_supervised *s = ctx;
    const struct tl_call *c = tl_call_find(n->data.nr);
    char name[2 * PATH_MAX], other[2 * PATH_MAX];
    int flags = 0;
    if (c == NULL || n->pid == 0 || tl_fault_is_fine(s, c, n))
        return go_on; /* 0: not to be seen from here: another process namespace above ours */
    tl_hear_take_time();
    bool empty = c->kind == TL_CALL_EXEC && c->flags >= 0 && (n->data.args[c->flags] & AT_EMPTY_PATH) != 0;
    if (read_name(n, c->dir, c->path, empty, name) != 0)
        return go_on;
    switch (c->kind) {
    case TL_CALL_OPEN:
    case TL_CALL_OPEN2: return flags_of(n, c, &flags) == 0 ? answer_open(s, name, flags) : go_on;
    case TL_CALL_ACCESS: return answer_access(s, name, (int)n->data.args[c->flags]);
    case TL_CALL_EXEC: return answer_exec(s, n->pid, name);
    case TL_CALL_MAKE: return answer_change(s, name, true);
    case TL_CALL_CHANGE: return answer_change(s, name, false);
    case TL_CALL_MOVE: return read_name(n, c->dir2, c->path2, false, other) == 0 ? answer_move(s, name, other) : go_on;
    case TL_CALL_NONE: break;
    }
    return go_on;
}
