#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a machine may lack or forbid, with real daemons: no /dev/fuse, no memory, a listing too large for the cache, an ordinary user
# without privileges, a daemon of another version, a fabric. Errors name cause and remedy, and daemons stay up.
. "$(dirname "$0")/harness.sh"

chmod 755 "$TEST_TEMP"
export TIERCEL_RUNTIME_DIR=$TEST_TEMP/run TIERCEL_NAME=refusals
cli=$(lab_find src/cli/tiercel) || exit
mnt=$TEST_TEMP/mnt
mkdir "$mnt"
trap '"$cli" down >/dev/null 2>&1; lab_down; umount -l "$mnt" 2>/dev/null; rm -rf "$TEST_TEMP"' EXIT
log=$TIERCEL_RUNTIME_DIR/$TIERCEL_NAME/node-0.log

# with_dev MODE CMD...: a mount namespace whose /dev has the usual few, and /dev/fuse with this mode (none: not at all).
with_dev() {
    unshare --mount --propagation private bash -c '
        dev=$1/dev mode=$2
        mkdir -p "$dev" && mount -t tmpfs -o mode=755 dev "$dev" || exit 99
        mknod -m 666 "$dev/null" c 1 3 && mknod -m 666 "$dev/zero" c 1 5 && mknod -m 666 "$dev/urandom" c 1 9 || exit 99
        mkdir -m 1777 "$dev/shm" && ln -s /proc/self/fd "$dev/fd"
        [[ $mode == none ]] || mknod -m "$mode" "$dev/fuse" c 10 229 || exit 99
        mount --move "$dev" /dev || exit 99
        shift 2
        "$@"' bash "$TEST_TEMP" "$@"
}

begin 'without /dev/fuse, mount and run say so, and what to do; run starts the program all the same'
no_fuse() {
    "$cli" up -N 1 || return
    "$cli" mount "$mnt" 2>"$TEST_TEMP/mount"
    echo "mount $?"
    "$cli" run --how fuse --cache /usr/share -- echo hello 2>"$TEST_TEMP/run-said"
    echo "run $?"
    "$cli" run --how fuse --strict --cache /usr/share -- echo hello 2>"$TEST_TEMP/strict"
    echo "strict $?"
    "$cli" doctor >"$TEST_TEMP/doctor"
    "$cli" call ping >/dev/null && echo up
    "$cli" down
}
export cli mnt TEST_TEMP && export -f no_fuse
got=$(with_dev none bash -c no_fuse | grep -v '^tier ' | tr '\n' ' ')
same 'how they ended' "$got" 'mount 1 hello run 0 strict 125 up '
for said in mount run-said strict doctor; do
    succeeds grep -qE 'there is no /dev/fuse|/dev/fuse.*No such file' "$TEST_TEMP/$said"
    succeeds grep -q 'modprobe fuse' "$TEST_TEMP/$said"
done

begin 'an ordinary user mounts with fusermount3, and others do not get in'
as_user() { # fusermount3 wants one that has a name
    setpriv --reuid nobody --regid nogroup --clear-groups env HOME="$TEST_TEMP/user" \
        TIERCEL_RUNTIME_DIR="$TEST_TEMP/user/run" "$@"
}
user_mounts() {
    trap 'as_user "$cli" down >/dev/null' EXIT
    as_user "$cli" up -N 1 >/dev/null && as_user "$cli" mount "$user/mnt" >/dev/null || return
    as_user cmp "$user/mnt$user/file" "$user/file" && echo same
    as_user cat "$user/mnt$user/search/name"
    as_user cat "$user/mnt$user/search/missing" 2>&1 | grep -o 'No such file'
    as_user cat "$user/mnt$user/search/secret" 2>&1 | grep -o 'Permission denied'
    as_user ls "$user/mnt$user/search" 2>&1 | grep -o 'Permission denied'
    cat "$user/mnt$user/file" 2>&1 | grep -o 'Permission denied'
    as_user "$cli" umount "$user/mnt" >/dev/null && ! grep -q " $user/mnt " /proc/self/mountinfo && echo unmounted
}
user=$TEST_TEMP/user
mkdir -p "$user/mnt" "$user/search"
(umask 077 && mkdir "$user/run")
head -c 300000 /dev/urandom >"$user/file"
echo found >"$user/search/name"
echo hidden >"$user/search/secret"
chown -R nobody:nogroup "$user"
chown -R 0:0 "$user/search" && chmod 711 "$user/search" && chmod 600 "$user/search/secret"
export user && export -f as_user user_mounts
if [[ -u $(command -v fusermount3) ]]; then
    same 'what the user sees' "$(with_dev 666 bash -c user_mounts | tr '\n' ' ')" \
        'same found No such file Permission denied Permission denied Permission denied unmounted '
