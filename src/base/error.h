// SPDX-License-Identifier: Apache-2.0
/* One good sentence for people beside the errno for code.
 *
 * Filled where the cause is known; callers on the way up prepend context (which path, which node).
 * A sentence names the thing, the cause and the remedy. */
#ifndef TL_BASE_ERROR_H
#define TL_BASE_ERROR_H

#define TL_ERROR_MSG_MAX 512

struct tl_error {
    int code;                   /* 0, or a negative errno */
    char msg[TL_ERROR_MSG_MAX]; /* one sentence, NUL-terminated, truncated when too long */
};

/* Sets code and sentence (printf style) and returns code, so that `return tl_error_set(...)` reads well.
 * err may be NULL; code must be negative. */
int tl_error_set(struct tl_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts `context: ` before the sentence that is there; err may be NULL or empty. Returns err's code or 0. */
int tl_error_wrap(struct tl_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
