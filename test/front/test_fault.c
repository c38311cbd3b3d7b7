// SPDX-License-Identifier: Apache-2.0
/* Programs under `tiercel-launch --how fault`, when files cannot be filled, are slow, or are to be changed: what the acceptance
 * suite cannot bring about. The daemon is a fake. As an ordinary user if root runs it. Argument: path of tiercel-launch. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/time.h"
#include "front/tree_daemon.h"

#define NOBODY     65534u
#define OUTPUT_MAX 4096
#define LIMIT_NS   (20ull * TL_NS_PER_S)

static const char *launch_program;

struct scene {
    char base[64], tier[96], source[96], trees[96];
    struct tree_daemon daemon;
};

struct program {
    pid_t pid;
    int out;
};

static void spill(const char *dir, const char *name, const char *text, mode_t mode)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    check(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(fd, mode) == 0);
    close(fd);
}

static void scene_new(struct scene *s)
{
    memset(s, 0, sizeof *s);
    snprintf(s->base, sizeof s->base, "/tmp/tl-fault-XXXXXX");
    check(mkdtemp(s->base) != NULL);
    snprintf(s->tier, sizeof s->tier, "%s/tier", s->base);
    snprintf(s->source, sizeof s->source, "%s/source", s->base);
    snprintf(s->trees, sizeof s->trees, "/dev/shm/%s", strrchr(s->base, '/') + 1);
    check(mkdir(s->tier, 0700) == 0 && mkdir(s->source, 0755) == 0 && mkdir(s->trees, 0700) == 0);
    check(setenv("TIERCEL_TREE_DIR", s->trees, 1) == 0 && setenv("BASE", s->base, 1) == 0);
    spill(s->source, "file", "content\n", 0644);
    spill(s->source, "other", "another\n", 0644);
    spill(s->source, "script", "#!/bin/sh\necho ran $1\n", 0755);
    tree_daemon_start(&s->daemon, s->tier, geteuid());
}

static void scene_free(struct scene *s)
{
    char command[256];
    tree_daemon_kill(&s->daemon);
    snprintf(command, sizeof command, "rm -rf %s %s", s->base, s->trees);
    check(system(command) == 0);
}

/* Runs a shell command; $1 is the source's path, which is rewritten. */
static struct program start(const struct scene *s, const char *command)
{
    struct program p;
    int out[2];
    check(pipe2(out, O_CLOEXEC) == 0);
    fflush(NULL);
    p.pid = fork();
    check(p.pid >= 0);
    if (p.pid == 0) {
        dup2(out[1], 1);
        dup2(out[1], 2);
        execl(launch_program, launch_program, "--socket", s->daemon.socket, "--cache", s->source, "--how", "fault",
              "--", "/bin/sh", "-c", command, "sh", s->source, (char *)NULL);
        _exit(99);
    }
    close(out[1]);
    p.out = out[0];
    return p;
}

