// SPDX-License-Identifier: Apache-2.0
/* The command starts at the prefix: its words, some variables of the environment, and the working directory say so. Only whole
 * words and elements of lists are changed: a path in the text of a script stays what it is, and leads to the source. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "front/launch/fault.h"

/* Lists of paths, or single ones, that say where programs and what they load lie. */
static const char *const variables[] = {"PATH",        "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME",
                                        "VIRTUAL_ENV", "CONDA_PREFIX",    "PERL5LIB",   "R_LIBS"};

/* The tree whose source path is, or lies below; at: how much of path that takes. */
static const struct tl_tree *tree_for(const char *path, size_t len, struct tl_tree *const *trees,
                                      const struct tl_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        size_t n = strlen(plan->mounts[i].point);
        if (len >= n && strncmp(path, plan->mounts[i].point, n) == 0 && (len == n || path[n] == '/'))
            return trees[i];
    }
    return NULL;
}

/* Each element of a list, put together again; malloc'd. */
static char *rewrite_list(const char *list, struct tl_tree *const *trees, const struct tl_plan *plan)
{
    char *out = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&out, &size);
    if (f == NULL)
        return NULL;
    for (const char *s = list;;) {
        size_t len = strcspn(s, ":");
        const struct tl_tree *t = tree_for(s, len, trees, plan);
        fprintf(f, "%s%.*s", t != NULL ? tl_tree_prefix(t) : "", (int)len, s);
        if (s[len] == '\0')
            break;
        fputc(':', f);
        s += len + 1;
    }
    return fclose(f) == 0 ? out : NULL;
}

/* A word that is a path, or --option=path. The same one if neither. */
static char *rewrite_word(char *word, struct tl_tree *const *trees, const struct tl_plan *plan)
{
    char *path = word, *out = NULL;
    if (word[0] != '/')
        path = strchr(word, '=') != NULL ? strchr(word, '=') + 1 : word + strlen(word);
    const struct tl_tree *t = tree_for(path, strlen(path), trees, plan);
    if (t == NULL)
        return word;
    return asprintf(&out, "%.*s%s%s", (int)(path - word), word, tl_tree_prefix(t), path) < 0 ? NULL : out;
}

static int rewrite_command(char ***command, struct tl_tree *const *trees, const struct tl_plan *plan)
{
    size_t count = 0;
    while ((*command)[count] != NULL)
        count++;
    char **words = calloc(count + 1, sizeof *words); /* lives until the command is executed */
    if (words == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        if ((words[i] = rewrite_word((*command)[i], trees, plan)) == NULL)
            return -ENOMEM;
    *command = words;
    return 0;
}

static int rewrite_variable(const char *name, struct tl_tree *const *trees, const struct tl_plan *plan)
{
    const char *value = getenv(name);
    char *list = value != NULL ? rewrite_list(value, trees, plan) : NULL;
    if (value == NULL)
        return 0;
    int rc = list == NULL || setenv(name, list, 1) != 0 ? -ENOMEM : 0;
    free(list);
    return rc;
}

/* TIERCEL_PREFIX: what stands before each cached path; a list if there are several. */
static int tell_prefix(struct tl_tree *const *trees, size_t count)
{
    char *out = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&out, &size);
    if (f == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        fprintf(f, "%s%s", i > 0 ? ":" : "", tl_tree_prefix(trees[i]));
    int rc = fclose(f) != 0 || setenv("TIERCEL_PREFIX", out, 1) != 0 ? -ENOMEM : 0;
    free(out);
    return rc;
}

/* Who starts in a cached directory stays in it. */
static void move_cwd(struct tl_tree *const *trees, const struct tl_plan *plan)
{
    char cwd[PATH_MAX], there[2 * PATH_MAX];
    const struct tl_tree *t = getcwd(cwd, sizeof cwd) != NULL ? tree_for(cwd, strlen(cwd), trees, plan) : NULL;
    if (t == NULL)
        return;
    snprintf(there, sizeof there, "%s%s", tl_tree_prefix(t), cwd);
    if (chdir(there) == 0)
        (void)setenv("PWD", there, 1);
}

int tl_rewrite(char ***command, struct tl_tree *const *trees, const struct tl_plan *plan, struct tl_error *err)
{
    int rc = rewrite_command(command, trees, plan);
    for (size_t i = 0; rc == 0 && i < sizeof variables / sizeof variables[0]; i++)
        rc = rewrite_variable(variables[i], trees, plan);
    if (rc == 0)
        rc = tell_prefix(trees, plan->count);
    if (rc != 0)
        return tl_error_set(err, rc, "no memory for the command's words");
    move_cwd(trees, plan);
    return 0;
}
