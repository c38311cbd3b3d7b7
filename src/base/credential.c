// SPDX-License-Identifier: Apache-2.0
#include "base/credential.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "MUNGE:"

bool tl_credential_is(const char *text)
{
    return strncmp(text, PREFIX, sizeof PREFIX - 1) == 0;
}

#ifdef TL_HAVE_MUNGE

#include <dlfcn.h>
#include <munge.h>
#include <unistd.h>

#define TTL_S 300 /* a start of a large job may take minutes until its last daemon reads */

static const char label[] = "tiercel 1 "; /* before the secret: a credential of another program is none of ours */

struct library {
    void *handle;
    munge_ctx_t (*create)(void);
    void (*destroy)(munge_ctx_t);
    munge_err_t (*set)(munge_ctx_t, munge_opt_t, ...);
    const char *(*why)(munge_ctx_t);
    munge_err_t (*encode)(char **, munge_ctx_t, const void *, int);
    munge_err_t (*decode)(const char *, munge_ctx_t, void **, int *, uid_t *, gid_t *);
    munge_ctx_t ctx;
};

static void close_library(struct library *m)
{
    if (m->ctx != NULL)
        m->destroy(m->ctx);
    if (m->handle != NULL)
        dlclose(m->handle);
}

static int open_library(struct library *m, struct tl_error *err)
{
    *m = (struct library){.handle = dlopen("libmunge.so.2", RTLD_NOW | RTLD_LOCAL)};
    if (m->handle == NULL)
        return tl_error_set(err, -ENOTSUP,
                            "MUNGE: libmunge.so.2 is not on this machine; install it, or use --auth key");
    const struct {
        const char *name;
        void *to;
    } symbols[] = {{"munge_ctx_create", &m->create}, {"munge_ctx_destroy", &m->destroy}, {"munge_ctx_set", &m->set},
                   {"munge_ctx_strerror", &m->why},  {"munge_encode", &m->encode},       {"munge_decode", &m->decode}};
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *symbol = dlsym(m->handle, symbols[i].name);
        if (symbol == NULL)
            return tl_error_set(err, -ENOTSUP, "MUNGE: libmunge.so.2 has no %s; use --auth key", symbols[i].name);
        memcpy(symbols[i].to, &symbol, sizeof symbol); /* C has no cast from an object's to a function's address */
    }
    m->ctx = m->create();
    if (m->ctx == NULL)
        return tl_error_set(err, -ENOMEM, "MUNGE: out of memory");
    const char *socket = getenv("TIERCEL_MUNGE_SOCKET");
    if (socket != NULL && *socket != 0 && m->set(m->ctx, MUNGE_OPT_SOCKET, socket) != EMUNGE_SUCCESS)
        return tl_error_set(err, -EINVAL, "MUNGE: $TIERCEL_MUNGE_SOCKET cannot be used: %s", m->why(m->ctx));
    return 0;
}

/* What libmunge says, and what to do about it. */
static int refuse(const struct library *m, munge_err_t code, struct tl_error *err)
{
    switch (code) {
    case EMUNGE_SOCKET:
        return tl_error_set(err, -EHOSTUNREACH,
                            "MUNGE: munged does not answer on this machine (%s); have it started, or use --auth key",
                            m->why(m->ctx));
    case EMUNGE_CRED_EXPIRED:
        return tl_error_set(err, -EKEYEXPIRED,
                            "MUNGE: the credential has expired: the start took too long, or the machines' clocks "
                            "differ; compare them, and start again");
    case EMUNGE_CRED_REWOUND:
        return tl_error_set(err, -EKEYEXPIRED,
                            "MUNGE: the credential comes from the future: the machines' clocks differ; set them");
    case EMUNGE_CRED_REPLAYED:
        return tl_error_set(err, -EKEYREJECTED,
                            "MUNGE: the credential was used on this machine before: somebody plays back an earlier "
                            "start, or two daemons got the same one; start the tier again");
    case EMUNGE_CRED_UNAUTHORIZED:
        return tl_error_set(err, -EKEYREJECTED,
                            "MUNGE: the credential is for another user than uid %u; start the tier as this user",
                            geteuid());
    case EMUNGE_NO_MEMORY: return tl_error_set(err, -ENOMEM, "MUNGE: out of memory");
    case EMUNGE_BAD_CRED:
    case EMUNGE_BAD_VERSION:
    case EMUNGE_BAD_CIPHER:
    case EMUNGE_BAD_MAC:
    case EMUNGE_BAD_ZIP:
    case EMUNGE_BAD_REALM:
    case EMUNGE_CRED_INVALID:
        return tl_error_set(err, -EBADMSG,
                            "MUNGE: %s: it was altered or cut, or this machine has another munge.key; have the keys "
                            "compared (munge -n | ssh HOST unmunge)",
                            m->why(m->ctx));
    default: return tl_error_set(err, -EIO, "MUNGE: %s", m->why(m->ctx));
    }
}

