// SPDX-License-Identifier: Apache-2.0
/* The decoders of net/frame.h: what is encoded decodes to the same, and no bytes whatever make them read too far or
 * return something beyond the limits. Inputs lie at the end of an allocation of their exact size, so that a sanitizer
 * sees a byte too many. TL_FUZZ_MS=60000 fuzzes for a minute; TL_FUZZ_SEED picks another sequence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "base/time.h"
#include "net/frame.h"
#include "net/secret.h"

static void hellos_survive(void **state)
{
    (void)state;
    struct tl_hello in = {.prefix = {.version = 3, .wire = TL_WIRE_VERSION, .len = TL_HELLO_SIZE},
                          .encrypt = true,
                          .rank = 10623,
                          .target = 0,
                          .key_id = 5,
                          .job_id = UINT64_MAX,
                          .instance = 1,
                          .known = 2};
    memset(in.nonce, 7, sizeof in.nonce);
    memset(in.public_key, 9, sizeof in.public_key);
    uint8_t bytes[TL_HELLO_SIZE];
    tl_hello_put(bytes, &in);
    struct tl_hello out;
    for (size_t len = 0; len < sizeof bytes; len++)
        assert_int_equal(tl_hello_get(bytes, len, &out), 0);
    assert_int_equal(tl_hello_get(bytes, sizeof bytes, &out), TL_HELLO_SIZE);
    assert_int_equal(out.prefix.version, 3);
    assert_int_equal(out.rank, in.rank);
    assert_int_equal(out.key_id, in.key_id);
    assert_int_equal(out.job_id, in.job_id);
    assert_int_equal(out.known, in.known);
    assert_true(out.encrypt && !out.listener);
    assert_memory_equal(out.public_key, in.public_key, 32);
}

static void the_prefix_of_any_version_is_read(void **state)
{
    (void)state;
    /* Version 77.5 has a shorter hello than we know, in other words: these 16 bytes are for ever. */
    static const uint8_t bytes[] = {'T', 'I', 'E', 'R', 'C', 'E', 'L', 0, 77, 0, 0, 0, 5, 0, 16, 0};
    struct tl_hello_prefix prefix;
    assert_int_equal(tl_hello_prefix_get(bytes, sizeof bytes, &prefix), TL_HELLO_PREFIX_SIZE);
    assert_int_equal(prefix.version, 77);
    assert_int_equal(prefix.wire, 5);
    assert_int_equal(prefix.len, 16);
    for (size_t len = 0; len < sizeof bytes; len++)
        assert_int_equal(tl_hello_prefix_get(bytes, len, &prefix), 0);
    assert_int_equal(tl_hello_prefix_get((const uint8_t *)"GET / HTTP/1.1\r\n", 1, &prefix), -EBADMSG);
}

static void frames_survive(void **state)
{
    (void)state;
    static const struct tl_frame frames[] = {
        {TL_FRAME_MESSAGE, 0, 0},
        {TL_FRAME_MESSAGE, TL_MSG_HEADER_MAX, TL_MSG_SIZE_MAX - TL_MSG_HEADER_MAX},
        {TL_FRAME_MESSAGE, 0, TL_MSG_SIZE_MAX},
        {TL_FRAME_READ, TL_READ_BODY_SIZE, 0},
        {TL_FRAME_BULK, TL_BULK_BODY_SIZE, TL_SLICE_CRYPT_MAX},
        {TL_FRAME_SIDE, TL_SIDE_BODY_MAX, 0},
        {TL_FRAME_AGAIN, TL_AGAIN_BODY_SIZE, 0},
    };
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        uint8_t bytes[TL_FRAME_HEAD_SIZE];
        struct tl_frame out;
        tl_frame_head_put(bytes, &frames[i]);
        assert_int_equal(tl_frame_head_get(bytes, sizeof bytes, true, &out), TL_FRAME_HEAD_SIZE);
        assert_int_equal(out.type, frames[i].type);
        assert_int_equal(out.body_len, frames[i].body_len);
        assert_int_equal(out.data_len, frames[i].data_len);
    }
    uint8_t body[TL_READ_BODY_SIZE];
    struct tl_frame_read read = {.id = 1ull << 63, .offset = 5, .region = 3, .len = UINT32_MAX}, read_out;
    tl_frame_read_put(body, &read);
    assert_int_equal(tl_frame_read_get(body, sizeof body, &read_out), TL_READ_BODY_SIZE);
    assert_int_equal(read_out.id, read.id);
    assert_int_equal(read_out.len, read.len);
    struct tl_frame_bulk bulk = {.id = 5, .offset = 262144, .status = -EACCES}, bulk_out;
    tl_frame_bulk_put(body, &bulk);
    assert_int_equal(tl_frame_bulk_get(body, TL_BULK_BODY_SIZE, 0, &bulk_out), TL_BULK_BODY_SIZE);
    assert_int_equal(bulk_out.status, -EACCES);
    assert_int_equal(bulk_out.offset, 262144);
}

