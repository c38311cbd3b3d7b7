// SPDX-License-Identifier: Apache-2.0
/* The file system operations of busyfs. Each counts, pays its service time, then passes through to the source.
 * Called from many threads of many mounts; all shared state has its own lock. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lab/busyfs.h"

#include "base/check.h"

enum { REPLY_MAX = 1 << 20 };

static struct busy_mount *mount_of(fuse_req_t req)
{
    struct busy_mount *m = fuse_req_userdata(req);
    check(m != NULL);
    return m;
}

static struct busy_node *node_of(struct busy_mount *m, fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? m->fs->tree.root : (struct busy_node *)(uintptr_t)ino;
}

static void fail(fuse_req_t req, int error)
{
    check(error > 0);
    atomic_fetch_add(&mount_of(req)->counters.errors, 1);
    fuse_reply_err(req, error);
}

static void busy_init(void *userdata, struct fuse_conn_info *conn)
{
    (void)userdata;
    unsigned wanted = FUSE_CAP_READDIRPLUS | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_READ;
    conn->want |= conn->capable & wanted;
    conn->want &= ~(unsigned)FUSE_CAP_READDIRPLUS_AUTO; /* attributes come with the listing, always */
    conn->max_readahead = REPLY_MAX;
    conn->max_background = 64;
    conn->congestion_threshold = 64;
}

/* Fills an entry for the kernel from a name's attributes. */
static void fill_entry(struct busy_mount *m, struct busy_node *n, const struct stat *st, struct fuse_entry_param *e)
{
    memset(e, 0, sizeof(*e));
    e->ino = (fuse_ino_t)(uintptr_t)n;
    e->attr = *st;
    e->attr_timeout = m->fs->timeout_s;
    e->entry_timeout = m->fs->timeout_s;
    busy_tree_known(&m->fs->tree, n, m->index);
}

/* Attributes of a name below a directory. 0 or a negative errno. */
static int stat_child(struct busy_fs *fs, struct busy_node *parent, const char *name, struct busy_node **out,
                      struct stat *st)
{
    char path[PATH_MAX];
    char copy[NAME_MAX + 1];
    if (strlen(name) > NAME_MAX)
        return -ENAMETOOLONG;
    strcpy(copy, name);
    struct busy_node probe = {.parent = parent, .name = copy};
    int rc = busy_tree_path(&probe, path, sizeof(path));
    if (rc != 0)
        return rc;
    if (fstatat(fs->tree.source_fd, path, st, AT_SYMLINK_NOFOLLOW) != 0)
        return -errno;
    *out = busy_tree_child(&fs->tree, parent, name, st->st_mode & S_IFMT, false);
    return *out == NULL ? -ENOMEM : busy_tree_stat(&fs->tree, *out, st);
}

static void busy_lookup(fuse_req_t req, fuse_ino_t parent_ino, const char *name)
{
    struct busy_mount *m = mount_of(req);
    struct busy_tree *tree = &m->fs->tree;
    struct busy_node *parent = node_of(m, parent_ino), *n = NULL;
    struct fuse_entry_param e;
    struct stat st;
    atomic_fetch_add(&m->counters.lookups, 1);
    busy_model_metadata(&m->fs->model);
    int rc = stat_child(m->fs, parent, name, &n, &st);
    if (rc == -ENOENT) {
        atomic_fetch_add(&m->counters.missing, 1);
        if ((n = busy_tree_child(tree, parent, name, 0, true)) != NULL)
            busy_tree_touch(tree, n, BUSY_TOUCH_MISSING);
        fuse_reply_err(req, ENOENT);
    } else if (rc != 0) {
        fail(req, -rc);
    } else {
        busy_tree_touch(tree, n, BUSY_TOUCH_NAME);
        fill_entry(m, n, &st, &e);
        fuse_reply_entry(req, &e);
    }
}

static void busy_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)fi;
    struct busy_mount *m = mount_of(req);
    struct stat st;
    atomic_fetch_add(&m->counters.getattrs, 1);
    busy_model_metadata(&m->fs->model);
    int rc = busy_tree_stat(&m->fs->tree, node_of(m, ino), &st);
    if (rc != 0)
        fail(req, -rc);
    else
        fuse_reply_attr(req, &st, m->fs->timeout_s);
}

