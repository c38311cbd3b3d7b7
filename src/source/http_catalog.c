// SPDX-License-Identifier: Apache-2.0
/* Catalogs, kept between operations: reading a file needs the digests of its directory's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source/http.h"

static void lock(struct tl_http *h)
{
    check(pthread_mutex_lock(&h->lock) == 0);
}

static void unlock(struct tl_http *h)
{
    check(pthread_mutex_unlock(&h->lock) == 0);
}

static void catalog_free(struct tl_http_catalog *c)
{
    if (c == NULL)
        return;
    tl_catalog_fini(&c->view);
    free(c->bytes);
    free(c->path);
    free(c);
}

void tl_http_catalog_put(struct tl_http *h, struct tl_http_catalog *c)
{
    if (c == NULL)
        return;
    lock(h);
    bool last = --c->refs == 0;
    unlock(h);
    if (last)
        catalog_free(c);
}

/* ---- what is kept; under the lock ---- */

static struct tl_http_catalog **find(struct tl_http *h, const char *path)
{
    for (uint32_t i = 0; i < h->kept_count; i++)
        if (strcmp(h->kept[i]->path, path) == 0)
            return &h->kept[i];
    return NULL;
}

/* Out of the table; the caller frees what is returned, if anything. */
static struct tl_http_catalog *drop(struct tl_http *h, struct tl_http_catalog **at)
{
    struct tl_http_catalog *c = *at;
    h->kept_bytes -= c->len;
    *at = h->kept[--h->kept_count];
    return --c->refs == 0 ? c : NULL;
}

static struct tl_http_catalog **oldest(struct tl_http *h)
{
    struct tl_http_catalog **at = &h->kept[0];
    for (uint32_t i = 1; i < h->kept_count; i++)
        if (h->kept[i]->used < (*at)->used)
            at = &h->kept[i];
    return at;
}

/* Instead of the one of its path; makes room. */
static void keep(struct tl_http *h, struct tl_http_catalog *c)
{
    struct tl_http_catalog *gone[TL_HTTP_CATALOGS_MAX + 1];
    uint32_t gone_count = 0;
    lock(h);
    struct tl_http_catalog **same = find(h, c->path);
    if (same != NULL)
        gone[gone_count++] = drop(h, same);
    while (h->kept_count > 0 && (h->kept_count == TL_HTTP_CATALOGS_MAX || h->kept_bytes + c->len > TL_HTTP_KEPT_MAX))
        gone[gone_count++] = drop(h, oldest(h));
    c->used = ++h->uses;
    c->refs++;
    h->kept[h->kept_count++] = c;
    h->kept_bytes += c->len;
    unlock(h);
    for (uint32_t i = 0; i < gone_count; i++)
        catalog_free(gone[i]);
}

static struct tl_http_catalog *look_up(struct tl_http *h, const char *path)
{
    lock(h);
    struct tl_http_catalog **at = find(h, path), *c = at != NULL ? *at : NULL;
    if (c != NULL) {
        c->refs++;
        c->used = ++h->uses;
    }
    unlock(h);
    return c;
}

void tl_http_catalogs_free(struct tl_http *h)
{
    for (uint32_t i = 0; i < h->kept_count; i++)
        catalog_free(h->kept[i]);
    h->kept_count = 0;
}

/* ---- asking for one ---- */

struct asking {
    struct tl_http *http;
    const char *path; /* of the directory */
    char file[TL_SOURCE_PATH_MAX + 32];
    struct tl_http_catalog *known, *got;
    uint8_t *bytes;
    size_t len, room;
};

static int take(void *ctx, const uint8_t *bytes, size_t len)
{
    struct asking *a = ctx;
    if (a->room - a->len < len) {
        size_t room = a->room + len < 65536 ? 65536 : 2 * (a->room + len);
        uint8_t *grown = realloc(a->bytes, room);
        if (grown == NULL)
            return -ENOMEM;
        a->bytes = grown;
        a->room = room;
    }
    memcpy(a->bytes + a->len, bytes, len);
    a->len += len;
    return 0;
}

/* The bytes that have come, as a catalog. They become its own. */
static int make(struct asking *a, const struct tl_http_server *server, const char *etag, struct tl_error *why)
{
    struct tl_http_catalog *c = calloc(1, sizeof *c);
    if (c == NULL)
        return -ENOMEM;
    *c = (struct tl_http_catalog){
        .refs = 1, .path = strdup(a->path), .server = server, .bytes = a->bytes, .len = a->len};
    a->bytes = NULL;
    a->room = 0;
    snprintf(c->etag, sizeof c->etag, "%s", etag);
    int rc = c->path != NULL ? tl_catalog_open(&c->view, c->bytes, c->len) : -ENOMEM;
    if (rc == 0 && c->view.chunk_size != a->http->chunk_size) {
        tl_catalog_fini(&c->view);
        rc = -EBADMSG;
    }
    if (rc == 0) {
        a->got = c;
        return 0;
    }
    catalog_free(c);
    if (rc == -EBADMSG)
        return tl_error_set(why, rc,
                            "%s%s: is damaged, or of another release; run `tiercel export --http` again on the server",
                            server->url, a->file);
    return rc;
}

static int attempt(void *ctx, const struct tl_http_server *server, struct tl_error *why)
{
    struct asking *a = ctx;
    bool same = a->known != NULL && a->known->server == server && a->known->etag[0] != '\0';
    struct tl_http_get g = {
        .path = a->file, .len_max = TL_CATALOG_SIZE_MAX, .etag = same ? a->known->etag : NULL, .take = take, .ctx = a};
    a->len = 0;
    int rc = tl_http_get(a->http, server, &g, why);
    if (rc == 0 && g.not_modified) {
        a->got = a->known;
        a->known = NULL;
        return 0;
    }
    return rc == 0 ? make(a, server, g.new_etag, why) : rc;
}

int tl_http_catalog_get(struct tl_http *h, const char *path, bool fresh, struct tl_http_catalog **out)
{
    struct asking a = {.http = h, .path = path, .known = look_up(h, path)};
    if (a.known != NULL && !fresh) {
        *out = a.known;
        return 0;
    }
    snprintf(a.file, sizeof a.file, "%s/%s", strcmp(path, "/") == 0 ? "" : path, TL_CATALOG_NAME);
    int rc = tl_http_try(h, attempt, &a);
    tl_http_catalog_put(h, a.known);
    free(a.bytes);
    if (rc != 0)
        return rc;
    keep(h, a.got);
    *out = a.got;
    return 0;
}
