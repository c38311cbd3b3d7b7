// SPDX-License-Identifier: Apache-2.0
/* A few nodes in one process, for the tests of the node: a network that delivers in order and at once, chunk memory with
 * real bytes, and a storage that computes its files' bytes and counts who reads them.
 *
 * Everything happens in world_run and in what it is called by; nothing has a thread or a clock. Whatever is held (storage,
 * pulls, messages to a node) waits in the queue until it is let go. What the nodes do wrong is kept as a violation: the first
 * one, a sentence, which world_end shows. One test at a time has one world. */
#ifndef TL_TEST_CORE_WORLD_H
#define TL_TEST_CORE_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/node/node.h"
#include "core/overlay/forest.h"
#include "core/wire/wire.h"

#define HOSTS_MAX    40u
#define FILES_MAX    64u
#define CHUNKS_MAX   256u /* of one file */
#define REQUESTS_MAX 8192u
#define MS           1000000ull
#define S            1000000000ull
#define CHUNK        ((uint64_t)TL_CHUNK_SIZE)
#define CACHE_MIN    (12 * CHUNK) /* the smallest limit that a node accepts */

/* Bugs that the driver can plant, to see that the checks find them. */
enum plant { PLANT_NONE = 0, PLANT_ANSWER_TWICE, PLANT_ANSWER_NEVER, PLANT_WRONG_BYTES, PLANT_FETCH_TWICE };

/* A file or a directory of the storage. */
struct file {
    char path[TL_PATH_MAX];
    bool directory;
    uint64_t version, size_bytes;
    int status;    /* < 0: reading it gives this */
    int fail_next; /* so many reads give -EIO first */
    uint32_t reads[CHUNKS_MAX];
    uint32_t entries; /* times that its entry or its extended attributes were read */
    uint32_t lists;   /* a directory: times listed; its generation is in the blob; that of "/large" is pulled */
    uint32_t generation;
};

struct asked {
    uint64_t id;
    uint32_t rank, file;
    uint64_t version, size_bytes, offset;
    uint32_t length;
    uint32_t answers;
    int status;
    enum tl_op op;
    uint32_t generation;  /* of the blob that came */
    bool operator_, lost; /* a flush or gather; its node has crashed */
};

struct extent {
    uint8_t *bytes; /* NULL: freed */
    uint32_t len;
};

struct host {
    struct world *world;
    struct tl_node *node; /* NULL: not running */
    uint64_t incarnation;
    struct extent *extents; /* addr = number << 40: never given out twice */
    uint32_t extent_count, extent_max;
    uint32_t allocs_fail; /* so many allocations give -ENOMEM */
    uint64_t live_bytes;
    uint32_t invalidations, too_large;
    char invalidated[TL_PATH_MAX]; /* the last path */
    uint32_t reports[HOSTS_MAX];   /* GATHER: how often each rank has reported */
    bool unreachable;              /* connections to and from it cannot be made */
    bool hold_messages;            /* messages to it wait */
    bool wants_profile;            /* it has heard WARM */
};

struct item; /* something in the queue */

struct world {
    uint64_t now_ns;
    struct tl_node_config config; /* for new nodes; rank and incarnation are set */
    struct host hosts[HOSTS_MAX];
    bool link_up[HOSTS_MAX][HOSTS_MAX];
    uint32_t link_gen[HOSTS_MAX][HOSTS_MAX];
    struct item *head, *tail;
    struct file files[FILES_MAX];
    uint32_t file_count;
    struct asked asked[REQUESTS_MAX];
    uint32_t asked_count;
    const char *profile[32]; /* files and directories, there or not */
    uint32_t profile_count;
    bool hold_storage, hold_pulls;
    enum plant plant;
    char violation[512];
    /* Hooks: true loses the message; may change payload bytes. */
    bool (*lose)(struct world *w, uint32_t from, uint32_t to, const struct tl_wire *m, uint8_t *payload);
    /* Status of a pull; may change the bytes that have arrived. NULL: 0. */
    int (*pulled)(struct world *w, uint32_t from, uint32_t to, uint8_t *bytes, uint32_t len);
    uint32_t hook_left;                 /* for hooks: how often still */
    uint32_t sent[TL_WIRE_FLOODED + 1]; /* messages by type, lost ones too */
};

