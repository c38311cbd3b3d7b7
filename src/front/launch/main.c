// SPDX-License-Identifier: Apache-2.0
/* tiercel-launch: becomes a command for which the tier serves some paths. Used by `tiercel run`; see launch.h.
 *
 *   tiercel-launch --socket CONTROL_SOCKET --cache PATH [--cache PATH]... [--mount DIR]... [--also PATH]... [--how RUNG]
 *                  [--fallback] -- CMD [ARG]...
 *   tiercel-launch --probe
 *   tiercel-launch --exec -- CMD [ARG]...
 *
 * --also: another name of what is served, a path with links in it. RUNG: a name of the table in rung.c, or auto. --probe tells of each whether it can be had here, for `tiercel doctor`.
 * --exec only becomes CMD: the rungs that preload a library use it, so that CMD is looked for with the library in place.
 *
 * It replaces itself by CMD: exit code, signals and process id are the command's own. Exit codes before that, as of env(1):
 * 125: the paths cannot be served (with --fallback the command runs without the tier, after one line of warning); 126, 127:
 * CMD cannot be run, is not there. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "front/launch/rung.h"

#define EXIT_LAUNCH       125
#define EXIT_CANNOT_RUN   126
#define EXIT_NOT_FOUND    127
#define SERVE_OPTIONS_MAX 64

struct options {
    const char *socket;
    struct {
        const char *path;
        bool plain;
    } serve[SERVE_OPTIONS_MAX];
    size_t serve_count;
    const char *also[TL_LAUNCH_ALSO_MAX];
    size_t also_count;
    const struct tl_rung *how; /* NULL: the best one */
    bool fallback, probe, exec;
    char **command;
};

static int usage(const char *what)
{
    fprintf(stderr,
            "tiercel-launch: %s\n"
            "usage: tiercel-launch --socket SOCKET --cache PATH... [--mount DIR]... [--how RUNG] [--fallback] -- CMD "
            "[ARG]...\n"
            "People use it through: tiercel run --cache PATH -- CMD\n",
            what);
    return EXIT_LAUNCH;
}

static int no_such_way(const char *name)
{
    fprintf(stderr, "tiercel: --how %s: no such way to serve; there are auto", name);
    for (size_t i = 0; i < tl_rung_count; i++)
        fprintf(stderr, ", %s", tl_rungs[i].name);
    fprintf(stderr, " (see tiercel doctor)\n");
    return EXIT_LAUNCH;
}

/* 0, or the exit code. */
static int parse(int argc, char **argv, struct options *o)
{
    enum { SOCKET = 1, CACHE, MOUNT, HOW, FALLBACK, PROBE, EXEC, ALSO };
    static const struct option known[] = {{"socket", required_argument, NULL, SOCKET},
                                          {"cache", required_argument, NULL, CACHE},
                                          {"mount", required_argument, NULL, MOUNT},
                                          {"how", required_argument, NULL, HOW},
                                          {"fallback", no_argument, NULL, FALLBACK},
                                          {"also", required_argument, NULL, ALSO},
                                          {"probe", no_argument, NULL, PROBE},
                                          {"exec", no_argument, NULL, EXEC},
                                          {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "+", known, NULL)) != -1;) {
        if (c == SOCKET) {
            o->socket = optarg;
        } else if (c == HOW) {
            o->how = tl_rung_find(optarg);
            if (o->how == NULL && strcmp(optarg, "auto") != 0)
                return no_such_way(optarg);
        } else if (c == ALSO && o->also_count < TL_LAUNCH_ALSO_MAX) {
            o->also[o->also_count++] = optarg;
        } else if (c == FALLBACK) {
            o->fallback = true;
        } else if (c == PROBE) {
            o->probe = true;
        } else if (c == EXEC) {
            o->exec = true;
        } else if ((c == CACHE || c == MOUNT) && o->serve_count < SERVE_OPTIONS_MAX) {
            o->serve[o->serve_count].path = optarg;
            o->serve[o->serve_count++].plain = c == MOUNT;
        } else {
            return usage(c == CACHE || c == MOUNT ? "too many paths" : "an option it does not know");
        }
    }
    o->command = argv + optind;
    if (o->probe)
        return 0;
    if (!o->exec && (o->socket == NULL || o->serve_count == 0))
        return usage(o->socket == NULL ? "--socket is missing" : "no --cache");
    return *o->command == NULL ? usage("no command") : 0;
}

/* Makes this a process for which everything asked for is served. */
static int serve(const struct options *o, struct tl_launch *l, struct tl_error *err)
{
    if (realpath(o->socket, l->plan.socket) == NULL)
        return tl_error_set(err, -errno, "no tier is up here: %s: %s; start one with: tiercel up", o->socket,
                            strerror(errno));
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < o->serve_count; i++)
        rc = tl_plan_add(&l->plan, o->serve[i].path, o->serve[i].plain, err);
    if (rc != 0 || l->plan.count == 0) /* nothing to do: a launch within a launch */
        return rc;
    memcpy(l->also, o->also, sizeof l->also);
    l->also_count = o->also_count;
    l->named = o->how != NULL;
    return l->named ? tl_rung_enter(o->how, l, err) : tl_rung_enter_best(l, err);
}

int main(int argc, char **argv)
{
    static struct tl_launch l; /* large */
    struct options o = {.socket = NULL};
    struct tl_error err = {.code = 0};
    int code = parse(argc, argv, &o);
    if (code != 0)
        return code;
    if (o.probe) {
        tl_rung_tell();
        return 0;
    }
    l.command = o.command;
    if (!o.exec && serve(&o, &l, &err) != 0) {
        fprintf(stderr, "tiercel: %s%s%s%s\n", err.msg, o.fallback ? "; running " : "", o.fallback ? o.command[0] : "",
                o.fallback ? " without the tier" : "");
        if (!o.fallback)
            return EXIT_LAUNCH;
        l.command = o.command;
    }
    execvp(l.command[0], l.command);
    code = errno;
    fprintf(stderr, "tiercel: %s: cannot be run: %s\n", l.command[0], strerror(code));
    return code == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}
