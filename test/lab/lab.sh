# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The lab: the nodes of a cluster on one machine. Sourced by tests and benchmarks; test/lab/lab is the same as a command.
#
# A node is a network, a mount and a UTS namespace, with a host name (node0, node1, ...) and an address of its own
# (10.77.0.1, .2, ...) on a bridge that lives in a namespace, too (the hub, 10.77.0.254): nothing of the host's network is touched, and labs do not see each other. At
# /srv/pfs every node has its own mount of busyfs, the stand-in for a busy parallel file system; /srv and /dev/shm are
# private. Each node runs a tierceld with a runtime directory of its own.
#
#   lab_up N [--source DIR] [--no-daemons] [--busy 'OPTIONS'] [--daemon 'OPTIONS'] [--shm-size SIZE]
#   lab_exec I CMD...        runs CMD on node I (working directory /)
#   lab_each CMD...          on all nodes at once; output in $LAB_DIR/out-I; status: the worst of all
#   lab_daemon_start I [OPTIONS] / lab_daemon_kill I SIGNAL / lab_daemons_start / lab_daemons_stop
#   lab_ctl WORD...          busyctl
#   lab_mount [DIR]          `tiercel mount` on all nodes (default /srv/tiercel)
#   lab_tiercel I WORD...    the CLI on node I
#   lab_down                 ends what this lab started, nothing else
#
# Needs root. TIERCEL_BUILD names the build tree. All functions return non-zero with a sentence on standard error.

LAB_PFS=/srv/pfs
LAB_PORT=7700
LAB_MNT=/srv/tiercel

lab_say() { printf 'lab: %s\n' "$*" >&2; }

