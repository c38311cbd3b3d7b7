// SPDX-License-Identifier: Apache-2.0
/* The dialler's side of the handshake (tcp_handshake.c), and every refusal as a sentence: which two addresses, why, and
 * what to do. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/tcp.h"

/* A refusal as the dialler tells it to its owner. */
static void dial_refused(struct tcp_conn *c, enum tl_refusal refusal)
{
    struct tcp *t = c->net;
    uint32_t rank = c->peer.rank;
    const char *theirs = t->addresses[rank], *ours = t->addresses[t->config.rank];
    switch (refusal) {
    case TL_REFUSE_KEY:
        t->stats.auth_failures++;
        tcp_conn_fail(c, -EKEYREJECTED, -EKEYREJECTED,
                      "node %u at %s and this node at %s have different job keys: start both with the key file of the "
                      "same tier",
                      rank, theirs, ours);
        return;
    case TL_REFUSE_EXPIRED:
        t->stats.auth_failures++;
        tcp_conn_fail(
            c, -EKEYEXPIRED, -EKEYEXPIRED,
            "the tier's key has expired, so node %u at %s and this node at %s do not connect any more: give the "
            "tier a new one with `tiercel rekey`",
            rank, theirs, ours);
        return;
    case TL_REFUSE_JOB:
        tcp_conn_fail(c, -EPROTO, -EPROTO,
                      "the daemon at %s belongs to another tier, or has another node list than this node at %s: give "
                      "both the same tier name and node list",
                      theirs, ours);
        return;
    case TL_REFUSE_ENCRYPT:
        tcp_conn_fail(c, -EPROTO, -EPROTO,
                      "of node %u at %s and this node at %s one encrypts and the other does not: start all nodes with "
                      "--encrypt, or none",
                      rank, theirs, ours);
        return;
    case TL_REFUSE_RANK:
    case TL_REFUSE_TARGET:
        tcp_conn_fail(
            c, -EPROTO, -EPROTO,
            "the daemon at %s is not node %u, or holds this node at %s for another one: do all nodes have the "
            "same node list, and each its own rank?",
            theirs, rank, ours);
        return;
    case TL_REFUSE_NONE:
    case TL_REFUSE_VERSION:
    case TL_REFUSE_DUPLICATE: break;
    }
    tcp_conn_fail(c, -EPROTO, -EPROTO, "node %u at %s refused this node without a usable reason", rank, theirs);
}

static void dial_version(struct tcp_conn *c, const struct tl_hello_prefix *theirs)
{
    struct tcp *t = c->net;
    t->stats.version_mismatches++;
    tcp_conn_fail(c, -EPROTO, -EPROTO,
                  "node %u at %s speaks version %u.%u of the protocol, this node at %s speaks %u.%u: install the same "
                  "release of Tiercel on all nodes",
                  c->peer.rank, t->addresses[c->peer.rank], theirs->version, theirs->wire, t->addresses[t->config.rank],
                  t->config.protocol_version, TL_WIRE_VERSION);
}

static void dial_stranger(struct tcp_conn *c)
{
    c->net->stats.bad_frames++;
    tcp_conn_fail(c, -EPROTO, -EPROTO,
                  "something else than Tiercel answers at %s: is the port in the node list that of node %u's daemon?",
                  c->net->addresses[c->peer.rank], c->peer.rank);
}

static void dial_lost(struct tcp_conn *c, int status)
{
    tcp_conn_fail(c, status, status, "node %u at %s closed the connection before it was up (%s)", c->peer.rank,
                  c->net->addresses[c->peer.rank], strerror(-status));
}

void tcp_handshake_dial(struct tcp_conn *c)
{
    if (tcp_key_expired(c->net, 0)) {
        dial_refused(c, TL_REFUSE_EXPIRED);
        return;
    }
    c->send_blocked = false;
    c->state = TCP_HELLO;
    c->shake = calloc(1, sizeof *c->shake);
    int rc = c->shake == NULL ? -ENOMEM : tcp_conn_watch(c);
    if (rc == 0) {
        memcpy(c->shake->key, c->net->keys[0].bytes, sizeof c->shake->key);
        tcp_hello_fill(c, c->peer.rank, c->net->key_ids[0], TL_REFUSE_NONE);
        rc = tcp_record_send(c, c->shake->ours, TL_HELLO_SIZE);
    }
    if (rc != 0)
        dial_lost(c, rc);
}

