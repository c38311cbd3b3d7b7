// SPDX-License-Identifier: Apache-2.0
/* Properties of containers: what a user may set or ask by name. "label" is the registry's, "snapshots-max" and "class" are kept in the container's state as
 * "p" and their names; the others are what they are. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/class.h"
#include "pool/internal.h"

static const struct tl_slice snapshots_max_key = {"psnapshots-max", 14};
static const struct tl_slice class_key = {TL_STATE_CLASS, sizeof TL_STATE_CLASS - 1};

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
    return tl_state_look(s, &c->id, get_max, out);
}

static int get_class(void *ctx, struct tl_store_tx *tx)
{
    struct tl_slice value;
    int rc = tx->ops->get(tx, class_key, &value);
    *(uint16_t *)ctx = rc == 0 && value.len == 2 ? tl_get_u16(value.at) : 0;
    return rc == -ENOENT ? 0 : rc;
}

static int set_class(void *ctx, struct tl_store_tx *tx)
{
    uint8_t v[2];
    tl_put_u16(v, *(const uint16_t *)ctx);
    return tx->ops->put(tx, class_key, (struct tl_slice){v, sizeof v});
}

static const struct tl_slice any_class_key = {TL_STATE_ANY_CLASS, sizeof TL_STATE_ANY_CLASS - 1};

static int get_any(void *ctx, struct tl_store_tx *tx)
{
    struct tl_slice value;
    int rc = tx->ops->get(tx, any_class_key, &value);
    *(bool *)ctx = rc == 0;
    return rc == -ENOENT ? 0 : rc;
}

static int set_any(void *ctx, struct tl_store_tx *tx)
{
    if (*(const bool *)ctx)
        return tx->ops->put(tx, any_class_key, (struct tl_slice){"", 0});
    int rc = tx->ops->del(tx, any_class_key);
    return rc == -ENOENT ? 0 : rc;
}

static int unknown(struct tl_error *err, const char *prop)
{
    return tl_error_set(
        err, -EINVAL,
        "there is no property \"%s\"; there are label, class, other-classes, snapshots-max, redundancy, "
        "checksum and created",
        prop);
}

/* Its class, and how many losses that survives. */
static int look_class(struct tl_pool *p, const struct tl_listed *l, char name[TL_CLASS_NAME], unsigned *survives)
{
    uint16_t class = 0;
    int rc = tl_lost_look(p->shared, &l->id, get_class, &class);
    (void)tl_class_name(class, name);
    *survives = tl_class_survives(p->shared, class);
    return rc;
}

int tl_cont_get_prop(struct tl_pool *p, const char *name, const char *prop, char *out, size_t room,
                     struct tl_error *err)
{
    struct tl_listed l;
    struct tl_lost_text why;
    char class[TL_CLASS_NAME];
    uint32_t max = 0;
    unsigned survives = 0;
    bool any = false;
    int n, rc = tl_pool_alive(p, false);
    rc = rc == 0 ? tl_registry_find(p, name, &l) : rc;
    if (rc == 0 && strcmp(prop, "snapshots-max") == 0)
        rc = tl_lost_look(p->shared, &l.id, get_max, &max);
    if (rc == 0 && strcmp(prop, "other-classes") == 0)
        rc = tl_lost_look(p->shared, &l.id, get_any, &any);
    if (rc == 0 && (strcmp(prop, "class") == 0 || strcmp(prop, "redundancy") == 0))
        rc = look_class(p, &l, class, &survives);
    if (rc != 0)
        return tl_error_set(err, rc, "container %s: property %s cannot be read: %s", name, prop,
                            tl_lost_why(p->shared, rc, &why));
    if (strcmp(prop, "label") == 0)
        n = snprintf(out, room, "%s", l.label);
    else if (strcmp(prop, "class") == 0)
        n = snprintf(out, room, "%s", class);
    else if (strcmp(prop, "other-classes") == 0)
        n = snprintf(out, room, "%s", any ? "default" : "refused");
    else if (strcmp(prop, "snapshots-max") == 0)
        n = snprintf(out, room, "%" PRIu32, max);
    else if (strcmp(prop, "redundancy") == 0)
        n = snprintf(out, room, "%u", survives);
    else if (strcmp(prop, "checksum") == 0)
        n = snprintf(out, room, "xxh3");
    else if (strcmp(prop, "created") == 0)
        n = snprintf(out, room, "%" PRIu64, l.created_ns);
    else
        return unknown(err, prop);
    return n < (int)room ? 0 : tl_error_set(err, -ENOBUFS, "container %s: property %s has %d bytes", name, prop, n);
}

