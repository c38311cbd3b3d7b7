// SPDX-License-Identifier: Apache-2.0
/* Hooks: directories, and library functions that go through several by calls of their own. */
#include <glob.h>

#include "front/preload/hooks.h"

/* Of the program's C library. */
extern void *fdopendir(int fd) __attribute__((weak));
extern int closedir(void *stream) __attribute__((weak));
extern void *readdir(void *stream) __attribute__((weak));
extern void *malloc(size_t size) __attribute__((weak));
extern void *dlsym(void *handle, const char *name) __attribute__((weak));

#define NEXT ((void *)-1l) /* RTLD_NEXT */

void *tl_stub_next(const char *name)
{
    return dlsym != NULL ? dlsym(NEXT, name) : NULL;
}

HOOK(int, chdir, const char *path)
{
    return tl_hook_path(SYS_chdir, path, 0, 0, 0, 0);
}

HOOK(void *, opendir, const char *path)
{
    int fd = tl_hook_at(SYS_openat, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK, 0, 0);
    void *stream = fd >= 0 && fdopendir != NULL ? fdopendir(fd) : NULL;
    if (fd >= 0 && stream == NULL)
        tl_raw2(SYS_close, fd, 0);
    return stream;
}

typedef int (*scandir_fn)(const char *, void *, void *, void *);

static int scan(const char *name, const char *path, void *list, void *filter, void *compare)
{
    char real[PATH_MAX];
    scandir_fn next = (scandir_fn)(uintptr_t)tl_stub_next(name);
    if (next == NULL)
        return (int)tl_stub_libc(-ENOSYS);
    return next(tl_stub_locate(AT_FDCWD, path, true, real) == 1 ? real : path, list, filter, compare);
}

HOOK(int, scandir, const char *path, void *list, void *filter, void *compare)
{
    return scan("scandir", path, list, filter, compare);
}

HOOK(int, scandir64, const char *path, void *list, void *filter, void *compare)
{
    return scan("scandir64", path, list, filter, compare);
}

/* ---- functions of one path and a pointer or number, which the library does with others ---- */

typedef long (*two_fn)(const char *, long);

static long call_two(const char *name, const char *path, long second)
{
    char real[PATH_MAX];
    two_fn next = (two_fn)(uintptr_t)tl_stub_next(name);
    if (next == NULL)
        return tl_stub_libc(-ENOSYS);
    return next(tl_stub_locate(AT_FDCWD, path, true, real) == 1 ? real : path, second);
}

HOOK(int, statvfs, const char *path, void *st)
{
    return (int)call_two("statvfs", path, tl_arg(st));
}

HOOK(int, statvfs64, const char *path, void *st)
{
    return (int)call_two("statvfs64", path, tl_arg(st));
}

HOOK(long, pathconf, const char *path, int name)
{
    return call_two("pathconf", path, name);
}

/* ---- paths ---- */

/* Like the library's: into out, or memory of its own. */
static char *give(const char *text, size_t len, char *out, size_t room)
{
    if (out == NULL)
        out = malloc != NULL ? malloc(room > len ? room : len + 1) : NULL;
    if (out == NULL)
        tl_stub_libc(-ENOMEM);
    else
        tl_copy(out, text, len + 1);
    return out;
}

/* The working directory as the program knows it. */
static long where(char out[PATH_MAX])
{
    long n = tl_raw2(SYS_getcwd, tl_arg(out), PATH_MAX);
    const struct tl_paths *p = tl_stub_paths();
    if (n > 0 && out[0] != '/')
        return -ENOENT; /* outside the root: as the library has it */
    return n > 0 ? (long)(p != NULL ? tl_paths_reverse(p, out, PATH_MAX) : (size_t)n - 1) : n;
}

