// SPDX-License-Identifier: Apache-2.0
/* tiercel up: start a tier here, over ssh, or inside a Slurm or PBS allocation. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/profiles.h"
#include "cli/tier.h"

#define STOP_GRACE_MS 5000
#define TIMEOUT_MS    60000

/* Everything after the directory is there. */
static int start(struct cli_tier *t, const struct cli_daemon_options *o, uint64_t deadline_ms,
                 enum cli_clear on_failure, struct tiercel_error *err)
{
    int rc = cli_tier_clear(t, CLI_CLEAR_INSIDE, err);
    if (rc == 0)
        rc = cli_tier_write(t, err);
    if (rc == 0)
        rc = cli_launch(t, o, deadline_ms, err);
    if (rc == 0)
        rc = cli_ready(t, deadline_ms, err);
    if (rc == 0)
        return 0;
    cli_progress_end();
    if (t->launcher == CLI_SLURM) {
        char log[TIERCEL_PATH_SIZE];
        struct tiercel_error ignored;
        if (cli_path(log, &ignored, "%s/srun.log", t->dir) == 0)
            cli_show_tail(log, 8);
    }
    struct tiercel_error second = {0};
    cli_interrupted = 0; /* a first Ctrl-C ends the start, and the taking down is seen through */
    if (cli_stop(t, false, on_failure, STOP_GRACE_MS, &second) < 0)
        cli_say("%s", second.message);
    return rc;
}

int cli_up(struct cli_tier *t, const struct cli_daemon_options *o, int timeout_ms, enum cli_clear on_failure,
           struct tiercel_error *err)
{
    int rc = cli_helper("tierceld", t->tierceld, err);
    if (rc < 0)
        return rc;
    cli_signals_catch();
    return start(t, o, cli_now_ms() + (uint64_t)timeout_ms, on_failure, err);
}

/* ---- which nodes ---- */

