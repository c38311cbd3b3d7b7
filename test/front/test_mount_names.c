// SPDX-License-Identifier: Apache-2.0
/* Names and attributes through a real mount: what programs see, and how few messages it takes. */
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <termios.h>

#include <cmocka.h>

#include "front/fixture.h"

static void in_mnt(const struct fixture *fx, char *buf, size_t size, const char *name)
{
    fixture_path(buf, size, fx->mnt, name);
}

static void stat_some(struct fixture *fx, const void *arg)
{
    (void)arg;
    char path[256];
    struct stat st;
    in_mnt(fx, path, sizeof path, "file");
    EXPECT(stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 5 && (st.st_mode & 07777) == 0644);
    in_mnt(fx, path, sizeof path, "dir");
    EXPECT(stat(path, &st) == 0 && S_ISDIR(st.st_mode));
    in_mnt(fx, path, sizeof path, "dir/missing");
    for (int i = 0; i < 3; i++)
        EXPECT(stat(path, &st) != 0 && errno == ENOENT);
    in_mnt(fx, path, sizeof path, "missing");
    EXPECT(stat(path, &st) != 0 && errno == ENOENT);
}

static void names_and_missing_names_are_asked_for_once(void **state)
{
    (void)state;
    struct fixture fx;
    fixture_new(&fx);
    fixture_spill(&fx, "file", "hello");
    fixture_make_dir(&fx, "dir", 0755);
    fixture_mount(&fx, NULL);
    assert_int_equal(fixture_run(&fx, stat_some, NULL), 0);
    assert_int_equal(fx.host.lists, 2); /* the top and dir: nothing more is needed */
    assert_true(fixture_is_silent(&fx, stat_some));
    fixture_free(&fx);
}

static void open_close(struct fixture *fx, const void *arg)
{
    (void)arg;
    char path[256], buf[16];
    in_mnt(fx, path, sizeof path, "file");
    for (int i = 0; i < 100; i++) {
        int fd = open(path, O_RDONLY);
        EXPECT(fd >= 0 && read(fd, buf, sizeof buf) == 5 && memcmp(buf, "hello", 5) == 0);
        EXPECT(read(fd, buf, sizeof buf) == 0);
        close(fd);
    }
    DIR *dir = opendir(fx->mnt);
    EXPECT(dir != NULL);
    int count = 0;
    while (readdir(dir) != NULL)
        count++;
    EXPECT(count == 3);
    closedir(dir);
}

static void opens_reads_and_listings_repeat_without_a_message(void **state)
{
    (void)state;
    struct fixture fx;
    fixture_new(&fx);
    fixture_spill(&fx, "file", "hello");
    fixture_mount(&fx, NULL);
    assert_int_equal(fixture_run(&fx, open_close, NULL), 0);
    assert_true(fixture_is_silent(&fx, open_close));
    fixture_free(&fx);
}

#define MANY 10000

static void read_many(struct fixture *fx, const void *arg)
{
    (void)arg;
    char path[256];
    static bool seen[MANY];
    in_mnt(fx, path, sizeof path, "many");
    DIR *dir = opendir(path);
    EXPECT(dir != NULL);
    int count = 0;
    for (struct dirent *d; (d = readdir(dir)) != NULL; count++) {
        int n = -1;
        struct stat st;
        if (d->d_name[0] == '.')
            continue;
        EXPECT(sscanf(d->d_name, "entry-%d", &n) == 1 && n >= 0 && n < MANY && !seen[n]);
        seen[n] = true;
        EXPECT(d->d_type == DT_REG);
        if (n % 100 == 0)
            EXPECT(fstatat(dirfd(dir), d->d_name, &st, 0) == 0 && st.st_ino == d->d_ino);
    }
    EXPECT(count == MANY + 2);
    closedir(dir);
}

static void a_directory_of_ten_thousand_is_read_whole_and_known_after(void **state)
{
    (void)state;
    struct fixture fx;
    char name[64];
    fixture_new(&fx);
    fixture_path(name, sizeof name, fx.source, "many");
    assert_int_equal(mkdir(name, 0755), 0);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "many/entry-%d", i);
        fixture_spill(&fx, name, "");
    }
    fixture_mount(&fx, NULL);
    assert_int_equal(fixture_run(&fx, read_many, NULL), 0);
    struct tl_fuse_stats s;
    tl_fuse_stats(fx.fuse, &s);
    assert_true(s.lookups <= 1); /* "many" itself: the entries came with the listing */
    assert_true(s.inodes >= MANY);
    assert_int_equal(fx.host.lists, 2);
    assert_true(fixture_is_silent(&fx, read_many));
    fixture_free(&fx);
}

