// SPDX-License-Identifier: Apache-2.0
/* See fake_host.h. Addresses of refs are plain pointers. Aborts on failures of its own. */
#include "front/fake_host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/listing.h"
#include "base/time.h"
#include "base/xattrs.h"

static uint8_t access_bits(const struct fake_host *h, const struct stat *st)
{
    unsigned shift = 0;
    if (st->st_uid == h->uid)
        shift = 6;
    for (size_t i = 0; shift == 0 && i < h->gid_count; i++)
        if (st->st_gid == h->gids[i])
            shift = 3;
    return (st->st_mode >> shift) & 7;
}

static void to_attr(const struct fake_host *h, const struct stat *st, struct tl_attr *attr)
{
    *attr = (struct tl_attr){
        .ino = st->st_ino,
        .size_bytes = (uint64_t)st->st_size,
        .blocks = (uint64_t)st->st_blocks,
        .atime_ns = tl_time_from_parts(st->st_atim.tv_sec, (uint32_t)st->st_atim.tv_nsec),
        .mtime_ns = tl_time_from_parts(st->st_mtim.tv_sec, (uint32_t)st->st_mtim.tv_nsec),
        .ctime_ns = tl_time_from_parts(st->st_ctim.tv_sec, (uint32_t)st->st_ctim.tv_nsec),
        .mode = st->st_mode,
        .nlink = (uint32_t)st->st_nlink,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .rdev = (uint32_t)st->st_rdev,
        .access = access_bits(h, st),
    };
    attr->version = tl_attr_version(st->st_dev, st->st_ino, attr->size_bytes, attr->mtime_ns, attr->ctime_ns);
}

static void add_entry(struct fake_host *h, struct tl_listing_builder *b, int dir_fd, const char *name)
{
    struct stat st;
    struct tl_attr attr = {.status = 0};
    char target[TL_LINK_MAX];
    ssize_t target_len = 0;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        attr.status = -errno;
    else
        to_attr(h, &st, &attr);
    bool link = attr.status == 0 && S_ISLNK(st.st_mode);
    if (link)
        target_len = readlinkat(dir_fd, name, target, sizeof target);
    check(target_len >= 0);
    int rc = tl_listing_builder_add(b, name, strlen(name), &attr, link ? target : NULL, (size_t)target_len);
    check(rc == 0);
}

static int build(struct fake_host *h, const char *path, void **blob, size_t *len)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        return -ENOTDIR;
    struct tl_attr self;
    to_attr(h, &st, &self);
    if ((self.access & R_OK) == 0)
        return -EACCES;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return -errno;
    struct tl_listing_builder *b = NULL;
    int rc = tl_listing_builder_new(&b, &self);
    check(rc == 0);
    for (struct dirent *d; (d = readdir(dir)) != NULL;)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            add_entry(h, b, dirfd(dir), d->d_name);
    closedir(dir);
    rc = tl_listing_builder_finish(b, blob, len);
    tl_listing_builder_free(b);
    return rc;
}

/* As the source's entries: the listing of the directory, with this name only. */
static int build_entry(struct fake_host *h, const char *path, void **blob, size_t *len)
{
    char dir[TL_PATH_MAX + 1];
    struct stat st;
    struct tl_attr self;
    const char *name = strrchr(path, '/') + 1;
    snprintf(dir, sizeof dir, "%.*s", (int)(name - path), path);
    if (stat(dir, &st) != 0)
        return -errno;
    to_attr(h, &st, &self);
    if ((self.access & X_OK) == 0)
        return -EACCES;
    if (lstat(path, &st) != 0)
        return -errno;
    int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct tl_listing_builder *b = NULL;
    int rc = tl_listing_builder_new(&b, &self);
    check(dir_fd >= 0 && rc == 0);
    add_entry(h, b, dir_fd, name);
    close(dir_fd);
    rc = tl_listing_builder_finish(b, blob, len);
    tl_listing_builder_free(b);
    return rc;
}

