// SPDX-License-Identifier: Apache-2.0
#include "net/stage.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

bool stage_encrypt;
struct stage stage;

uint64_t stage_now_ns(void)
{
    return tl_time_mono_ns() + stage.skew_ns;
}

static void open_node(uint32_t i, bool encrypt, uint32_t protocol_version)
{
    struct tl_net_config config = {.rank = i,
                                   .node_count = STAGE_NODES,
                                   .addresses = stage.seen_by[i],
                                   .job_id = 1,
                                   .protocol_version = protocol_version,
                                   .encrypt = encrypt};
    struct tl_error err = {0};
    if (tl_net_tcp_open(&stage.nets[i], &config, &err) != 0)
        fail_msg("%s", err.msg);
    struct tl_net *net = stage.nets[i];
    assert_int_equal(
        net->ops->expose(net, stage.memory_fd, stage.memory, STAGE_REGION_SIZE, TL_REGION_SERVE | TL_REGION_LAND), 0);
}

int stage_setup(void **state)
{
    (void)state;
    memset(&stage, 0, sizeof stage);
    for (uint32_t i = 0; i < STAGE_NODES; i++)
        loopback_address(stage.text[i]);
    proxy_open(&stage.proxy, stage.text[1]);
    stage.memory_fd = memfd_create("tiercel-test", MFD_CLOEXEC);
    assert_int_equal(ftruncate(stage.memory_fd, STAGE_REGION_SIZE), 0);
    stage.memory = mmap(NULL, STAGE_REGION_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, stage.memory_fd, 0);
    assert_true(stage.memory != MAP_FAILED);
    memset(stage.memory, 0x11, STAGE_REGION_SIZE / 2);
    for (uint32_t i = 0; i < 2; i++) {
        stage.seen_by[i][0] = stage.text[0];
        stage.seen_by[i][1] = i == 0 ? stage.proxy.address : stage.text[1];
        stage.seen_by[i][2] = stage.text[2];
        open_node(i, stage_encrypt, 1);
    }
    return 0;
}

void stage_reopen(uint32_t i, bool encrypt, uint32_t protocol_version)
{
    stage.nets[i]->ops->close(stage.nets[i]);
    stage.live[i] = false;
    open_node(i, encrypt, protocol_version);
}

int stage_teardown(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2; i++)
        if (stage.nets[i] != NULL)
            stage.nets[i]->ops->close(stage.nets[i]);
    proxy_close(&stage.proxy);
    munmap(stage.memory, STAGE_REGION_SIZE);
    close(stage.memory_fd);
    return 0;
}

static void note(uint32_t i, struct tl_net_event *ev)
{
    switch (ev->type) {
    case TL_NET_UP:
        stage.ups[i]++;
        stage.peers[i] = ev->peer;
        stage.live[i] = true;
        return;
    case TL_NET_DOWN:
        stage.downs[i]++;
        stage.down_status[i] = ev->status;
        snprintf(stage.why[i], sizeof stage.why[i], "%s", ev->why != NULL ? ev->why : "");
        stage.live[i] = false;
        return;
    case TL_NET_MESSAGE:
        stage.messages[i]++;
        stage.nets[i]->ops->release(stage.nets[i], ev);
        return;
    case TL_NET_READ:
        stage.reads[i]++;
        stage.read_status[i] = ev->status;
        return;
    case TL_NET_SENT: stage.sents[i]++; return;
    case TL_NET_WRITABLE: return;
    }
}

void turn(void)
{
    struct pollfd fds[5];
    nfds_t count = 0;
    bool busy = proxy_turn(&stage.proxy);
    for (uint32_t i = 0; i < 2; i++) {
        struct tl_net_event events[8];
        uint64_t next;
        int n = stage.nets[i]->ops->poll(stage.nets[i], events, 8, stage_now_ns());
        for (int k = 0; k < n; k++)
            note(i, &events[k]);
        busy = stage.nets[i]->ops->arm(stage.nets[i], &next) != 0 || n > 0 || busy;
        fds[count++] = (struct pollfd){.fd = stage.nets[i]->ops->fd(stage.nets[i]), .events = POLLIN};
    }
    fds[count++] = (struct pollfd){.fd = stage.proxy.listen_fd, .events = POLLIN};
    for (int i = 0; i < 2; i++)
        fds[count++] = (struct pollfd){.fd = stage.proxy.fds[i], .events = POLLIN};
    poll(fds, count, busy ? 0 : 1);
}

void turn_until(const uint32_t *counter, uint32_t want)
{
    uint64_t end = tl_time_mono_ns() + STAGE_BOUND_NS;
    while (*counter < want && tl_time_mono_ns() < end)
        turn();
    assert_true(*counter >= want);
}

void turns(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        turn();
}

struct tl_net_stats stats_of(uint32_t i)
{
    struct tl_net_stats s;
    stage.nets[i]->ops->stats(stage.nets[i], &s);
    return s;
}

void dial(void)
{
    struct tl_peer peer;
    assert_int_equal(stage.nets[0]->ops->connect(stage.nets[0], 1, stage_now_ns(), &peer), 0);
}

void link_up(void)
{
    dial();
    turn_until(&stage.ups[0], stage.ups[0] + 1);
    turn_until(&stage.ups[1], 1);
}

void say(uint32_t from, const char *text)
{
    assert_int_equal(
        stage.nets[from]->ops->send(stage.nets[from], stage.peers[from], text, (uint32_t)strlen(text), NULL, 0), 0);
}

void assert_sound(void)
{
    stage.proxy.meddle = NULL;
    if (!stage.live[0])
        link_up();
    uint32_t had = stage.messages[1];
    say(0, "sound");
    turn_until(&stage.messages[1], had + 1);
}
size_t read_to_end(int fd, uint8_t *out, size_t room)
{
    size_t have = 0;
    uint64_t end = tl_time_mono_ns() + STAGE_BOUND_NS;
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
