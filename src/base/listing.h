// SPDX-License-Identifier: Apache-2.0
/* A directory as one object: its own attributes, and its names with all their attributes and link
 * targets, in one flat, position-independent, checksummed-by-the-carrier blob.
 *
 * The source builds it once (tl_listing_builder), it travels through the tier as the bytes of one object, and
 * every front reads it in place (tl_listing), in shared memory, without copying: entries are sorted by
 * name (memcmp order), so that a look-up, or the proof that a name is missing, is a binary search.
 *
 * Blob, all integers little-endian:
 *
 *   header, 16 bytes    u32 magic "TLS1" | u32 entry count | u32 bytes of the string area | u32 0
 *   self, 88 bytes      a record without name: the directory's own attributes
 *   entries, 88 bytes each, in strictly ascending name order
 *   string area         each entry's name, then its link target, in entry order, without gaps or terminators
 *
 *   record: u64 ino, size, blocks, atime, mtime, ctime, version (offsets 0..55)
 *           u32 mode, nlink, uid, gid, rdev, status (56..79) | u32 start in the string area (80)
 *           u16 target length (84) | u8 name length (86) | u8 access (87)
 *
 * The encoding is canonical: equal directories give equal blobs, and so equal digests.
 *
 * Bytes may come from a peer: tl_listing_open validates everything it will later rely on, once;
 * accessors after it need no further checks. Beyond the shape these are the rules: self is a directory; a
 * status is an errno; a mode has a known type; a size fits off_t; a regular file has a version; a link, and
 * nothing else, has a target. Single owner thread per builder; a tl_listing may be read by
 * any. */
#ifndef TL_BASE_LISTING_H
#define TL_BASE_LISTING_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#define TL_NAME_MAX         255u        /* bytes of a name */
#define TL_LINK_MAX         4095u       /* bytes of a link target */
#define TL_LISTING_SIZE_MAX (64u << 20) /* bytes of a blob */

/* Attributes of one file, as lstat gave them on the source. */
struct tl_attr {
    uint64_t ino;
    uint64_t size_bytes;
    uint64_t blocks; /* 512-byte units, as st_blocks: shows sparse files */
    int64_t atime_ns, mtime_ns, ctime_ns;
    uint64_t version; /* identity of the contents: changes when dev, ino, size, mtime or ctime do; never 0 */
    uint32_t mode;    /* type and permission bits, as st_mode */
    uint32_t nlink, uid, gid;
    uint32_t rdev;
    uint8_t access; /* R_OK|W_OK|X_OK bits that the tier's user has on the source (write: for information) */
    int32_t status; /* 0, or the negative errno that lstat gave for this name: then nothing else is valid */
};

/* Version of a file's contents, as stored in tl_attr.version; never 0. */
uint64_t tl_attr_version(uint64_t dev, uint64_t ino, uint64_t size_bytes, int64_t mtime_ns, int64_t ctime_ns);

struct tl_listing_builder;

/* A builder for one directory with these attributes. 0, -EINVAL (not valid attributes of a directory), -ENOMEM. */
int tl_listing_builder_new(struct tl_listing_builder **out, const struct tl_attr *self) TL_MUST_CHECK;
void tl_listing_builder_free(struct tl_listing_builder *b); /* NULL is fine */

/* Adds a name (any bytes but '/' and NUL, 1..255, not "." or ".."), with its link target for a symbolic link
 * (else NULL, 0). Order does not matter; names must differ. 0, -EINVAL (breaks a rule above), -ENOMEM, -EFBIG
 * (blob limit). An attr with a status is stored with that status only. */
int tl_listing_builder_add(struct tl_listing_builder *b, const char *name, size_t name_len, const struct tl_attr *attr,
                           const char *target, size_t target_len) TL_MUST_CHECK;

/* Sorts and encodes into *out, malloc'd, owned by the caller. 0, -ENOMEM, -EFBIG, -EEXIST (a name twice). */
int tl_listing_builder_finish(struct tl_listing_builder *b, void **out, size_t *out_len) TL_MUST_CHECK;

/* A view of a blob: no ownership, valid while the bytes are. */
struct tl_listing {
    const uint8_t *bytes;
    size_t len;
    uint32_t count; /* entries */
};

struct tl_listing_entry {
    const char *name; /* not NUL-terminated */
    const char *target;
    uint16_t name_len, target_len;
    struct tl_attr attr;
};

/* Validates len bytes and opens a view. 0, -EBADMSG. */
int tl_listing_open(struct tl_listing *out, const void *bytes, size_t len) TL_MUST_CHECK;
/* As tl_listing_open, for bytes that were validated before: checks the header only. 0, -EBADMSG. */
int tl_listing_reopen(struct tl_listing *out, const void *bytes, size_t len) TL_MUST_CHECK;
/* The directory's own attributes. */
void tl_listing_self(const struct tl_listing *l, struct tl_attr *out);
/* Entry i < count, in name order. */
void tl_listing_at(const struct tl_listing *l, uint32_t i, struct tl_listing_entry *out);
/* Entry by name. 0, -ENOENT. */
int tl_listing_find(const struct tl_listing *l, const char *name, size_t name_len,
                    struct tl_listing_entry *out) TL_MUST_CHECK;

#endif
