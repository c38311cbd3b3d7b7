// SPDX-License-Identifier: Apache-2.0
/* libtiercel: pools, containers, epochs.
 *
 * A pool is storage, a directory for example. It holds containers; a container holds objects. What is written belongs to an epoch, and counts
 * for others once that epoch is committed: as a whole or not at all. The model and its words are those of DAOS; docs/epochs.md tells it.
 *
 *   tiercel_pool_connect(&pool, "/scratch/me/pool", TIERCEL_RW, &err);
 *   tiercel_cont_open(&cont, pool, "checkpoints", TIERCEL_RW, &err);
 *   uint64_t epoch = 0;
 *   tiercel_epoch_hold(cont, &epoch, NULL, NULL);
 *   tiercel_array_write(cont, epoch, oid, 0, bytes, len, NULL);
 *   tiercel_epoch_flush(cont, epoch, NULL, NULL);      every process that has written
 *   tiercel_epoch_commit(cont, epoch, NULL, NULL);     one of them, when all have flushed
 *
 * A process that ends without that, however it ends, has written nothing.
 *
 * Calls with a struct tiercel_event block if it is NULL (event.h). Those without it may wait for the device, but for no other process. Every
 * error can be asked for its sentence: err, or tiercel_why.
 *
 * Threads: a pool, and all that was opened through it, may be used by any number of threads. A handle must not be closed while it is used. After
 * fork the child must not use what the parent has opened: it opens anew, or the two share through tiercel_cont_local2global. */
#ifndef TIERCEL_POOL_H
#define TIERCEL_POOL_H

#include <stdint.h>

#include "tiercel/event.h"
#include "tiercel/tiercel.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TIERCEL_EPOCH_MAX UINT64_MAX   /* hold: nothing; lhe: nothing is held; glre: nobody refers to anything */
#define TIERCEL_EPOCH_NOW 0u           /* of reading calls: GHCE, or the snapshot that was opened */
#define TIERCEL_KEY_MAX   200u         /* bytes of a dkey or an akey; bytes of value 0 count twice */
#define TIERCEL_LABEL_MAX 127u         /* letters, digits and ._:- ; not a UUID */
#define TIERCEL_ATTR_MAX  (64u << 10)  /* bytes of an attribute's value */
#define TIERCEL_VALUE_MAX (1ull << 40) /* bytes of a single value */

struct tiercel_pool;
struct tiercel_cont;

struct tiercel_uuid {
    uint8_t bytes[16];
};

struct
    tiercel_oid { /* of an object: the program's to choose, or tiercel_oid_allocate's; but for its class: the upper 16 bits of hi */
    uint64_t hi, lo;
};

struct tiercel_bytes {
    const void *at;
    size_t len;
};

/* ---- object classes ----
 *
 * How an object's payloads are protected, as in DAOS: by copies, or by an erasure code. A class is part of an object's id; 0 there: the container's
 * property "class", and if that is none, the pool's default. Only what is written is concerned: nothing moves when a property changes.
 * Payloads up to 8 KiB are kept with the keys, whatever the class is. A directory has the class S. */

#define TIERCEL_CLASS_DEFAULT  0u
#define TIERCEL_CLASS_RP(n)    (0x0100u | (n))            /* RP_n: n copies */
#define TIERCEL_CLASS_S        TIERCEL_CLASS_RP(1u)       /* S: one */
#define TIERCEL_CLASS_EC(k, p) (0x8000u | (k) << 6 | (p)) /* EC_kPp: k pieces, and p more of parity */
#define TIERCEL_CLASS_NAME     16u                        /* bytes of a class's name, with its 0 */

static inline struct tiercel_oid tiercel_oid_of_class(struct tiercel_oid oid, unsigned object_class)
{
    oid.hi = (oid.hi & (UINT64_MAX >> 16)) | (uint64_t)(object_class & 0xffffu) << 48;
    return oid;
}
static inline unsigned tiercel_oid_class(struct tiercel_oid oid)
{
    return (unsigned)(oid.hi >> 48);
}

/* Names: S, RP_2, RP_3, EC_2P1, EC_4P2, ...; "default" is 0. 0; -EINVAL: there is no such class; out then shows its number. */
TIERCEL_API int tiercel_class_parse(const char *name, unsigned *out) TIERCEL_MUST_CHECK;
TIERCEL_API int tiercel_class_name(unsigned object_class, char out[TIERCEL_CLASS_NAME]);

