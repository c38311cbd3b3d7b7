// SPDX-License-Identifier: Apache-2.0
/* This node's counters as Prometheus reads them: text format 0.0.4. The names are an interface: never changed, only added. */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/time.h"
#include "daemon/daemon.h"

struct line {
    const char *family; /* lines of a family follow each other */
    const char *label;  /* further labels, or NULL */
    const char *help;   /* of the first line of a family */
    bool gauge;
    size_t at; /* of the number, in its structure */
};

#define COUNTER(field) offsetof(struct tl_counters, field)
static const struct line core_lines[] = {
    {"tiercel_requests_total", NULL, "Requests of programs to this node.", false, COUNTER(requests)},
    {"tiercel_hits_total", NULL, "Requests answered from this node's memory.", false, COUNTER(hits)},
    {"tiercel_misses_total", NULL, "Requests that other nodes or the storage were asked for.", false, COUNTER(misses)},
    {"tiercel_answers_total", NULL, "Requests answered.", false, COUNTER(answered)},
    {"tiercel_failures_total", NULL, "Requests answered with an error.", false, COUNTER(failed)},
    {"tiercel_coalesced_total", NULL, "Requests that joined one on its way.", false, COUNTER(coalesced)},
    {"tiercel_negative_hits_total", NULL, "Requests answered by an error that is kept.", false, COUNTER(negative_hits)},
    {"tiercel_flights_total", NULL, "Chunks asked for.", false, COUNTER(flights_opened)},
    {"tiercel_flight_retries_total", NULL, "Chunks asked for again.", false, COUNTER(flights_retried)},
    {"tiercel_chunks_received_total", "from=\"peer\"", "Chunks taken in.", false, COUNTER(chunks_from_peer)},
    {"tiercel_chunks_received_total", "from=\"source\"", NULL, false, COUNTER(chunks_from_source)},
    {"tiercel_received_bytes_total", "from=\"peer\"", "Bytes taken in.", false, COUNTER(bytes_from_peer)},
    {"tiercel_received_bytes_total", "from=\"source\"", NULL, false, COUNTER(bytes_from_source)},
    {"tiercel_sent_bytes_total", NULL, "Bytes of chunks passed to other nodes.", false, COUNTER(bytes_to_peers)},
    {"tiercel_served_bytes_total", NULL, "Bytes given to programs.", false, COUNTER(bytes_served)},
    {"tiercel_source_operations_total", "operation=\"list\"", "Operations on the storage.", false,
     COUNTER(source_lists)},
    {"tiercel_source_operations_total", "operation=\"open\"", NULL, false, COUNTER(source_opens)},
    {"tiercel_source_operations_total", "operation=\"read\"", NULL, false, COUNTER(source_reads)},
    {"tiercel_evictions_total", NULL, "Chunks dropped to make room.", false, COUNTER(evictions)},
    {"tiercel_digest_failures_total", NULL, "Chunks that were not what their sender said.", false,
     COUNTER(digest_failures)},
    {"tiercel_messages_total", "direction=\"in\"", "Messages between nodes.", false, COUNTER(messages_in)},
    {"tiercel_messages_total", "direction=\"out\"", NULL, false, COUNTER(messages_out)},
    {"tiercel_bad_messages_total", NULL, "Messages that broke the protocol.", false, COUNTER(bad_messages)},
    {"tiercel_requests_up_total", "kind=\"meta\"", "Requests sent to a parent.", false, COUNTER(meta_requests_up)},
    {"tiercel_requests_up_total", "kind=\"data\"", NULL, false, COUNTER(data_requests_up)},
    {"tiercel_peers_lost_total", NULL, "Neighbours that went away.", false, COUNTER(peers_lost)},
    {"tiercel_reparented_total", NULL, "Changes of a parent.", false, COUNTER(reparented)},
    {"tiercel_stale_total", NULL, "Reads of a version that is gone.", false, COUNTER(stale)},
    {"tiercel_busy_total", NULL, "Requests that found no room.", false, COUNTER(busy)},
    {"tiercel_invalidations_total", NULL, "Names that kernels were told to forget.", false, COUNTER(invalidations)},
    {"tiercel_warmed_total", NULL, "Chunks asked for because of a profile.", false, COUNTER(warmed)},
    {"tiercel_warm_skipped_total", NULL, "Names of profiles left for want of room.", false, COUNTER(warm_skipped)},
    {"tiercel_warm_left", NULL, "Names of profiles still to be asked for.", true, COUNTER(warm_left)},
    {"tiercel_slow_pulls_total", NULL, "Chunks that a child pulled for longer than a heartbeat.", false,
     COUNTER(slow_pulls)},
    {"tiercel_slow_children", NULL, "Children that have been pulling a chunk for longer than a heartbeat.", true,
     COUNTER(slow_children)},
    {"tiercel_cached_bytes", NULL, "Bytes of chunks held.", true, COUNTER(cached_bytes)},
    {"tiercel_cached_objects", NULL, "Objects of which something is held.", true, COUNTER(cached_objects)},
    {"tiercel_open_flights", NULL, "Chunks on their way.", true, COUNTER(open_flights)},
    {"tiercel_open_requests", NULL, "Requests of programs without an answer yet.", true, COUNTER(open_requests)},
};

