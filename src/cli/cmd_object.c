// SPDX-License-Identifier: Apache-2.0
/* tiercel put, get, rm: one object, or one key of it, from and to files. Each change is an epoch of its own. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beside.h"
#include "cli/pools.h"

#define PIECE (4u << 20)
#define HOLE  (64u << 10) /* in a file: zeros of this size and alignment */

/* What is named on the command line. */
struct target {
    const char *cont;
    struct tiercel_oid oid;
    const char *key_text, *akey_text; /* NULL: none */
    struct tiercel_bytes key, akey;
    uint8_t bytes[TIERCEL_KEY_MAX]; /* of a key in hexadecimal */
    bool hex, json, snapshot;
};

#define OPTION_SNAPSHOT(t)                                                                                             \
    {                                                                                                                  \
        "snapshot", 0, CLI_FLAG, &(t)->snapshot, NULL, "keep the epoch readable whatever is committed later"           \
    }
#define OPTIONS_TARGET(t)                                                                                              \
    {"akey", 0, CLI_TEXT, &(t)->akey_text, "AKEY", "what KEY's value is named, of objects with two levels of keys"},   \
        {"hex", 0, CLI_FLAG, &(t)->hex, NULL, "KEY is written in hexadecimal"}, CLI_OPTION_JSON(&(t)->json)

static int parse(const struct cli_verb *self, const struct cli_option *options, size_t count, int argc, char **argv,
                 struct target *t)
{
    int go = cli_parse_mixed(self, options, count, &argc, &argv, 3);
    if (go != CLI_GO)
        return go;
    if (argc < 2)
        return cli_usage(self, "wants a container and an object");
    t->cont = argv[0];
    t->key_text = argc > 2 ? argv[2] : NULL;
    if (!cli_oid_parse(argv[1], &t->oid))
        return cli_usage(self,
                         "%s: not an object: a number, decimal or 0x..., or two with a dot, below 2^64; before them "
                         "perhaps a class, EC_2P1:",
                         argv[1]);
    if (t->key_text == NULL && (t->hex || t->akey_text != NULL))
        return cli_usage(self, "%s wants a KEY", t->hex ? "--hex" : "--akey");
    if (t->akey_text != NULL)
        t->akey = (struct tiercel_bytes){t->akey_text, strlen(t->akey_text)};
    if (t->hex) {
        int n = cli_unhex(t->key_text, t->bytes, sizeof t->bytes);
        if (n < 0)
            return cli_usage(self, "%s: not pairs of hexadecimal digits, or more than %u", t->key_text,
                             TIERCEL_KEY_MAX);
        t->key = (struct tiercel_bytes){t->bytes, (size_t)n};
    } else if (t->key_text != NULL) {
        t->key = (struct tiercel_bytes){t->key_text, strlen(t->key_text)};
    }
    return CLI_GO;
}

#define NAME_SIZE 144
/* "object 7" or "object 7, key abc". */
static const char *name(const struct target *t, char out[NAME_SIZE])
{
    char oid[CLI_OID_SIZE];
    cli_oid(oid, t->oid);
    if (t->key_text != NULL)
        snprintf(out, NAME_SIZE, "object %s, key %.60s", oid, t->key_text);
    else
        snprintf(out, NAME_SIZE, "object %s", oid);
    return out;
}

static json_t *describe(const struct target *t)
{
    char oid[CLI_OID_SIZE];
    json_t *o = json_pack("{s:s, s:s}", "container", t->cont, "object", cli_oid(oid, t->oid));
    if (t->key_text != NULL)
        json_object_set_new(o, "key", cli_json_bytes(t->key));
    if (t->akey_text != NULL)
        json_object_set_new(o, "akey", cli_json_bytes(t->akey));
    return o;
}

/* ---- an epoch of its own ---- */

static const char nothing[] = "nothing was written";

