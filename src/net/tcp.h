// SPDX-License-Identifier: Apache-2.0
/* The inside of the TCP transport, shared by the tcp*.c files and by transports stacked on it (ofi).
 *
 * One instance: an inner epoll, a listening socket, connections, a table of peers by rank, regions, and a queue of
 * events that poll() hands out. Everything belongs to one owner thread.
 *
 *     tcp.c            open, close, regions, counters, the table of functions
 *     tcp_address.c    "host:port" to socket addresses
 *     tcp_listen.c     accepting, and what to do when too many come or descriptors run out
 *     tcp_connect.c    dialling
 *     tcp_handshake*.c who is it, and which of two connections survives
 *     tcp_conn.c       a connection's life: up, failed, dropped; who completes what
 *     tcp_rekey.c      other keys for connections that are up
 *     tcp_send.c       the send queue: messages and slices in the order of the wire
 *     tcp_receive.c    bytes to frames to events
 *     tcp_bulk.c       read(), and serving the peers' reads
 *     tcp_poll.c       poll(), arm(), deadlines
 *
 * Completions cost no allocation when they happen: the event lies inside the operation that was accepted. */
#ifndef TL_NET_TCP_H
#define TL_NET_TCP_H

#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "net/frame.h"
#include "net/secret.h"
#include "net/transport.h"

#define TCP_REGION_MAX      1024u
#define TCP_ADDRESS_MAX     4u             /* addresses tried for one name */
#define TCP_HANDSHAKE_NS    5000000000ull  /* from dialling or accepting until up */
#define TCP_LINGER_NS       1000000000ull  /* for a refused peer to read why */
#define TCP_REKEY_NS        10000000000ull /* for a peer to prove a key that counts, after its own was retired */
#define TCP_STRANGERS_MAX   128u           /* connections that have not proven anything yet */
#define TCP_INBOUND_SPARE   64u            /* inbound_max 0: one for each node and these */
#define TCP_ACCEPT_BATCH    32u            /* a poll round */
#define TCP_QUEUE_BYTES_MAX (1u << 20)     /* waiting to be sent to one peer, then -EAGAIN */
#define TCP_QUEUE_COUNT_MAX 4096u
#define TCP_READS_MAX       256u                /* reads outstanding at one peer, then -EAGAIN */
#define TCP_SERVES_MAX      (2 * TCP_READS_MAX) /* asked of us by one peer at once; more is an offence */
#define TCP_HELD_BYTES_MAX  (1u << 20)          /* received from one peer, not yet released: then we stop reading */
#define TCP_SEND_BUDGET     (512u << 10)        /* bytes to one peer in one poll round, then the next peer's turn */
#define TCP_RECEIVE_BUDGET  (512u << 10)
#define TCP_SCRATCH_SIZE    (256u << 10)
#define TCP_SENDFILE_MIN    (16u << 10) /* smaller slices are copied: one call for head and data */
#define TCP_NEVER           UINT64_MAX

/* Beside enum tl_net_event_type, for stacked transports only: a TL_FRAME_SIDE from a peer; release() it. */
enum { TCP_EVENT_SIDE = 100 };

struct tcp;
struct tcp_conn;

struct tcp_event {
    struct tl_net_event ev;
    struct tcp_event *next;
};

struct tcp_queue {
    struct tcp_event *first, *last;
};

/* A message, until release(); also the buffer of an encrypted frame. */
struct tcp_message {
    struct tcp_event event;
    uint32_t size; /* of bytes */
    uint8_t bytes[];
};

/* One thing to send: bytes, then optionally data that lies elsewhere. */
struct tcp_item {
    struct tcp_item *next;
    struct tcp_event sent; /* SENT, if wants_sent */
    const uint8_t *data;   /* NULL: none, or from the region's descriptor */
    uint64_t data_offset;  /* in the region */
    uint32_t bytes_len, data_len, done;
    uint32_t cost; /* what it takes of the queue's limit; 0 for slices */
    int region;    /* held until the item is gone; -1: none */
    bool by_sendfile, wants_sent, slice;
    uint8_t bytes[];
};

