// SPDX-License-Identifier: Apache-2.0
/* What local clients are given without a mount: listings and files, whole, into a file of theirs in memory.
 *
 *   list PATH            + descriptor: the listing of a directory (base/listing.h). {"bytes": N}
 *   xattrs PATH          + descriptor: the extended attributes of a file or directory (base/xattrs.h). {"bytes": N}
 *   fetch PATH [VERSION] + descriptor: a regular file. {"bytes": N, "version": V, "mode": M, "mtime_ns": T}. With VERSION
 *                        (as the listing has it) another one is ESTALE; without, a file that changes meanwhile is begun anew.
 *
 * PATH is absolute and without symbolic links. The descriptor has to be of a file in memory (tmpfs, memfd): writing to it never
 * waits for a disk, a pipe's reader, or this daemon itself. */
#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/listing.h"
#include "daemon/daemon.h"

#define TRIES_MAX 4u /* of a file that changes meanwhile */

struct tl_local {
    struct tl_control *control; /* NULL: free */
    const char *path;           /* the control's, until it is answered */
    int fd;
    enum tl_op blob;   /* list, xattrs: what is asked for; 0: fetch */
    bool alone;        /* the directory may not be listed: the name is asked for by itself */
    uint64_t wanted;   /* version; 0: any */
    struct tl_attr at; /* of the file; version 0: not known yet */
    uint64_t got_bytes;
    uint64_t tree_bytes; /* that count as a tree's while they are on their way */
    uint32_t uses;       /* of this place: a late answer finds another number */
    uint32_t tries;
};

static uint32_t index_of(const struct tl_daemon *d, const struct tl_local *l)
{
    return (uint32_t)(l - d->locals);
}

/* whole: the file has its content. */
static void end(struct tl_daemon *d, struct tl_local *l, bool whole)
{
    tl_trees_end(d, l->tree_bytes, whole);
    close(l->fd);
    *l = (struct tl_local){.uses = l->uses + 1};
}

static void fail(struct tl_daemon *d, struct tl_local *l, int code)
{
    struct tl_error err;
    if (code == -ENOSPC || code == -ENOMEM)
        tl_error_set(&err, code,
                     "%s: no room in shared memory for its content; make some, or raise its limit (df, tiercel cache)",
                     l->path);
    else if (code == -ESTALE)
        tl_error_set(&err, code, "%s: changes while it is read, or is another version; ask again", l->path);
    else
        tl_error_set(&err, code, "%s: %s", l->path, strerror(-code));
    struct tl_control *c = l->control;
    end(d, l, false);
    tl_control_fail(c, &err);
}

/* Asks for what is missing next: the listing, or the file's next bytes. */
static void ask(struct tl_daemon *d, struct tl_local *l)
{
    size_t len = strlen(l->path);
    const char *slash = strrchr(l->path, '/');
    size_t dir_len = slash == l->path ? 1 : (size_t)(slash - l->path);
    struct tl_request r = {.id = (uint64_t)l->uses << 16 | index_of(d, l), .op = TL_OP_LIST, .path = l->path};
    if (l->blob != 0) {
        r.op = l->blob;
    } else if (l->at.version != 0) {
        uint64_t left = l->at.size_bytes - l->got_bytes;
        r.op = TL_OP_READ;
        r.version = l->at.version;
        r.file_size_bytes = l->at.size_bytes;
        r.offset = l->got_bytes;
        r.length = left < TL_READ_SIZE_MAX ? (uint32_t)left : TL_READ_SIZE_MAX;
    } else if (l->alone) {
        r.op = TL_OP_ENTRY;
    }
    r.path_len = (uint16_t)(r.op == TL_OP_LIST && l->blob == 0 ? dir_len : len);
    tl_record_request(d, &r);
    tl_drive_request(d, TL_FRONT_LOCAL, &r);
}

