// SPDX-License-Identifier: Apache-2.0
/* The keeper: a small process that starts the daemon, holds the descriptors that must outlive it, and starts the next one when
 * it dies. Programs that wait for a page of a mount then wait a little longer.
 *
 * Three processes of one program: the keeper sleeps until its daemon dies; the daemon (started with --keeper-fd) tells the
 * keeper what to hold; the mender (mender.c) sleeps until both are gone, and takes away the mounts that nobody serves then.
 *
 * They talk over a pair of SOCK_SEQPACKET sockets, a message a packet. Who starts is told what is held, then BEGIN. The daemon
 * reads nothing else from it; that it is readable means that the keeper is gone. */
#ifndef TL_DAEMON_KEEPER_H
#define TL_DAEMON_KEEPER_H

#include <limits.h>
#include <stdint.h>

#include "base/check.h"
#include "daemon/options.h"

#define TL_KEEPER_VERSION     1u   /* keeper and daemon may be of two versions of Tiercel */
#define TL_KEEPER_HOLDS       128u /* ids: fronts by their number, and: */
#define TL_KEEPER_LISTEN      127u /* the control socket */
#define TL_KEEPER_KEYS        125u /* the job's keys, once they are others than those it was started with (keys.c) */
#define TL_KEEPER_PEERS       126u /* the socket that peers connect to */
#define TL_KEEPER_VALUES      124u /* the cache manager's memory (values.c): the values, */
#define TL_KEEPER_DIRECTORY   123u /* their directory and its uses, */
#define TL_KEEPER_HOLDERS     64u  /* and what clients hold, from here on */
#define TL_KEEPER_HOLDERS_MAX 59u
#define TL_EXIT_REFUSED       3 /* exit code: what was handed over cannot be gone on with */

enum tl_keeper_word {
    TL_KEEPER_HOLD = 1, /* id, with one or two descriptors and a text; both ways */
    TL_KEEPER_DROP,     /* id; to the keeper, as the next ones */
    TL_KEEPER_READY,    /* peers and programs are served */
    TL_KEEPER_RESTART,  /* I am about to end; start text, if not empty, in my place */
    TL_KEEPER_BEGIN,    /* to the daemon: that was all */
};

struct tl_keeper_message {
    uint32_t version, word, id;
    uint32_t restarts; /* BEGIN: daemons before this one */
    int32_t signal;    /* BEGIN: what the last one died of; 0: it ended, or was asked to */
    uint32_t crashed;  /* BEGIN: 1: by a fault of its own, 0: from outside */
    uint32_t fallback; /* BEGIN: 1: another program than before; if it refuses, the old one is started */
    uint32_t reserved;
    uint64_t died_ns; /* BEGIN: when; CLOCK_MONOTONIC */
    char text[PATH_MAX];
};

/* Sends one packet with up to two descriptors (-1: none). 0, -errno. Never blocks. */
int tl_keeper_send(int fd, const struct tl_keeper_message *m, int first, int second);
/* Receives one. 0; -ENODATA: the other end is gone; -EPROTO: not one of ours; -errno. */
int tl_keeper_receive(int fd, struct tl_keeper_message *m, int fds[2]);

/* Runs the keeper in this process: returns the exit code of the program. announce is called once the daemon is ready. */
int tl_keeper_run(const struct tl_options *o, int argc, char **argv, void (*announce)(void *ctx), void *ctx);

/* Forks the mender: it reads notes from read_fd, and nothing else stays open in it. Its pid, or -errno. */
int tl_mender_start(int read_fd);
/* The mount at path is to be taken away (or not any more) when nobody is left to serve it. */
void tl_mender_note(int fd, bool mounted, const char *path);

#endif