static const char *const odd_names[] = {
    " ",
    "\n",
    "\xff\xfe",
    "-rf",
    "a b\tc",
    "\\040",
    "%s",
    "...",
    "\x01",
    "long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-"
    "long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-"
    "long-long-long-long-long-long-long"};
#define ODD_COUNT (sizeof odd_names / sizeof odd_names[0])

static void read_odd(struct fixture *fx, const void *arg)
{
    (void)arg;
    unsigned found = 0;
    DIR *dir = opendir(fx->mnt);
    EXPECT(dir != NULL);
    for (struct dirent *d; (d = readdir(dir)) != NULL;)
        for (unsigned i = 0; i < ODD_COUNT; i++)
            found |= strcmp(d->d_name, odd_names[i]) == 0 ? 1u << i : 0;
    closedir(dir);
    EXPECT(found == (1u << ODD_COUNT) - 1);
    for (unsigned i = 0; i < ODD_COUNT; i++) {
        char path[512];
        struct stat st;
        in_mnt(fx, path, sizeof path, odd_names[i]);
        EXPECT(stat(path, &st) == 0 && st.st_size == 1);
    }
}

static void odd_names_are_names(void **state)
{
    (void)state;
    struct fixture fx;
    fixture_new(&fx);
    for (unsigned i = 0; i < ODD_COUNT; i++)
        fixture_spill(&fx, odd_names[i], "x");
    fixture_mount(&fx, NULL);
    assert_int_equal(fixture_run(&fx, read_odd, NULL), 0);
    fixture_free(&fx);
}

static void read_links(struct fixture *fx, const void *arg)
{
    (void)arg;
    char path[256], target[64];
    struct stat st;
    in_mnt(fx, path, sizeof path, "link");
    EXPECT(readlink(path, target, sizeof target) == 4 && memcmp(target, "file", 4) == 0);
    EXPECT(lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && st.st_size == 4);
    EXPECT(stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 5);
    in_mnt(fx, path, sizeof path, "dangling");
    EXPECT(lstat(path, &st) == 0 && S_ISLNK(st.st_mode));
    EXPECT(stat(path, &st) != 0 && errno == ENOENT);
}

static void links_are_read_once(void **state)
{
    (void)state;
    struct fixture fx;
    fixture_new(&fx);
    fixture_spill(&fx, "file", "hello");
    fixture_make_link(&fx, "link", "file");
    fixture_make_link(&fx, "dangling", "nowhere");
    fixture_mount(&fx, NULL);
    assert_int_equal(fixture_run(&fx, read_links, NULL), 0);
    assert_true(fixture_is_silent(&fx, read_links));
    fixture_free(&fx);
}

static void read_absolute(struct fixture *fx, const void *arg)
{
    const char *want = arg;
    char path[256], target[256];
    struct stat st;
    in_mnt(fx, path, sizeof path, "dir/absolute");
    ssize_t len = (ssize_t)strlen(want);
    EXPECT(readlink(path, target, sizeof target) == len && memcmp(target, want, strlen(want)) == 0);
    EXPECT(lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && st.st_size == len);
    EXPECT(stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 5);
    in_mnt(fx, path, sizeof path, "dir");
    DIR *dir = opendir(path);
    EXPECT(dir != NULL);
    for (struct dirent *d; (d = readdir(dir)) != NULL;)
        if (strcmp(d->d_name, "absolute") == 0)
            EXPECT(fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size == len);
    closedir(dir);
    in_mnt(fx, path, sizeof path, "dir/pseudo");
    EXPECT(readlink(path, target, sizeof target) == 10 && memcmp(target, "/proc/self", 10) == 0);
}

