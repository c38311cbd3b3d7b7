// SPDX-License-Identifier: Apache-2.0
/* The control protocol's frames, as the daemon and libtiercel both speak them over a Unix stream socket.
 *
 * Request: u32 little-endian, the number of bytes that follow; then NUL-terminated strings: verb, arguments.
 * One descriptor may ride along (SCM_RIGHTS) with the first byte of the length.
 * Reply: any number of progress frames, then one final frame. A frame: u32 little-endian, the number of bytes
 * that follow (kind and text); one byte kind; the JSON text, without a NUL.
 * One request at a time a connection; the connection stays open for the next one. */
#ifndef TL_BASE_CONTROL_H
#define TL_BASE_CONTROL_H

#define TL_CONTROL_REQUEST_MAX 65536u      /* bytes after the length */
#define TL_CONTROL_ARGS_MAX    64u         /* strings of a request, verb included */
#define TL_CONTROL_REPLY_MAX   (64u << 20) /* bytes after the length: counters of all nodes of a large tier */

#define TL_CONTROL_PROGRESS 'p' /* more follows */
#define TL_CONTROL_RESULT   'r' /* final: the answer */
#define TL_CONTROL_ERROR    'e' /* final: {"error": "a sentence", "code": "ENOENT", "errno": 2} */

#endif
