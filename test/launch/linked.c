// SPDX-License-Identifier: Apache-2.0
/* Linked to the plugin, which it finds by an RPATH that leads into the tree. */
#include <stdio.h>

int plugin_answer(int n);

int main(void)
{
    printf("linked: %d\n", plugin_answer(5));
    return 0;
}
