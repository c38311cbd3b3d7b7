// SPDX-License-Identifier: Apache-2.0
/* A place: one byte (inlined or not), the checksums, and the payload itself or where it is. All numbers little-endian. */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "store/embedded.h"

enum { INLINED = 0, PLACED = 1 };

uint64_t tl_place_check(const void *bytes, size_t len)
{
    return tl_hash64(bytes, len, 0x74696572);
}

static uint32_t checks_of(uint32_t len)
{
    return len == 0 ? 1 : (len + TL_EMBEDDED_CHECK - 1) / TL_EMBEDDED_CHECK;
}

void tl_place_put_check(uint8_t *out, uint32_t piece, uint64_t sum)
{
    tl_put_u64(out + 1 + 8ull * piece, sum);
}

size_t tl_place_put_end(uint8_t *out, uint32_t len, uint32_t file, uint64_t offset)
{
    uint8_t *at = out + 1 + 8ull * checks_of(len);
    out[0] = PLACED;
    tl_put_u32(at, len);
    tl_put_u32(at + 4, file);
    tl_put_u64(at + 8, offset);
    return (size_t)(at - out) + 16;
}

size_t tl_place_put(uint8_t *out, const void *payload, uint32_t len, uint32_t file, uint64_t offset)
{
    for (uint32_t i = 0; i < checks_of(len); i++) {
        uint32_t start = i * TL_EMBEDDED_CHECK;
        uint32_t part = len - start < TL_EMBEDDED_CHECK ? len - start : TL_EMBEDDED_CHECK;
        tl_place_put_check(out, i, tl_place_check((const uint8_t *)payload + start, part));
    }
    if (len > TL_EMBEDDED_INLINE)
        return tl_place_put_end(out, len, file, offset);
    out[0] = INLINED;
    if (len > 0)
        memcpy(out + 9, payload, len);
    return 9 + (size_t)len;
}

int tl_place_get(struct tl_slice place, struct tl_place_view *out)
{
    const uint8_t *p = place.at;
    if (place.len < 9 || place.len > TL_STORE_PLACE_MAX || p[0] > PLACED)
        return -EBADMSG;
    *out = (struct tl_place_view){.inlined = p[0] == INLINED, .checks = p + 1};
    if (out->inlined) {
        out->bytes = p + 9;
        out->len = (uint32_t)(place.len - 9);
        return out->len <= TL_EMBEDDED_INLINE ? 0 : -EBADMSG;
    }
    if (place.len < 25)
        return -EBADMSG;
    const uint8_t *tail = p + place.len - 16;
    out->len = tl_get_u32(tail);
    out->file = tl_get_u32(tail + 4);
    out->offset = tl_get_u64(tail + 8);
    bool fits = out->len <= TL_STORE_PAYLOAD_MAX && place.len == 1 + 8ull * checks_of(out->len) + 16;
    return fits && out->file < TL_EMBEDDED_FILES && out->offset < INT64_MAX - TL_STORE_PAYLOAD_MAX ? 0 : -EBADMSG;
}
