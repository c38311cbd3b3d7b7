// SPDX-License-Identifier: Apache-2.0
/* libfabric: loading it, choosing a provider, the endpoint, and memory registration.
 *
 * What is asked for is what tcp, verbs and cxi all have: reads only, reliable datagram endpoint, a descriptor to wait
 * on. Providers that spin, or that were seen to lose peers, are refused by name. */
#include "net/ofi.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CQ_SIZE = 1024 };

static bool find_symbol(void *handle, const char *name, void *out, size_t size)
{
    void *symbol = dlsym(handle, name);
    memcpy(out, &symbol, size); /* ISO C knows no cast from object to function pointers */
    return symbol != NULL;
}

/* The message layer's buffers are ours to choose as long as nobody else did: its defaults cost 70 MB a process. It reads
 * them when it is asked for providers. */
static void prefer_small_buffers(void)
{
    setenv("FI_OFI_RXM_BUFFER_SIZE", "512", 0);
    setenv("FI_OFI_RXM_USE_SRX", "1", 0);
    setenv("FI_OFI_RXM_MSG_RX_SIZE", "16", 0);
    setenv("FI_OFI_RXM_MSG_TX_SIZE", "128", 0);
}

int ofi_library_load(struct ofi_library *lib, struct tl_error *err)
{
    prefer_small_buffers();
    lib->handle = dlopen("libfabric.so.1", RTLD_NOW | RTLD_LOCAL);
    if (lib->handle == NULL)
        return tl_error_set(err, -ENOTSUP, "libfabric.so.1 cannot be loaded (%s): install libfabric, or use --bulk tcp",
                            dlerror());
    bool found = find_symbol(lib->handle, "fi_getinfo", &lib->getinfo, sizeof lib->getinfo);
    found = find_symbol(lib->handle, "fi_freeinfo", &lib->freeinfo, sizeof lib->freeinfo) && found;
    found = find_symbol(lib->handle, "fi_dupinfo", &lib->dupinfo, sizeof lib->dupinfo) && found;
    found = find_symbol(lib->handle, "fi_fabric", &lib->fabric, sizeof lib->fabric) && found;
    found = find_symbol(lib->handle, "fi_strerror", &lib->strerror, sizeof lib->strerror) && found;
    if (!found)
        return tl_error_set(err, -ENOTSUP, "libfabric.so.1 lacks functions that Tiercel needs: use --bulk tcp");
    return 0;
}

/* Our address as the fabric should use it: the network that the node list names, not the first one. */
static int own_address(struct ofi *o, char *host, size_t size, uint32_t *format, struct tl_error *err)
{
    const struct tcp *t = ofi_tcp(o);
    struct tcp_addresses found;
    int rc = tcp_address_resolve(t->addresses[t->config.rank], true, &found, err);
    if (rc != 0)
        return rc;
    const struct sockaddr *addr = (const struct sockaddr *)&found.list[0].addr;
    *format = addr->sa_family == AF_INET6 ? FI_SOCKADDR_IN6 : FI_SOCKADDR_IN;
    return getnameinfo(addr, found.list[0].len, host, (socklen_t)size, NULL, 0, NI_NUMERICHOST) == 0 ? 0 : -EINVAL;
}

static struct fi_info *make_hints(const struct ofi *o, const char *provider, uint32_t format)
{
    struct fi_info *hints = o->lib.dupinfo(NULL);
    if (hints == NULL)
        return NULL;
    hints->caps = FI_RMA | FI_READ | FI_REMOTE_READ;
    hints->mode = FI_CONTEXT | FI_CONTEXT2;
    hints->addr_format = format;
    hints->ep_attr->type = FI_EP_RDM;
    hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT;
    hints->domain_attr->threading = FI_THREAD_DOMAIN;
    hints->domain_attr->av_type = FI_AV_TABLE;
    hints->fabric_attr->prov_name = strdup(provider); /* freed with the hints */
    return hints;
}

