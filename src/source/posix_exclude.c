// SPDX-License-Identifier: Apache-2.0
/* Directories that the source never enters.
 *
 * Our own mount points: to look at one is a request to ourselves, which may wait for the very listing that asks.
 * They are told by name, and not even lstat is called on them.
 *
 * File systems of the kernel's own (proc, sysfs, ...): their files have no stable contents, most say that they have
 * 0 bytes, and some act when they are read. A copy of them would be wrong on every node but one, so they are shown as
 * empty directories. autofs is not among them: what it lists are the places where real file systems are. */
#include "source/posix.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

int tl_posix_exclude_new(struct tl_posix_exclude **out, const char *const *paths, size_t count)
{
    struct tl_posix_exclude *x = calloc(1, sizeof *x + count * sizeof x->paths[0]);
    if (x == NULL)
        return -ENOMEM;
    x->refs = 1;
    for (; x->count < count; x->count++) {
        const char *path = paths[x->count];
        size_t len = strlen(path);
        while (len > 0 && path[len - 1] == '/')
            len--;
        if (path[0] != '/' || len == 0) {
            tl_posix_exclude_unref(x);
            return -EINVAL;
        }
        x->paths[x->count] = strndup(path, len);
        if (x->paths[x->count] == NULL) {
            tl_posix_exclude_unref(x);
            return -ENOMEM;
        }
    }
    *out = x;
    return 0;
}

void tl_posix_exclude_unref(struct tl_posix_exclude *x)
{
    if (x == NULL || --x->refs > 0)
        return;
    for (size_t i = 0; i < x->count; i++)
        free(x->paths[i]);
    free(x);
}

bool tl_posix_exclude_covers(const struct tl_posix_exclude *x, const char *path)
{
    for (size_t i = 0; i < x->count; i++) {
        size_t len = strlen(x->paths[i]);
        if (strncmp(path, x->paths[i], len) == 0 && (path[len] == '\0' || path[len] == '/'))
            return true;
    }
    return false;
}

const char *tl_posix_exclude_find(const struct tl_posix_exclude *x, const char *dir, const char *name)
{
    size_t dir_len = strcmp(dir, "/") == 0 ? 0 : strlen(dir);
    for (size_t i = 0; i < x->count; i++) {
        const char *path = x->paths[i];
        if (strncmp(path, dir, dir_len) == 0 && path[dir_len] == '/' && strcmp(path + dir_len + 1, name) == 0)
            return path;
    }
    return NULL;
}

void tl_posix_exclude_attr(const char *path, struct tl_attr *out)
{
    uint64_t id = tl_hash64(path, strlen(path), 0) | 1;
    *out = (struct tl_attr){
        .ino = id,
        .version = id,
        .mode = S_IFDIR | 0555,
        .nlink = 2,
        .uid = geteuid(),
        .gid = getegid(),
        .access = R_OK | X_OK,
    };
}

/* Not in every linux/magic.h. */
#define CONFIGFS_TYPE   0x62656570
#define FUSECTL_TYPE    0x65735543
#define MQUEUE_TYPE     0x19800202
#define NFSD_TYPE       0x6e667364
#define RPC_PIPEFS_TYPE 0x67596969

static bool type_is_pseudo(unsigned long type)
{
    static const unsigned long pseudo[] = {
        PROC_SUPER_MAGIC, SYSFS_MAGIC,          DEVPTS_SUPER_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
        DEBUGFS_MAGIC,    TRACEFS_MAGIC,        SELINUX_MAGIC,      SECURITYFS_MAGIC,   SMACK_MAGIC,
        BPF_FS_MAGIC,     PSTOREFS_MAGIC,       CONFIGFS_TYPE,      FUSECTL_TYPE,       MQUEUE_TYPE,
        BINFMTFS_MAGIC,   EFIVARFS_MAGIC,       NSFS_MAGIC,         NFSD_TYPE,          RPC_PIPEFS_TYPE,
        AAFS_MAGIC,       RDTGROUP_SUPER_MAGIC,
    };
    for (size_t i = 0; i < sizeof pseudo / sizeof pseudo[0]; i++)
        if (type == pseudo[i])
            return true;
    return false;
}

/* Slot of the device, or a free one; TL_POSIX_DEVICES when the table is full. */
static uint32_t device_slot(const struct tl_posix_devices *d, uint64_t dev)
{
    uint32_t at = (uint32_t)(tl_hash64(&dev, sizeof dev, 0) % TL_POSIX_DEVICES);
    for (uint32_t i = 0; i < TL_POSIX_DEVICES; i++, at = (at + 1) % TL_POSIX_DEVICES)
        if (d->known[at] == dev || d->known[at] == 0)
            return at;
    return TL_POSIX_DEVICES;
}

/* Only devices with real files are remembered, because asking costs a request to the storage: asking proc is free, and
 * a device number that proc had may be a real file system's later. */
bool tl_posix_is_pseudo(struct tl_posix_devices *d, int fd, uint64_t dev)
{
    check(pthread_mutex_lock(&d->lock) == 0);
    uint32_t slot = device_slot(d, dev);
    bool known = slot < TL_POSIX_DEVICES && dev != 0 && d->known[slot] == dev;
    check(pthread_mutex_unlock(&d->lock) == 0);
    if (known)
        return false;
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0)
        return false; /* whatever it is, its listing will tell */
    if (type_is_pseudo((unsigned long)fs.f_type))
        return true;
    check(pthread_mutex_lock(&d->lock) == 0);
    slot = device_slot(d, dev);
    if (slot < TL_POSIX_DEVICES)
        d->known[slot] = dev;
    check(pthread_mutex_unlock(&d->lock) == 0);
    return false;
}
