// SPDX-License-Identifier: Apache-2.0
/* A short secret handed to another machine of the site inside a MUNGE credential: encrypted and signed by the site's
 * munged, for our own uid alone, for a few minutes, once a machine.
 *
 * libmunge is looked for when it is wanted, not linked (docs/decisions/0016): without it, or built without its header,
 * sealing says -ENOTSUP. Each call asks the local munged and waits for it, for seconds at most: not for event loops.
 * $TIERCEL_MUNGE_SOCKET names another socket than libmunge's. */
#ifndef TL_BASE_CREDENTIAL_H
#define TL_BASE_CREDENTIAL_H

#include <stdbool.h>

#include "base/check.h"
#include "base/error.h"

#define TL_CREDENTIAL_SECRET_MAX 4096u /* bytes of what is sealed */

/* The text is a credential, by its first letters; nothing is checked. */
bool tl_credential_is(const char *text);
/* *out: a credential, one line without an end, malloc'd; or -ENOTSUP (no libmunge), -EHOSTUNREACH (no munged), -EIO. */
int tl_credential_seal(const char *secret, char **out, struct tl_error *err) TL_MUST_CHECK;
/* *out: the secret, malloc'd: wipe it. The credential ends at a newline or NUL. It must have been made by our own uid,
 * by tl_credential_seal, and never been opened on this machine; else: -EKEYEXPIRED, -EKEYREJECTED (another uid's, or opened before),
 * -EBADMSG (altered, or of another site), -EPROTO (of another program), and what sealing gives. */
int tl_credential_open(const char *credential, char **out, struct tl_error *err) TL_MUST_CHECK;

#endif
