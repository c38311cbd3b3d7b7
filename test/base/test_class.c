// SPDX-License-Identifier: Apache-2.0
/* Object classes: each has one number and one name. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/class.h"

static void names_and_numbers_are_those_of_daos(void **state)
{
    const struct {
        const char *name;
        uint16_t number;
        unsigned redundancy;
    } known[] = {
        {"default", 0, 0},     {"S", 0x0101, 0},        {"RP_2", 0x0102, 1},
        {"RP_3", 0x0103, 2},   {"RP_255", 0x01ff, 254}, {"EC_2P1", 0x8081, 1},
        {"EC_4P2", 0x8102, 2}, {"EC_16P2", 0x8402, 2},  {"EC_511P63", 0xffff, 63},
    };
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char name[TL_CLASS_NAME];
        uint16_t number = 7;
        assert_int_equal(tl_class_name(known[i].number, name), 0);
        assert_string_equal(name, known[i].name);
        assert_int_equal(tl_class_parse(known[i].name, &number), 0);
        assert_int_equal(number, known[i].number);
        assert_int_equal(tl_class_redundancy(number), known[i].redundancy);
    }
    assert_int_equal(tl_class_replicated(1), TL_CLASS_S);
    assert_int_equal(tl_class_erasure(2, 1), 0x8081);
}

static void what_is_no_class_is_refused(void **state)
{
    static const char *const texts[] = {
        "",        "s",      "RP_",     "RP_0",     "RP_1",      "RP_256", "RP_02",    "RP_2 ",
        "RP_-2",   "rp_2",   "EC_",     "EC_2",     "EC_2P",     "EC_2P0", "EC_0P1",   "EC_512P1",
        "EC_2P64", "EC_2p1", "EC_ 2P1", "EC_2P1G1", "0x0101",    "257",    "EC_2P1P1", "RP_18446744073709551618",
        "DEFAULT", "S ",     "EC_2P+1", "RP_+2",    "EC_002P01", "RP_3,"};
    static const uint16_t numbers[] = {1, 0x00ff, 0x0100, 0x0200, 0x0301, 0x8000, 0x8001, 0x8040, 0x7fff};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        uint16_t number = 7;
        if (tl_class_parse(texts[i], &number) != -EINVAL || number != 7)
            fail_msg("'%s' was taken for a class", texts[i]);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char name[TL_CLASS_NAME], hex[8];
        snprintf(hex, sizeof hex, "0x%04x", numbers[i]);
        assert_int_equal(tl_class_name(numbers[i], name), -EINVAL);
        assert_string_equal(name, hex);
    }
    assert_int_equal(tl_class_replicated(0) | tl_class_replicated(256), 0);
    assert_int_equal(
        tl_class_erasure(0, 1) | tl_class_erasure(1, 0) | tl_class_erasure(512, 1) | tl_class_erasure(1, 64), 0);
}

static void every_number_with_a_name_comes_back_from_it(void **state)
{
    unsigned classes = 0;
    (void)state;
    for (unsigned n = 0; n <= UINT16_MAX; n++) {
        char name[TL_CLASS_NAME];
        uint16_t back = 0;
        if (tl_class_name((uint16_t)n, name) != 0)
            continue;
        assert_int_equal(tl_class_parse(name, &back), 0);
        assert_int_equal(back, n);
        classes++;
    }
    assert_int_equal(classes, 1 + 255 + 511 * 63);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_numbers_are_those_of_daos),
        cmocka_unit_test(what_is_no_class_is_refused),
        cmocka_unit_test(every_number_with_a_name_comes_back_from_it),
    };
    return cmocka_run_group_tests_name("class", tests, NULL, NULL);
}
