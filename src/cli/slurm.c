// SPDX-License-Identifier: Apache-2.0
/* Inside a Slurm allocation: one step holds all daemons. Slurm kills what a step leaves behind, so that its srun stays
 * in the background for as long as the tier is up; key and node list go through its standard input, which it hands
 * to every task. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/tier.h"

extern char **environ;

int cli_slurm_nodes(struct cli_nodes *out, uint64_t deadline_ms, struct tiercel_error *err)
{
    const char *list = getenv("SLURM_JOB_NODELIST");
    if (list == NULL || list[0] == '\0')
        list = getenv("SLURM_NODELIST");
    if (list == NULL || list[0] == '\0')
        return cli_error(err, -EINVAL,
                         "SLURM_JOB_ID is set, but SLURM_JOB_NODELIST is not; give the nodes with "
                         "--hostfile, or -N for this machine alone");
    struct cli_job job = {0};
    cli_args_add(&job.args, "scontrol");
    cli_args_add(&job.args, "show");
    cli_args_add(&job.args, "hostnames");
    cli_args_add(&job.args, "%s", list);
    int rc = cli_jobs_run(&job, 1, 1, deadline_ms, "asking Slurm for the nodes", err);
    if (rc == 0 && job.status < 0)
        rc = cli_error(err, job.status, "scontrol: cannot be started: %s; give the nodes with --hostfile",
                       strerror(-job.status));
    else if (rc == 0 && job.status != 0)
        rc = cli_error(err, -EIO, "scontrol show hostnames %.100s: %.400s; give the nodes with --hostfile", list,
                       job.err != NULL ? job.err : "failed and gave no reason");
    else if (rc == 0)
        rc = cli_nodes_parse(out, job.out != NULL ? job.out : "", "scontrol show hostnames", false, err);
    cli_job_fini(&job);
    return rc;
}

int cli_slurm_groups(struct cli_nodes *nodes, uint64_t deadline_ms, struct tiercel_error *err)
{
    struct cli_job job = {0};
    cli_args_add(&job.args, "scontrol");
    cli_args_add(&job.args, "show");
    cli_args_add(&job.args, "topology");
    int rc = cli_jobs_run(&job, 1, 1, deadline_ms, "asking Slurm for its switches", err);
    if (rc == 0 && job.status == 0 && job.out != NULL)
        rc = cli_groups_switches(nodes, job.out, err);
    cli_job_fini(&job);
    return rc < 0 ? rc : 0;
}

/* Key and node list as a file without a name: srun reads it at its own pace, and nobody else can. */
static int input_file(const struct cli_tier *t, struct tiercel_error *err)
{
    char *nodes = cli_nodes_text(&t->nodes), *text = NULL, *key = NULL;
    int sealed = cli_auth_seal(t, t->key, &key, err);
    int fd = sealed == 0 && nodes != NULL && asprintf(&text, "%s%s", key, nodes) >= 0
                 ? memfd_create("tiercel-nodes", MFD_CLOEXEC)
                 : -1;
    cli_auth_wipe(&key);
    size_t len = fd >= 0 ? strlen(text) : 0;
    int rc = fd;
    if (sealed < 0) {
        rc = sealed;
    } else if (fd < 0 || write(fd, text, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET) != 0) {
        rc = cli_error(err, -ENOMEM, "no memory for the node list");
        if (fd >= 0)
            close(fd);
    }
    if (fd >= 0)
        explicit_bzero(text, len);
    free(text);
    free(nodes);
    return rc;
}

static void srun_args(struct cli_args *a, const struct cli_tier *t, const struct cli_daemon_options *o)
{
    cli_args_add(a, "srun");
    cli_args_add(a, "--overlap");
    cli_args_add(a, "--nodes=%zu", t->nodes.count);
    cli_args_add(a, "--ntasks=%zu", t->nodes.count);
    cli_args_add(a, "--ntasks-per-node=1");
    cli_args_add(a, "--kill-on-bad-exit=0"); /* one lost daemon must not end the others */
    cli_args_add(a, "--mpi=none");
    cli_daemon_args(a, t, o);
    cli_args_add(a, "--rank");
    cli_args_add(a, "auto");
    cli_args_add(a, "--key-fd");
    cli_args_add(a, "0");
    cli_args_add(a, "--nodes");
    cli_args_add(a, "-");
    if (o->metrics != NULL) { /* a node a machine: the same port on all */
        cli_args_add(a, "--metrics");
        cli_args_add(a, "%s", o->metrics);
    }
    cli_args_add(a, "--foreground");
    cli_args_add(a, "--keeper");
}

/* 0 or an errno. */
static int spawn_srun(struct cli_tier *t, char **argv, int input, int log)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t caught;
    sigemptyset(&caught);
    sigaddset(&caught, SIGINT);
    sigaddset(&caught, SIGTERM);
    sigaddset(&caught, SIGHUP);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_adddup2(&actions, input, 0);
    posix_spawn_file_actions_adddup2(&actions, log, 1);
    posix_spawn_file_actions_adddup2(&actions, log, 2);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF); /* it outlives us and our terminal */
    posix_spawnattr_setsigdefault(&attr, &caught);
    int rc = posix_spawnp(&t->srun_pid, argv[0], &actions, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

int cli_launch_slurm(struct cli_tier *t, const struct cli_daemon_options *o, struct tiercel_error *err)
{
    struct cli_args a = {0};
    char log_path[TIERCEL_PATH_SIZE];
    srun_args(&a, t, o);
    int rc = a.failed ? cli_error(err, -ENOMEM, "no memory for the arguments of srun")
                      : cli_path(log_path, err, "%s/srun.log", t->dir);
    int input = rc == 0 ? input_file(t, err) : rc;
    int log = input >= 0 ? open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (input < 0)
        rc = input;
    else if (log < 0)
        rc = cli_error(err, -errno, "%s: %s", log_path, strerror(errno));
    if (rc == 0) {
        int code = spawn_srun(t, a.v, input, log);
        if (code != 0)
            rc =
                cli_error(err, -code, "srun: cannot be started: %s; is Slurm's bin directory in PATH?", strerror(code));
    }
    if (input >= 0)
        close(input);
    if (log >= 0)
        close(log);
    cli_args_fini(&a);
    if (rc < 0)
        return rc;
    t->srun_started = cli_process_started(t->srun_pid);
    return cli_tier_write_launch(t, err);
}
