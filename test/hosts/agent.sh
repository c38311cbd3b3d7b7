#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# For mpirun, instead of ssh: runs a command on a host of the lab. LAB_DIR names it.
i=$((${1##*.} - 1)) # 10.77.0.1 is host 0
shift
export TIERCEL_RUNTIME_DIR=$LAB_DIR/run-$i CEPH_CONF=$LAB_DIR/run-$i/ceph.conf
exec nsenter -t "$(<"$LAB_DIR/node-$i.pid")" -n -u -m -- sh -c "$*"
