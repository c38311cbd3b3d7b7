// SPDX-License-Identifier: Apache-2.0
/* Inside the HTTP source: what its files share. Everything but open and close runs in the workers.
 *
 *   http.c           open and close; the operations
 *   http_servers.c   the servers in their order: which one to ask, which one has failed
 *   http_get.c       one request to one server, by libcurl, which is loaded when a source is opened
 *   http_catalog.c   directories as the server has them, kept between operations */
#ifndef TL_SOURCE_HTTP_H
#define TL_SOURCE_HTTP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/catalog.h"
#include "base/error.h"
#include "source/posix.h"

#define TL_HTTP_SERVERS_MAX  16u
#define TL_HTTP_URL_MAX      1024u
#define TL_HTTP_ETAG_MAX     128u
#define TL_HTTP_CATALOGS_MAX 512u        /* kept, */
#define TL_HTTP_KEPT_MAX     (64u << 20) /* and bytes of them */

struct tl_http_server {
    char url[TL_HTTP_URL_MAX];      /* without a slash at its end */
    _Atomic uint64_t down_until_ns; /* asked last until then */
};

/* A directory's catalog as a server gave it. Immutable, counted. */
struct tl_http_catalog {
    uint32_t refs; /* under tl_http.lock */
    uint64_t used; /* when last: the clock of tl_http.uses */
    char *path, etag[TL_HTTP_ETAG_MAX];
    const struct tl_http_server *server; /* whose etag it is */
    void *bytes;
    size_t len;
    struct tl_catalog view;
};

struct tl_http {
    struct tl_http_library *library;
    uint32_t patience_s, chunk_size;
    void (*warn)(const char *sentence);
    const _Atomic bool *stopping;
    struct tl_http_server servers[TL_HTTP_SERVERS_MAX];
    uint32_t server_count;

    pthread_mutex_t lock; /* everything below */
    void *idle[64];       /* libcurl's handles, which keep connections */
    uint32_t idle_count;
    struct tl_http_catalog *kept[TL_HTTP_CATALOGS_MAX];
    uint32_t kept_count;
    size_t kept_bytes;
    uint64_t uses;
};

/* ---- http_get.c ---- */

int tl_http_library_open(struct tl_http_library **out, struct tl_error *err) TL_MUST_CHECK; /* -ENOTSUP */
void tl_http_library_close(struct tl_http_library *l);
void tl_http_handles_free(struct tl_http *h);

/* One GET. A range is asked for if len > 0, else the whole. */
struct tl_http_get {
    const char *path; /* absolute, as in the tier; %-encoded here */
    uint64_t first, len;
    uint64_t size;    /* of the whole file: another one is -EBADMSG; only with a range */
    uint64_t len_max; /* without a range: more is -EBADMSG */
    const char *etag; /* NULL, or answered by not_modified */
    int (*take)(void *ctx, const uint8_t *bytes,
                size_t len); /* parts of the body in order; non-zero ends the request */
    void *ctx;
    /* results */
    bool not_modified;
    char new_etag[TL_HTTP_ETAG_MAX]; /* "": none */
};

/* 0; what take returned; -ENOENT (404, 410), -EACCES (401, 403), -EBADMSG (an answer that makes no sense: cut, of another
 * size), -EHOSTUNREACH, -ETIMEDOUT, -EIO (5xx, ...): with a sentence that names the server. */
int tl_http_get(struct tl_http *h, const struct tl_http_server *server, struct tl_http_get *g,
                struct tl_error *why) TL_MUST_CHECK;

/* ---- http_servers.c ---- */

/* "url,url,..." into h. 0, -EINVAL with a sentence. */
int tl_http_servers_parse(struct tl_http *h, const char *urls, struct tl_error *err) TL_MUST_CHECK;

/* Tries one server after the other until one gives a result that is not its failure: 0, -ENOENT, -EACCES, -ESTALE, -ENOMEM,
 * -ESHUTDOWN. Else the last one's failure. Those that failed lately come last. */
int tl_http_try(struct tl_http *h, int (*attempt)(void *ctx, const struct tl_http_server *server, struct tl_error *why),
                void *ctx) TL_MUST_CHECK;

/* ---- http_catalog.c ---- */

/* The catalog of directory path, with a reference. fresh: a server is asked, else what is kept is good enough. 0, -ENOENT,
 * -EBADMSG, and what tl_http_try gives. */
int tl_http_catalog_get(struct tl_http *h, const char *path, bool fresh, struct tl_http_catalog **out) TL_MUST_CHECK;
void tl_http_catalog_put(struct tl_http *h, struct tl_http_catalog *c); /* NULL is fine */
void tl_http_catalogs_free(struct tl_http *h);

#endif