static bool starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static int refuse_provider(const struct fi_info *info, struct tl_error *err)
{
    const char *name = info->fabric_attr->prov_name;
    /* prov_version of libfabric's own providers is (100 * major + minor, 10 * revision) since 1.8. */
    bool spins = strcmp(name, "tcp") == 0 && info->fabric_attr->prov_version < FI_VERSION(118, 10);
    if (spins || starts_with(name, "net") || starts_with(name, "sockets") || starts_with(name, "shm"))
        return tl_error_set(err, -ENOTSUP,
                            "libfabric's provider '%s' keeps a processor busy while idle: use 'tcp;ofi_rxm', a newer "
                            "libfabric (1.18.1), or --bulk tcp",
                            name);
    return 0;
}

static int get_info(struct ofi *o, const char *provider, struct tl_error *err)
{
    bool cxi = starts_with(provider, "cxi");
    char host[NI_MAXHOST] = "";
    uint32_t format = FI_FORMAT_UNSPEC;
    int rc = cxi ? 0 : own_address(o, host, sizeof host, &format, err);
    if (rc != 0)
        return rc;
    struct fi_info *hints = make_hints(o, provider, format);
    if (hints == NULL)
        return tl_error_set(err, -ENOMEM, "out of memory for libfabric");
    rc = o->lib.getinfo(FI_VERSION(1, 17), cxi ? NULL : host, NULL, cxi ? 0 : FI_SOURCE, hints, &o->info);
    o->lib.freeinfo(hints);
    if (rc != 0)
        return tl_error_set(
            err, -ENOTSUP,
            "libfabric's provider '%s' cannot be used on this machine (%s): see `fi_info`, or use --bulk "
            "tcp",
            provider, o->lib.strerror(-rc));
    snprintf(o->provider, sizeof o->provider, "%s", o->info->fabric_attr->prov_name);
    o->cxi = cxi;
    o->hardware = cxi || starts_with(provider, "verbs");
    return refuse_provider(o->info, err);
}

static bool has_entries(const char *folder)
{
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return false;
    int entries = 0;
    for (const struct dirent *e = readdir(dir); e != NULL && entries == 0; e = readdir(dir))
        entries += e->d_name[0] != '.';
    closedir(dir);
    return entries > 0;
}

int ofi_fabric_open(struct ofi *o, const char *provider, struct tl_error *err)
{
    const char *tried[2] = {provider, NULL};
    if (strcmp(provider, "auto") == 0) {
        /* Only hardware is worth it: over TCP sockets the fabric does what we do ourselves. */
        int count = 0;
        tried[0] = NULL;
        if (has_entries("/sys/class/cxi"))
            tried[count++] = "cxi";
        if (has_entries("/sys/class/infiniband"))
            tried[count++] = "verbs;ofi_rxm";
        if (count == 0)
            return tl_error_set(err, -ENOTSUP, "this machine has no fabric that Tiercel knows: bulk goes over TCP");
    }
    int rc = ofi_library_load(&o->lib, err);
    if (rc != 0)
        return rc;
    for (int i = 0; i < 2 && tried[i] != NULL; i++) {
        rc = get_info(o, tried[i], err);
        if (rc != -ENOTSUP)
            break;
    }
    if (rc != 0)
        return rc;
    rc = o->lib.fabric(o->info->fabric_attr, &o->fabric, NULL);
    if (rc != 0)
        return tl_error_set(err, -ENOTSUP, "libfabric's provider '%s' does not open (%s): use --bulk tcp", o->provider,
                            o->lib.strerror(-rc));
    return 0;
}

void ofi_fabric_close(struct ofi *o)
{
    ofi_endpoint_close(o);
    if (o->fabric != NULL)
        fi_close(&o->fabric->fid);
    if (o->info != NULL)
        o->lib.freeinfo(o->info);
    o->fabric = NULL;
    o->info = NULL;
    /* The library stays: providers have threads and exit handlers that do not survive dlclose(). */
}

static void close_fid(struct fid *fid)
{
    if (fid != NULL)
        fi_close(fid);
}

#define FID_OF(object) ((object) != NULL ? &(object)->fid : NULL)

void ofi_memory_release(struct ofi_memory *m)
{
    close_fid(FID_OF(m->mr));
    *m = (struct ofi_memory){0};
}

