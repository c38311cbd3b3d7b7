// SPDX-License-Identifier: Apache-2.0
#include "archive/pack.h"
#include "base/beside.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/listing.h"
#include "base/time.h"
#include "front/tree/control.h"

#define TIMEOUT_MS 600000u /* for one file of a slow storage */
#define BLOCK      (1u << 20)

struct pack {
    struct archive *out;
    int control, memory_fd; /* memory_fd: what the daemon has written */
    const struct tl_choice *choice;
    struct tl_manifest manifest;
    struct tl_pack_stats *stats;
    char **dirs; /* done, then to do; parents before children */
    size_t dir_count, dir_room;
    uint8_t *block;
    struct tl_error *err;
};

static int failed(struct pack *p, const char *path)
{
    int code = archive_errno(p->out);
    return tl_error_set(p->err, code > 0 ? -code : -EIO, "%s: cannot be put into the archive: %s", path,
                        archive_error_string(p->out));
}

/* One request whose answer comes into memory_fd. */
static int ask(struct pack *p, const char *const *args, char *answer, size_t size)
{
    if (ftruncate(p->memory_fd, 0) != 0)
        return tl_error_set(p->err, -errno, "memory for %s: %s", args[1], strerror(errno));
    return tl_control_ask(p->control, args, p->memory_fd, TIMEOUT_MS, answer, size, p->err);
}

static int read_memory(struct pack *p, uint64_t at, void *to, size_t len)
{
    for (size_t have = 0; have < len;) {
        ssize_t n = pread(p->memory_fd, (uint8_t *)to + have, len - have, (off_t)(at + have));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EBADMSG;
        have += (size_t)n;
    }
    return 0;
}

static int push_dir(struct pack *p, const char *path)
{
    if (p->dir_count == p->dir_room) {
        size_t room = p->dir_room == 0 ? 64 : p->dir_room * 2;
        char **grown = realloc(p->dirs, room * sizeof *grown);
        if (grown == NULL)
            return tl_error_set(p->err, -ENOMEM, "%s: out of memory", path);
        p->dirs = grown;
        p->dir_room = room;
    }
    p->dirs[p->dir_count] = strdup(path);
    if (p->dirs[p->dir_count] == NULL)
        return tl_error_set(p->err, -ENOMEM, "%s: out of memory", path);
    p->dir_count++;
    return 0;
}

/* ---- entries ---- */

/* The owner's rights are what the user may do: whoever unpacks it owns the files. */
static uint32_t mode_of(const struct tl_attr *a)
{
    uint32_t mode = a->mode & TL_MANIFEST_MODE & ~(uint32_t)(S_IRUSR | S_IXUSR);
    if (S_ISLNK(a->mode))
        return 0777;
    return mode | ((a->access & R_OK) != 0 ? S_IRUSR : 0) | ((a->access & X_OK) != 0 ? S_IXUSR : 0);
}

static int write_header(struct pack *p, const struct tl_manifest_line *line)
{
    struct archive_entry *e = archive_entry_new();
    if (e == NULL)
        return tl_error_set(p->err, -ENOMEM, "%s: out of memory", line->path);
    struct timespec mtime = tl_time_to_timespec(line->mtime_ns);
    archive_entry_copy_pathname(e, line->path);
    archive_entry_set_filetype(e, line->type == 'd' ? AE_IFDIR : line->type == 'l' ? AE_IFLNK : AE_IFREG);
    archive_entry_set_perm(e, line->mode & TL_MANIFEST_MODE);
    archive_entry_set_mtime(e, mtime.tv_sec, mtime.tv_nsec);
    archive_entry_set_size(e, (la_int64_t)line->size_bytes);
    if (line->target != NULL)
        archive_entry_copy_symlink(e, line->target);
    int rc = archive_write_header(p->out, e) >= ARCHIVE_WARN ? 0 : failed(p, line->path);
    archive_entry_free(e);
    return rc;
}

/* What has no contents. */
static int write_name(struct pack *p, char type, const char *path, const struct tl_attr *a, const char *target)
{
    struct tl_manifest_line line = {
        .type = type, .mode = mode_of(a), .mtime_ns = a->mtime_ns, .path = path + 1, .target = target};
    int rc = write_header(p, &line);
    tl_manifest_add(&p->manifest, &line);
    p->stats->entries++;
    return rc;
}

