// SPDX-License-Identifier: Apache-2.0
#include "daemon/http.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

static bool ends(const char *p, size_t len)
{
    return (len >= 4 && memcmp(p + len - 4, "\r\n\r\n", 4) == 0) || (len >= 2 && memcmp(p + len - 2, "\n\n", 2) == 0);
}

static bool begins(const char *p, size_t len, const char *with)
{
    size_t n = strlen(with);
    return len >= n && memcmp(p, with, n) == 0;
}

/* Headers say nothing that matters here: the first line decides, once the last one has come. */
enum tl_http_verdict tl_http_judge(const char *request, size_t len)
{
    bool whole = false;
    for (size_t i = 1; i <= len && !whole; i++)
        whole = request[i - 1] == '\n' && ends(request, i);
    if (!whole)
        return len < TL_HTTP_REQUEST_MAX ? TL_HTTP_MORE : TL_HTTP_TOO_LONG;
    const char *line_end = memchr(request, '\n', len);
    size_t line = (size_t)(line_end - request);
    const char *target = memchr(request, ' ', line), *version = NULL;
    if (target != NULL) {
        target++;
        version = memchr(target, ' ', line - (size_t)(target - request));
    }
    if (version == NULL || !begins(version + 1, line - (size_t)(version + 1 - request), "HTTP/1."))
        return TL_HTTP_BAD;
    if (!begins(request, line, "GET "))
        return TL_HTTP_METHOD;
    size_t target_len = (size_t)(version - target);
    bool known = begins(target, target_len, "/metrics") && (target_len == 8 || target[8] == '?');
    return known ? TL_HTTP_OK : TL_HTTP_NOT_FOUND;
}

const char *tl_http_words(enum tl_http_verdict verdict)
{
    switch (verdict) {
    case TL_HTTP_OK: return "OK";
    case TL_HTTP_NOT_FOUND: return "Not Found";
    case TL_HTTP_METHOD: return "Method Not Allowed";
    case TL_HTTP_TOO_LONG: return "Request Header Fields Too Large";
    case TL_HTTP_MORE:
    case TL_HTTP_BAD: break;
    }
    return "Bad Request";
}

size_t tl_http_head(enum tl_http_verdict verdict, size_t body_len, char out[TL_HTTP_HEAD_MAX])
{
    const char *type = verdict == TL_HTTP_OK ? "text/plain; version=0.0.4; charset=utf-8" : "text/plain";
    int len = snprintf(out, TL_HTTP_HEAD_MAX,
                       "HTTP/1.0 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%sConnection: close\r\n\r\n",
                       (int)verdict, tl_http_words(verdict), type, body_len,
                       verdict == TL_HTTP_METHOD ? "Allow: GET\r\n" : "");
    check(len > 0 && (size_t)len < TL_HTTP_HEAD_MAX);
    return (size_t)len;
}