/* Its exit code; all its output. */
static int end(struct program *p, char out[OUTPUT_MAX])
{
    size_t used = 0;
    uint64_t limit = tl_time_mono_ns() + LIMIT_NS;
    for (;;) { /* to the end of it, which the supervisor does not keep open */
        struct pollfd wait = {.fd = p->out, .events = POLLIN};
        check(tl_time_mono_ns() < limit);
        if (poll(&wait, 1, 1000) <= 0)
            continue;
        ssize_t n = read(p->out, out + used, OUTPUT_MAX - 1 - used);
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    out[used] = '\0';
    close(p->out);
    int status;
    check(waitpid(p->pid, &status, 0) == p->pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void expect(const struct scene *s, const char *command, int code, const char *output)
{
    char out[OUTPUT_MAX];
    struct program p = start(s, command);
    int got = end(&p, out);
    if (got != code || strcmp(out, output) != 0)
        print_error("%s\n  status %d, output:\n%s\n", command, got, out);
    assert_int_equal(got, code);
    assert_string_equal(out, output);
}

static void what_is_opened_is_filled(void **state)
{
    (void)state;
    struct scene s;
    scene_new(&s);
    expect(&s, "cat \"$1/file\"; $1/script x; test -r \"$1/other\" && cd $1 && cat <other", 0,
           "content\nran x\nanother\n");
    assert_int_equal(atomic_load(&s.daemon.shared->fetches), 3);
    expect(&s, "cat \"$1/file\" \"$1/missing\" 2>&1 | sed 's,/[^ ]*/,,'", 0,
           "content\ncat: missing: No such file or directory\n");
    assert_int_equal(atomic_load(&s.daemon.shared->fetches), 3);
    scene_free(&s);
}

static void what_cannot_be_filled_is_read_at_the_source(void **state)
{
    (void)state;
    struct scene s;
    scene_new(&s);
    atomic_store(&s.daemon.shared->fail, EIO);
    expect(&s, "cat \"$1/file\"; stat -c %a \"$1/file\"; test -r \"$1/other\" && echo readable", 0,
           "content\n200\nreadable\n");
    expect(&s, "$1/script x 2>/dev/null", 126, ""); /* a program cannot be given another file to execute */
    atomic_store(&s.daemon.shared->fail, ENOSPC);
    expect(&s, "exec 3<\"$1/file\" && cat <&3", 0, "content\n");
    atomic_store(&s.daemon.shared->fail, 0);
    expect(&s, "cat \"$1/file\"; stat -c %a \"$1/file\"", 0, "content\n644\n");
    scene_free(&s);
}

/* A program that reads $BASE/fifo waits until the gate is opened. */
static void make_gate(const struct scene *s, char path[96])
{
    snprintf(path, 96, "%s/fifo", s->base);
    check(mkfifo(path, 0600) == 0);
}

static void open_gate(const char *path)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    check(fd >= 0);
    close(fd);
}

static void a_file_that_changed_is_read_as_it_is_now(void **state)
{
    (void)state;
    struct scene s;
    char out[OUTPUT_MAX], fifo[96];
    scene_new(&s);
    make_gate(&s, fifo);
    struct program p = start(&s, "echo started; cat $BASE/fifo; cat \"$1/file\"");
    struct pollfd ready = {.fd = p.out, .events = POLLIN};
    check(poll(&ready, 1, 10000) == 1); /* its tree is there */
    spill(s.source, "file", "changed\n", 0644);
    open_gate(fifo);
    assert_int_equal(end(&p, out), 0);
    assert_string_equal(out, "started\nchanged\n");
    expect(&s, "cat \"$1/file\"; stat -c %a \"$1/file\"", 0, "changed\n644\n"); /* the tree was made anew */
    scene_free(&s);
}

static void a_slow_file_keeps_nobody_waiting_for_another(void **state)
{
    (void)state;
    struct scene s;
    char out[OUTPUT_MAX], fifo[96];
    scene_new(&s);
    expect(&s, "cat \"$1/other\"", 0, "another\n");
    atomic_store(&s.daemon.shared->halves, 1);
    make_gate(&s, fifo);
    struct program p =
        start(&s, "cat \"$1/file\" & cat $BASE/fifo; cat \"$1/other\"; cat \"$1/script\" | tail -1; wait");
    tree_daemon_wait_half(&s.daemon); /* of the first file: nothing else is asked for before the fifo is opened */
    open_gate(fifo);
    char early[32] = "";
    for (size_t used = 0; used < 20;) { /* all but the slow one, while that waits */
        ssize_t n = read(p.out, early + used, 20 - used);
        check(n > 0);
        used += (size_t)n;
    }
    assert_string_equal(early, "another\necho ran $1\n");
    sem_post(&s.daemon.shared->go);
    assert_int_equal(end(&p, out), 0);
    assert_string_equal(out, "content\n");
    scene_free(&s);
}

#define SLOW 20 /* more than there are threads at first */

static void however_many_are_slow_others_are_not(void **state)
{
    (void)state;
    struct scene s;
    char out[OUTPUT_MAX], fifo[96], name[16], early[32] = "";
    scene_new(&s);
    for (int i = 0; i < SLOW; i++) {
        snprintf(name, sizeof name, "slow-%d", i);
        spill(s.source, name, "slow\n", 0644);
    }
    expect(&s, "cat \"$1/other\"", 0, "another\n");
    atomic_store(&s.daemon.shared->halves, SLOW);
    make_gate(&s, fifo);
    struct program p =
        start(&s, "for f in \"$1\"/slow-*; do cat \"$f\" & done; cat $BASE/fifo; cat \"$1/other\"; wait");
    for (int i = 0; i < SLOW; i++)
        tree_daemon_wait_half(&s.daemon);
    open_gate(fifo);
    for (size_t used = 0; used < 8;) {
        ssize_t n = read(p.out, early + used, 8 - used);
        check(n > 0);
        used += (size_t)n;
    }
    assert_string_equal(early, "another\n");
    for (int i = 0; i < SLOW; i++)
        sem_post(&s.daemon.shared->go);
    assert_int_equal(end(&p, out), 0);
    assert_int_equal(strlen(out), SLOW * strlen("slow\n"));
    scene_free(&s);
}

#if defined(__x86_64__)
static bool is_supervisor_of(const struct scene *s, const char *pid)
{
    char path[300], text[OUTPUT_MAX];
    snprintf(path, sizeof path, "/proc/%s/comm", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text) : -1;
    if (fd >= 0)
        close(fd);
    if (n != 14 || memcmp(text, "tiercel-fault\n", 14) != 0)
        return false;
    snprintf(path, sizeof path, "/proc/%s/cmdline", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd >= 0 ? read(fd, text, sizeof text) : -1;
    if (fd >= 0)
        close(fd);
    return n > 0 && memmem(text, (size_t)n, s->base, strlen(s->base)) != NULL;
}

static void kill_supervisor(const struct scene *s)
{
    int killed = 0;
    DIR *proc = opendir("/proc");
    check(proc != NULL);
    for (struct dirent *e; (e = readdir(proc)) != NULL;)
        if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && is_supervisor_of(s, e->d_name))
            killed += kill((pid_t)atoi(e->d_name), SIGKILL) == 0;
    closedir(proc);
    assert_int_equal(killed, 1);
}

/* With nobody there to hear, what is heard fails: what does not fail is not heard. */
static void a_whole_file_is_opened_without_a_message(void **state)
{
    (void)state;
    struct scene s;
    char out[OUTPUT_MAX], fifo[96], word;
    scene_new(&s);
    make_gate(&s, fifo);
    struct program p = start(&s, "cat \"$1/other\"; echo started; read x <$BASE/fifo; read x <\"$1/other\"; echo $x; "
                                 "read y </etc/passwd && echo outside; (read z <\"$1/file\") 2>&- || echo heard");
    for (const char *text = "another\nstarted\n"; *text != '\0'; text++)
        check(read(p.out, &word, 1) == 1 && word == *text);
    kill_supervisor(&s);
    open_gate(fifo);
    assert_int_equal(end(&p, out), 0);
    assert_string_equal(out, "another\noutside\nheard\n");
    scene_free(&s);
}
#endif

static void a_tree_cannot_be_changed(void **state)
{
    (void)state;
    struct scene s;
    scene_new(&s);
    expect(
        &s,
        "cd $1; for c in 'echo x >file' 'echo x >>other' 'echo x >new' 'rm -f file' 'mkdir new' 'chmod 600 file' "
        "'touch file' 'ln -s a b' 'truncate -s 0 file' 'mv file other'; do sh -c \"$c\" 2>&1 | grep -c Read-only; done",
        0, "1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n");
    expect(&s, "cd $1; mkdir .; touch /nowhere/x; rm none; cat file", 0,
           "mkdir: cannot create directory '.': File exists\n"
           "touch: cannot touch '/nowhere/x': No such file or directory\n"
           "rm: cannot remove 'none': No such file or directory\ncontent\n");
    expect(&s, "cd $BASE; echo x >here; mv $1/file . 2>/dev/null; cat file; ls $1/file | wc -l", 0,
           "content\n1\n"); /* copied, as from another file system */
    scene_free(&s);
}

static void words_and_variables_lead_to_the_tree(void **state)
{
    (void)state;
    struct scene s;
    char lib[256];
    scene_new(&s);
    snprintf(lib, sizeof lib, "/elsewhere:%s/lib:%s2", s.source, s.source);
    setenv("PYTHONPATH", lib, 1);
    setenv("OTHER", lib, 1);
    expect(&s,
           "echo \"$1|$TIERCEL_PREFIX|$PYTHONPATH|$OTHER\" | "
           "sed \"s,$TIERCEL_PREFIX,PREFIX,g; s,$BASE,BASE,g\"",
           0,
           "PREFIXBASE/source|PREFIX|/elsewhere:PREFIXBASE/source/lib:BASE/source2|/elsewhere:BASE/source/lib:BASE/"
           "source2\n");
    unsetenv("PYTHONPATH");
    unsetenv("OTHER");
    check(chdir(s.source) == 0);
    expect(&s, "cat file; case $(pwd) in $TIERCEL_PREFIX/*) echo inside;; esac", 0, "content\ninside\n");
    check(chdir("/") == 0);
    scene_free(&s);
}

/* ---- a full file system ---- */

static void a_full_file_system_sends_programs_to_the_source(void **state)
{
    (void)state;
    struct scene s;
    static char big[1 << 19];
    char out[OUTPUT_MAX];
    scene_new(&s);
    memset(big, 'b', sizeof big - 1);
    spill(s.source, "big", big, 0644);
    check(setenv("LAUNCH", launch_program, 1) == 0 && setenv("SOCKET", s.daemon.socket, 1) == 0 &&
          setenv("SOURCE", s.source, 1) == 0);
    FILE *f = popen(
        "unshare -Ucm --map-current-user true 2>&1 && "
        "unshare -Urm sh -c 'mount -t tmpfs -o size=200k,mode=0700 t $TIERCEL_TREE_DIR && "
        "exec unshare -U --map-user=1000 --map-group=1000 $LAUNCH --socket $SOCKET --cache $SOURCE --how fault -- "
        "sh -c \"cat \\$1/big | wc -c; cat \\$1/file; stat -c %a \\$1/big\" sh $SOURCE' 2>&1",
        "re");
    size_t n = fread(out, 1, sizeof out - 1, f);
    out[n] = '\0';
    pclose(f);
    scene_free(&s);
    if (strstr(out, "unshare") != NULL) {
        print_message("no user namespaces here: not tried: %s\n", out);
        skip();
    }
    assert_string_equal(out, "524287\ncontent\n200\n");
}

int main(int argc, char **argv)
{
    check(argc == 2);
    launch_program = realpath(argv[1], NULL);
    if (geteuid() == 0 && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
        return 77;
    (void)prctl(PR_SET_DUMPABLE, 1);
    umask(022);
    setenv("LC_ALL", "C", 1);
    alarm(100); /* nothing here may hang */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_opened_is_filled),
        cmocka_unit_test(what_cannot_be_filled_is_read_at_the_source),
        cmocka_unit_test(a_file_that_changed_is_read_as_it_is_now),
        cmocka_unit_test(a_slow_file_keeps_nobody_waiting_for_another),
        cmocka_unit_test(however_many_are_slow_others_are_not),
#if defined(__x86_64__)
        cmocka_unit_test(a_whole_file_is_opened_without_a_message),
#endif
        cmocka_unit_test(a_tree_cannot_be_changed),
        cmocka_unit_test(words_and_variables_lead_to_the_tree),
        cmocka_unit_test(a_full_file_system_sends_programs_to_the_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
