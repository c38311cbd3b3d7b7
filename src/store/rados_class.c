// SPDX-License-Identifier: Apache-2.0
/* The RADOS pools in which payloads lie, one for each object class that a pool offers; see rados.h. Which they are is said when the pool is made; of
 * which class each is, the monitors know: n copies, or the profile's pieces. Both are kept in the pool's object, so that opening asks nobody:
 * "RP_3 meta,RP_3 data,EC_2P1 ec21", the index's first. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/class.h"
#include "store/rados.h"

static const char *wanted(const struct tl_rados *r)
{
    return r->where.data[0] != 0 ? r->where.data : r->where.meta;
}

/* The next of a list with commas; its length. */
static size_t next(const char **at, const char **rest)
{
    size_t len = strcspn(*rest, ",");
    *at = *rest;
    *rest += len + ((*rest)[len] == ',');
    return len;
}

static int add(struct tl_rados *r, const char *name, size_t len, struct tl_error *err)
{
    struct tl_rados_data *d = &r->data[r->classes.count];
    if (len == 0 || len >= sizeof d->name || r->classes.count == TL_STORE_CLASSES)
        return tl_error_set(err, -EINVAL, "pool %s: data= names up to %u RADOS pools, with commas, not '%.*s'",
                            r->where.uri, TL_STORE_CLASSES, (int)len, name);
    snprintf(d->name, sizeof d->name, "%.*s", (int)len, name);
    int rc = tl_rados_open_io(r, d->name, &d->io, err);
    r->classes.count += rc == 0;
    return rc;
}

void tl_rados_data_close(struct tl_rados *r)
{
    for (unsigned i = 0; i < r->classes.count; i++)
        r->lib->ioctx_destroy(r->data[i].io);
    r->classes.count = 0;
}

/* ---- what the monitors say ---- */

static uint64_t number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key); /* profiles have their numbers as strings */
    const char *text = json_string_value(value);
    return text != NULL ? strtoull(text, NULL, 10) : (uint64_t)json_integer_value(value);
}

/* 0: none that has a name. */
static uint16_t class_of(const json_t *dump, const json_t *pool)
{
    const char *profile = json_string_value(json_object_get(pool, "erasure_code_profile"));
    const json_t *profiles = json_object_get(dump, "erasure_code_profiles");
    const json_t *code = profile != NULL ? json_object_get(profiles, profile) : NULL;
    if (json_integer_value(json_object_get(pool, "type")) == 1)
        return tl_class_replicated(number(pool, "size"));
    return tl_class_erasure(number(code, "k"), number(code, "m"));
}

static int ask(struct tl_rados *r, const json_t *dump, const char *name, uint16_t *out, struct tl_error *err)
{
    const json_t *pools = json_object_get(dump, "pools"), *pool = NULL;
    for (size_t i = 0; i < json_array_size(pools); i++) {
        const char *one = json_string_value(json_object_get(json_array_get(pools, i), "pool_name"));
        if (one != NULL && strcmp(one, name) == 0)
            pool = json_array_get(pools, i);
    }
    *out = pool != NULL ? class_of(dump, pool) : 0;
    if (*out == 0)
        return tl_error_set(err, -EINVAL,
                            "pool %s: RADOS pool '%s' is of no object class: it is neither replicated, nor has its "
                            "erasure-code profile k and m",
                            r->where.uri, name);
    return 0;
}

static int know(struct tl_rados *r, const json_t *dump, struct tl_error *err)
{
    char text[TL_CLASS_NAME];
    int rc = ask(r, dump, r->where.meta, &r->classes.index, err);
    for (unsigned i = 0; rc == 0 && i < r->classes.count; i++) {
        rc = ask(r, dump, r->data[i].name, &r->classes.list[i], err);
        for (unsigned k = 0; rc == 0 && k < i; k++) {
            if (r->classes.list[k] != r->classes.list[i])
                continue;
            (void)tl_class_name(r->classes.list[i], text);
            rc =
                tl_error_set(err, -EINVAL,
                             "pool %s: RADOS pools '%s' and '%s' are both of class %s; name one of each class in data=",
                             r->where.uri, r->data[k].name, r->data[i].name, text);
        }
    }
    return rc;
}

