// SPDX-License-Identifier: Apache-2.0
/* Listings of real directories: every kind of file, rights as other users have them, kernel file systems, failing and
 * changing directories. System calls fail where the test says so (ld's --wrap). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/failing_alloc.h"
#include "base/time.h"
#include "base/xattrs.h"
#include "source/conformance.h"
#include "source/files.h"
#include "source/posix.h"

/* A slow storage: each statx of a name takes a while, and the 50th of the first thread waits for a second one. */
static atomic_bool slow;
static atomic_uint slow_threads, slow_calls;
static pthread_mutex_t slow_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t slow_changed = PTHREAD_COND_INITIALIZER;

static void take_a_while(void)
{
    static _Thread_local bool seen;
    static _Thread_local unsigned calls;
    const struct timespec latency = {.tv_nsec = 200000};
    nanosleep(&latency, NULL);
    pthread_mutex_lock(&slow_lock);
    slow_calls++;
    if (!seen)
        slow_threads++;
    seen = true;
    pthread_cond_broadcast(&slow_changed);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    int rc = 0;
    while (++calls >= 50 && slow_threads < 2 && rc == 0)
        rc = pthread_cond_timedwait(&slow_changed, &slow_lock, &until);
    pthread_mutex_unlock(&slow_lock);
}

static const char *_Atomic bad_name; /* statx of this name fails ... */
static _Atomic int bad_errno;        /* ... with this */
static _Atomic int page_errno;       /* getdents fails at the second page */
static atomic_bool repeat_page;      /* the first page comes twice, once */

int __real_statx(int fd, const char *path, int flags, unsigned mask, struct statx *st);
int __wrap_statx(int fd, const char *path, int flags, unsigned mask, struct statx *st);
int __wrap_statx(int fd, const char *path, int flags, unsigned mask, struct statx *st)
{
    if (bad_name != NULL && strcmp(path, bad_name) == 0) {
        errno = bad_errno;
        return -1;
    }
    if (slow && path[0] != '\0')
        take_a_while();
    return __real_statx(fd, path, flags, mask, st);
}

ssize_t __real_getdents64(int fd, void *buffer, size_t len);
ssize_t __wrap_getdents64(int fd, void *buffer, size_t len);
ssize_t __wrap_getdents64(int fd, void *buffer, size_t len)
{
    static char first[4096];
    static ssize_t first_len;
    if (repeat_page && first_len > 0) {
        memcpy(buffer, first, (size_t)first_len);
        repeat_page = false;
        ssize_t n = first_len;
        first_len = 0;
        return n;
    }
    if (page_errno != 0 && lseek(fd, 0, SEEK_CUR) != 0) {
        errno = page_errno;
        return -1;
    }
    ssize_t n = __real_getdents64(fd, buffer, len);
    if (repeat_page && n > 0 && n <= (ssize_t)sizeof first) {
        memcpy(first, buffer, (size_t)n);
        first_len = n;
    }
    return n;
}

static struct tl_source *open_source(void)
{
    struct tl_source *s = NULL;
    const struct tl_source_config config = tl_test_source_config();
    assert_int_equal(tl_source_posix_open(&s, &config, NULL), 0);
    return s;
}

static const char *at(const char *name)
{
    static char paths[4][4096];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", tl_test_dir(), name);
    return path;
}

static void free_listing(struct tl_listing *l)
{
    free((void *)(uintptr_t)l->bytes);
}

static struct tl_attr entry(const struct tl_listing *l, const char *name)
{
    struct tl_listing_entry e;
    assert_int_equal(tl_listing_find(l, name, strlen(name), &e), 0);
    return e.attr;
}

static void make_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

