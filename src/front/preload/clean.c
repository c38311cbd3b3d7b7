// SPDX-License-Identifier: Apache-2.0
#include "front/preload/clean.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdatomic.h>

#include "front/preload/raw.h"

#define SLOTS 1024u /* of a directory each: the last one that was asked for with this hash */
#define STATE 3u    /* the bits of a slot that hold it; the others are the hash */

static _Atomic uint64_t slots[SLOTS];

static uint64_t hash_directory(const char *path)
{
    const char *end = tl_last_slash(path);
    uint64_t h = 1469598103934665603u;
    for (const char *c = path; c < end; c++)
        h = (h ^ (unsigned char)*c) * 1099511628211u;
    return h & ~(uint64_t)STATE;
}

static bool holds_links(long fd)
{
    struct entry {
        uint64_t ino, off;
        unsigned short len;
        unsigned char type;
        char name[];
    };
    union {
        char bytes[8192];
        uint64_t align;
    } room;
    for (;;) { /* until the directory's end */
        long n = tl_raw3(SYS_getdents64, fd, tl_arg(&room), sizeof room);
        if (n <= 0)
            return n < 0;
        for (long at = 0; at < n;) {
            const struct entry *e = (const struct entry *)(const void *)(room.bytes + at);
            if (e->type == 10 /* DT_LNK */ || e->type == 0)
                return true;
            at += e->len;
        }
    }
}

enum tl_clean tl_clean_look(char *real)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
    uint64_t hash = hash_directory(real);
    _Atomic uint64_t *slot = &slots[(hash >> 8) % SLOTS];
    uint64_t known = atomic_load_explicit(slot, memory_order_relaxed); /* a value alone: nothing goes with it */
    if ((known & ~(uint64_t)STATE) == hash && (known & STATE) != 0)
        return (enum tl_clean)(known & STATE);
    char *end = real + (tl_last_slash(real) - real);
    *end = '\0';
    long fd = tl_raw4(SYS_openat2, AT_FDCWD, tl_arg(real), tl_arg(&how), sizeof how);
    *end = '/';
    if (fd < 0)
        return fd == -ENOENT || fd == -ENOTDIR ? TL_CLEAN_MISSING : TL_CLEAN_NOT;
    enum tl_clean state = holds_links(fd) ? TL_CLEAN_WAY : TL_CLEAN_ALL;
    tl_raw2(SYS_close, fd, 0);
    atomic_store_explicit(slot, hash | (uint64_t)state, memory_order_relaxed);
    return state;
}
