// SPDX-License-Identifier: Apache-2.0
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "archive/cont.h"
#include "base/beside.h"

#define KEYS       256u
#define KEYS_ROOM  (64u << 10)
#define EXTENTS    256u
#define BLOCK      512u       /* of tar: GNU tar wants what is not a hole to begin and end at such */
#define HOLE_PIECE (1u << 30) /* of a hole, which libarchive skips, but wants to be given */

struct writer {
    struct archive *out;
    struct tiercel_pool *pool;
    struct tiercel_cont *cont;
    const char *name, *archive; /* for sentences */
    struct tl_cont_digest digest;
    struct tl_cont_stats *stats;
    uint64_t epoch;
    struct tiercel_oid oid;
    struct tiercel_bytes dkey;
    struct tiercel_extent *extents; /* of the present array */
    size_t extent_count, extent_room;
    uint8_t *piece;
    const void *zeros;
    int64_t time_s;
    struct tl_error *err;
};

static int failed(struct writer *w)
{
    int code = archive_errno(w->out);
    return tl_error_set(w->err, code > 0 ? -code : -EIO, "%s: cannot be written: %s", w->archive,
                        archive_error_string(w->out));
}

static int no_memory(struct writer *w)
{
    return tl_error_set(w->err, -ENOMEM, "%s: out of memory", w->name);
}

static int unreadable(struct writer *w, int rc)
{
    char what[512], oid[48];
    tl_cont_oid_text(oid, w->oid);
    snprintf(what, sizeof what, "%s: object %s at epoch %" PRIu64, w->name, oid, w->epoch);
    return tl_cont_why(w->err, rc, what);
}

/* ---- entries ---- */

/* The extents of the present array as bytes, as far as tar can tell them from holes: whole blocks, none twice. */
static void add_sparse(const struct writer *w, struct archive_entry *e, uint64_t size, uint64_t record_size)
{
    uint64_t first = 0, end = 0;
    for (size_t i = 0; i < w->extent_count; i++) {
        uint64_t from = w->extents[i].first * record_size, to = from + w->extents[i].count * record_size;
        from -= from % BLOCK;
        to = to % BLOCK != 0 && size - to > BLOCK - to % BLOCK ? to + BLOCK - to % BLOCK : to % BLOCK != 0 ? size : to;
        if (i > 0 && from <= end) {
            end = to;
            continue;
        }
        if (i > 0)
            archive_entry_sparse_add_entry(e, (la_int64_t)first, (la_int64_t)(end - first));
        first = from;
        end = to;
    }
    if (w->extent_count > 0)
        archive_entry_sparse_add_entry(e, (la_int64_t)first, (la_int64_t)(end - first));
}

/* With the extents of the present array, if there are any. */
static int begin_entry(struct writer *w, const char *path, uint64_t size, uint64_t record_size)
{
    struct archive_entry *e = archive_entry_new();
    if (e == NULL)
        return no_memory(w);
    archive_entry_copy_pathname(e, path);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0644);
    archive_entry_set_mtime(e, w->time_s, 0);
    archive_entry_set_size(e, (la_int64_t)size);
    add_sparse(w, e, size, record_size);
    int rc = archive_write_header(w->out, e) >= ARCHIVE_WARN ? 0 : failed(w);
    archive_entry_free(e);
    return rc;
}

static int write_bytes(struct writer *w, const void *bytes, size_t len)
{
    while (len > 0) {
        la_ssize_t n = archive_write_data(w->out, bytes, len < HOLE_PIECE ? len : HOLE_PIECE);
        if (n <= 0)
            return failed(w);
        bytes = (const char *)bytes + n;
        len -= (size_t)n;
    }
    return 0;
}

static int write_text(struct writer *w, const char *path, const char *text)
{
    w->extent_count = 0;
    int rc = begin_entry(w, path, strlen(text), 1);
    return rc == 0 ? write_bytes(w, text, strlen(text)) : rc;
}

static void path_of(const struct writer *w, struct tiercel_bytes akey, uint64_t record_size,
                    char out[TL_CONT_PATH_SIZE])
{
    char oid[48], dkey_text[TL_CONT_NAME_SIZE], akey_text[TL_CONT_NAME_SIZE], kind[40] = "value";
    tl_cont_oid_text(oid, w->oid);
    tl_cont_name_escape(dkey_text, w->dkey);
    tl_cont_name_escape(akey_text, akey);
    if (record_size > 0)
        snprintf(kind, sizeof kind, "array-%" PRIu64, record_size);
    snprintf(out, TL_CONT_PATH_SIZE, "epoch-%" PRIu64 "/%s/%s/%s.%s", w->epoch, oid, dkey_text, akey_text, kind);
}

