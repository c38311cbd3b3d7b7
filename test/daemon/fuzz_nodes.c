// SPDX-License-Identifier: Apache-2.0
/* libFuzzer's way into the parsers of what launchers hand over: key, sizes, and the node list as the daemon and as the
 * command read it. What is let through reads the same a second time. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cli/tier.h"
#include "daemon/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As cli/output.c has it. */
int cli_error(struct tiercel_error *err, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    err->code = code;
    return code;
}

static void key(const char *text)
{
    uint8_t bytes[TL_KEY_SIZE];
    uint64_t number;
    if (tl_parse_key(text, bytes) == 0)
        check(strlen(text) >= 64);
    if (tl_parse_key_line(text, bytes, &number) == 0)
        check(strlen(text) >= 64 && number < 1000000000000u);
    if (tl_parse_size(text, &number) == 0)
        check(text[0] >= '0' || text[0] == ' ' || (text[0] >= '\t' && text[0] <= '\r'));
}

static char *joined(const struct tl_options *o)
{
    size_t size = 1;
    for (uint32_t i = 0; i < o->node_count; i++)
        size += strlen(o->addresses[i]) + 1;
    char *text = malloc(size), *at = text;
    check(text != NULL);
    *at = 0;
    for (uint32_t i = 0; i < o->node_count; i++) {
        at = stpcpy(at, o->addresses[i]);
        *at++ = '\n';
        *at = 0;
    }
    return text;
}

static void daemon_list(const char *text)
{
    struct tl_options o = {0}, second = {0};
    struct tl_error err;
    char *copy = strdup(text);
    check(copy != NULL);
    if (tl_parse_nodes(&o, copy, "list", &err) == 0) {
        check(o.node_count > 0);
        for (uint32_t i = 0; i < o.node_count; i++) { /* a port that was given is the one that is used */
            const char *port = strrchr(o.addresses[i], ':') + 1;
            check(strtoul(port, NULL, 10) == tl_default_port(o.key) || strstr(text, port) != NULL);
        }
        char *again = joined(&o);
        check(tl_parse_nodes(&second, again, "again", &err) == 0 && second.node_count == o.node_count);
        for (uint32_t i = 0; i < o.node_count; i++)
            check(strcmp(o.addresses[i], second.addresses[i]) == 0);
        tl_options_fini(&second);
        free(again);
    }
    tl_options_fini(&o);
    free(copy);
}

static void command_list(const char *text, bool once)
{
    struct cli_nodes nodes = {0}, second = {0};
    struct tiercel_error err;
    if (cli_nodes_parse(&nodes, text, "list", once, &err) < 0)
        return;
    char *again = cli_nodes_text(&nodes);
    check(again != NULL && cli_nodes_parse(&second, again, "again", false, &err) == 0);
    check(second.count == nodes.count);
    cli_nodes_fini(&second);
    cli_nodes_fini(&nodes);
    struct tl_options o = {
        0}; /* what the command accepts, the daemon does, too; but for twins with and without a port */
    struct tl_error why;
    int rc = tl_parse_nodes(&o, again, "daemon", &why);
    check(rc == 0 || strstr(why.msg, "twice") != NULL || strlen(text) > 250);
    tl_options_fini(&o);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    char *text = malloc(size);
    check(text != NULL);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = 0;
    if (data[0] % 4 == 0)
        key(text);
    else if (data[0] % 4 == 1)
        daemon_list(text);
    else
        command_list(text, data[0] % 4 == 3);
    free(text);
    return 0;
}