static void busy_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct busy_mount *m = mount_of(req);
    struct busy_node *n = node_of(m, ino);
    char path[PATH_MAX], target[PATH_MAX];
    atomic_fetch_add(&m->counters.readlinks, 1);
    busy_model_metadata(&m->fs->model);
    busy_tree_touch(&m->fs->tree, n, BUSY_TOUCH_LINK);
    int rc = busy_tree_path(n, path, sizeof(path));
    ssize_t len = rc == 0 ? readlinkat(m->fs->tree.source_fd, path, target, sizeof(target) - 1) : -1;
    if (len < 0) {
        fail(req, rc != 0 ? -rc : errno);
        return;
    }
    target[len] = '\0';
    fuse_reply_readlink(req, target);
}

/* Opens the source's file behind a node. Descriptor or a negative errno. */
static int open_node(struct busy_fs *fs, const struct busy_node *n, int flags)
{
    char path[PATH_MAX];
    int rc = busy_tree_path(n, path, sizeof(path));
    if (rc != 0)
        return rc;
    int fd = openat(fs->tree.source_fd, path, flags | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

static void busy_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct busy_mount *m = mount_of(req);
    struct busy_node *n = node_of(m, ino);
    struct stat st;
    atomic_fetch_add(&m->counters.opens, 1);
    busy_model_metadata(&m->fs->model);
    int error = busy_tree_fault(&m->fs->tree, &n->open_fault);
    int fd = error != 0 ? -error : open_node(m->fs, n, O_RDONLY);
    if (fd >= 0 && busy_tree_stat(&m->fs->tree, n, &st) != 0) {
        close(fd);
        fd = -EIO;
    }
    if (fd < 0) {
        fail(req, -fd);
        return;
    }
    busy_tree_touch(&m->fs->tree, n, BUSY_TOUCH_OPEN);
    fi->fh = (uint64_t)fd;
    fi->keep_cache = busy_tree_unchanged(&m->fs->tree, n, m->index, &st);
    if (fuse_reply_open(req, fi) != 0) /* the caller was interrupted: no RELEASE will come */
        close(fd);
}

static void busy_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    close((int)fi->fh);
    fuse_reply_err(req, 0);
}

/* Reads as much as there is of size bytes at offset. Count or a negative errno. */
static ssize_t read_all(int fd, char *buf, size_t size, off_t offset)
{
    size_t have = 0;
    while (have < size) {
        ssize_t got = pread(fd, buf + have, size - have, offset + (off_t)have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        have += (size_t)got;
    }
    return (ssize_t)have;
}

/* A file that changed by injection shows other bytes: each is XORed with how often it changed. */
static void show_generation(const struct busy_node *n, char *buf, size_t len)
{
    if (n->generation != 0)
        for (size_t i = 0; i < len; i++)
            buf[i] = (char)(buf[i] ^ (char)n->generation);
}

static void busy_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct busy_mount *m = mount_of(req);
    struct busy_node *n = node_of(m, ino);
    char *buf = malloc(size > 0 ? size : 1);
    int error = buf == NULL ? ENOMEM : busy_tree_fault(&m->fs->tree, &n->read_fault);
    atomic_fetch_add(&m->counters.reads, 1);
    bool changes = busy_tree_change(&m->fs->tree, n);
    ssize_t len = error != 0 ? -error : read_all((int)fi->fh, buf, size, offset);
    busy_model_data(&m->fs->model, len > 0 ? (uint64_t)len : 0);
    if (len < 0) {
        fail(req, (int)-len);
    } else {
        atomic_fetch_add(&m->counters.bytes, (uint64_t)len);
        busy_tree_touch_read(&m->fs->tree, n, (uint64_t)offset, (uint64_t)len);
        show_generation(n, buf, (size_t)len);
        fuse_reply_buf(req, buf, (size_t)len);
    }
    free(buf);
    if (changes) /* only now: the kernel holds the pages of this very read locked until it is answered */
        busy_invalidate(m->fs, n);
}

/* Adds one name to a page of a listing, with its attributes. False: the page is full. */
static bool add_name(fuse_req_t req, struct busy_node *dir, const struct dirent *d, char *buf, size_t size,
                     size_t *used)
{
    struct busy_mount *m = mount_of(req);
    struct busy_node *n = NULL;
    struct fuse_entry_param e;
    struct stat st;
    memset(&e, 0, sizeof(e));
    memset(&st, 0, sizeof(st));
    if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
        stat_child(m->fs, dir, d->d_name, &n, &st) == 0) {
        fill_entry(m, n, &st, &e);
    } else {
        e.attr.st_ino = d->d_ino;
        e.attr.st_mode = (mode_t)d->d_type << 12;
    }
    size_t need = fuse_add_direntry_plus(req, buf + *used, size - *used, d->d_name, &e, d->d_off);
    if (need > size - *used)
        return false;
    *used += need;
    return true;
}

