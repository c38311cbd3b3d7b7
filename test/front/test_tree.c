// SPDX-License-Identifier: Apache-2.0
/* Trees in shared memory, filled by a daemon that is a fake: by one process, by several at once, and by some that die. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "front/tree_scene.h"

static void a_skeleton_has_all_names_and_no_content(void **state)
{
    (void)state;
    struct tree_scene s;
    char target[256];
    tree_scene_new(&s);
    tree_scene_use(&s);
    tree_scene_same_attributes(&s, "file", 0200);
    tree_scene_same_attributes(&s, "script", 0311);
    tree_scene_same_attributes(&s, "fixed", 0);
    tree_scene_same_attributes(&s, "secret", 0);
    tree_scene_same_attributes(&s, "empty", 0640);
    tree_scene_same_attributes(&s, "sub", 0555);
    tree_scene_same_attributes(&s, "sub/below", 0200);
    assert_int_equal(tree_scene_content(&s, "file"), -EACCES);
    assert_int_equal(access(tree_scene_path(&s, "script"), X_OK), 0);
    assert_int_equal(access(tree_scene_path(&s, "missing"), F_OK), -1);
    ssize_t n = readlink(tree_scene_path(&s, "link"), target, sizeof target);
    assert_memory_equal(target, "sub/below", (size_t)n);
    n = readlink(tree_scene_path(&s, "out"), target, sizeof target - 1);
    target[n] = '\0';
    char outside[128];
    snprintf(outside, sizeof outside, "%s/../outside", s.source);
    assert_string_equal(target, outside);                      /* it led out of the source, so it says where to */
    assert_int_equal(atomic_load(&s.daemon.shared->lists), 3); /* root: itself, its names; sub */
    assert_false(tl_tree_is_complete(s.tree));
    tree_scene_free(&s);
}

