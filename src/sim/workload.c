// SPDX-License-Identifier: Apache-2.0
#include "sim/workload.h"

#include <stdlib.h>
#include <string.h>

bool tl_workload_by_name(struct tl_workload *w, const char *name)
{
    memset(w, 0, sizeof *w);
    if (strcmp(name, "imports") == 0)
        tl_workload_imports(w);
    else if (strcmp(name, "random") == 0)
        tl_workload_random(w);
    else if (strcmp(name, "stream") == 0)
        tl_workload_stream(w);
    else if (strcmp(name, "files") == 0)
        tl_workload_files(w);
    else
        return false;
    return true;
}

void tl_workload_fini(struct tl_workload *w)
{
    free(w->steps);
    w->steps = NULL;
}
