// SPDX-License-Identifier: Apache-2.0
/* tiercel cont epochs, snap, diff, prop, attr. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/pools.h"

/* ---- epochs ---- */

struct handles {
    struct cli_table *table;
    json_t *list;
};

static int add_handle(void *ctx, const struct tiercel_handle_info *h)
{
    struct handles *a = ctx;
    char uuid[CLI_UUID_SIZE], hce[CLI_UNIT_SIZE], lhe[CLI_UNIT_SIZE], lre[CLI_UNIT_SIZE];
    const char *mode = (h->flags & TIERCEL_RW) != 0 ? "rw" : "ro", *state = h->ended ? "its processes have ended" : "";
    bool noslip = (h->flags & TIERCEL_NOSLIP) != 0;
    cli_uuid(uuid, h->uuid);
    if (a->list != NULL)
        json_array_append_new(a->list, json_pack("{s:s, s:s, s:b, s:b, s:o, s:o, s:o}", "uuid", uuid, "mode", mode,
                                                 "ended", h->ended, "noslip", noslip, "hce", cli_json_epoch(h->hce),
                                                 "lhe", cli_json_epoch(h->lhe), "lre", cli_json_epoch(h->lre)));
    else
        cli_table_row(a->table, uuid, noslip ? "rw, noslip" : mode, cli_epoch(hce, h->hce), cli_epoch(lhe, h->lhe),
                      cli_epoch(lre, h->lre), state);
    return 0;
}

static void print_numbers(const struct tiercel_cont_info *i)
{
    char ghce[CLI_UNIT_SIZE], ghpce[CLI_UNIT_SIZE], glre[CLI_UNIT_SIZE], from[CLI_UNIT_SIZE];
    printf("GHCE %s, GHPCE %s, GLRE %s; readable from %s%s\n", cli_epoch(ghce, i->ghce), cli_epoch(ghpce, i->ghpce),
           cli_epoch(glre, i->glre), cli_epoch(from, i->readable_from), i->snapshots > 0 ? ", and the snapshots" : "");
}

int cmd_cont_epochs(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false;
    struct cli_cont c;
    struct tiercel_cont_info info;
    struct tiercel_error err = {0};
    const struct cli_option options[] = {CLI_OPTION_JSON(&json)};
    int go = cli_cont_parse(self, options, 1, &argc, &argv, 1);
    if (go != CLI_GO)
        return go;
    struct handles h = {.list = json ? json_array() : NULL,
                        .table = json ? NULL : cli_table_new("handle|mode|>HCE|>LHE|>LRE|")};
    int rc = cli_cont_connect(&c, argv[0], TIERCEL_RO, &err);
    if (rc == 0)
        rc = cli_cont_info(&c, &info, &err);
    if (rc == 0) {
        rc = tiercel_cont_list_handles(c.pool, c.label, add_handle, &h);
        rc = rc < 0 ? cli_why(&err, rc, "%s: its handles cannot be listed", argv[0]) : 0;
    }
    cli_cont_close(&c);
    if (rc == 0 && json)
        return cli_print_json(json_pack("{s:o, s:o, s:o, s:o, s:o}", "ghce", cli_json_epoch(info.ghce), "ghpce",
                                        cli_json_epoch(info.ghpce), "glre", cli_json_epoch(info.glre), "readable_from",
                                        cli_json_epoch(info.readable_from), "handles", h.list));
    json_decref(h.list);
    if (rc < 0) {
        cli_table_free(h.table);
        return cli_report(&err, json);
    }
    print_numbers(&info);
    if (info.handles > 0) {
        cli_table_print(h.table);
    } else {
        puts("no handle is open");
        cli_table_free(h.table);
    }
    return cli_finish();
}

/* ---- snapshots ---- */

/* All of them, ascending; malloc'd. */
static int read_snapshots(struct tiercel_cont *cont, uint64_t **out, unsigned *count)
{
    *out = NULL;
    *count = 0;
    for (unsigned room = 64;; room = *count) { /* until nobody makes one between asking and asking */
        uint64_t *grown = realloc(*out, room * sizeof **out);
        if (grown == NULL)
            return -ENOMEM;
        *out = grown;
        *count = room;
        int rc = tiercel_snap_list(cont, *out, count, NULL);
        if (rc < 0 || *count <= room)
            return rc;
    }
}

