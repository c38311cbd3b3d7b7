// SPDX-License-Identifier: Apache-2.0
/* A source that changes, invalidations, and the ways in which mounts begin and end. Each case of forgetting runs with the
 * kernel's one message for all names and, as on older kernels, with a message a name. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "front/fixture.h"

#define PAGE 4096u

static void nothing(struct fixture *fx, const void *arg)
{
    (void)arg;
    struct stat st;
    EXPECT(stat(fx->mnt, &st) == 0);
}

/* A mount over dir/file and file; epoch: with the one message for all. False: this kernel has no such message. */
static bool mount_small(struct fixture *fx, bool epoch)
{
    fixture_new(fx);
    fixture_make_dir(fx, "dir", 0755);
    fixture_make_dir(fx, "other", 0755);
    fixture_spill(fx, "file", "hello");
    fixture_spill(fx, "dir/file", "hello");
    fixture_spill(fx, "other/file", "hello");
    fixture_mount(fx, NULL);
    assert_int_equal(fixture_run(fx, nothing, NULL), 0);
    if (epoch && !fx->fuse->epoch)
        return false;
    fx->fuse->epoch = epoch;
    return true;
}

static void expect_contents(const struct fixture *fx, const char *name, const char *want)
{
    char path[256], buf[64];
    struct stat st;
    fixture_path(path, sizeof path, fx->mnt, name);
    EXPECT(stat(path, &st) == 0 && st.st_size == (off_t)strlen(want));
    int fd = open(path, O_RDONLY);
    EXPECT(fd >= 0 && read(fd, buf, sizeof buf) == (ssize_t)strlen(want) && memcmp(buf, want, strlen(want)) == 0);
    close(fd);
}

