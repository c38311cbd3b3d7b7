// SPDX-License-Identifier: Apache-2.0
/* Connections that are up when the job's keys change. Each side proves its new key on them, in a frame over the
 * connection's own transcript; a connection whose peer has last proven a key that does not count any more ends, once the peer has
 * had time to prove another. So a rekey costs those that have the new key a frame, and the others what they were connected to. */
#include <errno.h>
#include <string.h>

#include "net/tcp.h"

static enum tl_secret_role role_of(bool dialler)
{
    return dialler ? TL_SECRET_AGAIN_DIALLER : TL_SECRET_AGAIN_LISTENER;
}

static void prove_again(struct tcp_conn *c)
{
    const struct tcp *t = c->net;
    uint8_t body[TL_AGAIN_BODY_SIZE];
    struct tl_frame_again again = {.key_id = t->key_ids[0]};
    tl_secret_prove(again.proof, t->keys[0].bytes, role_of(c->dialler), c->transcript, again.key_id);
    tl_frame_again_put(body, &again);
    struct tcp_item *item = tcp_item_new(TL_FRAME_AGAIN, body, sizeof body, 0);
    if (item == NULL)
        return; /* the next change of keys, or the peer, which ends the connection, makes up for it */
    tcp_item_push(c, item, sizeof body, 0);
    tcp_dirty(c);
    c->told_key_id = again.key_id;
}

void tcp_rekey(struct tcp_conn *c)
{
    struct tcp *t = c->net;
    bool counts = false;
    for (uint32_t i = 0; i < t->key_count; i++)
        counts |= t->key_ids[i] == c->proven_key_id;
    if (c->told_key_id != t->key_ids[0])
        prove_again(c);
    if (counts) {
        c->deadline_ns = TCP_NEVER;
    } else if (c->deadline_ns == TCP_NEVER) {
        c->deadline_ns = t->now_ns + TCP_REKEY_NS;
        tcp_deadline(t, c->deadline_ns);
    }
}

void tcp_rekey_expired(struct tcp_conn *c)
{
    struct tcp *t = c->net;
    t->stats.auth_failures++;
    tcp_conn_fail(
        c, -EKEYREJECTED, -EKEYREJECTED,
        "node %u at %s has not proven the tier's new key: the connection was closed; run `tiercel rekey` again "
        "if it is one of this tier",
        c->peer.rank, t->addresses[c->peer.rank]);
}

int tcp_again_ready(struct tcp_conn *c, const struct tl_frame_again *again)
{
    const struct tcp *t = c->net;
    for (uint32_t i = 0; i < t->key_count; i++) {
        if (t->key_ids[i] != again->key_id)
            continue;
        if (!tl_secret_proven(again->proof, t->keys[i].bytes, role_of(!c->dialler), c->transcript, again->key_id))
            return -EBADMSG;
        c->proven_key_id = again->key_id;
        tcp_rekey(c);
        return 0;
    }
    return 0; /* a key that this node has not heard of, or not any more: it proves nothing, and breaks nothing */
}
