// SPDX-License-Identifier: Apache-2.0
/* What is said to a call; see inject.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "front/inject/inject.h"
#include "front/preload/ask.h"
#include "front/preload/stub.h"

static const struct tl_reply go_on = {.kind = TL_REPLY_GO_ON};

static struct tl_reply value(long v)
{
    return (struct tl_reply){.kind = TL_REPLY_VALUE, .value = v};
}

/* A call, and where its path leads. */
struct request {
    struct tl_inject *in;
    const struct seccomp_notif *n;
    const struct tl_path_call *call;
    pid_t pid;
    long flags; /* of the call; of openat2 those in memory */
    uint64_t resolve;
    enum tl_place_kind place;
    struct tl_walk walk;
};

static uint64_t argument(const struct request *r, int i)
{
    return r->n->data.args[i];
}

static int dir_of(const struct request *r, int dir)
{
    return dir < 0 ? AT_FDCWD : (int)argument(r, dir);
}

/* The call once more, with the path that the kernel can find. */
static struct tl_reply again(const struct request *r)
{
    const char *path = r->walk.real;
    return tl_again_path(r->in, r->n, r->call->path, path) ? (struct tl_reply){.kind = TL_REPLY_NONE} : go_on;
}

/* Bytes as a call's result. */
static struct tl_reply give(const struct request *r, int arg, const void *bytes, size_t len, long result)
{
    int rc = len > 0 ? tl_memory_put(r->pid, argument(r, arg), bytes, len) : 0;
    return value(rc != 0 ? -EFAULT : result);
}

/* ---- open ---- */

