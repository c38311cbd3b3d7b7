// SPDX-License-Identifier: Apache-2.0
/* The storage model: a parallel file system under load, reduced to what makes a cold start slow.
 *
 * One metadata server: so many operations a second, so many at once, so long each. Many object targets: a file lies on
 * one of them (by hash), each with its bandwidth and its reads a second; a reader's stream has a bandwidth of its own.
 * First come, first served, so an operation's end is known when it is asked for. Every listing and chunk handed over is
 * counted in its descriptor. Errors and slow spells are faults, by seed. One owner thread. */
#ifndef TL_SIM_STORAGE_H
#define TL_SIM_STORAGE_H

#include "core/node/node.h"
#include "sim/catalog.h"
#include "sim/world.h"

struct tl_storage_config {
    uint64_t md_ops_per_s;
    uint32_t md_concurrency;
    uint64_t md_latency_ns;
    uint32_t targets;
    uint64_t target_bytes_per_s, target_reads_per_s;
    uint64_t stream_bytes_per_s;
    uint64_t read_latency_ns;
};
void tl_storage_config_default(struct tl_storage_config *c);

struct tl_storage_faults {
    uint64_t until_ns;
    uint32_t eio_ppm; /* a read or listing fails, this once */
    uint64_t slow_from_ns, slow_until_ns;
    uint32_t slow_factor;
    bool sticky; /* plant: an error stays */
};

/* One completion, for the node that asked. */
struct tl_storage_done {
    uint32_t rank;
    uint16_t tag; /* as given to tl_storage_fetch */
    uint64_t cookie;
    int status;
    uint32_t chunk;
    uint64_t addr;                    /* READ: where the bytes go */
    const struct tl_content *content; /* status 0 */
    bool last;
};

#define TL_STORAGE_OPEN_FILES 256u /* files that sources keep open, all nodes together */

struct tl_storage {
    struct tl_world *world;
    struct tl_sim_catalog *catalog;
    struct tl_storage_config config;
    struct tl_storage_faults faults;
    uint64_t *md_slots; /* when each is free again */
    uint64_t md_free_ns, *target_free_ns;
    void (*done)(void *ctx, const struct tl_storage_done *done);
    uint64_t (*held_until_ns)(void *ctx, uint32_t rank); /* its process is stopped; may be NULL */
    void *done_ctx;
    struct tl_storage_op *ops; /* under way */
    struct {
        uint64_t version;
        uint32_t rank, object;
    } open_files[TL_STORAGE_OPEN_FILES];
    uint32_t open_next;
    uint32_t under_way, under_way_most; /* fetches */
    uint32_t *eio_of;                   /* by object: errors made */
    uint32_t eio_capacity;
    uint64_t md_ops, opens, lists, reads, bytes, errors, stale, doubles; /* doubles: reads beyond the first */
};

/* The catalog is sealed. */
void tl_storage_init(struct tl_storage *s, struct tl_world *w, struct tl_sim_catalog *c,
                     const struct tl_storage_config *config);
void tl_storage_fini(struct tl_storage *s);
/* Who gets the completions. */
void tl_storage_set_handler(struct tl_storage *s, void (*done)(void *ctx, const struct tl_storage_done *done),
                            void *ctx);

/* A node's FETCH. Completions come through s->done with this cookie and tag, the last one with `last`. */
void tl_storage_fetch(struct tl_storage *s, uint32_t rank, uint16_t tag, uint64_t cookie, const struct tl_fetch *fetch);

/* Fetches of this node that are under way. */
uint32_t tl_storage_fetches_of(const struct tl_storage *s, uint32_t rank, uint16_t tag);

/* When `ops` metadata operations, one after the other, or a read are over, if asked for at at_ns (>= now; calls in order
 * of time). They take their share of the servers. */
uint64_t tl_storage_metadata(struct tl_storage *s, uint64_t at_ns, uint32_t ops);
uint64_t tl_storage_read(struct tl_storage *s, uint64_t at_ns, uint32_t object, uint32_t len);

/* Metadata operations of a listing: open, read, and the attributes of its names, which come in batches. */
uint32_t tl_storage_list_ops(const struct tl_sim_catalog *c, uint32_t object);

#endif
