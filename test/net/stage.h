// SPDX-License-Identifier: Apache-2.0
/* Two nodes and somebody between them, in one process and real time: node 0 dials node 1 through a proxy, node 1 listens
 * for itself. What happens to the nodes is counted. */
#ifndef TL_TEST_NET_STAGE_H
#define TL_TEST_NET_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/time.h"
#include "net/frame.h"
#include "net/proxy.h"

#define STAGE_BOUND_NS    (10 * TL_NS_PER_S) /* no case waits longer for anything */
#define STAGE_REGION_SIZE (4u << 20)         /* region 0 of each node, the same memory: served and landed in */

/* Bytes of a handshake in each direction. */
enum { UP_SHAKE = TL_HELLO_SIZE + TL_VERDICT_SIZE, DOWN_SHAKE = TL_ANSWER_SIZE + TL_VERDICT_SIZE };

#define STAGE_NODES 3u /* the last one is in the list, but is not opened */

struct stage {
    struct proxy proxy;
    char text[STAGE_NODES][LOOPBACK_ADDRESS_MAX];
    const char *seen_by[2][STAGE_NODES]; /* node list of each node */
    struct tl_net *nets[2];
    struct tl_peer peers[2]; /* of the latest UP */
    bool live[2];
    uint8_t *memory;
    int memory_fd;
    uint32_t ups[2], downs[2], messages[2], reads[2], sents[2];
    int down_status[2], read_status[2];
    char why[2][512]; /* of the latest DOWN */
    uint64_t skew_ns; /* the nodes' clock is ahead by this */
};
extern struct stage stage;
extern bool stage_encrypt; /* of both nodes; set once, in main */

int stage_setup(void **state);
int stage_teardown(void **state);
/* Node i anew, at its address. */
void stage_reopen(uint32_t i, bool encrypt, uint32_t protocol_version);

uint64_t stage_now_ns(void);
void turn(void); /* both nodes and the proxy, once; waits up to a millisecond when nothing moves */
void turns(uint32_t count);
void turn_until(const uint32_t *counter, uint32_t want);
struct tl_net_stats stats_of(uint32_t i);

void dial(void);
void link_up(void);
void say(uint32_t from, const char *text);
void assert_sound(void); /* whatever happened before: the two can still talk */

/* Reads from a raw connection while the nodes run, until the other side closes it. */
size_t read_to_end(int fd, uint8_t *out, size_t room);

#define STAGE_CASE(name) cmocka_unit_test_setup_teardown(name, stage_setup, stage_teardown)

#endif
