// SPDX-License-Identifier: Apache-2.0
/* What of a mount outlives the daemon that serves it: a memfd, which the keeper (src/daemon/keeper.h) holds, too.
 *
 * A daemon that is killed leaves it as it is at that instant, perhaps in the middle of a change. So everything in here is
 * written first and committed by one last store, and whoever takes it over believes nothing that he has not checked. The
 * head says what the mount is and what was agreed with the kernel; the rest are chunks of equal size, each for one use.
 * Chunks are added and never moved or taken away: pointers into them stay valid. One owner thread. */
#ifndef TL_FRONT_FUSE_KEEP_H
#define TL_FRONT_FUSE_KEEP_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#define TL_KEEP_CHUNK_SIZE  65536u
#define TL_KEEP_CHUNKS_MAX  16384u /* a GiB: more names than a kernel has room for */
#define TL_KEEP_INIT_MAX    512u   /* INIT as the kernel sent it; it has 104 bytes by now */
#define TL_KEEP_REPLY_MAX   128u   /* and our answer: 80 */
#define TL_KEEP_IN_WORK_MAX 1024u  /* a power of two */

enum tl_keep_kind { TL_KEEP_INODES = 1, TL_KEEP_NAMES = 2 };

/* A kernel request in work; guard.h. */
struct tl_keep_work {
    _Atomic uint64_t unique; /* without the mark of a repetition; 0: free */
    uint16_t deaths;         /* crashes of daemons that had it in work */
    uint16_t state;          /* guard.c: in work, or waiting for its turn, and then to blame for nothing */
};

struct tl_keep_head {
    uint64_t magic;
    uint32_t format; /* what a daemon of another version must know, too; with the sizes below it changes */
    uint32_t head_size, inode_size;
    _Atomic uint32_t chunk_count;                         /* with the head's own */
    _Atomic uint32_t slot_end;                            /* inode.c */
    _Atomic uint32_t names_end;                           /* inode.c */
    uint8_t map_owner, links_inside, mounted_here, epoch; /* 0 or 1; not bool, since they may be damaged */
    _Atomic uint8_t forgetting; /* invalidations were under way: who takes over repeats them for the whole mount */
    _Atomic uint8_t complete;   /* the mount is described, and the kernel has our answer to INIT */
    int32_t pid;                /* holder of the namespace it lives in, 0: our own */
    uint32_t init_len, reply_len;
    char path[PATH_MAX], source[PATH_MAX];
    uint8_t init[TL_KEEP_INIT_MAX], reply[TL_KEEP_REPLY_MAX];
    struct tl_keep_work work[TL_KEEP_IN_WORK_MAX];
    uint8_t kinds[TL_KEEP_CHUNKS_MAX];
};

struct tl_keep {
    int fd;
    struct tl_keep_head *head;
    void **chunks; /* chunk_count of them; [0] is the head */
    uint32_t chunk_count, chunk_cap;
};

int tl_keep_make(struct tl_keep *k) TL_MUST_CHECK; /* 0, -errno */
/* Takes over what another daemon made; fd is taken over in every case. 0; -EPROTO: made by another version; -EBADMSG:
 * not one, or damaged; -errno. */
int tl_keep_open(struct tl_keep *k, int fd) TL_MUST_CHECK;
void tl_keep_fini(struct tl_keep *k); /* a zeroed one, with fd -1, is fine, and what it leaves */
/* One more chunk, zeroed. NULL: no memory. */
void *tl_keep_add(struct tl_keep *k, enum tl_keep_kind kind);

#endif
