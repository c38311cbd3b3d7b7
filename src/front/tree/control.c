// SPDX-License-Identifier: Apache-2.0
/* See control.h. */
#include "front/tree/control.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/control.h"
#include "base/time.h"

#define REQUEST_MAX 16384u /* a verb, a path, some numbers */
#define REPLY_MAX   16384u /* what the verbs used here answer is short */

int tl_unix_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int dir = -1, rc = 0;
    if (strlen(path) < sizeof address.sun_path) {
        memcpy(address.sun_path, path, strlen(path) + 1);
    } else { /* a short way to a long path: through the descriptor of its folder */
        char folder[PATH_MAX], name[PATH_MAX];
        snprintf(folder, sizeof folder, "%s", path);
        snprintf(name, sizeof name, "%s", path);
        dir = open(dirname(folder), O_PATH | O_DIRECTORY | O_CLOEXEC);
        int n = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%.60s", dir, basename(name));
        rc = dir < 0 ? -errno : n >= (int)sizeof address.sun_path ? -ENAMETOOLONG : 0;
    }
    int fd = rc == 0 ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    if (rc == 0 && fd < 0)
        rc = -errno;
    if (rc == 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        rc = -errno;
    if (dir >= 0)
        close(dir);
    if (rc != 0 && fd >= 0)
        close(fd);
    return rc != 0 ? rc : fd;
}

int tl_control_connect(const char *path, struct tl_error *err)
{
    int fd = tl_unix_connect(path);
    if (fd == -ENOENT || fd == -ECONNREFUSED)
        return tl_error_set(err, fd, "no tier is up here: nobody listens at %s; start one with: tiercel up", path);
    if (fd < 0)
        return tl_error_set(err, fd, "cannot reach the tier's daemon at %s: %s", path, strerror(-fd));
    return fd;
}

int tl_control_wait(int fd, short events, uint64_t deadline_ns)
{
    for (;;) { /* until the deadline */
        uint64_t now = tl_time_mono_ns();
        if (now >= deadline_ns)
            return -ETIMEDOUT;
        struct pollfd p = {.fd = fd, .events = events};
        int ms = (int)((deadline_ns - now) / TL_NS_PER_MS) + 1;
        if (poll(&p, 1, ms) > 0)
            return 0;
    }
}

