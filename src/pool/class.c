// SPDX-License-Identifier: Apache-2.0
/* Object classes: how payloads are protected. An object's id names one, else the container's property "class" does, else it is the
 * pool's default. Only writing asks: what there is, is read wherever it lies. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/class.h"
#include "pool/internal.h"

static const struct tl_store_classes *classes_of(const struct tl_shared *s)
{
    return s->store->ops->classes(s->store);
}

static bool offers(const struct tl_store_classes *offered, uint16_t class)
{
    for (unsigned i = 0; i < offered->count; i++)
        if (class == offered->list[i])
            return true;
    return class == 0;
}

int tl_class_offered(const struct tl_shared *s, const char *container, uint16_t class, struct tl_error *err)
{
    const struct tl_store_classes *offered = classes_of(s);
    if (offers(offered, class))
        return 0;
    char list[TL_STORE_CLASSES * (TL_CLASS_NAME + 2)] = "", name[TL_CLASS_NAME];
    for (unsigned i = 0; i < offered->count; i++) {
        (void)tl_class_name(offered->list[i], name);
        size_t len = strlen(list);
        snprintf(list + len, sizeof list - len, "%s%s", i > 0 ? ", " : "", name);
    }
    (void)tl_class_name(class, name);
    return tl_error_set(err, -EINVAL, "container %s: pool %.200s does not offer object class %s; it offers %s",
                        container, s->path, name, list);
}

int tl_class_of_write(const struct tl_cont *c, struct tiercel_oid oid, uint16_t *out, struct tl_error *err)
{
    uint16_t class = (uint16_t)tiercel_oid_class(oid);
    class = class != 0 ? class : c->state.class;
    if (c->state.any_class) {
        *out = tl_class_of_copy(c->pool->shared, oid, c->state.class);
        return 0;
    }
    int rc = tl_class_offered(c->pool->shared, c->name, class, err);
    if (rc == 0)
        *out = class;
    return rc;
}

uint16_t tl_class_of_copy(const struct tl_shared *s, struct tiercel_oid oid, uint16_t container)
{
    uint16_t class = (uint16_t)tiercel_oid_class(oid);
    class = class != 0 ? class : container;
    return offers(classes_of(s), class) ? class : 0;
}

unsigned tl_class_survives(const struct tl_shared *s, uint16_t class)
{
    const struct tl_store_classes *offered = classes_of(s);
    unsigned index = tl_class_redundancy(offered->index);
    unsigned data = tl_class_redundancy(class != 0 ? class : offered->list[0]);
    return index < data ? index : data;
}

int tl_pool_classes(struct tl_pool *p, unsigned *classes, unsigned *count)
{
    if (!p->connected)
        return -EBADF;
    const struct tl_store_classes *offered = classes_of(p->shared); /* known since it was opened: nobody is asked */
    for (unsigned i = 0; i < *count && i < offered->count; i++)
        classes[i] = offered->list[i];
    *count = offered->count;
    return 0;
}
