// SPDX-License-Identifier: Apache-2.0
/* libFuzzer's way into the decoder: whatever it lets through encodes to the same bytes (docs/protocol.md, P-31).
 *
 *   CC=clang meson setup build-fuzz -Dfuzz=true -Db_lundef=false && ninja -C build-fuzz
 *   build-fuzz/test/core/fuzz_wire -max_len=8193 NEW test/core/corpus/wire     new finds go to NEW */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "core/wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tl_wire m;
    uint8_t again[TL_HEADER_MAX];
    if (tl_wire_decode(&m, data, size) != 0)
        return 0;
    int len = tl_wire_encode(&m, again, sizeof again);
    check(len >= 0 && (size_t)len == size);
    check(memcmp(again, data, size) == 0);
    return 0;
}