static void what_is_beyond_the_limits_is_malformed(void **state)
{
    (void)state;
    static const struct tl_frame frames[] = {
        {TL_FRAME_MESSAGE, TL_MSG_HEADER_MAX + 1, 0},
        {TL_FRAME_MESSAGE, 1, TL_MSG_SIZE_MAX},
        {TL_FRAME_MESSAGE, UINT32_MAX, UINT32_MAX},
        {TL_FRAME_MESSAGE, TL_MSG_HEADER_MAX, UINT32_MAX},
        {TL_FRAME_READ, TL_READ_BODY_SIZE, 1},
        {TL_FRAME_READ, TL_READ_BODY_SIZE - 1, 0},
        {TL_FRAME_BULK, TL_BULK_BODY_SIZE, TL_SLICE_MAX + 1},
        {TL_FRAME_SIDE, TL_SIDE_BODY_MAX + 1, 0},
        {(enum tl_frame_type)0, 0, 0},
        {TL_FRAME_AGAIN, TL_AGAIN_BODY_SIZE - 1, 0},
        {TL_FRAME_AGAIN, TL_AGAIN_BODY_SIZE, 1},
        {(enum tl_frame_type)6, 0, 0},
    };
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        uint8_t bytes[TL_FRAME_HEAD_SIZE];
        struct tl_frame out;
        tl_frame_head_put(bytes, &frames[i]);
        assert_int_equal(tl_frame_head_get(bytes, sizeof bytes, false, &out), -EBADMSG);
    }
    uint8_t body[TL_BULK_BODY_SIZE];
    struct tl_frame_bulk out;
    tl_frame_bulk_put(body, &(struct tl_frame_bulk){.status = -EINVAL});
    assert_int_equal(tl_frame_bulk_get(body, sizeof body, 1, &out), -EBADMSG); /* a refusal with data */
    tl_frame_bulk_put(body, &(struct tl_frame_bulk){.status = 0});
    assert_int_equal(tl_frame_bulk_get(body, sizeof body, 0, &out), -EBADMSG); /* a slice without */
}

