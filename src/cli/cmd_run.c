// SPDX-License-Identifier: Apache-2.0
/* tiercel run: a command with paths served by the tier.
 *
 * With a tier on this machine this program becomes tiercel-launch. Without one it starts a tier of one node for the
 * time of the command, and has to stay to end it. See docs/decisions/0052 for what happens when neither can be. */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/profiles.h"
#include "cli/tier.h"

#define START_MS 30000
#define GRACE_MS 10000

struct run {
    char **command;
    struct cli_list paths; /* as given */
    const char *how;       /* NULL: the best way */
    bool strict;
    bool no_profile;
};

/* Replaces this program; returns the exit code if that cannot be. */
static int become(char **argv)
{
    cli_finish();
    execvp(argv[0], argv);
    int code = errno;
    cli_say("%s: cannot be run: %s", argv[0], strerror(code));
    return code == ENOENT ? CLI_NOT_FOUND : CLI_CANNOT_EXECUTE;
}

/* No tier: the command runs as it would without us, unless that was forbidden. */
static int run_plain(const struct run *r, const struct tiercel_error *err)
{
    if (r->strict) {
        cli_say("%s", err->message);
        return CLI_RUN_FAILED;
    }
    cli_say("%s", err->message);
    cli_say("running %s without the tier", r->command[0]);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    return become(r->command);
}

/* A path to serve; and, if there are links in it, as it was written: programs may go by that name. One that is not on this
 * machine may be on the tier's others. */
static int add_path(struct cli_args *a, const char *given, struct tiercel_error *err)
{
    char path[TIERCEL_PATH_SIZE];
    int rc = cli_absolute(given, path, err);
    if (rc < 0 && (rc != -ENOENT || given[0] != '/'))
        return rc;
    cli_args_add(a, "--cache");
    cli_args_add(a, "%s", rc == 0 ? path : given);
    if (rc == 0 && given[0] == '/' && strcmp(given, path) != 0) {
        cli_args_add(a, "--also");
        cli_args_add(a, "%s", given);
    }
    return 0;
}

static int launch_args(struct cli_args *a, const struct run *r, const char *socket, struct tiercel_error *err)
{
    char launch[TIERCEL_PATH_SIZE];
    int rc = cli_helper("tiercel-launch", launch, err);
    if (rc < 0)
        return rc;
    cli_args_add(a, "%s", launch);
    cli_args_add(a, "--socket");
    cli_args_add(a, "%s", socket);
    for (size_t i = 0; i < r->paths.count; i++) {
        rc = add_path(a, r->paths.items[i], err);
        if (rc < 0)
            return rc;
    }
    if (r->how != NULL) {
        cli_args_add(a, "--how");
        cli_args_add(a, "%s", r->how);
    }
    if (!r->strict)
        cli_args_add(a, "--fallback");
    cli_args_add(a, "--");
    for (size_t i = 0; r->command[i] != NULL; i++)
        cli_args_add(a, "%s", r->command[i]);
    return a->failed ? cli_error(err, -ENOMEM, "no memory for the command's arguments") : 0;
}

/* ---- with a tier of its own, or to record what the command reads ---- */

/* Signals that people and batch systems send are the command's business: they are passed on. */
static void forwarded(sigset_t *set)
{
    static const int signals[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT,  SIGUSR1,
                                  SIGUSR2, SIGCONT, SIGTSTP, SIGWINCH, SIGCHLD};
    sigemptyset(set);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaddset(set, signals[i]);
}

static int exit_code(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Passes signals on until the child has ended; its exit code. A signal typed at the terminal reached the child's
 * group already (si_code SI_KERNEL): passing it on would give it twice. */
static int mind(pid_t child, int signals)
{
    for (;;) { /* as long as the command runs */
        struct signalfd_siginfo info;
        if (read(signals, &info, sizeof info) != (ssize_t)sizeof info)
            continue;
        if (info.ssi_signo != SIGCHLD) {
            if (info.ssi_code != SI_KERNEL)
                kill(child, (int)info.ssi_signo);
            else if (info.ssi_signo == SIGTSTP)
                raise(SIGSTOP);
            continue;
        }
        int status;
        if (waitpid(child, &status, WNOHANG) == child)
            return exit_code(status);
    }
}

static int start_and_mind(char **argv)
{
    extern char **environ;
    sigset_t set, old;
    forwarded(&set);
    sigprocmask(SIG_BLOCK, &set, &old);
    int signals = signalfd(-1, &set, SFD_CLOEXEC);
    posix_spawnattr_t attr;
    posix_spawnattr_init(&attr);
    sigset_t defaults;
    forwarded(&defaults); /* we catch some of them; the command must not inherit anything of that */
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attr, &old);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    pid_t child;
    int rc = signals >= 0 ? posix_spawn(&child, argv[0], NULL, &attr, argv, environ) : errno;
    posix_spawnattr_destroy(&attr);
    int code = CLI_RUN_FAILED;
    if (rc == 0)
        code = mind(child, signals);
    else
        cli_say("%s: cannot be run: %s", argv[0], strerror(rc));
    if (signals >= 0)
        close(signals);
    sigprocmask(SIG_SETMASK, &old, NULL);
    return code;
}

