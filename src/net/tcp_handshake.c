// SPDX-License-Identifier: Apache-2.0
/* Who is on the other side, and which of two connections between the same two nodes survives.
 *
 * The records are in frame.h, the proofs in secret.h. Until a proof is checked, a stranger costs one small struct and a
 * descriptor; strangers are few (tcp_listen.c) and have a deadline.
 *
 * Two nodes may dial each other at once. The dial of the lower rank wins: the lower rank refuses the other's dial while
 * its own is under way; the higher rank gives up its own for the lower's. A dial that comes while a connection is up
 * replaces that connection if the peer must have lost it: its process is another (`instance`), or it had dialled that
 * connection, too, or it says in `known` that it had seen it up. Otherwise the two dials crossed, and the new one is
 * refused. Exactly one survives, and a handle that connect() returned passes to whichever does. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/tcp.h"

/* Handshake records are smaller than any socket buffer that was empty before: what does not go out at once means that
 * the connection is dead. */
int tcp_record_send(struct tcp_conn *c, const void *bytes, size_t len)
{
    ssize_t n = send(c->fd, bytes, len, MSG_NOSIGNAL);
    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -ECONNRESET;
}

int tcp_record_receive(struct tcp_conn *c, uint8_t *into, uint32_t *have, uint32_t want)
{
    ssize_t n = recv(c->fd, into + *have, want - *have, 0);
    if (n < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    if (n == 0)
        return -ECONNRESET;
    *have += (uint32_t)n;
    return *have == want ? 0 : -EAGAIN;
}

void tcp_hello_fill(struct tcp_conn *c, uint32_t target, uint32_t key_id, enum tl_refusal refusal)
{
    struct tcp *t = c->net;
    tl_secret_draw(&c->shake->draw);
    struct tl_hello h = {
        .prefix = {.version = t->config.protocol_version,
                   .wire = TL_WIRE_VERSION,
                   .len = c->dialler ? TL_HELLO_SIZE : TL_ANSWER_SIZE},
        .listener = !c->dialler,
        .encrypt = t->config.encrypt,
        .refusal = refusal,
        .rank = t->config.rank,
        .target = target,
        .key_id = key_id,
        .job_id = t->config.job_id,
        .instance = t->instance,
        .known = c->dialler ? t->peers[target].known : 0,
    };
    memcpy(h.nonce, c->shake->draw.nonce, sizeof h.nonce);
    memcpy(h.public_key, c->shake->draw.public_key, sizeof h.public_key);
    tl_hello_put(c->shake->ours, &h);
}

/* ---- the listener ---- */

/* Closes a stranger's connection after it had time to read why. What it still sends is thrown away: closing with unread
 * bytes would reset the connection and could take our answer with it. */
static void listener_linger(struct tcp_conn *c)
{
    shutdown(c->fd, SHUT_WR);
    c->state = TCP_LINGERING;
    c->deadline_ns = c->net->now_ns + TCP_LINGER_NS;
    tcp_deadline(c->net, c->deadline_ns);
}

static void listener_version(struct tcp_conn *c)
{
    uint8_t prefix[TL_HELLO_PREFIX_SIZE];
    c->net->stats.version_mismatches++;
    tl_hello_prefix_put(prefix, &(struct tl_hello_prefix){.version = c->net->config.protocol_version,
                                                          .wire = TL_WIRE_VERSION,
                                                          .len = TL_HELLO_PREFIX_SIZE});
    if (tcp_record_send(c, prefix, sizeof prefix) == 0)
        listener_linger(c);
    else
        tcp_conn_discard(c);
}

static enum tl_refusal listener_judge(const struct tcp *t, const struct tl_hello *h)
{
    if (h->job_id != t->config.job_id)
        return TL_REFUSE_JOB;
    if (h->encrypt != t->config.encrypt)
        return TL_REFUSE_ENCRYPT;
    if (h->rank >= t->config.node_count || h->rank == t->config.rank)
        return TL_REFUSE_RANK;
    return h->target == t->config.rank ? TL_REFUSE_NONE : TL_REFUSE_TARGET;
}

/* The key that the dialler is going to prove, into the handshake. */
static enum tl_refusal listener_choose_key(struct tcp *t, struct tcp_handshake *s)
{
    for (uint32_t i = 0; i < t->key_count; i++) {
        if (t->key_ids[i] != s->hello.key_id)
            continue;
        if (tcp_key_expired(t, i))
            return TL_REFUSE_EXPIRED;
        memcpy(s->key, t->keys[i].bytes, sizeof s->key);
        return TL_REFUSE_NONE;
    }
    return TL_REFUSE_KEY;
}

/* The dialler's hello is there: ours goes out, with our proof or a refusal. */
static void listener_answer(struct tcp_conn *c)
{
    struct tcp *t = c->net;
    struct tcp_handshake *s = c->shake;
    enum tl_refusal refusal = listener_judge(t, &s->hello);
    if (refusal == TL_REFUSE_NONE)
        refusal = listener_choose_key(t, s);
    tcp_hello_fill(c, s->hello.rank, s->hello.key_id, refusal);
    uint8_t answer[TL_ANSWER_SIZE] = {0};
    memcpy(answer, s->ours, TL_HELLO_SIZE);
    if (refusal == TL_REFUSE_NONE) {
        if (tl_secret_agree(&s->session, s->key, &s->draw, s->hello.public_key, s->theirs, s->ours) != 0) {
            t->stats.auth_failures++;
            tcp_conn_discard(c);
            return;
        }
        tl_secret_prove(answer + TL_HELLO_SIZE, s->key, TL_SECRET_LISTENER, s->session.transcript, 0);
    }
    if (tcp_record_send(c, answer, sizeof answer) != 0) {
        tcp_conn_discard(c);
    } else if (refusal != TL_REFUSE_NONE) {
        t->stats.auth_failures++;
        listener_linger(c);
    } else {
        c->state = TCP_VERDICT;
        s->have = 0;
    }
}

static void listener_hello_ready(struct tcp_conn *c)
{
    struct tcp *t = c->net;
    if (c->shake == NULL)
        c->shake = calloc(1, sizeof *c->shake);
    if (c->shake == NULL) {
        tcp_conn_discard(c);
        return;
    }
    struct tcp_handshake *s = c->shake;
    /* No more than a hello is read: a proof has to wait for our answer anyway. */
    int rc = tcp_record_receive(c, s->theirs, &s->have, TL_HELLO_SIZE);
    struct tl_hello_prefix prefix;
    int used = tl_hello_prefix_get(s->theirs, s->have, &prefix);
    if (used < 0 || (used == 0 && rc != 0 && rc != -EAGAIN)) {
        t->stats.bad_frames += s->have > 0;
        tcp_conn_discard(c);
        return;
    }
    if (used > 0 && (prefix.version != t->config.protocol_version || prefix.wire != TL_WIRE_VERSION)) {
        listener_version(c);
        return;
    }
    if (rc == -EAGAIN)
        return;
    if (rc != 0 || tl_hello_get(s->theirs, s->have, &s->hello) <= 0 || s->hello.listener) {
        t->stats.bad_frames++;
        tcp_conn_discard(c);
        return;
    }
    listener_answer(c);
}

/* See the head of this file. The gen to go up with is *gen. */
static bool survives(struct tcp_conn *c, uint32_t *gen)
{
    struct tcp *t = c->net;
    const struct tl_hello *h = &c->shake->hello;
    struct tcp_peer *p = &t->peers[h->rank];
    struct tcp_conn *other = p->conn;
    if (other == NULL) {
        *gen = ++p->gen;
        return true;
    }
    if (other->state == TCP_UP) {
        if (other->instance == h->instance && other->dialler && other->id != h->known)
            return false;
        tcp_conn_fail(other, -ECONNRESET, -ECONNRESET,
                      "node %u at %s connected anew: its daemon was restarted, or had "
                      "lost the connection",
                      h->rank, t->addresses[h->rank]);
        *gen = ++p->gen;
        return true;
    }
    if (other->state != TCP_EXPECTING && tcp_lower(t, h->rank))
        return false;
    *gen = other->peer.gen;
    tcp_conn_discard(other);
    return true;
}

static void listener_verdict_ready(struct tcp_conn *c)
{
    struct tcp *t = c->net;
    struct tcp_handshake *s = c->shake;
    int rc = tcp_record_receive(c, s->verdict, &s->have, TL_VERDICT_SIZE);
    if (rc == -EAGAIN)
        return;
    struct tl_verdict v;
    if (rc != 0 || tl_verdict_get(s->verdict, s->have, &v) <= 0) {
        tcp_conn_discard(c); /* gone, as a dial that lost against ours is */
        return;
    }
    bool proven =
        v.refusal == TL_REFUSE_NONE && tl_secret_proven(v.proof, s->key, TL_SECRET_DIALLER, s->session.transcript, 0);
    uint32_t gen = 0;
    enum tl_refusal refusal = !proven ? TL_REFUSE_KEY : survives(c, &gen) ? TL_REFUSE_NONE : TL_REFUSE_DUPLICATE;
    if (!proven)
        t->stats.auth_failures++;
    uint8_t verdict[TL_VERDICT_SIZE];
    tl_verdict_put(verdict, refusal);
    tl_secret_prove(verdict + 4, s->key, TL_SECRET_VERDICT, s->session.transcript, (uint32_t)refusal);
    rc = tcp_record_send(c, verdict, sizeof verdict);
    if (refusal != TL_REFUSE_NONE) {
        listener_linger(c);
        return;
    }
    tcp_conn_own(c, s->hello.rank, gen);
    if (rc == 0)
        tcp_conn_up(c);
    else /* the gen may be one that connect() promised an answer for */
        tcp_conn_fail(c, rc, rc, "node %u at %s closed the connection before it was up (%s)", c->peer.rank,
                      t->addresses[c->peer.rank], strerror(-rc));
}

void tcp_handshake_ready(struct tcp_conn *c)
{
    if (c->state == TCP_HELLO && c->dialler)
        tcp_dial_hello_ready(c);
    else if (c->state == TCP_HELLO)
        listener_hello_ready(c);
    else if (c->dialler)
        tcp_dial_verdict_ready(c);
    else
        listener_verdict_ready(c);
}

void tcp_linger_ready(struct tcp_conn *c)
{
    struct tcp *t = c->net;
    ssize_t n = recv(c->fd, t->scratch, sizeof t->scratch, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        tcp_conn_discard(c);
}
