// SPDX-License-Identifier: Apache-2.0
/* The bytes may come from anybody. Everything is written at its epoch, and nothing is committed until the end has come and all digests
 * have been compared; whatever happens before, closing the container discards it, and it is taken away. It gets its label last. */
#include <archive.h>
#include <archive_entry.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/cont.h"

#define EXTENTS_MAX (64u << 20) /* bytes of text */
#define VALUE_FIRST (64u << 10) /* room for a single value; grows as it comes, whatever its header claims */

struct mark { /* a line `epoch` or `snapshot` */
    uint64_t epoch;
    bool snapshot;
};

struct reader {
    struct archive *in;
    struct tiercel_pool *pool;
    struct tiercel_cont *cont;
    const char *name, *archive; /* for sentences */
    char uuid[40];              /* of the container; it has no label yet */
    struct tl_cont_digest digest;
    struct tl_cont_stats *stats;
    struct mark *marks;        /* what will come */
    unsigned mark_count, mark; /* mark: the present one */
    struct tiercel_oid *oids;  /* of the present epoch, in their order; of the one before until then */
    size_t oid_count, oid_room;
    bool begun, open_object, ended;
    struct tiercel_oid oid;         /* the present object */
    struct tiercel_extent *extents; /* of the array that comes next; NULL: all of it */
    size_t extent_count;
    char extents_of[TL_CONT_PATH_SIZE]; /* that array's path; "": none */
    uint8_t *piece;
    struct tl_error *err;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

static int damaged(struct reader *r, const char *what, const char *where)
{
    return tl_error_set(r->err, -EBADMSG, "%s: %s%s%s; nothing of it was kept: get it again, or export it anew",
                        r->archive, what, where[0] != '\0' ? ": " : "", where);
}

static int unreadable(struct reader *r)
{
    const char *why = archive_error_string(r->in);
    return damaged(r, "is cut short, damaged, or no exported container", why != NULL ? why : "");
}

static int refused(struct reader *r, int rc, const char *path)
{
    char what[TL_CONT_PATH_SIZE + 300];
    snprintf(what, sizeof what, "%s: %s", r->name, path);
    return tl_cont_why(r->err, rc, what);
}

static int no_memory(struct reader *r)
{
    return tl_error_set(r->err, -ENOMEM, "%s: out of memory; nothing of it was kept", r->archive);
}

/* ---- small files ---- */

/* The whole of an entry of up to `max` bytes, with a NUL behind it; malloc'd. */
static int read_text(struct reader *r, struct archive_entry *e, size_t max, char **out, size_t *len)
{
    la_int64_t size = archive_entry_size(e);
    if (size < 0 || (uint64_t)size > max)
        return damaged(r, "has an entry of a size that it cannot have", archive_entry_pathname(e));
    *out = calloc(1, (size_t)size + 1);
    *len = (size_t)size;
    if (*out == NULL)
        return no_memory(r);
    return archive_read_data(r->in, *out, (size_t)size) == (la_ssize_t)size ? 0 : unreadable(r);
}

/* One line `epoch E` or `snapshot E`. */
static bool parse_mark(const char *line, struct mark *out)
{
    const char *space = strchr(line, ' ');
    char *end;
    if (space == NULL || !isdigit((unsigned char)space[1]))
        return false;
    errno = 0;
    *out = (struct mark){.epoch = strtoull(space + 1, &end, 10), .snapshot = strncmp(line, "snapshot ", 9) == 0};
    return errno == 0 && *end == '\0' && (out->snapshot || strncmp(line, "epoch ", 6) == 0) && out->epoch > 0 &&
           out->epoch < TIERCEL_EPOCH_MAX;
}

static int read_head(struct reader *r, struct archive_entry *e)
{
    char *text = NULL, *rest;
    size_t len = 0;
    int rc = read_text(r, e, TL_CONT_TEXT_MAX, &text, &len);
    if (rc == 0)
        tl_cont_digest_other(&r->digest, TL_CONT_HEAD, text, len);
    char *line = rc == 0 ? strtok_r(text, "\n", &rest) : NULL;
    if (rc == 0 && (line == NULL || strncmp(line, "tiercel container ", 18) != 0))
        rc = damaged(r, "is no exported container", "");
    if (rc == 0 && strcmp(line + 18, "1") != 0)
        rc = tl_error_set(r->err, -EPROTO,
                          "%s: was made by a newer release (format %s, this one reads 1); import it with that",
                          r->archive, line + 18);
    r->marks = rc == 0 ? calloc(len / 7 + 1, sizeof *r->marks) : NULL; /* no line is shorter */
    if (rc == 0 && r->marks == NULL)
        rc = no_memory(r);
    while (rc == 0 && (line = strtok_r(NULL, "\n", &rest)) != NULL) {
        struct mark mark;
        if (strncmp(line, "label", 5) == 0)
            continue;
        if (!parse_mark(line, &mark) || (r->mark_count > 0 && mark.epoch <= r->marks[r->mark_count - 1].epoch))
            rc = damaged(r, "its first file has a line that is none", line);
        else
            r->marks[r->mark_count++] = mark;
    }
    free(text);
    r->begun = true;
    return rc;
}

static int read_attr(struct reader *r, struct archive_entry *e, const char *path)
{
    uint8_t name[TIERCEL_KEY_MAX + 1];
    char *value = NULL;
    size_t len = 0;
    const char *text = path + strlen(TL_CONT_ATTR);
    int n = tl_cont_name_parse(text, strlen(text), name);
    if (n < 0)
        return damaged(r, "has a file that does not belong there", path);
    name[n] = '\0';
    int rc = read_text(r, e, TIERCEL_ATTR_MAX, &value, &len);
    if (rc == 0) {
        tl_cont_digest_other(&r->digest, path, value, len);
        rc = tiercel_cont_set_attr(r->cont, (const char *)name, value, len);
        rc = rc < 0 ? refused(r, rc, path) : 0;
    }
    free(value);
    return rc;
}

/* ---- values ---- */

static int write_records(struct reader *r, const struct tl_cont_path *p, const char *path, uint64_t at, size_t len)
{
    if (at % p->record_size != 0 || len % p->record_size != 0)
        return damaged(r, "has records that are cut short", path);
    struct tiercel_extent extent = {.first = at / p->record_size, .count = len / p->record_size};
    const struct tiercel_io io = {.akey = {p->akey, p->akey_len},
                                  .extents = &extent,
                                  .extent_count = 1,
                                  .record_size = p->record_size,
                                  .buffer = r->piece,
                                  .buffer_len = len};
    int rc = tiercel_update(r->cont, p->epoch, p->oid, (struct tiercel_bytes){p->dkey, p->dkey_len}, 0, &io, 1, NULL);
    tl_cont_digest_bytes(&r->digest, at, r->piece, len);
    r->stats->bytes += len;
    tl_cont_progress("imported", r->stats->bytes, false);
    return rc < 0 ? refused(r, rc, path) : 0;
}

/* ---- arrays: files, of which some parts are records ---- */

static int read_extents(struct reader *r, struct archive_entry *e, const char *path)
{
    char *text = NULL, *rest, *line;
    size_t len = 0, dot = strlen(path) - strlen(".extents");
    uint64_t end = 0;
    int rc = read_text(r, e, EXTENTS_MAX, &text, &len);
    free(r->extents);
    r->extents = rc == 0 ? calloc(len / 4 + 1, sizeof *r->extents) : NULL; /* no line is shorter */
    r->extent_count = 0;
    if (rc == 0 && r->extents == NULL)
        rc = no_memory(r);
    for (line = rc == 0 ? strtok_r(text, "\n", &rest) : NULL; rc == 0 && line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        struct tiercel_extent x;
        int used = 0;
        if (!isdigit((unsigned char)line[0]) ||
            sscanf(line, "%" SCNu64 " %" SCNu64 "%n", &x.first, &x.count, &used) != 2 || line[used] != '\0' ||
            x.count == 0 || x.count > UINT64_MAX - x.first || x.first < end)
            rc = damaged(r, "has a line that is no extent", path);
        end = x.first + x.count;
        r->extents[r->extent_count++] = x;
    }
    snprintf(r->extents_of, sizeof r->extents_of, "%.*s", (int)dot, path);
    free(text);
    return rc;
}

struct array {
    const struct tl_cont_path *p;
    const char *path;
    size_t have, most; /* bytes in the piece; most: whole records */
    uint64_t at;       /* of the first of them */
    uint64_t due;      /* next byte of a record that has to come */
    size_t extent;     /* to which it belongs */
    struct tiercel_extent all;
    const struct tiercel_extent *extents;
    size_t extent_count;
};

static int write_piece(struct reader *r, struct array *a)
{
    int rc = a->have > 0 ? write_records(r, a->p, a->path, a->at, a->have) : 0;
    a->have = 0;
    return rc;
}

/* Bytes of records, none of a hole among them. */
static int take(struct reader *r, struct array *a, uint64_t at, const uint8_t *bytes, size_t len)
{
    int rc = a->have > 0 && at != a->at + a->have ? write_piece(r, a) : 0;
    while (rc == 0 && len > 0) {
        size_t n = len < a->most - a->have ? len : a->most - a->have;
        a->at = a->have == 0 ? at : a->at;
        memcpy(r->piece + a->have, bytes, n);
        a->have += n;
        at += n;
        bytes += n;
        len -= n;
        if (a->have == a->most)
            rc = write_piece(r, a);
    }
    return rc;
}

/* A block of the file: what of it lies in extents. */
static int take_block(struct reader *r, struct array *a, uint64_t at, const uint8_t *bytes, size_t len)
{
    int rc = 0;
    while (rc == 0 && a->extent < a->extent_count) {
        const struct tiercel_extent *x = &a->extents[a->extent];
        uint64_t first = x->first * a->p->record_size, end = first + x->count * a->p->record_size;
        uint64_t from = a->due > first ? a->due : first;
        if (from >= at + len)
            break;
        if (from < at)
            return damaged(r, "lacks records of an array; was it packed again with --sparse?", a->path);
        uint64_t to = end < at + len ? end : at + len;
        rc = take(r, a, from, bytes + (from - at), (size_t)(to - from));
        a->due = to;
        a->extent += to == end;
    }
    return rc;
}

static bool extents_fit(const struct array *a, uint64_t size)
{
    uint64_t end = 0;
    for (size_t i = 0; i < a->extent_count; i++) {
        end = a->extents[i].first + a->extents[i].count;
        if (end > size / a->p->record_size)
            return false;
    }
    return size % a->p->record_size == 0 && end == size / a->p->record_size && end > 0;
}

static int read_array(struct reader *r, struct archive_entry *e, const struct tl_cont_path *p, const char *path)
{
    struct array a = {
        .p = p, .path = path, .most = TL_CONT_PIECE, .extents = r->extents, .extent_count = r->extent_count};
    const void *block;
    size_t len;
    la_int64_t offset, size = archive_entry_size(e);
    int rc = 0, got = ARCHIVE_OK;
    if (p->record_size > TL_CONT_PIECE)
        return damaged(r, "has records larger than any that is written", path);
    a.most -= a.most % p->record_size;
    if (r->extents_of[0] == '\0') {
        a.all.count = size > 0 ? (uint64_t)size / p->record_size : 0;
        a.extents = &a.all;
        a.extent_count = 1;
    }
    if (size <= 0 || !extents_fit(&a, (uint64_t)size))
        return damaged(r, "has an array of a size that it cannot have", path);
    while (rc == 0 && (got = archive_read_data_block(r->in, &block, &len, &offset)) == ARCHIVE_OK) {
        rc = offset < 0 ? damaged(r, "has bytes before a file", path) : take_block(r, &a, (uint64_t)offset, block, len);
        rc = rc == 0 && interrupted ? -EINTR : rc;
    }
    if (rc == 0 && got != ARCHIVE_EOF)
        return unreadable(r);
    if (rc == 0 && a.extent < a.extent_count)
        return damaged(r, "lacks records of an array; was it packed again with --sparse?", path);
    r->extents_of[0] = '\0';
    return rc == 0 ? write_piece(r, &a) : rc;
}

/* ---- single values ---- */

static int read_single(struct reader *r, struct archive_entry *e, const struct tl_cont_path *p, const char *path)
{
    la_int64_t size = archive_entry_size(e);
    size_t have = 0, room = VALUE_FIRST;
    char *bytes = malloc(room);
    int rc = bytes == NULL ? no_memory(r) : 0;
    if (rc == 0 && (size < 0 || (uint64_t)size > TIERCEL_VALUE_MAX))
        rc = damaged(r, "has a value of a size that it cannot have", path);
    while (rc == 0 && have < (uint64_t)size) {
        if (have == room) {
            char *grown = realloc(bytes, room * 2);
            rc = grown == NULL ? no_memory(r) : 0;
            bytes = grown != NULL ? grown : bytes;
            room = grown != NULL ? room * 2 : room;
            continue;
        }
        la_ssize_t n = archive_read_data(r->in, bytes + have, room - have);
        if (n <= 0)
            rc = unreadable(r);
        else
            have += (size_t)n;
    }
    if (rc == 0) {
        const struct tiercel_io io = {
            .akey = {p->akey, p->akey_len}, .record_size = have, .buffer = bytes, .buffer_len = have};
        tl_cont_digest_bytes(&r->digest, 0, bytes, have);
        r->stats->bytes += have;
        tl_cont_progress("imported", r->stats->bytes, false);
        rc = tiercel_update(r->cont, p->epoch, p->oid, (struct tiercel_bytes){p->dkey, p->dkey_len}, 0, &io, 1, NULL);
        rc = rc < 0 ? refused(r, rc, path) : 0;
    }
    free(bytes);
    return rc;
}

/* ---- objects and epochs ---- */

static int compare_oids(struct tiercel_oid a, struct tiercel_oid b)
{
    return a.hi != b.hi ? (a.hi > b.hi) - (a.hi < b.hi) : (a.lo > b.lo) - (a.lo < b.lo);
}

/* The folder of the next epoch begins: what was there at the one before is no more, unless it comes again. */
static int next_epoch(struct reader *r, const char *path)
{
    if (r->mark + 1 >= r->mark_count)
        return damaged(r, "has an epoch that its first file does not name", path);
    r->mark++;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->oid_count; i++)
        rc = tiercel_punch(r->cont, r->marks[r->mark].epoch, r->oids[i], NULL, NULL, 0, 0, NULL);
    r->oid_count = 0;
    return rc < 0 ? refused(r, rc, path) : 0;
}

