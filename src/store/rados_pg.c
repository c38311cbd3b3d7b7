// SPDX-License-Identifier: Apache-2.0
/* Placement groups: where an object lies, and whether that can be had; see rados.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/rados.h"

int tl_rados_pg_map(struct tl_rados *r, const char *pool, const char *object, json_t **out)
{
    return tl_rados_mon(r,
                        json_pack("{s:s, s:s, s:s, s:s}", "prefix", "osd map", "pool", pool, "object", object, "nspace",
                                  r->where.space),
                        out, NULL);
}

int tl_rados_pg_query(struct tl_rados *r, const char *pg, json_t **out)
{
    char command[128], *answer = NULL, *said = NULL;
    const char *lines[] = {command};
    size_t len = 0, said_len = 0;
    snprintf(command, sizeof command, "{\"prefix\": \"query\", \"pgid\": \"%.32s\", \"format\": \"json\"}", pg);
    int rc = r->lib->pg_command(r->cluster, pg, lines, 1, "", 0, &answer, &len, &said, &said_len);
    if (rc == 0 && (*out = json_loadb(answer, len, 0, NULL)) == NULL)
        rc = -EBADMSG;
    if (answer != NULL)
        r->lib->buffer_free(answer);
    if (said != NULL)
        r->lib->buffer_free(said);
    return rc;
}

/* Since when it is there, in seconds since 1970; 0: it is not. */
static int64_t active_since(const json_t *query)
{
    const char *state = json_string_value(json_object_get(query, "state")), *since = NULL;
    struct tm tm = {.tm_isdst = 0};
    if (state == NULL || strstr(state, "active") == NULL)
        return 0;
    const json_t *stats = json_object_get(json_object_get(query, "info"), "stats");
    since = json_string_value(json_object_get(stats, "last_became_active"));
    if (since == NULL || strptime(since, "%Y-%m-%dT%H:%M:%S", &tm) == NULL)
        return 0;
    return timegm(&tm);
}

/* Clocks of machines in a cluster are less than a second apart: Ceph asks for that. */
bool tl_rados_pg_steady(struct tl_rados *r, const char *object, unsigned seconds)
{
    json_t *stat = NULL, *map = NULL, *query = NULL;
    int64_t now = time(NULL), since = 0;
    /* No OSD has come or gone for so long: the least that can be asked. */
    if (tl_rados_mon(r, json_pack("{s:s}", "prefix", "osd stat"), &stat, NULL) == 0)
        since = json_integer_value(json_object_get(stat, "osd_up_since"));
    json_decref(stat);
    if (since > 0 && now - since > seconds)
        return true;
    int rc = tl_rados_pg_map(r, r->where.meta, object, &map);
    const char *pg = rc == 0 ? json_string_value(json_object_get(map, "pgid")) : NULL;
    rc = rc == 0 && pg == NULL ? -EBADMSG : rc == 0 ? tl_rados_pg_query(r, pg, &query) : rc;
    since = rc == 0 ? active_since(query) : 0;
    json_decref(map);
    json_decref(query);
    if (rc == -EACCES || rc == -EPERM) /* then leases are all that we know */
        return true;
    return rc == 0 && since > 0 && now - since > seconds;
}