static void a_seal_holds_once_and_in_order(void **state)
{
    (void)state;
    assert_int_equal(tl_secret_start(), 0);
    struct tl_secret_stream tx = {.key = {1}}, rx = {.key = {1}}, other = {.key = {2}};
    uint8_t frames[3][TL_FRAME_LEAD + 40] = {{0}};
    for (int i = 0; i < 3; i++)
        tl_secret_seal(&tx, frames[i], 40);
    assert_int_equal(tl_secret_check(&other, frames[0], 40), -EBADMSG);
    assert_int_equal(tl_secret_check(&rx, frames[1], 40), -EBADMSG);
    assert_int_equal(tl_secret_check(&rx, frames[0], 39), -EBADMSG);
    for (uint32_t bit = 0; bit < sizeof frames[0] * 8; bit++) {
        frames[0][bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(tl_secret_check(&rx, frames[0], 40), -EBADMSG);
        frames[0][bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(tl_secret_check(&rx, frames[0], 40), 0);
    assert_int_equal(tl_secret_check(&rx, frames[0], 40), -EBADMSG);
    assert_int_equal(tl_secret_check(&rx, frames[1], 40), 0);
    assert_int_equal(tl_secret_check(&rx, frames[2], 40), 0);
}

/* ---- fuzzing ---- */

/* Starts from a sound record more often than not: pure noise ends at the magic. */
static size_t seed_input(struct tl_prng *p, uint8_t *out, size_t room)
{
    struct tl_hello hello = {.prefix = {1, TL_WIRE_VERSION, TL_HELLO_SIZE}};
    struct tl_frame frame = {.type = (enum tl_frame_type)(1 + tl_prng_below(p, 5)),
                             .body_len = (uint32_t)tl_prng_below(p, 9000),
                             .data_len = (uint32_t)tl_prng_below(p, 300000)};
    size_t len = tl_prng_below(p, room + 1);
    switch (tl_prng_below(p, 4)) {
    case 0:
        hello.listener = tl_prng_below(p, 2) != 0;
        hello.prefix.len = hello.listener ? TL_ANSWER_SIZE : TL_HELLO_SIZE;
        memset(out, 0, room);
        tl_hello_put(out, &hello);
        return len;
    case 1: tl_frame_head_put(out, &frame); return len;
    case 2:
        for (size_t i = 0; i < len; i++)
            out[i] = (uint8_t)tl_prng_next(p);
        return len;
    default: memset(out, 0, room); return TL_BULK_BODY_SIZE + tl_prng_below(p, 5);
    }
}

static void decode_all(const uint8_t *bytes, size_t len, uint32_t data_len)
{
    struct tl_hello_prefix prefix;
    struct tl_hello hello;
    struct tl_verdict verdict;
    struct tl_frame frame;
    struct tl_frame_read read;
    struct tl_frame_bulk bulk;
    int n = tl_hello_prefix_get(bytes, len, &prefix);
    assert_true(n == -EBADMSG || n == 0 || (n == (int)TL_HELLO_PREFIX_SIZE && len >= TL_HELLO_PREFIX_SIZE));
    n = tl_hello_get(bytes, len, &hello);
    assert_true(n == -EBADMSG || n == 0 || (n == (int)TL_HELLO_SIZE && len >= TL_HELLO_SIZE));
    if (n > 0)
        assert_true(hello.refusal <= TL_REFUSE_LAST);
    n = tl_verdict_get(bytes, len, &verdict);
    assert_true(n <= 0 || (verdict.proof >= bytes && verdict.proof + TL_PROOF_SIZE <= bytes + len));
    for (int encrypted = 0; encrypted < 2; encrypted++) {
        n = tl_frame_head_get(bytes, len, encrypted != 0, &frame);
        assert_true(n == -EBADMSG || n == 0 || n == (int)TL_FRAME_HEAD_SIZE);
        if (n > 0)
            assert_true(frame.body_len <= TL_FRAME_BODY_MAX && frame.data_len <= TL_SLICE_MAX);
    }
    n = tl_frame_read_get(bytes, len, &read);
    assert_true(n == -EBADMSG || (n == (int)TL_READ_BODY_SIZE && read.len > 0));
    n = tl_frame_bulk_get(bytes, len, data_len, &bulk);
    assert_true(n == -EBADMSG || (n == (int)TL_BULK_BODY_SIZE && bulk.status <= 0));
}

static void no_bytes_break_the_decoders(void **state)
{
    (void)state;
    enum { ROOM = 200, CHECK_TIME = 256 };
    const char *ms = getenv("TL_FUZZ_MS"), *seed_text = getenv("TL_FUZZ_SEED");
    uint64_t seed = seed_text != NULL ? strtoull(seed_text, NULL, 0) : 1;
    uint64_t end = tl_time_mono_ns() + (ms != NULL ? strtoull(ms, NULL, 0) : 1000) * TL_NS_PER_MS;
    print_message("TL_FUZZ_SEED=%llu\n", (unsigned long long)seed);
    struct tl_prng p;
    tl_prng_init(&p, seed, 0);
    for (uint32_t round = 0; round % CHECK_TIME != 0 || tl_time_mono_ns() < end; round++) {
        uint8_t input[ROOM];
        size_t len = seed_input(&p, input, ROOM);
        for (uint64_t flips = tl_prng_below(&p, 6); flips > 0 && len > 0; flips--)
            input[tl_prng_below(&p, len)] ^= (uint8_t)(1u << tl_prng_below(&p, 8));
        uint8_t *exact = malloc(len + (len == 0));
        assert_non_null(exact);
        memcpy(exact, input, len);
        decode_all(exact, len, (uint32_t)tl_prng_below(&p, 3));
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hellos_survive),
        cmocka_unit_test(the_prefix_of_any_version_is_read),
        cmocka_unit_test(frames_survive),
        cmocka_unit_test(what_is_beyond_the_limits_is_malformed),
        cmocka_unit_test(a_seal_holds_once_and_in_order),
        cmocka_unit_test(no_bytes_break_the_decoders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