static char *get_directory(char *out, size_t size)
{
    char text[PATH_MAX];
    long n = out != NULL && size == 0 ? -EINVAL : where(text);
    if (n >= 0 && (out != NULL || size != 0) && (size_t)n >= size)
        n = -ERANGE;
    if (n < 0) {
        tl_stub_libc(n);
        return NULL;
    }
    return give(text, (size_t)n, out, size);
}

HOOK(char *, getcwd, char *out, size_t size)
{
    return get_directory(out, size);
}

HOOK(char *, __getcwd_chk, char *out, size_t size, size_t room)
{
    return get_directory(out, size < room ? size : room);
}

HOOK(char *, getwd, char *out)
{
    return get_directory(out, PATH_MAX);
}

HOOK(char *, get_current_dir_name, void)
{
    return get_directory(NULL, 0);
}

typedef char *(*realpath_fn)(const char *, char *);

/* The path that the program would see without us: by walking it. */
static char *resolve(const char *path, char *out)
{
    char start[PATH_MAX];
    struct tl_walk w;
    const struct tl_paths *p = tl_stub_paths();
    realpath_fn next = (realpath_fn)(uintptr_t)tl_stub_next("realpath");
    if (path == NULL || path[0] == '\0' || p == NULL)
        return next != NULL ? next(path, out) : NULL;
    long rc = where(start);
    if (rc >= 0)
        rc = tl_paths_walk(p, start, path, TL_WALK_FOLLOW | TL_WALK_EXISTING, NULL, &w);
    if (rc == 0 && w.slash)
        rc = tl_raw4(SYS_openat, AT_FDCWD, tl_arg(w.real), O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (rc > 0 && w.slash)
        tl_raw2(SYS_close, rc, 0);
    if (rc < 0) {
        tl_stub_libc(rc);
        return NULL;
    }
    if (w.pair == NULL && tl_same(w.path, "/proc", 5) && next != NULL) { /* where links lead that are no text */
        char real[PATH_MAX];
        if (next(w.path, real) == NULL)
            return NULL;
        return give(real, tl_paths_reverse(p, real, sizeof real), out, PATH_MAX);
    }
    return give(w.path, tl_length(w.path), out, out != NULL ? PATH_MAX : 0);
}

HOOK(char *, realpath, const char *path, char *out)
{
    return resolve(path, out);
}

HOOK(char *, __realpath_chk, const char *path, char *out, size_t room)
{
    (void)room;
    return resolve(path, out);
}

HOOK(char *, canonicalize_file_name, const char *path)
{
    return resolve(path, NULL);
}

/* ---- ftw and nftw: told in the program's names ---- */

struct ftw_place {
    int base, level;
};
typedef int (*nftw_call)(const char *, const void *, int, struct ftw_place *);
typedef int (*ftw_call)(const char *, const void *, int);
typedef int (*nftw_fn)(const char *, nftw_call, int, int);
typedef int (*ftw_fn)(const char *, ftw_call, int);

/* Of the walk that this thread is in; they nest. */
struct walking {
    const char *given, *real;
    nftw_call nftw;
    ftw_call ftw;
};
static __thread struct walking *walking __attribute__((tls_model("initial-exec")));

/* given instead of real at the front. */
static const char *as_given(const char *path, char out[PATH_MAX])
{
    size_t given = tl_length(walking->given), real = tl_length(walking->real), len = tl_length(path);
    if (len < real || given + len - real >= PATH_MAX)
        return path;
    tl_copy(out, walking->given, given);
    tl_copy(out + given, path + real, len - real + 1);
    return out;
}

static int tell_nftw(const char *path, const void *st, int type, struct ftw_place *place)
{
    char own[PATH_MAX];
    struct ftw_place there = *place;
    struct walking *mine = walking;
    const char *name = as_given(path, own);
    const char *last = tl_last_slash(name);
    there.base = last != NULL && last[1] != '\0' ? (int)(last + 1 - name) : place->base;
    int rc = mine->nftw(name, st, type, &there);
    walking = mine;
    return rc;
}

static int tell_ftw(const char *path, const void *st, int type)
{
    char own[PATH_MAX];
    struct walking *mine = walking;
    int rc = mine->ftw(as_given(path, own), st, type);
    walking = mine;
    return rc;
}

static int walk_tree(const char *name, const char *path, nftw_call nftw, ftw_call ftw, int fds, int flags)
{
    char real[PATH_MAX];
    void *next = tl_stub_next(name);
    struct walking mine = {path, real, nftw, ftw}, *outer = walking;
    if (next == NULL)
        return (int)tl_stub_libc(-ENOSYS);
    bool served = tl_stub_locate(AT_FDCWD, path, false, real) == 1;
    if (!served)
        return nftw != NULL ? ((nftw_fn)(uintptr_t)next)(path, nftw, fds, flags)
                            : ((ftw_fn)(uintptr_t)next)(path, ftw, fds);
    walking = &mine;
    int rc = nftw != NULL ? ((nftw_fn)(uintptr_t)next)(real, tell_nftw, fds, flags)
                          : ((ftw_fn)(uintptr_t)next)(real, tell_ftw, fds);
    walking = outer;
    return rc;
}

HOOK(int, nftw, const char *path, nftw_call call, int fds, int flags)
{
    return walk_tree("nftw", path, call, NULL, fds, flags);
}

HOOK(int, nftw64, const char *path, nftw_call call, int fds, int flags)
{
    return walk_tree("nftw64", path, call, NULL, fds, flags);
}

HOOK(int, ftw, const char *path, ftw_call call, int fds)
{
    return walk_tree("ftw", path, NULL, call, fds, 0);
}

HOOK(int, ftw64, const char *path, ftw_call call, int fds)
{
    return walk_tree("ftw64", path, NULL, call, fds, 0);
}

/* ---- glob: the library lets us look for it ---- */

typedef int (*glob_fn)(const char *, int, void *, glob_t *);

static int look_follow(const char *path, void *st)
{
    return (int)tl_stub_libc(tl_stub_call(SYS_newfstatat, AT_FDCWD, tl_arg(path), tl_arg(st), 0, 0, 0));
}

static int look_not(const char *path, void *st)
{
    return (int)tl_stub_libc(
        tl_stub_call(SYS_newfstatat, AT_FDCWD, tl_arg(path), tl_arg(st), AT_SYMLINK_NOFOLLOW, 0, 0));
}

static void close_directory(void *stream)
{
    closedir(stream);
}

static int expand(const char *name, const char *pattern, int flags, void *on_error, glob_t *out)
{
    glob_fn next = (glob_fn)(uintptr_t)tl_stub_next(name);
    if (next == NULL)
        return GLOB_ABORTED;
    if (tl_stub_paths() == NULL || (flags & GLOB_ALTDIRFUNC) != 0 || readdir == NULL || closedir == NULL)
        return next(pattern, flags, on_error, out);
    out->gl_opendir = opendir;
    out->gl_readdir = (__typeof__(out->gl_readdir))readdir;
    out->gl_closedir = close_directory;
    out->gl_stat = (__typeof__(out->gl_stat))look_follow;
    out->gl_lstat = (__typeof__(out->gl_lstat))look_not;
    int rc = next(pattern, flags | GLOB_ALTDIRFUNC, on_error, out);
    out->gl_flags &= ~GLOB_ALTDIRFUNC;
    return rc;
}

/* The header declares both names already, one as the other. */
TL_HOOK int tl_hook_glob(const char *pattern, int flags, void *on_error, glob_t *out) __asm__("glob");
TL_HOOK int tl_hook_glob64(const char *pattern, int flags, void *on_error, glob_t *out) __asm__("glob64");

int tl_hook_glob(const char *pattern, int flags, void *on_error, glob_t *out)
{
    return expand("glob", pattern, flags, on_error, out);
}

int tl_hook_glob64(const char *pattern, int flags, void *on_error, glob_t *out)
{
    return expand("glob64", pattern, flags, on_error, out);
}
