// SPDX-License-Identifier: Apache-2.0
/* The start of a program. The kernel opens a script's interpreter and an ELF file's loader by the names that are in them:
 * where these are served, we start them ourselves, with the words that the kernel would have given them. */
#include <errno.h>
#include <fcntl.h>

#include "front/preload/ask.h"
#include "front/preload/program.h"
#include "front/preload/stub.h"
#include "front/preload/stub_find.h"

/* ---- the environment ---- */

static size_t count_of(char *const *list)
{
    size_t n = 0;
    while (list != NULL && list[n] != NULL)
        n++;
    return n;
}

/* The value, if the entry is this variable. */
static const char *value_of(const char *entry, const char *name)
{
    size_t n = tl_length(name);
    return tl_same(entry, name, n) && entry[n] == '=' ? entry + n + 1 : NULL;
}

static const char *find_value(char *const *envp, const char *name)
{
    for (; envp != NULL && *envp != NULL; envp++)
        if (value_of(*envp, name) != NULL)
            return value_of(*envp, name);
    return NULL;
}

static bool contains(const char *text, const char *what)
{
    size_t n = tl_length(what);
    for (; text != NULL && *text != '\0'; text++)
        if (tl_same(text, what, n))
            return true;
    return false;
}

static char *append(char *at, const char *text)
{
    size_t n = tl_length(text);
    tl_copy(at, text, n + 1);
    return at + n;
}

/* One "NAME=FOLDER/FILE:THEIRS". */
static char *write_library(char *at, const char *name, const char *file, const char *theirs)
{
    const struct tl_paths *p = tl_stub_paths();
    at = append(append(append(append(append(at, name), "="), p->folder), "/"), file);
    return theirs != NULL && *theirs != '\0' ? append(append(at, ":"), theirs) : at;
}

/* The words of tl_paths_parse again. */
static char *write_paths(char *at)
{
    const struct tl_paths *p = tl_stub_paths();
    at = append(at, TL_PATHS_VARIABLE "=");
    at = append(append(append(at, p->absent ? "a" : ""), p->notified ? "n" : ""), p->audited ? "l" : "");
    at = append(append(append(append(at, ":"), p->socket), ":"), p->folder);
    for (size_t i = 0; i < p->count; i++) {
        at = append(append(append(append(at, ":"), p->pairs[i].path), ":"), p->pairs[i].tree);
        at = append(append(at, ":"), p->pairs[i].index);
    }
    return at;
}

static bool env_is_complete(char *const *envp)
{
    const struct tl_paths *p = tl_stub_paths();
    return find_value(envp, TL_PATHS_VARIABLE) != NULL && contains(find_value(envp, "LD_PRELOAD"), TL_STUB_FILE) &&
           (!p->audited || contains(find_value(envp, "LD_AUDIT"), TL_AUDIT_FILE));
}

static size_t env_text_max(char *const *envp)
{
    const char *preload = find_value(envp, "LD_PRELOAD"), *audit = find_value(envp, "LD_AUDIT");
    return TL_PATHS_TEXT + 4 * PATH_MAX + (preload != NULL ? tl_length(preload) : 0) +
           (audit != NULL ? tl_length(audit) : 0);
}

/* A copy with our variables, into room for three entries more, and text. */
static void write_env(char *const *envp, char **out, char *text)
{
    const struct tl_paths *p = tl_stub_paths();
    const char *preload = find_value(envp, "LD_PRELOAD"), *audit = find_value(envp, "LD_AUDIT");
    for (; envp != NULL && *envp != NULL; envp++)
        if (value_of(*envp, TL_PATHS_VARIABLE) == NULL && value_of(*envp, "LD_PRELOAD") == NULL &&
            (!p->audited || value_of(*envp, "LD_AUDIT") == NULL))
            *out++ = *envp;
    *out++ = text;
    text = write_paths(text) + 1;
    *out++ = text;
    text = write_library(text, "LD_PRELOAD", TL_STUB_FILE, contains(preload, TL_STUB_FILE) ? NULL : preload) + 1;
    if (p->audited) {
        *out++ = text;
        write_library(text, "LD_AUDIT", TL_AUDIT_FILE, contains(audit, TL_AUDIT_FILE) ? NULL : audit);
    }
    *out = NULL;
}

/* ---- the start ---- */