void ofi_memory_register(struct ofi *o, struct ofi_memory *m, void *base, size_t len, uint64_t access)
{
    if (o->at.domain == NULL)
        return;
    struct fid_mr *mr = NULL;
    if (fi_mr_reg(o->at.domain, base, len, access, 0, ++o->next_key, 0, &mr, NULL) != 0)
        return; /* too much for RLIMIT_MEMLOCK, perhaps: reads of it go over TCP */
    int mode = o->info->domain_attr->mr_mode;
    if ((mode & FI_MR_ENDPOINT) != 0 && (fi_mr_bind(mr, &o->at.ep->fid, 0) != 0 || fi_mr_enable(mr) != 0)) {
        fi_close(&mr->fid);
        return;
    }
    m->mr = mr;
    m->remote = (mode & FI_MR_VIRT_ADDR) != 0 ? (uint64_t)(uintptr_t)base : 0;
}

static uint64_t access_of(unsigned flags)
{
    return ((flags & TL_REGION_SERVE) != 0 ? FI_REMOTE_READ : 0) | ((flags & TL_REGION_LAND) != 0 ? FI_READ : 0);
}

/* 0 or libfabric's negative number. */
static int open_parts(struct ofi *o)
{
    struct ofi_endpoint *at = &o->at;
    struct fi_av_attr av = {.type = FI_AV_TABLE};
    struct fi_cq_attr cq = {.size = CQ_SIZE, .format = FI_CQ_FORMAT_CONTEXT, .wait_obj = FI_WAIT_FD};
    int rc = fi_domain(o->fabric, o->info, &at->domain, NULL);
    if (rc == 0)
        rc = fi_av_open(at->domain, &av, &at->av, NULL);
    if (rc == 0)
        rc = fi_cq_open(at->domain, &cq, &at->cq, NULL);
    if (rc == 0)
        rc = fi_endpoint(at->domain, o->info, &at->ep, NULL);
    if (rc == 0)
        rc = fi_ep_bind(at->ep, &at->av->fid, 0);
    if (rc == 0)
        rc = fi_ep_bind(at->ep, &at->cq->fid, FI_TRANSMIT | FI_RECV);
    if (rc == 0)
        rc = fi_enable(at->ep);
    if (rc == 0)
        rc = fi_control(&at->cq->fid, FI_GETWAIT, &at->wait_fd);
    if (rc == 0) {
        at->address_len = sizeof at->address;
        rc = fi_getname(&at->ep->fid, at->address, &at->address_len);
    }
    return rc;
}

int ofi_endpoint_open(struct ofi *o, struct tl_error *err)
{
    struct tcp *t = ofi_tcp(o);
    int rc = open_parts(o);
    if (rc == 0)
        rc = tcp_side_watch(o->tcp, o->at.wait_fd);
    if (rc != 0) {
        ofi_endpoint_close(o);
        return tl_error_set(
            err, -ENOTSUP,
            "libfabric's provider '%s' does not open an endpoint (%s): is this process allowed to use the "
            "fabric? Bulk goes over TCP",
            o->provider, o->lib.strerror(-rc));
    }
    size_t probe_bytes = OFI_PROBE_SIZE * (1 + OFI_PROBE_SLOTS);
    ofi_memory_register(o, &o->probe, o->probe_memory, probe_bytes, FI_REMOTE_READ | FI_READ);
    for (uint32_t i = 0; i < TCP_REGION_MAX; i++)
        if (t->regions[i].flags != 0)
            ofi_memory_register(o, &o->regions[i], t->regions[i].base, t->regions[i].len,
                                access_of(t->regions[i].flags));
    o->again = true;
    return 0;
}

/* The endpoint goes first: from then on nothing writes to our memory. */
void ofi_endpoint_close(struct ofi *o)
{
    struct ofi_endpoint *at = &o->at;
    close_fid(FID_OF(at->ep));
    ofi_memory_release(&o->probe);
    for (uint32_t i = 0; i < TCP_REGION_MAX; i++)
        ofi_memory_release(&o->regions[i]);
    close_fid(FID_OF(at->cq));
    close_fid(FID_OF(at->av));
    close_fid(FID_OF(at->domain));
    *at = (struct ofi_endpoint){.wait_fd = -1};
}
