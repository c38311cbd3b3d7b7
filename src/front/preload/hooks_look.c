// SPDX-License-Identifier: Apache-2.0
/* Hooks: what looks at files: open, stat, access, links, attributes; and syscall(2) itself. */
#include "front/preload/hooks.h"

/* Of the program's C library. */
extern void *fdopen(int fd, const char *mode) __attribute__((weak));

/* Some names are more than one function; an argument list too short leaves rubbish in mode, which the kernel ignores. */
static int open_at(int dir, const char *path, int flags, unsigned mode)
{
    if ((flags & (O_ACCMODE | O_CREAT | O_TRUNC)) != O_RDONLY || !tl_stub_is_plain(path, true))
        return tl_hook_at(SYS_openat, dir, path, flags, mode, 0);
    long rc = tl_raw_often(SYS_openat, dir, tl_arg(path), flags, mode, 0, 0);
    if (rc < 0)
        rc = tl_stub_call_after(rc, SYS_openat, dir, tl_arg(path), flags, mode);
    return (int)tl_stub_libc(rc);
}

HOOK(int, open, const char *path, int flags, unsigned mode)
{
    return open_at(AT_FDCWD, path, flags, mode);
}

HOOK(int, open64, const char *path, int flags, unsigned mode)
{
    return open_at(AT_FDCWD, path, flags, mode);
}

HOOK(int, __open, const char *path, int flags, unsigned mode)
{
    return open_at(AT_FDCWD, path, flags, mode);
}

HOOK(int, __open64, const char *path, int flags, unsigned mode)
{
    return open_at(AT_FDCWD, path, flags, mode);
}

HOOK(int, __open_2, const char *path, int flags)
{
    return open_at(AT_FDCWD, path, flags, 0);
}

HOOK(int, __open64_2, const char *path, int flags)
{
    return open_at(AT_FDCWD, path, flags, 0);
}

HOOK(int, openat, int dir, const char *path, int flags, unsigned mode)
{
    return open_at(dir, path, flags, mode);
}

HOOK(int, openat64, int dir, const char *path, int flags, unsigned mode)
{
    return open_at(dir, path, flags, mode);
}

HOOK(int, __openat_2, int dir, const char *path, int flags)
{
    return open_at(dir, path, flags, 0);
}

HOOK(int, __openat64_2, int dir, const char *path, int flags)
{
    return open_at(dir, path, flags, 0);
}