static bool env(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

static int pbs_nodes(struct cli_nodes *out, struct tiercel_error *err)
{
    const char *path = getenv("PBS_NODEFILE");
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return cli_error(err, -errno, "%s ($PBS_NODEFILE): %s; give the nodes with --hostfile", path, strerror(errno));
    char *text = NULL;
    size_t size = 0;
    ssize_t n = getdelim(&text, &size, '\0', f);
    fclose(f);
    int rc = n < 0 ? cli_error(err, -EINVAL, "%s ($PBS_NODEFILE): empty; give the nodes with --hostfile", path)
                   : cli_nodes_parse(out, text, path, true, err);
    free(text);
    return rc;
}

static int list_nodes(struct cli_tier *t, int here, const char *hostfile, uint64_t deadline_ms,
                      struct tiercel_error *err)
{
    if (hostfile != NULL) {
        t->launcher = CLI_SSH;
        return cli_nodes_read(&t->nodes, hostfile, err);
    }
    if (here == 0 && env("SLURM_JOB_ID")) {
        t->launcher = CLI_SLURM;
        return cli_slurm_nodes(&t->nodes, deadline_ms, err);
    }
    if (here == 0 && env("PBS_NODEFILE")) {
        t->launcher = CLI_SSH;
        return pbs_nodes(&t->nodes, err);
    }
    t->launcher = CLI_LOCAL;
    return cli_nodes_here(&t->nodes, here > 0 ? here : 1, err);
}

static int choose_nodes(struct cli_tier *t, int here, const char *hostfile, const char *topology, int timeout_ms,
                        struct tiercel_error *err)
{
    uint64_t deadline_ms = cli_now_ms() + (uint64_t)timeout_ms;
    int rc = list_nodes(t, here, hostfile, deadline_ms, err);
    if (rc == 0 && topology != NULL)
        rc = cli_groups_read(&t->nodes, topology, err);
    else if (rc == 0 && t->launcher == CLI_SLURM)
        rc = cli_slurm_groups(&t->nodes, deadline_ms, err);
    return rc;
}

/* ---- a tier that is there already ---- */

static bool same_nodes(const struct cli_tier *wanted, const struct cli_tier *found)
{
    if (wanted->launcher != found->launcher || wanted->nodes.count != found->nodes.count)
        return false;
    for (size_t i = 0; wanted->launcher != CLI_LOCAL && i < wanted->nodes.count;
         i++) { /* here, ports are free to differ */
        const struct cli_node *a = &wanted->nodes.list[i], *b = &found->nodes.list[i];
        bool same_group = a->group == NULL || b->group == NULL ? a->group == b->group : strcmp(a->group, b->group) == 0;
        if (strcmp(a->text, b->text) != 0 || !same_group)
            return false;
    }
    return true;
}

/* 1: it is up and what was asked for; 0: it was dead, and its remains are gone; -EEXIST: it is up, but another. */
static int meet_existing(struct cli_tier *t, struct tiercel_error *err)
{
    struct cli_tier found;
    cli_tier_init(&found);
    int rc = cli_tier_load(&found, t->name, false, err);
    unsigned alive = rc == 0 ? cli_tier_alive(&found) : 0, stopped = 0;
    bool same = rc == 0 && same_nodes(t, &found);
    if (rc == 0 && alive == 0)
        rc = cli_stop_here(&found, STOP_GRACE_MS, &stopped, err); /* a daemon that hangs would keep its port */
    if (rc == 0 && alive > 0 && same) {
        cli_nodes_fini(&t->nodes);
        t->nodes = found.nodes;
        found.nodes = (struct cli_nodes){0};
        rc = 1;
    } else if (rc == 0 && alive > 0) {
        rc = cli_error(err, -EEXIST,
                       "%s: a tier of that name is up already, with %zu node%s (%s); end it with `tiercel "
                       "down --name %s`, or choose another --name",
                       t->name, found.nodes.count, found.nodes.count == 1 ? "" : "s", cli_launcher_name(found.launcher),
                       t->name);
    }
    cli_tier_fini(&found);
    return rc;
}

static int tell(const struct cli_tier *t, bool already, bool json)
{
    size_t n = t->nodes.count;
    if (!json) {
        printf("tier %s is %s: %zu node%s%s\n", t->name, already ? "already up" : "up", n, n == 1 ? "" : "s",
               t->launcher == CLI_LOCAL   ? " on this machine"
               : t->launcher == CLI_SLURM ? " in this Slurm job"
                                          : "");
        return cli_finish();
    }
    json_t *members = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(members,
                              json_pack("{s:I, s:s}", "rank", (json_int_t)i, "address", t->nodes.list[i].text));
    return cli_print_json(json_pack("{s:s, s:I, s:b, s:b, s:s, s:s, s:o}", "tier", t->name, "nodes", (json_int_t)n,
                                    "ready", 1, "already", already, "launcher", cli_launcher_name(t->launcher), "dir",
                                    t->dir, "members", members));
}

static bool is_metrics(const char *where)
{
    size_t digits = strspn(where, "0123456789");
    unsigned long port = strtoul(where, NULL, 10);
    bool is_port = digits > 0 && digits < 6 && where[digits] == '\0' && port >= 1 && port <= 65535;
    return is_port || strcmp(where, "unix") == 0 || strcmp(where, "off") == 0;
}

struct rates {
    char link[24], storage[24];
};

/* Fills in what was not given and is known. */
static void find_rates(struct cli_daemon_options *o, const struct cli_nodes *nodes, struct rates *r)
{
    uint64_t link = o->link_rate == NULL ? cli_link_rate(nodes) : 0;
    uint64_t storage = o->storage_rate == NULL ? cli_storage_rate() : 0;
    snprintf(r->link, sizeof r->link, "%" PRIu64, link);
    snprintf(r->storage, sizeof r->storage, "%" PRIu64, storage);
    o->link_rate = link > 0 ? r->link : o->link_rate;
    o->storage_rate = storage > 0 ? r->storage : o->storage_rate;
}

static bool is_auth(const char *text)
{
    return text == NULL || strcmp(text, "key") == 0 || strcmp(text, "munge") == 0 || strcmp(text, "auto") == 0;
}

/* Makes the tier's folder. *already: another tier of this name is there, and stays. */
static int make_tier(struct cli_tier *t, const char *name, bool *already, struct tiercel_error *err)
{
    int rc = cli_tier_make(t, name, t->launcher != CLI_LOCAL, err);
    if (rc == 1) {
        rc = meet_existing(t, err);
        *already = rc == 1;
    }
    return rc;
}

int cmd_up(const struct cli_verb *self, int argc, char **argv)
{
    const char *name = NULL, *hostfile = NULL, *topology = NULL, *lifetime = NULL, *auth = NULL;
    struct cli_daemon_options o = {0};
    struct rates rates;
    int here = 0, timeout_ms = TIMEOUT_MS;
    bool json = false;
    const struct cli_option options[] = {
        {"nodes", 'N', CLI_COUNT, &here, "N", "N daemons on this machine, on free ports of 127.0.0.1"},
        {"hostfile", 'f', CLI_TEXT, &hostfile, "FILE",
         "one daemon a line of FILE (host[:port] [group]), started over ssh"},
        {"topology", 0, CLI_TEXT, &topology, "FILE", "which hosts are near each other: `group host...` a line"},
        CLI_OPTION_NAME(&name),
        {"cache-size", 0, CLI_SIZE, &o.cache_size, "SIZE", "memory for cached files on each node, like 4G"},
        {"values-share", 0, CLI_TEXT, &o.values_share, "N", "percent of it for values of local programs (25)"},
        {"values-dir", 0, CLI_TEXT, &o.values_dir, "DIR", "where values go on each node that memory has no room for"},
        {"values-dir-size", 0, CLI_SIZE, &o.values_dir_size, "SIZE", "limit of that, for each node (8G)"},
        {"roots", 0, CLI_AUTO, &o.roots, "N", "nodes that read the storage, each its share (auto)"},
        {"arity", 0, CLI_AUTO, &o.arity, "N", "children of a node in a tree (auto)"},
        {"link-rate", 0, CLI_SIZE, &o.link_rate, "SIZE", "of a node's link a second, for auto (this machine's)"},
        {"storage-rate", 0, CLI_SIZE, &o.storage_rate, "SIZE", "of the storage a second, for auto (what was seen)"},
        {"source", 0, CLI_TEXT, &o.source, "URL,...",
         "read from these web servers, the next where one fails, not from the file system"},
        {"readahead", 0, CLI_TEXT, &o.readahead, "SIZE",
         "files up to SIZE are read whole at first touch; or \"always\""},
        {"metrics", 0, CLI_TEXT, &o.metrics, "WHERE", "counters for Prometheus: a port of 127.0.0.1, unix, or off"},
        {"revalidate", 0, CLI_TEXT, &o.revalidate, "S",
         "look at the storage again for changes every S seconds (0: never)"},
        {"keep-once", 0, CLI_FLAG, &o.keep_once, NULL, "drop what programs have read and no other node asks for"},
        {"encrypt", 0, CLI_FLAG, &o.encrypt, NULL, "encrypt everything between nodes"},
        {"bulk", 0, CLI_TEXT, &o.bulk, "HOW", "auto, tcp, or a libfabric provider"},
        {"threads", 0, CLI_COUNT, &o.threads, "N", "threads that read the source, on each node"},
        {"key-lifetime", 0, CLI_TEXT, &lifetime, "TIME",
         "the key expires after TIME, like 8h, unless `rekey` gives another"},
        {"auth", 0, CLI_TEXT, &auth, "HOW",
         "how daemons get the key: key, munge, or auto (MUNGE inside Slurm, where munged answers)"},
        {"timeout", 0, CLI_SECONDS, &timeout_ms, "S", "give up when not ready after S seconds (60)"},
        CLI_OPTION_JSON(&json),
    };
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, 0);
    if (go != CLI_GO)
        return go;
    if (o.metrics != NULL && !is_metrics(o.metrics))
        return cli_usage(self, "--metrics %s: must be a port from 1 to 65535, unix, or off", o.metrics);
    if (!is_auth(auth))
        return cli_usage(self, "--auth %s: must be key, munge or auto", auth);
    if (here > 0 && hostfile != NULL)
        return cli_usage(self, "-N and --hostfile exclude each other; -N is for this machine alone");

    struct cli_tier t;
    struct tiercel_error err = {0};
    cli_tier_init(&t);
    int rc = lifetime != NULL ? cli_lifetime(lifetime, &t.key_lifetime_s, &err) : 0;
    if (rc == 0)
        rc = choose_nodes(&t, here, hostfile, topology, timeout_ms, &err);
    if (rc == 0)
        rc = cli_auth_choose(&t, auth, &err);
    bool already = false;
    if (rc == 0)
        rc = make_tier(&t, name, &already, &err);
    if (rc == 0)
        find_rates(&o, &t.nodes, &rates);
    if (rc == 0)
        rc = cli_up(&t, &o, timeout_ms, CLI_CLEAR_BUT_LOGS, &err);
    int code = rc < 0 ? cli_report(&err, json) : tell(&t, already, json);
    cli_tier_fini(&t);
    return code;
}
