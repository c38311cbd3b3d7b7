// SPDX-License-Identifier: Apache-2.0
/* What the verbs about pools share: how pools, containers, objects and keys are named, opened and shown. */
#ifndef TL_CLI_POOLS_H
#define TL_CLI_POOLS_H

#include <tiercel/pool.h>

#include "cli/cli.h"

/* A container that a verb works on, and where it lies. All zero is none. */
struct cli_cont {
    char uri[TIERCEL_PATH_SIZE]; /* of the pool */
    const char *label;           /* or a UUID; points into `given`, or is own_label */
    char own_label[TIERCEL_LABEL_MAX + 1];
    const char *given; /* as the user wrote it, for sentences */
    struct tiercel_pool *pool;
    struct tiercel_cont *cont; /* NULL: only its pool is connected */
};

/* given: a path, file:///path, or NULL for $TIERCEL_POOL. 0, -EINVAL with a sentence. */
int cli_pool_uri(const char *given, char out[TIERCEL_PATH_SIZE], struct tiercel_error *err);
/* Connects to it; uri: as above. */
int cli_pool_connect(struct tiercel_pool **out, const char *given, unsigned flags, char uri[TIERCEL_PATH_SIZE],
                     struct tiercel_error *err);
/* Whether there is one that can be connected to. */
bool cli_is_pool(const char *uri);
/* cli_parse_mixed for verbs whose first operand is a container. */
int cli_cont_parse(const struct cli_verb *self, const struct cli_option *options, size_t count, int *argc, char ***argv,
                   int operands_max);
/* Fills uri, label and given: POOL/LABEL, rados:///POOL/LABEL?OPTIONS, or LABEL in $TIERCEL_POOL. */
int cli_cont_name(struct cli_cont *c, const char *given, struct tiercel_error *err);
/* How a container of this pool is written. */
const char *cli_cont_text(char out[TIERCEL_PATH_SIZE], const char *pool, const char *label);
/* Connects to the pool of a container that need not be there; flags: TIERCEL_RO or _RW. */
int cli_cont_connect(struct cli_cont *c, const char *given, unsigned flags, struct tiercel_error *err);
/* Opens it, too. */
int cli_cont_open(struct cli_cont *c, const char *given, unsigned flags, struct tiercel_error *err);
/* For reading at *epoch; 0 becomes what is final for all now, so that several calls see the same. */
int cli_cont_open_at(struct cli_cont *c, const char *given, uint64_t *epoch, struct tiercel_error *err);
/* What is known of it without opening it, which would add a handle. 0, -ENOENT, ... with a sentence. */
int cli_cont_info(const struct cli_cont *c, struct tiercel_cont_info *out, struct tiercel_error *err);
/* Closes both; what was not committed is discarded. */
void cli_cont_close(struct cli_cont *c);

/* The sentence of the last call of the library, which failed with rc; without one, what the format says. Returns rc. */
int cli_why(struct tiercel_error *err, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A part of a sentence behind what there is. Returns the code. */
int cli_also(struct tiercel_error *err, const char *more);

/* ---- numbers and names ---- */

#define CLI_OID_SIZE 64
/* "7", "0x2a", "1.7"; with an object class: "EC_2P1:7". */
bool cli_oid_parse(const char *text, struct tiercel_oid *out);
const char *cli_oid(char out[CLI_OID_SIZE], struct tiercel_oid oid);

#define CLI_UUID_SIZE 37
const char *cli_uuid(char out[CLI_UUID_SIZE], struct tiercel_uuid uuid);

#define CLI_KEY_SIZE (4 * TIERCEL_KEY_MAX + 1)
/* For tables: what is not printable ASCII, and \ itself, as \xNN. */
const char *cli_key(char out[CLI_KEY_SIZE], struct tiercel_bytes key);
/* Text, or {"hex": ...} if it is no UTF-8. */
json_t *cli_json_bytes(struct tiercel_bytes bytes);
/* Hexadecimal digits to bytes; -1: they are not. */
int cli_unhex(const char *text, uint8_t *out, size_t room);

const char *cli_epoch(char out[CLI_UNIT_SIZE], uint64_t epoch); /* "-" for TIERCEL_EPOCH_MAX */
/* null for TIERCEL_EPOCH_MAX; a string if no JSON parser holds it as an integer. */
json_t *cli_json_epoch(uint64_t epoch);

/* ---- going through ---- */

typedef int (*cli_key_fn)(void *ctx, struct tiercel_bytes key);
/* The dkeys of an object, or with dkey its akeys, until fn gives something else than 0, which is given back. */
int cli_each_key(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, const struct tiercel_bytes *dkey,
                 cli_key_fn fn, void *ctx);
typedef int (*cli_oid_fn)(void *ctx, struct tiercel_oid oid);
int cli_each_object(struct tiercel_cont *cont, uint64_t epoch, cli_oid_fn fn, void *ctx);

struct cli_value {
    uint64_t record_size; /* of an array; 0: a single value */
    uint64_t bytes;       /* its size; of an array, up to its end */
    uint64_t holes;       /* of these */
};
int cli_value_look(struct tiercel_cont *cont, uint64_t epoch, struct tiercel_oid oid, struct tiercel_bytes dkey,
                   struct tiercel_bytes akey, struct cli_value *out);

/* ---- verbs of `tiercel pool` ---- */
int cmd_pool_query(const struct cli_verb *self, int argc, char **argv);
int cmd_pool_targets(const struct cli_verb *self, int argc, char **argv);
int cmd_pool_watch(const struct cli_verb *self, int argc, char **argv);

/* ---- verbs of `tiercel cont` ---- */
int cmd_cont_epochs(const struct cli_verb *self, int argc, char **argv);
int cmd_cont_snap(const struct cli_verb *self, int argc, char **argv);
int cmd_cont_diff(const struct cli_verb *self, int argc, char **argv);
int cmd_cont_prop(const struct cli_verb *self, int argc, char **argv);
int cmd_cont_attr(const struct cli_verb *self, int argc, char **argv);
int cmd_cont_copy(const struct cli_verb *self, int argc, char **argv);
int cmd_cont_export(const struct cli_verb *self, int argc, char **argv);
int cmd_cont_import(const struct cli_verb *self, int argc, char **argv);

#endif
