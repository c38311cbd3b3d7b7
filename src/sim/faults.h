// SPDX-License-Identifier: Apache-2.0
/* What goes wrong: chances (on the wire, at storage) and a plan of single faults (crashes, partitions, changed files).
 *
 * A plan is written down in a scenario (scenario.h), or drawn by seed (tl_faults_draw): everything is drawn from (seed, class,
 * number), so that taking one class away leaves the others as they were. With swarm, each class is off in half of the
 * seeds, so that combinations come up in which one fault does not hide what another one does. */
#ifndef TL_SIM_FAULTS_H
#define TL_SIM_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* id, name, what: what seeds are made of */
#define TL_FAULT_CLASSES(X)                                                                                            \
    X(DELAY, "delay", "messages wait, so that connections overtake each other")                                        \
    X(LOSS, "loss", "connections break with everything in flight")                                                     \
    X(FALSE_DOWN, "false-down", "one side takes a good connection for gone")                                           \
    X(LOST_DOWN, "lost-down", "a side is never told that its connection has gone")                                     \
    X(REFUSE, "refuse", "connects are refused")                                                                        \
    X(AGAIN, "again", "the transport takes nothing for a moment")                                                      \
    X(READS, "reads", "pulls fail, come late, or bring other bytes")                                                   \
    X(CRASH, "crash", "daemons die, and start again with nothing")                                                     \
    X(STOP, "stop", "daemons stand still for a while")                                                                 \
    X(PARTITION, "partition", "parts of the network do not hear each other")                                           \
    X(SLOW, "slow", "storage is a hundred times slower")                                                               \
    X(EIO, "eio", "storage fails, once")                                                                               \
    X(CHANGE, "change", "files get new contents, go, and come back")                                                   \
    X(CANCEL, "cancel", "programs give up waiting")                                                                    \
    X(OPERATOR, "operator", "flush and stat all are called")                                                           \
    X(MUTE, "mute", "what some nodes send is lost, what they are sent arrives")

enum tl_fault_class {
#define TL_FAULT_ENUM(id, name, what) TL_FAULT_##id,
    TL_FAULT_CLASSES(TL_FAULT_ENUM)
#undef TL_FAULT_ENUM
        TL_FAULT_COUNT
};
#define TL_FAULTS_ALL ((1u << TL_FAULT_COUNT) - 1)

/* id, name, what it takes: ranks R, a duration T (t: may be left out), two numbers by name (lower case: may be left out). */
#define TL_FAULT_ACTS(X)                                                                                               \
    X(KILL, "kill", "Rt", NULL, NULL)            /* with a duration it starts again, with nothing */                   \
    X(START, "start", "R", NULL, NULL)           /* a node that was absent */                                          \
    X(STOP, "stop", "RT", NULL, NULL)            /* SIGSTOP, SIGCONT */                                                \
    X(PART, "part", "RT", NULL, NULL)            /* hear each other, and nobody else */                                \
    X(MUTE, "mute", "RT", NULL, NULL)            /* are not heard by the rest */                                       \
    X(HANGUP, "hangup", "RA", "neighbour", NULL) /* takes one of its connections for gone */                           \
    X(SLOW, "slow", "TA", "factor", NULL)        /* storage */                                                         \
    X(CHANGE, "change", "AB", "object", "size")                                                                        \
    X(REMOVE, "remove", "A", "object", NULL)                                                                           \
    X(RESTORE, "restore", "A", "object", NULL)                                                                         \
    X(FLUSH, "flush", "Ra", "object", NULL) /* by an operator; no object: everything */                                \
    X(GATHER, "gather", "R", NULL, NULL)                                                                               \
    X(WARM, "warm", "R", NULL, NULL) /* by a profile that names everything */

enum tl_fault_act {
#define TL_ACT_ENUM(id, name, takes, a, b) TL_ACT_FAULT_##id,
    TL_FAULT_ACTS(TL_ACT_ENUM)
#undef TL_ACT_ENUM
        TL_FAULT_ACT_COUNT
};

#define TL_FAULT_NOTHING UINT64_MAX /* a number that was left out */

struct tl_fault {
    uint64_t at_ns; /* after the programs' start */
    uint64_t for_ns;
    enum tl_fault_act act;
    uint32_t first_range, range_count; /* in the plan's ranges */
    uint64_t a, b;
};

struct tl_rank_range {
    uint32_t first, last;
    uint32_t side; /* PART: 1, or 2 */
};

/* Chances in millionths, by name in scenarios. */
#define TL_FAULT_CHANCES(X)                                                                                            \
    X(delay, "delay")                                                                                                  \
    X(loss, "loss")                                                                                                    \
    X(refuse, "refuse")                                                                                                \
    X(again, "again")                                                                                                  \
    X(lost_down, "lost-down")                                                                                          \
    X(read_error, "read-error")                                                                                        \
    X(read_late, "read-late")                                                                                          \
    X(read_garbage, "read-garbage")                                                                                    \
    X(eio, "eio")                                                                                                      \
    X(cancel, "cancel")

struct tl_fault_chances {
#define TL_CHANCE_FIELD(field, name) uint32_t field##_ppm;
    TL_FAULT_CHANCES(TL_CHANCE_FIELD)
#undef TL_CHANCE_FIELD
};

#define TL_PLAN_FAULTS_MAX 1024u
#define TL_PLAN_RANGES_MAX 4096u

struct tl_fault_plan {
    uint64_t window_ns; /* chances end then, after the start of the world */
    uint64_t delay_max_ns;
    struct tl_fault_chances chances;
    uint32_t fault_count, range_count;
    struct tl_fault faults[TL_PLAN_FAULTS_MAX];
    struct tl_rank_range ranges[TL_PLAN_RANGES_MAX];
};

struct tl_cluster;

struct tl_faults {
    uint64_t base_ns;   /* the plan's time 0 */
    uint64_t healed_ns; /* when the last fault is over */
    uint64_t fired[TL_FAULT_ACT_COUNT];
    uint64_t cancels;
};

/* Registers with the cluster's world. */
void tl_faults_handle(struct tl_cluster *c);
/* Sets the chances. The cluster is built, its hosts are not started. */
void tl_faults_start(struct tl_cluster *c);
/* Schedules the plan, from now on. */
void tl_faults_schedule(struct tl_cluster *c);
/* An operator gives a command at that node: FLUSH, GATHER or WARM. */
void tl_faults_operate(struct tl_cluster *c, uint32_t rank, const struct tl_fault *f);
/* Is the node to be absent until the plan starts it? */
bool tl_faults_absent(const struct tl_cluster *c, uint32_t rank);
/* Faults that have struck so far: of the plan, and by chance. */
uint64_t tl_faults_fired(const struct tl_cluster *c);

/* faults_draw.c: a plan by seed, of these classes; with swarm, of half of them. */
void tl_faults_draw(struct tl_fault_plan *plan, uint64_t seed, uint32_t nodes, uint32_t objects, uint32_t classes,
                    bool swarm);
/* "crash,delay", "all", "none" and "all,-crash" to a set of classes. 0, or -EINVAL with *bad pointing at the word. */
int tl_faults_parse(const char *text, uint32_t *classes, const char **bad);
/* The other way, into out. */
void tl_faults_print(uint32_t classes, char *out, size_t max);
const char *tl_fault_name(enum tl_fault_class class);

#endif
