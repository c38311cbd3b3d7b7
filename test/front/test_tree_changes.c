// SPDX-License-Identifier: Apache-2.0
/* Trees in shared memory: what changes, what is refused, and a full file system. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/check.h"
#include "front/tree_scene.h"

static void a_changed_file_is_stale_until_the_tree_is_made_anew(void **state)
{
    (void)state;
    struct tree_scene s;
    tree_scene_new(&s);
    tree_scene_use(&s);
    tree_scene_spill(s.source, "file", "HELLO\n", 6, 0644); /* the same size and times */
    assert_int_equal(tl_tree_fault(s.tree, "file"), -ESTALE);
    assert_int_equal(tree_scene_content(&s, "file"), -EACCES);
    struct tl_tree *old = s.tree;
    tree_scene_use(&s);
    assert_int_equal(tl_tree_fault(s.tree, "file"), 0);
    assert_int_equal(tree_scene_content(&s, "file"), 6);
    assert_int_equal(tl_tree_fault(old, "big"), 0); /* who had it open goes on with the new one */
    assert_int_equal(tree_scene_content(&s, "big"), TREE_BIG_SIZE);
    tree_scene_spill(s.source, "another", "new\n", 4, 0644);
    atomic_fetch_add(&s.daemon.shared->changes, 1);
    tl_tree_close(old);
    old = s.tree;
    tree_scene_use(&s);
    tl_tree_close(old);
    assert_int_equal(tl_tree_fault(s.tree, "another"), 0);
    assert_int_equal(tree_scene_content(&s, "another"), 4);
    tree_scene_free(&s);
}

static void a_complete_tree_has_the_users_attributes(void **state)
{
    (void)state;
    static const char *const names[] = {"file", "fixed", "sub"};
    struct tree_scene s;
    struct tl_error err = {.code = 0};
    char path[512], value[8];
    tree_scene_new(&s);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", s.source, names[i]);
        bool kept = setxattr(s.trees, "user.colour", "blue", 4, 0) == 0; /* in shared memory: from Linux 6.6 on */
        if (setxattr(path, "user.colour", "blue", 4, 0) != 0 || !kept) {
            tree_scene_free(&s);
            skip(); /* no such attributes where the test runs */
        }
    }
    tree_scene_use(&s);
    assert_int_equal(tl_tree_fill(s.tree, NULL, NULL, &err), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(getxattr(tree_scene_path(&s, names[i]), "user.colour", value, sizeof value), 4);
        assert_memory_equal(value, "blue", 4);
    }
    assert_int_equal(getxattr(tree_scene_path(&s, "empty"), "user.colour", value, sizeof value), -1);
    tree_scene_same_attributes(&s, "fixed", 0444);
    tree_scene_free(&s);
}

static void a_change_anywhere_makes_it_anew_once_the_tier_has_seen_it(void **state)
{
    (void)state;
    struct tree_scene s;
    struct tl_error err = {.code = 0};
    tree_scene_new(&s);
    tree_scene_use(&s);
    assert_int_equal(tl_tree_fill(s.tree, NULL, NULL, &err), 0);
    int lists = atomic_load(&s.daemon.shared->lists);
    struct tl_tree *found;
    assert_int_equal(tl_tree_find(&found, s.daemon.socket, s.source, &err), 0);
    tl_tree_close(found);
    assert_int_equal(atomic_load(&s.daemon.shared->lists), lists); /* nothing has happened: nobody is asked */
    atomic_fetch_add(&s.daemon.shared->changes, 1);
    assert_int_equal(tl_tree_find(&found, s.daemon.socket, s.source, &err), 0); /* nothing of ours has changed */
    tl_tree_close(found);
    assert_true(atomic_load(&s.daemon.shared->lists) > lists);
    tree_scene_spill(s.source, "sub/below", "BELOW\n", 6,
                     0644); /* not in the root, and nothing but its time of change */
    assert_int_equal(tl_tree_find(&found, s.daemon.socket, s.source, &err), 0); /* the tier has not seen it */
    tl_tree_close(found);
    atomic_fetch_add(&s.daemon.shared->changes, 1);
    assert_int_equal(tl_tree_find(&found, s.daemon.socket, s.source, &err), -ENOENT);
    tree_scene_free(&s);
}

static void an_error_of_the_daemon_leaves_it_as_it_was(void **state)
{
    (void)state;
    struct tree_scene s;
    tree_scene_new(&s);
    tree_scene_use(&s);
    atomic_store(&s.daemon.shared->fail, EIO);
    assert_int_equal(tl_tree_fault(s.tree, "file"), -EIO);
    assert_int_equal(tree_scene_content(&s, "file"), -EACCES);
    atomic_store(&s.daemon.shared->fail, 0);
    assert_int_equal(tl_tree_fault(s.tree, "file"), 0);
    assert_int_equal(tree_scene_content(&s, "file"), 6);
    tree_scene_free(&s);
}

