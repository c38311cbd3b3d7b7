// SPDX-License-Identifier: Apache-2.0
/* What a call costs that a supervisor hears of, at the least: a program whose opens go to a process that lets each of them go on
 * and does nothing else. The floor of `tiercel run --how fault` and `inject`.
 *
 *   floor-calls PROGRAM [ARG]...    ends as PROGRAM ends */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif

static int install(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 4, .filter = code};
    unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

/* Until nobody is left who could call. */
static void let_go_on(int listener)
{
    for (;;) {
        struct seccomp_notif n;
        memset(&n, 0, sizeof n);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n) != 0) {
            if (errno == EINTR)
                continue;
            break;
        }
        struct seccomp_notif_resp r = {.id = n.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &r);
    }
}

int main(int argc, char **argv)
{
    int status = 0, go[2];
    if (argc < 2 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, go) != 0) {
        fputs("usage: floor-calls PROGRAM [ARG]...\n", stderr);
        return 2;
    }
    pid_t pid = fork();
    if (pid == 0) {
        int listener = install();
        close(go[0]);
        if (listener < 0 || write(go[1], &listener, sizeof listener) != (ssize_t)sizeof listener ||
            read(go[1], &listener, 1) != 1) /* it is closed by exec: not before somebody else has it */
            _exit(125);
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    close(go[1]);
    int theirs = -1, pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pid < 0 || read(go[0], &theirs, sizeof theirs) != (ssize_t)sizeof theirs)
        return 125;
    int listener = (int)syscall(SYS_pidfd_getfd, pidfd, theirs, 0);
    if (listener < 0 || write(go[0], "g", 1) != 1)
        return 125;
    (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1UL); /* wake up on the same processor; Linux 6.6 */
    let_go_on(listener);
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