static int list_snapshots(struct cli_cont *c, bool json, struct tiercel_error *err)
{
    uint64_t *epochs;
    unsigned count;
    int rc = read_snapshots(c->cont, &epochs, &count);
    if (rc < 0) {
        free(epochs);
        return cli_why(err, rc, "%s: its snapshots cannot be listed", c->given);
    }
    json_t *list = json ? json_array() : NULL;
    for (unsigned i = 0; i < count; i++) {
        if (json)
            json_array_append_new(list, cli_json_epoch(epochs[i]));
        else
            printf("%" PRIu64 "\n", epochs[i]);
    }
    free(epochs);
    if (json)
        (void)cli_print_json(list);
    return 0;
}

static int change_snapshot(struct cli_cont *c, bool create, uint64_t epoch, bool json, struct tiercel_error *err)
{
    struct tiercel_epochs e;
    int rc = epoch == 0 ? tiercel_epoch_query(c->cont, &e, NULL) : 0;
    if (rc == 0 && epoch == 0)
        epoch = e.ghce;
    if (rc == 0 && epoch == 0)
        return cli_error(err, -ENOENT, "%s: nothing has been committed yet: there is no epoch to keep", c->given);
    if (rc == 0)
        rc = create ? tiercel_snap_create(c->cont, epoch, NULL) : tiercel_snap_destroy(c->cont, epoch, NULL);
    if (rc < 0)
        return cli_why(err, rc, "%s: snapshot of epoch %" PRIu64, c->given, epoch);
    if (json)
        (void)cli_print_json(json_pack("{s:s, s:o}", "container", c->given, "epoch", cli_json_epoch(epoch)));
    else
        printf(create ? "epoch %" PRIu64 " of %s stays readable\n" : "epoch %" PRIu64 " of %s is not kept any more\n",
               epoch, c->given);
    return 0;
}

int cmd_cont_snap(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false;
    uint64_t epoch = 0;
    struct cli_cont c;
    struct tiercel_error err = {0};
    const struct cli_option options[] = {CLI_OPTION_JSON(&json)};
    int go = cli_parse_mixed(self, options, 1, &argc, &argv, 3);
    if (go != CLI_GO)
        return go;
    const char *what = argc > 0 ? argv[0] : "";
    bool list = strcmp(what, "list") == 0, create = strcmp(what, "create") == 0, destroy = strcmp(what, "destroy") == 0;
    if (!list && !create && !destroy)
        return cli_usage(self, "say create, list or destroy");
    if (argc < (destroy ? 3 : 2) || (list && argc > 2))
        return cli_usage(self, "%s wants a container%s", what, destroy ? " and an epoch" : "");
    if (argc == 3 && (!cli_number(argv[2], &epoch) || epoch == 0 || epoch == TIERCEL_EPOCH_MAX))
        return cli_usage(self, "%s: not an epoch: a whole number from 1, below 2^64 - 1", argv[2]);
    int rc = cli_cont_open(&c, argv[1], list ? TIERCEL_RO : TIERCEL_RW, &err);
    if (rc == 0) {
        rc = list ? list_snapshots(&c, json, &err) : change_snapshot(&c, create, epoch, json, &err);
        cli_cont_close(&c);
    }
    return rc == 0 ? cli_finish() : cli_report(&err, json);
}

/* ---- diff ---- */

struct diff {
    struct cli_table *table;
    json_t *list;
    uint64_t count;
};