static int begin_object(struct reader *r, struct tiercel_oid oid, const char *path)
{
    if (r->oid_count > 0 && compare_oids(r->oids[r->oid_count - 1], oid) >= 0)
        return damaged(r, "has an object twice, or in another order", path);
    if (r->oid_count == r->oid_room) {
        size_t room = r->oid_room == 0 ? 256 : r->oid_room * 2;
        struct tiercel_oid *grown = realloc(r->oids, room * sizeof *grown);
        if (grown == NULL)
            return no_memory(r);
        r->oids = grown;
        r->oid_room = room;
    }
    r->oids[r->oid_count++] = r->oid = oid;
    r->open_object = true;
    return 0;
}

/* .digest: the object is complete. */
static int end_object(struct reader *r, struct archive_entry *e, const char *path)
{
    char *text = NULL, digest[33];
    size_t len = 0;
    int rc = read_text(r, e, 256, &text, &len);
    if (rc == 0) {
        tl_cont_digest_object(&r->digest, path, digest);
        if (len != 33 || memcmp(text, digest, 32) != 0)
            rc = damaged(r, "was altered: this object is not what was exported", path);
    }
    free(text);
    r->open_object = false;
    r->stats->objects++;
    return rc;
}

static int read_value(struct reader *r, struct archive_entry *e, const char *path)
{
    struct tl_cont_path p;
    if (!tl_cont_path_parse(path, &p))
        return damaged(r, "has a file that does not belong there", path);
    bool same =
        r->open_object && r->mark_count > 0 && r->marks[r->mark].epoch == p.epoch && compare_oids(r->oid, p.oid) == 0;
    int rc = 0;
    if (r->open_object && !same)
        return damaged(r, "has an object without its digest before", path);
    while (rc == 0 && !same && r->mark_count > 0 && r->marks[r->mark].epoch < p.epoch) /* epochs without objects, too */
        rc = next_epoch(r, path);
    if (rc == 0 && (r->mark_count == 0 || r->marks[r->mark].epoch != p.epoch))
        rc = damaged(r, "has an epoch that its first file does not name", path);
    if (rc == 0 && !same)
        rc = p.digest ? damaged(r, "has a digest of nothing", path) : begin_object(r, p.oid, path);
    if (rc != 0)
        return rc;
    if (p.digest)
        return end_object(r, e, path);
    if (r->extents_of[0] != '\0' && strcmp(r->extents_of, path) != 0)
        return damaged(r, "has extents of an array that does not follow", r->extents_of);
    if (p.extents)
        return p.record_size > 0 ? read_extents(r, e, path) : damaged(r, "has extents of a value", path);
    r->stats->values++;
    if (tl_cont_digest_value(&r->digest, path) < 0)
        return no_memory(r);
    return p.record_size > 0 ? read_array(r, e, &p, path) : read_single(r, e, &p, path);
}

