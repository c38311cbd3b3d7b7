# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# checkpoints of four processes: with Tiercel, raw, a file each, h5py, LMDB, SQLite; syncs; how fast a waiting consumer wakes
CKPT_DIR=${TIERCEL_BENCH_DIR:-/var/tmp} # on the disk that is measured
CKPT_PROCESSES=4

# one WAY BYTES COUNT: JSON of that many checkpoints in a fresh directory.
one() {
    local rc dir
    dir=$(mktemp -d "$CKPT_DIR/tiercel-ckpt.XXXXXX") || return 1
    if [[ $1 == h5py ]]; then
        /usr/bin/python3 "$BENCH_HERE/checkpoint_h5.py" "$dir" $CKPT_PROCESSES "$2" "$3"
    else
        "$(tool checkpoint)" "$1" "$dir" $CKPT_PROCESSES "$2" "$3"
    fi
    rc=$?
    rm -rf "$dir"
    return $rc
}

# all BYTES LABEL COUNT ROUNDS: every way in turns; $BENCH_TEMP/LABEL-WAY has a line a round.
all() {
    local bytes=$1 label=$2 count=$3 rounds=$4 i way
    for ((i = 0; i < rounds; i++)); do
        for way in "${ways[@]}"; do
            one "$way" "$bytes" "$count" >>"$BENCH_TEMP/$label-$way" || return 1
        done
    done
}

# One number a round, the median of its checkpoints.
rounds_of() { jq -sc --arg field "$2" 'map(.[$field] | sort | .[length / 2 | floor])' "$BENCH_TEMP/$1"; }

compare() {
    local label=$1 floor=$2 files=$3 times way
    local own
    own=$(rounds_of "$label-tiercel" seconds)
    if [[ $label == 4x64MiB ]]; then
        row "$label-rate-vs-raw" ratio higher "$floor" 'the same syncs, O_DIRECT and io_uring, nothing else' "$(pairs "$(rounds_of "$label-raw" seconds)" "$own")"
        row "$label-rate-vs-file-each" ratio higher "$files" 'write, fsync, rename' "$(pairs "$(rounds_of "$label-files" seconds)" "$own")"
    else
        row "$label-time-vs-raw" ratio lower "$floor" 'the same syncs, O_DIRECT and io_uring, nothing else' "$(pairs "$own" "$(rounds_of "$label-raw" seconds)")"
    fi
    for way in "${ways[@]}"; do
        times=$(rounds_of "$label-$way" seconds)
        row "$label-$way" ms lower null - "$(jq -c 'map(. * 1e3)' <<<"$times")" \
            "memory of a process beyond its data: $(jq -s 'map(.rss_kb - .data_kb) | max / 1024 | floor' "$BENCH_TEMP/$label-$way") MiB at most"
    done
    row "$label-commit-step" ms lower null - "$(jq -c 'map(. * 1e3)' <<<"$(rounds_of "$label-tiercel" commit_seconds)")"
}

# syncs BYTES: device syncs of a commit step, by strace: fdatasync, fsync, msync, and writes to a descriptor opened with O_DSYNC.
syncs() {
    local n count=() dir trace=$BENCH_TEMP/trace
    for n in 5 15; do
        dir=$(mktemp -d "$CKPT_DIR/tiercel-ckpt.XXXXXX") || return 1
        strace -f -q -e trace=openat,fdatasync,fsync,msync,pwrite64,pwritev,close -o "$trace" \
            "$(tool checkpoint)" tiercel "$dir" $CKPT_PROCESSES "$1" "$n" >/dev/null
        rm -rf "$dir"
        count+=("$(awk '
            / openat\(.*O_DSYNC/ && $NF + 0 >= 0 { dsync[$1 " " $NF] = 1 }
            / close\(/ { fd = $0; sub(/.*close\(/, "", fd); sub(/\).*/, "", fd); delete dsync[$1 " " fd] }
            / (fdatasync|fsync)\(/ { n++ }
            / msync\(.*MS_SYNC/ { n++ }
            / (pwrite64|pwritev)\(/ { fd = $0; sub(/.*(pwrite64|pwritev)\(/, "", fd); sub(/,.*/, "", fd); n += ($1 " " fd) in dsync }
            END { print n + 0 }' "$trace")")
    done
    # Each process has flushed once a checkpoint: the rest is the commit step.
    jq -n --argjson a "${count[0]}" --argjson b "${count[1]}" --argjson p $CKPT_PROCESSES '[($b - $a) / 10 - $p]'
}

wakes() {
    local dir
    dir=$(mktemp -d "$CKPT_DIR/tiercel-ckpt.XXXXXX") || return 1
    "$(tool checkpoint)" wake "$dir" 200 >"$BENCH_TEMP/wake"
    rm -rf "$dir"
    [[ -s $BENCH_TEMP/wake ]] || return 1
    row waiting-consumer-wakes-after us lower 200 - "$(jq -c '.seconds | map(. * 1e6)' "$BENCH_TEMP/wake")" '200 commits; from the return of commit to the return of wait; below 0: woken before'
}

bench_main() {
    local ways=(tiercel raw files lmdb) label
    ! nm -D "$(tool checkpoint)" 2>/dev/null | grep -q sqlite3_open || ways+=(sqlite)
    /usr/bin/python3 -c 'import h5py' 2>/dev/null && ways+=(h5py)
    say '4 x 64 MiB' && all $((64 << 20)) 4x64MiB 3 "$SAMPLES" || return 1
    say '4 x 1 MiB' && all $((1 << 20)) 4x1MiB 15 "$SAMPLES" || return 1
    compare 4x64MiB 0.9 2
    compare 4x1MiB 1.5 null
    for label in h5py sqlite; do
        [[ " ${ways[*]} " == *" $label "* ]] || row_null "4x64MiB-$label" ms lower null - "not installed"
    done
    say 'syncs'
    row commit-step-syncs-4x1MiB syncs lower 3 - "$(syncs $((1 << 20)))" 'with strace: fsync, fdatasync, msync, writes with O_DSYNC'
    row commit-step-syncs-4x64MiB syncs lower 3 - "$(syncs $((64 << 20)))"
    say 'waking' && wakes
}
