// SPDX-License-Identifier: Apache-2.0
/* Sentences: filled where the cause is known; the meaning of a code for those who have no sentence. */
#include "client/client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

int tl_client_error(struct tiercel_error *err, int code, const char *fmt, ...)
{
    check(code < 0);
    if (err == NULL)
        return code;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    err->code = code;
    return code;
}

int tl_client_format(struct tiercel_error *err, char *out, size_t out_size, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(out, out_size, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= out_size)
        return tl_client_error(err, -ENOBUFS, "%.200s...: too long for %zu bytes; use a shorter path", out, out_size);
    return 0;
}

/* The codes that mean something of their own in a tier; the rest is the C library's. */
static const struct {
    int number;
    const char *text;
} meanings[] = {
    {ETIMEDOUT, "no answer in time"},
    {ECONNREFUSED, "the daemon is gone"},
    {ECONNRESET, "the daemon went away in the middle of a call"},
    {EBADMSG, "bytes that are not of this protocol"},
    {ESTALE, "the file has changed since"},
    {EBUSY, "a limit is reached"},
    {EHOSTUNREACH, "no live node above this one"},
    {ECANCELED, "given up"},
    {ESHUTDOWN, "the daemon is shutting down"},
    {EKEYREJECTED, "the job's key does not match"},
    {EPROTO, "another version of the protocol"},
};

const char *tiercel_strerror(int code)
{
    int number = code < 0 ? -code : code;
    if (number == 0)
        return "success";
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++) {
        if (meanings[i].number == number)
            return meanings[i].text;
    }
    const char *text = strerrordesc_np(number); /* never freed, any thread */
    return text != NULL ? text : "unknown error";
}

const char *tiercel_version(void)
{
    return TIERCEL_VERSION;
}

void tiercel_free(void *p)
{
    free(p);
}