/* ---- pools ---- */

#define TIERCEL_RO     1u
#define TIERCEL_RW     2u
#define TIERCEL_EX     4u  /* of a pool: nobody else is connected. It may write */
#define TIERCEL_NOSLIP 8u  /* of a container: what it refers to stays where it is when it commits */
#define TIERCEL_FORCE  16u /* of destroy: whoever has it open is evicted */

/* How the place is in which a pool lives, from good to bad. */
enum tiercel_pool_state {
    TIERCEL_POOL_UNKNOWN,    /* nobody who would know has answered */
    TIERCEL_POOL_HEALTHY,    /* all data has as many copies as it should */
    TIERCEL_POOL_REBUILDING, /* data is being copied to where it should be. All can be read and written */
    TIERCEL_POOL_DEGRADED, /* some has fewer copies than it should, and nobody makes more now. All can be read and written */
    TIERCEL_POOL_UNAVAILABLE /* some cannot be read or written now: calls wait, up to the pool's timeout */
};

/* What is known; the rest is 0. */
#define TIERCEL_KNOWS_TARGETS 1u /* map_version, targets..., and the redundancy */
#define TIERCEL_KNOWS_REBUILD 2u /* rebuild_done, rebuild_total, missing */
#define TIERCEL_KNOWS_CONTENT 4u /* of tiercel_pool_info: containers, used_bytes */
#define TIERCEL_KNOWS_SPACE   8u /* of tiercel_pool_info: total_bytes, free_bytes */

struct tiercel_pool_health {
    uint64_t map_version;      /* of the map of targets; 1 in a directory */
    uint32_t state;            /* enum tiercel_pool_state */
    uint32_t known;            /* TIERCEL_KNOWS_... */
    uint32_t targets;          /* where data lies: the OSDs that the pool may use; 1 for a directory */
    uint32_t targets_up;       /* that run */
    uint32_t targets_in;       /* that are used */
    uint32_t targets_disabled; /* not up, or not in */
    uint64_t rebuild_done;     /* copies of objects that are where they should be, */
    uint64_t rebuild_total;    /* of so many; in all of the RADOS pools that it shares with others */
    uint64_t missing;          /* of the difference: those that there are none of; the rest lies elsewhere */
    uint32_t silent;           /* 1 + the number of a target that is up, and does not answer; 0: none */
    uint32_t asked;            /* 1: this is an answer, also if it says that nothing is known */
};

struct tiercel_pool_info {
    char uri[TIERCEL_PATH_SIZE];
    struct tiercel_uuid uuid;
    uint64_t total_bytes,
        free_bytes; /* for what is written, without copies; total_bytes 0: not known (a Ceph cluster without a manager, no quota) */
    uint64_t used_bytes;
    uint32_t containers;
    uint32_t redundancy; /* how many lost targets it survives; 0 for a directory */
    struct tiercel_pool_health health;
};

struct tiercel_pool_target {
    uint32_t number;
    uint32_t up, in;
    uint32_t known; /* 1: total_bytes and used_bytes are */
    char host[64];  /* "": not known */
    uint64_t total_bytes, used_bytes;
    uint64_t reserved[2];
};

/* Where a pool lives: a directory, as a path or file:///path; or a Ceph cluster, rados:///NAME?conf=/etc/ceph/ceph.conf and further options, which
 * tiercel-pool(1) lists. 0; -EEXIST; -ENOENT, -EACCES, ... of the file system, or the cluster. */
TIERCEL_API int tiercel_pool_create(const char *uri, struct tiercel_error *err) TIERCEL_MUST_CHECK;
/* In a Ceph cluster: what a new pool gets. With any of these it has RADOS pools of its own, tiercel.NAME.meta and tiercel.NAME.data (with several classes
 * tiercel.NAME.RP_3 and so on), which go when it is destroyed. All 0: as tiercel_pool_create. */
struct tiercel_pool_options {
    uint64_t size_bytes; /* of what is written, without copies; several classes have equal parts of it. 0: no limit */
    const char *
        nodes; /* hosts, with commas, on which all of it lies: names of the cluster's CRUSH map. NULL: the cluster chooses */
    const char *classes;  /* object classes that it offers, with commas, the default first: "RP_3,EC_2P1". NULL: RP_3 */
    uint64_t reserved[8]; /* 0 */
};
/* Also: -EINVAL: a host or class that is not there, or too few hosts for a class; -EOPNOTSUPP: a directory has none of this; -EACCES: this user may not
 * make RADOS pools. When it fails, nothing is left. */
