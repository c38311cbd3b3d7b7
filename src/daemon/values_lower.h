// SPDX-License-Identifier: Apache-2.0
/* A store below the daemon's values (cache/backend.h): what is evicted goes there, and comes back when it is asked for.
 *
 * One thread owns the store; the loop gives it jobs and takes what was read. What it writes is held in the cache until it is
 * written. A value that is put anew or dropped is dropped below, too, in the order of the jobs. */
#ifndef TL_DAEMON_VALUES_LOWER_H
#define TL_DAEMON_VALUES_LOWER_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "cache/backend.h"
#include "cache/cache.h"

struct tl_daemon;
struct tl_lower;

/* Opens --values-dir, if there is one. */
int tl_lower_open(struct tl_daemon *d, struct tl_error *err) TL_MUST_CHECK;
void tl_lower_close(struct tl_daemon *d);
void tl_lower_evicting(void *ctx, const struct tl_cache_item *item); /* ctx: the daemon; for tl_cache_config */
void tl_lower_changed(struct tl_daemon *d, struct tl_hash key);      /* it was put, or dropped: what is below is old */
/* 0: it is in memory; -EAGAIN: it is on its way, ask again when fills_ended has changed; -ENOENT. */
int tl_lower_fetch(struct tl_daemon *d, struct tl_hash key);
bool tl_lower_fetching(const struct tl_daemon *d, struct tl_hash key); /* it is on its way */
void tl_lower_ready(struct tl_daemon *d);                              /* its descriptor: something was read */
bool tl_lower_go_on(struct tl_daemon *d);         /* fills what was read, some of it. True: more to do at once */
json_t *tl_lower_json(const struct tl_daemon *d); /* null: there is none */

#endif
