// SPDX-License-Identifier: Apache-2.0
/* A static program without a C library, whose system calls are its own: what Go programs are to whoever wants to
 * intercept them. Rows: raw open|read|stat|readdir|chdir|exec|par TREE */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define SIGCHLD_FLAG 17L
#define WAIT_ALL     (-1L)

#if defined __x86_64__
static long sys(long number, long a, long b, long c, long d)
{
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}
__asm__(".globl _start\n_start:\n mov %rsp, %rdi\n and $-16, %rsp\n call start\n");
#elif defined __aarch64__
static long sys(long number, long a, long b, long c, long d)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
__asm__(".globl _start\n_start:\n mov x0, sp\n bl start\n");
#else
#error "raw.c knows the system calls of x86-64 and aarch64"
#endif

static size_t length(const char *s)
{
    size_t n = 0;
    for (; s[n] != '\0'; n++)
        __asm__ volatile(""); /* or the compiler makes a call of strlen of it */
    return n;
}

static void print(const char *s)
{
    (void)sys(SYS_write, 1, (long)s, (long)length(s), 0);
}

static void print_number(const char *what, long n)
{
    char text[24];
    size_t at = sizeof text - 1;
    unsigned long left = (unsigned long)(n < 0 ? -n : n);
    text[at] = '\0';
    do {
        text[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    print(what);
    print(n < 0 ? " -" : " ");
    print(text + at);
    print("\n");
}

static _Noreturn void leave(int code)
{
    for (;;)
        (void)sys(SYS_exit_group, code, 0, 0, 0);
}

static const char *path_of(const char *dir, const char *name)
{
    static char path[4096];
    size_t n = 0;
    for (; n < sizeof path - 2 && *dir != '\0'; n++)
        path[n] = *dir++;
    path[n++] = '/';
    for (; n < sizeof path - 1 && *name != '\0'; n++)
        path[n] = *name++;
    path[n] = '\0';
    return path;
}

static long open_at(const char *path)
{
    return sys(SYS_openat, AT_FDCWD, (long)path, O_RDONLY, 0);
}

static void read_file(const char *path)
{
    char text[65];
    long fd = open_at(path), n = fd < 0 ? fd : sys(SYS_read, fd, (long)text, sizeof text - 1, 0);
    print_number("read", n);
    text[n > 0 ? n : 0] = '\0';
    print(text);
    print("\n");
}

static bool same(const char *a, const char *b)
{
    for (; *a != '\0' && *a == *b; a++)
        b++;
    return *a == *b;
}

static void list(const char *dir)
{
    static char buffer[4096] __attribute__((aligned(8)));
    long fd = open_at(dir), n, count = 0;
    while ((n = sys(SYS_getdents64, fd, (long)buffer, sizeof buffer, 0)) > 0)
        for (long at = 0; at < n; at += *(const uint16_t *)(const void *)(buffer + at + 16)) /* d_reclen */
            count++;
    print_number("entries", count);
    print_number("end", n);
}

/* Eight processes, each of which reads many files. */
static void in_parallel(const char *tree)
{
    int status = 0;
    long worst = 0;
    for (int i = 0; i < 8; i++) {
        if (sys(SYS_clone, SIGCHLD_FLAG, 0, 0, 0) != 0)
            continue;
        for (int k = 0; k < 100; k++) {
            char text[8];
            long fd = open_at(path_of(tree, k % 2 == 0 ? "dir/a" : "many/f3"));
            if (fd < 0 || sys(SYS_read, fd, (long)text, sizeof text, 0) <= 0)
                leave(1);
            (void)sys(SYS_close, fd, 0, 0, 0);
        }
        leave(0);
    }
    for (int i = 0; i < 8; i++) {
        (void)sys(SYS_wait4, WAIT_ALL, (long)&status, 0, 0);
        worst |= status;
    }
    print_number("parallel", worst);
}

__attribute__((used)) _Noreturn void start(long *stack);

_Noreturn void start(long *stack)
{
    char **argv = (char **)(stack + 1);
    if (stack[0] != 3)
        leave(2);
    const char *row = argv[1], *tree = argv[2];
    struct stat st;
    if (same(row, "open")) {
        print_number("none", open_at(path_of(tree, "none")));
        read_file(path_of(tree, "abslink"));
    } else if (same(row, "read")) {
        read_file(path_of(tree, "file"));
    } else if (same(row, "stat")) {
        print_number("stat", sys(SYS_newfstatat, AT_FDCWD, (long)path_of(tree, "file"), (long)&st, 0));
        print_number("size", st.st_size);
        print_number("none", sys(SYS_newfstatat, AT_FDCWD, (long)path_of(tree, "none"), (long)&st, 0));
    } else if (same(row, "readdir")) {
        list(tree);
        list(path_of(tree, "many"));
    } else if (same(row, "chdir")) {
        char cwd[4096];
        print_number("chdir", sys(SYS_chdir, (long)path_of(tree, "dir"), 0, 0, 0));
        print(sys(SYS_getcwd, (long)cwd, sizeof cwd, 0, 0) > 0 ? cwd : "nowhere");
        print("\n");
        read_file("a");
        read_file("../file");
    } else if (same(row, "exec")) {
        char *const args[] = {(char *)(uintptr_t)path_of(tree, "bin/rows"), "say", "from raw", NULL};
        char *const none[] = {NULL};
        print_number("exec", sys(SYS_execve, (long)args[0], (long)args, (long)none, 0));
    } else if (same(row, "par")) {
        in_parallel(tree);
    }
    leave(0);
}