/* ---- arrays ---- */

/* Extents of the akey into w->extents, neighbours as one. */
static int add_extent(struct writer *w, struct tiercel_extent extent)
{
    struct tiercel_extent *last = w->extent_count > 0 ? &w->extents[w->extent_count - 1] : NULL;
    if (last != NULL && last->first + last->count == extent.first) {
        last->count += extent.count;
        return 0;
    }
    if (w->extent_count == w->extent_room) {
        size_t room = w->extent_room == 0 ? EXTENTS : w->extent_room * 2;
        struct tiercel_extent *grown = realloc(w->extents, room * sizeof *grown);
        if (grown == NULL)
            return no_memory(w);
        w->extents = grown;
        w->extent_room = room;
    }
    w->extents[w->extent_count++] = extent;
    return 0;
}

static int read_extents(struct writer *w, struct tiercel_bytes akey, uint64_t *record_size)
{
    struct tiercel_anchor anchor = {0};
    struct tiercel_extent some[EXTENTS];
    int rc = 0;
    w->extent_count = 0;
    *record_size = 0;
    while (rc == 0 && anchor.end == 0) {
        unsigned count = EXTENTS;
        uint64_t size = 0;
        rc = tiercel_list_extents(w->cont, w->epoch, w->oid, w->dkey, akey, &anchor, some, &count, &size, NULL);
        if (rc == -EINVAL) /* a single value */
            return 0;
        if (rc < 0)
            return unreadable(w, rc);
        *record_size = size > 0 ? size : *record_size;
        for (unsigned i = 0; rc == 0 && i < count; i++)
            rc = add_extent(w, some[i]);
    }
    return rc;
}

static int write_hole(struct writer *w, uint64_t len)
{
    int rc = 0;
    while (rc == 0 && len > 0) {
        size_t n = len < HOLE_PIECE ? (size_t)len : HOLE_PIECE;
        rc = write_bytes(w, w->zeros, n);
        len -= n;
    }
    return rc;
}

static int write_extent(struct writer *w, struct tiercel_bytes akey, struct tiercel_extent extent, uint64_t record_size)
{
    uint64_t each = TL_CONT_PIECE / record_size;
    int rc = 0;
    while (rc == 0 && extent.count > 0) {
        struct tiercel_extent part = {.first = extent.first, .count = extent.count < each ? extent.count : each};
        size_t len = (size_t)(part.count * record_size);
        struct tiercel_io io = {.akey = akey,
                                .extents = &part,
                                .extent_count = 1,
                                .record_size = record_size,
                                .buffer = w->piece,
                                .buffer_len = len};
        rc = tiercel_fetch(w->cont, w->epoch, w->oid, w->dkey, 0, &io, 1, NULL);
        if (rc < 0)
            return unreadable(w, rc);
        tl_cont_digest_bytes(&w->digest, part.first * record_size, w->piece, len);
        rc = write_bytes(w, w->piece, len);
        extent.first += part.count;
        extent.count -= part.count;
        w->stats->bytes += len;
        tl_cont_progress("exported", w->stats->bytes, false);
    }
    return rc;
}

/* Which records there are, if that are not all. Leaves the extents as they are. */
static int write_extents(struct writer *w, const char *array)
{
    char path[TL_CONT_PATH_SIZE + 16], *text = NULL;
    size_t len = 0, count = w->extent_count;
    if (count == 1 && w->extents[0].first == 0)
        return 0;
    FILE *f = open_memstream(&text, &len);
    if (f == NULL)
        return no_memory(w);
    for (size_t i = 0; i < count; i++)
        fprintf(f, "%" PRIu64 " %" PRIu64 "\n", w->extents[i].first, w->extents[i].count);
    int rc = fclose(f) != 0 ? no_memory(w) : 0;
    snprintf(path, sizeof path, "%s.extents", array);
    if (rc == 0)
        rc = write_text(w, path, text);
    w->extent_count = count;
    free(text);
    return rc;
}

