// SPDX-License-Identifier: Apache-2.0
/* tiercel rekey: a new key for all nodes of a tier, in three steps that each reach all nodes before the next one begins:
 * add (accepted by all), use (proven by all), retire (the one before is refused). See docs/decisions/0015.
 *
 * An order is a step and a key, "add 0123...\n". On this machine it goes over the control sockets; to others
 * through the standard input of `tiercel rekey --here`, as the first key went, in a MUNGE credential or as it is. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/tier.h"

#define TIMEOUT_MS     60000
#define ORDER_MAX      128
#define LINE_MAX_BYTES 4096 /* of an order in a credential */

static const char *const steps[] = {"add", "use", "retire"};
enum { STEPS = sizeof steps / sizeof steps[0] };

/* "step key\n" cut up in place. */
static int split_order(char *order, const char **step, const char **key, struct tiercel_error *err)
{
    char *blank = strchr(order, ' ');
    order[strcspn(order, "\n")] = '\0';
    if (blank == NULL || blank[1] == '\0')
        return cli_error(err, -EINVAL, "rekey --here is told by `tiercel rekey` what to do, on its standard input");
    *blank = '\0';
    *step = order;
    *key = blank + 1;
    return 0;
}

static int order_one(const char *path, const char *step, const char *key, uint64_t deadline_ms,
                     struct tiercel_error *err)
{
    const char *const argv[] = {"rekey", step, key, NULL};
    uint64_t now = cli_now_ms();
    int left = now < deadline_ms ? (int)(deadline_ms - now) : 0;
    struct tiercel *c = NULL;
    int rc = tiercel_open_socket(&c, path, left, err);
    if (rc == 0)
        rc = tiercel_call(c, argv, -1, left, NULL, NULL, NULL, err);
    tiercel_close(c);
    return rc;
}

/* All daemons of this machine that have left a socket: one that is down is told of, not passed over. */
static int order_here(const struct cli_tier *t, const char *order, uint64_t deadline_ms, struct tiercel_error *err)
{
    char copy[ORDER_MAX], path[TIERCEL_PATH_SIZE];
    const char *step = NULL, *key = NULL;
    snprintf(copy, sizeof copy, "%s", order);
    unsigned *ranks = calloc(CLI_RANKS_MAX, sizeof *ranks);
    int rc =
        ranks != NULL ? split_order(copy, &step, &key, err) : cli_error(err, -ENOMEM, "%s: out of memory", t->name);
    int count = rc == 0 ? tiercel_local_ranks(t->dir, ranks, CLI_RANKS_MAX, err) : rc;
    if (count == 0)
        rc = cli_error(err, -ENOENT, "%s: no daemon of this tier on this machine", t->dir);
    for (int i = 0; rc == 0 && i < count; i++) {
        rc = cli_path(path, err, "%s/node-%u.sock", t->dir, ranks[i]);
        if (rc == 0)
            rc = order_one(path, step, key, deadline_ms, err);
    }
    explicit_bzero(copy, sizeof copy);
    free(ranks);
    return count < 0 ? count : rc;
}

static int order_all(const struct cli_tier *t, const char *step, uint64_t deadline_ms, struct tiercel_error *err)
{
    char order[ORDER_MAX];
    snprintf(order, sizeof order, "%s %s", step, t->key);
    int rc = 0;
    unsigned rank;
    bool some_here = tiercel_local_ranks(t->dir, &rank, 1, NULL) > 0;
    if (t->launcher == CLI_LOCAL || (t->launcher == CLI_SSH && some_here)) /* srun reaches this machine, too */
        rc = order_here(t, order, deadline_ms, err);
    if (rc == 0 && t->launcher != CLI_LOCAL)
        rc = cli_other_machines(t, "rekey", order, deadline_ms, "telling nodes", err);
    explicit_bzero(order, sizeof order);
    return rc;
}

static int rekey(struct cli_tier *t, uint64_t deadline_ms, struct tiercel_error *err)
{
    struct tiercel_error why = {0};
    int rc = cli_tier_make_key(t, err);
    for (int i = 0; rc == 0 && i < STEPS; i++) {
        rc = order_all(t, steps[i], deadline_ms, &why);
        if (rc == 0 && i == 0)
            rc = cli_tier_write_key(t, &why); /* all know it: whoever reads the file next may use it */
        if (rc < 0 && i == 0)
            cli_error(err, rc, "%s: the key is as before: %.400s", t->name, why.message);
        else if (rc < 0)
            cli_error(err, rc,
                      "%s: all nodes accept the new key, and the one before is not refused everywhere: %.400s; "
                      "run tiercel rekey again",
                      t->name, why.message);
    }
    return rc;
}

static int rekey_here(const struct cli_tier *t, uint64_t deadline_ms, struct tiercel_error *err)
{
    char line[LINE_MAX_BYTES] = "", *order = NULL;
    if (fgets(line, sizeof line, stdin) == NULL)
        line[0] = '\0';
    int rc = cli_auth_open(line, &order, err);
    if (rc == 0)
        rc = order_here(t, order, deadline_ms, err);
    explicit_bzero(line, sizeof line);
    cli_auth_wipe(&order);
    return rc;
}

int cmd_rekey(const struct cli_verb *self, int argc, char **argv)
{
    const char *name = NULL, *runtime = NULL, *lifetime = NULL;
    bool here = false, json = false;
    int timeout_ms = TIMEOUT_MS;
    const struct cli_option options[] = {
        CLI_OPTION_NAME(&name),
        {"lifetime", 0, CLI_TEXT, &lifetime, "TIME", "the new key expires after TIME, like 8h (never)"},
        {"here", 0, CLI_FLAG, &here, NULL,
         "only this machine's daemons, as told on standard input (for `rekey` itself)"},
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
    uint64_t deadline = cli_now_ms() + (uint64_t)(unsigned)timeout_ms;
    int rc = lifetime != NULL ? cli_lifetime(lifetime, &t.key_lifetime_s, &err) : 0;
    uint64_t lifetime_s = t.key_lifetime_s;
    if (rc == 0)
        rc = cli_tier_load(&t, name, !here, &err);
    t.key_lifetime_s = lifetime_s;
    if (rc == 0)
        rc = here ? rekey_here(&t, deadline, &err) : rekey(&t, deadline, &err);
    cli_progress_end();
    int code = CLI_OK;
    if (rc < 0)
        code = cli_report(&err, json);
    else if (json)
        code = cli_print_json(json_pack("{s:s, s:I}", "tier", t.name, "lifetime_s", (json_int_t)lifetime_s));
    else if (!here)
        code = (printf("tier %s has a new key; the one before is refused\n", t.name), cli_finish());
    cli_tier_fini(&t);
    return code;
}
