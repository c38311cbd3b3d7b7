// SPDX-License-Identifier: Apache-2.0
/* Making RADOS pools of a pool's own, and taking them away; see rados_plan.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/rados_plan.h"

struct making {
    const struct tl_rados_plan *p;
    json_t *made;
    struct tl_error *err;
};

/* An order for the monitors, and the word for what it makes. */
static int order(struct making *m, json_t *command, const char *kind, const char *name, const char *where)
{
    char word[2 * TL_RADOS_OWN + 256];
    int rc = tl_rados_mon(m->p->r, command, NULL, m->err);
    snprintf(word, sizeof word, "%s %s%s%s", kind, name, *where != 0 ? " " : "", where);
    if (rc == 0 && kind[0] != 0 && json_array_append_new(m->made, json_string(word)) != 0)
        rc = tl_error_set(m->err, -ENOMEM, "pool %s: out of memory", m->p->r->where.uri);
    return rc;
}

/* ---- making ---- */

static int make_root(struct making *m)
{
    const struct tl_rados_plan *p = m->p;
    int rc = order(m, json_pack("{s:s, s:s, s:s}", "prefix", "osd crush add-bucket", "name", p->root, "type", "root"),
                   "root", p->root, "");
    for (size_t i = 0; rc == 0 && i < json_array_size(p->hosts); i++) {
        const char *host = json_string_value(json_array_get(p->hosts, i));
        char where[TL_RADOS_OWN + 8];
        snprintf(where, sizeof where, "root=%s", p->root);
        rc = order(m, json_pack("{s:s, s:s, s:[s]}", "prefix", "osd crush link", "name", host, "args", where), "link",
                   host, p->root);
    }
    if (rc != 0)
        return rc;
    json_t *rule = json_pack("{s:s, s:s, s:s, s:s}", "prefix", "osd crush rule create-replicated", "name", p->root,
                             "root", p->root, "type", p->domain);
    if (p->device[0] != 0 && json_object_set_new(rule, "class", json_string(p->device)) != 0)
        rc = -ENOMEM;
    return rc == 0 ? order(m, rule, "rule", p->root, "") : rc;
}

static unsigned power_of_two(unsigned most)
{
    unsigned n = 1;
    while (n * 2 <= most && n < 4096)
        n *= 2;
    return n;
}

static int set_pool(struct making *m, const char *name, const char *var, unsigned n)
{
    char value[16];
    snprintf(value, sizeof value, "%u", n);
    json_t *command =
        json_pack("{s:s, s:s, s:s, s:s}", "prefix", "osd pool set", "pool", name, "var", var, "val", value);
    if (n == 1)
        json_object_set_new(command, "yes_i_really_mean_it", json_true());
    return order(m, command, "", "", "");
}

/* Fewer placement groups if there are too many on the OSDs already. */
static int make_pool(struct making *m, const char *name, unsigned width, const char *profile, const char *rule)
{
    int rc = -ERANGE;
    for (unsigned pgs = power_of_two(m->p->pg_num / width); rc == -ERANGE && pgs > 0; pgs /= 2) {
        json_t *command =
            json_pack("{s:s, s:s, s:i, s:i, s:s}", "prefix", "osd pool create", "pool", name, "pg_num", (int)pgs,
                      "pgp_num", (int)pgs, "pool_type", *profile != 0 ? "erasure" : "replicated");
        if (*profile != 0)
            json_object_set_new(command, "erasure_code_profile", json_string(profile));
        if (*rule != 0)
            json_object_set_new(command, "rule", json_string(rule));
        rc = order(m, command, "pool", name, "");
    }
    if (rc == 0 && *profile == 0 && (rc = set_pool(m, name, "size", width)) == 0)
        rc = set_pool(m, name, "min_size", width - width / 2); /* for writes: Ceph's own rule, whatever is configured */
    if (rc == 0)
        rc = order(
            m, json_pack("{s:s, s:s, s:s}", "prefix", "osd pool application enable", "pool", name, "app", "tiercel"),
            "", "", "");
    return rc;
}

static int make_code(struct making *m, uint16_t class, const char *name)
{
    const struct tl_rados_plan *p = m->p;
    unsigned parity = tl_class_redundancy(class);
    char k[24], n[24], root[TL_RADOS_OWN + 16], domain[64], device[64];
    snprintf(k, sizeof k, "k=%u", tl_rados_class_width(class) - parity);
    snprintf(n, sizeof n, "m=%u", parity);
    snprintf(root, sizeof root, "crush-root=%s", p->root);
    snprintf(domain, sizeof domain, "crush-failure-domain=%s", p->domain);
    snprintf(device, sizeof device, "crush-device-class=%s", p->device);
    int rc = order(m,
                   json_pack("{s:s, s:s, s:[s, s, s, s, s]}", "prefix", "osd erasure-code-profile set", "name", name,
                             "profile", k, n, root, domain, device),
                   "profile", name, "");
    if (rc == 0)
        rc = order(
            m, json_pack("{s:s, s:s, s:s}", "prefix", "osd crush rule create-erasure", "name", name, "profile", name),
            "rule", name, "");
    return rc;
}

