// SPDX-License-Identifier: Apache-2.0
/* The filter. Calls that name no path are allowed by their number alone, so the kernel remembers that and does not run it for
 * them. The stub's calls are known by the page that they come from. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <sys/syscall.h>

#include "front/inject/inject.h"

#define OPS_MAX 128

struct program {
    struct sock_filter ops[OPS_MAX];
    unsigned short count;
};

static void add(struct program *p, unsigned short code, uint8_t yes, uint8_t no, uint32_t k)
{
    check(p->count < OPS_MAX);
    p->ops[p->count++] = (struct sock_filter){code, yes, no, k};
}

static void load(struct program *p, size_t offset)
{
    add(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

static void give(struct program *p, uint32_t verdict)
{
    add(p, BPF_RET | BPF_K, 0, 0, verdict);
}

/* To what is said after all the tests: left of them are to come, and three more words. */
static void add_number(struct program *p, int nr, size_t left)
{
    add(p, BPF_JMP | BPF_JEQ | BPF_K, (uint8_t)(left + 3), 0, (uint32_t)nr);
}

/* Numbers first; then, for those that name paths, where the call comes from. */
static void write_program(struct program *p)
{
    static const int first[] = {SYS_openat, SYS_newfstatat, SYS_statx, SYS_readlink, SYS_access, SYS_open, SYS_stat};
    const size_t firsts = sizeof first / sizeof first[0];
    size_t count;
    const struct tl_path_call *calls = tl_path_call_all(&count);
    load(p, offsetof(struct seccomp_data, arch));
    add(p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
    give(p, SECCOMP_RET_ALLOW); /* a 32-bit program: it sees what is natively there */
    load(p, offsetof(struct seccomp_data, nr));
    size_t tests = firsts + 1; /* and getcwd */
    for (size_t nr = 0; nr < count; nr++)
        tests += calls[nr].nr != 0;
    check(tests < 120);
    for (size_t i = 0; i < firsts; i++)
        add_number(p, first[i], --tests);
    for (size_t nr = 0; nr < count; nr++)
        if (calls[nr].nr != 0)
            add_number(p, calls[nr].nr, --tests);
    add_number(p, SYS_getcwd, --tests);
    add(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_io_uring_setup); /* a ring opens files past every filter */
    give(p, SECCOMP_RET_ERRNO | ENOSYS);
    give(p, SECCOMP_RET_ALLOW);
    load(p, offsetof(struct seccomp_data, instruction_pointer) + 4);
    add(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, (uint32_t)(TL_PAGE_ADDRESS >> 32));
    load(p, offsetof(struct seccomp_data, instruction_pointer));
    add(p, BPF_ALU | BPF_AND | BPF_K, 0, 0, ~(uint32_t)(TL_PAGE_SIZE - 1));
    add(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)TL_PAGE_ADDRESS);
    give(p, SECCOMP_RET_ALLOW);
    give(p, SECCOMP_RET_USER_NOTIF);
}

int tl_inject_filter(struct tl_error *err)
{
    static struct program p;
    p.count = 0;
    write_program(&p);
    struct sock_fprog prog = {.len = p.count, .filter = p.ops};
    return tl_hear_install(&prog, true, err); /* a set-ID program's rights are not the supervisor's */
}