static void every_kind_of_file_is_listed_as_lstat_has_it(void **state)
{
    (void)state;
    tl_test_make_dir(at("kinds"));
    tl_test_make_dir(at("kinds/dir"));
    tl_test_put_file(at("kinds/file"), "abc", 3);
    tl_test_put_link(at("kinds/link"), "file");
    tl_test_put_link(at("kinds/dangling"), "/no/such");
    assert_int_equal(mkfifo(at("kinds/fifo"), 0600), 0);
    make_socket(at("kinds/sock"));
    bool device = mknod(at("kinds/dev"), S_IFCHR | 0600, makedev(1, 3)) == 0; /* root only */
    struct tl_source *s = open_source();
    struct tl_listing l;
    assert_int_equal(tl_test_source_list(s, at("kinds"), &l), 0);
    assert_int_equal(l.count, device ? 7 : 6);
    struct tl_listing_entry e;
    for (uint32_t i = 0; i < l.count; i++) {
        struct stat st;
        char name[300];
        tl_listing_at(&l, i, &e);
        snprintf(name, sizeof name, "kinds/%.*s", (int)e.name_len, e.name);
        assert_int_equal(lstat(at(name), &st), 0);
        assert_int_equal(e.attr.status, 0);
        assert_int_equal(e.attr.mode, st.st_mode);
        assert_true(e.attr.ino == st.st_ino && e.attr.size_bytes == (uint64_t)st.st_size);
        assert_true(e.attr.nlink == st.st_nlink && e.attr.uid == st.st_uid && e.attr.gid == st.st_gid);
        assert_true(e.attr.blocks == (uint64_t)st.st_blocks && e.attr.rdev == st.st_rdev);
        assert_true(e.attr.mtime_ns == tl_time_from_parts(st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec));
        assert_true(e.attr.ctime_ns == tl_time_from_parts(st.st_ctim.tv_sec, (uint32_t)st.st_ctim.tv_nsec));
        assert_int_equal(e.target_len, S_ISLNK(st.st_mode) ? st.st_size : 0);
    }
    free_listing(&l);
    struct tl_source_stats stats;
    tl_source_stats(s, &stats);
    assert_int_equal(stats.lists, 1);
    assert_int_equal(stats.lstats, device ? 7 : 6);
    assert_int_equal(stats.readlinks, 2);
    assert_int_equal(stats.opens, 0);
    assert_int_equal(stats.errors, 0);
    tl_source_close(s);
}

static void a_version_is_the_same_through_another_mount_of_it(void **state)
{
    (void)state;
    struct statx a = {.stx_ino = 5, .stx_size = 6, .stx_dev_major = 0, .stx_dev_minor = 40};
    struct statx b = a;
    b.stx_dev_minor = 50; /* device numbers of network file systems are each node's own */
    b.stx_atime.tv_sec = 99;
    assert_true(tl_posix_version(&a) == tl_posix_version(&b));
    b.stx_ctime.tv_nsec = 1;
    assert_true(tl_posix_version(&a) != tl_posix_version(&b));
}

static void a_directory_of_20000_names_is_whole(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    tl_test_make_dir(at("many"));
    int dir = open(at("many"), O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    assert_true(dir >= 0);
    char name[32];
    tl_test_put_file(at("many/file-0"), "x", 1);
    for (int i = 1; i < COUNT; i++) { /* links of one file: files are slow to make */
        snprintf(name, sizeof name, "file-%d", i);
        assert_int_equal(linkat(dir, "file-0", dir, name, 0), 0);
    }
    struct tl_source *s = open_source();
    struct tl_listing l;
    uint64_t start_ns = tl_time_mono_ns();
    assert_int_equal(tl_test_source_list(s, at("many"), &l), 0);
    print_message("%d names listed in %llu us, %zu bytes\n", COUNT,
                  (unsigned long long)((tl_time_mono_ns() - start_ns) / TL_NS_PER_US), l.len);
    assert_int_equal(l.count, COUNT);
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "file-%d", i);
        assert_int_equal(entry(&l, name).status, 0);
    }
    close(dir);
    free_listing(&l);
    tl_source_close(s);
}

