// SPDX-License-Identifier: Apache-2.0
/* What the files of the RADOS store share. A pool is a namespace in some RADOS pools: a replicated one (meta), and one of any kind
 * for each class of data that it offers. All names and keys below are in that namespace.
 *
 *   pool                 meta   what the pool is (xattrs), what was made for it (rados_plan.h), and a shared lock of each process that has it open
 *   s.CONT               meta   state of a container: omap, and the xattrs gen, which every change compares and raises, and sum (rados_state.c)
 *   i.CONT               meta   all shards of the index were made (xattr)
 *   i.CONT.SHARD         meta   index: omap, key -> meta, checksums, and the payload or what names it; the xattrs fence (rados_fence.c), and
 *                               lost (rados_remade.c)
 *   d.CONT.WRITER.SEQ    data   one payload, written once, whole
 *   m.MARK               meta   a lock: a mark of processes
 *   l.CONT.HASH          meta   a lock of a container, and its value (xattrs)
 *   u.N                  meta   omap: bytes that records take, added up by flush and erase
 *
 * A record is in the shard that the first 16 bytes of its key choose, the object of src/pool; those of a long array are in groups of neighbours, each
 * in a shard of its own (tl_rados_shard). What is read in order across shards is merged.
 *
 * Keys in omaps are escaped, so that librados' C functions, which end strings with a 0, can begin anywhere: 0 is 1 1, 1 is 1 2, and 1 ends
 * the key. That keeps their order, and "behind the escaped key without its end" means "from this key on".
 *
 * librados is loaded when the first pool is opened; its headers are all that a build needs. */
#ifndef TL_STORE_RADOS_H
#define TL_STORE_RADOS_H

#include <jansson.h>
#include <pthread.h>
#include <rados/librados.h>
#include <stdatomic.h>

#include "base/hash.h"
#include "store/store.h"

#define TL_RADOS_INLINE   8192u /* bytes of a payload that is kept in the index */
#define TL_RADOS_IN_PLACE 512u  /* bytes of those that are shown with the record, so that reading asks for nothing */
#define TL_RADOS_CHECK    (64u << 10) /* bytes of a payload that have one checksum */
#define TL_RADOS_NAME     96u         /* of an object, with its 0 */
#define TL_RADOS_USED     8u          /* counters of bytes; more, so that writers do not queue for one */

/* ---- rados_lib.c ---- */

#define TL_RADOS_CALLS(X)                                                                                              \
    X(create2)                                                                                                         \
    X(shutdown)                                                                                                        \
    X(conf_read_file)                                                                                                  \
    X(conf_get)                                                                                                        \
    X(conf_set)                                                                                                        \
    X(connect)                                                                                                         \
    X(mon_command)                                                                                                     \
    X(pg_command)                                                                                                      \
    X(osd_command)                                                                                                     \
    X(buffer_free)                                                                                                     \
    X(ioctx_create)                                                                                                    \
    X(ioctx_destroy)                                                                                                   \
    X(ioctx_set_namespace)                                                                                             \
    X(set_pool_full_try)                                                                                               \
    X(create_write_op)                                                                                                 \
    X(release_write_op)                                                                                                \
    X(write_op_assert_exists)                                                                                          \
    X(write_op_create)                                                                                                 \
    X(write_op_cmpxattr)                                                                                               \
    X(write_op_setxattr)                                                                                               \
    X(write_op_omap_set2)                                                                                              \
    X(write_op_omap_rm_keys2)                                                                                          \
    X(write_op_exec)                                                                                                   \
    X(write_op_remove)                                                                                                 \
    X(write_op_operate2)                                                                                               \
    X(aio_write_op_operate)                                                                                            \
    X(create_read_op)                                                                                                  \
    X(release_read_op)                                                                                                 \
    X(read_op_cmpxattr)                                                                                                \
    X(read_op_getxattrs)                                                                                               \
    X(read_op_omap_get_vals2)                                                                                          \
    X(read_op_omap_get_vals_by_keys2)                                                                                  \
    X(read_op_operate)                                                                                                 \
    X(aio_read_op_operate)                                                                                             \
    X(omap_get_next2)                                                                                                  \
    X(omap_get_end)                                                                                                    \
    X(getxattr)                                                                                                        \
    X(getxattrs_next)                                                                                                  \
    X(getxattrs_end)                                                                                                   \
    X(setxattr)                                                                                                        \
    X(aio_read)                                                                                                        \
    X(aio_getxattr)                                                                                                    \
    X(aio_cancel)                                                                                                      \
    X(stat)                                                                                                            \
    X(remove)                                                                                                          \
    X(aio_create_completion2)                                                                                          \
    X(aio_wait_for_complete)                                                                                           \
    X(aio_get_return_value)                                                                                            \
    X(aio_release)                                                                                                     \
    X(aio_write_full)                                                                                                  \
    X(aio_remove)                                                                                                      \
    X(aio_notify)                                                                                                      \
    X(notify_ack)                                                                                                      \
    X(aio_watch2)                                                                                                      \
    X(aio_unwatch)                                                                                                     \
    X(watch_flush)                                                                                                     \
    X(lock_exclusive)                                                                                                  \
    X(lock_shared)                                                                                                     \
    X(unlock)                                                                                                          \
    X(list_lockers)                                                                                                    \
    X(nobjects_list_open)                                                                                              \
    X(nobjects_list_next2)                                                                                             \
    X(nobjects_list_close)