typedef int (*change_fn)(void *ctx, struct tiercel_cont *cont, uint64_t epoch, struct tiercel_error *err);

/* Holds an epoch, changes something, flushes and commits. After an error nothing has changed: closing discards. */
static int in_an_epoch(struct target *t, change_fn change, void *ctx, struct tiercel_epochs *after, uint64_t *epoch,
                       struct tiercel_error *err)
{
    struct cli_cont c;
    char what[NAME_SIZE];
    int rc = cli_cont_open(&c, t->cont, TIERCEL_RW, err);
    if (rc < 0)
        return rc;
    *epoch = 0;
    rc = tiercel_epoch_hold(c.cont, epoch, NULL, NULL);
    if (rc < 0)
        cli_why(err, rc, "%s: no epoch can be held", t->cont);
    if (rc == 0)
        rc = change(ctx, c.cont, *epoch, err);
    if (rc == 0) {
        rc = tiercel_epoch_flush(c.cont, *epoch, NULL, NULL);
        if (rc == 0)
            rc = tiercel_epoch_commit(c.cont, *epoch, after, NULL);
        if (rc < 0) {
            cli_why(err, rc, "%s: %s", t->cont, name(t, what));
            cli_also(err, nothing);
        }
    }
    if (rc == 0 && t->snapshot && (rc = tiercel_snap_create(c.cont, *epoch, NULL)) < 0) {
        cli_why(err, rc, "%s: no snapshot of epoch %" PRIu64, t->cont, *epoch);
        cli_also(err, "it is committed");
    }
    cli_progress_end();
    cli_cont_close(&c); /* lets go of the hold first, so that what `after` says below is what others see */
    if (rc == 0 && after->ghce < *epoch && cli_cont_connect(&c, t->cont, TIERCEL_RO, err) == 0) {
        struct tiercel_cont_info info;
        if (cli_cont_info(&c, &info, err) == 0)
            after->ghce = info.ghce;
        cli_cont_close(&c);
    }
    return rc;
}

static int done(const struct target *t, json_t *more, const char *verb, const struct tiercel_epochs *after,
                uint64_t epoch)
{
    char what[NAME_SIZE];
    if (t->json) {
        json_t *o = describe(t);
        json_object_set_new(o, "epoch", cli_json_epoch(epoch));
        json_object_set_new(o, "ghce", cli_json_epoch(after->ghce));
        if (more != NULL)
            json_object_update(o, more);
        json_decref(more);
        return cli_print_json(o);
    }
    json_decref(more);
    printf("%s: %s, committed as epoch %" PRIu64 "\n", name(t, what), verb, epoch);
    if (after->ghce < epoch)
        printf("others see it once the holds below it are gone: epoch %" PRIu64
               " is final for all (`tiercel cont epochs`)\n",
               after->ghce);
    return cli_finish();
}

/* ---- put ---- */

struct put {
    struct target *t;
    FILE *in;
    const char *from; /* for sentences */
    uint64_t at;
    bool in_place; /* at `at`, and the rest stays */
    uint64_t bytes;
};

static int input_failed(const struct put *p, struct tiercel_error *err)
{
    int code = errno;
    return cli_error(err, -code, "%s: %s; nothing was written", p->from, strerror(code));
}

static int refused(const struct put *p, int rc, struct tiercel_error *err)
{
    char what[NAME_SIZE];
    cli_why(err, rc, "%s: %s", p->t->cont, name(p->t, what));
    return cli_also(err, nothing);
}

