// SPDX-License-Identifier: Apache-2.0
/* As much of HTTP as answers `GET /metrics`. Pure functions over bytes, any thread. */
#ifndef TL_DAEMON_HTTP_H
#define TL_DAEMON_HTTP_H

#include <stddef.h>

#define TL_HTTP_REQUEST_MAX 4096u /* bytes of a request's line and headers */
#define TL_HTTP_HEAD_MAX    256u  /* of an answer */

enum tl_http_verdict {
    TL_HTTP_MORE = 0, /* the request is not whole yet */
    TL_HTTP_OK = 200,
    TL_HTTP_BAD = 400,
    TL_HTTP_NOT_FOUND = 404,
    TL_HTTP_METHOD = 405,
    TL_HTTP_TOO_LONG = 431,
};

/* What a request is to be answered. Any bytes are fine. */
enum tl_http_verdict tl_http_judge(const char *request, size_t len);
/* The head of an answer with a body of this length. Its length. */
size_t tl_http_head(enum tl_http_verdict verdict, size_t body_len, char out[TL_HTTP_HEAD_MAX]);
const char *tl_http_words(enum tl_http_verdict verdict); /* "Not Found" */

#endif
