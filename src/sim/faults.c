// SPDX-License-Identifier: Apache-2.0
#include "sim/faults.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/time.h"
#include "sim/cluster.h"

#define SCHEDULED_MAX   6u /* of a class */
#define NEIGHBOURS_MAX  64u
#define TAG_HEAL_BASE   0x100u /* in the tag: the end of a fault, not its start */
#define SIZE_CHANGE_MAX 70000u

static const char *const names[] = {
#define TL_FAULT_NAME(id, name, what) name,
    TL_FAULT_CLASSES(TL_FAULT_NAME)
#undef TL_FAULT_NAME
};

const char *tl_fault_name(enum tl_fault_class class)
{
    return names[class];
}

static bool has(const struct tl_cluster *c, enum tl_fault_class class)
{
    return (c->config.faults.classes >> class & 1) != 0;
}

static uint64_t draw(const struct tl_cluster *c, enum tl_fault_class class, uint64_t number, uint64_t what,
                     uint64_t below)
{
    return tl_prng_scale(tl_world_draw(&c->world, TL_STREAM_SCHEDULE, class, number, what), below);
}

/* ---- chances ---- */

/* A rate drawn for this seed: none in one of three, up to most otherwise. */
static uint32_t rate(const struct tl_cluster *c, enum tl_fault_class class, uint32_t which, uint32_t most_ppm)
{
    if (!has(c, class) || draw(c, class, 1000 + which, 0, 3) == 0)
        return 0;
    return 1 + (uint32_t)draw(c, class, 1000 + which, 1, most_ppm);
}

static void set_chances(struct tl_cluster *c)
{
    uint64_t window_ns = c->config.faults.window_ns;
    c->fabric.faults = (struct tl_fabric_faults){
        .until_ns = window_ns,
        .delay_ppm = rate(c, TL_FAULT_DELAY, 0, 200000),
        .delay_max_ns = TL_NS_PER_MS * (1 + draw(c, TL_FAULT_DELAY, 0, 2, 100)),
        .loss_ppm = rate(c, TL_FAULT_LOSS, 0, 3000),
        .refuse_ppm = rate(c, TL_FAULT_REFUSE, 0, 500000),
        .again_ppm = rate(c, TL_FAULT_AGAIN, 0, 200000),
        .lost_down_ppm = rate(c, TL_FAULT_LOST_DOWN, 0, 400000),
        .read_error_ppm = rate(c, TL_FAULT_READS, 0, 50000),
        .read_late_ppm = rate(c, TL_FAULT_READS, 1, 10000),
        .read_garbage_ppm = rate(c, TL_FAULT_READS, 2, 50000),
    };
    c->storage.faults = (struct tl_storage_faults){
        .until_ns = window_ns, .slow_factor = 1, .eio_ppm = rate(c, TL_FAULT_EIO, 0, 100000)};
    c->config.faults.cancel_ppm = rate(c, TL_FAULT_CANCEL, 0, 200000);
}

/* ---- the schedule ---- */

static void at(struct tl_cluster *c, uint64_t time_ns, enum tl_fault_class class, bool heal, uint32_t node,
               uint64_t arg)
{
    tl_world_at(&c->world, time_ns, TL_WORLD_FAULT, node, (uint16_t)(class | (heal ? TAG_HEAL_BASE : 0)),
                (void *)(uintptr_t)arg);
    c->faults.scheduled++;
}

/* Some occasions of a class within the window; each starts somewhere and lasts from min to max, but no longer. */
static void schedule(struct tl_cluster *c, enum tl_fault_class class, uint64_t min_ns, uint64_t max_ns)
{
    uint64_t window_ns = c->config.faults.window_ns;
    uint64_t count = has(c, class) ? draw(c, class, 0, 0, SCHEDULED_MAX + 1) : 0;
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t start_ns = draw(c, class, i, 1, window_ns),
                 length_ns = min_ns + draw(c, class, i, 2, max_ns - min_ns + 1);
        uint64_t end_ns = start_ns + length_ns < window_ns ? start_ns + length_ns : window_ns;
        uint32_t node = (uint32_t)draw(c, class, i, 3, c->config.nodes);
        if (draw(c, class, i, 4, 4) == 0)
            node =
                (uint32_t)draw(c, class, i, 5, c->config.nodes < 4 ? c->config.nodes : 4); /* the upper ones matter */
        at(c, start_ns, class, false, node, i << 40 | (end_ns - start_ns) / 1000);
        if (class == TL_FAULT_CRASH)
            at(c, end_ns, class, true, node, 0);
    }
}

