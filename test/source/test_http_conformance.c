// SPDX-License-Identifier: Apache-2.0
/* The conformance suite on the HTTP source. Run by with_web.py. */
#include "source/conformance.h"
#include "source/web.h"

static int open_http(struct tl_source **out, const struct tl_source_config *config, struct tl_error *err)
{
    return tl_source_http_open(out, config, web_urls[0], 0, err);
}

int main(int argc, char **argv)
{
    web_begin(argc, argv);
    const struct tl_source_under_test http = {
        .name = "http",
        .root = WEB_ROOT,
        .open = open_http,
        .make_dir = web_make_dir,
        .put_file = web_put_file,
        .put_link = web_put_link,
        .remove = web_remove,
    };
    return tl_source_conformance_run(&http);
}
