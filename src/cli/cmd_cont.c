// SPDX-License-Identifier: Apache-2.0
/* tiercel cont: containers as a whole. What goes on inside them is in cmd_epochs.c and cmd_object.c. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/pools.h"

/* With its class, or not at all. */
static int create(struct cli_cont *c, const char *object_class, struct tiercel_uuid *uuid, struct tiercel_error *err)
{
    int rc = tiercel_cont_create(c->pool, c->label, uuid, err);
    if (rc != 0 || object_class == NULL)
        return rc;
    rc = tiercel_cont_set_prop(c->pool, c->label, "class", object_class, err);
    if (rc != 0 && tiercel_cont_destroy(c->pool, c->label, 0, NULL) != 0)
        rc = cli_also(err, "the container is there without a class");
    return rc;
}

static int run_create(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false;
    const char *object_class = NULL;
    char uuid_text[CLI_UUID_SIZE];
    struct cli_cont c;
    struct tiercel_uuid uuid;
    struct tiercel_error err = {0};
    const struct cli_option options[] = {
        {"class", 0, CLI_TEXT, &object_class, "CLASS", "of objects that name none; else the pool's first"},
        CLI_OPTION_JSON(&json),
    };
    int go = cli_cont_parse(self, options, 2, &argc, &argv, 1);
    if (go != CLI_GO)
        return go;
    int rc = cli_cont_connect(&c, argv[0], TIERCEL_RW, &err);
    if (rc == 0)
        rc = create(&c, object_class, &uuid, &err);
    cli_cont_close(&c);
    if (rc < 0)
        return cli_report(&err, json);
    cli_uuid(uuid_text, uuid);
    if (json)
        return cli_print_json(json_pack("{s:s, s:s, s:s}", "pool", c.uri, "label", c.label, "uuid", uuid_text));
    printf("container %s is made; its UUID is %s\n", argv[0], uuid_text);
    return cli_finish();
}

/* ---- list, query ---- */

static json_t *info_json(const struct tiercel_cont_info *c)
{
    char uuid[CLI_UUID_SIZE];
    return json_pack("{s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:I, s:I}", "label", c->label, "uuid",
                     cli_uuid(uuid, c->uuid), "created_ns", (json_int_t)c->created_ns, "ghce", cli_json_epoch(c->ghce),
                     "ghpce", cli_json_epoch(c->ghpce), "glre", cli_json_epoch(c->glre), "readable_from",
                     cli_json_epoch(c->readable_from), "handles", (json_int_t)c->handles, "snapshots",
                     (json_int_t)c->snapshots);
}

