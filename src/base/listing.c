// SPDX-License-Identifier: Apache-2.0
/* Encoding, validation and look-up of directory listings; the layout is in listing.h. */
#include "base/listing.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/hash.h"

#define MAGIC       0x31534c54u /* "TLS1" */
#define HEADER_SIZE 16u
#define RECORD_SIZE 88u
#define ERRNO_MAX   4095

/* Places of the fields in a record. */
enum {
    AT_INO = 0,
    AT_SIZE = 8,
    AT_BLOCKS = 16,
    AT_ATIME = 24,
    AT_MTIME = 32,
    AT_CTIME = 40,
    AT_VERSION = 48,
    AT_MODE = 56,
    AT_NLINK = 60,
    AT_UID = 64,
    AT_GID = 68,
    AT_RDEV = 72,
    AT_STATUS = 76,
    AT_STRINGS = 80,
    AT_TARGET_LEN = 84,
    AT_NAME_LEN = 86,
    AT_ACCESS = 87,
};

uint64_t tl_attr_version(uint64_t dev, uint64_t ino, uint64_t size_bytes, int64_t mtime_ns, int64_t ctime_ns)
{
    uint8_t bytes[40];
    tl_put_u64(bytes, dev);
    tl_put_u64(bytes + 8, ino);
    tl_put_u64(bytes + 16, size_bytes);
    tl_put_u64(bytes + 24, (uint64_t)mtime_ns);
    tl_put_u64(bytes + 32, (uint64_t)ctime_ns);
    uint64_t version = tl_hash64(bytes, sizeof bytes, 0);
    return version != 0 ? version : 1;
}

static void put_attr(uint8_t *record, const struct tl_attr *a)
{
    tl_put_u64(record + AT_INO, a->ino);
    tl_put_u64(record + AT_SIZE, a->size_bytes);
    tl_put_u64(record + AT_BLOCKS, a->blocks);
    tl_put_u64(record + AT_ATIME, (uint64_t)a->atime_ns);
    tl_put_u64(record + AT_MTIME, (uint64_t)a->mtime_ns);
    tl_put_u64(record + AT_CTIME, (uint64_t)a->ctime_ns);
    tl_put_u64(record + AT_VERSION, a->version);
    tl_put_u32(record + AT_MODE, a->mode);
    tl_put_u32(record + AT_NLINK, a->nlink);
    tl_put_u32(record + AT_UID, a->uid);
    tl_put_u32(record + AT_GID, a->gid);
    tl_put_u32(record + AT_RDEV, a->rdev);
    tl_put_u32(record + AT_STATUS, (uint32_t)a->status);
    tl_put_u8(record + AT_ACCESS, a->access);
}

static void get_attr(const uint8_t *record, struct tl_attr *a)
{
    *a = (struct tl_attr){
        .ino = tl_get_u64(record + AT_INO),
        .size_bytes = tl_get_u64(record + AT_SIZE),
        .blocks = tl_get_u64(record + AT_BLOCKS),
        .atime_ns = (int64_t)tl_get_u64(record + AT_ATIME),
        .mtime_ns = (int64_t)tl_get_u64(record + AT_MTIME),
        .ctime_ns = (int64_t)tl_get_u64(record + AT_CTIME),
        .version = tl_get_u64(record + AT_VERSION),
        .mode = tl_get_u32(record + AT_MODE),
        .nlink = tl_get_u32(record + AT_NLINK),
        .uid = tl_get_u32(record + AT_UID),
        .gid = tl_get_u32(record + AT_GID),
        .rdev = tl_get_u32(record + AT_RDEV),
        .access = tl_get_u8(record + AT_ACCESS),
        .status = (int32_t)tl_get_u32(record + AT_STATUS),
    };
}

static bool type_known(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK: return (mode & ~(uint32_t)(S_IFMT | 07777)) == 0;
    default: return false;
    }
}

/* What a kernel could be handed without surprise. */
static bool attr_valid(const struct tl_attr *a)
{
    if (a->status != 0)
        return a->status < 0 && a->status >= -ERRNO_MAX;
    return type_known(a->mode) && a->size_bytes <= INT64_MAX && a->access <= 7 &&
           (!S_ISREG(a->mode) || a->version != 0);
}

static bool name_valid(const char *name, size_t len)
{
    if (len == 0 || len > TL_NAME_MAX)
        return false;
    if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
        return false;
    return memchr(name, '/', len) == NULL && memchr(name, '\0', len) == NULL;
}

/* A target belongs to a link, and to nothing else. */
static bool target_valid(const struct tl_attr *attr, const char *target, size_t len)
{
    if (attr->status != 0 || !S_ISLNK(attr->mode))
        return len == 0;
    return len >= 1 && len <= TL_LINK_MAX && memchr(target, '\0', len) == NULL;
}

static int name_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    if (order != 0)
        return order;
    return (a_len > b_len) - (a_len < b_len);
}

/* Entries as records whose AT_STRINGS points into `strings`, in the order they were added. Both arrays grow
 * by half, bounded by TL_LISTING_SIZE_MAX together. */