/* The contents are in memory_fd. Writes them, and says what their digest is. */
static int write_contents(struct pack *p, const char *path, uint64_t size, char hex[TL_MANIFEST_ID_SIZE])
{
    unsigned char digest[32];
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof digest);
    for (uint64_t at = 0; at < size;) {
        size_t n = size - at < BLOCK ? (size_t)(size - at) : BLOCK;
        int rc = read_memory(p, at, p->block, n);
        if (rc != 0)
            return tl_error_set(p->err, rc, "%s: what the daemon gave cannot be read: %s", path, strerror(-rc));
        crypto_generichash_update(&state, p->block, n);
        if (archive_write_data(p->out, p->block, n) != (la_ssize_t)n)
            return failed(p, path);
        at += n;
    }
    crypto_generichash_final(&state, digest, sizeof digest);
    sodium_bin2hex(hex, TL_MANIFEST_ID_SIZE, digest, sizeof digest);
    return 0;
}

static int write_file(struct pack *p, const char *path, const struct tl_attr *a)
{
    char version[24], answer[256], hex[TL_MANIFEST_ID_SIZE];
    snprintf(version, sizeof version, "%llu", (unsigned long long)a->version);
    const char *const args[] = {"fetch", path, version, NULL};
    struct tl_manifest_line line = {.type = 'f',
                                    .mode = mode_of(a),
                                    .mtime_ns = a->mtime_ns,
                                    .size_bytes = a->size_bytes,
                                    .digest = hex,
                                    .path = path + 1};
    int rc = (a->access & R_OK) != 0 ? ask(p, args, answer, sizeof answer) : -EACCES;
    if (rc == -EACCES) {
        p->stats->unreadable++;
        return 0;
    }
    if (rc == -ESTALE)
        return tl_error_set(p->err, rc, "%s: has changed meanwhile; `tiercel flush` and export again", path);
    if (rc == 0 && tl_control_number(answer, "bytes") != a->size_bytes)
        rc = tl_error_set(p->err, -ESTALE, "%s: has another size than its directory says; export again", path);
    if (rc == 0)
        rc = write_header(p, &line);
    if (rc == 0)
        rc = write_contents(p, path, a->size_bytes, hex);
    if (rc != 0)
        return rc;
    tl_manifest_add(&p->manifest, &line);
    p->stats->entries++;
    p->stats->files++;
    p->stats->bytes += a->size_bytes;
    return 0;
}

/* ---- directories ---- */

static int write_entry(struct pack *p, const char *dir, const struct tl_listing_entry *e)
{
    char path[PATH_MAX + TL_NAME_MAX + 2], target[TL_LINK_MAX + 1];
    snprintf(path, sizeof path, "%s/%.*s", dir, (int)e->name_len, e->name);
    if (e->attr.status != 0) {
        p->stats->unreadable++;
        return 0;
    }
    if (S_ISLNK(e->attr.mode)) {
        snprintf(target, sizeof target, "%.*s", (int)e->target_len, e->target);
        return write_name(p, 'l', path, &e->attr, target);
    }
    if (S_ISDIR(e->attr.mode)) {
        int rc = write_name(p, 'd', path, &e->attr, NULL);
        bool enter = (e->attr.access & R_OK) != 0 && tl_choice_has_dir(p->choice, path);
        p->stats->unreadable += (e->attr.access & R_OK) == 0;
        return rc == 0 && enter ? push_dir(p, path) : rc;
    }
    if (S_ISREG(e->attr.mode) && tl_choice_has_file(p->choice, dir, path, e->attr.size_bytes))
        return write_file(p, path, &e->attr);
    return 0; /* sockets, devices, and what was not chosen */
}

static int write_directory(struct pack *p, const char *dir, bool first)
{
    const char *const args[] = {"list", dir, NULL};
    char answer[256];
    struct tl_listing l;
    struct tl_listing_entry e;
    struct tl_attr self;
    int rc = ask(p, args, answer, sizeof answer);
    if (rc != 0)
        return rc;
    uint64_t len = tl_control_number(answer, "bytes");
    uint8_t *blob = len <= TL_LISTING_SIZE_MAX ? malloc(len + 1) : NULL;
    rc = blob != NULL ? read_memory(p, 0, blob, len) : -ENOMEM;
    if (rc == 0)
        rc = tl_listing_open(&l, blob, len);
    if (rc != 0)
        tl_error_set(p->err, rc, "%s: its listing cannot be read: %s", dir, strerror(-rc));
    if (rc == 0 && first) {
        tl_listing_self(&l, &self);
        self.access = R_OK | X_OK; /* it was listed */
        rc = write_name(p, 'd', dir, &self, NULL);
    }
    for (uint32_t i = 0; rc == 0 && i < l.count; i++) {
        tl_listing_at(&l, i, &e);
        rc = write_entry(p, dir, &e);
    }
    free(blob);
    return rc;
}