#define TL_RADOS_POINTER(name) __typeof__(rados_##name) *name;
struct tl_rados_lib {
    TL_RADOS_CALLS(TL_RADOS_POINTER)
};
/* 0, -ENOTSUP: the sentence says what to install. */
int tl_rados_lib_load(const struct tl_rados_lib **out, struct tl_error *err) TL_MUST_CHECK;

struct tl_rados;

/* ---- rados_uri.c ---- */

struct tl_rados_where {
    char uri[512]; /* for sentences */
    char conf[256], user[64], meta[64], data[512],
        space[128];     /* conf "": librados' own search; data: names, with commas */
    bool own;           /* the uri names no RADOS pool: meta is tiercel.NAME.meta */
    unsigned timeout_s; /* for every operation */
    unsigned lease_s;   /* who does not say for so long that it lives, is dead */
};
int tl_rados_where_parse(struct tl_rados_where *out, const char *uri, struct tl_error *err) TL_MUST_CHECK;

/* ---- rados_key.c: keys of omaps, values of the index, names of objects ---- */

#define TL_RADOS_KEY (2u * TL_STORE_KEY_MAX + 2u) /* an escaped key, its end, and a 0 */

/* With its end (end), or as the beginning of keys. Its length; there is a 0 behind. */
size_t tl_rados_escape(char *out, struct tl_slice key, bool end);
int tl_rados_unescape(uint8_t *out, size_t *len, const char *in, size_t in_len) TL_MUST_CHECK; /* 0, -EBADMSG */

/* Which shard a record is in is a function of its key. Those of an object are in one, but for an array's chunks from TL_RADOS_GROUP on: so many
 * at a time are in one of their own, so that no shard becomes larger than a cluster likes. An object that has such has a mark in the shard of
 * its others, so that those who look for more than one chunk know that they must look everywhere. */
#define TL_RADOS_OBJECT 16u   /* bytes of a key, which say the object (pool/key.h) */
#define TL_RADOS_GROUP  4096u /* chunks */
/* Where the names end, and the chunk begins, of a key of a value, or of its beginning; 0: it is of something else, or shorter. */
size_t tl_rados_names_end(struct tl_slice key);
bool tl_rados_has_chunk(struct tl_slice key);
uint64_t tl_rados_group(struct tl_slice key); /* 0 also if there is none */
struct tl_rados;
uint32_t tl_rados_shard(const struct tl_rados *r, struct tl_slice key);
/* Of the mark of the key's object. No escaped key is like that. */
size_t tl_rados_mark_key(char *out, struct tl_slice key);
bool tl_rados_is_mark(const char *key, size_t len);

