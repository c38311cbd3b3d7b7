// SPDX-License-Identifier: Apache-2.0
/* The rows' program: choosing a row, and what rows print; see rows.h. */
#include "launch/rows.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROW_LIMIT_S 20 /* a row that hangs is ended by SIGALRM */

static const char *tree_path, *outside_path;

const char *tree(void)
{
    return tree_path;
}

static const char *joined(const char *dir, const char *name)
{
    static char paths[8][2 * PATH_MAX];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

const char *in_tree(const char *name)
{
    return joined(tree_path, name);
}

const char *outside(const char *name)
{
    return joined(outside_path, name);
}

void expect(bool holds, const char *what)
{
    if (holds)
        return;
    int code = errno;
    fflush(stdout);
    fprintf(stderr, "not so: %s (%s)\n", what, strerrorname_np(code) != NULL ? strerrorname_np(code) : "?");
    _exit(1);
}

void tell(const char *what, long result)
{
    printf("%s: %s\n", what, result >= 0 ? "ok" : strerrorname_np(errno));
}

void tell_fd(int fd)
{
    char text[65];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    expect(n >= 0, "a file can be read");
    text[n] = '\0';
    printf("content: %s\n", text);
    close(fd);
}

void tell_content(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        tell(path, -1);
    else
        tell_fd(fd);
}

void tell_stat(const char *path, bool follow)
{
    struct stat st;
    int rc = follow ? stat(path, &st) : lstat(path, &st);
    if (rc != 0)
        tell(path, -1);
    else
        printf("%s: mode %o size %lld uid %u gid %u time %lld.%09ld\n", path, st.st_mode,
               S_ISDIR(st.st_mode) ? 0LL : (long long)st.st_size, st.st_uid, st.st_gid, (long long)st.st_mtim.tv_sec,
               st.st_mtim.tv_nsec);
}

void tell_child(int pid)
{
    int status = 0;
    expect(pid > 0 && waitpid(pid, &status, 0) == pid, "a child can be waited for");
    printf("child: %s %d\n", WIFEXITED(status) ? "exit" : "signal",
           WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

void tell_sum(const char *what, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    uint64_t sum = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        sum = (sum ^ p[i]) * 1099511628211u;
    printf("%s: %zu bytes, sum %016llx\n", what, len, (unsigned long long)sum);
}

/* What rows execute: proof that a program started, and that it finds the tree. */
static int executed(int argc, char **argv)
{
    if (strcmp(argv[1], "say") == 0) {
        printf("said:");
        for (int i = 2; i < argc; i++)
            printf(" %s", argv[i]);
        printf("\n");
        return 0;
    }
    if (strcmp(argv[1], "exe") == 0) { /* what am I? */
        char self[PATH_MAX] = "", magic[4] = "";
        expect(readlink("/proc/self/exe", self, sizeof self - 1) > 0, "/proc/self/exe can be read");
        int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        expect(fd >= 0 && read(fd, magic, 4) == 4 && magic[1] == 'E', "/proc/self/exe can be opened");
        close(fd);
        printf("exe: %s\n", self);
        return 0;
    }
    return -1;
}

int main(int argc, char **argv)
{
    static const struct row *const tables[] = {rows_names, rows_data, rows_exec, rows_sandbox};
    int code = argc > 1 ? executed(argc, argv) : -1;
    if (code >= 0)
        return code;
    if (argc != 4) {
        fputs("usage: rows NAME TREE OUTSIDE\n", stderr);
        return 2;
    }
    tree_path = argv[2];
    outside_path = argv[3];
    alarm(ROW_LIMIT_S);
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (const struct row *row = tables[i]; row->name != NULL; row++)
            if (strcmp(row->name, argv[1]) == 0) {
                row->run();
                return fflush(stdout) == 0 ? 0 : 1;
            }
    fprintf(stderr, "rows: no row %s\n", argv[1]);
    return 2;
}
