// SPDX-License-Identifier: Apache-2.0
/* libtiercel against a server that misbehaves in every way a daemon, or something in its place, could. The server is a
 * thread of this program, with a script for each test. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include <tiercel/tiercel.h>

#include "base/bytes.h"
#include "base/control.h"

struct server {
    char dir[64], path[96];
    int listener;
    pthread_t thread;
    pthread_t client; /* to be disturbed by signals */
    void (*script)(struct server *s, int fd);
    char request[256];
    size_t request_len;
    int passed_fd;
};

/* ---- the server's side ---- */

static void read_request(struct server *s, int fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    uint8_t head[4];
    struct iovec iov = {.iov_base = head, .iov_len = 4};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    s->passed_fd = -1;
    if (recvmsg(fd, &msg, MSG_WAITALL | MSG_CMSG_CLOEXEC) != 4)
        return;
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (c != NULL && c->cmsg_type == SCM_RIGHTS)
        memcpy(&s->passed_fd, CMSG_DATA(c), sizeof s->passed_fd);
    size_t len = tl_get_u32(head);
    if (len <= sizeof s->request && recv(fd, s->request, len, MSG_WAITALL) == (ssize_t)len)
        s->request_len = len;
}

static size_t make_frame(uint8_t *out, char kind, const char *text)
{
    size_t len = strlen(text);
    tl_put_u32(out, (uint32_t)len + 1);
    out[4] = (uint8_t)kind;
    memcpy(out + 5, text, len);
    return len + 5;
}

static void reply(int fd, char kind, const char *text)
{
    uint8_t frame[512];
    size_t len = make_frame(frame, kind, text);
    assert_int_equal(send(fd, frame, len, MSG_NOSIGNAL), len);
}

/* Until the client is gone: so that it, not we, ends the connection. */
static void until_closed(int fd)
{
    char c;
    while (recv(fd, &c, 1, 0) > 0)
        ;
}

static void *serve(void *arg)
{
    struct server *s = arg;
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return NULL;
    s->script(s, fd);
    close(fd);
    return NULL;
}

