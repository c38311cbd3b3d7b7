// SPDX-License-Identifier: Apache-2.0
/* Questions and orders for the monitors; see rados.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/rados.h"

int tl_rados_mon(struct tl_rados *r, json_t *command, json_t **answer, struct tl_error *err)
{
    char *out = NULL, *said = NULL, *text = NULL;
    size_t out_len = 0, said_len = 0;
    int rc = -ENOMEM;
    if (command != NULL && json_object_set_new(command, "format", json_string("json")) == 0)
        text = json_dumps(command, JSON_COMPACT);
    if (text != NULL) {
        const char *lines[] = {text};
        rc = r->lib->mon_command(r->cluster, lines, 1, "", 0, &out, &out_len, &said, &said_len);
    }
    if (rc == 0 && answer != NULL && (*answer = json_loadb(out, out_len, JSON_DECODE_ANY, NULL)) == NULL)
        rc = -EBADMSG;
    if (rc != 0) {
        const char *prefix = json_string_value(json_object_get(command, "prefix"));
        tl_error_set(err, rc, "pool %s: the monitors refused `%s`: %.*s%s%s", r->where.uri,
                     prefix != NULL ? prefix : "a command", (int)(said_len < 300 ? said_len : 300),
                     said != NULL ? said : "", said_len > 0 ? "; " : "", strerror(-rc));
    }
    if (out != NULL)
        r->lib->buffer_free(out);
    if (said != NULL)
        r->lib->buffer_free(said);
    free(text);
    json_decref(command);
    return rc;
}