TIERCEL_API int tiercel_pool_create_with(const char *uri, const struct tiercel_pool_options *options,
                                         struct tiercel_error *err) TIERCEL_MUST_CHECK;
/* flags: TIERCEL_RO, _RW or _EX. 0; -ENOENT: no pool; -EBUSY: somebody has it exclusively, or is there and EX was asked for; -EPROTO: it was made by a
 * newer release; -EROFS; -EACCES; -EINVAL. */
TIERCEL_API int tiercel_pool_connect(struct tiercel_pool **out, const char *uri, unsigned flags,
                                     struct tiercel_error *err) TIERCEL_MUST_CHECK;
/* Closes all containers that were opened through it (their struct stays, to be closed; calls give -EBADF). NULL is fine. */
TIERCEL_API int tiercel_pool_disconnect(struct tiercel_pool *pool);
/* Answers within some seconds, whatever of the storage does not: out->health.known says what is left out. */
TIERCEL_API int tiercel_pool_query(struct tiercel_pool *pool, struct tiercel_pool_info *out) TIERCEL_MUST_CHECK;
/* The object classes that it offers, the default first. Fills classes[0..min(*count, all)-1]; *count: how many there are in all. */
TIERCEL_API int tiercel_pool_classes(struct tiercel_pool *pool, unsigned *classes, unsigned *count) TIERCEL_MUST_CHECK;
/* fn for each target, ascending, until it returns something else than 0, which is returned. -errno: nobody answers. */
TIERCEL_API int tiercel_pool_targets(struct tiercel_pool *pool,
                                     int (*fn)(void *ctx, const struct tiercel_pool_target *target),
                                     void *ctx) TIERCEL_MUST_CHECK;
/* The same of a pool in a cluster, without connecting to it, which takes longer while something hangs: what the cluster says of the place that the
 * uri names; content and space are not known. fn: NULL, or for each target. -EOPNOTSUPP: a directory. */
TIERCEL_API int tiercel_pool_look(const char *uri, struct tiercel_pool_info *out,
                                  int (*fn)(void *ctx, const struct tiercel_pool_target *target), void *ctx,
                                  struct tiercel_error *err) TIERCEL_MUST_CHECK;
/* Until the pool's state or its map_version is another one than in *inout, which then says how it is; all 0: now. So programs learn when a pool becomes
 * degraded, and when that ends. While somebody waits, the library looks about once a second. -ECANCELED: disconnected meanwhile, or
 * aborted, which may take some seconds. */
