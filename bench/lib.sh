# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What the benchmarks share: rows, medians, labs, traces. Sourced by bench/run.
BENCH_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=test/lab/lab.sh
. "$BENCH_HERE/../test/lab/lab.sh"

BENCH_MOUNT=$LAB_MNT$LAB_PFS # the busy file system as the tier serves it

bench_start() {
    BENCH_TEMP=$(mktemp -d /tmp/tiercel-bench.XXXXXX)
    chmod 755 "$BENCH_TEMP"
    : >"$BENCH_TEMP/rows"
    trap 'lab_down; rm -rf "$BENCH_TEMP"' EXIT
    trap 'exit 130' INT TERM
    # shellcheck disable=SC2034 # the benchmarks read it
    SAMPLES=$((BENCH_QUICK ? 3 : 5))
}

say() { printf '%4d s  %s\n' "$SECONDS" "$*" >&2; }
tool() { lab_find "bench/bench-$1"; }

# The middle of a JSON array on standard input.
median() { jq 'sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor] else (.[length / 2] + .[length / 2 - 1]) / 2 end'; }
# pairs A B: the array of A[i] / B[i].
pairs() { jq -cn --argjson a "$1" --argjson b "$2" '[range([$a, $b] | map(length) | min) | $a[.] / $b[.]]'; }
# Adds a number to a JSON array in a variable: push NAME NUMBER
push() { printf -v "$1" '%s' "$(jq -cn --argjson a "${!1:-[]}" --argjson x "$2" '$a + [$x]')"; }

# row METRIC UNIT BETTER(lower|higher|-) TARGET(number|null) COMPARED_WITH SAMPLES(array) [NOTE]; the value is the median.
row() {
    local value
    value=$(median <<<"$6")
    jq -cn --arg metric "$1" --arg unit "$2" --arg better "$3" --argjson target "$4" --arg with "$5" --argjson samples "$6" \
        --argjson value "$value" --arg note "${7:-}" '
        def sane: if . == null then null else . * 10000 | round / 10000 end;
        {$metric, value: ($value | sane), $unit, better: (if $better == "-" then null else $better end), $target,
         met: (if $target == null or $value == null then null elif $better == "lower" then $value <= $target else $value >= $target end),
         compared_with: (if $with == "-" then null else $with end), samples: ($samples | map(sane))}
        + if $note == "" then {} else {$note} end' >>"$BENCH_TEMP/rows"
}

# row_null METRIC UNIT BETTER TARGET COMPARED_WITH REASON: a figure that could not be taken.
row_null() {
    jq -cn --arg metric "$1" --arg unit "$2" --arg better "$3" --argjson target "$4" --arg with "$5" --arg reason "$6" \
        '{$metric, value: null, $unit, better: (if $better == "-" then null else $better end), $target, met: null,
          compared_with: (if $with == "-" then null else $with end), samples: [], $reason}' >>"$BENCH_TEMP/rows"
}

bench_result() {
    jq -s --arg bench "$1" --arg kernel "$(uname -r)" --argjson cpus "$(nproc)" --arg load "$(cut -d' ' -f1-3 /proc/loadavg)" \
        --argjson memory "$(awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo)" --argjson quick "$BENCH_QUICK" \
        --arg model "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" \
        --arg storage "${BENCH_STORAGE:-busyfs, a stand-in for a busy parallel file system}" '
        {bench: $bench, machine: {cpus: $cpus, cpu: $model, memory_mb: $memory, kernel: $kernel, load_at_end: $load,
          $storage}, quick: ($quick == 1), rows: .}' "$BENCH_TEMP/rows"
}

