// SPDX-License-Identifier: Apache-2.0
/* A table from (what was done, code) to sentences, and the places where they are kept.
 *
 * {words} in a sentence stand for what is known: {doing}: the verb's own words; {epoch}, {last}, {thing}; {held}: the lowest held epoch;
 * {ghce}; {from}: from where on all is readable. */
#include "client/why.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

static _Thread_local char last[TL_WHY_MAX];

static const char *const doing[TL_DO_COUNT] = {
    [TL_DO_ANY] = "the call failed",
    [TL_DO_POOL_CREATE] = "it cannot be made",
    [TL_DO_POOL_CONNECT] = "it cannot be connected to",
    [TL_DO_POOL_QUERY] = "it cannot be asked",
    [TL_DO_POOL_TARGETS] = "its targets cannot be listed",
    [TL_DO_POOL_WAIT] = "waiting for its state to change has ended",
    [TL_DO_POOL_EVICT] = "its connections cannot be ended",
    [TL_DO_POOL_DESTROY] = "it cannot be destroyed",
    [TL_DO_POOL_DISCONNECT] = "it cannot be disconnected cleanly",
    [TL_DO_POOL_CHECK] = "it cannot be checked",
    [TL_DO_CONT_CREATE] = "it cannot be made",
    [TL_DO_CONT_DESTROY] = "it cannot be destroyed",
    [TL_DO_CONT_LIST] = "its containers cannot be listed",
    [TL_DO_HANDLE_LIST] = "its handles cannot be listed",
    [TL_DO_CONT_OPEN] = "it cannot be opened",
    [TL_DO_CONT_OPEN_SNAPSHOT] = "it cannot be opened at epoch {epoch}",
    [TL_DO_CONT_CLOSE] = "it cannot be closed cleanly",
    [TL_DO_CONT_QUERY] = "it cannot be asked",
    [TL_DO_CONT_EVICT] = "its handles cannot be closed",
    [TL_DO_PROP_GET] = "a property cannot be read",
    [TL_DO_PROP_SET] = "a property cannot be set",
    [TL_DO_ATTR_SET] = "attribute '{thing}' cannot be set",
    [TL_DO_ATTR_GET] = "attribute '{thing}' cannot be read",
    [TL_DO_ATTR_LIST] = "its attributes cannot be listed",
    [TL_DO_SHARE] = "the handle cannot be shared",
    [TL_DO_ATTACH] = "a shared handle cannot be made a local one",
    [TL_DO_EPOCH_QUERY] = "its epochs cannot be asked for",
    [TL_DO_HOLD] = "epoch {epoch} cannot be held",
    [TL_DO_FLUSH] = "epoch {epoch} cannot be flushed",
    [TL_DO_COMMIT] = "epoch {epoch} cannot be committed",
    [TL_DO_DISCARD] = "epochs {epoch} to {last} cannot be discarded",
    [TL_DO_SLIP] = "references cannot slip to epoch {epoch}",
    [TL_DO_WAIT] = "waiting for epoch {epoch} has ended",
    [TL_DO_SNAP_CREATE] = "epoch {epoch} cannot become a snapshot",
    [TL_DO_SNAP_DESTROY] = "the snapshot of epoch {epoch} cannot be destroyed",
    [TL_DO_SNAP_LIST] = "its snapshots cannot be listed",
    [TL_DO_AGGREGATE] = "it cannot be aggregated",
    [TL_DO_WRITE] = "nothing can be written at epoch {epoch}",
    [TL_DO_READ] = "epoch {epoch} cannot be read",
    [TL_DO_PUNCH] = "nothing can be punched at epoch {epoch}",
    [TL_DO_LIST] = "epoch {epoch} cannot be listed",
    [TL_DO_OID] = "no object numbers can be given",
    [TL_DO_COPY] = "it cannot be copied",
    [TL_DO_DIFF] = "epochs {epoch} and {last} cannot be compared",
    [TL_DO_LOCK] = "lock '{thing}' cannot be had",
    [TL_DO_UNLOCK] = "lock '{thing}' cannot be let go of cleanly",
};

