// SPDX-License-Identifier: Apache-2.0
/* What files on a FUSE mount cost at the least: a program on a mount whose daemon is not asked twice for anything. Names,
 * attributes and missing names hold for ever, files are opened without a message, pages stay. The floor of `tiercel run --how
 * fuse`, made with the same libfuse and the same mount options.
 *
 *   floor-fuse OPTIONS DIR PROGRAM [ARG]...    shows DIR at DIR, mounted with OPTIONS ("default_permissions") in namespaces of its
 *                                              own; ends as PROGRAM */
#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FOREVER   1e9
#define NAMES_MAX 8192u

static struct {
    char *path; /* below DIR; "." is DIR */
} names[NAMES_MAX];
static size_t name_count;
static int dir_fd;

static const char *path_of(fuse_ino_t ino)
{
    return names[ino - 1].path;
}

/* The number of a path; 0: too many. */
static fuse_ino_t number_of(const char *path)
{
    for (size_t i = 0; i < name_count; i++)
        if (strcmp(names[i].path, path) == 0)
            return i + 1;
    if (name_count == NAMES_MAX || (names[name_count].path = strdup(path)) == NULL)
        return 0;
    return ++name_count;
}

/* A daemon is outside of the namespace, and says whose files are; in here all that is not ours looks like nobody's. The kernel
 * looks for access lists of files that are not the caller's. */
static void mend(struct stat *st, fuse_ino_t ino)
{
    st->st_ino = ino;
    st->st_uid = st->st_gid = 0;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    char path[4096];
    struct fuse_entry_param e = {.attr_timeout = FOREVER, .entry_timeout = FOREVER};
    snprintf(path, sizeof path, "%s/%s", path_of(parent), name);
    if (fstatat(dir_fd, path, &e.attr, AT_SYMLINK_NOFOLLOW) == 0)
        e.ino = number_of(path);
    else if (errno != ENOENT) {
        fuse_reply_err(req, errno);
        return;
    }
    mend(&e.attr, e.ino);
    fuse_reply_entry(req, &e);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st;
    (void)fi;
    if (fstatat(dir_fd, path_of(ino), &st, AT_SYMLINK_NOFOLLOW) != 0) {
        fuse_reply_err(req, errno);
        return;
    }
    mend(&st, ino);
    fuse_reply_attr(req, &st, FOREVER);
}

/* From now on the kernel does not ask. */
static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino, (void)fi;
    fuse_reply_err(req, ENOSYS);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    static char bytes[1 << 20];
    (void)fi;
    int fd = openat(dir_fd, path_of(ino), O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pread(fd, bytes, size < sizeof bytes ? size : sizeof bytes, off);
    if (n < 0)
        fuse_reply_err(req, errno);
    else
        fuse_reply_buf(req, bytes, (size_t)n);
    if (fd >= 0)
        close(fd);
}

static const struct fuse_lowlevel_ops ops = {
    .lookup = op_lookup, .getattr = op_getattr, .open = op_open, .opendir = op_open, .read = op_read};

static int serve(int device)
{
    char *words[] = {(char *)(size_t) "floor-fuse", NULL}, point[32];
    struct fuse_args args = FUSE_ARGS_INIT(1, words);
    snprintf(point, sizeof point, "/dev/fd/%d", device);
    names[0].path = strdup(".");
    name_count = 1;
    struct fuse_session *se = fuse_session_new(&args, &ops, sizeof ops, NULL);
    if (se == NULL || fuse_session_mount(se, point) != 0)
        return 1;
    return fuse_session_loop(se);
}

static bool put(const char *file, const char *text)
{
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* Namespaces in which this user may mount. */
static bool make_space(void)
{
    char uids[48], gids[48];
    snprintf(uids, sizeof uids, "%u %u 1", geteuid(), geteuid());
    snprintf(gids, sizeof gids, "%u %u 1", getegid(), getegid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && put("/proc/self/setgroups", "deny") &&
           put("/proc/self/uid_map", uids) && put("/proc/self/gid_map", gids);
}

int main(int argc, char **argv)
{
    char options[256];
    int status = 0, device = make_space() ? open("/dev/fuse", O_RDWR | O_CLOEXEC) : -1;
    if (argc < 4 || device < 0) {
        fputs("usage: floor-fuse OPTIONS DIR PROGRAM [ARG]...; needs user namespaces and /dev/fuse\n", stderr);
        return 2;
    }
    dir_fd = open(argv[2], O_PATH | O_DIRECTORY | O_CLOEXEC);
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%u,group_id=%u,%s", device, geteuid(), getegid(),
             argv[1]);
    if (dir_fd < 0 || mount("floor", argv[2], "fuse.floor", MS_RDONLY | MS_NOSUID | MS_NODEV, options) != 0) {
        fprintf(stderr, "floor-fuse: %s: %s\n", argv[2], strerror(errno));
        return 1;
    }
    pid_t server = fork();
    if (server == 0)
        _exit(serve(device));
    close(device);
    pid_t pid = fork();
    if (pid == 0) {
        (void)execvp(argv[3], argv + 3);
        _exit(127);
    }
    bool ended = waitpid(pid, &status, 0) == pid && WIFEXITED(status);
    kill(server, SIGKILL);
    (void)waitpid(server, NULL, 0);
    return ended ? WEXITSTATUS(status) : 125;
}
