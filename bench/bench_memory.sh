# shellcheck shell=bash
# what a daemon costs the node: memory beyond the cached bytes, processor when idle, and a busy neighbour

memory_beyond() {
    local i beyond='[]' limit='[]'
    tier_up 4 --busy '--service-us 0' || return 1
    replay_all "$1" "$BENCH_MOUNT" >/dev/null || return 1
    for ((i = 0; i < 4; i++)); do
        lab_tiercel $i stat --json | jq .memory >"$BENCH_TEMP/memory"
        push beyond "$(jq '(.rss_bytes - .cached_bytes) / 1e6' "$BENCH_TEMP/memory")"
        push limit "$(jq '8 + .cached_bytes / 1e8' "$BENCH_TEMP/memory")"
    done
    lab_down
    row daemon-memory-beyond-cached MB lower "$(jq min <<<"$limit")" 'the cached bytes' "$beyond" \
        "resident, libraries and all; the target is 8 MB + 1 % of what is cached after importing $1"
}

idle_daemons() {
    local seconds=10 before after share='[]' k
    lab_up 31 --busy '--service-us 0' --daemon '--arity 2 --cache-size 256M' || return 1
    lab_tiercel 0 wait >/dev/null && lab_mount || return 1
    for ((k = 0; k < (BENCH_QUICK ? 1 : 3); k++)); do
        before=$(daemon_cpu)
        read -rt $seconds <> <(:) || true
        after=$(daemon_cpu)
        push share "$(jq -n "($after - $before) / $seconds * 100")"
    done
    lab_down
    row idle-31-daemons-cpu 'percent' lower 1.0 'one core' "$share" "over $seconds s each"
}

# One foreign process that never sleeps: how much slower does a cold import get, through the tier and from local disk?
busy_neighbour() {
    local k quiet='[]' busy='[]' quiet_disk='[]' busy_disk='[]' hog
    tier_up 2 --busy '--service-us 0 --bandwidth 0' || return 1
    lab_exec 1 mount --bind /usr /srv/local
    for ((k = 0; k < SAMPLES; k++)); do
        tier_again || return 1
        push quiet "$(python_import 1 "$BENCH_MOUNT" pandas)"
        push quiet_disk "$(python_import 1 /srv/local pandas)"
        tier_again || return 1
        timeout 60 bash -c 'while :; do :; done' &
        hog=$!
        push busy "$(python_import 1 "$BENCH_MOUNT" pandas)"
        push busy_disk "$(python_import 1 /srv/local pandas)"
        kill $hog 2>/dev/null
        wait $hog 2>/dev/null
    done
    lab_down
    local tier_slower disk_slower
    tier_slower=$(pairs "$busy" "$quiet") disk_slower=$(pairs "$busy_disk" "$quiet_disk")
    row busy-neighbour-slowdown-disk ratio lower null - "$disk_slower"
    row busy-neighbour-slowdown-tier ratio lower null - "$tier_slower"
    row busy-neighbour-slowdown-vs-disk ratio lower 1.1 'local disk, slowed down by the same neighbour' \
        "$(pairs "$tier_slower" "$disk_slower")" 'no more than disk; a tenth is left for noise'
}

bench_main() {
    say 'recording the import'
    traces pandas
    has pandas || { cat "$BENCH_TEMP/record.err" >&2; return 1; }
    say 'memory' && memory_beyond pandas && say 'idle daemons' && idle_daemons && say 'busy neighbour' && busy_neighbour
}
