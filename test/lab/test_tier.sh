#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Real daemons on four nodes before a busy file system: right bytes, each file read from storage once, errors as they are.
. "$(dirname "$0")/harness.sh"
. "$(dirname "$0")/tree.sh"

tree=$TEST_TEMP/tree
chmod 755 "$TEST_TEMP"
make_tree "$tree"
tree_sums "$tree" >"$TEST_TEMP/want"
pfs=$LAB_MNT$LAB_PFS

lab_up 4 --source "$tree" --busy '--service-us 100' --daemon '--arity 2' || exit
lab_tiercel 0 wait >/dev/null || failed 'the tier does not get ready'
succeeds lab_mount

begin 'four nodes that read the tree at once see what the source has'
lab_ctl reset >/dev/null
declare -f tree_sums >"$TEST_TEMP/sums.sh"
echo 'tree_sums "$1"' >>"$TEST_TEMP/sums.sh"
succeeds lab_each bash "$TEST_TEMP/sums.sh" "$pfs"
for i in 0 1 2 3; do succeeds cmp "$LAB_DIR/out-$i" "$TEST_TEMP/want"; done

begin 'storage saw each file opened once, each chunk read once, each directory listed once'
stat=$(lab_ctl stat)
number() { jq -r "$1" <<<"$stat"; }
same opens "$(number .opens)" "$(number .distinct.files_opened)"
same 'files opened' "$(number .distinct.files_opened)" "$(find "$tree" -type f -size +0 -printf x | wc -c)"
same reads "$(number .reads)" "$(number .distinct.chunks)"
same bytes "$(number .bytes)" "$(number .distinct.bytes)"
same 'missing names asked for' "$(number .missing)" 0
# One more for the mount point itself, by which its parent, outside the busy file system, is listed.
at_most 'metadata operations, directories and links' "$(number .metadata)" \
    $(($(find "$tree" \( -type d -o -type l \) -printf x | wc -c) + 1))

begin 'reading it all again asks storage nothing'
succeeds lab_each bash "$TEST_TEMP/sums.sh" "$pfs"
same 'opens, reads and metadata' "$(ctl_number '"\(.opens) \(.reads) \(.metadata)"')" \
    "$(number '"\(.opens) \(.reads) \(.metadata)"')"

begin 'missing names are answered without asking storage'
for i in 0 1 2 3; do
    fails_with 'no such file' lab_exec $i cat "$pfs/lib/none-$i"
    fails_with 'no such file' lab_exec $i cat "$pfs/a/none"
    fails_with 'no such file' lab_exec $i cat "$pfs/no-dir/none"
done
same 'look-ups at storage' "$(ctl_number .missing)" 0

begin 'what is read-only says so'
fails_with 'read-only' lab_exec 1 touch "$pfs/new"
fails_with 'read-only' lab_exec 1 rm "$pfs/lib/large-1"
fails_with 'read-only' lab_exec 1 bash -c "echo x >>$pfs/lib/large-1"

begin 'programs and scripts run from the mount'
same output "$(lab_exec 2 "$pfs/script")" ran

begin 'a changed file has its new contents after flush, on every node'
lab_ctl change lib/large-1 >/dev/null
want=$(lab_exec 0 md5sum <"$tree/lib/large-1" | cut -d' ' -f1)
succeeds lab_tiercel 3 flush "$LAB_PFS/lib"
for i in 0 1 2 3; do
    got=$(lab_exec $i md5sum "$pfs/lib/large-1" | cut -d' ' -f1)
    same "node $i differs from the old contents" "$([[ $got != "$want" ]] && echo yes)" yes
    same "node $i has the source's" "$got" "$(lab_exec 0 md5sum $LAB_PFS/lib/large-1 | cut -d' ' -f1)"
done

begin 'a new file is seen after flush'
echo new >"$tree/a/fresh"
lab_ctl drop >/dev/null
succeeds lab_tiercel 0 flush
for i in 0 1 2 3; do same "node $i" "$(lab_exec $i cat "$pfs/a/fresh")" new; done

begin 'a read error at storage is an error for the reader, never a short file, and is not kept'
head -c 900000 /dev/urandom >"$tree/a/broken"
lab_ctl drop >/dev/null
lab_ctl fail read a/broken 5 2 >/dev/null
succeeds lab_tiercel 0 flush
for i in 1 3; do fails_with 'input/output error' lab_exec $i cat "$pfs/a/broken"; done
lab_ctl fail read a/broken 0 >/dev/null
for i in 1 3; do succeeds lab_exec $i cmp "$pfs/a/broken" "$tree/a/broken"; done

begin 'permission denied at storage is permission denied for the reader'
head -c 1000 /dev/urandom >"$tree/a/secret"
lab_ctl drop >/dev/null
lab_ctl fail open a/secret 13 >/dev/null
succeeds lab_tiercel 0 flush
fails_with 'permission denied' lab_exec 2 cat "$pfs/a/secret"
lab_ctl fail open a/secret 0 >/dev/null
succeeds lab_exec 2 cmp "$pfs/a/secret" "$tree/a/secret"

begin 'the mount serves nobody but its owner'
fails_with 'permission denied' lab_exec 1 setpriv --reuid 65534 --regid 65534 --clear-groups cat "$pfs/lib/one-chunk"

begin 'a file that changes while it is read gives no mixture'
head -c 8000000 /dev/urandom >"$tree/a/moving"
old=$(md5sum <"$tree/a/moving" | cut -d' ' -f1)
lab_ctl drop >/dev/null
succeeds lab_tiercel 0 flush
lab_ctl change a/moving 9 >/dev/null
got=$(lab_exec 3 md5sum "$pfs/a/moving" 2>"$TEST_TEMP/err" | cut -d' ' -f1)
new=$(lab_exec 0 md5sum "$LAB_PFS/a/moving" | cut -d' ' -f1)
same 'old or new contents, or an error' "$(
    [[ -z $got || $got == "$old" || $got == "$new" ]] && echo yes || echo "mixture; $(<"$TEST_TEMP/err")")" yes
succeeds lab_tiercel 0 flush
same 'afterwards the new contents' "$(lab_exec 3 md5sum "$pfs/a/moving" | cut -d' ' -f1)" "$new"

begin 'garbage on the port harms nobody'
for what in '/dev/urandom' '/dev/zero'; do
    timeout 20 bash -c '. "$1/lab.sh"; lab_join "$2"; lab_exec 3 bash -c "head -c 200000 $3 >/dev/tcp/10.77.0.1/7700"' bash \
        "$(dirname "$0")" "$LAB_DIR" "$what" 2>/dev/null
done
succeeds lab_tiercel 0 call ping
head -c 300000 /dev/urandom >"$tree/a/after-garbage"
lab_ctl drop >/dev/null
succeeds lab_tiercel 0 flush
succeeds lab_exec 3 cmp "$pfs/a/after-garbage" "$tree/a/after-garbage"

finish
