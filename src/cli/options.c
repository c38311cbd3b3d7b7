// SPDX-License-Identifier: Apache-2.0
/* Options of a verb, from one table: it is parsed by, and it is the help. */
#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_MAX   1000000
#define SECONDS_MAX 86400.0

int cli_usage(const struct cli_verb *self, const char *fmt, ...)
{
    fprintf(stderr, "tiercel %s: ", self->name);
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "\nusage: tiercel %s %s\n", self->name, self->usage);
    return CLI_USAGE;
}

void cli_list_fini(struct cli_list *list)
{
    free(list->items);
    *list = (struct cli_list){0};
}

static int list_add(struct cli_list *list, const char *item)
{
    const char **items = realloc(list->items, (list->count + 2) * sizeof *items);
    if (items == NULL)
        return -ENOMEM;
    items[list->count++] = item;
    items[list->count] = NULL;
    list->items = items;
    return 0;
}

static void print_help(const struct cli_verb *self, const struct cli_option *options, size_t count)
{
    printf("usage: tiercel %s %s\n\n%c%s.\n", self->name, self->usage, toupper((unsigned char)self->summary[0]),
           self->summary + 1);
    if (self->more != NULL)
        printf("\n%s\n", self->more);
    printf("\noptions:\n");
    for (size_t i = 0; i < count; i++) {
        const struct cli_option *o = &options[i];
        char left[64], letter[8] = "    ";
        if (o->letter != 0)
            snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->value != NULL ? " " : "",
                 o->value != NULL ? o->value : "");
        printf("  %-28s %s\n", left, o->help);
    }
    printf("  %-28s %s\n", "-h, --help", "print this");
}

static bool parse_int(const char *text, long min, int *out)
{
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || v < min || v > COUNT_MAX)
        return false;
    *out = (int)v;
    return true;
}

static bool is_size(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 18)
        return false;
    const char *unit = text + digits;
    return *unit == '\0' || (strchr("KMG", *unit) != NULL && unit[1] == '\0');
}

static bool is_auto(const char *text)
{
    int ignored;
    return strcmp(text, "auto") == 0 || parse_int(text, 1, &ignored);
}

static bool parse_seconds(const char *text, int *out_ms)
{
    char *end;
    double s = strtod(text, &end);
    if (end == text || (*end != '\0' && strcmp(end, "s") != 0) || !(s >= 0 && s <= SECONDS_MAX))
        return false;
    *out_ms = (int)(s * 1000);
    return true;
}

bool cli_number(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0)
        return false;
    *out = n;
    return true;
}

static bool parse_epoch(const char *text, uint64_t *out)
{
    uint64_t n;
    if (!cli_number(text, &n) || n == 0 || n == UINT64_MAX)
        return false;
    *out = n;
    return true;
}

static bool parse_bytes(const char *text, uint64_t *out)
{
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    const char *unit = *end != '\0' ? strchr(units, *end) : NULL;
    unsigned shift = unit != NULL ? 10u * (unsigned)(unit - units + 1) : 0;
    if (!isdigit((unsigned char)text[0]) || errno != 0 || n > UINT64_MAX >> shift ||
        (*end != '\0' && (unit == NULL || end[1] != '\0')))
        return false;
    *out = n << shift;
    return *out != UINT64_MAX;
}

/* Stores the value; NULL, or what it should have been. */
static const char *store(const struct cli_option *o, const char *text)
{
    switch (o->kind) {
    case CLI_FLAG: *(bool *)o->out = true; return NULL;
    case CLI_TEXT: *(const char **)o->out = text; return NULL;
    case CLI_COUNT: return parse_int(text, 1, o->out) ? NULL : "a whole number from 1";
    case CLI_RANK: return parse_int(text, 0, o->out) ? NULL : "a whole number from 0";
    case CLI_SIZE: *(const char **)o->out = text; return is_size(text) ? NULL : "a size, like 512M or 4G";
    case CLI_AUTO: *(const char **)o->out = text; return is_auto(text) ? NULL : "a whole number from 1, or auto";
    case CLI_SECONDS: return parse_seconds(text, o->out) ? NULL : "seconds, like 30 or 1.5";
    case CLI_EPOCH: return parse_epoch(text, o->out) ? NULL : "an epoch: a whole number from 1, below 2^64 - 1";
    case CLI_BYTES: return parse_bytes(text, o->out) ? NULL : "bytes, like 4096 or 64K, below 2^64 - 1";
    case CLI_LIST: return list_add(o->out, text) == 0 ? NULL : "something that memory can hold";
    }
    return NULL;
}

