// SPDX-License-Identifier: Apache-2.0
/* The memory limit of the control group that the daemon runs in; see pressure.c. One owner thread. */
#ifndef TL_DAEMON_PRESSURE_H
#define TL_DAEMON_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>

struct tl_pressure {
    bool active; /* there is a limit */
    uint32_t version;
    char dir[4096]; /* of the group */
    uint64_t group_limit_bytes, configured_bytes;
    uint64_t limit_bytes; /* of the cache, now */
    uint64_t looked_bytes, looked_ns;
};

/* Finds the group. Without one, or without a limit, it never says anything. */
void tl_pressure_open(struct tl_pressure *p, uint64_t cache_limit_bytes);
/* Called often; looks when it is time to. True: p->limit_bytes has changed. */
bool tl_pressure_look(struct tl_pressure *p, uint64_t held_bytes, uint64_t now_ns);

/* The cache's limit when the group uses `used` of its limit, and the cache holds `held`. A pure function, for tests. */
uint64_t tl_pressure_choose(uint64_t group_limit, uint64_t used, uint64_t held, uint64_t limit, uint64_t configured);

#endif