/* What an index says of a record. */
struct tl_rados_value {
    struct tl_slice meta;
    uint32_t len; /* of the payload */
    bool inlined;
    struct tl_slice checks; /* 8 bytes for each TL_RADOS_CHECK bytes, at least one */
    const uint8_t *bytes;   /* inlined */
    uint64_t writer, seq;   /* not inlined */
    uint8_t data;           /* not inlined: in which RADOS pool */
};
#define TL_RADOS_VALUE (1u + TL_STORE_META_MAX + 1u + 4u + 16u * 8u + TL_RADOS_INLINE)
size_t tl_rados_value_put(uint8_t *out, const struct tl_record *r, uint64_t writer, uint64_t seq, uint8_t data);
int tl_rados_value_get(struct tl_slice in, struct tl_rados_value *out) TL_MUST_CHECK; /* 0, -EBADMSG */
uint64_t tl_rados_check(const void *bytes, size_t len);
/* What a record takes, before replication: its key and value in the index, and its payload. */
uint64_t tl_rados_record_bytes(const struct tl_found *f);

struct tl_rados_name {
    char text[TL_RADOS_NAME];
};
struct tl_rados_name tl_rados_state_name(const struct tl_store_id *id);
struct tl_rados_name tl_rados_index_name(const struct tl_store_id *id, uint32_t shard);
struct tl_rados_name tl_rados_made_name(const struct tl_store_id *id);
struct tl_rados_name tl_rados_blob_name(const struct tl_store_id *id, uint64_t writer, uint64_t seq);

/* ---- rados_class.c: the RADOS pools of payloads ---- */

#define TL_RADOS_TEXT 1024u /* of what is kept of them */

struct tl_rados_data {
    rados_ioctx_t io;
    char name[64];
};

/* Those that the uri names: opens them, and asks the monitors of which class each is. 0, -EINVAL, -ENODEV, -errno. */
int tl_rados_data_find(struct tl_rados *r, struct tl_error *err) TL_MUST_CHECK;
/* As text for the pool's object, and from it. 0; -EBADMSG; -EINVAL: the uri names others; -ENODEV. */
void tl_rados_data_text(const struct tl_rados *r, char out[TL_RADOS_TEXT]);
int tl_rados_data_open(struct tl_rados *r, const char *text, struct tl_error *err) TL_MUST_CHECK;
void tl_rados_data_close(struct tl_rados *r);
/* Which one takes payloads of a class. -EINVAL: none does. */
int tl_rados_data_of(const struct tl_rados *r, uint16_t class) TL_MUST_CHECK;
const struct tl_store_classes *tl_rados_classes(const struct tl_store *s);

/* ---- rados.c ---- */

struct tl_rados_batch;
struct tl_rados_base;
struct tl_rados_watch;
struct tl_rados_asker;

/* A container that this process has looked at. Stays until the pool is closed. */
struct tl_rados_cont {
    struct tl_rados_cont *next;
    struct tl_rados *r;
    struct tl_store_id id;
    struct tl_rados_name name;   /* of its state */
    _Atomic uint64_t generation; /* the highest that was seen */
    _Atomic uint32_t wakes;
    _Atomic uint32_t news;        /* how often its watch has begun, or was lost */
    struct tl_rados_watch *watch; /* with the store's mutex */
    bool asking;                  /* the same: an answer is on its way */
    char answer[8];
    struct tl_rados_base *base;    /* its state as it was last read; the owner's */
    struct tl_rados_fence *fences; /* of the shards, as far as they are known; the owner's */
};

/* An xattr that changes whenever somebody begins to have the object alone. */
#define TL_RADOS_TURN       "turn"
#define TL_RADOS_TURN_BYTES 48u

/* Something that a process has to say again and again that it still has: a lock of cls_lock with a duration. */
struct tl_rados_lease {
    struct tl_rados_lease *next;
    struct tl_rados_name object;
    char cookie[40];
    bool exclusive;
    bool again;          /* take it anew if it was lost; else it is lost for good */
    bool renewing;       /* a renewal is on its way; with the store's mutex, as: */
    uint64_t renewed_ns; /* when the last renewal began that found it ours */
    _Atomic bool lost;   /* somebody else may have had it */
    bool turn_known;     /* with the store's mutex, as: */
    size_t turn_len;     /* 0: nobody ever had it alone */
    char turn[TL_RADOS_TURN_BYTES];
};

