// SPDX-License-Identifier: Apache-2.0
/* Lets one allocation fail, or several: for tests that fail each allocation of a function once.
 *
 * Link with -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc (failing_alloc_dep does). Counts the calls that the
 * project's own objects make, of all threads. */
#ifndef TL_TEST_BASE_FAILING_ALLOC_H
#define TL_TEST_BASE_FAILING_ALLOC_H

/* The nth allocation from now on returns NULL (0: the next one); negative: none does. */
void tl_failing_alloc_at(long nth);
/* True if an allocation failed since tl_failing_alloc_at. */
int tl_failing_alloc_hit(void);

#endif
