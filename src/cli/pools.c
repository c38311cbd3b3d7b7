// SPDX-License-Identifier: Apache-2.0
#include "cli/pools.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define KEYS_ROOM  (64u << 10) /* bytes of keys that are listed at a time */
#define KEYS_COUNT 256u
#define EXTENTS    256u

/* ---- opening ---- */

int cli_pool_uri(const char *given, char out[TIERCEL_PATH_SIZE], struct tiercel_error *err)
{
    const char *uri = given != NULL ? given : getenv("TIERCEL_POOL");
    if (uri == NULL || uri[0] == '\0')
        return cli_error(err, -EINVAL, "which pool? Name its directory, or set TIERCEL_POOL");
    return cli_path(out, err, "%s", uri);
}

int cli_pool_connect(struct tiercel_pool **out, const char *given, unsigned flags, char uri[TIERCEL_PATH_SIZE],
                     struct tiercel_error *err)
{
    int rc = cli_pool_uri(given, uri, err);
    return rc == 0 ? tiercel_pool_connect(out, uri, flags, err) : rc;
}

int cli_cont_parse(const struct cli_verb *self, const struct cli_option *options, size_t count, int *argc, char ***argv,
                   int operands_max)
{
    int go = cli_parse_mixed(self, options, count, argc, argv, operands_max);
    return go == CLI_GO && *argc == 0 ? cli_usage(self, "name the container, POOL/LABEL") : go;
}

/* The slash before a label that stands before the options of its pool: rados:///POOL/LABEL?OPTIONS. NULL: none does. */
static const char *slash_before_options(const char *given)
{
    static const char scheme[] = "rados:///";
    const char *name = given + strlen(scheme), *options = strchr(given, '?');
    if (strncmp(given, scheme, strlen(scheme)) != 0 || options == NULL)
        return NULL;
    return memchr(name, '/', (size_t)(options - name));
}

static int name_before_options(struct cli_cont *c, const char *given, const char *slash, struct tiercel_error *err)
{
    const char *options = strchr(slash, '?');
    int len = (int)(options - slash) - 1;
    if (len < 1 || snprintf(c->own_label, sizeof c->own_label, "%.*s", len, slash + 1) >= (int)sizeof c->own_label)
        return cli_error(err, -EINVAL, "%s: names no container; write rados:///POOL/LABEL?...", given);
    c->label = c->own_label;
    return cli_path(c->uri, err, "%.*s%s", (int)(slash - given), given, options);
}

int cli_cont_name(struct cli_cont *c, const char *given, struct tiercel_error *err)
{
    const char *slash = slash_before_options(given);
    c->given = given;
    c->label = "";
    if (slash != NULL)
        return name_before_options(c, given, slash, err);
    slash = strrchr(given, '/');
    c->label = slash != NULL ? slash + 1 : given;
    if (c->label[0] == '\0')
        return cli_error(err, -EINVAL, "%s: names no container; write %sLABEL", given, given);
    if (slash == NULL && (getenv("TIERCEL_POOL") == NULL || getenv("TIERCEL_POOL")[0] == '\0'))
        return cli_error(err, -EINVAL, "%s: in which pool? Write POOL/%s, or set TIERCEL_POOL", given, given);
    if (slash == NULL)
        return cli_pool_uri(NULL, c->uri, err);
    size_t len = (size_t)(slash - given);
    bool root = len == 0 || slash[-1] == '/'; /* "/ckpt", "file:///ckpt" */
    return cli_path(c->uri, err, "%.*s", (int)(root ? len + 1 : len), given);
}

const char *cli_cont_text(char out[TIERCEL_PATH_SIZE], const char *pool, const char *label)
{
    size_t options = strncmp(pool, "rados:", 6) == 0 ? strcspn(pool, "?") : strlen(pool);
    snprintf(out, TIERCEL_PATH_SIZE, "%.*s/%s%s", (int)options, pool, label, pool + options);
    return out;
}

