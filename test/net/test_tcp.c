// SPDX-License-Identifier: Apache-2.0
/* The conformance suite on the TCP transport. `test_net_tcp encrypt`: with encryption. */
#include <string.h>

#include "net/loopback.h"

int main(int argc, char **argv)
{
    bool encrypt = argc > 1 && strcmp(argv[1], "encrypt") == 0;
    struct tl_net_suite_env env = {.name = encrypt ? "tcp, encrypted" : "tcp", .encrypt = encrypt};
    loopback_env(&env, tl_net_tcp_open);
    return tl_net_suite_run(&env);
}