static void start(struct server *s, void (*script)(struct server *, int))
{
    *s = (struct server){.script = script, .passed_fd = -1, .client = pthread_self()};
    snprintf(s->dir, sizeof s->dir, "/tmp/tiercel-client-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->path, sizeof s->path, "%s/node-0.sock", s->dir);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    memcpy(addr.sun_path, s->path, strlen(s->path) + 1);
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(listen(s->listener, 8), 0);
    if (script != NULL)
        assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop(struct server *s)
{
    if (s->script != NULL)
        pthread_join(s->thread, NULL);
    close(s->listener);
    unlink(s->path);
    rmdir(s->dir);
}

static const char *const ping[] = {"ping", "a", "", "b", NULL};

/* Opens, calls once, and keeps the connection if asked. */
static int call(struct server *s, int timeout_ms, tiercel_progress_fn progress, void *ctx, char **json,
                struct tiercel_error *err)
{
    struct tiercel *t;
    assert_int_equal(tiercel_open_socket(&t, s->path, 5000, err), 0);
    int rc = tiercel_call(t, ping, -1, timeout_ms, progress, ctx, json, err);
    if (rc == -ETIMEDOUT || rc == -ECANCELED || rc == -ECONNRESET || rc == -EBADMSG)
        assert_int_equal(tiercel_call(t, ping, -1, 100, NULL, NULL, NULL, NULL), -ENOTCONN);
    tiercel_close(t);
    return rc;
}

/* ---- good answers ---- */

static void script_result(struct server *s, int fd)
{
    read_request(s, fd);
    reply(fd, 'r', "{\"fine\": 1}");
    until_closed(fd);
}

static void a_result_comes_back_as_text_and_arguments_arrive_as_strings(void **state)
{
    (void)state;
    struct server s;
    char *json;
    start(&s, script_result);
    assert_int_equal(call(&s, 5000, NULL, NULL, &json, NULL), 0);
    assert_string_equal(json, "{\"fine\": 1}");
    tiercel_free(json);
    stop(&s);
    assert_int_equal(s.request_len, 10);
    assert_memory_equal(s.request, "ping\0a\0\0b", 10);
}

static void script_dribble(struct server *s, int fd)
{
    uint8_t frames[512];
    read_request(s, fd);
    size_t len = make_frame(frames, 'p', "{\"n\": 1}");
    len += make_frame(frames + len, 'p', "{}");
    len += make_frame(frames + len, 'r', "{\"end\": true}");
    for (size_t i = 0; i < len; i++) { /* a byte a packet, and a signal between each two */
        assert_int_equal(send(fd, frames + i, 1, MSG_NOSIGNAL), 1);
        pthread_kill(s->client, SIGUSR1);
    }
    until_closed(fd);
}

static void ignore_signal(int signo)
{
    (void)signo;
}

static int count_progress(void *ctx, const char *json)
{
    int *count = ctx;
    *count += json != NULL;
    return 0;
}

static void bytes_that_dribble_and_signals_do_no_harm(void **state)
{
    (void)state;
    struct sigaction sa = {.sa_handler = ignore_signal};
    sigaction(SIGUSR1, &sa, NULL);
    struct server s;
    char *json;
    int count = 0;
    start(&s, script_dribble);
    assert_int_equal(call(&s, 20000, count_progress, &count, &json, NULL), 0);
    assert_string_equal(json, "{\"end\": true}");
    assert_int_equal(count, 2);
    tiercel_free(json);
    stop(&s);
}

static void script_large(struct server *s, int fd)
{
    read_request(s, fd);
    size_t len = 3 << 20;
    uint8_t *frame = malloc(len + 5);
    tl_put_u32(frame, (uint32_t)len + 1);
    frame[4] = 'r';
    memset(frame + 5, 'x', len);
    for (size_t sent = 0; sent < len + 5;) {
        ssize_t n = send(fd, frame + sent, len + 5 - sent, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    free(frame);
    until_closed(fd);
}

static void a_large_answer_arrives_whole(void **state)
{
    (void)state;
    struct server s;
    char *json;
    start(&s, script_large);
    assert_int_equal(call(&s, 20000, NULL, NULL, &json, NULL), 0);
    assert_int_equal(strlen(json), 3 << 20);
    assert_int_equal(strspn(json, "x"), 3 << 20);
    tiercel_free(json);
    stop(&s);
}

static void script_two(struct server *s, int fd)
{
    read_request(s, fd);
    reply(fd, 'e', "{\"error\": \"x: no; do y\", \"code\": \"ENOENT\", \"errno\": 2}");
    read_request(s, fd);
    reply(fd, 'r', "2");
    until_closed(fd);
}

static void an_error_of_the_daemon_leaves_the_connection_usable(void **state)
{
    (void)state;
    struct server s;
    struct tiercel *t;
    struct tiercel_error err = {0};
    char *json;
    start(&s, script_two);
    assert_int_equal(tiercel_open_socket(&t, s.path, 5000, &err), 0);
    assert_int_equal(tiercel_server_pid(t), getpid());
    assert_string_equal(tiercel_socket_path(t), s.path);
    assert_int_equal(tiercel_call(t, ping, -1, 5000, NULL, NULL, &json, &err), -ENOENT);
    assert_int_equal(err.code, -ENOENT);
    assert_string_equal(err.message, "x: no; do y");
    assert_int_equal(tiercel_call(t, ping, -1, 5000, NULL, NULL, &json, &err), 0);
    assert_string_equal(json, "2");
    tiercel_free(json);
    tiercel_close(t);
    stop(&s);
}

static void a_descriptor_rides_along_with_the_request(void **state)
{
    (void)state;
    struct server s;
    struct tiercel *t;
    int pipe_fds[2];
    char got[4] = "";
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    start(&s, script_result);
    assert_int_equal(tiercel_open_socket(&t, s.path, 5000, NULL), 0);
    assert_int_equal(tiercel_call(t, ping, pipe_fds[1], 5000, NULL, NULL, NULL, NULL), 0);
    tiercel_close(t);
    stop(&s);
    assert_true(s.passed_fd >= 0);
    assert_int_equal(write(s.passed_fd, "hey", 3), 3);
    assert_int_equal(read(pipe_fds[0], got, 3), 3);
    assert_string_equal(got, "hey");
    close(s.passed_fd);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

/* ---- bad answers ---- */

static void script_silent(struct server *s, int fd)
{
    read_request(s, fd);
    until_closed(fd);
}

static void silence_ends_at_the_deadline(void **state)
{
    (void)state;
    struct server s;
    struct tiercel_error err = {0};
    start(&s, script_silent);
    assert_int_equal(call(&s, 50, NULL, NULL, NULL, &err), -ETIMEDOUT);
    assert_non_null(strstr(err.message, "no answer to `ping` in time"));
    stop(&s);
}

static void script_signals(struct server *s, int fd)
{
    read_request(s, fd);
    char c;
    while (recv(fd, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN) /* until one has hit a wait */
        pthread_kill(s->client, SIGUSR1);
}

static int give_up(void *ctx, const char *json)
{
    (void)ctx;
    return json == NULL;
}

static void a_signal_lets_the_caller_give_up(void **state)
{
    (void)state;
    struct sigaction sa = {.sa_handler = ignore_signal};
    sigaction(SIGUSR1, &sa, NULL);
    struct server s;
    start(&s, script_signals);
    assert_int_equal(call(&s, 20000, give_up, NULL, NULL, NULL), -ECANCELED);
    stop(&s);
}

static void script_gone(struct server *s, int fd)
{
    read_request(s, fd);
}

static void script_half(struct server *s, int fd)
{
    read_request(s, fd);
    send(fd, "\x20\0\0\0r{\"ha", 9, MSG_NOSIGNAL);
}

static void a_daemon_that_goes_away_is_told_apart(void **state)
{
    (void)state;
    void (*const scripts[])(struct server *, int) = {script_gone, script_half};
    for (size_t i = 0; i < 2; i++) {
        struct server s;
        struct tiercel_error err = {0};
        start(&s, scripts[i]);
        assert_int_equal(call(&s, 20000, NULL, NULL, NULL, &err), -ECONNRESET);
        assert_non_null(strstr(err.message, "went away"));
        stop(&s);
    }
}

static const char *garbage;
static size_t garbage_len;

static void script_garbage(struct server *s, int fd)
{
    read_request(s, fd);
    send(fd, garbage, garbage_len, MSG_NOSIGNAL);
    until_closed(fd);
}

static void garbage_is_refused_and_costs_no_memory(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        {"HTTP/1.1 400 Bad Request\r\n", 26}, /* another program's socket */
        {"\0\0\0\0r", 5},                     /* a frame without a kind */
        {"\5\0\0\0z{}", 7},                   /* an unknown kind */
        {"\xff\xff\xff\xffr", 5},             /* 4 GiB */
        {"\1\0\0\4r", 5},                     /* just above the limit */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct server s;
        struct tiercel_error err = {0};
        garbage = cases[i].bytes;
        garbage_len = cases[i].len;
        start(&s, script_garbage);
        assert_int_equal(call(&s, 20000, NULL, NULL, NULL, &err), -EBADMSG);
        stop(&s);
    }
}

static void script_bad_error(struct server *s, int fd)
{
    read_request(s, fd);
    reply(fd, 'e', garbage);
    until_closed(fd);
}

static void an_error_that_is_no_json_is_still_an_error(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "oops", "{\"error\": 5}", "{\"errno\": -3}", "{\"errno\": 99999999}", "[]"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct server s;
        struct tiercel_error err = {0};
        garbage = texts[i];
        start(&s, script_bad_error);
        assert_int_equal(call(&s, 20000, NULL, NULL, NULL, &err), -EIO);
        assert_string_equal(err.message, "the daemon gave no reason");
        stop(&s);
    }
}

/* ---- requests that cannot be ---- */

static void too_much_is_refused_before_it_is_sent(void **state)
{
    (void)state;
    struct server s;
    struct tiercel *t;
    const char *many[TL_CONTROL_ARGS_MAX + 2], *none[] = {NULL}, *empty[] = {"", NULL};
    for (size_t i = 0; i <= TL_CONTROL_ARGS_MAX; i++)
        many[i] = "x";
    many[TL_CONTROL_ARGS_MAX + 1] = NULL;
    char *huge = malloc(TL_CONTROL_REQUEST_MAX + 1);
    memset(huge, 'x', TL_CONTROL_REQUEST_MAX);
    huge[TL_CONTROL_REQUEST_MAX] = '\0';
    const char *large[] = {"x", huge, NULL};
    start(&s, script_result);
    assert_int_equal(tiercel_open_socket(&t, s.path, 5000, NULL), 0);
    assert_int_equal(tiercel_call(t, many, -1, 5000, NULL, NULL, NULL, NULL), -E2BIG);
    assert_int_equal(tiercel_call(t, large, -1, 5000, NULL, NULL, NULL, NULL), -E2BIG);
    assert_int_equal(tiercel_call(t, none, -1, 5000, NULL, NULL, NULL, NULL), -EINVAL);
    assert_int_equal(tiercel_call(t, empty, -1, 5000, NULL, NULL, NULL, NULL), -EINVAL);
    assert_int_equal(tiercel_call(t, ping, -1, 5000, NULL, NULL, NULL, NULL), 0); /* none of that broke anything */
    tiercel_close(t);
    stop(&s);
    free(huge);
}

static void opening_says_what_is_wrong(void **state)
{
    (void)state;
    struct server s;
    struct tiercel *t;
    struct tiercel_error err = {0};
    char path[200];
    start(&s, NULL);
    close(s.listener); /* the file stays, nobody listens: a daemon that was killed */
    s.listener = -1;
    assert_int_equal(tiercel_open_socket(&t, s.path, 1000, &err), -ECONNREFUSED);
    assert_non_null(strstr(err.message, "its daemon is gone"));
    snprintf(path, sizeof path, "%s/none.sock", s.dir);
    assert_int_equal(tiercel_open_socket(&t, path, 1000, &err), -ENOENT);
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_int_equal(tiercel_open_socket(&t, path, 1000, &err), -ENAMETOOLONG);
    assert_non_null(strstr(err.message, "TIERCEL_RUNTIME_DIR"));
    tiercel_close(NULL);
    tiercel_free(NULL);
    stop(&s);
}

static void a_daemon_that_takes_no_connections_ends_at_the_deadline(void **state)
{
    (void)state;
    struct server s;
    struct tiercel *waiting[64], *t;
    struct tiercel_error err = {0};
    int count = 0, rc = 0;
    start(&s, NULL);
    assert_int_equal(listen(s.listener, 1), 0);
    while (count < 64 && (rc = tiercel_open_socket(&t, s.path, 50, &err)) == 0)
        waiting[count++] = t;
    assert_int_equal(rc, -ETIMEDOUT);
    assert_true(count >= 1);
    for (int i = 0; i < count; i++)
        tiercel_close(waiting[i]);
    stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_result_comes_back_as_text_and_arguments_arrive_as_strings),
        cmocka_unit_test(bytes_that_dribble_and_signals_do_no_harm),
        cmocka_unit_test(a_large_answer_arrives_whole),
        cmocka_unit_test(an_error_of_the_daemon_leaves_the_connection_usable),
        cmocka_unit_test(a_descriptor_rides_along_with_the_request),
        cmocka_unit_test(silence_ends_at_the_deadline),
        cmocka_unit_test(a_signal_lets_the_caller_give_up),
        cmocka_unit_test(a_daemon_that_goes_away_is_told_apart),
        cmocka_unit_test(garbage_is_refused_and_costs_no_memory),
        cmocka_unit_test(an_error_that_is_no_json_is_still_an_error),
        cmocka_unit_test(too_much_is_refused_before_it_is_sent),
        cmocka_unit_test(opening_says_what_is_wrong),
        cmocka_unit_test(a_daemon_that_takes_no_connections_ends_at_the_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
