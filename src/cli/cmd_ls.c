// SPDX-License-Identifier: Apache-2.0
/* tiercel ls: the objects of a container with kind, keys and size, or the keys of one object. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/pools.h"

struct listing {
    struct tiercel_cont *cont;
    uint64_t epoch;
    struct cli_table *table;
    json_t *list;
    struct tiercel_oid oid;
    struct tiercel_bytes dkey;
    bool rows; /* of keys; else of objects */
    bool found;
    /* of the present object */
    uint64_t keys, values, arrays, bytes_arrays, bytes, holes;
    /* of all */
    uint64_t objects;
};

static int add_key(struct listing *l, struct tiercel_bytes akey, const struct cli_value *v)
{
    char dkey[CLI_KEY_SIZE], name[CLI_KEY_SIZE], kind[64] = "value", bytes[CLI_UNIT_SIZE], holes[CLI_UNIT_SIZE] = "";
    if (l->list != NULL) {
        json_t *o = json_pack("{s:o, s:o, s:s, s:I}", "key", cli_json_bytes(l->dkey), "akey", cli_json_bytes(akey),
                              "kind", v->record_size > 0 ? "array" : "value", "bytes", (json_int_t)v->bytes);
        if (v->record_size > 0) {
            json_object_set_new(o, "record_size", json_integer((json_int_t)v->record_size));
            json_object_set_new(o, "holes_bytes", json_integer((json_int_t)v->holes));
        }
        return json_array_append_new(l->list, o) == 0 ? 0 : -ENOMEM;
    }
    if (v->record_size > 0)
        snprintf(kind, sizeof kind, "array of %" PRIu64, v->record_size);
    if (v->holes > 0)
        cli_bytes(holes, v->holes);
    cli_table_row(l->table, cli_key(dkey, l->dkey), cli_key(name, akey), kind, cli_bytes(bytes, v->bytes), holes);
    return 0;
}

static int look_akey(void *ctx, struct tiercel_bytes akey)
{
    struct listing *l = ctx;
    struct cli_value v;
    int rc = cli_value_look(l->cont, l->epoch, l->oid, l->dkey, akey, &v);
    if (rc < 0)
        return rc;
    l->values += v.record_size == 0;
    l->arrays += v.record_size > 0;
    l->bytes_arrays += v.record_size == 1;
    l->bytes += v.bytes;
    l->holes += v.holes;
    return l->rows ? add_key(l, akey, &v) : 0;
}

static int look_dkey(void *ctx, struct tiercel_bytes dkey)
{
    struct listing *l = ctx;
    char keys[CLI_UNIT_SIZE];
    l->keys += dkey.len > 0;
    l->found = true;
    l->dkey = dkey;
    if (l->keys % 1024 == 0)
        cli_progress("%s keys", cli_count(keys, l->keys));
    return cli_each_key(l->cont, l->epoch, l->oid, &dkey, look_akey, l);
}

static int look_object(void *ctx, struct tiercel_oid oid)
{
    struct listing *l = ctx;
    char name[CLI_OID_SIZE], keys[CLI_UNIT_SIZE], bytes[CLI_UNIT_SIZE], holes[CLI_UNIT_SIZE] = "";
    l->oid = oid;
    l->keys = l->values = l->arrays = l->bytes_arrays = l->bytes = l->holes = 0;
    l->objects++;
    int rc = cli_each_key(l->cont, l->epoch, oid, NULL, look_dkey, l);
    if (rc < 0)
        return rc;
    const char *kind = l->keys == 0 && l->values == 0 && l->arrays == l->bytes_arrays ? "bytes"
                       : l->arrays == 0                                               ? "keys"
                       : l->values == 0                                               ? "arrays"
                                                                                      : "mixed";
    cli_oid(name, oid);
    if (l->list != NULL)
        return json_array_append_new(l->list, json_pack("{s:s, s:s, s:I, s:I, s:I}", "object", name, "kind", kind,
                                                        "keys", (json_int_t)l->keys, "bytes", (json_int_t)l->bytes,
                                                        "holes_bytes", (json_int_t)l->holes)) == 0
                   ? 0
                   : -ENOMEM;
    if (l->holes > 0)
        cli_bytes(holes, l->holes);
    cli_table_row(l->table, name, kind, cli_count(keys, l->keys), cli_bytes(bytes, l->bytes), holes);
    return 0;
}

static int finish(struct listing *l, const char *cont, const char *object)
{
    if (l->list != NULL)
        return cli_print_json(json_pack("{s:s, s:o, s:o}", "container", cont, "epoch", cli_json_epoch(l->epoch),
                                        object != NULL ? "keys" : "objects", l->list));
    if (object == NULL && l->objects == 0) {
        cli_table_free(l->table);
        printf("%s: no objects at epoch %" PRIu64 "\n", cont, l->epoch);
    } else {
        cli_table_print(l->table);
    }
    return cli_finish();
}

int cmd_ls(const struct cli_verb *self, int argc, char **argv)
{
    bool json = false;
    struct listing l = {0};
    struct cli_cont c;
    struct tiercel_error err = {0};
    const struct cli_option options[] = {
        {"epoch", 0, CLI_EPOCH, &l.epoch, "E", "as it was at epoch E (default: the last that is final for all)"},
        CLI_OPTION_JSON(&json),
    };
    int go = cli_cont_parse(self, options, 2, &argc, &argv, 2);
    if (go != CLI_GO)
        return go;
    l.rows = argc == 2;
    if (l.rows && !cli_oid_parse(argv[1], &l.oid))
        return cli_usage(self,
                         "%s: not an object: a number, decimal or 0x..., or two with a dot, below 2^64; before them "
                         "perhaps a class, EC_2P1:",
                         argv[1]);
    int rc = cli_cont_open_at(&c, argv[0], &l.epoch, &err);
    if (rc < 0)
        return cli_report(&err, json);
    l.cont = c.cont;
    l.list = json ? json_array() : NULL;
    l.table = json     ? NULL
              : l.rows ? cli_table_new("key|akey|kind|>size|>holes")
                       : cli_table_new("object|kind|>keys|>size|>holes");
    rc = l.rows ? cli_each_key(l.cont, l.epoch, l.oid, NULL, look_dkey, &l)
                : cli_each_object(l.cont, l.epoch, look_object, &l);
    cli_progress_end();
    if (rc < 0)
        cli_why(&err, rc, "%s at epoch %" PRIu64, argv[0], l.epoch);
    else if (l.rows && !l.found)
        rc = cli_error(&err, -ENOENT, "%s: object %s: is not there at epoch %" PRIu64 "; `tiercel ls %s` shows what is",
                       argv[0], argv[1], l.epoch, argv[0]);
    cli_cont_close(&c);
    if (rc == 0)
        return finish(&l, argv[0], l.rows ? argv[1] : NULL);
    cli_table_free(l.table);
    json_decref(l.list);
    return cli_report(&err, json);
}
