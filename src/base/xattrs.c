// SPDX-License-Identifier: Apache-2.0
/* See xattrs.h. */
#include "base/xattrs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define MAGIC       0x31584c54u /* "TLX1" */
#define HEADER_SIZE 8u
#define RECORD_SIZE 8u
#define ERRNO_MAX   4095

/* Room for more bytes. */
static int reserve(struct tl_xattrs_builder *b, size_t more)
{
    if (more > TL_XATTRS_SIZE_MAX - b->len)
        return -E2BIG;
    if (b->len + more <= b->cap)
        return 0;
    size_t cap = (b->len + more) * 2;
    uint8_t *bytes = realloc(b->bytes, cap);
    if (bytes == NULL)
        return -ENOMEM;
    b->bytes = bytes;
    b->cap = cap;
    return 0;
}

int tl_xattrs_begin(struct tl_xattrs_builder *b)
{
    check(b->bytes == NULL && b->len == 0);
    int rc = reserve(b, HEADER_SIZE);
    if (rc != 0)
        return rc;
    tl_put_u32(b->bytes, MAGIC);
    tl_put_u32(b->bytes + 4, 0);
    b->len = HEADER_SIZE;
    return 0;
}

int tl_xattrs_add(struct tl_xattrs_builder *b, const char *name, const void *value, size_t value_len, int error)
{
    size_t name_len = strlen(name);
    if (name_len == 0 || name_len > TL_XATTR_NAME_MAX || value_len > TL_XATTR_VALUE_MAX)
        return -EINVAL;
    if (error < 0 || error > ERRNO_MAX || (error != 0 && value_len > 0))
        return -EINVAL;
    int rc = reserve(b, RECORD_SIZE + name_len + value_len);
    if (rc != 0)
        return rc;
    uint8_t *at = b->bytes + b->len;
    tl_put_u16(at, (uint16_t)name_len);
    tl_put_u16(at + 2, (uint16_t)error);
    tl_put_u32(at + 4, (uint32_t)value_len);
    memcpy(at + RECORD_SIZE, name, name_len);
    if (value_len > 0)
        memcpy(at + RECORD_SIZE + name_len, value, value_len);
    b->len += RECORD_SIZE + name_len + value_len;
    tl_put_u32(b->bytes + 4, ++b->count);
    return 0;
}

void tl_xattrs_finish(struct tl_xattrs_builder *b, void **out, size_t *out_len)
{
    check(b->len >= HEADER_SIZE);
    *out = b->bytes;
    *out_len = b->len;
    *b = (struct tl_xattrs_builder){.bytes = NULL};
}

void tl_xattrs_fini(struct tl_xattrs_builder *b)
{
    free(b->bytes);
    *b = (struct tl_xattrs_builder){.bytes = NULL};
}

/* One attribute of a blob. */
struct record {
    const char *name;
    size_t name_len, value_len;
    const uint8_t *value;
    int error;
};

/* The record at *at, and on to the next. False: not a whole, sensible one. */
static bool next(const struct tl_xattrs *x, size_t *at, struct record *out)
{
    if (x->len - *at < RECORD_SIZE)
        return false;
    const uint8_t *bytes = x->bytes + *at;
    out->name_len = tl_get_u16(bytes);
    out->error = tl_get_u16(bytes + 2);
    out->value_len = tl_get_u32(bytes + 4);
    out->name = (const char *)bytes + RECORD_SIZE;
    out->value = bytes + RECORD_SIZE + out->name_len;
    if (out->name_len == 0 || out->name_len > TL_XATTR_NAME_MAX || out->value_len > TL_XATTR_VALUE_MAX ||
        out->error > ERRNO_MAX || (out->error != 0 && out->value_len > 0))
        return false;
    size_t len = RECORD_SIZE + out->name_len + out->value_len;
    if (len > x->len - *at || memchr(out->name, '\0', out->name_len) != NULL)
        return false;
    *at += len;
    return true;
}

int tl_xattrs_open(struct tl_xattrs *out, const void *bytes, size_t len)
{
    *out = (struct tl_xattrs){.bytes = bytes, .len = len};
    if (len < HEADER_SIZE || len > TL_XATTRS_SIZE_MAX || tl_get_u32(bytes) != MAGIC)
        return -EBADMSG;
    out->count = tl_get_u32(out->bytes + 4);
    size_t at = HEADER_SIZE;
    struct record record;
    for (uint32_t i = 0; i < out->count; i++)
        if (!next(out, &at, &record))
            return -EBADMSG;
    return at == len ? 0 : -EBADMSG;
}

int tl_xattrs_find(const struct tl_xattrs *x, const char *name, const void **value, size_t *value_len)
{
    size_t at = HEADER_SIZE, name_len = strlen(name);
    struct record record;
    while (at < x->len) {
        bool whole = next(x, &at, &record);
        check(whole); /* tl_xattrs_open has seen it */
        if (record.name_len != name_len || memcmp(record.name, name, name_len) != 0)
            continue;
        *value = record.value;
        *value_len = record.value_len;
        return -record.error;
    }
    return -ENODATA;
}

size_t tl_xattrs_names(const struct tl_xattrs *x, char *buf, size_t cap)
{
    size_t need = 0;
    for (int pass = 0; pass < 2; pass++) {
        size_t at = HEADER_SIZE, used = 0;
        struct record record;
        while (at < x->len) {
            bool whole = next(x, &at, &record);
            check(whole);
            if (pass == 1) {
                memcpy(buf + used, record.name, record.name_len);
                buf[used + record.name_len] = '\0';
            }
            used += record.name_len + 1;
        }
        need = used;
        if (need > cap)
            break;
    }
    return need;
}
