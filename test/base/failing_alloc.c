// SPDX-License-Identifier: Apache-2.0
#include "base/failing_alloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

/* The names are the linker's: see --wrap in ld(1). */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static _Atomic long left = -1;
static _Atomic int hit;

void tl_failing_alloc_at(long nth)
{
    left = nth;
    hit = 0;
}

int tl_failing_alloc_hit(void)
{
    return hit;
}

static int fails(void)
{
    if (left < 0)
        return 0;
    if (atomic_fetch_sub(&left, 1) != 0)
        return 0;
    hit = 1;
    errno = ENOMEM;
    return 1;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}
