// SPDX-License-Identifier: Apache-2.0
/* How long writers stand still when an OSD is killed: two processes write rounds beside each other in one cluster, one through a container, one with
 * librados by itself; so what the cluster needs for its map is the same for both. An OSD gets SIGKILL; the longest time between two
 * acknowledged rounds is noted for each; the OSD is started again before the next one is killed. Wants tools/rados-dev in
 * RADOS_TOOL and the cluster's directory in RADOS_DEV. */
#include "rados.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "base/time.h"

enum { ROUNDS_MAX = 100000, PIECES = 8, OSDS = 4, KILLS_MAX = 16 };
#define PIECE    (16u << 10) /* not in the index */
#define USUAL_NS (3 * TL_NS_PER_S)
#define STILL_S  0.5
#define WATCH_NS                                                                                                       \
    (8 * TL_NS_PER_S) /* both go on by then; and the OSD is not out yet, its data not on its way to another */
#define AGAIN_NS (40 * TL_NS_PER_S)

struct stall {
    const char *space;
    pthread_barrier_t barrier;
    struct bench_cont cont;
    _Atomic bool stop;
    struct {
        _Atomic unsigned count;
        uint64_t ends_ns[ROUNDS_MAX];
    } of[2];
};

static const struct bench_side *const sides[2] = {&bench_ours, &bench_raw};

static void write_on(void *arg, unsigned side)
{
    static const uint8_t bytes[PIECES * PIECE] = {1};
    struct stall *s = arg;
    const struct bench_rank r = {.bytes = bytes, .len = sizeof bytes, .piece = PIECE};
    for (unsigned first = 0; first < 2; first++) { /* the raw side's state is to be where the container's is */
        if (side == first)
            sides[side]->begin(&r, s->space, &s->cont);
        pthread_barrier_wait(&s->barrier);
    }
    for (unsigned n = 0; n < ROUNDS_MAX && !atomic_load(&s->stop); n++) {
        (void)sides[side]->write(&r, n);
        sides[side]->commit();
        s->of[side].ends_ns[n] = tl_time_mono_ns();
        atomic_store(&s->of[side].count, n + 1);
    }
    sides[side]->end();
}

static void pause_ms(unsigned ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

static void tell(const char *verb, unsigned osd)
{
    const char *tool = getenv("RADOS_TOOL"), *dir = getenv("RADOS_DEV");
    char command[1024];
    snprintf(command, sizeof command, "'%s' %s '%s' osd.%u", tool != NULL ? tool : "", verb, dir != NULL ? dir : "",
             osd);
    if (system(command) != 0)
        bench_die(command, 5);
}

static bool all_up(rados_t cluster)
{
    const char *command = "{\"prefix\": \"osd stat\", \"format\": \"json\"}";
    char *out = NULL, *why = NULL;
    size_t len = 0, why_len = 0;
    int rc = rados_mon_command(cluster, &command, 1, "", 0, &out, &len, &why, &why_len);
    json_t *answer = rc == 0 ? json_loadb(out, len, 0, NULL) : NULL;
    bool up = answer != NULL && json_integer_value(json_object_get(answer, "num_up_osds")) == OSDS;
    json_decref(answer);
    rados_buffer_free(out);
    rados_buffer_free(why);
    return up;
}

/* Between two rounds that were acknowledged, the later of which after `from`. */
static double longest_gap(const struct stall *s, unsigned side, uint64_t from_ns)
{
    unsigned count = atomic_load(&s->of[side].count);
    const uint64_t *ends = s->of[side].ends_ns;
    uint64_t most = count > 0 ? tl_time_mono_ns() - ends[count - 1] : 0;
    for (unsigned n = count; n-- > 1 && ends[n] > from_ns;)
        most = ends[n] - ends[n - 1] > most ? ends[n] - ends[n - 1] : most;
    return (double)most / 1e9;
}

/* The usual length of a round before. */
static double usual(const struct stall *s, unsigned side, uint64_t from_ns)
{
    unsigned count = atomic_load(&s->of[side].count), first = count;
    while (first > 0 && s->of[side].ends_ns[first - 1] > from_ns)
        first--;
    return first + 1 < count
               ? (double)(s->of[side].ends_ns[count - 1] - s->of[side].ends_ns[first]) / 1e9 / (count - 1 - first)
               : 0;
}

/* All OSDs are up, and both writers have gone on for a while as they usually do: what one has missed was copied. */
static bool until_usual(const struct stall *s, rados_t cluster)
{
    uint64_t up = 0, now = tl_time_mono_ns();
    for (uint64_t end = now + AGAIN_NS; now < end; pause_ms(200), now = tl_time_mono_ns()) {
        up = !all_up(cluster) ? 0 : up == 0 ? now : up;
        if (up == 0 || now < up + USUAL_NS)
            continue;
        double most = 0;
        for (unsigned side = 0; side < 2; side++)
            most = longest_gap(s, side, now - USUAL_NS) > most ? longest_gap(s, side, now - USUAL_NS) : most;
        if (most < STILL_S)
            return true;
    }
    return false;
}

int bench_stall(const char *space, unsigned kills)
{
    struct stall *s = bench_share(sizeof *s);
    double gaps[2][KILLS_MAX], rounds[2][KILLS_MAX];
    unsigned done = 0;
    s->space = space;
    bench_barrier_init(&s->barrier, 3);
    for (unsigned side = 0; side < 2; side++)
        bench_fork(write_on, s, side);
    for (unsigned first = 0; first < 2; first++)
        pthread_barrier_wait(&s->barrier);
    rados_t cluster = bench_connect();
    for (; done < kills && done < KILLS_MAX && until_usual(s, cluster); done++) {
        uint64_t start = tl_time_mono_ns();
        for (unsigned side = 0; side < 2; side++)
            rounds[side][done] = usual(s, side, start - USUAL_NS);
        tell("kill", done % OSDS);
        pause_ms(WATCH_NS / TL_NS_PER_MS);
        for (unsigned side = 0; side < 2; side++)
            gaps[side][done] = longest_gap(s, side, start);
        tell("revive", done % OSDS);
    }
    atomic_store(&s->stop, true);
    rados_shutdown(cluster);
    bench_wait_children(2);
    printf("{");
    for (unsigned side = 0; side < 2; side++) {
        printf("%s\"%s\": {", side == 0 ? "" : ", ", sides[side]->name);
        bench_print("gaps", gaps[side], done, ", ");
        bench_print("rounds", rounds[side], done, "}");
    }
    printf("}\n");
    return done > 0 ? 0 : 1;
}