/* Copies an answer into the client's file. 0 or -errno. */
static int put(struct tl_daemon *d, const struct tl_local *l, const struct tl_answer *a, uint64_t *offset)
{
    for (uint32_t i = 0; i < a->ref_count; i++) {
        const char *bytes = tl_arena_at(d->arena, a->refs[i].addr);
        for (uint32_t done = 0; done < a->refs[i].len;) {
            ssize_t n = pwrite(l->fd, bytes + done, a->refs[i].len - done, (off_t)*offset);
            if (n <= 0)
                return n < 0 ? -errno : -EIO;
            done += (uint32_t)n;
            *offset += (uint64_t)n;
        }
    }
    return 0;
}

static void finish(struct tl_daemon *d, struct tl_local *l)
{
    struct tl_control *c = l->control;
    struct stat st;
    if (fstat(l->fd, &st) != 0 ||
        ((uint64_t)st.st_size != l->got_bytes && ftruncate(l->fd, (off_t)l->got_bytes) != 0)) {
        fail(d, l, -errno);
        return;
    }
    json_t *said = json_pack("{s:I}", "bytes", (json_int_t)l->got_bytes);
    if (l->blob == 0) {
        json_object_set_new(said, "version", json_sprintf("%llu", (unsigned long long)l->at.version));
        json_object_set_new(said, "mode", json_integer(l->at.mode));
        json_object_set_new(said, "mtime_ns", json_integer(l->at.mtime_ns));
    }
    end(d, l, true);
    tl_control_reply(c, 'r', said);
}

/* The listing in which the file is to be found. */
static void listed(struct tl_daemon *d, struct tl_local *l, const struct tl_answer *a)
{
    struct tl_listing view;
    struct tl_listing_entry e;
    const char *name = strrchr(l->path, '/') + 1;
    if (tl_listing_reopen(&view, tl_arena_at(d->arena, a->refs[0].addr), a->refs[0].len) != 0)
        fail(d, l, -EBADMSG);
    else if (tl_listing_find(&view, name, strlen(name), &e) != 0)
        fail(d, l, -ENOENT);
    else if (e.attr.status != 0)
        fail(d, l, e.attr.status);
    else if (!S_ISREG(e.attr.mode))
        fail(d, l, S_ISDIR(e.attr.mode) ? -EISDIR : S_ISLNK(e.attr.mode) ? -ELOOP : -EINVAL);
    else if (l->wanted != 0 && e.attr.version != l->wanted)
        fail(d, l, -ESTALE);
    else {
        l->at = e.attr;
        l->got_bytes = 0;
        tl_trees_end(d, l->tree_bytes, false); /* of a try before */
        l->tree_bytes = 0;
        int rc = tl_trees_begin(d, l->fd, l->path, e.attr.size_bytes, &l->tree_bytes);
        if (rc != 0)
            fail(d, l, rc);
        else if (e.attr.size_bytes == 0)
            finish(d, l);
        else
            ask(d, l);
    }
}

void tl_local_answer(struct tl_daemon *d, const struct tl_answer *a)
{
    struct tl_local *l = &d->locals[a->id & 0xffff];
    if (l->control == NULL || l->uses != (uint32_t)(a->id >> 16))
        return;
    if (a->status == -ESTALE && l->wanted == 0 && l->tries++ < TRIES_MAX) {
        l->at.version = 0;
        ask(d, l);
    } else if (a->status == -EACCES && l->blob == 0 && !l->alone && l->at.version == 0) {
        l->alone = true;
        ask(d, l);
    } else if (a->status != 0) {
        fail(d, l, a->status);
    } else if (l->blob == 0 && l->at.version == 0) {
        listed(d, l, a);
    } else {
        int rc = put(d, l, a, &l->got_bytes);
        if (rc != 0)
            fail(d, l, rc);
        else if (l->blob == 0 && l->got_bytes < l->at.size_bytes)
            ask(d, l);
        else
            finish(d, l);
    }
}