/* ---- with a tier ---- */

static int run_in_tier(const struct run *r, const char *socket)
{
    struct cli_args a = {0};
    struct tiercel_error err = {0};
    if (launch_args(&a, r, socket, &err) < 0) {
        cli_args_fini(&a);
        return run_plain(r, &err);
    }
    struct cli_profile profile;
    bool recording = !r->no_profile && cli_profile_begin(&profile, socket, r->command);
    int code = recording ? start_and_mind(a.v) : become(a.v);
    if (recording)
        cli_profile_end(&profile, socket);
    cli_args_fini(&a);
    return code;
}

/* ---- with a tier of its own ---- */

static int run_own_tier(const struct run *r)
{
    struct cli_tier t;
    struct tiercel_error err = {0};
    struct cli_daemon_options o = {0};
    struct cli_args a = {0};
    char name[32], socket[TIERCEL_PATH_SIZE];
    cli_tier_init(&t);
    snprintf(name, sizeof name, "run-%d", (int)getpid());
    int rc = cli_nodes_here(&t.nodes, 1, &err);
    if (rc == 0)
        rc = cli_tier_make(&t, name, false, &err);
    if (rc >= 0)
        rc = cli_path(socket, &err, "%s/node-0.sock", t.dir);
    if (rc == 0)
        rc = launch_args(&a, r, socket, &err);
    if (rc == 0)
        rc = cli_up(&t, &o, START_MS, CLI_CLEAR_ALL, &err);
    else if (t.lock_fd >= 0 && cli_tier_clear(&t, CLI_CLEAR_ALL, &err) < 0)
        cli_say("%s", err.message);
    int code = CLI_RUN_FAILED;
    if (rc == 0) {
        struct cli_profile profile;
        bool recording = !r->no_profile && cli_profile_begin(&profile, socket, r->command);
        code = start_and_mind(a.v);
        if (recording)
            cli_profile_end(&profile, socket);
        if (cli_stop(&t, true, CLI_CLEAR_ALL, GRACE_MS, &err) < 0)
            cli_say("%s", err.message);
        cli_trees_remove(name, "--all"); /* they would be of use to nobody */
    }
    cli_args_fini(&a);
    cli_tier_fini(&t);
    if (rc == -ECANCELED) {
        cli_say("interrupted before %s was started", r->command[0]);
        return CLI_RUN_FAILED;
    }
    return rc == 0 ? code : run_plain(r, &err);
}

/* ---- */

int cmd_run(const struct cli_verb *self, int argc, char **argv)
{
    const char *name = NULL;
    int rank = TIERCEL_ANY_RANK;
    struct run r = {0};
    const struct cli_option options[] = {
        {"cache", 'c', CLI_LIST, &r.paths, "PATH", "serve PATH and all below it through the tier; may be repeated"},
        CLI_OPTION_NAME(&name),
        CLI_OPTION_RANK(&rank),
        {"how", 0, CLI_TEXT, &r.how, "WAY", "the way to serve: see tiercel doctor; without it the best one"},
        {"no-profile", 0, CLI_FLAG, &r.no_profile, NULL, "neither warm by what earlier starts have read nor record it"},
        {"strict", 0, CLI_FLAG, &r.strict, NULL, "fail with 125 instead of running without the tier"},
    };
    int go = cli_parse(self, options, sizeof options / sizeof options[0], &argc, &argv, -1);
    if (go != CLI_GO) {
        cli_list_fini(&r.paths);
        return go == CLI_OK ? CLI_OK : CLI_RUN_FAILED;
    }
    if (argc == 0 || r.paths.count == 0) {
        cli_list_fini(&r.paths);
        if (argc == 0)
            cli_usage(self, "no command; for example: tiercel run --cache /lus/app -- python3 train.py");
        else
            cli_usage(self,
                      "no path to serve; name the folder that the program is loaded from: tiercel run --cache "
                      "/lus/app -- %s",
                      argv[0]);
        return CLI_RUN_FAILED;
    }
    r.command = argv;
    struct tiercel *t;
    struct tiercel_error err = {0};
    int code, rc = tiercel_open(&t, name, rank, CLI_CALL_TIMEOUT_MS, &err);
    if (rc == 0) {
        char socket[TIERCEL_PATH_SIZE];
        rc = cli_path(socket, &err, "%s", tiercel_socket_path(t));
        tiercel_close(t);
        code = rc == 0 ? run_in_tier(&r, socket) : run_plain(&r, &err);
    } else if (rc == -ENOENT && name == NULL && rank == TIERCEL_ANY_RANK) {
        code = run_own_tier(&r);
    } else { /* a tier was named, or one is there and broken: a new one beside it would only hide that */
        code = run_plain(&r, &err);
    }
    cli_list_fini(&r.paths);
    return code;
}