bench_table() {
    jq -r '"\(.bench): medians; load at the end \(.machine.load_at_end)\(if .quick then "; --quick" else "" end)",
        (.rows[] | [.metric, (.value // "none" | tostring), .unit,
            (if .target == null then "" else (if .better == "lower" then "<= " else ">= " end) + (.target | tostring) end),
            (if .met == null then "" elif .met then "met" else "NOT MET" end), (.compared_with // ""), (.reason // .note // "")] | @tsv)' |
        awk -F'\t' 'NF < 2 { print; next } { printf "  %-46s %12s %-8s %-9s %-8s %s%s\n", $1, $2, $3, $4, $5, ($6 == "" ? "" : "vs " $6), ($7 == "" ? "" : "  (" $7 ")") }'
}

# tier_up N [LAB OPTIONS]: a lab whose tier is ready and mounted everywhere.
tier_up() {
    lab_up "$@" && lab_tiercel 0 wait >/dev/null && lab_mount || return 1
    # The mount point itself is part of the lab, not of the program: it is asked for before counting.
    lab_each stat "$BENCH_MOUNT" >/dev/null
    lab_ctl reset >/dev/null
}

# tier_again: fresh daemons and kernels that hold nothing, in the same lab.
tier_again() {
    lab_daemons_stop
    lab_ctl drop >/dev/null
    lab_daemons_start && lab_tiercel 0 wait >/dev/null && lab_mount || return 1
    lab_each stat "$BENCH_MOUNT" >/dev/null
    lab_ctl reset >/dev/null
}

# traces MODULE...: records the imports once; $BENCH_TEMP/MODULE.trace. Modules that are not installed are left out.
traces() {
    local m
    for m in "$@"; do
        "$BENCH_HERE/record" "$m" "$BENCH_TEMP/$m.trace" 2>"$BENCH_TEMP/record.err" || rm -f "$BENCH_TEMP/$m.trace"
    done
}
has() { [[ -s $BENCH_TEMP/$1.trace ]]; }

# replay_all MODULE PREFIX [PROCS]: on all nodes at once. Prints the seconds until the last is done.
replay_all() {
    local module=$1 prefix=$2 procs=${3:-12} start=${EPOCHREALTIME/./}
    lab_each timeout 300 "$(tool replay)" --prefix "$prefix" --procs "$procs" "$BENCH_TEMP/$module.trace" || return 1
    echo "$((${EPOCHREALTIME/./} - start))e-6"
}

# A copy of what an import touches, on a node's tmpfs: /dev/shm/usr. Links become what they lead to.
tmpfs_copy() {
    local node=$1 module=$2
    awk '$1 !~ /^#/ && $5 == "0" && $6 != "-" { print $6 }' "$BENCH_TEMP/$module.trace" | sort -u >"$BENCH_TEMP/names"
    lab_exec "$node" bash -c '
        cd /usr && mkdir -p /dev/shm/usr &&
        while read -r name; do
            echo "$name"
            [[ ! -d $name || $name == . ]] || find -L "$name" -maxdepth 1 -type f 2>/dev/null # bin/X11 leads to itself
        done <"$1" | sort -u | tar -c -h --no-recursion -T - | tar -x -C /dev/shm/usr' bash "$BENCH_TEMP/names"
}

# python_import NODE PREFIX MODULE: seconds that one real import takes, on that node.
python_import() {
    local python
    python=$(readlink -f /usr/bin/python3)
    # shellcheck disable=SC2016 # the inner shell expands
    lab_exec "$1" bash -c '
        export PYTHONHOME=$1 LD_LIBRARY_PATH=$1/lib/$(uname -m)-linux-gnu PYTHONDONTWRITEBYTECODE=1 TZ=UTC LC_ALL=C
        export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONHASHSEED=0
        start=${EPOCHREALTIME/./}
        "$1/$2" -c "import $3" >/dev/null || exit 1
        echo "$((${EPOCHREALTIME/./} - start))e-6"' bash "$2" "${python#/usr/}" "$3"
}

# Processor seconds that the lab daemons have used: all, or those of the given nodes.
daemon_cpu() {
    local i nodes=("$@") total=0 ns
    ((${#nodes[@]} > 0)) || for ((i = 0; i < LAB_COUNT; i++)); do nodes+=("$i"); done
    for i in "${nodes[@]}"; do
        for t in /proc/"$(<"$LAB_DIR/daemon-$i.pid")"/task/*/schedstat; do
            read -r ns _ <"$t" && total=$((total + ns))
        done
    done
    echo "${total}e-9"
}

counter() { lab_tiercel "$1" stat --json | jq "$2"; }
