// SPDX-License-Identifier: Apache-2.0
/* tiercel pool: storage for containers. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/pools.h"
#include "cli/tier.h"

/* Reads --json, other options, and a pool: its place, or $TIERCEL_POOL unless `must` name it. */
static int parse(const struct cli_verb *self, const struct cli_option *options, size_t count, bool must, int argc,
                 char **argv, const char **pool)
{
    int go = cli_parse_mixed(self, options, count, &argc, &argv, 1);
    *pool = go == CLI_GO && argc > 0 ? argv[0] : NULL;
    return go == CLI_GO && *pool == NULL && must ? cli_usage(self, "name the pool's directory") : go;
}

static int run_create(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false;
    const char *given;
    struct tiercel_error err = {0};
    const char *nodes = NULL;
    struct tiercel_pool_options made = {.size_bytes = 0};
    const struct cli_option options[] = {
        {"size", 0, CLI_BYTES, &made.size_bytes, "BYTES", "what it may hold, without copies, like 500G or 10T"},
        {"nodes", 0, CLI_TEXT, &nodes, "LIST", "the hosts that it lies on: h1,h2,h3, n[1-4], or @FILE with one a line"},
        {"class", 0, CLI_TEXT, &made.classes, "LIST", "its object classes, the default first; default: RP_3"},
        CLI_OPTION_JSON(&json),
    };
    int go = parse(self, options, 4, true, argc, argv, &given);
    if (go != CLI_GO)
        return go;
    char *list = NULL;
    int rc = nodes != NULL ? cli_hosts(&list, nodes, &err) : 0;
    made.nodes = list;
    rc = rc == 0 ? tiercel_pool_create_with(given, &made, &err) : rc;
    free(list);
    if (rc < 0)
        return cli_report(&err, json);
    struct tiercel_pool *pool;
    struct tiercel_pool_info info;
    char uuid[CLI_UUID_SIZE];
    rc = tiercel_pool_connect(&pool, given, TIERCEL_RO, &err);
    if (rc == 0) {
        rc = tiercel_pool_query(pool, &info);
        rc = rc < 0 ? cli_why(&err, rc, "%s", given) : 0;
        tiercel_pool_disconnect(pool);
    }
    if (rc < 0)
        return cli_report(&err, json);
    if (json)
        return cli_print_json(json_pack("{s:s, s:s}", "pool", info.uri, "uuid", cli_uuid(uuid, info.uuid)));
    const char *quote = given[strcspn(given, "&?*;' ")] != 0 ? "'" : ""; /* for a shell */
    char text[TIERCEL_PATH_SIZE];
    printf("pool %s is made; `tiercel cont create %s%s%s` makes a container in it\n", given, quote,
           cli_cont_text(text, given, "LABEL"), quote);
    return cli_finish();
}

static int run_destroy(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false, force = false;
    const char *given;
    struct tiercel_error err = {0};
    const struct cli_option options[] = {
        {"force", 0, CLI_FLAG, &force, NULL, "also when somebody is connected; they are evicted"},
        CLI_OPTION_JSON(&json),
    };
    int go = parse(self, options, 2, true, argc, argv, &given);
    if (go != CLI_GO)
        return go;
    if (tiercel_pool_destroy(given, force ? TIERCEL_FORCE : 0, &err) < 0)
        return cli_report(&err, json);
    if (json)
        return cli_print_json(json_pack("{s:s}", "destroyed", given));
    printf("pool %s is gone, with all that was in it\n", given);
    return cli_finish();
}

static int run_evict(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false;
    const char *given;
    struct tiercel_error err = {0};
    const struct cli_option options[] = {CLI_OPTION_JSON(&json)};
    int go = parse(self, options, 1, true, argc, argv, &given);
    if (go != CLI_GO)
        return go;
    if (tiercel_pool_evict(given, &err) < 0)
        return cli_report(&err, json);
    if (json)
        return cli_print_json(json_pack("{s:s}", "evicted", given));
    printf("pool %s: all connections have ended; what they had not committed is discarded\n", given);
    return cli_finish();
}

/* ---- check ---- */

