// SPDX-License-Identifier: Apache-2.0
/* libFuzzer's way into the decoders of frame.h: whatever they let through encodes to the same bytes, and is within the
 * limits. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "net/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void hellos(const uint8_t *data, size_t size)
{
    struct tl_hello_prefix prefix;
    struct tl_hello hello;
    struct tl_verdict verdict;
    uint8_t again[TL_HELLO_SIZE];
    if (tl_hello_prefix_get(data, size, &prefix) > 0) {
        tl_hello_prefix_put(again, &prefix);
        check(memcmp(again, data, TL_HELLO_PREFIX_SIZE) == 0);
    }
    if (tl_hello_get(data, size, &hello) > 0) {
        tl_hello_put(again, &hello);
        check(memcmp(again, data, TL_HELLO_SIZE) == 0);
    }
    if (tl_verdict_get(data, size, &verdict) > 0) {
        tl_verdict_put(again, verdict.refusal);
        check(memcmp(again, data, 4) == 0 && verdict.proof == data + 4);
    }
}

static void bodies(const struct tl_frame *f, const uint8_t *body, size_t len)
{
    struct tl_frame_read read;
    struct tl_frame_bulk bulk;
    struct tl_frame_again proof;
    uint8_t again[TL_AGAIN_BODY_SIZE];
    if (f->body_len > len)
        return;
    if (f->type == TL_FRAME_READ && tl_frame_read_get(body, f->body_len, &read) > 0) {
        tl_frame_read_put(again, &read);
        check(memcmp(again, body, TL_READ_BODY_SIZE) == 0);
    }
    if (f->type == TL_FRAME_BULK && tl_frame_bulk_get(body, f->body_len, f->data_len, &bulk) > 0) {
        tl_frame_bulk_put(again, &bulk);
        check(memcmp(again, body, TL_BULK_BODY_SIZE) == 0);
    }
    if (f->type == TL_FRAME_AGAIN && tl_frame_again_get(body, f->body_len, &proof) > 0) {
        tl_frame_again_put(again, &proof);
        check(memcmp(again, body, TL_AGAIN_BODY_SIZE) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hellos(data, size);
    for (int encrypted = 0; encrypted < 2; encrypted++) {
        struct tl_frame f;
        uint8_t again[TL_FRAME_HEAD_SIZE];
        if (tl_frame_head_get(data, size, encrypted != 0, &f) <= 0)
            continue;
        tl_frame_head_put(again, &f);
        check(memcmp(again, data, sizeof again) == 0);
        check(f.body_len <= TL_FRAME_BODY_MAX && f.data_len <= TL_SLICE_MAX);
        bodies(&f, data + TL_FRAME_HEAD_SIZE, size - TL_FRAME_HEAD_SIZE);
    }
    return 0;
}
