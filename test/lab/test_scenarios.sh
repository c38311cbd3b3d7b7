#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Scenarios that the simulator runs, with real daemons. Those that mostly wait for heartbeats run beside the others.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=test/lab/lab.sh
. "$here/lab.sh"
lab_possible || exit

of() { printf '%s/../scenarios/%s.scn\n' "$here" "$1"; }
out=$(mktemp -d /tmp/tiercel-test.XXXXXX)
trap 'rm -rf "$out"' EXIT
slow=(not-heard parent-stopped) pids=() failed=0
for name in "${slow[@]}"; do
    "$here/scenario" "$(of "$name")" >"$out/$name" 2>&1 &
    pids+=($!)
done
"$here/scenario" "$(of parent-killed)" "$(of root-killed)" "$(of rolling-restart)" || failed=1
for i in "${!pids[@]}"; do
    wait "${pids[i]}" || failed=1
    cat "$out/${slow[i]}"
done
exit $failed
