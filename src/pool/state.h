// SPDX-License-Identifier: Apache-2.0
/* A container's epochs (core/epoch) as a store keeps them: each operation is one transaction of the container's state.
 *
 * Keys: "n" the container's numbers; "h" and a handle's number; "s" and a snapshot's epoch; "t" and a tombstone's handle, era and
 * first epoch; "k" from where on all is kept that nobody refers to; "pclass" the class (base/class.h) of its objects, which are written without one; "u": classes that
 * the pool does not offer are its default. Numbers in keys are big-endian, so that they sort; in values little-endian. Only what an operation has
 * changed is written. */
#ifndef TL_POOL_STATE_H
#define TL_POOL_STATE_H

#include "core/epoch/epoch.h"
#include "store/store.h"

/* The state as it was when it was read, with memory of its own. All 0 is an empty one, to be loaded into. */
struct tl_state {
    struct tl_epochs epochs;
    uint16_t class; /* 0: the pool's default */
    bool any_class; /* it was copied from a pool with classes that this one does not offer: they become its default */
};
#define TL_STATE_CLASS     "pclass"
#define TL_STATE_ANY_CLASS "u"
void tl_state_fini(struct tl_state *s);

/* What a new container begins with. 0; -EEXIST: it is there; -errno. */
int tl_state_create(struct tl_store *store, const struct tl_store_id *id) TL_MUST_CHECK;
/* Reads it. 0; -ENOENT: no such container; -EBADMSG: damaged, or of a newer release; -ENOMEM; -errno. */
int tl_state_load(struct tl_state *s, struct tl_store *store, const struct tl_store_id *id) TL_MUST_CHECK;
/* The same, if it was changed since *changes (store.h), or `must`; 1: it was not. */
int tl_state_refresh(struct tl_state *s, struct tl_store *store, const struct tl_store_id *id, uint32_t *changes,
                     bool must) TL_MUST_CHECK;
/* As those of the store, but of a container that there is: else -ENOENT, and nothing is made. */
int tl_state_change(struct tl_store *store, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx) TL_MUST_CHECK;
int tl_state_look(struct tl_store *store, const struct tl_store_id *id, tl_store_tx_fn fn, void *ctx) TL_MUST_CHECK;
/* Carries op out, in a transaction; *s is the state after it (before, if it failed), *effects what has changed. The errors of
 * tl_epochs_apply, of tl_state_load, and of the store. */
int tl_state_apply(struct tl_state *s, struct tl_store *store, const struct tl_store_id *id, struct tl_epoch_op *op,
                   struct tl_epoch_effects *effects) TL_MUST_CHECK;

/* The state that a copy of a container gets: what the container shows at epochs kept..ghce and at its snapshots up to there, and all that is beside
 * epochs; without handles, and so without tombstones: records that they cover are not copied. */
struct tl_state_image {
    struct tl_state_entry {
        uint8_t *bytes; /* the key, then the value */
        size_t key_len, value_len;
    } * list;
    size_t count, room;
    uint32_t snapshots, next_handle;
};
/* 0; -ENOENT: no such container; -errno. */
int tl_state_take(struct tl_store *store, const struct tl_store_id *id, uint64_t ghce, uint64_t kept, bool any_class,
                  struct tl_state_image *out) TL_MUST_CHECK;
/* A container that nobody sees yet belongs to who has this token: nobody else makes its state. */
int tl_state_claim(struct tl_store *store, const struct tl_store_id *id, uint64_t token) TL_MUST_CHECK;
/* Makes it the state of such a container, whatever it has for one. 0; -ENOENT: it is another's, or was given up; -errno. */
int tl_state_put(struct tl_store *store, const struct tl_store_id *id, const struct tl_state_image *image,
                 uint64_t token) TL_MUST_CHECK;
void tl_state_image_free(struct tl_state_image *image);

#endif
