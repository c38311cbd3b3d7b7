# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# values that local programs share: hits, puts, and the longest stall of a full cache

# What CVMFS's RAM cache manager was measured to stall for when it compacts 8 GiB (its own malloc_heap at 75 % use).
CVMFS_STALL_US=1030000

field() { jq -s --arg what "$1" --arg field "$2" '[.[] | select(.what == $what) | .[$field]]' "$3"; }

# In one process: the manager itself.
manager() {
    local out=$BENCH_TEMP/manager.json mib=8192 worst what
    ((BENCH_QUICK)) && mib=256
    # Half of what is free at most: others work here, too.
    local free
    free=$(awk '/MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
    ((mib * 3 / 2 > free)) && mib=$((free / 3))
    nice -n 5 "$(tool cachebench)" --mib "$mib" >"$out" || return 1
    row share-of-limit-in-values ratio higher 0.95 - \
        "$(field 'share of the limit that is values' share "$out" | jq '[max]')" "$mib MiB"
    row hit-from-second-process 1/s higher 1000000 - "$(field 'hit from a second process' per_s "$out")" 'look up and map, the manager in another process'
    for what in 'put 4 KiB' 'put 500 B' 'replace 4 KiB'; do
        row "${what// /-}" 1/s higher "$([[ $what == 'put 4 KiB' ]] && echo 300000 || echo null)" - \
            "$(field "$what" per_s "$out")" 'full cache, in the owner'
    done
    row put-4-KiB-of-cpu 1/s higher null - "$(field 'put 4 KiB' per_cpu_s "$out")" 'a second of processor time, its measuring included'
    row noise-longest-cpu us lower null - "$(field 'nothing but a copy of 4 KiB' max_cpu_us "$out")" 'the same watch on a copy of 4 KiB: the machine'
    worst=$(jq -s '[.[] | select(.what | startswith("nothing") | not) | .max_cpu_us // empty] | [max]' "$out")
    row longest-operation-cpu us lower 1000 'CVMFS: 1,030,000 us' "$worst" "$mib MiB, full; processor time of one call"
    row longest-operation-wall us lower null - "$(jq -s '[.[] | .max_us // empty] | [max]' "$out")" 'with what the scheduler took'
    row operations-over-1ms-of-cpu calls lower 0 - "$(jq -s '[[.[] | select(.what | startswith("nothing") | not) | .cpu_over_1ms // 0] | add]' "$out")" \
        "of $(jq -s '[.[] | select(.what | startswith("nothing") | not) | .calls // 0] | add' "$out") calls"
    row p9999-operation us lower null - "$(jq -s '[.[] | .p9999_us // empty] | [max]' "$out")" 'worst of all kinds'
    row stall-against-cvmfs ratio higher 1000 'CVMFS, 8 GiB' "$(jq --argjson c "$CVMFS_STALL_US" 'map($c / .)' <<<"$worst")"
}

# Through a daemon: what a program sees with libtiercel.
daemon() {
    local out=$BENCH_TEMP/daemon.json k
    : >"$out"
    export TIERCEL_RUNTIME_DIR=$BENCH_TEMP/rt TIERCEL_NAME=bench-cache
    "$(lab_find src/cli/tiercel)" up -N 1 --cache-size 2G >/dev/null || return 1
    for ((k = 0; k < SAMPLES; k++)); do
        "$(lab_find test/daemon/values_client)" rates >>"$out" || break
    done
    "$(lab_find src/cli/tiercel)" down >/dev/null
    row client-hit 1/s higher 1000000 - "$(field 'hit, look up and map' per_s "$out")" 'tiercel_cache_get'
    row client-put-4-KiB-batched 1/s higher 300000 - "$(field 'put 4 KiB, batched' per_s "$out")" 'tiercel_cache_put_many'
    row client-put-4-KiB 1/s higher null - "$(field 'put 4 KiB, one by one' per_s "$out")" 'tiercel_cache_put, a message each'
}

bench_main() {
    say 'the manager' && manager && say 'through a daemon' && daemon
}
