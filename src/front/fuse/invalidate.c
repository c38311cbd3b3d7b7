// SPDX-License-Identifier: Apache-2.0
/* Making the kernel forget. Owner thread only; what may block goes to the helper thread (notify.h).
 *
 * Names: where the kernel knows NOTIFY_INC_EPOCH (Linux 6.16), one message that never blocks makes it ask again for
 * every name of the mount, known or missing, in use or not, at its next use. A flush of one path uses it, too: the
 * names elsewhere are asked for once more, and answered from the node's memory. On older kernels every name known at
 * and below the path is dropped by a message of its own; dropping a directory drops the missing names remembered in it.
 *
 * Directories: their attributes and the kernel's copies of their listings are dropped one by one, since who has one open
 * or as working directory asks for no name.
 *
 * Files: nothing. A file that changed gets a new inode at the next look-up (inode.h); one that did not keeps its pages,
 * and who has the old one open keeps the old one's. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "front/fuse/internal.h"

#define NOTIFY_INC_EPOCH 8 /* enum fuse_notify_code; newer than the headers we build with */

/* As struct fuse_out_header of linux/fuse.h: a notification has unique 0 and its code in place of the error. */
struct notification {
    uint32_t len;
    int32_t code;
    uint64_t unique;
};

int tl_fuse_inc_epoch(struct tl_fuse *f)
{
    const struct notification msg = {.len = sizeof msg, .code = NOTIFY_INC_EPOCH};
    return write(f->fd, &msg, sizeof msg) == (ssize_t)sizeof msg ? 0 : -errno;
}

struct collector {
    struct tl_fuse *f;
    struct tl_notify_job *job;
    bool names; /* entries, too */
};

static void collect(void *ctx, const struct tl_inode *inode)
{
    struct collector *c = ctx;
    if (c->names && inode->bound)
        tl_notify_job_entry(c->job, tl_inode_id(tl_inodes_parent(&c->f->inodes, inode)),
                            tl_inode_name(&c->f->inodes, inode), inode->name_len);
    if (S_ISDIR(inode->type))
        tl_notify_job_inode(c->job, tl_inode_id(inode));
}

/* Hands the job to the helper. A queue that is full forgets what waits there, so then the job covers the whole mount. */
static void push(struct tl_fuse *f, struct collector *c)
{
    if (c->job != NULL && tl_notify_full(&f->notify)) {
        c->names = !f->epoch;
        tl_inodes_visit_below(&f->inodes, tl_inodes_get(&f->inodes, TL_INODE_ROOT), collect, c);
        if (f->epoch)
            (void)tl_fuse_inc_epoch(f);
    }
    if (c->job == NULL || c->job->failed)
        f->stats.errors++; /* no memory: some names stay until they are dropped for another reason */
    if (c->job != NULL)
        tl_notify_push(&f->notify, &c->job);
}

void tl_fuse_drop_entry(struct tl_fuse *f, struct tl_inode *inode)
{
    if (!inode->bound)
        return;
    struct collector c = {.f = f, .job = tl_notify_job_new()};
    if (c.job != NULL)
        tl_notify_job_entry(c.job, tl_inode_id(tl_inodes_parent(&f->inodes, inode)), tl_inode_name(&f->inodes, inode),
                            inode->name_len);
    tl_inodes_unbind(&f->inodes, inode);
    push(f, &c);
}

/* What of path lies below root: its length is 0 for all of it. False: nothing of the mount is concerned. */
static bool below_root(const char *root, const char *path, size_t path_len, const char **rest, size_t *rest_len)
{
    size_t root_len = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (path_len == 1 && path[0] == '/')
        path_len = 0;
    *rest = path;
    *rest_len = 0;
    if (path_len <= root_len) /* at or above the root? */
        return memcmp(root, path, path_len) == 0 && (path_len == root_len || root[path_len] == '/' || path_len == 0);
    if (memcmp(root, path, root_len) != 0 || path[root_len] != '/')
        return false;
    *rest = path + root_len + 1;
    *rest_len = path_len - root_len - 1;
    return true;
}

/* Collects what is known at and below rest, a path relative to the root, and the directory that holds it. */
static void collect_below(struct collector *c, const char *rest, size_t rest_len)
{
    struct tl_inodes *t = &c->f->inodes;
    const struct tl_inode *inode = tl_inodes_get(t, TL_INODE_ROOT), *dir = NULL;
    while (rest_len > 0 && inode != NULL) {
        const char *slash = memchr(rest, '/', rest_len);
        size_t len = slash != NULL ? (size_t)(slash - rest) : rest_len;
        dir = inode;
        inode = len >= 1 && len <= TL_NAME_MAX ? tl_inodes_find(t, tl_inode_id(dir), rest, len) : NULL;
        if (inode == NULL && c->names && len >= 1 && len <= TL_NAME_MAX) /* known to be missing, perhaps */
            tl_notify_job_entry(c->job, tl_inode_id(dir), rest, len);
        size_t step = slash != NULL ? len + 1 : len;
        rest += step;
        rest_len -= step;
    }
    if (dir != NULL)
        tl_notify_job_inode(c->job, tl_inode_id(dir));
    if (inode != NULL)
        tl_inodes_visit_below(t, inode, collect, c);
}

void tl_fuse_invalidate(struct tl_fuse *f, const char *path, uint16_t path_len)
{
    const char *rest;
    size_t rest_len;
    if (f->ended || !below_root(f->source_root, path, path_len, &rest, &rest_len))
        return;
    bool told = f->epoch && tl_fuse_inc_epoch(f) == 0;
    struct collector c = {.f = f, .job = tl_notify_job_new(), .names = !told};
    if (c.job != NULL)
        collect_below(&c, rest, rest_len);
    push(f, &c);
}
