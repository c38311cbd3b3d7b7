#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The stand-in for a parallel file system does what the figures rely on: right bytes, exact counts, kept times.
. "$(dirname "$0")/harness.sh"

make_tree() {
    local top=$1
    mkdir -p "$top/dir/sub" && chmod 755 "$top"
    head -c 1000000 /dev/urandom >"$top/dir/data"
    head -c 100 /dev/urandom >"$top/dir/sub/small"
    : >"$top/dir/empty"
    ln -s dir/data "$top/link"
    truncate -s 3M "$top/sparse"
    for i in $(seq 300); do echo "$i" >"$top/dir/file-$i"; done
}

tree=$TEST_TEMP/tree
make_tree "$tree"
chmod 755 "$TEST_TEMP"
lab_up 2 --no-daemons --source "$tree" --busy '--service-us 0' || exit

begin 'two nodes see the same tree as the source'
(cd "$tree" && find . -type f -exec md5sum {} + | sort) >"$TEST_TEMP/want"
for i in 0 1; do
    lab_exec $i bash -c 'cd /srv/pfs && find . -type f -exec md5sum {} + | sort' >"$TEST_TEMP/got"
    succeeds cmp "$TEST_TEMP/got" "$TEST_TEMP/want"
    same 'link target' "$(lab_exec $i readlink /srv/pfs/link)" dir/data
done

begin 'opens, missing names and bytes are counted for each mount; distinct things once'
lab_ctl drop >/dev/null
lab_ctl reset >/dev/null
for i in 0 1; do
    lab_exec $i bash -c 'cat /srv/pfs/dir/data >/dev/null; cat /srv/pfs/dir/data >/dev/null; cat /srv/pfs/dir/none 2>&1; cat /srv/pfs/dir/none 2>&1' >/dev/null
done
same opens "$(ctl_number .opens)" 4
same 'distinct files' "$(ctl_number .distinct.files_opened)" 1
same 'opens of node 1' "$(ctl_number '.mounts[1].opens')" 2
same 'missing names asked for' "$(ctl_number .missing)" 4
same 'distinct missing names' "$(ctl_number .distinct.missing)" 1
same 'bytes: each node once, then its page cache' "$(ctl_number .bytes)" 2000000
same 'distinct bytes' "$(ctl_number .distinct.bytes)" 1000000
same 'distinct chunks' "$(ctl_number .distinct.chunks)" 4

begin 'a read of a chunk is one read'
lab_ctl drop >/dev/null
lab_ctl reset >/dev/null
succeeds lab_exec 0 dd if=/srv/pfs/dir/data of=/dev/null bs=256k count=1 skip=1 iflag=direct
same reads "$(ctl_number .reads)" 1
same bytes "$(ctl_number .bytes)" 262144

begin 'names and attributes are asked for once, and after drop again'
lab_ctl drop >/dev/null
lab_ctl reset >/dev/null
succeeds lab_exec 0 stat /srv/pfs/dir/sub/small
first=$(ctl_number .metadata)
succeeds lab_exec 0 stat /srv/pfs/dir/sub/small
same 'after the second stat' "$(ctl_number .metadata)" "$first"
lab_ctl drop >/dev/null
succeeds lab_exec 0 stat /srv/pfs/dir/sub/small
same 'after drop' $(($(ctl_number .metadata) > first)) 1

begin 'injected errors reach the reader'
lab_ctl fail read dir/data 5 >/dev/null
lab_ctl drop >/dev/null
fails_with 'input/output error' lab_exec 0 cat /srv/pfs/dir/data
lab_ctl fail read dir/data 0 >/dev/null
succeeds lab_exec 0 cmp /srv/pfs/dir/data "$tree/dir/data"
lab_ctl fail open dir/data 13 0 1 >/dev/null
fails_with 'permission denied' lab_exec 0 cat /srv/pfs/dir/data
succeeds lab_exec 0 cat /srv/pfs/dir/data

begin 'a file can be made to change'
before=$(lab_exec 1 stat -c %Y /srv/pfs/dir/data)
lab_ctl change dir/data >/dev/null
fails_with differ lab_exec 1 cmp /srv/pfs/dir/data "$tree/dir/data"
same 'its time' "$(lab_exec 1 stat -c %Y /srv/pfs/dir/data)" $((before + 1))

begin 'the metadata server bounds the rate of all nodes together'
lab_ctl drop >/dev/null
lab_ctl reset >/dev/null
lab_ctl set servers 2 >/dev/null
lab_ctl set service-us 2000 >/dev/null
start=${EPOCHREALTIME/./}
lab_each bash -c 'for i in $(seq 100); do [[ -e /srv/pfs/dir/none-$i ]] && exit 1; done; exit 0'
took_us=$((${EPOCHREALTIME/./} - start))
same 'service time handed out' "$(ctl_number .model.service_total_us)" $(($(ctl_number .metadata) * 2000))
same "$took_us us is at least the service time over the servers" \
    $((took_us >= $(ctl_number .model.service_total_us) / 2)) 1

finish
