// SPDX-License-Identifier: Apache-2.0
/* What compilers call, whatever they are told; for the libraries of this folder, which have no C library. */
#include "front/preload/raw.h"

void *memset(void *to, int byte, size_t n);
void *memcpy(void *restrict to, const void *restrict from, size_t n);

void *memset(void *to, int byte, size_t n)
{
    void *at = to;
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(byte) : "memory");
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    tl_copy(to, from, n);
    return to;
}
