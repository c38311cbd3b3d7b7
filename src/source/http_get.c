// SPDX-License-Identifier: Apache-2.0
/* One request to one server. libcurl is looked for when a source is opened, not linked: it brings forty libraries, and most
 * tiers read a file system. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "source/http.h"

#ifdef TL_HAVE_CURL

#include <curl/curl.h>
#include <dlfcn.h>

#define CONNECT_S 3
#define REDIRECTS 3
#define SKIP_MAX  (4u << 20) /* of a server that knows no ranges, so much is read over */
#define HANDLES   (sizeof((struct tl_http *)0)->idle / sizeof(void *))
#define LOW_SPEED 1 /* bytes a second, for patience_s: less is a server that has failed */
/* By number: their successors are not known to libcurl before 7.85. */
#define OPTION_PROTOCOLS       ((CURLoption)181)
#define OPTION_REDIR_PROTOCOLS ((CURLoption)182)

struct tl_http_library {
    void *handle;
    CURLcode (*global_init)(long);
    CURL *(*init)(void);
    void (*cleanup)(CURL *);
    void (*reset)(CURL *);
    CURLcode (*setopt)(CURL *, CURLoption, ...);
    CURLcode (*perform)(CURL *);
    CURLcode (*getinfo)(CURL *, CURLINFO, ...);
    const char *(*why)(CURLcode);
    struct curl_slist *(*append)(struct curl_slist *, const char *);
    void (*free_list)(struct curl_slist *);
};

int tl_http_library_open(struct tl_http_library **out, struct tl_error *err)
{
    struct tl_http_library *l = calloc(1, sizeof *l);
    if (l == NULL)
        return tl_error_set(err, -ENOMEM, "--source: out of memory");
    l->handle = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    const struct {
        const char *name;
        void *to;
    } symbols[] = {{"curl_global_init", &l->global_init}, {"curl_easy_init", &l->init},
                   {"curl_easy_cleanup", &l->cleanup},    {"curl_easy_reset", &l->reset},
                   {"curl_easy_setopt", &l->setopt},      {"curl_easy_perform", &l->perform},
                   {"curl_easy_getinfo", &l->getinfo},    {"curl_easy_strerror", &l->why},
                   {"curl_slist_append", &l->append},     {"curl_slist_free_all", &l->free_list}};
    bool all = l->handle != NULL;
    for (size_t i = 0; all && i < sizeof symbols / sizeof symbols[0]; i++) {
        void *symbol = dlsym(l->handle, symbols[i].name);
        memcpy(symbols[i].to, &symbol, sizeof symbol); /* C has no cast from an object's to a function's address */
        all = symbol != NULL;
    }
    if (!all || l->global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        tl_http_library_close(l);
        return tl_error_set(err, -ENOTSUP,
                            "--source http://...: needs libcurl.so.4, which is not on this machine; install "
                            "libcurl, or serve from a file system");
    }
    *out = l;
    return 0;
}

void tl_http_library_close(struct tl_http_library *l)
{
    free(l); /* the library itself stays: its threads and TLS libraries do not take well to being unloaded */
}

void tl_http_handles_free(struct tl_http *h)
{
    for (uint32_t i = 0; i < h->idle_count; i++)
        h->library->cleanup(h->idle[i]);
    h->idle_count = 0;
}

/* ---- one transfer ---- */

struct transfer {
    struct tl_http *http;
    struct tl_http_get *get;
    CURL *curl;
    bool begun;     /* the first bytes of the body were looked at */
    uint64_t skip;  /* of the body, before what was asked for */
    uint64_t have;  /* of what was asked for */
    uint64_t total; /* by Content-Range; UINT64_MAX: not said */
    int status;     /* why it was ended here */
};

/* What the answer's code makes of the body. 0, -EBADMSG, -EOPNOTSUPP: the server knows no ranges. */
static int begin(struct transfer *t)
{
    long code = 0;
    t->begun = true;
    t->http->library->getinfo(t->curl, CURLINFO_RESPONSE_CODE, &code);
    if (t->get->len == 0)
        return code == 200 ? 0 : -EBADMSG;
    if (code == 206)
        return t->total == t->get->size ? 0 : -EBADMSG;
    if (code != 200 || t->get->first + t->get->len > SKIP_MAX)
        return -EOPNOTSUPP;
    t->skip = t->get->first; /* all of the file comes */
    return 0;
}