static int count_names(const char *path)
{
    int count = 0;
    DIR *dir = opendir(path);
    EXPECT(dir != NULL);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static void see_old(struct fixture *fx, const void *arg)
{
    (void)arg;
    char path[256];
    struct stat st;
    expect_contents(fx, "file", "hello");
    expect_contents(fx, "dir/file", "hello");
    expect_contents(fx, "other/file", "hello");
    fixture_path(path, sizeof path, fx->mnt, "dir/later");
    EXPECT(stat(path, &st) != 0 && errno == ENOENT);
    fixture_path(path, sizeof path, fx->mnt, "dir");
    EXPECT(count_names(path) == 3);
}

static void see_new(struct fixture *fx, const void *arg)
{
    (void)arg;
    char path[256];
    struct stat st;
    expect_contents(fx, "file", "changed");
    expect_contents(fx, "dir/file", "hello");
    expect_contents(fx, "dir/later", "now here");
    fixture_path(path, sizeof path, fx->mnt, "dir");
    EXPECT(count_names(path) == 4);
    fixture_path(path, sizeof path, fx->mnt, "other/file");
    EXPECT(stat(path, &st) != 0 && errno == ENOENT);
}

static void change_source(struct fixture *fx)
{
    char path[256];
    fixture_spill(fx, "file", "changed");
    fixture_spill(fx, "dir/later", "now here");
    fixture_path(path, sizeof path, fx->source, "other/file");
    assert_int_equal(unlink(path), 0);
}

static void after_an_invalidation_the_source_is_seen_as_it_is(void **state)
{
    (void)state;
    for (int epoch = 0; epoch < 2; epoch++) {
        struct fixture fx;
        if (mount_small(&fx, epoch == 1)) {
            assert_int_equal(fixture_run(&fx, see_old, NULL), 0);
            change_source(&fx);
            assert_int_equal(fixture_run(&fx, see_old, NULL), 0); /* until somebody says so */
            uint64_t reads = fx.host.reads;
            fake_host_flush(&fx.host);
            tl_fuse_invalidate(fx.fuse, "", 0);
            fixture_serve_until(&fx, fixture_idle);
            assert_int_equal(fixture_run(&fx, see_new, NULL), 0);
            assert_true(fx.host.reads - reads >= 2); /* the changed and the new; the same are perhaps read again */
            assert_true(fixture_is_silent(&fx, see_new));
        }
        fixture_free(&fx);
    }
}

static void see_dir(struct fixture *fx, const void *arg)
{
    (void)arg;
    expect_contents(fx, "dir/later", "now here");
}

static void see_missing_again(struct fixture *fx, const void *arg)
{
    (void)arg;
    char path[256];
    struct stat st;
    fixture_path(path, sizeof path, fx->mnt, "dir/later");
    EXPECT(stat(path, &st) != 0 && errno == ENOENT);
}

static void see_other(struct fixture *fx, const void *arg)
{
    (void)arg;
    expect_contents(fx, "other/file", "hello");
}

static void a_path_alone_can_be_invalidated(void **state)
{
    (void)state;
    for (int epoch = 0; epoch < 2; epoch++) {
        for (int missing = 0; missing < 2; missing++) { /* the directory, or the name known to be missing in it */
            struct fixture fx;
            if (mount_small(&fx, epoch == 1)) {
                char path[256];
                assert_int_equal(fixture_run(&fx, see_missing_again, NULL), 0);
                assert_int_equal(fixture_run(&fx, see_other, NULL), 0);
                change_source(&fx);
                fake_host_flush(&fx.host);
                fixture_path(path, sizeof path, fx.source, missing == 1 ? "dir/later" : "dir");
                tl_fuse_invalidate(fx.fuse, path, (uint16_t)strlen(path));
                fixture_serve_until(&fx, fixture_idle);
                assert_int_equal(fixture_run(&fx, see_dir, NULL), 0);
                if (epoch == 0) /* what lies elsewhere stays known */
                    assert_true(fixture_is_silent(&fx, see_other));
            }
            fixture_free(&fx);
        }
    }
}

static void an_invalidation_elsewhere_changes_nothing(void **state)
{
    (void)state;
    struct fixture fx;
    (void)mount_small(&fx, false);
    fx.fuse->epoch = true; /* as probed: if it were used, the names would be asked for again */
    assert_int_equal(fixture_run(&fx, see_old, NULL), 0);
    uint64_t before = fixture_messages(&fx);
    tl_fuse_invalidate(fx.fuse, "/somewhere/else", 15);
    tl_fuse_invalidate(fx.fuse, fx.source, (uint16_t)(strlen(fx.source) - 1)); /* a prefix, but of no component */
    fixture_serve_until(&fx, fixture_idle);
    assert_int_equal(fixture_run(&fx, see_old, NULL), 0);
    assert_int_equal(fixture_messages(&fx), before);
    fixture_free(&fx);
}

/* A child that lives across a change: it says `ready` and waits for `go`. */
struct meeting {
    int ready[2], go[2];
};

static struct meeting meeting;

static void meet(void)
{
    char c = 'x';
    EXPECT(write(meeting.ready[1], &c, 1) == 1);
    EXPECT(read(meeting.go[0], &c, 1) == 1);
}

static bool child_is_ready(struct fixture *fx)
{
    (void)fx;
    struct pollfd p = {.fd = meeting.ready[0], .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static pid_t fork_meeting(struct fixture *fx, fixture_fn fn)
{
    assert_int_equal(pipe2(meeting.ready, O_CLOEXEC), 0);
    assert_int_equal(pipe2(meeting.go, O_CLOEXEC), 0);
    pid_t pid = fixture_fork(fx, fn, NULL);
    fixture_serve_until(fx, child_is_ready);
    return pid;
}

static int end_meeting(struct fixture *fx, pid_t pid)
{
    assert_int_equal(write(meeting.go[1], "x", 1), 1);
    int status = fixture_serve(fx, pid);
    for (int i = 0; i < 2; i++) {
        close(meeting.ready[i]);
        close(meeting.go[i]);
    }
    return status;
}

#define LONG_SIZE (1u << 20)

static void spill_long(const struct fixture *fx, char fill)
{
    char *text = malloc(LONG_SIZE + 1);
    assert_non_null(text);
    memset(text, fill, LONG_SIZE);
    text[LONG_SIZE] = '\0';
    fixture_spill(fx, "dir/long", text);
    free(text);
}

static void read_across_a_change(struct fixture *fx, const void *arg)
{
    (void)arg;
    char path[256], cwd[256], buf[PAGE];
    struct stat st;
    fixture_path(path, sizeof path, fx->mnt, "dir");
    EXPECT(chdir(path) == 0);
    int fd = open("long", O_RDONLY);
    EXPECT(fd >= 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM) == 0);
    EXPECT(pread(fd, buf, PAGE, 0) == (ssize_t)PAGE && buf[0] == 'a' && buf[PAGE - 1] == 'a');
    meet();
    EXPECT(getcwd(cwd, sizeof cwd) != NULL && strcmp(cwd, path) == 0);
    EXPECT(pread(fd, buf, PAGE, 0) == (ssize_t)PAGE && buf[0] == 'a' && buf[PAGE - 1] == 'a'); /* as far as cached */
    EXPECT(pread(fd, buf, PAGE, LONG_SIZE / 2) < 0 && errno == ESTALE);                        /* never the new bytes */
    EXPECT(fstat(fd, &st) == 0 && st.st_size == LONG_SIZE);
    int again = open("long", O_RDONLY);
    EXPECT(again >= 0 && pread(again, buf, PAGE, LONG_SIZE / 2) == (ssize_t)PAGE && buf[0] == 'b');
    EXPECT(pread(again, buf, PAGE, 0) == (ssize_t)PAGE && buf[0] == 'b');
    EXPECT(count_names(".") == 5);
    EXPECT(stat("later", &st) == 0);
}

static void an_open_file_is_never_half_old_and_half_new(void **state)
{
    (void)state;
    struct fixture fx;
    bool possible = mount_small(&fx, true);
    if (possible) {
        spill_long(&fx, 'a');
        pid_t pid = fork_meeting(&fx, read_across_a_change);
        spill_long(&fx, 'b');
        fixture_spill(&fx, "dir/later", "now here");
        fake_host_flush(&fx.host);
        tl_fuse_invalidate(fx.fuse, "", 0);
        fixture_serve_until(&fx, fixture_idle);
        assert_int_equal(end_meeting(&fx, pid), 0);
    }
    fixture_free(&fx);
}

static void expect_stale(struct fixture *fx, const void *arg)
{
    (void)arg;
    char path[256], buf[16];
    fixture_path(path, sizeof path, fx->mnt, "dir/file");
    int fd = open(path, O_RDONLY);
    EXPECT(fd >= 0 && read(fd, buf, sizeof buf) < 0 && errno == ESTALE);
}

static void look(struct fixture *fx, const void *arg)
{
    (void)arg;
    char path[256];
    struct stat st;
    fixture_path(path, sizeof path, fx->mnt, "dir/file");
    EXPECT(stat(path, &st) == 0);
}

static void see_longer(struct fixture *fx, const void *arg)
{
    (void)arg;
    expect_contents(fx, "dir/file", "another text");
}

static void a_file_changed_behind_our_back_is_an_error_once(void **state)
{
    (void)state;
    for (int epoch = 0; epoch < 2; epoch++) {
        struct fixture fx;
        if (mount_small(&fx, epoch == 1)) {
            assert_int_equal(fixture_run(&fx, look, NULL), 0); /* the kernel knows the old version */
            fixture_spill(&fx, "dir/file", "another text");
            assert_int_equal(fixture_run(&fx, expect_stale, NULL), 0);
            fixture_serve_until(&fx, fixture_idle);
            assert_int_equal(fixture_run(&fx, see_longer, NULL), 0);
        }
        fixture_free(&fx);
    }
}

static bool has_ended(struct fixture *fx)
{
    return fx->host.ended;
}

static void an_unmount_from_outside_ends_the_front_cleanly(void **state)
{
    (void)state;
    struct fixture fx;
    (void)mount_small(&fx, false);
    assert_int_equal(umount2(fx.mnt, 0), 0);
    fixture_serve_until(&fx, has_ended);
    assert_int_equal(fx.host.ended_status, 0);
    assert_true(tl_fuse_ready(fx.fuse, 1) < 0);
    struct pollfd p = {.fd = tl_fuse_fd(fx.fuse), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0); /* and no longer wakes the host */
    tl_fuse_invalidate(fx.fuse, "", 0);
    fixture_free(&fx);
}

static void wait_in_vain(struct fixture *fx, const void *arg)
{
    (void)arg;
    char path[256];
    struct stat st;
    fixture_path(path, sizeof path, fx->mnt, "dir/file");
    EXPECT(stat(path, &st) != 0 && errno == ENOTCONN);
}

static bool one_waits(struct fixture *fx)
{
    return fx->host.queue_len == 1;
}

static bool helper_is_busy(struct fixture *fx)
{
    (void)fx;
    return !tl_notify_idle(&fx->fuse->notify);
}

/* The helper thread then waits in the kernel for the lock of a directory in which a look-up waits for us. */
static void closing_while_requests_wait_and_the_helper_is_stuck_ends(void **state)
{
    (void)state;
    struct fixture fx;
    (void)mount_small(&fx, false);
    assert_int_equal(fixture_run(&fx, see_other, NULL), 0);
    fixture_path(fx.host.held, sizeof fx.host.held, fx.source, "dir");
    pid_t pid = fixture_fork(&fx, wait_in_vain, NULL);
    fixture_serve_until(&fx, one_waits);
    char path[256];
    fixture_path(path, sizeof path, fx.source, "dir/file");
    tl_fuse_invalidate(fx.fuse, path, (uint16_t)strlen(path));
    fixture_serve_until(&fx, helper_is_busy);
    tl_fuse_close(fx.fuse);
    fx.fuse = NULL;
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(fx.host.cancels >= 1);
    fixture_free(&fx);
}

static void many_invalidations_at_once_are_bounded_and_none_is_lost(void **state)
{
    (void)state;
    for (int epoch = 0; epoch < 2; epoch++) {
        struct fixture fx;
        if (mount_small(&fx, epoch == 1)) {
            assert_int_equal(fixture_run(&fx, see_old, NULL), 0);
            change_source(&fx);
            fake_host_flush(&fx.host);
            tl_fuse_invalidate(fx.fuse, "", 0);
            char path[256];
            fixture_path(path, sizeof path, fx.source, "dir");
            for (int i = 0; i < 1000; i++)
                tl_fuse_invalidate(fx.fuse, path, (uint16_t)strlen(path));
            pthread_mutex_lock(&fx.fuse->notify.lock);
            uint32_t waiting = fx.fuse->notify.job_count;
            pthread_mutex_unlock(&fx.fuse->notify.lock);
            assert_true(waiting <= TL_NOTIFY_JOBS_MAX);
            fixture_serve_until(&fx, fixture_idle);
            assert_int_equal(fixture_run(&fx, see_new, NULL), 0);
        }
        fixture_free(&fx);
    }
}

/* Opening a second mount fails with this code and a sentence that has these words. */
static void expect_refused(struct fixture *fx, const char *point, int fd, int code, const char *words)
{
    struct tl_fuse_config config = {.mountpoint = point, .fd = fd, .source_root = "/", .front = 7};
    struct tl_error err = {.code = 0};
    struct tl_fuse *other = NULL;
    int rc = tl_fuse_open(&other, &config, &fx->host.host, &err);
    if (rc != code || strstr(err.msg, words) == NULL)
        print_error("%d: %s\n", rc, err.msg);
    assert_int_equal(rc, code);
    assert_int_equal(err.code, code);
    assert_non_null(strstr(err.msg, words));
    assert_null(other);
}

static void bad_mount_points_are_refused_with_a_sentence(void **state)
{
    (void)state;
    struct fixture fx;
    char path[256], file[256];
    (void)mount_small(&fx, false);
    fixture_path(path, sizeof path, fx.base, "missing");
    expect_refused(&fx, path, -1, -ENOENT, "mkdir -p");
    fixture_path(file, sizeof file, fx.source, "file");
    expect_refused(&fx, file, -1, -ENOTDIR, "not a directory");
    expect_refused(&fx, fx.mnt, -1, -EBUSY, "already a Tiercel mount");
    fixture_path(path, sizeof path, fx.base, "with space");
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(mount("tmpfs", path, "tmpfs", 0, NULL), 0);
    expect_refused(&fx, path, -1, -EBUSY, "in use by a tmpfs");
    assert_int_equal(umount2(path, 0), 0);
    expect_refused(&fx, fx.mnt, 9999, -EBADF, "not a mounted");
    /* The device out of sight, as in a container without it. */
    assert_int_equal(mount(file, "/dev/fuse", NULL, MS_BIND, NULL), 0);
    expect_refused(&fx, path, -1, -EPERM, "cannot mount");
    assert_int_equal(umount2("/dev/fuse", 0), 0);
    assert_int_equal(fixture_run(&fx, see_old, NULL), 0); /* the first one is unharmed */
    fixture_free(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_an_invalidation_the_source_is_seen_as_it_is),
        cmocka_unit_test(a_path_alone_can_be_invalidated),
        cmocka_unit_test(an_invalidation_elsewhere_changes_nothing),
        cmocka_unit_test(an_open_file_is_never_half_old_and_half_new),
        cmocka_unit_test(a_file_changed_behind_our_back_is_an_error_once),
        cmocka_unit_test(an_unmount_from_outside_ends_the_front_cleanly),
        cmocka_unit_test(closing_while_requests_wait_and_the_helper_is_stuck_ends),
        cmocka_unit_test(many_invalidations_at_once_are_bounded_and_none_is_lost),
        cmocka_unit_test(bad_mount_points_are_refused_with_a_sentence),
    };
    return fixture_possible() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
