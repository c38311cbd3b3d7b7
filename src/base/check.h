// SPDX-License-Identifier: Apache-2.0
/* Assertions that stay on in production.
 *
 * check() is for bugs only: never for input, bytes from the wire, allocation or I/O. It prints one
 * line to standard error and aborts, so that a bug stops near its cause. Any thread may call it. */
#ifndef TL_BASE_CHECK_H
#define TL_BASE_CHECK_H

/* Prints `file:line: function: check failed: what` and aborts. Does not return. */
void tl_check_failed(const char *file, int line, const char *func, const char *what) __attribute__((noreturn, cold));

#define check(cond) (__builtin_expect(!!(cond), 1) ? (void)0 : tl_check_failed(__FILE__, __LINE__, __func__, #cond))

/* For results that must not be dropped. */
#define TL_MUST_CHECK __attribute__((warn_unused_result))

#endif
