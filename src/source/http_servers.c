// SPDX-License-Identifier: Apache-2.0
/* The servers in their order. One that fails is asked last for a while, and said once: programs go on with the next. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/time.h"
#include "source/http.h"

#define DOWN_NS (30 * TL_NS_PER_S)

static int add(struct tl_http *h, const char *url, size_t len, struct tl_error *err)
{
    size_t scheme = strncmp(url, "http://", 7) == 0 ? 7 : strncmp(url, "https://", 8) == 0 ? 8 : 0;
    while (len > scheme && url[len - 1] == '/')
        len--;
    if (scheme == 0 || len <= scheme || url[scheme] == '/')
        return tl_error_set(err, -EINVAL, "--source %.*s: must be http://HOST[:PORT][/PREFIX], or https://", (int)len,
                            url);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)url[i] <= ' ' || strchr("?#\"<>\\^`{|}\x7f", url[i]) != NULL)
            return tl_error_set(err, -EINVAL, "--source %.*s: a blank or '%c' in it; write it %%-encoded", (int)len,
                                url, url[i] > ' ' && url[i] < 127 ? url[i] : ' ');
    if (len >= TL_HTTP_URL_MAX || h->server_count == TL_HTTP_SERVERS_MAX)
        return tl_error_set(err, -EINVAL, "--source: at most %u addresses of %u bytes", TL_HTTP_SERVERS_MAX,
                            TL_HTTP_URL_MAX - 1);
    memcpy(h->servers[h->server_count].url, url, len);
    h->servers[h->server_count++].url[len] = '\0';
    return 0;
}

int tl_http_servers_parse(struct tl_http *h, const char *urls, struct tl_error *err)
{
    int rc = 0;
    for (const char *at = urls; rc == 0 && at != NULL;) {
        size_t len = strcspn(at, ",");
        rc = add(h, at, len, err);
        at = at[len] == ',' ? at + len + 1 : NULL;
    }
    return rc;
}

static bool is_servers_fault(int rc)
{
    switch (rc) {
    case 0:
    case -ENOENT:
    case -EACCES:
    case -ESTALE:
    case -ENOMEM:
    case -ESHUTDOWN: return false;
    default: return true;
    }
}

/* Unreachable, silent or broken: not one that merely has wrong bytes, for its others may be right. */
static void note(struct tl_http *h, struct tl_http_server *server, int rc, const struct tl_error *why)
{
    uint64_t now = tl_time_mono_ns(), was = server->down_until_ns;
    bool said = was > now;
    char sentence[TL_ERROR_MSG_MAX + 64];
    if (!is_servers_fault(rc)) {
        server->down_until_ns = 0;
        return;
    }
    if (rc != -EBADMSG)
        server->down_until_ns = now + DOWN_NS;
    snprintf(sentence, sizeof sentence, "source: %s", why->msg);
    if (!said && h->warn != NULL)
        h->warn(sentence);
}

int tl_http_try(struct tl_http *h, int (*attempt)(void *ctx, const struct tl_http_server *server, struct tl_error *why),
                void *ctx)
{
    uint64_t now = tl_time_mono_ns();
    int rc = -EIO;
    for (int late = 0; late < 2; late++) { /* those that are not down, then those that are */
        for (uint32_t i = 0; i < h->server_count; i++) {
            struct tl_http_server *server = &h->servers[i];
            struct tl_error why = {0};
            if ((server->down_until_ns > now) != (late == 1))
                continue;
            if (*h->stopping)
                return -ESHUTDOWN;
            rc = attempt(ctx, server, &why);
            note(h, server, rc, &why);
            if (!is_servers_fault(rc))
                return rc;
        }
    }
    return rc;
}