static size_t on_body(char *data, size_t one, size_t n, void *ctx)
{
    struct transfer *t = ctx;
    const uint8_t *bytes = (const uint8_t *)data;
    size_t len = one * n, over = 0;
    if (!t->begun)
        t->status = begin(t);
    if (t->status != 0)
        return 0;
    over = t->skip < len ? (size_t)t->skip : len;
    t->skip -= over;
    uint64_t want = (t->get->len > 0 ? t->get->len : t->get->len_max) - t->have;
    size_t take = len - over;
    if (take > want && t->get->len == 0)
        t->status = -EBADMSG;
    take = take < want ? take : (size_t)want;
    if (t->status == 0 && take > 0)
        t->status = t->get->take(t->get->ctx, bytes + over, take);
    t->have += take;
    /* Bytes behind a range that was asked for: all of the file comes, and we have what we want. */
    return t->status == 0 && take == len - over ? len : 0;
}

static size_t on_header(char *line, size_t one, size_t n, void *ctx)
{
    struct transfer *t = ctx;
    size_t len = one * n;
    char text[256];
    snprintf(text, sizeof text, "%.*s", len < 255 ? (int)len : 255, line);
    text[strcspn(text, "\r\n")] = '\0';
    if (strncasecmp(text, "content-range:", 14) == 0) {
        const char *slash = strrchr(text, '/');
        unsigned long long first = UINT64_MAX;
        char *end = NULL;
        bool ours = sscanf(text + 14, " bytes %llu-", &first) == 1 && first == t->get->first && slash != NULL;
        t->total = ours ? strtoull(slash + 1, &end, 10) : UINT64_MAX;
        if (ours && (end == slash + 1 || *end != '\0'))
            t->total = UINT64_MAX;
    } else if (strncasecmp(text, "etag:", 5) == 0) {
        const char *value = text + 5 + strspn(text + 5, " ");
        if (strlen(value) < TL_HTTP_ETAG_MAX)
            strcpy(t->get->new_etag, value);
    }
    return len;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    struct transfer *t = ctx;
    return *t->http->stopping;
}

static int make_url(const char *base, const char *path, char *out, size_t size)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    size_t at = (size_t)snprintf(out, size, "%s", base);
    for (const char *p = path; *p != '\0'; p++) {
        if (at + 4 > size)
            return -ENAMETOOLONG;
        if (strchr(plain, *p) != NULL)
            out[at++] = *p;
        else
            at += (size_t)snprintf(out + at, 4, "%%%02X", (unsigned)(unsigned char)*p);
    }
    out[at] = '\0';
    return 0;
}

static void *take_handle(struct tl_http *h)
{
    void *curl = NULL;
    check(pthread_mutex_lock(&h->lock) == 0);
    if (h->idle_count > 0)
        curl = h->idle[--h->idle_count];
    check(pthread_mutex_unlock(&h->lock) == 0);
    return curl != NULL ? curl : h->library->init();
}

static void give_handle(struct tl_http *h, void *curl)
{
    check(pthread_mutex_lock(&h->lock) == 0);
    bool kept = h->idle_count < HANDLES;
    if (kept)
        h->idle[h->idle_count++] = curl;
    check(pthread_mutex_unlock(&h->lock) == 0);
    if (!kept)
        h->library->cleanup(curl);
}

