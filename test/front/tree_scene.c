// SPDX-License-Identifier: Apache-2.0
/* See tree_scene.h. */
#include "front/tree_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"

void tree_scene_spill(const char *dir, const char *name, const void *bytes, size_t len, mode_t mode)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct timespec times[2] = {{.tv_sec = 1000000001}, {.tv_sec = 1000000002, .tv_nsec = 3}};
    check(fd >= 0 && write(fd, bytes, len) == (ssize_t)len && futimens(fd, times) == 0 && fchmod(fd, mode) == 0);
    close(fd);
}

void tree_scene_new(struct tree_scene *s)
{
    static char big[TREE_BIG_SIZE];
    char path[256];
    memset(s, 0, sizeof *s);
    snprintf(s->base, sizeof s->base, "/dev/shm/tl-tree-XXXXXX");
    check(mkdtemp(s->base) != NULL);
    snprintf(s->tier, sizeof s->tier, "%s/tier", s->base);
    snprintf(s->source, sizeof s->source, "%s/source", s->base);
    snprintf(s->trees, sizeof s->trees, "%s/trees", s->base);
    snprintf(path, sizeof path, "%s/sub", s->source);
    check(mkdir(s->tier, 0700) == 0 && mkdir(s->source, 0755) == 0 && mkdir(path, 0755) == 0);
    memset(big, 'b', sizeof big);
    tree_scene_spill(path, "below", "below\n", 6, 0644);
    tree_scene_spill(s->source, "big", big, sizeof big, 0644);
    tree_scene_spill(s->source, "file", "hello\n", 6, 0644);
    tree_scene_spill(s->source, "script", "#!/bin/sh\necho ran\n", 19, 0755);
    tree_scene_spill(s->source, "fixed", "fixed\n", 6, 0444);
    tree_scene_spill(s->source, "secret", "secret\n", 7, 0111);
    tree_scene_spill(s->source, "empty", "", 0, 0640);
    snprintf(path, sizeof path, "%s/link", s->source);
    check(symlink("sub/below", path) == 0);
    snprintf(path, sizeof path, "%s/out", s->source);
    check(symlink("../outside", path) == 0);
    snprintf(path, sizeof path, "%s/sub", s->source);
    check(chmod(path, 0555) == 0);
    check(setenv("TIERCEL_TREE_DIR", s->trees, 1) == 0);
    tree_daemon_start(&s->daemon, s->tier, geteuid());
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)ftw;
    if (type == FTW_D)
        (void)chmod(path, 0700);
    return 0;
}

static int remove_two(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void tree_scene_free(struct tree_scene *s)
{
    tl_tree_close(s->tree);
    tree_daemon_kill(&s->daemon);
    nftw(s->base, remove_one, 16, FTW_PHYS);
    check(nftw(s->base, remove_two, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

void tree_scene_use(struct tree_scene *s)
{
    struct tl_error err = {.code = 0};
    int rc = tl_tree_open(&s->tree, s->daemon.socket, s->source, &err);
    if (rc != 0)
        print_error("%s\n", err.msg);
    assert_int_equal(rc, 0);
}

const char *tree_scene_path(const struct tree_scene *s, const char *name)
{
    static char path[8192];
    snprintf(path, sizeof path, "%s/%s", tl_tree_path(s->tree), name);
    return path;
}

long tree_scene_content(const struct tree_scene *s, const char *name)
{
    static char here[TREE_BIG_SIZE + 1], there[TREE_BIG_SIZE + 1];
    char path[256];
    snprintf(path, sizeof path, "%s/%s", s->source, name);
    int a = open(tree_scene_path(s, name), O_RDONLY | O_CLOEXEC), b = open(path, O_RDONLY | O_CLOEXEC);
    if (a < 0) {
        int code = errno;
        close(b);
        return -code;
    }
    ssize_t n = read(a, here, sizeof here), m = read(b, there, sizeof there);
    close(a);
    close(b);
    assert_int_equal(n, m);
    assert_memory_equal(here, there, (size_t)n);
    return n;
}

void tree_scene_same_attributes(const struct tree_scene *s, const char *name, mode_t mode)
{
    struct stat a, b;
    char path[256];
    snprintf(path, sizeof path, "%s/%s", s->source, name);
    assert_int_equal(lstat(path, &a), 0);
    assert_int_equal(lstat(tree_scene_path(s, name), &b), 0);
    assert_int_equal(a.st_size, b.st_size);
    assert_int_equal(a.st_mtim.tv_sec, b.st_mtim.tv_sec);
    assert_int_equal(a.st_mtim.tv_nsec, b.st_mtim.tv_nsec);
    assert_int_equal(b.st_mode & 07777, mode);
}

int tree_scene_wait(pid_t pid)
{
    int status;
    check(waitpid(pid, &status, 0) == pid);
    return status;
}

bool tree_scene_be_ordinary(void)
{
    if (geteuid() == 0 && (setgid(TREE_NOBODY) != 0 || setuid(TREE_NOBODY) != 0))
        return false;
    (void)prctl(PR_SET_DUMPABLE, 1); /* setuid took that away, and with it the maps of a user namespace */
    umask(022);
    return true;
}