static void absolute_links_stay_inside_a_plain_mount_only(void **state)
{
    (void)state;
    for (int plain = 0; plain < 2; plain++) {
        struct fixture fx;
        char target[256];
        fixture_new(&fx);
        fixture_spill(&fx, "file", "hello");
        fixture_make_dir(&fx, "dir", 0755);
        fixture_path(target, sizeof target, fx.source, "file");
        fixture_make_link(&fx, "dir/absolute", target);
        fixture_make_link(&fx, "dir/pseudo", "/proc/self");
        const struct fixture_options by_launcher = {.by_fd = true};
        fixture_mount(&fx, plain == 1 ? NULL : &by_launcher);
        assert_int_equal(fixture_run(&fx, read_absolute, plain == 1 ? "../file" : target), 0);
        fixture_free(&fx);
    }
}

#define EXPECT_ROFS(call) EXPECT((call) < 0 && errno == EROFS)

static void change_things(struct fixture *fx, const void *arg)
{
    (void)arg;
    char file[256], other[256], dir[256];
    in_mnt(fx, file, sizeof file, "file");
    in_mnt(fx, other, sizeof other, "new");
    in_mnt(fx, dir, sizeof dir, "dir");
    EXPECT_ROFS(open(file, O_WRONLY));
    EXPECT_ROFS(open(file, O_RDWR | O_APPEND));
    EXPECT_ROFS(open(file, O_RDONLY | O_TRUNC));
    EXPECT_ROFS(open(other, O_WRONLY | O_CREAT, 0644));
    EXPECT_ROFS(truncate(file, 0));
    EXPECT_ROFS(unlink(file));
    EXPECT_ROFS(rmdir(dir));
    EXPECT_ROFS(mkdir(other, 0755));
    EXPECT_ROFS(rename(file, other));
    EXPECT_ROFS(link(file, other));
    EXPECT_ROFS(symlink("file", other));
    EXPECT_ROFS(mknod(other, S_IFIFO | 0644, 0));
    EXPECT_ROFS(chmod(file, 0600));
    EXPECT_ROFS(chown(file, 1, 1));
    EXPECT_ROFS(utimensat(AT_FDCWD, file, NULL, 0));
    EXPECT_ROFS(setxattr(file, "user.x", "1", 1, 0));
    EXPECT_ROFS(removexattr(file, "user.x"));
    EXPECT_ROFS(access(file, W_OK));
    int fd = open(dir, O_RDONLY | O_DIRECTORY);
    EXPECT(fd >= 0);
    EXPECT_ROFS(openat(fd, "tmp", O_WRONLY | O_CREAT | O_EXCL, 0600));
    EXPECT_ROFS(openat(fd, ".", O_WRONLY | O_TMPFILE, 0600));
}

static void everything_that_changes_something_says_read_only(void **state)
{
    (void)state;
    struct fixture fx;
    fixture_new(&fx);
    fixture_spill(&fx, "file", "hello");
    fixture_make_dir(&fx, "dir", 0755);
    fixture_mount(&fx, NULL);
    assert_int_equal(fixture_run(&fx, change_things, NULL), 0);
    fixture_free(&fx);
}

