#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The lab: nodes have addresses, see only their own mount, and two labs live side by side and end without a trace.
. "$(dirname "$0")/harness.sh"

begin 'nodes have addresses of their own and reach each other'
lab_up 3 --no-daemons || exit
for i in 0 1 2; do
    same "address of node $i" "$(lab_exec $i ip -4 -br addr show eth0 | awk '{print $3}')" "10.77.0.$((i + 1))/24"
done
# A refused connection is an answer of the other node's kernel.
fails_with refused lab_exec 0 bash -c 'exec 3<>/dev/tcp/10.77.0.3/9'

begin 'a node sees its own mount only'
same mounts "$(lab_exec 1 grep -c fuse.busyfs /proc/mounts)" 1

begin 'the worst status of all nodes is the status of each'
rc=0
lab_each bash -c '[[ $(ip -4 -br addr show eth0) != *10.77.0.2/* ]]' 2>/dev/null || rc=$?
same status $rc 1

begin 'a second lab lives beside the first and leaves it alone when it ends'
second=$("$(dirname "$0")/lab" up 2 --no-daemons) || failed 'no second lab'
succeeds "$(dirname "$0")/lab" --dir "$second" exec 1 -- test -x /srv/pfs/bin/bash
succeeds "$(dirname "$0")/lab" --dir "$second" down
succeeds lab_exec 2 test -x /srv/pfs/bin/bash

begin 'a lab that has ended leaves nothing'
lab_exec 0 sleep 1000 &
sleeper=$!
nets=$(<"$LAB_DIR/nets")
dir=$LAB_DIR
succeeds lab_down
rc=0
wait $sleeper 2>/dev/null || rc=$?
same 'a program left on a node is ended' $rc 137
same 'its namespaces' "$(find /proc/[0-9]*/ns/net -maxdepth 0 -printf '%l\n' 2>/dev/null | grep -cF "$nets")" 0
same 'its directory' "$([[ -e $dir ]] && echo there)" ''
same 'mounts of the host' "$(grep -c fuse.busyfs /proc/mounts)" 0

begin 'a bad request is answered with a sentence'
fails_with '1 to 64 nodes' lab_up 0
fails_with 'not an option' lab_up 1 --frobnicate
fails_with 'no lab there' lab_join /nonexistent

finish
