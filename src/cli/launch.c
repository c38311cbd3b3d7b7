// SPDX-License-Identifier: Apache-2.0
/* Starts the daemons of a tier on this machine and over ssh, see docs/decisions/0051. Slurm is in slurm.c. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/tier.h"

#define AT_ONCE        32
#define OTHERS_AT_ONCE 8 /* of those that serve: most of the tier goes on meanwhile */
#define SENTENCES_MAX  8 /* failures that are told one by one */

void cli_daemon_args(struct cli_args *a, const struct cli_tier *t, const struct cli_daemon_options *o)
{
    cli_args_add(a, "%s", t->tierceld);
    cli_args_add(a, "--name");
    cli_args_add(a, "%s", t->name);
    cli_args_add(a, "--runtime");
    cli_args_add(a, "%s", t->runtime);
    const struct {
        const char *option, *value;
    } texts[] = {{"--source", o->source},         {"--cache-size", o->cache_size},
                 {"--readahead", o->readahead},   {"--bulk", o->bulk},
                 {"--roots", o->roots},           {"--arity", o->arity},
                 {"--link-rate", o->link_rate},   {"--storage-rate", o->storage_rate},
                 {"--revalidate", o->revalidate}, {"--values-share", o->values_share},
                 {"--values-dir", o->values_dir}, {"--values-dir-size", o->values_dir_size}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].value == NULL)
            continue;
        cli_args_add(a, "%s", texts[i].option);
        cli_args_add(a, "%s", texts[i].value);
    }
    if (o->threads > 0) {
        cli_args_add(a, "--threads");
        cli_args_add(a, "%d", o->threads);
    }
    if (o->keep_once)
        cli_args_add(a, "--keep-once");
    if (o->encrypt)
        cli_args_add(a, "--encrypt");
}

void cli_ssh_args(struct cli_args *a, const char *host)
{
    const char *command = getenv("TIERCEL_SSH");
    char *words = strdup(command != NULL && command[0] != '\0' ? command : "ssh"), *rest = NULL;
    a->failed |= words == NULL;
    for (char *word = words != NULL ? strtok_r(words, " ", &rest) : NULL; word != NULL;
         word = strtok_r(NULL, " ", &rest))
        cli_args_add(a, "%s", word);
    free(words);
    cli_args_add(a, "-oBatchMode=yes");
    cli_args_add(a, "-oConnectTimeout=15");
    cli_args_add(a, "%s", host);
}

/* The command itself; `tiercel` of the other machines is where it is here. */
static void add_command(struct cli_args *a, const struct cli_tier *t, const char *verb, int timeout_ms)
{
    char self[TIERCEL_PATH_SIZE];
    struct tiercel_error ignored;
    cli_args_add(a, "%s", cli_self(self, &ignored) == 0 ? self : "tiercel");
    cli_args_add(a, "%s", verb);
    cli_args_add(a, "--here");
    cli_args_add(a, "--name");
    cli_args_add(a, "%s", t->name);
    cli_args_add(a, "--runtime");
    cli_args_add(a, "%s", t->runtime);
    if (t->keep_trees && strcmp(verb, "down") == 0)
        cli_args_add(a, "--keep-trees");
    if (timeout_ms < 0)
        return;
    cli_args_add(a, "--timeout");
    cli_args_add(a, "%d.%03d", timeout_ms / 1000, timeout_ms % 1000);
}

/* The last argument: a command line for the shell at the other end. */
static void add_shell_line(struct cli_args *a, struct cli_args *command)
{
    char *line = cli_args_shell(command);
    a->failed |= line == NULL;
    cli_args_add(a, "%s", line != NULL ? line : "");
    cli_args_fini(command);
    free(line);
}

void cli_remote_args(struct cli_args *a, const struct cli_tier *t, const char *host, const char *verb, int timeout_ms)
{
    if (t->launcher != CLI_SLURM) {
        struct cli_args command = {0};
        add_command(&command, t, verb, timeout_ms);
        cli_ssh_args(a, host);
        add_shell_line(a, &command);
        return;
    }
    size_t count = host != NULL ? 1 : t->nodes.count;
    cli_args_add(a, "srun");
    cli_args_add(a, "--overlap");
    cli_args_add(a, "--nodes=%zu", count);
    cli_args_add(a, "--ntasks=%zu", count);
    cli_args_add(a, "--ntasks-per-node=1");
    if (host != NULL)
        cli_args_add(a, "--nodelist=%s", host);
    add_command(a, t, verb, timeout_ms);
}

