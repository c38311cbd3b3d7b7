// SPDX-License-Identifier: Apache-2.0
/* The conformance suite on the posix source. */
#include "source/conformance.h"
#include "source/files.h"

int main(void)
{
    const struct tl_source_under_test posix = {
        .name = "posix",
        .root = tl_test_dir(),
        .open = tl_source_posix_open,
        .make_dir = tl_test_make_dir,
        .put_file = tl_test_put_file,
        .put_link = tl_test_put_link,
        .remove = tl_test_remove,
    };
    return tl_source_conformance_run(&posix);
}
