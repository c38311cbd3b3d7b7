// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

int tl_error_set(struct tl_error *err, int code, const char *fmt, ...)
{
    check(code < 0);
    if (err == NULL)
        return code;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    err->code = code;
    return code;
}

int tl_error_wrap(struct tl_error *err, const char *fmt, ...)
{
    if (err == NULL || err->code == 0)
        return 0;
    char old[TL_ERROR_MSG_MAX];
    memcpy(old, err->msg, sizeof old);
    va_list args;
    va_start(args, fmt);
    int used = vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof err->msg)
        snprintf(err->msg + used, sizeof err->msg - (size_t)used, ": %s", old);
    return err->code;
}
