// SPDX-License-Identifier: Apache-2.0
/* Making a call again with other arguments. A supervisor can answer a call, but not change it, and some calls nobody can make for
 * another process: chdir, exec. So the call is ended as if a signal had come that restarts it (ERESTARTSYS), and the process,
 * traced for that moment, is changed before it goes on.
 *
 * The new words need room in its memory. Not below its stack pointer: a thread's stack may end there, and a child of vfork
 * shares it. They go to memory of ours at a fixed address, mapped by the process itself when first needed: a slot for each of a
 * few threads at once. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "front/inject/inject.h"
#include "front/preload/stub.h"

#define SLOTS      16u
#define SLOT_SIZE  16384u
#define SCRATCH    (TL_PAGE_ADDRESS + 0x10000u)
#define RESTARTSYS 512

typedef struct user_regs_struct regs;

static bool trace(long request, pid_t tid, void *address, void *data)
{
    return ptrace((enum __ptrace_request)request, tid, address, data) == 0;
}

/* Waits for the thread's next stop; *sig is SIGTRAP for those that are ours. False: it has ended. */
static bool wait_stop(pid_t tid, int *sig)
{
    int status;
    pid_t got;
    do
        got = waitpid(tid, &status, __WALL | __WNOTHREAD);
    while (got < 0 && errno == EINTR);
    *sig = got == tid && WIFSTOPPED(status) ? WSTOPSIG(status) : 0;
    if (*sig != 0 && status >> 16 == PTRACE_EVENT_STOP)
        *sig = SIGTRAP; /* also in a stop of the whole process, which goes on after us */
    return *sig != 0;
}

/* The system call instruction that the thread has just come from, once more, with this number. */
static void aim(regs *r, long nr)
{
    r->rip -= 2; /* its length */
    r->rax = (unsigned long long)nr;
    r->orig_rax = (unsigned long long)-1; /* nothing for the kernel to restart */
}

/* Has the thread map memory. Its address, or 0. */
static uint64_t map_there(pid_t tid, const regs *was, uint64_t address, size_t len)
{
    uint64_t mask = 0, all = ~(uint64_t)0;
    regs r = *was;
    int sig = 0;
    aim(&r, SYS_mmap);
    r.rdi = address;
    r.rsi = len;
    r.rdx = PROT_READ | PROT_WRITE;
    r.r10 = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (address != 0 ? MAP_FIXED_NOREPLACE : 0);
    r.r8 = (unsigned long long)-1;
    r.r9 = 0;
    bool masked = trace(PTRACE_GETSIGMASK, tid, (void *)sizeof mask, &mask) &&
                  trace(PTRACE_SETSIGMASK, tid, (void *)sizeof all, &all); /* a handler must not run in between */
    bool ran = masked && trace(PTRACE_SETREGS, tid, NULL, &r) && trace(PTRACE_SINGLESTEP, tid, NULL, NULL) &&
               wait_stop(tid, &sig) && sig == SIGTRAP && trace(PTRACE_GETREGS, tid, NULL, &r);
    if (masked)
        (void)trace(PTRACE_SETSIGMASK, tid, (void *)sizeof mask, &mask);
    uint64_t got = ran ? r.rax : 0;
    return got != 0 && got < (uint64_t)-4095 ? got : 0;
}

/* Copies with addresses in the place of offsets. */
static bool put(pid_t tid, uint64_t at, const struct tl_again *again)
{
    for (size_t i = 0; i < again->pointer_count; i++) {
        uint64_t word;
        memcpy(&word, again->bytes + again->pointers[i], sizeof word);
        word += at;
        memcpy(again->bytes + again->pointers[i], &word, sizeof word);
    }
    if (tl_memory_put(tid, at, again->bytes, again->len) == 0)
        return true;
    for (size_t i = 0; i < again->pointer_count; i++) { /* as it was, for the next try */
        uint64_t word;
        memcpy(&word, again->bytes + again->pointers[i], sizeof word);
        word -= at;
        memcpy(again->bytes + again->pointers[i], &word, sizeof word);
    }
    return false;
}

/* Where the words are now; 0: no room. */
static uint64_t place(pid_t tid, const regs *r, const struct tl_again *again)
{
    uint64_t at = SCRATCH + (uint64_t)((unsigned)tid % SLOTS) * SLOT_SIZE;
    if (again->len > SLOT_SIZE) /* many arguments: the memory goes with the exec */
        at = map_there(tid, r, 0, again->len);
    else if (put(tid, at, again))
        return at;
    else if (map_there(tid, r, SCRATCH, (size_t)SLOTS * SLOT_SIZE) == 0)
        at = 0;
    return at != 0 && put(tid, at, again) ? at : 0;
}

static void set_argument(regs *r, int arg, uint64_t value)
{
    unsigned long long *const words[] = {&r->rdi, &r->rsi, &r->rdx, &r->r10, &r->r8, &r->r9};
    *words[arg] = value;
}

/* The thread has stopped with its call about to be restarted. */
static void change(pid_t tid, long nr, const struct tl_again *again)
{
    regs was, r;
    if (!trace(PTRACE_GETREGS, tid, NULL, &was) || (long)was.orig_rax != nr)
        return; /* it restarts, and is heard again */
    uint64_t at = place(tid, &was, again);
    r = was;
    if (at != 0) {
        for (size_t i = 0; i < TL_AGAIN_ARGS; i++)
            if (again->args[i].arg >= 0)
                set_argument(&r, again->args[i].arg, at + again->args[i].offset);
        aim(&r, nr);
    } else {
        r.rax = (unsigned long long)-ENOMEM;
        r.orig_rax = (unsigned long long)-1;
    }
    (void)trace(PTRACE_SETREGS, tid, NULL, &r);
}

bool tl_again(const struct tl_inject *in, const struct seccomp_notif *n, const struct tl_again *again)
{
    pid_t tid = (pid_t)n->pid;
    int sig;
    struct seccomp_notif_resp reply = {.id = n->id, .error = -RESTARTSYS};
    if (!trace(PTRACE_SEIZE, tid, NULL, NULL))
        return false;
    bool waits = trace(PTRACE_INTERRUPT, tid, NULL, NULL);
    waits = ioctl(in->hear.listener, SECCOMP_IOCTL_NOTIF_SEND, &reply) == 0 && waits;
    if (wait_stop(tid, &sig)) {
        if (waits && sig == SIGTRAP)
            change(tid, n->data.nr, again);
        (void)trace(PTRACE_DETACH, tid, NULL, (void *)(uintptr_t)(sig == SIGTRAP ? 0 : sig));
    }
    return true;
}

bool tl_again_path(const struct tl_inject *in, const struct seccomp_notif *n, int arg, const char *path)
{
    const struct tl_again again = {
        .bytes = (uint8_t *)(uintptr_t)path, .len = strlen(path) + 1, .args = {{arg, 0}, {-1, 0}, {-1, 0}}};
    return tl_again(in, n, &again);
}
