// SPDX-License-Identifier: Apache-2.0
/* What RADOS pools of its own a pool gets; see rados_plan.h. */
#include "store/rados_plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PGS_OF_OSD   100u /* that a cluster should have in all */
#define PGS_AT_LEAST 10u  /* of them for a new pool, however many there are */
#define PG_NUM_MAX   4096u

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static uint64_t number_of(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

unsigned tl_rados_class_width(uint16_t class)
{
    unsigned lost = tl_class_redundancy(class);
    return class == tl_class_replicated(lost + 1) ? lost + 1 : (class >> 6 & 511u) + lost;
}

void tl_rados_plan_name(const struct tl_rados_plan *p, unsigned class, char out[TL_RADOS_OWN])
{
    char name[TL_CLASS_NAME] = "data";
    if (p->class_count > 1)
        (void)tl_class_name(p->classes[class], name);
    snprintf(out, TL_RADOS_OWN, "tiercel.%.40s.%s", p->r->where.space, name);
}

/* ---- object classes ---- */

static int add_class(struct tl_rados_plan *p, const char *name, struct tl_error *err)
{
    const char *uri = p->r->where.uri;
    uint16_t class = 0;
    if (tl_class_parse(name, &class) != 0 || class == 0)
        return tl_error_set(
            err, -EINVAL, "pool %s: '%s' is no object class; use S, RP_2, RP_3, EC_2P1, EC_4P2 or the like", uri, name);
    for (unsigned i = 0; i < p->class_count; i++)
        if (p->classes[i] == class)
            return tl_error_set(err, -EINVAL, "pool %s: object class %s is named twice", uri, name);
    if (p->class_count == TL_STORE_CLASSES)
        return tl_error_set(err, -EINVAL, "pool %s: more than %u object classes", uri, TL_STORE_CLASSES);
    p->classes[p->class_count++] = class;
    return 0;
}

/* Each word of a list with commas. */
static int each_word(const char *list, int (*fn)(struct tl_rados_plan *p, const char *word, struct tl_error *err),
                     struct tl_rados_plan *p, struct tl_error *err)
{
    char word[256];
    int rc = 0;
    do {
        size_t len = strcspn(list, ",");
        if (len >= sizeof word)
            return tl_error_set(err, -EINVAL, "pool %s: '%.40s...' is too long for a name", p->r->where.uri, list);
        snprintf(word, sizeof word, "%.*s", (int)len, list);
        rc = fn(p, word, err);
        list += len + (list[len] == ',');
    } while (rc == 0 && *list != 0);
    return rc;
}

/* ---- hosts ---- */

static const json_t *find_node(const struct tl_rados_plan *p, const char *type, const char *name)
{
    const json_t *nodes = json_object_get(p->tree, "nodes");
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        if (strcmp(text_of(node, "type"), type) == 0 && strcmp(text_of(node, "name"), name) == 0)
            return node;
    }
    return NULL;
}

/* What is below a node of the CRUSH tree, each before what is below it. */
struct seen {
    const json_t *node;
    size_t owner; /* the nearest node of the type that is counted, itself perhaps; SIZE_MAX: none */
    bool counted;
};

static void see(struct seen *all, size_t *end, size_t room, const json_t *node, size_t owner, const char *type)
{
    if (node == NULL || *end == room)
        return;
    all[*end] = (struct seen){.node = node, .owner = strcmp(text_of(node, "type"), type) == 0 ? *end : owner};
    ++*end;
}

/* Nodes of a type below one, or itself, that have an OSD that is up and in. */
static unsigned count_below(const struct tl_rados_plan *p, const json_t *top, const char *type)
{
    size_t room = json_array_size(json_object_get(p->tree, "nodes")), end = 0;
    struct seen *all = calloc(room + 1, sizeof *all);
    unsigned count = 0;
    char id[24];
    see(all, &end, all != NULL ? room : 0, top, SIZE_MAX, type);
    for (size_t first = 0; first < end; first++) {
        const json_t *node = all[first].node, *children = json_object_get(node, "children");
        size_t owner = all[first].owner;
        bool usable = strcmp(text_of(node, "type"), "osd") == 0 && strcmp(text_of(node, "status"), "up") == 0 &&
                      json_number_value(json_object_get(node, "reweight")) > 0;
        if (usable && owner != SIZE_MAX && !all[owner].counted) {
            all[owner].counted = true;
            count++;
        }
        for (size_t i = 0; i < json_array_size(children); i++) {
            snprintf(id, sizeof id, "%lld", (long long)json_integer_value(json_array_get(children, i)));
            see(all, &end, room, json_object_get(p->by_id, id), owner, type);
        }
    }
    free(all);
    return count;
}

