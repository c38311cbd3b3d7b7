// SPDX-License-Identifier: Apache-2.0
/* Rows about programs: starting them in all the ways there are, and what they find out about themselves. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#ifndef ROWS_STATIC
#include <dlfcn.h>
#endif

#include "launch/rows.h"

extern char **environ;

/* Runs argv[0] in a child, by execve, with this environment. */
static void run_program(char *const *argv, char *const *env)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        execve(argv[0], argv, env);
        fprintf(stderr, "%s: %s\n", argv[0], strerrorname_np(errno));
        _exit(126);
    }
    tell_child(pid);
}

static char *text_of(const char *s)
{
    return (char *)(size_t)s; /* exec's argv has no const, and changes nothing */
}

#define ARGV(...) ((char *[]){__VA_ARGS__, NULL})

static void row_exec(void)
{
    run_program(ARGV(text_of(in_tree("bin/rows")), "say", "hello"), environ);
    run_program(ARGV(text_of(in_tree("none")), "say"), environ);
    run_program(ARGV(text_of(in_tree("file"))), environ); /* not executable */
}

static void row_execvp(void)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("PATH", in_tree("bin"), 1);
        execvp("rows", ARGV("rows", "say", "by PATH"));
        _exit(126);
    }
    tell_child(pid);
}

static void row_exec_static(void)
{
    run_program(ARGV(text_of(in_tree("bin/rows-static")), "say", "hello"), environ);
    run_program(ARGV(text_of(in_tree("bin/raw")), "read", text_of(tree())), environ);
}

static void row_exec_script(void)
{
    run_program(ARGV(text_of(in_tree("script.sh")), "word"), environ);
}

/* The kernel itself opens what stands behind #!, and the ELF interpreter. */
static void row_hashbang(void)
{
    run_program(ARGV(text_of(in_tree("script.own")), "word"), environ);
    run_program(ARGV(text_of(outside("script.into")), "word"), environ);
}

static void row_pt_interp(void)
{
    run_program(ARGV(text_of(in_tree("bin/interp"))), environ);
    run_program(ARGV(text_of(outside("interp"))), environ);
}

static void row_spawn(void)
{
    pid_t pid = -1;
    fflush(stdout);
    int rc = posix_spawn(&pid, in_tree("bin/rows"), NULL, NULL, ARGV("rows", "say", "spawned"), environ);
    tell_child(pid);                    /* prints when the child has ended: no race of two writers */
    posix_spawn_file_actions_t actions; /* an open on the child's side */
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, in_tree("lines"), O_RDONLY, 0);
    fflush(stdout);
    int also = posix_spawn(&pid, "/bin/cat", &actions, NULL, ARGV("cat"), environ);
    posix_spawn_file_actions_destroy(&actions);
    tell_child(pid);
    printf("%d %d\n", rc, also);
}

static void row_vfork(void)
{
    const char *program = in_tree("bin/rows");
    char *argv[] = {"rows", "say", "vforked", NULL};
    fflush(stdout);
    pid_t pid = vfork();
    if (pid == 0) {
        execve(program, argv, environ);
        _exit(126);
    }
    tell_child(pid);
}

/* A program that is started without any environment finds the tree. */
static void row_envi(void)
{
    char *none[] = {NULL};
    run_program(ARGV(text_of(in_tree("bin/rows")), "chdir", text_of(tree()), text_of(outside(""))), none);
    run_program(ARGV("/usr/bin/env", "-i", "/bin/cat", text_of(in_tree("dir/a"))), environ);
}

static void row_envi_static(void)
{
    char *none[] = {NULL};
    run_program(ARGV(text_of(in_tree("bin/rows-static")), "chdir", text_of(tree()), text_of(outside(""))), none);
}

static void row_system(void)
{
    char command[4096];
    snprintf(command, sizeof command, "cat %s && ls %s", in_tree("file"), in_tree("dir"));
    fflush(stdout);
    printf("system: %d\n", system(command));
    FILE *out = popen(command, "re");
    char line[128];
    while (out != NULL && fgets(line, sizeof line, out) != NULL)
        fputs(line, stdout);
    printf("popen: %d\n", out != NULL ? pclose(out) : -1);
}