# Where the programs are: the build tree that the environment names, else the ones on PATH.
lab_find() {
    local relative=$1 name=${1##*/}
    if [[ -n ${TIERCEL_BUILD:-} ]]; then
        [[ -x $TIERCEL_BUILD/$relative ]] && printf '%s\n' "$TIERCEL_BUILD/$relative" && return
    elif command -v "$name"; then
        return
    fi
    lab_say "$name: not found; build first and set TIERCEL_BUILD to the build tree"
    return 1
}

# 0 when this machine and user can have a lab; else a sentence and 77, which Meson reads as "skipped".
lab_possible() {
    local why=
    if ((EUID != 0)); then
        why='root is needed (network and mount namespaces): run it as root'
    elif [[ ! -c /dev/fuse ]]; then
        why='there is no /dev/fuse: load the fuse module'
    elif ! unshare --net --mount true 2>/dev/null; then
        why='this kernel or sandbox does not allow namespaces'
    fi
    [[ -z $why ]] && return 0
    lab_say "cannot have a lab here: $why"
    return 77
}

# Waits until a command succeeds, at most so many tenths of a second. For states that nobody announces.
lab_until() {
    local ticks=$(($1 * 4))
    shift
    while ! "$@"; do
        ((ticks-- > 0)) || return 1
        read -rt 0.025 <> <(:) || true
    done
}

# Starts a process that holds a namespace open; prints its number.
lab_hold() {
    "$@" sleep infinity </dev/null >/dev/null 2>&1 &
    local pid=$!
    disown "$pid"
    echo "$pid"
}

lab_in_own_ns() { [[ $(readlink "/proc/$1/ns/net" 2>/dev/null) != "$(readlink "/proc/$2/ns/net")" && $(cat "/proc/$1/comm") == sleep ]]; }

lab_hub_up() {
    local hub
    hub=$(lab_hold unshare --net --uts --mount --propagation private --)
    echo "$hub" >"$LAB_DIR/hub.pid"
    lab_until 50 lab_in_own_ns "$hub" self || return 1
    readlink "/proc/$hub/ns/net" >"$LAB_DIR/nets"
    nsenter -t "$hub" -n -m -- bash -c '
        echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 2>/dev/null
        echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6 2>/dev/null
        ip -batch - <<END
link set lo up
link add name lab type bridge
addr add 10.77.0.254/24 dev lab
link set lab up
END'
}

lab_node_up() {
    local i=$1 hub pid
    hub=$(<"$LAB_DIR/hub.pid")
    pid=$(lab_hold nsenter -t "$hub" -n -m -- unshare --net --uts --mount --propagation private --)
    echo "$pid" >"$LAB_DIR/node-$i.pid"
    lab_until 50 lab_in_own_ns "$pid" "$hub" && lab_until 50 lab_in_own_ns "$pid" self || return 1
    readlink "/proc/$pid/ns/net" >>"$LAB_DIR/nets"
    printf '10.77.0.%d:%d\n' $((i + 1)) $LAB_PORT >>"$LAB_DIR/nodes"
    nsenter -t "$hub" -n -- ip -batch - <<END || return 1
link add name n$i type veth peer name eth0 netns $pid
link set n$i master lab
link set n$i up
END
    # Other nodes' mounts are taken away: a node sees its own only.
    nsenter -t "$pid" -n -u -m -- bash -ec '
        dir=$1 i=$2 shm=$3
        hostname "node$i"
        ip -batch - <<END
link set lo up
addr add 10.77.0.$((i + 1))/24 dev eth0
link set eth0 up
END
        mount -t tmpfs -o mode=755 lab-srv /srv
        mount -t tmpfs -o "mode=1777,size=$shm" lab-shm /dev/shm
        mkdir -p /srv/pfs /srv/tiercel /srv/local
        mount --bind "$dir/pfs/$i" /srv/pfs
        for other in "$dir"/pfs/*; do umount -l "$other"; done
    ' bash "$LAB_DIR" "$i" "$LAB_SHM_SIZE"
}

lab_busyfs_up() {
    local n=$1 source=$2 busyfs hub fifo=$LAB_DIR/busyfs.ready said='' dirs=() i
    shift 2
    busyfs=$(lab_find test/lab/busyfs) || return 1
    hub=$(<"$LAB_DIR/hub.pid")
    for ((i = 0; i < n; i++)); do dirs+=("$LAB_DIR/pfs/$i"); done
    mkdir -p "${dirs[@]}"
    mkfifo "$fifo"
    nsenter -t "$hub" -n -m -- "$busyfs" --source "$source" --control "$LAB_DIR/busyfs.sock" --readahead-kb 256 "$@" \
        "${dirs[@]}" <>/dev/null 1<>"$fifo" 2>"$LAB_DIR/busyfs.log" &
    echo $! >"$LAB_DIR/busyfs.pid"
    disown $!
    if ! read -rt 10 said <>"$fifo" || [[ $said != ready ]]; then
        lab_say "busyfs did not start: $(<"$LAB_DIR/busyfs.log")"
        return 1
    fi
}

lab_key_up() {
    local i
    (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$LAB_DIR/key" && echo >>"$LAB_DIR/key") || return 1
    for ((i = 0; i < LAB_COUNT; i++)); do
        (umask 077 && mkdir -p "$LAB_DIR/run-$i/lab") || return 1
    done
}

# N nodes; see the head of this file.
lab_up() {
    local n=$1 source=/usr daemons=1 busy=() i
    shift
    LAB_SHM_SIZE=100% LAB_DAEMON_OPTIONS=()
    while (($# > 0)); do
        case $1 in
        --source) source=$2 && shift 2 ;;
        --no-daemons) daemons=0 && shift ;;
        --busy) read -ra busy <<<"$2" && shift 2 ;;
        --daemon) read -ra LAB_DAEMON_OPTIONS <<<"$2" && shift 2 ;;
        --shm-size) LAB_SHM_SIZE=$2 && shift 2 ;;
        *) lab_say "up: $1: not an option (--source, --no-daemons, --busy, --daemon, --shm-size)" && return 2 ;;
        esac
    done
    if ! [[ $n =~ ^[0-9]+$ ]] || ((n < 1 || n > 64)); then
        lab_say "up: $n: 1 to 64 nodes" && return 2
    fi
    lab_possible || return
    LAB_DIR=$(mktemp -d /tmp/tiercel-lab.XXXXXX) && chmod 755 "$LAB_DIR" || return 1
    LAB_COUNT=$n
    echo "$n" >"$LAB_DIR/count"
    lab_hub_up && lab_busyfs_up "$n" "$source" "${busy[@]}" || { lab_down; return 1; }
    for ((i = 0; i < n; i++)); do
        lab_node_up "$i" || { lab_say "node $i did not come up"; lab_down; return 1; }
    done
    lab_key_up || { lab_down; return 1; }
    ((daemons == 0)) || lab_daemons_start || { lab_down; return 1; }
}

# Joins a lab that another process made.
lab_join() {
    LAB_DIR=$1
    if [[ ! -r $LAB_DIR/count ]]; then
        lab_say "$LAB_DIR: no lab there; make one with: lab up N"
        return 1
    fi
    LAB_COUNT=$(<"$LAB_DIR/count")
    LAB_DAEMON_OPTIONS=()
}

# Takes the place of the shell: for a subshell, so that $! is the program itself.
lab_enter() {
    local i=$1 pid
    shift
    pid=$(<"$LAB_DIR/node-$i.pid") || return 1
    exec env TIERCEL_RUNTIME_DIR="$LAB_DIR/run-$i" TIERCEL_NAME=lab nsenter -t "$pid" -n -u -m -- "$@"
}

lab_exec() { (lab_enter "$@"); }

lab_each() {
    local i pids=() worst=0 rc
    for ((i = 0; i < LAB_COUNT; i++)); do
        (lab_enter "$i" "$@") >"$LAB_DIR/out-$i" 2>"$LAB_DIR/err-$i" </dev/null &
        pids+=($!)
    done
    for i in "${!pids[@]}"; do
        rc=0
        wait "${pids[i]}" || rc=$?
        if ((rc != 0)); then
            lab_say "node $i: status $rc: $(tail -c 300 "$LAB_DIR/err-$i")"
            ((rc > worst)) && worst=$rc
        fi
    done
    return "$worst"
}

lab_ctl() { "$(lab_find test/lab/busyctl)" "$LAB_DIR/busyfs.sock" "$@"; }

lab_tiercel() {
    local i=$1 cli
    shift
    cli=$(lab_find src/cli/tiercel) || return 1
    lab_exec "$i" "$cli" "$@"
}

# Starts node I's daemon without waiting for it.
lab_daemon_launch() {
    local i=$1 daemon
    shift
    daemon=$(lab_find src/daemon/tierceld) || return 1
    rm -f "$LAB_DIR/ready-$i"
    (lab_enter "$i" "$daemon" --name lab --nodes "$LAB_DIR/nodes" --rank "$i" --key "$LAB_DIR/key" \
        --runtime "$LAB_DIR/run-$i" --log "$LAB_DIR/daemon-$i.log" --foreground --ready-fd 3 \
        "${LAB_DAEMON_OPTIONS[@]}" "$@") 3>"$LAB_DIR/ready-$i" </dev/null >>"$LAB_DIR/daemon-$i.out" 2>&1 &
    echo $! >"$LAB_DIR/daemon-$i.pid"
    disown $!
}

lab_gone() { [[ ! -d /proc/$1 ]] || [[ $(cut -d' ' -f3 "/proc/$1/stat" 2>/dev/null) == Z ]]; }

lab_decided() { [[ -s $LAB_DIR/ready-$1 ]] || lab_gone "$(<"$LAB_DIR/daemon-$1.pid")"; }

# Waits until node I's daemon listens, or has died.
lab_daemon_wait() {
    local i=$1
    lab_until 200 lab_decided "$i" && [[ $(<"$LAB_DIR/ready-$i") == ready ]] && return 0
    lab_say "node $i: tierceld did not get ready: $(tail -n 3 "$LAB_DIR/daemon-$i.out" "$LAB_DIR/daemon-$i.log" 2>/dev/null)"
    return 1
}

lab_daemon_start() { lab_daemon_launch "$@" && lab_daemon_wait "$1"; }

lab_daemons_start() {
    local i
    for ((i = 0; i < LAB_COUNT; i++)); do lab_daemon_launch "$i" "$@" || return 1; done
    for ((i = 0; i < LAB_COUNT; i++)); do lab_daemon_wait "$i" || return 1; done
}

# Ends node I's daemon with a signal and waits until it is gone; its mount point is cleared away.
lab_daemon_kill() {
    local i=$1 signal=${2:-TERM} pid
    pid=$(<"$LAB_DIR/daemon-$i.pid") || return 1
    kill -s "$signal" "$pid" 2>/dev/null
    lab_until 100 lab_gone "$pid" || { lab_say "node $i: tierceld ($pid) did not end in 10 s"; return 1; }
}

lab_daemons_stop() {
    local i rc=0
    for ((i = 0; i < LAB_COUNT; i++)); do
        [[ ! -f $LAB_DIR/daemon-$i.pid ]] || kill -s TERM "$(<"$LAB_DIR/daemon-$i.pid")" 2>/dev/null
    done
    for ((i = 0; i < LAB_COUNT; i++)); do
        [[ ! -f $LAB_DIR/daemon-$i.pid ]] || lab_daemon_kill "$i" TERM || { rc=1; lab_daemon_kill "$i" KILL; }
        lab_exec "$i" umount -l "$LAB_MNT" 2>/dev/null
    done
    return $rc
}

lab_mount() {
    local dir=${1:-$LAB_MNT} cli
    cli=$(lab_find src/cli/tiercel) || return 1
    lab_each "$cli" mount "$dir"
}

# The processes inside this lab's network namespaces: those it started, and theirs.
lab_pids() {
    [[ -s $LAB_DIR/nets ]] || return 0
    find /proc/[0-9]*/ns/net -maxdepth 0 -printf '%l %p\n' 2>/dev/null | grep -Ff "$LAB_DIR/nets" |
        sed -E 's,.* /proc/([0-9]+)/.*,\1,'
}

lab_none() { [[ -z $(lab_pids) ]]; }

lab_down() {
    local rc=0
    [[ -n ${LAB_DIR:-} && -d $LAB_DIR ]] || return 0
    lab_daemons_stop || rc=1
    [[ ! -S $LAB_DIR/busyfs.sock ]] || lab_ctl quit >/dev/null 2>&1
    # shellcheck disable=SC2046
    kill -s KILL $(lab_pids) 2>/dev/null
    lab_until 100 lab_none || { lab_say "$LAB_DIR: processes are left: $(lab_pids | tr '\n' ' ')"; rc=1; }
    if [[ -n ${LAB_KEEP:-} ]]; then
        lab_say "kept: $LAB_DIR"
    else
        rm -rf "$LAB_DIR"
    fi
    unset LAB_DIR
    return $rc
}
