// SPDX-License-Identifier: Apache-2.0
/* The bytes may come from anybody, until the manifest has been compared: paths are walked name by name without following links,
 * only files, directories and links are made, each once, none outside the first directory. */
#include "archive/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/time.h"

#define BLOCK (1u << 20)

struct directory { /* whose permissions and time come last */
    char *path;
    uint32_t mode;
    int64_t mtime_ns;
};

struct unpack {
    struct archive *in;
    const char *name; /* of the archive */
    int root_fd;
    struct tl_manifest manifest; /* of what has come */
    struct tl_unpack_stats *stats;
    struct directory *dirs;
    size_t dir_count, dir_room;
    uint8_t *block;
    char *text; /* the archive's own manifest */
    struct tl_error *err;
};

#define AGAIN "get it again, or export it anew"

static int damaged(struct unpack *u, const char *what, const char *path)
{
    return tl_error_set(u->err, -EBADMSG, "%s: %s%s%s; nothing of it was kept: " AGAIN, u->name, what,
                        path[0] != '\0' ? ": " : "", path);
}

/* What libarchive says. */
static int unreadable(struct unpack *u)
{
    const char *why = archive_error_string(u->in);
    return damaged(u, "is cut short, damaged, or no archive of tiercel", why != NULL ? why : "");
}

static int cannot(struct unpack *u, int rc, const char *path)
{
    return tl_error_set(u->err, rc, "%s: /%s cannot be made: %s%s", u->name, path, strerror(-rc),
                        rc == -ENOSPC ? "; make room (df), or import it elsewhere with --to" : "");
}

/* ---- places ---- */

/* Relative, with plain names only. */
static bool path_valid(const char *path)
{
    if (path == NULL || strlen(path) >= PATH_MAX / 2)
        return false;
    for (const char *at = path;; at++) {
        size_t len = strcspn(at, "/");
        if (len == 0 || len > NAME_MAX || (at[0] == '.' && (len == 1 || (len == 2 && at[1] == '.'))))
            return false;
        at += len;
        if (*at == '\0')
            return true;
    }
}

/* Opens the directory in which path is to be made; *name: its last name. make: what is missing on the way is made. */
static int open_parent(struct unpack *u, const char *path, bool make, const char **name)
{
    int fd = dup(u->root_fd);
    for (const char *slash = strchr(path, '/'); fd >= 0 && slash != NULL; slash = strchr(path, '/')) {
        char part[NAME_MAX + 1];
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        if (make)
            (void)mkdirat(fd, part, 0700);
        int next = openat(fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), code = errno;
        close(fd);
        errno = code;
        fd = next;
        path = slash + 1;
    }
    *name = path;
    return fd >= 0 ? fd : -errno;
}