struct tl_listing_builder {
    uint8_t self[RECORD_SIZE];
    uint8_t *records;
    char *strings;
    uint32_t count, count_max;
    uint32_t strings_len, strings_max;
};

int tl_listing_builder_new(struct tl_listing_builder **out, const struct tl_attr *self)
{
    if (self->status != 0 || !attr_valid(self) || !S_ISDIR(self->mode))
        return -EINVAL;
    struct tl_listing_builder *b = calloc(1, sizeof *b);
    if (b == NULL)
        return -ENOMEM;
    put_attr(b->self, self);
    *out = b;
    return 0;
}

void tl_listing_builder_free(struct tl_listing_builder *b)
{
    if (b == NULL)
        return;
    free(b->records);
    free(b->strings);
    free(b);
}

static size_t blob_size(size_t count, size_t strings_len)
{
    return HEADER_SIZE + RECORD_SIZE + count * RECORD_SIZE + strings_len;
}

/* Makes room for one more record and len more string bytes. */
static int reserve(struct tl_listing_builder *b, size_t len)
{
    if (b->count == b->count_max) {
        uint32_t max = b->count_max + b->count_max / 2 + 16;
        uint8_t *records = realloc(b->records, (size_t)max * RECORD_SIZE);
        if (records == NULL)
            return -ENOMEM;
        b->records = records;
        b->count_max = max;
    }
    if (len > b->strings_max - b->strings_len) {
        uint32_t max = b->strings_max + b->strings_max / 2 + (uint32_t)len + 256;
        char *strings = realloc(b->strings, max);
        if (strings == NULL)
            return -ENOMEM;
        b->strings = strings;
        b->strings_max = max;
    }
    return 0;
}

int tl_listing_builder_add(struct tl_listing_builder *b, const char *name, size_t name_len, const struct tl_attr *attr,
                           const char *target, size_t target_len)
{
    if (!name_valid(name, name_len) || !attr_valid(attr) || !target_valid(attr, target, target_len))
        return -EINVAL;
    if (blob_size((size_t)b->count + 1, b->strings_len + name_len + target_len) > TL_LISTING_SIZE_MAX)
        return -EFBIG;
    int rc = reserve(b, name_len + target_len);
    if (rc != 0)
        return rc;
    /* Of a name that lstat failed for only the error is kept: equal directories give equal blobs. */
    struct tl_attr failed = {.status = attr->status};
    uint8_t *record = b->records + (size_t)b->count * RECORD_SIZE;
    put_attr(record, attr->status != 0 ? &failed : attr);
    tl_put_u32(record + AT_STRINGS, b->strings_len);
    tl_put_u16(record + AT_TARGET_LEN, (uint16_t)target_len);
    tl_put_u8(record + AT_NAME_LEN, (uint8_t)name_len);
    memcpy(b->strings + b->strings_len, name, name_len);
    if (target_len > 0)
        memcpy(b->strings + b->strings_len + name_len, target, target_len);
    b->strings_len += (uint32_t)(name_len + target_len);
    b->count++;
    return 0;
}

static int order_by_name(const void *a, const void *b, void *ctx)
{
    const struct tl_listing_builder *builder = ctx;
    const uint8_t *ra = builder->records + *(const uint32_t *)a * (size_t)RECORD_SIZE;
    const uint8_t *rb = builder->records + *(const uint32_t *)b * (size_t)RECORD_SIZE;
    return name_compare(builder->strings + tl_get_u32(ra + AT_STRINGS), ra[AT_NAME_LEN],
                        builder->strings + tl_get_u32(rb + AT_STRINGS), rb[AT_NAME_LEN]);
}

/* Indices of the records in name order, malloc'd. 0, -ENOMEM, -EEXIST. */
static int sorted_order(struct tl_listing_builder *b, uint32_t **out)
{
    uint32_t *order = malloc(((size_t)b->count + 1) * sizeof *order); /* + 1: never of size 0 */
    if (order == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < b->count; i++)
        order[i] = i;
    qsort_r(order, b->count, sizeof *order, order_by_name, b);
    for (uint32_t i = 1; i < b->count; i++) {
        if (order_by_name(&order[i - 1], &order[i], b) == 0) {
            free(order);
            return -EEXIST;
        }
    }
    *out = order;
    return 0;
}