void tl_faults_start(struct tl_cluster *c)
{
    set_chances(c);
    c->faults.healed_ns = c->config.faults.classes != 0 ? c->config.faults.window_ns : 0;
    schedule(c, TL_FAULT_CRASH, 10 * TL_NS_PER_MS, TL_NS_PER_S);
    schedule(c, TL_FAULT_STOP, 10 * TL_NS_PER_MS, 2 * TL_NS_PER_S);
    schedule(c, TL_FAULT_PARTITION, 10 * TL_NS_PER_MS, 2 * TL_NS_PER_S);
    schedule(c, TL_FAULT_FALSE_DOWN, 0, 0);
    schedule(c, TL_FAULT_SLOW, 100 * TL_NS_PER_MS, TL_NS_PER_S);
    schedule(c, TL_FAULT_CHANGE, 0, 0);
    schedule(c, TL_FAULT_OPERATOR, 0, 0);
}

/* ---- what happens ---- */

static uint32_t cut_links(const struct tl_cluster *c)
{
    uint32_t cut = 0, near[NEIGHBOURS_MAX];
    for (uint32_t rank = 0; rank < c->config.nodes; rank++) {
        uint32_t count = tl_fabric_neighbours(&c->fabric, rank, near, NEIGHBOURS_MAX);
        for (uint32_t i = 0; i < count; i++)
            cut += near[i] > rank && c->fabric.hosts[rank].side != c->fabric.hosts[near[i]].side;
    }
    return cut;
}

static void partition(struct tl_cluster *c, uint64_t number, uint64_t length_ns)
{
    uint64_t sides = 2 + draw(c, TL_FAULT_PARTITION, number, 6, 2);
    for (uint32_t rank = 0; rank < c->config.nodes; rank++)
        c->fabric.hosts[rank].side =
            (uint32_t)tl_prng_scale(tl_world_draw(&c->world, TL_STREAM_SCHEDULE, number, rank, 7), sides);
    c->fabric.partition_until_ns = c->world.now_ns + length_ns;
    c->checker.disturbances += cut_links(c);
}

static void change(struct tl_cluster *c, uint64_t number)
{
    uint32_t object = (uint32_t)draw(c, TL_FAULT_CHANGE, number, 6, c->catalog.object_count);
    const struct tl_object *o = &c->catalog.objects[object];
    if (o->directory)
        return;
    uint64_t kind = draw(c, TL_FAULT_CHANGE, number, 7, 3);
    if (kind == 0 || o->removed)
        tl_catalog_remove(&c->catalog, object, !o->removed);
    else
        tl_catalog_change(&c->catalog, object, draw(c, TL_FAULT_CHANGE, number, 8, SIZE_CHANGE_MAX));
}

static void operate(struct tl_cluster *c, uint32_t rank, uint64_t number)
{
    if (c->hosts[rank].node == NULL || tl_host_held_until_ns(c, rank) > c->world.now_ns)
        return;
    const struct tl_object *o = &c->catalog.objects[draw(c, TL_FAULT_OPERATOR, number, 6, c->catalog.object_count)];
    struct tl_event ev = {
        .type = TL_EV_GATHER, .id = TL_OPERATOR_BIT | number, .path = o->path, .path_len = o->path_len};
    if (draw(c, TL_FAULT_OPERATOR, number, 7, 2) == 0)
        ev.type = TL_EV_FLUSH;
    if (draw(c, TL_FAULT_OPERATOR, number, 8, 3) == 0)
        ev.path_len = 0;
    c->checker.operators++;
    c->hosts[rank].operators_open++;
    tl_host_event(c, rank, &ev);
}