/* What the source itself has, where nobody can fill the tree's file. */
static struct tl_reply open_source(const struct request *r, int rc)
{
    int fd = open(r->walk.path, (int)(r->flags & ~(long)(O_CREAT | O_EXCL)) | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return value(rc == -EACCES || rc == -EPERM || rc == -ENOENT ? rc : -EIO);
    return (struct tl_reply){.kind = TL_REPLY_FD, .value = fd, .cloexec = (r->flags & O_CLOEXEC) != 0};
}

static struct tl_reply answer_open(const struct request *r)
{
    struct stat st;
    bool follow = tl_path_call_follows(r->call, r->flags);
    if ((r->flags & O_PATH) != 0) /* such descriptors cannot be given away */
        return again(r);
    long refused = tl_refuse_open(r->walk.real, r->flags, follow);
    if (refused != 0)
        return value(refused);
    if (fstatat(AT_FDCWD, r->walk.real, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0)
        return value(-errno);
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode))
        return again(r); /* it could keep us waiting */
    if (tl_ask_needed(&st))
        tl_hear_take_time();
    int rc = tl_ask_needed(&st) ? tl_served_fill(r->in->served, r->walk.real) : 0;
    if (rc != 0)
        return open_source(r, rc);
    int fd = open(r->walk.real, (int)(r->flags & ~(long)O_CREAT) | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return value(-errno);
    return (struct tl_reply){.kind = TL_REPLY_FD, .value = fd, .cloexec = (r->flags & O_CLOEXEC) != 0};
}

/* ---- what looks ---- */

static struct tl_reply answer_stat(const struct request *r, int arg, bool follow)
{
    struct stat st;
    if (fstatat(AT_FDCWD, r->walk.real, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0)
        return value(-errno);
    tl_stub_mend_stat(&r->in->paths, &st);
    return give(r, arg, &st, sizeof st, 0);
}

static struct tl_reply answer_statx(const struct request *r)
{
    struct statx st;
    long rc = syscall(SYS_statx, AT_FDCWD, r->walk.real, (int)r->flags, (unsigned)argument(r, 3), &st);
    if (rc != 0)
        return value(-errno);
    tl_stub_mend_statx(&r->in->paths, &st);
    return give(r, 4, &st, sizeof st, 0);
}

static struct tl_reply answer_look(const struct request *r)
{
    switch (r->n->data.nr) {
    case SYS_stat: return answer_stat(r, 1, true);
    case SYS_lstat: return answer_stat(r, 1, false);
    case SYS_newfstatat: return answer_stat(r, 2, tl_path_call_follows(r->call, r->flags));
    case SYS_statx: return answer_statx(r);
    default: return again(r); /* rare */
    }
}

static struct tl_reply answer_access(const struct request *r)
{
    int mode = (int)argument(r, r->call->path + 1), flags = r->call->flags >= 0 ? (int)r->flags : 0;
    struct stat st;
    if ((mode & ~(R_OK | W_OK | X_OK)) != 0)
        return value(-EINVAL);
    if (fstatat(AT_FDCWD, r->walk.real, &st, flags & AT_SYMLINK_NOFOLLOW) != 0)
        return value(-errno);
    int asked = mode & ~W_OK;
    if (tl_ask_needed(&st) && tl_stub_readable(&r->in->paths, &st))
        asked &= ~R_OK;
    if (faccessat(AT_FDCWD, r->walk.real, asked, flags) != 0)
        return value(-errno);
    return value((mode & W_OK) != 0 ? -EROFS : 0);
}

static struct tl_reply answer_link(const struct request *r)
{
    char text[PATH_MAX];
    int arg = r->call->path + 1, size = (int)argument(r, arg + 1);
    ssize_t n = size > 0 ? readlink(r->walk.real, text, sizeof text) : -1;
    if (n < 0)
        return value(size > 0 ? -errno : -EINVAL);
    n = n < size ? n : size;
    return give(r, arg, text, (size_t)n, n);
}

/* A link of /proc may show a tree. */
static struct tl_reply answer_proc_link(const struct request *r, const char *path)
{
    char text[PATH_MAX], start[PATH_MAX] = "", whole[2 * PATH_MAX];
    bool in_tree;
    int arg = r->call->path + 1, size = (int)argument(r, arg + 1);
    if (path[0] != '/' && !tl_inject_directory(r->in, r->pid, dir_of(r, r->call->dir), start, &in_tree))
        return go_on;
    snprintf(whole, sizeof whole, "%s%s%s", start, path[0] == '/' ? "" : "/", path);
    if (strncmp(whole, "/proc/", 6) != 0 || size <= 0)
        return go_on;
    char real[2 * PATH_MAX + 32];
    if (strncmp(whole, "/proc/self/", 11) == 0)
        snprintf(real, sizeof real, "/proc/%d/%s", (int)r->pid, whole + 11);
    else
        snprintf(real, sizeof real, "%s", whole);
    ssize_t n = readlink(real, text, sizeof text - 1);
    if (n <= 0 || text[0] != '/')
        return go_on;
    text[n] = '\0';
    if (tl_paths_match_tree(&r->in->paths, text) == NULL)
        return go_on;
    n = (ssize_t)tl_paths_reverse(&r->in->paths, text, sizeof text);
    n = n < size ? n : size;
    return give(r, arg, text, (size_t)n, n);
}

static struct tl_reply answer_getcwd(const struct request *r)
{
    char text[PATH_MAX];
    bool in_tree;
    if (!tl_inject_directory(r->in, r->pid, AT_FDCWD, text, &in_tree) || !in_tree)
        return go_on;
    size_t len = strlen(text) + 1;
    return len > argument(r, 1) ? value(-ERANGE) : give(r, 0, text, len, (long)len);
}

/* ---- what changes ---- */

/* The second path of a call that names two. */
static struct tl_reply answer_second(const struct request *r)
{
    const struct tl_path_call *c = r->call;
    char path[PATH_MAX];
    static _Thread_local struct tl_walk walk;
    enum tl_place_kind place;
    if (c->path2 < 0 || tl_memory_text(r->pid, argument(r, c->path2), path) != 0)
        return go_on;
    int rc = tl_inject_place(r->in, r->pid, dir_of(r, c->dir2), path, 0, &place, &walk);
    if (rc != 0 || place != TL_PLACE_SERVED)
        return rc != 0 ? value(rc) : go_on;
    return value(tl_refuse_change(walk.real, c->nr == SYS_link || c->nr == SYS_linkat));
}

static struct tl_reply answer_served(const struct request *r)
{
    switch ((enum tl_path_call_kind)r->call->kind) {
    case TL_PATH_OPEN: return answer_open(r);
    case TL_PATH_LOOK: return answer_look(r);
    case TL_PATH_ACCESS: return answer_access(r);
    case TL_PATH_LINK: return answer_link(r);
    case TL_PATH_CHANGE:
    case TL_PATH_MAKE: return value(tl_refuse_change(r->walk.real, r->call->kind == TL_PATH_MAKE));
    case TL_PATH_ENTER:
    case TL_PATH_EXEC: break;
    }
    return again(r);
}

/* Flags in a register, or in memory. */
static bool read_flags(struct request *r)
{
    struct open_how how;
    r->flags = r->call->flags >= 0 ? (int)argument(r, r->call->flags) : 0;
    if (r->n->data.nr == SYS_creat)
        r->flags = O_CREAT | O_WRONLY | O_TRUNC;
    if (r->n->data.nr != SYS_openat2)
        return true;
    if (argument(r, 3) < sizeof how || tl_memory_get(r->pid, argument(r, 2), &how, sizeof how) != 0)
        return false;
    r->flags = (long)how.flags;
    r->resolve = how.resolve;
    return true;
}

static unsigned how_to_walk(const struct request *r)
{
    unsigned how = tl_path_call_follows(r->call, r->flags) ? TL_WALK_FOLLOW : 0;
    how |= (r->resolve & RESOLVE_NO_SYMLINKS) != 0 ? TL_WALK_NO_LINKS : 0;
    how |= (r->resolve & RESOLVE_BENEATH) != 0 ? TL_WALK_BENEATH : 0;
    return how | ((r->resolve & RESOLVE_IN_ROOT) != 0 ? TL_WALK_IN_ROOT : 0);
}

/* Has what is opened or executed at this real path filled: whoever is not bound by permissions would not notice that it is
 * not whole. */
static void fill(const struct request *r, const char *real)
{
    struct stat st;
    if ((r->call->kind != TL_PATH_OPEN && r->call->kind != TL_PATH_EXEC) || stat(real, &st) != 0 || !tl_ask_needed(&st))
        return;
    tl_hear_take_time();
    (void)tl_served_fill(r->in->served, real);
}

/* A tree by its own name: we put it there ourselves, or a loader found it. */
static bool is_tree_path(const struct request *r, const char *path)
{
    if (path[0] != '/' || tl_paths_match_tree(&r->in->paths, path) == NULL)
        return false;
    fill(r, path);
    return true;
}

/* A path in /proc: the kernel's links may lead into a tree, along the way or at the end. */
static void fill_by_proc(struct request *r, const char *path)
{
    char start[PATH_MAX], text[PATH_MAX], proc_self[32];
    bool in_tree;
    memcpy(start, "/", 2);
    if (path[0] != '/' && !tl_inject_directory(r->in, r->pid, dir_of(r, r->call->dir), start, &in_tree))
        return;
    if (strncmp(path[0] == '/' ? path : start, "/proc", 5) != 0)
        return;
    snprintf(proc_self, sizeof proc_self, "/proc/%d", (int)r->pid);
    if (tl_paths_walk(&r->in->paths, start, path, TL_WALK_FOLLOW, proc_self, &r->walk) != 0)
        return;
    ssize_t n = r->walk.pair == NULL ? readlink(r->walk.real, text, sizeof text - 1) : 0;
    text[n > 0 ? n : 0] = '\0';
    if (r->walk.pair != NULL || (n > 0 && tl_paths_match_tree(&r->in->paths, text) != NULL))
        fill(r, r->walk.pair != NULL ? r->walk.real : text);
}

/* A program that is started by a link of /proc, or by its descriptor: it may have been opened with O_PATH, which fills nothing. */
static void fill_program(struct request *r, const char *path)
{
    char link[32];
    if (path[0] == '\0' && (r->flags & AT_EMPTY_PATH) != 0) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir_of(r, r->call->dir));
        path = link;
    }
    if (path[0] != '\0')
        fill_by_proc(r, path);
}

