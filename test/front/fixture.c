// SPDX-License-Identifier: Apache-2.0
/* See fixture.h. */
#include "front/fixture.h"

#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/time.h"

#define SERVE_LIMIT_NS (40ull * TL_NS_PER_S)

bool fixture_possible(void)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        printf("skipped: /dev/fuse cannot be opened: %s\n", strerror(errno));
        return false;
    }
    close(fd);
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        printf("skipped: needs root, for a mount namespace of its own\n");
        return false;
    }
    return true;
}

void fixture_new(struct fixture *fx)
{
    memset(fx, 0, sizeof *fx);
    fake_host_init(&fx->host);
    snprintf(fx->base, sizeof fx->base, "/tmp/tl-front-XXXXXX");
    check(mkdtemp(fx->base) != NULL);
    check(chmod(fx->base, 0755) == 0);
    snprintf(fx->source, sizeof fx->source, "%s/source", fx->base);
    snprintf(fx->mnt, sizeof fx->mnt, "%s/mnt", fx->base);
    check(mkdir(fx->source, 0755) == 0 && mkdir(fx->mnt, 0755) == 0);
}

static int mount_fd(struct fixture *fx, const struct fixture_options *options)
{
    char data[128];
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    check(fd >= 0);
    snprintf(data, sizeof data, "fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions", fd, options->uid,
             options->uid);
    check(mount("tiercel", fx->mnt, "fuse.tiercel", MS_RDONLY | MS_NOSUID | MS_NODEV, data) == 0);
    return fd;
}

void fixture_mount(struct fixture *fx, const struct fixture_options *options)
{
    struct tl_fuse_config config = {.mountpoint = fx->mnt, .fd = -1, .source_root = fx->source, .front = 7};
    struct tl_error err = {.code = 0};
    if (options != NULL && options->by_fd) {
        config.fd = mount_fd(fx, options);
        config.map_owner = options->map_owner;
    }
    config.links_inside = config.fd < 0;
    if (tl_fuse_open(&fx->fuse, &config, &fx->host.host, &err) != 0) {
        fprintf(stderr, "mount: %s\n", err.msg);
        abort();
    }
    if (options != NULL)
        fx->fuse->uid = options->uid;
    fx->host.fuse = fx->fuse;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void fixture_free(struct fixture *fx)
{
    tl_fuse_close(fx->fuse);
    umount2(fx->mnt, MNT_DETACH); /* where the mount was not the front's to undo */
    fake_host_fini(&fx->host);
    check(nftw(fx->base, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0);
}

pid_t fixture_fork(struct fixture *fx, fixture_fn fn, const void *arg)
{
    fflush(NULL);
    pid_t pid = fork();
    check(pid >= 0);
    if (pid != 0)
        return pid;
    close(fx->fuse->fd); /* a child that holds the device would keep a dead mount alive */
    alarm(60);
    fn(fx, arg);
    _exit(0);
}

/* Serves for a moment: until something comes, or extra_fd is readable. */
static void serve_once(struct fixture *fx, int extra_fd)
{
    struct pollfd fds[2] = {{.fd = fx->host.ended ? -1 : tl_fuse_fd(fx->fuse), .events = POLLIN},
                            {.fd = extra_fd, .events = POLLIN}};
    check(poll(fds, 2, 20) >= 0);
    if (!fx->host.ended)
        tl_fuse_ready(fx->fuse, 64);
    if (!fx->host.ended)
        fake_host_step(&fx->host);
}

int fixture_serve(struct fixture *fx, pid_t child)
{
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0), status;
    check(pidfd >= 0);
    uint64_t limit = tl_time_mono_ns() + SERVE_LIMIT_NS;
    pid_t ended = 0;
    while (ended == 0) {
        serve_once(fx, pidfd);
        ended = waitpid(child, &status, WNOHANG);
        if (ended == 0 && tl_time_mono_ns() > limit) {
            fprintf(stderr, "the child does not end\n");
            kill(child, SIGKILL);
            limit = UINT64_MAX;
        }
    }
    close(pidfd);
    check(ended == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int fixture_run(struct fixture *fx, fixture_fn fn, const void *arg)
{
    return fixture_serve(fx, fixture_fork(fx, fn, arg));
}

void fixture_serve_until(struct fixture *fx, bool (*done)(struct fixture *fx))
{
    uint64_t limit = tl_time_mono_ns() + SERVE_LIMIT_NS;
    while (!done(fx)) {
        check(tl_time_mono_ns() < limit);
        serve_once(fx, -1);
    }
}

void fixture_path(char *buf, size_t size, const char *dir, const char *name)
{
    int len = snprintf(buf, size, "%s/%s", dir, name);
    check(len > 0 && (size_t)len < size);
}

void fixture_make_dir(const struct fixture *fx, const char *name, mode_t mode)
{
    char path[512];
    fixture_path(path, sizeof path, fx->source, name);
    check(mkdir(path, 0755) == 0 && chmod(path, mode) == 0); /* whatever the umask */
}

void fixture_make_link(const struct fixture *fx, const char *name, const char *target)
{
    char path[512];
    fixture_path(path, sizeof path, fx->source, name);
    check(symlink(target, path) == 0);
}

void fixture_spill(const struct fixture *fx, const char *name, const char *text)
{
    char path[512];
    fixture_path(path, sizeof path, fx->source, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    check(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

bool fixture_idle(struct fixture *fx)
{
    return tl_notify_idle(&fx->fuse->notify);
}

uint64_t fixture_messages(const struct fixture *fx)
{
    struct tl_fuse_stats s;
    tl_fuse_stats(fx->fuse, &s);
    return s.lookups + s.getattrs + s.readdirs + s.reads + s.ioctls + s.xattrs + s.others;
}

bool fixture_is_silent(struct fixture *fx, fixture_fn fn)
{
    for (int i = 0; i < 5; i++) {
        uint64_t before = fixture_messages(fx);
        check(fixture_run(fx, fn, NULL) == 0);
        if (fixture_messages(fx) == before)
            return true;
    }
    return false;
}
