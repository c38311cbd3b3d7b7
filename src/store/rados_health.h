// SPDX-License-Identifier: Apache-2.0
/* How a Ceph cluster is, as far as a pool is concerned: what the files of that share.
 *
 *   rados_answers.c  what monitors, manager and OSDs answer, as structs; asks nobody
 *   rados_groups.c   asks the placement groups
 *   rados_health.c   who is asked, when, and what follows from it
 *
 * Three sources, since each lacks something. The monitors' map says at once which OSDs are up and which of them serve a placement group, to
 * everybody; it does not say whether these have all the data. The placement groups' own word (`pg query`) does, and that somebody who is up
 * does not answer; but OSDs answer it to clients with all rights only. The manager tells everybody, some seconds later, if there is one. */
#ifndef TL_STORE_RADOS_HEALTH_H
#define TL_STORE_RADOS_HEALTH_H

#include "store/rados.h"

#define TL_RADOS_KINDS  (TL_STORE_CLASSES + 1u) /* RADOS pools of a pool: the index, and those of payloads */
#define TL_RADOS_GROUPS 512u                    /* placement groups that are asked one by one; more are the manager's */

/* ---- rados_answers.c ---- */

struct tl_rados_target { /* an OSD */
    uint32_t number;
    bool up, in;
    bool ours; /* a rule of one of our RADOS pools may choose it */
    char host[64];
    uint64_t total_bytes, used_bytes; /* 0: not known */
};

struct tl_rados_kind { /* a RADOS pool */
    char name[64];
    int64_t number;
    uint32_t groups, size, min_size;
    uint32_t redundancy; /* lost OSDs that it survives */
    int64_t rule;
};

struct tl_rados_map {
    uint64_t version;
    struct tl_rados_target *targets;
    uint32_t target_count;
    struct tl_rados_kind kinds[TL_RADOS_KINDS];
    uint32_t kind_count; /* of which names were filled in before */
};

/* From `osd dump`, `osd tree` and `osd crush rule dump`; the last two may be NULL: then hosts are "", and all OSDs ours. Kinds have their
 * names already; one that is not there has no groups. The map that was there is freed. 0, -EBADMSG, -ENOMEM. */
int tl_rados_map_read(struct tl_rados_map *map, const json_t *dump, const json_t *tree,
                      const json_t *rules) TL_MUST_CHECK;
void tl_rados_map_free(struct tl_rados_map *map);
/* `osd df` of the manager. */
void tl_rados_map_space(struct tl_rados_map *map, const json_t *df);

/* How a placement group is, from good to bad. */
enum tl_rados_group_state {
    TL_GROUP_CLEAN,
    TL_GROUP_MENDING,  /* data is being copied to where it should be */
    TL_GROUP_DEGRADED, /* fewer copies than there should be, and nobody makes more now */
    TL_GROUP_CHANGING, /* its OSDs are agreeing who has what: cannot serve, for a moment */
    TL_GROUP_STUCK,    /* cannot serve */
};

struct tl_rados_group {
    char name[24];
    const struct tl_rados_kind *kind;
    int32_t primary; /* -1: none */
    enum tl_rados_group_state state;
    bool said; /* by itself, or by the manager; else as it follows from the map */
    uint64_t version;
    uint64_t copies, missing, misplaced;
};

/* From words like "active+undersized+degraded". */
enum tl_rados_group_state tl_rados_group_state(const char *words);
/* `pg map`: who serves it, and what follows from that. 0, -EBADMSG. */
int tl_rados_group_place(struct tl_rados_group *g, const json_t *answer) TL_MUST_CHECK;
/* Its own word. 0, -EBADMSG. */
int tl_rados_group_said(struct tl_rados_group *g, const json_t *answer) TL_MUST_CHECK;

/* All of a pool's, added up. */
struct tl_rados_groups {
    uint32_t count[TL_GROUP_STUCK + 1];
    uint32_t unsaid;  /* of which only the map says anything */
    uint64_t version; /* the oldest map that any of them speaks of; 0: none has said anything */
    uint64_t copies, missing, misplaced;
    int32_t silent; /* an OSD that is up and did not answer; -1: none */
};
void tl_rados_groups_add(struct tl_rados_groups *all, const struct tl_rados_group *g);
/* `pg ls-by-pool` with the words of those that are not clean, and `df`: adds to `all`. 0, -EBADMSG. */
int tl_rados_groups_managed(struct tl_rados_groups *all, const struct tl_rados_kind *kind, const json_t *groups,
                            const json_t *df) TL_MUST_CHECK;

/* ---- rados_groups.c ---- */

/* Places the groups of a map, then asks each for its word, several at once; those that may not be asked, or do not answer, keep what follows
 * from the map. asks: a connection of its own, with short timeouts. 0; -E2BIG: more than TL_RADOS_GROUPS; -ESTALE: the connection's map is old
 * (*out is there all the same); -ECANCELED; -errno. */
int tl_rados_groups_ask(struct tl_rados *asks, const struct tl_rados_map *map, const _Atomic int *stop,
                        struct tl_rados_groups *out) TL_MUST_CHECK;

#endif