struct tl_reply tl_inject_answer(void *ctx, const struct seccomp_notif *n)
{
    struct tl_inject *in = ctx;
    static _Thread_local struct request r;
    char path[PATH_MAX];
    r.in = in;
    r.n = n;
    r.call = tl_path_call_find(n->data.nr);
    r.pid = (pid_t)n->pid;
    r.resolve = 0;
    if (n->pid == 0 || !tl_memory_is_ours(r.pid)) /* 0: in a process namespace that we do not see */
        return go_on;
    if (n->data.nr == SYS_getcwd)
        return answer_getcwd(&r);
    if (r.call == NULL || tl_memory_text(r.pid, argument(&r, r.call->path), path) != 0 || !read_flags(&r))
        return go_on;
    if (r.call->kind == TL_PATH_EXEC)
        fill_program(&r, path);
    if (path[0] == '\0' || is_tree_path(&r, path))
        return go_on;
    if (r.call->kind == TL_PATH_EXEC)
        return tl_inject_exec(in, n, dir_of(&r, r.call->dir), path, tl_path_call_follows(r.call, r.flags));
    int rc = tl_inject_place(in, r.pid, dir_of(&r, r.call->dir), path, how_to_walk(&r), &r.place, &r.walk);
    if (rc != 0)
        return value(rc);
    if (r.place == TL_PLACE_SERVED)
        return answer_served(&r);
    if (r.call->path2 >= 0 && r.place == TL_PLACE_AS_IS)
        return answer_second(&r);
    if (r.call->kind == TL_PATH_LINK && r.place == TL_PLACE_AS_IS)
        return answer_proc_link(&r, path);
    if (r.place == TL_PLACE_AS_IS && r.call->kind == TL_PATH_OPEN)
        fill_by_proc(&r, path);
    bool moved = r.place == TL_PLACE_ELSEWHERE && strcmp(r.walk.real, path) != 0;
    return moved ? again(&r) : go_on;
}
