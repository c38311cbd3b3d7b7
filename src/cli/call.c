// SPDX-License-Identifier: Apache-2.0
/* One call to a daemon of this machine. */
#include "cli/cli.h"

#include <errno.h>

int cli_call(const char *tier, int rank, const char *const argv[], char **json, struct tiercel_error *err)
{
    struct tiercel *t;
    int rc = tiercel_open(&t, tier, rank, CLI_CALL_TIMEOUT_MS, err);
    if (rc < 0)
        return rc;
    rc = tiercel_call(t, argv, -1, CLI_CALL_TIMEOUT_MS, NULL, NULL, json, err);
    tiercel_close(t);
    return rc;
}

bool cli_ask(const char *tier, int rank, bool json, const char *const argv[], json_t **out, int *code)
{
    struct tiercel_error err = {0};
    char *text = NULL;
    int rc = json ? cli_call(tier, rank, argv, &text, &err) : cli_call_json(tier, rank, argv, out, &err);
    if (rc < 0)
        *code = cli_report(&err, json);
    else if (json)
        *code = cli_print_json_text(text);
    tiercel_free(text);
    return rc == 0 && !json;
}

int cli_call_json(const char *tier, int rank, const char *const argv[], json_t **out, struct tiercel_error *err)
{
    char *text;
    int rc = cli_call(tier, rank, argv, &text, err);
    if (rc < 0)
        return rc;
    json_error_t why;
    *out = json_loads(text, 0, &why);
    tiercel_free(text);
    if (*out == NULL)
        return cli_error(err, -EBADMSG, "the daemon's answer to `%s` is not JSON (%s); is it of another version?",
                         argv[0], why.text);
    return 0;
}
