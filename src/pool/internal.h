// SPDX-License-Identifier: Apache-2.0
/* What the files of src/pool share. */
#ifndef TL_POOL_INTERNAL_H
#define TL_POOL_INTERNAL_H

#include <pthread.h>

#include "base/hash.h"
#include "pool/key.h"
#include "pool/pool.h"

/* ---- shared.c: one open store a pool and process ---- */

struct tl_mark { /* a mark that this process has, and how often */
    uint64_t mark;
    unsigned count;
};

struct tl_shared {
    struct tl_shared *next;
    _Atomic unsigned refs;
    pthread_mutex_t mutex; /* of all that is in it, and of all pools and containers on it */
    struct tl_store *store;
    uint64_t device, inode; /* of a directory */
    bool read_only;
    char path[4096]; /* of a directory; else the uri */
    struct tl_mark *marks;
    unsigned mark_count, mark_room;
    unsigned exclusive; /* connections of this process that are */
    unsigned connections;
    struct tl_cont *conts; /* open ones */
    uint32_t writer;       /* see tl_version */
    uint64_t last_seq;
    bool unflushed; /* something was written since the last flush */
    bool unsettled; /* something was written that is not sure to be found by a scan */
    unsigned lost_flushes;
};

/* The store behind a uri, opened if this process has not opened it yet; with its mutex locked. */
int tl_shared_open(struct tl_shared **out, const char *uri, bool create, struct tl_error *err) TL_MUST_CHECK;
bool tl_shared_is_rados(const char *uri);
/* A store that can be asked how it is, and nothing else; the caller closes it. */
int tl_shared_ask(struct tl_store **out, const char *uri, struct tl_error *err) TL_MUST_CHECK;
/* Unlocks it, and closes it if that was the last use. */
void tl_shared_release(struct tl_shared *s);
/* What tl_shared.path of a store that is not open any more named is taken away. */
int tl_shared_destroy(const char *path, struct tl_error *err) TL_MUST_CHECK;
/* A mark as in store.h; a process may have one more than once. 0, -EBUSY, -errno. */
int tl_shared_claim(struct tl_shared *s, uint64_t mark, bool exclusive) TL_MUST_CHECK;
void tl_shared_unclaim(struct tl_shared *s, uint64_t mark);

/* ---- pools ---- */

struct tl_pool {
    struct tl_shared *shared;
    unsigned flags;
    unsigned refs; /* itself while connected, and each container that was opened through it */
    bool connected;
    bool guest;          /* part of the exclusive connection of another process */
    uint64_t generation; /* of the pool when we connected: eviction makes a new one */
    uint32_t seen;       /* changes of the pool's state when the generation was looked at */
    struct tiercel_uuid uuid;
};

/* 0; -EBADF: disconnected, or evicted; -EACCES: `writes`, and connected for reading. */
int tl_pool_alive(struct tl_pool *pool, bool writes) TL_MUST_CHECK;
void tl_pool_unref(struct tl_pool *pool);
extern const struct tl_store_id tl_pool_state; /* the pool's own state */

/* ---- registry.c: which containers a pool has ---- */

struct tl_listed {
    struct tl_store_id id;
    char label[TIERCEL_LABEL_MAX + 1];
    uint64_t created_ns;
};
/* By label or UUID. 0, -ENOENT, -errno. */
int tl_registry_find(struct tl_pool *pool, const char *name, struct tl_listed *out) TL_MUST_CHECK;
/* One entry of the pool's state, as a struct. 0, -EBADMSG. */
typedef int (*tl_entry_parse)(void *out, struct tl_slice key, struct tl_slice value);
/* What `parse` makes of each entry whose key begins with `kind`, `size` bytes each; the array is the caller's to free. */
int tl_registry_entries(struct tl_pool *pool, char kind, size_t size, tl_entry_parse parse, void **out,
                        unsigned *count) TL_MUST_CHECK;
/* All of them; the array is the caller's to free. */
int tl_registry_list(struct tl_pool *pool, struct tl_listed **out, unsigned *count) TL_MUST_CHECK;
/* Another label, or none (""). 0, -EEXIST, -EINVAL. */
int tl_registry_rename(struct tl_pool *pool, const struct tl_listed *l, const char *label, struct tl_error *err);
/* 0: as many as one likes. */
int tl_cont_snapshots_max(struct tl_cont *c, uint32_t *out) TL_MUST_CHECK;
void tl_cont_info_of(const struct tl_listed *l, const struct tl_epochs *e, struct tiercel_cont_info *out);
/* Goes on with what a process that ended has left of destroyed containers. */
int tl_registry_clean(struct tl_shared *s) TL_MUST_CHECK;
/* Takes away what this process has written, perhaps after somebody has destroyed the container. */
int tl_registry_sweep(struct tl_shared *s, const struct tl_store_id *id) TL_MUST_CHECK;
void tl_uuid_text(const uint8_t *bytes, char out[37]);
bool tl_uuid_parse(const char *text, struct tl_store_id *out);
bool tl_is_label(const char *text);
/* Inside a transaction of the pool's state: it is listed from then on. label: NULL for none. 0, -EEXIST, -errno. */
int tl_registry_enter(struct tl_store_tx *tx, const struct tl_store_id *id, const char *label,
                      uint64_t created_ns) TL_MUST_CHECK;