static int read_end(struct reader *r, struct archive_entry *e)
{
    char *text = NULL, digest[33], wanted[128];
    size_t len = 0;
    int rc = read_text(r, e, 256, &text, &len);
    tl_cont_digest_end(&r->digest, digest);
    snprintf(wanted, sizeof wanted, "tiercel end 1 %" PRIu64 " %s\n", r->stats->objects, digest);
    if (rc == 0 && (r->open_object || strcmp(text, wanted) != 0))
        rc = damaged(r, "was altered: it is not what was exported", "");
    free(text);
    for (; rc == 0 && r->mark + 1 < r->mark_count;)
        rc = next_epoch(r, TL_CONT_END);
    r->ended = true;
    return rc;
}

static int read_all(struct reader *r)
{
    struct archive_entry *e;
    int rc = 0, got = ARCHIVE_OK;
    while (rc == 0 && (got = archive_read_next_header(r->in, &e)) != ARCHIVE_EOF) {
        const char *path = got >= ARCHIVE_WARN ? archive_entry_pathname(e) : NULL;
        if (got < ARCHIVE_WARN || path == NULL)
            return unreadable(r);
        if (archive_entry_filetype(e) == AE_IFDIR) /* of who has packed it again */
            continue;
        if (r->ended)
            rc = damaged(r, "has something behind its end", path);
        else if (archive_entry_filetype(e) != AE_IFREG || archive_entry_hardlink(e) != NULL)
            rc = damaged(r, "has an entry that is no file", path);
        else if (!r->begun)
            rc = strcmp(path, TL_CONT_HEAD) == 0 ? read_head(r, e) : damaged(r, "is no exported container", path);
        else if (strncmp(path, TL_CONT_ATTR, strlen(TL_CONT_ATTR)) == 0)
            rc = read_attr(r, e, path);
        else
            rc = strcmp(path, TL_CONT_END) == 0 ? read_end(r, e) : read_value(r, e, path);
        if (rc == -EINTR || (rc == 0 && interrupted))
            return tl_error_set(r->err, -EINTR, "%s: interrupted; nothing of it was kept", r->archive);
    }
    if (rc == 0 && !r->ended)
        rc = damaged(r, r->begun ? "is cut short: its end is missing" : "is empty", "");
    return rc;
}

