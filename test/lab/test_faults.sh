#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Daemons that die, keys that differ, caches that are too small: the reader gets right bytes or an error, and never hangs.
. "$(dirname "$0")/harness.sh"
. "$(dirname "$0")/tree.sh"

tree=$TEST_TEMP/tree
chmod 755 "$TEST_TEMP"
make_tree "$tree"
head -c 30000000 /dev/urandom >"$tree/big"
pfs=$LAB_MNT$LAB_PFS
want=$(md5sum <"$tree/big" | cut -d' ' -f1)

up() {
    lab_up "$@" || exit
    lab_tiercel 0 wait >/dev/null || failed 'the tier does not get ready'
    succeeds lab_mount
}

declare -f tree_sums >"$TEST_TEMP/sums.sh" && echo 'tree_sums "$1"' >>"$TEST_TEMP/sums.sh"
# Node I sees the whole tree as the source has it ($TEST_TEMP/want).
sums_on() {
    lab_exec "$1" timeout 100 bash "$TEST_TEMP/sums.sh" "$pfs" >"$TEST_TEMP/got" || failed "node $1: reading fails"
    succeeds cmp "$TEST_TEMP/got" "$TEST_TEMP/want"
}

reads_over() { (($(ctl_number .reads) > $1)); }

# kill_while_reading VICTIM READER: the reader is in the middle of a large file when the victim is killed.
kill_while_reading() {
    local victim=$1 reader=$2 job
    lab_ctl set bandwidth 20000000 >/dev/null
    lab_exec "$reader" timeout 60 md5sum "$pfs/big" >"$TEST_TEMP/sum" 2>&1 &
    job=$!
    lab_until 200 reads_over 10 || failed 'the reader does not begin'
    lab_daemon_kill "$victim" KILL
    lab_ctl set bandwidth 0 >/dev/null
    wait $job
    same "status of the reader on node $reader" $? 0
    same 'sum of what it read' "$(cut -d' ' -f1 "$TEST_TEMP/sum")" "$want"
}

begin 'an inner daemon is killed while a node below it reads'
up 3 --source "$tree" --busy '--service-us 100' --daemon '--arity 1'
kill_while_reading 1 2

begin 'what the reader did not have yet is still served, and right'
tree_sums "$tree" >"$TEST_TEMP/want"
sums_on 2

begin 'the killed daemon comes back and serves'
lab_exec 1 umount -l "$LAB_MNT" 2>/dev/null
succeeds lab_daemon_start 1 --arity 1
succeeds lab_tiercel 1 wait
succeeds lab_tiercel 1 mount "$LAB_MNT"
same sum "$(lab_exec 1 timeout 60 md5sum "$pfs/big" | cut -d' ' -f1)" "$want"
succeeds lab_down

begin 'the root is killed while a node below it reads'
up 3 --source "$tree" --busy '--service-us 100' --daemon '--arity 2'
kill_while_reading 0 2
succeeds lab_down

begin 'a cache that is smaller than the files gives right bytes'
up 2 --source "$tree" --busy '--service-us 0' --daemon '--cache-size 16M'
tree_sums "$tree" >"$TEST_TEMP/want"
for i in 0 1; do
    sums_on $i
    at_most "cached bytes of node $i" "$(lab_tiercel $i stat --json | jq .memory.cached_bytes)" $((16 << 20))
done
succeeds lab_down

begin 'a daemon with another key is refused, with a sentence, and harms nobody'
up 3 --source "$tree" --busy '--service-us 0'
lab_daemon_kill 2 TERM
(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$LAB_DIR/other-key" && echo >>"$LAB_DIR/other-key")
# shellcheck disable=SC2034 # read by lab_daemon_start
lab_daemon_start 2 --key "$LAB_DIR/other-key" || failed 'the daemon with the other key does not start'
said() { grep -qi 'key' "$LAB_DIR"/daemon-[02].log; }
lab_until 100 said || failed "nobody says a word about the key: $(tail -n 3 "$LAB_DIR/daemon-2.log")"
same 'a node with the right key still reads' "$(lab_exec 1 timeout 60 md5sum "$pfs/big" | cut -d' ' -f1)" "$want"
succeeds lab_down

begin 'bad input at start is refused with a sentence'
lab_up 1 --no-daemons --source "$tree" || exit
chmod 644 "$LAB_DIR/key"
fails_with 'key.*(0600|mode|permission)' lab_daemon_start 0
chmod 600 "$LAB_DIR/key"
mv "$LAB_DIR/nodes" "$LAB_DIR/nodes.good"
fails_with 'nodes.*(no such file|not there|cannot)' lab_daemon_start 0
printf 'host:port:nonsense\n' >"$LAB_DIR/nodes"
fails_with 'nodes' lab_daemon_start 0
mv "$LAB_DIR/nodes.good" "$LAB_DIR/nodes"
succeeds lab_daemon_start 0
fails_with 'directory' lab_tiercel 0 mount /srv/not-there
succeeds lab_tiercel 0 mount "$LAB_MNT"
fails_with 'mount' lab_tiercel 0 mount "$LAB_MNT"

finish
