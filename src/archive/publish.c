// SPDX-License-Identifier: Apache-2.0
/* A directory at a time, from a list that grows while it is worked off. Listings come from the posix source, so that what a web
 * server shows is what a file system would have shown. */
#include "archive/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/catalog.h"
#include "base/time.h"
#include "source/source.h"

#define TRIES_MAX 3 /* a directory that changes under us is read again */

struct work {
    struct tl_source *source;
    uint32_t chunk_size;
    struct tl_publish_stats *stats;
    char **paths; /* directories: done, then to do */
    size_t count, room;
    uint8_t *chunk;
    struct tl_hash *digests; /* of the present directory */
    size_t digest_count, digest_room;
    struct tl_error *err;
};

static int push_path(struct work *w, const char *dir, const char *name, size_t name_len)
{
    if (w->count == w->room) {
        size_t room = w->room == 0 ? 64 : w->room * 2;
        char **grown = realloc(w->paths, room * sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        w->paths = grown;
        w->room = room;
    }
    char *path = NULL;
    if (asprintf(&path, "%s%s%.*s", dir, name_len > 0 ? "/" : "", (int)name_len, name) < 0)
        return -ENOMEM;
    w->paths[w->count++] = path;
    return 0;
}

static int push_digest(struct work *w, struct tl_hash digest)
{
    if (w->digest_count == w->digest_room) {
        size_t room = w->digest_room == 0 ? 1024 : w->digest_room * 2;
        struct tl_hash *grown = realloc(w->digests, room * sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        w->digests = grown;
        w->digest_room = room;
    }
    w->digests[w->digest_count++] = digest;
    return 0;
}

static int list(struct work *w, const char *path, void **blob, size_t *len)
{
    const struct tl_source_op op = {.kind = TL_SOURCE_LIST, .path = path, .path_len = (uint16_t)strlen(path)};
    struct tl_source_done done;
    int rc = tl_source_submit(w->source, &op);
    while (rc == 0 && tl_source_reap(w->source, &done, 1) == 0) { /* one operation is under way */
        struct pollfd wait = {.fd = tl_source_fd(w->source), .events = POLLIN};
        (void)poll(&wait, 1, -1);
    }
    if (rc == 0)
        rc = done.status;
    if (rc == 0) {
        *blob = done.blob;
        *len = done.len;
    }
    return rc;
}

/* ---- files ---- */

/* Still the version that was listed? */
static int verify(int fd, const struct tl_attr *attr)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -errno;
    uint64_t version = tl_attr_version(0, st.st_ino, (uint64_t)st.st_size,
                                       tl_time_from_parts(st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec),
                                       tl_time_from_parts(st.st_ctim.tv_sec, (uint32_t)st.st_ctim.tv_nsec));
    return version == attr->version ? 0 : -ESTALE;
}

static int digest_chunk(struct work *w, int fd, uint64_t offset, uint64_t size)
{
    size_t len = size - offset < w->chunk_size ? (size_t)(size - offset) : w->chunk_size, have = 0;
    while (have < len) {
        ssize_t n = pread(fd, w->chunk + have, len - have, (off_t)(offset + have));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ESTALE;
        have += (size_t)n;
    }
    w->stats->bytes += len;
    return push_digest(w, tl_hash_bytes(w->chunk, len, 0));
}

/* All digests of one file. -ESTALE: it changed meanwhile; -EACCES: it cannot be read. */
static int digest_file(struct work *w, int dir_fd, const char *name, const struct tl_attr *attr)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ESTALE : -errno;
    int rc = verify(fd, attr);
    for (uint64_t at = 0; rc == 0 && at < attr->size_bytes; at += w->chunk_size)
        rc = digest_chunk(w, fd, at, attr->size_bytes);
    if (rc == 0)
        rc = verify(fd, attr);
    close(fd);
    return rc;
}

/* ---- directories ---- */

/* Who can ask the web server may read: no rights but these reach it. */
static uint8_t access_of(const struct tl_attr *attr)
{
    if (S_ISLNK(attr->mode))
        return R_OK | W_OK | X_OK;
    return S_ISDIR(attr->mode) || (attr->mode & 0111) != 0 ? R_OK | X_OK : R_OK;
}

static int add_entry(struct work *w, struct tl_listing_builder *b, int dir_fd, const char *dir,
                     struct tl_listing_entry *e)
{
    char name[TL_NAME_MAX + 1];
    memcpy(name, e->name, e->name_len);
    name[e->name_len] = '\0';
    if (strncmp(name, TL_CATALOG_NAME, sizeof TL_CATALOG_NAME - 1) == 0)
        return 0; /* our own, and what a run that was killed left of one */
    int rc = 0;
    if (e->attr.status == 0 && S_ISREG(e->attr.mode)) {
        rc = digest_file(w, dir_fd, name, &e->attr);
        w->stats->files += rc == 0;
    } else if (e->attr.status == 0 && S_ISDIR(e->attr.mode)) {
        rc = faccessat(dir_fd, name, R_OK | X_OK, AT_EACCESS) == 0 ? push_path(w, dir, name, e->name_len) : -errno;
    }
    if (rc == -EACCES || rc == -EPERM) {
        e->attr = (struct tl_attr){.status = -EACCES};
        w->stats->unreadable++;
        rc = 0;
    }
    if (rc != 0)
        return rc == -ESTALE ? rc : tl_error_set(w->err, rc, "%s/%s: cannot be read: %s", dir, name, strerror(-rc));
    if (e->attr.status == 0)
        e->attr.access = access_of(&e->attr);
    bool link = e->attr.status == 0 && S_ISLNK(e->attr.mode);
    return tl_listing_builder_add(b, name, e->name_len, &e->attr, link ? e->target : NULL, link ? e->target_len : 0);
}

