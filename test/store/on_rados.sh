#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What is tested on pools in directories, on pools in a Ceph cluster: inside `tools/rados-dev run`.
#
#   test/store/on_rados.sh BUILD-DIR some     what `make test` runs beside rados.sh: each command, example and binding
#   test/store/on_rados.sh BUILD-DIR all      all of it: `make soak`
set -uo pipefail

build=$1 how=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
out=$(mktemp -d "${TMPDIR:-/tmp}/tl-on-rados.XXXXXX") || exit 1
trap 'rm -rf "$out"' EXIT

export TIERCEL_TEST_POOLS='rados:///%d?pool=meta&data=ec21&timeout=60&lease=3' TIERCEL_TEST_LEASE_S=3
export TIERCEL=$build/src/cli/tiercel EXAMPLES=$root/examples PYTHONDONTWRITEBYTECODE=1
MPIRUN=$(command -v mpirun.openmpi) && export MPIRUN
for name in checkpoint checkpoint_nonblocking pipeline counter; do
    export "EXAMPLE_${name^^}=$build/examples/$name"
done
if compgen -G "$build/python/tiercel/_tiercel*.so" >/dev/null; then
    export PYTHON=/usr/bin/python3 PYTHONPATH=$build/python
fi

# One after the other; what fails is shown, and the others go on.
lane() { # NAME COMMAND...
    local name=$1 command began rc=0
    shift
    for command in "$@"; do
        [ -n "$command" ] || continue # it was not built
        began=$SECONDS
        if (eval "exec timeout 300 $command") >"$out/$name.now" 2>&1 </dev/null; then
            echo "ok, $((SECONDS - began)) s: $command"
        else
            rc=1
            echo "FAILED: $command"
            tail -n 60 "$out/$name.now"
        fi
    done
    return $rc
}

client() { printf '%s ' "$build/test/client/test_client_$1"; }
pool() { printf '%s ' "$build/test/pool/test_pool_$1" "${@:2}"; }
cli() { printf '%s ' python3 "$root/test/cli/$1_test.py" "${@:2}"; }
binding() { [ -z "${PYTHON-}" ] || printf '%s ' "$PYTHON" -X dev "$root/test/python/$1_test.py" "${@:2}"; }
example() { [ -z "${MPIRUN-}" ] || [ ! -x "$build/examples/counter" ] || printf '%s ' python3 "$root/test/examples/examples_test.py" "$1"; }

# Beside each other: most of the time is waiting, for the cluster, and for leases to end.
if [ "$how" = all ]; then
    seed=$(($(date +%s) * 1000))
    first=("$(client calls)" "$(client errors)" "$(client epochs)" "$(client objects)" "$(client waits)" "$(client processes)" "$(client memory)")
    second=("$(pool keys)" "$(pool values)" "$(pool epochs)" "$(pool sharing)" "$(pool deaths)" "$(pool destroying)" "$(pool aggregate)"
        "$(pool objects "$seed" 30)")
    third=("$(cli pool)" "$(cli pool_damage)" "$(binding tiercel)" "$(binding async)" "$(binding processes)" "$(example Checkpoint)"
        "$(example NonBlocking)" "$(example Pipeline)" "$(example Counter)")
else
    first=("$(client calls)" "$(client errors)" "$(pool sharing)" "$(pool deaths)" "$(pool destroying)" "$(pool objects 1 2)"
        "$(cli pool_damage Archives.test_all_snapshots_there_and_back)")
    second=("$(cli pool Pools Conts Objects)")
    third=("$(example Pipeline)" "$(example Counter)" "$(example Checkpoint)" "$(binding tiercel)" "$(binding async)")
fi
failed=0
lane first "${first[@]}" >"$out/first" & one=$!
lane second "${second[@]}" >"$out/second" & two=$!
lane third "${third[@]}" || failed=1
wait "$one" || failed=1
wait "$two" || failed=1
cat "$out/first" "$out/second"
exit "$failed"