static int send_all(int fd, const uint8_t *bytes, size_t len, int pass_fd, uint64_t deadline_ns)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {.bytes = {0}};
    for (size_t at = 0; at < len;) {
        struct iovec iov = {.iov_base = (void *)(uintptr_t)(bytes + at), .iov_len = len - at};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        if (at == 0 && pass_fd >= 0) {
            msg.msg_control = control.bytes;
            msg.msg_controllen = sizeof control.bytes;
            struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
            *c = (struct cmsghdr){
                .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof pass_fd)};
            memcpy(CMSG_DATA(c), &pass_fd, sizeof pass_fd);
        }
        int rc = tl_control_wait(fd, POLLOUT, deadline_ns);
        ssize_t n = rc == 0 ? sendmsg(fd, &msg, MSG_NOSIGNAL) : 0;
        if (rc != 0 || (n < 0 && errno != EINTR))
            return rc != 0 ? rc : -errno;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int receive_all(int fd, void *buf, size_t len, uint64_t deadline_ns)
{
    for (size_t at = 0; at < len;) {
        int rc = tl_control_wait(fd, POLLIN, deadline_ns);
        ssize_t n = rc == 0 ? recv(fd, (uint8_t *)buf + at, len - at, 0) : 0;
        if (rc != 0 || (n < 0 && errno != EINTR))
            return rc != 0 ? rc : -errno;
        if (n == 0)
            return -ECONNRESET;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* The text of the string member `name` of a flat JSON object, cut to fit; "" if there is none. Escapes but \uXXXX (which
 * become ?) are undone. */
static void json_text(const char *json, const char *name, char *out, size_t size)
{
    char key[32];
    snprintf(key, sizeof key, "\"%s\"", name);
    const char *at = strstr(json, key);
    size_t len = 0;
    if (at != NULL)
        at += strlen(key) + strspn(at + strlen(key), " \t\r\n:");
    if (at != NULL && *at == '"') {
        for (at++; *at != '"' && *at != '\0' && len + 1 < size; at++) {
            if (*at == '\\' && at[1] == 'u')
                at += strspn(at + 2, "0123456789abcdefABCDEF") >= 4 ? 5 : 1, out[len++] = '?';
            else if (*at == '\\' && at[1] != '\0')
                at++, out[len++] = (char)(strchr("nrtbf", *at) != NULL ? ' ' : *at);
            else
                out[len++] = *at;
        }
    }
    out[len] = '\0';
}

static int daemon_error(const char *json, struct tl_error *err)
{
    char text[TL_ERROR_MSG_MAX];
    const char *number = strstr(json, "\"errno\"");
    int code = number != NULL ? (int)strtol(number + 7 + strspn(number + 7, " :"), NULL, 10) : 0;
    json_text(json, "error", text, sizeof text);
    return tl_error_set(err, code > 0 && code < 4096 ? -code : -EIO, "%s",
                        text[0] != '\0' ? text : "the tier's daemon refused, without a reason");
}

/* Reads frames up to the final one; its text into answer, cut to fit. */
static int read_answer(int fd, uint64_t deadline_ns, char *answer, size_t size, struct tl_error *err)
{
    char text[REPLY_MAX + 1];
    for (;;) { /* until the deadline */
        uint8_t head[5];
        int rc = receive_all(fd, head, sizeof head, deadline_ns);
        size_t len = rc == 0 ? tl_get_u32(head) : 0;
        if (rc == 0 && (len < 1 || len - 1 > REPLY_MAX))
            rc = -EPROTO;
        if (rc == 0)
            rc = receive_all(fd, text, len - 1, deadline_ns);
        if (rc != 0)
            return tl_error_set(err, rc, "the tier's daemon does not answer: %s; see its log, and tiercel status",
                                strerror(-rc));
        text[len - 1] = '\0';
        if (head[4] == TL_CONTROL_ERROR)
            return daemon_error(text, err);
        if (head[4] == TL_CONTROL_RESULT) {
            snprintf(answer, size, "%s", text);
            return 0;
        }
    }
}

int tl_control_ask(int fd, const char *const *args, int pass_fd, unsigned timeout_ms, char *answer, size_t size,
                   struct tl_error *err)
{
    uint8_t request[REQUEST_MAX];
    uint64_t deadline_ns = tl_time_mono_ns() + timeout_ms * TL_NS_PER_MS;
    size_t len = 4;
    for (; *args != NULL; args++) {
        size_t n = strlen(*args) + 1;
        if (len + n > sizeof request)
            return tl_error_set(err, -E2BIG, "too long a request to the tier's daemon");
        memcpy(request + len, *args, n);
        len += n;
    }
    tl_put_u32(request, (uint32_t)(len - 4));
    int rc = send_all(fd, request, len, pass_fd, deadline_ns);
    if (rc != 0)
        return tl_error_set(err, rc, "the tier's daemon does not listen: %s; see its log, and tiercel status",
                            strerror(-rc));
    return read_answer(fd, deadline_ns, answer, size, err);
}

int tl_control_call(int fd, const char *const *args, int pass_fd, struct tl_error *err)
{
    char answer[1];
    return tl_control_ask(fd, args, pass_fd, TL_CONTROL_TIMEOUT_MS, answer, sizeof answer, err);
}

uint64_t tl_control_number(const char *answer, const char *name)
{
    char key[32];
    snprintf(key, sizeof key, "\"%s\"", name);
    const char *at = strstr(answer, key);
    if (at == NULL)
        return 0;
    at += strlen(key) + strspn(at + strlen(key), " :\""); /* large ones come as strings */
    return strtoull(at, NULL, 10);
}
