// SPDX-License-Identifier: Apache-2.0
/* Trees in shared memory, filled by a daemon that is a fake. As an ordinary user if root runs it: what absent content
 * must not do is defined by permission bits, which do not bind root. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "front/tree/tree.h"
#include "front/tree_daemon.h"

#define NOBODY   65534u
#define BIG_SIZE (1u << 20)

struct scene {
    char base[64], tier[96], source[96], trees[96];
    struct tree_daemon daemon;
    struct tl_tree *tree;
};

static void spill(const char *dir, const char *name, const void *bytes, size_t len, mode_t mode)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct timespec times[2] = {{.tv_sec = 1000000001}, {.tv_sec = 1000000002, .tv_nsec = 3}};
    check(fd >= 0 && write(fd, bytes, len) == (ssize_t)len && futimens(fd, times) == 0 && fchmod(fd, mode) == 0);
    close(fd);
}

/* Source: plain file, script, file of 1 MiB, an unwritable one, an unreadable one, an empty one, links, a folder. */
static void scene_new(struct scene *s)
{
    static char big[BIG_SIZE];
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
    spill(path, "below", "below\n", 6, 0644);
    spill(s->source, "big", big, sizeof big, 0644);
    spill(s->source, "file", "hello\n", 6, 0644);
    spill(s->source, "script", "#!/bin/sh\necho ran\n", 19, 0755);
    spill(s->source, "fixed", "fixed\n", 6, 0444);
    spill(s->source, "secret", "secret\n", 7, 0111);
    spill(s->source, "empty", "", 0, 0640);
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

static void scene_free(struct scene *s)
{
    tl_tree_close(s->tree);
    tree_daemon_kill(&s->daemon);
    nftw(s->base, remove_one, 16, FTW_PHYS);
    check(nftw(s->base, remove_two, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

static void use_tree(struct scene *s)
{
    struct tl_error err = {.code = 0};
    int rc = tl_tree_open(&s->tree, s->daemon.socket, s->source, &err);
    if (rc != 0)
        print_error("%s\n", err.msg);
    assert_int_equal(rc, 0);
}

static const char *in_tree(const struct scene *s, const char *name)
{
    static char path[8192];
    snprintf(path, sizeof path, "%s/%s", tl_tree_path(s->tree), name);
    return path;
}

/* -errno, or how many bytes the file has; all of them must be what the source has. */
static long content(const struct scene *s, const char *name)
{
    static char here[BIG_SIZE + 1], there[BIG_SIZE + 1];
    char path[256];
    snprintf(path, sizeof path, "%s/%s", s->source, name);
    int a = open(in_tree(s, name), O_RDONLY | O_CLOEXEC), b = open(path, O_RDONLY | O_CLOEXEC);
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

static void assert_same_attributes(const struct scene *s, const char *name, mode_t mode)
{
    struct stat a, b;
    char path[256];
    snprintf(path, sizeof path, "%s/%s", s->source, name);
    assert_int_equal(lstat(path, &a), 0);
    assert_int_equal(lstat(in_tree(s, name), &b), 0);
    assert_int_equal(a.st_size, b.st_size);
    assert_int_equal(a.st_mtim.tv_sec, b.st_mtim.tv_sec);
    assert_int_equal(a.st_mtim.tv_nsec, b.st_mtim.tv_nsec);
    assert_int_equal(b.st_mode & 07777, mode);
}

static void a_skeleton_has_all_names_and_no_content(void **state)
{
    (void)state;
    struct scene s;
    char target[256];
    scene_new(&s);
    use_tree(&s);
    assert_same_attributes(&s, "file", 0200);
    assert_same_attributes(&s, "script", 0311);
    assert_same_attributes(&s, "fixed", 0);
    assert_same_attributes(&s, "secret", 0);
    assert_same_attributes(&s, "empty", 0640);
    assert_same_attributes(&s, "sub", 0555);
    assert_same_attributes(&s, "sub/below", 0200);
    assert_int_equal(content(&s, "file"), -EACCES);
    assert_int_equal(access(in_tree(&s, "script"), X_OK), 0);
    assert_int_equal(access(in_tree(&s, "missing"), F_OK), -1);
    ssize_t n = readlink(in_tree(&s, "link"), target, sizeof target);
    assert_memory_equal(target, "sub/below", (size_t)n);
    n = readlink(in_tree(&s, "out"), target, sizeof target - 1);
    target[n] = '\0';
    char outside[128];
    snprintf(outside, sizeof outside, "%s/../outside", s.source);
    assert_string_equal(target, outside);                      /* it led out of the source, so it says where to */
    assert_int_equal(atomic_load(&s.daemon.shared->lists), 3); /* root: itself, its names; sub */
    assert_false(tl_tree_is_complete(s.tree));
    scene_free(&s);
}

static void a_fault_fills_one_file_once(void **state)
{
    (void)state;
    struct scene s;
    struct stat before, after;
    scene_new(&s);
    use_tree(&s);
    assert_int_equal(stat(in_tree(&s, "big"), &before), 0);
    assert_int_equal(tl_tree_fault(s.tree, "big"), 0);
    assert_int_equal(tl_tree_fault(s.tree, "big"), 0);
    assert_int_equal(tl_tree_fault(s.tree, "fixed"), 0);
    assert_int_equal(content(&s, "big"), BIG_SIZE);
    assert_int_equal(content(&s, "fixed"), 6);
    assert_int_equal(content(&s, "file"), -EACCES);
    assert_same_attributes(&s, "big", 0644);
    assert_same_attributes(&s, "fixed", 0444);
    assert_int_equal(stat(in_tree(&s, "big"), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(atomic_load(&s.daemon.shared->fetches), 2);
    assert_int_equal(tl_tree_fault(s.tree, "missing"), -ENOENT);
    assert_int_equal(tl_tree_fault(s.tree, "sub"), 0);
    assert_int_equal(tl_tree_fault(s.tree, ""), 0);
    assert_int_equal(tl_tree_fault(s.tree, "link"), 0);
    assert_int_equal(tl_tree_fault(s.tree, "secret"), 0); /* nobody may read it at the source either */
    assert_int_equal(content(&s, "secret"), -EACCES);
    scene_free(&s);
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
    struct scene s;
    struct tl_error err = {.code = 0};
    uint64_t seen[2] = {0, 0};
    scene_new(&s);
    use_tree(&s);
    tl_tree_close(s.tree);
    s.tree = NULL;
    setenv("TIERCEL_NAME", "tier", 1);
    assert_int_equal(tl_tree_open(&s.tree, NULL, s.source, &err), -ENOENT); /* not complete yet */
    use_tree(&s);
    assert_int_equal(tl_tree_fill(s.tree, count, seen, &err), 0);
    assert_int_equal(seen[0], 7);
    assert_int_equal(seen[1], BIG_SIZE + 6 + 6 + 6 + 19 + 7);
    assert_true(tl_tree_is_complete(s.tree));
    assert_int_equal(system(in_tree(&s, "script")), 0);
    tl_tree_close(s.tree);
    assert_int_equal(tl_tree_open(&s.tree, NULL, s.source, &err), 0);
    assert_true(tl_tree_is_complete(s.tree));
    assert_int_equal(content(&s, "sub/below"), 6);
    assert_int_equal(tl_tree_remove(s.source, &err), 0);
    assert_int_equal(access(tl_tree_path(s.tree), F_OK), -1);
    assert_int_equal(tl_tree_remove(s.source, &err), -ENOENT);
    assert_false(tl_tree_is_complete(s.tree));
    unsetenv("TIERCEL_NAME");
    scene_free(&s);
}

static void what_is_not_to_have_room_is_not_brought(void **state)
{
    (void)state;
    struct scene s;
    struct tl_error err = {.code = 0};
    struct tl_tree_use use = {0};
    char folder[256];
    scene_new(&s);
    use_tree(&s);
    assert_int_equal(tl_tree_folder(s.daemon.socket, folder, sizeof folder, &err), 0);
    tl_tree_count(folder, &use);
    assert_int_equal(use.trees, 1);
    uint64_t names = use.bytes;
    assert_true(names > 0 && names < 65536);
    atomic_store(&s.daemon.shared->most, BIG_SIZE - 1);
    assert_int_equal(tl_tree_fill(s.tree, NULL, NULL, &err), -ENOSPC); /* as a whole, before the first file */
    assert_int_equal(tl_tree_fault(s.tree, "big"), -ENOSPC);
    assert_int_equal(content(&s, "big"), -EACCES);
    assert_int_equal(atomic_load(&s.daemon.shared->fetches), 0);
    assert_int_equal(tl_tree_fault(s.tree, "file"), 0);
    use = (struct tl_tree_use){0};
    tl_tree_count(folder, &use);
    assert_int_equal(use.bytes, names + 4096);
    atomic_store(&s.daemon.shared->most, BIG_SIZE + 6 * 4096);
    assert_int_equal(tl_tree_fill(s.tree, NULL, NULL, &err), 0);
    use = (struct tl_tree_use){0};
    tl_tree_count(folder, &use);
    assert_int_equal(use.bytes, names + BIG_SIZE + 4 * 4096); /* file, script, fixed, sub/below */
    assert_int_equal(use.complete, 1);
    scene_free(&s);
}

static void a_descriptor_tells_which_folder_its_tree_is_in(void **state)
{
    (void)state;
    struct scene s;
    struct tl_error err = {.code = 0};
    char folder[256], found[256], path[512], other[512];
    scene_new(&s);
    use_tree(&s);
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
    scene_free(&s);
}

/* ---- several at once, and some that die ---- */

static pid_t fault_in_child(struct scene *s, const char *name)
{
    fflush(NULL);
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0)
        _exit(tl_tree_fault(s->tree, name) == 0 && content(s, name) > 0 ? 0 : 1);
    return pid;
}

static int status_of(pid_t pid)
{
    int status;
    check(waitpid(pid, &status, 0) == pid);
    return status;
}

static void two_processes_fill_it_once(void **state)
{
    (void)state;
    struct scene s;
    scene_new(&s);
    use_tree(&s);
    atomic_store(&s.daemon.shared->halves, 1);
    pid_t a = fault_in_child(&s, "big");
    tree_daemon_wait_half(&s.daemon);
    pid_t b = fault_in_child(&s, "big");
    assert_int_equal(content(&s, "big"), -EACCES); /* half of it is there */
    sem_post(&s.daemon.shared->go);
    assert_int_equal(status_of(a), 0);
    assert_int_equal(status_of(b), 0);
    assert_int_equal(atomic_load(&s.daemon.shared->fetches), 1);
    scene_free(&s);
}

static void who_is_killed_half_way_leaves_it_unreadable(void **state)
{
    (void)state;
    struct scene s;
    scene_new(&s);
    use_tree(&s);
    atomic_store(&s.daemon.shared->halves, 1);
    pid_t a = fault_in_child(&s, "big");
    tree_daemon_wait_half(&s.daemon);
    kill(a, SIGKILL);
    assert_int_equal(status_of(a), SIGKILL);
    assert_int_equal(content(&s, "big"), -EACCES);
    assert_int_equal(tl_tree_fault(s.tree, "big"), 0); /* by another connection: the first is still half way */
    assert_int_equal(content(&s, "big"), BIG_SIZE);
    assert_same_attributes(&s, "big", 0644);
    scene_free(&s);
}

static void *fault_in_thread(void *arg)
{
    struct scene *s = arg;
    static const char *const names[] = {"big", "file", "script", "fixed", "sub/below"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (tl_tree_fault(s->tree, names[i]) != 0)
            return s;
    return NULL;
}

static void threads_fill_each_file_once(void **state)
{
    (void)state;
    struct scene s;
    pthread_t threads[4];
    scene_new(&s);
    use_tree(&s);
    for (size_t i = 0; i < 4; i++)
        check(pthread_create(&threads[i], NULL, fault_in_thread, &s) == 0);
    for (size_t i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(atomic_load(&s.daemon.shared->fetches), 5);
    scene_free(&s);
}

static void a_daemon_that_comes_back_goes_on(void **state)
{
    (void)state;
    struct scene s;
    scene_new(&s);
    use_tree(&s);
    assert_int_equal(tl_tree_fault(s.tree, "file"), 0);
    tree_daemon_kill(&s.daemon);
    assert_int_equal(tl_tree_fault(s.tree, "big"), -ECONNREFUSED);
    assert_int_equal(content(&s, "big"), -EACCES);
    assert_int_equal(content(&s, "file"), 6);
    tree_daemon_start(&s.daemon, s.tier, geteuid());
    assert_int_equal(tl_tree_fault(s.tree, "big"), 0);
    assert_int_equal(content(&s, "big"), BIG_SIZE);
    scene_free(&s);
}

static void a_daemon_that_has_too_many_clients_is_asked_again(void **state)
{
    (void)state;
    struct scene s;
    scene_new(&s);
    use_tree(&s);
    atomic_store(&s.daemon.shared->closed, 4);
    assert_int_equal(tl_tree_fault(s.tree, "file"), 0);
    assert_int_equal(atomic_load(&s.daemon.shared->closed), 0);
    assert_int_equal(content(&s, "file"), 6);
    scene_free(&s);
}

/* ---- what changes, and what is refused ---- */

static void a_changed_file_is_stale_until_the_tree_is_made_anew(void **state)
{
    (void)state;
    struct scene s;
    scene_new(&s);
    use_tree(&s);
    spill(s.source, "file", "HELLO\n", 6, 0644); /* the same size and times */
    assert_int_equal(tl_tree_fault(s.tree, "file"), -ESTALE);
    assert_int_equal(content(&s, "file"), -EACCES);
    struct tl_tree *old = s.tree;
    use_tree(&s);
    assert_int_equal(tl_tree_fault(s.tree, "file"), 0);
    assert_int_equal(content(&s, "file"), 6);
    assert_int_equal(tl_tree_fault(old, "big"), 0); /* who had it open goes on with the new one */
    assert_int_equal(content(&s, "big"), BIG_SIZE);
    spill(s.source, "another", "new\n", 4, 0644);
    atomic_fetch_add(&s.daemon.shared->changes, 1);
    tl_tree_close(old);
    old = s.tree;
    use_tree(&s);
    tl_tree_close(old);
    assert_int_equal(tl_tree_fault(s.tree, "another"), 0);
    assert_int_equal(content(&s, "another"), 4);
    scene_free(&s);
}

static void a_complete_tree_has_the_users_attributes(void **state)
{
    (void)state;
    static const char *const names[] = {"file", "fixed", "sub"};
    struct scene s;
    struct tl_error err = {.code = 0};
    char path[512], value[8];
    scene_new(&s);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", s.source, names[i]);
        bool kept = setxattr(s.trees, "user.colour", "blue", 4, 0) == 0; /* in shared memory: from Linux 6.6 on */
        if (setxattr(path, "user.colour", "blue", 4, 0) != 0 || !kept) {
            scene_free(&s);
            skip(); /* no such attributes where the test runs */
        }
    }
    use_tree(&s);
    assert_int_equal(tl_tree_fill(s.tree, NULL, NULL, &err), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(getxattr(in_tree(&s, names[i]), "user.colour", value, sizeof value), 4);
        assert_memory_equal(value, "blue", 4);
    }
    assert_int_equal(getxattr(in_tree(&s, "empty"), "user.colour", value, sizeof value), -1);
    assert_same_attributes(&s, "fixed", 0444);
    scene_free(&s);
}

static void a_change_anywhere_makes_it_anew_once_the_tier_has_seen_it(void **state)
{
    (void)state;
    struct scene s;
    struct tl_error err = {.code = 0};
    scene_new(&s);
    use_tree(&s);
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
    spill(s.source, "sub/below", "BELOW\n", 6, 0644); /* not in the root, and nothing but its time of change */
    assert_int_equal(tl_tree_find(&found, s.daemon.socket, s.source, &err), 0); /* the tier has not seen it */
    tl_tree_close(found);
    atomic_fetch_add(&s.daemon.shared->changes, 1);
    assert_int_equal(tl_tree_find(&found, s.daemon.socket, s.source, &err), -ENOENT);
    scene_free(&s);
}

static void an_error_of_the_daemon_leaves_it_as_it_was(void **state)
{
    (void)state;
    struct scene s;
    scene_new(&s);
    use_tree(&s);
    atomic_store(&s.daemon.shared->fail, EIO);
    assert_int_equal(tl_tree_fault(s.tree, "file"), -EIO);
    assert_int_equal(content(&s, "file"), -EACCES);
    atomic_store(&s.daemon.shared->fail, 0);
    assert_int_equal(tl_tree_fault(s.tree, "file"), 0);
    assert_int_equal(content(&s, "file"), 6);
    scene_free(&s);
}

static void folders_of_others_and_links_are_refused(void **state)
{
    (void)state;
    struct scene s;
    struct tl_error err = {.code = 0};
    char path[128];
    scene_new(&s);
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
    scene_free(&s);
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
static int fill_up(struct scene *s)
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
    if (stat(in_tree(s, "big"), &st) != 0 || (st.st_mode & 0444) != 0 || st.st_blocks != 0 || st.st_size != BIG_SIZE)
        return __LINE__ % 100;
    if (tl_tree_fault(s->tree, "file") != 0 || content(s, "file") != 6) /* there is room again */
        return __LINE__ % 100;
    if (tl_tree_fill(s->tree, NULL, NULL, &err) != -ENOSPC || strstr(err.msg, "/big") == NULL)
        return __LINE__ % 100;
    if (mount("t", s->trees, "tmpfs", MS_REMOUNT | MS_NOSUID, "size=4m") != 0 || tl_tree_fault(s->tree, "big") != 0)
        return __LINE__ % 100;
    if (content(s, "big") != BIG_SIZE)
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
    struct scene s;
    scene_new(&s);
    fflush(NULL);
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0)
        _exit(fill_up(&s));
    int status = status_of(pid);
    scene_free(&s);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("no user namespaces here: not tried\n");
        skip();
    }
    assert_int_equal(status, 0);
}

int main(void)
{
    if (geteuid() == 0 && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
        return 77;
    (void)prctl(PR_SET_DUMPABLE, 1); /* setuid took that away, and with it the maps of a user namespace */
    umask(022);
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
        cmocka_unit_test(a_complete_tree_has_the_users_attributes),
        cmocka_unit_test(a_change_anywhere_makes_it_anew_once_the_tier_has_seen_it),
        cmocka_unit_test(a_daemon_that_has_too_many_clients_is_asked_again),
        cmocka_unit_test(a_changed_file_is_stale_until_the_tree_is_made_anew),
        cmocka_unit_test(an_error_of_the_daemon_leaves_it_as_it_was),
        cmocka_unit_test(folders_of_others_and_links_are_refused),
        cmocka_unit_test(a_full_file_system_is_an_error_and_no_signal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
