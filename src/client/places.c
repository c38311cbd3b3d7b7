// SPDX-License-Identifier: Apache-2.0
/* Names of tiers and where they live. Nothing here creates anything. */
#include "client/client.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RANK_MAX 1000000ul /* far above any node list; keeps numbers in file names sane */

static bool name_char(char c)
{
    return isalnum((unsigned char)c) || c == '.' || c == '_' || c == '-';
}

static int name_check(const char *name, const char *from, struct tiercel_error *err)
{
    size_t len = strlen(name);
    bool good = len >= 1 && len <= TIERCEL_NAME_MAX && isalnum((unsigned char)name[0]);
    for (size_t i = 0; good && i < len; i++)
        good = name_char(name[i]);
    if (good)
        return 0;
    return tl_client_error(
        err, -EINVAL,
        "%.80s: not a tier's name (%s); use 1 to %d letters, digits, '.', '_' or '-', beginning with "
        "a letter or digit",
        len > 0 ? name : "\"\"", from, TIERCEL_NAME_MAX);
}

/* "pbs-" and the job's id, in which anything that a name cannot hold ("12[3].server") becomes '_'. */
static int name_from_job(const char *prefix, const char *id, char *out, size_t out_size, struct tiercel_error *err)
{
    int rc = tl_client_format(err, out, out_size, "%s-%.56s", prefix, id);
    if (rc < 0)
        return rc;
    for (char *p = out; *p != '\0'; p++) {
        if (!name_char(*p))
            *p = '_';
    }
    return 0;
}

static const char *env(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

int tiercel_tier_name(const char *given, char *out, size_t out_size, struct tiercel_error *err)
{
    const char *from = "as given";
    if (given == NULL) {
        given = env("TIERCEL_NAME");
        from = "from $TIERCEL_NAME";
    }
    if (given == NULL && env("SLURM_JOB_ID") != NULL)
        return name_from_job("slurm", env("SLURM_JOB_ID"), out, out_size, err);
    if (given == NULL && env("PBS_JOBID") != NULL)
        return name_from_job("pbs", env("PBS_JOBID"), out, out_size, err);
    if (given == NULL)
        given = "default";
    int rc = name_check(given, from, err);
    return rc < 0 ? rc : tl_client_format(err, out, out_size, "%s", given);
}

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int tiercel_runtime_dir(int lasting, char *out, size_t out_size, struct tiercel_error *err)
{
    const char *own = env("TIERCEL_RUNTIME_DIR");
    if (own != NULL && own[0] != '/')
        return tl_client_error(err, -EINVAL, "%.200s: $TIERCEL_RUNTIME_DIR is not an absolute path; set it to one",
                               own);
    if (own != NULL)
        return tl_client_format(err, out, out_size, "%s", own);
    const char *session = lasting ? NULL : env("XDG_RUNTIME_DIR");
    if (session != NULL && session[0] == '/' && is_dir(session))
        return tl_client_format(err, out, out_size, "%s/tiercel", session);
    return tl_client_format(err, out, out_size, "/tmp/tiercel-%u", (unsigned)geteuid());
}

int tiercel_dir_check(const char *path, struct tiercel_error *err)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return tl_client_error(err, -errno, "%s: %s; start a tier with `tiercel up`, which makes it", path,
                               tiercel_strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return tl_client_error(err, -ENOTDIR,
                               "%s: not a directory; remove it, or set TIERCEL_RUNTIME_DIR to a place "
                               "of your own",
                               path);
    if (st.st_uid != geteuid())
        return tl_client_error(
            err, -EPERM, "%s: belongs to user %u, not to you (%u); set TIERCEL_RUNTIME_DIR to a place of your own",
            path, (unsigned)st.st_uid, (unsigned)geteuid());
    if ((st.st_mode & 077) != 0)
        return tl_client_error(err, -EPERM, "%s: open to other users (mode %04o); run `chmod 700 %s`", path,
                               (unsigned)st.st_mode & 07777, path);
    return 0;
}

/* The tier's directory below one runtime directory; -ENOENT if either is not there. */
static int tier_dir_below(const char *runtime, const char *name, char *out, size_t out_size, struct tiercel_error *err)
{
    char dir[TIERCEL_PATH_SIZE];
    int rc = tl_client_format(err, dir, sizeof dir, "%s/%s", runtime, name);
    if (rc < 0)
        return rc;
    if (access(dir, F_OK) != 0 && errno == ENOENT)
        return -ENOENT;
    rc = tiercel_dir_check(runtime, err);
    if (rc == 0)
        rc = tiercel_dir_check(dir, err);
    return rc < 0 ? rc : tl_client_format(err, out, out_size, "%s", dir);
}

int tiercel_tier_dir(const char *name, char *out, size_t out_size, struct tiercel_error *err)
{
    char tier[TIERCEL_NAME_MAX + 1];
    int rc = tiercel_tier_name(name, tier, sizeof tier, err);
    for (int lasting = 0; rc == 0 && lasting <= 1; lasting++) {
        char runtime[TIERCEL_PATH_SIZE];
        rc = tiercel_runtime_dir(lasting, runtime, sizeof runtime, err);
        if (rc < 0)
            return rc;
        int found = tier_dir_below(runtime, tier, out, out_size, err);
        if (found != -ENOENT)
            return found;
    }
    if (rc < 0)
        return rc;
    return tl_client_error(err, -ENOENT,
                           "%s: no tier of that name is up on this machine; start one with `tiercel up "
                           "--name %s`, or name another with --name",
                           tier, tier);
}

/* N of "node-N.sock", or -1. */
static long rank_of(const char *file)
{
    static const char head[] = "node-", tail[] = ".sock";
    if (strncmp(file, head, sizeof head - 1) != 0 || !isdigit((unsigned char)file[sizeof head - 1]))
        return -1;
    char *end;
    unsigned long rank = strtoul(file + sizeof head - 1, &end, 10);
    return strcmp(end, tail) == 0 && rank <= RANK_MAX ? (long)rank : -1;
}

static int compare_ranks(const void *a, const void *b)
{
    const unsigned *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

int tiercel_local_ranks(const char *tier_dir, unsigned *ranks, size_t max, struct tiercel_error *err)
{
    DIR *dir = opendir(tier_dir);
    if (dir == NULL)
        return tl_client_error(err, -errno, "%s: cannot be read: %s", tier_dir, tiercel_strerror(errno));
    size_t count = 0;
    const struct dirent *entry;
    while (count < max && (entry = readdir(dir)) != NULL) {
        long rank = rank_of(entry->d_name);
        if (rank >= 0)
            ranks[count++] = (unsigned)rank;
    }
    closedir(dir);
    qsort(ranks, count, sizeof ranks[0], compare_ranks);
    return (int)count;
}