static int know_nodes(struct tl_rados_plan *p, struct tl_error *err)
{
    const json_t *nodes = json_object_get(p->tree, "nodes");
    char id[24];
    int rc = (p->by_id = json_object()) != NULL ? 0 : -ENOMEM;
    for (size_t i = 0; rc == 0 && i < json_array_size(nodes); i++) {
        snprintf(id, sizeof id, "%lld", (long long)number_of(json_array_get(nodes, i), "id"));
        rc = json_object_set(p->by_id, id, json_array_get(nodes, i)) == 0 ? 0 : -ENOMEM;
    }
    return rc == 0 ? 0 : tl_error_set(err, rc, "pool %s: out of memory", p->r->where.uri);
}

static int no_host(const struct tl_rados_plan *p, const char *name, struct tl_error *err)
{
    const json_t *nodes = json_object_get(p->tree, "nodes");
    char list[160] = "";
    size_t len = 0;
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        const char *is = text_of(node, "name");
        if (strcmp(text_of(node, "type"), "host") != 0 || find_node(p, "host", is) != node)
            continue; /* it is listed below each root that has it */
        if (len + strlen(is) + 8 > sizeof list) {
            snprintf(list + len, sizeof list - len, ", ...");
            break;
        }
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", len > 0 ? ", " : "", is);
    }
    return tl_error_set(err, -EINVAL, "pool %s: the cluster's CRUSH map has no host '%s'; it has %s", p->r->where.uri,
                        name, list);
}

static int add_host(struct tl_rados_plan *p, const char *name, struct tl_error *err)
{
    const json_t *node = find_node(p, "host", name);
    if (*name == 0)
        return tl_error_set(err, -EINVAL, "pool %s: a host's name is empty in '%.80s'", p->r->where.uri,
                            p->wish->nodes);
    if (node == NULL)
        return no_host(p, name, err);
    for (size_t i = 0; i < json_array_size(p->hosts); i++)
        if (strcmp(json_string_value(json_array_get(p->hosts, i)), name) == 0)
            return tl_error_set(err, -EINVAL, "pool %s: host %s is named twice", p->r->where.uri, name);
    unsigned osds = count_below(p, node, "osd");
    if (osds == 0)
        return tl_error_set(err, -EINVAL, "pool %s: host %s has no OSD that is up and in", p->r->where.uri, name);
    p->osds += osds;
    p->places += strcmp(p->domain, "osd") == 0 ? osds : 1;
    return json_array_append_new(p->hosts, json_string(name)) == 0
               ? 0
               : tl_error_set(err, -ENOMEM, "pool %s: out of memory", p->r->where.uri);
}

/* ---- where the cluster puts data by itself ---- */

/* From its first rule for copies: where from, and what has only one of them. */
static void look_at_rule(struct tl_rados_plan *p)
{
    snprintf(p->root, sizeof p->root, "default");
    snprintf(p->domain, sizeof p->domain, "host");
    for (size_t i = 0; i < json_array_size(p->take); i++) {
        const json_t *rule = json_array_get(p->take, i), *steps = json_object_get(rule, "steps");
        if (number_of(rule, "type") != 1)
            continue;
        for (size_t k = 0; k < json_array_size(steps); k++) {
            const json_t *step = json_array_get(steps, k);
            const char *op = text_of(step, "op"), *item = text_of(step, "item_name"), *tilde = strchr(item, '~');
            if (strcmp(op, "take") == 0) {
                snprintf(p->root, sizeof p->root, "%.*s", (int)strcspn(item, "~"), item);
                snprintf(p->device, sizeof p->device, "%s", tilde != NULL ? tilde + 1 : "");
            } else if (strncmp(op, "choose", 6) == 0) {
                snprintf(p->domain, sizeof p->domain, "%s", text_of(step, "type"));
            }
        }
        return;
    }
}

static int choose_places(struct tl_rados_plan *p, struct tl_error *err)
{
    look_at_rule(p);
    if (p->wish->nodes == NULL) {
        const json_t *root = find_node(p, "root", p->root);
        p->osds = root != NULL ? count_below(p, root, "osd") : 0;
        p->places = root != NULL ? count_below(p, root, p->domain) : 0;
        return 0;
    }
    if (strcmp(p->domain, "osd") != 0) /* what is between hosts and the root is not linked */
        snprintf(p->domain, sizeof p->domain, "host");
    p->hosts = json_array();
    snprintf(p->root, sizeof p->root, "tiercel.%.40s", p->r->where.space);
    return each_word(p->wish->nodes, add_host, p, err);
}

