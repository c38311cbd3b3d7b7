// SPDX-License-Identifier: Apache-2.0
/* A store: where the containers of a pool live. Two kinds of things in it:
 *
 *   state    a few small keys and values a container, changed in transactions: epochs, handles, snapshots, properties
 *   records  what programs write: a key, a few bytes about it, and a payload. Written eagerly, found in the order of their keys,
 *            never changed; erased one day by aggregation
 *
 * The store knows nothing of epochs: which records count is for its user to say (core/epoch). What it promises: a record is
 * durable once a flush after its write has succeeded, and every transaction of its container that begins after that flush,
 * in any process, sees it. A transaction happens as a whole or not at all, durably, and all of a container's are in one order. Every payload
 * is checked against its checksums when it is read.
 *
 * One owner thread a struct; any number of processes may have the same pool open. */
#ifndef TL_STORE_STORE_H
#define TL_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"

#define TL_STORE_KEY_MAX     480u        /* bytes of a key */
#define TL_STORE_META_MAX    255u        /* bytes about a record */
#define TL_STORE_PAYLOAD_MAX (1u << 20)  /* bytes of a payload */
#define TL_STORE_VALUE_MAX   (64u << 10) /* bytes of a value of the state */

struct tl_store_id { /* of a container; all 0: the pool itself */
    uint8_t bytes[16];
};

struct tl_slice {
    const void *at;
    size_t len;
};

/* The state of one container inside a transaction. What get and each show is valid until the next call. */
struct tl_store_tx {
    const struct tl_store_tx_ops *ops;
};
struct tl_store_tx_ops {
    int (*get)(struct tl_store_tx *tx, struct tl_slice key, struct tl_slice *value); /* 0, -ENOENT, -errno */
    int (*put)(struct tl_store_tx *tx, struct tl_slice key, struct tl_slice value);  /* 0, -ENOSPC, -errno */
    int (*del)(struct tl_store_tx *tx, struct tl_slice key);                         /* 0, -ENOENT, -errno */
    /* All keys with this prefix, ascending, until fn gives something else than 0, which is given back. fn changes nothing. */
    int (*each)(struct tl_store_tx *tx, struct tl_slice prefix,
                int (*fn)(void *ctx, struct tl_slice key, struct tl_slice value), void *ctx);
};
typedef int (*tl_store_tx_fn)(void *ctx, struct tl_store_tx *tx);

struct tl_record {
    struct tl_slice key, meta, payload;
    uint16_t class; /* how the payload is to be protected (base/class.h); 0: the default */
};

/* What a store offers. */
#define TL_STORE_CLASSES 16u
struct tl_store_classes {
    uint16_t list[TL_STORE_CLASSES]; /* the first is the default */
    unsigned count;
    uint16_t index; /* of state, keys, and what else is small, whatever a record's class is */
};

/* A record that was found. Its slices are valid inside the callback; the place may be kept for tl_store_ops.read. */
struct tl_found {
    struct tl_slice key, meta;
    uint32_t payload_len;
    struct tl_slice place; /* opaque, up to TL_STORE_PLACE_MAX bytes */
};
#define TL_STORE_PLACE_MAX 1024u

struct tl_store_space {
    uint64_t total_bytes, free_bytes; /* for payloads, without copies; total 0: not known */
    uint64_t used_bytes;              /* by this pool */
};

/* How the place is in which a pool lives, from good to bad. */
enum tl_store_state {
    TL_STORE_UNKNOWN,
    TL_STORE_HEALTHY,
    TL_STORE_REBUILDING, /* data is being copied to where it should be; all can be read */
    TL_STORE_DEGRADED,   /* some data has fewer copies than it should, and nobody makes more now; all can be read */
    TL_STORE_UNAVAILABLE /* some data cannot be read or written now */
};

struct tl_store_health {
    uint64_t map_version; /* of the map of targets; it grows */
    enum tl_store_state state;
    uint32_t targets, up, in; /* what data lies on: running, and used */
    uint32_t disabled;        /* of the targets: not up, or not in */
    uint32_t redundancy;      /* how many lost targets are survived */
    int32_t silent;           /* a target that is up and does not answer; -1: none */
    bool rebuild_known;       /* the rest is: */
    uint64_t copies;          /* that there should be, of all objects */
    uint64_t missing, misplaced;
};

struct tl_store_target {
    uint32_t number;
    const char *host; /* "": not known */
    bool up, in;
    uint64_t total_bytes, used_bytes; /* both 0: not known */
};

/* What goes with a lock from one holder to the next. */
struct tl_store_lock_value {
    bool valid; /* false: nobody has set it, or who held the lock last ended without letting go */
    uint64_t epoch;
    uint8_t user[48];
};
struct tl_store_lock;

/* What the user of a store tells it before a check. */
struct tl_store_namer {
    /* Which record a finding is about, as a sentence says it. */
    void (*name)(void *ctx, const struct tl_store_id *id, struct tl_slice key, char *out, size_t size);
    /* How a container is called, and how far it is: "epoch 12". */
    void (*about)(void *ctx, const struct tl_store_id *id, char *label, size_t size, char *when, size_t when_size);
    bool accept; /* what was lost is as if it had never been, from now on */
    void *ctx;
    const struct tl_store_id *ids; /* containers that there are; the store may find others */
    unsigned count;
};

