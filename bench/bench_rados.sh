# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# containers in a Ceph cluster of its own against librados by itself: data, commits, waking, commits by size, stall when an OSD is killed
#
# Two clusters, one after the other: memstore, where a disk does not hide what we add; bluestore for the stall. About 4 minutes,
# 10 GB of memory (--quick: 90 s, 4 GB), 6 GB of disk below $TMPDIR.
RADOS_DEV_TOOL=$BENCH_HERE/../tools/rados-dev
# shellcheck disable=SC2034 # bench_result reads it
BENCH_STORAGE='Ceph on this machine, 3 copies: memstore, for the stall bluestore'

cluster_up() { # OPTION...
    unset CEPH_CONF # of the one before
    RADOS_DEV=$("$RADOS_DEV_TOOL" start --owner $$ "$@") || return 1
    export RADOS_DEV RADOS_TOOL=$RADOS_DEV_TOOL CEPH_CONF=$RADOS_DEV/ceph.conf
}
cluster_down() { "$RADOS_DEV_TOOL" stop "$RADOS_DEV"; }

# measure FILE MODE NAME ARGUMENT...: JSON of bench/rados.c, with a limit in case the cluster is stuck.
measure() {
    local file=$1
    shift
    timeout 300 "$(tool rados)" "$@" >"$BENCH_TEMP/$file" && jq -e . "$BENCH_TEMP/$file" >"$BENCH_TEMP/checked"
}
# missing METRIC UNIT TARGET: what could not be measured.
missing() { row_null "$1" "$2" lower "$3" - 'bench-rados has failed, or took longer than 300 s; what it said is above'; }
# of FILE FILTER: seconds.
of() { jq -c "$2" "$BENCH_TEMP/$1"; }
ms() { jq -c 'map(. * 1e3)'; }
# versus FILE FIELD: ours by librados', round by round.
versus() { pairs "$(of "$1" ".sizes[0].tiercel.$2")" "$(of "$1" ".sizes[0].librados.$2")"; }

# compare LABEL RANKS COUNT BYTES TARGET: checkpoints in turns with librados. TARGET: of the data and of the whole.
compare() {
    local label=$1 side
    say "$label, in turns with librados"
    measure "$label" rounds "$label" both "$2" "$3" "$4" || { missing "$label-data-vs-librados" ratio "$5" && return; }
    row "$label-data-vs-librados" ratio lower "$5" 'write_full of the same, as many on their way' "$(versus "$label" data)" "put, flushed; $3 rounds"
    row "$label-round-vs-librados" ratio lower "$5" 'that, an omap of names each, an omap compared and set' "$(versus "$label" round)"
    row "$label-commit-step-vs-librados" ratio lower null 'an omap compared and set' "$(versus "$label" commit)" 'the others wait'
    row "$label-read-vs-librados" ratio lower "$5" 'read of the same objects, as many on their way' "$(versus "$label" read)"
    for side in tiercel librados; do
        row "$label-round-$side" ms lower null - "$(of "$label" ".sizes[0].$side.round" | ms)"
    done
}

commits() {
    local ours theirs
    say 'commits'
    measure commits commits commits "$1" || { missing commit-vs-compare-and-set ratio 1.3 && return; }
    ours=$(of commits .tiercel) theirs=$(of commits .librados)
    row commit-vs-compare-and-set ratio lower 1.3 'an omap compared and set, same placement group' \
        "$(jq -cn --argjson a "$(median <<<"$ours")" --argjson b "$(median <<<"$theirs")" '[$a / $b]')" "$1 of each, in turns; of their medians"
    row commit ms lower null - "$(ms <<<"$ours")"
    row compare-and-set ms lower null - "$(ms <<<"$theirs")"
}

waking() {
    say 'waking'
    measure wake wake wake "$1" || { missing waiting-consumer-wakes-after ms 5 && return; }
    row waiting-consumer-wakes-after ms lower 5 - "$(of wake .seconds | ms)" "$1 commits; from the return of commit to the return of wait in another process"
}

# growth COUNT MIB...: the commit step behind so much data of 4 processes, sizes in turns.
growth() {
    local count=$1 bytes=() mib i first last
    shift
    for mib in "$@"; do bytes+=($((mib << 18))); done
    say "commits of $* MiB"
    measure growth rounds growth ours 4 "$count" "${bytes[@]}" || { missing "commit-of-${*: -1}MiB-vs-1MiB" ratio 1.5 && return; }
    first=$(of growth '.sizes[0].tiercel.commit') last=$(of growth '.sizes[-1].tiercel.commit')
    row "commit-of-${*: -1}MiB-vs-1MiB" ratio lower 1.5 'the commit of 1 MiB' \
        "$(jq -cn --argjson a "$(median <<<"$last")" --argjson b "$(median <<<"$first")" '[$a / $b]')" "4 processes; $count of each size, in turns; of their medians"
    first=$(of growth '.sizes[0].librados.commit') last=$(of growth '.sizes[-1].librados.commit')
    row "compare-and-set-behind-${*: -1}MiB-vs-1MiB" ratio lower null 'behind 1 MiB' \
        "$(jq -cn --argjson a "$(median <<<"$last")" --argjson b "$(median <<<"$first")" '[$a / $b]')" 'librados by itself, beside each of these commits: what the cluster makes of it'
    i=0
    for mib in "$@"; do
        row "commit-of-${mib}MiB" ms lower null - "$(of growth ".sizes[$i].tiercel.commit" | ms)"
        i=$((i + 1))
    done
}

stall() { # KILLS
    local side
    say 'a writer each, while an OSD is killed'
    measure stall stall stall "$1" || { missing osd-killed-stall-vs-librados ratio 1.2 && return; }
    row osd-killed-stall-vs-librados ratio lower 1.2 'a writer with librados beside it, in the same cluster' \
        "$(pairs "$(of stall .tiercel.gaps)" "$(of stall .librados.gaps)")" "kill -9, $1 times; the longest time between two rounds of 8 x 16 KiB"
    for side in tiercel librados; do
        row "osd-killed-stall-$side" s lower null - "$(of stall ".$side.gaps")" "usual time of a round: $(of stall ".$side.rounds" | median | jq '. * 1e4 | round / 10') ms"
    done
}

bench_main() {
    local quick=$BENCH_QUICK
    [[ -x $(tool rados) ]] || { echo 'bench/run: rados: built without librados: install librados-dev, then meson setup --reconfigure build' >&2 && return 1; }
    say 'a cluster, memstore' && cluster_up --osds 3 --osd-bytes $((8 << 30)) || return 1
    commits $((quick ? 200 : 500))
    waking $((quick ? 50 : 200))
    compare 1x64MiB 1 $((quick ? 5 : 9)) $((64 << 20)) 1.1
    compare 4x16MiB 4 $((quick ? 7 : 15)) $((16 << 20)) 1.1
    compare 4x1MiB 4 $((quick ? 10 : 25)) $((1 << 20)) null
    if ((quick)); then
        growth 5 1 16 256
    else
        growth 5 1 64 1024
    fi
    cluster_down
    say 'a cluster, bluestore' && cluster_up --osds 4 --store bluestore || return 1
    stall $((quick ? 1 : 3))
    cluster_down
}