/* A read of ours. */
struct tcp_read {
    struct tcp_read *next; /* in order of asking, which is the order of answers */
    struct tcp_event event;
    uint64_t id, deadline_ns, dst_offset;
    uint32_t dst_region, len, done;
    bool given_up; /* its READ was given; what still comes is thrown away */
};

/* A peer's read that we serve. */
struct tcp_serve {
    struct tcp_serve *next;
    uint64_t id, offset;
    uint32_t region, len, done;
    int status;
};

enum tcp_state {
    TCP_CONNECTING = 1, /* dialler: TCP is not connected yet */
    TCP_HELLO,          /* waiting for the other side's hello */
    TCP_VERDICT,        /* waiting for the other side's verdict */
    TCP_EXPECTING,      /* dialler: told that the peer's own connection wins; no socket, it has to come */
    TCP_UP,
    TCP_LINGERING, /* refused: waiting until the peer has read why */
    TCP_CLOSED,
};

struct tcp_handshake {
    struct tl_secret_draw draw;
    struct tl_secret_session session;
    uint8_t ours[TL_HELLO_SIZE], theirs[TL_ANSWER_SIZE];
    uint32_t have; /* bytes of theirs, or of verdict */
    uint8_t verdict[TL_VERDICT_SIZE];
    struct tl_hello hello;        /* theirs, decoded */
    uint8_t key[TL_JOB_KEY_SIZE]; /* the one that both prove; the node's may change meanwhile */
};

struct tcp_receiver {
    uint8_t *part; /* TL_FRAME_LEAD + TL_FRAME_BODY_MAX bytes: the start of a frame */
    uint32_t part_len;
    uint8_t *to; /* data goes here; NULL: thrown away */
    uint32_t left;
    struct tl_frame frame;       /* the one whose data is coming */
    struct tcp_message *message; /* its message, if it is one */
    struct tcp_read *read;       /* its read, if it is a slice */
};

struct tcp_conn {
    struct tcp_conn *prev, *next; /* all open ones, then the graveyard */
    struct tcp_conn *next_dirty;
    struct tcp *net;
    int fd;
    enum tcp_state state;
    bool dialler, dirty, owned; /* owned: it is its peer's connection, and answers for the handle */
    bool send_blocked, receive_paused, wants_writable, writable_queued, down_queued;
    uint32_t armed;        /* epoll events asked for */
    struct tl_peer peer;   /* valid when owned */
    uint64_t instance, id; /* of the peer's process; of this connection */
    uint8_t transcript[32];
    uint32_t proven_key_id, told_key_id; /* the key that the peer has last proven, and we */
    uint64_t deadline_ns, since_ns;
    uint32_t address_index;
    struct tcp_handshake *shake; /* until up */
    struct tl_secret_stream tx, rx;
    struct tcp_item *items, *items_last;
    uint32_t queued_bytes, queued_count, queued_slices; /* queued_slices: bytes */
    struct tcp_read *reads, *reads_last;
    uint32_t read_count;
    struct tcp_serve *serves, *serves_last;
    uint32_t serve_count;
    uint32_t held_bytes; /* of messages not yet released */
    struct tcp_receiver in;
    struct tcp_event up, down, writable;
    char why[320];
};

struct tcp_addresses {
    uint32_t count;
    struct {
        struct sockaddr_storage addr;
        socklen_t len;
    } list[TCP_ADDRESS_MAX];
};

struct tcp_peer {
    struct tcp_conn *conn;           /* dialling or up; NULL: neither */
    struct tcp_addresses *addresses; /* resolved at the first connect() */
    uint64_t known;                  /* id of the last connection that was up */
    uint32_t gen;
};

struct tcp_region {
    int fd; /* -1: none, or unused */
    uint8_t *base;
    size_t len;
    unsigned flags; /* 0: unused */
    uint32_t holds; /* operations that use it */
};

