// SPDX-License-Identifier: Apache-2.0
/* Profiles as files. */
#include "tiercel/profile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/profile.h"
#include "client/client.h"

/* The whole of a descriptor from its start, at most what a profile may have. */
static int read_all(int fd, char **text, size_t *len)
{
    char *out = malloc(TL_PROFILE_SIZE_MAX + 1);
    size_t used = 0;
    ssize_t n = 1;
    if (out == NULL)
        return -ENOMEM;
    while (n > 0 && used <= TL_PROFILE_SIZE_MAX) {
        n = pread(fd, out + used, TL_PROFILE_SIZE_MAX + 1 - used, (off_t)used);
        used += n > 0 ? (size_t)n : 0;
    }
    if (n < 0) {
        int rc = -errno;
        free(out);
        return rc;
    }
    *text = out;
    *len = used;
    return 0;
}

static int parse_fd(int fd, const char *name, struct tl_profile *out, struct tiercel_error *err)
{
    char *text = NULL;
    size_t len = 0;
    struct tl_error why = {0};
    int rc = read_all(fd, &text, &len);
    if (rc != 0)
        return tl_client_error(err, rc, "%s: %s", name, strerror(-rc));
    rc = tl_profile_parse(out, text, len, &why);
    free(text);
    return rc == 0 ? 0 : tl_client_error(err, rc, "%s: %s", name, why.msg);
}

static int load(const char *path, struct tl_profile *out, struct tiercel_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return tl_client_error(err, -errno, "%s: %s", path, strerror(errno));
    int rc = parse_fd(fd, path, out, err);
    close(fd);
    return rc;
}

/* Makes the folders above path. */
static int make_folders(const char *path, struct tiercel_error *err)
{
    char part[TIERCEL_PATH_SIZE];
    size_t len = strlen(path);
    if (len >= sizeof part)
        return tl_client_error(err, -ENAMETOOLONG, "%.60s...: the path is too long", path);
    for (size_t i = 1; i < len; i++) {
        if (path[i] != '/')
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return tl_client_error(err, -errno,
                                   "%s: %s; profiles are kept there, set XDG_CACHE_HOME to a folder of yours", part,
                                   strerror(errno));
    }
    return 0;
}

static int write_all(int fd, const char *text, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, text + done, len - done);
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (size_t)n;
    }
    return 0;
}

/* Others see the old file or the new one, whoever else merges at the same time. */
static int store(const char *path, const struct tl_profile *p, struct tiercel_error *err)
{
    char temporary[TIERCEL_PATH_SIZE + 8];
    char *text = NULL;
    size_t len = 0;
    int rc = make_folders(path, err);
    if (rc != 0)
        return rc;
    rc = tl_profile_write(p, &text, &len);
    snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
    int fd = rc == 0 ? mkostemp(temporary, O_CLOEXEC) : -1;
    if (rc == 0 && fd < 0)
        rc = -errno;
    if (rc == 0)
        rc = write_all(fd, text, len);
    if (rc == 0 && rename(temporary, path) != 0)
        rc = -errno;
    if (rc != 0 && fd >= 0)
        unlink(temporary);
    if (fd >= 0)
        close(fd);
    free(text);
    return rc == 0 ? 0 : tl_client_error(err, rc, "%s: %s", path, strerror(-rc));
}

int tiercel_profile_info(const char *path, struct tiercel_profile_info *out, struct tiercel_error *err)
{
    struct tl_profile p = {.lines = NULL};
    int rc = load(path, &p, err);
    if (rc != 0)
        return rc;
    memset(out, 0, sizeof *out);
    memcpy(out->program, p.program, strlen(p.program));
    out->merged = p.merged;
    out->lines = p.line_count;
    tl_profile_fini(&p);
    return 0;
}

/* A name on one line, in full or cut. */
static void set_program(struct tl_profile *p, const char *program)
{
    snprintf(p->program, sizeof p->program, "%s", program);
    for (char *at = p->program; *at != 0; at++)
        if (*at == '\n')
            *at = ' ';
}

