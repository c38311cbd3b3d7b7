#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Several roots with real daemons: each file is read once, by the root of its tree; a root that dies; changes that are noticed
# without being told; a pinned tree.
. "$(dirname "$0")/harness.sh"
. "$(dirname "$0")/tree.sh"

tree=$TEST_TEMP/tree
chmod 755 "$TEST_TEMP"
make_tree "$tree"
head -c 9000000 /dev/urandom >"$tree/large" # files of more than a chunk have trees of their own
tree_sums "$tree" >"$TEST_TEMP/want"
pfs=$LAB_MNT$LAB_PFS
nodes=6

lab_up $nodes --source "$tree" --busy '--service-us 100' --daemon '--roots 3 --arity 3 --revalidate 1' || exit
lab_tiercel 0 wait >/dev/null || failed 'the tier does not get ready'
succeeds lab_mount
sources() { for ((i = 0; i < nodes; i++)); do lab_tiercel "$i" stat --json | jq '.counters.bytes_from_source > 0'; done | grep -c true; }

begin 'six nodes with three roots see what the source has, and storage is read once'
lab_ctl reset >/dev/null
declare -f tree_sums >"$TEST_TEMP/sums.sh"
echo 'tree_sums "$1"' >>"$TEST_TEMP/sums.sh"
succeeds lab_each bash "$TEST_TEMP/sums.sh" "$pfs"
for ((i = 0; i < nodes; i++)); do succeeds cmp "$LAB_DIR/out-$i" "$TEST_TEMP/want"; done
stat=$(lab_ctl stat)
number() { jq -r "$1" <<<"$stat"; }
same opens "$(number .opens)" "$(number .distinct.files_opened)"
same reads "$(number .reads)" "$(number .distinct.chunks)"
same bytes "$(number .bytes)" "$(number .distinct.bytes)"
same 'nodes that read storage' "$(sources)" 3

begin 'a flush reaches every node as often as every other, whatever ways there are'
succeeds lab_tiercel 4 flush
alike() { [[ $(for ((i = 0; i < nodes; i++)); do lab_tiercel "$i" stat --json | jq .counters.invalidations; done | sort -u | wc -l) == 1 ]]; }
lab_until 20 alike || failed 'some node was told more often' # the roots look at the storage, and may be flushing as well

begin 'a file that changes is seen anew everywhere, and nobody had to say so'
succeeds lab_each cat "$pfs/lib/one-chunk"
lab_ctl change lib/one-chunk 7 >/dev/null
want=$(lab_exec 0 md5sum "$LAB_PFS/lib/one-chunk" | cut -d' ' -f1)
seen() { [[ $(lab_exec "$1" md5sum "$pfs/lib/one-chunk" 2>/dev/null | cut -d' ' -f1) == "$want" ]]; }
for ((i = 0; i < nodes; i++)); do lab_until 100 seen $i || failed "node $i does not see the change"; done

begin 'a new name is seen, too'
fails_with 'no such file' lab_exec 5 cat "$pfs/a/late"
echo late >"$tree/a/late"
lab_ctl drop >/dev/null
there() { [[ $(lab_exec 5 cat "$pfs/a/late" 2>/dev/null) == late ]]; }
lab_until 100 there || failed 'node 5 does not see it'

begin 'a pinned tree is seen as it was, until it is unpinned'
succeeds lab_tiercel 2 pin "$LAB_PFS/lib"
old=$(lab_exec 3 cat "$pfs/lib/one-chunk" | md5sum)
lab_ctl change lib/one-chunk 8 >/dev/null
succeeds lab_tiercel 0 flush
same 'node 3' "$(lab_exec 3 cat "$pfs/lib/one-chunk" | md5sum)" "$old"
succeeds lab_tiercel 1 unpin "$LAB_PFS/lib"
succeeds lab_tiercel 0 flush "$LAB_PFS/lib"
want=$(lab_exec 0 md5sum "$LAB_PFS/lib/one-chunk" | cut -d' ' -f1)
lab_until 100 seen 3 || failed 'node 3 does not see the new one after unpin'

begin 'a root that is killed is replaced, and nobody notices'
lab_daemon_kill 2 # the root of the second tree
head -c 700000 /dev/urandom >"$tree/a/after-1"
cp "$tree/a/after-1" "$tree/a/after-2"
cp "$tree/a/after-1" "$tree/a/after-3"
lab_ctl drop >/dev/null
for i in 0 1 3 4 5; do
    there() { lab_exec "$i" cmp "$pfs/a/after-3" "$tree/a/after-1" 2>/dev/null; }
    lab_until 200 there || failed "node $i does not see after-3"
    for k in 1 2; do succeeds lab_exec "$i" cmp "$pfs/a/after-$k" "$tree/a/after-1"; done
done

finish
