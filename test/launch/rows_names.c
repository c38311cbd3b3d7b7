// SPDX-License-Identifier: Apache-2.0
/* Rows about names: looking up, listing, links, working directories, and what is not there. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "launch/rows.h"

/* Without the C library's wrappers: what it calls may be replaced, what the kernel sees may not. */
static void row_statx(void)
{
    struct statx st = {0};
    long rc = syscall(SYS_statx, AT_FDCWD, in_tree("file"), 0, STATX_BASIC_STATS, &st);
    tell("statx", rc);
    printf("mode %o size %llu time %lld.%09u all %d\n", st.stx_mode, (unsigned long long)st.stx_size,
           (long long)st.stx_mtime.tv_sec, st.stx_mtime.tv_nsec,
           (st.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
    tell("statx of none", syscall(SYS_statx, AT_FDCWD, in_tree("none"), 0, STATX_BASIC_STATS, &st));
}

static void row_statx_libc(void)
{
    static const char *const names[] = {"file", "dir", "rellink", "empty", "script.sh", "none", "big"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        tell_stat(in_tree(names[i]), true);
        tell_stat(in_tree(names[i]), false);
    }
    tell_stat(tree(), true);
}

static void row_fstatat_raw(void)
{
    struct stat st = {0};
    tell("fstatat", syscall(SYS_newfstatat, AT_FDCWD, in_tree("file"), &st, 0));
    printf("size %lld\n", (long long)st.st_size);
    int fd = open(in_tree("dir"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    tell("fstatat by descriptor", syscall(SYS_newfstatat, fd, "a", &st, AT_SYMLINK_NOFOLLOW));
    tell("fstatat of the descriptor", syscall(SYS_newfstatat, fd, "", &st, AT_EMPTY_PATH));
    printf("is a directory: %d\n", S_ISDIR(st.st_mode));
    close(fd);
}

static void row_faccessat2(void)
{
    tell("read", syscall(SYS_faccessat2, AT_FDCWD, in_tree("file"), R_OK, 0));
    tell("run", syscall(SYS_faccessat2, AT_FDCWD, in_tree("script.sh"), X_OK, AT_EACCESS));
    tell("run what cannot", syscall(SYS_faccessat2, AT_FDCWD, in_tree("file"), X_OK, 0));
    tell("none", syscall(SYS_faccessat2, AT_FDCWD, in_tree("none"), F_OK, 0));
    tell("access", access(in_tree("file"), R_OK));
}

static void row_readlinkat(void)
{
    static const char *const names[] = {"rellink", "abslink", "outlink", "dangling", "file"};
    int fd = open(tree(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char by_path[PATH_MAX] = "", by_fd[PATH_MAX] = "";
        tell(names[i], readlinkat(AT_FDCWD, in_tree(names[i]), by_path, sizeof by_path - 1));
        tell(names[i], readlinkat(fd, names[i], by_fd, sizeof by_fd - 1));
        printf("%s %s\n", by_path, by_fd);
    }
    close(fd);
}

static void row_openat2(void)
{
    struct open_how plain = {.flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
    struct open_how below = {.flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
    int dir = open(tree(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    long fd = syscall(SYS_openat2, AT_FDCWD, in_tree("file"), &plain, sizeof plain);
    tell("without links", fd);
    if (fd >= 0)
        tell_fd((int)fd);
    tell("a link", syscall(SYS_openat2, AT_FDCWD, in_tree("rellink"), &plain, sizeof plain));
    fd = syscall(SYS_openat2, dir, "dir/a", &below, sizeof below);
    tell("below", fd);
    if (fd >= 0)
        tell_fd((int)fd);
    tell("above", syscall(SYS_openat2, dir, "../outside/file", &below, sizeof below));
    close(dir);
}

/* Names that lead into, out of, or around in the tree by other ways than its own path. */
static void row_abslink(void)
{
    tell_content(in_tree("abslink"));
    tell_stat(in_tree("abslink"), true);
}

static void row_rellink(void)
{
    tell_content(in_tree("rellink"));
    tell_content(in_tree("dirlink/a"));
    tell_content(in_tree("dangling"));
}

static void row_outlink(void)
{
    tell_content(in_tree("outlink"));
}

static void row_inlink(void)
{
    tell_content(outside("inlink"));
    tell_content(outside("dirinlink/a"));
}

static void row_dslash(void)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "/%s//dir///a", tree());
    tell_content(path);
    snprintf(path, sizeof path, "%s/./dir/./a", tree());
    tell_content(path);
    snprintf(path, sizeof path, "%s/dir/", tree());
    tell_stat(path, true);
    snprintf(path, sizeof path, "%s/file/", tree());
    tell_content(path);
}

static void row_dotdot_in(void)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/../%s/file", tree(), strrchr(tree(), '/') + 1);
    tell_content(path);
    snprintf(path, sizeof path, "%s/../%s/file", outside("."), strrchr(tree(), '/') + 1);
    tell_content(path);
    tell_content(in_tree("dir/../file"));
    tell_content(in_tree("dirlink/../file"));
}

static void row_dotdot_out(void)
{
    tell_content(in_tree("../outside/file"));
    tell_content(in_tree("dir/../../outside/file"));
}

static void row_rootfd(void)
{
    int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
        fd = openat(root, in_tree("file") + 1, O_RDONLY | O_CLOEXEC);
    tell("openat below /", fd);
    if (fd >= 0)
        tell_fd(fd);
    close(root);
}

static void row_dirfd(void)
{
    struct stat st;
    int dir = open(in_tree("dir"), O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = openat(dir, "a", O_RDONLY | O_CLOEXEC);
    tell("openat", fd);
    if (fd >= 0)
        tell_fd(fd);
    tell("fstatat", fstatat(dir, "deep/b", &st, 0));
    tell("faccessat", faccessat(dir, "a", R_OK, 0));
    tell("none", openat(dir, "none", O_RDONLY | O_CLOEXEC));
    close(dir);
}

static void row_dirfd_dotdot(void)
{
    int dir = open(in_tree("dir"), O_RDONLY | O_DIRECTORY | O_CLOEXEC),
        fd = openat(dir, "../file", O_RDONLY | O_CLOEXEC);
    tell("within", fd);
    if (fd >= 0)
        tell_fd(fd);
    fd = openat(dir, "../../outside/file", O_RDONLY | O_CLOEXEC);
    tell("out", fd);
    if (fd >= 0)
        tell_fd(fd);
    close(dir);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct entry64 {
    uint64_t ino;
    int64_t next;
    uint16_t length;
    uint8_t type;
    char name[];
};

enum { NAMES_MAX = 512 };

/* All entries of an open directory, as "type name", sorted. */
static size_t read_entries(int fd, char **names)
{
    static char buffer[4096] __attribute__((aligned(8))); /* small: it takes several calls */
    size_t count = 0;
    long n;
    while ((n = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
        for (long at = 0; at < n;) {
            const struct entry64 *e = (const struct entry64 *)(const void *)(buffer + at);
            expect(count < NAMES_MAX && asprintf(&names[count], "%d %s", e->type, e->name) > 0, "names fit");
            count++;
            at += e->length;
        }
    tell("getdents64", n);
    qsort(names, count, sizeof names[0], by_name);
    return count;
}

static void row_getdents(void)
{
    static char *names[NAMES_MAX], *again[NAMES_MAX];
    static const char *const dirs[] = {"", "dir", "many"};
    for (size_t d = 0; d < sizeof dirs / sizeof dirs[0]; d++) {
        int fd = open(in_tree(dirs[d]), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        expect(fd >= 0, "a directory can be opened");
        size_t count = read_entries(fd, names);
        for (size_t i = 0; i < count; i++)
            printf("%s\n", names[i]);
        expect(lseek(fd, 0, SEEK_SET) == 0 && read_entries(fd, again) == count, "the same once more");
        for (size_t i = 0; i < count; i++) {
            expect(strcmp(names[i], again[i]) == 0, "the same name once more");
            free(names[i]);
            free(again[i]);
        }
        close(fd);
    }
}

static void row_seekdir(void)
{
    DIR *dir = opendir(in_tree("many"));
    expect(dir != NULL, "a directory can be opened");
    char first[300] = "";
    long at = -1;
    const struct dirent *e;
    for (int i = 0; (e = readdir(dir)) != NULL; i++) {
        if (i == 20)
            at = telldir(dir);
        if (i == 21)
            snprintf(first, sizeof first, "%s", e->d_name);
    }
    seekdir(dir, at);
    e = readdir(dir);
    printf("the same after seekdir: %d\n", e != NULL && strcmp(e->d_name, first) == 0);
    closedir(dir);
}

/* The tree is seen in the directory that it lies in. */
static void row_lsroot(void)
{
    DIR *dir = opendir(in_tree(".."));
    const struct dirent *e;
    const char *name = strrchr(tree(), '/') + 1;
    expect(dir != NULL, "a directory can be opened");
    while ((e = readdir(dir)) != NULL)
        if (strcmp(e->d_name, name) == 0)
            printf("%s is there, type %d\n", name, e->d_type);
    closedir(dir);
}

static size_t visited;
static long long visited_bytes;

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path, (void)ftw;
    visited += type == FTW_F || type == FTW_D || type == FTW_SL ? 1 : 1000;
    visited_bytes += S_ISDIR(st->st_mode) ? 0 : st->st_size;
    return 0;
}

static void row_nftw(void)
{
    tell("nftw", nftw(tree(), visit, 8, FTW_PHYS) == 0 ? 0 : -1);
    printf("%zu entries, %lld bytes\n", visited, visited_bytes);
}

static void row_glob(void)
{
    glob_t g = {0};
    printf("glob %d\n", glob(in_tree("dir/*"), 0, NULL, &g));
    for (size_t i = 0; i < g.gl_pathc; i++)
        printf("%s\n", g.gl_pathv[i]);
    globfree(&g);
    printf("glob %d\n", glob(in_tree("many/f*7"), 0, NULL, &g));
    printf("%zu\n", g.gl_pathc);
    globfree(&g);
}

static void row_realpath(void)
{
    static const char *const names[] = {"dir/../rellink", "abslink", "dirlink/deep/../a", "outlink", "none"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char real[PATH_MAX];
        if (realpath(in_tree(names[i]), real) != NULL)
            printf("%s\n", real);
        else
            tell(names[i], -1);
    }
}

static void tell_where(void)
{
    char cwd[PATH_MAX];
    printf("in %s\n", getcwd(cwd, sizeof cwd) != NULL ? cwd : strerrorname_np(errno));
}

static void row_chdir(void)
{
    tell("chdir", chdir(in_tree("dir")));
    tell_where();
    tell_content("a");
    tell_stat("../file", true);
    tell("up", chdir(".."));
    tell_where();
    tell_content("dir/a");
    tell("out", chdir(".."));
    tell_where();
    tell_content("outside/file");
    tell("to a file", chdir(in_tree("file")));
    tell("to none", chdir(in_tree("none")));
}

static void row_fchdir(void)
{
    int dir = open(in_tree("dir"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int path = open(in_tree("many"), O_PATH | O_CLOEXEC);
    tell("fchdir", fchdir(dir));
    tell_where();
    tell_content("deep/b");
    tell("fchdir by O_PATH", fchdir(path));
    tell_where();
    close(dir);
    close(path);
}

/* A directory's inode number is that of its entry, and stays. */
static void row_statino(void)
{
    struct stat a, b;
    DIR *dir = opendir(in_tree("dir"));
    const struct dirent *e;
    expect(dir != NULL, "a directory can be opened");
    while ((e = readdir(dir)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        char name[300];
        snprintf(name, sizeof name, "dir/%s", e->d_name);
        expect(lstat(in_tree(name), &a) == 0 && lstat(in_tree(name), &b) == 0, "an entry is there");
        printf("%d %d %d\n", a.st_ino == b.st_ino, a.st_dev == b.st_dev, a.st_ino == e->d_ino);
    }
    closedir(dir);
    expect(stat(in_tree("file"), &a) == 0 && stat(in_tree("empty"), &b) == 0, "files are there");
    printf("different: %d\n", a.st_ino != b.st_ino);
}

static void row_enoent(void)
{
    struct stat st;
    tell("open", open(in_tree("none"), O_RDONLY | O_CLOEXEC));
    tell("stat", stat(in_tree("none"), &st));
    tell("below none", stat(in_tree("none/x"), &st));
    tell("below a file", stat(in_tree("file/x"), &st));
    tell("a directory as a file", open(in_tree("dir"), O_WRONLY | O_CLOEXEC));
    tell("a file as a directory", open(in_tree("file"), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    tell("a link not followed", open(in_tree("rellink"), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    char name[300] = "";
    memset(name, 'n', 256);
    tell("too long", stat(in_tree(name), &st));
}

static void row_rofs(void)
{
    tell("write", open(in_tree("file"), O_WRONLY | O_CLOEXEC));
    tell("create", open(in_tree("new"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    tell("mkdir", mkdir(in_tree("new"), 0755));
    tell("unlink", unlink(in_tree("file")));
    tell("rename", rename(in_tree("file"), in_tree("other")));
    tell("chmod", chmod(in_tree("file"), 0600));
}

static void row_xattr(void)
{
    char value[64] = "", list[1024] = "";
    ssize_t n = getxattr(in_tree("file"), "user.accept", value, sizeof value - 1);
    tell("getxattr", n);
    printf("%s\n", value);
    tell("none", getxattr(in_tree("file"), "user.none", value, sizeof value));
    n = listxattr(in_tree("file"), list, sizeof list - 1);
    bool listed = false;
    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(list + at) + 1)
        listed = listed || strcmp(list + at, "user.accept") == 0;
    printf("listed: %d\n", listed);
}

/* Names of all bytes but / and NUL, and of the greatest length. */
static void row_names(void)
{
    DIR *dir = opendir(in_tree("odd"));
    const struct dirent *e;
    static char *names[NAMES_MAX];
    size_t count = 0;
    expect(dir != NULL, "a directory can be opened");
    while ((e = readdir(dir)) != NULL)
        if (e->d_name[0] != '.')
            expect(count < NAMES_MAX && (names[count++] = strdup(e->d_name)) != NULL, "names fit");
    closedir(dir);
    qsort(names, count, sizeof names[0], by_name);
    for (size_t i = 0; i < count; i++) {
        char name[300];
        snprintf(name, sizeof name, "odd/%s", names[i]);
        tell_sum("name", names[i], strlen(names[i]));
        int fd = open(in_tree(name), O_RDONLY | O_CLOEXEC);
        tell("open", fd);
        if (fd >= 0)
            tell_fd(fd);
        free(names[i]);
    }
}

const struct row rows_names[] = {{"statx", row_statx},
                                 {"statx-libc", row_statx_libc},
                                 {"fstatat-raw", row_fstatat_raw},
                                 {"faccessat2", row_faccessat2},
                                 {"readlinkat", row_readlinkat},
                                 {"openat2", row_openat2},
                                 {"abslink", row_abslink},
                                 {"rellink", row_rellink},
                                 {"outlink", row_outlink},
                                 {"inlink", row_inlink},
                                 {"dslash", row_dslash},
                                 {"dotdot-in", row_dotdot_in},
                                 {"dotdot-out", row_dotdot_out},
                                 {"rootfd", row_rootfd},
                                 {"dirfd", row_dirfd},
                                 {"dirfd-dotdot", row_dirfd_dotdot},
                                 {"getdents", row_getdents},
                                 {"seekdir", row_seekdir},
                                 {"lsroot", row_lsroot},
                                 {"nftw", row_nftw},
                                 {"glob", row_glob},
                                 {"realpath", row_realpath},
                                 {"chdir", row_chdir},
                                 {"fchdir", row_fchdir},
                                 {"statino", row_statino},
                                 {"enoent", row_enoent},
                                 {"rofs", row_rofs},
                                 {"xattr", row_xattr},
                                 {"names", row_names},
                                 {NULL, NULL}};