/* ---- the container ---- */

static int commit_all(struct reader *r)
{
    uint64_t last = r->mark_count > 0 ? r->marks[r->mark_count - 1].epoch : 0;
    int rc = last > 0 ? tiercel_epoch_flush(r->cont, last, NULL, NULL) : 0;
    for (unsigned i = 0; rc == 0 && i < r->mark_count; i++) {
        rc = tiercel_epoch_commit(r->cont, r->marks[i].epoch, NULL, NULL);
        if (rc == 0 && r->marks[i].snapshot)
            rc = tiercel_snap_create(r->cont, r->marks[i].epoch, NULL);
        r->stats->epochs++;
    }
    return rc < 0 ? refused(r, rc, "cannot be committed") : 0;
}

static int open_archive(struct reader *r, const char *archive)
{
    r->in = archive_read_new();
    if (r->in == NULL)
        return no_memory(r);
    archive_read_support_filter_zstd(r->in);
    archive_read_support_filter_gzip(r->in);
    archive_read_support_format_tar(r->in);
    if (archive[0] != '\0' && access(archive, R_OK) != 0)
        return tl_error_set(r->err, -errno, "%s: %s", archive, strerror(errno));
    int rc = archive[0] != '\0' ? archive_read_open_filename(r->in, archive, 1u << 20)
                                : archive_read_open_fd(r->in, STDIN_FILENO, 1u << 20);
    return rc == ARCHIVE_OK ? 0 : unreadable(r);
}