/* The first row that fits. Rows of one verb come before those of any. */
static const struct row {
    enum tl_verb verb;
    int code;
    const char *text;
} rows[] = {
    {TL_DO_HOLD, EOVERFLOW,
     "{doing}: epochs end below 2^64 - 1; ask for a lower one, or for TIERCEL_EPOCH_MAX to let go"},
    {TL_DO_FLUSH, EROFS, "{doing}: it is not held ({held}); hold it before writing"},
    {TL_DO_FLUSH, EIO, "{doing}: a write was lost; discard the epoch and write it anew"},
    {TL_DO_FLUSH, ENOSPC,
     "{doing}: no space is left, and writes were lost; make room, discard the epoch and write it anew"},
    {TL_DO_COMMIT, EROFS, "{doing}: it is not held ({held}); hold it first"},
    {TL_DO_COMMIT, EIO, "{doing}: a write at or below it was lost; discard these epochs and write them anew"},
    {TL_DO_COMMIT, EINVAL, "{doing} in order without an event; pass one, or use tiercel_epoch_commit"},
    {TL_DO_COMMIT, ECANCELED,
     "{doing}: its turn had not come when the container was closed or the call aborted; commit it "
     "while the container is open"},
    {TL_DO_DISCARD, EROFS, "{doing}: they are not held ({held}); what is below is committed, and stays"},
    {TL_DO_DISCARD, EINVAL, "{doing}: the first is above the last; pass them in order"},
    {TL_DO_WAIT, ECANCELED, "{doing}: the container was closed, or the wait aborted; open it and wait anew"},
    {TL_DO_WAIT, ENOENT, "{doing}: the container was destroyed; ask its producer"},
    {TL_DO_POOL_WAIT, ECANCELED, "{doing}: it was disconnected, or the wait aborted; connect and wait anew"},
    {TL_DO_POOL_TARGETS, ETIMEDOUT, "{doing}: no monitor of the cluster has answered in time; look whether they run"},
    {TL_DO_SNAP_CREATE, ENOENT, "{doing}: only epochs from {from} to {ghce} can; commit it first, or take another"},
    {TL_DO_SNAP_CREATE, EDQUOT,
     "{doing}: there are as many as the property snapshots-max allows; destroy one, or raise it"},
    {TL_DO_SNAP_DESTROY, ENOENT, "{doing}: there is none; tiercel_snap_list shows which there are"},
    {TL_DO_CONT_OPEN_SNAPSHOT, ENOENT,
     "{doing}: there is no such container, or it has no such snapshot; look with "
     "tiercel_cont_list and tiercel_snap_list"},
    {TL_DO_AGGREGATE, EBUSY, "{doing}: another process does it now; there is nothing to be done"},
    {TL_DO_AGGREGATE, ECANCELED, "aggregation was ended early; begin it anew, it goes on where it was"},
    {TL_DO_WRITE, EROFS, "{doing}: it is not held ({held}); hold it first"},
    {TL_DO_WRITE, EEXIST, "{doing} on the condition that nothing is there: there is something under this key"},
    {TL_DO_WRITE, ENOENT, "{doing} on the condition that something is there: there is nothing under this key"},
    {TL_DO_WRITE, EINVAL,
     "{doing}: extents that overlap, or sizes that do not fit together or to what is there; see "
     "tiercel_update"},
    {TL_DO_PUNCH, EROFS, "{doing}: it is not held ({held}); hold it first"},
    {TL_DO_PUNCH, ENOENT, "{doing} on the condition that something is there: there is nothing"},
    {TL_DO_READ, ESTALE, "{doing}: it was aggregated; readable are snapshots, and all epochs from {from} on"},
    {TL_DO_READ, ENOENT, "there is nothing under this key at epoch {epoch}"},
    {TL_DO_READ, ENOBUFS,
     "a value of epoch {epoch} does not fit into the buffer; its size was given back: pass more room"},
    {TL_DO_READ, EINVAL,
     "{doing} in this way: records have another size, or it is a single value and not an array; ask "
     "with buffer NULL what it is"},
    {TL_DO_LIST, ESTALE, "{doing}: it was aggregated; readable are snapshots, and all epochs from {from} on"},
    {TL_DO_DIFF, ESTALE, "{doing}: one of them was aggregated; readable are snapshots, and all epochs from {from} on"},
    {TL_DO_LIST, ENOBUFS, "not even one key fits into the buffer; pass room for TIERCEL_KEY_MAX bytes"},
    {TL_DO_LOCK, EAGAIN, "{doing}: somebody holds it; try again, or with a timeout"},
    {TL_DO_LOCK, ETIMEDOUT,
     "{doing}: who holds it did not let go in time; wait longer, or look for who does not unlock"},
    {TL_DO_LOCK, ECANCELED, "{doing}: the container was closed, or the call aborted"},
    {TL_DO_LOCK, EACCES, "{doing} exclusively: the container was opened for reading; open it with TIERCEL_RW"},
    {TL_DO_LOCK, ENOSPC, "{doing}: there are too many locks with different names in this pool; use fewer"},
    {TL_DO_ATTR_GET, ENOENT, "{doing}: there is none of this name; tiercel_cont_list_attrs shows which there are"},
    {TL_DO_ATTR_SET, ENOENT, "attribute '{thing}' cannot be taken away: there is none of this name"},
    {TL_DO_ATTR_GET, ENOBUFS, "{doing}: it is larger than the buffer; its size was given back: pass more room"},
    {TL_DO_ATTR_SET, EINVAL, "{doing}: it needs a name, and at most TIERCEL_ATTR_MAX bytes"},
    {TL_DO_SHARE, ENOBUFS, "{doing}: the buffer is too small; the size it needs was given back"},
    {TL_DO_ATTACH, EINVAL,
     "{doing}: these bytes do not come from local2global of this kind of handle, or of this pool"},
    {TL_DO_ATTACH, EBADF,
     "{doing}: it was closed or evicted meanwhile; the process that shared it has to keep it open"},
    {TL_DO_POOL_CONNECT, EBUSY,
     "{doing}: somebody else is connected and one of the two wants it alone; wait, or evict them"},
    {TL_DO_POOL_DESTROY, EBUSY, "{doing}: somebody is connected; disconnect them, or pass TIERCEL_FORCE"},
    {TL_DO_POOL_CREATE, EEXIST, "{doing}: there is one; connect to it, or choose another place"},
    {TL_DO_CONT_CREATE, EEXIST, "{doing}: there is one of this label; open it, or choose another label"},
    {TL_DO_CONT_CREATE, EINVAL, "{doing}: a label is 1 to 127 letters, digits and ._:- and not a UUID"},
    {TL_DO_CONT_DESTROY, EBUSY, "{doing}: somebody has it open; have it closed, or pass TIERCEL_FORCE"},
    {TL_DO_POOL_CHECK, EBUSY, "{doing} and repaired: somebody else has it open; have it closed first"},

    {TL_DO_ANY, EBADF,
     "{doing}: the handle was closed or evicted, also for silence longer than a lease, or its pool disconnected; open "
     "it "
     "anew"},
    {TL_DO_ANY, EACCES, "{doing}: it was opened for reading only; open it, and its pool, with TIERCEL_RW"},
    {TL_DO_ANY, EROFS, "{doing}: it cannot be written; hold the epoch first ({held})"},
    {TL_DO_ANY, EOVERFLOW, "{doing}: a number is too large; epochs end below 2^64 - 1, objects at 2^64 - 1 records"},
    {TL_DO_ANY, ENOSPC, "{doing}: no space is left; make room, by aggregation for example, and try again"},
    {TL_DO_ANY, EDQUOT, "{doing}: the quota is used up; make room, by aggregation for example, and try again"},
    {TL_DO_ANY, EBADMSG, "{doing}: what is stored is damaged, or of a newer release; tiercel_pool_check says what"},
    {TL_DO_ANY, ENOENT, "{doing}: it does not exist; look for its name"},
    {TL_DO_ANY, ETIMEDOUT,
     "{doing}: those who store it did not answer in time; see what is down with `tiercel pool query`, and try again"},
    {TL_DO_ANY, ESHUTDOWN,
     "{doing}: the cluster has this process, or all of its host, on its blocklist; what is not committed is lost: "
     "start it anew, or have it taken off (see `ceph osd blocklist ls`)"},
    {TL_DO_ANY, EIO, "{doing}: the storage gave an error; look into the system's log, and check the pool"},
    {TL_DO_ANY, ENOMEM, "{doing}: out of memory; free some and try again"},
    {TL_DO_ANY, ENAMETOOLONG,
     "{doing}: a key or a name is too long; keys have up to TIERCEL_KEY_MAX bytes, those of value 0 "
     "counted twice"},
    {TL_DO_ANY, EFBIG,
     "{doing}: a value or an object would be too large; single values have up to TIERCEL_VALUE_MAX bytes"},
    {TL_DO_ANY, ECANCELED, "{doing}: the call was aborted before it began, or its handle closed"},
    {TL_DO_ANY, EINVAL, "{doing}: a parameter makes no sense; see tiercel/pool.h"},
    {TL_DO_ANY, EDEADLK,
     "{doing} from inside a callback of the library; do it when the call that calls back has returned"},
};

