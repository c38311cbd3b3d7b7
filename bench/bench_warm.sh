# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# a cold start with a profile of the start before, against one without

# As `tiercel run` leaves it behind: what one start on node 0 has read. Prints the profile's path.
record_start() {
    local module=$1
    mkdir -p "$BENCH_TEMP/cache"
    XDG_CACHE_HOME=$BENCH_TEMP/cache lab_tiercel 0 run --strict --cache "$LAB_PFS" -- \
        "$(tool replay)" --prefix "$LAB_PFS" --procs 1 "$BENCH_TEMP/$module.trace" >/dev/null || return 1
    ls "$BENCH_TEMP"/cache/tiercel/profiles/*.profile
}

# Seconds of a cold start of a tier that is told, by the same clock, what will be read.
warm_start() {
    local start=${EPOCHREALTIME/./}
    lab_tiercel 0 warm --no-wait --profile "$2" >/dev/null && replay_all "$1" "$BENCH_MOUNT" "$PROCS" >/dev/null || return 1
    echo "$((${EPOCHREALTIME/./} - start))e-6"
}

in_the_lab() {
    local n=4 module=pandas k cold='[]' warm='[]' reads='[]' profile
    PROCS=2 # more would measure two cores
    traces "$module"
    has "$module" || { row_null warm-start-vs-cold ratio higher 1.5 'without a profile' "python3-$module is not installed"; return 0; }
    tier_up "$n" --busy '--service-us 4000' || return 1
    profile=$(record_start "$module") || return 1
    for ((k = 0; k < SAMPLES; k++)); do
        tier_again || return 1
        push cold "$(replay_all "$module" "$BENCH_MOUNT" "$PROCS")"
        tier_again || return 1
        push warm "$(warm_start "$module" "$profile")"
        push reads "$(lab_ctl stat | jq '.reads / .distinct.chunks')"
        say "cold $(jq '.[-1]' <<<"$cold") s, with a profile $(jq '.[-1]' <<<"$warm") s"
    done
    lab_down
    row cold-start s lower null - "$cold" "$module x $PROCS on $n nodes"
    row cold-start-with-profile s lower null - "$warm" "$(wc -l <"$profile") lines of profile"
    row warm-start-gain ratio higher 1.5 'without a profile' "$(pairs "$cold" "$warm")"
    row storage-reads-per-distinct-chunk ratio lower 1.0 'distinct chunks' "$reads"
}

simulate() { "$(lab_find src/sim/tiercel-sim)" --json --no-straight --choose --curve "$last" --compute-ms 0 --skew-ms 0 "$@"; }

# At the paper's size, with the trees that the daemon chooses, without the programs' own processor time.
simulated() {
    local last=10624 cold=$BENCH_TEMP/cold.json warm=$BENCH_TEMP/warm.json note
    ((BENCH_QUICK)) && last=512
    simulate >"$cold" && simulate --profile >"$warm" || return 1
    note=$(jq -r '.rows[-1] | "\(.nodes) nodes, \(.roots) roots, arity \(.arity); \(.tiercel_s) s"' "$warm")
    row simulated-warm-start-gain ratio higher 3 'without a profile' \
        "$(jq -cs '[.[0].rows[-1].tiercel_s / .[1].rows[-1].tiercel_s]' "$cold" "$warm")" "$note"
    row simulated-storage-reads-per-chunk ratio lower 1 'distinct chunks' \
        "$(jq -c '[.rows[-1].storage_reads / .rows[-1].chunks]' "$warm")"
}

bench_main() {
    say 'the lab' && in_the_lab && say 'simulated' && simulated
}