struct tcp {
    struct tl_net base;          /* first */
    struct tl_net_config config; /* addresses: our own copy */
    struct tl_net_key keys[TL_NET_KEYS_MAX];
    uint32_t key_ids[TL_NET_KEYS_MAX], key_count;
    char **addresses;
    int epoll_fd, listen_fd, reserve_fd, side_fd; /* epoll_fd: config.epoll_fd, if that is given */
    bool side_enabled, side_ready; /* a stacked transport: gets SIDE events; its descriptor is readable */
    bool listen_paused;
    uint64_t now_ns, next_deadline_ns, instance, next_read_id;
    uint32_t stranger_count, inbound_count;
    struct tcp_peer *peers; /* by rank */
    struct tcp_region regions[TCP_REGION_MAX];
    struct tcp_conn *conns, *graveyard, *dirty;
    struct tcp_queue queue;
    struct tl_net_stats stats;
    uint8_t scratch[TCP_SCRATCH_SIZE];
};

/* tcp_address.c */
int tcp_address_check(const char *address, struct tl_error *err); /* "host:port", "[v6]:port"; 0, -EINVAL */
/* May wait for the name service when host is a name. 0, -EHOSTUNREACH, -ENOMEM. */
int tcp_address_resolve(const char *address, bool passive, struct tcp_addresses *out, struct tl_error *err);

/* tcp_listen.c */
int tcp_listen_open(struct tcp *t, struct tl_error *err);
void tcp_listen_ready(struct tcp *t);
void tcp_listen_resume(struct tcp *t);
int tcp_socket_options(int fd);

/* tcp_connect.c */
int tcp_connect(struct tl_net *net, uint32_t rank, uint64_t now_ns, struct tl_peer *out);
void tcp_connect_ready(struct tcp_conn *c);

/* tcp_handshake.c */
void tcp_handshake_ready(struct tcp_conn *c);
void tcp_linger_ready(struct tcp_conn *c);
int tcp_record_send(struct tcp_conn *c, const void *bytes, size_t len); /* 0, -errno */
/* Fills into[*have..want). 0: all there; -EAGAIN, -ECONNRESET (end), -errno. */
int tcp_record_receive(struct tcp_conn *c, uint8_t *into, uint32_t *have, uint32_t want);
/* Draws, encodes into shake->ours. */
void tcp_hello_fill(struct tcp_conn *c, uint32_t target, uint32_t key_id, enum tl_refusal refusal);

/* tcp_handshake_dial.c */
void tcp_handshake_dial(struct tcp_conn *c); /* TCP is connected: say hello */
void tcp_dial_hello_ready(struct tcp_conn *c);
void tcp_dial_verdict_ready(struct tcp_conn *c);