static int write_array(struct writer *w, struct tiercel_bytes akey, uint64_t record_size)
{
    char path[TL_CONT_PATH_SIZE];
    const struct tiercel_extent *last = &w->extents[w->extent_count - 1];
    path_of(w, akey, record_size, path);
    if (record_size > TL_CONT_PIECE || last->first > INT64_MAX / record_size ||
        last->count > INT64_MAX / record_size - last->first)
        return tl_error_set(w->err, -EFBIG, "%s: %s is longer than a file of an archive can be, 2^63 - 1 bytes",
                            w->name, path);
    int rc = write_extents(w, path);
    if (rc == 0) {
        last = &w->extents[w->extent_count - 1];
        rc = begin_entry(w, path, (last->first + last->count) * record_size, record_size);
    }
    if (rc == 0 && tl_cont_digest_value(&w->digest, path) < 0)
        rc = no_memory(w);
    uint64_t at = 0;
    for (size_t i = 0; rc == 0 && i < w->extent_count; i++) {
        rc = write_hole(w, (w->extents[i].first - at) * record_size);
        if (rc == 0)
            rc = write_extent(w, akey, w->extents[i], record_size);
        at = w->extents[i].first + w->extents[i].count;
    }
    return rc;
}

/* ---- single values ---- */

static int write_single(struct writer *w, struct tiercel_bytes akey)
{
    char path[TL_CONT_PATH_SIZE];
    struct tiercel_io io = {.akey = akey};
    path_of(w, akey, 0, path);
    int rc = tiercel_fetch(w->cont, w->epoch, w->oid, w->dkey, 0, &io, 1, NULL);
    if (rc < 0)
        return unreadable(w, rc);
    io.buffer = malloc(io.buffer_len + 1);
    if (io.buffer == NULL)
        return tl_error_set(w->err, -ENOMEM,
                            "%s: %s: a value of %" PRIu64 " bytes goes through memory, and does not fit", w->name, path,
                            io.buffer_len);
    rc = tiercel_fetch(w->cont, w->epoch, w->oid, w->dkey, 0, &io, 1, NULL);
    rc = rc < 0 ? unreadable(w, rc) : begin_entry(w, path, io.buffer_len, 1);
    if (rc == 0 && tl_cont_digest_value(&w->digest, path) < 0)
        rc = no_memory(w);
    if (rc == 0) {
        tl_cont_digest_bytes(&w->digest, 0, io.buffer, (size_t)io.buffer_len);
        rc = write_bytes(w, io.buffer, (size_t)io.buffer_len);
        w->stats->bytes += io.buffer_len;
        tl_cont_progress("exported", w->stats->bytes, false);
    }
    free(io.buffer);
    return rc;
}

/* ---- objects ---- */

typedef int (*key_fn)(struct writer *w, struct tiercel_bytes key);

static int each_key(struct writer *w, const struct tiercel_bytes *dkey, key_fn fn)
{
    struct tiercel_anchor anchor = {0};
    struct tiercel_bytes *keys = calloc(KEYS, sizeof *keys);
    char *room = malloc(KEYS_ROOM);
    int rc = keys == NULL || room == NULL ? no_memory(w) : 0;
    while (rc == 0 && anchor.end == 0) {
        unsigned count = KEYS;
        rc = dkey == NULL
                 ? tiercel_list_dkeys(w->cont, w->epoch, w->oid, &anchor, room, KEYS_ROOM, keys, &count, NULL)
                 : tiercel_list_akeys(w->cont, w->epoch, w->oid, *dkey, &anchor, room, KEYS_ROOM, keys, &count, NULL);
        if (rc < 0)
            rc = unreadable(w, rc);
        for (unsigned i = 0; rc == 0 && i < count; i++)
            rc = fn(w, keys[i]);
    }
    free(keys);
    free(room);
    return rc;
}

static int write_akey(struct writer *w, struct tiercel_bytes akey)
{
    uint64_t record_size;
    int rc = read_extents(w, akey, &record_size);
    if (rc == 0)
        rc = record_size > 0 && w->extent_count > 0 ? write_array(w, akey, record_size) : write_single(w, akey);
    w->stats->values++;
    return rc;
}

static int write_dkey(struct writer *w, struct tiercel_bytes dkey)
{
    w->dkey = dkey;
    return each_key(w, &dkey, write_akey);
}

static int write_object(struct writer *w, struct tiercel_oid oid)
{
    char path[128], id[48], digest[34];
    w->oid = oid;
    int rc = each_key(w, NULL, write_dkey);
    if (rc != 0)
        return rc;
    tl_cont_oid_text(id, oid);
    snprintf(path, sizeof path, "epoch-%" PRIu64 "/%s/.digest", w->epoch, id);
    tl_cont_digest_object(&w->digest, path, digest);
    strcat(digest, "\n");
    w->stats->objects++;
    return write_text(w, path, digest);
}