HOOK(int, creat, const char *path, unsigned mode)
{
    return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

HOOK(int, creat64, const char *path, unsigned mode)
{
    return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* ---- streams ---- */

static bool has(const char *text, char c)
{
    for (; *text != '\0' && *text != ','; text++)
        if (*text == c)
            return true;
    return false;
}

static bool has_charset(const char *mode)
{
    for (; *mode != '\0'; mode++)
        if (*mode == ',')
            return true;
    return false;
}

/* -1: no mode at all. */
static int flags_of_mode(const char *mode)
{
    int flags = has(mode, '+') ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY;
    if (mode[0] == 'w')
        flags |= O_CREAT | O_TRUNC;
    else if (mode[0] == 'a')
        flags |= O_CREAT | O_APPEND;
    else if (mode[0] != 'r')
        return -1;
    return flags | (has(mode, 'x') ? O_EXCL : 0) | (has(mode, 'e') ? O_CLOEXEC : 0);
}

typedef void *(*fopen_fn)(const char *, const char *);
typedef void *(*freopen_fn)(const char *, const char *, void *);

static void *open_stream(const char *path, const char *mode)
{
    int flags = flags_of_mode(mode);
    if (fdopen == NULL || flags < 0 || has_charset(mode) || !tl_stub_opens()) {
        char real[PATH_MAX];
        fopen_fn next = (fopen_fn)(uintptr_t)tl_stub_next("fopen");
        return next != NULL ? next(tl_stub_locate(AT_FDCWD, path, true, real) == 1 ? real : path, mode) : NULL;
    }
    int fd = open_at(AT_FDCWD, path, flags, 0666);
    void *stream = fd >= 0 ? fdopen(fd, mode) : NULL;
    if (fd >= 0 && stream == NULL)
        tl_raw2(SYS_close, fd, 0);
    return stream;
}

static void *reopen_stream(const char *path, const char *mode, void *stream)
{
    char real[PATH_MAX];
    freopen_fn next = (freopen_fn)(uintptr_t)tl_stub_next("freopen");
    bool served = path != NULL && tl_stub_locate(AT_FDCWD, path, true, real) == 1;
    return next != NULL ? next(served ? real : path, mode, stream) : NULL;
}

HOOK(void *, fopen, const char *path, const char *mode)
{
    return open_stream(path, mode);
}

HOOK(void *, fopen64, const char *path, const char *mode)
{
    return open_stream(path, mode);
}

HOOK(void *, freopen, const char *path, const char *mode, void *stream)
{
    return reopen_stream(path, mode, stream);
}

HOOK(void *, freopen64, const char *path, const char *mode, void *stream)
{
    return reopen_stream(path, mode, stream);
}

/* ---- stat: on x86-64 the kernel's structure is the library's ---- */

static int stat_at(int dir, const char *path, void *st, int flags)
{
    if (!tl_stub_is_plain(path, false))
        return tl_hook_at(SYS_newfstatat, dir, path, tl_arg(st), flags, 0);
    long rc = tl_raw_often(SYS_newfstatat, dir, tl_arg(path), tl_arg(st), flags, 0, 0);
    if (rc < 0)
        rc = tl_stub_call_after(rc, SYS_newfstatat, dir, tl_arg(path), tl_arg(st), flags);
    else if (tl_stub_paths() != NULL && path[0] != '/')
        tl_stub_mend_stat(tl_stub_paths(), st);
    return (int)tl_stub_libc(rc);
}

HOOK(int, stat, const char *path, void *st)
{
    return stat_at(AT_FDCWD, path, st, 0);
}

HOOK(int, stat64, const char *path, void *st)
{
    return stat_at(AT_FDCWD, path, st, 0);
}

HOOK(int, lstat, const char *path, void *st)
{
    return stat_at(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

HOOK(int, lstat64, const char *path, void *st)
{
    return stat_at(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

HOOK(int, fstatat, int dir, const char *path, void *st, int flags)
{
    return stat_at(dir, path, st, flags);
}

HOOK(int, fstatat64, int dir, const char *path, void *st, int flags)
{
    return stat_at(dir, path, st, flags);
}

HOOK(int, __xstat, int version, const char *path, void *st)
{
    (void)version;
    return stat_at(AT_FDCWD, path, st, 0);
}

HOOK(int, __xstat64, int version, const char *path, void *st)
{
    (void)version;
    return stat_at(AT_FDCWD, path, st, 0);
}

HOOK(int, __lxstat, int version, const char *path, void *st)
{
    (void)version;
    return stat_at(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

HOOK(int, __lxstat64, int version, const char *path, void *st)
{
    (void)version;
    return stat_at(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

HOOK(int, __fxstatat, int version, int dir, const char *path, void *st, int flags)
{
    (void)version;
    return stat_at(dir, path, st, flags);
}

HOOK(int, __fxstatat64, int version, int dir, const char *path, void *st, int flags)
{
    (void)version;
    return stat_at(dir, path, st, flags);
}

/* The C library makes a call of this that names a path, an empty one, and a supervisor would hear of it: once for each file that
 * Python reads. The kernel's own does not. */
static int stat_open(int fd, void *st)
{
    return (int)tl_stub_libc(tl_raw2(SYS_fstat, fd, tl_arg(st)));
}

HOOK(int, fstat, int fd, void *st)
{
    return stat_open(fd, st);
}

HOOK(int, fstat64, int fd, void *st)
{
    return stat_open(fd, st);
}

HOOK(int, __fxstat, int version, int fd, void *st)
{
    (void)version;
    return stat_open(fd, st);
}

HOOK(int, __fxstat64, int version, int fd, void *st)
{
    (void)version;
    return stat_open(fd, st);
}

HOOK(int, statx, int dir, const char *path, int flags, unsigned mask, void *st)
{
    return tl_hook_at(SYS_statx, dir, path, flags, mask, tl_arg(st));
}

HOOK(int, statfs, const char *path, void *st)
{
    return tl_hook_path(SYS_statfs, path, tl_arg(st), 0, 0, 0);
}

HOOK(int, statfs64, const char *path, void *st)
{
    return tl_hook_path(SYS_statfs, path, tl_arg(st), 0, 0, 0);
}

/* ---- access, links, attributes ---- */

HOOK(int, access, const char *path, int mode)
{
    return tl_hook_path(SYS_access, path, mode, 0, 0, 0);
}

HOOK(int, faccessat, int dir, const char *path, int mode, int flags)
{
    return tl_hook_at(flags != 0 ? SYS_faccessat2 : SYS_faccessat, dir, path, mode, flags, 0);
}

HOOK(int, euidaccess, const char *path, int mode)
{
    return tl_hook_at(SYS_faccessat2, AT_FDCWD, path, mode, AT_EACCESS, 0);
}

HOOK(int, eaccess, const char *path, int mode)
{
    return tl_hook_at(SYS_faccessat2, AT_FDCWD, path, mode, AT_EACCESS, 0);
}

HOOK(long, readlink, const char *path, char *out, size_t size)
{
    return tl_stub_libc(tl_stub_call(SYS_readlink, tl_arg(path), tl_arg(out), (long)size, 0, 0, 0));
}

HOOK(long, readlinkat, int dir, const char *path, char *out, size_t size)
{
    return tl_stub_libc(tl_stub_call(SYS_readlinkat, dir, tl_arg(path), tl_arg(out), (long)size, 0, 0));
}

HOOK(long, __readlink_chk, const char *path, char *out, size_t size, size_t room)
{
    return tl_stub_libc(
        tl_stub_call(SYS_readlink, tl_arg(path), tl_arg(out), (long)(size < room ? size : room), 0, 0, 0));
}

HOOK(long, __readlinkat_chk, int dir, const char *path, char *out, size_t size, size_t room)
{
    return tl_stub_libc(
        tl_stub_call(SYS_readlinkat, dir, tl_arg(path), tl_arg(out), (long)(size < room ? size : room), 0, 0));
}

HOOK(long, getxattr, const char *path, const char *name, void *value, size_t size)
{
    return tl_stub_libc(tl_stub_call(SYS_getxattr, tl_arg(path), tl_arg(name), tl_arg(value), (long)size, 0, 0));
}

HOOK(long, lgetxattr, const char *path, const char *name, void *value, size_t size)
{
    return tl_stub_libc(tl_stub_call(SYS_lgetxattr, tl_arg(path), tl_arg(name), tl_arg(value), (long)size, 0, 0));
}

HOOK(long, listxattr, const char *path, char *list, size_t size)
{
    return tl_stub_libc(tl_stub_call(SYS_listxattr, tl_arg(path), tl_arg(list), (long)size, 0, 0, 0));
}

HOOK(long, llistxattr, const char *path, char *list, size_t size)
{
    return tl_stub_libc(tl_stub_call(SYS_llistxattr, tl_arg(path), tl_arg(list), (long)size, 0, 0, 0));
}

HOOK(int, inotify_add_watch, int fd, const char *path, unsigned mask)
{
    return tl_hook_at(SYS_inotify_add_watch, fd, path, mask, 0, 0);
}

HOOK(long, syscall, long nr, long a, long b, long c, long d, long e, long f)
{
    return tl_stub_libc(tl_stub_call(nr, a, b, c, d, e, f));
}
