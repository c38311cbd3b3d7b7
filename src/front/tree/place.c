// SPDX-License-Identifier: Apache-2.0
/* Where trees lie. The folders must be the user's own: who could write to them could give programs other bytes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/hash.h"
#include "front/tree/internal.h"

#define REMEDY "move it away, or set TIERCEL_TREE_DIR to a folder of your own with mode 0700 (chmod 700)"

static int check_folder(const char *path, struct tl_error *err)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return tl_error_set(err, -errno, "cannot look at the folder %s: %s", path, strerror(errno));
    if (S_ISLNK(st.st_mode))
        return tl_error_set(err, -ELOOP, "%s is a symbolic link, not a folder; " REMEDY, path);
    if (!S_ISDIR(st.st_mode))
        return tl_error_set(err, -ENOTDIR, "%s is not a folder; " REMEDY, path);
    if (st.st_uid != geteuid())
        return tl_error_set(err, -EPERM, "the folder %s belongs to user %u, not to user %u; " REMEDY, path,
                            (unsigned)st.st_uid, (unsigned)geteuid());
    if ((st.st_mode & 07777) != 0700)
        return tl_error_set(err, -EPERM, "the folder %s has mode %04o, so that others may get in; " REMEDY, path,
                            (unsigned)st.st_mode & 07777);
    return 0;
}

/* Makes the folder if that is wanted, and looks whether it is what it has to be. */
static int own_folder(const char *path, bool make, struct tl_error *err)
{
    if (!make)
        return check_folder(path, err);
    if (mkdir(path, 0700) == 0) {
        if (chmod(path, 0700) != 0) /* whatever the umask is */
            return tl_error_set(err, -errno, "cannot make the folder %s: %s", path, strerror(errno));
    } else if (errno != EEXIST) {
        return tl_error_set(err, -errno,
                            "cannot make the folder %s for files in shared memory: %s; set TIERCEL_TREE_DIR to one "
                            "that can be made",
                            path, strerror(errno));
    }
    return check_folder(path, err);
}

/* The daemon writes to files in memory only: it must never wait for a disk. And programs are executed from there. */
static int check_memory(const char *path, struct tl_error *err)
{
    struct statfs fs;
    struct statvfs flags;
    if (statfs(path, &fs) != 0 || statvfs(path, &flags) != 0)
        return tl_error_set(err, -errno, "cannot look at the folder %s: %s", path, strerror(errno));
    if (fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC)
        return tl_error_set(err, -EINVAL,
                            "the folder %s is not in memory: set TIERCEL_TREE_DIR to one on a tmpfs, /dev/shm for "
                            "example",
                            path);
    if ((flags.f_flag & ST_NOEXEC) != 0)
        return tl_error_set(err, -EACCES,
                            "%s is mounted noexec, so that no program can run from there: ask for `mount -o "
                            "remount,exec`, or set TIERCEL_TREE_DIR to a folder on another tmpfs",
                            path);
    return 0;
}

/* Where the folders of all tiers lie. */
static int find_base(char *out, size_t size, struct tl_error *err)
{
    const char *wanted = getenv("TIERCEL_TREE_DIR");
    bool given = wanted != NULL && wanted[0] != '\0';
    int n = given ? snprintf(out, size, "%s", wanted) : snprintf(out, size, "/dev/shm/tiercel-%u", geteuid());
    if (out[0] != '/' || n >= (int)size)
        return tl_error_set(err, -EINVAL, "TIERCEL_TREE_DIR is %s: it must be an absolute path, and a short one",
                            wanted);
    return 0;
}

int tl_tree_probe(struct tl_error *err)
{
    char base[PATH_MAX / 4];
    int rc = find_base(base, sizeof base, err);
    if (rc != 0)
        return rc;
    if (access(base, F_OK) == 0 || errno != ENOENT) {
        rc = check_folder(base, err);
        return rc != 0 ? rc : check_memory(base, err);
    }
    char *slash = strrchr(base, '/');
    slash[slash == base ? 1 : 0] = '\0';
    if (access(base, W_OK | X_OK) != 0)
        return tl_error_set(err, -errno,
                            "no folder for files in shared memory can be made in %s: %s; set TIERCEL_TREE_DIR to one "
                            "on a tmpfs that can be written to",
                            base, strerror(errno));
    return check_memory(base, err);
}

