// SPDX-License-Identifier: Apache-2.0
/* What people and scripts see: sentences, progress, JSON, units. Tables are in table.c. */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool progress_shown; /* a progress line is on the screen */

int cli_error(struct tiercel_error *err, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    err->code = code;
    return code;
}

void cli_say(const char *fmt, ...)
{
    cli_progress_end();
    fputs("tiercel: ", stderr);
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

int cli_report(const struct tiercel_error *err, bool json)
{
    cli_say("%s", err->message);
    if (json) {
        const char *name = strerrorname_np(-err->code);
        cli_print_json(json_pack("{s:s, s:s, s:i}", "error", err->message, "code", name != NULL ? name : "EIO", "errno",
                                 -err->code));
    }
    return CLI_FAILED;
}

void cli_progress(const char *fmt, ...)
{
    if (!isatty(STDERR_FILENO))
        return;
    fputs("\r\033[K", stderr);
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fflush(stderr);
    progress_shown = true;
}

void cli_progress_end(void)
{
    if (progress_shown)
        fputs("\r\033[K", stderr);
    progress_shown = false;
}

int cli_finish(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return CLI_OK;
    if (errno != EPIPE) /* the reader of a pipe (head) has seen enough: nothing to complain about */
        cli_say("standard output: %s; the output above is not complete", strerror(errno));
    return CLI_FAILED;
}

int cli_print_json_text(const char *text)
{
    puts(text);
    return cli_finish();
}

int cli_print_json(json_t *value)
{
    char *text = value != NULL ? json_dumps(value, JSON_REAL_PRECISION(6)) : NULL;
    json_decref(value);
    if (text == NULL) {
        cli_say("the answer cannot be printed as JSON: out of memory, or a name that is not UTF-8");
        return CLI_FAILED;
    }
    int rc = cli_print_json_text(text);
    free(text);
    return rc;
}

bool cli_color(void)
{
    const char *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL && term != NULL && strcmp(term, "dumb") != 0;
}

/* ---- units ---- */

static const char *scaled(char out[CLI_UNIT_SIZE], uint64_t n, double step, const char *const units[],
                          size_t unit_count)
{
    double v = (double)n;
    size_t u = 0;
    while (v >= step * 0.9995 && u + 1 < unit_count) {
        v /= step;
        u++;
    }
    int digits = u == 0 || v >= 99.95 ? 0 : v >= 9.995 ? 1 : 2;
    snprintf(out, CLI_UNIT_SIZE, "%.*f%s%s", digits, v, units[u][0] != '\0' ? " " : "", units[u]);
    return out;
}

const char *cli_bytes(char out[CLI_UNIT_SIZE], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    return scaled(out, bytes, 1024, units, sizeof units / sizeof units[0]);
}

const char *cli_count(char out[CLI_UNIT_SIZE], uint64_t n)
{
    static const char *const units[] = {"", "k", "M", "G", "T", "P"};
    if (n > 99999)
        return scaled(out, n, 1000, units, sizeof units / sizeof units[0]);
    if (n > 999)
        snprintf(out, CLI_UNIT_SIZE, "%" PRIu64 ",%03" PRIu64, n / 1000, n % 1000);
    else
        snprintf(out, CLI_UNIT_SIZE, "%" PRIu64, n);
    return out;
}

const char *cli_duration(char out[CLI_UNIT_SIZE], uint64_t seconds)
{
    if (seconds < 60)
        snprintf(out, CLI_UNIT_SIZE, "%" PRIu64 " s", seconds);
    else if (seconds < 3600)
        snprintf(out, CLI_UNIT_SIZE, "%" PRIu64 " min %" PRIu64 " s", seconds / 60, seconds % 60);
    else if (seconds < 86400)
        snprintf(out, CLI_UNIT_SIZE, "%" PRIu64 " h %" PRIu64 " min", seconds / 3600, seconds % 3600 / 60);
    else
        snprintf(out, CLI_UNIT_SIZE, "%" PRIu64 " d %" PRIu64 " h", seconds / 86400, seconds % 86400 / 3600);
    return out;
}

const char *cli_percent(char out[CLI_UNIT_SIZE], uint64_t part, uint64_t whole)
{
    if (whole == 0)
        snprintf(out, CLI_UNIT_SIZE, "-");
    else /* 99.97 % must not read as 100 % */
        snprintf(out, CLI_UNIT_SIZE, "%.1f %%", part >= whole ? 100.0 : (double)(part * 1000 / whole) / 10);
    return out;
}

/* ---- JSON ---- */

uint64_t cli_json_u64(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    double number = json_number_value(v);
    if (json_is_integer(v))
        return json_integer_value(v) > 0 ? (uint64_t)json_integer_value(v) : 0;
    return number > 0 && number < 1e19 ? (uint64_t)number : 0;
}

const char *cli_json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}
