// SPDX-License-Identifier: Apache-2.0
/* The TCP transport among enemies: garbage, strangers, and a man in the middle who flips, repeats, swaps and cuts.
 * `test_net_hostile encrypt`: with encryption. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/time.h"
#include "net/frame.h"
#include "net/proxy.h"

#define BOUND_NS    (10 * TL_NS_PER_S)
#define REGION_SIZE (4u << 20)

static bool encrypt;

/* Node 0 dials node 1 through the proxy; node 1 listens for itself. */
static struct stage {
    struct proxy proxy;
    char text[2][LOOPBACK_ADDRESS_MAX];
    const char *seen_by[2][2]; /* node list of each node */
    struct tl_net *nets[2];
    struct tl_peer peers[2]; /* of the latest UP */
    bool live[2];
    uint8_t *memory;
    int memory_fd;
    uint32_t ups[2], downs[2], messages[2], reads[2], sents[2];
    int down_status[2], read_status[2];
    uint64_t skew_ns; /* the nodes' clock is ahead by this */
} g;

static uint64_t now_ns(void)
{
    return tl_time_mono_ns() + g.skew_ns;
}

static int stage_setup(void **state)
{
    (void)state;
    memset(&g, 0, sizeof g);
    loopback_address(g.text[0]);
    loopback_address(g.text[1]);
    proxy_open(&g.proxy, g.text[1]);
    g.memory_fd = memfd_create("tiercel-test", MFD_CLOEXEC);
    assert_int_equal(ftruncate(g.memory_fd, REGION_SIZE), 0);
    g.memory = mmap(NULL, REGION_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, g.memory_fd, 0);
    assert_true(g.memory != MAP_FAILED);
    memset(g.memory, 0x11, REGION_SIZE / 2);
    for (uint32_t i = 0; i < 2; i++) {
        g.seen_by[i][0] = g.text[0];
        g.seen_by[i][1] = i == 0 ? g.proxy.address : g.text[1];
        struct tl_net_config config = {.rank = i,
                                       .node_count = 2,
                                       .addresses = g.seen_by[i],
                                       .job_id = 1,
                                       .protocol_version = 1,
                                       .encrypt = encrypt};
        struct tl_error err = {0};
        if (tl_net_tcp_open(&g.nets[i], &config, &err) != 0)
            fail_msg("%s", err.msg);
        assert_int_equal(
            g.nets[i]->ops->expose(g.nets[i], g.memory_fd, g.memory, REGION_SIZE, TL_REGION_SERVE | TL_REGION_LAND), 0);
    }
    return 0;
}

static int stage_teardown(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2; i++)
        if (g.nets[i] != NULL)
            g.nets[i]->ops->close(g.nets[i]);
    proxy_close(&g.proxy);
    munmap(g.memory, REGION_SIZE);
    close(g.memory_fd);
    return 0;
}

static void note(uint32_t i, struct tl_net_event *ev)
{
    switch (ev->type) {
    case TL_NET_UP:
        g.ups[i]++;
        g.peers[i] = ev->peer;
        g.live[i] = true;
        return;
    case TL_NET_DOWN:
        g.downs[i]++;
        g.down_status[i] = ev->status;
        g.live[i] = false;
        return;
    case TL_NET_MESSAGE:
        g.messages[i]++;
        g.nets[i]->ops->release(g.nets[i], ev);
        return;
    case TL_NET_READ:
        g.reads[i]++;
        g.read_status[i] = ev->status;
        return;
    case TL_NET_SENT: g.sents[i]++; return;
    case TL_NET_WRITABLE: return;
    }
}

/* Both nodes and the proxy, once; waits up to a millisecond when nothing moves. */
static void turn(void)
{
    struct pollfd fds[5];
    nfds_t count = 0;
    bool busy = proxy_turn(&g.proxy);
    for (uint32_t i = 0; i < 2; i++) {
        struct tl_net_event events[8];
        uint64_t next;
        int n = g.nets[i]->ops->poll(g.nets[i], events, 8, now_ns());
        for (int k = 0; k < n; k++)
            note(i, &events[k]);
        busy = g.nets[i]->ops->arm(g.nets[i], &next) != 0 || n > 0 || busy;
        fds[count++] = (struct pollfd){.fd = g.nets[i]->ops->fd(g.nets[i]), .events = POLLIN};
    }
    fds[count++] = (struct pollfd){.fd = g.proxy.listen_fd, .events = POLLIN};
    for (int i = 0; i < 2; i++)
        fds[count++] = (struct pollfd){.fd = g.proxy.fds[i], .events = POLLIN};
    poll(fds, count, busy ? 0 : 1);
}