static void kernel_file_systems_are_shown_empty(void **state)
{
    (void)state;
    struct tl_source *s = open_source();
    static const char *const pseudo[] = {"/proc", "/proc/self", "/sys", "/sys/kernel"};
    for (size_t i = 0; i < sizeof pseudo / sizeof pseudo[0]; i++) {
        struct tl_listing l;
        if (access(pseudo[i], F_OK) != 0)
            continue;
        if (strcmp(pseudo[i], "/proc/self") == 0) { /* a link: never followed */
            assert_int_equal(tl_test_source_list(s, pseudo[i], &l), -ENOTDIR);
            continue;
        }
        assert_int_equal(tl_test_source_list(s, pseudo[i], &l), 0);
        assert_int_equal(l.count, 0);
        free_listing(&l);
    }
    struct tl_listing root;
    assert_int_equal(tl_test_source_list(s, "/", &root), 0);
    assert_true(root.count > 3);
    assert_true(S_ISDIR(entry(&root, "proc").mode));
    free_listing(&root);
    tl_source_close(s);
}

static void a_name_that_vanishes_is_left_out_and_other_errors_stay_with_it(void **state)
{
    (void)state;
    tl_test_make_dir(at("holes"));
    tl_test_put_file(at("holes/bad"), "x", 1);
    tl_test_put_file(at("holes/good"), "x", 1);
    struct tl_source *s = open_source();
    struct tl_listing l;
    bad_errno = ENOENT;
    bad_name = "bad";
    assert_int_equal(tl_test_source_list(s, at("holes"), &l), 0);
    assert_int_equal(l.count, 1);
    assert_int_equal(entry(&l, "good").status, 0);
    free_listing(&l);
    bad_errno = EIO;
    assert_int_equal(tl_test_source_list(s, at("holes"), &l), 0);
    assert_int_equal(l.count, 2);
    assert_int_equal(entry(&l, "bad").status, -EIO);
    assert_int_equal(entry(&l, "good").status, 0);
    free_listing(&l);
    bad_name = NULL;
    tl_source_close(s);
}

static void a_directory_that_cannot_be_read_to_its_end_is_an_error(void **state)
{
    (void)state;
    struct tl_source *s = open_source();
    struct tl_listing l;
    tl_test_make_dir(at("torn"));
    tl_test_put_file(at("torn/a"), "x", 1);
    page_errno = EIO;
    assert_int_equal(tl_test_source_list(s, at("torn"), &l), -EIO);
    page_errno = 0;
    assert_int_equal(tl_test_source_list(s, at("torn"), &l), 0);
    assert_int_equal(l.count, 1);
    free_listing(&l);
    bad_name = ""; /* the directory's own attributes */
    bad_errno = EACCES;
    assert_int_equal(tl_test_source_list(s, at("torn"), &l), -EACCES);
    bad_name = NULL;
    tl_source_close(s);
}

static void a_name_seen_twice_makes_it_read_again(void **state)
{
    (void)state;
    struct tl_source *s = open_source();
    struct tl_listing l;
    struct tl_source_stats stats;
    tl_test_make_dir(at("twice"));
    tl_test_put_file(at("twice/a"), "x", 1);
    tl_test_put_file(at("twice/b"), "x", 1);
    repeat_page = true;
    assert_int_equal(tl_test_source_list(s, at("twice"), &l), 0);
    assert_false(repeat_page);
    assert_int_equal(l.count, 2);
    tl_source_stats(s, &stats);
    assert_int_equal(stats.lists, 2);
    free_listing(&l);
    tl_source_close(s);
}

static void a_link_in_place_of_a_directory_is_not_followed(void **state)
{
    (void)state;
    struct tl_source *s = open_source();
    struct tl_listing l;
    tl_test_put_link(at("elsewhere"), "/");
    assert_int_equal(tl_test_source_list(s, at("elsewhere"), &l), -ENOTDIR);
    tl_source_close(s);
}

