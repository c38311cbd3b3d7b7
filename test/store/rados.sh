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
"$build/test/store/test_store_rados_keys" >"$out/keys" 2>&1 &
keys=$!
# What has to do with payloads, once more with an erasure code.
(for part in '*payloads*' '*records*' 'who_is_killed*'; do
    TIERCEL_TEST_DATA=ec21 "$build/test/store/test_store_rados" suite "$part" || exit
done) >"$out/coded" 2>&1 &
coded=$!
classes='rados:///classes-%d?pool=meta&data=data,ec21&timeout=60&lease=3'
TIERCEL_TEST_POOLS=$classes "$build/test/client/test_client_classes" >"$out/classes" 2>&1 &
third=$!
TIERCEL=$build/src/cli/tiercel TIERCEL_TEST_POOLS='rados:///lost-%d?pool=meta&data=ec21&timeout=30&lease=3' \
    "$build/test/store/test_store_rados_lost" >"$out/lost" 2>&1 &
fourth=$!
export TIERCEL_TEST_POOLS='rados:///client-%d?pool=meta&data=ec21&timeout=60&lease=3' TIERCEL_TEST_LEASE_S=3
failed=0
for suite in epochs objects waits processes; do
    "$build/test/client/test_client_$suite" >"$out/$suite" 2>&1 || failed=1
    cat "$out/$suite"
done
for pid in "$store" "$sound" "$keys" "$coded" "$third" "$fourth"; do wait "$pid" || failed=1; done
cat "$out/store" "$out/sound" "$out/keys" "$out/coded" "$out/classes" "$out/lost"
# Alone: the cluster is full, or stalled, for a while.
"$build/test/store/test_store_rados" own || failed=1
# Last: the cluster has an OSD less from here on.
TIERCEL_TEST_POOLS=$classes "$build/test/client/test_client_classes" lost || failed=1
exit "$failed"
