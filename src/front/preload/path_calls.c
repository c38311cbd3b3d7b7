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

/* Ordered by number, for the search. */
static const struct tl_path_call calls[] = {
    /* number, kind, follow, dir, path, flags, dir2, path2 */
    {SYS_open, TL_PATH_OPEN, TL_FOLLOW_OPEN, -1, 0, 1, -1, -1},
    {SYS_stat, TL_PATH_LOOK, TL_FOLLOW, -1, 0, -1, -1, -1},
    {SYS_lstat, TL_PATH_LOOK, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    {SYS_access, TL_PATH_ACCESS, TL_FOLLOW, -1, 0, -1, -1, -1},
    {SYS_execve, TL_PATH_EXEC, TL_FOLLOW, -1, 0, -1, -1, -1},
    {SYS_truncate, TL_PATH_CHANGE, TL_FOLLOW, -1, 0, -1, -1, -1},
    {SYS_chdir, TL_PATH_ENTER, TL_FOLLOW, -1, 0, -1, -1, -1},
    {SYS_rename, TL_PATH_CHANGE, TL_FOLLOW_NOT, -1, 0, -1, -1, 1},
    {SYS_mkdir, TL_PATH_MAKE, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    {SYS_rmdir, TL_PATH_CHANGE, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    {SYS_creat, TL_PATH_OPEN, TL_FOLLOW, -1, 0, -1, -1, -1},
    {SYS_link, TL_PATH_CHANGE, TL_FOLLOW_NOT, -1, 0, -1, -1, 1},
    {SYS_unlink, TL_PATH_CHANGE, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    {SYS_symlink, TL_PATH_MAKE, TL_FOLLOW_NOT, -1, 1, -1, -1, -1},
    {SYS_readlink, TL_PATH_LINK, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    {SYS_chmod, TL_PATH_CHANGE, TL_FOLLOW, -1, 0, -1, -1, -1},
    {SYS_chown, TL_PATH_CHANGE, TL_FOLLOW, -1, 0, -1, -1, -1},
    {SYS_lchown, TL_PATH_CHANGE, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    {SYS_utime, TL_PATH_CHANGE, TL_FOLLOW, -1, 0, -1, -1, -1},
    {SYS_mknod, TL_PATH_MAKE, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    {SYS_statfs, TL_PATH_LOOK, TL_FOLLOW, -1, 0, -1, -1, -1},
    {SYS_setxattr, TL_PATH_CHANGE, TL_FOLLOW, -1, 0, -1, -1, -1},
    {SYS_lsetxattr, TL_PATH_CHANGE, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    {SYS_getxattr, TL_PATH_LOOK, TL_FOLLOW, -1, 0, -1, -1, -1},
    {SYS_lgetxattr, TL_PATH_LOOK, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    {SYS_listxattr, TL_PATH_LOOK, TL_FOLLOW, -1, 0, -1, -1, -1},
    {SYS_llistxattr, TL_PATH_LOOK, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    {SYS_removexattr, TL_PATH_CHANGE, TL_FOLLOW, -1, 0, -1, -1, -1},
    {SYS_lremovexattr, TL_PATH_CHANGE, TL_FOLLOW_NOT, -1, 0, -1, -1, -1},
    {SYS_utimes, TL_PATH_CHANGE, TL_FOLLOW, -1, 0, -1, -1, -1},
    {SYS_inotify_add_watch, TL_PATH_LOOK, TL_FOLLOW, -1, 1, -1, -1, -1},
    {SYS_openat, TL_PATH_OPEN, TL_FOLLOW_OPEN, 0, 1, 2, -1, -1},
    {SYS_mkdirat, TL_PATH_MAKE, TL_FOLLOW_NOT, 0, 1, -1, -1, -1},
    {SYS_mknodat, TL_PATH_MAKE, TL_FOLLOW_NOT, 0, 1, -1, -1, -1},
    {SYS_fchownat, TL_PATH_CHANGE, TL_FOLLOW_FLAGS, 0, 1, 4, -1, -1},
    {SYS_futimesat, TL_PATH_CHANGE, TL_FOLLOW, 0, 1, -1, -1, -1},
    {SYS_newfstatat, TL_PATH_LOOK, TL_FOLLOW_FLAGS, 0, 1, 3, -1, -1},
    {SYS_unlinkat, TL_PATH_CHANGE, TL_FOLLOW_NOT, 0, 1, -1, -1, -1},
    {SYS_renameat, TL_PATH_CHANGE, TL_FOLLOW_NOT, 0, 1, -1, 2, 3},
    {SYS_linkat, TL_PATH_CHANGE, TL_FOLLOW_ASKED, 0, 1, 4, 2, 3},
    {SYS_symlinkat, TL_PATH_MAKE, TL_FOLLOW_NOT, 1, 2, -1, -1, -1},
    {SYS_readlinkat, TL_PATH_LINK, TL_FOLLOW_NOT, 0, 1, -1, -1, -1},
    {SYS_fchmodat, TL_PATH_CHANGE, TL_FOLLOW, 0, 1, -1, -1, -1},
    {SYS_faccessat, TL_PATH_ACCESS, TL_FOLLOW, 0, 1, -1, -1, -1},
    {SYS_utimensat, TL_PATH_CHANGE, TL_FOLLOW_FLAGS, 0, 1, 3, -1, -1},
    {SYS_name_to_handle_at, TL_PATH_LOOK, TL_FOLLOW_ASKED, 0, 1, 4, -1, -1},
    {SYS_renameat2, TL_PATH_CHANGE, TL_FOLLOW_NOT, 0, 1, -1, 2, 3},
    {SYS_execveat, TL_PATH_EXEC, TL_FOLLOW_FLAGS, 0, 1, 4, -1, -1},
    {SYS_statx, TL_PATH_LOOK, TL_FOLLOW_FLAGS, 0, 1, 2, -1, -1},
    {SYS_openat2, TL_PATH_OPEN, TL_FOLLOW_OPEN, 0, 1, -1, -1, -1},
    {SYS_faccessat2, TL_PATH_ACCESS, TL_FOLLOW_FLAGS, 0, 1, 3, -1, -1},
    {SYS_fchmodat2, TL_PATH_CHANGE, TL_FOLLOW_FLAGS, 0, 1, 3, -1, -1},
    {SYS_setxattrat, TL_PATH_CHANGE, TL_FOLLOW_FLAGS, 0, 1, 2, -1, -1},
    {SYS_getxattrat, TL_PATH_LOOK, TL_FOLLOW_FLAGS, 0, 1, 2, -1, -1},
    {SYS_listxattrat, TL_PATH_LOOK, TL_FOLLOW_FLAGS, 0, 1, 2, -1, -1},
    {SYS_removexattrat, TL_PATH_CHANGE, TL_FOLLOW_FLAGS, 0, 1, 2, -1, -1},
};

const struct tl_path_call *tl_path_call_all(size_t *count)
{
    *count = sizeof calls / sizeof calls[0];
    return calls;
}

const struct tl_path_call *tl_path_call_find(long nr)
{
    size_t from = 0, to = sizeof calls / sizeof calls[0];
    while (from < to) {
        size_t mid = (from + to) / 2;
        if (calls[mid].nr == nr)
            return &calls[mid];
        if (calls[mid].nr < nr)
            from = mid + 1;
        else
            to = mid;
    }
    return NULL;
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