static int make_data(struct making *m, unsigned i)
{
    const struct tl_rados_plan *p = m->p;
    unsigned width = tl_rados_class_width(p->classes[i]);
    bool code = p->classes[i] != tl_class_replicated(width);
    char name[TL_RADOS_OWN], bytes[24];
    tl_rados_plan_name(p, i, name);
    int rc = code ? make_code(m, p->classes[i], name) : 0;
    rc = rc == 0 ? make_pool(m, name, width, code ? name : "", code ? name : p->hosts != NULL ? p->root : "") : rc;
    if (rc != 0 || p->wish->size_bytes == 0)
        return rc;
    snprintf(bytes, sizeof bytes, "%llu", (unsigned long long)(p->wish->size_bytes / p->class_count));
    return order(m,
                 json_pack("{s:s, s:s, s:s, s:s}", "prefix", "osd pool set-quota", "pool", name, "field", "max_bytes",
                           "val", bytes),
                 "", "", "");
}

/* What the monitors said, and what it takes. */
static int no_rights(struct tl_rados *r, const char *doing, int rc, struct tl_error *err)
{
    return tl_error_set(err, rc,
                        "pool %s: client.%s may not %s; an administrator gives it the rights with: ceph auth caps "
                        "client.%s mon 'allow rw' osd 'allow rwx tag tiercel *=*'",
                        r->where.uri, r->where.user, doing, r->where.user);
}

int tl_rados_plan_make(const struct tl_rados_plan *p, json_t **made, struct tl_error *err)
{
    struct making m = {.p = p, .made = json_array(), .err = err};
    struct tl_error left = {.code = 0};
    int rc = m.made != NULL ? 0 : tl_error_set(err, -ENOMEM, "pool %s: out of memory", p->r->where.uri);
    rc = rc == 0 && p->hosts != NULL ? make_root(&m) : rc;
    rc = rc == 0 ? make_pool(&m, p->r->where.meta, p->index_copies, "", p->hosts != NULL ? p->root : "") : rc;
    for (unsigned i = 0; rc == 0 && i < p->class_count; i++)
        rc = make_data(&m, i);
    if (rc == 0) {
        *made = m.made;
        return 0;
    }
    if (rc == -EACCES || rc == -EPERM)
        no_rights(p->r, "make RADOS pools", rc, err);
    if (tl_rados_unmake(p->r, m.made, &left) != 0 && err != NULL)
        snprintf(err->msg + strlen(err->msg), sizeof err->msg - strlen(err->msg), "; %s", left.msg);
    json_decref(m.made);
    return rc;
}

/* ---- taking away ---- */

static json_t *removal(const char *kind, const char *name, const char *where)
{
    if (strcmp(kind, "pool") == 0)
        return json_pack("{s:s, s:s, s:s, s:b}", "prefix", "osd pool delete", "pool", name, "pool2", name,
                         "yes_i_really_really_mean_it", 1);
    if (strcmp(kind, "rule") == 0)
        return json_pack("{s:s, s:s}", "prefix", "osd crush rule rm", "name", name);
    if (strcmp(kind, "profile") == 0)
        return json_pack("{s:s, s:s}", "prefix", "osd erasure-code-profile rm", "name", name);
    if (strcmp(kind, "link") == 0)
        return json_pack("{s:s, s:s, s:s}", "prefix", "osd crush unlink", "name", name, "ancestor", where);
    return json_pack("{s:s, s:s}", "prefix", "osd crush rm", "name", name);
}

/* "link h0 tiercel.x" */
static int remove_one(struct tl_rados *r, const char *word, struct tl_error *err)
{
    char kind[16] = "", name[256] = "", where[TL_RADOS_OWN] = "";
    if (sscanf(word, "%15s %255s %63s", kind, name, where) < 2)
        return tl_error_set(err, -EBADMSG, "pool %s: '%.64s' cannot be taken away", r->where.uri, word);
    int rc = tl_rados_mon(r, removal(kind, name, where), NULL, err);
    return rc == -ENOENT ? 0 : rc;
}

int tl_rados_unmake(struct tl_rados *r, const json_t *made, struct tl_error *err)
{
    struct tl_error why = {.code = 0};
    char left[200] = "";
    int rc = 0;
    for (size_t i = json_array_size(made); i-- > 0;) {
        const char *word = json_string_value(json_array_get(made, i));
        if (word == NULL || (rc == 0 && (rc = remove_one(r, word, &why)) == 0))
            continue;
        size_t len = strlen(left); /* what comes before is needed by it, and stays, too */
        if (len + strlen(word) + 3 < sizeof left)
            snprintf(left + len, sizeof left - len, "%s%s", len > 0 ? ", " : "", word);
    }
    if (rc == 0)
        return 0;
    if (rc == -EACCES)
        return no_rights(r, "delete RADOS pools", rc, err);
    if (rc == -EPERM)
        return tl_error_set(err, rc,
                            "pool %s: the cluster forbids deleting RADOS pools, so this stays: %s; an administrator "
                            "allows it with: ceph config set mon mon_allow_pool_delete true",
                            r->where.uri, left);
    return tl_error_set(err, rc, "%s; this stays: %s", why.msg, left);
}