struct tl_rados {
    struct tl_store store;
    const struct tl_rados_lib *lib;
    struct tl_rados_where where;
    bool read_only;
    bool is_new; /* it was made by this */
    rados_t cluster;
    rados_ioctx_t meta;
    struct tl_rados_data data[TL_STORE_CLASSES]; /* as many as there are classes, in the same order */
    struct tl_store_classes classes;
    uint32_t shards;
    uint64_t writer; /* tells this open store from all others */
    uint64_t last_seq;

    pthread_mutex_t mutex; /* of conts, of leases, and for changed */
    pthread_cond_t changed;
    struct tl_rados_cont *conts;
    struct tl_rados_lease *leases;
    struct tl_rados_lease open;
    pthread_t keeper;
    bool keeper_runs, closing;
    _Atomic uint64_t interrupts; /* how often a mark was lost, and taken anew */
    unsigned renewing;           /* leases whose renewals are on their way */
    struct tl_rados_watch *watches;
    unsigned on_way; /* words to watchers, and what else librados will call back for */
    _Atomic uint64_t cookies;
    _Atomic uint32_t let_go; /* how often somebody said that he lets go of a lock */

    struct tl_rados_wait *waits; /* reads that somebody waits for; with the mutex */
    struct tl_rados_away *away;  /* placement groups that are not there; with the mutex */
    pthread_t doctor;
    bool doctor_runs;
    char why[400];               /* what was called off last, or did not answer; with the mutex */
    struct tl_rados_name failed; /* what the last read could not give; the owner's, as: */
    unsigned failed_data;        /* in which RADOS pool of payloads; TL_STORE_CLASSES: in that of the index */
    int failed_rc;
    char damage[400];

    int64_t uncounted;            /* bytes of records that the cluster has not been told of */
    struct tl_rados_batch *batch; /* what is written and not flushed yet; the owner's */
    struct tl_rados_reads *reads; /* on their way; the owner's; NULL: none ever were */
    struct tl_rados_asker *asker; /* how the cluster is: any thread */
};

/* Errors of librados in our words. */
int tl_rados_error(int rc);
/* Operates and releases. 0, -errno. */
int tl_rados_write_op(struct tl_rados *r, rados_write_op_t op, const char *object) TL_MUST_CHECK;
int tl_rados_read_op(struct tl_rados *r, rados_read_op_t op, const char *object) TL_MUST_CHECK;
/* Operates, and releases nothing. */
int tl_rados_read_meta(struct tl_rados *r, rados_read_op_t op, const char *object) TL_MUST_CHECK;
/* Bytes of an xattr; -errno. */
int tl_rados_getxattr(struct tl_rados *r, const char *object, const char *name, char *out, size_t size) TL_MUST_CHECK;
struct tl_rados_cont *tl_rados_cont(struct tl_rados *r, const struct tl_store_id *id); /* NULL: no memory */
/* Each object of a pool's namespace until fn gives something else than 0. */
int tl_rados_each_object(struct tl_rados *r, rados_ioctx_t io, int (*fn)(void *ctx, const char *name),
                         void *ctx) TL_MUST_CHECK;
/* Connects to the cluster that `where` names; r->cluster is NULL if that fails. */
int tl_rados_connect(struct tl_rados *r, struct tl_error *err) TL_MUST_CHECK;
/* Connected, unless with ask_only; no RADOS pool is open yet. */
int tl_rados_begin(struct tl_rados **out, const char *uri, const struct tl_store_config *config,
                   struct tl_error *err) TL_MUST_CHECK;
/* A RADOS pool, seen in our namespace. */
int tl_rados_open_io(struct tl_rados *r, const char *name, rados_ioctx_t *out, struct tl_error *err) TL_MUST_CHECK;
void tl_rados_close(struct tl_store *s);

/* ---- rados_mon.c ---- */

