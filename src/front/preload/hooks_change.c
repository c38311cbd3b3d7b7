// SPDX-License-Identifier: Apache-2.0
/* Hooks: what would change files. Below a served path nothing changes: tl_stub_call says so. */
#include "front/preload/hooks.h"

HOOK(int, mkdir, const char *path, unsigned mode)
{
    return tl_hook_path(SYS_mkdir, path, mode, 0, 0, 0);
}

HOOK(int, mkdirat, int dir, const char *path, unsigned mode)
{
    return tl_hook_at(SYS_mkdirat, dir, path, mode, 0, 0);
}

HOOK(int, rmdir, const char *path)
{
    return tl_hook_path(SYS_rmdir, path, 0, 0, 0, 0);
}

HOOK(int, unlink, const char *path)
{
    return tl_hook_path(SYS_unlink, path, 0, 0, 0, 0);
}

HOOK(int, unlinkat, int dir, const char *path, int flags)
{
    return tl_hook_at(SYS_unlinkat, dir, path, flags, 0, 0);
}

HOOK(int, remove, const char *path)
{
    long rc = tl_stub_call(SYS_unlink, tl_arg(path), 0, 0, 0, 0, 0);
    if (rc == -EISDIR || rc == -EPERM)
        rc = tl_stub_call(SYS_rmdir, tl_arg(path), 0, 0, 0, 0, 0);
    return (int)tl_stub_libc(rc);
}

HOOK(int, rename, const char *from, const char *to)
{
    return tl_hook_path(SYS_rename, from, tl_arg(to), 0, 0, 0);
}

HOOK(int, renameat, int dir, const char *from, int dir2, const char *to)
{
    return tl_hook_at(SYS_renameat, dir, from, dir2, tl_arg(to), 0);
}

HOOK(int, renameat2, int dir, const char *from, int dir2, const char *to, unsigned flags)
{
    return tl_hook_at(SYS_renameat2, dir, from, dir2, tl_arg(to), flags);
}

HOOK(int, link, const char *from, const char *to)
{
    return tl_hook_path(SYS_link, from, tl_arg(to), 0, 0, 0);
}

HOOK(int, linkat, int dir, const char *from, int dir2, const char *to, int flags)
{
    return tl_hook_at(SYS_linkat, dir, from, dir2, tl_arg(to), flags);
}

HOOK(int, symlink, const char *text, const char *path)
{
    return tl_hook_path(SYS_symlink, text, tl_arg(path), 0, 0, 0);
}

HOOK(int, symlinkat, const char *text, int dir, const char *path)
{
    return tl_hook_path(SYS_symlinkat, text, dir, tl_arg(path), 0, 0);
}

HOOK(int, mknod, const char *path, unsigned mode, unsigned long device)
{
    return tl_hook_path(SYS_mknod, path, mode, (long)device, 0, 0);
}

HOOK(int, mknodat, int dir, const char *path, unsigned mode, unsigned long device)
{
    return tl_hook_at(SYS_mknodat, dir, path, mode, (long)device, 0);
}

HOOK(int, mkfifo, const char *path, unsigned mode)
{
    return tl_hook_path(SYS_mknod, path, mode | 0010000, 0, 0, 0);
}

HOOK(int, mkfifoat, int dir, const char *path, unsigned mode)
{
    return tl_hook_at(SYS_mknodat, dir, path, mode | 0010000, 0, 0);
}

HOOK(int, chmod, const char *path, unsigned mode)
{
    return tl_hook_path(SYS_chmod, path, mode, 0, 0, 0);
}

typedef int (*fchmodat_fn)(int, const char *, unsigned, int);

HOOK(int, fchmodat, int dir, const char *path, unsigned mode, int flags)
{
    char real[PATH_MAX];
    fchmodat_fn next = flags != 0 ? (fchmodat_fn)(uintptr_t)tl_stub_next("fchmodat") : NULL;
    if (next == NULL)
        return tl_hook_at(SYS_fchmodat, dir, path, mode, 0, 0);
    if (tl_stub_locate_file(dir, path, false, real) == 1) /* the library has its own way to spare links */
        return (int)tl_stub_libc(-EROFS);
    return next(dir, path, mode, flags);
}

HOOK(int, chown, const char *path, unsigned uid, unsigned gid)
{
    return tl_hook_path(SYS_chown, path, uid, gid, 0, 0);
}

HOOK(int, lchown, const char *path, unsigned uid, unsigned gid)
{
    return tl_hook_path(SYS_lchown, path, uid, gid, 0, 0);
}

HOOK(int, fchownat, int dir, const char *path, unsigned uid, unsigned gid, int flags)
{
    return tl_hook_at(SYS_fchownat, dir, path, uid, gid, flags);
}

HOOK(int, truncate, const char *path, long size)
{
    return tl_hook_path(SYS_truncate, path, size, 0, 0, 0);
}

HOOK(int, truncate64, const char *path, long size)
{
    return tl_hook_path(SYS_truncate, path, size, 0, 0, 0);
}

HOOK(int, utime, const char *path, const void *times)
{
    return tl_hook_path(SYS_utime, path, tl_arg(times), 0, 0, 0);
}

HOOK(int, utimes, const char *path, const void *times)
{
    return tl_hook_path(SYS_utimes, path, tl_arg(times), 0, 0, 0);
}

HOOK(int, futimesat, int dir, const char *path, const void *times)
{
    return tl_hook_at(SYS_futimesat, dir, path, tl_arg(times), 0, 0);
}

HOOK(int, utimensat, int dir, const char *path, const void *times, int flags)
{
    if (path == NULL)
        return (int)tl_stub_libc(-EINVAL); /* as the library says; the kernel would take the directory itself */
    return tl_hook_at(SYS_utimensat, dir, path, tl_arg(times), flags, 0);
}

HOOK(int, setxattr, const char *path, const char *name, const void *value, size_t size, int flags)
{
    return tl_hook_path(SYS_setxattr, path, tl_arg(name), tl_arg(value), (long)size, flags);
}

HOOK(int, lsetxattr, const char *path, const char *name, const void *value, size_t size, int flags)
{
    return tl_hook_path(SYS_lsetxattr, path, tl_arg(name), tl_arg(value), (long)size, flags);
}

HOOK(int, removexattr, const char *path, const char *name)
{
    return tl_hook_path(SYS_removexattr, path, tl_arg(name), 0, 0, 0);
}

HOOK(int, lremovexattr, const char *path, const char *name)
{
    return tl_hook_path(SYS_lremovexattr, path, tl_arg(name), 0, 0, 0);
}