#define FUSE(field) offsetof(struct tl_fuse_stats, field)
#define FUSE_FAMILY "tiercel_fuse_requests_total"
static const struct line fuse_lines[] = {
    {FUSE_FAMILY, "operation=\"lookup\"", "Requests of the kernel.", false, FUSE(lookups)},
    {FUSE_FAMILY, "operation=\"getattr\"", NULL, false, FUSE(getattrs)},
    {FUSE_FAMILY, "operation=\"readdir\"", NULL, false, FUSE(readdirs)},
    {FUSE_FAMILY, "operation=\"read\"", NULL, false, FUSE(reads)},
    {FUSE_FAMILY, "operation=\"ioctl\"", NULL, false, FUSE(ioctls)},
    {FUSE_FAMILY, "operation=\"xattr\"", NULL, false, FUSE(xattrs)},
    {FUSE_FAMILY, "operation=\"forget\"", NULL, false, FUSE(forgets)},
    {FUSE_FAMILY, "operation=\"other\"", NULL, false, FUSE(others)},
    {"tiercel_fuse_errors_total", NULL, "Requests of the kernel answered with an error.", false, FUSE(errors)},
    {"tiercel_fuse_interrupts_total", NULL, "Requests that a signal ended.", false, FUSE(interrupts)},
    {"tiercel_fuse_given_up_total", NULL, "Requests given up since daemons crashed on them.", false, FUSE(given_up)},
    {"tiercel_fuse_read_bytes_total", NULL, "Bytes that the kernel read.", false, FUSE(read_bytes)},
    {"tiercel_fuse_inodes", NULL, "Names that kernels know.", true, FUSE(inodes)},
};

/* Every counter of the core has a line: whoever adds one adds it here. */
_Static_assert(sizeof core_lines / sizeof core_lines[0] == sizeof(struct tl_counters) / sizeof(uint64_t),
               "a counter of the core has no line here");

struct page {
    FILE *out;
    char labels[TL_TIER_NAME_MAX + 32]; /* of each sample: tier and rank, which need no escapes */
};

static void print_family(const struct page *p, const char *name, const char *type, const char *help)
{
    fprintf(p->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_lines(const struct page *p, const struct line *lines, size_t count, const void *numbers)
{
    for (size_t i = 0; i < count; i++) {
        const struct line *l = &lines[i];
        if (l->help != NULL)
            print_family(p, l->family, l->gauge ? "gauge" : "counter", l->help);
        const uint64_t *value = (const void *)((const char *)numbers + l->at);
        fprintf(p->out, "%s{%s%s%s} %" PRIu64 "\n", l->family, p->labels, l->label != NULL ? "," : "",
                l->label != NULL ? l->label : "", *value);
    }
}

static void print_one(const struct page *p, const char *name, const char *type, const char *help, uint64_t value)
{
    print_family(p, name, type, help);
    fprintf(p->out, "%s{%s} %" PRIu64 "\n", name, p->labels, value);
}

static void print_latency(const struct page *p, const struct tl_fuse_stats *s)
{
    static const char name[] = "tiercel_answer_seconds";
    uint64_t sum = 0;
    print_family(p, name, "histogram", "How long the kernel's requests took to be answered.");
    for (uint32_t i = 0; i < TL_LATENCY_BUCKETS; i++) {
        sum += s->latency[i];
        if (i + 1 < TL_LATENCY_BUCKETS)
            fprintf(p->out, "%s_bucket{%s,le=\"%.6f\"} %" PRIu64 "\n", name, p->labels, (double)(1u << i) / 1e6, sum);
    }
    fprintf(p->out, "%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", name, p->labels, sum);
    fprintf(p->out, "%s_sum{%s} %.9f\n%s_count{%s} %" PRIu64 "\n", name, p->labels, (double)s->latency_ns / 1e9, name,
            p->labels, sum);
}

static void print_page(struct tl_daemon *d, const struct page *p)
{
    struct tl_report own;
    struct tl_fuse_stats fuse;
    tl_node_report(d->node, &own);
    tl_fronts_stats(d, &fuse);
    print_family(p, "tiercel_build_info", "gauge", "Always 1; the version is a label.");
    fprintf(p->out, "tiercel_build_info{%s,version=\"%s\"} 1\n", p->labels, TIERCEL_VERSION);
    print_one(p, "tiercel_uptime_seconds", "gauge", "Since the daemon started.",
              (tl_time_mono_ns() - d->started_ns) / TL_NS_PER_S);
    print_one(p, "tiercel_daemon_restarts", "gauge", "Daemons that the keeper has started in place of others.",
              d->restarts);
    print_one(p, "tiercel_nodes", "gauge", "Nodes of the tier.", d->options.node_count);
    print_one(p, "tiercel_subtree_nodes", "gauge", "Nodes that are up at and below this one in the first tree.",
              own.subtree);
    print_one(p, "tiercel_children", "gauge", "Children that are connected.", own.children);
    print_one(p, "tiercel_cache_limit_bytes", "gauge", "How much may be held.", d->options.cache_size_bytes);
    print_lines(p, core_lines, sizeof core_lines / sizeof core_lines[0], &own.counters);
    print_lines(p, fuse_lines, sizeof fuse_lines / sizeof fuse_lines[0], &fuse);
    print_latency(p, &fuse);
}

int tl_exposition(struct tl_daemon *d, char **text, size_t *len)
{
    struct page p = {.out = open_memstream(text, len)};
    if (p.out == NULL)
        return -ENOMEM;
    snprintf(p.labels, sizeof p.labels, "tier=\"%s\",rank=\"%u\"", d->options.tier, d->options.rank);
    print_page(d, &p);
    if (fclose(p.out) == 0)
        return 0;
    free(*text);
    return -ENOMEM;
}
