// SPDX-License-Identifier: Apache-2.0
/* Starting and ending tiers: what `up`, `down` and `run` share.
 *
 * A tier that is being started is a struct cli_tier: its directory, locked, its node list, and which launcher
 * reaches its machines. launch.json in the directory remembers the launcher for `down`. */
#ifndef TL_CLI_TIER_H
#define TL_CLI_TIER_H

#include <sys/types.h>

#include "cli/cli.h"

#define CLI_NODES_MAX 65536

/* ---- node lists (nodes.c) ---- */

struct cli_node {
    char *text;  /* "host", "host:port", "[v6]:port": as in the node list */
    char *host;  /* without port and brackets */
    char *group; /* of nodes that are near each other; NULL: none */
};

struct cli_nodes {
    struct cli_node *list; /* index = rank */
    size_t count;
};

/* Reads a host file: one host[:port] a line, and perhaps a group; '#' begins a comment. Errors name the line. 0, -errno. */
int cli_nodes_read(struct cli_nodes *out, const char *path, struct tiercel_error *err);
/* A whole text file of at most 16 MiB; *text is malloc'd. */
int cli_text_read(char **text, const char *path, const char *what, struct tiercel_error *err);
/* From text of the same form; `from` names it in sentences. With `once`, a host that comes again is left out (PBS
 * lists a host once for each of its processors) instead of refused. */
int cli_nodes_parse(struct cli_nodes *out, const char *text, const char *from, bool once, struct tiercel_error *err);
/* n nodes on 127.0.0.1, on ports that are free now. */
int cli_nodes_here(struct cli_nodes *out, int n, struct tiercel_error *err);
/* The list as text, a line a node, malloc'd; NULL: no memory. */
char *cli_nodes_text(const struct cli_nodes *nodes);
void cli_nodes_fini(struct cli_nodes *nodes);
/* What is wrong with a group's name, or NULL. */
const char *cli_group_check(const char *name);

/* ---- which nodes are near each other, and how fast their links are (groups.c, links.c) ---- */

/* Groups from a topology file: `group host...` a line. It must name every host of the list once, no other, and not
 * contradict groups that the list has. */
int cli_groups_read(struct cli_nodes *nodes, const char *path, struct tiercel_error *err);
/* Groups from what `scontrol show topology` prints: a leaf switch, a group. Without a tree of switches, or with nodes
 * below none, the list stays as it is. 1: it has groups now; 0; -errno. */
int cli_groups_switches(struct cli_nodes *nodes, const char *text, struct tiercel_error *err);
/* Whether a host is one of a list as Slurm writes it, like `n[1-4,09],login`. */
bool cli_hostlist_has(const char *list, size_t list_len, const char *host);
/* Such a list, or @FILE (a host file), as one with commas and without brackets; malloc'd. 0, -errno. */
int cli_hosts(char **out, const char *list, struct tiercel_error *err);
/* Bytes a second of the link that carries this machine's address of the list; 0: not known. */
uint64_t cli_link_rate(const struct cli_nodes *nodes);

/* ---- programs run side by side (jobs.c) ---- */