/* The tier's name: that of the folder of its daemon's socket, else as the commands find it. */
static void tier_name(const char *socket, char *out, size_t size)
{
    const char *name = getenv("TIERCEL_NAME"), *slurm = getenv("SLURM_JOB_ID"), *pbs = getenv("PBS_JOBID");
    if (socket != NULL) {
        const char *end = strrchr(socket, '/');
        const char *start = end;
        while (end != NULL && start > socket && start[-1] != '/')
            start--;
        snprintf(out, size, "%.*s", end != NULL ? (int)(end - start) : 0, start != NULL ? start : "");
    } else if (name == NULL && slurm != NULL) {
        snprintf(out, size, "slurm-%s", slurm);
    } else if (name == NULL && pbs != NULL) {
        snprintf(out, size, "pbs-%s", pbs);
    } else {
        snprintf(out, size, "%s", name != NULL ? name : "default");
    }
}

/* -EINVAL: that cannot be a folder's name. */
static int check_name(const char *tier, struct tl_error *err)
{
    if (tier[0] == '\0' || strchr(tier, '/') != NULL || tier[0] == '.')
        return tl_error_set(err, -EINVAL, "the tier's name \"%s\" cannot be a folder's; choose another with --name",
                            tier);
    return 0;
}

int tl_tree_folder(const char *socket, char *out, size_t size, struct tl_error *err)
{
    char base[PATH_MAX / 4], tier[128];
    int rc = find_base(base, sizeof base, err);
    tier_name(socket, tier, sizeof tier);
    if (rc == 0)
        rc = check_name(tier, err);
    if (rc == 0 && snprintf(out, size, "%s/%s", base, tier) >= (int)size)
        rc = tl_error_set(err, -ENAMETOOLONG, "TIERCEL_TREE_DIR is too long; choose a shorter one");
    return rc;
}

int tl_place_find(struct tl_place *out, const char *socket, const char *source, bool make, struct tl_error *err)
{
    char base[PATH_MAX / 4], tier[128];
    int rc = find_base(base, sizeof base, err);
    if (rc != 0)
        return rc;
    tier_name(socket, tier, sizeof tier);
    rc = check_name(tier, err);
    if (rc == 0)
        rc = own_folder(base, make, err);
    if (rc == 0)
        rc = check_memory(base, err);
    int n = snprintf(out->tier_dir, sizeof out->tier_dir, "%s/%s", base, tier);
    if (rc == 0 && n >= (int)sizeof out->tier_dir)
        rc = tl_error_set(err, -ENAMETOOLONG, "TIERCEL_TREE_DIR is too long; choose a shorter one");
    if (rc == 0)
        rc = own_folder(out->tier_dir, make, err);
    uint64_t hash = tl_hash64(source, strlen(source), 0);
    if (rc == 0 && snprintf(out->dir, sizeof out->dir, "%s/%016" PRIx64, out->tier_dir, hash) < 0)
        rc = -EIO; /* cannot be */
    return rc;
}

int tl_place_lock(const struct tl_place *p, struct tl_error *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/lock", p->tier_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), rc = 0;
    while (fd >= 0 && (rc = flock(fd, LOCK_EX)) != 0 && errno == EINTR)
        continue;
    if (fd >= 0 && rc == 0)
        return fd;
    rc = tl_error_set(err, -errno, "cannot lock %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

void tl_place_erase(const char *path)
{
    char *const paths[] = {(char *)(uintptr_t)path, NULL};
    FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    for (FTSENT *e = walk != NULL ? fts_read(walk) : NULL; e != NULL; e = fts_read(walk)) {
        if (e->fts_info == FTS_D)
            (void)chmod(e->fts_accpath, 0700); /* it is read after this; its names must be removable */
        else if (e->fts_info == FTS_DP)
            (void)rmdir(e->fts_accpath);
        else
            (void)unlink(e->fts_accpath);
    }
    if (walk != NULL)
        fts_close(walk);
}

void tl_place_tidy(const struct tl_place *p)
{
    DIR *dir = opendir(p->tier_dir);
    for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir)) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", p->tier_dir, e->d_name);
        if (strncmp(e->d_name, "new-", 4) == 0)
            tl_place_erase(path);
    }
    if (dir != NULL)
        closedir(dir);
}
