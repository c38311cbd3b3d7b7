// SPDX-License-Identifier: Apache-2.0
/* A host for fronts without a daemon: answers from a real directory tree, in one thread, when told to.
 *
 * request() only queues; fake_host_step() answers what is queued. Listings are kept until fake_host_flush(), as a
 * node would. A path can be held: requests for it stay open until they are cancelled or the hold ends. */
#ifndef TL_TEST_FRONT_FAKE_HOST_H
#define TL_TEST_FRONT_FAKE_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "front/fuse/fuse.h"

#define FAKE_QUEUE_MAX 4096

struct fake_request {
    struct tl_request request;
    char path[TL_PATH_MAX + 1];
    bool cancelled;
};

struct fake_listing {
    enum tl_op op;
    char *path;
    void *blob;
    uint32_t len;
};

struct fake_host {
    struct tl_front_host host; /* what a front is given */
    struct tl_fuse *fuse;
    struct fake_request *queue; /* open requests, in order */
    size_t queue_len;
    struct fake_listing *listings;
    size_t listing_count, listing_cap;
    char held[TL_PATH_MAX + 1];    /* requests for exactly this path wait; empty: none */
    char failing[TL_PATH_MAX + 1]; /* requests for exactly this path are answered with fail_status */
    int fail_status;
    uid_t uid; /* access bits are computed for this user with these groups */
    gid_t gids[4];
    size_t gid_count;
    uint64_t lists, entries, xattrs, reads, cancels;
    int xattrs_status; /* negative: the storage has no extended attributes */
    bool ended;
    int ended_status;
};

void fake_host_init(struct fake_host *h);
void fake_host_fini(struct fake_host *h);
void fake_host_step(struct fake_host *h);  /* answers what is queued and not held */
void fake_host_flush(struct fake_host *h); /* forgets all listings */

#endif