bool cli_is_pool(const char *uri)
{
    struct tiercel_pool *pool = NULL;
    struct tiercel_error ignored = {0};
    if (tiercel_pool_connect(&pool, uri, TIERCEL_RO, &ignored) < 0)
        return false;
    tiercel_pool_disconnect(pool);
    return true;
}

int cli_cont_connect(struct cli_cont *c, const char *given, unsigned flags, struct tiercel_error *err)
{
    *c = (struct cli_cont){.given = given};
    int rc = cli_cont_name(c, given, err);
    if (rc == 0)
        rc = tiercel_pool_connect(&c->pool, c->uri, flags, err);
    /* Whoever forgets the label names the pool. */
    char text[TIERCEL_PATH_SIZE];
    if (rc < 0 && c->label[0] != '\0' && strchr(given, '/') != NULL && cli_is_pool(given))
        cli_error(err, rc, "%s: is a pool; name a container in it, %s (`tiercel cont list %s`)", given,
                  cli_cont_text(text, given, "LABEL"), given);
    return rc;
}

int cli_cont_open(struct cli_cont *c, const char *given, unsigned flags, struct tiercel_error *err)
{
    int rc = cli_cont_connect(c, given, flags & (TIERCEL_RO | TIERCEL_RW), err);
    if (rc == 0)
        rc = tiercel_cont_open(&c->cont, c->pool, c->label, flags, err);
    if (rc < 0)
        cli_cont_close(c);
    return rc;
}

int cli_cont_open_at(struct cli_cont *c, const char *given, uint64_t *epoch, struct tiercel_error *err)
{
    struct tiercel_epochs e;
    int rc = cli_cont_open(c, given, TIERCEL_RO, err);
    if (rc < 0)
        return rc;
    rc = tiercel_epoch_query(c->cont, &e, NULL);
    if (rc < 0) {
        cli_why(err, rc, "%s", given);
        cli_cont_close(c);
    } else if (*epoch == 0) {
        *epoch = e.ghce;
    }
    return rc;
}

struct wanted {
    const char *name;
    struct tiercel_cont_info *out;
};

static int match(void *ctx, const struct tiercel_cont_info *c)
{
    struct wanted *w = ctx;
    char uuid[CLI_UUID_SIZE];
    if (strcmp(c->label, w->name) != 0 && strcasecmp(cli_uuid(uuid, c->uuid), w->name) != 0)
        return 0;
    *w->out = *c;
    return 1;
}

int cli_cont_info(const struct cli_cont *c, struct tiercel_cont_info *out, struct tiercel_error *err)
{
    struct wanted wanted = {.name = c->label, .out = out};
    int rc = tiercel_cont_list(c->pool, match, &wanted);
    if (rc == 0)
        return cli_error(err, -ENOENT, "%s: no such container; `tiercel cont list %s` shows those that are there",
                         c->given, c->uri);
    return rc < 0 ? cli_why(err, rc, "%s", c->given) : 0;
}

void cli_cont_close(struct cli_cont *c)
{
    if (c->cont != NULL)
        (void)tiercel_cont_close(c->cont);
    if (c->pool != NULL)
        (void)tiercel_pool_disconnect(c->pool);
    c->cont = NULL;
    c->pool = NULL;
}

