// SPDX-License-Identifier: Apache-2.0
/* The auditor: tells the loader where served libraries are (LD_AUDIT, see rtld-audit(7)). It is linked without any library:
 * one that depends on the C library would have the loader search the program's paths before the auditor is there, and
 * remember served directories as missing.
 *
 * The loader remembers a directory as missing as soon as one library was not found in it, since it asks the kernel, not us.
 * So when it has come to its own directories, the program's are looked through again. It calls us under its lock. */
#include <elf.h>
#include <link.h>

#include "front/preload/ask.h"
#include "front/preload/raw.h"

#include <fcntl.h>

#define AUDIT_API __attribute__((visibility("default")))

unsigned int la_version(unsigned int version);
char *la_objsearch(const char *name, uintptr_t *cookie, unsigned int flag);

static struct tl_paths paths;
static bool served;
static const char *library_path;

static const char *variable(char *const *envp, const char *name)
{
    size_t n = tl_length(name);
    for (; *envp != NULL; envp++)
        if (tl_same(*envp, name, n) && (*envp)[n] == '=')
            return *envp + n + 1;
    return NULL;
}

static __attribute__((constructor)) void start(int argc, char **argv, char **envp)
{
    (void)argc, (void)argv;
    const char *words = variable(envp, TL_PATHS_VARIABLE);
    served = words != NULL && tl_paths_parse(&paths, words);
    library_path = variable(envp, "LD_LIBRARY_PATH");
}

AUDIT_API unsigned int la_version(unsigned int version)
{
    return served ? version : 0; /* 0: leave us out */
}

/* Where a served file is, filled; NULL: it is not served. In memory that the next call uses again. */
static char *find(const char *name)
{
    static struct tl_walk w;
    if (name[0] == '/' && tl_paths_match_tree(&paths, name) != NULL) { /* by way of $ORIGIN */
        (void)tl_ask_fill_if_needed(&paths, name);
        return NULL;
    }
    if (name[0] != '/' || !tl_paths_touch(&paths, "/", name) ||
        tl_paths_walk(&paths, "/", name, TL_WALK_FOLLOW, NULL, &w) != 0)
        return NULL;
    if (w.pair != NULL && tl_ask_fill_if_needed(&paths, w.real) != 0)
        return NULL; /* missing; or the source's own may do */
    return w.real;
}

/* dir/base, if that is a served file. */
static char *find_in(const char *dir, size_t dir_len, const char *base)
{
    char name[PATH_MAX];
    size_t n = tl_length(base);
    struct stat st;
    if (dir_len == 0 || dir[0] != '/' || dir_len + n + 2 > sizeof name)
        return NULL;
    tl_copy(name, dir, dir_len);
    name[dir_len] = '/';
    tl_copy(name + dir_len + 1, base, n + 1);
    char *real = find(name);
    bool there = real != NULL && tl_raw4(SYS_newfstatat, AT_FDCWD, tl_arg(real), tl_arg(&st), 0) == 0;
    return there ? real : NULL;
}

/* Through a list of directories, separated by ':'. */
static char *find_in_list(const char *list, const char *base)
{
    for (const char *at = list; at != NULL && *at != '\0';) {
        size_t n = 0;
        while (at[n] != '\0' && at[n] != ':')
            n++;
        char *real = find_in(at, n, base);
        if (real != NULL)
            return real;
        at += n + (at[n] == ':');
    }
    return NULL;
}

static const char *text_of(const struct link_map *map, int64_t tag)
{
    const char *strings = NULL;
    const ElfW(Dyn) *found = NULL;
    for (const ElfW(Dyn) *d = map->l_ld; d != NULL && d->d_tag != DT_NULL; d++) {
        if (d->d_tag == DT_STRTAB)
            strings = (const char *)d->d_un.d_ptr;
        else if (d->d_tag == tag)
            found = d;
    }
    return strings != NULL && found != NULL ? strings + found->d_un.d_val : NULL;
}

/* In the program's directories, in the loader's order. */
static char *find_again(const struct link_map *map, const char *base)
{
    const char *runpath = text_of(map, DT_RUNPATH);
    char *real = NULL;
    if (runpath == NULL) {
        const struct link_map *program = map;
        while (program->l_prev != NULL) /* RPATHs of what loaded it hold, too: at least the program's */
            program = program->l_prev;
        real = find_in_list(text_of(map, DT_RPATH), base);
        if (real == NULL && program != map && text_of(program, DT_RUNPATH) == NULL)
            real = find_in_list(text_of(program, DT_RPATH), base);
    }
    if (real == NULL)
        real = find_in_list(library_path, base);
    return real != NULL ? real : find_in_list(runpath, base);
}

AUDIT_API char *la_objsearch(const char *name, uintptr_t *cookie, unsigned int flag)
{
    char *real = find(name);
    const char *slash = tl_last_slash(name);
    if (real == NULL && slash != NULL && cookie != NULL && *cookie != 0 &&
        (flag == LA_SER_CONFIG || flag == LA_SER_DEFAULT))
        real =
            find_again((const struct link_map *)*cookie, slash + 1); /* NOLINT: the loader's map, by its own promise */
    return real != NULL ? real : (char *)(uintptr_t)name;
}
