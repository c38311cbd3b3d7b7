// SPDX-License-Identifier: Apache-2.0
/* What goes wrong, by seed: chances (on the wire, at storage) and a schedule (crashes, partitions, changed files).
 *
 * Everything is drawn from (seed, class, number), so that taking one class away leaves the others as they were. All
 * faults end at window_ns: then everything that was down is up again, and the checkers wait for the cluster to settle. */
#ifndef TL_SIM_FAULTS_H
#define TL_SIM_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* id, name, what */
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
    X(OPERATOR, "operator", "flush and stat all are called")

enum tl_fault_class {
#define TL_FAULT_ENUM(id, name, what) TL_FAULT_##id,
    TL_FAULT_CLASSES(TL_FAULT_ENUM)
#undef TL_FAULT_ENUM
        TL_FAULT_COUNT
};
#define TL_FAULTS_ALL ((1u << TL_FAULT_COUNT) - 1)

struct tl_faults_config {
    uint32_t classes; /* bit i: enum tl_fault_class */
    uint64_t window_ns;
    uint32_t cancel_ppm;
};

struct tl_cluster;

struct tl_faults {
    uint64_t healed_ns; /* when the last fault is over */
    uint32_t scheduled;
};

/* Registers with the cluster's world. */
void tl_faults_handle(struct tl_cluster *c);
/* Draws and schedules everything. The cluster is built, its hosts are not started. */
void tl_faults_start(struct tl_cluster *c);

/* "crash,delay", "all", "none" and "all,-crash" to a set of classes. 0, or -EINVAL with *bad pointing at the word. */
int tl_faults_parse(const char *text, uint32_t *classes, const char **bad);
/* The other way, into out. */
void tl_faults_print(uint32_t classes, char *out, size_t max);
const char *tl_fault_name(enum tl_fault_class class);

#endif
