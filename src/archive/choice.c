// SPDX-License-Identifier: Apache-2.0
#include "archive/choice.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/profile.h"

static bool is_below(const char *path, const char *dir)
{
    size_t len = strcmp(dir, "/") == 0 ? 0 : strlen(dir);
    return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* Cuts the last name off. */
static void up(char *path)
{
    char *slash = strrchr(path, '/');
    slash[slash == path] = '\0';
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort(char **list, size_t *count)
{
    size_t kept = 0;
    if (*count > 0)
        qsort(list, *count, sizeof *list, compare);
    for (size_t i = 0; i < *count; i++) {
        if (kept > 0 && strcmp(list[kept - 1], list[i]) == 0)
            free(list[i]);
        else
            list[kept++] = list[i];
    }
    *count = kept;
}

static int push(char ***list, size_t *count, const char *path)
{
    if ((*count & (*count - 1)) == 0) { /* a power of two: full */
        char **grown = realloc(*list, (*count == 0 ? 1 : *count * 2) * sizeof **list);
        if (grown == NULL)
            return -ENOMEM;
        *list = grown;
    }
    (*list)[*count] = strdup(path);
    return (*list)[*count] != NULL ? ((*count)++, 0) : -ENOMEM;
}

static void path_of(const struct tl_profile *p, uint32_t i, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%.*s", (int)p->lines[i].path_len, p->paths + p->lines[i].path_at);
}

/* The deepest directory with everything in it. */
static void find_source(const struct tl_profile *p, char *source)
{
    char path[PATH_MAX];
    for (uint32_t i = 0; i < p->line_count; i++) {
        path_of(p, i, path);
        if (p->lines[i].kind != TL_PROFILE_LIST)
            up(path);
        if (i == 0)
            strcpy(source, path);
        while (!is_below(path, source)) /* a name less each turn; all are below / */
            up(source);
    }
}

/* A name, and the directories that lead to it from the source. */
static int choose(struct tl_choice *c, uint8_t kind, char *path, const char *source)
{
    int rc = 0;
    if (!is_below(path, source))
        return 0;
    if (kind == TL_PROFILE_LIST) {
        rc = push(&c->dirs, &c->dir_count, path);
        rc = rc == 0 ? push(&c->listed, &c->listed_count, path) : rc;
    }
    if (kind == TL_PROFILE_FILE)
        rc = push(&c->files, &c->file_count, path);
    while (rc == 0 && strcmp(path, source) != 0) {
        up(path);
        rc = push(&c->dirs, &c->dir_count, path);
    }
    return rc;
}

static int read_text(const char *file, char **text, size_t *len, struct tl_error *err)
{
    FILE *f = fopen(file, "re");
    *text = malloc(TL_PROFILE_SIZE_MAX + 1);
    if (f == NULL || *text == NULL) {
        int code = f == NULL ? errno : ENOMEM;
        if (f != NULL)
            fclose(f);
        return tl_error_set(err, -code, "profile %s: %s", file, strerror(code));
    }
    *len = fread(*text, 1, TL_PROFILE_SIZE_MAX + 1, f);
    fclose(f);
    return 0;
}

int tl_choice_read(struct tl_choice *out, const char *file, char *source, struct tl_error *err)
{
    struct tl_profile p = {.lines = NULL};
    char *text = NULL, path[PATH_MAX];
    size_t len = 0;
    *out = (struct tl_choice){.all = false};
    int rc = read_text(file, &text, &len, err);
    if (rc == 0 && (rc = tl_profile_parse(&p, text, len, err)) != 0)
        tl_error_wrap(err, "profile %s", file);
    free(text);
    if (rc == 0 && source[0] == '\0' && p.line_count > 0)
        find_source(&p, source);
    for (uint32_t i = 0; rc == 0 && i < p.line_count; i++) {
        path_of(&p, i, path);
        rc = choose(out, p.lines[i].kind, path, source);
        if (rc != 0)
            tl_error_set(err, rc, "profile %s: out of memory", file);
    }
    tl_profile_fini(&p);
    sort(out->files, &out->file_count);
    sort(out->dirs, &out->dir_count);
    sort(out->listed, &out->listed_count);
    if (rc == 0 && out->dir_count == 0)
        rc = tl_error_set(err, -ENOENT, "profile %s names nothing%s%s; `tiercel profile show` tells what it names",
                          file, source[0] != '\0' ? " below " : "", source);
    if (rc == 0 && strcmp(source, "/") == 0)
        rc = tl_error_set(
            err, -EINVAL,
            "profile %s names files all over the file system; say below which PATH they shall be exported", file);
    if (rc != 0)
        tl_choice_fini(out);
    return rc;
}

void tl_choice_fini(struct tl_choice *c)
{
    for (size_t i = 0; i < c->file_count; i++)
        free(c->files[i]);
    for (size_t i = 0; i < c->dir_count; i++)
        free(c->dirs[i]);
    for (size_t i = 0; i < c->listed_count; i++)
        free(c->listed[i]);
    free(c->files);
    free(c->dirs);
    free(c->listed);
    *c = (struct tl_choice){.all = false};
}

static bool has(char **list, size_t count, const char *path)
{
    return count > 0 && bsearch(&path, list, count, sizeof *list, compare) != NULL;
}

bool tl_choice_has_file(const struct tl_choice *c, const char *dir, const char *path, uint64_t size_bytes)
{
    return c->all || has(c->files, c->file_count, path) ||
           (size_bytes <= TL_CHOICE_ALONG_MAX && has(c->listed, c->listed_count, dir));
}

bool tl_choice_has_dir(const struct tl_choice *c, const char *path)
{
    return c->all || has(c->dirs, c->dir_count, path);
}
