// SPDX-License-Identifier: Apache-2.0
/* The TCP transport among strangers: garbage, silence, crowds. `test_net_hostile encrypt`: with encryption. */
#include "net/hand.h"
#include "net/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void garbage_is_closed_and_counted(void **state)
{
    (void)state;
    static const char *const garbage[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "\n",
                                          "TIERCEX", "TIERCEL"};
    uint8_t back[64];
    for (uint32_t i = 0; i < 4; i++) {
        int fd = proxy_dial(stage.text[1]);
        assert_true(send(fd, garbage[i], strlen(garbage[i]), MSG_NOSIGNAL) > 0);
        assert_int_equal(read_to_end(fd, back, sizeof back), 0);
        close(fd);
        assert_int_equal(stats_of(1).bad_frames, i + 1);
    }
    /* Sound magic, then noise. */
    uint8_t noise[TL_HELLO_SIZE];
    memset(noise, 0xa5, sizeof noise);
    tl_hello_prefix_put(noise, &(struct tl_hello_prefix){.version = 1, .wire = TL_WIRE_VERSION, .len = 9999});
    int fd = proxy_dial(stage.text[1]);
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
    int fd = proxy_dial(stage.text[1]);
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
        fds[i] = proxy_dial(stage.text[1]);
        if (i % 2 == 0) /* half a hello */
            assert_true(send(fds[i], "TIERCEL", 8, MSG_NOSIGNAL) > 0);
    }
    turns(50);
    assert_int_equal(stats_of(1).accepts, COUNT);
    assert_sound();
    stage.skew_ns = 6 * TL_NS_PER_S;
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
        fds[i] = proxy_dial(stage.text[1]);
        if (i % 16 == 0)
            turn();
    }
    turns(50);
    assert_true(stats_of(1).accepts < COUNT); /* the rest waits in the kernel, or made others leave */
    stage.skew_ns = TL_NS_PER_S;              /* the first had their time */
    dial();
    uint64_t end = tl_time_mono_ns() + STAGE_BOUND_NS;
    while (stage.ups[1] == 0 && tl_time_mono_ns() < end) {
        turn();
        stage.skew_ns += 10 * TL_NS_PER_MS;
        if (stage.downs[0] > 0) { /* as an owner does */
            stage.downs[0] = 0;
            dial();
        }
    }
    assert_int_equal(stage.ups[1], 1);
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
        strangers[i] = proxy_dial(stage.text[1]);
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(next);
    low = old;
    low.rlim_cur = (rlim_t)next; /* none is left */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    int rounds = 0;
    struct pollfd fd = {.fd = stage.nets[1]->ops->fd(stage.nets[1]), .events = POLLIN};
    for (; rounds < 50 && poll(&fd, 1, 0) == 1; rounds++) {
        struct tl_net_event ev;
        assert_int_equal(stage.nets[1]->ops->poll(stage.nets[1], &ev, 1, stage_now_ns()), 0);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_true(rounds < 50);
    for (int i = 0; i < 4; i++)
        close(strangers[i]);
    stage.skew_ns = TL_NS_PER_S;
    assert_sound();
}

/* The clock goes on by this in each turn. */
static void turn_at_pace(uint64_t ns)
{
    stage.skew_ns += ns;
    turn();
}

static void a_byte_at_a_time_gains_no_time(void **state)
{
    (void)state;
    uint8_t hello[TL_HELLO_SIZE], back[8];
    tl_hello_put(hello, &(struct tl_hello){.prefix = {.version = 1, .wire = TL_WIRE_VERSION, .len = TL_HELLO_SIZE}});
    int fd = proxy_dial(stage.text[1]);
    uint32_t said = 0;
    for (; said < sizeof hello && recv(fd, back, sizeof back, MSG_DONTWAIT) != 0; said++) {
        send(fd, hello + said, 1, MSG_NOSIGNAL);
        turn_at_pace(TL_NS_PER_S / 10);
    }
    assert_in_range(said, 20, 60); /* ten bytes a second, for five seconds at most */
    close(fd);
    assert_int_equal(stats_of(1).auth_failures, 1);
    assert_sound();
}

