// SPDX-License-Identifier: Apache-2.0
/* Making all names of a tree from the listings of the tier.
 *
 * What differs from the source, for all files are the user's own here: the owner's read and execute bits are what the user may
 * do at the source, set-ID bits are left out, each hard link is a file, devices are left out. A relative link that leads out
 * of the source becomes an absolute one, so that it leads to the same file; all others stay as they are, absolute ones
 * too: bound over the source they are right, and at the prefix they lead to the source itself. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/listing.h"
#include "base/time.h"
#include "front/tree/internal.h"

struct directory {
    char *path; /* below the root; "" is the root itself */
    uint32_t mode;
    int64_t atime_ns, mtime_ns;
};

struct maker {
    int control;
    int root_fd; /* of the tree; -1: nothing is made, only looked at */
    uint64_t names;
    const char *source;
    struct directory *dirs; /* in the order in which they are found: parents first */
    size_t dir_count, dir_room;
    struct tl_index_file *files;
    size_t file_count, file_room;
    struct tl_error *err;
};

/* ---- what is collected ---- */

static int failed(struct maker *m, int rc, const char *path)
{
    if (rc == -ENOSPC)
        return tl_error_set(m->err, rc,
                            "no room for the names of %s: shared memory is full (df /dev/shm; df -i /dev/shm); remove "
                            "what is not needed (tiercel tree list), or set TIERCEL_TREE_DIR",
                            m->source);
    return tl_error_set(m->err, rc, "cannot make %s/%s in shared memory: %s", m->source, path, strerror(-rc));
}

