#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Four hosts (test/lab), each with its own network, name, daemon and mount, and a Ceph cluster at the end of the bridge that they
# share. hosts_test.py says what happens there.
#
#   test/hosts/hosts.sh [CLASS[.test]]...
. "$(dirname "$0")/../lab/harness.sh"

root=$(cd "$(dirname "$0")/../.." && pwd)
hub_address=10.77.0.254

lab_up 4 || exit
nsenter -t "$(<"$LAB_DIR/hub.pid")" -n -u -m -- "$root/tools/rados-dev" start --dir "$LAB_DIR/ceph" --address "$hub_address" \
    --owner $$ >/dev/null || exit
lab_tiercel 0 wait >/dev/null || failed 'the tier does not get ready'
succeeds lab_mount
# Each host knows the cluster by a file of its own, as on machines of their own.
for ((i = 0; i < LAB_COUNT; i++)); do cp "$LAB_DIR/ceph/ceph.conf" "$LAB_DIR/run-$i/ceph.conf"; done

LAB_DIR=$LAB_DIR LAB_MNT=$LAB_MNT python3 "$root/test/hosts/hosts_test.py" "$@" || failed 'hosts_test.py'
finish