static void ask_odd_things(struct fixture *fx, const void *arg)
{
    (void)arg;
    char file[256];
    in_mnt(fx, file, sizeof file, "file");
    struct statvfs vfs;
    EXPECT(statvfs(fx->mnt, &vfs) == 0 && vfs.f_bsize == 4096 && vfs.f_namemax == 255 && vfs.f_blocks > 0);
    EXPECT(vfs.f_bfree == 0 && (vfs.f_flag & ST_RDONLY) != 0);
    int fd = open(file, O_RDONLY);
    EXPECT(fd >= 0);
    struct termios tio;
    EXPECT(tcgetattr(fd, &tio) < 0 && errno == ENOTTY && isatty(fd) == 0);
    EXPECT(flock(fd, LOCK_EX | LOCK_NB) == 0 && flock(fd, LOCK_UN) == 0 && flock(fd, LOCK_SH) == 0);
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    EXPECT(fcntl(fd, F_SETLK, &lock) == 0);
    int second = open(file, O_RDONLY);
    EXPECT(second >= 0 && flock(second, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK); /* they do exclude */
    EXPECT(lseek(fd, 0, SEEK_DATA) == 0 && lseek(fd, 0, SEEK_HOLE) == 5);
}

static void odd_requests_get_their_proper_answers(void **state)
{
    (void)state;
    struct fixture fx;
    fixture_new(&fx);
    fixture_spill(&fx, "file", "hello");
    fixture_mount(&fx, NULL);
    assert_int_equal(fixture_run(&fx, ask_odd_things, NULL), 0);
    fixture_free(&fx);
}

static void read_xattrs(struct fixture *fx, const void *arg)
{
    const bool *supported = arg;
    char file[256], dir[256], value[128];
    in_mnt(fx, file, sizeof file, "file");
    in_mnt(fx, dir, sizeof dir, "dir");
    if (!*supported) {
        EXPECT(getxattr(file, "user.x", value, sizeof value) < 0 && errno == EOPNOTSUPP);
        EXPECT(listxattr(file, NULL, 0) < 0 && errno == EOPNOTSUPP);
        return;
    }
    EXPECT(getxattr(file, "user.colour", NULL, 0) == 4);
    EXPECT(getxattr(file, "user.colour", value, sizeof value) == 4 && memcmp(value, "blue", 4) == 0);
    EXPECT(getxattr(file, "user.colour", value, 4) == 4);
    EXPECT(getxattr(file, "user.colour", value, 3) < 0 && errno == ERANGE);
    EXPECT(getxattr(file, "user.empty", value, sizeof value) == 0);
    EXPECT(getxattr(file, "user.none", value, sizeof value) < 0 && errno == ENODATA);
    ssize_t len = listxattr(file, value, sizeof value);
    EXPECT(len >= 23 && memmem(value, (size_t)len, "user.colour", 12) != NULL);
    EXPECT(memmem(value, (size_t)len, "user.empty", 11) != NULL && listxattr(file, NULL, 0) == len);
    EXPECT(listxattr(file, value, 11) < 0 && errno == ERANGE);
    EXPECT(getxattr(dir, "user.colour", value, sizeof value) < 0 && errno == ENODATA);
    EXPECT(getxattr(fx->mnt, "user.colour", value, sizeof value) < 0 && errno == ENODATA);
}

static void read_what_the_tier_knows(struct fixture *fx, const void *arg)
{
    (void)arg;
    static const char *const known[][2] = {{"user.tiercel.state", "partial"}, {"user.tiercel.bytes", "262144"},
                                           {"user.tiercel.node", "3"},        {"user.tiercel.root", "5"},
                                           {"user.tiercel.hits", "7"},        {"user.tiercel.pinned", "0"}};
    char file[256], dir[256], value[128];
    in_mnt(fx, file, sizeof file, "file");
    in_mnt(fx, dir, sizeof dir, "dir");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        ssize_t len = getxattr(file, known[i][0], value, sizeof value);
        EXPECT(len == (ssize_t)strlen(known[i][1]) && memcmp(value, known[i][1], (size_t)len) == 0);
    }
    EXPECT(getxattr(dir, "user.tiercel.state", value, sizeof value) == 6 && memcmp(value, "cached", 6) == 0);
    EXPECT(getxattr(fx->mnt, "user.tiercel.state", value, sizeof value) == 6);
    EXPECT(getxattr(file, "user.tiercel.state", value, 3) < 0 && errno == ERANGE);
    EXPECT(getxattr(file, "user.tiercel.other", value, sizeof value) < 0 && errno == ENODATA);
    ssize_t len = listxattr(file, value, sizeof value); /* copies must not carry them */
    EXPECT(len <= 0 || memmem(value, (size_t)len, "user.tiercel", 12) == NULL);
}

static void the_tier_tells_what_it_holds_of_a_file(void **state)
{
    (void)state;
    struct fixture fx;
    fixture_new(&fx);
    fixture_spill(&fx, "file", "hello");
    fixture_make_dir(&fx, "dir", 0755);
    fixture_mount(&fx, NULL);
    assert_int_equal(fixture_run(&fx, read_what_the_tier_knows, NULL), 0);
    fixture_free(&fx);
}

