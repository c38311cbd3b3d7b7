// SPDX-License-Identifier: Apache-2.0
/* A container's epochs (core/epoch) as a store keeps them: each operation is one transaction of the container's state.
 *
 * Keys: "n" the container's numbers; "h" and a handle's number; "s" and a snapshot's epoch; "t" and a tombstone's handle, era and
 * first epoch. "pclass" the class (base/class.h) of its objects, which are written without one. Numbers in keys are big-endian, so that they sort; in values little-endian. Only what an operation has
 * changed is written. */
#ifndef TL_POOL_STATE_H
#define TL_POOL_STATE_H

#include "core/epoch/epoch.h"
#include "store/store.h"

/* The state as it was when it was read, with memory of its own. All 0 is an empty one, to be loaded into. */
struct tl_state {
    struct tl_epochs epochs;
    uint16_t class; /* 0: the pool's default */
};
#define TL_STATE_CLASS "pclass"
void tl_state_fini(struct tl_state *s);

/* What a new container begins with. 0; -EEXIST: it is there; -errno. */
int tl_state_create(struct tl_store *store, const struct tl_store_id *id) TL_MUST_CHECK;
/* Reads it. 0; -ENOENT: no such container; -EBADMSG: damaged, or of a newer release; -ENOMEM; -errno. */
int tl_state_load(struct tl_state *s, struct tl_store *store, const struct tl_store_id *id) TL_MUST_CHECK;
/* Carries op out, in a transaction; *s is the state after it (before, if it failed), *effects what has changed. The errors of
 * tl_epochs_apply, of tl_state_load, and of the store. */
int tl_state_apply(struct tl_state *s, struct tl_store *store, const struct tl_store_id *id, struct tl_epoch_op *op,
                   struct tl_epoch_effects *effects) TL_MUST_CHECK;

#endif