static void folders_of_others_and_links_are_refused(void **state)
{
    (void)state;
    struct tree_scene s;
    struct tl_error err = {.code = 0};
    char path[128];
    tree_scene_new(&s);
    check(mkdir(s.trees, 0755) == 0);
    assert_int_equal(tl_tree_open(&s.tree, s.daemon.socket, s.source, &err), -EPERM);
    assert_non_null(strstr(err.msg, "mode 0755"));
    check(rmdir(s.trees) == 0 && symlink(s.tier, s.trees) == 0);
    assert_int_equal(tl_tree_open(&s.tree, s.daemon.socket, s.source, &err), -ELOOP);
    assert_non_null(strstr(err.msg, "symbolic link"));
    check(unlink(s.trees) == 0 && mkdir(s.trees, 0700) == 0);
    snprintf(path, sizeof path, "%s/tier", s.trees);
    check(mkdir(path, 0711) == 0);
    assert_int_equal(tl_tree_open(&s.tree, s.daemon.socket, s.source, &err), -EPERM);
    setenv("TIERCEL_TREE_DIR", "/proc/1", 1);
    assert_int_not_equal(tl_tree_open(&s.tree, s.daemon.socket, s.source, &err), 0);
    setenv("TIERCEL_TREE_DIR", "here", 1);
    assert_int_equal(tl_tree_open(&s.tree, s.daemon.socket, s.source, &err), -EINVAL);
    tree_scene_free(&s);
}

/* ---- a full file system: in a namespace ---- */

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return ok;
}

static bool own_mounts(void)
{
    char map[32];
    uid_t uid = geteuid(); /* and gid */
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return false;
    (void)write_text("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "%u %u 1", uid, uid);
    return write_text("/proc/self/uid_map", map) && write_text("/proc/self/gid_map", map) &&
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/* Exit codes tell the line that failed. */
static int fill_up(struct tree_scene *s)
{
    struct tl_error err;
    struct stat st;
    if (!own_mounts())
        return 77;
    if (mkdir(s->trees, 0700) != 0 || mount("t", s->trees, "tmpfs", MS_NOSUID, "size=512k,mode=0700") != 0)
        return 77;
    if (tl_tree_open(&s->tree, s->daemon.socket, s->source, &err) != 0)
        return __LINE__ % 100;
    if (tl_tree_fault(s->tree, "big") != -ENOSPC)
        return __LINE__ % 100;
    /* Permission bits do not bind who has all rights in a namespace of his own: they are looked at. */
    if (stat(tree_scene_path(s, "big"), &st) != 0 || (st.st_mode & 0444) != 0 || st.st_blocks != 0 ||
        st.st_size != TREE_BIG_SIZE)
        return __LINE__ % 100;
    if (tl_tree_fault(s->tree, "file") != 0 || tree_scene_content(s, "file") != 6) /* there is room again */
        return __LINE__ % 100;
    if (tl_tree_fill(s->tree, NULL, NULL, &err) != -ENOSPC || strstr(err.msg, "/big") == NULL)
        return __LINE__ % 100;
    if (mount("t", s->trees, "tmpfs", MS_REMOUNT | MS_NOSUID, "size=4m") != 0 || tl_tree_fault(s->tree, "big") != 0)
        return __LINE__ % 100;
    if (tree_scene_content(s, "big") != TREE_BIG_SIZE)
        return __LINE__ % 100;
    tl_tree_close(s->tree);
    if (umount2(s->trees, MNT_DETACH) != 0 || mount("t", s->trees, "tmpfs", MS_NOSUID, "nr_inodes=8,mode=0700") != 0)
        return __LINE__ % 100;
    if (tl_tree_open(&s->tree, s->daemon.socket, s->source, &err) != -ENOSPC)
        return __LINE__ % 100;
    return system("test -z \"$(find $TIERCEL_TREE_DIR -name 'new-*')\"") == 0 ? 0 : __LINE__ % 100;
}

static void a_full_file_system_is_an_error_and_no_signal(void **state)
{
    (void)state;
    struct tree_scene s;
    tree_scene_new(&s);
    fflush(NULL);
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0)
        _exit(fill_up(&s));
    int status = tree_scene_wait(pid);
    tree_scene_free(&s);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("no user namespaces here: not tried\n");
        skip();
    }
    assert_int_equal(status, 0);
}

int main(void)
{
    if (!tree_scene_be_ordinary())
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_complete_tree_has_the_users_attributes),
        cmocka_unit_test(a_change_anywhere_makes_it_anew_once_the_tier_has_seen_it),
        cmocka_unit_test(a_changed_file_is_stale_until_the_tree_is_made_anew),
        cmocka_unit_test(an_error_of_the_daemon_leaves_it_as_it_was),
        cmocka_unit_test(folders_of_others_and_links_are_refused),
        cmocka_unit_test(a_full_file_system_is_an_error_and_no_signal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
