// SPDX-License-Identifier: Apache-2.0
/* tiercel-launch as people meet it: the program itself, with a daemon that is a fake, as root and as an ordinary user without
 * fusermount3. Argument: path of tiercel-launch. Needs root (to become an ordinary user, and to lend it a /dev/fuse that
 * it may open) and skips otherwise. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
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
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/time.h"
#include "front/fake_daemon.h"
#include "front/fixture.h"

#define NOBODY       65534u
#define OUTPUT_MAX   4096
#define RUN_LIMIT_NS (30ull * TL_NS_PER_S)

static const char *launch_program;

struct scene {
    char base[64];
    char tier[96], source[96]; /* below base: runtime folder, directory to be served */
    uid_t uid;
    bool no_unshare; /* the machine forbids new namespaces */
    const char *cwd;
    struct fake_daemon daemon;
};

struct result {
    int status; /* exit code, or 128 + signal */
    char out[OUTPUT_MAX], err[OUTPUT_MAX];
};

static void spill(const char *dir, const char *name, const char *text)
{
    char path[256];
    fixture_path(path, sizeof path, dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    check(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static void scene_new(struct scene *s, uid_t uid)
{
    *s = (struct scene){.uid = uid};
    snprintf(s->base, sizeof s->base, "/tmp/tl-launch-XXXXXX");
    check(mkdtemp(s->base) != NULL && chmod(s->base, 0755) == 0);
    snprintf(s->tier, sizeof s->tier, "%s/tier", s->base);
    snprintf(s->source, sizeof s->source, "%s/source", s->base);
    check(mkdir(s->tier, 0700) == 0 && chown(s->tier, uid, uid) == 0 && mkdir(s->source, 0755) == 0);
    char sub[128];
    fixture_path(sub, sizeof sub, s->source, "sub");
    check(mkdir(sub, 0755) == 0);
    spill(s->source, "file", "hello\n");
    spill(sub, "file", "below\n");
    s->cwd = "/";
    fake_daemon_start(&s->daemon, s->tier, uid);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static bool still_there(const char *folder)
{
    char command[512];
    snprintf(command, sizeof command, "ls %s/holder-*.sock >/dev/null 2>&1", folder);
    return system(command) == 0;
}

static void wait_for_holders_to_end(const struct scene *s)
{
    uint64_t limit = tl_time_mono_ns() + RUN_LIMIT_NS;
    while (still_there(s->tier)) {
        check(tl_time_mono_ns() < limit);
        poll(NULL, 0, 5);
    }
}

static void scene_free(struct scene *s)
{
    fake_daemon_kill(&s->daemon);
    wait_for_holders_to_end(s);
    check(nftw(s->base, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

static void lend_device(void)
{
    check(mount("tl-test", "/mnt", "tmpfs", 0, NULL) == 0);
    check(mknod("/mnt/fuse", S_IFCHR | 0666, makedev(10, 229)) == 0 && chmod("/mnt/fuse", 0666) == 0);
    check(mount("/mnt/fuse", "/dev/fuse", NULL, MS_BIND, NULL) == 0 && umount2("/mnt", MNT_DETACH) == 0);
}

static void forbid_namespaces(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unshare, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

/* Starts a command as the scene's user. */
static pid_t start(const struct scene *s, const char *const *argv, int out, int err)
{
    fflush(NULL);
    pid_t pid = fork();
    check(pid >= 0);
    if (pid != 0)
        return pid;
    check(dup2(out, 1) == 1 && dup2(err, 2) == 2);
    if (s->uid != 0) {
        gid_t gid = s->uid;
        check(setgroups(1, &gid) == 0 && setgid(gid) == 0 && setuid(s->uid) == 0);
    }
    if (s->no_unshare)
        forbid_namespaces();
    check(chdir(s->cwd) == 0);
    alarm(30);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(99);
}

static void read_to_end(int out, int err, struct result *r)
{
    char *texts[2] = {r->out, r->err};
    size_t used[2] = {0, 0};
    struct pollfd fds[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
    uint64_t limit = tl_time_mono_ns() + RUN_LIMIT_NS;
    while (fds[0].fd >= 0 || fds[1].fd >= 0) { /* the holder must not keep them open */
        check(tl_time_mono_ns() < limit);
        poll(fds, 2, 1000);
        for (int i = 0; i < 2; i++) {
            if (fds[i].fd < 0 || fds[i].revents == 0)
                continue;
            ssize_t n = read(fds[i].fd, texts[i] + used[i], OUTPUT_MAX - 1 - used[i]);
            used[i] += n > 0 ? (size_t)n : 0;
            if (n <= 0)
                fds[i].fd = -1;
        }
    }
    r->out[used[0]] = r->err[used[1]] = '\0';
}

static void run(const struct scene *s, const char *const *argv, struct result *r)
{
    int out[2], err[2], status;
    check(pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0);
    pid_t pid = start(s, argv, out[1], err[1]);
    close(out[1]);
    close(err[1]);
    read_to_end(out[0], err[0], r);
    close(out[0]);
    close(err[0]);
    check(waitpid(pid, &status, 0) == pid);
    r->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Runs a shell command with the source served. */
static void launch(const struct scene *s, const char *command, struct result *r)
{
    const char *const argv[] = {launch_program, "--how", "fuse",    "--socket", s->daemon.socket, "--cache",
                                s->source,      "--",    "/bin/sh", "-c",       command,          NULL};
    run(s, argv, r);
}

static void assert_result(const struct result *r, int status, const char *out)
{
    if (r->status != status || strcmp(r->out, out) != 0)
        print_error("status %d, output:\n%s\nerrors:\n%s\n", r->status, r->out, r->err);
    assert_int_equal(r->status, status);
    assert_string_equal(r->out, out);
}

#define SERVED "$(grep -c fuse.tiercel /proc/self/mountinfo)"

static const uid_t users[] = {0, NOBODY};
#define USER_COUNT (sizeof users / sizeof users[0])

static void the_path_is_served_at_its_own_place_and_only_for_the_command(void **state)
{
    (void)state;
    for (size_t i = 0; i < USER_COUNT; i++) {
        struct scene s;
        struct result r;
        char want[64];
        scene_new(&s, users[i]);
        char command[512];
        snprintf(command, sizeof command, "cat %s/file %s/sub/file; echo " SERVED " $(id -u) $(id -g)", s.source,
                 s.source);
        launch(&s, command, &r);
        snprintf(want, sizeof want, "hello\nbelow\n1 %u %u\n", s.uid, s.uid);
        assert_result(&r, 0, want);
        assert_string_equal(r.err, "");
        assert_int_equal(s.daemon.shared->attached, 1);
        assert_string_equal(s.daemon.shared->last_source, s.source);
        assert_int_equal(s.daemon.shared->map_owner, s.uid != 0);
        snprintf(command, sizeof command, "echo x > %s/file", s.source);
        launch(&s, command, &r);
        assert_int_not_equal(r.status, 0);
        assert_non_null(strstr(r.err, "Read-only"));
        FILE *mounts = popen("grep -c ' - fuse.tiercel ' /proc/self/mountinfo", "r");
        assert_non_null(mounts);
        assert_int_equal(fgetc(mounts), '0');
        pclose(mounts);
        scene_free(&s);
    }
}

static void exit_codes_signals_and_children_are_the_commands_own(void **state)
{
    (void)state;
    for (size_t i = 0; i < USER_COUNT; i++) {
        struct scene s;
        struct result r;
        scene_new(&s, users[i]);
        launch(&s, "exit 3", &r);
        assert_result(&r, 3, "");
        launch(&s, "kill -TERM $$", &r);
        assert_result(&r, 128 + SIGTERM, "");
        launch(&s, "wait; cat /proc/$$/task/$$/children; ps -o stat= --ppid $$ | grep -c Z; true", &r);
        assert_non_null(strchr(r.out, '0')); /* no zombie; `children` names the cat alone or nothing */
        const char *const missing[] = {launch_program, "--how",  "fuse", "--socket",         s.daemon.socket,
                                       "--cache",      s.source, "--",   "/no/such/program", NULL};
        run(&s, missing, &r);
        assert_result(&r, 127, "");
        const char *const directory[] = {launch_program, "--how",  "fuse", "--socket", s.daemon.socket,
                                         "--cache",      s.source, "--",   s.source,   NULL};
        run(&s, directory, &r);
        assert_result(&r, 126, "");
        scene_free(&s);
    }
}

static void launches_of_one_user_share_one_mount(void **state)
{
    (void)state;
    for (size_t i = 0; i < USER_COUNT; i++) {
        struct scene s;
        struct result a, b;
        pid_t pids[8];
        scene_new(&s, users[i]);
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        char file[128];
        fixture_path(file, sizeof file, s.source, "file");
        const char *const argv[] = {launch_program,  "--how",   "fuse",   "--socket",
                                    s.daemon.socket, "--cache", s.source, "--",
                                    "/bin/cat",      file,      NULL};
        for (int k = 0; k < 8; k++)
            pids[k] = start(&s, argv, null, null);
        for (int k = 0; k < 8; k++) {
            int status;
            assert_int_equal(waitpid(pids[k], &status, 0), pids[k]);
            assert_int_equal(status, 0);
        }
        close(null);
        assert_int_equal(s.daemon.shared->attached, 1);
        launch(&s, "readlink /proc/self/ns/mnt", &a);
        launch(&s, "readlink /proc/self/ns/mnt", &b);
        assert_result(&a, 0, b.out);
        assert_int_equal(s.daemon.shared->attached, 1);
        scene_free(&s);
    }
}

static void the_working_directory_is_the_served_one(void **state)
{
    (void)state;
    for (size_t i = 0; i < USER_COUNT; i++) {
        struct scene s;
        struct result r;
        char cwd[128], want[256];
        scene_new(&s, users[i]);
        fixture_path(cwd, sizeof cwd, s.source, "sub");
        s.cwd = cwd;
        launch(&s, "pwd -P; cat file; stat -f -c %t .", &r);
        snprintf(want, sizeof want, "%s\nbelow\n65735546\n", cwd);
        assert_result(&r, 0, want);
        s.cwd = s.base;
        launch(&s, "pwd -P; stat -f -c %t . | grep -c 65735546; true", &r);
        snprintf(want, sizeof want, "%s\n0\n", s.base);
        assert_result(&r, 0, want);
        scene_free(&s);
    }
}

static void links_duplicates_and_nested_paths_become_one_mount(void **state)
{
    (void)state;
    struct scene s;
    struct result r;
    char link[128], sub[128];
    scene_new(&s, NOBODY);
    fixture_path(link, sizeof link, s.base, "link");
    fixture_path(sub, sizeof sub, s.source, "sub");
    assert_int_equal(symlink("source", link), 0);
    const char *const argv[] = {
        launch_program, "--how", "fuse",    "--socket", s.daemon.socket, "--cache", sub, "--cache", link, "--cache",
        s.source,       "--",    "/bin/sh", "-c",       "echo " SERVED,  NULL};
    run(&s, argv, &r);
    assert_result(&r, 0, "1\n");
    assert_int_equal(s.daemon.shared->attached, 1);
    assert_string_equal(s.daemon.shared->last_source, s.source);
    scene_free(&s);
}

static void a_launch_within_a_launch_uses_what_is_there(void **state)
{
    (void)state;
    for (size_t i = 0; i < USER_COUNT; i++) {
        struct scene s;
        struct result r;
        char command[768];
        scene_new(&s, users[i]);
        snprintf(command, sizeof command, "%s --socket %s --cache %s -- /bin/sh -c 'cat %s/file; echo " SERVED "'",
                 launch_program, s.daemon.socket, s.source, s.source);
        launch(&s, command, &r);
        assert_result(&r, 0, "hello\n1\n");
        assert_int_equal(s.daemon.shared->attached, 1);
        scene_free(&s);
    }
}

static void a_plain_mount_shows_the_whole_tree(void **state)
{
    (void)state;
    struct scene s;
    struct result r;
    char point[128], command[512];
    scene_new(&s, NOBODY);
    fixture_path(point, sizeof point, s.base, "all");
    assert_int_equal(mkdir(point, 0755), 0);
    snprintf(command, sizeof command, "cat %s%s/file", point, s.source);
    const char *const argv[] = {launch_program, "--how", "fuse",    "--socket", s.daemon.socket, "--mount",
                                point,          "--",    "/bin/sh", "-c",       command,         NULL};
    run(&s, argv, &r);
    assert_result(&r, 0, "hello\n");
    assert_string_equal(s.daemon.shared->last_source, "/");
    scene_free(&s);
}

/* Until the mounts are gone, but not for ever. */
#define UNTIL_PLAIN                                                                                                    \
    "i=0; while grep -q ' - fuse.tiercel ' /proc/self/mountinfo; do i=$((i+1)); [ $i -lt 2000 ] || exit 9; sleep "     \
    "0.01; "                                                                                                           \
    "done; "

static void a_command_outlives_the_daemon(void **state)
{
    (void)state;
    for (size_t i = 0; i < USER_COUNT; i++) {
        struct scene s;
        struct result r;
        char command[512];
        scene_new(&s, users[i]);
        /* The command tells by a fifo that it runs; the daemon is killed; the paths are plain again. */
        fixture_path(command, sizeof command, s.base, "fifo");
        assert_int_equal(mkfifo(command, 0666), 0);
        assert_int_equal(chmod(command, 0666), 0);
        int fifo = open(command, O_RDWR | O_CLOEXEC);
        assert_true(fifo >= 0);
        pid_t killer = fork();
        if (killer == 0) {
            char c;
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            _exit(read(fifo, &c, 1) == 1 && kill(s.daemon.pid, SIGKILL) == 0 ? 0 : 1);
        }
        snprintf(command, sizeof command, "cat %s/file; echo x > %s/fifo; " UNTIL_PLAIN "cat %s/sub/file; echo " SERVED,
                 s.source, s.base, s.source);
        launch(&s, command, &r);
        assert_result(&r, 0, "hello\nbelow\n0\n");
        assert_int_equal(waitpid(killer, NULL, 0), killer);
        close(fifo);
        wait_for_holders_to_end(&s);
        fake_daemon_kill(&s.daemon);
        fake_daemon_start(&s.daemon, s.tier, s.uid); /* a new one: a new holder */
        snprintf(command, sizeof command, "cat %s/file; echo " SERVED, s.source);
        launch(&s, command, &r);
        assert_result(&r, 0, "hello\n1\n");
        assert_int_equal(s.daemon.shared->attached, 1);
        scene_free(&s);
    }
}

/* The launch fails with 125 and these words; with --fallback the command runs all the same, after one line. */
static void expect_refused(const struct scene *s, const char *socket, const char *path, const char *words)
{
    struct result r;
    const char *const strict[] = {launch_program, "--how", "fuse",      "--socket", socket, "--cache",
                                  path,           "--",    "/bin/echo", "ran",      NULL};
    run(s, strict, &r);
    assert_result(&r, 125, "");
    if (strstr(r.err, words) == NULL)
        print_error("said: %s\n", r.err);
    assert_non_null(strstr(r.err, words));
    const char *const soft[] = {launch_program, "--how",      "fuse", "--socket",  socket, "--cache",
                                path,           "--fallback", "--",   "/bin/echo", "ran",  NULL};
    run(s, soft, &r);
    assert_result(&r, 0, "ran\n");
    assert_non_null(strstr(r.err, words));
    assert_non_null(strstr(r.err, "without the tier"));
    assert_ptr_equal(strchr(r.err, '\n'), r.err + strlen(r.err) - 1); /* one line */
}

static void what_cannot_be_served_is_said_and_can_run_without(void **state)
{
    (void)state;
    struct scene s;
    char path[128];
    scene_new(&s, NOBODY);
    fixture_path(path, sizeof path, s.base, "missing");
    expect_refused(&s, s.daemon.socket, path, "No such file");
    fixture_path(path, sizeof path, s.source, "file");
    expect_refused(&s, s.daemon.socket, path, "not a directory");
    expect_refused(&s, s.daemon.socket, "/", "stay what they are");
    expect_refused(&s, s.daemon.socket, "/proc/self", "stay what they are");
    fixture_path(path, sizeof path, s.tier, "node-9.sock");
    expect_refused(&s, path, s.source, "tiercel up");
    s.daemon.shared->refuse = 1;
    expect_refused(&s, s.daemon.socket, s.source, "the daemon is \"full\"");
    s.daemon.shared->refuse = 0;
    s.no_unshare = true;
    expect_refused(&s, s.daemon.socket, s.source, "user namespace");
    s.no_unshare = false;
    assert_int_equal(umount2("/dev/fuse", MNT_DETACH), 0); /* the lent one: the machine's own is closed here */
    struct stat st;
    assert_int_equal(stat("/dev/fuse", &st), 0);
    if ((st.st_mode & 0006) == 0)
        expect_refused(&s, s.daemon.socket, s.source, "no permission to use /dev/fuse");
    lend_device();
    fake_daemon_kill(&s.daemon);
    expect_refused(&s, s.daemon.socket, s.source, "tiercel up");
    scene_free(&s);
}

static void a_command_line_that_makes_no_sense_is_explained(void **state)
{
    (void)state;
    struct scene s;
    struct result r;
    scene_new(&s, NOBODY);
    const char *const none[] = {launch_program, NULL};
    run(&s, none, &r);
    assert_result(&r, 125, "");
    assert_non_null(strstr(r.err, "--socket is missing"));
    const char *const no_command[] = {launch_program, "--socket", s.daemon.socket, "--cache", s.source, "--", NULL};
    run(&s, no_command, &r);
    assert_result(&r, 125, "");
    assert_non_null(strstr(r.err, "no command"));
    const char *const unknown[] = {launch_program, "--colour", NULL};
    run(&s, unknown, &r);
    assert_result(&r, 125, "");
    const char *const no_way[] = {launch_program, "--how", "magic", NULL};
    run(&s, no_way, &r);
    assert_result(&r, 125, "");
    assert_non_null(strstr(r.err, "--how magic: no such way to serve; there are auto, bind, fuse"));
    scene_free(&s);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_path_is_served_at_its_own_place_and_only_for_the_command),
        cmocka_unit_test(exit_codes_signals_and_children_are_the_commands_own),
        cmocka_unit_test(launches_of_one_user_share_one_mount),
        cmocka_unit_test(the_working_directory_is_the_served_one),
        cmocka_unit_test(links_duplicates_and_nested_paths_become_one_mount),
        cmocka_unit_test(a_launch_within_a_launch_uses_what_is_there),
        cmocka_unit_test(a_plain_mount_shows_the_whole_tree),
        cmocka_unit_test(a_command_outlives_the_daemon),
        cmocka_unit_test(what_cannot_be_served_is_said_and_can_run_without),
        cmocka_unit_test(a_command_line_that_makes_no_sense_is_explained),
    };
    if (argc != 2) {
        fprintf(stderr, "usage: test_launch PATH-OF-TIERCEL-LAUNCH\n");
        return 2;
    }
    launch_program = realpath(argv[1], NULL); /* tests change directories */
    check(launch_program != NULL);
    if (!fixture_possible())
        return 77;
    lend_device(); /* within the test's own mount namespace */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