/* ---- whether it fits ---- */

static int check_places(struct tl_rados_plan *p, struct tl_error *err)
{
    unsigned lost = 0;
    for (unsigned i = 0; i < p->class_count; i++) {
        unsigned width = tl_rados_class_width(p->classes[i]), redundancy = tl_class_redundancy(p->classes[i]);
        char name[TL_CLASS_NAME];
        (void)tl_class_name(p->classes[i], name);
        if (width > p->places)
            return tl_error_set(err, -EINVAL, "pool %s: object class %s needs %u %ss, and %s %u; %s", p->r->where.uri,
                                name, width, p->domain,
                                p->hosts != NULL ? "those that were named are" : "up and in are", p->places,
                                p->hosts != NULL ? "name more, or choose another class" : "choose another class");
        lost = redundancy > lost ? redundancy : lost;
    }
    p->index_copies = p->places < 3 ? p->places : 3;
    p->index_copies = lost + 1 > p->index_copies ? lost + 1 : p->index_copies;
    return 0;
}

static int check_name(const struct tl_rados_plan *p, const char *name, struct tl_error *err)
{
    const json_t *pools = json_object_get(p->dump, "pools");
    const char *what = NULL;
    for (size_t i = 0; i < json_array_size(pools); i++)
        if (strcmp(text_of(json_array_get(pools, i), "pool_name"), name) == 0)
            what = "RADOS pool";
    for (size_t i = 0; what == NULL && i < json_array_size(p->take); i++)
        if (strcmp(text_of(json_array_get(p->take, i), "rule_name"), name) == 0)
            what = "CRUSH rule";
    if (what == NULL && find_node(p, "root", name) != NULL)
        what = "CRUSH root";
    if (what == NULL && json_object_get(json_object_get(p->dump, "erasure_code_profiles"), name) != NULL)
        what = "erasure-code profile";
    if (what == NULL)
        return 0;
    return tl_error_set(err, -EEXIST,
                        "pool %s: the cluster has a %s '%s' already; choose another name for the pool, or destroy the "
                        "one that is there, or was not made to its end",
                        p->r->where.uri, what, name);
}

static int check_names(const struct tl_rados_plan *p, struct tl_error *err)
{
    char name[TL_RADOS_OWN];
    int rc = check_name(p, p->r->where.meta, err);
    for (unsigned i = 0; rc == 0 && i < p->class_count; i++) {
        tl_rados_plan_name(p, i, name);
        rc = check_name(p, name, err);
    }
    return rc == 0 && p->hosts != NULL ? check_name(p, p->root, err) : rc;
}

/* Half of what is left of 100 placement groups an OSD: others will want some, too. */
static void count_pgs(struct tl_rados_plan *p)
{
    const json_t *pools = json_object_get(p->dump, "pools");
    size_t osds = json_array_size(json_object_get(p->dump, "osds"));
    uint64_t there = 0;
    for (size_t i = 0; i < json_array_size(pools); i++)
        there += number_of(json_array_get(pools, i), "pg_num") * number_of(json_array_get(pools, i), "size");
    uint64_t of_osd = osds > 0 ? there / osds : 0, share = of_osd < PGS_OF_OSD ? (PGS_OF_OSD - of_osd) / 2 : 0;
    share = share < PGS_AT_LEAST ? PGS_AT_LEAST : share;
    uint64_t all = share * p->osds / (1 + p->class_count);
    p->pg_num = all > PG_NUM_MAX * 16 ? PG_NUM_MAX * 16 : (unsigned)all;
}

static int ask(struct tl_rados_plan *p, struct tl_error *err)
{
    int rc = tl_rados_mon(p->r, json_pack("{s:s}", "prefix", "osd tree"), &p->tree, err);
    rc = rc == 0 ? tl_rados_mon(p->r, json_pack("{s:s}", "prefix", "osd dump"), &p->dump, err) : rc;
    rc = rc == 0 ? tl_rados_mon(p->r, json_pack("{s:s}", "prefix", "osd crush rule dump"), &p->take, err) : rc;
    return rc == 0 ? know_nodes(p, err) : rc;
}

