// SPDX-License-Identifier: Apache-2.0
/* libFuzzer's way into what judges requests for metrics: any bytes get a verdict, and a longer request never gets back to
 * "more" (built as core/fuzz_wire.c). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "daemon/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char head[TL_HTTP_HEAD_MAX];
    bool decided = false;
    size_t len = size < TL_HTTP_REQUEST_MAX ? size : TL_HTTP_REQUEST_MAX;
    for (size_t part = 1; part <= len; part += part < 64 ? 1 : 61) {
        enum tl_http_verdict v = tl_http_judge((const char *)data, part);
        check(!decided || v != TL_HTTP_MORE);
        decided = v != TL_HTTP_MORE;
        if (decided)
            check(tl_http_head(v, size, head) > 0);
    }
    return 0;
}
