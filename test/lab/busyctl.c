// SPDX-License-Identifier: Apache-2.0
/* busyctl SOCKET VERB [WORD]...: one request to busyfs. Prints the answer; exit status 1 when it is an error.
 *
 *   stat                                   counters as JSON
 *   reset                                  counters and queues to zero
 *   drop                                   all kernels forget everything
 *   set servers|service-us|latency-us|bandwidth N
 *   fail open|read PATH ERRNO [AFTER [COUNT]]   the operations on PATH fail, after AFTER good ones, COUNT times (0: always)
 *   change PATH [K]                        the file becomes another one, now or at its K-th read
 *   quit */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char answer[65536];
    size_t len = 0;
    ssize_t got;
    if (argc < 3 || strlen(argv[1]) >= sizeof(addr.sun_path)) {
        fputs("usage: busyctl SOCKET stat|reset|drop|set|fail|change|quit [WORD]...\n", stderr);
        return 2;
    }
    strcpy(addr.sun_path, argv[1]);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
        perror(argv[1]);
        return 1;
    }
    for (int i = 2; i < argc; i++)
        if (write(fd, argv[i], strlen(argv[i]) + 1) < 0)
            return 1;
    shutdown(fd, SHUT_WR);
    while (len < sizeof(answer) - 1 && (got = read(fd, answer + len, sizeof(answer) - 1 - len)) > 0)
        len += (size_t)got;
    answer[len] = '\0';
    fputs(answer, stdout);
    return len == 0 || strncmp(answer, "{\"error\"", 8) == 0;
}
