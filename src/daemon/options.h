// SPDX-License-Identifier: Apache-2.0
/* What tierceld was told to do: command line, key and node list, each read and checked once, at start. */
#ifndef TL_DAEMON_OPTIONS_H
#define TL_DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"

#define TL_TIER_NAME_MAX 64
#define TL_KEY_SIZE      32u
#define TL_NODES_MAX     65536u

struct tl_options {
    char tier[TL_TIER_NAME_MAX];
    char runtime[4096]; /* folder of the tier: <runtime>/<tier> */
    uint8_t key[TL_KEY_SIZE];
    uint64_t key_expires_s; /* seconds since 1970; 0: never */
    char **addresses;       /* node_count strings "host:port" */
    uint32_t *groups;       /* of each node: the first node with the same group; NULL: the list names none */
    uint32_t node_count, rank, roots, arity, threads;
    char values_dir[4096]; /* "": none */
    uint64_t values_dir_bytes;
    uint32_t values_share; /* percent of the cache that values may take */
    uint64_t cache_size_bytes, readahead_bytes;
    uint32_t revalidate_s; /* 0: never */
    bool keep_once;
    bool encrypt, daemonise;
    bool keeper;        /* start a keeper, which starts the daemon */
    int keeper_fd;      /* to the keeper that started us; -1: there is none */
    int mender_fd;      /* with it: to the mender */
    char *nodes_text;   /* the node list as it was given */
    char bulk[64];      /* "auto", "tcp", or a libfabric provider */
    const char *source; /* web servers to read from, "http://...,..."; NULL: the file system. In argv. */
    char log[4096];     /* empty: standard error */
    char metrics[128];  /* a port, "unix", "unix:PATH", or "off" */
    int ready_fd;       /* -1: none */
};

/* Parses argv; for --help and --version prints and sets *done. 0, or negative with a sentence in err. */
int tl_options_parse(struct tl_options *o, int argc, char **argv, bool *done, struct tl_error *err) TL_MUST_CHECK;
void tl_options_fini(struct tl_options *o);

/* Bytes from "1048576", "64K", "16M", "4G". 0, -EINVAL. */
int tl_parse_size(const char *text, uint64_t *out) TL_MUST_CHECK;
/* 32 bytes from 64 hex digits, followed by nothing or a newline. 0, -EINVAL. */
int tl_parse_key(const char *text, uint8_t key[TL_KEY_SIZE]) TL_MUST_CHECK;
/* The same, and after the digits perhaps a blank and when the key expires, in seconds since 1970 (0: never). */
int tl_parse_key_line(const char *text, uint8_t key[TL_KEY_SIZE], uint64_t *expires_s) TL_MUST_CHECK;
/* The port that all nodes without one use: derived from the key, so that nobody has to agree on it. */
uint16_t tl_default_port(const uint8_t key[TL_KEY_SIZE]);
/* Parses a node list: a node a line, `host[:port] [group]`, '#' comments. Fills addresses, groups and node_count; name is for
 * messages. Either every node has a group, or none. */
int tl_parse_nodes(struct tl_options *o, char *text, const char *name, struct tl_error *err) TL_MUST_CHECK;
/* The line of the list that is this machine: by host name, else by an address of one of its interfaces. */
int tl_find_own_rank(struct tl_options *o, struct tl_error *err) TL_MUST_CHECK;

#endif