/* The option that an argument names; *value is what follows '=' or a letter, or NULL. */
static const struct cli_option *find(const struct cli_option *options, size_t count, const char *arg,
                                     const char **value)
{
    *value = NULL;
    bool is_long = arg[1] == '-';
    size_t len = is_long ? strcspn(arg + 2, "=") : 1;
    for (size_t i = 0; i < count; i++) {
        const struct cli_option *o = &options[i];
        bool match = is_long ? strlen(o->name) == len && strncmp(arg + 2, o->name, len) == 0
                             : o->letter != 0 && o->letter == arg[1];
        if (!match)
            continue;
        const char *rest = arg + (is_long ? 2 + len : 2);
        if (*rest != '\0')
            *value = is_long ? rest + 1 : rest;
        return o;
    }
    return NULL;
}

/* One option at argv[i]. Returns how many arguments it took, 0 after --help, or -1 after a sentence. */
static int parse_one(const struct cli_verb *self, const struct cli_option *options, size_t count, int left, char **argv)
{
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
        print_help(self, options, count);
        return 0;
    }
    const char *value;
    const struct cli_option *o = find(options, count, argv[0], &value);
    if (o == NULL)
        return cli_usage(self, "%s: no such option; see `tiercel %s --help`", argv[0], self->name), -1;
    if (o->kind == CLI_FLAG && value != NULL)
        return cli_usage(self, "--%s takes no value", o->name), -1;
    int taken = 1;
    if (o->kind != CLI_FLAG && value == NULL) {
        if (left < 2)
            return cli_usage(self, "--%s needs a value: %s", o->name, o->value), -1;
        value = argv[1];
        taken = 2;
    }
    const char *wanted = store(o, value);
    if (wanted != NULL)
        return cli_usage(self, "--%s %s: must be %s", o->name, value, wanted), -1;
    return taken;
}

int cli_parse(const struct cli_verb *self, const struct cli_option *options, size_t count, int *argc, char ***argv,
              int operands_max)
{
    int at = 0;
    while (at < *argc && (*argv)[at][0] == '-' && (*argv)[at][1] != '\0') {
        if (strcmp((*argv)[at], "--") == 0) {
            at++;
            break;
        }
        int taken = parse_one(self, options, count, *argc - at, *argv + at);
        if (taken <= 0)
            return taken == 0 ? cli_finish() : CLI_USAGE;
        at += taken;
    }
    *argc -= at;
    *argv += at;
    if (operands_max < 0 || *argc <= operands_max)
        return CLI_GO;
    /* People write options last, too: say what to do instead of a bare "too many". */
    const char *extra = (*argv)[operands_max];
    return cli_usage(self, "%s: one argument too many%s", extra, extra[0] == '-' ? "; options come first" : "");
}

int cli_parse_mixed(const struct cli_verb *self, const struct cli_option *options, size_t count, int *argc,
                    char ***argv, int operands_max)
{
    int kept = 0;
    bool plain = false; /* behind "--" */
    for (int at = 0; at < *argc;) {
        char *arg = (*argv)[at];
        if (plain || arg[0] != '-' || arg[1] == '\0') {
            (*argv)[kept++] = arg;
            at++;
        } else if (strcmp(arg, "--") == 0) {
            plain = true;
            at++;
        } else {
            int taken = parse_one(self, options, count, *argc - at, *argv + at);
            if (taken <= 0)
                return taken == 0 ? cli_finish() : CLI_USAGE;
            at += taken;
        }
    }
    *argc = kept;
    if (operands_max < 0 || *argc <= operands_max)
        return CLI_GO;
    return cli_usage(self, "%s: one argument too many", (*argv)[operands_max]);
}
