// SPDX-License-Identifier: Apache-2.0
/* tiercel status: the nodes of a tier and its trees, its mounts. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

#define ROWS_MAX 64 /* larger tiers show a summary and who is not up; --all shows everybody */

static unsigned long long ull(const json_t *object, const char *key)
{
    return (unsigned long long)cli_json_u64(object, key);
}

/* A number, or how many there are of a list; "-" if there is none. */
static const char *number(const json_t *object, const char *key, char out[CLI_UNIT_SIZE])
{
    const json_t *v = json_object_get(object, key);
    if (json_is_array(v))
        snprintf(out, CLI_UNIT_SIZE, "%zu", json_array_size(v));
    else if (json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) < UINT32_MAX)
        snprintf(out, CLI_UNIT_SIZE, "%lld", (long long)json_integer_value(v));
    else
        snprintf(out, CLI_UNIT_SIZE, "-");
    return out;
}

/* "root is node 0" or "roots are nodes 0, 8, 16": each once, though there may be two trees of each. */
static void print_roots(const json_t *trees)
{
    size_t count = json_array_size(trees);
    if (strcmp(cli_json_text(json_array_get(trees, 0), "for"), "small") == 0)
        count /= 2;
    printf(count == 1 ? "root is node " : "roots are nodes ");
    for (size_t i = 0; i < count; i++)
        printf("%s%llu", i > 0 ? ", " : "", ull(json_array_get(trees, i), "root"));
}

static void print_head(const json_t *status, size_t up, size_t count)
{
    char uptime[CLI_UNIT_SIZE], arity[CLI_UNIT_SIZE];
    bool ready = json_is_true(json_object_get(status, "ready"));
    printf("tier %s: %llu node%s, ", cli_json_text(status, "tier"), ull(status, "nodes"),
           cli_json_u64(status, "nodes") == 1 ? "" : "s");
    if (up < count && count > 0)
        printf("%zu up, ", up);
    printf("%s\n", ready ? "ready" : "not ready yet");
    print_roots(json_object_get(status, "trees"));
    printf(", arity %s, version %s, up for %s, seen from node %llu\n\n", number(status, "arity", arity),
           cli_json_text(status, "version"), cli_duration(uptime, cli_json_u64(status, "uptime_s")),
           ull(status, "rank"));
}

static bool is_up(const json_t *member)
{
    return strcmp(cli_json_text(member, "state"), "up") == 0;
}

static void print_members(const json_t *members, bool all)
{
    struct cli_table *t = cli_table_new(">node|address|state|>parent|>children|>below");
    size_t i, hidden = 0, shown = 0;
    json_t *m;
    json_array_foreach(members, i, m)
    {
        if (!all && json_array_size(members) > ROWS_MAX && (is_up(m) || shown >= ROWS_MAX)) {
            hidden++;
            continue;
        }
        char rank[CLI_UNIT_SIZE], parent[CLI_UNIT_SIZE], children[CLI_UNIT_SIZE], below[CLI_UNIT_SIZE];
        number(m, "subtree", below);
        cli_table_row(t, number(m, "rank", rank), cli_json_text(m, "address"), cli_json_text(m, "state"),
                      number(m, "parent", parent), number(m, "children", children), below);
        shown++;
    }
    cli_table_print(t);
    if (hidden > 0)
        printf("%zu more (--all shows them)\n", hidden);
}

/* Each node's parent in each tree: a row a node, its parents in the order of the trees. */
static void print_trees(const json_t *status)
{
    size_t i, k;
    json_t *tree, *m, *parent;
    struct cli_table *t = cli_table_new(">tree|>root|>arity|for files|>this node asks");
    json_array_foreach(json_object_get(status, "trees"), i, tree)
    {
        char number_of[CLI_UNIT_SIZE], root[CLI_UNIT_SIZE], arity[CLI_UNIT_SIZE], asks[CLI_UNIT_SIZE];
        cli_table_row(t, number(tree, "tree", number_of), number(tree, "root", root), number(tree, "arity", arity),
                      cli_json_text(tree, "for"), number(tree, "parent", asks));
    }
    printf("\n");
    cli_table_print(t);
    t = cli_table_new(">node|parent in each tree when all are up");
    json_array_foreach(json_object_get(status, "members"), i, m)
    {
        char rank[CLI_UNIT_SIZE], line[512] = "";
        size_t used = 0;
        json_array_foreach(json_object_get(m, "parents"), k, parent)
        {
            char one[CLI_UNIT_SIZE] = "-";
            if (json_is_integer(parent))
                snprintf(one, sizeof one, "%lld", (long long)json_integer_value(parent));
            int n = snprintf(line + used, sizeof line - used, "%s%5s", k > 0 ? " " : "", one);
            used += n > 0 && (size_t)n < sizeof line - used ? (size_t)n : 0;
        }
        cli_table_row(t, number(m, "rank", rank), line);
    }
    printf("\n");
    cli_table_print(t);
}

static void print_mounts(const json_t *mounts)
{
    if (json_array_size(mounts) == 0)
        return;
    struct cli_table *t = cli_table_new("mount|shows|>requests");
    size_t i;
    json_t *m;
    json_array_foreach(mounts, i, m)
    {
        char requests[CLI_UNIT_SIZE];
        cli_table_row(t, cli_json_text(m, "path"), cli_json_text(m, "source"),
                      cli_count(requests, cli_json_u64(m, "requests")));
    }
    printf("\n");
    cli_table_print(t);
}

int cmd_status(const struct cli_verb *self, int argc, char **argv)
{
    const char *name = NULL;
    int rank = TIERCEL_ANY_RANK;
    bool json = false, all = false, trees = false;
    const struct cli_option options[] = {
        CLI_OPTION_NAME(&name),
        CLI_OPTION_RANK(&rank),
        {"all", 'a', CLI_FLAG, &all, NULL, "every node, even of a large tier"},
        {"trees", 0, CLI_FLAG, &trees, NULL, "each node's parent in each tree, too"},
        CLI_OPTION_JSON(&json),
    };
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, 0);
    if (go != CLI_GO)
        return go;
    const char *const call[] = {"status", trees || json ? "trees" : NULL, NULL};
    json_t *status = NULL;
    int code;
    if (!cli_ask(name, rank, json, call, &status, &code))
        return code;
    const json_t *members = json_object_get(status, "members");
    size_t i, up = 0;
    json_t *m;
    json_array_foreach(members, i, m) up += is_up(m);
    print_head(status, up, json_array_size(members));
    print_members(members, all);
    if (trees)
        print_trees(status);
    print_mounts(json_object_get(status, "mounts"));
    json_decref(status);
    return cli_finish();
}