int tiercel_profile_merge(const char *path, const char *program, int fd, struct tiercel_error *err)
{
    struct tl_profile now = {.lines = NULL}, before = {.lines = NULL};
    int rc = parse_fd(fd, "what was recorded", &now, err);
    if (rc != 0)
        return rc;
    set_program(&now, program);
    if (access(path, F_OK) == 0)
        rc = load(path, &before, err);
    if (rc == 0 && before.lines != NULL && strcmp(before.program, now.program) != 0)
        rc = tl_client_error(err, -EEXIST, "%s: is the profile of another program: %s; remove it, or keep it elsewhere",
                             path, before.program);
    if (rc == 0 && tl_profile_merge(&now, &before) != 0)
        rc = tl_client_error(err, -ENOMEM, "%s: out of memory", path);
    if (rc == 0)
        rc = store(path, &now, err);
    tl_profile_fini(&now);
    tl_profile_fini(&before);
    return rc;
}

/* ---- of paths ---- */

static int add(struct tl_profile *p, enum tl_profile_kind kind, const char *path, struct tiercel_error *err)
{
    int rc = tl_profile_add(p, kind, path, strlen(path), 0, 0);
    if (rc == -EFBIG)
        return tl_client_error(err, rc, "%s: more than %u names; warm a part of it", path, TL_PROFILE_LINES_MAX);
    return rc == 0 ? 0 : tl_client_error(err, rc, "%s: %s", path, strerror(-rc));
}

/* Adds what is in directory `path`, itself included. Names that cannot be listed are skipped: programs cannot read them either. */
static int add_directory(struct tl_profile *p, const char *path, struct tiercel_error *err)
{
    DIR *dir = opendir(path);
    char below[TIERCEL_PATH_SIZE + NAME_MAX + 2];
    int rc = add(p, TL_PROFILE_LIST, path, err);
    if (dir == NULL)
        return rc;
    for (struct dirent *e = readdir(dir); rc == 0 && e != NULL; e = readdir(dir)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        int len = snprintf(below, sizeof below, "%s/%s", strcmp(path, "/") == 0 ? "" : path, e->d_name);
        struct stat st;
        unsigned char type = e->d_type;
        if (len > (int)TL_PROFILE_PATH_MAX)
            continue;
        if (type == DT_UNKNOWN && lstat(below, &st) == 0)
            type = S_ISREG(st.st_mode) ? DT_REG : S_ISDIR(st.st_mode) ? DT_DIR : DT_LNK;
        if (type == DT_DIR)
            rc = add(p, TL_PROFILE_LIST, below, err); /* its turn comes: the lines are the queue */
        else if (type == DT_REG)
            rc = add(p, TL_PROFILE_FILE, below, err);
    }
    closedir(dir);
    return rc;
}

static int add_tree(struct tl_profile *p, const char *top, struct tiercel_error *err)
{
    struct stat st;
    if (lstat(top, &st) != 0)
        return tl_client_error(err, -errno, "%s: %s", top, strerror(errno));
    if (S_ISREG(st.st_mode))
        return add(p, TL_PROFILE_FILE, top, err);
    if (!S_ISDIR(st.st_mode))
        return tl_client_error(err, -EINVAL, "%s: neither a file nor a directory", top);
    uint32_t at = p->line_count;
    int rc = add(p, TL_PROFILE_LIST, top, err);
    for (; rc == 0 && at < p->line_count; at++) { /* grows as directories are found */
        char path[TIERCEL_PATH_SIZE];
        const struct tl_profile_line *l = &p->lines[at];
        if (l->kind != TL_PROFILE_LIST)
            continue;
        memcpy(path, p->paths + l->path_at, l->path_len);
        path[l->path_len] = 0;
        rc = add_directory(p, path, err);
    }
    return rc;
}

int tiercel_profile_of_paths(const char *const paths[], const char *out_path, struct tiercel_error *err)
{
    struct tl_profile p = {.lines = NULL};
    int rc = 0;
    set_program(&p, "paths");
    for (size_t i = 0; rc == 0 && paths[i] != NULL; i++)
        rc = add_tree(&p, paths[i], err);
    if (rc == 0)
        rc = store(out_path, &p, err);
    tl_profile_fini(&p);
    return rc;
}