static void extended_attributes_of_a_file_are_fetched_once(void **state)
{
    (void)state;
    struct fixture fx;
    char path[256];
    bool supported = true;
    fixture_new(&fx);
    fixture_spill(&fx, "file", "hello");
    fixture_make_dir(&fx, "dir", 0755);
    fixture_path(path, sizeof path, fx.source, "file");
    if (setxattr(path, "user.colour", "blue", 4, 0) != 0) {
        print_message("skipped: no user.* attributes where the test runs\n");
        skip();
    }
    assert_int_equal(setxattr(path, "user.empty", "", 0, 0), 0);
    fixture_mount(&fx, NULL);
    assert_int_equal(fixture_run(&fx, read_xattrs, &supported), 0);
    assert_int_equal(fx.host.xattrs, 3); /* file, dir, and the top */
    assert_int_equal(fixture_run(&fx, read_xattrs, &supported), 0);
    assert_int_equal(fx.host.xattrs, 3);
    fixture_free(&fx);
}

static void storage_without_extended_attributes_says_so(void **state)
{
    (void)state;
    struct fixture fx;
    bool supported = false;
    fixture_new(&fx);
    fixture_spill(&fx, "file", "hello");
    fx.host.xattrs_status = -EOPNOTSUPP;
    fixture_mount(&fx, NULL);
    assert_int_equal(fixture_run(&fx, read_xattrs, &supported), 0);
    fixture_free(&fx);
}

/* Rights of user 65534 in group 65534, with group 1 as a further one that the kernel of a user namespace cannot see. */
struct right {
    const char *name;
    uid_t uid;
    gid_t gid;
    mode_t mode;
    bool readable; /* by that user, on the source */
};

static const struct right rights[] = {
    {"own", 65534, 65534, 0400, true},
    {"own-closed", 65534, 65534, 0044, false}, /* the owner's bits count, not the others' */
    {"public", 0, 0, 0644, true},
    {"private", 0, 0, 0600, false},
    {"my-group", 0, 65534, 0640, true},
    {"my-group-closed", 0, 65534, 0604, false}, /* the group's bits count, not the others' */
    {"further-group", 0, 1, 0640, true},        /* seen as "other" by the kernel */
    {"further-group-closed", 0, 1, 0604, false},
    {"strangers", 3, 3, 0640, false},
};
#define RIGHT_COUNT (sizeof rights / sizeof rights[0])