static void turn_until(const uint32_t *counter, uint32_t want)
{
    uint64_t end = tl_time_mono_ns() + BOUND_NS;
    while (*counter < want && tl_time_mono_ns() < end)
        turn();
    assert_true(*counter >= want);
}

static void turns(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        turn();
}

static struct tl_net_stats stats_of(uint32_t i)
{
    struct tl_net_stats s;
    g.nets[i]->ops->stats(g.nets[i], &s);
    return s;
}

static void dial(void)
{
    struct tl_peer peer;
    assert_int_equal(g.nets[0]->ops->connect(g.nets[0], 1, now_ns(), &peer), 0);
}

static void link_up(void)
{
    dial();
    turn_until(&g.ups[0], g.ups[0] + 1);
    turn_until(&g.ups[1], 1);
}

static void say(uint32_t from, const char *text)
{
    assert_int_equal(g.nets[from]->ops->send(g.nets[from], g.peers[from], text, (uint32_t)strlen(text), NULL, 0), 0);
}

/* Whatever happened before: the two can still talk. */
static void assert_sound(void)
{
    g.proxy.meddle = NULL;
    if (!g.live[0])
        link_up();
    uint32_t had = g.messages[1];
    say(0, "sound");
    turn_until(&g.messages[1], had + 1);
}

/* ---- strangers ---- */

/* Reads from a raw connection while the nodes run, until the other side closes it. */
static size_t read_to_end(int fd, uint8_t *out, size_t room)
{
    size_t have = 0;
    uint64_t end = tl_time_mono_ns() + BOUND_NS;
    while (tl_time_mono_ns() < end) {
        turn();
        ssize_t n = recv(fd, out + have, room - have, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return have;
        have += n > 0 ? (size_t)n : 0;
    }
    fail_msg("the connection is still open");
    return 0;
}

static void garbage_is_closed_and_counted(void **state)
{
    (void)state;
    static const char *const garbage[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "\n",
                                          "TIERCEX", "TIERCEL"};
    uint8_t back[64];
    for (uint32_t i = 0; i < 4; i++) {
        int fd = proxy_dial(g.text[1]);
        assert_true(send(fd, garbage[i], strlen(garbage[i]), MSG_NOSIGNAL) > 0);
        assert_int_equal(read_to_end(fd, back, sizeof back), 0);
        close(fd);
        assert_int_equal(stats_of(1).bad_frames, i + 1);
    }
    /* Sound magic, then noise. */
    uint8_t noise[TL_HELLO_SIZE];
    memset(noise, 0xa5, sizeof noise);
    tl_hello_prefix_put(noise, &(struct tl_hello_prefix){.version = 1, .wire = TL_WIRE_VERSION, .len = 9999});
    int fd = proxy_dial(g.text[1]);
    assert_true(send(fd, noise, sizeof noise, MSG_NOSIGNAL) > 0);
    assert_int_equal(read_to_end(fd, back, sizeof back), 0);
    close(fd);
    assert_int_equal(stats_of(1).bad_frames, 5);
    assert_sound();
}

static void any_version_is_answered_with_ours(void **state)
{
    (void)state;
    uint8_t hello[300] = {0}, back[64];
    tl_hello_prefix_put(hello, &(struct tl_hello_prefix){.version = 77, .wire = 9, .len = 300});
    int fd = proxy_dial(g.text[1]);
    assert_true(send(fd, hello, sizeof hello, MSG_NOSIGNAL) > 0);
    for (int i = 0; i < 2; i++)
        turns(20);
    shutdown(fd, SHUT_WR);
    assert_int_equal(read_to_end(fd, back, sizeof back), TL_HELLO_PREFIX_SIZE);
    struct tl_hello_prefix prefix;
    assert_int_equal(tl_hello_prefix_get(back, TL_HELLO_PREFIX_SIZE, &prefix), TL_HELLO_PREFIX_SIZE);
    assert_int_equal(prefix.version, 1);
    assert_int_equal(prefix.wire, TL_WIRE_VERSION);
    assert_int_equal(stats_of(1).version_mismatches, 1);
    close(fd);
    assert_sound();
}

static void silent_strangers_have_a_deadline(void **state)
{
    (void)state;
    enum { COUNT = 20 };
    int fds[COUNT];
    for (int i = 0; i < COUNT; i++) {
        fds[i] = proxy_dial(g.text[1]);
        if (i % 2 == 0) /* half a hello */
            assert_true(send(fds[i], "TIERCEL", 8, MSG_NOSIGNAL) > 0);
    }
    turns(50);
    assert_int_equal(stats_of(1).accepts, COUNT);
    assert_sound();
    g.skew_ns = 6 * TL_NS_PER_S;
    uint8_t back[8];
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(read_to_end(fds[i], back, sizeof back), 0);
        close(fds[i]);
    }
    assert_int_equal(stats_of(1).auth_failures, COUNT);
    assert_sound();
}