int tl_rados_plan(struct tl_rados_plan *p, struct tl_rados *r, const struct tl_store_wish *wish, struct tl_error *err)
{
    *p = (struct tl_rados_plan){.r = r, .wish = wish};
    if (strlen(r->where.space) > 40)
        return tl_error_set(err, -EINVAL, "pool %s: its name may have 40 characters if it gets RADOS pools of its own",
                            r->where.uri);
    int rc = each_word(wish->classes != NULL ? wish->classes : "RP_3", add_class, p, err);
    rc = rc == 0 ? ask(p, err) : rc;
    rc = rc == 0 ? choose_places(p, err) : rc;
    rc = rc == 0 ? check_places(p, err) : rc;
    rc = rc == 0 ? check_names(p, err) : rc;
    if (rc == 0)
        count_pgs(p);
    else
        tl_rados_plan_fini(p);
    return rc;
}

/* ---- what a making left that was killed ---- */

/* tiercel.NAME.meta, .data, or a class. */
static bool is_ours(const struct tl_rados_plan *p, const char *name)
{
    uint16_t class;
    char prefix[TL_RADOS_OWN];
    size_t len = (size_t)snprintf(prefix, sizeof prefix, "tiercel.%.40s.", p->r->where.space);
    if (strncmp(name, prefix, len) != 0)
        return false;
    name += len;
    return strcmp(name, "meta") == 0 || strcmp(name, "data") == 0 || tl_class_parse(name, &class) == 0;
}

static void add_word(json_t *list, const char *kind, const char *name, const char *where)
{
    json_array_append_new(list, json_sprintf("%s %s%s%s", kind, name, *where != 0 ? " " : "", where));
}

static void find_root(const struct tl_rados_plan *p, const char *root, json_t *list)
{
    const json_t *node = find_node(p, "root", root), *children = json_object_get(node, "children");
    char id[24];
    if (node != NULL)
        add_word(list, "root", root, "");
    for (size_t i = 0; i < json_array_size(children); i++) {
        snprintf(id, sizeof id, "%lld", (long long)json_integer_value(json_array_get(children, i)));
        add_word(list, "link", text_of(json_object_get(p->by_id, id), "name"), root);
    }
}

static int found_one(void *ctx, const char *name)
{
    (void)ctx, (void)name;
    return 1;
}

/* 0; -EEXIST: something is in it. */
static int check_empty(struct tl_rados *r, const char *name, struct tl_error *err)
{
    rados_ioctx_t io;
    int rc = tl_rados_open_io(r, name, &io, err);
    if (rc != 0)
        return rc;
    r->lib->ioctx_set_namespace(io, LIBRADOS_ALL_NSPACES);
    rc = tl_rados_each_object(r, io, found_one, NULL);
    r->lib->ioctx_destroy(io);
    if (rc == 1)
        return tl_error_set(err, -EEXIST,
                            "pool %s is no pool, and its RADOS pool '%s' is not empty; if nobody wants what is in it, "
                            "delete it with Ceph's own means",
                            r->where.uri, name);
    return rc == 0 ? 0 : tl_error_set(err, rc, "RADOS pool '%s' cannot be listed: %s", name, strerror(-rc));
}

static int find_left(const struct tl_rados_plan *p, json_t *list, struct tl_error *err)
{
    const json_t *pools = json_object_get(p->dump, "pools");
    char root[TL_RADOS_OWN];
    const char *name;
    json_t *value;
    int rc = 0;
    snprintf(root, sizeof root, "tiercel.%.40s", p->r->where.space);
    find_root(p, root, list);
    json_object_foreach(json_object_get(p->dump, "erasure_code_profiles"), name, value)
    {
        if (is_ours(p, name))
            add_word(list, "profile", name, "");
    }
    for (size_t i = 0; i < json_array_size(p->take); i++) {
        name = text_of(json_array_get(p->take, i), "rule_name");
        if (is_ours(p, name) || strcmp(name, root) == 0)
            add_word(list, "rule", name, "");
    }
    for (size_t i = 0; rc == 0 && i < json_array_size(pools); i++) {
        name = text_of(json_array_get(pools, i), "pool_name");
        if (is_ours(p, name) && (rc = check_empty(p->r, name, err)) == 0)
            add_word(list, "pool", name, "");
    }
    return rc;
}

int tl_rados_left(struct tl_rados *r, json_t **out, struct tl_error *err)
{
    struct tl_rados_plan p = {.r = r};
    json_t *list = json_array();
    int rc = ask(&p, err);
    rc = rc == 0 ? find_left(&p, list, err) : rc;
    tl_rados_plan_fini(&p);
    if (rc == 0)
        *out = list;
    else
        json_decref(list);
    return rc;
}

void tl_rados_plan_fini(struct tl_rados_plan *p)
{
    json_decref(p->hosts);
    json_decref(p->by_id);
    json_decref(p->tree);
    json_decref(p->dump);
    json_decref(p->take);
    *p = (struct tl_rados_plan){.r = p->r};
}