static int write_manifest(struct pack *p)
{
    struct tl_manifest *m = &p->manifest;
    if (tl_manifest_end(m) != 0)
        return tl_error_set(p->err, -ENOMEM, "out of memory for the archive's manifest");
    const struct tl_manifest_line line = {.type = 'f', .mode = 0644, .size_bytes = m->len, .path = TL_MANIFEST_PATH};
    int rc = write_header(p, &line);
    if (rc == 0 && archive_write_data(p->out, m->text, m->len) != (la_ssize_t)m->len)
        rc = failed(p, TL_MANIFEST_PATH);
    tl_manifest_id(m->text, m->len, p->stats->id);
    return rc;
}

/* ---- the archive ---- */

static int open_archive(struct pack *p, const char *path)
{
    p->out = archive_write_new();
    if (p->out == NULL)
        return tl_error_set(p->err, -ENOMEM, "%s: out of memory", path);
    if (archive_write_set_format_pax(p->out) != ARCHIVE_OK || archive_write_add_filter_zstd(p->out) != ARCHIVE_OK ||
        archive_write_open_filename(p->out, path) != ARCHIVE_OK)
        return tl_error_set(p->err, -EIO, "%s: cannot be written: %s", path, archive_error_string(p->out));
    return 0;
}

static int write_all(struct pack *p, const char *source, const char *fresh)
{
    int rc = open_archive(p, fresh);
    if (rc == 0 && tl_manifest_begin(&p->manifest) != 0)
        rc = tl_error_set(p->err, -ENOMEM, "%s: out of memory", source);
    if (rc == 0)
        tl_manifest_head(&p->manifest, source, p->choice->all);
    if (rc == 0)
        rc = push_dir(p, source);
    for (size_t i = 0; rc == 0 && i < p->dir_count; i++) {
        char dir[PATH_MAX]; /* the table moves when it grows */
        snprintf(dir, sizeof dir, "%s", p->dirs[i]);
        rc = write_directory(p, dir, i == 0);
    }
    if (rc == 0)
        rc = write_manifest(p);
    if (rc == 0 && archive_write_close(p->out) != ARCHIVE_OK)
        rc = failed(p, fresh);
    return rc;
}

int tl_pack(const char *socket, const char *source, const struct tl_choice *choice, const char *archive,
            struct tl_pack_stats *stats, struct tl_error *err)
{
    struct pack p = {.control = -1, .choice = choice, .stats = stats, .err = err, .block = malloc(BLOCK)};
    struct tl_beside b;
    *stats = (struct tl_pack_stats){0};
    int rc = tl_beside_begin(&b, archive);
    const bool begun = rc == 0;
    if (rc != 0)
        tl_error_set(err, rc, "%s: too long", archive);
    p.memory_fd = memfd_create("tiercel-archive", MFD_CLOEXEC);
    if (rc == 0 && (p.block == NULL || p.memory_fd < 0 || sodium_init() < 0))
        rc = tl_error_set(err, -ENOMEM, "no memory to read files into");
    if (rc == 0)
        rc = (p.control = tl_control_connect(socket, err)) < 0 ? p.control : 0;
    if (rc == 0)
        rc = write_all(&p, source, b.path);
    if (p.out != NULL)
        archive_write_free(p.out);
    if (begun) {
        int placed = tl_beside_end(&b, rc);
        if (rc == 0 && placed != 0)
            rc = tl_error_set(err, placed, "%s: cannot be put in its place: %s", archive, strerror(-placed));
    }
    tl_manifest_fini(&p.manifest);
    for (size_t i = 0; i < p.dir_count; i++)
        free(p.dirs[i]);
    free(p.dirs);
    free(p.block);
    if (p.control >= 0)
        close(p.control);
    if (p.memory_fd >= 0)
        close(p.memory_fd);
    return rc;
}