/* user.* only, which any file system that the tests run on has. */
static int build_xattrs(struct fake_host *h, const char *path, void **blob, size_t *len)
{
    static char names[65536], value[65536];
    struct tl_xattrs_builder b = {.bytes = NULL};
    ssize_t used = h->xattrs_status < 0 ? 0 : llistxattr(path, names, sizeof names);
    if (h->xattrs_status < 0 || used < 0)
        return h->xattrs_status < 0 ? h->xattrs_status : -errno;
    int rc = tl_xattrs_begin(&b);
    for (const char *name = names; name < names + used; name += strlen(name) + 1) {
        ssize_t size = lgetxattr(path, name, value, sizeof value);
        rc = rc == 0 ? tl_xattrs_add(&b, name, value, size < 0 ? 0 : (size_t)size, size < 0 ? errno : 0) : rc;
    }
    check(rc == 0);
    tl_xattrs_finish(&b, blob, len);
    return 0;
}

static int fake_peek(void *ctx, enum tl_op op, const char *path, uint16_t path_len, struct tl_ref *ref)
{
    struct fake_host *h = ctx;
    for (size_t i = 0; i < h->listing_count; i++) {
        if (h->listings[i].op == op && strlen(h->listings[i].path) == path_len &&
            memcmp(h->listings[i].path, path, path_len) == 0) {
            *ref = (struct tl_ref){.addr = (uint64_t)(uintptr_t)h->listings[i].blob, .len = h->listings[i].len};
            return 0;
        }
    }
    return -ENOENT;
}

static void fake_request(void *ctx, uint32_t front, const struct tl_request *request)
{
    struct fake_host *h = ctx;
    check(front == 7 && h->queue_len < FAKE_QUEUE_MAX && request->path_len <= TL_PATH_MAX);
    struct fake_request *r = &h->queue[h->queue_len++];
    r->request = *request;
    r->cancelled = false;
    memcpy(r->path, request->path, request->path_len);
    r->path[request->path_len] = '\0';
}

static void fake_cancel(void *ctx, uint32_t front, uint64_t id)
{
    struct fake_host *h = ctx;
    check(front == 7);
    h->cancels++;
    for (size_t i = 0; i < h->queue_len; i++)
        if (h->queue[i].request.id == id)
            h->queue[i].cancelled = true;
}

static const void *fake_bytes(void *ctx, uint64_t addr)
{
    (void)ctx;
    return (const void *)(uintptr_t)addr;
}

static void fake_ended(void *ctx, uint32_t front, int status)
{
    struct fake_host *h = ctx;
    check(front == 7 && !h->ended);
    h->ended = true;
    h->ended_status = status;
}

/* One chunk of three of every file, all of every directory. */
static void fake_held(void *ctx, const struct tl_request *object, struct tl_held *out)
{
    (void)ctx;
    *out = (struct tl_held){
        .chunks = object->op == TL_OP_READ ? 3 : 1, .present = 1, .bytes = 262144, .hits = 7, .root = 5};
}

void fake_host_init(struct fake_host *h)
{
    *h = (struct fake_host){.uid = getuid()};
    h->host = (struct tl_front_host){.ctx = h,
                                     .request = fake_request,
                                     .cancel = fake_cancel,
                                     .bytes = fake_bytes,
                                     .peek = fake_peek,
                                     .held = fake_held,
                                     .rank = 3,
                                     .ended = fake_ended};
    h->queue = calloc(FAKE_QUEUE_MAX, sizeof *h->queue);
    check(h->queue != NULL);
}

void fake_host_flush(struct fake_host *h)
{
    for (size_t i = 0; i < h->listing_count; i++) {
        free(h->listings[i].path);
        free(h->listings[i].blob);
    }
    h->listing_count = 0;
}

void fake_host_fini(struct fake_host *h)
{
    fake_host_flush(h);
    free(h->listings);
    free(h->queue);
}

