// SPDX-License-Identifier: Apache-2.0
/* tiercel stat: counters of one node, or of all. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* Counters of bytes are told in bytes, times in what they are. */
static void print_value(const char *key, const json_t *value)
{
    char text[CLI_UNIT_SIZE];
    size_t len = strlen(key);
    bool bytes = strstr(key, "bytes") != NULL;
    uint64_t n = json_is_integer(value) && json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
    char label[48];
    snprintf(label, sizeof label, "%s", key);
    for (size_t i = 0; i < len && i < sizeof label; i++) {
        if (label[i] == '_')
            label[i] = ' ';
    }
    if (json_is_string(value))
        printf("  %-26s %14s\n", label, json_string_value(value));
    else if (json_is_real(value))
        printf("  %-26s %14.3f\n", label, json_real_value(value));
    else if (json_is_integer(value))
        printf("  %-26s %14s\n", label, bytes ? cli_bytes(text, n) : cli_count(text, n));
}

static void print_node(const json_t *stat)
{
    const char *key;
    json_t *section;
    const json_t *c = json_object_get(stat, "counters");
    char hits[CLI_UNIT_SIZE], peers[CLI_UNIT_SIZE], source[CLI_UNIT_SIZE], cached[CLI_UNIT_SIZE], rss[CLI_UNIT_SIZE];
    const json_t *memory = json_object_get(stat, "memory");
    printf("node %llu: %s of requests answered from memory; %s from other nodes, %s from storage; %s cached, %s "
           "resident\n",
           (unsigned long long)cli_json_u64(stat, "rank"),
           cli_percent(hits, cli_json_u64(c, "hits"), cli_json_u64(c, "hits") + cli_json_u64(c, "misses")),
           cli_bytes(peers, cli_json_u64(c, "bytes_from_peer")),
           cli_bytes(source, cli_json_u64(c, "bytes_from_source")),
           cli_bytes(cached, cli_json_u64(memory, "cached_bytes")), cli_bytes(rss, cli_json_u64(memory, "rss_bytes")));
    json_object_foreach((json_t *)(uintptr_t)stat, key, section)
    {
        if (!json_is_object(section))
            continue;
        printf("\n%s\n", key);
        const char *name;
        json_t *value;
        json_object_foreach(section, name, value) print_value(name, value);
    }
}

static void add_row(struct cli_table *t, const char *who, const json_t *c)
{
    char requests[CLI_UNIT_SIZE], hits[CLI_UNIT_SIZE], peer[CLI_UNIT_SIZE], source[CLI_UNIT_SIZE], sent[CLI_UNIT_SIZE],
        ops[CLI_UNIT_SIZE], failed[CLI_UNIT_SIZE], cached[CLI_UNIT_SIZE];
    uint64_t hit = cli_json_u64(c, "hits"), miss = cli_json_u64(c, "misses");
    uint64_t storage =
        cli_json_u64(c, "source_lists") + cli_json_u64(c, "source_opens") + cli_json_u64(c, "source_reads");
    cli_table_row(t, who, cli_count(requests, cli_json_u64(c, "requests")), cli_percent(hits, hit, hit + miss),
                  cli_bytes(peer, cli_json_u64(c, "bytes_from_peer")),
                  cli_bytes(sent, cli_json_u64(c, "bytes_to_peers")),
                  cli_bytes(source, cli_json_u64(c, "bytes_from_source")), cli_count(ops, storage),
                  cli_bytes(cached, cli_json_u64(c, "cached_bytes")), cli_count(failed, cli_json_u64(c, "failed")));
}

static void print_all(const json_t *stat)
{
    struct cli_table *t =
        cli_table_new(">node|>requests|>hits|>from nodes|>to nodes|>from storage|>storage ops|>cached|>failed");
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(stat, "nodes"), i, node)
    {
        char rank[CLI_UNIT_SIZE];
        snprintf(rank, sizeof rank, "%llu", (unsigned long long)cli_json_u64(node, "rank"));
        add_row(t, rank, json_object_get(node, "counters"));
    }
    add_row(t, "total", json_object_get(stat, "total"));
    cli_table_print(t);
}

static int print_prometheus(const char *name, int rank)
{
    const char *const call[] = {"metrics", NULL};
    json_t *answer = NULL;
    int code;
    if (!cli_ask(name, rank, false, call, &answer, &code))
        return code;
    fputs(cli_json_text(answer, "text"), stdout);
    json_decref(answer);
    return cli_finish();
}

int cmd_stat(const struct cli_verb *self, int argc, char **argv)
{
    const char *name = NULL;
    int rank = TIERCEL_ANY_RANK;
    bool json = false, all = false, prometheus = false;
    const struct cli_option options[] = {
        CLI_OPTION_NAME(&name),
        CLI_OPTION_RANK(&rank),
        {"all", 'a', CLI_FLAG, &all, NULL, "all nodes, a row each, and their sum"},
        {"prometheus", 0, CLI_FLAG, &prometheus, NULL, "one node's, in Prometheus' text format"},
        CLI_OPTION_JSON(&json),
    };
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, 0);
    if (go != CLI_GO)
        return go;
    if (prometheus && (json || all))
        return cli_usage(self, "--prometheus shows one node, and not as JSON; see `tiercel up --metrics`");
    if (prometheus)
        return print_prometheus(name, rank);
    const char *const call[] = {"stat", all ? "all" : NULL, NULL};
    json_t *stat = NULL;
    int code;
    if (!cli_ask(name, rank, json, call, &stat, &code))
        return code;
    if (all)
        print_all(stat);
    else
        print_node(stat);
    json_decref(stat);
    return cli_finish();
}
