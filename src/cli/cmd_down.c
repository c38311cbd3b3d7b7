// SPDX-License-Identifier: Apache-2.0
/* tiercel down: end a tier. tiercel wait: until it is ready. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/tier.h"

#define GRACE_MS   10000
#define TIMEOUT_MS 60000

int cmd_down(const struct cli_verb *self, int argc, char **argv)
{
    const char *name = NULL, *runtime = NULL;
    bool here = false, json = false;
    int grace_ms = GRACE_MS;
    const struct cli_option options[] = {
        CLI_OPTION_NAME(&name),
        {"here", 0, CLI_FLAG, &here, NULL, "only this machine's daemons"},
        {"runtime", 0, CLI_TEXT, &runtime, "DIR", "look for the tier below DIR"},
        {"timeout", 0, CLI_SECONDS, &grace_ms, "S",
         "send SIGTERM, then SIGKILL, to daemons still up after S seconds (10)"},
        CLI_OPTION_JSON(&json),
    };
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, 0);
    if (go != CLI_GO)
        return go;
    if (runtime != NULL)
        setenv("TIERCEL_RUNTIME_DIR", runtime, 1);
    struct cli_tier t;
    struct tiercel_error err = {0};
    cli_tier_init(&t);
    /* With --here the caller may be another machine's `down`, which holds the lock of a shared directory. */
    int rc = cli_tier_load(&t, name, !here, &err);
    if (rc == 0)
        rc = cli_stop(&t, here, CLI_CLEAR_ALL, grace_ms, &err);
    else if (rc == -ENOENT && here)
        rc = 0; /* nothing to end here */
    int code;
    if (rc < 0) {
        code = cli_report(&err, json);
    } else if (json) {
        code =
            cli_print_json(json_pack("{s:s, s:I, s:b}", "tier", t.name, "nodes", (json_int_t)t.nodes.count, "down", 1));
    } else {
        if (!here)
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
    const char *name = NULL, *runtime = NULL;
    int timeout_ms = TIMEOUT_MS;
    bool here = false, json = false;
    const struct cli_option options[] = {
        CLI_OPTION_NAME(&name),
        {"here", 0, CLI_FLAG, &here, NULL, "even if this machine's daemon has yet to start"},
        {"runtime", 0, CLI_TEXT, &runtime, "DIR", "look for the tier below DIR"},
        {"timeout", 0, CLI_SECONDS, &timeout_ms, "S", "give up after S seconds (60)"},
        CLI_OPTION_JSON(&json),
    };
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, 0);
    if (go != CLI_GO)
        return go;
    if (runtime != NULL)
        setenv("TIERCEL_RUNTIME_DIR", runtime, 1);
    struct cli_tier t;
    struct tiercel_error err = {0};
    cli_tier_init(&t);
    cli_signals_catch();
    int rc = cli_tier_load(&t, name, false, &err);
    if (rc == -ENOENT && here && make_tier(name, &err) == 0) /* we may be here before the daemon */
        rc = cli_tier_load(&t, name, false, &err);
    if (rc == 0)
        rc = cli_ready_here(&t, cli_now_ms() + (uint64_t)timeout_ms, &err);
    int code = rc < 0 ? cli_report(&err, json) : CLI_OK;
    if (rc == 0 && json)
        code = cli_print_json(
            json_pack("{s:s, s:b, s:I}", "tier", t.name, "ready", 1, "nodes", (json_int_t)t.nodes.count));
    cli_tier_fini(&t);
    return code;
}