/* Piece by piece, whatever its length. */
static int put_array(void *ctx, struct tiercel_cont *cont, uint64_t epoch, struct tiercel_error *err)
{
    struct put *p = ctx;
    char text[CLI_UNIT_SIZE];
    char *piece = malloc(PIECE);
    int rc = piece == NULL ? cli_error(err, -ENOMEM, "out of memory") : 0;
    if (rc == 0 && !p->in_place && (rc = tiercel_array_set_size(cont, epoch, p->t->oid, 0, NULL)) < 0)
        refused(p, rc, err);
    while (rc == 0) {
        size_t n = fread(piece, 1, PIECE, p->in);
        if (n == 0)
            break;
        if (p->at + p->bytes > UINT64_MAX - n)
            rc = cli_error(err, -EFBIG, "%s: ends behind what an array can hold, 2^64 - 1 bytes; nothing was written",
                           p->from);
        else if ((rc = tiercel_array_write(cont, epoch, p->t->oid, p->at + p->bytes, piece, n, NULL)) < 0)
            refused(p, rc, err);
        p->bytes += n;
        cli_progress("%s written", cli_bytes(text, p->bytes));
    }
    free(piece);
    return rc == 0 && ferror(p->in) ? input_failed(p, err) : rc;
}

/* A value is replaced as a whole, so it is read as a whole. */
static int read_all(struct put *p, char **out, struct tiercel_error *err)
{
    size_t room = 0, len = 0;
    char *bytes = NULL;
    for (;;) {
        if (len == room) {
            size_t more = room == 0 ? 64u << 10 : room * 2;
            char *grown = realloc(bytes, more);
            if (grown == NULL) {
                free(bytes);
                return cli_error(err, -ENOMEM, "%s: a value goes through memory, and more than %zu bytes do not fit",
                                 p->from, room);
            }
            bytes = grown;
            room = more;
        }
        size_t n = fread(bytes + len, 1, room - len, p->in);
        if (n == 0)
            break;
        len += n;
    }
    p->bytes = len;
    *out = bytes;
    return ferror(p->in) ? input_failed(p, err) : 0;
}

static int put_value(void *ctx, struct tiercel_cont *cont, uint64_t epoch, struct tiercel_error *err)
{
    struct put *p = ctx;
    char *bytes = NULL;
    int rc = read_all(p, &bytes, err);
    if (rc == 0) {
        const struct tiercel_io io = {
            .akey = p->t->akey, .record_size = p->bytes, .buffer = bytes, .buffer_len = p->bytes};
        rc = p->t->akey_text != NULL ? tiercel_update(cont, epoch, p->t->oid, p->t->key, 0, &io, 1, NULL)
                                     : tiercel_kv_put(cont, epoch, p->t->oid, p->t->key, bytes, p->bytes, 0, NULL);
        if (rc < 0)
            refused(p, rc, err);
    }
    free(bytes);
    return rc;
}

int cmd_put(const struct cli_verb *self, int argc, char **argv)
{
    struct target t = {0};
    const char *from = NULL;
    uint64_t at = UINT64_MAX, epoch = 0;
    struct tiercel_epochs after;
    struct tiercel_error err = {0};
    const struct cli_option options[] = {
        {"from", 0, CLI_TEXT, &from, "FILE", "not standard input, but FILE"},
        {"at", 0, CLI_BYTES, &at, "OFFSET", "write there, and leave the rest of the bytes as they are"},
        OPTION_SNAPSHOT(&t),
        OPTIONS_TARGET(&t),
    };
    int go = parse(self, options, sizeof options / sizeof options[0], argc, argv, &t);
    if (go != CLI_GO)
        return go;
    if (t.key_text != NULL && at != UINT64_MAX)
        return cli_usage(self, "--at is for arrays; a key's value is replaced as a whole");
    struct put p = {.t = &t,
                    .from = from != NULL ? from : "standard input",
                    .at = at != UINT64_MAX ? at : 0,
                    .in_place = at != UINT64_MAX};
    p.in = from != NULL ? fopen(from, "re") : stdin;
    int rc = p.in == NULL ? input_failed(&p, &err)
                          : in_an_epoch(&t, t.key_text != NULL ? put_value : put_array, &p, &after, &epoch, &err);
    if (from != NULL && p.in != NULL)
        fclose(p.in);
    if (rc < 0)
        return cli_report(&err, t.json);
    char size[CLI_UNIT_SIZE];
    return done(&t, json_pack("{s:I}", "bytes", (json_int_t)p.bytes), cli_bytes(size, p.bytes), &after, epoch);
}

