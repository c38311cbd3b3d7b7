// SPDX-License-Identifier: Apache-2.0
/* The `tiercel` command: finds the verb and hands over. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const char group_tier[] = "a tier";
static const char group_use[] = "using it";
static const char group_look[] = "looking";
static const char group_keep[] = "keeping data";

static const struct cli_verb verbs[] = {
    {"up", group_tier, "[-N N | --hostfile FILE] [OPTION]...", "start a tier: here, over ssh, or in a Slurm or PBS job",
     "Without -N and --hostfile: inside a Slurm or PBS allocation a daemon on each of its nodes, else one here.\n"
     "In FILE each line is a host[:port] and perhaps a group of hosts near each other; '#' begins a comment. The\n"
     "hosts must be reachable by ssh without a question, and have Tiercel installed at the same path. $TIERCEL_SSH\n"
     "replaces the command `ssh`.",
     cmd_up},
    {"down", group_tier, "[OPTION]...", "end a tier", NULL, cmd_down},
    {"restart", group_tier, "[OPTION]...", "put this version's daemon in the place of each that runs; mounts stay",
     "After an upgrade, or to try again with a daemon that behaves oddly. Programs that use a mount notice a short\n"
     "delay; the caches start empty. A daemon that cannot go on with the mounts leaves them to the one before.",
     cmd_restart},
    {"rekey", group_tier, "[OPTION]...", "give a tier a new key; connections and mounts stay",
     "All nodes accept the new key before any uses it, and use it before the old one is refused. When a node cannot\n"
     "be reached, nothing is refused; run it again when it is back.",
     cmd_rekey},
    {"wait", group_tier, "[OPTION]...", "wait until this machine's part of a tier is ready", NULL, cmd_wait},
    {"run", group_use, "--cache PATH [--cache PATH]... [OPTION]... -- COMMAND [ARGUMENT]...",
     "run COMMAND with PATHs served by the tier",
     "The command sees each PATH at its own place, read-only, through the tier. Without a tier on this machine\n"
     "one is started for the time of the command. What cannot be served is left to the file system below:\n"
     "a command that works without Tiercel works with it. Exits with the command's code; 125: not started,\n"
     "126: cannot be executed, 127: not found.",
     cmd_run},
    {"mount", group_use, "[OPTION]... DIR", "show / as the tier serves it, below DIR", NULL, cmd_mount},
    {"umount", group_use, "[OPTION]... DIR", "take that mount away", NULL, cmd_umount},
    {"flush", group_use, "[OPTION]... [PATH]", "forget what is known of PATH, or everything, on all nodes",
     "After files below PATH were changed on the storage. A program that reads them again gets the new ones.",
     cmd_flush},
    {"pin", group_use, "[OPTION]... PATH", "keep what is read at and below PATH, as it was first read, on all nodes",
     "Within half of the cache it is not pushed out by other files, and flush passes it by: a job that began with one\n"
     "version of its data goes on with it. What nobody read before a change gives \"Stale file handle\".",
     cmd_pin},
    {"unpin", group_use, "[OPTION]... PATH", "the end of that", NULL, cmd_unpin},
    {"warm", group_use, "[OPTION]... PATH... | --profile FILE | --program -- COMMAND [ARGUMENT]...",
     "fetch what will be read to all nodes, before it is asked for",
     "PATH: everything at and below it, an unpacked container image for example. A program's profile is what its\n"
     "starts with `tiercel run` have read; `run` warms by it, too. Nothing that programs use leaves the caches for it.",
     cmd_warm},
    {"tree", group_use, "[OPTION]... fill PATH | list | remove PATH | remove --all | remove --unused",
     "keep PATH whole in shared memory, for run --how bind, on this machine",
     "`fill` fetches all files at and below PATH through the tier. They count for the limit of the node's cache, and "
     "stay\n"
     "until `remove`, or until `down` finds nobody who uses them. `run` serves a PATH that is complete and has not "
     "changed\n"
     "without FUSE.",
     cmd_tree},
    {"profile", group_use, "list | show NAME | rm NAME", "what is known of programs' starts", NULL, cmd_profile},
    {"export", group_use, "[OPTION]... ARCHIVE PATH | ARCHIVE --profile P [PATH] | --http DIR [PATH]...",
     "put files into an archive, or lay them out for a web server",
     "PATH and all below it, or what of it a profile names, is read through the tier into one archive (tar, zstd).\n"
     "With --http: copies each PATH to its place below DIR, and writes what `up --source` wants to know into every\n"
     "directory there; without a PATH, only that. To be run again after each change below DIR.",
     cmd_export},
    {"import", group_use, "[OPTION]... ARCHIVE", "serve the files of an archive on this machine, without other storage",
     "They are compared with the digests in the archive, and kept in shared memory, from which\n"
     "`tiercel run --cache PATH` shows them at their old PATH. `tiercel tree` lists and removes them.",
     cmd_import},
    {"cache", group_use, "[OPTION]... [WHAT [ARGUMENT]...]",
     "a node's cache: its limit, and the values that programs share",
     "WHAT is stat (the default), limit [SIZE | N%], pins SIZE, quota JOB SIZE, list [PREFIX], usage [PREFIX],\n"
     "put NAME (from standard input), get NAME, pin NAME, unpin NAME, drop NAME, note [NAME [TEXT]] or scrub.\n"
     "The limit is the node's, for files and values together, and changes at once, in steps; N% is of memory. A quota\n"
     "of 0 is none. NAME is a name, or a key as `list` prints it; PREFIX is of labels, as programs gave them.",
     cmd_cache},
    {"status", group_look, "[OPTION]...", "the nodes, their trees, the mounts", NULL, cmd_status},
    {"stat", group_look, "[OPTION]...", "counters of a node, or of all", NULL, cmd_stat},
    {"top", group_look, "[OPTION]...", "counters of all nodes, live", NULL, cmd_top},
    {"where", group_look, "[OPTION]... PATH", "what this machine's nodes hold of a file or a directory's listing",
     "For files seen through a mount, getfattr -n user.tiercel.state FILE says it, too (bytes, node, root, hits, "
     "pinned).",
     cmd_where},
    {"timeline", group_look, "[OPTION]... start | stop | save FILE",
     "record when nodes do what, as a trace for Perfetto",
     "`start` begins anew on this machine's nodes; `save` writes what they have done since, while they go on or\n"
     "after `stop`. A node keeps its last 65,536 marks. Open FILE at https://ui.perfetto.dev or chrome://tracing.",
     cmd_timeline},
    {"doctor", group_look, "[OPTION]...", "what this machine allows, and how `run` will serve", NULL, cmd_doctor},
    {"sim", group_look, "[ARGUMENT]...", "simulate a tier of any size (`tiercel sim --help`)", NULL, cmd_sim},
    {"pool", group_keep, "VERB [OPTION]... [POOL]", "storage for containers: create, query, check, evict, destroy",
     "POOL is a directory, as a path or as file:///path; or it lies in a Ceph cluster, 'rados:///NAME?conf=FILE&...',\n"
     "in quotes for the shell; `tiercel pool create --help` tells of that. Where it may be left out: $TIERCEL_POOL.",
     cmd_pool},
    {"cont", group_keep, "VERB [OPTION]... CONTAINER [ARGUMENT]...",
     "containers: epochs, snapshots, differences, export, import, ...",
     "CONTAINER is POOL/LABEL, POOL/UUID, or 'rados:///NAME/LABEL?conf=FILE&...'; without a slash it is one of\n"
     "the pool $TIERCEL_POOL.\n"
     "What is written belongs to an epoch, and shows to others once that is committed: as a whole or not at all.",
     cmd_cont},
    {"put", group_keep, "[OPTION]... CONTAINER OBJECT [KEY]",
     "standard input into an object, or under a key of it, in one epoch",
     "CONTAINER is POOL/LABEL, or a label in $TIERCEL_POOL. OBJECT is a number, decimal or 0x..., or two: HI.LO.\n"
     "Without a KEY the object is an array of bytes, like a file, and becomes as long as the input. It is held,\n"
     "written, flushed and committed; when that fails, or the command is interrupted, nothing was written.",
     cmd_put},
    {"get", group_keep, "[OPTION]... CONTAINER OBJECT [KEY]",
     "what an object, or a key of it, holds, to standard output", NULL, cmd_get},
    {"ls", group_keep, "[OPTION]... CONTAINER [OBJECT]", "the objects of a container, or the keys of one",
     "Sizes are those of the values, not what they take on the disk.", cmd_ls},
    {"rm", group_keep, "[OPTION]... CONTAINER OBJECT [KEY]", "take an object, or a key of it, away, in one epoch",
     "Snapshots, and whoever reads at an earlier epoch, still have it.", cmd_rm},
    {"call", NULL, "[OPTION]... REQUEST [ARGUMENT]...", "send a control request to a daemon, print its JSON", NULL,
     cmd_call},
};
#define VERB_COUNT (sizeof verbs / sizeof verbs[0])

static void print_help(void)
{
    printf("usage: tiercel VERB [OPTION]... [ARGUMENT]...\n\n"
           "Tiercel serves files to the nodes of a job: each is read from storage once and passed from node to node.\n"
           "In pools it keeps data that is committed in epochs.\n");
    const char *group = NULL;
    for (size_t i = 0; i < VERB_COUNT; i++) {
        if (verbs[i].group == NULL)
            continue;
        if (verbs[i].group != group)
            printf("\n%s\n", verbs[i].group);
        group = verbs[i].group;
        printf("  %-8s %s\n", verbs[i].name, verbs[i].summary);
    }
    printf("\nTry:  tiercel up -N 2 && tiercel run --cache /usr -- python3 -c 'import json' && tiercel down\n"
           "`tiercel VERB --help` tells the options of a verb, tiercel(1) everything.\n");
}

static bool is_group(const char *name)
{
    return strcmp(name, "pool") == 0 || strcmp(name, "cont") == 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        cli_say("no verb; `tiercel --help` lists them");
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("tiercel %s\n", tiercel_version());
        return cli_finish();
    }
    bool help = strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0;
    if (help && argc == 2) {
        print_help();
        return cli_finish();
    }
    if (help) { /* `tiercel help up`, `tiercel help cont create` */
        static char option[] = "--help";
        bool group = argc > 3 && is_group(argv[2]);
        name = argv[2];
        argv[2] = group ? argv[3] : option;
        argv[3] = group ? option : NULL;
        argc = group ? 4 : 3;
    }
    const struct cli_verb *verb = cli_verb_find(verbs, VERB_COUNT, name);
    return verb != NULL ? verb->run(verb, argc - 2, argv + 2) : cli_verb_unknown(verbs, VERB_COUNT, "", name);
}