/* Likewise: what it holds is to be taken away, by tl_registry_clean. */
int tl_registry_doom(struct tl_store_tx *tx, const struct tl_store_id *id) TL_MUST_CHECK;

/* ---- copies.c: containers that are being copied into a pool, or were when the copier ended ---- */

struct tl_unfinished {
    struct tl_store_id id, source; /* the source's, in whichever pool that is */
    uint64_t begun_ns;
    uint64_t token;                    /* of who copies it */
    char label[TIERCEL_LABEL_MAX + 1]; /* that it will have */
};
/* The one with this source and label, made if there is none. *begun: there was one. 0; -EEXIST: a container has the label; -EALREADY: an unfinished copy
 * of another source, which is *out, will have it; -errno. */
int tl_unfinished_begin(struct tl_pool *pool, const struct tl_store_id *source, const char *label,
                        struct tl_unfinished *out, bool *begun) TL_MUST_CHECK;
/* With the mark: it is ours, and nobody's who had it before. 0, -ENOENT: given up. */
int tl_unfinished_own(struct tl_pool *pool, struct tl_unfinished *u) TL_MUST_CHECK;
int tl_unfinished_there(struct tl_pool *pool,
                        const struct tl_unfinished *u) TL_MUST_CHECK; /* 0, -ENOENT: not ours any more */
/* It is a container from then on. 0; -ENOENT: not ours any more; -EEXIST: the label; -errno. */
int tl_unfinished_finish(struct tl_pool *pool, const struct tl_unfinished *u, uint64_t created_ns) TL_MUST_CHECK;
/* By UUID or label. 0; -ENOENT; -EBUSY: somebody copies it right now; -errno. */
int tl_unfinished_give_up(struct tl_pool *pool, const char *name) TL_MUST_CHECK;
/* All of them; the array is the caller's to free. */
int tl_unfinished_list(struct tl_pool *pool, struct tl_unfinished **out, unsigned *count) TL_MUST_CHECK;
/* Who copies it has this mark. */
uint64_t tl_unfinished_mark(const struct tl_store_id *id);

/* ---- containers ---- */

#define TL_QUIET 64u /* objects of which is known that nothing was ever punched in them */

struct tl_cont {
    struct tl_cont *next; /* of tl_shared.conts */
    struct tl_pool *pool;
    struct tl_store_id id;
    char name[TIERCEL_LABEL_MAX + 1];
    uint32_t handle; /* 0: none: the pool is on storage that cannot be written */
    uint64_t uuid[2];
    unsigned flags;
    bool attached;         /* the handle of another process: not ours to close */
    bool closed;           /* revoked, or its pool disconnected */
    bool gone;             /* the container was destroyed */
    uint64_t at;           /* the snapshot that TIERCEL_EPOCH_NOW means; 0: GHCE */
    struct tl_state state; /* as it was when `seen` was the number of changes */
    uint32_t seen;
    bool loaded;
    uint64_t pending; /* lowest epoch that was written since the last flush; TL_EPOCH_MAX: none */
    uint64_t lost;    /* lowest epoch of which something was lost, and the state does not know it yet */
    struct tl_names { /* what was written and is not sure to be found by a scan: hashes of things */
        uint64_t *slots;
        size_t room, count;
        bool all; /* more than are remembered */
    } unsettled;
    struct tiercel_oid quiet[TL_QUIET]; /* at epochs up to GHCE */
    bool quiet_set[TL_QUIET];
    uint32_t quiet_seen;
};

/* For reading, and what is readable when it is opened stays so. */
int tl_cont_open_keeping(struct tl_cont **out, struct tl_pool *pool, const char *name,
                         struct tl_error *err) TL_MUST_CHECK;