TIERCEL_API int tiercel_pool_wait(struct tiercel_pool *pool, struct tiercel_pool_health *inout,
                                  struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* "healthy", "degraded", ... */
TIERCEL_API const char *tiercel_pool_state_name(uint32_t state);
/* Ends all connections, of all processes, as if they had disconnected: what they had not committed is discarded. */
TIERCEL_API int tiercel_pool_evict(const char *uri, struct tiercel_error *err) TIERCEL_MUST_CHECK;
/* -EBUSY: somebody is connected; flags: TIERCEL_FORCE. */
TIERCEL_API int tiercel_pool_destroy(const char *uri, unsigned flags, struct tiercel_error *err) TIERCEL_MUST_CHECK;

/* Checks everything: every record's payload, every reference, every file. tell is called with a sentence for each finding. repair: 0; 1: gives back
 * space that nothing refers to, and makes anew what is lost of an index, so that it can be written again: reading there stays -EBADMSG; or
 * TIERCEL_ACCEPT_LOSS: also accepts that loss, so that what was there reads as if it had never been written. The number of findings that are damage; -errno. tell must not call the library: -EDEADLK. */
#define TIERCEL_ACCEPT_LOSS 2
TIERCEL_API int tiercel_pool_check(struct tiercel_pool *pool, int repair, void (*tell)(void *ctx, const char *finding),
                                   void *ctx) TIERCEL_MUST_CHECK;

/* ---- containers ---- */

struct tiercel_cont_info {
    struct tiercel_uuid uuid;
    char label[TIERCEL_LABEL_MAX + 1];
    uint64_t created_ns; /* since 1970 */
    uint64_t ghce, glre, ghpce;
    uint64_t readable_from; /* every epoch from here on is readable, and the snapshots */
    uint32_t handles, snapshots;
    uint64_t reserved[8];
};

/* label: NULL for none. uuid: NULL, or where the new one is shown. 0; -EEXIST: the label; -EINVAL: not a label; -EACCES: connected for
 * reading. */
TIERCEL_API int tiercel_cont_create(struct tiercel_pool *pool, const char *label, struct tiercel_uuid *uuid,
                                    struct tiercel_error *err) TIERCEL_MUST_CHECK;
/* name: a label or a UUID. -EBUSY: somebody has it open; flags: TIERCEL_FORCE. -ENOENT, -EACCES. */
TIERCEL_API int tiercel_cont_destroy(struct tiercel_pool *pool, const char *name, unsigned flags,
                                     struct tiercel_error *err) TIERCEL_MUST_CHECK;
/* All of them: fn for each, until it returns something else than 0, which is returned. -EBADMSG, -ETIMEDOUT: what is known of one is lost, or cannot be
 * read now; all the others were shown. */
TIERCEL_API int tiercel_cont_list(struct tiercel_pool *pool, int (*fn)(void *ctx, const struct tiercel_cont_info *info),
                                  void *ctx) TIERCEL_MUST_CHECK;

/* flags: TIERCEL_RO, or TIERCEL_RW, with TIERCEL_NOSLIP or without. 0, -ENOENT, -EACCES: the pool was connected for reading, -EINVAL. */
TIERCEL_API int tiercel_cont_open(struct tiercel_cont **out, struct tiercel_pool *pool, const char *name,
                                  unsigned flags, struct tiercel_error *err) TIERCEL_MUST_CHECK;
/* For reading, at a snapshot: that is what TIERCEL_EPOCH_NOW means. -ENOENT: no such snapshot. */
TIERCEL_API int tiercel_cont_open_snapshot(struct tiercel_cont **out, struct tiercel_pool *pool, const char *name,
                                           uint64_t epoch, struct tiercel_error *err) TIERCEL_MUST_CHECK;
/* What was not committed is discarded, holds and references go; waiting calls end with -ECANCELED. A handle that came from global2local is let go,
 * and stays open for the others. The memory is freed whatever is returned. NULL is fine. */
TIERCEL_API int tiercel_cont_close(struct tiercel_cont *cont);
TIERCEL_API int tiercel_cont_query(struct tiercel_cont *cont, struct tiercel_cont_info *out,
                                   struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* Closes all handles of all processes: -EBADF for them from now on. How many, or -errno. */
TIERCEL_API int tiercel_cont_evict(struct tiercel_pool *pool, const char *name,
                                   struct tiercel_error *err) TIERCEL_MUST_CHECK;

/* An open handle, as others may see it. */
struct tiercel_handle_info {
    struct tiercel_uuid uuid;
    unsigned flags; /* TIERCEL_RO or _RW, TIERCEL_NOSLIP */
    int ended;      /* 1: its processes have all ended; whoever opens the container for writing, or waits, closes it */
    uint64_t hce, lhe, lre; /* as in struct tiercel_epochs */
    uint64_t reserved[4];
};
/* All handles of a container: fn for each, until it returns something else than 0, which is returned. Opens nothing. name: a label or a
 * UUID. -ENOENT: no such container. */
TIERCEL_API int tiercel_cont_list_handles(struct tiercel_pool *pool, const char *name,
                                          int (*fn)(void *ctx, const struct tiercel_handle_info *info),
                                          void *ctx) TIERCEL_MUST_CHECK;

/* Properties: "label" (may be changed; "": none), "class" (of objects whose ids name none; may be changed, for later writes; "default": the pool's),
 * "other-classes" (what becomes of objects whose class the pool does not offer: "refused", or "default": written as the pool's default),
 * "snapshots-max" (0: no limit; may be changed), "redundancy" (how many lost targets it survives: follows from the class; 0 in a
 * directory), "checksum", "created" (ns since 1970). name: a label or a UUID of a container. -EINVAL: no such property, not its value, not to be changed; -EEXIST: the label; -ENOBUFS; -ENOENT; -EACCES. */
TIERCEL_API int tiercel_cont_get_prop(struct tiercel_pool *pool, const char *name, const char *prop, char *out,
                                      size_t room, struct tiercel_error *err) TIERCEL_MUST_CHECK;
TIERCEL_API int tiercel_cont_set_prop(struct tiercel_pool *pool, const char *name, const char *prop, const char *value,
                                      struct tiercel_error *err) TIERCEL_MUST_CHECK;

/* Attributes: the user's, outside epochs. len 0 and value NULL: takes it away. 0, -ENOENT, -ENOBUFS (*len is what it needs), -EINVAL, -EACCES. */
TIERCEL_API int tiercel_cont_set_attr(struct tiercel_cont *cont, const char *name, const void *value,
                                      size_t len) TIERCEL_MUST_CHECK;
TIERCEL_API int tiercel_cont_get_attr(struct tiercel_cont *cont, const char *name, void *value,
                                      size_t *len) TIERCEL_MUST_CHECK;
TIERCEL_API int tiercel_cont_list_attrs(struct tiercel_cont *cont, int (*fn)(void *ctx, const char *name, size_t len),
                                        void *ctx) TIERCEL_MUST_CHECK;

/* A handle as bytes that another process makes the same handle of: the ranks of a job write as one. It must reach the pool by the same URI: a directory on the same
 * machine, or RADOS from any host. buf NULL: *len is the size that is needed. 0, -ENOBUFS (and *len), -EBADF, -EINVAL (not such bytes). Purely local. */
TIERCEL_API int tiercel_pool_local2global(struct tiercel_pool *pool, void *buf, size_t *len) TIERCEL_MUST_CHECK;
TIERCEL_API int tiercel_pool_global2local(struct tiercel_pool **out, const void *buf, size_t len,
                                          struct tiercel_error *err) TIERCEL_MUST_CHECK;
TIERCEL_API int tiercel_cont_local2global(struct tiercel_cont *cont, void *buf, size_t *len) TIERCEL_MUST_CHECK;
TIERCEL_API int tiercel_cont_global2local(struct tiercel_cont **out, struct tiercel_pool *pool, const void *buf,
                                          size_t len, struct tiercel_error *err) TIERCEL_MUST_CHECK;

/* ---- epochs ---- */

struct tiercel_epochs {
    uint64_t hce;   /* highest epoch that this handle has committed */
    uint64_t lre;   /* lowest epoch that it refers to: what it may read stays from here on */
    uint64_t lhe;   /* lowest epoch that it holds: where it may write */
    uint64_t ghce;  /* highest epoch that is final for all */
    uint64_t glre;  /* lowest lre of all handles */
    uint64_t ghpce; /* highest epoch that anybody has committed */
};

/* Each shows the state after it, if `out` is not NULL. All give -EBADF when the handle was closed, evicted or its pool disconnected. */
TIERCEL_API int tiercel_epoch_query(struct tiercel_cont *cont, struct tiercel_epochs *out,
                                    struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* *epoch: what is asked for, and then what is held. 0: the first that nobody has committed; TIERCEL_EPOCH_MAX: lets go. A hold that rises discards
 * what was written below it and not committed. -EACCES (RO), -EOVERFLOW. */
TIERCEL_API int tiercel_epoch_hold(struct tiercel_cont *cont, uint64_t *epoch, struct tiercel_epochs *out,
                                   struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* All that this process has written at or below the epoch is durable. -EROFS: below what is held; -EIO, -ENOSPC: some of it is lost, and these epochs
 * cannot be committed until they are discarded and written anew. */
TIERCEL_API int tiercel_epoch_flush(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_epochs *out,
                                    struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* All that was flushed through this handle, by whichever process, at or below the epoch is final. What this process has not flushed is flushed
 * first. Below hce: nothing, and no error. -EROFS: not held; -EIO: something was lost; -EACCES, -EOVERFLOW. */
TIERCEL_API int tiercel_epoch_commit(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_epochs *out,
                                     struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* The same, once all held epochs below have been committed: for checkpoints whose barriers end in any order. With an event only; -EINVAL. */
TIERCEL_API int tiercel_epoch_commit_in_order(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_epochs *out,
                                              struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* What was written through this handle in first..last never was. The epochs stay held. -EROFS, -EACCES, -EOVERFLOW. */
TIERCEL_API int tiercel_epoch_discard(struct tiercel_cont *cont, uint64_t first, uint64_t last,
                                      struct tiercel_epochs *out, struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* This handle reads nothing below any more. -EOVERFLOW. */
TIERCEL_API int tiercel_epoch_slip(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_epochs *out,
                                   struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* Until ghce >= epoch, whoever commits. -ECANCELED: closed meanwhile, or aborted; -ENOENT: the container was destroyed;
 * -EOVERFLOW. */
TIERCEL_API int tiercel_epoch_wait(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_epochs *out,
                                   struct tiercel_event *ev) TIERCEL_MUST_CHECK;

/* A snapshot keeps an epoch readable. create: -ENOENT: not between what is readable and ghce; -EDQUOT: snapshots-max. */
TIERCEL_API int tiercel_snap_create(struct tiercel_cont *cont, uint64_t epoch,
                                    struct tiercel_event *ev) TIERCEL_MUST_CHECK;
TIERCEL_API int tiercel_snap_destroy(struct tiercel_cont *cont, uint64_t epoch,
                                     struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* Fills epochs[0..min(*count, all)-1], ascending; *count: how many there are in all. */
TIERCEL_API int tiercel_snap_list(struct tiercel_cont *cont, uint64_t *epochs, unsigned *count,
                                  struct tiercel_event *ev) TIERCEL_MUST_CHECK;

struct tiercel_aggregated {
    uint64_t below;   /* epochs below it are readable only where there is a snapshot */
    uint64_t records; /* that were erased */
    uint64_t bytes;   /* of their payloads */
};
/* Erases what nobody can read any more: below the lowest reference, between snapshots, or discarded. Readers and writers go on meanwhile. It may be
 * interrupted at any time and begun anew. -EBUSY: another process does it now. out: NULL is fine. */
TIERCEL_API int tiercel_cont_aggregate(struct tiercel_cont *cont, struct tiercel_aggregated *out,
                                       struct tiercel_event *ev) TIERCEL_MUST_CHECK;

/* ---- objects ----
 *
 * An object has values under two keys: dkey, then akey. A value is single (bytes, replaced as a whole) or an array of records of one size, of which any
 * may be written. Reading at an epoch shows, of each value and each record, the newest that was written at or below it; what was never
 * written or was punched is not there: size 0, records of zeros.
 *
 * Epochs above ghce may be read; what they show may still change. A read shows what this process has written, and what others have
 * written once they have flushed it and anything was committed since.
 *
 * Two handles that write the same thing in the same epoch is a mistake of the program (use tiercel_lock): then all readers see the same one of the two,
 * and tiercel_pool_check tells of it. Within a handle the later write wins. */

#define TIERCEL_IF_MISSING 1u /* of writing: -EEXIST if there is something under this key */
#define TIERCEL_IF_THERE   2u /* of writing and punching: -ENOENT if there is nothing; of reading, too */
#define TIERCEL_COMMITTED  4u /* of reading: at ghce if the epoch is above it */

struct tiercel_extent { /* records of an array */
    uint64_t first, count;
};

/* One akey of an update or a fetch. */
struct tiercel_io {
    struct tiercel_bytes akey;
    const struct tiercel_extent *extents; /* NULL: a single value */
    unsigned extent_count;
    uint64_t
        record_size; /* update: of a record, or of the single value. fetch of an array: what the caller expects, 0 for any; then what it is, 0: not there */
    void *buffer;    /* update: only read. fetch: NULL: only the size is asked for */
    uint64_t buffer_len; /* of all extents, one after the other. fetch of a single value: room, and then its size */
};

/* Writes at epoch, of which this handle holds all from lhe on. -EROFS: below lhe; -EACCES; -ENOSPC; -EINVAL: extents that overlap, sizes that do not fit together;
 * or an object class that the pool does not offer;
 * -EOVERFLOW; -ENAMETOOLONG: a key; -EFBIG; -EEXIST, -ENOENT: conditions, and then none of the ios was carried out. */
TIERCEL_API int tiercel_update(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid,
                               struct tiercel_bytes dkey, unsigned flags, const struct tiercel_io *ios, unsigned count,
                               struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* -ESTALE: the epoch was aggregated and is no snapshot; -ENOBUFS: a single value does not fit (buffer_len is its size); -EINVAL: another record size;
 * -EBADMSG: damaged, and tiercel_why says what; -ENOENT: with TIERCEL_IF_THERE. */
TIERCEL_API int tiercel_fetch(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid,
                              struct tiercel_bytes dkey, unsigned flags, struct tiercel_io *ios, unsigned count,
                              struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* Takes away, from this epoch on: the object (dkey NULL), a dkey (akeys NULL), or akeys. */
TIERCEL_API int tiercel_punch(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid,
                              const struct tiercel_bytes *dkey, const struct tiercel_bytes *akeys, unsigned count,
                              unsigned flags, struct tiercel_event *ev) TIERCEL_MUST_CHECK;

/* Where a listing goes on. All 0: at the beginning. */
struct tiercel_anchor {
    uint32_t end; /* 1: that was all */
    uint32_t len;
    uint8_t at[480];
};

/* Each fills up to *count entries, in ascending order of their bytes, and says how many; keys lie in buf. -ENOBUFS: not even one fits. */
TIERCEL_API int tiercel_list_objects(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_anchor *anchor,
                                     struct tiercel_oid *oids, unsigned *count,
                                     struct tiercel_event *ev) TIERCEL_MUST_CHECK;
TIERCEL_API int tiercel_list_dkeys(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid,
                                   struct tiercel_anchor *anchor, void *buf, size_t room, struct tiercel_bytes *keys,
                                   unsigned *count, struct tiercel_event *ev) TIERCEL_MUST_CHECK;
TIERCEL_API int tiercel_list_akeys(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid,
                                   struct tiercel_bytes dkey, struct tiercel_anchor *anchor, void *buf, size_t room,
                                   struct tiercel_bytes *keys, unsigned *count,
                                   struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* Which records of an array there are. record_size: 0 if there are none. -EINVAL: a single value. */
TIERCEL_API int tiercel_list_extents(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid,
                                     struct tiercel_bytes dkey, struct tiercel_bytes akey,
                                     struct tiercel_anchor *anchor, struct tiercel_extent *extents, unsigned *count,
                                     uint64_t *record_size, struct tiercel_event *ev) TIERCEL_MUST_CHECK;

/* count numbers that no other call in this container gets: oids {0, *first} and so on. Outside epochs. */
TIERCEL_API int tiercel_oid_allocate(struct tiercel_cont *cont, uint64_t count, uint64_t *first) TIERCEL_MUST_CHECK;

/* What is different between two epochs: fn for each value, in order, until it returns something else than 0, which is returned. fn must not call
 * the library (-EDEADLK): the functions of the other lists may. */
struct tiercel_change {
    struct tiercel_oid oid;
    struct tiercel_bytes dkey, akey;
    int array; /* 1: extent is what was written or punched of it */
    struct tiercel_extent extent;
    int before, after; /* 1: there was, is something */
};
TIERCEL_API int tiercel_cont_diff(struct tiercel_cont *cont, uint64_t from, uint64_t to,
                                  int (*fn)(void *ctx, const struct tiercel_change *change),
                                  void *ctx) TIERCEL_MUST_CHECK;

/* ---- copying ----
 *
 * A container goes into another pool, of whichever kind, or into the same one under another label: all that can be read of it, at its present ghce, at
 * every epoch below that is readable, and at its snapshots; attributes and properties too. What others commit meanwhile is not part of it. Until somebody
 * aggregates the copy, it shows these epochs, and answers for all others as the source does.
 *
 * The copy is not there until it is complete. A call that ended before that, however it did, left what it had copied; the next one with the same source and label
 * goes on from there. An object whose class the pool does not offer gets the pool's default, also when it is written later. tiercel_cont_destroy with the label gives it up. */

#define TIERCEL_COPY_UNVERIFIED 1u /* does not read the copy back, to compare it with the source */

#define TIERCEL_COPY_COUNTS   1u /* stages: looks how much it is */
#define TIERCEL_COPY_COPIES   2u
#define TIERCEL_COPY_VERIFIES 3u
#define TIERCEL_COPY_DONE     4u

struct tiercel_copied {
    struct tiercel_uuid uuid; /* of the copy */
    uint32_t stage;
    uint32_t snapshots,
        snapshots_gone; /* that the copy has; that were destroyed in the source meanwhile, and are not in it */
    uint64_t epoch, readable_from;     /* that it shows: the source's ghce, and readable_from, when this began */
    uint64_t records, bytes;           /* of payload, that are to be there; they grow while it counts */
    uint64_t copied, copied_bytes;     /* by this call */
    uint64_t skipped, skipped_bytes;   /* were there already */
    uint64_t verified, verified_bytes; /* were read back, and are the same */
    uint64_t other_class; /* records of object classes that the pool does not offer: they have its default */
    uint64_t erased;      /* of the copy, since the source has them no more */
    uint64_t reserved[8];
};

struct tiercel_copy_options {
    unsigned flags;       /* TIERCEL_COPY_UNVERIFIED */
    uint64_t flush_bytes; /* after so many an interruption loses nothing; 0: 64 MiB */
    /* Called often, from the caller's thread, without locks: it may call the library. Something else than 0 ends the copying, with -ECANCELED. */
    int (*progress)(void *ctx, const struct tiercel_copied *so_far);
    void *ctx;
    uint64_t reserved[4];
};

/* label: of the copy; NULL: that of the source. options: NULL for none. out: NULL is fine. 0; -EEXIST: the label; -EBUSY: somebody copies the same right
 * now; -ENOSPC; -EBADMSG: something of the source is damaged, or what was read back was not the same (that is taken away, and the next call copies it anew);
 * -ECANCELED; -EBADF: evicted, or disconnected; -ENOENT; -EACCES: `to` was connected for reading; -EINVAL. */
TIERCEL_API int tiercel_cont_copy(struct tiercel_cont *from, struct tiercel_pool *to, const char *label,
                                  const struct tiercel_copy_options *options, struct tiercel_copied *out,
                                  struct tiercel_error *err) TIERCEL_MUST_CHECK;

/* ---- flat key-value objects: key -> bytes ---- */

TIERCEL_API int tiercel_kv_put(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid,
                               struct tiercel_bytes key, const void *value, uint64_t len, unsigned flags,
                               struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* *len: the room in value, and then the value's size. value NULL: only the size. -ENOENT; -ENOBUFS. */
TIERCEL_API int tiercel_kv_get(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid,
                               struct tiercel_bytes key, void *value, uint64_t *len, unsigned flags,
                               struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* flags: TIERCEL_IF_THERE or 0. */
TIERCEL_API int tiercel_kv_remove(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid,
                                  struct tiercel_bytes key, unsigned flags,
                                  struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* As tiercel_list_dkeys. */
TIERCEL_API int tiercel_kv_list(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid,
                                struct tiercel_anchor *anchor, void *buf, size_t room, struct tiercel_bytes *keys,
                                unsigned *count, struct tiercel_event *ev) TIERCEL_MUST_CHECK;

/* ---- byte arrays: an object as a file without a name ---- */

TIERCEL_API int tiercel_array_write(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, uint64_t offset,
                                    const void *bytes, uint64_t len, struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* *len: how much is wanted, and then how much there was before the array's end; holes are zeros. */
TIERCEL_API int tiercel_array_read(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, uint64_t offset,
                                   void *bytes, uint64_t *len, struct tiercel_event *ev) TIERCEL_MUST_CHECK;
TIERCEL_API int tiercel_array_size(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, uint64_t *size,
                                   struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* Cuts it, or makes it longer with zeros. */
TIERCEL_API int tiercel_array_set_size(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, uint64_t size,
                                       struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* Zeros, that take no space. Does not change the size. */
TIERCEL_API int tiercel_array_punch(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, uint64_t offset,
                                    uint64_t len, struct tiercel_event *ev) TIERCEL_MUST_CHECK;

/* ---- locks ---- */

#define TIERCEL_LOCK_SHARED    1u
#define TIERCEL_LOCK_EXCLUSIVE 2u

/* What goes with a lock from one holder to the next. */
struct tiercel_lock_value {
    int valid;      /* 0: nobody has set it, or who held the lock last died: ghpce is the last epoch to be sure of */
    uint64_t epoch; /* the last that was committed under this lock, by convention */
    uint8_t user[48];
};

struct tiercel_lock;

/* name: up to 255 bytes. timeout_ms: 0: tries; TIERCEL_FOREVER. Freed when the process ends, however it does. 0; -EAGAIN: it is held; -ETIMEDOUT; -ECANCELED; -EACCES: an exclusive
 * lock and a handle for reading. *value: as the last holder left it. */
TIERCEL_API int tiercel_lock(struct tiercel_cont *cont, const char *name, unsigned mode, int timeout_ms,
                             struct tiercel_lock **out, struct tiercel_lock_value *value,
                             struct tiercel_event *ev) TIERCEL_MUST_CHECK;
/* value: what the next holder is shown (exclusive only), with `valid` set to 1; NULL: as it was. */
TIERCEL_API int tiercel_unlock(struct tiercel_lock *lock, const struct tiercel_lock_value *value);

#ifdef __cplusplus
}
#endif

#endif
