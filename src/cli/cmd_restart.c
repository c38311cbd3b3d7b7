// SPDX-License-Identifier: Apache-2.0
/* tiercel restart: another tierceld, perhaps a newer one, in the place of each daemon; mounts stay. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/tier.h"

#define TIMEOUT_MS 60000

/* What the daemon behind a control socket says about itself. Its pid, or -errno. */
static int ask(const char *path, const char *const argv[], uint64_t deadline_ms, char program[TIERCEL_PATH_SIZE],
               struct tiercel_error *err)
{
    uint64_t now = cli_now_ms();
    int left = now < deadline_ms ? (int)(deadline_ms - now) : 0;
    struct tiercel *c = NULL;
    char *text = NULL;
    int rc = tiercel_open_socket(&c, path, left, err);
    if (rc == 0)
        rc = tiercel_call(c, argv, -1, left, NULL, NULL, &text, err);
    json_t *reply = rc == 0 ? json_loads(text, 0, NULL) : NULL;
    if (rc == 0) {
        rc = (int)cli_json_u64(reply, "pid");
        snprintf(program, TIERCEL_PATH_SIZE, "%s", cli_json_text(reply, "program"));
    }
    json_decref(reply);
    tiercel_free(text);
    tiercel_close(c);
    return rc;
}

/* The next daemon takes connections from the socket that the keeper holds, so asking waits for it; one that went away while it
 * was asked is asked again. */
static int wait_for_next(const char *path, int old_pid, uint64_t deadline_ms, char program[TIERCEL_PATH_SIZE],
                         struct tiercel_error *err)
{
    const char *const ping[] = {"ping", NULL};
    for (;;) { /* until the deadline */
        int pid = ask(path, ping, deadline_ms, program, err);
        if (pid > 0 && pid != old_pid)
            return 0;
        if (pid < 0 && pid != -ECONNRESET)
            return pid;
        if (cli_now_ms() >= deadline_ms)
            return cli_error(err, -ETIMEDOUT, "%s: no other daemon came; its log may say why", path);
        usleep(2000); /* the old one still answers */
    }
}

static int restart_one(const struct cli_tier *t, size_t rank, uint64_t deadline_ms, struct tiercel_error *err)
{
    char path[TIERCEL_PATH_SIZE], program[TIERCEL_PATH_SIZE];
    const char *const ping[] = {"ping", NULL}, *const restart[] = {"restart", t->tierceld, NULL};
    int rc = cli_path(path, err, "%s/node-%zu.sock", t->dir, rank);
    int pid = rc == 0 ? ask(path, ping, deadline_ms, program, err) : rc;
    if (pid < 0)
        return pid;
    rc = ask(path, restart, deadline_ms, program, err);
    if (rc >= 0)
        rc = wait_for_next(path, pid, deadline_ms, program, err);
    if (rc == 0 && strcmp(program, t->tierceld) != 0)
        rc = cli_error(err, -EPROTO,
                       "node %zu: %s could not go on with what is served, so the program before (%s) does; see "
                       "%s/node-%zu.log",
                       rank, t->tierceld, program, t->dir, rank);
    return rc;
}

/* This machine's daemons, found by their sockets (one that was started over ssh has no node list), one after the other, the
 * first rank last. */
static int restart_here(const struct cli_tier *t, uint64_t deadline_ms, unsigned *count, struct tiercel_error *err)
{
    unsigned *ranks = calloc(CLI_RANKS_MAX, sizeof *ranks);
    if (ranks == NULL)
        return cli_error(err, -ENOMEM, "%s: out of memory", t->name);
    int found = tiercel_local_ranks(t->dir, ranks, CLI_RANKS_MAX, err), rc = found;
    for (int i = found; rc >= 0 && i-- > 0;) {
        rc = restart_one(t, ranks[i], deadline_ms, err);
        *count += rc >= 0;
        cli_progress("restarting nodes: %u", *count);
    }
    free(ranks);
    return rc < 0 ? rc : 0;
}

int cmd_restart(const struct cli_verb *self, int argc, char **argv)
{
    struct cli_where w = {.timeout_ms = TIMEOUT_MS};
    int go = cli_where_parse(self, &w, "only this machine's daemons", "give up after S seconds (60)", argc, argv);
    if (go != CLI_GO)
        return go;
    struct cli_tier t;
    struct tiercel_error err = {0};
    char program[TIERCEL_PATH_SIZE];
    unsigned count = 0;
    cli_tier_init(&t);
    cli_signals_catch();
    uint64_t deadline = cli_now_ms() + (uint64_t)(unsigned)w.timeout_ms;
    int rc = cli_tier_load(&t, w.name, !w.here, &err);
    if (rc == 0)
        rc = cli_helper("tierceld", program, &err);
    if (rc == 0)
        rc = cli_absolute(program, t.tierceld, &err);
    if (rc == 0 && (w.here || t.launcher != CLI_SLURM)) /* srun reaches this machine, too */
        rc = restart_here(&t, deadline, &count, &err);
    if (rc == 0 && w.here && count == 0)
        rc = cli_error(&err, -ENOENT, "%s: no daemon of this tier on this machine", t.dir);
    if (rc == 0 && !w.here && t.launcher != CLI_LOCAL)
        rc = cli_other_machines(&t, "restart", NULL, deadline, "restarting nodes", &err); /* each by its own command */
    cli_progress_end();
    int code;
    if (rc < 0) {
        code = cli_report(&err, w.json);
    } else if (w.json) {
        code = cli_print_json(
            json_pack("{s:s, s:i, s:s}", "tier", t.name, "restarted_here", (int)count, "program", t.tierceld));
    } else {
        if (!w.here)
            printf("tier %s runs %s now\n", t.name, t.tierceld);
        code = cli_finish();
    }
    cli_tier_fini(&t);
    return code;
}