static void row_fexecve(void)
{
    static const char *const names[] = {"bin/rows", "bin/rows-static"};
    for (int i = 0; i < 4; i++) {
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            int fd = open(in_tree(names[i / 2]), (i % 2 == 0 ? O_RDONLY : O_PATH) | O_CLOEXEC);
            fexecve(fd, ARGV("rows", "say", "by descriptor"), environ);
            _exit(126);
        }
        tell_child(pid);
    }
}

/* Programs that nobody has read, by descriptors that do not read them either. */
static void row_opath_exec(void)
{
    static const char *const names[] = {"bin/unread-1", "bin/unread-2"};
    for (int i = 0; i < 2; i++) {
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            char link[32];
            int fd = open(in_tree(names[i]), O_PATH);
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            if (i == 0)
                execve(link, ARGV("rows", "say", "by a link"), environ);
            else
                fexecve(fd, ARGV("rows", "say", "by a number"), environ);
            _exit(126);
        }
        tell_child(pid);
    }
}

static void row_exec_relative(void)
{
    tell("chdir", chdir(tree()));
    run_program(ARGV("bin/rows", "say", "relative"), environ);
    run_program(ARGV("./script.sh", "relative"), environ);
}

static void row_exe(void)
{
    run_program(ARGV(text_of(in_tree("bin/rows")), "exe"), environ);
    run_program(ARGV(text_of(in_tree("bin/rows-static")), "exe"), environ);
}

/* Programs start programs start programs, and each reads. */
static void row_exec_deep(void)
{
    run_program(ARGV("/bin/sh", "-c",
                     "cd \"$1\"; (cat file; (cat dir/a; sh -c 'cat dir/deep/b; exec ./script.sh deep') & wait)", "sh",
                     text_of(tree())),
                environ);
}

#define STACK (256 * 1024)

static int cloned(void *arg)
{
    (void)arg;
    tell_content(in_tree("dir/a"));
    fflush(stdout);
    _exit(7);
}

/* A child that shares the descriptors and the directory, and one that shares nothing. */
static void row_clone(void)
{
    char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect(stack != MAP_FAILED, "memory");
    fflush(stdout);
    tell_child(clone(cloned, stack + STACK, CLONE_FILES | CLONE_FS | SIGCHLD, NULL));
    fflush(stdout);
    tell_child(clone(cloned, stack + STACK, SIGCHLD, NULL));
}

/* A child that nobody waits for still reads when its parents are gone. */
static void row_orphan(void)
{
    int ends[2];
    char text[128] = "";
    expect(pipe2(ends, O_CLOEXEC) == 0, "pipe");
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        pid_t parent = getpid();
        if (fork() == 0) {
            while (getppid() == parent)
                sched_yield();
            expect(setsid() > 0 && dup2(ends[1], 1) == 1, "a session");
            tell_content(in_tree("many/f5"));
            fflush(stdout);
        }
        _exit(0);
    }
    tell_child(pid);
    close(ends[1]);
    printf("%zd %s", read(ends[0], text, sizeof text - 1), text);
}

#ifndef ROWS_STATIC
static void row_dlopen(void)
{
    static const char *const names[] = {"lib/libplugin.so", "lib/none.so"};
    for (size_t i = 0; i < 2; i++) {
        void *library = dlopen(in_tree(names[i]), RTLD_NOW | RTLD_LOCAL);
        printf("%s: %s\n", names[i], library != NULL ? "ok" : "not there");
        union {
            void *symbol;
            int (*call)(int);
        } plugin = {.symbol = library != NULL ? dlsym(library, "plugin_answer") : NULL};
        if (plugin.symbol != NULL)
            printf("plugin: %d\n", plugin.call(40));
    }
}
#endif

const struct row rows_exec[] = {{"exec", row_exec},
                                {"execvp", row_execvp},
                                {"exec-static", row_exec_static},
                                {"exec-script", row_exec_script},
                                {"exec-relative", row_exec_relative},
                                {"exec-deep", row_exec_deep},
                                {"hashbang", row_hashbang},
                                {"pt-interp", row_pt_interp},
                                {"spawn", row_spawn},
                                {"vfork", row_vfork},
                                {"clone", row_clone},
                                {"orphan", row_orphan},
                                {"envi", row_envi},
                                {"envi-static", row_envi_static},
                                {"system", row_system},
                                {"fexecve", row_fexecve},
                                {"opath-exec", row_opath_exec},
                                {"proc-exe", row_exe},
#ifndef ROWS_STATIC
                                {"dlopen", row_dlopen},
#endif
                                {NULL, NULL}};
