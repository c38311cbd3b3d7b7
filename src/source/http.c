// SPDX-License-Identifier: Apache-2.0
/* The HTTP source: open and close, and the operations. Every byte that is handed on has been compared with a digest that
 * was taken when the tree was exported; a server whose bytes differ is passed over for the next one. */
#include "source/http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/xattrs.h"

#define PATIENCE_S 5

/* ---- directories ---- */

/* Why there is no catalog at path: -ENOTDIR if it is a file, or below one, by the first directory above that has one. */
static int why_none(struct tl_http *h, const char *path)
{
    char dir[TL_SOURCE_PATH_MAX + 1];
    snprintf(dir, sizeof dir, "%s", path);
    for (char *slash = strrchr(dir, '/'); dir[1] != '\0'; slash = strrchr(dir, '/')) { /* a name less each turn */
        struct tl_http_catalog *c = NULL;
        struct tl_listing_entry e;
        uint32_t first;
        char name[TL_SOURCE_PATH_MAX + 1];
        strcpy(name, slash + 1);
        slash[slash == dir] = '\0';
        int rc = tl_http_catalog_get(h, dir, true, &c);
        if (rc == -ENOENT)
            continue;
        if (rc == 0)
            rc = tl_catalog_find(&c->view, name, &e, &first) == 0 && !S_ISDIR(e.attr.mode) ? -ENOTDIR : -ENOENT;
        tl_http_catalog_put(h, c);
        return rc;
    }
    return -ENOENT;
}

static int get_directory(struct tl_http *h, const char *path, struct tl_http_catalog **out)
{
    int rc = tl_http_catalog_get(h, path, true, out);
    return rc == -ENOENT ? why_none(h, path) : rc == -EBADMSG ? -EIO : rc;
}

/* The names of a listing, or the one that is wanted (NULL: all), but with excluded directories shown empty. */
static int rebuild(struct tl_source *s, const char *path, const struct tl_listing *l, const char *wanted, void **blob,
                   size_t *len)
{
    struct tl_posix_exclude *exclude = tl_posix_exclude_ref(s);
    struct tl_listing_builder *b = NULL;
    struct tl_listing_entry e;
    struct tl_attr self;
    tl_listing_self(l, &self);
    int rc = tl_listing_builder_new(&b, &self);
    uint32_t count = 0;
    for (uint32_t i = 0; rc == 0 && i < l->count; i++) {
        char name[TL_NAME_MAX + 1];
        tl_listing_at(l, i, &e);
        memcpy(name, e.name, e.name_len);
        name[e.name_len] = '\0';
        if (wanted != NULL && strcmp(wanted, name) != 0)
            continue;
        const char *excluded = tl_posix_exclude_find(exclude, path, name);
        if (excluded != NULL) {
            tl_posix_exclude_attr(excluded, &e.attr);
            e.target_len = 0;
        }
        rc = wanted != NULL && e.attr.status != 0 ? e.attr.status : 0;
        if (rc == 0)
            rc = tl_listing_builder_add(b, name, e.name_len, &e.attr, e.target_len > 0 ? e.target : NULL, e.target_len);
        count++;
    }
    if (rc == 0)
        rc = wanted != NULL && count == 0 ? -ENOENT : tl_listing_builder_finish(b, blob, len);
    tl_listing_builder_free(b);
    tl_posix_exclude_unref(exclude);
    return rc;
}

static void report_blob(struct tl_source *s, const struct tl_source_op *op, int status, void *blob, size_t len)
{
    struct tl_source_done done = {.cookie = op->cookie, .status = status, .last = true};
    if (status == 0) {
        done.blob = blob;
        done.len = (uint32_t)len;
        done.digest = tl_hash_bytes(blob, len, 0);
    }
    tl_posix_report(s, &done);
}

/* An excluded directory, or what is below one. */
static bool is_excluded(struct tl_source *s, const char *path)
{
    struct tl_posix_exclude *exclude = tl_posix_exclude_ref(s);
    bool covered = tl_posix_exclude_covers(exclude, path);
    tl_posix_exclude_unref(exclude);
    return covered;
}

