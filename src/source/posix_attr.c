// SPDX-License-Identifier: Apache-2.0
/* Attributes of a name, and what the tier's user may do with it. */
#include "source/posix.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/time.h"

/* Root of the initial user namespace, or of one that maps every id to itself. */
static bool all_ids_mapped(void)
{
    FILE *map = fopen("/proc/self/uid_map", "re");
    if (map == NULL)
        return false;
    unsigned long inside, outside, count;
    bool all = fscanf(map, "%lu %lu %lu", &inside, &outside, &count) == 3 && inside == 0 && outside == 0 &&
               count == UINT32_MAX;
    fclose(map);
    return all;
}

enum tl_posix_rights tl_posix_rights_now(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (syscall(SYS_capget, &head, data) != 0)
        return TL_RIGHTS_ASK;
    uint32_t override = data[0].effective & (1u << CAP_DAC_OVERRIDE);
    uint32_t search = data[0].effective & (1u << CAP_DAC_READ_SEARCH);
    if (override == 0 && search == 0)
        return TL_RIGHTS_BITS;
    return override != 0 && search != 0 && all_ids_mapped() ? TL_RIGHTS_ALL : TL_RIGHTS_ASK;
}

int tl_posix_stat(int dirfd, const char *name, struct statx *out, uint64_t *dev)
{
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (name[0] == '\0' ? AT_EMPTY_PATH : 0);
    if (statx(dirfd, name, flags, STATX_BASIC_STATS, out) != 0)
        return -errno;
    *dev = makedev(out->stx_dev_major, out->stx_dev_minor);
    return 0;
}

static int64_t time_ns(const struct statx_timestamp *t)
{
    return tl_time_from_parts(t->tv_sec, t->tv_nsec);
}

/* Without the device: its number is another one on each node for file systems without a block device (Lustre, NFS,
 * FUSE), and a file has to have the same version wherever it is read. */
uint64_t tl_posix_version(const struct statx *st)
{
    return tl_attr_version(0, st->stx_ino, st->stx_size, time_ns(&st->stx_mtime), time_ns(&st->stx_ctime));
}

/* One bit: from the permission bits where group and others have the same, else from the kernel, which knows the
 * groups and the access control list. */
static uint32_t bit_right(enum tl_posix_rights rights, int dirfd, const char *name, uint32_t mode, uint32_t bit)
{
    uint32_t group = mode >> 3 & bit, other = mode & bit;
    if (rights != TL_RIGHTS_ASK && group == other)
        return other;
    int flags = AT_EACCESS | (name[0] == '\0' ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW);
    return faccessat(dirfd, name, (int)bit, flags) == 0 ? bit : 0;
}

static uint8_t access_of(enum tl_posix_rights rights, int dirfd, const char *name, const struct statx *st)
{
    uint32_t mode = st->stx_mode;
    if (S_ISLNK(mode))
        return R_OK | W_OK | X_OK;
    if (rights == TL_RIGHTS_ALL) /* root runs only what somebody may run */
        return S_ISDIR(mode) || (mode & 0111) != 0 ? R_OK | W_OK | X_OK : R_OK | W_OK;
    if (rights == TL_RIGHTS_BITS && st->stx_uid == geteuid())
        return mode >> 6 & 7;
    uint32_t access = 0;
    for (uint32_t bit = X_OK; bit <= R_OK; bit <<= 1)
        access |= bit_right(rights, dirfd, name, mode, bit);
    return (uint8_t)access;
}

void tl_posix_attr(enum tl_posix_rights rights, int dirfd, const char *name, const struct statx *st,
                   struct tl_attr *out)
{
    *out = (struct tl_attr){
        .ino = st->stx_ino,
        .size_bytes = st->stx_size,
        .blocks = st->stx_blocks,
        .atime_ns = time_ns(&st->stx_atime),
        .mtime_ns = time_ns(&st->stx_mtime),
        .ctime_ns = time_ns(&st->stx_ctime),
        .version = tl_posix_version(st),
        .mode = st->stx_mode,
        .nlink = st->stx_nlink,
        .uid = st->stx_uid,
        .gid = st->stx_gid,
        .rdev = (uint32_t)makedev(st->stx_rdev_major, st->stx_rdev_minor),
        .access = access_of(rights, dirfd, name, st),
    };
}