static void try_rights(struct fixture *fx, const void *arg)
{
    (void)arg;
    gid_t none = 65534;
    EXPECT(setgroups(1, &none) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
    for (size_t i = 0; i < RIGHT_COUNT; i++) {
        char path[256];
        in_mnt(fx, path, sizeof path, rights[i].name);
        int fd = open(path, O_RDONLY);
        bool right = rights[i].readable ? fd >= 0 : fd < 0 && errno == EACCES;
        if (!right)
            fprintf(stderr, "%s: %s\n", rights[i].name, fd >= 0 ? "readable" : strerror(errno));
        EXPECT(right);
        struct stat st;
        EXPECT(stat(path, &st) == 0 && (st.st_mode & 0022) == 0);
    }
    char path[256];
    in_mnt(fx, path, sizeof path, "closed-dir/file");
    EXPECT(open(path, O_RDONLY) < 0 && errno == EACCES);
    /* A directory that may be searched but not listed: names in it are there, and what lies below them. */
    in_mnt(fx, path, sizeof path, "search-only/inner/file");
    EXPECT(open(path, O_RDONLY) >= 0);
    in_mnt(fx, path, sizeof path, "search-only/missing");
    EXPECT(open(path, O_RDONLY) < 0 && errno == ENOENT);
    char link[256];
    struct stat st;
    in_mnt(fx, path, sizeof path, "search-only/public");
    in_mnt(fx, link, sizeof link, "search-only/link");
    EXPECT(open(path, O_RDONLY) >= 0 && stat(link, &st) == 0 && st.st_size == 1);
    EXPECT(readlink(link, path, sizeof path) == 6 && memcmp(path, "public", 6) == 0);
    in_mnt(fx, path, sizeof path, "search-only/private");
    EXPECT(stat(path, &st) == 0 && st.st_size == 1 && open(path, O_RDONLY) < 0 && errno == EACCES);
    in_mnt(fx, path, sizeof path, "closed-dir/inner/file");
    EXPECT(open(path, O_RDONLY) < 0 && errno == EACCES);
    in_mnt(fx, path, sizeof path, "search-only");
    EXPECT(opendir(path) == NULL && errno == EACCES);
}

static void rights_are_the_users_own_with_unmapped_owners(void **state)
{
    (void)state;
    struct fixture fx;
    fixture_new(&fx);
    for (size_t i = 0; i < RIGHT_COUNT; i++) {
        char path[256];
        fixture_spill(&fx, rights[i].name, "x");
        fixture_path(path, sizeof path, fx.source, rights[i].name);
        assert_int_equal(chown(path, rights[i].uid, rights[i].gid), 0);
        assert_int_equal(chmod(path, rights[i].mode), 0);
    }
    fixture_make_dir(&fx, "closed-dir", 0700);
    fixture_spill(&fx, "closed-dir/file", "x");
    fixture_make_dir(&fx, "search-only", 0711);
    fixture_make_dir(&fx, "search-only/inner", 0755);
    fixture_make_dir(&fx, "closed-dir/inner", 0755);
    fixture_spill(&fx, "closed-dir/inner/file", "x");
    fixture_spill(&fx, "search-only/inner/file", "x");
    fixture_spill(&fx, "search-only/public", "x");
    fixture_spill(&fx, "search-only/private", "x");
    char path[256];
    fixture_path(path, sizeof path, fx.source, "search-only/private");
    assert_int_equal(chmod(path, 0600), 0);
    fixture_make_link(&fx, "search-only/link", "public");
    fx.host.uid = 65534;
    fx.host.gids[0] = 65534;
    fx.host.gids[1] = 1;
    fx.host.gid_count = 2;
    const struct fixture_options options = {.by_fd = true, .map_owner = true, .uid = 65534};
    fixture_mount(&fx, &options);
    assert_int_equal(fixture_run(&fx, try_rights, NULL), 0);
    fixture_free(&fx);
}

static void expect_status(struct fixture *fx, const void *arg)
{
    char path[256];
    struct stat st;
    const int *want = arg;
    in_mnt(fx, path, sizeof path, "dir/file");
    EXPECT(stat(path, &st) != 0);
    if (errno != *want)
        fprintf(stderr, "errno %d, not %d\n", errno, *want);
    EXPECT(errno == *want);
}

static void expect_found(struct fixture *fx, const void *arg)
{
    (void)arg;
    char path[256];
    struct stat st;
    in_mnt(fx, path, sizeof path, "dir/file");
    EXPECT(stat(path, &st) == 0);
}

static void errors_of_the_node_reach_the_program_and_do_not_stick(void **state)
{
    (void)state;
    static const int cases[][2] = {
        {-EIO, EIO},     {-EHOSTUNREACH, EHOSTUNREACH}, {-ETIMEDOUT, ETIMEDOUT}, {-ENOSYS, EIO},   {-9999, EIO},
        {-EBUSY, EBUSY}, {-ESHUTDOWN, ESHUTDOWN},       {-ENOTDIR, ENOTDIR},     {-ENOENT, ENOENT}};
    struct fixture fx;
    fixture_new(&fx);
    fixture_make_dir(&fx, "dir", 0755);
    fixture_spill(&fx, "dir/file", "x");
    fixture_mount(&fx, NULL);
    fixture_path(fx.host.failing, sizeof fx.host.failing, fx.source, "dir");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fx.host.fail_status = cases[i][0];
        assert_int_equal(fixture_run(&fx, expect_status, &cases[i][1]), 0);
    }
    fx.host.failing[0] = '\0';
    assert_int_equal(fixture_run(&fx, expect_found, NULL), 0);
    fixture_free(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_missing_names_are_asked_for_once),
        cmocka_unit_test(opens_reads_and_listings_repeat_without_a_message),
        cmocka_unit_test(a_directory_of_ten_thousand_is_read_whole_and_known_after),
        cmocka_unit_test(odd_names_are_names),
        cmocka_unit_test(links_are_read_once),
        cmocka_unit_test(absolute_links_stay_inside_a_plain_mount_only),
        cmocka_unit_test(everything_that_changes_something_says_read_only),
        cmocka_unit_test(odd_requests_get_their_proper_answers),
        cmocka_unit_test(the_tier_tells_what_it_holds_of_a_file),
        cmocka_unit_test(extended_attributes_of_a_file_are_fetched_once),
        cmocka_unit_test(storage_without_extended_attributes_says_so),
        cmocka_unit_test(rights_are_the_users_own_with_unmapped_owners),
        cmocka_unit_test(errors_of_the_node_reach_the_program_and_do_not_stick),
    };
    return fixture_possible() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