static void http_list(struct tl_source *s, const struct tl_source_op *op, const char *path, void *page)
{
    struct tl_http_catalog *c = NULL;
    void *blob = NULL;
    size_t len = 0;
    (void)page;
    s->counters.lists++;
    int rc;
    if (is_excluded(s, path)) {
        rc = tl_posix_list_excluded(path, &blob, &len);
    } else {
        rc = get_directory(s->http, path, &c);
        if (rc == 0)
            rc = rebuild(s, path, &c->view.listing, NULL, &blob, &len);
        tl_http_catalog_put(s->http, c);
    }
    report_blob(s, op, rc, blob, len);
}

/* Splits a path at its last name. NULL: it is /. */
static const char *split(const char *path, char dir[TL_SOURCE_PATH_MAX + 1])
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == path ? 1 : (size_t)(slash - path);
    memcpy(dir, path, len);
    dir[len] = '\0';
    return slash[1] != '\0' ? slash + 1 : NULL;
}

static void http_entry(struct tl_source *s, const struct tl_source_op *op, const char *path)
{
    struct tl_http_catalog *c = NULL;
    char dir[TL_SOURCE_PATH_MAX + 1];
    const char *name = split(path, dir);
    void *blob = NULL;
    size_t len = 0;
    s->counters.lstats++;
    int rc = name == NULL ? -EINVAL : strlen(name) > TL_NAME_MAX ? -ENAMETOOLONG : is_excluded(s, dir) ? -ENOENT : 0;
    if (rc == 0)
        rc = get_directory(s->http, dir, &c);
    if (rc == 0)
        rc = rebuild(s, dir, &c->view.listing, name, &blob, &len);
    tl_http_catalog_put(s->http, c);
    report_blob(s, op, rc, blob, len);
}

/* They are not exported: a file has none. */
static void http_xattrs(struct tl_source *s, const struct tl_source_op *op, const char *path)
{
    struct tl_xattrs_builder b = {.bytes = NULL};
    void *blob = NULL;
    size_t len = 0;
    (void)path;
    int rc = tl_xattrs_begin(&b);
    if (rc == 0)
        tl_xattrs_finish(&b, &blob, &len);
    tl_xattrs_fini(&b);
    report_blob(s, op, rc, blob, len);
}

/* ---- files ---- */

struct reading {
    struct tl_source *source;
    const struct tl_source_op *op;
    const char *path;
    const struct tl_catalog *catalog;
    uint32_t digest; /* of the file's first chunk */
    uint32_t next;   /* chunks of the op that were reported */
    uint32_t have;   /* bytes of the one after them */
};

static void report_chunk(struct reading *r, int status, struct tl_hash digest, bool last)
{
    struct tl_source_done done = {.cookie = r->op->cookie,
                                  .status = status,
                                  .chunk = r->op->first + r->next,
                                  .len = r->op->lens[r->next],
                                  .digest = digest,
                                  .last = last};
    tl_posix_report(r->source, &done);
}

/* Bytes of the range, in order. 0, -EBADMSG: a chunk is not what was exported. */
static int take_bytes(void *ctx, const uint8_t *bytes, size_t len)
{
    struct reading *r = ctx;
    const struct tl_source_op *op = r->op;
    while (len > 0) {
        check(r->next < op->count);
        uint32_t left = op->lens[r->next] - r->have, n = left < len ? left : (uint32_t)len;
        memcpy((uint8_t *)op->dst[r->next] + r->have, bytes, n);
        bytes += n;
        len -= n;
        r->have += n;
        if (r->have < op->lens[r->next])
            continue;
        struct tl_hash digest = tl_hash_bytes(op->dst[r->next], r->have, 0);
        if (!tl_hash_equal(digest, tl_catalog_digest(r->catalog, r->digest + op->first + r->next)))
            return -EBADMSG;
        r->source->counters.bytes += r->have;
        report_chunk(r, 0, digest, r->next + 1 == op->count);
        r->next++;
        r->have = 0;
    }
    return 0;
}

/* What has not come yet, from one server. */
static int read_attempt(void *ctx, const struct tl_http_server *server, struct tl_error *why)
{
    struct reading *r = ctx;
    const struct tl_source_op *op = r->op;
    struct tl_http_get g = {.path = r->path,
                            .first = ((uint64_t)op->first + r->next) * r->source->config.chunk_size_bytes,
                            .size = op->file_size_bytes,
                            .take = take_bytes,
                            .ctx = r};
    r->have = 0;
    for (uint32_t i = r->next; i < op->count; i++)
        g.len += op->lens[i];
    r->source->counters.reads++;
    int rc = tl_http_get(r->source->http, server, &g, why);
    if (rc == -ENOENT) /* it was there when it was exported */
        return tl_error_set(why, -EBADMSG, "%s%s: is not there; run `tiercel export --http` again on the server",
                            server->url, r->path);
    return rc;
}