static void answer_blob(struct fake_host *h, const struct fake_request *r)
{
    void *blob = NULL;
    size_t len = 0;
    struct tl_answer answer = {.id = r->request.id};
    if (r->request.op == TL_OP_LIST)
        answer.status = build(h, r->path, &blob, &len);
    else if (r->request.op == TL_OP_ENTRY)
        answer.status = build_entry(h, r->path, &blob, &len);
    else
        answer.status = build_xattrs(h, r->path, &blob, &len);
    h->lists += r->request.op == TL_OP_LIST;
    h->entries += r->request.op == TL_OP_ENTRY;
    h->xattrs += r->request.op == TL_OP_XATTRS;
    if (answer.status == 0) {
        if (h->listing_count == h->listing_cap) {
            h->listing_cap = h->listing_cap * 2 + 16;
            h->listings = realloc(h->listings, h->listing_cap * sizeof *h->listings);
            check(h->listings != NULL);
        }
        h->listings[h->listing_count++] =
            (struct fake_listing){.op = r->request.op, .path = strdup(r->path), .blob = blob, .len = (uint32_t)len};
        answer.ref_count = 1;
        answer.refs[0] = (struct tl_ref){.addr = (uint64_t)(uintptr_t)blob, .len = (uint32_t)len};
    }
    tl_fuse_answer(h->fuse, &answer);
}

/* Reads the bytes and cuts them at chunk borders, as a node answers. */
static void answer_read(struct fake_host *h, const struct fake_request *r)
{
    struct tl_answer answer = {.id = r->request.id};
    struct stat st;
    struct tl_attr attr = {.version = 0};
    int fd = open(r->path, O_RDONLY | O_CLOEXEC);
    char *bytes = malloc(r->request.length);
    check(bytes != NULL);
    h->reads++;
    if (fd < 0 || fstat(fd, &st) != 0)
        answer.status = errno == ENOENT ? -ESTALE : -errno;
    else
        to_attr(h, &st, &attr);
    if (answer.status == 0 && attr.version != r->request.version)
        answer.status = -ESTALE;
    if (answer.status == -ESTALE)
        fake_host_flush(h); /* as the node drops the listing that told this version */
    uint64_t at = r->request.offset, end = at + r->request.length;
    if (answer.status == 0)
        check(end <= attr.size_bytes && pread(fd, bytes, r->request.length, (off_t)at) == (ssize_t)r->request.length);
    for (uint64_t from = at; answer.status == 0 && from < end;) {
        uint64_t border = from / TL_CHUNK_SIZE * TL_CHUNK_SIZE + TL_CHUNK_SIZE, to = border < end ? border : end;
        answer.refs[answer.ref_count++] =
            (struct tl_ref){.addr = (uint64_t)(uintptr_t)(bytes + (from - at)), .len = (uint32_t)(to - from)};
        from = to;
    }
    tl_fuse_answer(h->fuse, &answer);
    free(bytes);
    if (fd >= 0)
        close(fd);
}

void fake_host_step(struct fake_host *h)
{
    size_t kept = 0, len = h->queue_len;
    for (size_t i = 0; i < len; i++) {
        struct fake_request r = h->queue[i];
        struct tl_answer answer = {.id = r.request.id};
        if (r.cancelled) {
            answer.status = -ECANCELED;
            tl_fuse_answer(h->fuse, &answer);
        } else if (strcmp(r.path, h->failing) == 0) {
            answer.status = h->fail_status;
            tl_fuse_answer(h->fuse, &answer);
        } else if (strcmp(r.path, h->held) == 0) {
            h->queue[kept++] = r;
        } else if (tl_op_is_blob(r.request.op)) {
            answer_blob(h, &r);
        } else {
            answer_read(h, &r);
        }
    }
    /* What answers have asked for meanwhile stands behind. */
    memmove(h->queue + kept, h->queue + len, (h->queue_len - len) * sizeof *h->queue);
    h->queue_len = kept + h->queue_len - len;
}
