#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A stand-in for srun: as many tasks here as asked for, each with all of standard input and the name of its node. Like a
# step, it lives as long as its tasks, and its tasks no longer than it does.
printf '%s\n' "$*" >>"${FAKE_SRUN_LOG:-/dev/null}"
tasks=1
while [ "${1#-}" != "$1" ]; do
    case $1 in
    --ntasks=*) tasks=${1#--ntasks=} ;;
    --fail) exit 1 ;;
    esac
    shift
done
input=$(mktemp)
cat >"$input"
pids=
trap 'kill $pids 2>/dev/null' TERM INT
i=1
while [ "$i" -le "$tasks" ]; do
    SLURMD_NODENAME=n$i "$@" <"$input" &
    pids="$pids $!"
    i=$((i + 1))
done
rc=0
for pid in $pids; do
    wait "$pid" || rc=1
done
rm -f "$input"
exit "$rc"