struct tl_store {
    const struct tl_store_ops *ops;
    const struct tl_store_namer *namer; /* the user's, for as long as it checks; NULL */
};

struct tl_store_ops {
    const char *name;
    void (*close)(struct tl_store *s); /* what was not flushed may be lost */
    int (*space)(struct tl_store *s, struct tl_store_space *out);

    /* Both answer within seconds, whatever does not, and may run beside everything else but close. *stop (may be NULL): != 0 ends it early. 0; -ECANCELED;
     * -errno: nothing can be said. Any thread. */
    int (*health)(struct tl_store *s, const _Atomic int *stop, struct tl_store_health *out);
    /* fn for each target, ascending, until it gives something else than 0, which is given back. */
    int (*targets)(struct tl_store *s, int (*fn)(void *ctx, const struct tl_store_target *t), void *ctx);
    /* Nobody will ask for a while: lets go of what asking needs. Any thread. */
    void (*rest)(struct tl_store *s);

    const struct tl_store_classes *(*classes)(const struct tl_store *s); /* stays the same. Any thread */

    /* Runs fn inside a transaction; fn may run more than once. Nothing is changed if it gives something else than 0, which is
     * given back. -EROFS: the pool was opened for reading; -ENOSPC, -EIO, ... */
    int (*change)(struct tl_store *s, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx);
    /* The same, for looking only: put and del give -EROFS. */
    int (*look)(struct tl_store *s, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx);

    /* The slices are copied. -EINVAL: a limit above, or a class that it does not offer; -ENOSPC; -EIO: what was written since the last flush may be lost. */
    int (*write)(struct tl_store *s, const struct tl_store_id *id, const struct tl_record *r);
    /* 0: all that this process has written is durable. Else none of it since the last flush may be relied on; it goes on anew. -ESTALE: others
     * may have taken this process for dead since it last looked at a container with nothing unflushed. */
    int (*flush)(struct tl_store *s);

    /* Records with keys from `from` on that begin with `prefix`, ascending, until fn gives something else than 0, which is given
     * back. Those that were flushed before the last change of this container are there. */
    int (*scan)(struct tl_store *s, const struct tl_store_id *id, struct tl_slice prefix, struct tl_slice from,
                int (*fn)(void *ctx, const struct tl_found *f), void *ctx);
    /* Bytes offset..offset+len-1 of a payload. -ENOENT: erased meanwhile, or lost; -EBADMSG: damaged; -ETIMEDOUT, also of a scan: those who have
     * it are not there, but may come back. */
    int (*read)(struct tl_store *s, struct tl_slice place, uint32_t offset, void *out, uint32_t len);
    /* The same, several at once: begins a read, and may wait for others; `out` stays until all have ended. After an error of a begin_read, or at the end, come
     * end_reads, which waits for all, and gives the first error of any. NULL instead of the functions: `read` is as fast. */
    int (*begin_read)(struct tl_store *s, struct tl_slice place, uint32_t offset, void *out, uint32_t len);
    int (*end_reads)(struct tl_store *s);
    /* Where that which the last read or scan could not give should be, and what is wrong with it, for sentences: "ext.3, offset 4096: its
     * checksum differs". NULL instead of the function: it cannot be told. Valid until the next read. */
    const char *(*damage)(struct tl_store *s);
    /* After a scan's -EBADMSG: what it asked for was lost once, what there was is unknown, but more may be written. NULL: never. */
    bool (*unknown)(struct tl_store *s);
    /* Takes records away, and gives their space back. Those that are not there are passed over. */
    int (*erase)(struct tl_store *s, const struct tl_store_id *id, const struct tl_slice *keys, size_t count);

    /* Of a container that nobody uses any more, and that is to be taken away: forgets its state, and that its index was ever whole, so that what is lost of
     * them is no error any more. NULL: nothing of them can be lost alone. */
    int (*abandon)(struct tl_store *s, const struct tl_store_id *id);

    /* How often the container was changed, modulo 2^32; *out is not waited for. */
    int (*changes)(struct tl_store *s, const struct tl_store_id *id, uint32_t *out);
    /* look, if the container was changed since *changes, or `must`: then *changes is the number of what fn saw, or an earlier one, and what fn gives is
     * given back. 1: it was not, and fn did not run. NULL instead of the function: `changes`, then `look`, are as fast. */
    int (*look_again)(struct tl_store *s, const struct tl_store_id *id, uint32_t *changes, bool must, tl_store_tx_fn fn,
                      void *ctx);
    /* Sleeps until that is another number than `seen`, or for so long. 0, -ETIMEDOUT, -EINTR. Any thread. */
    int (*wait)(struct tl_store *s, const struct tl_store_id *id, uint32_t seen, unsigned timeout_ms);
    /* Counts as a change, without one. Any thread. */
    void (*wake)(struct tl_store *s, const struct tl_store_id *id);

