// SPDX-License-Identifier: Apache-2.0
#include "source/files.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char *dir;
static pid_t owner;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(path);
}

static void remove_dir(void)
{
    if (getpid() == owner) /* not a forked child */
        nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

const char *tl_test_dir(void)
{
    if (dir != NULL)
        return dir;
    const char *base = getenv("TMPDIR");
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/tiercel-source-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(path));
    dir = realpath(path, NULL);
    assert_non_null(dir);
    owner = getpid();
    atexit(remove_dir);
    return dir;
}

void tl_test_make_dir(const char *path)
{
    assert_int_equal(mkdir(path, 0755), 0);
}

void tl_test_put_file(const char *path, const void *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    assert_int_equal(close(fd), 0);
}

void tl_test_put_link(const char *path, const char *target)
{
    assert_int_equal(symlink(target, path), 0);
}

void tl_test_remove(const char *path)
{
    assert_int_equal(remove(path), 0);
}