/* Where a node tells its counters: nodes of one machine have ports that follow each other. */
static void add_metrics(struct cli_args *a, const struct cli_tier *t, const struct cli_daemon_options *o, size_t rank)
{
    if (o->metrics == NULL)
        return;
    cli_args_add(a, "--metrics");
    unsigned long port = strtoul(o->metrics, NULL, 10);
    for (size_t i = 0; port > 0 && i < rank; i++)
        port += strcmp(t->nodes.list[i].host, t->nodes.list[rank].host) == 0;
    if (port > 0)
        cli_args_add(a, "%lu", port);
    else
        cli_args_add(a, "%s", o->metrics);
}

/* One node's daemon, wherever it is. */
static void add_daemon(struct cli_args *a, const struct cli_tier *t, const struct cli_daemon_options *o, size_t rank,
                       bool by_files)
{
    cli_daemon_args(a, t, o);
    cli_args_add(a, "--rank");
    cli_args_add(a, "%zu", rank);
    cli_args_add(a, by_files ? "--key" : "--key-fd");
    if (by_files)
        cli_args_add(a, "%s/key", t->dir);
    else
        cli_args_add(a, "0");
    cli_args_add(a, "--nodes");
    if (by_files)
        cli_args_add(a, "%s/nodes", t->dir);
    else
        cli_args_add(a, "-");
    cli_args_add(a, "--log");
    cli_args_add(a, "%s/node-%zu.log", t->dir, rank);
    add_metrics(a, t, o, rank);
    cli_args_add(a, "--daemonise");
}

static bool goes_by_ssh(const struct cli_tier *t, size_t rank)
{
    return t->launcher != CLI_LOCAL && !cli_host_is_here(t->nodes.list[rank].host);
}

/* Key and node list go through standard input, but for daemons of this machine that find them in files. */
static int make_job(struct cli_job *job, const struct cli_tier *t, const struct cli_daemon_options *o, size_t rank,
                    const char *nodes, char **input, struct tiercel_error *err)
{
    struct cli_args command = {0};
    bool ssh = goes_by_ssh(t, rank), by_files = !ssh && !t->munge;
    char *key = NULL;
    int rc = by_files ? 0 : cli_auth_seal(t, t->key, &key, err);
    if (rc == 0 && !by_files && asprintf(input, "%s%s", key, nodes) < 0) {
        *input = NULL;
        rc = cli_error(err, -ENOMEM, "out of memory for the node list");
    }
    cli_auth_wipe(&key);
    job->input = *input;
    if (rc < 0)
        return rc;
    add_daemon(ssh ? &command : &job->args, t, o, rank, by_files);
    if (ssh) {
        cli_ssh_args(&job->args, t->nodes.list[rank].host);
        add_shell_line(&job->args, &command);
    }
    return 0;
}

/* ---- what went wrong ---- */

/* The last line of what it said, without its own name in front, or NULL. */
static const char *last_words(struct cli_job *job)
{
    char *text = job->err != NULL && job->err_len > 0 ? job->err : job->out;
    if (text == NULL)
        return NULL;
    size_t len = strlen(text);
    while (len > 0 && strchr("\r\n ", text[len - 1]) != NULL)
        text[--len] = '\0';
    char *line = strrchr(text, '\n');
    line = line != NULL ? line + 1 : text;
    static const char own[] = "tierceld: ";
    if (strncmp(line, own, sizeof own - 1) == 0)
        line += sizeof own - 1;
    return *line != '\0' ? line : NULL;
}

static void explain(struct cli_job *job, const struct cli_tier *t, size_t rank, char *out, size_t out_size)
{
    const char *words = last_words(job), *host = t->nodes.list[rank].text;
    bool ssh = goes_by_ssh(t, rank);
    if (job->status < 0)
        snprintf(out, out_size, "%s: %.300s cannot be started: %s; is it installed here?", host,
                 job->args.count > 0 ? job->args.v[0] : "tierceld", strerror(-job->status));
    else if (ssh && job->status == 255)
        snprintf(out, out_size, "%s: ssh: %.300s; `ssh -oBatchMode=yes %s true` must work without a question", host,
                 words != NULL ? words : "no reason given", t->nodes.list[rank].host);
    else if (ssh && (job->status == 126 || job->status == 127))
        snprintf(out, out_size, "%s: no %.300s there that can be run; install Tiercel at the same path on all machines",
                 host, t->tierceld);
    else if (words != NULL)
        snprintf(out, out_size, "%s: %.600s", host, words);
    else
        snprintf(out, out_size, "%s: tierceld ended with code %d and gave no reason; its log may: %.300s/node-%zu.log",
                 host, job->status, t->dir, rank);
}