static void idle_workers_help_where_storage_is_slow(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    char name[64];
    tl_test_make_dir(at("slow"));
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "slow/link-%d", i);
        tl_test_put_link(at(name), name);
    }
    struct tl_source *s = open_source();
    for (unsigned turn = 1; turn <= 2; turn++) {
        struct tl_listing l;
        slow = true;
        assert_int_equal(tl_test_source_list(s, at("slow"), &l), 0);
        slow = false;
        assert_int_equal(l.count, COUNT);
        assert_int_equal(slow_calls, turn * COUNT); /* each name once */
        for (int i = 0; i < COUNT; i++) {
            snprintf(name, sizeof name, "link-%d", i);
            assert_int_equal(entry(&l, name).status, 0);
        }
        free_listing(&l);
    }
    assert_int_equal(slow_threads, 2);
    tl_source_close(s);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    tl_test_make_dir(at("memory"));
    char name[64];
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "memory/some-name-%d", i);
        tl_test_put_file(at(name), "x", 1);
    }
    const struct tl_source_config config = tl_test_source_config();
    unsigned failed = 0;
    for (long nth = 0; nth < 100; nth++) {
        struct tl_source *s = NULL;
        struct tl_listing l;
        tl_failing_alloc_at(nth);
        int rc = tl_source_posix_open(&s, &config, NULL);
        if (rc == 0)
            rc = tl_test_source_list(s, at("memory"), &l);
        bool hit = tl_failing_alloc_hit() != 0;
        tl_failing_alloc_at(-1);
        assert_int_equal(rc, hit ? -ENOMEM : 0);
        if (rc == 0)
            free_listing(&l);
        tl_source_close(s);
        if (!hit)
            break;
        failed++;
    }
    assert_in_range(failed, 8, 60);
}

/* Runs in a child with another user's rights; exit status 0 if all is as it should be, else the number of the line. */
static int look_as_another_user(void)
{
    struct tl_source *s = NULL;
    const struct tl_source_config config = tl_test_source_config();
    const gid_t groups[] = {4242};
    if (setgroups(1, groups) != 0 || setresgid(1234, 1234, 1234) != 0 || setresuid(1234, 1234, 1234) != 0)
        return __LINE__;
    if (tl_source_posix_open(&s, &config, NULL) != 0)
        return __LINE__;
    struct tl_listing l;
    if (tl_test_source_list(s, at("rights"), &l) != 0)
        return __LINE__;
    static const struct {
        const char *name;
        uint8_t access;
    } want[] = {{"all", 6}, {"others", 4}, {"root", 0}, {"own", 6}, {"group", 5}, {"foreign", 0}, {"open", 7}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        if (entry(&l, want[i].name).access != want[i].access)
            return 1000 + (int)i;
    struct tl_attr file = entry(&l, "root");
    free_listing(&l);
    if (tl_test_source_list(s, at("rights/closed"), &l) != -EACCES)
        return __LINE__;
    /* Names are seen where the directory may be searched, whether it may be listed or not, and nowhere else. */
    if (tl_test_source_list(s, at("rights/search"), &l) != -EACCES)
        return __LINE__;
    if (tl_test_source_entry(s, at("rights/search/name"), &l) != 0 || entry(&l, "name").access != 0)
        return __LINE__;
    free_listing(&l);
    if (tl_test_source_entry(s, at("rights/search/missing"), &l) != -ENOENT)
        return __LINE__;
    if (tl_test_source_entry(s, at("rights/closed/name"), &l) != -EACCES)
        return __LINE__;
    if (tl_test_source_entry(s, at("rights/closed/missing"), &l) != -EACCES)
        return __LINE__;
    static uint8_t buffer[TL_TEST_CHUNK];
    int status = 0;
    if (tl_test_source_read(s, at("rights/root"), &file, 0, 1, buffer, &status) != 0 || status != -EACCES)
        return __LINE__;
    tl_source_close(s);
    return 0;
}

static void extended_attributes_are_as_the_storage_has_them(void **state)
{
    (void)state;
    struct tl_source *s = open_source();
    tl_test_put_file(at("with"), "x", 1);
    tl_test_put_file(at("without"), "x", 1);
    if (setxattr(at("with"), "user.colour", "blue", 4, 0) != 0) {
        print_message("skipped: no user.* attributes where the test runs\n");
        tl_source_close(s);
        skip();
    }
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"with", "without", "missing"};
        const char *path = at(names[i]);
        const struct tl_source_op op = {.kind = TL_SOURCE_XATTRS, .path = path, .path_len = (uint16_t)strlen(path)};
        struct tl_source_done done;
        struct tl_xattrs x;
        const void *value;
        size_t len;
        assert_int_equal(tl_source_submit(s, &op), 0);
        assert_int_equal(tl_test_source_wait(s, &done, 1), 1);
        assert_int_equal(done.status, i == 2 ? -ENOENT : 0);
        if (i == 2)
            continue;
        assert_int_equal(tl_xattrs_open(&x, done.blob, done.len), 0);
        assert_true(tl_hash_equal(done.digest, tl_hash_bytes(done.blob, done.len, 0)));
        assert_int_equal(tl_xattrs_find(&x, "user.colour", &value, &len), i == 0 ? 0 : -ENODATA);
        assert_true(i == 1 || (len == 4 && memcmp(value, "blue", 4) == 0));
        free(done.blob);
    }
    tl_source_close(s);
}