static void a_fault_fills_one_file_once(void **state)
{
    (void)state;
    struct tree_scene s;
    struct stat before, after;
    tree_scene_new(&s);
    tree_scene_use(&s);
    assert_int_equal(stat(tree_scene_path(&s, "big"), &before), 0);
    assert_int_equal(tl_tree_fault(s.tree, "big"), 0);
    assert_int_equal(tl_tree_fault(s.tree, "big"), 0);
    assert_int_equal(tl_tree_fault(s.tree, "fixed"), 0);
    assert_int_equal(tree_scene_content(&s, "big"), TREE_BIG_SIZE);
    assert_int_equal(tree_scene_content(&s, "fixed"), 6);
    assert_int_equal(tree_scene_content(&s, "file"), -EACCES);
    tree_scene_same_attributes(&s, "big", 0644);
    tree_scene_same_attributes(&s, "fixed", 0444);
    assert_int_equal(stat(tree_scene_path(&s, "big"), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(atomic_load(&s.daemon.shared->fetches), 2);
    assert_int_equal(tl_tree_fault(s.tree, "missing"), -ENOENT);
    assert_int_equal(tl_tree_fault(s.tree, "sub"), 0);
    assert_int_equal(tl_tree_fault(s.tree, ""), 0);
    assert_int_equal(tl_tree_fault(s.tree, "link"), 0);
    assert_int_equal(tl_tree_fault(s.tree, "secret"), 0); /* nobody may read it at the source either */
    assert_int_equal(tree_scene_content(&s, "secret"), -EACCES);
    tree_scene_free(&s);
}

static void count(void *ctx, uint64_t files, uint64_t bytes)
{
    uint64_t *seen = ctx;
    seen[0] = files;
    seen[1] = bytes;
}

static void a_filled_tree_is_complete_and_needs_no_daemon(void **state)
{
    (void)state;
    struct tree_scene s;
    struct tl_error err = {.code = 0};
    uint64_t seen[2] = {0, 0};
    tree_scene_new(&s);
    tree_scene_use(&s);
    tl_tree_close(s.tree);
    s.tree = NULL;
    setenv("TIERCEL_NAME", "tier", 1);
    assert_int_equal(tl_tree_open(&s.tree, NULL, s.source, &err), -ENOENT); /* not complete yet */
    tree_scene_use(&s);
    assert_int_equal(tl_tree_fill(s.tree, count, seen, &err), 0);
    assert_int_equal(seen[0], 7);
    assert_int_equal(seen[1], TREE_BIG_SIZE + 6 + 6 + 6 + 19 + 7);
    assert_true(tl_tree_is_complete(s.tree));
    assert_int_equal(system(tree_scene_path(&s, "script")), 0);
    tl_tree_close(s.tree);
    assert_int_equal(tl_tree_open(&s.tree, NULL, s.source, &err), 0);
    assert_true(tl_tree_is_complete(s.tree));
    assert_int_equal(tree_scene_content(&s, "sub/below"), 6);
    assert_int_equal(tl_tree_remove(s.source, &err), 0);
    assert_int_equal(access(tl_tree_path(s.tree), F_OK), -1);
    assert_int_equal(tl_tree_remove(s.source, &err), -ENOENT);
    assert_false(tl_tree_is_complete(s.tree));
    unsetenv("TIERCEL_NAME");
    tree_scene_free(&s);
}

static void what_is_not_to_have_room_is_not_brought(void **state)
{
    (void)state;
    struct tree_scene s;
    struct tl_error err = {.code = 0};
    struct tl_tree_use use = {0};
    char folder[256];
    tree_scene_new(&s);
    tree_scene_use(&s);
    assert_int_equal(tl_tree_folder(s.daemon.socket, folder, sizeof folder, &err), 0);
    tl_tree_count(folder, &use);
    assert_int_equal(use.trees, 1);
    uint64_t names = use.bytes;
    assert_true(names > 0 && names < 65536);
    atomic_store(&s.daemon.shared->most, TREE_BIG_SIZE - 1);
    assert_int_equal(tl_tree_fill(s.tree, NULL, NULL, &err), -ENOSPC); /* as a whole, before the first file */
    assert_int_equal(tl_tree_fault(s.tree, "big"), -ENOSPC);
    assert_int_equal(tree_scene_content(&s, "big"), -EACCES);
    assert_int_equal(atomic_load(&s.daemon.shared->fetches), 0);
    assert_int_equal(tl_tree_fault(s.tree, "file"), 0);
    use = (struct tl_tree_use){0};
    tl_tree_count(folder, &use);
    assert_int_equal(use.bytes, names + 4096);
    atomic_store(&s.daemon.shared->most, TREE_BIG_SIZE + 6 * 4096);
    assert_int_equal(tl_tree_fill(s.tree, NULL, NULL, &err), 0);
    use = (struct tl_tree_use){0};
    tl_tree_count(folder, &use);
    assert_int_equal(use.bytes, names + TREE_BIG_SIZE + 4 * 4096); /* file, script, fixed, sub/below */
    assert_int_equal(use.complete, 1);
    tree_scene_free(&s);
}

static void a_descriptor_tells_which_folder_its_tree_is_in(void **state)
{
    (void)state;
    struct tree_scene s;
    struct tl_error err = {.code = 0};
    char folder[256], found[256], path[512], other[512];
    tree_scene_new(&s);
    tree_scene_use(&s);
    assert_int_equal(tl_tree_folder(s.daemon.socket, folder, sizeof folder, &err), 0);
    snprintf(path, sizeof path, "%s/file", tl_tree_path(s.tree));
    snprintf(other, sizeof other, "%s/file", s.source);
    int fd = open(path, O_PATH | O_CLOEXEC), source_fd = open(other, O_PATH | O_CLOEXEC);
    assert_true(fd >= 0 && source_fd >= 0);
    assert_int_equal(tl_tree_folder_of(fd, other, found, sizeof found), 0);
    assert_string_equal(found, folder);
    assert_int_equal(tl_tree_folder_of(fd, "/x/file", found, sizeof found), -ENOENT);
    assert_int_equal(tl_tree_folder_of(source_fd, other, found, sizeof found), -ENOENT);
    close(fd);
    close(source_fd);
    tree_scene_free(&s);
}

/* ---- several at once, and some that die ---- */

static pid_t fault_in_child(struct tree_scene *s, const char *name)
{
    fflush(NULL);
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0)
        _exit(tl_tree_fault(s->tree, name) == 0 && tree_scene_content(s, name) > 0 ? 0 : 1);
    return pid;
}

static void two_processes_fill_it_once(void **state)
{
    (void)state;
    struct tree_scene s;
    tree_scene_new(&s);
    tree_scene_use(&s);
    atomic_store(&s.daemon.shared->halves, 1);
    pid_t a = fault_in_child(&s, "big");
    tree_daemon_wait_half(&s.daemon);
    pid_t b = fault_in_child(&s, "big");
    assert_int_equal(tree_scene_content(&s, "big"), -EACCES); /* half of it is there */
    sem_post(&s.daemon.shared->go);
    assert_int_equal(tree_scene_wait(a), 0);
    assert_int_equal(tree_scene_wait(b), 0);
    assert_int_equal(atomic_load(&s.daemon.shared->fetches), 1);
    tree_scene_free(&s);
}

static void who_is_killed_half_way_leaves_it_unreadable(void **state)
{
    (void)state;
    struct tree_scene s;
    tree_scene_new(&s);
    tree_scene_use(&s);
    atomic_store(&s.daemon.shared->halves, 1);
    pid_t a = fault_in_child(&s, "big");
    tree_daemon_wait_half(&s.daemon);
    kill(a, SIGKILL);
    assert_int_equal(tree_scene_wait(a), SIGKILL);
    assert_int_equal(tree_scene_content(&s, "big"), -EACCES);
    assert_int_equal(tl_tree_fault(s.tree, "big"), 0); /* by another connection: the first is still half way */
    assert_int_equal(tree_scene_content(&s, "big"), TREE_BIG_SIZE);
    tree_scene_same_attributes(&s, "big", 0644);
    tree_scene_free(&s);
}

static void *fault_in_thread(void *arg)
{
    struct tree_scene *s = arg;
    static const char *const names[] = {"big", "file", "script", "fixed", "sub/below"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (tl_tree_fault(s->tree, names[i]) != 0)
            return s;
    return NULL;
}

static void threads_fill_each_file_once(void **state)
{
    (void)state;
    struct tree_scene s;
    pthread_t threads[4];
    tree_scene_new(&s);
    tree_scene_use(&s);
    for (size_t i = 0; i < 4; i++)
        check(pthread_create(&threads[i], NULL, fault_in_thread, &s) == 0);
    for (size_t i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(atomic_load(&s.daemon.shared->fetches), 5);
    tree_scene_free(&s);
}

static void a_daemon_that_comes_back_goes_on(void **state)
{
    (void)state;
    struct tree_scene s;
    tree_scene_new(&s);
    tree_scene_use(&s);
    assert_int_equal(tl_tree_fault(s.tree, "file"), 0);
    tree_daemon_kill(&s.daemon);
    assert_int_equal(tl_tree_fault(s.tree, "big"), -ECONNREFUSED);
    assert_int_equal(tree_scene_content(&s, "big"), -EACCES);
    assert_int_equal(tree_scene_content(&s, "file"), 6);
    tree_daemon_start(&s.daemon, s.tier, geteuid());
    assert_int_equal(tl_tree_fault(s.tree, "big"), 0);
    assert_int_equal(tree_scene_content(&s, "big"), TREE_BIG_SIZE);
    tree_scene_free(&s);
}

static void a_daemon_that_has_too_many_clients_is_asked_again(void **state)
{
    (void)state;
    struct tree_scene s;
    tree_scene_new(&s);
    tree_scene_use(&s);
    atomic_store(&s.daemon.shared->closed, 4);
    assert_int_equal(tl_tree_fault(s.tree, "file"), 0);
    assert_int_equal(atomic_load(&s.daemon.shared->closed), 0);
    assert_int_equal(tree_scene_content(&s, "file"), 6);
    tree_scene_free(&s);
}

int main(void)
{
    if (!tree_scene_be_ordinary())
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_skeleton_has_all_names_and_no_content),
        cmocka_unit_test(a_fault_fills_one_file_once),
        cmocka_unit_test(a_filled_tree_is_complete_and_needs_no_daemon),
        cmocka_unit_test(what_is_not_to_have_room_is_not_brought),
        cmocka_unit_test(a_descriptor_tells_which_folder_its_tree_is_in),
        cmocka_unit_test(two_processes_fill_it_once),
        cmocka_unit_test(who_is_killed_half_way_leaves_it_unreadable),
        cmocka_unit_test(threads_fill_each_file_once),
        cmocka_unit_test(a_daemon_that_comes_back_goes_on),
        cmocka_unit_test(a_daemon_that_has_too_many_clients_is_asked_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