/* Whom rank asks where there is one root and nobody is dead. */
static inline uint32_t world_heap_parent(uint32_t rank, uint32_t arity)
{
    return rank == 0 ? TL_RANK_NONE : (rank - 1) / arity;
}

/* A world of count nodes of which none runs yet. The caller may change w->config before nodes start. */
struct world *world_new(uint32_t count, uint32_t arity);
/* Shows the violation if there is one, checks that everything asked was answered once, and frees. */
void world_end(struct world *w);
/* Frees only: for tests whose violation is wanted. */
void world_free(struct world *w);
void world_violation(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Whatever was asked has been answered, exactly once; else a violation. */
void world_check_answered(struct world *w);
/* No chunk and no directory was read twice; else a violation. */
void world_check_read_once(struct world *w);

void world_start(struct world *w, uint32_t rank);
void world_start_all(struct world *w); /* and waits until all are ready */
void world_crash(struct world *w, uint32_t rank);
void world_cut(struct world *w, uint32_t a, uint32_t b); /* the connection, if there is one */
/* Delivers what is in the queue; no time passes. */
void world_settle(struct world *w);
/* Delivers, and lets time pass from deadline to deadline, for so long. */
void world_run(struct world *w, uint64_t for_ns);
/* As world_run, until everything asked is answered or the time is over. */
void world_run_answered(struct world *w, uint64_t for_ns);
void world_step(struct world *w, uint32_t rank, const struct tl_event *ev);
void world_message(struct world *w, uint32_t from, uint32_t to, const struct tl_wire *m); /* as if `from` had sent it */

/* Between world.c and world_storage.c: memory of a node, NULL if that part is not given out; one chunk of a fetch, or its
 * failure, true if the fetch goes on; an answer. */
uint8_t *world_bytes(struct host *h, uint64_t addr, uint32_t len);
bool world_storage_read(struct world *w, uint32_t rank, uint64_t cookie, const struct tl_fetch *fetch,
                        uint32_t *progress);
void world_take_answer(struct world *w, uint32_t rank, const struct tl_answer *a);

/* Storage. The number of the file. */
uint32_t world_file(struct world *w, const char *path, uint64_t size_bytes);
uint32_t world_directory(struct world *w, const char *path);

/* Asks a node, settles nothing. The number in w->asked. */
uint32_t ask_read(struct world *w, uint32_t rank, uint32_t file, uint64_t offset, uint32_t length);
uint32_t ask_list(struct world *w, uint32_t rank, uint32_t file);
uint32_t ask_flush(struct world *w, uint32_t rank, const char *path);
uint32_t ask_warm(struct world *w, uint32_t rank);
void world_load_profiles(struct world *w); /* what drivers do who have been told to warm: all of w->profile */
uint32_t ask_gather(struct world *w, uint32_t rank);
void cancel(struct world *w, uint32_t asked);

/* Asks, lets up to 60 s pass, and gives the status. */
int read_now(struct world *w, uint32_t rank, uint32_t file, uint64_t offset, uint32_t length);
/* ENTRY or XATTRS */
uint32_t ask_about(struct world *w, uint32_t rank, uint32_t file, enum tl_op op);
int list_now(struct world *w, uint32_t rank, uint32_t file);

struct tl_counters world_counters(struct world *w, uint32_t rank);
uint32_t world_parent(struct world *w, uint32_t rank);
uint32_t world_reads(const struct world *w, uint32_t file); /* of all its chunks, or of the listing */

#endif
