// SPDX-License-Identifier: Apache-2.0
/* Mounting, and the sentences for what can go wrong with it. Owner thread only.
 *
 * libfuse does the work: mount(2) as root, else its setuid helper fusermount3; or it takes over a descriptor that the
 * launcher has mounted inside a user namespace. What it has to say it prints; that is caught for the error. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "front/fuse/internal.h"

#define DEVICE "/dev/fuse"

static _Thread_local char caught_log[256];

static void catch_log(enum fuse_log_level level, const char *fmt, va_list args)
{
    (void)level;
    vsnprintf(caught_log, sizeof caught_log, fmt, args);
    size_t len = strcspn(caught_log, "\n");
    caught_log[len] = '\0';
}

void tl_fuse_catch_log(void)
{
    caught_log[0] = '\0';
    fuse_set_log_func(catch_log);
}

/* Octal escapes (\040) of /proc/self/mountinfo, undone in place. */
static void unescape(char *s)
{
    char *to = s;
    for (; *s != '\0'; s++, to++) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] != '\0' && s[3] != '\0') {
            *to = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
            s += 3;
        } else {
            *to = *s;
        }
    }
    *to = '\0';
}

/* The type of the file system mounted at path, if it is a mount point. */
static bool mounted_type(const char *path, char *type, size_t type_size)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t cap = 0;
    bool found = false;
    while (file != NULL && getline(&line, &cap, file) > 0) {
        char point[PATH_MAX], fs[64];
        const char *dash = strstr(line, " - ");
        if (dash == NULL || sscanf(line, "%*s %*s %*s %*s %4095s", point) != 1 || sscanf(dash, " - %63s", fs) != 1)
            continue;
        unescape(point);
        if (strcmp(point, path) == 0) { /* the last one is on top */
            snprintf(type, type_size, "%s", fs);
            found = true;
        }
    }
    free(line);
    if (file != NULL)
        fclose(file);
    return found;
}

static int check_point(const char *point, char *real, struct tl_error *err)
{
    char type[64] = "";
    struct stat st;
    if (realpath(point, real) == NULL) {
        int rc = -errno;
        if (rc == -ENOENT)
            return tl_error_set(err, rc, "mount point %s does not exist; create it with: mkdir -p %s", point, point);
        if (rc == -ENOTCONN)
            return tl_error_set(err, -EBUSY,
                                "mount point %s holds a mount whose server is gone; unmount it with: "
                                "fusermount3 -uz %s",
                                point, point);
        return tl_error_set(err, rc, "mount point %s cannot be reached: %s", point, strerror(-rc));
    }
    if (mounted_type(real, type, sizeof type)) {
        if (strcmp(type, "fuse.tiercel") == 0)
            return tl_error_set(err, -EBUSY,
                                "mount point %s is already a Tiercel mount; unmount it first with: "
                                "tiercel umount %s (or, if its daemon is gone, fusermount3 -uz %s)",
                                point, point, point);
        return tl_error_set(err, -EBUSY, "mount point %s is in use by a %s file system; choose an ordinary directory",
                            point, type);
    }
    if (stat(real, &st) != 0)
        return tl_error_set(err, -errno, "mount point %s cannot be used: %s", point, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return tl_error_set(err, -ENOTDIR, "mount point %s is not a directory; choose a directory", point);
    return 0;
}

/* Why mounting failed, as well as can be told. */
static int explain(const char *point, struct tl_error *err)
{
    int fd = open(DEVICE, O_RDWR | O_CLOEXEC);
    int rc = fd >= 0 ? 0 : -errno;
    if (fd >= 0)
        close(fd);
    if (rc == -ENOENT || rc == -ENODEV || rc == -ENXIO)
        return tl_error_set(err, -ENODEV,
                            "cannot mount at %s: there is no %s here; the fuse kernel module is not loaded "
                            "(as root: modprobe fuse), or the container was started without the device "
                            "(--device %s)",
                            point, DEVICE, DEVICE);
    if (rc == -EACCES || rc == -EPERM)
        return tl_error_set(err, rc,
                            "cannot mount at %s: no permission to use %s; ask the administrator to make it "
                            "readable and writable for all (mode 0666, the usual default)",
                            point, DEVICE);
    if (geteuid() != 0 && access("/usr/bin/fusermount3", X_OK) != 0 && access("/bin/fusermount3", X_OK) != 0)
        return tl_error_set(err, -EPERM,
                            "cannot mount at %s: the helper fusermount3 is not installed; ask for the package "
                            "fuse3, or use tiercel run, which does not need it",
                            point);
    const char *said = caught_log[0] != '\0' ? caught_log : "the kernel refused";
    return tl_error_set(err, -EPERM,
                        "cannot mount at %s: %s; the mount point must be yours and writable, or use "
                        "tiercel run, which mounts in a namespace of its own",
                        point, said);
}

int tl_fuse_mount(struct fuse_session *session, const struct tl_fuse_config *config, struct tl_error *err)
{
    char place[PATH_MAX];
    if (config->fd >= 0) {
        snprintf(place, sizeof place, "/dev/fd/%d", config->fd);
        if (fcntl(config->fd, F_SETFD, FD_CLOEXEC) != 0 || fuse_session_mount(session, place) != 0)
            return tl_error_set(err, -EBADF, "cannot take over the mount at %s: descriptor %d is not a mounted " DEVICE,
                                config->mountpoint, config->fd);
        return 0;
    }
    int rc = check_point(config->mountpoint, place, err);
    if (rc != 0)
        return rc;
    if (fuse_session_mount(session, place) != 0)
        return explain(config->mountpoint, err);
    return 0;
}

int tl_fuse_unmount(const char *path)
{
    char type[64] = "";
    if (!mounted_type(path, type, sizeof type) || strcmp(type, "fuse.tiercel") != 0)
        return -EINVAL;
    if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        return 0;
    if (errno != EPERM)
        return -errno;
    char name[] = "fusermount3", flags[] = "-uqz", end[] = "--", point[PATH_MAX];
    char *argv[] = {name, flags, end, point, NULL};
    snprintf(point, sizeof point, "%s", path);
    pid_t pid;
    int status = 0, rc = -posix_spawnp(&pid, name, NULL, NULL, argv, environ);
    while (rc == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return rc != 0 ? rc : status == 0 ? 0 : -EPERM;
}
