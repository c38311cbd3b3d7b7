// SPDX-License-Identifier: Apache-2.0
/* See pools.h. */
#include "store/pools.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void pool_make(char *where, size_t size)
{
    const struct tl_store_config config = {.create = true, .map_bytes = 256 << 20};
    const char *base = getenv("TMPDIR");
    struct tl_store *s;
    struct tl_error err = {.code = 0};
    snprintf(where, size, "%s/tl-pool-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(where));
    if (tl_store_embedded_open(&s, where, &config, &err) != 0)
        fail_msg("%s", err.msg);
    s->ops->close(s);
}

struct tl_store *pool_open(const char *where)
{
    const struct tl_store_config config = {.map_bytes = 256 << 20, .buffer_bytes = 2 << 20};
    struct tl_store *s = NULL;
    struct tl_error err = {.code = 0};
    if (tl_store_embedded_open(&s, where, &config, &err) != 0)
        fprintf(stderr, "%s\n", err.msg);
    return s;
}

void pool_destroy(const char *where)
{
    struct tl_error err = {.code = 0};
    if (tl_store_embedded_destroy(where, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(access(where, F_OK), -1);
}

int nothing(void *ctx, struct tl_store_tx *tx)
{
    (void)ctx, (void)tx;
    return 0;
}

int keep_place(void *ctx, const struct tl_found *f)
{
    struct tl_slice *out = ctx;
    memcpy((void *)(uintptr_t)out->at, f->place.at, f->place.len);
    out->len = f->place.len;
    return 0;
}

int count_one(void *ctx, const struct tl_found *f)
{
    (void)f;
    ++*(uint32_t *)ctx;
    return 0;
}

int write_one(struct tl_store *s, const char *key, const void *bytes, size_t len)
{
    struct tl_record r = {.key = {key, strlen(key)}, .meta = {"", 0}, .payload = {bytes, len}};
    return s->ops->write(s, &id, &r);
}

void write_and_flush(struct tl_store *s, const char *key, const void *bytes, size_t len)
{
    assert_int_equal(write_one(s, key, bytes, len), 0);
    assert_int_equal(s->ops->flush(s), 0);
}

int read_one(struct tl_store *s, const char *key, void *out, uint32_t len)
{
    uint8_t place_bytes[TL_STORE_PLACE_MAX];
    struct tl_slice place = {place_bytes, 0}, prefix = {key, strlen(key)};
    int rc = s->ops->scan(s, &id, prefix, prefix, keep_place, &place);
    if (rc != 0 || place.len == 0)
        return rc != 0 ? rc : -ENOENT;
    return s->ops->read(s, place, 0, out, len);
}

void spoil(const char *where, const char *file, off_t offset)
{
    char path[4200];
    uint8_t byte = 0;
    snprintf(path, sizeof path, "%s/%s", where, file);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && pread(fd, &byte, 1, offset) == 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
}