else
    echo 'not tried: there is no setuid fusermount3 (package fuse3)'
fi

begin 'where the machine gives no memory for the cache, programs get ENOMEM, the log says why, the daemon stays up'
succeeds bash -c 'ulimit -f 1000 && exec "$cli" up -N 1'
succeeds "$cli" mount "$mnt"
fails_with 'cannot allocate memory' timeout 20 cat "$mnt/etc/passwd"
succeeds grep -q 'gives no more memory.*File too large.*ulimit' "$log"
succeeds "$cli" call ping
same 'daemons that died' "$(grep -c 'restarts=[1-9]' "$log")" 0
succeeds "$cli" down

begin 'a listing that is larger than the cache gives ENOMEM, and the log names the remedy'
long=$(printf 'a-long-name-%.0s' {1..18})
mkdir "$TEST_TEMP/wide"
(cd "$TEST_TEMP/wide" && seq -f "$long-%.0f" 30000 | xargs touch)
succeeds "$cli" up -N 1 --cache-size 8M
succeeds "$cli" mount "$mnt"
fails_with 'cannot allocate memory' timeout 20 stat "$mnt$TEST_TEMP/wide/$long-1"
succeeds grep -q "error the listing of $TEST_TEMP/wide is larger.*--cache-size" "$log"
succeeds cmp "$mnt/etc/passwd" /etc/passwd
succeeds "$cli" down

begin 'a full /dev/shm is nothing to the cache'
full_shm() {
    mount -t tmpfs -o size=4k shm /dev/shm && head -c 4096 /dev/zero >/dev/shm/full
    "$cli" up -N 1 >/dev/null && "$cli" mount "$mnt" >/dev/null && cmp "$mnt/etc/passwd" /etc/passwd && echo same
    "$cli" down >/dev/null
}
export -f full_shm
same 'what is read' "$(with_dev 666 bash -c full_shm)" same

begin 'a daemon of another version is refused with a sentence that names both, and both stay up'
mkdir "$TEST_TEMP/tree" && echo text >"$TEST_TEMP/tree/file"
lab_up 2 --source "$TEST_TEMP/tree" --busy '--service-us 0' --no-daemons || exit
succeeds lab_daemon_start 0
next=$(lab_find src/daemon/tierceld-next)
lab_find() { [[ $1 == src/daemon/tierceld ]] && echo "$next"; }
lab_daemon_launch 1
unset -f lab_find
. "$(dirname "$0")/lab.sh"
lab_daemon_wait 1 || failed 'the daemon of the other version does not start'
said() { grep -q 'speaks 4242' "$LAB_DIR/daemon-1.log"; }
lab_until 100 said || failed "nobody names the version: $(tail -n 3 "$LAB_DIR"/daemon-*.log)"
succeeds grep -qE 'speaks version [0-9]+\.[0-9]+ of the protocol, this node .* speaks 4242\.[0-9]+: install the same release' \
    "$LAB_DIR/daemon-1.log"
for i in 0 1; do succeeds lab_tiercel $i call ping; done
succeeds lab_mount
for i in 0 1; do succeeds lab_exec $i cmp "$LAB_MNT$LAB_PFS/file" "$TEST_TEMP/tree/file"; done
succeeds lab_down

begin 'bulk over libfabric: right bytes, by RMA reads'
head -c 8000000 /dev/urandom >"$TEST_TEMP/tree/big"
lab_up 2 --source "$TEST_TEMP/tree" --busy '--service-us 0' --daemon '--bulk tcp;ofi_rxm' || exit
if grep -q 'is not to be had' "$LAB_DIR"/daemon-0.log; then
    echo "not tried: $(grep -ho 'bulk=.*is not to be had.*' "$LAB_DIR/daemon-0.log")"
else
    lab_tiercel 0 wait >/dev/null || failed 'the tier does not get ready'
    succeeds lab_mount
    succeeds lab_exec 1 cmp "$LAB_MNT$LAB_PFS/big" "$TEST_TEMP/tree/big"
    same 'bytes read by bulk reads on node 1' "$(lab_tiercel 1 stat --json | jq .net.read_bytes_in)" 8000000
    # What goes by RMA is not served by the other daemon, nor by TCP.
    same 'reads that node 0 served by TCP' "$(lab_tiercel 0 stat --json | jq .net.reads_served)" 0
    same 'fallbacks to TCP' "$(lab_tiercel 1 stat --json | jq .net.bulk_fallbacks)" 0
fi
finish
