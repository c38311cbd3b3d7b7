// SPDX-License-Identifier: Apache-2.0
/* How a function of the C library is hooked. Its headers are not included where hooks are defined: they rename functions
 * (open to open64), and all of the names are wanted. Structures are passed on unseen. */
#ifndef TL_FRONT_PRELOAD_HOOKS_H
#define TL_FRONT_PRELOAD_HOOKS_H

#include <asm/fcntl.h>
#include <errno.h>
#include <linux/fcntl.h>

#include "front/preload/stub.h"

/* Declares what it defines. */
#define HOOK(type, name, ...)                                                                                          \
    TL_HOOK type name(__VA_ARGS__);                                                                                    \
    TL_HOOK type name(__VA_ARGS__)

static inline int tl_hook_call(long nr, long a, long b, long c, long d, long e)
{
    return (int)tl_stub_libc(tl_stub_call(nr, a, b, c, d, e, 0));
}

static inline int tl_hook_path(long nr, const char *path, long b, long c, long d, long e)
{
    return tl_hook_call(nr, tl_arg(path), b, c, d, e);
}

static inline int tl_hook_at(long nr, int dir, const char *path, long c, long d, long e)
{
    return tl_hook_call(nr, dir, tl_arg(path), c, d, e);
}

#endif