static int add_change(void *ctx, const struct tiercel_change *c)
{
    struct diff *d = ctx;
    char oid[CLI_OID_SIZE], dkey[CLI_KEY_SIZE], akey[CLI_KEY_SIZE], records[64] = "";
    const char *what = !c->before ? "added" : !c->after ? "removed" : "changed";
    cli_oid(oid, c->oid);
    d->count++;
    if (d->list != NULL) {
        json_t *o = json_pack("{s:s, s:o, s:o, s:s}", "object", oid, "dkey", cli_json_bytes(c->dkey), "akey",
                              cli_json_bytes(c->akey), "change", what);
        if (c->array)
            json_object_set_new(o, "records",
                                json_pack("{s:o, s:o}", "first", cli_json_epoch(c->extent.first), "count",
                                          cli_json_epoch(c->extent.count)));
        return json_array_append_new(d->list, o) == 0 ? 0 : -ENOMEM;
    }
    if (c->array && c->extent.count > 0)
        snprintf(records, sizeof records, "%" PRIu64 "..%" PRIu64, c->extent.first,
                 c->extent.first + c->extent.count - 1);
    cli_table_row(d->table, oid, cli_key(dkey, c->dkey), cli_key(akey, c->akey), what, records);
    return 0;
}

int cmd_cont_diff(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false;
    uint64_t from = 0, to = 0;
    struct cli_cont c;
    struct tiercel_error err = {0};
    const struct cli_option options[] = {CLI_OPTION_JSON(&json)};
    int go = cli_parse_mixed(self, options, 1, &argc, &argv, 3);
    if (go != CLI_GO)
        return go;
    if (argc < 2)
        return cli_usage(self, "wants a container, and one or two epochs");
    for (int i = 1; i < argc; i++)
        if (!cli_number(argv[i], i == 1 ? &from : &to))
            return cli_usage(self, "%s: not an epoch: a whole number below 2^64", argv[i]);
    int rc = cli_cont_open_at(&c, argv[0], &to, &err);
    if (rc < 0)
        return cli_report(&err, json);
    struct diff d = {.list = json ? json_array() : NULL,
                     .table = json ? NULL : cli_table_new("object|dkey|akey|change|records")};
    rc = tiercel_cont_diff(c.cont, from, to, add_change, &d);
    if (rc < 0)
        cli_why(&err, rc, "%s: epochs %" PRIu64 " and %" PRIu64 " cannot be compared", argv[0], from, to);
    cli_cont_close(&c);
    if (rc == 0 && json)
        return cli_print_json(
            json_pack("{s:o, s:o, s:o}", "from", cli_json_epoch(from), "to", cli_json_epoch(to), "changes", d.list));
    json_decref(d.list);
    if (rc == 0 && d.count > 0) {
        cli_table_print(d.table);
        return cli_finish();
    }
    cli_table_free(d.table);
    if (rc < 0)
        return cli_report(&err, json);
    printf("nothing is different between epochs %" PRIu64 " and %" PRIu64 "\n", from, to);
    return cli_finish();
}

/* ---- properties ---- */

static int show_prop(struct cli_cont *c, const char *name, bool alone, json_t *object, struct tiercel_error *err)
{
    char value[TIERCEL_LABEL_MAX + 64];
    int rc = tiercel_cont_get_prop(c->pool, c->label, name, value, sizeof value, err);
    if (rc < 0)
        return rc;
    if (object != NULL)
        json_object_set_new(object, name, json_string(value));
    else if (alone)
        printf("%s\n", value);
    else
        printf("%s %s\n", name, value);
    return 0;
}

int cmd_cont_prop(const struct cli_verb *self, int argc, char **argv)
{
    static const char *const names[] = {"label",      "class",    "other-classes", "snapshots-max",
                                        "redundancy", "checksum", "created"};
    bool json = false;
    struct cli_cont c;
    struct tiercel_error err = {0};
    const struct cli_option options[] = {CLI_OPTION_JSON(&json)};
    int go = cli_cont_parse(self, options, 1, &argc, &argv, 3);
    if (go != CLI_GO)
        return go;
    json_t *object = json ? json_object() : NULL;
    int rc = cli_cont_connect(&c, argv[0], argc == 3 ? TIERCEL_RW : TIERCEL_RO, &err);
    if (rc == 0 && argc == 3)
        rc = tiercel_cont_set_prop(c.pool, c.label, argv[1], argv[2], &err);
    else if (rc == 0 && argc == 2)
        rc = show_prop(&c, argv[1], true, object, &err);
    for (size_t i = 0; rc == 0 && argc == 1 && i < sizeof names / sizeof names[0]; i++)
        rc = show_prop(&c, names[i], false, object, &err);
    cli_cont_close(&c);
    if (rc == 0 && json && argc == 3)
        json_object_set_new(object, argv[1], json_string(argv[2]));
    if (rc == 0 && json)
        return cli_print_json(object);
    json_decref(object);
    return rc == 0 ? cli_finish() : cli_report(&err, json);
}

