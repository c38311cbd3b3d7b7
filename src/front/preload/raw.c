// SPDX-License-Identifier: Apache-2.0
#include "front/preload/raw.h"

/* From the C calling convention to the kernel's: the number and six arguments move one place. */
__asm__(".text\n"
        ".globl tl_raw_begin\n"
        ".hidden tl_raw_begin\n"
        ".type tl_raw_begin, @function\n"
        "tl_raw_begin:\n"
        "    mov %rdi, %rax\n"
        "    mov %rsi, %rdi\n"
        "    mov %rdx, %rsi\n"
        "    mov %rcx, %rdx\n"
        "    mov %r8, %r10\n"
        "    mov %r9, %r8\n"
        "    mov 8(%rsp), %r9\n"
        "    syscall\n"
        "    ret\n"
        ".globl tl_raw_end\n"
        ".hidden tl_raw_end\n"
        "tl_raw_end:\n"
        ".size tl_raw_begin, . - tl_raw_begin\n");

tl_raw_fn tl_raw = tl_raw_begin;
