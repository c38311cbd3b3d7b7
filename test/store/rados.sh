#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that is tested on a Ceph cluster, inside `tools/rados-dev run`: starting one takes as long as a suite.
#
#   test/store/rados.sh BUILD-DIR
set -uo pipefail

build=$1
out=$(mktemp -d "${TMPDIR:-/tmp}/tl-rados-out.XXXXXX") || exit 1
trap 'rm -rf "$out"' EXIT

# Beside each other: most of the time is waiting, for the cluster, and for leases to end.
"$build/test/store/test_store_rados" suite >"$out/store" 2>&1 &
store=$!
"$build/test/store/test_store_rados_sound" >"$out/sound" 2>&1 &
sound=$!
TIERCEL_TEST_DATA=ec21 "$build/test/store/test_store_rados" suite >"$out/store-ec21" 2>&1 &
coded=$!
export TIERCEL_TEST_POOLS='rados:///client-%d?pool=meta&data=ec21&timeout=60&lease=3' TIERCEL_TEST_LEASE_S=3
failed=0
for suite in epochs objects waits processes; do
    "$build/test/client/test_client_$suite" >"$out/$suite" 2>&1 || failed=1
    cat "$out/$suite"
done
export TIERCEL_TEST_POOLS='rados:///classes-%d?pool=meta&data=data,ec21&timeout=60&lease=3'
"$build/test/client/test_client_classes" || failed=1
wait "$store" || failed=1
wait "$coded" || failed=1
wait "$sound" || failed=1
cat "$out/store" "$out/store-ec21" "$out/sound"
# Alone: the cluster is full, or stalled, for a while.
"$build/test/store/test_store_rados" own || failed=1
# Last: the cluster has an OSD less from here on.
"$build/test/client/test_client_classes" lost || failed=1
exit "$failed"
