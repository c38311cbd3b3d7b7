// SPDX-License-Identifier: Apache-2.0
/* Kernel requests that wait for an answer of the node: what each wants, by the id its request carries.
 *
 * A fixed number of places: when all are taken, the front reads no further requests until one is free. An id is
 * use count << 16 | place (48 bits: the host puts the front's number above), so that a late answer to an id that is over
 * finds nothing. One owner thread. */
#ifndef TL_FRONT_FUSE_PENDING_H
#define TL_FRONT_FUSE_PENDING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/listing.h"

#define TL_PENDING_MAX 1024u /* processes that wait at once, and the kernel's read-ahead; < 65536 */

struct fuse_req;

enum tl_fuse_op_kind {
    TL_FUSE_LOOKUP = 1,
    TL_FUSE_GETATTR,
    TL_FUSE_READLINK,
    TL_FUSE_READDIR,
    TL_FUSE_READDIRPLUS,
    TL_FUSE_READ,
    TL_FUSE_GETXATTR,
    TL_FUSE_LISTXATTR,
    TL_FUSE_GETHELD, /* GETXATTR of what the tier says of a file itself */
};

/* One kernel request. */
struct tl_fuse_op {
    enum tl_fuse_op_kind kind;
    bool alone;           /* the directory may not be listed: answered from a listing of the one name; see ops.c */
    uint8_t name_len;     /* LOOKUP; GETXATTR, GETHELD: of the attribute */
    uint32_t size_bytes;  /* READ, READDIR, xattrs: at most */
    uint64_t offset;      /* READ, READDIR */
    uint64_t inode;       /* node id; LOOKUP: of the directory */
    uint64_t began_ns;    /* when it came */
    struct fuse_req *req; /* replied to exactly once */
    char name[TL_NAME_MAX + 1];
};

struct tl_pending_slot {
    struct tl_fuse_op op; /* kind 0: free */
    uint32_t use_count;   /* wraps */
    uint16_t next_free;
};

struct tl_pending {
    struct tl_pending_slot *slots;
    uint32_t count;
    uint16_t free_head; /* place, TL_PENDING_MAX: none */
};

int tl_pending_init(struct tl_pending *p) TL_MUST_CHECK; /* 0, -ENOMEM */
void tl_pending_fini(struct tl_pending *p);              /* must be empty */
static inline bool tl_pending_full(const struct tl_pending *p)
{
    return p->count == TL_PENDING_MAX;
}
/* Keeps a copy of op until taken. 0, -EBUSY (full). */
int tl_pending_put(struct tl_pending *p, const struct tl_fuse_op *op, uint64_t *id) TL_MUST_CHECK;
/* Ends id: true with *op filled. False: no such id. */
bool tl_pending_take(struct tl_pending *p, uint64_t id, struct tl_fuse_op *op);
/* Some id that waits: true with *id filled. For closing. */
bool tl_pending_any(const struct tl_pending *p, uint64_t *id);

#endif