static int push_dir(struct unpack *u, const struct tl_manifest_line *line)
{
    if (u->dir_count == u->dir_room) {
        size_t room = u->dir_room == 0 ? 64 : u->dir_room * 2;
        struct directory *grown = realloc(u->dirs, room * sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        u->dirs = grown;
        u->dir_room = room;
    }
    char *path = strdup(line->path);
    if (path == NULL)
        return -ENOMEM;
    u->dirs[u->dir_count++] = (struct directory){.path = path, .mode = line->mode, .mtime_ns = line->mtime_ns};
    return 0;
}

static int set_time(int dir_fd, const char *name, int64_t mtime_ns)
{
    struct timespec times[2] = {tl_time_to_timespec(mtime_ns), tl_time_to_timespec(mtime_ns)};
    return utimensat(dir_fd, name, times, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : -errno;
}

/* ---- entries ---- */

static int write_bytes(int fd, const uint8_t *bytes, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = write(fd, bytes + at, len - at);
        if (n < 0 && errno != EINTR)
            return -errno;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* The entry's contents into fd; their digest. */
static int copy_contents(struct unpack *u, int fd, const struct tl_manifest_line *line, char hex[TL_MANIFEST_ID_SIZE])
{
    unsigned char digest[32];
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof digest);
    uint64_t have = 0;
    for (la_ssize_t n; (n = archive_read_data(u->in, u->block, BLOCK)) != 0; have += (uint64_t)n) {
        if (n < 0)
            return unreadable(u);
        crypto_generichash_update(&state, u->block, (size_t)n);
        int rc = write_bytes(fd, u->block, (size_t)n);
        if (rc != 0)
            return cannot(u, rc, line->path);
    }
    crypto_generichash_final(&state, digest, sizeof digest);
    sodium_bin2hex(hex, TL_MANIFEST_ID_SIZE, digest, sizeof digest);
    u->stats->bytes += have;
    return have == line->size_bytes ? 0 : damaged(u, "a file has another size than it says", line->path);
}

static int make_file(struct unpack *u, int dir_fd, const char *name, struct tl_manifest_line *line,
                     char hex[TL_MANIFEST_ID_SIZE])
{
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? damaged(u, "has a name twice", line->path) : cannot(u, -errno, line->path);
    int rc = copy_contents(u, fd, line, hex);
    line->digest = hex;
    if (rc == 0 && fchmod(fd, line->mode) != 0)
        rc = cannot(u, -errno, line->path);
    if (close(fd) != 0 && rc == 0)
        rc = cannot(u, -errno, line->path);
    if (rc == 0 && (rc = set_time(dir_fd, name, line->mtime_ns)) != 0)
        rc = cannot(u, rc, line->path);
    u->stats->files++;
    return rc;
}

static int make_name(struct unpack *u, int dir_fd, const char *name, const struct tl_manifest_line *line)
{
    int rc = line->type == 'd' ? mkdirat(dir_fd, name, 0700) : symlinkat(line->target, dir_fd, name);
    if (rc != 0)
        return errno == EEXIST ? damaged(u, "has a name twice", line->path) : cannot(u, -errno, line->path);
    rc = line->type == 'd' ? push_dir(u, line) : set_time(dir_fd, name, line->mtime_ns);
    return rc == 0 ? 0 : cannot(u, rc, line->path);
}

/* NULL: none, or one that is no text here. */
static const char *path_of(struct archive_entry *e)
{
    const char *path = archive_entry_pathname(e);
    return path != NULL ? path : archive_entry_pathname_utf8(e);
}

/* An entry's header as a line. False: no line of ours. */
static bool describe(struct archive_entry *e, struct tl_manifest_line *line)
{
    const struct timespec mtime = {.tv_sec = archive_entry_mtime(e), .tv_nsec = archive_entry_mtime_nsec(e)};
    unsigned type = archive_entry_filetype(e);
    *line = (struct tl_manifest_line){.type = type == AE_IFDIR   ? 'd'
                                              : type == AE_IFREG ? 'f'
                                                                 : 'l',
                                      .mode = archive_entry_perm(e) & TL_MANIFEST_MODE,
                                      .mtime_ns = tl_time_from_parts(mtime.tv_sec, (uint32_t)mtime.tv_nsec),
                                      .size_bytes = type == AE_IFREG ? (uint64_t)archive_entry_size(e) : 0,
                                      .path = path_of(e),
                                      .target = type != AE_IFLNK                   ? NULL
                                                : archive_entry_symlink(e) != NULL ? archive_entry_symlink(e)
                                                                                   : archive_entry_symlink_utf8(e)};
    bool known = type == AE_IFDIR || type == AE_IFREG || (type == AE_IFLNK && line->target != NULL);
    return known && archive_entry_hardlink(e) == NULL && line->path != NULL;
}

static int unpack_entry(struct unpack *u, struct archive_entry *e)
{
    struct tl_manifest_line line;
    char hex[TL_MANIFEST_ID_SIZE], path[PATH_MAX];
    bool known = describe(e, &line), first = u->manifest.count == 0;
    if (!known)
        return damaged(u, "has an entry that is no file, directory or link", line.path != NULL ? line.path : "");
    snprintf(path, sizeof path, "%s", line.path);
    size_t len = strlen(path);
    if (line.type == 'd' && len > 1 && path[len - 1] == '/') /* tar's way to write directories */
        path[len - 1] = '\0';
    line.path = path;
    const char *source = u->stats->source + 1;
    size_t source_len = first ? 0 : strlen(source);
    if (!path_valid(path) || (first && line.type != 'd') ||
        (!first && (strncmp(path, source, source_len) != 0 || path[source_len] != '/')))
        return damaged(u, "has a path that leads out of it", path);
    if (first)
        snprintf(u->stats->source, sizeof u->stats->source, "/%s", path);
    const char *name;
    int dir_fd = open_parent(u, path, first, &name);
    if (dir_fd < 0)
        return damaged(u, "has a path in no directory", path);
    int rc = line.type == 'f' ? make_file(u, dir_fd, name, &line, hex) : make_name(u, dir_fd, name, &line);
    close(dir_fd);
    if (rc == 0)
        tl_manifest_add(&u->manifest, &line);
    return rc;
}

/* ---- the manifest ---- */

static int read_manifest(struct unpack *u, struct archive_entry *e)
{
    la_int64_t size = archive_entry_size(e);
    if (size <= 0 || size > (la_int64_t)TL_MANIFEST_MAX)
        return damaged(u, "has no manifest", "");
    u->text = calloc(1, (size_t)size + 1);
    if (u->text == NULL)
        return tl_error_set(u->err, -ENOMEM, "%s: out of memory", u->name);
    if (archive_read_data(u->in, u->text, (size_t)size) != size)
        return unreadable(u);
    tl_manifest_id(u->text, (size_t)size, u->stats->id);
    return strlen(u->text) == (size_t)size ? 0 : damaged(u, "has no manifest", "");
}

static int compare(struct unpack *u, const char *id)
{
    char source[PATH_MAX], where[256];
    const char *rest = NULL;
    if (u->text == NULL)
        return damaged(u, "is cut short: its manifest is missing", "");
    if (tl_manifest_end(&u->manifest) != 0)
        return tl_error_set(u->err, -ENOMEM, "%s: out of memory", u->name);
    if (tl_manifest_read_head(u->text, source, &u->stats->all, &rest) != 0)
        return damaged(u, "its manifest is of another release, or none", "");
    if (strcmp(source, u->stats->source) != 0)
        return damaged(u, "its manifest is that of another archive", source);
    if (strcmp(rest, u->manifest.text) != 0) {
        tl_manifest_difference(rest, u->manifest.text, where, sizeof where);
        return damaged(u, "was altered: it is not what its manifest says", where);
    }
    if (id != NULL && strcmp(id, u->stats->id) != 0)
        return tl_error_set(u->err, -EBADMSG, "%s: is whole, but another archive than %s: it is %s", u->name, id,
                            u->stats->id);
    u->stats->entries = u->manifest.count;
    return 0;
}

/* Children before parents: a name made in a directory changes its time. */
static int finish_directories(struct unpack *u)
{
    for (size_t i = u->dir_count; i-- > 0;) {
        const struct directory *d = &u->dirs[i];
        const char *name;
        int fd = open_parent(u, d->path, false, &name);
        int rc = fd < 0 ? fd : set_time(fd, name, d->mtime_ns);
        if (rc == 0 && fchmodat(fd, name, d->mode, 0) != 0)
            rc = -errno;
        if (fd >= 0)
            close(fd);
        if (rc != 0)
            return cannot(u, rc, d->path);
    }
    return 0;
}

static int unpack_all(struct unpack *u)
{
    struct archive_entry *e;
    int rc = 0;
    for (int got; rc == 0 && (got = archive_read_next_header(u->in, &e)) != ARCHIVE_EOF;) {
        if (got < ARCHIVE_WARN)
            return unreadable(u);
        const char *path = path_of(e);
        if (u->text != NULL)
            rc = damaged(u, "has something behind its manifest", path != NULL ? path : "");
        else if (path != NULL && strcmp(path, TL_MANIFEST_PATH) == 0)
            rc = read_manifest(u, e);
        else
            rc = unpack_entry(u, e);
    }
    return rc;
}

static int open_archive(struct unpack *u, const char *root)
{
    u->block = malloc(BLOCK);
    u->in = archive_read_new();
    if (u->block == NULL || u->in == NULL || sodium_init() < 0 || tl_manifest_begin(&u->manifest) != 0)
        return tl_error_set(u->err, -ENOMEM, "%s: out of memory", u->name);
    u->root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (u->root_fd < 0)
        return tl_error_set(u->err, -errno, "%s: %s", root, strerror(errno));
    int fd = open(u->name, O_RDONLY | O_CLOEXEC), code = errno;
    if (fd < 0)
        return tl_error_set(u->err, -code, "%s: %s", u->name, strerror(code));
    close(fd);
    archive_read_support_filter_zstd(u->in);
    archive_read_support_format_tar(u->in);
    return archive_read_open_filename(u->in, u->name, BLOCK) == ARCHIVE_OK ? 0 : unreadable(u);
}

int tl_unpack(const char *archive, const char *root, const char *id, struct tl_unpack_stats *stats,
              struct tl_error *err)
{
    struct unpack u = {.name = archive, .root_fd = -1, .stats = stats, .err = err};
    *stats = (struct tl_unpack_stats){.all = false};
    int rc = open_archive(&u, root);
    if (rc == 0)
        rc = unpack_all(&u);
    if (rc == 0)
        rc = compare(&u, id);
    if (rc == 0)
        rc = finish_directories(&u);
    tl_manifest_fini(&u.manifest);
    for (size_t i = 0; i < u.dir_count; i++)
        free(u.dirs[i].path);
    free(u.dirs);
    free(u.text);
    free(u.block);
    if (u.in != NULL)
        archive_read_free(u.in);
    if (u.root_fd >= 0)
        close(u.root_fd);
    return rc;
}