/* Asks the monitors; takes the command (a NULL is -ENOMEM). *answer: the caller's; NULL: nobody wants it. 0, -errno with a sentence. */
int tl_rados_mon(struct tl_rados *r, json_t *command, json_t **answer, struct tl_error *err) TL_MUST_CHECK;

/* ---- rados_health.c ---- */

int tl_rados_asker_new(struct tl_rados_asker **out, const struct tl_rados *r) TL_MUST_CHECK; /* 0, -ENOMEM */
void tl_rados_asker_free(struct tl_rados_asker *a);
int tl_rados_health(struct tl_store *s, const _Atomic int *stop, struct tl_store_health *out);
int tl_rados_targets(struct tl_store *s, int (*fn)(void *ctx, const struct tl_store_target *t), void *ctx);
void tl_rados_rest(struct tl_store *s);
/* ---- rados_pg.c ---- */

/* What the monitors say about where an object of a RADOS pool lies (`osd map`), what a placement group says of itself (`pg query`). The answer is
 * the caller's. 0, -errno. */
int tl_rados_pg_map(struct tl_rados *r, const char *pool, const char *object, json_t **out) TL_MUST_CHECK;
int tl_rados_pg_query(struct tl_rados *r, const char *pg, json_t **out) TL_MUST_CHECK;
/* Whether the placement group in which an object of state and index lies has been there without a gap for so long. */
bool tl_rados_pg_steady(struct tl_rados *r, const char *object, unsigned seconds);

/* ---- rados_lost.c: reads that take long, and why; see there ---- */

struct tl_rados_spot { /* an object */
    rados_ioctx_t io;
    const char *pool, *object;
};
/* Before a read is sent: 0; -ETIMEDOUT: its placement group is known to be away. */
int tl_rados_may_read(struct tl_rados *r, const struct tl_rados_spot *spot) TL_MUST_CHECK;
/* The same, with what a read is sent with. If that is 0, tl_rados_ask_end comes behind it. */
int tl_rados_ask_begin(struct tl_rados *r, const struct tl_rados_spot *spot, rados_completion_t *done) TL_MUST_CHECK;
/* Waits for a read, if sending it gave 0, and releases `done`; what it gave, or -ETIMEDOUT. */
int tl_rados_ask_end(struct tl_rados *r, const struct tl_rados_spot *spot, rados_completion_t done,
                     int sent) TL_MUST_CHECK;
/* All placement groups of a RADOS pool are looked at, so that no read has to wait for one that is away; and whether any is. */
void tl_rados_look_at_pool(struct tl_rados *r, const char *pool);
bool tl_rados_any_away(struct tl_rados *r, const char *pool);
const char *tl_rados_damage(struct tl_store *s);
uint32_t tl_rados_pg_hash(const char *bytes, size_t len);
int tl_rados_doctor_start(struct tl_rados *r) TL_MUST_CHECK;
void tl_rados_doctor_stop(struct tl_rados *r);

/* ---- rados_space.c ---- */

int tl_rados_space(struct tl_store *s, struct tl_store_space *out);
/* Adds to what records take, when there are so many bytes to be added (the owner's); then waits for it, which may fail. */
rados_completion_t tl_rados_count(struct tl_rados *r, int64_t bytes, int64_t from);
void tl_rados_counted(struct tl_rados *r, rados_completion_t completion);
/* That is what records take. Nobody else counts meanwhile. */
int tl_rados_recount(struct tl_rados *r, uint64_t bytes, uint64_t *before) TL_MUST_CHECK;

/* ---- rados_state.c ---- */

int tl_rados_change(struct tl_store *s, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx);
int tl_rados_look(struct tl_store *s, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx);
int tl_rados_look_again(struct tl_store *s, const struct tl_store_id *id, uint32_t *changes, bool must,
                        tl_store_tx_fn fn, void *ctx);
void tl_rados_base_free(struct tl_rados *r, struct tl_rados_base *b);

/* ---- rados_watch.c ---- */

