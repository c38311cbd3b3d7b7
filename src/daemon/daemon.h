// SPDX-License-Identifier: Apache-2.0
/* The daemon: one thread on an epoll loop that drives the core with real time, transport, arena, source and fronts.
 *
 * Files: main.c (start, stop), loop.c (epoll), drive.c (events in, actions out), fronts.c (mounts), control.c (the
 * socket), verbs.c (what it answers), kept.c (what its keeper holds for it; the keeper itself is keeper.c). Everything here belongs to the loop's thread. */
#ifndef TL_DAEMON_DAEMON_H
#define TL_DAEMON_DAEMON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cache/arena.h"
#include "core/node/node.h"
#include "daemon/keeper.h"
#include "daemon/options.h"
#include "daemon/pressure.h"
#include "daemon/rate.h"
#include "daemon/timeline.h"
#include "daemon/values.h"
#include "front/front.h"
#include "front/fuse/fuse.h"
#include "net/transport.h"
#include "source/source.h"

#define TL_FRONTS_MAX    64u
#define TL_CONTROLS_MAX  256u /* connections to the control socket */
#define TL_FRONT_SHIFT   48   /* a request's id at the core: front number above, the front's own id below */
#define TL_FRONT_CONTROL 0xffffu
#define TL_FRONT_WARM    0xfffeu
#define TL_FRONT_LOCAL   0xfffdu

/* What an epoll event is about, unless it is the transport's (TL_NET_EPOLL). */
enum tl_watch_kind {
    TL_WATCH_SOURCE,
    TL_WATCH_FRONT,
    TL_WATCH_LISTEN,
    TL_WATCH_CONTROL,
    TL_WATCH_SIGNAL,
    TL_WATCH_MOUNTS,
    TL_WATCH_KEEPER,
    TL_WATCH_METRICS,
    TL_WATCH_VALUES,
    TL_WATCH_LOWER
};

struct tl_mount {
    struct tl_fuse *fuse; /* NULL: free */
    char *path, *source;
    int pid;    /* holder of the namespace it lives in, 0: our own */
    bool ended; /* to be freed by the loop */
};

/* A message that the transport could not take yet. */
struct tl_unsent {
    struct tl_unsent *next;
    uint64_t cookie;
    struct tl_net_payload payload;
    bool pull; /* a read() instead, with these */
    uint64_t remote_addr, addr, deadline_ns;
    uint32_t len, header_len;
    uint8_t header[];
};

struct tl_link {
    struct tl_peer peer;
    bool up;
    struct tl_unsent *first, *last;
};

struct tl_daemon_key {
    uint8_t bytes[TL_KEY_SIZE];
    uint64_t expires_s; /* seconds since 1970; 0: never */
};

struct tl_control; /* a connection to the control socket; control.c */
struct tl_metrics; /* metrics.c */

struct tl_daemon {
    struct tl_options options;
    struct tl_node *node;
    struct tl_topology *topology; /* NULL: the node list names no groups */
    struct tl_net *net;
    struct tl_arena *arena;
    struct tl_source *source;
    struct tl_pressure pressure;
    struct tl_rate rate;     /* of the storage */
    struct tl_values values; /* of local programs */
    struct tl_link *links;   /* by rank */
    struct tl_mount mounts[TL_FRONTS_MAX];
    struct tl_front_host host;
    struct tl_fuse_stats past;  /* of mounts that have ended */
    struct tl_metrics *metrics; /* NULL: off */
    struct tl_timeline timeline;
    struct tl_control *controls[TL_CONTROLS_MAX];
    struct tl_local *locals;      /* local.c; TL_CONTROLS_MAX, NULL: none was ever needed */
    struct tl_recorder *recorder; /* record.c; NULL: nobody records */
    struct tl_warmer *warmer;     /* warm.c; NULL: nobody has warmed yet */
    uint64_t no_memory_said_ns;
    uint8_t *queue; /* requests of fronts and synthesised events, run after the present one */
    size_t queue_used, queue_size;
    int epoll_fd, signal_fd, listen_fd, mounts_fd;
    uint64_t started_ns;
    uint64_t next_command;
    bool stopping;
    bool restarting; /* stopping, and another daemon goes on: what the keeper holds stays as it is */
    bool stepping;
    /* from the keeper */
    struct {
        int fds[2]; /* -1: none */
        char *text; /* where it is mounted, if it is ours to unmount; NULL: not */
    } kept[TL_KEEPER_HOLDS];
    struct tl_daemon_key keys[TL_NET_KEYS_MAX]; /* keys.c; the first is the one that we prove */
    uint32_t key_count;
    uint32_t restarts;
    bool after_crash, may_refuse;
    char socket_path[4200], pid_path[4200];
};