/* where PATH: what this node holds of it. */
void tl_verb_where(struct tl_daemon *d, struct tl_control *c)
{
    const char *path = tl_control_arg(c, 1), *slash = path == NULL ? NULL : strrchr(path, '/');
    struct tl_error err;
    if (slash == NULL || path[0] != '/' || strlen(path) > TL_PATH_MAX) {
        tl_error_set(&err, -EINVAL, "where wants an absolute path");
        tl_control_fail(c, &err);
        return;
    }
    struct tl_request object = {.op = TL_OP_LIST, .path = path, .path_len = (uint16_t)strlen(path)};
    struct tl_held held;
    struct tl_ref ref;
    bool known = tl_node_peek(d->node, TL_OP_LIST, path, (uint16_t)(slash == path ? 1 : slash - path), &ref) == 0;
    if (known && tl_warm_find_file(d, ref.addr, ref.len, slash + 1, (uint16_t)strlen(slash + 1), &object.version,
                                   &object.file_size_bytes) == 0)
        object.op = TL_OP_READ;
    tl_node_held(d->node, &object, &held);
    tl_control_reply(c, 'r',
                     json_pack("{s:i, s:s, s:s, s:I, s:i, s:i, s:i, s:i, s:b}", "rank", d->options.rank, "kind",
                               object.op == TL_OP_READ ? "file"
                               : held.present > 0      ? "listing"
                                                       : "unknown",
                               "state",
                               held.present == held.chunks ? "cached"
                               : held.present > 0          ? "partial"
                                                           : "absent",
                               "bytes", (json_int_t)held.bytes, "chunks", (int)held.chunks, "present",
                               (int)held.present, "hits", (int)held.hits, "root", (int)held.root, "pinned",
                               held.pinned));
}

static int check_target(int fd, struct tl_error *err)
{
    struct stat st;
    struct statfs fs;
    if (fd < 0 || fstat(fd, &st) != 0 || fstatfs(fd, &fs) != 0)
        return tl_error_set(err, -EBADF, "list, xattrs and fetch want a descriptor to write to");
    if (!S_ISREG(st.st_mode) || (fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC))
        return tl_error_set(err, -EINVAL,
                            "list, xattrs and fetch write to files in memory only: a memfd, or one in /dev/shm");
    return 0;
}

void tl_verb_local(struct tl_daemon *d, struct tl_control *c)
{
    const char *path = tl_control_arg(c, 1), *version = tl_control_arg(c, 2);
    struct tl_error err;
    uint32_t i = 0;
    int fd = tl_control_take_fd(c), rc = check_target(fd, &err);
    if (d->locals == NULL)
        d->locals = calloc(TL_CONTROLS_MAX, sizeof *d->locals);
    if (d->locals == NULL && rc == 0)
        rc = tl_error_set(&err, -ENOMEM, "out of memory");
    const char *verb = tl_control_arg(c, 0);
    enum tl_op blob = strcmp(verb, "list") == 0 ? TL_OP_LIST : strcmp(verb, "xattrs") == 0 ? TL_OP_XATTRS : 0;
    if (rc == 0 && (path == NULL || path[0] != '/' || strlen(path) > TL_PATH_MAX || (path[1] == 0 && blob == 0) ||
                    (path[1] != 0 && path[strlen(path) - 1] == '/')))
        rc = tl_error_set(&err, -EINVAL, "list, xattrs and fetch want an absolute path without a slash at its end");
    if (rc != 0) {
        if (fd >= 0)
            close(fd);
        tl_control_fail(c, &err);
        return;
    }
    while (i < TL_CONTROLS_MAX && d->locals[i].control != NULL)
        i++;
    check(i < TL_CONTROLS_MAX); /* one request a connection */
    struct tl_local *l = &d->locals[i];
    *l = (struct tl_local){.control = c, .path = path, .fd = fd, .blob = blob, .uses = l->uses};
    l->wanted = version != NULL ? strtoull(version, NULL, 10) : 0;
    ask(d, l);
    tl_drive_queue(d);
}

void tl_local_gone(struct tl_daemon *d, const struct tl_control *c)
{
    for (uint32_t i = 0; d->locals != NULL && i < TL_CONTROLS_MAX; i++)
        if (d->locals[i].control == c) {
            tl_drive_cancel(d, TL_FRONT_LOCAL, (uint64_t)d->locals[i].uses << 16 | i);
            end(d, &d->locals[i], false);
        }
}
