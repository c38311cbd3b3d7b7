#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A stand-in for tiercel-launch: says what it was asked for on standard error, then runs the command.
for arg in "$@"; do
    shift
    [ "$arg" = -- ] && break
    printf 'launch %s\n' "$arg" >&2
done
exec "$@"