int tl_rados_changes(struct tl_store *s, const struct tl_store_id *id, uint32_t *out);
int tl_rados_wait(struct tl_store *s, const struct tl_store_id *id, uint32_t seen, unsigned timeout_ms);
void tl_rados_wake(struct tl_store *s, const struct tl_store_id *id);
/* It is now of this generation, as this process knows. */
void tl_rados_seen(struct tl_rados_cont *c, uint64_t generation);
/* Who sleeps in this process looks again. */
void tl_rados_announce(struct tl_rados *r);
/* Tells those who watch an object; does not wait for them. */
void tl_rados_tell(struct tl_rados *r, const char *object, const void *bytes, size_t len);
/* Looks after what the cluster says of an object, of a lock: who lets go of it. NULL: no memory. */
struct tl_rados_watch *tl_rados_watch_lock(struct tl_rados *r, const struct tl_rados_name *object);
void tl_rados_watch_end(struct tl_rados_watch *w); /* calls back no more, or to no effect */
/* False: librados still has questions that the cluster has not answered within the timeout. */
bool tl_rados_unwatch_all(struct tl_rados *r);
void tl_rados_watches_free(struct tl_rados *r); /* after librados was shut down */

/* ---- rados_write.c ---- */

int tl_rados_write(struct tl_store *s, const struct tl_store_id *id, const struct tl_record *r);
int tl_rados_flush(struct tl_store *s);
int tl_rados_batch_new(struct tl_rados *r, uint32_t buffer_bytes) TL_MUST_CHECK;
void tl_rados_batch_free(struct tl_rados *r);
/* Who is about to look whether he may write says so: from here on, being taken for dead matters to what he writes. */
void tl_rados_batch_begin(struct tl_rados *r);

/* ---- rados_find.c ---- */

/* Places that tl_found shows: the kind, then what reading needs. */
enum tl_rados_place { TL_RADOS_PLACE_HERE = 1, TL_RADOS_PLACE_RECORD, TL_RADOS_PLACE_BLOB };

int tl_rados_scan(struct tl_store *s, const struct tl_store_id *id, struct tl_slice prefix, struct tl_slice from,
                  int (*fn)(void *ctx, const struct tl_found *f), void *ctx);
int tl_rados_scan_shard(struct tl_rados *r, const struct tl_store_id *id, uint32_t shard,
                        int (*fn)(void *ctx, const struct tl_found *f), void *ctx) TL_MUST_CHECK;

/* ---- rados_read.c ---- */

#define TL_RADOS_BLOB_HEAD 38u /* bytes of a place: what comes before the checksums */
struct tl_rados_reads;
int tl_rados_read(struct tl_store *s, struct tl_slice place, uint32_t offset, void *out, uint32_t len);
int tl_rados_begin_read(struct tl_store *s, struct tl_slice place, uint32_t offset, void *out, uint32_t len);
int tl_rados_end_reads(struct tl_store *s);
/* Remembers what a read or a scan could not give, for tl_rados_damage: an object, and the RADOS pool of payloads that it is in, or
 * TL_STORE_CLASSES. Gives rc back. */
int tl_rados_failed(struct tl_rados *r, const struct tl_rados_name *object, unsigned data, int rc);

/* ---- rados_erase.c ---- */

int tl_rados_erase(struct tl_store *s, const struct tl_store_id *id, const struct tl_slice *keys, size_t count);
int tl_rados_abandon(struct tl_store *s, const struct tl_store_id *id);

/* ---- rados_lease.c ---- */

/* Keeps it until tl_rados_lease_end, or dies. 0, -EBUSY: somebody has it, -errno. */
int tl_rados_lease_begin(struct tl_rados *r, struct tl_rados_lease *l) TL_MUST_CHECK;
/* Has the pool open, until the keeper stops; exclusive: alone, which whoever had it open before will find out. */
int tl_rados_open_begin(struct tl_rados *r, bool exclusive) TL_MUST_CHECK;
void tl_rados_lease_keep(struct tl_rados *r, struct tl_rados_lease *l); /* it was taken in another way */
void tl_rados_lease_drop(struct tl_rados *r, struct tl_rados_lease *l); /* the same, and it is let go of so, too */
void tl_rados_lease_end(struct tl_rados *r, struct tl_rados_lease *l);
int tl_rados_keeper_start(struct tl_rados *r) TL_MUST_CHECK;
void tl_rados_keeper_stop(struct tl_rados *r); /* lets go of all marks */
int tl_rados_claim(struct tl_store *s, uint64_t mark, bool exclusive);
void tl_rados_unclaim(struct tl_store *s, uint64_t mark);
int tl_rados_claimed(struct tl_store *s, uint64_t mark);

