// SPDX-License-Identifier: Apache-2.0
/* Rung "bind": complete trees over the paths, read-only. The namespace is the command's own: nothing in it has to be shared, and
 * nothing serves it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "front/launch/rung.h"
#include "front/tree/tree.h"

/* Binds `from` read-only over `to`. What the mount below forbids stays forbidden: the kernel demands it. */
static int bind_over(const char *from, const char *to, struct tl_error *err)
{
    static const struct {
        unsigned long there, here;
    } kept[] = {
        {ST_NOEXEC, MS_NOEXEC}, {ST_NOATIME, MS_NOATIME}, {ST_NODIRATIME, MS_NODIRATIME}, {ST_RELATIME, MS_RELATIME}};
    unsigned long flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV;
    struct statvfs fs;
    if (mount(from, to, NULL, MS_BIND, NULL) != 0 || statvfs(to, &fs) != 0)
        return tl_error_set(err, -errno,
                            "cannot mount over %s: %s; a security policy of this machine may forbid mounts", to,
                            strerror(errno));
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        flags |= (fs.f_flag & kept[i].there) != 0 ? kept[i].here : 0;
    if (mount(NULL, to, NULL, flags, NULL) != 0)
        return tl_error_set(err, -errno, "cannot make the mount over %s read-only: %s", to, strerror(errno));
    return 0;
}

static int trial(struct tl_error *err)
{
    bool in_user_ns;
    char self[PATH_MAX] = "";
    int rc = tl_space_make(&in_user_ns, err);
    if (rc == 0 && readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        rc = tl_error_set(err, -errno, "/proc/self/exe: %s; is /proc mounted?", strerror(errno));
    return rc != 0 ? rc
                   : bind_over(self, self, err); /* a file has no mounts below it; this one goes with the process */
}

int tl_rung_bind_probe(struct tl_error *err)
{
    int rc = tl_tree_probe(err);
    return rc != 0 ? rc : tl_rung_try(trial, err);
}

/* The complete tree of a path; if the rung was asked for by name, it is made complete. */
static int complete_tree(const struct tl_launch *l, const struct tl_launch_mount *m, struct tl_tree **out,
                         struct tl_error *err)
{
    if (m->plain)
        return tl_error_set(err, -EAGAIN, "%s: a plain mount is made with FUSE only", m->point);
    int rc = tl_tree_find(out, l->plan.socket, m->point, err);
    if (rc == 0 || !l->named)
        return rc == -ENOENT ? -EAGAIN : rc;
    rc = tl_tree_open(out, l->plan.socket, m->point, err);
    if (rc != 0)
        return rc;
    rc = tl_tree_fill(*out, NULL, NULL, err);
    if (rc != 0)
        tl_tree_close(*out);
    return rc;
}

int tl_rung_bind_enter(struct tl_launch *l, struct tl_error *err)
{
    struct tl_tree *trees[TL_LAUNCH_MOUNTS_MAX];
    size_t count = 0;
    char cwd[PATH_MAX];
    bool in_user_ns, known = getcwd(cwd, sizeof cwd) != NULL && cwd[0] == '/';
    int rc = 0;
    for (; rc == 0 && count < l->plan.count; count += rc == 0)
        rc = complete_tree(l, &l->plan.mounts[count], &trees[count], err);
    if (rc == 0)
        rc = tl_space_make(&in_user_ns, err);
    for (size_t i = 0; rc == 0 && i < l->plan.count; i++)
        rc = bind_over(tl_tree_path(trees[i]), l->plan.mounts[i].point, err);
    while (count > 0)
        tl_tree_close(trees[--count]);
    if (rc == 0 && known)
        (void)!chdir(cwd); /* by path: it may lie below one of them; one that has no path any more stays what it is */
    return rc;
}
