// SPDX-License-Identifier: Apache-2.0
#include "daemon/rate.h"

#include "base/check.h"

#define NS_PER_S 1000000000u

void tl_rate_begin(struct tl_rate *r, uint64_t now_ns)
{
    if (++r->under_way == TL_RATE_AT_ONCE)
        r->since_ns = now_ns;
}

void tl_rate_end(struct tl_rate *r, uint64_t now_ns)
{
    check(r->under_way > 0);
    if (r->under_way-- == TL_RATE_AT_ONCE)
        r->busy_ns += now_ns - r->since_ns;
}

void tl_rate_bytes(struct tl_rate *r, uint64_t now_ns, uint64_t bytes)
{
    if (r->under_way < TL_RATE_AT_ONCE)
        return;
    r->bytes += bytes;
    if (r->bytes < TL_RATE_WINDOW_BYTES)
        return;
    uint64_t busy_ns = r->busy_ns + (now_ns - r->since_ns);
    uint64_t rate = busy_ns == 0 ? 0 : (uint64_t)((double)r->bytes * NS_PER_S / (double)busy_ns);
    if (rate > r->bytes_per_s)
        r->bytes_per_s = rate;
    r->bytes = r->busy_ns = 0;
    r->since_ns = now_ns;
}