static const char *row_for(enum tl_verb verb, int code)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].code == -code && (rows[i].verb == verb || rows[i].verb == TL_DO_ANY))
            return rows[i].text;
    return NULL;
}

struct text {
    char *at;
    size_t used;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(t->at + t->used, TL_WHY_MAX - t->used, fmt, args);
    va_end(args);
    if (n > 0)
        t->used += (size_t)n < TL_WHY_MAX - t->used ? (size_t)n : TL_WHY_MAX - t->used - 1;
}

static void add_epoch(struct text *t, uint64_t epoch)
{
    if (epoch == TIERCEL_EPOCH_MAX)
        add(t, "TIERCEL_EPOCH_MAX");
    else
        add(t, "%" PRIu64, epoch);
}

static void add_word(struct text *t, const struct tl_about *a, const char *word, size_t len)
{
    static const struct tiercel_epochs unknown = {.lhe = TIERCEL_EPOCH_MAX};
    const struct tiercel_epochs *n = a->numbers != NULL ? a->numbers : &unknown;
    const bool known = a->numbers != NULL;
    if (strncmp(word, "epoch", len) == 0)
        add_epoch(t, a->epoch);
    else if (strncmp(word, "last", len) == 0)
        add_epoch(t, a->last);
    else if (strncmp(word, "thing", len) == 0)
        add(t, "%.255s", a->thing != NULL ? a->thing : "");
    else if (strncmp(word, "held", len) == 0 && !known)
        add(t, "tiercel_epoch_query shows what is");
    else if (strncmp(word, "held", len) == 0 && n->lhe == TIERCEL_EPOCH_MAX)
        add(t, "nothing is held");
    else if (strncmp(word, "held", len) == 0)
        add(t, "lowest held epoch %" PRIu64, n->lhe);
    else if (!known)
        add(t, "the lowest that is referenced");
    else if (strncmp(word, "ghce", len) == 0)
        add_epoch(t, n->ghce);
    else if (strncmp(word, "from", len) == 0)
        add_epoch(t, n->glre < n->ghce ? n->glre : n->ghce);
}