static void a_handshake_that_is_never_finished_ends(void **state)
{
    (void)state;
    struct hand silent, slow;
    uint8_t none[TL_VERDICT_SIZE] = {0};
    hand_dial(&silent, stage.text[1], hand_honest(0, 1, false));
    hand_dial(&slow, stage.text[1], hand_honest(2, 1, false));
    assert_true(hand_take_answer(&silent) && hand_take_answer(&slow));
    for (uint32_t i = 0; i < 30; i++) {
        if (i % 2 == 0)
            hand_send(&slow, none, 1);
        turn_at_pace(TL_NS_PER_S / 10);
    }
    assert_int_equal(stats_of(1).auth_failures, 0);
    turn_at_pace(3 * TL_NS_PER_S);
    hand_assert_closed(&silent);
    hand_assert_closed(&slow);
    assert_int_equal(stats_of(1).auth_failures, 2);
    hand_close(&silent);
    hand_close(&slow);
    assert_sound();
}

/* Whoever of the crowd is sent away comes back at once, to the end of the queue. Half of them say a sound hello. */
static void crowd_again(int *fds, int count)
{
    uint8_t back[TL_ANSWER_SIZE];
    for (int i = 0; i < count; i++) {
        ssize_t n = fds[i] < 0 ? 0 : recv(fds[i], back, sizeof back, MSG_DONTWAIT);
        if (n > 0 || (n < 0 && errno == EAGAIN))
            continue;
        if (fds[i] >= 0)
            close(fds[i]);
        struct hand h = {.fd = -1};
        if (i % 2 == 0)
            h.fd = proxy_dial(stage.text[1]);
        else
            hand_dial(&h, stage.text[1], hand_honest(2, 1, false));
        fds[i] = h.fd;
    }
}

/* The tier is small, so that its limit for all connections is below that for strangers. */
static void a_crowd_that_comes_again_keeps_nobody_out(void **state)
{
    (void)state;
    enum { COUNT = 250, UP_BY_S = 5 };
    static int fds[COUNT];
    memset(fds, 0xff, sizeof fds);
    for (int i = 0; i < COUNT; i += 25) { /* the proxy's connection to node 1 is one of them */
        crowd_again(fds, i + 25);
        turn();
    }
    turns(20);
    assert_true(stats_of(1).accepts <= 128);
    uint64_t began = stage.skew_ns;
    dial();
    for (uint64_t end = tl_time_mono_ns() + STAGE_BOUND_NS; !stage.live[0] && tl_time_mono_ns() < end;) {
        crowd_again(fds, COUNT);
        turn_at_pace(20 * TL_NS_PER_MS);
        assert_int_equal(stage.downs[0], 0);
    }
    assert_true(stage.live[0]);
    assert_true(stage.skew_ns - began < UP_BY_S * TL_NS_PER_S);
    for (int i = 0; i < 20; i++) { /* who is in is not disturbed */
        crowd_again(fds, COUNT);
        uint32_t had = stage.messages[1];
        say(0, "in");
        turn_until(&stage.messages[1], had + 1);
        turn_at_pace(50 * TL_NS_PER_MS);
    }
    assert_int_equal(stage.downs[0] + stage.downs[1], 0);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
}

int main(int argc, char **argv)
{
    stage_encrypt = argc > 1 && strcmp(argv[1], "encrypt") == 0;
    const struct CMUnitTest tests[] = {
        STAGE_CASE(garbage_is_closed_and_counted),           STAGE_CASE(any_version_is_answered_with_ours),
        STAGE_CASE(silent_strangers_have_a_deadline),        STAGE_CASE(a_crowd_of_strangers_does_not_keep_a_peer_out),
        STAGE_CASE(without_descriptors_nothing_spins),       STAGE_CASE(a_byte_at_a_time_gains_no_time),
        STAGE_CASE(a_handshake_that_is_never_finished_ends), STAGE_CASE(a_crowd_that_comes_again_keeps_nobody_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