static void false_down(struct tl_cluster *c, uint32_t rank, uint64_t number)
{
    uint32_t near[NEIGHBOURS_MAX], count = tl_fabric_neighbours(&c->fabric, rank, near, NEIGHBOURS_MAX);
    if (count > 0)
        tl_fabric_cut(&c->fabric, rank, near[draw(c, TL_FAULT_FALSE_DOWN, number, 6, count)], true);
}

static void handle(void *ctx, const struct tl_sim_event *ev)
{
    struct tl_cluster *c = ctx;
    uint64_t arg = (uintptr_t)ev->ptr, number = arg >> 40, length_ns = (arg & ((1ull << 40) - 1)) * 1000;
    if (ev->tag & TAG_HEAL_BASE) {
        if (c->hosts[ev->node].node == NULL) {
            tl_host_start(c, ev->node);
            tl_processes_resume(c, ev->node);
        }
        return;
    }
    tl_world_trace(&c->world, 0x4641554c54ull, ev->tag, (uint64_t)ev->node << 32 | number);
    c->checker.disturbances++;
    switch ((enum tl_fault_class)ev->tag) {
    case TL_FAULT_CRASH:
        c->checker.disturbances += c->config.nodes;
        tl_host_crash(c, ev->node);
        break;
    case TL_FAULT_STOP:
        c->checker.disturbances += NEIGHBOURS_MAX;
        tl_fabric_pause(&c->fabric, ev->node, c->world.now_ns + length_ns);
        break;
    case TL_FAULT_PARTITION: partition(c, number, length_ns); break;
    case TL_FAULT_FALSE_DOWN: false_down(c, ev->node, number); break;
    case TL_FAULT_SLOW:
        c->storage.faults.slow_from_ns = c->world.now_ns;
        c->storage.faults.slow_until_ns = c->world.now_ns + length_ns;
        c->storage.faults.slow_factor = 100;
        break;
    case TL_FAULT_CHANGE: change(c, number); break;
    case TL_FAULT_OPERATOR: operate(c, ev->node, number); break;
    default: break; /* the others are chances */
    }
}

void tl_faults_handle(struct tl_cluster *c)
{
    tl_world_handle(&c->world, TL_WORLD_FAULT, handle, c);
}

/* ---- names ---- */

static int class_by_name(const char *word, size_t len)
{
    for (int i = 0; i < TL_FAULT_COUNT; i++)
        if (strlen(names[i]) == len && memcmp(names[i], word, len) == 0)
            return i;
    return -1;
}

int tl_faults_parse(const char *text, uint32_t *classes, const char **bad)
{
    uint32_t set = 0;
    for (const char *word = text; *word != 0;) {
        size_t len = strcspn(word, ",");
        bool minus = word[0] == '-';
        const char *name = word + minus;
        size_t name_len = len - minus;
        uint32_t bits = 0;
        int class = class_by_name(name, name_len);
        if (class >= 0)
            bits = 1u << class;
        else if (name_len == 3 && memcmp(name, "all", 3) == 0)
            bits = TL_FAULTS_ALL;
        else if (!(name_len == 4 && memcmp(name, "none", 4) == 0)) {
            *bad = word;
            return -EINVAL;
        }
        set = minus ? set & ~bits : set | bits;
        word += len + (word[len] == ',');
    }
    *classes = set;
    return 0;
}

void tl_faults_print(uint32_t classes, char *out, size_t max)
{
    if (classes == TL_FAULTS_ALL || classes == 0) {
        snprintf(out, max, "%s", classes == 0 ? "none" : "all");
        return;
    }
    size_t used = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < TL_FAULT_COUNT; i++) {
        if ((classes >> i & 1) == 0)
            continue;
        int n = snprintf(out + used, max - used, "%s%s", used == 0 ? "" : ",", names[i]);
        if (n < 0 || (size_t)n >= max - used)
            return;
        used += (size_t)n;
    }
}
