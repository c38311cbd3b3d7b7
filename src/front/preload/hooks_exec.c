// SPDX-License-Identifier: Apache-2.0
/* Hooks: what starts programs. */
#include <stdarg.h>

#include "front/preload/hooks.h"

/* Of the program's C library. */
extern char **environ __attribute__((weak));

static int exec_at(int dir, const char *path, char *const *argv, char *const *envp, int flags)
{
    return (int)tl_stub_libc(tl_stub_exec(dir, path, argv, envp, flags));
}

HOOK(int, execve, const char *path, char *const *argv, char *const *envp)
{
    return exec_at(AT_FDCWD, path, argv, envp, 0);
}

HOOK(int, execv, const char *path, char *const *argv)
{
    return exec_at(AT_FDCWD, path, argv, environ, 0);
}

HOOK(int, execveat, int dir, const char *path, char *const *argv, char *const *envp, int flags)
{
    return exec_at(dir, path, argv, envp, flags);
}

HOOK(int, fexecve, int fd, char *const *argv, char *const *envp)
{
    return exec_at(fd, "", argv, envp, AT_EMPTY_PATH);
}

/* ---- along PATH ---- */

static const char *search_path(void)
{
    for (char **e = environ; e != NULL && *e != NULL; e++)
        if (tl_same(*e, "PATH=", 5))
            return *e + 5;
    return "/bin:/usr/bin";
}

static bool has_slash(const char *name)
{
    return tl_last_slash(name) != NULL;
}

/* The next directory of a search path with the name behind it; NULL: too long. *at moves on, to NULL at the end. */
static const char *candidate(const char **at, const char *name, char out[PATH_MAX])
{
    size_t n = 0, len = tl_length(name);
    const char *dir = *at;
    while (dir[n] != '\0' && dir[n] != ':')
        n++;
    *at = dir[n] == ':' ? dir + n + 1 : NULL;
    if (n + len + 2 > PATH_MAX)
        return NULL;
    tl_copy(out, dir, n);
    if (n > 0)
        out[n++] = '/';
    tl_copy(out + n, name, len + 1);
    return out;
}

/* What starts a program at a path; a text without "#!" is a script of the shell's. */
static long start_or_shell(const char *path, char *const *argv, char *const *envp, tl_stub_go go, void *ctx, bool shell)
{
    size_t n = 0;
    long rc = tl_stub_start(AT_FDCWD, path, argv, envp, 0, go, ctx);
    if (rc != -ENOEXEC || !shell)
        return rc;
    while (argv[n] != NULL)
        n++;
    const char **words = __builtin_alloca((n + 3) * sizeof *words);
    words[0] = "/bin/sh";
    words[1] = path;
    for (size_t i = 1; i <= n; i++)
        words[i + 1] = argv[i];
    words[n > 0 ? n + 1 : 2] = NULL;
    return tl_stub_start(AT_FDCWD, words[0], (char *const *)(uintptr_t)words, envp, 0, go, ctx);
}

static long search(const char *name, char *const *argv, char *const *envp, tl_stub_go go, void *ctx, bool shell)
{
    char path[PATH_MAX];
    long rc = -ENOENT, refused = 0;
    if (name[0] == '\0')
        return -ENOENT;
    if (has_slash(name))
        return start_or_shell(name, argv, envp, go, ctx, shell);
    for (const char *at = search_path(); at != NULL;) {
        if (candidate(&at, name, path) == NULL)
            continue;
        rc = tl_stub_call(SYS_access, tl_arg(path), 1 /* X_OK */, 0, 0, 0, 0); /* a child is dear */
        if (rc == 0)
            rc = start_or_shell(path, argv, envp, go, ctx, shell);
        if (rc == -EACCES)
            refused = rc; /* there may be another one */
        else if (rc != -ENOENT && rc != -ENOTDIR && rc != -ESTALE && rc != -ENODEV && rc != -ETIMEDOUT)
            return rc;
    }
    return refused != 0 ? refused : rc;
}

static long go_exec(void *ctx, int dir, const char *path, char *const *argv, char *const *envp, int flags)
{
    (void)ctx, (void)flags, (void)dir;
    return tl_raw3(SYS_execve, tl_arg(path), tl_arg(argv), tl_arg(envp));
}

HOOK(int, execvpe, const char *name, char *const *argv, char *const *envp)
{
    return (int)tl_stub_libc(search(name, argv, envp, go_exec, NULL, true));
}

