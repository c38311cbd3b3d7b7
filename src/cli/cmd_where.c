// SPDX-License-Identifier: Apache-2.0
/* tiercel where: what this machine's nodes hold of a path, and which node reads it from storage. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static void add_row(struct cli_table *t, const json_t *w)
{
    char node[CLI_UNIT_SIZE], root[CLI_UNIT_SIZE], bytes[CLI_UNIT_SIZE], hits[CLI_UNIT_SIZE], chunks[2 * CLI_UNIT_SIZE];
    snprintf(node, sizeof node, "%llu", (unsigned long long)cli_json_u64(w, "rank"));
    snprintf(root, sizeof root, "%llu", (unsigned long long)cli_json_u64(w, "root"));
    snprintf(chunks, sizeof chunks, "%llu of %llu", (unsigned long long)cli_json_u64(w, "present"),
             (unsigned long long)cli_json_u64(w, "chunks"));
    cli_table_row(t, node, cli_json_text(w, "kind"), cli_json_text(w, "state"), chunks,
                  cli_bytes(bytes, cli_json_u64(w, "bytes")), cli_count(hits, cli_json_u64(w, "hits")),
                  json_is_true(json_object_get(w, "pinned")) ? "yes" : "", root);
}

/* One answer of each of this machine's nodes. 0 or -errno. */
static int ask_all(const char *name, const char *path, json_t *answers, struct tiercel_error *err)
{
    char dir[TIERCEL_PATH_SIZE], real[TIERCEL_PATH_SIZE];
    unsigned *ranks = calloc(CLI_RANKS_MAX, sizeof *ranks);
    int rc = ranks == NULL ? cli_error(err, -ENOMEM, "out of memory") : cli_absolute(path, real, err);
    if (rc == 0)
        rc = tiercel_tier_dir(name, dir, sizeof dir, err);
    int count = rc == 0 ? tiercel_local_ranks(dir, ranks, CLI_RANKS_MAX, err) : rc;
    rc = count < 0 ? count : 0;
    for (int i = 0; rc == 0 && i < count; i++) {
        const char *const argv[] = {"where", real, NULL};
        json_t *answer = NULL;
        rc = cli_call_json(name, (int)ranks[i], argv, &answer, err);
        if (rc == 0)
            json_array_append_new(answers, answer);
    }
    free(ranks);
    return rc;
}

int cmd_where(const struct cli_verb *self, int argc, char **argv)
{
    const char *name = NULL;
    bool json = false;
    const struct cli_option options[] = {CLI_OPTION_NAME(&name), CLI_OPTION_JSON(&json)};
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, 1);
    if (go != CLI_GO)
        return go;
    if (argc != 1)
        return cli_usage(self, "wants a path");
    struct tiercel_error err = {0};
    json_t *answers = json_array(), *w;
    int rc = ask_all(name, argv[0], answers, &err);
    if (rc == 0 && json)
        return cli_print_json(json_pack("{s:s, s:o}", "path", argv[0], "nodes", answers));
    if (rc == 0) {
        struct cli_table *t = cli_table_new(">node|what|state|>chunks|>bytes|>hits|pinned|>root");
        size_t i;
        json_array_foreach(answers, i, w) add_row(t, w);
        cli_table_print(t);
    }
    json_decref(answers);
    return rc == 0 ? cli_finish() : cli_report(&err, json);
}
