#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A daemon in a control group with a quarter of the memory that its cache may have: a data set larger than the group streams
# through; nobody is killed, and the bytes are right.
#
#   memory_group.sh BUILD      exit 77: cannot be tested here
set -u
build=$1
limit=$((192 << 20)) size=$((384 << 20))
skip() {
    echo "skipped: $*"
    exit 77
}
[ "$(id -u)" = 0 ] && [ -c /dev/fuse ] || skip "needs root and /dev/fuse"
temp=$(mktemp -d)
export TIERCEL_RUNTIME_DIR=$temp/run
tiercel=$build/src/cli/tiercel
group='' own='' knob=memory.limit_in_bytes

finish() {
    "$tiercel" down >/dev/null 2>&1
    if [ -n "$group" ]; then
        echo $$ >"$own/cgroup.procs" 2>/dev/null
        for _ in 1 2 3 4 5 6 7 8 9 10; do # its processes have just ended
            rmdir "$group" 2>/dev/null && break
            sleep 0.1
        done
    fi
    rm -rf "$temp"
}
trap finish EXIT

fail() {
    echo "failed: $*"
    [ -r "$temp/run/default/node-0.log" ] && tail -5 "$temp/run/default/node-0.log"
    exit 1
}

if [ -d /sys/fs/cgroup/memory ]; then
    own=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)
    [ -d "$own" ] || own=/sys/fs/cgroup/memory
elif [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    own=/sys/fs/cgroup
    knob=memory.max
else
    skip "no memory control group"
fi
mkdir "$own/tiercel-test-$$" 2>/dev/null || skip "no control group can be made in $own"
group=$own/tiercel-test-$$
echo "$limit" >"$group/$knob" 2>/dev/null || skip "$group/$knob cannot be set"
echo $$ >"$group/cgroup.procs" 2>/dev/null || skip "no process can be moved to $group"

head -c "$size" /dev/urandom >"$temp/data" || fail "no data"
want=$(sha256sum <"$temp/data")
"$tiercel" up -N 1 --cache-size 1G || fail "no tier"
mkdir "$temp/view"
"$tiercel" mount "$temp/view" || fail "no mount"
# Twice, so that what was dropped is read again.
for turn in 1 2; do
    got=$(timeout 100 dd if="$temp/view$temp/data" bs=1M status=none | sha256sum)
    [ "$got" = "$want" ] || fail "turn $turn: other bytes than were written"
done
log=$temp/run/default/node-0.log
grep -q "control group is short" "$log" || fail "the cache has not given way"
[ "$(grep -c 'tierceld .* started' "$log")" = 1 ] || fail "the daemon was killed, and started again"
held=$("$tiercel" stat --json | jq '.memory.cached_bytes')
[ "$held" -lt "$limit" ] || fail "the cache holds $held bytes in a group of $limit"
echo passed
