// SPDX-License-Identifier: Apache-2.0
/* Whether anybody uses a tree. Nobody signs in or out (programs are killed, and close what they did not open), so it is read off
 * /proc: where processes work, what they have open and mapped (who fills a tree has its index mapped), and what is mounted
 * where they are. A process of ours that cannot be looked into (it is not dumpable) counts if it is younger than the tree. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/time.h"
#include "front/tree/internal.h"

#define EARLIER_S 10 /* who makes a tree and runs from it has begun before it */

struct place {
    const char *dir;
    size_t dir_len;
    char root[2 * PATH_MAX]; /* dir as its own file system has it; "": not known */
    char device[32];         /* "0:25", as in mountinfo */
    double made_s;           /* since the machine started */
};

/* ---- mounts ---- */

/* \040 and the like, in place. */
static void unescape(char *s)
{
    char *to = s;
    for (; *s != '\0'; s++) {
        unsigned code;
        if (s[0] == '\\' && sscanf(s + 1, "%3o", &code) == 1) {
            *to++ = (char)code;
            s += 3;
        } else {
            *to++ = *s;
        }
    }
    *to = '\0';
}

/* A line of mountinfo: device, root and mount point, within the line. */
static bool parse_mount(char *line, char **device, char **root, char **point)
{
    char *save = NULL;
    if (strtok_r(line, " ", &save) == NULL || strtok_r(NULL, " ", &save) == NULL)
        return false;
    *device = strtok_r(NULL, " ", &save);
    *root = strtok_r(NULL, " ", &save);
    *point = strtok_r(NULL, " ", &save);
    if (*point == NULL)
        return false;
    unescape(*root);
    unescape(*point);
    return true;
}

static bool is_below(const char *path, const char *dir, size_t len)
{
    return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0' || len == 1);
}

static void find_root(struct place *p)
{
    char *line = NULL, *device, *root, *point;
    size_t room = 0, longest = 0;
    FILE *f = fopen("/proc/self/mountinfo", "re");
    while (f != NULL && getline(&line, &room, f) > 0) {
        if (!parse_mount(line, &device, &root, &point) || strcmp(device, p->device) != 0 ||
            !is_below(p->dir, point, strlen(point)) || strlen(point) < longest)
            continue;
        longest = strlen(point);
        const char *rest = p->dir + (longest == 1 ? 0 : longest);
        snprintf(p->root, sizeof p->root, "%s%s", strcmp(root, "/") == 0 ? "" : root, rest);
    }
    free(line);
    if (f != NULL)
        fclose(f);
}

/* 1: so it is; 0; -errno. */
static int is_mounted(const struct place *p, const char *proc)
{
    char path[64], *line = NULL, *device, *root, *point;
    size_t room = 0;
    int found = 0;
    snprintf(path, sizeof path, "%s/mountinfo", proc);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return -errno;
    while (found == 0 && p->root[0] != '\0' && getline(&line, &room, f) > 0)
        found = parse_mount(line, &device, &root, &point) && strcmp(device, p->device) == 0 &&
                is_below(root, p->root, strlen(p->root));
    free(line);
    fclose(f);
    return found;
}

/* ---- files and memory ---- */

static bool leads_there(const struct place *p, const char *path)
{
    char target[2 * PATH_MAX];
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n <= 0)
        return false;
    target[n] = '\0';
    return is_below(target, p->dir, p->dir_len);
}

static bool has_open(const struct place *p, const char *proc)
{
    static const char *const links[] = {"cwd", "root", "exe"};
    char path[384];
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", proc, links[i]);
        if (leads_there(p, path))
            return true;
    }
    snprintf(path, sizeof path, "%s/fd", proc);
    DIR *dir = opendir(path);
    bool found = false;
    for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL && !found; e = readdir(dir)) {
        snprintf(path, sizeof path, "%s/fd/%s", proc, e->d_name);
        found = leads_there(p, path);
    }
    if (dir != NULL)
        closedir(dir);
    return found;
}

static int has_mapped(const struct place *p, const char *proc)
{
    char path[64], *line = NULL;
    size_t room = 0;
    int found = 0;
    snprintf(path, sizeof path, "%s/maps", proc);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return -errno;
    while (found == 0 && getline(&line, &room, f) > 0) {
        const char *name = strchr(line, '/');
        found = name != NULL && is_below(name, p->dir, p->dir_len);
    }
    free(line);
    fclose(f);
    return found;
}

/* ---- processes ---- */

/* When it began, in seconds since the machine started; and its parent. */
static double began_s(const char *proc, int *parent)
{
    char path[64], text[1024];
    unsigned long long ticks = 0;
    snprintf(path, sizeof path, "%s/stat", proc);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *name_end = strrchr(text, ')'); /* the name may hold anything */
    *parent = 0;
    if (name_end != NULL)
        (void)!sscanf(name_end + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                      parent, &ticks);
    return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

/* Those who asked for this, such as sshd: they are above us, not in the tree. */
static bool is_above_us(int pid)
{
    int at = (int)getpid();
    char proc[32];
    for (int i = 0; i < 1000 && at > 1; i++) {
        if (at == pid)
            return true;
        snprintf(proc, sizeof proc, "/proc/%d", at);
        (void)began_s(proc, &at);
    }
    return false;
}

static bool uses(const struct place *p, int pid)
{
    char proc[32];
    struct stat st;
    int parent;
    snprintf(proc, sizeof proc, "/proc/%d", pid);
    if (pid == (int)getpid() || stat(proc, &st) != 0 || (geteuid() != 0 && st.st_uid != geteuid()))
        return false;
    int mapped = has_mapped(p, proc), mounted = mapped == 0 ? is_mounted(p, proc) : 0;
    if (mapped > 0 || mounted > 0 || has_open(p, proc))
        return true;
    bool hidden = mapped == -EACCES || mapped == -EPERM || mounted == -EACCES || mounted == -EPERM;
    return hidden && !is_above_us(pid) && began_s(proc, &parent) > p->made_s - EARLIER_S;
}

static double now_s(clockid_t clock)
{
    struct timespec ts = {0};
    clock_gettime(clock, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int tl_place_user(const char *dir)
{
    struct place p = {.dir = dir, .dir_len = strlen(dir)};
    struct statx st;
    if (statx(AT_FDCWD, dir, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &st) != 0)
        return 0;
    const struct statx_timestamp *made = (st.stx_mask & STATX_BTIME) != 0 ? &st.stx_btime : &st.stx_mtime;
    p.made_s = (double)made->tv_sec - now_s(CLOCK_REALTIME) + now_s(CLOCK_BOOTTIME);
    snprintf(p.device, sizeof p.device, "%u:%u", st.stx_dev_major, st.stx_dev_minor);
    find_root(&p);
    DIR *proc = opendir("/proc");
    int found = 0;
    for (struct dirent *e = proc != NULL ? readdir(proc) : NULL; e != NULL && found == 0; e = readdir(proc))
        if (isdigit((unsigned char)e->d_name[0]) && uses(&p, atoi(e->d_name)))
            found = atoi(e->d_name);
    if (proc != NULL)
        closedir(proc);
    return found;
}
