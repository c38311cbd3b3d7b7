// SPDX-License-Identifier: Apache-2.0
/* Warming: what a profile names is asked for before programs ask, in the profile's order, many at once. The driver holds the
 * profile and hands out its items one by one (tl_bytes_ops.profile_item); here are two places in it. The first fetches
 * what is known of names; the second follows it with the files' bytes, as soon as the listing that holds a file's name is here, since
 * that says which version there is today. Flights that it opens are like any other: whoever asks meanwhile waits on
 * them (docs/protocol.md, P-50 to P-53). */
#include <errno.h>
#include <string.h>

#include "core/node/internal.h"

/* P-51: what is asked for has half of the flights; a quarter of the memory stays free, so that nothing is evicted. */
static bool may_open(const struct tl_node *n)
{
    uint64_t coming = (uint64_t)n->warm.flights * TL_CHUNK_SIZE;
    uint64_t share = n->config.cache_limit_bytes / 4 * 3;
    return n->parked.count == 0 && n->warm.flights < n->warm.window && n->flight_count < n->config.flight_max / 2 &&
           n->held_bytes + coming < share && n->index->chunk_count + n->warm.window < n->index->chunk_max;
}

/* The cache has no more room for what nobody has asked for yet: the rest is left (P-51). */
static bool is_full(const struct tl_node *n)
{
    return n->held_bytes >= n->config.cache_limit_bytes / 4 * 3 ||
           n->index->chunk_count + n->warm.window >= n->index->chunk_max;
}

static void forget_profile(struct tl_node *n)
{
    n->warm.names = n->warm.files = n->warm.count = n->warm.chunk = 0;
}

/* Opens a flight for one chunk, unless it is here or under way. False: there is no room. */
static bool open_chunk(struct tl_node *n, const struct tl_request *r, uint32_t chunk)
{
    uint64_t before = n->counters.flights_opened;
    if (tl_flight_open(n, r, chunk, 1) == 0)
        return false;
    if (n->counters.flights_opened == before)
        return true;
    uint32_t object = tl_index_find_object(n->index, tl_object_key(r->op, r->path, r->path_len, r->version));
    uint32_t at = tl_index_find_chunk(n->index, object, chunk);
    n->flights[n->index->chunks[at].flight].warm = true;
    n->warm.flights++;
    n->counters.warmed++;
    return true;
}

static bool open_blob(struct tl_node *n, enum tl_op op, const char *path, uint16_t path_len)
{
    const struct tl_request r = {.op = op, .path = path, .path_len = path_len};
    return open_chunk(n, &r, 0);
}

/* Version and size of a file, from the listing or entry that holds its name. 0; -EAGAIN: that is under way; any other: the file
 * is not to be had (P-52). */
static int resolve(struct tl_node *n, const struct tl_profile_item *item, struct tl_request *r)
{
    struct tl_ref ref;
    uint16_t dir_len = tl_path_parent_len(item->path, item->path_len);
    uint16_t name_at = dir_len == 1 ? 1 : (uint16_t)(dir_len + 1);
    int rc = tl_node_peek(n, TL_OP_LIST, item->path, dir_len, &ref);
    bool unlisted = rc == -EACCES;
    if (unlisted)
        rc = tl_node_peek(n, TL_OP_ENTRY, item->path, item->path_len, &ref);
    if (rc == -ENOENT) { /* never heard of, or known to be missing: asking tells */
        enum tl_op op = unlisted ? TL_OP_ENTRY : TL_OP_LIST;
        uint16_t len = unlisted ? item->path_len : dir_len;
        uint32_t object = tl_index_find_object(n->index, tl_object_key(op, item->path, len, 0));
        uint32_t chunk = object == TL_SLOT_NONE ? TL_SLOT_NONE : tl_index_find_chunk(n->index, object, 0);
        if (chunk != TL_SLOT_NONE)
            return n->index->chunks[chunk].state == TL_CHUNK_FLIGHT ? -EAGAIN : -ENOENT;
        if (n->warm.tries++ == WARM_TRIES_MAX)
            return -EIO;
        (void)open_blob(n, op, item->path, len);
        return -EAGAIN;
    }
    if (rc != 0)
        return rc;
    *r = (struct tl_request){.op = TL_OP_READ, .path = item->path, .path_len = item->path_len};
    return n->bytes.find_file(n->bytes_ctx, ref.addr, ref.len, item->path + name_at, item->path_len - name_at,
                              &r->version, &r->file_size_bytes);
}

/* The next name. False: not now. */
static bool warm_name(struct tl_node *n)
{
    struct tl_profile_item item;
    bool there = n->bytes.profile_item(n->bytes_ctx, n->warm.names, &item);
    if (there && tl_op_is_blob(item.op) && !open_blob(n, item.op, item.path, item.path_len))
        return false;
    n->warm.names++;
    return true;
}

/* The next chunk of the next file. False: not now. */
static bool warm_file(struct tl_node *n)
{
    struct tl_profile_item item;
    struct tl_request r;
    uint32_t end = 0;
    if (n->bytes.profile_item(n->bytes_ctx, n->warm.files, &item) && item.op == TL_OP_READ) {
        int rc = resolve(n, &item, &r);
        if (rc == -EAGAIN)
            return false;
        uint32_t total = rc == 0 ? tl_chunk_count(r.file_size_bytes) : 0;
        end = item.count == 0 || item.count > total - (item.first < total ? item.first : total)
                  ? total
                  : item.first + item.count;
        if (n->warm.chunk < item.first)
            n->warm.chunk = item.first;
    }
    if (n->warm.chunk < end && !open_chunk(n, &r, n->warm.chunk))
        return false;
    if (++n->warm.chunk < end)
        return true;
    n->warm.chunk = n->warm.tries = 0;
    n->warm.files++;
    return true;
}

void tl_warm_pump(struct tl_node *n)
{
    if (n->warm.files == n->warm.count || n->warm.flights > n->warm.window / 2)
        return; /* half a window at a time: several in one message (P-53) */
    if (is_full(n)) {
        n->counters.warm_skipped += n->warm.count - n->warm.files;
        forget_profile(n);
        return;
    }
    for (uint32_t i = 0; i < WARM_ITEMS_PER_STEP && may_open(n); i++) {
        bool more = n->warm.names < n->warm.count && warm_name(n);
        if (!more)
            more = n->warm.files < n->warm.names && warm_file(n);
        if (!more)
            break;
    }
    if (n->warm.files == n->warm.count)
        forget_profile(n);
}

uint32_t tl_node_warm_left(const struct tl_node *n)
{
    return n->warm.count - n->warm.files;
}

void tl_warm_start(struct tl_node *n, uint32_t count)
{
    if (n->warm.loading > 0)
        n->warm.loading--;
    if (n->bytes.profile_item == NULL || n->bytes.find_file == NULL || count > WARM_ITEMS_MAX - n->warm.count)
        return;
    uint32_t window = n->config.flight_max / 4;
    n->warm.window = window < WARM_WINDOW_MAX ? window : WARM_WINDOW_MAX;
    n->warm.count += count;
}
