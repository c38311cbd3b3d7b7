// SPDX-License-Identifier: Apache-2.0
/* One server of a mount goes away, and another goes on with it. The first one is simply not served any more, as if it had been
 * killed: what it kept and the device's descriptor are all that the second one gets. */
#include <fcntl.h>
#include <linux/fuse.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "front/fixture.h"

static void mount_small(struct fixture *fx)
{
    fixture_new(fx);
    fixture_make_dir(fx, "dir", 0755);
    fixture_spill(fx, "dir/file", "hello");
    fixture_mount(fx, NULL);
}

static void expect_contents(struct fixture *fx, const void *want)
{
    char path[256], buf[64];
    struct stat st;
    fixture_path(path, sizeof path, fx->mnt, "dir/file");
    EXPECT(stat(path, &st) == 0 && st.st_size == (off_t)strlen(want));
    int fd = open(path, O_RDONLY);
    EXPECT(fd >= 0 && read(fd, buf, sizeof buf) == (ssize_t)strlen(want) && memcmp(buf, want, strlen(want)) == 0);
    close(fd);
}

static void expect_eio(struct fixture *fx, const void *arg)
{
    (void)arg;
    char path[256];
    struct stat st;
    fixture_path(path, sizeof path, fx->mnt, "dir/file");
    EXPECT(stat(path, &st) != 0 && errno == EIO);
}

static bool one_waits(struct fixture *fx)
{
    return fx->host.queue_len == 1;
}

/* Leaves the front as a killed daemon would; gives what is handed over. What it had asked the node for is lost. */
static struct tl_fuse_legacy die(struct fixture *fx, bool crashed)
{
    struct tl_fuse_legacy legacy = {.front = 7, .crashed = crashed};
    legacy.fd = fcntl(tl_fuse_device_fd(fx->fuse), F_DUPFD_CLOEXEC, 3);
    legacy.keep_fd = fcntl(tl_fuse_keep_fd(fx->fuse), F_DUPFD_CLOEXEC, 3);
    assert_true(legacy.fd >= 0 && legacy.keep_fd >= 0);
    fx->host.queue_len = 0;
    fx->fuse = fx->host.fuse = NULL;
    return legacy;
}

static void next(struct fixture *fx, bool crashed)
{
    const struct tl_fuse_legacy legacy = die(fx, crashed);
    struct tl_error err = {.code = 0};
    if (tl_fuse_take_over(&fx->fuse, &legacy, &fx->host.host, &err) != 0)
        fail_msg("%s", err.msg);
    fx->host.fuse = fx->fuse;
}

/* A child has asked for something below dir, and the node does not answer. */
static pid_t ask_and_wait(struct fixture *fx, fixture_fn fn, const void *arg)
{
    fixture_path(fx->host.held, sizeof fx->host.held, fx->source, "dir");
    pid_t child = fixture_fork(fx, fn, arg);
    fixture_serve_until(fx, one_waits);
    return child;
}

static void what_was_under_way_comes_again(void **state)
{
    (void)state;
    struct fixture fx;
    mount_small(&fx);
    pid_t child = ask_and_wait(&fx, expect_contents, "hello");
    for (int i = 0; i < 5; i++) {
        next(&fx, false);
        fixture_serve_until(&fx, one_waits);
    }
    fx.host.held[0] = 0;
    assert_int_equal(fixture_serve(&fx, child), 0);
    next(&fx, false);
    assert_int_equal(fixture_run(&fx, expect_contents, "hello"), 0);
    tl_inodes_verify(&fx.fuse->inodes);
    fixture_free(&fx);
}

static void a_request_that_kills_is_given_up(void **state)
{
    (void)state;
    struct fixture fx;
    struct tl_fuse_stats stats;
    mount_small(&fx);
    pid_t child = ask_and_wait(&fx, expect_eio, NULL);
    for (unsigned i = 1; i < TL_GUARD_GIVE_UP; i++) {
        next(&fx, true);
        fixture_serve_until(&fx, one_waits);
    }
    next(&fx, true);
    assert_int_equal(fixture_serve(&fx, child), 0);
    tl_fuse_stats(fx.fuse, &stats);
    assert_int_equal(stats.given_up, 1);
    fx.host.held[0] = 0;
    assert_int_equal(fixture_run(&fx, expect_contents, "hello"), 0); /* another request for the same */
    fixture_free(&fx);
}

/* Damages what is kept, and expects a refusal; the mount is left to the caller. */
static void refused(void (*damage)(struct tl_keep_head *head), int want)
{
    struct fixture fx;
    struct tl_error err = {.code = 0};
    mount_small(&fx);
    assert_int_equal(fixture_run(&fx, expect_contents, "hello"), 0);
    damage(fx.fuse->inodes.keep.head);
    const struct tl_fuse_legacy legacy = die(&fx, false);
    assert_int_equal(tl_fuse_take_over(&fx.fuse, &legacy, &fx.host.host, &err), want);
    assert_int_equal(err.code, want);
    assert_true(strlen(err.msg) > 20);
    assert_int_equal(tl_fuse_unmount(fx.mnt), 0);
    assert_int_equal(tl_fuse_unmount(fx.mnt), -EINVAL);
    fixture_free(&fx);
}

static void an_older_kernel(struct tl_keep_head *head)
{
    struct fuse_init_in in;
    memcpy(&in, head->init + sizeof(struct fuse_in_header), sizeof in);
    in.flags2 &= ~(1u << 7);
    memcpy(head->init + sizeof(struct fuse_in_header), &in, sizeof in);
}

static void other_settings(struct tl_keep_head *head)
{
    head->reply[12] ^= 1;
}

static void what_cannot_be_gone_on_with_is_refused(void **state)
{
    (void)state;
    refused(an_older_kernel, -ENOTSUP);
    refused(other_settings, -EPROTO);
}

static void names_that_were_to_be_forgotten_are(void **state)
{
    (void)state;
    struct fixture fx;
    mount_small(&fx);
    assert_int_equal(fixture_run(&fx, expect_contents, "hello"), 0);
    fixture_spill(&fx, "dir/file", "another");
    fake_host_flush(&fx.host);
    fx.fuse->inodes.keep.head->forgetting = 1;
    next(&fx, false);
    fixture_serve_until(&fx, fixture_idle);
    assert_int_equal(fixture_run(&fx, expect_contents, "another"), 0);
    assert_int_equal(fx.fuse->inodes.keep.head->forgetting, 0);
    fixture_free(&fx);
}

static bool possible(void)
{
    int major = 0, minor = 0;
    char release[64] = "";
    int fd = open("/proc/sys/kernel/osrelease", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, release, sizeof release - 1) > 0)
        sscanf(release, "%d.%d", &major, &minor);
    if (fd >= 0)
        close(fd);
    if (major > 6 || (major == 6 && minor >= 9))
        return fixture_possible();
    printf("skipped: the kernel repeats no requests before Linux 6.9\n");
    return false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_under_way_comes_again),
        cmocka_unit_test(a_request_that_kills_is_given_up),
        cmocka_unit_test(what_cannot_be_gone_on_with_is_refused),
        cmocka_unit_test(names_that_were_to_be_forgotten_are),
    };
    return possible() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