/* Beside the old one, then in its place: who reads meanwhile gets one or the other. */
static int write_catalog(struct work *w, int dir_fd, const char *dir, const void *bytes, size_t len)
{
    static const char fresh[] = TL_CATALOG_NAME ".new";
    (void)unlinkat(dir_fd, fresh, 0);
    int fd = openat(dir_fd, fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    bool good = fd >= 0;
    for (size_t at = 0; good && at < len;) {
        ssize_t n = write(fd, (const uint8_t *)bytes + at, len - at);
        good = n > 0 || (n < 0 && errno == EINTR);
        at += n > 0 ? (size_t)n : 0;
    }
    good = good && fchmod(fd, 0644) == 0; /* the web server is another user */
    int rc = good ? 0 : -errno;
    if (fd >= 0 && close(fd) != 0 && rc == 0)
        rc = -errno;
    if (rc == 0 && renameat(dir_fd, fresh, dir_fd, TL_CATALOG_NAME) != 0)
        rc = -errno;
    if (rc != 0)
        (void)unlinkat(dir_fd, fresh, 0);
    return rc == 0 ? 0 : tl_error_set(w->err, rc, "%s/" TL_CATALOG_NAME ": cannot be written: %s", dir, strerror(-rc));
}

static int make_listing(struct work *w, int dir_fd, const char *dir, const struct tl_listing *l, void **blob,
                        size_t *len)
{
    struct tl_listing_builder *b = NULL;
    struct tl_listing_entry e;
    struct tl_attr self;
    tl_listing_self(l, &self);
    self.access = R_OK | X_OK;
    int rc = tl_listing_builder_new(&b, &self);
    for (uint32_t i = 0; rc == 0 && i < l->count; i++) {
        tl_listing_at(l, i, &e);
        rc = add_entry(w, b, dir_fd, dir, &e);
    }
    if (rc == 0)
        rc = tl_listing_builder_finish(b, blob, len);
    tl_listing_builder_free(b);
    return rc;
}

/* The directory's own time is that of what is in it, not of its catalog. */
static void keep_time(int dir_fd, const struct tl_listing *l)
{
    struct tl_attr self;
    tl_listing_self(l, &self);
    struct timespec times[2] = {tl_time_to_timespec(self.atime_ns), tl_time_to_timespec(self.mtime_ns)};
    (void)futimens(dir_fd, times);
}

/* One try. -ESTALE: something changed meanwhile. */
static int publish_once(struct work *w, int dir_fd, const char *dir)
{
    void *listed = NULL, *blob = NULL, *bytes = NULL;
    size_t listed_len = 0, blob_len = 0, len = 0;
    struct tl_listing l;
    w->digest_count = 0;
    int rc = list(w, dir, &listed, &listed_len);
    if (rc == 0)
        rc = tl_listing_open(&l, listed, listed_len);
    if (rc == 0)
        rc = make_listing(w, dir_fd, dir, &l, &blob, &blob_len);
    if (rc == 0)
        rc = tl_catalog_make(blob, blob_len, w->chunk_size, w->digests, w->digest_count, &bytes, &len);
    if (rc == 0)
        rc = write_catalog(w, dir_fd, dir, bytes, len);
    if (rc == 0)
        keep_time(dir_fd, &l);
    free(listed);
    free(blob);
    free(bytes);
    return rc;
}

static int publish_directory(struct work *w, const char *dir)
{
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir_fd < 0)
        return tl_error_set(w->err, -errno, "%s: %s", dir, strerror(errno));
    size_t before = w->count;
    int rc = -ESTALE;
    for (int i = 0; rc == -ESTALE && i < TRIES_MAX; i++) {
        while (w->count > before) /* of the try before */
            free(w->paths[--w->count]);
        rc = publish_once(w, dir_fd, dir);
    }
    close(dir_fd);
    w->stats->directories += rc == 0;
    if (rc == -ESTALE)
        return tl_error_set(w->err, rc, "%s: changes while it is exported; try again when it rests", dir);
    return rc == 0 || w->err->code != 0 ? rc : tl_error_set(w->err, rc, "%s: %s", dir, strerror(-rc));
}

int tl_publish(const char *root, uint32_t chunk_size, struct tl_publish_stats *stats, struct tl_error *err)
{
    const struct tl_source_config config = {
        .threads = 4, .queue_max = 1, .open_files_max = 1, .chunk_size_bytes = chunk_size};
    struct work w = {.chunk_size = chunk_size, .stats = stats, .err = err, .chunk = malloc(chunk_size)};
    *stats = (struct tl_publish_stats){0};
    *err = (struct tl_error){0};
    int rc = tl_source_posix_open(&w.source, &config, err);
    if (rc == 0 && (w.chunk == NULL || push_path(&w, root, "", 0) != 0))
        rc = tl_error_set(err, -ENOMEM, "%s: out of memory", root);
    for (size_t i = 0; rc == 0 && i < w.count; i++) {
        char *dir = strdup(w.paths[i]); /* the table moves when it grows */
        rc = dir != NULL ? publish_directory(&w, dir) : tl_error_set(err, -ENOMEM, "%s: out of memory", root);
        free(dir);
    }
    for (size_t i = 0; i < w.count; i++)
        free(w.paths[i]);
    free(w.paths);
    free(w.digests);
    free(w.chunk);
    tl_source_close(w.source);
    return rc;
}
