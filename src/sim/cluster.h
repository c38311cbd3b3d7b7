// SPDX-License-Identifier: Apache-2.0
/* A simulated cluster: hosts that run the shipped core (core/node) with a simulated arena, transport, storage and
 * processes, and the checkers that watch them.
 *
 * host.c drives the nodes as the daemon does: an event and the time go in, every action that comes out is carried out in
 * order, then the deadline is looked at. process.c is the program on each host, checker.c what must hold, faults.c what
 * goes wrong. One owner thread; everything happens inside tl_world_step. */
#ifndef TL_SIM_CLUSTER_H
#define TL_SIM_CLUSTER_H

#include "core/node/node.h"
#include "sim/arena.h"
#include "sim/catalog.h"
#include "sim/checker.h"
#include "sim/faults.h"
#include "sim/plant.h"
#include "sim/simnet.h"
#include "sim/storage.h"
#include "sim/workload.h"
#include "sim/world.h"

struct tl_cluster_config {
    uint32_t nodes;
    uint32_t groups; /* runs of nodes that are near each other, of equal size; 0: none */
    uint64_t seed;
    struct tl_node_config
        node; /* rank, incarnation and the like are filled in; object_max 0: what the workload needs */
    struct tl_fabric_config fabric;
    struct tl_storage_config storage;
    const struct tl_fault_plan *plan; /* what goes wrong; NULL: nothing */
    enum tl_plant plant;
    uint32_t readers_first, readers_last; /* programs run on these ranks only */
    uint64_t start_skew_ns;               /* processes start within this time */
    bool wait_ready;                      /* processes start when the whole tree is connected */
    bool profile;                         /* the tier is told what they will read when they start */
    uint32_t verify_ppm;                  /* share of steps after which tl_node_verify runs */
};

enum tl_process_state { TL_PROCESS_IDLE, TL_PROCESS_WAITING, TL_PROCESS_DONE };

/* A program that reads; with workload.in_step, all of a host's. */
struct tl_process {
    uint64_t open_id; /* WAITING: the request */
    uint64_t issued_ns;
    uint64_t first_busy_ns; /* of this step; 0: not yet */
    struct tl_want want;
    uint32_t step, retries;
    uint32_t asked_object, asked_version; /* version index; LIST: none */
    uint8_t state;                        /* enum tl_process_state */
    bool has_want, cancelled;
};

struct tl_backlog { /* what the transport had no room for; kept in order */
    struct tl_backlog *next;
    struct tl_action action;
    uint8_t header[];
};

struct tl_host {
    struct tl_node *node; /* NULL: crashed */
    struct tl_net *net;
    struct tl_sim_arena arena;
    struct tl_peer *peers; /* connected or connecting */
    uint32_t peer_count, peer_capacity;
    struct tl_backlog *backlog, **backlog_last;
    struct tl_process *processes;
    uint64_t *times;         /* in_step: when each process is ready for the step */
    uint32_t *known;         /* by object: version index + 1 that the kernel knows, 0 none */
    uint64_t timer_armed_ns; /* the pending TIMER event, UINT64_MAX none */
    uint64_t finished_ns;
    uint32_t operators_open;
    uint32_t timers_now; /* timers at this very moment: a node that spins */
    uint64_t timer_last_ns;
    uint16_t epoch; /* incarnation; events of older ones are void */
};

/* An event for the active host's node that arose while its actions were carried out. */
struct tl_follow_up {
    enum tl_event_type type;
    uint32_t rank;
    int status;
    uint64_t cookie;
};

struct tl_cluster {
    struct tl_cluster_config config;
    struct tl_world world;
    struct tl_sim_catalog catalog;
    struct tl_fabric fabric;
    struct tl_storage storage;
    struct tl_workload *workload;
    struct tl_checker checker;
    struct tl_faults faults;
    struct tl_topology *topology;
    struct tl_host *hosts;
    uint32_t active; /* rank whose actions are being carried out, UINT32_MAX none */
    struct tl_follow_up *follow_ups;
    uint32_t follow_up_first, follow_up_count, follow_up_capacity;
    uint64_t next_id;
    uint32_t running; /* processes that have not finished */
    uint64_t started_ns, finished_ns;
    bool planted;                /* the plant has done its deed */
    struct tl_counters counters; /* of nodes that have crashed */
};

/* Builds the cluster; nothing runs yet. The workload stays the caller's. */
void tl_cluster_init(struct tl_cluster *c, const struct tl_cluster_config *config, struct tl_workload *workload);
void tl_cluster_fini(struct tl_cluster *c);
/* Starts all hosts, and their processes when the tree is up (wait_ready) or at once; runs until all processes have
 * finished and every fault has healed, a checker objects, or limit_ns. Then the final checks. True: all is well. */
bool tl_cluster_run(struct tl_cluster *c, uint64_t limit_ns);
/* After a run that went well: the same programs once more, on nodes that hold what they hold. started_ns and finished_ns are
 * then those of this run. */
bool tl_cluster_run_again(struct tl_cluster *c, uint64_t limit_ns);
/* Counters of all nodes, living and dead. */
void tl_cluster_counters(const struct tl_cluster *c, struct tl_counters *out);

/* host.c */
void tl_host_start(struct tl_cluster *c, uint32_t rank);
void tl_host_crash(struct tl_cluster *c, uint32_t rank);
void tl_host_fini(struct tl_cluster *c, uint32_t rank);
/* Gives the node an event, and carries out what follows from it. */
void tl_host_event(struct tl_cluster *c, uint32_t rank, const struct tl_event *ev);
void tl_host_on_ready(void *ctx, uint32_t rank);
void tl_host_on_timer(void *ctx, const struct tl_sim_event *ev);
void tl_host_on_fetched(void *ctx, const struct tl_storage_done *done);
uint64_t tl_host_held_until_ns(void *ctx, uint32_t rank);

/* process.c */
void tl_processes_start(struct tl_cluster *c, uint32_t rank);
void tl_process_on_event(void *ctx, const struct tl_sim_event *ev);
void tl_process_on_answer(struct tl_cluster *c, uint32_t rank, const struct tl_answer *answer);
/* The kernel forgets what it knows at and below path (empty: everything). */
void tl_process_invalidate(struct tl_cluster *c, uint32_t rank, const char *path, uint16_t path_len);
/* From the first step again. */
void tl_processes_restart(struct tl_cluster *c, uint32_t rank);
/* The node has gone: requests that were open are void, and asked again when it is back. */
void tl_processes_forget(struct tl_cluster *c, uint32_t rank);
/* The node stays away: so do its processes. */
void tl_processes_end(struct tl_cluster *c, uint32_t rank);
/* The node is back: its processes go on where they were. */
void tl_processes_resume(struct tl_cluster *c, uint32_t rank);

#endif
