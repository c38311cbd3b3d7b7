// SPDX-License-Identifier: Apache-2.0
#include "source/web.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "archive/publish.h"
#include "source/conformance.h"
#include "source/files.h"

char web_urls[2][64];
static uint16_t ports[2];
static const char *folder;

static void publish(void)
{
    struct tl_publish_stats stats;
    struct tl_error err;
    int rc = tl_publish(folder, TL_TEST_CHUNK, &stats, &err);
    if (rc != 0)
        fail_msg("%s", err.msg);
}

static const char *real(const char *path)
{
    static char full[16384];
    snprintf(full, sizeof full, "%s%s", folder, path);
    return full;
}

void web_begin(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "run by: with_web.py %s\n", argv[0]);
        exit(2);
    }
    folder = argv[1];
    for (int i = 0; i < 2; i++) {
        ports[i] = (uint16_t)atoi(argv[2 + i]);
        snprintf(web_urls[i], sizeof web_urls[i], "http://127.0.0.1:%u", ports[i]);
    }
    tl_test_make_dir(real(WEB_ROOT));
    publish();
}

void web_make_dir(const char *path)
{
    tl_test_make_dir(real(path));
    publish();
}

void web_put_file(const char *path, const void *bytes, size_t len)
{
    tl_test_put_file(real(path), bytes, len);
    publish();
}

void web_change_file(const char *path, const void *bytes, size_t len)
{
    tl_test_put_file(real(path), bytes, len);
}

void web_put_link(const char *path, const char *target)
{
    tl_test_put_link(real(path), target);
    publish();
}

void web_remove(const char *path)
{
    char catalog[16384 + 32];
    snprintf(catalog, sizeof catalog, "%s/.tiercel-list", real(path));
    (void)unlink(catalog); /* of a directory: the only thing in it */
    tl_test_remove(real(path));
    publish();
}

const char *web_order(unsigned server, const char *path)
{
    static char answer[65536];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(ports[server])};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    assert_true(dprintf(fd, "GET %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", path) > 0);
    size_t have = 0;
    for (ssize_t n; (n = read(fd, answer + have, sizeof answer - have - 1)) > 0;)
        have += (size_t)n;
    close(fd);
    answer[have] = '\0';
    const char *body = strstr(answer, "\r\n\r\n");
    assert_non_null(body);
    return body + 4;
}