int tl_rados_data_find(struct tl_rados *r, struct tl_error *err)
{
    const char *rest = wanted(r), *at;
    json_t *dump = NULL;
    int rc = 0;
    do {
        size_t len = next(&at, &rest);
        rc = add(r, at, len, err);
    } while (rc == 0 && *rest != 0);
    rc = rc == 0 ? tl_rados_mon(r, json_pack("{s:s}", "prefix", "osd dump"), &dump, err) : rc;
    rc = rc == 0 ? know(r, dump, err) : rc;
    json_decref(dump);
    if (rc != 0)
        tl_rados_data_close(r);
    return rc;
}

/* ---- as text ---- */

void tl_rados_data_text(const struct tl_rados *r, char out[TL_RADOS_TEXT])
{
    char class[TL_CLASS_NAME];
    (void)tl_class_name(r->classes.index, class);
    size_t len = (size_t)snprintf(out, TL_RADOS_TEXT, "%s %s", class, r->where.meta);
    for (unsigned i = 0; i < r->classes.count; i++) {
        (void)tl_class_name(r->classes.list[i], class);
        len += (size_t)snprintf(out + len, TL_RADOS_TEXT - len, ",%s %s", class, r->data[i].name);
        check(len < TL_RADOS_TEXT); /* data= has fewer bytes than that */
    }
}

static int damaged(const struct tl_rados *r, const char *text, struct tl_error *err)
{
    return tl_error_set(err, -EBADMSG, "pool %s says that its data is in '%.64s', which means nothing", r->where.uri,
                        text);
}

/* "EC_2P1 ec21": the class; where the name begins. */
static int split(const char *at, size_t len, uint16_t *class, const char **name)
{
    char text[TL_CLASS_NAME];
    const char *blank = memchr(at, ' ', len);
    if (blank == NULL || (size_t)(blank - at) >= sizeof text)
        return -EBADMSG;
    snprintf(text, sizeof text, "%.*s", (int)(blank - at), at);
    *name = blank + 1;
    return tl_class_parse(text, class) == 0 ? 0 : -EBADMSG;
}

/* Whether the uri, if it says anything, says the same. */
static int compare(const struct tl_rados *r, struct tl_error *err)
{
    char names[sizeof r->where.data + 1] = "";
    for (unsigned i = 0; i < r->classes.count; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i > 0 ? "," : "", r->data[i].name);
    if (r->where.data[0] == 0 || strcmp(r->where.data, names) == 0)
        return 0;
    return tl_error_set(err, -EINVAL, "pool %s has its data in RADOS pool '%s', not in '%s'", r->where.uri, names,
                        r->where.data);
}

int tl_rados_data_open(struct tl_rados *r, const char *text, struct tl_error *err)
{
    const char *rest = text, *at, *name;
    size_t len = next(&at, &rest);
    int rc = split(at, len, &r->classes.index, &name) == 0 && *rest != 0 ? 0 : damaged(r, text, err);
    while (rc == 0 && *rest != 0) {
        uint16_t class = 0;
        len = next(&at, &rest);
        if (split(at, len, &class, &name) != 0)
            rc = damaged(r, text, err);
        rc = rc == 0 ? add(r, name, (size_t)(at + len - name), err) : rc;
        if (rc == 0)
            r->classes.list[r->classes.count - 1] = class;
    }
    rc = rc == 0 ? compare(r, err) : rc;
    if (rc != 0)
        tl_rados_data_close(r);
    return rc;
}

/* ---- classes ---- */

int tl_rados_data_of(const struct tl_rados *r, uint16_t class)
{
    for (unsigned i = 0; i < r->classes.count; i++)
        if (class == 0 || r->classes.list[i] == class)
            return (int)i;
    return -EINVAL;
}

const struct tl_store_classes *tl_rados_classes(const struct tl_store *s)
{
    return &((const struct tl_rados *)s)->classes;
}