/* ---- rm ---- */

static int take_away(void *ctx, struct tiercel_cont *cont, uint64_t epoch, struct tiercel_error *err)
{
    struct target *t = ctx;
    char what[NAME_SIZE];
    int rc =
        tiercel_punch(cont, epoch, t->oid, t->key_text != NULL ? &t->key : NULL, t->akey_text != NULL ? &t->akey : NULL,
                      t->akey_text != NULL ? 1 : 0, TIERCEL_IF_THERE, NULL);
    if (rc == -ENOENT)
        return cli_error(err, rc, "%s: %s: is not there; `tiercel ls` shows what is", t->cont, name(t, what));
    return rc < 0 ? cli_why(err, rc, "%s: %s: cannot be taken away", t->cont, name(t, what)) : 0;
}

int cmd_rm(const struct cli_verb *self, int argc, char **argv)
{
    struct target t = {0};
    uint64_t epoch;
    struct tiercel_epochs after;
    struct tiercel_error err = {0};
    const struct cli_option options[] = {OPTION_SNAPSHOT(&t), OPTIONS_TARGET(&t)};
    int go = parse(self, options, sizeof options / sizeof options[0], argc, argv, &t);
    if (go != CLI_GO)
        return go;
    if (in_an_epoch(&t, take_away, &t, &after, &epoch, &err) < 0)
        return cli_report(&err, t.json);
    return done(&t, NULL, "taken away", &after, epoch);
}

/* ---- get ---- */

struct get {
    struct target *t;
    struct tiercel_cont *cont;
    uint64_t epoch, at, length, bytes;
    FILE *out;
    bool holes; /* out is a fresh file: zeros need not be written */
    const char *to;
};

static int give(struct get *g, const char *bytes, size_t len, struct tiercel_error *err)
{
    bool ok = true;
    for (size_t n; ok && len > 0; len -= n, bytes += n, g->bytes += n) {
        n = g->holes && len > HOLE ? HOLE : len;
        bool hole = g->holes && bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0;
        ok = hole ? fseeko(g->out, (off_t)n, SEEK_CUR) == 0 : fwrite(bytes, 1, n, g->out) == n;
    }
    int code = errno;
    return ok ? 0 : cli_error(err, -code, "%s: %s; what was written there is not all", g->to, strerror(code));
}

static int not_there(struct get *g, struct tiercel_error *err)
{
    char what[NAME_SIZE];
    return cli_error(err, -ENOENT, "%s: %s: is not there at epoch %" PRIu64 "; `tiercel ls` shows what is", g->t->cont,
                     name(g->t, what), g->epoch);
}

static int unreadable(struct get *g, int rc, struct tiercel_error *err)
{
    char what[NAME_SIZE];
    return cli_why(err, rc, "%s: %s at epoch %" PRIu64, g->t->cont, name(g->t, what), g->epoch);
}

static int any_key(void *ctx, struct tiercel_bytes key)
{
    (void)ctx, (void)key;
    return 1;
}