static int write_epoch(struct writer *w, uint64_t epoch)
{
    struct tiercel_anchor anchor = {0};
    struct tiercel_oid oids[KEYS];
    int rc = 0;
    w->epoch = epoch;
    w->stats->epochs++;
    while (rc == 0 && anchor.end == 0) {
        unsigned count = KEYS;
        rc = tiercel_list_objects(w->cont, epoch, &anchor, oids, &count, NULL);
        if (rc < 0)
            return tl_cont_why(w->err, rc, w->name);
        for (unsigned i = 0; rc == 0 && i < count; i++)
            rc = write_object(w, oids[i]);
    }
    return rc;
}

/* ---- what is said about the container ---- */

static int write_head(struct writer *w, const uint64_t *epochs, unsigned count, bool last_is_snapshot)
{
    struct tiercel_cont_info info;
    char *text = NULL;
    size_t len = 0;
    int rc = tiercel_cont_query(w->cont, &info, NULL);
    if (rc < 0)
        return tl_cont_why(w->err, rc, w->name);
    FILE *f = open_memstream(&text, &len);
    if (f == NULL)
        return no_memory(w);
    fprintf(f, "tiercel container 1\nlabel %s\n", info.label);
    for (unsigned i = 0; i < count; i++)
        fprintf(f, "%s %" PRIu64 "\n", i + 1 < count || last_is_snapshot ? "snapshot" : "epoch", epochs[i]);
    rc = fclose(f) != 0 ? no_memory(w) : len > TL_CONT_TEXT_MAX ? -EFBIG : 0;
    if (rc == -EFBIG)
        tl_error_set(w->err, rc, "%s: has more snapshots than an archive has room for", w->name);
    if (rc == 0) {
        tl_cont_digest_other(&w->digest, TL_CONT_HEAD, text, len);
        rc = write_text(w, TL_CONT_HEAD, text);
    }
    free(text);
    return rc;
}

static int write_attr(void *ctx, const char *name, size_t len)
{
    struct writer *w = ctx;
    char path[sizeof TL_CONT_ATTR + TL_CONT_NAME_SIZE], escaped[TL_CONT_NAME_SIZE];
    size_t room = TL_CONT_PIECE;
    int rc = tiercel_cont_get_attr(w->cont, name, w->piece, &room);
    if (rc < 0)
        return tl_cont_why(w->err, rc, w->name);
    if (strlen(name) > TIERCEL_KEY_MAX)
        return tl_error_set(w->err, -ENAMETOOLONG, "%s: attribute %s: its name does not fit into an archive", w->name,
                            name);
    len = room;
    tl_cont_name_escape(escaped, (struct tiercel_bytes){name, strlen(name)});
    snprintf(path, sizeof path, TL_CONT_ATTR "%s", escaped);
    tl_cont_digest_other(&w->digest, path, w->piece, len);
    w->extent_count = 0;
    rc = begin_entry(w, path, len, 1);
    return rc == 0 ? write_bytes(w, w->piece, len) : rc;
}

static int write_end(struct writer *w)
{
    char digest[33], text[128];
    tl_cont_digest_end(&w->digest, digest);
    snprintf(text, sizeof text, "tiercel end 1 %" PRIu64 " %s\n", w->stats->objects, digest);
    return write_text(w, TL_CONT_END, text);
}

/* ---- the archive ---- */

/* The snapshots before `epoch`, if they are wanted, and it; malloc'd. */
static int find_epochs(struct writer *w, uint64_t epoch, bool snapshots, uint64_t **out, unsigned *count, bool *is_snap)
{
    struct tiercel_epochs e;
    unsigned all = 0;
    int rc = tiercel_epoch_query(w->cont, &e, NULL);
    if (rc == 0)
        rc = tiercel_snap_list(w->cont, NULL, &all, NULL);
    unsigned room = all + 64; /* somebody may make some meanwhile */
    *out = calloc(room + 1, sizeof **out);
    *count = room;
    *is_snap = false;
    if (*out == NULL)
        return no_memory(w);
    if (rc == 0)
        rc = tiercel_snap_list(w->cont, *out, count, NULL);
    if (rc < 0)
        return tl_cont_why(w->err, rc, w->name);
    *count = *count < room ? *count : room;
    uint64_t last = epoch != 0 ? epoch : e.ghce;
    unsigned kept = 0;
    for (unsigned i = 0; i < *count; i++) {
        *is_snap = *is_snap || (*out)[i] == last;
        if (snapshots && (*out)[i] < last)
            (*out)[kept++] = (*out)[i];
    }
    *is_snap = *is_snap && snapshots;
    if (last > 0)
        (*out)[kept++] = last;
    *count = kept;
    return 0;
}

