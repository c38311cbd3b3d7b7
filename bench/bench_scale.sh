# shellcheck shell=bash
# 32 to 10,624 nodes, simulated: cold and second start, straight and through Tiercel; docs/img/scale.svg; 1 % of the daemons dying

POINTS=32,128,512,2048,10624
((BENCH_QUICK)) && POINTS=32,512,2048

simulate() { "$(lab_find src/sim/tiercel-sim)" --json --choose "$@"; }
# Roots R and arity K are those that the daemon chooses.
# from FILE EXPRESSION: a number of the last point, as an array of one sample: simulations have no noise.
from() { jq -c "[.rows[-1] | .roots as \$R | .arity as \$K | $2]" "$1"; }

table() {
    jq -r '["nodes", "R", "arity", "straight cold s", "straight second s", "Tiercel cold s", "Tiercel second s"], (.rows[] |
        [.nodes, .roots, .arity, .straight_s, .straight_warm_s, .tiercel_s, .warm_s] | map(. * 1000 | round / 1000)) | @tsv' "$1" |
        awk -F'\t' '{ printf "  %8s %3s %6s %16s %18s %15s %17s\n", $1, $2, $3, $4, $5, $6, $7 }' >&2
}

# With the programs' own processor time: what a user waits for, and what the paper measured.
curve() {
    local json=$BENCH_TEMP/curve.json
    simulate --curve $POINTS --warm >"$json" || return 1
    table "$json"
    "$BENCH_HERE/scale_svg" "$json" >"$BENCH_TEMP/scale.svg" || return 1
    if ((!BENCH_QUICK)); then
        mkdir -p "$BENCH_HERE/../docs/img" && cp "$BENCH_TEMP/scale.svg" "$BENCH_HERE/../docs/img/scale.svg" || return 1
    fi
    row cold-start s lower null - "$(from "$json" .tiercel_s)" '2 s of it are the programs'"'"' own processor time'
    row cold-start-vs-32-nodes ratio lower 1.1 '32 nodes' "$(jq -c '[.rows[-1].tiercel_s / .rows[0].tiercel_s]' "$json")"
    row second-start s lower null - "$(from "$json" .warm_s)" 'from the daemon of each node'
    row straight-cold-2048 s - null 'paper: about 120 s, 60 s more than Copper' \
        "$(jq -c '[.rows[] | select(.nodes == 2048) | .straight_s]' "$json")" 'fitted, no evidence of its own'
    row straight-second-2048 s - null 'paper: about 180 s' \
        "$(jq -c '[.rows[] | select(.nodes == 2048) | .straight_warm_s]' "$json")" 'fitted, no evidence of its own'
}

# Without the programs' own time and with all starting at once: the tier alone.
tier_alone() {
    local json=$BENCH_TEMP/alone.json told=$BENCH_TEMP/told.json last=${POINTS##*,}
    simulate --curve "32,$last" --compute-ms 0 --skew-ms 0 --kill-percent 1 --warm >"$json" || return 1
    simulate --curve "$last" --no-straight --compute-ms 0 --skew-ms 0 --profile >"$told" || return 1
    row cold-start-without-programs-time s lower null - "$(from "$json" .tiercel_s)"
    row second-start-without-programs-time s lower null - "$(from "$json" .warm_s)"
    row time-vs-lower-bound ratio lower 1.5 'storage at its full speed + depth x latency + bytes / link' \
        "$(from "$json" '.tiercel_s / .bound_s')" 'programs ask for one file after the other, so storage is never asked at its full speed'
    row time-with-a-profile-vs-lower-bound ratio lower null 'the same' "$(from "$told" '.tiercel_s / .bound_s')" 'asked for at once, as far as flights allow'
    row time-vs-one-node-alone-at-storage ratio lower null 'one node, straight at idle storage, in the same order' \
        "$(from "$json" '.tiercel_s / .alone_s')"
    row busiest-link-vs-mean ratio lower 2 'bytes sent, mean of all nodes' "$(from "$json" '.busiest_sent_bytes / (.sent_bytes / .nodes)')"
    row root-sent-vs-share ratio lower 1 'arity x distinct bytes / R' "$(from "$json" '.root_sent_bytes / ($K * .distinct_bytes / $R)')" \
        "messages included; R = $(jq .rows[-1].roots "$json"), arity $(jq .rows[-1].arity "$json")"
    row storage-reads-per-chunk ratio lower 1 'distinct chunks' "$(from "$json" '.storage_reads / .chunks')"
    row time-with-1-percent-dying ratio lower 1.25 'the same without' "$(from "$json" '.killed_s / .tiercel_s')" \
        "$(jq '.rows[-1].killed' "$json") daemons die for good, their connections are reset"
    row programs-that-fail-then answers lower 0 - "$(from "$json" .killed_errors)" 'those on the dead nodes apart'
    row storage-reads-per-chunk-then ratio lower null 'distinct chunks' "$(from "$json" '.killed_reads / .chunks')"
}

bench_main() {
    say "the curve, $POINTS nodes" && curve && say 'the tier alone' && tier_alone
}
