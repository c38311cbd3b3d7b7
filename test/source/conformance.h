// SPDX-License-Identifier: Apache-2.0
/* What every source must do, whatever it reads from; and helpers to drive one from a test.
 *
 * An implementation describes itself in a tl_source_under_test and calls tl_source_conformance_run. */
#ifndef TL_TEST_SOURCE_CONFORMANCE_H
#define TL_TEST_SOURCE_CONFORMANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/listing.h"
#include "source/source.h"

#define TL_TEST_CHUNK 4096u /* chunk size the suite opens sources with */

/* Hooks that put things where the source will look. Paths are absolute, below root; they fail the test on an error. */
struct tl_source_under_test {
    const char *name;
    const char *root; /* an empty directory that exists */
    int (*open)(struct tl_source **out, const struct tl_source_config *config, struct tl_error *err);
    void (*make_dir)(const char *path);
    void (*put_file)(const char *path, const void *bytes, size_t len); /* makes or replaces it */
    void (*put_link)(const char *path, const char *target);            /* NULL: the source has no links */
    void (*remove)(const char *path);                                  /* of a file, link or empty directory */
};

/* Runs the suite as a cmocka group. Returns the number of failed tests. */
int tl_source_conformance_run(const struct tl_source_under_test *under_test);

/* A config that suits tests: 2 threads, queue of 16, 4 open files, TL_TEST_CHUNK. */
struct tl_source_config tl_test_source_config(void);
/* Waits until max completions or the last one of an operation have come (20 s at most); appends to out. Count. */
int tl_test_source_wait(struct tl_source *s, struct tl_source_done *out, int max);
/* Lists path: 0 with an opened listing whose blob the caller frees (listing->bytes), or the source's error. */
int tl_test_source_list(struct tl_source *s, const char *path, struct tl_listing *listing);
/* The same for the entry of path: a listing with one name. */
int tl_test_source_entry(struct tl_source *s, const char *path, struct tl_listing *listing);
/* Attributes of dir/name as its listing has them; fails the test if it is not there. */
struct tl_attr tl_test_source_attr(struct tl_source *s, const char *dir, const char *name);
/* Reads chunks first..first+count-1 into buffer (count * TL_TEST_CHUNK bytes) of the version in attr. Checks that
 * chunks come in order with the right digests. Returns how many were read before the first error, *status: 0 or that
 * error. */
uint32_t tl_test_source_read(struct tl_source *s, const char *path, const struct tl_attr *attr, uint32_t first,
                             uint32_t count, void *buffer, int *status);

#endif
