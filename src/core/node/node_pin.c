// SPDX-License-Identifier: Apache-2.0
/* Pins: what is at and below a pinned path stays as it was first read, within half of the limit: it is not evicted, and a flush
 * passes it by. So a job keeps its data set in memory, and goes on with the version that it began with (docs/protocol.md, P-45). */
#include <errno.h>
#include <string.h>

#include "core/node/internal.h"

static bool is_pinned(const struct tl_node *n, const char *path, uint16_t path_len)
{
    for (uint32_t i = 0; i < n->pin_count; i++) {
        const struct tl_pin *p = &n->pins[i];
        char top[TL_PATH_MAX];
        tl_paths_get(n->parked_paths, p->path, top, p->path_len);
        if (tl_path_below(path, path_len, top, p->path_len))
            return true;
    }
    return false;
}

void tl_pin_touch(struct tl_node *n, uint32_t chunk, const char *path, uint16_t path_len)
{
    struct tl_chunk *c = &n->index->chunks[chunk];
    if (n->pin_count == 0 || c->kept || c->state != TL_CHUNK_PRESENT || !is_pinned(n, path, path_len))
        return;
    if (n->kept_bytes + tl_pages(c->len) > n->config.cache_limit_bytes / 2)
        return; /* the rest comes and goes as anything else */
    n->kept_bytes += tl_pages(c->len);
    tl_index_keep(n->index, chunk, true);
}

void tl_pin_dropped(struct tl_node *n, uint32_t chunk)
{
    struct tl_chunk *c = &n->index->chunks[chunk];
    if (!c->kept)
        return;
    check(n->kept_bytes >= tl_pages(c->len));
    n->kept_bytes -= tl_pages(c->len);
    tl_index_keep(n->index, chunk, false);
}

void tl_pin_let_go(struct tl_node *n, uint64_t bytes)
{
    for (uint32_t i = 0; i < n->index->chunk_fresh && n->kept_bytes > bytes; i++)
        if (n->index->chunks[i].state == TL_CHUNK_PRESENT)
            tl_pin_dropped(n, i);
}

static uint32_t find(const struct tl_node *n, const char *path, uint16_t path_len)
{
    uint32_t i = 0;
    for (; i < n->pin_count; i++) {
        char other[TL_PATH_MAX];
        tl_paths_get(n->parked_paths, n->pins[i].path, other, n->pins[i].path_len);
        if (n->pins[i].path_len == path_len && memcmp(other, path, path_len) == 0)
            break;
    }
    return i;
}

bool tl_pin(struct tl_node *n, const char *path, uint16_t path_len)
{
    if (find(n, path, path_len) < n->pin_count)
        return true;
    uint32_t kept = n->pin_count < PINS_MAX ? tl_paths_put(n->parked_paths, path, path_len) : TL_PATH_NONE;
    if (kept == TL_PATH_NONE)
        return false;
    n->pins[n->pin_count++] = (struct tl_pin){.path = kept, .path_len = path_len};
    return true;
}

/* What another pin wants is kept again when it is next asked for. */
void tl_unpin(struct tl_node *n, const char *path, uint16_t path_len)
{
    uint32_t at = find(n, path, path_len);
    if (at == n->pin_count)
        return;
    tl_paths_drop(n->parked_paths, n->pins[at].path, n->pins[at].path_len);
    n->pins[at] = n->pins[--n->pin_count];
    tl_pin_let_go(n, 0);
}
