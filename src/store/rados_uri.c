// SPDX-License-Identifier: Apache-2.0
/* rados:///NAME?conf=/etc/ceph/ceph.conf&user=admin&pool=META&data=DATA,DATA&timeout=60&lease=30. Without a name: "default", as tiers are called. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/rados.h"

enum { TIMEOUT_S = 60, LEASE_S = 30, SECONDS_MAX = 86400 };

static int copy(char *out, size_t size, const char *from, size_t len, const char *what, struct tl_error *err)
{
    if (len == 0 || len >= size)
        return tl_error_set(err, -EINVAL, "the %s in the pool's uri is %s", what, len == 0 ? "empty" : "too long");
    memcpy(out, from, len);
    out[len] = 0;
    return 0;
}

static int number(unsigned *out, const char *from, size_t len, const char *what, struct tl_error *err)
{
    unsigned n = 0;
    bool bad = false;
    for (size_t i = 0; i < len && !bad; i++) {
        n = n * 10 + (unsigned)(from[i] - '0');
        bad = !isdigit((unsigned char)from[i]) || n > SECONDS_MAX;
    }
    if (bad)
        return tl_error_set(err, -EINVAL, "%s=%.*s in the pool's uri is no number of seconds up to %u", what, (int)len,
                            from, SECONDS_MAX);
    if (n == 0)
        return tl_error_set(err, -EINVAL, "%s= in the pool's uri wants a number of seconds above 0", what);
    *out = n;
    return 0;
}

static int option(struct tl_rados_where *w, const char *from, size_t len, struct tl_error *err)
{
    const char *is = memchr(from, '=', len);
    const size_t name = is == NULL ? len : (size_t)(is - from), rest = is == NULL ? 0 : len - name - 1;
    const struct {
        const char *name;
        char *text;
        size_t size;
        unsigned *number;
    } options[] = {
        {"conf", w->conf, sizeof w->conf, NULL}, {"user", w->user, sizeof w->user, NULL},
        {"pool", w->meta, sizeof w->meta, NULL}, {"data", w->data, sizeof w->data, NULL},
        {"timeout", NULL, 0, &w->timeout_s},     {"lease", NULL, 0, &w->lease_s},
    };
    for (size_t i = 0; is != NULL && i < sizeof options / sizeof *options; i++) {
        if (strlen(options[i].name) != name || memcmp(options[i].name, from, name) != 0)
            continue;
        if (options[i].number != NULL)
            return number(options[i].number, is + 1, rest, options[i].name, err);
        return copy(options[i].text, options[i].size, is + 1, rest, options[i].name, err);
    }
    return tl_error_set(err, -EINVAL,
                        "'%.*s' in the pool's uri is none of conf=, user=, pool=, data=, timeout=, lease=", (int)len,
                        from);
}

int tl_rados_where_parse(struct tl_rados_where *out, const char *uri, struct tl_error *err)
{
    static const char scheme[] = "rados:///";
    *out = (struct tl_rados_where){.user = "admin", .timeout_s = TIMEOUT_S, .lease_s = LEASE_S};
    snprintf(out->uri, sizeof out->uri, "%.256s", uri);
    if (strncmp(uri, scheme, strlen(scheme)) != 0)
        return tl_error_set(err, -EINVAL, "pool %.256s: use rados:///NAME?conf=/path/ceph.conf&pool=RADOS-POOL", uri);
    const char *name = uri + strlen(scheme);
    size_t len = strcspn(name, "?");
    int rc = len > 0 ? copy(out->space, sizeof out->space, name, len, "name", err) : 0;
    if (len == 0)
        snprintf(out->space, sizeof out->space, "default");
    for (size_t i = 0; rc == 0 && i < len; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("._-", name[i]) == NULL)
            rc = tl_error_set(err, -EINVAL, "pool %.256s: its name may have letters, digits, and . _ - only", uri);
    for (const char *at = name + len; rc == 0 && *at != 0;) {
        at++;
        len = strcspn(at, "&");
        rc = option(out, at, len, err);
        at += len;
    }
    out->own = out->meta[0] == 0;
    if (rc == 0 && out->own &&
        snprintf(out->meta, sizeof out->meta, "tiercel.%s.meta", out->space) >= (int)sizeof out->meta)
        rc =
            tl_error_set(err, -EINVAL, "pool %.256s: its name is too long; with pool= it may have 127 characters", uri);
    return rc;
}
