// SPDX-License-Identifier: Apache-2.0
/* The conformance suite of net/transport.h: every implementation has to pass it.
 *
 * The suite knows neither clocks nor descriptors: the world behind the nodes is a struct tl_net_suite_env, so that the
 * simulated transport runs it in virtual time. A test program fills one in and calls tl_net_suite_run(); each case
 * gets a fresh world. */
#ifndef TL_TEST_NET_CONFORMANCE_H
#define TL_TEST_NET_CONFORMANCE_H

#include "net/transport.h"

#define TL_NET_SUITE_NODES 3u

struct suite_case;

struct tl_net_suite_env {
    const char *name;               /* printed before the name of each case */
    bool encrypt;                   /* config.encrypt of all nodes, unless a case is about it */
    bool checks_identity;           /* refuses peers with another key, job, version or encryption */
    void *ctx;                      /* the environment's own */
    const struct suite_case *extra; /* more cases (net/suite.h), for this implementation alone; NULL: none */

    /* A fresh world, and its end; every node is closed or killed before. */
    void (*setup)(struct tl_net_suite_env *env);
    void (*teardown)(struct tl_net_suite_env *env);
    /* Opens the node config->rank, perhaps for the second time. The suite has filled in everything but addresses and
     * world. 0 or -errno. */
    int (*open)(struct tl_net_suite_env *env, struct tl_net_config *config, struct tl_net **out, struct tl_error *err);
    /* The node's process dies without a word; frees net. */
    void (*kill)(struct tl_net_suite_env *env, uint32_t rank, struct tl_net *net);
    /* The node's process is stopped or goes on; the suite does not call a stopped node. */
    void (*freeze)(struct tl_net_suite_env *env, uint32_t rank, bool frozen);
    /* Returns when an open node that is not frozen may have something to do, at until_ns at the latest. */
    void (*wait)(struct tl_net_suite_env *env, uint64_t until_ns);
    uint64_t (*now)(struct tl_net_suite_env *env);
    /* Memory to expose: a descriptor (or -1) and where it is mapped, zeroed; lives until teardown. */
    void (*memory)(struct tl_net_suite_env *env, size_t size, int *fd, void **base);
    /* True when the connection is all it is going to be: the suite waits for that after linking nodes. NULL: at once. */
    bool (*settled)(struct tl_net_suite_env *env, struct tl_net *net, struct tl_peer peer);
};

/* Runs all cases with cmocka; returns the number of failures. */
int tl_net_suite_run(struct tl_net_suite_env *env);

#endif
