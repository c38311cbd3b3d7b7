// SPDX-License-Identifier: Apache-2.0
/* A scenario: a small cluster, what its programs read, what goes wrong, and what is expected. Text files (docs/scenarios.md),
 * seeds (seeds.h) and what remains of a failing seed (shrink.h) are all of this form; the simulator runs it exactly, the lab
 * (test/lab/scenario) with real daemons as far as that can be. */
#ifndef TL_SIM_SCENARIO_H
#define TL_SIM_SCENARIO_H

#include "base/error.h"
#include "sim/cluster.h"

#define TL_SCENARIO_EXPECTS_MAX 32u
#define TL_SCENARIO_TEXT_MAX    200u
#define TL_SCENARIO_NODES_MAX   100000u

/* What happened; `expect` lines compare these. All sums but longest-wait-ms and what follows it. */
#define TL_SCENARIO_METRICS(X)                                                                                         \
    X(requests, "requests")                                                                                            \
    X(errors, "errors") /* answers that are errno, cancelled ones apart */                                             \
    X(faults, "faults") /* that struck: of the plan, and by chance */                                                  \
    X(struck_delay, "struck-delay")                                                                                    \
    X(struck_loss, "struck-loss")                                                                                      \
    X(struck_refuse, "struck-refuse")                                                                                  \
    X(struck_again, "struck-again")                                                                                    \
    X(struck_lost_down, "struck-lost-down")                                                                            \
    X(struck_reads, "struck-reads")                                                                                    \
    X(struck_kill, "struck-kill")                                                                                      \
    X(struck_start, "struck-start")                                                                                    \
    X(struck_stop, "struck-stop")                                                                                      \
    X(struck_part, "struck-part")                                                                                      \
    X(struck_mute, "struck-mute")                                                                                      \
    X(struck_hangup, "struck-hangup")                                                                                  \
    X(struck_slow, "struck-slow")                                                                                      \
    X(struck_change, "struck-change")                                                                                  \
    X(struck_remove, "struck-remove")                                                                                  \
    X(struck_restore, "struck-restore")                                                                                \
    X(struck_flush, "struck-flush")                                                                                    \
    X(struck_gather, "struck-gather")                                                                                  \
    X(coalesced, "coalesced")                                                                                          \
    X(negative_hits, "negative-hits")                                                                                  \
    X(peers_lost, "peers-lost")                                                                                        \
    X(invalidations, "invalidations")                                                                                  \
    X(bad_messages, "bad-messages")                                                                                    \
    X(connections_lost, "connections-lost")                                                                            \
    X(reparented, "reparented")                                                                                        \
    X(retried, "retried")                                                                                              \
    X(evictions, "evictions")                                                                                          \
    X(storage_errors, "storage-errors")                                                                                \
    X(stale, "stale")                                                                                                  \
    X(damaged, "damaged") /* chunks that did not fit their digest */                                                   \
    X(cancelled, "cancelled")                                                                                          \
    X(busy, "busy")                                                                                                    \
    X(commands, "commands")                                                                                            \
    X(incomplete, "incomplete") /* commands that did not reach all nodes */                                            \
    X(storage_reads, "storage-reads")                                                                                  \
    X(storage_lists, "storage-lists")                                                                                  \
    X(read_again, "read-again")           /* hand-overs by storage beyond the first of each chunk and listing */       \
    X(alone, "alone")                     /* fetches by nodes other than rank 0 */                                     \
    X(longest_wait_ms, "longest-wait-ms") /* of a program for an answer */                                             \
    X(storage_at_once, "storage-at-once") /* most fetches that storage had under way */                                \
    X(children_most, "children-most")     /* of one node */                                                            \
    X(finished_ms, "finished-ms")         /* the last program, after the first's start */

struct tl_scenario_metrics {
#define TL_METRIC_FIELD(field, name) uint64_t field;
    TL_SCENARIO_METRICS(TL_METRIC_FIELD)
#undef TL_METRIC_FIELD
};

struct tl_scenario_expect {
    uint32_t metric; /* its place in TL_SCENARIO_METRICS */
    enum { TL_EXPECT_AT_MOST, TL_EXPECT_AT_LEAST, TL_EXPECT_EQUAL } how;
    uint64_t value;
};

struct tl_scenario {
    char name[TL_SCENARIO_TEXT_MAX];
    struct tl_cluster_config config; /* config.plan: &plan, while it runs */
    struct tl_fault_plan plan;
    bool lab; /* real daemons can do it, too */
    char workload[16];
    uint32_t steps, processes;  /* random: of each process; programs a node. 0: the workload's */
    uint32_t files, file_bytes; /* files: so many, so large */
    uint64_t gap_ns;            /* files: between two reads of a program */
    uint64_t limit_ns;          /* of simulated time */
    uint32_t expect_count;
    struct tl_scenario_expect expects[TL_SCENARIO_EXPECTS_MAX];
};

struct tl_scenario_result {
    bool good;
    uint64_t trace, events, end_ns;
    struct tl_scenario_metrics metrics;
    char what[TL_VIOLATION_MAX];
};

/* What a file starts from. */
void tl_scenario_default(struct tl_scenario *s);
/* One whole file. 0, or -EINVAL with a sentence that starts `file:line: ` and says what to write instead. */
int tl_scenario_parse(struct tl_scenario *s, const char *file, const char *text, size_t len,
                      struct tl_error *err) TL_MUST_CHECK;
/* What tl_scenario_parse reads back as the same scenario: bytes needed, as snprintf. */
size_t tl_scenario_print(const struct tl_scenario *s, char *out, size_t max);
/* Puts setting i back to what a file starts from. False: there are no more than i. */
bool tl_scenario_reset(struct tl_scenario *s, uint32_t i, bool *changed);
const char *tl_scenario_metric_name(uint32_t metric);

/* Runs it in this process; a failed check() aborts. */
void tl_scenario_run(struct tl_scenario *s, struct tl_scenario_result *out);
/* In a child, so that an abort is a result like any other. */
void tl_scenario_run_forked(struct tl_scenario *s, struct tl_scenario_result *out);
/* What the lab does for it, as JSON to standard output. 0; -EINVAL with a sentence: the lab cannot do it. */
int tl_scenario_print_plan(const struct tl_scenario *s, struct tl_error *err) TL_MUST_CHECK;
/* tiercel-sim scenario FILE...: runs all, prints a line each. 0 all hold, 1 some do not, 2 a file is no scenario. */
int tl_scenario_main(int argc, char **argv);

#endif