int tl_listing_builder_finish(struct tl_listing_builder *b, void **out, size_t *out_len)
{
    size_t len = blob_size(b->count, b->strings_len);
    check(len <= TL_LISTING_SIZE_MAX);
    uint32_t *order = NULL;
    int rc = sorted_order(b, &order);
    if (rc != 0)
        return rc;
    uint8_t *blob = malloc(len);
    if (blob == NULL) {
        free(order);
        return -ENOMEM;
    }
    tl_put_u32(blob, MAGIC);
    tl_put_u32(blob + 4, b->count);
    tl_put_u32(blob + 8, b->strings_len);
    tl_put_u32(blob + 12, 0);
    memcpy(blob + HEADER_SIZE, b->self, RECORD_SIZE);
    uint8_t *record = blob + HEADER_SIZE + RECORD_SIZE;
    uint8_t *strings = blob + blob_size(b->count, 0);
    uint32_t used = 0;
    for (uint32_t i = 0; i < b->count; i++, record += RECORD_SIZE) {
        memcpy(record, b->records + (size_t)order[i] * RECORD_SIZE, RECORD_SIZE);
        uint32_t size = record[AT_NAME_LEN] + (uint32_t)tl_get_u16(record + AT_TARGET_LEN);
        memcpy(strings + used, b->strings + tl_get_u32(record + AT_STRINGS), size);
        tl_put_u32(record + AT_STRINGS, used);
        used += size;
    }
    check(used == b->strings_len);
    free(order);
    *out = blob;
    *out_len = len;
    return 0;
}

int tl_listing_reopen(struct tl_listing *out, const void *bytes, size_t len)
{
    const uint8_t *blob = bytes;
    if (len < blob_size(0, 0) || len > TL_LISTING_SIZE_MAX || tl_get_u32(blob) != MAGIC || tl_get_u32(blob + 12) != 0)
        return -EBADMSG;
    /* 64-bit arithmetic: both counts are 32 bits wide, so that nothing here overflows. */
    uint32_t count = tl_get_u32(blob + 4), strings_len = tl_get_u32(blob + 8);
    if (blob_size(count, strings_len) != len)
        return -EBADMSG;
    *out = (struct tl_listing){.bytes = blob, .len = len, .count = count};
    return 0;
}

static const uint8_t *record_at(const struct tl_listing *l, uint32_t i)
{
    return l->bytes + HEADER_SIZE + RECORD_SIZE + (size_t)i * RECORD_SIZE;
}

static const char *strings_of(const struct tl_listing *l)
{
    return (const char *)l->bytes + blob_size(l->count, 0);
}

/* Strings lie in entry order without gaps or overlap, so each must begin where the one before it ended. */
static bool entries_valid(const struct tl_listing *l, uint32_t strings_len)
{
    const char *strings = strings_of(l);
    const char *before = NULL;
    size_t before_len = 0;
    uint32_t used = 0;
    for (uint32_t i = 0; i < l->count; i++) {
        const uint8_t *record = record_at(l, i);
        struct tl_attr attr;
        get_attr(record, &attr);
        uint32_t name_len = record[AT_NAME_LEN], target_len = tl_get_u16(record + AT_TARGET_LEN);
        if (tl_get_u32(record + AT_STRINGS) != used || name_len + target_len > strings_len - used)
            return false;
        const char *name = strings + used;
        if (!name_valid(name, name_len) || !attr_valid(&attr) || !target_valid(&attr, name + name_len, target_len))
            return false;
        if (i > 0 && name_compare(before, before_len, name, name_len) >= 0)
            return false;
        before = name;
        before_len = name_len;
        used += name_len + target_len;
    }
    return used == strings_len;
}

static bool self_valid(const uint8_t *record)
{
    struct tl_attr self;
    get_attr(record, &self);
    return self.status == 0 && attr_valid(&self) && S_ISDIR(self.mode) && tl_get_u32(record + AT_STRINGS) == 0 &&
           tl_get_u16(record + AT_TARGET_LEN) == 0 && record[AT_NAME_LEN] == 0;
}

int tl_listing_open(struct tl_listing *out, const void *bytes, size_t len)
{
    struct tl_listing l;
    int rc = tl_listing_reopen(&l, bytes, len);
    if (rc != 0)
        return rc;
    if (!self_valid(l.bytes + HEADER_SIZE) || !entries_valid(&l, tl_get_u32(l.bytes + 8)))
        return -EBADMSG;
    *out = l;
    return 0;
}

void tl_listing_self(const struct tl_listing *l, struct tl_attr *out)
{
    get_attr(l->bytes + HEADER_SIZE, out);
}

void tl_listing_at(const struct tl_listing *l, uint32_t i, struct tl_listing_entry *out)
{
    check(i < l->count);
    const uint8_t *record = record_at(l, i);
    out->name = strings_of(l) + tl_get_u32(record + AT_STRINGS);
    out->name_len = record[AT_NAME_LEN];
    out->target_len = tl_get_u16(record + AT_TARGET_LEN);
    out->target = out->target_len > 0 ? out->name + out->name_len : NULL;
    get_attr(record, &out->attr);
}

int tl_listing_find(const struct tl_listing *l, const char *name, size_t name_len, struct tl_listing_entry *out)
{
    const char *strings = strings_of(l);
    uint32_t low = 0, high = l->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const uint8_t *record = record_at(l, middle);
        int order = name_compare(strings + tl_get_u32(record + AT_STRINGS), record[AT_NAME_LEN], name, name_len);
        if (order == 0) {
            tl_listing_at(l, middle, out);
            return 0;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -ENOENT;
}
