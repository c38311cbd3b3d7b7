// SPDX-License-Identifier: Apache-2.0
/* libFuzzer's way into the reader of scenarios: whatever it lets through is written as a text that it lets through, too, and that is
 * written in the same way.
 *
 *   CC=clang meson setup build-fuzz -Dfuzz=true -Db_lundef=false && ninja -C build-fuzz
 *   build-fuzz/test/sim/fuzz_scenario -max_len=4096 NEW test/scenarios     new finds go to NEW */
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "sim/scenario.h"

#define TEXT_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tl_scenario s;
    static char text[TEXT_MAX], again[TEXT_MAX];
    struct tl_error err = {0};
    if (tl_scenario_parse(&s, "fuzz", (const char *)data, size, &err) != 0) {
        check(err.code < 0 && strncmp(err.msg, "fuzz:", 5) == 0);
        return 0;
    }
    size_t len = tl_scenario_print(&s, text, sizeof text);
    if (len >= sizeof text)
        return 0;
    check(tl_scenario_parse(&s, "fuzz", text, len, &err) == 0);
    check(tl_scenario_print(&s, again, sizeof again) == len && memcmp(text, again, len) == 0);
    return 0;
}
