// SPDX-License-Identifier: Apache-2.0
/* Real files for tests of the posix source: a directory of the test's own, and what may lie in it. Every function fails
 * the test on an error. */
#ifndef TL_TEST_SOURCE_FILES_H
#define TL_TEST_SOURCE_FILES_H

#include <stddef.h>

/* A fresh directory in $TMPDIR or /tmp, whose parents are real directories; removed with all that is in it when the
 * program ends. */
const char *tl_test_dir(void);
void tl_test_make_dir(const char *path);
void tl_test_put_file(const char *path, const void *bytes, size_t len);
void tl_test_put_link(const char *path, const char *target);
void tl_test_remove(const char *path);

#endif