/* Fills a page from the source's own directory offsets, which are stable. Bytes, or a negative errno. */
static ssize_t fill_page(fuse_req_t req, struct busy_node *dir, char *buf, size_t size, off_t offset)
{
    struct busy_mount *m = mount_of(req);
    int fd = open_node(m->fs, dir, O_RDONLY | O_DIRECTORY);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    size_t used = 0;
    if (fd < 0)
        return fd;
    if (d == NULL) {
        close(fd);
        return -ENOMEM;
    }
    seekdir(d, offset);
    for (struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d))
        if (!add_name(req, dir, entry, buf, size, &used))
            break;
    closedir(d);
    return (ssize_t)used;
}

/* ENOSYS once: from then on the kernel opens directories itself and keeps their listings. A listing costs its pages. */
static void busy_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    (void)fi;
    fuse_reply_err(req, ENOSYS);
}

static void busy_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    (void)fi;
    struct busy_mount *m = mount_of(req);
    struct busy_node *dir = node_of(m, ino);
    char *buf = malloc(size);
    ssize_t len = buf == NULL ? -ENOMEM : fill_page(req, dir, buf, size, offset);
    if (len > 0) {
        atomic_fetch_add(&m->counters.readdirs, 1);
        busy_tree_touch(&m->fs->tree, dir, BUSY_TOUCH_LIST);
        busy_model_metadata(&m->fs->model);
    } else if (len == 0) {
        atomic_fetch_add(&m->counters.readdir_ends, 1); /* a real client knows the end from the last page */
    }
    if (len < 0)
        fail(req, (int)-len);
    else
        fuse_reply_buf(req, buf, (size_t)len);
    free(buf);
}

static void busy_statfs(fuse_req_t req, fuse_ino_t ino)
{
    (void)ino;
    struct busy_mount *m = mount_of(req);
    struct statvfs st;
    atomic_fetch_add(&m->counters.statfs, 1);
    busy_model_metadata(&m->fs->model);
    int fd = openat(m->fs->tree.source_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? -1 : fstatvfs(fd, &st);
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (rc != 0)
        fail(req, error);
    else
        fuse_reply_statfs(req, &st);
}

static void busy_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
    (void)ino;
    atomic_fetch_add(&mount_of(req)->counters.others, 1);
    off_t at = lseek((int)fi->fh, offset, whence);
    if (at < 0)
        fail(req, errno);
    else
        fuse_reply_lseek(req, at);
}

static void busy_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
    (void)ino;
    (void)count; /* records are kept: see busyfs_tree.h */
    fuse_reply_none(req);
}

static void busy_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    (void)count;
    (void)forgets;
    fuse_reply_none(req);
}

void busy_invalidate(struct busy_fs *fs, struct busy_node *n)
{
    pthread_mutex_lock(&fs->tree.lock);
    uint64_t known = n->known_by;
    n->known_by = 0;
    memset(n->seen, 0, sizeof(n->seen));
    pthread_mutex_unlock(&fs->tree.lock);
    for (uint32_t i = 0; i < fs->mount_count; i++) {
        struct fuse_session *se = fs->mounts[i].session;
        fuse_ino_t self = n->parent == NULL ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)n;
        if ((known >> i & 1) == 0 && n->parent != NULL)
            continue;
        fuse_lowlevel_notify_inval_inode(se, self, 0, 0); /* ENOENT when the kernel has dropped it: fine */
        if (n->parent != NULL) {
            fuse_ino_t up = n->parent->parent == NULL ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)n->parent;
            fuse_lowlevel_notify_inval_entry(se, up, n->name, strlen(n->name));
        }
    }
}

/* No xattrs: what the lab runs asks for none that matter. */
const struct fuse_lowlevel_ops busy_ops = {
    .init = busy_init,
    .lookup = busy_lookup,
    .forget = busy_forget,
    .forget_multi = busy_forget_multi,
    .getattr = busy_getattr,
    .readlink = busy_readlink,
    .open = busy_open,
    .release = busy_release,
    .read = busy_read,
    .opendir = busy_opendir,
    .readdirplus = busy_readdirplus,
    .statfs = busy_statfs,
    .lseek = busy_lseek,
};