static void a_crowd_of_strangers_does_not_keep_a_peer_out(void **state)
{
    (void)state;
    enum { COUNT = 400 };
    static int fds[COUNT];
    for (int i = 0; i < COUNT; i++) {
        fds[i] = proxy_dial(g.text[1]);
        if (i % 16 == 0)
            turn();
    }
    turns(50);
    assert_true(stats_of(1).accepts < COUNT); /* the rest waits in the kernel, or made others leave */
    g.skew_ns = TL_NS_PER_S;                  /* the first had their time */
    dial();
    uint64_t end = tl_time_mono_ns() + BOUND_NS;
    while (g.ups[1] == 0 && tl_time_mono_ns() < end) {
        turn();
        g.skew_ns += 10 * TL_NS_PER_MS;
        if (g.downs[0] > 0) { /* as an owner does */
            g.downs[0] = 0;
            dial();
        }
    }
    assert_int_equal(g.ups[1], 1);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
}

static void without_descriptors_nothing_spins(void **state)
{
    (void)state;
    struct rlimit old, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    int strangers[4];
    for (int i = 0; i < 4; i++)
        strangers[i] = proxy_dial(g.text[1]);
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(next);
    low = old;
    low.rlim_cur = (rlim_t)next; /* none is left */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    int rounds = 0;
    struct pollfd fd = {.fd = g.nets[1]->ops->fd(g.nets[1]), .events = POLLIN};
    for (; rounds < 50 && poll(&fd, 1, 0) == 1; rounds++) {
        struct tl_net_event ev;
        assert_int_equal(g.nets[1]->ops->poll(g.nets[1], &ev, 1, now_ns()), 0);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_true(rounds < 50);
    for (int i = 0; i < 4; i++)
        close(strangers[i]);
    g.skew_ns = TL_NS_PER_S;
    assert_sound();
}

/* ---- the man in the middle ---- */

enum { UP_SHAKE = TL_HELLO_SIZE + TL_VERDICT_SIZE, DOWN_SHAKE = TL_ANSWER_SIZE + TL_VERDICT_SIZE };

static int flip(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    (void)out;
    if (direction == p->done && p->where >= at && p->where < at + (uint64_t)len) {
        bytes[p->where - at] ^= (uint8_t)(1 << p->bit);
        p->meddle = NULL;
    }
    return len;
}

/* Flips one bit at a position of a direction; p->done holds the direction. */
static void flip_at(int direction, uint64_t where, int bit)
{
    g.proxy.meddle = flip;
    g.proxy.done = direction;
    g.proxy.where = where;
    g.proxy.bit = bit;
}

static void no_changed_handshake_comes_up(void **state)
{
    (void)state;
    uint32_t bit = 0;
    for (int direction = 0; direction < 2; direction++) {
        for (uint64_t where = 0; where < (direction == PROXY_UP ? UP_SHAKE : DOWN_SHAKE); where++, bit += 3) {
            uint32_t downs = g.downs[0];
            flip_at(direction, where, (int)(bit % 8));
            dial();
            for (uint64_t end = tl_time_mono_ns() + BOUND_NS; g.downs[0] == downs && tl_time_mono_ns() < end;) {
                turn();
                if (g.proxy.meddle == NULL && g.skew_ns < 3600 * TL_NS_PER_S)
                    g.skew_ns += TL_NS_PER_S / 10; /* a length that grew is waited for until the deadline */
            }
            assert_int_equal(g.downs[0], downs + 1);
            assert_int_equal(g.ups[0], 0);
            proxy_cut(&g.proxy);
            turns(2);
        }
    }
    assert_sound();
}

static void a_flipped_bit_in_a_frame_closes(void **state)
{
    (void)state;
    const uint32_t lead = TL_FRAME_LEAD + 5;
    for (uint32_t where = 0; where < lead; where++) {
        link_up();
        uint32_t downs = g.downs[1], messages = g.messages[1];
        uint64_t bad = stats_of(1).bad_frames;
        flip_at(PROXY_UP, UP_SHAKE + where, (int)(where % 8));
        say(0, "hello");
        /* A length that grew makes the receiver wait for more: there is more, and then it does not fit. */
        for (uint64_t end = tl_time_mono_ns() + BOUND_NS; g.downs[1] == downs && tl_time_mono_ns() < end; turn()) {
            uint8_t filler[2000] = {0};
            g.nets[0]->ops->send(g.nets[0], g.peers[0], filler, sizeof filler, NULL, 0);
        }
        assert_int_equal(g.downs[1], downs + 1);
        assert_int_equal(g.down_status[1], -EPROTO);
        assert_int_equal(stats_of(1).bad_frames, bad + 1);
        assert_int_equal(g.messages[1], messages);
        turn_until(&g.downs[0], g.ups[0]);
        proxy_cut(&g.proxy);
    }
    assert_sound();
}

/* Frames here are said one at a time, so that each comes to the proxy alone. */
static int repeat(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    (void)p;
    if (direction == PROXY_UP && at >= UP_SHAKE)
        assert_int_equal(send(out, bytes, (size_t)len, MSG_NOSIGNAL), len);
    return len;
}

static int leave_out(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    (void)bytes;
    (void)out;
    bool first = direction == PROXY_UP && at >= UP_SHAKE && p->done == 0;
    p->done += first;
    return first ? 0 : len;
}

static uint8_t kept[256];
static int swap_two(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    if (direction != PROXY_UP || at < UP_SHAKE || p->done > 1)
        return len;
    if (p->done++ == 0) {
        memcpy(kept, bytes, (size_t)len);
        p->bit = len;
        return 0;
    }
    assert_int_equal(send(out, bytes, (size_t)len, MSG_NOSIGNAL), len);
    memcpy(bytes, kept, (size_t)p->bit);
    return p->bit;
}

static int cut_short(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    (void)p;
    if (direction != PROXY_UP || at < UP_SHAKE)
        return len;
    assert_int_equal(send(out, bytes, (size_t)len / 2, MSG_NOSIGNAL), len / 2);
    return -1;
}

static int send_back(struct proxy *p, int direction, uint64_t at, uint8_t *bytes, int len, int out)
{
    (void)out;
    if (direction == PROXY_UP && at >= UP_SHAKE)
        assert_int_equal(send(p->fds[0], bytes, (size_t)len, MSG_NOSIGNAL), len);
    return len;
}

/* Two messages with a meddler; node `victim` loses the connection after `delivered` of them reached node 1. */
static void meddled(int (*meddle)(struct proxy *, int, uint64_t, uint8_t *, int, int), uint32_t victim, int status,
                    uint32_t delivered_max)
{
    link_up();
    uint32_t downs = g.downs[victim], messages = g.messages[1];
    g.proxy.done = 0;
    g.proxy.meddle = meddle;
    say(0, "one");
    turns(5);
    if (g.live[0])
        say(0, "two");
    turn_until(&g.downs[victim], downs + 1);
    assert_int_equal(g.down_status[victim], status);
    assert_true(g.messages[1] - messages <= delivered_max);
    g.proxy.meddle = NULL;
    turn_until(&g.downs[0], g.ups[0]);
    turn_until(&g.downs[1], g.ups[1]);
    proxy_cut(&g.proxy);
    assert_sound();
    g.nets[0]->ops->drop(g.nets[0], g.peers[0]);
    turn_until(&g.downs[1], g.ups[1]);
    turn_until(&g.downs[0], g.ups[0]);
}

static void repeated_swapped_missing_frames_close(void **state)
{
    (void)state;
    meddled(repeat, 1, -EPROTO, 1);
    meddled(leave_out, 1, -EPROTO, 0);
    meddled(swap_two, 1, -EPROTO, 0);
    meddled(send_back, 0, -EPROTO, 2);
    meddled(cut_short, 1, -ECONNRESET, 0);
}

static void a_recorded_session_opens_nothing(void **state)
{
    (void)state;
    link_up();
    say(0, "secret order");
    turn_until(&g.messages[1], 1);
    uint64_t len = g.proxy.passed[PROXY_UP];
    uint8_t *recorded = malloc(len);
    assert_non_null(recorded);
    memcpy(recorded, g.proxy.recorded[PROXY_UP], len);
    int fd = proxy_dial(g.text[1]);
    assert_true(send(fd, recorded, len, MSG_NOSIGNAL) > 0);
    turns(20);
    shutdown(fd, SHUT_WR);
    uint8_t back[512];
    read_to_end(fd, back, sizeof back);
    close(fd);
    free(recorded);
    assert_int_equal(g.ups[1], 1);
    assert_int_equal(g.downs[1], 0);
    assert_int_equal(g.messages[1], 1);
    assert_int_equal(stats_of(1).auth_failures, 1);
    assert_sound();
}

static void a_flipped_bit_of_bulk(void **state)
{
    (void)state;
    link_up();
    const uint32_t len = 100000;
    flip_at(PROXY_DOWN, DOWN_SHAKE + TL_FRAME_LEAD + TL_BULK_BODY_SIZE + 777, 3);
    assert_int_equal(g.nets[0]->ops->read(g.nets[0], g.peers[0], 0, 0, 0, REGION_SIZE / 2, len, now_ns() + BOUND_NS, 1),
                     0);
    turn_until(&g.reads[0], 1);
    if (encrypt) { /* caught here */
        assert_true(g.read_status[0] < 0);
        turn_until(&g.downs[0], 1);
        assert_int_equal(g.down_status[0], -EPROTO);
    } else { /* the owner's digest has to catch it: exactly this one byte is wrong */
        assert_int_equal(g.read_status[0], 0);
        const uint8_t *land = g.memory + REGION_SIZE / 2;
        for (uint32_t i = 0; i < len; i++)
            assert_int_equal(land[i], i == 777 ? 0x11 ^ 8 : 0x11);
    }
}

static void nothing_of_a_message_is_readable_when_encrypted(void **state)
{
    (void)state;
    link_up();
    static const char text[] = "a sentence that must not be seen";
    memcpy(g.memory, text, sizeof text);
    struct tl_net_payload payload = {.region = 0, .offset = 0, .len = 4096};
    assert_int_equal(g.nets[0]->ops->send(g.nets[0], g.peers[0], text, sizeof text, &payload, 0), 0);
    assert_int_equal(
        g.nets[0]->ops->read(g.nets[0], g.peers[0], 0, 0, 0, REGION_SIZE / 2, 50000, now_ns() + BOUND_NS, 1), 0);
    turn_until(&g.reads[0], 1);
    turn_until(&g.messages[1], 1);
    bool up = memmem(g.proxy.recorded[PROXY_UP], g.proxy.passed[PROXY_UP], text, sizeof text) != NULL;
    bool down = memmem(g.proxy.recorded[PROXY_DOWN], g.proxy.passed[PROXY_DOWN], text, sizeof text) != NULL;
    assert_int_equal(up, !encrypt);
    assert_int_equal(down, !encrypt);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, stage_setup, stage_teardown)

int main(int argc, char **argv)
{
    encrypt = argc > 1 && strcmp(argv[1], "encrypt") == 0;
    const struct CMUnitTest tests[] = {
        CASE(garbage_is_closed_and_counted),
        CASE(any_version_is_answered_with_ours),
        CASE(silent_strangers_have_a_deadline),
        CASE(a_crowd_of_strangers_does_not_keep_a_peer_out),
        CASE(without_descriptors_nothing_spins),
        CASE(no_changed_handshake_comes_up),
        CASE(a_flipped_bit_in_a_frame_closes),
        CASE(repeated_swapped_missing_frames_close),
        CASE(a_recorded_session_opens_nothing),
        CASE(a_flipped_bit_of_bulk),
        CASE(nothing_of_a_message_is_readable_when_encrypted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