/* 0, -ENOMEM. */
static int prepare(struct transfer *t, const char *url, char *error, struct curl_slist **headers)
{
    const struct tl_http_library *l = t->http->library;
    const struct tl_http_get *g = t->get;
    char range[64], etag[TL_HTTP_ETAG_MAX + 20];
    l->reset(t->curl);
    CURLcode bad = CURLE_OK;
    bad |= l->setopt(t->curl, CURLOPT_URL, url);
    bad |= l->setopt(t->curl, CURLOPT_NOSIGNAL, 1L);
    bad |= l->setopt(t->curl, CURLOPT_ERRORBUFFER, error);
    bad |= l->setopt(t->curl, CURLOPT_USERAGENT, "tiercel");
    bad |= l->setopt(t->curl, CURLOPT_FAILONERROR, 1L);
    bad |= l->setopt(t->curl, CURLOPT_FOLLOWLOCATION, 1L);
    bad |= l->setopt(t->curl, CURLOPT_MAXREDIRS, (long)REDIRECTS);
    bad |= l->setopt(t->curl, OPTION_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
    bad |= l->setopt(t->curl, OPTION_REDIR_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
    bad |= l->setopt(t->curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    bad |= l->setopt(t->curl, CURLOPT_LOW_SPEED_LIMIT, (long)LOW_SPEED);
    bad |= l->setopt(t->curl, CURLOPT_LOW_SPEED_TIME, (long)t->http->patience_s);
    bad |= l->setopt(t->curl, CURLOPT_WRITEFUNCTION, on_body);
    bad |= l->setopt(t->curl, CURLOPT_WRITEDATA, t);
    bad |= l->setopt(t->curl, CURLOPT_HEADERFUNCTION, on_header);
    bad |= l->setopt(t->curl, CURLOPT_HEADERDATA, t);
    bad |= l->setopt(t->curl, CURLOPT_NOPROGRESS, 0L);
    bad |= l->setopt(t->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    bad |= l->setopt(t->curl, CURLOPT_XFERINFODATA, t);
    if (g->len > 0) {
        snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)g->first,
                 (unsigned long long)(g->first + g->len - 1));
        bad |= l->setopt(t->curl, CURLOPT_RANGE, range); /* copied */
    }
    if (g->etag != NULL) {
        snprintf(etag, sizeof etag, "If-None-Match: %s", g->etag);
        *headers = l->append(NULL, etag);
        bad |= *headers == NULL ? CURLE_OUT_OF_MEMORY : l->setopt(t->curl, CURLOPT_HTTPHEADER, *headers);
    }
    return bad == CURLE_OK ? 0 : -ENOMEM;
}

/* What became of it, with a sentence. */
static int judge(struct transfer *t, CURLcode code, const char *url, const char *error, struct tl_error *why)
{
    const struct tl_http_library *l = t->http->library;
    long status = 0;
    l->getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    uint64_t want = t->get->len;
    const char *reason = error[0] != '\0' ? error : l->why(code);
    if (*t->http->stopping)
        return -ESHUTDOWN;
    if (t->status == -EOPNOTSUPP)
        return tl_error_set(why, -EBADMSG, "%s: the server knows no ranges; use one that does (Apache, nginx, ...)",
                            url);
    if (t->status == -EBADMSG)
        return tl_error_set(why, -EBADMSG,
                            "%s: not what was exported there (another size, or no answer to what was "
                            "asked); run `tiercel export --http` again on the server",
                            url);
    if (t->status != 0)
        return t->status;
    if (status == 304 && t->get->etag != NULL) {
        t->get->not_modified = true;
        return 0;
    }
    if (want > 0 && t->have == want)
        return 0; /* whatever came behind it */
    if (code == CURLE_OK && (want == 0 || t->have == want))
        return t->begun || status == 200 ? 0 : -EBADMSG;
    if (status == 404 || status == 410)
        return -ENOENT;
    if (status == 401 || status == 403)
        return tl_error_set(why, -EACCES, "%s: the server refuses it (%ld); have it allowed there", url, status);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return tl_error_set(why, -ETIMEDOUT, "%s: %s; is the server overloaded, or does a firewall swallow packets?",
                            url, reason);
    if (status == 416)
        return tl_error_set(why, -EBADMSG,
                            "%s: is shorter there than when it was exported; run `tiercel export --http` "
                            "again on the server",
                            url);
    if (code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING || code == CURLE_OK)
        return tl_error_set(why, -EIO, "%s: the answer was cut short (%s); look into the server's log", url, reason);
    if (status >= 400)
        return tl_error_set(why, -EIO, "%s: %s; look into the server's log", url, reason);
    return tl_error_set(why, -EHOSTUNREACH, "%s: %s; is the server up, and the address right?", url, reason);
}

int tl_http_get(struct tl_http *h, const struct tl_http_server *server, struct tl_http_get *g, struct tl_error *why)
{
    static const size_t url_size = TL_HTTP_URL_MAX + 3 * TL_SOURCE_PATH_MAX + 64;
    char error[CURL_ERROR_SIZE] = "", *url = malloc(url_size);
    struct curl_slist *headers = NULL;
    struct transfer t = {.http = h, .get = g, .total = UINT64_MAX};
    g->not_modified = false;
    g->new_etag[0] = '\0';
    int rc = url != NULL ? make_url(server->url, g->path, url, url_size) : -ENOMEM;
    if (rc == 0) {
        t.curl = take_handle(h);
        rc = t.curl != NULL ? prepare(&t, url, error, &headers) : -ENOMEM;
    }
    if (rc == 0) {
        CURLcode code = h->library->perform(t.curl);
        rc = judge(&t, code, url, error, why);
    }
    if (t.curl != NULL)
        give_handle(h, t.curl);
    h->library->free_list(headers);
    free(url);
    return rc;
}

#else

int tl_http_library_open(struct tl_http_library **out, struct tl_error *err)
{
    (void)out;
    return tl_error_set(err, -ENOTSUP,
                        "--source http://...: Tiercel was built without libcurl; build it with "
                        "libcurl4-openssl-dev, or serve from a file system");
}

void tl_http_library_close(struct tl_http_library *l)
{
    (void)l;
}

void tl_http_handles_free(struct tl_http *h)
{
    (void)h;
}

int tl_http_get(struct tl_http *h, const struct tl_http_server *server, struct tl_http_get *g, struct tl_error *why)
{
    (void)h;
    (void)server;
    (void)g;
    return tl_error_set(why, -ENOTSUP, "built without libcurl");
}

#endif
