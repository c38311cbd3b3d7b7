// SPDX-License-Identifier: Apache-2.0
/* The memory limit of the job's control group: the cache gives way before the kernel kills somebody.
 *
 * The group's limit and use are read when the cache has grown by a step, and once a second while it is below what it may have. What
 * counts is memory that the kernel cannot take back by itself: use without the file system's page cache. Above 90 % of the
 * limit the cache goes down until 85 % would be used; below 75 % it may grow again. Both versions of control groups are
 * known; the nearest group with a limit decides. */
#include "daemon/pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/time.h"

#define STEP_MAX      (16ull << 20) /* bytes by which the cache may grow between two looks */
#define UNLIMITED     (1ull << 60)  /* version 1 says something like this */
#define LEVELS_MAX    64u           /* groups within groups */
#define PATH_SIZE     4096
#define PERCENT(x, p) ((x) / 100 * (p))

struct names {
    const char *controller, *mount, *limit, *use, *stat_file_1, *stat_file_2;
};

static const struct names versions[] = {
    {"", "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file", "active_file"},
    {"memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
     "total_active_file"},
};

static int read_text(const char *path, char *into, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, into, size - 1);
    int rc = n < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    into[n < 0 ? 0 : n] = 0;
    return rc;
}

/* A number, UINT64_MAX for "max". -errno. */
static int read_number(const char *dir, const char *name, uint64_t *out)
{
    char path[PATH_SIZE + 64], text[64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int rc = read_text(path, text, sizeof text);
    if (rc != 0)
        return rc;
    *out = strncmp(text, "max", 3) == 0 ? UINT64_MAX : strtoull(text, NULL, 10);
    return 0;
}

/* The group's path in the line of this controller of /proc/self/cgroup ("7:memory:/job/4"). */
static bool group_path(char *text, const char *controller, char *out, size_t size)
{
    size_t len = strlen(controller);
    for (char *line = text, *next; *line != 0; line = next) {
        char *end = line + strcspn(line, "\n"), *list = memchr(line, ':', (size_t)(end - line));
        next = *end == 0 ? end : end + 1;
        char *path = list == NULL ? NULL : memchr(list + 1, ':', (size_t)(end - list - 1));
        if (path == NULL || (size_t)(path - list - 1) != len || memcmp(list + 1, controller, len) != 0)
            continue;
        snprintf(out, size, "%.*s", (int)(end - path - 1), path + 1);
        return true;
    }
    return false;
}

/* The nearest group at or above ours that has a limit; in a container its path may lead nowhere, then the top is ours. */
static bool find_group(struct tl_pressure *p, const struct names *v, char *path)
{
    for (uint32_t level = 0; level < LEVELS_MAX; level++) {
        uint64_t limit;
        snprintf(p->dir, sizeof p->dir, "%s%s", v->mount, strcmp(path, "/") == 0 ? "" : path);
        if (read_number(p->dir, v->limit, &limit) == 0 && limit < UNLIMITED) {
            p->version = (uint32_t)(v - versions);
            p->group_limit_bytes = limit;
            return true;
        }
        char *slash = strrchr(path, '/');
        if (slash == NULL || (slash == path && path[1] == 0))
            break;
        slash[slash == path ? 1 : 0] = 0;
    }
    return false;
}

void tl_pressure_open(struct tl_pressure *p, uint64_t cache_limit_bytes)
{
    static char text[65536];
    char path[PATH_SIZE - 64];
    *p = (struct tl_pressure){.configured_bytes = cache_limit_bytes, .limit_bytes = cache_limit_bytes};
    if (read_text("/proc/self/cgroup", text, sizeof text) != 0)
        return;
    for (size_t i = 0; i < sizeof versions / sizeof versions[0] && !p->active; i++)
        p->active = group_path(text, versions[i].controller, path, sizeof path) && find_group(p, &versions[i], path);
}

/* A number of memory.stat. */
static uint64_t stat_of(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = text; *line != 0; line += strcspn(line, "\n"), line += *line == '\n')
        if (strncmp(line, name, len) == 0 && line[len] == ' ')
            return strtoull(line + len, NULL, 10);
    return 0;
}

/* What the group uses and the kernel cannot take back. -errno. */
static int working_set(const struct tl_pressure *p, uint64_t *out)
{
    const struct names *v = &versions[p->version];
    char path[PATH_SIZE + 64], text[8192];
    uint64_t use;
    int rc = read_number(p->dir, v->use, &use);
    snprintf(path, sizeof path, "%s/memory.stat", p->dir);
    if (rc == 0)
        rc = read_text(path, text, sizeof text);
    if (rc != 0)
        return rc;
    uint64_t file = stat_of(text, v->stat_file_1) + stat_of(text, v->stat_file_2);
    *out = use > file ? use - file : 0;
    return 0;
}

uint64_t tl_pressure_choose(uint64_t group_limit, uint64_t used, uint64_t held, uint64_t limit, uint64_t configured)
{
    if (used > PERCENT(group_limit, 90)) {
        uint64_t over = used - PERCENT(group_limit, 85);
        uint64_t less = held > over ? held - over : 0;
        return less < limit ? less : limit;
    }
    if (used < PERCENT(group_limit, 75) && limit < configured) {
        uint64_t more = (held > limit ? held : limit) + (PERCENT(group_limit, 80) - used) / 2;
        return more < configured ? more : configured;
    }
    return limit;
}

bool tl_pressure_look(struct tl_pressure *p, uint64_t held_bytes, uint64_t now_ns)
{
    uint64_t step = p->group_limit_bytes / 64 < STEP_MAX ? p->group_limit_bytes / 64 : STEP_MAX;
    bool lowered = p->limit_bytes < p->configured_bytes;
    bool grown = held_bytes > p->looked_bytes && held_bytes - p->looked_bytes >= step;
    if (!p->active || (!grown && !(lowered && now_ns - p->looked_ns >= TL_NS_PER_S)))
        return false;
    uint64_t used, before = p->limit_bytes;
    p->looked_bytes = held_bytes;
    p->looked_ns = now_ns;
    if (working_set(p, &used) != 0)
        return false;
    p->limit_bytes = tl_pressure_choose(p->group_limit_bytes, used, held_bytes, before, p->configured_bytes);
    if (p->limit_bytes < held_bytes)
        p->looked_bytes = p->limit_bytes;
    return p->limit_bytes != before;
}
