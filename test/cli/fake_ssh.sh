#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A stand-in for ssh: runs the command here. $FAKE_SSH_LOG gets a line a call; hosts `down*` cannot be reached, hosts
# `bare*` have no Tiercel.
while [ "${1#-}" != "$1" ]; do shift; done
host=$1
shift
printf '%s: %s\n' "$host" "$*" >>"${FAKE_SSH_LOG:-/dev/null}"
case $host in
down*) echo "ssh: connect to host $host port 22: No route to host" >&2 && exit 255 ;;
bare*) echo "sh: 1: tierceld: not found" >&2 && exit 127 ;;
esac
exec sh -c "$*"