    /* A mark is a number that a process has, alone or with others, until it lets go of it or ends, however it ends; a child does not
     * inherit it. 0; -EBUSY: another process has it; -EALREADY: this one has. */
    int (*claim)(struct tl_store *s, uint64_t mark, bool exclusive);
    void (*unclaim)(struct tl_store *s, uint64_t mark);
    /* 1: some process has it, this one too; 0: none. */
    int (*claimed)(struct tl_store *s, uint64_t mark);
    /* What processes that had a mark, and have it no more, have written to the container and flush from now on is refused: nothing of theirs
     * that is on its way arrives after this. They are told -ESTALE. NULL: no process outlives its marks. */
    int (*fence)(struct tl_store *s, const struct tl_store_id *id);

    /* Locks of a container, by name, for threads of this and of other processes. timeout_ms: 0: tries, -1: for ever. *stop (may be NULL) is
     * looked at at least once a second: != 0 ends it. Freed when the process ends. 0, -EAGAIN (0 ms), -ETIMEDOUT, -ECANCELED, -ENOMEM, -ENOSPC: too many
     * names. Any thread. */
    int (*lock)(struct tl_store *s, const struct tl_store_id *id, struct tl_slice name, bool exclusive, int timeout_ms,
                const _Atomic int *stop, struct tl_store_lock **out, struct tl_store_lock_value *value);
    /* value: of an exclusive lock, what the next one is shown; NULL: what it was. Frees the struct. Any thread. */
    int (*unlock)(struct tl_store *s, struct tl_store_lock *lock, const struct tl_store_lock_value *value);

    /* Looks whether everything that the store keeps fits together, every payload too; tells of each thing that does not. The number of
     * findings that are damage. repair: gives back what nothing refers to, and makes parts of an index anew that are lost, so that more can be written; what they
     * had stays unknown, -EBADMSG, until a check that accepts it. Nobody else has the pool open then (-EBUSY). */
    int (*check)(struct tl_store *s, bool repair, void (*tell)(void *ctx, const char *finding), void *ctx);
};

struct tl_store_config {
    bool create, read_only;
    bool
        ask_only; /* only health, targets, rest and close: nothing of the pool itself is touched, nor need it be there */
    uint64_t map_bytes;    /* address space for the index; 0: 64 GiB */
    uint32_t buffer_bytes; /* that appending may take; 0: 8 MiB */
};

/* A pool in a directory. create: makes it, -EEXIST if it is there. -ENOENT; -EPROTO: of another format version; -EROFS;
 * -errno with a sentence. */
int tl_store_embedded_open(struct tl_store **out, const char *directory, const struct tl_store_config *config,
                           struct tl_error *err) TL_MUST_CHECK;
/* Takes a pool's files away, and the directory if nothing else is in it. -EBUSY: somebody has it open. */
int tl_store_embedded_destroy(const char *directory, struct tl_error *err) TL_MUST_CHECK;

/* A pool in a Ceph cluster: rados:///NAME?conf=FILE&user=NAME&pool=META&data=DATA,...&timeout=S&lease=S. NAME is a namespace; pool the
 * replicated RADOS pool of state and index; data those of payloads, of any kind, one for each class that is to be offered, the default
 * first (create: else `pool`; open: known). A RADOS pool's size, or its profile, when ours is made, says its class. conf: else
 * librados' own search. user: else admin. timeout (60): the seconds in which every operation ends, with -ETIMEDOUT if it must. lease (30):
 * seconds after which a process that says nothing any more has none of its marks and locks. Errors as above, and: -ENOTSUP: librados
 * is not installed; -ENOTCONN, -ENOKEY, -EKEYREJECTED, -ETIMEDOUT: the cluster; -ENODEV: no such RADOS pool; -EOPNOTSUPP: `pool` is
 * erasure-coded; -ENOSPC. */
int tl_store_rados_open(struct tl_store **out, const char *uri, const struct tl_store_config *config,
                        struct tl_error *err) TL_MUST_CHECK;
/* Makes one with RADOS pools of its own, tiercel.NAME.meta and tiercel.NAME.data, which go when it is destroyed; it is not open then. -EINVAL: a class or a host that is not
 * there, too few of them, or the uri names RADOS pools; -EEXIST; -EACCES: the sentence says what rights it takes. Nothing is left then. */
struct tl_store_wish {
    uint64_t size_bytes; /* of payloads, without their copies; 0: no limit */
    const char *nodes;   /* hosts of the CRUSH map, with commas, on which all lies; NULL: where the cluster likes */
    const char *classes; /* with commas, the default first; NULL: RP_3 */
};
int tl_store_rados_make(const char *uri, const struct tl_store_wish *wish, struct tl_error *err) TL_MUST_CHECK;
/* -EPERM: its contents are gone, but the cluster forbids deleting its RADOS pools. */
int tl_store_rados_destroy(const char *uri, struct tl_error *err) TL_MUST_CHECK;

/* What a code that any call may give means, for the end of a sentence. Of a cluster: -ETIMEDOUT; -ESHUTDOWN: an administrator, or a program of his, has
 * put this process on the blocklist, and nothing that it sends is taken any more. */
const char *tl_store_strerror(int rc);

#endif