int tl_credential_seal(const char *secret, char **out, struct tl_error *err)
{
    struct library m;
    char text[sizeof label + TL_CREDENTIAL_SECRET_MAX], *credential = NULL;
    int len = snprintf(text, sizeof text, "%s%s", label, secret), rc = open_library(&m, err);
    check(len > 0 && (size_t)len < sizeof text);
    if (rc == 0) {
        munge_err_t code = m.set(m.ctx, MUNGE_OPT_UID_RESTRICTION, geteuid());
        if (code == EMUNGE_SUCCESS)
            code = m.set(m.ctx, MUNGE_OPT_TTL, TTL_S);
        if (code == EMUNGE_SUCCESS)
            code = m.encode(&credential, m.ctx, text, len);
        rc = code == EMUNGE_SUCCESS ? 0 : refuse(&m, code, err);
    }
    explicit_bzero(text, sizeof text);
    if (rc == 0)
        *out = credential;
    else
        free(credential);
    close_library(&m);
    return rc;
}

/* The secret out of a payload, or NULL: it has none. */
static char *secret_of(const char *payload, int len)
{
    size_t lead = sizeof label - 1;
    if (payload == NULL || len < 0 || (size_t)len < lead || memcmp(payload, label, lead) != 0)
        return NULL;
    return strndup(payload + lead, (size_t)len - lead);
}

int tl_credential_open(const char *credential, char **out, struct tl_error *err)
{
    struct library m;
    int rc = open_library(&m, err), len = 0;
    char *line = rc == 0 ? strndup(credential, strcspn(credential, "\r\n")) : NULL;
    void *payload = NULL;
    uid_t uid = 0;
    gid_t gid;
    if (rc == 0 && line == NULL)
        rc = tl_error_set(err, -ENOMEM, "MUNGE: out of memory");
    if (rc == 0) {
        munge_err_t code = m.decode(line, m.ctx, &payload, &len, &uid, &gid);
        rc = code == EMUNGE_SUCCESS ? 0 : refuse(&m, code, err);
    }
    if (rc == 0 && uid != geteuid())
        rc = tl_error_set(
            err, -EKEYREJECTED,
            "MUNGE: the credential was made by uid %u, and we are uid %u: a key is taken from its own user "
            "only",
            uid, geteuid());
    char *secret = rc == 0 ? secret_of(payload, len) : NULL;
    if (rc == 0 && secret == NULL)
        rc = tl_error_set(err, -EPROTO, "MUNGE: the credential holds no key of a tier: another program made it");
    if (payload != NULL && len > 0) /* even of one that was refused */
        explicit_bzero(payload, (size_t)len);
    free(payload);
    free(line);
    close_library(&m);
    if (rc == 0)
        *out = secret;
    return rc;
}

#else

int tl_credential_seal(const char *secret, char **out, struct tl_error *err)
{
    (void)secret;
    (void)out;
    return tl_error_set(err, -ENOTSUP, "MUNGE: Tiercel was built without it (libmunge-dev); use --auth key");
}

int tl_credential_open(const char *credential, char **out, struct tl_error *err)
{
    return tl_credential_seal(credential, out, err);
}

#endif
