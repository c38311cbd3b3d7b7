# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# values that local programs share: hits, puts, and the longest stall of a full cache

# What CVMFS's RAM cache manager was measured to stall for when it compacts 8 GiB (its own malloc_heap at 75 % use).
CVMFS_STALL_US=1030000

field() { jq -s --arg what "$1" --arg field "$2" '[.[] | select(.what == $what) | .[$field]]' "$3"; }

MACHINE='nothing but copies, for as long'
FLOOR='a page that was not there, without the cache'
# Which lines are calls of a full cache: all but the machine's own, and filling it, which has rows of its own.
FULL='(.what | startswith("nothing") or startswith("a page") or startswith("hit") or . == "fill up" | not)'

# over_all FIELD max|add WHICH FILE
over_all() { jq -s "[[.[] | select($3) | .$1 // empty] | $2]" "$4"; }

# In one process: the manager itself.
manager() {
    local out=$BENCH_TEMP/manager.json mib=8192 what
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
    row put-4-KiB-while-60000-values-are-held 1/s higher null - "$(field 'put 4 KiB while 60,000 values are held' per_s "$out")" '60 clients hold 1,000 each'
    row put-4-KiB-of-cpu 1/s higher null - "$(field 'put 4 KiB' per_cpu_s "$out")" 'a second of processor time, its measuring included'
    row noise-longest-cpu us lower null - "$(field 'nothing but a copy of 4 KiB' max_cpu_us "$out")" 'the same watch on a copy of 4 KiB: the machine'
    row longest-operation-cpu us lower 1000 'CVMFS: 1,030,000 us' "$(over_all max_cpu_us max "$FULL" "$out")" "$mib MiB, full; processor time of one call"
    row operations-over-1ms-of-cpu calls lower 0 - "$(over_all cpu_over_1ms add "$FULL" "$out")" "of $(over_all calls add "$FULL" "$out" | jq '.[0]') calls of the full cache"
    row machine-longest-cpu us lower null - "$(field "$MACHINE" max_cpu_us "$out")" 'nothing but copies of 4 KiB to memory that is there, in turns with the full cache, for as long'
    row machine-over-1ms-of-cpu calls lower null - "$(field "$MACHINE" cpu_over_1ms "$out")" 'the same: what the machine (interrupts, its host) stalls any program'
    row filling-longest-cpu us lower null "floor: $(field "$FLOOR" max_cpu_us "$out" | jq '.[0]') us" "$(field 'fill up' max_cpu_us "$out")" \
        'memory that it never had; the floor: pages one by one, without the cache, in turns'
    row filling-over-1ms-of-cpu calls lower null "floor: $(field "$FLOOR" cpu_over_1ms "$out" | jq '.[0]') in a quarter of the memory" "$(field 'fill up' cpu_over_1ms "$out")" \
        "of $(field 'fill up' calls "$out" | jq '.[0]') calls"
    row longest-operation-wall us lower null - "$(over_all max_us max "$FULL" "$out")" 'with what the scheduler took'
    row p9999-operation us lower null - "$(over_all p9999_us max "$FULL" "$out")" 'worst of all kinds'
    row stall-against-cvmfs ratio higher 1000 'CVMFS, 8 GiB' "$(over_all max_cpu_us max "$FULL" "$out" | jq --argjson c "$CVMFS_STALL_US" 'map($c / .)')"
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