static const char *created(char out[32], uint64_t ns)
{
    time_t seconds = (time_t)(ns / 1000000000u);
    struct tm tm;
    if (localtime_r(&seconds, &tm) == NULL || strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        snprintf(out, 32, "?");
    return out;
}

struct infos {
    struct tiercel_cont_info *list;
    size_t count, room;
};

static int add_info(void *ctx, const struct tiercel_cont_info *c)
{
    struct infos *x = ctx;
    if (x->count == x->room) {
        size_t room = x->room == 0 ? 16 : x->room * 2;
        struct tiercel_cont_info *grown = realloc(x->list, room * sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        x->list = grown;
        x->room = room;
    }
    x->list[x->count++] = *c;
    return 0;
}

static int by_label(const void *a, const void *b)
{
    const struct tiercel_cont_info *x = a, *y = b;
    return strcmp(x->label, y->label);
}

static int print_json(const struct infos *x)
{
    json_t *list = json_array();
    for (size_t i = 0; i < x->count; i++)
        json_array_append_new(list, info_json(&x->list[i]));
    return cli_print_json(list);
}

static int print_table(const struct infos *x)
{
    struct cli_table *t = cli_table_new("label|uuid|>epoch|>handles|>snapshots|made");
    char uuid[CLI_UUID_SIZE], time[32], epoch[CLI_UNIT_SIZE], handles[CLI_UNIT_SIZE], snapshots[CLI_UNIT_SIZE];
    for (size_t i = 0; i < x->count; i++) {
        const struct tiercel_cont_info *c = &x->list[i];
        snprintf(handles, sizeof handles, "%" PRIu32, c->handles);
        snprintf(snapshots, sizeof snapshots, "%" PRIu32, c->snapshots);
        cli_table_row(t, c->label[0] != '\0' ? c->label : "-", cli_uuid(uuid, c->uuid), cli_epoch(epoch, c->ghce),
                      handles, snapshots, created(time, c->created_ns));
    }
    cli_table_print(t);
    return cli_finish();
}

static int run_list(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false;
    char uri[TIERCEL_PATH_SIZE];
    struct infos infos = {0};
    struct tiercel_pool *pool = NULL;
    struct tiercel_error err = {0};
    const struct cli_option options[] = {CLI_OPTION_JSON(&json)};
    int go = cli_parse_mixed(self, options, 1, &argc, &argv, 1);
    if (go != CLI_GO)
        return go;
    int rc = cli_pool_connect(&pool, argc > 0 ? argv[0] : NULL, TIERCEL_RO, uri, &err);
    if (rc == 0) {
        rc = tiercel_cont_list(pool, add_info, &infos);
        rc = rc < 0 ? cli_why(&err, rc, "%s: its containers cannot be listed", uri) : 0;
        tiercel_pool_disconnect(pool);
    }
    if (infos.count > 0)
        qsort(infos.list, infos.count, sizeof *infos.list, by_label);
    if (rc < 0 && infos.count > 0 && !json) /* one cannot be read: all the others were shown */
        (void)print_table(&infos);
    int code = rc < 0 ? cli_report(&err, json) : json ? print_json(&infos) : print_table(&infos);
    free(infos.list);
    return code;
}

static int show(const char *given, const struct tiercel_cont_info *c)
{
    char uuid[CLI_UUID_SIZE], time[32], readable[CLI_UNIT_SIZE];
    printf("container %s\nuuid %s, made %s\n", given, cli_uuid(uuid, c->uuid), created(time, c->created_ns));
    printf("epoch %" PRIu64 " is final for all", c->ghce);
    if (c->ghpce > c->ghce)
        printf("; %" PRIu64 " is committed, and waits for holds below it", c->ghpce);
    printf("\nreadable from epoch %s%s\n", cli_epoch(readable, c->readable_from),
           c->snapshots > 0 ? ", and the snapshots" : "");
    printf("%" PRIu32 " handle%s, %" PRIu32 " snapshot%s\n", c->handles, c->handles == 1 ? "" : "s", c->snapshots,
           c->snapshots == 1 ? "" : "s");
    return cli_finish();
}

/* Opens nothing, so that it changes nothing: the answer does not count ourselves. */
static int run_query(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false;
    struct cli_cont c;
    struct tiercel_cont_info info;
    struct tiercel_error err = {0};
    const struct cli_option options[] = {CLI_OPTION_JSON(&json)};
    int go = cli_cont_parse(self, options, 1, &argc, &argv, 1);
    if (go != CLI_GO)
        return go;
    int rc = cli_cont_connect(&c, argv[0], TIERCEL_RO, &err);
    if (rc == 0)
        rc = cli_cont_info(&c, &info, &err);
    cli_cont_close(&c);
    if (rc < 0)
        return cli_report(&err, json);
    return json ? cli_print_json(info_json(&info)) : show(argv[0], &info);
}

/* ---- evict, aggregate, destroy ---- */

static int run_evict(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false;
    struct cli_cont c;
    struct tiercel_error err = {0};
    const struct cli_option options[] = {CLI_OPTION_JSON(&json)};
    int go = cli_cont_parse(self, options, 1, &argc, &argv, 1);
    if (go != CLI_GO)
        return go;
    int rc = cli_cont_connect(&c, argv[0], TIERCEL_RW, &err);
    if (rc == 0)
        rc = tiercel_cont_evict(c.pool, c.label, &err);
    cli_cont_close(&c);
    if (rc < 0)
        return cli_report(&err, json);
    if (json)
        return cli_print_json(json_pack("{s:s, s:i}", "container", argv[0], "evicted", rc));
    printf("container %s: %d handle%s closed%s\n", argv[0], rc, rc == 1 ? "" : "s",
           rc > 0 ? "; what they had not committed is discarded" : "");
    return cli_finish();
}

static int run_aggregate(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false;
    struct cli_cont c;
    struct tiercel_aggregated done;
    struct tiercel_error err = {0};
    char records[CLI_UNIT_SIZE], bytes[CLI_UNIT_SIZE];
    const struct cli_option options[] = {CLI_OPTION_JSON(&json)};
    int go = cli_cont_parse(self, options, 1, &argc, &argv, 1);
    if (go != CLI_GO)
        return go;
    int rc = cli_cont_open(&c, argv[0], TIERCEL_RW, &err);
    if (rc == 0) {
        cli_progress("erasing what nobody can read any more");
        rc = tiercel_cont_aggregate(c.cont, &done, NULL);
        cli_progress_end();
        rc = rc < 0 ? cli_why(&err, rc, "%s: cannot be aggregated", argv[0]) : 0;
    }
    cli_cont_close(&c);
    if (rc < 0)
        return cli_report(&err, json);
    if (json)
        return cli_print_json(json_pack("{s:s, s:o, s:I, s:I}", "container", argv[0], "below",
                                        cli_json_epoch(done.below), "records", (json_int_t)done.records, "bytes",
                                        (json_int_t)done.bytes));
    printf("container %s: %s records with %s erased; readable from epoch %" PRIu64 ", and at the snapshots\n", argv[0],
           cli_count(records, done.records), cli_bytes(bytes, done.bytes), done.below);
    return cli_finish();
}

static int run_destroy(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false, force = false;
    struct cli_cont c;
    struct tiercel_error err = {0};
    const struct cli_option options[] = {
        {"force", 0, CLI_FLAG, &force, NULL, "also when somebody has it open; they are evicted"},
        CLI_OPTION_JSON(&json),
    };
    int go = cli_cont_parse(self, options, 2, &argc, &argv, 1);
    if (go != CLI_GO)
        return go;
    int rc = cli_cont_connect(&c, argv[0], TIERCEL_RW, &err);
    if (rc == 0)
        rc = tiercel_cont_destroy(c.pool, c.label, force ? TIERCEL_FORCE : 0, &err);
    cli_cont_close(&c);
    if (rc < 0)
        return cli_report(&err, json);
    if (json)
        return cli_print_json(json_pack("{s:s}", "destroyed", argv[0]));
    printf("container %s is gone\n", argv[0]);
    return cli_finish();
}

static const struct cli_verb verbs[] = {
    {"cont create", "", "[OPTION]... CONTAINER", "make an empty container",
     "The object classes S, RP_2, EC_2P1, ... say how data is protected; `tiercel pool query` shows those of a pool.",
     run_create},
    {"cont list", "", "[OPTION]... [POOL]", "the containers of a pool", NULL, run_list},
    {"cont query", "", "[OPTION]... CONTAINER", "its epochs, handles and snapshots, in numbers", NULL, run_query},
    {"cont epochs", "", "[OPTION]... CONTAINER", "its epochs, and what each open handle holds",
     "GHCE is the highest epoch that is final for all, GHPCE the highest that anybody has committed, GLRE the lowest\n"
     "that anybody refers to. Of a handle: HCE is what it has committed, LHE from where on it holds, LRE what it "
     "refers to.",
     cmd_cont_epochs},
    {"cont snap", "", "create CONTAINER [EPOCH] | list CONTAINER | destroy CONTAINER EPOCH",
     "keep an epoch readable; say which are; let go", "Without an EPOCH: the one that is final for all now.",
     cmd_cont_snap},
    {"cont diff", "", "[OPTION]... CONTAINER FROM [TO]", "what is different between two epochs",
     "Without TO: the epoch that is final for all now. Both must be readable.", cmd_cont_diff},
    {"cont prop", "", "[OPTION]... CONTAINER [NAME [VALUE]]", "properties: show them, or set one",
     "They are label, class, other-classes, snapshots-max, redundancy, checksum and created; the first four may be "
     "set.",
     cmd_cont_prop},
    {"cont attr", "", "[OPTION]... CONTAINER [NAME [VALUE]]", "attributes: list them, show one, set or remove it",
     "They are the user's, and outside epochs. A VALUE of - is read from standard input.", cmd_cont_attr},
    {"cont evict", "", "[OPTION]... CONTAINER", "close all handles; what is not committed is discarded", NULL,
     run_evict},
    {"cont aggregate", "", "[OPTION]... CONTAINER", "erase what nobody can read any more, give its space back",
     "Below the lowest epoch that anybody refers to, only the snapshots stay readable. Readers and writers go on.",
     run_aggregate},
    {"cont copy", "", "[OPTION]... CONTAINER DESTINATION", "a container with all its epochs, into any other pool",
     "DESTINATION: a pool, in which it keeps its label, or POOL/LABEL. All epochs that can be read go, and all "
     "snapshots; others\n"
     "may go on with the source. The copy is there when it is complete; what was interrupted goes on with the same "
     "command,\n"
     "or is given up by `tiercel cont destroy DESTINATION`.",
     cmd_cont_copy},
    {"cont export", "", "[OPTION]... CONTAINER ARCHIVE", "a container at an epoch, or at all snapshots, as a tar file",
     "ARCHIVE may be - for standard output. GNU tar and others can read it: the folder of an epoch has one for each "
     "object,\n"
     "with folders for its keys and a file for each value. Holes of arrays are holes.",
     cmd_cont_export},
    {"cont import", "", "[OPTION]... CONTAINER ARCHIVE", "make a container of such a file; all of it, or nothing",
     "CONTAINER must not be there yet. The epochs have the numbers that they had.", cmd_cont_import},
    {"cont destroy", "", "[OPTION]... CONTAINER", "take it away", NULL, run_destroy},
};

int cmd_cont(const struct cli_verb *self, int argc, char **argv)
{
    return cli_verb_group(self, verbs, sizeof verbs / sizeof verbs[0], argc, argv);
}