/* ---- setting ---- */

static int change_class(struct tl_pool *p, const struct tl_listed *l, const char *name, const char *value,
                        struct tl_error *err)
{
    struct tl_lost_text why;
    uint16_t class;
    if (tl_class_parse(value, &class) != 0)
        return tl_error_set(err, -EINVAL,
                            "container %s: \"%.40s\" is no object class; S, RP_2, RP_3, EC_2P1 are some, and default",
                            name, value);
    int rc = tl_class_offered(p->shared, name, class, err);
    if (rc != 0)
        return rc;
    rc = tl_lost_change(p->shared, &l->id, set_class, &class);
    return rc == 0 ? 0
                   : tl_error_set(err, rc, "container %s: its class cannot be set: %s", name,
                                  tl_lost_why(p->shared, rc, &why));
}

static int change_any(struct tl_pool *p, const struct tl_listed *l, const char *name, const char *value,
                      struct tl_error *err)
{
    struct tl_lost_text why;
    bool any = strcmp(value, "default") == 0;
    if (!any && strcmp(value, "refused") != 0)
        return tl_error_set(err, -EINVAL, "container %s: other-classes is default or refused, not \"%.40s\"", name,
                            value);
    int rc = tl_lost_change(p->shared, &l->id, set_any, &any);
    return rc == 0 ? 0
                   : tl_error_set(err, rc, "container %s: property other-classes cannot be set: %s", name,
                                  tl_lost_why(p->shared, rc, &why));
}

static int change_max(struct tl_pool *p, const struct tl_listed *l, const char *name, const char *value,
                      struct tl_error *err)
{
    struct tl_lost_text why;
    char *end = NULL;
    errno = 0;
    unsigned long long max = strtoull(value, &end, 10);
    if (errno != 0 || *value < '0' || *value > '9' || *end != 0 || max > UINT32_MAX)
        return tl_error_set(err, -EINVAL, "container %s: snapshots-max is a number, 0 for no limit, not \"%s\"", name,
                            value);
    uint32_t v = (uint32_t)max;
    int rc = tl_lost_change(p->shared, &l->id, set_max, &v);
    return rc == 0 ? 0
                   : tl_error_set(err, rc, "container %s: property snapshots-max cannot be set: %s", name,
                                  tl_lost_why(p->shared, rc, &why));
}

/* It follows from the class: what it is may be said, nothing else. */
static int confirm_redundancy(struct tl_pool *p, const struct tl_listed *l, const char *name, const char *value,
                              struct tl_error *err)
{
    struct tl_lost_text why;
    char class[TL_CLASS_NAME], is[16];
    unsigned survives = 0;
    int rc = look_class(p, l, class, &survives);
    if (rc != 0)
        return tl_error_set(err, rc, "container %s: its class cannot be read: %s", name,
                            tl_lost_why(p->shared, rc, &why));
    snprintf(is, sizeof is, "%u", survives);
    if (strcmp(is, value) == 0)
        return 0;
    if (p->shared->path[0] == '/')
        return tl_error_set(err, -EINVAL,
                            "container %s: a pool in a directory has redundancy 0; use a pool on RADOS for more", name);
    return tl_error_set(err, -EINVAL, "container %s: its redundancy, %s, follows from its class, %s; set the class",
                        name, is, class);
}

int tl_cont_set_prop(struct tl_pool *p, const char *name, const char *prop, const char *value, struct tl_error *err)
{
    struct tl_listed l;
    int rc = tl_pool_alive(p, true);
    rc = rc == 0 ? tl_registry_find(p, name, &l) : rc;
    if (rc != 0)
        return tl_error_set(err, rc, "container %s: property %s cannot be set: %s", name, prop, tl_store_strerror(rc));
    if (strcmp(prop, "label") == 0)
        return tl_registry_rename(p, &l, value, err);
    if (strcmp(prop, "class") == 0)
        return change_class(p, &l, name, value, err);
    if (strcmp(prop, "other-classes") == 0)
        return change_any(p, &l, name, value, err);
    if (strcmp(prop, "redundancy") == 0)
        return confirm_redundancy(p, &l, name, value, err);
    if (strcmp(prop, "snapshots-max") == 0)
        return change_max(p, &l, name, value, err);
    if (strcmp(prop, "checksum") == 0 || strcmp(prop, "created") == 0)
        return tl_error_set(err, -EINVAL, "container %s: property %s cannot be changed", name, prop);
    return unknown(err, prop);
}