static void put(const char *name, uid_t uid, gid_t gid, mode_t mode)
{
    tl_test_put_file(at(name), "secret", 6);
    assert_int_equal(chown(at(name), uid, gid), 0);
    assert_int_equal(chmod(at(name), mode), 0);
}

static void another_user_sees_what_it_may_and_no_more(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("skipped: needs root to become another user\n");
        skip();
    }
    assert_int_equal(chmod(tl_test_dir(), 0755), 0);
    tl_test_make_dir(at("rights"));
    put("rights/all", 0, 0, 0666);
    put("rights/others", 0, 0, 0644);
    put("rights/root", 0, 0, 0600);
    put("rights/own", 1234, 0, 0600);
    put("rights/group", 0, 4242, 0750);
    put("rights/foreign", 0, 0, 0750);
    tl_test_make_dir(at("rights/open"));
    assert_int_equal(chmod(at("rights/open"), 0777), 0);
    tl_test_make_dir(at("rights/closed"));
    tl_test_put_file(at("rights/closed/name"), "secret", 6);
    assert_int_equal(chmod(at("rights/closed"), 0700), 0);
    tl_test_make_dir(at("rights/search"));
    put("rights/search/name", 0, 0, 0600);
    assert_int_equal(chmod(at("rights/search"), 0711), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int line = look_as_another_user();
        if (line != 0)
            fprintf(stderr, "failed at line %d\n", line);
        _exit(line == 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    /* Root may all, but runs only what somebody may run. */
    struct tl_source *s = open_source();
    if (tl_posix_rights_now() == TL_RIGHTS_ALL) {
        assert_int_equal(tl_test_source_attr(s, at("rights"), "own").access, 6);
        assert_int_equal(tl_test_source_attr(s, at("rights"), "foreign").access, 7);
        assert_int_equal(tl_test_source_attr(s, at("rights"), "closed").access, 7);
    }
    tl_source_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_file_is_listed_as_lstat_has_it),
        cmocka_unit_test(a_version_is_the_same_through_another_mount_of_it),
        cmocka_unit_test(a_directory_of_20000_names_is_whole),
        cmocka_unit_test(kernel_file_systems_are_shown_empty),
        cmocka_unit_test(a_name_that_vanishes_is_left_out_and_other_errors_stay_with_it),
        cmocka_unit_test(a_directory_that_cannot_be_read_to_its_end_is_an_error),
        cmocka_unit_test(a_name_seen_twice_makes_it_read_again),
        cmocka_unit_test(a_link_in_place_of_a_directory_is_not_followed),
        cmocka_unit_test(idle_workers_help_where_storage_is_slow),
        cmocka_unit_test(every_failed_allocation_is_reported),
        cmocka_unit_test(extended_attributes_are_as_the_storage_has_them),
        cmocka_unit_test(another_user_sees_what_it_may_and_no_more),
    };
    return cmocka_run_group_tests_name("posix listings", tests, NULL, NULL);
}
