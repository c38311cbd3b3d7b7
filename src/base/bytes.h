// SPDX-License-Identifier: Apache-2.0
/* Little-endian integers at any alignment, for everything that leaves the process: messages and blobs.
 *
 * Pure functions, any thread. The caller has made sure that the bytes are there. Compilers turn each into one
 * load or store. */
#ifndef TL_BASE_BYTES_H
#define TL_BASE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline void tl_put_u8(void *p, uint8_t v)
{
    memcpy(p, &v, sizeof v);
}

static inline void tl_put_u16(void *p, uint16_t v)
{
    v = htole16(v);
    memcpy(p, &v, sizeof v);
}

static inline void tl_put_u32(void *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof v);
}

static inline void tl_put_u64(void *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof v);
}

static inline uint8_t tl_get_u8(const void *p)
{
    uint8_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint16_t tl_get_u16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return le16toh(v);
}

static inline uint32_t tl_get_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

static inline uint64_t tl_get_u64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

#endif
