// SPDX-License-Identifier: Apache-2.0
/* Namespaces and mounts, and the sentences for machines that do not allow them. Single-threaded programs only. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "front/launch/launch.h"

#define DEVICE "/dev/fuse"

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = write(fd, text, strlen(text));
    int rc = n == (ssize_t)strlen(text) ? 0 : n < 0 ? -errno : -EIO;
    close(fd);
    return rc;
}

/* Whose doing it is, as far as can be seen from here. */
static const char *user_ns_remedy(void)
{
    if (access("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", F_OK) == 0)
        return "ask the administrator for an AppArmor profile for Tiercel, or for sysctl "
               "kernel.apparmor_restrict_unprivileged_userns=0";
    if (access("/proc/sys/kernel/unprivileged_userns_clone", F_OK) == 0)
        return "ask the administrator for sysctl kernel.unprivileged_userns_clone=1";
    return "ask the administrator to allow them to ordinary users (in a container: for a seccomp profile that allows "
           "unshare and mount)";
}

/* Maps the one user and group that may be mapped without privilege, to themselves. */
static int map_ids(uid_t uid, gid_t gid, struct tl_error *err)
{
    char text[64];
    int rc = write_file("/proc/self/setgroups", "deny");
    snprintf(text, sizeof text, "%u %u 1", uid, uid);
    if (rc == 0)
        rc = write_file("/proc/self/uid_map", text);
    snprintf(text, sizeof text, "%u %u 1", gid, gid);
    if (rc == 0)
        rc = write_file("/proc/self/gid_map", text);
    if (rc != 0)
        return tl_error_set(err, rc, "cannot set up a user namespace (mapping user %u): %s; %s", uid, strerror(-rc),
                            user_ns_remedy());
    return 0;
}

static int refused_user_ns(int rc, struct tl_error *err)
{
    if (rc == -ENOSPC || rc == -EUSERS)
        return tl_error_set(
            err, rc,
            "cannot make a user namespace: the limit is reached or 0; ask the administrator to raise sysctl "
            "user.max_user_namespaces");
    return tl_error_set(err, rc, "cannot make a user namespace: %s; %s, or use tiercel mount, which needs fusermount3",
                        strerror(-rc), user_ns_remedy());
}

int tl_space_make(bool *in_user_ns, struct tl_error *err)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    *in_user_ns = false;
    if (unshare(CLONE_NEWNS) != 0) { /* only who may mount may have a mount namespace alone */
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
            return refused_user_ns(-errno, err);
        int rc = map_ids(uid, gid, err);
        if (rc != 0)
            return rc;
        *in_user_ns = true;
    }
    /* What the system mounts later still appears in here; what is mounted in here stays in here. */
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0)
        return tl_error_set(err, -errno, "cannot make mounts private: %s; a security policy of this machine forbids it",
                            strerror(errno));
    return 0;
}

static int refused_device(int rc, struct tl_error *err)
{
    if (rc == -EACCES || rc == -EPERM)
        return tl_error_set(err, rc,
                            "no permission to use " DEVICE
                            "; ask the administrator to make it readable and writable for "
                            "all (mode 0666, the usual default)");
    return tl_error_set(err, rc,
                        "cannot open " DEVICE
                        ": %s; the fuse kernel module is not loaded (as root: modprobe fuse), or the "
                        "container was started without the device (--device " DEVICE ")",
                        strerror(-rc));
}

int tl_space_mount(const char *point, int *fd, struct tl_error *err)
{
    /* The kernel demands that the device was opened in the user namespace that mounts. */
    int device = open(DEVICE, O_RDWR | O_CLOEXEC);
    if (device < 0)
        return refused_device(-errno, err);
    char options[128];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions", device,
             geteuid(), getegid());
    if (mount("tiercel", point, "fuse.tiercel", MS_RDONLY | MS_NOSUID | MS_NODEV, options) != 0) {
        int rc = -errno;
        close(device);
        return tl_error_set(err, rc,
                            "cannot mount over %s: %s; a security policy of this machine (AppArmor, SELinux, Landlock, "
                            "seccomp) may forbid mounts: ask its administrator",
                            point, strerror(-rc));
    }
    *fd = device;
    return 0;
}

/* True if fd is the mount namespace this process is in already: a launch within a launch. */
static bool is_current(int fd)
{
    struct stat there, here;
    return fstat(fd, &there) == 0 && stat("/proc/self/ns/mnt", &here) == 0 && there.st_ino == here.st_ino &&
           there.st_dev == here.st_dev;
}

int tl_space_enter(const struct tl_spaces *spaces, struct tl_error *err)
{
    if (is_current(spaces->mount_fd))
        return 0;
    char cwd[PATH_MAX];
    bool known = getcwd(cwd, sizeof cwd) != NULL && cwd[0] == '/';
    int old = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;
    if (spaces->user_fd >= 0 && setns(spaces->user_fd, CLONE_NEWUSER) != 0)
        rc = -errno;
    if (rc == 0 && setns(spaces->mount_fd, CLONE_NEWNS) != 0)
        rc = -errno;
    /* By path: a directory below a served path is the served one now. One that cannot be reached by its path any more
     * stays what it was. */
    if (rc == 0 && (!known || chdir(cwd) != 0) && old >= 0 && fchdir(old) != 0)
        rc = -errno;
    if (old >= 0)
        close(old);
    if (rc != 0)
        return tl_error_set(err, rc,
                            "cannot enter the namespaces with the served paths: %s; is the same user running as "
                            "when they were made?",
                            strerror(-rc));
    return 0;
}
