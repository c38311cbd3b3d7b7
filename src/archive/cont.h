// SPDX-License-Identifier: Apache-2.0
/* A container as a pax tar file, which others can unpack, and back.
 *
 *   tiercel-container                                 text: `tiercel container 1`, `label L`, then for each epoch that follows a line
 *                                                     `snapshot E` or `epoch E`, ascending; the last one is what was exported
 *   attributes/NAME                                   a file for each
 *   epoch-21/7/DKEY/AKEY.value                        a single value of object 7 at epoch 21
 *   epoch-21/7/DKEY/AKEY.array-8                      an array of records of 8 bytes, up to its end; the file has holes where blocks of tar have none
 *   epoch-21/7/DKEY/AKEY.array-8.extents              text, before such an array if not all of its records are there: `FIRST COUNT` lines
 *   epoch-21/7/.digest                                text: of all of that object; stands behind it
 *   tiercel-end                                       text: `tiercel end 1 OBJECTS DIGEST`, of all that is no object, and of their digests
 *
 * Names: letters, digits, - _ : + = @ and, but for the first, dots stand for themselves, other bytes are %XX; an empty name is %. */
#ifndef TL_ARCHIVE_CONT_H
#define TL_ARCHIVE_CONT_H

#include <stdbool.h>

#include "base/check.h"
#include "base/error.h"
#include "base/hash.h"
#include "tiercel/pool.h"

#define TL_CONT_HEAD "tiercel-container"
#define TL_CONT_END  "tiercel-end"
#define TL_CONT_ATTR "attributes/"

#define TL_CONT_NAME_SIZE (3 * TIERCEL_KEY_MAX + 2)
#define TL_CONT_PATH_SIZE (2 * TL_CONT_NAME_SIZE + 128)
#define TL_CONT_TEXT_MAX  (1u << 20) /* of tiercel-container */
#define TL_CONT_PIECE     (4u << 20) /* that is read and written at a time */

void tl_cont_name_escape(char out[TL_CONT_NAME_SIZE], struct tiercel_bytes name);
/* len bytes of text; out has TIERCEL_KEY_MAX bytes. How many it are; -1: no such name. */
int tl_cont_name_parse(const char *text, size_t len, uint8_t *out);
void tl_cont_oid_text(char out[48], struct tiercel_oid oid);

/* One value's place in the archive. */
struct tl_cont_path {
    uint64_t epoch;
    struct tiercel_oid oid;
    bool digest;  /* the object's .digest: nothing below */
    bool extents; /* not the array, but which of its records there are */
    uint8_t dkey[TIERCEL_KEY_MAX], akey[TIERCEL_KEY_MAX];
    size_t dkey_len, akey_len;
    uint64_t record_size; /* 0: a single value */
};
/* False: no such path. */
bool tl_cont_path_parse(const char *path, struct tl_cont_path *out);

/* The digest of an object: of its values' paths, of their bytes, and where these lie. The same however they come in pieces. */
struct tl_cont_digest {
    struct tl_hasher *hasher; /* of the present object; NULL: none */
    struct tl_hasher *all;    /* of everything else */
    uint64_t next;            /* behind the last byte of the present value */
};
int tl_cont_digest_init(struct tl_cont_digest *d); /* 0, -ENOMEM */
void tl_cont_digest_fini(struct tl_cont_digest *d);
int tl_cont_digest_value(struct tl_cont_digest *d, const char *path); /* a value begins. 0, -ENOMEM */
void tl_cont_digest_bytes(struct tl_cont_digest *d, uint64_t at, const void *bytes, size_t len);
void tl_cont_digest_object(struct tl_cont_digest *d, const char *path, char out[33]); /* an object ends: its digest */
/* Attributes, and the text at the beginning. */
void tl_cont_digest_other(struct tl_cont_digest *d, const char *path, const void *bytes, size_t len);
void tl_cont_digest_end(struct tl_cont_digest *d, char out[33]);

struct tl_cont_stats {
    uint64_t epochs, objects, values, bytes; /* bytes: of what is there, without holes */
};

/* epoch 0: what is final for all; snapshots: all of these before it. archive "": standard output. An archive takes the place of a file of its
 * name when it is whole. 0, -errno with a sentence. */
int tl_cont_export(const char *uri, const char *name, uint64_t epoch, bool snapshots, const char *archive,
                   struct tl_cont_stats *stats, struct tl_error *err) TL_MUST_CHECK;
/* archive "": standard input. The container is made, and taken away again after an error or an interruption. -EBADMSG: the archive is
 * damaged; -EEXIST: the container. */
int tl_cont_import(const char *uri, const char *name, const char *archive, struct tl_cont_stats *stats,
                   struct tl_error *err) TL_MUST_CHECK;

/* The library's last sentence, or `what` and the code's meaning. Returns rc. */
int tl_cont_why(struct tl_error *err, int rc, const char *what);
/* On a terminal: how far it is; done: takes the line away. */
void tl_cont_progress(const char *verb, uint64_t bytes, bool done);

#endif
