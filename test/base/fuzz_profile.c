// SPDX-License-Identifier: Apache-2.0
/* libFuzzer's way into profiles: whatever is let through is written as the same bytes, and merging it with itself adds nothing.
 * See test/core/fuzz_wire.c for how to run it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tl_profile p, same;
    char *text = NULL;
    size_t len = 0;
    if (tl_profile_parse(&p, (const char *)data, size, NULL) != 0)
        return 0;
    check(tl_profile_write(&p, &text, &len) == 0);
    check(len == size && memcmp(text, data, size) == 0);
    check(tl_profile_parse(&same, text, len, NULL) == 0);
    uint32_t lines = p.line_count;
    check(tl_profile_merge(&p, &same) == 0);
    check(p.line_count == lines);
    free(text);
    tl_profile_fini(&p);
    tl_profile_fini(&same);
    return 0;
}