/* Nothing is nested but {doing}. */
static void add_sentence(struct text *t, const struct tl_about *a, const char *text)
{
    for (const char *at = text; *at != 0;) {
        const char *end = *at == '{' ? strchr(at, '}') : NULL;
        if (end != NULL) {
            add_word(t, a, at + 1, (size_t)(end - at) - 1);
            at = end + 1;
        } else {
            size_t n = strcspn(at + 1, "{") + 1;
            add(t, "%.*s", (int)n, at);
            at += n;
        }
    }
}

void tl_why_make(char out[TL_WHY_MAX], const struct tl_about *a, int code, const struct tl_error *inner)
{
    struct text t = {.at = out};
    const char *row = row_for(a->verb, code), *rest = row;
    check(code < 0 && a->verb < TL_DO_COUNT);
    out[0] = 0;
    if (inner != NULL && inner->msg[0] != 0) {
        add(&t, "%s", inner->msg);
        return;
    }
    if (a->name != NULL)
        add(&t, "%s %.512s: ", a->kind, a->name);
    if (row == NULL || strncmp(row, "{doing}", 7) == 0) {
        add_sentence(&t, a, doing[a->verb]);
        rest = row != NULL ? row + 7 : NULL;
    }
    if (a->damage != NULL && code == -EBADMSG)
        add(&t, ": damaged: %s; tiercel pool check says what to do", a->damage);
    else if (rest != NULL)
        add_sentence(&t, a, rest);
    else
        add(&t, ": %s", tiercel_strerror(code));
}

/* ---- where they are kept ---- */

static int keep(struct tiercel_error *err, int code)
{
    if (err != NULL) {
        err->code = code;
        memcpy(err->message, last, sizeof last);
    }
    return code;
}
_Static_assert(sizeof last == sizeof((struct tiercel_error *)0)->message, "a sentence fits");

int tl_why_fail(struct tiercel_error *err, int code, const char *fmt, ...)
{
    va_list args;
    check(code < 0);
    va_start(args, fmt);
    vsnprintf(last, sizeof last, fmt, args);
    va_end(args);
    return keep(err, code);
}

int tl_why_failed(struct tiercel_error *err, const struct tl_about *about, int code, const struct tl_error *inner)
{
    tl_why_make(last, about, code, inner);
    return keep(err, code);
}

const char *tl_why_last(void)
{
    return last;
}
