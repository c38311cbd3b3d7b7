// SPDX-License-Identifier: Apache-2.0
/* A world for the conformance suite: nodes of this process on loopback addresses, in real time. */
#ifndef TL_TEST_NET_LOOPBACK_H
#define TL_TEST_NET_LOOPBACK_H

#include "net/conformance.h"

#define LOOPBACK_ADDRESS_MAX 40

/* Opens one node; config is complete. */
typedef int (*loopback_open_fn)(struct tl_net **out, const struct tl_net_config *config, struct tl_error *err);

/* Fills in everything but name and encrypt. */
void loopback_env(struct tl_net_suite_env *env, loopback_open_fn open);

/* From now on the nodes' clock is ahead by so much more; until the next case. */
void loopback_skew(uint64_t ns);

/* "127.a.b.c:port" that nothing else uses: a port that was free, on an address of this process alone. */
void loopback_address(char out[LOOPBACK_ADDRESS_MAX]);

#endif
