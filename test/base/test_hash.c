// SPDX-License-Identifier: Apache-2.0
/* Hashes are written to storage and sent to other nodes: whatever this processor is good at, they are those of XXH3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"

#define SEED 5u

static uint8_t bytes[70000];

/* From the plain functions of libxxhash 0.8.1, which use no vectors wider than all processors have. */
static const struct {
    size_t len;
    uint64_t narrow;
    struct tl_hash wide;
} known[] = {
    {0, 0x388ec5bd0562e095ull, {0xd037d24a0847dc76ull, 0xb2068296fae79545ull}},
    {3, 0x1d33cb74e278e585ull, {0x68bd219568b53973ull, 0x1d33cb74e278e585ull}},
    {16, 0xd61be53ebc55ae1aull, {0x9e894087c2facb64ull, 0x3fc0e707259d3e10ull}},
    {128, 0x690ce85d24ed557full, {0x45517033bf16cdc1ull, 0x8c11ef76a98583ffull}},
    {240, 0x555b99745d22b5edull, {0x8d2ec072e13cdf00ull, 0x041f60be7defd9f9ull}},
    {241, 0x936a2ed0dfbeeac9ull, {0xcbe48115f73d4b56ull, 0x936a2ed0dfbeeac9ull}},
    {1024, 0xdaf61aed900578faull, {0x98dc2ea5d56568bdull, 0xdaf61aed900578faull}},
    {65536, 0xd7675e1426934975ull, {0x2ee7086b1147374bull, 0xd7675e1426934975ull}},
    {70000, 0x0db659a4c91c54faull, {0xdabce7b85a63d729ull, 0x0db659a4c91c54faull}},
};

static int fill(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 253);
    return 0;
}

static void hashes_are_those_of_any_processor(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_true(tl_hash64(bytes, known[i].len, SEED) == known[i].narrow);
        assert_true(tl_hash_equal(tl_hash_bytes(bytes, known[i].len, SEED), known[i].wide));
    }
}

static void pieces_give_what_the_whole_gives(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < sizeof bytes; piece = piece * 5 + 3) {
        struct tl_hasher *h = tl_hasher_new(SEED);
        assert_non_null(h);
        for (size_t at = 0; at < sizeof bytes; at += piece)
            tl_hasher_add(h, bytes + at, sizeof bytes - at < piece ? sizeof bytes - at : piece);
        assert_true(tl_hash_equal(tl_hasher_digest(h), tl_hash_bytes(bytes, sizeof bytes, SEED)));
        tl_hasher_free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_those_of_any_processor),
        cmocka_unit_test(pieces_give_what_the_whole_gives),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
