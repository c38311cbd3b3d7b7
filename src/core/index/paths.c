// SPDX-License-Identifier: Apache-2.0
#include "core/index/paths.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 60u

struct block {
    uint32_t next;
    char bytes[BLOCK_BYTES];
};

/* Blocks at and above `fresh` have never been used: the pool costs memory only as it fills. */
struct tl_paths {
    struct block *blocks;
    uint32_t count, free_head, fresh, used;
};

int tl_paths_new(struct tl_paths **out, uint32_t blocks)
{
    struct tl_paths *p = calloc(1, sizeof *p);
    struct block *array = calloc(blocks, sizeof *array);
    if (p == NULL || array == NULL) {
        free(p);
        free(array);
        return -ENOMEM;
    }
    *p = (struct tl_paths){.blocks = array, .count = blocks, .free_head = TL_PATH_NONE};
    *out = p;
    return 0;
}

void tl_paths_free(struct tl_paths *p)
{
    if (p == NULL)
        return;
    free(p->blocks);
    free(p);
}

static uint32_t blocks_for(uint16_t len)
{
    return len == 0 ? 1 : (len + BLOCK_BYTES - 1) / BLOCK_BYTES;
}

static uint32_t take_block(struct tl_paths *p)
{
    uint32_t at = p->free_head;
    if (at != TL_PATH_NONE)
        p->free_head = p->blocks[at].next;
    else
        at = p->fresh++;
    check(at < p->count);
    p->used++;
    return at;
}

uint32_t tl_paths_put(struct tl_paths *p, const char *path, uint16_t len)
{
    uint32_t need = blocks_for(len);
    if (p->count - p->used < need)
        return TL_PATH_NONE;
    uint32_t head = TL_PATH_NONE, last = TL_PATH_NONE;
    for (uint32_t i = 0; i < need; i++) {
        uint32_t at = take_block(p);
        uint32_t start = i * BLOCK_BYTES;
        uint32_t part = len - start < BLOCK_BYTES ? len - start : BLOCK_BYTES;
        memcpy(p->blocks[at].bytes, path + start, part);
        p->blocks[at].next = TL_PATH_NONE;
        if (last == TL_PATH_NONE)
            head = at;
        else
            p->blocks[last].next = at;
        last = at;
    }
    return head;
}

void tl_paths_get(const struct tl_paths *p, uint32_t handle, char *out, uint16_t len)
{
    uint32_t at = handle;
    for (uint32_t start = 0; start < len; start += BLOCK_BYTES) {
        check(at < p->count);
        uint32_t part = len - start < BLOCK_BYTES ? len - start : BLOCK_BYTES;
        memcpy(out + start, p->blocks[at].bytes, part);
        at = p->blocks[at].next;
    }
}

void tl_paths_drop(struct tl_paths *p, uint32_t handle, uint16_t len)
{
    uint32_t at = handle;
    for (uint32_t left = handle == TL_PATH_NONE ? 0 : blocks_for(len); left > 0; left--) {
        check(at < p->count);
        uint32_t next = p->blocks[at].next;
        p->blocks[at].next = p->free_head;
        p->free_head = at;
        p->used--;
        at = next;
    }
}

uint32_t tl_paths_used(const struct tl_paths *p)
{
    return p->used;
}
