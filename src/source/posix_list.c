// SPDX-License-Identifier: Apache-2.0
/* A directory's listing: names in large pages, each name's attributes in directory order (so that a file system that
 * reads attributes ahead, as Lustre does, sees the pattern), links' targets.
 *
 * Where each name costs a round trip (links, and file systems that do not read attributes ahead), one worker after the
 * other would wait: after SLOW_TOTAL_NS of that, idle workers are asked to take part.
 *
 * Whole or not at all: when the names cannot all be read, the listing fails. Only what lstat says about one name is
 * recorded with that name. */
#include "source/posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/time.h"

#define TRIES_MAX       3         /* a directory that changes under the reader is read again */
#define INTERRUPTED_MAX 100       /* system calls repeated after a signal */
#define PAGES_MAX       (1 << 20) /* getdents calls for one directory: far more than a listing may hold */

#define BATCH 4 /* names taken at a time */
/* A walk is slow when it has taken so long, and so long for each name on average. */
#define SLOW_TOTAL_NS (1 * TL_NS_PER_MS)
#define SLOW_NAME_NS  (50 * TL_NS_PER_US)

static void lock(struct tl_posix_walk *w)
{
    check(pthread_mutex_lock(&w->lock) == 0);
}

static void unlock(struct tl_posix_walk *w)
{
    check(pthread_mutex_unlock(&w->lock) == 0);
}

static int open_directory(const char *path)
{
    int fd = -1;
    for (int i = 0; i < INTERRUPTED_MAX; i++) {
        fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 || errno != EINTR)
            break;
    }
    return fd >= 0 ? fd : -errno;
}

int tl_posix_look_at(struct tl_source *s, int dirfd, const char *name, struct tl_attr *attr, char *target,
                     size_t *target_len)
{
    for (int try = 0; try < TRIES_MAX; try++) {
        struct statx st;
        uint64_t dev;
        *target_len = 0;
        s->counters.lstats++;
        int rc = tl_posix_stat(dirfd, name, &st, &dev);
        if (rc == -ENOENT)
            return rc;
        *attr = (struct tl_attr){.status = rc};
        if (rc != 0)
            return 0;
        tl_posix_attr(s->rights, dirfd, name, &st, attr);
        if (!S_ISLNK(st.stx_mode))
            return 0;
        s->counters.readlinks++;
        ssize_t len = readlinkat(dirfd, name, target, TL_LINK_MAX + 1);
        if (len > 0 && len <= (ssize_t)TL_LINK_MAX) {
            *target_len = (size_t)len;
            return 0;
        }
        rc = len < 0 ? -errno : len == 0 ? -EIO : -ENAMETOOLONG;
        if (rc == -ENOENT)
            return rc;
        *attr = (struct tl_attr){.status = rc};
        if (rc != -EINVAL) /* EINVAL: no link any more; look again */
            return 0;
    }
    return 0;
}

int tl_posix_add(struct tl_listing_builder *b, const char *name, const struct tl_attr *attr, const char *target,
                 size_t target_len)
{
    int rc = tl_listing_builder_add(b, name, strlen(name), attr, target, target_len);
    if (rc == -EINVAL) {
        struct tl_attr broken = {.status = -EIO};
        rc = tl_listing_builder_add(b, name, strlen(name), &broken, NULL, 0);
    }
    return rc;
}

static int add_name(struct tl_posix_walk *w, const char *name)
{
    struct tl_attr attr;
    char target[TL_LINK_MAX + 1];
    size_t target_len = 0;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return 0;
    if (strlen(name) > TL_NAME_MAX)
        return -ENAMETOOLONG;
    const char *excluded = tl_posix_exclude_find(w->exclude, w->path, name);
    if (excluded != NULL)
        tl_posix_exclude_attr(excluded, &attr);
    else if (tl_posix_look_at(w->source, w->fd, name, &attr, target, &target_len) != 0)
        return 0;
    lock(w);
    int rc = tl_posix_add(w->builder, name, &attr, target, target_len);
    unlock(w);
    return rc;
}

/* Takes the next names: true with [*from, *to) of the page. */
static bool take(struct tl_posix_walk *w, size_t *from, size_t *to)
{
    lock(w);
    *from = w->taken;
    for (int i = 0; i < BATCH && w->status == 0 && w->taken < w->page_len; i++) {
        const struct dirent64 *entry = (const void *)(w->page + w->taken);
        if (entry->d_reclen == 0)
            w->status = -EIO;
        w->taken += entry->d_reclen;
    }
    bool some = w->status == 0 && w->taken > *from;
    *to = w->taken;
    unlock(w);
    return some;
}