/* Closes it and frees it; the lock is held. */
int tl_cont_drop(struct tl_cont *c);
/* As if it had been closed, by its pool or by force; the struct stays. */
int tl_cont_revoke(struct tl_cont *c);
/* Closes the handles of a container, of all processes; dead: only those whose processes have ended. How many, -errno. */
int tl_handles_close(struct tl_shared *s, const struct tl_store_id *id, bool dead);
int tl_handle_ended(struct tl_shared *s, const uint64_t *uuid); /* 1: all processes that had it have ended; 0; -errno */
/* Processes that may still write records of a handle (0: of none, for what else there is to be marked) have this mark. */
uint64_t tl_writer_mark(const struct tl_cont *c, uint32_t handle);
/* Sees to it that c->state is what other processes have made of it. 0; -EBADF: closed, evicted; -ENOENT: destroyed; -errno. */
int tl_cont_refresh(struct tl_cont *c) TL_MUST_CHECK;
int tl_cont_apply(struct tl_cont *c, struct tl_epoch_op *op) TL_MUST_CHECK;
/* What is to be read at `epoch`: 0 for now, clamped for TIERCEL_COMMITTED. Behind it comes tl_cont_still_readable. 0, -ESTALE, and those of
 * tl_cont_refresh. */
int tl_cont_read_epoch(struct tl_cont *c, uint64_t epoch, unsigned flags, uint64_t *out) TL_MUST_CHECK;
/* After reading there: 0; -ESTALE: the epoch was aggregated meanwhile, by another process, and some of it may have been missed. */
int tl_cont_still_readable(struct tl_cont *c, uint64_t epoch) TL_MUST_CHECK;
/* What this process has written is found by scans from now on: flushed, and taken over by the store. */
int tl_cont_settle(struct tl_cont *c) TL_MUST_CHECK;
/* Only if the thing with this hash may be among it, and the epoch is one in which it could be. */
int tl_cont_settle_for(struct tl_cont *c, uint64_t epoch, uint64_t thing) TL_MUST_CHECK;
/* Something was written there; dkey NULL: anywhere in the object. */
void tl_cont_wrote(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, const struct tiercel_bytes *dkey);
/* What an akey is, an array of which record size or a single value: is written, and may be about to be changed. An array keeps the size of
 * its records; so what was written of an akey is found before it is written as an array of another one. */
void tl_cont_wrote_kind(struct tl_cont *c, struct tiercel_oid oid, struct tiercel_bytes dkey,
                        const struct tiercel_io *io);
int tl_cont_settle_kind(struct tl_cont *c, struct tiercel_oid oid, struct tiercel_bytes dkey,
                        const struct tiercel_io *io) TL_MUST_CHECK;
uint64_t tl_thing_hash(struct tiercel_oid oid, const struct tiercel_bytes *dkey);
bool tl_version_counts(const struct tl_cont *c, const struct tl_version *v);

/* All that this process has written to the pool. If that fails, none of it can be committed. */
int tl_shared_flush(struct tl_shared *s) TL_MUST_CHECK;

/* For sentences: the place of a record. Returns out. */
const char *tl_where(const struct tl_key_view *v, char *out, size_t size);
/* For sentences: what is not printable is escaped, what is long is cut. */
void tl_name_text(struct tiercel_bytes name, char *out, size_t size);
/* Bytes of all extents together. 0, -EINVAL: one is empty; -EOVERFLOW. */
int tl_extents_bytes(const struct tiercel_io *io, uint64_t record_size, uint64_t *out) TL_MUST_CHECK;

/* ---- class.c: object classes (base/class.h) ---- */

/* 0; -EINVAL with a sentence: the pool does not offer it. container: for that. */
int tl_class_offered(const struct tl_shared *s, const char *container, uint16_t class,
                     struct tl_error *err) TL_MUST_CHECK;
/* Of what is written to an object: the one that its id names, or the container's; 0: the pool's default. 0, -EINVAL as above. */
int tl_class_of_write(const struct tl_cont *c, struct tiercel_oid oid, uint16_t *out,
                      struct tl_error *err) TL_MUST_CHECK;
/* The same for what another pool has accepted already: what this one does not offer becomes its default. */
uint16_t tl_class_of_copy(const struct tl_shared *s, struct tiercel_oid oid, uint16_t container);
/* How many lost places data of a class survives, with the index that it needs; 0: the default class. */
unsigned tl_class_survives(const struct tl_shared *s, uint16_t class);

/* ---- lost.c: what the storage has lost for good ---- */

/* A container has no state: -ENOENT: it was destroyed; -EBADMSG: it is listed, so its state is lost; -errno. */
int tl_lost_missing(struct tl_shared *s, const struct tl_store_id *id) TL_MUST_CHECK;
/* tl_state_load of a container that has been listed, with this difference. */
int tl_lost_load(struct tl_state *state, struct tl_shared *s, const struct tl_store_id *id) TL_MUST_CHECK;
/* Those of state.h, likewise; fn gives -ENOENT for nothing else. */
int tl_lost_look(struct tl_shared *s, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx) TL_MUST_CHECK;
int tl_lost_change(struct tl_shared *s, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx) TL_MUST_CHECK;
/* For sentences, right after a container's state could not be read: what is wrong with it, and what to do. Returns out->text. */
struct tl_lost_text {
    char text[700];
};
const char *tl_lost_why(const struct tl_shared *s, int rc, struct tl_lost_text *out);
/* The sentence of an error in reading the pool's own state. Returns rc. */
int tl_lost_pool(const struct tl_shared *s, int rc, struct tl_error *err);