static int write_all(struct writer *w, uint64_t epoch, bool snapshots)
{
    uint64_t *epochs = NULL;
    unsigned count = 0;
    bool is_snapshot;
    int rc = find_epochs(w, epoch, snapshots, &epochs, &count, &is_snapshot);
    if (rc == 0)
        rc = write_head(w, epochs, count, is_snapshot);
    if (rc == 0) {
        rc = tiercel_cont_list_attrs(w->cont, write_attr, w);
        if (rc < 0 && w->err->code == 0)
            tl_cont_why(w->err, rc, w->name);
    }
    for (unsigned i = 0; rc == 0 && i < count; i++)
        rc = write_epoch(w, epochs[i]);
    if (rc == 0)
        rc = write_end(w);
    if (rc == 0 && archive_write_close(w->out) != ARCHIVE_OK)
        rc = failed(w);
    tl_cont_progress("", 0, true);
    free(epochs);
    return rc;
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), n = strlen(end);
    return len >= n && strcmp(text + len - n, end) == 0;
}

static int open_archive(struct writer *w, const char *fresh)
{
    w->out = archive_write_new();
    if (w->out == NULL)
        return no_memory(w);
    int rc = archive_write_set_format_pax(w->out);
    if (rc == ARCHIVE_OK && (ends_with(w->archive, ".zst") || ends_with(w->archive, ".tzst")))
        rc = archive_write_add_filter_zstd(w->out);
    else if (rc == ARCHIVE_OK && (ends_with(w->archive, ".gz") || ends_with(w->archive, ".tgz")))
        rc = archive_write_add_filter_gzip(w->out);
    if (rc == ARCHIVE_OK)
        rc = fresh != NULL ? archive_write_open_filename(w->out, fresh) : archive_write_open_fd(w->out, STDOUT_FILENO);
    return rc == ARCHIVE_OK ? 0 : failed(w);
}

static int open_cont(struct writer *w, const char *uri, const char *name)
{
    struct tiercel_error why = {0};
    int rc = tiercel_pool_connect(&w->pool, uri, TIERCEL_RO, &why);
    if (rc == 0)
        rc = tiercel_cont_open(&w->cont, w->pool, name, TIERCEL_RO, &why);
    return rc < 0 ? tl_error_set(w->err, rc, "%s", why.message) : 0;
}

int tl_cont_export(const char *uri, const char *name, uint64_t epoch, bool snapshots, const char *archive,
                   struct tl_cont_stats *stats, struct tl_error *err)
{
    bool to_file = archive[0] != '\0';
    struct writer w = {.name = name, .archive = to_file ? archive : "standard output", .stats = stats, .err = err};
    struct tl_beside b;
    *stats = (struct tl_cont_stats){0};
    w.piece = malloc(TL_CONT_PIECE);
    w.zeros = mmap(NULL, HOLE_PIECE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int rc = to_file ? tl_beside_begin(&b, archive) : 0;
    const bool begun = to_file && rc == 0;
    if (rc != 0)
        tl_error_set(err, rc, "%s: too long", archive);
    if (rc == 0 && (w.piece == NULL || w.zeros == MAP_FAILED || tl_cont_digest_init(&w.digest) < 0))
        rc = no_memory(&w);
    if (rc == 0)
        rc = open_cont(&w, uri, name);
    if (rc == 0)
        rc = open_archive(&w, to_file ? b.path : NULL);
    if (rc == 0)
        rc = write_all(&w, epoch, snapshots);
    if (w.out != NULL)
        archive_write_free(w.out);
    if (begun) {
        int placed = tl_beside_end(&b, rc);
        if (rc == 0 && placed != 0)
            rc = tl_error_set(err, placed, "%s: cannot be put in its place: %s", archive, strerror(-placed));
    }
    (void)tiercel_cont_close(w.cont);
    (void)tiercel_pool_disconnect(w.pool);
    tl_cont_digest_fini(&w.digest);
    if (w.zeros != MAP_FAILED)
        munmap((void *)(uintptr_t)w.zeros, HOLE_PIECE);
    free(w.extents);
    free(w.piece);
    return rc;
}