/* log: one line, time and key=value; levels are words. */
void tl_log(const char *level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* drive.c */
int tl_drive_open(struct tl_daemon *d, struct tl_error *err) TL_MUST_CHECK;
void tl_drive_close(struct tl_daemon *d);
void tl_drive_event(struct tl_daemon *d, const struct tl_event *ev); /* steps the core and carries its actions out */
void tl_drive_queue(struct tl_daemon *d);                            /* runs what was queued meanwhile */
void tl_drive_net(struct tl_daemon *d);
void tl_drive_source(struct tl_daemon *d);
void tl_drive_memory(struct tl_daemon *d);       /* gives way when the control group is short of it */
uint64_t tl_drive_deadline(struct tl_daemon *d); /* ns; 0: at once */
void tl_drive_timers(struct tl_daemon *d);
void tl_drive_request(struct tl_daemon *d, uint32_t front, const struct tl_request *request);
void tl_drive_profile(struct tl_daemon *d, uint32_t count); /* warm.c has so many items more */
void tl_drive_cancel(struct tl_daemon *d, uint32_t front, uint64_t id);

/* fronts.c */
void tl_fronts_init(struct tl_daemon *d);
int tl_fronts_watch(struct tl_daemon *d, struct tl_error *err) TL_MUST_CHECK; /* the mount table, from now on */
void tl_fronts_mounts_changed(struct tl_daemon *d);
void tl_fronts_close(struct tl_daemon *d);
/* Serves source_root at path: mounts it here (fd -1), or takes over an fd that is mounted in pid's namespace. Front number or -errno. */
int tl_fronts_add(struct tl_daemon *d, const char *path, const char *source_root, int fd, bool map_owner, int pid,
                  struct tl_error *err) TL_MUST_CHECK;
int tl_fronts_remove(struct tl_daemon *d, const char *path, struct tl_error *err) TL_MUST_CHECK;
void tl_fronts_ready(struct tl_daemon *d, uint32_t front);
void tl_fronts_answer(struct tl_daemon *d, const struct tl_answer *answer);
void tl_fronts_invalidate(struct tl_daemon *d, const char *path, uint16_t path_len);
/* Those that the daemon before served. Fails only if the keeper has a better program for them. */
int tl_fronts_take_over(struct tl_daemon *d, struct tl_error *err) TL_MUST_CHECK;
void tl_fronts_stats(const struct tl_daemon *d, struct tl_fuse_stats *sum); /* of all mounts, ended ones too */
uint32_t tl_fronts_count_of(const struct tl_daemon *d, int pid);            /* that live in this holder's namespace */
void tl_fronts_reap(struct tl_daemon *d);                                   /* frees those that have ended */

/* record.c: what a start reads. */
void tl_record_request(struct tl_daemon *d, const struct tl_request *q);
void tl_record_blob(struct tl_daemon *d, enum tl_op op, const char *path,
                    uint16_t path_len);               /* used without a request */
bool tl_record_begin(struct tl_daemon *d, int owner); /* false: somebody else records, or this is not node 0 */
/* Writes the profile to fd and forgets it. 0, -ENOENT: that process does not record; -errno of writing. */
int tl_record_end(struct tl_daemon *d, int owner, int fd, uint32_t *items) TL_MUST_CHECK;
void tl_record_close(struct tl_daemon *d);

/* warm.c: what starts have read is asked for. */
void tl_warm_load(struct tl_daemon *d, const char *path, uint16_t path_len);
void tl_warm_answer(struct tl_daemon *d, const struct tl_answer *a);
void tl_warm_close(struct tl_daemon *d);
bool tl_warm_item(void *ctx, uint32_t i, struct tl_profile_item *out);
int tl_warm_find_file(void *ctx, uint64_t addr, uint32_t len, const char *name, uint16_t name_len, uint64_t *version,
                      uint64_t *size_bytes);

/* local.c: listings and files for clients without a mount. */
void tl_verb_local(struct tl_daemon *d, struct tl_control *c);
void tl_verb_where(struct tl_daemon *d, struct tl_control *c);
void tl_local_answer(struct tl_daemon *d, const struct tl_answer *a);
void tl_local_gone(struct tl_daemon *d, const struct tl_control *c); /* its connection is being closed */

/* kept.c. Without a keeper none of them does anything. */
int tl_kept_take(struct tl_daemon *d, struct tl_error *err) TL_MUST_CHECK; /* what the daemon before left */
void tl_kept_hold(struct tl_daemon *d, uint32_t id, int first, int second, const char *text);
void tl_kept_drop(struct tl_daemon *d, uint32_t id);
void tl_kept_ready(struct tl_daemon *d);
void tl_kept_restart(struct tl_daemon *d, const char *program);
void tl_kept_lost(struct tl_daemon *d); /* the keeper is gone */

void tl_daemon_write_pid(struct tl_daemon *d); /* main.c: of a daemon without a keeper */

/* loop.c */
int tl_loop_watch(struct tl_daemon *d, int fd, enum tl_watch_kind kind, uint32_t index, uint32_t events);
void tl_loop_unwatch(struct tl_daemon *d, int fd);
int tl_loop_run(struct tl_daemon *d, struct tl_error *err) TL_MUST_CHECK;

/* control.c */
int tl_control_open(struct tl_daemon *d, struct tl_error *err) TL_MUST_CHECK;
void tl_control_close(struct tl_daemon *d);
void tl_control_accept(struct tl_daemon *d);
void tl_control_ready(struct tl_daemon *d, uint32_t index, uint32_t events);
void tl_control_answer(struct tl_daemon *d, const struct tl_answer *answer); /* of FLUSH and GATHER */
void tl_control_report(struct tl_daemon *d, uint64_t id, const struct tl_report *report);
void tl_control_tick(struct tl_daemon *d); /* wait-ready */
uint64_t tl_control_deadline(const struct tl_daemon *d);
/* Used by the verbs. `value` is consumed. */
void tl_control_reply(struct tl_control *c, char kind, json_t *value);
void tl_control_fail(struct tl_control *c, const struct tl_error *err);
/* The rest of a verb comes later: when command `id` is answered, or the tier is ready (id 0). */
uint64_t tl_control_begin(struct tl_daemon *d, struct tl_control *c, uint64_t timeout_ns);
int tl_control_take_fd(struct tl_control *c); /* the descriptor that came along, -1; the caller's */
const char *tl_control_arg(const struct tl_control *c, unsigned i); /* NULL: not given */

/* keys.c */
int tl_keys_open(struct tl_daemon *d,
                 struct tl_error *err) TL_MUST_CHECK; /* from the options, or from the daemon before */
void tl_keys_apply(struct tl_daemon *d);              /* to the transport */
void tl_keys_wipe(struct tl_daemon *d);
void tl_verb_rekey(struct tl_daemon *d, struct tl_control *c);

/* metrics.c, exposition.c */
int tl_metrics_open(struct tl_daemon *d, struct tl_error *err) TL_MUST_CHECK;
void tl_metrics_close(struct tl_daemon *d);
void tl_metrics_ready(struct tl_daemon *d, uint32_t index, uint32_t events);
void tl_metrics_tick(struct tl_daemon *d);
uint64_t tl_metrics_deadline(const struct tl_daemon *d);
/* This node's counters in Prometheus' text format; *text is malloc'd. 0, -ENOMEM. */
int tl_exposition(struct tl_daemon *d, char **text, size_t *len) TL_MUST_CHECK;

/* verbs.c */
void tl_verb_run(struct tl_daemon *d, struct tl_control *c);
/* Final answer of a verb that gathered: its own reports and how complete they are. */
void tl_verb_gathered(struct tl_daemon *d, struct tl_control *c, const struct tl_report *reports, size_t count,
                      int status);
json_t *tl_verb_ready_json(struct tl_daemon *d);

#endif
