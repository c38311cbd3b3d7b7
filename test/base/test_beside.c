// SPDX-License-Identifier: Apache-2.0
/* Files that are put in their place when they are whole. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/beside.h"

static char dir[] = "/tmp/tl-beside-XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void expect(const char *path, const char *text)
{
    char is[64] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, is, sizeof is - 1) >= 0);
    close(fd);
    assert_string_equal(is, text);
}

static void it_is_there_when_it_is_whole(void **state)
{
    (void)state;
    struct tl_beside b;
    put(in_dir("file"), "old");
    assert_int_equal(tl_beside_begin(&b, in_dir("file")), 0);
    put(b.path, "new");
    expect(in_dir("file"), "old");
    assert_int_equal(tl_beside_end(&b, 0), 0);
    expect(in_dir("file"), "new");
    assert_int_equal(access(b.path, F_OK), -1);

    assert_int_equal(tl_beside_begin(&b, in_dir("file")), 0);
    put(b.path, "half");
    assert_int_equal(tl_beside_end(&b, -EIO), -EIO);
    expect(in_dir("file"), "new");
    assert_int_equal(access(b.path, F_OK), -1);

    assert_int_equal(tl_beside_begin(&b, in_dir("first")), 0);
    put(b.path, "first");
    assert_int_equal(tl_beside_end(&b, 0), 0);
    expect(in_dir("first"), "first");
}

static void a_link_stays_and_leads_to_what_is_new(void **state)
{
    (void)state;
    struct tl_beside b;
    struct stat st;
    put(in_dir("target"), "old");
    assert_int_equal(symlink("target", in_dir("link")), 0);
    assert_int_equal(tl_beside_begin(&b, in_dir("link")), 0);
    put(b.path, "new");
    assert_int_equal(tl_beside_end(&b, 0), 0);
    assert_int_equal(lstat(in_dir("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    expect(in_dir("target"), "new");
}

static void what_is_no_regular_file_is_written_where_it_is(void **state)
{
    (void)state;
    struct tl_beside b;
    struct stat st;
    assert_int_equal(mkfifo(in_dir("pipe"), 0600), 0);
    for (int rc = 0; rc >= -EIO; rc -= EIO) {
        assert_int_equal(tl_beside_begin(&b, in_dir("pipe")), 0);
        assert_true(b.in_place);
        assert_string_equal(b.path, in_dir("pipe"));
        assert_int_equal(tl_beside_end(&b, rc), rc);
        assert_int_equal(lstat(in_dir("pipe"), &st), 0);
        assert_true(S_ISFIFO(st.st_mode));
    }
    assert_int_equal(tl_beside_begin(&b, "/dev/null"), 0);
    assert_true(b.in_place);
}

static void what_cannot_be_put_there_is_told(void **state)
{
    (void)state;
    struct tl_beside b;
    char text[PATH_MAX + 8];
    assert_int_equal(mkdir(in_dir("folder"), 0700), 0);
    assert_int_equal(tl_beside_begin(&b, in_dir("folder")), 0);
    put(b.path, "file");
    assert_int_equal(tl_beside_end(&b, 0), -EISDIR);
    assert_int_equal(access(b.path, F_OK), -1);
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    assert_int_equal(tl_beside_begin(&b, text), -ENAMETOOLONG);
    text[PATH_MAX - 2] = 0; /* there is no room for what is added */
    assert_int_equal(tl_beside_begin(&b, text), -ENAMETOOLONG);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) == NULL;
}

static int remove_dir(void **state)
{
    static const char *const names[] = {"file", "first", "target", "link", "pipe"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)unlink(in_dir(names[i]));
    (void)rmdir(in_dir("folder"));
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_there_when_it_is_whole),
        cmocka_unit_test(a_link_stays_and_leads_to_what_is_new),
        cmocka_unit_test(what_is_no_regular_file_is_written_where_it_is),
        cmocka_unit_test(what_cannot_be_put_there_is_told),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
