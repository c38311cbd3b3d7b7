// SPDX-License-Identifier: Apache-2.0
/* Loading librados, once a process; it stays. */
#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "store/rados.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct tl_rados_lib library;
static bool loaded;

static bool find(void *handle, const char *name, void *out)
{
    void *symbol = dlsym(handle, name);
    memcpy(out, &symbol, sizeof symbol); /* ISO C knows no cast from object to function pointers */
    return symbol != NULL;
}

static int load(struct tl_error *err)
{
    void *handle = dlopen("librados.so.2", RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        return tl_error_set(err, -ENOTSUP,
                            "librados.so.2 cannot be loaded (%s): install librados2 to use rados:// pools", dlerror());
    bool found = true;
#define TL_RADOS_FIND(call) found = find(handle, "rados_" #call, &library.call) && found;
    TL_RADOS_CALLS(TL_RADOS_FIND)
#undef TL_RADOS_FIND
    if (!found)
        return tl_error_set(err, -ENOTSUP,
                            "librados.so.2 lacks functions that Tiercel needs: install librados2 of Ceph 16 or newer");
    loaded = true;
    return 0;
}

int tl_rados_lib_load(const struct tl_rados_lib **out, struct tl_error *err)
{
    pthread_mutex_lock(&mutex);
    int rc = loaded ? 0 : load(err);
    pthread_mutex_unlock(&mutex);
    *out = &library;
    return rc;
}