/* The listener's hello is there: is it who we wanted, does it have the key? Then our proof goes out. */
static void dial_answered(struct tcp_conn *c)
{
    struct tcp *t = c->net;
    struct tcp_handshake *s = c->shake;
    const struct tl_hello *h = &s->hello;
    if (h->refusal != TL_REFUSE_NONE) {
        dial_refused(c, h->refusal);
        return;
    }
    enum tl_refusal refusal = TL_REFUSE_NONE;
    if (h->job_id != t->config.job_id)
        refusal = TL_REFUSE_JOB;
    else if (h->encrypt != t->config.encrypt)
        refusal = TL_REFUSE_ENCRYPT;
    else if (h->rank != c->peer.rank || h->target != t->config.rank)
        refusal = TL_REFUSE_TARGET;
    else if (tl_secret_agree(&s->session, s->key, &s->draw, h->public_key, s->ours, s->theirs) != 0 ||
             !tl_secret_proven(s->theirs + TL_HELLO_SIZE, s->key, TL_SECRET_LISTENER, s->session.transcript, 0))
        refusal = TL_REFUSE_KEY;
    uint8_t verdict[TL_VERDICT_SIZE];
    tl_verdict_put(verdict, refusal);
    if (refusal == TL_REFUSE_NONE)
        tl_secret_prove(verdict + 4, s->key, TL_SECRET_DIALLER, s->session.transcript, 0);
    int rc = tcp_record_send(c, verdict, sizeof verdict); /* a refusal is told, too: the other side counts it */
    if (refusal != TL_REFUSE_NONE) {
        dial_refused(c, refusal);
        return;
    }
    if (rc != 0) {
        dial_lost(c, rc);
        return;
    }
    c->state = TCP_VERDICT;
    s->have = 0;
}

void tcp_dial_hello_ready(struct tcp_conn *c)
{
    struct tcp_handshake *s = c->shake;
    /* The prefix first: the hello of another version may be shorter than ours. */
    int rc = 0;
    if (s->have < TL_HELLO_PREFIX_SIZE)
        rc = tcp_record_receive(c, s->theirs, &s->have, TL_HELLO_PREFIX_SIZE);
    struct tl_hello_prefix prefix;
    int used = tl_hello_prefix_get(s->theirs, s->have, &prefix);
    if (used < 0) {
        dial_stranger(c);
        return;
    }
    if (used > 0 && (prefix.version != c->net->config.protocol_version || prefix.wire != TL_WIRE_VERSION)) {
        dial_version(c, &prefix);
        return;
    }
    if (rc == 0)
        rc = tcp_record_receive(c, s->theirs, &s->have, TL_ANSWER_SIZE);
    if (rc == -EAGAIN)
        return;
    if (rc != 0)
        dial_lost(c, rc);
    else if (tl_hello_get(s->theirs, s->have, &s->hello) <= 0 || !s->hello.listener)
        dial_stranger(c);
    else
        dial_answered(c);
}

void tcp_dial_verdict_ready(struct tcp_conn *c)
{
    struct tcp_handshake *s = c->shake;
    int rc = tcp_record_receive(c, s->verdict, &s->have, TL_VERDICT_SIZE);
    if (rc == -EAGAIN)
        return;
    if (rc != 0) {
        dial_lost(c, rc);
        return;
    }
    struct tl_verdict v;
    if (tl_verdict_get(s->verdict, s->have, &v) <= 0) {
        dial_stranger(c);
        return;
    }
    if (!tl_secret_proven(v.proof, s->key, TL_SECRET_VERDICT, s->session.transcript, (uint32_t)v.refusal)) {
        dial_refused(c, TL_REFUSE_KEY);
        return;
    }
    if (v.refusal == TL_REFUSE_NONE) {
        tcp_conn_up(c);
    } else if (v.refusal == TL_REFUSE_DUPLICATE) {
        tcp_conn_expect(c);
    } else {
        dial_refused(c, v.refusal);
    }
}
