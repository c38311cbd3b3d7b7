// SPDX-License-Identifier: Apache-2.0
/* The TCP transport: opening, closing, regions, counters. See tcp.h for the parts. */
#include "net/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tcp_region *tcp_region_at(struct tcp *t, uint32_t region, uint64_t offset, uint64_t len)
{
    if (region >= TCP_REGION_MAX || t->regions[region].flags == 0)
        return NULL;
    struct tcp_region *r = &t->regions[region];
    return offset <= r->len && len <= r->len - offset ? r : NULL;
}

void tcp_region_hold(struct tcp *t, uint32_t region)
{
    t->regions[region].holds++;
}

void tcp_region_unhold(struct tcp *t, uint32_t region)
{
    check(t->regions[region].holds > 0);
    t->regions[region].holds--;
}

static int tcp_expose(struct tl_net *net, int fd, void *base, size_t len, unsigned flags)
{
    struct tcp *t = tcp_of(net);
    if (base == NULL || len == 0 || flags == 0 || (flags & ~(unsigned)(TL_REGION_SERVE | TL_REGION_LAND)) != 0)
        return -EINVAL;
    for (uint32_t i = 0; i < TCP_REGION_MAX; i++) {
        if (t->regions[i].flags != 0)
            continue;
        t->regions[i] = (struct tcp_region){.fd = fd, .base = base, .len = len, .flags = flags};
        return (int)i;
    }
    return -ENOSPC;
}

static int tcp_retract(struct tl_net *net, uint32_t region)
{
    struct tcp *t = tcp_of(net);
    if (region >= TCP_REGION_MAX || t->regions[region].flags == 0)
        return -EINVAL;
    if (t->regions[region].holds > 0)
        return -EBUSY;
    t->regions[region] = (struct tcp_region){.fd = -1};
    return 0;
}

static void tcp_caps(struct tl_net *net, struct tl_net_caps *out)
{
    *out = (struct tl_net_caps){.down_reliable = true, .encrypted = tcp_of(net)->config.encrypt};
}

static void tcp_stats(struct tl_net *net, struct tl_net_stats *out)
{
    *out = tcp_of(net)->stats;
}

