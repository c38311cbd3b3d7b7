// SPDX-License-Identifier: Apache-2.0
#include "front/preload/path_calls.h"

#include <fcntl.h>
#include <sys/syscall.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_setxattrat /* 6.13 */
#define SYS_setxattrat    463
#define SYS_getxattrat    464
#define SYS_listxattrat   465
#define SYS_removexattrat 466
#endif

/* By number: each call of a program is looked up here. Others are 0, which is no call that names a path. */
static const struct tl_path_call calls[] = {
    /* number, kind, follow, dir, path, flags, dir2, path2 */
    [SYS_open] = {SYS_open, TL_PATH_OPEN, TL_FOLLOW_OPEN, -1, 0, 1, -1, -1},
    [SYS_stat] = {SYS_stat, TL_PATH_LOOK, TL_FOLLOW, -1, 0, -1, -1, -1},
    [SYS_lstat] = {SYS_lstat, TL_PATH_LOOK, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    [SYS_access] = {SYS_access, TL_PATH_ACCESS, TL_FOLLOW, -1, 0, -1, -1, -1},
    [SYS_execve] = {SYS_execve, TL_PATH_EXEC, TL_FOLLOW, -1, 0, -1, -1, -1},
    [SYS_truncate] = {SYS_truncate, TL_PATH_CHANGE, TL_FOLLOW, -1, 0, -1, -1, -1},
    [SYS_chdir] = {SYS_chdir, TL_PATH_ENTER, TL_FOLLOW, -1, 0, -1, -1, -1},
    [SYS_rename] = {SYS_rename, TL_PATH_CHANGE, TL_FOLLOW_NOT, -1, 0, -1, -1, 1},
    [SYS_mkdir] = {SYS_mkdir, TL_PATH_MAKE, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    [SYS_rmdir] = {SYS_rmdir, TL_PATH_CHANGE, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    [SYS_creat] = {SYS_creat, TL_PATH_OPEN, TL_FOLLOW, -1, 0, -1, -1, -1},
    [SYS_link] = {SYS_link, TL_PATH_CHANGE, TL_FOLLOW_NOT, -1, 0, -1, -1, 1},
    [SYS_unlink] = {SYS_unlink, TL_PATH_CHANGE, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    [SYS_symlink] = {SYS_symlink, TL_PATH_MAKE, TL_FOLLOW_NOT, -1, 1, -1, -1, -1},
    [SYS_readlink] = {SYS_readlink, TL_PATH_LINK, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    [SYS_chmod] = {SYS_chmod, TL_PATH_CHANGE, TL_FOLLOW, -1, 0, -1, -1, -1},
    [SYS_chown] = {SYS_chown, TL_PATH_CHANGE, TL_FOLLOW, -1, 0, -1, -1, -1},
    [SYS_lchown] = {SYS_lchown, TL_PATH_CHANGE, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    [SYS_utime] = {SYS_utime, TL_PATH_CHANGE, TL_FOLLOW, -1, 0, -1, -1, -1},
    [SYS_mknod] = {SYS_mknod, TL_PATH_MAKE, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    [SYS_statfs] = {SYS_statfs, TL_PATH_LOOK, TL_FOLLOW, -1, 0, -1, -1, -1},
    [SYS_setxattr] = {SYS_setxattr, TL_PATH_CHANGE, TL_FOLLOW, -1, 0, -1, -1, -1},
    [SYS_lsetxattr] = {SYS_lsetxattr, TL_PATH_CHANGE, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    [SYS_getxattr] = {SYS_getxattr, TL_PATH_LOOK, TL_FOLLOW, -1, 0, -1, -1, -1},
    [SYS_lgetxattr] = {SYS_lgetxattr, TL_PATH_LOOK, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    [SYS_listxattr] = {SYS_listxattr, TL_PATH_LOOK, TL_FOLLOW, -1, 0, -1, -1, -1},
    [SYS_llistxattr] = {SYS_llistxattr, TL_PATH_LOOK, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    [SYS_removexattr] = {SYS_removexattr, TL_PATH_CHANGE, TL_FOLLOW, -1, 0, -1, -1, -1},
    [SYS_lremovexattr] = {SYS_lremovexattr, TL_PATH_CHANGE, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    [SYS_utimes] = {SYS_utimes, TL_PATH_CHANGE, TL_FOLLOW, -1, 0, -1, -1, -1},
    [SYS_inotify_add_watch] = {SYS_inotify_add_watch, TL_PATH_LOOK, TL_FOLLOW, -1, 1, -1, -1, -1},
    [SYS_openat] = {SYS_openat, TL_PATH_OPEN, TL_FOLLOW_OPEN, 0, 1, 2, -1, -1},
    [SYS_mkdirat] = {SYS_mkdirat, TL_PATH_MAKE, TL_FOLLOW_NOT, 0, 1, -1, -1, -1},
    [SYS_mknodat] = {SYS_mknodat, TL_PATH_MAKE, TL_FOLLOW_NOT, 0, 1, -1, -1, -1},
    [SYS_fchownat] = {SYS_fchownat, TL_PATH_CHANGE, TL_FOLLOW_FLAGS, 0, 1, 4, -1, -1},
    [SYS_futimesat] = {SYS_futimesat, TL_PATH_CHANGE, TL_FOLLOW, 0, 1, -1, -1, -1},
    [SYS_newfstatat] = {SYS_newfstatat, TL_PATH_LOOK, TL_FOLLOW_FLAGS, 0, 1, 3, -1, -1},
    [SYS_unlinkat] = {SYS_unlinkat, TL_PATH_CHANGE, TL_FOLLOW_NOT, 0, 1, -1, -1, -1},
    [SYS_renameat] = {SYS_renameat, TL_PATH_CHANGE, TL_FOLLOW_NOT, 0, 1, -1, 2, 3},
    [SYS_linkat] = {SYS_linkat, TL_PATH_CHANGE, TL_FOLLOW_ASKED, 0, 1, 4, 2, 3},
    [SYS_symlinkat] = {SYS_symlinkat, TL_PATH_MAKE, TL_FOLLOW_NOT, 1, 2, -1, -1, -1},
    [SYS_readlinkat] = {SYS_readlinkat, TL_PATH_LINK, TL_FOLLOW_NOT, 0, 1, -1, -1, -1},
    [SYS_fchmodat] = {SYS_fchmodat, TL_PATH_CHANGE, TL_FOLLOW, 0, 1, -1, -1, -1},
    [SYS_faccessat] = {SYS_faccessat, TL_PATH_ACCESS, TL_FOLLOW, 0, 1, -1, -1, -1},
    [SYS_utimensat] = {SYS_utimensat, TL_PATH_CHANGE, TL_FOLLOW_FLAGS, 0, 1, 3, -1, -1},
    [SYS_name_to_handle_at] = {SYS_name_to_handle_at, TL_PATH_LOOK, TL_FOLLOW_ASKED, 0, 1, 4, -1, -1},
    [SYS_renameat2] = {SYS_renameat2, TL_PATH_CHANGE, TL_FOLLOW_NOT, 0, 1, -1, 2, 3},
    [SYS_execveat] = {SYS_execveat, TL_PATH_EXEC, TL_FOLLOW_FLAGS, 0, 1, 4, -1, -1},
    [SYS_statx] = {SYS_statx, TL_PATH_LOOK, TL_FOLLOW_FLAGS, 0, 1, 2, -1, -1},
    [SYS_openat2] = {SYS_openat2, TL_PATH_OPEN, TL_FOLLOW_OPEN, 0, 1, -1, -1, -1},
    [SYS_faccessat2] = {SYS_faccessat2, TL_PATH_ACCESS, TL_FOLLOW_FLAGS, 0, 1, 3, -1, -1},
    [SYS_fchmodat2] = {SYS_fchmodat2, TL_PATH_CHANGE, TL_FOLLOW_FLAGS, 0, 1, 3, -1, -1},
    [SYS_setxattrat] = {SYS_setxattrat, TL_PATH_CHANGE, TL_FOLLOW_FLAGS, 0, 1, 2, -1, -1},
    [SYS_getxattrat] = {SYS_getxattrat, TL_PATH_LOOK, TL_FOLLOW_FLAGS, 0, 1, 2, -1, -1},
    [SYS_listxattrat] = {SYS_listxattrat, TL_PATH_LOOK, TL_FOLLOW_FLAGS, 0, 1, 2, -1, -1},
    [SYS_removexattrat] = {SYS_removexattrat, TL_PATH_CHANGE, TL_FOLLOW_FLAGS, 0, 1, 2, -1, -1},
};

const struct tl_path_call *tl_path_call_all(size_t *count)
{
    *count = sizeof calls / sizeof calls[0];
    return calls;
}

const struct tl_path_call *tl_path_call_find(long nr)
{
    return nr > 0 && (size_t)nr < sizeof calls / sizeof calls[0] && calls[nr].nr != 0 ? &calls[nr] : NULL;
}

bool tl_path_call_follows(const struct tl_path_call *c, long flags)
{
    switch ((enum tl_path_call_follow)c->follow) {
    case TL_FOLLOW: return true;
    case TL_FOLLOW_NOT: return false;
    case TL_FOLLOW_FLAGS: return (flags & AT_SYMLINK_NOFOLLOW) == 0;
    case TL_FOLLOW_ASKED: return (flags & AT_SYMLINK_FOLLOW) != 0;
    case TL_FOLLOW_OPEN: return (flags & O_NOFOLLOW) == 0 && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
    }
    return true;
}