static void tell(void *ctx, const char *finding)
{
    json_t *list = ctx;
    cli_progress_end();
    if (list != NULL)
        json_array_append_new(list, json_string(finding));
    else
        puts(finding);
}

static int run_check(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false, repair = false, accept = false;
    const char *given;
    char uri[TIERCEL_PATH_SIZE], used[CLI_UNIT_SIZE];
    struct tiercel_error err = {0};
    struct tiercel_pool *pool = NULL;
    struct tiercel_pool_info info;
    const struct cli_option options[] = {
        {"repair", 0, CLI_FLAG, &repair, NULL,
         "give back space that nothing refers to, make anew what is lost of an index; nobody else may be connected"},
        {"accept-loss", 0, CLI_FLAG, &accept, NULL, "--repair, and what was lost is as if it had never been written"},
        CLI_OPTION_JSON(&json),
    };
    int go = parse(self, options, 3, false, argc, argv, &given);
    if (go != CLI_GO)
        return go;
    json_t *list = json ? json_array() : NULL;
    int rc = cli_pool_connect(&pool, given, repair || accept ? TIERCEL_EX : TIERCEL_RO, uri, &err);
    if (rc == 0) {
        if (tiercel_pool_query(pool, &info) == 0)
            cli_progress("reading %s of payloads", cli_bytes(used, info.used_bytes));
        rc = tiercel_pool_check(pool, accept ? TIERCEL_ACCEPT_LOSS : repair, tell, list);
        cli_progress_end();
        rc = rc < 0 ? cli_why(&err, rc, "%s: cannot be checked", uri) : rc;
        tiercel_pool_disconnect(pool);
    }
    if (rc < 0) {
        json_decref(list);
        return cli_report(&err, json);
    }
    int code = CLI_OK;
    if (json)
        code = cli_print_json(json_pack("{s:s, s:i, s:o}", "pool", uri, "damaged", rc, "findings", list));
    else if (rc == 0)
        printf("pool %s: everything fits together, and every payload is what was written\n", uri);
    else
        printf("pool %s: %d finding%s of damage\n", uri, rc, rc == 1 ? "" : "s");
    int end = cli_finish();
    return rc > 0 ? CLI_FAILED : code != CLI_OK ? code : end;
}

static const struct cli_verb verbs[] = {
    {"pool create", "", "[OPTION]... POOL", "make a pool in a directory, which need not be there, or in a Ceph cluster",
     "In a Ceph cluster, with RADOS pools that are made for it, and go when it is destroyed:\n"
     "  tiercel pool create --size 10T --class RP_3,EC_4P2 'rados:///NAME?conf=/etc/ceph/ceph.conf'\n"
     "or in RADOS pools that are there, META for state and index, replicated, DATA for payloads:\n"
     "  tiercel pool create 'rados:///NAME?conf=/etc/ceph/ceph.conf&pool=META&data=DATA'\n"
     "Options of such a name, with & between: conf=FILE, user=NAME (admin), pool=META, data=DATA,... (as pool),\n"
     "timeout=SECONDS (60), lease=SECONDS (30); tiercel-pool(1) says more.",
     run_create},
    {"pool query", "", "[OPTION]... [POOL]", "how it is, what is in it, how much it takes, how much is free", NULL,
     cmd_pool_query},
    {"pool targets", "", "[OPTION]... [POOL]", "what its data lies on, and whether that runs", NULL, cmd_pool_targets},
    {"pool watch", "", "[OPTION]... [POOL]", "a line for each change of its state",
     "Until it is interrupted, or the state is what --until says.", cmd_pool_watch},
    {"pool check", "", "[OPTION]... [POOL]", "read everything and compare it with its checksums",
     "Each finding is a line. Exits with 1 if something is damaged.", run_check},
    {"pool evict", "", "[OPTION]... POOL", "end all connections; what is not committed is discarded",
     "For programs that hang: those that have ended hold nothing.", run_evict},
    {"pool destroy", "", "[OPTION]... POOL", "take it away, with all its containers", NULL, run_destroy},
};

int cmd_pool(const struct cli_verb *self, int argc, char **argv)
{
    return cli_verb_group(self, verbs, sizeof verbs / sizeof verbs[0], argc, argv);
}