/* Adds a few names. How many; 0: there is nothing left to do. */
static uint32_t add_batch(struct tl_posix_walk *w)
{
    size_t at, end;
    uint32_t count = 0;
    int rc = w->source->stopping ? -ESHUTDOWN : 0;
    if (rc == 0 && !take(w, &at, &end))
        return 0;
    for (; rc == 0 && at < end; count++) {
        const struct dirent64 *entry = (const void *)(w->page + at);
        at += entry->d_reclen;
        rc = add_name(w, entry->d_name);
    }
    if (rc == 0)
        return count;
    lock(w);
    w->status = w->status == 0 ? rc : w->status;
    unlock(w);
    return 0;
}

bool tl_posix_walk_help(struct tl_posix_walk *w)
{
    while (!tl_posix_work_waits(w->source)) { /* each turn takes names off the page */
        if (add_batch(w) == 0)
            return true;
    }
    return false;
}

static int add_page(struct tl_posix_walk *w, const char *page, size_t len)
{
    w->page = page;
    w->page_len = len;
    w->taken = 0;
    uint64_t start_ns = tl_time_mono_ns(), names = 0;
    bool slow = w->source->config.threads == 1; /* then there is nobody to ask */
    for (uint32_t n = add_batch(w); n > 0; n = add_batch(w)) {
        names += n;
        uint64_t spent_ns = slow ? 0 : tl_time_mono_ns() - start_ns;
        if (spent_ns > SLOW_TOTAL_NS && spent_ns > names * SLOW_NAME_NS) {
            slow = true;
            tl_posix_walk_publish(w->source, w);
        }
    }
    tl_posix_walk_finish(w->source, w);
    return w->status;
}

static int add_all(struct tl_posix_walk *w, void *page)
{
    for (int i = 0; i < PAGES_MAX; i++) {
        ssize_t len = getdents64(w->fd, page, TL_SOURCE_PAGE_SIZE);
        if (len < 0 && errno == EINTR)
            continue;
        if (len <= 0)
            return len < 0 ? -errno : 0;
        int rc = add_page(w, page, (size_t)len);
        if (rc != 0)
            return rc;
    }
    return -EFBIG;
}

static int list_once(struct tl_posix_walk *w, void *page, void **blob, size_t *len)
{
    struct statx st;
    struct tl_attr self;
    uint64_t dev;
    /* Before the names: should the directory change while they are read, its attributes are the older ones, and the
     * change shows when they are looked at again. */
    int rc = tl_posix_stat(w->fd, "", &st, &dev);
    if (rc != 0)
        return rc;
    tl_posix_attr(w->source->rights, w->fd, "", &st, &self);
    rc = tl_listing_builder_new(&w->builder, &self);
    if (rc != 0)
        return rc;
    w->status = 0;
    if (!tl_posix_is_pseudo(&w->source->devices, w->fd, dev))
        rc = add_all(w, page);
    if (rc == 0)
        rc = tl_listing_builder_finish(w->builder, blob, len);
    tl_listing_builder_free(w->builder);
    w->builder = NULL;
    return rc;
}

static int list_directory(struct tl_posix_walk *w, void *page, void **blob, size_t *len)
{
    w->source->counters.lists++;
    w->fd = open_directory(w->path);
    if (w->fd < 0)
        return w->fd;
    int rc = list_once(w, page, blob, len);
    /* A name twice: it was renamed while we read. */
    for (int try = 1; try < TRIES_MAX && rc == -EEXIST; try++) {
        w->source->counters.lists++;
        rc = lseek(w->fd, 0, SEEK_SET) == 0 ? list_once(w, page, blob, len) : -errno;
    }
    close(w->fd);
    return rc == -EEXIST ? -EIO : rc;
}

int tl_posix_list_excluded(const char *path, void **blob, size_t *len)
{
    struct tl_attr self;
    struct tl_listing_builder *b = NULL;
    tl_posix_exclude_attr(path, &self);
    int rc = tl_listing_builder_new(&b, &self);
    if (rc == 0)
        rc = tl_listing_builder_finish(b, blob, len);
    tl_listing_builder_free(b);
    return rc;
}

void tl_posix_list(struct tl_source *s, const struct tl_source_op *op, const char *path, void *page)
{
    struct tl_posix_exclude *exclude = tl_posix_exclude_ref(s);
    struct tl_posix_walk w = {.source = s, .path = path, .exclude = exclude, .fd = -1};
    struct tl_source_done done = {.cookie = op->cookie, .last = true};
    size_t len = 0;
    check(pthread_mutex_init(&w.lock, NULL) == 0);
    if (tl_posix_exclude_covers(exclude, path))
        done.status = tl_posix_list_excluded(path, &done.blob, &len);
    else
        done.status = page != NULL ? list_directory(&w, page, &done.blob, &len) : -ENOMEM;
    pthread_mutex_destroy(&w.lock);
    tl_posix_exclude_unref(exclude);
    if (done.status == 0) {
        done.len = (uint32_t)len;
        done.digest = tl_hash_bytes(done.blob, len, 0);
    }
    tl_posix_report(s, &done);
}