/* ---- attributes ---- */

static int add_attr_json(void *ctx, const char *name, size_t len)
{
    return json_object_set_new(ctx, name, json_integer((json_int_t)len)) == 0 ? 0 : -EINVAL;
}

static int add_attr(void *ctx, const char *name, size_t len)
{
    char bytes[CLI_UNIT_SIZE];
    cli_table_row(ctx, name, cli_bytes(bytes, len));
    return 0;
}

static int list_attrs(struct cli_cont *c, bool json, struct tiercel_error *err)
{
    json_t *object = json ? json_object() : NULL;
    struct cli_table *t = json ? NULL : cli_table_new("name|>size");
    int rc =
        json ? tiercel_cont_list_attrs(c->cont, add_attr_json, object) : tiercel_cont_list_attrs(c->cont, add_attr, t);
    if (rc == 0 && json) {
        (void)cli_print_json(object);
        return 0;
    }
    json_decref(object);
    if (rc == 0)
        cli_table_print(t);
    else
        cli_table_free(t);
    return rc < 0 ? cli_why(err, rc, "%s: its attributes cannot be listed", c->given) : 0;
}

static int show_attr(struct cli_cont *c, const char *name, bool json, struct tiercel_error *err)
{
    static char value[TIERCEL_ATTR_MAX];
    size_t len = sizeof value;
    int rc = tiercel_cont_get_attr(c->cont, name, value, &len);
    if (rc < 0)
        return cli_why(err, rc, "%s: attribute %s", c->given, name);
    if (json) {
        (void)cli_print_json(
            json_pack("{s:s, s:o}", "name", name, "value", cli_json_bytes((struct tiercel_bytes){value, len})));
        return 0;
    }
    fwrite(value, 1, len, stdout);
    if (len > 0 && value[len - 1] != '\n')
        putchar('\n');
    return 0;
}

static int set_attr(struct cli_cont *c, const char *name, const char *text, struct tiercel_error *err)
{
    static char value[TIERCEL_ATTR_MAX + 1];
    size_t len = 0;
    if (text != NULL && strcmp(text, "-") == 0) {
        len = fread(value, 1, sizeof value, stdin);
        if (ferror(stdin))
            return cli_error(err, -EIO, "standard input: %s; attribute %s is as it was", strerror(errno), name);
        text = value;
    } else if (text != NULL) {
        len = strlen(text);
    }
    int rc = tiercel_cont_set_attr(c->cont, name, text, len);
    return rc < 0 ? cli_why(err, rc, "%s: attribute %s", c->given, name) : 0;
}

int cmd_cont_attr(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false, gone = false;
    struct cli_cont c;
    struct tiercel_error err = {0};
    const struct cli_option options[] = {
        {"remove", 0, CLI_FLAG, &gone, NULL, "take the attribute NAME away"},
        CLI_OPTION_JSON(&json),
    };
    int go = cli_cont_parse(self, options, 2, &argc, &argv, 3);
    if (go != CLI_GO)
        return go;
    if (gone && argc != 2)
        return cli_usage(self, "--remove wants a container and a name");
    bool change = argc == 3 || gone;
    int rc = cli_cont_open(&c, argv[0], change ? TIERCEL_RW : TIERCEL_RO, &err);
    if (rc < 0)
        return cli_report(&err, json);
    if (change)
        rc = set_attr(&c, argv[1], argc == 3 ? argv[2] : NULL, &err);
    else
        rc = argc == 2 ? show_attr(&c, argv[1], json, &err) : list_attrs(&c, json, &err);
    cli_cont_close(&c);
    if (rc == 0 && change && json)
        return cli_print_json(json_pack("{s:s, s:s}", "container", argv[0], "name", argv[1]));
    return rc == 0 ? cli_finish() : cli_report(&err, json);
}