/* Holds all epochs, so that everything can be written before anything is committed. */
static int import_into(struct reader *r)
{
    struct tiercel_error why = {0};
    uint64_t epoch = 1;
    int rc = tiercel_cont_open(&r->cont, r->pool, r->uuid, TIERCEL_RW | TIERCEL_NOSLIP, &why);
    if (rc < 0)
        return tl_error_set(r->err, rc, "%s", why.message);
    rc = tiercel_epoch_hold(r->cont, &epoch, NULL, NULL);
    rc = rc < 0 ? refused(r, rc, "no epoch can be held") : read_all(r);
    if (rc == 0)
        rc = commit_all(r);
    tl_cont_progress("", 0, true);
    (void)tiercel_cont_close(r->cont);
    return rc;
}

static bool is_label(const char *name)
{
    size_t len = strlen(name);
    return len > 0 && len <= TIERCEL_LABEL_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-") == len;
}

/* A container without a label, which nobody knows, until it is whole. */
static int import_unseen(struct reader *r)
{
    struct tiercel_uuid uuid;
    struct tiercel_error why = {0};
    char label[TIERCEL_LABEL_MAX + 1];
    if (!is_label(r->name))
        return tl_error_set(r->err, -EINVAL, "\"%s\" is no label: 1 to %u letters, digits, or any of ._:-", r->name,
                            TIERCEL_LABEL_MAX);
    if (tiercel_cont_get_prop(r->pool, r->name, "label", label, sizeof label, NULL) == 0)
        return tl_error_set(r->err, -EEXIST, "container %s is there already; choose another label", r->name);
    int rc = tiercel_cont_create(r->pool, NULL, &uuid, &why);
    if (rc < 0)
        return tl_error_set(r->err, rc, "%s", why.message);
    for (unsigned i = 0; i < 16; i++)
        snprintf(r->uuid + strlen(r->uuid), 4, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid.bytes[i]);
    /* It may come from a pool of other object classes: what this one does not offer becomes its default, as in a copy. */
    rc = tiercel_cont_set_prop(r->pool, r->uuid, "other-classes", "default", &why);
    rc = rc < 0 ? tl_error_set(r->err, rc, "%s", why.message) : import_into(r);
    if (rc == 0 && (rc = tiercel_cont_set_prop(r->pool, r->uuid, "label", r->name, &why)) < 0)
        tl_error_set(r->err, rc, "%s", why.message);
    if (rc < 0 && tiercel_cont_destroy(r->pool, r->uuid, TIERCEL_FORCE, NULL) < 0)
        tl_error_wrap(r->err, "container %s is left, and has to be destroyed", r->uuid);
    return rc;
}

int tl_cont_import(const char *uri, const char *name, const char *archive, struct tl_cont_stats *stats,
                   struct tl_error *err)
{
    struct reader r = {
        .name = name, .archive = archive[0] != '\0' ? archive : "standard input", .stats = stats, .err = err};
    struct tiercel_error why = {0};
    struct sigaction action = {.sa_handler = on_signal};
    *stats = (struct tl_cont_stats){0};
    r.piece = malloc(TL_CONT_PIECE);
    int rc = r.piece == NULL || tl_cont_digest_init(&r.digest) < 0 ? no_memory(&r) : open_archive(&r, archive);
    if (rc == 0) {
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        rc = tiercel_pool_connect(&r.pool, uri, TIERCEL_RW, &why);
        rc = rc < 0 ? tl_error_set(err, rc, "%s", why.message) : import_unseen(&r);
    }
    (void)tiercel_pool_disconnect(r.pool);
    if (r.in != NULL)
        archive_read_free(r.in);
    tl_cont_digest_fini(&r.digest);
    free(r.marks);
    free(r.oids);
    free(r.extents);
    free(r.piece);
    return rc;
}
