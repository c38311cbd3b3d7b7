// SPDX-License-Identifier: Apache-2.0
/* Attributes of a container: "a" and a name in its state. */
#include <errno.h>
#include <string.h>

#include "pool/internal.h"

#define NAME_MAX_BYTES 255u

struct attr {
    struct tl_slice key;
    const void *value;
    void *out;
    size_t len;
    int (*fn)(void *ctx, const char *name, size_t len);
    void *ctx;
};

static int make_key(const char *name, uint8_t *bytes, struct attr *a)
{
    size_t len = strlen(name);
    if (len == 0 || len > NAME_MAX_BYTES)
        return -EINVAL;
    bytes[0] = 'a';
    memcpy(bytes + 1, name, len);
    a->key = (struct tl_slice){bytes, 1 + len};
    return 0;
}

static int set(void *ctx, struct tl_store_tx *tx)
{
    const struct attr *a = ctx;
    return a->value == NULL ? tx->ops->del(tx, a->key) : tx->ops->put(tx, a->key, (struct tl_slice){a->value, a->len});
}

int tl_cont_set_attr(struct tl_cont *c, const char *name, const void *value, size_t len)
{
    struct tl_store *s = c->pool->shared->store;
    uint8_t key[1 + NAME_MAX_BYTES];
    struct attr a = {.value = value, .len = len};
    int rc = tl_cont_refresh(c);
    if (rc == 0)
        rc = (c->flags & TIERCEL_RW) == 0 ? -EACCES : len >= TIERCEL_ATTR_MAX ? -EINVAL : make_key(name, key, &a);
    return rc == 0 ? tl_state_change(s, &c->id, set, &a) : rc;
}

static int get(void *ctx, struct tl_store_tx *tx)
{
    struct attr *a = ctx;
    struct tl_slice value;
    int rc = tx->ops->get(tx, a->key, &value);
    if (rc != 0)
        return rc;
    size_t room = a->len;
    a->len = value.len;
    if (a->out != NULL && value.len > 0 && value.len <= room)
        memcpy(a->out, value.at, value.len);
    return a->out != NULL && value.len > room ? -ENOBUFS : 0;
}

int tl_cont_get_attr(struct tl_cont *c, const char *name, void *value, size_t *len)
{
    struct tl_store *s = c->pool->shared->store;
    uint8_t key[1 + NAME_MAX_BYTES];
    struct attr a = {.out = value, .len = *len};
    int rc = tl_cont_refresh(c);
    rc = rc == 0 ? make_key(name, key, &a) : rc;
    rc = rc == 0 ? tl_state_look(s, &c->id, get, &a) : rc;
    if (rc == 0 || rc == -ENOBUFS)
        *len = a.len;
    return rc;
}

static int list_one(void *ctx, struct tl_slice key, struct tl_slice value)
{
    const struct attr *a = ctx;
    char name[NAME_MAX_BYTES + 1];
    if (key.len < 2 || key.len > sizeof name)
        return -EBADMSG;
    memcpy(name, (const uint8_t *)key.at + 1, key.len - 1);
    name[key.len - 1] = 0;
    return a->fn(a->ctx, name, value.len);
}

static int list(void *ctx, struct tl_store_tx *tx)
{
    return tx->ops->each(tx, (struct tl_slice){"a", 1}, list_one, ctx);
}

int tl_cont_list_attrs(struct tl_cont *c, int (*fn)(void *ctx, const char *name, size_t len), void *ctx)
{
    struct tl_store *s = c->pool->shared->store;
    struct attr a = {.fn = fn, .ctx = ctx};
    int rc = tl_cont_refresh(c);
    return rc == 0 ? tl_state_look(s, &c->id, list, &a) : rc;
}