static int failures(struct cli_job *jobs, const struct cli_tier *t, struct tiercel_error *err)
{
    char sentence[1024], first[900] = "";
    size_t failed = 0;
    for (size_t i = 0; i < t->nodes.count; i++) {
        if (jobs[i].status == 0)
            continue;
        explain(&jobs[i], t, i, sentence, sizeof sentence);
        if (failed++ == 0)
            snprintf(first, sizeof first, "%.899s", sentence);
        else if (failed <= SENTENCES_MAX)
            cli_say("%s", sentence);
    }
    if (failed == 0)
        return 0;
    if (failed == 1)
        return cli_error(err, -EIO, "%s", first);
    if (failed > SENTENCES_MAX)
        cli_say("... and %zu more", failed - SENTENCES_MAX);
    return cli_error(err, -EIO, "%s (one of %zu nodes of %zu that did not start)", first, failed, t->nodes.count);
}

int cli_launch(struct cli_tier *t, const struct cli_daemon_options *o, uint64_t deadline_ms, struct tiercel_error *err)
{
    if (t->launcher == CLI_SLURM)
        return cli_launch_slurm(t, o, err);
    size_t n = t->nodes.count;
    struct cli_job *jobs = calloc(n, sizeof *jobs);
    char *nodes = cli_nodes_text(&t->nodes), **inputs = calloc(n, sizeof *inputs);
    int rc = 0;
    if (jobs == NULL || nodes == NULL || inputs == NULL)
        rc = cli_error(err, -ENOMEM, "out of memory for %zu nodes", n);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = make_job(&jobs[i], t, o, i, nodes, &inputs[i], err);
    if (rc == 0) {
        rc = cli_jobs_run(jobs, n, AT_ONCE, deadline_ms, "starting nodes", err);
        int failed = rc == -ECANCELED ? 0 : failures(jobs, t, err); /* a node's own sentence says more than "timeout" */
        rc = rc == 0 ? failed : rc;
    }
    for (size_t i = 0; jobs != NULL && i < n; i++)
        cli_job_fini(&jobs[i]);
    for (size_t i = 0; inputs != NULL && i < n; i++)
        cli_auth_wipe(&inputs[i]); /* it begins with the key */
    free(inputs);
    free(nodes);
    free(jobs);
    return rc;
}

int cli_other_machines(const struct cli_tier *t, const char *verb, const char *input, uint64_t deadline_ms,
                       const char *doing, struct tiercel_error *err)
{
    struct cli_job *jobs = calloc(t->nodes.count + 1, sizeof *jobs);
    char **inputs = calloc(t->nodes.count + 1, sizeof *inputs);
    size_t count = 0, failed = 0;
    int rc = jobs != NULL && inputs != NULL ? 0 : cli_error(err, -ENOMEM, "%s: out of memory", t->name);
    if (rc < 0) {
        free(jobs);
        free(inputs);
        return rc;
    }
    if (t->launcher == CLI_SLURM)
        cli_remote_args(&jobs[count++].args, t, NULL, verb, -1);
    for (size_t i = 0; t->launcher == CLI_SSH && i < t->nodes.count; i++) {
        const char *host = t->nodes.list[i].host;
        bool again = i > 0 && strcmp(host, t->nodes.list[i - 1].host) == 0; /* several nodes of a machine */
        if (!again && !cli_host_is_here(host))
            cli_remote_args(&jobs[count++].args, t, host, verb, -1);
    }
    for (size_t i = 0; rc == 0 && input != NULL && i < count; i++) {
        rc = cli_auth_seal(t, input, &inputs[i], err);
        jobs[i].input = inputs[i];
    }
    bool run = rc == 0;
    if (run)
        rc = cli_jobs_run(jobs, count, OTHERS_AT_ONCE, deadline_ms, doing, err);
    for (size_t i = 0; i < count; i++) {
        if (run && jobs[i].status != 0) {
            failed++;
            cli_say("%s", jobs[i].err != NULL && jobs[i].err[0] != 0 ? jobs[i].err : "a machine did not answer");
        }
        cli_job_fini(&jobs[i]);
        cli_auth_wipe(&inputs[i]);
    }
    free(inputs);
    free(jobs);
    if (rc == 0 && failed > 0)
        rc = cli_error(err, -EHOSTUNREACH, "%s: %s did not succeed on %zu of %zu other machines", t->name, verb, failed,
                       count);
    return rc;
}
