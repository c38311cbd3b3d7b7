// SPDX-License-Identifier: Apache-2.0
/* Inside the conformance suite: nodes with a log of what they saw, and the pump that drives them. */
#ifndef TL_TEST_NET_SUITE_H
#define TL_TEST_NET_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/conformance.h"

#define SUITE_REGION_SIZE (20u << 20) /* of each node: lower half to serve, upper half to land */
#define SUITE_LAND        (10u << 20)
#define SUITE_BOUND_NS    20000000000ull /* no case waits longer for anything */

struct seen {
    enum tl_net_event_type type;
    int status;
    struct tl_peer peer;
    uint64_t cookie;
    uint32_t header_len, payload_len;
    uint8_t *bytes; /* of a message: header, then payload */
    char why[512];
};

struct node {
    struct tl_net *net; /* NULL: not open */
    uint32_t rank;
    bool frozen;
    int poll_max; /* events asked for in one poll() */
    uint8_t *memory;
    int memory_fd;
    uint32_t region;
    struct seen *seen;
    uint32_t seen_count, seen_room;
};

struct suite {
    struct tl_net_suite_env *env;
    struct node nodes[TL_NET_SUITE_NODES];
    struct tl_net_config config; /* what a case may change before suite_open() */
};

void suite_open(struct suite *s, uint32_t rank); /* opens and exposes one region to serve and land */
void suite_close(struct suite *s, uint32_t rank);
void suite_kill(struct suite *s, uint32_t rank);
void suite_freeze(struct suite *s, uint32_t rank, bool frozen);

/* Polls one node once; true: it saw events. */
bool suite_poll(struct suite *s, uint32_t rank);
/* Drives all nodes once. */
void suite_turn(struct suite *s, uint64_t until_ns);
/* Drives them for a time, whatever happens. */
void suite_pass(struct suite *s, uint64_t ns);
/* Drives them until node has seen `count` events of a type; fails the test at the bound. */
void suite_until(struct suite *s, uint32_t rank, enum tl_net_event_type type, uint32_t count);
/* The i-th event of a type that the node has seen; fails the test if there is none. */
const struct seen *suite_seen(const struct suite *s, uint32_t rank, enum tl_net_event_type type, uint32_t i);
uint32_t suite_count(const struct suite *s, uint32_t rank, enum tl_net_event_type type);

/* Opens nodes 0..count-1 and connects 0 to all others; the peers as node 0 and as the others name them. */
void suite_link(struct suite *s, uint32_t count);
struct tl_peer suite_peer(const struct suite *s, uint32_t rank, uint32_t of); /* the latest UP */

int suite_send(struct suite *s, uint32_t rank, struct tl_peer to, const void *header, uint32_t header_len);
int suite_read(struct suite *s, uint32_t rank, struct tl_peer from, uint64_t offset, uint64_t dst_offset, uint32_t len,
               uint64_t timeout_ns, uint64_t cookie);

/* Bytes that a place in a node's memory should have: tell nodes and offsets apart. */
void suite_pattern(uint8_t *out, uint32_t rank, uint64_t offset, size_t len);
void suite_assert_pattern(const uint8_t *bytes, uint32_t rank, uint64_t offset, size_t len);

struct suite_case {
    const char *name;
    void (*run)(struct suite *s);
    bool identity; /* only where checks_identity */
};

/* Each ends with a case without a name. */
extern const struct suite_case suite_message_cases[], suite_read_cases[], suite_life_cases[], suite_identity_cases[];

#endif
