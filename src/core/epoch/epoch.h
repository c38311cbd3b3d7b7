// SPDX-License-Identifier: Apache-2.0
/* The epochs of one container: which of its writes count, and for whom. A pure function: a state and an operation give the next
 * state, an error or none, and what has changed. Stores keep the state and apply each operation to it in one transaction, so
 * that all processes see one order of operations.
 *
 * Every write is a record {epoch, handle, era} of its own; nothing is overwritten. A record counts unless a tombstone covers it, so that
 * committing, discarding and rolling back are changes of this state only, whatever the amount of data. The model, its
 * terms and its numbers are those of DAOS (epochs of 2017-2018); docs/epochs.md says where we differ.
 *
 *   HCE   highest committed epoch       GHCE   highest epoch that is committed by all who hold anything: what readers see
 *   LHE   lowest held epoch             GHPCE  highest epoch that anybody has committed
 *   LRE   lowest referenced epoch       GLRE   lowest LRE of all
 *
 * No I/O, no allocation, no clock. One owner thread at a time. */
#ifndef TL_CORE_EPOCH_EPOCH_H
#define TL_CORE_EPOCH_EPOCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"

#define TL_EPOCH_MAX UINT64_MAX /* LHE: nothing is held; GLRE: nobody refers to anything; no epoch to write at */

/* What a handle may do. */
#define TL_EPOCH_WRITE  1u
#define TL_EPOCH_NOSLIP 2u /* LRE stays where it is when an epoch is committed */
#define TL_EPOCH_KEEP   4u /* it refers to all that is readable when it is opened, not to GHCE */

struct tl_epoch_handle {
    uint32_t id;      /* never used again in this container; 0: none */
    uint32_t era;     /* records carry it: those of an era before a discard are told from those after */
    uint64_t uuid[2]; /* the opener's: opening again with it gives the same handle */
    uint64_t hce, lhe, lre;
    uint64_t
        failed; /* lowest epoch in which a write was lost; TL_EPOCH_MAX: none. Not to be committed, only discarded */
    uint32_t capas;
};

/* Records of this handle, of this era or an earlier one, in epochs first..last, do not count. */
struct tl_epoch_tomb {
    uint32_t handle, era;
    uint64_t first, last;
};

/* The arrays are the caller's: with room for one more of each before every operation. Snapshots are in ascending order. */
struct tl_epochs {
    uint64_t ghce, ghpce;
    uint64_t swept; /* epochs below it have been aggregated, but for the snapshots */
    uint64_t
        kept; /* from here on all is readable though nobody refers to it, until it is swept; TL_EPOCH_MAX: nothing is */
    uint32_t next_handle;
    uint32_t handle_count, handle_max;
    uint32_t tomb_count, tomb_max;
    uint32_t snapshot_count, snapshot_max;
    struct tl_epoch_handle *handles;
    struct tl_epoch_tomb *tombs;
    uint64_t *snapshots;
};

enum tl_epoch_op_type {
    TL_EPOCH_OPEN = 1, /* uuid, capas. -EEXIST: open with other capas */
    TL_EPOCH_CLOSE,    /* its uncommitted records, its hold and its references go. Also: evict */
    TL_EPOCH_HOLD,     /* epoch; 0: the first that nobody has committed; MAX: nothing. The LHE comes back in *epoch */
    TL_EPOCH_COMMIT,   /* epoch: its records up to there count from now on, for all */
    TL_EPOCH_DISCARD,  /* epoch..last: its records there go; they stay held */
    TL_EPOCH_FAIL,     /* epoch: a write of it was lost */
    TL_EPOCH_SLIP,     /* epoch: it will not read below */
    TL_EPOCH_SNAP_CREATE,  /* epoch: stays readable, whoever slips. -ENOENT: not committed, or gone already */
    TL_EPOCH_SNAP_DESTROY, /* epoch. -ENOENT */
    TL_EPOCH_SWEEP,        /* aggregation may take what nobody can refer to; how far comes back in *epoch */
    TL_EPOCH_SWEPT,        /* all records that the tombstone {handle, era, epoch, last} covers are gone: so is it */
};

struct tl_epoch_op {
    enum tl_epoch_op_type type;
    uint32_t handle; /* OPEN gives it; SNAP_*, SWEEP: without meaning */
    uint32_t era;
    uint32_t capas;
    uint64_t uuid[2];
    uint64_t epoch, last;
};

/* What a store has to write down beside the numbers of the container. */
struct tl_epoch_effects {
    uint32_t handle; /* has come, changed or gone; 0: none */
    bool handle_gone;
    bool tomb_added, tomb_gone;         /* the last one of the array; the one that SWEPT names */
    bool snapshot_added, snapshot_gone; /* that of the operation's epoch */
    bool kept_gone;
    bool visible; /* GHCE has risen: who waits for it should look */
};

struct tl_epoch_numbers {
    uint64_t hce, lre, lhe, ghce, glre, ghpce;
};

void tl_epochs_init(struct tl_epochs *s); /* of a new container; keeps the arrays */

/* Carries op out. 0; or a negative errno, and then nothing has changed:
 * -EBADF no such handle (NO_HDL); -EACCES not opened for writing (NO_PERM); -EROFS not held (EP_RO); -EOVERFLOW; -EINVAL;
 * -EEXIST; -ENOENT; -EIO a write of these epochs was lost: discard them first; -ENOSPC no room in an array. */
int tl_epochs_apply(struct tl_epochs *s, struct tl_epoch_op *op, struct tl_epoch_effects *effects) TL_MUST_CHECK;

struct tl_epoch_handle *tl_epochs_handle(const struct tl_epochs *s, uint32_t id); /* NULL: not open */
/* A handle of 0: the container's numbers; lhe and lre are then those of a handle that would be opened. */
void tl_epochs_numbers(const struct tl_epochs *s, uint32_t handle, struct tl_epoch_numbers *out);

/* 0, -EBADF, -EACCES, -EROFS, -EOVERFLOW. */
int tl_epochs_may_write(const struct tl_epochs *s, uint32_t handle, uint64_t epoch) TL_MUST_CHECK;
/* 0; -ESTALE: aggregated, and no snapshot (EP_OLD). Epochs above GHCE are readable, what they hold may change. */
int tl_epochs_may_read(const struct tl_epochs *s, uint64_t epoch) TL_MUST_CHECK;
/* Whether a record counts for who reads at its epoch or later. */
bool tl_epochs_counts(const struct tl_epochs *s, uint32_t handle, uint32_t era, uint64_t epoch);
/* Epochs from here on are all readable. */
uint64_t tl_epochs_readable_from(const struct tl_epochs *s);

/* Every invariant; for tests and fsck. NULL, or which one does not hold. */
const char *tl_epochs_verify(const struct tl_epochs *s);

#endif
