// SPDX-License-Identifier: Apache-2.0
/* What the files of libtiercel share. Thread rules as in tiercel/tiercel.h. */
#ifndef TL_CLIENT_CLIENT_H
#define TL_CLIENT_CLIENT_H

#include "tiercel/tiercel.h"

/* Fills err (may be NULL) with code < 0 and the sentence, and returns code. */
int tl_client_error(struct tiercel_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* snprintf into out that refuses to cut: 0, or -ENOBUFS with a sentence. */
int tl_client_format(struct tiercel_error *err, char *out, size_t out_size, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
