// SPDX-License-Identifier: Apache-2.0
/* What a front end asks of a node, and what it is answered. Part of the core; no I/O. */
#ifndef TL_CORE_REQUEST_H
#define TL_CORE_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"

#define TL_PATH_MAX        4096u        /* bytes of an absolute source path, without NUL */
#define TL_CHUNK_SIZE      (256u << 10) /* bytes of a file's chunk; the last may be shorter */
#define TL_READ_SIZE_MAX   (1u << 20)   /* bytes one READ request may ask for */
#define TL_ANSWER_REFS_MAX 6u           /* chunks one answer may span: READ_SIZE_MAX / CHUNK_SIZE + 2 */

enum tl_op {
    TL_OP_LIST = 1,   /* the listing of a directory: one blob (base/listing.h) */
    TL_OP_READ = 2,   /* bytes of a regular file, of one version */
    TL_OP_ENTRY = 3,  /* one name where the directory may not be listed: a listing with that name only (P-33) */
    TL_OP_XATTRS = 4, /* all extended attributes of a file: one blob (base/xattrs.h; P-34) */
};

/* What is known of a path beside a file's bytes: one blob, without a version. */
static inline bool tl_op_is_blob(enum tl_op op)
{
    return op == TL_OP_LIST || op == TL_OP_ENTRY || op == TL_OP_XATTRS;
}
static inline bool tl_op_is_known(enum tl_op op)
{
    return op == TL_OP_READ || tl_op_is_blob(op);
}

/* A request. path points to bytes that need to live for the call only. */
struct tl_request {
    uint64_t id; /* the front's, unique among its open requests; answered exactly once */
    enum tl_op op;
    uint16_t path_len;
    const char *path;         /* absolute, no trailing slash (but "/"), any byte but NUL */
    uint64_t version;         /* READ: tl_attr.version from the listing; else 0 */
    uint64_t file_size_bytes; /* READ: tl_attr.size_bytes of that version */
    uint64_t offset;          /* READ */
    uint32_t length;          /* READ: 1..TL_READ_SIZE_MAX; cut at the end of the file by the node */
};

/* len bytes at arena address addr (cache/arena.h). */
struct tl_ref {
    uint64_t addr;
    uint32_t len;
};

/* The answer to request id. status 0: the wanted bytes are refs[0], refs[1], ... in order. They stay valid
 * and unchanged until the driver steps the node again. Negative status: the errno the program shall see;
 * -ESTALE when the file's contents are no longer those of `version` (the node has dropped the directory's
 * listing; ask LIST again). */
struct tl_answer {
    uint64_t id;
    int status;
    uint32_t ref_count;
    struct tl_ref refs[TL_ANSWER_REFS_MAX];
};

/* What a node knows of an object, a file's bytes or a blob, without asking anybody. */
struct tl_held {
    uint64_t bytes;           /* of it that are held here */
    uint32_t chunks, present; /* it has, are held here */
    uint32_t hits;            /* requests answered from what was held, since it came */
    uint32_t tree, root;      /* in which it travels; the rank that reads it from storage */
    bool pinned;              /* any of it */
};

#endif