/* tcp_conn.c */
struct tcp_conn *tcp_conn_new(struct tcp *t, bool dialler);
void tcp_conn_free(struct tcp_conn *c);
int tcp_conn_watch(struct tcp_conn *c); /* tells epoll what to wait for */
void tcp_conn_own(struct tcp_conn *c, uint32_t rank, uint32_t gen);
void tcp_conn_up(struct tcp_conn *c);
void tcp_conn_expect(struct tcp_conn *c); /* our dial lost to the peer's, which has to arrive */
/* Ends c without a word to the owner: strangers, and a dial that lost to the peer's own. */
void tcp_conn_discard(struct tcp_conn *c);
/* Ends c: everything outstanding ends with `ended`, then DOWN with `status` and the sentence. */
void tcp_conn_fail(struct tcp_conn *c, int ended, int status, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void tcp_conn_offence(struct tcp_conn *c, const char *what); /* a peer that breaks the protocol: counted, closed */
struct tcp_conn *tcp_conn_find(struct tcp *t, struct tl_peer peer); /* up, or NULL */
int tcp_drop(struct tl_net *net, struct tl_peer peer);
void tcp_event_push(struct tcp *t, struct tcp_event *e);
void tcp_deadline(struct tcp *t, uint64_t deadline_ns); /* poll() is needed by then */

/* tcp_rekey.c */
void tcp_rekey(struct tcp_conn *c);         /* it is up, and the keys may be others than it was made with */
void tcp_rekey_expired(struct tcp_conn *c); /* its deadline is over */
int tcp_again_ready(struct tcp_conn *c, const struct tl_frame_again *again); /* 0, -EBADMSG */

/* tcp_send.c */
int tcp_send(struct tl_net *net, struct tl_peer peer, const void *header, uint32_t header_len,
             const struct tl_net_payload *payload, uint64_t cookie);
struct tcp_item *tcp_item_new(enum tl_frame_type type, const void *body, uint32_t body_len, uint32_t inline_len);
void tcp_item_free(struct tcp *t, struct tcp_item *item);
void tcp_item_sent(struct tcp *t, struct tcp_item *item, int status); /* gives the SENT of an item that wants it */
/* Seals with the next counter and puts into the queue; data of an encrypted item is inline. */
void tcp_item_push(struct tcp_conn *c, struct tcp_item *item, uint32_t body_len, uint32_t inline_len);
bool tcp_queue_full(const struct tcp_conn *c, uint32_t cost);
void tcp_flush(struct tcp_conn *c);
void tcp_flush_dirty(struct tcp *t);
void tcp_dirty(struct tcp_conn *c);
void tcp_writable_check(struct tcp_conn *c);

/* tcp_receive.c */
void tcp_receive(struct tcp_conn *c);
void tcp_release(struct tl_net *net, struct tl_net_event *ev);

/* tcp_bulk.c */
int tcp_read(struct tl_net *net, struct tl_peer peer, uint32_t region, uint64_t offset, uint32_t dst_region,
             uint64_t dst_offset, uint32_t len, uint64_t deadline_ns, uint64_t cookie);
int tcp_serve_add(struct tcp_conn *c, const struct tl_frame_read *ask); /* 0, -EBADMSG, -ENOMEM */
void tcp_serve_fill(struct tcp_conn *c); /* puts slices into the send queue, up to a bound */
/* A slice begins: where its data goes (in.to, in.read). 0, -EBADMSG. */
int tcp_slice_begin(struct tcp_conn *c, const struct tl_frame_bulk *bulk, uint32_t data_len);
void tcp_slice_end(struct tcp_conn *c, uint32_t data_len);
void tcp_slice_refuse(struct tcp_conn *c,
                      int status); /* there is no place for its bytes: the READ ends, the rest is thrown away */
void tcp_reads_expire(struct tcp_conn *c, uint64_t now_ns);
void tcp_reads_fail(struct tcp_conn *c, int status);

/* tcp_poll.c */
int tcp_epoll(struct tcp *t, int op, int fd, uint32_t events, void *what); /* what: a tcp_conn, &listen_fd, &side_fd */
void tcp_ready(struct tl_net *net, uint64_t data, uint32_t events);
int tcp_poll(struct tl_net *net, struct tl_net_event *events, int max, uint64_t now_ns);
int tcp_arm(struct tl_net *net, uint64_t *next_ns);

/* tcp.c: regions */
struct tcp_region *tcp_region_at(struct tcp *t, uint32_t region, uint64_t offset, uint64_t len); /* NULL: not ours */
void tcp_region_hold(struct tcp *t, uint32_t region);
void tcp_region_unhold(struct tcp *t, uint32_t region);

/* For stacked transports: small messages of their own beside the owner's, and a descriptor to watch. */
void tcp_side_enable(struct tl_net *net);
int tcp_side_send(struct tl_net *net, struct tl_peer peer, const void *bytes, uint32_t len); /* as send() */
int tcp_side_watch(struct tl_net *net, int fd);

static inline struct tcp *tcp_of(struct tl_net *net)
{
    return (struct tcp *)net;
}

static inline bool tcp_key_expired(const struct tcp *t, uint32_t i)
{
    return t->keys[i].expires_ns != 0 && t->now_ns >= t->keys[i].expires_ns;
}

static inline bool tcp_lower(const struct tcp *t, uint32_t rank)
{
    return t->config.rank < rank;
}

#endif
