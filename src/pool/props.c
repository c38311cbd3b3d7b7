// SPDX-License-Identifier: Apache-2.0
/* Properties of containers: what a user may set or ask by name. "label" is the registry's, "snapshots-max" is kept in the container's state as "p" and
 * its name; the others are what they are. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pool/internal.h"

static const struct tl_slice snapshots_max_key = {"psnapshots-max", 14};

static int get_max(void *ctx, struct tl_store_tx *tx)
{
    struct tl_slice value;
    int rc = tx->ops->get(tx, snapshots_max_key, &value);
    *(uint32_t *)ctx = rc == 0 && value.len == 4 ? tl_get_u32(value.at) : 0;
    return rc == -ENOENT ? 0 : rc;
}

static int set_max(void *ctx, struct tl_store_tx *tx)
{
    uint8_t v[4];
    tl_put_u32(v, *(const uint32_t *)ctx);
    return tx->ops->put(tx, snapshots_max_key, (struct tl_slice){v, sizeof v});
}

int tl_cont_snapshots_max(struct tl_cont *c, uint32_t *out)
{
    struct tl_store *s = c->pool->shared->store;
    return s->ops->look(s, &c->id, get_max, out);
}

static int unknown(struct tl_error *err, const char *prop)
{
    return tl_error_set(err, -EINVAL,
                        "there is no property \"%s\"; there are label, snapshots-max, redundancy, checksum and created",
                        prop);
}

int tl_cont_get_prop(struct tl_pool *p, const char *name, const char *prop, char *out, size_t room,
                     struct tl_error *err)
{
    struct tl_store *s = p->shared->store;
    struct tl_listed l;
    uint32_t max = 0;
    int n, rc = tl_pool_alive(p, false);
    rc = rc == 0 ? tl_registry_find(p, name, &l) : rc;
    if (rc == 0 && strcmp(prop, "snapshots-max") == 0)
        rc = s->ops->look(s, &l.id, get_max, &max);
    if (rc != 0)
        return tl_error_set(err, rc, "container %s: property %s cannot be read: %s", name, prop, strerror(-rc));
    if (strcmp(prop, "label") == 0)
        n = snprintf(out, room, "%s", l.label);
    else if (strcmp(prop, "snapshots-max") == 0)
        n = snprintf(out, room, "%" PRIu32, max);
    else if (strcmp(prop, "redundancy") == 0)
        n = snprintf(out, room, "0");
    else if (strcmp(prop, "checksum") == 0)
        n = snprintf(out, room, "xxh3");
    else if (strcmp(prop, "created") == 0)
        n = snprintf(out, room, "%" PRIu64, l.created_ns);
    else
        return unknown(err, prop);
    return n < (int)room ? 0 : tl_error_set(err, -ENOBUFS, "container %s: property %s has %d bytes", name, prop, n);
}

int tl_cont_set_prop(struct tl_pool *p, const char *name, const char *prop, const char *value, struct tl_error *err)
{
    struct tl_store *s = p->shared->store;
    struct tl_listed l;
    char *end = NULL;
    int rc = tl_pool_alive(p, true);
    rc = rc == 0 ? tl_registry_find(p, name, &l) : rc;
    if (rc != 0)
        return tl_error_set(err, rc, "container %s: property %s cannot be set: %s", name, prop, strerror(-rc));
    if (strcmp(prop, "label") == 0)
        return tl_registry_rename(p, &l, value, err);
    if (strcmp(prop, "redundancy") == 0 && strcmp(value, "0") == 0)
        return 0;
    if (strcmp(prop, "redundancy") == 0)
        return tl_error_set(err, -EINVAL,
                            "container %s: a pool in a directory has redundancy 0; use a pool on RADOS for more", name);
    if (strcmp(prop, "checksum") == 0 || strcmp(prop, "created") == 0)
        return tl_error_set(err, -EINVAL, "container %s: property %s cannot be changed", name, prop);
    if (strcmp(prop, "snapshots-max") != 0)
        return unknown(err, prop);
    errno = 0;
    unsigned long long max = strtoull(value, &end, 10);
    if (errno != 0 || *value < '0' || *value > '9' || *end != 0 || max > UINT32_MAX)
        return tl_error_set(err, -EINVAL, "container %s: snapshots-max is a number, 0 for no limit, not \"%s\"", name,
                            value);
    uint32_t v = (uint32_t)max;
    rc = s->ops->change(s, &l.id, set_max, &v);
    return rc == 0 ? 0
                   : tl_error_set(err, rc, "container %s: property %s cannot be set: %s", name, prop, strerror(-rc));
}