/* Arguments of the object class `lock`, as its methods decode them. */
#define TL_RADOS_LOCK "tiercel" /* the name of every lock of ours: there is one an object */
struct tl_rados_args {
    uint8_t bytes[256];
    size_t len;
};
struct tl_rados_args tl_rados_lock_args(const char *cookie, bool exclusive, unsigned lease_s, bool must_renew);
struct tl_rados_args tl_rados_assert_args(const char *cookie, bool exclusive);
struct tl_rados_args tl_rados_unlock_args(const char *cookie);

/* Whether somebody has a lease of this object, as far as can be said: 1, also if it ran out, but perhaps only since nobody could renew it; 0: who had it is dead,
 * or has let go of it; -errno, -ENOENT if there is no such object. */
int tl_rados_lease_taken(struct tl_rados *r, const char *object) TL_MUST_CHECK;
/* Since *interrupts was that, all marks have been ours without interruption, and are now. 0; -ESTALE; -errno: it cannot be said. */
int tl_rados_lease_unbroken(struct tl_rados *r, uint64_t interrupts) TL_MUST_CHECK;

/* ---- rados_fence.c; the owner's thread ---- */

/* So that it is known; *asked is set if it was not. */
int tl_rados_fence_ask(struct tl_rados_cont *c, uint32_t shard, bool *asked) TL_MUST_CHECK;
/* The condition under which op may add to the shard. */
void tl_rados_fence_guard(struct tl_rados_cont *c, uint32_t shard, rados_write_op_t op);
bool tl_rados_fence_refused(int rc); /* that is what op has failed by */
void tl_rados_fence_forget(struct tl_rados_cont *c);
int tl_rados_fence(struct tl_store *s, const struct tl_store_id *id);
/* A value that no shard has had becomes the fence of op's. */
void tl_rados_fence_raise(struct tl_rados *r, rados_write_op_t op);
/* Of a shard that was not there when it was asked for: 1: it was lost; 0: nothing was written to it by then; -errno. Any thread. */
int tl_rados_index_lost(struct tl_rados *r, const struct tl_rados_name *shard) TL_MUST_CHECK;

/* ---- rados_remade.c ---- */

/* So that op fails with -ECANCELED if its shard was lost, made anew, and nobody has accepted that. */
void tl_rados_remade_guard(struct tl_rados *r, rados_read_op_t op);
/* Makes a shard anew that is not there. when: "epoch 12". 0, -EEXIST, -errno. */
int tl_rados_remake(struct tl_rados *r, const struct tl_store_id *id, uint32_t shard, const char *when) TL_MUST_CHECK;
int tl_rados_accept(struct tl_rados *r, const struct tl_store_id *id, uint32_t shard) TL_MUST_CHECK;
void tl_rados_remade_why(struct tl_rados *r, const char *shard, char *out, size_t size); /* for sentences, as: */
void tl_rados_shard_objects(const struct tl_rados *r, uint32_t shard, char *out, size_t size);
bool tl_rados_unknown(struct tl_store *s);

/* ---- rados_locks.c ---- */

int tl_rados_lock(struct tl_store *s, const struct tl_store_id *id, struct tl_slice name, bool exclusive,
                  int timeout_ms, const _Atomic int *stop, struct tl_store_lock **out,
                  struct tl_store_lock_value *value);
int tl_rados_unlock(struct tl_store *s, struct tl_store_lock *lock, const struct tl_store_lock_value *value);

/* ---- rados_check.c ---- */

int tl_rados_check_all(struct tl_store *s, bool repair, void (*tell)(void *ctx, const char *finding), void *ctx);

#endif