static int get_array(struct get *g, struct tiercel_error *err)
{
    uint64_t size = 0;
    char text[CLI_UNIT_SIZE], total[CLI_UNIT_SIZE];
    int rc = tiercel_array_size(g->cont, g->epoch, g->t->oid, &size, NULL);
    if (rc < 0)
        return unreadable(g, rc, err);
    if (size == 0) { /* keys only, or not there */
        rc = cli_each_key(g->cont, g->epoch, g->t->oid, NULL, any_key, NULL);
        if (rc <= 0)
            return rc < 0 ? unreadable(g, rc, err) : not_there(g, err);
        char what[NAME_SIZE];
        return cli_error(err, -ENOENT,
                         "%s: %s: has keys, and no bytes of its own; name a key, as `tiercel ls` shows them",
                         g->t->cont, name(g->t, what));
    }
    char *piece = malloc(PIECE);
    if (piece == NULL)
        return cli_error(err, -ENOMEM, "out of memory");
    uint64_t end = g->at < size && g->length < size - g->at ? g->at + g->length : size;
    for (uint64_t at = g->at; rc == 0 && at < end;) {
        uint64_t n = end - at < PIECE ? end - at : PIECE;
        rc = tiercel_array_read(g->cont, g->epoch, g->t->oid, at, piece, &n, NULL);
        if (rc < 0)
            unreadable(g, rc, err);
        else
            rc = n == 0 ? unreadable(g, -EIO, err) : give(g, piece, n, err);
        at += n;
        cli_progress("%s of %s", cli_bytes(text, at), cli_bytes(total, size));
    }
    cli_progress_end();
    free(piece);
    return rc;
}

/* All records of an array under two keys, zeros where there are none. */
static int get_records(struct get *g, const struct cli_value *v, struct tiercel_error *err)
{
    uint64_t records = v->bytes / v->record_size, each = PIECE / v->record_size;
    each = each > 0 ? each : 1;
    char *piece = malloc(each * v->record_size);
    int rc = piece == NULL ? cli_error(err, -ENOMEM, "out of memory") : 0;
    for (uint64_t at = 0; rc == 0 && at < records; at += each) {
        struct tiercel_extent extent = {.first = at, .count = records - at < each ? records - at : each};
        size_t len = (size_t)(extent.count * v->record_size);
        struct tiercel_io io = {.akey = g->t->akey,
                                .extents = &extent,
                                .extent_count = 1,
                                .record_size = v->record_size,
                                .buffer = piece,
                                .buffer_len = len};
        rc = tiercel_fetch(g->cont, g->epoch, g->t->oid, g->t->key, 0, &io, 1, NULL);
        rc = rc < 0 ? unreadable(g, rc, err) : give(g, piece, len, err);
    }
    free(piece);
    return rc;
}

static int get_value(struct get *g, struct tiercel_error *err)
{
    bool two = g->t->akey_text != NULL;
    struct tiercel_io io = {.akey = g->t->akey};
    struct cli_value v = {0};
    uint64_t len = 0;
    int rc = two ? cli_value_look(g->cont, g->epoch, g->t->oid, g->t->key, g->t->akey, &v) : 0;
    if (rc == 0 && v.record_size > 0)
        return get_records(g, &v, err);
    if (rc == 0)
        rc = two ? tiercel_fetch(g->cont, g->epoch, g->t->oid, g->t->key, TIERCEL_IF_THERE, &io, 1, NULL)
                 : tiercel_kv_get(g->cont, g->epoch, g->t->oid, g->t->key, NULL, &len, 0, NULL);
    if (rc < 0)
        return rc == -ENOENT ? not_there(g, err) : unreadable(g, rc, err);
    len = two ? io.buffer_len : len;
    char *bytes = malloc(len + 1);
    if (bytes == NULL)
        return cli_error(err, -ENOMEM, "a value goes through memory, and %" PRIu64 " bytes do not fit", len);
    io.buffer = bytes;
    io.buffer_len = len;
    rc = two ? tiercel_fetch(g->cont, g->epoch, g->t->oid, g->t->key, TIERCEL_IF_THERE, &io, 1, NULL)
             : tiercel_kv_get(g->cont, g->epoch, g->t->oid, g->t->key, bytes, &len, 0, NULL);
    rc = rc < 0 ? unreadable(g, rc, err) : give(g, bytes, len, err);
    free(bytes);
    return rc;
}