/* Words first, then argv from its second on. */
static void write_argv(char **out, const char *const *words, char *const *argv)
{
    for (; *words != NULL; words++)
        *out++ = (char *)(uintptr_t)*words;
    for (size_t i = 1; argv != NULL && argv[0] != NULL && argv[i] != NULL; i++)
        *out++ = argv[i];
    *out = NULL;
}

static const char *keep(char *room, const char *text)
{
    tl_copy(room, text, tl_length(text) + 1);
    return room;
}

/* A program that is started by its descriptor, which may have been opened with O_PATH: that fills nothing. */
static void fill_descriptor(int fd)
{
    const struct tl_paths *p = tl_stub_paths();
    char name[PATH_MAX], real[PATH_MAX];
    bool in_tree = false;
    const struct tl_path_pair *pair = tl_find_start(p, fd, name, &in_tree) && in_tree ? tl_paths_match(p, name) : NULL;
    if (pair != NULL && tl_paths_map(pair, name, real))
        (void)tl_ask_fill_if_needed(p, real);
}

long tl_stub_start(int dir, const char *path, char *const *argv, char *const *envp, int flags, tl_stub_go go, void *ctx)
{
    char real[PATH_MAX];
    struct tl_program p;
    if (tl_stub_paths() == NULL || path == NULL)
        return go(ctx, dir, path, argv, envp, flags);
    if (!env_is_complete(envp)) { /* env -i, or a list of its own: what it starts needs us, too */
        char **all = __builtin_alloca((count_of(envp) + 4) * sizeof *all);
        write_env(envp, all, __builtin_alloca(env_text_max(envp)));
        envp = all;
    }
    if (path[0] == '\0' && dir >= 0)
        fill_descriptor(dir);
    for (int depth = 0; depth < TL_SCRIPTS_MAX && path[0] != '\0'; depth++) {
        bool served = tl_stub_locate_file(dir, path, (flags & AT_SYMLINK_NOFOLLOW) == 0, real) == 1;
        const char *file = served ? keep(__builtin_alloca(PATH_MAX), real) : path;
        int from = served ? AT_FDCWD : dir;
        tl_program_inspect(&p, from, file);
        bool inner = p.kind != TL_PROGRAM_OTHER && tl_stub_locate_file(AT_FDCWD, p.interpreter, true, real) == 1;
        if (p.kind == TL_PROGRAM_OTHER || (!inner && (p.kind == TL_PROGRAM_DYNAMIC || (!served && depth == 0))))
            return go(ctx, from, file, argv, envp, served ? 0 : flags);
        char **words = __builtin_alloca((count_of(argv) + 5) * sizeof *words);
        const char *name = keep(__builtin_alloca(tl_length(p.interpreter) + 1), p.interpreter);
        if (p.kind == TL_PROGRAM_DYNAMIC) { /* the loader takes a name without a slash for a library */
            const char *own = argv != NULL && argv[0] != NULL ? argv[0] : path;
            write_argv(words, (const char *const[]){name, "--argv0", own, file, NULL}, argv);
            return go(ctx, AT_FDCWD, keep(__builtin_alloca(PATH_MAX), real), words, envp, 0);
        }
        const char *word = p.word != NULL ? keep(__builtin_alloca(tl_length(p.word) + 1), p.word) : NULL;
        tl_program_inspect(&p, AT_FDCWD, inner ? real : name);
        const char *script = p.kind == TL_PROGRAM_OTHER || from != AT_FDCWD || dir != AT_FDCWD ? file : path;
        write_argv(words, (const char *const[]){name, word != NULL ? word : script, word != NULL ? script : NULL, NULL},
                   argv);
        argv = words;
        path = name;
        dir = AT_FDCWD;
        flags = 0;
    }
    return path[0] != '\0' ? -ELOOP : go(ctx, dir, path, argv, envp, flags);
}

static long go_exec(void *ctx, int dir, const char *path, char *const *argv, char *const *envp, int flags)
{
    (void)ctx;
    if (dir == AT_FDCWD && flags == 0)
        return tl_raw3(SYS_execve, tl_arg(path), tl_arg(argv), tl_arg(envp));
    return tl_raw(SYS_execveat, dir, tl_arg(path), tl_arg(argv), tl_arg(envp), flags, 0);
}

long tl_stub_exec(int dir, const char *path, char *const *argv, char *const *envp, int flags)
{
    return tl_stub_start(dir, path, argv, envp, flags, go_exec, NULL);
}
