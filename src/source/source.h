// SPDX-License-Identifier: Apache-2.0
/* Where misses go: reads the storage that is there already, or a web server that has it, with worker threads, never in the
 * event loop.
 *
 * One owner thread submits and reaps; the workers talk to it through bounded queues and an eventfd.
 * No duplicate work is done here: the core asks once. Storage operations are kept to the least: a directory
 * costs one open, one listing (in as large pages as the kernel takes), an lstat a name (statx, so that a file
 * system with read-ahead of attributes answers from memory) and a readlink a link; a single entry two lstats; a file
 * one open, one read a chunk. */
#ifndef TL_SOURCE_SOURCE_H
#define TL_SOURCE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"
#include "base/hash.h"

#define TL_SOURCE_CHUNKS_MAX 8u

struct tl_source_config {
    uint32_t threads;        /* 1..64 */
    uint32_t queue_max;      /* operations accepted at once */
    uint32_t open_files_max; /* descriptors kept open between reads of one large file; least recently used
                                closed first */
    uint32_t chunk_size_bytes;
    void (*warn)(const char *sentence); /* NULL, or told what a person should know; called by workers */
    const char *const *exclude;         /* absolute directories shown empty: our own mount points; copied */
    size_t exclude_count;
};

enum tl_source_kind {
    TL_SOURCE_CHUNKS = 0, /* of a file */
    TL_SOURCE_LIST,       /* a directory's listing */
    TL_SOURCE_ENTRY,      /* the listing that the path's directory would have if this were its only name */
    TL_SOURCE_XATTRS,     /* all extended attributes of the path: a blob (base/xattrs.h) */
};

struct tl_source_op {
    uint64_t cookie;
    enum tl_source_kind kind;
    const char *path; /* absolute; the owner keeps it until the last completion; not NUL-terminated */
    uint16_t path_len;
    uint64_t version, file_size_bytes; /* file: must match what is found (tl_attr_version), else -ESTALE */
    uint32_t first, count;             /* file: chunk numbers */
    void *dst[TL_SOURCE_CHUNKS_MAX];   /* file: where each chunk's bytes go; written by a worker */
    uint32_t lens[TL_SOURCE_CHUNKS_MAX];
};

struct tl_source_done {
    uint64_t cookie;
    int status;     /* 0 or negative errno: -ENOENT, -EACCES, -ESTALE, -EIO (a short read), -ENOTDIR, -EFBIG, ...
                 */
    uint32_t chunk; /* file: which; else 0 */
    uint32_t len;
    struct tl_hash digest; /* of these bytes, seed 0 */
    void *blob;            /* not for chunks: malloc'd, the receiver frees it */
    bool last;             /* the operation is over. Each op has exactly one last completion. */
};

struct tl_source_stats {
    uint64_t lists, opens, reads, lstats, readlinks, bytes, errors;
};

struct tl_source;

int tl_source_posix_open(struct tl_source **out, const struct tl_source_config *config,
                         struct tl_error *err) TL_MUST_CHECK;
/* Reads what `tiercel export --http` has laid out (docs/decisions/0017) from web servers: urls are http:// or https:// addresses
 * of its root, separated by commas; each next one is asked where those before it fail. -EINVAL, -ENOTSUP (no libcurl), with a
 * sentence; whether a server answers is seen at the first operation. patience_s: without a byte, a server has failed; 0: 5. */
int tl_source_http_open(struct tl_source **out, const struct tl_source_config *config, const char *urls,
                        uint32_t patience_s, struct tl_error *err) TL_MUST_CHECK;
void tl_source_close(struct tl_source *s);                                /* waits for the workers */
int tl_source_fd(struct tl_source *s);                                    /* readable when completions wait */
int tl_source_submit(struct tl_source *s, const struct tl_source_op *op); /* 0, -EBUSY */
int tl_source_reap(struct tl_source *s, struct tl_source_done *out,
                   int max); /* count; a chunk is reported as soon as it is read */
void tl_source_stats(struct tl_source *s, struct tl_source_stats *out);
/* Changes the excluded directories while running (a mount point was added or removed). */
int tl_source_set_exclude(struct tl_source *s, const char *const *exclude, size_t count);

#endif