/* Into a file beside it first: what is at `to` is never half of something. */
static int get_to(struct get *g, struct tiercel_error *err)
{
    struct tl_beside b;
    int rc = tl_beside_begin(&b, g->to);
    if (rc < 0)
        return cli_error(err, rc, "%s: %s", g->to, strerror(-rc));
    g->out = fopen(b.path, b.in_place ? "we" : "wxe");
    if (g->out == NULL) {
        rc = -errno;
        return cli_error(err, rc, "%s: cannot be made: %s", b.path, strerror(-rc));
    }
    g->holes = !b.in_place;
    rc = g->t->key_text != NULL ? get_value(g, err) : get_array(g, err);
    int code = 0;
    if (fflush(g->out) != 0 || (g->holes && ftruncate(fileno(g->out), (off_t)g->bytes) != 0))
        code = -errno;
    if (fclose(g->out) != 0 && code == 0)
        code = -errno;
    code = tl_beside_end(&b, rc < 0 ? rc : code);
    return rc < 0 || code == 0 ? rc : cli_error(err, code, "%s: cannot be written: %s", g->to, strerror(-code));
}

/* As JSON: the bytes themselves are part of it. */
static int get_json(struct get *g, struct tiercel_error *err)
{
    char *text = NULL;
    size_t len = 0;
    g->out = open_memstream(&text, &len);
    int rc = g->out == NULL ? cli_error(err, -ENOMEM, "out of memory") : 0;
    if (rc == 0)
        rc = g->t->key_text != NULL ? get_value(g, err) : get_array(g, err);
    if (g->out != NULL && fclose(g->out) != 0 && rc == 0)
        rc = cli_error(err, -ENOMEM, "out of memory");
    if (rc == 0) {
        json_t *o = describe(g->t);
        json_object_set_new(o, "epoch", cli_json_epoch(g->epoch));
        json_object_set_new(o, "bytes", json_integer((json_int_t)len));
        json_object_set_new(o, "value", cli_json_bytes((struct tiercel_bytes){text, len}));
        (void)cli_print_json(o);
    }
    free(text);
    return rc;
}

int cmd_get(const struct cli_verb *self, int argc, char **argv)
{
    struct target t = {0};
    struct get g = {.t = &t, .length = UINT64_MAX, .out = stdout};
    struct cli_cont c;
    struct tiercel_error err = {0};
    const struct cli_option options[] = {
        {"epoch", 0, CLI_EPOCH, &g.epoch, "E", "as it was at epoch E (default: the last that is final for all)"},
        {"to", 0, CLI_TEXT, &g.to, "FILE", "not to standard output, but to FILE"},
        {"at", 0, CLI_BYTES, &g.at, "OFFSET", "of an array: from there on"},
        {"length", 0, CLI_BYTES, &g.length, "N", "of an array: so many bytes at most"},
        OPTIONS_TARGET(&t),
    };
    int go = parse(self, options, sizeof options / sizeof options[0], argc, argv, &t);
    if (go != CLI_GO)
        return go;
    if (t.key_text != NULL && (g.at != 0 || g.length != UINT64_MAX))
        return cli_usage(self, "--at and --length are for arrays; a key's value is read as a whole");
    const char *to = g.to;
    int rc = cli_cont_open_at(&c, t.cont, &g.epoch, &err);
    if (rc == 0) {
        g.cont = c.cont;
        g.to = to != NULL ? to : "standard output";
        if (to != NULL)
            rc = get_to(&g, &err);
        else if (t.json)
            rc = get_json(&g, &err);
        else
            rc = t.key_text != NULL ? get_value(&g, &err) : get_array(&g, &err);
        cli_cont_close(&c);
    }
    if (rc < 0)
        return cli_report(&err, t.json);
    if (to != NULL && t.json) {
        json_t *o = describe(&t);
        json_object_set_new(o, "epoch", cli_json_epoch(g.epoch));
        json_object_set_new(o, "bytes", json_integer((json_int_t)g.bytes));
        json_object_set_new(o, "file", json_string(to));
        return cli_print_json(o);
    }
    return cli_finish();
}