/* ---- met.c ---- */

/* The first records of an object, if a scan met them by the way. */
#define TL_MET_MAX  64u
#define TL_MET_PAGE 16u /* no store asks for less at a time */
struct tl_met {
    bool known; /* else there may be others before them */
    bool all;   /* there are no others behind them */
    unsigned count;
    struct tl_met_record {
        size_t at; /* key, meta, place: one behind the other */
        uint32_t payload_len;
        uint16_t key_len, meta_len, place_len;
    } list[TL_MET_MAX];
    size_t len;
    uint8_t bytes[24 << 10];
};

/* false: it takes no more. */
bool tl_met_add(struct tl_met *met, const struct tl_found *f);
/* The store's scan inside that object, of what was not met. */
int tl_met_scan(struct tl_cont *c, const struct tl_met *met, struct tl_slice prefix, struct tl_slice from,
                int (*fn)(void *ctx, const struct tl_found *f), void *ctx) TL_MUST_CHECK;

/* ---- find.c: what is seen at an epoch ---- */

/* What was punched or cleared, newest first. */
struct tl_clear {
    struct tl_version version;
    uint64_t first, count; /* of records; UINT64_MAX: all, also a single value */
};
struct tl_clears {
    struct tl_clear *list;
    unsigned count, room;
    struct tl_met met;
};
/* Those that count at `epoch` for an akey. What clears all is the last: what is older does not matter. meet: so many records of the akey
 * are remembered, if they are the object's first ones and nothing was ever punched in it; 1 to TL_MET_MAX. */
int tl_clears_gather(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                     struct tiercel_bytes akey, unsigned meet, struct tl_clears *out) TL_MUST_CHECK;
void tl_clears_free(struct tl_clears *x);

/* A part of an array as it is seen: its bytes are those of `found`, from record `skip` of that payload on. */
struct tl_piece {
    uint64_t first, count;
    const struct tl_found *found;
    uint64_t skip;
    struct tl_version version;
};
/* Shows what is seen of records first..first+count-1, which all lie in one chunk, in no order, each record at most once. fn: 0 to go on. -EINVAL:
 * records of another size, or a single value. */
int tl_chunk_look(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                  struct tiercel_bytes akey, const struct tl_clears *clears, uint32_t record_size, uint64_t first,
                  uint64_t count, int (*fn)(void *ctx, const struct tl_piece *piece), void *ctx) TL_MUST_CHECK;
/* The same of records in any number of chunks, these in ascending order. */
int tl_array_look(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                  struct tiercel_bytes akey, const struct tl_clears *clears, uint32_t record_size, uint64_t first,
                  uint64_t count, int (*fn)(void *ctx, const struct tl_piece *piece), void *ctx) TL_MUST_CHECK;
/* The single value that is seen. 0, -ENOENT, -EINVAL: it is an array. */
struct tl_single {
    struct tl_version version;
    uint64_t size;
    uint32_t payload_len;
    uint8_t place[TL_STORE_PLACE_MAX];
    size_t place_len;
};
int tl_single_find(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                   struct tiercel_bytes akey, const struct tl_clears *clears, struct tl_single *out) TL_MUST_CHECK;
/* The lowest chunk from `chunk` on in which anything is seen (of a single value: 0). *record_size: 0 for a single value. 0, -ENOENT. */
int tl_next_chunk(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                  struct tiercel_bytes akey, const struct tl_clears *clears, uint64_t *chunk,
                  uint32_t *record_size) TL_MUST_CHECK;
/* Behind the last record of an array that is seen; 0: there is none. 0, -EINVAL: a single value. */
int tl_array_end(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                 struct tiercel_bytes akey, const struct tl_clears *clears, uint64_t *end) TL_MUST_CHECK;
/* Whether anything is seen under an akey. 1, 0, -errno. */
int tl_akey_there(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                  struct tiercel_bytes akey) TL_MUST_CHECK;
/* The first name behind `after` (NULL: the very first) of an object's dkeys (dkey NULL) or of a dkey's akeys that has anything under it that is
 * seen. 0, -ENOENT. */
int tl_next_name(struct tl_cont *c, uint64_t epoch, struct tiercel_oid oid, const struct tiercel_bytes *dkey,
                 const struct tl_name *after, struct tl_name *out) TL_MUST_CHECK;

#endif
