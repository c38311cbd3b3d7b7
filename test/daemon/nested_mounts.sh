#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# With several daemons on one machine, the mount of one lies in what another reads: it must be shown empty, not descended
# into, a level deeper each time.
#
#   nested_mounts.sh BUILD      exit 77: cannot be tested here
set -u
build=$1
if [ "$(id -u)" != 0 ] || [ ! -c /dev/fuse ]; then
    echo "skipped: needs root and /dev/fuse"
    exit 77
fi
temp=$(mktemp -d)
export TIERCEL_RUNTIME_DIR=$temp/run
tiercel=$build/src/cli/tiercel
finish() {
    "$tiercel" down >/dev/null 2>&1
    rm -rf "$temp"
}
trap finish EXIT

fail() {
    echo "failed: $*"
    exit 1
}

mkdir "$temp/view" "$temp/view two"
echo here >"$temp/file"
"$tiercel" up -N 2 || fail "no tier"
"$tiercel" mount --rank 1 "$temp/view" || fail "node 1 cannot mount"
"$tiercel" mount --rank 0 "$temp/view two" || fail "node 0 cannot mount at a path with a blank"
for view in "$temp/view" "$temp/view two"; do
    [ "$(timeout 30 cat "$view$temp/file")" = here ] || fail "$view does not show $temp/file"
    for inner in "$temp/view" "$temp/view two"; do
        names=$(timeout 30 ls -A "$view$inner") || fail "$view$inner: cannot be listed"
        [ -z "$names" ] || fail "$view$inner is not empty: $names"
    done
done
timeout 30 find "$temp/view$temp" >"$temp/found" || fail "find does not end, or fails"
[ "$(wc -l <"$temp/found")" -lt 100 ] || fail "find goes round in circles"
"$tiercel" umount --rank 1 "$temp/view" || fail "node 1 cannot unmount"
echo passed