static int push_directory(struct maker *m, const char *path, const struct tl_attr *a, uint32_t mode)
{
    if (m->dir_count == m->dir_room) {
        size_t room = m->dir_room * 2 + 64;
        struct directory *grown = reallocarray(m->dirs, room, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        m->dirs = grown;
        m->dir_room = room;
    }
    char *copy = strdup(path);
    if (copy == NULL)
        return -ENOMEM;
    m->dirs[m->dir_count++] =
        (struct directory){.path = copy, .mode = mode, .atime_ns = a->atime_ns, .mtime_ns = a->mtime_ns};
    return 0;
}

static int push_file(struct maker *m, const struct tl_index_file *f)
{
    if (m->file_count == m->file_room) {
        size_t room = m->file_room * 2 + 256;
        struct tl_index_file *grown = reallocarray(m->files, room, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        m->files = grown;
        m->file_room = room;
    }
    m->files[m->file_count++] = *f;
    return 0;
}

/* The permissions in the tree, where the user is every file's owner. */
static uint32_t own_mode(const struct tl_attr *a)
{
    uint32_t mode = a->mode & 0777 & ~(uint32_t)(S_IRUSR | S_IXUSR);
    if ((a->access & R_OK) != 0)
        mode |= S_IRUSR;
    if ((a->access & X_OK) != 0)
        mode |= S_IXUSR;
    return mode;
}

static int set_times(int dir_fd, const char *path, int64_t atime_ns, int64_t mtime_ns)
{
    struct timespec times[2] = {tl_time_to_timespec(atime_ns), tl_time_to_timespec(mtime_ns)};
    return utimensat(dir_fd, path, times, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : -errno;
}

/* ---- one name each ---- */

static int make_file(struct maker *m, const char *path, const struct tl_attr *a)
{
    uint32_t whole = own_mode(a), absent = whole & ~(uint32_t)0444;
    if ((whole & S_IRUSR) == 0)
        whole = absent = absent & ~(uint32_t)0111; /* what cannot be read could not be executed from here either */
    int fd = openat(m->root_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct timespec times[2] = {tl_time_to_timespec(a->atime_ns), tl_time_to_timespec(a->mtime_ns)};
    struct stat st = {0};
    bool ok = (a->size_bytes == 0 || ftruncate(fd, (off_t)a->size_bytes) == 0) && fstat(fd, &st) == 0 &&
              futimens(fd, times) == 0 && fchmod(fd, a->size_bytes > 0 ? absent : whole) == 0;
    int rc = ok ? 0 : -errno;
    close(fd);
    struct tl_index_file f = {.ino = st.st_ino,
                              .version = a->version,
                              .size_bytes = a->size_bytes,
                              .atime_ns = a->atime_ns,
                              .mtime_ns = a->mtime_ns,
                              .mode = whole};
    return rc == 0 ? push_file(m, &f) : rc;
}

/* Whether a relative link in the directory of path, below the source, leads out of the source. */
static bool leads_out(const char *path, const char *target)
{
    long depth = 0;
    for (const char *s = strchr(path, '/'); s != NULL; s = strchr(s + 1, '/'))
        depth++;
    for (const char *s = target; *s != '\0' && depth >= 0; s += strspn(s, "/")) {
        size_t len = strcspn(s, "/");
        bool here = len == 1 && s[0] == '.';
        depth += here ? 0 : len == 2 && s[0] == '.' && s[1] == '.' ? -1 : 1;
        s += len;
    }
    return depth < 0;
}

static int make_link(struct maker *m, const char *path, const struct tl_attr *a, const char *target)
{
    char absolute[2 * PATH_MAX + TL_LINK_MAX];
    if (target[0] != '/' && leads_out(path, target)) {
        const char *slash = strrchr(path, '/');
        snprintf(absolute, sizeof absolute, "%s/%.*s%s", m->source, slash != NULL ? (int)(slash + 1 - path) : 0, path,
                 target);
        target = strlen(absolute) < PATH_MAX ? absolute : target;
    }
    if (symlinkat(target, m->root_fd, path) != 0)
        return -errno;
    return set_times(m->root_fd, path, a->atime_ns, a->mtime_ns);
}

static int make_directory(struct maker *m, const char *path, const struct tl_attr *a)
{
    if (m->root_fd >= 0 && mkdirat(m->root_fd, path, 0700) != 0) /* its own mode comes when it is full */
        return -errno;
    return push_directory(m, path, a, own_mode(a));
}

static int make_special(struct maker *m, const char *path, const struct tl_attr *a)
{
    if (mknodat(m->root_fd, path, (a->mode & S_IFMT) | 0600, 0) != 0)
        return errno == EPERM ? 0 : -errno;
    return set_times(m->root_fd, path, a->atime_ns, a->mtime_ns);
}

/* All that a skeleton shows of an entry, but for the time of its last use. */
static void fold(struct maker *m, const struct tl_listing_entry *e)
{
    const struct tl_attr *a = &e->attr;
    const uint64_t facts[] = {m->names,
                              a->version,
                              a->size_bytes,
                              (uint64_t)a->mtime_ns,
                              (uint64_t)a->mode << 32 | a->access,
                              (uint64_t)e->name_len << 32 | e->target_len};
    m->names = tl_hash64(facts, sizeof facts, 0);
    m->names = tl_hash64(e->name, e->name_len, m->names);
    m->names = tl_hash64(e->target, e->target_len, m->names);
}

static int make_entry(struct maker *m, const char *dir, const struct tl_listing_entry *e)
{
    char path[PATH_MAX + TL_NAME_MAX + 2], target[TL_LINK_MAX + 1];
    int n = snprintf(path, sizeof path, "%s%s%.*s", dir, dir[0] != '\0' ? "/" : "", (int)e->name_len, e->name);
    if (e->attr.status != 0) /* the source itself could not tell what it is */
        return 0;
    fold(m, e);
    if (n >= PATH_MAX - (int)strlen(m->source) - 1)
        return failed(m, -ENAMETOOLONG, path);
    int rc = 0;
    if (S_ISDIR(e->attr.mode)) {
        rc = make_directory(m, path, &e->attr);
    } else if (m->root_fd < 0) {
        rc = 0;
    } else if (S_ISREG(e->attr.mode)) {
        rc = make_file(m, path, &e->attr);
    } else if (S_ISLNK(e->attr.mode)) {
        snprintf(target, sizeof target, "%.*s", (int)e->target_len, e->target);
        rc = make_link(m, path, &e->attr, target);
    } else if (S_ISFIFO(e->attr.mode) || S_ISSOCK(e->attr.mode)) {
        rc = make_special(m, path, &e->attr);
    }
    return rc == 0 ? 0 : failed(m, rc, path);
}

/* ---- all of them ---- */

static int full_path(const struct maker *m, const char *path, char *out, size_t size)
{
    int n = snprintf(out, size, "%s%s%s", m->source, path[0] != '\0' ? "/" : "", path);
    return n < (int)size ? 0 : -ENAMETOOLONG;
}

static int make_names(struct maker *m, const char *path, const void *blob, size_t len)
{
    struct tl_listing listing;
    if (tl_listing_open(&listing, blob, len) != 0)
        return tl_error_set(m->err, -EBADMSG, "the listing of %s/%s is damaged; see the daemon's log", m->source, path);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < listing.count; i++) {
        struct tl_listing_entry e;
        tl_listing_at(&listing, i, &e);
        rc = make_entry(m, path, &e);
    }
    return rc;
}

static int fill_directory(struct maker *m, size_t i)
{
    const char *path = m->dirs[i].path; /* stays where it is when dirs grows */
    char full[PATH_MAX];
    void *blob;
    size_t len;
    if ((m->dirs[i].mode & S_IRUSR) == 0) /* nobody can look into it at the source either */
        return 0;
    int rc = full_path(m, path, full, sizeof full);
    if (rc != 0)
        return failed(m, rc, path);
    rc = tl_blob_ask(m->control, "list", full, &blob, &len, m->err);
    if (rc != 0)
        return rc;
    rc = make_names(m, path, blob, len);
    free(blob);
    return rc;
}

/* Children before parents, for a change of a name changes the times of its directory. */
static int finish_directories(struct maker *m)
{
    for (size_t i = m->dir_count; i-- > 0;) {
        const struct directory *d = &m->dirs[i];
        const char *path = d->path[0] != '\0' ? d->path : ".";
        if (set_times(m->root_fd, path, d->atime_ns, d->mtime_ns) != 0 || fchmodat(m->root_fd, path, d->mode, 0) != 0)
            return failed(m, -errno, path);
    }
    return 0;
}

/* Makes dir/root/SOURCE and opens it. */
static int make_root(struct maker *m, const char *dir)
{
    char path[2 * PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/root%s", dir, m->source), root = (int)strlen(dir) + 5;
    if (n >= PATH_MAX)
        return failed(m, -ENAMETOOLONG, "");
    for (int i = root; i <= n; i++) {
        char c = path[i];
        if (c != '/' && c != '\0')
            continue;
        path[i] = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return failed(m, -errno, "");
        path[i] = c;
    }
    m->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return m->root_fd >= 0 ? 0 : failed(m, -errno, "");
}

/* The source's own directory: what all others start from. */
static int begin(struct maker *m)
{
    void *blob;
    size_t len;
    struct tl_listing listing;
    struct tl_attr self;
    int rc = tl_blob_ask(m->control, "list", m->source, &blob, &len, m->err);
    if (rc != 0)
        return rc;
    if (tl_listing_open(&listing, blob, len) != 0) {
        rc = tl_error_set(m->err, -EBADMSG, "the listing of %s is damaged; see the daemon's log", m->source);
    } else {
        tl_listing_self(&listing, &self);
        self.access = R_OK | X_OK; /* it was listed */
        const struct tl_listing_entry top = {.name = "", .target = "", .attr = self};
        fold(m, &top);
        rc = push_directory(m, "", &self, own_mode(&self));
    }
    free(blob);
    return rc;
}

static void end(struct maker *m)
{
    if (m->root_fd >= 0)
        close(m->root_fd);
    for (size_t i = 0; i < m->dir_count; i++)
        free(m->dirs[i].path);
    free(m->dirs);
    free(m->files);
}

int tl_skeleton_make(int control, const char *source, const char *dir, struct tl_error *err)
{
    struct maker m = {.control = control, .root_fd = -1, .source = source, .err = err};
    char index[PATH_MAX];
    int rc = begin(&m);
    if (rc == 0)
        rc = make_root(&m, dir);
    for (size_t i = 0; rc == 0 && i < m.dir_count; i++)
        rc = fill_directory(&m, i);
    if (rc == 0)
        rc = finish_directories(&m);
    if (rc == 0) {
        snprintf(index, sizeof index, "%s/index", dir);
        rc = tl_index_write(index, source, m.names, m.files, m.file_count);
        if (rc != 0)
            failed(&m, rc, "");
    }
    end(&m);
    return rc;
}

int tl_skeleton_names(int control, const char *source, uint64_t *out, struct tl_error *err)
{
    struct maker m = {.control = control, .root_fd = -1, .source = source, .err = err};
    int rc = begin(&m);
    for (size_t i = 0; rc == 0 && i < m.dir_count; i++)
        rc = fill_directory(&m, i);
    *out = m.names;
    end(&m);
    return rc;
}