static int tcp_fd(struct tl_net *net)
{
    struct tcp *t = tcp_of(net);
    return t->config.epoll_fd == 0 ? t->epoll_fd : -1;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* Events that nobody fetched: their operations are freed with them. */
static void queue_free(struct tcp *t)
{
    for (struct tcp_event *e = t->queue.first, *next; e != NULL; e = next) {
        next = e->next;
        if (e->ev.type == TL_NET_MESSAGE || (int)e->ev.type == TCP_EVENT_SIDE || e->ev.type == TL_NET_SENT ||
            e->ev.type == TL_NET_READ)
            free(e->ev.private_data);
    }
    t->queue = (struct tcp_queue){0};
}

static void tcp_close(struct tl_net *net)
{
    if (net == NULL)
        return;
    struct tcp *t = tcp_of(net);
    if (t->peers != NULL) {
        for (struct tcp_conn *c = t->conns; c != NULL; c = c->next)
            if (c->state == TCP_UP)
                tcp_flush(c); /* a last word gets out if the socket takes it */
        while (t->conns != NULL)
            tcp_conn_fail(t->conns, -ECANCELED, -ECANCELED, "closed");
        queue_free(t);
        while (t->graveyard != NULL) {
            struct tcp_conn *c = t->graveyard;
            t->graveyard = c->next;
            tcp_conn_free(c);
        }
        for (uint32_t i = 0; i < t->config.node_count; i++)
            free(t->peers[i].addresses);
    }
    for (uint32_t i = 0; t->addresses != NULL && i < t->config.node_count; i++)
        free(t->addresses[i]);
    free(t->addresses);
    free(t->peers);
    if (t->listen_fd >= 0) /* another process may hold it, too: closing alone would leave it in the owner's epoll */
        (void)epoll_ctl(t->epoll_fd, EPOLL_CTL_DEL, t->listen_fd, NULL);
    close_fd(t->listen_fd);
    close_fd(t->reserve_fd);
    if (t->config.epoll_fd == 0)
        close_fd(t->epoll_fd);
    tl_secret_wipe(t->keys, sizeof t->keys);
    free(t);
}

void tcp_side_enable(struct tl_net *net)
{
    tcp_of(net)->side_enabled = true;
}

static void tcp_keys(struct tl_net *net, const struct tl_net_key *keys, uint32_t count)
{
    struct tcp *t = tcp_of(net);
    check(count >= 1 && count <= TL_NET_KEYS_MAX);
    tl_secret_wipe(t->keys, sizeof t->keys);
    memcpy(t->keys, keys, count * sizeof *keys);
    for (uint32_t i = 0; i < count; i++)
        t->key_ids[i] = tl_secret_key_id(keys[i].bytes);
    t->key_count = count;
    for (struct tcp_conn *c = t->conns; c != NULL; c = c->next)
        if (c->state == TCP_UP)
            tcp_rekey(c);
}

static const struct tl_net_ops tcp_ops = {
    .name = "tcp",
    .close = tcp_close,
    .caps = tcp_caps,
    .stats = tcp_stats,
    .keys = tcp_keys,
    .connect = tcp_connect,
    .drop = tcp_drop,
    .send = tcp_send,
    .release = tcp_release,
    .expose = tcp_expose,
    .retract = tcp_retract,
    .read = tcp_read,
    .fd = tcp_fd,
    .ready = tcp_ready,
    .poll = tcp_poll,
    .arm = tcp_arm,
};

static int copy_config(struct tcp *t, const struct tl_net_config *config, struct tl_error *err)
{
    struct tl_net_key key = {0};
    t->config = *config;
    memcpy(key.bytes, config->job_key, sizeof key.bytes);
    tcp_keys(&t->base, &key, 1);
    tl_secret_wipe(&key, sizeof key);
    tl_secret_wipe(t->config.job_key, sizeof t->config.job_key);
    t->addresses = calloc(config->node_count, sizeof *t->addresses);
    t->peers = calloc(config->node_count, sizeof *t->peers);
    if (t->addresses == NULL || t->peers == NULL)
        return tl_error_set(err, -ENOMEM, "out of memory for a node list of %u", config->node_count);
    for (uint32_t i = 0; i < config->node_count; i++) {
        int rc = tcp_address_check(config->addresses[i], err);
        if (rc != 0)
            return rc;
        t->addresses[i] = strdup(config->addresses[i]);
        if (t->addresses[i] == NULL)
            return tl_error_set(err, -ENOMEM, "out of memory for a node list of %u", config->node_count);
    }
    t->config.addresses = (const char *const *)t->addresses;
    if (t->config.inbound_max == 0)
        t->config.inbound_max = config->node_count + TCP_INBOUND_SPARE;
    return 0;
}

static int open_parts(struct tcp *t, const struct tl_net_config *config, struct tl_error *err)
{
    if (config->rank >= config->node_count || config->addresses == NULL)
        return tl_error_set(err, -EINVAL, "rank %u is not in the node list, which has %u nodes", config->rank,
                            config->node_count);
    if (tl_secret_start() != 0)
        return tl_error_set(err, -EIO, "libsodium cannot start: the machine gives no random numbers");
    int rc = copy_config(t, config, err);
    if (rc != 0)
        return rc;
    tl_secret_random(&t->instance, sizeof t->instance);
    t->epoll_fd = config->epoll_fd != 0 ? config->epoll_fd : epoll_create1(EPOLL_CLOEXEC);
    if (t->epoll_fd >= 0)
        t->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (t->epoll_fd < 0 || t->reserve_fd < 0)
        return tl_error_set(err, -errno, "cannot open a descriptor (%s): raise `ulimit -n`", strerror(errno));
    return tcp_listen_open(t, err);
}

int tl_net_tcp_open(struct tl_net **out, const struct tl_net_config *config, struct tl_error *err)
{
    struct tcp *t = calloc(1, sizeof *t);
    if (t == NULL)
        return tl_error_set(err, -ENOMEM, "out of memory for the network");
    t->base.ops = &tcp_ops;
    t->epoll_fd = t->listen_fd = t->reserve_fd = t->side_fd = -1;
    t->next_deadline_ns = TCP_NEVER;
    for (uint32_t i = 0; i < TCP_REGION_MAX; i++)
        t->regions[i].fd = -1;
    int rc = open_parts(t, config, err);
    if (rc != 0) {
        tcp_close(&t->base);
        return rc;
    }
    *out = &t->base;
    return 0;
}
