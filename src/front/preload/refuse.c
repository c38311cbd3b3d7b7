// SPDX-License-Identifier: Apache-2.0
/* Nothing below a served path changes: what the kernel would say of a file system that is read-only. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "front/preload/path_calls.h"
#include "front/preload/raw.h"

bool tl_path_writes(long flags)
{
    return (flags & O_PATH) == 0 &&
           ((flags & O_ACCMODE) != O_RDONLY || (flags & (O_TRUNC | O_CREAT)) != 0 || (flags & O_TMPFILE) == O_TMPFILE);
}

long tl_refuse_open(const char *real, long flags, bool follow)
{
    struct stat st;
    if (!tl_path_writes(flags))
        return 0;
    long there = tl_raw4(SYS_newfstatat, AT_FDCWD, tl_arg(real), tl_arg(&st), follow ? 0 : AT_SYMLINK_NOFOLLOW);
    if (there < 0)
        return there == -ENOENT && (flags & O_CREAT) != 0 ? -EROFS : there;
    if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
        return -EEXIST;
    bool unnamed = (flags & O_TMPFILE) == O_TMPFILE;
    if ((flags & O_ACCMODE) == O_RDONLY && (flags & O_TRUNC) == 0 && !unnamed)
        return 0; /* O_CREAT of what is there */
    return S_ISDIR(st.st_mode) && !unnamed ? -EISDIR : -EROFS;
}

long tl_refuse_change(const char *real, bool makes)
{
    struct stat st;
    long there = tl_raw4(SYS_newfstatat, AT_FDCWD, tl_arg(real), tl_arg(&st), AT_SYMLINK_NOFOLLOW);
    if (there == 0)
        return makes ? -EEXIST : -EROFS;
    return there == -ENOENT && makes ? -EROFS : there;
}