int cli_why(struct tiercel_error *err, int rc, const char *fmt, ...)
{
    char what[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    const char *why = tiercel_why(NULL);
    if (why[0] != '\0') /* it names the thing itself */
        return cli_error(err, rc, "%s", why);
    return cli_error(err, rc, "%s: %s", what, tiercel_strerror(rc));
}

int cli_also(struct tiercel_error *err, const char *more)
{
    size_t len = strlen(err->message);
    snprintf(err->message + len, sizeof err->message - len, "; %s", more);
    return err->code;
}

/* ---- numbers and names ---- */

static bool parse_half(const char *text, size_t len, uint64_t *out)
{
    char digits[24], *end;
    bool hex = len > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    if (len == 0 || len >= sizeof digits)
        return false;
    snprintf(digits, sizeof digits, "%.*s", (int)len, text);
    if (!hex)
        return cli_number(digits, out);
    errno = 0;
    unsigned long long n = strtoull(digits + 2, &end, 16);
    if (!isxdigit((unsigned char)digits[2]) || *end != '\0' || errno != 0)
        return false;
    *out = n;
    return true;
}

/* "EC_2P1:"; where it goes on, or NULL: there is none of that name. */
static const char *parse_class(const char *text, unsigned *out)
{
    char name[TIERCEL_CLASS_NAME];
    const char *colon = strchr(text, ':');
    if (colon == NULL)
        return text;
    size_t len = (size_t)(colon - text);
    if (len >= sizeof name)
        return NULL;
    snprintf(name, sizeof name, "%.*s", (int)len, text);
    return tiercel_class_parse(name, out) == 0 && *out != TIERCEL_CLASS_DEFAULT ? colon + 1 : NULL;
}

bool cli_oid_parse(const char *text, struct tiercel_oid *out)
{
    struct tiercel_oid oid = {0};
    unsigned object_class = TIERCEL_CLASS_DEFAULT;
    text = parse_class(text, &object_class);
    if (text == NULL)
        return false;
    const char *dot = strchr(text, '.'), *low = dot != NULL ? dot + 1 : text;
    if (!parse_half(low, strlen(low), &oid.lo) || (dot != NULL && !parse_half(text, (size_t)(dot - text), &oid.hi)))
        return false;
    if (object_class != TIERCEL_CLASS_DEFAULT && tiercel_oid_class(oid) != TIERCEL_CLASS_DEFAULT)
        return false;
    *out = object_class != TIERCEL_CLASS_DEFAULT ? tiercel_oid_of_class(oid, object_class) : oid;
    return true;
}

const char *cli_oid(char out[CLI_OID_SIZE], struct tiercel_oid oid)
{
    char name[TIERCEL_CLASS_NAME + 1] = "";
    unsigned object_class = tiercel_oid_class(oid);
    if (object_class != TIERCEL_CLASS_DEFAULT && tiercel_class_name(object_class, name) == 0) {
        strcat(name, ":");
        oid = tiercel_oid_of_class(oid, TIERCEL_CLASS_DEFAULT);
    } else {
        name[0] = '\0';
    }
    if (oid.hi == 0)
        snprintf(out, CLI_OID_SIZE, "%s%" PRIu64, name, oid.lo);
    else
        snprintf(out, CLI_OID_SIZE, "%s%" PRIu64 ".%" PRIu64, name, oid.hi, oid.lo);
    return out;
}

const char *cli_uuid(char out[CLI_UUID_SIZE], struct tiercel_uuid uuid)
{
    char *at = out;
    for (size_t i = 0; i < sizeof uuid.bytes; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        at += snprintf(at, 3, "%02x", uuid.bytes[i]);
    }
    return out;
}

const char *cli_key(char out[CLI_KEY_SIZE], struct tiercel_bytes key)
{
    const unsigned char *bytes = key.at;
    char *at = out;
    for (size_t i = 0; i < key.len && i < TIERCEL_KEY_MAX; i++) {
        if (isprint(bytes[i]) && bytes[i] < 127 && bytes[i] != '\\')
            *at++ = (char)bytes[i];
        else
            at += snprintf(at, 5, "\\x%02x", bytes[i]);
    }
    *at = '\0';
    return out;
}

json_t *cli_json_bytes(struct tiercel_bytes bytes)
{
    json_t *text = json_stringn(bytes.len > 0 ? bytes.at : "", bytes.len);
    if (text != NULL)
        return text;
    char *hex = malloc(2 * bytes.len + 1);
    for (size_t i = 0; hex != NULL && i < bytes.len; i++)
        snprintf(hex + 2 * i, 3, "%02x", ((const unsigned char *)bytes.at)[i]);
    json_t *object = hex != NULL ? json_pack("{s:s}", "hex", hex) : NULL;
    free(hex);
    return object;
}

int cli_unhex(const char *text, uint8_t *out, size_t room)
{
    size_t digits = strspn(text, "0123456789abcdefABCDEF");
    if (text[digits] != '\0' || digits % 2 != 0 || digits / 2 > room)
        return -1;
    for (size_t i = 0; i < digits / 2; i++) {
        const char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};
        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return (int)(digits / 2);
}

const char *cli_epoch(char out[CLI_UNIT_SIZE], uint64_t epoch)
{
    if (epoch == TIERCEL_EPOCH_MAX)
        snprintf(out, CLI_UNIT_SIZE, "-");
    else
        snprintf(out, CLI_UNIT_SIZE, "%" PRIu64, epoch);
    return out;
}

json_t *cli_json_epoch(uint64_t epoch)
{
    char text[CLI_UNIT_SIZE];
    if (epoch == TIERCEL_EPOCH_MAX)
        return json_null();
    return epoch <= INT64_MAX ? json_integer((json_int_t)epoch) : json_string(cli_epoch(text, epoch));
}

/* ---- going through ---- */

int cli_each_key(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, const struct tiercel_bytes *dkey,
                 cli_key_fn fn, void *ctx)
{
    struct tiercel_anchor anchor = {0};
    struct tiercel_bytes *keys = calloc(KEYS_COUNT, sizeof *keys);
    char *room = malloc(KEYS_ROOM);
    int rc = keys == NULL || room == NULL ? -ENOMEM : 0;
    while (rc == 0 && anchor.end == 0) { /* each answer begins behind the one before */
        unsigned count = KEYS_COUNT;
        rc = dkey == NULL ? tiercel_list_dkeys(cont, epoch, oid, &anchor, room, KEYS_ROOM, keys, &count, NULL)
                          : tiercel_list_akeys(cont, epoch, oid, *dkey, &anchor, room, KEYS_ROOM, keys, &count, NULL);
        for (unsigned i = 0; rc == 0 && i < count; i++)
            rc = fn(ctx, keys[i]);
    }
    free(keys);
    free(room);
    return rc;
}

int cli_each_object(struct tiercel_cont *cont, uint64_t epoch, cli_oid_fn fn, void *ctx)
{
    struct tiercel_anchor anchor = {0};
    struct tiercel_oid oids[KEYS_COUNT];
    int rc = 0;
    while (rc == 0 && anchor.end == 0) {
        unsigned count = KEYS_COUNT;
        rc = tiercel_list_objects(cont, epoch, &anchor, oids, &count, NULL);
        for (unsigned i = 0; rc == 0 && i < count; i++)
            rc = fn(ctx, oids[i]);
    }
    return rc;
}

int cli_value_look(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                   struct tiercel_bytes akey, struct cli_value *out)
{
    struct tiercel_anchor anchor = {0};
    struct tiercel_extent extents[EXTENTS];
    uint64_t end = 0, there = 0, record_size = 0;
    int rc = 0;
    while (rc == 0 && anchor.end == 0) {
        unsigned count = EXTENTS;
        uint64_t size = 0;
        rc = tiercel_list_extents(cont, epoch, oid, dkey, akey, &anchor, extents, &count, &size, NULL);
        if (rc == -EINVAL) { /* a single value */
            rc = 0;
            break;
        }
        for (unsigned i = 0; rc == 0 && i < count; i++) {
            uint64_t behind = extents[i].first + extents[i].count;
            end = behind > end ? behind : end;
            there += extents[i].count;
        }
        record_size = rc == 0 && size > 0 ? size : record_size;
    }
    if (rc < 0)
        return rc;
    if (record_size > 0) {
        *out = (struct cli_value){
            .record_size = record_size, .bytes = end * record_size, .holes = (end - there) * record_size};
        return 0;
    }
    struct tiercel_io io = {.akey = akey};
    rc = tiercel_fetch(cont, epoch, oid, dkey, 0, &io, 1, NULL);
    *out = (struct cli_value){.bytes = io.buffer_len};
    return rc;
}
