// SPDX-License-Identifier: Apache-2.0
/* RADOS pools that a pool gets of its own: what is to be made, and where. A plan is made from what the monitors say, and refused if it cannot be carried
 * out; only then is anything made. What was made is a list of words, in order, kept in the pool's object, so that it can be taken away:
 *
 *   root tiercel.NAME              a CRUSH root, if hosts were chosen
 *   link HOST tiercel.NAME         below it
 *   rule tiercel.NAME              that copies come from there
 *   pool tiercel.NAME.meta         RADOS pools: state and index, replicated
 *   profile tiercel.NAME.data      of an erasure code
 *   rule tiercel.NAME.data         its rule
 *   pool tiercel.NAME.data         payloads; with several object classes there are tiercel.NAME.RP_3 and so on */
#ifndef TL_STORE_RADOS_PLAN_H
#define TL_STORE_RADOS_PLAN_H

#include "base/class.h"
#include "store/rados.h"

#define TL_RADOS_OWN 64u /* a name of something that is made, with its 0 */

struct tl_rados_plan {
    struct tl_rados *r;
    const struct tl_store_wish *wish;
    uint16_t classes[TL_STORE_CLASSES];
    unsigned class_count;
    json_t *hosts;              /* the names of those that were chosen; NULL: all */
    json_t *tree, *dump, *take; /* answers: osd tree, osd dump, osd crush rule dump */
    json_t *by_id;              /* nodes of the tree */
    char root[TL_RADOS_OWN];    /* below which data is put: ours, or the cluster's own */
    char device[32];            /* class of devices that the cluster's own rule takes; "": any */
    char domain[32];            /* copies are in different ones of these: osd, host, rack */
    unsigned places;            /* how many of them there are */
    unsigned osds;              /* in them */
    unsigned index_copies;
    unsigned pg_num; /* of a RADOS pool with one copy: each gets that, divided by its copies */
};

/* 0; -EINVAL: no such class, host, too few of them; -EEXIST: a name is taken; -errno. */
int tl_rados_plan(struct tl_rados_plan *out, struct tl_rados *r, const struct tl_store_wish *wish,
                  struct tl_error *err) TL_MUST_CHECK;
void tl_rados_plan_fini(struct tl_rados_plan *p);
/* The RADOS pool of a class. */
void tl_rados_plan_name(const struct tl_rados_plan *p, unsigned class, char out[TL_RADOS_OWN]);
/* On how many places an object of a class is. */
unsigned tl_rados_class_width(uint16_t class);

/* Makes it; *made: a list of words as above, the caller's. If that fails, nothing is left, or the sentence says what. */
int tl_rados_plan_make(const struct tl_rados_plan *p, json_t **made, struct tl_error *err) TL_MUST_CHECK;
/* Takes away what is in the list, from its end. 0; -EPERM: the cluster forbids it,
 * or this user's rights; the sentence names what is left. */
int tl_rados_unmake(struct tl_rados *r, const json_t *made, struct tl_error *err) TL_MUST_CHECK;
/* What is there by the names that a pool's own RADOS pools would have, though there is no pool: as such a list. -EEXIST: a RADOS pool that is not
 * empty. */
int tl_rados_left(struct tl_rados *r, json_t **out, struct tl_error *err) TL_MUST_CHECK;

#endif