struct cli_args {
    char **v; /* NULL-terminated */
    size_t count;
    bool failed; /* memory ran out */
};
void cli_args_add(struct cli_args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cli_args_fini(struct cli_args *a);
/* The arguments as one line for a shell, malloc'd; NULL: no memory. */
char *cli_args_shell(const struct cli_args *a);

struct cli_job {
    struct cli_args args;
    const char *input; /* for its standard input, borrowed; NULL: none */
    /* results */
    int status;      /* exit code, 128 + signal, or -errno if it could not be started */
    char *out, *err; /* what it wrote, NUL-terminated, cut at 1 MiB; may be NULL */
    /* while it runs */
    pid_t pid;
    int fds[4]; /* pidfd, stdin, stdout, stderr: -1 when closed */
    size_t input_at, out_len, err_len;
};
void cli_job_fini(struct cli_job *job);

/* Runs all jobs, at most at_once at a time, each in a process group of its own; shows "doing: k of n". Ends what is
 * still running when the time is over (-ETIMEDOUT) or a signal came (-ECANCELED). Else 0: look at each status. */
int cli_jobs_run(struct cli_job *jobs, size_t count, size_t at_once, uint64_t deadline_ms, const char *doing,
                 struct tiercel_error *err);

/* Signals that end a program (INT, TERM, HUP) only set cli_interrupted from here on. */
void cli_signals_catch(void);
extern volatile int cli_interrupted; /* the signal's number, 0: none */
uint64_t cli_now_ms(void);           /* a clock that never goes back */

/* ---- the tier's directory (tier.c) ---- */

enum cli_launcher { CLI_LOCAL, CLI_SSH, CLI_SLURM };

struct cli_tier {
    char name[TIERCEL_NAME_MAX + 1];
    char runtime[TIERCEL_PATH_SIZE], dir[TIERCEL_PATH_SIZE];
    int lock_fd;
    enum cli_launcher launcher;
    struct cli_nodes nodes;
    char key[96];            /* 64 hex digits, when it expires if it does, newline */
    uint64_t key_lifetime_s; /* of the keys that are made; 0: without end */
    bool munge;              /* keys go to daemons in MUNGE credentials, and lie in no file */
    char tierceld[TIERCEL_PATH_SIZE];
    pid_t srun_pid;        /* Slurm: the step's srun, which stays */
    bool keep_trees;       /* `down` leaves them in shared memory, on the other machines, too */
    uint64_t srun_started; /* its start time in /proc, so that nobody else is taken for it */
};
void cli_tier_init(struct cli_tier *t); /* all zero, no lock */
void cli_tier_fini(struct cli_tier *t);

/* Makes and locks the directory. 0: it is new; 1: it was there already; -errno. */
int cli_tier_make(struct cli_tier *t, const char *name, bool lasting, struct tiercel_error *err);
/* Locks the directory of a tier that is there and reads launch.json and nodes. With lock false: does not lock. */
int cli_tier_load(struct cli_tier *t, const char *name, bool lock, struct tiercel_error *err);
/* "90", "30m", "8h", "7d" to seconds. 0, -EINVAL with a sentence. */
int cli_lifetime(const char *text, uint64_t *out_s, struct tiercel_error *err);
/* A new key, in t->key only. */
int cli_tier_make_key(struct cli_tier *t, struct tiercel_error *err);
/* The key file with t->key; with MUNGE there is none. */
int cli_tier_write_key(const struct cli_tier *t, struct tiercel_error *err);
/* A new key, the node list and launch.json. */
int cli_tier_write(struct cli_tier *t, struct tiercel_error *err);
int cli_tier_write_launch(const struct cli_tier *t, struct tiercel_error *err);
enum cli_clear {
    CLI_CLEAR_INSIDE, /* the directory stays */
    CLI_CLEAR_ALL,
    CLI_CLEAR_BUT_LOGS, /* logs stay, and so does the directory if there are any */
};
/* Removes what is in the directory, and itself. 0, -errno (ENOENT is fine). */
int cli_tier_clear(const struct cli_tier *t, enum cli_clear what, struct tiercel_error *err);
/* Daemons of this tier on this machine that answer a ping. */
unsigned cli_tier_alive(const struct cli_tier *t);
const char *cli_launcher_name(enum cli_launcher l);
/* Is this host the machine we are on? By name only; loopback addresses are hosts like others. */
bool cli_host_is_here(const char *host);
/* Last lines of a file, at most `lines`, each after `  | `, on standard error. */
void cli_show_tail(const char *path, int lines);

/* ---- how keys travel (auth.c) ---- */

/* 0: this machine's munged makes credentials; or why not. */
int cli_auth_probe(struct tiercel_error *err);
/* t->munge, from --auth: key, munge, auto or NULL (MUNGE where Slurm starts the daemons and munged answers here). */
int cli_auth_choose(struct cli_tier *t, const char *wanted, struct tiercel_error *err);
/* A line for one machine's standard input: the secret, which ends in a newline, or a fresh credential with it. Malloc'd. */
int cli_auth_seal(const struct cli_tier *t, const char *secret, char **out, struct tiercel_error *err);
/* The secret of such a line. Malloc'd. */
int cli_auth_open(const char *text, char **out, struct tiercel_error *err);
void cli_auth_wipe(char **secret); /* wipes and frees; *secret may be NULL */

/* ---- starting and stopping (launch.c, slurm.c, stop.c, ready.c) ---- */

struct cli_daemon_options {
    const char *metrics;                                     /* a port, "unix", or "off"; NULL: off */
    const char *source;                                      /* URLs; NULL: the file system */
    const char *values_share, *values_dir, *values_dir_size; /* as texts; NULL: the daemon's default */
    const char *cache_size, *readahead, *bulk, *roots, *arity, *link_rate,
        *storage_rate; /* NULL: the daemon's default */
    int threads;
    const char *revalidate; /* seconds */
    bool keep_once;
    bool encrypt;
};

/* tierceld and the arguments that all nodes share; program: its path on the machine where it will run. */
void cli_daemon_args(struct cli_args *a, const struct cli_tier *t, const struct cli_daemon_options *o);
/* Appends `${TIERCEL_SSH:-ssh} -oBatchMode=yes HOST`. */
void cli_ssh_args(struct cli_args *a, const char *host);

/* `tiercel VERB --name T --runtime R` on a machine of the tier, through its launcher; host NULL (Slurm): on all.
 * timeout_ms < 0: no --timeout. */
void cli_remote_args(struct cli_args *a, const struct cli_tier *t, const char *host, const char *verb, int timeout_ms);
/* Runs `tiercel VERB --here` on the other machines of the tier, each once, with input (NULL: none), sealed for each, on its
 * standard input; says what those that fail say. 0, -ENOMEM, -EHOSTUNREACH, and what cli_jobs_run gives. */
int cli_other_machines(const struct cli_tier *t, const char *verb, const char *input, uint64_t deadline_ms,
                       const char *doing, struct tiercel_error *err);

/* Starts all daemons and returns when each listens. After an error some may be up: cli_stop ends them. */
int cli_launch(struct cli_tier *t, const struct cli_daemon_options *o, uint64_t deadline_ms, struct tiercel_error *err);
int cli_launch_slurm(struct cli_tier *t, const struct cli_daemon_options *o, struct tiercel_error *err);
/* Node list of the allocation, by `scontrol show hostnames`. */
int cli_slurm_nodes(struct cli_nodes *out, uint64_t deadline_ms, struct tiercel_error *err);
/* Its groups, by `scontrol show topology`; Slurm that does not tell is no error. */
int cli_slurm_groups(struct cli_nodes *nodes, uint64_t deadline_ms, struct tiercel_error *err);

/* Waits until the tier is ready, as seen from the best node on this machine; shows progress. With nodes elsewhere only,
 * asks there. On a timeout says who is missing. */
int cli_ready(const struct cli_tier *t, uint64_t deadline_ms, struct tiercel_error *err);
/* Waits for this machine's daemon only: its socket, then its wait-ready. *ready, *nodes: the last progress. */
int cli_ready_here(const struct cli_tier *t, uint64_t deadline_ms, struct tiercel_error *err);

/* Ends every daemon of the tier, here and, unless here_only, on its other machines; then removes the directory. */
int cli_stop(struct cli_tier *t, bool here_only, enum cli_clear clear, int grace_ms, struct tiercel_error *err);
/* Removes this machine's trees of the tier: which is --all, or --unused, which says what stays. */
void cli_trees_remove(const char *tier, const char *which);
/* Ends this machine's daemons; *stopped counts them. */
int cli_stop_here(const struct cli_tier *t, int grace_ms, unsigned *stopped, struct tiercel_error *err);
/* Start time of a process in clock ticks since boot, 0: not there. */
uint64_t cli_process_started(pid_t pid);

/* From `up`: everything until the tier is ready; on failure no daemon stays behind, and of the files only
 * what on_failure says. */
int cli_up(struct cli_tier *t, const struct cli_daemon_options *o, int timeout_ms, enum cli_clear on_failure,
           struct tiercel_error *err);

/* ---- verbs that begin or end daemons (where.c) ---- */

/* Which tier's, and how far a verb goes. */
struct cli_where {
    const char *name, *runtime;
    bool here, json;
    bool keeps;      /* the verb has --keep-trees */
    bool keep_trees; /* and it was said */
    int timeout_ms;
};
/* Parses a verb's options, which are these alone; the two texts are their help. As cli_parse. */
int cli_where_parse(const struct cli_verb *self, struct cli_where *w, const char *here_help, const char *timeout_help,
                    int argc, char **argv);

#endif