/* The catalog in which the file is as the op wants it. 0, -ENOENT, -ESTALE, ... */
static int find_version(struct reading *r, bool fresh, struct tl_http_catalog **out)
{
    const struct tl_source_op *op = r->op;
    char dir[TL_SOURCE_PATH_MAX + 1];
    const char *name = split(r->path, dir);
    struct tl_listing_entry e;
    struct tl_http *h = r->source->http;
    int rc = name == NULL ? -EINVAL : tl_http_catalog_get(h, dir, fresh, out);
    if (rc != 0)
        return rc;
    rc = tl_catalog_find(&(*out)->view, name, &e, &r->digest);
    if (rc == 0 && e.attr.status != 0)
        rc = e.attr.status;
    if (rc == 0 && !S_ISREG(e.attr.mode))
        rc = -EINVAL;
    if (rc == 0 && (e.attr.version != op->version || e.attr.size_bytes != op->file_size_bytes))
        rc = -ESTALE;
    if (rc != 0) {
        tl_http_catalog_put(h, *out);
        *out = NULL;
    }
    return rc;
}

/* With the bytes of one catalog. 0, or what ends the op. */
static int read_version(struct reading *r, bool fresh)
{
    struct tl_http_catalog *c = NULL;
    int rc = find_version(r, fresh, &c);
    if (rc != 0)
        return rc;
    r->catalog = &c->view;
    rc = tl_http_try(r->source->http, read_attempt, r);
    tl_http_catalog_put(r->source->http, c);
    return rc;
}

/* Without a page for the bytes, writing them would be a signal. */
static int populate(const struct tl_source_op *op)
{
    for (uint32_t i = 0; i < op->count; i++)
        if (madvise(op->dst[i], op->lens[i], MADV_POPULATE_WRITE) != 0 && (errno == ENOMEM || errno == EFAULT))
            return -ENOMEM;
    return 0;
}

static void http_read(struct tl_source *s, const struct tl_source_op *op, const char *path)
{
    struct reading r = {.source = s, .op = op, .path = path};
    int rc = is_excluded(s, path)                                    ? -ENOENT
             : !tl_source_lens_valid(op, s->config.chunk_size_bytes) ? -EINVAL
                                                                     : populate(op);
    if (rc == 0) {
        s->counters.opens++;
        rc = read_version(&r, false);
        /* What is kept of the directory may be old: it is looked at again before anything is believed missing or broken. */
        if (rc == -ENOENT || rc == -ESTALE || rc == -EBADMSG)
            rc = read_version(&r, true);
    }
    if (r.next < op->count)
        report_chunk(&r, rc == -EBADMSG || rc == 0 ? -EIO : rc, (struct tl_hash){0}, true);
}

/* ---- open and close ---- */

static void http_close(struct tl_http *h)
{
    tl_http_catalogs_free(h);
    tl_http_handles_free(h);
    tl_http_library_close(h->library);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

int tl_source_http_open(struct tl_source **out, const struct tl_source_config *config, const char *urls,
                        uint32_t patience_s, struct tl_error *err)
{
    static const struct tl_source_way way = {
        .list = http_list, .entry = http_entry, .xattrs = http_xattrs, .read = http_read, .close = http_close};
    struct tl_http *h = calloc(1, sizeof *h);
    if (h == NULL)
        return tl_error_set(err, -ENOMEM, "--source: out of memory");
    check(pthread_mutex_init(&h->lock, NULL) == 0);
    h->patience_s = patience_s > 0 ? patience_s : PATIENCE_S;
    h->chunk_size = config->chunk_size_bytes;
    h->warn = config->warn;
    int rc = tl_http_servers_parse(h, urls, err);
    if (rc == 0)
        rc = tl_http_library_open(&h->library, err);
    if (rc == 0)
        rc = tl_source_start(out, config, &way, h, err);
    if (rc != 0)
        http_close(h);
    return rc;
}
