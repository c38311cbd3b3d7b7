// SPDX-License-Identifier: Apache-2.0
/* All extended attributes of one file as one blob, in the order in which the storage lists them.
 *
 * Blob, all integers little-endian:
 *
 *   header, 8 bytes     u32 magic "TLX1" | u32 attribute count
 *   an attribute        u16 name length | u16 errno (0, or why its value cannot be read) | u32 value length | name | value
 *
 * Bytes may come from a peer: tl_xattrs_open validates everything that the accessors rely on. A builder has one owner; a view
 * may be read by any thread. */
#ifndef TL_BASE_XATTRS_H
#define TL_BASE_XATTRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#define TL_XATTR_NAME_MAX  255u       /* as Linux has it */
#define TL_XATTR_VALUE_MAX 65536u     /* as Linux has it */
#define TL_XATTRS_SIZE_MAX (8u << 20) /* bytes of a blob */

struct tl_xattrs_builder {
    uint8_t *bytes; /* malloc'd */
    size_t len, cap;
    uint32_t count;
};

/* Starts from a builder that is all 0. 0, -ENOMEM. */
int tl_xattrs_begin(struct tl_xattrs_builder *b) TL_MUST_CHECK;
/* error: 0, or the positive errno that reading the value gave (then there is none). 0, -EINVAL (a limit above), -E2BIG
 * (the blob's), -ENOMEM. */
int tl_xattrs_add(struct tl_xattrs_builder *b, const char *name, const void *value, size_t value_len,
                  int error) TL_MUST_CHECK;
/* Hands the blob over, malloc'd; the builder is empty afterwards. */
void tl_xattrs_finish(struct tl_xattrs_builder *b, void **out, size_t *out_len);
/* Frees what was not handed over. */
void tl_xattrs_fini(struct tl_xattrs_builder *b);

/* A view of a blob: no ownership, valid while the bytes are. */
struct tl_xattrs {
    const uint8_t *bytes;
    size_t len;
    uint32_t count;
};

int tl_xattrs_open(struct tl_xattrs *out, const void *bytes, size_t len) TL_MUST_CHECK; /* 0, -EBADMSG */
/* The value of the attribute. 0, -ENODATA (there is no such attribute), or the negative errno that reading it gave. */
int tl_xattrs_find(const struct tl_xattrs *x, const char *name, const void **value, size_t *value_len) TL_MUST_CHECK;
/* The names as listxattr gives them: each with its NUL. Bytes needed; written if cap is enough. */
size_t tl_xattrs_names(const struct tl_xattrs *x, char *buf, size_t cap);

#endif
