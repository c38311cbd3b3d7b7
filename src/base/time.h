// SPDX-License-Identifier: Apache-2.0
/* Time in nanoseconds: uint64_t since some start for clocks, int64_t since 1970 for the times of files.
 *
 * The core never reads a clock: it is told the time. The clock functions below are for the edges (daemon,
 * transport, tools, tests). Any thread. */
#ifndef TL_BASE_TIME_H
#define TL_BASE_TIME_H

#include <stdint.h>
#include <time.h>

#define TL_NS_PER_US 1000ull
#define TL_NS_PER_MS 1000000ull
#define TL_NS_PER_S  1000000000ull

/* Never goes back; unrelated to the wall clock. */
static inline uint64_t tl_time_mono_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail with this clock */
    return (uint64_t)ts.tv_sec * TL_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Wall clock, since 1970. */
static inline uint64_t tl_time_real_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * TL_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Seconds and nanoseconds of a file's time stamp in one number. File systems may hold any seconds: what does not fit
 * (years before 1678 and after 2262) becomes the nearest value that does. */
static inline int64_t tl_time_from_parts(int64_t sec, uint32_t nsec)
{
    int64_t ns;
    if (__builtin_mul_overflow(sec, (int64_t)TL_NS_PER_S, &ns) || __builtin_add_overflow(ns, (int64_t)nsec, &ns))
        return sec < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

/* The other way; nsec is 0..999,999,999 for times before 1970, too. */
static inline struct timespec tl_time_to_timespec(int64_t ns)
{
    int64_t sec = ns / (int64_t)TL_NS_PER_S, rest = ns % (int64_t)TL_NS_PER_S;
    if (rest < 0) {
        rest += (int64_t)TL_NS_PER_S;
        sec -= 1;
    }
    return (struct timespec){.tv_sec = sec, .tv_nsec = rest};
}

#endif
