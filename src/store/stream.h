// SPDX-License-Identifier: Apache-2.0
/* A file that one process appends to: what the embedded store writes its data with.
 *
 * Bytes are collected in a few aligned buffers and written past the page cache (O_DIRECT), several at a time (io_uring), into space
 * that was allocated before: so a full disk is told when bytes are appended, not when they are lost, and a sync has no
 * sizes to write. Where the file system or the kernel refuses one or the other, plain pwrite does the same.
 *
 * What was appended is on the device after a sync that succeeded, and not before. Whoever finds an error goes on with
 * tl_stream_begin_anew: what had not been synced is lost, and its places are never read.
 *
 * A file belongs to the process that has it open, by a lock that goes with the open file: after a death it goes when the kernel has ended what
 * was under way, so nothing is written into what the next owner appends. One owner thread. */
#ifndef TL_STORE_STREAM_H
#define TL_STORE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"

#define TL_STREAM_BLOCK 4096u /* bytes; every sync ends at a multiple of it */

struct tl_stream_config {
    uint32_t buffer_bytes; /* a multiple of TL_STREAM_BLOCK; how much one write takes */
    uint32_t buffers;      /* 2..64 */
    uint64_t step_bytes;   /* space is allocated in steps of it */
    bool plain;            /* no O_DIRECT, no io_uring */
};
void tl_stream_config_default(struct tl_stream_config *c);

struct tl_stream_stats {
    uint64_t written_bytes, writes, syncs;
    bool direct, ring; /* how it writes */
};

struct tl_stream;

/* Opens the file, or makes it (mode 0600), and appends at `end`, a multiple of TL_STREAM_BLOCK. 0; -EBUSY: another process has it
 * open; -errno with a sentence. */
int tl_stream_open(struct tl_stream **out, const char *path, uint64_t end, const struct tl_stream_config *config,
                   struct tl_error *err) TL_MUST_CHECK;
/* Instead of `end`, while nothing has been appended: for ends that are only sure once the file is ours. */
void tl_stream_begin_at(struct tl_stream *s, uint64_t end);
/* What was not synced is lost, and space beyond is given back. NULL is fine. */
void tl_stream_close(struct tl_stream *s);

/* Space for so many bytes more: appending them does not fail for want of it. 0, -ENOSPC, -EDQUOT, ... */
int tl_stream_reserve(struct tl_stream *s, size_t len) TL_MUST_CHECK;
/* Appends a copy; *offset: where in the file. 0; -ENOSPC, -EDQUOT: nothing was appended; -EIO and others: see above. */
int tl_stream_append(struct tl_stream *s, const void *bytes, size_t len, uint64_t *offset) TL_MUST_CHECK;
/* The same at the start of a block, and through the page cache: for what other processes read soon. What follows begins at a block, too. */
int tl_stream_append_cached(struct tl_stream *s, const void *bytes, size_t len, uint64_t *offset) TL_MUST_CHECK;
/* The next byte that is appended lies at the start of a block: where. */
uint64_t tl_stream_align(struct tl_stream *s);
/* Where the next byte would be appended. */
uint64_t tl_stream_end(const struct tl_stream *s);
/* All that was appended is on the device. 0 or -errno, which stays until tl_stream_begin_anew. */
int tl_stream_sync(struct tl_stream *s) TL_MUST_CHECK;
/* After an error: waits for what is under way, and goes on behind it. */
void tl_stream_begin_anew(struct tl_stream *s);

void tl_stream_stats(const struct tl_stream *s, struct tl_stream_stats *out);

#endif
