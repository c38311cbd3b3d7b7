// SPDX-License-Identifier: Apache-2.0
/* tiercel down: end a tier. tiercel wait: until it is ready. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/profiles.h"
#include "cli/tier.h"

#define GRACE_MS   10000
#define TIMEOUT_MS 60000

/* How fast the storage was, for the next tier. Not worth a word if there is no answer. */
static void keep_rate(const struct cli_tier *t)
{
    static const char *const argv[] = {"stat", NULL};
    struct tiercel_error ignored;
    json_t *stat = NULL;
    if (cli_call_json(t->name, TIERCEL_ANY_RANK, argv, &stat, &ignored) == 0)
        cli_storage_rate_seen(stat);
    json_decref(stat);
}

int cmd_down(const struct cli_verb *self, int argc, char **argv)
{
    struct cli_where w = {.timeout_ms = GRACE_MS, .keeps = true};
    int go = cli_where_parse(self, &w, "only this machine's daemons",
                             "send SIGTERM, then SIGKILL, to daemons still up after S seconds (10)", argc, argv);
    if (go != CLI_GO)
        return go;
    struct cli_tier t;
    struct tiercel_error err = {0};
    cli_tier_init(&t);
    /* With --here the caller may be another machine's `down`, which holds the lock of a shared directory. */
    int rc = cli_tier_load(&t, w.name, !w.here, &err);
    if (rc == 0 && !w.here)
        keep_rate(&t);
    t.keep_trees = w.keep_trees;
    if (rc == 0) {
        rc = cli_stop(&t, w.here, CLI_CLEAR_ALL, w.timeout_ms, &err);
        if (rc == 0 && !w.keep_trees) /* no daemon of it is left here */
            cli_trees_remove(t.name, "--unused");
    } else if (rc == -ENOENT && w.here) {
        rc = 0; /* nothing to end here */
    }
    int code;
    if (rc < 0) {
        code = cli_report(&err, w.json);
    } else if (w.json) {
        code =
            cli_print_json(json_pack("{s:s, s:I, s:b}", "tier", t.name, "nodes", (json_int_t)t.nodes.count, "down", 1));
    } else {
        if (!w.here)
            printf("tier %s is down\n", t.name);
        code = cli_finish();
    }
    cli_tier_fini(&t);
    return code;
}

/* The tier's directory, to be watched until its daemon comes. */
static int make_tier(const char *name, struct tiercel_error *err)
{
    struct cli_tier t;
    cli_tier_init(&t);
    int rc = cli_tier_make(&t, name, true, err);
    cli_tier_fini(&t);
    return rc < 0 ? rc : 0;
}

int cmd_wait(const struct cli_verb *self, int argc, char **argv)
{
    struct cli_where w = {.timeout_ms = TIMEOUT_MS};
    int go = cli_where_parse(self, &w, "even if this machine's daemon has yet to start", "give up after S seconds (60)",
                             argc, argv);
    if (go != CLI_GO)
        return go;
    struct cli_tier t;
    struct tiercel_error err = {0};
    cli_tier_init(&t);
    cli_signals_catch();
    int rc = cli_tier_load(&t, w.name, false, &err);
    if (rc == -ENOENT && w.here && make_tier(w.name, &err) == 0) /* we may be here before the daemon */
        rc = cli_tier_load(&t, w.name, false, &err);
    if (rc == 0)
        rc = cli_ready_here(&t, cli_now_ms() + (uint64_t)w.timeout_ms, &err);
    int code = rc < 0 ? cli_report(&err, w.json) : CLI_OK;
    if (rc == 0 && w.json)
        code = cli_print_json(
            json_pack("{s:s, s:b, s:I}", "tier", t.name, "ready", 1, "nodes", (json_int_t)t.nodes.count));
    cli_tier_fini(&t);
    return code;
}
