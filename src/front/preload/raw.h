// SPDX-License-Identifier: Apache-2.0
/* System calls and strings without a C library: this folder's code runs inside other people's programs, before their
 * C library is ready, beside any C library, or (the auditor) where there is none.
 *
 * Calls return what the kernel returns: -errno, or 0 and more. */
#ifndef TL_FRONT_PRELOAD_RAW_H
#define TL_FRONT_PRELOAD_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#ifndef __x86_64__
#error "this folder is written for x86-64"
#endif

/* Number, then six arguments. */
typedef long (*tl_raw_fn)(long, long, long, long, long, long, long);

/* `syscall` as a function, position-independent: its bytes can be copied (tl_raw_begin to tl_raw_end). */
long tl_raw_begin(long nr, long a, long b, long c, long d, long e, long f);
extern const char tl_raw_end[];

/* All calls of this folder go through it. The stub points it at a copy whose place the supervisor's filter knows. */
extern tl_raw_fn tl_raw;

/* tl_raw for the calls that programs make often. A return that follows a system call costs more than the rest of a hook, since
 * the processor has forgotten where it leads: so one less, where the call may be made from anywhere. */
static inline __attribute__((always_inline)) long tl_raw_often(long nr, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    if (tl_raw != tl_raw_begin)
        return tl_raw(nr, a, b, c, d, e, f);
    __asm__ volatile("syscall"
                     : "+a"(nr)
                     : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return nr;
}

static inline long tl_raw2(long nr, long a, long b)
{
    return tl_raw(nr, a, b, 0, 0, 0, 0);
}

static inline long tl_raw3(long nr, long a, long b, long c)
{
    return tl_raw(nr, a, b, c, 0, 0, 0);
}

static inline long tl_raw4(long nr, long a, long b, long c, long d)
{
    return tl_raw(nr, a, b, c, d, 0, 0);
}

/* A pointer as an argument. */
static inline long tl_arg(const void *p)
{
    return (long)(uintptr_t)p;
}

static inline size_t tl_length(const char *s)
{
    size_t n = 0;
    while (s[n] != '\0')
        n++;
    return n;
}

static inline void tl_copy(void *to, const void *from, size_t n)
{
    char *t = to;
    const char *f = from;
    __asm__ volatile("rep movsb" : "+D"(t), "+S"(f), "+c"(n)::"memory"); /* not a call of memcpy, whatever -O */
}

static inline bool tl_same(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

static inline bool tl_equal(const char *a, const char *b)
{
    size_t n = tl_length(a);
    return tl_same(a, b, n < tl_length(b) ? n : tl_length(b)) && n == tl_length(b);
}

static inline const char *tl_last_slash(const char *s)
{
    const char *last = NULL;
    for (; *s != '\0'; s++)
        if (*s == '/')
            last = s;
    return last;
}

#endif
