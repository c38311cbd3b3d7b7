# shellcheck shell=bash
# calls through the mount against tmpfs: warm rates, and the first touch of a cached file

bench_main() {
    local tree=$BENCH_TEMP/tree call target k first='[]' tmpfs='[]'
    mkdir "$tree" && "$(tool fsbench)" make "$tree" || return 1
    tier_up 2 --source "$tree" --busy '--service-us 0' || return 1
    lab_exec 1 bash -c 'mkdir /dev/shm/tree && cp -a "$1"/. /dev/shm/tree' bash "$tree" || return 1
    say 'warm rates, in turns'
    lab_exec 1 "$(tool fsbench)" rates $((BENCH_QUICK ? 5 : 15)) "tier=$BENCH_MOUNT" tmpfs=/dev/shm/tree >"$BENCH_TEMP/rates" || return 1
    for call in stat:0.9 missing:1.0 open-close:0.5 read-4k:0.85 read-128k:0.85; do
        target=${call#*:} call=${call%:*}
        row "warm-$call-vs-tmpfs" ratio higher "$target" tmpfs \
            "$(pairs "$(jq -c ".\"$call\".tier" "$BENCH_TEMP/rates")" "$(jq -c ".\"$call\".tmpfs" "$BENCH_TEMP/rates")")" \
            "$(jq -r --arg c "$call" '.[$c].tier | sort | .[length / 2 | floor] | if . > 1e7 then "\(. / 1e6 | round) MB/s" else "\(. | round) /s" end' "$BENCH_TEMP/rates")"
    done
    say 'first touch of a file that the daemon holds'
    for ((k = 0; k < SAMPLES + 2; k++)); do
        # The kernel forgets, the daemon keeps.
        lab_tiercel 1 flush "$LAB_PFS/large" >/dev/null && lab_exec 1 stat "$BENCH_MOUNT/large" >/dev/null || return 1
        push first "$(lab_exec 1 "$(tool fsbench)" stream "$BENCH_MOUNT/large" | jq '.[0]')"
        push tmpfs "$(lab_exec 1 "$(tool fsbench)" stream /dev/shm/tree/large | jq '.[0]')"
    done
    row first-touch-64mb-vs-tmpfs ratio higher 0.35 tmpfs "$(pairs "$tmpfs" "$first")" \
        "$(median <<<"$first" | jq -r '"\(67.108864 / . | round) MB/s"')"
    # Only a figure if the daemon had the bytes: storage is asked once for each chunk in the whole run.
    lab_ctl stat | jq -e '.reads == .distinct.chunks' >/dev/null || { say 'the daemon did not hold the file'; return 1; }
    lab_down
}