HOOK(int, execvp, const char *name, char *const *argv)
{
    return (int)tl_stub_libc(search(name, argv, environ, go_exec, NULL, true));
}

/* ---- with the words as arguments ---- */

static size_t count_words(va_list *list)
{
    size_t n = 1;
    while (va_arg(*list, char *) != NULL)
        n++;
    return n;
}

/* first and the list's words, with their NULL. */
static void take_words(const char **out, const char *first, va_list *list)
{
    *out++ = first;
    for (const char *word = first; word != NULL;)
        *out++ = word = va_arg(*list, const char *);
}

#define WORDS(words, first)                                                                                            \
    va_list list;                                                                                                      \
    va_start(list, first);                                                                                             \
    const char **words = __builtin_alloca((count_words(&list) + 1) * sizeof *words);                                   \
    va_end(list);                                                                                                      \
    va_start(list, first);                                                                                             \
    take_words(words, first, &list)

HOOK(int, execl, const char *path, const char *first, ...)
{
    WORDS(words, first);
    va_end(list);
    return exec_at(AT_FDCWD, path, (char *const *)(uintptr_t)words, environ, 0);
}

HOOK(int, execle, const char *path, const char *first, ...)
{
    WORDS(words, first);
    char *const *envp = va_arg(list, char *const *);
    va_end(list);
    return exec_at(AT_FDCWD, path, (char *const *)(uintptr_t)words, envp, 0);
}

HOOK(int, execlp, const char *name, const char *first, ...)
{
    WORDS(words, first);
    va_end(list);
    return (int)tl_stub_libc(search(name, (char *const *)(uintptr_t)words, environ, go_exec, NULL, true));
}

/* ---- posix_spawn: gives a positive error ---- */

typedef int (*spawn_fn)(int *, const char *, const void *, const void *, char *const *, char *const *);

struct spawn {
    spawn_fn next;
    int *pid;
    const void *actions, *attributes;
};

static long go_spawn(void *ctx, int dir, const char *path, char *const *argv, char *const *envp, int flags)
{
    const struct spawn *s = ctx;
    (void)dir, (void)flags;
    return -s->next(s->pid, path, s->actions, s->attributes, argv, envp);
}

static int spawn(int *pid, const char *path, const void *actions, const void *attributes, char *const *argv,
                 char *const *envp, bool along)
{
    struct spawn s = {(spawn_fn)(uintptr_t)tl_stub_next("posix_spawn"), pid, actions, attributes};
    if (s.next == NULL)
        return ENOSYS;
    if (along)
        return (int)-search(path, argv, envp, go_spawn, &s, false);
    return (int)-tl_stub_start(AT_FDCWD, path, argv, envp, 0, go_spawn, &s);
}

HOOK(int, posix_spawn, int *pid, const char *path, const void *actions, const void *attributes, char *const *argv,
     char *const *envp)
{
    return spawn(pid, path, actions, attributes, argv, envp, false);
}

HOOK(int, posix_spawnp, int *pid, const char *name, const void *actions, const void *attributes, char *const *argv,
     char *const *envp)
{
    return spawn(pid, name, actions, attributes, argv, envp, true);
}

typedef int (*add_open_fn)(void *, int, const char *, int, unsigned);
typedef int (*add_chdir_fn)(void *, const char *);

HOOK(int, posix_spawn_file_actions_addopen, void *actions, int fd, const char *path, int flags, unsigned mode)
{
    char real[PATH_MAX];
    add_open_fn next = (add_open_fn)(uintptr_t)tl_stub_next("posix_spawn_file_actions_addopen");
    bool served = path != NULL && path[0] == '/' && tl_stub_locate(AT_FDCWD, path, true, real) == 1;
    return next != NULL ? next(actions, fd, served ? real : path, flags, mode) : ENOSYS;
}

HOOK(int, posix_spawn_file_actions_addchdir_np, void *actions, const char *path)
{
    char real[PATH_MAX];
    add_chdir_fn next = (add_chdir_fn)(uintptr_t)tl_stub_next("posix_spawn_file_actions_addchdir_np");
    bool served = path != NULL && path[0] == '/' && tl_stub_locate(AT_FDCWD, path, true, real) == 1;
    return next != NULL ? next(actions, served ? real : path) : ENOSYS;
}
